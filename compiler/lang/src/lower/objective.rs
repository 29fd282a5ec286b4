//! An experiment's graph: the model, and loss and metrics over what it gives.

use super::inline::{Inline, Tapped};
use super::types::{Lowered, Options};
use super::{axes, binding};
use crate::hir::InstanceId;
use crate::hir::experiment::{Experiment, Label, Source};
use ogive_graph::{AxisId, Builder, Graph, Op, Output, Port, ReduceFn, Shape, Value};

/// Lowers an experiment: outputs `loss` and the metrics, averaged over the dims that are left; inputs those of the model and
/// `next.NAME` for what the objective reads one position later, `data.NAME` for the labels that it reads.
pub fn experiment(experiment: &Experiment, options: &Options) -> Lowered {
    let program = &experiment.program;
    let batch = experiment.batch;
    let mut axes = axes(program);
    axes[batch.index()].size = options.batch.unwrap_or(experiment.budget.batch);
    let root = program.root();
    let mut inline = Inline::new(program, options.dtype, Builder::new(&mut axes));
    let mut inputs = Vec::new();
    let mut next: Vec<Option<Value>> = Vec::new();
    for (i, port) in root.inputs.iter().enumerate() {
        let order: Vec<AxisId> = std::iter::once(batch).chain(port.dims.iter().copied()).collect();
        inputs.push(inline.input(&port.name, order.clone(), port.dtype, port.domain, port.span));
        let read = experiment.objective.sources.contains(&Source::Next(i));
        next.push(read.then(|| {
            let input = inline.input(&format!("next.{}", port.name), order, port.dtype, port.domain, port.span);
            inputs.push(input);
            inputs[inputs.len() - 1].0
        }));
    }
    let mut given: Vec<(Label, Value)> = Vec::new();
    for (source, port) in experiment.objective.sources.iter().zip(&program.instance(experiment.objective.instance).inputs) {
        if let Source::Given(label) = source {
            inputs.push(inline.input(&format!("data.{}", label.name()), port.dims.clone(), port.dtype, port.domain, port.span));
            given.push((*label, inputs[inputs.len() - 1].0));
        }
    }
    let own: Vec<Value> = root.inputs.iter().filter_map(|p| inputs.iter().find(|i| i.1 == p.name).map(|i| i.0)).collect();
    let (results, taps) = inline.instance(InstanceId(0), &own);

    let mut values = Vec::new();
    for source in &experiment.objective.sources {
        values.push(match source {
            Source::Output(i) => results[*i],
            Source::Input(i) => own[*i],
            Source::Next(i) => next[*i].unwrap_or(own[*i]),
            Source::Given(label) => given.iter().find(|(l, _)| l == label).map_or(own[0], |(_, v)| *v),
            Source::Tap { name, axes, instance } => {
                let found: Vec<&Tapped> = taps.iter().filter(|t| t.name == *name).collect();
                tap(&mut inline, &found, axes, *instance)
            }
        });
    }
    let (results, _) = inline.instance(experiment.objective.instance, &values);
    let names = program.instance(experiment.objective.instance).outputs.iter().enumerate();
    let names = names.map(|(i, o)| if i == 0 { "loss".to_owned() } else { o.name.clone() });
    let outputs: Vec<(String, Value)> = names.zip(results).collect();
    let outputs: Vec<(String, Value)> = outputs.into_iter().map(|(name, value)| (name, mean(&mut inline, value))).collect();
    let params = inline.params();
    let region = inline.builder.region;
    let mut graph = Graph { axes, region, outputs: Vec::new() };
    let mut bindings = Vec::new();
    for (name, value) in outputs {
        bindings.push(binding(&graph, &name, &[], graph.region.ty(value).dtype, None));
        graph.outputs.push(Output { port: Port { name, order: Vec::new() }, value, update: false });
    }
    let inputs = inputs.into_iter().map(|(_, name, order, dtype, domain)| binding(&graph, &name, &order, dtype, domain)).collect();
    Lowered { graph, params, inputs, outputs: bindings }
}

/// The mean over every dim, as a float scalar.
fn mean(inline: &mut Inline<'_, '_>, value: Value) -> Value {
    let float = inline.float;
    let value = inline.builder.cast(value, float);
    let over: Vec<AxisId> = inline.builder.shape(value).iter().collect();
    if over.is_empty() {
        return value;
    }
    let count = over.iter().fold(1.0, |n, a| n * inline.builder.axes[a.index()].size as f64);
    let sum = inline.builder.reduce(ReduceFn::Sum, value, &over);
    let share = inline.builder.float(1.0 / count, float);
    inline.builder.map(ogive_graph::MapFn::Mul, &[sum, share])
}

/// A tap as the objective sees it: the only occurrence, or all of them along the dim `instance` under the first one's dims.
fn tap(inline: &mut Inline<'_, '_>, found: &[&Tapped], axes: &[Vec<AxisId>], instance: Option<AxisId>) -> Value {
    let Some(into) = instance else { return found[0].value };
    let first = &axes[0];
    let mut parts = Vec::new();
    let mut each = Vec::new();
    let shape = Shape::of(first.iter().copied());
    for (tap, own) in found.iter().zip(axes) {
        let has = inline.builder.shape(tap.value).clone();
        let pairs: Vec<(AxisId, AxisId)> =
            own.iter().zip(first).filter(|(a, b)| a != b && has.contains(**a)).map(|(a, b)| (*a, *b)).collect();
        let value = if pairs.is_empty() { tap.value } else { inline.builder.add(Op::Rename(pairs), &[tap.value]) };
        let one = inline.builder.axis("one", 1);
        parts.push(inline.widened(value, &shape.with(one)));
        each.push(one);
    }
    inline.builder.add(Op::Concat { axes: each, into }, &parts)
}
