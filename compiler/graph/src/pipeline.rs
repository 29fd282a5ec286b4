//! The passes, in order, and what runs them.
//!
//! [`FORWARD`] prepares a lowered graph: attention is recognised once constants are folded and before hoisting could carry a mask out of
//! its loop. Whoever wants gradients differentiates its result. [`BACKEND`] then prepares either kind of graph for `fuse`: softmax becomes
//! nodes that fuse, stops of gradients have done their work, what differentiation wrote twice becomes one, and what sums should
//! compute for themselves is written twice again.

use crate::again::{again, again_always};
use crate::autodiff::inverse::ordinary;
use crate::batch::batch;
use crate::cse::cse;
use crate::dce::dce;
use crate::decompose::decompose;
use crate::distribute::distribute;
use crate::factor::factor;
use crate::graph::{Graph, Region};
use crate::hoist::hoist;
use crate::lookup::{lookup, lookup_always};
use crate::op::Op;
use crate::parallel::{Way, ends, ends_always, parallel};
use crate::part::part;
use crate::peel::{peel, peel_always};
use crate::products::products;
use crate::recognise::recognise;
use crate::recompute::recompute;
use crate::rowwise::{rowwise, rowwise_always};
use crate::segment::{Keep, segments};
use crate::simplify::simplify;
use crate::single::single;
use crate::sink::sink;
use crate::text::print;
use crate::totals::totals;
use crate::verify::{VerifyError, verify};
use crate::within::{within, within_always};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// A function from graph to graph.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// The word for it in messages and traces.
    pub name: &'static str,
    /// The pass.
    pub run: fn(&Graph) -> Graph,
}

const fn pass(name: &'static str, run: fn(&Graph) -> Graph) -> Pass {
    Pass { name, run }
}

/// From lowering to differentiation.
pub const FORWARD: &[Pass] = &[
    pass("simplify", simplify),
    pass("cse", cse),
    pass("recognise", recognise),
    pass("simplify", simplify),
    pass("factor", factor),
    pass("dce", dce),
    pass("hoist", hoist),
    pass("batch", batch),
    pass("cse", cse),
    pass("dce", dce),
];

/// [`FORWARD`] where scans are to learn forward in time: what a step computes from parameters stays in the step, whose sensitivities are
/// carried. [`BACKEND`] takes it out afterwards.
pub const FORWARD_IN_TIME: &[Pass] = &[
    pass("simplify", simplify),
    pass("cse", cse),
    pass("recognise", recognise),
    pass("simplify", simplify),
    pass("hoist", hoist),
    pass("cse", cse),
    pass("dce", dce),
];

/// From differentiation (or none) to fusion.
pub const BACKEND: &[Pass] = &[
    pass("ordinary", ordinary),
    pass("single", single),
    pass("simplify", simplify),
    pass("decompose", decompose),
    pass("cse", cse),
    pass("hoist", hoist),
    pass("batch", batch),
    pass("simplify", simplify),
    pass("cse", cse),
    pass("dce", dce),
    pass("ends", ends),
    pass("simplify", simplify),
    pass("cse", cse),
    pass("distribute", distribute),
    pass("lookup", lookup),
    pass("totals", totals),
    pass("simplify", simplify),
    pass("cse", cse),
    pass("dce", dce),
    pass("within", within),
    pass("dce", dce),
    pass("sink", sink),
    pass("part", part),
    pass("dce", dce),
    pass("recompute", recompute),
    pass("again", again),
    pass("products", products),
    pass("dce", dce),
];

/// [`BACKEND`]; where every scan is to run one step after the other, without what would do otherwise.
pub fn backend(step_by_step: bool) -> Vec<Pass> {
    BACKEND.iter().filter(|p| !(step_by_step && p.name == "ends")).copied().collect()
}

/// [`BACKEND`] with passes that do their work even where it does not pay: what tests run, on graphs that are small.
pub fn eager() -> Vec<Pass> {
    let of = |p: &Pass| match p.name {
        "ends" => pass("ends, always", ends_always),
        "lookup" => pass("lookup, always", lookup_always),
        "within" => pass("within, always", within_always),
        "again" => pass("again, always", again_always),
        _ => *p,
    };
    BACKEND.iter().map(of).collect()
}

/// [`FORWARD`], and what [`prepare`] does for looked-up rows, even where it does not pay.
pub fn eager_forward() -> Vec<Pass> {
    let rows = [pass("peel, always", peel_always), pass("rowwise, always", rowwise_always), pass("cse", cse), pass("dce", dce)];
    FORWARD.iter().copied().chain(rows).collect()
}

/// How long a pass took and what it left.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The pass.
    pub pass: &'static str,
    /// Wall time, without verification.
    pub time: Duration,
    /// Nodes after it, in all regions.
    pub nodes: usize,
}

/// A pass that broke the graph: a fault in ogive.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The pass; `input` where the graph was broken before any.
    pub pass: &'static str,
    /// What is wrong.
    pub errors: Vec<VerifyError>,
    /// Message of a pass that panicked.
    pub panic: Option<String>,
    /// Text of the graph that the pass was given.
    pub before: String,
    /// Text of the graph that it gave, where it gave one.
    pub after: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a fault in ogive: after `{}`", self.pass)?;
        if let Some(panic) = &self.panic {
            write!(f, ", which stopped: {panic}")?;
        }
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Runs passes one after another; with `check`, the graph is verified before the first and after each.
///
/// # Errors
/// The first pass after which the graph is not well formed, or that panicked.
pub fn run(graph: &Graph, passes: &[Pass], check: bool) -> Result<(Graph, Vec<Timing>), Box<Failure>> {
    if check && let Err(errors) = verify(graph) {
        let before = print(graph);
        return Err(Box::new(Failure { pass: "input", errors, panic: None, after: before.clone(), before }));
    }
    let mut now = graph.clone();
    let mut timings = Vec::with_capacity(passes.len());
    for pass in passes {
        let (next, time) = apply(pass.name, &pass.run, now, check)?;
        timings.push(Timing { pass: pass.name, time, nodes: count(&next.region) });
        now = next;
    }
    Ok((now, timings))
}

/// One pass over a graph.
fn apply(pass: &'static str, run: &dyn Fn(&Graph) -> Graph, now: Graph, check: bool) -> Result<(Graph, Duration), Box<Failure>> {
    let start = Instant::now();
    let next = match catch_unwind(AssertUnwindSafe(|| run(&now))) {
        Ok(next) => next,
        Err(payload) => {
            let message = payload.downcast_ref::<String>().cloned().or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
            let panic = Some(message.unwrap_or_else(|| "no message".into()));
            return Err(Box::new(Failure { pass, errors: Vec::new(), panic, before: print(&now), after: String::new() }));
        }
    };
    let time = start.elapsed();
    if check && let Err(errors) = verify(&next) {
        return Err(Box::new(Failure { pass, errors, panic: None, before: print(&now), after: print(&next) }));
    }
    Ok((next, time))
}

/// What tidies up after scans were rewritten, and leaves functions of looked-up rows to their table.
const TIDY: &[Pass] = &[pass("simplify", simplify), pass("cse", cse), pass("rowwise", rowwise), pass("cse", cse), pass("dce", dce)];

/// How scans are computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scans {
    /// One step after the other, or many at once.
    pub way: Way,
    /// What they keep for the backward pass.
    pub keep: Keep,
}

impl Scans {
    /// Step by step, with all states kept.
    pub const PLAIN: Scans = Scans { way: Way::Step, keep: Keep::Save };
}

/// [`FORWARD`], and scans computed as `scans` says.
///
/// # Errors
/// As [`run`].
pub fn prepare(graph: &Graph, scans: Scans, check: bool) -> Result<Graph, Box<Failure>> {
    let (mut graph, _) = run(graph, FORWARD, check)?;
    if scans == Scans::PLAIN {
        return Ok(graph);
    }
    (graph, _) = apply("peel", &peel, graph, check)?;
    (graph, _) = apply("parallel", &|graph| parallel(graph, scans.way), graph, check)?;
    (graph, _) = apply("segment", &|graph| segments(graph, scans.keep), graph, check)?;
    run(&graph, TIDY, check).map(|r| r.0)
}

/// Nodes of a region and of the bodies in it.
pub fn count(region: &Region) -> usize {
    let inner = region.nodes.iter().map(|n| if let Op::Loop(l) = &n.op { count(&l.body) } else { 0 });
    region.nodes.len() + inner.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sample, shape::Ty};

    #[test]
    fn both_lists_keep_every_sample_well_formed() {
        for seed in 0..200 {
            let graph = sample::graph(seed, 60);
            let (forward, timings) = run(&graph, FORWARD, true).unwrap_or_else(|f| panic!("{seed}: {f}\n{}\n{}", f.before, f.after));
            assert_eq!(timings.len(), FORWARD.len());
            let (backend, _) = run(&forward, BACKEND, true).unwrap_or_else(|f| panic!("{seed}: {f}\n{}\n{}", f.before, f.after));
            let text = print(&backend);
            assert!(!text.contains("softmax") && !text.contains("stop_gradient"));
            assert_eq!(print(&run(&forward, BACKEND, false).unwrap().0), text, "the same twice");
        }
    }

    fn breaks(graph: &Graph) -> Graph {
        let mut graph = graph.clone();
        if let Some(node) = graph.region.nodes.last_mut() {
            node.ty = Ty::scalar(crate::DType::Bool);
        }
        graph
    }

    fn stops(_: &Graph) -> Graph {
        panic!("a fault in ogive: on purpose")
    }

    #[test]
    fn a_pass_that_breaks_the_graph_is_named_with_the_graph_before_and_after() {
        let graph = crate::parse::parse("axis a = 2\n%0 = iota a : i32[a]\n").unwrap();
        let failure = run(&graph, &[pass("cse", cse), pass("spoil", breaks)], true).unwrap_err();
        assert_eq!(failure.pass, "spoil");
        assert!(failure.before.contains("i32[a]") && failure.after.contains("bool[]"));
        assert!(failure.to_string().contains("after `spoil`\n  %0: recorded as bool[]"));
    }

    #[test]
    fn a_pass_that_panics_is_named() {
        let failure = run(&Graph::default(), &[pass("stop", stops)], true).unwrap_err();
        assert_eq!(failure.to_string(), "a fault in ogive: after `stop`, which stopped: a fault in ogive: on purpose");
    }

    #[test]
    fn a_broken_input_is_not_blamed_on_a_pass() {
        let graph = crate::parse::parse("%0 = neg %0 : f32[]\n").unwrap();
        assert_eq!(run(&graph, FORWARD, true).unwrap_err().pass, "input");
    }
}
