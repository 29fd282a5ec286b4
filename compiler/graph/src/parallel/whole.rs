//! A state at every step, where its numbers do not mix: `h[t] = a[t] h[t-1] + b[t]`.
//!
//! Pairs (a, b) of neighbouring steps combine to the pair of both. Within a chunk, doubling combines each step with all before it; a scan
//! over the chunks hands on what is there at their ends.

use super::emit::{Computed, Cuts, Emit};
use super::plan::{Carry, Product};
use crate::autodiff::emit::spread;
use crate::build::Builder;
use crate::entity::Value;
use crate::op::{Loop, LoopKind, MapFn, Op};
use crate::shape::Ty;

/// The state of carry `c` at every step.
pub(super) fn emit(e: &mut Emit<'_, '_>, c: usize, carry: &Carry, added: &[Product]) -> Computed {
    let first = e.first(c);
    let ty = e.b.ty(first).clone();
    let factor = carry.decay.as_ref().map(|decay| e.products(decay, ty.dtype));
    let sum = e.products(added, ty.dtype);
    let full = ty.shape.with(e.cuts.steps);
    let sum = spread(e.b, sum, &full);
    let (b, cuts) = (&mut *e.b, &e.cuts);
    let mut sum = cuts.cut(b, sum, None);
    let mut factor = factor.map(|f| cuts.cut(b, f, Some(1.0)));
    let size = b.axes[cuts.within.index()].size;
    let mut distance = 1;
    while distance < size {
        let before = shifted(b, cuts, sum, distance);
        let taken = match factor {
            Some(f) => b.map(MapFn::Mul, &[f, before]),
            None => before,
        };
        sum = b.map(MapFn::Add, &[sum, taken]);
        factor = factor.map(|f| {
            let before = shifted(b, cuts, f, distance);
            let before = or_one(b, cuts, before, distance);
            b.map(MapFn::Mul, &[f, before])
        });
        distance *= 2;
    }
    let last = cuts.last(b);
    let end = cuts.at(b, sum, last);
    let ends = factor.map(|f| cuts.at(b, f, last));
    let (start, last) = starts(b, cuts, first, end, ends);
    let kept = match factor {
        Some(f) => b.map(MapFn::Mul, &[f, start]),
        None => start,
    };
    let after = b.map(MapFn::Add, &[sum, kept]);
    let after = cuts.join(b, after);
    let before = delayed(b, cuts, first, after, &ty);
    Computed { last, readings: Vec::new(), all: Some([before, after]) }
}

/// The value so many steps before; zeros where there is none in the chunk.
pub(super) fn shifted(b: &mut Builder<'_>, cuts: &Cuts, value: Value, distance: u64) -> Value {
    let (name, size) = (b.axes[cuts.within.index()].name.clone(), b.axes[cuts.within.index()].size);
    let part = b.axis(name, size - distance);
    let (from, to) = if cuts.reverse { (distance, 0) } else { (0, distance) };
    let cut = b.add(Op::Slice { axis: cuts.within, start: from, into: part }, &[value]);
    b.add(Op::Pad { axis: part, start: to, into: cuts.within }, &[cut])
}

/// One where there is no step so many before.
pub(super) fn or_one(b: &mut Builder<'_>, cuts: &Cuts, value: Value, distance: u64) -> Value {
    let size = b.axes[cuts.within.index()].size;
    let at = b.add(Op::Iota(cuts.within), &[]);
    let bound = if cuts.reverse { size - distance } else { distance };
    let bound = b.int(i32::try_from(bound).unwrap_or(i32::MAX));
    let inside = b.map(if cuts.reverse { MapFn::Lt } else { MapFn::Ge }, &[at, bound]);
    let dtype = b.ty(value).dtype;
    let one = b.float(1.0, dtype);
    b.map(MapFn::Where, &[inside, value, one])
}

/// The state at the start of every chunk, and after the last.
fn starts(b: &mut Builder<'_>, cuts: &Cuts, first: Value, end: Value, factor: Option<Value>) -> (Value, Value) {
    let inside = |b: &Builder<'_>, v: Value| Ty::new(b.ty(v).dtype, b.shape(v).without(cuts.chunk));
    let types: Vec<Ty> = [Some(end), factor].into_iter().flatten().map(|v| inside(b, v)).collect();
    let state = b.ty(first).clone();
    let origin = b.origin.clone();
    let mut body = Builder::new(b.axes);
    body.origin = origin;
    let old = body.add_as(Op::Argument(0), &[], Some(&state));
    let end_argument = body.add_as(Op::Argument(1), &[], Some(&types[0]));
    let kept = match types.get(1) {
        Some(ty) => {
            let f = body.add_as(Op::Argument(2), &[], Some(ty));
            body.map(MapFn::Mul, &[f, old])
        }
        None => old,
    };
    let new = body.map(MapFn::Add, &[end_argument, kept]);
    let mut region = body.region;
    region.results = vec![new, old];
    let stacked = types.len();
    let l = Loop { kind: LoopKind::Scan, axis: cuts.chunk, reverse: cuts.reverse, carries: 1, stacked, body: region };
    let inputs: Vec<Value> = [Some(first), Some(end), factor].into_iter().flatten().collect();
    let results = b.repeat(l, &inputs);
    (results[1], results[0])
}

/// The state before each step, from that after.
pub(super) fn delayed(b: &mut Builder<'_>, cuts: &Cuts, first: Value, after: Value, ty: &Ty) -> Value {
    let (name, length) = (b.axes[cuts.steps.index()].name.clone(), b.axes[cuts.steps.index()].size);
    let one = b.axis(name.clone(), 1);
    let full = ty.shape.with(one);
    let start = spread(b, first, &full);
    if length == 1 {
        return b.add(Op::Rename(vec![(one, cuts.steps)]), &[start]);
    }
    let rest = b.axis(name, length - 1);
    let slice = Op::Slice { axis: cuts.steps, start: u64::from(cuts.reverse), into: rest };
    let moved = b.add(slice, &[after]);
    if cuts.reverse {
        b.add(Op::Concat { axes: vec![rest, one], into: cuts.steps }, &[moved, start])
    } else {
        b.add(Op::Concat { axes: vec![one, rest], into: cuts.steps }, &[start, moved])
    }
}
