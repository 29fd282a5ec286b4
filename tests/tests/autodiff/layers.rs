//! The layers that the cases are made of.

use ogive_graph::{Attention, AxisId, Builder, DType, MapFn, Op, ReduceFn, Value};

/// The mean over an axis.
pub(crate) fn mean(b: &mut Builder<'_>, x: Value, over: &[AxisId]) -> Value {
    let n: f64 = over.iter().map(|a| b.axes[a.index()].size as f64).product();
    let sum = b.reduce(ReduceFn::Sum, x, over);
    let factor = b.float(1.0 / n, DType::F64);
    b.map(MapFn::Mul, &[sum, factor])
}

/// `(x - mean) * rsqrt(variance + 1e-5) * gain`.
pub(crate) fn layer_norm(b: &mut Builder<'_>, x: Value, gain: Value, over: AxisId) -> Value {
    let m = mean(b, x, &[over]);
    let centred = b.map(MapFn::Sub, &[x, m]);
    let square = b.map(MapFn::Mul, &[centred, centred]);
    let variance = mean(b, square, &[over]);
    let small = b.float(1e-5, DType::F64);
    let shifted = b.map(MapFn::Add, &[variance, small]);
    let inverse = b.map(MapFn::Rsqrt, &[shifted]);
    let normal = b.map(MapFn::Mul, &[centred, inverse]);
    b.map(MapFn::Mul, &[normal, gain])
}

/// `x * (1 + erf(x / sqrt 2)) / 2`.
pub(crate) fn gelu(b: &mut Builder<'_>, x: Value) -> Value {
    let (root, one, half) = (b.float(std::f64::consts::FRAC_1_SQRT_2, DType::F64), b.float(1.0, DType::F64), b.float(0.5, DType::F64));
    let scaled = b.map(MapFn::Mul, &[x, root]);
    let erf = b.map(MapFn::Erf, &[scaled]);
    let shifted = b.map(MapFn::Add, &[erf, one]);
    let weight = b.map(MapFn::Mul, &[shifted, half]);
    b.map(MapFn::Mul, &[x, weight])
}

/// The mean over all positions of `logsumexp(logits) - logits[target]`.
pub(crate) fn cross_entropy(b: &mut Builder<'_>, logits: Value, targets: Value, vocab: AxisId) -> Value {
    let all = b.add(Op::LogSumExp(vec![vocab]), &[logits]);
    let one = b.add(Op::Gather(vocab), &[logits, targets]);
    let loss = b.map(MapFn::Sub, &[all, one]);
    let over = b.shape(loss).axes().to_vec();
    mean(b, loss, &over)
}

/// Attention as one operation, or as contractions and a softmax.
pub(crate) fn attention(b: &mut Builder<'_>, a: &Attention, q: Value, k: Value, v: Value, composed: bool) -> Value {
    if !composed {
        return b.add_many(Op::Attend(a.clone()), &[q, k, v])[0];
    }
    let scores = b.contract(q, k, &[a.key]);
    let scale = b.float(a.scale, DType::F64);
    let mut scores = b.map(MapFn::Mul, &[scores, scale]);
    if let Some(offset) = a.causal {
        let (here, there) = (b.add(Op::Iota(a.query), &[]), b.add(Op::Iota(a.source), &[]));
        let offset = b.int(offset as i32);
        let last = b.map(MapFn::Add, &[here, offset]);
        let seen = b.map(MapFn::Le, &[there, last]);
        let never = b.float(f64::NEG_INFINITY, DType::F64);
        scores = b.map(MapFn::Where, &[seen, scores, never]);
    }
    let p = b.add(Op::Softmax(vec![a.source]), &[scores]);
    b.contract(p, v, &[a.source])
}

/// Axes of a small transformer layer.
pub(crate) struct Dims {
    pub seq: AxisId,
    pub src: AxisId,
    pub model: AxisId,
    pub head: AxisId,
    pub key: AxisId,
    pub ff: AxisId,
}

impl Dims {
    pub(crate) fn new(b: &mut Builder<'_>) -> Self {
        Dims {
            seq: b.axis("seq", 3),
            src: b.axis("src", 3),
            model: b.axis("model", 4),
            head: b.axis("head", 2),
            key: b.axis("key", 2),
            ff: b.axis("ff", 5),
        }
    }
}

/// Names and axes of the parameters of [`layer`].
pub(crate) fn layer_params(d: &Dims) -> Vec<(&'static str, Vec<AxisId>)> {
    vec![
        ("norm1", vec![d.model]),
        ("wq", vec![d.model, d.head, d.key]),
        ("wk", vec![d.model, d.head, d.key]),
        ("wv", vec![d.model, d.head, d.key]),
        ("wo", vec![d.head, d.key, d.model]),
        ("norm2", vec![d.model]),
        ("w1", vec![d.model, d.ff]),
        ("b1", vec![d.ff]),
        ("w2", vec![d.ff, d.model]),
    ]
}

/// A pre-norm transformer layer.
pub(crate) fn layer(b: &mut Builder<'_>, d: &Dims, x: Value, p: &[Value], composed: bool) -> Value {
    let h = layer_norm(b, x, p[0], d.model);
    let there = b.add(Op::Rename(vec![(d.seq, d.src)]), &[h]);
    let q = b.contract(h, p[1], &[d.model]);
    let k = b.contract(there, p[2], &[d.model]);
    let value = b.axis("value", b.axes[d.key.index()].size);
    let v = b.contract(there, p[3], &[d.model]);
    let v = b.add(Op::Rename(vec![(d.key, value)]), &[v]);
    let a = Attention { query: d.seq, source: d.src, key: d.key, value, scale: 0.7, causal: Some(0) };
    let mix = attention(b, &a, q, k, v, composed);
    let mix = b.add(Op::Rename(vec![(value, d.key)]), &[mix]);
    let o = b.contract(mix, p[4], &[d.head, d.key]);
    let x = b.map(MapFn::Add, &[x, o]);
    let h = layer_norm(b, x, p[5], d.model);
    let u = b.contract(h, p[6], &[d.model]);
    let u = b.map(MapFn::Add, &[u, p[7]]);
    let u = gelu(b, u);
    let y = b.contract(u, p[8], &[d.ff]);
    b.map(MapFn::Add, &[x, y])
}
