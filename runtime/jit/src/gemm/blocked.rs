//! A product in blocks: B in panels that stream from the second-level cache, a few rows of A in the first level, a tile of C in registers.
//!
//! For every block of [`DEPTH`] by [`WIDTH`] of B, packed once, and every `MR` rows of A, packed in turn: for every panel of B, the tile
//! `C[MR, panel] += A B`. What C is added to is read from D in the first block. An element of C is the sum over blocks, in ascending order, of sums that run upwards within a block.

use super::{Product, pack};
use crate::primitives::simd::{LANES, Simd};

/// Most rows of B in a block.
pub(super) const DEPTH: usize = 256;
/// Most columns of B in a block.
pub(super) const WIDTH: usize = 512;
/// Distance of packed rows of A: not a multiple of a page, so that rows do not compete for the same lines of the cache.
pub(super) const ROW: usize = DEPTH + LANES;
/// Most rows of A, of C in registers, at a time.
pub(super) const ROWS: usize = 12;
/// Most rows of A that are packed at a time where they lie crosswise: each of their elements is then read once, along the addresses. A multiple
/// of the rows of every set.
pub(super) const CROSS: usize = 22 * ROWS;
/// Most rows of A for which whole panels of B are read where they lie, if their rows are contiguous: packing would cost as much as it saves.
const FEW: usize = 24;
/// f32s of space that [`product`] needs.
pub(crate) const SPACE: usize = DEPTH * WIDTH + 22 * pack::distance(DEPTH, ROWS) + 22 * LANES + LANES;

/// See [`Product::run`]; C has contiguous rows.
///
/// # Safety
/// As [`Product::run`]; the CPU has the features of `S`; `space` holds [`SPACE`] f32s.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd>(product: *const Product, a: *const f32, b: *const f32, d: *const f32, c: *mut f32, space: *mut f32) {
    unsafe {
        let p = &*product;
        let space = space.wrapping_add(space.align_offset(64).min(LANES - 1));
        if S::REGISTERS >= 32 {
            blocks::<S, 12, 2>(p, a, b, d, c, space);
        } else {
            blocks::<S, 6, 1>(p, a, b, d, c, space);
        }
    }
}

#[inline(always)]
unsafe fn blocks<S: Simd, const MR: usize, const NV: usize>(
    p: &Product,
    a: *const f32,
    b: *const f32,
    d: *const f32,
    c: *mut f32,
    space: *mut f32,
) {
    unsafe {
        let (packed_b, packed_a) = (space, space.add(DEPTH * WIDTH));
        let panel = NV * LANES;
        if p.k == 0 {
            return scale(p, d, c);
        }
        // Blocks of about equal depth.
        let depth = p.k.div_ceil(p.k.div_ceil(DEPTH));
        let mut j = 0;
        while j < p.n {
            let columns = (p.n - j).min(WIDTH);
            let mut l = 0;
            while l < p.k {
                let k = (p.k - l).min(depth);
                let (beta, d) = if l == 0 { (p.beta, d) } else { (1.0, c.cast_const()) };
                let from_b = b.offset(l as isize * p.b[0] + j as isize * p.b[1]);
                let direct = p.m <= FEW && p.b[1] == 1 && p.b[0] > 0 && columns.is_multiple_of(panel);
                if !direct {
                    pack::columns::<S>(k, columns, panel, from_b, p.b, packed_b);
                }
                let (panels, distance, apart) = if direct { (from_b, p.b[0] as usize, 1) } else { (packed_b.cast_const(), panel, k) };
                let along = p.a[1] == 1;
                // What the next block will pack.
                let next = (p.k - l - k).min(depth);
                let steps = p.m.div_ceil(MR);
                let mut i = 0;
                while i < p.m {
                    let rows = (p.m - i).min(MR);
                    let from = a.offset(i as isize * p.a[0] + l as isize * p.a[1]);
                    let at: [isize; ROWS] = std::array::from_fn(|r| r as isize * p.c[0]);
                    let place = i as isize * p.c[0] + j as isize;
                    let (c, d) = (c.offset(place), d.offset(place));
                    let tiles = Tiles { rows, columns, k, alpha: p.alpha, beta, d, c, at: at.as_ptr(), column: 1, distance, apart };
                    for row in pack::share(next, i / MR, steps) {
                        let row = (l + k + row) as isize;
                        if p.b[1] == 1 {
                            pack::fetch(b.wrapping_offset(row * p.b[0] + j as isize), columns);
                        }
                        if p.a[0] == 1 {
                            pack::fetch(a.wrapping_offset(row * p.a[1]), p.m);
                        }
                    }
                    if along {
                        pack::rows::<S>(rows, k, from, p.a[0], packed_a, ROW);
                        tiles.run::<S, MR, NV, ROW, 1>(packed_a, panels);
                    } else {
                        if i % CROSS == 0 {
                            pack::turned_rows::<S>((p.m - i).min(CROSS), k, MR, from, p.a, packed_a);
                        }
                        tiles.run::<S, MR, NV, 1, MR>(packed_a.add(i % CROSS / MR * pack::distance(k, MR)), panels);
                    }
                    i += MR;
                }
                l += k;
            }
            j += WIDTH;
        }
    }
}

/// `C = beta D`.
#[inline(always)]
unsafe fn scale(p: &Product, d: *const f32, c: *mut f32) {
    unsafe {
        for i in 0..p.m {
            for j in 0..p.n {
                let at = i as isize * p.c[0] + j as isize;
                *c.offset(at) = if p.beta == 0.0 { 0.0 } else { *d.offset(at) * p.beta };
            }
        }
    }
}

/// A few rows of C.
pub(super) struct Tiles {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) k: usize,
    pub(super) alpha: f32,
    pub(super) beta: f32,
    /// What `beta` multiplies, laid out as `c`.
    pub(super) d: *const f32,
    pub(super) c: *mut f32,
    /// Where each row starts. The same row may come twice where `beta` is 1: rows are written one after the other.
    pub(super) at: *const isize,
    /// Distance of columns.
    pub(super) column: isize,
    /// Distance of rows of B within a panel.
    pub(super) distance: usize,
    /// Distance of columns of B at the start of panels.
    pub(super) apart: usize,
}

impl Tiles {
    /// All panels, `MR` rows or what is left: element (i, l) of A is at `i * RA + l * CA`.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd, const MR: usize, const NV: usize, const RA: usize, const CA: usize>(
        &self,
        a: *const f32,
        b: *const f32,
    ) {
        unsafe {
            if self.rows == MR {
                return self.panels::<S, MR, NV, RA, CA>(0, a, b);
            }
            let mut i = 0;
            while i < self.rows {
                let a = a.add(i * RA);
                match self.rows - i {
                    8.. if MR > 8 => {
                        self.panels::<S, 8, NV, RA, CA>(i, a, b);
                        i += 8;
                    }
                    4.. => {
                        self.panels::<S, 4, NV, RA, CA>(i, a, b);
                        i += 4;
                    }
                    2.. => {
                        self.panels::<S, 2, NV, RA, CA>(i, a, b);
                        i += 2;
                    }
                    _ => {
                        self.panels::<S, 1, NV, RA, CA>(i, a, b);
                        i += 1;
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn panels<S: Simd, const MR: usize, const NV: usize, const RA: usize, const CA: usize>(
        &self,
        i: usize,
        a: *const f32,
        b: *const f32,
    ) {
        unsafe {
            let panel = NV * LANES;
            let mut j = 0;
            while j < self.columns {
                let (d, c) = (self.d.offset(j as isize * self.column), self.c.offset(j as isize * self.column));
                let at = self.at.add(i);
                let b = b.add(j * self.apart);
                let columns = (self.columns - j).min(panel);
                if NV == 2 && columns <= LANES {
                    self.tile::<S, MR, 1, RA, CA>(a, b, [d, c.cast_const()], at, columns);
                } else {
                    self.tile::<S, MR, NV, RA, CA>(a, b, [d, c.cast_const()], at, columns);
                }
                j += panel;
            }
        }
    }

    /// `MR` rows and `NV` vectors of C, of which the first `columns` columns exist.
    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize, const NV: usize, const RA: usize, const CA: usize>(
        &self,
        a: *const f32,
        b: *const f32,
        [d, c]: [*const f32; 2],
        at: *const isize,
        columns: usize,
    ) {
        unsafe {
            let c = c.cast_mut();
            if self.beta != 0.0 && self.column == 1 {
                for r in 0..MR {
                    pack::fetch_soon(d.offset(*at.add(r)), NV * LANES);
                }
            }
            let mut acc = [[S::splat(0.0); NV]; MR];
            let (mut a, mut b) = (a, b);
            for _ in 0..self.k {
                let mut line = [S::splat(0.0); NV];
                for (v, x) in line.iter_mut().enumerate() {
                    *x = S::load(b.add(v * LANES));
                }
                for (r, row) in acc.iter_mut().enumerate() {
                    let x = if RA == 1 { S::splat_at(a.add(r)) } else { S::splat(*a.add(r * RA)) };
                    for (acc, &y) in row.iter_mut().zip(&line) {
                        *acc = S::fma(x, y, *acc);
                    }
                }
                a = a.wrapping_add(CA);
                b = b.wrapping_add(self.distance);
            }
            if self.column != 1 {
                return self.scattered::<S, MR, NV>(&acc, [d, c.cast_const()], at, columns);
            }
            let (alpha, beta) = (S::splat(self.alpha), S::splat(self.beta));
            for (r, row) in acc.iter().enumerate() {
                let (d, c) = (d.offset(*at.add(r)), c.offset(*at.add(r)));
                for (v, &x) in row.iter().enumerate() {
                    let (d, at) = (d.add(v * LANES), c.add(v * LANES));
                    let n = columns - v * LANES;
                    let x = S::mul(alpha, x);
                    if n >= LANES {
                        S::store(at, if self.beta == 0.0 { x } else { S::fma(beta, S::load(d), x) });
                    } else {
                        S::store_tail(at, n, if self.beta == 0.0 { x } else { S::fma(beta, S::load_tail(d, n), x) });
                    }
                }
            }
        }
    }

    /// Writes a tile whose columns lie apart.
    #[inline(always)]
    unsafe fn scattered<S: Simd, const MR: usize, const NV: usize>(
        &self,
        acc: &[[S::F; NV]; MR],
        [d, c]: [*const f32; 2],
        at: *const isize,
        columns: usize,
    ) {
        unsafe {
            // By constant places, so that the sums stay in registers until here.
            let mut lanes = [[[0.0; LANES]; NV]; MR];
            for (row, lanes) in acc.iter().zip(&mut lanes) {
                for (&x, lanes) in row.iter().zip(lanes) {
                    S::store(lanes.as_mut_ptr(), x);
                }
            }
            for (r, row) in lanes.iter().enumerate() {
                let (d, c) = (d.offset(*at.add(r)), c.offset(*at.add(r)).cast_mut());
                for (j, &x) in row.as_flattened().iter().enumerate().take(columns) {
                    let place = j as isize * self.column;
                    *c.offset(place) = self.alpha * x + if self.beta == 0.0 { 0.0 } else { self.beta * *d.offset(place) };
                }
            }
        }
    }
}
