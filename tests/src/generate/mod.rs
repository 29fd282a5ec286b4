//! Random well-typed specs, each run in every way there is: what one way gives is held against the others.
//!
//! [`program`] makes a spec of a seed, [`judge`] runs it, [`shrink`] makes one that fails as small as it goes.

mod chance;
mod constructs;
mod experiment;
mod expression;
mod imports;
mod judge;
mod online;
mod program;
mod recurrent;
mod scans;
mod scope;
mod shrink;
mod tolerance;
mod training;

pub use chance::Chance;
pub use constructs::{general, program};
pub use experiment::Line;
pub use judge::{Failure, Verdict, judge};
pub use program::{Block, Dims, Given, Node, Part, Program, State, Statement};
pub use shrink::shrink;

use std::collections::BTreeMap;

/// What became of many programs.
#[derive(Debug, Default)]
pub struct Tally {
    /// Programs that agree in every way.
    pub checked: u64,
    /// Of these, by what they have: scans, rules by which gradients go forward in time, experiments.
    pub with: BTreeMap<&'static str, u64>,
    /// Programs that no comparison is possible for, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Programs that do not agree: seed, what fails, and the smallest program that fails so.
    pub failed: Vec<(u64, Failure, String)>,
}

impl Tally {
    /// Makes, judges and, where it fails, shrinks the program of a seed.
    pub fn add(&mut self, seed: u64) {
        let made = program(seed);
        match judge(&made.text(), made.root(), seed) {
            Verdict::Checked => {
                self.checked += 1;
                let text = made.text();
                for (what, sign) in [("scan", "scan "), ("gradient forward in time", "// gradient"), ("experiment", "experiment run")] {
                    *self.with.entry(what).or_default() += u64::from(text.contains(sign));
                }
            }
            Verdict::Skipped(why) => *self.skipped.entry(why).or_default() += 1,
            Verdict::Failed(failure) => {
                let small = shrink(&made, |p| match judge(&p.text(), p.root(), seed) {
                    Verdict::Failed(found) => found.stage == failure.stage,
                    Verdict::Checked | Verdict::Skipped(_) => false,
                });
                let text = small.text();
                let failure = match judge(&text, small.root(), seed) {
                    Verdict::Failed(found) => found,
                    Verdict::Checked | Verdict::Skipped(_) => failure,
                };
                self.failed.push((seed, failure, text));
            }
        }
    }

    /// How many were skipped.
    pub fn skips(&self) -> u64 {
        self.skipped.values().sum()
    }

    /// One line, and what failed.
    pub fn report(&self) -> String {
        let why: Vec<String> = self.skipped.iter().map(|(why, n)| format!("{n} {why}")).collect();
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) };
        let with: Vec<String> = self.with.iter().map(|(what, n)| format!("{n} with {what}")).collect();
        let with = with.join(", ");
        let mut out = format!("{} checked ({with}), {} skipped{why}, {} failed", self.checked, self.skips(), self.failed.len());
        for (seed, failure, text) in &self.failed {
            out.push_str(&format!("\n\nseed {seed}: {}: {}\n{text}", failure.stage, failure.why));
        }
        out
    }
}
