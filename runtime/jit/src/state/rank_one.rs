//! Sums of products of rows and scalars, row by row: the kernel behind updates of small matrices.

use crate::primitives::simd::{LANES, Simd};

/// Most products that are added up in a call.
pub(super) const TERMS: usize = 4;

/// `to = z + f x + ...` for every row: up to [`TERMS`] products; x, z and to are rows, a factor f is the product of two elements for each
/// row, or where `wide` a row. All advance by their strides from row to row (0: one for all). `sum` gets the sum over the rows of `v`
/// times one of the x, or times to, where asked for.
pub(crate) type RankOneFn = unsafe extern "C" fn(*const RankOne, *const Operands);

/// Operands of a [`RankOneFn`].
#[derive(Clone, Copy)]
pub(crate) struct Operands {
    pub(super) x: [*const f32; TERMS],
    pub(super) f: [*const f32; TERMS],
    pub(super) g: [*const f32; TERMS],
    pub(super) z: *const f32,
    pub(super) v: *const f32,
    pub(super) to: *mut f32,
    pub(super) sum: *mut f32,
}

/// What is summed over the rows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Summed {
    Nothing,
    /// The x of that term.
    Term(usize),
    New,
}

/// Sizes and strides of a [`RankOneFn`]; what is not asked for is not read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct RankOne {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) terms: usize,
    pub(super) x: [isize; TERMS],
    pub(super) f: [isize; TERMS],
    pub(super) g: [isize; TERMS],
    /// Whether z is added.
    pub(super) onto: bool,
    pub(super) z: isize,
    pub(super) v: isize,
    pub(super) to: isize,
    pub(super) summed: Summed,
    /// Whether factors and v are rows.
    pub(super) wide: bool,
}

/// See [`RankOneFn`].
///
/// # Safety
/// The CPU has the features of `S`; the strides stay within the operands.
#[inline(always)]
pub(crate) unsafe fn rank_one<S: Simd>(shape: *const RankOne, operands: *const Operands) {
    unsafe {
        let (s, o) = (&*shape, &*operands);
        match (s.terms, s.wide) {
            (1, false) => tiles::<S, 1, false>(s, o),
            (2, false) => tiles::<S, 2, false>(s, o),
            (3, false) => tiles::<S, 3, false>(s, o),
            (_, false) => tiles::<S, 4, false>(s, o),
            (1, true) => tiles::<S, 1, true>(s, o),
            (_, true) => tiles::<S, 2, true>(s, o),
        }
    }
}

#[inline(always)]
unsafe fn tiles<S: Simd, const N: usize, const WIDE: bool>(s: &RankOne, o: &Operands) {
    unsafe {
        if s.summed == Summed::Nothing {
            for i in 0..s.rows {
                let mut j = 0;
                while j < s.columns {
                    let width = (s.columns - j).min(LANES);
                    rows::<S, 1, N, WIDE, false>(s, o, i, i + 1, j, width);
                    j += width;
                }
            }
            return;
        }
        let mut j = 0;
        while j + 2 * LANES <= s.columns {
            rows::<S, 2, N, WIDE, true>(s, o, 0, s.rows, j, LANES);
            j += 2 * LANES;
        }
        while j < s.columns {
            let width = (s.columns - j).min(LANES);
            rows::<S, 1, N, WIDE, true>(s, o, 0, s.rows, j, width);
            j += width;
        }
    }
}

/// Rows `first .. end` of `V` vectors from column `j`, the last of `width` lanes.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "the places of a term, side by side")]
unsafe fn rows<S: Simd, const V: usize, const N: usize, const WIDE: bool, const SUM: bool>(
    s: &RankOne,
    o: &Operands,
    first: usize,
    end: usize,
    j: usize,
    width: usize,
) {
    unsafe {
        let mut sums = [S::splat(0.0); V];
        for i in first as isize..end as isize {
            let (z, to, v) = (o.z.wrapping_offset(i * s.z), o.to.wrapping_offset(i * s.to), o.v.wrapping_offset(i * s.v));
            let x: [*const f32; N] = std::array::from_fn(|k| o.x[k].wrapping_offset(i * s.x[k]));
            let f: [*const f32; N] = std::array::from_fn(|k| o.f[k].wrapping_offset(i * s.f[k]));
            let one: [S::F; N] =
                std::array::from_fn(|k| if WIDE { S::splat(0.0) } else { S::splat(*f[k] * *o.g[k].wrapping_offset(i * s.g[k])) });
            let old = if let Summed::Term(k) = s.summed { o.x[k].wrapping_offset(i * s.x[k]) } else { to.cast_const() };
            for (n, sum) in sums.iter_mut().enumerate() {
                let (at, lanes) = (j + n * LANES, if n + 1 == V { width } else { LANES });
                let load = |p: *const f32| if lanes == LANES { S::load(p.add(at)) } else { S::load_tail(p.add(at), lanes) };
                let factor = |k: usize| if WIDE { load(f[k]) } else { one[k] };
                let mut new = if s.onto { S::fma(load(x[0]), factor(0), load(z)) } else { S::mul(load(x[0]), factor(0)) };
                for k in 1..N {
                    new = S::fma(load(x[k]), factor(k), new);
                }
                // Before the result takes its place.
                let summed = if SUM && s.summed != Summed::New { load(old) } else { new };
                if lanes == LANES {
                    S::store(to.add(at), new)
                } else {
                    S::store_tail(to.add(at), lanes, new)
                }
                if SUM {
                    *sum = S::fma(summed, if WIDE { load(v) } else { S::splat(*v) }, *sum);
                }
            }
        }
        if SUM {
            for (n, sum) in sums.into_iter().enumerate() {
                let to = o.sum.add(j + n * LANES);
                if n + 1 < V || width == LANES { S::store(to, sum) } else { S::store_tail(to, width, sum) }
            }
        }
    }
}
