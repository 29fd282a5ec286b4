//! Which instructions of a pass are computed together, some elements at a time, so that what they hand on stays in registers.

use super::lanes;
use super::layout::{Home, contiguous, streams};
use ogive_graph::kernel::{FusedFn, Reg, RowOp, Rows, uses};
use ogive_graph::{DType, MapFn, ReduceFn};

/// What a pass does, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// A loop over the elements that computes all of these.
    Loop(Vec<Reg>),
    /// One instruction on the whole tile.
    Call(Reg),
}

impl Part {
    /// Its instructions.
    pub(super) fn instrs(&self) -> &[Reg] {
        match self {
            Part::Loop(run) => run,
            Part::Call(r) => std::slice::from_ref(r),
        }
    }
}

/// Rows this long are worth a call for each instruction, whose registers are wider, unless enough of them stay together.
const LONG: u64 = 128;
/// Instructions that do.
const ENOUGH: usize = 3;

/// Splits the row instructions of a pass.
pub(super) fn split(rows: &Rows, home: &[Home], instrs: &[Reg]) -> Vec<Part> {
    let mut out = Vec::new();
    let mut run = Vec::new();
    let end = |run: &mut Vec<Reg>, out: &mut Vec<Part>| {
        let work =
            run.iter().filter(|r| home[**r as usize] != Home::Inside && !matches!(rows.instrs[**r as usize].op, RowOp::Store { .. }));
        let together = rows.row_len() < LONG || work.count() >= ENOUGH;
        match std::mem::take(run) {
            run if together && !run.is_empty() => out.push(Part::Loop(run)),
            run => out.extend(run.into_iter().map(Part::Call)),
        }
    };
    for &r in instrs {
        if together(rows, r) {
            run.push(r);
        } else if is_memory(rows, r) {
            // Read where it is used.
            out.push(Part::Call(r));
        } else {
            end(&mut run, &mut out);
            out.push(Part::Call(r));
        }
    }
    end(&mut run, &mut out);
    out
}

/// A row that lies in memory as it is wanted.
fn is_memory(rows: &Rows, r: Reg) -> bool {
    let instr = &rows.instrs[r as usize];
    matches!(&instr.op, RowOp::Load { at, .. } if instr.row && contiguous(rows, &at.inner))
}

/// Whether an instruction can be part of a loop over elements.
fn together(rows: &Rows, r: Reg) -> bool {
    let instr = &rows.instrs[r as usize];
    let of = |r: Reg| &rows.instrs[r as usize];
    match &instr.op {
        RowOp::Map { f, args } => {
            let operand = of(if *f == MapFn::Where { args[1] } else { args[0] }).dtype;
            instr.row && lanes::known(*f, operand, instr.dtype)
        }
        RowOp::Fused { f, .. } => instr.row && matches!(f, FusedFn::MulAdd | FusedFn::SubMul),
        RowOp::Iota { .. } => instr.row && rows.inner.len() == 1,
        RowOp::Reduce { row, .. } => of(*row).row && instr.dtype == DType::F32,
        RowOp::Accumulate { f, value, .. } => *f == ReduceFn::Sum && of(*value).row && instr.dtype == DType::F32,
        RowOp::Store { at, value, .. } => of(*value).dtype != DType::F64 && contiguous(rows, &at.inner) && !streams(rows, r),
        _ => false,
    }
}

/// Registers whose every reader is in the loop that computes them.
pub(super) fn held(rows: &Rows, home: &[Home], parts: &[Part], number: &[usize]) -> Vec<bool> {
    let mut held = vec![false; rows.instrs.len()];
    for part in parts {
        let Part::Loop(run) = part else { continue };
        for &r in run {
            held[r as usize] = rows.instrs[r as usize].row;
        }
    }
    for (i, instr) in rows.instrs.iter().enumerate() {
        if home[i] == Home::Inside {
            continue;
        }
        for r in read(rows, home, &instr.op) {
            held[r as usize] &= number[r as usize] == number[i];
        }
    }
    held
}

/// What an instruction reads, with the operands of products that it computes itself.
pub(super) fn read(rows: &Rows, home: &[Home], op: &RowOp) -> Vec<Reg> {
    let inner = |r: Reg| if home[r as usize] == Home::Inside { uses(&rows.instrs[r as usize].op) } else { vec![r] };
    uses(op).into_iter().flat_map(inner).collect()
}
