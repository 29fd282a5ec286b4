//! Rules for operations that rename, split, merge and cut axes.

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::Node;
use crate::op::Op;

/// The node's value, with as little new as possible.
pub(super) fn simplify(b: &mut Builder<'_>, node: Node) -> Value {
    match step(b, &node) {
        Some(Step::Is(value)) => value,
        Some(Step::Becomes(op, inputs)) => {
            debug_assert!(op != node.op || inputs != node.inputs.as_slice());
            simplify(b, Node { op, inputs: inputs.as_slice().into(), ..node })
        }
        None => b.region.push(node),
    }
}

enum Step {
    Is(Value),
    Becomes(Op, Vec<Value>),
}

/// `rename` of pairs to `x`.
fn renamed(x: Value, pairs: Vec<(AxisId, AxisId)>) -> Step {
    Step::Becomes(Op::Rename(pairs), vec![x])
}

fn step(b: &Builder<'_>, node: &Node) -> Option<Step> {
    let size = |a: AxisId| b.axes[a.index()].size;
    let x = *node.inputs.first()?;
    let inner = b.region.node(x);
    let below = || inner.inputs[0];
    match (&node.op, &inner.op) {
        (Op::Reduce(_, over), _) if over.is_empty() => Some(Step::Is(x)),
        (Op::Rename(pairs), _) if pairs.iter().all(|p| p.0 == p.1) => Some(Step::Is(x)),
        (Op::Rename(pairs), _) if pairs.iter().any(|p| p.0 == p.1) => {
            Some(renamed(x, pairs.iter().copied().filter(|p| p.0 != p.1).collect()))
        }
        (Op::Rename(pairs), Op::Rename(first)) => Some(renamed(below(), composed(first, pairs))),
        (Op::Rename(pairs), Op::Iota(axis)) => {
            let to = pairs.iter().find(|p| p.0 == *axis).map_or(*axis, |p| p.1);
            Some(Step::Becomes(Op::Iota(to), vec![]))
        }
        (Op::Split { axis, into }, _) if into.len() == 1 => Some(renamed(x, vec![(*axis, into[0])])),
        (Op::Merge { from, into }, _) if from.len() == 1 => Some(renamed(x, vec![(from[0], *into)])),
        (Op::Split { axis, into }, Op::Merge { from, into: merged }) if axis == merged => {
            let matches = from.len() == into.len() && from.iter().zip(into).all(|(&f, &i)| size(f) == size(i));
            matches.then(|| renamed(below(), from.iter().copied().zip(into.iter().copied()).collect()))
        }
        (Op::Merge { from, into }, Op::Split { axis, into: parts }) if from == parts => Some(renamed(below(), vec![(*axis, *into)])),
        (Op::Slice { axis, start: 0, into } | Op::Pad { axis, start: 0, into }, _) if size(*axis) == size(*into) => {
            Some(renamed(x, vec![(*axis, *into)]))
        }
        (Op::Slice { axis, start, into }, Op::Slice { axis: whole, start: first, into: part }) if axis == part => {
            Some(Step::Becomes(Op::Slice { axis: *whole, start: start + first, into: *into }, vec![below()]))
        }
        (Op::Pad { axis, start, into }, Op::Pad { axis: part, start: first, into: whole }) if axis == whole => {
            Some(Step::Becomes(Op::Pad { axis: *part, start: start + first, into: *into }, vec![below()]))
        }
        (Op::Slice { axis, start, into }, Op::Pad { axis: part, start: first, into: whole })
            if axis == whole && start == first && size(*part) == size(*into) =>
        {
            Some(renamed(below(), vec![(*part, *into)]))
        }
        (Op::Slice { axis, start, into }, Op::Concat { axes, into: whole }) if axis == whole => {
            let mut at = 0;
            for (&piece, &value) in axes.iter().zip(&inner.inputs) {
                if at == *start && size(piece) == size(*into) {
                    return Some(renamed(value, vec![(piece, *into)]));
                }
                if at <= *start && start + size(*into) <= at + size(piece) {
                    return Some(Step::Becomes(Op::Slice { axis: piece, start: start - at, into: *into }, vec![value]));
                }
                at += size(piece);
            }
            None
        }
        (Op::Concat { axes, into }, _) if axes.len() == 1 => Some(renamed(x, vec![(axes[0], *into)])),
        (Op::Gather(axis), _) => match b.region.node(node.inputs[1]).op {
            Op::Iota(to) if size(to) == size(*axis) && !inner.ty.shape.contains(to) => Some(renamed(x, vec![(*axis, to)])),
            _ => None,
        },
        _ => None,
    }
}

/// One renaming after another, as one.
fn composed(first: &[(AxisId, AxisId)], then: &[(AxisId, AxisId)]) -> Vec<(AxisId, AxisId)> {
    let after = |axis: AxisId| then.iter().find(|p| p.0 == axis).map_or(axis, |p| p.1);
    let from_first = first.iter().map(|&(from, to)| (from, after(to)));
    let untouched = then.iter().copied().filter(|p| first.iter().all(|f| f.1 != p.0));
    from_first.chain(untouched).collect()
}
