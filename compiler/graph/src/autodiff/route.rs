//! Derivatives of routed contraction. Both operations are linear in each of their two operands, and each is the other's gradient: points
//! stay sorted as they were.

use super::emit;
use super::forward::Forward;
use super::reverse::Sweep;
use crate::entity::{AxisId, Value};
use crate::graph::Node;
use crate::op::{Op, ReduceFn};
use crate::shape::Shape;

impl Sweep<'_> {
    /// From the cotangent of a `Routed`: a `Routed` with the same weights, and the `RoutedOuter` of both operands' rows.
    pub(super) fn routed(&mut self, node: &Node, axis: AxisId, dy: Value) {
        let dy = emit::spread(&mut self.b, dy, &node.ty.shape);
        let [x, w] = [node.inputs[0], node.inputs[1]];
        let rest = self.b.shape(w).without(axis);
        if self.wants(x) {
            let to = self.b.shape(x).clone();
            let dx = self.weighted(node, axis, &rest, [dy, w], &to);
            self.give(x, dx);
        }
        if self.wants(w) {
            let inputs = [x, dy, node.inputs[2], node.inputs[3], node.inputs[4]];
            let dw = self.b.add(Op::RoutedOuter { axis, keep: rest.axes().to_vec() }, &inputs);
            self.give(w, dw);
        }
    }

    /// From the cotangent of a `RoutedOuter`, which is of the kind of weights: a `Routed` with it for each operand.
    pub(super) fn routed_outer(&mut self, node: &Node, axis: AxisId, keep: &[AxisId], dy: Value) {
        let dy = emit::spread(&mut self.b, dy, &node.ty.shape);
        let keep = Shape::of(keep.iter().copied());
        let [x, y] = [node.inputs[0], node.inputs[1]];
        for (operand, other) in [(x, y), (y, x)] {
            if !self.wants(operand) {
                continue;
            }
            let to = self.b.shape(operand).clone();
            let known = keep.union(self.b.shape(node.inputs[2])).union(&to);
            let apart = self.b.shape(other).minus(&known);
            let other = self.b.reduce(ReduceFn::Sum, other, apart.axes());
            let dx = self.weighted(node, axis, &keep, [other, dy], &to);
            self.give(operand, dx);
        }
    }

    /// `Routed` of a value and weights (whose axes but `axis` are `rest`) at the node's points, summed over what `to` lacks.
    fn weighted(&mut self, node: &Node, axis: AxisId, rest: &Shape, [x, w]: [Value; 2], to: &Shape) -> Value {
        let all = self.b.shape(x).union(rest).union(self.b.shape(node.inputs[2]));
        let over = all.minus(to).axes().to_vec();
        self.b.add(Op::Routed { axis, over }, &[x, w, node.inputs[2], node.inputs[3], node.inputs[4]])
    }
}

impl Forward<'_, '_> {
    /// The tangent of an operation that is linear in each of its first two operands; the others do not move.
    pub(super) fn bilinear(&mut self, node: &Node) -> Option<Value> {
        let mut parts = Vec::new();
        for i in 0..2 {
            let Some(&d) = self.tangents.get(&node.inputs[i]) else { continue };
            let full = self.b.shape(node.inputs[i]).clone();
            let mut inputs = node.inputs.clone();
            inputs[i] = emit::spread(&mut self.b, d, &full);
            parts.push(self.b.add(node.op.clone(), &inputs));
        }
        emit::total(&mut self.b, &parts)
    }
}
