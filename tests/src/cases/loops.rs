//! Loops over depth and time.

use super::Range::Signed;
use super::{Case, Class, Derivative, Maker};
use ogive_graph::{AxisId, Builder, Distribution, Loop, LoopKind, MapFn, Op, Random, Region, Shape, Ty, Value};

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, build: fn(&mut Maker<'_>)| Case::new(name, Class::Composite, Derivative::Agrees, build);
    vec![
        case("repeat of one layer with its own weights each time", |m| repeat(m, true)),
        case("repeat of one layer with shared weights", |m| repeat(m, false)),
        case("scan that collects its state", |m| scan(m, false)),
        case("scan from the last position to the first", |m| scan(m, true)),
        case("scan with two carries and two collected values", two_carries),
        case("scan inside a repeat", nested),
        case("repeat that draws new random numbers each time", dropout),
        case("loop without a carry", |m| {
            let (n, i) = (m.axis("n", 3, 11), m.axis("i", 2, 65));
            let x = m.float("x", &[n, i], Signed);
            let ty = Ty::new(m.dtype, Shape::of([i]));
            let body = body(m, &[ty], |b, args| vec![b.map(MapFn::Tanh, &[args[0]])]);
            let out = run(m, Loop { kind: LoopKind::Scan, axis: n, reverse: false, carries: 0, stacked: 1, body }, &[x]);
            m.yields("y", out[0]);
        }),
    ]
}

fn body(m: &mut Maker<'_>, types: &[Ty], build: impl FnOnce(&mut Builder<'_>, &[Value]) -> Vec<Value>) -> Region {
    let mut b = Builder::new(m.b.axes);
    let args: Vec<Value> = types.iter().enumerate().map(|(i, ty)| b.add_as(Op::Argument(i as u32), &[], Some(ty))).collect();
    b.region.results = build(&mut b, &args);
    b.region
}

fn run(m: &mut Maker<'_>, l: Loop, inputs: &[Value]) -> Vec<Value> {
    m.b.repeat(l, inputs)
}

/// `h = h + tanh(h @ w)`, with w of each layer or of all.
fn repeat(m: &mut Maker<'_>, own: bool) {
    let (depth, seq, model) = (m.axis("depth", 2, 3), m.axis("seq", 2, 19), m.axis("model", 2, 33));
    let inner = m.axis("inner", m.size(model), m.size(model));
    let x = m.float("x", &[seq, model], Signed);
    let w = if own { m.param("w", &[depth, model, inner]) } else { m.param("w", &[model, inner]) };
    let small = m.constant(0.125);
    let w = m.map(MapFn::Mul, &[w, small]);
    let (h, weights) = (Ty::new(m.dtype, Shape::of([seq, model])), Ty::new(m.dtype, Shape::of([model, inner])));
    let body = body(m, &[h, weights], |b, args| {
        let y = b.contract(args[0], args[1], &[model]);
        let y = b.map(MapFn::Tanh, &[y]);
        let y = b.add(Op::Rename(vec![(inner, model)]), &[y]);
        vec![b.map(MapFn::Add, &[args[0], y])]
    });
    let l = Loop { kind: LoopKind::Repeat, axis: depth, reverse: false, carries: 1, stacked: usize::from(own), body };
    let out = run(m, l, &[x, w]);
    m.yields("h", out[0]);
}

/// `s = sigmoid(f) * s + x[t] * gain`, collecting `s`.
fn decay(m: &mut Maker<'_>, time: AxisId, width: AxisId, reverse: bool, inputs: &[Value]) -> Vec<Value> {
    let ty = Ty::new(m.dtype, Shape::of([width]));
    let body = body(m, &vec![ty; 4], |b, args| {
        let keep = b.map(MapFn::Sigmoid, &[args[2]]);
        let kept = b.map(MapFn::Mul, &[keep, args[0]]);
        let new = b.map(MapFn::Mul, &[args[1], args[3]]);
        let next = b.map(MapFn::Add, &[kept, new]);
        vec![next, next]
    });
    run(m, Loop { kind: LoopKind::Scan, axis: time, reverse, carries: 1, stacked: 2, body }, inputs)
}

fn scan(m: &mut Maker<'_>, reverse: bool) {
    let (time, width) = (m.axis("time", 3, 20), m.axis("width", 2, 67));
    let (start, x, forget) =
        (m.float("start", &[width], Signed), m.float("x", &[width, time], Signed), m.float("forget", &[time, width], Signed));
    let gain = m.param("gain", &[width]);
    let out = decay(m, time, width, reverse, &[start, x, forget, gain]);
    m.yields("last", out[0]);
    m.yields("all", out[1]);
}

/// A fast-weight memory: recall, correct, write; the step is carried as an integer.
fn two_carries(m: &mut Maker<'_>) {
    let (time, key, value) = (m.axis("time", 3, 12), m.axis("key", 2, 16), m.axis("value", 2, 17));
    let state = m.float("state", &[key, value], Signed);
    let (k, v) = (m.float("k", &[time, key], Signed), m.float("v", &[time, value], Signed));
    let (count, rate) = (m.b.int(0), m.float("rate", &[], Signed));
    let small = m.constant(0.125);
    let k = m.map(MapFn::Mul, &[k, small]);
    let types = [
        Ty::new(m.dtype, Shape::of([key, value])),
        Ty::scalar(ogive_graph::DType::I32),
        Ty::new(m.dtype, Shape::of([key])),
        Ty::new(m.dtype, Shape::of([value])),
        Ty::scalar(m.dtype),
    ];
    let body = body(m, &types, |b, args| {
        let recalled = b.contract(args[0], args[2], &[key]);
        let wrong = b.map(MapFn::Sub, &[args[3], recalled]);
        let change = b.map(MapFn::Mul, &[args[2], wrong]);
        let change = b.map(MapFn::Mul, &[change, args[4]]);
        let next = b.map(MapFn::Add, &[args[0], change]);
        let one = b.int(1);
        let count = b.map(MapFn::Add, &[args[1], one]);
        vec![next, count, recalled, count]
    });
    let l = Loop { kind: LoopKind::Scan, axis: time, reverse: false, carries: 2, stacked: 2, body };
    let out = run(m, l, &[state, count, k, v, rate]);
    for (name, value) in ["state", "count", "recalled", "counts"].into_iter().zip(out) {
        m.yields(name, value);
    }
}

fn nested(m: &mut Maker<'_>) {
    let (depth, time, width) = (m.axis("depth", 2, 3), m.axis("time", 3, 9), m.axis("width", 2, 35));
    let (x, gain) = (m.float("x", &[time, width], Signed), m.param("gain", &[depth, width]));
    let (all, row) = (Ty::new(m.dtype, Shape::of([time, width])), Ty::new(m.dtype, Shape::of([width])));
    let outer = body(m, &[all, row.clone()], |b, args| {
        let inner = {
            let mut inner = Builder::new(b.axes);
            let args: Vec<Value> = (0..3).map(|i| inner.add_as(Op::Argument(i), &[], Some(&row))).collect();
            let new = inner.map(MapFn::Mul, &[args[1], args[2]]);
            let sum = inner.map(MapFn::Add, &[args[0], new]);
            let next = inner.map(MapFn::Tanh, &[sum]);
            inner.region.results = vec![next, next];
            inner.region
        };
        let out = b.repeat(
            Loop { kind: LoopKind::Scan, axis: time, reverse: false, carries: 1, stacked: 1, body: inner },
            &[args[1], args[0], args[1]],
        );
        vec![b.map(MapFn::Add, &[args[0], out[1]])]
    });
    let l = Loop { kind: LoopKind::Repeat, axis: depth, reverse: false, carries: 1, stacked: 1, body: outer };
    let out = run(m, l, &[x, gain]);
    m.yields("y", out[0]);
}

fn dropout(m: &mut Maker<'_>) {
    let (depth, width) = (m.axis("depth", 3, 4), m.axis("width", 4, 133));
    let x = m.float("x", &[width], Signed);
    let layers = m.add(Op::Iota(depth), &[]);
    let (h, dtype) = (Ty::new(m.dtype, Shape::of([width])), m.dtype);
    let body = body(m, &[h.clone(), Ty::scalar(ogive_graph::DType::I32)], |b, args| {
        let random = Op::Random(Random { distribution: Distribution::Uniform, site: 21, order: vec![width] });
        let noise = b.add_as(random, &[args[1]], Some(&h));
        let (rate, double, zero) = (b.float(0.5, dtype), b.float(2.0, dtype), b.float(0.0, dtype));
        let keep = b.map(MapFn::Lt, &[noise, rate]);
        let scaled = b.map(MapFn::Mul, &[args[0], double]);
        let dropped = b.map(MapFn::Where, &[keep, scaled, zero]);
        let bent = b.map(MapFn::Tanh, &[dropped]);
        vec![b.map(MapFn::Add, &[args[0], bent])]
    });
    let out = run(m, Loop { kind: LoopKind::Repeat, axis: depth, reverse: false, carries: 1, stacked: 1, body }, &[x, layers]);
    m.yields("y", out[0]);
}
