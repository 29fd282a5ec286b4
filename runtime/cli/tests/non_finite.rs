//! A number that is none stops training, and the line that it came from is shown, wherever it stands.

use std::path::Path;
use std::process::{Command, Output};

fn ogive(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ogive")).args(args).current_dir(folder).env("NO_COLOR", "1").output().expect("ogive runs")
}

/// Trains a model whose layer is `layer`; `bad` is the text of the line that is to be blamed.
#[track_caller]
fn blamed(declarations: &str, layer: &str, more: &[&str], bad: &str) {
    let spec = format!(
        "{declarations}
block layer[seq, model](x: [seq, model]) -> y: [seq, model] {{
{layer}
}}

model small[seq, vocab, model = 8](tokens: [seq] in vocab) -> logits: [seq, vocab] {{
  param embed: [vocab, model] ~ normal(0.5)
  h      = stack 2 of layer(embed[tokens])
  logits = h @model embed
}}

experiment bad {{
  model      small
  data       text(webster, tokenizer: bytes, context: 8)
  loss       cross_entropy(logits, next(tokens), over: vocab)
  optimizer  sgd(lr: 0.1)
  budget     steps: 3, batch: 4
}}
"
    );
    let line = spec.lines().position(|l| l.contains(bad)).expect("the line") + 1;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bad.arch"), spec).expect("writable");
    let output = ogive(folder.path(), &[&["train", "bad.arch"][..], more].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("arch::run::non_finite") && said.contains(&format!("bad.arch:{line}:")), "line {line} is not blamed:\n{said}");
}

#[test]
fn in_a_layer_of_a_stack() {
    blamed("", "  y = x + log(x - 100)", &[], "log(x - 100)");
    blamed("", "  small = relu(x - 100)\n  y = x + small / small", &[], "small / small");
    blamed("", "  large = exp(1000 + x)\n  y = x + large / (large + 1)", &[], "large = exp");
    blamed("", "  y = x + sqrt(0 - abs(x) - 1)", &[], "sqrt(0 - abs");
}

#[test]
fn in_a_step_of_a_scan() {
    let cell = "cell grows[model](x: [model]) -> y: [model] {\n  state s: [model] = 1\n  s = exp(prev s + 3)\n  y = x + 0 * s\n}";
    blamed(cell, "  y = scan grows(x) along seq", &[], "s = exp(prev s + 3)");
}

#[test]
fn steps_are_left_out_as_declared() {
    let spec = "model small[seq, vocab, model = 8](tokens: [seq] in vocab) -> logits: [seq, vocab] {
  param embed: [vocab, model] ~ normal(0.5)
  h      = embed[tokens]
  logits = (h + log(h - 100)) @model embed
}

experiment bad {
  model      small
  data       text(webster, tokenizer: bytes, context: 8)
  loss       cross_entropy(logits, next(tokens), over: vocab)
  optimizer  adamw(lr: 0.1, weight_decay: 0.1, skip: 3)
  budget     steps: 3, batch: 4
}
";
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bad.arch"), spec).expect("writable");
    let through = ogive(folder.path(), &["train", "bad.arch", "--out", "through"]);
    let said = String::from_utf8_lossy(&through.stderr).into_owned();
    assert_eq!(through.status.code(), Some(0), "{said}");
    assert_eq!(said.matches("the step is left out").count(), 3, "{said}");
    let metrics = std::fs::read_to_string(folder.path().join("through/metrics.jsonl")).expect("metrics");
    assert_eq!(metrics.matches("\"skipped\":1").count(), 3, "{metrics}");
    // Parameters are what they were: no step, and no decay.
    let none = ogive(folder.path(), &["train", "bad.arch", "--out", "none", "--set", "budget.steps=0"]);
    assert_eq!(none.status.code(), Some(0), "{}", String::from_utf8_lossy(&none.stderr));
    let model = |run: &str, step: &str| {
        let file = std::fs::read(folder.path().join(run).join("checkpoints").join(step).join("model.safetensors")).expect("a model");
        // The elements, behind a header that says which step it is.
        file[file.len() - 4 * 256 * 8..].to_vec()
    };
    assert!(model("through", "step-3") == model("none", "step-0"), "skipped steps changed the parameters");
    let stopped = ogive(folder.path(), &["train", "bad.arch", "--out", "stopped", "--set", "optimizer.skip=1"]);
    let said = String::from_utf8_lossy(&stopped.stderr).into_owned();
    assert_eq!(stopped.status.code(), Some(5), "{said}");
    assert!(said.contains("step 2: the loss is not finite"), "{said}");
}

#[test]
fn in_a_gradient_alone() {
    blamed("", "  y = x + sqrt(0 * x)", &[], "sqrt(0 * x)");
}

#[test]
fn in_any_micro_batch() {
    blamed("", "  y = x + log(x - 100)", &["--set", "accumulate=2"], "log(x - 100)");
}

#[test]
fn in_scores_of_a_selection() {
    let routed = |score: &str| {
        format!(
            "block routed[seq, model, expert = 4](x: [seq, model]) -> y: [seq, model] {{
  param gate: [expert, model] ~ normal(0.5)
  param up:   [expert, model] ~ normal(0.5)
  logit = x @model gate
  score = {score}
  pick  = top(2, score, over: expert)
  y     = x + sum(x * up[pick] * sigmoid(score)[pick], over: expert)
}}"
        )
    };
    blamed(&routed("logit + log(logit - 100)"), "  y = routed(x)", &[], "log(logit - 100)");
    // One that would never be chosen for its size.
    blamed(&routed("logit + where(index(expert) < 1, log(logit - 100), 0)"), "  y = routed(x)", &[], "log(logit - 100)");
}

#[test]
fn masks_of_minus_infinity_are_not_blamed() {
    let layer = "  masked = softmax(where(index(seq) < 100, 0 * x, -inf), over: model)\n  y = x + masked + log(x - 100)";
    blamed("", layer, &[], "log(x - 100)");
}
