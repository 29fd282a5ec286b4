//! One position at a time gives what the whole sequence gives.

use ogive_graph::stream::{self, POSITION, Streamed};
use ogive_graph::{Graph, pipeline};
use ogive_jit::Cpu;
use ogive_lang::{NoImports, Settings, Spec, elaborate, lower};
use ogive_runtime::{Backend, Bindings, Data, Draw, Interpreter, Options, Store, Tensor, ports};
use ogive_train::generate::{Generator, Sampling, Way};

const SEQ: usize = 9;

/// A model of one layer in a stack of two around `mix`, as a graph for one example with f64 parameters where `double`.
fn model(declarations: &str, mix: &str, double: bool) -> (Graph, Vec<lower::Parameter>) {
    let text = format!(
        "{declarations}\nblock layer[seq, model](x: [seq, model]) -> y: [seq, model] {{ y = x + {mix} }}\n\
         model whole[seq = {SEQ}, model = 8, vocab = 5](tokens: [seq] in vocab) -> logits: [seq, vocab] {{\n\
         param embed: [vocab, model] ~ normal(0.5)\n\
         h = stack 2 of layer(embed[tokens])\n\
         logits = layer_norm(h, over: model) @model embed }}"
    );
    let (spec, found) = Spec::load("whole.arch", text, &NoImports);
    assert!(!found.has_errors(), "{:?}", found.list);
    let (program, found) = elaborate::block(&spec, "whole", &Settings::default());
    let program = program.unwrap_or_else(|| panic!("{:?}", found.list));
    let dtype = if double { ogive_graph::DType::F64 } else { ogive_graph::DType::F32 };
    let lowered = lower::program(&program, &lower::Options { batch: Some(1), dtype, taps: false });
    (lowered.graph, lowered.params)
}

fn store(params: &[lower::Parameter], double: bool) -> Store {
    let dtype = if double { ogive_graph::DType::F64 } else { ogive_graph::DType::F32 };
    let mut store = ogive_train::initialise::parameters(params, 3, dtype);
    // Zero biases and gains of one would hide what is read from the wrong place.
    for (k, tensor) in store.tensors.values_mut().enumerate() {
        let shift = |i: usize| 0.1 * ((7 * i + 3 * k) % 11) as f64 / 11.0;
        match &mut tensor.data {
            Data::F32(x) => x.iter_mut().enumerate().for_each(|(i, v)| *v += shift(i) as f32),
            Data::F64(x) => x.iter_mut().enumerate().for_each(|(i, v)| *v += shift(i)),
            _ => {}
        }
    }
    store
}

fn tokens(values: Vec<i32>) -> Tensor {
    let dims = [("batch", 1), ("seq", values.len())].map(|(name, size)| ogive_runtime::Dim { name: name.into(), size });
    Tensor { dims: dims.to_vec(), data: Data::I32(values) }
}

fn streamed(graph: &Graph) -> Result<Streamed, stream::Obstacle> {
    let seq = graph.axes.iter().position(|a| a.name == "seq").expect("a sequence");
    stream::stream(graph, ogive_graph::AxisId(seq as u32))
}

/// Largest difference of the logits, over all positions, between the two ways.
fn difference(graph: &Graph, store: &mut Store, backend: &dyn Backend) -> f64 {
    let options = Options { verify: true, ..Options::default() };
    let compile = |graph: &Graph| {
        let (graph, _) = pipeline::run(graph, pipeline::FORWARD, true).unwrap_or_else(|f| panic!("{f}"));
        backend.compile(&graph, &options).unwrap_or_else(|e| panic!("{e}"))
    };
    let text: Vec<i32> = (0..SEQ as i32).map(|i| (3 * i + 1) % 5).collect();
    let mut whole = compile(graph);
    whole.run(store, &Bindings::from([("tokens".into(), tokens(text.clone()))]), Draw::default()).unwrap_or_else(|e| panic!("{e}"));
    let expected = whole.output("logits").expect("logits").to_f64();
    let found = streamed(graph).unwrap_or_else(|o| panic!("{o:?}"));
    ogive_graph::verify::verify(&found.graph).unwrap_or_else(|e| panic!("{e:?}\n{}", ogive_graph::text::print(&found.graph)));
    for (port, ty) in &found.states {
        store.tensors.insert(port.name.clone(), Tensor::zeros(ty.dtype, ports::dims(port, &found.graph.axes)));
    }
    let mut step = compile(&found.graph);
    let mut most: f64 = 0.0;
    for (t, token) in text.into_iter().enumerate() {
        let position = Tensor::scalar(Data::I32(vec![t as i32]));
        let inputs = Bindings::from([("tokens".into(), tokens(vec![token])), (POSITION.into(), position)]);
        step.run(store, &inputs, Draw::default()).unwrap_or_else(|e| panic!("{e}"));
        let logits = step.output("logits").expect("logits").to_f64();
        assert!(logits.iter().any(|x| x.abs() > 1e-3));
        most = logits.iter().zip(&expected[5 * t..]).map(|(a, b)| (a - b).abs()).fold(most, f64::max);
    }
    most
}

#[track_caller]
fn same(declarations: &str, mix: &str) {
    let (graph, params) = model(declarations, mix, true);
    let apart = difference(&graph, &mut store(&params, true), &Interpreter);
    assert!(apart < 1e-12, "interpreter: {apart:e}");
    let (graph, params) = model(declarations, mix, false);
    let apart = difference(&graph, &mut store(&params, false), &Cpu::default());
    assert!(apart < 1e-5, "compiled: {apart:e}");
}

#[test]
fn attention_keeps_keys_and_values() {
    same("", "self_attention(x, head: 2, causal: true, positions: none)");
    same("", "self_attention(x, head: 2, causal: true, positions: rotary, bias: true)");
    same("", "self_attention(learned_positions(x), head: 2, causal: true, positions: none)");
    same("", "self_attention(sinusoidal_positions(x), head: 2, causal: true, positions: none)");
}

#[test]
fn scans_keep_their_carries() {
    same("", "(scan lstm(x[model as in], unit: 8) along seq)[unit as model]");
    same("", "(scan elstm(x[model as in], unit: 8) along seq)[unit as model]");
    let delta = "block delta[seq, model, key = model, value = model](x: [seq, model]) -> y: [seq, model] {\n\
        param Wk: [model, key]\n param Wv: [model, value]\n param Wb: [model]\n\
        k = unit_norm(x @model Wk, over: key)\n\
        y = (scan delta_rule(k, k, x @model Wv, sigmoid(x @model Wb)) along seq)[value as model] }";
    same(delta, "delta(x)");
}

#[test]
fn shifts_keep_the_last_values() {
    same("", "shift(x, along: seq, by: 1)");
    same("", "shift(x, along: seq, by: 4)");
    let taps = "block taps[seq, model](x: [seq, model]) -> y: [seq, model] {\n\
        param a, b, c: [model] ~ normal(1)\n\
        y = a * x + b * shift(x, along: seq, by: 1) + c * shift(shift(x, along: seq, by: 2), along: seq, by: 1) }";
    same(taps, "taps(x)");
    same(taps, "self_attention(taps(x), head: 2, causal: true, positions: none)");
}

#[test]
fn experts_and_shared_layers_go_with_either() {
    same("", "sigma_moe(self_attention(x, head: 2, causal: true, positions: rotary), expert: 4, width: 8, active: 2)");
    let twice = "block twice[seq, model](x: [seq, model]) -> y: [seq, model] { y = share 3 of one(x) }\n\
        block one[seq, model](x: [seq, model]) -> y: [seq, model] {\n\
        y = x + self_attention(x, head: 2, causal: true, positions: none) }";
    same(twice, "twice(x)");
}

#[test]
fn a_recurrent_model_has_no_end_and_attention_has() {
    let (graph, _) = model("", "(scan lstm(x[model as in], unit: 8) along seq)[unit as model]", false);
    let found = streamed(&graph).expect("it streams");
    assert!(!found.bounded && !found.tables && !found.states.is_empty());
    let (graph, _) = model("", "shift(x, along: seq, by: 2)", false);
    let found = streamed(&graph).expect("it streams");
    assert!(!found.bounded && !found.tables && found.states.len() == 1);
    let (graph, _) = model("", "self_attention(x, head: 2, causal: true, positions: none)", false);
    let found = streamed(&graph).expect("it streams");
    assert!(found.bounded && found.tables);
}

#[test]
fn what_mixes_positions_otherwise_is_named() {
    for (mix, what) in [
        ("mean(x, over: seq)", "a reduction over positions"),
        ("shift(x, along: seq, by: -1)", "a shift of positions"),
        ("(scan lstm(x[model as in], unit: 8) backward along seq)[unit as model]", "a scan backward"),
    ] {
        let (graph, _) = model("", mix, false);
        let obstacle = streamed(&graph).expect_err(mix);
        assert_eq!(obstacle.what, what);
        assert!(obstacle.origin.line > 0);
    }
}

/// Greedy texts from both ways, and the way that was taken at the end.
fn texts(mix: &str, count: u64) -> ([Vec<u32>; 2], Way) {
    let (graph, params) = model("", mix, false);
    let mut store = store(&params, false);
    let greedy = Sampling { temperature: 0.0, top_k: None, top_p: None, seed: 1 };
    let cpu = Cpu::default();
    let made = || Generator::new(&graph, "tokens", "logits", &cpu, &Options::default()).unwrap_or_else(|e| panic!("{e}"));
    let (mut stepwise, mut window) = (made(), made());
    window.use_window();
    assert_eq!(window.way(), Way::Window);
    let mut text =
        |g: &mut Generator<'_>| g.generate(&mut store, &[1, 2, 3], count, &greedy, &mut |_| true).unwrap_or_else(|e| panic!("{e}"));
    let both = [text(&mut stepwise), text(&mut window)];
    (both, stepwise.way())
}

#[test]
fn a_text_is_the_same_from_tables_and_from_the_window_beyond_the_context_too() {
    let ([stepwise, window], way) = texts("self_attention(x, head: 2, causal: true, positions: rotary)", 3 * SEQ as u64);
    assert_eq!((stepwise, way), (window, Way::Tables));
}

#[test]
fn a_text_is_the_same_from_shifts_and_from_the_window() {
    let ([stepwise, window], way) = texts("(shift(x, along: seq, by: 1) - 0.5 * shift(x, along: seq, by: 3))", SEQ as u64 - 3);
    assert_eq!((stepwise, way), (window, Way::Recurrent));
}

#[test]
fn a_model_that_looks_ahead_goes_by_the_window() {
    let ([stepwise, window], way) = texts("self_attention(x, head: 2, causal: false, positions: rotary)", 12);
    assert_eq!((stepwise, way), (window, Way::Window));
}
