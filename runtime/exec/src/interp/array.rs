//! Arrays with named axes: an `ndarray` of any rank and the axis of each of its dims, in any order.
//!
//! Nothing here depends on the order in which an array happens to keep its axes; two arrays meet through [`Named::view`], which permutes
//! and broadcasts, or through [`Named::merged`], which groups axes into few dims.

use crate::backend::ExecError;
use crate::tensor::{Data, Dim, Tensor};
use ndarray::{ArcArray, Array, ArrayView, Axis as Dimension, IxDyn};
use ogive_graph::{Axis, AxisId, DType, Port};

/// An array of one element type. Cloning shares the elements.
#[derive(Clone, Debug)]
pub(super) struct Named<T> {
    /// Axis of each dim, all different.
    pub(super) axes: Vec<AxisId>,
    /// The elements.
    pub(super) cells: ArcArray<T, IxDyn>,
}

/// An array of any element type.
#[derive(Clone, Debug)]
pub(super) enum Cells {
    F32(Named<f32>),
    F64(Named<f64>),
    I32(Named<i32>),
    Bool(Named<bool>),
}

/// Runs the same generic expression on the array inside, whatever its element type, and wraps the result alike.
macro_rules! alike {
    ($cells:expr, $a:ident => $body:expr) => {
        match $cells {
            $crate::interp::array::Cells::F32($a) => $crate::interp::array::Cells::F32($body),
            $crate::interp::array::Cells::F64($a) => $crate::interp::array::Cells::F64($body),
            $crate::interp::array::Cells::I32($a) => $crate::interp::array::Cells::I32($body),
            $crate::interp::array::Cells::Bool($a) => $crate::interp::array::Cells::Bool($body),
        }
    };
}
pub(super) use alike;

/// A fault of ogive, as an error.
pub(super) fn fault(what: impl Into<String>) -> ExecError {
    ExecError::Internal(what.into())
}

/// Sizes of axes.
pub(super) fn sizes(axes: &[AxisId], table: &[Axis]) -> Vec<usize> {
    axes.iter().map(|a| table[a.index()].size as usize).collect()
}

impl<T: Clone> Named<T> {
    /// A scalar.
    pub(super) fn scalar(value: T) -> Self {
        Named { axes: Vec::new(), cells: ArcArray::from_elem(IxDyn(&[]), value) }
    }

    /// Elements in row-major order of `axes`.
    pub(super) fn from_vec(axes: Vec<AxisId>, table: &[Axis], elements: Vec<T>) -> Result<Self, ExecError> {
        let dims = sizes(&axes, table);
        let cells = ArcArray::from_shape_vec(IxDyn(&dims), elements).map_err(|e| fault(format!("elements of an array: {e}")))?;
        Ok(Named { axes, cells })
    }

    /// An array as computed.
    pub(super) fn new(axes: Vec<AxisId>, cells: Array<T, IxDyn>) -> Self {
        Named { axes, cells: cells.into_shared() }
    }

    /// Which dim has the axis.
    pub(super) fn dim(&self, axis: AxisId) -> Result<usize, ExecError> {
        self.axes.iter().position(|&a| a == axis).ok_or_else(|| fault(format!("an array without axis {}", axis.0)))
    }

    /// The array with its dims in the order of `target`, which holds all of its axes; repeated along axes it lacks.
    pub(super) fn view(&self, target: &[AxisId], table: &[Axis]) -> Result<ArrayView<'_, T, IxDyn>, ExecError> {
        if self.axes.iter().any(|a| !target.contains(a)) {
            return Err(fault("an array with more axes than its result"));
        }
        let lacking: Vec<AxisId> = target.iter().copied().filter(|a| !self.axes.contains(a)).collect();
        let mut shape = sizes(&lacking, table);
        shape.extend_from_slice(self.cells.shape());
        let place = |axis| {
            let own = self.axes.iter().position(|&a| a == axis).map(|dim| lacking.len() + dim);
            own.or_else(|| lacking.iter().position(|&a| a == axis)).unwrap_or(0)
        };
        let order: Vec<usize> = target.iter().map(|&a| place(a)).collect();
        let repeated = self.cells.broadcast(IxDyn(&shape)).ok_or_else(|| fault("an array that does not broadcast"))?;
        Ok(repeated.permuted_axes(IxDyn(&order)))
    }

    /// The elements in the order of `target`, a permutation of the axes.
    pub(super) fn ordered(&self, target: &[AxisId], table: &[Axis]) -> Result<Array<T, IxDyn>, ExecError> {
        Ok(self.view(target, table)?.as_standard_layout().into_owned())
    }

    /// The elements with groups of axes as dims: dim i runs over `groups[i]`, row-major. The groups hold every axis once.
    pub(super) fn merged(&self, groups: &[&[AxisId]], table: &[Axis]) -> Result<Array<T, IxDyn>, ExecError> {
        let dims: Vec<usize> = groups.iter().map(|g| sizes(g, table).iter().product()).collect();
        self.ordered(&groups.concat(), table)?.into_shape_with_order(IxDyn(&dims)).map_err(|e| fault(format!("groups of axes: {e}")))
    }

    /// The inverse of [`Named::merged`].
    pub(super) fn unmerged(cells: Array<T, IxDyn>, groups: &[&[AxisId]], table: &[Axis]) -> Result<Self, ExecError> {
        let axes = groups.concat();
        let cells = cells.into_shape_with_order(IxDyn(&sizes(&axes, table))).map_err(|e| fault(format!("axes of a group: {e}")))?;
        Ok(Named::new(axes, cells))
    }

    /// Position `at` of `axis`, without that axis. Shares the elements.
    pub(super) fn at(&self, axis: AxisId, at: usize) -> Result<Self, ExecError> {
        let dim = self.dim(axis)?;
        let mut axes = self.axes.clone();
        axes.remove(dim);
        Ok(Named { axes, cells: self.cells.clone().index_axis_move(Dimension(dim), at) })
    }

    /// The same array with every element mapped.
    pub(super) fn mapped<U: Clone>(&self, f: impl FnMut(T) -> U) -> Named<U> {
        let mut f = f;
        Named { axes: self.axes.clone(), cells: self.cells.map(|x| f(x.clone())).into_shared() }
    }
}

impl Cells {
    /// Element type.
    pub(super) fn dtype(&self) -> DType {
        match self {
            Cells::F32(_) => DType::F32,
            Cells::F64(_) => DType::F64,
            Cells::I32(_) => DType::I32,
            Cells::Bool(_) => DType::Bool,
        }
    }

    /// Axes in the order kept.
    pub(super) fn axes(&self) -> &[AxisId] {
        match self {
            Cells::F32(a) => &a.axes,
            Cells::F64(a) => &a.axes,
            Cells::I32(a) => &a.axes,
            Cells::Bool(a) => &a.axes,
        }
    }

    /// Position `at` of `axis`, without that axis.
    pub(super) fn at(&self, axis: AxisId, at: usize) -> Result<Cells, ExecError> {
        Ok(alike!(self, a => a.at(axis, at)?))
    }

    /// As i32.
    pub(super) fn positions(&self) -> Result<&Named<i32>, ExecError> {
        match self {
            Cells::I32(a) => Ok(a),
            Cells::F32(_) | Cells::F64(_) | Cells::Bool(_) => Err(fault("positions that are not i32")),
        }
    }

    /// As bool.
    pub(super) fn truths(&self) -> Result<&Named<bool>, ExecError> {
        match self {
            Cells::Bool(a) => Ok(a),
            Cells::F32(_) | Cells::F64(_) | Cells::I32(_) => Err(fault("a condition that is not bool")),
        }
    }

    /// From a tensor whose dims are those of the port, which must already be checked.
    pub(super) fn from_tensor(tensor: &Tensor, port: &Port, table: &[Axis]) -> Result<Cells, ExecError> {
        let order = port.order.clone();
        Ok(match &tensor.data {
            Data::F32(v) => Cells::F32(Named::from_vec(order, table, v.clone())?),
            Data::F64(v) => Cells::F64(Named::from_vec(order, table, v.clone())?),
            Data::I32(v) => Cells::I32(Named::from_vec(order, table, v.clone())?),
            Data::Bool(v) => Cells::Bool(Named::from_vec(order, table, v.iter().map(|&b| b != 0).collect())?),
        })
    }

    /// To a tensor with the dims of the port.
    pub(super) fn to_tensor(&self, port: &Port, table: &[Axis]) -> Result<Tensor, ExecError> {
        let order = &port.order;
        let dims = order.iter().map(|a| &table[a.index()]).map(|a| Dim { name: a.name.clone(), size: a.size as usize }).collect();
        let data = match self {
            Cells::F32(a) => Data::F32(a.ordered(order, table)?.into_raw_vec_and_offset().0),
            Cells::F64(a) => Data::F64(a.ordered(order, table)?.into_raw_vec_and_offset().0),
            Cells::I32(a) => Data::I32(a.ordered(order, table)?.into_raw_vec_and_offset().0),
            Cells::Bool(a) => Data::Bool(a.ordered(order, table)?.iter().map(|&b| u8::from(b)).collect()),
        };
        Ok(Tensor { dims, data })
    }
}
