//! Grows groups: first along producer and consumer, then between readers of one value. A merge never makes a cycle between groups.

use super::late::{LARGE, is_cheap, levels};
use super::{Class, Group, Groups, Kind, class, domain};
use crate::entity::Value;
use crate::graph::{Graph, Region};
use crate::op::{MapFn, Op};
use crate::schedule::layout::Layout;
use crate::shape::Shape;
use std::collections::{BTreeMap, BTreeSet};

/// Rows and columns from which on a product takes up a sum.
const SIDE: u64 = 4;
/// Most nodes in a group.
const LARGEST_GROUP: usize = 160;

/// State of the grouping of one region.
pub(super) struct Merger<'a> {
    graph: &'a Graph,
    region: &'a Region,
    layout: &'a Layout,
    users: Vec<Vec<Value>>,
    root: Vec<u32>,
    members: BTreeMap<u32, Vec<Value>>,
}

impl<'a> Merger<'a> {
    pub(super) fn new(graph: &'a Graph, region: &'a Region, layout: &'a Layout) -> Self {
        let count = region.nodes.len();
        let mut users = vec![Vec::new(); count];
        for (i, node) in region.nodes.iter().enumerate() {
            for input in &node.inputs {
                users[input.index()].push(Value(i as u32));
            }
        }
        let members = (0..count as u32).map(|i| (i, vec![Value(i)])).collect();
        Merger { graph, region, layout, users, root: (0..count as u32).collect(), members }
    }

    /// Whether a node is one of a row program, or to be.
    fn is_row(&self, v: Value) -> bool {
        class(self.region, v) == Class::Row && class(self.region, self.members[&self.root[v.index()]][0]) == Class::Row
    }

    /// Whether a path leads from group `from` to group `to` through a third.
    fn detour(&self, from: u32, to: u32) -> bool {
        let mut seen = BTreeSet::new();
        let mut stack: Vec<u32> = Vec::new();
        let push = |of: u32, stack: &mut Vec<u32>, seen: &mut BTreeSet<u32>, skip: bool| {
            for &m in &self.members[&of] {
                for &user in &self.users[m.index()] {
                    let group = self.root[user.index()];
                    if group == from || (skip && group == to) {
                        continue;
                    }
                    if seen.insert(group) {
                        stack.push(group);
                    }
                }
            }
        };
        push(from, &mut stack, &mut seen, true);
        while let Some(group) = stack.pop() {
            if group == to {
                return true;
            }
            push(group, &mut stack, &mut seen, false);
        }
        false
    }

    fn try_merge(&mut self, a: Value, b: Value) -> bool {
        let (from, to) = (self.root[a.index()], self.root[b.index()]);
        if from == to {
            return false;
        }
        let mut together: Vec<Value> = self.members[&from].iter().chain(&self.members[&to]).copied().collect();
        together.sort_unstable();
        if together.len() > LARGEST_GROUP || domain::fit(self.graph, self.region, self.layout, &together).is_none() {
            return false;
        }
        if self.kept_aside(from, to)
            || self.detour(from, to)
            || self.detour(to, from)
            || self.reads_own_memory(&together)
            || self.parts_readers(&together)
        {
            return false;
        }
        let (keep, gone) = (from.min(to), from.max(to));
        for v in self.members.remove(&gone).unwrap_or_default() {
            self.root[v.index()] = keep;
        }
        self.members.insert(keep, together);
        true
    }

    /// Whether, in a step of a loop, group `from` makes vectors for a matrix of `to` that others read too. Apart, the kernels of small
    /// matrices do for `to`; together they would not.
    fn kept_aside(&self, from: u32, to: u32) -> bool {
        let domain = |group: u32| {
            let all = self.members[&group].iter().map(|&v| super::domain_of(self.region, v));
            all.max_by_key(crate::shape::Shape::rank).unwrap_or_default()
        };
        let (small, large) = (domain(from), domain(to));
        let step = self.region.nodes.iter().any(|n| matches!(n.op, Op::Argument(_)));
        let outside = |user: &Value| ![from, to].contains(&self.root[user.index()]);
        let read = |v: &Value| self.users[v.index()].iter().any(outside);
        step && large.rank() > small.rank() && large.contains_all(&small) && self.members[&from].iter().any(read)
    }

    /// Whether a member reads, from memory, what another member computes: a gather's table, or anything through a view.
    fn reads_own_memory(&self, members: &[Value]) -> bool {
        members.iter().any(|&v| {
            let node = self.region.node(v);
            matches!(node.op, Op::Gather(_)) && members.contains(&node.inputs[0])
        })
    }

    /// Whether a sum that leaves the group decides over a reader of the group's other values: that reader could never join.
    fn parts_readers(&self, members: &[Value]) -> bool {
        let Some(domain) = members.iter().map(|&v| super::domain_of(self.region, v)).max_by_key(crate::shape::Shape::rank) else {
            return false;
        };
        let reader = |v: Value| {
            self.users[v.index()]
                .iter()
                .copied()
                .find(|u| !members.contains(u) && self.is_row(*u) && super::domain_of(self.region, *u) == domain)
        };
        let leaves = |v: &&Value| {
            let whole = super::reduction(self.region, **v)
                .is_some_and(|(_, over)| over == domain && self.graph.elements(&over) > domain::LONGEST_ROW);
            whole && !members.iter().any(|m| self.region.node(*m).inputs.contains(*v))
        };
        let sums: Vec<Value> = members.iter().filter(leaves).copied().collect();
        !sums.is_empty()
            && members.iter().filter(|v| !sums.contains(v)).filter_map(|&v| reader(v)).any(|u| sums.iter().any(|&s| self.leads(s, u)))
    }

    /// Whether `to` depends on `from`.
    fn leads(&self, from: Value, to: Value) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut stack = vec![from];
        while let Some(v) = stack.pop() {
            for &user in self.users[v.index()].iter().filter(|u| **u <= to) {
                if user == to {
                    return true;
                }
                if seen.insert(user) {
                    stack.push(user);
                }
            }
        }
        false
    }

    /// Gives products of matrices the sums that they are the last part of, where the other part is in memory anyway.
    pub(super) fn sums(&mut self) {
        let in_memory = |own: &Self, mut v: Value| {
            while class(own.region, v) == Class::View {
                v = own.region.node(v).inputs[0];
            }
            let group = &own.members[&own.root[v.index()]];
            matches!(class(own.region, v), Class::Leaf | Class::Whole) || group.len() > 1
        };
        let top = std::ptr::eq(self.region, &raw const self.graph.region);
        let outputs = self.graph.outputs.iter().filter(|_| top).map(|o| o.value);
        let outside: BTreeSet<Value> = self.region.results.iter().copied().chain(outputs).collect();
        for i in 0..self.region.nodes.len() {
            let (v, node) = (Value(i as u32), &self.region.nodes[i]);
            if node.op != Op::Map(MapFn::Add) || node.inputs[0] == node.inputs[1] {
                continue;
            }
            // The product that comes last.
            let mut pairs = [(node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])];
            pairs.sort_by_key(|p| std::cmp::Reverse(p.0));
            let found = pairs.into_iter().find(|&(product, other)| {
                let alone = self.users[product.index()].len() == 1
                    && !outside.contains(&product)
                    && self.members[&self.root[product.index()]].len() == 1;
                let ty = &node.ty;
                alone && self.is_matrix(product) && self.region.ty(product) == ty && self.region.ty(other) == ty && in_memory(self, other)
            });
            let Some((product, _)) = found else { continue };
            let (from, to) = (self.root[product.index()], self.root[i]);
            if self.detour(from, to) || self.detour(to, from) {
                continue;
            }
            self.members.remove(&to);
            self.members.insert(from, vec![product, v]);
            self.root[i] = from;
        }
    }

    /// Whether a node is a product of matrices that each have some rows or columns of their own.
    fn is_matrix(&self, v: Value) -> bool {
        let node = self.region.node(v);
        let Op::Contract(over) = &node.op else { return false };
        let [a, b] = [0, 1].map(|i| &self.region.ty(node.inputs[i]).shape);
        let own = |x: &Shape, y: &Shape| self.graph.elements(&x.minus(y).minus(&Shape::of(over.iter().copied())));
        class(self.region, v) == Class::Whole && own(a, b) >= SIDE && own(b, a) >= SIDE
    }

    /// Merges along producer and consumer.
    pub(super) fn chains(&mut self) {
        // What is cheap and wanted behind a kernel of its own only goes with its readers, where it can.
        let levels = levels(self.region);
        let mut late = vec![false; levels.len()];
        for v in (0..levels.len() as u32).rev().map(Value) {
            let behind = |u: &Value| self.is_row(*u) && (levels[u.index()] > levels[v.index()] || late[u.index()]);
            let users = &self.users[v.index()];
            late[v.index()] = !users.is_empty() && users.iter().all(behind) && is_cheap(&self.graph.axes, self.region, v, LARGE);
        }
        let all = || (0..late.len() as u32).map(Value);
        for v in all().filter(|v| !late[v.index()]) {
            self.with_operands(v, |_| true);
        }
        for v in all().rev().filter(|v| late[v.index()]) {
            self.with_operands(v, |input| late[input.index()]);
        }
        for v in all().filter(|v| late[v.index()]) {
            self.with_operands(v, |_| true);
        }
    }

    /// Merges a node with those that compute its operands.
    fn with_operands(&mut self, v: Value, wanted: impl Fn(Value) -> bool) {
        for &input in super::register_operands(self.region, v) {
            if self.is_row(v) && self.is_row(input) && wanted(input) {
                self.try_merge(input, v);
            }
        }
    }

    /// Merges groups that read one value over one domain.
    pub(super) fn siblings(&mut self) {
        for i in 0..self.region.nodes.len() {
            let v = Value(i as u32);
            if matches!(class(self.region, v), Class::Inline) || self.region.ty(v).shape.is_scalar() {
                continue;
            }
            let readers: Vec<Value> = self.users[i].iter().copied().filter(|&u| self.is_row(u)).collect();
            for pair in readers.windows(2) {
                let same = super::domain_of(self.region, pair[0]) == super::domain_of(self.region, pair[1]);
                if same && super::domain_of(self.region, pair[0]).contains_all(&self.region.ty(v).shape) {
                    self.try_merge(pair[0], pair[1]);
                }
            }
        }
    }

    pub(super) fn finish(self) -> Groups {
        let mut out = Groups { of: vec![None; self.region.nodes.len()], groups: Vec::new() };
        for (_, members) in self.members {
            let kind = match (class(self.region, members[0]), &self.region.node(members[0]).op) {
                (Class::Row, _) => Kind::Rows,
                (Class::Whole, Op::Contract(_)) => Kind::Contract,
                (Class::Whole, Op::Solve { .. }) => Kind::Solve,
                (Class::Whole, Op::Attend(_) | Op::AttendGrad(_)) => Kind::Attend,
                (Class::Whole, Op::ScatterAdd { .. }) => Kind::Scatter,
                (Class::Whole, Op::TopK { .. }) => Kind::Select,
                (Class::Whole, Op::Route { .. }) => Kind::Route,
                (Class::Whole, Op::Routed { .. } | Op::RoutedOuter { .. }) => Kind::Routed,
                (Class::Whole, Op::Loop(_)) => Kind::Loop,
                (Class::Whole, _) => Kind::Move,
                _ => continue,
            };
            let (domain, inner) = match kind {
                Kind::Rows => domain::fit(self.graph, self.region, self.layout, &members).unwrap_or_default(),
                _ => (self.region.ty(members[0]).shape.clone(), None),
            };
            for v in &members {
                out.of[v.index()] = Some(out.groups.len() as u32);
            }
            out.groups.push(Group { kind, members, domain, inner });
        }
        out
    }
}
