//! Triangular systems by blocked substitution: what earlier blocks of unknowns take from a block is a product of matrices, within a block a
//! few rows at a time take what was found before. The order of additions depends on sizes alone.

use crate::gemm::Product;
use crate::kernels::{Shared, offset};
use crate::pool::Pool;
use crate::primitives::Primitives;
use crate::primitives::simd::{LANES, Simd};
use ogive_graph::kernel::Solve;

/// Unknowns of a block.
const BLOCK: usize = 64;
/// Rows that are found at a time.
const ROWS: usize = 4;

/// The type of the kernels behind [`Block`].
pub(crate) type SubstituteFn = unsafe extern "C" fn(*const Block, *const f32, *const f32, *mut f32);

/// Solves all systems.
pub(crate) fn solve(s: &Solve, primitives: &'static Primitives, args: &[*mut u8], pool: &Pool) {
    let systems: u64 = s.batch.iter().map(|d| d.0).product();
    let (outer, inner) = match s.columns.split_last() {
        Some((&last, rest)) => (rest, last),
        None => (&[][..], (1, [1, 1])),
    };
    let groups: u64 = outer.iter().map(|d| d.0).product();
    let pointers = Shared([args[0].cast::<f32>(), args[1].cast::<f32>(), args[2].cast::<f32>()]);
    pool.run((systems * groups) as usize, &|task, _| {
        let [matrix, side, to] = offset(&s.batch, task as u64 / groups);
        let [more_side, more_to] = offset(outer, task as u64 % groups);
        let [m, b, x] = pointers.get();
        let one = One {
            size: s.size as usize,
            width: inner.0 as usize,
            matrix: s.matrix.map(|x| x as isize),
            side: [s.rows[0] as isize, inner.1[0] as isize],
            to: [s.rows[1] as isize, inner.1[1] as isize],
            backwards: s.backwards,
        };
        let (m, b, x) = (
            m.wrapping_offset(matrix as isize),
            b.wrapping_offset((side + more_side) as isize),
            x.wrapping_offset((to + more_to) as isize),
        );
        // Safety: the plan's strides stay within the arguments; each system and group of columns has results of its own.
        unsafe { one.run(primitives, m, b, x) };
    });
}

/// A block of unknowns in the order in which they are found. Rows of the right-hand side and of the unknowns are contiguous.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    count: usize,
    width: usize,
    /// From one unknown to the next: as a row of the matrix, as a column.
    matrix: [isize; 2],
    /// From one row to the next: of the right-hand side, of the unknowns.
    rows: [isize; 2],
}

/// The unknowns of a block.
///
/// # Safety
/// Pointers reach what `block` names, `x` overlaps nothing else but `side`, row by row; the CPU has the features of `S`.
#[inline(always)]
pub(crate) unsafe fn substitute<S: Simd>(block: *const Block, m: *const f32, side: *const f32, x: *mut f32) {
    unsafe {
        let block = &*block;
        let mut column = 0;
        while column < block.width {
            let lanes = (block.width - column).min(LANES);
            let (side, x) = (side.add(column), x.add(column));
            let mut first = 0;
            while first < block.count {
                match block.count - first {
                    ROWS.. => block.some::<S, ROWS>(first, lanes, m, side, x),
                    3 => block.some::<S, 3>(first, lanes, m, side, x),
                    2 => block.some::<S, 2>(first, lanes, m, side, x),
                    _ => block.some::<S, 1>(first, lanes, m, side, x),
                }
                first += ROWS;
            }
            column += LANES;
        }
    }
}

#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32, lanes: usize) -> S::F {
    unsafe { if lanes == LANES { S::load(from) } else { S::load_tail(from, lanes) } }
}

impl Block {
    /// `R` rows from `first` on, up to a vector of each.
    #[inline(always)]
    unsafe fn some<S: Simd, const R: usize>(&self, first: usize, lanes: usize, m: *const f32, side: *const f32, x: *mut f32) {
        unsafe {
            let row = |k: usize| x.wrapping_offset(k as isize * self.rows[1]);
            let factor = |k: usize, j: usize| S::splat(*m.wrapping_offset(k as isize * self.matrix[0] + j as isize * self.matrix[1]));
            let mut found = [S::splat(0.0); R];
            for (r, sum) in found.iter_mut().enumerate() {
                *sum = load::<S>(side.wrapping_offset((first + r) as isize * self.rows[0]), lanes);
            }
            for j in 0..first {
                let known = load::<S>(row(j), lanes);
                for (r, sum) in found.iter_mut().enumerate() {
                    *sum = S::fnma(factor(first + r, j), known, *sum);
                }
            }
            for r in 1..R {
                for j in 0..r {
                    found[r] = S::fnma(factor(first + r, first + j), found[j], found[r]);
                }
            }
            for (r, &found) in found.iter().enumerate() {
                if lanes == LANES { S::store(row(first + r), found) } else { S::store_tail(row(first + r), lanes, found) }
            }
        }
    }
}

/// One system with one dim of right-hand sides.
struct One {
    size: usize,
    width: usize,
    matrix: [isize; 2],
    side: [isize; 2],
    to: [isize; 2],
    backwards: bool,
}

impl One {
    /// # Safety
    /// Every element named is readable, those of `x` are writable and overlap nothing else.
    unsafe fn run(&self, primitives: &Primitives, m: *const f32, b: *const f32, x: *mut f32) {
        let n = self.size;
        // The k-th unknown to be found.
        let place = |k: usize| (if self.backwards { n - 1 - k } else { k }) as isize;
        let row = |k: usize| x.wrapping_offset(place(k) * self.to[0]);
        let onwards = if self.backwards { -1 } else { 1 };
        for first in (0..n).step_by(BLOCK) {
            let end = (first + BLOCK).min(n);
            let here = m.wrapping_offset(place(first) * (self.matrix[0] + self.matrix[1]));
            let matrix = self.matrix.map(|s| onwards * s);
            let contiguous = self.side[1] == 1 && self.to[1] == 1;
            // Safety: the caller's; rows are found one after the other, and read only after they were.
            unsafe {
                if first == 0 && contiguous {
                    let block = Block { count: end, width: self.width, matrix, rows: [onwards * self.side[0], onwards * self.to[0]] };
                    (primitives.substitute())(&raw const block, here, b.wrapping_offset(place(0) * self.side[0]), row(0));
                    continue;
                }
                for k in first..end {
                    self.copy(b.wrapping_offset(place(k) * self.side[0]), row(k));
                }
                if first > 0 {
                    // The lowest of the block's unknowns, and of those that are known.
                    let (low, known) = if self.backwards { (n - end, n - first) } else { (first, 0) };
                    let (low, known) = (low as isize, known as isize);
                    let (m_rows, k) = (end - first, first);
                    let product = Product { m: m_rows, n: self.width, k, a: self.matrix, b: self.to, c: self.to, alpha: -1.0, beta: 1.0 };
                    let above = m.wrapping_offset(low * self.matrix[0] + known * self.matrix[1]);
                    product.run(primitives, above, x.wrapping_offset(known * self.to[0]), x.wrapping_offset(low * self.to[0]));
                }
                if self.to[1] == 1 {
                    let block = Block { count: end - first, width: self.width, matrix, rows: [onwards * self.to[0]; 2] };
                    (primitives.substitute())(&raw const block, here, row(first).cast_const(), row(first));
                    continue;
                }
                for k in first..end {
                    for j in first..k {
                        let factor = *m.wrapping_offset(place(k) * self.matrix[0] + place(j) * self.matrix[1]);
                        for c in 0..self.width as isize {
                            *row(k).wrapping_offset(c * self.to[1]) -= factor * *row(j).wrapping_offset(c * self.to[1]);
                        }
                    }
                }
            }
        }
    }

    unsafe fn copy(&self, from: *const f32, to: *mut f32) {
        for c in 0..self.width as isize {
            // Safety: the caller's.
            unsafe { *to.wrapping_offset(c * self.to[1]) = *from.wrapping_offset(c * self.side[1]) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of about 1.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    #[test]
    fn systems_of_every_size_and_layout_agree_with_f64() {
        for set in Primitives::all() {
            for size in [1usize, 2, 3, 4, 5, 16, 33, 64, 65, 131] {
                for width in [1usize, 7, 16, 33] {
                    for layout in 0..8 {
                        check(set, size, width, [layout & 1 != 0, layout & 2 != 0, layout & 4 != 0]);
                    }
                }
            }
        }
    }

    fn check(set: &Primitives, size: usize, width: usize, [backwards, crosswise, turned]: [bool; 3]) {
        // Small enough that the solution stays of the size of the right-hand side.
        let matrix: Vec<f32> = numbers(size * size, 1).iter().map(|x| x / size as f32).collect();
        let side = numbers(size * width, 2);
        let across = if crosswise { [1, size as isize] } else { [width as isize, 1] };
        let one = One {
            size,
            width,
            matrix: if turned { [1, size as isize] } else { [size as isize, 1] },
            side: across,
            to: if turned { [width as isize, 1] } else { across },
            backwards,
        };
        let mut x = vec![f32::NAN; size * width];
        // Safety: the strides name what there is.
        unsafe { one.run(set, matrix.as_ptr(), side.as_ptr(), x.as_mut_ptr()) };
        let at = |strides: [isize; 2], i: usize, j: usize| (i as isize * strides[0] + j as isize * strides[1]) as usize;
        let order: Vec<usize> = if backwards { (0..size).rev().collect() } else { (0..size).collect() };
        for c in 0..width {
            let mut exact = vec![0.0f64; size];
            for (k, &i) in order.iter().enumerate() {
                let known = order[..k].iter().map(|&j| f64::from(matrix[at(one.matrix, i, j)]) * exact[j]).sum::<f64>();
                exact[i] = f64::from(side[at(one.side, i, c)]) - known;
                let found = f64::from(x[at(one.to, i, c)]);
                assert!(
                    (found - exact[i]).abs() < 1e-5,
                    "{} {size} {width} {backwards} {crosswise} {turned}: {found}, not {}",
                    set.name(),
                    exact[i]
                );
            }
        }
    }
}
