//! Where a value's elements lie: a buffer, a first element and one stride per axis. Renames, splits, slices and most merges are the same
//! memory read with other strides.

use crate::entity::AxisId;
use crate::graph::Graph;
use crate::op::Op;
use crate::plan::Slot;
use std::collections::BTreeMap;

/// Memory of a value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Storage {
    /// Buffer and first element, with its movement in loops.
    pub slot: Slot,
    /// Elements between neighbours along each axis.
    pub strides: BTreeMap<AxisId, i64>,
}

impl Storage {
    /// A whole buffer, row-major in `order`.
    pub(super) fn dense(graph: &Graph, buffer: u32, order: &[AxisId]) -> Storage {
        Storage::with_room(graph, buffer, order, None)
    }

    /// As [`Storage::dense`] with room for one position more of an axis.
    pub(super) fn with_room(graph: &Graph, buffer: u32, order: &[AxisId], longer: Option<AxisId>) -> Storage {
        let mut strides = BTreeMap::new();
        let mut stride = 1i64;
        for &axis in order.iter().rev() {
            strides.insert(axis, stride);
            stride *= graph.size(axis) as i64 + i64::from(longer == Some(axis));
        }
        Storage { slot: Slot { buffer, offset: 0, moves: Vec::new(), flips: Vec::new() }, strides }
    }

    /// Stride along an axis; 0 where the value does not have it.
    pub(super) fn stride(&self, axis: AxisId) -> i64 {
        self.strides.get(&axis).copied().unwrap_or(0)
    }

    /// Whether this is row-major in `order` without gaps.
    pub(super) fn is_dense(&self, graph: &Graph, order: &[AxisId]) -> bool {
        let mut stride = 1i64;
        order.iter().rev().all(|&axis| {
            let size = graph.size(axis) as i64;
            let fits = size == 1 || self.stride(axis) == stride;
            stride *= size;
            fits
        })
    }

    /// The slice at the present position of loop `id` over `axis`.
    #[must_use]
    pub(super) fn slice_in_loop(&self, axis: AxisId, id: u32) -> Storage {
        let mut out = self.clone();
        if let Some(stride) = out.strides.remove(&axis) {
            out.slot.moves.push((id, stride));
        }
        out
    }

    /// This memory as the result of a view; `None` where strides cannot express it.
    pub(super) fn view(&self, graph: &Graph, op: &Op) -> Option<Storage> {
        let mut out = self.clone();
        match op {
            Op::Rename(pairs) => {
                let taken: Vec<(AxisId, i64)> = pairs.iter().map(|&(from, to)| (to, out.strides.remove(&from).unwrap_or(0))).collect();
                out.strides.extend(taken);
            }
            Op::Split { axis, into } => {
                let mut stride = out.strides.remove(axis).unwrap_or(0);
                for &part in into.iter().rev() {
                    out.strides.insert(part, stride);
                    stride *= graph.size(part) as i64;
                }
            }
            Op::Merge { from, into } => {
                let wide: Vec<AxisId> = from.iter().copied().filter(|&a| graph.size(a) > 1).collect();
                for pair in wide.windows(2) {
                    if self.stride(pair[0]) != self.stride(pair[1]) * graph.size(pair[1]) as i64 {
                        return None;
                    }
                }
                let stride = wide.last().map_or(1, |&a| self.stride(a));
                for a in from {
                    out.strides.remove(a);
                }
                out.strides.insert(*into, stride);
            }
            Op::Slice { axis, start, into } => {
                let stride = out.strides.remove(axis).unwrap_or(0);
                out.slot.offset += stride * *start as i64;
                out.strides.insert(*into, stride);
            }
            _ => return None,
        }
        Some(out)
    }
}

/// Dims that nest: axes of which each continues the next one's stride in every access are walked as one.
pub(super) fn merge_dims(sizes: &[u64], strides: &[Vec<i64>]) -> Vec<(u64, Vec<i64>)> {
    let mut out: Vec<(u64, Vec<i64>)> = Vec::new();
    for (i, &size) in sizes.iter().enumerate() {
        let own: Vec<i64> = strides.iter().map(|s| s[i]).collect();
        if size == 1 {
            continue;
        }
        match out.last_mut() {
            Some((whole, before)) if before.iter().zip(&own).all(|(b, o)| *b == o * size as i64) => {
                *whole *= size;
                *before = own;
            }
            _ => out.push((size, own)),
        }
    }
    out
}
