//! What losses and metrics read: outputs, inputs and taps of the model.

use super::body::Eval;
use super::context::Cx;
use super::experiment::CLASS;
use super::value::Val;
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::experiment::{Label, Source};
use crate::hir::{InstanceId, Op, Port};
use crate::source::Span;
use crate::syntax::{Call, ExprKind, Ident};
use ogive_graph::{AxisId, DType, Shape, Ty};
use std::collections::BTreeMap;

/// A value of the model.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub source: Source,
    /// Dims in order: batch first.
    pub dims: Vec<AxisId>,
    pub dtype: DType,
    pub domain: Option<AxisId>,
}

/// Values of the model by name, and those that were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    values: BTreeMap<String, Value>,
    read: Vec<(String, Source, Val)>,
    pub ports: Vec<Port>,
}

/// A tap as the root sees it.
#[derive(Clone, Debug)]
struct Seen {
    name: String,
    dims: Vec<AxisId>,
    dtype: DType,
    depends: Vec<bool>,
    span: Span,
}

impl Sources {
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(crate) fn sources(&self) -> Vec<Source> {
        self.read.iter().map(|(_, s, _)| s.clone()).collect()
    }

    /// Everything that a root gives, `batch` in front of what depends on an input.
    pub(crate) fn of(cx: &mut Cx<'_>, root: InstanceId, batch: AxisId) -> Self {
        let instance = cx.drafts[root.index()].instance.clone();
        let mut values = BTreeMap::new();
        let with =
            |dims: &[AxisId], lifted: bool| Some(batch).filter(|_| lifted).into_iter().chain(dims.iter().copied()).collect::<Vec<_>>();
        for (name, seen) in taps(cx, root, batch) {
            if let Some(value) = stacked(cx, &name, &seen) {
                values.insert(name, value);
            }
        }
        for (i, port) in instance.inputs.iter().enumerate() {
            let value = Value { source: Source::Input(i), dims: with(&port.dims, true), dtype: port.dtype, domain: port.domain };
            values.insert(port.name.clone(), value);
        }
        for (i, output) in instance.outputs.iter().enumerate() {
            let dims = with(&output.dims, output.depends.iter().any(|d| *d));
            let dtype = instance.body[output.node.index()].ty.dtype;
            values.insert(output.name.clone(), Value { source: Source::Output(i), dims, dtype, domain: output.domain });
        }
        Sources { values, read: Vec::new(), ports: Vec::new() }
    }

    /// Adds what labelled strings give beside the model's input. Names of the model's own values stay theirs.
    pub(crate) fn add_labels(&mut self, cx: &Cx<'_>, root: InstanceId, batch: AxisId) {
        let instance = &cx.drafts[root.index()].instance;
        let class = instance.dims.iter().find(|(name, _)| name == CLASS).map(|(_, axis)| *axis);
        let Some(port) = instance.inputs.first() else { return };
        let dims: Vec<AxisId> = std::iter::once(batch).chain(port.dims.iter().copied()).collect();
        let given = [(Label::Target, DType::I32, class), (Label::Counted, DType::Bool, None)];
        for (label, dtype, domain) in given {
            let value = Value { source: Source::Given(label), dims: dims.clone(), dtype, domain };
            self.values.entry(label.name().to_owned()).or_insert(value);
        }
    }

    /// Dims of everything, for "over: name".
    pub(crate) fn dims(&self) -> Vec<AxisId> {
        self.values.values().flat_map(|v| v.dims.iter().copied().chain(v.domain)).collect()
    }
}

/// Taps of a root by name, each with all its occurrences.
fn taps(cx: &Cx<'_>, root: InstanceId, batch: AxisId) -> BTreeMap<String, Vec<Seen>> {
    let mut out: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    for mut seen in taps_of(cx, root) {
        if seen.depends.iter().any(|d| *d) {
            seen.dims.insert(0, batch);
        }
        out.entry(seen.name.clone()).or_default().push(seen);
    }
    out
}

/// Taps of an instance and of what it calls, as its caller sees them: less what the caller lifts over.
fn taps_of(cx: &Cx<'_>, id: InstanceId) -> Vec<Seen> {
    let instance = &cx.drafts[id.index()].instance;
    let inputs = instance.inputs.len();
    let mut depends: Vec<Vec<bool>> = Vec::with_capacity(instance.body.len());
    let mut out = Vec::new();
    for node in &instance.body {
        let or = |into: &mut Vec<bool>, from: &[bool]| into.iter_mut().zip(from).for_each(|(a, b)| *a |= *b);
        let mut mine = vec![false; inputs];
        match &node.op {
            Op::Input(i) => {
                if let Some(flag) = mine.get_mut(*i as usize) {
                    *flag = true;
                }
            }
            Op::Prev(k) => {
                if let Some(state) = instance.states.get(*k as usize) {
                    or(&mut mine, &state.depends);
                }
            }
            _ => node.inputs.iter().for_each(|n| or(&mut mine, &depends[n.index()])),
        }
        if let Op::Call(child) | Op::Repeat { instance: child, .. } | Op::Scan { instance: child, .. } = &node.op {
            let scan = if let Op::Scan { axis, .. } = &node.op { Some(*axis) } else { None };
            let callee = &cx.drafts[child.index()].instance;
            let extras: Vec<Shape> = callee
                .inputs
                .iter()
                .zip(&node.inputs)
                .map(|(port, n)| {
                    let extra = instance.body[n.index()].ty.shape.minus(&Shape::of(port.dims.iter().copied()));
                    scan.map_or(extra.clone(), |axis| extra.without(axis))
                })
                .collect();
            for tap in taps_of(cx, *child) {
                let mut seen = Seen { depends: vec![false; inputs], ..tap.clone() };
                let repeat = if let Op::Repeat { axis, .. } = &node.op { Some(*axis) } else { None };
                for (k, n) in node.inputs.iter().enumerate() {
                    let carried = repeat.is_some() && tap.depends.first() == Some(&true);
                    let through = callee.outputs.first().is_some_and(|o| o.depends.get(k) == Some(&true));
                    if tap.depends.get(k) == Some(&true) || (carried && through) {
                        or(&mut seen.depends, &depends[n.index()]);
                        for axis in extras[k].iter().filter(|a| !seen.dims.contains(a)).collect::<Vec<_>>() {
                            seen.dims.push(axis);
                        }
                    }
                }
                if let Some(axis) = repeat.or(scan) {
                    seen.dims.insert(0, axis);
                }
                out.push(seen);
            }
        }
        depends.push(mine);
    }
    for tap in &instance.taps {
        let dtype = instance.body[tap.node.index()].ty.dtype;
        out.push(Seen { name: tap.name.clone(), dims: tap.dims.clone(), dtype, depends: tap.depends.clone(), span: tap.span });
    }
    out
}

/// Occurrences of a tap as one value.
fn stacked(cx: &mut Cx<'_>, name: &str, seen: &[Seen]) -> Option<Value> {
    let first = seen.first()?;
    let mut axes = vec![first.dims.clone()];
    for other in &seen[1..] {
        let mut left = other.dims.clone();
        let mut matched = Vec::new();
        for &axis in &first.dims {
            let like = |a: &AxisId| cx.axes[a.index()].name == cx.axes[axis.index()].name && cx.size(*a) == cx.size(axis);
            match left.iter().position(like) {
                Some(i) => matched.push(left.remove(i)),
                None => break,
            }
        }
        if matched.len() != first.dims.len() || !left.is_empty() || other.dtype != first.dtype {
            let message = format!("tap `{name}` stands for values of other dims in other instances");
            let error = Diagnostic::error(codes::shape::MISMATCH, message, other.span, "other dims");
            cx.report(error.label(first.span, "and here").help(format!("give one of them another name: `tap {name}2 = ...`")));
            return None;
        }
        axes.push(matched);
    }
    let mut dims = first.dims.clone();
    let instance = (seen.len() > 1).then(|| {
        let count = u64::try_from(seen.len()).unwrap_or(u64::MAX);
        cx.axis("member", Some(count), first.span)
    });
    dims.extend(instance);
    Some(Value { source: Source::Tap { name: name.to_string(), axes, instance }, dims, dtype: first.dtype, domain: None })
}

impl<'a> Eval<'_, 'a> {
    /// A value of the model by name; `None` where it has none of that name.
    pub(crate) fn measured(&mut self, path: &[Ident], span: Span) -> Option<Val> {
        let [name] = path else { return None };
        let value = self.body.objective.as_ref()?.values.get(&name.name)?.clone();
        Some(self.read(&name.name, value, span))
    }

    /// A dim of the model's values by name.
    pub(crate) fn measured_dim(&mut self, name: &str) -> Option<AxisId> {
        let dims = self.body.objective.as_ref()?.dims();
        dims.into_iter().find(|&a| self.dim_name(a) == name)
    }

    fn read(&mut self, name: &str, value: Value, span: Span) -> Val {
        if let Some((_, _, known)) = self.body.objective.as_ref().and_then(|o| o.read.iter().find(|(_, s, _)| *s == value.source)) {
            return known.clone();
        }
        let index = self.body.objective.as_ref().map_or(0, |o| o.read.len());
        let ty = Ty::new(value.dtype, Shape::of(value.dims.iter().copied()));
        let node = Val::Tensor(self.push_in(Op::Input(u32::try_from(index).unwrap_or(0)), Vec::new(), ty, value.domain, span));
        if let Some(objective) = &mut self.body.objective {
            let port =
                Port { name: name.to_string(), dims: value.dims.clone(), dtype: value.dtype, domain: value.domain, lifted: false, span };
            objective.ports.push(port);
            objective.read.push((name.to_string(), value.source, node.clone()));
        }
        node
    }

    /// `next(tokens)`: the model's input one position later.
    pub(crate) fn next(&mut self, call: &'a Call) -> Val {
        let name = match call.args.as_slice() {
            [arg] if arg.label.is_none() => match &arg.value.kind {
                ExprKind::Name(path) if path.len() == 1 => Some(&path[0]),
                _ => None,
            },
            _ => None,
        };
        let value = name.and_then(|n| self.body.objective.as_ref()?.values.get(&n.name).cloned());
        match (name, value) {
            (Some(name), Some(Value { source: Source::Input(i), dims, dtype: DType::I32, domain })) => {
                let value = Value { source: Source::Next(i), dims, dtype: DType::I32, domain };
                self.read(&format!("next.{}", name.name), value, call.span)
            }
            _ => {
                let message = "`next` takes a token input of the model".to_string();
                let inputs: Vec<String> = match &self.body.objective {
                    Some(o) => o
                        .values
                        .iter()
                        .filter(|(_, v)| matches!(v.source, Source::Input(_)) && v.dtype == DType::I32)
                        .map(|(n, _)| n.clone())
                        .collect(),
                    None => Vec::new(),
                };
                let error = Diagnostic::error(codes::call::TENSOR_NEEDED, message, call.span, "not an input");
                let help = inputs
                    .first()
                    .map_or_else(|| "declare a model input `tokens: [seq] in vocab`".to_string(), |n| format!("write `next({n})`"));
                self.cx.report(error.help(help));
                Val::Error
            }
        }
    }
}
