//! Training that is killed at moments by chance, goes on, and is held against the run that was let alone: weights, optimiser state and
//! metrics, bit by bit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Specs that are trained: experts with dropout behind attention, fast weights, a recurrent net on generated strings.
pub const SPECS: &[(&str, &str)] = &[
    (
        "experts",
        "block layer[seq, model](x: [seq, model]) -> y: [seq, model] {
  h = x + self_attention(rms_norm(x, over: model), head: 2, causal: true, positions: rotary)
  y = h + dropout(sigma_moe(rms_norm(h, over: model), expert: 4, width: 8, active: 2, rate: 0.1), 0.1)
}
model small[seq, vocab, model = 16](tokens: [seq] in vocab) -> logits: [seq, vocab] {
  param embed: [vocab, model] ~ normal(0.1)
  h      = stack 2 of layer(embed[tokens])
  logits = h @model embed
}
experiment experts {
  model      small
  data       text(\"text.txt\", tokenizer: bytes, context: 32, split: [0.8, 0.1, 0.1])
  loss       cross_entropy(logits, next(tokens), over: vocab)
  optimizer  adamw(lr: cosine(3e-3, warmup: 5), weight_decay: 0.1, clip: 1, ema: 0.9, accumulate: 2)
  budget     steps: 120, batch: 8, seed: 3
  every 5    { evaluate validation   checkpoint keep: 2 }
}
",
    ),
    (
        "fast_weights",
        "model fast[seq, vocab, key = 8, value = 8](tokens: [seq] in vocab) -> logits: [seq, vocab] {
  param A, B: [vocab, key]   ~ normal(0.3)
  param C:    [vocab, value] ~ normal(0.3)
  param out:  [value, vocab] ~ normal(0.3)
  q      = unit_norm(A[tokens], over: key)
  k      = unit_norm(B[tokens], over: key)
  y      = scan delta_rule(q, k, dropout(C[tokens], 0.2), 0.5 + 0 * sum(k, over: key)) along seq
  logits = y @value out
}
experiment fast_weights {
  model      fast
  data       text(\"text.txt\", tokenizer: chars, context: 24, split: [0.8, 0.1, 0.1])
  loss       cross_entropy(logits, next(tokens), over: vocab)
  optimizer  sgd(lr: constant(0.1), momentum: 0.9)
  budget     steps: 150, batch: 8, seed: 5
  every 3    { evaluate validation   checkpoint keep: 3 }
}
",
    ),
    (
        "recurrent",
        "model reads[seq, vocab, class, in = 6, unit = 12](tokens: [seq] in vocab) -> logits: [seq, class] {
  param embed: [vocab, in] ~ normal(0.5)
  param out:   [unit, class] ~ normal(0.3)
  h      = scan lstm(embed[tokens], unit: unit) along seq
  logits = h @unit out
}
experiment recurrent {
  model      reads
  data       generated(parity, length: [2, 20], longer: [21, 30], far: [31, 40], examples: 200, held_out: 50)
  loss       sum(where(counted, cross_entropy(logits, target, over: class), 0), over: seq) / seq
  optimizer  adam(lr: constant(3e-3))
  budget     steps: 120, batch: 8, seed: 7
  every 4    { evaluate validation   checkpoint keep: 2 }
}
",
    ),
];

/// A text to train on.
pub fn text() -> String {
    (0..500u64).map(|i| format!("line {i}: the cat sat on the mat {} and saw the dog\n", i * 7919 % 1000)).collect()
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Kills of a process that trained.
    pub killed: usize,
    /// Of these, kills while a checkpoint was being written.
    pub writing: usize,
    /// Runs that were begun again, as they were killed before their first checkpoint.
    pub begun_again: usize,
}

/// The measured values of a run without times.
///
/// # Errors
/// Lines that are no JSON.
fn metrics(run: &Path) -> Result<String, String> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).map_err(|e| e.to_string())?;
    let mut out = String::new();
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).map_err(|e| format!("{e}: {line}"))?;
        let Some(map) = value.as_object() else { return Err(format!("no object: {line}")) };
        let kept = map.iter().filter(|(k, _)| !["seconds", "tokens_per_second"].contains(&k.as_str()));
        out.push_str(&kept.map(|(k, v)| format!("{k}={v} ")).collect::<String>());
        out.push('\n');
    }
    Ok(out)
}

/// The last checkpoint of a run: its name and its tensor files.
pub(crate) fn last(run: &Path) -> Result<(String, Vec<Vec<u8>>), String> {
    let entries = fs::read_dir(run.join("checkpoints")).map_err(|e| e.to_string())?;
    let mut steps: Vec<(u64, PathBuf)> =
        entries.flatten().filter_map(|e| Some((e.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?, e.path()))).collect();
    steps.sort();
    let Some((step, path)) = steps.pop() else { return Err("no checkpoint".into()) };
    let read = |file: &str| fs::read(path.join(file)).map_err(|e| format!("{file}: {e}"));
    Ok((format!("step-{step}"), vec![read("model.safetensors")?, read("optimizer.safetensors")?]))
}

/// Whether a checkpoint that is not whole yet lies in a run.
fn is_writing(run: &Path) -> bool {
    let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    entries.into_iter().any(|e| e.file_name().to_string_lossy().starts_with(".writing-"))
}

/// Trains a spec once to its end, and again with `kills` kills; compares.
///
/// # Errors
/// What differs, or what a process says that was let alone.
pub fn check(ogive: &Path, spec: (&str, &str), kills: usize, seed: u64) -> Result<Found, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let (name, file) = (spec.0, folder.path().join("spec.arch"));
    fs::write(&file, spec.1).and_then(|()| fs::write(folder.path().join("text.txt"), text())).map_err(|e| e.to_string())?;
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let command = |run: &Path, resume: bool| {
        let mut command = Command::new(ogive);
        let run = run.as_os_str();
        if resume {
            command.arg("resume").arg(run)
        } else {
            command.arg("train").arg(&file).arg("--out").arg(run)
        };
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let start = Instant::now();
    let output = command(&whole, false).output().map_err(|e| format!("{}: {e}", ogive.display()))?;
    if !output.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let most = start.elapsed().as_micros().max(20_000) as u64;
    let mut found = Found::default();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut delay = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((state >> 24) % most)
    };
    let mut attempts = 0;
    while found.killed < kills && attempts < 20 * kills {
        attempts += 1;
        let resume = broken.join("lock.json").exists() && last(&broken).is_ok();
        if !resume && broken.exists() {
            fs::remove_dir_all(&broken).map_err(|e| e.to_string())?;
            found.begun_again += 1;
        }
        let mut child = command(&broken, resume).spawn().map_err(|e| e.to_string())?;
        std::thread::sleep(delay());
        // Now and then wait for the moment at which a checkpoint is being written.
        let end = Instant::now() + Duration::from_millis(200);
        while attempts % 2 == 0 && !is_writing(&broken) && Instant::now() < end {
            std::hint::spin_loop();
        }
        let writing = is_writing(&broken);
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) if status.success() => {
                // It came to its end: what is compared below, then from the start.
                let output = child.wait_with_output().map_err(|e| e.to_string())?;
                drop(output);
                same(name, &whole, &broken)?;
                fs::remove_dir_all(&broken).map_err(|e| e.to_string())?;
            }
            Some(_) => {
                let output = child.wait_with_output().map_err(|e| e.to_string())?;
                return Err(format!(
                    "{name}: {} after {} kills: {}",
                    if resume { "resume" } else { "train" },
                    found.killed,
                    String::from_utf8_lossy(&output.stderr)
                ));
            }
            None => {
                child.kill().map_err(|e| e.to_string())?;
                child.wait().map_err(|e| e.to_string())?;
                found.killed += 1;
                found.writing += usize::from(writing);
            }
        }
    }
    let resume = broken.join("lock.json").exists() && last(&broken).is_ok();
    if !resume && broken.exists() {
        fs::remove_dir_all(&broken).map_err(|e| e.to_string())?;
        found.begun_again += 1;
    }
    let output = command(&broken, resume).output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(format!("{name}: the last of {} kills: {}", found.killed, String::from_utf8_lossy(&output.stderr)));
    }
    same(name, &whole, &broken)?;
    Ok(found)
}

/// Whether two runs ended the same.
pub(crate) fn same(name: &str, whole: &Path, broken: &Path) -> Result<(), String> {
    let ((step, files), (again, others)) = (last(whole)?, last(broken)?);
    if step != again {
        return Err(format!("{name}: one ends at {step}, the other at {again}"));
    }
    for (file, (a, b)) in ["weights", "optimiser state"].iter().zip(files.iter().zip(&others)) {
        if a != b {
            return Err(format!("{name}: {file} of {step} differ"));
        }
    }
    let (a, b) = (metrics(whole)?, metrics(broken)?);
    match a.lines().zip(b.lines()).find(|(a, b)| a != b) {
        Some((a, b)) => Err(format!("{name}: metrics differ:\n{a}\n{b}")),
        None if a.lines().count() != b.lines().count() => {
            Err(format!("{name}: {} against {} lines of metrics", a.lines().count(), b.lines().count()))
        }
        None => Ok(()),
    }
}
