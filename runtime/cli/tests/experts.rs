//! The papers' own mixtures of experts and memories against ours, through `ogive run`: outputs, choices and every gradient.
//! Vectors: `tests/vectors/moe/*.{json,safetensors}`; the json names what made them.

mod official;

use official::{Array, How, Tensors, compare, gather, read, root, run};

const SPEC: &str = "
block sigmoid[seq, model](x: [seq, model]) -> y: [seq, model] { y = sigma_moe(x, expert: 6, width: 8, active: 2) }
block biased[seq, model](x: [seq, model]) -> y: [seq, model] { y = sigma_moe(x, expert: 6, width: 8, active: 2, bias: true) }
block softmaxed[seq, model](x: [seq, model]) -> y: [seq, model] { y = sigma_moe(x, expert: 6, width: 8, active: 2, gate: softmax) }
block sinkhorned[seq, model](x: [seq, model]) -> y: [seq, model] { y = sinkhorn_moe(x, expert: 6, width: 8, active: 2) }
block memory[seq, model](x: [seq, model]) -> y: [seq, model] { y = pkm(x, values: 36, head: 2, active: 4) }
block soft_memory[seq, model](x: [seq, model]) -> y: [seq, model] { y = pkm(x, values: 36, head: 2, active: 4, activation: softmax) }
block whole_memory[seq, model](x: [seq, model]) -> y: [seq, model] { y = dense_pkm(x, values: 36, head: 2) }
block attention[seq, model](x: [seq, model], v: [seq, model]) -> y: [seq, model] {
  y = switch_head(x, x, v, head: 2, key: 8, expert: 3, active: 2)
}
block balanced[batch, seq, expert](logit: [batch, seq, expert]) -> loss: [] { loss = balance(logit, over: [batch, seq]) }
block balanced_layer[batch, seq, times, expert](logit: [batch, seq, times, expert]) -> loss: [] {
  loss = mean(balance(logit, over: [times, seq]), over: batch)
}
block balanced_heads[batch, times, seq, head, expert](logit: [batch, times, seq, head, expert]) -> loss: [] {
  loss = mean(balance(logit, over: [times, seq]), over: [batch, head])
}
block surprise[batch, seq, vocab](logits: [batch, seq, vocab], target: [batch, seq] in vocab) -> loss: [] {
  loss = mean(cross_entropy(logits, target, over: vocab), over: [batch, seq])
}
";

/// Tolerances of outputs and gradients.
#[derive(Clone, Copy)]
struct Near {
    backend: &'static str,
    double: bool,
    output: f64,
    gradient: f64,
}

const SINGLE: Near = Near { backend: "interp", double: false, output: 2e-5, gradient: 5e-5 };
const DOUBLE: Near = Near { backend: "interp", double: true, output: 2e-6, gradient: 5e-6 };
const COMPILED: Near = Near { backend: "cpu", ..SINGLE };

struct Specs {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
}

fn specs() -> Specs {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cases.arch");
    std::fs::write(&path, SPEC).expect("writable");
    Specs { _folder: folder, path }
}

fn vector(case: &str) -> Tensors {
    read(&root().join(format!("tests/vectors/moe/{case}.safetensors")))
}

fn one(name: &str, array: Array) -> Tensors {
    Tensors::from([(name.to_owned(), array)])
}

fn scalar(x: f64) -> Array {
    Array { shape: Vec::new(), data: vec![x] }
}

fn transposed(source: &Array) -> Array {
    let [rows, columns] = source.shape[..] else { panic!("a matrix") };
    gather(source, &[columns, rows], |i| i[1] * columns + i[0])
}

fn shaped(source: &Array, shape: &[usize]) -> Array {
    assert_eq!(source.data.len(), shape.iter().product::<usize>());
    Array { shape: shape.to_vec(), data: source.data.clone() }
}

/// A loss of one value and its gradient.
fn loss(how: How<'_>, of: &str, inputs: &Tensors, factor: f64) -> (f64, Tensors) {
    let found = run(How { of, ..how }, &Tensors::new(), inputs, &one("loss", scalar(factor)));
    (found["loss"].data[0], found)
}

fn experts(official: &Tensors, prefix: &str, block: &str) -> Tensors {
    let get = |name: &str| official.get(&format!("{prefix}{name}"));
    let mut all = Tensors::new();
    let mut put = |name: &str, array: Array| all.insert(format!("{block}.{name}"), array);
    put("router", transposed(get("expert_sel").expect("a router")));
    put("up", get("keys").expect("keys").clone());
    put("down", get("values").expect("values").clone());
    if let Some(bias) = get("bias") {
        put("b_up", bias.clone());
    }
    if let Some(bias) = get("o_bias") {
        put("b_down", bias.clone());
    }
    all
}

fn mixture(case: &str, of: &str, block: &str, near: Near) {
    let (official, specs) = (vector(case), specs());
    let how = How { spec: &specs.path, of, backend: near.backend, double: near.double, training: true };
    let params = experts(&official, "w.", block);
    let inputs = one("x", official["in.x"].clone());
    let first = run(how, &params, &inputs, &Tensors::new());
    let logit = format!("{block}.router_logit");
    compare(&first, &logit, &official["out.sel_logits"], near.output);
    compare(&first, &format!("{block}.chosen"), &official["out.sel_index_sorted"], 0.0);
    compare(&first, "y", &official["out.y"], near.output);
    let (value, gradient) = loss(how, "balanced", &one("logit", first[&logit].clone()), 0.01);
    assert!((value - official["out.entropy_reg"].data[0]).abs() <= near.output, "{value}");
    let cotangents = Tensors::from([("y".to_owned(), official["in.cot"].clone()), (logit, gradient["grad.logit"].clone())]);
    let found = run(how, &params, &inputs, &cotangents);
    compare(&found, "grad.x", &official["grad.in.x"], near.gradient);
    for (name, expected) in experts(&official, "grad.", block) {
        compare(&found, &format!("grad.{name}"), &expected, near.gradient);
    }
}

#[test]
fn sigma_moe_agrees_in_the_interpreter() {
    for near in [SINGLE, DOUBLE, COMPILED] {
        mixture("sigma_moe_sigmoid", "sigmoid", "sigma_moe", near);
    }
}

#[test]
fn sigma_moe_with_biases_agrees_in_the_interpreter() {
    for near in [SINGLE, DOUBLE, COMPILED] {
        mixture("sigma_moe_bias", "biased", "sigma_moe", near);
    }
}

#[test]
fn softmax_gates_agree_in_the_interpreter() {
    for near in [SINGLE, DOUBLE, COMPILED] {
        mixture("moe_softmax_before_topk", "softmaxed", "sigma_moe", near);
    }
}

#[test]
fn choices_by_sinkhorn_agree_in_the_interpreter() {
    for near in [SINGLE, DOUBLE, COMPILED] {
        mixture("moe_sinkmoid_train", "sinkhorned", "sinkhorn_moe", near);
    }
}

fn memory(case: &str, of: &str, block: &str, near: Near) {
    let (official, specs) = (vector(case), specs());
    let how = How { spec: &specs.path, of, backend: near.backend, double: near.double, training: false };
    let ours = |prefix: &str| {
        let get = |name: &str| &official[&format!("{prefix}{name}")];
        Tensors::from([
            (format!("{block}.A"), get("keys.0").clone()),
            (format!("{block}.B"), get("keys.1").clone()),
            (format!("{block}.value"), shaped(get("values.weight"), &[6, 6, 16])),
        ])
    };
    let inputs = one("x", official["in.x"].clone());
    let found = run(how, &ours("w."), &inputs, &one("y", official["in.cot"].clone()));
    compare(&found, "y", &official["out.y"], near.output);
    if let Some(chosen) = official.get("out.sel_index_sorted") {
        compare(&found, &format!("{block}.chosen"), chosen, 0.0);
    }
    compare(&found, "grad.x", &official["grad.in.x"], near.gradient);
    for (name, expected) in ours("grad.") {
        compare(&found, &format!("grad.{name}"), &expected, near.gradient);
    }
}

#[test]
fn product_key_memories_agree_in_the_interpreter() {
    for near in [SINGLE, DOUBLE, COMPILED] {
        memory("pkm_relu", "memory", "pkm", near);
        memory("pkm_softmax", "soft_memory", "pkm", near);
        memory("pkm_dense_relu", "whole_memory", "dense_pkm", near);
    }
}

const HEADS: usize = 2;
const KEY: usize = 8;
const MODEL: usize = 16;

/// SwitchHead's parameters; with one expert those of a gated head.
fn heads(official: &Tensors, prefix: &str, block: &str) -> Tensors {
    let get = |name: &str| &official[&format!("{prefix}{name}")];
    let (h, p, d) = (HEADS, KEY, MODEL);
    let projection = |name: &str| gather(get(name), &[d, h, p], |i| (i[1] * p + i[2]) * d + i[0]);
    let mut all = Tensors::new();
    let mut put = |name: &str, array: Array| all.insert(format!("{block}.{name}"), array);
    put("Wq", projection("q.weight"));
    put("Wk", projection("k.weight"));
    if official.contains_key(&format!("{prefix}sel_v")) {
        let e = get("sel_v").shape[0] / h;
        put("Wv", gather(get("v"), &[e, h, d, p], |i| ((i[1] * e + i[0]) * d + i[2]) * p + i[3]));
        put("Wo", gather(get("o"), &[e, h, p, d], |i| ((i[1] * e + i[0]) * p + i[2]) * d + i[3]));
        put("source", gather(get("sel_v"), &[e, h, d], |i| (i[1] * e + i[0]) * d + i[2]));
        put("target", gather(get("sel_o"), &[e, h, d], |i| (i[1] * e + i[0]) * d + i[2]));
    } else {
        put("Wv", gather(get("v"), &[d, h, p], |i| (i[1] * p + i[2]) * d + i[0]));
        put("Wo", gather(get("o"), &[h, p, d], |i| i[2] * h * p + i[0] * p + i[1]));
        put("target", get("sel_o").clone());
    }
    all
}

#[test]
fn switch_head_agrees_in_the_interpreter() {
    let (official, specs) = (vector("switchhead_rope"), specs());
    for near in [SINGLE, DOUBLE, COMPILED] {
        let how = How { spec: &specs.path, of: "attention", backend: near.backend, double: near.double, training: false };
        let inputs = Tensors::from([("x".to_owned(), official["in.x"].clone()), ("v".to_owned(), official["in.xv"].clone())]);
        let found = run(how, &heads(&official, "w.", "switch_head"), &inputs, &one("y", official["in.cot"].clone()));
        compare(&found, "y", &official["out.y"], near.output);
        for (tap, name) in [("source", "sel_v"), ("target", "sel_o")] {
            compare(&found, &format!("switch_head.{tap}_logit"), &official[&format!("out.{name}_logits")], near.output);
            compare(&found, &format!("switch_head.{tap}_chosen"), &official[&format!("out.{name}_index_sorted")], 0.0);
        }
        compare(&found, "grad.x", &official["grad.in.x"], near.gradient);
        compare(&found, "grad.v", &official["grad.in.xv"], near.gradient);
        for (name, expected) in heads(&official, "grad.", "switch_head") {
            compare(&found, &format!("grad.{name}"), &expected, near.gradient);
        }
    }
}

/// MoEUT's parameters.
fn universal(official: &Tensors, prefix: &str, pair: &str, layer: &str, attention: &str) -> Tensors {
    let get = |name: &str| official[&format!("{prefix}{name}")].clone();
    let mut all = Tensors::new();
    for member in 0..2 {
        let theirs = format!("{prefix}transformer.layers.{member}.");
        let ours = format!("{pair}.{layer}.{member}");
        all.extend(heads(official, &format!("{theirs}attention."), &format!("{ours}.{attention}")));
        all.extend(experts(official, &format!("{theirs}ffn."), &format!("{ours}.sigma_moe")));
        for (number, norm) in ["ln1", "ln2"].iter().enumerate() {
            for (part, name) in [("gain", "weight"), ("bias", "bias")] {
                all.insert(format!("{ours}.layer_norm.{number}.{part}"), get(&format!("transformer.layers.{member}.{norm}.{name}")));
            }
        }
    }
    all.insert("embed".to_owned(), get("embedding.weight"));
    all.insert("moeut_head.out".to_owned(), transposed(&get("lm_head.weight")));
    all.insert("moeut_head.bias".to_owned(), get("lm_head.bias"));
    all.insert("moeut_head.layer_norm.gain".to_owned(), get("out_norm.weight"));
    all.insert("moeut_head.layer_norm.bias".to_owned(), get("out_norm.bias"));
    all
}

fn language_model(case: &str, of: &str, pair: &str, layer: &str, attention: &str, near: Near) {
    let (official, specs) = (vector(case), specs());
    let tokens = &official["in.tokens"];
    let part = |from: usize| gather(tokens, &[2, 8], |i| i[0] * 9 + i[1] + from);
    let model = root().join("specs/papers/experts/moeut.arch");
    let how = How { spec: &model, of, backend: near.backend, double: near.double, training: true };
    let parts = How { spec: &specs.path, ..how };
    let params = universal(&official, "w.", pair, layer, attention);
    let inputs = one("tokens", part(0));
    let first = run(how, &params, &inputs, &Tensors::new());
    compare(&first, "logits", &official["out.logits"], near.output);
    let asked = Tensors::from([("logits".to_owned(), first["logits"].clone()), ("target".to_owned(), part(1))]);
    let (surprise, gradient) = loss(parts, "surprise", &asked, 1.0);
    assert!((surprise - official["out.ce"].data[0]).abs() <= near.output, "{surprise}");
    let mut cotangents = one("logits", gradient["grad.logits"].clone());
    let mut total = 0.0;
    for (name, logit) in &first {
        let (of, factor) = match name.rsplit('.').next() {
            Some("router_logit") => ("balanced_layer", 0.01),
            Some("source_logit" | "target_logit") => ("balanced_heads", 0.001),
            _ => continue,
        };
        let (value, gradient) = loss(parts, of, &one("logit", logit.clone()), factor);
        total += factor * value;
        cotangents.insert(name.clone(), gradient["grad.logit"].clone());
    }
    assert!((total - official["out.reg_loss"].data[0]).abs() <= near.output, "{total}");
    let found = run(how, &params, &inputs, &cotangents);
    for (name, expected) in universal(&official, "grad.", pair, layer, attention) {
        compare(&found, &format!("grad.{name}"), &expected, near.gradient);
    }
}

#[test]
fn moeut_agrees_in_the_interpreter() {
    for near in [SINGLE, DOUBLE, COMPILED] {
        language_model("moeut_lm", "moeut_tiny", "moeut_pair", "moeut_layer", "switch_head", near);
    }
}

#[test]
fn moeut_with_ordinary_attention_agrees_in_the_interpreter() {
    for near in [SINGLE, DOUBLE, COMPILED] {
        language_model("moeut_lm_denseatt", "moeut_tiny_gated", "gated_pair", "gated_layer", "gated_head", near);
    }
}
