//! Optimisers as graphs: from a forward graph with a scalar output `loss` to a graph whose run is one training step.
//!
//! Appended to the forward graph are the gradients, their global norm (output `gradient_norm`), clipping, and for every parameter its new
//! value and the new values of its optimiser state, as updates of the store. Learning rate and bias corrections enter as scalar inputs
//! (see [`Scalars`]), so the graph is the same for every step. Where loss or norm is not finite, every update writes back what was there:
//! parameters and state stay as they were before the step.
//!
//! A forward graph that takes segments of streams ([`ogive_graph::stream::segments`]) keeps its states in the store, and with real-time
//! recurrent learning its sensitivities: they are updates of the step like any other.
//!
//! With `accumulate: k`, a step is k runs of a first graph that sums gradients in the store and one of a second that applies them.

mod rules;
mod scalars;

pub use scalars::Scalars;

use ogive_graph::autodiff::rtrl::{self, Learning};
use ogive_graph::autodiff::{GradError, reverse};
use ogive_graph::{AxisId, Builder, DType, Graph, MapFn, Op, Output, Port, ReduceFn, Shape, Ty, Value};
use ogive_lang::hir::experiment::Optimizer;
use ogive_lang::lower::Parameter;
use ogive_runtime::{Dim, ports};
use rules::Rule;

/// Prefix of gradient sums in the store. They are dead between steps and never in a checkpoint.
pub const SUMS: &str = "accumulated.";
/// Prefix of moving averages of parameters in the store.
pub const AVERAGES: &str = "ema.";

/// A training step.
#[derive(Clone, Debug)]
pub struct Step {
    /// The graph of a step, or of a micro-batch where `apply` is given.
    pub compute: Graph,
    /// With accumulation: the graph that applies the sums.
    pub apply: Option<Graph>,
    /// Tensors that the store needs besides the parameters.
    pub states: Vec<State>,
    /// What streams leave from segment to segment: states, and sensitivities. It starts as zeros.
    pub kept: Vec<Kept>,
    /// Parameters that the loss does not depend on; they never change.
    pub idle: Vec<String>,
}

impl Step {
    /// A step that changes nothing: the forward graph.
    pub fn idle(forward: Graph) -> Step {
        Step { compute: forward, apply: None, states: Vec::new(), kept: Vec::new(), idle: Vec::new() }
    }
}

/// A tensor of the store that belongs to the optimiser.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// Its name in the store: `adam.m.NAME`.
    pub name: String,
    /// The parameter whose dims it has; `None` for a scalar.
    pub of: Option<String>,
    /// Whether it starts as a copy of the parameter; otherwise as zeros.
    pub copy: bool,
}

/// A tensor of the store that a stream leaves behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Its name in the store.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its dims.
    pub dims: Vec<Dim>,
}

impl Kept {
    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        self.dims.iter().fold(self.dtype.bytes(), |n, d| n.saturating_mul(d.size as u64))
    }
}

/// Why there is no training step.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The forward graph has no scalar output `loss`.
    #[error("the graph has no float scalar output `loss`")]
    NoLoss,
    /// The loss depends on no parameter.
    #[error("the loss depends on no parameter")]
    NothingToLearn,
    /// Micro-batches of a stream.
    #[error("a stream goes on after every run, so a step of it is one run: `accumulate` is 1")]
    Accumulated,
    /// An operation has no derivative.
    #[error(transparent)]
    Gradient(#[from] GradError),
}

/// The training step of a forward graph. `params` lists the parameters; each is an `Op::Param` of the graph's top region.
///
/// # Errors
/// Where there is no loss, nothing to learn, or no derivative.
pub fn step(forward: &Graph, params: &[Parameter], optimizer: &Optimizer) -> Result<Step, StepError> {
    step_by(forward, params, optimizer, Learning::Bptt)
}

/// The training step of a forward graph, by the given rule for scans.
///
/// # Errors
/// Where there is no loss, nothing to learn, no derivative, or the rule does not admit a scan.
pub fn step_by(forward: &Graph, params: &[Parameter], optimizer: &Optimizer, learning: Learning) -> Result<Step, StepError> {
    let (graph, learned, loss) = gradients(forward, params, learning)?;
    let idle = params.iter().filter(|p| !learned.iter().any(|l| l.param.name == p.name)).map(|p| p.name.clone()).collect();
    let states = states(&learned, optimizer);
    if optimizer.accumulate <= 1 {
        let kept = kept(&graph);
        let compute = with_update(graph, &learned, loss, optimizer);
        return Ok(Step { compute, apply: None, states, kept, idle });
    }
    if graph.outputs.iter().any(|o| o.update) {
        return Err(StepError::Accumulated);
    }
    let apply = Some(of_sums(forward, &learned, loss, optimizer));
    Ok(Step { compute: with_sums(graph, &learned, loss), apply, states, kept: Vec::new(), idle })
}

/// A parameter that the loss depends on.
struct Learned<'a> {
    param: &'a Parameter,
    port: Port,
    value: Value,
    gradient: Value,
}

fn gradients<'a>(forward: &Graph, params: &'a [Parameter], learning: Learning) -> Result<(Graph, Vec<Learned<'a>>, Value), StepError> {
    let loss = forward.outputs.iter().find(|o| o.port.name == "loss" && !o.update).ok_or(StepError::NoLoss)?.value;
    let nodes = forward.region.nodes.iter().zip(0..);
    let known = |port: &Port| params.iter().any(|p| p.name == port.name);
    let reads: Vec<(&Port, Value)> = nodes
        .filter_map(|(n, i)| match &n.op {
            Op::Param(port) if known(port) => Some((port, Value(i))),
            _ => None,
        })
        .collect();
    let wrt: Vec<Value> = reads.iter().map(|r| r.1).collect();
    let derived = reverse::gradients_by(forward, loss, &wrt, learning).map_err(|why| match why {
        GradError::NotScalar { .. } => StepError::NoLoss,
        other => StepError::Gradient(other),
    })?;
    let mut graph = derived.graph;
    for (place, sensitivity) in derived.sensitivities.iter().enumerate() {
        if let Some((port, _)) = stored_port(&graph, &rtrl::kept(place)) {
            let port = port.clone();
            graph.outputs.push(Output { port, value: sensitivity.last, update: true });
        }
    }
    let mut learned = Vec::new();
    for param in params {
        let mut total: Option<(Port, Value, Value)> = None;
        for ((port, value), gradient) in reads.iter().zip(&derived.cotangents) {
            if port.name == param.name
                && let Some(gradient) = *gradient
            {
                total = Some(match total {
                    None => ((*port).clone(), *value, gradient),
                    Some((port, value, sum)) => (port, value, extend(&mut graph, |b| b.map(MapFn::Add, &[sum, gradient]))),
                });
            }
        }
        if let Some((port, value, gradient)) = total {
            learned.push(Learned { param, port, value, gradient });
        }
    }
    if learned.is_empty() { Err(StepError::NothingToLearn) } else { Ok((graph, learned, loss)) }
}

/// The parameter of that name and its port.
fn stored_port<'g>(graph: &'g Graph, name: &str) -> Option<(&'g Port, Value)> {
    graph.region.nodes.iter().zip(0..).find_map(|(n, i)| match &n.op {
        Op::Param(port) if port.name == name => Some((port, Value(i))),
        _ => None,
    })
}

/// The updates of a graph that are no parameters' yet: what streams leave behind.
fn kept(graph: &Graph) -> Vec<Kept> {
    let updates = graph.outputs.iter().filter(|o| o.update);
    let of =
        |o: &Output| Kept { name: o.port.name.clone(), dtype: graph.region.ty(o.value).dtype, dims: ports::dims(&o.port, &graph.axes) };
    updates.map(of).collect()
}

fn states(learned: &[Learned<'_>], optimizer: &Optimizer) -> Vec<State> {
    let mut states = Vec::new();
    let mut add = |name: String, of: Option<&str>, copy| states.push(State { name, of: of.map(str::to_owned), copy });
    for l in learned {
        let name = &l.param.name;
        for prefix in Rule::prefixes(optimizer) {
            add(format!("{prefix}{name}"), Some(name), false);
        }
        if optimizer.ema.is_some() {
            add(format!("{AVERAGES}{name}"), Some(name), true);
        }
        if optimizer.accumulate > 1 {
            add(format!("{SUMS}gradient.{name}"), Some(name), false);
        }
    }
    if optimizer.accumulate > 1 {
        add(format!("{SUMS}loss"), None, false);
    }
    states
}

/// The whole step in one graph.
fn with_update(mut graph: Graph, learned: &[Learned<'_>], loss: Value, optimizer: &Optimizer) -> Graph {
    let parts: Vec<(&Learned<'_>, Value, Value)> = learned.iter().map(|l| (l, l.value, l.gradient)).collect();
    let olds: Vec<(usize, Value)> = graph
        .outputs
        .iter()
        .enumerate()
        .filter(|(_, o)| o.update)
        .filter_map(|(i, o)| Some((i, stored_port(&graph, &o.port.name)?.1)))
        .collect();
    let news: Vec<Value> = graph.outputs.iter().map(|o| o.value).collect();
    let (norm, updates, guarded) = extend(&mut graph, |b| {
        let (norm, finite, updates) = update(b, &parts, loss, optimizer);
        let guarded: Vec<(usize, Value)> = olds.iter().map(|&(i, old)| (i, b.map(MapFn::Where, &[finite, news[i], old]))).collect();
        (norm, updates, guarded)
    });
    for (i, value) in guarded {
        graph.outputs[i].value = value;
    }
    graph.outputs.push(output("gradient_norm", Vec::new(), norm, false));
    graph.outputs.extend(updates);
    graph
}

/// A micro-batch: gradients and loss are added to the sums in the store; the run with input `accumulate.first` 1 starts them anew.
fn with_sums(mut graph: Graph, learned: &[Learned<'_>], loss: Value) -> Graph {
    let sums = extend(&mut graph, |b| {
        let first = input(b, "accumulate.first", DType::I32);
        let zero = b.int(0);
        let first = b.map(MapFn::Ne, &[first, zero]);
        let mut sum = |name: &str, order: Vec<AxisId>, addend: Value| {
            let old = stored(b, &format!("{SUMS}{name}"), &order, addend);
            let both = b.map(MapFn::Add, &[old, addend]);
            let value = b.map(MapFn::Where, &[first, addend, both]);
            output(&format!("{SUMS}{name}"), order, value, true)
        };
        let mut sums: Vec<Output> =
            learned.iter().map(|l| sum(&format!("gradient.{}", l.param.name), l.port.order.clone(), l.gradient)).collect();
        sums.push(sum("loss", Vec::new(), loss));
        sums
    });
    graph.outputs.extend(sums);
    graph
}

/// The graph that applies the sums of [`with_sums`]; its outputs are `loss` and `gradient_norm`.
fn of_sums(forward: &Graph, learned: &[Learned<'_>], loss: Value, optimizer: &Optimizer) -> Graph {
    let mut graph = Graph { axes: forward.axes.clone(), ..Graph::default() };
    let dtype = forward.region.ty(loss).dtype;
    let (loss, norm, updates) = extend(&mut graph, |b| {
        let share = b.float(1.0 / optimizer.accumulate as f64, dtype);
        let mean = |b: &mut Builder<'_>, name: &str, order: &[AxisId], ty: &Ty| {
            let sum = b.add_as(Op::Param(Port { name: format!("{SUMS}{name}"), order: order.to_vec() }), &[], Some(ty));
            b.map(MapFn::Mul, &[sum, share])
        };
        let loss = mean(b, "loss", &[], &Ty::scalar(dtype));
        let mut parts = Vec::new();
        for l in learned {
            let ty = forward.region.ty(l.value).clone();
            let value = b.add_as(Op::Param(l.port.clone()), &[], Some(&ty));
            parts.push((l, value, mean(b, &format!("gradient.{}", l.param.name), &l.port.order, &ty)));
        }
        let (norm, _, updates) = update(b, &parts, loss, optimizer);
        (loss, norm, updates)
    });
    graph.outputs.push(output("loss", Vec::new(), loss, false));
    graph.outputs.push(output("gradient_norm", Vec::new(), norm, false));
    graph.outputs.extend(updates);
    graph
}

/// Norm, whether it and the loss are finite, and the updates of parameters (given with value and gradient) and states.
fn update(b: &mut Builder<'_>, parts: &[(&Learned<'_>, Value, Value)], loss: Value, optimizer: &Optimizer) -> (Value, Value, Vec<Output>) {
    let dtype = b.ty(loss).dtype;
    let norm = norm(b, parts);
    let finite = {
        let largest = b.float(if dtype == DType::F32 { f64::from(f32::MAX) } else { f64::MAX }, dtype);
        let size = b.map(MapFn::Abs, &[loss]);
        let both = [b.map(MapFn::Le, &[size, largest]), b.map(MapFn::Le, &[norm, largest])];
        b.map(MapFn::And, &both)
    };
    let scale = optimizer.clip.map(|clip| {
        let clip = b.float(clip, dtype);
        let one = b.float(1.0, dtype);
        let above = b.map(MapFn::Gt, &[norm, clip]);
        let ratio = b.map(MapFn::Div, &[clip, norm]);
        b.map(MapFn::Where, &[above, ratio, one])
    });
    let rule = Rule::new(b, optimizer, dtype);
    let average = optimizer.ema.map(|_| input(b, scalars::EMA, dtype));
    let mut updates = Vec::new();
    for &(l, value, gradient) in parts {
        b.origin = b.region.node(value).origin.clone();
        let gradient = scale.map_or(gradient, |s| b.map(MapFn::Mul, &[gradient, s]));
        let (new, states) = rule.apply(b, l, value, gradient);
        let mut write = |b: &mut Builder<'_>, name: String, old: Value, new: Value| {
            let value = b.map(MapFn::Where, &[finite, new, old]);
            updates.push(output(&name, l.port.order.clone(), value, true));
            value
        };
        for (name, old, new) in states {
            write(b, name, old, new);
        }
        let new = write(b, l.param.name.clone(), value, new);
        if let Some(decay) = average {
            let name = format!("{AVERAGES}{}", l.param.name);
            let old = stored(b, &name, &l.port.order, value);
            let gap = b.map(MapFn::Sub, &[old, new]);
            let kept = b.map(MapFn::Mul, &[decay, gap]);
            let next = b.map(MapFn::Add, &[new, kept]);
            write(b, name, old, next);
        }
    }
    (norm, finite, updates)
}

/// Euclidean norm of all gradients together.
fn norm(b: &mut Builder<'_>, parts: &[(&Learned<'_>, Value, Value)]) -> Value {
    let mut total: Option<Value> = None;
    for &(_, _, gradient) in parts {
        let square = b.map(MapFn::Mul, &[gradient, gradient]);
        let axes: Vec<AxisId> = b.shape(square).axes().to_vec();
        let sum = b.reduce(ReduceFn::Sum, square, &axes);
        total = Some(total.map_or(sum, |t| b.map(MapFn::Add, &[t, sum])));
    }
    let total = total.unwrap_or_else(|| b.float(0.0, DType::F32));
    b.map(MapFn::Sqrt, &[total])
}

fn input(b: &mut Builder<'_>, name: &str, dtype: DType) -> Value {
    b.add_as(Op::Input(Port { name: name.into(), order: Vec::new() }), &[], Some(&Ty::scalar(dtype)))
}

/// A tensor of the store with the type of `like`.
fn stored(b: &mut Builder<'_>, name: &str, order: &[AxisId], like: Value) -> Value {
    let ty = Ty::new(b.ty(like).dtype, Shape::of(order.iter().copied()));
    b.add_as(Op::Param(Port { name: name.into(), order: order.to_vec() }), &[], Some(&ty))
}

fn output(name: &str, order: Vec<AxisId>, value: Value, update: bool) -> Output {
    Output { port: Port { name: name.into(), order }, value, update }
}

/// Appends to the top region of a graph.
pub(crate) fn extend<T>(graph: &mut Graph, f: impl FnOnce(&mut Builder<'_>) -> T) -> T {
    let mut b = Builder::over(&mut graph.axes, std::mem::take(&mut graph.region));
    let result = f(&mut b);
    graph.region = b.region;
    result
}
