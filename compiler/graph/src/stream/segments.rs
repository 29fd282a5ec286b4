//! A segment at a time: from a graph over a whole sequence to one that goes on where the segment before it ended.
//!
//! Scans along the sequence (shifts to later positions are such) start from the states that the last segment left in the store, and leave theirs there. At a position that
//! the input [`RESET`] marks, a stream begins anew: what the step reads as its past is then the start value. The derivative of the new
//! state in the old is zero there, so sensitivities that are carried with it ([`crate::autodiff::rtrl`]) begin anew of themselves. As
//! nothing but the states goes from segment to segment, memory grows with the segment and not with the stream.

use super::delay::delays;
use super::{Beginning, Body, Kept, Obstacle, Pass, copy};
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Graph, Node, Region};
use crate::op::{Loop, MapFn, Op, Port};
use crate::shape::{DType, Shape, Ty};

/// Input that says where a stream begins anew: bool, with the axis of examples and that of the sequence.
pub const RESET: &str = "data.reset";

/// A graph that takes the next segment of each of its streams.
#[derive(Clone, Debug)]
pub struct Segmented {
    /// The graph: one more input, [`RESET`], and parameters and updates named from [`super::STATES`].
    pub graph: Graph,
    /// What is kept, with its type. Its value before the first segment does not matter where that is marked by [`RESET`].
    pub states: Vec<(Port, Ty)>,
}

/// The graph that takes segments along `axis` of as many streams as `examples` has positions.
///
/// # Errors
/// Where a position depends on others in another way than by a scan forward or a shift, or on where in its segment it lies.
pub fn segments(graph: &Graph, examples: AxisId, axis: AxisId) -> Result<Segmented, Obstacle> {
    let signal = Port { name: RESET.to_owned(), order: vec![examples, axis] };
    let ty = Ty::new(DType::Bool, Shape::of([examples, axis]));
    let reset = Some(signal.order.clone());
    let mut pass = Pass::new(axis, 0, (Op::Input(signal), ty));
    pass.whole = Some(Beginning { reset, given: None });
    let graph = &delays(graph, axis);
    pass.crossing(graph)?;
    let (graph, kept) = pass.graph(graph, graph.axes.clone())?;
    Ok(Segmented { graph, states: Kept::ports(kept) })
}

impl Pass {
    pub(super) fn of_segment(&mut self, body: &mut Body<'_>, node: &Node, inputs: &[Value]) -> Result<Value, Obstacle> {
        match &node.op {
            Op::Loop(l) if self.scans(l) => self.resumed(body, l, inputs),
            Op::Loop(l) if l.body.nodes.iter().any(|n| self.holds(n)) => self.repeat(body, l, inputs),
            op => Ok(copy(body, node, op.clone(), inputs)),
        }
    }

    fn scans(&self, l: &Loop) -> bool {
        l.axis == self.axis && l.carries > 0
    }

    fn holds(&self, node: &Node) -> bool {
        if let Op::Loop(l) = &node.op { self.scans(l) || l.body.nodes.iter().any(|n| self.holds(n)) } else { false }
    }

    /// A scan that goes on from what is kept, and from its start values where it begins anew.
    fn resumed(&mut self, body: &mut Body<'_>, l: &Loop, inputs: &[Value]) -> Result<Value, Obstacle> {
        let marks = self.whole.as_ref().and_then(|w| w.reset.clone());
        let (starts, rest) = inputs.split_at(l.carries);
        let (mut carries, mut states) = (Vec::new(), Vec::new());
        for (k, &start) in starts.iter().enumerate() {
            let ty = body.builder.ty(start).clone();
            if marks.iter().flatten().any(|a| *a != l.axis && !ty.shape.contains(*a)) {
                let what = "a state that is the same in all examples";
                return Err(Obstacle { what, origin: body.builder.origin.clone() });
            }
            let number = self.meet(body, k);
            let (at, old) = body.state(&ty, number);
            let given = self.whole.as_ref().and_then(|w| w.given.as_ref()).is_none_or(|g| g.contains(&number));
            carries.push(if given { old } else { start });
            states.push(at);
        }
        let (stacked, fixed) = rest.split_at(l.stacked);
        let new = if marks.is_some() {
            let reset = body.position();
            let given: Vec<Value> = carries.iter().chain(stacked).chain([&reset]).chain(fixed).chain(starts).copied().collect();
            let types: Vec<Ty> = given.iter().map(|&v| body.builder.ty(v).clone()).collect();
            let step = beginning(body, l, l.carries + l.stacked, &types);
            body.builder.add_many(Op::Loop(Box::new(Loop { stacked: l.stacked + 1, body: step, ..l.clone() })), &given)
        } else {
            let given: Vec<Value> = carries.iter().chain(rest).copied().collect();
            body.builder.add_many(Op::Loop(Box::new(l.clone())), &given)
        };
        for (k, at) in states.into_iter().enumerate() {
            body.states[at].new = new[k];
        }
        Ok(body.builder.region.node(new[0]).inputs[0])
    }
}

/// The step with a mark as its argument `place`, and the start values last: where the mark is true, they are the past.
fn beginning(outer: &mut Body<'_>, l: &Loop, place: usize, types: &[Ty]) -> Region {
    let origin = outer.builder.origin.clone();
    let mut b = Builder::new(outer.builder.axes);
    b.origin = origin;
    let argument = |b: &mut Builder<'_>, i: usize, ty: &Ty| b.add_as(Op::Argument(i as u32), &[], Some(ty));
    let mark = Ty::new(DType::Bool, types[place].shape.without(l.axis));
    let mark = argument(&mut b, place, &mark);
    let first = types.len() - l.carries;
    let past: Vec<Value> = (0..l.carries)
        .map(|k| {
            let (start, old) = (argument(&mut b, first + k, &types[first + k]), argument(&mut b, k, &types[k]));
            b.map(MapFn::Where, &[mark, start, old])
        })
        .collect();
    let mut to: Vec<Value> = Vec::with_capacity(l.body.nodes.len());
    for node in &l.body.nodes {
        let mut node = Node { inputs: node.inputs.iter().map(|v| to[v.index()]).collect(), ..node.clone() };
        if let Op::Argument(i) = &mut node.op {
            if let Some(&known) = past.get(*i as usize) {
                to.push(known);
                continue;
            }
            *i += u32::from(*i as usize >= place);
        }
        to.push(b.region.push(node));
    }
    b.region.results = l.body.results.iter().map(|v| to[v.index()]).collect();
    b.region
}
