//! Values of a step as sums of terms that are linear in its states.
//!
//! A term is a product of values that do not depend on the states with one of: nothing, a state, or a reading of a state, which is the sum
//! of its product with such values over some of its axes. Terms are made of values of the step, extended by what the rules append.

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::Node;
use crate::op::{MapFn, Op, ReduceFn};
use crate::shape::Shape;

/// Whether a state is meant before or after the step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum When {
    /// As the step finds it.
    Before,
    /// As the step leaves it.
    After,
}

/// A state: a carry of the scan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct State {
    /// Its place among the carries.
    pub carry: usize,
    /// Before or after the step.
    pub when: When,
}

/// What a term is linear in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Base {
    /// Nothing: the product alone.
    One,
    /// A state.
    State(State),
    /// The sum over the axes `over` of a state's product with `inner`.
    Read {
        /// Which.
        state: State,
        /// Values that the state is multiplied with.
        inner: Vec<Value>,
        /// Axes that are summed over; the state has them.
        over: Shape,
    },
}

/// `scale` times the product of `factors` and `base`.
#[derive(Clone, PartialEq, Debug)]
pub struct Term {
    /// A number.
    pub scale: f64,
    /// Values that do not depend on the states.
    pub factors: Vec<Value>,
    /// The rest.
    pub base: Base,
}

/// How a value depends on the states.
#[derive(Clone, PartialEq, Debug)]
pub enum Form {
    /// Not at all.
    Free,
    /// As a sum of terms, one of them at least with a state.
    Sum(Vec<Term>),
    /// Linearly, but the terms are lost: the value at which they were.
    Mixed(Value),
    /// Not linearly: the value at which linearity ends.
    Curved(Value),
}

impl Form {
    /// Whether a state as a whole is in it.
    pub fn has_state(&self) -> bool {
        matches!(self, Form::Sum(terms) if terms.iter().any(|t| matches!(t.base, Base::State(_))))
    }
}

/// Forms of the values of a region in the states that `states` lists; `after` of a state, where given, is a value that stands for the
/// state after the step. The region of `b` is extended.
pub fn forms(b: &mut Builder<'_>, states: &[(State, Value)]) -> Vec<Form> {
    let count = b.region.nodes.len();
    let mut found: Vec<Form> = Vec::with_capacity(count);
    let mut own: Vec<Form> = Vec::with_capacity(count);
    for index in 0..count {
        let value = Value(index as u32);
        let form = {
            let mut rules = Rules { b, found: &found };
            let node = rules.b.region.nodes[index].clone();
            rules.node(value, &node)
        };
        own.push(form.clone());
        let stands = states.iter().find(|s| s.1 == value);
        found.push(match stands {
            Some(&(state, _)) => Form::Sum(vec![Term { scale: 1.0, factors: Vec::new(), base: Base::State(state) }]),
            None => form,
        });
    }
    // A state after the step keeps the form that it is computed by, for whoever asks how it comes about.
    for &(state, value) in states {
        if state.when == When::After {
            found[value.index()] = own[value.index()].clone();
        }
    }
    found
}

struct Rules<'a, 'g> {
    b: &'a mut Builder<'g>,
    found: &'a [Form],
}

impl Rules<'_, '_> {
    fn node(&mut self, value: Value, node: &Node) -> Form {
        let of = |v: &Value| &self.found[v.index()];
        if node.inputs.iter().all(|v| *of(v) == Form::Free) {
            return Form::Free;
        }
        if let Some(curved) = node.inputs.iter().find(|v| matches!(of(v), Form::Curved(_))) {
            return of(curved).clone();
        }
        let free: Vec<bool> = node.inputs.iter().map(|v| *of(v) == Form::Free).collect();
        let linear = match &node.op {
            Op::Map(MapFn::Neg | MapFn::Add | MapFn::Sub) | Op::Reduce(ReduceFn::Sum, _) | Op::Rename(_) => true,
            Op::Map(MapFn::Mul) | Op::Contract(_) => free.iter().any(|f| *f),
            Op::Map(MapFn::Div) => free[1],
            Op::Map(MapFn::Where) => free[0],
            Op::Split { .. } | Op::Merge { .. } | Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. } => true,
            Op::Gather(_) => free[1],
            Op::ScatterAdd { .. } => free[0],
            Op::Routed { .. } | Op::RoutedOuter { .. } => free.iter().filter(|f| !**f).count() == 1 && (!free[0] || !free[1]),
            _ => false,
        };
        if !linear {
            return Form::Curved(value);
        }
        if let Some(mixed) = node.inputs.iter().find(|v| matches!(of(v), Form::Mixed(_))) {
            return of(mixed).clone();
        }
        self.terms(node).map_or(Form::Mixed(value), |terms| if terms.is_empty() { Form::Free } else { Form::Sum(terms) })
    }

    /// The terms of a linear operation; `None` where they cannot be followed.
    fn terms(&mut self, node: &Node) -> Option<Vec<Term>> {
        let of = |rules: &Self, i: usize| rules.listed(node.inputs[i]);
        match &node.op {
            Op::Map(MapFn::Neg) => Some(scaled(of(self, 0), -1.0)),
            Op::Map(MapFn::Add) => Some([of(self, 0), of(self, 1)].concat()),
            Op::Map(MapFn::Sub) => Some([of(self, 0), scaled(of(self, 1), -1.0)].concat()),
            Op::Map(MapFn::Mul) => {
                let free = usize::from(self.found[node.inputs[1].index()] == Form::Free);
                Some(times(of(self, 1 - free), node.inputs[free]))
            }
            Op::Map(MapFn::Div) => {
                let reciprocal = self.b.map(MapFn::Recip, &[node.inputs[1]]);
                Some(times(of(self, 0), reciprocal))
            }
            Op::Map(MapFn::Where) => {
                let mut terms = Vec::new();
                for (i, then) in [(1, true), (2, false)] {
                    for term in of(self, i) {
                        terms.push(self.where_term(node.inputs[0], then, term));
                    }
                }
                Some(terms)
            }
            Op::Contract(over) => {
                let free = usize::from(self.found[node.inputs[1].index()] == Form::Free);
                let over = Shape::of(over.iter().copied());
                of(self, 1 - free).into_iter().map(|term| self.contracted(term, Some(node.inputs[free]), &over)).collect()
            }
            Op::Reduce(ReduceFn::Sum, over) => {
                let over = Shape::of(over.iter().copied());
                of(self, 0).into_iter().map(|term| self.contracted(term, None, &over)).collect()
            }
            Op::Rename(pairs) => of(self, 0).into_iter().map(|term| self.renamed(term, pairs)).collect(),
            _ => None,
        }
    }

    /// A value as terms, a free one as a product.
    fn listed(&self, value: Value) -> Vec<Term> {
        match &self.found[value.index()] {
            Form::Sum(terms) => terms.clone(),
            _ => vec![Term { scale: 1.0, factors: vec![value], base: Base::One }],
        }
    }

    /// The term where the condition is `then`, zero elsewhere.
    fn where_term(&mut self, condition: Value, then: bool, mut term: Term) -> Term {
        let is_product = term.base == Base::One && !term.factors.is_empty();
        let kept = if is_product { self.product(&term.factors) } else { self.one_like(&term) };
        let zero = self.float(0.0, kept);
        let chosen = self.b.map(MapFn::Where, &if then { [condition, kept, zero] } else { [condition, zero, kept] });
        if is_product {
            term.factors.clear();
        }
        term.factors.push(chosen);
        term
    }

    /// The number one of a term's element type.
    fn one_like(&mut self, term: &Term) -> Value {
        let like = term.factors.first().copied().or(match &term.base {
            Base::Read { inner, .. } => inner.first().copied(),
            _ => None,
        });
        // Any float of the region will do: a region has one float type.
        let like = like.or_else(|| (0..self.b.region.nodes.len()).map(|i| Value(i as u32)).find(|&v| self.b.ty(v).dtype.is_float()));
        match like {
            Some(like) => self.float(1.0, like),
            None => panic!("a fault in ogive: a step without a float has a state"),
        }
    }

    fn float(&mut self, number: f64, like: Value) -> Value {
        let dtype = self.b.ty(like).dtype;
        self.b.float(number, dtype)
    }

    fn product(&mut self, factors: &[Value]) -> Value {
        let (&first, rest) = factors.split_first().unwrap_or_else(|| panic!("a fault in ogive: a product of nothing"));
        rest.iter().fold(first, |p, &f| self.b.map(MapFn::Mul, &[p, f]))
    }

    fn axes_of(&self, values: &[Value]) -> Shape {
        values.iter().fold(Shape::scalar(), |all, &v| all.union(self.b.shape(v)))
    }

    fn state_axes(&self, state: State) -> Option<Shape> {
        let is_argument = |n: &&Node| n.op == Op::Argument(state.carry as u32);
        self.b.region.nodes.iter().find(is_argument).map(|n| n.ty.shape.clone())
    }

    /// The term's product with `by` (or one), summed over axes.
    fn contracted(&mut self, term: Term, by: Option<Value>, over: &Shape) -> Option<Term> {
        let factor_axes = self.axes_of(&term.factors);
        match &term.base {
            Base::One => {
                let factors = term.factors.iter().copied().chain(by).collect::<Vec<_>>();
                self.summed(term, &factors, over)
            }
            Base::State(state) => {
                let own = self.state_axes(*state)?;
                let inside = over.intersection(&own);
                if inside.is_scalar() {
                    let factors: Vec<Value> = term.factors.iter().copied().chain(by).collect();
                    return self.summed(term, &factors, over);
                }
                let (state, mut inner) = (*state, term.factors.clone());
                inner.extend(by);
                // What is summed besides the state's own axes is summed before.
                let outside = over.minus(&own);
                let mut scale = term.scale;
                if !outside.is_scalar() {
                    let summed = self.summed(Term { scale, factors: Vec::new(), base: Base::One }, &inner, &outside)?;
                    (scale, inner) = (summed.scale, summed.factors);
                }
                Some(Term { scale, factors: Vec::new(), base: Base::Read { state, inner, over: inside } })
            }
            Base::Read { state, inner, over: before } => {
                let own = self.state_axes(*state)?;
                let read = own.union(&self.axes_of(inner)).minus(before);
                let factors: Vec<Value> = term.factors.iter().copied().chain(by).collect();
                if over.intersection(&read).is_scalar() {
                    return self.summed(term, &factors, over);
                }
                // A reading of a reading reads over both, where names do not clash.
                let clash = self.axes_of(&factors).union(&factor_axes).intersection(before);
                if !own.contains_all(over) || !clash.is_scalar() {
                    return None;
                }
                let inner = inner.iter().copied().chain(factors).collect();
                let base = Base::Read { state: *state, inner, over: before.union(over) };
                Some(Term { scale: term.scale, factors: Vec::new(), base })
            }
        }
    }

    /// The term with the product of `factors` summed over axes for its factors; an axis that none of them has counts its positions.
    fn summed(&mut self, term: Term, factors: &[Value], over: &Shape) -> Option<Term> {
        let has = |rules: &Self, v: &Value| !rules.b.shape(*v).intersection(over).is_scalar();
        let (with, mut rest): (Vec<Value>, Vec<Value>) = factors.iter().partition(|v| has(self, v));
        let present = self.axes_of(&with).intersection(over);
        let absent = over.minus(&present);
        let scale = absent.iter().fold(term.scale, |s, a| s * self.b.axes[a.index()].size as f64);
        if !with.is_empty() {
            let (last, first) = with.split_last()?;
            let all = if first.is_empty() {
                self.b.reduce(ReduceFn::Sum, *last, present.axes())
            } else {
                let first = self.product(first);
                let both = self.b.shape(first).intersection(self.b.shape(*last));
                if both.contains_all(&present) {
                    self.b.contract(first, *last, present.axes())
                } else {
                    let product = self.b.map(MapFn::Mul, &[first, *last]);
                    self.b.reduce(ReduceFn::Sum, product, present.axes())
                }
            };
            rest.push(all);
        }
        Some(Term { scale, factors: rest, base: term.base })
    }

    /// The term under a renaming; `None` where that is of the state's own axes.
    fn renamed(&mut self, term: Term, pairs: &[(AxisId, AxisId)]) -> Option<Term> {
        let touched = Shape::of(pairs.iter().flat_map(|p| [p.0, p.1]));
        let base = match term.base {
            Base::One => Base::One,
            Base::State(state) => {
                if !self.state_axes(state)?.intersection(&touched).is_scalar() {
                    return None;
                }
                Base::State(state)
            }
            Base::Read { state, inner, over } => {
                let own = self.state_axes(state)?;
                if !own.union(&over).intersection(&touched).is_scalar() {
                    return None;
                }
                let inner = inner.into_iter().map(|v| self.rename(v, pairs)).collect();
                Base::Read { state, inner, over }
            }
        };
        let factors = term.factors.into_iter().map(|v| self.rename(v, pairs)).collect();
        Some(Term { scale: term.scale, factors, base })
    }

    fn rename(&mut self, value: Value, pairs: &[(AxisId, AxisId)]) -> Value {
        let shape = self.b.shape(value).clone();
        let pairs: Vec<_> = pairs.iter().copied().filter(|p| shape.contains(p.0)).collect();
        if pairs.is_empty() { value } else { self.b.add(Op::Rename(pairs), &[value]) }
    }
}

fn scaled(mut terms: Vec<Term>, by: f64) -> Vec<Term> {
    terms.iter_mut().for_each(|t| t.scale *= by);
    terms
}

fn times(mut terms: Vec<Term>, factor: Value) -> Vec<Term> {
    terms.iter_mut().for_each(|t| t.factors.push(factor));
    terms
}
