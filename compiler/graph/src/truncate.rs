//! Truncated backpropagation through time: every so many steps a scan reads its states without their past.

use crate::build::Builder;
use crate::entity::Value;
use crate::graph::{Graph, Node, Region};
use crate::op::{Loop, LoopKind, MapFn, Op};
use crate::rewrite::{self, New, Rewrite};
use crate::shape::{DType, Ty};

/// The same graph, with gradients that go back at most to the start of the segment of `steps` steps that they come from. A start value is
/// learned from the first segment.
pub fn truncate(graph: &Graph, steps: u64) -> Graph {
    rewrite::graph(graph, &mut Truncate { steps: i32::try_from(steps.max(1)).unwrap_or(i32::MAX) })
}

struct Truncate {
    steps: i32,
}

impl Rewrite for Truncate {
    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        let Op::Loop(l) = &node.op else { return New::One(b.region.push(node)) };
        if l.kind != LoopKind::Scan || l.carries == 0 {
            return New::One(b.region.push(node));
        }
        let mut step = b.add(Op::Iota(l.axis), &[]);
        if l.reverse {
            let last = b.int(i32::try_from(b.axes[l.axis.index()].size.saturating_sub(1)).unwrap_or(i32::MAX));
            step = b.map(MapFn::Sub, &[last, step]);
        }
        let place = l.carries + l.stacked;
        let mut inputs = node.inputs.clone();
        inputs.insert(place, step);
        let body = self.body(b, l, place as u32);
        let op = Op::Loop(Box::new(Loop { stacked: l.stacked + 1, body, ..(**l).clone() }));
        New::One(b.region.push(Node { op, inputs, ..node }))
    }
}

impl Truncate {
    /// The body with one more argument, the number of the step, at `place`.
    fn body(&self, outer: &mut Builder<'_>, l: &Loop, place: u32) -> Region {
        let mut b = Builder::new(outer.axes);
        b.origin = outer.origin.clone();
        let step = b.add_as(Op::Argument(place), &[], Some(&Ty::scalar(DType::I32)));
        let (every, zero) = (b.int(self.steps), b.int(0));
        let within = b.map(MapFn::Mod, &[step, every]);
        let (first, later) = (b.map(MapFn::Eq, &[within, zero]), b.map(MapFn::Gt, &[step, zero]));
        let starts = b.map(MapFn::And, &[first, later]);
        let mut to: Vec<Value> = Vec::with_capacity(l.body.nodes.len());
        for node in &l.body.nodes {
            let mut node = Node { inputs: node.inputs.iter().map(|v| to[v.index()]).collect(), ..node.clone() };
            let mut state = false;
            if let Op::Argument(i) = &mut node.op {
                state = (*i as usize) < l.carries && node.ty.dtype.is_float();
                *i += u32::from(*i >= place);
            }
            b.origin = node.origin.clone();
            let mut value = b.region.push(node);
            if state {
                let fixed = b.map(MapFn::StopGradient, &[value]);
                value = b.map(MapFn::Where, &[starts, fixed, value]);
            }
            to.push(value);
        }
        b.region.results = l.body.results.iter().map(|v| to[v.index()]).collect();
        b.region
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse::parse, text::print_plain, verify::verify};

    const SCAN: &str = "axis t = 9\naxis a = 4\n%0 = input x : f32[t, a]\n%1 = input h : f32[a]\n%2 = param w : f32[a]\n\
        %3 = scan along t carry [%1] stacked [%0] with [%2] : f32[a] {\n%0 = argument 0 : f32[a]\n%1 = argument 1 : f32[a]\n\
        %2 = argument 2 : f32[a]\n%3 = mul %0, %2 : f32[a]\n%4 = add %3, %1 : f32[a]\nyield [%4] collect [%4]\n}\n\
        %4 = project 1 of %3 : f32[t, a]\noutput y [t, a] = %4\n";

    #[test]
    fn the_state_is_read_without_its_past_at_the_start_of_a_segment() {
        let new = truncate(&parse(SCAN).unwrap(), 3);
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        let text = print_plain(&new);
        assert!(text.contains("stop_gradient") && text.contains("stacked [%0, %3] with [%2]"), "{text}");
    }

    #[test]
    fn a_loop_over_depth_is_left_alone() {
        let graph = parse(&SCAN.replace("scan along", "repeat along")).unwrap();
        assert_eq!(print_plain(&truncate(&graph, 3)), print_plain(&graph));
    }
}
