//! Scans whose states are linear, computed for many steps at once.
//!
//! The steps are cut into chunks. Within a chunk everything is products of matrices; from chunk to chunk the states are handed on by a scan
//! that has one step for each chunk. For a state that is read along its key axes ([`sums`]), the chunk's writes and the state at its start
//! give every reading; where each write corrects what the state says along its key (the delta rule), a triangular system gives the corrected
//! writes first (the WY form: Bischof and Van Loan 1987; for the delta rule Yang et al. 2024). For a state that is needed as a whole
//! ([`whole`]), an associative scan of (factor, addition) gives it at every step (Blelloch 1990; within a chunk by doubling, Hillis and
//! Steele 1986). So it does for several that are computed from each other number by number ([`coupled`]).
//!
//! Where only the last states are read, [`ends`] needs neither readings nor the states at every step.
//!
//! The result equals the step form up to rounding. Derivatives are those of the rewritten graph: what is kept for them grows with length
//! times width, and with the state once for each chunk.

mod choose;
mod coupled;
mod emit;
mod ends;
mod plan;
mod sums;
mod whole;

pub use ends::{ends, ends_always};

use crate::build::Builder;
use crate::entity::Value;
use crate::graph::{Graph, Node};
use crate::op::{Loop, LoopKind, Op};
use crate::rewrite::{self, New, Rewrite};
use plan::Plan;
use std::fmt;
use std::str::FromStr;

/// How scans are computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Way {
    /// The cheapest.
    #[default]
    Auto,
    /// Step by step.
    Step,
    /// In chunks, where states are linear; of so many steps, if given.
    Chunk(Option<u64>),
    /// By an associative scan, where states are linear and their numbers do not mix, but for those of several states at one place.
    Associative,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Auto => f.write_str("auto"),
            Way::Step => f.write_str("step"),
            Way::Chunk(None) => f.write_str("chunk"),
            Way::Chunk(Some(steps)) => write!(f, "chunk({steps})"),
            Way::Associative => f.write_str("associative"),
        }
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sized = || text.strip_prefix("chunk(")?.strip_suffix(')')?.trim().parse::<u64>().ok().filter(|n| (1..=4096).contains(n));
        match text {
            "auto" => Ok(Way::Auto),
            "step" => Ok(Way::Step),
            "chunk" => Ok(Way::Chunk(None)),
            "associative" => Ok(Way::Associative),
            _ => sized()
                .map(|n| Way::Chunk(Some(n)))
                .ok_or_else(|| format!("`{text}` is none of auto, step, chunk, chunk(STEPS) with 1 to 4096 steps, associative")),
        }
    }
}

/// How a scan is computed in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chosen {
    /// Step by step.
    Step,
    /// In chunks of so many steps.
    Chunks(u64),
    /// By an associative scan in chunks of so many steps.
    Associative(u64),
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chosen::Step => f.write_str("step by step"),
            Chosen::Chunks(steps) => write!(f, "chunkwise, {steps} steps each"),
            Chosen::Associative(steps) => write!(f, "associative, in chunks of {steps} steps"),
        }
    }
}

/// The way that [`parallel`] takes for a loop.
pub fn chosen(graph: &Graph, l: &Loop, way: Way) -> Chosen {
    let mut axes = graph.axes.clone();
    decided(&mut axes, l, way).map_or(Chosen::Step, |d| d.1)
}

fn decided(axes: &mut Vec<crate::Axis>, l: &Loop, way: Way) -> Option<(Plan, Chosen)> {
    if l.kind != LoopKind::Scan || way == Way::Step || axes[l.axis.index()].size == 0 {
        return None;
    }
    let plan = Plan::new(axes, l, way)?;
    let chosen = choose::choose(axes, l, &plan, way);
    (chosen != Chosen::Step).then_some((plan, chosen))
}

/// Rewrites every scan that `way` computes for many steps at once.
pub fn parallel(graph: &Graph, way: Way) -> Graph {
    if way == Way::Step {
        return graph.clone();
    }
    rewrite::graph(graph, &mut Parallel { way })
}

struct Parallel {
    way: Way,
}

impl Rewrite for Parallel {
    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        let Op::Loop(l) = &node.op else { return New::One(b.region.push(node)) };
        match decided(b.axes, l, self.way) {
            Some((plan, Chosen::Chunks(steps) | Chosen::Associative(steps))) => New::Results(emit::emit(b, l, &node.inputs, plan, steps)),
            _ => New::One(b.region.push(node)),
        }
    }
}
