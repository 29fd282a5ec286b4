//! Row programs that fold few long rows: workers take pieces of the rows, whose accumulators are apart, where chunks of rows would each
//! need accumulators of their own.

use super::Planner;
use super::rows::{Folded, worth};
use crate::kernel::{RowOp, Rows};
use crate::plan::{Slot, Step};

/// Most pieces.
const PIECES: u64 = 8;
/// Elements that a piece of a row has at least.
const SHORTEST: u64 = 256;

/// How many pieces the rows of a program are worth, by their slowest inner dim; one where chunks are more.
pub(super) fn pieces(rows: &Rows, folds: &[Folded]) -> u64 {
    let Some(&size) = rows.inner.first() else { return 1 };
    let folds_rows = !folds.is_empty() && folds.iter().all(|f| f.row);
    if !folds_rows || rows.block.is_some() || !rows.instrs.iter().all(|i| is_apart(&i.op)) {
        return 1;
    }
    let most = worth(rows).min(PIECES).min(rows.inner_len() / SHORTEST);
    let found = (1..=most).rev().find(|p| p.is_power_of_two() && size.is_multiple_of(*p)).unwrap_or(1);
    if found >= rows.chunks { found } else { 1 }
}

/// Whether an instruction treats the elements of a row one by one and finds them by its arguments alone.
fn is_apart(op: &RowOp) -> bool {
    match op {
        RowOp::Reduce { .. } | RowOp::ArgMax { .. } | RowOp::Element { .. } | RowOp::Random { .. } => false,
        RowOp::Iota { at } => at.inner.first().is_none_or(|&s| s == 0),
        RowOp::Const(_) | RowOp::Load { .. } | RowOp::Pick { .. } | RowOp::Map { .. } | RowOp::Fused { .. } => true,
        RowOp::Slope { .. } | RowOp::Store { .. } | RowOp::Accumulate { .. } => true,
    }
}

/// A program for one of so many pieces, with arguments that move from piece to piece of loop `id`.
fn piece(rows: &Rows, slots: &[Slot], pieces: u64, id: u32) -> (Rows, Vec<Slot>) {
    let (mut rows, mut slots) = (rows.clone(), slots.to_vec());
    let size = rows.inner[0] / pieces;
    // Accumulators lie densely.
    let dense = i64::try_from(rows.inner_len() / rows.inner[0]).unwrap_or(i64::MAX);
    for instr in &rows.instrs {
        let (arg, stride) = match &instr.op {
            RowOp::Load { arg, at } | RowOp::Pick { arg, at, .. } | RowOp::Store { arg, at, .. } => (*arg, at.inner[0]),
            RowOp::Accumulate { arg, .. } => (*arg, dense),
            _ => continue,
        };
        let step = stride.saturating_mul(i64::try_from(size).unwrap_or(i64::MAX));
        if step != 0 {
            slots[arg as usize].moves.push((id, step));
        }
    }
    rows.inner[0] = size;
    (rows, slots)
}

impl Planner<'_> {
    /// A loop over pieces of a program's rows, in any order.
    pub(super) fn in_pieces(
        &mut self,
        rows: &Rows,
        slots: &[Slot],
        pieces: u64,
        launch: impl FnOnce(&mut Self, Rows, Vec<Slot>) -> Step,
    ) -> Step {
        let id = self.plan.loops;
        self.plan.loops += 1;
        let (rows, slots) = piece(rows, slots, pieces, id);
        let body = vec![launch(self, rows, slots)];
        Step::Loop { id, times: pieces, reverse: false, apart: true, body }
    }
}
