//! Evaluations say how selections spread over their places.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn ogive(folder: &Path, args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_ogive")).args(args).current_dir(folder).env("NO_COLOR", "1").output();
    let output = output.expect("ogive runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The scores choose the first and the last of four experts by the half of the context; heads choose among three by their own number.
const SPEC: &str = "
block experts[seq, model, expert = 4, head = 2, choice = 3](x: [seq, model]) -> y: [seq, model] {
  param up:   [expert, model] ~ normal(0.5)
  param side: [head, choice, model] ~ normal(0.5)
  score  = where(index(seq) < 4, 1, -1) * (0.5 - float(index(expert)))
  pick   = top(1, score, over: expert)
  chosen = top(2, abs(float(distance(choice, head))), over: choice)
  y      = x + sum(x * up[pick], over: expert) + sum(x * side[chosen], over: [head, choice])
}

model small[seq, vocab, model = 8](tokens: [seq] in vocab) -> logits: [seq, vocab] {
  param embed: [vocab, model] ~ normal(0.5)
  h      = stack 2 of experts(embed[tokens])
  logits = h @model embed
}

experiment short {
  model      small
  data       text(webster, tokenizer: bytes, context: 8, split: [0.998, 0.001, 0.001])
  loss       cross_entropy(logits, next(tokens), over: vocab)
  optimizer  sgd(lr: 0.01)
  budget     steps: 2, batch: 4
  every 2    { evaluate validation }
}
";

#[test]
fn shares_dead_places_and_entropy_are_in_the_metrics() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("small.arch"), SPEC).expect("writable");
    ogive(folder.path(), &["train", "small.arch", "--out", "run", "-q"]);
    let metrics = std::fs::read_to_string(folder.path().join("run/metrics.jsonl")).expect("metrics");
    let last: Value = serde_json::from_str(metrics.lines().last().expect("a line")).expect("JSON");
    let routing = last["validation.routing"].as_array().expect("routing");
    let of = |dim: &str| routing.iter().find(|r| r["dim"] == dim).unwrap_or_else(|| panic!("no `{dim}` in {routing:?}"));
    let experts = of("expert")["groups"].as_array().expect("groups");
    assert_eq!(experts.len(), 2, "{experts:?}");
    for (layer, group) in experts.iter().enumerate() {
        assert_eq!(group["group"], format!("depth {layer}"));
        assert_eq!(group["shares"], serde_json::json!([0.5, 0.0, 0.0, 0.5]));
        assert_eq!(group["dead"], 2);
        assert!((group["entropy"].as_f64().expect("a number") - 2.0f64.ln()).abs() < 1e-6);
    }
    // What a head chooses is told apart, whatever its path.
    let choices = of("choice")["groups"].as_array().expect("groups");
    let shares: Vec<&Value> = choices.iter().map(|g| &g["shares"]).collect();
    assert_eq!(shares.len() % 2, 0, "{choices:?}");
    assert_eq!(*shares[0], serde_json::json!([0.0, 0.5, 0.5]));
    assert_eq!(*shares[1], serde_json::json!([0.5, 0.0, 0.5]));
    assert!((last["validation.routing_dead"].as_f64().expect("a number") - (0.5 + 1.0 / 3.0) / 2.0).abs() < 1e-6);

    let said = String::from_utf8_lossy(&ogive(folder.path(), &["eval", "run"]).stdout).into_owned();
    assert!(said.contains("depth 1: 2 never chosen, entropy 0.693 of 1.386 nats, the most chosen has 50.00 %"), "{said}");
}

#[test]
fn a_model_that_chooses_nothing_says_nothing_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let dense = SPEC.replace("h      = stack 2 of experts(embed[tokens])", "h      = embed[tokens]");
    std::fs::write(folder.path().join("small.arch"), dense).expect("writable");
    ogive(folder.path(), &["train", "small.arch", "--out", "run", "-q"]);
    let metrics = std::fs::read_to_string(folder.path().join("run/metrics.jsonl")).expect("metrics");
    assert!(!metrics.contains("routing"), "{metrics}");
}
