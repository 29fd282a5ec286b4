//! Backward, one (batch, head): for each block of sources, all blocks of queries that see it.
//!
//! With `P = e^(S - lse)`, `D = sum of dmix mix` over channels, and `dS = P (dmix v^T - D)`:
//! `dv = P^T dmix`, `dk = scale dS^T q`, `dq = scale dS k`. dk and dv of a block are finished in turn; dq gathers over blocks of sources, in
//! ascending order.

use super::forward::mask;
use super::tile::{aligned, pack, pack_turned, product, take, unpack_turned};
use super::visible::{seen_lanes, seen_sources};
use super::{BLOCK, GradShape, round_up};
use crate::primitives::math;
use crate::primitives::simd::{LANES, Simd};

/// One (batch, head); see [`super::attend_grad`].
///
/// # Safety
/// As [`super::attend_grad`]; the CPU has the features of `S`.
#[inline(always)]
pub(crate) unsafe fn attend_grad<S: Simd>(
    grad: *const GradShape,
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
    unsafe {
        let grad = &*grad;
        let shape = &grad.shape;
        let (key, value) = (shape.key, shape.value);
        let (wide_key, wide_value) = (round_up(key), round_up(value));
        let padded = shape.query.next_multiple_of(BLOCK);

        let mut scratch = aligned(scratch);
        let all_q = take(&mut scratch, padded * wide_key);
        let all_turned_q = take(&mut scratch, padded * wide_key);
        let all_dmix = take(&mut scratch, padded * wide_value);
        let all_turned_dmix = take(&mut scratch, padded * wide_value);
        let all_turned_dq = take(&mut scratch, padded * wide_key);
        let all_lse = take(&mut scratch, padded);
        let all_dots = take(&mut scratch, padded);
        let tile_k = take(&mut scratch, BLOCK * wide_key);
        let tile_v = take(&mut scratch, BLOCK * wide_value);
        let tile_dk = take(&mut scratch, BLOCK * wide_key);
        let tile_dv = take(&mut scratch, BLOCK * wide_value);
        let weights = take(&mut scratch, BLOCK * BLOCK);
        let slopes = take(&mut scratch, BLOCK * BLOCK);

        let mut first = 0;
        while first < shape.query {
            let rows = (shape.query - first).min(BLOCK);
            let at = first as isize;
            let (q, dmix) = (q.offset(at * shape.q[0]), dmix.offset(at * grad.dmix[0]));
            pack::<S>(rows, key, q, shape.q, shape.scale, all_q.add(first * wide_key), wide_key);
            pack_turned::<S>(rows, BLOCK, key, q, shape.q, shape.scale, all_turned_q.add(first * wide_key), BLOCK);
            pack::<S>(rows, value, dmix, grad.dmix, 1.0, all_dmix.add(first * wide_value), wide_value);
            pack_turned::<S>(rows, BLOCK, value, dmix, grad.dmix, 1.0, all_turned_dmix.add(first * wide_value), BLOCK);
            for i in 0..BLOCK {
                let (mut l, mut dot) = (f32::INFINITY, 0.0);
                if i < rows {
                    // A query that sees nothing gets weights e^-inf = 0, and so do lanes without a query.
                    let own = *lse.offset((first + i) as isize * shape.lse);
                    l = if own == f32::NEG_INFINITY { f32::INFINITY } else { own };
                    dot = row_dot::<S>(
                        value,
                        mix.offset((first + i) as isize * shape.mix[0]),
                        shape.mix[1],
                        all_dmix.add((first + i) * wide_value),
                    );
                }
                *all_lse.add(first + i) = l;
                *all_dots.add(first + i) = dot;
            }
            clear::<S>(BLOCK * wide_key, all_turned_dq.add(first * wide_key));
            first += BLOCK;
        }

        let mut start = 0;
        while start < shape.source {
            let sources = (shape.source - start).min(BLOCK);
            pack::<S>(sources, key, k.offset(start as isize * shape.k[0]), shape.k, 1.0, tile_k, wide_key);
            pack::<S>(sources, value, v.offset(start as isize * shape.v[0]), shape.v, 1.0, tile_v, wide_value);
            clear::<S>(BLOCK * wide_key, tile_dk);
            clear::<S>(BLOCK * wide_value, tile_dv);
            let mut first = 0;
            while first < shape.query {
                let rows = (shape.query - first).min(BLOCK);
                let lanes = round_up(rows);
                // Sources of this block that some of these queries see.
                let seen = shape.visible(first + rows).saturating_sub(start).min(sources);
                if seen > 0 {
                    let (turned_q, turned_dmix) = (all_turned_q.add(first * wide_key), all_turned_dmix.add(first * wide_value));
                    let masked = !shape.sees_all(first, start + seen);
                    if masked {
                        // What no product below computes.
                        clear::<S>(seen * BLOCK, weights);
                        clear::<S>(seen * BLOCK, slopes);
                    }
                    for (group, from) in seen_lanes(shape, first, start, seen, lanes) {
                        let (m, at) = (group.len(), group.start);
                        let to = at * BLOCK + from;
                        let (k, v) = (tile_k.add(at * wide_key), tile_v.add(at * wide_value));
                        let (q, dmix) = (turned_q.add(from), turned_dmix.add(from));
                        product::<S, false>(m, lanes - from, key, k, [wide_key as isize, 1], q, BLOCK, weights.add(to), BLOCK);
                        product::<S, false>(m, lanes - from, value, v, [wide_value as isize, 1], dmix, BLOCK, slopes.add(to), BLOCK);
                    }
                    if masked {
                        mask::<S>(shape, first, start, seen, lanes, weights, f32::NEG_INFINITY);
                    }
                    weigh::<S>(seen, lanes, weights, slopes, all_lse.add(first), all_dots.add(first));
                    for (group, from) in seen_lanes(shape, first, start, seen, lanes) {
                        let (m, at) = (group.len(), group.start);
                        let (row, of) = ([BLOCK as isize, 1], at * BLOCK + from);
                        let (q, dmix) = (all_q.add((first + from) * wide_key), all_dmix.add((first + from) * wide_value));
                        let (dk, dv) = (tile_dk.add(at * wide_key), tile_dv.add(at * wide_value));
                        let queries = rows.saturating_sub(from);
                        product::<S, true>(m, wide_value, queries, weights.add(of), row, dmix, wide_value, dv, wide_value);
                        product::<S, true>(m, wide_key, queries, slopes.add(of), row, q, wide_key, dk, wide_key);
                    }
                    let turned_dq = all_turned_dq.add(first * wide_key);
                    for (group, sources) in seen_sources(shape, first, start, seen, lanes) {
                        let (slopes, dq) = (slopes.add(group.start), turned_dq.add(group.start));
                        product::<S, true>(key, group.len(), sources, tile_k, [1, wide_key as isize], slopes, BLOCK, dq, BLOCK);
                    }
                }
                first += BLOCK;
            }
            unpack(sources, key, tile_dk, wide_key, dk.offset(start as isize * grad.dk[0]), grad.dk);
            unpack(sources, value, tile_dv, wide_value, dv.offset(start as isize * grad.dv[0]), grad.dv);
            start += BLOCK;
        }

        for i in 0..BLOCK {
            *weights.add(i) = shape.scale;
        }
        let mut first = 0;
        while first < shape.query {
            let rows = (shape.query - first).min(BLOCK);
            let dq = dq.offset(first as isize * grad.dq[0]);
            unpack_turned::<S>(rows, key, all_turned_dq.add(first * wide_key), BLOCK, weights, dq, grad.dq);
            first += BLOCK;
        }
    }
}

/// Scores become weights, `e^(score - lse)`, and the products of dmix and v become slopes of the scores.
#[inline(always)]
unsafe fn weigh<S: Simd>(sources: usize, lanes: usize, weights: *mut f32, slopes: *mut f32, lse: *const f32, dots: *const f32) {
    unsafe {
        let mut i = 0;
        while i < lanes {
            let (lse, dots) = (S::load(lse.add(i)), S::load(dots.add(i)));
            for j in 0..sources {
                let (weight, slope) = (weights.add(j * BLOCK + i), slopes.add(j * BLOCK + i));
                let p = math::exp::<S>(S::sub(S::load(weight), lse));
                S::store(weight, p);
                S::store(slope, S::mul(p, S::sub(S::load(slope), dots)));
            }
            i += LANES;
        }
    }
}

/// Sum of products of a strided row and a packed one.
#[inline(always)]
unsafe fn row_dot<S: Simd>(n: usize, a: *const f32, stride: isize, b: *const f32) -> f32 {
    unsafe {
        if stride == 1 {
            return crate::primitives::reduce::dot::<S>(n, a, b);
        }
        let mut sum = 0.0;
        for i in 0..n {
            sum += *a.offset(i as isize * stride) * *b.add(i);
        }
        sum
    }
}

/// Zeros; n is a multiple of sixteen.
#[inline(always)]
unsafe fn clear<S: Simd>(n: usize, dst: *mut f32) {
    unsafe {
        let mut i = 0;
        while i < n {
            S::store(dst.add(i), S::splat(0.0));
            i += LANES;
        }
    }
}

/// `dst[i, j] = a[i * ld + j]`.
#[inline(always)]
unsafe fn unpack(rows: usize, columns: usize, a: *const f32, ld: usize, dst: *mut f32, [rd, cd]: [isize; 2]) {
    unsafe {
        for i in 0..rows {
            let (from, to) = (a.add(i * ld), dst.offset(i as isize * rd));
            if cd == 1 {
                std::ptr::copy_nonoverlapping(from, to, columns);
            } else {
                for j in 0..columns {
                    *to.offset(j as isize * cd) = *from.add(j);
                }
            }
        }
    }
}
