//! From HIR to a graph, mechanically: instances are inlined where they are called, repetitions become loops.

mod inline;
mod objective;
mod repeat;
mod route;
mod scan;
pub mod states;
pub mod types;

pub use objective::experiment;
pub use types::{Binding, Dim, Listed, Listing, Lowered, Options, Parameter, listing};

use crate::hir::{InstanceId, Program};
use crate::lower::types::joined;
use inline::{Inline, Tapped};
use ogive_graph::{Axis, AxisId, Builder, DType, Graph, Op, Output, Port, Region, Shape, Ty, Value};

/// Lowers a program. Every dim has a size.
///
/// Inputs marked `lifted` have the program's `batch` in front; with `options.batch` all inputs have a batch of that size.
pub fn program(program: &Program, options: &Options) -> Lowered {
    let mut axes = axes(program);
    let batch = match (options.batch, program.batch) {
        (Some(size), Some(batch)) => {
            axes[batch.index()].size = size;
            Some(batch)
        }
        (Some(size), None) => {
            axes.push(Axis { name: "batch".into(), size });
            Some(AxisId(u32::try_from(axes.len() - 1).unwrap_or(u32::MAX)))
        }
        (None, batch) => batch,
    };
    let all = options.batch.is_some();
    let root = program.root();
    let mut inline = Inline::new(program, options.dtype, Builder::new(&mut axes));
    let mut inputs = Vec::new();
    for port in &root.inputs {
        let lifted = batch.filter(|_| all || port.lifted);
        let order: Vec<AxisId> = lifted.into_iter().chain(port.dims.iter().copied()).collect();
        inputs.push(inline.input(&port.name, order, port.dtype, port.domain, port.span));
    }
    let values: Vec<Value> = inputs.iter().map(|i| i.0).collect();
    let (results, taps) = inline.instance(InstanceId(0), &values);
    let mut outputs: Vec<(String, Vec<AxisId>, Option<AxisId>, Value)> =
        root.outputs.iter().zip(results).map(|(output, value)| (output.name.clone(), output.dims.clone(), output.domain, value)).collect();
    if options.taps {
        outputs.extend(named(taps).into_iter().map(|(name, tap)| (name, tap.dims, None, tap.value)));
    }
    let ports: Vec<(Value, Vec<AxisId>)> =
        outputs.iter().map(|(_, dims, _, value)| (*value, order(inline.builder.shape(*value), dims, batch))).collect();
    // An output has exactly the dims that it declares, even where its value does not vary along them.
    let ports: Vec<(Value, Vec<AxisId>)> =
        ports.into_iter().map(|(v, order)| (inline.widened(v, &Shape::of(order.iter().copied())), order)).collect();
    let params = inline.params();
    let region = inline.builder.region;
    let mut graph = Graph { axes, region, outputs: Vec::new() };
    let mut bindings = Vec::new();
    for ((name, _, domain, _), (value, order)) in outputs.into_iter().zip(ports) {
        bindings.push(binding(&graph, &name, &order, graph.region.ty(value).dtype, domain));
        graph.outputs.push(Output { port: Port { name, order }, value, update: false });
    }
    let inputs = inputs.into_iter().map(|(_, name, order, dtype, domain)| binding(&graph, &name, &order, dtype, domain)).collect();
    Lowered { graph, params, inputs, outputs: bindings }
}

/// The axes of a program, with the same ids.
fn axes(program: &Program) -> Vec<Axis> {
    program.axes.iter().map(|a| Axis { name: a.name.clone(), size: a.size.unwrap_or(1) }).collect()
}

/// Dims for a reader: the batch, whatever else the value lifts over, then those declared.
fn order(shape: &Shape, declared: &[AxisId], batch: Option<AxisId>) -> Vec<AxisId> {
    let batch = batch.filter(|b| shape.contains(*b) && !declared.contains(b));
    let extra = shape.iter().filter(|a| !declared.contains(a) && Some(*a) != batch);
    batch.into_iter().chain(extra).chain(declared.iter().copied()).collect()
}

/// Taps by path and name; where that is not unique, with a number behind it.
fn named(taps: Vec<Tapped>) -> Vec<(String, Tapped)> {
    let names: Vec<String> = taps.iter().map(|t| joined(&t.path, &t.name)).collect();
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    let mut out = Vec::new();
    for (name, tap) in names.iter().zip(taps) {
        let count = names.iter().filter(|n| *n == name).count();
        let number = seen.entry(name.clone()).or_insert(0);
        out.push((if count > 1 { format!("{name}.{number}") } else { name.clone() }, tap));
        *number += 1;
    }
    out
}

fn binding(graph: &Graph, name: &str, order: &[AxisId], dtype: DType, domain: Option<AxisId>) -> Binding {
    let dim = |a: AxisId| Dim { name: graph.name(a).to_owned(), size: graph.size(a) };
    Binding { name: name.to_owned(), dims: order.iter().map(|&a| dim(a)).collect(), dtype, domain: domain.map(dim) }
}

/// A port's node.
fn port_node(op: fn(Port) -> Op, name: &str, order: &[AxisId], dtype: DType) -> (Op, Ty) {
    (op(Port { name: name.to_owned(), order: order.to_vec() }), Ty::new(dtype, Shape::of(order.iter().copied())))
}

/// An empty region is what a builder continues after its own was taken.
fn take(builder: &mut Builder<'_>) -> Region {
    std::mem::take(&mut builder.region)
}
