//! A state that is read along its key axes, chunk by chunk: `S[t] = g[t] S[t-1] + sum over writes of key[t] e[t]`.
//!
//! With `D[i, j]` the product of the factors g after step j up to step i of the chunk, and `S` the state at the chunk's start, a reading by q
//! after step i is `G[i] q[i] S + sum over j <= i of D[i, j] (q[i] key[j]) e[j]`. What corrects the state, `e[i] = z[i] + a[i] p[i] S[i-1]`,
//! has that sum in it: with `L[i, j] = -a[i] D[i-1, j] (p[i] key[j])` below the diagonal, `(1 + L) e = z + a G p S` (Yang et al. 2024).

use super::emit::{Computed, Cuts, Emit};
use super::plan::{Carry, Reading, Write};
use crate::autodiff::emit::spread;
use crate::build::Builder;
use crate::entity::Value;
use crate::op::{Loop, LoopKind, MapFn, Op};
use crate::shape::{DType, Shape, Ty};
use crate::transition::form::When;

/// Values for all steps, cut into chunks, that the scan over the chunks is given.
struct Given {
    values: Vec<Value>,
}

impl Given {
    /// The place of a value among the stacked inputs.
    fn place(&mut self, value: Value) -> usize {
        self.values.iter().position(|&v| v == value).unwrap_or_else(|| {
            self.values.push(value);
            self.values.len() - 1
        })
    }
}

/// Places of what is written along one direction.
struct Written {
    key: usize,
    value: usize,
}

/// Places of what a correction reads, its factor, and axes of the sum.
struct Corrected {
    by: usize,
    factor: usize,
}

/// Places of products of factors.
struct Fading {
    /// Up to each step; before it.
    whole: [usize; 2],
    /// From after another step up to each; before it.
    pairs: [usize; 2],
    /// From after each step to the end of the chunk.
    rest: usize,
    /// Of the chunk.
    all: usize,
}

/// The state of carry `c` after all steps, and its readings.
pub(super) fn emit(e: &mut Emit<'_, '_>, c: usize, carry: &Carry, over: &Shape, writes: &[Write], readings: &[Reading]) -> Computed {
    let first = e.first(c);
    let dtype = e.b.ty(first).dtype;
    let mut given = Given { values: Vec::new() };
    let decay = carry.decay.as_ref().map(|d| e.products(d, dtype));
    let mut written = Vec::new();
    let mut corrected = None;
    for write in writes {
        let key = e.product_over(&write.key, over, dtype);
        let value = e.products(&write.values, dtype);
        if let [(factor, inner)] = &write.reads[..] {
            let by = e.product_over(inner, over, dtype);
            let factor = e.products(std::slice::from_ref(factor), dtype);
            corrected = Some([by, factor]);
        } else if !write.reads.is_empty() {
            let parts: Vec<Value> = write
                .reads
                .iter()
                .map(|(factor, inner)| {
                    let by = e.product_over(inner, over, dtype);
                    let factor = e.products(std::slice::from_ref(factor), dtype);
                    e.b.map(MapFn::Mul, &[by, factor])
                })
                .collect();
            let by = e.sum(&parts, dtype);
            let factor = e.b.float(1.0, dtype);
            corrected = Some([by, factor]);
        }
        written.push([key, value]);
    }
    let questions: Vec<Value> = readings.iter().map(|r| e.product_over(&r.inner, over, dtype)).collect();

    let (b, cuts) = (&mut *e.b, &e.cuts);
    let mut cut = |b: &mut Builder<'_>, v: Value| {
        let v = cuts.cut(b, v, None);
        given.place(v)
    };
    let written: Vec<Written> = written.into_iter().map(|[key, value]| Written { key: cut(b, key), value: cut(b, value) }).collect();
    let corrected = corrected.map(|[by, factor]| Corrected { by: cut(b, by), factor: cut(b, factor) });
    let questions: Vec<usize> = questions.into_iter().map(|q| cut(b, q)).collect();
    let fading = decay.map(|d| {
        let d = cuts.cut(b, d, Some(1.0));
        fading(b, cuts, d, &mut given)
    });

    let state = b.ty(first).clone();
    let types: Vec<Ty> = given.values.iter().map(|&v| Ty::new(b.ty(v).dtype, b.shape(v).without(cuts.chunk))).collect();
    let origin = b.origin.clone();
    let mut body = Builder::new(b.axes);
    body.origin = origin;
    let old = body.add_as(Op::Argument(0), &[], Some(&state));
    let arguments: Vec<Value> = types.iter().enumerate().map(|(i, ty)| body.add_as(Op::Argument(1 + i as u32), &[], Some(ty))).collect();
    let chunk = Chunk { cuts, over, arguments: &arguments, old, fading: fading.as_ref(), dtype };
    let entries = chunk.entries(&mut body, &written, corrected.as_ref());
    let mut results = vec![chunk.new_state(&mut body, &entries, &state)];
    for (reading, &question) in readings.iter().zip(&questions) {
        let read = chunk.reading(&mut body, arguments[question], reading.when, &entries);
        let shape = body.shape(read).with(cuts.within);
        results.push(spread(&mut body, read, &shape));
    }
    let mut region = body.region;
    region.results = results;
    let stacked = given.values.len();
    let l = Loop { kind: LoopKind::Scan, axis: cuts.chunk, reverse: cuts.reverse, carries: 1, stacked, body: region };
    let inputs: Vec<Value> = std::iter::once(first).chain(given.values).collect();
    let made = b.repeat(l, &inputs);
    let read = readings.iter().cloned().zip(made[1..].iter().map(|&v| cuts.join(b, v))).collect();
    Computed { last: made[0], readings: read, all: None }
}

/// Keys of the steps of a chunk and what was written along them, by the steps as [`Cuts::other`].
type Entries = Vec<[Value; 2]>;

/// What is computed in a chunk.
struct Chunk<'a> {
    cuts: &'a Cuts,
    over: &'a Shape,
    arguments: &'a [Value],
    old: Value,
    fading: Option<&'a Fading>,
    dtype: DType,
}

impl Chunk<'_> {
    fn entries(&self, b: &mut Builder<'_>, written: &[Written], corrected: Option<&Corrected>) -> Entries {
        let mut entries: Entries = Vec::new();
        // Those that correct nothing are known.
        let known = usize::from(corrected.is_some());
        for write in &written[known..] {
            let key = self.as_other(b, self.arguments[write.key]);
            let value = self.as_other(b, self.arguments[write.value]);
            entries.push([key, value]);
        }
        if let Some(corrected) = corrected {
            let key = self.as_other(b, self.arguments[written[0].key]);
            let found = self.correct(b, corrected, key, self.arguments[written[0].value], &entries);
            entries.push([key, found]);
        }
        entries
    }

    fn as_other(&self, b: &mut Builder<'_>, value: Value) -> Value {
        b.add(Op::Rename(vec![(self.cuts.within, self.cuts.other)]), &[value])
    }

    /// What is written along the corrected direction, by the steps as `other`.
    fn correct(&self, b: &mut Builder<'_>, corrected: &Corrected, key: Value, value: Value, known: &Entries) -> Value {
        let (within, other) = (self.cuts.within, self.cuts.other);
        let (by, factor) = (self.arguments[corrected.by], self.arguments[corrected.factor]);
        let before = self.reading(b, by, When::Before, known);
        let taken = b.map(MapFn::Mul, &[factor, before]);
        let side = b.map(MapFn::Add, &[value, taken]);
        let pairs = self.pairs(b, by, key, When::Before);
        let scaled = b.map(MapFn::Mul, &[factor, pairs]);
        let matrix = b.map(MapFn::Neg, &[scaled]);
        if self.cuts.reverse {
            // The step that others come before is the unknown's position among columns.
            let side = self.as_other(b, side);
            b.add(Op::Solve { row: other, col: within, transposed: true }, &[matrix, side])
        } else {
            let found = b.add(Op::Solve { row: within, col: other, transposed: false }, &[matrix, side]);
            self.as_other(b, found)
        }
    }

    /// Products of what steps ask with the keys of the steps before, faded.
    fn pairs(&self, b: &mut Builder<'_>, question: Value, key: Value, when: When) -> Value {
        let pairs = b.contract(question, key, self.over.axes());
        if let Some(fading) = self.fading {
            let between = self.arguments[fading.pairs[usize::from(when == When::Before)]];
            return b.map(MapFn::Mul, &[pairs, between]);
        }
        let seen = self.cuts.before(b, when == When::After);
        let zero = b.float(0.0, self.dtype);
        b.map(MapFn::Where, &[seen, pairs, zero])
    }

    /// A reading of the state at every step of the chunk.
    fn reading(&self, b: &mut Builder<'_>, question: Value, when: When, entries: &Entries) -> Value {
        let mut sum = b.contract(question, self.old, self.over.axes());
        if let Some(fading) = self.fading {
            let kept = self.arguments[fading.whole[usize::from(when == When::Before)]];
            sum = b.map(MapFn::Mul, &[kept, sum]);
        }
        for &[key, value] in entries {
            let pairs = self.pairs(b, question, key, when);
            let part = b.contract(pairs, value, &[self.cuts.other]);
            sum = b.map(MapFn::Add, &[sum, part]);
        }
        sum
    }

    /// The state after the chunk.
    fn new_state(&self, b: &mut Builder<'_>, entries: &Entries, ty: &Ty) -> Value {
        let mut sum = self.old;
        if let Some(fading) = self.fading {
            sum = b.map(MapFn::Mul, &[self.arguments[fading.all], sum]);
        }
        for &[key, value] in entries {
            let value = match self.fading {
                Some(fading) => b.map(MapFn::Mul, &[self.arguments[fading.rest], value]),
                None => value,
            };
            let part = b.contract(key, value, &[self.cuts.other]);
            sum = b.map(MapFn::Add, &[sum, part]);
        }
        spread(b, sum, &ty.shape)
    }
}

/// Products of the factors of every chunk's steps, by a scan along the steps that all chunks take at once: no logarithm and no division, so
/// that a factor may be zero.
fn fading(b: &mut Builder<'_>, cuts: &Cuts, decay: Value, given: &mut Given) -> Fading {
    let ty = Ty::new(b.ty(decay).dtype, b.shape(decay).without(cuts.within));
    let wide = Ty::new(ty.dtype, ty.shape.with(cuts.other));
    let position = b.add(Op::Iota(cuts.within), &[]);
    let (one, zero) = (b.float(1.0, ty.dtype), b.float(0.0, ty.dtype));
    let (ones, zeros) = (spread(b, one, &ty.shape), spread(b, zero, &wide.shape));
    let origin = b.origin.clone();
    let mut body = Builder::new(b.axes);
    body.origin = origin;
    let whole = body.add_as(Op::Argument(0), &[], Some(&ty));
    let row = body.add_as(Op::Argument(1), &[], Some(&wide));
    let factor = body.add_as(Op::Argument(2), &[], Some(&ty));
    let at = body.add_as(Op::Argument(3), &[], Some(&Ty::scalar(DType::I32)));
    let new_whole = body.map(MapFn::Mul, &[factor, whole]);
    let faded = body.map(MapFn::Mul, &[factor, row]);
    let other = body.add(Op::Iota(cuts.other), &[]);
    let own = body.map(MapFn::Eq, &[other, at]);
    let one = body.float(1.0, ty.dtype);
    let new_row = body.map(MapFn::Where, &[own, one, faded]);
    let mut region = body.region;
    region.results = vec![new_whole, new_row, new_whole, whole, new_row, row];
    let l = Loop { kind: LoopKind::Scan, axis: cuts.within, reverse: cuts.reverse, carries: 2, stacked: 2, body: region };
    let made = b.repeat(l, &[ones, zeros, decay, position]);
    let mut place = |v: Value| given.place(v);
    Fading { all: place(made[0]), rest: place(made[1]), whole: [place(made[2]), place(made[3])], pairs: [place(made[4]), place(made[5])] }
}
