//! How long a key can be, from how it is made.
//!
//! A softmax has a length of at most 1. What is divided by its own length, or by its own sum, has length 1; by the root of its mean
//! square, the root of its number of entries. Parameters count as what they are at the start of training, ones or zeros: a learned gain
//! is no part of a normalisation's promise.

use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Node, Origin, Region};
use crate::op::{Loop, MapFn, Op, Scalar};
use crate::shape::Shape;

/// Operations between a sum and the division by it.
const NEAR: usize = 6;

/// A step, and the region around its scan.
pub(super) struct Scope<'a> {
    pub(super) axes: &'a [Axis],
    pub(super) body: &'a Region,
    pub(super) l: &'a Loop,
    pub(super) around: &'a Region,
    pub(super) inputs: &'a [Value],
}

/// A value of the step, or of the region around it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct At {
    pub(super) value: Value,
    pub(super) inside: bool,
}

impl Scope<'_> {
    /// Where a value comes from.
    pub(super) fn origin(&self, at: At) -> Origin {
        self.node(self.source(at)).origin.clone()
    }

    /// The values that products are made of, in the step and before it, in order.
    pub(super) fn leaves(&self, values: impl Iterator<Item = At>) -> Vec<At> {
        let mut out = Vec::new();
        let mut stack: Vec<At> = values.collect();
        while let Some(at) = stack.pop() {
            let at = self.source(at);
            match self.node(at).op {
                Op::Map(MapFn::Mul) => stack.extend([self.input(at, 0), self.input(at, 1)]),
                _ => out.push(at),
            }
        }
        out.sort_unstable();
        out
    }

    /// Whether two products have the same values, in any order.
    pub(super) fn all_same(&self, a: &[At], b: &[At]) -> bool {
        let mut rest = b.to_vec();
        let found = a.iter().all(|x| {
            let at = rest.iter().position(|y| self.same(*x, *y, 0));
            at.map(|at| rest.swap_remove(at)).is_some()
        });
        found && rest.is_empty()
    }

    /// Whether two values are made alike; what is cheap is made both in the step and before it.
    fn same(&self, a: At, b: At, depth: usize) -> bool {
        let (a, b) = (self.source(a), self.source(b));
        if a == b {
            return true;
        }
        let (x, y) = (self.node(a), self.node(b));
        let made = !x.inputs.is_empty() && x.op == y.op && x.inputs.len() == y.inputs.len();
        depth < NEAR && made && (0..x.inputs.len()).all(|i| self.same(self.input(a, i), self.input(b, i), depth + 1))
    }

    /// Bound of the length, along `over`, of the product of values that have these axes with others that have none of them.
    pub(super) fn product(&self, along: &[At], others: &[At], over: &Shape) -> Option<f64> {
        let divided = others.iter().find_map(|v| self.multiple(*v, over, 0));
        let rest = others.iter().filter(|v| self.multiple(**v, over, 0).is_none());
        let rates: f64 = rest.map(|v| self.peak(*v).unwrap_or(1.0)).product();
        let bounds: Vec<f64> = along.iter().filter_map(|v| self.bound(*v, over)).collect();
        let length = divided.or_else(|| (!bounds.is_empty()).then(|| bounds.iter().product()))?;
        Some(rates * length)
    }

    fn node(&self, at: At) -> &Node {
        if at.inside { self.body.node(at.value) } else { self.around.node(at.value) }
    }

    /// What an argument of the step stands for outside, unless it is a state.
    fn source(&self, at: At) -> At {
        match self.node(at).op {
            Op::Argument(i) if at.inside && (i as usize) >= self.l.carries => {
                self.inputs.get(i as usize).map_or(at, |&value| At { value, inside: false })
            }
            _ => at,
        }
    }

    fn input(&self, at: At, index: usize) -> At {
        At { value: self.node(at).inputs[index], ..at }
    }

    pub(super) fn has(&self, at: At, over: &Shape) -> bool {
        !self.node(at).ty.shape.intersection(over).is_scalar()
    }

    fn size(&self, axes: impl Iterator<Item = AxisId>) -> f64 {
        axes.map(|a| self.axes[a.index()].size as f64).product()
    }

    fn constant(&self, at: At) -> Option<f64> {
        let at = self.source(at);
        match self.node(at).op {
            Op::Const(Scalar::Float(x)) => Some(x),
            Op::Const(Scalar::Int(x)) => Some(f64::from(x)),
            Op::Map(MapFn::Cast) => self.constant(self.input(at, 0)),
            _ => None,
        }
    }

    fn is_param(&self, at: At) -> bool {
        matches!(self.node(self.source(at)).op, Op::Param(_))
    }

    /// A bound of the length of a value along the axes.
    fn bound(&self, at: At, over: &Shape) -> Option<f64> {
        let at = self.source(at);
        let node = self.node(at);
        let input = |i: usize| self.input(at, i);
        let present = || node.ty.shape.intersection(over);
        match &node.op {
            Op::Softmax(axes) => Some(self.size(over.iter().filter(|a| !axes.contains(a))).sqrt()),
            Op::Map(MapFn::Sigmoid | MapFn::Tanh | MapFn::Erf | MapFn::Sin | MapFn::Cos | MapFn::Sign) => {
                Some(self.size(present().iter()).sqrt())
            }
            Op::Map(MapFn::Mul) => self.bound_of_product([input(0), input(1)], over),
            Op::Map(MapFn::Div) if self.has(input(1), over) => self.bound(input(0), over),
            Op::Map(MapFn::Div) => match (self.multiple(input(1), over, 0), self.constant(input(1))) {
                (Some(c), _) => Some(1.0 / c),
                (None, Some(c)) => self.bound(input(0), over).map(|b| b / c.abs()),
                (None, None) => self.bound(input(0), over),
            },
            Op::Map(MapFn::Add | MapFn::Sub) => match [self.is_param(input(0)), self.is_param(input(1))] {
                [false, true] => self.bound(input(0), over),
                [true, false] => self.bound(input(1), over),
                _ => Some(self.bound(input(0), over)? + self.bound(input(1), over)?),
            },
            Op::Map(MapFn::Where) => {
                let branches = [input(1), input(2)].into_iter().filter(|&v| self.has(v, over));
                branches.map(|v| self.bound(v, over)).try_fold(0.0, |most: f64, b| b.map(|b| most.max(b)))
            }
            Op::Map(MapFn::Neg | MapFn::Abs | MapFn::Relu | MapFn::StopGradient | MapFn::Cast) => self.bound(input(0), over),
            Op::Rename(pairs) => {
                let before = |a| pairs.iter().find(|p| p.1 == a).map_or(a, |p| p.0);
                self.bound(input(0), &over.iter().map(before).collect())
            }
            Op::Split { axis, into } if into.iter().any(|&a| over.contains(a)) => {
                self.bound(input(0), &over.minus(&Shape::of(into.iter().copied())).with(*axis))
            }
            Op::Merge { from, into } if over.contains(*into) => {
                self.bound(input(0), &over.without(*into).union(&Shape::of(from.iter().copied())))
            }
            Op::Slice { axis, into, .. } | Op::Pad { axis, into, .. } => {
                self.bound(input(0), &if over.contains(*into) { over.without(*into).with(*axis) } else { over.clone() })
            }
            Op::Split { .. } | Op::Merge { .. } | Op::Gather(_) => self.bound(input(0), over),
            _ => None,
        }
    }

    fn bound_of_product(&self, factors: [At; 2], over: &Shape) -> Option<f64> {
        let [x, y] = factors;
        match [self.has(x, over), self.has(y, over)] {
            [true, true] => match (self.bound(x, over), self.bound(y, over)) {
                (Some(a), Some(b)) => Some(a * b),
                (a, b) => a.or(b),
            },
            [own, _] => {
                let (whole, by) = if own { (x, y) } else { (y, x) };
                self.multiple(by, over, 0).or_else(|| Some(self.bound(whole, over)? * self.peak(by).unwrap_or(1.0)))
            }
        }
    }

    /// Of a value that is a power of a sum over the axes: what the power is multiplied with.
    fn multiple(&self, at: At, over: &Shape, depth: usize) -> Option<f64> {
        let at = self.source(at);
        let node = self.node(at);
        let of = |i: usize| self.multiple(self.input(at, i), over, depth + 1);
        let number = |i: usize| self.constant(self.input(at, i)).map(f64::abs);
        match &node.op {
            _ if depth > NEAR || self.has(at, over) => None,
            Op::Reduce(_, axes) | Op::Contract(axes) => over.iter().all(|a| axes.contains(&a)).then_some(1.0),
            Op::Map(MapFn::Sqrt) => of(0).map(f64::sqrt),
            Op::Map(MapFn::Rsqrt) => of(0).map(|c| 1.0 / c.sqrt()),
            Op::Map(MapFn::Recip) => of(0).map(|c| 1.0 / c),
            Op::Map(MapFn::Mul) => of(0).map(|c| c * number(1).unwrap_or(1.0)).or_else(|| of(1).map(|c| c * number(0).unwrap_or(1.0))),
            Op::Map(MapFn::Div) => of(0).map(|c| c / number(1).unwrap_or(1.0)).or_else(|| of(1).map(|c| number(0).unwrap_or(1.0) / c)),
            Op::Map(MapFn::Pow) => of(0).zip(self.constant(self.input(at, 1))).map(|(c, power)| c.powf(power)),
            Op::Map(_) => (0..node.inputs.len()).find_map(of),
            _ => None,
        }
    }

    /// A bound of every number of a value, where one is known.
    fn peak(&self, at: At) -> Option<f64> {
        let at = self.source(at);
        let input = |i: usize| self.input(at, i);
        match &self.node(at).op {
            Op::Const(_) => self.constant(at).map(f64::abs),
            Op::Softmax(_) | Op::Map(MapFn::Sigmoid | MapFn::Tanh | MapFn::Erf | MapFn::Sin | MapFn::Cos | MapFn::Sign) => Some(1.0),
            Op::Map(MapFn::Mul) => Some(self.peak(input(0))? * self.peak(input(1))?),
            Op::Map(MapFn::Div) => Some(self.peak(input(0))? / self.constant(input(1))?.abs()),
            Op::Map(MapFn::Sub) if self.constant(input(0)) == Some(1.0) && self.is_share(input(1)) => Some(1.0),
            Op::Map(MapFn::Add | MapFn::Sub) => Some(self.peak(input(0))? + self.peak(input(1))?),
            Op::Map(MapFn::Where) => Some(self.peak(input(1))?.max(self.peak(input(2))?)),
            Op::Map(MapFn::Neg | MapFn::Abs | MapFn::Relu | MapFn::StopGradient | MapFn::Cast)
            | Op::Rename(_)
            | Op::Split { .. }
            | Op::Merge { .. }
            | Op::Slice { .. }
            | Op::Gather(_) => self.peak(input(0)),
            _ => None,
        }
    }

    /// Whether a value lies between 0 and 1.
    fn is_share(&self, at: At) -> bool {
        let at = self.source(at);
        match &self.node(at).op {
            Op::Softmax(_) | Op::Map(MapFn::Sigmoid) => true,
            Op::Map(MapFn::StopGradient | MapFn::Cast) | Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } | Op::Slice { .. } => {
                self.is_share(self.input(at, 0))
            }
            _ => false,
        }
    }
}
