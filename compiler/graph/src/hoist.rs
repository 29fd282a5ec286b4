//! Carries out of loops what is the same in every iteration: values of a body that depend on invariants and constants only.
//!
//! A value moves where that saves work: something in it is more than cheap arithmetic, or it is arithmetic on invariants that does not
//! make them larger. Positions and masks made of positions stay inside, where they cost nothing to compute and much to read.

use crate::build::Builder;
use crate::entity::Value;
use crate::graph::{Axis, Graph, Node, Region};
use crate::op::{Loop, MapFn, Op};
use crate::rewrite::{self, New, Rewrite};
use crate::shape::Shape;
use crate::verify::is_multiple;
use std::collections::BTreeMap;

/// Hoists out of every loop, innermost first.
pub fn hoist(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Hoist)
}

struct Hoist;

impl Rewrite for Hoist {
    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        New::One(match &node.op {
            Op::Loop(l) => {
                let (l, inputs) = out_of(b, l, &node.inputs);
                b.region.push(Node { op: Op::Loop(Box::new(l)), inputs: inputs.into(), ..node })
            }
            _ => b.region.push(node),
        })
    }
}

/// How a value of a body depends on the iteration.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// On the iteration.
    Varying,
    /// Not, and computing it again is free: constants, positions, invariants, views of them.
    Free,
    /// Not, and moving it saves work.
    Worth,
}

fn kinds(axes: &[Axis], l: &Loop) -> Vec<Kind> {
    let size = |shape: &Shape| shape.iter().fold(1u64, |n, a| n.saturating_mul(axes[a.index()].size));
    let mut kinds: Vec<Kind> = Vec::with_capacity(l.body.nodes.len());
    // Whether an invariant or something worth moving is in it.
    let mut weighty: Vec<bool> = Vec::with_capacity(l.body.nodes.len());
    for node in &l.body.nodes {
        let of = |v: &Value| kinds[v.index()];
        let heavy = node.inputs.iter().filter(|v| weighty[v.index()]).map(|&v| size(&l.body.ty(v).shape)).max();
        let kind = match &node.op {
            Op::Argument(i) if (*i as usize) < l.carries + l.stacked => Kind::Varying,
            _ if node.inputs.iter().any(|v| of(v) == Kind::Varying) => Kind::Varying,
            Op::Argument(_) | Op::Const(_) | Op::Iota(_) => Kind::Free,
            Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } | Op::Slice { .. } => node.inputs.first().map_or(Kind::Free, of),
            Op::Map(f) if is_cheap(*f) => {
                if heavy.is_some_and(|largest| size(&node.ty.shape) <= largest) {
                    Kind::Worth
                } else {
                    Kind::Free
                }
            }
            Op::Project(_) => of(&node.inputs[0]),
            Op::Input(_) | Op::Param(_) => panic!("a fault in ogive: a port inside a loop"),
            Op::Random(_)
            | Op::Map(_)
            | Op::Reduce(..)
            | Op::ArgMax(_)
            | Op::Contract(_)
            | Op::Solve { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Gather(_)
            | Op::ScatterAdd { .. }
            | Op::TopK { .. }
            | Op::Route { .. }
            | Op::Routed { .. }
            | Op::RoutedOuter { .. }
            | Op::Softmax(_)
            | Op::LogSumExp(_)
            | Op::Attend(_)
            | Op::AttendGrad(_)
            | Op::Loop(_) => Kind::Worth,
        };
        weighty.push(kind == Kind::Worth || heavy.is_some() || matches!(node.op, Op::Argument(_)));
        kinds.push(kind);
    }
    kinds
}

fn is_cheap(f: MapFn) -> bool {
    use MapFn::{Cos, Erf, Exp, Log, Pow, Sigmoid, Sin, Tanh};
    !matches!(f, Exp | Log | Sin | Cos | Tanh | Sigmoid | Erf | Pow)
}

/// The loop without what was hoisted, and its operands; the hoisted nodes stand in the outer region.
fn out_of(b: &mut Builder<'_>, l: &Loop, inputs: &[Value]) -> (Loop, Vec<Value>) {
    let kinds = kinds(b.axes, l);
    let worth = |v: Value| kinds[v.index()] == Kind::Worth && !is_multiple(&l.body.node(v).op);
    let readers = l.body.nodes.iter().enumerate().filter(|(i, _)| kinds[*i] != Kind::Worth).flat_map(|(_, n)| n.inputs.iter().copied());
    let mut leaving: Vec<Value> = readers.chain(l.body.results.iter().copied()).filter(|&v| worth(v)).collect();
    leaving.sort_unstable();
    leaving.dedup();
    let mut inputs = inputs.to_vec();
    if leaving.is_empty() {
        return (l.clone(), inputs);
    }
    let mut outside: BTreeMap<Value, Value> = BTreeMap::new();
    let mut arguments: BTreeMap<Value, u32> = BTreeMap::new();
    for &v in &leaving {
        let moved = copy(b, &l.body, &inputs, v, &mut outside);
        arguments.insert(v, inputs.len() as u32);
        inputs.push(moved);
    }
    let mut body = l.body.clone();
    for (v, argument) in arguments {
        let node = &mut body.nodes[v.index()];
        node.op = Op::Argument(argument);
        node.inputs.clear();
    }
    (Loop { body, ..l.clone() }, inputs)
}

/// A fixed value of the body, computed outside.
fn copy(b: &mut Builder<'_>, body: &Region, inputs: &[Value], value: Value, outside: &mut BTreeMap<Value, Value>) -> Value {
    if let Some(&done) = outside.get(&value) {
        return done;
    }
    let node = body.node(value);
    let new = match node.op {
        Op::Argument(i) => inputs[i as usize],
        _ => {
            let operands = node.inputs.iter().map(|&v| copy(b, body, inputs, v, outside)).collect();
            b.region.push(Node { inputs: operands, ..node.clone() })
        }
    };
    outside.insert(value, new);
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, sample, text::print_plain, verify::verify};

    fn after(text: &str) -> Graph {
        let graph = parse(text).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&hoist(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        new
    }

    fn body(graph: &Graph) -> &Region {
        let found = graph.region.nodes.iter().find_map(|n| if let Op::Loop(l) = &n.op { Some(&l.body) } else { None });
        found.unwrap_or_else(|| panic!("no loop"))
    }

    const HEAD: &str = "axis t = 9\naxis a = 4\naxis c = 5\n%0 = input x : f32[a]\n%1 = param w : f32[a, c]\n";

    #[test]
    fn a_contraction_of_invariants_leaves_the_loop_once() {
        let text = format!(
            "{HEAD}%2 = input v : f32[c]\n%3 = repeat along t carry [%0] stacked [] with [%1, %2] : f32[a] {{\n%0 = argument 0 : f32[a]\n\
             %1 = argument 1 : f32[a, c]\n%2 = argument 2 : f32[c]\n%3 = contract %1, %2 over [c] : f32[a]\n%4 = tanh %3 : f32[a]\n\
             %5 = add %0, %4 : f32[a]\nyield [%5] collect []\n}}\n%4 = project 0 of %3 : f32[a]\noutput y [a] = %4\n"
        );
        let new = after(&text);
        assert_eq!(body(&new).nodes.len(), 3);
        assert!(print_plain(&new).contains("%4 = tanh %3 : f32[a]\n%5 = repeat along t carry [%0] stacked [] with [%4] : f32[a]"));
    }

    #[test]
    fn masks_made_of_positions_stay_inside() {
        let text = format!(
            "{HEAD}%2 = repeat along t carry [%0] stacked [] with [] : f32[a] {{\n%0 = argument 0 : f32[a]\n%1 = iota a : i32[a]\n\
             %2 = const 2 : i32[]\n%3 = le %1, %2 : bool[a]\n%4 = const 0.0 : f32[]\n%5 = where %3, %0, %4 : f32[a]\nyield [%5] collect []\n}}\n\
             %3 = project 0 of %2 : f32[a]\noutput y [a] = %3\n"
        );
        assert_eq!(body(&after(&text)).nodes.len(), 6);
    }

    #[test]
    fn arithmetic_that_makes_invariants_larger_stays_inside() {
        let text = format!(
            "{HEAD}%2 = input v : f32[c]\n%3 = repeat along t carry [%1] stacked [] with [%0, %2] : f32[a, c] {{\n%0 = argument 0 : f32[a, c]\n\
             %1 = argument 1 : f32[a]\n%2 = argument 2 : f32[c]\n%3 = neg %1 : f32[a]\n%4 = mul %3, %2 : f32[a, c]\n%5 = add %0, %4 : f32[a, c]\n\
             yield [%5] collect []\n}}\n%4 = project 0 of %3 : f32[a, c]\noutput y [a, c] = %4\n"
        );
        let new = after(&text);
        assert!(print_plain(&new).contains("%3 = neg %0 : f32[a]\n%4 = repeat"), "{}", print_plain(&new));
        assert_eq!(body(&new).nodes.len(), 5);
    }

    #[test]
    fn what_is_fixed_for_two_loops_leaves_both() {
        let text = format!("{HEAD}axis u = 2\n");
        let text = text.replace("axis u = 2\n", "").replace("axis a = 4", "axis a = 4\naxis u = 2");
        let text = format!(
            "{text}%2 = repeat along t carry [%0] stacked [] with [%1] : f32[a] {{\n%0 = argument 0 : f32[a]\n%1 = argument 1 : f32[a, c]\n\
             %2 = repeat along u carry [%0] stacked [] with [%1] : f32[a] {{\n%0 = argument 0 : f32[a]\n%1 = argument 1 : f32[a, c]\n\
             %2 = sum %1 over [c] : f32[a]\n%3 = mul %0, %2 : f32[a]\nyield [%3] collect []\n}}\n%3 = project 0 of %2 : f32[a]\nyield [%3] collect []\n}}\n\
             %3 = project 0 of %2 : f32[a]\noutput y [a] = %3\n"
        );
        assert!(print_plain(&after(&text)).contains("\n%2 = sum %1 over [c] : f32[a]\n%3 = repeat"));
    }

    #[test]
    fn what_varies_or_draws_by_iteration_stays() {
        let text = "axis t = 9\naxis a = 4\n%0 = input x : f32[a]\n%1 = iota t : i32[t]\n\
            %2 = repeat along t carry [%0] stacked [%1] with [] : f32[a] {\n%0 = argument 0 : f32[a]\n%1 = argument 1 : i32[]\n\
            %2 = uniform site 3 order [a] at [%1] : f32[a]\n%3 = mul %0, %2 : f32[a]\nyield [%3] collect []\n}\n\
            %3 = project 0 of %2 : f32[a]\noutput y [a] = %3\n";
        assert_eq!(body(&after(text)).nodes.len(), 4);
    }

    #[test]
    fn what_stays_is_well_formed() {
        for seed in 0..300 {
            let new = hoist(&sample::graph(seed, 50));
            verify(&new).unwrap_or_else(|e| panic!("{seed}: {}\n{}", e[0], print_plain(&new)));
            verify(&dce(&new)).unwrap();
        }
    }
}
