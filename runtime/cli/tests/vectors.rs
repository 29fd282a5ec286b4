//! The papers' own Transformer-XL layer against ours, through `ogive run`: outputs and every gradient.
//! Vectors: `tests/vectors/moe/xl_layer_*.{json,safetensors}` (made with RobertCsordas/moe at the commit named in the json).

mod official;

use official::{Array, Tensors, compare, gather, read, root, write};
use std::process::Command;

const HEADS: usize = 2;
const KEY: usize = 8;
const MODEL: usize = 16;

/// Official parameters (or their gradients) under our names, dims in our declared order.
fn ours(official: &Tensors, prefix: &str) -> Tensors {
    let get = |name: &str| official.get(&format!("{prefix}{name}")).unwrap_or_else(|| panic!("no {prefix}{name}"));
    let (h, p, d) = (HEADS, KEY, MODEL);
    let projection = |name: &str| gather(get(name), &[d, h, p], |i| (i[1] * p + i[2]) * d + i[0]);
    let half = |part: usize| gather(get("self_attn.data_to_kv.weight"), &[d, h, p], move |i| (i[1] * 2 * p + part * p + i[2]) * d + i[0]);
    let transposed = |name: &str| {
        let source = get(name);
        let [rows, columns] = source.shape[..] else { panic!("a matrix") };
        gather(source, &[columns, rows], |i| i[1] * columns + i[0])
    };
    let reshaped = |name: &str, shape: &[usize]| Array { shape: shape.to_vec(), data: get(name).data.clone() };
    let mut all = Tensors::new();
    let mut put = |name: &str, array: Array| all.insert(name.to_owned(), array);
    put("xl_attention.Wq", projection("self_attn.data_to_q.weight"));
    put("xl_attention.Wk", half(0));
    put("xl_attention.Wv", half(1));
    put("xl_attention.Wr", projection("self_attn.pos_to_pq.weight"));
    put("xl_attention.Wo", gather(get("self_attn.multi_head_merge.weight"), &[h, p, d], |i| i[2] * h * p + i[0] * p + i[1]));
    put("xl_attention.u", reshaped("self_attn.global_content_bias", &[h, p]));
    put("xl_attention.v", reshaped("self_attn.global_pos_bias", &[h, p]));
    put("xl_attention.scale", reshaped("self_attn.scale", &[]));
    put("xl_feed_forward.up", transposed("linear1.weight"));
    put("xl_feed_forward.b_up", get("linear1.bias").clone());
    put("xl_feed_forward.down", transposed("linear2.weight"));
    put("xl_feed_forward.b_down", get("linear2.bias").clone());
    put("norm.gain", get("norm1.weight").clone());
    put("norm.bias", get("norm1.bias").clone());
    put("layer_norm.gain", get("norm2.weight").clone());
    put("layer_norm.bias", get("norm2.bias").clone());
    all
}

fn check(case: &str, block: &str, backend: &str, dtype: &str, output_tolerance: f64, gradient_tolerance: f64) {
    let official = read(&root().join(format!("tests/vectors/moe/{case}.safetensors")));
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let double = dtype == "f64";
    write(&file("p.safetensors"), &ours(&official, "w."), double);
    let mut inputs = Tensors::from([("x".to_owned(), official["in.x"].clone())]);
    if let Some(memory) = official.get("in.memory") {
        inputs.insert("past".to_owned(), memory.clone());
    }
    write(&file("i.safetensors"), &inputs, double);
    write(&file("c.safetensors"), &Tensors::from([("y".to_owned(), official["in.cot"].clone())]), double);
    let output = Command::new(env!("CARGO_BIN_EXE_ogive"))
        .arg("run")
        .arg(root().join("specs/papers/dense/transformer_xl.arch"))
        .args(["--of", block, "--dtype", dtype, "--backend", backend])
        .arg("--params")
        .arg(file("p.safetensors"))
        .arg("--inputs")
        .arg(file("i.safetensors"))
        .arg("--cotangents")
        .arg(file("c.safetensors"))
        .arg("--out")
        .arg(file("o.safetensors"))
        .output()
        .expect("ogive runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = read(&file("o.safetensors"));
    compare(&found, "y", &official["out.y"], output_tolerance);
    compare(&found, "grad.x", &official["grad.in.x"], gradient_tolerance);
    for (name, expected) in ours(&official, "grad.") {
        compare(&found, &format!("grad.{name}"), &expected, gradient_tolerance);
    }
}

#[test]
fn the_layer_without_memory_agrees_in_f32_on_the_cpu_back_end() {
    check("xl_layer_nomem", "xl_layer", "cpu", "f32", 2e-5, 5e-5);
}

#[test]
fn the_layer_without_memory_agrees_in_the_interpreter() {
    check("xl_layer_nomem", "xl_layer", "interp", "f32", 2e-5, 5e-5);
    check("xl_layer_nomem", "xl_layer", "interp", "f64", 1e-6, 2e-6);
}

#[test]
fn the_layer_with_memory_agrees_in_f32_on_the_cpu_back_end() {
    check("xl_layer_mem8", "xl_layer_with_memory", "cpu", "f32", 2e-5, 5e-5);
}

#[test]
fn the_layer_with_memory_agrees_in_the_interpreter() {
    check("xl_layer_mem8", "xl_layer_with_memory", "interp", "f32", 2e-5, 5e-5);
    check("xl_layer_mem8", "xl_layer_with_memory", "interp", "f64", 1e-6, 2e-6);
}
