//! Reductions, the softmax family, the largest position, and contractions.
//!
//! A row without a finite maximum of `-inf` alone (everything masked) has log sum exp `-inf`, and its softmax is defined as zeros.

use super::array::{Cells, Named, fault};
use super::number::Real;
use crate::backend::ExecError;
use ndarray::{Array, Array3, ArrayView1, ArrayViewMut1, Axis as Dimension, Ix2, Ix3, IxDyn};
use ogive_graph::{Axis, AxisId, MapFn, ReduceFn, Shape};

/// Axes of `all` that are not in `gone`, in order.
pub(super) fn less(all: &[AxisId], gone: &[AxisId]) -> Vec<AxisId> {
    all.iter().copied().filter(|a| !gone.contains(a)).collect()
}

/// Sum, maximum or minimum over the axes.
pub(super) fn reduce(f: ReduceFn, a: &Cells, over: &[AxisId], table: &[Axis]) -> Result<Cells, ExecError> {
    Ok(match a {
        Cells::F32(a) => Cells::F32(each_row(a, over, table, real_reduction(f))?),
        Cells::F64(a) => Cells::F64(each_row(a, over, table, real_reduction(f))?),
        Cells::I32(a) => Cells::I32(each_row(a, over, table, |row| match f {
            ReduceFn::Sum => row.iter().fold(0, |s: i32, &x| s.wrapping_add(x)),
            ReduceFn::Max => row.iter().copied().fold(i32::MIN, i32::max),
            ReduceFn::Min => row.iter().copied().fold(i32::MAX, i32::min),
        })?),
        Cells::Bool(a) => Cells::Bool(each_row(a, over, table, |row| match f {
            ReduceFn::Sum | ReduceFn::Max => row.iter().any(|&x| x),
            ReduceFn::Min => row.iter().all(|&x| x),
        })?),
    })
}

fn real_reduction<T: Real>(f: ReduceFn) -> impl Fn(ArrayView1<'_, T>) -> T {
    let (larger, smaller) = (T::binary(MapFn::Max), T::binary(MapFn::Min));
    move |row| match (f, larger, smaller) {
        (ReduceFn::Max, Some(larger), _) => row.iter().copied().fold(T::LOWEST, larger),
        (ReduceFn::Min, _, Some(smaller)) => row.iter().copied().fold(T::HIGHEST, smaller),
        _ => row.sum(),
    }
}

/// i32 position of the largest element, ties to the lowest; NaN is never the largest, and a row of nothing but NaN gives 0.
pub(super) fn argmax(a: &Cells, axis: AxisId, table: &[Axis]) -> Result<Cells, ExecError> {
    fn best<T: PartialOrd + Copy>(row: ArrayView1<'_, T>) -> i32 {
        let mut best: Option<(usize, T)> = None;
        for (i, &x) in row.iter().enumerate() {
            let comparable = x.partial_cmp(&x).is_some();
            if comparable && best.is_none_or(|(_, y)| x > y) {
                best = Some((i, x));
            }
        }
        best.map_or(0, |(i, _)| i as i32)
    }
    Ok(Cells::I32(match a {
        Cells::F32(a) => each_row(a, &[axis], table, best)?,
        Cells::F64(a) => each_row(a, &[axis], table, best)?,
        Cells::I32(a) => each_row(a, &[axis], table, best)?,
        Cells::Bool(a) => each_row(a, &[axis], table, best)?,
    }))
}

/// One result for every row, a row being all elements over the axes in row-major order.
pub(super) fn each_row<T: Clone, U: Clone>(
    a: &Named<T>,
    over: &[AxisId],
    table: &[Axis],
    f: impl Fn(ArrayView1<'_, T>) -> U,
) -> Result<Named<U>, ExecError> {
    let kept = less(&a.axes, over);
    let rows = a.merged(&[&kept, over], table)?.into_dimensionality::<Ix2>().map_err(|e| fault(e.to_string()))?;
    let results: Vec<U> = rows.outer_iter().map(f).collect();
    Named::from_vec(kept, table, results)
}

/// Softmax over the axes jointly.
pub(super) fn softmax(a: &Cells, over: &[AxisId], table: &[Axis]) -> Result<Cells, ExecError> {
    match a {
        Cells::F32(a) => Ok(Cells::F32(softmax_rows(a, over, table)?)),
        Cells::F64(a) => Ok(Cells::F64(softmax_rows(a, over, table)?)),
        Cells::I32(_) | Cells::Bool(_) => Err(fault("softmax of what is no float")),
    }
}

/// log sum exp over the axes jointly.
pub(super) fn log_sum_exp(a: &Cells, over: &[AxisId], table: &[Axis]) -> Result<Cells, ExecError> {
    match a {
        Cells::F32(a) => Ok(Cells::F32(each_row(a, over, table, row_log_sum_exp)?)),
        Cells::F64(a) => Ok(Cells::F64(each_row(a, over, table, row_log_sum_exp)?)),
        Cells::I32(_) | Cells::Bool(_) => Err(fault("log sum exp of what is no float")),
    }
}

fn largest<T: Real>(row: ArrayView1<'_, T>) -> T {
    row.iter().copied().fold(T::LOWEST, |m, x| if x > m { x } else { m })
}

/// log sum exp of one row.
pub(super) fn row_log_sum_exp<T: Real>(row: ArrayView1<'_, T>) -> T {
    let max = largest(row);
    if row.iter().all(|&x| x == T::LOWEST) {
        return T::LOWEST;
    }
    max + row.iter().fold(T::zero(), |s, &x| s + (x - max).exponential()).logarithm()
}

pub(super) fn softmax_rows<T: Real>(a: &Named<T>, over: &[AxisId], table: &[Axis]) -> Result<Named<T>, ExecError> {
    let kept = less(&a.axes, over);
    let mut rows = a.merged(&[&kept, over], table)?.into_dimensionality::<Ix2>().map_err(|e| fault(e.to_string()))?;
    for row in rows.outer_iter_mut() {
        row_softmax(row);
    }
    Named::unmerged(rows.into_dyn(), &[&kept, over], table)
}

fn row_softmax<T: Real>(mut row: ArrayViewMut1<'_, T>) {
    let max = largest(row.view());
    if row.iter().all(|&x| x == T::LOWEST) {
        row.fill(T::zero());
        return;
    }
    row.mapv_inplace(|x| (x - max).exponential());
    let total = row.iter().fold(T::zero(), |s, &x| s + x);
    row.mapv_inplace(|x| x / total);
}

/// Sum of products over the axes.
pub(super) fn contract(a: &Cells, b: &Cells, over: &[AxisId], table: &[Axis]) -> Result<Cells, ExecError> {
    match (a, b) {
        (Cells::F32(a), Cells::F32(b)) => Ok(Cells::F32(dot(a, b, over, table)?)),
        (Cells::F64(a), Cells::F64(b)) => Ok(Cells::F64(dot(a, b, over, table)?)),
        (Cells::I32(a), Cells::I32(b)) => Ok(Cells::I32(dot_i32(a, b, over, table)?)),
        _ => Err(fault(format!("contraction of {} and {}", a.dtype(), b.dtype()))),
    }
}

/// Axes of a contraction by role: in both and kept, of the left only, of the right only.
fn roles<T>(a: &Named<T>, b: &Named<T>, over: &[AxisId]) -> [Vec<AxisId>; 3] {
    let shared: Vec<AxisId> = a.axes.iter().copied().filter(|x| b.axes.contains(x) && !over.contains(x)).collect();
    let left = less(&less(&a.axes, &shared), over);
    let right = less(&less(&b.axes, &shared), over);
    [shared, left, right]
}

/// Batched matrix product on merged axes.
pub(super) fn dot<T: Real>(a: &Named<T>, b: &Named<T>, over: &[AxisId], table: &[Axis]) -> Result<Named<T>, ExecError> {
    let [shared, left, right] = roles(a, b, over);
    let cube = |x: Array<T, IxDyn>| x.into_dimensionality::<Ix3>().map_err(|e| fault(e.to_string()));
    let a = cube(a.merged(&[&shared, &left, over], table)?)?;
    let b = cube(b.merged(&[&shared, over, &right], table)?)?;
    let mut out = Array3::zeros((a.len_of(Dimension(0)), a.len_of(Dimension(1)), b.len_of(Dimension(2))));
    for ((a, b), mut out) in a.outer_iter().zip(b.outer_iter()).zip(out.outer_iter_mut()) {
        ndarray::linalg::general_mat_mul(T::one(), &a, &b, T::zero(), &mut out);
    }
    Named::unmerged(out.into_dyn(), &[&shared, &left, &right], table)
}

fn dot_i32(a: &Named<i32>, b: &Named<i32>, over: &[AxisId], table: &[Axis]) -> Result<Named<i32>, ExecError> {
    let all = Shape::of(a.axes.iter().chain(&b.axes).copied());
    let product = super::map::zip(a, b, all.axes(), table, i32::wrapping_mul)?;
    each_row(&product, over, table, |row| row.iter().fold(0, |s: i32, &x| s.wrapping_add(x)))
}
