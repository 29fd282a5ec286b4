//! Integer values that are a weighted sum of positions along axes, read off a region.

use crate::entity::{AxisId, Value};
use crate::graph::Region;
use crate::op::{MapFn, Op, Scalar};
use std::collections::BTreeMap;

/// `sum of weight * position along axis, plus constant`; no weight is 0.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Linear {
    pub(crate) terms: BTreeMap<AxisId, i64>,
    pub(crate) constant: i64,
}

impl Linear {
    pub(crate) fn plus(mut self, constant: i64) -> Linear {
        self.constant = self.constant.saturating_add(constant);
        self
    }

    pub(crate) fn minus(&self, other: &Linear) -> Linear {
        self.sum(&other.times(-1))
    }

    fn times(&self, factor: i64) -> Linear {
        let terms = self.terms.iter().map(|(&a, &w)| (a, w.saturating_mul(factor))).filter(|t| t.1 != 0);
        Linear { terms: terms.collect(), constant: self.constant.saturating_mul(factor) }
    }

    fn sum(&self, other: &Linear) -> Linear {
        let mut terms = self.terms.clone();
        for (&axis, &weight) in &other.terms {
            let total = terms.entry(axis).or_default();
            *total = total.saturating_add(weight);
        }
        terms.retain(|_, w| *w != 0);
        Linear { terms, constant: self.constant.saturating_add(other.constant) }
    }
}

/// The weighted sum that a value is, where it is one. Constants near the ends of i32 are refused: such sums might wrap.
pub(crate) fn linear(region: &Region, value: Value) -> Option<Linear> {
    within(region, value, 32)
}

fn within(region: &Region, value: Value, depth: u32) -> Option<Linear> {
    let node = region.node(value);
    let operand = |i: usize| within(region, *node.inputs.get(i)?, depth.checked_sub(1)?);
    match &node.op {
        Op::Iota(axis) => Some(Linear { terms: [(*axis, 1)].into(), constant: 0 }),
        Op::Const(Scalar::Int(c)) if c.unsigned_abs() < 1 << 30 => Some(Linear::default().plus(i64::from(*c))),
        Op::Map(MapFn::Neg) => Some(operand(0)?.times(-1)),
        Op::Map(MapFn::Add) => Some(operand(0)?.sum(&operand(1)?)),
        Op::Map(MapFn::Sub) => Some(operand(0)?.minus(&operand(1)?)),
        Op::Map(MapFn::Mul) => {
            let (a, b) = (operand(0)?, operand(1)?);
            match (a.terms.is_empty(), b.terms.is_empty()) {
                (true, _) => Some(b.times(a.constant)),
                (_, true) => Some(a.times(b.constant)),
                _ => None,
            }
        }
        Op::Rename(pairs) => {
            let of = operand(0)?;
            let renamed = |axis| pairs.iter().find(|p| p.0 == axis).map_or(axis, |p| p.1);
            Some(Linear { terms: of.terms.into_iter().map(|(a, w)| (renamed(a), w)).collect(), constant: of.constant })
        }
        _ => None,
    }
    .filter(|l| l.constant.unsigned_abs() < 1 << 31)
}
