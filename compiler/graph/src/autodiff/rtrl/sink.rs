//! Takes into the step what is computed outside for all positions: a value that is given step by step, together with the element-wise
//! operations that make it, down to the products with what is the same in all steps. Those then are sources of the step.

use super::super::activity;
use super::super::reverse::Sweep;
use super::cell::Cell;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Node, Region};
use crate::op::{MapFn, Op};
use crate::shape::Ty;
use std::collections::BTreeMap;

/// The step in the making.
struct Sinking {
    made: Region,
    stacked: Vec<(Value, Value)>,
    fixed: Vec<(Value, Value)>,
    /// What stands in the step for a value outside.
    inside: BTreeMap<Value, Value>,
}

impl Sweep<'_> {
    /// The step with those of its stacked values taken in that are chosen by their argument.
    pub(super) fn sink(&self, cell: &Cell, axis: AxisId, chosen: &dyn Fn(Value) -> bool) -> Cell {
        let mut new = Sinking { made: Region::default(), stacked: Vec::new(), fixed: Vec::new(), inside: BTreeMap::new() };
        let mut to: Vec<Option<Value>> = vec![None; cell.region.nodes.len()];
        let mut argument = |new: &mut Sinking, value: Value| {
            let copied = new.made.push(cell.region.node(value).clone());
            to[value.index()] = Some(copied);
            copied
        };
        let mut carries = Vec::new();
        for &(inside, outside) in &cell.carries {
            carries.push((inside.map(|v| argument(&mut new, v)), outside));
        }
        for &(inside, outside) in &cell.fixed {
            let copied = argument(&mut new, inside);
            new.fixed.push((copied, outside));
            new.inside.insert(outside, copied);
        }
        let (taken, given): (Vec<_>, Vec<_>) = cell.stacked.iter().partition(|(inside, _)| chosen(*inside));
        for (inside, outside) in given {
            let copied = argument(&mut new, inside);
            new.stacked.push((copied, outside));
            new.inside.insert(outside, copied);
        }
        for (inside, outside) in taken {
            to[inside.index()] = Some(self.take_in(&mut new, outside, axis));
        }
        for (index, node) in cell.region.nodes.iter().enumerate() {
            if to[index].is_none() {
                let renamed = |v: &Value| to[v.index()].unwrap_or(Value(u32::MAX));
                let inputs = node.inputs.iter().map(renamed).collect();
                to[index] = Some(new.made.push(Node { inputs, ..node.clone() }));
            }
        }
        let results = cell.results.iter().map(|v| to[v.index()].unwrap_or(Value(u32::MAX))).collect();
        Cell { region: new.made, results, carries, stacked: new.stacked, fixed: new.fixed }
    }

    /// What stands in the step for a value outside.
    fn take_in(&self, new: &mut Sinking, value: Value, axis: AxisId) -> Value {
        if let Some(&known) = new.inside.get(&value) {
            return known;
        }
        let node = self.b.region.node(value);
        let moved = node.ty.shape.contains(axis) && self.wants(value);
        let inside = match &node.op {
            op if !moved || names(op, axis) => self.given(new, value, axis),
            Op::Map(_) | Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } | Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. } => {
                let operands: Vec<Value> = node.inputs.iter().map(|&v| self.take_in(new, v, axis)).collect();
                inner(new, node, operands, axis)
            }
            Op::Contract(_) | Op::Gather(_) => {
                let operands: Vec<Value> = node.inputs.iter().map(|&v| self.given(new, v, axis)).collect();
                inner(new, node, operands, axis)
            }
            _ => self.given(new, value, axis),
        };
        new.inside.insert(value, inside);
        inside
    }

    /// An argument for a value outside.
    fn given(&self, new: &mut Sinking, value: Value, axis: AxisId) -> Value {
        if let Some(&known) = new.inside.get(&value) {
            return known;
        }
        let node = self.b.region.node(value);
        if let Op::Const(_) = node.op {
            return new.made.push(node.clone());
        }
        let ty = Ty::new(node.ty.dtype, node.ty.shape.without(axis));
        let op = Op::Argument(u32::MAX);
        let argument = new.made.push(Node { op, inputs: Default::default(), ty, origin: node.origin.clone() });
        let list = if node.ty.shape.contains(axis) { &mut new.stacked } else { &mut new.fixed };
        list.push((argument, value));
        new.inside.insert(value, argument);
        argument
    }

    /// Whether taking a stacked value in would make sources of parameters.
    pub(super) fn sinks(&self, value: Value, axis: AxisId) -> bool {
        let node = self.b.region.node(value);
        if !node.ty.shape.contains(axis) || !self.wants(value) || names(&node.op, axis) {
            return false;
        }
        let fixed = |v: Value| !self.b.shape(v).contains(axis) && self.wants(v);
        match &node.op {
            Op::Contract(_) | Op::Gather(_) => node.inputs.iter().enumerate().any(|(i, &v)| activity::passes(node, i) && fixed(v)),
            Op::Map(_) | Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } | Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. } => {
                node.inputs.iter().enumerate().any(|(i, &v)| activity::passes(node, i) && (fixed(v) || self.sinks(v, axis)))
            }
            _ => false,
        }
    }
}

/// A node of the step like one outside.
fn inner(new: &mut Sinking, node: &Node, operands: Vec<Value>, axis: AxisId) -> Value {
    let ty = Ty::new(node.ty.dtype, node.ty.shape.without(axis));
    new.made.push(Node { op: node.op.clone(), inputs: operands.into(), ty, origin: node.origin.clone() })
}

/// Whether an operation does something along the axis.
fn names(op: &Op, a: AxisId) -> bool {
    match op {
        Op::Reduce(_, over) | Op::Contract(over) | Op::Softmax(over) | Op::LogSumExp(over) => over.contains(&a),
        Op::Rename(pairs) => pairs.iter().any(|p| p.0 == a || p.1 == a),
        Op::Split { axis, into } => *axis == a || into.contains(&a),
        Op::Merge { from, into } => from.contains(&a) || *into == a,
        Op::Slice { axis, into, .. } | Op::Pad { axis, into, .. } => *axis == a || *into == a,
        Op::Concat { axes, into } => axes.contains(&a) || *into == a,
        Op::Gather(axis) => *axis == a,
        Op::Map(MapFn::StopGradient) => true,
        _ => false,
    }
}

/// Whether a value depends on the results of a scan that learns.
pub(super) fn scan_below(b: &Builder<'_>, value: Value, wants: &dyn Fn(Value) -> bool) -> Option<Value> {
    let mut seen = vec![false; value.index() + 1];
    let mut stack = vec![value];
    while let Some(value) = stack.pop() {
        if std::mem::replace(&mut seen[value.index()], true) || !wants(value) {
            continue;
        }
        let node = b.region.node(value);
        if let Op::Loop(l) = &node.op
            && has_scan(l)
        {
            return Some(value);
        }
        stack.extend(node.inputs.iter().enumerate().filter(|(i, _)| activity::passes(node, *i)).map(|(_, v)| *v));
    }
    None
}

fn has_scan(l: &crate::op::Loop) -> bool {
    let inner = |n: &Node| if let Op::Loop(l) = &n.op { has_scan(l) } else { false };
    (l.kind == crate::op::LoopKind::Scan && l.carries > 0) || l.body.nodes.iter().any(inner)
}
