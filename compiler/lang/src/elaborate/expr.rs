//! Expressions: names, operators, compile-time `if`.

use super::body::Eval;
use super::table::Entry;
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::NodeId;
use crate::source::Span;
use crate::syntax::{BinaryOp, Expr, ExprKind, Ident};
use ogive_graph::{AxisId, DType, MapFn, Op as Primitive, Scalar, Shape, Ty};

impl<'a> Eval<'_, 'a> {
    /// The meaning of an expression.
    pub(crate) fn eval(&mut self, expr: &'a Expr) -> Val {
        if !self.cx.enter(expr.span) {
            return Val::Error;
        }
        let value = self.form(expr);
        self.cx.leave();
        value
    }

    fn form(&mut self, expr: &'a Expr) -> Val {
        match &expr.kind {
            ExprKind::Number(x) => Val::Const(Const::Number(*x)),
            ExprKind::Bool(b) => Val::Const(Const::Bool(*b)),
            ExprKind::Text(_) => self.misplaced(expr.span, "a text", "texts stand in settings of experiments only"),
            ExprKind::List(_) => self.misplaced(expr.span, "a list", "lists of dims follow `over:` or `@`"),
            ExprKind::As { .. } => self.misplaced(expr.span, "a renaming", "rename a value: `x[a as b]`"),
            ExprKind::Name(path) => self.name(path, expr.span),
            ExprKind::Prev(name) => self.prev(name, expr.span),
            ExprKind::Unary(op, x) => self.unary(*op, x, expr.span),
            ExprKind::Binary(BinaryOp::Pipe, x, f) => match &f.kind {
                ExprKind::Call(call) => self.call(call, Some(x)),
                _ => self.misplaced(f.span, "this", "write a call after `|>`: `x |> f(a)` is `f(x, a)`"),
            },
            ExprKind::Binary(op, a, b) => self.binary(*op, a, b, expr.span),
            ExprKind::Contract { left, over, right } => self.contract(left, over, right, expr.span),
            ExprKind::Call(call) => self.call(call, None),
            ExprKind::Repeat { share, times, call } => self.repeat(*share, times, call, expr.span),
            ExprKind::Scan { call, along, backward } => self.scan(call, along, *backward, expr.span),
            ExprKind::Index { of, by } => self.index(of, by, expr.span),
            ExprKind::If { condition, then, otherwise } => self.conditional(condition, then, otherwise),
            ExprKind::Tuple(items) => Val::Tuple(items.iter().map(|e| self.eval(e)).collect()),
            ExprKind::Error => Val::Error,
        }
    }

    fn misplaced(&mut self, span: Span, what: &str, help: &str) -> Val {
        let message = format!("{what} has no meaning at this place");
        self.cx.report(Diagnostic::error(codes::name::WRONG_KIND, message, span, "not a value").help(help));
        Val::Error
    }

    /// An expression that must be known before running; anything else is reported and gives `Val::Error`.
    pub(crate) fn constant(&mut self, expr: &'a Expr) -> Val {
        let value = self.eval(expr);
        self.must_be_constant(value, expr.span)
    }

    pub(crate) fn must_be_constant(&mut self, value: Val, span: Span) -> Val {
        match value {
            Val::Const(_) | Val::Error => value,
            Val::Tensor(_) | Val::Tuple(_) | Val::Pick(_) | Val::Sum(_) => {
                let text = self.source(span);
                let message = format!("`{text}` is not known before the model runs");
                let help = "use numbers, dims (their sizes), constant inputs such as `n: int = 2`, and `const` items here";
                self.cx.report(Diagnostic::error(codes::constant::NOT_CONSTANT, message, span, "a constant is needed").help(help));
                Val::Error
            }
        }
    }

    /// A truth value known before running; `None` where only a caller knows or the error is reported.
    fn conditional(&mut self, condition: &'a Expr, then: &'a Expr, otherwise: &'a Expr) -> Val {
        match self.eval(condition) {
            Val::Const(Const::Bool(true)) => self.eval(then),
            Val::Const(Const::Bool(false)) => self.eval(otherwise),
            Val::Const(Const::Unknown) => {
                let (a, b) = (self.eval(then), self.eval(otherwise));
                if b == Val::Error { b } else { a }
            }
            Val::Error => Val::Error,
            Val::Const(other) => {
                let message = format!("a condition is true or false, not {}", other.describe());
                let error = Diagnostic::error(codes::constant::TYPE, message, condition.span, "not a truth value");
                self.cx.report(error.help("compare: `n > 0`"));
                Val::Error
            }
            Val::Tensor(_) | Val::Tuple(_) | Val::Pick(_) | Val::Sum(_) => {
                let text = self.source(condition.span);
                let message = format!("`if` chooses equations before the model runs; `{text}` is known only when it runs");
                let error = Diagnostic::error(codes::constant::NOT_CONSTANT, message, condition.span, "not a constant");
                let (a, b) = (self.source(then.span), self.source(otherwise.span));
                self.cx.report(error.help(format!("choose element by element: `where({text}, {a}, {b})`")));
                Val::Error
            }
        }
    }

    fn name(&mut self, path: &'a [Ident], span: Span) -> Val {
        let Some(name) = path.first() else { return Val::Error };
        if self.body.objective.is_some()
            && let Some(value) = self.measured(path, span)
        {
            return value;
        }
        if path.len() > 1 {
            let dotted: Vec<&str> = path.iter().map(|p| p.name.as_str()).collect();
            let message = format!("`{}`: values inside other blocks are not visible here", dotted.join("."));
            let error = Diagnostic::error(codes::name::UNKNOWN, message, span, "not visible");
            self.cx.report(error.help("make it an output of that block"));
            return Val::Error;
        }
        if let Some(value) = self.body.frames.last().and_then(|f| f.get(name.name.as_str())) {
            return value.clone();
        }
        if let Some((entry, place)) = self.body.table.entries.get(name.name.as_str()).copied() {
            return self.entry(entry, name, place);
        }
        if let Some(axis) = self.dim_quiet(&name.name) {
            return Val::Const(self.dim_size(axis));
        }
        if self.body.unknown.contains(&format!("dim {}", name.name)) {
            return Val::Error;
        }
        match name.name.as_str() {
            "training" => return Val::Const(Const::Bool(self.cx.training)),
            #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
            "depth" => return Val::Const(Const::Number(self.body.applications as f64)),
            _ => {}
        }
        if let Some(value) = self.cx.file_constant(self.body.file, name) {
            return value.map_or(Val::Error, Val::Const);
        }
        self.unknown_name(name);
        Val::Error
    }

    pub(crate) fn dim_size(&self, axis: AxisId) -> Const {
        #[allow(clippy::cast_precision_loss, reason = "sizes are at most 2^40")]
        self.cx.size(axis).map_or(Const::Unknown, |n| Const::Number(n as f64))
    }

    fn entry(&mut self, entry: Entry, name: &Ident, place: Span) -> Val {
        match entry {
            Entry::Dim(_) => self.dim_quiet(&name.name).map_or(Val::Error, |a| Val::Const(self.dim_size(a))),
            Entry::Port(i) => self.port(i, name),
            Entry::Param(i) => self.param(i),
            Entry::Equation(i, part) => match self.equation(i, name.span) {
                Val::Tuple(parts) => parts.get(part).cloned().unwrap_or(Val::Error),
                value => value,
            },
            Entry::Local(_) | Entry::Named(_) => {
                let what = if matches!(entry, Entry::Local(_)) { "a local function" } else { "an instance" };
                let message = format!("`{}` is {what}, not a value", name.name);
                let error = Diagnostic::error(codes::name::WRONG_KIND, message, name.span, "not a value").label(place, "declared here");
                self.cx.report(error.help(format!("call it: `{}(x)`", name.name)));
                Val::Error
            }
            Entry::State(k) => self.state(k, name),
        }
    }

    fn port(&mut self, i: usize, name: &Ident) -> Val {
        if let Some(constant) = self.body.constants.get(&name.name) {
            return match constant {
                Some(value) => Val::Const(value.clone()),
                None => self.circular(name),
            };
        }
        if self.body.pending_constants.contains_key(&name.name) {
            return self.constant_port(i).map_or(Val::Error, Val::Const);
        }
        if let Some(value) = self.body.ports.get(&name.name) {
            return value.clone();
        }
        // a tensor that is not there yet: a size or a constant must not depend on it
        if self.body.block.is_some_and(|b| matches!(b.inputs[i].ty, crate::syntax::PortType::Tensor(_))) {
            let message = format!("`{}` is a tensor; sizes and constants cannot depend on it", name.name);
            let error = Diagnostic::error(codes::constant::NOT_CONSTANT, message, name.span, "not a constant");
            self.cx.report(error.help("use dims and constant inputs: `n: int = 2`"));
        }
        Val::Error
    }

    pub(crate) fn circular(&mut self, name: &Ident) -> Val {
        let message = format!("`{}` depends on itself", name.name);
        let error = Diagnostic::error(codes::name::CYCLE, message, name.span, "used in its own definition");
        self.cx.report(error.help(format!("give `{}` a value that does not need it", name.name)));
        Val::Error
    }

    fn unknown_name(&mut self, name: &Ident) {
        if !self.body.unknown.insert(name.name.clone()) {
            return;
        }
        let within = self.body.block.map_or_else(|| "here".to_string(), |b| format!("in `{}`", b.name.name));
        if self.cx.items.block(self.body.file, &name.name).is_some() || super::builtins::is_builtin(&name.name) {
            let message = format!("`{}` is a block, not a value", name.name);
            let error = Diagnostic::error(codes::name::WRONG_KIND, message, name.span, "not a value");
            self.cx.report(error.help(format!("call it: `{}(x)`", name.name)));
            return;
        }
        let message = format!("`{}` is not known {within}", name.name);
        let mut known: Vec<&str> = self.body.table.entries.keys().copied().collect();
        known.extend(self.body.dims.keys().map(String::as_str));
        if let Some(sources) = &self.body.objective {
            known.extend(sources.names());
        }
        known.sort_unstable();
        known.extend(self.cx.items.constant_names(self.body.file));
        let code = if self.body.objective.is_some() { codes::tap::UNKNOWN } else { codes::name::UNKNOWN };
        let mut error = Diagnostic::error(code, message, name.span, "not known");
        if let Some(near) = crate::suggest::nearest(&name.name, known.iter().copied()) {
            error = error.help(format!("did you mean `{near}`?"));
        } else if self.body.objective.is_some() {
            if let Some(help) = crate::suggest::help(&name.name, "values", known) {
                error = error.help(help);
            }
        } else {
            error = error.help(format!("add an equation: `{} = ...`, or an input of that name", name.name));
        }
        self.cx.report(error);
    }

    /// What a value is, in few words.
    pub(crate) fn describe(&self, value: &Val) -> String {
        match value {
            Val::Const(c) => c.describe(),
            Val::Tensor(node) => {
                let ty = self.body.ty(*node);
                let kind = match ty.dtype {
                    DType::F32 | DType::F64 => "float",
                    DType::I32 => "int",
                    DType::Bool => "bool",
                };
                format!("{kind} {}", self.dims(&ty.shape))
            }
            Val::Tuple(parts) => format!("{} values", parts.len()),
            Val::Pick(_) => "a selection".into(),
            Val::Sum(_) => "a sum of unlike dims".into(),
            Val::Error => "an error".into(),
        }
    }

    /// The words that a constant input chooses from.
    pub(crate) fn choices(&self, name: &Ident) -> Option<Vec<String>> {
        let block = self.body.block?;
        match self.body.table.entries.get(name.name.as_str()) {
            Some((Entry::Port(i), _)) => match &block.inputs[*i].ty {
                crate::syntax::PortType::Choice(words) => Some(words.iter().map(|w| w.name.clone()).collect()),
                _ => None,
            },
            _ => None,
        }
    }

    /// A word out of a choice.
    pub(crate) fn word(&mut self, name: &Ident, words: &[String]) -> Val {
        if words.contains(&name.name) {
            return Val::Const(Const::Word(name.name.clone(), words.to_vec()));
        }
        let all: Vec<&str> = words.iter().map(String::as_str).collect();
        let message = format!("`{}` is not among the choices {}", name.name, crate::suggest::list(&all));
        let mut error = Diagnostic::error(codes::constant::CHOICE, message, name.span, "not a choice");
        if let Some(help) = crate::suggest::help(&name.name, "choices", all) {
            error = error.help(help);
        }
        self.cx.report(error);
        Val::Error
    }

    /// A tensor from a value, a constant taking the type `like`; reported where it does not fit.
    pub(crate) fn tensor(&mut self, value: &Val, like: DType, span: Span) -> Option<NodeId> {
        let scalar = match (value, like) {
            (Val::Tensor(node), _) => return Some(*node),
            (Val::Error, _) => return None,
            (Val::Pick(_), _) => {
                self.pick_is_no_tensor(span);
                return None;
            }
            (Val::Sum(i), _) => {
                self.report_sum(*i);
                return None;
            }
            (Val::Const(Const::Number(x)), DType::F32 | DType::F64) => Scalar::Float(*x),
            (Val::Const(Const::Unknown), DType::F32 | DType::F64) => Scalar::Float(f64::NAN),
            (Val::Const(Const::Unknown), DType::I32) => Scalar::Int(0),
            (Val::Const(Const::Unknown), DType::Bool) => Scalar::Bool(false),
            (Val::Const(Const::Bool(b)), DType::Bool) => Scalar::Bool(*b),
            #[allow(clippy::cast_possible_truncation, reason = "checked")]
            (Val::Const(Const::Number(x)), DType::I32) if x.fract() == 0.0 && x.abs() <= f64::from(i32::MAX) => Scalar::Int(*x as i32),
            _ => {
                let found = self.describe(value);
                let (needs, help) = match like {
                    DType::F32 | DType::F64 => ("a number", "write a number or a tensor"),
                    DType::I32 => ("a whole number", "convert the other side: `float(i)`"),
                    DType::Bool => ("a truth value", "compare it: `x > 0`"),
                };
                let message = format!("{needs} is needed here; this is {found}");
                self.cx.report(Diagnostic::error(codes::shape::DTYPE, message, span, "does not fit").help(help));
                return None;
            }
        };
        let dtype = if like == DType::F64 { DType::F32 } else { like };
        Some(self.primitive(Primitive::Const(scalar), Vec::new(), Ty::scalar(dtype), span))
    }

    /// The element type that a value has, or takes on beside others.
    pub(crate) fn dtype(&self, value: &Val) -> Option<DType> {
        match value {
            Val::Tensor(node) => Some(self.body.ty(*node).dtype),
            _ => None,
        }
    }

    /// An element-wise function on operands of one type.
    pub(crate) fn map(&mut self, f: MapFn, operands: &[NodeId], span: Span) -> Val {
        let shape = operands.iter().fold(Shape::scalar(), |s, &n| s.union(&self.body.ty(n).shape));
        let dtype = if f.is_predicate() { DType::Bool } else { self.body.ty(*operands.last().unwrap_or(&NodeId(0))).dtype };
        Val::Tensor(self.primitive(Primitive::Map(f), operands.to_vec(), Ty::new(dtype, shape), span))
    }

    /// Whether a tensor is float; reported where not.
    pub(crate) fn needs_float(&mut self, what: &str, node: NodeId, at: Span) -> bool {
        if self.body.ty(node).dtype.is_float() {
            return true;
        }
        let found = self.describe(&Val::Tensor(node));
        let text = self.source(at);
        let message = format!("`{what}` takes float tensors; `{text}` is {found}");
        let error = Diagnostic::error(codes::shape::DTYPE, message, at, short(&found));
        self.cx.report(error.help(format!("convert it: `float({text})`")));
        false
    }

    /// A dim that must be in an operand is not.
    pub(crate) fn over_missing(&mut self, what: &str, dim: &Ident, node: NodeId, at: Span) {
        let shape = self.body.ty(node).shape.clone();
        let has = self.dims(&shape);
        let text = self.source(at);
        let message = format!("`{what}` goes over `{}`, which `{text}` does not have: it has {has}", dim.name);
        let error = Diagnostic::error(codes::shape::OVER_MISSING, message, dim.span, "not in an operand").label(at, format!("has {has}"));
        let error = match self.named(&text) {
            Some((_, place)) => error.label(place, format!("`{text}` comes from here")),
            None => error,
        };
        let axis = self.body.dims.get(&dim.name).copied();
        let size = axis.and_then(|a| self.cx.size(a));
        let equal: Vec<String> =
            shape.iter().filter(|&a| size.is_some() && self.cx.size(a) == size).map(|a| self.dim_name(a).to_string()).collect();
        let meant: Vec<String> = if axis.is_none() { shape.iter().map(|a| self.dim_name(a).to_string()).collect() } else { Vec::new() };
        let help = match equal.first() {
            _ if let Some(near) = crate::suggest::nearest(&dim.name, meant.iter().map(String::as_str)) => format!("did you mean `{near}`?"),
            Some(other) => format!("rename it first: `{}[{other} as {}]`", wrap(&text), dim.name),
            None if shape.is_scalar() => "leave out the reduction: this has no dims".to_string(),
            None => {
                let names: Vec<String> = shape.iter().map(|a| self.dim_name(a).to_string()).collect();
                let refs: Vec<&str> = names.iter().map(String::as_str).collect();
                match crate::suggest::nearest(&dim.name, refs.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("name one of its dims: {}", crate::suggest::list(&refs)),
                }
            }
        };
        self.cx.report(error.help(help));
    }

    /// The tensor that a name of this body stands for, where it has one by now, and the place that gives it.
    fn named(&self, name: &str) -> Option<(NodeId, Span)> {
        let (entry, place) = self.body.table.entries.get(name).copied()?;
        let value = match entry {
            Entry::Port(_) => self.body.ports.get(name)?,
            Entry::Param(i) => self.body.params.get(&i)?,
            Entry::Equation(i, part) => match self.body.values.get(&i)? {
                Val::Tuple(parts) => parts.get(part)?,
                other => other,
            },
            _ => return None,
        };
        match value {
            Val::Tensor(node) => Some((*node, place)),
            _ => None,
        }
    }

    /// Of the names in the text at `at`, the first whose tensor has one of `dims`: its name, that dim, and the place that gives it.
    pub(crate) fn origin(&self, at: Span, dims: &Shape) -> Option<(String, String, Span)> {
        let text = self.cx.items.sources().slice(at);
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).find_map(|word| {
            let (node, place) = self.named(word)?;
            let dim = self.body.ty(node).shape.intersection(dims).axes().first().copied()?;
            (!at.covers(place)).then(|| (word.to_owned(), self.dim_name(dim).to_string(), place))
        })
    }

    /// Whether no dim is named twice; reported where one is.
    pub(crate) fn distinct(&mut self, names: &[Ident], axes: &[AxisId]) -> bool {
        for (i, axis) in axes.iter().enumerate() {
            if axes[..i].contains(axis) {
                let message = format!("`{}` is named twice", names[i].name);
                self.cx.report(
                    Diagnostic::error(codes::shape::REPEATED_DIM, message, names[i].span, "named again").help("name each dim once"),
                );
                return false;
            }
        }
        true
    }

    /// A dim as an expression over `values` means it: in an experiment, the dim of that name that they have.
    pub(crate) fn dim_in(&mut self, name: &Ident, values: &[&Val]) -> Option<AxisId> {
        if self.body.objective.is_some() {
            let found = values.iter().find_map(|v| match v {
                Val::Tensor(node) => self.body.ty(*node).shape.iter().find(|&a| self.dim_name(a) == name.name),
                _ => None,
            });
            if found.is_some() {
                return found;
            }
        }
        self.dim(name)
    }
}

/// At most six words of a description.
pub(crate) fn short(text: &str) -> String {
    text.split_whitespace().take(6).collect::<Vec<_>>().join(" ")
}

/// Parentheses around what an index would not bind to.
pub(crate) fn wrap(text: &str) -> String {
    let simple = text.chars().all(|c| c.is_alphanumeric() || c == '_') || (text.ends_with([')', ']']) && !text.contains([' ', '@']));
    if simple { text.to_string() } else { format!("({text})") }
}

pub(crate) fn show(c: &Const) -> String {
    match c {
        Const::Number(x) => x.to_string(),
        Const::Bool(b) => b.to_string(),
        Const::Word(w, _) => w.clone(),
        Const::Unknown => "?".into(),
    }
}
