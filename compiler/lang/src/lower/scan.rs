//! `scan` as a loop over time: states are its carries, arguments that have the dim are given position by position.

use super::inline::{Inline, Key, Tapped};
use super::take;
use crate::hir::{Instance, InstanceId, NodeId, Op, Program};
use ogive_graph::{AxisId, DType, Loop, LoopKind, Op as Primitive, Region, Shape, Ty, Value};
use std::collections::BTreeMap;

/// A lowered step: results are the new states, then outputs, then taps.
struct Step {
    region: Region,
    carries: Vec<Ty>,
    taps: Vec<Tapped>,
}

/// What a loop over time is given.
struct Given {
    axis: AxisId,
    /// For each argument of the cell, whether it is given position by position.
    sliced: Vec<bool>,
    arguments: Vec<Value>,
    keys: Vec<Key>,
    params: Vec<Value>,
}

/// What a step gives.
pub(super) fn step(instance: &Instance) -> Vec<NodeId> {
    let ends = instance.outputs.iter().map(|o| o.node).chain(instance.taps.iter().map(|t| t.node));
    ends.chain(instance.states.iter().map(|s| s.next)).collect()
}

/// Nodes that the given ones need. Of a call for start values, the arguments that no start value depends on are not needed.
pub(super) fn needed(program: &Program, instance: &Instance, ends: &[NodeId]) -> Vec<bool> {
    let mut needed = vec![false; instance.body.len()];
    ends.iter().for_each(|n| needed[n.index()] = true);
    for i in (0..needed.len()).rev() {
        if needed[i] {
            let node = &instance.body[i];
            for (k, input) in node.inputs.iter().enumerate() {
                needed[input.index()] |= match &node.op {
                    Op::Starts(cell) => program.instance(*cell).states.iter().any(|s| s.start_depends.get(k) == Some(&true)),
                    _ => true,
                };
            }
        }
    }
    needed
}

impl Inline<'_, '_> {
    /// Values of a cell's states before the first step.
    pub(super) fn starts(&mut self, id: InstanceId, inputs: &[Value]) -> Vec<Value> {
        let instance = self.program.instance(id);
        let ends: Vec<NodeId> = instance.states.iter().map(|s| s.start).collect();
        let results = self.body(id, instance, inputs, &needed(self.program, instance, &ends), &mut Vec::new());
        ends.iter().filter_map(|n| results[n.index()].first().copied()).collect()
    }

    /// The cell run along `axis`: its outputs, which have `axis`, then its last states.
    pub(super) fn scan(&mut self, id: InstanceId, axis: AxisId, reverse: bool, operands: &[Value]) -> (Vec<Value>, Vec<Tapped>) {
        let instance = self.program.instance(id);
        let starts = self.starts(id, operands);
        self.within(id);
        let mut carries: Vec<Value> = starts
            .into_iter()
            .zip(&instance.states)
            .map(|(value, state)| self.widened(value, &Shape::of(state.dims.iter().copied())))
            .collect();
        let keys = self.step_keys(id);
        let params = keys.iter().map(|&k| self.param_of(k)).collect();
        let sliced = operands.iter().map(|v| self.builder.shape(*v).contains(axis)).collect();
        let given = Given { axis, sliced, arguments: operands.to_vec(), keys, params };
        let position = self.builder.add(Primitive::Iota(axis), &[]);

        // What the cell is lifted over may reach a state only after some steps.
        let step = loop {
            let step = self.step_of(id, &given, &carries);
            let types: Vec<Ty> = carries.iter().map(|v| self.builder.ty(*v).clone()).collect();
            if types == step.carries {
                break step;
            }
            let wider: Vec<Shape> = types.iter().zip(&step.carries).map(|(a, b)| a.shape.union(&b.shape)).collect();
            carries = carries.iter().zip(&wider).map(|(v, s)| self.widened(*v, s)).collect();
        };
        let of = |wanted: bool| given.arguments.iter().zip(&given.sliced).filter(move |(_, s)| **s == wanted).map(|(v, _)| *v);
        let stacked: Vec<Value> = std::iter::once(position).chain(of(true)).collect();
        let inputs: Vec<Value> = carries.iter().chain(&stacked).copied().chain(of(false)).chain(given.params.clone()).collect();
        let inputs: Vec<Value> = inputs.into_iter().chain(self.iterations.iter().copied()).collect();
        let count = carries.len();
        let l = Loop { kind: LoopKind::Scan, axis, reverse, carries: count, stacked: stacked.len(), body: step.region };
        let results = self.builder.repeat(l, &inputs);
        let (states, collected) = results.split_at(count);
        let (outputs, tapped) = collected.split_at(instance.outputs.len());
        let taps = step.taps.into_iter().zip(tapped).map(|(tap, &value)| Tapped {
            value,
            dims: std::iter::once(axis).chain(tap.dims).collect(),
            ..tap
        });
        (outputs.iter().chain(states).copied().collect(), taps.collect())
    }

    fn step_of(&mut self, id: InstanceId, given: &Given, carries: &[Value]) -> Step {
        let slice = |ty: &Ty| Ty::new(ty.dtype, ty.shape.without(given.axis));
        let carried: Vec<Ty> = carries.iter().map(|&v| self.builder.ty(v).clone()).collect();
        let mut types = carried.clone();
        types.push(Ty::new(DType::I32, Shape::scalar()));
        for wanted in [true, false] {
            let those = given.arguments.iter().zip(&given.sliced).filter(|(_, s)| **s == wanted);
            types.extend(those.map(|(&v, _)| slice(self.builder.ty(v))));
        }
        types.extend(given.params.iter().chain(&self.iterations).map(|&v| self.builder.ty(v).clone()));
        let origin = self.builder.origin.clone();

        let outer = take(&mut self.builder);
        let formal: Vec<Value> = types
            .iter()
            .enumerate()
            .map(|(i, ty)| self.builder.add_as(Primitive::Argument(u32::try_from(i).unwrap_or(u32::MAX)), &[], Some(ty)))
            .collect();
        let (prevs, rest) = formal.split_at(carries.len());
        let (position, rest) = rest.split_at(1);
        let (arguments, rest) = rest.split_at(given.arguments.len());
        let (params, iterations) = rest.split_at(given.params.len());
        let (mut sliced, mut fixed) = {
            let count = given.sliced.iter().filter(|s| **s).count();
            (arguments[..count].iter(), arguments[count..].iter())
        };
        let inputs: Vec<Value> = given.sliced.iter().filter_map(|s| if *s { sliced.next() } else { fixed.next() }).copied().collect();
        let known: BTreeMap<Key, Value> = given.keys.iter().copied().zip(params.iter().copied()).collect();
        let known = std::mem::replace(&mut self.known, known);
        let around = std::mem::replace(&mut self.iterations, iterations.iter().chain(position).copied().collect());
        let prevs = std::mem::replace(&mut self.prevs, prevs.to_vec());

        let (results, taps) = self.instance(id, &inputs);
        let (outputs, states) = results.split_at(self.program.instance(id).outputs.len());
        let states: Vec<Value> = states.iter().zip(&carried).map(|(&v, ty)| self.widened(v, &ty.shape)).collect();
        let types = states.iter().map(|v| self.builder.ty(*v).clone()).collect();
        let results = states.iter().chain(outputs).copied().chain(taps.iter().map(|t| t.value));
        self.builder.region.results = results.collect();

        let region = std::mem::replace(&mut self.builder.region, outer);
        self.known = known;
        self.iterations = around;
        self.prevs = prevs;
        self.builder.origin = origin;
        Step { region, carries: types, taps }
    }

    /// Parameters that a step reads, each once.
    fn step_keys(&self, id: InstanceId) -> Vec<Key> {
        let instance = self.program.instance(id);
        let needed = needed(self.program, instance, &step(instance));
        let mut keys = Vec::new();
        for (node, _) in instance.body.iter().zip(&needed).filter(|(_, n)| **n) {
            match &node.op {
                Op::Param(i) if !keys.contains(&(id, *i)) => keys.push((id, *i)),
                op => {
                    if let Some(child) = op.callee() {
                        self.collect(child, &mut keys);
                    }
                }
            }
        }
        keys
    }
}
