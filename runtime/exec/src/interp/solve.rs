//! Triangular systems by substitution. Sums are taken in f64 and rounded once.

use super::array::{Cells, Named, fault};
use super::number::Real;
use crate::backend::ExecError;
use ndarray::Ix3;
use ogive_graph::{Axis, AxisId};

/// The solution of `(1 + the part of m below the diagonal) x = b`, or of its transpose.
pub(super) fn solve(m: &Cells, b: &Cells, along: (AxisId, AxisId), transposed: bool, table: &[Axis]) -> Result<Cells, ExecError> {
    Ok(match (m, b) {
        (Cells::F32(m), Cells::F32(b)) => Cells::F32(solved(m, b, along, transposed, table)?),
        (Cells::F64(m), Cells::F64(b)) => Cells::F64(solved(m, b, along, transposed, table)?),
        _ => return Err(fault("a system of what is no float")),
    })
}

fn solved<T: Real>(
    m: &Named<T>,
    b: &Named<T>,
    (row, col): (AxisId, AxisId),
    transposed: bool,
    table: &[Axis],
) -> Result<Named<T>, ExecError> {
    let batch: Vec<AxisId> = m.axes.iter().copied().filter(|&a| a != row && a != col).collect();
    let columns: Vec<AxisId> = b.axes.iter().copied().filter(|a| *a != row && !batch.contains(a)).collect();
    let groups: [&[AxisId]; 3] = [&batch, &[row], &columns];
    let shape = |e: ndarray::ShapeError| fault(format!("a system: {e}"));
    let all = groups.concat();
    let wide = Named::new(all.clone(), b.ordered(&all, table)?);
    let mut x = wide.merged(&groups, table)?.into_dimensionality::<Ix3>().map_err(shape)?;
    let m = m.merged(&[&batch, &[row], &[col]], table)?.into_dimensionality::<Ix3>().map_err(shape)?;
    let (systems, size, width) = x.dim();
    for s in 0..systems {
        for step in 0..size {
            let i = if transposed { size - 1 - step } else { step };
            let before = if transposed { i + 1..size } else { 0..i };
            for c in 0..width {
                let taken: f64 = before
                    .clone()
                    .map(|j| {
                        let factor = if transposed { m[[s, j, i]] } else { m[[s, i, j]] };
                        factor.wide() * x[[s, j, c]].wide()
                    })
                    .sum();
                x[[s, i, c]] = T::of(x[[s, i, c]].wide() - taken);
            }
        }
    }
    Named::unmerged(x.into_dyn(), &groups, table)
}
