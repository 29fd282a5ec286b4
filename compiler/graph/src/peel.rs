//! The first of repeated layers stands by itself where it reads rows of a table: [`rowwise`](crate::rowwise) then computes what it can for the
//! table. What later layers read is no function of single rows.

use crate::autodiff::emit::spread;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Graph, Node, Region};
use crate::op::{Loop, LoopKind, Op, ReduceFn};
use crate::rewrite::{self, New, Rewrite};
use crate::rowwise::{OFTEN, Source, functions};
use crate::shape::elements;
use crate::unroll::applied;
use std::collections::BTreeMap;

/// Multiplications that the table saves at least.
const WORTH: u64 = 1 << 24;
/// How many of them there are for each number of the parameters of all layers, whose gradients are put together from two parts.
const EACH: u64 = 32;

/// Takes the first layer out of every repetition, where that pays.
pub fn peel(graph: &Graph) -> Graph {
    with(graph, OFTEN, WORTH)
}

/// [`peel`], be it worth it or not.
pub fn peel_always(graph: &Graph) -> Graph {
    with(graph, 0, 1)
}

fn with(graph: &Graph, often: u64, least: u64) -> Graph {
    rewrite::graph(graph, &mut Peel { often, least, axes: graph.axes.clone(), sources: Vec::new() })
}

struct Peel {
    often: u64,
    least: u64,
    axes: Vec<Axis>,
    /// For each region around, the rows that its values are functions of.
    sources: Vec<(Region, Vec<Option<Source>>)>,
}

impl Rewrite for Peel {
    fn enter(&mut self, region: &Region, _read: &[Value]) {
        let sources = functions(&self.axes, region, &BTreeMap::new(), self.often).0;
        self.sources.push((region.clone(), sources));
    }

    fn leave(&mut self) {
        self.sources.pop();
    }

    fn node(&mut self, b: &mut Builder<'_>, node: Node, old: Value) -> New {
        match &node.op {
            Op::Loop(l) if l.kind == LoopKind::Repeat && self.is_worth(l, old) => New::Results(peeled(b, l, &node.inputs)),
            _ => New::One(b.region.push(node)),
        }
    }
}

impl Peel {
    /// Whether what the first application computes of rows is worth taking it out.
    fn is_worth(&self, l: &Loop, old: Value) -> bool {
        let Some((region, sources)) = self.sources.last() else { return false };
        let carries = &region.node(old).inputs[..l.carries];
        if self.axes[l.axis.index()].size < 2 || !carries.iter().any(|v| sources[v.index()].is_some()) {
            return false;
        }
        let mut known = BTreeMap::new();
        for (i, node) in l.body.nodes.iter().enumerate() {
            if let Op::Argument(a) = node.op
                && let Some(source) = carries.get(a as usize).and_then(|v| sources[v.index()].clone())
            {
                known.insert(Value(i as u32), source);
            }
        }
        let (found, _) = functions(&self.axes, &l.body, &known, self.often);
        let mut saved = 0u64;
        for (node, source) in l.body.nodes.iter().zip(&found) {
            if let (Op::Contract(over), Some(source)) = (&node.op, source)
                && known.values().any(|k| k == source)
            {
                let all = over.iter().fold(elements(&self.axes, &node.ty.shape), |n, a| n.saturating_mul(self.axes[a.index()].size));
                let (rows, points) = (self.axes[source.axis.index()].size, elements(&self.axes, &source.points).max(1));
                saved = saved.saturating_add(all - all / points * rows.min(points));
            }
        }
        let stacked = &region.node(old).inputs[l.carries..l.carries + l.stacked];
        let numbers = stacked.iter().filter(|v| region.ty(**v).dtype.is_float()).map(|v| elements(&self.axes, &region.ty(*v).shape));
        let parameters = numbers.fold(0u64, u64::saturating_add);
        self.least == 1 && !known.is_empty() || saved >= self.least && saved / EACH >= parameters
    }
}

/// The results of a loop whose first application stands before it.
fn peeled(b: &mut Builder<'_>, l: &Loop, inputs: &[Value]) -> Vec<Value> {
    let Axis { name, size } = b.axes[l.axis.index()].clone();
    let fixed = l.carries + l.stacked;
    let (one, rest) = (b.axis(name.clone(), 1), b.axis(name, size - 1));
    let (first, others) = if l.reverse { (size - 1, 0) } else { (0, 1) };
    let slices: Vec<Value> = inputs[l.carries..fixed].iter().map(|&v| at(b, v, l.axis, first, one)).collect();
    let arguments: Vec<Value> = inputs[..l.carries].iter().chain(&slices).chain(&inputs[fixed..]).copied().collect();
    let before = applied(b, &l.body, &arguments);
    let slice = |b: &mut Builder<'_>, v: Value| b.add(Op::Slice { axis: l.axis, start: others, into: rest }, &[v]);
    let slices: Vec<Value> = inputs[l.carries..fixed].iter().map(|&v| slice(b, v)).collect();
    let given: Vec<Value> = before[..l.carries].iter().chain(&slices).chain(&inputs[fixed..]).copied().collect();
    let after = b.repeat(Loop { axis: rest, ..l.clone() }, &given);
    let mut results = after[..l.carries].to_vec();
    for (&before, &after) in before[l.carries..].iter().zip(&after[l.carries..]) {
        let shape = b.shape(before).with(one);
        let before = spread(b, before, &shape);
        let (axes, parts) = if l.reverse { (vec![rest, one], [after, before]) } else { (vec![one, rest], [before, after]) };
        results.push(b.add(Op::Concat { axes, into: l.axis }, &parts));
    }
    results
}

/// `value` at one position of an axis.
fn at(b: &mut Builder<'_>, value: Value, axis: AxisId, position: u64, one: AxisId) -> Value {
    if !b.ty(value).dtype.is_float() {
        let position = b.int(i32::try_from(position).unwrap_or(i32::MAX));
        return b.add(Op::Gather(axis), &[value, position]);
    }
    let slice = b.add(Op::Slice { axis, start: position, into: one }, &[value]);
    b.reduce(ReduceFn::Sum, slice, &[one])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse::parse, sample, text::print_plain, verify::verify};

    fn stack(depth: u64, reverse: &str) -> String {
        format!(
            "axis t = 90\naxis depth = {depth}\naxis v = 5\naxis a = 4\naxis c = 4\n%0 = input at : i32[t]\n%1 = param e : f32[v, a]\n\
             %2 = gather %1, %0 along v : f32[t, a]\n%3 = param w : f32[depth, a, c]\n%4 = iota depth : i32[depth]\n\
             %5 = repeat{reverse} along depth carry [%2] stacked [%3, %4] with [] : f32[t, a] {{\n%0 = argument 0 : f32[t, a]\n\
             %1 = argument 1 : f32[a, c]\n%2 = contract %0, %1 over [a] : f32[t, c]\n%3 = rename %2 [c as a] : f32[t, a]\n\
             yield [%3] collect [%2]\n}}\n\
             %6 = project 0 of %5 : f32[t, a]\n%7 = project 1 of %5 : f32[depth, t, c]\noutput y [t, a] = %6\n\
             output z [depth, t, c] = %7\n"
        )
    }

    #[test]
    fn the_first_layer_stands_before_the_others() {
        for (depth, reverse) in [(2, ""), (3, ""), (5, " backwards")] {
            let graph = parse(&stack(depth, reverse)).unwrap_or_else(|e| panic!("{e}"));
            verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
            let new = peel_always(&graph);
            verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
            let text = print_plain(&new);
            assert_eq!(text.matches("repeat").count(), 1, "{text}");
            assert!(text.contains(&format!("axis depth.3 = {}\n", depth - 1)), "{text}");
            assert!(text.contains(&format!("repeat{reverse} along depth.3")), "{text}");
            assert_eq!(print_plain(&peel(&graph)), print_plain(&graph), "too little to be worth it");
        }
    }

    #[test]
    fn what_stays_is_well_formed() {
        for seed in 0..300 {
            let new = peel_always(&sample::graph(seed, 50));
            verify(&new).unwrap_or_else(|e| panic!("{seed}: {}\n{}", e[0], print_plain(&new)));
        }
    }
}
