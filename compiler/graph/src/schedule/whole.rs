//! Operations that are kernels of their own: contraction, attention, scatter, pad and concat.

use super::loops::projections;
use super::region::Frame;
use super::storage::{Storage, merge_dims};
use super::{Planner, Unsupported, contract};
use crate::entity::{AxisId, Value};
use crate::graph::Node;
use crate::kernel::{Attend, Fold, Gemm, Pair, Scatter, Solve, Work};
use crate::op::{Attention, Op, ReduceFn};
use crate::plan::Slot;
use crate::shape::{DType, Shape, Ty};

impl<'g> Planner<'g> {
    /// A product, added to the other operand of the last of `members` where there are two.
    pub(super) fn contract(&mut self, frame: &mut Frame<'g>, members: &[Value]) {
        let region = frame.region;
        let (v, sum) = (members[0], members.last().copied().filter(|_| members.len() > 1));
        let node = region.node(v);
        let Op::Contract(over) = &node.op else { return };
        let (mut a, mut b) = (node.inputs[0], node.inputs[1]);
        let (mut left, mut right) = (self.memory(frame, a), self.memory(frame, b));
        let onto = sum.and_then(|s| region.node(s).inputs.iter().copied().find(|&x| x != v)).map(|x| self.memory(frame, x));
        let to = self.place_of(frame, sum.unwrap_or(v));
        let v = sum.unwrap_or(v);
        // The operand with the result's fastest axis gives the columns.
        let last = frame.layout.orders[v.index()].iter().rev().find(|&&x| to.stride(x) == 1).copied();
        if last.is_some_and(|x| region.ty(a).shape.contains(x) && !region.ty(b).shape.contains(x)) {
            std::mem::swap(&mut a, &mut b);
            std::mem::swap(&mut left, &mut right);
        }
        let mut gemm = contract::gemm(self.graph, [&region.ty(a).shape, &region.ty(b).shape], over, &left, &right, &to);
        if onto.is_none() && !self.local && contract::deepen(&mut gemm) {
            return self.contract_in_parts(frame, gemm, [left, right, to], node);
        }
        let mut args = vec![left.slot, right.slot, to.slot.clone()];
        if let Some(onto) = onto {
            gemm.adds = true;
            let alike = region.ty(v).shape.iter().all(|x| onto.stride(x) == to.stride(x));
            if !alike {
                self.copy(&mut frame.steps, &onto, &to, region.ty(v), region.node(v));
            }
            args.push(if alike { onto.slot } else { to.slot });
        }
        let step = self.launch("contract", Work::Gemm(gemm), args, &node.origin);
        frame.steps.push(step);
    }

    /// A product whose last batch is over parts of the contracted axes: each part has a result of its own; they are added up in order.
    fn contract_in_parts(&mut self, frame: &mut Frame<'g>, mut gemm: Gemm, [left, right, to]: [Storage; 3], node: &Node) {
        let len = gemm.m * gemm.n;
        let dims = vec![(gemm.m, gemm.c[0]), (gemm.n, gemm.c[1])];
        gemm.c = [gemm.n as i64, 1];
        let Some(parts) = gemm.batch.last_mut() else { return };
        parts.strides[2] = len as i64;
        let chunks = parts.size;
        let buffer = self.buffer("parts", DType::F32, len * chunks);
        let slot = Slot { buffer, offset: 0, moves: Vec::new(), flips: Vec::new() };
        let step = self.launch("contract", Work::Gemm(gemm), vec![left.slot, right.slot, slot.clone()], &node.origin);
        frame.steps.push(step);
        let fold = Fold { f: ReduceFn::Sum, dtype: DType::F32, chunks, len, dims };
        let step = self.launch("fold", Work::Fold(fold), vec![slot, to.slot], &node.origin);
        frame.steps.push(step);
    }

    pub(super) fn solve(&mut self, frame: &mut Frame<'g>, v: Value) {
        let region = frame.region;
        let node = region.node(v);
        let Op::Solve { row, col, transposed } = node.op else { return };
        let (matrix, side) = (self.memory(frame, node.inputs[0]), self.memory(frame, node.inputs[1]));
        let to = self.place_of(frame, v);
        let shared = region.ty(node.inputs[0]).shape.without(row).without(col);
        let axes = |own: bool| -> Vec<AxisId> {
            frame.layout.orders[v.index()].iter().copied().filter(|&x| x != row && shared.contains(x) == own).collect()
        };
        let (batch, columns) = (axes(true), axes(false));
        let sizes = |axes: &[AxisId]| axes.iter().map(|&x| self.graph.size(x)).collect::<Vec<u64>>();
        let strides = |s: &Storage, axes: &[AxisId]| axes.iter().map(|&x| s.stride(x)).collect::<Vec<i64>>();
        let batched = [&matrix, &side, &to].map(|s| strides(s, &batch));
        let apart = [&side, &to].map(|s| strides(s, &columns));
        let work = Solve {
            batch: merge_dims(&sizes(&batch), &batched).into_iter().map(|(n, s)| (n, [s[0], s[1], s[2]])).collect(),
            columns: merge_dims(&sizes(&columns), &apart).into_iter().map(|(n, s)| (n, [s[0], s[1]])).collect(),
            size: self.graph.size(row),
            matrix: if transposed { [matrix.stride(col), matrix.stride(row)] } else { [matrix.stride(row), matrix.stride(col)] },
            rows: [side.stride(row), to.stride(row)],
            backwards: transposed,
        };
        let step = self.launch("solve", Work::Solve(work), vec![matrix.slot, side.slot, to.slot], &node.origin);
        frame.steps.push(step);
    }

    pub(super) fn attend(&mut self, frame: &mut Frame<'g>, v: Value) {
        let region = frame.region;
        let node = region.node(v);
        let (a, grad) = match &node.op {
            Op::Attend(a) => (a, false),
            Op::AttendGrad(a) => (a, true),
            _ => return,
        };
        let mut storages: Vec<Storage> = node.inputs.iter().map(|&i| self.memory(frame, i)).collect();
        let q = region.ty(node.inputs[0]).clone();
        let shared: Vec<AxisId> =
            frame.layout.orders[node.inputs[0].index()].iter().copied().filter(|&x| x != a.query && x != a.key).collect();
        let results = if grad { 3 } else { 2 };
        for k in 0..results {
            storages.push(self.result_of(frame, v, k, a, &q, &shared));
        }
        let pairs: Vec<Pair> = storages.iter().zip(axes_of(a, grad)).map(|(s, pair)| pair.map(|x| x.map_or(0, |x| s.stride(x)))).collect();
        let size = |x: AxisId| self.graph.size(x);
        let work = Attend {
            batch: batch(self, &shared, &storages),
            sizes: [size(a.query), size(a.source), size(a.key), size(a.value)],
            scale: a.scale,
            causal: a.causal,
            strides: pairs,
            grad,
        };
        let slots = storages.into_iter().map(|s| s.slot).collect();
        let title = if grad { "attention gradient" } else { "attention" };
        let step = self.launch(title, Work::Attend(work), slots, &node.origin);
        frame.steps.push(step);
    }

    /// Memory of result `k` of attention, bound to its projections.
    fn result_of(&mut self, frame: &mut Frame<'g>, v: Value, k: u32, a: &Attention, q: &Ty, shared: &[AxisId]) -> Storage {
        let region = frame.region;
        let shown = projections(region, v, k as usize);
        let grad = matches!(region.node(v).op, Op::AttendGrad(_));
        let storage = match shown.iter().find_map(|p| frame.targets.get(p)) {
            Some(target) => target.clone(),
            None => {
                let (ty, order) = match (grad, shown.first()) {
                    (_, Some(&p)) => (region.ty(p).clone(), frame.layout.orders[p.index()].clone()),
                    (true, None) => {
                        let input = region.node(v).inputs[k as usize];
                        (region.ty(input).clone(), frame.layout.orders[input.index()].clone())
                    }
                    (false, None) => {
                        let tail = if k == 0 { vec![a.query, a.value] } else { vec![a.query] };
                        let order: Vec<AxisId> = shared.iter().copied().chain(tail).collect();
                        (Ty::new(q.dtype, Shape::of(order.iter().copied())), order)
                    }
                };
                self.fresh(&format!("{v}.{k}"), &ty, &order)
            }
        };
        for p in shown {
            frame.storage.insert(p, storage.clone());
        }
        storage
    }

    pub(super) fn scatter(&mut self, frame: &mut Frame<'g>, v: Value) {
        let region = frame.region;
        let node = region.node(v);
        let Op::ScatterAdd { axis, .. } = &node.op else { return };
        let positions = self.memory(frame, node.inputs[0]);
        let updates = self.memory(frame, node.inputs[1]);
        let to = self.place_of(frame, v);
        let size = |x: AxisId| self.graph.size(x);
        let point_axes: Vec<AxisId> = frame.layout.orders[node.inputs[0].index()].clone();
        let rest_axes: Vec<AxisId> =
            frame.layout.orders[node.inputs[1].index()].iter().copied().filter(|x| !point_axes.contains(x)).collect();
        let sizes: Vec<u64> = point_axes.iter().map(|&x| size(x)).collect();
        let of = |s: &Storage, axes: &[AxisId]| axes.iter().map(|&x| s.stride(x)).collect::<Vec<i64>>();
        let points = merge_dims(&sizes, &[of(&positions, &point_axes), of(&updates, &point_axes), of(&to, &point_axes)]);
        let rest_sizes: Vec<u64> = rest_axes.iter().map(|&x| size(x)).collect();
        let rest = merge_dims(&rest_sizes, &[of(&updates, &rest_axes), of(&to, &rest_axes)]);
        let clear: Vec<(u64, i64)> = node.ty.shape.iter().filter(|x| x != axis).map(|x| (size(x), to.stride(x))).collect();
        let target = size(*axis);
        let work = Scatter {
            target: (target, to.stride(*axis)),
            points: points.into_iter().map(|(n, s)| (n, [s[0], s[1], s[2]])).collect(),
            rest: rest.into_iter().map(|(n, s)| (n, [s[0], s[1]])).collect(),
            clear,
            dtype: node.ty.dtype,
            chunks: target.min(8),
            site: self.site_of(*axis, region, v),
        };
        let step = self.launch("scatter", Work::Scatter(work), vec![positions.slot, updates.slot, to.slot], &node.origin);
        frame.steps.push(step);
    }

    pub(super) fn moves(&mut self, frame: &mut Frame<'g>, v: Value) -> Result<(), Unsupported> {
        let region = frame.region;
        let node = region.node(v);
        match &node.op {
            Op::Pad { axis, start, into } => {
                let from = self.memory(frame, node.inputs[0]);
                let to = self.place_of(frame, v);
                self.clear(&mut frame.steps, &to, &node.ty, node);
                self.part(frame, &from, &to, *start, (*axis, *into), node.inputs[0], v);
            }
            Op::Concat { axes, into } => {
                let from: Vec<Storage> = node.inputs.iter().map(|&i| self.memory(frame, i)).collect();
                let to = frame.storage[&v].clone();
                let mut start = 0;
                for ((from, &axis), &input) in from.iter().zip(axes).zip(&node.inputs) {
                    self.part(frame, from, &to, start, (axis, *into), input, v);
                    start += self.graph.size(axis);
                }
            }
            op => return Err(Unsupported { what: format!("run {op:?}"), origin: node.origin.clone() }),
        }
        Ok(())
    }

    /// Copies `input` to positions `start ..` of the result's axis `into`, unless it lies there.
    fn part(&mut self, frame: &mut Frame<'g>, from: &Storage, to: &Storage, start: u64, axes: (AxisId, AxisId), input: Value, v: Value) {
        let slice = Op::Slice { axis: axes.1, start, into: axes.0 };
        let ty = frame.region.ty(input).clone();
        if let Some(part) = to.view(self.graph, &slice).filter(|part| part != from) {
            self.copy(&mut frame.steps, from, &part, &ty, frame.region.node(v));
        }
    }
}

/// Position and feature axes of each argument of attention.
fn axes_of(a: &Attention, grad: bool) -> Vec<[Option<AxisId>; 2]> {
    let q = [Some(a.query), Some(a.key)];
    let k = [Some(a.source), Some(a.key)];
    let v = [Some(a.source), Some(a.value)];
    let mix = [Some(a.query), Some(a.value)];
    let lse = [Some(a.query), None];
    if grad { vec![q, k, v, mix, lse, mix, q, k, v] } else { vec![q, k, v, mix, lse] }
}

fn batch(planner: &Planner<'_>, shared: &[AxisId], storages: &[Storage]) -> Vec<(u64, Vec<i64>)> {
    let sizes: Vec<u64> = shared.iter().map(|&x| planner.graph.size(x)).collect();
    let strides: Vec<Vec<i64>> = storages.iter().map(|s| shared.iter().map(|&x| s.stride(x)).collect()).collect();
    merge_dims(&sizes, &strides)
}
