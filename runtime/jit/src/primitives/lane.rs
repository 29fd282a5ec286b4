//! Element types as vectors, functions of them, and the loops that apply a function to a tile.

use super::simd::{LANES, Simd};

/// An element type in memory and in registers.
pub(crate) trait Lane: 'static {
    /// In memory.
    type Raw: Copy;
    /// Sixteen of them.
    type V<S: Simd>: Copy;
    unsafe fn splat<S: Simd>(x: Self::Raw) -> Self::V<S>;
    unsafe fn load<S: Simd>(p: *const Self::Raw) -> Self::V<S>;
    unsafe fn load_tail<S: Simd>(p: *const Self::Raw, n: usize) -> Self::V<S>;
    unsafe fn store<S: Simd>(p: *mut Self::Raw, v: Self::V<S>);
    unsafe fn store_tail<S: Simd>(p: *mut Self::Raw, n: usize, v: Self::V<S>);
    /// `a` where `m`, else `b`.
    unsafe fn select<S: Simd>(m: S::M, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
}

/// f32.
pub(crate) struct Float;
/// i32.
pub(crate) struct Int;
/// bool, one byte each.
pub(crate) struct Truth;

macro_rules! lane {
    ($name:ident, $raw:ty, $v:ident, $splat:expr, $load:ident, $load_tail:ident, $store:ident, $store_tail:ident, $select:expr) => {
        impl Lane for $name {
            type Raw = $raw;
            type V<S: Simd> = S::$v;
            #[inline(always)]
            unsafe fn splat<S: Simd>(x: $raw) -> S::$v {
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load<S: Simd>(p: *const $raw) -> S::$v {
                unsafe { S::$load(p) }
            }
            #[inline(always)]
            unsafe fn load_tail<S: Simd>(p: *const $raw, n: usize) -> S::$v {
                unsafe { S::$load_tail(p, n) }
            }
            #[inline(always)]
            unsafe fn store<S: Simd>(p: *mut $raw, v: S::$v) {
                unsafe { S::$store(p, v) }
            }
            #[inline(always)]
            unsafe fn store_tail<S: Simd>(p: *mut $raw, n: usize, v: S::$v) {
                unsafe { S::$store_tail(p, n, v) }
            }
            #[inline(always)]
            unsafe fn select<S: Simd>(m: S::M, a: S::$v, b: S::$v) -> S::$v {
                unsafe { $select(m, a, b) }
            }
        }
    };
}
lane!(Float, f32, F, S::splat, load, load_tail, store, store_tail, S::select);
lane!(Int, i32, I, S::splat_int, load_int, load_int_tail, store_int, store_int_tail, S::select_int);
lane!(Truth, u8, M, truth::<S>, load_mask, load_mask_tail, store_mask, store_mask_tail, choose::<S>);

#[inline(always)]
unsafe fn truth<S: Simd>(x: u8) -> S::M {
    unsafe { S::not(S::eq_int(S::splat_int(i32::from(x)), S::splat_int(0))) }
}

#[inline(always)]
unsafe fn choose<S: Simd>(m: S::M, a: S::M, b: S::M) -> S::M {
    unsafe { S::or(S::and(m, a), S::and(S::not(m), b)) }
}

/// A function of one operand.
pub(crate) trait Op1 {
    type In: Lane;
    type Out: Lane;
    unsafe fn apply<S: Simd>(a: <Self::In as Lane>::V<S>) -> <Self::Out as Lane>::V<S>;
}

/// A function of two operands of the same type.
pub(crate) trait Op2 {
    type In: Lane;
    type Out: Lane;
    unsafe fn apply<S: Simd>(a: <Self::In as Lane>::V<S>, b: <Self::In as Lane>::V<S>) -> <Self::Out as Lane>::V<S>;
}

/// A function of three f32.
pub(crate) trait Op3 {
    unsafe fn apply<S: Simd>(a: S::F, b: S::F, c: S::F) -> S::F;
}

/// An operand's splat, where it is one element for the whole tile.
#[inline(always)]
unsafe fn held<L: Lane, S: Simd, const SCALAR: bool>(p: *const L::Raw, n: usize) -> Option<L::V<S>> {
    unsafe { if SCALAR && n > 0 { Some(L::splat::<S>(*p)) } else { None } }
}

#[inline(always)]
unsafe fn full<L: Lane, S: Simd>(held: Option<L::V<S>>, p: *const L::Raw, i: usize) -> L::V<S> {
    match held {
        Some(v) => v,
        None => unsafe { L::load::<S>(p.add(i)) },
    }
}

#[inline(always)]
unsafe fn part<L: Lane, S: Simd>(held: Option<L::V<S>>, p: *const L::Raw, i: usize, n: usize) -> L::V<S> {
    match held {
        Some(v) => v,
        None => unsafe { L::load_tail::<S>(p.add(i), n) },
    }
}

/// `dst[i] = f(a[i])`.
///
/// # Safety
/// The CPU has the features of `S`; `dst` and `a` hold n elements.
#[inline(always)]
pub(crate) unsafe fn map1<S: Simd, O: Op1>(n: usize, dst: *mut u8, a: *const u8) {
    let (dst, a) = (dst.cast::<<O::Out as Lane>::Raw>(), a.cast::<<O::In as Lane>::Raw>());
    unsafe {
        let mut i = 0;
        while i + LANES <= n {
            O::Out::store::<S>(dst.add(i), O::apply::<S>(O::In::load::<S>(a.add(i))));
            i += LANES;
        }
        if i < n {
            O::Out::store_tail::<S>(dst.add(i), n - i, O::apply::<S>(O::In::load_tail::<S>(a.add(i), n - i)));
        }
    }
}

/// `dst[i] = f(a[i], b[i])`; a scalar operand is one element.
///
/// # Safety
/// As [`map1`].
#[inline(always)]
pub(crate) unsafe fn map2<S: Simd, O: Op2, const SA: bool, const SB: bool>(n: usize, dst: *mut u8, a: *const u8, b: *const u8) {
    let dst = dst.cast::<<O::Out as Lane>::Raw>();
    let (a, b) = (a.cast::<<O::In as Lane>::Raw>(), b.cast::<<O::In as Lane>::Raw>());
    unsafe {
        let (ha, hb) = (held::<O::In, S, SA>(a, n), held::<O::In, S, SB>(b, n));
        let mut i = 0;
        while i + LANES <= n {
            O::Out::store::<S>(dst.add(i), O::apply::<S>(full::<O::In, S>(ha, a, i), full::<O::In, S>(hb, b, i)));
            i += LANES;
        }
        if i < n {
            let m = n - i;
            O::Out::store_tail::<S>(dst.add(i), m, O::apply::<S>(part::<O::In, S>(ha, a, i, m), part::<O::In, S>(hb, b, i, m)));
        }
    }
}

/// `dst[i] = f(a[i], b[i], c[i])`, all f32; a scalar operand is one element.
///
/// # Safety
/// As [`map1`].
#[inline(always)]
pub(crate) unsafe fn map3<S: Simd, O: Op3, const SA: bool, const SB: bool, const SC: bool>(
    n: usize,
    dst: *mut f32,
    a: *const f32,
    b: *const f32,
    c: *const f32,
) {
    unsafe {
        let (ha, hb, hc) = (held::<Float, S, SA>(a, n), held::<Float, S, SB>(b, n), held::<Float, S, SC>(c, n));
        let mut i = 0;
        while i + LANES <= n {
            let v = O::apply::<S>(full::<Float, S>(ha, a, i), full::<Float, S>(hb, b, i), full::<Float, S>(hc, c, i));
            S::store(dst.add(i), v);
            i += LANES;
        }
        if i < n {
            let m = n - i;
            let v = O::apply::<S>(part::<Float, S>(ha, a, i, m), part::<Float, S>(hb, b, i, m), part::<Float, S>(hc, c, i, m));
            S::store_tail(dst.add(i), m, v);
        }
    }
}

/// `dst[i] = if c[i] { a[i] } else { b[i] }`; a scalar operand is one element.
///
/// # Safety
/// As [`map1`].
#[inline(always)]
pub(crate) unsafe fn choose3<S: Simd, L: Lane, const SC: bool, const SA: bool, const SB: bool>(
    n: usize,
    dst: *mut u8,
    c: *const u8,
    a: *const u8,
    b: *const u8,
) {
    let (dst, a, b) = (dst.cast::<L::Raw>(), a.cast::<L::Raw>(), b.cast::<L::Raw>());
    unsafe {
        let (hc, ha, hb) = (held::<Truth, S, SC>(c, n), held::<L, S, SA>(a, n), held::<L, S, SB>(b, n));
        let mut i = 0;
        while i + LANES <= n {
            let v = L::select::<S>(full::<Truth, S>(hc, c, i), full::<L, S>(ha, a, i), full::<L, S>(hb, b, i));
            L::store::<S>(dst.add(i), v);
            i += LANES;
        }
        if i < n {
            let m = n - i;
            let v = L::select::<S>(part::<Truth, S>(hc, c, i, m), part::<L, S>(ha, a, i, m), part::<L, S>(hb, b, i, m));
            L::store_tail::<S>(dst.add(i), m, v);
        }
    }
}
