//! `ogive train`: an experiment, or every point of its sweep.

use super::sweep;
use crate::args::Train;
use crate::exit::Exit;
use crate::experiments::{self, Asked, failed_in};
use crate::watch::Watch;
use crate::{backends, load, output, which};
use ogive_lang::hir::experiment::Corpus;
use ogive_train::data::{Dataset, Roots, reference, webster};
use ogive_train::run::{End, Finished, RunError, RunFolder, RunOptions, Trainer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) fn run(args: &Train) -> Result<(), Exit> {
    let spec = Arc::new(load::load_clean(&args.spec, &args.overrides)?);
    let name = which::experiment(&spec, &args.which)?;
    let set = load::settings(&args.overrides, true)?.set;
    let base = args.spec.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
    let roots = Roots { base, allowed: load::roots(&args.spec, &args.overrides) };
    let asked = Asked { spec, name, set, roots };
    let folder = args.out.clone().unwrap_or_else(|| free_folder(&asked.name));
    if args.sweep {
        return sweep::run(args, &asked, &folder);
    }
    let stop = interrupt();
    let (experiment, data) = asked.load(None)?;
    let text = data.tokenizer.is_some();
    let compressed =
        reference_text(&experiment, &data).map(|t| std::thread::spawn(move || Some((reference::gzip(&t)?, reference::xz(&t)?))));
    let finished = one(args, &asked, &experiment, data, &folder, stop).map_err(|e| failed_in(&e, &asked.spec))?;
    if let Some(Ok(Some((gzip, xz)))) = compressed.filter(|_| finished.end == End::Complete).map(std::thread::JoinHandle::join) {
        output::note(format!("for scale, bits per byte of the text: gzip -9 {gzip:.2}, xz -9 {xz:.2}"));
    }
    end(&finished, &folder, text)
}

/// `runs/NAME`, or `runs/NAME-2`, ... where that is taken.
fn free_folder(name: &str) -> PathBuf {
    let first = Path::new("runs").join(name);
    let numbered = (2u32..).map(|n| Path::new("runs").join(format!("{name}-{n}")));
    std::iter::once(first.clone()).chain(numbered).find(|p| !p.exists()).unwrap_or(first)
}

/// A flag that Ctrl-C raises; the second Ctrl-C ends the process at once.
pub(crate) fn interrupt() -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    let handler = || {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        output::note("\nstopping after this step, with a checkpoint (Ctrl-C again ends at once)");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        output::detail(format!("Ctrl-C will not write a checkpoint: {error}"));
    }
    &STOP
}

pub(crate) fn one(
    args: &Train,
    asked: &Asked,
    experiment: &ogive_lang::hir::Experiment,
    data: Dataset,
    folder: &Path,
    stop: &AtomicBool,
) -> Result<Finished, RunError> {
    let problem = asked.problem(experiment, data);
    let lock = asked.lock(experiment, &problem);
    let held = RunFolder::create(folder)?;
    let backend = backends::backend(&args.device);
    let options =
        RunOptions { exec: backends::options(&args.device, args.scans.asked()), evaluate_at_most: None, scans: args.scans.asked() };
    let tokenizer = problem.data.tokenizer.clone();
    held.describe(lock, &experiments::files(&asked.spec), tokenizer.as_ref())?;
    output::note(format!("run folder {}", folder.display()));
    match Trainer::new(problem, backend.as_ref(), options, held) {
        Ok(mut trainer) => trainer.run(&mut Watch::new(), stop),
        Err(error) => {
            // Nothing was trained: a folder that holds a description alone would only stand in the way of the next try.
            forget(folder);
            Err(error)
        }
    }
}

/// Removes what describes a run, and the folder if nothing else is in it.
fn forget(folder: &Path) {
    for file in ["lock.json", "run.lock", "tokenizer.json", "metrics.jsonl"] {
        let _ = std::fs::remove_file(folder.join(file));
    }
    let _ = std::fs::remove_dir_all(folder.join("spec"));
    let _ = std::fs::remove_dir(folder.join("checkpoints"));
    let _ = std::fs::remove_dir_all(folder.join("tensorboard"));
    let _ = std::fs::remove_dir(folder);
}

/// The text that general compressors are asked about, as a scale for bits per byte: all of the dictionary, or of other text the part
/// that is validated on. `None` where nobody would read the answer.
fn reference_text(experiment: &ogive_lang::hir::Experiment, data: &Dataset) -> Option<Vec<u8>> {
    if output::level() < 0 {
        return None;
    }
    match experiment.data.corpus {
        Corpus::Webster => Some(webster().as_bytes().to_vec()),
        _ => data.validation_text().map(<[u8]>::to_vec),
    }
}

/// The last lines, and the exit code. `text` tells whether the model continues texts.
pub(crate) fn end(finished: &Finished, folder: &Path, text: bool) -> Result<(), Exit> {
    if finished.end == End::Interrupted {
        output::note(format!("interrupted at step {}; go on with: ogive resume {}", finished.step, folder.display()));
        return Err(Exit::Interrupted);
    }
    let values = finished
        .evaluations
        .iter()
        .flat_map(|(part, e)| e.values.iter().map(|(name, v)| (format!("{}.{name}", part.name()), *v)).collect::<Vec<_>>());
    let values: Vec<(String, f64)> = values.collect();
    if output::json() {
        let measured: serde_json::Map<String, serde_json::Value> = values.into_iter().map(|(n, v)| (n, v.into())).collect();
        let claims: Vec<_> = finished.claims.iter().map(|c| serde_json::json!({ "claim": c.text, "holds": c.holds })).collect();
        let value = serde_json::json!({ "run": folder, "step": finished.step, "measured": measured, "claims": claims });
        output::result(value.to_string());
    } else {
        for (name, value) in values {
            output::result(format!("{name} {value:.4}"));
        }
        output::note(if text {
            format!("done. Continue a text with: ogive generate {} --prompt \"...\"", folder.display())
        } else {
            format!("done. Measure another part of the data with: ogive eval {} --split test", folder.display())
        });
    }
    if finished.claims.iter().all(|c| c.holds) { Ok(()) } else { Err(Exit::Claim) }
}
