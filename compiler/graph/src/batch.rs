//! Takes out of a scan what its steps need not do one by one. Products with parameters (and what precedes or follows them) that do not depend on
//! a carry run before the loop, over all positions at once, and enter it as stacked inputs; products with parameters that no carry depends on
//! run after the loop, on what it collects.
//!
//! What stays is what reads or makes the state. Products of two values of the step stay too: their operands may be whole states.

use crate::build::Builder;
use crate::entity::Value;
use crate::graph::{Axis, Graph, Node};
use crate::op::{Loop, LoopKind, MapFn, Op};
use crate::rewrite::{self, New, Rewrite};
use crate::shape::elements;
use std::collections::{BTreeMap, BTreeSet};

/// How many times larger than what it replaces a new stacked input or a new collected value may be.
const LARGER: u64 = 16;

/// Batches every scan.
pub fn batch(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Batch)
}

struct Batch;

impl Rewrite for Batch {
    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        let Op::Loop(l) = &node.op else { return New::One(b.region.push(node)) };
        if l.kind != LoopKind::Scan {
            return New::One(b.region.push(node));
        }
        let mut inputs = node.inputs.to_vec();
        let l = before(b, l, &mut inputs);
        New::Results(after(b, &l, &inputs))
    }
}

/// What a value of a body depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Depends {
    /// On invariants only.
    Fixed,
    /// On stacked inputs, not on a carry.
    Step,
    /// On a carry.
    Carry,
}

/// What the values of a loop's body depend on.
pub(crate) fn depends(l: &Loop) -> Vec<Depends> {
    let mut out: Vec<Depends> = Vec::with_capacity(l.body.nodes.len());
    for node in &l.body.nodes {
        out.push(match node.op {
            Op::Argument(i) if (i as usize) < l.carries => Depends::Carry,
            Op::Argument(i) if (i as usize) < l.carries + l.stacked => Depends::Step,
            _ => node.inputs.iter().map(|v| out[v.index()]).max().unwrap_or(Depends::Fixed),
        });
    }
    out
}

/// Whether a node means the same for all positions of `axis` at once, given operands that have it.
pub(crate) fn spreads(l: &Loop, node: &Node, varies: impl Fn(Value) -> bool) -> bool {
    let apart = |v: &Value| !l.body.ty(*v).shape.contains(l.axis);
    if node.ty.shape.contains(l.axis) || !node.inputs.iter().all(apart) {
        return false;
    }
    match &node.op {
        Op::Argument(_) | Op::Const(_) | Op::Iota(_) => true,
        Op::Map(_) | Op::Reduce(..) | Op::ArgMax(_) | Op::Contract(_) | Op::Gather(_) | Op::Softmax(_) | Op::LogSumExp(_) => true,
        Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } | Op::Slice { .. } | Op::Pad { .. } => true,
        Op::Solve { .. } => varies(node.inputs[1]),
        // Random numbers of a step are drawn by its number, which is one number.
        Op::Random(_) => false,
        Op::Concat { .. } => node.inputs.iter().all(|&v| varies(v)),
        _ => false,
    }
}

/// Whether a contraction is with a value that is the same in every step, and makes nothing much larger.
fn with_parameter(axes: &[Axis], l: &Loop, depends: &[Depends], node: &Node) -> bool {
    let Op::Contract(_) = node.op else { return false };
    let is_fixed = |v: &&Value| depends[v.index()] == Depends::Fixed;
    let own = node.inputs.iter().find(|v| !is_fixed(v)).map(|&v| elements(axes, &l.body.ty(v).shape));
    node.inputs.iter().any(|v| is_fixed(&v)) && own.is_some_and(|own| size_of(axes, node) <= own.saturating_mul(LARGER))
}

fn size_of(axes: &[Axis], node: &Node) -> u64 {
    elements(axes, &node.ty.shape)
}

/// Which values of a body can be had for all positions at once in the region around it.
pub(crate) fn movable(l: &Loop, depends: &[Depends]) -> Vec<bool> {
    let mut can: Vec<bool> = Vec::with_capacity(depends.len());
    for (i, node) in l.body.nodes.iter().enumerate() {
        can.push(match depends[i] {
            Depends::Fixed => true,
            Depends::Step => spreads(l, node, |v| depends[v.index()] == Depends::Step) && node.inputs.iter().all(|v| can[v.index()]),
            Depends::Carry => false,
        });
    }
    can
}

/// The loop without what can be done before it, which then stands outside.
fn before(b: &mut Builder<'_>, l: &Loop, inputs: &mut Vec<Value>) -> Loop {
    let depends = depends(l);
    let can = movable(l, &depends);
    let mut moves = vec![false; depends.len()];
    for (i, node) in l.body.nodes.iter().enumerate() {
        let varies = |v: Value| depends[v.index()] == Depends::Step;
        let size = |v: &Value| elements(b.axes, &l.body.ty(*v).shape);
        let largest = node.inputs.iter().filter(|&&v| varies(v)).map(size).max().unwrap_or(0);
        let smaller = size_of(b.axes, node) <= largest;
        let follows = node.inputs.iter().any(|v| moves[v.index()]);
        let worth = match &node.op {
            Op::Contract(_) => with_parameter(b.axes, l, &depends, node),
            Op::Gather(_) => depends[node.inputs[0].index()] == Depends::Fixed,
            Op::Map(f) => smaller && (follows || is_dear(*f)),
            Op::Softmax(_) | Op::LogSumExp(_) | Op::Reduce(..) => true,
            _ => follows && smaller,
        };
        moves[i] = can[i] && depends[i] == Depends::Step && worth;
    }
    // Those that something left behind reads.
    let readers = l.body.nodes.iter().enumerate().filter(|(i, _)| !moves[*i]).flat_map(|(_, n)| n.inputs.iter().copied());
    let leaving: BTreeSet<Value> = readers.chain(l.body.results.iter().copied()).filter(|v| moves[v.index()]).collect();
    if leaving.is_empty() {
        return l.clone();
    }
    let mut outside = Outside::new(l, &depends, inputs.clone());
    let first = l.carries + l.stacked;
    let fresh: Vec<Value> = leaving.iter().map(|&v| outside.copy(b, v)).collect();
    let mut body = l.body.clone();
    for node in &mut body.nodes {
        if let Op::Argument(i) = &mut node.op
            && *i as usize >= first
        {
            *i += fresh.len() as u32;
        }
    }
    for (k, v) in leaving.iter().enumerate() {
        let node = &mut body.nodes[v.index()];
        node.op = Op::Argument((first + k) as u32);
        node.inputs.clear();
    }
    inputs.splice(first..first, fresh.iter().copied());
    Loop { body, stacked: l.stacked + fresh.len(), ..l.clone() }
}

fn is_dear(f: MapFn) -> bool {
    use MapFn::{Cos, Erf, Exp, Log, Pow, Sigmoid, Sin, Tanh};
    matches!(f, Exp | Log | Sin | Cos | Tanh | Sigmoid | Erf | Pow)
}

/// Values of a body made for all positions at once in the region around it.
pub(crate) struct Outside<'a> {
    l: &'a Loop,
    depends: &'a [Depends],
    inputs: Vec<Value>,
    made: BTreeMap<Value, Value>,
}

impl<'a> Outside<'a> {
    /// Of a loop that has these operands.
    pub(crate) fn new(l: &'a Loop, depends: &'a [Depends], inputs: Vec<Value>) -> Self {
        Outside { l, depends, inputs, made: BTreeMap::new() }
    }

    /// A value, which has the loop's axis where it depends on the step.
    pub(crate) fn copy(&mut self, b: &mut Builder<'_>, v: Value) -> Value {
        if let Some(&made) = self.made.get(&v) {
            return made;
        }
        let node = self.l.body.node(v);
        let new = match node.op {
            Op::Argument(i) => self.inputs[i as usize],
            _ => {
                let operands = node.inputs.iter().map(|&v| self.copy(b, v)).collect();
                let mut ty = node.ty.clone();
                if self.depends[v.index()] != Depends::Fixed {
                    ty.shape = ty.shape.with(self.l.axis);
                }
                b.region.push(Node { op: node.op.clone(), inputs: operands, ty, origin: node.origin.clone() })
            }
        };
        self.made.insert(v, new);
        new
    }
}

/// The loop, and after it what can be done there; its results.
fn after(b: &mut Builder<'_>, l: &Loop, inputs: &[Value]) -> Vec<Value> {
    let depends = depends(l);
    let moves = late(b.axes, l, &depends);
    let results = &l.body.results;
    let leaving: Vec<bool> = results.iter().enumerate().map(|(k, r)| k >= l.carries && moves[r.index()]).collect();
    // What the moved nodes read of the steps.
    let operands = l.body.nodes.iter().zip(&moves).filter(|(_, m)| **m).flat_map(|(n, _)| n.inputs.iter().copied());
    let given = |v: Value| depends[v.index()] == Depends::Fixed || is_stacked(l, v);
    let needed: BTreeSet<Value> = operands.filter(|v| !moves[v.index()] && !given(*v)).collect();
    let mut body = l.body.clone();
    let stay = results.iter().zip(&leaving).filter(|(_, gone)| !**gone).map(|(&r, _)| r);
    body.results = stay.chain(needed.iter().copied()).collect();
    let stayed = body.results.len() - needed.len();
    let made = b.repeat(Loop { body, ..l.clone() }, inputs);
    let mut outside = Outside::new(l, &depends, inputs.to_vec());
    outside.made.extend(needed.iter().copied().zip(made[stayed..].iter().copied()));
    let mut rest = made[..stayed].iter().copied();
    let mut out = Vec::with_capacity(results.len());
    for (r, gone) in results.iter().zip(&leaving) {
        let value = if *gone { outside.copy(b, *r) } else { rest.next().unwrap_or(*r) };
        out.push(value);
    }
    out
}

fn is_stacked(l: &Loop, v: Value) -> bool {
    matches!(l.body.node(v).op, Op::Argument(i) if (l.carries..l.carries + l.stacked).contains(&(i as usize)))
}

/// The nodes to run after the loop: products with parameters that no carry depends on, and what depends on them.
fn late(axes: &[Axis], l: &Loop, depends: &[Depends]) -> Vec<bool> {
    let count = l.body.nodes.len();
    let mut can: Vec<bool> = l.body.nodes.iter().map(|n| spreads(l, n, |v| depends[v.index()] != Depends::Fixed)).collect();
    for r in &l.body.results[..l.carries] {
        can[r.index()] = false;
    }
    for i in (0..count).rev() {
        if !can[i] {
            for v in &l.body.nodes[i].inputs {
                can[v.index()] = false;
            }
        }
    }
    let mut moves = vec![false; count];
    for (i, node) in l.body.nodes.iter().enumerate() {
        let follows = node.inputs.iter().any(|v| moves[v.index()]);
        let worth = depends[i] != Depends::Fixed && with_parameter(axes, l, depends, node);
        moves[i] = can[i] && (follows || (worth && cheap_to_keep(axes, l, depends, node)));
    }
    moves
}

/// Whether collecting the step's operand of a product costs little beside the product.
fn cheap_to_keep(axes: &[Axis], l: &Loop, depends: &[Depends], node: &Node) -> bool {
    let own = node.inputs.iter().filter(|v| depends[v.index()] != Depends::Fixed).map(|&v| elements(axes, &l.body.ty(v).shape)).max();
    own.is_some_and(|own| own <= size_of(axes, node).saturating_mul(LARGER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, text::print_plain, verify::verify};

    fn after_batch(text: &str) -> String {
        let graph = parse(text).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&batch(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    #[test]
    fn products_with_parameters_leave_on_both_sides_of_the_state() {
        let new = after_batch(
            "axis t = 5\naxis i = 4\naxis h = 6\naxis o = 3\n%0 = input s : f32[h]\n%1 = input x : f32[t, i]\n%2 = param w : f32[i, h]\n\
             %3 = param v : f32[h, o]\n%4 = scan along t carry [%0] stacked [%1] with [%2, %3] : f32[h] {\n%0 = argument 0 : f32[h]\n\
             %1 = argument 1 : f32[i]\n%2 = argument 2 : f32[i, h]\n%3 = argument 3 : f32[h, o]\n%4 = contract %1, %2 over [i] : f32[h]\n\
             %5 = add %0, %4 : f32[h]\n%6 = tanh %5 : f32[h]\n%7 = contract %6, %3 over [h] : f32[o]\n%8 = neg %7 : f32[o]\n\
             yield [%6] collect [%8]\n}\n%5 = project 0 of %4 : f32[h]\n%6 = project 1 of %4 : f32[t, o]\n\
             output s [h] = %5\noutput y [t, o] = %6\n",
        );
        let expected = "%4 = contract %1, %2 over [i] : f32[t, h]\n%5 = scan along t carry [%0] stacked [%4] with [] : f32[h] {\n  \
                        %0 = argument 0 : f32[h]\n  %1 = argument 1 : f32[h]\n  %2 = add %0, %1 : f32[h]\n  %3 = tanh %2 : f32[h]\n  \
                        yield [%3] collect [%3]\n}\n";
        assert!(new.contains(expected), "{new}");
        assert!(new.contains("contract %7, %3 over [h] : f32[t, o]\n%9 = neg %8 : f32[t, o]"), "{new}");
    }

    #[test]
    fn what_the_state_needs_stays() {
        let new = after_batch(
            "axis t = 5\naxis i = 4\naxis h = 4\n%0 = input s : f32[h]\n%1 = input x : f32[t, i]\n%2 = param w : f32[h, i]\n\
             %3 = scan along t carry [%0] stacked [%1] with [%2] : f32[h] {\n%0 = argument 0 : f32[h]\n%1 = argument 1 : f32[i]\n\
             %2 = argument 2 : f32[h, i]\n%3 = contract %0, %2 over [h] : f32[i]\n%4 = add %3, %1 : f32[i]\n%5 = rename %4 [i as h] : f32[h]\n\
             yield [%5] collect []\n}\n%4 = project 0 of %3 : f32[h]\noutput s [h] = %4\n",
        );
        assert!(new.contains("  %3 = contract %0, %2 over [h]"), "{new}");
    }
}
