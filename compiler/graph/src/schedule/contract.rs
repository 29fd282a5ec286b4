//! Contractions as matrix products: axes of one operand only become rows or columns, contracted axes the inner dim, shared axes a batch.

use super::storage::{Storage, merge_dims};
use crate::entity::AxisId;
use crate::graph::Graph;
use crate::kernel::{Gemm, GemmLoop};
use crate::shape::Shape;

/// Products below this many multiplications are one task.
pub(super) const SMALL: u64 = 1 << 18;
/// Tasks that a large product is cut into, at most.
const PARTS: u64 = 8;
/// Parts have at least this many rows and columns, if the product has them.
const SIDE: u64 = 64;

/// The product of `a` and `b` over `over` into `c`.
pub(super) fn gemm(graph: &Graph, shapes: [&Shape; 2], over: &[AxisId], a: &Storage, b: &Storage, c: &Storage) -> Gemm {
    let over_set = Shape::of(over.iter().copied());
    let mut rows: Vec<AxisId> = shapes[0].minus(shapes[1]).iter().collect();
    let mut columns: Vec<AxisId> = shapes[1].minus(shapes[0]).iter().collect();
    let mut shared: Vec<AxisId> = shapes[0].intersection(shapes[1]).minus(&over_set).iter().collect();
    let mut inner: Vec<AxisId> = over_set.iter().collect();
    rows.sort_by_key(|&x| std::cmp::Reverse(c.stride(x)));
    columns.sort_by_key(|&x| std::cmp::Reverse(c.stride(x)));
    shared.sort_by_key(|&x| std::cmp::Reverse(c.stride(x)));
    inner.sort_by_key(|&x| std::cmp::Reverse(a.stride(x)));
    let dims = |axes: &[AxisId]| {
        let sizes: Vec<u64> = axes.iter().map(|&x| graph.size(x)).collect();
        let of = |s: &Storage| axes.iter().map(|&x| s.stride(x)).collect::<Vec<i64>>();
        let merged = merge_dims(&sizes, &[of(a), of(b), of(c)]);
        merged.into_iter().map(|(size, s)| (size, [s[0], s[1], s[2]])).collect::<Vec<_>>()
    };
    let (m, mut batch) = core(dims(&rows));
    let (n, more) = core(dims(&columns));
    let (k, sums) = core(dims(&inner));
    batch.extend(more);
    batch.extend(loops(dims(&shared)));
    let mut gemm = Gemm {
        batch,
        sums,
        m: m.size,
        n: n.size,
        k: k.size,
        a: [m.strides[0], k.strides[0]],
        b: [k.strides[1], n.strides[1]],
        c: [m.strides[2], n.strides[2]],
        m_parts: 1,
        n_parts: 1,
        adds: false,
    };
    partition(&mut gemm);
    gemm
}

/// The largest of the dims, and the others as loops.
pub(super) fn core(mut dims: Vec<(u64, [i64; 3])>) -> (GemmLoop, Vec<GemmLoop>) {
    let largest = dims.iter().enumerate().max_by_key(|(_, d)| d.0).map(|(i, _)| i);
    let (size, strides) = largest.map_or((1, [1, 1, 1]), |i| dims.remove(i));
    (GemmLoop { size, strides }, loops(dims))
}

/// Dims as loops.
pub(super) fn loops(dims: Vec<(u64, [i64; 3])>) -> Vec<GemmLoop> {
    dims.into_iter().map(|(size, strides)| GemmLoop { size, strides }).collect()
}

/// Rows and columns that make a product worth its packing.
const WIDE: u64 = 256;
/// Least depth of a part.
const DEEP: u64 = 512;
/// Most elements of a result that has parts.
const PARTED: u64 = 1 << 19;

/// Cuts the contracted axes of a lone product with many more of them than rows and columns, such as the gradient of a weight: the last batch
/// is then over parts whose results are to be added. Tells whether it does.
pub(super) fn deepen(gemm: &mut Gemm) -> bool {
    let pieces = |size: u64| 1 << (size / WIDE).max(1).ilog2();
    let wanted = gemm.m_parts * gemm.n_parts;
    let m_parts = wanted.min(pieces(gemm.m));
    let n_parts = (wanted / m_parts).min(pieces(gemm.n));
    let k_parts = wanted / (m_parts * n_parts);
    let lone = gemm.batch.is_empty() && gemm.sums.is_empty();
    if !lone || k_parts < 2 || !gemm.k.is_multiple_of(k_parts) || gemm.k / k_parts < DEEP || gemm.m * gemm.n > PARTED {
        return false;
    }
    gemm.k /= k_parts;
    let depth = gemm.k as i64;
    gemm.batch.push(GemmLoop { size: k_parts, strides: [depth * gemm.a[1], depth * gemm.b[0], 0] });
    (gemm.m_parts, gemm.n_parts) = (m_parts, n_parts);
    true
}

/// Fixes the independent parts; they depend on sizes only. Operands are packed anew for each part, so parts are as square as can be.
fn partition(gemm: &mut Gemm) {
    let batch: u64 = gemm.batch.iter().map(|l| l.size).product();
    let work = batch * gemm.m * gemm.n * gemm.k * gemm.sums.iter().map(|l| l.size).product::<u64>();
    let most = if gemm.m * gemm.n <= 1 << 17 { PARTS / 2 } else { PARTS };
    let wanted = most.div_ceil(batch).min(work / SMALL + 1).next_power_of_two();
    let mut best = (u64::MAX, 1, 1);
    let mut m_parts = 1;
    while m_parts <= wanted {
        let n_parts = wanted / m_parts;
        let (rows, columns) = (gemm.m.div_ceil(m_parts), gemm.n.div_ceil(n_parts));
        let fits = (m_parts == 1 || rows >= SIDE) && (n_parts == 1 || columns >= SIDE);
        let packed = wanted * (rows + columns);
        if fits && packed < best.0 {
            best = (packed, m_parts, n_parts);
        }
        m_parts *= 2;
    }
    if best.0 == u64::MAX && wanted > 1 {
        let side = |size: u64| (size / SIDE).clamp(1, wanted);
        best = if gemm.m >= gemm.n { (0, side(gemm.m), 1) } else { (0, 1, side(gemm.n)) };
    }
    (gemm.m_parts, gemm.n_parts) = (best.1, best.2);
}
