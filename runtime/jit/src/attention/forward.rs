//! Forward: for each block of queries, all blocks of sources they see.
//!
//! With S a tile of scaled scores, m and l the running maximum and sum of each query, and O the mix so far, unnormalised:
//! `m' = max(m, max S)`, `P = e^(S - m')`, `f = e^(m - m')`, `l' = f l + sum P`, `O' = f O + P v`. At the end `mix = O / l` and
//! `lse = m + log l`.

use super::tile::{aligned, pack, pack_turned, product, take, unpack_turned};
use super::visible::{seen_lanes, seen_sources};
use super::{AttendShape, BLOCK, round_up};
use crate::primitives::math;
use crate::primitives::simd::{LANES, Simd};

/// One block of queries of one (batch, head); see [`super::attend`].
///
/// # Safety
/// As [`super::attend`]; the CPU has the features of `S`.
#[inline(always)]
pub(crate) unsafe fn attend<S: Simd>(
    shape: *const AttendShape,
    block: usize,
    q: *const f32,
    k: *const f32,
    v: *const f32,
    mix: *mut f32,
    lse: *mut f32,
    scratch: *mut f32,
) {
    unsafe {
        let shape = &*shape;
        let (key, value) = (shape.key, shape.value);
        let (wide_key, wide_value) = (round_up(key), round_up(value));
        let first = block * BLOCK;
        let rows = (shape.query - first).min(BLOCK);
        let lanes = round_up(rows);

        let mut scratch = aligned(scratch);
        let turned_q = take(&mut scratch, BLOCK * wide_key);
        let turned_mix = take(&mut scratch, BLOCK * wide_value);
        let tile_k = take(&mut scratch, BLOCK * wide_key);
        let tile_v = take(&mut scratch, BLOCK * wide_value);
        let scores = take(&mut scratch, BLOCK * BLOCK);
        let most = take(&mut scratch, BLOCK);
        let total = take(&mut scratch, BLOCK);
        let factor = take(&mut scratch, BLOCK);

        pack_turned::<S>(rows, lanes, key, q.offset(first as isize * shape.q[0]), shape.q, shape.scale, turned_q, BLOCK);
        for i in 0..lanes {
            *most.add(i) = f32::NEG_INFINITY;
            *total.add(i) = 0.0;
        }
        for i in 0..value {
            for j in 0..lanes {
                *turned_mix.add(i * BLOCK + j) = 0.0;
            }
        }

        let visible = shape.visible(first + rows);
        let mut start = 0;
        while start < visible {
            let sources = (visible - start).min(BLOCK);
            pack::<S>(sources, key, k.offset(start as isize * shape.k[0]), shape.k, 1.0, tile_k, wide_key);
            pack::<S>(sources, value, v.offset(start as isize * shape.v[0]), shape.v, 1.0, tile_v, wide_value);
            for (group, from) in seen_lanes(shape, first, start, sources, lanes) {
                let (m, at) = (group.len(), group.start);
                let (k, q, scores) = (tile_k.add(at * wide_key), turned_q.add(from), scores.add(at * BLOCK + from));
                product::<S, false>(m, lanes - from, key, k, [wide_key as isize, 1], q, BLOCK, scores, BLOCK);
            }
            if !shape.sees_all(first, start + sources) {
                mask::<S>(shape, first, start, sources, lanes, scores, f32::NEG_INFINITY);
            }
            softmax_step::<S>(sources, lanes, scores, most, total, factor);
            rescale::<S>(value, lanes, turned_mix, factor);
            for (group, seen) in seen_sources(shape, first, start, sources, lanes) {
                let (scores, mix) = (scores.add(group.start), turned_mix.add(group.start));
                product::<S, true>(value, group.len(), seen, tile_v, [1, wide_value as isize], scores, BLOCK, mix, BLOCK);
            }
            start += sources;
        }

        for i in 0..rows {
            let (m, l) = (*most.add(i), *total.add(i));
            *lse.offset((first + i) as isize * shape.lse) = if l == 0.0 { f32::NEG_INFINITY } else { m + l.ln() };
            *factor.add(i) = if l == 0.0 { 0.0 } else { 1.0 / l };
        }
        unpack_turned::<S>(rows, value, turned_mix, BLOCK, factor, mix.offset(first as isize * shape.mix[0]), shape.mix);
    }
}

/// `hidden` where the source lies beyond what the query sees.
///
/// # Safety
/// As [`attend`].
#[inline(always)]
pub(super) unsafe fn mask<S: Simd>(
    shape: &AttendShape,
    first: usize,
    start: usize,
    sources: usize,
    lanes: usize,
    tile: *mut f32,
    hidden: f32,
) {
    unsafe {
        let Some(offset) = shape.causal else { return };
        let hidden = S::splat(hidden);
        let mut numbers = [0i32; LANES];
        for (i, number) in numbers.iter_mut().enumerate() {
            *number = i as i32;
        }
        let numbers = S::load_int(numbers.as_ptr());
        for j in 0..sources {
            // Lane i of the block sees the source from this i on.
            let from = ((start + j) as i64 - first as i64).saturating_sub(offset);
            let from = from.clamp(0, lanes as i64) as i32;
            let mut i = 0;
            while (i as i32) < from {
                let at = tile.add(j * BLOCK + i);
                let blind = S::lt_int(S::add_int(numbers, S::splat_int(i as i32)), S::splat_int(from));
                S::store(at, S::select(blind, hidden, S::load(at)));
                i += LANES;
            }
        }
    }
}

/// Scores become `e^(score - m')`; updates maximum, sum and factor of every lane.
#[inline(always)]
unsafe fn softmax_step<S: Simd>(sources: usize, lanes: usize, scores: *mut f32, most: *mut f32, total: *mut f32, factor: *mut f32) {
    unsafe {
        let mut i = 0;
        while i < lanes {
            let column = scores.add(i);
            let old = S::load(most.add(i));
            // Two chains, since the maximum has some latency. A NaN may get lost here, but not in the sum.
            let (mut a, mut b) = (old, old);
            let mut j = 0;
            while j + 2 <= sources {
                a = S::max(a, S::load(column.add(j * BLOCK)));
                b = S::max(b, S::load(column.add((j + 1) * BLOCK)));
                j += 2;
            }
            if j < sources {
                a = S::max(a, S::load(column.add(j * BLOCK)));
            }
            let new = S::max(a, b);
            // Where nothing is seen yet, any finite shift leaves e^-inf = 0.
            let shift = S::select(S::eq(new, S::splat(f32::NEG_INFINITY)), S::splat(0.0), new);
            let scale = math::exp::<S>(S::sub(old, shift));
            let mut sum = S::splat(0.0);
            for j in 0..sources {
                let at = column.add(j * BLOCK);
                let p = math::exp::<S>(S::sub(S::load(at), shift));
                S::store(at, p);
                sum = S::add(sum, p);
            }
            S::store(most.add(i), new);
            S::store(total.add(i), S::fma(S::load(total.add(i)), scale, sum));
            S::store(factor.add(i), scale);
            i += LANES;
        }
    }
}

#[inline(always)]
unsafe fn rescale<S: Simd>(rows: usize, lanes: usize, tile: *mut f32, factor: *const f32) {
    unsafe {
        let mut i = 0;
        while i < lanes {
            let f = S::load(factor.add(i));
            for j in 0..rows {
                let at = tile.add(j * BLOCK + i);
                S::store(at, S::mul(S::load(at), f));
            }
            i += LANES;
        }
    }
}
