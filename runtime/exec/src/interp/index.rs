//! Operations that move elements: renaming, splitting and merging axes, slices, padding, concatenation, gather and scatter.

use super::array::{Cells, Named, alike, fault, sizes};
use super::number::Real;
use super::reduce::less;
use crate::backend::ExecError;
use ndarray::{ArcArray, Array, ArrayView, Axis as Dimension, Ix2, Ix3, IxDyn, Slice};
use ogive_graph::{Axis, AxisId, Origin};

/// Renames axes simultaneously.
pub(super) fn rename(a: &Cells, pairs: &[(AxisId, AxisId)]) -> Cells {
    let renamed = |axes: &[AxisId]| {
        let to = |axis| pairs.iter().find(|(from, _)| *from == axis).map_or(axis, |&(_, to)| to);
        axes.iter().map(|&a| to(a)).collect()
    };
    alike!(a, a => Named { axes: renamed(&a.axes), cells: a.cells.clone() })
}

/// Sees the group `from` as the group `into`, both row-major.
pub(super) fn regroup(a: &Cells, from: &[AxisId], into: &[AxisId], table: &[Axis]) -> Result<Cells, ExecError> {
    Ok(alike!(a, a => {
        let kept = less(&a.axes, from);
        Named::unmerged(a.ordered(&[&kept, from].concat(), table)?, &[&kept, into], table)?
    }))
}

/// Positions `start ..` of `axis` as `into`.
pub(super) fn slice(a: &Cells, axis: AxisId, start: u64, into: AxisId, table: &[Axis]) -> Result<Cells, ExecError> {
    let part = window(start, into, table);
    Ok(alike!(a, a => {
        let dim = a.dim(axis)?;
        let mut cells = a.cells.clone();
        cells.slice_axis_inplace(Dimension(dim), part);
        let mut axes = a.axes.clone();
        axes[dim] = into;
        Named { axes, cells }
    }))
}

fn window(start: u64, part: AxisId, table: &[Axis]) -> Slice {
    let start = start as usize;
    Slice::from(start..start + sizes(&[part], table)[0])
}

/// `axis` at `start ..` of `into`, zeros elsewhere.
pub(super) fn pad(a: &Cells, axis: AxisId, start: u64, into: AxisId, table: &[Axis]) -> Result<Cells, ExecError> {
    fn place<T: Clone + Default>(a: &Named<T>, axis: AxisId, start: u64, into: AxisId, table: &[Axis]) -> Result<Named<T>, ExecError> {
        let dim = a.dim(axis)?;
        let mut axes = a.axes.clone();
        axes[dim] = into;
        let mut cells = Array::from_elem(IxDyn(&sizes(&axes, table)), T::default());
        cells.slice_axis_mut(Dimension(dim), window(start, axis, table)).assign(&a.cells);
        Ok(Named::new(axes, cells))
    }
    Ok(alike!(a, a => place(a, axis, start, into, table)?))
}

/// Inputs one behind the other.
pub(super) fn concat(inputs: &[&Cells], each: &[AxisId], into: AxisId, table: &[Axis]) -> Result<Cells, ExecError> {
    fn join<T: Clone>(inputs: &[&Named<T>], each: &[AxisId], into: AxisId, table: &[Axis]) -> Result<Named<T>, ExecError> {
        let first = inputs.first().ok_or_else(|| fault("concat of nothing"))?;
        let kept = less(&first.axes, &each[..1]);
        let views = inputs.iter().zip(each).map(|(a, &axis)| a.view(&[&kept[..], &[axis]].concat(), table));
        let views: Vec<ArrayView<'_, T, IxDyn>> = views.collect::<Result<_, _>>()?;
        let cells = ndarray::concatenate(Dimension(kept.len()), &views).map_err(|e| fault(e.to_string()))?;
        Ok(Named::new([&kept[..], &[into]].concat(), cells))
    }
    macro_rules! gather {
        ($variant:ident) => {{
            let same = inputs.iter().filter_map(|a| if let Cells::$variant(a) = a { Some(a) } else { None });
            Cells::$variant(join(&same.collect::<Vec<_>>(), each, into, table)?)
        }};
    }
    Ok(match inputs.first() {
        Some(Cells::F32(_)) => gather!(F32),
        Some(Cells::F64(_)) => gather!(F64),
        Some(Cells::I32(_)) => gather!(I32),
        Some(Cells::Bool(_)) => gather!(Bool),
        None => return Err(fault("concat of nothing")),
    })
}

/// A position checked against its axis.
pub(super) fn checked(position: i32, axis: AxisId, table: &[Axis], origin: &Origin) -> Result<usize, ExecError> {
    let Axis { name, size } = &table[axis.index()];
    match usize::try_from(position) {
        Ok(at) if (at as u64) < *size => Ok(at),
        _ => Err(ExecError::OutOfRange { axis: name.clone(), position: i64::from(position), size: *size, origin: origin.clone() }),
    }
}

/// Entries of `a` along `axis` at the positions; other shared axes align.
pub(super) fn gather(a: &Cells, positions: &Named<i32>, axis: AxisId, table: &[Axis], origin: &Origin) -> Result<Cells, ExecError> {
    fn pick<T: Clone>(a: &Named<T>, at: &Named<i32>, axis: AxisId, table: &[Axis], origin: &Origin) -> Result<Named<T>, ExecError> {
        let shared: Vec<AxisId> = at.axes.iter().copied().filter(|x| a.axes.contains(x)).collect();
        let free = less(&at.axes, &shared);
        let rest = less(&less(&a.axes, &shared), &[axis]);
        let from = a.merged(&[&shared, &[axis], &rest], table)?.into_dimensionality::<Ix3>().map_err(|e| fault(e.to_string()))?;
        let at = at.merged(&[&shared, &free], table)?.into_dimensionality::<Ix2>().map_err(|e| fault(e.to_string()))?;
        let mut out = Vec::with_capacity(at.len() * from.len_of(Dimension(2)));
        for (from, at) in from.outer_iter().zip(at.outer_iter()) {
            for &position in at {
                out.extend(from.row(checked(position, axis, table, origin)?).iter().cloned());
            }
        }
        Named::from_vec([shared, free, rest].concat(), table, out)
    }
    Ok(alike!(a, a => pick(a, positions, axis, table, origin)?))
}

/// Sums updates into `axis` at the positions, in row-major order of the axes that are summed, those of the positions first.
pub(super) fn scatter_add(
    positions: &Named<i32>,
    updates: &Cells,
    axis: AxisId,
    keep: &[AxisId],
    table: &[Axis],
    origin: &Origin,
) -> Result<Cells, ExecError> {
    match updates {
        Cells::F32(u) => Ok(Cells::F32(scatter(positions, u, axis, keep, table, origin, |s, x| s + x)?)),
        Cells::F64(u) => Ok(Cells::F64(scatter(positions, u, axis, keep, table, origin, |s, x| s + x)?)),
        Cells::I32(u) => Ok(Cells::I32(scatter(positions, u, axis, keep, table, origin, i32::wrapping_add)?)),
        Cells::Bool(_) => Err(fault("scatter_add of bool")),
    }
}

fn scatter<T: Copy + Default>(
    at: &Named<i32>,
    updates: &Named<T>,
    axis: AxisId,
    keep: &[AxisId],
    table: &[Axis],
    origin: &Origin,
    add: impl Fn(T, T) -> T,
) -> Result<Named<T>, ExecError> {
    let mut order = at.axes.clone();
    order.sort_unstable();
    let shared: Vec<AxisId> = order.iter().copied().filter(|x| keep.contains(x)).collect();
    let free = less(&order, &shared);
    let rest = less(keep, &shared);
    let mut summed = less(&less(&less(&updates.axes, &shared), &free), &rest);
    summed.sort_unstable();
    let at = at.merged(&[&shared, &free], table)?.into_dimensionality::<Ix2>().map_err(|e| fault(e.to_string()))?;
    let count = |group: &[AxisId]| sizes(group, table).iter().product::<usize>();
    let (extra, width, places) = (count(&summed), count(&rest), count(&[axis]));
    let from = updates.ordered(&[&shared[..], &free, &summed, &rest].concat(), table)?;
    let from = from.into_raw_vec_and_offset().0;
    let mut out = vec![T::default(); at.nrows() * places * width];
    let mut rows = from.chunks_exact(width);
    for (group, at) in at.outer_iter().enumerate() {
        for &position in at {
            let start = (group * places + checked(position, axis, table, origin)?) * width;
            for row in rows.by_ref().take(extra) {
                for (sum, &x) in out[start..start + width].iter_mut().zip(row) {
                    *sum = add(*sum, x);
                }
            }
        }
    }
    Named::from_vec([shared, vec![axis], rest].concat(), table, out)
}

/// Positions along the axis.
pub(super) fn iota(axis: AxisId, table: &[Axis]) -> Result<Cells, ExecError> {
    let size = i32::try_from(table[axis.index()].size)
        .map_err(|_| fault(format!("positions of `{}` do not fit i32", table[axis.index()].name)))?;
    Ok(Cells::I32(Named::from_vec(vec![axis], table, (0..size).collect())?))
}

/// Values of the iterations of a loop one behind the other along a new axis.
pub(super) fn stack(parts: &[Cells], axis: AxisId, table: &[Axis]) -> Result<Cells, ExecError> {
    fn pile<T: Clone>(parts: &[&Named<T>], axis: AxisId, table: &[Axis]) -> Result<Named<T>, ExecError> {
        let first = parts.first().ok_or_else(|| fault("a stack of nothing"))?;
        let views = parts.iter().map(|a| a.view(&first.axes, table)).collect::<Result<Vec<_>, _>>()?;
        let cells = ndarray::stack(Dimension(0), &views).map_err(|e| fault(e.to_string()))?;
        Ok(Named::new([&[axis], &first.axes[..]].concat(), cells))
    }
    macro_rules! gather {
        ($variant:ident) => {{
            let same = parts.iter().filter_map(|a| if let Cells::$variant(a) = a { Some(a) } else { None });
            Cells::$variant(pile(&same.collect::<Vec<_>>(), axis, table)?)
        }};
    }
    Ok(match parts.first() {
        Some(Cells::F32(_)) => gather!(F32),
        Some(Cells::F64(_)) => gather!(F64),
        Some(Cells::I32(_)) => gather!(I32),
        Some(Cells::Bool(_)) => gather!(Bool),
        None => return Err(fault("a stack of nothing")),
    })
}

/// Floats made one by one in row-major order of `axes`.
pub(super) fn generate<T: Real>(axes: &[AxisId], table: &[Axis], mut f: impl FnMut(u64) -> f64) -> Result<Named<T>, ExecError> {
    let count = sizes(axes, table).iter().product::<usize>() as u64;
    let cells = (0..count).map(|i| T::of(f(i))).collect();
    Ok(Named { axes: axes.to_vec(), cells: ArcArray::from_shape_vec(IxDyn(&sizes(axes, table)), cells).map_err(|e| fault(e.to_string()))? })
}
