//! Asks for memory before it is needed.

use super::emit::Emitter;
use super::layout::contiguous;
use super::{prefetch, prefetch_to_write};
use cranelift_codegen::ir::{InstBuilder, Value};
use ogive_graph::kernel::{Access, Reg, RowOp};

/// Bytes that a program walks over before it pays to ask ahead.
const AHEAD: u64 = 1 << 20;
/// Bytes of rows that are asked for at a time.
const GROUP: i64 = 1024;

impl Emitter<'_> {
    /// Where the memory of the next row begins, and its bytes, for all that is read row after row. Hardware looks ahead within a page only,
    /// so the row's instructions ask for the next row's memory, each for a share.
    pub(super) fn next_row(&mut self) -> Vec<(Value, i64)> {
        let mut out = Vec::new();
        if !self.far() {
            return out;
        }
        for r in 0..self.rows.instrs.len() as Reg {
            let RowOp::Load { at, .. } = self.op(r) else { continue };
            let bytes = self.rows.row_len() as i64 * self.bytes(r);
            if let Some(base) = self.base[r as usize]
                && let Some(step) = self.step_of(at)
                && bytes >= GROUP
            {
                out.push((self.beyond(base, step * self.bytes(r)), bytes));
            }
        }
        out
    }

    /// Whether it pays to ask ahead.
    fn far(&self) -> bool {
        let rows = self.rows;
        rows.rows() >= 16 && self.layout.tile >= rows.row_len() && rows.rows() * rows.row_len() * 4 >= AHEAD
    }

    /// Elements from an access to the next row's, where they differ.
    fn step_of(&self, at: &Access) -> Option<i64> {
        let step = match (self.rows.block, at.outer.last()) {
            (Some(block), _) => block as i64,
            (None, Some(&stride)) => stride,
            (None, None) => 0,
        };
        (step != 0 && contiguous(self.rows, &at.inner)).then_some(step)
    }

    /// Asks for shares `done .. done + count` of the next row, of as many as there are row instructions.
    pub(super) fn look_ahead(&mut self, count: usize) {
        let parts: usize = self.layout.passes.iter().map(|p| p.1.len()).sum();
        for (start, bytes) in self.ahead.clone() {
            let lines = (bytes as usize).div_ceil(64);
            let (from, to) = (lines * self.done / parts, lines * (self.done + count) / parts);
            if from < to {
                let (at, bytes) = (self.beyond(start, from as i64 * 64), self.int((to - from) as i64 * 64));
                self.call(prefetch as *const u8, &[at, bytes], None);
            }
        }
        self.done += count;
    }

    /// Short rows that lie one behind the other: every so many of them ask for the memory of as many to come, also for what is written.
    pub(super) fn next_rows(&mut self, row: Value) {
        let rows = self.rows;
        let length = rows.row_len() as i64 * 4;
        if !self.far() || rows.block.is_some() || length >= GROUP || GROUP % length != 0 {
            return;
        }
        let mut found = Vec::new();
        for r in 0..rows.instrs.len() as Reg {
            let (at, write) = match self.op(r) {
                RowOp::Load { at, .. } => (at, false),
                RowOp::Store { at, .. } => (at, true),
                _ => continue,
            };
            let mut behind = rows.row_len() as i64;
            let dense = rows.outer.iter().zip(&at.outer).rev().all(|(&size, &stride)| {
                let dense = stride == behind || size == 1;
                behind *= size as i64;
                dense
            });
            if let Some(base) = self.base[r as usize]
                && dense
                && self.step_of(at).is_some()
            {
                found.push((base, write));
            }
        }
        if found.is_empty() {
            return;
        }
        let within = self.b.ins().band_imm_s(row, GROUP / length - 1);
        let (ask, done) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(within, done, &[], ask, &[]);
        self.b.switch_to_block(ask);
        for (base, write) in found {
            let (at, bytes) = (self.beyond(base, GROUP), self.int(GROUP));
            self.call(if write { prefetch_to_write as *const u8 } else { prefetch as *const u8 }, &[at, bytes], None);
        }
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(done);
    }
}
