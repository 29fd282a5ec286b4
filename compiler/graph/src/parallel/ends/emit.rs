//! Weights of additions for all steps, and the scan over chunks that hands the states on.

use super::super::emit::{Cuts, product};
use super::{Carry, Plan, Product, Weight};
use crate::autodiff::emit::{scale_by_size, spread};
use crate::batch::Outside;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::Region;
use crate::op::{Loop, LoopKind, MapFn, Op, ReduceFn};
use crate::shape::{DType, Shape, Ty};

impl Plan {
    /// What stands for the scan: the last states, then what it collects.
    pub(super) fn emit(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Vec<Value> {
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
