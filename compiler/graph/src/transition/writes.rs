//! Whether the keys of corrections have a bounded length.
//!
//! A state that is corrected along a key, `S - rate key (key S)`, keeps what lies along the key by the factor `1 - rate |key|^2`: once
//! `rate |key|^2` exceeds 2 it grows with every write. A softmax, or a division by a length or a sum over the key's axes, bounds it.

use super::form::{Base, Form};
use super::{Step, leaves};
use crate::entity::Value;
use crate::graph::{Axis, Graph, Origin, Region};
use crate::op::{Loop, LoopKind, MapFn, Op};
use crate::shape::Shape;

/// A correction along a key that nothing bounds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unbounded {
    /// Where the state is corrected.
    pub write: Origin,
    /// Where the key comes from.
    pub key: Origin,
    /// Names and sizes of the key's axes.
    pub axes: Vec<(String, u64)>,
}

/// All corrections along keys that nothing bounds, in the order of their scans.
pub fn unbounded(graph: &Graph) -> Vec<Unbounded> {
    let mut axes = graph.axes.clone();
    let mut out = Vec::new();
    visit(&mut axes, &graph.region, &mut out);
    out
}

fn visit(axes: &mut Vec<Axis>, region: &Region, out: &mut Vec<Unbounded>) {
    for node in &region.nodes {
        let Op::Loop(l) = &node.op else { continue };
        if l.kind == LoopKind::Scan {
            scan(axes, region, &node.inputs, l, out);
        }
        visit(axes, &l.body, out);
    }
}

fn scan(axes: &mut Vec<Axis>, around: &Region, inputs: &[Value], l: &Loop, out: &mut Vec<Unbounded>) {
    let mut step = Step::new(l);
    for carry in 0..l.carries {
        if step.before[carry].is_none() || step.together[carry].len() > 1 {
            continue;
        }
        let new = step.region.results[carry];
        let forms = step.forms(axes, carry, false);
        let Form::Sum(terms) = &forms[new.index()] else { continue };
        for term in terms {
            let Base::Read { inner, over, .. } = &term.base else { continue };
            let along = |values: &[Value]| -> Vec<Value> {
                let mut all = leaves(&step.region, values);
                all.retain(|&v| !step.region.ty(v).shape.intersection(over).is_scalar());
                all
            };
            let key = along(&term.factors);
            if key.is_empty() || key != along(inner) {
                continue;
            }
            let scope = Scope { body: &step.region, l, around, inputs };
            if key.iter().any(|&k| scope.is_bounded(k, over, true)) {
                continue;
            }
            let named = |a| (axes[crate::AxisId::index(a)].name.clone(), axes[crate::AxisId::index(a)].size);
            out.push(Unbounded {
                write: step.region.node(new).origin.clone(),
                key: scope.origin(key[0]),
                axes: over.iter().map(named).collect(),
            });
            break;
        }
    }
}

/// A step, and the region around its scan.
struct Scope<'a> {
    body: &'a Region,
    l: &'a Loop,
    around: &'a Region,
    inputs: &'a [Value],
}

impl Scope<'_> {
    fn region(&self, inside: bool) -> &Region {
        if inside { self.body } else { self.around }
    }

    /// What an argument of the step stands for outside, unless it is a state.
    fn outside(&self, value: Value) -> Option<Value> {
        match self.body.node(value).op {
            Op::Argument(i) if (i as usize) >= self.l.carries => self.inputs.get(i as usize).copied(),
            _ => None,
        }
    }

    fn origin(&self, value: Value) -> Origin {
        match self.outside(value) {
            Some(outside) => self.around.node(outside).origin.clone(),
            None => self.body.node(value).origin.clone(),
        }
    }

    /// Whether the length of a value along the axes is bounded by how it is made.
    fn is_bounded(&self, value: Value, over: &Shape, inside: bool) -> bool {
        if inside && let Some(outside) = self.outside(value) {
            return self.is_bounded(outside, over, false);
        }
        let node = self.region(inside).node(value).clone();
        let axes = |scope: &Self, v: Value| scope.region(inside).ty(v).shape.intersection(over);
        match &node.op {
            Op::Softmax(axes) => over.iter().all(|a| axes.contains(&a)),
            Op::Map(MapFn::Mul) => {
                let [x, y] = [node.inputs[0], node.inputs[1]];
                let scaled = |scope: &Self, by: Value| axes(scope, by).is_scalar() && scope.sums(by, over, inside, 0);
                scaled(self, x) || scaled(self, y) || [x, y].iter().any(|&v| !axes(self, v).is_scalar() && self.is_bounded(v, over, inside))
            }
            Op::Map(MapFn::Div) => {
                let [x, y] = [node.inputs[0], node.inputs[1]];
                (axes(self, y).is_scalar() && self.sums(y, over, inside, 0)) || self.is_bounded(x, over, inside)
            }
            Op::Map(MapFn::Where) => node.inputs[1..].iter().all(|&v| axes(self, v).is_scalar() || self.is_bounded(v, over, inside)),
            Op::Map(MapFn::Neg | MapFn::Abs | MapFn::Relu | MapFn::StopGradient | MapFn::Cast) => {
                self.is_bounded(node.inputs[0], over, inside)
            }
            Op::Rename(pairs) => {
                let before = |a| pairs.iter().find(|p| p.1 == a).map_or(a, |p| p.0);
                self.is_bounded(node.inputs[0], &over.iter().map(before).collect(), inside)
            }
            Op::Split { axis, into } if into.iter().any(|&a| over.contains(a)) => {
                let whole = over.minus(&Shape::of(into.iter().copied())).with(*axis);
                self.is_bounded(node.inputs[0], &whole, inside)
            }
            Op::Merge { from, into } if over.contains(*into) => {
                let parts = over.without(*into).union(&Shape::of(from.iter().copied()));
                self.is_bounded(node.inputs[0], &parts, inside)
            }
            Op::Slice { axis, into, .. } => {
                let whole = if over.contains(*into) { over.without(*into).with(*axis) } else { over.clone() };
                self.is_bounded(node.inputs[0], &whole, inside)
            }
            Op::Gather(_) => self.is_bounded(node.inputs[0], over, inside),
            _ => false,
        }
    }

    /// Whether a value is made of a sum over the axes, by a few functions of it.
    fn sums(&self, value: Value, over: &Shape, inside: bool, depth: usize) -> bool {
        if inside && let Some(outside) = self.outside(value) {
            return self.sums(outside, over, false, depth);
        }
        let node = self.region(inside).node(value);
        match &node.op {
            Op::Reduce(_, axes) | Op::Contract(axes) => over.iter().all(|a| axes.contains(&a)),
            Op::Map(_) if depth < 6 => node.inputs.iter().any(|&v| self.sums(v, over, inside, depth + 1)),
            _ => false,
        }
    }
}
