//! Plans a region: which values get memory and where, its groups in sequence, loops around bodies.

use super::emit::by_stride;
use super::layout::Layout;
use super::order::{Order, base};
use super::storage::Storage;
use super::{Planner, Unsupported};
use crate::entity::{AxisId, Value};
use crate::fuse::{Class, Group, Groups, Kind, class, domain_of, groups, register_operands};
use crate::graph::{Graph, Region};
use crate::op::{Loop, LoopKind, Op};
use crate::plan::Step;
use crate::shape::{DType, Shape};
use std::collections::{BTreeMap, BTreeSet};

/// Elements of an invariant that is worth turning once before a loop.
const LARGE: u64 = 1 << 12;
/// Steps that pay for it.
const STEPS: u64 = 4;
/// Most rows that it is multiplied by in each step.
const FEW: u64 = 24;

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
    fn new(planner: &Planner<'g>, region: &'g Region, layout: &'g Layout, results: &[Value]) -> Frame<'g> {
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
    fn overwrites(&mut self, order: &mut Order, value: Value, held: &[Value]) -> bool {
        let region = self.region;
        let Some(group) = self.groups.of[value.index()].filter(|_| self.computed(value)) else { return false };
        let holder = &self.groups.groups[group as usize];
        // A row program that visits more than the value's axes would read what it has written.
        let own = &region.ty(value).shape;
        if holder.kind != Kind::Rows || domain_of(region, value) != *own || holder.domain != *own || reads_late(region, holder) {
            return false;
        }
        let mut before = BTreeSet::new();
        for &leaf in held {
            for &m in &holder.members {
                let node = region.node(m);
                let through_view = node.inputs.iter().any(|&i| i != leaf && base(region, i) == leaf);
                let from_memory = node.inputs.contains(&leaf) && !register_operands(region, m).contains(&leaf);
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
    fn target(&mut self, graph: &Graph, mut v: Value, mut to: Storage) -> bool {
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

    /// Whether carry `j` needs one place alone: its next value is written where it lies.
    fn turns_in_place(frame: &mut Frame<'g>, order: &mut Order, l: &Loop, j: usize) -> bool {
        let held: Vec<Value> = (0..l.body.nodes.len() as u32).map(Value).filter(|v| l.body.node(*v).op == Op::Argument(j as u32)).collect();
        // What is copied out after the groups must not show the old value.
        let shown = l.body.results.iter().any(|&r| held.contains(&base(&l.body, r)));
        !shown && !frame.in_place.contains(&l.body.results[j]) && frame.overwrites(order, l.body.results[j], &held)
    }

    /// Has what is joined computed where it will lie, as far as kernels compute it.
    fn place_parts(&mut self, frame: &mut Frame<'g>) {
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

    fn run_groups(&mut self, frame: &mut Frame<'g>, order: &Order) -> Result<(), Unsupported> {
        for g in order.sequence(&frame.groups) {
            let group = frame.groups.groups[g as usize].clone();
            match group.kind {
                Kind::Rows => self.row_group(frame, &group)?,
                Kind::Loop => self.run_loop(frame, group.members[0])?,
                Kind::Contract => self.contract(frame, group.members[0]),
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

    fn run_loop(&mut self, frame: &mut Frame<'g>, v: Value) -> Result<(), Unsupported> {
        let node = frame.region.node(v);
        let Op::Loop(l) = &node.op else { return Ok(()) };
        let Some(layout) = frame.layout.bodies.get(&v.0) else { return Ok(()) };
        check_types(&l.body)?;
        let id = self.plan.loops;
        self.plan.loops += 1;
        let mut around = Around { arguments: Vec::new(), carries: Vec::new(), results: Vec::new(), bound: Vec::new() };
        let mut inner = Frame::new(self, &l.body, layout, &l.body.results);
        let mut order = Order::new(&l.body, &inner.groups);
        for (j, &input) in node.inputs.iter().enumerate() {
            let from = self.memory(frame, input);
            if j < l.carries {
                let one = Self::turns_in_place(&mut inner, &mut order, l, j);
                let carry = self.carry(frame, v, l, id, j, one);
                self.copy(&mut frame.steps, &from, &carry.start, frame.region.ty(input), node);
                around.arguments.push(carry.argument.clone());
                around.carries.push(carry);
            } else if j < l.carries + l.stacked {
                around.arguments.push(from.slice_in_loop(l.axis, id));
            } else {
                let along = self.along_columns(frame, l, j, input, &from);
                around.arguments.push(along.unwrap_or(from));
            }
        }
        for (k, &r) in l.body.results.iter().enumerate() {
            let shown = projections(frame.region, v, k);
            if let Some(carry) = around.carries.get(k) {
                around.results.push((r, carry.result.clone()));
                around.bound.extend(shown.into_iter().map(|p| (p, carry.last.clone())));
                continue;
            }
            let target = shown.iter().find_map(|p| frame.targets.get(p));
            let entering = around.carries.iter().find(|c| c.collected == Some(k)).and_then(|c| c.all.clone());
            let leaving = (0..l.carries).find(|&j| l.body.results[j] == r).and_then(|j| around.carries[j].left.clone());
            if let Some(all) = entering.or(leaving.filter(|_| target.is_none())) {
                around.bound.extend(shown.into_iter().map(|p| (p, all.clone())));
                continue;
            }
            let whole = match target {
                Some(target) => target.clone(),
                None => {
                    let mut order = layout.orders[r.index()].clone();
                    order.insert(0, l.axis);
                    let longer = enters(&l.body, r);
                    let count = |a: &AxisId| self.graph.size(*a) + u64::from(longer == Some(*a));
                    let buffer = self.buffer(&format!("{v}.{k}"), l.body.ty(r).dtype, order.iter().map(count).product());
                    self.longer.extend(longer.map(|axis| (buffer, axis)));
                    Storage::with_room(self.graph, buffer, &order, longer)
                }
            };
            around.results.push((r, whole.slice_in_loop(l.axis, id)));
            around.bound.extend(shown.into_iter().map(|p| (p, whole.clone())));
        }
        frame.storage.extend(around.bound);
        let apart = l.kind == LoopKind::Each && !self.local;
        self.local |= apart;
        self.path.push(id);
        let body = self.body(inner, &order, around.arguments, around.results)?;
        self.path.pop();
        self.local &= !apart;
        frame.steps.push(Step::Loop { id, times: self.graph.size(l.axis), reverse: l.reverse, apart, body });
        Ok(())
    }

    /// A copy, made before the loop, of an invariant matrix that every step multiplies from the left by a few rows, with its columns side by
    /// side: the products then read it where it lies. `None` where it lies so already, or has other readers.
    fn along_columns(&mut self, frame: &mut Frame<'g>, l: &Loop, j: usize, input: Value, from: &Storage) -> Option<Storage> {
        let ty = frame.region.ty(input);
        let elements = |shape: &Shape| self.graph.elements(shape);
        if l.kind != LoopKind::Scan || ty.dtype != DType::F32 || elements(&ty.shape) < LARGE || self.graph.size(l.axis) < STEPS {
            return None;
        }
        let inside = Value(l.body.nodes.iter().position(|n| n.op == Op::Argument(j as u32))? as u32);
        let mut summed: Option<Shape> = None;
        for node in l.body.nodes.iter().filter(|n| n.inputs.contains(&inside)) {
            let Op::Contract(over) = &node.op else { return None };
            let other = if node.inputs[0] == inside { node.inputs[1] } else { node.inputs[0] };
            let over = Shape::of(over.iter().copied());
            let shared = l.body.ty(other).shape.intersection(&ty.shape) == over;
            let few = elements(&l.body.ty(other).shape) <= FEW * elements(&over);
            if other == inside || !shared || !few || summed.as_ref().is_some_and(|s| *s != over) {
                return None;
            }
            summed = Some(over);
        }
        let (rows, columns): (Vec<AxisId>, Vec<AxisId>) =
            by_stride(&ty.shape, from).into_iter().partition(|&a| summed.as_ref().is_some_and(|s| s.contains(a)));
        let crosswise = rows.last().is_some_and(|&a| from.stride(a) == 1) && !columns.is_empty();
        if !crosswise {
            return None;
        }
        let order: Vec<AxisId> = rows.into_iter().chain(columns).collect();
        let to = self.fresh(&format!("{input}"), ty, &order);
        self.copy(&mut frame.steps, from, &to, ty, frame.region.node(input));
        Some(to)
    }

    /// Memory of carry `j`: `one` place, or two halves that take turns, or, where the loop collects the carry as it enters each iteration, the
    /// collection with one place more.
    fn carry(&mut self, frame: &Frame<'g>, v: Value, l: &Loop, id: u32, j: usize, one: bool) -> Carry {
        let input = frame.region.node(v).inputs[j];
        let ty = frame.region.ty(input);
        let order = frame.layout.bodies.get(&v.0).map_or(&frame.layout.orders[input.index()], |body| &body.carries[j]);
        let (elements, times) = (self.graph.elements(&ty.shape), self.graph.size(l.axis));
        let is_argument = |r: Value| l.body.node(r).op == Op::Argument(j as u32);
        // A prescribed place will do where it has one position more.
        let mut room = None;
        let collected = (l.carries..l.body.results.len()).filter(|&k| is_argument(l.body.results[k])).find(|&k| {
            let target = projections(frame.region, v, k).iter().find_map(|p| frame.targets.get(p));
            room = target.filter(|t| !l.reverse && self.longer.contains(&(t.slot.buffer, l.axis))).cloned();
            target.is_none() || room.is_some()
        });
        let (first, unit) = match room.filter(|_| collected.is_some()) {
            Some(mut first) => {
                let unit = first.strides.remove(&l.axis).unwrap_or(0);
                (first, unit)
            }
            None => {
                let places = if collected.is_some() { times + 1 } else { 2 - u64::from(one) };
                let buffer = self.buffer(&format!("{v}.{j}"), ty.dtype, elements * places);
                (Storage::dense(self.graph, buffer, order), elements as i64)
            }
        };
        let at = |offset: i64| {
            let mut place = first.clone();
            place.slot.offset += offset;
            place
        };
        if collected.is_some() {
            let moving = |offset: i64| {
                let mut place = at(offset);
                place.slot.moves.push((id, unit));
                place
            };
            let (enter, leave) = if l.reverse { (unit, 0) } else { (0, unit) };
            let end = times as i64 * unit;
            let [all, left] = [enter, leave].map(|offset| {
                let mut steps = at(offset);
                steps.strides.insert(l.axis, unit);
                Some(steps)
            });
            let (start, last) = if l.reverse { (at(end), at(0)) } else { (at(0), at(end)) };
            return Carry { start, argument: moving(enter), result: moving(leave), last, collected, all, left };
        }
        if one {
            let [start, argument, result, last] = std::array::from_fn(|_| first.clone());
            return Carry { start, argument, result, last, collected, all: None, left: None };
        }
        let turning = |offset: i64, flip: i64| {
            let mut place = at(offset);
            place.slot.flips.push((id, flip));
            place
        };
        let last = at(if times % 2 == 1 { unit } else { 0 });
        Carry { start: first.clone(), argument: turning(0, unit), result: turning(unit, -unit), last, collected, all: None, left: None }
    }

    fn body(
        &mut self,
        mut frame: Frame<'g>,
        order: &Order,
        arguments: Vec<Storage>,
        results: Vec<(Value, Storage)>,
    ) -> Result<Vec<Step>, Unsupported> {
        for (i, node) in frame.region.nodes.iter().enumerate() {
            if let Op::Argument(k) = node.op {
                frame.storage.insert(Value(i as u32), arguments[k as usize].clone());
            }
        }
        let mut late = Vec::new();
        for (r, to) in results {
            if !frame.target(self.graph, r, to.clone()) {
                late.push((r, to));
            }
        }
        self.place_parts(&mut frame);
        self.run_groups(&mut frame, order)?;
        for (r, to) in late {
            let from = self.memory(&mut frame, r);
            self.copy(&mut frame.steps, &from, &to, frame.region.ty(r), frame.region.node(r));
        }
        Ok(frame.steps)
    }
}

/// Memory of a loop's carry.
struct Carry {
    /// Where the initial value goes.
    start: Storage,
    /// Where an iteration finds it.
    argument: Storage,
    /// Where an iteration leaves it.
    result: Storage,
    /// Where it is after the loop.
    last: Storage,
    /// The result of the body that collects it on entry.
    collected: Option<usize>,
    /// That collection.
    all: Option<Storage>,
    /// Where it is after each iteration.
    left: Option<Storage>,
}

/// Memory around a loop.
struct Around {
    arguments: Vec<Storage>,
    carries: Vec<Carry>,
    /// Results of the body and where they go.
    results: Vec<(Value, Storage)>,
    /// Projections and where they are.
    bound: Vec<(Value, Storage)>,
}

/// The axis of the scan within a loop's body of which a result is a state as its steps find it.
fn enters(body: &Region, r: Value) -> Option<AxisId> {
    let node = body.node(r);
    let Op::Project(k) = node.op else { return None };
    let Op::Loop(l) = &body.node(node.inputs[0]).op else { return None };
    let r = l.body.results[k as usize];
    match l.body.node(r).op {
        _ if (k as usize) < l.carries => None,
        Op::Argument(j) if (j as usize) < l.carries && !l.reverse => Some(l.axis),
        _ => enters(&l.body, r),
    }
}

/// Projections of result `k` of node `v`.
pub(super) fn projections(region: &Region, v: Value, k: usize) -> Vec<Value> {
    let shown = |u: &Value| region.node(*u).op == Op::Project(k as u32) && region.node(*u).inputs[0] == v;
    (v.0 + 1..region.nodes.len() as u32).map(Value).filter(shown).collect()
}

/// Whether a group gathers from memory, so that overwriting an operand early could be seen.
fn reads_late(region: &Region, group: &Group) -> bool {
    group.members.iter().any(|&m| matches!(region.node(m).op, Op::Gather(_)))
}

fn check_types(region: &Region) -> Result<(), Unsupported> {
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
