//! Gradients forward in time: those of backpropagation where that is said, and the same whoever computes them.

use super::chance::Chance;
use super::judge::{Case, DOUBLE, LOST, Verdict, cpu, failed};
use super::tolerance::{Rounding, all_finite};
use crate::cases::Made;
use crate::check::{self, Results};
use ogive_graph::parallel::Way;
use ogive_graph::pipeline::{self, BACKEND, Scans};
use ogive_graph::segment::Keep;
use ogive_jit::primitives::Primitives;
use ogive_lang::hir::experiment::Gradient;

/// Starts the line that names a rule whose gradients are those of backpropagation.
pub(super) const RULE: &str = "// gradient: ";

/// Rules that are tried where none is named.
const RULES: &[&str] = &["rtrl", "rtrl(full)", "rtrl(snap: 1)", "rtrl(local)", "rtrl(full, local)"];

/// Most elements of what a program that names no rule may have, so that its sensitivities stay small.
const FEW: usize = 1500;

impl Case {
    /// Sensitivities in place of backpropagation.
    pub(super) fn forward_in_time(&self, text: &str, chance: &mut Chance) -> Result<(), Verdict> {
        let named = text.lines().find_map(|l| l.strip_prefix(RULE));
        if !text.contains("scan ") || named.is_none() && (chance.percent(50) || self.elements() > FEW) {
            return Ok(());
        }
        let word = named.unwrap_or_else(|| *chance.one(RULES));
        let rule: Gradient = match word.parse() {
            Ok(rule) => rule,
            Err(why) => return failed("rule", why),
        };
        let (double, single) = match (check::gradient_by(&self.double, rule), check::gradient_by(&self.single, rule)) {
            (Ok(Some(double)), Ok(Some(single))) => (double, single),
            (Ok(None), _) | (_, Ok(None)) => return Ok(()),
            (Err(_), Err(_)) if named.is_none() => return Ok(()),
            (Err(_), Err(_)) => return Err(Verdict::Skipped("refused by its rule".into())),
            (a, b) => return failed("rule", format!("one precision is refused: {:?} {:?}", a.err(), b.err())),
        };
        let interpret = |made: &Made| check::interpret(made).map_err(|why| self.failure("interpreter in time", why));
        let exact = interpret(&double)?;
        if named.is_some() {
            let expected: Results =
                self.exact.iter().filter(|(n, _)| exact.contains_key(*n)).map(|(n, t)| (n.clone(), t.clone())).collect();
            self.rounding.apart(&exact, &expected, DOUBLE).map_err(|why| self.failure(&format!("{word} against backpropagation"), why))?;
        }
        let near = interpret(&single)?;
        let rounding = Rounding::new(&near, &exact);
        if !all_finite(&exact) || rounding.worst(&exact) > LOST {
            return Err(Verdict::Skipped("near a tie or ill conditioned".into()));
        }
        let eager = chance.percent(50);
        let passes = if eager { pipeline::eager() } else { BACKEND.to_vec() };
        let after = |made: &Made, stage: &str| match pipeline::run(&made.graph, &passes, true) {
            Ok((graph, _)) => Ok(Made { graph, ..made.clone() }),
            Err(failure) => failed(stage, failure.to_string()),
        };
        let stage = format!("passes{} after {word}", if eager { ", always," } else { "" });
        self.holds(&stage, &rounding, &exact, &interpret(&after(&double, &stage)?)?, DOUBLE, &double)?;
        let single = if eager { after(&single, &stage)? } else { single };
        self.compiled_alike(&format!("{word} on cpu"), &rounding, &exact, &single, &double, chance)
    }

    /// Scans many steps at once, or with states that are computed again on the way back.
    pub(super) fn scans_at_once(&self, text: &str, chance: &mut Chance) -> Result<(), Verdict> {
        if !text.contains("scan ") {
            return Ok(());
        }
        let way = *chance.one(&[Way::Auto, Way::Chunk(None), Way::Chunk(Some(2)), Way::Chunk(Some(3)), Way::Associative, Way::Step]);
        let keep = *chance.one(&[Keep::Auto, Keep::Segments(None), Keep::Segments(Some(2)), Keep::Save, Keep::Invert]);
        let stage = format!("scans {way} {keep}");
        let made = |made: &Made| match pipeline::prepare(&made.graph, Scans { way, keep }, true) {
            Ok(graph) => match check::gradient(&Made { graph, ..made.clone() }) {
                Ok(Some(with)) => Ok(with),
                other => failed(&stage, format!("{:?}", other.err())),
            },
            Err(failure) => failed(&stage, failure.to_string()),
        };
        let (double, single) = (made(&self.double)?, made(&self.single)?);
        let found = check::interpret(&double).map_err(|why| self.failure(&stage, why))?;
        let exact: Results = self.exact.iter().filter(|(n, _)| found.contains_key(*n)).map(|(n, t)| (n.clone(), t.clone())).collect();
        // Other sums have another rounding: as far as they lie apart in single precision.
        let near = check::interpret(&single).map_err(|why| self.failure(&stage, why))?;
        let rounding = self.rounding.or(&near, &exact);
        if rounding.worst(&exact) > LOST {
            return Err(Verdict::Skipped("near a tie or ill conditioned".into()));
        }
        self.holds(&stage, &rounding, &exact, &found, DOUBLE, &double)?;
        self.compiled_alike(&format!("{stage} on cpu"), &rounding, &exact, &single, &double, chance)
    }

    /// One instruction set by chance, with one thread and with two.
    fn compiled_alike(
        &self,
        stage: &str,
        rounding: &Rounding,
        exact: &Results,
        single: &Made,
        double: &Made,
        chance: &mut Chance,
    ) -> Result<(), Verdict> {
        let sets: Vec<&str> = Primitives::all().map(Primitives::name).collect();
        let isa = *chance.one(&sets);
        let stage = format!("{stage} {isa}");
        let found = cpu(&stage, single, isa, 1)?;
        self.holds(&stage, rounding, exact, &found, 1.0, double)?;
        let twice = cpu(&stage, single, isa, 2)?;
        if check::same_bits(&found, &twice) { Ok(()) } else { failed(format!("{stage}, two threads"), "give other bits") }
    }

    fn elements(&self) -> usize {
        self.exact.values().map(ogive_runtime::Tensor::len).sum()
    }
}
