//! Parameters and their initialisers.

use super::body::Eval;
use super::table;
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{Init, InitKind, Op, Param};
use crate::source::Span;
use crate::syntax::{Arg, BinaryOp, Expr, ExprKind, Ident, TensorType};
use ogive_graph::{AxisId, DType, Shape, Ty};
use std::rc::Rc;

/// Initialisers with their arguments; `?` marks those that may be left out.
const INITS: &[(&str, &[&str])] = &[
    ("normal", &["std"]),
    ("truncated_normal", &["std"]),
    ("uniform", &["lo", "hi"]),
    ("zeros", &[]),
    ("ones", &[]),
    ("constant", &["value"]),
    ("xavier_uniform", &["fan_in", "fan_out"]),
];

impl<'a> Eval<'_, 'a> {
    /// A parameter, declared on its first use.
    pub(crate) fn param(&mut self, i: usize) -> Val {
        if let Some(value) = self.body.params.get(&i) {
            return value.clone();
        }
        let table = Rc::clone(&self.body.table);
        let decl = &table.params[i];
        let value = self.declare_param(i, decl.name, decl.ty, decl.init);
        let value = value.unwrap_or(Val::Error);
        self.body.params.insert(i, value.clone());
        value
    }

    pub(crate) fn declare_param(&mut self, i: usize, name: &Ident, ty: &'a TensorType, init: Option<&'a Expr>) -> Option<Val> {
        if let Some(domain) = &ty.domain {
            let message = format!("`{}` is learned; positions along `{}` are not", name.name, domain.name);
            self.cx.report(Diagnostic::error(codes::shape::DTYPE, message, domain.span, "not learned").help("make it an input"));
            return None;
        }
        let dims = self.declared_dims(ty)?;
        let init = match init {
            Some(init) => self.init(init, ty)?,
            None => self.default_init(&dims),
        };
        let index = u32::try_from(self.body.param_list.len()).unwrap_or(u32::MAX);
        let shape = Shape::of(dims.iter().copied());
        // what `stack` makes of it must be addressable too
        let elements = self.body.stacks.iter().chain(&dims).try_fold(1u64, |n, &a| n.checked_mul(self.cx.size(a).unwrap_or(1)));
        if elements.is_none_or(|n| n > super::context::MAX_ELEMENTS) {
            let message = format!("parameter `{}` {} has more than 2^62 elements", name.name, self.sized(&shape));
            self.cx
                .report(Diagnostic::error(codes::shape::TOO_LARGE, message, name.span, "too large").help("make one of its dims smaller"));
            return None;
        }
        self.body.param_list.push((i, Param { name: name.name.clone(), dims, init, span: name.span }));
        Some(Val::Tensor(self.push(Op::Param(index), Vec::new(), Ty::new(DType::F32, shape), name.span)))
    }

    #[allow(clippy::cast_precision_loss, reason = "a standard deviation")]
    fn default_init(&self, dims: &[AxisId]) -> Init {
        let kind = match dims {
            [first, _, ..] => {
                let bound = 1.0 / (self.cx.size(*first).unwrap_or(1) as f64).sqrt();
                InitKind::Uniform { lo: -bound, hi: bound }
            }
            _ => InitKind::Constant(0.0),
        };
        Init { kind, equal_norms: Vec::new() }
    }

    fn init(&mut self, expr: &'a Expr, ty: &TensorType) -> Option<Init> {
        if let ExprKind::Binary(BinaryOp::Pipe, base, step) = &expr.kind {
            let base = self.init(base, ty);
            let steps = self.step(step, ty);
            let (mut base, steps) = (base?, steps?);
            base.equal_norms = steps;
            return Some(base);
        }
        let (name, args): (&Ident, &'a [Arg]) = match &expr.kind {
            ExprKind::Call(call) => (&call.callee, &call.args),
            ExprKind::Name(path) if path.len() == 1 => (&path[0], &[]),
            ExprKind::Error => return None,
            _ => {
                let text = self.source(expr.span);
                let message = format!("`{text}` is no initialiser");
                let help = match &expr.kind {
                    ExprKind::Number(x) => format!("write `constant({x})` or `normal({x})`"),
                    _ => "write `normal(0.02)`, `zeros` or another initialiser".to_string(),
                };
                self.cx.report(Diagnostic::error(codes::param::INIT_UNKNOWN, message, expr.span, "not an initialiser").help(help));
                return None;
            }
        };
        let Some((_, labels)) = INITS.iter().find(|(n, _)| *n == name.name) else {
            let message = format!("there is no initialiser `{}`", name.name);
            let mut error = Diagnostic::error(codes::param::INIT_UNKNOWN, message, name.span, "not known");
            if let Some(help) = crate::suggest::help(&name.name, "initialisers", INITS.iter().map(|i| i.0)) {
                error = error.help(help);
            }
            self.cx.report(error);
            return None;
        };
        let numbers = self.init_arguments(name, labels, args, expr.span)?;
        let bad = |me: &mut Self, what: &str, help: &str| {
            let text = me.source(expr.span);
            let message = format!("`{text}`: {what}");
            me.cx.report(Diagnostic::error(codes::param::INIT_ARGUMENT, message, expr.span, "out of range").help(help.to_string()));
        };
        let kind = match (name.name.as_str(), numbers.as_slice()) {
            ("normal", [std]) if *std >= 0.0 || std.is_nan() => InitKind::Normal { std: *std },
            ("truncated_normal", [std]) if *std >= 0.0 || std.is_nan() => InitKind::TruncatedNormal { std: *std },
            ("uniform", [lo, hi]) if lo <= hi || lo.is_nan() || hi.is_nan() => InitKind::Uniform { lo: *lo, hi: *hi },
            ("zeros", _) => InitKind::Constant(0.0),
            ("ones", _) => InitKind::Constant(1.0),
            ("constant", [c]) => InitKind::Constant(*c),
            ("xavier_uniform", [fan_in, fan_out]) if fan_in + fan_out > 0.0 || (fan_in + fan_out).is_nan() => {
                let bound = (6.0 / (fan_in + fan_out)).sqrt();
                InitKind::Uniform { lo: -bound, hi: bound }
            }
            ("uniform", _) => {
                bad(self, "the lower bound is above the upper one", "write the smaller number first: `uniform(-0.1, 0.1)`");
                return None;
            }
            _ => {
                bad(self, "a standard deviation is not negative", "write a positive number: `normal(0.02)`");
                return None;
            }
        };
        Some(Init { kind, equal_norms: Vec::new() })
    }

    /// Arguments of an initialiser as numbers; not-a-number stands for what only a caller knows.
    fn init_arguments(&mut self, name: &Ident, labels: &[&str], args: &'a [Arg], span: Span) -> Option<Vec<f64>> {
        let write = if labels.is_empty() { name.name.clone() } else { format!("{}({})", name.name, labels.join(", ")) };
        let mut given: Vec<Option<f64>> = vec![None; labels.len()];
        let mut position = 0;
        for arg in args {
            let slot = match &arg.label {
                Some(label) => labels.iter().position(|l| *l == label.name),
                None => Some(position),
            };
            position += usize::from(arg.label.is_none());
            let Some(slot) = slot.filter(|s| *s < labels.len()) else {
                let message = format!("`{}` takes {} arguments", name.name, labels.len());
                let at = arg.label.as_ref().map_or(arg.value.span, |l| l.span);
                self.cx.report(
                    Diagnostic::error(codes::param::INIT_ARGUMENT, message, at, "not an argument").help(format!("write `{write}`")),
                );
                return None;
            };
            given[slot] = Some(match self.constant(&arg.value) {
                Val::Const(Const::Number(x)) => x,
                Val::Const(Const::Unknown) => f64::NAN,
                Val::Const(other) => {
                    let message = format!("`{}` takes numbers; this is {}", name.name, other.describe());
                    self.cx.report(
                        Diagnostic::error(codes::param::INIT_ARGUMENT, message, arg.value.span, "not a number")
                            .help(format!("write `{write}`")),
                    );
                    return None;
                }
                _ => return None,
            });
        }
        if let Some(missing) = given.iter().position(Option::is_none) {
            let message = format!("`{}` needs `{}`", name.name, labels[missing]);
            self.cx.report(
                Diagnostic::error(codes::param::INIT_ARGUMENT, message, span, "an argument is missing").help(format!("write `{write}`")),
            );
            return None;
        }
        Some(given.into_iter().flatten().collect())
    }

    /// `equal_norms(over: model)` as positions in the declared dims.
    fn step(&mut self, expr: &'a Expr, ty: &TensorType) -> Option<Vec<usize>> {
        let (name, args): (&Ident, &'a [Arg]) = match &expr.kind {
            ExprKind::Call(call) => (&call.callee, &call.args),
            _ => {
                let message = "after `|>` stands a step such as `equal_norms(over: model)`".to_string();
                self.cx.report(
                    Diagnostic::error(codes::param::INIT_UNKNOWN, message, expr.span, "not a step")
                        .help("write `|> equal_norms(over: model)`"),
                );
                return None;
            }
        };
        if name.name != "equal_norms" {
            let message = format!("there is no step `{}`", name.name);
            self.cx.report(
                Diagnostic::error(codes::param::INIT_UNKNOWN, message, name.span, "not known")
                    .help("the step there is: `equal_norms(over: dim)`"),
            );
            return None;
        }
        let over = args.iter().find(|a| a.label.as_ref().is_some_and(|l| l.name == "over"));
        let (Some(over), 1) = (over, args.len()) else {
            let message = "`equal_norms` takes `over:` and nothing else".to_string();
            self.cx.report(
                Diagnostic::error(codes::param::INIT_ARGUMENT, message, expr.span, "over which dims?")
                    .help("write `equal_norms(over: model)`"),
            );
            return None;
        };
        let mut positions = Vec::new();
        for dim in table::names(&over.value) {
            match ty.dims.iter().position(|d| d.name == dim.name) {
                Some(p) => positions.push(p),
                None => {
                    let names: Vec<&str> = ty.dims.iter().map(|d| d.name.as_str()).collect();
                    let message = format!("`equal_norms` goes over `{}`; the parameter has [{}]", dim.name, names.join(", "));
                    let error =
                        Diagnostic::error(codes::shape::OVER_MISSING, message, dim.span, "not a dim of it").label(ty.span, "its dims");
                    self.cx.report(error.help(format!("name one of its dims: {}", crate::suggest::list(&names))));
                    return None;
                }
            }
        }
        Some(positions)
    }
}
