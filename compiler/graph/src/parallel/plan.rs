//! Whether a scan can be computed for many steps at once, and from what: what each state is multiplied with and what is added to it, which
//! readings of it the rest of the step takes, and in which order states are to be computed.

use super::Way;
use crate::batch::spreads;
use crate::entity::Value;
use crate::graph::{Axis, Region};
use crate::op::{Loop, Op};
use crate::shape::Shape;
use crate::transition::form::{Base, Form, State, Term, When};
use crate::transition::{Step, leaves};
use std::collections::BTreeSet;

/// A number and the values that it multiplies.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Product {
    pub(super) scale: f64,
    pub(super) factors: Vec<Value>,
}

/// A reading of a state.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Reading {
    pub(super) when: When,
    /// What the state is multiplied with.
    pub(super) inner: Vec<Value>,
    /// Axes that are summed over after.
    over: Shape,
}

impl Reading {
    /// The reading of a term, where it is one.
    pub(super) fn of(region: &Region, term: &Term) -> Option<Reading> {
        let Base::Read { state, inner, over } = &term.base else { return None };
        Some(Reading { when: state.when, inner: leaves(region, inner), over: over.clone() })
    }
}

/// What is written along one direction: `key` times the sum of `values`, and of `read` times `product` summed with the old state.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Write {
    /// Factors that have key axes.
    pub(super) key: Vec<Value>,
    /// What does not depend on the state.
    pub(super) values: Vec<Product>,
    /// What does: a factor without key axes, and what the old state is multiplied with before it is summed.
    pub(super) reads: Vec<(Product, Vec<Value>)>,
}

/// How a state is computed for many steps at once.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Engine {
    /// From what was written before in the chunk and the state at its start.
    Sums {
        /// Axes over which it is read.
        over: Shape,
        /// All writes; the first alone may read.
        writes: Vec<Write>,
        /// Its readings.
        readings: Vec<Reading>,
    },
    /// State by state, from factors and what is added.
    Whole {
        /// What is added.
        added: Vec<Product>,
    },
    /// As whole, together with others that are computed from it.
    Coupled {
        /// They and itself.
        with: Vec<usize>,
        /// The factors of each, sums of products; no product for zero.
        factors: Vec<Vec<Product>>,
        /// What is added.
        added: Vec<Product>,
    },
}

/// A state.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Carry {
    pub(super) shape: Shape,
    /// The factors of the old state, a sum of products; none for one.
    pub(super) decay: Option<Vec<Product>>,
    pub(super) engine: Engine,
}

/// How a value of the step is had for all steps.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Kind {
    /// By its operation, on its operands for all steps.
    Alike,
    /// From readings of a state.
    Read(usize, Vec<Term>),
    /// It is a state.
    Whole(usize, When),
}

/// A scan that can be computed for many steps at once.
pub(super) struct Plan {
    pub(super) step: Step,
    pub(super) carries: Vec<Carry>,
    forms: Vec<Vec<Form>>,
}

impl Plan {
    /// A plan for a loop, where there is one.
    pub(super) fn new(axes: &mut Vec<Axis>, l: &Loop, way: Way) -> Option<Plan> {
        let mut step = Step::new(l);
        let float = |v: Value| step.region.ty(v).dtype.is_float();
        if l.carries == 0 || !(0..l.carries).all(|c| step.before[c].is_some_and(float)) {
            return None;
        }
        let coupled: Vec<bool> = step.together.iter().map(|t| t.len() > 1).collect();
        let forms: Vec<Vec<Form>> =
            (0..l.carries).map(|c| if coupled[c] { step.forms_together(axes, c) } else { step.forms(axes, c, true) }).collect();
        let mut whole: Vec<bool> = coupled.iter().map(|c| *c || way == Way::Associative).collect();
        loop {
            let mut search =
                Search { l, step: &step, forms: &forms, whole: &whole, seen: BTreeSet::new(), needs: vec![Needs::default(); l.carries] };
            search.all()?;
            let needs = search.needs;
            let more: Vec<usize> = (0..l.carries).filter(|&c| !whole[c] && !needs[c].states.is_empty()).collect();
            if !more.is_empty() {
                more.into_iter().for_each(|c| whole[c] = true);
                continue;
            }
            let found = |c: usize| carry(&step, &forms[c], c, whole[c], needs[c].readings.clone());
            let found: Vec<Option<Carry>> = (0..l.carries).map(found).collect();
            // What no sums over keys give (a gate for each number of the state) may still be had whole.
            let other: Vec<usize> = (0..l.carries).filter(|&c| found[c].is_none() && !whole[c]).collect();
            if !other.is_empty() {
                other.into_iter().for_each(|c| whole[c] = true);
                continue;
            }
            let carries = found.into_iter().collect::<Option<Vec<Carry>>>()?;
            let plan = Plan { step, carries, forms };
            return plan.is_ordered(l).then_some(plan);
        }
    }

    /// How a value of the step is had.
    pub(super) fn kind(&self, value: Value) -> Kind {
        let whole: Vec<bool> = self.carries.iter().map(|c| !matches!(c.engine, Engine::Sums { .. })).collect();
        kind(&self.step, &self.forms, &whole, value)
    }

    /// Whether each state can be computed before what it depends on is asked for in turn.
    fn is_ordered(&self, l: &Loop) -> bool {
        let count = self.carries.len();
        let depends = Dependence::of(&self.step, l);
        let mut needs = vec![BTreeSet::new(); count];
        for (c, carry) in self.carries.iter().enumerate() {
            for value in carry.values() {
                needs[c].extend(depends.states(value));
            }
        }
        let mut done = vec![false; count];
        for _ in 0..count {
            for c in 0..count {
                done[c] = done[c] || needs[c].iter().all(|&o: &usize| done[o]);
            }
        }
        done.iter().all(|d| *d)
    }
}

impl Carry {
    /// All values that it is computed from.
    fn values(&self) -> Vec<Value> {
        let mut all: Vec<Value> = self.decay.iter().flatten().flat_map(|p| p.factors.clone()).collect();
        match &self.engine {
            Engine::Sums { writes, readings, .. } => {
                for write in writes {
                    all.extend(&write.key);
                    all.extend(write.values.iter().flat_map(|p| &p.factors));
                    all.extend(write.reads.iter().flat_map(|(p, inner)| p.factors.iter().chain(inner)));
                }
                all.extend(readings.iter().flat_map(|r| &r.inner));
            }
            Engine::Whole { added } => all.extend(added.iter().flat_map(|p| &p.factors)),
            Engine::Coupled { factors, added, .. } => all.extend(factors.iter().flatten().chain(added).flat_map(|p| &p.factors)),
        }
        all
    }
}

/// Which values depend on which states, those that the analysis appended too.
struct Dependence {
    of: Vec<Vec<bool>>,
}

impl Dependence {
    fn of(step: &Step, l: &Loop) -> Self {
        let mut of: Vec<Vec<bool>> = Vec::with_capacity(step.region.nodes.len());
        for node in &step.region.nodes {
            let own = |c: usize| node.op == Op::Argument(c as u32);
            of.push((0..l.carries).map(|c| own(c) || node.inputs.iter().any(|v| of[v.index()][c])).collect());
        }
        Dependence { of }
    }

    fn states(&self, value: Value) -> impl Iterator<Item = usize> + '_ {
        self.of[value.index()].iter().enumerate().filter(|(_, d)| **d).map(|(c, _)| c)
    }
}

#[derive(Clone, Default)]
struct Needs {
    readings: Vec<Reading>,
    states: BTreeSet<When>,
}

/// Finds what is needed of the states.
struct Search<'a> {
    l: &'a Loop,
    step: &'a Step,
    forms: &'a [Vec<Form>],
    whole: &'a [bool],
    seen: BTreeSet<Value>,
    needs: Vec<Needs>,
}

impl Search<'_> {
    fn all(&mut self) -> Option<()> {
        let varies = varying(&self.step.region, self.l);
        let extended = Loop { body: self.step.region.clone(), ..self.l.clone() };
        let mut stack: Vec<Value> = self.step.region.results[self.l.carries..].to_vec();
        for c in 0..self.l.carries {
            let new = self.step.region.results[c];
            if Some(new) == self.step.before[c] {
                continue;
            }
            let Form::Sum(terms) = &self.forms[c][new.index()] else { return None };
            stack.extend(terms.iter().flat_map(values_of));
        }
        while let Some(value) = stack.pop() {
            if !self.seen.insert(value) {
                continue;
            }
            match kind(self.step, self.forms, self.whole, value) {
                Kind::Whole(c, when) => drop(self.needs[c].states.insert(when)),
                Kind::Read(c, terms) => {
                    for term in &terms {
                        stack.extend(values_of(term));
                        if let Some(reading) = Reading::of(&self.step.region, term)
                            && !self.needs[c].readings.contains(&reading)
                        {
                            self.needs[c].readings.push(reading);
                        }
                    }
                }
                Kind::Alike => {
                    let node = self.step.region.node(value);
                    if !spreads(&extended, node, |v| varies[v.index()]) {
                        return None;
                    }
                    stack.extend(&node.inputs);
                }
            }
        }
        Some(())
    }
}

fn values_of(term: &Term) -> Vec<Value> {
    let inner = if let Base::Read { inner, .. } = &term.base { inner.as_slice() } else { &[] };
    term.factors.iter().chain(inner).copied().collect()
}

/// For each value, whether it is another in each step.
fn varying(region: &Region, l: &Loop) -> Vec<bool> {
    let mut varies: Vec<bool> = Vec::with_capacity(region.nodes.len());
    for node in &region.nodes {
        varies.push(match node.op {
            Op::Argument(i) => (i as usize) < l.carries + l.stacked,
            _ => node.inputs.iter().any(|v| varies[v.index()]),
        });
    }
    varies
}

fn kind(step: &Step, forms: &[Vec<Form>], whole: &[bool], value: Value) -> Kind {
    if value.index() >= step.own {
        return Kind::Alike;
    }
    for c in 0..forms.len() {
        if step.before[c] == Some(value) {
            return Kind::Whole(c, When::Before);
        }
        if step.region.results[c] == value {
            return Kind::Whole(c, When::After);
        }
    }
    let node = step.region.node(value);
    for c in (0..forms.len()).filter(|&c| !whole[c] && step.depends[c][value.index()]) {
        let Form::Sum(terms) = &forms[c][value.index()] else { continue };
        let has_state = |v: &Value| is_state(step, forms, c, *v);
        if terms.iter().all(|t| !matches!(t.base, Base::State(_))) && node.inputs.iter().any(has_state) {
            return Kind::Read(c, terms.clone());
        }
    }
    Kind::Alike
}

/// Whether a state as a whole is in a value: the state after the step too, whose own form says how it comes about.
fn is_state(step: &Step, forms: &[Vec<Form>], c: usize, value: Value) -> bool {
    step.region.results[c] == value || forms[c].get(value.index()).is_some_and(Form::has_state)
}

/// What a state is computed from.
fn carry(step: &Step, forms: &[Form], c: usize, whole: bool, readings: Vec<Reading>) -> Option<Carry> {
    let before = step.before[c]?;
    let new = step.region.results[c];
    let shape = step.region.ty(before).shape.clone();
    let same = State { carry: c, when: When::Before };
    let terms = match &forms[new.index()] {
        _ if new == before => vec![Term { scale: 1.0, factors: Vec::new(), base: Base::State(same) }],
        Form::Sum(terms) => terms.clone(),
        _ => return None,
    };
    let product = |t: &Term| Product { scale: t.scale, factors: t.factors.clone() };
    let with = &step.together[c];
    if with.len() > 1 {
        let alike = |o: &usize| step.before[*o].is_some_and(|v| region_shape(step, v) == shape);
        let plain = |t: &Term| t.base == Base::One || matches!(t.base, Base::State(State { when: When::Before, .. }));
        if !with.iter().all(alike) || !terms.iter().all(plain) {
            return None;
        }
        let of = |o: &usize| terms.iter().filter(|t| t.base == Base::State(State { carry: *o, when: When::Before })).map(product).collect();
        let factors = with.iter().map(of).collect();
        let added = terms.iter().filter(|t| t.base == Base::One).map(product).collect();
        return Some(Carry { shape, decay: None, engine: Engine::Coupled { with: with.clone(), factors, added } });
    }
    let decay: Vec<Product> = terms.iter().filter(|t| matches!(t.base, Base::State(_))).map(product).collect();
    let plain = matches!(&decay[..], [one] if one.scale == 1.0 && one.factors.is_empty());
    let added: Vec<Product> = terms.iter().filter(|t| t.base == Base::One).map(product).collect();
    let reads: Vec<&Term> = terms.iter().filter(|t| matches!(t.base, Base::Read { .. })).collect();
    if decay.is_empty() {
        return None;
    }
    let engine = if whole {
        if !reads.is_empty() {
            return None;
        }
        Engine::Whole { added }
    } else {
        sums(&step.region, &shape, &decay, &added, &reads, readings)?
    };
    Some(Carry { shape, decay: (!plain).then_some(decay), engine })
}

fn region_shape(step: &Step, v: Value) -> Shape {
    step.region.ty(v).shape.clone()
}

fn axes_of(region: &Region, values: &[Value]) -> Shape {
    values.iter().fold(Shape::scalar(), |all, &v| all.union(&region.ty(v).shape))
}

fn sums(region: &Region, shape: &Shape, decay: &[Product], added: &[Product], reads: &[&Term], readings: Vec<Reading>) -> Option<Engine> {
    let over = key_axes(region, shape, added, reads, &readings)?;
    if readings.iter().any(|r| r.over != over) {
        return None;
    }
    let mut writes: Vec<Write> = Vec::new();
    let mut write = |factors: &[Value]| -> (usize, Vec<Value>) {
        let all = leaves(region, factors);
        let has_key = |v: &Value| !region.ty(*v).shape.intersection(&over).is_scalar();
        let (key, rest): (Vec<Value>, Vec<Value>) = all.iter().partition(|v| has_key(v));
        let place = writes.iter().position(|w| w.key == key).unwrap_or_else(|| {
            writes.push(Write { key, values: Vec::new(), reads: Vec::new() });
            writes.len() - 1
        });
        (place, rest)
    };
    let mut found = Vec::new();
    for term in reads {
        let Base::Read { inner, over: own, .. } = &term.base else { continue };
        if *own != over {
            return None;
        }
        let (place, factors) = write(&term.factors);
        found.push((place, Err((Product { scale: term.scale, factors }, leaves(region, inner)))));
    }
    for product in added {
        let (place, factors) = write(&product.factors);
        found.push((place, Ok(Product { scale: product.scale, factors })));
    }
    for (place, part) in found {
        match part {
            Ok(product) => writes[place].values.push(product),
            Err(read) => writes[place].reads.push(read),
        }
    }
    // One direction alone is corrected.
    if writes.iter().skip(1).any(|w| !w.reads.is_empty()) {
        return None;
    }
    // What multiplies the state or a correction is the same along what is read and what is kept.
    let keys: Vec<Value> = writes.iter().flat_map(|w| &w.key).copied().chain(readings.iter().flat_map(|r| r.inner.clone())).collect();
    let inner: Vec<Value> = writes.iter().flat_map(|w| &w.reads).flat_map(|r| r.1.clone()).collect();
    let shared = axes_of(region, &keys).union(&axes_of(region, &inner)).minus(&over);
    let alike = |factors: &[Value]| shared.contains_all(&axes_of(region, factors).intersection(shape));
    let fades = decay.iter().all(|p| axes_of(region, &p.factors).intersection(&over).is_scalar() && alike(&p.factors));
    let corrects = writes.iter().flat_map(|w| &w.reads).all(|(p, _)| alike(&p.factors));
    (fades && corrects).then_some(Engine::Sums { over, writes, readings })
}

/// The axes that all readings sum over; where there is none, those of what is written that not all of its factors have.
fn key_axes(region: &Region, shape: &Shape, added: &[Product], reads: &[&Term], readings: &[Reading]) -> Option<Shape> {
    if let Some(Term { base: Base::Read { over, .. }, .. }) = reads.first() {
        return Some(over.clone());
    }
    if let Some(reading) = readings.first() {
        return Some(reading.over.clone());
    }
    let first = added.iter().flat_map(|p| leaves(region, &p.factors)).collect::<Vec<_>>();
    let own = |v: &Value| region.ty(*v).shape.intersection(shape);
    let wide: Vec<Shape> = first.iter().map(own).filter(|s| !s.is_scalar()).collect();
    let common = wide.iter().skip(1).fold(wide.first()?.clone(), |all, s| all.intersection(s));
    let key = wide[0].minus(&common);
    Some(if key.is_scalar() { wide[0].clone() } else { key })
}
