//! `stack` and `share` as loops: parameters with the loop's dim are stacked, everything else that the body reads is invariant.

use super::inline::{Inline, Key, Tapped};
use super::take;
use crate::hir::{InstanceId, Op};
use ogive_graph::{AxisId, DType, Loop, LoopKind, Op as Primitive, Region, Shape, Ty, Value};
use std::collections::BTreeMap;

/// A lowered body with its taps, whose values are results of the region behind the carry.
struct Body {
    region: Region,
    carry: Ty,
    taps: Vec<Tapped>,
}

impl Inline<'_, '_> {
    /// The instance applied once per position of `axis`; operand 0 is the carry. Gives the last carry.
    pub(super) fn repeat(&mut self, id: InstanceId, axis: AxisId, operands: &[Value]) -> (Vec<Value>, Vec<Tapped>) {
        let keys = self.reachable(id);
        let (stacked, shared): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(|k| self.program.instance(k.0).stacks.contains(&axis));
        let params: Vec<Value> = stacked.iter().chain(&shared).map(|&k| self.param_of(k)).collect();
        let (stacked_values, shared_values) = params.split_at(stacked.len());
        let position = self.builder.add(Primitive::Iota(axis), &[]);
        let others: Vec<Value> = operands[1..].iter().chain(shared_values).chain(&self.iterations).copied().collect();

        // What the body lifts over may reach the carry only after some applications.
        let mut carry = operands[0];
        let body = loop {
            let body = self.body_of(id, axis, carry, &stacked, stacked_values, &shared, &others, operands.len() - 1);
            if body.carry == *self.builder.ty(carry) {
                break body;
            }
            let wider = self.builder.shape(carry).union(&body.carry.shape);
            carry = self.widened(carry, &wider);
        };
        let inputs: Vec<Value> = [carry, position].into_iter().chain(stacked_values.iter().copied()).chain(others).collect();
        let l = Loop { kind: LoopKind::Repeat, axis, reverse: false, carries: 1, stacked: 1 + stacked.len(), body: body.region };
        let results = self.builder.repeat(l, &inputs);
        let taps = body.taps.into_iter().zip(&results[1..]).map(|(tap, &value)| Tapped {
            value,
            dims: std::iter::once(axis).chain(tap.dims).collect(),
            ..tap
        });
        (vec![results[0]], taps.collect())
    }

    fn body_of(
        &mut self,
        id: InstanceId,
        axis: AxisId,
        carry: Value,
        stacked: &[Key],
        stacked_values: &[Value],
        shared: &[Key],
        others: &[Value],
        arguments: usize,
    ) -> Body {
        let carry_ty = self.builder.ty(carry).clone();
        let slice = |ty: &Ty| Ty::new(ty.dtype, ty.shape.without(axis));
        let mut types = vec![carry_ty.clone(), Ty::new(DType::I32, Shape::scalar())];
        types.extend(stacked_values.iter().map(|&v| slice(self.builder.ty(v))));
        types.extend(others.iter().map(|&v| self.builder.ty(v).clone()));
        let origin = self.builder.origin.clone();

        let outer = take(&mut self.builder);
        let formal: Vec<Value> = types
            .iter()
            .enumerate()
            .map(|(i, ty)| self.builder.add_as(Primitive::Argument(u32::try_from(i).unwrap_or(u32::MAX)), &[], Some(ty)))
            .collect();
        let first_other = 2 + stacked.len();
        let first_shared = first_other + arguments;
        let first_iteration = first_shared + shared.len();
        let known: BTreeMap<Key, Value> =
            stacked.iter().zip(&formal[2..]).chain(shared.iter().zip(&formal[first_shared..])).map(|(&key, &value)| (key, value)).collect();
        let known = std::mem::replace(&mut self.known, known);
        let iterations: Vec<Value> = formal[first_iteration..].iter().copied().chain([formal[1]]).collect();
        let iterations = std::mem::replace(&mut self.iterations, iterations);

        let inputs: Vec<Value> = [formal[0]].into_iter().chain(formal[first_other..first_shared].iter().copied()).collect();
        let (outputs, taps) = self.instance(id, &inputs);
        let next = self.widened(outputs[0], &carry_ty.shape);
        let carry = self.builder.ty(next).clone();
        self.builder.region.results = [next].into_iter().chain(taps.iter().map(|t| t.value)).collect();

        let region = std::mem::replace(&mut self.builder.region, outer);
        self.known = known;
        self.iterations = iterations;
        self.builder.origin = origin;
        Body { region, carry, taps }
    }

    /// Parameters that an instance and what it calls read, in order, each once.
    fn reachable(&self, id: InstanceId) -> Vec<Key> {
        let mut keys = Vec::new();
        self.collect(id, &mut keys);
        keys
    }

    pub(super) fn collect(&self, id: InstanceId, keys: &mut Vec<Key>) {
        for node in &self.program.instance(id).body {
            match &node.op {
                Op::Param(i) if !keys.contains(&(id, *i)) => keys.push((id, *i)),
                op => {
                    if let Some(child) = op.callee() {
                        self.collect(child, keys);
                    }
                }
            }
        }
    }
}
