//! What a loop keeps for its backward pass: the set of values with the fewest bytes from which, together with the loop's stacked inputs,
//! invariants and collected values, all that the backward step reads can be recomputed by cheap steps.
//!
//! Cheap are element-wise functions, movements of positions, constants, and random numbers: what a fused kernel recomputes while it reads.
//! Never recomputed are contractions, reductions, softmax, gathers, selections, sorted points, attention and loops; these and the carries are where a value must be
//! kept or replaced by what is computed from it. The best set is a minimum cut between those and what is needed; among equals, the one with
//! the least to recompute. A value that a fused forward kernel would not write to memory costs a quarter more than one that it writes.

use super::activity::is_joint;
use super::cut::{Flow, NEVER};
use crate::entity::Value;
use crate::graph::{Axis, Region};
use crate::op::Op;
use std::collections::BTreeSet;

/// How a value of the forward step can be had in the backward step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// It is there: an invariant, a slice of a stacked input, something already collected.
    Free,
    /// By recomputing it from its inputs.
    Cheap,
    /// Only by keeping it.
    Dear,
}

/// How an operation's result can be had; arguments are for the caller to judge.
pub(super) fn effort(op: &Op) -> Origin {
    match op {
        Op::Const(_) | Op::Iota(_) => Origin::Free,
        Op::Map(_) | Op::Random(_) | Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } => Origin::Cheap,
        Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. } => Origin::Cheap,
        Op::Input(_) | Op::Param(_) | Op::Argument(_) => Origin::Dear,
        Op::Reduce(..) | Op::ArgMax(_) | Op::Contract(_) | Op::Gather(_) | Op::ScatterAdd { .. } | Op::Softmax(_) => Origin::Dear,
        Op::TopK { .. } | Op::Route { .. } | Op::Routed { .. } | Op::RoutedOuter { .. } | Op::Solve { .. } => Origin::Dear,
        Op::LogSumExp(_) | Op::Attend(_) | Op::AttendGrad(_) | Op::Loop(_) | Op::Project(_) => Origin::Dear,
    }
}

/// The values to keep so that all of `needed` can be had; `origins` says how each value can be had.
pub(super) fn choose(region: &Region, axes: &[Axis], origins: &[Origin], late: &[bool], needed: &BTreeSet<Value>) -> BTreeSet<Value> {
    let count = region.nodes.len();
    let written = written(region, origins, late);
    let (source, sink) = (2 * count, 2 * count + 1);
    let mut flow = Flow::new(2 * count + 2);
    let mut seen = vec![false; count];
    let mut stack: Vec<Value> = needed.iter().rev().copied().collect();
    while let Some(value) = stack.pop() {
        let index = value.index();
        if seen[index] || origins[index] == Origin::Free {
            continue;
        }
        seen[index] = true;
        let quarters = if written[index] { 4 } else { 5 };
        // Of what has several results, the results are kept.
        let price = if is_joint(&region.node(value).op) { NEVER } else { quarters * bytes(region, axes, value) };
        flow.edge(2 * index, 2 * index + 1, price);
        if needed.contains(&value) {
            flow.edge(2 * index + 1, sink, NEVER);
        }
        if origins[index] == Origin::Dear {
            flow.edge(source, 2 * index, NEVER);
            continue;
        }
        for &input in &region.node(value).inputs {
            if origins[input.index()] != Origin::Free {
                flow.edge(2 * input.index() + 1, 2 * index, NEVER);
                stack.push(input);
            }
        }
    }
    let side = flow.sink_side(source, sink);
    (0..count).filter(|&i| seen[i] && !side[2 * i] && side[2 * i + 1]).map(|i| Value(i as u32)).collect()
}

/// For each value, whether the forward step writes it to memory in any case: it comes out of an operation that does not fuse or of
/// the element-wise step right behind a contraction or of any behind a reduction, or goes into an operation that reads whole tensors.
fn written(region: &Region, origins: &[Origin], late: &[bool]) -> Vec<bool> {
    let mut written: Vec<bool> = origins.iter().map(|&o| o == Origin::Dear).collect();
    let mut reduced = vec![false; region.nodes.len()];
    for (index, node) in region.nodes.iter().enumerate().filter(|&(index, _)| !late[index]) {
        match node.op {
            Op::Contract(_) | Op::Gather(_) | Op::ScatterAdd { .. } | Op::Attend(_) | Op::AttendGrad(_) | Op::Loop(_) => {
                node.inputs.iter().for_each(|v| written[v.index()] = true);
            }
            Op::TopK { .. } | Op::Route { .. } | Op::Routed { .. } | Op::RoutedOuter { .. } | Op::Solve { .. } => {
                node.inputs.iter().for_each(|v| written[v.index()] = true);
            }
            Op::Reduce(..) | Op::LogSumExp(_) => reduced[index] = true,
            Op::Map(_) => {
                let mut alike = node.inputs.iter().filter(|v| region.ty(**v).shape == node.ty.shape);
                reduced[index] = alike.clone().any(|v| reduced[v.index()]);
                written[index] |= reduced[index] || alike.any(|v| matches!(region.node(*v).op, Op::Contract(_)));
            }
            Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } => written[index] |= written[node.inputs[0].index()],
            _ => {}
        }
    }
    written
}

/// Bytes of a value, within what the flow can add up.
fn bytes(region: &Region, axes: &[Axis], value: Value) -> u64 {
    crate::shape::bytes(axes, region.ty(value)).clamp(1, NEVER / 1024)
}
