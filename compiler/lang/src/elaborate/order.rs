//! The order of equations: each after those that it needs.

use super::body::Eval;
use super::equations::Unit;
use super::table::Entry;
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::source::Span;
use crate::syntax::{Expr, ExprKind, Index, PortType};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

impl<'a> Eval<'_, 'a> {
    /// Evaluates a unit after everything that it needs, without recursion over the chain of needs.
    pub(crate) fn run(&mut self, unit: Unit, done: &mut BTreeMap<Unit, bool>) {
        // (unit, what it needs, how many of these are done)
        let mut path: Vec<(Unit, Vec<Unit>, usize)> = Vec::new();
        if done.contains_key(&unit) {
            return;
        }
        done.insert(unit, false);
        let needs = self.needs(unit);
        path.push((unit, needs, 0));
        while let Some((current, needs, next)) = path.last_mut() {
            let current = *current;
            if let Some(&need) = needs.get(*next) {
                *next += 1;
                match done.get(&need) {
                    Some(true) => {}
                    Some(false) => {
                        let start = path.iter().position(|(u, _, _)| *u == need).unwrap_or(0);
                        let circle: Vec<Unit> = path[start..].iter().map(|(u, _, _)| *u).collect();
                        self.cycle(&circle);
                    }
                    None => {
                        done.insert(need, false);
                        let needs = self.needs(need);
                        path.push((need, needs, 0));
                    }
                }
            } else {
                path.pop();
                self.unit(current);
                done.insert(current, true);
            }
        }
    }

    pub(crate) fn cycle(&mut self, circle: &[Unit]) {
        let table = Rc::clone(&self.body.table);
        let block = self.body.block;
        let name = |u: &Unit| match u {
            Unit::Equation(i) => table.equations[*i].names.first().map(|n| (n.name.clone(), n.span)),
            Unit::Default(i) => block.map(|b| (b.inputs[*i].name.name.clone(), b.inputs[*i].span)),
            Unit::Tap(i) => Some((table.taps[*i].0.name.clone(), table.taps[*i].0.span)),
        };
        let mut names: Vec<(String, Span)> = circle.iter().filter_map(name).collect();
        // always told from the first in the source, whoever asked
        if let Some(first) = names.iter().enumerate().min_by_key(|(_, (_, span))| span.start).map(|(i, _)| i) {
            names.rotate_left(first);
        }
        // in a cell a circle that holds a state lacks a `prev`
        let state = self.in_cell().then(|| names.iter().position(|(n, _)| table.states.iter().any(|s| s.name.name == *n))).flatten();
        names.rotate_left(state.unwrap_or(0));
        let Some((first, at)) = names.first().cloned() else { return };
        let mut shown: Vec<&str> = names.iter().map(|(n, _)| n.as_str()).collect();
        shown.push(&first);
        let (code, message) = match state {
            Some(_) => (codes::cell::CYCLE, format!("state `{first}` needs its own new value: {}", shown.join(" -> "))),
            None => (codes::name::CYCLE, format!("equations depend on each other in a circle: {}", shown.join(" -> "))),
        };
        let mut error = Diagnostic::error(code, message, at, "needs itself");
        for (name, span) in names.iter().skip(1).take(2) {
            error = error.label(*span, format!("through `{name}`"));
        }
        self.cx.report(error.help(match state {
            Some(_) => format!("look back to the value before the step: `prev {first}`"),
            None => format!("give `{first}` an equation that does not need it, such as `{first}2 = ...`"),
        }));
        for unit in circle {
            if let Unit::Equation(i) = unit {
                self.body.values.insert(*i, Val::Error);
            }
        }
    }

    /// What a unit needs, in the order of its text.
    pub(crate) fn needs(&mut self, unit: Unit) -> Vec<Unit> {
        let table = Rc::clone(&self.body.table);
        let expr = match unit {
            Unit::Equation(i) if self.body.values.contains_key(&i) => return Vec::new(),
            Unit::Equation(i) => table.equations[i].value,
            Unit::Default(i) => match self.body.block.and_then(|b| b.inputs[i].default.as_ref()) {
                Some(default) => default,
                None => return Vec::new(),
            },
            Unit::Tap(i) => table.taps[i].1,
        };
        let mut out = Vec::new();
        let mut seen = BTreeSet::new();
        self.needs_of(expr, &mut out, &mut seen);
        out
    }

    pub(crate) fn needs_of(&mut self, expr: &'a Expr, out: &mut Vec<Unit>, seen: &mut BTreeSet<usize>) {
        let mut expr = expr;
        loop {
            match &expr.kind {
                ExprKind::Number(_) | ExprKind::Bool(_) | ExprKind::Text(_) | ExprKind::Error | ExprKind::As { .. } | ExprKind::Prev(_) => {
                }
                ExprKind::Name(path) => {
                    if let Some(name) = path.first() {
                        self.need(&name.name, out);
                    }
                }
                ExprKind::Unary(_, x) => {
                    expr = x;
                    continue;
                }
                // chains lean to the left
                ExprKind::Binary(_, a, b) | ExprKind::Contract { left: a, right: b, .. } => {
                    self.needs_of(b, out, seen);
                    expr = a;
                    continue;
                }
                ExprKind::Call(call) | ExprKind::Scan { call, .. } => self.needs_of_call(call, out, seen),
                ExprKind::Repeat { times, call, .. } => {
                    self.needs_of(times, out, seen);
                    self.needs_of_call(call, out, seen);
                }
                ExprKind::Index { of, by } => {
                    for index in by {
                        match index {
                            Index::At { at, .. } => self.needs_of(at, out, seen),
                            Index::Range { start, end, .. } => {
                                self.needs_of(start, out, seen);
                                self.needs_of(end, out, seen);
                            }
                            Index::Gather(by) => self.needs_of(by, out, seen),
                            Index::As { .. } => {}
                        }
                    }
                    expr = of;
                    continue;
                }
                ExprKind::If { condition, then, otherwise } => {
                    self.needs_of(condition, out, seen);
                    match self.eval(condition) {
                        Val::Const(Const::Bool(true)) => {
                            expr = then;
                            continue;
                        }
                        Val::Const(Const::Bool(false)) => {
                            expr = otherwise;
                            continue;
                        }
                        _ => {
                            self.needs_of(then, out, seen);
                            self.needs_of(otherwise, out, seen);
                        }
                    }
                }
                ExprKind::List(items) | ExprKind::Tuple(items) => items.iter().for_each(|e| self.needs_of(e, out, seen)),
            }
            return;
        }
    }

    pub(crate) fn needs_of_call(&mut self, call: &'a crate::syntax::Call, out: &mut Vec<Unit>, seen: &mut BTreeSet<usize>) {
        let table = Rc::clone(&self.body.table);
        match table.entries.get(call.callee.name.as_str()) {
            Some((Entry::Local(i), _)) if seen.insert(*i) => self.needs_of(table.locals[*i].value, out, seen),
            Some((Entry::Named(i), _)) => table.named[*i].args.iter().for_each(|a| self.needs_of(&a.value, out, seen)),
            _ => {}
        }
        call.args.iter().for_each(|a| self.needs_of(&a.value, out, seen));
    }

    pub(crate) fn need(&mut self, name: &str, out: &mut Vec<Unit>) {
        let unit = match self.body.table.entries.get(name) {
            Some((Entry::Equation(i, _), _)) => Unit::Equation(*i),
            Some((Entry::State(k), _)) => match self.body.table.states[*k].equation {
                Some((i, _)) => Unit::Equation(i),
                None => return,
            },
            Some((Entry::Port(i), _)) => match self.body.block {
                Some(block) if matches!(block.inputs[*i].ty, PortType::Tensor(_)) && !self.body.ports.contains_key(name) => {
                    Unit::Default(*i)
                }
                _ => return,
            },
            _ => return,
        };
        if !out.contains(&unit) {
            out.push(unit);
        }
    }
}
