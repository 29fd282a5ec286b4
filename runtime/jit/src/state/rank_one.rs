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
    /// The x of the first term.
    First,
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
    /// Whether a factor is a product of two; of others g is not read.
    pub(super) pair: [bool; TERMS],
    /// Whether a product is taken away, not added. Not where `wide`.
    pub(super) minus: [bool; TERMS],
    /// Whether z is added.
    pub(super) onto: bool,
    pub(super) z: isize,
    pub(super) v: isize,
    pub(super) to: isize,
    pub(super) summed: Summed,
    /// Whether factors and v are rows.
    pub(super) wide: bool,
}

impl RankOne {
    /// Exchanges two terms.
    pub(super) fn swap_terms(&mut self, i: usize, k: usize) {
        self.x.swap(i, k);
        self.f.swap(i, k);
        self.g.swap(i, k);
        self.pair.swap(i, k);
        self.minus.swap(i, k);
    }
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
        match s.summed {
            // Rows of few vectors in one go; longer ones one by one, along their addresses.
            Summed::Nothing if s.columns <= 4 * LANES => columns::<S, N, WIDE, NOTHING>(s, o, 0, s.rows),
            Summed::Nothing => {
                for i in 0..s.rows {
                    columns::<S, N, WIDE, NOTHING>(s, o, i, i + 1);
                }
            }
            Summed::First => columns::<S, N, WIDE, FIRST>(s, o, 0, s.rows),
            Summed::New => columns::<S, N, WIDE, NEW>(s, o, 0, s.rows),
        }
    }
}

/// [`Summed`] in types.
const NOTHING: u8 = 0;
const FIRST: u8 = 1;
const NEW: u8 = 2;

/// Rows `first .. end` of all columns.
#[inline(always)]
unsafe fn columns<S: Simd, const N: usize, const WIDE: bool, const SUM: u8>(s: &RankOne, o: &Operands, first: usize, end: usize) {
    unsafe {
        let mut j = 0;
        while j + 4 * LANES <= s.columns {
            rows::<S, 4, N, WIDE, SUM, true>(s, o, first, end, j, LANES);
            j += 4 * LANES;
        }
        while j + 2 * LANES <= s.columns {
            rows::<S, 2, N, WIDE, SUM, true>(s, o, first, end, j, LANES);
            j += 2 * LANES;
        }
        if j + LANES <= s.columns {
            rows::<S, 1, N, WIDE, SUM, true>(s, o, first, end, j, LANES);
            j += LANES;
        }
        if j < s.columns {
            rows::<S, 1, N, WIDE, SUM, false>(s, o, first, end, j, s.columns - j);
        }
    }
}

/// Rows `first .. end` of `V` vectors from column `j`, or where not `FULL` of one of `width` lanes.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "the places of a term, side by side")]
unsafe fn rows<S: Simd, const V: usize, const N: usize, const WIDE: bool, const SUM: u8, const FULL: bool>(
    s: &RankOne,
    o: &Operands,
    first: usize,
    end: usize,
    j: usize,
    width: usize,
) {
    unsafe {
        let load = |p: *const f32| if FULL { S::load(p) } else { S::load_tail(p, width) };
        let store = |p: *mut f32, x: S::F| if FULL { S::store(p, x) } else { S::store_tail(p, width, x) };
        let start = first as isize;
        // Scalars have no column.
        let own = if WIDE { j } else { 0 };
        let mut x: [*const f32; N] = std::array::from_fn(|k| o.x[k].wrapping_offset(start * s.x[k]).wrapping_add(j));
        let mut f: [*const f32; N] = std::array::from_fn(|k| o.f[k].wrapping_offset(start * s.f[k]).wrapping_add(own));
        let mut g: [*const f32; N] = std::array::from_fn(|k| o.g[k].wrapping_offset(start * s.g[k]));
        let mut z = o.z.wrapping_offset(start * s.z).wrapping_add(j);
        let mut v = o.v.wrapping_offset(start * s.v).wrapping_add(own);
        let mut to = o.to.wrapping_offset(start * s.to).wrapping_add(j);
        let mut sums = [S::splat(0.0); V];
        for _ in first..end {
            let mut one = [S::splat(0.0); N];
            if !WIDE {
                for k in 0..N {
                    let factor = if s.pair[k] { *f[k] * *g[k] } else { *f[k] };
                    one[k] = S::splat(if s.minus[k] { -factor } else { factor });
                }
            }
            let by = if WIDE || SUM == NOTHING { S::splat(0.0) } else { S::splat(*v) };
            for (n, sum) in sums.iter_mut().enumerate() {
                let at = n * LANES;
                let factor = |k: usize| if WIDE { load(f[k].wrapping_add(at)) } else { one[k] };
                let old = load(x[0].wrapping_add(at));
                let mut new = if s.onto { S::fma(old, factor(0), load(z.wrapping_add(at))) } else { S::mul(old, factor(0)) };
                for k in 1..N {
                    new = S::fma(load(x[k].wrapping_add(at)), factor(k), new);
                }
                store(to.wrapping_add(at), new);
                if SUM != NOTHING {
                    let summed = if SUM == FIRST { old } else { new };
                    *sum = S::fma(summed, if WIDE { load(v.wrapping_add(at)) } else { by }, *sum);
                }
            }
            for k in 0..N {
                x[k] = x[k].wrapping_offset(s.x[k]);
                f[k] = f[k].wrapping_offset(s.f[k]);
                g[k] = g[k].wrapping_offset(s.g[k]);
            }
            (z, v, to) = (z.wrapping_offset(s.z), v.wrapping_offset(s.v), to.wrapping_offset(s.to));
        }
        if SUM != NOTHING {
            for (n, sum) in sums.into_iter().enumerate() {
                store(o.sum.wrapping_add(j + n * LANES), sum);
            }
        }
    }
}
