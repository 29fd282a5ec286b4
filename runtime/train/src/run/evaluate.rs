//! Evaluation: the loss and the metrics over a part of the data, context by context, in order.

use super::RunError;
use super::routing::{self, Routing};
use crate::data::{self, Dataset, Part};
use crate::optimizer::extend;
use crate::problem::Problem;
use ogive_graph::load::{Load, with_loads};
use ogive_graph::pipeline::Scans;
use ogive_graph::{AxisId, Graph, MapFn, Op, Output, Port, ReduceFn, Value};
use ogive_runtime::{Backend, Draw, ExecError, Executable, Options, Store};
use std::collections::BTreeMap;

/// Output that [`with_likelihood`] adds.
const LIKELIHOOD: &str = "negative log-likelihood";

/// What was measured on a part of the data.
#[derive(Clone, PartialEq, Debug)]
pub struct Evaluation {
    /// `loss`, the declared metrics, and for language models `perplexity`, `bits_per_token` and, for text, `bits_per_byte`; where the model
    /// selects, `routing_dead` (share of places never chosen) and `routing_entropy` (share of the largest), means over all selections.
    pub values: Vec<(String, f64)>,
    /// How each selection spread over its places.
    pub routing: Vec<Routing>,
    /// Contexts that were looked at.
    pub contexts: u64,
}

impl Evaluation {
    /// A measured number.
    pub fn get(&self, metric: &str) -> Option<f64> {
        self.values.iter().find(|(name, _)| name == metric).map(|(_, value)| *value)
    }

    /// The loss.
    pub fn loss(&self) -> f64 {
        self.get("loss").unwrap_or(f64::NAN)
    }
}

struct Compiled {
    executable: Box<dyn Executable>,
    outputs: Vec<String>,
    loads: Vec<Load>,
    /// Has the dims of the loads.
    graph: Graph,
}

/// Evaluates with graphs that are compiled when first needed.
pub struct Evaluator<'a> {
    backend: &'a dyn Backend,
    options: Options,
    scans: Scans,
    compiled: BTreeMap<(u64, u64), Compiled>,
}

impl<'a> Evaluator<'a> {
    /// With a back end; `scans` says how scans are computed.
    pub fn new(backend: &'a dyn Backend, options: Options, scans: Scans) -> Self {
        Evaluator { backend, options, scans, compiled: BTreeMap::new() }
    }

    /// Means over the whole, non-overlapping contexts of a part, at most `limit`. Contexts at the end that do not fill a batch are left
    /// out. Perplexity and bits are those of the tokens that follow, whatever else is in the loss.
    ///
    /// # Errors
    /// Where the part has no context, or the executor fails.
    pub fn evaluate(&mut self, problem: &Problem, store: &mut Store, part: Part, limit: Option<u64>) -> Result<Evaluation, RunError> {
        let data = &problem.data;
        let split = data.split(part);
        let contexts = data::contexts(split).min(limit.unwrap_or(u64::MAX));
        let batch = problem.micro_batch().min(contexts);
        if batch == 0 {
            return Err(RunError::NoContext(part.name()));
        }
        let compiled = self.compiled(problem, batch, split.context)?;
        let batches = contexts / batch;
        let mut sums = vec![0.0; compiled.outputs.len()];
        let mut picks: Vec<Vec<f64>> = vec![Vec::new(); compiled.loads.len()];
        for i in 0..batches {
            let inputs = data::evaluation_batch(data, part, batch, i * batch);
            compiled.executable.run(store, &inputs, Draw { seed: problem.budget.seed, step: i })?;
            for (sum, name) in sums.iter_mut().zip(&compiled.outputs) {
                *sum += scalar(&*compiled.executable, name)?;
            }
            for (counts, load) in picks.iter_mut().zip(&compiled.loads) {
                add(counts, &*compiled.executable, &load.output)?;
            }
        }
        let mut values: Vec<(String, f64)> = compiled.outputs.iter().cloned().zip(sums.iter().map(|s| s / batches as f64)).collect();
        if let Some(at) = values.iter().position(|(name, _)| name == LIKELIHOOD) {
            let (_, nats) = values.remove(at);
            values.extend(of_likelihood(nats, data, part));
        }
        let loads = compiled.loads.iter().zip(&picks);
        let routing: Vec<Routing> = loads.map(|(load, counts)| Routing::of(load, &compiled.graph, counts)).collect();
        values.extend(routing::summary(&routing));
        Ok(Evaluation { values, routing, contexts: batches * batch })
    }

    fn compiled(&mut self, problem: &Problem, batch: u64, context: u64) -> Result<&mut Compiled, RunError> {
        let make = || -> Result<Compiled, RunError> {
            let lowered = (problem.evaluation)(batch, context).map_err(RunError::Lowering)?;
            let mut graph = lowered.graph;
            keep_scalars(&mut graph);
            with_likelihood(&mut graph, &format!("next.{}", problem.data.input));
            let outputs = graph.outputs.iter().map(|o| o.port.name.clone()).collect();
            let (graph, loads) = with_loads(&graph);
            let graph = optimised(&graph, self.scans, &self.options)?;
            Ok(Compiled { executable: self.backend.compile(&graph, &self.options)?, outputs, loads, graph })
        };
        if let std::collections::btree_map::Entry::Vacant(slot) = self.compiled.entry((batch, context)) {
            slot.insert(make()?);
        }
        self.compiled.get_mut(&(batch, context)).ok_or_else(|| RunError::Lowering("it vanished".into()))
    }
}

fn of_likelihood(nats: f64, data: &Dataset, part: Part) -> Vec<(String, f64)> {
    let bits = nats / std::f64::consts::LN_2;
    let mut values = vec![("perplexity".to_owned(), nats.exp()), ("bits_per_token".to_owned(), bits)];
    if let Some(bytes) = data.split(part).bytes_per_token() {
        values.push(("bits_per_byte".into(), bits / bytes));
    }
    values
}

/// The passes that come before differentiation, attention without its table of scores among them.
fn optimised(graph: &Graph, scans: Scans, options: &Options) -> Result<Graph, RunError> {
    ogive_graph::pipeline::prepare(graph, scans, options.verify).map_err(|failure| RunError::Lowering(failure.to_string()))
}

/// Drops every output that is no float scalar or is an update.
pub(super) fn keep_scalars(graph: &mut Graph) {
    let region = &graph.region;
    graph.outputs.retain(|o| {
        let ty = region.ty(o.value);
        !o.update && ty.dtype.is_float() && ty.shape.is_scalar()
    });
}

/// Adds the mean negative log-likelihood of the tokens that follow in nats, where the graph looks them up along an axis of some logits: the
/// gather of a cross entropy.
fn with_likelihood(graph: &mut Graph, following: &str) {
    let next = |v: Value| matches!(&graph.region.node(v).op, Op::Input(port) if port.name == following);
    let nodes = graph.region.nodes.iter().zip(0..);
    let mut gathers = nodes.filter_map(|(node, i)| match &node.op {
        Op::Gather(axis) if node.ty.dtype.is_float() && next(node.inputs[1]) => Some((Value(i), node.inputs[0], *axis)),
        _ => None,
    });
    let Some((target, logits, axis)) = gathers.next() else { return };
    let elements = graph.elements(&graph.region.ty(target).shape) as f64;
    let value = extend(graph, |b| {
        let total = b.add(Op::LogSumExp(vec![axis]), &[logits]);
        let each = b.map(MapFn::Sub, &[total, target]);
        let over: Vec<AxisId> = b.shape(each).axes().to_vec();
        let sum = b.reduce(ReduceFn::Sum, each, &over);
        let share = b.float(1.0 / elements, b.ty(sum).dtype);
        b.map(MapFn::Mul, &[sum, share])
    });
    graph.outputs.push(Output { port: Port { name: LIKELIHOOD.into(), order: Vec::new() }, value, update: false });
}

/// Adds an output of the last run.
fn add(counts: &mut Vec<f64>, executable: &dyn Executable, name: &str) -> Result<(), ExecError> {
    let new = executable.output(name).ok_or_else(|| ExecError::Internal(format!("there is no output `{name}`")))?.to_f64();
    counts.resize(new.len(), 0.0);
    counts.iter_mut().zip(new).for_each(|(sum, x)| *sum += x);
    Ok(())
}

/// A scalar output of the last run.
pub(super) fn scalar(executable: &dyn Executable, name: &str) -> Result<f64, ExecError> {
    let value = executable.output(name).and_then(|t| t.to_f64().first().copied());
    value.ok_or_else(|| ExecError::Internal(format!("there is no output `{name}`")))
}
