//! Sums of what was padded to parts of an axis that do not meet, as one value joined of the parts.

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::Node;
use crate::op::{MapFn, Op};

/// Most terms that are looked at.
const MOST: usize = 64;

/// The parts side by side, plus at most one other term: with several the order of additions would change.
pub(super) fn joined(b: &mut Builder<'_>, node: &Node) -> Option<Value> {
    if node.op != Op::Map(MapFn::Add) {
        return None;
    }
    let (mut terms, mut stack) = (Vec::new(), node.inputs.to_vec());
    while let Some(v) = stack.pop() {
        let term = b.region.node(v);
        match term.op {
            Op::Map(MapFn::Add) if term.ty.shape == node.ty.shape && terms.len() < MOST => stack.extend(&term.inputs),
            _ => terms.push(v),
        }
    }
    let whole = terms.iter().find_map(|&v| match b.region.node(v).op {
        Op::Pad { into, .. } if b.shape(v) == &node.ty.shape => Some(into),
        _ => None,
    })?;
    let mut parts: Vec<(u64, AxisId, Value)> = Vec::new();
    let mut others = Vec::new();
    for v in terms {
        let term = b.region.node(v);
        match term.op {
            Op::Pad { axis, start, into } if into == whole && term.ty.shape == node.ty.shape => parts.push((start, axis, term.inputs[0])),
            _ => others.push(v),
        }
    }
    parts.sort_by_key(|p| p.0);
    let end = parts.iter().try_fold(0, |at, p| (p.0 == at).then(|| at + b.axes[p.1.index()].size));
    if end != Some(b.axes[whole.index()].size) || parts.len() < 2 || others.len() > 1 {
        return None;
    }
    let values: Vec<Value> = parts.iter().map(|p| p.2).collect();
    let all = b.add(Op::Concat { axes: parts.iter().map(|p| p.1).collect(), into: whole }, &values);
    Some(others.into_iter().fold(all, |sum, other| b.map(MapFn::Add, &[other, sum])))
}
