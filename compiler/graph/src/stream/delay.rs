//! Shifts to later positions as scans whose state is what is still to come out: a segment then goes on where the last one ended, and begins
//! anew, as every scan does.

use crate::autodiff::emit::spread;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Graph, Node};
use crate::op::{Loop, LoopKind, Op, ReduceFn};
use crate::rewrite::{self, New, Rewrite};
use crate::shape::{DType, Ty};

/// The same graph with shifts along `axis` as scans; but for those of truth values.
pub(super) fn delays(graph: &Graph, axis: AxisId) -> Graph {
    rewrite::graph(graph, &mut Delays { axis })
}

struct Delays {
    axis: AxisId,
}

impl Rewrite for Delays {
    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        if let Op::Pad { axis: part, start, into } = node.op
            && let Op::Slice { axis, start: 0, into: cut } = b.region.node(node.inputs[0]).op
            && axis == self.axis
            && into == axis
            && cut == part
            && start > 0
            && node.ty.dtype != DType::Bool
        {
            let value = b.region.node(node.inputs[0]).inputs[0];
            return New::One(delayed(b, value, axis, start));
        }
        New::One(b.region.push(node))
    }
}

/// What `value` was so many positions before; zeros before the first.
fn delayed(b: &mut Builder<'_>, value: Value, axis: AxisId, by: u64) -> Value {
    let dtype = b.ty(value).dtype;
    let shape = b.shape(value).without(axis);
    let name = format!("{}_before", b.axes[axis.index()].name);
    // Of one position no queue is needed.
    let queue = (by > 1).then(|| [by, 1, by - 1].map(|size| b.axis(name.clone(), size)));
    let zero = if dtype == DType::I32 { b.int(0) } else { b.float(0.0, dtype) };
    let held = Ty::new(dtype, queue.map_or_else(|| shape.clone(), |[queue, ..]| shape.with(queue)));
    let start = spread(b, zero, &held.shape);
    let origin = b.origin.clone();
    let mut body = Builder::new(b.axes);
    body.origin = origin;
    let old = body.add_as(Op::Argument(0), &[], Some(&held));
    let new = body.add_as(Op::Argument(1), &[], Some(&Ty::new(dtype, shape.clone())));
    let results = match queue {
        None => vec![new, old],
        Some([queue, one, rest]) => {
            let head = body.add(Op::Slice { axis: queue, start: 0, into: one }, &[old]);
            let out = body.reduce(ReduceFn::Sum, head, &[one]);
            let tail = body.add(Op::Slice { axis: queue, start: 1, into: rest }, &[old]);
            let last = spread(&mut body, new, &shape.with(one));
            vec![body.add(Op::Concat { axes: vec![rest, one], into: queue }, &[tail, last]), out]
        }
    };
    let mut region = body.region;
    region.results = results;
    let l = Loop { kind: LoopKind::Scan, axis, reverse: false, carries: 1, stacked: 1, body: region };
    b.repeat(l, &[start, value])[1]
}
