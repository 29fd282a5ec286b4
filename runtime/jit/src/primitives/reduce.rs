//! Reductions of a row, and element-wise accumulation.
//!
//! Sums keep 64 partial sums: element i goes to vector `i / 16 % 4`, lane `i % 16`; the four vectors are added as (0 + 1) + (2 + 3), the
//! lanes by halves. The order depends on n alone, so every instruction set with a fused multiply-add gives the same bits.

use super::lane::Lane;
use super::math;
use super::simd::{LANES, Simd};

/// A term of a sum: what element i contributes.
pub(crate) trait Term {
    /// Adds the contribution of `a` and `b` (equal to `a` for terms of one row) to `acc`; zeros contribute zero.
    unsafe fn add<S: Simd>(acc: S::F, a: S::F, b: S::F) -> S::F;
}

/// `a`.
pub(crate) struct Plain;
/// `a b`.
pub(crate) struct Product;
/// `a^2`.
pub(crate) struct Square;

impl Term for Plain {
    #[inline(always)]
    unsafe fn add<S: Simd>(acc: S::F, a: S::F, _: S::F) -> S::F {
        unsafe { S::add(acc, a) }
    }
}
impl Term for Product {
    #[inline(always)]
    unsafe fn add<S: Simd>(acc: S::F, a: S::F, b: S::F) -> S::F {
        unsafe { S::fma(a, b, acc) }
    }
}
impl Term for Square {
    #[inline(always)]
    unsafe fn add<S: Simd>(acc: S::F, a: S::F, _: S::F) -> S::F {
        unsafe { S::fma(a, a, acc) }
    }
}

/// Sum of the terms of two rows (give the same row twice for terms of one).
///
/// # Safety
/// The CPU has the features of `S`; `a` and `b` hold n elements.
#[inline(always)]
pub(crate) unsafe fn total<S: Simd, T: Term>(n: usize, a: *const f32, b: *const f32) -> f32 {
    unsafe {
        let zero = S::splat(0.0);
        let mut acc = [zero; 4];
        let mut i = 0;
        while i + 4 * LANES <= n {
            acc[0] = T::add::<S>(acc[0], S::load(a.add(i)), S::load(b.add(i)));
            acc[1] = T::add::<S>(acc[1], S::load(a.add(i + LANES)), S::load(b.add(i + LANES)));
            acc[2] = T::add::<S>(acc[2], S::load(a.add(i + 2 * LANES)), S::load(b.add(i + 2 * LANES)));
            acc[3] = T::add::<S>(acc[3], S::load(a.add(i + 3 * LANES)), S::load(b.add(i + 3 * LANES)));
            i += 4 * LANES;
        }
        let mut j = 0;
        while i + LANES <= n {
            acc[j] = T::add::<S>(acc[j], S::load(a.add(i)), S::load(b.add(i)));
            i += LANES;
            j += 1;
        }
        if i < n {
            acc[j] = T::add::<S>(acc[j], S::load_tail(a.add(i), n - i), S::load_tail(b.add(i), n - i));
        }
        S::sum(S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3])))
    }
}

/// Sum of a row.
///
/// # Safety
/// As [`total`].
#[inline(always)]
pub(crate) unsafe fn sum<S: Simd>(n: usize, a: *const f32) -> f32 {
    unsafe { total::<S, Plain>(n, a, a) }
}

/// Sum of squares of a row.
///
/// # Safety
/// As [`total`].
#[inline(always)]
pub(crate) unsafe fn squares<S: Simd>(n: usize, a: *const f32) -> f32 {
    unsafe { total::<S, Square>(n, a, a) }
}

/// Sum of products of two rows.
///
/// # Safety
/// As [`total`].
#[inline(always)]
pub(crate) unsafe fn dot<S: Simd>(n: usize, a: *const f32, b: *const f32) -> f32 {
    unsafe { total::<S, Product>(n, a, b) }
}

/// Largest element (`SIGN = false`) or smallest; NaN where there is one, the identity where n is 0.
///
/// # Safety
/// As [`total`].
#[inline(always)]
pub(crate) unsafe fn extreme<S: Simd, const SIGN: bool>(n: usize, a: *const f32) -> f32 {
    unsafe {
        let identity = if SIGN { f32::INFINITY } else { f32::NEG_INFINITY };
        let (mut best, mut other) = (S::splat(identity), S::splat(identity));
        let mut sound = S::eq(best, best);
        let mut i = 0;
        while i + 2 * LANES <= n {
            let (x, y) = (S::load(a.add(i)), S::load(a.add(i + LANES)));
            (best, other) = if SIGN { (S::min(best, x), S::min(other, y)) } else { (S::max(best, x), S::max(other, y)) };
            sound = S::and(sound, S::and(S::eq(x, x), S::eq(y, y)));
            i += 2 * LANES;
        }
        while i < n {
            let x = if i + LANES <= n {
                S::load(a.add(i))
            } else if n >= LANES {
                // Seeing elements twice does no harm.
                S::load(a.add(n - LANES))
            } else {
                let mut lanes = [identity; LANES];
                std::ptr::copy_nonoverlapping(a, lanes.as_mut_ptr(), n);
                S::load(lanes.as_ptr())
            };
            best = if SIGN { S::min(best, x) } else { S::max(best, x) };
            sound = S::and(sound, S::eq(x, x));
            i += LANES;
        }
        if S::bits(sound) != u16::MAX {
            return f32::NAN;
        }
        let mut lanes = [0.0; LANES];
        S::store(lanes.as_mut_ptr(), if SIGN { S::min(best, other) } else { S::max(best, other) });
        lanes.iter().fold(identity, |m, &x| if (x < m) == SIGN && x != m { x } else { m })
    }
}

/// Position of the largest element, ties to the lowest; NaN is never the largest, and a row of nothing else gives 0.
///
/// # Safety
/// As [`total`].
#[inline(always)]
pub(crate) unsafe fn argmax<S: Simd>(n: usize, a: *const f32) -> i32 {
    unsafe {
        let mut lanes = [0; LANES];
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = i as i32;
        }
        let start = S::load_int(lanes.as_ptr());
        let step = S::splat_int(LANES as i32);
        let (mut best, mut at, mut here) = (S::splat(f32::NEG_INFINITY), S::splat_int(-1), start);
        let mut i = 0;
        while i + LANES <= n {
            let x = S::load(a.add(i));
            let better = S::lt(best, x);
            best = S::select(better, x, best);
            at = S::select_int(better, here, at);
            here = S::add_int(here, step);
            i += LANES;
        }
        let mut values = [0.0; LANES];
        S::store(values.as_mut_ptr(), best);
        S::store_int(lanes.as_mut_ptr(), at);
        let (mut value, mut place) = (f32::NEG_INFINITY, -1);
        for (&x, &p) in values.iter().zip(&lanes) {
            if p >= 0 && (x > value || place < 0 || (x == value && p < place)) {
                (value, place) = (x, p);
            }
        }
        while i < n {
            let x = *a.add(i);
            if x > value {
                (value, place) = (x, i as i32);
            }
            i += 1;
        }
        if place >= 0 {
            return place;
        }
        // Nothing above -inf: the first that is no NaN.
        (0..n).find(|&i| !(*a.add(i)).is_nan()).unwrap_or(0) as i32
    }
}

/// Mean and variance (over n) of a row into `out[0]` and `out[1]`, in two passes; zeros where n is 0.
///
/// # Safety
/// As [`total`]; `out` holds two elements.
#[inline(always)]
pub(crate) unsafe fn moments<S: Simd>(n: usize, a: *const f32, out: *mut f32) {
    unsafe {
        let scale = if n == 0 { 0.0 } else { 1.0 / n as f32 };
        let mean = total::<S, Plain>(n, a, a) * scale;
        let (m, zero) = (S::splat(mean), S::splat(0.0));
        let mut acc = [zero; 4];
        let (mut i, mut j) = (0, 0);
        while i + LANES <= n {
            let d = S::sub(S::load(a.add(i)), m);
            acc[j] = S::fma(d, d, acc[j]);
            i += LANES;
            j = (j + 1) % 4;
        }
        let mut variance = S::sum(S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3])));
        while i < n {
            let d = *a.add(i) - mean;
            variance = d.mul_add(d, variance);
            i += 1;
        }
        *out = mean;
        *out.add(1) = variance * scale;
    }
}

/// Sum of `e^(a[i] - s)`, which is also stored where `STORE`; masked entries (-inf) give zero also where s is -inf.
///
/// # Safety
/// As [`total`]; `dst` holds n elements where `STORE`; `s` is one element.
#[inline(always)]
pub(crate) unsafe fn exponentials<S: Simd, const STORE: bool>(n: usize, dst: *mut f32, a: *const f32, s: *const f32) -> f32 {
    unsafe {
        let s = if *s == f32::NEG_INFINITY { 0.0 } else { *s };
        let (shift, zero) = (S::splat(s), S::splat(0.0));
        let mut acc = [zero; 4];
        let (mut i, mut j) = (0, 0);
        while i + LANES <= n {
            let e = math::exp::<S>(S::sub(S::load(a.add(i)), shift));
            if STORE {
                S::store(dst.add(i), e);
            }
            acc[j] = S::add(acc[j], e);
            i += LANES;
            j = (j + 1) % 4;
        }
        if i < n {
            let mut lanes = [f32::NEG_INFINITY; LANES];
            std::ptr::copy_nonoverlapping(a.add(i), lanes.as_mut_ptr(), n - i);
            let e = math::exp::<S>(S::sub(S::load(lanes.as_ptr()), shift));
            if STORE {
                S::store_tail(dst.add(i), n - i, e);
            }
            acc[j] = S::add(acc[j], e);
        }
        S::sum(S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3])))
    }
}

/// log sum exp of a row; -inf where all is -inf or n is 0.
///
/// # Safety
/// As [`total`].
#[inline(always)]
pub(crate) unsafe fn log_sum_exp<S: Simd>(n: usize, a: *const f32) -> f32 {
    unsafe {
        let max = extreme::<S, false>(n, a);
        if max == f32::NEG_INFINITY { max } else { max + exponentials::<S, false>(n, std::ptr::null_mut(), a, &raw const max).ln() }
    }
}

/// Softmax of a row; zeros where all is -inf. Gives log sum exp.
///
/// # Safety
/// As [`total`]; `dst` holds n elements.
#[inline(always)]
pub(crate) unsafe fn softmax<S: Simd>(n: usize, dst: *mut f32, a: *const f32) -> f32 {
    unsafe {
        let max = extreme::<S, false>(n, a);
        let sum = exponentials::<S, true>(n, dst, a, &raw const max);
        if max == f32::NEG_INFINITY {
            return max;
        }
        let scale = 1.0 / sum;
        super::lane::map2::<S, super::float::Mul, false, true>(n, dst.cast(), dst.cast_const().cast(), (&raw const scale).cast());
        max + sum.ln()
    }
}

/// Reduction of a row of i32 or bool by an associative function: `START` is its identity.
///
/// # Safety
/// As [`total`].
#[inline(always)]
pub(crate) unsafe fn fold<L: Lane, F: super::lane::Op2<In = L, Out = L>, S: Simd>(n: usize, a: *const L::Raw, identity: L::Raw) -> L::Raw {
    unsafe {
        let mut acc = L::splat::<S>(identity);
        let mut i = 0;
        while i + LANES <= n {
            acc = F::apply::<S>(acc, L::load::<S>(a.add(i)));
            i += LANES;
        }
        let mut lanes = [identity; 2 * LANES];
        std::ptr::copy_nonoverlapping(a.add(i), lanes.as_mut_ptr(), n - i);
        acc = F::apply::<S>(acc, L::load::<S>(lanes.as_ptr()));
        // Halve until one lane is left.
        lanes = [identity; 2 * LANES];
        L::store::<S>(lanes.as_mut_ptr(), acc);
        let mut width = LANES / 2;
        while width > 0 {
            let half = L::load::<S>(lanes.as_ptr().add(width));
            L::store::<S>(lanes.as_mut_ptr(), F::apply::<S>(L::load::<S>(lanes.as_ptr()), half));
            width /= 2;
        }
        lanes[0]
    }
}

/// [`fold`] for i32 with the identity of sum, max or min (`WHICH` = 0, 1, 2).
///
/// # Safety
/// As [`total`].
#[inline(always)]
pub(crate) unsafe fn whole<S: Simd, const WHICH: u8>(n: usize, a: *const i32) -> i32 {
    use super::whole::{Add, Max, Min};
    unsafe {
        match WHICH {
            0 => fold::<super::lane::Int, Add, S>(n, a, 0),
            1 => fold::<super::lane::Int, Max, S>(n, a, i32::MIN),
            _ => fold::<super::lane::Int, Min, S>(n, a, i32::MAX),
        }
    }
}

/// [`fold`] for bool: any (`ALL = false`) or all.
///
/// # Safety
/// As [`total`].
#[inline(always)]
pub(crate) unsafe fn truth<S: Simd, const ALL: bool>(n: usize, a: *const u8) -> u8 {
    use super::whole::{And, Or};
    unsafe { if ALL { fold::<super::lane::Truth, And, S>(n, a, 1) } else { fold::<super::lane::Truth, Or, S>(n, a, 0) } }
}
