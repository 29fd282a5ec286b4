//! Plans a region: which values get memory and where, its groups in sequence, loops around bodies.

use super::layout::Layout;
use super::order::{Order, base};
use super::storage::Storage;
use super::{Planner, Unsupported};
use crate::entity::Value;
use crate::fuse::{Class, Group, Groups, Kind, class, domain_of, groups, register_operands};
use crate::graph::{Graph, Region};
use crate::op::Op;
use crate::plan::Step;
use crate::shape::DType;
use std::collections::{BTreeMap, BTreeSet};

/// A region being planned.
pub(crate) struct Frame<'g> {
    pub(super) region: &'g Region,
    pub(super) layout: &'g Layout,
    pub(super) groups: Groups,
    /// Memory of values that have it so far.
    pub(super) storage: BTreeMap<Value, Storage>,
    /// Where values must go.
    pub(super) targets: BTreeMap<Value, Storage>,
    /// Row values that leave their group.
    pub(super) kept: BTreeSet<Value>,
    /// Targets that overwrite an operand of the same group.
    pub(super) in_place: BTreeSet<Value>,
    pub(super) steps: Vec<Step>,
}

impl<'g> Frame<'g> {
    pub(super) fn new(planner: &Planner<'g>, region: &'g Region, layout: &'g Layout, results: &[Value]) -> Frame<'g> {
        let groups = groups(planner.graph, region, layout);
        let mut kept = BTreeSet::new();
        for (i, node) in region.nodes.iter().enumerate() {
            let v = Value(i as u32);
            let in_registers = if class(region, v) == Class::Row { register_operands(region, v) } else { &[] };
            for &input in &node.inputs {
                if class(region, input) == Class::Row && !(in_registers.contains(&input) && groups.of[input.index()] == groups.of[i]) {
                    kept.insert(input);
                }
            }
        }
        kept.extend(results.iter().copied());
        Frame {
            region,
            layout,
            groups,
            storage: BTreeMap::new(),
            targets: BTreeMap::new(),
            kept,
            in_place: BTreeSet::new(),
            steps: Vec::new(),
        }
    }

    /// Whether a value may be computed straight into other memory: a kernel's result that has no memory yet.
    fn computed(&self, v: Value) -> bool {
        if self.targets.contains_key(&v) {
            return false;
        }
        let node = self.region.node(v);
        let Op::Project(k) = node.op else { return matches!(class(self.region, v), Class::Row | Class::Whole) };
        let twin = |t: &Value| self.region.node(*t).op == node.op && self.region.node(*t).inputs == node.inputs;
        let free = !self.targets.keys().any(twin);
        free && match &self.region.node(node.inputs[0]).op {
            Op::Attend(_) | Op::AttendGrad(_) | Op::Route { .. } => true,
            Op::Loop(l) => k as usize >= l.carries,
            _ => false,
        }
    }

    /// Whether a value can be computed where `held` lies, which it replaces: the group that computes it reads that element by element only,
    /// and every other reader can run before, which is then seen to.
    pub(super) fn overwrites(&mut self, order: &mut Order, value: Value, held: &[Value]) -> bool {
        let region = self.region;
        let Some(group) = self.groups.of[value.index()].filter(|_| self.computed(value)) else { return false };
        let holder = &self.groups.groups[group as usize];
        // A row program that visits more than the value's axes would read what it has written.
        let own = &region.ty(value).shape;
        let adds = holder.kind == Kind::Contract && holder.members.len() > 1;
        if !(adds || holder.kind == Kind::Rows) || domain_of(region, value) != *own || holder.domain != *own || reads_late(region, holder) {
            return false;
        }
        let mut before = BTreeSet::new();
        for &leaf in held {
            for &m in &holder.members {
                let node = region.node(m);
                let through_view = node.inputs.iter().any(|&i| i != leaf && base(region, i) == leaf);
                let product = class(region, m) == Class::Whole;
                let from_memory = node.inputs.contains(&leaf) && (product || !register_operands(region, m).contains(&leaf));
                if through_view || from_memory {
                    return false;
                }
            }
            before.extend(Order::readers(region, &self.groups, leaf).into_iter().filter(|&g| g != group));
        }
        if before.iter().any(|&g| order.follows(g, group)) {
            return false;
        }
        for g in before {
            order.put_after(group, g);
        }
        self.in_place.insert(value);
        true
    }

    /// Makes a kernel write `to` where the value, or what it is a view of, is computed; `false` where a copy is needed.
    pub(super) fn target(&mut self, graph: &Graph, mut v: Value, mut to: Storage) -> bool {
        while class(self.region, v) == Class::View {
            let node = self.region.node(v);
            let back = match &node.op {
                Op::Rename(pairs) => Op::Rename(pairs.iter().map(|&(a, b)| (b, a)).collect()),
                Op::Split { axis, into } => Op::Merge { from: into.clone(), into: *axis },
                Op::Merge { from, into } => Op::Split { axis: *into, into: from.clone() },
                _ => return false,
            };
            let Some(behind) = to.view(graph, &back) else { return false };
            (v, to) = (node.inputs[0], behind);
        }
        let free = self.computed(v);
        if free {
            self.targets.insert(v, to);
        }
        free
    }
}

impl<'g> Planner<'g> {
    /// The whole graph.
    pub(super) fn top(&mut self, layout: &'g Layout) -> Result<Vec<Step>, Unsupported> {
        let graph = self.graph;
        check_types(&graph.region)?;
        let results: Vec<Value> = graph.outputs.iter().map(|o| o.value).collect();
        let mut frame = Frame::new(self, &graph.region, layout, &results);
        frame.storage = self.ports();
        let mut order = Order::new(&graph.region, &frame.groups);
        let mut late = Vec::new();
        let mut early = Vec::new();
        for (i, output) in graph.outputs.iter().enumerate() {
            let to = self.output(i);
            let from = base(&graph.region, output.value);
            if matches!(graph.region.node(from).op, Op::Param(_)) && (output.update || graph.outputs.iter().any(|o| o.update)) {
                early.push((output, to));
                continue;
            }
            let may = !output.update || self.updates_in_place(&mut frame, &mut order, i);
            if !may || !frame.target(graph, output.value, to.clone()) {
                late.push((output.value, to));
            }
        }
        let mut after = Vec::new();
        for (output, to) in early {
            let from = self.memory(&mut frame, output.value);
            let ty = graph.region.ty(output.value);
            if output.update {
                let copy = self.fresh(&output.port.name, ty, &output.port.order);
                self.copy(&mut frame.steps, &from, &copy, ty, frame.region.node(output.value));
                after.push((copy, to, output.value));
            } else {
                self.copy(&mut frame.steps, &from, &to, ty, frame.region.node(output.value));
            }
        }
        self.place_parts(&mut frame);
        self.run_groups(&mut frame, &order)?;
        for (value, to) in late {
            let from = self.memory(&mut frame, value);
            self.copy(&mut frame.steps, &from, &to, graph.region.ty(value), frame.region.node(value));
        }
        for (from, to, value) in after {
            self.copy(&mut frame.steps, &from, &to, graph.region.ty(value), frame.region.node(value));
        }
        Ok(frame.steps)
    }

    /// Whether the update can be written where its parameter lies.
    fn updates_in_place(&self, frame: &mut Frame<'g>, order: &mut Order, output: usize) -> bool {
        let output = &self.graph.outputs[output];
        let nodes = &frame.region.nodes;
        let held = (0..nodes.len()).filter(|&i| matches!(&nodes[i].op, Op::Param(p) if p.name == output.port.name));
        let held: Vec<Value> = held.map(|i| Value(i as u32)).collect();
        // Outputs that show the parameter itself are copied before any group runs.
        frame.overwrites(order, output.value, &held)
    }

    /// Has what is joined computed where it will lie, as far as kernels compute it.
    pub(super) fn place_parts(&mut self, frame: &mut Frame<'g>) {
        for v in (0..frame.region.nodes.len() as u32).map(Value) {
            let node = frame.region.node(v);
            let Op::Concat { axes, into } = &node.op else { continue };
            let whole = self.place_of(frame, v);
            let mut start = 0;
            for (&input, &axis) in node.inputs.iter().zip(axes) {
                if let Some(part) = whole.view(self.graph, &Op::Slice { axis: *into, start, into: axis }) {
                    frame.target(self.graph, input, part);
                }
                start += self.graph.size(axis);
            }
        }
    }

    pub(super) fn run_groups(&mut self, frame: &mut Frame<'g>, order: &Order) -> Result<(), Unsupported> {
        for g in order.sequence(&frame.groups) {
            let group = frame.groups.groups[g as usize].clone();
            match group.kind {
                Kind::Rows => self.row_group(frame, &group)?,
                Kind::Loop => self.run_loop(frame, group.members[0])?,
                Kind::Contract => self.contract(frame, &group.members),
                Kind::Solve => self.solve(frame, group.members[0]),
                Kind::Attend => self.attend(frame, group.members[0]),
                Kind::Scatter => self.scatter(frame, group.members[0]),
                Kind::Move => self.moves(frame, group.members[0])?,
                Kind::Select | Kind::Route | Kind::Routed => self.chosen(frame, group.members[0])?,
            }
        }
        Ok(())
    }

    /// New or prescribed memory of a value about to be computed.
    pub(super) fn place_of(&mut self, frame: &mut Frame<'g>, v: Value) -> Storage {
        let storage = match frame.targets.get(&v) {
            Some(target) => target.clone(),
            None => {
                let name = format!("{v}");
                self.fresh(&name, frame.region.ty(v), &frame.layout.orders[v.index()])
            }
        };
        frame.storage.insert(v, storage.clone());
        storage
    }

    /// Memory of a value, made now for views that strides cannot express and for inlined values.
    pub(super) fn memory(&mut self, frame: &mut Frame<'g>, v: Value) -> Storage {
        if let Some(storage) = frame.storage.get(&v) {
            return storage.clone();
        }
        let node = frame.region.node(v);
        if class(frame.region, v) == Class::View {
            let from = self.memory(frame, node.inputs[0]);
            let storage = match from.view(self.graph, &node.op) {
                Some(view) => view,
                None => self.gathered(frame, v, &from),
            };
            frame.storage.insert(v, storage.clone());
            return storage;
        }
        assert!(class(frame.region, v) == Class::Inline, "a fault in ogive: {v} ({:?}) is read before it is computed", node.op);
        let storage = self.place_of(frame, v);
        self.inline_to_memory(frame, v, &storage);
        storage
    }

    /// A copy of a merge whose parts do not nest in memory.
    fn gathered(&mut self, frame: &mut Frame<'g>, v: Value, from: &Storage) -> Storage {
        let node = frame.region.node(v);
        let to = self.fresh(&format!("{v}"), &node.ty, &frame.layout.orders[v.index()]);
        if let Op::Merge { from: parts, into } = &node.op {
            let split = Op::Split { axis: *into, into: parts.clone() };
            if let Some(apart) = to.view(self.graph, &split) {
                let ty = frame.region.ty(node.inputs[0]);
                self.copy(&mut frame.steps, from, &apart, ty, node);
            }
        }
        to
    }
}

/// Whether a group gathers from memory, so that overwriting an operand early could be seen.
fn reads_late(region: &Region, group: &Group) -> bool {
    group.members.iter().any(|&m| matches!(region.node(m).op, Op::Gather(_)))
}

pub(super) fn check_types(region: &Region) -> Result<(), Unsupported> {
    for node in &region.nodes {
        if node.ty.dtype == DType::F64 {
            return Err(Unsupported { what: "compute in f64; use f32, or the interpreter".into(), origin: node.origin.clone() });
        }
        if let Op::Softmax(_) | Op::LogSumExp(_) = node.op {
            return Err(Unsupported { what: "run a softmax that was not decomposed".into(), origin: node.origin.clone() });
        }
    }
    Ok(())
}
