//! Layers put together by hand: what the operations look like in company.

use super::Range::Signed;
use super::{Case, Class, Derivative, Maker};
use ogive_graph::{Attention, AxisId, MapFn, Op, ReduceFn, Value};

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, build: fn(&mut Maker<'_>)| Case::new(name, Class::Composite, Derivative::Agrees, build);
    vec![
        case("layer norm", |m| {
            let (seq, model) = (m.axis("seq", 2, 37), m.axis("model", 4, 131));
            let x = m.float("x", &[seq, model], Signed);
            let y = layer_norm(m, x, model);
            m.yields("y", y);
        }),
        case("gelu", |m| {
            let (seq, model) = (m.axis("seq", 2, 37), m.axis("model", 3, 131));
            let x = m.float("x", &[seq, model], Signed);
            let y = gelu(m, x);
            m.yields("y", y);
        }),
        case("cross entropy", |m| {
            let (batch, seq, vocab) = (m.axis("batch", 2, 3), m.axis("seq", 2, 21), m.axis("vocab", 4, 257));
            let (logits, target) = (m.float("logits", &[batch, seq, vocab], Signed), m.positions("target", &[batch, seq], vocab));
            let loss = cross_entropy(m, logits, target, vocab);
            m.yields("loss", loss);
        }),
        Case::new("a transformer layer", Class::Deep, Derivative::Agrees, transformer),
    ]
}

/// The mean over an axis.
pub fn mean(m: &mut Maker<'_>, x: Value, over: AxisId) -> Value {
    let sum = m.b.reduce(ReduceFn::Sum, x, &[over]);
    let share = m.constant(1.0 / m.size(over) as f64);
    m.map(MapFn::Mul, &[sum, share])
}

/// `(x - mean) * rsqrt(variance + 1e-5) * gain + bias`.
pub fn layer_norm(m: &mut Maker<'_>, x: Value, over: AxisId) -> Value {
    let (gain, bias) = (m.param("gain", &[over]), m.param("shift", &[over]));
    let middle = mean(m, x, over);
    let centred = m.map(MapFn::Sub, &[x, middle]);
    let square = m.map(MapFn::Mul, &[centred, centred]);
    let variance = mean(m, square, over);
    let small = m.constant(1e-5);
    let shifted = m.map(MapFn::Add, &[variance, small]);
    let inverse = m.map(MapFn::Rsqrt, &[shifted]);
    let normal = m.map(MapFn::Mul, &[centred, inverse]);
    let scaled = m.map(MapFn::Mul, &[normal, gain]);
    m.map(MapFn::Add, &[scaled, bias])
}

/// `x * (1 + erf(x / sqrt 2)) / 2`.
pub fn gelu(m: &mut Maker<'_>, x: Value) -> Value {
    let (root, one, half) = (m.constant(std::f64::consts::FRAC_1_SQRT_2), m.constant(1.0), m.constant(0.5));
    let scaled = m.map(MapFn::Mul, &[x, root]);
    let erf = m.map(MapFn::Erf, &[scaled]);
    let shifted = m.map(MapFn::Add, &[erf, one]);
    let weight = m.map(MapFn::Mul, &[shifted, half]);
    m.map(MapFn::Mul, &[x, weight])
}

/// The mean over all positions of `logsumexp(logits) - logits[target]`.
pub fn cross_entropy(m: &mut Maker<'_>, logits: Value, target: Value, vocab: AxisId) -> Value {
    let all = m.add(Op::LogSumExp(vec![vocab]), &[logits]);
    let one = m.add(Op::Gather(vocab), &[logits, target]);
    let mut loss = m.map(MapFn::Sub, &[all, one]);
    for axis in m.b.shape(loss).axes().to_vec() {
        loss = mean(m, loss, axis);
    }
    loss
}

/// Norm, causal attention over heads, residual, feedforward, residual.
fn transformer(m: &mut Maker<'_>) {
    let (batch, seq, model) = (m.axis("batch", 1, 2), m.axis("seq", 3, 35), m.axis("model", 4, 48));
    let (head, key, wide) = (m.axis("head", 2, 4), m.axis("key", 2, 12), m.axis("wide", 5, 130));
    let source = m.axis("source", m.size(seq), m.size(seq));
    let x = m.float("x", &[batch, seq, model], Signed);
    let normal = layer_norm(m, x, model);
    let small = m.constant(0.25);
    let project = |m: &mut Maker<'_>, name: &str, order: &[AxisId], from: Value, over: &[AxisId]| {
        let w = m.param(name, order);
        let w = m.map(MapFn::Mul, &[w, small]);
        m.b.contract(from, w, over)
    };
    let q = project(m, "wq", &[model, head, key], normal, &[model]);
    let k = project(m, "wk", &[model, head, key], normal, &[model]);
    let v = project(m, "wv", &[model, head, key], normal, &[model]);
    let value = m.axis("value", m.size(key), m.size(key));
    let k = m.add(Op::Rename(vec![(seq, source)]), &[k]);
    let v = m.add(Op::Rename(vec![(seq, source), (key, value)]), &[v]);
    let scale = (m.size(key) as f64).sqrt().recip();
    let attention = Attention { query: seq, source, key, value, scale, causal: Some(0) };
    let mix = m.b.add_many(Op::Attend(attention), &[q, k, v])[0];
    let mixed = project(m, "wo", &[head, value, model], mix, &[head, value]);
    let x = m.map(MapFn::Add, &[x, mixed]);
    let up = project(m, "up", &[model, wide], x, &[model]);
    let hidden = gelu(m, up);
    let down = project(m, "down", &[wide, model], hidden, &[wide]);
    let y = m.map(MapFn::Add, &[x, down]);
    m.yields("y", y);
}
