//! `Attend` and `AttendGrad` written out in primitive operations that do store the scores: their meaning, and what forward mode and
//! second derivatives work on.
//!
//! With s = scale * q·k, masked to -inf, and l = logsumexp(s): mix = softmax(s)·v. Backwards, from the cotangent dm of mix:
//! p = exp(s - l), dv = p·dm, ds = scale * p * (dm·v - dm·mix), dq = ds·k, dk = ds·q.

use crate::build::Builder;
use crate::entity::Value;
use crate::graph::{Graph, Node};
use crate::op::{Attention, MapFn, Op};
use crate::rewrite::{self, New, Rewrite};

/// Replaces every `Attend` and `AttendGrad`, in loop bodies too.
pub fn expand(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Expand)
}

struct Expand;

impl Rewrite for Expand {
    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        match &node.op {
            Op::Attend(a) => New::Results(attend(b, a, &node.inputs).into()),
            Op::AttendGrad(a) => New::Results(attend_grad(b, a, &node.inputs).into()),
            _ => New::One(b.region.push(node)),
        }
    }
}

/// The scaled, masked scores of q and k.
pub fn scores(b: &mut Builder<'_>, a: &Attention, q: Value, k: Value) -> Value {
    let dtype = b.ty(q).dtype;
    let mut s = b.contract(q, k, &[a.key]);
    if a.scale != 1.0 {
        let scale = b.float(a.scale, dtype);
        s = b.map(MapFn::Mul, &[s, scale]);
    }
    let Some(offset) = a.causal else { return s };
    let source = b.add(Op::Iota(a.source), &[]);
    let query = b.add(Op::Iota(a.query), &[]);
    let distance = b.map(MapFn::Sub, &[source, query]);
    let offset = b.int(offset.clamp(i32::MIN.into(), i32::MAX.into()) as i32);
    let seen = b.map(MapFn::Le, &[distance, offset]);
    let hidden = b.float(f64::NEG_INFINITY, dtype);
    b.map(MapFn::Where, &[seen, s, hidden])
}

/// The results of `Attend`: the mix and the log sum exp of the scores. `inputs` are q, k, v.
pub fn attend(b: &mut Builder<'_>, a: &Attention, inputs: &[Value]) -> [Value; 2] {
    let s = scores(b, a, inputs[0], inputs[1]);
    let p = b.add(Op::Softmax(vec![a.source]), &[s]);
    let lse = b.add(Op::LogSumExp(vec![a.source]), &[s]);
    [b.contract(p, inputs[2], &[a.source]), lse]
}

/// The results of `AttendGrad`: cotangents of q, k, v. `inputs` are q, k, v, mix, log sum exp, cotangent of mix.
pub fn attend_grad(b: &mut Builder<'_>, a: &Attention, inputs: &[Value]) -> [Value; 3] {
    let &[q, k, v, mix, lse, dmix] = inputs else { panic!("a fault in ogive: attend_grad with {} inputs", inputs.len()) };
    let s = scores(b, a, q, k);
    let lse = finite(b, lse);
    let above = b.map(MapFn::Sub, &[s, lse]);
    let p = b.map(MapFn::Exp, &[above]);
    let dv = b.contract(p, dmix, &[a.query]);
    let dp = b.contract(dmix, v, &[a.value]);
    let mean = b.contract(dmix, mix, &[a.value]);
    let centred = b.map(MapFn::Sub, &[dp, mean]);
    let mut ds = b.map(MapFn::Mul, &[p, centred]);
    if a.scale != 1.0 {
        let scale = b.float(a.scale, b.ty(ds).dtype);
        ds = b.map(MapFn::Mul, &[ds, scale]);
    }
    [b.contract(ds, k, &[a.source]), b.contract(ds, q, &[a.query]), dv]
}

/// `x`, but the lowest finite f32 where it is `-inf`: the maximum and the log sum exp of a row that is masked altogether, from which
/// `-inf` may then be subtracted without giving NaN.
pub(crate) fn finite(b: &mut Builder<'_>, x: Value) -> Value {
    let lowest = b.float(f64::from(f32::MIN), b.ty(x).dtype);
    b.map(MapFn::Max, &[x, lowest])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sample, text::print_plain, verify::verify};

    #[test]
    fn no_attention_is_left_and_types_stay_as_they_were() {
        let mut seen = 0;
        for seed in 0..200 {
            let graph = sample::graph(seed, 40);
            seen += print_plain(&graph).matches("attend").count();
            let expanded = expand(&graph);
            verify(&expanded).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&expanded)));
            assert!(!print_plain(&expanded).contains("attend"));
            for (a, b) in graph.outputs.iter().zip(&expanded.outputs) {
                assert_eq!(graph.region.ty(a.value), expanded.region.ty(b.value));
            }
        }
        assert!(seen > 20);
    }
}
