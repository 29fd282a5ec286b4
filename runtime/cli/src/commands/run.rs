//! `ogive run`: a block, cell or model on given tensors, with gradients where cotangents are given.

use crate::args::{Float, Run};
use crate::exit::Exit;
use crate::{backends, load, output, which};
use ogive::stages;
use ogive_graph::{DType, Graph};
use ogive_lang::elaborate;
use ogive_lang::hir::Program;
use ogive_lang::hir::experiment::Gradient;
use ogive_lang::lower::{self, Binding, Listed, Lowered};
use ogive_runtime::files::{self, Reader};
use ogive_runtime::{Bindings, Draw, Store, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &Run) -> Result<(), Exit> {
    let spec = load::load_clean(&args.spec, &args.overrides)?;
    let settings = load::settings(&args.overrides, args.training)?;
    let name = which::block(&spec, &args.which)?;
    if args.list {
        let program = load::clean(elaborate::open_block(&spec, &name, &settings), &spec.sources)?;
        list(&program);
        return Ok(());
    }
    let Some(out) = &args.out else {
        output::error("--out FILE says where the outputs go (or ask with --list what is expected)");
        return Err(Exit::Usage);
    };
    let mut params = Given::open("parameter", args.params.as_deref())?;
    let mut inputs = Given::open("input", args.inputs.as_deref())?;
    let mut cotangents = Given::open("cotangent", args.cotangents.as_deref())?;
    let shapes = params.shapes().into_iter().chain(inputs.shapes()).collect();
    let program = load::clean(elaborate::block_for_tensors(&spec, &name, &settings, &shapes), &spec.sources)?;
    let dtype = match args.dtype {
        Float::F32 => DType::F32,
        Float::F64 => DType::F64,
    };
    let batch = None;
    let lowered = lower::program(&program, &lower::Options { dtype, batch, taps: true });
    let store =
        Store { tensors: params.take(lowered.params.iter().map(|p| (p.name.clone(), dims_of(&p.dims), DType::F32)).collect(), dtype)? };
    let mut bindings = inputs.take(lowered.inputs.iter().map(expected).collect(), dtype)?;
    let inputs_only = bindings.clone();
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

type Wanted = Vec<(String, Vec<(String, u64)>, DType)>;

fn dims_of(dims: &[lower::Dim]) -> Vec<(String, u64)> {
    dims.iter().map(|d| (d.name.clone(), d.size)).collect()
}

fn expected(binding: &Binding) -> (String, Vec<(String, u64)>, DType) {
    (binding.name.clone(), dims_of(&binding.dims), if binding.dtype == DType::I32 { DType::I32 } else { DType::F32 })
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
    let mut executable = backends::compile(&args.device, graph)?;
    executable.run(&mut store, bindings, Draw { seed: args.seed, step: 0 }).map_err(backends::failed)?;
    let names = graph.outputs.iter().filter(|o| !o.update).map(|o| o.port.name.clone());
    Ok(names.filter_map(|n| executable.output(&n).map(|t| (n.clone(), t.clone()))).collect())
}

fn list(program: &Program) {
    let listing = lower::listing(program);
    if output::json() {
        let entry = |l: &Listed| {
            let dims: Vec<_> = l.dims.iter().map(|(n, s)| serde_json::json!({ "name": n, "size": s })).collect();
            serde_json::json!({ "name": l.name, "dims": dims, "dtype": l.dtype.name(), "domain": l.domain })
        };
        let all = |list: &[Listed]| list.iter().map(entry).collect::<Vec<_>>();
        let value = serde_json::json!({
            "inputs": all(&listing.inputs), "params": all(&listing.params), "outputs": all(&listing.outputs),
        });
        output::result(value.to_string());
        return;
    }
    let mut rows = vec![vec!["kind".into(), "name".into(), "dims".into(), "type".into()]];
    for (kind, entries) in [("input", &listing.inputs), ("param", &listing.params), ("output", &listing.outputs)] {
        for l in entries {
            let dim = |(n, s): &(String, Option<u64>)| s.map_or_else(|| n.clone(), |s| format!("{n}: {s}"));
            let dims = format!("[{}]", l.dims.iter().map(dim).collect::<Vec<_>>().join(", "));
            let ty = match &l.domain {
                Some(domain) => format!("positions in {domain}"),
                None if l.dtype.is_float() => "float".to_owned(),
                None => l.dtype.name().to_owned(),
            };
            rows.push(vec![kind.to_owned(), l.name.clone(), dims, ty]);
        }
    }
    output::result(output::table_left(&rows));
    output::note("An input may have one more dim in front, a batch. A dim without a size takes it from the tensors that are given.");
}

/// Tensors of a file, against what is expected.
struct Given {
    kind: &'static str,
    path: PathBuf,
    reader: Option<Reader>,
}

impl Given {
    fn open(kind: &'static str, path: Option<&Path>) -> Result<Given, Exit> {
        let reader = path.map(Reader::open).transpose().map_err(|e| {
            output::error(e.to_string());
            Exit::Data
        })?;
        Ok(Given { kind, path: path.map(Path::to_path_buf).unwrap_or_default(), reader })
    }

    fn has(&self, name: &str) -> bool {
        self.reader.as_ref().is_some_and(|r| r.entries.contains_key(name))
    }

    fn shapes(&self) -> BTreeMap<String, Vec<u64>> {
        let entries = self.reader.iter().flat_map(|r| &r.entries);
        entries.map(|(name, entry)| (name.clone(), entry.dims.iter().map(|d| d.size as u64).collect())).collect()
    }

    /// The wanted tensors, named as wanted; every one that is missing, left over or of other dims is reported.
    fn take(&mut self, wanted: Wanted, float: DType) -> Result<BTreeMap<String, Tensor>, Exit> {
        let mut tensors = BTreeMap::new();
        let mut failed = false;
        let place = if self.path.as_os_str().is_empty() { "what was given".to_owned() } else { format!("`{}`", self.path.display()) };
        for (name, dims, dtype) in &wanted {
            let shown = format!("[{}]", dims.iter().map(|(n, s)| format!("{n}: {s}")).collect::<Vec<_>>().join(", "));
            let Some(reader) = self.reader.as_mut().filter(|r| r.entries.contains_key(name)) else {
                let known = self.reader.iter().flat_map(|r| r.entries.keys()).map(String::as_str);
                let near = ogive_lang::suggest::nearest(name, known).map_or_else(String::new, |n| format!("; it has `{n}`"));
                output::error(format!("{} `{name}` {shown} is missing in {place}{near}", self.kind));
                failed = true;
                continue;
            };
            let tensor = match reader.tensor(name, Some(if *dtype == DType::I32 { DType::I32 } else { float })) {
                Ok(tensor) => tensor,
                Err(error) => {
                    output::error(error.to_string());
                    failed = true;
                    continue;
                }
            };
            let sizes: Vec<u64> = tensor.dims.iter().map(|d| d.size as u64).collect();
            if sizes != dims.iter().map(|d| d.1).collect::<Vec<_>>() {
                output::error(format!("{} `{name}` is {shown} in the spec and has dims {sizes:?} in {place}", self.kind));
                failed = true;
                continue;
            }
            let dims = dims.iter().map(|(n, s)| ogive_runtime::Dim { name: n.clone(), size: usize::try_from(*s).unwrap_or(usize::MAX) });
            tensors.insert(name.clone(), Tensor { dims: dims.collect(), data: tensor.data });
        }
        let extra: Vec<&String> =
            self.reader.iter().flat_map(|r| r.entries.keys()).filter(|n| !wanted.iter().any(|(w, ..)| w == *n)).collect();
        for name in extra {
            let near = ogive_lang::suggest::nearest(name, wanted.iter().map(|w| w.0.as_str()));
            let hint = near.map_or_else(|| "`--list` prints what is expected".to_owned(), |n| format!("did you mean `{n}`?"));
            output::error(format!("{place} has `{name}`, which is no {} of the spec; {hint}", self.kind));
            failed = true;
        }
        if failed { Err(Exit::Data) } else { Ok(tensors) }
    }
}
