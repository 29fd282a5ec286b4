//! The body of a block: ports, then equations in the order in which they need each other, then outputs and taps.

use super::body::Eval;
use super::call::Given;
use super::table::Entry;
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{self, Op, Output, Port, Tap};
use crate::source::Span;
use crate::syntax::{Block, BlockKind, ExprKind, PortType, TensorType};
use ogive_graph::{AxisId, DType, Shape, Ty};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Something with a value of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Unit {
    Equation(usize),
    /// A tensor input that its default gives.
    Default(usize),
    Tap(usize),
}

impl<'a> Eval<'_, 'a> {
    /// Elaborates the block of this body into its draft. False where an output has an error.
    pub(crate) fn block(&mut self, dims: &[(String, Given)], given: &[usize], constants: Vec<(usize, Const)>, span: Span) -> bool {
        let Some(block) = self.body.block else { return false };
        let table = Rc::clone(&self.body.table);
        if let Some(state) = table.states.first().filter(|_| block.kind != BlockKind::Cell) {
            let message = format!("`{}` is no cell and has no state", block.name.name);
            let error =
                Diagnostic::error(codes::cell::PREV_OUTSIDE, message, state.span, "outside a cell").label(block.header, "not a cell");
            self.cx.report(error.help(format!("declare it with `cell {}`", block.name.name)));
            return false;
        }
        if !self.header(block, dims, constants, span) {
            return false;
        }
        self.ports(block, given);
        self.states();
        let outputs: Vec<Unit> = block
            .outputs
            .iter()
            .filter_map(|o| Some(Unit::Equation(table.equation_of(&o.name.name)?.0)))
            .chain(table.states.iter().filter_map(|s| Some(Unit::Equation(s.equation?.0))))
            .chain((0..table.taps.len()).map(Unit::Tap))
            .collect();
        let mut done = BTreeMap::new();
        for unit in outputs {
            self.run(unit, &mut done);
        }
        // equations that nothing uses are checked all the same; what only an untaken branch uses is not
        for (i, equation) in table.equations.iter().enumerate() {
            if equation.names.iter().all(|n| !table.used.contains(n.name.as_str())) {
                self.run(Unit::Equation(i), &mut done);
            }
        }
        for (i, param) in table.params.iter().enumerate() {
            if !table.used.contains(param.name.name.as_str()) {
                self.param(i);
            }
        }
        // Before the body gives its nodes away.
        self.unused_sums();
        self.finish(block, given)
    }

    /// Binds dims and constants; false where one has no value.
    fn header(&mut self, block: &'a Block, dims: &[(String, Given)], constants: Vec<(usize, Const)>, span: Span) -> bool {
        for (i, value) in constants {
            self.body.constants.insert(block.inputs[i].name.name.clone(), Some(value));
        }
        for port in block.inputs.iter().filter(|p| !matches!(p.ty, PortType::Tensor(_))) {
            if !self.body.constants.contains_key(&port.name.name) {
                match &port.default {
                    Some(default) => {
                        self.body.pending_constants.insert(port.name.name.clone(), default);
                    }
                    None => {
                        self.body.constants.insert(port.name.name.clone(), Some(Const::Unknown));
                    }
                }
            }
        }
        let mut fine = true;
        let mut unbound = Vec::new();
        for dim in &block.dims {
            let name = &dim.name.name;
            match (dims.iter().find(|(n, _)| n == name), &dim.default) {
                (Some((_, Given::Axis(axis))), _) => self.body.bind(name, *axis),
                (Some((_, Given::Size(size))), _) => fine &= self.bind_size(name, *size, dim.name.span).is_some(),
                (None, Some(default)) => {
                    self.body.pending.insert(name.clone(), default);
                }
                (None, None) if self.body.called => unbound.push(dim),
                (None, None) => {
                    let axis = self.cx.axis(name, None, dim.name.span);
                    self.body.bind(name, axis);
                }
            }
        }
        for dim in unbound {
            fine = false;
            let name = &dim.name.name;
            let message = format!("nothing says what dim `{name}` of `{}` is", block.name.name);
            let error = Diagnostic::error(codes::name::DIM_UNBOUND, message, span, format!("`{name}` is not bound"))
                .label(dim.name.span, "declared here");
            self.cx.report(error.help(format!("pass a dim of yours or a size: `{name}: {name}` or `{name}: 64`")));
        }
        if !fine {
            return false;
        }
        for dim in &block.dims {
            fine &= self.dim_quiet(&dim.name.name).is_some();
        }
        for (i, port) in block.inputs.iter().enumerate() {
            if self.body.pending_constants.contains_key(&port.name.name) {
                fine &= self.constant_port(i).is_some();
            }
        }
        fine
    }

    /// A constant input that its default gives.
    pub(crate) fn constant_port(&mut self, i: usize) -> Option<Const> {
        let block = self.body.block?;
        let name = &block.inputs[i].name.name;
        let default = self.body.pending_constants.remove(name)?;
        self.body.constants.insert(name.clone(), None);
        let value = self.constant_argument(block, i, default);
        self.body.constants.insert(name.clone(), Some(value.clone().unwrap_or(Const::Unknown)));
        value
    }

    /// Axes of a declared type, each once.
    pub(crate) fn declared_dims(&mut self, ty: &TensorType) -> Option<Vec<AxisId>> {
        let axes: Vec<Option<AxisId>> = ty.dims.iter().map(|d| self.dim(d)).collect();
        let axes: Vec<AxisId> = axes.into_iter().collect::<Option<_>>()?;
        self.distinct(&ty.dims, &axes).then_some(axes)
    }

    fn ports(&mut self, block: &'a Block, given: &[usize]) {
        for (k, &i) in given.iter().enumerate() {
            let port = &block.inputs[i];
            let PortType::Tensor(ty) = &port.ty else { continue };
            let axes = self.declared_dims(ty);
            let domain = ty.domain.as_ref().map(|d| self.dim(d));
            let value = match (axes, domain) {
                (Some(axes), None | Some(Some(_))) => {
                    let domain = domain.flatten();
                    let dtype = if domain.is_some() { DType::I32 } else { DType::F32 };
                    let ty = Ty::new(dtype, Shape::of(axes.iter().copied()));
                    Val::Tensor(self.push_in(Op::Input(u32::try_from(k).unwrap_or(0)), Vec::new(), ty, domain, port.span))
                }
                _ => Val::Error,
            };
            self.body.ports.insert(port.name.name.clone(), value);
        }
    }

    pub(crate) fn unit(&mut self, unit: Unit) {
        match unit {
            Unit::Equation(i) => {
                let span = self.body.table.equations[i].value.span;
                self.equation(i, span);
            }
            Unit::Default(i) => {
                let Some(block) = self.body.block else { return };
                let port = &block.inputs[i];
                let (Some(default), PortType::Tensor(ty)) = (&port.default, &port.ty) else { return };
                let value = self.eval(default);
                let axes = self.declared_dims(ty);
                let value = match (value, axes) {
                    (Val::Error, _) | (_, None) => Val::Error,
                    (value @ Val::Const(_), Some(axes)) => self.spread(&value, &axes, default.span),
                    (value, Some(axes)) => self.declared_value(&value, &port.name.name, &axes, default.span, port.span),
                };
                self.body.ports.insert(port.name.name.clone(), value);
            }
            Unit::Tap(_) => {}
        }
    }

    /// A value that a declaration gives exact dims.
    fn declared_value(&mut self, value: &Val, name: &str, axes: &[AxisId], at: Span, declared: Span) -> Val {
        let Some(node) = self.tensor(value, DType::F32, at) else { return Val::Error };
        let (has, wants) = (self.body.ty(node).shape.clone(), Shape::of(axes.iter().copied()));
        if has == wants {
            return Val::Tensor(node);
        }
        self.output_dims(name, &has, &wants, at, declared);
        Val::Error
    }

    fn output_dims(&mut self, name: &str, has: &Shape, wants: &Shape, at: Span, declared: Span) {
        let (a, b) = (self.dims(has), self.dims(wants));
        let message = format!("`{name}` is declared as {b}; its equation gives {a}");
        let error =
            Diagnostic::error(codes::shape::OUTPUT_DIMS, message, at, format!("gives {a}")).label(declared, format!("declared as {b}"));
        let list = |me: &Self, s: &Shape| s.iter().map(|x| me.dim_name(x).to_string()).collect::<Vec<_>>();
        let (more, less) = (list(self, &has.minus(wants)), list(self, &wants.minus(has)));
        let text = self.source(at);
        let help = match (more.as_slice(), less.as_slice()) {
            ([m], [l]) => format!("rename: `{}[{m} as {l}]`", super::expr::wrap(&text)),
            (more, []) => format!("declare `{name}: {a}`, or reduce: `sum({text}, over: [{}])`", more.join(", ")),
            _ => format!("declare `{name}: {a}`"),
        };
        self.cx.report(error.help(help));
    }

    /// The value of an equation.
    pub(crate) fn equation(&mut self, i: usize, at: Span) -> Val {
        if let Some(value) = self.body.values.get(&i) {
            return value.clone();
        }
        let table = Rc::clone(&self.body.table);
        let equation = &table.equations[i];
        if !self.body.evaluating.insert(i) {
            self.cycle(&[Unit::Equation(i)]);
            return Val::Error;
        }
        // an equation means the same wherever it is used
        let frames = std::mem::take(&mut self.body.frames);
        let place = std::mem::take(&mut self.body.place);
        self.body.wanted = if matches!(equation.value.kind, ExprKind::Scan { .. }) { equation.names.len() } else { 0 };
        let mut value = self.eval(equation.value);
        self.name_pick(&value, equation.names.first());
        self.body.frames = frames;
        self.body.place = place;
        self.body.evaluating.remove(&i);
        let count = match &value {
            Val::Tuple(parts) => parts.len(),
            _ => 1,
        };
        if value != Val::Error && count != equation.names.len() {
            let span = equation.names.first().map_or(at, |n| n.span).to(equation.names.last().map_or(at, |n| n.span));
            let message = format!("{} names are given to {count} values", equation.names.len());
            let names: Vec<String> = (1..=count).map(|n| format!("out{n}")).collect();
            let help = if count == 1 { "write one name".to_string() } else { format!("write `({}) = ...`", names.join(", ")) };
            let error = Diagnostic::error(codes::call::OUTPUT_COUNT, message, span, format!("{} names", equation.names.len()));
            self.cx.report(error.label(equation.value.span, format!("{count} values")).help(help));
            value = Val::Error;
        }
        self.body.values.insert(i, value.clone());
        value
    }

    /// One of the values of an equation.
    pub(crate) fn part(&mut self, i: usize, part: usize, at: Span) -> Val {
        match self.equation(i, at) {
            Val::Tuple(parts) => parts.get(part).cloned().unwrap_or(Val::Error),
            value => value,
        }
    }

    /// Outputs, taps, and the finished draft.
    fn finish(&mut self, block: &'a Block, given: &[usize]) -> bool {
        let table = Rc::clone(&self.body.table);
        let mut fine = true;
        let mut outputs = Vec::new();
        for output in &block.outputs {
            let name = &output.name;
            let axes = self.declared_dims(&output.ty);
            let domain = output.ty.domain.as_ref().map(|d| self.dim(d));
            let value = match table.equation_of(&name.name) {
                Some((i, part)) => self.part(i, part, name.span),
                // reported with the states
                None if matches!(table.entries.get(name.name.as_str()), Some((Entry::State(_), _))) => Val::Error,
                None => {
                    let message = format!("output `{}` of `{}` has no equation", name.name, block.name.name);
                    let error = Diagnostic::error(codes::name::OUTPUT_UNDEFINED, message, name.span, "has no equation");
                    let known: Vec<&str> = table.equations.iter().flat_map(|e| e.names).map(|n| n.name.as_str()).collect();
                    let help = match crate::suggest::nearest(&name.name, known) {
                        Some(near) => format!("did you mean `{near}`? else add `{} = ...`", name.name),
                        None => format!("add an equation: `{} = ...`", name.name),
                    };
                    self.cx.report(error.help(help));
                    Val::Error
                }
            };
            let at = table.equation_of(&name.name).map_or(name.span, |(i, _)| table.equations[i].value.span);
            let (Some(axes), false, None | Some(Some(_))) = (axes, value == Val::Error, domain) else {
                fine = false;
                continue;
            };
            let domain = domain.flatten();
            let like = if domain.is_some() { DType::I32 } else { DType::F32 };
            let Some(node) = self.tensor(&value, like, at) else {
                fine = false;
                continue;
            };
            let (has, wants) = (self.body.ty(node).shape.clone(), Shape::of(axes.iter().copied()));
            if has != wants {
                self.output_dims(&name.name, &has, &wants, at, name.span.to(output.ty.span));
                fine = false;
                continue;
            }
            if domain.is_some() && domain != self.body.node(node).domain {
                let found = self.describe(&Val::Tensor(node));
                let message = format!("`{}` is declared as positions along another dim; its equation gives {found}", name.name);
                let error = Diagnostic::error(codes::shape::DOMAIN, message, at, "other positions").label(output.ty.span, "declared here");
                let dim = domain.map_or_else(String::new, |d| self.dim_name(d).to_string());
                self.cx.report(error.help(format!("convert it: `position(..., in: {dim})`")));
                fine = false;
                continue;
            }
            outputs.push(Output { name: name.name.clone(), dims: axes, domain, node, depends: Vec::new(), span: name.span });
        }
        let mut taps = Vec::new();
        for (name, expr) in &table.taps {
            // the choice itself can be looked at
            let value = match self.eval(expr) {
                Val::Pick(i) => Val::Tensor(self.body.picks[i].positions),
                value => value,
            };
            if let Some(node) = self.tensor(&value, DType::F32, expr.span) {
                let dims = self.body.ty(node).shape.axes().to_vec();
                taps.push(Tap { name: name.name.clone(), node, dims, depends: Vec::new(), span: name.span });
            }
        }
        fine &= self.finish_states(given.len());
        let depends = self.depends(given.len());
        for output in &mut outputs {
            output.depends.clone_from(&depends[output.node.index()]);
        }
        for tap in &mut taps {
            tap.depends.clone_from(&depends[tap.node.index()]);
        }
        let inputs = given.iter().filter_map(|&i| self.finished_port(block, i)).collect();
        let dims = block.dims.iter().filter_map(|d| Some((d.name.name.clone(), *self.body.dims.get(&d.name.name)?))).collect();
        let known = |name: &str| self.body.constants.get(name).and_then(Option::as_ref).and_then(Const::known);
        let constants = block.inputs.iter().filter_map(|p| Some((p.name.name.clone(), known(&p.name.name)?))).collect();
        let params: Vec<hir::Param> = std::mem::take(&mut self.body.param_list).into_iter().map(|(_, p)| p).collect();
        let nodes = std::mem::take(&mut self.body.nodes);
        let instance = &mut self.cx.drafts[self.body.instance.index()].instance;
        instance.inputs = inputs;
        instance.outputs = outputs;
        instance.taps = taps;
        instance.dims = dims;
        instance.constants = constants;
        instance.params = params;
        instance.body = nodes;
        fine
    }

    fn finished_port(&self, block: &Block, i: usize) -> Option<Port> {
        let port = &block.inputs[i];
        let PortType::Tensor(ty) = &port.ty else { return None };
        let dims = ty.dims.iter().map(|d| self.body.dims.get(&d.name).copied()).collect::<Option<Vec<_>>>()?;
        let domain = ty.domain.as_ref().and_then(|d| self.body.dims.get(&d.name).copied());
        let dtype = if ty.domain.is_some() { DType::I32 } else { DType::F32 };
        Some(Port { name: port.name.name.clone(), dims, dtype, domain, lifted: false, span: port.span })
    }

    /// For each node, the inputs that it depends on, in this or an earlier step.
    pub(crate) fn depends(&self, inputs: usize) -> Vec<Vec<bool>> {
        let mut states = vec![vec![false; inputs]; self.body.slots.len()];
        loop {
            let all = self.depends_given(inputs, &states);
            let or = |a: &[bool], b: &[bool]| a.iter().zip(b).map(|(x, y)| *x || *y).collect::<Vec<_>>();
            let of = |slot: &super::cell::Slot| or(&all[slot.start.index()], slot.next.map_or(&vec![false; inputs], |n| &all[n.index()]));
            let next: Vec<Vec<bool>> = self.body.slots.iter().map(of).collect();
            if next == states {
                return all;
            }
            states = next;
        }
    }

    fn depends_given(&self, inputs: usize, states: &[Vec<bool>]) -> Vec<Vec<bool>> {
        let mut all: Vec<Vec<bool>> = Vec::with_capacity(self.body.nodes.len());
        let or = |into: &mut Vec<bool>, from: &Vec<bool>| into.iter_mut().zip(from).for_each(|(a, b)| *a |= *b);
        for node in &self.body.nodes {
            let mut mine = vec![false; inputs];
            match &node.op {
                Op::Input(i) => {
                    if let Some(flag) = mine.get_mut(*i as usize) {
                        *flag = true;
                    }
                }
                Op::Project(i) => {
                    let call = &self.body.nodes[node.inputs[0].index()];
                    let Some(id) = call.op.callee() else { continue };
                    let through = super::cell::through(&self.cx.drafts[id.index()].instance, &call.op, *i as usize);
                    for (k, input) in call.inputs.iter().enumerate() {
                        // the carry of a repetition has the dims of its start value
                        if through.get(k) == Some(&true) || (k == 0 && matches!(call.op, Op::Repeat { .. })) {
                            or(&mut mine, &all[input.index()]);
                        }
                    }
                }
                Op::Prev(k) => {
                    if let Some(state) = states.get(*k as usize) {
                        or(&mut mine, state);
                    }
                }
                _ => node.inputs.iter().for_each(|n| or(&mut mine, &all[n.index()])),
            }
            all.push(mine);
        }
        all
    }
}
