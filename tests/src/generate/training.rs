//! Some steps of training, by the interpreter in both precisions and by the CPU back end: losses, weights, optimiser and what streams leave.

use super::chance::Chance;
use super::judge::{DOUBLE, Failure, LOST, Verdict, failed};
use super::tolerance::{Rounding, all_finite};
use crate::check::{self, Results};
use ogive_graph::pipeline::Scans;
use ogive_graph::stream::RESET;
use ogive_graph::{AxisId, DType, Graph, Op};
use ogive_jit::Cpu;
use ogive_jit::primitives::Primitives;
use ogive_lang::hir::experiment::Optimizer;
use ogive_lang::lower::{self, Lowered};
use ogive_lang::{NoImports, Settings, Severity, Spec, elaborate};
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, Executable, Interpreter, Options, Store, Tensor};
use ogive_train::initialise;
use ogive_train::optimizer::{self, Scalars, Step};
use std::collections::BTreeMap;

/// Steps that are taken.
const STEPS: u64 = 3;

/// What is trained.
struct Training {
    step: Step,
    optimizer: Optimizer,
    dtype: DType,
    store: Store,
    /// The inputs of each run.
    runs: Vec<Bindings>,
}

/// A number behind a word in a text.
fn number(text: &str, word: &str) -> Option<u64> {
    let rest = text.split_once(word)?.1;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Trains the experiment of a text, where it has one, in every way.
pub(super) fn judge(text: &str, seed: u64) -> Result<(), Verdict> {
    if !text.contains("\nexperiment run {") {
        return Ok(());
    }
    let (double, single) = (made(text, DType::F64, seed)?, made(text, DType::F32, seed)?);
    let failure = |stage: &str, why: String| Verdict::Failed(Failure { stage: stage.to_owned(), why });
    let reference = |t: &Training| t.run(&Interpreter, &Options::default()).map_err(|why| failure("training, interpreter", why));
    let (exact, near) = (reference(&double)?, reference(&single)?);
    let rounding = Rounding::new(&near, &exact);
    if !all_finite(&exact) {
        return Err(Verdict::Skipped("with numbers that are none".into()));
    }
    if rounding.worst(&exact) > LOST {
        return Err(Verdict::Skipped("near a tie or ill conditioned".into()));
    }
    let mut chance = Chance::new(seed ^ 0x7472_6169);
    let sets: Vec<&str> = Primitives::all().map(Primitives::name).collect();
    let isa = *chance.one(&sets);
    let stage = format!("training, cpu {isa}");
    let options = |threads| Options { threads, verify: true, isa: Some(isa.to_owned()), ..Options::default() };
    let run = |threads| single.run(&Cpu::new(), &options(threads)).map_err(|why| failure(&stage, why));
    let (found, twice) = (run(1)?, run(2)?);
    if let Err(why) = rounding.apart(&found, &exact, 1.0) {
        for scale in [6e-8, 3e-7, 1e-6, 3e-6] {
            for _ in 0..3 {
                let moved = double.nudged(scale, &mut chance).run(&Interpreter, &Options::default());
                if moved.is_ok_and(|m| rounding.apart(&m, &exact, 1.0).is_err()) {
                    return Err(Verdict::Skipped("near a tie or ill conditioned".into()));
                }
            }
        }
        return failed(stage, why);
    }
    if !check::same_bits(&found, &twice) {
        return failed("training, two threads", "give other bits");
    }
    // in double precision the back end differs from the interpreter by the order of its sums
    let found = double.run(&Cpu::new(), &options(1));
    match found {
        Ok(found) => rounding.apart(&found, &exact, DOUBLE).or_else(|why| failed("training, cpu in double precision", why)),
        Err(why) if why.contains("f64") => Ok(()),
        Err(why) => failed("training, cpu in double precision", why),
    }
}

fn made(text: &str, dtype: DType, seed: u64) -> Result<Training, Verdict> {
    let (spec, found) = Spec::load("generated.arch", text.to_owned(), &NoImports);
    let error = |found: &ogive_lang::Diagnostics| {
        let mut errors = found.list.iter().filter(|d| d.severity == Severity::Error);
        errors.next().map_or_else(String::new, |d| format!("{}: {}", d.code, d.message))
    };
    if found.has_errors() {
        return failed("parser", error(&found));
    }
    let size = |dim: &str| number(text, &format!("{dim} = ")).unwrap_or(1);
    let batch = number(text, super::judge::BATCH).unwrap_or(2);
    let dims = [("context", size("seq")), ("vocab", size("vocab")), ("batch", batch)].map(|(n, s)| (n.to_owned(), s)).into();
    let (experiment, found) = elaborate::experiment(&spec, "run", &Settings { dims, training: true, ..Settings::default() });
    let Some(experiment) = experiment else {
        let why = error(&found);
        if why.contains("grad::across_segments") {
            return Err(Verdict::Skipped("no stream".into()));
        }
        return failed(format!("experiment {}", why.split(": ").next().unwrap_or_default()), why);
    };
    let micro = (batch / experiment.optimizer.accumulate.max(1)).max(1);
    let lowered = lower::experiment(&experiment, &lower::Options { dtype, batch: Some(micro), ..lower::Options::default() });
    let mut forward = lowered.graph.clone();
    let region = &forward.region;
    let scalar = |v| region.ty(v).dtype.is_float() && region.ty(v).shape.is_scalar();
    forward.outputs.retain(|o| !o.update && scalar(o.value));
    let mut stream = false;
    if experiment.segment.is_some()
        && let Some((examples, positions)) = ports(&forward, "tokens")
    {
        match experiment.gradient.segments(&forward, examples, positions) {
            Ok(segmented) => (forward, stream) = (segmented.graph, true),
            Err(obstacle) => return Err(Verdict::Skipped(format!("no stream: {}", obstacle.what))),
        }
    }
    let forward = match experiment.gradient.prepare(&forward, Scans::default(), true) {
        Ok(forward) => forward,
        Err(failure) => return failed("training, passes", failure.to_string()),
    };
    let learning = experiment.gradient.learning_of(stream);
    let step = match optimizer::step_by(&forward, &lowered.params, &experiment.optimizer, learning) {
        Ok(step) => step,
        Err(optimizer::StepError::Gradient(_)) => return Err(Verdict::Skipped("refused by its rule".into())),
        Err(why) => return failed("training, step", why.to_string()),
    };
    for graph in std::iter::once(&step.compute).chain(&step.apply) {
        check::sound(graph).or_else(|why| failed("training, step", why))?;
    }
    let mut chance = Chance::new(seed ^ 0x7374_6570);
    let mut store = initialise::parameters(&lowered.params, seed, DType::F32);
    for tensor in store.tensors.values_mut() {
        if let Data::F32(x) = &mut tensor.data {
            x.iter_mut().for_each(|x| *x = (0.5 * chance.normal()) as f32);
        }
        *tensor = tensor.clone().cast(dtype);
    }
    initialise::states(&mut store, &lowered.params, &step.states, dtype);
    initialise::kept(&mut store, &step.kept);
    let micros = if step.apply.is_some() { experiment.optimizer.accumulate } else { 1 };
    let resets = ports(&forward, RESET).is_some();
    let runs = (0..STEPS * micros).map(|i| inputs(&lowered, micro, resets.then_some(i), &mut chance)).collect();
    Ok(Training { step, optimizer: experiment.optimizer, dtype, store, runs })
}

/// The axes of an input with examples and positions.
fn ports(graph: &Graph, name: &str) -> Option<(AxisId, AxisId)> {
    graph.region.nodes.iter().find_map(|n| match &n.op {
        Op::Input(port) if port.name == name => Some((*port.order.first()?, *port.order.get(1)?)),
        _ => None,
    })
}

/// Tokens by chance, and where a stream begins anew: at the start of the first run, and now and then.
fn inputs(lowered: &Lowered, batch: u64, run: Option<u64>, chance: &mut Chance) -> Bindings {
    let mut all = Bindings::new();
    let mut shape = Vec::new();
    for input in &lowered.inputs {
        let (name, dims, dtype, domain) = (&input.name, &input.dims, input.dtype, &input.domain);
        let dims: Vec<Dim> = dims.iter().map(|d| Dim { name: d.name.clone(), size: d.size as usize }).collect();
        let count: usize = dims.iter().map(|d| d.size).product();
        let below = domain.as_ref().map_or(2, |d| d.size as usize);
        let data = match dtype {
            DType::Bool => Data::Bool((0..count).map(|_| u8::from(chance.percent(70))).collect()),
            _ => Data::I32((0..count).map(|_| chance.below(below) as i32).collect()),
        };
        if name == "tokens" {
            shape = dims.clone();
        }
        all.insert(name.clone(), Tensor { dims, data });
    }
    if let Some(run) = run {
        let seq = shape.last().map_or(1, |d| d.size);
        let begins = |i: usize, chance: &mut Chance| u8::from(run == 0 && i.is_multiple_of(seq) || chance.percent(10));
        let data = (0..batch as usize * seq).map(|i| begins(i, chance)).collect();
        all.insert(RESET.into(), Tensor { dims: shape, data: Data::Bool(data) });
    }
    all
}

impl Training {
    fn run(&self, backend: &dyn Backend, options: &Options) -> Result<Results, String> {
        let compile = |graph| backend.compile(graph, options).map_err(|e| e.to_string());
        let mut compute = compile(&self.step.compute)?;
        let mut apply = self.step.apply.as_ref().map(compile).transpose()?;
        let micros = if apply.is_some() { self.optimizer.accumulate } else { 1 };
        let mut store = self.store.clone();
        let mut found = BTreeMap::new();
        for step in 1..=STEPS {
            let scalars = Scalars::of(&self.optimizer, step, 8);
            let mut draw = Draw { seed: 3, step };
            for micro in 0..micros {
                let mut inputs = self.runs[((step - 1) * micros + micro) as usize].clone();
                scalars.bind(&self.optimizer, self.dtype, &mut inputs);
                if apply.is_some() {
                    inputs.insert("accumulate.first".into(), Tensor::scalar(Data::I32(vec![i32::from(micro == 0)])));
                }
                draw.step = step * micros + micro;
                compute.run(&mut store, &inputs, draw).map_err(|e| e.to_string())?;
            }
            if let Some(apply) = &mut apply {
                let mut inputs = Bindings::new();
                scalars.bind(&self.optimizer, self.dtype, &mut inputs);
                apply.run(&mut store, &inputs, draw).map_err(|e| e.to_string())?;
            }
            let last: &dyn Executable = apply.as_deref().unwrap_or(&*compute);
            for name in ["loss", "gradient_norm"] {
                let tensor = last.output(name).ok_or_else(|| format!("no {name}"))?;
                found.insert(format!("{name} {step}"), tensor.clone());
            }
        }
        found.extend(store.tensors);
        Ok(found)
    }

    fn nudged(&self, scale: f64, chance: &mut Chance) -> Training {
        let mut store = self.store.clone();
        for tensor in store.tensors.values_mut() {
            if let Data::F64(x) = &mut tensor.data {
                x.iter_mut().for_each(|x| *x += scale * (0.1 + x.abs()) * chance.normal());
            }
        }
        Training { step: self.step.clone(), optimizer: self.optimizer.clone(), dtype: self.dtype, store, runs: self.runs.clone() }
    }
}
