//! The cost rule: which way a scan takes, and how long its chunks are. Costs are in multiply-accumulates of products of matrices; their weights
//! were fitted to times of the delta rule over 256 steps, with 2 heads of 128 to 16 of 16, forward and backward, on two cores with AVX2.

use super::plan::{Engine, Plan};
use super::{Chosen, Way};
use crate::entity::Value;
use crate::graph::{Axis, Node};
use crate::op::{Loop, Op};
use crate::shape::{Shape, elements};

/// Lengths of chunks that are tried.
const CHUNKS: [u64; 4] = [8, 16, 32, 64];
/// The shortest scan that is cut by itself.
const SHORTEST: u64 = 32;
/// What a kernel of a chunk costs besides its work, and how much more for each position (batch, head) that it treats.
const CHUNK_KERNEL: u64 = 40_000;
const CHUNK_POSITION: u64 = 300;
/// The same of a kernel of one step.
const STEP_KERNEL: u64 = 4_000;
const STEP_POSITION: u64 = 1_600;
/// What it costs to take up a number of the state, add to it and keep it, once for each chunk.
const CHUNK_TOUCH: u64 = 24;
/// What it costs each time that a step touches a number of the state.
const STEP_TOUCH: u64 = 2;

/// The way for a plan.
pub(super) fn choose(axes: &[Axis], l: &Loop, plan: &Plan, way: Way) -> Chosen {
    let whole = plan.carries.iter().any(|c| !matches!(c.engine, Engine::Sums { .. }));
    let named = |steps: u64| if whole { Chosen::Associative(steps) } else { Chosen::Chunks(steps) };
    let length = axes[l.axis.index()].size;
    let best = CHUNKS.into_iter().min_by_key(|&steps| chunked(axes, length, plan, steps)).unwrap_or(CHUNKS[0]);
    match way {
        Way::Step => Chosen::Step,
        Way::Chunk(Some(steps)) => named(steps),
        Way::Chunk(None) | Way::Associative => named(best),
        Way::Auto => {
            let worth = length >= SHORTEST && chunked(axes, length, plan, best) < stepped(axes, length, l, plan);
            if worth { named(best) } else { Chosen::Step }
        }
    }
}

/// Axes of values of the step.
fn axes_of(plan: &Plan, values: &[Value]) -> Shape {
    values.iter().fold(Shape::scalar(), |all, &v| all.union(&plan.step.region.ty(v).shape))
}

/// Axes of a state along which its parts keep to themselves: each runs by itself (batch, head).
fn apart(plan: &Plan, carry: usize) -> Shape {
    let carry = &plan.carries[carry];
    match &carry.engine {
        Engine::Sums { over, writes, readings } => {
            let keys: Vec<Value> = writes.iter().flat_map(|w| w.key.clone()).chain(readings.iter().flat_map(|r| r.inner.clone())).collect();
            axes_of(plan, &keys).minus(over).intersection(&carry.shape)
        }
        Engine::Whole { .. } | Engine::Coupled { .. } => Shape::scalar(),
    }
}

/// All steps one by one.
fn stepped(axes: &[Axis], length: u64, l: &Loop, plan: &Plan) -> u64 {
    // Functions of single numbers run as one kernel.
    let is_map = |n: &&Node| matches!(n.op, Op::Argument(_) | Op::Const(_) | Op::Iota(_) | Op::Project(_) | Op::Map(_));
    let kernels = 1 + l.body.nodes.iter().filter(|n| !is_map(n)).count() as u64;
    let mut work = 0u64;
    let mut times = 1;
    for (c, carry) in plan.carries.iter().enumerate() {
        let touched = match &carry.engine {
            Engine::Sums { writes, readings, .. } => 1 + 2 * writes.len() + readings.len(),
            Engine::Whole { .. } => 2,
            Engine::Coupled { with, .. } => 2 * with.len(),
        };
        work = work.saturating_add(elements(axes, &carry.shape).saturating_mul(touched as u64));
        times = times.max(elements(axes, &apart(plan, c)));
    }
    length.saturating_mul(work.saturating_mul(STEP_TOUCH).saturating_add(kernels.saturating_mul(STEP_KERNEL + STEP_POSITION * times)))
}

/// Chunks of so many steps.
fn chunked(axes: &[Axis], length: u64, plan: &Plan, steps: u64) -> u64 {
    let mut total = 0u64;
    for (c, carry) in plan.carries.iter().enumerate() {
        let state = elements(axes, &carry.shape);
        let cost = match &carry.engine {
            Engine::Sums { over, writes, readings } => {
                let shared = apart(plan, c);
                let (keys, kept) = (shared.union(over), carry.shape.minus(over));
                let corrected = u64::from(writes.iter().any(|w| !w.reads.is_empty()));
                let readers = readings.len() as u64 + corrected;
                let entries = writes.len() as u64;
                // Keys with readers and both with what is written; the system; what is read of and written to the state.
                let pairs = elements(axes, &keys).saturating_add(elements(axes, &kept)).saturating_mul(readers * entries);
                let square = (steps * steps).saturating_mul(pairs.saturating_add(corrected.saturating_mul(elements(axes, &kept)) / 2));
                let along = steps.saturating_mul(state).saturating_mul(readers + entries);
                let kernels = 3 * readers * entries + 3 * corrected + 2 * entries;
                let touched = CHUNK_TOUCH.saturating_mul(state);
                let launched = kernels.saturating_mul(CHUNK_KERNEL + CHUNK_POSITION * elements(axes, &shared));
                square.saturating_add(along).saturating_add(touched).saturating_add(launched)
            }
            Engine::Whole { .. } | Engine::Coupled { .. } => {
                // For each state, a row of a matrix times a matrix.
                let many = if let Engine::Coupled { with, .. } = &carry.engine { (with.len() * with.len()) as u64 } else { 1 };
                // Every level of doubling reads and writes all steps, and so does the backward pass.
                let levels = u64::from(steps.next_power_of_two().trailing_zeros());
                let passes = steps.saturating_mul(state).saturating_mul(many * (8 * levels + 10));
                passes.saturating_add(CHUNK_KERNEL)
            }
        };
        total = total.saturating_add(cost);
    }
    length.div_ceil(steps).saturating_mul(total)
}
