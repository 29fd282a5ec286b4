//! The case table: one small graph for every operation and function, with inputs, for any suite to run over.
//!
//! To add a case, write a function over a [`Maker`] and add one line to a table. A case is built for an element type and a size: small
//! ones for finite differences, large ones (several tiles and a rest) for back ends. Inputs are multiples of 2^-11, so that every float
//! type holds them exactly.

pub mod kind;
pub mod layers;
mod library;
mod loops;
mod maker;
mod maps;
mod moves;
mod routed;
mod scans;
mod sums;

pub use maker::{Maker, Range};

use ogive_graph::{DType, Graph};
use ogive_runtime::{Bindings, Store};

/// How large the axes of a case are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// A few positions: every element can be varied.
    Small,
    /// More than one tile of a vectorised kernel, and no multiple of it.
    Large,
}

/// What the rounding of a case's outputs depends on; `check::tolerance` says how much of it there may be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Elements are moved, compared, counted or rounded once: every back end has the same bits.
    Exact,
    /// One transcendental function of each element.
    Elementary,
    /// Sums of products.
    Sum,
    /// Several of these in a row.
    Composite,
    /// A whole layer.
    Deep,
}

/// What is expected of the derivatives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Derivative {
    /// Agree with finite differences.
    Agrees,
    /// None of the outputs is a float, or none depends on a float.
    None,
    /// Differ from finite differences where a gradient is stopped.
    Stopped,
}

/// A graph with tensors for all its ports.
#[derive(Clone, Debug)]
pub struct Made {
    /// The graph. Its outputs are what is compared.
    pub graph: Graph,
    /// Tensors of its inputs.
    pub inputs: Bindings,
    /// Tensors of its parameters.
    pub store: Store,
}

/// One entry of the table.
pub struct Case {
    /// A name to find it by.
    pub name: String,
    /// Rounding.
    pub class: Class,
    /// Derivatives.
    pub derivative: Derivative,
    make: Box<dyn Fn(DType, Size) -> Made>,
}

impl Case {
    /// A case whose graph a function builds.
    pub fn new(name: impl Into<String>, class: Class, derivative: Derivative, build: impl Fn(&mut Maker<'_>) + 'static) -> Self {
        Self::from_graph(name, class, derivative, move |dtype, size| Maker::make(dtype, size, &build))
    }

    /// A case whose graph comes from elsewhere, such as a lowered block.
    pub fn from_graph(name: impl Into<String>, class: Class, derivative: Derivative, make: impl Fn(DType, Size) -> Made + 'static) -> Self {
        Case { name: name.into(), class, derivative, make: Box::new(make) }
    }

    /// The graph in the given float type.
    pub fn make(&self, dtype: DType, size: Size) -> Made {
        (self.make)(dtype, size)
    }
}

/// Every case.
pub fn all() -> Vec<Case> {
    [maps::cases(), moves::cases(), sums::cases(), loops::cases(), scans::cases(), layers::cases(), library::cases(), routed::cases()]
        .into_iter()
        .flatten()
        .collect()
}
