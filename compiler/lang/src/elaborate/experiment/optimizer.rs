//! The optimiser with its schedule.

use super::keys::Kind;
use super::reader::{Reader, called};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::experiment::{Optimizer, OptimizerKind, Schedule, ScheduleKind};
use crate::source::Span;
use crate::syntax::{Expr, ExprKind};

const KINDS: &[(&str, OptimizerKind)] = &[("sgd", OptimizerKind::Sgd), ("adam", OptimizerKind::Adam), ("adamw", OptimizerKind::AdamW)];
const SCHEDULES: &[(&str, ScheduleKind)] = &[
    ("constant", ScheduleKind::Constant),
    ("linear", ScheduleKind::Linear),
    ("cosine", ScheduleKind::Cosine),
    ("noam", ScheduleKind::Noam),
];
const COMMON: &[&str] = &["lr", "weight_decay", "decay", "no_decay", "clip", "accumulate", "ema", "skip"];

impl<'a> Reader<'_, 'a> {
    /// `adamw(lr: 1e-3, ...)`.
    pub(crate) fn optimizer(&mut self, expr: &'a Expr) -> Option<Optimizer> {
        let kind = called(expr).and_then(|(name, args)| Some((KINDS.iter().find(|(n, _)| *n == name.name)?, args)));
        let Some((&(word, kind), args)) = kind else {
            let text = called(expr).map_or_else(|| self.eval().source(expr.span), |(name, _)| name.name.clone());
            let at = called(expr).map_or(expr.span, |(name, _)| name.span);
            let message = format!("there is no optimiser `{text}`");
            let mut error = Diagnostic::error(codes::experiment::UNKNOWN_OPTIMIZER, message, at, "not known");
            error.help = crate::suggest::help(&text, "optimisers", KINDS.iter().map(|k| k.0));
            self.report(error);
            return None;
        };
        let own: &[&str] = if kind == OptimizerKind::Sgd { &["momentum"] } else { &["betas", "eps"] };
        let labels: Vec<&str> = COMMON.iter().chain(own).copied().collect();
        let options = self.options(word, args, &["lr"], &labels);
        let get = |name: &str| options.get(name).copied();
        let lr = match (get("lr"), self.set.get("optimizer.lr")) {
            (Some(expr), _) => self.schedule(expr),
            (None, Some(_)) => {
                self.number("optimizer.lr", None).map(|rate| Schedule { kind: ScheduleKind::Constant, rate, warmup: 0, end: 0.0 })
            }
            (None, None) => {
                let message = format!("`{word}` needs a learning rate");
                let error = Diagnostic::error(codes::experiment::MISSING_SETTING, message, expr.span, "`lr:` is missing");
                self.report(error.help(format!("write `{word}(lr: 1e-3)`")));
                None
            }
        };
        let betas = get("betas").map_or(Some([0.9, 0.999]), |e| self.betas(e));
        let betas = match (kind, betas) {
            (OptimizerKind::Sgd, betas) => betas,
            (_, betas) => {
                let set = [self.number("optimizer.beta1", None), self.number("optimizer.beta2", None)];
                betas.map(|[a, b]| [set[0].unwrap_or(a), set[1].unwrap_or(b)])
            }
        };
        let decay = get("decay").map_or_else(|| Some(Vec::new()), |e| self.patterns("decay", e));
        let no_decay = get("no_decay").map_or_else(|| Some(Vec::new()), |e| self.patterns("no_decay", e));
        let eps = self.number("optimizer.eps", get("eps")).unwrap_or(1e-8);
        let momentum = self.number("optimizer.momentum", get("momentum")).unwrap_or(0.0);
        let weight_decay = self.number("optimizer.weight_decay", get("weight_decay"));
        let clip = self.number("optimizer.clip", get("clip"));
        let accumulate = self.count("optimizer.accumulate", get("accumulate")).unwrap_or(1);
        let ema = self.number("optimizer.ema", get("ema"));
        let skip = self.count("optimizer.skip", get("skip")).unwrap_or(0);
        self.read.push(("optimizer".to_string(), word.to_string()));
        Some(Optimizer {
            kind,
            lr: lr?,
            betas: betas?,
            eps,
            momentum,
            weight_decay: weight_decay.unwrap_or(0.0),
            decay: decay?,
            no_decay: no_decay?,
            clip,
            accumulate,
            ema,
            skip,
        })
    }

    /// `1e-3`, or `cosine(1e-3, warmup: 200)`.
    fn schedule(&mut self, expr: &'a Expr) -> Option<Schedule> {
        let ExprKind::Call(call) = &expr.kind else {
            let rate = self.number("optimizer.lr", Some(expr))?;
            let warmup = self.count("optimizer.warmup", None).unwrap_or(0);
            return Some(Schedule { kind: ScheduleKind::Constant, rate, warmup, end: 0.0 });
        };
        let Some(&(word, kind)) = SCHEDULES.iter().find(|(n, _)| *n == call.callee.name) else {
            // arithmetic on constants is a rate too
            if super::super::builtins::is_builtin(&call.callee.name) {
                let rate = self.number("optimizer.lr", Some(expr))?;
                return Some(Schedule { kind: ScheduleKind::Constant, rate, warmup: 0, end: 0.0 });
            }
            let message = format!("there is no schedule `{}`", call.callee.name);
            let mut error = Diagnostic::error(codes::experiment::UNKNOWN_SCHEDULE, message, call.callee.span, "not known");
            error.help = crate::suggest::help(&call.callee.name, "schedules", SCHEDULES.iter().map(|s| s.0));
            self.report(error);
            return None;
        };
        let labels: &[&str] = match kind {
            ScheduleKind::Linear | ScheduleKind::Cosine => &["rate", "warmup", "end"],
            ScheduleKind::Constant | ScheduleKind::Noam => &["rate", "warmup"],
        };
        let options = self.options(word, &call.args, &["rate"], labels);
        let get = |name: &str| options.get(name).copied();
        if get("rate").is_none() && !self.set.contains_key("optimizer.lr") {
            self.missing_rate(word, call.span);
            return None;
        }
        let rate = self.number("optimizer.lr", get("rate"));
        let warmup = self.count("optimizer.warmup", get("warmup"));
        let end = self.number("optimizer.end", get("end")).unwrap_or(0.0);
        if kind == ScheduleKind::Noam && warmup.unwrap_or(0) == 0 {
            let at = get("warmup").map_or(call.span, |e| e.span);
            self.misfit("warmup", "a whole number from 1 for `noam`", "200", at);
            return None;
        }
        self.read.push(("optimizer.schedule".to_string(), word.to_string()));
        Some(Schedule { kind, rate: rate?, warmup: warmup.unwrap_or(0), end })
    }

    fn missing_rate(&mut self, word: &str, at: Span) {
        let message = format!("`{word}` needs its largest rate");
        let error = Diagnostic::error(codes::experiment::MISSING_SETTING, message, at, "the rate is missing");
        self.report(error.help(format!("write `{word}(1e-3, warmup: 200)`")));
    }

    fn betas(&mut self, expr: &'a Expr) -> Option<[f64; 2]> {
        let ExprKind::List(items) = &expr.kind else {
            self.misfit("betas", "a list of two numbers", "[0.9, 0.999]", expr.span);
            return None;
        };
        let [a, b] = items.as_slice() else {
            self.misfit("betas", "a list of two numbers", "[0.9, 0.999]", expr.span);
            return None;
        };
        let (a, b) = (self.plain("betas", Kind::Fraction, a), self.plain("betas", Kind::Fraction, b));
        Some([a?, b?])
    }

    fn patterns(&mut self, key: &str, expr: &'a Expr) -> Option<Vec<String>> {
        match &expr.kind {
            ExprKind::Text(text) => Some(vec![text.clone()]),
            ExprKind::List(items) => items.iter().map(|e| self.text(key, e)).collect(),
            _ => {
                self.misfit(key, "a list of patterns in quotes", "[\"*.weight\"]", expr.span);
                None
            }
        }
    }
}
