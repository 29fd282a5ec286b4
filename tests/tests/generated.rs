//! Programs made by chance agree in every way they are run, and so do those that once did not.

use ogive_graph::pipeline::{self, BACKEND};
use ogive_graph::{DType, LoopKind, Op, Region};
use ogive_lang::hir::experiment::Gradient;
use ogive_lang::{NoImports, Settings, Spec, elaborate, lower};
use ogive_runtime::{Bindings, Store};
use ogive_tests::cases::Made;
use ogive_tests::check;
use ogive_tests::generate::{Program, Tally, Verdict, general, judge, program, shrink};

/// Programs of each of the tests, which run side by side.
const COUNT: u64 = 75;

/// The smallest programs that showed a fault, with what it was.
const FOUND: &[(&str, &str)] = &[
    (
        "formatting a spec changed its random numbers",
        "model main[col=2]() -> out_0: [col] {\n  param v: [col]\n  out_0 = where(uniform_like(v)<0.4,   0.3, v) + 0.5 * v\n}\n",
    ),
    (
        "what a maximum was taken of was rounded in two ways, and the gradient was lost",
        "cell rows[key = 1, width = 1](x: []) -> y: [width] {\n\
         \x20 param W: [key]\n\
         \x20 param v: [width]\n\
         \x20 param P: [key]\n\
         \x20 state S: [key, width] = 0.5\n\
         \x20 k = unit_norm(sum(prev S, over: [width]) + 0.1, over: key, epsilon: 0.01)\n\
         \x20 b = max(k + W, over: key)\n\
         \x20 S = prev S + b * k * (v - k @key prev S) + 0 * x\n\
         \x20 y = P @key S\n\
         }\n\
         \n\
         model main[seq = 3, width = 1](x: [seq]) -> out_0: [seq, width] {\n\
         \x20 out_0 = scan rows(x, width: width) along seq\n\
         }\n",
    ),
    (
        "every number cancels to zero",
        "model main[a = 1, b = 2]() -> out_0: [a] {\n  param W: [a, b]\n  out_0 = logsumexp(W, over: [b]) - logsumexp(W, over: [b])\n}\n",
    ),
];

fn agree(from: u64) {
    let mut tally = Tally::default();
    (from..from + COUNT).for_each(|seed| tally.add(seed));
    assert!(tally.failed.is_empty(), "{}", tally.report());
    assert!(tally.checked * 10 >= COUNT * 9, "{}", tally.report());
}

#[test]
fn programs_agree_in_every_way_they_are_run() {
    agree(1);
}

#[test]
fn more_programs_agree_in_every_way_they_are_run() {
    agree(1001);
}

/// Seeds of programs that once lay further apart than was allowed: the slope of a saturated `tanh`; terms of the gradient of an attention
/// over one position, which cancel.
const SEEDS: &[u64] = &[201_109, 2_000_697, 4_000_402, 4_101_213];

#[test]
fn what_once_failed_agrees() {
    for &seed in SEEDS {
        let made = general(seed);
        assert_eq!(judge(&made.text(), made.root(), seed), Verdict::Checked, "{seed}");
    }
    for (what, text) in FOUND {
        assert_eq!(judge(text, "main", 3), Verdict::Checked, "{what}");
    }
}

#[test]
fn a_program_that_fails_is_made_as_small_as_it_goes() {
    let fails = |text: &str| text.split("model main").nth(1).is_some_and(|main| main.contains("logsumexp"));
    let all = (0..200).map(program).find(|p| fails(&p.text()) && p.text().lines().count() > 20).expect("a program");
    let small = shrink(&all, |p| fails(&p.text()));
    let lines = small.text().lines().count();
    assert!(lines < 10, "{lines} of {} lines are left:\n{}", all.text().lines().count(), small.text());
}

/// A program whose gradients go forward in time, a program with an experiment, and one with several blocks.
fn one_of_each(with: &str) -> Program {
    (0..500).map(program).find(|p| p.text().contains(with)).expect("a program")
}

#[test]
fn an_experiment_is_made_smaller_line_by_line() {
    let all = (0..2000).map(program).find(|p| p.text().contains("adamw(") && p.text().contains("accumulate: 2")).expect("a program");
    let small = shrink(&all, |p| p.text().contains("optimizer  adamw("));
    assert!(!small.text().contains("accumulate") && small.text().contains("adamw(lr:"), "{}", small.text());
    let small = shrink(&all, |p| p.text().contains("model main"));
    assert!(!small.text().contains("experiment"), "{}", small.text());
}

#[test]
fn a_gradient_that_is_not_that_of_backpropagation_is_noticed() {
    // One step's influence is not all that a unit has where units read each other.
    let approximate = "// batch: 2\n// gradient: rtrl(snap: 1)\ncell pair[width = 2, key = 3](x: [width]) -> y: [key] {\n  \
        param W: [width, key]\n  param R: [key, key2]\n  state y: [key] = 0\n  \
        y = tanh(x @width W + (prev y @key R)[key2 as key])\n}\n\n\
        model main[seq = 4, width = 2, key = 3](x: [seq, width]) -> out: [seq, key] {\n  out = scan pair(x, key: key) along seq\n}\n";
    let verdict = judge(approximate, "main", 1);
    let Verdict::Failed(failure) = verdict else { panic!("{verdict:?}") };
    assert_eq!(failure.stage, "rtrl(snap: 1) against backpropagation", "{}", failure.why);
    assert_eq!(judge(&approximate.replace("snap: 1", "full"), "main", 1), Verdict::Checked);
}

/// Whether a graph has a loop over blocks of positions around a scan.
fn in_blocks(region: &Region) -> bool {
    let splits = region.nodes.iter().filter_map(|n| if let Op::Split { into, .. } = &n.op { into.first() } else { None });
    let blocks: Vec<_> = splits.collect();
    region.nodes.iter().any(|n| match &n.op {
        Op::Loop(l) if l.kind == LoopKind::Each => blocks.contains(&&l.axis) && l.body.nodes.iter().any(|n| matches!(n.op, Op::Loop(_))),
        _ => false,
    })
}

#[test]
fn programs_reach_scans_parted_in_blocks_with_sensitivities() {
    let mut found = 0;
    for made in (0..400).map(program).filter(|p| p.gradient.is_some()) {
        let (spec, _) = Spec::load("generated.arch", made.text(), &NoImports);
        let lowered = elaborate::block(&spec, made.root(), &Settings { training: true, ..Settings::default() }).0.expect("a program");
        let options = lower::Options { dtype: DType::F32, batch: made.sizes.get("batch").copied(), taps: false };
        let graph = lower::program(&lowered, &options).graph;
        let made = Made { graph, inputs: Bindings::new(), store: Store::default() };
        let rule: Gradient = "rtrl".parse().expect("a rule");
        let Ok(Some(with)) = check::gradient_by(&made, rule) else { continue };
        let (graph, _) = pipeline::run(&with.graph, BACKEND, true).unwrap_or_else(|f| panic!("{f}"));
        found += u32::from(in_blocks(&graph.region));
    }
    assert!(found >= 3, "{found}");
}

#[test]
fn programs_of_each_kind_agree() {
    for with in ["// gradient: rtrl", "experiment run", "order: stream", "gradient   rtrl"] {
        let made = one_of_each(with);
        assert_eq!(judge(&made.text(), made.root(), 5), Verdict::Checked, "{}", made.text());
    }
}
