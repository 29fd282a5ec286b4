//! Products of a vector, or of a few, with a matrix that the caches hold: nothing is packed.
//!
//! An element of C is a sum in an order that depends on sizes and strides alone: along columns of B in [`CHAINS`] interleaved chains; along
//! rows lane by lane, then over the lanes by halves.

use super::Product;
use crate::primitives::simd::{LANES, Simd};

/// Most rows of A.
const FEW: usize = 3;
/// Largest B in elements.
const LARGEST: usize = 1 << 16;
/// Sums that run side by side, so that no addition waits for the one before.
const CHAINS: usize = 4;

/// Whether [`product`] is for it.
pub(super) fn fits(p: &Product) -> bool {
    let columns = p.b[1] == 1 && p.c[1] == 1;
    let rows = p.b[0] == 1 && p.a[1] == 1;
    p.m <= FEW && p.alpha == 1.0 && p.k * p.n <= LARGEST && (columns || rows)
}

/// The product, where it [`fits`].
///
/// # Safety
/// As [`Product::run`]; the CPU has the features of `S`.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd>(product: *const Product, a: *const f32, b: *const f32, c: *mut f32) {
    unsafe {
        let p = &*product;
        for i in 0..p.m as isize {
            let (a, c) = (a.offset(i * p.a[0]), c.offset(i * p.c[0]));
            if p.b[1] == 1 && p.c[1] == 1 {
                let mut j = 0;
                while j + 2 * LANES <= p.n {
                    along::<S, 2>(p, a, b.add(j), c.add(j), LANES);
                    j += 2 * LANES;
                }
                while j < p.n {
                    let left = (p.n - j).min(LANES);
                    along::<S, 1>(p, a, b.add(j), c.add(j), left);
                    j += left;
                }
            } else {
                across::<S>(p, a, b, c);
            }
        }
    }
}

#[inline(always)]
unsafe fn some<S: Simd>(p: *const f32, n: usize) -> S::F {
    unsafe { if n == LANES { S::load(p) } else { S::load_tail(p, n) } }
}

/// `V` vectors of C, the last of `width` lanes: rows of B times elements of A.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "four chains of one vector, beside its place in C")]
unsafe fn along<S: Simd, const V: usize>(p: &Product, a: *const f32, b: *const f32, c: *mut f32, width: usize) {
    unsafe {
        let mut sums = [[S::splat(0.0); V]; CHAINS];
        let mut l = 0;
        while l + CHAINS <= p.k {
            for (i, sum) in sums.iter_mut().enumerate() {
                term::<S, V>(p, a, b, l + i, sum, width);
            }
            l += CHAINS;
        }
        for (i, sum) in sums.iter_mut().enumerate() {
            if l + i < p.k {
                term::<S, V>(p, a, b, l + i, sum, width);
            }
        }
        for v in 0..V {
            let mut sum = S::add(S::add(sums[0][v], sums[1][v]), S::add(sums[2][v], sums[3][v]));
            let (to, n) = (c.add(v * LANES), if v + 1 == V { width } else { LANES });
            if p.beta != 0.0 {
                sum = S::fma(S::splat(p.beta), some::<S>(to, n), sum);
            }
            if n == LANES { S::store(to, sum) } else { S::store_tail(to, n, sum) }
        }
    }
}

#[inline(always)]
unsafe fn term<S: Simd, const V: usize>(p: &Product, a: *const f32, b: *const f32, l: usize, sum: &mut [S::F; V], width: usize) {
    unsafe {
        let x = S::splat(*a.offset(l as isize * p.a[1]));
        let row = b.offset(l as isize * p.b[0]);
        for (v, s) in sum.iter_mut().enumerate() {
            *s = S::fma(x, some::<S>(row.add(v * LANES), if v + 1 == V { width } else { LANES }), *s);
        }
    }
}

/// All elements of C: columns of B, each in one piece, times A; [`CHAINS`] side by side.
#[inline(always)]
unsafe fn across<S: Simd>(p: &Product, a: *const f32, b: *const f32, c: *mut f32) {
    unsafe {
        let mut j = 0;
        while j + CHAINS <= p.n {
            dots::<S, CHAINS>(p, a, b.offset(j as isize * p.b[1]), c.offset(j as isize * p.c[1]));
            j += CHAINS;
        }
        while j < p.n {
            dots::<S, 1>(p, a, b.offset(j as isize * p.b[1]), c.offset(j as isize * p.c[1]));
            j += 1;
        }
    }
}

/// `N` elements of C.
#[inline(always)]
unsafe fn dots<S: Simd, const N: usize>(p: &Product, a: *const f32, b: *const f32, c: *mut f32) {
    unsafe {
        let column: [*const f32; N] = std::array::from_fn(|j| b.offset(j as isize * p.b[1]));
        let mut sums = [S::splat(0.0); N];
        let mut l = 0;
        while l + LANES <= p.k {
            let x = S::load(a.add(l));
            for (sum, column) in sums.iter_mut().zip(column) {
                *sum = S::fma(x, S::load(column.add(l)), *sum);
            }
            l += LANES;
        }
        if l < p.k {
            let x = S::load_tail(a.add(l), p.k - l);
            for (sum, column) in sums.iter_mut().zip(column) {
                *sum = S::fma(x, S::load_tail(column.add(l), p.k - l), *sum);
            }
        }
        for (j, sum) in sums.into_iter().enumerate() {
            let (sum, to) = (S::sum(sum), c.offset(j as isize * p.c[1]));
            *to = if p.beta == 0.0 { sum } else { p.beta * *to + sum };
        }
    }
}
