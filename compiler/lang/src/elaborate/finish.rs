//! From drafts to a program: what no result needs is left out, instances get their paths.

use super::context::{Cx, Draft};
use crate::hir::{Instance, InstanceId, Node, NodeId, Op, Program};
use std::collections::BTreeMap;

struct Finish<'d> {
    drafts: &'d [Draft],
    out: Vec<Instance>,
    ids: BTreeMap<InstanceId, InstanceId>,
}

/// The program of a root; `objective` is appended to it with what it calls.
pub(crate) fn program(cx: &Cx<'_>, name: &str, root: InstanceId, objective: Option<InstanceId>) -> (Program, Option<InstanceId>) {
    let mut finish = Finish { drafts: &cx.drafts, out: Vec::new(), ids: BTreeMap::new() };
    finish.add(root, None, String::new());
    let objective = objective.map(|id| finish.add(id, None, "objective".to_string()));
    let Finish { out, .. } = finish;
    let sources = cx.items.sources().clone();
    (Program { name: name.to_string(), training: cx.training, axes: cx.axes.clone(), instances: out, batch: None, sources }, objective)
}

impl Finish<'_> {
    fn add(&mut self, id: InstanceId, parent: Option<InstanceId>, path: String) -> InstanceId {
        let draft = &self.drafts[id.index()].instance;
        let new = InstanceId(u32::try_from(self.out.len()).unwrap_or(u32::MAX));
        self.ids.insert(id, new);
        let live = live(draft);
        let mut children: Vec<InstanceId> = Vec::new();
        for (node, _) in draft.body.iter().zip(&live).filter(|(_, l)| **l) {
            if let Some(child) = node.op.callee()
                && !children.contains(&child)
            {
                children.push(child);
            }
        }
        children.sort_by(|a, b| self.drafts[a.index()].key.cmp(&self.drafts[b.index()].key));
        let mut instance = pruned(draft, &live);
        instance.path.clone_from(&path);
        instance.parent = parent;
        self.out.push(instance);
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut new_children = Vec::new();
        for &child in &children {
            let draft = &self.drafts[child.index()];
            let label = draft.label.as_str();
            let several = !draft.named && children.iter().filter(|c| self.drafts[c.index()].label == label).count() > 1;
            let component = if several {
                let number = numbers.entry(label).or_default();
                *number += 1;
                format!("{label}.{}", *number - 1)
            } else {
                label.to_string()
            };
            let path = if path.is_empty() { component } else { format!("{path}.{component}") };
            new_children.push(self.add(child, Some(new), path));
        }
        for node in &mut self.out[new.index()].body {
            if let Some(child) = node.op.callee_mut()
                && let Some(id) = self.ids.get(child)
            {
                *child = *id;
            }
        }
        self.out[new.index()].children = new_children;
        new
    }
}

/// Nodes that outputs, taps or states depend on.
fn live(instance: &Instance) -> Vec<bool> {
    let mut live = vec![false; instance.body.len()];
    let states = instance.states.iter().flat_map(|s| [s.start, s.next]);
    for node in instance.outputs.iter().map(|o| o.node).chain(instance.taps.iter().map(|t| t.node)).chain(states) {
        live[node.index()] = true;
    }
    for i in (0..instance.body.len()).rev() {
        if live[i] {
            for input in &instance.body[i].inputs {
                live[input.index()] = true;
            }
        }
    }
    live
}

/// The instance with its live nodes and parameters only.
fn pruned(draft: &Instance, live: &[bool]) -> Instance {
    let mut used = vec![false; draft.params.len()];
    for (node, _) in draft.body.iter().zip(live).filter(|(_, l)| **l) {
        if let Op::Param(i) = node.op {
            used[i as usize] = true;
        }
    }
    // parameters come in declared order, whatever the order of use
    let mut order: Vec<usize> = (0..draft.params.len()).filter(|i| used[*i]).collect();
    order.sort_by_key(|&i| draft.params[i].span);
    let mut numbers = vec![0u32; draft.params.len()];
    for (new, &old) in order.iter().enumerate() {
        numbers[old] = u32::try_from(new).unwrap_or(u32::MAX);
    }
    let mut nodes: Vec<NodeId> = vec![NodeId(0); draft.body.len()];
    let mut body: Vec<Node> = Vec::new();
    for (i, node) in draft.body.iter().enumerate().filter(|(i, _)| live[*i]) {
        nodes[i] = NodeId(u32::try_from(body.len()).unwrap_or(u32::MAX));
        let mut node = node.clone();
        node.inputs.iter_mut().for_each(|n| *n = nodes[n.index()]);
        if let Op::Param(i) = &mut node.op {
            *i = numbers[*i as usize];
        }
        body.push(node);
    }
    let mut instance = draft.clone();
    instance.body = body;
    instance.params = order.iter().map(|&i| draft.params[i].clone()).collect();
    instance.outputs.iter_mut().for_each(|o| o.node = nodes[o.node.index()]);
    instance.taps.iter_mut().for_each(|t| t.node = nodes[t.node.index()]);
    for state in &mut instance.states {
        state.start = nodes[state.start.index()];
        state.next = nodes[state.next.index()];
    }
    instance
}
