//! The order of groups: after what they read, before what overwrites it, otherwise by the last node they hold.

use crate::entity::Value;
use crate::fuse::{Class, Groups, class};
use crate::graph::Region;
use std::collections::BTreeSet;

/// Edges between groups.
pub(super) struct Order {
    after: Vec<BTreeSet<u32>>,
}

/// Values behind views: what reading `v` touches.
pub(super) fn base(region: &Region, mut v: Value) -> Value {
    while class(region, v) == Class::View {
        v = region.node(v).inputs[0];
    }
    v
}

impl Order {
    /// Edges that follow from the data.
    pub(super) fn new(region: &Region, groups: &Groups) -> Order {
        let mut after = vec![BTreeSet::new(); groups.groups.len()];
        for (g, group) in groups.groups.iter().enumerate() {
            for &m in &group.members {
                for &input in &region.node(m).inputs {
                    if let Some(p) = producer(region, groups, input)
                        && p != g as u32
                    {
                        after[g].insert(p);
                    }
                }
            }
        }
        Order { after }
    }

    /// Groups that read `leaf`, through views too.
    pub(super) fn readers(region: &Region, groups: &Groups, leaf: Value) -> BTreeSet<u32> {
        let mut out = BTreeSet::new();
        for (g, group) in groups.groups.iter().enumerate() {
            let reads = |m: &Value| region.node(*m).inputs.iter().any(|&i| base(region, i) == leaf);
            if group.members.iter().any(reads) {
                out.insert(g as u32);
            }
        }
        out
    }

    /// Whether `group` runs after `other`, directly or not.
    pub(super) fn follows(&self, group: u32, other: u32) -> bool {
        let mut seen = BTreeSet::from([group]);
        let mut stack = vec![group];
        while let Some(g) = stack.pop() {
            if g == other {
                return true;
            }
            stack.extend(self.after[g as usize].iter().copied().filter(|p| seen.insert(*p)));
        }
        false
    }

    /// Adds an edge.
    pub(super) fn put_after(&mut self, group: u32, other: u32) {
        if group != other {
            self.after[group as usize].insert(other);
        }
    }

    /// A sequence that respects all edges.
    pub(super) fn sequence(&self, groups: &Groups) -> Vec<u32> {
        let key = |g: u32| (groups.groups[g as usize].members.last().copied(), g);
        let mut left: Vec<usize> = self.after.iter().map(BTreeSet::len).collect();
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); left.len()];
        for (g, edges) in self.after.iter().enumerate() {
            for &p in edges {
                before[p as usize].push(g as u32);
            }
        }
        let mut ready: BTreeSet<(Option<Value>, u32)> = (0..left.len() as u32).filter(|&g| left[g as usize] == 0).map(key).collect();
        let mut out = Vec::new();
        while let Some((_, g)) = ready.pop_first() {
            out.push(g);
            for &user in &before[g as usize] {
                left[user as usize] -= 1;
                if left[user as usize] == 0 {
                    ready.insert(key(user));
                }
            }
        }
        assert_eq!(out.len(), left.len(), "a fault in ogive: groups form a cycle");
        out
    }
}

/// Group that computes the memory behind a value.
pub(super) fn producer(region: &Region, groups: &Groups, v: Value) -> Option<u32> {
    let mut v = base(region, v);
    if let crate::op::Op::Project(_) = region.node(v).op {
        v = region.node(v).inputs[0];
    }
    groups.of[v.index()]
}
