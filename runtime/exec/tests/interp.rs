//! The interpreter on small graphs whose answers are worked out by hand.

use ogive_graph::{
    Attention, AxisId, Builder, DType, Distribution, Graph, Loop, LoopKind, MapFn, Op, Output, Port, Random, ReduceFn, Shape, Ty, Value,
};
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, ExecError, Interpreter, Options, Store, Tensor, evaluate};
use std::collections::BTreeMap;

const F: DType = DType::F64;

/// A graph under construction with inputs in f64 and its outputs in sorted axis order.
struct Bench {
    axes: Vec<ogive_graph::Axis>,
    region: ogive_graph::Region,
    outputs: Vec<Output>,
    inputs: Bindings,
}

impl Bench {
    fn new() -> Self {
        Bench { axes: Vec::new(), region: ogive_graph::Region::default(), outputs: Vec::new(), inputs: Bindings::new() }
    }

    fn build<T>(&mut self, f: impl FnOnce(&mut Builder<'_>) -> T) -> T {
        let mut b = Builder::over(&mut self.axes, std::mem::take(&mut self.region));
        let result = f(&mut b);
        self.region = b.region;
        result
    }

    fn axis(&mut self, name: &str, size: u64) -> AxisId {
        self.build(|b| b.axis(name, size))
    }

    fn given(&mut self, name: &str, order: &[AxisId], data: Data) -> Value {
        let port = Port { name: name.into(), order: order.to_vec() };
        let ty = Ty::new(data.dtype(), Shape::of(order.iter().copied()));
        let dims = self.dims(order);
        self.inputs.insert(name.into(), Tensor { dims, data });
        self.build(|b| b.add_as(Op::Input(port), &[], Some(&ty)))
    }

    fn float(&mut self, name: &str, order: &[AxisId], values: &[f64]) -> Value {
        self.given(name, order, Data::F64(values.to_vec()))
    }

    fn int(&mut self, name: &str, order: &[AxisId], values: &[i32]) -> Value {
        self.given(name, order, Data::I32(values.to_vec()))
    }

    fn dims(&self, order: &[AxisId]) -> Vec<Dim> {
        order.iter().map(|a| &self.axes[a.index()]).map(|a| Dim { name: a.name.clone(), size: a.size as usize }).collect()
    }

    fn yields(&mut self, name: &str, value: Value, order: &[AxisId]) {
        self.outputs.push(Output { port: Port { name: name.into(), order: order.to_vec() }, value, update: false });
    }

    fn graph(&self) -> Graph {
        Graph { axes: self.axes.clone(), region: self.region.clone(), outputs: self.outputs.clone() }
    }

    fn run(&self) -> Result<BTreeMap<String, Tensor>, ExecError> {
        evaluate(&self.graph(), &self.inputs, &mut Store::default(), Draw { seed: 1, step: 2 })
    }

    /// The elements of one value.
    fn answer(&mut self, value: Value, order: &[AxisId]) -> Vec<f64> {
        self.yields("answer", value, order);
        self.run().unwrap()["answer"].to_f64()
    }
}

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12 || a == b), "{a:?} against {b:?}");
}

#[test]
fn maps_align_by_axis_and_repeat_along_missing_axes() {
    let mut t = Bench::new();
    let (r, c) = (t.axis("row", 2), t.axis("column", 3));
    let (a, b) = (t.float("a", &[r], &[1.0, 2.0]), t.float("b", &[c], &[10.0, 20.0, 30.0]));
    let product = t.build(|g| g.map(MapFn::Mul, &[a, b]));
    assert_eq!(t.answer(product, &[c, r]), [10.0, 20.0, 20.0, 40.0, 30.0, 60.0]);
}

#[test]
fn axes_have_no_order() {
    let mut t = Bench::new();
    let (r, c) = (t.axis("row", 2), t.axis("column", 3));
    let a = t.float("a", &[r, c], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let b = t.float("b", &[c, r], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let difference = t.build(|g| g.map(MapFn::Sub, &[a, b]));
    assert_eq!(t.answer(difference, &[r, c]), [0.0; 6]);
}

#[test]
fn functions_follow_their_stated_corner_cases() {
    let nan = f64::NAN;
    let mut t = Bench::new();
    let n = t.axis("n", 4);
    let a = t.float("a", &[n], &[-7.0, 7.0, 0.0, nan]);
    let b = t.float("b", &[n], &[3.0, -3.0, 5.0, 1.0]);
    for (name, f) in [("mod", MapFn::Mod), ("max", MapFn::Max)] {
        let v = t.build(|g| g.map(f, &[a, b]));
        t.yields(name, v, &[n]);
    }
    for (name, f) in [("sign", MapFn::Sign), ("relu", MapFn::Relu)] {
        let v = t.build(|g| g.map(f, &[a]));
        t.yields(name, v, &[n]);
    }
    let out = t.run().unwrap();
    let get = |name: &str| out[name].to_f64();
    assert_eq!(get("mod")[..3], [2.0, -2.0, 0.0]);
    assert_eq!(get("max")[..3], [3.0, 7.0, 5.0]);
    assert_eq!(get("sign")[..3], [-1.0, 1.0, 0.0]);
    assert_eq!(get("relu")[..3], [0.0, 7.0, 0.0]);
    assert!(["mod", "max", "sign", "relu"].iter().all(|name| get(name)[3].is_nan()));
}

#[test]
fn integers_wrap_and_never_trap() {
    let mut t = Bench::new();
    let n = t.axis("n", 3);
    let a = t.int("a", &[n], &[i32::MIN, 7, -7]);
    let b = t.int("b", &[n], &[-1, 0, 2]);
    let [q, m] = [MapFn::Div, MapFn::Mod].map(|f| t.build(|g| g.map(f, &[a, b])));
    t.yields("quotient", q, &[n]);
    t.yields("rest", m, &[n]);
    let out = t.run().unwrap();
    assert_eq!(out["quotient"].data, Data::I32(vec![i32::MIN, 0, -3]));
    assert_eq!(out["rest"].data, Data::I32(vec![0, 0, 1]));
}

#[test]
fn erf_agrees_with_tabled_values() {
    let mut t = Bench::new();
    let n = t.axis("n", 3);
    let a = t.float("a", &[n], &[0.5, 1.0, -2.0]);
    let e = t.build(|g| g.map(MapFn::Erf, &[a]));
    close(&t.answer(e, &[n]), &[0.520_499_877_813_046_5, 0.842_700_792_949_714_9, -0.995_322_265_018_952_7]);
}

#[test]
fn a_node_of_f32_is_computed_in_f32() {
    let mut t = Bench::new();
    let a = t.given("a", &[], Data::F32(vec![16_777_216.0]));
    let one = t.build(|g| g.float(1.0, DType::F32));
    let sum = t.build(|g| g.map(MapFn::Add, &[a, one]));
    assert_eq!(t.answer(sum, &[]), [16_777_216.0]);
}

#[test]
fn reductions_run_over_several_axes() {
    let mut t = Bench::new();
    let (i, j, k) = (t.axis("i", 2), t.axis("j", 2), t.axis("k", 2));
    let a = t.float("a", &[i, j, k], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    for (name, f) in [("sum", ReduceFn::Sum), ("max", ReduceFn::Max), ("min", ReduceFn::Min)] {
        let v = t.build(|g| g.reduce(f, a, &[i, k]));
        t.yields(name, v, &[j]);
    }
    let out = t.run().unwrap();
    assert_eq!(out["sum"].to_f64(), [14.0, 22.0]);
    assert_eq!(out["max"].to_f64(), [6.0, 8.0]);
    assert_eq!(out["min"].to_f64(), [1.0, 3.0]);
}

#[test]
fn argmax_takes_the_lowest_of_equals_and_never_nan() {
    let mut t = Bench::new();
    let (r, c) = (t.axis("row", 3), t.axis("column", 3));
    let a = t.float("a", &[r, c], &[1.0, 5.0, 5.0, f64::NAN, -1.0, 2.0, f64::NAN, f64::NAN, f64::NAN]);
    let best = t.build(|g| g.add(Op::ArgMax(c), &[a]));
    assert_eq!(t.answer(best, &[r]), [1.0, 2.0, 0.0]);
}

#[test]
fn contraction_aligns_shared_axes_and_sums_the_named_ones() {
    let mut t = Bench::new();
    let (b, m, k, n) = (t.axis("b", 2), t.axis("m", 2), t.axis("k", 3), t.axis("n", 2));
    let x: Vec<f64> = (0..12).map(f64::from).collect();
    let y: Vec<f64> = (0..12).map(|i| f64::from(i * i % 7)).collect();
    let (xv, yv) = (t.float("x", &[k, b, m], &x), t.float("y", &[b, n, k], &y));
    let dot = t.build(|g| g.contract(xv, yv, &[k]));
    let mut expected = Vec::new();
    for (b, m, n) in (0..8).map(|i| (i / 4, i / 2 % 2, i % 2)) {
        expected.push((0..3).map(|k| x[k * 4 + b * 2 + m] * y[b * 6 + n * 3 + k]).sum());
    }
    close(&t.answer(dot, &[b, m, n]), &expected);
}

#[test]
fn split_and_merge_take_the_first_axis_as_slowest() {
    let mut t = Bench::new();
    let (w, o, i, back) = (t.axis("whole", 6), t.axis("outer", 2), t.axis("inner", 3), t.axis("back", 6));
    let a = t.float("a", &[w], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let parts = t.build(|g| g.add(Op::Split { axis: w, into: vec![o, i] }, &[a]));
    let swapped = t.build(|g| g.add(Op::Merge { from: vec![i, o], into: back }, &[parts]));
    t.yields("parts", parts, &[o, i]);
    assert_eq!(t.answer(swapped, &[back]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(t.run().unwrap()["parts"].to_f64(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn renaming_is_simultaneous() {
    let mut t = Bench::new();
    let (i, j) = (t.axis("i", 2), t.axis("j", 2));
    let a = t.float("a", &[i, j], &[1.0, 2.0, 3.0, 4.0]);
    let turned = t.build(|g| g.add(Op::Rename(vec![(i, j), (j, i)]), &[a]));
    assert_eq!(t.answer(turned, &[i, j]), [1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn pad_undoes_slice_and_concat_joins() {
    let mut t = Bench::new();
    let (n, part, joined) = (t.axis("n", 4), t.axis("part", 2), t.axis("joined", 6));
    let a = t.float("a", &[n], &[1.0, 2.0, 3.0, 4.0]);
    let middle = t.build(|g| g.add(Op::Slice { axis: n, start: 1, into: part }, &[a]));
    let padded = t.build(|g| g.add(Op::Pad { axis: part, start: 1, into: n }, &[middle]));
    let both = t.build(|g| g.add(Op::Concat { axes: vec![part, n], into: joined }, &[middle, a]));
    t.yields("padded", padded, &[n]);
    assert_eq!(t.answer(both, &[joined]), [2.0, 3.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(t.run().unwrap()["padded"].to_f64(), [0.0, 2.0, 3.0, 0.0]);
}

#[test]
fn gather_aligns_shared_axes() {
    let mut t = Bench::new();
    let (r, c, k) = (t.axis("row", 2), t.axis("column", 3), t.axis("pick", 2));
    let a = t.float("a", &[r, c], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let at = t.int("at", &[r, k], &[2, 0, 1, 1]);
    let picked = t.build(|g| g.add(Op::Gather(c), &[a, at]));
    assert_eq!(t.answer(picked, &[r, k]), [3.0, 1.0, 5.0, 5.0]);
}

#[test]
fn scatter_add_sums_what_falls_on_one_position() {
    let mut t = Bench::new();
    let (word, time, width) = (t.axis("word", 3), t.axis("time", 3), t.axis("width", 2));
    let at = t.int("at", &[time], &[2, 0, 2]);
    let u = t.float("u", &[time, width], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let sum = t.build(|g| g.add(Op::ScatterAdd { axis: word, keep: vec![width] }, &[at, u]));
    assert_eq!(t.answer(sum, &[word, width]), [3.0, 4.0, 0.0, 0.0, 6.0, 8.0]);
}

#[test]
fn scatter_add_keeps_shared_axes_and_sums_the_rest() {
    let mut t = Bench::new();
    let (word, row, time) = (t.axis("word", 2), t.axis("row", 2), t.axis("time", 2));
    let at = t.int("at", &[row], &[1, 0]);
    let u = t.float("u", &[row, time], &[1.0, 2.0, 3.0, 4.0]);
    let kept = t.build(|g| g.add(Op::ScatterAdd { axis: word, keep: vec![row] }, &[at, u]));
    let all = t.build(|g| g.add(Op::ScatterAdd { axis: word, keep: vec![] }, &[at, u]));
    t.yields("all", all, &[word]);
    assert_eq!(t.answer(kept, &[row, word]), [0.0, 3.0, 7.0, 0.0]);
    assert_eq!(t.run().unwrap()["all"].to_f64(), [7.0, 3.0]);
}

#[test]
fn a_position_outside_its_axis_is_named() {
    for bad in [-1, 3, i32::MIN] {
        let mut t = Bench::new();
        let (word, time) = (t.axis("word", 3), t.axis("time", 1));
        let a = t.float("a", &[word], &[1.0, 2.0, 3.0]);
        let at = t.int("at", &[time], &[bad]);
        let picked = t.build(|g| g.add(Op::Gather(word), &[a, at]));
        let sum = t.build(|g| g.add(Op::ScatterAdd { axis: word, keep: vec![] }, &[at, picked]));
        t.yields("sum", sum, &[word]);
        match t.run() {
            Err(ExecError::OutOfRange { axis, position, size, .. }) => {
                assert_eq!((axis.as_str(), position, size), ("word", i64::from(bad), 3))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_row_that_is_masked_altogether_has_softmax_zero() {
    let low = f64::NEG_INFINITY;
    let mut t = Bench::new();
    let (r, c) = (t.axis("row", 2), t.axis("column", 2));
    let a = t.float("a", &[r, c], &[low, low, 0.0, low]);
    let s = t.build(|g| g.add(Op::Softmax(vec![c]), &[a]));
    let l = t.build(|g| g.add(Op::LogSumExp(vec![c]), &[a]));
    t.yields("l", l, &[r]);
    assert_eq!(t.answer(s, &[r, c]), [0.0, 0.0, 1.0, 0.0]);
    assert_eq!(t.run().unwrap()["l"].to_f64(), [low, 0.0]);
}

#[test]
fn softmax_survives_large_scores() {
    let mut t = Bench::new();
    let c = t.axis("column", 2);
    let a = t.float("a", &[c], &[1000.0, 1000.0]);
    let s = t.build(|g| g.add(Op::Softmax(vec![c]), &[a]));
    let l = t.build(|g| g.add(Op::LogSumExp(vec![c]), &[a]));
    t.yields("l", l, &[]);
    close(&t.answer(s, &[c]), &[0.5, 0.5]);
    close(&t.run().unwrap()["l"].to_f64(), &[1000.0 + 2f64.ln()]);
}

#[test]
fn attend_is_softmax_of_scaled_masked_scores() {
    let mut t = Bench::new();
    let (q, s, k, v) = (t.axis("query", 2), t.axis("source", 2), t.axis("key", 1), t.axis("value", 1));
    let qv = t.float("q", &[q, k], &[1.0, 2.0]);
    let kv = t.float("k", &[s, k], &[3.0, 5.0]);
    let vv = t.float("v", &[s, v], &[10.0, 20.0]);
    let attention = Attention { query: q, source: s, key: k, value: v, scale: 0.5, causal: Some(0) };
    let parts = t.build(|g| g.add_many(Op::Attend(attention), &[qv, kv, vv]));
    t.yields("lse", parts[1], &[q]);
    let (a, b) = (3f64.exp(), 5f64.exp());
    close(&t.answer(parts[0], &[q, v]), &[10.0, (10.0 * a + 20.0 * b) / (a + b)]);
    close(&t.run().unwrap()["lse"].to_f64(), &[1.5, (a + b).ln()]);
}

#[test]
fn a_query_that_sees_nothing_attends_to_nothing() {
    let mut t = Bench::new();
    let (q, s, k, v) = (t.axis("query", 2), t.axis("source", 2), t.axis("key", 1), t.axis("value", 1));
    let qv = t.float("q", &[q, k], &[1.0, 2.0]);
    let kv = t.float("k", &[s, k], &[3.0, 5.0]);
    let vv = t.float("v", &[s, v], &[10.0, 20.0]);
    let attention = Attention { query: q, source: s, key: k, value: v, scale: 1.0, causal: Some(-1) };
    let parts = t.build(|g| g.add_many(Op::Attend(attention.clone()), &[qv, kv, vv]));
    let one = t.float("g", &[q, v], &[1.0, 1.0]);
    let grads = t.build(|g| g.add_many(Op::AttendGrad(attention), &[qv, kv, vv, parts[0], parts[1], one]));
    t.yields("dv", grads[2], &[s, v]);
    t.yields("dq", grads[0], &[q, k]);
    assert_eq!(t.answer(parts[0], &[q, v]), [0.0, 10.0]);
    let out = t.run().unwrap();
    assert_eq!(out["dv"].to_f64(), [1.0, 0.0]);
    assert_eq!(out["dq"].to_f64(), [0.0, 0.0]);
}

/// carry' = carry + x\[n\] * w; collected: carry'.
fn running_sum(t: &mut Bench, n: AxisId, reverse: bool, inputs: &[Value]) -> Vec<Value> {
    t.build(|g| {
        let mut body = Builder::new(g.axes);
        let scalar = Ty::scalar(F);
        let args: Vec<Value> = (0..3).map(|i| body.add_as(Op::Argument(i), &[], Some(&scalar))).collect();
        let product = body.map(MapFn::Mul, &[args[1], args[2]]);
        let next = body.map(MapFn::Add, &[args[0], product]);
        body.region.results = vec![next, next];
        let region = body.region;
        g.repeat(Loop { kind: LoopKind::Scan, axis: n, reverse, carries: 1, stacked: 1, body: region }, inputs)
    })
}

#[test]
fn a_loop_carries_and_collects_in_either_direction() {
    for (reverse, collected) in [(false, [2.0, 6.0, 12.0]), (true, [12.0, 10.0, 6.0])] {
        let mut t = Bench::new();
        let n = t.axis("n", 3);
        let start = t.build(|g| g.float(0.0, F));
        let (x, w) = (t.float("x", &[n], &[1.0, 2.0, 3.0]), t.float("w", &[], &[2.0]));
        let out = running_sum(&mut t, n, reverse, &[start, x, w]);
        t.yields("all", out[1], &[n]);
        assert_eq!(t.answer(out[0], &[]), [12.0]);
        assert_eq!(t.run().unwrap()["all"].to_f64(), collected);
    }
}

#[test]
fn random_numbers_depend_on_step_and_input_but_not_on_the_element_type() {
    let mut t = Bench::new();
    let n = t.axis("n", 5);
    let random = Op::Random(Random { distribution: Distribution::Uniform, site: 9, order: vec![n] });
    let draw = |t: &mut Bench, dtype, input: i32| {
        let random = random.clone();
        let ty = Ty::new(dtype, Shape::of([n]));
        t.build(|g| {
            let input = g.int(input);
            g.add_as(random, &[input], Some(&ty))
        })
    };
    let single = draw(&mut t, DType::F32, 0);
    let double = draw(&mut t, DType::F64, 0);
    let other = draw(&mut t, DType::F64, 1);
    t.yields("single", single, &[n]);
    t.yields("double", double, &[n]);
    t.yields("other", other, &[n]);
    let a = t.run().unwrap();
    let b = evaluate(&t.graph(), &t.inputs, &mut Store::default(), Draw { seed: 1, step: 3 }).unwrap();
    assert_eq!(a["single"].to_f64(), a["double"].to_f64());
    assert_ne!(a["double"].to_f64(), a["other"].to_f64());
    assert_ne!(a["double"].to_f64(), b["double"].to_f64());
}

#[test]
fn updates_are_written_after_the_run() {
    let mut t = Bench::new();
    let n = t.axis("n", 2);
    let port = Port { name: "w".into(), order: vec![n] };
    let ty = Ty::new(F, Shape::of([n]));
    let w = t.build(|g| g.add_as(Op::Param(port.clone()), &[], Some(&ty)));
    let one = t.build(|g| g.float(1.0, F));
    let next = t.build(|g| g.map(MapFn::Add, &[w, one]));
    t.yields("old", w, &[n]);
    t.outputs.push(Output { port, value: next, update: true });
    let mut store = Store::default();
    store.tensors.insert("w".into(), Tensor { dims: t.dims(&[n]), data: Data::F64(vec![1.0, 2.0]) });
    let mut program = Interpreter.compile(&t.graph(), &Options::default()).unwrap();
    program.run(&mut store, &Bindings::new(), Draw::default()).unwrap();
    program.run(&mut store, &Bindings::new(), Draw::default()).unwrap();
    assert_eq!(store.tensors["w"].to_f64(), [3.0, 4.0]);
    assert_eq!(program.output("old").unwrap().to_f64(), [2.0, 3.0]);
    assert!(program.output("w").is_none());
}

#[test]
fn a_missing_or_ill_shaped_tensor_names_both_sides() {
    let mut t = Bench::new();
    let (r, c) = (t.axis("row", 2), t.axis("column", 2));
    let a = t.float("a", &[r, c], &[0.0; 4]);
    t.yields("a", a, &[r, c]);
    let message = |inputs: &Bindings| evaluate(&t.graph(), inputs, &mut Store::default(), Draw::default()).unwrap_err().to_string();
    assert_eq!(message(&Bindings::new()), "no tensor for `a`, which has dims [row: 2, column: 2]");
    let swapped = Tensor::zeros(F, t.dims(&[c, r]));
    assert_eq!(
        message(&Bindings::from([("a".into(), swapped)])),
        "`a` is f64 [row: 2, column: 2]; the tensor given is f64 [column: 2, row: 2]"
    );
    let whole = Tensor::zeros(DType::I32, t.dims(&[r, c]));
    assert_eq!(
        message(&Bindings::from([("a".into(), whole)])),
        "`a` is f64 [row: 2, column: 2]; the tensor given is i32 [row: 2, column: 2]"
    );
    let short = Tensor { dims: t.dims(&[r, c]), data: Data::F64(vec![0.0; 3]) };
    assert!(message(&Bindings::from([("a".into(), short)])).contains("with 3 elements"));
}
