//! `scan cell(...) along seq`, and cells that are called within a step.

use super::body::Eval;
use super::call::{Operand, Target};
use super::value::Val;
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{InstanceId, NodeId, Op};
use crate::source::Span;
use crate::syntax::{BlockKind, Call, Ident};
use ogive_graph::{AxisId, DType, Shape, Ty};

/// How a call of a cell runs.
#[derive(Clone, Copy)]
pub(crate) struct Along {
    pub axis: AxisId,
    pub reverse: bool,
    /// How many names the results are given to.
    pub wanted: usize,
    pub span: Span,
}

impl<'a> Eval<'_, 'a> {
    /// `scan cell(...) along seq`: the outputs; where there are names for them, the last states as well.
    pub(crate) fn scan(&mut self, call: &'a Call, along: &'a Ident, reverse: bool, span: Span) -> Val {
        let wanted = std::mem::take(&mut self.body.wanted);
        let axis = self.dim(along);
        let Some(target) = self.target(call, None) else {
            if super::builtins::is_builtin(&call.callee.name) {
                self.no_cell(&call.callee, None, span);
            } else {
                self.unknown_block(&call.callee);
            }
            self.arguments_alone(&call.args, None);
            return Val::Error;
        };
        if target.block.kind != BlockKind::Cell {
            self.no_cell(&call.callee, Some(target.block.header), span);
            self.arguments_alone(&call.args, None);
            return Val::Error;
        }
        let Some(axis) = axis else {
            self.arguments_alone(&call.args, None);
            return Val::Error;
        };
        let target = Target { along: Some(Along { axis, reverse, wanted, span: along.span }), ..target };
        self.apply(&target, &call.args, None)
    }

    fn no_cell(&mut self, name: &Ident, declared: Option<Span>, span: Span) {
        let message = format!("`scan` runs cells; `{}` is none", name.name);
        let mut error = Diagnostic::error(codes::name::WRONG_KIND, message, name.span, "not a cell").label(span, "scanned here");
        if let Some(place) = declared {
            error = error.label(place, "declared here");
        }
        self.cx.report(error.help(format!("a block lifts over dims by itself: `{}(...)`", name.name)));
    }

    /// Whether a cell may be called here without `scan`; reported where not.
    pub(crate) fn may_step(&mut self, target: &Target<'a>) -> bool {
        let name = &target.name.name;
        if self.in_cell() && target.times.is_none() && !self.body.starting {
            return true;
        }
        let message = match target.times {
            Some(_) => format!("`{name}` is a cell; it repeats in time, not in depth"),
            None => format!("`{name}` is a cell: one step, which a `scan` runs"),
        };
        let error = Diagnostic::error(codes::cell::NOT_SCANNED, message, target.span, "not scanned").label(target.block.header, "a cell");
        self.cx.report(error.help(format!("run it along a dim of its arguments: `scan {name}(...) along seq`")));
        false
    }

    /// The nodes of a scan, or of a step within a step, and what they give.
    pub(crate) fn cell_results(&mut self, target: &Target<'a>, id: InstanceId, mut operands: Vec<Operand>) -> Val {
        let span = target.span;
        if let Some(along) = target.along
            && !self.slices(target, id, along, &mut operands)
        {
            return Val::Error;
        }
        let lifted = self.hygienic(id, &operands);
        let instance = &self.cx.drafts[id.index()].instance;
        let (outputs, states) = (instance.outputs.clone(), instance.states.clone());
        let dtypes: Vec<DType> = outputs.iter().map(|o| instance.body[o.node.index()].ty.dtype).collect();
        let extra =
            |depends: &[bool]| depends.iter().zip(&lifted.extras).filter(|(d, _)| **d).fold(Shape::scalar(), |s, (_, e)| s.union(e));
        let shape = |dims: &[AxisId], depends: &[bool]| Shape::of(dims.iter().copied()).union(&extra(depends));
        if target.along.is_none() {
            let late = self.after_the_start();
            let starts = |k: usize| states.iter().any(|s| s.start_depends.get(k) == Some(&true));
            if let Some(k) = (0..operands.len()).find(|&k| starts(k) && late[operands[k].node.index()]) {
                let port = &target.block.inputs[operands[k].port].name;
                let message = format!("`{}` of `{}` starts a state, but is known only in a step", port.name, target.name.name);
                let error = Diagnostic::error(codes::cell::START, message, operands[k].span, "not there yet");
                self.cx.report(error.label(port.span, "starts a state").help("pass an input that is the same at every step"));
                return Val::Error;
            }
        }
        let mut inputs = lifted.inputs.clone();
        let mut slots = Vec::new();
        let op = match target.along {
            Some(along) => Op::Scan { instance: id, axis: along.axis, reverse: along.reverse },
            None => {
                let starts = self.push(Op::Starts(id), inputs.clone(), Ty::scalar(DType::F32), span);
                for (k, state) in states.iter().enumerate() {
                    let ty = Ty::new(DType::F32, shape(&state.dims, &state.start_depends));
                    let start = self.push(Op::Project(u32::try_from(k).unwrap_or(0)), vec![starts], ty, span);
                    let lifts = extra(&state.depends);
                    let dims = lifts.iter().chain(state.dims.iter().copied()).collect();
                    slots.push(self.body.slots.len());
                    let name = self.slot_name(&target.name.name, &state.name);
                    inputs.push(self.slot(name, dims, start, span));
                }
                Op::Call(id)
            }
        };
        let call = self.push(op, inputs, Ty::scalar(DType::F32), span);
        let project =
            |me: &mut Self, i: usize, ty: Ty, domain| me.push_in(Op::Project(u32::try_from(i).unwrap_or(0)), vec![call], ty, domain, span);
        let mut values = Vec::new();
        for (i, output) in outputs.iter().enumerate() {
            let mut shape = shape(&output.dims, &output.depends);
            if let Some(along) = target.along {
                shape = shape.with(along.axis);
            }
            let node = project(self, i, Ty::new(dtypes[i], shape), output.domain);
            match self.restored(target, node, &lifted.renamed) {
                Some(node) => values.push(Val::Tensor(node)),
                None => return Val::Error,
            }
        }
        let all = target.along.is_some_and(|a| a.wanted == outputs.len() + states.len());
        for (k, state) in states.iter().enumerate().filter(|_| all || target.along.is_none()) {
            let ty = Ty::new(DType::F32, shape(&state.dims, &state.depends));
            let node = project(self, outputs.len() + k, ty, None);
            match slots.get(k) {
                Some(&slot) => self.body.slots[slot].next = Some(node),
                None => match self.restored(target, node, &lifted.renamed) {
                    Some(node) => values.push(Val::Tensor(node)),
                    None => return Val::Error,
                },
            }
        }
        if values.len() == 1 { values.remove(0) } else { Val::Tuple(values) }
    }

    /// For each node, whether it needs a state before the step.
    fn after_the_start(&self) -> Vec<bool> {
        let mut late: Vec<bool> = Vec::with_capacity(self.body.nodes.len());
        for node in &self.body.nodes {
            let reads = |n: &NodeId| late[n.index()];
            // start values are there from the start
            let mine = matches!(node.op, Op::Prev(_)) || (!matches!(node.op, Op::Starts(_)) && node.inputs.iter().any(reads));
            late.push(mine);
        }
        late
    }

    fn slot_name(&self, cell: &str, state: &str) -> String {
        let taken = |name: &str| self.body.slots.iter().any(|s| s.name == name);
        let name = format!("{cell}.{state}");
        let numbered = (1..).map(|n| format!("{cell}.{n}.{state}"));
        if taken(&name) { numbered.take(self.body.slots.len() + 1).find(|n| !taken(n)).unwrap_or(name) } else { name }
    }

    /// Takes the scanned dim out of what the arguments are lifted over. False, with a diagnostic, where it cannot be scanned.
    fn slices(&mut self, target: &Target<'a>, id: InstanceId, along: Along, operands: &mut [Operand]) -> bool {
        let name = &target.name.name;
        let dim = self.dim_name(along.axis).to_string();
        let instance = &self.cx.drafts[id.index()].instance;
        if let Some((own, _)) = instance.dims.iter().find(|d| d.1 == along.axis) {
            let message = format!("`{name}` has `{dim}` as its own dim `{own}` in every step, so it cannot also be scanned");
            let error = Diagnostic::error(codes::cell::OWN_DIM, message, along.span, "a dim of the step");
            let help = format!("rename the dim of the argument that holds it: `x[{dim} as {dim}2]`");
            self.cx.report(error.label(target.block.header, "declared here").help(help));
            return false;
        }
        let starts: Vec<bool> =
            (0..operands.len()).map(|k| instance.states.iter().any(|s| s.start_depends.get(k) == Some(&true))).collect();
        let scanned: Vec<bool> = operands.iter().map(|o| o.extra.contains(along.axis)).collect();
        if !scanned.contains(&true) {
            let given: Vec<String> = operands.iter().map(|o| self.dims(&self.body.ty(o.node).shape)).collect();
            let message = match given.as_slice() {
                [] => format!("`{name}` is scanned along `{dim}`, but is given no tensor"),
                [one] => format!("`{name}` is scanned along `{dim}`; its argument has {one}, without `{dim}`"),
                more => format!("`{name}` is scanned along `{dim}`; its arguments have {}, without `{dim}`", more.join(", ")),
            };
            let error = Diagnostic::error(codes::cell::ALONG_MISSING, message, along.span, "in no argument");
            let error = operands.first().map_or(error.clone(), |o| error.label(o.span, format!("no `{dim}` here")));
            self.cx.report(error.help(format!("scan along a dim that the arguments have, or give them `{dim}`")));
            return false;
        }
        if let Some(k) = (0..operands.len()).find(|&k| starts[k] && scanned[k]) {
            let port = &target.block.inputs[operands[k].port].name;
            let message = format!("`{}` of `{name}` starts a state, but is given another value at every `{dim}`", port.name);
            let error = Diagnostic::error(codes::cell::START, message, operands[k].span, format!("has `{dim}`"));
            self.cx.report(error.label(port.span, "starts a state").help(format!("pass one of its values: `x[{dim}: 0]`")));
            return false;
        }
        operands.iter_mut().for_each(|o| o.extra = o.extra.without(along.axis));
        true
    }
}

/// A root cell is one step on tensors: its states before the step are inputs `prev.NAME` (where they are given, else they start), and
/// its new states are outputs.
pub(crate) fn step_of_root(cx: &mut super::context::Cx<'_>, id: InstanceId, given: &[String]) {
    use crate::hir::{Output, Port};
    let instance = &mut cx.drafts[id.index()].instance;
    let states = std::mem::take(&mut instance.states);
    let inputs = instance.inputs.len();
    let mut prevs: Vec<Option<u32>> = Vec::new();
    for state in &states {
        let name = format!("prev.{}", state.name);
        let index = u32::try_from(instance.inputs.len()).unwrap_or(u32::MAX);
        let read = given.contains(&name) || given.iter().any(|n| n == super::root::EVERY_STATE);
        prevs.push(read.then_some(index));
        if read {
            let port = Port { name, dims: state.dims.clone(), dtype: DType::F32, domain: None, lifted: false, span: state.span };
            instance.inputs.push(port);
        }
    }
    for node in &mut instance.body {
        if let Op::Prev(k) = node.op {
            match prevs[k as usize] {
                Some(i) => node.op = Op::Input(i),
                None => {
                    node.op = Op::Spread;
                    node.inputs = vec![states[k as usize].start];
                }
            }
        }
    }
    let total = instance.inputs.len();
    for output in &mut instance.outputs {
        output.depends.resize(total, true);
    }
    for tap in &mut instance.taps {
        tap.depends.resize(total, true);
    }
    for state in states {
        if instance.outputs.iter().all(|o| o.name != state.name) {
            let mut depends = state.depends;
            depends.truncate(inputs);
            depends.resize(total, true);
            instance.outputs.push(Output { name: state.name, dims: state.dims, domain: None, node: state.next, depends, span: state.span });
        }
    }
}
