//! Training through the interpreter: the loss falls, a resumed run is the unbroken run, and what goes wrong is said.

mod common;

use common::{Check, optimizer, options, problem, trainer};
use ogive_graph::Graph;
use ogive_lang::hir::experiment::{Claim, OptimizerKind, Quantity, Relation, Split};
use ogive_runtime::{Backend, Bindings, Data, Draw, ExecError, Executable, Interpreter, Memory, Options, Store, Tensor};
use ogive_train::run::checkpoint::{self, State};
use ogive_train::run::{End, Event, Observer, RunError, RunFolder, Silent, Trainer};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

static GO: AtomicBool = AtomicBool::new(false);

/// Raises a flag after a step.
struct Raise(u64, std::sync::Arc<AtomicBool>);
impl Observer for Raise {
    fn on(&mut self, event: &Event<'_>) {
        if let Event::Step { report, .. } = event
            && report.step == self.0
        {
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

/// Every tensor's bits by name.
fn bits(trainer: &Trainer<'_>) -> BTreeMap<String, Vec<u32>> {
    let floats = |data: &Data| match data {
        Data::F32(v) => v.iter().map(|x| x.to_bits()).collect(),
        other => panic!("{:?}", other.dtype()),
    };
    trainer.store().tensors.iter().map(|(name, tensor)| (name.clone(), floats(&tensor.data))).collect()
}

/// Lines of `metrics.jsonl` without what a clock says.
fn metrics(folder: &Path) -> Result<Vec<serde_json::Value>, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(folder.join("run/metrics.jsonl"))?;
    let mut lines: Vec<serde_json::Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for line in &mut lines {
        if let Some(object) = line.as_object_mut() {
            object.remove("tokens_per_second");
            object.remove("seconds");
        }
    }
    Ok(lines)
}

#[test]
fn the_loss_falls_with_every_optimizer_and_claims_are_checked() -> Check {
    for kind in [OptimizerKind::Sgd, OptimizerKind::Adam, OptimizerKind::AdamW] {
        let folder = tempfile::tempdir()?;
        let mut problem = problem(folder.path(), optimizer(kind), 60)?;
        if kind == OptimizerKind::Sgd {
            problem.optimizer.lr.rate = 0.5;
        }
        let measured = Quantity::Measured { split: Split::Validation, metric: "bits_per_byte".into() };
        let (relation, right) = (Relation::Less, Quantity::Number(4.2));
        problem.claims.push(Claim { text: "bits".into(), left: measured, relation, right, span: Default::default() });
        let mut trainer = trainer(folder.path(), problem)?;
        let before = trainer.evaluate(Split::Validation)?;
        let end = trainer.run(&mut Silent, &GO)?;
        let after = &end.evaluations[&Split::Validation];
        assert!(after.loss() < before.loss() - 0.5, "{kind:?}: {} to {}", before.loss(), after.loss());
        assert_eq!((end.end, end.step), (End::Complete, 60));
        assert!(end.claims[0].holds, "{kind:?}: {:?}", end.claims);
        let bits = after.get("bits_per_token").ok_or("no bits")?;
        assert!((bits - after.loss() / std::f64::consts::LN_2).abs() < 1e-5);
    }
    Ok(())
}

#[test]
fn a_resumed_run_is_the_unbroken_run_bit_for_bit() -> Check {
    for (accumulate, ema) in [(1, None), (1, Some(0.95)), (4, Some(0.95))] {
        let settings = || ogive_lang::hir::experiment::Optimizer { accumulate, ema, ..optimizer(OptimizerKind::AdamW) };
        let (whole, broken) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let mut unbroken = trainer(whole.path(), problem(whole.path(), settings(), 25)?)?;
        unbroken.run(&mut Silent, &GO)?;

        // The process is gone at step 17: what was written after the checkpoint of step 10 must not matter.
        let mut first = trainer(broken.path(), problem(broken.path(), settings(), 25)?)?;
        let flag = std::sync::Arc::new(AtomicBool::new(false));
        let end = first.run(&mut Raise(17, flag.clone()), &flag)?;
        assert_eq!((end.end, end.step), (End::Interrupted, 17));
        drop(first);
        std::fs::remove_dir_all(end.checkpoint)?;
        let run = RunFolder::open(&broken.path().join("run"))?;
        let (from, skipped) = checkpoint::latest(&run.checkpoints())?;
        assert!(from.ends_with("step-10") && skipped.is_empty());
        let again = problem(broken.path(), settings(), 25)?;
        let mut resumed = Trainer::resume(again, &Interpreter, options(), run, &from)?;
        assert_eq!(resumed.steps_taken(), 10);
        resumed.run(&mut Silent, &GO)?;

        let steps = checkpoint::list(&broken.path().join("run/checkpoints"));
        assert_eq!(steps.iter().map(|s| s.0).collect::<Vec<_>>(), [20, 25]);
        let lasting =
            |bits: BTreeMap<String, Vec<u32>>| bits.into_iter().filter(|(n, _)| !n.starts_with("accumulated.")).collect::<Vec<_>>();
        assert_eq!(lasting(bits(&unbroken)), lasting(bits(&resumed)));
        assert_eq!(metrics(whole.path())?, metrics(broken.path())?);
        let state = |folder: &Path| -> Result<State, Box<dyn std::error::Error>> {
            let state = checkpoint::verify(&folder.join("run/checkpoints/step-25"))?;
            Ok(State { seconds: 0.0, metrics: 0, ..state })
        };
        assert_eq!(state(whole.path())?, state(broken.path())?);
    }
    Ok(())
}

#[test]
fn micro_batches_give_the_step_of_the_whole_batch() -> Check {
    let folder = tempfile::tempdir()?;
    let mut norms = Vec::new();
    for accumulate in [1, 2, 8] {
        let mut problem =
            problem(folder.path(), ogive_lang::hir::experiment::Optimizer { accumulate, ..optimizer(OptimizerKind::AdamW) }, 3)?;
        // Random masks belong to the micro-batch, so the graph without them is compared.
        problem.training = common::bigram(8 / accumulate, problem.data.vocab, 6, false);
        let sub = folder.path().join(format!("a{accumulate}"));
        std::fs::create_dir(&sub)?;
        let mut trainer = trainer(&sub, problem)?;
        let report = trainer.step()?;
        norms.push((report.loss, report.gradient_norm));
    }
    for (loss, norm) in &norms[1..] {
        assert!((loss - norms[0].0).abs() < 1e-5 && (norm - norms[0].1).abs() < 1e-5, "{norms:?}");
    }
    Ok(())
}

#[test]
fn the_moving_average_is_what_is_evaluated() -> Check {
    let folder = tempfile::tempdir()?;
    let settings = ogive_lang::hir::experiment::Optimizer { ema: Some(0.999), ..optimizer(OptimizerKind::Adam) };
    let mut trainer = trainer(folder.path(), problem(folder.path(), settings, 10)?)?;
    for _ in 0..10 {
        trainer.step()?;
    }
    let bits = bits(&trainer);
    assert_ne!(bits["embed"], bits["ema.embed"]);
    trainer.evaluate(Split::Validation)?;
    assert_eq!(bits, self::bits(&trainer), "evaluation must leave the store as it was");
    Ok(())
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_before_it_spoils_the_weights() -> Check {
    let folder = tempfile::tempdir()?;
    let mut problem = problem(folder.path(), optimizer(OptimizerKind::AdamW), 100)?;
    problem.optimizer.kind = OptimizerKind::Sgd;
    problem.optimizer.momentum = 0.0;
    problem.optimizer.clip = None;
    problem.optimizer.lr.rate = 1e30;
    let mut trainer = trainer(folder.path(), problem)?;
    let error = trainer.run(&mut Silent, &GO).err().ok_or("it ran through")?;
    let RunError::NonFinite { step, place, .. } = &error else { return Err(error.into()) };
    assert_eq!(error.exit_code(), 5);
    assert_eq!(trainer.steps_taken(), step - 1);
    assert!(place.as_ref().is_some_and(|p| p.text.contains("the model")), "{place:?}");
    for (name, values) in bits(&trainer) {
        assert!(values.iter().all(|&b| f32::from_bits(b).is_finite()), "{name}");
    }
    Ok(())
}

#[test]
fn other_data_another_seed_or_another_graph_is_no_continuation() -> Check {
    let folder = tempfile::tempdir()?;
    let mut trainer = trainer(folder.path(), problem(folder.path(), optimizer(OptimizerKind::AdamW), 5)?)?;
    let from = trainer.run(&mut Silent, &GO)?.checkpoint;
    drop(trainer);
    let resume = |change: &dyn Fn(&mut ogive_train::problem::Problem)| -> Result<String, Box<dyn std::error::Error>> {
        let mut problem = problem(folder.path(), optimizer(OptimizerKind::AdamW), 5)?;
        change(&mut problem);
        let run = RunFolder::open(&folder.path().join("run"))?;
        let error = Trainer::resume(problem, &Interpreter, options(), run, &from).err().ok_or("it resumed")?;
        assert_eq!(error.exit_code(), 4);
        Ok(error.to_string())
    };
    assert!(resume(&|p| p.budget.seed = 6)?.contains("the seed"));
    assert!(resume(&|p| p.data.fingerprint = "0".into())?.contains("the data"));
    let other = resume(&|p| p.training = common::bigram(8, p.data.vocab, 7, true))?;
    assert!(other.contains("`embed`") && other.contains("model: 6") && other.contains("model: 7"), "{other}");
    let state = resume(&|p| p.optimizer.kind = OptimizerKind::Sgd)?;
    assert!(state.contains("adam.m.bias") && state.contains("sgd.v.bias"), "{state}");
    let lines = metrics(folder.path())?.len();
    assert_eq!(lines, 6, "a refused resumption cuts nothing off");
    Ok(())
}

#[test]
fn one_run_at_a_time_trains_in_a_folder() -> Check {
    let folder = tempfile::tempdir()?;
    let trainer = trainer(folder.path(), problem(folder.path(), optimizer(OptimizerKind::Sgd), 5)?)?;
    let path = folder.path().join("run");
    assert!(matches!(RunFolder::open(&path), Err(RunError::Busy(_))));
    assert!(matches!(RunFolder::create(&path), Err(RunError::Exists(_))));
    drop(trainer);
    assert!(RunFolder::open(&path).is_ok());
    assert!(matches!(RunFolder::open(folder.path()), Err(RunError::NoRun(_))));
    Ok(())
}

#[test]
fn text_is_generated_from_what_was_learned() -> Check {
    use ogive_train::generate::{Generator, Sampling};
    let folder = tempfile::tempdir()?;
    let mut trainer = trainer(folder.path(), problem(folder.path(), optimizer(OptimizerKind::AdamW), 120)?)?;
    trainer.run(&mut Silent, &GO)?;
    let tokenizer = trainer.problem.data.tokenizer.clone().ok_or("no tokenizer")?;
    let mut lowered = common::bigram(1, trainer.problem.data.vocab, 6, false);
    common::give_logits(&mut lowered.graph);
    let mut store = trainer.store().clone();
    let mut generator = Generator::new(&lowered.graph, "tokens", "logits", &Interpreter, &options().exec)?;
    let prompt = tokenizer.encode("the cat sat on the m")?;
    let greedy = Sampling { temperature: 0.0, top_k: None, top_p: None, seed: 1 };
    // The most likely letter after m is a, and after a is t.
    assert_eq!(tokenizer.decode(&generator.generate(&mut store, &prompt, 2, &greedy, &mut |_| true)?), "at");
    let warm = Sampling { temperature: 1.0, ..greedy };
    let mut sample = |seed| generator.generate(&mut store, &prompt, 30, &Sampling { seed, ..warm }, &mut |_| true);
    let first = sample(1)?;
    assert_eq!((first.len(), &first), (30, &sample(1)?));
    assert_ne!(first, sample(2)?);
    assert!(generator.generate(&mut store, &[], 1, &greedy, &mut |_| true).is_err());
    assert!(generator.generate(&mut store, &[10_000], 1, &greedy, &mut |_| true).is_err());
    let two = generator.generate(&mut store, &prompt, 10, &greedy, &mut |t| t != tokenizer.encode("t").unwrap_or_default()[0])?;
    assert_eq!(two.len(), 2);
    Ok(())
}

#[test]
fn a_run_folder_gives_back_what_described_it() -> Check {
    use ogive_lang::Loader;
    use ogive_train::run::{DataLock, Lock, StoredFiles, read_lock, read_spec, read_tokenizer};
    let folder = tempfile::tempdir()?;
    let problem = problem(folder.path(), optimizer(OptimizerKind::Sgd), 5)?;
    let lock = Lock {
        ogive: "0.1.0".into(),
        experiment: "bigram".into(),
        files: Vec::new(),
        set: vec![("model".into(), "8".into())],
        base: folder.path().into(),
        roots: vec![folder.path().into()],
        settings: BTreeMap::from([("model".into(), "8".into())]),
        seed: u64::MAX,
        graph: problem.graph_hash(),
        parameters: problem.parameters(),
        data: DataLock::of(&problem.data),
    };
    let files = [("specs/a.arch".to_owned(), "// one".to_owned()), ("specs/parts/a.arch".to_owned(), "// two".to_owned())];
    let path = folder.path().join("run");
    let run = RunFolder::create(&path)?;
    run.describe(lock.clone(), &files, problem.data.tokenizer.as_ref())?;
    let read = read_lock(&path)?;
    assert_eq!(read.files.iter().map(|f| f.copy.as_str()).collect::<Vec<_>>(), ["spec/a.arch", "spec/2-a.arch"]);
    assert_eq!(Lock { files: Vec::new(), ..read.clone() }, lock);
    let stored = read_spec(&path, &read)?;
    assert_eq!(stored, files);
    assert_eq!(StoredFiles(&stored).load("specs/a.arch", "parts/a.arch")?.1, "// two");
    assert_eq!(StoredFiles(&stored).load("specs/parts/a.arch", "./../a.arch")?.1, "// one");
    assert!(StoredFiles(&stored).load("specs/a.arch", "b.arch").is_err());
    assert_eq!(read_tokenizer(&path)?.ok_or("no tokenizer")?.vocab(), problem.data.vocab);
    std::fs::write(path.join("lock.json"), "{")?;
    assert!(matches!(read_lock(&path), Err(RunError::BadLock { .. })));
    Ok(())
}

/// The interpreter, as it would be for a model of a petabyte.
struct Huge;

impl Backend for Huge {
    fn name(&self) -> &'static str {
        "huge"
    }

    fn compile(&self, graph: &Graph, options: &Options) -> Result<Box<dyn Executable>, ExecError> {
        Ok(Box::new(Claiming(Interpreter.compile(graph, options)?)))
    }
}

struct Claiming(Box<dyn Executable>);

impl Executable for Claiming {
    fn memory(&self) -> Memory {
        Memory { arena: 1 << 50, ..self.0.memory() }
    }

    fn run(&mut self, store: &mut Store, inputs: &Bindings, draw: Draw) -> Result<(), ExecError> {
        self.0.run(store, inputs, draw)
    }

    fn output(&self, name: &str) -> Option<&Tensor> {
        self.0.output(name)
    }
}

#[test]
fn a_model_that_cannot_fit_is_refused_with_its_largest_tensors() -> Check {
    let folder = tempfile::tempdir()?;
    let problem = problem(folder.path(), optimizer(OptimizerKind::AdamW), 5)?;
    let run = RunFolder::create(&folder.path().join("run"))?;
    let error = Trainer::new(problem, &Huge, options(), run).err().ok_or("it fits")?;
    let RunError::WillNotFit { needed, largest, .. } = &error else { return Err(error.into()) };
    assert!(*needed > 1 << 50 && error.exit_code() == 3);
    assert_eq!(largest.len(), 5);
    assert!(largest[0].contains("batch: 8") && error.to_string().contains(&largest[4]), "{error}");
    Ok(())
}

#[test]
fn a_batch_that_micro_batches_do_not_divide_is_refused() -> Check {
    let folder = tempfile::tempdir()?;
    let settings = ogive_lang::hir::experiment::Optimizer { accumulate: 3, ..optimizer(OptimizerKind::AdamW) };
    let run = RunFolder::create(&folder.path().join("run"))?;
    let error = Trainer::new(problem(folder.path(), settings, 5)?, &Interpreter, options(), run).err();
    assert!(matches!(error, Some(RunError::Uneven { batch: 8, accumulate: 3 })));
    Ok(())
}

#[test]
fn evaluation_weights_of_a_checkpoint_are_the_moving_averages() -> Check {
    let folder = tempfile::tempdir()?;
    let settings = ogive_lang::hir::experiment::Optimizer { ema: Some(0.9), ..optimizer(OptimizerKind::AdamW) };
    let mut trainer = trainer(folder.path(), problem(folder.path(), settings, 5)?)?;
    let from = trainer.run(&mut Silent, &GO)?.checkpoint;
    let expected = |names: &str| trainer.store().tensors[names].clone();
    let like = ["embed", "head", "bias"].iter().map(|n| ((*n).to_owned(), expected(n))).collect();
    assert_eq!(checkpoint::weights(&from, &like)?["head"].data, expected("ema.head").data);
    Ok(())
}
