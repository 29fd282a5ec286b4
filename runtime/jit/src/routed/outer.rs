//! The sum of the products of points, group by group: gradients of chosen matrices.

use super::{POINTS, Sequence, at, parts, rows, times};
use crate::gemm::gathered::Outer;
use crate::kernels::{Scaled, Scratch, Shared, part};
use crate::pool::Pool;
use crate::primitives::Primitives;
use ogive_graph::kernel::RoutedOuter;
use std::ops::Range;

/// Most tasks that the groups are handed out in.
const TASKS: u64 = 64;

/// Computes all groups; those without points are zero. A task has some groups, and some rows of them.
pub(crate) fn routed_outer(
    r: &RoutedOuter,
    primitives: &'static Primitives,
    args: &[*mut u8],
    pool: &Pool,
    scratch: &Scratch,
    scaled: Scaled,
) {
    let pointers = Shared([args[0], args[1], args[2], args[3], args[4]]);
    let groups = Sequence::new(&r.runs, args[2], args[3]).groups;
    let shares = groups.min(TASKS);
    pool.run((times(&r.batch) * shares * r.m_parts) as usize, &|task, worker| {
        let (m_part, rest) = (task as u64 % r.m_parts, task as u64 / r.m_parts);
        let (share, batch) = (rest % shares, at(&r.batch, rest / shares));
        let [x, y, sequence, ends, out] = pointers.get();
        let moved = |p: *mut u8, o: i64| p.cast::<f32>().wrapping_offset(o as isize);
        let operands = [moved(x, batch[0]), moved(y, batch[1]), moved(out, batch[2])];
        let sequence = Sequence::new(&r.runs, sequence, ends);
        let own = share * groups / shares..(share + 1) * groups / shares;
        let (first, end) = part(r.m, r.m_parts, m_part);
        // Safety: the plan's strides stay within the operands; tasks have groups and rows of their own.
        unsafe { task_of(r, primitives, operands, sequence, own, first..end, scratch.of(worker), scaled) };
    });
}

unsafe fn task_of(
    r: &RoutedOuter,
    primitives: &'static Primitives,
    [x, y, out]: [*mut f32; 3],
    sequence: Sequence<'_>,
    groups: Range<u64>,
    lines: Range<u64>,
    scratch: *mut u8,
    scaled: Scaled,
) {
    if lines.is_empty() {
        return;
    }
    let (space, lists) = parts(scratch);
    let first = lines.start as i64;
    let x = x.wrapping_offset((first * r.a) as isize);
    let mut product = Outer {
        m: (lines.end - lines.start) as usize,
        n: r.n as usize,
        k: 0,
        a: r.a as isize,
        b: r.b as isize,
        c: r.c.map(|s| s as isize),
        add: false,
    };
    let sums = times(&r.sums);
    let thin = r.m == 1 && r.b == 1 && r.c[1] == 1;
    sequence.runs(groups, 0..sequence.points, |group, run| {
        let [matrix] = super::place(&r.runs.groups, group);
        let out = out.wrapping_offset((matrix + first * r.c[0]) as isize);
        if run.is_empty() || thin {
            // Safety: the caller's.
            unsafe { zeros(out, &product) };
        }
        for start in run.clone().step_by(POINTS) {
            let end = (start + POINTS as u64).min(run.end);
            rows(&sequence, &r.points, start..end, lists);
            product.k = (end - start) as usize;
            for s in 0..sums {
                let moved = at(&r.sums, s);
                let (x, y) = (x.wrapping_offset(moved[0] as isize), y.wrapping_offset(moved[1] as isize));
                product.add = s > 0 || start > run.start;
                // Safety: the caller's.
                unsafe {
                    if thin {
                        for l in 0..product.k {
                            scaled(product.n, out, y.offset(*lists[1].add(l)), x.offset(*lists[0].add(l)));
                        }
                    } else {
                        (primitives.outer())(&raw const product, x, lists[0], y, lists[1], out, space);
                    }
                }
            }
        }
    });
}

/// Clears a matrix.
unsafe fn zeros(out: *mut f32, product: &Outer) {
    for i in 0..product.m {
        for j in 0..product.n {
            // Safety: the caller's.
            unsafe { out.offset(i as isize * product.c[0] + j as isize * product.c[1]).write(0.0) };
        }
    }
}
