//! Learning online, in double precision and with weights that do not move: gradients of segments, with states and sensitivities carried
//! over, sum to those of the whole.

use ogive_graph::autodiff::reverse::gradients_by;
use ogive_graph::autodiff::rtrl;
use ogive_graph::pipeline::Scans;
use ogive_graph::stream::{RESET, STATES};
use ogive_graph::{DType, Graph, Op, Output, Port, Value};
use ogive_lang::hir::experiment::Gradient;
use ogive_lang::lower::{self, Options, Parameter};
use ogive_lang::{NoImports, Settings, Spec, elaborate};
use ogive_runtime::init::{Init, Kind};
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, Interpreter, Store, Tensor, ports};
use std::collections::BTreeMap;

const BATCH: u64 = 2;
const VOCAB: u64 = 5;

type Rows = BTreeMap<String, Vec<f64>>;

/// An experiment on tokens with a scan of `cell` in the model `body`, which gives `h: [seq, unit]`.
fn spec(body: &str, more: &str) -> String {
    format!(
        "{more}
model tiny[seq, symbol, unit = 3](tokens: [seq] in symbol) -> logits: [seq, symbol] {{
  param out: [unit, symbol] ~ normal(0.7)
  x      = one_hot(tokens)
{body}
  logits = h @unit out
}}
experiment first {{
  model      tiny
  data       text(webster, tokenizer: bytes, context: 16)
  loss       cross_entropy(logits, next(tokens), over: symbol)
  optimizer  adam(lr: 1e-3)
  budget     steps: 10, batch: {BATCH}
}}
"
    )
}

/// The graph of so many positions, and its parameters.
fn lowered(text: &str, context: u64) -> (Graph, Vec<Parameter>) {
    let (spec, found) = Spec::load("spec.arch", text.to_owned(), &NoImports);
    assert!(!found.has_errors(), "{:?}", found.list);
    let dims = [("context", context), ("vocab", VOCAB), ("batch", BATCH)].map(|(n, s)| (n.to_owned(), s)).into();
    let (made, found) = elaborate::experiment(&spec, "first", &Settings { dims, training: true, ..Settings::default() });
    let made = made.unwrap_or_else(|| panic!("{:?}", found.list));
    let options = Options { dtype: DType::F64, batch: Some(BATCH), ..Options::default() };
    let all = lower::experiment(&made, &options);
    (all.graph, all.params)
}

fn store(params: &[Parameter]) -> Store {
    let mut store = Store::default();
    for param in params {
        let dims: Vec<Dim> = param.dims.iter().map(|d| Dim { name: d.name.clone(), size: d.size as usize }).collect();
        let tensor = Init::new(Kind::Normal { std: 0.6 }).fill(&param.name, dims, 3).cast(DType::F64);
        store.tensors.insert(param.name.clone(), tensor);
    }
    store
}

fn token(row: u64, at: u64) -> i32 {
    ((row * 7 + at * at * 3 + at * 5 + 1) % VOCAB) as i32
}

/// Tokens from `from` on, with resets at the places of `begins`.
fn inputs(from: u64, count: u64, begins: &[u64]) -> Bindings {
    let dims = || vec![Dim { name: "batch".into(), size: BATCH as usize }, Dim { name: "seq".into(), size: count as usize }];
    let all =
        |f: &dyn Fn(u64, u64) -> i32| (0..BATCH).flat_map(|r| (from..from + count).map(move |t| (r, t))).map(|(r, t)| f(r, t)).collect();
    let reset = (0..BATCH).flat_map(|_| (from..from + count).map(|t| u8::from(begins.contains(&t)))).collect();
    Bindings::from([
        ("tokens".to_owned(), Tensor { dims: dims(), data: Data::I32(all(&token)) }),
        ("next.tokens".to_owned(), Tensor { dims: dims(), data: Data::I32(all(&|r, t| token(r, t + 1))) }),
        (RESET.to_owned(), Tensor { dims: dims(), data: Data::Bool(reset) }),
    ])
}

/// The graph that gives gradients of its loss and updates what is kept; what is kept is put into the store as noise.
fn with_gradients(graph: &Graph, params: &[Parameter], gradient: Gradient, stream: bool, store: &mut Store) -> Graph {
    let graph = gradient.prepare(graph, Scans::PLAIN, true).unwrap_or_else(|f| panic!("{f}"));
    let loss = graph.outputs.iter().find(|o| o.port.name == "loss").map(|o| o.value).expect("a loss");
    let named = |n: &ogive_graph::Node| match &n.op {
        Op::Param(port) if params.iter().any(|p| p.name == port.name) => Some(port.clone()),
        _ => None,
    };
    let reads: Vec<(Port, Value)> = graph.region.nodes.iter().zip(0..).filter_map(|(n, i)| Some((named(n)?, Value(i)))).collect();
    let wrt: Vec<Value> = reads.iter().map(|r| r.1).collect();
    let found = gradients_by(&graph, loss, &wrt, gradient.learning_of(stream)).unwrap_or_else(|e| panic!("{e}"));
    let mut graph = found.graph;
    for ((port, _), cotangent) in reads.iter().zip(&found.cotangents) {
        let value = cotangent.unwrap_or_else(|| panic!("no gradient of {}", port.name));
        graph.outputs.push(Output { port: Port { name: format!("grad.{}", port.name), ..port.clone() }, value, update: false });
    }
    for (place, sensitivity) in found.sensitivities.iter().enumerate() {
        let name = rtrl::kept(place);
        let port = graph.region.nodes.iter().find_map(|n| match &n.op {
            Op::Param(port) if port.name == name => Some(port.clone()),
            _ => None,
        });
        graph.outputs.push(Output { port: port.expect("it is read"), value: sensitivity.last, update: true });
    }
    ogive_graph::verify::verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
    // The first segment must not read what is there.
    for out in graph.outputs.iter().filter(|o| o.update) {
        assert!(out.port.name.starts_with(STATES) || out.port.name.starts_with(rtrl::SENSITIVITIES));
        let dims = ports::dims(&out.port, &graph.axes);
        store.tensors.insert(out.port.name.clone(), Init::new(Kind::Normal { std: 2.0 }).fill(&out.port.name, dims, 9).cast(DType::F64));
    }
    graph
}

fn run(graph: &Graph, store: &mut Store, each: &[Bindings]) -> Vec<Rows> {
    let mut program = Interpreter.compile(graph, &Default::default()).expect("compiles");
    let mut all = Vec::new();
    for inputs in each {
        program.run(store, inputs, Draw { seed: 1, step: 1 }).unwrap_or_else(|e| panic!("{e}"));
        let names = graph.outputs.iter().filter(|o| !o.update).map(|o| o.port.name.clone());
        all.push(names.map(|n| (n.clone(), program.output(&n).expect("an output").to_f64())).collect());
    }
    all
}

/// Loss and gradients of a whole sequence from its start.
fn whole(text: &str, gradient: Gradient, from: u64, count: u64) -> Rows {
    let (graph, params) = lowered(text, count);
    let mut store = store(&params);
    let graph = with_gradients(&graph, &params, gradient, false, &mut store);
    run(&graph, &mut store, &[inputs(from, count, &[])]).remove(0)
}

/// The mean over segments of losses and gradients.
fn online(text: &str, gradient: Gradient, segment: u64, count: u64, begins: &[u64]) -> Rows {
    let (graph, params) = lowered(text, segment);
    let axis = |name: &str| ogive_graph::AxisId(graph.axes.iter().position(|a| a.name == name).expect("an axis") as u32);
    let graph = gradient.segments(&graph, axis("batch"), axis("seq")).unwrap_or_else(|o| panic!("{}", o.what)).graph;
    let mut store = store(&params);
    let graph = with_gradients(&graph, &params, gradient, true, &mut store);
    let many = count / segment;
    assert_eq!(many * segment, count);
    let each: Vec<Bindings> = (0..many).map(|i| inputs(i * segment, segment, begins)).collect();
    let rows = run(&graph, &mut store, &each);
    weighted(&rows.into_iter().map(|r| (r, 1.0 / many as f64)).collect::<Vec<_>>())
}

fn weighted(parts: &[(Rows, f64)]) -> Rows {
    let mut all = Rows::new();
    for (rows, weight) in parts {
        for (name, values) in rows {
            let sum = all.entry(name.clone()).or_insert_with(|| vec![0.0; values.len()]);
            sum.iter_mut().zip(values).for_each(|(s, v)| *s += weight * v);
        }
    }
    all
}

#[track_caller]
fn same(a: &Rows, b: &Rows, what: &str) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, x) in a {
        let scale = x.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
        let worst = x.iter().zip(&b[name]).fold(0.0f64, |m, (x, y)| m.max((x - y).abs()));
        assert!(worst < 1e-10 * scale.max(1.0), "{what}: {name} differs by {worst:e} of {scale:e}");
        assert!(name == "loss" || x.iter().any(|x| x.abs() > 1e-9), "{what}: {name} is zero");
    }
}

const CELLS: [(&str, &str); 4] = [
    ("elstm", "  h      = scan elstm(x[symbol as in], unit: unit) along seq"),
    ("indrnn", "  h      = scan indrnn(x[symbol as in], unit: unit) along seq"),
    ("real_lru", "  h      = scan real_lru(x[symbol as in], unit: unit) along seq"),
    ("lru", "  (re, im) = scan lru(x[symbol as in], unit: unit) along seq\n  h      = tanh(re) * im + re"),
];

fn rule(text: &str) -> Gradient {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn segments_of_any_length_sum_to_backpropagation_through_the_whole() {
    for (name, body) in CELLS {
        let text = spec(body, "");
        let expected = whole(&text, Gradient::default(), 0, 12);
        for segment in [1, 3, 4, 12] {
            same(&expected, &online(&text, rule("rtrl"), segment, 12, &[0]), &format!("{name} by {segment}"));
        }
    }
}

#[test]
fn a_reset_begins_anew_wherever_it_stands() {
    let learned = "cell begun[in, unit](x: [in]) -> h: [unit] {
  param W: [in, unit]
  param r: [unit]
  state h: [unit] = param ~ normal(1)
  h = tanh(x @in W + r * prev h)
}
";
    let begun = ("a learned start", "  h      = scan begun(x[symbol as in], unit: unit) along seq");
    for (name, body) in CELLS.into_iter().chain([begun]) {
        let text = spec(body, learned);
        let parts = [(0, 5), (5, 1), (6, 6)].map(|(from, count)| (whole(&text, Gradient::default(), from, count), count as f64 / 12.0));
        let expected = weighted(&parts);
        for segment in [1, 4, 12] {
            same(&expected, &online(&text, rule("rtrl"), segment, 12, &[0, 5, 6]), &format!("{name} by {segment}"));
        }
        same(&expected, &online(&text, Gradient::default(), 12, 12, &[0, 5, 6]), name);
    }
}

#[test]
fn backpropagation_of_segments_is_truncated_backpropagation() {
    let dense = ("lstm", "  h      = scan lstm(x[symbol as in], unit: unit) along seq");
    for (name, body) in CELLS.into_iter().chain([dense]) {
        let text = spec(body, "");
        for segment in [1, 4, 6] {
            let expected = whole(&text, Gradient::Bptt { truncate: Some(segment) }, 0, 12);
            same(&expected, &online(&text, Gradient::default(), segment, 12, &[0]), &format!("{name} by {segment}"));
            let shorter = Gradient::Bptt { truncate: Some(2) };
            if segment == 6 {
                same(&whole(&text, shorter, 0, 12), &online(&text, shorter, segment, 12, &[0]), name);
            }
        }
    }
}

#[test]
fn units_that_mix_are_carried_with_all_that_they_have() {
    let text = spec("  h      = scan lstm(x[symbol as in], unit: unit) along seq", "");
    let expected = whole(&text, Gradient::default(), 0, 12);
    same(&expected, &online(&text, rule("rtrl(full)"), 3, 12, &[0]), "lstm");
}

/// Two layers, by two calls and by a `stack`; the upper one looks back through `back`.
fn two_layers(stacked: bool, back: &str) -> String {
    let cell = format!(
        "cell each[in, unit](x: [in]) -> h: [unit] {{
  param W: [in, unit]
  param r: [unit]
  state h: [unit] = 0
  h = tanh(x @in W + r * prev h)
}}
cell upper[in, unit](x: [in]) -> h: [unit] {{
  param W: [in, unit]
  param r: [unit]
  state h: [unit] = 0
  h = tanh(x @in W + r * {back})
}}
block layer[seq, unit](x: [seq, unit]) -> h: [seq, unit] {{
  h = scan upper(x[unit as in], unit: unit) along seq
}}
"
    );
    let body = if stacked {
        "  param into: [symbol, unit] ~ normal(1)\n  h      = stack 2 of layer(x @symbol into)"
    } else {
        "  low    = scan each(x[symbol as in], unit: unit) along seq\n  h      = layer(low)"
    };
    spec(body, &cell)
}

#[test]
fn a_local_rule_is_exact_for_the_upper_layer_and_sees_the_present_step_of_it_below() {
    let text = two_layers(false, "prev h");
    let local = whole(&text, rule("rtrl(local)"), 0, 9);
    let exact = whole(&text, Gradient::default(), 0, 9);
    // Below, it is the gradient of a model whose upper layer does not learn through its past.
    let cut = whole(&two_layers(false, "stop_gradient(prev h)"), Gradient::default(), 0, 9);
    let (mut above, mut below) = (0, 0);
    for (name, found) in &local {
        let upper = !name.starts_with("grad.each");
        let expected = if upper { &exact } else { &cut };
        let one = |rows: &Rows| Rows::from([(name.clone(), rows[name].clone())]);
        same(&one(expected), &Rows::from([(name.clone(), found.clone())]), name);
        (above, below) = (above + usize::from(upper), below + usize::from(!upper));
        if !upper {
            let apart = found.iter().zip(&exact[name]).any(|(x, y)| (x - y).abs() > 1e-6);
            assert!(apart, "{name}: an approximation");
        }
    }
    assert!(above >= 4 && below == 2, "{:?}", local.keys());
}

#[test]
fn a_local_rule_goes_on_from_segment_to_segment_in_every_layer() {
    for stacked in [false, true] {
        let text = two_layers(stacked, "prev h");
        let expected = whole(&text, rule("rtrl(local)"), 0, 12);
        for segment in [1, 4] {
            same(&expected, &online(&text, rule("rtrl(local)"), segment, 12, &[0]), &format!("stack {stacked} by {segment}"));
        }
    }
}

#[test]
fn shifts_go_on_from_segment_to_segment_and_begin_anew() {
    let body = "  param W: [symbol, unit] ~ normal(1)\n  y      = x @symbol W\n  \
                h      = tanh(y + 0.3 * shift(y, along: seq, by: 1) - 0.5 * shift(y, along: seq, by: 3))";
    let text = spec(body, "");
    let parts = [(0, 5), (5, 1), (6, 6)].map(|(from, count)| (whole(&text, Gradient::default(), from, count), count as f64 / 12.0));
    let expected = weighted(&parts);
    same(&expected, &online(&text, Gradient::default(), 12, 12, &[0, 5, 6]), "at once");
    for segment in [4, 6] {
        // Gradients are those within segments.
        let found = online(&text, Gradient::default(), segment, 12, &[0, 5, 6]);
        let apart = (found["loss"][0] - expected["loss"][0]).abs();
        assert!(apart < 1e-12, "by {segment}: {apart:e}");
    }
    // Learnt forward in time, what a shift still holds has its sensitivities too.
    same(&expected, &online(&text, rule("rtrl"), 4, 12, &[0, 5, 6]), "forward in time");
}

#[test]
fn what_other_positions_are_seen_by_is_refused() {
    let refused = |body: &str| {
        let (graph, _) = lowered(&spec(body, ""), 4);
        let axis = |name: &str| ogive_graph::AxisId(graph.axes.iter().position(|a| a.name == name).expect("an axis") as u32);
        Gradient::default().segments(&graph, axis("batch"), axis("seq")).err().map(|o| o.what)
    };
    let into = "  param W: [symbol, unit] ~ normal(1)\n  y      = x @symbol W\n";
    assert_eq!(refused(&format!("{into}  h      = y")), None);
    assert_eq!(refused(&format!("{into}  h      = y - mean(y, over: unit)")), None);
    assert_eq!(refused(&format!("{into}  h      = scan indrnn(y[unit as in], unit: unit) along seq")), None);
    let back = format!("{into}  h      = scan indrnn(y[unit as in], unit: unit) backward along seq");
    assert_eq!(refused(&back), Some("a scan backward"));
    assert_eq!(refused(&format!("{into}  h      = shift(y, along: seq, by: 1)")), None);
    assert!(refused(&format!("{into}  h      = shift(y, along: seq, by: -1)")).is_some());
    // A segment is shorter than that.
    assert_eq!(refused(&format!("{into}  h      = shift(y, along: seq, by: 4)")), Some("the number of a position"));
    assert!(refused(&format!("{into}  h      = y - mean(y, over: seq)")).is_some());
    assert!(refused(&format!("{into}  h      = y * softmax(y, over: seq)")).is_some());
    assert!(
        refused(&format!("{into}  h      = attend(y[unit as key], y[seq as src, unit as key], y[seq as src], causal: true)")).is_some()
    );
    assert!(refused(&format!("{into}  h      = y * float(index(seq))")).is_some());
}
