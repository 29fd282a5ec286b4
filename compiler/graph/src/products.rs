//! Sums of products with a value in memory, as contractions: the matrix of products is then never written, nor walked in rows.
//!
//! A fused kernel keeps products in registers where it makes one of the factors itself or walks the matrix for another reason; those sums stay
//! as they are.

use crate::autodiff::activity;
use crate::entity::Value;
use crate::graph::{Graph, Node, Region};
use crate::op::{Loop, MapFn, Op, ReduceFn};
use crate::rewrite;
use crate::shape::Shape;
use std::collections::BTreeMap;

/// Turns sums of products in the bodies of loops into contractions.
pub fn products(graph: &Graph) -> Graph {
    rewrite::loops(graph, &contract)
}

fn contract(l: &mut Loop) {
    let mut users: BTreeMap<Value, usize> = BTreeMap::new();
    for v in l.body.nodes.iter().flat_map(|n| &n.inputs).chain(&l.body.results) {
        *users.entry(*v).or_default() += 1;
    }
    let body = &l.body;
    let mut found: BTreeMap<Value, Vec<(usize, Node)>> = BTreeMap::new();
    for i in 0..body.nodes.len() {
        if let Some(node) = sum_of_products(body, i, &users) {
            found.entry(node.inputs[0]).or_default().push((i, node));
        }
    }
    found.retain(|&matrix, sums| {
        let dependent = activity::dependents(body, sums.iter().map(|s| Value(s.0 as u32)));
        let summed: Vec<Value> = sums.iter().map(|s| body.nodes[s.0].inputs[0]).collect();
        // One pass over the matrix does for a reader that waits for none of the sums, and for the sums.
        !body.nodes.iter().enumerate().any(|(i, n)| {
            let reads = n.inputs.contains(&matrix) && matches!(n.op, Op::Map(_)) && n.ty.shape == body.ty(matrix).shape;
            reads && !dependent[i] && !summed.contains(&Value(i as u32))
        })
    });
    for (i, node) in found.into_values().flatten() {
        l.body.nodes[i] = node;
    }
}

/// The contraction that a sum is.
fn sum_of_products(body: &Region, i: usize, users: &BTreeMap<Value, usize>) -> Option<Node> {
    let node = &body.nodes[i];
    let Op::Reduce(ReduceFn::Sum, over) = &node.op else { return None };
    let product = body.node(node.inputs[0]);
    let (Op::Map(MapFn::Mul), &[a, b]) = (&product.op, product.inputs.as_slice()) else { return None };
    let (a, b) = if body.ty(a).shape.rank() >= body.ty(b).shape.rank() { (a, b) } else { (b, a) };
    let (whole, part) = (&body.ty(a).shape, &body.ty(b).shape);
    let summed = Shape::of(over.iter().copied());
    let in_memory = matches!(body.node(a).op, Op::Argument(_) | Op::Project(_) | Op::Contract(_));
    let matrix = whole.contains_all(part) && whole.minus(part).rank() > 0 && part.contains_all(&summed) && node.ty.dtype.is_float();
    (in_memory && matrix && users.get(&node.inputs[0]) == Some(&1)).then(|| Node {
        op: Op::Contract(over.clone()),
        inputs: [a, b].as_slice().into(),
        ..node.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, text::print_plain, verify::verify};

    fn after(last: &str, carried: &str) -> String {
        let text = format!(
            "axis t = 5\naxis k = 6\naxis v = 8\n%0 = input s : f32[k, v]\n%1 = input x : f32[t, k]\n\
             %2 = scan along t carry [%0] stacked [%1] with [] : f32[k, v] {{\n%0 = argument 0 : f32[k, v]\n%1 = argument 1 : f32[k]\n\
             %2 = mul %0, %1 : f32[k, v]\n%3 = sum %2 over [k] : f32[v]\n{last}yield [{carried}] collect [%3]\n}}\n\
             %3 = project 0 of %2 : f32[k, v]\n%4 = project 1 of %2 : f32[t, v]\noutput s [k, v] = %3\noutput y [t, v] = %4\n"
        );
        let graph = parse(&text).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&products(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    #[test]
    fn a_sum_that_the_next_state_waits_for_is_a_contraction() {
        let new = after("%4 = mul %1, %3 : f32[k, v]\n%5 = add %0, %4 : f32[k, v]\n", "%5");
        assert!(new.contains("contract %0, %1 over [k] : f32[v]"), "{new}");
    }

    #[test]
    fn a_sum_beside_another_walk_through_the_matrix_stays() {
        let new = after("%4 = neg %0 : f32[k, v]\n", "%4");
        assert!(!new.contains("contract"), "{new}");
    }
}
