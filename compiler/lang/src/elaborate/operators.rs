//! Operators with their typing rules.

use super::body::Eval;
use super::expr::{short, show, wrap};
use super::value::{self, Const, Fault, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::NodeId;
use crate::source::Span;
use crate::syntax::{BinaryOp, Expr, ExprKind, Ident, UnaryOp};
use ogive_graph::{AxisId, DType, MapFn, Shape};

impl<'a> Eval<'_, 'a> {
    pub(crate) fn unary(&mut self, op: UnaryOp, x: &'a Expr, span: Span) -> Val {
        let value = self.eval(x);
        match (op, &value) {
            (_, Val::Error) => Val::Error,
            (_, Val::Const(Const::Unknown)) => value,
            (UnaryOp::Neg, Val::Const(Const::Number(n))) => Val::Const(Const::Number(-n)),
            (UnaryOp::Not, Val::Const(Const::Bool(b))) => Val::Const(Const::Bool(!b)),
            (UnaryOp::Neg, Val::Tensor(node)) if self.body.ty(*node).dtype != DType::Bool => self.map(MapFn::Neg, &[*node], span),
            (UnaryOp::Not, Val::Tensor(node)) if self.body.ty(*node).dtype == DType::Bool => self.map(MapFn::Not, &[*node], span),
            _ => {
                let (symbol, needs) = if op == UnaryOp::Neg { ("-", "a number") } else { ("not", "a truth value") };
                let found = self.describe(&value);
                let message = format!("`{symbol}` takes {needs}; this is {found}");
                self.cx.report(
                    Diagnostic::error(codes::shape::DTYPE, message, x.span, found).help("compare or convert it first: `x > 0`, `float(x)`"),
                );
                Val::Error
            }
        }
    }

    pub(crate) fn binary(&mut self, op: BinaryOp, left: &'a Expr, right: &'a Expr, span: Span) -> Val {
        let (a, b) = if matches!(op, BinaryOp::Eq | BinaryOp::Ne) { self.sides(left, right) } else { (self.eval(left), self.eval(right)) };
        match (&a, &b) {
            (Val::Error, _) | (_, Val::Error) => Val::Error,
            (Val::Const(x), Val::Const(y)) => match value::binary(op, x, y) {
                Ok(c) => Val::Const(c),
                Err(Fault::Kind) => {
                    let message = format!("`{}` does not take {} and {}", value::symbol(op), x.describe(), y.describe());
                    let error = Diagnostic::error(codes::constant::TYPE, message, span, "kinds do not fit");
                    self.cx.report(error.help("numbers are computed with, truth values combined with `and` and `or`"));
                    Val::Error
                }
                Err(Fault::Range) => {
                    let message = format!("`{}` = {} {} {} is not a number", self.source(span), show(x), value::symbol(op), show(y));
                    self.cx
                        .report(Diagnostic::error(codes::constant::OVERFLOW, message, span, "leaves the numbers").help("change one side"));
                    Val::Error
                }
            },
            _ => self.elementwise(op, &a, &b, left.span, right.span, span),
        }
    }

    /// Both sides of `==`: a bare word beside a choice is one of its words.
    pub(crate) fn sides(&mut self, left: &'a Expr, right: &'a Expr) -> (Val, Val) {
        let bare = |e: &'a Expr| match &e.kind {
            ExprKind::Name(path) if path.len() == 1 => Some(&path[0]),
            _ => None,
        };
        let choices = |me: &Self, e: &'a Expr| bare(e).and_then(|name| me.choices(name));
        match (choices(self, left), choices(self, right)) {
            (Some(words), None) => {
                let b = if let Some(name) = bare(right) { self.word(name, &words) } else { self.eval(right) };
                (self.eval(left), b)
            }
            (None, Some(words)) => {
                let a = if let Some(name) = bare(left) { self.word(name, &words) } else { self.eval(left) };
                (a, self.eval(right))
            }
            _ => (self.eval(left), self.eval(right)),
        }
    }

    /// `a op b` where one side at least is a tensor.
    pub(crate) fn elementwise(&mut self, op: BinaryOp, a: &Val, b: &Val, at_a: Span, at_b: Span, span: Span) -> Val {
        if op == BinaryOp::Add
            && let Some(sum) = self.separable(a, b, at_a, at_b, span)
        {
            return sum;
        }
        let logical = matches!(op, BinaryOp::And | BinaryOp::Or);
        let like = if logical { DType::Bool } else { self.dtype(a).or(self.dtype(b)).unwrap_or(DType::F32) };
        let (Some(x), Some(y)) = (self.tensor(a, like, at_a), self.tensor(b, like, at_b)) else { return Val::Error };
        let f = match op {
            BinaryOp::Add => MapFn::Add,
            BinaryOp::Sub => MapFn::Sub,
            BinaryOp::Mul => MapFn::Mul,
            BinaryOp::Div => MapFn::Div,
            BinaryOp::Pow => MapFn::Pow,
            BinaryOp::Lt => MapFn::Lt,
            BinaryOp::Le => MapFn::Le,
            BinaryOp::Gt => MapFn::Gt,
            BinaryOp::Ge => MapFn::Ge,
            BinaryOp::Eq => MapFn::Eq,
            BinaryOp::Ne => MapFn::Ne,
            BinaryOp::And => MapFn::And,
            BinaryOp::Or => MapFn::Or,
            BinaryOp::Pipe => return Val::Error,
        };
        let symbol = value::symbol(op);
        if !self.same_kind(f, symbol, x, y, at_a, at_b, span)
            || !self.aligned(&[(x, at_a), (y, at_b)])
            || (f != MapFn::Mul && !self.nested(symbol, x, y, at_a, at_b, span))
        {
            return Val::Error;
        }
        self.map(f, &[x, y], span)
    }

    /// Whether the element types fit the function; reported where not.
    pub(crate) fn same_kind(&mut self, f: MapFn, symbol: &str, x: NodeId, y: NodeId, at_x: Span, at_y: Span, span: Span) -> bool {
        use MapFn::{And, Div, Eq, Ne, Or, Pow};
        let (a, b) = (self.body.ty(x).dtype, self.body.ty(y).dtype);
        let fits = match f {
            And | Or => a == DType::Bool && b == DType::Bool,
            Eq | Ne => a == b,
            Div | Pow => a == b && a.is_float(),
            _ => a == b && a != DType::Bool,
        };
        let domains = (self.body.node(x).domain, self.body.node(y).domain);
        if !fits {
            let (left, right) = (self.describe(&Val::Tensor(x)), self.describe(&Val::Tensor(y)));
            let message = format!("`{symbol}` does not take {left} and {right}");
            let int = |d: DType| d == DType::I32;
            let help = if int(a) || int(b) {
                "convert to numbers first: `float(i)`"
            } else {
                "compare to get truth values, `float(b)` to get numbers"
            };
            let error = Diagnostic::error(codes::shape::DTYPE, message, span, "kinds do not fit");
            self.cx.report(error.label(at_x, short(&left)).label(at_y, short(&right)).help(help));
        } else if let (Some(p), Some(q)) = domains
            && p != q
            && f.is_predicate()
        {
            let (p, q) = (self.dim_name(p).to_string(), self.dim_name(q).to_string());
            let message = format!("`{symbol}` compares positions along `{p}` with positions along `{q}`");
            let error = Diagnostic::error(codes::shape::DOMAIN, message, span, "other positions");
            let error = error.label(at_x, format!("positions along `{p}`")).label(at_y, format!("positions along `{q}`"));
            self.cx.report(error.help(format!("use both as numbers: `distance({p}, {q})` is the difference of positions")));
            return false;
        }
        fits
    }

    /// Whether the dims of one contain the other's; reported where not.
    pub(crate) fn nested(&mut self, symbol: &str, x: NodeId, y: NodeId, at_x: Span, at_y: Span, span: Span) -> bool {
        let (a, b) = (self.body.ty(x).shape.clone(), self.body.ty(y).shape.clone());
        if a.contains_all(&b) || b.contains_all(&a) {
            return true;
        }
        let verb = match symbol {
            "+" => "add",
            "-" => "subtract",
            "/" => "divide",
            _ => "combine",
        };
        let (left, right) = (self.dims(&a), self.dims(&b));
        let message = format!("cannot {verb} `{left}` and `{right}`: neither has all dims of the other");
        let (only_a, only_b) = (a.minus(&b), b.minus(&a));
        let one = |s: &Shape| s.axes().first().map(|&x| self.dim_name(x).to_string()).unwrap_or_default();
        let (p, q) = (one(&only_a), one(&only_b));
        let text = self.source(at_y);
        let sizes = [&only_a, &only_b].map(|only| if only.rank() == 1 { self.cx.size(only.axes()[0]) } else { None });
        let help = if sizes[0].is_some() && sizes[0] == sizes[1] {
            format!(
                "`{symbol}` aligns dims by name and never makes a larger tensor: rename with `{}[{q} as {p}]`, or reduce with `sum(..., over: {q})`",
                wrap(&text)
            )
        } else {
            format!(
                "`{symbol}` aligns dims by name and never makes a larger tensor: reduce with `sum({text}, over: {q})`, or use `*` for an outer product"
            )
        };
        let error = Diagnostic::error(codes::shape::NOT_SUBSET, message, span, format!("`{symbol}` of unlike dims"));
        let mut error = error.label(at_x, format!("has {left}")).label(at_y, format!("has {right}")).help(help);
        for (at, only) in [(at_y, &only_b), (at_x, &only_a)] {
            if let Some((name, dim, place)) = self.origin(at, only) {
                error = error.label(place, format!("`{name}` brings `{dim}`"));
            }
        }
        self.cx.report(error);
        false
    }

    pub(crate) fn contract(&mut self, left: &'a Expr, over: &'a [Ident], right: &'a Expr, span: Span) -> Val {
        let (a, b) = (self.eval(left), self.eval(right));
        let axes: Vec<Option<AxisId>> = over.iter().map(|d| self.dim_in(d, &[&a, &b])).collect();
        if a == Val::Error || b == Val::Error || axes.iter().any(Option::is_none) {
            return Val::Error;
        }
        let (Some(x), Some(y)) = (self.tensor(&a, DType::F32, left.span), self.tensor(&b, DType::F32, right.span)) else {
            return Val::Error;
        };
        let names: Vec<&Ident> = over.iter().collect();
        let mut fine = true;
        let mut axes = Vec::new();
        for (node, at) in [(x, left.span), (y, right.span)] {
            let shape = self.body.ty(node).shape.clone();
            match self.dims_of(&names, &shape, "@", node, at) {
                Some(found) => axes = found,
                None => fine = false,
            }
        }
        for (node, at) in [(x, left.span), (y, right.span)] {
            fine &= self.needs_float("@", node, at);
        }
        if !fine || !self.aligned(&[(x, left.span), (y, right.span)]) {
            return Val::Error;
        }
        Val::Tensor(self.contracted(x, y, axes, span))
    }
}
