//! Derivatives of graphs: reverse mode ([`reverse`]) and forward mode ([`forward`]), each one table with one arm per operation
//! whose rules build ordinary nodes.
//!
//! A tangent or cotangent of a value may be *thin*: it may lack axes of that value and is then constant along them. Rules keep it
//! thin for as long as they can; [`emit::spread`] gives it the full type.

pub(crate) mod activity;
mod cut;
pub(crate) mod emit;
pub mod forward;
pub mod inverse;
mod loops;
mod map;
mod outer;
mod residuals;
pub mod reverse;
mod route;
pub mod rtrl;
mod rules;
mod tangent;

use crate::entity::Value;
use crate::graph::{Graph, Origin};

/// A graph with its cotangents.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// The graph given, with nodes appended. Every value of the old graph keeps its id and its meaning.
    pub graph: Graph,
    /// For each value asked for, its cotangent with the same type; `None` where nothing flows.
    pub cotangents: Vec<Option<Value>>,
    /// Sensitivities of scans in the top region, where they were asked for.
    pub sensitivities: Vec<rtrl::Sensitivity>,
}

/// A graph with tangents.
#[derive(Clone, Debug)]
pub struct Tangents {
    /// A graph that computes what the old one does, and tangents. Its outputs are those of the old one.
    pub graph: Graph,
    /// For each value of the old graph, what stands for it. (For an operation with several results, look at its projections.)
    pub values: Vec<Value>,
    /// For each value asked for, its tangent with the same type; `None` where nothing arrives.
    pub tangents: Vec<Option<Value>>,
}

/// Why there is no derivative.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GradError {
    /// Gradients are taken of a float scalar.
    #[error("a gradient is taken of a float scalar; %{value} has {axes} axes and element type {dtype}")]
    NotScalar {
        /// The value's number.
        value: u32,
        /// Its number of axes.
        axes: usize,
        /// Its element type.
        dtype: &'static str,
    },
    /// A tangent or cotangent does not fit its value.
    #[error("the direction %{direction} does not fit %{value}: it must have its element type and no axes but its own")]
    Seed {
        /// The value's number.
        value: u32,
        /// The number of the tangent or cotangent.
        direction: u32,
    },
    /// Units of a state read each other, and the full recursion was not asked for.
    #[error(
        "units of the state [{}] mix along {}: real-time recurrent learning would carry {} numbers and take {} multiplications a step",
        listed(&.0.state), listed(&.0.axes), .0.numbers, .0.operations
    )]
    Mixes(Box<rtrl::Mixing>),
    /// A scan feeds another, and the local approximation was not asked for.
    #[error("one scan feeds another: real-time recurrent learning is exact for one")]
    Stacked(Box<rtrl::Stacked>),
    /// An operation that sensitivities do not pass.
    #[error("real-time recurrent learning does not pass {what}")]
    Blocked {
        /// What.
        what: &'static str,
        /// Its place.
        origin: Box<Origin>,
    },
}

fn listed(axes: &[(String, u64)]) -> String {
    axes.iter().map(|(name, size)| format!("{name} = {size}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
