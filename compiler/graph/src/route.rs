//! Builds routed contractions.

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::op::Op;

/// `Contract(over)` of `x` and the entries of `w` along `axis` at the positions, which are never formed. All that routes by the same
/// positions to weights that share the same axes with them sorts once (equal nodes become one).
///
/// # Panics
/// Where the operands do not fit, as every node added through a [`Builder`].
pub fn routed(b: &mut Builder<'_>, x: Value, w: Value, positions: Value, axis: AxisId, over: &[AxisId]) -> Value {
    let order = b.shape(positions).axes().to_vec();
    let shared = b.shape(w).intersection(b.shape(positions)).axes().to_vec();
    let route = b.add_many(Op::Route { axis, shared, order }, &[positions]);
    b.add(Op::Routed { axis, over: over.to_vec() }, &[x, w, positions, route[0], route[1]])
}
