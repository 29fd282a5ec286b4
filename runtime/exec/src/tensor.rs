//! Tensors with named dims: what goes into and comes out of an executor.

use ogive_graph::DType;

/// Elements of a tensor, row-major in the order of its dims.
#[derive(Clone, PartialEq, Debug)]
pub enum Data {
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Integers.
    I32(Vec<i32>),
    /// Truth values, 0 or 1.
    Bool(Vec<u8>),
}

impl Data {
    /// Zeros.
    pub fn zeros(dtype: DType, len: usize) -> Self {
        match dtype {
            DType::F32 => Data::F32(vec![0.0; len]),
            DType::F64 => Data::F64(vec![0.0; len]),
            DType::I32 => Data::I32(vec![0; len]),
            DType::Bool => Data::Bool(vec![0; len]),
        }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
            Data::I32(_) => DType::I32,
            Data::Bool(_) => DType::Bool,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::F64(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::Bool(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A named dim of a tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dim {
    /// The axis name.
    pub name: String,
    /// Number of positions.
    pub size: usize,
}

/// A dense tensor, row-major in the order of `dims`.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// Dims, slowest first.
    pub dims: Vec<Dim>,
    /// Elements.
    pub data: Data,
}

impl Tensor {
    /// Zeros of the given type and dims.
    pub fn zeros(dtype: DType, dims: Vec<Dim>) -> Self {
        let len = dims.iter().map(|d| d.size).product();
        Tensor { dims, data: Data::zeros(dtype, len) }
    }

    /// A scalar.
    pub fn scalar(data: Data) -> Self {
        Tensor { dims: Vec::new(), data }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Every element as f64 (i32 and bool converted).
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::F64(v) => v.clone(),
            Data::I32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::Bool(v) => v.iter().map(|&x| f64::from(x)).collect(),
        }
    }

    /// The same tensor in another element type.
    #[must_use]
    pub fn cast(&self, dtype: DType) -> Tensor {
        if self.dtype() == dtype {
            return self.clone();
        }
        let values = self.to_f64();
        #[allow(clippy::cast_possible_truncation, reason = "a cast is asked for")]
        let data = match dtype {
            DType::F32 => Data::F32(values.iter().map(|&x| x as f32).collect()),
            DType::F64 => Data::F64(values),
            DType::I32 => Data::I32(values.iter().map(|&x| x as i32).collect()),
            DType::Bool => Data::Bool(values.iter().map(|&x| u8::from(x != 0.0)).collect()),
        };
        Tensor { dims: self.dims.clone(), data }
    }
}
