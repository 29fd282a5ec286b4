//! Steps that would otherwise be several passes over a tile.

use super::float::INV_SQRT_TAU;
use super::math;
use super::simd::{LANES, Simd};

/// Numbers of one AdamW step, alike for all elements.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(C)]
pub struct AdamW {
    /// Learning rate.
    pub rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Weight decay, multiplied by the learning rate.
    pub decay: f32,
    /// `1 / (1 - beta1^t)`.
    pub correction1: f32,
    /// `1 / (1 - beta2^t)`.
    pub correction2: f32,
    /// Multiplies the gradient first (clipping, accumulation).
    pub scale: f32,
}

/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
/// `p -= rate (decay p + m correction1 / (sqrt(v correction2) + epsilon))`, with g the scaled gradient.
///
/// # Safety
/// The CPU has the features of `S`; the rows hold n elements and do not overlap; `rule` is one.
#[inline(always)]
pub(crate) unsafe fn adamw<S: Simd>(n: usize, p: *mut f32, m: *mut f32, v: *mut f32, g: *const f32, rule: *const AdamW) {
    unsafe {
        let r = &*rule;
        let mut i = 0;
        while i < n {
            if i + LANES <= n {
                let (p1, m1, v1) = adamw_step::<S>(r, S::load(p.add(i)), S::load(m.add(i)), S::load(v.add(i)), S::load(g.add(i)));
                S::store(p.add(i), p1);
                S::store(m.add(i), m1);
                S::store(v.add(i), v1);
            } else {
                let k = n - i;
                let (p0, m0, v0) = (S::load_tail(p.add(i), k), S::load_tail(m.add(i), k), S::load_tail(v.add(i), k));
                let (p1, m1, v1) = adamw_step::<S>(r, p0, m0, v0, S::load_tail(g.add(i), k));
                S::store_tail(p.add(i), k, p1);
                S::store_tail(m.add(i), k, m1);
                S::store_tail(v.add(i), k, v1);
            }
            i += LANES;
        }
    }
}

#[inline(always)]
unsafe fn adamw_step<S: Simd>(r: &AdamW, p: S::F, m: S::F, v: S::F, g: S::F) -> (S::F, S::F, S::F) {
    unsafe {
        let g = S::mul(g, S::splat(r.scale));
        let m = S::fma(m, S::splat(r.beta1), S::mul(g, S::splat(1.0 - r.beta1)));
        let v = S::fma(v, S::splat(r.beta2), S::mul(S::mul(g, g), S::splat(1.0 - r.beta2)));
        let root = S::sqrt(S::mul(v, S::splat(r.correction2)));
        let step = S::div(S::mul(m, S::splat(r.correction1)), S::add(root, S::splat(r.epsilon)));
        let p = S::sub(p, S::mul(S::splat(r.rate), S::fma(p, S::splat(r.decay), step)));
        (p, m, v)
    }
}

/// `value[i] = a[i] P(a[i])` and `slope[i]` its derivative, with P the normal distribution function.
///
/// # Safety
/// As [`adamw`]; `value` may be `a`.
#[inline(always)]
pub(crate) unsafe fn gelu_pair<S: Simd>(n: usize, value: *mut f32, slope: *mut f32, a: *const f32) {
    unsafe {
        let mut i = 0;
        while i < n {
            let k = (n - i).min(LANES);
            let x = if k == LANES { S::load(a.add(i)) } else { S::load_tail(a.add(i), k) };
            let (p, e) = math::normal::<S>(x);
            let (y, d) = (S::mul(x, p), S::fma(S::mul(x, e), S::splat(INV_SQRT_TAU), p));
            if k == LANES {
                S::store(value.add(i), y);
                S::store(slope.add(i), d);
            } else {
                S::store_tail(value.add(i), k, y);
                S::store_tail(slope.add(i), k, d);
            }
            i += LANES;
        }
    }
}

/// `dst[i] = (a[i] - mean) / sqrt(variance + epsilon)`; `out[0]` = mean, `out[1]` = the reciprocal root.
///
/// # Safety
/// As [`adamw`]; `dst` may be `a`; `out` holds two elements, `epsilon` one.
#[inline(always)]
pub(crate) unsafe fn normalise<S: Simd>(n: usize, dst: *mut f32, a: *const f32, epsilon: *const f32, out: *mut f32) {
    unsafe {
        super::reduce::moments::<S>(n, a, out);
        *out.add(1) = 1.0 / (*out.add(1) + *epsilon).sqrt();
        let (mean, root) = (S::splat(*out), S::splat(*out.add(1)));
        let mut i = 0;
        while i + LANES <= n {
            S::store(dst.add(i), S::mul(S::sub(S::load(a.add(i)), mean), root));
            i += LANES;
        }
        if i < n {
            S::store_tail(dst.add(i), n - i, S::mul(S::sub(S::load_tail(a.add(i), n - i), mean), root));
        }
    }
}
