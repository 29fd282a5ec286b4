//! Operations that move elements, make positions or draw numbers.

use super::Range::Signed;
use super::{Case, Class, Derivative, Maker};
use ogive_graph::{AxisId, Distribution, MapFn, Op, Random, Shape, Ty, Value};

pub(super) fn cases() -> Vec<Case> {
    let agrees = |name: &str, build: fn(&mut Maker<'_>)| Case::new(name, Class::Exact, Derivative::Agrees, build);
    let none = |name: &str, build: fn(&mut Maker<'_>)| Case::new(name, Class::Exact, Derivative::None, build);
    vec![
        agrees("an input in another order of dims", |m| {
            let (i, j, k) = (m.axis("i", 2, 33), m.axis("j", 3, 20), m.axis("k", 2, 7));
            let x = m.float("x", &[j, k, i], Signed);
            m.yields("x", x);
        }),
        agrees("a parameter that is read and updated", |m| {
            let (i, j) = (m.axis("i", 2, 130), m.axis("j", 3, 5));
            let (w, rate) = (m.param("w", &[j, i]), m.constant(0.5));
            let half = m.map(MapFn::Mul, &[w, rate]);
            m.yields("half", half);
            m.updates("w", &[j, i], half);
        }),
        none("constants of all types", |m| {
            let i = m.axis("i", 2, 19);
            let (here, one, two) = (m.add(Op::Iota(i), &[]), m.b.int(-1), m.constant(0.1));
            let y = m.map(MapFn::Mul, &[here, one]);
            m.yields("y", y);
            m.yields("tenth", two);
        }),
        none("iota", |m| {
            let (i, j) = (m.axis("i", 3, 600), m.axis("j", 2, 3));
            let (a, b) = (m.add(Op::Iota(i), &[]), m.add(Op::Iota(j), &[]));
            let distance = m.map(MapFn::Sub, &[a, b]);
            m.yields("distance", distance);
            m.yields("position", a);
        }),
        none("argmax", |m| {
            let (i, j) = (m.axis("i", 3, 40), m.axis("j", 5, 77));
            let x = m.float("x", &[i, j], Signed);
            let first = m.add(Op::ArgMax(j), &[x]);
            let other = m.add(Op::ArgMax(i), &[x]);
            m.yields("first", first);
            m.yields("other", other);
        }),
        none("argmax of equals", |m| {
            let (i, j) = (m.axis("i", 3, 40), m.axis("j", 6, 70));
            let x = m.whole("x", &[i, j]);
            let x = m.b.cast(x, m.dtype);
            let first = m.add(Op::ArgMax(j), &[x]);
            m.yields("first", first);
        }),
        agrees("rename", |m| {
            let (i, j, k) = (m.axis("i", 3, 21), m.axis("j", 3, 21), m.axis("k", 2, 5));
            let x = m.float("x", &[i, j, k], Signed);
            let turned = m.add(Op::Rename(vec![(i, j), (j, i)]), &[x]);
            let y = m.map(MapFn::Mul, &[x, turned]);
            m.yields("y", y);
        }),
        agrees("split", |m| {
            let (whole, outer, inner) = (m.axis("whole", 6, 60), m.axis("outer", 2, 4), m.axis("inner", 3, 15));
            let k = m.axis("k", 2, 9);
            let x = m.float("x", &[whole, k], Signed);
            let y = m.add(Op::Split { axis: whole, into: vec![outer, inner] }, &[x]);
            m.yields("y", y);
        }),
        agrees("merge", |m| {
            let (i, j, k, whole) = (m.axis("i", 2, 6), m.axis("j", 3, 11), m.axis("k", 2, 10), m.axis("whole", 4, 60));
            let x = m.float("x", &[i, j, k], Signed);
            let y = m.add(Op::Merge { from: vec![k, i], into: whole }, &[x]);
            m.yields("y", y);
        }),
        agrees("slice", |m| {
            let (i, part, k) = (m.axis("i", 5, 100), m.axis("part", 2, 33), m.axis("k", 2, 7));
            let x = m.float("x", &[k, i], Signed);
            let y = m.add(Op::Slice { axis: i, start: 2, into: part }, &[x]);
            m.yields("y", y);
        }),
        agrees("pad", |m| {
            let (part, i, k) = (m.axis("part", 2, 33), m.axis("i", 5, 100), m.axis("k", 2, 7));
            let x = m.float("x", &[part, k], Signed);
            let y = m.add(Op::Pad { axis: part, start: 1, into: i }, &[x]);
            m.yields("y", y);
        }),
        agrees("concat", |m| {
            let (a, b, all, k) = (m.axis("a", 2, 30), m.axis("b", 3, 35), m.axis("all", 7, 95), m.axis("k", 2, 5));
            let (x, z) = (m.float("x", &[a, k], Signed), m.float("z", &[k, b], Signed));
            let y = m.add(Op::Concat { axes: vec![a, b, a], into: all }, &[x, z, x]);
            m.yields("y", y);
        }),
        agrees("gather of rows, as an embedding", |m| {
            let (vocab, width, batch, time) =
                (m.axis("vocab", 3, 50), m.axis("width", 2, 37), m.axis("batch", 2, 3), m.axis("time", 3, 16));
            let (table, tokens) = (m.param("table", &[vocab, width]), m.positions("tokens", &[batch, time], vocab));
            let y = m.add(Op::Gather(vocab), &[table, tokens]);
            m.yields("y", y);
        }),
        agrees("gather along shared axes, as a loss", |m| {
            let (time, vocab) = (m.axis("time", 3, 40), m.axis("vocab", 4, 65));
            let (x, target) = (m.float("x", &[time, vocab], Signed), m.positions("target", &[time], vocab));
            let y = m.add(Op::Gather(vocab), &[x, target]);
            m.yields("y", y);
        }),
        agrees("gather along some shared axes", |m| {
            let (row, vocab, width, pick) = (m.axis("row", 2, 5), m.axis("vocab", 3, 19), m.axis("width", 2, 21), m.axis("pick", 4, 23));
            let (x, at) = (m.float("x", &[width, vocab, row], Signed), m.positions("at", &[row, pick], vocab));
            let y = m.add(Op::Gather(vocab), &[x, at]);
            m.yields("y", y);
        }),
        Case::new("scatter_add", Class::Sum, Derivative::Agrees, |m| {
            let (vocab, width, time) = (m.axis("vocab", 3, 11), m.axis("width", 2, 37), m.axis("time", 4, 29));
            let (at, x) = (m.positions("at", &[time], vocab), m.float("x", &[time, width], Signed));
            let y = m.add(Op::ScatterAdd { axis: vocab, keep: vec![width] }, &[at, x]);
            m.yields("y", y);
        }),
        Case::new("scatter_add that keeps a shared axis and sums another", Class::Sum, Derivative::Agrees, |m| {
            let (vocab, row, time, extra) = (m.axis("vocab", 3, 17), m.axis("row", 2, 5), m.axis("time", 3, 13), m.axis("extra", 2, 7));
            let (at, x) = (m.positions("at", &[time, row], vocab), m.float("x", &[row, extra, time], Signed));
            let y = m.add(Op::ScatterAdd { axis: vocab, keep: vec![row] }, &[at, x]);
            m.yields("y", y);
        }),
        none("uniform random numbers", |m| {
            let (i, j) = (m.axis("i", 3, 21), m.axis("j", 2, 37));
            let y = draw(m, Distribution::Uniform, 3, &[j, i], &[]);
            m.yields("y", y);
        }),
        Case::new("normal random numbers", Class::Elementary, Derivative::None, |m| {
            let (i, j) = (m.axis("i", 3, 21), m.axis("j", 2, 37));
            let y = draw(m, Distribution::Normal, 4, &[i, j], &[]);
            m.yields("y", y);
        }),
        agrees("a random mask with inputs", |m| {
            let (i, j) = (m.axis("i", 3, 21), m.axis("j", 2, 37));
            let x = m.float("x", &[i, j], Signed);
            let (layer, step) = (m.b.int(3), m.b.int(-1));
            let noise = draw(m, Distribution::Uniform, 5, &[i, j], &[layer, step]);
            let (rate, zero) = (m.constant(0.5), m.constant(0.0));
            let keep = m.map(MapFn::Lt, &[noise, rate]);
            let y = m.map(MapFn::Where, &[keep, x, zero]);
            m.yields("y", y);
        }),
    ]
}

fn draw(m: &mut Maker<'_>, distribution: Distribution, site: u64, order: &[AxisId], inputs: &[Value]) -> Value {
    let ty = Ty::new(m.dtype, Shape::of(order.iter().copied()));
    m.b.add_as(Op::Random(Random { distribution, site, order: order.to_vec() }), inputs, Some(&ty))
}
