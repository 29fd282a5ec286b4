//! Products of matrices that the first-level cache holds: elements of A are read where they lie, and so are rows of B that are contiguous.
//!
//! An element of C is one sum that runs upwards along k.

use super::{Product, pack};
use crate::primitives::simd::{LANES, Simd};

/// Most columns of A, rows of B.
const DEPTH: usize = 128;
/// Most elements of A and of B.
const LARGEST: usize = 1 << 12;
/// Lines that compete for one place of the cache, of which a product's rows of B may take up half; places, and elements of a line.
const WAYS: usize = 8;
const PLACES: usize = 64;
const LINE: usize = 16;

/// Whether rows of B so far apart stay in the cache, side by side.
fn stays(k: usize, distance: usize) -> bool {
    let lines = distance.div_ceil(LINE);
    let places = PLACES / (1 << lines.trailing_zeros().min(PLACES.trailing_zeros()));
    !distance.is_multiple_of(LINE) || k <= places * WAYS / 2
}

/// Whether [`product`] is for it.
pub(super) fn fits(p: &Product) -> bool {
    p.c[1] == 1
        && p.m >= 4
        && p.n >= 8
        && (4..=DEPTH).contains(&p.k)
        && p.m * p.k <= LARGEST
        && p.k * p.n.next_multiple_of(LANES) <= LARGEST
}

/// The product, where it [`fits`].
///
/// # Safety
/// As [`Product::run`]; the CPU has the features of `S`; `space` holds [`LARGEST`] f32s and a vector.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd>(product: *const Product, a: *const f32, b: *const f32, d: *const f32, c: *mut f32, space: *mut f32) {
    unsafe {
        let p = &*product;
        let whole = p.n.is_multiple_of(LANES);
        let lies = p.b[1] == 1 && p.b[0] > 0 && whole && stays(p.k, p.b[0] as usize);
        let (b, distance, apart) = if lies {
            (b, p.b[0] as usize, LANES)
        } else {
            pack::columns::<S>(p.k, p.n, LANES, b, p.b, space);
            (space.cast_const(), LANES, p.k * LANES)
        };
        let mut j = 0;
        while j < p.n {
            let columns = (p.n - j).min(LANES);
            let panel = Panel { p, b: b.add(j / LANES * apart), d: d.add(j), distance, columns };
            let c = c.add(j);
            if S::REGISTERS >= 32 {
                panel.rows_of_many::<S>(a, c)
            } else {
                panel.rows::<S>(a, c)
            }
            j += LANES;
        }
    }
}

/// A vector of columns of B.
struct Panel<'a> {
    p: &'a Product,
    b: *const f32,
    /// The same columns of what `beta` multiplies.
    d: *const f32,
    distance: usize,
    columns: usize,
}

impl Panel<'_> {
    /// All rows, in tiles of six or, at the end, of about equal height: a low tile waits for its own additions.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&self, a: *const f32, c: *mut f32) {
        unsafe {
            let mut i = 0;
            while i < self.p.m {
                let left = self.p.m - i;
                let height = left.div_ceil(left.div_ceil(6));
                let (a, c) = (a.offset(i as isize * self.p.a[0]), c.offset(i as isize * self.p.c[0]));
                let d = self.d.offset(i as isize * self.p.c[0]);
                match height {
                    6 => self.tile::<S, 6>(a, d, c),
                    5 => self.tile::<S, 5>(a, d, c),
                    4 => self.tile::<S, 4>(a, d, c),
                    3 => self.tile::<S, 3>(a, d, c),
                    2 => self.tile::<S, 2>(a, d, c),
                    _ => self.tile::<S, 1>(a, d, c),
                }
                i += height;
            }
        }
    }

    /// As [`Panel::rows`] with tiles of up to twelve, where there are registers for them.
    #[inline(always)]
    unsafe fn rows_of_many<S: Simd>(&self, a: *const f32, c: *mut f32) {
        unsafe {
            let mut i = 0;
            while i < self.p.m {
                let left = self.p.m - i;
                let (a, c) = (a.offset(i as isize * self.p.a[0]), c.offset(i as isize * self.p.c[0]));
                let d = self.d.offset(i as isize * self.p.c[0]);
                i += match left {
                    12.. => self.tile_of::<S, 12>(a, d, c),
                    8.. => self.tile_of::<S, 8>(a, d, c),
                    4.. => self.tile_of::<S, 4>(a, d, c),
                    2.. => self.tile_of::<S, 2>(a, d, c),
                    _ => self.tile_of::<S, 1>(a, d, c),
                };
            }
        }
    }

    #[inline(always)]
    unsafe fn tile_of<S: Simd, const MR: usize>(&self, a: *const f32, d: *const f32, c: *mut f32) -> usize {
        unsafe { self.tile::<S, MR>(a, d, c) };
        MR
    }

    /// `MR` rows of C.
    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize>(&self, a: *const f32, d: *const f32, c: *mut f32) {
        unsafe {
            let (p, n) = (self.p, self.columns);
            let mut sums = [S::splat(0.0); MR];
            let rows: [*const f32; MR] = std::array::from_fn(|r| a.wrapping_offset(r as isize * p.a[0]));
            let (mut at, mut b) = (0, self.b);
            for _ in 0..p.k {
                let line = S::load(b);
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = S::fma(S::splat(*row.offset(at)), line, *sum);
                }
                at += p.a[1];
                b = b.wrapping_add(self.distance);
            }
            if p.alpha != 1.0 {
                let alpha = S::splat(p.alpha);
                for sum in &mut sums {
                    *sum = S::mul(alpha, *sum);
                }
            }
            if n < LANES {
                // By constant places, so that the sums stay in registers until here.
                let mut lanes = [[0.0; LANES]; MR];
                for (&sum, lanes) in sums.iter().zip(&mut lanes) {
                    S::store(lanes.as_mut_ptr(), sum);
                }
                for (r, lanes) in lanes.iter().enumerate() {
                    let row = r as isize * p.c[0];
                    for (j, &x) in lanes.iter().enumerate().take(n) {
                        *c.offset(row).add(j) = x + if p.beta == 0.0 { 0.0 } else { p.beta * *d.offset(row).add(j) };
                    }
                }
            } else if p.beta == 0.0 {
                for (r, &sum) in sums.iter().enumerate() {
                    S::store(c.offset(r as isize * p.c[0]), sum);
                }
            } else {
                let beta = S::splat(p.beta);
                for (r, &sum) in sums.iter().enumerate() {
                    let row = r as isize * p.c[0];
                    S::store(c.offset(row), S::fma(beta, S::load(d.offset(row)), sum));
                }
            }
        }
    }
}
