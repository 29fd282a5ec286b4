//! Element-wise functions of constants, computed as the reference interpreter computes them.

use crate::op::{MapFn, Scalar};
use crate::shape::DType;

/// The constant that `f` of constants is, at the node's element type; `None` where the interpreter should decide (integer overflow and
/// division, order of NaN, functions without an exact definition here).
pub(crate) fn map(f: MapFn, inputs: &[Scalar], dtype: DType) -> Option<Scalar> {
    match (f, inputs) {
        (MapFn::StopGradient, &[x]) => Some(x),
        (MapFn::Cast, &[x]) => cast(x, dtype),
        (MapFn::Where, &[Scalar::Bool(c), a, b]) => Some(if c { a } else { b }),
        (_, &[Scalar::Float(x)]) => Some(Scalar::Float(round(float1(f, x)?, dtype))),
        (_, &[Scalar::Float(x), Scalar::Float(y)]) => match compare(f, x.partial_cmp(&y)) {
            Some(truth) => Some(Scalar::Bool(truth)),
            None => Some(Scalar::Float(round(float2(f, x, y)?, dtype))),
        },
        (_, &[Scalar::Int(x)]) => Some(Scalar::Int(int1(f, x)?)),
        (_, &[Scalar::Int(x), Scalar::Int(y)]) => match compare(f, Some(x.cmp(&y))) {
            Some(truth) => Some(Scalar::Bool(truth)),
            None => Some(Scalar::Int(int2(f, x, y)?)),
        },
        (MapFn::Not, &[Scalar::Bool(x)]) => Some(Scalar::Bool(!x)),
        (MapFn::And, &[Scalar::Bool(x), Scalar::Bool(y)]) => Some(Scalar::Bool(x && y)),
        (MapFn::Or, &[Scalar::Bool(x), Scalar::Bool(y)]) => Some(Scalar::Bool(x || y)),
        (MapFn::Eq, &[Scalar::Bool(x), Scalar::Bool(y)]) => Some(Scalar::Bool(x == y)),
        (MapFn::Ne, &[Scalar::Bool(x), Scalar::Bool(y)]) => Some(Scalar::Bool(x != y)),
        _ => None,
    }
}

/// A double as the element type holds it.
pub(crate) fn round(x: f64, dtype: DType) -> f64 {
    if dtype == DType::F32 { f64::from(x as f32) } else { x }
}

fn cast(x: Scalar, dtype: DType) -> Option<Scalar> {
    let number = match x {
        Scalar::Float(x) => x,
        Scalar::Int(x) => f64::from(x),
        Scalar::Bool(x) => f64::from(u8::from(x)),
    };
    match dtype {
        DType::F32 | DType::F64 => Some(Scalar::Float(round(number, dtype))),
        DType::I32 if number.abs() < f64::from(i32::MAX) => Some(Scalar::Int(number as i32)),
        DType::I32 | DType::Bool => None,
    }
}

fn float1(f: MapFn, x: f64) -> Option<f64> {
    Some(match f {
        MapFn::Neg => -x,
        MapFn::Abs => x.abs(),
        MapFn::Sign if x > 0.0 => 1.0,
        MapFn::Sign if x < 0.0 => -1.0,
        MapFn::Sign if x == 0.0 => 0.0,
        MapFn::Exp => x.exp(),
        MapFn::Log => x.ln(),
        MapFn::Sqrt => x.sqrt(),
        MapFn::Rsqrt => 1.0 / x.sqrt(),
        MapFn::Recip => 1.0 / x,
        MapFn::Sin => x.sin(),
        MapFn::Cos => x.cos(),
        MapFn::Tanh => x.tanh(),
        MapFn::Relu if x > 0.0 => x,
        MapFn::Relu if x <= 0.0 => 0.0,
        MapFn::Floor => x.floor(),
        _ => return None,
    })
}

fn float2(f: MapFn, x: f64, y: f64) -> Option<f64> {
    Some(match f {
        MapFn::Add => x + y,
        MapFn::Sub => x - y,
        MapFn::Mul => x * y,
        MapFn::Div => x / y,
        MapFn::Pow => x.powf(y),
        MapFn::Max if !x.is_nan() && !y.is_nan() => x.max(y),
        MapFn::Min if !x.is_nan() && !y.is_nan() => x.min(y),
        _ => return None,
    })
}

fn int1(f: MapFn, x: i32) -> Option<i32> {
    match f {
        MapFn::Neg => x.checked_neg(),
        MapFn::Abs => x.checked_abs(),
        MapFn::Sign => Some(x.signum()),
        MapFn::Relu => Some(x.max(0)),
        _ => None,
    }
}

fn int2(f: MapFn, x: i32, y: i32) -> Option<i32> {
    match f {
        MapFn::Add => x.checked_add(y),
        MapFn::Sub => x.checked_sub(y),
        MapFn::Mul => x.checked_mul(y),
        MapFn::Max => Some(x.max(y)),
        MapFn::Min => Some(x.min(y)),
        _ => None,
    }
}

/// A comparison, where `f` is one; an order of `None` (a NaN) is unequal to everything.
fn compare(f: MapFn, order: Option<std::cmp::Ordering>) -> Option<bool> {
    Some(match f {
        MapFn::Eq => order.is_some_and(|o| o.is_eq()),
        MapFn::Ne => !order.is_some_and(|o| o.is_eq()),
        MapFn::Lt => order.is_some_and(|o| o.is_lt()),
        MapFn::Le => order.is_some_and(|o| o.is_le()),
        MapFn::Gt => order.is_some_and(|o| o.is_gt()),
        MapFn::Ge => order.is_some_and(|o| o.is_ge()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Scalar::{Bool, Float, Int};

    #[test]
    fn single_precision_results_are_rounded_once_per_function() {
        let third = map(MapFn::Div, &[Float(1.0), Float(3.0)], DType::F32);
        assert_eq!(third, Some(Float(f64::from(1.0f32 / 3.0))));
        assert_eq!(map(MapFn::Div, &[Float(1.0), Float(3.0)], DType::F64), Some(Float(1.0 / 3.0)));
        assert_eq!(map(MapFn::Mul, &[Float(1e30), Float(1e30)], DType::F32), Some(Float(f64::INFINITY)));
    }

    #[test]
    fn comparisons_with_nan_hold_only_for_inequality() {
        for f in [MapFn::Eq, MapFn::Lt, MapFn::Le, MapFn::Gt, MapFn::Ge] {
            assert_eq!(map(f, &[Float(f64::NAN), Float(0.0)], DType::Bool), Some(Bool(false)));
        }
        assert_eq!(map(MapFn::Ne, &[Float(f64::NAN), Float(0.0)], DType::Bool), Some(Bool(true)));
    }

    #[test]
    fn integers_that_overflow_are_left_to_the_run() {
        assert_eq!(map(MapFn::Add, &[Int(i32::MAX), Int(1)], DType::I32), None);
        assert_eq!(map(MapFn::Sub, &[Int(5), Int(7)], DType::I32), Some(Int(-2)));
        assert_eq!(map(MapFn::Cast, &[Float(1e12)], DType::I32), None);
        assert_eq!(map(MapFn::Cast, &[Float(-2.9)], DType::I32), Some(Int(-2)));
    }

    #[test]
    fn the_sign_of_zero_is_zero() {
        assert_eq!(map(MapFn::Sign, &[Float(0.0)], DType::F64), Some(Float(0.0)));
        assert_eq!(map(MapFn::Sign, &[Float(f64::NAN)], DType::F64), None);
    }
}
