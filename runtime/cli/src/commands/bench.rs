//! `ogive bench`: seconds per training step, or per forward pass, beside a peer's, run alternately.

use super::graph::failed as stage_failed;
use crate::args::Bench;
use crate::exit::Exit;
use crate::experiments::{Asked, failed};
use crate::{backends, load, output, which};
use ogive::stages::{self, Elaborated, Subject};
use ogive_jit::Timing;
use ogive_lang::lower::Binding;
use ogive_lang::{Settings, elaborate};
use ogive_runtime::init::{Init, Kind};
use ogive_runtime::{Bindings, Data, Dim, Draw, Store, Tensor};
use ogive_train::data::Roots;
use ogive_train::run::{RunFolder, RunOptions, Trainer};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Milliseconds of each run, and what else is known.
struct Measured {
    name: String,
    times: Vec<f64>,
    memory: Option<u64>,
    rates: Vec<(&'static str, f64)>,
    /// Times of kernels, of all timed and warming runs together.
    profile: Vec<Timing>,
}

impl Measured {
    fn median(&self) -> f64 {
        let mut sorted = self.times.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        if n == 0 { f64::NAN } else { (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0 }
    }

    fn extremes(&self) -> (f64, f64) {
        self.times.iter().fold((f64::INFINITY, 0.0), |(lo, hi), &t| (lo.min(t), hi.max(t)))
    }
}

pub(crate) fn run(args: &Bench) -> Result<(), Exit> {
    let spec = Arc::new(load::load_clean(&args.spec, &args.overrides)?);
    let subject = which::subject(&spec, &args.which)?;
    // The peer runs between two halves of ours, so that a change of the machine's speed shows in ours.
    let mut peer = None;
    let mut between = || -> Result<(), Exit> {
        if let Some(command) = &args.peer {
            peer = Some(run_peer(command)?);
        }
        Ok(())
    };
    let ours = match &subject {
        Subject::Experiment(name) if !args.forward => training(args, &spec, name, &mut between)?,
        _ => forward(args, &spec, &subject, &mut between)?,
    };
    print(&ours, peer.as_ref());
    if args.profile && !output::json() {
        profile(&ours.profile);
    }
    Ok(())
}

fn timed(
    args: &Bench,
    between: &mut dyn FnMut() -> Result<(), Exit>,
    once: &mut dyn FnMut() -> Result<(), Exit>,
) -> Result<Vec<f64>, Exit> {
    let mut times = Vec::new();
    for half in 0..2 {
        for _ in 0..args.warm.max(1) {
            once()?;
        }
        let runs = if half == 0 { args.runs.div_ceil(2) } else { args.runs / 2 };
        for _ in 0..runs {
            let start = Instant::now();
            once()?;
            times.push(1e3 * start.elapsed().as_secs_f64());
        }
        if half == 0 {
            between()?;
        }
    }
    Ok(times)
}

fn training(
    args: &Bench,
    spec: &Arc<ogive_lang::Spec>,
    name: &str,
    between: &mut dyn FnMut() -> Result<(), Exit>,
) -> Result<Measured, Exit> {
    let set = load::settings(&args.overrides, true)?.set;
    let base = args.spec.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
    let roots = Roots { base, allowed: load::roots(&args.spec, &args.overrides) };
    let asked = Asked { spec: spec.clone(), name: name.to_owned(), set, roots };
    let start = Instant::now();
    let (experiment, data) = asked.load(None)?;
    let tokens = experiment.budget.batch * data.context;
    let problem = asked.problem(&experiment, data);
    let temporary = std::env::temp_dir().join(format!("ogive-bench-{}", std::process::id()));
    let result = (|| {
        let folder = RunFolder::create(&temporary).map_err(|e| failed(&e))?;
        let (backend, trace) = backends::profiled(&args.device, args.profile)?;
        let options =
            RunOptions { exec: backends::options(&args.device, args.scans.asked()), evaluate_at_most: None, scans: args.scans.asked() };
        let mut trainer = Trainer::new(problem, backend.as_ref(), options, folder).map_err(|e| failed(&e))?;
        trainer.step().map_err(|e| failed(&e))?;
        let first = start.elapsed().as_secs_f64();
        if let Some(trace) = &trace {
            trace.take();
        }
        let times = timed(args, between, &mut || trainer.step().map(|_| ()).map_err(|e| failed(&e)))?;
        Ok((times, first, trainer.memory(), trace.map_or_else(Vec::new, |t| t.take())))
    })();
    // A temporary folder that stays behind harms nothing.
    let _ = std::fs::remove_dir_all(&temporary);
    let (times, first, memory, profile) = result?;
    let mut measured =
        Measured { name: format!("ogive, training step of {name}"), times, memory: Some(memory), rates: Vec::new(), profile };
    let seconds = measured.median() / 1e3;
    measured.rates = vec![("tokens/s", tokens as f64 / seconds), ("s from spec to first step", first)];
    Ok(measured)
}

fn forward(
    args: &Bench,
    spec: &Arc<ogive_lang::Spec>,
    subject: &Subject,
    between: &mut dyn FnMut() -> Result<(), Exit>,
) -> Result<Measured, Exit> {
    let settings = load::settings(&args.overrides, false)?;
    let elaborated = match subject {
        Subject::Block(name) => Elaborated::Program(Box::new(load::clean(elaborate::block(spec, name, &settings), &spec.sources)?)),
        Subject::Experiment(name) => {
            let settings = Settings { dims: [("vocab".to_owned(), 256)].into(), ..settings };
            Elaborated::Experiment(Box::new(load::clean(elaborate::experiment(spec, name, &settings), &spec.sources)?))
        }
    };
    let lowered = elaborated.lower().map_err(|e| stage_failed(e, spec))?;
    let graph = stages::given_graph(&elaborated, false, args.scans.asked()).map_err(|e| stage_failed(e, spec))?;
    let (backend, trace) = backends::profiled(&args.device, args.profile)?;
    let mut executable = backend.compile(&graph, &backends::options(&args.device, args.scans.asked())).map_err(backends::failed)?;
    let params = lowered.params.iter().map(|p| (p.name.clone(), dims(&p.dims)));
    let mut store = Store { tensors: params.map(|(n, d)| (n.clone(), noise(&n, d))).collect() };
    let inputs: Bindings = lowered.inputs.iter().map(|b| (b.name.clone(), input(b))).collect();
    let draw = Draw { seed: 1, step: 0 };
    let times = timed(args, between, &mut || executable.run(&mut store, &inputs, draw).map_err(backends::failed))?;
    let bytes: u64 = inputs.values().map(|t| 4 * t.len() as u64).sum::<u64>()
        + lowered.outputs.iter().map(|o| 4 * o.dims.iter().map(|d| d.size).product::<u64>()).sum::<u64>();
    let mut measured = Measured {
        name: format!("ogive, forward pass of {}", subject.name()),
        times,
        memory: Some(executable.memory().total()),
        rates: Vec::new(),
        profile: trace.map_or_else(Vec::new, |t| t.take()),
    };
    let seconds = measured.median() / 1e3;
    measured.rates = vec![("GB/s of inputs and outputs", bytes as f64 / seconds / 1e9)];
    Ok(measured)
}

fn dims(dims: &[ogive_lang::lower::Dim]) -> Vec<Dim> {
    dims.iter().map(|d| Dim { name: d.name.clone(), size: usize::try_from(d.size).unwrap_or(usize::MAX) }).collect()
}

fn noise(name: &str, dims: Vec<Dim>) -> Tensor {
    Init::new(Kind::Normal { std: 1.0 }).fill(name, dims, 1)
}

fn input(binding: &Binding) -> Tensor {
    let dims = dims(&binding.dims);
    match &binding.domain {
        None => noise(&binding.name, dims),
        Some(domain) => {
            let len: usize = dims.iter().map(|d| d.size).product();
            let size = usize::try_from(domain.size).unwrap_or(usize::MAX).max(1);
            Tensor { dims, data: Data::I32((0..len).map(|i| (i.wrapping_mul(7919) % size) as i32).collect()) }
        }
    }
}

/// Runs a shell command and reads the last line of JSON that it prints.
fn run_peer(command: &str) -> Result<Measured, Exit> {
    output::note(format!("peer: {command}"));
    let ran = std::process::Command::new("sh").args(["-c", command]).output();
    let fail = |why: String| {
        output::error(format!("the peer `{command}` {why}"));
        Exit::Usage
    };
    let ran = ran.map_err(|e| fail(e.to_string()))?;
    let text = String::from_utf8_lossy(&ran.stdout);
    let line = text.lines().rev().find_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let Some(line) = line.filter(|l| l["ms"].is_number()) else {
        return Err(fail(format!("printed no line of JSON with `ms`: {}", String::from_utf8_lossy(&ran.stderr))));
    };
    let number = |key: &str| line[key].as_f64();
    let middle = number("ms").unwrap_or(f64::NAN);
    let times = [number("min_ms"), Some(middle), number("max_ms")].into_iter().flatten().collect();
    let name = line["name"].as_str().unwrap_or("peer").to_owned();
    Ok(Measured { name, times, memory: line["peak_bytes"].as_u64(), rates: Vec::new(), profile: Vec::new() })
}

/// Prints the kernels that take most of the processors' time, as milliseconds of one run.
fn profile(all: &[Timing]) {
    /// Most kernels that are printed.
    const MOST: usize = 40;
    let runs = all.iter().map(|t| t.calls).min().unwrap_or(1).max(1) as f64;
    let total: u64 = all.iter().map(|t| t.busy).sum();
    let mut sorted: Vec<&Timing> = all.iter().collect();
    sorted.sort_by_key(|t| std::cmp::Reverse(t.busy));
    let mut rows = vec![["share", "CPU ms", "calls", "us each", "GFLOP/s", "kernel", "where"].map(String::from).to_vec()];
    for t in sorted.iter().take(MOST) {
        rows.push(vec![
            format!("{:.1}%", 100.0 * t.busy as f64 / total.max(1) as f64),
            format!("{:.2}", t.busy as f64 / 1e6 / runs),
            format!("{:.0}", t.calls as f64 / runs),
            format!("{:.1}", t.nanoseconds as f64 / 1e3 / t.calls as f64),
            t.flops.map_or_else(String::new, |f| format!("{:.0}", (f * t.calls) as f64 / t.nanoseconds.max(1) as f64)),
            t.title.clone(),
            if t.line == 0 { t.path.clone() } else { format!("{}:{}", t.path, t.line) },
        ]);
    }
    output::result(output::table(&rows));
    let others = sorted.len().saturating_sub(MOST);
    output::result(format!("{:.2} ms of processor time in all; {others} more kernels", total as f64 / 1e6 / runs));
}

fn print(ours: &Measured, peer: Option<&Measured>) {
    let memory = ogive_runtime::memory::peak();
    if output::json() {
        let value = |m: &Measured| {
            let (min, max) = m.extremes();
            serde_json::json!({ "name": m.name, "ms": m.median(), "min_ms": min, "max_ms": max, "memory_bytes": m.memory })
        };
        let ratio = peer.map(|p| ours.median() / p.median());
        let all = serde_json::json!({ "ours": value(ours), "peer": peer.map(value), "ratio": ratio, "peak_resident_bytes": memory });
        output::result(all.to_string());
        return;
    }
    let mut rows = vec![["", "median ms", "min", "max", "memory"].map(String::from).to_vec()];
    for m in std::iter::once(ours).chain(peer) {
        let (min, max) = m.extremes();
        let memory = m.memory.map_or_else(|| "-".to_owned(), output::bytes);
        rows.push(vec![m.name.clone(), format!("{:.2}", m.median()), format!("{min:.2}"), format!("{max:.2}"), memory]);
    }
    output::result(output::table(&rows));
    for (what, rate) in &ours.rates {
        output::result(format!("{what}: {}", if *rate >= 1000.0 { output::thousands(*rate as u64) } else { format!("{rate:.2}") }));
    }
    if let Some(memory) = memory {
        output::result(format!("peak resident memory of this process: {}", output::bytes(memory)));
    }
    if let Some(peer) = peer {
        output::result(format!("ours / peer: {:.3}", ours.median() / peer.median()));
    }
}
