//! The functions that the language itself knows, with their typing rules. Everything else is written in the language.

use super::body::Eval;
use super::expr::short;
use super::table;
use super::value::{self, Const, Fault, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{NodeId, Op};
use crate::source::Span;
use crate::syntax::{Arg, Call, Expr, Ident};
use ogive_graph::{AxisId, DType, Distribution, MapFn, Op as Primitive, ReduceFn, Shape, Ty};

/// How a function is called: operands and labels.
struct Form {
    name: &'static str,
    operands: &'static [&'static str],
    labels: &'static [&'static str],
    rule: Rule,
}

#[derive(Clone, Copy)]
enum Rule {
    /// One float in, one out.
    Unary(MapFn),
    /// Two numbers with nested dims.
    Binary(MapFn),
    Where,
    Reduce(ReduceFn),
    Mean,
    Softmax,
    LogSumExp,
    ArgMax,
    StopGradient,
    Index,
    Distance,
    Position,
    RandomLike(Distribution),
    Concat,
    Shift,
    OneHot,
    Float,
    /// Numbers known before running only.
    Constant,
    Top,
}

const fn form(name: &'static str, operands: &'static [&'static str], labels: &'static [&'static str], rule: Rule) -> Form {
    Form { name, operands, labels, rule }
}

const FORMS: &[Form] = &[
    form("exp", &["x"], &[], Rule::Unary(MapFn::Exp)),
    form("log", &["x"], &[], Rule::Unary(MapFn::Log)),
    form("sqrt", &["x"], &[], Rule::Unary(MapFn::Sqrt)),
    form("rsqrt", &["x"], &[], Rule::Unary(MapFn::Rsqrt)),
    form("abs", &["x"], &[], Rule::Unary(MapFn::Abs)),
    form("sign", &["x"], &[], Rule::Unary(MapFn::Sign)),
    form("sin", &["x"], &[], Rule::Unary(MapFn::Sin)),
    form("cos", &["x"], &[], Rule::Unary(MapFn::Cos)),
    form("tanh", &["x"], &[], Rule::Unary(MapFn::Tanh)),
    form("sigmoid", &["x"], &[], Rule::Unary(MapFn::Sigmoid)),
    form("erf", &["x"], &[], Rule::Unary(MapFn::Erf)),
    form("relu", &["x"], &[], Rule::Unary(MapFn::Relu)),
    form("floor", &["x"], &[], Rule::Unary(MapFn::Floor)),
    form("ceil", &["x"], &[], Rule::Constant),
    form("round", &["x"], &[], Rule::Constant),
    form("pow", &["x", "y"], &[], Rule::Binary(MapFn::Pow)),
    form("min", &["x", "y"], &["over"], Rule::Binary(MapFn::Min)),
    form("max", &["x", "y"], &["over"], Rule::Binary(MapFn::Max)),
    form("where", &["condition", "then", "otherwise"], &[], Rule::Where),
    form("sum", &["x"], &["over"], Rule::Reduce(ReduceFn::Sum)),
    form("mean", &["x"], &["over"], Rule::Mean),
    form("softmax", &["x"], &["over"], Rule::Softmax),
    form("logsumexp", &["x"], &["over"], Rule::LogSumExp),
    form("argmax", &["x"], &["over"], Rule::ArgMax),
    form("stop_gradient", &["x"], &[], Rule::StopGradient),
    form("index", &["dim"], &[], Rule::Index),
    form("distance", &["a", "b"], &[], Rule::Distance),
    form("position", &["x"], &["in"], Rule::Position),
    form("uniform_like", &["x"], &[], Rule::RandomLike(Distribution::Uniform)),
    form("normal_like", &["x"], &[], Rule::RandomLike(Distribution::Normal)),
    form("concat", &["a", "b"], &["over", "into"], Rule::Concat),
    form("shift", &["x"], &["along", "by"], Rule::Shift),
    form("one_hot", &["i"], &[], Rule::OneHot),
    form("float", &["x"], &[], Rule::Float),
    form("top", &["count", "x"], &["over"], Rule::Top),
];

/// Whether the language itself knows a function of that name.
pub(crate) fn is_builtin(name: &str) -> bool {
    FORMS.iter().any(|f| f.name == name)
}

/// Names of all functions that the language itself knows.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FORMS.iter().map(|f| f.name)
}

/// Arguments of a call, sorted out.
pub(crate) struct Given<'a> {
    pub operands: Vec<&'a Expr>,
    pub labels: Vec<(&'static str, &'a Expr)>,
}

impl<'a> Given<'a> {
    pub(crate) fn label(&self, name: &str) -> Option<&'a Expr> {
        self.labels.iter().find(|(l, _)| *l == name).map(|(_, e)| *e)
    }
}

impl<'a> Eval<'_, 'a> {
    /// A call of a built-in function; `None` where there is none of that name.
    pub(crate) fn builtin(&mut self, call: &'a Call, first: Option<&'a Expr>) -> Option<Val> {
        let form = FORMS.iter().find(|f| f.name == call.callee.name)?;
        let Some(given) = self.sort_out(form, &call.callee, &call.args, first, call.span) else {
            return Some(Val::Error);
        };
        Some(self.rule(form, &given, call.span))
    }

    fn sort_out(&mut self, form: &Form, callee: &Ident, args: &'a [Arg], first: Option<&'a Expr>, span: Span) -> Option<Given<'a>> {
        let mut given = Given { operands: first.into_iter().collect(), labels: Vec::new() };
        let mut fine = true;
        for arg in args {
            match &arg.label {
                None => given.operands.push(&arg.value),
                Some(label) => match form.labels.iter().find(|l| **l == label.name) {
                    Some(known) => given.labels.push((known, &arg.value)),
                    None => {
                        fine = false;
                        // What is meant is not missing.
                        if let Some(near) = crate::suggest::nearest(&label.name, form.labels.iter().copied()) {
                            given.labels.extend(form.labels.iter().filter(|l| **l == near).map(|l| (*l, &arg.value)));
                        }
                        let message = format!("`{}` has no label `{}`", form.name, label.name);
                        let mut error = Diagnostic::error(codes::call::UNKNOWN_LABEL, message, label.span, "not known");
                        let help = crate::suggest::help(&label.name, "labels", form.labels.iter().copied());
                        error = error.help(help.unwrap_or_else(|| format!("write `{}`", self.signature(form))));
                        self.cx.report(error);
                    }
                },
            }
        }
        // `min` and `max` are functions of two, or reductions of one
        let reduction = matches!(form.name, "min" | "max") && given.label("over").is_some();
        let (least, most) = match form.rule {
            Rule::Concat => (2, usize::MAX),
            _ if reduction => (1, 1),
            _ => (form.operands.len(), form.operands.len()),
        };
        let count = given.operands.len();
        if count < least || count > most {
            fine = false;
            let (code, what) = if count < least {
                (codes::call::MISSING_ARGUMENT, format!("`{}` takes {least} arguments; {count} are given", form.name))
            } else {
                (codes::call::EXTRA_ARGUMENT, format!("`{}` takes {most} arguments; {count} are given", form.name))
            };
            let at = if count < least { callee.span } else { given.operands[most].span };
            let help = format!("write `{}`", self.signature(form));
            self.cx.report(Diagnostic::error(code, what, at, "number of arguments").help(help));
        }
        let needed: &[&str] = match form.rule {
            Rule::Reduce(_) | Rule::Mean | Rule::Softmax | Rule::LogSumExp | Rule::ArgMax | Rule::Top => &["over"],
            Rule::Position => &["in"],
            Rule::Concat => &["over", "into"],
            Rule::Shift => &["along", "by"],
            _ => &[],
        };
        for label in needed {
            if given.label(label).is_none() {
                fine = false;
                let message = format!("`{}` needs `{label}:`, nothing is summed or moved without saying over what", form.name);
                let help = format!("write `{}`", self.signature(form));
                self.cx
                    .report(Diagnostic::error(codes::call::MISSING_ARGUMENT, message, span, format!("`{label}:` is missing")).help(help));
            }
        }
        fine.then_some(given)
    }

    fn signature(&self, form: &Form) -> String {
        let labels = form.labels.iter().map(|l| match *l {
            "over" if form.name == "concat" => "over: [a_dim, b_dim]".to_string(),
            "by" => "by: 1".to_string(),
            l => format!("{l}: dim"),
        });
        let reduce = matches!(form.name, "min" | "max");
        let parts: Vec<String> = form.operands.iter().map(ToString::to_string).chain(labels.filter(|_| !reduce)).collect();
        format!("{}({})", form.name, parts.join(", "))
    }

    fn rule(&mut self, form: &Form, given: &Given<'a>, span: Span) -> Val {
        match form.rule {
            Rule::Top => return self.top(given, span),
            Rule::Index => return self.iota(given.operands[0], span),
            Rule::Distance => return self.distance(given.operands[0], given.operands[1], span),
            _ => {}
        }
        let values: Vec<Val> = given.operands.iter().map(|e| self.eval(e)).collect();
        if values.contains(&Val::Error) {
            return Val::Error;
        }
        if let Some(value) = self.of_constants(form, &values, span) {
            return value;
        }
        let at = |i: usize| given.operands[i].span;
        match form.rule {
            Rule::Unary(f) => {
                let Some(x) = self.tensor(&values[0], DType::F32, at(0)) else { return Val::Error };
                if self.needs_float(form.name, x, at(0)) { self.map(f, &[x], span) } else { Val::Error }
            }
            Rule::Binary(f) if given.label("over").is_some() => {
                let reduce = if f == MapFn::Max { ReduceFn::Max } else { ReduceFn::Min };
                self.reduction(form.name, reduce, &values[0], given, span)
            }
            Rule::Binary(f) => self.two(form.name, f, &values, at(0), at(1), span),
            Rule::Where => self.choose(&values, given, span),
            Rule::Reduce(f) => self.reduction(form.name, f, &values[0], given, span),
            Rule::Mean => self.mean(&values[0], given, span),
            Rule::Softmax | Rule::LogSumExp => self.normalisation(form, &values[0], given, span),
            Rule::ArgMax => self.argmax(&values[0], given, span),
            Rule::StopGradient => {
                let Some(x) = self.tensor(&values[0], DType::F32, at(0)) else { return Val::Error };
                if self.body.ty(x).dtype.is_float() { self.map(MapFn::StopGradient, &[x], span) } else { Val::Tensor(x) }
            }
            Rule::Position => self.position(&values[0], given, span),
            Rule::RandomLike(distribution) => {
                let Some(x) = self.tensor(&values[0], DType::F32, at(0)) else { return Val::Error };
                let ty = Ty::new(DType::F32, self.body.ty(x).shape.clone());
                Val::Tensor(self.push(Op::RandomLike(distribution), vec![x], ty, span))
            }
            Rule::Concat => self.concat(&values, given, span),
            Rule::Shift => self.shift(&values[0], given, span),
            Rule::OneHot => self.one_hot(&values[0], at(0), span),
            Rule::Float => match &values[0] {
                Val::Tensor(node) => Val::Tensor(self.as_float(*node, span)),
                other => {
                    let found = self.describe(other);
                    self.cx.report(
                        Diagnostic::error(codes::shape::DTYPE, format!("`float` takes numbers, not {found}"), at(0), short(&found))
                            .help("leave it out"),
                    );
                    Val::Error
                }
            },
            Rule::Constant | Rule::Top | Rule::Index | Rule::Distance => {
                self.must_be_constant(values[0].clone(), at(0));
                Val::Error
            }
        }
    }

    /// The function of constants, where all operands are constants.
    fn of_constants(&mut self, form: &Form, values: &[Val], span: Span) -> Option<Val> {
        let constants: Vec<&Const> = values.iter().map(|v| if let Val::Const(c) = v { Some(c) } else { None }).collect::<Option<_>>()?;
        if matches!(form.rule, Rule::Where) {
            return Some(match constants[0] {
                Const::Bool(true) => values[1].clone(),
                Const::Bool(false) => values[2].clone(),
                _ => Val::Const(Const::Unknown),
            });
        }
        if constants.contains(&&Const::Unknown) && matches!(form.rule, Rule::Unary(_) | Rule::Binary(_) | Rule::Constant | Rule::Float) {
            return Some(Val::Const(Const::Unknown));
        }
        let numbers: Vec<f64> = constants.iter().map(|c| if let Const::Number(x) = c { Some(*x) } else { None }).collect::<Option<_>>()?;
        match value::function(form.name, &numbers)? {
            Ok(x) => Some(Val::Const(Const::Number(x))),
            Err(Fault::Range | Fault::Kind) => {
                let message = format!("`{}` is not a number", self.source(span));
                self.cx
                    .report(Diagnostic::error(codes::constant::OVERFLOW, message, span, "leaves the numbers").help("change its argument"));
                Some(Val::Error)
            }
        }
    }

    fn two(&mut self, name: &str, f: MapFn, values: &[Val], at_a: Span, at_b: Span, span: Span) -> Val {
        let like = self.dtype(&values[0]).or(self.dtype(&values[1])).unwrap_or(DType::F32);
        let (Some(x), Some(y)) = (self.tensor(&values[0], like, at_a), self.tensor(&values[1], like, at_b)) else { return Val::Error };
        let aligned = self.aligned(&[(x, at_a), (y, at_b)]);
        if aligned && self.same_kind(f, name, x, y, at_a, at_b, span) && self.nested(name, x, y, at_a, at_b, span) {
            self.map(f, &[x, y], span)
        } else {
            Val::Error
        }
    }

    fn choose(&mut self, values: &[Val], given: &Given<'a>, span: Span) -> Val {
        let at: Vec<Span> = given.operands.iter().map(|e| e.span).collect();
        let Some(condition) = self.tensor(&values[0], DType::Bool, at[0]) else { return Val::Error };
        if self.body.ty(condition).dtype != DType::Bool {
            let found = self.describe(&values[0]);
            let message = format!("`where` chooses by truth values; this is {found}");
            self.cx.report(Diagnostic::error(codes::shape::DTYPE, message, at[0], short(&found)).help("compare it: `x > 0`"));
            return Val::Error;
        }
        let like = self.dtype(&values[1]).or(self.dtype(&values[2])).unwrap_or(DType::F32);
        let (Some(x), Some(y)) = (self.tensor(&values[1], like, at[1]), self.tensor(&values[2], like, at[2])) else { return Val::Error };
        if self.body.ty(x).dtype != self.body.ty(y).dtype {
            let (a, b) = (self.describe(&Val::Tensor(x)), self.describe(&Val::Tensor(y)));
            let error = Diagnostic::error(codes::shape::DTYPE, format!("`where` chooses between {a} and {b}"), span, "kinds differ");
            self.cx.report(error.label(at[1], short(&a)).label(at[2], short(&b)).help("convert one: `float(i)`"));
            return Val::Error;
        }
        if !self.aligned(&[(condition, at[0]), (x, at[1]), (y, at[2])]) {
            return Val::Error;
        }
        let shapes: Vec<Shape> = [condition, x, y].iter().map(|&n| self.body.ty(n).shape.clone()).collect();
        let all = shapes.iter().fold(Shape::scalar(), |s, t| s.union(t));
        if !shapes.contains(&all) {
            let texts: Vec<String> = shapes.iter().map(|s| self.dims(s)).collect();
            let message = format!("`where` of {}, {} and {}: none has all dims of the others", texts[0], texts[1], texts[2]);
            let error = Diagnostic::error(codes::shape::NOT_SUBSET, message, at[0], format!("has {}", texts[0]));
            let error = error.label(at[1], format!("has {}", texts[1])).label(at[2], format!("has {}", texts[2]));
            self.cx.report(error.help("one of the three must have all dims: rename dims, or reduce with `sum(..., over: dim)`"));
            return Val::Error;
        }
        self.map(MapFn::Where, &[condition, x, y], span)
    }

    /// Dims after a label, all of which `node` must have.
    pub(crate) fn over(&mut self, what: &str, label: &str, node: NodeId, given: &Given<'a>) -> Option<Vec<AxisId>> {
        let expr = given.label(label)?;
        let names = table::names(expr);
        if names.is_empty() {
            let message = format!("`{label}:` names dims; `{}` is none", self.source(expr.span));
            self.cx.report(
                Diagnostic::error(codes::name::WRONG_KIND, message, expr.span, "not a dim")
                    .help(format!("write `{label}: model` or `{label}: [head, key]`")),
            );
            return None;
        }
        let shape = self.body.ty(node).shape.clone();
        let at = given.operands.first().map_or(expr.span, |e| e.span);
        let names: Vec<Ident> = names.into_iter().cloned().collect();
        self.listed_in(&names, &shape, what, node, at)
    }

    fn operand(&mut self, what: &str, value: &Val, given: &Given<'a>) -> Option<NodeId> {
        let at = given.operands[0].span;
        let x = self.tensor(value, DType::F32, at)?;
        self.needs_float(what, x, at).then_some(x)
    }

    fn reduction(&mut self, name: &str, f: ReduceFn, value: &Val, given: &Given<'a>, span: Span) -> Val {
        let at = given.operands[0].span;
        let Some(x) = self.tensor(value, DType::F32, at) else { return Val::Error };
        if self.body.ty(x).dtype == DType::Bool && !self.needs_float(name, x, at) {
            return Val::Error;
        }
        let Some(over) = self.over(name, "over", x, given) else { return Val::Error };
        let ty = Ty::new(self.body.ty(x).dtype, self.body.ty(x).shape.minus(&Shape::of(over.iter().copied())));
        Val::Tensor(self.primitive(Primitive::Reduce(f, over), vec![x], ty, span))
    }

    fn mean(&mut self, value: &Val, given: &Given<'a>, span: Span) -> Val {
        let Some(x) = self.operand("mean", value, given) else { return Val::Error };
        let Some(over) = self.over("mean", "over", x, given) else { return Val::Error };
        #[allow(clippy::cast_precision_loss, reason = "a factor")]
        let count = over.iter().fold(1.0, |n, &a| n * self.cx.size(a).unwrap_or(1) as f64);
        let ty = Ty::new(DType::F32, self.body.ty(x).shape.minus(&Shape::of(over.iter().copied())));
        let sum = self.primitive(Primitive::Reduce(ReduceFn::Sum, over), vec![x], ty, span);
        let factor = self.float(1.0 / count, span);
        self.map(MapFn::Mul, &[sum, factor], span)
    }

    fn normalisation(&mut self, form: &Form, value: &Val, given: &Given<'a>, span: Span) -> Val {
        let Some(x) = self.operand(form.name, value, given) else { return Val::Error };
        let Some(over) = self.over(form.name, "over", x, given) else { return Val::Error };
        let shape = self.body.ty(x).shape.clone();
        let node = if matches!(form.rule, Rule::Softmax) {
            self.primitive(Primitive::Softmax(over), vec![x], Ty::new(DType::F32, shape), span)
        } else {
            let left = shape.minus(&Shape::of(over.iter().copied()));
            self.primitive(Primitive::LogSumExp(over), vec![x], Ty::new(DType::F32, left), span)
        };
        Val::Tensor(node)
    }

    fn argmax(&mut self, value: &Val, given: &Given<'a>, span: Span) -> Val {
        let Some(x) = self.operand("argmax", value, given) else { return Val::Error };
        let Some(over) = self.over("argmax", "over", x, given) else { return Val::Error };
        let [axis] = over[..] else {
            let message = "`argmax` gives positions along one dim".to_string();
            let at = given.label("over").map_or(span, |e| e.span);
            self.cx.report(
                Diagnostic::error(codes::call::EXTRA_ARGUMENT, message, at, "several dims").help("merge them first: `x[(a, b) as c]`"),
            );
            return Val::Error;
        };
        let ty = Ty::new(DType::I32, self.body.ty(x).shape.without(axis));
        Val::Tensor(self.push_in(Op::Primitive(Primitive::ArgMax(axis)), vec![x], ty, Some(axis), span))
    }
}
