//! Learning online from streams: what segments hold, that a resumed run is the unbroken one, that memory does not grow.

use ogive_graph::stream::RESET;
use ogive_jit::Cpu;
use ogive_lang::hir::experiment::Corpus;
use ogive_lang::{NoImports, Settings, Spec, elaborate, lower};
use ogive_runtime::{Backend, Bindings, Data, Interpreter, Options, ports};
use ogive_train::data::{DataSpec, Dataset, Part, Roots, Source, Streams, TokenizerSpec};
use ogive_train::problem::Problem;
use ogive_train::run::{RunFolder, RunOptions, Silent, Trainer, checkpoint};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

type Check = Result<(), Box<dyn std::error::Error>>;
static GO: AtomicBool = AtomicBool::new(false);

const SPEC: &str = "\
model memory[seq, symbol, class, unit = 6](symbols: [seq] in symbol) -> logits: [seq, class] {
  param out: [unit, class]
  h      = scan elstm(one_hot(symbols)[symbol as in], unit: unit) along seq
  logits = h @unit out
}
experiment online {
  model      memory
  data       generated(recall, length: [3, 6], longer: [7, 8], far: [9, 10], examples: 9, held_out: 4)
  loss       sum(where(counted, cross_entropy(logits, target, over: class), 0), over: seq)
  gradient   rtrl
  update     every: 4
  optimizer  adam(lr: 1e-2)
  budget     steps: 20, batch: 3, seed: 1
  every 5    { evaluate validation   checkpoint keep: 9 }
}
experiment text {
  model      characters
  data       text(\"text.txt\", tokenizer: bytes, context: 8, split: [0.8, 0.1, 0.1], order: stream)
  loss       cross_entropy(logits, next(tokens), over: symbol)
  optimizer  adam(lr: 1e-2)
  budget     steps: 20, batch: 2, seed: 1
}
model characters[seq, symbol, unit = 6](tokens: [seq] in symbol) -> logits: [seq, symbol] {
  param embed: [symbol, unit]
  param out:   [unit, symbol]
  h      = scan elstm(embed[tokens][unit as in], unit: unit) along seq
  logits = h @unit out
}
";

/// The problem of an experiment, with values set as `--set` would.
fn problem(name: &str, folder: &Path, set: &[(&str, &str)]) -> Result<Problem, Box<dyn std::error::Error>> {
    let (spec, found) = Spec::load("spec.arch", SPEC.into(), &NoImports);
    assert!(!found.has_errors(), "{:?}", found.list);
    let spec = Arc::new(spec);
    let set: Vec<(String, String)> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let settings = move |training, dims: &[(&str, u64)]| Settings {
        set: set.clone(),
        dims: dims.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect(),
        training,
    };
    let of = name.to_owned();
    let made =
        move |training, dims: &[(&str, u64)]| elaborate::experiment(&spec, &of, &settings(training, dims)).0.ok_or("does not elaborate");
    let first = made(true, &[("vocab", 256)])?;
    let source = match &first.data.corpus {
        Corpus::Generated(strings) => Source::Generated(*strings),
        Corpus::Text(path) => Source::Text(path.into()),
        other => panic!("{other:?}"),
    };
    let spec = DataSpec { source, tokenizer: TokenizerSpec::Bytes, context: first.data.context, split: first.data.split };
    let mut data = Dataset::load(&spec, &Roots::of(folder), None)?;
    let experiment = made(true, &[("vocab", data.vocab)])?;
    data.input.clone_from(&experiment.program.root().inputs[0].name);
    let vocab = data.vocab;
    let options = |batch| lower::Options { batch: Some(batch), ..lower::Options::default() };
    Ok(Problem {
        name: experiment.name.clone(),
        training: lower::experiment(&experiment, &options(experiment.budget.batch)),
        evaluation: Box::new(move |batch, context| {
            let made = made(false, &[("vocab", vocab), ("batch", batch), ("context", context)])?;
            Ok(lower::experiment(&made, &options(batch)))
        }),
        gradient: experiment.gradient,
        segment: experiment.segment,
        optimizer: experiment.optimizer.clone(),
        budget: experiment.budget,
        every: experiment.every.clone(),
        until: Vec::new(),
        claims: Vec::new(),
        data,
    })
}

fn options() -> RunOptions {
    RunOptions { exec: Options { threads: 1, verify: true, ..Options::default() }, evaluate_at_most: None, ..RunOptions::default() }
}

fn trainer<'a>(folder: &Path, problem: Problem, backend: &'a dyn Backend) -> Result<Trainer<'a>, Box<dyn std::error::Error>> {
    let run = RunFolder::create(&folder.join("run"))?;
    std::fs::write(run.path.join("lock.json"), "{}")?;
    Ok(Trainer::new(problem, backend, options(), run)?)
}

fn row(inputs: &Bindings, name: &str, row: usize) -> Vec<i32> {
    let tensor = &inputs[name];
    let width = tensor.dims[1].size;
    let all: Vec<i32> = match &tensor.data {
        Data::I32(all) => all.clone(),
        Data::Bool(all) => all.iter().map(|b| i32::from(*b)).collect(),
        other => panic!("{:?}", other.dtype()),
    };
    all[row * width..(row + 1) * width].to_vec()
}

/// Every string of the training part comes once, whole and marked at its start, before the first comes again; segments of any length
/// cut the same stream.
#[test]
fn a_stream_of_strings_has_each_behind_the_other() -> Check {
    let folder = tempfile::tempdir()?;
    let data = problem("online", folder.path(), &[])?.data;
    let streams = Streams::new(&data, 3, 7);
    let take = |segment: u64, count: u64, name: &str, at: usize| -> Vec<i32> {
        (0..count).flat_map(|i| row(&streams.segment(&data, i, segment), name, at)).collect()
    };
    for stream in 0..3 {
        for name in [RESET, "symbols", "data.target", "data.counted"] {
            assert_eq!(take(1, 60, name, stream), take(4, 15, name, stream), "{name}");
            assert_eq!(take(60, 1, name, stream), take(4, 15, name, stream), "{name}");
        }
        let (reset, symbols) = (take(60, 1, RESET, stream), take(60, 1, "symbols", stream));
        let (target, counted) = (take(60, 1, "data.target", stream), take(60, 1, "data.counted", stream));
        assert_eq!(reset[0], 1);
        let mut sign = 0;
        for at in 0..60 {
            assert_eq!(reset[at] == 1, symbols[at] < 2, "a sign stands at the start");
            sign = if reset[at] == 1 { symbols[at] } else { sign };
            assert_eq!(counted[at] == 1, symbols[at] == 3, "a junction is where something is told");
            assert!(counted[at] == 0 || target[at] == sign);
        }
        let mut lengths: Vec<usize> = Vec::new();
        reset.iter().for_each(|r| if *r == 1 { lengths.push(1) } else { *lengths.last_mut().unwrap_or(&mut 0) += 1 });
        let all: usize = lengths[..9].iter().sum();
        assert_eq!(symbols[..60 - all], symbols[all..], "nine strings, then the first again");
    }
    assert_ne!(take(60, 1, "symbols", 0), take(60, 1, "symbols", 1));
    Ok(())
}

#[test]
fn a_stream_of_text_goes_on_and_starts_again() -> Check {
    let folder = tempfile::tempdir()?;
    let text: Vec<u8> = (0..250u32).map(|i| (i % 251) as u8 % 90 + 32).collect();
    std::fs::write(folder.path().join("text.txt"), &text)?;
    let problem = problem("text", folder.path(), &[])?;
    assert_eq!((problem.segment, problem.context()), (Some(8), 8));
    let data = &problem.data;
    let streams = Streams::new(data, 2, 1);
    let length = data.split(Part::Training).tokens.len() - 1;
    let take = |name: &str, at: usize| -> Vec<i32> { (0..60).flat_map(|i| row(&streams.segment(data, i, 8), name, at)).collect() };
    for (stream, start) in [(0, 0), (1, length / 2)] {
        let (tokens, next, reset) = (take("tokens", stream), take("next.tokens", stream), take(RESET, stream));
        for i in 0..tokens.len() {
            let at = (start + i) % length;
            assert_eq!((tokens[i], next[i]), (i32::from(text[at]), i32::from(text[at + 1])));
            assert_eq!(reset[i] == 1, at == 0 || i == 0);
        }
    }
    Ok(())
}

#[test]
fn a_resumed_stream_is_the_unbroken_one_bit_for_bit() -> Check {
    for gradient in ["rtrl", "bptt"] {
        let folders = (tempfile::tempdir()?, tempfile::tempdir()?);
        let made = |folder: &Path| problem("online", folder, &[("gradient", gradient)]);
        let mut whole = trainer(folders.0.path(), made(folders.0.path())?, &Interpreter)?;
        whole.run(&mut Silent, &GO)?;
        let mut first = trainer(folders.1.path(), made(folders.1.path())?, &Interpreter)?;
        first.run(&mut Silent, &GO)?;
        drop(first);
        let run = RunFolder::open(&folders.1.path().join("run"))?;
        let steps = checkpoint::list(&run.checkpoints());
        let from = steps.iter().find(|s| s.0 == 10).ok_or("no step 10")?.1.clone();
        let mut resumed = Trainer::resume(made(folders.1.path())?, &Interpreter, options(), run, &from)?;
        resumed.run(&mut Silent, &GO)?;
        let kept: Vec<&String> = whole.store().tensors.keys().filter(|n| n.starts_with("stream.")).collect();
        // One state; six parameters of the cell reach it.
        assert_eq!(kept.len(), if gradient == "rtrl" { 7 } else { 1 }, "{kept:?}");
        for (name, tensor) in &whole.store().tensors {
            assert_eq!(ports::show(&tensor.dims), ports::show(&resumed.store().tensors[name].dims));
            assert_eq!(format!("{:?}", tensor.data), format!("{:?}", resumed.store().tensors[name].data), "{name} with {gradient}");
        }
    }
    Ok(())
}

/// Bytes that the process holds.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = status.split(' ').nth(1).and_then(|p| p.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// As much memory after 100,000 updates as after 256: an update at every position of three streams.
#[test]
fn memory_does_not_grow_with_the_stream() -> Check {
    let folder = tempfile::tempdir()?;
    let set = [("update.every", "1"), ("steps", "1000000")];
    let backend = Cpu::new();
    let mut trainer = trainer(folder.path(), problem("online", folder.path(), &set)?, &backend)?;
    let planned = trainer.memory();
    let mut held = Vec::new();
    for step in 1..=100_000 {
        let report = trainer.step()?;
        assert!(report.loss.is_finite());
        if step == 256 || step == 100_000 {
            held.push(resident());
        }
    }
    assert_eq!(trainer.memory(), planned);
    let [early, late] = held[..] else { panic!("{held:?}") };
    assert!(early > 0 && late <= early + (1 << 20), "{early} bytes after 256 updates, {late} after 100,000");
    Ok(())
}
