//! Second places of errors about sizes: what fixes the numbers that an expression is made of.

use super::body::Eval;
use super::table::Entry;
use super::value::Const;
use crate::diag::Diagnostic;
use crate::source::Span;
use crate::syntax::{Expr, ExprKind, Ident};

/// How many places are shown besides the first: the third label of an error within the library is the user's call.
const PLACES: usize = 2;

impl Eval<'_, '_> {
    /// Labels an error about `expr` with the declarations of the dims and constants in it, the user's before the library's.
    pub(crate) fn fixed_by(&self, error: Diagnostic, expr: &Expr) -> Diagnostic {
        let mut places: Vec<(Span, String)> = Vec::new();
        let mut names = Vec::new();
        mentioned(expr, &mut names);
        for name in names {
            if let Some((span, value)) = self.fixes(&name.name)
                && !places.iter().any(|(s, _)| *s == span)
            {
                places.push((span, format!("`{}` is {value}", name.name)));
            }
        }
        places.sort_by_key(|(span, _)| self.cx.items.is_std(span.file));
        let within = error.labels.first().is_some_and(|l| self.cx.items.is_std(l.span.file));
        let room = if within { PLACES - 1 } else { PLACES };
        places.into_iter().take(room).fold(error, |error, (span, text)| error.label(span, text))
    }

    /// Where a dim or constant is declared, and its value.
    fn fixes(&self, name: &str) -> Option<(Span, String)> {
        if let Some(axis) = self.body.dims.get(name) {
            let axis = &self.cx.axes[axis.index()];
            return Some((axis.span, axis.size?.to_string()));
        }
        match (self.body.constants.get(name), self.body.table.entries.get(name)) {
            (Some(Some(Const::Number(value))), Some((Entry::Port(_), span))) => Some((*span, value.to_string())),
            _ => None,
        }
    }
}

/// The names that a constant expression is made of, in source order.
fn mentioned<'e>(expr: &'e Expr, out: &mut Vec<&'e Ident>) {
    match &expr.kind {
        ExprKind::Name(path) => out.extend(path.first().filter(|_| path.len() == 1)),
        ExprKind::Unary(_, of) => mentioned(of, out),
        ExprKind::Binary(_, left, right) => [left, right].into_iter().for_each(|e| mentioned(e, out)),
        ExprKind::Call(call) => call.args.iter().for_each(|a| mentioned(&a.value, out)),
        ExprKind::If { condition, then, otherwise } => [condition, then, otherwise].into_iter().for_each(|e| mentioned(e, out)),
        ExprKind::List(all) | ExprKind::Tuple(all) => all.iter().for_each(|e| mentioned(e, out)),
        _ => {}
    }
}
