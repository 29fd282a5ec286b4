//! Real-time recurrent learning of scans (Williams, Zipser 1989): gradients from sensitivities that are carried forward with the state, in
//! memory that does not grow with the number of steps.
//!
//! A *source* of a scan is what its steps read unchanged: an invariant (a parameter, or what is made of parameters outside) or a start value
//! of a state. The sensitivity of a state in a source is the derivative of the whole past in one tensor. It has the state's axes and those
//! axes of the source that are not *aligned* with one of the state's: where entry `i` of a parameter reaches unit `i` only, the unit's axis
//! is not written twice ([`locate`] proves that from the step's operations). In each step
//! `S = J * S + D`, with the derivative `J` of the new state in the old and `D` of the new state in the source, and the source's gradient
//! grows by the cotangent of the old state *within the step*, times `S`, and by the source's own cotangent within the step.
//!
//! What is given step by step has only the gradient of the step in which it is read. Where such a value is a product with a parameter that
//! the state reads without another product in between, [`sink`] takes the product into the step, so that the parameter is a source: the
//! gradient of a projection that feeds the state is exact wherever it is written.

mod cell;
mod locate;
mod rule;
mod sink;
mod step;

pub(super) use rule::asked;

use super::GradError;
use crate::entity::Value;
use crate::graph::{Axis, Origin};
use crate::shape::{Shape, elements};

/// Most positions of axes that mix among themselves for which a state still counts as made of units that do not mix: a complex number in
/// two parts, a small rotation.
pub const BLOCK: u64 = 4;

/// How gradients go through scans.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Learning {
    /// Backward through all steps.
    #[default]
    Bptt,
    /// Forward, with sensitivities.
    Rtrl(Rtrl),
}

/// What real-time recurrent learning may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rtrl {
    /// Also where units mix.
    pub full: bool,
    /// Also where one scan feeds another: the lower one then learns from what the upper one does with its output in the same step.
    pub local: bool,
    /// Also where units mix, but of what they have of each other only what reaches a unit through itself is carried: the influence of
    /// one step (SnAp-1: Menick et al. 2021, "Practical real time recurrent learning with a sparse approximation"). Exact where they do not.
    pub snap: bool,
    /// Give the sensitivities beside the gradients.
    pub expose: bool,
    /// Scans that go on from kept states ([`crate::stream::segments`]) go on from kept sensitivities too: those at place `i` of
    /// [`super::Gradients::sensitivities`] start from the parameter named by [`kept`], which the reader updates by `last`.
    pub carry: bool,
}

/// Start of the names of sensitivities that are kept from segment to segment.
pub const SENSITIVITIES: &str = "stream.sensitivity.";

/// The name under which sensitivities at a place of the list are kept.
pub fn kept(place: usize) -> String {
    format!("{SENSITIVITIES}{place}")
}

/// The sensitivity of a state in a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sensitivity {
    /// The scan.
    pub scan: Value,
    /// Which of its states.
    pub carry: usize,
    /// The value whose sensitivity it is.
    pub source: Value,
    /// After the last step.
    pub last: Value,
    /// After each step, along the scan's axis; `last` where they were not to be exposed.
    pub steps: Value,
}

/// Units of a state that read each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mixing {
    /// The operation that brings them together.
    pub mixer: Origin,
    /// The scan's place.
    pub scan: Origin,
    /// Names and sizes of the axes along which they mix.
    pub axes: Vec<(String, u64)>,
    /// Names and sizes of all axes of the state.
    pub state: Vec<(String, u64)>,
    /// Numbers in all sensitivities of the scan.
    pub numbers: u64,
    /// Multiplications of a step that bring them up to date.
    pub operations: u64,
}

/// A scan that feeds another, both with states that learn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stacked {
    /// The scan that is fed.
    pub upper: Origin,
    /// The scan below it, where there is one place for it.
    pub lower: Option<Origin>,
}

fn named(axes: &[Axis], shape: &Shape) -> Vec<(String, u64)> {
    shape.iter().map(|a| (axes[a.index()].name.clone(), axes[a.index()].size)).collect()
}

/// What stands in the way.
fn blocked(what: &'static str, origin: &Origin) -> GradError {
    GradError::Blocked { what, origin: Box::new(origin.clone()) }
}
