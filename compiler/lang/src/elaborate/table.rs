//! The names of one block: what declares them and what uses them. Made once per block.

use crate::codes;
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::Span;
use crate::syntax::{Arg, Block, Expr, ExprKind, Ident, Index, PortType, StateStart, Stmt, TensorType};
use std::collections::{HashMap, HashSet};

/// What a name of a block stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    Dim(usize),
    Port(usize),
    Param(usize),
    /// Equation, and which of its names.
    Equation(usize, usize),
    Local(usize),
    Named(usize),
    State(usize),
}

#[derive(Debug)]
pub(crate) struct ParamDecl<'a> {
    pub name: &'a Ident,
    pub ty: &'a TensorType,
    pub init: Option<&'a Expr>,
}

/// A state of a cell.
#[derive(Debug)]
pub(crate) struct StateDecl<'a> {
    pub name: &'a Ident,
    pub ty: &'a TensorType,
    pub start: &'a StateStart,
    /// What gives its new value: an equation, and which of its names.
    pub equation: Option<(usize, usize)>,
    pub span: Span,
}

#[derive(Debug)]
pub(crate) struct Equation<'a> {
    pub names: &'a [Ident],
    pub value: &'a Expr,
}

#[derive(Debug)]
pub(crate) struct LocalFn<'a> {
    pub name: &'a Ident,
    pub params: &'a [Ident],
    pub value: &'a Expr,
}

#[derive(Debug)]
pub(crate) struct NamedInstance<'a> {
    pub name: &'a Ident,
    pub of: &'a Ident,
    pub args: &'a [Arg],
    pub span: Span,
}

/// A dim that an expression declares besides the header's.
#[derive(Debug)]
pub(crate) enum Declares<'a> {
    /// `from as into`.
    As { from: &'a [Ident], into: &'a [Ident] },
    /// `dim: start..end as into`.
    Range { start: &'a Expr, end: &'a Expr, into: &'a Ident },
    /// `concat(..., over: [...], into: into)`.
    Concat { over: Vec<&'a Ident>, into: &'a Ident },
}

/// Declarations and uses of a block.
#[derive(Debug, Default)]
pub(crate) struct Table<'a> {
    pub entries: HashMap<&'a str, (Entry, Span)>,
    pub params: Vec<ParamDecl<'a>>,
    pub equations: Vec<Equation<'a>>,
    pub locals: Vec<LocalFn<'a>>,
    pub named: Vec<NamedInstance<'a>>,
    pub taps: Vec<(&'a Ident, &'a Expr)>,
    pub states: Vec<StateDecl<'a>>,
    pub declares: Vec<Declares<'a>>,
    /// Every name that occurs in an expression or type of the body or as a default.
    pub used: HashSet<&'a str>,
}

impl<'a> Table<'a> {
    /// Collects; duplicates are reported.
    pub(crate) fn of(block: &'a Block, out: &mut Diagnostics) -> Self {
        let mut table = Table::default();
        for (i, dim) in block.dims.iter().enumerate() {
            table.declare(&dim.name, Entry::Dim(i), out);
            if let Some(default) = &dim.default {
                table.expr(default);
            }
        }
        for (i, port) in block.inputs.iter().enumerate() {
            table.declare(&port.name, Entry::Port(i), out);
            if let PortType::Tensor(ty) = &port.ty {
                table.ty(ty);
            }
            if let Some(default) = &port.default {
                table.expr(default);
            }
        }
        for output in &block.outputs {
            table.ty(&output.ty);
        }
        for stmt in &block.body {
            table.states_of(stmt, out);
        }
        for stmt in &block.body {
            table.stmt(stmt, out);
        }
        table
    }

    fn declare(&mut self, name: &'a Ident, entry: Entry, out: &mut Diagnostics) {
        if let Some((_, first)) = self.entries.get(name.name.as_str()) {
            let message = format!("`{}` is declared twice in one block", name.name);
            let error =
                Diagnostic::error(codes::name::DUPLICATE, message, name.span, "declared again").label(*first, "first declared here");
            out.push(error.help(format!("give one of them another name: `{}2`", name.name)));
            return;
        }
        self.entries.insert(&name.name, (entry, name.span));
    }

    /// States are known before the equations that give them their new values.
    fn states_of(&mut self, stmt: &'a Stmt, out: &mut Diagnostics) {
        let Stmt::State { names, ty, start, span } = stmt else { return };
        for name in names {
            self.declare(name, Entry::State(self.states.len()), out);
            self.states.push(StateDecl { name, ty, start, equation: None, span: *span });
            self.used.insert(&name.name);
        }
    }

    /// The equation of a name, also of a state, and which of its names it is.
    pub(crate) fn equation_of(&self, name: &str) -> Option<(usize, usize)> {
        match self.entries.get(name)?.0 {
            Entry::Equation(i, part) => Some((i, part)),
            Entry::State(k) => self.states[k].equation,
            _ => None,
        }
    }

    fn stmt(&mut self, stmt: &'a Stmt, out: &mut Diagnostics) {
        match stmt {
            Stmt::Param { names, ty, init, .. } => {
                for name in names {
                    self.declare(name, Entry::Param(self.params.len()), out);
                    self.params.push(ParamDecl { name, ty, init: init.as_ref() });
                }
                self.ty(ty);
                if let Some(init) = init {
                    self.expr(init);
                }
            }
            Stmt::State { ty, start, .. } => {
                self.ty(ty);
                match start {
                    StateStart::Value(value) => self.expr(value),
                    StateStart::Param { init: Some(init), .. } => self.expr(init),
                    StateStart::Param { init: None, .. } => {}
                }
            }
            Stmt::Instance { name, of, args, span } => {
                self.declare(name, Entry::Named(self.named.len()), out);
                self.named.push(NamedInstance { name, of, args, span: *span });
                args.iter().for_each(|a| self.expr(&a.value));
            }
            Stmt::Equation { names, value, .. } => {
                for (i, name) in names.iter().enumerate() {
                    let equation = (self.equations.len(), i);
                    match self.entries.get(name.name.as_str()) {
                        // a state is stated again by its equation
                        Some((Entry::State(k), _)) if self.states[*k].equation.is_none() => self.states[*k].equation = Some(equation),
                        _ => self.declare(name, Entry::Equation(equation.0, equation.1), out),
                    }
                }
                self.equations.push(Equation { names, value });
                self.expr(value);
            }
            Stmt::Local { name, params, value, .. } => {
                self.declare(name, Entry::Local(self.locals.len()), out);
                self.locals.push(LocalFn { name, params, value });
                self.expr(value);
            }
            Stmt::Tap { name, value, .. } => {
                if let Some((first, _)) = self.taps.iter().find(|(n, _)| n.name == name.name) {
                    let message = format!("tap `{}` is declared twice in one block", name.name);
                    let error = Diagnostic::error(codes::name::DUPLICATE, message, name.span, "declared again");
                    out.push(error.label(first.span, "first declared here").help(format!("rename it: `tap {}2 = ...`", name.name)));
                }
                self.taps.push((name, value));
                self.expr(value);
            }
        }
    }

    fn ty(&mut self, ty: &'a TensorType) {
        self.idents(&ty.dims);
        if let Some(domain) = &ty.domain {
            self.used.insert(&domain.name);
        }
    }

    fn idents(&mut self, names: &'a [Ident]) {
        self.used.extend(names.iter().map(|n| n.name.as_str()));
    }

    /// Collects from an expression. Long chains lean to the left, so that side is walked without recursion.
    pub(crate) fn expr(&mut self, expr: &'a Expr) {
        let mut expr = expr;
        loop {
            expr = match &expr.kind {
                ExprKind::Number(_) | ExprKind::Bool(_) | ExprKind::Text(_) | ExprKind::Error => return,
                ExprKind::Name(path) => return self.idents(&path[..path.len().min(1)]),
                ExprKind::Prev(name) => return self.idents(std::slice::from_ref(name)),
                ExprKind::Unary(_, x) => x,
                ExprKind::Binary(_, a, b) => {
                    self.expr(b);
                    a
                }
                ExprKind::Contract { left, over, right } => {
                    self.idents(over);
                    self.expr(right);
                    left
                }
                ExprKind::Call(call) | ExprKind::Scan { call, .. } => return self.call(&call.callee, &call.args),
                ExprKind::Repeat { times, call, .. } => {
                    self.call(&call.callee, &call.args);
                    times
                }
                ExprKind::Index { of, by } => {
                    by.iter().for_each(|i| self.index(i));
                    of
                }
                ExprKind::If { condition, then, otherwise } => {
                    self.expr(condition);
                    self.expr(then);
                    otherwise
                }
                ExprKind::List(items) | ExprKind::Tuple(items) => return items.iter().for_each(|e| self.expr(e)),
                ExprKind::As { from, into } => {
                    self.idents(from);
                    return self.idents(into);
                }
            };
        }
    }

    fn call(&mut self, callee: &'a Ident, args: &'a [Arg]) {
        self.used.insert(&callee.name);
        args.iter().for_each(|a| self.expr(&a.value));
        if callee.name == "concat" {
            let labelled = |label: &str| args.iter().find(|a| a.label.as_ref().is_some_and(|l| l.name == label)).map(|a| &a.value);
            if let (Some(over), Some(into)) = (labelled("over"), labelled("into"))
                && let ([into], over) = (names(into).as_slice(), names(over))
            {
                self.declares.push(Declares::Concat { over, into });
            }
        }
    }

    fn index(&mut self, index: &'a Index) {
        match index {
            Index::As { from, into, .. } => {
                self.idents(from);
                self.idents(into);
                self.declares.push(Declares::As { from, into });
            }
            Index::At { dim, at, .. } => {
                self.used.insert(&dim.name);
                self.expr(at);
            }
            Index::Range { dim, start, end, into, .. } => {
                self.used.insert(&dim.name);
                self.expr(start);
                self.expr(end);
                if let Some(into) = into {
                    self.used.insert(&into.name);
                    self.declares.push(Declares::Range { start, end, into });
                }
            }
            Index::Gather(by) => self.expr(by),
        }
    }

    /// Warnings about declarations that nothing uses; results of calls have the dims that `passed` names.
    pub(crate) fn unused(&self, block: &Block, passed: &[String], out: &mut Diagnostics) {
        let warn = |name: &Ident, what: &str, code: &'static str, help: &str, out: &mut Diagnostics| {
            if !self.used.contains(name.name.as_str()) {
                let message = format!("{what} `{}` of `{}` is never used", name.name, block.name.name);
                out.push(Diagnostic::warning(code, message, name.span, "never used").help(help.to_string()));
            }
        };
        for dim in block.dims.iter().filter(|d| !passed.contains(&d.name.name)) {
            warn(&dim.name, "dim", codes::name::UNUSED, "take it out of the header", out);
        }
        for port in &block.inputs {
            warn(&port.name, "input", codes::name::UNUSED, "take it out of the header", out);
        }
        for param in &self.params {
            warn(param.name, "param", codes::param::NEVER_USED, "delete it; a parameter that nothing uses is left out of the model", out);
        }
        for equation in &self.equations {
            let output = |n: &Ident| block.outputs.iter().any(|o| o.name.name == n.name);
            if equation.names.iter().all(|n| !output(n) && !self.used.contains(n.name.as_str()))
                && let Some(name) = equation.names.first()
            {
                warn(name, "equation", codes::name::UNUSED, "delete it, or make it a `tap`", out);
            }
        }
        for local in &self.locals {
            warn(local.name, "local function", codes::name::UNUSED, "delete it", out);
        }
        for named in &self.named {
            warn(named.name, "instance", codes::name::UNUSED, "delete it", out);
        }
    }
}

/// The bare names of `a` or `[a, b]`; empty for anything else.
pub(crate) fn names(expr: &Expr) -> Vec<&Ident> {
    match &expr.kind {
        ExprKind::Name(path) if path.len() == 1 => vec![&path[0]],
        ExprKind::List(items) | ExprKind::Tuple(items) => {
            let each: Vec<Vec<&Ident>> = items.iter().map(names).collect();
            if each.iter().all(|n| n.len() == 1) { each.into_iter().flatten().collect() } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}
