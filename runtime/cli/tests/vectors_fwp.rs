//! The papers' own fast-weight layers and models, and the memory table, against our specs through `ogive run` in f64: outputs and every
//! gradient. Vectors: `tests/vectors/fwp/*.{json,safetensors}` (made with the repositories and commits named in the json).

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Debug)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

type Tensors = BTreeMap<String, Array>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[allow(clippy::cast_precision_loss, reason = "small positions")]
fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let convert = |view: TensorView<'_>| {
        let wide = |f: fn([u8; 8]) -> f64| view.data().chunks_exact(8).map(|b| f(b.try_into().expect("8 bytes"))).collect();
        let data = match view.dtype() {
            Dtype::F64 => wide(f64::from_le_bytes),
            Dtype::I64 => wide(|b| i64::from_le_bytes(b) as f64),
            other => panic!("element type {other:?}"),
        };
        Array { shape: view.shape().to_vec(), data }
    };
    file.tensors().into_iter().map(|(name, view)| (name, convert(view))).collect()
}

/// Names in `ids` are written as whole numbers.
#[allow(clippy::cast_possible_truncation, reason = "whole numbers")]
fn write(path: &Path, tensors: &Tensors, ids: &[&str]) {
    let bytes = |name: &String, a: &Array| -> (Dtype, Vec<u8>) {
        if ids.contains(&name.as_str()) {
            (Dtype::I32, a.data.iter().flat_map(|&x| (x as i32).to_le_bytes()).collect())
        } else {
            (Dtype::F64, a.data.iter().flat_map(|x| x.to_le_bytes()).collect())
        }
    };
    let all: Vec<(String, Vec<usize>, (Dtype, Vec<u8>))> =
        tensors.iter().map(|(name, a)| (name.clone(), a.shape.clone(), bytes(name, a))).collect();
    let views = all.iter().map(|(name, shape, (dtype, b))| (name.clone(), TensorView::new(*dtype, shape.clone(), b).expect("a view")));
    safetensors::serialize_to_file(views, None, path).expect("writable");
}

/// `f(i)` is the source position of element i of a tensor of `shape`.
fn gather(source: &Array, shape: &[usize], f: impl Fn(&[usize]) -> usize) -> Array {
    let mut index = vec![0; shape.len()];
    let data = (0..shape.iter().product()).map(|flat: usize| {
        let mut rest = flat;
        for (i, &n) in index.iter_mut().zip(shape).rev() {
            *i = rest % n;
            rest /= n;
        }
        source.data[f(&index)]
    });
    let data = data.collect();
    Array { shape: shape.to_vec(), data }
}

/// The first two dims in the other order.
fn swapped(a: &Array) -> Array {
    let mut shape = a.shape.clone();
    shape.swap(0, 1);
    let inner: usize = a.shape[2..].iter().product();
    let flat = [shape[0], shape[1], inner];
    let mut out = gather(a, &flat, |i| (i[1] * flat[0] + i[0]) * inner + i[2]);
    out.shape = shape;
    out
}

fn transposed(a: &Array) -> Array {
    swapped(a)
}

fn shaped(a: &Array, shape: &[usize]) -> Array {
    Array { shape: shape.to_vec(), data: a.data.clone() }
}

fn compare(found: &Tensors, name: &str, expected: &Array, tolerance: f64) {
    let found = found.get(name).unwrap_or_else(|| panic!("no {name} among {:?}", found.keys().collect::<Vec<_>>()));
    assert_eq!(found.shape, expected.shape, "dims of {name}");
    for (i, (a, b)) in found.data.iter().zip(&expected.data).enumerate() {
        assert!((a - b).abs() <= tolerance, "{name}[{i}]: {a} against {b}");
    }
}

/// A block of `specs/papers/fast_weights/FILE.arch` on the reference interpreter.
fn run(file: &str, block: &str, set: &[&str], params: &Tensors, inputs: &Tensors, cotangents: &Tensors) -> Tensors {
    run_by(file, block, set, &[], [params, inputs, cotangents])
}

/// The same with more arguments.
fn run_by(file: &str, block: &str, set: &[&str], more: &[&str], [params, inputs, cotangents]: [&Tensors; 3]) -> Tensors {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ogive"));
    command.arg("run").arg(root().join(format!("specs/papers/fast_weights/{file}.arch")));
    command.args(["--of", block, "--dtype", "f64", "--backend", "interp"]).args(more);
    for s in set {
        command.args(["--set", s]);
    }
    for (flag, tensors) in [("--params", params), ("--inputs", inputs), ("--cotangents", cotangents)] {
        if !tensors.is_empty() {
            let path = at(&format!("{}.safetensors", &flag[2..]));
            write(&path, tensors, &["symbols"]);
            command.arg(flag).arg(path);
        }
    }
    let output = command.arg("--out").arg(at("o.safetensors")).output().expect("ogive runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    read(&at("o.safetensors"))
}

fn official(case: &str) -> Tensors {
    read(&root().join(format!("tests/vectors/fwp/{case}.safetensors")))
}

const TOLERANCE: f64 = 1e-10;
const HEADS: usize = 2;
const KEY: usize = 4;
const MODEL: usize = 8;

/// Official tensors with a prefix.
struct Source<'a>(&'a Tensors, String);

impl Source<'_> {
    fn get(&self, name: &str) -> &Array {
        let full = format!("{}{name}", self.1);
        self.0.get(&full).unwrap_or_else(|| panic!("no {full}"))
    }

    /// Part of a linear map whose rows are grouped by head, `rows` for each.
    fn rows(&self, name: &str, rows: usize, first: usize, count: usize) -> Array {
        gather(self.get(name), &[MODEL, HEADS, count], |i| (i[1] * rows + first + i[2]) * MODEL + i[0])
    }

    fn norm(&self, from: &str, to: &str, all: &mut Tensors) {
        all.insert(format!("{to}.gain"), self.get(&format!("{from}.weight")).clone());
        all.insert(format!("{to}.bias"), self.get(&format!("{from}.bias")).clone());
    }

    /// A mixing layer under our names.
    fn mixer(&self) -> Tensors {
        let mut all = Tensors::new();
        self.norm("layer_norm", "layer_norm", &mut all);
        let out = gather(self.get("out_linear.weight"), &[HEADS, KEY, MODEL], |i| i[2] * HEADS * KEY + i[0] * KEY + i[1]);
        all.insert("Wo".into(), out);
        if self.0.contains_key(&format!("{}slow_net.weight", self.1)) {
            let rows = self.get("slow_net.weight").shape[0] / HEADS;
            for (part, name) in ["Wq", "Wk", "Wv"].into_iter().enumerate() {
                all.insert(name.into(), self.rows("slow_net.weight", rows, part * KEY, KEY));
            }
            if rows > 3 * KEY {
                all.insert("Wb".into(), shaped(&self.rows("slow_net.weight", rows, 3 * KEY, 1), &[MODEL, HEADS]));
            }
        }
        for (theirs, ours) in [("W_y", "Wy"), ("W_q", "Wq"), ("W_k", "Wk"), ("w_b", "Wb")] {
            if self.0.contains_key(&format!("{}{theirs}", self.1)) {
                all.insert(format!("srwm.{ours}"), shaped(self.get(theirs), &[HEADS, KEY, KEY]));
            }
        }
        for (theirs, ours) in [("R_q", "Rq"), ("R_k", "Rk"), ("R_v", "Rv")] {
            if self.0.contains_key(&format!("{}{theirs}", self.1)) {
                all.insert(format!("recurrent_delta_rule.{ours}"), shaped(self.get(theirs), &[HEADS, KEY, KEY]));
                all.insert("recurrent_delta_rule.rb".into(), shaped(self.get("r_b"), &[HEADS, KEY]));
            }
        }
        all
    }

    fn feed_forward(&self) -> Tensors {
        let mut all = Tensors::new();
        self.norm("layer_norm", "layer_norm", &mut all);
        all.insert("up".into(), transposed(self.get("linear1.weight")));
        all.insert("down".into(), transposed(self.get("linear2.weight")));
        all.insert("b_up".into(), self.get("linear1.bias").clone());
        all.insert("b_down".into(), self.get("linear2.bias").clone());
        all
    }
}

fn layer(case: &str, block: &str, set: &[&str]) {
    let official = official(case);
    let weights = Source(&official, "w.".into()).mixer();
    let inputs = Tensors::from([("x".to_owned(), swapped(&official["in.x"]))]);
    let cotangents = Tensors::from([("y".to_owned(), swapped(&official["in.cotangent"]))]);
    let found = run("formal_languages", block, set, &weights, &inputs, &cotangents);
    compare(&found, "y", &swapped(&official["out.y"]), TOLERANCE);
    compare(&found, "grad.x", &swapped(&official["grad.in.x"]), TOLERANCE);
    for (name, expected) in Source(&official, "grad.w.".into()).mixer() {
        compare(&found, &format!("grad.{name}"), &expected, TOLERANCE);
    }
}

#[test]
fn the_linear_transformer_layer_agrees() {
    layer("linear_transformer_layer", "linear_transformer_layer", &[]);
}

#[test]
fn the_delta_net_layer_agrees() {
    layer("deltanet_layer", "deltanet_layer", &[]);
}

#[test]
fn the_recurrent_delta_net_layer_agrees() {
    layer("recurrent_deltanet_layer", "recurrent_deltanet_layer", &[]);
}

#[test]
fn the_self_referential_layer_agrees() {
    layer("srwm_layer", "srwm_layer", &[]);
    layer("srwm_layer_input_softmax", "srwm_layer", &["sharpen=true"]);
}

/// Gradient of the cross entropies of logits (last dim), times `scale`; where the target is `ignored` it is zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers")]
fn cross_entropy(logits: &Array, targets: &Array, scale: f64, ignored: Option<f64>) -> Array {
    let classes = *logits.shape.last().expect("a dim");
    let each = logits.data.chunks(classes).zip(&targets.data).flat_map(|(row, &target)| {
        let sum: f64 = row.iter().map(|x| x.exp()).sum();
        let counted = if ignored == Some(target) { 0.0 } else { scale };
        row.iter().enumerate().map(|(i, x)| counted * (x.exp() / sum - f64::from(u8::from(i == target as usize)))).collect::<Vec<_>>()
    });
    Array { shape: logits.shape.clone(), data: each.collect() }
}

/// A whole model under our names: layers are stacked.
fn whole(official: &Tensors, prefix: &str, group: &str, mixer: &str) -> Tensors {
    let source = |part: &str| Source(official, format!("{prefix}{part}"));
    let all = source("");
    let mut out = Tensors::new();
    let mut stack = |layers: [Tensors; 2], path: &str| {
        for (name, first) in &layers[0] {
            let data = first.data.iter().chain(&layers[1][name].data).copied().collect();
            let shape = std::iter::once(2).chain(first.shape.iter().copied()).collect();
            out.insert(format!("{group}.{path}.{name}"), Array { shape, data });
        }
    };
    stack([source("layers.0.").mixer(), source("layers.2.").mixer()], mixer);
    stack([source("layers.1.").feed_forward(), source("layers.3.").feed_forward()], "formal_feed_forward");
    out.insert("embed".into(), all.get("embedding.weight").clone());
    out.insert("output".into(), transposed(all.get("out_layer.weight")));
    out.insert("bias".into(), all.get("out_layer.bias").clone());
    out
}

fn language(case: &str, group: &str, mixer: &str, set: &str) {
    let official = official(case);
    let inputs = Tensors::from([("symbols".to_owned(), official["in.ids"].clone())]);
    #[allow(clippy::cast_precision_loss, reason = "a small count")]
    let counted = official["in.targets"].data.iter().filter(|t| **t != 2.0).count() as f64;
    let cotangent = cross_entropy(&official["out.logits"], &official["in.targets"], 1.0 / counted, Some(2.0));
    let cotangents = Tensors::from([("logits".to_owned(), cotangent)]);
    let found = run("formal_languages", "formal_language", &[set], &whole(&official, "w.", group, mixer), &inputs, &cotangents);
    compare(&found, "logits", &official["out.logits"], TOLERANCE);
    for (name, expected) in whole(&official, "grad.w.", group, mixer) {
        compare(&found, &format!("grad.{name}"), &expected, TOLERANCE);
    }
}

#[test]
fn the_linear_transformer_model_agrees() {
    language("model_linear_transformer", "linear_transformer_group", "linear_transformer_layer", "mixer=linear");
}

#[test]
fn the_delta_net_model_agrees() {
    language("model_deltanet", "deltanet_group", "deltanet_layer", "mixer=delta");
}

/// Parameters or gradients of the element-wise LSTM by our names.
fn elstm(official: &Tensors, prefix: &str) -> Tensors {
    let source = Source(official, prefix.into());
    let (unit, input) = (8, 5);
    let gate = source.get("output_gate.weight");
    let row = input + unit;
    let mut all = Tensors::from([
        ("embed".to_owned(), source.get("embedding.weight").clone()),
        ("output".to_owned(), transposed(source.get("out_layer.weight"))),
        ("bias".to_owned(), source.get("out_layer.bias").clone()),
        ("elstm.Z".to_owned(), transposed(source.get("rnn_func.wm_z"))),
        ("elstm.F".to_owned(), transposed(source.get("rnn_func.wm_f"))),
        ("elstm.O".to_owned(), gather(gate, &[input, unit], |i| i[1] * row + i[0])),
        ("elstm.P".to_owned(), gather(gate, &[unit, unit], |i| i[1] * row + input + i[0])),
        ("elstm.bo".to_owned(), source.get("output_gate.bias").clone()),
    ]);
    for (theirs, ours) in [("wv_z", "z"), ("wv_f", "f"), ("bias_z", "bz"), ("bias_f", "bf")] {
        all.insert(format!("elstm.{ours}"), shaped(source.get(&format!("rnn_func.{theirs}")), &[unit]));
    }
    all
}

/// The element-wise LSTM on the official symbols with the cotangent of the official loss.
fn run_elstm(official: &Tensors, more: &[&str]) -> Tensors {
    let inputs = Tensors::from([("symbols".to_owned(), official["in.ids"].clone())]);
    let cotangent = cross_entropy(&official["out.logits"], &official["in.targets"], 1.0, None);
    let cotangents = Tensors::from([("logits".to_owned(), cotangent)]);
    run_by("elstm", "copy_elstm", &[], more, [&elstm(official, "w."), &inputs, &cotangents])
}

#[test]
fn the_element_wise_lstm_agrees_with_backpropagation_through_time() {
    let official = official("elstm_model_bptt_rtrl");
    let found = run_elstm(&official, &[]);
    compare(&found, "logits", &official["out.logits"], TOLERANCE);
    for (name, expected) in elstm(&official, "grad_bptt.w.") {
        compare(&found, &format!("grad.{name}"), &expected, TOLERANCE);
    }
}

/// Gradients (of the embedding: of the present step alone) and what the state has of each parameter, after the last step and after each.
#[test]
fn the_element_wise_lstm_agrees_with_real_time_recurrent_learning() {
    let official = official("elstm_model_bptt_rtrl");
    let found = run_elstm(&official, &["--gradient", "rtrl", "--sensitivities"]);
    compare(&found, "logits", &official["out.logits"], TOLERANCE);
    for (name, expected) in elstm(&official, "grad_rtrl.w.") {
        compare(&found, &format!("grad.{name}"), &expected, TOLERANCE);
    }
    let (back, ahead) = (&official["grad_bptt.w.embedding.weight"], &official["grad_rtrl.w.embedding.weight"]);
    assert!(back.data.iter().zip(&ahead.data).any(|(a, b)| (a - b).abs() > 0.1), "the two rules differ before the cell");
    for (theirs, ours) in [("Z", "Z"), ("F", "F"), ("wz", "z"), ("wf", "f"), ("bz", "bz"), ("bf", "bf")] {
        compare(&found, &format!("sensitivity.elstm.{ours}"), &official[&format!("mid.sens_final.{theirs}")], TOLERANCE);
        if let Some(steps) = official.get(&format!("mid.sens_steps.{theirs}")) {
            compare(&found, &format!("sensitivity.elstm.{ours}.steps"), steps, TOLERANCE);
        }
    }
}

/// The official gradient counts the start values twice; everything else is exact.
#[test]
fn a_second_segment_starts_from_the_state_of_the_first() {
    let official = official("srwm_two_segments");
    let ours = |prefix: &str| {
        let renamed = |name: &str| name.replace("srwm.", "").replace("layer_norm.", "norm.");
        Source(&official, prefix.into()).mixer().into_iter().map(|(name, a)| (renamed(&name), a)).collect::<Tensors>()
    };
    let inputs = Tensors::from([("xa".to_owned(), swapped(&official["in.xa"])), ("xb".to_owned(), swapped(&official["in.xb"]))]);
    let cotangents = Tensors::from([("ya".to_owned(), swapped(&official["in.cot_a"])), ("yb".to_owned(), swapped(&official["in.cot_b"]))]);
    let weights = ours("w.");
    let found = run("continual", "srwm_two_segments", &[], &weights, &inputs, &cotangents);
    compare(&found, "ya", &swapped(&official["out.ya"]), TOLERANCE);
    compare(&found, "yb", &swapped(&official["out.yb"]), TOLERANCE);
    for (state, segment) in [("Wy1", "a"), ("Wy2", "b")] {
        let mut expected = official[&format!("mid.state_{segment}.W_y")].clone();
        let start = &weights["Wy"].data;
        expected.data.iter_mut().zip(start.iter().cycle()).for_each(|(x, w)| *x += w);
        compare(&found, state, &expected, TOLERANCE);
    }
    compare(&found, "grad.xa", &swapped(&official["grad.in.xa"]), TOLERANCE);
    compare(&found, "grad.xb", &swapped(&official["grad.in.xb"]), TOLERANCE);
    for name in ["Wo", "norm.gain", "norm.bias"] {
        compare(&found, &format!("grad.{name}"), &ours("grad.w.")[name], TOLERANCE);
    }
}

#[test]
fn the_memory_table_agrees() {
    let official = official("kv_memory");
    let pairs = Tensors::from([
        ("keys".to_owned(), official["keys"].clone()),
        ("values".to_owned(), official["values"].clone()),
        ("rates".to_owned(), official["write_rates"].clone()),
    ]);
    let none = Tensors::new();
    let found = run("memory_table", "written", &[], &none, &pairs, &none);
    for (ours, theirs) in [("hebb", "hebb"), ("fading", "hebb_decay"), ("delta", "delta"), ("oja", "oja"), ("gated", "gated_delta")] {
        compare(&found, &format!("{ours}_all"), &official[&format!("M_{theirs}_all")], TOLERANCE);
    }
    let mut asked = pairs;
    asked.insert("queries".into(), official["queries"].clone());
    let found = run("memory_table", "reads", &[], &none, &asked, &none);
    for (ours, theirs) in [
        ("by_hebb", "read_hebb"),
        ("by_delta", "read_delta"),
        ("by_delta", "dual_delta_read"),
        ("by_oja", "read_oja"),
        ("by_gated", "read_gated_delta"),
        ("by_softmax1", "read_softmax_beta1"),
        ("by_softmax8", "read_softmax_beta8"),
        ("by_dense", "read_poly3"),
        ("by_linear", "read_linattn_elu1_norm"),
    ] {
        compare(&found, ours, &official[theirs], TOLERANCE);
    }
    let last = |name: &str| {
        let states = &official[name];
        let shape = states.shape[1..].to_vec();
        let len: usize = shape.iter().product();
        Array { data: states.data[states.data.len() - len..].to_vec(), shape }
    };
    for (probe, patterns, ours, states) in
        [("mhn_probe", "mhn_patterns", "modern", "mhn_states"), ("hop_probe", "hop_patterns", "binary", "hop_classical_states")]
    {
        let inputs = Tensors::from([("x".to_owned(), official[probe].clone()), ("patterns".to_owned(), official[patterns].clone())]);
        compare(&run("memory_table", "recalled", &[], &none, &inputs, &none), ours, &last(states), TOLERANCE);
    }
    let written =
        Tensors::from([("writes".to_owned(), official["sdm_writes"].clone()), ("addresses".to_owned(), official["sdm_addresses"].clone())]);
    compare(&run("memory_table", "counters", &[], &none, &written, &none), "C", &official["sdm_counters"], TOLERANCE);
}
