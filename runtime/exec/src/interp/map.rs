//! Element-wise functions: operands align by axis and repeat along the axes they lack.

use super::array::{Cells, Named, fault};
use super::number::{Real, comparison, whole_binary, whole_unary};
use crate::backend::ExecError;
use ndarray::{Array, IxDyn, Zip};
use ogive_graph::{Axis, AxisId, DType, MapFn, Ty};

/// Applies `f`; the result has the axes of `ty`.
pub(super) fn map(f: MapFn, operands: &[&Cells], ty: &Ty, table: &[Axis]) -> Result<Cells, ExecError> {
    match *operands {
        [a] if f == MapFn::Cast => Ok(cast(a, ty.dtype)),
        [a] => unary(f, a),
        [a, b] => binary(f, a, b, ty.shape.axes(), table),
        [condition, a, b] => choose(condition.truths()?, a, b, ty.shape.axes(), table),
        _ => Err(fault(format!("{} of {} operands", f.name(), operands.len()))),
    }
}

fn undefined(f: MapFn, dtype: DType) -> ExecError {
    fault(format!("{} of {dtype}", f.name()))
}

fn unary(f: MapFn, a: &Cells) -> Result<Cells, ExecError> {
    let lacking = || undefined(f, a.dtype());
    Ok(match a {
        Cells::F32(a) => Cells::F32(a.mapped(f32::unary(f).ok_or_else(lacking)?)),
        Cells::F64(a) => Cells::F64(a.mapped(f64::unary(f).ok_or_else(lacking)?)),
        Cells::I32(a) => Cells::I32(a.mapped(whole_unary(f).ok_or_else(lacking)?)),
        Cells::Bool(a) if f == MapFn::Not => Cells::Bool(a.mapped(|x| !x)),
        Cells::Bool(a) if f == MapFn::StopGradient => Cells::Bool(a.clone()),
        Cells::Bool(_) => return Err(lacking()),
    })
}

fn binary(f: MapFn, a: &Cells, b: &Cells, axes: &[AxisId], table: &[Axis]) -> Result<Cells, ExecError> {
    let lacking = || undefined(f, a.dtype());
    match (a, b) {
        (Cells::F32(a), Cells::F32(b)) => match f32::binary(f) {
            Some(g) => Ok(Cells::F32(zip(a, b, axes, table, g)?)),
            None => Ok(Cells::Bool(zip(a, b, axes, table, comparison(f).ok_or_else(lacking)?)?)),
        },
        (Cells::F64(a), Cells::F64(b)) => match f64::binary(f) {
            Some(g) => Ok(Cells::F64(zip(a, b, axes, table, g)?)),
            None => Ok(Cells::Bool(zip(a, b, axes, table, comparison(f).ok_or_else(lacking)?)?)),
        },
        (Cells::I32(a), Cells::I32(b)) => match whole_binary(f) {
            Some(g) => Ok(Cells::I32(zip(a, b, axes, table, g)?)),
            None => Ok(Cells::Bool(zip(a, b, axes, table, comparison(f).ok_or_else(lacking)?)?)),
        },
        (Cells::Bool(a), Cells::Bool(b)) => {
            let g: fn(bool, bool) -> bool = match f {
                MapFn::And => |a, b| a && b,
                MapFn::Or => |a, b| a || b,
                _ => comparison(f).ok_or_else(lacking)?,
            };
            Ok(Cells::Bool(zip(a, b, axes, table, g)?))
        }
        _ => Err(fault(format!("{} of {} and {}", f.name(), a.dtype(), b.dtype()))),
    }
}

/// A function of two aligned arrays.
pub(super) fn zip<T: Copy, U: Clone>(
    a: &Named<T>,
    b: &Named<T>,
    axes: &[AxisId],
    table: &[Axis],
    f: impl Fn(T, T) -> U,
) -> Result<Named<U>, ExecError> {
    let cells: Array<U, IxDyn> = Zip::from(a.view(axes, table)?).and(b.view(axes, table)?).map_collect(|&a, &b| f(a, b));
    Ok(Named::new(axes.to_vec(), cells))
}

fn choose(condition: &Named<bool>, a: &Cells, b: &Cells, axes: &[AxisId], table: &[Axis]) -> Result<Cells, ExecError> {
    fn pick<T: Copy>(c: &Named<bool>, a: &Named<T>, b: &Named<T>, axes: &[AxisId], table: &[Axis]) -> Result<Named<T>, ExecError> {
        let (c, a, b) = (c.view(axes, table)?, a.view(axes, table)?, b.view(axes, table)?);
        Ok(Named::new(axes.to_vec(), Zip::from(c).and(a).and(b).map_collect(|&c, &a, &b| if c { a } else { b })))
    }
    Ok(match (a, b) {
        (Cells::F32(a), Cells::F32(b)) => Cells::F32(pick(condition, a, b, axes, table)?),
        (Cells::F64(a), Cells::F64(b)) => Cells::F64(pick(condition, a, b, axes, table)?),
        (Cells::I32(a), Cells::I32(b)) => Cells::I32(pick(condition, a, b, axes, table)?),
        (Cells::Bool(a), Cells::Bool(b)) => Cells::Bool(pick(condition, a, b, axes, table)?),
        _ => return Err(fault(format!("where of {} and {}", a.dtype(), b.dtype()))),
    })
}

#[allow(clippy::cast_possible_truncation, reason = "a cast is asked for")]
fn cast(a: &Cells, to: DType) -> Cells {
    match (a, to) {
        (Cells::F32(a), DType::F64) => Cells::F64(a.mapped(f64::from)),
        (Cells::F32(a), DType::I32) => Cells::I32(a.mapped(|x| x as i32)),
        (Cells::F32(a), DType::Bool) => Cells::Bool(a.mapped(|x| x != 0.0)),
        (Cells::F64(a), DType::F32) => Cells::F32(a.mapped(|x| x as f32)),
        (Cells::F64(a), DType::I32) => Cells::I32(a.mapped(|x| x as i32)),
        (Cells::F64(a), DType::Bool) => Cells::Bool(a.mapped(|x| x != 0.0)),
        (Cells::I32(a), DType::F32) => Cells::F32(a.mapped(|x| x as f32)),
        (Cells::I32(a), DType::F64) => Cells::F64(a.mapped(f64::from)),
        (Cells::I32(a), DType::Bool) => Cells::Bool(a.mapped(|x| x != 0)),
        (Cells::Bool(a), DType::F32) => Cells::F32(a.mapped(|x| f32::from(u8::from(x)))),
        (Cells::Bool(a), DType::F64) => Cells::F64(a.mapped(|x| f64::from(u8::from(x)))),
        (Cells::Bool(a), DType::I32) => Cells::I32(a.mapped(i32::from)),
        (Cells::F32(_), DType::F32) | (Cells::F64(_), DType::F64) | (Cells::I32(_), DType::I32) | (Cells::Bool(_), DType::Bool) => {
            a.clone()
        }
    }
}
