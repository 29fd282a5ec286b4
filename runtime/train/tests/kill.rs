//! Processes that are killed while they train: what they leave goes on to the very weights of a run that was let alone.

mod common;

use common::{Check, optimizer, options, problem};
use ogive_lang::hir::experiment::{Every, Optimizer, OptimizerKind, Split};
use ogive_runtime::Interpreter;
use ogive_train::run::{RunFolder, Silent, Trainer, checkpoint};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const STEPS: u64 = 60;

/// Trains in `folder/run` from wherever it stands.
fn train(folder: &Path) -> Check {
    let settings = Optimizer { accumulate: 2, ema: Some(0.9), ..optimizer(OptimizerKind::AdamW) };
    let mut problem = problem(folder, settings, STEPS)?;
    problem.every = vec![Every { steps: 3, evaluate: vec![Split::Validation], checkpoint: Some(2) }];
    let path = folder.join("run");
    let mut trainer = if path.join("lock.json").exists() {
        let run = RunFolder::open(&path)?;
        match checkpoint::latest(&run.checkpoints()) {
            Ok((from, _)) => Trainer::resume(problem, &Interpreter, options(), run, &from)?,
            Err(_) => Trainer::new(problem, &Interpreter, options(), run)?,
        }
    } else {
        common::trainer(folder, problem)?
    };
    trainer.run(&mut Silent, &AtomicBool::new(false))?;
    Ok(())
}

#[test]
#[ignore = "the process that the other test kills"]
fn child() -> Check {
    train(&PathBuf::from(std::env::var("OGIVE_TEST_FOLDER")?))
}

#[cfg(unix)]
#[test]
fn killed_and_resumed_weights_are_those_of_the_unbroken_run() -> Check {
    let (whole, broken) = (tempfile::tempdir()?, tempfile::tempdir()?);
    train(whole.path())?;
    let start = || {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program);
        child.args(["--ignored", "--exact", "child"]).env("OGIVE_TEST_FOLDER", broken.path());
        child.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    let mut killed = 0;
    // Delays of a fixed sequence; the last attempt is let alone.
    for attempt in 0..40u64 {
        let mut child = start()?;
        std::thread::sleep(Duration::from_millis(20 + attempt * 37 % 90));
        if child.try_wait()?.is_some() {
            break;
        }
        child.kill()?;
        child.wait()?;
        killed += 1;
    }
    assert!(killed > 0, "no process was killed while it trained");
    assert!(start()?.wait()?.success());
    let last = format!("run/checkpoints/step-{STEPS}");
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let (a, b) = (std::fs::read(whole.path().join(&last).join(file))?, std::fs::read(broken.path().join(&last).join(file))?);
        assert!(a == b, "{file} differs after {killed} kills");
    }
    Ok(())
}
