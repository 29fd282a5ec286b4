//! Scans of which only the last states are read, where those are linear: many steps at once, whatever the states are large in.
//!
//! Sensitivities carried forward are such states (`S = a * S + c x`, and sums `G = G + sum of g * S`), and so is a memory that is only
//! written. What a step adds reaches the end of its chunk times a weight that does not have the axes of `x`: the product of the factors
//! `a` after it, and for sums `g` plus `a` times the next weight, from the last step of the chunk to the first. With the weights in hand
//! a chunk's additions are one contraction over its steps, and the states themselves are touched once for each chunk.

mod emit;

use crate::batch::{Depends, depends, movable};
use crate::build::Builder;
use crate::entity::Value;
use crate::graph::{Axis, Graph, Node};
use crate::op::{Loop, LoopKind, Op};
use crate::rewrite::{self, New, Rewrite};
use crate::shape::{Shape, Ty};
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
