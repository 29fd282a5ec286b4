//! States of cells: what they start from, what they were before the step and what they become.

use super::body::Eval;
use super::value::Val;
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{Instance, NodeId, Op, State};
use crate::source::Span;
use crate::syntax::{BlockKind, Ident, StateStart};
use ogive_graph::{AxisId, DType, Shape, Ty};
use std::rc::Rc;

/// A state while its cell is elaborated.
pub(crate) struct Slot {
    pub name: String,
    pub dims: Vec<AxisId>,
    pub start: NodeId,
    pub next: Option<NodeId>,
    pub span: Span,
}

/// For each input of a callee, whether result `i` of the operation depends on it.
pub(crate) fn through(callee: &Instance, op: &Op, i: usize) -> Vec<bool> {
    let state = |k: usize| callee.states.get(k);
    let found = match op {
        Op::Starts(_) => state(i).map(|s| &s.start_depends),
        _ if i < callee.outputs.len() => Some(&callee.outputs[i].depends),
        _ => state(i - callee.outputs.len()).map(|s| &s.depends),
    };
    found.cloned().unwrap_or_default()
}

impl<'a> Eval<'_, 'a> {
    /// Whether this is the step of a cell.
    pub(crate) fn in_cell(&self) -> bool {
        self.body.block.is_some_and(|b| b.kind == BlockKind::Cell)
    }

    /// Declares the states: their start values, and what they were before the step.
    pub(crate) fn states(&mut self) {
        let table = Rc::clone(&self.body.table);
        for decl in &table.states {
            let prev = self.declare_state(decl.name, decl.ty, decl.start).map_or(Val::Error, Val::Tensor);
            self.body.prevs.push(prev);
            if decl.equation.is_none() {
                let name = &decl.name.name;
                let message = format!("nothing says what state `{name}` becomes in a step");
                let error = Diagnostic::error(codes::cell::NO_UPDATE, message, decl.name.span, "has no equation");
                self.cx.report(error.help(format!("add an equation: `{name} = prev {name} + ...`")));
            }
        }
    }

    fn declare_state(&mut self, name: &Ident, ty: &'a crate::syntax::TensorType, start: &'a StateStart) -> Option<NodeId> {
        if let Some(domain) = &ty.domain {
            let message = format!("state `{}` is made of floats; positions along `{}` are not", name.name, domain.name);
            self.cx.report(Diagnostic::error(codes::shape::DTYPE, message, domain.span, "not floats").help("leave out `in ...`"));
            return None;
        }
        let dims = self.declared_dims(ty)?;
        let shape = Shape::of(dims.iter().copied());
        let start = match start {
            StateStart::Param { init, .. } => self.declare_param(usize::MAX, name, ty, init.as_ref())?,
            StateStart::Value(value) => {
                self.body.starting = true;
                let found = self.eval(value);
                self.body.starting = false;
                let node = self.tensor(&found, DType::F32, value.span)?;
                let has = self.body.ty(node).shape.clone();
                if !self.needs_float("a state", node, value.span) {
                    return None;
                }
                if !has.minus(&shape).is_scalar() {
                    let (a, b) = (self.dims(&has), self.dims(&shape));
                    let message = format!("state `{}` is declared as {b}; it starts from {a}", name.name);
                    let error = Diagnostic::error(codes::cell::STATE_DIMS, message, value.span, format!("gives {a}"));
                    self.cx.report(error.label(name.span, format!("declared as {b}")).help(format!("declare `state {}: {a}`", name.name)));
                    return None;
                }
                Val::Tensor(node)
            }
        };
        let Val::Tensor(start) = start else { return None };
        Some(self.slot(name.name.clone(), dims, start, name.span))
    }

    /// One more state: its value before the step.
    pub(crate) fn slot(&mut self, name: String, dims: Vec<AxisId>, start: NodeId, span: Span) -> NodeId {
        let index = u32::try_from(self.body.slots.len()).unwrap_or(u32::MAX);
        let shape = Shape::of(dims.iter().copied());
        self.body.slots.push(Slot { name, dims, start, next: None, span });
        self.push(Op::Prev(index), Vec::new(), Ty::new(DType::F32, shape), span)
    }

    /// `prev W`.
    pub(crate) fn prev(&mut self, name: &Ident, span: Span) -> Val {
        if !self.in_cell() {
            let message = format!("`prev {}` looks back in time, but this is no cell", name.name);
            let error = Diagnostic::error(codes::cell::PREV_OUTSIDE, message, span, "outside a cell");
            self.cx.report(error.help("make it a `cell` with `state`, and run it with `scan ... along seq`"));
            return Val::Error;
        }
        let table = Rc::clone(&self.body.table);
        let Some(k) = table.states.iter().position(|s| s.name.name == name.name) else {
            let message = format!("`{}` is no state, so it has no value before the step", name.name);
            let mut error = Diagnostic::error(codes::cell::NOT_A_STATE, message, span, "not a state");
            if let Some((_, place)) = table.entries.get(name.name.as_str()) {
                error = error.label(*place, "declared here");
            }
            let known: Vec<&str> = table.states.iter().map(|s| s.name.name.as_str()).collect();
            let help = match crate::suggest::nearest(&name.name, known.iter().copied()) {
                Some(near) => format!("did you mean `prev {near}`?"),
                None => format!("declare it: `state {}: [...] = 0`", name.name),
            };
            self.cx.report(error.help(help));
            return Val::Error;
        };
        if self.body.starting {
            return self.before_the_first(name, span);
        }
        self.body.prevs.get(k).cloned().unwrap_or(Val::Error)
    }

    /// A state by its name: its new value.
    pub(crate) fn state(&mut self, k: usize, name: &Ident) -> Val {
        if self.body.starting {
            return self.before_the_first(name, name.span);
        }
        let table = Rc::clone(&self.body.table);
        match table.states[k].equation {
            Some((i, part)) => self.part(i, part, name.span),
            None => Val::Error,
        }
    }

    fn before_the_first(&mut self, name: &Ident, span: Span) -> Val {
        let message = format!("a state starts before the first step, where `{}` has no value yet", name.name);
        let error = Diagnostic::error(codes::cell::START, message, span, "not there yet");
        self.cx.report(error.help("start from a number, from an input that is not scanned, or from `param`"));
        Val::Error
    }

    /// A value with the declared dims, the same along those that it lacks.
    pub(crate) fn spread(&mut self, value: &Val, axes: &[AxisId], span: Span) -> Val {
        let Some(node) = self.tensor(value, DType::F32, span) else { return Val::Error };
        let ty = Ty::new(DType::F32, Shape::of(axes.iter().copied()));
        Val::Tensor(self.push(Op::Spread, vec![node], ty, span))
    }

    /// New values of the states, in the draft. False where one has an error.
    pub(crate) fn finish_states(&mut self, inputs: usize) -> bool {
        let table = Rc::clone(&self.body.table);
        let mut fine = self.body.prevs.iter().all(|p| *p != Val::Error);
        for (decl, prev) in table.states.iter().zip(self.body.prevs.clone()) {
            let (Some((i, part)), Val::Tensor(prev)) = (decl.equation, prev) else {
                fine = false;
                continue;
            };
            let at = table.equations[i].value.span;
            let shape = self.body.ty(prev).shape.clone();
            let value = match self.part(i, part, decl.name.span) {
                value @ Val::Const(_) => self.spread(&value, shape.axes(), at),
                value => value,
            };
            let Some(next) = self.tensor(&value, DType::F32, at).filter(|n| self.needs_float("a state", *n, at)) else {
                fine = false;
                continue;
            };
            let has = self.body.ty(next).shape.clone();
            if has != shape {
                fine = false;
                let (a, b) = (self.dims(&has), self.dims(&shape));
                let message = format!("state `{}` is {b} before the step and {a} after it", decl.name.name);
                let error = Diagnostic::error(codes::cell::STATE_DIMS, message, at, format!("gives {a}"));
                let help = "a step keeps the dims of a state: rename, sum, or declare the state with these dims";
                self.cx.report(error.label(decl.name.span, format!("declared as {b}")).help(help));
                continue;
            }
            if let Op::Prev(k) = self.body.node(prev).op {
                self.body.slots[k as usize].next = Some(next);
            }
        }
        if !fine || self.body.slots.iter().any(|s| s.next.is_none()) {
            return fine && self.body.slots.is_empty();
        }
        let depends = self.depends(inputs);
        let state = |slot: Slot| {
            let next = slot.next.unwrap_or(slot.start);
            let both = depends[slot.start.index()].iter().zip(&depends[next.index()]).map(|(a, b)| *a || *b).collect();
            let start_depends = depends[slot.start.index()].clone();
            State { name: slot.name, dims: slot.dims, start: slot.start, next, depends: both, start_depends, span: slot.span }
        };
        let states: Vec<State> = self.body.slots.drain(..).map(state).collect();
        // kept for what is asked of the body afterwards
        self.body.slots = states
            .iter()
            .map(|s| Slot { name: s.name.clone(), dims: s.dims.clone(), start: s.start, next: Some(s.next), span: s.span })
            .collect();
        self.cx.drafts[self.body.instance.index()].instance.states = states;
        true
    }
}
