//! Functions of f32: arithmetic, elementary functions, comparisons, casts.

use super::lane::{Float, Int, Op1, Op2, Op3, Truth};
use super::math;
use super::simd::Simd;

macro_rules! float1 {
    ($($name:ident, $s:ident, $a:ident => $e:expr;)*) => {
        $(pub(crate) struct $name;
        impl Op1 for $name {
            type In = Float;
            type Out = Float;
            #[inline(always)]
            unsafe fn apply<$s: Simd>($a: $s::F) -> $s::F {
                unsafe { $e }
            }
        })*
    };
}

macro_rules! float2 {
    ($out:ident, $v:ident; $($name:ident, $s:ident, $a:ident, $b:ident => $e:expr;)*) => {
        $(pub(crate) struct $name;
        impl Op2 for $name {
            type In = Float;
            type Out = $out;
            #[inline(always)]
            unsafe fn apply<$s: Simd>($a: $s::F, $b: $s::F) -> $s::$v {
                unsafe { $e }
            }
        })*
    };
}

macro_rules! float3 {
    ($($name:ident, $s:ident, $a:ident, $b:ident, $c:ident => $e:expr;)*) => {
        $(pub(crate) struct $name;
        impl Op3 for $name {
            #[inline(always)]
            unsafe fn apply<$s: Simd>($a: $s::F, $b: $s::F, $c: $s::F) -> $s::F {
                unsafe { $e }
            }
        })*
    };
}

float1! {
    Neg, S, a => S::of_bits(S::xor_int(S::bits_of(a), S::splat_int(i32::MIN)));
    Abs, S, a => S::abs(a);
    // Zero and NaN are equal to no other sign of themselves.
    Sign, S, a => {
        let one = S::copysign(S::splat(1.0), a);
        S::select(S::lt(S::splat(0.0), S::abs(a)), one, a)
    };
    Exp, S, a => math::exp::<S>(a);
    Log, S, a => math::log::<S>(a);
    Sqrt, S, a => S::sqrt(a);
    Rsqrt, S, a => S::div(S::splat(1.0), S::sqrt(a));
    Recip, S, a => S::div(S::splat(1.0), a);
    Sin, S, a => math::sine::<S, 0>(a);
    Cos, S, a => math::sine::<S, 1>(a);
    Tanh, S, a => math::tanh::<S>(a);
    Sigmoid, S, a => math::sigmoid::<S>(a);
    Erf, S, a => math::erf::<S>(a);
    Relu, S, a => S::max(S::splat(0.0), a);
    Floor, S, a => S::floor(a);
    Gelu, S, a => S::mul(a, math::normal::<S>(a).0);
    GeluSlope, S, a => {
        let (p, e) = math::normal::<S>(a);
        S::fma(S::mul(a, e), S::splat(INV_SQRT_TAU), p)
    };
}

/// `1 / sqrt(2 pi)`.
pub(crate) const INV_SQRT_TAU: f32 = 0.398_942_3;

float2! { Float, F;
    Add, S, a, b => S::add(a, b);
    Sub, S, a, b => S::sub(a, b);
    Mul, S, a, b => S::mul(a, b);
    Div, S, a, b => S::div(a, b);
    Pow, S, a, b => math::lanes2::<S>(a, b, f32::powf);
    // The machine's maximum hands on NaN in b; that in a needs the selection.
    Max, S, a, b => S::select(S::eq(a, a), S::max(a, b), a);
    Min, S, a, b => S::select(S::eq(a, a), S::min(a, b), a);
    Mod, S, a, b => math::lanes2::<S>(a, b, |a, b| {
        let rest = a % b;
        if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
    });
}

float2! { Truth, M;
    Eq, S, a, b => S::eq(a, b);
    Ne, S, a, b => S::not(S::eq(a, b));
    Lt, S, a, b => S::lt(a, b);
    Le, S, a, b => S::le(a, b);
}

float3! {
    Fma, S, a, b, c => S::fma(a, b, c);
    // (a - b) * c
    SubScale, S, a, b, c => S::mul(S::sub(a, b), c);
    // e^(a - b) * c
    ExpScale, S, a, b, c => S::mul(math::exp::<S>(S::sub(a, b)), c);
    // a * (b - c)
    MulSub, S, a, b, c => S::mul(a, S::sub(b, c));
    // a * (1 - b^2) * c: the gradient through tanh with result b, times c
    TanhGrad, S, a, b, c => S::mul(S::mul(a, c), S::fnma(b, b, S::splat(1.0)));
    // a * b * (1 - b) * c: the gradient through sigmoid with result b, times c
    SigmoidGrad, S, a, b, c => S::mul(S::mul(a, c), S::fnma(b, b, b));
}

macro_rules! casts {
    ($($name:ident: $in:ident $iv:ident -> $out:ident $ov:ident, $s:ident, $a:ident => $e:expr;)*) => {
        $(pub(crate) struct $name;
        impl Op1 for $name {
            type In = $in;
            type Out = $out;
            #[inline(always)]
            unsafe fn apply<$s: Simd>($a: $s::$iv) -> $s::$ov {
                unsafe { $e }
            }
        })*
    };
}

casts! {
    // Saturates at the ends of i32, NaN becomes 0; the machine's conversion gives i32::MIN for all three.
    FloatToInt: Float F -> Int I, S, a => {
        let v = S::truncate(a);
        let v = S::select_int(S::le(S::splat(2_147_483_648.0), a), S::splat_int(i32::MAX), v);
        S::select_int(S::eq(a, a), v, S::splat_int(0))
    };
    FloatToTruth: Float F -> Truth M, S, a => S::not(S::eq(a, S::splat(0.0)));
    IntToFloat: Int I -> Float F, S, a => S::to_float(a);
    IntToTruth: Int I -> Truth M, S, a => S::not(S::eq_int(a, S::splat_int(0)));
    TruthToFloat: Truth M -> Float F, S, a => S::select(a, S::splat(1.0), S::splat(0.0));
    TruthToInt: Truth M -> Int I, S, a => S::select_int(a, S::splat_int(1), S::splat_int(0));
}
