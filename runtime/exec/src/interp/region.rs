//! Evaluation of a region: one arm per operation.

use super::array::{Cells, Named, fault};
use super::watch::Watch;
use super::{attend, index, map, reduce, route, solve};
use crate::backend::{Draw, ExecError};
use crate::rng::Stream;
use ogive_graph::{Axis, DType, Distribution, Loop, Node, Op, Port, Random, Region, Scalar, Ty, Value};

/// Tensors from outside, already checked against their ports.
pub(super) trait Outside {
    /// The tensor of an input or parameter.
    fn tensor(&self, port: &Port, ty: &Ty, param: bool) -> Result<Cells, ExecError>;
}

/// What a region may read beside its own nodes.
pub(super) struct Frame<'a> {
    pub(super) table: &'a [Axis],
    pub(super) outside: &'a dyn Outside,
    pub(super) draw: Draw,
    /// Told of every node.
    pub(super) watch: Option<&'a Watch<'a>>,
}

/// Result of a node.
#[derive(Clone)]
enum Slot {
    Empty,
    One(Cells),
    Many(Vec<Cells>),
}

impl Slot {
    fn cells(&self) -> &[Cells] {
        match self {
            Slot::Empty => &[],
            Slot::One(cells) => std::slice::from_ref(cells),
            Slot::Many(all) => all,
        }
    }
}

/// Runs a region; `results` come back in order.
pub(super) fn run(frame: &Frame<'_>, region: &Region, arguments: &[Cells], results: &[Value]) -> Result<Vec<Cells>, ExecError> {
    let last = last_uses(region, results);
    let mut slots = vec![Slot::Empty; region.nodes.len()];
    for (i, node) in region.nodes.iter().enumerate() {
        let slot = evaluate(frame, node, arguments, &slots)?;
        if let Some(watch) = frame.watch {
            let given = node.inputs.iter().flat_map(|v| slots[v.index()].cells());
            watch.saw(node, given, slot.cells().iter());
        }
        slots[i] = slot;
        for input in &node.inputs {
            if last[input.index()] == i {
                slots[input.index()] = Slot::Empty;
            }
        }
    }
    results.iter().map(|&v| one(&slots, v).cloned()).collect()
}

/// Position of the last node that reads each value; out of range for those that are results.
fn last_uses(region: &Region, results: &[Value]) -> Vec<usize> {
    let mut last = vec![0; region.nodes.len()];
    for (i, node) in region.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|v| last[v.index()] = i);
    }
    results.iter().for_each(|v| last[v.index()] = usize::MAX);
    last
}

fn one(slots: &[Slot], value: Value) -> Result<&Cells, ExecError> {
    match slots.get(value.index()) {
        Some(Slot::One(cells)) => Ok(cells),
        _ => Err(fault(format!("{value} is used where it has no single value"))),
    }
}

fn evaluate(frame: &Frame<'_>, node: &Node, arguments: &[Cells], slots: &[Slot]) -> Result<Slot, ExecError> {
    let table = frame.table;
    if let (Op::Project(result), [from]) = (&node.op, &node.inputs[..]) {
        return match slots.get(from.index()) {
            Some(Slot::Many(all)) => all.get(*result as usize).cloned().map(Slot::One).ok_or_else(|| fault("no such result")),
            _ => Err(fault(format!("projection of {from}, which has one result"))),
        };
    }
    let inputs: Vec<&Cells> = node.inputs.iter().map(|&v| one(slots, v)).collect::<Result<_, _>>()?;
    let cells = match (&node.op, &inputs[..]) {
        (Op::Input(port), []) => frame.outside.tensor(port, &node.ty, false)?,
        (Op::Param(port), []) => frame.outside.tensor(port, &node.ty, true)?,
        (Op::Argument(n), []) => arguments.get(*n as usize).cloned().ok_or_else(|| fault("an argument outside a loop body"))?,
        (Op::Const(scalar), []) => constant(*scalar, node.ty.dtype),
        (Op::Iota(axis), []) => index::iota(*axis, table)?,
        (Op::Random(random), inputs) => draw(frame, random, inputs, node.ty.dtype)?,
        (Op::Map(f), inputs) => map::map(*f, inputs, &node.ty, table)?,
        (Op::Reduce(f, over), [a]) => reduce::reduce(*f, a, over, table)?,
        (Op::ArgMax(axis), [a]) => reduce::argmax(a, *axis, table)?,
        (Op::Contract(over), [a, b]) => reduce::contract(a, b, over, table)?,
        (Op::Solve { row, col, transposed }, [m, b]) => solve::solve(m, b, (*row, *col), *transposed, table)?,
        (Op::Rename(pairs), [a]) => index::rename(a, pairs),
        (Op::Split { axis, into }, [a]) => index::regroup(a, &[*axis], into, table)?,
        (Op::Merge { from, into }, [a]) => index::regroup(a, from, &[*into], table)?,
        (Op::Slice { axis, start, into }, [a]) => index::slice(a, *axis, *start, *into, table)?,
        (Op::Pad { axis, start, into }, [a]) => index::pad(a, *axis, *start, *into, table)?,
        (Op::Concat { axes, into }, inputs) => index::concat(inputs, axes, *into, table)?,
        (Op::Gather(axis), [a, at]) => index::gather(a, at.positions()?, *axis, table, &node.origin)?,
        (Op::ScatterAdd { axis, keep }, [at, updates]) => index::scatter_add(at.positions()?, updates, *axis, keep, table, &node.origin)?,
        (Op::TopK { over, into }, inputs) => route::top(inputs, over, *into, table)?,
        (Op::Route { axis, shared, order }, [at]) => {
            return Ok(Slot::Many(route::route(at.positions()?, *axis, shared, order, table, &node.origin)?.into()));
        }
        (Op::Routed { axis, over }, [x, w, at, _, _]) => route::routed(x, w, at.positions()?, *axis, over, table, &node.origin)?,
        (Op::RoutedOuter { axis, keep }, [x, y, at, _, _]) => route::routed_outer(x, y, at.positions()?, *axis, keep, table, &node.origin)?,
        (Op::Softmax(over), [a]) => reduce::softmax(a, over, table)?,
        (Op::LogSumExp(over), [a]) => reduce::log_sum_exp(a, over, table)?,
        (Op::Attend(a), inputs) => return Ok(Slot::Many(attend::attend(a, inputs, table)?)),
        (Op::AttendGrad(a), inputs) => return Ok(Slot::Many(attend::attend_grad(a, inputs, table)?)),
        (Op::Loop(l), inputs) => return Ok(Slot::Many(iterate(frame, l, inputs)?)),
        (
            Op::Input(_)
            | Op::Param(_)
            | Op::Argument(_)
            | Op::Const(_)
            | Op::Iota(_)
            | Op::Reduce(..)
            | Op::ArgMax(_)
            | Op::Contract(_)
            | Op::Solve { .. }
            | Op::Rename(_)
            | Op::Split { .. }
            | Op::Merge { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Gather(_)
            | Op::ScatterAdd { .. }
            | Op::Route { .. }
            | Op::Routed { .. }
            | Op::RoutedOuter { .. }
            | Op::Softmax(_)
            | Op::LogSumExp(_)
            | Op::Project(_),
            inputs,
        ) => return Err(fault(format!("{} operands of {:?}", inputs.len(), node.op))),
    };
    debug_assert!(
        cells.dtype() == node.ty.dtype && cells.axes().len() == node.ty.shape.rank(),
        "a fault in ogive: {:?} gives another type",
        node.op
    );
    Ok(Slot::One(cells))
}

#[allow(clippy::cast_possible_truncation, reason = "constants take the element type of their node")]
fn constant(scalar: Scalar, dtype: DType) -> Cells {
    let wide = match scalar {
        Scalar::Float(x) => x,
        Scalar::Int(x) => f64::from(x),
        Scalar::Bool(x) => f64::from(u8::from(x)),
    };
    match dtype {
        DType::F32 => Cells::F32(Named::scalar(wide as f32)),
        DType::F64 => Cells::F64(Named::scalar(wide)),
        DType::I32 => Cells::I32(Named::scalar(wide as i32)),
        DType::Bool => Cells::Bool(Named::scalar(wide != 0.0)),
    }
}

fn draw(frame: &Frame<'_>, random: &Random, inputs: &[&Cells], dtype: DType) -> Result<Cells, ExecError> {
    let scalar = |c: &&Cells| c.positions()?.cells.first().copied().ok_or_else(|| fault("random of an empty input"));
    let inputs = inputs.iter().map(scalar).collect::<Result<Vec<i32>, _>>()?;
    let stream = Stream::new(frame.draw, random.site, &inputs);
    let number = |element: u64| match random.distribution {
        Distribution::Uniform => f64::from(stream.uniform(element)),
        Distribution::Normal => stream.normal(element),
    };
    match dtype {
        DType::F32 => Ok(Cells::F32(index::generate(&random.order, frame.table, number)?)),
        DType::F64 => Ok(Cells::F64(index::generate(&random.order, frame.table, number)?)),
        DType::I32 | DType::Bool => Err(fault("random numbers that are no floats")),
    }
}

/// Results of a loop: final carries, then collected values.
fn iterate(frame: &Frame<'_>, l: &Loop, inputs: &[&Cells]) -> Result<Vec<Cells>, ExecError> {
    let times = frame.table[l.axis.index()].size as usize;
    let mut carries: Vec<Cells> = inputs.iter().take(l.carries).map(|&c| c.clone()).collect();
    let stacked = inputs.get(l.carries..l.carries + l.stacked).ok_or_else(|| fault("a loop with too few inputs"))?;
    let invariants = &inputs[l.carries + l.stacked..];
    let collected = l.body.results.len().saturating_sub(l.carries);
    let mut parts: Vec<Vec<Cells>> = vec![Vec::with_capacity(times); collected];
    for step in 0..times {
        let at = if l.reverse { times - 1 - step } else { step };
        let mut arguments = std::mem::take(&mut carries);
        for &s in stacked {
            arguments.push(s.at(l.axis, at)?);
        }
        arguments.extend(invariants.iter().map(|&c| c.clone()));
        if let Some(watch) = frame.watch {
            watch.enter(l.axis.index(), at);
        }
        let results = run(frame, &l.body, &arguments, &l.body.results)?;
        if let Some(watch) = frame.watch {
            watch.leave();
        }
        for (i, result) in results.into_iter().enumerate() {
            match i.checked_sub(l.carries) {
                None => carries.push(result),
                Some(i) => parts[i].push(result),
            }
        }
    }
    for mut part in parts {
        if l.reverse {
            part.reverse();
        }
        carries.push(index::stack(&part, l.axis, frame.table)?);
    }
    Ok(carries)
}
