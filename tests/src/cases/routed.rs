//! Selection, and products with chosen matrices.

use super::Range::Signed;
use super::{Case, Class, Derivative, Maker};
use ogive_graph::{AxisId, Builder, Loop, LoopKind, MapFn, Op, Region, Shape, Ty, Value};

pub(super) fn cases() -> Vec<Case> {
    let none = |name: &str, build: fn(&mut Maker<'_>)| Case::new(name, Class::Exact, Derivative::None, build);
    let sum = |name: &str, build: fn(&mut Maker<'_>)| Case::new(name, Class::Sum, Derivative::Agrees, build);
    let composite = |name: &str, build: fn(&mut Maker<'_>)| Case::new(name, Class::Composite, Derivative::Agrees, build);
    vec![
        none("the best of a row", |m| {
            let (time, expert, slot) = (m.axis("time", 3, 70), m.axis("expert", 5, 33), m.axis("slot", 2, 5));
            let x = m.float("x", &[time, expert], Signed);
            let y = m.add(Op::TopK { over: vec![expert], into: slot }, &[x]);
            m.yields("y", y);
        }),
        none("the best of a column with equals", |m| {
            let (expert, time, slot) = (m.axis("expert", 6, 50), m.axis("time", 3, 9), m.axis("slot", 4, 20));
            let x = m.whole("x", &[expert, time]);
            let x = m.b.cast(x, m.dtype);
            let y = m.add(Op::TopK { over: vec![expert], into: slot }, &[x]);
            m.yields("y", y);
        }),
        none("the best of a matrix", |m| {
            let (row, time, column) = (m.axis("row", 3, 20), m.axis("time", 2, 9), m.axis("column", 2, 21));
            let slot = m.axis("slot", 2, 7);
            let x = m.float("x", &[column, time, row], Signed);
            let y = m.add(Op::TopK { over: vec![row, column], into: slot }, &[x]);
            m.yields("y", y);
        }),
        none("the best sums of two keys", |m| {
            let (time, row, head) = (m.axis("time", 3, 20), m.axis("row", 3, 40), m.axis("head", 2, 3));
            let (column, slot) = (m.axis("column", 4, 31), m.axis("slot", 3, 12));
            let (a, b) = (m.float("a", &[time, row], Signed), m.float("b", &[column, time, head], Signed));
            let y = m.add(Op::TopK { over: vec![row, column], into: slot }, &[a, b]);
            m.yields("y", y);
        }),
        none("the best sums of two keys with equals", |m| {
            let (time, row) = (m.axis("time", 3, 20), m.axis("row", 3, 40));
            let (column, slot) = (m.axis("column", 4, 31), m.axis("slot", 3, 12));
            let (a, b) = (m.whole("a", &[row, time]), m.whole("b", &[column, time]));
            let (a, b) = (m.b.cast(a, m.dtype), m.b.cast(b, m.dtype));
            let y = m.add(Op::TopK { over: vec![row, column], into: slot }, &[a, b]);
            m.yields("y", y);
        }),
        none("points sorted by expert", |m| {
            let (time, slot, expert) = (m.axis("time", 3, 70), m.axis("slot", 2, 3), m.axis("expert", 4, 17));
            let at = m.positions("at", &[slot, time], expert);
            let (sequence, ends) = route(m, at, expert, &[], &[time, slot]);
            m.yields("sequence", sequence);
            m.yields("ends", ends);
        }),
        none("points sorted by head and expert", |m| {
            let (slot, head, time) = (m.axis("slot", 2, 3), m.axis("head", 2, 4), m.axis("time", 3, 30));
            let expert = m.axis("expert", 3, 7);
            let at = m.positions("at", &[time, head, slot], expert);
            let (sequence, ends) = route(m, at, expert, &[head], &[time, head, slot]);
            m.yields("sequence", sequence);
            m.yields("ends", ends);
        }),
        sum("sums of outer products by expert", |m| {
            let (time, slot, expert) = (m.axis("time", 3, 70), m.axis("slot", 2, 3), m.axis("expert", 4, 17));
            let (inner, width) = (m.axis("inner", 2, 19), m.axis("width", 3, 35));
            let (x, y) = (m.float("x", &[time, inner], Signed), m.float("y", &[time, slot, width], Signed));
            let at = m.positions("at", &[time, slot], expert);
            let (sequence, ends) = route(m, at, expert, &[], &[time, slot]);
            let z = m.add(Op::RoutedOuter { axis: expert, keep: vec![inner, width] }, &[x, y, at, sequence, ends]);
            m.yields("z", z);
        }),
        sum("rows times chosen matrices", |m| {
            let (time, inner) = (m.axis("time", 3, 150), m.axis("inner", 2, 37));
            let (wide, expert, slot) = (m.axis("wide", 3, 41), m.axis("expert", 4, 5), m.axis("slot", 2, 3));
            let (x, w) = (m.float("x", &[time, inner], Signed), m.param("w", &[expert, inner, wide]));
            let at = m.positions("at", &[time, slot], expert);
            let y = routed(m, [x, w, at], expert, &[inner], &[], &[time, slot]);
            m.yields("y", y);
        }),
        sum("rows times chosen matrices added over slots", |m| {
            let (time, inner) = (m.axis("time", 3, 90), m.axis("inner", 2, 35));
            let (wide, expert, slot) = (m.axis("wide", 3, 130), m.axis("expert", 5, 40), m.axis("slot", 2, 3));
            let (x, w) = (m.float("x", &[time, slot, inner], Signed), m.param("w", &[expert, inner, wide]));
            let at = m.positions("at", &[time, slot], expert);
            let y = routed(m, [x, w, at], expert, &[slot, inner], &[], &[time, slot]);
            m.yields("y", y);
        }),
        sum("matrices chosen by head", |m| {
            let (time, head, inner) = (m.axis("time", 3, 60), m.axis("head", 2, 3), m.axis("inner", 2, 20));
            let (wide, expert, slot) = (m.axis("wide", 2, 18), m.axis("expert", 3, 6), m.axis("slot", 2, 2));
            let (x, w) = (m.float("x", &[time, inner], Signed), m.param("w", &[expert, head, inner, wide]));
            let at = m.positions("at", &[time, head, slot], expert);
            let y = routed(m, [x, w, at], expert, &[inner], &[head], &[time, head, slot]);
            m.yields("y", y);
        }),
        sum("matrices chosen by head, added over heads and slots", |m| {
            let (time, head, inner) = (m.axis("time", 3, 60), m.axis("head", 2, 3), m.axis("inner", 2, 20));
            let (wide, expert, slot) = (m.axis("wide", 2, 18), m.axis("expert", 3, 6), m.axis("slot", 2, 2));
            let (x, w) = (m.float("x", &[inner, head, time, slot], Signed), m.param("w", &[wide, expert, inner, head]));
            let at = m.positions("at", &[head, time, slot], expert);
            let y = routed(m, [x, w, at], expert, &[head, slot, inner], &[head], &[time, head, slot]);
            m.yields("y", y);
        }),
        sum("chosen matrices in odd layouts", |m| {
            let (inner, time) = (m.axis("inner", 2, 37), m.axis("time", 3, 50));
            let (wide, expert, slot) = (m.axis("wide", 3, 41), m.axis("expert", 4, 9), m.axis("slot", 2, 3));
            let (x, w) = (m.float("x", &[inner, time], Signed), m.param("w", &[wide, inner, expert]));
            let at = m.positions("at", &[slot, time], expert);
            let y = routed(m, [x, w, at], expert, &[inner], &[], &[slot, time]);
            m.yields("y", y);
        }),
        sum("chosen matrices with aligned, repeated and split axes", |m| {
            let (group, time, more) = (m.axis("group", 2, 3), m.axis("time", 2, 20), m.axis("more", 2, 4));
            let (first, second, wide) = (m.axis("first", 2, 5), m.axis("second", 2, 7), m.axis("wide", 2, 19));
            let (expert, slot) = (m.axis("expert", 3, 5), m.axis("slot", 2, 2));
            let x = m.float("x", &[second, time, group, first, more], Signed);
            let w = m.param("w", &[expert, first, group, wide, second]);
            let at = m.positions("at", &[time, slot], expert);
            let y = routed(m, [x, w, at], expert, &[first, second], &[], &[time, slot]);
            m.yields("y", y);
        }),
        sum("a mix of chosen rows, as a memory", |m| {
            let (time, head, slot) = (m.axis("time", 3, 30), m.axis("head", 2, 3), m.axis("slot", 2, 5));
            let (value, width) = (m.axis("value", 9, 200), m.axis("width", 2, 37));
            let (x, w) = (m.float("x", &[time, head, slot], Signed), m.param("w", &[value, width]));
            let at = m.positions("at", &[time, head, slot], value);
            let y = routed(m, [x, w, at], value, &[head, slot], &[], &[time, head, slot]);
            m.yields("y", y);
        }),
        sum("products with chosen rows", |m| {
            let (time, width) = (m.axis("time", 3, 30), m.axis("width", 2, 37));
            let (value, slot) = (m.axis("value", 9, 200), m.axis("slot", 2, 5));
            let (x, w) = (m.float("x", &[width, time], Signed), m.param("w", &[width, value]));
            let at = m.positions("at", &[time, slot], value);
            let y = routed(m, [x, w, at], value, &[width], &[], &[time, slot]);
            m.yields("y", y);
        }),
        composite("a layer of experts", |m| {
            let (time, model) = (m.axis("time", 3, 60), m.axis("model", 2, 33));
            let (expert, slot, wide) = (m.axis("expert", 4, 9), m.axis("slot", 2, 3), m.axis("wide", 3, 21));
            let (x, choice) = (m.float("x", &[time, model], Signed), m.param("choice", &[model, expert]));
            let (up, down) = (m.param("up", &[expert, model, wide]), m.param("down", &[expert, wide, model]));
            let y = layer(&mut m.b, [x, choice, up, down], [time, model, expert, slot, wide]);
            m.yields("y", y);
        }),
        composite("a repeat of a layer of experts", |m| {
            let (depth, time, model) = (m.axis("depth", 2, 3), m.axis("time", 2, 30), m.axis("model", 2, 17));
            let (expert, slot, wide) = (m.axis("expert", 3, 5), m.axis("slot", 2, 2), m.axis("wide", 2, 21));
            let x = m.float("x", &[time, model], Signed);
            let (choice, up) = (m.param("choice", &[depth, model, expert]), m.param("up", &[depth, expert, model, wide]));
            let down = m.param("down", &[depth, expert, wide, model]);
            let shapes = [vec![time, model], vec![model, expert], vec![expert, model, wide], vec![expert, wide, model]];
            let mut b = Builder::new(m.b.axes);
            let args: Vec<Value> = shapes
                .iter()
                .enumerate()
                .map(|(i, axes)| b.add_as(Op::Argument(i as u32), &[], Some(&Ty::new(m.dtype, Shape::of(axes.iter().copied())))))
                .collect();
            let y = layer(&mut b, [args[0], args[1], args[2], args[3]], [time, model, expert, slot, wide]);
            let (small, half) = (b.float(0.0625, m.dtype), b.float(0.5, m.dtype));
            let (y, kept) = (b.map(MapFn::Mul, &[y, small]), b.map(MapFn::Mul, &[args[0], half]));
            let next = b.map(MapFn::Add, &[kept, y]);
            b.region.results = vec![next];
            let body: Region = b.region;
            let l = Loop { kind: LoopKind::Repeat, axis: depth, reverse: false, carries: 1, stacked: 3, body };
            let out = m.b.repeat(l, &[x, choice, up, down]);
            m.yields("h", out[0]);
        }),
    ]
}

fn sorted(b: &mut Builder<'_>, at: Value, axis: AxisId, shared: &[AxisId], order: &[AxisId]) -> (Value, Value) {
    let results = b.add_many(Op::Route { axis, shared: shared.to_vec(), order: order.to_vec() }, &[at]);
    (results[0], results[1])
}

fn route(m: &mut Maker<'_>, at: Value, axis: AxisId, shared: &[AxisId], order: &[AxisId]) -> (Value, Value) {
    sorted(&mut m.b, at, axis, shared, order)
}

fn routed(m: &mut Maker<'_>, [x, w, at]: [Value; 3], axis: AxisId, over: &[AxisId], shared: &[AxisId], order: &[AxisId]) -> Value {
    let (sequence, ends) = route(m, at, axis, shared, order);
    m.add(Op::Routed { axis, over: over.to_vec() }, &[x, w, at, sequence, ends])
}

/// Scores by sigmoid, the best experts' two matrices with relu between, weighed by the scores.
fn layer(b: &mut Builder<'_>, [x, choice, up, down]: [Value; 4], [time, model, expert, slot, wide]: [AxisId; 5]) -> Value {
    let logits = b.contract(x, choice, &[model]);
    let scores = b.map(MapFn::Sigmoid, &[logits]);
    let at = b.add(Op::TopK { over: vec![expert], into: slot }, &[scores]);
    let gate = b.add(Op::Gather(expert), &[scores, at]);
    let (sequence, ends) = sorted(b, at, expert, &[], &[time, slot]);
    let h = b.add(Op::Routed { axis: expert, over: vec![model] }, &[x, up, at, sequence, ends]);
    let h = b.map(MapFn::Relu, &[h]);
    let h = b.map(MapFn::Mul, &[h, gate]);
    b.add(Op::Routed { axis: expert, over: vec![slot, wide] }, &[h, down, at, sequence, ends])
}
