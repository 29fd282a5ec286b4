//! Repetitions of layers written out, one application behind the other, where a layer holds a scan along a given axis: real-time
//! recurrent learning carries the sensitivities of each layer from segment to segment by themselves.

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Graph, Node, Region};
use crate::op::{Loop, LoopKind, MapFn, Op};
use crate::rewrite::{self, New, Rewrite};

/// The same graph without repetitions around scans along `axis` that have a state.
pub fn unroll(graph: &Graph, axis: AxisId) -> Graph {
    rewrite::graph(graph, &mut Unroll { axis })
}

struct Unroll {
    axis: AxisId,
}

impl Rewrite for Unroll {
    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        match &node.op {
            Op::Loop(l) if l.kind == LoopKind::Repeat && holds(&l.body, self.axis) => New::Results(written_out(b, l, &node.inputs)),
            _ => New::One(b.region.push(node)),
        }
    }
}

fn holds(region: &Region, axis: AxisId) -> bool {
    region.nodes.iter().any(|n| match &n.op {
        Op::Loop(l) => (l.kind == LoopKind::Scan && l.axis == axis && l.carries > 0) || holds(&l.body, axis),
        _ => false,
    })
}

/// The results of a loop: final carries, then what is collected.
fn written_out(b: &mut Builder<'_>, l: &Loop, inputs: &[Value]) -> Vec<Value> {
    let size = i32::try_from(b.axes[l.axis.index()].size).unwrap_or(i32::MAX);
    let fixed = l.carries + l.stacked;
    let mut carries = inputs[..l.carries].to_vec();
    let mut collected: Vec<Option<Value>> = vec![None; l.body.results.len() - l.carries];
    let positions: Vec<i32> = if l.reverse { (0..size).rev().collect() } else { (0..size).collect() };
    for position in positions {
        let at = b.int(position);
        let slices: Vec<Value> = inputs[l.carries..fixed].iter().map(|&v| b.add(Op::Gather(l.axis), &[v, at])).collect();
        let arguments: Vec<Value> = carries.iter().chain(&slices).chain(&inputs[fixed..]).copied().collect();
        let results = applied(b, &l.body, &arguments);
        carries.copy_from_slice(&results[..l.carries]);
        for (sum, &value) in collected.iter_mut().zip(&results[l.carries..]) {
            let rows = b.add(Op::Iota(l.axis), &[]);
            let here = b.map(MapFn::Eq, &[rows, at]);
            *sum = Some(b.map(MapFn::Where, &[here, value, sum.unwrap_or(value)]));
        }
    }
    carries.into_iter().chain(collected.into_iter().flatten()).collect()
}

/// The body on these arguments.
pub(crate) fn applied(b: &mut Builder<'_>, body: &Region, arguments: &[Value]) -> Vec<Value> {
    let mut to: Vec<Value> = Vec::with_capacity(body.nodes.len());
    for node in &body.nodes {
        to.push(match &node.op {
            Op::Argument(i) => arguments[*i as usize],
            _ => b.region.push(Node { inputs: node.inputs.iter().map(|v| to[v.index()]).collect(), ..node.clone() }),
        });
    }
    body.results.iter().map(|v| to[v.index()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse::parse, text::print_plain, verify::verify};

    const STACK: &str = "axis t = 4\naxis depth = 3\naxis a = 2\n%0 = input x : f32[t, a]\n%1 = param w : f32[depth, a]\n\
        %2 = const 0.0 : f32[]\n\
        %3 = repeat along depth carry [%0] stacked [%1] with [%2] : f32[t, a] {\n%0 = argument 0 : f32[t, a]\n\
        %1 = argument 1 : f32[a]\n%2 = argument 2 : f32[]\n%3 = mul %1, %2 : f32[a]\n\
        %4 = scan along t carry [%3] stacked [%0] with [%1] : f32[a] {\n%0 = argument 0 : f32[a]\n%1 = argument 1 : f32[a]\n\
        %2 = argument 2 : f32[a]\n%3 = mul %0, %2 : f32[a]\n%4 = add %3, %1 : f32[a]\nyield [%4] collect [%4]\n}\n\
        %5 = project 1 of %4 : f32[t, a]\nyield [%5] collect [%3]\n}\n\
        %4 = project 0 of %3 : f32[t, a]\n%5 = project 1 of %3 : f32[depth, a]\noutput y [t, a] = %4\noutput z [depth, a] = %5\n";

    #[test]
    fn layers_around_a_scan_stand_one_behind_the_other() {
        let graph = parse(STACK).unwrap();
        let new = unroll(&graph, AxisId(0));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        let text = print_plain(&new);
        assert!(!text.contains("repeat") && text.matches("scan along t").count() == 3, "{text}");
        assert_eq!(print_plain(&unroll(&graph, AxisId(2))), print_plain(&graph), "no scan goes along that axis");
    }
}
