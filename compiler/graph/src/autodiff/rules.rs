//! The table of reverse mode: one arm per operation.

use super::GradError;
use super::emit;
use super::map;
use super::reverse::Sweep;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::expand;
use crate::graph::Node;
use crate::op::{Attention, MapFn, Op, ReduceFn};
use crate::shape::Shape;
use std::collections::BTreeMap;

impl Sweep<'_> {
    /// Gives the inputs of node `y` their share of the cotangents of its results.
    pub(super) fn rule(&mut self, y: Value, dys: &[Option<Value>]) -> Result<(), GradError> {
        let node = self.b.region.node(y).clone();
        if let Op::Attend(_) | Op::AttendGrad(_) | Op::Loop(_) | Op::Route { .. } = node.op {
            return self.joint_rule(y, &node, dys);
        }
        let [Some(dy)] = *dys else { return Ok(()) };
        let dx = match &node.op {
            Op::Input(_) | Op::Param(_) | Op::Argument(_) | Op::Const(_) | Op::Iota(_) | Op::Random(_) | Op::ArgMax(_) => return Ok(()),
            Op::Attend(_) | Op::AttendGrad(_) | Op::Loop(_) | Op::Route { .. } | Op::TopK { .. } => return Ok(()),
            Op::Project(i) => {
                self.give_result(node.inputs[0], *i, dy);
                return Ok(());
            }
            Op::Map(f) => {
                self.map(*f, &node, y, dy);
                return Ok(());
            }
            Op::Contract(_) => {
                self.contract(&node, dy);
                return Ok(());
            }
            Op::Solve { row, col, transposed } => {
                self.solve(&node, (*row, *col, *transposed), y, dy);
                return Ok(());
            }
            Op::Concat { axes, into } => {
                self.concat(&node, axes, *into, dy);
                return Ok(());
            }
            Op::Routed { axis, .. } => {
                self.routed(&node, *axis, dy);
                return Ok(());
            }
            Op::RoutedOuter { axis, keep } => {
                self.routed_outer(&node, *axis, keep, dy);
                return Ok(());
            }
            Op::Gather(axis) => Some(self.gather(&node, *axis, dy)),
            Op::ScatterAdd { axis, .. } => {
                let dx = if self.b.shape(dy).contains(*axis) { self.b.add(Op::Gather(*axis), &[dy, node.inputs[0]]) } else { dy };
                self.give(node.inputs[1], dx);
                return Ok(());
            }
            Op::Reduce(ReduceFn::Sum, _) => Some(dy),
            Op::Reduce(ReduceFn::Max | ReduceFn::Min, over) => Some(self.extremum(node.inputs[0], y, over, dy)),
            Op::Rename(pairs) => Some(self.rename_back(pairs, dy)),
            Op::Split { axis, into } => Some(self.merge_back(*axis, into, dy)),
            Op::Merge { from, into } => {
                Some(if self.b.shape(dy).contains(*into) { self.b.add(Op::Split { axis: *into, into: from.clone() }, &[dy]) } else { dy })
            }
            Op::Slice { axis, start, into } => {
                let full = self.b.shape(dy).with(*into);
                let dy = emit::spread(&mut self.b, dy, &full);
                Some(self.b.add(Op::Pad { axis: *into, start: *start, into: *axis }, &[dy]))
            }
            Op::Pad { axis, start, into } => Some(self.slice(*into, *start, *axis, dy)),
            Op::Softmax(over) => self.softmax(y, over, dy),
            Op::LogSumExp(_) => {
                let y = expand::finite(&mut self.b, y);
                let shifted = self.b.map(MapFn::Sub, &[node.inputs[0], y]);
                let p = self.b.map(MapFn::Exp, &[shifted]);
                Some(emit::mul(&mut self.b, p, dy))
            }
        };
        if let Some(dx) = dx {
            self.give(node.inputs[0], dx);
        }
        Ok(())
    }

    fn joint_rule(&mut self, y: Value, node: &Node, dys: &[Option<Value>]) -> Result<(), GradError> {
        match &node.op {
            Op::Attend(a) => match *dys {
                [Some(dmix), None] => {
                    self.attend(y, a, node, dmix);
                    Ok(())
                }
                _ => self.written_out(dys, |b| expand::attend(b, a, &node.inputs).to_vec()),
            },
            Op::AttendGrad(a) => self.written_out(dys, |b| expand::attend_grad(b, a, &node.inputs).to_vec()),
            Op::Loop(l) => self.loop_rule(y, node, l, dys),
            _ => Ok(()),
        }
    }

    /// The axes that the cotangent of a value may have.
    fn kept(&self, value: Value) -> Shape {
        self.b.shape(value).union(&self.how.keep)
    }

    fn map(&mut self, f: MapFn, node: &Node, y: Value, dy: Value) {
        for (i, &x) in node.inputs.iter().enumerate() {
            if !self.wants(x) {
                continue;
            }
            let to = self.kept(x);
            let local = map::local(&mut self.b, f, &node.inputs, y, i);
            if let Some(dx) = map::pull(&mut self.b, &local, dy, &node.ty.shape, &to) {
                self.give(x, dx);
            }
        }
    }

    fn contract(&mut self, node: &Node, dy: Value) {
        let [x, z] = [node.inputs[0], node.inputs[1]];
        if x == z && self.wants(x) {
            let to = self.kept(x);
            let half = emit::contract_onto(&mut self.b, dy, x, &to);
            let dx = emit::scale(&mut self.b, half, 2.0);
            self.give(x, dx);
            return;
        }
        for (operand, other) in [(x, z), (z, x)] {
            if self.wants(operand) {
                let to = self.kept(operand);
                let dx = emit::contract_onto(&mut self.b, dy, other, &to);
                self.give(operand, dx);
            }
        }
    }

    /// The right-hand side's cotangent is the solution of the transposed system; the matrix's is its product with the solution, below the
    /// diagonal.
    fn solve(&mut self, node: &Node, (row, col, transposed): (AxisId, AxisId, bool), y: Value, dy: Value) {
        let [matrix, side] = [node.inputs[0], node.inputs[1]];
        let full = self.b.shape(dy).with(row);
        let dy = emit::spread(&mut self.b, dy, &full);
        let db = self.b.add(Op::Solve { row, col, transposed: !transposed }, &[matrix, dy]);
        if self.wants(side) {
            let to = self.kept(side);
            let from = node.ty.shape.union(self.b.shape(db));
            let dx = emit::fit(&mut self.b, db, &from, &to);
            self.give(side, dx);
        }
        if self.wants(matrix) {
            let to = self.kept(matrix);
            let turned = |sweep: &mut Self, v: Value| sweep.b.add(Op::Rename(vec![(row, col)]), &[v]);
            let (left, right) = if transposed { (y, turned(self, db)) } else { (db, turned(self, y)) };
            let alone = self.b.shape(left).minus(self.b.shape(right)).minus(&to);
            let left = self.b.reduce(ReduceFn::Sum, left, alone.axes());
            let product = emit::contract_onto(&mut self.b, left, right, &to);
            let dx = emit::scale(&mut self.b, product, -1.0);
            let dx = emit::below(&mut self.b, row, col, dx);
            self.give(matrix, dx);
        }
    }

    fn concat(&mut self, node: &Node, axes: &[AxisId], into: AxisId, dy: Value) {
        let mut start = 0;
        for (&x, &axis) in node.inputs.iter().zip(axes) {
            if self.wants(x) {
                let dx = self.slice(into, start, axis, dy);
                self.give(x, dx);
            }
            start += self.b.axes[axis.index()].size;
        }
    }

    fn slice(&mut self, axis: AxisId, start: u64, into: AxisId, dy: Value) -> Value {
        if self.b.shape(dy).contains(axis) { self.b.add(Op::Slice { axis, start, into }, &[dy]) } else { dy }
    }

    /// A gather whose positions only have axes that its operand has picks one entry in each row: its transpose writes each row once
    /// and is element-wise. Any other adds up what is read more than once.
    fn gather(&mut self, node: &Node, axis: AxisId, dy: Value) -> Value {
        let rest = self.kept(node.inputs[0]).without(axis);
        let b = &mut self.b;
        let positions = node.inputs[1];
        let picked = b.shape(positions).clone();
        if rest.contains_all(&picked) {
            let here = b.add(Op::Iota(axis), &[]);
            let chosen = b.map(MapFn::Eq, &[here, positions]);
            return emit::pick(b, chosen, true, dy);
        }
        let full = b.shape(dy).union(&picked);
        let updates = emit::spread(b, dy, &full);
        let keep = rest.intersection(&full);
        b.add(Op::ScatterAdd { axis, keep: keep.axes().to_vec() }, &[positions, updates])
    }

    /// Equal shares for all elements that equal the extremum `y`.
    fn extremum(&mut self, x: Value, y: Value, over: &[AxisId], dy: Value) -> Value {
        let b = &mut self.b;
        let ties = emit::ties(b, x, y);
        let count = b.reduce(ReduceFn::Sum, ties, over);
        let share = b.map(MapFn::Div, &[dy, count]);
        emit::mul(b, ties, share)
    }

    fn rename_back(&mut self, pairs: &[(AxisId, AxisId)], dy: Value) -> Value {
        let shape = self.b.shape(dy).clone();
        emit::rename(&mut self.b, dy, pairs.iter().filter(|p| shape.contains(p.1)).map(|&(from, to)| (to, from)))
    }

    fn merge_back(&mut self, axis: AxisId, into: &[AxisId], dy: Value) -> Value {
        let parts = Shape::of(into.iter().copied());
        let shape = self.b.shape(dy).clone();
        if shape.intersection(&parts).is_scalar() {
            return dy;
        }
        let dy = emit::spread(&mut self.b, dy, &shape.union(&parts));
        self.b.add(Op::Merge { from: into.to_vec(), into: axis }, &[dy])
    }

    /// `y * (dy - sum(y * dy))`; nothing where `dy` is constant along all axes of the softmax.
    fn softmax(&mut self, y: Value, over: &[AxisId], dy: Value) -> Option<Value> {
        let b = &mut self.b;
        if !over.iter().any(|&a| b.shape(dy).contains(a)) {
            return None;
        }
        let product = emit::mul(b, y, dy);
        let mean = b.reduce(ReduceFn::Sum, product, over);
        let difference = b.map(MapFn::Sub, &[dy, mean]);
        Some(emit::mul(b, y, difference))
    }

    fn attend(&mut self, y: Value, attention: &Attention, node: &Node, dmix: Value) {
        let [mix, lse] = emit::results(&mut self.b, y);
        let full = self.b.shape(mix).clone();
        let dmix = emit::spread(&mut self.b, dmix, &full);
        let [q, k, v] = [node.inputs[0], node.inputs[1], node.inputs[2]];
        let grads = self.b.add_many(Op::AttendGrad(attention.clone()), &[q, k, v, mix, lse, dmix]);
        for (x, dx) in [q, k, v].into_iter().zip(grads) {
            self.give(x, dx);
        }
    }

    /// Computes the results of an operation once more in operations that have rules, and goes back through those.
    fn written_out(&mut self, dys: &[Option<Value>], build: impl FnOnce(&mut Builder<'_>) -> Vec<Value>) -> Result<(), GradError> {
        let start = self.b.region.nodes.len();
        let results = build(&mut self.b);
        let end = self.b.region.nodes.len();
        self.note_new();
        for (&result, dy) in results.iter().zip(dys) {
            if let Some(dy) = *dy {
                self.give(result, dy);
            }
        }
        self.back(start..end, &mut BTreeMap::new())
    }
}
