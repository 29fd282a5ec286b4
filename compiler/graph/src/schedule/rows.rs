//! Drafts of row programs: instructions with strides by axis. Finishing a draft chooses outer and inner dims, merges those that every access
//! walks alike, and fixes the chunks.

use super::peephole;
use super::storage::{Storage, merge_dims};
use crate::entity::AxisId;
use crate::graph::Graph;
use crate::kernel::{Access, Arg, FusedFn, Instr, Reg, RowOp, Rows};
use crate::op::{MapFn, ReduceFn};
use crate::plan::Slot;
use crate::shape::{DType, Shape};
use std::collections::BTreeMap;

/// Rows of straight programs over long runs of memory have this many elements.
const BLOCK: u64 = 1024;
/// Elements that make a chunk worth a task of its own.
const CHUNK: u64 = 1 << 14;
/// Effort, in additions, that makes a chunk worth a task of its own where elements alone do not.
const EFFORT: u64 = 1 << 15;
/// Most chunks.
const CHUNKS: u64 = 32;
/// Most chunks where each has accumulators of its own.
const FOLDED: u64 = 8;

/// Strides by axis.
pub(super) type Strides = BTreeMap<AxisId, i64>;

/// A fold over rows that leaves the program.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    /// How.
    pub f: ReduceFn,
    /// Argument of the accumulator.
    pub arg: u32,
    /// Where the result goes.
    pub to: Storage,
    /// Whether it keeps the inner axes.
    pub row: bool,
    /// Element type.
    pub dtype: DType,
}

/// A row program in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// Axes visited, slowest first.
    pub axes: Vec<AxisId>,
    /// Axes of a row, where fixed.
    pub inner: Option<Shape>,
    /// Instructions; accesses are empty until the end.
    pub instrs: Vec<Instr>,
    accesses: Vec<Option<Strides>>,
    /// Memory of the arguments.
    pub slots: Vec<Slot>,
    /// Types of the arguments.
    pub args: Vec<Arg>,
    /// Folds over rows.
    pub folds: Vec<Folded>,
}

/// A finished draft.
pub(super) struct Finished {
    /// The program.
    pub rows: Rows,
    /// Inner axes, slowest first.
    pub inner: Vec<AxisId>,
}

impl Draft {
    /// An empty program over `axes`.
    pub(super) fn new(axes: Vec<AxisId>, inner: Option<Shape>) -> Draft {
        Draft { axes, inner, ..Draft::default() }
    }

    /// A new argument.
    pub(super) fn arg(&mut self, slot: Slot, dtype: DType, write: bool) -> u32 {
        self.slots.push(slot);
        self.args.push(Arg { dtype, write });
        self.args.len() as u32 - 1
    }

    /// Adds an instruction; `strides` are those of its access, if it has one.
    pub(super) fn push(&mut self, op: RowOp, dtype: DType, strides: Option<Strides>) -> Reg {
        self.instrs.push(Instr { op, dtype, row: false });
        self.accesses.push(strides);
        self.instrs.len() as Reg - 1
    }

    /// Reads a value's memory.
    pub(super) fn load(&mut self, from: &Storage, dtype: DType) -> Reg {
        let arg = self.arg(from.slot.clone(), dtype, false);
        self.push(RowOp::Load { arg, at: Access::default() }, dtype, Some(from.strides.clone()))
    }

    /// Writes a register to a value's memory.
    pub(super) fn store(&mut self, to: &Storage, value: Reg) -> Reg {
        let dtype = self.instrs[value as usize].dtype;
        let arg = self.arg(to.slot.clone(), dtype, true);
        self.push(RowOp::Store { arg, at: Access::default(), value, over: Vec::new() }, dtype, Some(to.strides.clone()))
    }

    /// Writes a register over memory that the program also reads, element by element.
    pub(super) fn store_over(&mut self, to: &Storage, value: Reg) {
        let same = |s: &Slot| s.buffer == to.slot.buffer;
        let own: Vec<u32> =
            (0..self.args.len() as u32).filter(|&a| !self.args[a as usize].write && same(&self.slots[a as usize])).collect();
        let at = self.store(to, value);
        if let RowOp::Store { over, .. } = &mut self.instrs[at as usize].op {
            *over = own;
        }
    }

    /// Folds a register over all rows into a value's memory.
    pub(super) fn fold(&mut self, f: ReduceFn, value: Reg, to: Storage, row: bool) {
        let dtype = self.instrs[value as usize].dtype;
        let arg = self.arg(to.slot.clone(), dtype, true);
        self.push(RowOp::Accumulate { f, arg, value }, dtype, None);
        self.folds.push(Folded { f, arg, to, row, dtype });
    }

    fn dims(&self, graph: &Graph, axes: &[AxisId]) -> Vec<(u64, Vec<i64>)> {
        let sizes: Vec<u64> = axes.iter().map(|&a| graph.size(a)).collect();
        let of = |s: &Strides| axes.iter().map(|a| s.get(a).copied().unwrap_or(0)).collect::<Vec<i64>>();
        merge_dims(&sizes, &self.accesses.iter().flatten().map(of).collect::<Vec<_>>())
    }

    /// Chooses dims and chunks; one chunk where one worker runs it `alone`.
    pub(super) fn finish(mut self, graph: &Graph, alone: bool) -> Finished {
        let (outer, inner, inner_axes) = match &self.inner {
            Some(set) => {
                let (inside, outside): (Vec<AxisId>, Vec<AxisId>) = self.axes.iter().partition(|a| set.contains(**a));
                (self.dims(graph, &outside), self.dims(graph, &inside), inside)
            }
            None => {
                let mut dims = self.dims(graph, &self.axes);
                let inner: Vec<_> = dims.pop().into_iter().collect();
                (dims, inner, Vec::new())
            }
        };
        let mut next = 0;
        for (instr, access) in self.instrs.iter_mut().zip(&self.accesses) {
            if access.is_none() {
                continue;
            }
            let pick = |dims: &[(u64, Vec<i64>)]| dims.iter().map(|d| d.1[next]).collect::<Vec<i64>>();
            let filled = Access { outer: pick(&outer), inner: pick(&inner) };
            next += 1;
            match &mut instr.op {
                RowOp::Load { at, .. }
                | RowOp::Pick { at, .. }
                | RowOp::Iota { at }
                | RowOp::Random { at, .. }
                | RowOp::Store { at, .. } => {
                    *at = filled;
                }
                _ => {}
            }
        }
        self.mark_rows();
        peephole::rewrite(&mut self.instrs);
        let mut rows = Rows {
            outer: outer.iter().map(|d| d.0).collect(),
            inner: inner.iter().map(|d| d.0).collect(),
            block: None,
            instrs: self.instrs,
            chunks: 1,
            args: self.args,
        };
        if self.inner.is_none() && rows.inner_len() > 2 * BLOCK {
            rows.block = Some(BLOCK);
        }
        // A chunk's accumulators are worth their folding where they take in many rows.
        let kept = self.folds.iter().any(|f| f.row);
        let most = if self.folds.is_empty() { CHUNKS } else { FOLDED };
        let most = if kept { most.min(rows.rows() / 16).max(1) } else { most };
        // Of few chunks a power of two, which any number of threads shares well.
        let wanted = worth(&rows).clamp(1, most);
        let wanted = if wanted < CHUNKS / 4 { wanted.next_power_of_two().min(most) } else { wanted };
        rows.chunks = if alone { 1 } else { wanted.min(rows.rows()) };
        rows.chunks = rows.rows().div_ceil(rows.rows_per_chunk());
        Finished { rows, inner: inner_axes }
    }

    fn mark_rows(&mut self) {
        for i in 0..self.instrs.len() {
            let is_row = |r: &Reg| self.instrs[*r as usize].row;
            let row = match &self.instrs[i].op {
                RowOp::Const(_) | RowOp::Element { .. } | RowOp::Reduce { .. } | RowOp::ArgMax { .. } => false,
                RowOp::Load { at, .. } | RowOp::Iota { at } | RowOp::Random { at, .. } => at.inner.iter().any(|&s| s != 0),
                RowOp::Pick { at, index, .. } => at.inner.iter().any(|&s| s != 0) || is_row(index),
                RowOp::Map { args, .. } | RowOp::Fused { args, .. } => args.iter().any(is_row),
                RowOp::Slope { of } => is_row(of),
                RowOp::Store { value, .. } | RowOp::Accumulate { value, .. } => is_row(value),
            };
            self.instrs[i].row = row;
        }
    }
}

/// How many tasks a program is worth.
pub(super) fn worth(rows: &Rows) -> u64 {
    let elements = rows.rows() * rows.row_len();
    let effort = rows.instrs.iter().map(|i| effort(&i.op)).sum::<u64>().saturating_mul(elements);
    (elements / CHUNK).max(effort / EFFORT)
}

/// Effort of an instruction for one element, in additions.
fn effort(op: &RowOp) -> u64 {
    use MapFn::{Cos, Erf, Exp, Log, Pow, Sigmoid, Sin, Tanh};
    match op {
        RowOp::Map { f: Exp | Log | Sin | Cos | Tanh | Sigmoid | Erf | Pow, .. } | RowOp::Random { .. } => 8,
        RowOp::Fused { f: FusedFn::Gelu | FusedFn::GeluSlope, .. } => 8,
        RowOp::Map { .. } | RowOp::Fused { .. } | RowOp::Reduce { .. } | RowOp::ArgMax { .. } | RowOp::Accumulate { .. } => 1,
        RowOp::Const(_) | RowOp::Load { .. } | RowOp::Iota { .. } | RowOp::Pick { .. } | RowOp::Element { .. } => 0,
        RowOp::Slope { .. } | RowOp::Store { .. } => 0,
    }
}
