//! Which parts of a tile a causal mask leaves: products leave out what it hides whole.

use super::AttendShape;
use crate::primitives::simd::LANES;

/// Some rows of a tile, and where along the other side what they see starts, or ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rows {
    /// The first.
    pub at: usize,
    /// How many.
    pub rows: usize,
    /// See [`seen_lanes`] and [`seen_sources`].
    pub from: usize,
}

/// Sources of a tile from source `start` and query `first` on, in groups; `from` is a multiple of sixteen, below which no query sees any of a
/// group. Groups that nothing sees are left out, and with no mask in the tile there is one group.
pub(super) fn seen_lanes(shape: &AttendShape, first: usize, start: usize, sources: usize, lanes: usize) -> impl Iterator<Item = Rows> {
    let step = if shape.sees_all(first, start + sources) { sources.max(1) } else { LANES };
    let shape = *shape;
    (0..sources).step_by(step).filter_map(move |at| {
        let from = shape.seen_from(first, start + at) / LANES * LANES;
        (from < lanes).then_some(Rows { at, rows: (sources - at).min(step), from })
    })
}

/// Lanes of a tile, in groups; `from` is the number of sources beyond which no query of a group sees any.
pub(super) fn seen_sources(shape: &AttendShape, first: usize, start: usize, sources: usize, lanes: usize) -> impl Iterator<Item = Rows> {
    let step = if shape.sees_all(first, start + sources) { lanes.max(1) } else { LANES };
    let shape = *shape;
    (0..lanes).step_by(step).map(move |at| {
        let end = shape.visible(first + (at + step).min(lanes)).saturating_sub(start).min(sources);
        Rows { at, rows: (lanes - at).min(step), from: end }
    })
}
