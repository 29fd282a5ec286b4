//! Which parts of a tile a causal mask leaves: products leave out what it hides whole.

use super::AttendShape;
use crate::primitives::simd::LANES;
use std::ops::Range;

/// Sources of a tile from source `start` and query `first` on, in groups, each with the first lane, a multiple of sixteen, that sees any of it.
/// Groups that no lane sees are left out; with no mask in the tile there is one group.
pub(super) fn seen_lanes(
    shape: &AttendShape,
    first: usize,
    start: usize,
    sources: usize,
    lanes: usize,
) -> impl Iterator<Item = (Range<usize>, usize)> {
    let step = if shape.sees_all(first, start + sources) { sources.max(1) } else { LANES };
    let shape = *shape;
    (0..sources).step_by(step).filter_map(move |at| {
        let from = shape.seen_from(first, start + at) / LANES * LANES;
        (from < lanes).then_some((at..(at + step).min(sources), from))
    })
}

/// Lanes of a tile, in groups, each with the number of sources beyond which none of its lanes sees any.
pub(super) fn seen_sources(
    shape: &AttendShape,
    first: usize,
    start: usize,
    sources: usize,
    lanes: usize,
) -> impl Iterator<Item = (Range<usize>, usize)> {
    let step = if shape.sees_all(first, start + sources) { lanes.max(1) } else { LANES };
    let shape = *shape;
    (0..lanes).step_by(step).map(move |at| {
        let group = at..(at + step).min(lanes);
        let seen = shape.visible(first + group.end).saturating_sub(start).min(sources);
        (group, seen)
    })
}
