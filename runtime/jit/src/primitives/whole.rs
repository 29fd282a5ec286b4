//! Functions of i32 and of bool.

use super::lane::{Int, Op1, Op2, Truth};
use super::simd::{LANES, Simd};

macro_rules! whole1 {
    ($lane:ident, $v:ident; $($name:ident, $s:ident, $a:ident => $e:expr;)*) => {
        $(pub(crate) struct $name;
        impl Op1 for $name {
            type In = $lane;
            type Out = $lane;
            #[inline(always)]
            unsafe fn apply<$s: Simd>($a: $s::$v) -> $s::$v {
                unsafe { $e }
            }
        })*
    };
}

macro_rules! whole2 {
    ($in:ident, $iv:ident, $out:ident, $ov:ident; $($name:ident, $s:ident, $a:ident, $b:ident => $e:expr;)*) => {
        $(pub(crate) struct $name;
        impl Op2 for $name {
            type In = $in;
            type Out = $out;
            #[inline(always)]
            unsafe fn apply<$s: Simd>($a: $s::$iv, $b: $s::$iv) -> $s::$ov {
                unsafe { $e }
            }
        })*
    };
}

whole1! { Int, I;
    Neg, S, a => S::sub_int(S::splat_int(0), a);
    Abs, S, a => S::select_int(S::lt_int(a, S::splat_int(0)), S::sub_int(S::splat_int(0), a), a);
    Sign, S, a => {
        let zero = S::splat_int(0);
        let up = S::select_int(S::lt_int(zero, a), S::splat_int(1), zero);
        S::select_int(S::lt_int(a, zero), S::splat_int(-1), up)
    };
    Relu, S, a => S::select_int(S::lt_int(a, S::splat_int(0)), S::splat_int(0), a);
}

whole2! { Int, I, Int, I;
    Add, S, a, b => S::add_int(a, b);
    Sub, S, a, b => S::sub_int(a, b);
    Mul, S, a, b => S::mul_int(a, b);
    Div, S, a, b => lanes2::<S>(a, b, |a, b| if b == 0 { 0 } else { a.wrapping_div(b) });
    Pow, S, a, b => lanes2::<S>(a, b, power);
    Max, S, a, b => S::select_int(S::lt_int(a, b), b, a);
    Min, S, a, b => S::select_int(S::lt_int(b, a), b, a);
    Mod, S, a, b => lanes2::<S>(a, b, |a, b| {
        let rest = if b == 0 { 0 } else { a.wrapping_rem(b) };
        if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
    });
}

whole2! { Int, I, Truth, M;
    Eq, S, a, b => S::eq_int(a, b);
    Ne, S, a, b => S::not(S::eq_int(a, b));
    Lt, S, a, b => S::lt_int(a, b);
    Le, S, a, b => S::not(S::lt_int(b, a));
}

whole1! { Truth, M;
    Not, S, a => S::not(a);
}

whole2! { Truth, M, Truth, M;
    And, S, a, b => S::and(a, b);
    Or, S, a, b => S::or(a, b);
    EqTruth, S, a, b => S::or(S::and(a, b), S::not(S::or(a, b)));
    NeTruth, S, a, b => S::and(S::or(a, b), S::not(S::and(a, b)));
    LtTruth, S, a, b => S::and(S::not(a), b);
    LeTruth, S, a, b => S::or(S::not(a), b);
}

/// Powers of integers; a negative exponent gives the truncated reciprocal, and that of zero is zero.
fn power(base: i32, exponent: i32) -> i32 {
    match (u32::try_from(exponent), base) {
        (Ok(exponent), _) => base.wrapping_pow(exponent),
        (Err(_), 1) => 1,
        (Err(_), -1) => 1 - 2 * (exponent & 1),
        (Err(_), _) => 0,
    }
}

/// A scalar function of two applied lane by lane.
#[inline(always)]
unsafe fn lanes2<S: Simd>(a: S::I, b: S::I, f: fn(i32, i32) -> i32) -> S::I {
    unsafe {
        let (mut x, mut y) = ([0; LANES], [0; LANES]);
        S::store_int(x.as_mut_ptr(), a);
        S::store_int(y.as_mut_ptr(), b);
        for (x, &y) in x.iter_mut().zip(&y) {
            *x = f(*x, y);
        }
        S::load_int(x.as_ptr())
    }
}
