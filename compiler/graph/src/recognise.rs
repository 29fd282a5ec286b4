//! Finds softmax attention in a graph and puts `Attend` in its place, which never stores the scores.
//!
//! Looked for is `contract(softmax(s, over: source), v, over: source)` where `s` is `contract(q, k, over: key)` under any number of
//! multiplications and divisions by constants and at most one causal mask: `where(seen, s, -inf)` with `seen` comparing positions so
//! that it means `source <= query + offset`, offset >= 0. A constant factor of q or k joins the scale.
//!
//! It must not fire where the scores or weights are read by anything else, where another term joins the scores, or where q, k and v do
//! not share their other axes. Runs before differentiation and before hoisting, which may carry a mask out of its loop.

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Graph, Node, Region};
use crate::infer;
use crate::op::{Attention, MapFn, Op, Scalar};
use crate::positions::{Linear, linear};
use crate::rewrite::{self, New, Rewrite, uses};
use crate::shape::{DType, Shape};
use std::collections::BTreeMap;

/// Replaces what it recognises, in loop bodies too. What fed the old form stays, for `dce` to remove.
pub fn recognise(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Recognise { axes: graph.axes.clone(), found: Vec::new() })
}

/// q, k, v in the old region, by the contraction that they stand for.
type Found = BTreeMap<Value, (Attention, [Value; 3])>;

struct Recognise {
    axes: Vec<Axis>,
    /// One for each region that is open, with the new values of its nodes.
    found: Vec<(Found, Vec<Value>)>,
}

impl Rewrite for Recognise {
    fn enter(&mut self, region: &Region, read: &[Value]) {
        let uses = uses(region, read);
        let search = Search { region, uses: &uses, axes: &self.axes };
        let values = (0..region.nodes.len() as u32).map(Value);
        let found = values.filter_map(|v| search.attention(v).map(|a| (v, a))).collect();
        self.found.push((found, Vec::new()));
    }

    fn leave(&mut self) {
        self.found.pop();
    }

    fn node(&mut self, b: &mut Builder<'_>, node: Node, old: Value) -> New {
        let Some((found, map)) = self.found.last_mut() else { panic!("a fault in ogive: a node outside every region") };
        let new = match found.get(&old) {
            Some((attention, inputs)) => {
                let inputs = inputs.map(|v| map[v.index()]);
                b.add_many(Op::Attend(attention.clone()), &inputs)[0]
            }
            None => b.region.push(node),
        };
        map.push(new);
        New::One(new)
    }
}

struct Search<'r> {
    region: &'r Region,
    uses: &'r [u32],
    axes: &'r [Axis],
}

/// The scores, peeled.
struct Scores {
    scale: f64,
    mask: Option<Value>,
    /// The mask holds where the scores are hidden, not where they are seen.
    inverted: bool,
    q: Value,
    k: Value,
    key: AxisId,
}

impl Search<'_> {
    fn attention(&self, at: Value) -> Option<(Attention, [Value; 3])> {
        let node = self.region.node(at);
        let Op::Contract(over) = &node.op else { return None };
        let &[source] = over.as_slice() else { return None };
        let &[a, b] = node.inputs.as_slice() else { return None };
        [(a, b), (b, a)].into_iter().find_map(|(weights, v)| self.with(node, source, weights, v))
    }

    fn with(&self, node: &Node, source: AxisId, weights: Value, v: Value) -> Option<(Attention, [Value; 3])> {
        let softmax = self.region.node(weights);
        match &softmax.op {
            Op::Softmax(over) if *over == [source] && self.sole(weights) && node.ty.dtype.is_float() => {}
            _ => return None,
        }
        let Scores { scale, mask, inverted, q, k, key } = self.scores(softmax.inputs[0])?;
        let (q, k) = if self.shape(k).contains(source) { (q, k) } else { (k, q) };
        let [(q, from_q), (k, from_k)] = [self.factor(q), self.factor(k)];
        let scale = scale * from_q * from_k;
        let query = sole_axis(&self.shape(q).minus(self.shape(k)).without(key))?;
        let rest = self.shape(k).without(source).without(key);
        let value = sole_axis(&self.shape(v).minus(&rest).without(source))?;
        let causal = match mask {
            Some(mask) => Some(self.causal(mask, inverted, query, source)?),
            None => None,
        };
        let attention = Attention { query, source, key, value, scale, causal };
        let types = [q, k, v].map(|v| self.region.ty(v).clone());
        let results = infer::results(&Op::Attend(attention.clone()), &types, None, self.axes).ok()?;
        (results[0] == node.ty && scale.is_finite()).then_some((attention, [q, k, v]))
    }

    fn shape(&self, v: Value) -> &Shape {
        &self.region.ty(v).shape
    }

    fn sole(&self, v: Value) -> bool {
        self.uses[v.index()] == 1
    }

    /// Peels the scores down to a contraction.
    fn scores(&self, mut at: Value) -> Option<Scores> {
        let (mut scale, mut mask, mut inverted) = (1.0, None, false);
        loop {
            let node = self.region.node(at);
            if !self.sole(at) {
                return None;
            }
            if let Op::Contract(over) = &node.op {
                let &[key] = over.as_slice() else { return None };
                return Some(Scores { scale, mask, inverted, q: node.inputs[0], k: node.inputs[1], key });
            }
            if let Op::Map(MapFn::Where) = node.op {
                let [condition, a, b] = [node.inputs[0], node.inputs[1], node.inputs[2]];
                // A negative factor outside the mask would turn -inf into inf.
                if mask.is_some() || scale <= 0.0 {
                    return None;
                }
                inverted = self.constant(a) == Some(f64::NEG_INFINITY);
                at = match (inverted, self.constant(b)) {
                    (true, _) => b,
                    (false, Some(f64::NEG_INFINITY)) => a,
                    _ => return None,
                };
                mask = Some(condition);
                continue;
            }
            let (inner, factor) = self.peel(node)?;
            scale *= factor;
            at = inner;
        }
    }

    /// `x * c`, `c * x`, `x / c` and `-x` as x and a factor.
    fn peel(&self, node: &Node) -> Option<(Value, f64)> {
        let inputs = node.inputs.as_slice();
        match node.op {
            Op::Map(MapFn::Mul) => match (self.constant(inputs[0]), self.constant(inputs[1])) {
                (None, Some(c)) => Some((inputs[0], c)),
                (Some(c), None) => Some((inputs[1], c)),
                _ => None,
            },
            Op::Map(MapFn::Div) => self.constant(inputs[1]).map(|c| (inputs[0], 1.0 / c)),
            Op::Map(MapFn::Neg) => Some((inputs[0], -1.0)),
            _ => None,
        }
        .filter(|(_, factor)| factor.is_finite())
    }

    /// An operand of the scores without its constant factors.
    fn factor(&self, mut at: Value) -> (Value, f64) {
        let mut factor = 1.0;
        while self.sole(at)
            && let Some((inner, c)) = self.peel(self.region.node(at))
        {
            factor *= c;
            at = inner;
        }
        (at, factor)
    }

    /// A scalar that is the same in every run, as the element type holds it.
    fn constant(&self, at: Value) -> Option<f64> {
        let node = self.region.node(at);
        match (&node.op, node.ty.dtype) {
            (Op::Const(Scalar::Float(x)), DType::F32) => Some(f64::from(*x as f32)),
            (Op::Const(Scalar::Float(x)), _) => Some(*x),
            (Op::Map(MapFn::Sqrt), _) => self.constant(node.inputs[0]).map(f64::sqrt),
            (Op::Map(MapFn::Rsqrt), _) => self.constant(node.inputs[0]).map(|x| 1.0 / x.sqrt()),
            (Op::Map(MapFn::Recip), _) => self.constant(node.inputs[0]).map(|x| 1.0 / x),
            _ => None,
        }
    }

    /// The offset, where the mask means `source <= query + offset`.
    fn causal(&self, mut mask: Value, mut inverted: bool, query: AxisId, source: AxisId) -> Option<i64> {
        while let Op::Map(MapFn::Not) = self.region.node(mask).op {
            mask = self.region.node(mask).inputs[0];
            inverted = !inverted;
        }
        let node = self.region.node(mask);
        let Op::Map(f) = node.op else { return None };
        let less = linear(self.region, *node.inputs.first()?)?.minus(&linear(self.region, *node.inputs.get(1)?)?);
        // As `difference <= 0`.
        let difference = match (f, inverted) {
            (MapFn::Le, false) | (MapFn::Gt, true) => less,
            (MapFn::Lt, false) | (MapFn::Ge, true) => less.plus(1),
            (MapFn::Ge, false) | (MapFn::Lt, true) => Linear::default().minus(&less),
            (MapFn::Gt, false) | (MapFn::Le, true) => Linear::default().minus(&less).plus(1),
            _ => return None,
        };
        let offset = -difference.constant;
        let shape: BTreeMap<AxisId, i64> = [(source, 1), (query, -1)].into();
        // With a negative offset some query sees nothing, and the primitive form has no number there.
        (difference.terms == shape && (0..1 << 31).contains(&offset)).then_some(offset)
    }
}

fn sole_axis(shape: &Shape) -> Option<AxisId> {
    match shape.axes() {
        &[axis] => Some(axis),
        _ => None,
    }
}

#[cfg(test)]
#[path = "recognise_tests.rs"]
mod tests;
