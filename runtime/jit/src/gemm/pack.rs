//! Copies of blocks of the operands in the order in which the product reads them.

use crate::primitives::simd::{LANES, Simd};

/// Rows `0 .. k` and columns `0 .. n` of b as panels of `width` columns: element (l, j) goes to `(j / width * k + l) * width + j % width`. Columns
/// up to the next multiple of sixteen become zero; `width` is a multiple of sixteen.
///
/// # Safety
/// The CPU has the features of `S`; pointers reach what is named.
#[inline(always)]
pub(crate) unsafe fn columns<S: Simd>(k: usize, n: usize, width: usize, b: *const f32, [rb, cb]: [isize; 2], dst: *mut f32) {
    unsafe {
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

/// Up to sixteen columns of `k` rows: element (l, j) goes to `l * stride + j`; lanes from `lanes` on become zero.
#[inline(always)]
unsafe fn strip<S: Simd>(k: usize, lanes: usize, from: *const f32, [rb, cb]: [isize; 2], to: *mut f32, stride: usize) {
    unsafe {
        let mut l = 0;
        if cb == 1 {
            while l < k {
                let row = from.offset(l as isize * rb);
                S::store(to.add(l * stride), if lanes == LANES { S::load(row) } else { S::load_tail(row, lanes) });
                l += 1;
            }
            return;
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

/// Element (i, l) of `rows` rows goes to `l * stride + i`; `rows` is at most sixteen.
///
/// # Safety
/// As [`columns`].
#[inline(always)]
pub(crate) unsafe fn turned_rows<S: Simd>(rows: usize, k: usize, a: *const f32, [ra, ca]: [isize; 2], dst: *mut f32, stride: usize) {
    unsafe {
        for l in 0..k {
            let (from, to) = (a.offset(l as isize * ca), dst.add(l * stride));
            if ra == 1 {
                S::store_tail(to, rows, S::load_tail(from, rows));
            } else {
                for i in 0..rows {
                    *to.add(i) = *from.offset(i as isize * ra);
                }
            }
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
            let row = b.offset(*at.add(l));
            let mut j = 0;
            while j < n {
                let lanes = (n - j).min(LANES);
                let to = dst.add((j / width * k + l) * width + j % width);
                if cb == 1 {
                    S::store(to, if lanes == LANES { S::load(row.add(j)) } else { S::load_tail(row.add(j), lanes) });
                } else {
                    for i in 0..LANES {
                        *to.add(i) = if i < lanes { *row.offset((j + i) as isize * cb) } else { 0.0 };
                    }
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

/// Element (i, l) of `count` rows of points goes to `l * stride + i`: point l starts `at[l]` from `a`, rows are `ra` apart in it.
///
/// # Safety
/// As [`columns`]; `count` is less than sixteen.
#[inline(always)]
pub(crate) unsafe fn points<S: Simd>(count: usize, k: usize, a: *const f32, at: *const isize, ra: isize, dst: *mut f32, stride: usize) {
    unsafe {
        for l in 0..k {
            let (from, to) = (a.offset(*at.add(l)), dst.add(l * stride));
            if ra == 1 {
                S::store_tail(to, count, S::load_tail(from, count));
            } else {
                for i in 0..count {
                    *to.add(i) = *from.offset(i as isize * ra);
                }
            }
        }
    }
}
