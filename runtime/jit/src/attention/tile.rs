//! Products of small matrices that lie in cache, and copies in and out of tiles.

use crate::primitives::simd::{LANES, Simd};

/// `c = a b` or, where `ADD`, `c += a b`: a is m by k with any strides (rows `ra`, columns `ca`), read element by element; b (k by n) and c
/// (m by n) have contiguous rows `ldb` and `ldc` apart; n is a multiple of sixteen. The sum over k runs upwards.
///
/// # Safety
/// The CPU has the features of `S`; pointers reach what is named; c overlaps neither a nor b.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd, const ADD: bool>(
    m: usize,
    n: usize,
    k: usize,
    a: *const f32,
    [ra, ca]: [isize; 2],
    b: *const f32,
    ldb: usize,
    c: *mut f32,
    ldc: usize,
) {
    unsafe {
        let mut j = 0;
        while j < n {
            let vectors = (n - j) / LANES;
            let (b, c) = (b.add(j), c.add(j));
            if S::REGISTERS >= 32 && vectors >= 4 {
                panel::<S, 4, 4, ADD>(m, k, a, [ra, ca], b, ldb, c, ldc);
                j += 4 * LANES;
            } else if S::REGISTERS >= 32 && vectors >= 2 {
                panel::<S, 8, 2, ADD>(m, k, a, [ra, ca], b, ldb, c, ldc);
                j += 2 * LANES;
            } else if S::REGISTERS >= 32 {
                panel::<S, 8, 1, ADD>(m, k, a, [ra, ca], b, ldb, c, ldc);
                j += LANES;
            } else {
                panel::<S, 6, 1, ADD>(m, k, a, [ra, ca], b, ldb, c, ldc);
                j += LANES;
            }
        }
    }
}

/// [`product`] for a panel of `NV` vectors, `MR` rows at a time.
#[inline(always)]
unsafe fn panel<S: Simd, const MR: usize, const NV: usize, const ADD: bool>(
    m: usize,
    k: usize,
    a: *const f32,
    [ra, ca]: [isize; 2],
    b: *const f32,
    ldb: usize,
    c: *mut f32,
    ldc: usize,
) {
    unsafe {
        let mut i = 0;
        while i + MR <= m {
            micro::<S, MR, NV, ADD>(k, a.offset(i as isize * ra), [ra, ca], b, ldb, c.add(i * ldc), ldc);
            i += MR;
        }
        while i + 4 <= m {
            micro::<S, 4, NV, ADD>(k, a.offset(i as isize * ra), [ra, ca], b, ldb, c.add(i * ldc), ldc);
            i += 4;
        }
        while i + 2 <= m {
            micro::<S, 2, NV, ADD>(k, a.offset(i as isize * ra), [ra, ca], b, ldb, c.add(i * ldc), ldc);
            i += 2;
        }
        if i < m {
            micro::<S, 1, NV, ADD>(k, a.offset(i as isize * ra), [ra, ca], b, ldb, c.add(i * ldc), ldc);
        }
    }
}

/// `MR` rows of `NV` vectors, held in registers.
#[inline(always)]
unsafe fn micro<S: Simd, const MR: usize, const NV: usize, const ADD: bool>(
    k: usize,
    a: *const f32,
    [ra, ca]: [isize; 2],
    b: *const f32,
    ldb: usize,
    c: *mut f32,
    ldc: usize,
) {
    unsafe {
        let mut acc = [[S::splat(0.0); NV]; MR];
        if ADD {
            for (r, row) in acc.iter_mut().enumerate() {
                for (v, x) in row.iter_mut().enumerate() {
                    *x = S::load(c.add(r * ldc + v * LANES));
                }
            }
        }
        let (mut a, mut b) = (a, b);
        for _ in 0..k {
            let mut columns = [S::splat(0.0); NV];
            for (v, x) in columns.iter_mut().enumerate() {
                *x = S::load(b.add(v * LANES));
            }
            for (r, row) in acc.iter_mut().enumerate() {
                let at = a.offset(r as isize * ra);
                let x = if ra == 1 { S::splat_at(at) } else { S::splat(*at) };
                for (acc, &column) in row.iter_mut().zip(&columns) {
                    *acc = S::fma(x, column, *acc);
                }
            }
            a = a.wrapping_offset(ca);
            b = b.wrapping_add(ldb);
        }
        for (r, row) in acc.iter().enumerate() {
            for (v, &x) in row.iter().enumerate() {
                S::store(c.add(r * ldc + v * LANES), x);
            }
        }
    }
}

/// `dst[i * ld + j] = a[i, j]` for i below `rows`, j below `columns`; columns up to the next multiple of sixteen become zero.
///
/// # Safety
/// As [`product`].
#[inline(always)]
pub(crate) unsafe fn pack<S: Simd>(rows: usize, columns: usize, a: *const f32, [ra, ca]: [isize; 2], scale: f32, dst: *mut f32, ld: usize) {
    unsafe {
        let factor = S::splat(scale);
        for i in 0..rows {
            let (from, to) = (a.offset(i as isize * ra), dst.add(i * ld));
            let mut j = 0;
            while j < columns {
                let n = (columns - j).min(LANES);
                let x = strided::<S>(from.wrapping_offset(j as isize * ca), ca, n);
                S::store(to.add(j), S::mul(x, factor));
                j += LANES;
            }
        }
    }
}

/// `dst[i * rd + j * cd] = scale[i] * a[j * ld + i]` for i below `rows`, j below `columns`: a tile whose lanes are i, turned into rows.
///
/// # Safety
/// As [`product`].
#[inline(always)]
pub(crate) unsafe fn unpack_turned<S: Simd>(
    rows: usize,
    columns: usize,
    a: *const f32,
    ld: usize,
    scale: *const f32,
    dst: *mut f32,
    [rd, cd]: [isize; 2],
) {
    unsafe {
        for i in (0..rows).step_by(LANES) {
            let height = (rows - i).min(LANES);
            let factor = S::load(scale.add(i));
            for j in (0..columns).step_by(LANES) {
                let width = (columns - j).min(LANES);
                let mut square = [S::splat(0.0); LANES];
                for (c, column) in square.iter_mut().enumerate().take(width) {
                    *column = S::mul(S::load(a.add((j + c) * ld + i)), factor);
                }
                let to = dst.offset(i as isize * rd + j as isize * cd);
                for (r, &row) in S::transpose(square).iter().enumerate().take(height) {
                    let to = to.offset(r as isize * rd);
                    if cd == 1 && width == LANES {
                        S::store(to, row);
                    } else {
                        let mut cells = [0.0f32; LANES];
                        S::store(cells.as_mut_ptr(), row);
                        for (c, &x) in cells.iter().enumerate().take(width) {
                            *to.offset(c as isize * cd) = x;
                        }
                    }
                }
            }
        }
    }
}

/// `dst[j * ld + i] = scale * a[i, j]`: rows become lanes; lanes from `rows` to `lanes`, a multiple of sixteen, become zero.
///
/// # Safety
/// As [`product`].
#[inline(always)]
pub(crate) unsafe fn pack_turned<S: Simd>(
    rows: usize,
    lanes: usize,
    columns: usize,
    a: *const f32,
    [ra, ca]: [isize; 2],
    scale: f32,
    dst: *mut f32,
    ld: usize,
) {
    unsafe {
        let factor = S::splat(scale);
        for i in (0..lanes).step_by(LANES) {
            let height = rows.saturating_sub(i).min(LANES);
            for j in (0..columns).step_by(LANES) {
                let width = (columns - j).min(LANES);
                let from = a.wrapping_offset(i as isize * ra + j as isize * ca);
                let mut square = [S::splat(0.0); LANES];
                for (r, row) in square.iter_mut().enumerate().take(height) {
                    *row = S::mul(strided::<S>(from.offset(r as isize * ra), ca, width), factor);
                }
                for (c, &column) in S::transpose(square).iter().enumerate().take(width) {
                    S::store(dst.add((j + c) * ld + i), column);
                }
            }
        }
    }
}

/// `n` elements `stride` apart, then zeros.
#[inline(always)]
unsafe fn strided<S: Simd>(from: *const f32, stride: isize, n: usize) -> S::F {
    unsafe {
        if stride == 1 {
            return if n == LANES { S::load(from) } else { S::load_tail(from, n) };
        }
        let mut cells = [0.0f32; LANES];
        for (l, cell) in cells.iter_mut().enumerate().take(n) {
            *cell = *from.offset(l as isize * stride);
        }
        S::load(cells.as_ptr())
    }
}

/// The part of `scratch` that holds n f32s, and what lies behind it.
///
/// # Safety
/// `scratch` reaches that far.
#[inline(always)]
pub(crate) unsafe fn take(scratch: &mut *mut f32, n: usize) -> *mut f32 {
    unsafe {
        let part = *scratch;
        *scratch = part.add(n);
        part
    }
}

/// The first multiple of 64 bytes in `scratch`, so that no vector crosses a cache line.
#[inline(always)]
pub(crate) fn aligned(scratch: *mut f32) -> *mut f32 {
    scratch.wrapping_add(scratch.align_offset(64).min(LANES - 1))
}
