//! Local rewrites that hold for every input: constants are folded, operations that undo each other or change nothing are removed, loops
//! lose what need not pass through them.
//!
//! The result of every rewrite has the same axes as what it replaces: `x * 1` is `x` only where the 1 is a scalar. No rewrite reorders
//! additions, drops a NaN or an infinity (the sign of a zero may change), so float `x * 0` stays (integer `x * 0` goes). Stops of gradients stay: differentiation
//! comes later.

mod loops;
mod map;
mod pads;
mod shape;

use crate::build::Builder;
use crate::dce::dce;
use crate::entity::Value;
use crate::graph::{Graph, Node};
use crate::op::{Op, Scalar};
use crate::rewrite::{self, New, Rewrite};

/// Rewrites until nothing changes, and removes what that leaves dead.
pub fn simplify(graph: &Graph) -> Graph {
    let mut now = dce(graph);
    // Each round takes something away; the bound is a guard against rules that undo each other.
    for _ in 0..16 {
        let next = dce(&rewrite::graph(&now, &mut Simplify));
        if next == now {
            break;
        }
        now = next;
    }
    now
}

struct Simplify;

impl Rewrite for Simplify {
    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        match &node.op {
            Op::Map(_) => New::One(match pads::joined(b, &node) {
                Some(whole) => whole,
                None => map::simplify(b, node),
            }),
            Op::Loop(_) => loops::simplify(b, node),
            _ => New::One(shape::simplify(b, node)),
        }
    }
}

/// The scalar that a value is.
fn constant(b: &Builder<'_>, value: Value) -> Option<Scalar> {
    match b.region.node(value).op {
        Op::Const(scalar) => Some(scalar),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
