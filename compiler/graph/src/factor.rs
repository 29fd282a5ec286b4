//! Sums and differences of two products with one matrix, as one product: `q M - k M` is `(q - k) M`. Only where the matrix moves with the
//! steps of a scan: products with what does not move may leave the loop instead.

use crate::autodiff::activity;
use crate::entity::{AxisId, Value};
use crate::graph::{Graph, Node, Region};
use crate::op::{Loop, MapFn, Op};
use crate::rewrite;
use crate::shape::Shape;

/// Takes the matrix of two products out of their sum or difference, in the bodies of loops.
pub fn factor(graph: &Graph) -> Graph {
    rewrite::loops(graph, &step)
}

fn step(l: &mut Loop) {
    let carries = (0..l.body.nodes.len()).filter(|&i| matches!(l.body.nodes[i].op, Op::Argument(k) if (k as usize) < l.carries));
    let moves = activity::dependents(&l.body, carries.map(|i| Value(i as u32)));
    for i in 0..l.body.nodes.len() {
        let Some(found) = product(&l.body, i, &moves) else { continue };
        let Found { sum, place, over, matrix } = found;
        l.body.nodes[place.index()] = sum;
        let node = &mut l.body.nodes[i];
        (node.op, node.inputs) = (Op::Contract(over), [place, matrix].as_slice().into());
    }
}

/// What a sum of products becomes: the sum of the other factors, in the place of a product that nothing else reads, times the matrix.
struct Found {
    sum: Node,
    place: Value,
    over: Vec<AxisId>,
    matrix: Value,
}

fn product(body: &Region, i: usize, moves: &[bool]) -> Option<Found> {
    let node = &body.nodes[i];
    let (Op::Map(f @ (MapFn::Add | MapFn::Sub)), &[x, y]) = (&node.op, node.inputs.as_slice()) else { return None };
    let (Op::Contract(over), Op::Contract(other)) = (&body.node(x).op, &body.node(y).op) else { return None };
    let alone = |v: Value| {
        let readers = body.nodes.iter().flat_map(|n| &n.inputs).chain(&body.results).filter(|u| **u == v);
        readers.count() == 1
    };
    if Shape::of(over.iter().copied()) != Shape::of(other.iter().copied()) || x == y || !alone(x) || !alone(y) {
        return None;
    }
    let (&[a, b], &[c, d]) = (body.node(x).inputs.as_slice(), body.node(y).inputs.as_slice()) else { return None };
    let pairs = [(a, b, c, d), (a, b, d, c), (b, a, c, d), (b, a, d, c)];
    let (p, matrix, q, _) = pairs.into_iter().find(|&(p, m, q, n)| {
        let larger = body.ty(m).shape.rank() > body.ty(p).shape.rank();
        m == n && moves[m.index()] && larger && body.ty(p) == body.ty(q)
    })?;
    let sum = Node { op: Op::Map(*f), inputs: [p, q].as_slice().into(), ty: body.ty(p).clone(), origin: node.origin.clone() };
    // The later product comes after both factors.
    Some(Found { sum, place: x.max(y), over: over.clone(), matrix })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, text::print_plain, verify::verify};

    fn after(step: &str) -> String {
        let text = format!(
            "axis t = 5\naxis k = 6\naxis v = 8\n%0 = input s : f32[k, v]\n%1 = input q : f32[t, k]\n%2 = input w : f32[k, v]\n\
             %3 = scan along t carry [%0] stacked [%1] with [%2] : f32[k, v] {{\n%0 = argument 0 : f32[k, v]\n%1 = argument 1 : f32[k]\n\
             %2 = argument 2 : f32[k, v]\n%3 = neg %1 : f32[k]\n%4 = contract %1, {step} over [k] : f32[v]\n\
             %5 = contract {step}, %3 over [k] : f32[v]\n%6 = sub %4, %5 : f32[v]\n%7 = mul %1, %6 : f32[k, v]\n%8 = add %0, %7 : f32[k, v]\n\
             yield [%8] collect [%6]\n}}\n%4 = project 0 of %3 : f32[k, v]\n%5 = project 1 of %3 : f32[t, v]\n\
             output s [k, v] = %4\noutput y [t, v] = %5\n"
        );
        let graph = parse(&text).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&factor(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    #[test]
    fn two_products_with_a_state_are_one() {
        let new = after("%0");
        assert_eq!(new.matches("contract").count(), 1, "{new}");
    }

    #[test]
    fn products_with_what_does_not_move_stay() {
        let new = after("%2");
        assert_eq!(new.matches("contract").count(), 2, "{new}");
    }
}
