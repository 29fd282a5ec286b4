//! Copies of blocks of the operands in the order in which the product reads them.

use crate::primitives::simd::{LANES, Simd};

/// The share of step `step` of `steps` in `rows`.
pub(super) fn share(rows: usize, step: usize, steps: usize) -> std::ops::Range<usize> {
    rows * step / steps..rows * (step + 1) / steps
}

/// Asks for `n` contiguous elements, which will be packed while others are multiplied. Any address will do.
#[inline(always)]
pub(super) fn fetch(from: *const f32, n: usize) {
    lines::<false>(from, n);
}

/// As [`fetch`] for what is read next.
#[inline(always)]
pub(super) fn fetch_soon(from: *const f32, n: usize) {
    lines::<true>(from, n);
}

#[inline(always)]
fn lines<const SOON: bool>(from: *const f32, n: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..n.next_multiple_of(LANES)).step_by(LANES) {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        let at = from.wrapping_add(line).cast();
        // Safety: a prefetch reads nothing that the program sees, and never faults.
        unsafe { if SOON { _mm_prefetch::<_MM_HINT_T0>(at) } else { _mm_prefetch::<_MM_HINT_T1>(at) } };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, n);
}

/// Rows `0 .. k` and columns `0 .. n` of b as panels of `width` columns: element (l, j) goes to `(j / width * k + l) * width + j % width`. Columns
/// up to the next multiple of sixteen become zero; `width` is a multiple of sixteen.
///
/// # Safety
/// The CPU has the features of `S`; pointers reach what is named.
#[inline(always)]
pub(crate) unsafe fn columns<S: Simd>(k: usize, n: usize, width: usize, b: *const f32, [rb, cb]: [isize; 2], dst: *mut f32) {
    unsafe {
        if cb == 1 {
            // Row by row, so that the operand is read in the order of its addresses.
            for l in 0..k {
                row::<S>(k, n, width, b.offset(l as isize * rb), dst.add(l * width));
            }
            return;
        }
        let mut j = 0;
        while j < n {
            let lanes = (n - j).min(LANES);
            let to = dst.add(j / width * k * width + j % width);
            let from = b.offset(j as isize * cb);
            strip::<S>(k, lanes, from, [rb, cb], to, width);
            j += LANES;
        }
    }
}

/// One row of [`columns`], `n` contiguous elements: panels lie `k * width` apart.
#[inline(always)]
unsafe fn row<S: Simd>(k: usize, n: usize, width: usize, from: *const f32, to: *mut f32) {
    unsafe {
        let (mut j, mut to) = (0, to);
        while j < n {
            let end = (j + width).min(n);
            let mut at = to;
            while j + LANES <= end {
                S::store(at, S::load(from.add(j)));
                (j, at) = (j + LANES, at.wrapping_add(LANES));
            }
            if j < end {
                S::store(at, S::load_tail(from.add(j), end - j));
                j = end;
            }
            to = to.wrapping_add(k * width);
        }
    }
}

/// Up to sixteen columns of `k` rows that lie apart: element (l, j) goes to `l * stride + j`; lanes from `lanes` on become zero.
#[inline(always)]
unsafe fn strip<S: Simd>(k: usize, lanes: usize, from: *const f32, [rb, cb]: [isize; 2], to: *mut f32, stride: usize) {
    unsafe {
        let mut l = 0;
        while rb == 1 && lanes == LANES && l + LANES <= k {
            S::turn(from.add(l), cb, to.add(l * stride), stride);
            l += LANES;
        }
        while rb == 1 && l + LANES <= k {
            let mut square = [S::splat(0.0); LANES];
            for (j, row) in square.iter_mut().enumerate().take(lanes) {
                *row = S::load(from.offset(l as isize + j as isize * cb));
            }
            for (i, &row) in S::transpose(square).iter().enumerate() {
                S::store(to.add((l + i) * stride), row);
            }
            l += LANES;
        }
        while l < k {
            for j in 0..LANES {
                *to.add(l * stride + j) = if j < lanes { *from.offset(l as isize * rb + j as isize * cb) } else { 0.0 };
            }
            l += 1;
        }
    }
}

/// `rows` rows of `k` contiguous elements each, `stride` apart in `dst`.
///
/// # Safety
/// As [`columns`].
#[inline(always)]
pub(crate) unsafe fn rows<S: Simd>(rows: usize, k: usize, a: *const f32, ra: isize, dst: *mut f32, stride: usize) {
    unsafe {
        for i in 0..rows {
            let (from, to) = (a.offset(i as isize * ra), dst.add(i * stride));
            let mut l = 0;
            while l + LANES <= k {
                S::store(to.add(l), S::load(from.add(l)));
                l += LANES;
            }
            if l < k {
                S::store_tail(to.add(l), k - l, S::load_tail(from.add(l), k - l));
            }
        }
    }
}

/// Distance of panels of `height` rows and `k` columns: whole vectors are written, the last beyond its panel.
pub(crate) const fn distance(k: usize, height: usize) -> usize {
    k * height + LANES
}

/// `count` rows as panels of `height`, [`distance`] apart: element (i, l) goes to `l * height + i % height` of panel `i / height`; `height` is
/// at most sixteen.
///
/// # Safety
/// As [`columns`].
#[inline(always)]
pub(crate) unsafe fn turned_rows<S: Simd>(count: usize, k: usize, height: usize, a: *const f32, [ra, ca]: [isize; 2], dst: *mut f32) {
    unsafe {
        for l in 0..k {
            point::<S>(count, k, height, a.offset(l as isize * ca), ra, dst.add(l * height));
        }
    }
}

/// Rows of a panel that half a vector holds.
const SHORT: usize = LANES / 2;

/// Column l of [`turned_rows`].
#[inline(always)]
unsafe fn point<S: Simd>(count: usize, k: usize, height: usize, from: *const f32, ra: isize, to: *mut f32) {
    unsafe {
        let (mut i, mut to) = (0, to);
        while i < count {
            if ra == 1 && height <= SHORT && i + SHORT <= count {
                // One vector of half the width, where a panel has no more.
                to.copy_from_nonoverlapping(from.add(i), SHORT);
            } else if ra == 1 && i + LANES <= count {
                S::store(to, S::load(from.add(i)));
            } else if ra == 1 {
                S::store(to, S::load_tail(from.add(i), count - i));
            } else {
                for r in 0..(count - i).min(height) {
                    *to.add(r) = *from.offset((i + r) as isize * ra);
                }
            }
            i += height;
            to = to.wrapping_add(distance(k, height));
        }
    }
}

/// As [`columns`] where row l starts `at[l]` from `b`.
///
/// # Safety
/// As [`columns`].
#[inline(always)]
pub(crate) unsafe fn gathered_columns<S: Simd>(
    k: usize,
    n: usize,
    width: usize,
    b: *const f32,
    at: *const isize,
    cb: isize,
    dst: *mut f32,
) {
    unsafe {
        for l in 0..k {
            let from = b.offset(*at.add(l));
            if cb == 1 {
                row::<S>(k, n, width, from, dst.add(l * width));
                continue;
            }
            let mut j = 0;
            while j < n {
                let lanes = (n - j).min(LANES);
                let to = dst.add((j / width * k + l) * width + j % width);
                for i in 0..LANES {
                    *to.add(i) = if i < lanes { *from.offset((j + i) as isize * cb) } else { 0.0 };
                }
                j += LANES;
            }
        }
    }
}

/// As [`rows`] where row i starts `at[i]` from `a`.
///
/// # Safety
/// As [`columns`].
#[inline(always)]
pub(crate) unsafe fn gathered_rows<S: Simd>(
    count: usize,
    k: usize,
    a: *const f32,
    at: *const isize,
    ca: isize,
    dst: *mut f32,
    stride: usize,
) {
    unsafe {
        for i in 0..count {
            let (from, to) = (a.offset(*at.add(i)), dst.add(i * stride));
            if ca == 1 {
                rows::<S>(1, k, from, 0, to, stride);
            } else {
                for l in 0..k {
                    *to.add(l) = *from.offset(l as isize * ca);
                }
            }
        }
    }
}

/// As [`turned_rows`] where point l starts `at[l]` from `a`, and rows are `ra` apart in it.
///
/// # Safety
/// As [`columns`].
#[inline(always)]
pub(crate) unsafe fn points<S: Simd>(count: usize, k: usize, height: usize, a: *const f32, at: *const isize, ra: isize, dst: *mut f32) {
    unsafe {
        for l in 0..k {
            point::<S>(count, k, height, a.offset(*at.add(l)), ra, dst.add(l * height));
        }
    }
}
