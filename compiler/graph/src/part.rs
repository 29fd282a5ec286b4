//! Parts scans whose steps keep to themselves along an axis (batch, head): the scan becomes one short scan for each position of that axis,
//! inside a loop over the axis whose iterations are independent. A worker then runs a whole scan with its state in its own cache, and nobody
//! waits for anybody between steps.
//!
//! An axis is free where every carry and every collected value has it and no operation of the body works along it. It is parted where that does
//! not turn products of matrices into products with vectors of a matrix that is read anew by each position.
//!
//! Where the state of one position is small, a worker takes a block of positions (heads, units) at a time, so that its kernels have work
//! for the whole width of the processor and there are fewer of them.

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Graph, Node, Region};
use crate::op::{Loop, LoopKind, Op};
use crate::rewrite::{self, New, Rewrite};
use crate::shape::{Shape, Ty, elements};
use std::collections::{BTreeMap, BTreeSet};

/// Largest operand, in elements, that the positions of a parted axis share in a contraction.
const SHARED: u64 = 1 << 13;
/// Elements of a state that a step has at least.
const LEFT: u64 = 32;
/// Elements of the states from which on both the kernels of a step are long and the states of one worker leave its cache.
const LONG: u64 = 1 << 14;
/// Largest other value that each position computes for itself though all have the same.
const REPEATED: u64 = 1 << 12;

/// Elements of the states that a worker has at a time, where single positions have fewer.
const BLOCK: u64 = 1 << 16;
/// Blocks that there are at least.
const BLOCKS: u64 = 16;

/// Parts every scan along its free axes.
pub fn part(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Part { blocks: BTreeMap::new(), within: within(graph) })
}

struct Part {
    /// Of axes in blocks: the axes of the blocks and of the positions in a block. One pair for all loops, so that what one loop leaves in
    /// blocks another takes in blocks.
    blocks: BTreeMap<(AxisId, u64), (AxisId, AxisId)>,
    /// Positions that loops which were parted before take together.
    within: BTreeSet<AxisId>,
}

/// Every region, the outermost first.
fn regions(outermost: &Region) -> Vec<&Region> {
    let mut all = vec![outermost];
    let mut next = 0;
    while let Some(region) = all.get(next).copied() {
        all.extend(region.nodes.iter().filter_map(|n| if let Op::Loop(l) = &n.op { Some(&l.body) } else { None }));
        next += 1;
    }
    all
}

/// The axes of the positions that a worker takes together: inner axes of values that are split for loops over blocks, and what scans in
/// loops over other positions are free along.
pub(crate) fn within(graph: &Graph) -> BTreeSet<AxisId> {
    let (mut over, mut splits, mut found) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    for node in regions(&graph.region).into_iter().flat_map(|r| &r.nodes) {
        match &node.op {
            Op::Loop(l) if l.kind == LoopKind::Each => {
                over.insert(l.axis);
                let scan = |n: &Node| if let Op::Loop(l) = &n.op { (l.kind == LoopKind::Scan).then(|| free(&graph.axes, l)) } else { None };
                found.extend(l.body.nodes.iter().filter_map(scan).flatten());
            }
            Op::Split { into, .. } => splits.push(into),
            _ => {}
        }
    }
    found.extend(splits.into_iter().filter(|into| into.len() == 2 && over.contains(&into[0])).map(|into| into[1]));
    found
}

impl Rewrite for Part {
    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        if let Op::Loop(l) = &node.op
            && l.kind == LoopKind::Scan
        {
            let free = free(b.axes, l);
            if !free.is_empty() && !free.iter().any(|a| self.within.contains(a)) {
                return New::Results(self.parted(b, l, &node.inputs, free));
            }
        }
        New::One(b.region.push(node))
    }
}

impl Part {
    /// The loops over what is free, blocks of the first axis where positions are small.
    fn parted(&mut self, b: &mut Builder<'_>, l: &Loop, inputs: &[Value], mut free: Vec<AxisId>) -> Vec<Value> {
        let limit = limit(b.axes, l, &free);
        if free.len() > 1 && free.last().is_some_and(|a| b.axes[a.index()].size <= limit) {
            // A block of one whole axis lies together.
            free.pop();
            return each(b, l, inputs, &free);
        }
        let all = b.axes[free[0].index()].size;
        let size = (2..=all.min(limit)).rev().find(|s| all.is_multiple_of(*s)).unwrap_or(1);
        if size == 1 {
            return each(b, l, inputs, &free);
        }
        let axis = free[0];
        let (blocks, within) = *self.blocks.entry((axis, size)).or_insert_with(|| {
            let Axis { name, size: all } = b.axes[axis.index()].clone();
            (b.axis(name.clone(), all / size), b.axis(name, size))
        });
        let split = |b: &mut Builder<'_>, v: Value| match &b.region.node(v).op {
            _ if !b.shape(v).contains(axis) => v,
            Op::Merge { from, into } if *into == axis && *from == [blocks, within] => b.region.node(v).inputs[0],
            _ => b.add(Op::Split { axis, into: vec![blocks, within] }, &[v]),
        };
        let inputs: Vec<Value> = inputs.iter().map(|&v| split(b, v)).collect();
        let mut body = without_axis(&l.body, axis);
        for (node, old) in body.nodes.iter_mut().zip(&l.body.nodes) {
            if old.ty.shape.contains(axis) {
                node.ty.shape = node.ty.shape.with(within);
            }
            if let (Op::ScatterAdd { keep, .. }, Op::ScatterAdd { keep: old, .. }) = (&mut node.op, &old.op)
                && old.contains(&axis)
            {
                keep.push(within);
            }
        }
        free[0] = blocks;
        free.sort_by_key(|a| std::cmp::Reverse(b.axes[a.index()].size));
        let results = each(b, &Loop { body, ..l.clone() }, &inputs, &free);
        results.into_iter().map(|v| b.add(Op::Merge { from: vec![blocks, within], into: axis }, &[v])).collect()
    }
}

/// How many positions a worker takes at a time.
fn limit(axes: &[Axis], l: &Loop, free: &[AxisId]) -> u64 {
    let positions: u64 = free.iter().map(|a| axes[a.index()].size).product();
    let states: u64 = l.body.results[..l.carries].iter().map(|&r| elements(axes, &l.body.ty(r).shape)).sum();
    (positions / BLOCKS).min((BLOCK * positions).checked_div(states).unwrap_or(1))
}

/// Axes to part along, the longest first.
fn free(axes: &[Axis], l: &Loop) -> Vec<AxisId> {
    let body = &l.body;
    if is_passing(axes, l) {
        return Vec::new();
    }
    let mut shapes = body.results.iter().map(|&r| body.ty(r).shape.clone());
    let Some(first) = shapes.next() else { return Vec::new() };
    let common = shapes.fold(first, |all, s| all.intersection(&s));
    // What is shared is measured by what is parted with the axis, so what turns out not to be free is not counted again.
    let mut free: Vec<AxisId> = common.iter().filter(|&a| a != l.axis && axes[a.index()].size > 1).collect();
    loop {
        let parted = Shape::of(free.iter().copied());
        let count = free.len();
        free.retain(|&a| body.nodes.iter().all(|n| is_apart(axes, body, n, a, &parted)));
        if free.len() == count {
            break;
        }
    }
    // Features that few of the inputs have are what the steps should run along, and so are the last of the others.
    let inputs = arguments(l);
    let holders = |a: AxisId| inputs.iter().filter(|s| s.contains(a)).count();
    free.retain(|&a| 2 * holders(a) > inputs.len() || inputs.is_empty());
    free.sort_by_key(|&a| std::cmp::Reverse((holders(a), axes[a.index()].size)));
    let mut left = body.results.iter().map(|&r| elements(axes, &body.ty(r).shape)).max().unwrap_or(0);
    let enough = |a: &AxisId| {
        left /= axes[a.index()].size;
        left >= LEFT
    };
    free.into_iter().take_while(enough).collect()
}

/// Whether steps are long rows of functions that read and leave at least as much as there is of states: nothing is gained by keeping those near.
fn is_passing(axes: &[Axis], l: &Loop) -> bool {
    let rows = l.body.nodes.iter().all(|n| matches!(n.op, Op::Argument(_) | Op::Const(_) | Op::Map(_)));
    let size = |v: &Value| elements(axes, &l.body.ty(*v).shape);
    let (states, collected) = l.body.results.split_at(l.carries);
    let states: u64 = states.iter().map(size).sum();
    let passing = arguments(l).iter().map(|s| elements(axes, s)).chain(collected.iter().map(size)).sum::<u64>();
    rows && states >= LONG && passing >= states
}

/// Shapes of the stacked inputs of a loop, less those of numbers.
fn arguments(l: &Loop) -> Vec<Shape> {
    let stacked = l.carries..l.carries + l.stacked;
    let is_stacked = |n: &&Node| matches!(n.op, Op::Argument(i) if stacked.contains(&(i as usize)));
    l.body.nodes.iter().filter(is_stacked).map(|n| n.ty.shape.clone()).filter(|s| !s.is_scalar()).collect()
}

/// Whether a node treats the positions of `a` one by one, at no great loss where they come one by one.
fn is_apart(axes: &[Axis], body: &Region, node: &Node, a: AxisId, parted: &Shape) -> bool {
    let has = |v: &Value| body.ty(*v).shape.contains(a);
    let alone = !node.ty.shape.contains(a) && !node.inputs.iter().any(has);
    let cheap = || elements(axes, &node.ty.shape) <= REPEATED;
    match &node.op {
        Op::Input(_) | Op::Param(_) => panic!("a fault in ogive: a port inside a loop"),
        Op::Argument(_) | Op::Const(_) | Op::Project(_) => true,
        Op::Iota(axis) => *axis != a,
        Op::Random(random) => !random.order.contains(&a),
        Op::Map(_) => !alone || cheap(),
        Op::Reduce(_, over) | Op::Softmax(over) | Op::LogSumExp(over) => !over.contains(&a) && (!alone || cheap()),
        Op::ArgMax(axis) => *axis != a,
        Op::Contract(over) => {
            // What lacks the axis is read again for each of its positions (and of the other axes that are parted with it).
            let shared = |v: &Value| has(v) || elements(axes, &body.ty(*v).shape.minus(parted)) <= SHARED;
            !over.contains(&a) && !alone && node.inputs.iter().all(shared)
        }
        Op::Solve { row, col, .. } => *row != a && *col != a && node.inputs.iter().all(has),
        Op::Rename(pairs) => !pairs.iter().any(|p| p.0 == a || p.1 == a),
        Op::Split { axis, into } => *axis != a && !into.contains(&a),
        Op::Merge { from, into } => *into != a && !from.contains(&a),
        Op::Slice { axis, into, .. } | Op::Pad { axis, into, .. } => *axis != a && *into != a,
        Op::Concat { axes, into } => *into != a && !axes.contains(&a),
        Op::Gather(axis) => *axis != a,
        Op::ScatterAdd { axis, keep } => *axis != a && keep.contains(&a) && node.inputs.iter().all(has),
        Op::Attend(t) | Op::AttendGrad(t) => !alone && ![t.query, t.source, t.key, t.value].contains(&a),
        Op::TopK { over, into } => !over.contains(&a) && *into != a,
        // Points are worth sorting together.
        Op::Route { .. } | Op::Routed { .. } | Op::RoutedOuter { .. } | Op::Loop(_) => false,
    }
}

/// The loop over the first of `free` around what is left.
fn each(b: &mut Builder<'_>, l: &Loop, inputs: &[Value], free: &[AxisId]) -> Vec<Value> {
    let Some((&axis, rest)) = free.split_first() else {
        let narrow = Loop { kind: l.kind, axis: l.axis, reverse: l.reverse, carries: l.carries, stacked: l.stacked, body: l.body.clone() };
        return b.repeat(narrow, inputs);
    };
    let sliced = |v: &Value| b.shape(*v).contains(axis);
    let (with, without): (Vec<Value>, Vec<Value>) = inputs.iter().partition(|v| sliced(v));
    let outer: Vec<Value> = with.iter().chain(&without).copied().collect();
    let types: Vec<Ty> = outer.iter().map(|&v| Ty::new(b.ty(v).dtype, b.shape(v).without(axis))).collect();
    let stacked = with.len();
    let narrow = Loop { body: without_axis(&l.body, axis), ..l.clone() };
    let mut inner = Builder::new(b.axes);
    inner.origin = b.origin.clone();
    let arguments: Vec<Value> = types.iter().enumerate().map(|(i, ty)| inner.add_as(Op::Argument(i as u32), &[], Some(ty))).collect();
    let place = |v: &Value| outer.iter().position(|o| o == v).map_or(Value(u32::MAX), |i| arguments[i]);
    let given: Vec<Value> = inputs.iter().map(place).collect();
    let results = each(&mut inner, &narrow, &given, rest);
    let body = Region { results, ..inner.region };
    b.repeat(Loop { kind: LoopKind::Each, axis, reverse: false, carries: 0, stacked, body }, &outer)
}

/// A body for one position of an axis that nothing in it works along.
fn without_axis(body: &Region, axis: AxisId) -> Region {
    let mut out = body.clone();
    for node in &mut out.nodes {
        node.ty.shape = node.ty.shape.without(axis);
        if let Op::ScatterAdd { keep, .. } = &mut node.op {
            keep.retain(|a| *a != axis);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse::parse, text::print_plain, verify::verify};

    fn after(text: &str) -> String {
        let graph = parse(text).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = part(&graph);
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    const HEAD: &str = "axis t = 5\naxis b = 3\naxis k = 6\naxis v = 8\n%0 = input s : f32[b, k, v]\n%1 = input x : f32[t, b, k]\n";

    #[test]
    fn a_scan_is_parted_along_the_axis_that_its_steps_share() {
        let text = format!(
            "{HEAD}%2 = scan along t carry [%0] stacked [%1] with [] : f32[b, k, v] {{\n%0 = argument 0 : f32[b, k, v]\n\
             %1 = argument 1 : f32[b, k]\n%2 = contract %1, %0 over [k] : f32[b, v]\n%3 = mul %1, %2 : f32[b, k, v]\n\
             %4 = sub %0, %3 : f32[b, k, v]\nyield [%4] collect [%2]\n}}\n%3 = project 0 of %2 : f32[b, k, v]\n\
             %4 = project 1 of %2 : f32[t, b, v]\noutput s [b, k, v] = %3\noutput y [t, b, v] = %4\n"
        );
        let new = after(&text);
        assert!(new.contains("%2 = each along b carry [] stacked [%0, %1] with [] : f32[b, k, v] {"), "{new}");
        assert!(new.contains("= contract %1, %0 over [k] : f32[v]"), "{new}");
    }

    #[test]
    fn a_sum_over_an_axis_keeps_it_in_the_step() {
        let text = format!(
            "{HEAD}%2 = scan along t carry [%0] stacked [%1] with [] : f32[b, k, v] {{\n%0 = argument 0 : f32[b, k, v]\n\
             %1 = argument 1 : f32[b, k]\n%2 = sum %0 over [b] : f32[k, v]\n%3 = mul %1, %2 : f32[b, k, v]\n\
             yield [%3] collect []\n}}\n%3 = project 0 of %2 : f32[b, k, v]\noutput s [b, k, v] = %3\n"
        );
        let new = after(&text);
        assert!(!new.contains("each along b"), "{new}");
    }

    #[test]
    fn a_whole_axis_is_a_block_and_parting_twice_is_parting_once() {
        let text = "axis t = 5\naxis b = 32\naxis h = 2\naxis k = 16\naxis v = 8\n%0 = input s : f32[b, h, k, v]\n\
             %1 = input x : f32[t, b, h, k]\n%2 = scan along t carry [%0] stacked [%1] with [] : f32[b, h, k, v] {\n\
             %0 = argument 0 : f32[b, h, k, v]\n%1 = argument 1 : f32[b, h, k]\n%2 = contract %1, %0 over [k] : f32[b, h, v]\n\
             %3 = mul %1, %2 : f32[b, h, k, v]\n%4 = sub %0, %3 : f32[b, h, k, v]\nyield [%4] collect [%2]\n}\n\
             %3 = project 0 of %2 : f32[b, h, k, v]\n%4 = project 1 of %2 : f32[t, b, h, v]\noutput s [b, h, k, v] = %3\n\
             output y [t, b, h, v] = %4\n";
        let new = after(text);
        assert!(new.contains("each along b") && !new.contains("each along h"), "{new}");
        let graph = part(&parse(text).unwrap());
        assert_eq!(within(&graph).len(), 1);
        assert_eq!(print_plain(&part(&graph)), print_plain(&graph));
    }
}
