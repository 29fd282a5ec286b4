//! Arguments of a call, each in its place and of the right kind.

use super::body::Eval;
use super::call::{Arguments, Given, Target};
use super::expr::short;
use super::table::Entry;
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::NodeId;
use crate::source::Span;
use crate::syntax::{Arg, Block, Expr, ExprKind, Ident, PortType};
use ogive_graph::DType;
use std::collections::BTreeMap;

impl<'a> Eval<'_, 'a> {
    /// Sorts arguments to ports and dims. `None` where what is wrong (reported) makes the call meaningless.
    pub(crate) fn sort_arguments(&mut self, target: &Target<'a>, args: &'a [Arg], first: Option<&'a Expr>) -> Option<Arguments<'a>> {
        let block = target.block;
        let mut out = Arguments { ports: BTreeMap::new(), dims: Vec::new(), pair: None };
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
            if let (None, ExprKind::As { from, into }) = (&arg.label, &arg.value.kind)
                && let ([from], [into], true) = (&from[..], &into[..], block.dims.len() >= 2)
            {
                out.pair = Some((from, into));
                continue;
            }
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

    pub(crate) fn missing_argument(&mut self, target: &Target<'a>, i: usize) {
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

    pub(crate) fn dim_given(&mut self, label: &Ident, value: &'a Expr) -> Option<Given> {
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
            Val::Const(c) => self.size_from(&c, value.span, &format!("dim `{}`", label.name), Some(value)).map(Given::Size),
            _ => None,
        }
    }

    pub(crate) fn tensor_argument(&mut self, target: &Target<'a>, i: usize, value: &Val, like: DType, span: Span) -> Option<NodeId> {
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

    pub(crate) fn constant_type(&mut self, name: &Ident, value: &Const, needs: &str, span: Span, place: Span, example: &str) {
        let message = format!("`{}` takes {needs}; this is {}", name.name, value.describe());
        let error = Diagnostic::error(codes::constant::TYPE, message, span, short(&value.describe())).label(place, "declared here");
        self.cx.report(error.help(format!("pass `{}: {example}`", name.name)));
    }
}
