//! Rebuilding a graph node by node: what most passes are made of.

use crate::build::Builder;
use crate::entity::Value;
use crate::graph::{Axis, Graph, Node, Region};
use crate::op::{Loop, Op};

/// What stands for an old node in the new region.
#[derive(Clone, Debug)]
pub(crate) enum New {
    /// A node (with one result, or the whole of one with several).
    One(Value),
    /// Each result of a node that had several.
    Results(Vec<Value>),
}

/// A pass over every node of every region, in order. Bodies of loops are rebuilt before the loop is shown.
pub(crate) trait Rewrite {
    /// Called with the old region before its nodes; `read` are the values that something outside the region's nodes reads.
    fn enter(&mut self, _region: &Region, _read: &[Value]) {}

    /// Called after the last node of a region.
    fn leave(&mut self) {}

    /// `node` has its new operands; `old` is its place in the old region. The builder's origin is the node's.
    fn node(&mut self, b: &mut Builder<'_>, node: Node, old: Value) -> New;
}

/// Rebuilds a graph.
pub(crate) fn graph(graph: &Graph, pass: &mut dyn Rewrite) -> Graph {
    let mut axes = graph.axes.clone();
    let read: Vec<Value> = graph.outputs.iter().map(|o| o.value).collect();
    let (region, map) = region(&mut axes, &graph.region, &read, pass);
    let mut outputs = graph.outputs.clone();
    for out in &mut outputs {
        out.value = one(&map, out.value);
    }
    Graph { axes, region, outputs }
}

/// Rebuilds a region; also what became of each node.
pub(crate) fn region(axes: &mut Vec<Axis>, old: &Region, read: &[Value], pass: &mut dyn Rewrite) -> (Region, Vec<New>) {
    pass.enter(old, read);
    let mut b = Builder::new(axes);
    let mut map: Vec<New> = Vec::with_capacity(old.nodes.len());
    for (i, node) in old.nodes.iter().enumerate() {
        if let (Op::Project(result), [of]) = (&node.op, node.inputs.as_slice())
            && let New::Results(results) = &map[of.index()]
        {
            let value = results[*result as usize];
            map.push(New::One(value));
            continue;
        }
        let mut node = node.clone();
        for v in &mut node.inputs {
            *v = one(&map, *v);
        }
        if let Op::Loop(l) = &mut node.op {
            let results = l.body.results.clone();
            l.body = region_of_loop(b.axes, &l.body, &results, pass);
        }
        b.origin = node.origin.clone();
        let new = pass.node(&mut b, node, Value(i as u32));
        map.push(new);
    }
    let mut new = b.region;
    new.results = old.results.iter().map(|&r| one(&map, r)).collect();
    pass.leave();
    (new, map)
}

fn region_of_loop(axes: &mut Vec<Axis>, body: &Region, results: &[Value], pass: &mut dyn Rewrite) -> Region {
    region(axes, body, results, pass).0
}

/// The new value of an old one.
pub(crate) fn one(map: &[New], old: Value) -> Value {
    match &map[old.index()] {
        New::One(v) => *v,
        New::Results(_) => panic!("a fault in ogive: {old} has several results and is read without a projection"),
    }
}

/// How often each value of a region is read: by nodes, and by the listed outside readers.
pub(crate) fn uses(region: &Region, read: &[Value]) -> Vec<u32> {
    let mut uses = vec![0; region.nodes.len()];
    for &v in region.nodes.iter().flat_map(|n| &n.inputs).chain(read) {
        uses[v.index()] += 1;
    }
    uses
}

/// The regions around a node as they were, for passes that look at more of them than the node.
#[derive(Default)]
pub(crate) struct Frames(Vec<Frame>);

/// A region that is being rebuilt.
pub(crate) struct Frame {
    /// As it was.
    pub(crate) old: Region,
    readers: Vec<Vec<Option<Value>>>,
    new: Vec<New>,
}

impl Frames {
    /// What [`Rewrite::enter`] does.
    pub(crate) fn enter(&mut self, region: &Region, read: &[Value]) {
        let mut readers = vec![Vec::new(); region.nodes.len()];
        for (i, node) in region.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|v| readers[v.index()].push(Some(Value(i as u32))));
        }
        read.iter().for_each(|v| readers[v.index()].push(None));
        self.0.push(Frame { old: region.clone(), readers, new: Vec::with_capacity(region.nodes.len()) });
    }

    /// What [`Rewrite::leave`] does.
    pub(crate) fn leave(&mut self) {
        self.0.pop();
    }

    /// Puts what `change` makes of a node, else the node itself, in its place.
    pub(crate) fn node(
        &mut self,
        b: &mut Builder<'_>,
        node: Node,
        change: impl FnOnce(&Frame, &mut Builder<'_>, &Node) -> Option<Value>,
    ) -> New {
        let Some(frame) = self.0.last_mut() else { return New::One(b.region.push(node)) };
        let changed = change(frame, b, &node);
        let new = New::One(changed.unwrap_or_else(|| b.region.push(node)));
        frame.new.push(new.clone());
        new
    }
}

impl Frame {
    /// Whether a value has one reader.
    pub(crate) fn is_alone(&self, v: Value) -> bool {
        self.readers[v.index()].len() == 1
    }

    /// The nodes that read a value; `None` for readers outside the region's nodes.
    pub(crate) fn readers(&self, v: Value) -> &[Option<Value>] {
        &self.readers[v.index()]
    }

    /// The one node that reads a value.
    pub(crate) fn reader(&self, v: Value) -> Option<Value> {
        if let [reader] = self.readers[v.index()][..] { reader } else { None }
    }

    /// What stands for an old value.
    pub(crate) fn stands_for(&self, old: Value) -> Value {
        one(&self.new, old)
    }
}

/// A graph whose loops were changed one by one, the innermost first.
pub(crate) fn loops(graph: &Graph, change: &dyn Fn(&mut Loop)) -> Graph {
    fn within(region: &mut Region, change: &dyn Fn(&mut Loop)) {
        for node in &mut region.nodes {
            if let Op::Loop(l) = &mut node.op {
                within(&mut l.body, change);
                change(l);
            }
        }
    }
    let mut graph = graph.clone();
    within(&mut graph.region, change);
    graph
}
