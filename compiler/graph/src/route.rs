//! Builds routed contractions.

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::op::Op;
use crate::shape::Shape;

/// The `sequence` and `ends` of positions along `axis`, for what has the axes `rest` beside it.
pub fn points(b: &mut Builder<'_>, positions: Value, axis: AxisId, rest: &Shape) -> [Value; 2] {
    let order = b.shape(positions).axes().to_vec();
    let shared = rest.intersection(b.shape(positions)).axes().to_vec();
    let route = b.add_many(Op::Route { axis, shared, order }, &[positions]);
    [route[0], route[1]]
}

/// `Contract(over)` of `x` and the entries of `w` along `axis` at the positions, which are never formed. All that routes by the same
/// positions to weights that share the same axes with them sorts once (equal nodes become one).
///
/// # Panics
/// Where the operands do not fit, as every node added through a [`Builder`].
pub fn routed(b: &mut Builder<'_>, x: Value, w: Value, positions: Value, axis: AxisId, over: &[AxisId]) -> Value {
    let rest = b.shape(w).without(axis);
    let [sequence, ends] = points(b, positions, axis, &rest);
    b.add(Op::Routed { axis, over: over.to_vec() }, &[x, w, positions, sequence, ends])
}

/// Sum into the positions of `x` times `y`: the gradient of [`routed`] in its weights.
///
/// # Panics
/// Where the operands do not fit, as every node added through a [`Builder`].
pub fn routed_outer(b: &mut Builder<'_>, x: Value, y: Value, positions: Value, axis: AxisId, keep: &[AxisId]) -> Value {
    let [sequence, ends] = points(b, positions, axis, &Shape::of(keep.iter().copied()));
    b.add(Op::RoutedOuter { axis, keep: keep.to_vec() }, &[x, y, positions, sequence, ends])
}
