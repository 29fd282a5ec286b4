//! Reads options of settings: constants of the file, replaced by `--set` where that names them.

use super::super::body::{Body, Eval};
use super::super::context::Cx;
use super::super::value::{Const, Val};
use super::keys::{self, Kind};
use crate::codes;
use crate::diag::Diagnostic;
use crate::source::Span;
use crate::syntax::{Arg, Expr, ExprKind, Ident};
use std::collections::BTreeMap;

/// Reads the options of one experiment.
pub(crate) struct Reader<'c, 'a> {
    pub cx: &'c mut Cx<'a>,
    /// An empty scope in the experiment's file.
    pub scope: Body<'a>,
    /// `--set` by full key.
    pub set: BTreeMap<&'static str, f64>,
    /// What was read, for the lock.
    pub read: Vec<(String, String)>,
}

impl<'a> Reader<'_, 'a> {
    pub(crate) fn eval(&mut self) -> Eval<'_, 'a> {
        Eval { cx: self.cx, body: &mut self.scope }
    }

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.cx.report(diagnostic);
    }

    /// The value of an option does not fit.
    pub(crate) fn misfit(&mut self, key: &str, needs: &str, example: &str, at: Span) {
        let text = self.eval().source(at);
        let message = format!("`{key}` is {needs}; this is `{text}`");
        let short = key.split('.').next_back().unwrap_or(key);
        self.report(
            Diagnostic::error(codes::experiment::OPTION_VALUE, message, at, "does not fit").help(format!("write `{short}: {example}`")),
        );
    }

    /// A number from its expression, unless `--set` gives another; `None` where there is none or it is wrong (reported).
    pub(crate) fn number(&mut self, key: &'static str, given: Option<&'a Expr>) -> Option<f64> {
        let kind = keys::find(key).map_or(Kind::Amount, |k| k.1);
        let written = given.and_then(|expr| self.plain(key, kind, expr));
        let value = self.set.get(key).copied().or(written)?;
        self.read.push((key.to_string(), value.to_string()));
        Some(value)
    }

    /// A number that no key names.
    pub(crate) fn plain(&mut self, key: &str, kind: Kind, expr: &'a Expr) -> Option<f64> {
        match self.eval().constant(expr) {
            Val::Const(Const::Number(x)) if kind.takes(x) => Some(x),
            Val::Const(_) => {
                self.misfit(key, kind.needs(), kind.example(), expr.span);
                None
            }
            _ => None,
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the kind of the key holds whole numbers")]
    pub(crate) fn count(&mut self, key: &'static str, given: Option<&'a Expr>) -> Option<u64> {
        self.number(key, given).map(|x| x as u64)
    }

    /// Labelled arguments, each label known and given once. Arguments without a label take the labels of `positional` in turn.
    pub(crate) fn options(&mut self, what: &str, args: &'a [Arg], positional: &[&str], labels: &[&str]) -> BTreeMap<String, &'a Expr> {
        let mut out = BTreeMap::new();
        let mut position = 0;
        for arg in args {
            let (name, span) = match &arg.label {
                Some(label) => (label.name.clone(), label.span),
                None => match positional.get(position) {
                    Some(name) => {
                        position += 1;
                        ((*name).to_string(), arg.value.span)
                    }
                    None => {
                        let text = self.eval().source(arg.value.span);
                        let message = format!("`{what}` does not take `{text}` here");
                        let error = Diagnostic::error(codes::experiment::UNKNOWN_OPTION, message, arg.value.span, "has no label");
                        let list = crate::suggest::list(labels);
                        self.report(error.help(format!("write a label before it; the options are {list}")));
                        continue;
                    }
                },
            };
            if !labels.contains(&name.as_str()) && !positional.contains(&name.as_str()) {
                let message = format!("`{what}` has no option `{name}`");
                let mut error = Diagnostic::error(codes::experiment::UNKNOWN_OPTION, message, span, "not known");
                error.help = crate::suggest::help(&name, "options", labels.iter().copied());
                self.report(error);
                // What is meant is not missing.
                if let Some(near) = crate::suggest::nearest(&name, labels.iter().copied()) {
                    out.entry(near.to_string()).or_insert(&arg.value);
                }
            } else if let Some(before) = out.insert(name.clone(), &arg.value) {
                let message = format!("`{name}` of `{what}` is given twice");
                let error = Diagnostic::error(codes::experiment::REPEATED_SETTING, message, span, "given again");
                self.report(error.label(before.span, "given here").help("give it once"));
            }
        }
        out
    }

    /// A text in quotes.
    pub(crate) fn text(&mut self, key: &str, expr: &'a Expr) -> Option<String> {
        match &expr.kind {
            ExprKind::Text(text) => Some(text.clone()),
            _ => {
                self.misfit(key, "a text in quotes", "\"file.txt\"", expr.span);
                None
            }
        }
    }
}

/// A word, alone or called: `adamw(...)`, `small`.
pub(crate) fn called(expr: &Expr) -> Option<(&Ident, &[Arg])> {
    match &expr.kind {
        ExprKind::Name(path) if path.len() == 1 => Some((&path[0], &[])),
        ExprKind::Call(call) => Some((&call.callee, &call.args)),
        _ => None,
    }
}
