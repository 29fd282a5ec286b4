//! Builds the nodes of derivative rules without waste: no product with one, no sum with zero, constants folded.

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::Node;
use crate::infer;
use crate::op::{MapFn, Op, ReduceFn, Scalar};
use crate::shape::{Shape, Ty};
use std::collections::BTreeMap;

/// The value of a float constant.
pub(super) fn constant(b: &Builder<'_>, value: Value) -> Option<f64> {
    match b.region.node(value).op {
        Op::Const(Scalar::Float(c)) => Some(c),
        _ => None,
    }
}

/// A float constant with the element type of `like`.
pub(super) fn float_like(b: &mut Builder<'_>, c: f64, like: Value) -> Value {
    let dtype = b.ty(like).dtype;
    b.float(c, dtype)
}

/// `x * y`.
pub(super) fn mul(b: &mut Builder<'_>, x: Value, y: Value) -> Value {
    match (constant(b, x), constant(b, y)) {
        (Some(c), Some(d)) => float_like(b, c * d, x),
        (Some(c), None) => scale(b, y, c),
        (None, Some(c)) => scale(b, x, c),
        (None, None) => b.map(MapFn::Mul, &[x, y]),
    }
}

/// `x / y`; a product where `y` is constant.
pub(super) fn div(b: &mut Builder<'_>, x: Value, y: Value) -> Value {
    match constant(b, y) {
        Some(c) if c != 0.0 => scale(b, x, 1.0 / c),
        _ => b.map(MapFn::Div, &[x, y]),
    }
}

/// `c * x`.
pub(super) fn scale(b: &mut Builder<'_>, x: Value, c: f64) -> Value {
    if c == 1.0 {
        return x;
    }
    if let Some(d) = constant(b, x) {
        return float_like(b, c * d, x);
    }
    if c == -1.0 {
        return neg(b, x);
    }
    let factor = float_like(b, c, x);
    b.map(MapFn::Mul, &[x, factor])
}

/// `-x`.
pub(super) fn neg(b: &mut Builder<'_>, x: Value) -> Value {
    match b.region.node(x).op {
        Op::Map(MapFn::Neg) => b.region.node(x).inputs[0],
        Op::Const(Scalar::Float(c)) => float_like(b, -c, x),
        _ => b.map(MapFn::Neg, &[x]),
    }
}

/// `x + y`; a difference where one is a negation.
pub(super) fn add(b: &mut Builder<'_>, x: Value, y: Value) -> Value {
    match (constant(b, x), constant(b, y)) {
        (Some(c), Some(d)) => return float_like(b, c + d, x),
        (Some(0.0), None) => return y,
        (None, Some(0.0)) => return x,
        _ => {}
    }
    let negated = |b: &Builder<'_>, v: Value| (b.region.node(v).op == Op::Map(MapFn::Neg)).then(|| b.region.node(v).inputs[0]);
    match (negated(b, x), negated(b, y)) {
        (_, Some(y)) => b.map(MapFn::Sub, &[x, y]),
        (Some(x), None) => b.map(MapFn::Sub, &[y, x]),
        (None, None) => b.map(MapFn::Add, &[x, y]),
    }
}

/// Sum in the order given; `None` of nothing.
pub(super) fn total(b: &mut Builder<'_>, parts: &[Value]) -> Option<Value> {
    let (&first, rest) = parts.split_first()?;
    Some(rest.iter().fold(first, |sum, &part| add(b, sum, part)))
}

/// `x` where the condition is `when`, zero elsewhere.
pub(super) fn pick(b: &mut Builder<'_>, condition: Value, when: bool, x: Value) -> Value {
    let zero = float_like(b, 0.0, x);
    b.map(MapFn::Where, &if when { [condition, x, zero] } else { [condition, zero, x] })
}

/// `x` with every axis of `shape`: constant along those it lacks.
pub(crate) fn spread(b: &mut Builder<'_>, x: Value, shape: &Shape) -> Value {
    let missing = shape.minus(b.shape(x));
    let mut positions: Option<Value> = None;
    for axis in missing.iter() {
        let here = b.add(Op::Iota(axis), &[]);
        positions = Some(positions.map_or(here, |p| b.map(MapFn::Add, &[p, here])));
    }
    let Some(positions) = positions else { return x };
    let zero = b.int(0);
    let everywhere = b.map(MapFn::Ge, &[positions, zero]);
    let ty = Ty::new(b.ty(x).dtype, missing);
    let ones = b.add_as(Op::Map(MapFn::Cast), &[everywhere], Some(&ty));
    mul(b, x, ones)
}

/// Zeros of a float type.
pub(crate) fn zeros(b: &mut Builder<'_>, ty: &Ty) -> Value {
    let zero = b.float(0.0, ty.dtype);
    spread(b, zero, &ty.shape)
}

/// The cotangent `x` of a value with axes `from`, made that of an operand with axes `to` which was constant along the others.
pub(super) fn fit(b: &mut Builder<'_>, x: Value, from: &Shape, to: &Shape) -> Value {
    let lost = from.minus(to);
    let over = lost.intersection(b.shape(x));
    let absent = lost.minus(&over);
    let x = scale_by_size(b, x, &absent);
    b.reduce(ReduceFn::Sum, x, over.axes())
}

/// `x` times the number of positions of the axes.
pub(crate) fn scale_by_size(b: &mut Builder<'_>, x: Value, absent: &Shape) -> Value {
    let times = absent.iter().fold(1.0, |n, a| n * b.axes[a.index()].size as f64);
    scale(b, x, times)
}

/// Sum of `x * y` over those axes of either that `kept` lacks: one contraction where there is no axis to align, otherwise a
/// reduction of the aligned product. Each operand is reduced alone over what the other lacks.
pub(super) fn product_onto(b: &mut Builder<'_>, x: Value, y: Value, kept: &Shape) -> Value {
    let (sx, sy) = (b.shape(x).clone(), b.shape(y).clone());
    let x = b.reduce(ReduceFn::Sum, x, sx.minus(&sy).minus(kept).axes());
    let y = b.reduce(ReduceFn::Sum, y, sy.minus(&sx).minus(kept).axes());
    let both = sx.intersection(&sy);
    let over = both.minus(kept);
    if over.is_scalar() {
        return mul(b, x, y);
    }
    if both == over {
        return b.contract(x, y, over.axes());
    }
    let product = mul(b, x, y);
    b.reduce(ReduceFn::Sum, product, over.axes())
}

/// Cotangent of an operand with axes `to` of a contraction with `other`, from the cotangent `dy` of the result: one contraction.
pub(super) fn contract_onto(b: &mut Builder<'_>, dy: Value, other: Value, to: &Shape) -> Value {
    let lost = b.shape(other).minus(to);
    let over: Vec<AxisId> = lost.intersection(b.shape(dy)).axes().to_vec();
    let absent = lost.minus(b.shape(dy));
    let other = b.reduce(ReduceFn::Sum, other, absent.axes());
    if over.is_empty() { mul(b, dy, other) } else { b.contract(dy, other, &over) }
}

/// A value's element type if derivatives flow through it.
pub(super) fn is_float(b: &Builder<'_>, value: Value) -> bool {
    b.ty(value).dtype.is_float()
}

/// `x` where the position along `row` is beyond that along `col`, zero elsewhere.
pub(super) fn below(b: &mut Builder<'_>, row: AxisId, col: AxisId, x: Value) -> Value {
    let (at, other) = (b.add(Op::Iota(row), &[]), b.add(Op::Iota(col), &[]));
    let is_below = b.map(MapFn::Gt, &[at, other]);
    pick(b, is_below, true, x)
}

/// One where `x` equals its extremum `y`, zero elsewhere.
pub(super) fn ties(b: &mut Builder<'_>, x: Value, y: Value) -> Value {
    let equal = b.map(MapFn::Eq, &[x, y]);
    let ty = Ty::new(b.ty(x).dtype, b.shape(equal).clone());
    b.add_as(Op::Map(MapFn::Cast), &[equal], Some(&ty))
}

/// [`rename`] of the operands of element-wise functions rather than of their result, so that their readers compute them on the way.
pub(super) fn rename_within(b: &mut Builder<'_>, v: Value, pairs: &[(AxisId, AxisId)]) -> Value {
    within(b, v, pairs, &mut BTreeMap::new())
}

fn within(b: &mut Builder<'_>, v: Value, pairs: &[(AxisId, AxisId)], done: &mut BTreeMap<Value, Value>) -> Value {
    if let Some(&known) = done.get(&v) {
        return known;
    }
    let here: Vec<(AxisId, AxisId)> = pairs.iter().copied().filter(|p| b.shape(v).contains(p.0)).collect();
    let node = b.region.node(v).clone();
    let new = if here.is_empty() || !matches!(node.op, Op::Map(_)) {
        rename(b, v, here.into_iter())
    } else {
        let operands: Vec<Value> = node.inputs.iter().map(|&i| within(b, i, pairs, done)).collect();
        let shape = operands.iter().fold(Shape::default(), |all, &o| all.union(b.shape(o)));
        b.add_as(node.op, &operands, Some(&Ty::new(node.ty.dtype, shape)))
    };
    done.insert(v, new);
    new
}

/// A renaming of axes; none of none.
pub(super) fn rename(b: &mut Builder<'_>, x: Value, pairs: impl Iterator<Item = (AxisId, AxisId)>) -> Value {
    let pairs: Vec<(AxisId, AxisId)> = pairs.filter(|p| p.0 != p.1).collect();
    if pairs.is_empty() { x } else { b.add(Op::Rename(pairs), &[x]) }
}

/// The first `N` results of an operation with several: its projections, which are added where the region has none.
pub(super) fn results<const N: usize>(b: &mut Builder<'_>, of: Value) -> [Value; N] {
    let node = b.region.node(of).clone();
    let types: Vec<Ty> = node.inputs.iter().map(|&v| b.ty(v).clone()).collect();
    let Ok(types) = infer::results(&node.op, &types, None, b.axes) else { panic!("a fault in ogive: {:?} was built ill-typed", node.op) };
    std::array::from_fn(|i| {
        let op = Op::Project(i as u32);
        let found = (of.index()..b.region.nodes.len()).find(|&n| b.region.nodes[n].op == op && b.region.nodes[n].inputs[0] == of);
        let ty = types[i].clone();
        found.map_or_else(
            || b.region.push(Node { op, inputs: [of].as_slice().into(), ty, origin: node.origin.clone() }),
            |n| Value(n as u32),
        )
    })
}
