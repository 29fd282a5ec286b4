//! Rules for element-wise functions.

use super::constant;
use crate::build::Builder;
use crate::entity::Value;
use crate::fold;
use crate::graph::Node;
use crate::op::{MapFn, Op, Scalar};
use crate::shape::DType;

/// The node's value, with as little new as possible.
pub(super) fn simplify(b: &mut Builder<'_>, node: Node) -> Value {
    let Op::Map(f) = node.op else { panic!("a fault in ogive: not an element-wise node") };
    if let Some(scalars) = node.inputs.iter().map(|&v| constant(b, v)).collect::<Option<Vec<Scalar>>>()
        && let Some(folded) = fold::map(f, &scalars, node.ty.dtype)
    {
        return b.add_as(Op::Const(folded), &[], Some(&node.ty));
    }
    if let Some(operand) = same_as_operand(b, f, &node) {
        return operand;
    }
    match rewritten(b, f, &node) {
        Some((g, inputs)) => simplify(b, Node { op: Op::Map(g), inputs: inputs.as_slice().into(), ..node }),
        None => b.region.push(node),
    }
}

fn is(b: &Builder<'_>, value: Value, number: f64) -> bool {
    match constant(b, value) {
        Some(Scalar::Float(x)) => x == number,
        Some(Scalar::Int(x)) => f64::from(x) == number,
        Some(Scalar::Bool(x)) => f64::from(u8::from(x)) == number,
        None => false,
    }
}

/// Function and operands of an element-wise node.
fn applied<'b>(b: &'b Builder<'_>, value: Value) -> Option<(MapFn, &'b [Value])> {
    let node = b.region.node(value);
    match node.op {
        Op::Map(f) => Some((f, node.inputs.as_slice())),
        _ => None,
    }
}

/// An existing value that the node equals, in its axes too.
fn same_as_operand(b: &Builder<'_>, f: MapFn, node: &Node) -> Option<Value> {
    use MapFn::{Abs, Add, And, Cast, Div, Max, Min, Mul, Neg, Not, Or, Pow, Recip, Relu, Sign, Sub, Where};
    let inner = |g: MapFn| applied(b, node.inputs[0]).filter(|a| a.0 == g).map(|a| a.1[0]);
    let found = match (f, node.inputs.as_slice()) {
        (Add | Or, &[x, zero]) | (Sub, &[x, zero]) if is(b, zero, 0.0) => Some(x),
        (Add | Or, &[zero, x]) if is(b, zero, 0.0) => Some(x),
        (Mul | And | Div | Pow, &[x, one]) if is(b, one, 1.0) => Some(x),
        (Mul | And, &[one, x]) if is(b, one, 1.0) => Some(x),
        (Mul, &[x, zero] | &[zero, x]) if node.ty.dtype == DType::I32 && is(b, zero, 0.0) && b.shape(x).is_scalar() => Some(zero),
        (And, &[x, never] | &[never, x]) if is(b, never, 0.0) && b.shape(x).is_scalar() => Some(never),
        (Or, &[x, always] | &[always, x]) if is(b, always, 1.0) && b.shape(x).is_scalar() => Some(always),
        (Max | Min | And | Or, &[x, y]) if x == y => Some(x),
        (Where, &[condition, x, y]) => match constant(b, condition) {
            Some(Scalar::Bool(true)) => Some(x),
            Some(Scalar::Bool(false)) => Some(y),
            _ if x == y => Some(x),
            _ => None,
        },
        (Neg, _) => inner(Neg),
        (Not, _) => inner(Not),
        (Abs | Relu | Sign, &[x]) if inner(f).is_some() => Some(x),
        (Recip, &[_]) => None,
        (Cast, &[x]) => Some(x),
        _ => None,
    };
    found.filter(|&v| *b.ty(v) == node.ty)
}

/// Another function of other operands that the node equals.
fn rewritten(b: &mut Builder<'_>, f: MapFn, node: &Node) -> Option<(MapFn, Vec<Value>)> {
    use MapFn::{Abs, Add, Cast, Div, Ge, Gt, Le, Lt, Mul, Neg, Not, Pow, Recip, Rsqrt, Sqrt, Sub, Where};
    let of = |v: Value, g: MapFn| applied(b, v).filter(|a| a.0 == g).map(|a| a.1.to_vec());
    let negated = |v: Value| of(v, Neg).map(|a| a[0]);
    let float = node.ty.dtype.is_float();
    match (f, node.inputs.as_slice()) {
        (Add, &[x, y]) => match (negated(x), negated(y)) {
            (_, Some(y)) => Some((Sub, vec![x, y])),
            (Some(x), None) => Some((Sub, vec![y, x])),
            _ => None,
        },
        (Sub, &[x, y]) => match negated(y) {
            Some(y) => Some((Add, vec![x, y])),
            None if is(b, x, 0.0) && *b.ty(y) == node.ty && !float => Some((Neg, vec![y])),
            None => None,
        },
        (Mul | Div, &[x, y]) => match (negated(x), negated(y)) {
            (Some(x), Some(y)) => Some((f, vec![x, y])),
            _ if float => division(b, f, x, y),
            _ => None,
        },
        (Pow, &[x, two]) if is(b, two, 2.0) => Some((Mul, vec![x, x])),
        (Pow, &[x, less]) if is(b, less, -1.0) => Some((Recip, vec![x])),
        (Abs, &[x]) => negated(x).map(|x| (Abs, vec![x])),
        (Recip, &[x]) => of(x, Sqrt).map(|x| (Rsqrt, x)),
        // Exact for integers only: with a NaN both an order and its opposite fail.
        (Not, &[x]) => {
            let opposite = [(Lt, Ge), (Ge, Lt), (Le, Gt), (Gt, Le)];
            let (g, operands) = applied(b, x)?;
            let &(_, other) = opposite.iter().find(|p| p.0 == g)?;
            (b.ty(operands[0]).dtype == DType::I32).then(|| (other, operands.to_vec()))
        }
        (Where, &[condition, x, y]) => of(condition, Not).map(|c| (Where, vec![c[0], y, x])),
        // A truth value is 0 or 1 in every type.
        (Cast, &[x]) => of(x, Cast).filter(|inner| b.ty(inner[0]).dtype == DType::Bool).map(|inner| (Cast, inner)),
        _ => None,
    }
}

/// Division by a power of two is multiplication; division of one is a reciprocal.
fn division(b: &mut Builder<'_>, f: MapFn, x: Value, y: Value) -> Option<(MapFn, Vec<Value>)> {
    if f != MapFn::Div {
        return None;
    }
    if is(b, x, 1.0) {
        return Some((MapFn::Recip, vec![y]));
    }
    let Some(Scalar::Float(c)) = constant(b, y) else { return None };
    let power = c.to_bits() & ((1 << 52) - 1) == 0 && (1e-30..1e30).contains(&c.abs());
    if !power {
        return None;
    }
    let dtype = b.ty(y).dtype;
    let inverse = b.float(1.0 / c, dtype);
    Some((MapFn::Mul, vec![x, inverse]))
}
