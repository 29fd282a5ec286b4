//! Groups nodes into kernels. A group of row operations has a domain (the axes it visits) of which the inner axes form a row: reductions over
//! the inner axes give scalars of the row, reductions over the outer axes (or over everything) are folded over rows and leave the group.

pub mod domain;
pub(crate) mod late;
mod merge;

use crate::entity::Value;
use crate::graph::{Graph, Region};
use crate::op::{Op, ReduceFn};
use crate::schedule::layout::{self, Layout};
use crate::shape::Shape;
use std::collections::BTreeMap;

/// What a node is to the grouping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Has memory already: ports and arguments.
    Leaf,
    /// Repeated in each group that reads it: constants and positions.
    Inline,
    /// Another reading of its input's memory.
    View,
    /// Row operation.
    Row,
    /// A kernel of its own.
    Whole,
}

/// What a group runs as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A row program.
    Rows,
    /// A matrix product.
    Contract,
    /// A triangular system.
    Solve,
    /// Attention or its gradient.
    Attend,
    /// Sum into positions.
    Scatter,
    /// Positions of the largest elements.
    Select,
    /// Points sorted by position.
    Route,
    /// A product with weights at chosen positions, or its gradient in the weights.
    Routed,
    /// Copies into parts of a result: pad, concat.
    Move,
    /// A loop.
    Loop,
}

/// Nodes that run as one kernel.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    /// How it runs.
    pub kind: Kind,
    /// Nodes in order.
    pub members: Vec<Value>,
    /// Axes visited (row programs).
    pub domain: Shape,
    /// Axes of a row, where reductions fix them.
    pub inner: Option<Shape>,
}

/// Grouping of a region.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Groups {
    /// Group of each value; none for leaves, inlined values and views.
    pub of: Vec<Option<u32>>,
    /// All groups, in order of their first node.
    pub groups: Vec<Group>,
}

/// What a node is to the grouping.
pub fn class(region: &Region, v: Value) -> Class {
    let node = region.node(v);
    match &node.op {
        Op::Input(_) | Op::Param(_) | Op::Argument(_) | Op::Project(_) => Class::Leaf,
        Op::Const(_) | Op::Iota(_) => Class::Inline,
        op if layout::is_view(op) => Class::View,
        Op::Random(_) | Op::Map(_) | Op::Reduce(..) | Op::ArgMax(_) | Op::Gather(_) => Class::Row,
        Op::Contract(_) if is_dot(region, v) => Class::Row,
        _ => Class::Whole,
    }
}

/// Whether a contraction keeps only axes that both operands have: a product and a sum.
pub fn is_dot(region: &Region, v: Value) -> bool {
    let node = region.node(v);
    matches!(node.op, Op::Contract(_)) && region.ty(node.inputs[0]).shape == region.ty(node.inputs[1]).shape
}

/// Axes that a row operation visits.
pub fn domain_of(region: &Region, v: Value) -> Shape {
    let node = region.node(v);
    match &node.op {
        Op::Reduce(..) | Op::ArgMax(_) | Op::Contract(_) => region.ty(node.inputs[0]).shape.clone(),
        _ => node.ty.shape.clone(),
    }
}

/// Axes that a row operation reduces, and how, if it does.
pub fn reduction(region: &Region, v: Value) -> Option<(Option<ReduceFn>, Shape)> {
    let node = region.node(v);
    match &node.op {
        Op::Reduce(f, over) => Some((Some(*f), Shape::of(over.iter().copied()))),
        Op::ArgMax(axis) => Some((None, Shape::of([*axis]))),
        Op::Contract(over) => Some((Some(ReduceFn::Sum), Shape::of(over.iter().copied()))),
        _ => None,
    }
}

/// Operands that a row operation takes from registers; others it reads from memory.
pub fn register_operands(region: &Region, v: Value) -> &[Value] {
    let node = region.node(v);
    match &node.op {
        Op::Gather(_) => &node.inputs[1..],
        _ => &node.inputs,
    }
}

/// Groups of one region.
pub fn groups(graph: &Graph, region: &Region, layout: &Layout) -> Groups {
    let mut merger = merge::Merger::new(graph, region, layout);
    merger.sums();
    merger.chains();
    merger.siblings();
    merger.finish()
}

/// Where a node ended up, for drawing.
#[derive(Clone, PartialEq, Debug)]
pub struct Assignment {
    /// Loops from the outermost: the loop's node in each region on the way.
    pub path: Vec<Value>,
    /// The node.
    pub value: Value,
    /// Group, unique in the graph.
    pub group: u32,
    /// How the group runs.
    pub kind: Kind,
    /// What it computes, in a few words.
    pub title: String,
}

/// Groups of the whole graph, node by node.
pub fn assignment(graph: &Graph) -> Vec<Assignment> {
    let layouts = layout::layouts(graph);
    let mut out = Vec::new();
    let mut next = 0;
    assign(graph, &graph.region, &layouts, &mut Vec::new(), &mut next, &mut out);
    out
}

fn assign(graph: &Graph, region: &Region, layout: &Layout, path: &mut Vec<Value>, next: &mut u32, out: &mut Vec<Assignment>) {
    let groups = groups(graph, region, layout);
    let first = *next;
    *next += groups.groups.len() as u32;
    for (i, group) in groups.groups.iter().enumerate() {
        let title = title(region, group);
        for &value in &group.members {
            out.push(Assignment { path: path.clone(), value, group: first + i as u32, kind: group.kind, title: title.clone() });
        }
    }
    let bodies: BTreeMap<u32, &Layout> = layout.bodies.iter().map(|(k, l)| (*k, l)).collect();
    for (node, body_layout) in bodies {
        if let Op::Loop(l) = &region.nodes[node as usize].op {
            path.push(Value(node));
            assign(graph, &l.body, body_layout, path, next, out);
            path.pop();
        }
    }
}

/// What a group computes, in a few words.
pub fn title(region: &Region, group: &Group) -> String {
    let name = |v: &Value| match &region.node(*v).op {
        Op::Map(f) => f.name(),
        Op::Reduce(f, _) => f.name(),
        Op::Random(_) => "random",
        Op::ArgMax(_) => "argmax",
        Op::Gather(_) => "gather",
        Op::Contract(_) => "dot",
        Op::Solve { .. } => "solve",
        Op::Attend(_) => "attention",
        Op::AttendGrad(_) => "attention gradient",
        Op::ScatterAdd { .. } => "scatter",
        Op::TopK { .. } => "top",
        Op::Route { .. } => "route",
        Op::Routed { .. } => "routed",
        Op::RoutedOuter { .. } => "routed outer",
        Op::Pad { .. } => "pad",
        Op::Concat { .. } => "concat",
        Op::Loop(_) => "loop",
        _ => "node",
    };
    if group.kind == Kind::Contract {
        return if group.members.len() > 1 { "contract add" } else { "contract" }.into();
    }
    let mut words: Vec<&str> = Vec::new();
    for v in &group.members {
        if words.last() != Some(&name(v)) {
            words.push(name(v));
        }
    }
    if words.len() > 6 {
        let tail = words.len() - 5;
        return format!("{} ... ({} nodes)", words[..words.len() - tail].join(" "), group.members.len());
    }
    words.join(" ")
}
