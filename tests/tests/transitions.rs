//! What the compiler says of how states move, for every cell of the library and of the papers' specs.

use std::collections::BTreeMap;

use ogive_graph::transition::{self, Class};
use ogive_graph::{Graph, pipeline, text};
use ogive_lang::syntax::{BlockKind, Item};
use ogive_lang::{NoImports, Settings, Spec, elaborate, lower};
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
    ("lru", "x: [t, in] -> h: [t, unit], g: [t, unit] = x, unit: unit", &["dense over 2 states", "dense over 2 states"]),
    ("elstm", "x: [t, in] -> h: [t, unit] = x, unit: unit", &["not"]),
    ("memory", "w: [t, key], c: [t, value], q: [t, key], s: [t] -> y: [t, value] = w, c, q, s", &["identity minus rank one over key"]),
    ("hebb", "w: [t, key], c: [t, value], s: [t] -> y: [t, key, value] = w, c, s", &["identity"]),
    (
        "delta",
        "w: [t, key], c: [t, value], s: [t] -> y: [t, key, value] = w, c, s, decay: 0.9",
        &["decay times identity minus rank one over key"],
    ),
    ("oja", "w: [t, key], c: [t, value], s: [t] -> y: [t, key, value] = w, c, s", &["diagonal (factors over value, batch)"]),
    ("sparse_write", "w: [t, bit], c: [t, bit], a: [address, bit] -> y: [t, address, bit] = w, c, a", &["identity"]),
];

/// The prepared graph of `y = scan CELL(ARGUMENTS) along t` in the context of a file.
fn scanned(context: &str, cell: &str, signature: &str) -> Graph {
    let (inputs, rest) = signature.split_once(" -> ").expect("an arrow");
    let (output, arguments) = rest.split_once(" = ").expect("arguments");
    let names: Vec<&str> = output.split("], ").map(|o| o.split(':').next().expect("a name")).collect();
    let name = if let [one] = names[..] { one.to_owned() } else { format!("({})", names.join(", ")) };
    let dims = "t = 6, head = 2, key = 3, value = 4, in = 3, out = 3, after = 3, rate = 4, unit = 5, bit = 7, address = 3";
    let text = format!("{context}\nblock the_scan[{dims}]({inputs}) -> {output} {{\n  {name} = scan {cell}({arguments}) along t\n}}\n");
    let (spec, found) = Spec::load("scan.arch", text, &NoImports);
    assert!(!found.has_errors(), "{cell}: {:?}", found.list);
    let (program, found) = elaborate::block(&spec, "the_scan", &Settings::default());
    let program = program.unwrap_or_else(|| panic!("{cell}: {:?}", found.list));
    let lowered = lower::program(&program, &lower::Options { batch: Some(2), ..Default::default() });
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
    assert!(scans[0].2.iter().all(|t| t.class == Class::Dense(vec![0, 1])), "{:?}", scans[0].2);
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
