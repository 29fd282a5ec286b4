//! Rows times chosen vectors, point by point: mixes of chosen rows, and dot products with chosen rows.

use super::{at, count, times};
use crate::codegen::Context;
use crate::kernels::{Dot, Scaled, Shared, offset, points};
use crate::pool::Pool;
use ogive_graph::kernel::RoutedRows;

/// Computes all rows. A position outside its axis is noted and counts as the first.
pub(crate) fn routed_rows(r: &RoutedRows, args: &[*mut u8], pool: &Pool, context: &Context, dot: Dot, scaled: Scaled) {
    let rows = count(&r.rows);
    let (batches, sums) = (times(&r.batch), times(&r.sums));
    let pointers = Shared([args[0], args[1], args[2], args[3]]);
    pool.run(r.chunks as usize, &|chunk, _| {
        let chunk = chunk as u64;
        let [x, w, positions, out] = pointers.get();
        let moved = |p: *mut u8, o: i64| p.cast::<f32>().wrapping_offset(o as isize);
        for row in (chunk * rows / r.chunks)..((chunk + 1) * rows / r.chunks) {
            let here = offset(&r.rows, row);
            for b in 0..batches {
                let batch = at(&r.batch, b);
                let to = moved(out, here[3] + batch[2]);
                // Safety: the plan's strides stay within the operands; rows of the result are this chunk's own.
                unsafe { zeros(r, to) };
                points(&r.inner, here, &mut |[x_at, w_at, p_at, _]| {
                    // Safety: strides stay within the positions.
                    let found = unsafe { positions.cast::<i32>().wrapping_offset(p_at as isize).read() };
                    let known = found >= 0 && (found as u64) < r.experts.0;
                    if !known {
                        context.out_of_range(r.site, found);
                    }
                    let chosen = w_at + if known { i64::from(found) * r.experts.1 } else { 0 };
                    for s in 0..sums {
                        let sum = at(&r.sums, s);
                        let (x, w) = (moved(x, x_at + batch[0] + sum[0]), moved(w, chosen + batch[1] + sum[1]));
                        // Safety: as above.
                        unsafe { add(r, x, w, to, dot, scaled) };
                    }
                });
            }
        }
    });
}

unsafe fn zeros(r: &RoutedRows, to: *mut f32) {
    for j in 0..r.n {
        // Safety: the caller's.
        unsafe { to.wrapping_offset((j as i64 * r.c) as isize).write(0.0) };
    }
}

/// Adds a row of x times a matrix of w.
unsafe fn add(r: &RoutedRows, x: *const f32, w: *const f32, to: *mut f32, dot: Dot, scaled: Scaled) {
    let (n, k) = (r.n as usize, r.k as usize);
    let (a, [row, column], c) = (r.a as isize, r.b.map(|s| s as isize), r.c as isize);
    // Safety: the caller's.
    unsafe {
        if n == 1 && a == 1 && row == 1 {
            *to += dot(k, x, w);
        } else if column == 1 && c == 1 {
            for l in 0..k as isize {
                scaled(n, to, w.offset(l * row), x.offset(l * a));
            }
        } else {
            for j in 0..n as isize {
                let term = |l: isize| f64::from(*x.offset(l * a)) * f64::from(*w.offset(l * row + j * column));
                let sum: f64 = (0..k as isize).map(term).sum();
                *to.offset(j * c) += sum as f32;
            }
        }
    }
}
