//! The rule of scans: one loop in the scan's own direction is appended, which takes the steps once more, brings the sensitivities up to
//! date, and adds up the gradients of the sources.

use super::super::outer::{self, Outer};
use super::super::reverse::{How, Sweep, sweep};
use super::super::{GradError, activity, emit};
use super::cell::Cell;
use super::locate::{self, Obstacle, Rows};
use super::sink::scan_below;
use super::step::{closed, identity, immediate, onto, through_itself};
use super::{BLOCK, Learning, Mixing, Rtrl, Sensitivity, Stacked, blocked, elements, kept, named};
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Node, Region};
use crate::op::{Loop, Op, Port};
use crate::shape::{Shape, Ty};
use crate::stream::STATES;
use std::collections::{BTreeMap, BTreeSet};

/// Most numbers in the states of all steps of a scan that keeps them.
const KEPT: u64 = 1 << 21;

/// What the steps read unchanged and learn.
pub(super) struct Source {
    /// A state whose start value it is, or an invariant's argument.
    pub(super) kind: Kind,
    /// The argument in the step, where there is one.
    pub(super) argument: Option<Value>,
    pub(super) outside: Value,
    pub(super) ty: Ty,
    /// Its axes that are one of the states'.
    pub(super) aligned: BTreeMap<AxisId, AxisId>,
    /// Its other axes, and what stands for them in sensitivities.
    pub(super) free: Vec<(AxisId, AxisId)>,
    /// States that depend on it.
    pub(super) states: Vec<usize>,
}

impl Source {
    /// Its type with the axes of sensitivities for those that are not aligned.
    fn apart(&self) -> Ty {
        let twin = |own: AxisId| self.free.iter().find(|f| f.0 == own).map_or(own, |f| f.1);
        Ty::new(self.ty.dtype, Shape::of(self.ty.shape.iter().map(twin)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Start(usize),
    Fixed,
}

/// The structure of a step.
struct Plan {
    rows: BTreeMap<usize, Both>,
    sources: Vec<Source>,
}

/// What is known of a new state: on the ways to old states, and on those to sources.
struct Both {
    states: Rows,
    sources: Rows,
}

/// The derivatives of a new state, by argument, and for each of its axes that mixes what stands for it in them.
struct Local {
    states: BTreeMap<Value, Value>,
    state_twins: Vec<(AxisId, AxisId)>,
    sources: BTreeMap<Value, Value>,
    source_twins: Vec<(AxisId, AxisId)>,
}

/// A carry of the new loop: its argument, its start outside, its next value.
struct Carried {
    inside: Value,
    start: Value,
    next: Value,
}

impl Sweep<'_> {
    /// The rule of a scan; `active` says which carries learn.
    pub(in super::super) fn scan_rule(
        &mut self,
        y: Value,
        node: &Node,
        l: &Loop,
        dys: &[Option<Value>],
        active: &[bool],
        rtrl: Rtrl,
    ) -> Result<(), GradError> {
        let mut cell = Cell::of(l, &node.inputs);
        if !rtrl.local {
            let below = |v: Value| self.wants(v);
            let lower = cell.stacked.iter().find_map(|&(_, outside)| scan_below(&self.b, outside, &below));
            if self.how.within || lower.is_some() {
                let lower = lower.map(|v| self.b.region.node(v).origin.clone());
                return Err(GradError::Stacked(Box::new(Stacked { upper: node.origin.clone(), lower })));
            }
        }
        let taken = self.nearest(&cell, l.axis, active);
        if !taken.is_empty() {
            cell = self.sink(&cell, l.axis, &|argument| taken.contains(&argument));
        }
        let carry = rtrl.carry && node.inputs[..l.carries].iter().all(|&v| self.is_kept(v));
        if carry && !self.how.top {
            return Err(blocked("a loop around a scan whose sensitivities go on from segment to segment", &node.origin));
        }
        let rtrl = Rtrl { carry, ..rtrl };
        let plan = self.plan(&cell, node, active, rtrl)?;
        self.admit(&cell, &plan, node, rtrl)?;
        self.learn(y, node, l, dys, &cell, &plan, active, rtrl)
    }

    /// Whether a value is what a stream left behind.
    fn is_kept(&self, value: Value) -> bool {
        matches!(&self.b.region.node(value).op, Op::Param(port) if port.name.starts_with(STATES))
    }

    fn wanted(&self, pair: &(Value, Value)) -> bool {
        emit::is_float(&self.b, pair.1) && self.wants(pair.1)
    }

    /// What is known of the learning states on the ways to the arguments.
    fn rows(&self, cell: &Cell, node: &Node, active: &[bool], to: &[Value]) -> Result<BTreeMap<usize, Rows>, GradError> {
        let moves = activity::dependents(&cell.region, to.iter().copied());
        let mut all = BTreeMap::new();
        for k in (0..cell.carries.len()).filter(|&k| active[k]) {
            let rows = locate::rows(cell, k, &moves).map_err(|Obstacle(v)| {
                let origin = &cell.region.node(v).origin;
                blocked(
                    "attention, a loop or routed experts within the step of a state",
                    if origin.line > 0 { origin } else { &node.origin },
                )
            })?;
            all.insert(k, rows);
        }
        Ok(all)
    }

    /// The arguments given step by step that are products with parameters and that states read without another product in between.
    fn nearest(&self, cell: &Cell, axis: AxisId, active: &[bool]) -> BTreeSet<Value> {
        let region = &cell.region;
        let leads = activity::sources(region, (0..cell.carries.len()).filter(|&k| active[k]).map(|k| cell.results[k]));
        let direct = |&(argument, outside): &(Value, Value)| {
            let inside = activity::dependents(region, [argument]);
            let on_the_way = (0..region.nodes.len()).filter(|&i| inside[i] && leads[i] && i != argument.index());
            let moves = |i: usize| {
                let op = &region.nodes[i].op;
                matches!(op, Op::Map(_) | Op::Rename(_) | Op::Split { .. } | Op::Merge { .. })
                    || matches!(op, Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. })
            };
            leads[argument.index()] && self.sinks(outside, axis) && on_the_way.into_iter().all(moves)
        };
        cell.stacked.iter().filter(|p| direct(p)).map(|p| p.0).collect()
    }

    fn plan(&mut self, cell: &Cell, node: &Node, active: &[bool], rtrl: Rtrl) -> Result<Plan, GradError> {
        let states: Vec<Value> = cell.carries.iter().zip(active).filter(|(_, a)| **a).filter_map(|(c, _)| c.0).collect();
        let fixed: Vec<Value> = cell.fixed.iter().filter(|p| self.wanted(p)).map(|p| p.0).collect();
        let mut sources = self.rows(cell, node, active, &fixed)?;
        let rows: BTreeMap<usize, Both> = self
            .rows(cell, node, active, &states)?
            .into_iter()
            .filter_map(|(k, states)| Some((k, Both { states, sources: sources.remove(&k)? })))
            .collect();
        // Which states and sources a state's new value reads.
        let reads = |k: usize, v: Option<Value>| v.is_some_and(|v| rows[&k].states.at.contains_key(&v));
        let closure = |mut states: BTreeSet<usize>| -> Vec<usize> {
            loop {
                let more: Vec<usize> =
                    rows.keys().copied().filter(|&k| !states.contains(&k) && states.iter().any(|&j| reads(k, cell.carries[j].0))).collect();
                if more.is_empty() {
                    return states.into_iter().collect();
                }
                states.extend(more);
            }
        };
        let mut found: Vec<(Kind, Option<Value>, Value, Vec<usize>)> = Vec::new();
        for &(argument, outside) in cell.fixed.iter().filter(|p| self.wanted(p)) {
            let direct = rows.keys().copied().filter(|k| rows[k].sources.at.contains_key(&argument)).collect();
            found.push((Kind::Fixed, Some(argument), outside, closure(direct)));
        }
        for &j in rows.keys() {
            let (argument, outside) = cell.carries[j];
            if self.wants(outside) {
                found.push((Kind::Start(j), argument, outside, closure(BTreeSet::from([j]))));
            }
        }
        let mut sources = Vec::new();
        for (kind, argument, outside, states) in found {
            let ty = self.b.ty(outside).clone();
            let aligned = |own: AxisId| -> Option<AxisId> {
                let at = |k: usize| argument.and_then(|a| rows[&k].sources.at.get(&a));
                let candidates = match kind {
                    Kind::Start(_) => vec![own],
                    Kind::Fixed => states.iter().filter_map(|&k| at(k)?.iter().find(|p| *p.1 == own).map(|p| *p.0)).collect(),
                };
                let row = *candidates.first()?;
                let fits = |k: &usize| {
                    let direct = kind == Kind::Fixed && at(*k).is_some();
                    let all = &cell.region.ty(cell.results[*k]).shape;
                    let apart = if rtrl.snap { all } else { &rows[k].states.diagonal };
                    apart.contains(row) && (!direct || at(*k).is_some_and(|p| p.get(&row) == Some(&own)))
                };
                states.iter().all(fits).then_some(row)
            };
            let pairs: BTreeMap<AxisId, AxisId> = ty.shape.iter().filter_map(|own| Some((own, aligned(own)?))).collect();
            let free: Vec<AxisId> = ty.shape.iter().filter(|a| !pairs.contains_key(a)).collect();
            let free = free.into_iter().map(|a| (a, self.twin(a))).collect();
            sources.push(Source { kind, argument, outside, ty, aligned: pairs, free, states });
        }
        Ok(Plan { rows, sources })
    }

    pub(super) fn twin(&mut self, axis: AxisId) -> AxisId {
        let axis = self.b.axes[axis.index()].clone();
        self.b.axis(axis.name, axis.size)
    }

    /// Refuses a step whose units mix, unless that was asked for.
    fn admit(&self, cell: &Cell, plan: &Plan, node: &Node, rtrl: Rtrl) -> Result<(), GradError> {
        let axes = &*self.b.axes;
        let worst = plan.rows.iter().map(|(k, rows)| (elements(axes, &Shape::of(rows.states.mixed.keys().copied())), *k)).max();
        let Some((size, k)) = worst.filter(|w| w.0 > BLOCK && !rtrl.full && !rtrl.snap) else { return Ok(()) };
        debug_assert!(size > 1);
        let (mut numbers, mut operations) = (0u64, 0u64);
        for source in &plan.sources {
            let free = elements(axes, &Shape::of(source.free.iter().map(|f| f.0)));
            for &k in &source.states {
                let each = elements(axes, &cell.region.ty(cell.results[k]).shape).saturating_mul(free);
                numbers = numbers.saturating_add(each);
                for &j in source.states.iter().filter(|j| cell.carries[**j].0.is_some_and(|a| plan.rows[&k].states.at.contains_key(&a))) {
                    let over = cell.region.ty(cell.results[j]).shape.minus(&plan.rows[&k].states.diagonal);
                    operations = operations.saturating_add(each.saturating_mul(elements(axes, &over)));
                }
            }
        }
        let mixed = &plan.rows[&k].states.mixed;
        let largest = mixed.iter().max_by_key(|m| axes[m.0.index()].size);
        let mixer = largest.map(|m| cell.region.node(*m.1).origin.clone()).filter(|o| o.line > 0);
        Err(GradError::Mixes(Box::new(Mixing {
            mixer: mixer.unwrap_or_else(|| node.origin.clone()),
            scan: node.origin.clone(),
            axes: named(axes, &Shape::of(mixed.keys().copied())),
            state: named(axes, &cell.region.ty(cell.results[k]).shape),
            numbers,
            operations,
        })))
    }

    #[allow(clippy::too_many_arguments, reason = "the rule of one operation, with what was found out about it")]
    fn learn(
        &mut self,
        y: Value,
        node: &Node,
        l: &Loop,
        dys: &[Option<Value>],
        cell: &Cell,
        plan: &Plan,
        active: &[bool],
        rtrl: Rtrl,
    ) -> Result<(), GradError> {
        let count = cell.carries.len();
        let origin = node.origin.clone();
        let mut region = cell.region.clone();
        // Short scans keep their states, and what follows from these runs for all steps at once; only the sensitivities go step by step.
        let known = self.keeps_states(l, cell);
        let fresh = |region: &mut Region, ty: Ty| {
            region.push(Node { op: Op::Argument(u32::MAX), inputs: Default::default(), ty, origin: origin.clone() })
        };
        let (mut stacked, mut fixed) = (cell.stacked.clone(), cell.fixed.clone());
        let mut leaving = Vec::new();
        if known {
            let [before, after] = self.states(y, l, cell);
            stacked.extend(before);
            leaving = after;
        }

        // The cotangents of this step alone.
        let mut seeds = Vec::new();
        for (i, dy) in dys.iter().enumerate().skip(count) {
            let Some(dy) = *dy else { continue };
            let mut ty = self.b.ty(dy).clone();
            let list = if ty.shape.contains(l.axis) { &mut stacked } else { &mut fixed };
            ty.shape = ty.shape.without(l.axis);
            let inside = fresh(&mut region, ty);
            list.push((inside, dy));
            seeds.push((cell.results[i], inside));
        }
        let states: Vec<Value> = (0..count).filter(|&k| active[k]).filter_map(|k| cell.carries[k].0).collect();
        let sources: Vec<Value> = plan.sources.iter().filter(|s| s.kind == Kind::Fixed).filter_map(|s| s.argument).collect();
        let given: Vec<(Value, Value)> = cell.stacked.iter().copied().filter(|p| self.wanted(p)).collect();
        let wrt: Vec<Value> = states.iter().chain(&sources).copied().chain(given.iter().map(|g| g.0)).collect();
        let (region, cotangents) = sweep(self.b.axes, region, &seeds, &wrt, &How::default())?;
        let now: BTreeMap<Value, Value> = wrt.iter().zip(cotangents).filter_map(|(v, c)| Some((*v, c?))).collect();

        let mut region = region;
        let mut local: BTreeMap<usize, Local> = BTreeMap::new();
        for (&k, rows) in &plan.rows {
            let (next, of_states, state_twins) = self.derivatives(region, cell.results[k], &states, &rows.states)?;
            let (next, of_sources, source_twins) = self.derivatives(next, cell.results[k], &sources, &rows.sources)?;
            region = next;
            local.insert(k, Local { states: of_states, state_twins, sources: of_sources, source_twins });
        }

        // Sensitivities.
        let mut sensitivities: BTreeMap<(usize, usize), Carried> = BTreeMap::new();
        for (s, source) in plan.sources.iter().enumerate() {
            for &k in &source.states {
                let own = cell.region.ty(cell.results[k]);
                let ty = Ty::new(own.dtype, own.shape.union(&Shape::of(source.free.iter().map(|f| f.1))));
                let start = if rtrl.carry {
                    let name = kept(self.sensitivities.len() + sensitivities.len());
                    let port = Port { name, order: ty.shape.axes().to_vec() };
                    self.b.add_as(Op::Param(port), &[], Some(&ty))
                } else if source.kind == Kind::Start(k) {
                    let one = identity(&mut self.b, &source.free, own.dtype);
                    emit::spread(&mut self.b, one, &ty.shape)
                } else {
                    emit::zeros(&mut self.b, &ty)
                };
                let inside = fresh(&mut region, ty);
                sensitivities.insert((s, k), Carried { inside, start, next: inside });
            }
        }
        let mut b = Builder::over(self.b.axes, region);
        b.origin = origin.clone();
        for (s, source) in plan.sources.iter().enumerate() {
            for &k in &source.states {
                let (local, rows) = (&local[&k], &plan.rows[&k]);
                let mut parts = Vec::new();
                for &j in &source.states {
                    let Some(&jacobian) = cell.carries[j].0.and_then(|a| local.states.get(&a)) else { continue };
                    let old = sensitivities[&(s, j)].inside;
                    let (mine, theirs) = (&cell.region.ty(cell.results[k]).shape, &cell.region.ty(cell.results[j]).shape);
                    let jacobian = if rtrl.snap { through_itself(&mut b, jacobian, &local.state_twins, theirs) } else { jacobian };
                    let over = theirs.minus(if rtrl.snap { mine } else { &rows.states.diagonal });
                    let kept = b.shape(jacobian).union(b.shape(old)).minus(&over);
                    let moved = emit::product_onto(&mut b, jacobian, old, &kept);
                    let shape = b.shape(moved).clone();
                    parts.push(emit::rename(&mut b, moved, local.state_twins.iter().map(|m| (m.1, m.0)).filter(|p| shape.contains(p.0))));
                }
                let direct = source.argument.filter(|_| source.kind == Kind::Fixed).and_then(|a| Some((a, *local.sources.get(&a)?)));
                if let Some((argument, derivative)) = direct {
                    parts.push(immediate(&mut b, derivative, source, &rows.sources.at[&argument], &local.source_twins));
                }
                let carried = &sensitivities[&(s, k)];
                let ty = b.ty(carried.inside).clone();
                let next = match emit::total(&mut b, &parts) {
                    Some(next) => emit::spread(&mut b, next, &ty.shape),
                    None => emit::zeros(&mut b, &ty),
                };
                sensitivities.entry((s, k)).and_modify(|c| c.next = next);
            }
        }

        // Gradients of the sources: of this step's outputs through the state before it, and directly.
        let mut sums: BTreeMap<usize, Carried> = BTreeMap::new();
        let mut outers: Vec<Outer> = Vec::new();
        let varies = activity::dependents(&b.region, stacked.iter().map(|p| p.0));
        for (s, source) in plan.sources.iter().enumerate() {
            let mut parts = Vec::new();
            for &k in &source.states {
                let Some(&cotangent) = cell.carries[k].0.and_then(|a| now.get(&a)) else { continue };
                let shape = cell.region.ty(cell.results[k]).shape.clone();
                parts.push(onto(&mut b, cotangent, sensitivities[&(s, k)].inside, &shape, source));
            }
            let direct = source.argument.filter(|_| source.kind == Kind::Fixed).and_then(|a| now.get(&a)).copied();
            match direct {
                Some(dx) if known => {
                    let moves = vec![true; b.region.nodes.len()];
                    let mut rest = outer::divide(&b, l.axis, &moves, dx, source.outside, &mut outers);
                    outers.extend(outer::sums(&b, l.axis, &mut rest, source.outside, &|v| varies[v.index()]));
                    parts.extend(rest);
                }
                _ => parts.extend(direct),
            }
            if let Some(part) = emit::total(&mut b, &parts) {
                // With the axes of sensitivities, so that a step reads those without renaming them.
                let inside = fresh(&mut b.region, source.apart());
                let part = emit::rename_within(&mut b, part, &source.free);
                let next = emit::add(&mut b, inside, part);
                sums.insert(s, Carried { inside, start: inside, next });
            }
        }
        let mut region = b.region;
        // What the scan has computed need not be computed again.
        for (inside, outside) in leaving {
            let ty = region.ty(inside).clone();
            region.nodes[inside.index()] = Node { op: Op::Argument(u32::MAX), inputs: Default::default(), ty, origin: origin.clone() };
            stacked.push((inside, outside));
        }
        for (&s, sum) in &mut sums {
            sum.start = emit::zeros(&mut self.b, &plan.sources[s].apart());
        }

        // The loop.
        let cells = if known { 0 } else { count };
        let mut roots: Vec<Value> = cell.results[..cells].to_vec();
        let extra: Vec<&Carried> = sensitivities.values().chain(sums.values()).collect();
        roots.extend(extra.iter().map(|c| c.next));
        let carried = cells + extra.len();
        let given: Vec<(Value, Value)> = given.iter().filter_map(|(inside, outside)| Some((*now.get(inside)?, *outside))).collect();
        roots.extend(given.iter().map(|g| g.0));
        if rtrl.expose {
            roots.extend(sensitivities.values().map(|c| c.next));
        }
        let mut outside: BTreeMap<Value, Value> = stacked.iter().chain(&fixed).copied().collect();
        let bases: BTreeSet<Value> = outers.iter().flat_map(Outer::bases).filter(|v| !outside.contains_key(v)).collect();
        let collected = roots.len();
        roots.extend(&bases);
        let arguments = cell.carries[..cells]
            .iter()
            .copied()
            .chain(extra.iter().map(|c| (Some(c.inside), c.start)))
            .chain(stacked.iter().chain(&fixed).map(|p| (Some(p.0), p.1)));
        let (body, inputs) = closed(&region, &roots, arguments, carried, stacked.len());
        let (body, stacked) = body;
        let made = Loop { kind: l.kind, axis: l.axis, reverse: l.reverse, carries: carried, stacked, body };
        let results = self.b.repeat(made, &inputs);

        let last: BTreeMap<(usize, usize), Value> = sensitivities.keys().copied().zip(results[cells..].iter().copied()).collect();
        if rtrl.expose || rtrl.carry {
            let each = &results[carried + given.len()..];
            for (i, (&(s, carry), &last)) in last.iter().enumerate() {
                let steps = each.get(i).copied().unwrap_or(last);
                self.sensitivities.push(Sensitivity { scan: y, carry, source: plan.sources[s].outside, last, steps });
            }
        }
        let totals: BTreeMap<usize, Value> =
            sums.keys().copied().zip(results[cells + sensitivities.len()..carried].iter().copied()).collect();
        for (s, source) in plan.sources.iter().enumerate() {
            let back: Vec<(AxisId, AxisId)> = source.free.iter().map(|f| (f.1, f.0)).collect();
            let total = totals.get(&s).map(|&total| emit::rename_within(&mut self.b, total, &back));
            let mut parts: Vec<Value> = total.into_iter().collect();
            for &k in &source.states {
                let Some(cotangent) = dys[k] else { continue };
                let shape = cell.region.ty(cell.results[k]).shape.clone();
                parts.push(onto(&mut self.b, cotangent, last[&(s, k)], &shape, source));
            }
            if let Some(total) = emit::total(&mut self.b, &parts) {
                self.give(source.outside, total);
            }
        }
        outside.extend(bases.into_iter().zip(results[collected..].iter().copied()));
        for outer in &outers {
            let dx = outer.build(&mut self.b, l.axis, &outside);
            self.give(outer.receiver, dx);
        }
        for ((_, outside), &dx) in given.iter().zip(&results[carried..]) {
            self.give(*outside, dx);
        }
        Ok(())
    }
}

impl Sweep<'_> {
    /// Whether the states of all steps are small enough to keep.
    fn keeps_states(&self, l: &Loop, cell: &Cell) -> bool {
        let states: Vec<&Shape> = cell.carries.iter().map(|c| &self.b.ty(c.1).shape).collect();
        let all = states.iter().fold(0u64, |n, s| n.saturating_add(elements(self.b.axes, s)));
        let steps = self.b.axes[l.axis.index()].size;
        !states.iter().any(|s| s.contains(l.axis)) && all.saturating_mul(steps) <= KEPT
    }

    /// The states as each step finds them and as it leaves them, collected by the scan: what stands for them in the step, and outside.
    fn states(&mut self, y: Value, l: &Loop, cell: &Cell) -> [Vec<(Value, Value)>; 2] {
        let mut body = l.body.clone();
        let mut found = [Vec::new(), Vec::new()];
        for (i, carry) in cell.carries.iter().enumerate() {
            let argument = (0..body.nodes.len()).find(|&n| body.nodes[n].op == Op::Argument(i as u32)).map(|n| Value(n as u32));
            let next = cell.results[i];
            let computed = !matches!(cell.region.node(next).op, Op::Argument(_)) && found[1].iter().all(|p: &(Value, Value)| p.0 != next);
            let pairs = [(carry.0, argument), (computed.then_some(next), Some(l.body.results[i]))];
            for (found, (inside, value)) in found.iter_mut().zip(pairs) {
                let (Some(inside), Some(value)) = (inside, value) else { continue };
                let index = body.results.len();
                body.results.push(value);
                let ty = body.ty(value).clone();
                found.push((inside, self.project(y, index, &ty, l.axis)));
            }
        }
        self.b.region.nodes[y.index()].op = Op::Loop(Box::new(Loop { body, ..l.clone() }));
        found
    }
}

/// Whether the rule of scans is in force for a loop.
pub(in super::super) fn asked(how: &How, l: &Loop) -> Option<Rtrl> {
    match how.learning {
        Learning::Rtrl(rtrl) if l.kind == crate::op::LoopKind::Scan => Some(rtrl),
        _ => None,
    }
}
