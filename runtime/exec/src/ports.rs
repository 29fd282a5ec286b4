//! Tensors against ports: the one place that says which tensor fits which port.
//!
//! A tensor fits when its dims have the port's names, order and sizes and its element type is the port's. A dim without a name fits any
//! axis of its size. Floats of the other width are converted; nothing else is.

use crate::backend::ExecError;
use crate::tensor::{Dim, Tensor};
use ogive_graph::{Axis, DType, Port};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The tensor for a port, in the port's element type.
///
/// # Errors
/// `Missing`, `Mismatch`.
pub fn accept<'a>(tensors: &'a BTreeMap<String, Tensor>, port: &Port, dtype: DType, axes: &[Axis]) -> Result<Cow<'a, Tensor>, ExecError> {
    let expected = || dims(port, axes);
    let Some(tensor) = tensors.get(&port.name) else {
        return Err(ExecError::Missing { name: port.name.clone(), dims: show(&expected()) });
    };
    let fits = |have: &Dim, want: &Dim| have.size == want.size && (have.name.is_empty() || have.name == want.name);
    let wanted = expected();
    let same_dims = tensor.dims.len() == wanted.len() && tensor.dims.iter().zip(&wanted).all(|(h, w)| fits(h, w));
    let same_type = tensor.dtype() == dtype || (tensor.dtype().is_float() && dtype.is_float());
    let complete = Some(tensor.len()) == tensor.dims.iter().try_fold(1usize, |n, d| n.checked_mul(d.size));
    if !(same_dims && same_type && complete) {
        let elements = if complete { String::new() } else { format!(" with {} elements", tensor.len()) };
        return Err(ExecError::Mismatch {
            name: port.name.clone(),
            expected: format!("{dtype} {}", show(&wanted)),
            found: format!("{} {}{elements}", tensor.dtype(), show(&tensor.dims)),
        });
    }
    Ok(if tensor.dtype() == dtype { Cow::Borrowed(tensor) } else { Cow::Owned(tensor.cast(dtype)) })
}

/// The dims that a port asks for.
pub fn dims(port: &Port, axes: &[Axis]) -> Vec<Dim> {
    let dim = |axis: &Axis| Dim { name: axis.name.clone(), size: usize::try_from(axis.size).unwrap_or(usize::MAX) };
    port.order.iter().map(|a| dim(&axes[a.index()])).collect()
}

/// Dims as a reader sees them: `[batch: 4, seq: 16]`.
pub fn show(dims: &[Dim]) -> String {
    let part = |d: &Dim| if d.name.is_empty() { d.size.to_string() } else { format!("{}: {}", d.name, d.size) };
    format!("[{}]", dims.iter().map(part).collect::<Vec<_>>().join(", "))
}
