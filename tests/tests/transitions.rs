//! What the compiler says of how states move, for every cell of the library and of the papers' specs.

use std::collections::BTreeMap;

use ogive_graph::parallel::{Way, parallel};
use ogive_graph::transition::{self, Class};
use ogive_graph::{DType, Graph, Op, pipeline, text};
use ogive_jit::Cpu;
use ogive_lang::syntax::{BlockKind, Item};
use ogive_lang::{NoImports, Settings, Spec, elaborate, lower};
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, Interpreter, Options, Store, Tensor};
use ogive_tests::check::with_gradients;
use ogive_tests::spec::{files, root};

/// For each cell: a block that scans it, and what is said of its states.
const CELLS: &[(&str, &str, &[&str])] = &[
    ("sum_rule", "q: [t, key], k: [t, key], v: [t, value] -> y: [t, value] = q, k, v", &["identity"]),
    ("normalised_sum_rule", "q: [t, key], k: [t, key], v: [t, value] -> y: [t, value] = q, k, v", &["identity", "identity"]),
    ("delta_rule", "q: [t, key], k: [t, key], v: [t, value], b: [t] -> y: [t, value] = q, k, v, b", &["identity minus rank one over key"]),
    (
        "gated_delta_rule",
        "q: [t, key], k: [t, key], v: [t, value], b: [t], d: [t] -> y: [t, value] = q, k, v, b, d",
        &["decay times identity minus rank one over key"],
    ),
    (
        "recurrent_delta_rule",
        "q: [t, head, key], k: [t, head, key], v: [t, head, value], b: [t, head] -> y: [t, head, value] = q, k, v, b",
        &["not", "not"],
    ),
    (
        "delta_rnn",
        "q: [t, key], k: [t, key], v: [t, value], b: [t], k2: [t, value], v2: [t, value], b2: [t] -> y: [t, value] = q, k, v, b, k2, v2, b2",
        &["identity minus rank one over key", "identity minus rank one over value", "not"],
    ),
    ("srwm", "x: [t, head, in] -> y: [t, head, out] = x, out: out", &["identity minus rank one over in", "not", "not", "not"]),
    (
        "srwm_from",
        "x: [t, head, in], a: [head, in, out], b: [head, in, after], c: [head, in, after], d: [head, in, rate] -> y: [t, head, out] = x, a, b, c, d",
        &["identity minus rank one over in", "not", "not", "not"],
    ),
    ("lstm", "x: [t, in] -> h: [t, unit] = x, unit: unit", &["not", "not"]),
    ("gru", "x: [t, in] -> h: [t, unit] = x, unit: unit", &["not"]),
    ("indrnn", "x: [t, in] -> h: [t, unit] = x, unit: unit", &["not"]),
    ("real_lru", "x: [t, in] -> h: [t, unit] = x, unit: unit", &["diagonal (factors over unit)"]),
    (
        "lru",
        "x: [t, in] -> h: [t, unit], g: [t, unit] = x, unit: unit",
        &["2 states together, number by number", "2 states together, number by number"],
    ),
    ("elstm", "x: [t, in] -> h: [t, unit] = x, unit: unit", &["not"]),
    ("memory", "w: [t, key], c: [t, value], q: [t, key], s: [t] -> y: [t, value] = w, c, q, s", &["identity minus rank one over key"]),
    ("hebb", "w: [t, key], c: [t, value], s: [t] -> y: [t, key, value] = w, c, s", &["identity"]),
    (
        "delta",
        "w: [t, key], c: [t, value], s: [t] -> y: [t, key, value] = w, c, s, decay: 0.9",
        &["decay times identity minus rank one over key"],
    ),
    ("oja", "w: [t, key], c: [t, value], s: [t] -> y: [t, key, value] = w, c, s", &["diagonal (factors over value, batch)"]),
    ("least_squares", "w: [t, key], c: [t, value], s: [t] -> y: [t, key, value] = w, c, s", &["not", "identity minus rank one over key"]),
    ("hopfield_turns", "w: [t, unit], s: [unit], p: [item, unit] -> x: [t, unit] = w, s, p", &["not"]),
    ("orthogonal_direction", "g: [t, key] -> w: [t, key] = g", &["not"]),
    (
        "delta_lstm",
        "z: [t, gate, unit], k: [t, gate, unit], v: [t, gate, unit], b: [t, gate] -> h: [t, unit] = z, k, v, b",
        &["identity minus rank one over unit", "not", "not"],
    ),
    ("descent", "x: [t, in], w: [t, class], a: [in, unit], b: [unit, class] -> y: [t, class] = x, w, a, b", &["not", "not"]),
    ("descent_step", "x: [t, in], w: [t, out], a: [in, out] -> y: [t, out] = x, w, a", &["identity minus rank one over in"]),
    ("sparse_write", "w: [t, bit], c: [t, bit], a: [address, bit] -> y: [t, address, bit] = w, c, a", &["identity"]),
];

/// The prepared graph of `y = scan CELL(ARGUMENTS) along t` in the context of a file.
fn scanned(context: &str, cell: &str, signature: &str) -> Graph {
    scanned_for(context, cell, signature, 6, DType::F32)
}

/// The same over so many steps, in the given element type.
fn scanned_for(context: &str, cell: &str, signature: &str, steps: u64, dtype: DType) -> Graph {
    let (inputs, rest) = signature.split_once(" -> ").expect("an arrow");
    let (output, arguments) = rest.split_once(" = ").expect("arguments");
    let names: Vec<&str> = output.split("], ").map(|o| o.split(':').next().expect("a name")).collect();
    let name = if let [one] = names[..] { one.to_owned() } else { format!("({})", names.join(", ")) };
    let dims =
        "head = 2, key = 3, value = 4, in = 3, out = 3, after = 3, rate = 4, unit = 5, bit = 7, address = 3, gate = 3, item = 2, class = 3";
    let text = format!(
        "{context}\nblock the_scan[t = {steps}, {dims}]({inputs}) -> {output} {{\n  {name} = scan {cell}({arguments}) along t\n}}\n"
    );
    let (spec, found) = Spec::load("scan.arch", text, &NoImports);
    assert!(!found.has_errors(), "{cell}: {:?}", found.list);
    let (program, found) = elaborate::block(&spec, "the_scan", &Settings::default());
    let program = program.unwrap_or_else(|| panic!("{cell}: {:?}", found.list));
    let lowered = lower::program(&program, &lower::Options { batch: Some(2), dtype, taps: false });
    pipeline::run(&lowered.graph, pipeline::FORWARD, true).unwrap_or_else(|f| panic!("{cell}: {f}")).0
}

/// Every cell of the library and the papers' specs: its name, and its file's text where that is no library file.
fn cells() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (folder, is_std) in [("specs/std", true), ("specs/papers", false)] {
        for path in files(&root().join(folder), "arch") {
            let text = std::fs::read_to_string(&path).expect("readable");
            let (spec, _) = Spec::load("cells.arch", text.clone(), &NoImports);
            for item in &spec.file(spec.root).items {
                if let Item::Block(block) = item
                    && block.kind == BlockKind::Cell
                {
                    all.insert(block.name.name.clone(), if is_std { String::new() } else { text.clone() });
                }
            }
        }
    }
    all
}

#[test]
fn every_cell_is_told_by_its_equations() {
    let all = cells();
    let listed: Vec<&str> = CELLS.iter().map(|c| c.0).collect();
    for cell in all.keys() {
        assert!(listed.contains(&cell.as_str()), "`{cell}` is not in the table of this test");
    }
    for (cell, signature, expected) in CELLS {
        let graph = scanned(&all[*cell], cell, signature);
        let scans = transition::scans(&graph);
        let [(_, _, found)] = &scans[..] else { panic!("{cell}: {} scans", scans.len()) };
        let labels = text::labels(&graph.axes);
        let said: Vec<String> = found.iter().map(|t| t.class.words(&labels)).collect();
        assert_eq!(said.len(), expected.len(), "{cell}: {said:?}");
        for (said, expected) in said.iter().zip(*expected) {
            let whole =
                if *expected == "not" { said.starts_with("not state-linear: ") } else { *said == format!("state-linear, {expected}") };
            assert!(whole, "{cell}: `{said}` instead of `{expected}`");
        }
    }
}

#[test]
fn states_that_turn_each_other_are_linear_together() {
    let rotation = "cell rotation[unit](x: [unit], c: [unit], s: [unit]) -> a: [unit] {\n  state a: [unit] = 0\n  state b: [unit] = 0\n  \
        a = c * prev a - s * prev b + x\n  b = s * prev a + c * prev b\n}";
    let graph = scanned(rotation, "rotation", "x: [t, unit], c: [t, unit], s: [t, unit] -> y: [t, unit] = x, c, s");
    let scans = transition::scans(&graph);
    assert!(scans[0].2.iter().all(|t| t.class == Class::Coupled(vec![0, 1])), "{:?}", scans[0].2);
    assert_eq!(scans[0].2[0].class.words(&[]), "state-linear, 2 states together, number by number");
}

#[test]
fn a_reset_is_a_factor_and_a_dense_matrix_is_dense() {
    let fading = "cell fading[unit](x: [unit], a: [unit], new: []) -> h: [unit] {\n  state h: [unit] = 0\n  \
        h = where(new > 0, 0, a * prev h) + x\n}";
    let graph = scanned(fading, "fading", "x: [t, unit], a: [t, unit], n: [t] -> y: [t, unit] = x, a, n");
    let labels = text::labels(&graph.axes);
    let scans = transition::scans(&graph);
    assert_eq!(scans[0].2[0].class.words(&labels), "state-linear, diagonal (factors over unit, batch)");
    let dense = "cell dense[unit](x: [unit]) -> h: [unit] {\n  param R: [unit, after] ~ normal(1)\n  state h: [unit] = 0\n  \
        h = (prev h @unit R)[after as unit] + x\n}";
    let graph = scanned(dense, "dense", "x: [t, unit] -> y: [t, unit] = x");
    assert_eq!(transition::scans(&graph)[0].2[0].class, Class::Dense(vec![0]));
}

/// All outputs, with small numbers for all ports.
fn outputs(backend: &dyn Backend, graph: &Graph) -> BTreeMap<String, Vec<f64>> {
    let (mut inputs, mut store) = (Bindings::new(), Store::default());
    for node in &graph.region.nodes {
        let (Op::Input(port) | Op::Param(port)) = &node.op else { continue };
        let dims: Vec<Dim> = port.order.iter().map(|&a| Dim { name: graph.name(a).into(), size: graph.size(a) as usize }).collect();
        let len: usize = dims.iter().map(|d| d.size).product();
        let mut state = port.name.bytes().fold(11u64, |h, b| h.wrapping_mul(131).wrapping_add(b.into()));
        let numbers: Vec<f64> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f64 / f64::from(1 << 24) - 0.4
            })
            .collect();
        let single = |numbers: Vec<f64>| Data::F32(numbers.into_iter().map(|x| x as f32).collect());
        let data = if node.ty.dtype == DType::F64 { Data::F64(numbers) } else { single(numbers) };
        let kept = if matches!(node.op, Op::Param(_)) { &mut store.tensors } else { &mut inputs };
        kept.insert(port.name.clone(), Tensor { dims, data });
    }
    let options = Options { threads: 2, verify: true, ..Options::default() };
    let mut executable = backend.compile(graph, &options).unwrap_or_else(|e| panic!("{e}\n{}", text::print_plain(graph)));
    executable.run(&mut store, &inputs, Draw::default()).unwrap_or_else(|e| panic!("{e}"));
    graph.outputs.iter().map(|o| (o.port.name.clone(), executable.output(&o.port.name).expect("an output").to_f64())).collect()
}

/// Cells whose states are linear and have a form for many steps at once: chunkwise, associative.
const AT_ONCE: &[(&str, [bool; 2])] = &[
    ("sum_rule", [true, true]),
    ("normalised_sum_rule", [true, true]),
    ("delta_rule", [true, false]),
    ("gated_delta_rule", [true, false]),
    ("memory", [true, false]),
    ("hebb", [true, true]),
    ("oja", [true, true]),
    ("sparse_write", [true, true]),
    ("real_lru", [true, true]),
];

#[test]
fn cells_of_the_library_give_the_same_step_by_step_and_at_once() {
    let all = cells();
    for &(cell, [chunks, associative]) in AT_ONCE {
        let signature = CELLS.iter().find(|c| c.0 == cell).expect("in the table").1;
        for (dtype, backend, tolerance) in
            [(DType::F64, &Interpreter as &dyn Backend, 1e-11), (DType::F32, &Cpu::new() as &dyn Backend, 2e-5)]
        {
            for steps in [1, 7, 8, 9, 21] {
                let step = scanned_for(&all[cell], cell, signature, steps, dtype);
                let expected = outputs(backend, &with_gradients(&step));
                for way in [chunks.then_some(Way::Chunk(Some(8))), associative.then_some(Way::Associative)].into_iter().flatten() {
                    let at_once = parallel(&step, way);
                    assert!(text::print_plain(&at_once).contains("along chunk"), "{cell} {way} is still step by step");
                    for (name, found) in outputs(backend, &with_gradients(&at_once)) {
                        let scale = expected[&name].iter().fold(1.0f64, |m, x| m.max(x.abs()));
                        let apart = expected[&name].iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                        assert!(apart <= tolerance * scale, "{cell}, {steps} steps, {way}, {dtype}: `{name}` differs by {apart:e}");
                    }
                }
            }
        }
    }
}
