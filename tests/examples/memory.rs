//! Predicted against measured memory of every experiment under `specs/`:
//! `cargo run --release -p ogive-tests --example memory -- --ogive target/release/ogive`.
//!
//! Measured is the peak of the resident memory of a process that takes a few training steps, less that of one that trains three hundred
//! parameters: program, data and what the compiler needs at least. What is predicted is the plan's memory, parameters and optimiser included.

use ogive_tests::hostile::text::specs;
use std::path::Path;
use std::process::Command;

const TEXT: &str = "model least[seq, vocab, model = 2](tokens: [seq] in vocab) -> logits: [seq, vocab] {
  param embed: [vocab, model] ~ normal(0.1)
  param out:   [model, vocab] ~ zeros
  logits = embed[tokens] @model out
}
experiment tiny {
  model      least
  data       text(webster, tokenizer: bytes, context: 2, split: [0.98, 0.01, 0.01])
  loss       cross_entropy(logits, next(tokens), over: vocab)
  optimizer  sgd(lr: 0.1)
  budget     steps: 1, batch: 1, seed: 1
}
";

const STRINGS: &str = "model least[seq, vocab, class, model = 2](symbols: [seq] in vocab) -> logits: [seq, class] {
  param embed: [vocab, model] ~ normal(0.1)
  param out:   [model, class] ~ zeros
  logits = embed[symbols] @model out
}
experiment tiny {
  model      least
  data       generated(parity, length: [2, 3], longer: [4, 5], far: [6, 7], examples: 10, held_out: 5)
  loss       sum(where(counted, cross_entropy(logits, target, over: class), 0), over: seq) / seq
  optimizer  sgd(lr: 0.1)
  budget     steps: 1, batch: 1, seed: 1
}
";

/// Predicted and peak bytes of an experiment.
fn bench(ogive: &str, spec: &Path, experiment: &str) -> Result<(f64, f64), String> {
    let mut command = Command::new(ogive);
    let output = command.arg("bench").arg(spec).args(["--of", experiment, "--runs", "1", "--json"]).output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|_| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
    match (value["ours"]["memory_bytes"].as_f64(), value["peak_resident_bytes"].as_f64()) {
        (Some(plan), Some(peak)) => Ok((plan, peak)),
        _ => Err(format!("no figures in {value}")),
    }
}

#[allow(clippy::print_stdout, reason = "a command")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let given = arguments.iter().position(|a| a == "--ogive").and_then(|at| arguments.get(at + 1));
    let ogive = given.map_or("target/release/ogive", String::as_str);
    let folder = tempfile::tempdir().expect("a folder");
    let base = |spec: &str| {
        let tiny = folder.path().join("tiny.arch");
        std::fs::write(&tiny, spec).expect("a file");
        bench(ogive, &tiny, "tiny").map_or_else(|why| panic!("{why}"), |(plan, peak)| peak - plan)
    };
    let (text_base, strings_base) = (base(TEXT), base(STRINGS));
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    println!(
        "without a plan: {:.1} MiB with text, {:.1} MiB with strings\npredicted MiB, measured MiB, difference",
        mib(text_base),
        mib(strings_base)
    );
    let (mut worst, mut failed) = ((0.0, String::new()), 0);
    for path in specs() {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for name in text.lines().filter_map(|l| l.strip_prefix("experiment ")?.split([' ', '{']).next()) {
            let label = format!("{} {name}", path.file_name().unwrap_or_default().to_string_lossy());
            match bench(ogive, &path, name) {
                Ok((plan, peak)) => {
                    let own = text.split(&format!("experiment {name} ")).nth(1).unwrap_or_default();
                    let strings = own.find("generated(").is_some_and(|at| own.find("webster").is_none_or(|w| at < w));
                    let measured = peak - if strings { strings_base } else { text_base };
                    let off = (measured - plan) / plan;
                    println!("{:9.1} {:9.1} {:+6.1} %  {label}", mib(plan), mib(measured), 100.0 * off);
                    // Beside its tensors a program takes some MiB whatever their size: its code, and data of its own.
                    if mib(plan) >= 32.0 && f64::abs(off) > worst.0 {
                        worst = (off.abs(), label);
                    }
                }
                Err(why) => {
                    failed += 1;
                    println!("{label}: {why}");
                }
            }
        }
    }
    println!("largest difference of a plan of at least 32 MiB: {:.1} % {}", 100.0 * worst.0, worst.1);
    if worst.0 > 0.1 || failed > 0 {
        std::process::exit(1);
    }
}
