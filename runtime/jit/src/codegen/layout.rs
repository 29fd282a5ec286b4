//! Before code: in which pass over the row each instruction runs, how long a tile is, and where registers lie in scratch memory.
//!
//! A pass runs scalars of the row first, then its row instructions tile by tile. A reduction's result is a scalar of the next pass. Rows that
//! a later pass reads are kept whole, unless they lie in an argument's memory anyway. Instructions side by side are computed together where
//! that pays (`runs`); what only they read has no memory at all.

use super::runs::{self, Part};
use ogive_graph::kernel::{Reg, RowOp, Rows, uses};

/// Rows up to this many elements are one tile.
const WHOLE: u64 = 2048;
/// Elements of a tile of longer rows.
const TILE: u64 = 1024;
/// Bytes of a result that no cache would hold until it is read.
const STREAMED: u64 = 1 << 25;
/// Alignment in scratch.
const ALIGN: u64 = 64;

/// Where a register is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Home {
    /// Nowhere: stores and folds.
    None,
    /// At a byte offset in scratch: one tile, or one scalar.
    Scratch(u64),
    /// At a byte offset in scratch: the whole row.
    Whole(u64),
    /// In the memory that this instruction (a contiguous load or store, or a scalar's load) addresses.
    Memory(Reg),
    /// Computed inside the instruction that uses it.
    Inside,
    /// In registers of the loop that computes it.
    Register,
}

/// The arrangement of one program.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Pass of each instruction.
    pub(crate) level: Vec<u32>,
    /// Instructions of each pass: scalars, then rows.
    pub(crate) passes: Vec<(Vec<Reg>, Vec<Reg>)>,
    /// The rows of each pass in parts.
    pub(super) parts: Vec<Vec<Part>>,
    /// Elements of a tile.
    pub(crate) tile: u64,
    /// Where each register is.
    pub(crate) home: Vec<Home>,
    /// Bytes of scratch.
    pub(crate) scratch: u64,
}

/// Whether the instruction walks its row as a whole: a row instruction, or one that makes a scalar of a row.
pub(crate) fn in_row(rows: &Rows, r: Reg) -> bool {
    let instr = &rows.instrs[r as usize];
    match &instr.op {
        RowOp::Reduce { row, .. } | RowOp::ArgMax { row } | RowOp::Element { row, .. } => rows.instrs[*row as usize].row,
        RowOp::Store { at, .. } => instr.row || at.inner.iter().any(|&s| s != 0),
        _ => instr.row,
    }
}

/// Whether an access reads or writes neighbouring elements.
pub(crate) fn contiguous(rows: &Rows, inner: &[i64]) -> bool {
    rows.inner.len() == 1 && inner == [1]
}

/// Arranges a program.
pub(crate) fn arrange(rows: &Rows) -> Layout {
    let count = rows.instrs.len();
    let level = levels(rows);
    let last = level.iter().copied().max().unwrap_or(0);
    let mut passes: Vec<(Vec<Reg>, Vec<Reg>)> = vec![(Vec::new(), Vec::new()); last as usize + 1];
    for r in 0..count as Reg {
        let pass = &mut passes[level[r as usize] as usize];
        if in_row(rows, r) { pass.1.push(r) } else { pass.0.push(r) }
    }
    let needs_whole = rows.inner.len() > 1 || rows.instrs.iter().any(|i| matches!(i.op, RowOp::ArgMax { .. } | RowOp::Element { .. }));
    let len = rows.row_len();
    let tile = if needs_whole || len <= WHOLE { len } else { TILE };
    let mut layout = Layout { level, passes, parts: Vec::new(), tile, home: vec![Home::None; count], scratch: 0 };
    inside(rows, &mut layout);
    layout.parts = layout.passes.iter().map(|(_, instrs)| runs::split(rows, &layout.home, instrs)).collect();
    homes(rows, &mut layout);
    layout
}

fn levels(rows: &Rows) -> Vec<u32> {
    let mut level = vec![0u32; rows.instrs.len()];
    for (i, instr) in rows.instrs.iter().enumerate() {
        let ready = |r: &Reg| {
            let makes_scalar = in_row(rows, *r) && !rows.instrs[*r as usize].row;
            level[*r as usize] + u32::from(makes_scalar)
        };
        let mut own = uses(&instr.op).iter().map(ready).max().unwrap_or(0);
        if let RowOp::Store { over, .. } = &instr.op {
            for (j, other) in rows.instrs[..i].iter().enumerate() {
                let reads = |r: &Reg| matches!(&rows.instrs[*r as usize].op, RowOp::Load { arg, .. } if over.contains(arg));
                if uses(&other.op).iter().any(reads) {
                    own = own.max(level[j]);
                }
            }
        }
        level[i] = own;
    }
    level
}

/// Chooses homes: registers of a pass share tiles of scratch as their lives allow.
fn homes(rows: &Rows, layout: &mut Layout) {
    let count = rows.instrs.len();
    let parts: Vec<Part> = layout
        .passes
        .iter()
        .zip(&layout.parts)
        .flat_map(|((scalars, _), parts)| scalars.iter().map(|&r| Part::Call(r)).chain(parts.iter().cloned()))
        .collect();
    let sequence: Vec<Reg> = parts.iter().flat_map(Part::instrs).copied().collect();
    let mut at = vec![0usize; count];
    for (i, &r) in sequence.iter().enumerate() {
        at[r as usize] = i;
    }
    // A loop's instructions run as one: first and last of them.
    let (mut first, mut end, mut number) = (vec![0usize; count], vec![0usize; count], vec![0usize; count]);
    for (n, part) in parts.iter().enumerate() {
        let places = || part.instrs().iter().map(|&r| at[r as usize]);
        for &r in part.instrs() {
            number[r as usize] = n;
            first[r as usize] = places().min().unwrap_or(0);
            end[r as usize] = places().max().unwrap_or(0);
        }
    }
    let mut last = at.clone();
    let mut crosses = vec![false; count];
    for (i, instr) in rows.instrs.iter().enumerate() {
        for r in uses(&instr.op) {
            let r = r as usize;
            last[r] = last[r].max(at[i]);
            crosses[r] |= layout.level[r] != layout.level[i];
        }
    }
    for (r, held) in runs::held(rows, &layout.home, &parts, &number).into_iter().enumerate() {
        if held && layout.home[r] == Home::None && !matches!(rows.instrs[r].op, RowOp::Store { .. } | RowOp::Accumulate { .. }) {
            layout.home[r] = Home::Register;
        }
    }
    for i in 0..count {
        let Home::Inside = layout.home[i] else { continue };
        // What an inner product reads must live until it is computed.
        for r in uses(&rows.instrs[i].op) {
            last[r as usize] = last[r as usize].max(last[i]);
        }
    }
    // What a loop reads and what it writes must not share memory, except element by element.
    let until: Vec<usize> = last.iter().map(|&place| end[sequence[place] as usize]).collect();
    let mut top = 0u64;
    let mut take = |bytes: u64| {
        let offset = top;
        top += bytes.div_ceil(ALIGN) * ALIGN;
        offset
    };
    let tiled = layout.tile < rows.row_len();
    let mut free: Vec<u64> = Vec::new();
    let mut busy: Vec<(usize, u64)> = Vec::new();
    for &r in &sequence {
        busy.retain(|&(until, offset)| {
            let alive = until >= first[r as usize];
            if !alive {
                free.push(offset);
            }
            alive
        });
        let r = r as usize;
        let instr = &rows.instrs[r];
        if layout.home[r] != Home::None {
            continue;
        }
        layout.home[r] = match &instr.op {
            RowOp::Store { .. } | RowOp::Accumulate { .. } => Home::None,
            RowOp::Load { at, .. } if !instr.row || contiguous(rows, &at.inner) => Home::Memory(r as Reg),
            _ if !instr.row => Home::Scratch(take(8)),
            _ => match stored_at_once(rows, layout, &at, &last, r) {
                Some(store) => Home::Memory(store),
                None if tiled && crosses[r] => Home::Whole(take(rows.row_len() * 4)),
                None => {
                    let offset = free.pop().unwrap_or_else(|| take(layout.tile * 4));
                    busy.push((until[r], offset));
                    Home::Scratch(offset)
                }
            },
        };
    }
    layout.scratch = top;
}

/// Whether a store is of more memory than caches hold, so that it should pass them by.
pub(crate) fn streams(rows: &Rows, store: Reg) -> bool {
    use ogive_graph::DType;
    let instr = &rows.instrs[store as usize];
    let RowOp::Store { at, over, .. } = &instr.op else { return false };
    let bytes = rows.rows() * rows.row_len() * 4;
    let each_row = at.outer.iter().all(|&s| s != 0);
    each_row && instr.row && over.is_empty() && instr.dtype == DType::F32 && contiguous(rows, &at.inner) && bytes >= STREAMED
}

/// The store that a row may be computed into: contiguous, and nothing later reads what it overwrites.
fn stored_at_once(rows: &Rows, layout: &Layout, at: &[usize], last: &[usize], r: usize) -> Option<Reg> {
    rows.instrs.iter().enumerate().find_map(|(i, instr)| {
        let RowOp::Store { at: access, value, over, .. } = &instr.op else { return None };
        if *value as usize != r
            || !instr.row
            || !contiguous(rows, &access.inner)
            || streams(rows, i as Reg)
            || instr.dtype != rows.instrs[r].dtype
        {
            return None;
        }
        let clear = rows.instrs.iter().enumerate().all(|(l, load)| match &load.op {
            RowOp::Load { arg, .. } => !over.contains(arg) || (last[l] <= at[r] && layout.level[l] == layout.level[r]),
            _ => true,
        });
        clear.then_some(i as Reg)
    })
}

/// Products that only a sum reads: the sum computes them.
fn inside(rows: &Rows, layout: &mut Layout) {
    use ogive_graph::{DType, MapFn, ReduceFn};
    let mut used = vec![0u32; rows.instrs.len()];
    for r in rows.instrs.iter().flat_map(|i| uses(&i.op)) {
        used[r as usize] += 1;
    }
    for (i, instr) in rows.instrs.iter().enumerate() {
        let (value, whole) = match &instr.op {
            RowOp::Reduce { f: ReduceFn::Sum, row } => (*row as usize, true),
            RowOp::Accumulate { f: ReduceFn::Sum, value, .. } => (*value as usize, false),
            _ => continue,
        };
        let product = &rows.instrs[value];
        let RowOp::Map { f: MapFn::Mul, args } = &product.op else { continue };
        let vectors = args.iter().filter(|r| rows.instrs[**r as usize].row).count();
        let fits = product.row && product.dtype == DType::F32 && used[value] == 1 && layout.level[value] == layout.level[i];
        if fits && (vectors == 2 || (!whole && vectors == 1)) {
            layout.home[value] = Home::Inside;
        }
    }
}
