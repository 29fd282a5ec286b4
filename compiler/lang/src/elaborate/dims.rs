//! Dims that get their size here: header defaults, and those that `as`, slices and `concat` declare.

use super::body::Eval;
use super::table::Declares;
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::source::Span;
use crate::syntax::Ident;
use ogive_graph::AxisId;
use std::rc::Rc;

impl<'a> Eval<'_, 'a> {
    /// A header dim that has a default and was not bound by the call.
    pub(crate) fn pending_dim(&mut self, name: &str) -> Option<AxisId> {
        let default = self.body.pending.remove(name)?;
        let Val::Const(value) = self.constant(default) else {
            self.body.unknown.insert(format!("dim {name}"));
            return None;
        };
        let Some(size) = self.size_from(&value, default.span, &format!("dim `{name}`"), Some(default)) else {
            self.body.unknown.insert(format!("dim {name}"));
            return None;
        };
        self.bind_size(name, size, default.span)
    }

    /// Binds a header dim to a size: to the caller's dim of that name where an output carries it, else to a new axis.
    pub(crate) fn bind_size(&mut self, name: &str, size: Option<u64>, span: Span) -> Option<AxisId> {
        let axis = match self.body.outer.get(name) {
            Some(Some(outer)) => {
                let outer = *outer;
                let theirs = self.cx.size(outer);
                if let (Some(a), Some(b)) = (size, theirs)
                    && a != b
                {
                    self.escaping(name, size, Some((b, self.cx.axes[outer.index()].span)), span);
                    self.body.unknown.insert(format!("dim {name}"));
                    return None;
                }
                self.cx.passed.insert(outer);
                outer
            }
            Some(None) if self.body.called => {
                self.escaping(name, size, None, span);
                self.body.unknown.insert(format!("dim {name}"));
                return None;
            }
            _ => {
                let declared = self.body.block.and_then(|b| b.dims.iter().find(|d| d.name.name == name)).map_or(span, |d| d.name.span);
                self.cx.axis(name, size, declared)
            }
        };
        self.body.bind(name, axis);
        Some(axis)
    }

    fn escaping(&mut self, name: &str, size: Option<u64>, theirs: Option<(u64, Span)>, span: Span) {
        let callee = self.body.block.map_or("it", |b| b.name.name.as_str());
        let size = size.map_or_else(String::new, |n| format!(" of size {n}"));
        let call = self.cx.chain.last().map(|c| c.2).filter(|s| *s != Span::default());
        let at = call.unwrap_or(span);
        let (message, help) = match theirs {
            Some((b, _)) => (
                format!("an output of `{callee}` carries its dim `{name}`{size}; the caller's `{name}` has size {b}"),
                format!("pass the caller's dim: `{name}: {name}`, or declare another dim of that size and pass it"),
            ),
            None => (
                format!("an output of `{callee}` carries its dim `{name}`{size}, for which the caller has no name"),
                format!("declare a dim in the caller's header and pass it: `{name}: my_{name}`"),
            ),
        };
        let mut error = Diagnostic::error(codes::shape::ESCAPING_DIM, message, at, "carries a nameless dim").help(help);
        if let Some((_, place)) = theirs {
            error = error.label(place, "declared here");
        }
        self.cx.report(error);
    }

    /// A dim that an expression of the body declares.
    pub(crate) fn implied_dim(&mut self, name: &str) -> Option<AxisId> {
        let table = Rc::clone(&self.body.table);
        for declares in &table.declares {
            match declares {
                Declares::As { from: [from], into: [into] } => {
                    let (other, this) = if into.name == name {
                        (from, into)
                    } else if from.name == name {
                        (into, from)
                    } else {
                        continue;
                    };
                    if let Some(axis) = self.dim_quiet(&other.name) {
                        let size = self.cx.size(axis);
                        return Some(self.declare_dim(name, size, this.span));
                    }
                }
                Declares::As { from: [from], into } => {
                    if let Some(this) = into.iter().find(|i| i.name == name)
                        && let Some(axis) = self.part_of(from, into, this)
                    {
                        return Some(axis);
                    }
                }
                Declares::As { from, into: [into] } if into.name == name => {
                    let parts: Option<Vec<AxisId>> = from.iter().map(|f| self.dim_quiet(&f.name)).collect();
                    if let Some(parts) = parts {
                        let size = self.product(&parts, into.span)?;
                        return Some(self.declare_dim(name, size, into.span));
                    }
                }
                Declares::Range { start, end, into } if into.name == name => {
                    let (Val::Const(a), Val::Const(b)) = (self.constant(start), self.constant(end)) else { return None };
                    let size = match (a, b) {
                        (Const::Number(a), Const::Number(b)) => {
                            self.size_from(&Const::Number(b - a), start.span.to(end.span), &format!("dim `{name}`"), Some(end))
                        }
                        _ => Some(None),
                    };
                    match size {
                        Some(size) => return Some(self.declare_dim(name, size, into.span)),
                        None => {
                            self.body.unknown.insert(format!("dim {name}"));
                            return None;
                        }
                    }
                }
                Declares::Concat { over, into } if into.name == name => {
                    let parts: Option<Vec<AxisId>> = over.iter().map(|f| self.dim_quiet(&f.name)).collect();
                    if let Some(parts) = parts {
                        let size = parts.iter().try_fold(0u64, |n, &a| n.checked_add(self.cx.size(a)?));
                        return Some(self.declare_dim(name, size, into.span));
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn declare_dim(&mut self, name: &str, size: Option<u64>, span: Span) -> AxisId {
        let axis = self.cx.axis(name, size, span);
        self.body.bind(name, axis);
        axis
    }

    /// Product of sizes: `Some(None)` where one is open, `None` where the product is out of range (reported).
    pub(crate) fn product(&mut self, parts: &[AxisId], span: Span) -> Option<Option<u64>> {
        let mut product = 1u64;
        for &part in parts {
            let Some(size) = self.cx.size(part) else { return Some(None) };
            product = match product.checked_mul(size) {
                Some(n) if n <= super::context::MAX_SIZE => n,
                _ => {
                    let message = "a merged dim is larger than 2^40".to_string();
                    let help = "keep the dims apart: every operation takes several";
                    self.cx.report(Diagnostic::error(codes::shape::SIZE_RANGE, message, span, "too large").help(help));
                    return None;
                }
            };
        }
        Some(Some(product))
    }

    /// The open part of `from as (a, b)`.
    fn part_of(&mut self, from: &Ident, into: &[Ident], this: &Ident) -> Option<AxisId> {
        let whole = self.dim_quiet(&from.name)?;
        let mut others = Vec::new();
        for other in into.iter().filter(|i| i.name != this.name) {
            match self.dim_quiet(&other.name) {
                Some(axis) => others.push(axis),
                None => {
                    let message = format!("neither `{}` nor `{}` has a size, so `{}` cannot be split", this.name, other.name, from.name);
                    let error = Diagnostic::error(codes::shape::AMBIGUOUS_SIZE, message, this.span, "size not known");
                    let help = format!("declare one in the header: `{} = 8`", this.name);
                    self.cx.report(error.label(other.span, "size not known").help(help));
                    self.body.unknown.insert(format!("dim {}", this.name));
                    self.body.unknown.insert(format!("dim {}", other.name));
                    return None;
                }
            }
        }
        let product = self.product(&others, this.span)?;
        let size = match (self.cx.size(whole), product) {
            (Some(n), Some(p)) if n % p != 0 => {
                let message = format!("`{}` has size {n}, which {p} does not divide", from.name);
                let error = Diagnostic::error(codes::shape::INDIVISIBLE, message, this.span, "not a whole number");
                let error = error.label(self.cx.axes[whole.index()].span, format!("`{}` is {n}", from.name));
                self.cx.report(error.help(format!("choose sizes whose product is {n}")));
                self.body.unknown.insert(format!("dim {}", this.name));
                return None;
            }
            (Some(n), Some(p)) => Some(n / p),
            _ => None,
        };
        Some(self.declare_dim(&this.name, size, this.span))
    }
}
