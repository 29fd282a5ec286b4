//! Attention that never stores its score matrix, for one (batch, head) at a time.
//!
//! `mix = softmax(scale q k^T) v` over blocks of sources, with a running maximum and sum per query; `lse` is log sum exp of the scaled, masked
//! scores. A query that sees no source has mix 0, lse -inf and no gradient. Backward recomputes the scores block by block from lse.
//!
//! Lanes are queries: scores are held transposed, `[source, query]`, so that maxima and sums run down the rows of a tile, and k and v are
//! read one element at a time, times sixteen queries. Tiles are [`BLOCK`] by [`BLOCK`]. Tiles that the causal mask hides are skipped.
//! Every sum has a fixed order, so results do not depend on who runs which block.

mod backward;
mod forward;
#[cfg(test)]
mod tests;
mod tile;
mod visible;

pub(crate) use backward::attend_grad as attend_grad_kernel;
pub(crate) use forward::attend as attend_kernel;

use crate::primitives::Primitives;
use crate::primitives::simd::LANES;

/// Queries, and sources, of a tile.
pub const BLOCK: usize = 64;

/// Sizes and strides of one (batch, head). Strides are in elements and may be anything.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AttendShape {
    /// Number of positions that ask.
    pub query: usize,
    /// Number of positions that are asked.
    pub source: usize,
    /// Channels of q and k.
    pub key: usize,
    /// Channels of v.
    pub value: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// `Some(offset)`: query i sees sources `0 ..= i + offset`.
    pub causal: Option<i64>,
    /// Strides of q along query and key.
    pub q: [isize; 2],
    /// Strides of k along source and key.
    pub k: [isize; 2],
    /// Strides of v along source and value.
    pub v: [isize; 2],
    /// Strides of mix along query and value.
    pub mix: [isize; 2],
    /// Stride of lse along query.
    pub lse: isize,
}

/// [`AttendShape`], and the strides that backward adds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GradShape {
    /// Sizes and strides of forward.
    pub shape: AttendShape,
    /// Strides of the cotangent of mix along query and value.
    pub dmix: [isize; 2],
    /// Strides of the cotangent of q along query and key.
    pub dq: [isize; 2],
    /// Strides of the cotangent of k along source and key.
    pub dk: [isize; 2],
    /// Strides of the cotangent of v along source and value.
    pub dv: [isize; 2],
}

impl AttendShape {
    /// Sources that queries below `end` see: none beyond this number.
    pub(crate) fn visible(&self, end: usize) -> usize {
        match self.causal {
            None => self.source,
            Some(offset) => usize::try_from((end as i64).saturating_add(offset)).unwrap_or(0).min(self.source),
        }
    }

    /// The first of the queries `first ..` that sees source `at`, counted from `first`.
    pub(crate) fn seen_from(&self, first: usize, at: usize) -> usize {
        match self.causal {
            None => 0,
            Some(offset) => usize::try_from((at as i64 - first as i64).saturating_sub(offset)).unwrap_or(0),
        }
    }

    /// Whether query `first` sees all sources below `end`, and so every later query does.
    pub(crate) fn sees_all(&self, first: usize, end: usize) -> bool {
        self.causal.is_none_or(|offset| (end as i64) <= (first as i64 + 1).saturating_add(offset))
    }
}

fn round_up(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// Number of query blocks of the forward pass: independent calls of [`attend`].
pub fn blocks(shape: &AttendShape) -> usize {
    shape.query.div_ceil(BLOCK)
}

/// f32s of scratch that one [`attend`] needs.
pub fn scratch(shape: &AttendShape) -> usize {
    // q and the mix transposed, a tile of k, one of v, the scores, and three rows of running numbers.
    BLOCK * (2 * round_up(shape.key) + 2 * round_up(shape.value) + BLOCK + 3) + LANES
}

/// f32s of scratch that one [`attend_grad`] needs.
pub fn grad_scratch(shape: &AttendShape) -> usize {
    let (key, value) = (round_up(shape.key), round_up(shape.value));
    // By query: q and dmix both ways, dq, lse and the dot product of dmix and mix. By tile: k, v, dk, dv, two of scores.
    shape.query.next_multiple_of(BLOCK) * (3 * key + 2 * value + 2) + BLOCK * (2 * key + 2 * value + 2 * BLOCK) + LANES
}

/// Forward for query block `block` of one (batch, head): queries `block * BLOCK ..`.
///
/// # Safety
/// Pointers reach every element that the shape names; mix and lse overlap nothing; `scratch` holds [`scratch`] f32s.
pub unsafe fn attend(
    set: &Primitives,
    shape: &AttendShape,
    block: usize,
    q: *const f32,
    k: *const f32,
    v: *const f32,
    mix: *mut f32,
    lse: *mut f32,
    scratch: *mut f32,
) {
    // Safety: the caller's; the set was selected for this CPU.
    unsafe { (set.attend())(shape, block, q, k, v, mix, lse, scratch) }
}

/// Backward for one (batch, head): overwrites dq, dk and dv.
///
/// # Safety
/// As [`attend`]; `scratch` holds [`grad_scratch`] f32s.
pub unsafe fn attend_grad(
    set: &Primitives,
    shape: &GradShape,
    q: *const f32,
    k: *const f32,
    v: *const f32,
    mix: *const f32,
    lse: *const f32,
    dmix: *const f32,
    dq: *mut f32,
    dk: *mut f32,
    dv: *mut f32,
    scratch: *mut f32,
) {
    // Safety: as above.
    unsafe { (set.attend_grad())(shape, q, k, v, mix, lse, dmix, dq, dk, dv, scratch) }
}

/// The type of the kernels behind [`attend`].
pub(crate) type AttendFn =
    unsafe extern "C" fn(*const AttendShape, usize, *const f32, *const f32, *const f32, *mut f32, *mut f32, *mut f32);
/// The type of the kernels behind [`attend_grad`].
pub(crate) type AttendGradFn = unsafe extern "C" fn(
    *const GradShape,
    *const f32,
    *const f32,
    *const f32,
    *const f32,
    *const f32,
    *const f32,
    *mut f32,
    *mut f32,
    *mut f32,
    *mut f32,
);
