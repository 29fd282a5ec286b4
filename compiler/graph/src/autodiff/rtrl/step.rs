//! Pieces of the loop that carries sensitivities: derivatives of a step, and what becomes of them.

use super::super::GradError;
use super::super::emit;
use super::super::reverse::{How, Sweep, sweep};
use super::locate::Rows;
use super::rule::Source;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Node, Region};
use crate::op::{MapFn, Op, ReduceFn};
use crate::shape::{DType, Shape, Ty};
use std::collections::BTreeMap;

impl Sweep<'_> {
    /// The derivatives of a new state in arguments of the step, one for each position of the axes that do not mix; those that mix stand
    /// twice, in the new state as their twins.
    pub(super) fn derivatives(&mut self, region: Region, of: Value, to: &[Value], rows: &Rows) -> Result<Derivatives, GradError> {
        let twins: Vec<(AxisId, AxisId)> = rows.mixed.keys().map(|&a| (a, self.twin(a))).collect();
        let mut b = Builder::over(self.b.axes, region);
        b.origin = b.region.node(of).origin.clone();
        let dtype = b.ty(of).dtype;
        let seed = identity(&mut b, &twins, dtype);
        let how = How { keep: rows.keep.union(&Shape::of(twins.iter().map(|t| t.1))), ..How::default() };
        let region = b.region;
        let (region, found) = sweep(self.b.axes, region, &[(of, seed)], to, &how)?;
        let found = to.iter().zip(found).filter_map(|(v, c)| Some((*v, c?))).collect();
        Ok((region, found, twins))
    }
}

/// The region, derivatives by argument, twins.
pub(super) type Derivatives = (Region, BTreeMap<Value, Value>, Vec<(AxisId, AxisId)>);

/// One where the two axes of each pair have the same position, zero elsewhere.
pub(super) fn identity(b: &mut Builder<'_>, pairs: &[(AxisId, AxisId)], dtype: DType) -> Value {
    let mut one = b.float(1.0, dtype);
    for &(x, z) in pairs {
        let (x, z) = (b.add(Op::Iota(x), &[]), b.add(Op::Iota(z), &[]));
        let same = b.map(MapFn::Eq, &[x, z]);
        let ty = Ty::new(dtype, b.shape(same).clone());
        let same = b.add_as(Op::Map(MapFn::Cast), &[same], Some(&ty));
        one = emit::mul(b, one, same);
    }
    one
}

/// Of a derivative of a new state in an old one, what leads from a unit to itself along the axes that both have.
pub(super) fn through_itself(b: &mut Builder<'_>, derivative: Value, twins: &[(AxisId, AxisId)], old: &Shape) -> Value {
    let shape = b.shape(derivative).clone();
    let dtype = b.ty(derivative).dtype;
    let pairs: Vec<(AxisId, AxisId)> = twins.iter().copied().filter(|p| old.contains(p.0) && shape.contains(p.1)).collect();
    if pairs.is_empty() {
        return derivative;
    }
    let same = identity(b, &pairs, dtype);
    let product = emit::mul(b, derivative, same);
    let over: Vec<AxisId> = pairs.iter().map(|p| p.1).collect();
    b.reduce(ReduceFn::Sum, product, &over)
}

/// The derivative of a new state in a source within the step, with the axes of the sensitivity.
pub(super) fn immediate(
    b: &mut Builder<'_>,
    derivative: Value,
    source: &Source,
    at: &BTreeMap<AxisId, AxisId>,
    mixed: &[(AxisId, AxisId)],
) -> Value {
    let shape = b.shape(derivative).clone();
    // An axis of the source that is this state's unit, but not that of every state it reaches, is written out.
    let apart: Vec<(AxisId, AxisId)> =
        source.free.iter().filter_map(|(own, twin)| Some((*at.iter().find(|p| p.1 == own)?.0, *twin))).collect();
    let written = |own: &AxisId| at.values().any(|p| p == own);
    let rows = at.iter().map(|(row, place)| (*place, *row));
    let pairs = rows.chain(mixed.iter().map(|m| (m.1, m.0))).chain(source.free.iter().copied().filter(|f| !written(&f.0)));
    let pairs: Vec<(AxisId, AxisId)> = pairs.filter(|p| shape.contains(p.0)).collect();
    let renamed = emit::rename_within(b, derivative, &pairs);
    if apart.is_empty() {
        return renamed;
    }
    let dtype = b.ty(derivative).dtype;
    let same = identity(b, &apart, dtype);
    emit::mul(b, renamed, same)
}

/// The cotangent of a source from that of a state and the state's sensitivity.
pub(super) fn onto(b: &mut Builder<'_>, cotangent: Value, sensitivity: Value, state: &Shape, source: &Source) -> Value {
    let aligned = Shape::of(source.aligned.values().copied());
    let kept = b.shape(sensitivity).minus(&state.minus(&aligned));
    let sum = emit::product_onto(b, cotangent, sensitivity, &kept);
    let shape = b.shape(sum).clone();
    let back = source.aligned.iter().map(|(own, row)| (*row, *own)).chain(source.free.iter().map(|(own, twin)| (*twin, *own)));
    let back: Vec<(AxisId, AxisId)> = back.filter(|p| shape.contains(p.0)).collect();
    let sum = emit::rename(b, sum, back.into_iter());
    let lost = b.shape(sum).minus(&source.ty.shape);
    b.reduce(ReduceFn::Sum, sum, lost.axes())
}

/// The body that computes the roots, with numbered arguments, and the operands of the loop. Arguments that nothing reads are left out,
/// unless they are carries; also how many stacked ones are left.
pub(super) fn closed(
    region: &Region,
    roots: &[Value],
    arguments: impl Iterator<Item = (Option<Value>, Value)>,
    carries: usize,
    stacked: usize,
) -> ((Region, usize), Vec<Value>) {
    let mut live = vec![false; region.nodes.len()];
    let mut stack = roots.to_vec();
    while let Some(value) = stack.pop() {
        if !std::mem::replace(&mut live[value.index()], true) {
            stack.extend(&region.node(value).inputs);
        }
    }
    let mut made = Region::default();
    let mut to: Vec<Option<Value>> = vec![None; region.nodes.len()];
    let (mut inputs, mut slices) = (Vec::new(), 0);
    for (i, (inside, outside)) in arguments.enumerate() {
        let read = inside.filter(|v| live[v.index()]);
        if i >= carries && read.is_none() {
            continue;
        }
        slices += usize::from((carries..carries + stacked).contains(&i));
        if let Some(inside) = read {
            let node = Node { op: Op::Argument(inputs.len() as u32), ..region.node(inside).clone() };
            to[inside.index()] = Some(made.push(node));
        }
        inputs.push(outside);
    }
    for index in (0..live.len()).filter(|&i| live[i]) {
        if to[index].is_none() {
            let node = &region.nodes[index];
            let renamed = |v: &Value| to[v.index()].unwrap_or(Value(u32::MAX));
            let inputs = node.inputs.iter().map(renamed).collect();
            to[index] = Some(made.push(Node { inputs, ..node.clone() }));
        }
    }
    made.results = roots.iter().map(|v| to[v.index()].unwrap_or(Value(u32::MAX))).collect();
    ((made, slices), inputs)
}
