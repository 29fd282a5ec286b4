//! Calls of blocks and instances: arguments are sorted out, dims bound, the block elaborated, its results typed.

use super::body::{Body, Eval};
use super::context::Draft;
use super::lift::Lifted;
use super::scan::Along;
use super::table::Entry;
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{Instance, InstanceId, NodeId, Op};
use crate::source::{FileId, Span};
use crate::syntax::{Arg, Block, BlockKind, Call, Expr, ExprKind, Ident, PortType};
use ogive_graph::{AxisId, DType, Shape, Ty};
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
pub(crate) struct Arguments<'a> {
    pub ports: BTreeMap<usize, &'a Expr>,
    pub dims: Vec<(&'a Ident, &'a Expr)>,
    /// `model as half`: the callee's first two dims.
    pub pair: Option<(&'a Ident, &'a Ident)>,
}

/// How a call repeats.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub share: bool,
    pub axis: AxisId,
    pub count: Option<u64>,
}

/// A call that is being worked on.
pub(crate) struct Target<'a> {
    pub file: FileId,
    pub block: &'a Block,
    /// The name to show: of the block or instance.
    pub name: &'a Ident,
    /// Index of the named instance.
    pub named: Option<usize>,
    pub span: Span,
    pub times: Option<Times>,
    /// Set where a `scan` runs the cell.
    pub along: Option<Along>,
}

/// A tensor argument in its place.
pub(crate) struct Operand {
    pub port: usize,
    pub node: NodeId,
    /// Dims that it has besides the port's.
    pub extra: Shape,
    pub span: Span,
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
                let error = self.fixed_by(error, times).label(call.span, "repeated");
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

    pub(crate) fn target(&mut self, call: &'a Call, times: Option<Times>) -> Option<Target<'a>> {
        let name = &call.callee;
        if let Some((Entry::Named(i), _)) = self.body.table.entries.get(name.name.as_str()).copied() {
            let of = self.body.table.named[i].of;
            let Some((file, block)) = self.cx.items.block(self.body.file, &of.name) else {
                self.unknown_block(of);
                return None;
            };
            return Some(Target { file, block, name, named: Some(i), span: call.span, times, along: None });
        }
        let (file, block) = self.cx.items.block(self.body.file, &name.name)?;
        Some(Target { file, block, name, named: None, span: call.span, times, along: None })
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
    pub(crate) fn arguments_alone(&mut self, args: &'a [Arg], first: Option<&'a Expr>) {
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

    pub(crate) fn apply(&mut self, target: &Target<'a>, args: &'a [Arg], first: Option<&'a Expr>) -> Val {
        if target.block.kind == BlockKind::Cell && target.along.is_none() && !self.may_step(target) {
            self.arguments_alone(args, first);
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
        let mut merged: Vec<super::pairs::Merged> = Vec::new();
        for (label, value) in &arguments.dims {
            if let Some(list) = self.listed(label, value) {
                match list {
                    Some(list) => merged.push(list),
                    None => fine = false,
                }
                continue;
            }
            match self.dim_given(label, value) {
                Some(given) => dims.push((label.name.clone(), given)),
                None => fine = false,
            }
        }
        if let Some(pair) = arguments.pair {
            fine &= self.bind_pair(target, pair, &mut dims).is_some();
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
        fine = fine && self.merge_listed(target, &mut merged, &mut tensors, &mut dims);
        let operands = fine.then(|| self.bind_operands(target, &mut dims, &tensors)).flatten();
        match operands {
            Some(operands) => {
                let value = self.instantiate(target, dims, operands, constants);
                self.split_listed(value, &merged, target.span)
            }
            None => Val::Error,
        }
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
            states: Vec::new(),
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
        if target.block.kind == BlockKind::Cell {
            return self.cell_results(target, id, operands);
        }
        let span = target.span;
        let Lifted { inputs, extras, renamed } = self.hygienic(id, &operands);
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
            let ty = Ty::new(dtypes[i], shape);
            let node = self.push_in(Op::Project(u32::try_from(i).unwrap_or(0)), vec![call], ty, output.domain, span);
            let Some(node) = self.restored(target, node, &renamed) else { return Val::Error };
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
