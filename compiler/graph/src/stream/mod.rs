//! One position at a time: from a graph over a whole sequence to one that takes the next position and keeps what later ones need.
//!
//! A scan along the sequence keeps its carries. Attention keeps a table of what its keys and values were: wherever the sequence's axis is
//! renamed, as in `k[seq as src]`, the value at the present position is written into a row of a table over the new axis. A shift to later
//! positions keeps as many values as it moves by. Everything else that treats each position alone stays as it is, with one position. What mixes positions in another way is an [`Obstacle`].
//!
//! Rows of positions that have not come are zeros. A model that reads them (one that is not causal) gets another result than from the
//! whole sequence; [`Streamed::tables`] tells whether there is such a table.

mod crossing;
mod delay;
mod resume;
mod segments;
mod shift;

pub use resume::{Resumed, Resumption, ScanState, resume};
pub use segments::{RESET, Segmented, segments};

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Graph, Node, Origin, Output, Region};
use crate::op::{Loop, MapFn, Op, Port, ReduceFn};
use crate::shape::{DType, Shape, Ty};
use shift::Shift;
use std::collections::BTreeSet;

/// Input that says which position comes next: i32, no dims.
pub const POSITION: &str = "stream.position";
/// Argument of a body that stands for the position, until all arguments are numbered.
const THE_POSITION: u32 = u32::MAX - 1;
/// Start of the names of what is kept from position to position.
pub const STATES: &str = "stream.state.";

/// A graph that takes one position.
#[derive(Clone, Debug)]
pub struct Streamed {
    /// The graph. The sequence's axis has size 1; it has one more input, [`POSITION`], and parameters and updates named from [`STATES`].
    pub graph: Graph,
    /// What is kept, with its type; its value before the first position does not matter, except that tables and what shifts keep must be
    /// zero.
    pub states: Vec<(Port, Ty)>,
    /// Whether no position may come after the last of the whole sequence: a table or a parameter has a row for each.
    pub bounded: bool,
    /// Whether there are tables over positions.
    pub tables: bool,
}

/// Why a graph cannot take one position at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Obstacle {
    /// What mixes positions.
    pub what: &'static str,
    /// Where it stands in the spec.
    pub origin: Origin,
}

/// The graph that takes one position of `axis`, which the input `tokens` has.
///
/// # Errors
/// The first operation that mixes positions in a way that is not a scan forward or a renaming of the axis.
pub fn stream(graph: &Graph, axis: AxisId) -> Result<Streamed, Obstacle> {
    let mut axes = graph.axes.clone();
    let length = axes[axis.index()].size;
    axes[axis.index()].size = 1;
    let signal = Port { name: POSITION.to_owned(), order: Vec::new() };
    let mut pass = Pass::new(axis, length, (Op::Input(signal), Ty::scalar(DType::I32)));
    let (graph, kept) = pass.graph(graph, axes)?;
    Ok(Streamed { graph, states: Kept::ports(kept), bounded: pass.bounded, tables: pass.tables })
}

struct Pass {
    axis: AxisId,
    length: u64,
    /// What tells scans where they are, given to every body that needs it, with its type.
    signal: (Op, Ty),
    /// Whether all positions of a segment are taken at once, and how scans begin then.
    whole: Option<Beginning>,
    bounded: bool,
    tables: bool,
    /// Of each state in the order in which they were met: the scan that has it, and which of its carries it is.
    met: Vec<(Origin, usize)>,
}

/// How scans of a segment begin.
struct Beginning {
    /// Axes of the marks where they begin anew, the one of positions among them; none where nothing marks.
    reset: Option<Vec<AxisId>>,
    /// Which states, in the order in which they are met, are given; the others start. All where there is none.
    given: Option<BTreeSet<usize>>,
}

/// What is kept from position to position, in one region.
struct State {
    old: Value,
    new: Value,
    ty: Ty,
    /// Its place in [`Pass::met`].
    number: usize,
}

/// What is kept by the whole graph.
struct Kept {
    port: Port,
    ty: Ty,
    number: usize,
}

impl Kept {
    fn ports(all: Vec<Kept>) -> Vec<(Port, Ty)> {
        all.into_iter().map(|k| (k.port, k.ty)).collect()
    }
}

/// A region in the making.
struct Body<'g> {
    builder: Builder<'g>,
    states: Vec<State>,
    /// The signal, where it has been asked for.
    known: Option<Value>,
    /// What it is here: the input, or in the body of a loop the argument that has it.
    signal: (Op, Ty),
}

impl<'g> Body<'g> {
    fn new(axes: &'g mut Vec<Axis>, signal: (Op, Ty)) -> Self {
        Body { builder: Builder::new(axes), states: Vec::new(), known: None, signal }
    }

    /// The number of the position; of a segment, where scans begin anew.
    fn position(&mut self) -> Value {
        if let Some(known) = self.known {
            return known;
        }
        let value = self.builder.add_as(self.signal.0.clone(), &[], Some(&self.signal.1));
        self.known = Some(value);
        value
    }

    /// A new state: its old value. Which port or argument that is, is settled when all are known.
    fn state(&mut self, ty: &Ty, number: usize) -> (usize, Value) {
        let old = self.builder.add_as(Op::Argument(u32::MAX), &[], Some(ty));
        self.states.push(State { old, new: old, ty: ty.clone(), number });
        (self.states.len() - 1, old)
    }
}

impl Pass {
    fn new(axis: AxisId, length: u64, signal: (Op, Ty)) -> Pass {
        Pass { axis, length, signal, whole: None, bounded: false, tables: false, met: Vec::new() }
    }

    /// A number for a state that is met here.
    fn meet(&mut self, body: &Body<'_>, carry: usize) -> usize {
        self.met.push((body.builder.origin.clone(), carry));
        self.met.len() - 1
    }

    /// The whole graph, and what it keeps.
    fn graph(&mut self, graph: &Graph, mut axes: Vec<Axis>) -> Result<(Graph, Vec<Kept>), Obstacle> {
        let mut body = Body::new(&mut axes, self.signal.clone());
        let map = self.region(&mut body, &graph.region)?;
        let Body { builder, states, .. } = body;
        let mut region = builder.region;
        let mut outputs = graph.outputs.clone();
        outputs.iter_mut().for_each(|o| o.value = map[o.value.index()]);
        let mut kept = Vec::new();
        for (i, state) in states.into_iter().enumerate() {
            let port = Port { name: format!("{STATES}{i}"), order: state.ty.shape.axes().to_vec() };
            region.nodes[state.old.index()].op = Op::Param(port.clone());
            outputs.push(Output { port: port.clone(), value: state.new, update: true });
            kept.push(Kept { port, ty: state.ty, number: state.number });
        }
        Ok((Graph { axes, region, outputs }, kept))
    }

    fn region(&mut self, body: &mut Body<'_>, old: &Region) -> Result<Vec<Value>, Obstacle> {
        let mut map: Vec<Value> = Vec::with_capacity(old.nodes.len());
        for node in &old.nodes {
            body.builder.origin = node.origin.clone();
            let inputs: Vec<Value> = node.inputs.iter().map(|v| map[v.index()]).collect();
            let shift = if self.whole.is_none() { self.shifts(old, Value(map.len() as u32)) } else { None };
            let value = match shift {
                Some(Shift::Cut) => inputs[0],
                Some(Shift::By(by)) => self.earlier(body, inputs[0], by)?,
                None => self.node(body, node, &inputs)?,
            };
            map.push(value);
        }
        Ok(map)
    }

    fn node(&mut self, body: &mut Body<'_>, node: &Node, inputs: &[Value]) -> Result<Value, Obstacle> {
        if self.whole.is_some() {
            return self.of_segment(body, node, inputs);
        }
        if let Some(what) = self.mixes(&node.op) {
            return Err(Obstacle { what, origin: node.origin.clone() });
        }
        Ok(match &node.op {
            Op::Param(port) if port.order.contains(&self.axis) => self.row(body, port, &node.ty),
            Op::Iota(axis) if *axis == self.axis => place(body, *axis),
            Op::Rename(pairs) if pairs.iter().any(|p| p.0 == self.axis) => self.table(body, pairs, inputs[0], node)?,
            Op::Loop(l) if l.axis == self.axis => self.scan(body, l, inputs)?,
            Op::Loop(l) => self.repeat(body, l, inputs)?,
            op => copy(body, node, op.clone(), inputs),
        })
    }

    /// What in an operation makes positions depend on one another, if anything.
    fn mixes(&self, op: &Op) -> Option<&'static str> {
        let is = |a: &AxisId| *a == self.axis;
        match op {
            Op::Reduce(_, over) => over.contains(&self.axis).then_some("a reduction over positions"),
            Op::Contract(over) => over.contains(&self.axis).then_some("a contraction over positions"),
            Op::Solve { row, col, .. } => (is(row) || is(col)).then_some("a system over positions"),
            Op::Routed { axis, over } => (is(axis) || over.contains(&self.axis)).then_some("a contraction over positions"),
            Op::Softmax(over) | Op::LogSumExp(over) => over.contains(&self.axis).then_some("a softmax over positions"),
            Op::ArgMax(axis) => is(axis).then_some("a choice among positions"),
            Op::TopK { over, into } => (over.contains(&self.axis) || is(into)).then_some("a choice among positions"),
            Op::Gather(axis) | Op::ScatterAdd { axis, .. } => is(axis).then_some("an index of positions"),
            Op::Route { axis, .. } | Op::RoutedOuter { axis, .. } => is(axis).then_some("an index of positions"),
            Op::Random(random) => random.order.contains(&self.axis).then_some("a random number for each position"),
            Op::Rename(pairs) => pairs.iter().any(|p| is(&p.1)).then_some("another axis in the place of positions"),
            Op::Split { axis, into } => (is(axis) || into.contains(&self.axis)).then_some("positions in groups"),
            Op::Merge { from, into } => (from.contains(&self.axis) || is(into)).then_some("positions in groups"),
            Op::Slice { axis, into, .. } | Op::Pad { axis, into, .. } => (is(axis) || is(into)).then_some("a shift of positions"),
            Op::Concat { axes, into } => (axes.contains(&self.axis) || is(into)).then_some("a concatenation of positions"),
            Op::Attend(a) | Op::AttendGrad(a) => (is(&a.query) || is(&a.source)).then_some("attention"),
            Op::Loop(l) => (is(&l.axis) && l.reverse).then_some("a scan backward"),
            Op::Input(_) | Op::Param(_) | Op::Argument(_) | Op::Const(_) | Op::Iota(_) | Op::Map(_) | Op::Project(_) => None,
        }
    }

    /// The row of a parameter that belongs to the position.
    fn row(&mut self, body: &mut Body<'_>, port: &Port, ty: &Ty) -> Value {
        self.bounded = true;
        let name = body.builder.axes[self.axis.index()].name.clone();
        let all = body.builder.axis(name, self.length);
        let with = |a: AxisId| if a == self.axis { all } else { a };
        let whole = Port { name: port.name.clone(), order: port.order.iter().copied().map(with).collect() };
        let ty = Ty::new(ty.dtype, Shape::of(ty.shape.iter().map(with)));
        let param = body.builder.add_as(Op::Param(whole), &[], Some(&ty));
        let place = place(body, self.axis);
        body.builder.add(Op::Gather(all), &[param, place])
    }

    /// A renaming of the positions: a table with a row for each, of which the present one is written.
    fn table(&mut self, body: &mut Body<'_>, pairs: &[(AxisId, AxisId)], value: Value, node: &Node) -> Result<Value, Obstacle> {
        if node.ty.dtype == DType::Bool {
            return Err(Obstacle { what: "truth values of other positions", origin: node.origin.clone() });
        }
        (self.bounded, self.tables) = (true, true);
        let own: Vec<(AxisId, AxisId)> = pairs.iter().copied().filter(|p| p.0 != self.axis).collect();
        let Some(into) = pairs.iter().find(|p| p.0 == self.axis).map(|p| p.1) else { return Ok(value) };
        let mut row = body.builder.reduce(ReduceFn::Sum, value, &[self.axis]);
        if !own.is_empty() {
            row = body.builder.add(Op::Rename(own), &[row]);
        }
        let position = body.position();
        let number = self.meet(body, 0);
        let (at, old) = body.state(&node.ty, number);
        let rows = body.builder.add(Op::Iota(into), &[]);
        let here = body.builder.map(MapFn::Eq, &[rows, position]);
        let new = body.builder.map(MapFn::Where, &[here, row, old]);
        body.states[at].new = new;
        Ok(new)
    }

    /// A scan along the sequence: one step, from the carries of the last.
    fn scan(&mut self, body: &mut Body<'_>, l: &Loop, inputs: &[Value]) -> Result<Value, Obstacle> {
        let position = body.position();
        let zero = body.builder.int(0);
        let first = body.builder.map(MapFn::Eq, &[position, zero]);
        let mut given = inputs.to_vec();
        let mut states = Vec::new();
        for (k, carry) in given[..l.carries].iter_mut().enumerate() {
            let ty = body.builder.ty(*carry).clone();
            let number = self.meet(body, k);
            let (at, old) = body.state(&ty, number);
            *carry = body.builder.map(MapFn::Where, &[first, *carry, old]);
            states.push(at);
        }
        let (inner, shift) = self.body(body, l)?;
        let node = self.add_loop(body, inner, given, position, l, shift);
        for (result, at) in states.into_iter().enumerate() {
            let ty = body.states[at].ty.clone();
            body.states[at].new = project(body, node, result, ty);
        }
        Ok(node)
    }

    /// A loop along another axis; what its body keeps is kept for each of its iterations.
    fn repeat(&mut self, body: &mut Body<'_>, l: &Loop, inputs: &[Value]) -> Result<Value, Obstacle> {
        let position = body.position();
        let (inner, states) = self.body(body, l)?;
        Ok(self.add_loop(body, inner, inputs.to_vec(), position, l, states))
    }

    /// The body of a loop, and the types and numbers of what it keeps. Its new arguments are numbered: states after the stacked values, the
    /// position last.
    fn body(&mut self, outer: &mut Body<'_>, l: &Loop) -> Result<(Region, Vec<(Ty, usize)>), Obstacle> {
        let mut body = Body::new(outer.builder.axes, (Op::Argument(THE_POSITION), self.signal.1.clone()));
        let map = self.region(&mut body, &l.body)?;
        let Body { builder, states, .. } = body;
        let mut region = builder.region;
        let fixed = (l.carries + l.stacked) as u32;
        let count = states.len() as u32;
        for node in &mut region.nodes {
            if let Op::Argument(i) = &mut node.op
                && *i >= fixed
                && *i < THE_POSITION
            {
                *i += count;
            }
        }
        for (k, state) in states.iter().enumerate() {
            region.nodes[state.old.index()].op = Op::Argument(fixed + k as u32);
        }
        region.results = l.body.results.iter().map(|v| map[v.index()]).chain(states.iter().map(|s| s.new)).collect();
        Ok((region, states.into_iter().map(|s| (s.ty, s.number)).collect()))
    }

    /// The loop around a new body; states of the body become stacked states of the region around.
    fn add_loop(
        &mut self,
        outer: &mut Body<'_>,
        mut inner: Region,
        inputs: Vec<Value>,
        position: Value,
        l: &Loop,
        kept: Vec<(Ty, usize)>,
    ) -> Value {
        let fixed = l.carries + l.stacked;
        let mut given = inputs[..fixed].to_vec();
        let mut states = Vec::new();
        for (ty, number) in &kept {
            let stacked = Ty::new(ty.dtype, ty.shape.with(l.axis));
            let (at, old) = outer.state(&stacked, *number);
            given.push(old);
            states.push(at);
        }
        given.extend_from_slice(&inputs[fixed..]);
        for node in &mut inner.nodes {
            if node.op == Op::Argument(THE_POSITION) {
                node.op = Op::Argument(given.len() as u32);
            }
        }
        given.push(position);
        let results = inner.results.len();
        let whole = Loop { stacked: l.stacked + kept.len(), body: inner, ..l.clone() };
        let projections = outer.builder.add_many(Op::Loop(Box::new(whole)), &given);
        let node = outer.builder.region.node(projections[0]).inputs[0];
        for (k, at) in states.into_iter().enumerate() {
            outer.states[at].new = projections[results - kept.len() + k];
        }
        node
    }
}

/// i32 positions along the sequence's axis: the one that there is.
fn place(body: &mut Body<'_>, axis: AxisId) -> Value {
    let position = body.position();
    let zero = body.builder.add(Op::Iota(axis), &[]);
    body.builder.map(MapFn::Add, &[zero, position])
}

fn copy(body: &mut Body<'_>, node: &Node, op: Op, inputs: &[Value]) -> Value {
    body.builder.region.push(Node { op, inputs: inputs.into(), ty: node.ty.clone(), origin: node.origin.clone() })
}

fn project(body: &mut Body<'_>, node: Value, result: usize, ty: Ty) -> Value {
    let origin = body.builder.origin.clone();
    body.builder.region.push(Node { op: Op::Project(result as u32), inputs: [node].as_slice().into(), ty, origin })
}
