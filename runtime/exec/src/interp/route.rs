//! Selection and routed contraction by the definition. Chosen weights are read where they lie; sums of products are taken in f64 and
//! rounded once.

use super::array::{Cells, Named, fault, sizes};
use super::index::checked;
use super::number::Real;
use super::reduce::less;
use crate::backend::ExecError;
use ogive_graph::{Axis, AxisId, Origin, Shape};
use std::cmp::Ordering;

/// Positions of the largest elements, in ascending order.
pub(super) fn top(inputs: &[&Cells], over: &[AxisId], into: AxisId, table: &[Axis]) -> Result<Cells, ExecError> {
    macro_rules! ranked {
        ($variant:ident) => {{
            let parts: Vec<_> = inputs.iter().filter_map(|a| if let Cells::$variant(a) = a { Some(a) } else { None }).collect();
            Ok(Cells::I32(largest(&parts, over, into, table)?))
        }};
    }
    match inputs.first() {
        Some(Cells::F32(_)) => ranked!(F32),
        Some(Cells::F64(_)) => ranked!(F64),
        _ => Err(fault("top of what is no float")),
    }
}

fn largest<T: Real>(parts: &[&Named<T>], over: &[AxisId], into: AxisId, table: &[Axis]) -> Result<Named<i32>, ExecError> {
    let kept: Vec<AxisId> =
        Shape::of(parts.iter().flat_map(|p| p.axes.iter().copied())).minus(&over.iter().copied().collect()).iter().collect();
    let count = sizes(&[into], table)[0];
    let parts: Vec<Flat<T>> = parts.iter().map(|p| Flat::of(p, table)).collect::<Result<_, _>>()?;
    let rows: Vec<Vec<usize>> = parts.iter().map(|p| p.offsets(&kept, table)).collect();
    let places: Vec<Vec<usize>> = parts.iter().map(|p| p.offsets(over, table)).collect();
    let mut chosen = Vec::new();
    for row in 0..points(&kept, table) {
        let score = |place: usize| {
            let mut each = parts.iter().zip(&rows).zip(&places).map(|((p, rows), places)| p.cells[rows[row] + places[place]]);
            let first = each.next().unwrap_or(T::LOWEST);
            each.fold(first, |sum, x| sum + x)
        };
        let scores: Vec<T> = (0..points(over, table)).map(score).collect();
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&i, &j| descending(scores[i], scores[j]));
        order.truncate(count);
        order.sort_unstable();
        chosen.extend(order.into_iter().map(|i| i as i32));
    }
    Named::from_vec([&kept[..], &[into]].concat(), table, chosen)
}

/// The larger first, NaN first: what it chooses is no number, so that it does not go unnoticed.
fn descending<T: Real>(a: T, b: T) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| b.wide().is_nan().cmp(&a.wide().is_nan()))
}

/// The sequence of points by group, and where each group ends in it.
pub(super) fn route(
    positions: &Named<i32>,
    axis: AxisId,
    shared: &[AxisId],
    order: &[AxisId],
    table: &[Axis],
    origin: &Origin,
) -> Result<[Cells; 2], ExecError> {
    let at = positions.ordered(order, table)?.into_raw_vec_and_offset().0;
    let places = sizes(&[axis], table)[0];
    let zeros = Flat { cells: vec![(); points(shared, table)], axes: shared.to_vec(), sizes: sizes(shared, table) };
    let groups = zeros.offsets(order, table);
    let keys: Vec<usize> =
        at.iter().zip(groups).map(|(&p, group)| Ok(group * places + checked(p, axis, table, origin)?)).collect::<Result<_, ExecError>>()?;
    let mut ends = vec![0i32; points(shared, table) * places];
    keys.iter().for_each(|&k| ends[k] += 1);
    for i in 1..ends.len() {
        ends[i] += ends[i - 1];
    }
    let mut sequence: Vec<usize> = (0..keys.len()).collect();
    sequence.sort_by_key(|&i| keys[i]);
    let sequence = Named::from_vec(order.to_vec(), table, sequence.into_iter().map(|i| i as i32).collect())?;
    Ok([Cells::I32(sequence), Cells::I32(Named::from_vec([shared, &[axis]].concat(), table, ends)?)])
}

/// Sum over the axes of `x` times the weights at the positions.
pub(super) fn routed(
    x: &Cells,
    w: &Cells,
    positions: &Named<i32>,
    axis: AxisId,
    over: &[AxisId],
    table: &[Axis],
    origin: &Origin,
) -> Result<Cells, ExecError> {
    match (x, w) {
        (Cells::F32(x), Cells::F32(w)) => Ok(Cells::F32(weighted(x, w, positions, axis, over, table, origin)?)),
        (Cells::F64(x), Cells::F64(w)) => Ok(Cells::F64(weighted(x, w, positions, axis, over, table, origin)?)),
        _ => Err(fault("a routed contraction of operands that do not fit")),
    }
}

fn weighted<T: Real>(
    x: &Named<T>,
    w: &Named<T>,
    positions: &Named<i32>,
    axis: AxisId,
    over: &[AxisId],
    table: &[Axis],
    origin: &Origin,
) -> Result<Named<T>, ExecError> {
    let all = Shape::of(x.axes.iter().chain(&w.axes).chain(&positions.axes).copied()).without(axis);
    let kept = less(all.axes(), over);
    let (x, w, at) = (Flat::of(x, table)?, Flat::of(w, table)?, Flat::of(positions, table)?);
    // Where the weights of each point start.
    let step = w.stride(axis);
    let starts: Vec<usize> = at.cells.iter().map(|&p| Ok(checked(p, axis, table, origin)? * step)).collect::<Result<_, ExecError>>()?;
    let outer = [x.offsets(&kept, table), w.offsets(&kept, table), at.offsets(&kept, table)];
    let inner = [x.offsets(over, table), w.offsets(over, table), at.offsets(over, table)];
    let sum = |row: usize| {
        let [px, pw, pp] = [outer[0][row], outer[1][row], outer[2][row]];
        let term = |i: usize| x.cells[px + inner[0][i]].wide() * w.cells[pw + inner[1][i] + starts[pp + inner[2][i]]].wide();
        T::of((0..inner[0].len()).map(term).sum())
    };
    let sums = (0..outer[0].len()).map(sum).collect();
    Named::from_vec(kept, table, sums)
}

/// Sum into the positions of the product of two operands, point by point.
pub(super) fn routed_outer(
    x: &Cells,
    y: &Cells,
    positions: &Named<i32>,
    axis: AxisId,
    keep: &[AxisId],
    table: &[Axis],
    origin: &Origin,
) -> Result<Cells, ExecError> {
    match (x, y) {
        (Cells::F32(x), Cells::F32(y)) => Ok(Cells::F32(outer(x, y, positions, axis, keep, table, origin)?)),
        (Cells::F64(x), Cells::F64(y)) => Ok(Cells::F64(outer(x, y, positions, axis, keep, table, origin)?)),
        _ => Err(fault("a routed product of operands that do not fit")),
    }
}

fn outer<T: Real>(
    x: &Named<T>,
    y: &Named<T>,
    positions: &Named<i32>,
    axis: AxisId,
    keep: &[AxisId],
    table: &[Axis],
    origin: &Origin,
) -> Result<Named<T>, ExecError> {
    let own = [&[axis], keep].concat();
    let mut sums = Flat { cells: vec![0.0f64; points(&own, table)], sizes: sizes(&own, table), axes: own };
    let step = sums.stride(axis);
    let both = Shape::of(x.axes.iter().chain(&y.axes).copied());
    let (x, y, at) = (Flat::of(x, table)?, Flat::of(y, table)?, Flat::of(positions, table)?);
    let rest = less(keep, &at.axes);
    let summed = less(&less(both.axes(), &at.axes), keep);
    let [px, py, ps] = [x.offsets(&at.axes, table), y.offsets(&at.axes, table), sums.offsets(&at.axes, table)];
    let [kx, ky, ks] = [x.offsets(&rest, table), y.offsets(&rest, table), sums.offsets(&rest, table)];
    let [ex, ey] = [x.offsets(&summed, table), y.offsets(&summed, table)];
    for (point, &position) in at.cells.iter().enumerate() {
        let start = ps[point] + checked(position, axis, table, origin)? * step;
        for k in 0..kx.len() {
            let (bx, by) = (px[point] + kx[k], py[point] + ky[k]);
            let product: f64 = ex.iter().zip(&ey).map(|(i, j)| x.cells[bx + i].wide() * y.cells[by + j].wide()).sum();
            sums.cells[start + ks[k]] += product;
        }
    }
    Named::from_vec(sums.axes, table, sums.cells.into_iter().map(T::of).collect())
}

/// Number of points of the axes.
fn points(axes: &[AxisId], table: &[Axis]) -> usize {
    sizes(axes, table).iter().product()
}

/// Elements in row-major order of the axes.
struct Flat<T> {
    cells: Vec<T>,
    axes: Vec<AxisId>,
    sizes: Vec<usize>,
}

impl<T: Clone> Flat<T> {
    fn of(a: &Named<T>, table: &[Axis]) -> Result<Self, ExecError> {
        let cells = a.ordered(&a.axes, table)?.into_raw_vec_and_offset().0;
        Ok(Flat { cells, axes: a.axes.clone(), sizes: sizes(&a.axes, table) })
    }

    /// Distance of neighbours along the axis; 0 where there is no such axis.
    fn stride(&self, axis: AxisId) -> usize {
        match self.axes.iter().position(|&a| a == axis) {
            Some(dim) => self.sizes[dim + 1..].iter().product(),
            None => 0,
        }
    }

    /// Distance from the first element to each point of the axes, in row-major order; constant along axes that it lacks.
    fn offsets(&self, axes: &[AxisId], table: &[Axis]) -> Vec<usize> {
        axes.iter().fold(vec![0], |starts, &axis| {
            let (size, stride) = (sizes(&[axis], table)[0], self.stride(axis));
            starts.into_iter().flat_map(|s| (0..size).map(move |i| s + i * stride)).collect()
        })
    }
}
