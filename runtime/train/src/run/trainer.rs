//! The loop: steps, evaluations, checkpoints, claims.

use super::checkpoint::{self, Best, State, Tensors};
use super::error::Place;
use super::evaluate::{Evaluation, Evaluator, keep_scalars, scalar};
use super::folder::RunFolder;
use super::metrics::Metrics;
use super::observer::{Event, Observer, StepReport};
use super::routing;
use super::{RunError, fit, health};
use crate::claims::{self, Outcome};
use crate::data::{self, Part, Streams};
use crate::initialise;
use crate::optimizer::{self, AVERAGES, SUMS, Scalars, Step};
use crate::problem::Problem;
use ogive_graph::pipeline::Scans;
use ogive_graph::{Graph, Op};
use ogive_runtime::{Backend, Bindings, Data, Draw, Executable, Options, Store, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// How to compile.
    pub exec: Options,
    /// Most contexts of an evaluation; all where it is not given.
    pub evaluate_at_most: Option<u64>,
    /// How scans are computed.
    pub scans: Scans,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The budget is spent.
    Complete,
    /// The stop flag was raised; a checkpoint was written.
    Interrupted,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// Steps taken.
    pub step: u64,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// Evaluations of the last step. Empty for an interrupted run.
    pub evaluations: BTreeMap<Part, Evaluation>,
    /// Claims. Empty for an interrupted run.
    pub claims: Vec<Outcome>,
    /// The best evaluation.
    pub best: Option<Best>,
    /// Whether what the run goes on until was reached.
    pub reached: bool,
    /// Seconds of steps and evaluations.
    pub seconds: f64,
    /// Bytes that graphs and store need.
    pub memory: u64,
}

/// A run in progress.
pub struct Trainer<'a> {
    /// What is trained.
    pub problem: Problem,
    streams: Option<Streams>,
    backend: &'a dyn Backend,
    options: RunOptions,
    folder: RunFolder,
    step_graphs: Step,
    metric_names: Vec<String>,
    compute: Box<dyn Executable>,
    apply: Option<Box<dyn Executable>>,
    evaluator: Evaluator<'a>,
    store: Store,
    metrics: Metrics,
    state: State,
    memory: u64,
    warnings: Vec<String>,
}

impl<'a> Trainer<'a> {
    /// A new run in a folder. The model is initialised; nothing is allocated where it does not fit.
    ///
    /// # Errors
    /// What does not compile or fit.
    pub fn new(problem: Problem, backend: &'a dyn Backend, options: RunOptions, folder: RunFolder) -> Result<Self, RunError> {
        let metrics = Metrics::at(&folder, 0, 0)?;
        Self::with(problem, backend, options, folder, metrics)
    }

    /// A run that goes on from a checkpoint: bit for bit as if it had never stopped.
    ///
    /// # Errors
    /// What does not compile or fit; a checkpoint that is damaged or of another model; other data, graph or seed than before.
    pub fn resume(
        problem: Problem,
        backend: &'a dyn Backend,
        options: RunOptions,
        folder: RunFolder,
        from: &Path,
    ) -> Result<Self, RunError> {
        let state = checkpoint::verify(from)?;
        let changed = |what: &str| Err(RunError::Changed(format!("{what} is another than that of `{}`", from.display())));
        if state.seed != problem.budget.seed {
            return changed("the seed");
        }
        if state.data != problem.data.fingerprint {
            return changed("the content of the data");
        }
        let metrics = Metrics::at(&folder, state.metrics, state.step)?;
        let mut trainer = Self::with(problem, backend, options, folder, metrics)?;
        let (model, optimizer) = trainer.parts();
        let expected = |tensors: Tensors<'_>| tensors.into_iter().map(|(n, t)| (n.to_owned(), t.clone())).collect::<BTreeMap<_, _>>();
        let (model, optimizer) = (expected(model), expected(optimizer));
        let model = checkpoint::read(&from.join(checkpoint::MODEL), &model)?;
        let optimizer = checkpoint::read(&from.join(checkpoint::OPTIMIZER), &optimizer)?;
        if state.graph != trainer.state.graph {
            return changed("the training graph");
        }
        trainer.store.tensors.extend(model);
        trainer.store.tensors.extend(optimizer);
        trainer.state = state;
        Ok(trainer)
    }

    fn with(
        problem: Problem,
        backend: &'a dyn Backend,
        options: RunOptions,
        folder: RunFolder,
        metrics: Metrics,
    ) -> Result<Self, RunError> {
        let (batch, accumulate) = (problem.budget.batch, problem.micro_batches());
        if batch == 0 || batch % accumulate != 0 {
            return Err(RunError::Uneven { batch, accumulate });
        }
        let mut forward = problem.training.graph.clone();
        keep_scalars(&mut forward);
        let streams = problem.segment.map(|_| Streams::new(&problem.data, batch, problem.budget.seed));
        if streams.is_some() {
            forward = segmented(&forward, &problem)?;
        }
        let forward =
            problem.gradient.prepare(&forward, options.scans, options.exec.verify).map_err(|f| RunError::Lowering(f.to_string()))?;
        let measured = forward.outputs.iter().filter(|o| !o.update).map(|o| o.port.name.clone());
        let metric_names = measured.filter(|n| n != "loss").collect();
        let learning = problem.gradient.learning_of(streams.is_some());
        let step_graphs = match problem.budget.steps {
            // Nothing is trained: the loss need not depend on a parameter.
            0 => Step::idle(forward),
            _ => optimizer::step_by(&forward, problem.params(), &problem.optimizer, learning)?,
        };
        let store = stored_bytes(&problem, &step_graphs);
        fit::ensure(store, &problem, &step_graphs.compute)?;
        let compile = |graph| backend.compile(graph, &options.exec).map_err(|why| fit::refused(why, store, &problem, &step_graphs.compute));
        let compute = compile(&step_graphs.compute)?;
        let apply = step_graphs.apply.as_ref().map(compile).transpose()?;
        let memories: Vec<_> = [Some(&compute), apply.as_ref()].into_iter().flatten().map(|e| e.memory()).collect();
        let memory = fit::needed(&memories, store);
        if backend.name() != "interp" {
            // The interpreter's figure is the sum of all values, of which few live at once.
            fit::ensure(memory, &problem, &step_graphs.compute)?;
        }
        let seed = problem.budget.seed;
        let dtype = problem.dtype();
        let mut store = initialise::parameters(problem.params(), seed, dtype);
        initialise::states(&mut store, problem.params(), &step_graphs.states, dtype);
        initialise::kept(&mut store, &step_graphs.kept);
        let state = State {
            experiment: problem.name.clone(),
            step: 0,
            seed,
            tokens: 0,
            seconds: 0.0,
            metrics: 0,
            best: None,
            reached: false,
            skipped: 0,
            graph: problem.graph_hash(),
            data: problem.data.fingerprint.clone(),
        };
        let idle = step_graphs.idle.iter().map(|name| format!("the loss does not depend on `{name}`"));
        let warnings = idle.collect();
        let evaluator = Evaluator::new(backend, options.exec.clone(), options.scans);
        checkpoint::sweep(&folder.checkpoints());
        Ok(Trainer {
            problem,
            streams,
            backend,
            options,
            folder,
            step_graphs,
            metric_names,
            compute,
            apply,
            evaluator,
            store,
            metrics,
            state,
            memory,
            warnings,
        })
    }

    /// Parameters and optimiser state.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Steps taken.
    pub fn steps_taken(&self) -> u64 {
        self.state.step
    }

    /// Bytes that graphs and store need.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// One step of the optimiser.
    ///
    /// # Errors
    /// `NonFinite` where as many steps in a row as the optimiser skips were left out, with parameters and state as they were before the step;
    /// those of the executor.
    pub fn step(&mut self) -> Result<StepReport, RunError> {
        if self.problem.budget.steps == 0 {
            // Such a run measures, and has no graph that learns.
            return Err(optimizer::StepError::NothingToLearn.into());
        }
        let began = Instant::now();
        let step = self.state.step + 1;
        let (micro_batches, seed) = (self.problem.micro_batches(), self.problem.budget.seed);
        let scalars = Scalars::of(&self.problem.optimizer, step, self.problem.budget.steps);
        let mut metrics = vec![0.0; self.metric_names.len()];
        let mut draw = Draw { seed, step };
        for micro in 0..micro_batches {
            let mut inputs = self.batch(step, micro);
            scalars.bind(&self.problem.optimizer, self.problem.dtype(), &mut inputs);
            draw.step = step.wrapping_mul(micro_batches).wrapping_add(micro);
            self.compute.run(&mut self.store, &inputs, draw)?;
            for (sum, name) in metrics.iter_mut().zip(&self.metric_names) {
                *sum += scalar(&*self.compute, name)? / micro_batches as f64;
            }
        }
        let last: &dyn Executable = match &mut self.apply {
            None => &*self.compute,
            Some(apply) => {
                let mut inputs = Bindings::new();
                scalars.bind(&self.problem.optimizer, self.problem.dtype(), &mut inputs);
                apply.run(&mut self.store, &inputs, draw)?;
                &**apply
            }
        };
        let (loss, gradient_norm) = (scalar(last, "loss")?, scalar(last, "gradient_norm")?);
        let mut skipped = None;
        if loss.is_finite() && gradient_norm.is_finite() {
            self.state.skipped = 0;
        } else {
            let what = if loss.is_finite() { "gradient" } else { "loss" };
            let place = self.locate(step, &scalars);
            let error = RunError::NonFinite { step, what, place };
            if self.state.skipped >= self.problem.optimizer.skip {
                return Err(error);
            }
            self.state.skipped += 1;
            skipped = Some(format!("{error}; the step is left out"));
        }
        let tokens = self.problem.budget.batch * self.problem.context();
        let seconds = began.elapsed().as_secs_f64();
        self.state.step = step;
        self.state.tokens += tokens;
        self.state.seconds += seconds;
        Ok(StepReport {
            step,
            loss,
            gradient_norm,
            lr: scalars.rate,
            metrics: self.metric_names.iter().cloned().zip(metrics).collect(),
            tokens_per_second: tokens as f64 / seconds.max(1e-9),
            seconds: self.state.seconds,
            skipped,
        })
    }

    /// Where a number that is none came from in this step: its micro-batches are run again.
    fn locate(&mut self, step: u64, scalars: &Scalars) -> Option<Place> {
        let (micro_batches, seed) = (self.problem.micro_batches(), self.problem.budget.seed);
        (0..micro_batches).find_map(|micro| {
            let mut inputs = self.batch(step, micro);
            scalars.bind(&self.problem.optimizer, self.problem.dtype(), &mut inputs);
            let draw = Draw { seed, step: step.wrapping_mul(micro_batches).wrapping_add(micro) };
            health::locate(self.backend, &self.options.exec, &self.step_graphs.compute, &mut self.store, &inputs, draw)
        })
    }

    fn batch(&self, step: u64, micro: u64) -> Bindings {
        let (data, batch) = (&self.problem.data, self.problem.micro_batch());
        let mut inputs = match (&self.streams, self.problem.segment) {
            (Some(streams), Some(segment)) => streams.segment(data, step.saturating_sub(1), segment),
            _ => data::training_batch(data, batch, self.problem.budget.seed, step, micro * batch),
        };
        if self.apply.is_some() {
            inputs.insert("accumulate.first".into(), Tensor::scalar(Data::I32(vec![i32::from(micro == 0)])));
        }
        inputs
    }

    /// Measures on a part of the data, with the moving averages of the parameters where the optimiser keeps them.
    ///
    /// # Errors
    /// Where the part has no context; those of the executor.
    pub fn evaluate(&mut self, part: Part) -> Result<Evaluation, RunError> {
        swap_averages(&mut self.store);
        let result = self.evaluator.evaluate(&self.problem, &mut self.store, part, self.options.evaluate_at_most);
        swap_averages(&mut self.store);
        result
    }

    /// Writes a checkpoint of this step.
    ///
    /// # Errors
    /// Where it cannot be written; earlier ones are intact.
    pub fn checkpoint(&mut self) -> Result<PathBuf, RunError> {
        self.state.metrics = self.metrics.synced()?;
        let (model, optimizer) = self.parts();
        Ok(checkpoint::write(&self.folder.checkpoints(), model, optimizer, &self.state)?)
    }

    fn parts(&self) -> (Tensors<'_>, Tensors<'_>) {
        let lasting = self.store.tensors.iter().filter(|(name, _)| !name.starts_with(SUMS));
        let params: std::collections::BTreeSet<&str> = self.problem.params().iter().map(|p| p.name.as_str()).collect();
        lasting.map(|(name, tensor)| (name.as_str(), tensor)).partition(|(name, _)| params.contains(name))
    }

    /// Trains until the budget is spent or `stop` is raised.
    ///
    /// # Errors
    /// `NonFinite`; those of the executor and of writing.
    pub fn run(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Finished, RunError> {
        let result = self.advance(observer, stop);
        // Whatever was measured is of use, above all after an error.
        let flushed = self.metrics.flush();
        let finished = result?;
        flushed.map(|()| finished)
    }

    fn advance(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Finished, RunError> {
        let steps = self.problem.budget.steps;
        let (experiment, parameters) = (self.problem.name.clone(), self.problem.parameters());
        let (step, memory) = (self.state.step, self.memory);
        observer.on(&Event::Started { experiment: &experiment, parameters, step, steps, memory });
        self.warnings.drain(..).for_each(|w| observer.on(&Event::Warning(&w)));
        let mut evaluations = BTreeMap::new();
        if step == 0 {
            let mut row = Vec::new();
            // A budget of no steps measures what there is.
            let due = if self.spent() { self.parts_at_end() } else { self.parts_after(0) };
            evaluations = self.measure(due, &mut row, observer)?;
            if !row.is_empty() {
                self.metrics.write(0, &row, routing::by_part(&evaluations))?;
            }
        }
        let mut saved = None;
        while !self.spent() {
            if stop.load(Ordering::Relaxed) {
                let path = self.save(observer, saved.take())?;
                return Ok(self.finished(End::Interrupted, path, BTreeMap::new(), Vec::new()));
            }
            let report = self.step()?;
            if let Some(why) = &report.skipped {
                observer.on(&Event::Warning(why));
            }
            observer.on(&Event::Step { report: &report, steps });
            let mut row = row(&report);
            let due = if self.spent() { self.parts_at_end() } else { self.parts_after(report.step) };
            evaluations = self.measure(due, &mut row, observer)?;
            if self.reached(&evaluations) {
                self.state.reached = true;
                observer.on(&Event::Reached { step: report.step, seconds: self.state.seconds });
            }
            if self.spent() {
                // The time of an evaluation can be what ends the budget.
                let mut rest = self.parts_at_end();
                rest.retain(|part| !evaluations.contains_key(part));
                evaluations.extend(self.measure(rest, &mut row, observer)?);
            }
            self.metrics.write(report.step, &row, routing::by_part(&evaluations))?;
            saved = None;
            if let Some(keep) = self.keep_after(report.step) {
                saved = Some(self.save(observer, None)?);
                checkpoint::prune(&self.folder.checkpoints(), keep, self.state.best.map(|b| b.step));
            }
        }
        if evaluations.is_empty() {
            // A resumed run that was complete already.
            evaluations = self.measure(self.parts_at_end(), &mut Vec::new(), observer)?;
        }
        let path = self.save(observer, saved)?;
        if let Some(keep) = self.problem.every.iter().filter_map(|e| e.checkpoint).max() {
            checkpoint::prune(&self.folder.checkpoints(), keep, self.state.best.map(|b| b.step));
        }
        let outcomes = claims::check(&self.problem.claims, &evaluations);
        outcomes.iter().for_each(|o| observer.on(&Event::Claim(o)));
        Ok(self.finished(End::Complete, path, evaluations, outcomes))
    }

    fn finished(&self, end: End, checkpoint: PathBuf, evaluations: BTreeMap<Part, Evaluation>, claims: Vec<Outcome>) -> Finished {
        Finished {
            end,
            step: self.state.step,
            checkpoint,
            evaluations,
            claims,
            best: self.state.best,
            reached: self.state.reached,
            seconds: self.state.seconds,
            memory: self.memory,
        }
    }

    fn spent(&self) -> bool {
        let late = self.problem.budget.minutes.is_some_and(|m| self.state.seconds >= m * 60.0);
        late || self.state.reached || self.state.step >= self.problem.budget.steps
    }

    /// Whether what the run goes on until holds by these evaluations.
    fn reached(&self, evaluations: &BTreeMap<Part, Evaluation>) -> bool {
        let until = &self.problem.until;
        !until.is_empty() && !self.state.reached && claims::check(until, evaluations).iter().all(|o| o.holds)
    }

    fn parts_after(&self, step: u64) -> Vec<Part> {
        let due = self.problem.every.iter().filter(|e| e.steps != 0 && step.is_multiple_of(e.steps));
        sorted(due.flat_map(|e| e.evaluate.iter().copied()))
    }

    fn parts_at_end(&self) -> Vec<Part> {
        let all = self.problem.every.iter().flat_map(|e| e.evaluate.iter().copied());
        sorted(all.chain(claims::parts(&self.problem.claims)).chain(claims::parts(&self.problem.until)))
    }

    fn keep_after(&self, step: u64) -> Option<u64> {
        self.problem.every.iter().filter(|e| e.steps != 0 && step.is_multiple_of(e.steps)).filter_map(|e| e.checkpoint).max()
    }

    fn measure(
        &mut self,
        parts: Vec<Part>,
        row: &mut Vec<(String, f64)>,
        observer: &mut dyn Observer,
    ) -> Result<BTreeMap<Part, Evaluation>, RunError> {
        let mut all = BTreeMap::new();
        for part in parts {
            let began = Instant::now();
            let result = self.evaluate(part)?;
            let (step, loss) = (self.state.step, result.loss());
            let best = part == Part::Validation && self.state.best.is_none_or(|b| loss < b.loss);
            if best {
                self.state.best = Some(Best { step, loss });
            }
            row.extend(result.values.iter().map(|(name, value)| (format!("{}.{name}", part.name()), *value)));
            self.state.seconds += began.elapsed().as_secs_f64();
            observer.on(&Event::Evaluated { step, part, result: &result, best });
            all.insert(part, result);
        }
        Ok(all)
    }

    fn save(&mut self, observer: &mut dyn Observer, saved: Option<PathBuf>) -> Result<PathBuf, RunError> {
        if let Some(path) = saved {
            return Ok(path);
        }
        let path = self.checkpoint()?;
        observer.on(&Event::Saved { step: self.state.step, path: &path });
        Ok(path)
    }
}

fn sorted(parts: impl Iterator<Item = Part>) -> Vec<Part> {
    let mut parts: Vec<Part> = parts.collect();
    parts.sort_unstable();
    parts.dedup();
    parts
}

fn row(report: &StepReport) -> Vec<(String, f64)> {
    let first = [("loss", report.loss), ("lr", report.lr), ("gradient_norm", report.gradient_norm)];
    let last = [("tokens_per_second", report.tokens_per_second), ("seconds", report.seconds)];
    let named = |(name, value): &(&str, f64)| ((*name).to_owned(), *value);
    let skipped = report.skipped.as_ref().map(|_| ("skipped".to_owned(), 1.0));
    first.iter().map(named).chain(report.metrics.iter().cloned()).chain(last.iter().map(named)).chain(skipped).collect()
}

/// Puts the moving averages in place of the parameters, or back.
fn swap_averages(store: &mut Store) {
    let names: Vec<String> = store.tensors.keys().filter_map(|k| k.strip_prefix(AVERAGES)).map(str::to_owned).collect();
    for name in names {
        let average = format!("{AVERAGES}{name}");
        if let (Some(a), Some(p)) = (store.tensors.remove(&average), store.tensors.remove(&name)) {
            store.tensors.insert(average, p);
            store.tensors.insert(name, a);
        }
    }
}

fn stored_bytes(problem: &Problem, step: &Step) -> u64 {
    let width = problem.dtype().bytes();
    let of = |name: &String| problem.params().iter().find(|p| p.name == *name).map_or(1, |p| p.elements());
    let states = step.states.iter().map(|s| s.of.as_ref().map_or(1, of));
    let own = problem.params().iter().map(|p| p.elements()).chain(states).fold(0, |n: u64, e| n.saturating_add(e.saturating_mul(width)));
    step.kept.iter().fold(own, |n, kept| n.saturating_add(kept.bytes()))
}

/// The graph of a step on a segment of each stream.
fn segmented(forward: &Graph, problem: &Problem) -> Result<Graph, RunError> {
    let input = forward.region.nodes.iter().find_map(|n| match &n.op {
        Op::Input(port) if port.name == problem.data.input => Some(port.order.clone()),
        _ => None,
    });
    let Some([examples, positions]) = input.as_deref() else {
        return Err(RunError::Lowering(format!("`{}` is no input with examples and positions", problem.data.input)));
    };
    let new = problem.gradient.segments(forward, *examples, *positions);
    new.map(|s| s.graph).map_err(|o| RunError::Lowering(format!("{} is not carried from segment to segment", o.what)))
}
