//! `ogive run` on parts of a sequence: states are given and left, and begin anew where an input says so.

mod official;

use official::{Array, Tensors, read};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

const SPEC: &str = "\
block layer[seq, model](x: [seq, model]) -> y: [seq, model] {
  y = x + (scan lstm(x[model as in], unit: 4) along seq)[unit as model]
}
cell drift[model](x: [model]) -> y: [model] {
  param rate: [model]
  state s: [model] = param ~ ones
  s = 0.9 * prev s + rate * x
  y = s + prev s
}
model deep[seq, model = 4](x: [seq, model]) -> y: [seq, model] {
  h = stack 2 of layer(x)
  y = scan drift(h) along seq
}
block twice[seq, model = 4](x: [seq, model]) -> y: [seq, model] {
  instance shared = drift()
  y = scan shared(scan shared(x) along seq) along seq
}
block apart[seq, model, half = model / 2](x: [seq, model]) -> y: [seq, half] {
  y = scan drift(x[model: 0..half as half], model: half) along seq
}
block alone[seq, model = 4](x: [seq, model]) -> y: [seq, model] { y = scan drift(x) along seq }
block looks[seq, model = 4](x: [seq, model]) -> y: [seq, model] {
  y = self_attention(scan drift(x) along seq, head: 2, causal: true, positions: none)
}
block grid[row, col, model = 4](x: [row, col, model]) -> y: [row, col, model] {
  y = scan drift(scan drift(x) along row) along col
}
";
const SEQ: usize = 7;
const BATCH: usize = 3;

struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Case {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("spec.arch"), SPEC).expect("writable");
        Case { folder }
    }

    fn ogive(&self, args: &[&str]) -> Output {
        let command = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_ogive")).args(args).current_dir(self.folder.path()).output();
        let compiled = args.windows(2).any(|w| w == ["--backend", "cpu"]);
        let with: &[&str] = if compiled { &["--dtype", "f32"] } else { &["--dtype", "f64", "--backend", "interp"] };
        let with = if args.contains(&"--backend") { &with[..2] } else { with };
        command(&[&["run", "spec.arch"], with, args].concat()).expect("ogive runs")
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Runs and reads what was written to `out`.
    #[track_caller]
    fn run(&self, out: &str, args: &[&str]) -> Tensors {
        let output = self.ogive(&[args, &["--out", out]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        read(&self.path(out))
    }

    #[track_caller]
    fn fails(&self, code: i32, says: &str, args: &[&str]) {
        let output = self.ogive(&[args, &["--out", "none.safetensors"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(says), "{said}");
    }

    /// Params of a block, as `--list` tells them.
    fn params(&self, of: &str, name: &str) {
        let listed = self.list(of);
        let sizes = |p: &serde_json::Value| p["dims"].as_array().expect("dims").iter().map(size).collect::<Vec<usize>>();
        let params = listed["params"].as_array().expect("params");
        let all = params.iter().enumerate().map(|(i, p)| (text(&p["name"]), numbers(i + 100, &sizes(p), 0.5))).collect();
        official::write(&self.path(name), &all, true);
    }

    fn list(&self, of: &str) -> serde_json::Value {
        let output = self.ogive(&["--of", of, "--list", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn size(dim: &serde_json::Value) -> usize {
    dim["size"].as_u64().expect("a size") as usize
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn names(list: &serde_json::Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|l| text(&l["name"])).collect()
}

fn numbers(seed: usize, shape: &[usize], scale: f64) -> Array {
    let number = |i: usize| scale * ((i * 37 + seed * 101) as f64 * 0.618).sin();
    Array { shape: shape.to_vec(), data: (0..shape.iter().product()).map(number).collect() }
}

/// Positions of a dim of size `SEQ` behind a batch.
fn part(whole: &Array, range: std::ops::Range<usize>) -> Array {
    let [batch, seq, model] = whole.shape[..] else { panic!("{:?}", whole.shape) };
    let row = |b: usize, t: usize| whole.data[(b * seq + t) * model..][..model].to_vec();
    let data = (0..batch).flat_map(|b| range.clone().flat_map(move |t| row(b, t))).collect();
    Array { shape: vec![batch, range.len(), model], data }
}

fn inputs(path: &Path, tensors: &[(&str, &Array)], reset: Option<(&[usize], &[bool])>) {
    let bytes: BTreeMap<&str, Vec<u8>> =
        tensors.iter().map(|(name, a)| (*name, a.data.iter().flat_map(|x| x.to_le_bytes()).collect())).collect();
    let marks: Vec<u8> = reset.map_or_else(Vec::new, |r| r.1.iter().map(|b| u8::from(*b)).collect());
    let floats = tensors.iter().map(|(name, a)| (*name, TensorView::new(Dtype::F64, a.shape.clone(), &bytes[name]).expect("a view")));
    let marks = reset.map(|(shape, _)| ("data.reset", TensorView::new(Dtype::BOOL, shape.to_vec(), &marks).expect("a view")));
    safetensors::serialize_to_file(floats.chain(marks), None, path).expect("writable");
}

#[track_caller]
fn same(a: &Array, b: &Array) {
    close(a, b, 1e-9);
}

#[track_caller]
fn close(a: &Array, b: &Array, most: f64) {
    assert_eq!(a.shape, b.shape);
    let apart = a.data.iter().zip(&b.data).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    assert!(apart < most, "{apart:e}");
}

/// With a stack of scans, a scan with a learned start, and a batch.
#[test]
fn two_parts_of_a_sequence_give_what_the_whole_gives() {
    let case = Case::new();
    case.params("deep", "p.safetensors");
    let x = numbers(1, &[BATCH, SEQ, 4], 1.0);
    inputs(&case.path("whole.safetensors"), &[("x", &x)], None);
    inputs(&case.path("first.safetensors"), &[("x", &part(&x, 0..3))], None);
    inputs(&case.path("second.safetensors"), &[("x", &part(&x, 3..SEQ))], None);
    for (backend, most) in [("interp", 1e-12), ("cpu", 1e-5)] {
        let with = |inputs: &'static str| ["--of", "deep", "--backend", backend, "--params", "p.safetensors", "--inputs", inputs];
        let whole = case.run("whole.out", &with("whole.safetensors"));
        let first = case.run("first.out", &with("first.safetensors"));
        let second = case.run("second.out", &[&with("second.safetensors")[..], &["--states", "first.out"]].concat());
        close(&first["y"], &part(&whole["y"], 0..3), most);
        close(&second["y"], &part(&whole["y"], 3..SEQ), most);
        for state in ["last.drift.s", "last.layer.lstm.c", "last.layer.lstm.h"] {
            close(&second[state], &whole[state], most);
        }
        assert_eq!(whole["last.layer.lstm.c"].shape, [BATCH, 2, 4]);
        let fresh = case.run("fresh.out", &with("second.safetensors"));
        assert!((fresh["y"].data[0] - second["y"].data[0]).abs() > 1e-3, "the state matters");
    }
}

#[test]
fn a_state_may_be_given_by_name_and_the_others_start() {
    let case = Case::new();
    case.params("deep", "p.safetensors");
    let (x, s) = (numbers(2, &[4, 4], 1.0), numbers(3, &[4], 1.0));
    let zeros = Array { shape: vec![2, 4], data: vec![0.0; 8] };
    inputs(&case.path("one.safetensors"), &[("x", &x), ("prev.drift.s", &s)], None);
    let all = [("x", &x), ("prev.drift.s", &s), ("prev.layer.lstm.c", &zeros), ("prev.layer.lstm.h", &zeros)];
    inputs(&case.path("all.safetensors"), &all, None);
    inputs(&case.path("none.safetensors"), &[("x", &x)], None);
    let run = |name: &str| {
        case.run(&format!("{name}.out"), &["--of", "deep", "--params", "p.safetensors", "--inputs", &format!("{name}.safetensors")])
    };
    let (one, all, none) = (run("one"), run("all"), run("none"));
    same(&one["y"], &all["y"]);
    assert!((one["y"].data[0] - none["y"].data[0]).abs() > 1e-3);
    case.fails(4, "did you mean `prev.drift.s`?", &{
        inputs(&case.path("wrong.safetensors"), &[("x", &x), ("prev.drift.s", &s), ("prev.drift.t", &s)], None);
        ["--of", "deep", "--params", "p.safetensors", "--inputs", "wrong.safetensors"]
    });
}

#[test]
fn where_an_input_says_so_all_states_begin_anew() {
    let case = Case::new();
    case.params("deep", "p.safetensors");
    let x = numbers(4, &[BATCH, SEQ, 4], 1.0);
    let run = |out: &str, x: &Array, reset: Option<(&[usize], &[bool])>, more: &[&str]| {
        inputs(&case.path("i.safetensors"), &[("x", x)], reset);
        case.run(out, &[&["--of", "deep", "--params", "p.safetensors", "--inputs", "i.safetensors"][..], more].concat())
    };
    let plain = run("plain.out", &x, None, &[]);
    let late = run("late.out", &part(&x, 3..SEQ), None, &[]);
    // the second example of three is cut before position 3
    let marks: Vec<bool> = (0..BATCH * SEQ).map(|i| i == SEQ + 3).collect();
    let cut = run("cut.out", &x, Some((&[BATCH, SEQ], &marks)), &[]);
    let example =
        |a: &Array, b: usize| Array { shape: vec![1, a.shape[1], 4], data: a.data[b * a.shape[1] * 4..][..a.shape[1] * 4].to_vec() };
    for b in [0, 2] {
        same(&example(&cut["y"], b), &example(&plain["y"], b));
    }
    same(&part(&example(&cut["y"], 1), 0..3), &part(&example(&plain["y"], 1), 0..3));
    same(&part(&example(&cut["y"], 1), 3..SEQ), &example(&late["y"], 1));
    // a mark at the first position takes precedence over given states
    let first: Vec<bool> = (0..BATCH * SEQ).map(|i| i % SEQ == 0).collect();
    let anew = run("anew.out", &x, Some((&[BATCH, SEQ], &first)), &["--states", "plain.out"]);
    same(&anew["y"], &plain["y"]);
}

/// The gradient of the whole is that of its parts, where the second hands what it has of its states to the first.
#[test]
fn gradients_go_from_part_to_part() {
    let case = Case::new();
    case.params("deep", "p.safetensors");
    let (x, dy) = (numbers(5, &[BATCH, SEQ, 4], 1.0), numbers(6, &[BATCH, SEQ, 4], 1.0));
    let run = |out: &str, range: std::ops::Range<usize>, states: &[(&str, &Array)], more: &[&str]| {
        inputs(&case.path("i.safetensors"), &[("x", &part(&x, range.clone()))], None);
        let dy = part(&dy, range);
        inputs(&case.path("c.safetensors"), &[&[("y", &dy)], states].concat(), None);
        let with = ["--of", "deep", "--params", "p.safetensors", "--inputs", "i.safetensors", "--cotangents", "c.safetensors"];
        case.run(out, &[&with[..], more].concat())
    };
    let whole = run("whole.out", 0..SEQ, &[], &[]);
    run("first.out", 0..3, &[], &[]);
    let second = run("second.out", 3..SEQ, &[], &["--states", "first.out"]);
    let handed: Vec<(String, Array)> =
        second.iter().filter_map(|(n, a)| n.strip_prefix("grad.prev.").map(|n| (format!("last.{n}"), a.clone()))).collect();
    assert_eq!(handed.len(), 3);
    let first = run("first.out", 0..3, &handed.iter().map(|(n, a)| (n.as_str(), a)).collect::<Vec<_>>(), &[]);
    assert!(!first.keys().any(|n| n.starts_with("grad.prev.")));
    let mut compared = 0;
    for (name, gradient) in whole.iter().filter(|(n, _)| n.starts_with("grad.") && *n != "grad.x") {
        let sum = first[name].data.iter().zip(&second[name].data).map(|(a, b)| a + b).collect();
        same(gradient, &Array { shape: gradient.shape.clone(), data: sum });
        compared += 1;
    }
    assert!(compared > 10);
}

/// Learning forward in time from given states, with marks and without, is learning backward through this part.
#[test]
fn both_rules_learn_from_given_states() {
    let case = Case::new();
    case.params("alone", "p.safetensors");
    let (x, s) = (numbers(12, &[BATCH, SEQ, 4], 1.0), numbers(13, &[BATCH, 4], 1.0));
    inputs(&case.path("c.safetensors"), &[("y", &numbers(14, &[BATCH, SEQ, 4], 1.0))], None);
    let marks: Vec<bool> = (0..BATCH * SEQ).map(|i| i % 5 == 3).collect();
    for reset in [None, Some((&[BATCH, SEQ][..], &marks[..]))] {
        inputs(&case.path("i.safetensors"), &[("x", &x), ("prev.drift.s", &s)], reset);
        let run = |rule: &str| {
            let with = ["--of", "alone", "--params", "p.safetensors", "--inputs", "i.safetensors", "--cotangents", "c.safetensors"];
            case.run("o.out", &[&with[..], &["--gradient", rule]].concat())
        };
        let (back, ahead) = (run("bptt"), run("rtrl"));
        for name in ["y", "last.drift.s", "grad.drift.rate"] {
            same(&back[name], &ahead[name]);
        }
        assert!(back["grad.drift.rate"].data.iter().any(|x| x.abs() > 0.1));
        assert!(back["grad.prev.drift.s"].data.iter().any(|x| x.abs() > 0.1));
    }
}

#[test]
fn what_states_there_are_is_listed() {
    let case = Case::new();
    let listed = case.list("deep");
    assert_eq!(names(&listed["states"]), ["prev.layer.lstm.h", "prev.layer.lstm.c", "prev.drift.s"]);
    assert_eq!(names(&listed["outputs"]), ["y", "last.layer.lstm.h", "last.layer.lstm.c", "last.drift.s"]);
    assert_eq!(names(&listed["inputs"]), ["x"]);
    assert_eq!(text(&listed["reset"]["name"]), "data.reset");
    let state = &listed["states"][0];
    assert_eq!(names(&state["dims"]), ["depth", "unit"]);
    assert_eq!((size(&state["dims"][0]), text(&state["dtype"])), (2, "f32".to_owned()));
    // dims without a size, one of which follows from the other
    let open = case.list("apart");
    assert_eq!(names(&open["states"]), ["prev.drift.s"]);
    let dim = &open["states"][0]["dims"][0];
    assert!(text(&dim["name"]) == "half" && dim["size"].is_null(), "{open}");
    // one instance that is scanned twice has two states
    assert_eq!(names(&case.list("twice")["states"]), ["prev.shared.s.0", "prev.shared.s.1"]);
    // a cell by itself is one step
    let step = case.list("drift");
    assert_eq!((names(&step["states"]), names(&step["inputs"])), (vec!["prev.s".to_owned()], vec!["x".to_owned()]));
    assert_eq!(names(&step["outputs"]), ["y", "s"]);
    let table = case.ogive(&["--of", "deep", "--list"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("state") && table.contains("prev.layer.lstm.c") && table.contains("[depth: 2, unit: 4]"), "{table}");
    assert!(names(&case.list("looks")["states"]).is_empty());
}

#[test]
fn a_cell_goes_step_by_step() {
    let case = Case::new();
    inputs(&case.path("p.safetensors"), &[("rate", &numbers(7, &[4], 1.0)), ("s", &numbers(8, &[4], 1.0))], None);
    inputs(&case.path("q.safetensors"), &[("rate", &numbers(7, &[4], 1.0))], None);
    inputs(&case.path("i.safetensors"), &[("x", &numbers(9, &[4], 1.0))], None);
    let first = case.run("a.out", &["--of", "drift", "--params", "p.safetensors", "--inputs", "i.safetensors"]);
    let with = ["--of", "drift", "--params", "q.safetensors", "--inputs", "i.safetensors", "--states", "a.out"];
    let second = case.run("b.out", &with);
    let expected = first["s"].data.iter().zip(&second["s"].data).map(|(a, b)| a + b).collect();
    same(&second["y"], &Array { shape: vec![4], data: expected });
}

#[test]
fn what_cannot_go_on_is_said() {
    let case = Case::new();
    let x = numbers(10, &[SEQ, 4], 1.0);
    inputs(&case.path("i.safetensors"), &[("x", &x), ("prev.drift.s", &numbers(11, &[4], 1.0))], None);
    case.params("looks", "p.safetensors");
    case.fails(1, "arch::grad::across_segments", &["--of", "looks", "--params", "p.safetensors", "--inputs", "i.safetensors"]);
    case.params("grid", "g.safetensors");
    let x = numbers(10, &[3, 5, 4], 1.0);
    inputs(&case.path("i.safetensors"), &[("x", &x), ("prev.drift.s", &numbers(11, &[4], 1.0))], None);
    case.fails(2, "--along DIM", &["--of", "grid", "--params", "g.safetensors", "--inputs", "i.safetensors"]);
    case.fails(2, "`row`, `col`", &["--of", "grid", "--params", "g.safetensors", "--inputs", "i.safetensors", "--along", "model"]);
    inputs(&case.path("i.safetensors"), &[("x", &x)], None);
    let with = ["--of", "grid", "--params", "g.safetensors", "--inputs", "i.safetensors", "--along", "row"];
    assert_eq!(case.run("o.out", &with).keys().filter(|n| n.starts_with("last.")).count(), 1);
}
