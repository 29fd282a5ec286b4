//! Row groups as row programs, and copies.

use super::pieces::pieces;
use super::region::Frame;
use super::rows::{Draft, Folded, Strides};
use super::storage::{Storage, merge_dims};
use super::{Planner, Unsupported};
use crate::entity::{AxisId, Value};
use crate::fuse::{self, Class, Group, class, domain, domain_of, reduction};
use crate::graph::{Node, Region};
use crate::kernel::{Access, Fold, Reg, RowOp, Work};
use crate::op::{MapFn, Op};
use crate::plan::{Site, Slot, Step};
use crate::shape::{DType, Shape, Ty};
use std::collections::BTreeMap;

/// Registers of the values of a group.
struct Registers {
    of: BTreeMap<Value, Reg>,
}

impl<'g> Planner<'g> {
    /// Plans a row group.
    pub(super) fn row_group(&mut self, frame: &mut Frame<'g>, group: &Group) -> Result<(), Unsupported> {
        let axes = domain::lead(frame.region, frame.layout, &group.members, &group.domain);
        let mut draft = Draft::new(axes, group.inner.clone());
        let mut registers = Registers { of: BTreeMap::new() };
        let mut in_place = Vec::new();
        for &v in &group.members {
            let Some(reg) = self.row_node(frame, group, &mut draft, &mut registers, v) else { continue };
            registers.of.insert(v, reg);
            if !frame.kept.contains(&v) {
                continue;
            }
            let to = self.place_of(frame, v);
            if frame.in_place.contains(&v) {
                in_place.push((v, to));
            } else {
                draft.store(&to, reg);
            }
        }
        for (v, to) in in_place {
            let mut reg = registers.of[&v];
            if matches!(draft.instrs[reg as usize].op, RowOp::Load { .. }) {
                let dtype = frame.region.ty(v).dtype;
                reg = draft.push(RowOp::Map { f: MapFn::StopGradient, args: vec![reg] }, dtype, None);
            }
            draft.store_over(&to, reg);
        }
        let title = fuse::title(frame.region, group);
        let node = frame.region.node(group.members[group.members.len() - 1]);
        self.finish_rows(&mut frame.steps, draft, &title, node);
        Ok(())
    }

    /// Instructions of one node; `None` where its result leaves the program by a fold.
    fn row_node(&mut self, frame: &mut Frame<'g>, group: &Group, draft: &mut Draft, regs: &mut Registers, v: Value) -> Option<Reg> {
        let node = frame.region.node(v);
        let dtype = node.ty.dtype;
        let operands = fuse::register_operands(frame.region, v).to_vec();
        let args: Vec<Reg> = operands.iter().map(|&o| self.operand(frame, group, draft, regs, o)).collect();
        let reduced = match &node.op {
            Op::Map(f) => {
                let same = matches!(f, MapFn::StopGradient) || (*f == MapFn::Cast && draft.instrs[args[0] as usize].dtype == dtype);
                return Some(if same { args[0] } else { draft.push(RowOp::Map { f: *f, args }, dtype, None) });
            }
            Op::Random(random) => {
                let strides = dense_strides(self, &random.order);
                let op = RowOp::Random { distribution: random.distribution, site: random.site, inputs: args, at: Access::default() };
                return Some(draft.push(op, dtype, Some(strides)));
            }
            Op::Gather(axis) => {
                let table = self.memory(frame, node.inputs[0]);
                let site = self.site(*axis, node);
                let stride = table.stride(*axis);
                let mut strides = table.strides.clone();
                strides.remove(axis);
                let arg = draft.arg(table.slot, dtype, false);
                let op = RowOp::Pick { arg, at: Access::default(), index: args[0], stride, size: self.graph.size(*axis), site };
                return Some(draft.push(op, dtype, Some(strides)));
            }
            Op::Contract(_) => draft.push(RowOp::Map { f: MapFn::Mul, args }, dtype, None),
            _ => args[0],
        };
        let (f, over) = reduction(frame.region, v)?;
        let own = domain_of(frame.region, v);
        let Some(f) = f else { return Some(draft.push(RowOp::ArgMax { row: reduced }, dtype, None)) };
        if own == group.domain && group.inner.as_ref() == Some(&over) {
            return Some(draft.push(RowOp::Reduce { f, row: reduced }, dtype, None));
        }
        let keeps_row = own == group.domain && over != own;
        let value = if own == group.domain && !keeps_row { draft.push(RowOp::Reduce { f, row: reduced }, dtype, None) } else { reduced };
        let to = self.place_of(frame, v);
        draft.fold(f, value, to, keeps_row);
        None
    }

    /// The register of an operand, loaded or repeated here where it comes from outside.
    fn operand(&mut self, frame: &mut Frame<'g>, group: &Group, draft: &mut Draft, regs: &mut Registers, v: Value) -> Reg {
        if let Some(&reg) = regs.of.get(&v) {
            return reg;
        }
        let node = frame.region.node(v);
        let reg = match (&node.op, class(frame.region, v)) {
            (_, Class::Inline) => inline(draft, node),
            _ => {
                debug_assert!(!group.members.contains(&v));
                let from = self.memory(frame, v);
                draft.load(&from, node.ty.dtype)
            }
        };
        regs.of.insert(v, reg);
        reg
    }

    fn site(&mut self, axis: AxisId, node: &Node) -> u32 {
        let site = Site { axis: self.graph.name(axis).to_owned(), size: self.graph.size(axis), origin: node.origin.clone() };
        self.plan.sites.push(site);
        self.plan.sites.len() as u32 - 1
    }

    /// A checked place for a scatter.
    pub(super) fn site_of(&mut self, axis: AxisId, region: &Region, v: Value) -> u32 {
        self.site(axis, region.node(v))
    }

    /// Finishes a draft: its launch and the folds of its accumulators.
    pub(super) fn finish_rows(&mut self, steps: &mut Vec<Step>, draft: Draft, title: &str, node: &Node) {
        let folds = draft.folds.clone();
        let mut slots = draft.slots.clone();
        let mut finished = draft.finish(self.graph, self.local);
        let pieces = if self.local { 1 } else { pieces(&finished.rows, &folds) };
        if pieces > 1 {
            finished.rows.chunks = 1;
        }
        let mut after = Vec::new();
        for fold in &folds {
            let axes: &[AxisId] = if fold.row { &finished.inner } else { &[] };
            if finished.rows.chunks == 1 && fold.to.is_dense(self.graph, axes) {
                continue;
            }
            let len = axes.iter().map(|&a| self.graph.size(a)).product::<u64>();
            let parts = self.buffer("parts", fold.dtype, len * finished.rows.chunks);
            let from = Slot { buffer: parts, offset: 0, moves: Vec::new(), flips: Vec::new() };
            slots[fold.arg as usize] = from.clone();
            after.push(self.fold(fold, axes, finished.rows.chunks, len, from, node));
        }
        let launch = |planner: &mut Self, rows, slots| planner.launch(title, Work::Rows(rows), slots, &node.origin);
        steps.push(match pieces {
            1 => launch(self, finished.rows, slots),
            _ => self.in_pieces(&finished.rows, &slots, pieces, launch),
        });
        steps.extend(after);
    }

    fn fold(&mut self, fold: &Folded, axes: &[AxisId], chunks: u64, len: u64, from: Slot, node: &Node) -> Step {
        let sizes: Vec<u64> = axes.iter().map(|&a| self.graph.size(a)).collect();
        let to: Vec<i64> = axes.iter().map(|&a| fold.to.stride(a)).collect();
        let dims = merge_dims(&sizes, &[to]).into_iter().map(|(size, s)| (size, s[0])).collect();
        let work = Fold { f: fold.f, dtype: fold.dtype, chunks, len, dims };
        self.launch("fold", Work::Fold(work), vec![from, fold.to.slot.clone()], &node.origin)
    }

    /// Writes a constant or positions to memory.
    pub(super) fn inline_to_memory(&mut self, frame: &mut Frame<'g>, v: Value, to: &Storage) {
        let node = frame.region.node(v);
        let mut draft = Draft::new(frame.layout.orders[v.index()].clone(), None);
        let reg = inline(&mut draft, node);
        draft.store(to, reg);
        self.finish_rows(&mut frame.steps, draft, "fill", node);
    }

    /// Copies a value from one memory to another; both have the axes of `ty`.
    pub(super) fn copy(&mut self, steps: &mut Vec<Step>, from: &Storage, to: &Storage, ty: &Ty, node: &Node) {
        let mut draft = Draft::new(by_stride(&ty.shape, to), None);
        let reg = draft.load(from, ty.dtype);
        draft.store(to, reg);
        self.finish_rows(steps, draft, "copy", node);
    }

    /// Fills a value's memory with zeros.
    pub(super) fn clear(&mut self, steps: &mut Vec<Step>, to: &Storage, ty: &Ty, node: &Node) {
        let mut draft = Draft::new(by_stride(&ty.shape, to), None);
        let zero = match ty.dtype {
            DType::F32 | DType::F64 => crate::op::Scalar::Float(0.0),
            DType::I32 => crate::op::Scalar::Int(0),
            DType::Bool => crate::op::Scalar::Bool(false),
        };
        let reg = draft.push(RowOp::Const(zero), ty.dtype, None);
        draft.store(to, reg);
        self.finish_rows(steps, draft, "clear", node);
    }
}

/// Axes of a value from the slowest in memory.
pub(super) fn by_stride(shape: &Shape, to: &Storage) -> Vec<AxisId> {
    let mut axes: Vec<AxisId> = shape.iter().collect();
    axes.sort_by_key(|&a| std::cmp::Reverse(to.stride(a)));
    axes
}

fn inline(draft: &mut Draft, node: &Node) -> Reg {
    match &node.op {
        Op::Iota(axis) => draft.push(RowOp::Iota { at: Access::default() }, node.ty.dtype, Some(Strides::from([(*axis, 1)]))),
        Op::Const(scalar) => draft.push(RowOp::Const(*scalar), node.ty.dtype, None),
        _ => draft.push(RowOp::Const(crate::op::Scalar::Float(0.0)), node.ty.dtype, None),
    }
}

fn dense_strides(planner: &Planner<'_>, order: &[AxisId]) -> Strides {
    let mut stride = 1i64;
    let mut out = Strides::new();
    for &axis in order.iter().rev() {
        out.insert(axis, stride);
        stride *= planner.graph.size(axis) as i64;
    }
    out
}
