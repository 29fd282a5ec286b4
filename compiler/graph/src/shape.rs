//! Element types and shapes. A shape is a *set* of axes: order carries no meaning before `schedule`.

use crate::entity::AxisId;
use crate::graph::Axis;
use smallvec::SmallVec;
use std::fmt;

/// Element type of a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE double precision: the interpreter's type of reference.
    F64,
    /// Signed 32-bit integer: positions, tokens, chosen experts.
    I32,
    /// Truth value, one byte in memory.
    Bool,
}

impl DType {
    /// `f32` or `f64`: carries gradients.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }

    /// Bytes of one element in memory.
    pub fn bytes(self) -> u64 {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::F64 => 8,
            DType::Bool => 1,
        }
    }

    /// The name in the textual form.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I32 => "i32",
            DType::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Elements of a shape, saturating.
pub(crate) fn elements(axes: &[Axis], shape: &Shape) -> u64 {
    shape.iter().fold(1, |n: u64, a| n.saturating_mul(axes[a.index()].size))
}

/// Bytes of a value, saturating.
pub(crate) fn bytes(axes: &[Axis], ty: &Ty) -> u64 {
    elements(axes, &ty.shape).saturating_mul(ty.dtype.bytes())
}

/// A set of axes, kept sorted by id so that equal sets compare equal.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Shape(SmallVec<[AxisId; 6]>);

impl Shape {
    /// The shape of a scalar.
    pub fn scalar() -> Self {
        Self::default()
    }

    /// The set of the given axes; repeats are dropped.
    pub fn of(axes: impl IntoIterator<Item = AxisId>) -> Self {
        let mut set: SmallVec<[AxisId; 6]> = axes.into_iter().collect();
        set.sort_unstable();
        set.dedup();
        Shape(set)
    }

    /// Axes in id order.
    pub fn axes(&self) -> &[AxisId] {
        &self.0
    }

    /// Axes in id order, by value.
    pub fn iter(&self) -> impl Iterator<Item = AxisId> + '_ {
        self.0.iter().copied()
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Whether this is the shape of a scalar.
    pub fn is_scalar(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `axis` is one of the axes.
    pub fn contains(&self, axis: AxisId) -> bool {
        self.0.binary_search(&axis).is_ok()
    }

    /// Whether every axis of `other` is in this set.
    pub fn contains_all(&self, other: &Shape) -> bool {
        other.iter().all(|a| self.contains(a))
    }

    /// The axes of both.
    #[must_use]
    pub fn union(&self, other: &Shape) -> Shape {
        Shape::of(self.iter().chain(other.iter()))
    }

    /// The axes common to both.
    #[must_use]
    pub fn intersection(&self, other: &Shape) -> Shape {
        Shape::of(self.iter().filter(|&a| other.contains(a)))
    }

    /// The axes that are not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Shape) -> Shape {
        Shape::of(self.iter().filter(|&a| !other.contains(a)))
    }

    /// This set and `axis`.
    #[must_use]
    pub fn with(&self, axis: AxisId) -> Shape {
        Shape::of(self.iter().chain([axis]))
    }

    /// This set less `axis`.
    #[must_use]
    pub fn without(&self, axis: AxisId) -> Shape {
        Shape::of(self.iter().filter(|&a| a != axis))
    }
}

impl FromIterator<AxisId> for Shape {
    fn from_iter<T: IntoIterator<Item = AxisId>>(axes: T) -> Self {
        Shape::of(axes)
    }
}

/// The type of a value: element type and set of axes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ty {
    /// Element type.
    pub dtype: DType,
    /// Axes.
    pub shape: Shape,
}

impl Ty {
    /// A type from its parts.
    pub fn new(dtype: DType, shape: Shape) -> Self {
        Ty { dtype, shape }
    }

    /// The type of a scalar.
    pub fn scalar(dtype: DType) -> Self {
        Ty { dtype, shape: Shape::scalar() }
    }
}
