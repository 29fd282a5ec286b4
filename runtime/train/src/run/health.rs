//! Where a number that is none comes from: the step is run once more on the interpreter, which sees the inside of loops. Where its rounding
//! brings out none, the compiled step is run with a probe on every value outside of loops.

use super::error::Place;
use crate::optimizer::{SUMS, extend};
use ogive_graph::{DType, Graph, MapFn, Op, Output, Port, ReduceFn, Value};
use ogive_runtime::interp::{self, Bad};
use ogive_runtime::{Backend, Bindings, Draw, Options, Store};

/// The value that a NaN or an infinity of these inputs came from.
pub(super) fn locate(
    backend: &dyn Backend,
    options: &Options,
    step: &Graph,
    store: &mut Store,
    inputs: &Bindings,
    draw: Draw,
) -> Option<Place> {
    // Sums over micro-batches hold what an earlier one left.
    match interp::first_bad(step, store, inputs, draw, &|name| name.starts_with(SUMS)) {
        Ok(Some(bad)) => Some(Place { text: in_words(&bad), origin: bad.origin }),
        _ => probed(backend, options, step, store, inputs, draw),
    }
}

fn in_words(bad: &Bad) -> String {
    if bad.what.starts_with("the ") {
        return bad.what.clone();
    }
    let path = if bad.origin.path.is_empty() { "the model" } else { &*bad.origin.path };
    let line = if bad.origin.line == 0 { String::new() } else { format!(", line {} of `{}`", bad.origin.line, bad.origin.file) };
    let around: String = bad.iterations.iter().map(|(axis, at)| format!(", {axis} {at}")).collect();
    let kind = if bad.nan { "not a number" } else { "infinite" };
    format!("`{path}` ({}{line}{around}: {kind})", bad.what)
}

/// The first value, in the order of computation, that holds a NaN, else the first that holds an infinity.
fn probed(backend: &dyn Backend, options: &Options, step: &Graph, store: &mut Store, inputs: &Bindings, draw: Draw) -> Option<Place> {
    let (graph, watched) = probes(step);
    let mut executable = backend.compile(&graph, options).ok()?;
    executable.run(store, inputs, draw).ok()?;
    let found = |kind: &str| {
        let bad = |&&value: &&Value| executable.output(&name(kind, value)).is_some_and(|t| t.to_f64() != [0.0]);
        watched.iter().find(bad).map(|&value| Place { text: describe(&graph, value), origin: graph.region.node(value).origin.clone() })
    };
    found("nan").or_else(|| found("infinite"))
}

/// The graph with two scalar outputs, 0 or 1, for each float value, and those values.
fn probes(step: &Graph) -> (Graph, Vec<Value>) {
    let mut graph = Graph { outputs: Vec::new(), ..step.clone() };
    let several = |op: &Op| matches!(op, Op::Loop(_) | Op::Attend(_) | Op::AttendGrad(_));
    let nodes = graph.region.nodes.iter().zip(0..);
    let probed: Vec<Value> = nodes.filter(|(n, _)| n.ty.dtype.is_float() && !several(&n.op)).map(|(_, i)| Value(i)).collect();
    for &value in &probed {
        let flags = extend(&mut graph, |b| {
            let dtype = b.ty(value).dtype;
            let zero = b.float(0.0, dtype);
            let largest = b.float(if dtype == DType::F32 { f64::from(f32::MAX) } else { f64::MAX }, dtype);
            // A NaN is neither at most nor above anything.
            let ordered = [b.map(MapFn::Le, &[value, zero]), b.map(MapFn::Gt, &[value, zero])];
            let ordered = b.map(MapFn::Or, &ordered);
            let nan = b.map(MapFn::Not, &[ordered]);
            let size = b.map(MapFn::Abs, &[value]);
            let infinite = b.map(MapFn::Gt, &[size, largest]);
            [nan, infinite].map(|flag| {
                let number = b.cast(flag, DType::F32);
                let axes = b.shape(number).axes().to_vec();
                b.reduce(ReduceFn::Max, number, &axes)
            })
        });
        for (kind, value_) in ["nan", "infinite"].iter().zip(flags) {
            let port = Port { name: name(kind, value), order: Vec::new() };
            graph.outputs.push(Output { port, value: value_, update: false });
        }
    }
    (graph, probed)
}

fn name(kind: &str, value: Value) -> String {
    format!("{kind}.{}", value.0)
}

fn describe(graph: &Graph, value: Value) -> String {
    let node = graph.region.node(value);
    if let Op::Param(port) = &node.op {
        return format!("the parameter `{}`", port.name);
    }
    let path = if node.origin.path.is_empty() { "the model" } else { &*node.origin.path };
    let what = match &node.op {
        Op::Map(f) => f.name(),
        Op::Reduce(..) => "a reduction",
        Op::Contract(_) => "a contraction",
        Op::Solve { .. } => "a triangular system",
        Op::Softmax(_) => "softmax",
        Op::LogSumExp(_) => "logsumexp",
        Op::Project(_) => "a result of a repetition or of attention",
        _ => "a value",
    };
    let line = if node.origin.line == 0 { String::new() } else { format!(", line {} of `{}`", node.origin.line, node.origin.file) };
    format!("`{path}` ({what}{line}, {value})")
}
