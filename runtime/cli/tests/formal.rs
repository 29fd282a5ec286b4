//! Labelled strings of formal languages through the command line: data, training until solved, evaluation on every part.

use std::path::Path;
use std::process::{Command, Output};

fn ogive(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ogive")).args(args).current_dir(folder).env("NO_COLOR", "1").output().expect("ogive runs")
}

fn spec() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/papers/fast_weights/formal_languages.arch").display().to_string()
}

#[track_caller]
fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_run_ends_when_what_it_goes_on_until_holds_and_stays_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    // Brackets of 2 to 4 symbols: solved within few steps.
    let text = std::fs::read_to_string(spec()).expect("the spec");
    let easy = text.replace("length: [2, 50], longer: [51, 100], far: [300, 400]", "length: [2, 2], longer: [2, 2], far: [2, 2]");
    assert_ne!(text, easy);
    std::fs::write(folder.path().join("easy.arch"), easy).expect("writable");
    let set = ["--set", "language=dyck_1", "--set", "examples=64", "--set", "held_out=32", "--set", "lr=0.02"];
    let train = [&["train", "easy.arch", "--of", "recurrent", "--json"][..], &set].concat();
    let ended = json(&ogive(folder.path(), &train));
    let step = ended["step"].as_u64().expect("a step");
    assert!(step < 3000 && step.is_multiple_of(50), "{ended}");
    for part in ["validation", "longer"] {
        assert_eq!(ended["measured"][format!("{part}.sequence_accuracy")], 1.0, "{ended}");
    }
    let again = json(&ogive(folder.path(), &["resume", "runs/recurrent", "--json"]));
    assert_eq!(again["step"].as_u64(), Some(step), "{again}");
    let far = json(&ogive(folder.path(), &["eval", "runs/recurrent", "--split", "test", "--json"]));
    assert_eq!(far["measured"]["sequence_accuracy"], 1.0, "{far}");
}

#[test]
fn strings_of_every_language_are_described_and_trained_on() {
    let folder = tempfile::tempdir().expect("a folder");
    for language in ["parity", "aa_star", "abab_star", "a_n_b_n", "a_n_b_n_c_n", "shuffle_2", "dyck_1", "reset_dyck_1"] {
        let set = format!("language={language}");
        let spec = spec();
        let data = json(&ogive(folder.path(), &["data", &spec, "--of", "fast_weights", "--set", &set, "--json"]));
        assert_eq!(data["source"], format!("generated({language})"));
        assert_eq!(data["splits"]["training"]["contexts"], 10_000, "{data}");
        let few = ["--set", "steps=1", "--set", "examples=8", "--set", "held_out=2", "--set", "batch=2"];
        let train = [&["train", &spec, "--of", "fast_weights", "--set", &set, "--json"][..], &few].concat();
        let ended = json(&ogive(folder.path(), &train));
        assert_eq!(ended["step"], 1, "{ended}");
        assert!(ended["measured"]["longer.loss"].as_f64().is_some_and(f64::is_finite), "{ended}");
    }
}
