//! Plans loops: the memory of their carries and of what they collect, and the steps of their bodies.

use super::emit::by_stride;
use super::order::{Order, base};
use super::region::{Frame, check_types};
use super::storage::Storage;
use super::{Planner, Unsupported};
use crate::entity::{AxisId, Value};
use crate::graph::Region;
use crate::op::{Loop, LoopKind, Op};
use crate::plan::Step;
use crate::shape::{DType, Shape};

/// Elements of an invariant that is worth turning once before a loop.
const LARGE: u64 = 1 << 12;
/// Steps that pay for it.
const STEPS: u64 = 4;
/// Most rows that it is multiplied by in each step.
const FEW: u64 = 24;

impl<'g> Planner<'g> {
    /// Plans a loop node.
    pub(super) fn run_loop(&mut self, frame: &mut Frame<'g>, v: Value) -> Result<(), Unsupported> {
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

    /// Whether carry `j` needs one place alone: its next value is written where it lies.
    fn turns_in_place(frame: &mut Frame<'g>, order: &mut Order, l: &Loop, j: usize) -> bool {
        let held: Vec<Value> = (0..l.body.nodes.len() as u32).map(Value).filter(|v| l.body.node(*v).op == Op::Argument(j as u32)).collect();
        // What is copied out after the groups must not show the old value.
        let shown = l.body.results.iter().any(|&r| held.contains(&base(&l.body, r)));
        !shown && !frame.in_place.contains(&l.body.results[j]) && frame.overwrites(order, l.body.results[j], &held)
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
