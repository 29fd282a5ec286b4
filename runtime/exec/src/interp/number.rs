//! Scalar functions: what every [`MapFn`] means on one element, by element type.
//!
//! Where the IEEE functions leave room: `sign` of zero is zero and of NaN is NaN; `relu`, `max` and `min` hand NaN on; `mod` has the sign
//! of the divisor; i32 arithmetic wraps, i32 division truncates, and i32 division or remainder by zero is zero; a cast to i32
//! truncates, saturates at the ends of i32 and takes NaN to 0.

use ndarray::LinalgScalar;
use ogive_graph::MapFn;

/// A float type that the interpreter computes in.
pub(super) trait Real: LinalgScalar + PartialOrd + std::ops::Neg<Output = Self> + Send + Sync {
    /// Rounded to this type.
    fn of(x: f64) -> Self;
    /// Exact for both types.
    fn wide(self) -> f64;
    /// Function of one operand; `None` for those that have other types or operands.
    fn unary(f: MapFn) -> Option<fn(Self) -> Self>;
    /// Function of two operands with a result of the same type.
    fn binary(f: MapFn) -> Option<fn(Self, Self) -> Self>;
    /// e to the power.
    fn exponential(self) -> Self;
    /// Natural logarithm.
    fn logarithm(self) -> Self;
    /// Negative infinity.
    const LOWEST: Self;
    /// Positive infinity.
    const HIGHEST: Self;
}

macro_rules! real {
    ($t:ident) => {
        impl Real for $t {
            #[allow(clippy::cast_possible_truncation, clippy::unnecessary_cast, reason = "rounding is meant")]
            fn of(x: f64) -> Self {
                x as $t
            }

            fn wide(self) -> f64 {
                f64::from(self)
            }

            fn unary(f: MapFn) -> Option<fn(Self) -> Self> {
                use MapFn::*;
                Some(match f {
                    Neg => |x| -x,
                    Abs => |x| x.abs(),
                    Sign => |x| if x == 0.0 || x.is_nan() { x } else { x.signum() },
                    Exp => |x| x.exp(),
                    Log => |x| x.ln(),
                    Sqrt => |x| x.sqrt(),
                    Rsqrt => |x| x.sqrt().recip(),
                    Recip => |x| x.recip(),
                    Sin => |x| x.sin(),
                    Cos => |x| x.cos(),
                    Tanh => |x| x.tanh(),
                    Sigmoid => |x| if x >= 0.0 { ((-x).exp() + 1.0).recip() } else { x.exp() / (x.exp() + 1.0) },
                    Erf => |x| Self::of(libm::erf(x.wide())),
                    Relu => |x| if x < 0.0 { 0.0 } else { x },
                    Floor => |x| x.floor(),
                    StopGradient => |x| x,
                    Not | Cast | Add | Sub | Mul | Div | Pow | Max | Min | Mod | Eq | Ne | Lt | Le | Gt | Ge | And | Or | Where => {
                        return None;
                    }
                })
            }

            fn binary(f: MapFn) -> Option<fn(Self, Self) -> Self> {
                use MapFn::*;
                Some(match f {
                    Add => |a, b| a + b,
                    Sub => |a, b| a - b,
                    Mul => |a, b| a * b,
                    Div => |a, b| a / b,
                    Pow => |a, b| a.powf(b),
                    Max => |a, b| if a > b || a.is_nan() { a } else { b },
                    Min => |a, b| if a < b || a.is_nan() { a } else { b },
                    Mod => |a, b| {
                        let rest = a % b;
                        if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
                    },
                    Neg | Abs | Sign | Exp | Log | Sqrt | Rsqrt | Recip | Sin | Cos | Tanh | Sigmoid | Erf | Relu | Floor | Not | Cast
                    | StopGradient | Eq | Ne | Lt | Le | Gt | Ge | And | Or | Where => return None,
                })
            }

            fn exponential(self) -> Self {
                self.exp()
            }

            fn logarithm(self) -> Self {
                self.ln()
            }

            const LOWEST: Self = $t::NEG_INFINITY;
            const HIGHEST: Self = $t::INFINITY;
        }
    };
}
real!(f32);
real!(f64);

/// Function of one i32.
pub(super) fn whole_unary(f: MapFn) -> Option<fn(i32) -> i32> {
    Some(match f {
        MapFn::Neg => i32::wrapping_neg,
        MapFn::Abs => i32::wrapping_abs,
        MapFn::Sign => i32::signum,
        MapFn::Relu => |x| x.max(0),
        MapFn::Floor | MapFn::StopGradient => |x| x,
        _ => return None,
    })
}

/// Function of two i32 with an i32 result.
pub(super) fn whole_binary(f: MapFn) -> Option<fn(i32, i32) -> i32> {
    Some(match f {
        MapFn::Add => i32::wrapping_add,
        MapFn::Sub => i32::wrapping_sub,
        MapFn::Mul => i32::wrapping_mul,
        MapFn::Div => |a, b| if b == 0 { 0 } else { a.wrapping_div(b) },
        MapFn::Pow => power,
        MapFn::Max => i32::max,
        MapFn::Min => i32::min,
        MapFn::Mod => |a, b| {
            let rest = if b == 0 { 0 } else { a.wrapping_rem(b) };
            if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
        },
        _ => return None,
    })
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

/// Comparison of two elements.
pub(super) fn comparison<T: PartialOrd>(f: MapFn) -> Option<fn(T, T) -> bool> {
    Some(match f {
        MapFn::Eq => |a, b| a == b,
        MapFn::Ne => |a, b| a != b,
        MapFn::Lt => |a, b| a < b,
        MapFn::Le => |a, b| a <= b,
        MapFn::Gt => |a, b| a > b,
        MapFn::Ge => |a, b| a >= b,
        _ => return None,
    })
}
