//! Steps that can be taken back: a new state that is the old one and something that is had without the states. The backward pass then needs
//! none of the states that the scan went through: it starts from the last and takes away what each step added, to rounding.
//!
//! What was added depends on no state, or it is a product of values that are small beside the state (a write of a value to a key): those are
//! kept, and the product is made again.

use super::activity;
use crate::entity::Value;
use crate::graph::{Axis, Graph, Node, Region};
use crate::op::{Loop, LoopKind, MapFn, Op};
use crate::rewrite::{self, New, Rewrite};
use std::collections::{BTreeMap, BTreeSet};

/// How many times smaller than the state all that is kept for what was added must be.
const SMALLER: u64 = 4;

/// How the new value of a carry came from the old one, undone: `f(new, difference)` is the old one.
pub(super) struct Inverse {
    pub(super) f: MapFn,
    pub(super) difference: Value,
    /// Values that depend on states and must be kept for the difference.
    pub(super) keeps: BTreeSet<Value>,
}

/// The inverse of carry `i` of a body with these arguments, if it is a sum.
pub(super) fn inverse(
    axes: &[Axis],
    body: &Region,
    result: Value,
    carries: usize,
    i: usize,
    arguments: &BTreeMap<u32, Value>,
) -> Option<Inverse> {
    let old = *arguments.get(&(i as u32))?;
    let node = body.node(result);
    let (f, difference) = match (&node.op, node.inputs.as_slice()) {
        (Op::Map(MapFn::Add), &[a, b]) if a == old => (MapFn::Sub, b),
        (Op::Map(MapFn::Add), &[a, b]) if b == old => (MapFn::Sub, a),
        (Op::Map(MapFn::Sub), &[a, b]) if a == old => (MapFn::Add, b),
        _ => return None,
    };
    let states = (0..carries as u32).filter_map(|k| arguments.get(&k).copied());
    let fits = body.ty(old).shape == node.ty.shape && body.ty(old).dtype.is_float();
    if !fits {
        return None;
    }
    let keeps = keeps(axes, body, difference, bytes(axes, body, old), &activity::dependents(body, states))?;
    Some(Inverse { f, difference, keeps })
}

/// What is to be kept of a step so that a value can be made again that is as large as a state.
fn keeps(axes: &[Axis], body: &Region, difference: Value, state: u64, depends: &[bool]) -> Option<BTreeSet<Value>> {
    let (mut found, mut stack) = (BTreeSet::new(), vec![difference]);
    while let Some(v) = stack.pop() {
        let node = body.node(v);
        if !depends[v.index()] || found.contains(&v) {
            continue;
        }
        let small = bytes(axes, body, v).saturating_mul(SMALLER) <= state;
        match &node.op {
            _ if small => drop(found.insert(v)),
            Op::Map(_) | Op::Rename(_) => stack.extend(&node.inputs),
            _ => return None,
        }
    }
    let all: u64 = found.iter().map(|&v| bytes(axes, body, v)).sum();
    (all.saturating_mul(SMALLER) <= state).then_some(found)
}

fn bytes(axes: &[Axis], body: &Region, v: Value) -> u64 {
    crate::shape::bytes(axes, body.ty(v))
}

/// Bytes of the states of one step that the backward pass can compute backwards, and of all.
pub(crate) fn invertible(axes: &[Axis], l: &Loop) -> (u64, u64) {
    let mut body = l.body.clone();
    let arguments = super::loops::unify_arguments(&mut body);
    let bytes = |v: Value| bytes(axes, &body, v);
    let mut sums = (0u64, 0u64);
    for (i, &result) in body.results[..l.carries].iter().enumerate() {
        sums.1 = sums.1.saturating_add(bytes(result));
        if !body.ty(result).shape.contains(l.axis) && inverse(axes, &body, result, l.carries, i, &arguments).is_some() {
            sums.0 = sums.0.saturating_add(bytes(result));
        }
    }
    sums
}

/// Every scan as an ordinary one: what is left of those that were to be inverted and that nothing differentiated.
pub fn ordinary(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Ordinary)
}

struct Ordinary;

impl Rewrite for Ordinary {
    fn node(&mut self, b: &mut crate::build::Builder<'_>, node: Node, _old: Value) -> New {
        New::One(match node.op {
            Op::Loop(l) if l.kind == LoopKind::Inverted => {
                b.region.push(Node { op: Op::Loop(Box::new(Loop { kind: LoopKind::Scan, ..*l })), ..node })
            }
            _ => b.region.push(node),
        })
    }
}
