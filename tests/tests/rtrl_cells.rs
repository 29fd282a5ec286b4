//! Every cell of the standard library: real-time recurrent learning is backpropagation through time where it is admitted, at lengths 1 to
//! 64 in double precision, and a cell that is refused is refused for units that mix.

use ogive_graph::autodiff::GradError;
use ogive_graph::autodiff::reverse::vjp_by;
use ogive_graph::pipeline::{self, Scans};
use ogive_graph::text::print_plain;
use ogive_graph::{DType, Graph, Op, Output, Port, Value};
use ogive_lang::hir::experiment::Gradient;
use ogive_lang::lower::{self, Lowered, Options};
use ogive_lang::syntax::{Block, BlockKind, ExprKind, Item, PortType};
use ogive_lang::{NoImports, Settings, Spec, elaborate};
use ogive_runtime::init::{Init, Kind};
use ogive_runtime::{Backend, Bindings, Dim, Draw, Interpreter, Store, Tensor};
use std::collections::BTreeMap;

/// Cells whose units read each other.
const MIX: &[&str] = &[
    "delta",
    "delta_lstm",
    "delta_rnn",
    "delta_rule",
    "gated_delta_rule",
    "gru",
    "least_squares",
    "lstm",
    "memory",
    "orthogonal_direction",
    "recurrent_delta_rule",
    "srwm",
];
/// Of those, cells whose inputs reach states by products with what else moves: what they are good for is to be refused.
const INEXACT: &[&str] = &["delta_lstm", "delta_rnn", "orthogonal_direction"];
/// Cells whose states are signs, which have no derivative.
const SIGNS: &[&str] = &["hopfield_turns"];
/// Inputs of cells without parameters whose scale is learned exactly: they reach states by no product with what else moves.
const EXACT: &[(&str, &[&str])] = &[
    ("delta", &["content", "strength"]),
    ("delta_rule", &["q", "v", "beta"]),
    ("delta_lstm", &["z"]),
    ("delta_rnn", &["v"]),
    ("gated_delta_rule", &["q", "v", "beta"]),
    ("hebb", &["write", "content", "strength"]),
    ("least_squares", &["content"]),
    ("memory", &["content", "cue", "strength"]),
    ("normalised_sum_rule", &["q", "k", "v"]),
    ("oja", &["write", "content", "strength"]),
    ("orthogonal_direction", &["g"]),
    ("sparse_write", &["content"]),
    ("sum_rule", &["q", "k", "v"]),
];
const LENGTHS: [u64; 7] = [1, 2, 3, 7, 16, 33, 64];

type Rows = BTreeMap<String, Vec<f64>>;

fn cells() -> Vec<(String, Block)> {
    let spec = Spec::load("nothing.arch", String::new(), &NoImports).0;
    let all = spec.visible(spec.root).filter_map(|(name, id)| match spec.item(id) {
        Item::Block(b) if b.kind == BlockKind::Cell => Some((name.to_owned(), b.clone())),
        _ => None,
    });
    all.filter(|(name, _)| !SIGNS.contains(&name.as_str())).collect()
}

/// A block that scans the cell over inputs, those of [`EXACT`] scaled by parameters.
fn around(cell: &Block) -> String {
    let name = &cell.name.name;
    let dims: Vec<String> = cell.dims.iter().filter(|d| d.default.is_none()).map(|d| d.name.name.clone()).collect();
    let scaled = EXACT.iter().find(|e| e.0 == name).map_or(&[][..], |e| e.1);
    let (mut given, mut params, mut ports, mut taken) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for port in &cell.inputs {
        let PortType::Tensor(ty) = &port.ty else { continue };
        if port.default.is_some() {
            continue;
        }
        let own: Vec<&str> = ty.dims.iter().map(|d| d.name.as_str()).collect();
        taken.extend(own.iter().map(|d| (*d).to_owned()));
        let at = &port.name.name;
        let with = |first: &str| std::iter::once(first).chain(own.iter().copied()).collect::<Vec<_>>().join(", ");
        ports.push(format!("{at}: [{}]", with("seq")));
        if scaled.contains(&at.as_str()) {
            params.push(format!("  param P_{at}: [{}] ~ normal(1)", own.join(", ")));
            given.push(format!("{at} * P_{at}"));
        } else {
            given.push(at.clone());
        }
    }
    let outputs: Vec<&str> = cell.outputs.iter().map(|o| o.name.name.as_str()).collect();
    let results: Vec<String> = cell
        .outputs
        .iter()
        .map(|o| {
            let own = o.ty.dims.iter().map(|d| d.name.as_str());
            format!("{}_all: [{}]", o.name.name, std::iter::once("seq").chain(own).collect::<Vec<_>>().join(", "))
        })
        .collect();
    let left: Vec<String> = outputs.iter().map(|o| format!("{o}_all")).collect();
    let left = if left.len() == 1 { left[0].clone() } else { format!("({})", left.join(", ")) };
    let mut dims: Vec<String> = dims.iter().map(|d| format!("{d} = {}", if d == "unit" { 3 } else { 2 })).collect();
    for dim in cell.dims.iter().filter(|d| taken.contains(&d.name.name)) {
        if let Some(ExprKind::Number(size)) = dim.default.as_ref().map(|e| &e.kind) {
            dims.push(format!("{} = {size}", dim.name.name));
        }
    }
    let open = cell.dims.iter().filter(|d| d.default.is_none() && !taken.contains(&d.name.name));
    let sizes: Vec<String> = open.map(|d| format!("{0}: {0}", d.name.name)).collect();
    let used: Vec<String> = given.into_iter().chain(sizes).collect();
    format!(
        "block around[seq, {}]({}) -> {} {{\n{}\n  {left} = scan {name}({}) along seq\n}}\n",
        dims.join(", "),
        ports.join(", "),
        results.join(", "),
        params.join("\n"),
        used.join(", ")
    )
}

fn lowered(text: &str, length: u64) -> Lowered {
    let (spec, found) = Spec::load("spec.arch", text.to_owned(), &NoImports);
    assert!(!found.has_errors(), "{text}\n{:?}", found.list);
    let settings = Settings { dims: [("seq".to_owned(), length)].into(), ..Settings::default() };
    let (program, found) = elaborate::block(&spec, "around", &settings);
    let program = program.unwrap_or_else(|| panic!("{text}\n{:?}", found.list));
    lower::program(&program, &Options { dtype: DType::F64, batch: Some(2), ..Options::default() })
}

/// Cotangents of all parameters for given cotangents of the outputs.
fn gradients(lowered: &Lowered, gradient: Gradient) -> Result<Graph, GradError> {
    let mut graph = gradient.prepare(&lowered.graph, Scans::PLAIN, true).unwrap_or_else(|f| panic!("{f}"));
    let outputs = graph.outputs.clone();
    let mut seeds = Vec::new();
    for out in &outputs {
        let ty = graph.region.ty(out.value).clone();
        let op = Op::Input(Port { name: format!("cotangent.{}", out.port.name), order: out.port.order.clone() });
        let seed = graph.region.push(ogive_graph::Node { op, inputs: Default::default(), ty, origin: Default::default() });
        seeds.push((out.value, seed));
    }
    let reads: Vec<(Port, Value)> = (graph.region.nodes.iter().zip(0..))
        .filter_map(|(n, i)| if let Op::Param(port) = &n.op { Some((port.clone(), Value(i))) } else { None })
        .collect();
    let wrt: Vec<Value> = reads.iter().map(|r| r.1).collect();
    let found = vjp_by(&graph, &seeds, &wrt, gradient.learning())?;
    let mut graph = found.graph;
    graph.outputs.clear();
    for ((port, _), cotangent) in reads.into_iter().zip(found.cotangents) {
        let value = cotangent.unwrap_or_else(|| panic!("no gradient of {}", port.name));
        graph.outputs.push(Output { port, value, update: false });
    }
    Ok(graph)
}

fn noise(name: &str, dims: &[lower::Dim]) -> Tensor {
    let dims = dims.iter().map(|d| Dim { name: d.name.clone(), size: d.size as usize }).collect();
    Init::new(Kind::Normal { std: 0.5 }).fill(name, dims, 4).cast(DType::F64)
}

fn run(lowered: &Lowered, graph: &Graph) -> Rows {
    let mut store = Store { tensors: lowered.params.iter().map(|p| (p.name.clone(), noise(&p.name, &p.dims))).collect() };
    let mut inputs: Bindings = lowered.inputs.iter().map(|i| (i.name.clone(), noise(&i.name, &i.dims))).collect();
    for out in &lowered.outputs {
        let name = format!("cotangent.{}", out.name);
        inputs.insert(name.clone(), noise(&name, &out.dims));
    }
    let mut program = Interpreter.compile(graph, &Default::default()).expect("compiles");
    program.run(&mut store, &inputs, Draw { seed: 1, step: 1 }).unwrap_or_else(|e| panic!("{e}"));
    graph.outputs.iter().map(|o| (o.port.name.clone(), program.output(&o.port.name).expect("an output").to_f64())).collect()
}

#[test]
fn sensitivities_give_what_backpropagation_gives() {
    let rtrl: Gradient = "rtrl".parse().expect("a rule");
    let full: Gradient = "rtrl(full)".parse().expect("a rule");
    let cells = cells();
    assert!(cells.len() >= 18, "{}", cells.len());
    let mut in_chunks = 0;
    for (name, cell) in cells.iter().filter(|c| !INEXACT.contains(&c.0.as_str())) {
        let text = around(cell);
        let mixes = MIX.contains(&name.as_str());
        // Few enough units count as a block; refusal shows at a size above that.
        for length in LENGTHS.into_iter().filter(|l| !mixes || *l <= 7) {
            let lowered = lowered(&text, length);
            let back = gradients(&lowered, Gradient::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
            let ahead = gradients(&lowered, if mixes { full } else { rtrl }).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
            // As the compiler leaves it, with sensitivities brought forward many steps at a time.
            let (passed, _) = pipeline::run(&ahead, &pipeline::eager(), true).unwrap_or_else(|f| panic!("{name} of {length}: {f}"));
            in_chunks += usize::from(print_plain(&passed).contains("scan along chunk"));
            let (back, ahead, passed) = (run(&lowered, &back), run(&lowered, &ahead), run(&lowered, &passed));
            assert!(!back.is_empty(), "{name} has nothing to learn");
            for (param, expected) in &back {
                let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
                let worst = |found: &[f64]| expected.iter().zip(found).fold(0.0f64, |m, (x, y)| m.max((x - y).abs()));
                let (by_rule, compiled) = (worst(&ahead[param]), worst(&passed[param]));
                assert!(by_rule < 1e-10 * scale, "{name} of {length}: {param} differs by {by_rule:e} of {scale:e}");
                assert!(compiled < 1e-10 * scale, "{name} of {length}, compiled: {param} differs by {compiled:e} of {scale:e}");
            }
        }
    }
    assert!(in_chunks >= 20, "{in_chunks}");
}

/// Where units do not mix, the influence of one step is all there is.
#[test]
fn the_influence_of_one_step_is_exact_where_units_are_apart() {
    let (exact, snap): (Gradient, Gradient) = ("rtrl".parse().expect("a rule"), "rtrl(snap: 1)".parse().expect("a rule"));
    for (name, cell) in cells().iter().filter(|c| !MIX.contains(&c.0.as_str())) {
        let lowered = lowered(&around(cell), 9);
        let [exact, snap] = [exact, snap].map(|rule| run(&lowered, &gradients(&lowered, rule).unwrap_or_else(|e| panic!("{name}: {e}"))));
        for (param, expected) in &exact {
            let worst = expected.iter().zip(&snap[param]).fold(0.0f64, |m, (x, y)| m.max((x - y).abs()));
            assert!(worst < 1e-12, "{name}: {param} differs by {worst:e}");
        }
    }
}

/// Of a dense recurrence: sensitivities of the unit that a weight leads to, by hand.
#[test]
fn the_influence_of_one_step_of_a_dense_recurrence() {
    const SPEC: &str = "\
cell dense[in, unit](x: [in]) -> h: [unit] {
  param W: [in, unit]
  param R: [unit, after]
  state h: [unit] = 0
  h = tanh(x @in W + (prev h @unit R)[after as unit])
}
block around[seq, in = 2, unit = 5](x: [seq, in]) -> y: [seq, unit] {
  y = scan dense(x, unit: unit) along seq
}
";
    let (batch, steps, width, units) = (2, 7, 2, 5);
    let lowered = lowered(SPEC, steps as u64);
    let rule: Gradient = "rtrl(snap: 1)".parse().expect("a rule");
    let found = run(&lowered, &gradients(&lowered, rule).unwrap_or_else(|e| panic!("{e}")));
    let param = |name: &str| {
        let param = lowered.params.iter().find(|p| p.name.ends_with(name)).expect("a parameter");
        (param.name.clone(), noise(&param.name, &param.dims).to_f64())
    };
    let ((w_name, w), (r_name, r)) = (param("W"), param("R"));
    let x = noise("x", &lowered.inputs[0].dims).to_f64();
    let cotangent = noise("cotangent.y", &lowered.outputs[0].dims).to_f64();
    let (mut by_w, mut by_r) = (vec![0.0; width * units], vec![0.0; units * units]);
    for n in 0..batch {
        let mut h = vec![0.0; units];
        let (mut s_w, mut s_r) = (vec![0.0; width * units], vec![0.0; units * units]);
        for t in 0..steps {
            let given = |i: usize| x[(n * steps + t) * width + i];
            let drive = |u: usize| {
                (0..width).map(|i| given(i) * w[i * units + u]).sum::<f64>() + (0..units).map(|v| h[v] * r[v * units + u]).sum::<f64>()
            };
            let new: Vec<f64> = (0..units).map(|u| drive(u).tanh()).collect();
            let wanted = |u: usize| cotangent[(n * steps + t) * units + u];
            let slope: Vec<f64> = new.iter().map(|h| 1.0 - h * h).collect();
            // Within the step the cotangent of the old state is the whole one; before it, each sensitivity stays with its unit.
            let back: Vec<f64> = (0..units).map(|v| (0..units).map(|u| wanted(u) * slope[u] * r[v * units + u]).sum()).collect();
            for u in 0..units {
                for i in 0..width {
                    by_w[i * units + u] += wanted(u) * slope[u] * given(i) + back[u] * s_w[i * units + u];
                    s_w[i * units + u] = slope[u] * (r[u * units + u] * s_w[i * units + u] + given(i));
                }
                for v in 0..units {
                    by_r[v * units + u] += wanted(u) * slope[u] * h[v] + back[u] * s_r[v * units + u];
                    s_r[v * units + u] = slope[u] * (r[u * units + u] * s_r[v * units + u] + h[v]);
                }
            }
            h = new;
        }
    }
    for (name, expected) in [(w_name, by_w), (r_name, by_r)] {
        let worst = expected.iter().zip(&found[&name]).fold(0.0f64, |m, (x, y)| m.max((x - y).abs()));
        assert!(worst < 1e-12, "{name} differs by {worst:e}: {expected:?} {:?}", found[&name]);
    }
}

#[test]
fn cells_whose_units_read_each_other_are_refused() {
    let rtrl: Gradient = "rtrl".parse().expect("a rule");
    for (name, cell) in cells() {
        let text = around(&cell).replace(" = 2", " = 6").replace(" = 3", " = 6");
        let refused = gradients(&lowered(&text, 5), rtrl).err();
        let mixes = matches!(refused, Some(GradError::Mixes(_)));
        assert_eq!(mixes, MIX.contains(&name.as_str()), "{name}: {refused:?}");
    }
}
