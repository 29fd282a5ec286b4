//! Sums of tensors neither of which has all dims of the other. Nothing may form them; a selection over a product of dims takes them as a
//! score in parts.

use super::body::Eval;
use super::value::Val;
use crate::hir::NodeId;
use crate::source::Span;
use ogive_graph::MapFn;

/// A sum that is not formed.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    /// Summands with their places.
    pub parts: Vec<(NodeId, Span)>,
    pub span: Span,
    /// Whether a selection has taken it.
    pub used: bool,
    /// Whether it was reported.
    pub reported: bool,
}

impl Eval<'_, '_> {
    /// `a + b` where one side is such a sum already, or neither side has all dims of the other; `None` for an ordinary sum.
    pub(crate) fn separable(&mut self, a: &Val, b: &Val, at_a: Span, at_b: Span, span: Span) -> Option<Val> {
        let parts = |me: &Self, v: &Val, at: Span| match v {
            Val::Tensor(n) if me.body.ty(*n).dtype.is_float() => Some(vec![(*n, at)]),
            Val::Sum(i) => Some(me.body.sums[*i].parts.clone()),
            _ => None,
        };
        let (left, right) = (parts(self, a, at_a)?, parts(self, b, at_b)?);
        if let ([(x, _)], [(y, _)]) = (&left[..], &right[..]) {
            let (p, q) = (&self.body.ty(*x).shape, &self.body.ty(*y).shape);
            if p.contains_all(q) || q.contains_all(p) {
                return None;
            }
        }
        let parts: Vec<(NodeId, Span)> = left.into_iter().chain(right).collect();
        if !self.aligned(&parts) {
            return Some(Val::Error);
        }
        for v in [a, b] {
            if let Val::Sum(i) = v {
                self.body.sums[*i].used = true;
            }
        }
        self.body.sums.push(Sum { parts, span, used: false, reported: false });
        Some(Val::Sum(self.body.sums.len() - 1))
    }

    /// A sum stands where it would have to be formed.
    pub(crate) fn report_sum(&mut self, i: usize) {
        let Some(sum) = self.body.sums.get_mut(i) else { return };
        if std::mem::replace(&mut sum.reported, true) {
            return;
        }
        let (parts, span) = (sum.parts.clone(), sum.span);
        for (i, &(x, at_x)) in parts.iter().enumerate() {
            for &(y, at_y) in &parts[i + 1..] {
                if !self.nested("+", x, y, at_x, at_y, span) {
                    return;
                }
            }
        }
    }

    /// Reports the sums that nothing has used.
    pub(crate) fn unused_sums(&mut self) {
        for i in 0..self.body.sums.len() {
            if !self.body.sums[i].used {
                self.report_sum(i);
            }
        }
    }

    /// `(a + b)[pick]`, part by part.
    pub(crate) fn restrict_sum(&mut self, i: usize, pick: usize, of: Span, at: Span, span: Span) -> Val {
        self.body.sums[i].used = true;
        let mut whole: Option<Val> = None;
        for (part, _) in self.body.sums[i].parts.clone() {
            let Some(part) = self.restrict(part, pick, of, at, span) else { return Val::Error };
            whole = Some(match whole {
                None => Val::Tensor(part),
                Some(Val::Tensor(before)) if self.nested("+", before, part, of, of, span) => self.map(MapFn::Add, &[before, part], span),
                Some(_) => return Val::Error,
            });
        }
        whole.unwrap_or(Val::Error)
    }
}
