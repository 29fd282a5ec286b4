//! Real-time recurrent learning against backpropagation through time, on cells of many forms and lengths, in double precision.

use crate::check::{made, param, run, store, weigh};
use ogive_graph::autodiff::GradError;
use ogive_graph::autodiff::reverse::{gradients, gradients_by};
use ogive_graph::autodiff::rtrl::{Learning, Rtrl};
use ogive_graph::pipeline::{self, FORWARD_IN_TIME};
use ogive_graph::{AxisId, Builder, DType, Graph, Loop, LoopKind, MapFn, Op, Output, Port, ReduceFn, Region, Ty, Value};

const LENGTHS: [u64; 5] = [1, 2, 5, 16, 64];

/// Uneven numbers that are not learned.
fn data(b: &mut Builder<'_>, axes: &[AxisId], shift: f64) -> Value {
    let mut total = b.float(shift, DType::F64);
    for (n, &axis) in axes.iter().enumerate() {
        let here = b.add(Op::Iota(axis), &[]);
        let here = b.cast(here, DType::F64);
        let factor = b.float(1.3 + 0.61 * n as f64, DType::F64);
        let part = b.map(MapFn::Mul, &[here, factor]);
        total = b.map(MapFn::Add, &[total, part]);
    }
    b.map(MapFn::Sin, &[total])
}

/// A scan over formal arguments of the given values: states, then what is given step by step, then the rest.
fn scan(
    b: &mut Builder<'_>,
    axis: AxisId,
    states: &[Value],
    given: &[Value],
    fixed: &[Value],
    step: impl FnOnce(&mut Builder<'_>, &[Value]) -> Vec<Value>,
) -> Vec<Value> {
    let inputs: Vec<Value> = states.iter().chain(given).chain(fixed).copied().collect();
    let mut types: Vec<Ty> = inputs.iter().map(|&v| b.ty(v).clone()).collect();
    types[states.len()..states.len() + given.len()].iter_mut().for_each(|ty| ty.shape = ty.shape.without(axis));
    let mut inner = Builder::new(b.axes);
    let arguments: Vec<Value> = types.iter().enumerate().map(|(i, ty)| inner.add_as(Op::Argument(i as u32), &[], Some(ty))).collect();
    let results = step(&mut inner, &arguments);
    let body = Region { results, ..inner.region };
    b.repeat(Loop { kind: LoopKind::Scan, axis, reverse: false, carries: states.len(), stacked: given.len(), body }, &inputs)
}

/// A start value that is not learned, uneven so that the first step tells parameters apart.
fn begin(b: &mut Builder<'_>, axes: &[AxisId]) -> Value {
    data(b, axes, 0.3)
}

/// The largest difference of the two gradients, by parameter; with the passes before differentiation and without.
fn differences(value: &str, graph: &Graph, of: Value, rtrl: Rtrl) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    for optimised in [false, true] {
        let mut graph = graph.clone();
        let mut of = of;
        if optimised {
            graph.outputs = vec![Output { port: Port { name: "loss".into(), order: Vec::new() }, value: of, update: false }];
            graph = pipeline::run(&graph, FORWARD_IN_TIME, true).unwrap_or_else(|f| panic!("{f}")).0;
            of = graph.outputs[0].value;
        }
        let params = crate::check::ports(&graph);
        let wrt: Vec<Value> = params.iter().map(|p| p.0).collect();
        let back = gradients(&graph, of, &wrt).unwrap();
        let ahead = gradients_by(&graph, of, &wrt, Learning::Rtrl(rtrl)).unwrap_or_else(|e| panic!("{value}: {e}"));
        let reversed = ahead.graph.region.nodes.iter().any(|n| if let Op::Loop(l) = &n.op { l.reverse } else { false });
        assert!(!reversed, "nothing goes back through time");
        let mut store = store(&graph);
        let rows = |found: &ogive_graph::autodiff::Gradients, store: &mut _| {
            let values: Vec<Value> =
                found.cotangents.iter().map(|c| c.unwrap_or_else(|| panic!("{value}: a gradient is missing"))).collect();
            run(&found.graph, &values, store)
        };
        let (expected, found) = (rows(&back, &mut store), rows(&ahead, &mut store));
        for (((_, port, _), a), b) in params.iter().zip(&expected).zip(&found) {
            assert!(a.iter().any(|x| x.abs() > 1e-9), "{value}: the gradient of {} is not all zero", port.name);
            let scale = a.iter().fold(1.0f64, |m, x| m.max(x.abs()));
            let worst = a.iter().zip(b).fold(0.0f64, |m, (x, y)| m.max((x - y).abs()));
            all.push((port.name.clone(), worst / scale));
        }
    }
    all
}

fn exact(name: &str, graph: &Graph, of: Value, rtrl: Rtrl) {
    for (param, difference) in differences(name, graph, of, rtrl) {
        assert!(difference < 1e-10, "{name}: {param} differs by {difference:e}");
    }
}

fn sigmoid(b: &mut Builder<'_>, parts: &[Value]) -> Value {
    let sum = parts[1..].iter().fold(parts[0], |s, &p| b.map(MapFn::Add, &[s, p]));
    b.map(MapFn::Sigmoid, &[sum])
}

/// The element-wise LSTM with its output gate, which mixes units after the state.
fn elstm(b: &mut Builder<'_>, length: u64) -> Value {
    let (t, n, i, u, after) = (b.axis("time", length), b.axis("batch", 2), b.axis("in", 3), b.axis("unit", 4), b.axis("after", 4));
    let x = data(b, &[t, n, i], 0.2);
    let names = [("F", vec![i, u]), ("Z", vec![i, u]), ("O", vec![i, u]), ("P", vec![u, after])];
    let mut fixed: Vec<Value> = names.iter().map(|(name, axes)| param(b, name, axes)).collect();
    fixed.extend(["f", "z", "bf", "bz", "bo"].map(|name| param(b, name, &[u])));
    let c = begin(b, &[n, u]);
    let results = scan(b, t, &[c], &[x], &fixed, |b, a| {
        let [c, x] = [a[0], a[1]];
        let [wf, wz, wo, p, f, z, bf, bz, bo] = [2, 3, 4, 5, 6, 7, 8, 9, 10].map(|k| a[k]);
        let (xf, fc) = (b.contract(x, wf, &[i]), b.map(MapFn::Mul, &[f, c]));
        let forget = sigmoid(b, &[xf, fc, bf]);
        let (xz, zc) = (b.contract(x, wz, &[i]), b.map(MapFn::Mul, &[z, c]));
        let sum = b.map(MapFn::Add, &[xz, zc]);
        let sum = b.map(MapFn::Add, &[sum, bz]);
        let new = b.map(MapFn::Tanh, &[sum]);
        let gap = b.map(MapFn::Sub, &[c, new]);
        let kept = b.map(MapFn::Mul, &[forget, gap]);
        let c = b.map(MapFn::Add, &[kept, new]);
        let mixed = b.contract(c, p, &[u]);
        let mixed = b.add(Op::Rename(vec![(after, u)]), &[mixed]);
        let xo = b.contract(x, wo, &[i]);
        let gate = sigmoid(b, &[xo, mixed, bo]);
        vec![c, b.map(MapFn::Mul, &[gate, c])]
    });
    weigh(b, results[1])
}

#[test]
fn the_element_wise_lstm() {
    for length in LENGTHS {
        let made = made(|b| elstm(b, length));
        exact("elstm", &made.graph, made.value, Rtrl::default());
    }
}

/// A diagonal recurrence through `relu`, its projection and normalised decay outside the cell, a learned start, a loss on the last state.
#[test]
fn a_projection_outside_a_decay_made_of_a_parameter_and_a_learned_start() {
    for length in LENGTHS {
        let made = made(|b| {
            let (t, n, i, u) = (b.axis("time", length), b.axis("batch", 3), b.axis("in", 2), b.axis("unit", 4));
            let x = data(b, &[t, n, i], 0.7);
            let (w, bias, raw, start) = (param(b, "W", &[i, u]), param(b, "b", &[u]), param(b, "decay", &[u]), param(b, "start", &[u]));
            let projected = b.contract(x, w, &[i]);
            let projected = b.map(MapFn::Add, &[projected, bias]);
            let projected = b.map(MapFn::Tanh, &[projected]);
            let decay = b.map(MapFn::Sigmoid, &[raw]);
            let fixed = begin(b, &[n, u]);
            let h = b.map(MapFn::Add, &[fixed, start]);
            let results = scan(b, t, &[h], &[projected], &[decay], |b, a| {
                let kept = b.map(MapFn::Mul, &[a[0], a[2]]);
                let h = b.map(MapFn::Add, &[kept, a[1]]);
                let square = b.map(MapFn::Mul, &[h, h]);
                vec![h, square]
            });
            let (last, all) = (weigh(b, results[0]), weigh(b, results[1]));
            b.map(MapFn::Add, &[last, all])
        });
        exact("diagonal", &made.graph, made.value, Rtrl::default());
    }
}

/// Complex numbers in two states, and in one state with an axis of two parts.
#[test]
fn complex_diagonal_units() {
    for length in LENGTHS {
        let two = made(|b| {
            let (t, n, i, u) = (b.axis("time", length), b.axis("batch", 2), b.axis("in", 3), b.axis("unit", 4));
            let x = data(b, &[t, n, i], 0.4);
            let fixed =
                [("R", vec![i, u]), ("I", vec![i, u]), ("rate", vec![u]), ("turn", vec![u])].map(|(name, axes)| param(b, name, &axes));
            let (re, im) = (begin(b, &[n, u]), begin(b, &[n, u]));
            let results = scan(b, t, &[re, im], &[x], &fixed, |b, a| {
                let [re, im, x, wr, wi, rate, turn] = [0, 1, 2, 3, 4, 5, 6].map(|k| a[k]);
                let size = b.map(MapFn::Sigmoid, &[rate]);
                let (cos, sin) = (b.map(MapFn::Cos, &[turn]), b.map(MapFn::Sin, &[turn]));
                let (cos, sin) = (b.map(MapFn::Mul, &[size, cos]), b.map(MapFn::Mul, &[size, sin]));
                let turned = |b: &mut Builder<'_>, p: Value, q: Value, f: MapFn| {
                    let (p, q) = (b.map(MapFn::Mul, &[p, cos]), b.map(MapFn::Mul, &[q, sin]));
                    b.map(f, &[p, q])
                };
                let (a, c) = (turned(b, re, im, MapFn::Sub), turned(b, im, re, MapFn::Add));
                let (xr, xi) = (b.contract(x, wr, &[i]), b.contract(x, wi, &[i]));
                let (re, im) = (b.map(MapFn::Add, &[a, xr]), b.map(MapFn::Add, &[c, xi]));
                vec![re, im, b.map(MapFn::Mul, &[re, im])]
            });
            weigh(b, results[2])
        });
        exact("two states", &two.graph, two.value, Rtrl::default());
        let block = made(|b| {
            let (t, n, i, u) = (b.axis("time", length), b.axis("batch", 2), b.axis("in", 3), b.axis("unit", 4));
            let (part, other) = (b.axis("part", 2), b.axis("other", 2));
            let x = data(b, &[t, n, i], 0.4);
            let w = param(b, "W", &[i, u, part]);
            let turn = param(b, "turn", &[u, other, part]);
            let h = begin(b, &[n, u, part]);
            let results = scan(b, t, &[h], &[x], &[w, turn], |b, a| {
                let from = b.add(Op::Rename(vec![(part, other)]), &[a[0]]);
                let turned = b.contract(from, a[3], &[other]);
                let x = b.contract(a[1], a[2], &[i]);
                let sum = b.map(MapFn::Add, &[turned, x]);
                let h = b.map(MapFn::Tanh, &[sum]);
                vec![h, h]
            });
            weigh(b, results[1])
        });
        exact("a state of pairs", &block.graph, block.value, Rtrl::default());
    }
}

/// A dense recurrence beside a diagonal one that it feeds, with a hidden layer in the step.
fn dense(b: &mut Builder<'_>, length: u64) -> Value {
    let (t, n, i, u, after, hid) =
        (b.axis("time", length), b.axis("batch", 2), b.axis("in", 3), b.axis("unit", 5), b.axis("after", 5), b.axis("hidden", 3));
    let x = data(b, &[t, n, i], 0.4);
    let (w, r, a1, a2) = (param(b, "W", &[i, u]), param(b, "R", &[u, after]), param(b, "A", &[i, hid]), param(b, "B", &[hid, u]));
    let (bias, decay) = (param(b, "b", &[u]), param(b, "decay", &[u]));
    let (h, c) = (begin(b, &[n, u]), begin(b, &[n, u]));
    let results = scan(b, t, &[h, c], &[x], &[w, r, a1, a2, bias, decay], |b, a| {
        let [h, c, x, w, r, a1, a2, bias, decay] = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|k| a[k]);
        let back = b.contract(h, r, &[u]);
        let back = b.add(Op::Rename(vec![(after, u)]), &[back]);
        let x1 = b.contract(x, w, &[i]);
        let hidden = b.contract(x, a1, &[i]);
        let hidden = b.map(MapFn::Tanh, &[hidden]);
        let x2 = b.contract(hidden, a2, &[hid]);
        let sum = [x1, x2, bias].iter().fold(back, |s, &p| b.map(MapFn::Add, &[s, p]));
        let h = b.map(MapFn::Tanh, &[sum]);
        let kept = b.map(MapFn::Mul, &[c, decay]);
        let c = b.map(MapFn::Add, &[kept, h]);
        vec![h, c, c]
    });
    weigh(b, results[2])
}

#[test]
fn a_dense_recurrence_is_exact_where_the_full_recursion_is_asked_for() {
    for length in LENGTHS {
        let made = made(|b| dense(b, length));
        exact("dense", &made.graph, made.value, Rtrl { full: true, ..Rtrl::default() });
    }
}

#[test]
fn a_dense_recurrence_is_refused_otherwise() {
    let made = made(|b| dense(b, 7));
    let wrt: Vec<Value> = crate::check::ports(&made.graph).iter().map(|p| p.0).collect();
    let refused = gradients_by(&made.graph, made.value, &wrt, Learning::Rtrl(Rtrl::default())).unwrap_err();
    let GradError::Mixes(mixing) = refused else { panic!("{refused}") };
    assert_eq!(mixing.axes, [("unit".to_owned(), 5)]);
    assert_eq!(mixing.state, [("batch".to_owned(), 2), ("unit".to_owned(), 5)]);
    // Two states of 10; parameters with 15 + 25 + 9 + 15 + 5 entries reach both, the decay of 5 only the second.
    assert_eq!(mixing.numbers, 2 * 10 * (15 + 25 + 9 + 15 + 5) + 10 * 5);
}

/// Sums over the batch and over units on the way from a parameter to the state.
#[test]
fn a_parameter_that_reaches_the_state_through_sums_over_its_axes() {
    for length in [1, 3, 9] {
        let made = made(|b| {
            let (t, n, i, u) = (b.axis("time", length), b.axis("batch", 2), b.axis("in", 3), b.axis("unit", 2));
            let x = data(b, &[t, n, i], 0.4);
            let (w, scale, gain) = (param(b, "W", &[i, u]), param(b, "scale", &[]), param(b, "gain", &[u]));
            let h = begin(b, &[n, u]);
            let results = scan(b, t, &[h], &[x], &[w, scale, gain], |b, a| {
                let x = b.contract(a[1], a[2], &[i]);
                let mean = b.reduce(ReduceFn::Sum, x, &[n]);
                let total = b.reduce(ReduceFn::Sum, a[4], &[u]);
                let x = b.map(MapFn::Sub, &[x, mean]);
                let kept = b.map(MapFn::Mul, &[a[0], a[3]]);
                let kept = b.map(MapFn::Mul, &[kept, total]);
                let sum = b.map(MapFn::Add, &[x, kept]);
                let h = b.map(MapFn::Tanh, &[sum]);
                vec![h, h]
            });
            weigh(b, results[1])
        });
        exact("sums", &made.graph, made.value, Rtrl::default());
    }
}

/// A gather of rows that feed units directly, gates in one projection cut in two, a gate by the position.
#[test]
fn rows_of_a_table_and_gates_cut_from_one_projection() {
    for length in [1, 4, 17] {
        let made = made(|b| {
            let (t, n, v, i, u, both) =
                (b.axis("time", length), b.axis("batch", 2), b.axis("symbol", 3), b.axis("in", 3), b.axis("unit", 4), b.axis("gates", 8));
            let x = data(b, &[t, n, i], 0.4);
            let (a, c) = (b.add(Op::Iota(t), &[]), b.add(Op::Iota(n), &[]));
            let symbols = b.map(MapFn::Add, &[a, c]);
            let three = b.int(3);
            let symbols = b.map(MapFn::Mod, &[symbols, three]);
            let (table, w) = (param(b, "table", &[v, u]), param(b, "W", &[i, both]));
            let rows = b.add(Op::Gather(v), &[table, symbols]);
            let gates = b.contract(x, w, &[i]);
            let h = begin(b, &[n, u]);
            let results = scan(b, t, &[h], &[rows, gates], &[], |b, a| {
                let keep = b.add(Op::Slice { axis: both, start: 0, into: u }, &[a[2]]);
                let write = b.add(Op::Slice { axis: both, start: 4, into: u }, &[a[2]]);
                let keep = b.map(MapFn::Sigmoid, &[keep]);
                let kept = b.map(MapFn::Mul, &[keep, a[0]]);
                let new = b.map(MapFn::Mul, &[write, a[1]]);
                let h = b.map(MapFn::Add, &[kept, new]);
                vec![h, h]
            });
            weigh(b, results[1])
        });
        exact("rows", &made.graph, made.value, Rtrl::default());
    }
}
