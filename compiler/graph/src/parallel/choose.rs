//! The cost rule: which way a scan takes, and how long its chunks are.

use super::plan::{Engine, Plan};
use super::{Chosen, Way};
use crate::graph::Axis;
use crate::op::{Loop, Op};
use crate::shape::Shape;
use crate::transition::form::When;

/// Lengths of chunks that are tried.
const CHUNKS: [u64; 3] = [16, 32, 64];
/// What starting a kernel costs, in multiply-accumulates.
const START: u64 = 8_000;
/// Multiply-accumulates of matrix products that cost as much as one on vectors and states that pass through memory.
const MATRICES: u64 = 4;

/// The way for a plan.
pub(super) fn choose(axes: &[Axis], l: &Loop, plan: &Plan, way: Way) -> Chosen {
    let whole = plan.carries.iter().any(|c| matches!(c.engine, Engine::Whole { .. }));
    let named = |steps: u64| if whole { Chosen::Associative(steps) } else { Chosen::Chunks(steps) };
    let length = axes[l.axis.index()].size;
    let best = CHUNKS.into_iter().min_by_key(|&c| chunked(axes, length, plan, c)).unwrap_or(CHUNKS[0]);
    match way {
        Way::Step => Chosen::Step,
        Way::Chunk(Some(steps)) => named(steps),
        Way::Chunk(None) | Way::Associative => named(best),
        Way::Auto => {
            let worth = length >= 2 * best && chunked(axes, length, plan, best) < stepped(axes, length, l, plan);
            if worth { named(best) } else { Chosen::Step }
        }
    }
}

fn elements(axes: &[Axis], shape: &Shape) -> u64 {
    shape.iter().fold(1, |n: u64, a| n.saturating_mul(axes[a.index()].size))
}

/// Work of all steps one by one.
fn stepped(axes: &[Axis], length: u64, l: &Loop, plan: &Plan) -> u64 {
    let mut work = 0u64;
    let kernels = l.body.nodes.iter().filter(|n| !matches!(n.op, Op::Argument(_) | Op::Const(_) | Op::Iota(_))).count() as u64;
    for carry in &plan.carries {
        let touched = match &carry.engine {
            Engine::Sums { writes, readings, .. } => {
                1 + writes.len() + writes.iter().map(|w| w.reads.len()).sum::<usize>() + readings.len()
            }
            Engine::Whole { .. } => 2,
        };
        work = work.saturating_add(elements(axes, &carry.shape).saturating_mul(touched as u64));
    }
    length.saturating_mul(work.saturating_add(kernels * START))
}

/// Work in chunks of `steps`.
fn chunked(axes: &[Axis], length: u64, plan: &Plan, steps: u64) -> u64 {
    let chunks = length.div_ceil(steps);
    let mut work = 0u64;
    let mut kernels = 0u64;
    for carry in &plan.carries {
        let state = elements(axes, &carry.shape);
        match &carry.engine {
            Engine::Sums { over, writes, readings } => {
                let region = &plan.step.region;
                let of = |values: &[crate::Value]| values.iter().fold(Shape::scalar(), |s, &v| s.union(&region.ty(v).shape));
                let kept = carry.shape.minus(over);
                for write in writes {
                    let shared = of(&write.key).minus(over);
                    let written = elements(axes, &kept.union(&shared));
                    let corrected = u64::from(!write.reads.is_empty());
                    let readers = readings.len() as u64 + corrected;
                    // Products of keys with readers, the system, products with what is written.
                    let pairs = elements(axes, &shared.union(over)).saturating_mul(readers);
                    let square = steps * steps;
                    work = work.saturating_add(square.saturating_mul(pairs.saturating_add(written.saturating_mul(readers))));
                    work = work.saturating_add(steps.saturating_mul(state).saturating_mul(1 + corrected));
                    kernels += 4 * readers + 4;
                }
                let read = readings.iter().filter(|r| r.when == When::After || r.when == When::Before).count() as u64;
                work = work.saturating_add(steps.saturating_mul(state).saturating_mul(read));
                kernels += 3 * read;
                work = work.saturating_mul(1) / MATRICES;
            }
            Engine::Whole { .. } => {
                let levels = u64::from(steps.next_power_of_two().trailing_zeros());
                work = work.saturating_add(steps.saturating_mul(state).saturating_mul(2 * levels + 2));
                kernels += 2;
            }
        }
    }
    chunks.saturating_mul(work.saturating_add(kernels * START))
}
