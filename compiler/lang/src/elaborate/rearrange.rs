//! Functions about positions and places: `index`, `distance`, `position`, `concat`, `shift`, `one_hot`.

use super::body::Eval;
use super::builtins::Given;
use super::expr::short;
use super::table;
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{NodeId, Op};
use crate::source::Span;
use crate::syntax::Expr;
use ogive_graph::{AxisId, DType, MapFn, Op as Primitive, Shape, Ty};

impl<'a> Eval<'_, 'a> {
    /// The dim that an argument names.
    pub(crate) fn dim_argument(&mut self, what: &str, expr: &'a Expr) -> Option<AxisId> {
        match table::names(expr).as_slice() {
            [name] => self.dim(name),
            _ => {
                let message = format!("`{what}` takes a dim; `{}` is none", self.source(expr.span));
                self.cx.report(
                    Diagnostic::error(codes::name::WRONG_KIND, message, expr.span, "not a dim").help(format!("write `{what}(seq)`")),
                );
                None
            }
        }
    }

    pub(crate) fn iota(&mut self, dim: &'a Expr, span: Span) -> Val {
        let Some(axis) = self.dim_argument("index", dim) else { return Val::Error };
        Val::Tensor(self.iota_of(axis, span))
    }

    pub(crate) fn iota_of(&mut self, axis: AxisId, span: Span) -> NodeId {
        self.push_in(Op::Primitive(Primitive::Iota(axis)), Vec::new(), Ty::new(DType::I32, Shape::of([axis])), Some(axis), span)
    }

    pub(crate) fn distance(&mut self, a: &'a Expr, b: &'a Expr, span: Span) -> Val {
        let (Some(p), Some(q)) = (self.dim_argument("distance", a), self.dim_argument("distance", b)) else { return Val::Error };
        let (x, y) = (self.iota_of(p, span), self.iota_of(q, span));
        self.map(MapFn::Sub, &[x, y], span)
    }

    pub(crate) fn position(&mut self, value: &Val, given: &Given<'a>, span: Span) -> Val {
        let Some(axis) = given.label("in").and_then(|e| self.dim_argument("position", e)) else { return Val::Error };
        let at = given.operands[0].span;
        let Some(x) = self.tensor(value, DType::I32, at) else { return Val::Error };
        if self.body.ty(x).dtype != DType::I32 {
            let found = self.describe(value);
            let message = format!("positions are whole numbers; this is {found}");
            self.cx.report(
                Diagnostic::error(codes::shape::DTYPE, message, at, short(&found))
                    .help("compute it from `index(dim)` and `distance(a, b)`"),
            );
            return Val::Error;
        }
        // the same number, now known to be a position
        let zero = self.primitive(Primitive::Const(ogive_graph::Scalar::Int(0)), Vec::new(), Ty::scalar(DType::I32), span);
        let ty = self.body.ty(x).clone();
        Val::Tensor(self.push_in(Op::Primitive(Primitive::Map(MapFn::Add)), vec![x, zero], ty, Some(axis), span))
    }

    pub(crate) fn concat(&mut self, values: &[Val], given: &Given<'a>, span: Span) -> Val {
        let (Some(over), Some(into)) = (given.label("over"), given.label("into")) else { return Val::Error };
        let names = table::names(over);
        if names.len() != values.len() {
            let message = format!("`concat` of {} tensors names {} dims after `over:`", values.len(), names.len());
            self.cx.report(
                Diagnostic::error(codes::call::MISSING_ARGUMENT, message, over.span, "one dim for each")
                    .help("write `concat(a, b, over: [a_dim, b_dim], into: dim)`"),
            );
            return Val::Error;
        }
        let mut inputs = Vec::new();
        let mut axes = Vec::new();
        let like = values.iter().find_map(|v| self.dtype(v)).unwrap_or(DType::F32);
        for ((value, name), expr) in values.iter().zip(&names).zip(&given.operands) {
            let Some(node) = self.tensor(value, like, expr.span) else { return Val::Error };
            let Some(axis) = self.dim_in(name, &[value]) else { return Val::Error };
            if !self.body.ty(node).shape.contains(axis) {
                self.over_missing("concat", name, node, expr.span);
                return Val::Error;
            }
            inputs.push(node);
            axes.push(axis);
        }
        let first = self.body.ty(inputs[0]).clone();
        let rest = first.shape.without(axes[0]);
        for i in 1..inputs.len() {
            let ty = self.body.ty(inputs[i]).clone();
            if ty.shape.without(axes[i]) != rest || ty.dtype != first.dtype {
                let (a, b) = (self.describe(&Val::Tensor(inputs[0])), self.describe(&Val::Tensor(inputs[i])));
                let message = format!("`concat` of {a} and {b}: apart from the joined dims both need the same");
                let error = Diagnostic::error(codes::shape::MISMATCH, message, given.operands[i].span, short(&b));
                self.cx.report(error.label(given.operands[0].span, short(&a)).help("rename or reduce dims until the others agree"));
                return Val::Error;
            }
        }
        let Some(target) = self.dim_argument("concat", into) else { return Val::Error };
        let total = axes.iter().try_fold(0u64, |n, &a| n.checked_add(self.cx.size(a)?));
        if let (Some(total), Some(size)) = (total, self.cx.size(target))
            && total != size
        {
            let each: Vec<String> = axes.iter().map(|&a| self.dim_sized(a)).collect();
            let name = self.dim_name(target).to_string();
            let message = format!("{} together have {total} positions; `{name}` has size {size}", each.join(" and "));
            let place = self.cx.axes[target.index()].span;
            let error =
                Diagnostic::error(codes::shape::MISMATCH, message, into.span, "sizes differ").label(place, format!("`{name}` is {size}"));
            let sum: Vec<String> = names.iter().map(|n| n.name.clone()).collect();
            self.cx.report(error.help(format!("give `{name}` the size `{}`", sum.join(" + "))));
            return Val::Error;
        }
        if rest.contains(target) {
            let name = self.dim_name(target).to_string();
            let message = format!("the result would have `{name}` twice");
            self.cx
                .report(Diagnostic::error(codes::shape::REPEATED_DIM, message, into.span, "there already").help("join into another dim"));
            return Val::Error;
        }
        let ty = Ty::new(first.dtype, rest.with(target));
        Val::Tensor(self.primitive(Primitive::Concat { axes, into: target }, inputs, ty, span))
    }

    pub(crate) fn shift(&mut self, value: &Val, given: &Given<'a>, span: Span) -> Val {
        let at = given.operands[0].span;
        let Some(x) = self.tensor(value, DType::F32, at) else { return Val::Error };
        let Some(along) = self.over("shift", "along", x, given) else { return Val::Error };
        let (Some(by), [axis]) = (given.label("by"), &along[..]) else { return Val::Error };
        let axis = *axis;
        let Val::Const(by_value) = self.constant(by) else { return Val::Error };
        let ty = self.body.ty(x).clone();
        let (Const::Number(steps), Some(size)) = (&by_value, self.cx.size(axis)) else {
            if by_value == Const::Unknown || self.cx.size(axis).is_none() {
                return self.map(MapFn::Abs, &[x], span);
            }
            let message = format!("`by:` is a whole number, not {}", by_value.describe());
            self.cx.report(Diagnostic::error(codes::constant::TYPE, message, by.span, "not a number").help("write `by: 1`"));
            return Val::Error;
        };
        if steps.fract() != 0.0 || !steps.is_finite() {
            let message = format!("`by:` is a whole number, not {steps}");
            self.cx.report(Diagnostic::error(codes::constant::TYPE, message, by.span, "not a whole number").help("write `by: 1`"));
            return Val::Error;
        }
        if *steps == 0.0 {
            return Val::Tensor(x);
        }
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked against the size")]
        let distance = steps.abs().min(size as f64) as u64;
        if distance == size {
            // Zeros, by the number of the position: a shorter part of a longer sequence would have others.
            let number = |n: &mut Self, dtype: DType| n.tensor(&Val::Const(Const::Number(0.0)), dtype, span);
            let (Some(first), Some(zero)) = (number(self, DType::I32), number(self, ty.dtype)) else { return Val::Error };
            let at = self.iota_of(axis, span);
            let Val::Tensor(before) = self.map(MapFn::Lt, &[at, first], span) else { return Val::Error };
            return self.map(MapFn::Where, &[before, x, zero], span);
        }
        let (from, to) = if *steps > 0.0 { (0, distance) } else { (distance, 0) };
        let part = self.cx.axis(&format!("{}_kept", self.dim_name(axis)), Some(size - distance), span);
        let kept = Ty::new(ty.dtype, ty.shape.without(axis).with(part));
        let slice = self.primitive(Primitive::Slice { axis, start: from, into: part }, vec![x], kept, span);
        Val::Tensor(self.primitive(Primitive::Pad { axis: part, start: to, into: axis }, vec![slice], ty, span))
    }

    pub(crate) fn one_hot(&mut self, value: &Val, at: Span, span: Span) -> Val {
        let domain = match value {
            Val::Tensor(node) => self.body.node(*node).domain.map(|d| (*node, d)),
            _ => None,
        };
        let Some((node, axis)) = domain else {
            let found = self.describe(value);
            let message = format!("`one_hot` takes positions along a dim; this is {found}");
            let error = Diagnostic::error(codes::shape::DOMAIN, message, at, "position along what?");
            self.cx.report(error.help("say which: `one_hot(position(i, in: dim))`"));
            return Val::Error;
        };
        if self.body.ty(node).shape.contains(axis) {
            let name = self.dim_name(axis).to_string();
            let message = format!("the result would have `{name}` twice");
            self.cx.report(
                Diagnostic::error(codes::shape::REPEATED_DIM, message, at, "there already")
                    .help(format!("rename it: `[{name} as {name}2]`")),
            );
            return Val::Error;
        }
        let iota = self.iota_of(axis, span);
        let Val::Tensor(hit) = self.map(MapFn::Eq, &[node, iota], span) else { return Val::Error };
        Val::Tensor(self.as_float(hit, span))
    }
}
