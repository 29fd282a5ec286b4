//! Weight gradients taken out of a backward loop. Where the cotangent of an invariant is a contraction or an outer product in each step
//! and its operands are smaller than it, the steps keep the operands and one contraction over them and the loop's axis follows the loop: one matrix product
//! over all steps in place of reading and writing the sum in each. What is kept anyway is also summed after the loop where the cotangent
//! is no more than a sum of it, as that of a bias is.

use super::emit;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::Region;
use crate::op::{MapFn, Op, ReduceFn};
use crate::shape::Shape;
use std::collections::BTreeMap;

/// A sum over the steps of a product of two values of the step, or of one, given to an input of the loop.
pub(super) struct Outer {
    /// The input of the loop.
    pub(super) receiver: Value,
    /// The operands.
    operands: Vec<Renamed>,
    /// What to do to the sum.
    renames: Vec<Vec<(AxisId, AxisId)>>,
    /// Axes of the sum.
    kept: Shape,
}

/// A value under renamings, the innermost first.
struct Renamed {
    base: Value,
    renames: Vec<Vec<(AxisId, AxisId)>>,
}

impl Outer {
    /// The values of the step that the product is made of.
    pub(super) fn bases(&self) -> impl Iterator<Item = Value> {
        self.operands.iter().map(|o| o.base)
    }

    /// The product over all steps, from what stands outside for the values of the step.
    pub(super) fn build(&self, b: &mut Builder<'_>, axis: AxisId, outside: &BTreeMap<Value, Value>) -> Value {
        let made: Vec<Value> = self.operands.iter().map(|o| apply(b, outside[&o.base], &o.renames)).collect();
        let sum = match made.as_slice() {
            &[x, z] => {
                let (x, z) = if b.shape(z).contains(axis) { (x, z) } else { (z, x) };
                emit::contract_onto(b, x, z, &self.kept)
            }
            made => {
                let over = b.shape(made[0]).minus(&self.kept);
                b.reduce(ReduceFn::Sum, made[0], over.axes())
            }
        };
        apply(b, sum, &self.renames)
    }
}

/// Of parts to sum up in the loop, those that are sums of what `kept` says is there for all steps anyway.
pub(super) fn sums(b: &Builder<'_>, axis: AxisId, parts: &mut Vec<Value>, receiver: Value, kept: &dyn Fn(Value) -> bool) -> Vec<Outer> {
    let mut out = Vec::new();
    parts.retain(|&part| {
        let sum = renamed(&b.region, part);
        let node = b.region.node(sum.base);
        let operand = match node.op {
            Op::Reduce(ReduceFn::Sum, _) => renamed(&b.region, node.inputs[0]),
            _ => Renamed { base: sum.base, renames: Vec::new() },
        };
        let values = [part, sum.base, operand.base].into_iter().chain(node.inputs.first().copied());
        let named = |r: &Renamed| r.renames.iter().flatten().any(|pair| pair.0 == axis || pair.1 == axis);
        let apart = values.into_iter().all(|v| !b.shape(v).contains(axis)) && !named(&sum) && !named(&operand);
        let moves = apart && kept(operand.base);
        if moves {
            out.push(Outer { receiver, kept: node.ty.shape.clone(), operands: vec![operand], renames: sum.renames });
        }
        !moves
    });
    out
}

/// Divides the cotangent `dx` of the input `receiver` into products to take out of the loop and parts to sum up within it.
pub(super) fn divide(b: &Builder<'_>, axis: AxisId, late: &[bool], dx: Value, receiver: Value, out: &mut Vec<Outer>) -> Vec<Value> {
    let mut rest = Vec::new();
    let mut stack = vec![dx];
    while let Some(part) = stack.pop() {
        let node = b.region.node(part);
        if node.op == Op::Map(MapFn::Add) {
            stack.extend(node.inputs.iter().rev());
            continue;
        }
        match outer(b, axis, late, part, receiver) {
            Some(outer) => out.push(outer),
            None => rest.push(part),
        }
    }
    rest
}

fn outer(b: &Builder<'_>, axis: AxisId, late: &[bool], part: Value, receiver: Value) -> Option<Outer> {
    let product = renamed(&b.region, part);
    let node = b.region.node(product.base);
    let (Op::Contract(_) | Op::Map(MapFn::Mul)) = node.op else { return None };
    let operands = [0, 1].map(|i| renamed(&b.region, node.inputs[i]));
    let elements = |v: Value| b.shape(v).iter().fold(1u64, |n, a| n.saturating_mul(b.axes[a.index()].size));
    let small = node.inputs.iter().fold(0u64, |n, &v| n.saturating_add(elements(v))) <= elements(product.base);
    let apart = |v: Value| !b.shape(v).contains(axis);
    let values = node.inputs.iter().chain(operands.iter().map(|o| &o.base)).chain([&part, &product.base]);
    let steps = operands.iter().any(|o| late[o.base.index()]);
    let named = |r: &Renamed| r.renames.iter().flatten().any(|pair| pair.0 == axis || pair.1 == axis);
    let free = values.copied().all(apart) && !named(&product) && !operands.iter().any(named);
    (small && steps && free).then(|| Outer { receiver, kept: node.ty.shape.clone(), operands: operands.into(), renames: product.renames })
}

/// A value as a renaming of another that is none.
fn renamed(region: &Region, mut base: Value) -> Renamed {
    let mut renames = Vec::new();
    while let Op::Rename(pairs) = &region.node(base).op {
        renames.insert(0, pairs.clone());
        base = region.node(base).inputs[0];
    }
    Renamed { base, renames }
}

fn apply(b: &mut Builder<'_>, value: Value, renames: &[Vec<(AxisId, AxisId)>]) -> Value {
    renames.iter().fold(value, |v, pairs| {
        let here = b.shape(v).clone();
        emit::rename(b, v, pairs.iter().copied().filter(|p| here.contains(p.0)))
    })
}
