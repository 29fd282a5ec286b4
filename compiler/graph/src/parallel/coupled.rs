//! States at every step that are computed from each other, number by number (the parts of a complex number, a value and its momentum):
//! `h[t, i] = sum over j of a[t, i, j] h[t-1, j] + b[t, i]`.
//!
//! As in [`whole`](super::whole), but what is combined are pairs (A, b) of a small matrix and a vector for each number: `(A2, b2) after (A1, b1)` is
//! `(A2 A1, A2 b1 + b2)`.

use super::emit::{Computed, Emit};
use super::plan::{Carry, Engine};
use super::whole::{delayed, or_one, shifted};
use crate::autodiff::emit::spread;
use crate::build::Builder;
use crate::entity::Value;
use crate::op::{Loop, LoopKind, MapFn, Op};
use crate::shape::Ty;

/// Factors: by the new state, by the old; none for zero.
type Matrix = Vec<Vec<Option<Value>>>;

/// The states of the carries `group` at every step, in their order.
pub(super) fn emit(e: &mut Emit<'_, '_>, group: &[usize]) -> Vec<Computed> {
    let carries: Vec<Carry> = group.iter().map(|&c| e.plan.carries[c].clone()).collect();
    let first: Vec<Value> = group.iter().map(|&c| e.first(c)).collect();
    let (mut factors, mut sums): (Matrix, Vec<Value>) = (Vec::new(), Vec::new());
    for (i, carry) in carries.iter().enumerate() {
        let Engine::Coupled { factors: own, added, .. } = &carry.engine else { continue };
        let dtype = e.b.ty(first[i]).dtype;
        let row = own.iter().enumerate().map(|(j, products)| {
            // Steps that fill up the last chunk leave all states as they are.
            let known = !products.is_empty() || i == j;
            known.then(|| e.products(products, dtype)).map(|f| e.cuts.cut(e.b, f, Some(if i == j { 1.0 } else { 0.0 })))
        });
        factors.push(row.collect());
        let sum = e.products(added, dtype);
        let full = carry.shape.with(e.cuts.steps);
        let sum = spread(e.b, sum, &full);
        sums.push(e.cuts.cut(e.b, sum, None));
    }
    let (b, cuts) = (&mut *e.b, &e.cuts);
    let size = b.axes[cuts.within.index()].size;
    let mut distance = 1;
    while distance < size {
        let before: Vec<Value> = sums.iter().map(|&s| shifted(b, cuts, s, distance)).collect();
        sums = applied(b, &factors, &before, &sums);
        let mut earlier: Matrix = Vec::new();
        for (i, row) in factors.iter().enumerate() {
            let mut moved = Vec::new();
            for (j, f) in row.iter().enumerate() {
                let f = f.map(|f| shifted(b, cuts, f, distance));
                moved.push(if i == j { f.map(|f| or_one(b, cuts, f, distance)) } else { f });
            }
            earlier.push(moved);
        }
        factors = product(b, &factors, &earlier);
        distance *= 2;
    }
    let last = cuts.last(b);
    let ends: Vec<Value> = sums.iter().map(|&s| cuts.at(b, s, last)).collect();
    let whole: Matrix = factors.iter().map(|row| row.iter().map(|f| f.map(|f| cuts.at(b, f, last))).collect()).collect();
    let (starts, finals) = starts(b, cuts, &first, &ends, &whole);
    let after = applied(b, &factors, &starts, &sums);
    let mut out = Vec::new();
    for (i, after) in after.into_iter().enumerate() {
        let ty = b.ty(first[i]).clone();
        let after = cuts.join(b, after);
        let before = delayed(b, cuts, first[i], after, &ty);
        out.push(Computed { last: finals[i], readings: Vec::new(), all: Some([before, after]) });
    }
    out
}

fn plus(b: &mut Builder<'_>, sum: Option<Value>, part: Value) -> Value {
    sum.map_or(part, |sum| b.map(MapFn::Add, &[sum, part]))
}

/// `A x + y`.
fn applied(b: &mut Builder<'_>, a: &Matrix, x: &[Value], y: &[Value]) -> Vec<Value> {
    let mut out = Vec::new();
    for (row, &y) in a.iter().zip(y) {
        let mut sum = y;
        for (f, &x) in row.iter().zip(x) {
            if let Some(f) = f {
                let part = b.map(MapFn::Mul, &[*f, x]);
                sum = b.map(MapFn::Add, &[sum, part]);
            }
        }
        out.push(sum);
    }
    out
}

/// `X Y`.
fn product(b: &mut Builder<'_>, x: &Matrix, y: &Matrix) -> Matrix {
    let mut out: Matrix = Vec::new();
    for row in x {
        let mut made = vec![None; row.len()];
        for (f, others) in row.iter().zip(y) {
            for (sum, other) in made.iter_mut().zip(others) {
                if let (Some(f), Some(other)) = (f, other) {
                    let part = b.map(MapFn::Mul, &[*f, *other]);
                    *sum = Some(plus(b, *sum, part));
                }
            }
        }
        out.push(made);
    }
    out
}

/// The states at the start of every chunk, and after the last.
fn starts(b: &mut Builder<'_>, cuts: &super::emit::Cuts, first: &[Value], ends: &[Value], factors: &Matrix) -> (Vec<Value>, Vec<Value>) {
    let count = first.len();
    let given: Vec<Value> = ends.iter().copied().chain(factors.iter().flatten().flatten().copied()).collect();
    let states: Vec<Ty> = first.iter().map(|&v| b.ty(v).clone()).collect();
    let types: Vec<Ty> = given.iter().map(|&v| Ty::new(b.ty(v).dtype, b.shape(v).without(cuts.chunk))).collect();
    let origin = b.origin.clone();
    let mut body = Builder::new(b.axes);
    body.origin = origin;
    let arguments: Vec<Value> =
        states.iter().chain(&types).enumerate().map(|(i, ty)| body.add_as(Op::Argument(i as u32), &[], Some(ty))).collect();
    let (old, rest) = arguments.split_at(count);
    let (ends, mut of_factors) = (&rest[..count], rest[count..].iter().copied());
    let inner: Matrix = factors.iter().map(|row| row.iter().map(|f| f.and_then(|_| of_factors.next())).collect()).collect();
    let new = applied(&mut body, &inner, old, ends);
    let new: Vec<Value> = new.into_iter().zip(&states).map(|(v, ty)| spread(&mut body, v, &ty.shape)).collect();
    let mut region = body.region;
    region.results = new.into_iter().chain(old.iter().copied()).collect();
    let stacked = given.len();
    let l = Loop { kind: LoopKind::Scan, axis: cuts.chunk, reverse: cuts.reverse, carries: count, stacked, body: region };
    let inputs: Vec<Value> = first.iter().copied().chain(given).collect();
    let results = b.repeat(l, &inputs);
    (results[count..].to_vec(), results[..count].to_vec())
}
