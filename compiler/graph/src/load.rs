//! How often each place is chosen: every selection of a graph gets an output that counts, loops included.

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Graph, Origin, Output, Region};
use crate::op::{LoopKind, MapFn, Op, Port, ReduceFn};
use crate::shape::{DType, Shape};

/// Counts of one selection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// The output that counts; its dims are `groups`, then `place`.
    pub output: String,
    /// Where the selection stands in the spec.
    pub origin: Origin,
    /// Dims that are counted apart: layers, and dims of parameters such as heads.
    pub groups: Vec<AxisId>,
    /// The dim that is chosen from; of a product of dims, one dim of all their places.
    pub place: AxisId,
}

/// Adds, for every selection that an output needs, how often each place was chosen (f32). Picks are summed over dims of the data; layers of
/// a stack and dims that parameters have are told apart.
pub fn with_loads(graph: &Graph) -> (Graph, Vec<Load>) {
    let mut graph = crate::dce::dce(graph);
    let axes_of = |inputs: bool| {
        let wanted = move |op: &Op| if inputs { matches!(op, Op::Input(_)) } else { matches!(op, Op::Param(_)) };
        Shape::of(graph.region.nodes.iter().filter(|n| wanted(&n.op)).flat_map(|n| n.ty.shape.axes().to_vec()))
    };
    let apart = axes_of(false).minus(&axes_of(true));
    let (region, new, counts) = counted(&mut graph.axes, &graph.region, &apart);
    graph.region = region;
    graph.outputs.iter_mut().for_each(|o| o.value = new[o.value.index()]);
    let mut loads = Vec::new();
    for (i, count) in counts.into_iter().enumerate() {
        let shape = graph.region.ty(count.value).shape.without(count.place);
        // Layers first: their axes come from the outermost loop.
        let rest = shape.axes().iter().copied().filter(|a| !count.layers.contains(a));
        let groups: Vec<AxisId> = count.layers.iter().copied().chain(rest).collect();
        let output = format!("picks {i}");
        let order = [&groups[..], &[count.place]].concat();
        graph.outputs.push(Output { port: Port { name: output.clone(), order }, value: count.value, update: false });
        loads.push(Load { output, origin: count.origin, groups, place: count.place });
    }
    (graph, loads)
}

struct Count {
    value: Value,
    origin: Origin,
    place: AxisId,
    /// Axes of the stacks around it, outermost first.
    layers: Vec<AxisId>,
}

/// The region with a count beside every selection; also what became of each node.
fn counted(axes: &mut Vec<Axis>, old: &Region, apart: &Shape) -> (Region, Vec<Value>, Vec<Count>) {
    let mut b = Builder::new(axes);
    let mut new: Vec<Value> = Vec::with_capacity(old.nodes.len());
    let mut counts = Vec::new();
    for node in &old.nodes {
        let mut node = node.clone();
        node.inputs.iter_mut().for_each(|v| *v = new[v.index()]);
        b.origin = node.origin.clone();
        match node.op {
            Op::Loop(mut l) => {
                let (axis, kind, results) = (l.axis, l.kind, l.body.results.len());
                let (body, _, inside) = counted(b.axes, &l.body, apart);
                l.body = body;
                l.body.results.extend(inside.iter().map(|c| c.value));
                let all = b.add_many(Op::Loop(l), &node.inputs);
                new.push(b.region.node(all[0]).inputs[0]);
                for (mut c, &value) in inside.into_iter().zip(&all[results..]) {
                    b.origin = c.origin.clone();
                    c.value = if kind == LoopKind::Repeat { value } else { b.reduce(ReduceFn::Sum, value, &[axis]) };
                    if kind == LoopKind::Repeat {
                        c.layers.insert(0, axis);
                    }
                    counts.push(c);
                }
            }
            Op::TopK { ref over, .. } => {
                let over = over.clone();
                let picks = b.region.push(node);
                new.push(picks);
                counts.push(count(&mut b, picks, &over, apart));
            }
            _ => new.push(b.region.push(node)),
        }
    }
    let mut region = b.region;
    region.results = old.results.iter().map(|r| new[r.index()]).collect();
    (region, new, counts)
}

/// How often each place was picked.
fn count(b: &mut Builder<'_>, picks: Value, over: &[AxisId], apart: &Shape) -> Count {
    let place = match over {
        [one] => *one,
        several => {
            let name: Vec<&str> = several.iter().map(|a| b.axes[a.index()].name.as_str()).collect();
            let (name, size) = (name.join(" x "), several.iter().map(|a| b.axes[a.index()].size).product());
            b.axis(name, size)
        }
    };
    let first = b.int(0);
    let each = b.map(MapFn::Ge, &[picks, first]);
    let ones = b.cast(each, DType::F32);
    let keep = b.shape(picks).intersection(apart).axes().to_vec();
    let value = b.add(Op::ScatterAdd { axis: place, keep }, &[picks, ones]);
    Count { value, origin: b.origin.clone(), place, layers: Vec::new() }
}
