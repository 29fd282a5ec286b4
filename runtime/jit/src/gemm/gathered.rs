//! Products of which rows are gathered: rows of A and C, or the contracted points of A and B. In blocks as in [`super::blocked`].

use super::blocked::{CROSS, DEPTH, ROW, ROWS, Tiles, WIDTH};
use super::pack;
use crate::primitives::simd::{LANES, Simd};

pub(crate) use super::blocked::SPACE;

/// `C[i, j] (+)= sum over l of A[i, l] * B[l, j]`, with rows of A and C anywhere.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Gathered {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Distance of columns of A.
    pub a: isize,
    /// Strides of B.
    pub b: [isize; 2],
    /// Distance of columns of C.
    pub c: isize,
    /// Whether C is added to; then rows of C may coincide.
    pub add: bool,
}

/// `C[i, j] (+)= sum over points l of A[l, i] * B[l, j]`, with points of A and B anywhere.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Outer {
    /// Rows of C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Points.
    pub k: usize,
    /// Distance of the elements of a point of A.
    pub a: isize,
    /// Distance of the elements of a point of B.
    pub b: isize,
    /// Strides of C.
    pub c: [isize; 2],
    /// Whether C is added to.
    pub add: bool,
}

/// The type of the kernels behind [`Gathered`]: a and where its rows start, b, c and where its rows start, space.
pub(crate) type GatheredFn = unsafe extern "C" fn(*const Gathered, *const f32, *const isize, *const f32, *mut f32, *const isize, *mut f32);
/// The type of the kernels behind [`Outer`]: a and where its points start, b likewise, c, space.
pub(crate) type OuterFn = unsafe extern "C" fn(*const Outer, *const f32, *const isize, *const f32, *const isize, *mut f32, *mut f32);

/// See [`Gathered`].
///
/// # Safety
/// The CPU has the features of `S`; pointers reach what is named; c overlaps neither a nor b; `space` holds [`SPACE`] f32s.
#[inline(always)]
pub(crate) unsafe fn gathered<S: Simd>(
    product: *const Gathered,
    a: *const f32,
    a_rows: *const isize,
    b: *const f32,
    c: *mut f32,
    c_rows: *const isize,
    space: *mut f32,
) {
    unsafe {
        let space = space.wrapping_add(space.align_offset(64).min(LANES - 1));
        if S::REGISTERS >= 32 {
            gathered_blocks::<S, 12, 2>(&*product, a, a_rows, b, c, c_rows, space);
        } else {
            gathered_blocks::<S, 6, 1>(&*product, a, a_rows, b, c, c_rows, space);
        }
    }
}

#[inline(always)]
unsafe fn gathered_blocks<S: Simd, const MR: usize, const NV: usize>(
    p: &Gathered,
    a: *const f32,
    a_rows: *const isize,
    b: *const f32,
    c: *mut f32,
    c_rows: *const isize,
    space: *mut f32,
) {
    unsafe {
        let (packed_b, packed_a) = (space, space.add(DEPTH * WIDTH));
        let depth = p.k.div_ceil(p.k.div_ceil(DEPTH));
        let mut j = 0;
        while j < p.n {
            let columns = (p.n - j).min(WIDTH);
            let mut l = 0;
            while l < p.k {
                let k = (p.k - l).min(depth);
                let beta = if l == 0 && !p.add { 0.0 } else { 1.0 };
                pack::columns::<S>(k, columns, NV * LANES, b.offset(l as isize * p.b[0] + j as isize * p.b[1]), p.b, packed_b);
                let c = c.offset(j as isize * p.c);
                let mut i = 0;
                while i < p.m {
                    let rows = (p.m - i).min(MR);
                    for row in i + MR..(i + 2 * MR).min(p.m) {
                        if p.a == 1 {
                            pack::fetch(a.wrapping_offset(*a_rows.add(row) + l as isize), k);
                        }
                    }
                    pack::gathered_rows::<S>(rows, k, a.offset(l as isize * p.a), a_rows.add(i), p.a, packed_a, ROW);
                    let tiles = Tiles {
                        rows,
                        columns,
                        k,
                        alpha: 1.0,
                        beta,
                        d: c.cast_const(),
                        c,
                        at: c_rows.add(i),
                        column: p.c,
                        distance: NV * LANES,
                        apart: k,
                    };
                    tiles.run::<S, MR, NV, ROW, 1>(packed_a, packed_b);
                    i += MR;
                }
                l += k;
            }
            j += WIDTH;
        }
    }
}

/// See [`Outer`].
///
/// # Safety
/// As [`gathered`].
#[inline(always)]
pub(crate) unsafe fn outer<S: Simd>(
    product: *const Outer,
    a: *const f32,
    a_points: *const isize,
    b: *const f32,
    b_points: *const isize,
    c: *mut f32,
    space: *mut f32,
) {
    unsafe {
        let space = space.wrapping_add(space.align_offset(64).min(LANES - 1));
        if S::REGISTERS >= 32 {
            outer_blocks::<S, 12, 2>(&*product, a, a_points, b, b_points, c, space);
        } else {
            outer_blocks::<S, 6, 1>(&*product, a, a_points, b, b_points, c, space);
        }
    }
}

#[inline(always)]
unsafe fn outer_blocks<S: Simd, const MR: usize, const NV: usize>(
    p: &Outer,
    a: *const f32,
    a_points: *const isize,
    b: *const f32,
    b_points: *const isize,
    c: *mut f32,
    space: *mut f32,
) {
    unsafe {
        let (packed_b, packed_a) = (space, space.add(DEPTH * WIDTH));
        let at: [isize; ROWS] = std::array::from_fn(|r| r as isize * p.c[0]);
        let depth = p.k.div_ceil(p.k.div_ceil(DEPTH));
        let mut j = 0;
        while j < p.n {
            let columns = (p.n - j).min(WIDTH);
            let mut l = 0;
            while l < p.k {
                let k = (p.k - l).min(depth);
                let beta = if l == 0 && !p.add { 0.0 } else { 1.0 };
                pack::gathered_columns::<S>(k, columns, NV * LANES, b.offset(j as isize * p.b), b_points.add(l), p.b, packed_b);
                let next = (p.k - l - k).min(depth);
                let steps = p.m.div_ceil(MR);
                let mut i = 0;
                while i < p.m {
                    let rows = (p.m - i).min(MR);
                    for point in pack::share(next, i / MR, steps) {
                        let point = l + k + point;
                        if p.b == 1 {
                            pack::fetch(b.wrapping_offset(*b_points.add(point) + j as isize), columns);
                        }
                        if p.a == 1 {
                            pack::fetch(a.wrapping_offset(*a_points.add(point)), p.m);
                        }
                    }
                    if i % CROSS == 0 {
                        let rows = (p.m - i).min(CROSS);
                        pack::points::<S>(rows, k, MR, a.offset(i as isize * p.a), a_points.add(l), p.a, packed_a);
                    }
                    let c = c.offset(i as isize * p.c[0] + j as isize * p.c[1]);
                    let tiles = Tiles {
                        rows,
                        columns,
                        k,
                        alpha: 1.0,
                        beta,
                        d: c.cast_const(),
                        c,
                        at: at.as_ptr(),
                        column: p.c[1],
                        distance: NV * LANES,
                        apart: k,
                    };
                    tiles.run::<S, MR, NV, 1, MR>(packed_a.add(i % CROSS / MR * pack::distance(k, MR)), packed_b);
                    i += MR;
                }
                l += k;
            }
            j += WIDTH;
        }
    }
}
