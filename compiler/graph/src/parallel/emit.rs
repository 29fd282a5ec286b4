//! Values of a step for all steps at once, in the region around the scan.

use super::plan::{Engine, Kind, Plan, Product, Reading};
use super::{coupled, sums, whole};
use crate::autodiff::emit::spread;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::Node;
use crate::op::{Loop, MapFn, Op, ReduceFn};
use crate::shape::{DType, Shape, Ty};
use crate::transition::form::{Base, Term, When};
use std::collections::BTreeMap;

/// The results of a scan: final states, then collected values.
pub(super) fn emit(b: &mut Builder<'_>, l: &Loop, inputs: &[Value], plan: Plan, steps: u64) -> Vec<Value> {
    let cuts = Cuts::new(b, l, steps);
    let count = plan.carries.len();
    let mut e = Emit { b, l, inputs, plan, cuts, made: BTreeMap::new(), states: vec![None; count] };
    let mut results: Vec<Value> = (0..count).map(|c| e.state(c).last).collect();
    for &result in &l.body.results[l.carries..] {
        // The plan's region has the loop's nodes at their places, but for arguments that occur twice.
        let place = e.plan.step.region.results[l.carries + results.len() - count];
        let value = e.value(place);
        let shape = e.l.body.ty(result).shape.with(l.axis);
        results.push(spread(e.b, value, &shape));
    }
    results
}

/// How the steps are cut into chunks.
pub(super) struct Cuts {
    /// The steps.
    pub(super) steps: AxisId,
    /// The steps, and more so that all chunks are of one length; the same axis where they are.
    padded: AxisId,
    /// The chunks.
    pub(super) chunk: AxisId,
    /// The steps of a chunk.
    pub(super) within: AxisId,
    /// The same steps, as those that were before others.
    pub(super) other: AxisId,
    /// From the last step to the first.
    pub(super) reverse: bool,
}

impl Cuts {
    pub(super) fn new(b: &mut Builder<'_>, l: &Loop, size: u64) -> Self {
        let (name, length) = (b.axes[l.axis.index()].name.clone(), b.axes[l.axis.index()].size);
        let chunks = length.div_ceil(size);
        let padded = if chunks * size == length { l.axis } else { b.axis(name.clone(), chunks * size) };
        let (chunk, within, other) = (b.axis("chunk", chunks), b.axis(name.clone(), size), b.axis(name, size));
        Cuts { steps: l.axis, padded, chunk, within, other, reverse: l.reverse }
    }

    /// A value of all steps (or of none) by chunk and step of it; steps that were added have zeros, or `fill`.
    pub(super) fn cut(&self, b: &mut Builder<'_>, value: Value, fill: Option<f64>) -> Value {
        let shape = b.shape(value).with(self.steps);
        let mut value = spread(b, value, &shape);
        if self.padded != self.steps {
            value = b.add(Op::Pad { axis: self.steps, start: 0, into: self.padded }, &[value]);
            if let Some(fill) = fill {
                let (at, length) = (b.add(Op::Iota(self.padded), &[]), b.axes[self.steps.index()].size);
                let end = b.int(i32::try_from(length).unwrap_or(i32::MAX));
                let inside = b.map(MapFn::Lt, &[at, end]);
                let dtype = b.ty(value).dtype;
                let fill = b.float(fill, dtype);
                value = b.map(MapFn::Where, &[inside, value, fill]);
            }
        }
        b.add(Op::Split { axis: self.padded, into: vec![self.chunk, self.within] }, &[value])
    }

    /// The inverse of [`Cuts::cut`].
    pub(super) fn join(&self, b: &mut Builder<'_>, value: Value) -> Value {
        let joined = b.add(Op::Merge { from: vec![self.chunk, self.within], into: self.padded }, &[value]);
        if self.padded == self.steps { joined } else { b.add(Op::Slice { axis: self.padded, start: 0, into: self.steps }, &[joined]) }
    }

    /// Position of the step of a chunk that comes last.
    pub(super) fn last(&self, b: &Builder<'_>) -> u64 {
        if self.reverse { 0 } else { b.axes[self.within.index()].size - 1 }
    }

    /// `value` at one position of `within`.
    pub(super) fn at(&self, b: &mut Builder<'_>, value: Value, position: u64) -> Value {
        let name = b.axes[self.within.index()].name.clone();
        let one = b.axis(name, 1);
        let cut = b.add(Op::Slice { axis: self.within, start: position, into: one }, &[value]);
        b.reduce(ReduceFn::Sum, cut, &[one])
    }

    /// Where `other` is before `within`, or, if `same`, at it.
    pub(super) fn before(&self, b: &mut Builder<'_>, same: bool) -> Value {
        let (at, other) = (b.add(Op::Iota(self.within), &[]), b.add(Op::Iota(self.other), &[]));
        let f = match (self.reverse, same) {
            (false, false) => MapFn::Gt,
            (false, true) => MapFn::Ge,
            (true, false) => MapFn::Lt,
            (true, true) => MapFn::Le,
        };
        b.map(f, &[at, other])
    }
}

/// A state, once it is computed.
#[derive(Clone)]
pub(super) struct Computed {
    /// After all steps.
    pub(super) last: Value,
    /// Readings, for all steps.
    pub(super) readings: Vec<(Reading, Value)>,
    /// The state at every step: before it, after it.
    pub(super) all: Option<[Value; 2]>,
}

/// The region around the scan, and what of the step stands in it.
pub(super) struct Emit<'a, 'g> {
    pub(super) b: &'a mut Builder<'g>,
    l: &'a Loop,
    inputs: &'a [Value],
    pub(super) plan: Plan,
    pub(super) cuts: Cuts,
    made: BTreeMap<Value, Value>,
    states: Vec<Option<Computed>>,
}

impl Emit<'_, '_> {
    /// The state before the first step.
    pub(super) fn first(&self, carry: usize) -> Value {
        self.inputs[carry]
    }

    fn state(&mut self, c: usize) -> Computed {
        if let Some(done) = &self.states[c] {
            return done.clone();
        }
        let carry = self.plan.carries[c].clone();
        let done = match &carry.engine {
            Engine::Sums { over, writes, readings } => sums::emit(self, c, &carry, over, writes, readings),
            Engine::Whole { added } => whole::emit(self, c, &carry, added),
            Engine::Coupled { with, .. } => {
                for (&o, done) in with.iter().zip(coupled::emit(self, with)) {
                    self.states[o] = Some(done);
                }
                return self.state(c);
            }
        };
        self.states[c] = Some(done.clone());
        done
    }

    /// A value of the step, for all steps.
    pub(super) fn value(&mut self, value: Value) -> Value {
        if let Some(&made) = self.made.get(&value) {
            return made;
        }
        let node = self.plan.step.region.node(value).clone();
        let before = std::mem::replace(&mut self.b.origin, node.origin.clone());
        let made = match self.plan.kind(value) {
            Kind::Whole(c, when) => match self.state(c).all {
                Some(all) => all[usize::from(when == When::After)],
                None => panic!("a fault in ogive: a state that was not planned as a whole"),
            },
            Kind::Read(c, terms) => self.read(c, &terms, &node.ty),
            Kind::Alike => self.alike(&node),
        };
        self.b.origin = before;
        self.made.insert(value, made);
        made
    }

    fn alike(&mut self, node: &Node) -> Value {
        if let Op::Argument(i) = node.op {
            return self.inputs[i as usize];
        }
        let mut operands: Vec<Value> = node.inputs.iter().map(|&v| self.value(v)).collect();
        let steps = self.cuts.steps;
        let varies = operands.iter().any(|&v| self.b.shape(v).contains(steps));
        if let (Op::Concat { .. } | Op::Solve { .. }, true) = (&node.op, varies) {
            for v in &mut operands {
                let shape = self.b.shape(*v).with(steps);
                *v = spread(self.b, *v, &shape);
            }
        }
        let mut ty = node.ty.clone();
        if varies {
            ty.shape = ty.shape.with(steps);
        }
        self.b.region.push(Node { op: node.op.clone(), inputs: operands.into(), ty, origin: node.origin.clone() })
    }

    /// A sum of terms that read a state.
    fn read(&mut self, c: usize, terms: &[Term], ty: &Ty) -> Value {
        let mut parts = Vec::new();
        for term in terms {
            let mut factors: Vec<Value> = Vec::new();
            if let Some(reading) = Reading::of(&self.plan.step.region, term) {
                let found = self.state(c).readings.iter().find(|r| r.0 == reading).map(|r| r.1);
                factors.push(found.unwrap_or_else(|| panic!("a fault in ogive: a reading that was not planned")));
            }
            debug_assert!(!matches!(term.base, Base::State(_)), "readings alone");
            factors.extend(term.factors.iter().map(|&f| self.value(f)).collect::<Vec<_>>());
            parts.push(self.times(term.scale, &factors, ty.dtype));
        }
        let sum = self.sum(&parts, ty.dtype);
        let shape = ty.shape.with(self.cuts.steps);
        spread(self.b, sum, &shape)
    }

    /// `scale` times the product.
    pub(super) fn times(&mut self, scale: f64, factors: &[Value], dtype: DType) -> Value {
        product(self.b, scale, factors, dtype)
    }

    pub(super) fn sum(&mut self, parts: &[Value], dtype: DType) -> Value {
        match parts.split_first() {
            None => self.b.float(0.0, dtype),
            Some((&first, rest)) => rest.iter().fold(first, |sum, &part| self.b.map(MapFn::Add, &[sum, part])),
        }
    }

    /// A sum of products of values of the step, for all steps.
    pub(super) fn products(&mut self, products: &[Product], dtype: DType) -> Value {
        let parts: Vec<Value> = products
            .iter()
            .map(|p| {
                let factors: Vec<Value> = p.factors.iter().map(|&f| self.value(f)).collect();
                self.times(p.scale, &factors, dtype)
            })
            .collect();
        self.sum(&parts, dtype)
    }

    /// A product of values of the step, with all of the axes `over`.
    pub(super) fn product_over(&mut self, factors: &[Value], over: &Shape, dtype: DType) -> Value {
        let made: Vec<Value> = factors.iter().map(|&f| self.value(f)).collect();
        let product = self.times(1.0, &made, dtype);
        let shape = self.b.shape(product).union(over);
        spread(self.b, product, &shape)
    }
}

/// `scale` times the product.
pub(super) fn product(b: &mut Builder<'_>, scale: f64, factors: &[Value], dtype: DType) -> Value {
    let mut sorted = factors.to_vec();
    // Small factors meet first.
    sorted.sort_by_key(|&v| b.shape(v).rank());
    let product = sorted.split_first().map(|(&first, rest)| rest.iter().fold(first, |p, &f| b.map(MapFn::Mul, &[p, f])));
    match product {
        None => b.float(scale, dtype),
        Some(product) if scale == 1.0 => product,
        Some(product) if scale == -1.0 => b.map(MapFn::Neg, &[product]),
        Some(product) => {
            let scale = b.float(scale, dtype);
            b.map(MapFn::Mul, &[product, scale])
        }
    }
}
