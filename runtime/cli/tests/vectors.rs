//! The papers' own Transformer-XL layer against ours, through `ogive run`: outputs and every gradient.
//! Vectors: `tests/vectors/moe/xl_layer_*.{json,safetensors}` (made with RobertCsordas/moe at the commit named in the json).

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

type Tensors = BTreeMap<String, Array>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let convert = |view: TensorView<'_>| {
        let data = match view.dtype() {
            Dtype::F32 => view.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("4 bytes")))).collect(),
            Dtype::F64 => view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes"))).collect(),
            other => panic!("element type {other:?}"),
        };
        Array { shape: view.shape().to_vec(), data }
    };
    file.tensors().into_iter().map(|(name, view)| (name, convert(view))).collect()
}

fn write(path: &Path, tensors: &Tensors, double: bool) {
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, a)| {
            #[allow(clippy::cast_possible_truncation, reason = "the file is f32")]
            let bytes = if double {
                a.data.iter().flat_map(|x| x.to_le_bytes()).collect()
            } else {
                a.data.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect()
            };
            (name, bytes)
        })
        .collect();
    let dtype = if double { Dtype::F64 } else { Dtype::F32 };
    let views = tensors.iter().map(|(name, a)| (name.clone(), TensorView::new(dtype, a.shape.clone(), &bytes[name]).expect("a view")));
    safetensors::serialize_to_file(views, None, path).expect("writable");
}

/// `f(i)` is the source position of element i of a tensor of `shape`.
fn gather(source: &Array, shape: &[usize], f: impl Fn(&[usize]) -> usize) -> Array {
    let len = shape.iter().product();
    let mut index = vec![0; shape.len()];
    let mut data = Vec::with_capacity(len);
    for flat in 0..len {
        let mut rest = flat;
        for (i, &n) in index.iter_mut().zip(shape).rev() {
            *i = rest % n;
            rest /= n;
        }
        data.push(source.data[f(&index)]);
    }
    Array { shape: shape.to_vec(), data }
}

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

fn compare(found: &Tensors, name: &str, expected: &Array, tolerance: f64) {
    let found = found.get(name).unwrap_or_else(|| panic!("no {name} among {:?}", found.keys().collect::<Vec<_>>()));
    assert_eq!(found.shape, expected.shape, "dims of {name}");
    for (i, (a, b)) in found.data.iter().zip(&expected.data).enumerate() {
        assert!((a - b).abs() <= tolerance, "{name}[{i}]: {a} against {b}");
    }
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
