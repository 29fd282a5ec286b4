//! Programs made by chance agree in every way they are run, and so do those that once did not.

use ogive_tests::generate::{Tally, Verdict, judge, program, shrink};

/// Programs of each of the tests, which run side by side.
const COUNT: u64 = 75;

/// The smallest programs that showed a fault, with what it was.
const FOUND: &[(&str, &str)] = &[(
    "formatting a spec changed its random numbers",
    "model main[col=2]() -> out_0: [col] {\n  param v: [col]\n  out_0 = where(uniform_like(v)<0.4,   0.3, v) + 0.5 * v\n}\n",
)];

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

/// Seeds of programs that once lay further apart than was allowed: the slope of a saturated `tanh`.
const SEEDS: &[u64] = &[201_109];

#[test]
fn what_once_failed_agrees() {
    for &seed in SEEDS {
        let made = program(seed);
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
