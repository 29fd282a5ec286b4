//! Elementary functions of sixteen f32. Errors stated are the largest seen in tests, in units in the last place (ulp) of the result.
//!
//! exp: `2^n * e^r` with r within half of ln 2, and `e^r = 1 + r + r^2 q(r)`. log: mantissa in `[sqrt(1/2), sqrt(2))`, then a polynomial in
//! `m - 1`. erf: `x + x p(x^2)` near zero; elsewhere, and in the normal distribution function, `erfc(a) = e^(-a^2) t p(t)` with
//! `t = 1 / (1 + 0.4 a)`. Coefficients are own weighted minimax fits.

#![allow(clippy::excessive_precision, reason = "coefficients as fitted")]

use super::simd::Simd;
use std::f32::consts::LOG2_E;

const LN_2_HIGH: f32 = 0.693_359_375;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// q of `e^r = 1 + r + r^2 q(r)`.
const EXP: [f32; 5] = [0.5, 0.166_665_12, 0.041_666_187, 0.008_369_599, 0.001_395_171_7];
/// p of `log(1 + f) = f - f^2 / 2 + f^3 p(f)`.
const LOG: [f32; 9] =
    [0.333_333_13, -0.250_000_09, 0.200_021_19, -0.166_679_96, 0.142_195_51, -0.124_055_915, 0.118_881_75, -0.116_756_417, 0.067_466_013];
/// p of `sin(r) = r + r^3 p(r^2)`.
const SIN: [f32; 3] = [-0.166_666_54, 0.008_332_131, -0.000_195_108_38];
/// p of `cos(r) = 1 - r^2 / 2 + r^4 p(r^2)`.
const COS: [f32; 3] = [0.041_666_646, -0.001_388_730_6, 2.443_119_8e-5];
/// p of `erf(x) = x + x p(x^2)` for |x| < 1.
const ERF: [f32; 7] = [0.128_379_17, -0.376_126_26, 0.112_835_854, -0.026_853_811, 0.005_188_327_7, -0.000_801_019_25, 7.853_857_8e-5];
/// p of `erfc(a) = e^(-a^2) t p(t)`.
const ERFC: [f32; 9] =
    [0.225_634_23, 0.226_442_99, 0.201_888_49, 0.193_389_53, 0.079_765_41, 0.087_951_03, 0.083_999_217, -0.140_325_13, 0.041_254_275];
/// Beyond this magnitude the three-part reduction of sin and cos is not exact enough.
const FAR: f32 = 8192.0;

/// `c[0] + c[1] x + ...`.
#[inline(always)]
unsafe fn polynomial<S: Simd, const N: usize>(x: S::F, c: &[f32; N]) -> S::F {
    unsafe {
        let mut v = S::splat(c[N - 1]);
        let mut i = N - 1;
        while i > 0 {
            i -= 1;
            v = S::fma(v, x, S::splat(c[i]));
        }
        v
    }
}

/// n and r of `x = n ln 2 + r`.
#[inline(always)]
unsafe fn halve<S: Simd>(x: S::F) -> (S::F, S::F) {
    unsafe {
        let n = S::round(S::mul(x, S::splat(LOG2_E)));
        let r = S::fnma(n, S::splat(LN_2_HIGH), x);
        (n, S::fnma(n, S::splat(LN_2_LOW), r))
    }
}

/// `e^r - 1` for r within half of ln 2.
#[inline(always)]
unsafe fn exp_less_one<S: Simd>(r: S::F) -> S::F {
    unsafe { S::fma(S::mul(r, r), polynomial::<S, 5>(r, &EXP), r) }
}

/// e to the x; 1.1 ulp.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    unsafe {
        // The operand that may be NaN comes second, so that it gets through.
        let x = S::max(S::splat(-104.0), S::min(S::splat(89.0), x));
        let (n, r) = halve::<S>(x);
        S::scale(S::add(exp_less_one::<S>(r), S::splat(1.0)), n)
    }
}

/// Natural logarithm; 1.1 ulp.
#[inline(always)]
pub(crate) unsafe fn log<S: Simd>(x: S::F) -> S::F {
    unsafe {
        let tiny = S::lt(x, S::splat(f32::MIN_POSITIVE));
        let y = S::select(tiny, S::mul(x, S::splat(8_388_608.0)), x);
        let bits = S::bits_of(y);
        let e = S::shr::<23>(S::sub_int(bits, S::splat_int(0x3f35_04f3)));
        let f = S::sub(S::of_bits(S::sub_int(bits, S::shl::<23>(e))), S::splat(1.0));
        let n = S::sub(S::to_float(e), S::select(tiny, S::splat(23.0), S::splat(0.0)));
        let z = S::mul(f, f);
        let tail = S::fma(n, S::splat(LN_2_LOW), S::mul(S::mul(f, z), polynomial::<S, 9>(f, &LOG)));
        let v = S::add(f, S::fnma(S::splat(0.5), z, tail));
        let v = S::fma(n, S::splat(LN_2_HIGH), v);
        let zero = S::splat(0.0);
        let v = S::select(S::eq(x, S::splat(f32::INFINITY)), x, v);
        let v = S::select(S::eq(x, zero), S::splat(f32::NEG_INFINITY), v);
        S::select(S::le(zero, x), v, S::splat(f32::NAN))
    }
}

/// Hyperbolic tangent as `u / (u + 2)`, `u = e^(2|x|) - 1`; 2 ulp.
#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(x: S::F) -> S::F {
    unsafe {
        let a = S::min(S::splat(9.1), S::abs(x));
        let (n, r) = halve::<S>(S::add(a, a));
        let power = S::of_bits(S::shl::<23>(S::add_int(S::truncate(n), S::splat_int(127))));
        let u = S::fma(power, exp_less_one::<S>(r), S::sub(power, S::splat(1.0)));
        S::copysign(S::div(u, S::add(u, S::splat(2.0))), x)
    }
}

/// `1 / (1 + e^-x)`; 2 ulp.
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::F) -> S::F {
    unsafe {
        let one = S::splat(1.0);
        let e = exp::<S>(S::sub(S::splat(0.0), S::abs(x)));
        S::div(S::select(S::lt(x, S::splat(0.0)), e, one), S::add(e, one))
    }
}

/// `erfc(a) e^(a^2)` for a >= 0.
#[inline(always)]
unsafe fn scaled_erfc<S: Simd>(a: S::F) -> S::F {
    unsafe {
        let t = S::div(S::splat(1.0), S::fma(S::splat(0.4), a, S::splat(1.0)));
        S::mul(t, polynomial::<S, 9>(t, &ERFC))
    }
}

/// Error function; 1.5 ulp.
#[inline(always)]
pub(crate) unsafe fn erf<S: Simd>(x: S::F) -> S::F {
    unsafe {
        let a = S::min(S::splat(4.0), S::abs(x));
        let z = S::mul(a, a);
        let near = S::fma(x, polynomial::<S, 7>(z, &ERF), x);
        let e = exp::<S>(S::sub(S::splat(0.0), z));
        let far = S::copysign(S::fnma(e, scaled_erfc::<S>(a), S::splat(1.0)), x);
        S::select(S::lt(a, S::splat(1.0)), near, far)
    }
}

/// The normal distribution function at x and `e^(-x^2 / 2)`; relative error 3e-7 for x > -4, growing with x^2 below.
#[inline(always)]
pub(crate) unsafe fn normal<S: Simd>(x: S::F) -> (S::F, S::F) {
    unsafe {
        let a = S::mul(S::abs(x), S::splat(std::f32::consts::FRAC_1_SQRT_2));
        let e = exp::<S>(S::mul(S::mul(x, x), S::splat(-0.5)));
        let tail = S::mul(S::mul(e, S::splat(0.5)), scaled_erfc::<S>(a));
        (S::select(S::lt(x, S::splat(0.0)), tail, S::sub(S::splat(1.0), tail)), e)
    }
}

/// sin for `QUARTER = 0`, cos for 1; 1.5 ulp, absolute error 1e-7 near zeros.
#[inline(always)]
pub(crate) unsafe fn sine<S: Simd, const QUARTER: i32>(x: S::F) -> S::F {
    unsafe {
        let n = S::round(S::mul(x, S::splat(std::f32::consts::FRAC_2_PI)));
        let r = S::fnma(n, S::splat(1.570_312_5), x);
        let r = S::fnma(n, S::splat(4.837_513e-4), r);
        let r = S::fnma(n, S::splat(7.549_789_9e-8), r);
        let q = S::add_int(S::truncate(n), S::splat_int(QUARTER));
        let z = S::mul(r, r);
        let sin = S::fma(S::mul(r, z), polynomial::<S, 3>(z, &SIN), r);
        let cos = S::fma(S::mul(z, z), polynomial::<S, 3>(z, &COS), S::fnma(S::splat(0.5), z, S::splat(1.0)));
        let odd = S::eq_int(S::and_int(q, S::splat_int(1)), S::splat_int(1));
        let v = S::select(odd, cos, sin);
        let v = S::of_bits(S::xor_int(S::bits_of(v), half_turns::<S>(q)));
        if S::bits(S::not(S::lt(S::abs(x), S::splat(FAR)))) == 0 {
            return v;
        }
        lanes1::<S>(x, |x| {
            let x = f64::from(x);
            (if QUARTER == 0 { x.sin() } else { x.cos() }) as f32
        })
    }
}

/// Bit 1 of the quadrant, as a sign bit.
#[inline(always)]
unsafe fn half_turns<S: Simd>(quadrant: S::I) -> S::I {
    unsafe { S::shl::<30>(S::and_int(quadrant, S::splat_int(2))) }
}

/// sin and cos of `2 pi v` for v in \[0, 1\].
#[inline(always)]
pub(crate) unsafe fn turn<S: Simd>(v: S::F) -> (S::F, S::F) {
    unsafe {
        let n = S::round(S::mul(v, S::splat(4.0)));
        // The difference is exact.
        let r = S::mul(S::fnma(n, S::splat(0.25), v), S::splat(std::f32::consts::TAU));
        let z = S::mul(r, r);
        let sin = S::fma(S::mul(r, z), polynomial::<S, 3>(z, &SIN), r);
        let cos = S::fma(S::mul(z, z), polynomial::<S, 3>(z, &COS), S::fnma(S::splat(0.5), z, S::splat(1.0)));
        let q = S::truncate(n);
        let odd = S::eq_int(S::and_int(q, S::splat_int(1)), S::splat_int(1));
        let y = S::xor_int(S::bits_of(S::select(odd, cos, sin)), half_turns::<S>(q));
        let x = S::xor_int(S::bits_of(S::select(odd, sin, cos)), half_turns::<S>(S::add_int(q, S::splat_int(1))));
        (S::of_bits(y), S::of_bits(x))
    }
}

/// A scalar function applied lane by lane.
#[inline(always)]
pub(crate) unsafe fn lanes1<S: Simd>(a: S::F, f: fn(f32) -> f32) -> S::F {
    unsafe {
        let mut x = [0.0; super::simd::LANES];
        S::store(x.as_mut_ptr(), a);
        for x in &mut x {
            *x = f(*x);
        }
        S::load(x.as_ptr())
    }
}

/// A scalar function of two applied lane by lane.
#[inline(always)]
pub(crate) unsafe fn lanes2<S: Simd>(a: S::F, b: S::F, f: fn(f32, f32) -> f32) -> S::F {
    unsafe {
        let (mut x, mut y) = ([0.0; super::simd::LANES], [0.0; super::simd::LANES]);
        S::store(x.as_mut_ptr(), a);
        S::store(y.as_mut_ptr(), b);
        for (x, &y) in x.iter_mut().zip(&y) {
            *x = f(*x, y);
        }
        S::load(x.as_ptr())
    }
}
