//! Derivatives of the element-wise functions: one table for both modes.
//!
//! At ties `max` and `min` pass everything to the first operand; `relu` and `abs` have derivative zero at zero;
//! `pow` has derivative zero in its base where the exponent is zero, and in its exponent where the base is not positive.

use super::emit::{constant, div, fit, float_like, mul, neg, pick, product_onto, scale, scale_by_size};
use crate::build::Builder;
use crate::entity::Value;
use crate::op::{MapFn, ReduceFn};
use crate::shape::{DType, Shape};

/// What an element-wise function does to a small change of one operand.
pub(super) enum Local {
    /// Nothing arrives.
    Zero,
    /// It arrives as it is.
    One,
    /// It arrives negated.
    Neg,
    /// It is multiplied.
    Factor(Value),
    /// It is divided.
    Divisor(Value),
    /// It arrives where the condition is `when`.
    Pick { condition: Value, when: bool },
    /// It changes its element type, in forward direction from `from` to `to`.
    Cast { from: DType, to: DType },
}

/// The derivative of `y = f(inputs)` in operand `i`. Where an operand occurs twice in a product, operand 0 answers for both.
pub(super) fn local(b: &mut Builder<'_>, f: MapFn, inputs: &[Value], y: Value, i: usize) -> Local {
    let x = inputs[0];
    match f {
        MapFn::Neg => Local::Neg,
        MapFn::Abs => Local::Factor(b.map(MapFn::Sign, &[x])),
        MapFn::Exp => Local::Factor(y),
        MapFn::Log => Local::Divisor(x),
        MapFn::Sqrt => {
            let half = float_like(b, 0.5, y);
            Local::Factor(b.map(MapFn::Div, &[half, y]))
        }
        MapFn::Rsqrt => {
            let square = mul(b, y, y);
            let cube = mul(b, square, y);
            Local::Factor(scale(b, cube, -0.5))
        }
        MapFn::Recip => {
            let square = mul(b, y, y);
            Local::Factor(neg(b, square))
        }
        MapFn::Sin => Local::Factor(b.map(MapFn::Cos, &[x])),
        MapFn::Cos => {
            let sin = b.map(MapFn::Sin, &[x]);
            Local::Factor(neg(b, sin))
        }
        MapFn::Tanh => {
            let square = mul(b, y, y);
            Local::Factor(one_minus(b, square))
        }
        MapFn::Sigmoid => {
            let rest = one_minus(b, y);
            Local::Factor(mul(b, y, rest))
        }
        MapFn::Erf => {
            let square = mul(b, x, x);
            let minus = neg(b, square);
            let bell = b.map(MapFn::Exp, &[minus]);
            Local::Factor(scale(b, bell, std::f64::consts::FRAC_2_SQRT_PI))
        }
        MapFn::Relu => {
            let zero = float_like(b, 0.0, x);
            Local::Pick { condition: b.map(MapFn::Gt, &[x, zero]), when: true }
        }
        MapFn::Cast => match (b.ty(x).dtype, b.ty(y).dtype) {
            (from, to) if from.is_float() && to.is_float() => Local::Cast { from, to },
            _ => Local::Zero,
        },
        MapFn::Sign | MapFn::Floor | MapFn::StopGradient => Local::Zero,
        MapFn::Not | MapFn::Eq | MapFn::Ne | MapFn::Lt | MapFn::Le | MapFn::Gt | MapFn::Ge | MapFn::And | MapFn::Or => Local::Zero,
        MapFn::Add => Local::One,
        MapFn::Sub => [Local::One, Local::Neg].into_iter().nth(i).unwrap_or(Local::Zero),
        MapFn::Mul if inputs[0] == inputs[1] => match i {
            0 => Local::Factor(scale(b, x, 2.0)),
            _ => Local::Zero,
        },
        MapFn::Mul => Local::Factor(inputs[1 - i]),
        MapFn::Div if i == 0 => match constant(b, inputs[1]) {
            Some(c) if c != 0.0 => Local::Factor(float_like(b, 1.0 / c, x)),
            _ => Local::Divisor(inputs[1]),
        },
        MapFn::Div => {
            let ratio = div(b, y, inputs[1]);
            Local::Factor(neg(b, ratio))
        }
        MapFn::Pow => power(b, inputs[0], inputs[1], y, i),
        MapFn::Max => Local::Pick { condition: b.map(MapFn::Ge, &[inputs[0], inputs[1]]), when: i == 0 },
        MapFn::Min => Local::Pick { condition: b.map(MapFn::Le, &[inputs[0], inputs[1]]), when: i == 0 },
        MapFn::Mod if i == 0 => Local::One,
        MapFn::Mod => {
            let ratio = b.map(MapFn::Div, &[inputs[0], inputs[1]]);
            let whole = b.map(MapFn::Floor, &[ratio]);
            Local::Factor(neg(b, whole))
        }
        MapFn::Where => match i {
            0 => Local::Zero,
            _ => Local::Pick { condition: inputs[0], when: i == 1 },
        },
    }
}

/// The change that arrives, element-wise: a tangent pushed forward.
pub(super) fn push(b: &mut Builder<'_>, local: &Local, tangent: Value) -> Option<Value> {
    Some(match *local {
        Local::Zero => return None,
        Local::One => tangent,
        Local::Neg => neg(b, tangent),
        Local::Factor(f) => mul(b, tangent, f),
        Local::Divisor(d) => div(b, tangent, d),
        Local::Pick { condition, when } => pick(b, condition, when, tangent),
        Local::Cast { to, .. } => b.cast(tangent, to),
    })
}

/// What arrives at an operand with axes `to`: the cotangent `dy` of a result with axes `from` pulled back.
pub(super) fn pull(b: &mut Builder<'_>, local: &Local, dy: Value, from: &Shape, to: &Shape) -> Option<Value> {
    Some(match *local {
        Local::Zero => return None,
        Local::One => fit(b, dy, from, to),
        Local::Neg => {
            let dx = fit(b, dy, from, to);
            neg(b, dx)
        }
        Local::Cast { from: dtype, .. } => {
            let dx = fit(b, dy, from, to);
            b.cast(dx, dtype)
        }
        Local::Factor(factor) => {
            let seen = b.shape(dy).union(b.shape(factor));
            let dx = product_onto(b, dy, factor, to);
            scale_by_size(b, dx, &from.minus(to).minus(&seen))
        }
        Local::Divisor(other) | Local::Pick { condition: other, .. } => {
            // What the other operand does not tell apart is summed first.
            let early = b.shape(dy).minus(b.shape(other)).minus(to);
            let dy = b.reduce(ReduceFn::Sum, dy, early.axes());
            let dx = match *local {
                Local::Pick { condition, when } => pick(b, condition, when, dy),
                _ => div(b, dy, other),
            };
            fit(b, dx, &from.minus(&early), to)
        }
    })
}

fn one_minus(b: &mut Builder<'_>, x: Value) -> Value {
    let one = float_like(b, 1.0, x);
    b.map(MapFn::Sub, &[one, x])
}

fn power(b: &mut Builder<'_>, base: Value, exponent: Value, y: Value, i: usize) -> Local {
    if i == 0 {
        if let Some(c) = constant(b, exponent) {
            return match c {
                0.0 => Local::Zero,
                1.0 => Local::One,
                2.0 => Local::Factor(scale(b, base, 2.0)),
                _ => {
                    let less = float_like(b, c - 1.0, base);
                    let power = b.map(MapFn::Pow, &[base, less]);
                    Local::Factor(scale(b, power, c))
                }
            };
        }
        let one = float_like(b, 1.0, exponent);
        let zero = float_like(b, 0.0, exponent);
        let constant = b.map(MapFn::Eq, &[exponent, zero]);
        // The exponent is moved away from zero before the power is taken, so that no infinity meets a zero.
        let exponent = b.map(MapFn::Where, &[constant, one, exponent]);
        let less = b.map(MapFn::Sub, &[exponent, one]);
        let power = b.map(MapFn::Pow, &[base, less]);
        let slope = b.map(MapFn::Mul, &[exponent, power]);
        return Local::Factor(b.map(MapFn::Where, &[constant, zero, slope]));
    }
    let one = float_like(b, 1.0, base);
    let zero = float_like(b, 0.0, base);
    let positive = b.map(MapFn::Gt, &[base, zero]);
    let safe = b.map(MapFn::Where, &[positive, base, one]);
    let log = b.map(MapFn::Log, &[safe]);
    let slope = b.map(MapFn::Mul, &[y, log]);
    Local::Factor(b.map(MapFn::Where, &[positive, slope, zero]))
}
