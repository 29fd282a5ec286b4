//! Budget, regular events, claims.

use super::keys::Kind;
use super::reader::Reader;
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::experiment::{Budget, Claim, Every, Quantity, Relation, Split};
use crate::source::Span;
use crate::syntax::{BinaryOp, Expr, ExprKind, Setting, UnaryOp};

/// Metrics that every run measures.
pub(crate) const METRICS: [&str; 4] = ["loss", "bits_per_byte", "bits_per_token", "perplexity"];

fn split(name: &str) -> Option<Split> {
    [Split::Training, Split::Validation, Split::Test, Split::Longer].into_iter().find(|s| s.name() == name)
}

impl<'a> Reader<'_, 'a> {
    /// What is to be evaluated on is no part of the data.
    fn no_split(&mut self, at: Span) {
        let text = self.eval().source(at);
        let message = format!("`evaluate` is `training`, `validation`, `test` or, of generated data, `longer`; this is `{text}`");
        let help = match crate::suggest::nearest(&text, ["training", "validation", "test", "longer"]) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write `evaluate validation`, and several with commas: `evaluate validation, longer`".to_string(),
        };
        self.report(Diagnostic::error(codes::experiment::OPTION_VALUE, message, at, "does not fit").help(help));
    }

    /// `budget steps: 2000, batch: 16, seed: 1`.
    pub(crate) fn budget(&mut self, setting: &'a Setting) -> Option<Budget> {
        let options = self.options("budget", &setting.args, &[], &["steps", "batch", "seed", "minutes"]);
        let get = |name: &str| options.get(name).copied();
        for name in ["steps", "batch"] {
            let key: &'static str = if name == "steps" { "budget.steps" } else { "budget.batch" };
            if get(name).is_none() && !self.set.contains_key(key) {
                let example = if name == "steps" { "1000" } else { "16" };
                let message = format!("`budget` needs `{name}`");
                let error = Diagnostic::error(codes::experiment::MISSING_SETTING, message, setting.span, format!("`{name}:` is missing"));
                self.report(error.help(format!("write `budget {name}: {example}`")));
            }
        }
        let steps = self.count("budget.steps", get("steps"));
        let batch = self.count("budget.batch", get("batch"));
        let seed = self.count("budget.seed", get("seed")).unwrap_or(1);
        let minutes = self.number("budget.minutes", get("minutes"));
        Some(Budget { steps: steps?, batch: batch?, seed, minutes })
    }

    /// `every 200 { evaluate validation  checkpoint keep: 3 }`.
    pub(crate) fn every(&mut self, setting: &'a Setting) -> Option<Every> {
        let steps = match setting.args.as_slice() {
            [arg] if arg.label.is_none() => self.plain("every", Kind::Count, &arg.value),
            _ => {
                let message = "`every` needs the number of steps between two times".to_string();
                let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, setting.key.span, "how often?");
                self.report(error.help("write `every 100 { evaluate validation }`"));
                None
            }
        };
        let mut every = Every { steps: 0, evaluate: Vec::new(), checkpoint: None };
        let mut fine = true;
        for inner in &setting.body {
            match inner.key.name.as_str() {
                "evaluate" => {
                    if inner.args.is_empty() {
                        every.evaluate.push(Split::Validation);
                    }
                    for arg in &inner.args {
                        match &arg.value.kind {
                            ExprKind::Name(path) if path.len() == 1 && split(&path[0].name).is_some() => {
                                every.evaluate.extend(split(&path[0].name))
                            }
                            _ => {
                                fine = false;
                                self.no_split(arg.value.span);
                            }
                        }
                    }
                }
                "checkpoint" => {
                    let options = self.options("checkpoint", &inner.args, &[], &["keep"]);
                    every.checkpoint = Some(1);
                    if let Some(keep) = options.get("keep") {
                        match self.plain("keep", Kind::Count, keep) {
                            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                            Some(keep) => every.checkpoint = Some(keep as u64),
                            None => fine = false,
                        }
                    }
                }
                other => {
                    fine = false;
                    let message = format!("`every` has no setting `{other}`");
                    let mut error = Diagnostic::error(codes::experiment::UNKNOWN_SETTING, message, inner.key.span, "not known");
                    error.help = crate::suggest::help(other, "settings", ["evaluate", "checkpoint"]);
                    self.report(error);
                }
            }
        }
        let steps = steps.filter(|_| fine)?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        {
            every.steps = steps as u64;
        }
        Some(every)
    }

    /// `claim validation.bits_per_byte < 2.2`, `until validation.accuracy >= 1`.
    pub(crate) fn claim(&mut self, setting: &'a Setting, metrics: &[String]) -> Option<Claim> {
        let comparison = match setting.args.as_slice() {
            [arg] if arg.label.is_none() => match &arg.value.kind {
                ExprKind::Binary(op, a, b) => relation(*op).map(|r| (r, &**a, &**b, arg.value.span)),
                _ => None,
            },
            _ => None,
        };
        let Some((relation, left, right, span)) = comparison else {
            let at = setting.args.first().map_or(setting.key.span, |a| a.value.span);
            let word = setting.key.name.as_str();
            let a = if word == "claim" { "a claim" } else { "`until`" };
            let message = format!("{a} compares what is measured with a number");
            let error = Diagnostic::error(codes::experiment::CLAIM, message, at, "not a comparison");
            self.report(error.help(format!("write `{word} validation.loss < 2.5`")));
            return None;
        };
        let (left, right) = (self.quantity(left, metrics), self.quantity(right, metrics));
        let (left, right) = (left?, right?);
        let mut measured = Vec::new();
        left.measured(&mut measured);
        right.measured(&mut measured);
        if measured.is_empty() {
            let message = "a claim compares what is measured with a number; this measures nothing".to_string();
            self.report(
                Diagnostic::error(codes::experiment::CLAIM, message, span, "nothing is measured")
                    .help("write `claim validation.loss < 2.5`"),
            );
            return None;
        }
        let text = self.eval().source(span);
        Some(Claim { text, left, relation, right, span })
    }

    fn quantity(&mut self, expr: &'a Expr, metrics: &[String]) -> Option<Quantity> {
        let both = |me: &mut Self, a: &'a Expr, b: &'a Expr| {
            let (a, b) = (me.quantity(a, metrics), me.quantity(b, metrics));
            Some((Box::new(a?), Box::new(b?)))
        };
        match &expr.kind {
            ExprKind::Name(path) if path.len() == 2 => {
                let Some(split) = split(&path[0].name) else {
                    self.unmeasured(&path[0].name, "parts of the data", &["training", "validation", "test", "longer"], path[0].span);
                    return None;
                };
                let metric = &path[1];
                let known: Vec<&str> = METRICS.iter().copied().chain(metrics.iter().map(String::as_str)).collect();
                if !known.contains(&metric.name.as_str()) {
                    self.unmeasured(&metric.name, "metrics", &known, metric.span);
                    return None;
                }
                Some(Quantity::Measured { split, metric: metric.name.clone() })
            }
            ExprKind::Unary(UnaryOp::Neg, x) => {
                let x = self.quantity(x, metrics)?;
                Some(Quantity::Sub(Box::new(Quantity::Number(0.0)), Box::new(x)))
            }
            ExprKind::Binary(BinaryOp::Add, a, b) => both(self, a, b).map(|(a, b)| Quantity::Add(a, b)),
            ExprKind::Binary(BinaryOp::Sub, a, b) => both(self, a, b).map(|(a, b)| Quantity::Sub(a, b)),
            ExprKind::Binary(BinaryOp::Mul, a, b) => both(self, a, b).map(|(a, b)| Quantity::Mul(a, b)),
            ExprKind::Binary(BinaryOp::Div, a, b) => both(self, a, b).map(|(a, b)| Quantity::Div(a, b)),
            ExprKind::Name(path)
                if path.len() == 1 && METRICS.iter().copied().chain(metrics.iter().map(String::as_str)).any(|m| m == path[0].name) =>
            {
                let message = format!("`{}` is measured on several parts of the data", path[0].name);
                let error = Diagnostic::error(codes::experiment::CLAIM, message, expr.span, "on which part?");
                self.report(error.help(format!("write `validation.{}`", path[0].name)));
                None
            }
            _ => match self.eval().constant(expr) {
                super::super::value::Val::Const(super::super::value::Const::Number(x)) => Some(Quantity::Number(x)),
                super::super::value::Val::Const(_) => {
                    let message = "a claim is about numbers".to_string();
                    self.report(
                        Diagnostic::error(codes::experiment::CLAIM, message, expr.span, "not a number")
                            .help("write `claim validation.loss < 2.5`"),
                    );
                    None
                }
                _ => None,
            },
        }
    }

    fn unmeasured(&mut self, name: &str, kind: &str, known: &[&str], at: Span) {
        let message = format!("nothing called `{name}` is measured");
        let mut error = Diagnostic::error(codes::experiment::CLAIM, message, at, "not measured");
        error.help = crate::suggest::help(name, kind, known.iter().copied());
        self.report(error);
    }
}

fn relation(op: BinaryOp) -> Option<Relation> {
    match op {
        BinaryOp::Lt => Some(Relation::Less),
        BinaryOp::Le => Some(Relation::AtMost),
        BinaryOp::Gt => Some(Relation::Greater),
        BinaryOp::Ge => Some(Relation::AtLeast),
        _ => None,
    }
}
