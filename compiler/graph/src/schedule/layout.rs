//! Chooses the order of every value's axes, once. Ports keep the order that the outside gave them; values joined by element-wise functions of
//! one shape share an order, so that updates of a parameter run straight through memory; all others take the order that flows from their
//! operands: rows of data outside, features inside. Where loops take a block of positions at a time, matrices that they carry have these
//! outermost, so that the matrix of each position lies in one piece.

use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Graph, Region};
use crate::op::{Loop, LoopKind, Op};
use crate::part;
use crate::shape::Shape;
use std::collections::{BTreeMap, BTreeSet};

/// An order of axes, slowest first.
pub type Order = Vec<AxisId>;

/// Orders of a region's values.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Per value.
    pub orders: Vec<Order>,
    /// Layouts of loop bodies, by the loop's node.
    pub bodies: BTreeMap<u32, Layout>,
    /// Of a loop's body: orders of the carries.
    pub carries: Vec<Order>,
}

impl Layout {
    fn with_carries(mut self, orders: &[Order]) -> Layout {
        self.carries = orders.to_vec();
        self
    }
}

/// Orders for the whole graph.
pub fn layouts(graph: &Graph) -> Layout {
    let mut data = BTreeSet::new();
    for node in &graph.region.nodes {
        if let Op::Input(port) = &node.op {
            data.extend(port.order.iter().copied());
        }
    }
    let mut wishes = vec![None; graph.region.nodes.len()];
    for pass in [true, false] {
        for output in graph.outputs.iter().filter(|o| o.update == pass) {
            wishes[output.value.index()].get_or_insert_with(|| output.port.order.clone());
        }
    }
    let known = Known { axes: &graph.axes, data, within: part::within(graph) };
    region(&graph.region, &known, &[], wishes)
}

/// What is known of axes.
struct Known<'g> {
    axes: &'g [Axis],
    /// Those of inputs.
    data: BTreeSet<AxisId>,
    /// Positions within blocks ([`part`]).
    within: BTreeSet<AxisId>,
}

/// Values that should have one order, by union-find.
struct Classes {
    parent: Vec<u32>,
    order: Vec<Option<Order>>,
}

impl Classes {
    fn root(&mut self, mut v: u32) -> u32 {
        while self.parent[v as usize] != v {
            let up = self.parent[self.parent[v as usize] as usize];
            self.parent[v as usize] = up;
            v = up;
        }
        v
    }

    fn join(&mut self, a: Value, b: Value) {
        let (a, b) = (self.root(a.0), self.root(b.0));
        self.parent[a.max(b) as usize] = a.min(b);
    }

    fn wish(&mut self, v: Value, order: &Order) {
        let root = self.root(v.0) as usize;
        self.order[root].get_or_insert_with(|| order.clone());
    }

    fn get(&mut self, v: Value) -> Option<Order> {
        let root = self.root(v.0) as usize;
        self.order[root].clone()
    }
}

fn region(region: &Region, known: &Known<'_>, arguments: &[Order], wishes: Vec<Option<Order>>) -> Layout {
    let count = region.nodes.len();
    let mut classes = Classes { parent: (0..count as u32).collect(), order: vec![None; count] };
    for (i, node) in region.nodes.iter().enumerate() {
        let v = Value(i as u32);
        match &node.op {
            Op::Map(_) => {
                for &input in &node.inputs {
                    if region.ty(input).shape == node.ty.shape && node.ty.shape.rank() > 1 {
                        classes.join(input, v);
                    }
                }
            }
            Op::Project(k) => {
                let of = region.node(node.inputs[0]);
                if let Op::Loop(l) = &of.op
                    && (*k as usize) < l.carries
                {
                    classes.join(of.inputs[*k as usize], v);
                }
            }
            _ => {}
        }
    }
    for (i, node) in region.nodes.iter().enumerate() {
        let v = Value(i as u32);
        match &node.op {
            Op::Param(port) | Op::Input(port) => classes.wish(v, &port.order),
            Op::Argument(k) => {
                if let Some(order) = arguments.get(*k as usize) {
                    classes.wish(v, order);
                }
            }
            _ => {}
        }
    }
    for (i, wish) in wishes.iter().enumerate() {
        if let Some(order) = wish {
            classes.wish(Value(i as u32), order);
        }
    }
    for (i, node) in region.nodes.iter().enumerate().rev() {
        let v = Value(i as u32);
        if let Op::Rename(pairs) = &node.op
            && let Some(order) = classes.get(v)
        {
            let back = order.iter().map(|&a| pairs.iter().find(|p| p.1 == a).map_or(a, |p| p.0)).collect();
            classes.wish(node.inputs[0], &back);
        }
        // What a system is solved for lies as its solution does: rows are found from rows.
        if let Op::Solve { .. } = node.op
            && region.ty(node.inputs[1]).shape == node.ty.shape
            && let Some(order) = classes.get(v)
        {
            classes.wish(node.inputs[1], &order);
        }
        if let Op::Random(random) = &node.op {
            classes.wish(v, &random.order);
        }
    }
    let mut steps: BTreeMap<u32, AxisId> = BTreeMap::new();
    for (v, axis) in step_by_step(region, known) {
        steps.entry(classes.root(v.0)).or_insert(axis);
    }
    let mut layout = Layout { orders: vec![Order::new(); count], bodies: BTreeMap::new(), carries: Vec::new() };
    for (i, node) in region.nodes.iter().enumerate() {
        let v = Value(i as u32);
        let fixed = match &node.op {
            Op::Input(port) | Op::Param(port) => Some(port.order.clone()),
            Op::Argument(k) => arguments.get(*k as usize).cloned(),
            Op::Random(random) => Some(random.order.clone()),
            Op::Project(k) => numbering(&region.node(node.inputs[0]).op, *k),
            _ => None,
        };
        if let Op::Loop(l) = &node.op {
            let body = loop_body(region, i, l, known, &layout, &mut classes);
            layout.bodies.insert(i as u32, body);
            continue;
        }
        let chosen = fixed.or_else(|| if is_view(&node.op) { None } else { classes.get(v) });
        let order = chosen.unwrap_or_else(|| {
            let mut order = flow(region, v, known, &layout);
            if let Some(axis) = steps.get(&classes.root(v.0)).filter(|_| !is_view(&node.op)) {
                order.sort_by_key(|a| a != axis);
            }
            order
        });
        debug_assert_eq!(Shape::of(order.iter().copied()), node.ty.shape);
        classes.wish(v, &order);
        layout.orders[i] = order;
    }
    layout
}

/// Values that a scan reads step by step, and its axis: a step's part of them should lie in one piece. Scans whose batch is parted read
/// sequence by sequence instead.
fn step_by_step(region: &Region, known: &Known<'_>) -> Vec<(Value, AxisId)> {
    let mut found = Vec::new();
    for node in &region.nodes {
        let Op::Loop(l) = &node.op else { continue };
        let stacked = &node.inputs[l.carries..l.carries + l.stacked];
        match l.kind {
            LoopKind::Scan => found.extend(stacked.iter().filter_map(|&v| Some((base(region, v, l.axis)?, l.axis)))),
            LoopKind::Each if !known.data.contains(&l.axis) => {
                for (v, axis) in step_by_step(&l.body, known) {
                    if let Op::Argument(j) = l.body.node(v).op
                        && let Some(&outside) = stacked.get(j as usize)
                    {
                        found.extend(base(region, outside, axis).map(|v| (v, axis)));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// What a value is a view of, where that has the axis too.
fn base(region: &Region, mut v: Value, axis: AxisId) -> Option<Value> {
    while is_view(&region.node(v).op) {
        v = region.node(v).inputs[0];
    }
    region.ty(v).shape.contains(axis).then_some(v)
}

/// The order that gives the numbers in a result of a route their meaning; whoever reads them finds it in the layout.
fn numbering(op: &Op, result: u32) -> Option<Order> {
    match op {
        Op::Route { order, .. } if result == 0 => Some(order.clone()),
        Op::Route { shared, axis, .. } => Some(shared.iter().copied().chain([*axis]).collect()),
        _ => None,
    }
}

/// Whether the value is another reading of its input's memory.
pub fn is_view(op: &Op) -> bool {
    matches!(op, Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } | Op::Slice { .. })
}

fn loop_body(outer: &Region, node: usize, l: &Loop, known: &Known<'_>, layout: &Layout, classes: &mut Classes) -> Layout {
    let inputs = &outer.nodes[node].inputs;
    let arguments: Vec<Order> = inputs
        .iter()
        .enumerate()
        .map(|(j, v)| {
            let order = &layout.orders[v.index()];
            let stacked = (l.carries..l.carries + l.stacked).contains(&j);
            let mut order: Order = order.iter().copied().filter(|&a| !stacked || a != l.axis).collect();
            // Of a vector for each row of data, the rows stay outside.
            let matrix = order.len() > 2 || order.first().is_some_and(|a| !known.data.contains(a));
            if j < l.carries && matrix {
                order.sort_by_key(|a| !known.within.contains(a));
            }
            order
        })
        .collect();
    let mut wishes = vec![None; l.body.nodes.len()];
    for (j, r) in l.body.results.iter().enumerate().take(l.carries) {
        wishes[r.index()].get_or_insert_with(|| arguments[j].clone());
    }
    for (j, user) in outer.nodes.iter().enumerate() {
        if let Op::Project(k) = user.op
            && user.inputs[0].index() == node
            && k as usize >= l.carries
            && let Some(order) = classes.get(Value(j as u32))
        {
            let r = l.body.results[k as usize];
            wishes[r.index()].get_or_insert_with(|| order.iter().copied().filter(|&a| a != l.axis).collect());
        }
    }
    region(&l.body, known, &arguments, wishes).with_carries(&arguments[..l.carries])
}

fn merged(base: &Order, other: &Order, append: bool) -> Order {
    let mut out = base.clone();
    for (i, a) in other.iter().enumerate() {
        if out.contains(a) {
            continue;
        }
        let next = other[i + 1..].iter().find_map(|b| out.iter().position(|c| c == b));
        match next {
            Some(at) if !append => out.insert(at, *a),
            _ => out.push(*a),
        }
    }
    out
}

/// The order that follows from the operands.
fn flow(region: &Region, v: Value, known: &Known<'_>, layout: &Layout) -> Order {
    let data = &known.data;
    let node = region.node(v);
    let of = |i: usize| &layout.orders[node.inputs[i].index()];
    let without = |order: &Order, gone: &[AxisId]| -> Order { order.iter().copied().filter(|a| !gone.contains(a)).collect() };
    match &node.op {
        Op::Input(port) | Op::Param(port) => port.order.clone(),
        Op::Argument(_) => node.ty.shape.iter().collect(),
        Op::Const(_) => Order::new(),
        Op::Iota(a) => vec![*a],
        Op::Random(random) => random.order.clone(),
        Op::Map(_) => {
            let mut by_rank: Vec<usize> = (0..node.inputs.len()).collect();
            by_rank.sort_by_key(|&i| std::cmp::Reverse((of(i).len(), of(i).iter().filter(|a| data.contains(a)).count())));
            let mut order = by_rank.iter().fold(Order::new(), |order, &i| merged(&order, of(i), order.is_empty()));
            if by_rank.first().is_some_and(|&i| !of(i).iter().any(|a| data.contains(a))) {
                order.sort_by_key(|a| !data.contains(a));
            }
            order
        }
        Op::Reduce(_, over) | Op::LogSumExp(over) => without(of(0), over),
        Op::Softmax(_) => of(0).clone(),
        Op::ArgMax(a) => without(of(0), &[*a]),
        Op::Contract(over) => {
            // Steps against steps: where one axis of a pair is summed over, the other comes to its place outside.
            let left = |order: &Order, other: &Order| -> Order {
                let of = |a: AxisId| &known.axes[a.index()];
                let twin = |at: usize| {
                    let x = order[at];
                    let alike =
                        |y: &AxisId| !over.contains(y) && !other.contains(y) && of(*y).name == of(x).name && of(*y).size == of(x).size;
                    if over.contains(&x) { order[at..].iter().copied().find(alike) } else { Some(x) }
                };
                let mut out = Order::new();
                for x in (0..order.len()).filter_map(twin) {
                    if !out.contains(&x) {
                        out.push(x);
                    }
                }
                out
            };
            let (a, b) = (left(of(0), of(1)), left(of(1), of(0)));
            let rank = |o: &Order| o.iter().filter(|x| data.contains(x)).count();
            if rank(&b) > rank(&a) { merged(&b, &a, true) } else { merged(&a, &b, true) }
        }
        Op::Solve { row, col, .. } => merged(&without(of(0), &[*row, *col]), of(1), true),
        Op::Rename(pairs) => of(0).iter().map(|&a| pairs.iter().find(|p| p.0 == a).map_or(a, |p| p.1)).collect(),
        Op::Split { axis, into } => of(0).iter().flat_map(|a| if a == axis { into.clone() } else { vec![*a] }).collect(),
        Op::Merge { from, into } => {
            let last = from.last().copied();
            of(0).iter().filter(|a| Some(**a) == last || !from.contains(a)).map(|&a| if Some(a) == last { *into } else { a }).collect()
        }
        Op::Slice { axis, into, .. } | Op::Pad { axis, into, .. } => of(0).iter().map(|&a| if a == *axis { *into } else { a }).collect(),
        Op::Concat { axes, into } => of(0).iter().map(|&a| if a == axes[0] { *into } else { a }).collect(),
        Op::Gather(axis) => merged(of(1), &without(of(0), &[*axis]), true),
        Op::ScatterAdd { axis, keep } => {
            let kept: Order = of(1).iter().copied().filter(|a| keep.contains(a)).collect();
            let aligned: Order = kept.iter().copied().filter(|a| of(0).contains(a)).collect();
            let rest = kept.iter().copied().filter(|a| !of(0).contains(a));
            aligned.iter().copied().chain([*axis]).chain(rest).collect()
        }
        Op::TopK { over, into } => {
            let kept = node.inputs.iter().enumerate().fold(Order::new(), |order, (i, _)| merged(&order, &without(of(i), over), true));
            kept.into_iter().chain([*into]).collect()
        }
        Op::Route { order, .. } => order.clone(),
        Op::Routed { axis, over } => {
            let points = merged(&without(of(0), over), &without(of(2), over), true);
            merged(&points, &without(&without(of(1), &[*axis]), over), true)
        }
        Op::RoutedOuter { axis, keep } => {
            let kept = |i: usize| -> Order { of(i).iter().copied().filter(|a| keep.contains(a)).collect() };
            let groups: Order = kept(2).into_iter().chain([*axis]).collect();
            merged(&merged(&groups, &kept(0), true), &kept(1), true)
        }
        Op::Attend(a) => without(of(0), &[a.key]).into_iter().chain([a.value]).collect(),
        Op::AttendGrad(_) => of(0).clone(),
        Op::Loop(_) => Order::new(),
        Op::Project(k) => project(region, node.inputs[0], *k as usize, layout),
    }
}

fn project(region: &Region, of: Value, k: usize, layout: &Layout) -> Order {
    let node = region.node(of);
    let input = |i: usize| layout.orders[node.inputs[i].index()].clone();
    match &node.op {
        Op::Loop(l) if k < l.carries => input(k),
        Op::Loop(l) => {
            let body = layout.bodies.get(&of.0).map(|b| b.orders[l.body.results[k].index()].clone()).unwrap_or_default();
            [l.axis].into_iter().chain(body).collect()
        }
        Op::Attend(a) => {
            let lse = input(0).into_iter().filter(|&x| x != a.key);
            if k == 0 { lse.chain([a.value]).collect() } else { lse.collect() }
        }
        Op::AttendGrad(_) => input(k.min(2)),
        _ => layout.orders[of.index()].clone(),
    }
}
