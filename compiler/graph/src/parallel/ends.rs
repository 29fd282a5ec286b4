//! Scans of which only the last states are read, where those are linear: many steps at once, whatever the states are large in.
//!
//! Sensitivities carried forward are such states (`S = a * S + c x`, and sums `G = G + sum of g * S`), and so is a memory that is only
//! written. What a step adds reaches the end of its chunk times a weight that does not have the axes of `x`: the product of the factors
//! `a` after it, and for sums `g` plus `a` times the next weight, from the last step of the chunk to the first. With the weights in hand
//! a chunk's additions are one contraction over its steps, and the states themselves are touched once for each chunk.

use super::emit::{Cuts, product};
use crate::autodiff::emit::{scale_by_size, spread};
use crate::batch::{Depends, Outside, depends, movable};
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Graph, Node, Region};
use crate::op::{Loop, LoopKind, MapFn, Op, ReduceFn};
use crate::rewrite::{self, New, Rewrite};
use crate::shape::{DType, Shape, Ty};
use crate::transition::form::{Base, Form, Term};
use crate::transition::{Step, leaves};

/// Most steps of a chunk.
const STEPS: u64 = 64;

/// Fewest steps for which there are chunks.
const FEWEST: u64 = 4;

/// How many times larger than their weights the states must be.
const LARGER: u64 = 4;

/// Computes every such scan chunk by chunk, where that is less work.
pub fn ends(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Ends { always: false })
}

/// [`ends`], be it less work or not.
pub fn ends_always(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Ends { always: true })
}

struct Ends {
    always: bool,
}

impl Rewrite for Ends {
    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        let Op::Loop(l) = &node.op else { return New::One(b.region.push(node)) };
        match Plan::new(b.axes, l, self.always) {
            Some(plan) => New::Results(plan.emit(b, &node.inputs)),
            None => New::One(b.region.push(node)),
        }
    }
}

/// `scale` times the product of values that no state is in.
#[derive(Clone, PartialEq, Debug)]
struct Product {
    scale: f64,
    factors: Vec<Value>,
}

/// `sum over the axes of weight * state`, in a sum.
struct Coupling {
    state: usize,
    over: Shape,
    weight: Vec<Product>,
}

/// What becomes of a state in a step.
enum Carry {
    /// Each of its numbers times a factor (one, where there is none).
    Moving { factor: Option<Vec<Product>> },
    /// It grows by readings of moving states.
    Sum { couplings: Vec<Coupling> },
}

/// A state whose numbers keep apart, or a sum.
struct State {
    ty: Ty,
    carry: Carry,
    /// What is added to it besides.
    added: Vec<Product>,
}

/// A scan that can be computed so. The loop has the step's region as its body, extended by the analysis.
struct Plan {
    l: Loop,
    depends: Vec<Depends>,
    states: Vec<State>,
}

/// How much of the end of a chunk comes of a state in it, for each step: the product of the factors that follow, or of what sums read.
#[derive(PartialEq)]
struct Weight<'a> {
    factor: Option<&'a [Product]>,
    reads: Option<&'a [Product]>,
}

impl Plan {
    fn new(axes: &mut Vec<Axis>, l: &Loop, always: bool) -> Option<Plan> {
        let length = axes[l.axis.index()].size;
        if l.kind != LoopKind::Scan || l.carries == 0 || length < FEWEST {
            return None;
        }
        let mut step = Step::new(l);
        let forms = step.forms_of_all(axes)?;
        let states: Vec<State> = (0..l.carries).map(|c| state(&step, &forms[step.region.results[c].index()], c)).collect::<Option<_>>()?;
        let moving = |c: usize| matches!(states[c].carry, Carry::Moving { .. });
        let coupled = |s: &State| match &s.carry {
            Carry::Moving { .. } => true,
            Carry::Sum { couplings } => couplings.iter().all(|c| moving(c.state)),
        };
        if !states.iter().all(coupled) || !(0..l.carries).any(moving) {
            return None;
        }
        let l = Loop { body: step.region, ..l.clone() };
        let depends = depends(&l);
        let plan = Plan { depends, l, states };
        (plan.is_possible() && (always || plan.is_cheaper(axes))).then_some(plan)
    }

    fn values(&self) -> impl Iterator<Item = Value> {
        let region = &self.l.body;
        let mut all = Vec::new();
        let mut push = |p: &Product| all.extend(leaves(region, &p.factors));
        for state in &self.states {
            state.added.iter().for_each(&mut push);
            match &state.carry {
                Carry::Moving { factor } => factor.iter().flatten().for_each(&mut push),
                Carry::Sum { couplings } => couplings.iter().flat_map(|c| &c.weight).for_each(&mut push),
            }
        }
        all.extend(&region.results[self.l.carries..]);
        all.sort_unstable();
        all.dedup();
        all.into_iter()
    }

    /// Whether everything but the states can be had for all steps at once.
    fn is_possible(&self) -> bool {
        let can = movable(&self.l, &self.depends);
        self.values().all(|v| self.depends[v.index()] != Depends::Carry && can[v.index()])
    }

    /// Steps of a chunk: so many that touching the states once costs as much as all their weights.
    fn steps(&self, axes: &[Axis]) -> u64 {
        let (states, weights) = self.sizes(axes);
        let steps = (states / weights.max(1)).clamp(FEWEST, STEPS);
        (1 << steps.ilog2()).min(axes[self.l.axis.index()].size)
    }

    /// Elements of moving states and of weights for each step.
    fn sizes(&self, axes: &[Axis]) -> (u64, u64) {
        let size = |shape: &Shape| shape.iter().fold(1u64, |n, a| n.saturating_mul(axes[a.index()].size));
        let states = self.states.iter().filter(|s| matches!(s.carry, Carry::Moving { .. })).map(|s| size(&s.ty.shape)).sum();
        (states, self.weights().iter().map(|w| size(&self.axes_of_weight(w))).sum())
    }

    fn is_cheaper(&self, axes: &[Axis]) -> bool {
        let size = |shape: &Shape| shape.iter().fold(1u64, |n, a| n.saturating_mul(axes[a.index()].size));
        let of = |v: Value| size(&self.l.body.ty(v).shape);
        let (states, weights) = self.sizes(axes);
        let is_argument = |v: &Value| matches!(self.l.body.node(*v).op, Op::Argument(_));
        let made: u64 = self.values().filter(|v| self.depends[v.index()] == Depends::Step && !is_argument(v)).map(of).sum();
        weights.max(made).saturating_mul(LARGER) <= states
    }

    fn axes_of(&self, products: &[Product]) -> Shape {
        let all = products.iter().flat_map(|p| &p.factors);
        all.fold(Shape::scalar(), |shape, &v| shape.union(&self.l.body.ty(v).shape))
    }

    fn axes_of_weight(&self, weight: &Weight<'_>) -> Shape {
        self.axes_of(weight.factor.unwrap_or_default()).union(&self.axes_of(weight.reads.unwrap_or_default()))
    }

    /// What a moving state's numbers are multiplied with.
    fn factor(&self, c: usize) -> Option<&[Product]> {
        match &self.states[c].carry {
            Carry::Moving { factor } => factor.as_deref(),
            Carry::Sum { .. } => None,
        }
    }

    /// What of a moving state is left at the end of a chunk; nothing where that is all.
    fn left(&self, c: usize) -> Option<Weight<'_>> {
        self.factor(c).map(|factor| Weight { factor: Some(factor), reads: None })
    }

    fn read<'a>(&'a self, coupling: &'a Coupling) -> Weight<'a> {
        Weight { factor: self.factor(coupling.state), reads: Some(&coupling.weight) }
    }

    /// All weights, each once.
    fn weights(&self) -> Vec<Weight<'_>> {
        let mut found: Vec<Weight<'_>> = Vec::new();
        for (c, state) in self.states.iter().enumerate() {
            let wanted: Vec<Weight<'_>> = match &state.carry {
                Carry::Moving { .. } => self.left(c).into_iter().collect(),
                Carry::Sum { couplings } => couplings.iter().map(|c| self.read(c)).collect(),
            };
            for weight in wanted {
                if !found.contains(&weight) {
                    found.push(weight);
                }
            }
        }
        found
    }

    fn emit(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Vec<Value> {
        let steps = self.steps(b.axes);
        let cuts = Cuts::new(b, &self.l, steps);
        let outside = Outside::new(&self.l, &self.depends, inputs.to_vec());
        let mut e = Emit { b, plan: self, inputs, cuts, outside };
        let weights = e.weights();
        let states = e.states(&weights);
        let collected = &self.l.body.results[self.l.carries..];
        let shapes = collected.iter().map(|&v| (v, self.l.body.ty(v).shape.with(self.l.axis)));
        let collected: Vec<Value> = shapes
            .map(|(v, shape)| {
                let made = e.outside.copy(e.b, v);
                spread(e.b, made, &shape)
            })
            .collect();
        [states, collected].concat()
    }
}

/// What a step does to a state, from its terms.
fn state(step: &Step, form: &Form, c: usize) -> Option<State> {
    let before = step.before[c]?;
    let ty = step.region.ty(before).clone();
    let Form::Sum(terms) = form else { return None };
    let product = |t: &Term| Product { scale: t.scale, factors: t.factors.clone() };
    let added: Vec<Product> = terms.iter().filter(|t| t.base == Base::One).map(product).collect();
    let own: Vec<&Term> = terms.iter().filter(|t| matches!(t.base, Base::State(s) if s.carry == c)).collect();
    let others: Vec<&Term> = terms.iter().filter(|t| t.base != Base::One && !own.contains(t)).collect();
    let plain = matches!(own[..], [t] if t.scale == 1.0 && t.factors.is_empty());
    let carry = if others.is_empty() {
        if own.is_empty() {
            return None;
        }
        Carry::Moving { factor: (!plain).then(|| own.into_iter().map(product).collect()) }
    } else {
        if !plain {
            return None;
        }
        let mut couplings: Vec<Coupling> = Vec::new();
        for term in others {
            let (state, inner, over) = match &term.base {
                Base::One => continue,
                Base::State(state) => (state.carry, &[][..], Shape::scalar()),
                Base::Read { state, inner, over } => (state.carry, inner.as_slice(), over.clone()),
            };
            let outer = term.factors.iter().fold(Shape::scalar(), |s, &v| s.union(&step.region.ty(v).shape));
            if state == c || !outer.intersection(&over).is_scalar() {
                return None;
            }
            let weight = Product { scale: term.scale, factors: [inner, &term.factors[..]].concat() };
            match couplings.iter_mut().find(|k| k.state == state && k.over == over) {
                Some(found) => found.weight.push(weight),
                None => couplings.push(Coupling { state, over, weight: vec![weight] }),
            }
        }
        Carry::Sum { couplings }
    };
    let floats = ty.dtype.is_float();
    floats.then_some(State { ty, carry, added })
}

/// A weight for every step, by chunk and step of it, and for the state at the start of the chunk.
struct Made {
    steps: Value,
    start: Value,
}

struct Emit<'a, 'g> {
    b: &'a mut Builder<'g>,
    plan: &'a Plan,
    inputs: &'a [Value],
    cuts: Cuts,
    outside: Outside<'a>,
}

impl Emit<'_, '_> {
    /// A sum of products for all steps.
    fn products(&mut self, products: &[Product], dtype: DType) -> Value {
        let mut parts = Vec::new();
        for p in products {
            let factors: Vec<Value> = p.factors.iter().map(|&v| self.outside.copy(self.b, v)).collect();
            parts.push(product(self.b, p.scale, &factors, dtype));
        }
        let first = parts.first().copied();
        let sum = first.map(|first| parts[1..].iter().fold(first, |sum, &part| self.b.map(MapFn::Add, &[sum, part])));
        sum.unwrap_or_else(|| self.b.float(0.0, dtype))
    }

    /// One scan from the last step of each chunk to the first, for all chunks.
    fn weights(&mut self) -> Vec<Made> {
        let plan = self.plan;
        let weights = plan.weights();
        let Some(dtype) = plan.states.first().map(|s| s.ty.dtype) else { return Vec::new() };
        let mut given: Vec<(&[Product], Value)> = Vec::new();
        for weight in &weights {
            for (products, fill) in [(weight.factor, Some(1.0)), (weight.reads, None)] {
                let Some(products) = products else { continue };
                if given.iter().all(|g| g.0 != products) {
                    let value = self.products(products, dtype);
                    given.push((products, self.cuts.cut(self.b, value, fill)));
                }
            }
        }
        let shapes: Vec<Shape> = weights.iter().map(|w| plan.axes_of_weight(w).with(self.cuts.chunk)).collect();
        let mut starts = Vec::new();
        for (weight, shape) in weights.iter().zip(&shapes) {
            let start = self.b.float(if weight.reads.is_none() { 1.0 } else { 0.0 }, dtype);
            starts.push(spread(self.b, start, shape));
        }
        let origin = self.b.origin.clone();
        let inside: Vec<Ty> = given.iter().map(|g| Ty::new(dtype, self.b.shape(g.1).without(self.cuts.within))).collect();
        let mut body = Builder::new(self.b.axes);
        body.origin = origin;
        let argument = |body: &mut Builder<'_>, i: usize, ty: &Ty| body.add_as(Op::Argument(i as u32), &[], Some(ty));
        let old: Vec<Value> = shapes.iter().enumerate().map(|(i, s)| argument(&mut body, i, &Ty::new(dtype, s.clone()))).collect();
        let read: Vec<Value> = inside.iter().enumerate().map(|(i, ty)| argument(&mut body, old.len() + i, ty)).collect();
        let find = |products: &[Product]| given.iter().position(|g| g.0 == products).map(|i| read[i]);
        let mut new = Vec::new();
        for (weight, &old) in weights.iter().zip(&old) {
            let kept = match weight.factor.and_then(find) {
                Some(factor) => body.map(MapFn::Mul, &[factor, old]),
                None => old,
            };
            new.push(match weight.reads.and_then(find) {
                Some(reads) => body.map(MapFn::Add, &[kept, reads]),
                None => kept,
            });
        }
        let mut region = body.region;
        region.results = new.into_iter().chain(old).collect();
        let axis = self.cuts.within;
        let (carries, stacked) = (weights.len(), given.len());
        let l = Loop { kind: LoopKind::Scan, axis, reverse: !self.cuts.reverse, carries, stacked, body: region };
        let operands: Vec<Value> = starts.into_iter().chain(given.iter().map(|g| g.1)).collect();
        let results = self.b.repeat(l, &operands);
        (0..carries).map(|i| Made { start: results[i], steps: results[carries + i] }).collect()
    }

    /// The factors of an addition for all steps. A product of what the steps are given anyway is taken apart: that is read once then.
    fn factors(&mut self, added: &Product) -> Vec<Value> {
        let copies: Vec<Value> = added.factors.iter().map(|&v| self.outside.copy(self.b, v)).collect();
        leaves_within(&self.b.region, &copies, self.inputs)
    }

    /// What a state has of additions at the end: those of each chunk, or of all where `whole`, each times its weight and summed over steps
    /// and the axes `over`.
    fn addition(&mut self, added: &Product, weight: Option<Value>, over: &Shape, whole: bool, dtype: DType) -> Addition {
        let parts = self.factors(added);
        let steps = self.cuts.steps;
        let varies = parts.iter().any(|&v| self.b.shape(v).contains(steps));
        let narrow = weight.map_or(Shape::scalar(), |w| self.b.shape(w).with(steps));
        let fits = |e: &Self, v: Value| narrow.contains_all(e.b.shape(v));
        let (with, rest): (Vec<Value>, Vec<Value>) =
            if weight.is_some() { parts.iter().partition(|&&v| fits(self, v)) } else { split(&self.b.region, &parts) };
        let make = |e: &mut Self, values: Vec<Value>, cuts: bool| -> Vec<Value> {
            let cut = |e: &mut Self, v: Value| if cuts && e.b.shape(v).contains(steps) { e.cuts.cut(e.b, v, None) } else { v };
            values.into_iter().map(|v| cut(e, v)).collect()
        };
        let in_chunks = !whole || weight.is_some();
        // The weight first: products of it that several additions have are the same then.
        let with: Vec<Value> = weight.into_iter().chain(make(self, with, in_chunks)).collect();
        let rest = make(self, rest, !whole);
        let mut left = product(self.b, added.scale, &with, dtype);
        if in_chunks && !varies {
            // The same in every step, but nothing in those that were added.
            let one = self.b.float(1.0, dtype);
            let one = self.cuts.cut(self.b, one, None);
            left = self.b.map(MapFn::Mul, &[left, one]);
        }
        let right = (!rest.is_empty()).then(|| product(self.b, 1.0, &rest, dtype));
        let mut summed = vec![self.cuts.within];
        if whole && in_chunks && right.is_none() {
            summed.push(self.cuts.chunk);
        } else if whole {
            summed = vec![steps];
            if in_chunks {
                left = self.cuts.join(self.b, left);
            }
        }
        summed.extend(over.iter());
        Addition { left, right, summed }
    }

    /// The last states.
    fn states(&mut self, weights: &[Made]) -> Vec<Value> {
        let plan = self.plan;
        let all = plan.weights();
        let find = |w: &Weight<'_>| all.iter().position(|found| found == w).map(|i| &weights[i]);
        // What sums get of additions needs no state.
        let mut totals: Vec<Option<Value>> = Vec::new();
        for state in &plan.states {
            let Carry::Sum { couplings } = &state.carry else {
                totals.push(None);
                continue;
            };
            let mut total: Option<Value> = None;
            let mut plus = |e: &mut Self, part: Value| {
                let part = spread(e.b, part, &state.ty.shape);
                total = Some(total.map_or(part, |total| e.b.map(MapFn::Add, &[total, part])));
            };
            for added in &state.added {
                let addition = self.addition(added, None, &Shape::scalar(), true, state.ty.dtype);
                let part = addition.build(self.b);
                plus(self, part);
            }
            for coupling in couplings {
                let weight = find(&plan.read(coupling)).map(|m| m.steps);
                for added in &plan.states[coupling.state].added {
                    let addition = self.addition(added, weight, &coupling.over, true, state.ty.dtype);
                    let part = addition.build(self.b);
                    plus(self, part);
                }
            }
            totals.push(total);
        }
        // A scan over the chunks brings the states from the start of each to its end.
        let mut stacked: Vec<Value> = Vec::new();
        let mut place = |v: Value| {
            stacked.iter().position(|&s| s == v).unwrap_or_else(|| {
                stacked.push(v);
                stacked.len() - 1
            })
        };
        let mut additions: Vec<Vec<(Addition, usize, Option<usize>)>> = Vec::new();
        let mut starts: Vec<Vec<Option<usize>>> = Vec::new();
        for (c, state) in plan.states.iter().enumerate() {
            let (mut found, mut own) = (Vec::new(), Vec::new());
            match &state.carry {
                Carry::Moving { .. } => {
                    let left = plan.left(c).and_then(|w| find(&w));
                    own.push(left.map(|m| place(m.start)));
                    for added in &state.added {
                        let addition = self.addition(added, left.map(|m| m.steps), &Shape::scalar(), false, state.ty.dtype);
                        let addition = match addition.right {
                            Some(_) => addition,
                            None => Addition { left: addition.build(self.b), right: None, summed: Vec::new() },
                        };
                        let operands = self.by_chunk(&addition);
                        found.push((addition, place(operands.0), operands.1.map(&mut place)));
                    }
                }
                Carry::Sum { couplings } => own.extend(couplings.iter().map(|k| find(&plan.read(k)).map(|m| place(m.start)))),
            }
            additions.push(found);
            starts.push(own);
        }
        let types: Vec<Ty> = stacked.iter().map(|&v| Ty::new(self.b.ty(v).dtype, self.b.shape(v).without(self.cuts.chunk))).collect();
        let origin = self.b.origin.clone();
        let count = plan.states.len();
        let mut body = Builder::new(self.b.axes);
        body.origin = origin;
        let argument = |body: &mut Builder<'_>, i: usize, ty: &Ty| body.add_as(Op::Argument(i as u32), &[], Some(ty));
        let old: Vec<Value> = plan.states.iter().enumerate().map(|(i, s)| argument(&mut body, i, &s.ty)).collect();
        let read: Vec<Value> = types.iter().enumerate().map(|(i, ty)| argument(&mut body, count + i, ty)).collect();
        let mut new = Vec::new();
        for (c, state) in plan.states.iter().enumerate() {
            let mut next = old[c];
            match &state.carry {
                Carry::Moving { .. } => {
                    if let Some(start) = starts[c][0] {
                        next = body.map(MapFn::Mul, &[read[start], next]);
                    }
                    for (addition, left, right) in &additions[c] {
                        let summed = addition.summed.clone();
                        let part = Addition { left: read[*left], right: right.map(|r| read[r]), summed }.build(&mut body);
                        let part = spread(&mut body, part, &state.ty.shape);
                        next = body.map(MapFn::Add, &[next, part]);
                    }
                }
                Carry::Sum { couplings } => {
                    for (coupling, start) in couplings.iter().zip(&starts[c]) {
                        let Some(start) = start else { continue };
                        let reading =
                            Addition { left: read[*start], right: Some(old[coupling.state]), summed: coupling.over.axes().to_vec() };
                        let part = reading.build(&mut body);
                        let part = spread(&mut body, part, &state.ty.shape);
                        next = body.map(MapFn::Add, &[next, part]);
                    }
                }
            }
            new.push(next);
        }
        let mut region = body.region;
        region.results = new;
        let l = Loop {
            kind: LoopKind::Scan,
            axis: self.cuts.chunk,
            reverse: self.cuts.reverse,
            carries: count,
            stacked: stacked.len(),
            body: region,
        };
        let operands: Vec<Value> = self.inputs[..count].iter().copied().chain(stacked).collect();
        let results = self.b.repeat(l, &operands);
        let total = |(&last, total): (&Value, Option<Value>)| total.map_or(last, |t| self.b.map(MapFn::Add, &[last, t]));
        results.iter().zip(totals).map(total).collect()
    }

    /// Both operands with the axis of chunks.
    fn by_chunk(&mut self, addition: &Addition) -> (Value, Option<Value>) {
        let mut with = |v: Value| {
            let shape = self.b.shape(v).with(self.cuts.chunk);
            spread(self.b, v, &shape)
        };
        (with(addition.left), addition.right.map(&mut with))
    }
}

/// The values that products are made of; products themselves are taken apart only where one of their factors is among `given`.
fn leaves_within(region: &Region, products: &[Value], given: &[Value]) -> Vec<Value> {
    let mut found = Vec::new();
    let mut stack = products.to_vec();
    while let Some(v) = stack.pop() {
        let node = region.node(v);
        let apart = node.op == Op::Map(MapFn::Mul) && (!given.contains(&v) || node.inputs.iter().any(|i| given.contains(i)));
        if apart {
            stack.extend(&node.inputs);
        } else {
            found.push(v);
        }
    }
    found.sort_unstable();
    found
}

/// Two groups of factors whose product is larger than either: those with the axes that the first has, and the others.
fn split(region: &Region, parts: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let first = parts.iter().map(|&v| &region.ty(v).shape).max_by_key(|s| s.rank());
    parts.iter().partition(|v| first.is_some_and(|f| f.contains_all(&region.ty(**v).shape)))
}

/// A sum over axes of the product of one operand or two.
struct Addition {
    left: Value,
    right: Option<Value>,
    summed: Vec<AxisId>,
}

impl Addition {
    fn build(&self, b: &mut Builder<'_>) -> Value {
        let x = b.shape(self.left).clone();
        let y = self.right.map_or(Shape::scalar(), |right| b.shape(right).clone());
        let only = |own: &Shape, other: &Shape| Shape::of(self.summed.iter().copied()).intersection(&own.minus(other));
        let left = b.reduce(ReduceFn::Sum, self.left, only(&x, &y).axes());
        // Along an axis that neither has, all are alike.
        let left = scale_by_size(b, left, &Shape::of(self.summed.iter().copied()).minus(&x).minus(&y));
        let Some(right) = self.right else { return left };
        let right = b.reduce(ReduceFn::Sum, right, only(&y, &x).axes());
        if x.contains_all(&y) || y.contains_all(&x) {
            // Not a product of matrices: it may be computed on the way.
            let product = b.map(MapFn::Mul, &[left, right]);
            let over = b.shape(product).intersection(&Shape::of(self.summed.iter().copied()));
            return b.reduce(ReduceFn::Sum, product, over.axes());
        }
        let both: Vec<AxisId> = self.summed.iter().copied().filter(|&a| x.contains(a) && y.contains(a)).collect();
        b.contract(left, right, &both)
    }
}
