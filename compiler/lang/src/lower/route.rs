//! Selections as operations of the graph. Choices are sorted once for all that use them, forward and backward.

use super::inline::Inline;
use ogive_graph::{AxisId, Op as Primitive, Shape, Value};

impl Inline<'_, '_> {
    /// Positions of the largest scores.
    pub(super) fn top(&mut self, over: &[AxisId], slot: AxisId, scores: &[Value]) -> Value {
        self.builder.add(Primitive::TopK { over: over.to_vec(), into: slot }, scores)
    }

    /// The sum over `over` of `x` and of the weights at `positions` along `axis`. `own` are the dims of the positions as their block sees
    /// them.
    pub(super) fn routed(&mut self, axis: AxisId, over: &[AxisId], operands: &[Value], own: &Shape) -> Value {
        let [x, w, positions] = *operands else { panic!("a fault in ogive: a routed contraction has three operands") };
        let chosen = self.builder.shape(positions).clone();
        let shared: Vec<AxisId> = self.builder.shape(w).without(axis).intersection(&chosen).iter().collect();
        // as tensors lie in memory: the batch, what else is lifted over, the block's own dims, the choices of one point side by side
        let lies = |a: &AxisId| (own.contains(*a), Some(*a) != self.program.batch && a.index() < self.program.axes.len(), *a);
        let mut order: Vec<AxisId> = chosen.iter().collect();
        order.sort_by_key(lies);
        let route = self.builder.add_many(Primitive::Route { axis, shared, order }, &[positions]);
        let over = over.to_vec();
        self.builder.add(Primitive::Routed { axis, over }, &[x, w, positions, route[0], route[1]])
    }
}
