//! Training through the CPU back end: the interpreter's losses up to rounding, and the same bits for any number of threads and after
//! a resumption.

mod common;

use common::{Check, optimizer, problem};
use ogive_jit::Cpu;
use ogive_lang::hir::experiment::{Optimizer, OptimizerKind};
use ogive_runtime::{Backend, Data, Interpreter, Options};
use ogive_train::run::{End, RunFolder, RunOptions, Silent, StepReport, Trainer, checkpoint};
use std::path::Path;
use std::sync::atomic::AtomicBool;

const STEPS: u64 = 20;

fn settings() -> Vec<Optimizer> {
    let adam = optimizer(OptimizerKind::AdamW);
    vec![
        optimizer(OptimizerKind::Sgd),
        Optimizer { ema: Some(0.9), ..adam.clone() },
        Optimizer { accumulate: 2, ema: Some(0.9), clip: None, ..adam },
    ]
}

fn run_options(threads: usize) -> RunOptions {
    RunOptions { exec: Options { threads, verify: true, ..Options::default() }, evaluate_at_most: Some(64), ..RunOptions::default() }
}

fn new<'a>(
    folder: &Path,
    settings: &Optimizer,
    backend: &'a dyn Backend,
    threads: usize,
) -> Result<Trainer<'a>, Box<dyn std::error::Error>> {
    let run = RunFolder::create(&folder.join("run"))?;
    std::fs::write(run.path.join("lock.json"), "{}")?;
    Ok(Trainer::new(problem(folder, settings.clone(), STEPS)?, backend, run_options(threads), run)?)
}

fn steps(trainer: &mut Trainer<'_>) -> Result<Vec<StepReport>, Box<dyn std::error::Error>> {
    (0..STEPS).map(|_| Ok(trainer.step()?)).collect()
}

/// Bits of every tensor that a checkpoint holds.
fn bits(trainer: &Trainer<'_>) -> Vec<(String, Vec<u32>)> {
    let lasting = trainer.store().tensors.iter().filter(|(name, _)| !name.starts_with("accumulated."));
    let floats = |data: &Data| if let Data::F32(v) = data { v.iter().map(|x| x.to_bits()).collect() } else { Vec::new() };
    lasting.map(|(name, tensor)| (name.clone(), floats(&tensor.data))).collect()
}

#[test]
fn losses_and_norms_are_the_interpreters_up_to_rounding() -> Check {
    for settings in settings() {
        let (a, b) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let (interpreter, cpu) = (Interpreter, Cpu::new());
        let (mut reference, mut fast) = (new(a.path(), &settings, &interpreter, 1)?, new(b.path(), &settings, &cpu, 2)?);
        for (x, y) in steps(&mut reference)?.iter().zip(steps(&mut fast)?) {
            let near = |x: f64, y: f64| (x - y).abs() <= 1e-4 * (1.0 + x.abs());
            assert!(near(x.loss, y.loss) && near(x.gradient_norm, y.gradient_norm), "{settings:?}: {x:?} {y:?}");
        }
    }
    Ok(())
}

#[test]
fn one_thread_and_two_give_the_same_bits() -> Check {
    for settings in settings() {
        let mut all = Vec::new();
        for threads in [1, 2] {
            let (folder, cpu) = (tempfile::tempdir()?, Cpu::new());
            let mut trainer = new(folder.path(), &settings, &cpu, threads)?;
            steps(&mut trainer)?;
            all.push(bits(&trainer));
        }
        assert!(all[0] == all[1], "{settings:?}");
    }
    Ok(())
}

#[test]
fn a_resumed_run_is_the_unbroken_run_bit_for_bit() -> Check {
    for settings in settings() {
        let (folder, cpu) = (tempfile::tempdir()?, Cpu::new());
        let mut whole = new(folder.path(), &settings, &cpu, 2)?;
        let end = whole.run(&mut Silent, &AtomicBool::new(false))?;
        assert_eq!(end.end, End::Complete);
        let expected = bits(&whole);
        drop(whole);
        let run = RunFolder::open(&folder.path().join("run"))?;
        std::fs::remove_dir_all(end.checkpoint)?;
        let (from, _) = checkpoint::latest(&run.checkpoints())?;
        assert!(from.ends_with("step-10"));
        let again = problem(folder.path(), settings.clone(), STEPS)?;
        let mut resumed = Trainer::resume(again, &cpu, run_options(1), run, &from)?;
        resumed.run(&mut Silent, &AtomicBool::new(false))?;
        assert!(bits(&resumed) == expected, "{settings:?}");
    }
    Ok(())
}
