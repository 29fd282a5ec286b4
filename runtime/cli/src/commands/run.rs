//! `ogive run`: a block, cell or model on given tensors, with gradients where cotangents are given.

mod given;
mod list;
mod states;

use crate::args::{Float, Run};
use crate::exit::Exit;
use crate::{backends, load, output, which};
use given::{Given, Wanted};
use ogive::stages;
use ogive_graph::{DType, Graph};
use ogive_lang::elaborate;
use ogive_lang::hir::experiment::Gradient;
use ogive_lang::lower::{self, Binding, Lowered};
use ogive_lang::syntax::BlockKind;
use ogive_runtime::files;
use ogive_runtime::{Bindings, Dim, Draw, Store, Tensor};
use std::collections::BTreeMap;

pub(crate) fn run(args: &Run) -> Result<(), Exit> {
    let spec = load::load_clean(&args.spec, &args.overrides)?;
    let settings = load::settings(&args.overrides, args.training)?;
    let name = which::block(&spec, &args.which)?;
    if args.list {
        let program = load::clean(elaborate::open_block(&spec, &name, &settings), &spec.sources)?;
        list::print(&program, &states::list(&spec, &program, &settings, args.along.as_deref())?);
        return Ok(());
    }
    let Some(out) = &args.out else {
        output::error("--out FILE says where the outputs go (or ask with --list what is expected)");
        return Err(Exit::Usage);
    };
    let mut params = Given::open("parameter", args.params.as_deref())?;
    let mut inputs = Given::open("input", args.inputs.as_deref())?;
    if let Some(path) = &args.states {
        inputs.after(path, spec.block(spec.root, &name).is_some_and(|(_, b)| b.kind == BlockKind::Cell))?;
    }
    let mut cotangents = Given::open("cotangent", args.cotangents.as_deref())?;
    let shapes = params.shapes().into_iter().chain(inputs.shapes()).collect();
    let program = load::clean(elaborate::block_for_tensors(&spec, &name, &settings, &shapes), &spec.sources)?;
    let dtype = match args.dtype {
        Float::F32 => DType::F32,
        Float::F64 => DType::F64,
    };
    let batch = None;
    let mut lowered = lower::program(&program, &lower::Options { dtype, batch, taps: true });
    let mut wanted: Wanted = lowered.inputs.iter().map(expected).collect();
    let (more, started) = states::carry(args.along.as_deref(), &program, &mut lowered, &inputs)?;
    wanted.extend(more);
    let store =
        Store { tensors: params.take(lowered.params.iter().map(|p| (p.name.clone(), dims_of(&p.dims), DType::F32)).collect(), dtype)? };
    let mut bindings = inputs.take(wanted, dtype)?;
    let inputs_only = bindings.clone();
    for binding in &started {
        // not read: the state starts
        bindings.insert(binding.name.clone(), Tensor::zeros(binding.dtype, dims(&binding.dims)));
    }
    let graph = if args.cotangents.is_some() {
        let seeds = cotangents.take(seeds_expected(&lowered, &cotangents), dtype)?;
        let graph = with_gradients(&lowered, &seeds, args)?;
        bindings.extend(seeds.into_iter().map(|(name, tensor)| (stages::cotangent(&name), tensor)));
        graph
    } else {
        lowered.graph.clone()
    };
    let given: BTreeMap<String, Tensor> = match args.cotangents {
        Some(_) => store.tensors.iter().chain(&inputs_only).map(|(n, t)| (n.clone(), t.clone())).collect(),
        None => BTreeMap::new(),
    };
    let mut results = evaluate(args, &graph, store, &bindings)?;
    results.retain(|name, _| !started.iter().any(|s| name.strip_prefix("grad.") == Some(&s.name)));
    fill(&mut results, &given, dtype);
    files::write(out, results.iter().map(|(n, t)| (n.as_str(), t)), &BTreeMap::new()).map_err(|e| {
        output::error(e.to_string());
        Exit::Data
    })?;
    for (name, tensor) in &results {
        output::detail(format!("{name}: {} {}", tensor.dtype(), ogive_runtime::ports::show(&tensor.dims)));
    }
    output::note(format!("{}: {} tensors", out.display(), results.len()));
    Ok(())
}

fn dims_of(dims: &[lower::Dim]) -> Vec<(String, u64)> {
    dims.iter().map(|d| (d.name.clone(), d.size)).collect()
}

fn expected(binding: &Binding) -> (String, Vec<(String, u64)>, DType) {
    (binding.name.clone(), dims_of(&binding.dims), if binding.dtype.is_float() { DType::F32 } else { binding.dtype })
}

fn dims(dims: &[lower::Dim]) -> Vec<Dim> {
    dims.iter().map(|d| Dim { name: d.name.clone(), size: usize::try_from(d.size).unwrap_or(usize::MAX) }).collect()
}

/// Cotangents may be given for some of the float outputs.
fn seeds_expected(lowered: &Lowered, given: &Given) -> Wanted {
    let floats = lowered.outputs.iter().filter(|o| o.dtype.is_float());
    floats.filter(|o| given.has(&o.name)).map(expected).collect()
}

/// The graph with an input for each cotangent and an output `grad.NAME` for each parameter and floating input that has one.
fn with_gradients(lowered: &Lowered, seeds: &BTreeMap<String, Tensor>, args: &Run) -> Result<Graph, Exit> {
    let mut gradient = args.gradient;
    if let Gradient::Rtrl(rule) = &mut gradient {
        rule.expose = args.sensitivities;
    }
    let forward = gradient.prepare(&lowered.graph, args.scans.asked(), false).map_err(|f| {
        output::error(f.to_string());
        Exit::Fault
    })?;
    let outputs: Vec<String> = seeds.keys().cloned().collect();
    stages::with_gradients_by(&forward, &outputs, &mut |_, _| true, gradient.learning()).map_err(|e| {
        output::error(e.to_string());
        Exit::Spec
    })
}

/// Gradients of zero for what has no influence on any output with a cotangent.
fn fill(results: &mut BTreeMap<String, Tensor>, given: &BTreeMap<String, Tensor>, dtype: DType) {
    for (name, tensor) in given.iter().filter(|(_, t)| t.dtype().is_float()) {
        results.entry(format!("grad.{name}")).or_insert_with(|| Tensor::zeros(dtype, tensor.dims.clone()));
    }
}

fn evaluate(args: &Run, graph: &Graph, mut store: Store, bindings: &Bindings) -> Result<BTreeMap<String, Tensor>, Exit> {
    let mut executable = backends::compile(&args.device, graph, args.scans.asked())?;
    executable.run(&mut store, bindings, Draw { seed: args.seed, step: 0 }).map_err(backends::failed)?;
    let names = graph.outputs.iter().filter(|o| !o.update).map(|o| o.port.name.clone());
    Ok(names.filter_map(|n| executable.output(&n).map(|t| (n.clone(), t.clone()))).collect())
}
