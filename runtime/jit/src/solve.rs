//! Triangular systems by blocked substitution: what earlier blocks of unknowns take from a block is a product of matrices, within a block the
//! rows are scaled and added one by one. The order of additions depends on sizes alone.

use crate::gemm::Product;
use crate::kernels::{Scaled, Shared, offset};
use crate::pool::Pool;
use crate::primitives::Primitives;
use ogive_graph::kernel::Solve;

/// Unknowns of a block.
const BLOCK: usize = 16;

/// Solves all systems.
pub(crate) fn solve(s: &Solve, primitives: &'static Primitives, args: &[*mut u8], pool: &Pool, scaled: Scaled) {
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
        unsafe { one.run(primitives, m, b, x, scaled) };
    });
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
    unsafe fn run(&self, primitives: &Primitives, m: *const f32, b: *const f32, x: *mut f32, scaled: Scaled) {
        let n = self.size;
        // The k-th unknown to be found.
        let place = |k: usize| (if self.backwards { n - 1 - k } else { k }) as isize;
        for first in (0..n).step_by(BLOCK) {
            let end = (first + BLOCK).min(n);
            let row = |k: usize| x.wrapping_offset(place(k) * self.to[0]);
            // Safety: the caller's; rows are found one after the other, and read only after they were.
            unsafe {
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
                for k in first..end {
                    for j in first..k {
                        let factor = -*m.wrapping_offset(place(k) * self.matrix[0] + place(j) * self.matrix[1]);
                        self.add(row(k), row(j), factor, scaled);
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

    /// `to += factor * from`.
    unsafe fn add(&self, to: *mut f32, from: *const f32, factor: f32, scaled: Scaled) {
        // Safety: the caller's.
        unsafe {
            if self.to[1] == 1 {
                scaled(self.width, to, from, &raw const factor);
                return;
            }
            for c in 0..self.width as isize {
                *to.wrapping_offset(c * self.to[1]) += factor * *from.wrapping_offset(c * self.to[1]);
            }
        }
    }
}
