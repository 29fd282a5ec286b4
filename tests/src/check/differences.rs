//! Derivatives against finite differences, in f64.

use super::{DRAW, interpret, sound};
use crate::cases::Made;
use ogive_graph::autodiff::forward::jvp;
use ogive_graph::autodiff::reverse::{gradients, gradients_by};
use ogive_graph::pipeline::Scans;
use ogive_graph::{Builder, DType, Graph, MapFn, Node, Op, Output, Port, ReduceFn, Value};
use ogive_lang::hir::experiment::Gradient;
use ogive_runtime::{Backend, Bindings, Data, Executable, Interpreter, Options, Store, Tensor};

/// Step of the differences: half of the least distance of an input to a kink.
const STEP: f64 = 1.0 / 4096.0;

/// Largest error, relative to the slope or, one hundredth of it, to the largest of its tensor.
const TOLERANCE: f64 = 1e-6;

/// A float tensor that derivatives are taken in.
struct Variable {
    value: Value,
    port: Port,
    param: bool,
}

/// A case with one scalar output, `loss`: the sum of all float outputs, each element with a weight of its own.
pub(crate) fn with_loss(made: &Made) -> Option<(Graph, Value)> {
    let mut graph = made.graph.clone();
    let outputs: Vec<Value> = graph.outputs.iter().map(|o| o.value).filter(|&v| graph.region.ty(v).dtype.is_float()).collect();
    let mut b = Builder::over(&mut graph.axes, std::mem::take(&mut graph.region));
    let terms: Vec<Value> = outputs.iter().enumerate().map(|(i, &v)| weighed(&mut b, v, i as i32)).collect();
    let loss = terms.into_iter().reduce(|a, c| b.map(MapFn::Add, &[a, c]));
    graph.region = b.region;
    let loss = loss?;
    graph.outputs = vec![Output { port: Port { name: "loss".into(), order: Vec::new() }, value: loss, update: false }];
    Some((graph, loss))
}

/// The sum of `x` times weights that are multiples of 1/32, which every float type holds, and differ along every axis.
fn weighed(b: &mut Builder<'_>, x: Value, start: i32) -> Value {
    const PITCHES: [i32; 6] = [3, 5, 7, 2, 4, 6];
    let dtype = b.ty(x).dtype;
    let mut place = b.int(start);
    let axes = b.shape(x).axes().to_vec();
    for (&axis, pitch) in axes.iter().zip(PITCHES.into_iter().cycle()) {
        let (here, pitch) = (b.add(Op::Iota(axis), &[]), b.int(pitch));
        let part = b.map(MapFn::Mul, &[here, pitch]);
        place = b.map(MapFn::Add, &[place, part]);
    }
    let eleven = b.int(11);
    let rest = b.map(MapFn::Mod, &[place, eleven]);
    let rest = b.cast(rest, dtype);
    let (middle, scale) = (b.float(4.75, dtype), b.float(0.125, dtype));
    let centred = b.map(MapFn::Sub, &[rest, middle]);
    let weight = b.map(MapFn::Mul, &[centred, scale]);
    let product = b.map(MapFn::Mul, &[x, weight]);
    b.reduce(ReduceFn::Sum, product, &axes)
}

fn variables(graph: &Graph) -> Vec<Variable> {
    let nodes = graph.region.nodes.iter().enumerate().filter(|(_, n)| n.ty.dtype == DType::F64);
    let variable = |(i, node): (usize, &ogive_graph::Node)| match &node.op {
        Op::Input(port) => Some(Variable { value: Value(i as u32), port: port.clone(), param: false }),
        Op::Param(port) => Some(Variable { value: Value(i as u32), port: port.clone(), param: true }),
        _ => None,
    };
    nodes.filter_map(variable).collect()
}

/// The graph of a case with the gradient of its loss in every float input as outputs `grad NAME`; `None` where there is no float.
///
/// # Errors
/// What the compiler refuses.
pub fn gradient(made: &Made) -> Result<Option<Made>, String> {
    let Some((graph, loss)) = with_loss(made) else { return Ok(None) };
    let floats = graph.region.nodes.iter().enumerate().filter(|(_, n)| n.ty.dtype.is_float());
    let ports: Vec<(Value, Port)> = floats
        .filter_map(|(i, n)| if let Op::Input(p) | Op::Param(p) = &n.op { Some((Value(i as u32), p.clone())) } else { None })
        .collect();
    let wrt: Vec<Value> = ports.iter().map(|p| p.0).collect();
    let found = gradients(&graph, loss, &wrt).map_err(|e| e.to_string())?;
    let mut graph = found.graph;
    for ((value, port), cotangent) in ports.into_iter().zip(found.cotangents) {
        let Some(cotangent) = cotangent else { continue };
        if graph.region.ty(value) != graph.region.ty(cotangent) {
            return Err(format!("the gradient of `{}` has another type", port.name));
        }
        let port = Port { name: format!("grad {}", port.name), order: port.order };
        graph.outputs.push(Output { port, value: cotangent, update: false });
    }
    Ok(Some(Made { graph, inputs: made.inputs.clone(), store: made.store.clone() }))
}

/// The graph of a case with the gradient of its loss in every parameter, by a rule for scans; `None` where there is no float or parameter.
///
/// # Errors
/// What the compiler or the rule refuses.
pub fn gradient_by(made: &Made, rule: Gradient) -> Result<Option<Made>, String> {
    let Some((graph, _)) = with_loss(made) else { return Ok(None) };
    let graph = rule.prepare(&graph, Scans::PLAIN, true).map_err(|f| f.to_string())?;
    let loss = graph.outputs[0].value;
    let params: Vec<(Value, Port)> = (graph.region.nodes.iter().enumerate())
        .filter_map(|(i, n)| if let Op::Param(p) = &n.op { Some((Value(i as u32), p.clone())) } else { None })
        .collect();
    let wrt: Vec<Value> = params.iter().map(|p| p.0).collect();
    let found = gradients_by(&graph, loss, &wrt, rule.learning()).map_err(|e| e.to_string())?;
    let mut graph = found.graph;
    for ((_, port), cotangent) in params.into_iter().zip(found.cotangents) {
        let Some(value) = cotangent else { continue };
        let port = Port { name: format!("grad {}", port.name), order: port.order };
        graph.outputs.push(Output { port, value, update: false });
    }
    Ok((graph.outputs.len() > 1).then(|| Made { graph, inputs: made.inputs.clone(), store: made.store.clone() }))
}

/// Compares the gradient of the loss in every element of every float input with central differences of fourth order.
///
/// # Errors
/// The first element that is off; that nothing depends on any input.
pub fn reverse(made: &Made) -> Result<(), String> {
    sound(&made.graph)?;
    let Some(with) = gradient(made)? else { return Err("no output is a float".into()) };
    let found = interpret(&with)?;
    let mut slopes = Slopes::new(made)?;
    let mut moves = false;
    for variable in variables(&made.graph) {
        let name = &variable.port.name;
        let slopes = slopes.of(&variable)?;
        moves |= slopes.iter().any(|&s| s != 0.0);
        let exact = found.get(&format!("grad {name}")).map_or_else(|| vec![0.0; slopes.len()], |t| t.to_f64());
        agree(&exact, &slopes).map_err(|why| format!("gradient of `{name}`{why}"))?;
    }
    if moves { Ok(()) } else { Err("no output moves with any float input".into()) }
}

/// Compares the derivative of the loss along one direction in all float inputs together with differences.
///
/// # Errors
/// By how much it is off.
pub fn forward(made: &Made) -> Result<(), String> {
    let Some((mut graph, loss)) = with_loss(made) else { return Err("no output is a float".into()) };
    let (mut inputs, mut tangents) = (made.inputs.clone(), Vec::new());
    let mut slopes = Slopes::new(made)?;
    let (mut expected, mut largest) = (0.0, 0.0);
    for (n, variable) in variables(&made.graph).into_iter().enumerate() {
        let name = format!("direction {}", variable.port.name);
        let given = made.inputs.get(&variable.port.name).or_else(|| made.store.tensors.get(&variable.port.name));
        let Some(Tensor { dims, .. }) = given else { return Err(format!("no `{}`", variable.port.name)) };
        let slopes = slopes.of(&variable)?;
        let direction: Vec<f64> = (0..slopes.len()).map(|i| (0.4 + 1.3 * i as f64 + 0.7 * n as f64).cos()).collect();
        let steps = slopes.iter().zip(&direction).map(|(s, d)| s * d);
        steps.for_each(|step| (expected, largest) = (expected + step, f64::max(largest, step.abs())));
        inputs.insert(name.clone(), Tensor { dims: dims.clone(), data: Data::F64(direction) });
        let port = Port { name, order: variable.port.order.clone() };
        let node = Node { op: Op::Input(port), inputs: [].as_slice().into(), ..graph.region.node(variable.value).clone() };
        tangents.push((variable.value, graph.region.push(node)));
    }
    let found = jvp(&graph, &tangents, &[loss]).map_err(|e| e.to_string())?;
    let mut graph = found.graph;
    let Some(tangent) = found.tangents.first().copied().flatten() else { return Err("no tangent arrives".into()) };
    graph.outputs.push(Output { port: Port { name: "tangent".into(), order: Vec::new() }, value: tangent, update: false });
    let found = interpret(&Made { graph, inputs, store: made.store.clone() })?["tangent"].to_f64()[0];
    let error = (found - expected).abs();
    if error <= TOLERANCE * f64::max(expected.abs(), largest) {
        Ok(())
    } else {
        Err(format!("tangent {found} where differences give {expected}"))
    }
}

fn agree(exact: &[f64], slopes: &[f64]) -> Result<(), String> {
    let largest = slopes.iter().fold(1e-6f64, |m, x| m.max(x.abs()));
    for (i, (&e, &s)) in exact.iter().zip(slopes).enumerate() {
        let error = (e - s).abs();
        if error.is_nan() || error > TOLERANCE * s.abs().max(0.01 * largest) {
            return Err(format!("[{i}] is {e} where differences give {s}; the largest is {largest}"));
        }
    }
    Ok(())
}

/// Slopes of the loss by differences.
struct Slopes {
    program: Box<dyn Executable>,
    inputs: Bindings,
    store: Store,
}

impl Slopes {
    fn new(made: &Made) -> Result<Self, String> {
        let Some((graph, _)) = with_loss(made) else { return Err("no output is a float".into()) };
        let program = Interpreter.compile(&graph, &Options::default()).map_err(|e| e.to_string())?;
        Ok(Slopes { program, inputs: made.inputs.clone(), store: made.store.clone() })
    }

    fn of(&mut self, variable: &Variable) -> Result<Vec<f64>, String> {
        let name = &variable.port.name;
        let count = if variable.param { self.store.tensors[name].len() } else { self.inputs[name].len() };
        (0..count).map(|i| self.slope(variable, i)).collect()
    }

    fn slope(&mut self, variable: &Variable, i: usize) -> Result<f64, String> {
        let mut at = |delta: f64| {
            let tensors = if variable.param { &mut self.store.tensors } else { &mut self.inputs };
            let Some(Data::F64(cells)) = tensors.get_mut(&variable.port.name).map(|t| &mut t.data) else {
                return Err(format!("`{}` is not f64", variable.port.name));
            };
            let before = cells[i];
            cells[i] += delta;
            let ran = self.program.run(&mut self.store.clone(), &self.inputs, DRAW).map_err(|e| e.to_string());
            let tensors = if variable.param { &mut self.store.tensors } else { &mut self.inputs };
            if let Some(Data::F64(cells)) = tensors.get_mut(&variable.port.name).map(|t| &mut t.data) {
                cells[i] = before;
            }
            ran?;
            self.program.output("loss").map(|t| t.to_f64()[0]).ok_or_else(|| "no loss".to_owned())
        };
        let (one, two) = (at(STEP)? - at(-STEP)?, at(2.0 * STEP)? - at(-2.0 * STEP)?);
        Ok((8.0 * one - two) / (12.0 * STEP))
    }
}
