//! Softmax and log sum exp as element-wise and reduction nodes, which fuse with what surrounds them.
//!
//! Stops of gradients go as well: differentiation is over.
//!
//! With m = max(x): softmax(x) = exp(x - m) / sum(exp(x - m)); logsumexp(x) = m + log(sum(exp(x - m))).
//! In a row that is masked altogether m is taken as the lowest finite number, and the sum, which is 1 at least in every other row, as 1.

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::expand;
use crate::graph::{Graph, Node};
use crate::op::{MapFn, Op, ReduceFn};
use crate::rewrite::{self, New, Rewrite};

/// Replaces every `Softmax`, `LogSumExp` and `StopGradient`, in loop bodies too.
pub fn decompose(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Decompose)
}

struct Decompose;

impl Rewrite for Decompose {
    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        New::One(match &node.op {
            Op::Softmax(over) => {
                let (shifted, _) = shifted(b, node.inputs[0], over);
                let sum = b.reduce(ReduceFn::Sum, shifted, over);
                let one = b.float(1.0, node.ty.dtype);
                let sum = b.map(MapFn::Max, &[sum, one]);
                b.map(MapFn::Div, &[shifted, sum])
            }
            Op::LogSumExp(over) => {
                let (shifted, max) = shifted(b, node.inputs[0], over);
                let sum = b.reduce(ReduceFn::Sum, shifted, over);
                let log = b.map(MapFn::Log, &[sum]);
                b.map(MapFn::Add, &[max, log])
            }
            Op::Map(MapFn::StopGradient) => node.inputs[0],
            _ => b.region.push(node),
        })
    }
}

/// `exp(x - max(x))` and `max(x)`.
fn shifted(b: &mut Builder<'_>, x: Value, over: &[AxisId]) -> (Value, Value) {
    let max = b.reduce(ReduceFn::Max, x, over);
    let max = expand::finite(b, max);
    let less = b.map(MapFn::Sub, &[x, max]);
    (b.map(MapFn::Exp, &[less]), max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse::parse, text::print_plain, verify::verify};

    #[test]
    fn softmax_becomes_plain_nodes() {
        let graph = parse("axis a = 4\n%0 = input x : f32[a]\n%1 = softmax %0 over [a] : f32[a]\noutput y [a] = %1\n").unwrap();
        let expected = "axis a = 4\n\n%0 = input x : f32[a]\n%1 = max %0 over [a] : f32[]\n%2 = const -3.4028234663852886e38 : f32[]\n\
                        %3 = max %1, %2 : f32[]\n%4 = sub %0, %3 : f32[a]\n%5 = exp %4 : f32[a]\n%6 = sum %5 over [a] : f32[]\n\
                        %7 = const 1.0 : f32[]\n%8 = max %6, %7 : f32[]\n%9 = div %5, %8 : f32[a]\n\noutput y [a] = %9\n";
        assert_eq!(print_plain(&decompose(&graph)), expected);
    }

    #[test]
    fn log_sum_exp_inside_a_loop_keeps_type_and_origin() {
        let text = "axis a = 4\naxis t = 3\n%0 = input x : f32[t, a]\n%1 = scan along t carry [] stacked [%0] with [] : f32[t] {\n\
                    %0 = argument 0 : f32[a]\n%1 = logsumexp %0 over [a] : f32[] @ p f:1 2..3\nyield [] collect [%1]\n}\n\
                    %2 = project 0 of %1 : f32[t]\noutput y [t] = %2\n";
        let graph = decompose(&parse(text).unwrap());
        verify(&graph).unwrap();
        let Op::Loop(l) = &graph.region.nodes[1].op else { panic!("no loop") };
        assert_eq!(l.body.nodes.len(), 9);
        assert!(l.body.nodes[1..].iter().all(|n| &*n.origin.path == "p"));
    }
}
