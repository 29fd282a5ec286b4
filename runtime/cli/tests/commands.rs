//! The command line as a user meets it: output, files and exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn ogive(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ogive")).args(args).current_dir(folder).env("NO_COLOR", "1").output().expect("ogive runs")
}

fn spec(name: &str) -> String {
    root().join("specs").join(name).display().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn exits(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

fn write(folder: &Path, name: &str, contents: impl AsRef<[u8]>) -> String {
    std::fs::write(folder.join(name), contents).expect("writable");
    name.to_owned()
}

#[test]
fn every_spec_of_the_tour_checks_and_a_broken_one_says_where() {
    let folder = tempfile::tempdir().expect("a folder");
    exits(&ogive(folder.path(), &["check", &spec("tour"), &spec("papers")]), 0);
    let good = std::fs::read_to_string(spec("tour/02_shapes.arch")).expect("a spec");
    let bad = write(folder.path(), "bad.arch", good.replace("@hidden down", "@model down"));
    let output = ogive(folder.path(), &["check", &bad]);
    exits(&output, 1);
    let said = text(&output.stderr);
    assert!(said.contains("arch::shape::") && said.contains("bad.arch:") && said.contains("hidden"), "{said}");
}

#[test]
fn a_wrong_flag_is_usage_and_a_missing_file_too() {
    let folder = tempfile::tempdir().expect("a folder");
    exits(&ogive(folder.path(), &["check", "--nonsense"]), 2);
    exits(&ogive(folder.path(), &["check", "absent.arch"]), 2);
    exits(&ogive(folder.path(), &["explain", "no_such_code_at_all"]), 2);
}

#[test]
fn help_and_completions_are_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let help = ogive(folder.path(), &["--help"]);
    exits(&help, 0);
    for command in ["check", "fmt", "explain", "graph", "cost", "run", "train", "resume", "eval", "generate", "bench", "snap", "data"] {
        assert!(text(&help.stdout).contains(command), "{command}");
    }
    exits(&ogive(folder.path(), &["completions", "bash"]), 0);
}

#[test]
fn every_stage_prints_and_every_picture_draws() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = spec("tour/04_language_model.arch");
    for stage in ["parse", "resolve", "elaborate", "lower", "differentiate", "fuse", "schedule", "codegen"] {
        let output = ogive(folder.path(), &["graph", &path, "--emit", stage]);
        exits(&output, 0);
        assert!(output.stdout.len() > 100, "{stage}");
    }
    for (format, mark) in [("svg", "<svg"), ("dot", "digraph"), ("html", "<html"), ("json", "{")] {
        let output = ogive(folder.path(), &["graph", &path, "--format", format]);
        exits(&output, 0);
        assert!(text(&output.stdout).contains(mark), "{format}");
    }
}

#[test]
fn attention_keeps_no_table_of_scores() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = ogive(folder.path(), &["graph", &spec("tour/03_attention.arch"), "--emit", "fuse", "--training"]);
    exits(&output, 0);
    let groups = text(&output.stdout);
    let both = |line: &&str| line.contains("seq") && line.split(" : ").nth(1).is_some_and(|ty| ty.contains("src"));
    assert_eq!(groups.lines().find(|l| both(l) && l.contains("seq, src")), None, "{groups}");
    assert!(groups.contains("attend"), "{groups}");
}

#[test]
fn cost_is_exact_without_allocating() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = ogive(folder.path(), &["--json", "cost", &spec("papers/dense/transformer_xl.arch")]);
    exits(&output, 0);
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    let medium = all.as_array().expect("a list").iter().find(|c| c["name"] == "xl_wikitext_medium").expect("the medium model");
    assert_eq!(medium["parameters"], 262_479_950_u64);
}

#[test]
fn snapshots_are_accepted_then_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = write(folder.path(), "m.arch", "model m[a = 4, b = 3](x: [a]) -> y: [b] {\n  param w: [a, b]\n  y = x @a w\n}\n");
    exits(&ogive(folder.path(), &["snap", &name]), 1);
    exits(&ogive(folder.path(), &["snap", &name, "--accept"]), 0);
    exits(&ogive(folder.path(), &["snap", &name]), 0);
    write(folder.path(), "m.arch", "model m[a = 4, b = 5](x: [a]) -> y: [b] {\n  param w: [a, b]\n  y = x @a w\n}\n");
    let output = ogive(folder.path(), &["snap", &name]);
    exits(&output, 1);
    assert!(text(&output.stdout).contains("-") && text(&output.stdout).contains("+"));
}

#[test]
fn run_names_what_is_missing_and_what_is_too_much() {
    let folder = tempfile::tempdir().expect("a folder");
    let listed = ogive(folder.path(), &["run", &spec("tour/01_linear.arch"), "--list"]);
    exits(&listed, 0);
    assert!(text(&listed.stdout).contains("weight"));
    let output = ogive(folder.path(), &["run", &spec("tour/01_linear.arch"), "--out", "o.safetensors"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("weight"), "{}", text(&output.stderr));
    write(folder.path(), "p.safetensors", [0xff_u8; 64]);
    let output = ogive(folder.path(), &["run", &spec("tour/01_linear.arch"), "--params", "p.safetensors", "--out", "o.safetensors"]);
    exits(&output, 4);
}

#[test]
fn a_run_trains_stops_resumes_evaluates_and_generates() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = spec("tour/06_experiments.arch");
    let small = ["--set", "model=16", "--set", "budget.batch=4", "--set", "budget.steps=4"];
    let train = [&["train", &path, "--out", "r"][..], &small].concat();
    let output = ogive(folder.path(), &train);
    // The claim of the spec needs more steps than these.
    exits(&output, 7);
    assert!(text(&output.stdout).contains("validation.bits_per_byte"), "{}", text(&output.stdout));
    for file in ["lock.json", "metrics.jsonl", "spec", "tensorboard", "checkpoints/step-4/manifest.json"] {
        assert!(folder.path().join("r").join(file).exists(), "{file}");
    }
    exits(&ogive(folder.path(), &train), 2);
    let eval = ogive(folder.path(), &["eval", "r"]);
    exits(&eval, 0);
    let generate = ogive(folder.path(), &["generate", "r", "--prompt", "The", "--tokens", "5"]);
    exits(&generate, 0);
    assert!(text(&generate.stdout).starts_with("The"));
    let manifest = folder.path().join("r/checkpoints/step-4/model.safetensors");
    let bytes = std::fs::read(&manifest).expect("a checkpoint");
    std::fs::write(&manifest, &bytes[..bytes.len() / 2]).expect("writable");
    exits(&ogive(folder.path(), &["eval", "r"]), 4);
}

#[test]
fn a_model_that_cannot_fit_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "model big[seq, vocab, model = 400000, other = model](tokens: [seq] in vocab) -> logits: [seq, vocab] {\n  \
                param embed: [vocab, model]\n  param w: [model, other]\n  param out: [other, vocab]\n  \
                logits = embed[tokens] @model w @other out\n}\n\nexperiment e {\n  model big\n  data text(webster, context: 32)\n  \
                loss cross_entropy(logits, next(tokens), over: vocab)\n  optimizer adam(lr: 1e-3)\n  budget steps: 1, batch: 1\n}\n";
    let name = write(folder.path(), "big.arch", text);
    exits(&ogive(folder.path(), &["train", &name, "--out", "r"]), 3);
    assert!(!folder.path().join("r").exists());
}

#[test]
fn bad_data_is_an_error_with_its_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = |path: &str, tokenizer: &str| {
        format!(
            "model m[seq, vocab, model = 4](tokens: [seq] in vocab) -> logits: [seq, vocab] {{\n  param e: [vocab, model]\n  \
             param o: [model, vocab]\n  logits = e[tokens] @model o\n}}\n\nexperiment e {{\n  model m\n  \
             data text(\"{path}\", tokenizer: {tokenizer}, context: 16)\n  \
             loss cross_entropy(logits, next(tokens), over: vocab)\n  optimizer sgd(lr: 0.1)\n  budget steps: 1, batch: 1\n}}\n"
        )
    };
    write(folder.path(), "short.txt", "abc");
    write(folder.path(), "empty.txt", "");
    write(folder.path(), "binary.txt", [0xff_u8, 0xfe, 0x00, 0x80].repeat(500));
    for (path, tokenizer) in
        [("absent.txt", "bytes"), ("short.txt", "bytes"), ("empty.txt", "bytes"), ("binary.txt", "chars"), ("../x", "bytes")]
    {
        let name = write(folder.path(), "d.arch", spec(path, tokenizer));
        let output = ogive(folder.path(), &["train", &name, "--out", "r"]);
        exits(&output, 4);
        assert!(text(&output.stderr).contains("arch::data::"), "{}", text(&output.stderr));
    }
}

/// A model whose projection, outside the cell, and cell are learned forward exactly.
const RECURRENT: &str = "cell each[unit](x: [unit]) -> h: [unit] {
  param r, g: [unit] ~ normal(0.5)
  state h: [unit] = 0
  keep = sigmoid(g * prev h + x)
  h    = keep * tanh(r * prev h + x) + (1 - keep) * prev h
}
model tiny[seq, vocab, unit = 6](tokens: [seq] in vocab) -> logits: [seq, vocab] {
  param embed: [vocab, unit] ~ normal(1)
  param out:   [unit, vocab] ~ normal(1)
  logits = scan each(embed[tokens]) along seq @unit out
}
experiment first {
  model     tiny
  data      text(\"text.txt\", tokenizer: chars, context: 12)
  loss      cross_entropy(logits, next(tokens), over: vocab)
  gradient  RULE
  optimizer adam(lr: 1e-2)
  budget    steps: 20, batch: 4
}
";

fn losses(folder: &Path, rule: &str) -> Vec<f64> {
    write(folder, "text.txt", "the cat sat on the mat and the dog sat on the log. ".repeat(40));
    let spec = write(folder, &format!("{}.arch", rule.len()), RECURRENT.replace("RULE", rule));
    let out = format!("run{}", rule.len());
    exits(&ogive(folder, &["train", &spec, "--out", &out]), 0);
    let rows = std::fs::read_to_string(folder.join(out).join("metrics.jsonl")).expect("metrics");
    let value = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a row");
    rows.lines().filter_map(|l| value(l).get("loss").and_then(serde_json::Value::as_f64)).collect()
}

#[test]
fn training_forward_in_time_goes_the_way_of_training_backward() {
    let folder = tempfile::tempdir().expect("a folder");
    let (back, ahead) = (losses(folder.path(), "bptt"), losses(folder.path(), "rtrl "));
    assert_eq!(back.len(), ahead.len());
    assert!(back.len() >= 2 && back.iter().zip(&ahead).all(|(a, b)| (a - b).abs() < 1e-3 * a.abs()), "{back:?}\n{ahead:?}");
    let cut = losses(folder.path(), "bptt(truncate: 2)");
    assert!(back.iter().zip(&cut).any(|(a, b)| (a - b).abs() > 1e-4), "a truncation changes the way: {back:?}\n{cut:?}");
}

#[test]
fn gradients_are_compared_three_ways() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = write(folder.path(), "a.arch", RECURRENT.replace("RULE", "rtrl"));
    let output = ogive(folder.path(), &["check", "--gradients", &spec]);
    exits(&output, 0);
    let (table, said) = (text(&output.stdout), text(&output.stderr));
    for name in ["embed", "out", "each.r", "each.g"] {
        let row = table.lines().find(|l| l.split_whitespace().next() == Some(name)).unwrap_or_else(|| panic!("{name}: {table}"));
        let share = |back: usize| row.split_whitespace().rev().nth(back).and_then(|x| x.parse::<f64>().ok()).expect("a number");
        assert!(share(0) < 1e-10 && share(1) < 1e-6, "{row}");
    }
    assert!(!said.contains("present step"), "{said}");
    let dense = spec.replace("a.arch", "b.arch");
    write(
        folder.path(),
        "b.arch",
        RECURRENT
            .replace("RULE", "bptt")
            .replace("r * prev h", "(prev h @unit W)[after as unit]")
            .replace("r, g", "g")
            .replace("  state", "  param W: [unit, after]\n  state"),
    );
    let output = ogive(folder.path(), &["check", "--gradients", &dense]);
    exits(&output, 0);
    assert!(text(&output.stderr).contains("rtrl(full)") && text(&output.stderr).contains("mix along unit = 6"), "{}", text(&output.stderr));
}

#[test]
fn a_missing_import_names_the_nearest_spec_of_the_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("parts")).expect("a folder");
    let block = "block scale[model](x: [model]) -> y: [model] { y = 2 * x }\n";
    write(folder.path(), "layers.arch", block);
    write(folder.path(), "parts/mixers.arch", block);
    let help = |import: &str| {
        let main = write(folder.path(), "main.arch", format!("import \"{import}\"\n"));
        let output = ogive(folder.path(), &["check", &main]);
        exits(&output, 1);
        let said = text(&output.stderr);
        assert!(said.contains("arch::name::import_missing"), "{said}");
        said.lines().find(|l| l.contains("help:")).unwrap_or("").trim().to_owned()
    };
    assert_eq!(help("layres.arch"), "help: did you mean `\"layers.arch\"`?");
    assert_eq!(help("parts/mixer.arch"), "help: did you mean `\"parts/mixers.arch\"`?");
    // right, but for the folder
    assert_eq!(help("parts/layers.arch"), "help: did you mean `\"layers.arch\"`?");
    assert_eq!(help("attention.arch"), "help: the specs here: `layers.arch`");
}

#[test]
fn what_only_measures_has_no_step_to_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = ogive(folder.path(), &["bench", &spec("papers/memory/capacity.arch"), "--of", "capacity", "--runs", "1"]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("the loss depends on no parameter"), "{said}");
    assert!(!said.contains("a fault in ogive"), "{said}");
}
