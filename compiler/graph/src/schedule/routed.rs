//! Selection, and products with chosen matrices.
//!
//! Axes of a routed product are points, which the sequence numbers; columns and contracted axes of the group's matrix; and what repeats the whole.

use super::contract::{SMALL, core, loops};
use super::loops::projections;
use super::region::Frame;
use super::storage::{Storage, merge_dims};
use super::{Planner, Unsupported};
use crate::entity::{AxisId, Value};
use crate::graph::Node;
use crate::kernel::{Route, Routed, RoutedOuter, RoutedRows, Runs, TopK, Work};
use crate::op::Op;
use crate::shape::{DType, Shape, Ty};

/// Rows of a part, at least.
const ROWS: u64 = 64;
/// Parts of the rows, at most.
const PARTS: u64 = 32;

impl<'g> Planner<'g> {
    fn sizes(&self, axes: &[AxisId]) -> Vec<u64> {
        axes.iter().map(|&x| self.graph.size(x)).collect()
    }

    /// Dims of some axes with strides of several memories.
    fn nest<const N: usize>(&self, axes: &[AxisId], storages: [&Storage; N]) -> Vec<(u64, [i64; N])> {
        let strides: Vec<Vec<i64>> = storages.iter().map(|s| axes.iter().map(|&x| s.stride(x)).collect()).collect();
        let merged = merge_dims(&self.sizes(axes), &strides);
        merged.into_iter().map(|(size, s)| (size, std::array::from_fn(|i| s[i]))).collect()
    }

    fn walk(&self, axes: &[AxisId], of: &Storage) -> Vec<(u64, i64)> {
        self.nest(axes, [of]).into_iter().map(|(size, [stride])| (size, stride)).collect()
    }

    /// Plans an operation of this file.
    pub(super) fn chosen(&mut self, frame: &mut Frame<'g>, v: Value) -> Result<(), Unsupported> {
        match frame.region.node(v).op {
            Op::TopK { .. } => self.top_k(frame, v)?,
            Op::Routed { .. } => self.routed(frame, v)?,
            Op::RoutedOuter { .. } => self.routed_outer(frame, v)?,
            _ => self.route(frame, v),
        }
        Ok(())
    }

    fn top_k(&mut self, frame: &mut Frame<'g>, v: Value) -> Result<(), Unsupported> {
        let node = frame.region.node(v);
        let Op::TopK { over, into } = &node.op else { return Ok(()) };
        if let Some(input) = node.inputs.iter().find(|i| frame.region.ty(**i).dtype != DType::F32) {
            let what = format!("choose by scores of type {}", frame.region.ty(*input).dtype);
            return Err(Unsupported { what, origin: node.origin.clone() });
        }
        let scores: Vec<Storage> = node.inputs.iter().map(|&i| self.memory(frame, i)).collect();
        let to = self.place_of(frame, v);
        let axes: Vec<AxisId> = frame.layout.orders[v.index()].iter().copied().filter(|x| x != into).collect();
        let strides: Vec<Vec<i64>> = scores.iter().chain([&to]).map(|s| axes.iter().map(|&x| s.stride(x)).collect()).collect();
        let rows = merge_dims(&self.sizes(&axes), &strides);
        let over = match scores.as_slice() {
            [one] => vec![self.walk(over, one)],
            several => several.iter().zip(over).map(|(s, &x)| self.walk(&[x], s)).collect(),
        };
        let count: u64 = rows.iter().map(|d| d.0).product();
        let work = TopK { rows, over, k: self.graph.size(*into), into: to.stride(*into), chunks: count.div_ceil(ROWS).min(PARTS) };
        let slots = scores.into_iter().chain([to]).map(|s| s.slot).collect();
        let step = self.launch("top", Work::TopK(work), slots, &node.origin);
        frame.steps.push(step);
        Ok(())
    }

    fn route(&mut self, frame: &mut Frame<'g>, v: Value) {
        let node = frame.region.node(v);
        let Op::Route { axis, shared, order } = &node.op else { return };
        let positions = self.memory(frame, node.inputs[0]);
        let groups: Vec<AxisId> = shared.iter().copied().chain([*axis]).collect();
        let sequence = self.result(frame, v, 0, order);
        let ends = self.result(frame, v, 1, &groups);
        // The number of a group, as if it were a place in memory.
        let numbers = Storage::dense(self.graph, 0, &groups);
        let work = Route {
            points: self.nest(order, [&positions, &numbers]),
            size: self.graph.size(*axis),
            sequence: self.walk(order, &sequence),
            ends: self.walk(&groups, &ends),
            site: self.site_of(*axis, frame.region, v),
        };
        let step = self.launch("route", Work::Route(work), vec![positions.slot, sequence.slot, ends.slot], &node.origin);
        frame.steps.push(step);
    }

    /// Memory of one of several i32 results, bound to its projections.
    fn result(&mut self, frame: &mut Frame<'g>, v: Value, k: usize, order: &[AxisId]) -> Storage {
        let shown = projections(frame.region, v, k);
        let storage = match shown.iter().find_map(|p| frame.targets.get(p)) {
            Some(target) => target.clone(),
            None => self.fresh(&format!("{v}.{k}"), &Ty::new(DType::I32, Shape::of(order.iter().copied())), order),
        };
        for p in shown {
            frame.storage.insert(p, storage.clone());
        }
        storage
    }

    /// Order of the axes that number a route's result.
    fn numbering(frame: &Frame<'g>, v: Value) -> Vec<AxisId> {
        frame.layout.orders[v.index()].clone()
    }

    fn runs(&self, frame: &Frame<'g>, [sequence, ends]: [Value; 2], [numbers, counts, of]: [&Storage; 3]) -> Runs {
        let (points, groups) = (Self::numbering(frame, sequence), Self::numbering(frame, ends));
        Runs { sequence: self.walk(&points, numbers), ends: self.walk(&groups, counts), groups: self.walk(&groups, of) }
    }

    fn routed(&mut self, frame: &mut Frame<'g>, v: Value) -> Result<(), Unsupported> {
        let (region, layout) = (frame.region, frame.layout);
        let node = region.node(v);
        let Op::Routed { axis, over } = &node.op else { return Ok(()) };
        let [x, w, positions, sequence, ends] = operands(node)?;
        let over = Shape::of(over.iter().copied());
        let points = Self::numbering(frame, sequence);
        let all = Shape::of(points.iter().copied());
        let (from, own) = (&region.ty(x).shape, region.ty(w).shape.without(*axis));
        known(&own.intersection(&all), &region.ty(ends).shape.without(*axis), node)?;
        let memories = [x, w, positions, sequence, ends].map(|i| self.memory(frame, i));
        let to = self.place_of(frame, v);
        let [a, b, at, numbers, counts] = &memories;
        let strided = |shape: Shape, by: &Storage| {
            let mut axes: Vec<AxisId> = shape.iter().collect();
            axes.sort_by_key(|&x| std::cmp::Reverse(by.stride(x)));
            self.nest(&axes, [a, b, &to])
        };
        let (n, mut batch) = core(strided(own.minus(from).minus(&all), &to));
        let (k, sums) = core(strided(over.minus(&all), a));
        batch.extend(loops(strided(from.minus(&over).minus(&all), &to)));
        let work = self.graph.elements(&from.union(&own).union(&all));
        let (free, summed): (Vec<AxisId>, Vec<AxisId>) = points.iter().partition(|x| !over.contains(**x));
        let rows: u64 = self.sizes(&points).iter().product();
        let step = if n.size == 1 || k.size == 1 {
            let free_rows: u64 = self.sizes(&free).iter().product();
            let work = RoutedRows {
                rows: self.nest(&free, [a, b, at, &to]),
                inner: self.nest(&summed, [a, b, at, &to]),
                experts: (self.graph.size(*axis), b.stride(*axis)),
                batch,
                sums,
                n: n.size,
                k: k.size,
                a: k.strides[0],
                b: [k.strides[1], n.strides[1]],
                c: n.strides[2],
                chunks: free_rows.div_ceil(ROWS / 4).min(if work < SMALL { 1 } else { PARTS }),
                site: self.site_of(*axis, region, v),
            };
            let slots = [a, b, at, &to].map(|s| s.slot.clone()).to_vec();
            self.launch("routed rows", Work::RoutedRows(work), slots, &node.origin)
        } else {
            let most = if summed.is_empty() { rows.div_ceil(2 * ROWS).min(PARTS / 2) } else { (n.size / 64).clamp(1, 4) };
            let kept: Vec<AxisId> = layout.orders[v.index()].iter().copied().filter(|x| all.contains(*x)).collect();
            let work = Routed {
                points: self.nest(&points, [a, &to]),
                runs: self.runs(frame, [sequence, ends], [numbers, counts, b]),
                batch,
                sums,
                n: n.size,
                k: k.size,
                a: k.strides[0],
                b: [k.strides[1], n.strides[1]],
                c: n.strides[2],
                add: (!summed.is_empty()).then(|| self.walk(&kept, &to)),
                parts: if work < SMALL { 1 } else { most },
            };
            let slots = memories.iter().chain([&to]).map(|s| s.slot.clone()).collect();
            self.launch("routed", Work::Routed(work), slots, &node.origin)
        };
        frame.steps.push(step);
        Ok(())
    }

    fn routed_outer(&mut self, frame: &mut Frame<'g>, v: Value) -> Result<(), Unsupported> {
        let region = frame.region;
        let node = region.node(v);
        let Op::RoutedOuter { axis, keep } = &node.op else { return Ok(()) };
        let [mut x, mut y, _, sequence, ends] = operands(node)?;
        let keep = Shape::of(keep.iter().copied());
        let points = Self::numbering(frame, sequence);
        let all = Shape::of(points.iter().copied());
        known(&keep.intersection(&all), &region.ty(ends).shape.without(*axis), node)?;
        let to = self.place_of(frame, v);
        // The operand with the result's fastest axis gives the columns, and one that gives none the rows.
        let own = |u: Value, other: Value| keep.intersection(&region.ty(u).shape).minus(&region.ty(other).shape).minus(&all);
        let fast = |shape: &Shape| shape.iter().any(|c| to.stride(c) == 1);
        if own(y, x).is_scalar() || (fast(&own(x, y)) && !fast(&own(y, x)) && !own(x, y).is_scalar()) {
            std::mem::swap(&mut x, &mut y);
        }
        let (left, right) = (&region.ty(x).shape, &region.ty(y).shape);
        let (a, b) = (self.memory(frame, x), self.memory(frame, y));
        let (numbers, counts) = (self.memory(frame, sequence), self.memory(frame, ends));
        let strided = |shape: Shape, by: &Storage| {
            let mut axes: Vec<AxisId> = shape.iter().collect();
            axes.sort_by_key(|&x| std::cmp::Reverse(by.stride(x)));
            self.nest(&axes, [&a, &b, &to])
        };
        let (m, mut batch) = core(strided(own(x, y), &to));
        let (n, more) = core(strided(own(y, x), &to));
        batch.extend(more);
        batch.extend(loops(strided(keep.intersection(left).intersection(right).minus(&all), &to)));
        let sums = loops(strided(left.union(right).minus(&keep).minus(&all), &a));
        let runs = self.runs(frame, [sequence, ends], [&numbers, &counts, &to]);
        let groups: u64 = runs.groups.iter().map(|d| d.0).product::<u64>() * batch.iter().map(|l| l.size).product::<u64>();
        let work = RoutedOuter {
            points: self.nest(&points, [&a, &b]),
            runs,
            batch,
            sums,
            m: m.size,
            n: n.size,
            a: m.strides[0],
            b: n.strides[1],
            c: [m.strides[2], n.strides[2]],
            m_parts: 8u64.div_ceil(groups).min(m.size / ROWS).max(1),
        };
        let slots = [&a, &b, &numbers, &counts, &to].map(|s| s.slot.clone()).to_vec();
        let step = self.launch("routed outer", Work::RoutedOuter(work), slots, &node.origin);
        frame.steps.push(step);
        Ok(())
    }
}

fn operands(node: &Node) -> Result<[Value; 5], Unsupported> {
    let fault = || Unsupported { what: "route without a sequence".into(), origin: node.origin.clone() };
    <[Value; 5]>::try_from(&node.inputs[..]).map_err(|_| fault())
}

/// Whether the sequence has the groups that the matrices have.
fn known(shared: &Shape, grouped: &Shape, node: &Node) -> Result<(), Unsupported> {
    if shared == grouped {
        return Ok(());
    }
    Err(Unsupported { what: "use a sequence that has other groups than the chosen matrices".into(), origin: node.origin.clone() })
}
