//! From sweeps to pages, and sizes that make two specs equal, through the command line.

use std::path::Path;
use std::process::{Command, Output};

fn ogive(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ogive")).args(args).current_dir(folder).env("NO_COLOR", "1").output().expect("ogive runs")
}

fn said(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn fine(output: &Output) -> (String, String) {
    let both = said(output);
    assert!(output.status.success(), "{}\n{}", both.0, both.1);
    both
}

fn papers(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/papers").join(name).display().to_string()
}

const SPEC: &str = "\
model tiny[seq, symbol, class, width = 4](symbols: [seq] in symbol) -> logits: [seq, class] {
  param embed: [symbol, width] ~ normal(1)
  param out:   [width, class]
  logits = embed[symbols] @width out
}

/// Small models.
experiment small {
  model      tiny
  data       generated(parity, length: [2, 6], longer: [7, 9], far: [10, 12], examples: 20, held_out: 8)
  loss       sum(where(counted, cross_entropy(logits, target, over: class), 0), over: seq) / sum(float(counted), over: seq)
  metric     accuracy: min(where(counted, correct(logits, target, over: class), 1), over: seq)
  optimizer  adam(lr: 1e-3)
  budget     steps: 3, batch: 4
  every 3    { evaluate validation, longer }
}

sweep small { width in [4, 8]   seed in [1, 2] }
";

#[test]
fn a_sweep_keeps_its_finished_points_and_becomes_a_page() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("small.arch"), SPEC).expect("writable");
    let train = ["train", "small.arch", "--sweep", "--out", "s"];
    fine(&ogive(folder.path(), &train));
    let csv = std::fs::read_to_string(folder.path().join("s/sweep.csv")).expect("a table");
    assert_eq!(csv.lines().count(), 5, "{csv}");
    // As if it had been stopped within the third point.
    let json = std::fs::read_to_string(folder.path().join("s/sweep.json")).expect("records");
    let mut sweep: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let points = sweep["points"].as_array_mut().expect("points");
    let lost = points.pop().expect("a point");
    points.retain(|p| p["set"][1][1] != "x");
    std::fs::write(folder.path().join("s/sweep.json"), sweep.to_string()).expect("writable");
    let (_, log) = fine(&ogive(folder.path(), &train));
    assert_eq!(log.matches("finished before").count(), 3, "{log}");
    let again = std::fs::read_to_string(folder.path().join("s/sweep.json")).expect("records");
    let again: serde_json::Value = serde_json::from_str(&again).expect("JSON");
    assert_eq!(again["points"][3]["measured"], lost["measured"]);
    // Another spec shares no point.
    std::fs::write(folder.path().join("small.arch"), SPEC.replace("lr: 1e-3", "lr: 2e-3")).expect("writable");
    let (_, log) = fine(&ogive(folder.path(), &train));
    assert_eq!(log.matches("finished before").count(), 0, "{log}");

    fine(&ogive(folder.path(), &["report", "s", "-o", "pages/small.md"]));
    let page = std::fs::read_to_string(folder.path().join("pages/small.md")).expect("a page");
    assert!(page.contains("Small models.") && page.contains("| 4 | 2 |") && page.contains("small-small.svg"), "{page}");
    let plot = std::fs::read_to_string(folder.path().join("pages/small-small.svg")).expect("a plot");
    assert_eq!(plot.matches("<circle").count(), 4);
    let (out, _) = fine(&ogive(folder.path(), &["report", "s", "--metric", "validation.loss"]));
    assert!(out.contains("validation.loss") && !out.contains("accuracy"), "{out}");
    assert_eq!(ogive(folder.path(), &["report", "s", "--metric", "validation.bleu"]).status.code(), Some(2));
    assert_eq!(ogive(folder.path(), &["report", "absent"]).status.code(), Some(4));
    // Along a key that is a number: a column for each.
    fine(&ogive(folder.path(), &["report", "s", "--against", "width", "--metric", "validation.loss", "-o", "pages/small.md"]));
    let page = std::fs::read_to_string(folder.path().join("pages/small.md")).expect("a page");
    assert!(page.contains("| metric | width 4 | width 8 |") && page.contains("Mean over 2 seeds"), "{page}");
    let plot = std::fs::read_to_string(folder.path().join("pages/small-small.svg")).expect("a plot");
    assert_eq!(plot.matches("<polyline").count(), 1);
    let output = ogive(folder.path(), &["report", "s", "--against", "depth"]);
    assert!(output.status.code() == Some(2) && said(&output).1.contains("no sweep varies `depth`"), "{}", said(&output).1);
}

/// Nothing is trained, and nothing has to be: the loss may depend on no parameter.
#[test]
fn a_budget_of_no_steps_measures() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = "\
model fixed[seq, symbol, class](symbols: [seq] in symbol) -> logits: [seq, class] {
  param w: [class] ~ ones
  logits = sign(w * float(symbols > 0))
}

experiment measured {
  model      fixed
  data       generated(associative_recall, pairs: 4, writes: 2, examples: 1, held_out: 8)
  loss       sum(where(counted, cross_entropy(logits, target, over: class), 0), over: seq) / sum(float(counted), over: seq)
  optimizer  sgd(lr: 1)
  budget     steps: 0, batch: 4
  every 1    { evaluate validation }
  claim      test.loss < 2
}
";
    std::fs::write(folder.path().join("measured.arch"), spec).expect("writable");
    let (out, log) = fine(&ogive(folder.path(), &["train", "measured.arch", "--out", "r"]));
    let ln4 = "1.3863";
    assert!(out.contains(&format!("validation.loss {ln4}")) && out.contains(&format!("test.loss {ln4}")), "{out}\n{log}");
    let (out, _) = fine(&ogive(folder.path(), &["data", "measured.arch"]));
    assert!(out.contains("contexts of 20") && out.lines().any(|l| l.contains("k0") && l.contains("v3")), "{out}");
    fine(&ogive(folder.path(), &["eval", "r", "--split", "longer"]));
}

#[test]
fn a_size_is_solved_so_that_two_specs_are_equal() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = "\
model a[seq = 4, model = 12, out = 12](x: [seq, model]) -> y: [seq, out] {
  param w: [model, out]
  y = x @model w
}
model b[seq = 4, model = 12, width = 1](x: [seq, model]) -> y: [seq, model] {
  param up:   [model, width]
  param down: [width, model]
  y = (x @model up) @width down
}
model c[seq = 4, model = 12, five = 5](x: [seq, model]) -> y: [seq, five] {
  param w: [model, five]
  y = x @model w
}
";
    std::fs::write(folder.path().join("two.arch"), spec).expect("writable");
    let cost = |more: &[&str]| ogive(folder.path(), &[&["cost", "two.arch:a", "two.arch:b"][..], more].concat());
    let (out, _) = fine(&cost(&["--match", "params", "--vary", "width"]));
    assert!(out.contains("equal") && out.contains("width=6"), "{out}");
    let (out, _) = fine(&cost(&["--match", "macs", "--vary", "width"]));
    assert!(out.contains("equal") && out.contains("width=6"), "{out}");
    let (out, _) = fine(&ogive(folder.path(), &["cost", "two.arch:b", "two.arch:c", "--match", "params", "--vary", "five"]));
    assert!(out.contains("equal") && out.contains("five=2"), "{out}");
    let (out, _) = fine(&ogive(folder.path(), &["cost", "two.arch:a", "two.arch:c", "--match", "params", "--vary", "model"]));
    assert!(out.contains("nearest") && out.contains("model=28") && out.contains("model=29"), "{out}");
    let output = cost(&["--match", "params", "--vary", "seq"]);
    assert!(!output.status.success() && said(&output).1.contains("arch::set::no_effect"), "{}", said(&output).1);
    let output = cost(&["--match", "params", "--vary", "widht"]);
    assert!(said(&output).1.contains("arch::set::unknown_key"), "{}", said(&output).1);
    assert_eq!(cost(&["--match", "params"]).status.code(), Some(2));
}

#[test]
fn experts_and_a_dense_model_have_equal_parameters_at_a_size_of_the_paper() {
    let folder = tempfile::tempdir().expect("a folder");
    let dense = format!("{}:xl_wikitext_small", papers("dense/transformer_xl.arch"));
    let experts = format!("{}:sigma_wikitext_small", papers("experts/sigma_moe.arch"));
    // The experts have 112 parameters more; one word less has 824 fewer again.
    let output = ogive(folder.path(), &["cost", &dense, &experts, "--match", "params", "--vary", "vocab", "--json"]);
    let (out, _) = fine(&output);
    let found: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(found["target"], "47260120");
    let values = found["values"].as_array().expect("sizes");
    assert_eq!(values.iter().map(|v| v["value"].as_u64()).collect::<Vec<_>>(), [Some(7999), Some(8000)], "{found}");
    assert_eq!(values[1]["parameters"], "47260232");
}

/// The script behind a page goes on where a claim does not hold, and stops with the code of anything else.
#[cfg(unix)]
#[test]
fn the_script_of_a_page_stops_where_a_sweep_cannot_be_trained() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let (program, log) = (folder.path().join("ogive"), folder.path().join("log"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/papers/results.sh");
    let run = |code: i32| {
        std::fs::write(&program, format!("#!/bin/sh\necho \"$1 $4\" >> {}\n[ $1 = report ] || exit {code}\n", log.display()))
            .expect("writable");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a program");
        std::fs::write(&log, "").expect("writable");
        let output = Command::new("bash").arg(&script).arg("formal-languages").arg(folder.path()).env("OGIVE", &program).output();
        let output = output.expect("bash runs");
        (output.status.code(), std::fs::read_to_string(&log).expect("a log").lines().count(), said(&output).1)
    };
    assert_eq!(run(0), (Some(0), 3, String::new()));
    assert_eq!(run(7), (Some(0), 3, String::new()));
    for code in [1, 3, 5] {
        let (ended, calls, log) = run(code);
        assert!(ended == Some(code) && calls == 1 && log.contains(&format!("exit code {code}")), "{code}: {ended:?} {calls} {log}");
    }
}
