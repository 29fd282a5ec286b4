//! `ogive check --gradients`: gradients of every parameter on random data in double precision, three ways.

use crate::args::{Check, Which};
use crate::exit::Exit;
use crate::{load, output, which};
use ogive::stages::{self, Subject};
use ogive_graph::autodiff::GradError;
use ogive_graph::autodiff::rtrl::Rtrl;
use ogive_graph::pipeline::Scans;
use ogive_graph::{DType, Graph, Op};
use ogive_lang::elaborate;
use ogive_lang::hir::experiment::Gradient;
use ogive_lang::lower::{self, Binding, Lowered};
use ogive_runtime::init::{Init, Kind};
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, Interpreter, Options, Store, Tensor};
use ogive_train::initialise;
use std::path::Path;

/// Examples and positions of the random data.
const BATCH: u64 = 2;
const CONTEXT: u64 = 12;
/// Entries of a parameter that are moved for finite differences.
const ENTRIES: usize = 12;
/// Largest difference between a derivative and its finite difference, as a part of the largest derivative.
const AGREE: f64 = 1e-4;

pub(crate) fn run(args: &Check) -> Result<(), Exit> {
    let mut apart = false;
    for path in load::spec_files(&args.specs)? {
        apart |= one(&path, args)?;
    }
    if apart { Err(Exit::Fault) } else { Ok(()) }
}

/// Prints the table of a spec; whether backpropagation disagrees with finite differences.
fn one(path: &Path, args: &Check) -> Result<bool, Exit> {
    let spec = load::load_clean(path, &args.overrides)?;
    let mut settings = load::settings(&args.overrides, false)?;
    let subject = which::subject(&spec, &Which { of: args.of.clone() })?;
    let options = lower::Options { dtype: DType::F64, batch: Some(BATCH), ..lower::Options::default() };
    let (lowered, asked) = match &subject {
        Subject::Experiment(name) => {
            for (dim, size) in [("context", CONTEXT), ("vocab", 256), ("batch", BATCH)] {
                settings.dims.insert(dim.to_owned(), size);
            }
            let experiment = load::clean(elaborate::experiment(&spec, name, &settings), &spec.sources)?;
            let asked = if let Gradient::Rtrl(rule) = experiment.gradient { rule } else { Rtrl::default() };
            (lower::experiment(&experiment, &options), asked)
        }
        Subject::Block(name) => {
            let program = load::clean(elaborate::block(&spec, name, &settings), &spec.sources)?;
            (lower::program(&program, &options), Rtrl::default())
        }
    };
    let loss = matches!(subject, Subject::Experiment(_));
    let outputs: Vec<String> = if loss { vec!["loss".to_owned()] } else { Vec::new() };
    let mut store = initialise::parameters(&lowered.params, 1, DType::F64);
    for (name, tensor) in &mut store.tensors {
        // Zeros of an initialiser would hide what is multiplied by them.
        let noise = Init::new(Kind::Normal { std: 0.1 }).fill(name, tensor.dims.clone(), 2).to_f64();
        tensor.data = Data::F64(tensor.to_f64().iter().zip(noise).map(|(x, n)| x + n).collect());
    }
    let mut inputs: Bindings = lowered.inputs.iter().map(|b| (b.name.clone(), random(b))).collect();
    for binding in lowered.outputs.iter().filter(|o| o.dtype.is_float()) {
        let one = Tensor::scalar(Data::F64(vec![1.0]));
        let seed = if loss { one } else { noise(&binding.name, dims(binding)) };
        inputs.insert(stages::cotangent(&binding.name), seed);
    }
    let back = gradients(&lowered, &outputs, Gradient::default()).map_err(failed)?;
    let (ahead, rule) = forward_in_time(&lowered, &outputs, asked)?;
    let (back, ahead) = (evaluate(&back, &mut store, &inputs)?, evaluate(&ahead, &mut store, &inputs)?);

    let mut rows = vec![["parameter", "dims", "largest gradient", "bptt - differences", "rtrl - bptt"].map(str::to_owned).to_vec()];
    let (mut apart, mut inexact) = (false, Vec::new());
    for param in &lowered.params {
        let name = format!("grad.{}", param.name);
        let Some(exact) = back.get(&name) else { continue };
        let largest = exact.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let share = |difference: f64| if largest > 0.0 { difference / largest } else { difference };
        let slopes = differences(&lowered, &param.name, &mut store, &inputs, &outputs)?;
        let slope = share(slopes.iter().fold(0.0f64, |m, &(i, s)| m.max((s - exact[i]).abs())));
        apart |= slope > AGREE;
        let other = ahead.get(&name).map_or(largest, |a| a.iter().zip(exact).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())));
        if share(other) > 1e-9 {
            inexact.push(format!("`{}`", param.name));
        }
        let shape: Vec<String> = param.dims.iter().map(|d| format!("{}: {}", d.name, d.size)).collect();
        rows.push(vec![
            param.name.clone(),
            format!("[{}]", shape.join(", ")),
            format!("{largest:.3e}"),
            format!("{slope:.1e}"),
            format!("{:.1e}", share(other)),
        ]);
    }
    output::result(output::table_left(&rows));
    output::note(format!(
        "{}: `bptt` against finite differences of at most {ENTRIES} entries, `{}` against `bptt`, as parts of the largest gradient",
        subject.name(),
        Gradient::Rtrl(rule)
    ));
    if !inexact.is_empty() {
        output::note(format!(
            "{}: learned from the present step alone, for they reach a state through another product or another scan's state",
            inexact.join(", ")
        ));
    }
    if apart {
        output::error("a gradient differs from its finite difference: a kink in the way, or a fault of ogive");
    }
    Ok(apart)
}

fn failed(error: GradError) -> Exit {
    output::error(error.to_string());
    Exit::Spec
}

fn gradients(lowered: &Lowered, outputs: &[String], gradient: Gradient) -> Result<Graph, GradError> {
    let forward = gradient.prepare(&lowered.graph, Scans::PLAIN, false).unwrap_or_else(|f| panic!("{f}"));
    stages::with_gradients_by(&forward, outputs, &mut |_, op| matches!(op, Op::Param(_)), gradient.learning())
}

/// The graph by the rule that was asked for, or by the next one that admits the scans; and that rule.
fn forward_in_time(lowered: &Lowered, outputs: &[String], mut rule: Rtrl) -> Result<(Graph, Rtrl), Exit> {
    loop {
        match gradients(lowered, outputs, Gradient::Rtrl(rule)) {
            Err(error @ GradError::Mixes(_)) if !rule.full && !rule.snap => {
                output::note(format!("{error}; compared by `rtrl(full)`"));
                rule.full = true;
            }
            Err(error @ GradError::Stacked(_)) if !rule.local => {
                output::note(format!("{error}; compared by `rtrl(local)`"));
                rule.local = true;
            }
            Err(error) => return Err(failed(error)),
            Ok(graph) => return Ok((graph, rule)),
        }
    }
}

type Rows = std::collections::BTreeMap<String, Vec<f64>>;

fn evaluate(graph: &Graph, store: &mut Store, inputs: &Bindings) -> Result<Rows, Exit> {
    let mut program = Interpreter.compile(graph, &Options::default()).map_err(crate::backends::failed)?;
    program.run(store, inputs, Draw { seed: 1, step: 1 }).map_err(crate::backends::failed)?;
    let names = graph.outputs.iter().map(|o| o.port.name.clone());
    Ok(names.filter_map(|n| program.output(&n).map(|t| (n.clone(), t.to_f64()))).collect())
}

/// Slopes of some entries of a parameter, by central differences of fourth order.
fn differences(
    lowered: &Lowered,
    param: &str,
    store: &mut Store,
    inputs: &Bindings,
    outputs: &[String],
) -> Result<Vec<(usize, f64)>, Exit> {
    let Some(tensor) = store.tensors.get(param).cloned() else { return Ok(Vec::new()) };
    let values = tensor.to_f64();
    let mut program = Interpreter.compile(&lowered.graph, &Options::default()).map_err(crate::backends::failed)?;
    let mut at = |i: usize, delta: f64| -> Result<f64, Exit> {
        let mut moved = values.clone();
        moved[i] += delta;
        store.tensors.insert(param.to_owned(), Tensor { dims: tensor.dims.clone(), data: Data::F64(moved) });
        program.run(store, inputs, Draw { seed: 1, step: 1 }).map_err(crate::backends::failed)?;
        let floats = lowered.outputs.iter().filter(|o| o.dtype.is_float() && (outputs.is_empty() || outputs.contains(&o.name)));
        let each = floats.filter_map(|o| Some((program.output(&o.name)?.to_f64(), inputs.get(&stages::cotangent(&o.name))?.to_f64())));
        Ok(each.map(|(y, c)| y.iter().zip(&c).map(|(y, c)| y * c).sum::<f64>()).sum())
    };
    let step = values.len().div_ceil(ENTRIES).max(1);
    let h = 1e-3;
    let slope = |i: usize, at: &mut dyn FnMut(usize, f64) -> Result<f64, Exit>| -> Result<(usize, f64), Exit> {
        Ok((i, (8.0 * (at(i, h)? - at(i, -h)?) - (at(i, 2.0 * h)? - at(i, -2.0 * h)?)) / (12.0 * h)))
    };
    let found = (0..values.len()).step_by(step).map(|i| slope(i, &mut at)).collect();
    store.tensors.insert(param.to_owned(), tensor);
    found
}

fn dims(binding: &Binding) -> Vec<Dim> {
    binding.dims.iter().map(|d| Dim { name: d.name.clone(), size: usize::try_from(d.size).unwrap_or(usize::MAX) }).collect()
}

fn noise(name: &str, dims: Vec<Dim>) -> Tensor {
    Init::new(Kind::Normal { std: 1.0 }).fill(name, dims, 3).cast(DType::F64)
}

/// Numbers, positions within their dim, or truth for an input.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position within its dim")]
fn random(binding: &Binding) -> Tensor {
    let values = noise(&binding.name, dims(binding));
    let data = match (binding.dtype, &binding.domain) {
        (DType::Bool, _) => Data::Bool(vec![1; values.len()]),
        (DType::I32, domain) => {
            let size = domain.as_ref().map_or(2, |d| d.size).max(1);
            Data::I32(values.to_f64().iter().map(|x| ((x.abs() * 7919.0) as u64 % size) as i32).collect())
        }
        _ => return values,
    };
    Tensor { data, ..values }
}
