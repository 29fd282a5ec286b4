//! Selection and products with chosen matrices: the best positions of a row, points sorted by position, one product per run of points.
//!
//! Nothing here is larger than the points or the operands: rows are gathered straight into the packed blocks of the products. Every element of a
//! result is computed by one task, in an order that is fixed by sizes and positions only.

mod direct;
mod grouped;
mod outer;
mod route;
mod search;
mod topk;

pub(crate) use direct::routed_rows;
pub(crate) use grouped::routed;
pub(crate) use outer::routed_outer;
pub(crate) use route::{route, route_scratch};
pub(crate) use topk::{SCORES, top_k, top_k_scratch};

use crate::gemm::gathered::SPACE;
use crate::kernels::offset;
use ogive_graph::kernel::{GemmLoop, Runs};

/// Points whose rows are looked up at a time.
pub(crate) const POINTS: usize = 2048;

/// Bytes of scratch that products over runs need: packed blocks and two lists of rows.
pub(crate) const RUN_SCRATCH: u64 = (SPACE * 4 + POINTS * 16).next_multiple_of(64) as u64;

/// The parts of [`RUN_SCRATCH`]: space of the products, two lists of [`POINTS`] offsets.
fn parts(scratch: *mut u8) -> (*mut f32, [*mut isize; 2]) {
    let lists = scratch.cast::<isize>();
    (scratch.wrapping_add(POINTS * 16).cast(), [lists, lists.wrapping_add(POINTS)])
}

/// Number of points of some dims.
fn count<S>(dims: &[(u64, S)]) -> u64 {
    dims.iter().map(|d| d.0).product()
}

/// Number of iterations of some loops.
fn times(loops: &[GemmLoop]) -> u64 {
    loops.iter().map(|l| l.size).product()
}

/// Offsets of iteration `index` of some loops.
fn at(loops: &[GemmLoop], mut index: u64) -> [i64; 3] {
    let mut out = [0; 3];
    for l in loops.iter().rev() {
        let i = (index % l.size) as i64;
        index /= l.size;
        for (o, s) in out.iter_mut().zip(l.strides) {
            *o += i * s;
        }
    }
    out
}

/// A sequence and its ends in memory. Entries that no sort makes are brought into range, so that none leads out of the operands.
#[derive(Clone, Copy)]
struct Sequence<'a> {
    runs: &'a Runs,
    sequence: *const i32,
    ends: *const i32,
    points: u64,
    groups: u64,
}

impl<'a> Sequence<'a> {
    fn new(runs: &'a Runs, sequence: *const u8, ends: *const u8) -> Self {
        Sequence { runs, sequence: sequence.cast(), ends: ends.cast(), points: count(&runs.sequence), groups: count(&runs.groups) }
    }

    /// Where the run of a group ends.
    fn end(&self, group: u64) -> u64 {
        let [o] = place(&self.runs.ends, group);
        // Safety: a place of the ends.
        let end = unsafe { self.ends.wrapping_offset(o as isize).read() };
        u64::try_from(end).unwrap_or(0).min(self.points)
    }

    /// The point at place `k` of the sequence.
    fn point(&self, k: u64) -> u64 {
        let [o] = place(&self.runs.sequence, k);
        // Safety: a place of the sequence.
        let point = unsafe { self.sequence.wrapping_offset(o as isize).read() };
        u64::from(point.cast_unsigned()).min(self.points - 1)
    }

    /// Calls `body` with every group and the part of its run in `first .. end` of the sequence, if there is any or all are wanted.
    fn runs(&self, groups: std::ops::Range<u64>, within: std::ops::Range<u64>, mut body: impl FnMut(u64, std::ops::Range<u64>)) {
        let mut start = if groups.start == 0 { 0 } else { self.end(groups.start - 1) };
        for group in groups {
            let end = self.end(group).max(start);
            body(group, start.max(within.start)..end.min(within.end).max(start.max(within.start)));
            start = end;
        }
    }
}

/// The offset of an element by its row-major number.
fn place(dims: &[(u64, i64)], index: u64) -> [i64; 1] {
    let mut left = index;
    let mut out = 0;
    for &(size, stride) in dims.iter().rev() {
        out += (left % size) as i64 * stride;
        left /= size;
    }
    [out]
}

/// The offsets of the points at places `places` of the sequence, in two operands.
fn rows(sequence: &Sequence<'_>, dims: &[(u64, [i64; 2])], places: std::ops::Range<u64>, lists: [*mut isize; 2]) {
    for (i, k) in places.enumerate() {
        let [a, b] = offset(dims, sequence.point(k));
        // Safety: lists hold `POINTS` entries.
        unsafe {
            lists[0].add(i).write(a as isize);
            lists[1].add(i).write(b as isize);
        }
    }
}
