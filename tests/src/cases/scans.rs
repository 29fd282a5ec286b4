//! Cells with a batch and heads: fast weights, self-reference, gates.

use super::Range::Signed;
use super::{Case, Class, Derivative, Maker};
use ogive_graph::{AxisId, Builder, Loop, LoopKind, MapFn, Op, Region, Shape, Ty, Value};

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, build: fn(&mut Maker<'_>)| Case::new(name, Class::Composite, Derivative::Agrees, build);
    vec![
        case("delta rule over batch and heads", |m| delta(m, false)),
        case("delta rule backwards over batch and heads", |m| delta(m, true)),
        case("self-referential weights over batch and heads", referential),
        case("gated cell with weights for inputs and state", gated),
    ]
}

struct Step {
    dtype: ogive_graph::DType,
    types: Vec<Shape>,
}

impl Step {
    fn body(&self, m: &mut Maker<'_>, build: impl FnOnce(&mut Builder<'_>, &[Value]) -> Vec<Value>) -> Region {
        let mut b = Builder::new(m.b.axes);
        let types = self.types.iter().map(|shape| Ty::new(self.dtype, shape.clone()));
        let args: Vec<Value> = types.enumerate().map(|(i, ty)| b.add_as(Op::Argument(i as u32), &[], Some(&ty))).collect();
        b.region.results = build(&mut b, &args);
        b.region
    }
}

fn shapes(axes: &[&[AxisId]]) -> Vec<Shape> {
    axes.iter().map(|a| Shape::of(a.iter().copied())).collect()
}

fn scaled(m: &mut Maker<'_>, v: Value, by: f64) -> Value {
    let by = m.constant(by);
    m.map(MapFn::Mul, &[v, by])
}

/// `W = W + beta k (v - k @ W)`, reading with `q` after each write.
fn delta(m: &mut Maker<'_>, reverse: bool) {
    let (time, batch, head) = (m.axis("time", 2, 11), m.axis("batch", 2, 3), m.axis("head", 1, 2));
    let (key, value) = (m.axis("key", 2, 16), m.axis("value", 2, 17));
    let state = m.float("state", &[batch, head, key, value], Signed);
    let k = m.float("k", &[batch, time, head, key], Signed);
    let v = m.float("v", &[batch, time, head, value], Signed);
    let q = m.float("q", &[batch, time, head, key], Signed);
    let beta = m.float("beta", &[batch, time, head], Signed);
    let (k, beta) = (scaled(m, k, 0.125), scaled(m, beta, 0.25));
    let types = shapes(&[&[batch, head, key, value], &[batch, head, key], &[batch, head, value], &[batch, head, key], &[batch, head]]);
    let body = Step { dtype: m.dtype, types }.body(m, |b, args| {
        let [w, k, v, q, beta] = [0, 1, 2, 3, 4].map(|i| args[i]);
        let old = b.contract(k, w, &[key]);
        let wrong = b.map(MapFn::Sub, &[v, old]);
        let wrong = b.map(MapFn::Mul, &[wrong, beta]);
        let change = b.map(MapFn::Mul, &[k, wrong]);
        let next = b.map(MapFn::Add, &[w, change]);
        let read = b.contract(q, next, &[key]);
        vec![next, read]
    });
    let out = m.b.repeat(Loop { kind: LoopKind::Scan, axis: time, reverse, carries: 1, stacked: 4, body }, &[state, k, v, q, beta]);
    m.yields("last", out[0]);
    m.yields("read", out[1]);
}

/// One matrix makes its own key, value and rate, and rewrites itself.
fn referential(m: &mut Maker<'_>) {
    let (time, batch, head) = (m.axis("time", 2, 7), m.axis("batch", 2, 4), m.axis("head", 1, 2));
    let (row, within) = (m.axis("row", 3, 35), m.axis("in", 1, 17));
    let (key, rest) = (m.axis("key", m.size(within), m.size(within)), m.axis("rest", m.size(within), m.size(within)));
    let w = m.param("w", &[head, row, within]);
    let x = m.float("x", &[time, batch, head, within], Signed);
    let w = scaled(m, w, 0.125);
    let none = m.float("none", &[batch], Signed);
    let w = m.map(MapFn::Mul, &[w, none]);
    let types = shapes(&[&[batch, head, row, within], &[batch, head, within]]);
    let body = Step { dtype: m.dtype, types }.body(m, |b, args| {
        let (w, x) = (args[0], args[1]);
        let made = b.contract(w, x, &[within]);
        let size = b.axes[within.index()].size;
        let k = b.add(Op::Slice { axis: row, start: 0, into: key }, &[made]);
        let q = b.add(Op::Slice { axis: row, start: size, into: rest }, &[made]);
        let rate = {
            let one = b.axis("one", 1);
            let rate = b.add(Op::Slice { axis: row, start: 2 * size, into: one }, &[made]);
            b.reduce(ogive_graph::ReduceFn::Sum, rate, &[one])
        };
        let rate = b.map(MapFn::Sigmoid, &[rate]);
        let k = b.add(Op::Rename(vec![(key, within)]), &[k]);
        let k = b.add(Op::Softmax(vec![within]), &[k]);
        let q = b.add(Op::Rename(vec![(rest, within)]), &[q]);
        let q = b.add(Op::Softmax(vec![within]), &[q]);
        let apart = b.map(MapFn::Sub, &[q, k]);
        let wrong = b.contract(w, apart, &[within]);
        let wrong = b.map(MapFn::Mul, &[wrong, rate]);
        let change = b.map(MapFn::Mul, &[wrong, k]);
        let next = b.map(MapFn::Add, &[w, change]);
        vec![next, made]
    });
    let out = m.b.repeat(Loop { kind: LoopKind::Scan, axis: time, reverse: false, carries: 1, stacked: 1, body }, &[w, x]);
    m.yields("last", out[0]);
    m.yields("made", out[1]);
}

/// `h = z * h + (1 - z) * tanh(x @ V + h @ U)` with `z = sigmoid(x @ A + b)`, read out by `h @ O`.
fn gated(m: &mut Maker<'_>) {
    let (time, batch, model) = (m.axis("time", 2, 9), m.axis("batch", 2, 5), m.axis("model", 2, 19));
    let (hidden, out) = (m.axis("hidden", 2, 33), m.axis("out", 2, 18));
    let before = m.axis("before", m.size(hidden), m.size(hidden));
    let start = m.float("start", &[batch, hidden], Signed);
    let x = m.float("x", &[time, batch, model], Signed);
    let [v, a] = ["v", "a"].map(|name| m.param(name, &[model, hidden]));
    let u = m.param("u", &[before, hidden]);
    let o = m.param("o", &[hidden, out]);
    let bias = m.param("bias", &[hidden]);
    let [v, a, u, o] = [v, a, u, o].map(|p| scaled(m, p, 0.125));
    let types =
        shapes(&[&[batch, hidden], &[batch, model], &[model, hidden], &[model, hidden], &[before, hidden], &[hidden, out], &[hidden]]);
    let dtype = m.dtype;
    let body = Step { dtype, types }.body(m, |b, args| {
        let [h, x, v, a, u, o, bias] = [0, 1, 2, 3, 4, 5, 6].map(|i| args[i]);
        let gate = b.contract(x, a, &[model]);
        let gate = b.map(MapFn::Add, &[gate, bias]);
        let gate = b.map(MapFn::Sigmoid, &[gate]);
        let given = b.contract(x, v, &[model]);
        let renamed = b.add(Op::Rename(vec![(hidden, before)]), &[h]);
        let own = b.contract(renamed, u, &[before]);
        let sum = b.map(MapFn::Add, &[given, own]);
        let new = b.map(MapFn::Tanh, &[sum]);
        let kept = b.map(MapFn::Mul, &[gate, h]);
        let one = b.float(1.0, dtype);
        let rest = b.map(MapFn::Sub, &[one, gate]);
        let added = b.map(MapFn::Mul, &[rest, new]);
        let next = b.map(MapFn::Add, &[kept, added]);
        let shown = b.contract(next, o, &[hidden]);
        vec![next, shown]
    });
    let l = Loop { kind: LoopKind::Scan, axis: time, reverse: false, carries: 1, stacked: 1, body };
    let out = m.b.repeat(l, &[start, x, v, a, u, o, bias]);
    m.yields("last", out[0]);
    m.yields("shown", out[1]);
}
