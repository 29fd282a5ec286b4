//! Forward mode. From a graph and tangents of some of its values it gives a graph that computes, beside everything the old one
//! computes, the tangents of others. Loops carry tangents beside their carries; attention is written out.

use super::activity;
use super::emit;
use super::reverse::check_directions;
use super::{GradError, Tangents};
use crate::build::Builder;
use crate::entity::Value;
use crate::expand;
use crate::graph::{Axis, Graph, Node, Region};
use crate::op::{Loop, Op};
use crate::shape::Ty;
use std::collections::BTreeMap;

/// The product of the Jacobian with tangents: `tangents` are values with their tangents, which are values of the same graph. A tangent
/// given for a value that depends on another such value adds to what arrives there.
///
/// # Errors
/// Where a tangent does not fit its value.
pub fn jvp(graph: &Graph, tangents: &[(Value, Value)], of: &[Value]) -> Result<Tangents, GradError> {
    check_directions(graph, tangents)?;
    let mut made = Graph { axes: graph.axes.clone(), ..Graph::default() };
    let mut forward = Forward::new(&mut made.axes, &graph.region);
    for index in 0..graph.region.nodes.len() {
        let value = Value(index as u32);
        forward.node(value);
        let given: Vec<Value> = tangents.iter().filter(|t| t.0 == value).map(|t| t.1).collect();
        for tangent in given {
            let tangent = forward.cone(tangent);
            forward.give(value, tangent);
        }
    }
    let mut directions = Vec::new();
    for &value in of {
        let new = forward.renamed(value);
        let shape = forward.b.shape(new).clone();
        let thin = forward.tangents.get(&new).copied();
        directions.push(thin.map(|t| emit::spread(&mut forward.b, t, &shape)));
    }
    let values = (0..graph.region.nodes.len()).map(|i| forward.to[i].unwrap_or(Value(u32::MAX))).collect();
    made.region = forward.b.region;
    made.outputs = graph.outputs.clone();
    for output in &mut made.outputs {
        let values: &Vec<Value> = &values;
        output.value = values[output.value.index()];
    }
    Ok(Tangents { graph: made, values, tangents: directions })
}

/// The state of forward mode over one region.
pub(super) struct Forward<'a, 'g> {
    /// What is being built.
    pub(super) b: Builder<'g>,
    /// Tangents, perhaps thin, of values of the new region.
    pub(super) tangents: BTreeMap<Value, Value>,
    old: &'a Region,
    /// What stands for each old value; for operations rebuilt with tangents, `results` says what stands for their projections.
    to: Vec<Option<Value>>,
    results: BTreeMap<Value, Vec<Value>>,
}

impl<'a, 'g> Forward<'a, 'g> {
    fn new(axes: &'g mut Vec<Axis>, old: &'a Region) -> Self {
        let b = Builder::new(axes);
        Forward { b, tangents: BTreeMap::new(), old, to: vec![None; old.nodes.len()], results: BTreeMap::new() }
    }

    fn renamed(&self, old: Value) -> Value {
        match self.to[old.index()] {
            Some(new) => new,
            None => panic!("a fault in ogive: {old} is read before it is built"),
        }
    }

    /// Copies a value and what it needs, without tangents, where that is not done yet.
    fn cone(&mut self, value: Value) -> Value {
        let mut stack = vec![value];
        while let Some(&next) = stack.last() {
            let node = &self.old.nodes[next.index()];
            let missing: Vec<Value> = node.inputs.iter().copied().filter(|v| self.to[v.index()].is_none()).collect();
            if self.to[next.index()].is_none() && missing.is_empty() {
                self.copy(next);
            }
            if missing.is_empty() {
                stack.pop();
            }
            stack.extend(missing);
        }
        self.renamed(value)
    }

    fn copy(&mut self, value: Value) -> Value {
        let mut node = self.old.node(value).clone();
        node.inputs = node.inputs.iter().map(|&v| self.renamed(v)).collect();
        let new = self.b.region.push(node);
        self.to[value.index()] = Some(new);
        new
    }

    /// Adds to the tangent of an old value.
    fn give(&mut self, value: Value, tangent: Value) {
        let new = self.renamed(value);
        let sum = match self.tangents.get(&new) {
            Some(&before) => emit::add(&mut self.b, before, tangent),
            None => tangent,
        };
        self.tangents.insert(new, sum);
    }

    /// Builds what stands for an old node, and its tangent.
    fn node(&mut self, value: Value) {
        let node = self.old.node(value);
        self.b.origin = node.origin.clone();
        if let Op::Project(result) = node.op
            && let Some(results) = self.results.get(&node.inputs[0])
        {
            self.to[value.index()] = Some(results[result as usize]);
            return;
        }
        let inputs: Vec<Value> = node.inputs.iter().map(|&v| self.renamed(v)).collect();
        let moved = inputs.iter().enumerate().any(|(i, v)| self.tangents.contains_key(v) && activity::passes(node, i));
        if !moved {
            if self.to[value.index()].is_none() {
                self.copy(value);
            }
            return;
        }
        match &node.op {
            Op::Loop(l) => {
                let results = self.repeat(l, &inputs);
                self.results.insert(value, results);
            }
            Op::Attend(a) => {
                let results = self.written_out(|b| expand::attend(b, a, &inputs).to_vec());
                self.results.insert(value, results);
            }
            Op::AttendGrad(a) => {
                let results = self.written_out(|b| expand::attend_grad(b, a, &inputs).to_vec());
                self.results.insert(value, results);
            }
            _ => {
                let new = match self.to[value.index()] {
                    Some(new) => new,
                    None => self.copy(value),
                };
                self.tangent(new);
            }
        }
        // An operation rebuilt with tangents is read through its results only.
        let index = value.index();
        self.to[index] = self.to[index].or_else(|| self.results.get(&value).and_then(|r| r.first().copied()));
    }

    /// Tangents of nodes that are built at once.
    fn written_out(&mut self, build: impl FnOnce(&mut Builder<'_>) -> Vec<Value>) -> Vec<Value> {
        let start = self.b.region.nodes.len();
        let results = build(&mut self.b);
        for index in start..self.b.region.nodes.len() {
            self.tangent(Value(index as u32));
        }
        results
    }

    /// A loop with tangents of its inputs: what stands for its results.
    fn repeat(&mut self, l: &Loop, inputs: &[Value]) -> Vec<Value> {
        let mut moved: Vec<Option<Value>> = inputs.iter().map(|v| self.tangents.get(v).copied()).collect();
        self.move_carries(l, inputs, &mut moved);
        // Arguments of the new body: carries and their tangents, stacked values and tangents, invariants and tangents.
        let along = |b: &Builder<'_>, t: Value| b.shape(t).contains(l.axis);
        let stacked = l.carries..l.carries + l.stacked;
        let (mut new, mut slices) = (Vec::new(), 0);
        let mut places: BTreeMap<u32, (u32, Ty)> = BTreeMap::new();
        let mut tangents: BTreeMap<u32, (u32, Ty)> = BTreeMap::new();
        for group in 0..3 {
            for (i, &input) in inputs.iter().enumerate() {
                let own = if i < stacked.start { 0 } else { 1 + usize::from(i >= stacked.end) };
                if own == group {
                    let ty = self.b.ty(input).clone();
                    places.insert(i as u32, (new.len() as u32, within(ty, l, own)));
                    new.push(input);
                }
            }
            for (i, tangent) in moved.iter().enumerate() {
                let Some(tangent) = *tangent else { continue };
                let own = if i < stacked.start { 0 } else { 1 + usize::from(i >= stacked.end || !along(&self.b, tangent)) };
                if own == group {
                    let ty = self.b.ty(tangent).clone();
                    tangents.insert(i as u32, (new.len() as u32, within(ty, l, own)));
                    new.push(tangent);
                }
            }
            if group == 1 {
                slices = new.len();
            }
        }
        let carries = l.carries + moved[..l.carries].iter().flatten().count();
        let (body, collected) = step(self.b.axes, l, &places, &tangents, &moved[..l.carries]);
        let made = Loop { kind: l.kind, axis: l.axis, reverse: l.reverse, carries, stacked: slices - carries, body };
        let results = self.b.repeat(made, &new);
        let mut after = l.carries;
        for (i, _) in moved[..l.carries].iter().enumerate().filter(|(_, t)| t.is_some()) {
            self.tangents.insert(results[i], results[after]);
            after += 1;
        }
        let first = after;
        after += collected.len();
        for (i, _) in collected.iter().enumerate().filter(|(_, moved)| **moved) {
            self.tangents.insert(results[first + i], results[after]);
            after += 1;
        }
        results[..l.carries].iter().chain(&results[first..first + collected.len()]).copied().collect()
    }

    /// Gives a full tangent to every carry that gets one within the loop.
    fn move_carries(&mut self, l: &Loop, inputs: &[Value], moved: &mut [Option<Value>]) {
        let argument = |node: &Node| if let Op::Argument(i) = node.op { Some(i as usize) } else { None };
        loop {
            let nodes = l.body.nodes.iter().enumerate();
            let roots = nodes.filter(|(_, n)| argument(n).is_some_and(|i| moved[i].is_some())).map(|(i, _)| Value(i as u32));
            let inside = activity::dependents(&l.body, roots);
            let mut more = false;
            for i in 0..l.carries {
                if moved[i].is_none() && inside[l.body.results[i].index()] {
                    let ty = self.b.ty(inputs[i]).clone();
                    moved[i] = Some(emit::zeros(&mut self.b, &ty));
                    more = true;
                }
            }
            if !more {
                break;
            }
        }
        for i in 0..l.carries {
            let shape = self.b.shape(inputs[i]).clone();
            moved[i] = moved[i].map(|t| emit::spread(&mut self.b, t, &shape));
        }
    }
}

/// The type of an input as the body sees it.
fn within(mut ty: Ty, l: &Loop, group: usize) -> Ty {
    if group == 1 {
        ty.shape = ty.shape.without(l.axis);
    }
    ty
}

/// The body with tangents, and which collected values have one. Results: carries, their tangents, collected values, their tangents.
fn step(
    axes: &mut Vec<Axis>,
    l: &Loop,
    places: &BTreeMap<u32, (u32, Ty)>,
    tangents: &BTreeMap<u32, (u32, Ty)>,
    carries: &[Option<Value>],
) -> (Region, Vec<bool>) {
    let mut inner = Forward::new(axes, &l.body);
    for index in 0..l.body.nodes.len() {
        let value = Value(index as u32);
        if let Op::Argument(i) = l.body.nodes[index].op {
            inner.b.origin = l.body.nodes[index].origin.clone();
            let mut argument = |(at, ty): &(u32, Ty)| inner.b.add_as(Op::Argument(*at), &[], Some(ty));
            let new = argument(&places[&i]);
            let tangent = tangents.get(&i).map(argument);
            inner.to[index] = Some(new);
            inner.tangents.extend(tangent.map(|t| (new, t)));
        } else {
            inner.node(value);
        }
    }
    let new: Vec<Value> = l.body.results.iter().map(|&r| inner.renamed(r)).collect();
    let mut results = new[..l.carries].to_vec();
    for (&value, _) in new.iter().zip(carries).filter(|(_, carry)| carry.is_some()) {
        let ty = inner.b.ty(value).clone();
        results.push(match inner.tangents.get(&value) {
            Some(&t) => emit::spread(&mut inner.b, t, &ty.shape),
            None => emit::zeros(&mut inner.b, &ty),
        });
    }
    results.extend(&new[l.carries..]);
    let collected: Vec<Option<Value>> = new[l.carries..].iter().map(|v| inner.tangents.get(v).copied()).collect();
    results.extend(collected.iter().flatten());
    (Region { results, ..inner.b.region }, collected.iter().map(Option::is_some).collect())
}
