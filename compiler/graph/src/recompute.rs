//! Cheap functions of what lies in memory are computed again where a sum over everything reads them beside others. The sum of squared
//! gradients is such a sum: its result decides what becomes of values that are computed from the same squares, so that one kernel cannot hold
//! both, and the squares would have to lie in memory between two.

use crate::build::Builder;
use crate::entity::Value;
use crate::graph::{Graph, Node, Region};
use crate::op::{MapFn, Op};
use crate::rewrite::{self, New, Rewrite};

/// Repeats such functions, in loop bodies too.
pub fn recompute(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Recompute::default())
}

#[derive(Default)]
struct Recompute {
    /// Per open region: operand and number of readers of each node.
    regions: Vec<Vec<(Option<Value>, usize)>>,
}

impl Rewrite for Recompute {
    fn enter(&mut self, region: &Region, read: &[Value]) {
        let mut nodes: Vec<(Option<Value>, usize)> = region.nodes.iter().map(|n| (n.inputs.first().copied(), 0)).collect();
        for v in region.nodes.iter().flat_map(|n| &n.inputs).chain(read) {
            nodes[v.index()].1 += 1;
        }
        self.regions.push(nodes);
    }

    fn leave(&mut self) {
        self.regions.pop();
    }

    fn node(&mut self, b: &mut Builder<'_>, mut node: Node, old: Value) -> New {
        let whole = matches!(node.op, Op::Reduce(..)) && node.ty.shape.is_scalar();
        let nodes = self.regions.last().map_or(&[][..], Vec::as_slice);
        let readers = nodes[old.index()].0.map_or(0, |operand| nodes[operand.index()].1);
        if whole && readers > 1 {
            let operand = b.region.node(node.inputs[0]).clone();
            if is_cheap(b, &operand) {
                node.inputs[0] = b.region.push(operand);
            }
        }
        New::One(b.region.push(node))
    }
}

/// Whether a node is one instruction on values that have memory.
fn is_cheap(b: &Builder<'_>, node: &Node) -> bool {
    let function = matches!(node.op, Op::Map(MapFn::Mul | MapFn::Add | MapFn::Sub | MapFn::Abs | MapFn::Neg | MapFn::Cast));
    let in_memory = |v: &Value| {
        matches!(
            b.region.node(*v).op,
            Op::Input(_) | Op::Param(_) | Op::Argument(_) | Op::Project(_) | Op::Const(_) | Op::ScatterAdd { .. } | Op::Contract(_)
        )
    };
    function && node.inputs.iter().all(in_memory)
}

#[cfg(test)]
mod tests {
    use super::recompute;
    use crate::parse::parse;
    use crate::text::print_plain;

    #[test]
    fn squares_that_a_sum_and_others_read_are_written_twice() {
        let text = "axis a = 4\n%0 = input g : f32[a]\n%1 = mul %0, %0 : f32[a]\n%2 = sum %1 over [a] : f32[]\n%3 = sqrt %1 : f32[a]\n\
                    output n [] = %2\noutput r [a] = %3\n";
        let printed = print_plain(&recompute(&parse(text).unwrap()));
        assert_eq!(printed.matches("mul %0, %0").count(), 2, "{printed}");
    }

    #[test]
    fn what_only_the_sum_reads_stays_as_it_is() {
        let text = "axis a = 4\n%0 = input g : f32[a]\n%1 = mul %0, %0 : f32[a]\n%2 = sum %1 over [a] : f32[]\noutput n [] = %2\n";
        let graph = parse(text).unwrap();
        assert_eq!(recompute(&graph), graph);
    }
}
