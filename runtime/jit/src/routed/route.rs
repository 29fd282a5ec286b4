//! Points sorted by group: a counting sort, stable, so that runs are in the order of the points.

use super::{count, place};
use crate::codegen::Context;
use crate::kernels::{Scratch, points};
use ogive_graph::kernel::Route;

/// Bytes of scratch: a counter for every group.
pub(crate) fn route_scratch(r: &Route) -> u64 {
    count(&r.ends) * 4
}

/// Sorts on the calling thread. A position outside its axis is noted and counts as the first.
pub(crate) fn route(r: &Route, args: &[*mut u8], scratch: &Scratch, context: &Context) {
    let groups = count(&r.ends) as usize;
    let (positions, sequence, ends) = (args[0].cast::<i32>(), args[1].cast::<i32>(), args[2].cast::<i32>());
    // Safety: the scratch has a counter for each group, and nobody else runs.
    let next = unsafe { std::slice::from_raw_parts_mut(scratch.of(0).cast::<u32>(), groups) };
    next.fill(0);
    let group = |[p, group]: [i64; 2]| {
        // Safety: strides stay within the positions.
        let position = unsafe { positions.wrapping_offset(p as isize).read() };
        if position < 0 || position as u64 >= r.size {
            context.out_of_range(r.site, position);
            return group as usize;
        }
        group as usize + position as usize
    };
    points(&r.points, [0; 2], &mut |at| next[group(at)] += 1);
    let mut start = 0;
    for (g, n) in next.iter_mut().enumerate() {
        let end = start + *n;
        let [o] = place(&r.ends, g as u64);
        // Safety: a place of the ends.
        unsafe { ends.wrapping_offset(o as isize).write(end.cast_signed()) };
        (*n, start) = (start, end);
    }
    let mut number = 0;
    points(&r.points, [0; 2], &mut |at| {
        let slot = &mut next[group(at)];
        let [o] = place(&r.sequence, u64::from(*slot));
        // Safety: a place of the sequence.
        unsafe { sequence.wrapping_offset(o as isize).write(number) };
        *slot += 1;
        number += 1;
    });
}
