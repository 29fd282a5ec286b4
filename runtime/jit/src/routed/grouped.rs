//! One product per run of points: rows of x in the order of the sequence, times the group's matrix.

use super::{POINTS, Sequence, at, count, parts, rows, times};
use crate::gemm::gathered::Gathered;
use crate::kernels::{Scratch, Shared, part};
use crate::pool::Pool;
use crate::primitives::Primitives;
use ogive_graph::kernel::Routed;
use std::ops::Range;

/// Computes all products. A task has a part of the sequence, or, where points add to common rows, a part of the columns.
pub(crate) fn routed(r: &Routed, primitives: &'static Primitives, args: &[*mut u8], pool: &Pool, scratch: &Scratch) {
    let pointers = Shared([args[0], args[1], args[3], args[4], args[5]]);
    pool.run((times(&r.batch) * r.parts) as usize, &|task, worker| {
        let (index, batch) = (task as u64 % r.parts, at(&r.batch, task as u64 / r.parts));
        let [x, w, sequence, ends, out] = pointers.get();
        let moved = |p: *mut u8, o: i64| p.cast::<f32>().wrapping_offset(o as isize);
        let operands = [moved(x, batch[0]), moved(w, batch[1]), moved(out, batch[2])];
        let sequence = Sequence::new(&r.runs, sequence, ends);
        let all = sequence.points;
        // Safety: the plan's strides stay within the operands; tasks have rows or columns of their own.
        unsafe {
            if let Some(clear) = &r.add {
                let (first, end) = part(r.n, r.parts, index);
                zeros(clear, operands[2], r.c, first..end);
                task_of(r, primitives, operands, sequence, 0..all, first..end, scratch.of(worker));
            } else {
                let (first, end) = part(all, r.parts, index);
                task_of(r, primitives, operands, sequence, first..end, 0..r.n, scratch.of(worker));
            }
        }
    });
}

/// Clears some columns of all rows.
unsafe fn zeros(rows: &[(u64, i64)], out: *mut f32, column: i64, columns: Range<u64>) {
    for row in 0..count(rows) {
        let [o] = super::place(rows, row);
        for j in columns.clone() {
            // Safety: the caller's.
            unsafe { out.wrapping_offset((o + j as i64 * column) as isize).write(0.0) };
        }
    }
}

unsafe fn task_of(
    r: &Routed,
    primitives: &'static Primitives,
    [x, w, out]: [*mut f32; 3],
    sequence: Sequence<'_>,
    within: Range<u64>,
    columns: Range<u64>,
    scratch: *mut u8,
) {
    if columns.is_empty() || within.is_empty() {
        return;
    }
    let (space, lists) = parts(scratch);
    let first = columns.start as i64;
    let out = out.wrapping_offset((first * r.c) as isize);
    let mut product = Gathered {
        m: 0,
        n: (columns.end - columns.start) as usize,
        k: r.k as usize,
        a: r.a as isize,
        b: r.b.map(|s| s as isize),
        c: r.c as isize,
        add: r.add.is_some(),
    };
    sequence.runs(0..sequence.groups, within, |group, run| {
        let [matrix] = super::place(&r.runs.groups, group);
        let w = w.wrapping_offset((matrix + first * r.b[1]) as isize);
        for start in run.clone().step_by(POINTS) {
            let end = (start + POINTS as u64).min(run.end);
            rows(&sequence, &r.points, start..end, lists);
            product.m = (end - start) as usize;
            for s in 0..times(&r.sums) {
                let moved = at(&r.sums, s);
                product.add = s > 0 || r.add.is_some();
                let (x, w) = (x.wrapping_offset(moved[0] as isize), w.wrapping_offset(moved[1] as isize));
                // Safety: the caller's.
                unsafe { (primitives.gathered())(&raw const product, x, lists[0], w, out, lists[1], space) };
            }
        }
    });
}
