//! The table of forward mode: one arm per operation.

use super::emit;
use super::forward::Forward;
use super::map;
use crate::entity::{AxisId, Value};
use crate::expand;
use crate::graph::Node;
use crate::op::{MapFn, Op, ReduceFn};
use crate::shape::{Shape, Ty};

impl Forward<'_, '_> {
    /// Builds the tangent of node `y` of the new region, from those of its inputs.
    pub(super) fn tangent(&mut self, y: Value) {
        let node = self.b.region.node(y).clone();
        if !node.ty.dtype.is_float() || !node.inputs.iter().any(|v| self.tangents.contains_key(v)) {
            return;
        }
        let dx = |forward: &Self, i: usize| node.inputs.get(i).and_then(|v| forward.tangents.get(v)).copied();
        let first = dx(self, 0);
        let has = |forward: &Self, axis: AxisId| first.is_some_and(|d| forward.b.shape(d).contains(axis));
        let dy = match &node.op {
            Op::Input(_) | Op::Param(_) | Op::Argument(_) | Op::Const(_) | Op::Iota(_) | Op::Random(_) | Op::ArgMax(_) => None,
            // Their results are given tangents where they are built.
            Op::Loop(_) | Op::Attend(_) | Op::AttendGrad(_) | Op::Project(_) => None,
            Op::TopK { .. } | Op::Route { .. } => None,
            Op::Routed { .. } | Op::RoutedOuter { .. } => self.bilinear(&node),
            Op::Map(f) => self.map(*f, &node, y),
            Op::Contract(over) => self.contract(&node, over),
            Op::Solve { row, col, transposed } => self.solve(&node, (*row, *col, *transposed), y),
            Op::Concat { axes, .. } => self.concat(&node, axes),
            Op::ScatterAdd { axis, keep } => dx(self, 1).map(|d| self.scatter(&node, *axis, keep, d)),
            Op::Gather(axis) => first.map(|d| if has(self, *axis) { self.b.add(node.op.clone(), &[d, node.inputs[1]]) } else { d }),
            Op::Reduce(f, over) => first.map(|d| self.reduce(*f, over, node.inputs[0], y, d)),
            Op::Rename(pairs) => first.map(|d| {
                let shape = self.b.shape(d).clone();
                emit::rename(&mut self.b, d, pairs.iter().copied().filter(|p| shape.contains(p.0)))
            }),
            Op::Split { axis, .. } | Op::Slice { axis, .. } => {
                first.map(|d| if has(self, *axis) { self.b.add(node.op.clone(), &[d]) } else { d })
            }
            Op::Merge { from, .. } if !from.iter().any(|&a| has(self, a)) => first,
            Op::Merge { from, .. } => first.map(|d| self.whole(&node, d, from)),
            Op::Pad { axis, .. } => first.map(|d| self.whole(&node, d, &[*axis])),
            Op::Softmax(over) if !over.iter().any(|&a| has(self, a)) => None,
            Op::Softmax(over) => first.map(|d| {
                let product = emit::mul(&mut self.b, y, d);
                let mean = self.b.reduce(ReduceFn::Sum, product, over);
                let difference = self.b.map(MapFn::Sub, &[d, mean]);
                emit::mul(&mut self.b, y, difference)
            }),
            Op::LogSumExp(over) if !over.iter().any(|&a| has(self, a)) => first,
            Op::LogSumExp(over) => first.map(|d| {
                let y = expand::finite(&mut self.b, y);
                let shifted = self.b.map(MapFn::Sub, &[node.inputs[0], y]);
                let p = self.b.map(MapFn::Exp, &[shifted]);
                let product = emit::mul(&mut self.b, p, d);
                self.b.reduce(ReduceFn::Sum, product, over)
            }),
        };
        if let Some(dy) = dy {
            self.tangents.insert(y, dy);
        }
    }

    fn map(&mut self, f: MapFn, node: &Node, y: Value) -> Option<Value> {
        let mut parts = Vec::new();
        for (i, x) in node.inputs.iter().enumerate() {
            if let Some(&dx) = self.tangents.get(x) {
                let local = map::local(&mut self.b, f, &node.inputs, y, i);
                parts.extend(map::push(&mut self.b, &local, dx));
            }
        }
        emit::total(&mut self.b, &parts)
    }

    fn contract(&mut self, node: &Node, over: &[AxisId]) -> Option<Value> {
        let [x, z] = [node.inputs[0], node.inputs[1]];
        let mut parts = Vec::new();
        for (operand, other) in [(x, z), (z, x)] {
            let Some(&d) = self.tangents.get(&operand) else { continue };
            let shape = self.b.shape(d).clone();
            let (both, absent): (Vec<AxisId>, Vec<AxisId>) = over.iter().partition(|&&a| shape.contains(a));
            let other = self.b.reduce(ReduceFn::Sum, other, &absent);
            let part = if both.is_empty() { emit::mul(&mut self.b, d, other) } else { self.b.contract(d, other, &both) };
            if x == z {
                return Some(emit::scale(&mut self.b, part, 2.0));
            }
            parts.push(part);
        }
        emit::total(&mut self.b, &parts)
    }

    /// The same system, with the right-hand side's tangent less the product of the matrix's with the solution.
    fn solve(&mut self, node: &Node, (row, col, transposed): (AxisId, AxisId, bool), y: Value) -> Option<Value> {
        let mut parts = Vec::new();
        if let Some(&d) = self.tangents.get(&node.inputs[1]) {
            parts.push(d);
        }
        if let Some(&d) = self.tangents.get(&node.inputs[0]) {
            let shape = self.b.shape(d).with(row).with(col);
            let d = emit::spread(&mut self.b, d, &shape);
            let d = emit::below(&mut self.b, row, col, d);
            let product = if transposed {
                let product = self.b.contract(d, y, &[row]);
                self.b.add(Op::Rename(vec![(col, row)]), &[product])
            } else {
                let turned = self.b.add(Op::Rename(vec![(row, col)]), &[y]);
                self.b.contract(d, turned, &[col])
            };
            parts.push(emit::scale(&mut self.b, product, -1.0));
        }
        let side = emit::total(&mut self.b, &parts)?;
        let shape = self.b.shape(side).with(row);
        let side = emit::spread(&mut self.b, side, &shape);
        Some(self.b.add(node.op.clone(), &[node.inputs[0], side]))
    }

    fn reduce(&mut self, f: ReduceFn, over: &[AxisId], x: Value, y: Value, dx: Value) -> Value {
        let b = &mut self.b;
        match f {
            ReduceFn::Sum => {
                let to = b.shape(y).clone();
                let from = Shape::of(over.iter().copied()).union(&to);
                emit::fit(b, dx, &from, &to)
            }
            ReduceFn::Max | ReduceFn::Min => {
                let ties = emit::ties(b, x, y);
                let count = b.reduce(ReduceFn::Sum, ties, over);
                let chosen = emit::mul(b, ties, dx);
                let sum = b.reduce(ReduceFn::Sum, chosen, over);
                b.map(MapFn::Div, &[sum, count])
            }
        }
    }

    fn scatter(&mut self, node: &Node, axis: AxisId, keep: &[AxisId], dx: Value) -> Value {
        let b = &mut self.b;
        let [positions, updates] = [node.inputs[0], node.inputs[1]];
        let full = b.shape(dx).union(b.shape(positions));
        let dx = emit::spread(b, dx, &full);
        let kept = Shape::of(keep.iter().copied());
        let absent = b.shape(updates).minus(&kept).minus(&full);
        let keep = kept.intersection(&full).axes().to_vec();
        let sum = b.add(Op::ScatterAdd { axis, keep }, &[positions, dx]);
        emit::scale_by_size(b, sum, &absent)
    }

    fn concat(&mut self, node: &Node, axes: &[AxisId]) -> Option<Value> {
        let tangents: Vec<Option<Value>> = node.inputs.iter().map(|v| self.tangents.get(v).copied()).collect();
        let shapes = tangents.iter().zip(axes).filter_map(|(t, &a)| t.map(|t| self.b.shape(t).without(a)));
        let rest = shapes.reduce(|all, shape| all.union(&shape))?;
        let mut parts = Vec::new();
        for (tangent, &axis) in tangents.iter().zip(axes) {
            let shape = rest.with(axis);
            parts.push(match *tangent {
                Some(t) => emit::spread(&mut self.b, t, &shape),
                None => emit::zeros(&mut self.b, &Ty::new(node.ty.dtype, shape)),
            });
        }
        Some(self.b.add(node.op.clone(), &parts))
    }

    /// The node's operation on a tangent that is given the axes that the operation names.
    fn whole(&mut self, node: &Node, dx: Value, axes: &[AxisId]) -> Value {
        let shape = self.b.shape(dx).union(&Shape::of(axes.iter().copied()));
        let dx = emit::spread(&mut self.b, dx, &shape);
        self.b.add(node.op.clone(), &[dx])
    }
}
