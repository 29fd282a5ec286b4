//! Calls of blocks and instances: arguments are sorted out, dims bound, the block elaborated, its results typed.

use super::body::{Body, Eval};
use super::context::Draft;
use super::expr::short;
use super::table::Entry;
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{Instance, InstanceId, NodeId, Op};
use crate::source::{FileId, Span};
use crate::syntax::{Arg, Block, BlockKind, Call, Expr, ExprKind, Ident, PortType};
use ogive_graph::{AxisId, DType, Op as Primitive, Shape, Ty};
use std::collections::BTreeMap;

/// A named instance after its first use.
#[derive(Clone)]
pub(crate) struct Shared {
    pub instance: Option<InstanceId>,
    pub dims: Vec<(String, Given)>,
    pub ports: Vec<String>,
}

/// What binds a dim of a called block.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Given {
    /// A dim of the caller.
    Axis(AxisId),
    /// A size.
    Size(Option<u64>),
}

/// The arguments of a call, by the callee's names.
struct Arguments<'a> {
    ports: BTreeMap<usize, &'a Expr>,
    dims: Vec<(&'a Ident, &'a Expr)>,
}

/// How a call repeats.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub share: bool,
    pub axis: AxisId,
    pub count: Option<u64>,
}

/// A call that is being worked on.
struct Target<'a> {
    file: FileId,
    block: &'a Block,
    /// The name to show: of the block or instance.
    name: &'a Ident,
    /// Index of the named instance.
    named: Option<usize>,
    span: Span,
    times: Option<Times>,
}

/// A tensor argument in its place.
struct Operand {
    port: usize,
    node: NodeId,
    /// Dims that it has besides the port's.
    extra: Shape,
    span: Span,
}

impl<'a> Eval<'_, 'a> {
    /// `f(...)`, or `first |> f(...)`.
    pub(crate) fn call(&mut self, call: &'a Call, first: Option<&'a Expr>) -> Val {
        if let Some((Entry::Local(i), _)) = self.body.table.entries.get(call.callee.name.as_str()).copied() {
            return self.inline(i, call, first);
        }
        if self.body.objective.is_some() && call.callee.name == "next" {
            return self.next(call);
        }
        match self.target(call, None) {
            Some(target) => self.apply(&target, &call.args, first),
            None => match self.builtin(call, first) {
                Some(value) => value,
                None => {
                    self.unknown_block(&call.callee);
                    self.arguments_alone(&call.args, first);
                    Val::Error
                }
            },
        }
    }

    /// `stack N of f(x)`, `share N of f(x)`.
    pub(crate) fn repeat(&mut self, share: bool, times: &'a Expr, call: &'a Call, span: Span) -> Val {
        let word = if share { "share" } else { "stack" };
        let count = match self.constant(times) {
            Val::Const(Const::Number(n)) if n >= 1.0 && n.fract() == 0.0 && n <= f64::from(u32::MAX) =>
            {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
                Some(n as u64)
            }
            Val::Const(Const::Unknown) => None,
            Val::Const(other) => {
                let message = format!("`{word}` repeats a whole number of times from 1, not {}", other.describe());
                let error = Diagnostic::error(codes::repeat::COUNT, message, times.span, "not a count");
                self.cx.report(error.help(format!("write a count: `{word} 4 of {}(...)`", call.callee.name)));
                self.arguments_alone(&call.args, None);
                return Val::Error;
            }
            _ => {
                self.arguments_alone(&call.args, None);
                return Val::Error;
            }
        };
        let axis = self.cx.axis("depth", count, times.span);
        match self.target(call, Some(Times { share, axis, count })) {
            Some(target) if target.named.is_some() && !share => {
                let message = format!("`{}` is one instance; `stack` makes several", call.callee.name);
                let error = Diagnostic::error(codes::name::WRONG_KIND, message, call.callee.span, "one instance");
                let help = format!(
                    "apply it again and again: `share N of {}(...)`, or stack its block: `stack N of {}(...)`",
                    call.callee.name, target.block.name.name
                );
                self.cx.report(error.help(help));
                Val::Error
            }
            Some(target) => self.apply(&target, &call.args, None),
            None => {
                if super::builtins::is_builtin(&call.callee.name) || self.body.table.entries.contains_key(call.callee.name.as_str()) {
                    let message = format!("`{word}` repeats blocks; `{}` is none", call.callee.name);
                    let error = Diagnostic::error(codes::name::WRONG_KIND, message, call.callee.span, "not a block");
                    self.cx.report(error.label(span, "repeated here").help("write a block that does one step and repeat that"));
                } else {
                    self.unknown_block(&call.callee);
                }
                self.arguments_alone(&call.args, None);
                Val::Error
            }
        }
    }

    fn target(&mut self, call: &'a Call, times: Option<Times>) -> Option<Target<'a>> {
        let name = &call.callee;
        if let Some((Entry::Named(i), _)) = self.body.table.entries.get(name.name.as_str()).copied() {
            let of = self.body.table.named[i].of;
            let Some((file, block)) = self.cx.items.block(self.body.file, &of.name) else {
                self.unknown_block(of);
                return None;
            };
            return Some(Target { file, block, name, named: Some(i), span: call.span, times });
        }
        let (file, block) = self.cx.items.block(self.body.file, &name.name)?;
        Some(Target { file, block, name, named: None, span: call.span, times })
    }

    pub(crate) fn unknown_block(&mut self, name: &Ident) {
        if self.cx.items.is_broken(&name.name) || !self.body.unknown.insert(format!("block {}", name.name)) {
            return;
        }
        if let Some((_, place)) = self.body.table.entries.get(name.name.as_str()).copied() {
            if self.body.table.named.iter().any(|n| n.name.name == name.name) {
                return;
            }
            let message = format!("`{}` is a value, not a block", name.name);
            let error = Diagnostic::error(codes::name::WRONG_KIND, message, name.span, "not a block").label(place, "declared here");
            self.cx.report(error.help(format!("multiply with `{} * x`, or contract with `{} @dim x`", name.name, name.name)));
            return;
        }
        let message = format!("there is no block or function `{}`", name.name);
        let table = std::rc::Rc::clone(&self.body.table);
        let blocks = self.cx.items.block_names(self.body.file).into_iter().map(str::to_string);
        let own = table.locals.iter().map(|l| l.name.name.clone()).chain(table.named.iter().map(|n| n.name.name.clone()));
        let known: Vec<String> = blocks.chain(super::builtins::names().map(str::to_string)).chain(own).collect();
        let mut error = Diagnostic::error(codes::name::UNKNOWN_BLOCK, message, name.span, "not known");
        error = match crate::suggest::nearest(&name.name, known.iter().map(String::as_str)) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("write it: `block {}[model](x: [model]) -> y: [model] {{ ... }}`", name.name)),
        };
        self.cx.report(error);
    }

    /// Looks at arguments of a call that cannot be made, for what is wrong in them.
    fn arguments_alone(&mut self, args: &'a [Arg], first: Option<&'a Expr>) {
        for value in first.into_iter().chain(args.iter().map(|a| &a.value)) {
            // a label's value may be a word or dim of the callee
            if !matches!(value.kind, ExprKind::Name(_) | ExprKind::List(_)) {
                self.eval(value);
            }
        }
    }

    /// A local function, put in place of its call.
    fn inline(&mut self, i: usize, call: &'a Call, first: Option<&'a Expr>) -> Val {
        let table = std::rc::Rc::clone(&self.body.table);
        let local = &table.locals[i];
        let mut frame = std::collections::HashMap::new();
        let values: Vec<&'a Expr> = first.into_iter().chain(call.args.iter().map(|a| &a.value)).collect();
        if let Some(label) = call.args.iter().find_map(|a| a.label.as_ref()) {
            let message = format!("`{}` is local; its arguments have no labels", call.callee.name);
            self.cx.report(Diagnostic::error(codes::call::UNKNOWN_LABEL, message, label.span, "not known").help("leave the label out"));
            return Val::Error;
        }
        if values.len() != local.params.len() {
            let (n, m) = (local.params.len(), values.len());
            let code = if m < n { codes::call::MISSING_ARGUMENT } else { codes::call::EXTRA_ARGUMENT };
            let message = format!("`{}` takes {n} arguments; {m} are given", call.callee.name);
            let names: Vec<&str> = local.params.iter().map(|p| p.name.as_str()).collect();
            let error = Diagnostic::error(code, message, call.span, "number of arguments").label(local.name.span, "declared here");
            self.cx.report(error.help(format!("write `{}({})`", call.callee.name, names.join(", "))));
            return Val::Error;
        }
        for (param, value) in local.params.iter().zip(values) {
            let value = self.eval(value);
            frame.insert(param.name.as_str(), value);
        }
        if self.body.inlining.contains(&i) {
            let message = format!("local function `{}` calls itself", call.callee.name);
            let error = Diagnostic::error(codes::name::RECURSIVE_BLOCK, message, call.span, "calls itself");
            self.cx.report(error.help("write the steps out, or repeat a block: `share N of step(x)`"));
            return Val::Error;
        }
        self.body.inlining.push(i);
        self.body.frames.push(frame);
        self.body.place.push((call.span.end, call.span.start));
        let value = self.eval(local.value);
        self.body.place.pop();
        self.body.frames.pop();
        self.body.inlining.pop();
        value
    }

    /// Sorts arguments to ports and dims. `None` where what is wrong (reported) makes the call meaningless.
    fn sort_arguments(&mut self, target: &Target<'a>, args: &'a [Arg], first: Option<&'a Expr>) -> Option<Arguments<'a>> {
        let block = target.block;
        let mut out = Arguments { ports: BTreeMap::new(), dims: Vec::new() };
        let mut fine = true;
        let mut position = 0;
        if let Some(first) = first {
            out.ports.insert(0, first);
            position = 1;
        }
        let declared: &'a [Arg] = match target.named {
            Some(i) => self.body.table.named[i].args,
            None => &[],
        };
        for arg in declared.iter().chain(args) {
            let Some(label) = &arg.label else {
                if position >= block.inputs.len() {
                    fine = false;
                    let n = block.inputs.len();
                    let message = format!("`{}` takes {n} arguments; this is one more", target.name.name);
                    let error = Diagnostic::error(codes::call::EXTRA_ARGUMENT, message, arg.value.span, "one too many")
                        .label(block.header, "declared here");
                    let text = self.source(arg.value.span);
                    let dim = block.dims.first().map_or("dim", |d| d.name.name.as_str()).to_string();
                    self.cx.report(error.help(format!("leave it out; a dim is passed with its name: `{dim}: {text}`")));
                } else {
                    out.ports.insert(position, &arg.value);
                }
                position += 1;
                continue;
            };
            if let Some(i) = block.inputs.iter().position(|p| p.name.name == label.name) {
                if let Some(before) = out.ports.insert(i, &arg.value) {
                    fine = false;
                    let message = format!("`{}` of `{}` is given twice", label.name, target.name.name);
                    let error =
                        Diagnostic::error(codes::call::GIVEN_TWICE, message, label.span, "given again").label(before.span, "given here");
                    self.cx.report(error.help("give it once"));
                }
            } else if block.dims.iter().any(|d| d.name.name == label.name) {
                if let Some((before, _)) = out.dims.iter().find(|(l, _)| l.name == label.name) {
                    fine = false;
                    let message = format!("`{}` of `{}` is given twice", label.name, target.name.name);
                    let error =
                        Diagnostic::error(codes::call::GIVEN_TWICE, message, label.span, "given again").label(before.span, "given here");
                    self.cx.report(error.help("give it once"));
                } else {
                    out.dims.push((label, &arg.value));
                }
            } else {
                fine = false;
                let message = format!("`{}` has no input and no dim `{}`", target.name.name, label.name);
                let names = block.inputs.iter().map(|p| p.name.name.as_str()).chain(block.dims.iter().map(|d| d.name.name.as_str()));
                let error =
                    Diagnostic::error(codes::call::UNKNOWN_LABEL, message, label.span, "not known").label(block.name.span, "declared here");
                let error = match crate::suggest::help(&label.name, "labels", names) {
                    Some(help) => error.help(help),
                    None => error.help("leave it out"),
                };
                self.cx.report(error);
            }
        }
        fine.then_some(out)
    }

    fn apply(&mut self, target: &Target<'a>, args: &'a [Arg], first: Option<&'a Expr>) -> Val {
        if target.block.kind == BlockKind::Cell {
            let message = format!("`{}` is a cell; cells are read but cannot be run yet", target.name.name);
            let error = Diagnostic::error(codes::pending::CELL, message, target.span, "not yet");
            self.cx.report(error.help("write the recurrence over depth: `share N of step(x)`"));
            return Val::Error;
        }
        let Some(arguments) = self.sort_arguments(target, args, first) else {
            self.arguments_alone(args, first);
            return Val::Error;
        };
        if self.recursive(target) {
            return Val::Error;
        }
        // dims given by label
        let mut dims: Vec<(String, Given)> = Vec::new();
        let mut fine = true;
        for (label, value) in &arguments.dims {
            match self.dim_given(label, value) {
                Some(given) => dims.push((label.name.clone(), given)),
                None => fine = false,
            }
        }
        // arguments
        let mut tensors: Vec<(usize, NodeId, Span)> = Vec::new();
        let mut constants: Vec<(usize, Const)> = Vec::new();
        for (&i, &value) in &arguments.ports {
            match &target.block.inputs[i].ty {
                PortType::Tensor(ty) => match self.eval(value) {
                    Val::Error => fine = false,
                    v => {
                        let like = if ty.domain.is_some() { DType::I32 } else { DType::F32 };
                        match self.tensor_argument(target, i, &v, like, value.span) {
                            Some(node) => tensors.push((i, node, value.span)),
                            None => fine = false,
                        }
                    }
                },
                _ => match self.constant_argument(target.block, i, value) {
                    Some(c) => constants.push((i, c)),
                    None => fine = false,
                },
            }
        }
        for (i, port) in target.block.inputs.iter().enumerate() {
            if port.default.is_none() && !arguments.ports.contains_key(&i) {
                fine = false;
                self.missing_argument(target, i);
            }
        }
        let operands = fine.then(|| self.bind_operands(target, &mut dims, &tensors)).flatten();
        match operands {
            Some(operands) => self.instantiate(target, dims, operands, constants),
            None => Val::Error,
        }
    }

    fn missing_argument(&mut self, target: &Target<'a>, i: usize) {
        let port = &target.block.inputs[i];
        let message = format!("`{}` needs `{}`", target.name.name, port.name.name);
        let example = match &port.ty {
            PortType::Tensor(_) => "x".to_string(),
            PortType::Int(_) => "2".into(),
            PortType::Float(_) => "0.5".into(),
            PortType::Bool(_) => "true".into(),
            PortType::Choice(words) => words.first().map_or_else(String::new, |w| w.name.clone()),
        };
        let error = Diagnostic::error(codes::call::MISSING_ARGUMENT, message, target.span, format!("`{}` is missing", port.name.name));
        self.cx.report(error.label(port.span, "declared here").help(format!("pass `{}: {example}`", port.name.name)));
    }

    fn recursive(&mut self, target: &Target<'a>) -> bool {
        let name = &target.block.name.name;
        let Some(first) = self.cx.chain.iter().position(|(file, n, _)| *file == target.file && n == name) else { return false };
        let mut circle: Vec<&str> = self.cx.chain[first..].iter().map(|c| c.1.as_str()).collect();
        circle.push(name);
        let message = format!("`{name}` contains itself: {}", circle.join(" -> "));
        let error = Diagnostic::error(codes::name::RECURSIVE_BLOCK, message, target.span, "contains itself")
            .label(target.block.name.span, "declared here");
        self.cx.report(error.help(format!("repeat a block that does not call itself: `stack 4 of {name}(x)` in another block")));
        true
    }

    fn dim_given(&mut self, label: &Ident, value: &'a Expr) -> Option<Given> {
        if let ExprKind::Name(path) = &value.kind
            && let [name] = path.as_slice()
            && !self.body.table.entries.get(name.name.as_str()).is_some_and(|(e, _)| !matches!(e, Entry::Dim(_)))
        {
            if self.body.objective.is_some()
                && let Some(axis) = self.measured_dim(&name.name)
            {
                return Some(Given::Axis(axis));
            }
            if let Some(axis) = self.dim_quiet(&name.name) {
                return Some(Given::Axis(axis));
            }
            // a name that is neither a dim nor a constant is meant as a dim
            if self.cx.items.constant(self.body.file, &name.name).is_none() && name.name != "depth" {
                return self.dim(name).map(Given::Axis);
            }
        }
        match self.constant(value) {
            Val::Const(c) => self.size_from(&c, value.span, &format!("dim `{}`", label.name)).map(Given::Size),
            _ => None,
        }
    }

    fn tensor_argument(&mut self, target: &Target<'a>, i: usize, value: &Val, like: DType, span: Span) -> Option<NodeId> {
        let port = &target.block.inputs[i];
        if let Val::Tuple(parts) = value {
            let message = format!("`{}` takes one tensor; these are {} values", port.name.name, parts.len());
            let error = Diagnostic::error(codes::call::TENSOR_NEEDED, message, span, "several values").label(port.span, "declared here");
            self.cx.report(error.help("name the outputs first: `(a, b) = ...`"));
            return None;
        }
        if let Val::Const(Const::Bool(_) | Const::Word(..)) = value {
            let message = format!("`{}` takes a tensor; this is {}", port.name.name, self.describe(value));
            let error = Diagnostic::error(codes::call::TENSOR_NEEDED, message, span, "not a tensor").label(port.span, "declared here");
            self.cx.report(error.help("pass a tensor or a number"));
            return None;
        }
        self.tensor(value, like, span)
    }

    /// A constant argument, checked against the port's type.
    pub(crate) fn constant_argument(&mut self, block: &'a Block, i: usize, value: &'a Expr) -> Option<Const> {
        let port = &block.inputs[i];
        if let PortType::Choice(words) = &port.ty {
            let words: Vec<String> = words.iter().map(|w| w.name.clone()).collect();
            if let ExprKind::Name(path) = &value.kind
                && let [name] = path.as_slice()
                && self.choices(name).is_none()
            {
                return match self.word(name, &words) {
                    Val::Const(c) => Some(c),
                    _ => None,
                };
            }
            return match self.constant(value) {
                Val::Const(Const::Word(word, _)) if words.contains(&word) => Some(Const::Word(word, words)),
                Val::Const(Const::Unknown) => Some(Const::Unknown),
                Val::Const(Const::Word(word, _)) => {
                    let name = Ident { name: word, span: value.span };
                    self.word(&name, &words);
                    None
                }
                Val::Const(other) => {
                    self.constant_type(&port.name, &other, "one of its words", value.span, port.span, &words[0]);
                    None
                }
                _ => None,
            };
        }
        match self.constant(value) {
            Val::Const(c) => self.check_constant(block, i, c, value.span),
            _ => None,
        }
    }

    /// Whether a constant fits its port.
    pub(crate) fn check_constant(&mut self, block: &'a Block, i: usize, value: Const, span: Span) -> Option<Const> {
        let port = &block.inputs[i];
        let (fits, needs, example) = match (&port.ty, &value) {
            (_, Const::Unknown) => (true, "", ""),
            (PortType::Int(_), Const::Number(x)) => (x.fract() == 0.0, "a whole number", "2"),
            (PortType::Int(_), _) => (false, "a whole number", "2"),
            (PortType::Float(_), v) => (matches!(v, Const::Number(_)), "a number", "0.5"),
            (PortType::Bool(_), v) => (matches!(v, Const::Bool(_)), "`true` or `false`", "true"),
            (PortType::Choice(_) | PortType::Tensor(_), v) => (matches!(v, Const::Word(..)), "one of its words", ""),
        };
        if fits {
            return Some(value);
        }
        self.constant_type(&port.name, &value, needs, span, port.span, example);
        None
    }

    fn constant_type(&mut self, name: &Ident, value: &Const, needs: &str, span: Span, place: Span, example: &str) {
        let message = format!("`{}` takes {needs}; this is {}", name.name, value.describe());
        let error = Diagnostic::error(codes::constant::TYPE, message, span, short(&value.describe())).label(place, "declared here");
        self.cx.report(error.help(format!("pass `{}: {example}`", name.name)));
    }

    /// Binds dims through tensor arguments; what an argument has besides its port's dims is lifted over.
    fn bind_operands(
        &mut self,
        target: &Target<'a>,
        dims: &mut Vec<(String, Given)>,
        tensors: &[(usize, NodeId, Span)],
    ) -> Option<Vec<Operand>> {
        let mut operands = Vec::new();
        let mut fine = true;
        for &(port, node, span) in tensors {
            let PortType::Tensor(ty) = &target.block.inputs[port].ty else { continue };
            let shape = self.body.ty(node).shape.clone();
            let mut own = Shape::scalar();
            for dim in &ty.dims {
                let given = dims.iter().find(|(n, _)| *n == dim.name).map(|(_, g)| *g);
                let axis = match given {
                    Some(Given::Axis(axis)) => Some(axis).filter(|a| shape.contains(*a)),
                    _ => shape.iter().find(|&a| self.dim_name(a) == dim.name),
                };
                let Some(axis) = axis else {
                    fine = false;
                    self.port_dim_missing(target, port, dim, given, &shape, span);
                    continue;
                };
                if let Some(Given::Size(Some(n))) = given
                    && let Some(size) = self.cx.size(axis)
                    && size != n
                {
                    fine = false;
                    let message = format!("`{}: {n}` is passed, but the argument's `{}` has size {size}", dim.name, dim.name);
                    let place = self.cx.axes[axis.index()].span;
                    let error = Diagnostic::error(codes::shape::MISMATCH, message, span, format!("`{}` is {size}", dim.name));
                    self.cx
                        .report(error.label(place, "declared here").help(format!("leave out `{}: {n}`: the argument says it", dim.name)));
                    continue;
                }
                dims.retain(|(n, g)| *n != dim.name || matches!(g, Given::Axis(_)));
                if !dims.iter().any(|(n, _)| *n == dim.name) {
                    dims.push((dim.name.clone(), Given::Axis(axis)));
                }
                own = own.with(axis);
            }
            fine &= self.bind_domain(target, port, node, span, dims);
            operands.push(Operand { port, node, extra: shape.minus(&own), span });
        }
        if fine && self.dims_distinct(target, dims) { Some(operands) } else { None }
    }

    fn port_dim_missing(&mut self, target: &Target<'a>, port: usize, dim: &Ident, given: Option<Given>, shape: &Shape, span: Span) {
        let declared = &target.block.inputs[port];
        let PortType::Tensor(ty) = &declared.ty else { return };
        let needs: Vec<&str> = ty.dims.iter().map(|d| d.name.as_str()).collect();
        let has = self.dims(shape);
        let bound = match given {
            Some(Given::Axis(axis)) => format!(" (here `{}`)", self.dim_name(axis)),
            _ => String::new(),
        };
        let message = format!(
            "`{}` of `{}` has dims [{}]; the argument has {has}, without `{}`{bound}",
            declared.name.name,
            target.name.name,
            needs.join(", "),
            dim.name
        );
        let error = Diagnostic::error(codes::shape::PORT_DIM_MISSING, message, span, format!("has {has}"));
        let error = error.label(declared.span, format!("needs `{}`", dim.name));
        let free: Vec<String> = shape.iter().map(|a| self.dim_name(a).to_string()).filter(|n| !needs.contains(&n.as_str())).collect();
        let help = match (given, free.first()) {
            (None, Some(other)) => format!("pass `{}: {other}`, or rename the argument's dim: `[{other} as {}]`", dim.name, dim.name),
            _ => format!("pass a tensor that has `{}`", dim.name),
        };
        self.cx.report(error.help(help));
    }

    fn bind_domain(&mut self, target: &Target<'a>, port: usize, node: NodeId, span: Span, dims: &mut Vec<(String, Given)>) -> bool {
        let declared = &target.block.inputs[port];
        let PortType::Tensor(ty) = &declared.ty else { return true };
        let (dtype, domain) = (self.body.ty(node).dtype, self.body.node(node).domain);
        let found = self.describe(&Val::Tensor(node));
        let Some(wanted) = &ty.domain else {
            if dtype.is_float() {
                return true;
            }
            let message = format!("`{}` of `{}` takes floats; this is {found}", declared.name.name, target.name.name);
            let error = Diagnostic::error(codes::shape::DTYPE, message, span, short(&found)).label(declared.span, "takes floats");
            let text = self.source(span);
            self.cx.report(error.help(format!("convert it: `float({text})`")));
            return false;
        };
        let Some(domain) = domain.filter(|_| dtype == DType::I32) else {
            let message =
                format!("`{}` of `{}` takes positions along `{}`; this is {found}", declared.name.name, target.name.name, wanted.name);
            let error = Diagnostic::error(codes::shape::DOMAIN, message, span, short(&found)).label(declared.span, "takes positions");
            let text = self.source(span);
            let help = if dtype == DType::I32 {
                format!("say along what: `position({text}, in: {})`", wanted.name)
            } else {
                format!("declare an input as positions: `i: [] in {}`", wanted.name)
            };
            self.cx.report(error.help(help));
            return false;
        };
        match dims.iter().find(|(n, _)| *n == wanted.name).map(|(_, g)| *g) {
            Some(Given::Axis(axis)) if axis != domain => {
                let (a, b) = (self.dim_name(axis).to_string(), self.dim_name(domain).to_string());
                let message = format!(
                    "`{}` of `{}` takes positions along `{a}`; these are positions along `{b}`",
                    declared.name.name, target.name.name
                );
                let error = Diagnostic::error(codes::shape::DOMAIN, message, span, format!("positions along `{b}`"))
                    .label(declared.span, "takes positions");
                self.cx.report(error.help(format!("rename the other argument's dim: `[{a} as {b}]`")));
                return false;
            }
            Some(Given::Size(n)) if n.is_some() && self.cx.size(domain).is_some() && n != self.cx.size(domain) => {
                let message =
                    format!("`{}` is passed as a size, but the argument's positions lie along `{}`", wanted.name, self.dim_sized(domain));
                self.cx.report(
                    Diagnostic::error(codes::shape::MISMATCH, message, span, "sizes differ").help(format!("leave out `{}:`", wanted.name)),
                );
                return false;
            }
            Some(Given::Axis(_)) => {}
            _ => {
                dims.retain(|(n, _)| *n != wanted.name);
                dims.push((wanted.name.clone(), Given::Axis(domain)));
            }
        }
        true
    }

    /// Whether no two dims of the callee are bound to one of the caller's.
    fn dims_distinct(&mut self, target: &Target<'a>, dims: &[(String, Given)]) -> bool {
        for (i, (name, given)) in dims.iter().enumerate() {
            if let Given::Axis(axis) = given
                && let Some((before, _)) = dims[..i].iter().find(|(_, g)| g == given)
            {
                let dim = self.dim_name(*axis).to_string();
                let message = format!("dims `{before}` and `{name}` of `{}` are both bound to `{dim}`", target.name.name);
                let error = Diagnostic::error(codes::shape::REPEATED_DIM, message, target.span, "one dim for two");
                self.cx.report(error.help(format!("rename one: `x[{dim} as {dim}2]`")));
                return false;
            }
        }
        true
    }

    /// Makes the instance, or finds the shared one, and adds the nodes of its call.
    fn instantiate(
        &mut self,
        target: &Target<'a>,
        dims: Vec<(String, Given)>,
        mut operands: Vec<Operand>,
        constants: Vec<(usize, Const)>,
    ) -> Val {
        operands.sort_by_key(|o| o.port);
        let ports: Vec<String> = operands.iter().map(|o| target.block.inputs[o.port].name.name.clone()).collect();
        if let Some(i) = target.named
            && let Some(shared) = self.body.named.get(&i).cloned()
        {
            let same = |given: &[(String, Given)]| given.iter().all(|g| dims.contains(g)) && dims.iter().all(|g| given.contains(g));
            if !same(&shared.dims) || ports != shared.ports {
                let message = format!("`{}` was first called with other dims or inputs; one instance has one shape", target.name.name);
                let error = Diagnostic::error(codes::shape::MISMATCH, message, target.span, "other dims");
                let place = self.body.table.named[i].span;
                self.cx.report(
                    error
                        .label(place, "declared here")
                        .help(format!("declare a second instance: `instance {}2 = {}(...)`", target.name.name, target.block.name.name)),
                );
                return Val::Error;
            }
            return shared.instance.map_or(Val::Error, |id| self.results(target, id, operands));
        }
        let instance = self.elaborate_callee(target, &dims, &operands, constants);
        if let Some(i) = target.named {
            self.body.named.insert(i, Shared { instance, dims, ports });
        }
        instance.map_or(Val::Error, |id| self.results(target, id, operands))
    }

    fn elaborate_callee(
        &mut self,
        target: &Target<'a>,
        dims: &[(String, Given)],
        operands: &[Operand],
        constants: Vec<(usize, Const)>,
    ) -> Option<InstanceId> {
        let block = target.block;
        // a dim of an output that is bound by size may be the caller's dim of that name
        let mut outer = BTreeMap::new();
        for output in &block.outputs {
            for dim in output.ty.dims.iter().chain(&output.ty.domain) {
                if !dims.iter().any(|(n, g)| *n == dim.name && matches!(g, Given::Axis(_))) {
                    let axis = self.dim_quiet(&dim.name);
                    outer.insert(dim.name.clone(), axis);
                }
            }
        }
        let table = self.cx.table(target.file, block);
        let mut body = Body::new(Some(block), target.file, table);
        body.outer = outer;
        body.called = true;
        body.applications = self.body.applications.saturating_mul(target.times.and_then(|t| t.count).unwrap_or(1));
        body.stacks.clone_from(&self.body.stacks);
        if let Some(times) = target.times
            && !times.share
        {
            body.stacks.push(times.axis);
        }
        let instance = Instance {
            block: block.name.name.clone(),
            kind: block.kind,
            path: String::new(),
            parent: Some(self.body.instance),
            stacks: body.stacks.clone(),
            applications: body.applications,
            dims: Vec::new(),
            constants: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            params: Vec::new(),
            children: Vec::new(),
            body: Vec::new(),
            taps: Vec::new(),
            span: target.span,
        };
        let mut key = self.body.place.clone();
        key.push((target.span.end, target.span.start));
        let label = target.named.map_or_else(|| block.name.name.clone(), |i| self.body.table.named[i].name.name.clone());
        let id = self.cx.draft(Draft { instance, label, named: target.named.is_some(), key })?;
        body.instance = id;
        self.cx.chain.push((target.file, block.name.name.clone(), target.span));
        let given: Vec<usize> = operands.iter().map(|o| o.port).collect();
        let fine = self.cx.enter(target.span) && {
            let fine = Eval { cx: self.cx, body: &mut body }.block(dims, &given, constants, target.span);
            self.cx.leave();
            fine
        };
        self.cx.chain.pop();
        fine.then_some(id)
    }

    /// The nodes of a call: hygienic renaming of lifted dims, the call, its results.
    fn results(&mut self, target: &Target<'a>, id: InstanceId, operands: Vec<Operand>) -> Val {
        let span = target.span;
        let bound: Vec<AxisId> = self.cx.drafts[id.index()].instance.dims.iter().map(|d| d.1).collect();
        // a dim that is lifted over and also bound to a dim of the callee gets another name within
        let mut renamed: Vec<(AxisId, AxisId)> = Vec::new();
        let mut inputs = Vec::new();
        let mut extras = Vec::new();
        for operand in &operands {
            let clash: Vec<AxisId> = operand.extra.iter().filter(|a| bound.contains(a)).collect();
            let mut pairs = Vec::new();
            for axis in clash {
                let fresh = match renamed.iter().find(|(a, _)| *a == axis) {
                    Some(&(_, fresh)) => fresh,
                    None => {
                        let name = self.cx.axes[axis.index()].name.clone();
                        let fresh = self.cx.axis(&name, self.cx.size(axis), operand.span);
                        renamed.push((axis, fresh));
                        fresh
                    }
                };
                pairs.push((axis, fresh));
            }
            let mut node = operand.node;
            let mut extra = operand.extra.clone();
            if !pairs.is_empty() {
                let swap = |shape: &Shape| Shape::of(shape.iter().map(|a| pairs.iter().find(|(x, _)| *x == a).map_or(a, |(_, y)| *y)));
                // only the lifted dims are renamed; the port's own stay
                let ty = Ty::new(self.body.ty(node).dtype, swap(&self.body.ty(node).shape));
                extra = swap(&extra);
                let domain = self.body.node(node).domain;
                node = self.push_in(Op::Primitive(Primitive::Rename(pairs)), vec![node], ty, domain, operand.span);
            }
            inputs.push(node);
            extras.push(extra);
        }
        let op = match target.times {
            Some(times) => Op::Repeat { instance: id, share: times.share, axis: times.axis },
            None => Op::Call(id),
        };
        let outputs = self.cx.drafts[id.index()].instance.outputs.clone();
        let dtypes: Vec<DType> = {
            let instance = &self.cx.drafts[id.index()].instance;
            outputs.iter().map(|o| instance.body[o.node.index()].ty.dtype).collect()
        };
        let call = self.push(op, inputs.clone(), Ty::scalar(DType::F32), span);
        let mut values = Vec::new();
        for (i, output) in outputs.iter().enumerate() {
            if target.times.is_some() && i > 0 {
                break;
            }
            let lifted = |extras: &[Shape]| {
                let own = Shape::of(output.dims.iter().copied());
                output.depends.iter().zip(extras).filter(|(d, _)| **d).fold(own, |s, (_, e)| s.union(e))
            };
            let mut shape = lifted(&extras);
            if target.times.is_some() {
                if !self.carries(target, &shape, dtypes[i], &inputs, &operands) {
                    return Val::Error;
                }
                shape = self.body.ty(inputs[0]).shape.clone();
            }
            let ty = Ty::new(dtypes[i], shape.clone());
            let mut node = self.push_in(Op::Project(u32::try_from(i).unwrap_or(0)), vec![call], ty, output.domain, span);
            let back: Vec<(AxisId, AxisId)> = renamed.iter().filter(|(_, f)| shape.contains(*f)).map(|&(a, f)| (f, a)).collect();
            if !back.is_empty() {
                if let Some(&(_, axis)) = back.iter().find(|(_, a)| shape.contains(*a)) {
                    let name = self.dim_name(axis).to_string();
                    let message = format!("an argument of `{}` is lifted over `{name}`, which its result has too", target.name.name);
                    let error = Diagnostic::error(codes::shape::REPEATED_DIM, message, span, format!("`{name}` twice"));
                    self.cx.report(error.help(format!("rename the argument's dim: `x[{name} as {name}2]`")));
                    return Val::Error;
                }
                let shape = Shape::of(shape.iter().map(|a| back.iter().find(|(f, _)| *f == a).map_or(a, |(_, b)| *b)));
                let ty = Ty::new(dtypes[i], shape);
                node = self.push_in(Op::Primitive(Primitive::Rename(back)), vec![node], ty, output.domain, span);
            }
            values.push(Val::Tensor(node));
        }
        if values.len() == 1 { values.remove(0) } else { Val::Tuple(values) }
    }

    /// Whether what is repeated gives back what it takes; reported where not.
    fn carries(&mut self, target: &Target<'a>, shape: &Shape, dtype: DType, inputs: &[NodeId], operands: &[Operand]) -> bool {
        let name = &target.name.name;
        let (Some(&carry), Some(operand)) = (inputs.first(), operands.first().filter(|o| o.port == 0)) else {
            let message = format!("`{name}` takes no tensor first, so there is nothing to repeat it on");
            let error = Diagnostic::error(codes::repeat::CARRY, message, target.span, "nothing is carried")
                .label(target.block.header, "declared here");
            self.cx.report(error.help("make what changes from step to step the first input"));
            return false;
        };
        let ty = self.body.ty(carry).clone();
        if ty.shape == *shape && ty.dtype == dtype {
            return true;
        }
        let (takes, gives) = (self.dims(&ty.shape), self.dims(shape));
        let message = format!("`{name}` takes {takes} and gives back {gives}; what is repeated must give back what it takes");
        let error = Diagnostic::error(codes::repeat::CARRY, message, target.span, format!("gives {gives}"))
            .label(operand.span, format!("takes {takes}"));
        self.cx.report(error.help("make the first output like the first input: rename, sum, or add a dim to the start value"));
        false
    }
}
