//! Reverse mode through loops. The loop stays one node: its body is made to collect what the backward step reads (see
//! [`residuals`]), and one loop in the opposite direction is appended. The backward loop carries the cotangents of the carries and
//! the sums of the cotangents of the invariants, reads what was collected, the stacked inputs and the cotangents of collected values
//! position by position, and collects the cotangents of the stacked inputs. Nothing is unrolled.

use super::GradError;
use super::activity;
use super::emit;
use super::inverse;
use super::outer::{self, Outer};
use super::residuals::{self, Origin};
use super::reverse::{How, Sweep, sweep};
use super::rtrl;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Node, Region};
use crate::op::{Loop, LoopKind, Op};
use crate::shape::Ty;
use std::collections::{BTreeMap, BTreeSet};

/// A backward loop in the making: the joint region of the forward step and the backward step, and what the latter takes and gives.
struct Step {
    region: Region,
    /// Formal arguments of the backward step within `region`, by kind, each with the value outside that it stands for.
    carried: Vec<(Value, Value)>,
    stacked: Vec<(Value, Value)>,
    invariant: Vec<(Value, Value)>,
    /// Results of the backward step: new carries, then collected values.
    results: Vec<Value>,
    /// For each result the input of the forward loop whose cotangent it is; none for states.
    receivers: Vec<Option<Value>>,
    /// States that are not kept, before the step and after it, and what stands for them in the backward step.
    inverted: BTreeMap<Value, Value>,
    /// What is kept so that such states can be computed.
    kept: BTreeSet<Value>,
    /// Cotangents that are computed after the loop.
    outers: Vec<Outer>,
}

impl Sweep<'_> {
    /// The rule of `Loop`.
    pub(super) fn loop_rule(&mut self, y: Value, node: &Node, l: &Loop, dys: &[Option<Value>]) -> Result<(), GradError> {
        let mut l = l.clone();
        let arguments = unify_arguments(&mut l.body);
        let (active, wanted) = self.active_inputs(node, &l, dys, &arguments);
        if !wanted.iter().chain(&active).any(|&a| a) {
            return Ok(());
        }
        if let Some(rtrl) = rtrl::asked(&self.how, &l).filter(|_| active.contains(&true)) {
            return self.scan_rule(y, node, &l, dys, &active, rtrl);
        }
        let step = self.step(node, &l, dys, &arguments, &active, &wanted)?;
        self.close(y, node, &l, step);
        Ok(())
    }

    /// Which carries have cotangents within the loop, and which stacked inputs and invariants get one.
    fn active_inputs(&self, node: &Node, l: &Loop, dys: &[Option<Value>], arguments: &BTreeMap<u32, Value>) -> (Vec<bool>, Vec<bool>) {
        let body = &l.body;
        let argument = |i: usize| arguments.get(&(i as u32)).copied();
        let mut depends: Vec<bool> = node.inputs.iter().map(|&v| self.wants(v)).collect();
        loop {
            let roots = (0..node.inputs.len()).filter(|&i| depends[i]).filter_map(argument);
            let inside = activity::dependents(body, roots);
            let more: Vec<usize> = (0..l.carries).filter(|&i| !depends[i] && inside[body.results[i].index()]).collect();
            if more.is_empty() {
                break;
            }
            more.into_iter().for_each(|i| depends[i] = true);
        }
        let mut reached: Vec<bool> = dys.iter().map(Option::is_some).collect();
        let inside = loop {
            let roots = (0..reached.len()).filter(|&i| reached[i]).map(|i| body.results[i]);
            let inside = activity::sources(body, roots);
            let more: Vec<usize> = (0..l.carries).filter(|&i| !reached[i] && argument(i).is_some_and(|a| inside[a.index()])).collect();
            if more.is_empty() {
                break inside;
            }
            more.into_iter().for_each(|i| reached[i] = true);
        };
        let float = |i: usize| emit::is_float(&self.b, node.inputs[i]);
        let active = (0..l.carries).map(|i| depends[i] && reached[i] && float(i)).collect();
        let used = |i: usize| argument(i).is_some_and(|a| inside[a.index()]);
        let wanted = (0..node.inputs.len()).map(|i| i >= l.carries && float(i) && used(i) && self.wants(node.inputs[i])).collect();
        (active, wanted)
    }

    /// Differentiates the body and gathers what the backward step takes and gives.
    fn step(
        &mut self,
        node: &Node,
        l: &Loop,
        dys: &[Option<Value>],
        arguments: &BTreeMap<u32, Value>,
        active: &[bool],
        wanted: &[bool],
    ) -> Result<Step, GradError> {
        let mut region = l.body.clone();
        region.results.clear();
        let (mut carried, mut stacked, mut invariant, mut seeds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let fresh = |region: &mut Region, ty: Ty| {
            region.push(Node { op: Op::Argument(u32::MAX), inputs: Default::default(), ty, origin: node.origin.clone() })
        };
        for (i, &result) in l.body.results.iter().enumerate() {
            if i < l.carries {
                if active[i] {
                    let ty = self.b.ty(node.inputs[i]).clone();
                    let outside = match dys[i] {
                        Some(dy) => emit::spread(&mut self.b, dy, &ty.shape),
                        None => emit::zeros(&mut self.b, &ty),
                    };
                    let inside = fresh(&mut region, ty);
                    carried.push((inside, outside));
                    seeds.push((result, inside));
                }
            } else if let Some(dy) = dys[i] {
                let mut ty = self.b.ty(dy).clone();
                let list = if ty.shape.contains(l.axis) { &mut stacked } else { &mut invariant };
                ty.shape = ty.shape.without(l.axis);
                let inside = fresh(&mut region, ty);
                list.push((inside, dy));
                seeds.push((result, inside));
            }
        }
        let index_of: Vec<usize> = (0..node.inputs.len()).filter(|&i| if i < l.carries { active[i] } else { wanted[i] }).collect();
        let wrt: Vec<Value> = index_of.iter().filter_map(|&i| arguments.get(&(i as u32)).copied()).collect();
        let how = How { learning: self.how.learning, within: self.how.within || l.carries > 0, ..How::default() };
        let (region, cotangents) = sweep(self.b.axes, region, &seeds, &wrt, &how)?;
        let found: BTreeMap<Value, Option<Value>> = wrt.into_iter().zip(cotangents).collect();
        let cotangent = |i: usize| arguments.get(&(i as u32)).and_then(|a| found.get(a).copied().flatten());

        let mut b = Builder::over(self.b.axes, region);
        b.origin = node.origin.clone();
        let late = late(&b.region);
        let (mut results, mut receivers, mut sums, mut outers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for i in (0..l.carries).filter(|&i| active[i]) {
            let ty = b.region.ty(carried[results.len()].0).clone();
            results.push(match cotangent(i) {
                Some(dx) => emit::spread(&mut b, dx, &ty.shape),
                None => emit::zeros(&mut b, &ty),
            });
            receivers.push(Some(node.inputs[i]));
        }
        let mut divided: Vec<(usize, Vec<Value>)> = Vec::new();
        for i in (l.carries + l.stacked..node.inputs.len()).filter(|&i| wanted[i]) {
            let Some(dx) = cotangent(i) else { continue };
            divided.push((i, outer::divide(&b, l.axis, &late, dx, node.inputs[i], &mut outers)));
        }
        let bases: BTreeSet<Value> = outers.iter().flat_map(Outer::bases).collect();
        for (i, mut parts) in divided {
            outers.extend(outer::sums(&b, l.axis, &mut parts, node.inputs[i], &|v| late[v.index()] && bases.contains(&v)));
            let Some(dx) = emit::total(&mut b, &parts) else { continue };
            let ty = b.ty(dx).clone();
            let sum = fresh(&mut b.region, ty.clone());
            sums.push((sum, ty));
            results.push(emit::add(&mut b, sum, dx));
            receivers.push(Some(node.inputs[i]));
        }
        for i in (l.carries..l.carries + l.stacked).filter(|&i| wanted[i]) {
            let Some(dx) = cotangent(i) else { continue };
            results.push(dx);
            receivers.push(Some(node.inputs[i]));
        }
        let region = b.region;
        for (inside, ty) in sums {
            let outside = emit::zeros(&mut self.b, &ty);
            carried.push((inside, outside));
        }
        Ok(Step { region, carried, stacked, invariant, results, receivers, inverted: BTreeMap::new(), kept: BTreeSet::new(), outers })
    }

    /// Divides the joint region into the forward step, which collects residuals, and the backward step; appends the backward loop.
    fn close(&mut self, y: Value, node: &Node, l: &Loop, mut step: Step) {
        if l.kind == LoopKind::Inverted {
            self.invert(y, l, &mut step);
        }
        let late = late(&step.region);
        let (mut copied, needed) = backward_nodes(&step, &late);
        let collected: BTreeMap<Value, usize> = l.body.results.iter().enumerate().skip(l.carries).rev().map(|(i, &v)| (v, i)).collect();
        let free = |index: usize| match step.region.nodes[index].op {
            Op::Argument(i) if i as usize >= l.carries => true,
            _ => {
                let v = Value(index as u32);
                collected.contains_key(&v) || step.inverted.contains_key(&v) || step.kept.contains(&v)
            }
        };
        // A segment keeps its states at most; all else is computed again.
        let effort = |op: &Op| match (l.kind, op) {
            (LoopKind::Segments, Op::Argument(_)) | (LoopKind::Repeat | LoopKind::Scan | LoopKind::Inverted | LoopKind::Each, _) => {
                residuals::effort(op)
            }
            (LoopKind::Segments, _) => Origin::Cheap,
        };
        let origins: Vec<Origin> =
            (0..step.region.nodes.len()).map(|i| if free(i) { Origin::Free } else { effort(&step.region.nodes[i].op) }).collect();
        let mut saved = residuals::choose(&step.region, self.b.axes, &origins, &late, &needed);
        saved.extend(step.kept.iter().filter(|v| !collected.contains_key(v)));

        // What the backward step recomputes, down to what it is given.
        let mut given = BTreeSet::new();
        let mut stack: Vec<Value> = needed.into_iter().collect();
        while let Some(value) = stack.pop() {
            let argument = matches!(step.region.node(value).op, Op::Argument(_));
            debug_assert!(!argument || free(value.index()) || saved.contains(&value), "a carry is had by keeping it");
            if saved.contains(&value) || argument || collected.contains_key(&value) || step.inverted.contains_key(&value) {
                given.insert(value);
            } else if !copied[value.index()] {
                copied[value.index()] = true;
                stack.extend(&step.region.node(value).inputs);
            }
        }
        let mut forward = Copy::new(&step.region);
        let results: Vec<Value> = l.body.results.iter().chain(&saved).copied().collect();
        forward.nodes(&live(&step.region, &results, |_| false));
        let mut results: Vec<Value> = results.iter().map(|&v| forward.renamed(v)).collect();
        let mut body = forward.made;
        let mut spare: BTreeMap<Value, AxisId> = BTreeMap::new();
        for (slot, &value) in saved.iter().enumerate() {
            let at = l.body.results.len() + slot;
            if step.region.ty(value).shape.contains(l.axis) {
                let axis = self.fresh_axis(l.axis);
                let mut b = Builder::over(self.b.axes, std::mem::take(&mut body));
                b.origin = step.region.node(value).origin.clone();
                results[at] = b.add(Op::Rename(vec![(l.axis, axis)]), &[results[at]]);
                body = b.region;
                spare.insert(value, axis);
            }
        }
        body.results = results;
        for (slot, &value) in saved.iter().enumerate() {
            let index = l.body.results.len() + slot;
            let outside = self.project(y, index, body.ty(body.results[index]), l.axis);
            step.stacked.push((value, outside));
        }
        for &value in given.difference(&saved).filter(|v| !step.inverted.contains_key(v)) {
            match step.region.node(value).op {
                Op::Argument(i) if (l.carries..l.carries + l.stacked).contains(&(i as usize)) => {
                    step.stacked.push((value, node.inputs[i as usize]));
                }
                Op::Argument(i) if i as usize >= l.carries => step.invariant.push((value, node.inputs[i as usize])),
                _ => {
                    let index = collected[&value];
                    let outside = self.project(y, index, step.region.ty(value), l.axis);
                    step.stacked.push((value, outside));
                }
            }
        }
        self.b.region.nodes[y.index()].op = Op::Loop(Box::new(Loop { kind: ordinary(l.kind), body, ..l.clone() }));
        self.append(l, step, &copied, &spare);
    }

    /// Appends the backward loop and gives its results to the forward loop's inputs.
    fn append(&mut self, l: &Loop, mut step: Step, copied: &[bool], spare: &BTreeMap<Value, AxisId>) {
        // What the products after the loop are made of: what the loop is given, or what it collects for them.
        let mut outside: BTreeMap<Value, Value> = step.stacked.iter().chain(&step.invariant).copied().collect();
        let bases: BTreeSet<Value> = step.outers.iter().flat_map(Outer::bases).filter(|v| !outside.contains_key(v)).collect();
        let mut roots = step.results.clone();
        roots.extend(&bases);
        let live = live(&step.region, &roots, |v| outside.contains_key(&v));
        step.stacked.retain(|(inside, _)| live[inside.index()]);
        step.invariant.retain(|(inside, _)| live[inside.index()]);

        let mut backward = Copy::new(&step.region);
        let mut inputs = Vec::new();
        for &(inside, outside) in step.carried.iter().chain(&step.stacked).chain(&step.invariant) {
            let from = step.region.node(inside);
            let op = Op::Argument(inputs.len() as u32);
            let mut ty = from.ty.clone();
            if let Some(&axis) = spare.get(&inside) {
                ty.shape = ty.shape.without(l.axis).with(axis);
            }
            let argument = backward.made.push(Node { op, inputs: Default::default(), ty, origin: from.origin.clone() });
            backward.to[inside.index()] = Some(argument);
            inputs.push(outside);
        }
        for (&inside, &axis) in spare {
            let Some(argument) = backward.to[inside.index()] else { continue };
            let mut b = Builder::over(self.b.axes, std::mem::take(&mut backward.made));
            b.origin = step.region.node(inside).origin.clone();
            backward.to[inside.index()] = Some(b.add(Op::Rename(vec![(axis, l.axis)]), &[argument]));
            backward.made = b.region;
        }
        let chosen: Vec<bool> = copied.iter().zip(&live).map(|(&copied, &live)| copied && live).collect();
        // States that are computed backwards come before what reads them.
        let states = live_from(&step.region, step.inverted.values().copied(), &|v| outside.contains_key(&v));
        backward.nodes(&chosen.iter().zip(&states).map(|(chosen, state)| *chosen && *state).collect::<Vec<bool>>());
        for (argument, state) in &step.inverted {
            backward.to[argument.index()] = Some(backward.renamed(*state));
        }
        backward.nodes(&chosen);
        let results = roots.iter().map(|&v| backward.renamed(v)).collect();
        let body = Region { results, ..backward.made };
        let (carries, stacked) = (step.carried.len(), step.stacked.len());
        let back = Loop { kind: ordinary(l.kind), axis: l.axis, reverse: !l.reverse, carries, stacked, body };
        let grads = self.b.repeat(back, &inputs);
        for (receiver, &dx) in step.receivers.iter().zip(&grads) {
            if let Some(receiver) = *receiver {
                self.give(receiver, dx);
            }
        }
        outside.extend(bases.into_iter().zip(grads.into_iter().skip(step.results.len())));
        for outer in &step.outers {
            let dx = outer.build(&mut self.b, l.axis, &outside);
            self.give(outer.receiver, dx);
        }
    }

    /// Lets the backward step carry those states that it reads and that its steps can be taken back to, from the last ones on.
    fn invert(&mut self, y: Value, l: &Loop, step: &mut Step) {
        let mut region = l.body.clone();
        let arguments = unify_arguments(&mut region);
        let (_, needed) = backward_nodes(step, &late(&step.region));
        for (i, &result) in l.body.results[..l.carries].iter().enumerate() {
            let Some(&argument) = arguments.get(&(i as u32)) else { continue };
            if !needed.contains(&argument) && !needed.contains(&result) {
                continue;
            }
            let ty = region.ty(argument).clone();
            let Some(found) =
                inverse::inverse(self.b.axes, &region, result, l.carries, i, &arguments).filter(|_| !ty.shape.contains(l.axis))
            else {
                continue;
            };
            let origin = region.node(result).origin.clone();
            let op = Op::Argument(u32::MAX);
            let after = step.region.push(Node { op, inputs: Default::default(), ty: ty.clone(), origin: origin.clone() });
            let inputs = [after, found.difference].as_slice().into();
            let old = step.region.push(Node { op: Op::Map(found.f), inputs, ty: ty.clone(), origin: origin.clone() });
            let op = Op::Project(i as u32);
            let last = self.b.region.push(Node { op, inputs: [y].as_slice().into(), ty, origin });
            let at = step.carried.len();
            step.carried.push((after, last));
            step.results.insert(at, old);
            step.receivers.insert(at, None);
            step.inverted.extend([(argument, old), (result, after)]);
            step.kept.extend(found.keeps);
        }
    }

    /// The projection of a collected value, from its type within the body.
    pub(super) fn project(&mut self, of: Value, index: usize, inside: &Ty, axis: AxisId) -> Value {
        let ty = Ty::new(inside.dtype, inside.shape.with(axis));
        let origin = self.b.origin.clone();
        self.b.region.push(Node { op: Op::Project(index as u32), inputs: [of].as_slice().into(), ty, origin })
    }

    fn fresh_axis(&mut self, like: AxisId) -> AxisId {
        let axis = self.b.axes[like.index()].clone();
        self.b.axis(axis.name, axis.size)
    }
}

/// Leaves one argument node of each index, and says which.
pub(super) fn unify_arguments(body: &mut Region) -> BTreeMap<u32, Value> {
    let mut first: BTreeMap<u32, Value> = BTreeMap::new();
    for index in 0..body.nodes.len() {
        if let Op::Argument(i) = body.nodes[index].op {
            first.entry(i).or_insert(Value(index as u32));
        }
    }
    let to: Vec<Value> = (0..body.nodes.len())
        .map(|index| if let Op::Argument(i) = body.nodes[index].op { first[&i] } else { Value(index as u32) })
        .collect();
    for node in &mut body.nodes {
        node.inputs.iter_mut().for_each(|v| *v = to[v.index()]);
    }
    body.results.iter_mut().for_each(|v| *v = to[v.index()]);
    first
}

/// For each value, whether it needs a cotangent.
fn late(region: &Region) -> Vec<bool> {
    let mut late = vec![false; region.nodes.len()];
    for (index, node) in region.nodes.iter().enumerate() {
        late[index] = node.op == Op::Argument(u32::MAX) || node.inputs.iter().any(|v| late[v.index()]);
    }
    late
}

/// The nodes that can run in the backward step only, and the values of the forward step that they read.
fn backward_nodes(step: &Step, late: &[bool]) -> (Vec<bool>, BTreeSet<Value>) {
    let mut copied = vec![false; late.len()];
    let mut needed = BTreeSet::new();
    let mut stack = step.results.clone();
    stack.extend(step.outers.iter().flat_map(Outer::bases));
    while let Some(value) = stack.pop() {
        if !late[value.index()] {
            needed.insert(value);
        } else if !copied[value.index()] && step.region.node(value).op != Op::Argument(u32::MAX) {
            copied[value.index()] = true;
            stack.extend(&step.region.node(value).inputs);
        }
    }
    (copied, needed)
}

/// The kind of a loop whose backward pass has been made.
fn ordinary(kind: LoopKind) -> LoopKind {
    if kind == LoopKind::Inverted { LoopKind::Scan } else { kind }
}

/// The nodes that the roots need; what is given needs nothing.
fn live(region: &Region, roots: &[Value], given: impl Fn(Value) -> bool) -> Vec<bool> {
    live_from(region, roots.iter().copied(), &given)
}

fn live_from(region: &Region, roots: impl Iterator<Item = Value>, given: &dyn Fn(Value) -> bool) -> Vec<bool> {
    let mut live = vec![false; region.nodes.len()];
    let mut stack: Vec<Value> = roots.collect();
    while let Some(value) = stack.pop() {
        if !std::mem::replace(&mut live[value.index()], true) && !given(value) {
            stack.extend(&region.node(value).inputs);
        }
    }
    live
}

/// Part of a region copied into a new one.
struct Copy<'a> {
    from: &'a Region,
    made: Region,
    to: Vec<Option<Value>>,
}

impl<'a> Copy<'a> {
    fn new(from: &'a Region) -> Self {
        Copy { from, made: Region::default(), to: vec![None; from.nodes.len()] }
    }

    fn renamed(&self, value: Value) -> Value {
        match self.to[value.index()] {
            Some(to) => to,
            None => panic!("a fault in ogive: {value} is read but not copied"),
        }
    }

    /// Copies the chosen nodes, in order.
    fn nodes(&mut self, chosen: &[bool]) {
        for index in (0..chosen.len()).filter(|&i| chosen[i]) {
            if self.to[index].is_none() {
                let mut node = self.from.nodes[index].clone();
                node.inputs = node.inputs.iter().map(|&v| self.renamed(v)).collect();
                self.to[index] = Some(self.made.push(node));
            }
        }
    }
}
