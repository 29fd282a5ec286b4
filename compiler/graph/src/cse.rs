//! Equal nodes become one: hash-consing within each region, loop bodies included.
//!
//! Two nodes are equal when their text is, apart from origins and the order of operands of commutative functions. Random nodes with equal
//! fields draw the same numbers, so they are equal too.

use crate::build::Builder;
use crate::entity::Value;
use crate::graph::{Graph, Node, Region};
use crate::op::{MapFn, Op};
use crate::rewrite::{self, New, Rewrite};
use crate::text;
use std::collections::BTreeMap;

/// Merges equal nodes into the first of them, which keeps its origin.
pub fn cse(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    arguments(&mut graph.region);
    rewrite::graph(&graph, &mut Cse { labels: text::labels(&graph.axes), seen: Vec::new() })
}

/// Operands that a loop is given twice in the same way are read as the first.
fn arguments(region: &mut Region) {
    for node in &mut region.nodes {
        let Op::Loop(l) = &mut node.op else { continue };
        arguments(&mut l.body);
        let invariant = l.carries + l.stacked;
        let first = |place: usize| {
            let start = if place < l.carries {
                place
            } else if place < invariant {
                l.carries
            } else {
                invariant
            };
            (start..place).find(|&p| node.inputs[p] == node.inputs[place]).unwrap_or(place)
        };
        for argument in &mut l.body.nodes {
            if let Op::Argument(place) = &mut argument.op {
                *place = first(*place as usize) as u32;
            }
        }
    }
}

struct Cse {
    labels: Vec<String>,
    /// One table for each region that is open.
    seen: Vec<BTreeMap<String, Value>>,
}

impl Rewrite for Cse {
    fn enter(&mut self, _region: &Region, _read: &[Value]) {
        self.seen.push(BTreeMap::new());
    }

    fn leave(&mut self) {
        self.seen.pop();
    }

    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        let key = text::node_text(&self.labels, &ordered(&node));
        let Some(seen) = self.seen.last_mut() else { panic!("a fault in ogive: a node outside every region") };
        New::One(*seen.entry(key).or_insert_with(|| b.region.push(node)))
    }
}

/// The node with operands in an order that does not depend on how it was written.
fn ordered(node: &Node) -> Node {
    use MapFn::{Add, And, Eq, Max, Min, Mul, Ne, Or};
    let mut node = node.clone();
    if matches!(node.op, Op::Map(Add | Mul | Max | Min | Eq | Ne | And | Or) | Op::Contract(_)) {
        node.inputs.sort_unstable();
    }
    match &mut node.op {
        Op::Reduce(_, over) | Op::Contract(over) | Op::Softmax(over) | Op::LogSumExp(over) => over.sort_unstable(),
        Op::Routed { over, .. } => over.sort_unstable(),
        Op::ScatterAdd { keep, .. } | Op::RoutedOuter { keep, .. } => keep.sort_unstable(),
        _ => {}
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, sample, text::print_plain, verify::verify};

    fn nodes_after(text: &str) -> usize {
        let graph = parse(text).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&cse(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        new.region.nodes.len()
    }

    #[test]
    fn equal_nodes_become_one_whatever_their_origin_or_order() {
        let text = "axis a = 2\naxis c = 3\n%0 = input x : f32[a, c]\n%1 = input y : f32[a, c]\n%2 = mul %0, %1 : f32[a, c] @ p f:1 1..2\n\
                    %3 = mul %1, %0 : f32[a, c] @ q f:2 3..4\n%4 = sum %2 over [a, c] : f32[]\n%5 = sum %3 over [c, a] : f32[]\n%6 = add %4, %5 : f32[]\n\
                    output z [] = %6\n";
        assert_eq!(nodes_after(text), 5);
    }

    #[test]
    fn operands_that_a_loop_is_given_twice_are_one() {
        let text = "axis t = 4\naxis k = 3\n%0 = input s : f32[k]\n%1 = input x : f32[t, k]\n\
                    %2 = scan along t carry [%0] stacked [%1, %1] with [%0, %0] : f32[k] {\n%0 = argument 0 : f32[k]\n%1 = argument 1 : f32[k]\n\
                    %2 = argument 2 : f32[k]\n%3 = argument 3 : f32[k]\n%4 = argument 4 : f32[k]\n%5 = mul %1, %3 : f32[k]\n%6 = mul %2, %4 : f32[k]\n\
                    %7 = add %5, %6 : f32[k]\n%8 = add %0, %7 : f32[k]\nyield [%8] collect []\n}\n%3 = project 0 of %2 : f32[k]\noutput s [k] = %3\n";
        let graph = parse(text).unwrap();
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = print_plain(&dce(&cse(&graph)));
        assert!(new.contains("stacked [%1] with [%0]") && new.matches("= mul").count() == 1, "{new}");
    }

    #[test]
    fn operands_that_do_not_commute_keep_nodes_apart() {
        let text = "%0 = input x : f32[]\n%1 = input y : f32[]\n%2 = sub %0, %1 : f32[]\n%3 = sub %1, %0 : f32[]\n%4 = mul %2, %3 : f32[]\noutput z [] = %4\n";
        assert_eq!(nodes_after(text), 5);
    }

    #[test]
    fn random_nodes_are_one_only_where_site_and_inputs_are_equal() {
        let draws = |second: &str| {
            format!(
                "axis a = 2\n%0 = const 1 : i32[]\n%1 = uniform site 7 order [a] at [%0] : f32[a]\n%2 = {second} : f32[a]\n\
                 %3 = add %1, %2 : f32[a]\noutput z [a] = %3\n"
            )
        };
        assert_eq!(nodes_after(&draws("uniform site 7 order [a] at [%0]")), 3);
        assert_eq!(nodes_after(&draws("uniform site 8 order [a] at [%0]")), 4);
        assert_eq!(nodes_after(&draws("normal site 7 order [a] at [%0]")), 4);
        assert_eq!(nodes_after(&draws("uniform site 7 order [a] at []")), 4);
    }

    #[test]
    fn equal_loops_and_equal_nodes_in_bodies_become_one() {
        let body =
            "{\n%0 = argument 0 : f32[]\n%1 = exp %0 : f32[]\n%2 = exp %0 : f32[]\n%3 = add %1, %2 : f32[]\nyield [%3] collect []\n}\n";
        let repeat = format!("repeat along d carry [%0] stacked [] with [] : f32[] {body}");
        let text = format!(
            "axis d = 2\n%0 = input x : f32[]\n%1 = {repeat}%2 = project 0 of %1 : f32[]\n%3 = {repeat}%4 = project 0 of %3 : f32[]\n\
             %5 = add %2, %4 : f32[]\noutput z [] = %5\n"
        );
        assert_eq!(nodes_after(&text), 4);
    }

    #[test]
    fn what_stays_is_well_formed_and_a_second_run_changes_nothing() {
        for seed in 0..300 {
            let once = cse(&sample::graph(seed, 50));
            verify(&once).unwrap_or_else(|e| panic!("{seed}: {}\n{}", e[0], print_plain(&once)));
            assert_eq!(cse(&once), once);
        }
    }
}
