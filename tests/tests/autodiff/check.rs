//! Compares derivatives with finite differences, on the interpreter in double precision.

use ogive_graph::autodiff::forward::jvp;
use ogive_graph::autodiff::reverse::gradients;
use ogive_graph::verify::{is_multiple, verify};
use ogive_graph::{AxisId, Builder, DType, Graph, Op, Output, Port, Shape, Ty, Value};
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, ExecError, Interpreter, Options, Store, Tensor};

/// A graph whose parameters are f64.
pub(crate) struct Made {
    pub graph: Graph,
    pub value: Value,
}

/// Builds a graph of one value.
pub(crate) fn made(build: impl FnOnce(&mut Builder<'_>) -> Value) -> Made {
    let mut graph = Graph::default();
    let mut b = Builder::new(&mut graph.axes);
    let value = build(&mut b);
    graph.region = b.region;
    Made { graph, value }
}

/// An f64 parameter.
pub(crate) fn param(b: &mut Builder<'_>, name: &str, axes: &[AxisId]) -> Value {
    let ty = Ty::new(DType::F64, Shape::of(axes.iter().copied()));
    b.add_as(Op::Param(Port { name: name.into(), order: axes.to_vec() }), &[], Some(&ty))
}

/// An i32 parameter, filled with small positions.
pub(crate) fn positions(b: &mut Builder<'_>, name: &str, axes: &[AxisId]) -> Value {
    let ty = Ty::new(DType::I32, Shape::of(axes.iter().copied()));
    b.add_as(Op::Param(Port { name: name.into(), order: axes.to_vec() }), &[], Some(&ty))
}

/// The sum of a value weighted by fixed uneven numbers, so that no gradient is trivial.
pub(crate) fn weigh(b: &mut Builder<'_>, x: Value) -> Value {
    let axes = b.shape(x).axes().to_vec();
    if axes.is_empty() {
        return x;
    }
    let mut total = None;
    for (n, &axis) in axes.iter().enumerate() {
        let here = b.add(Op::Iota(axis), &[]);
        let here = b.cast(here, DType::F64);
        let factor = b.float(0.7 + n as f64, DType::F64);
        let part = b.map(ogive_graph::MapFn::Mul, &[here, factor]);
        total = Some(total.map_or(part, |t| b.map(ogive_graph::MapFn::Add, &[t, part])));
    }
    let weight = b.map(ogive_graph::MapFn::Sin, &[total.unwrap()]);
    let weighted = b.map(ogive_graph::MapFn::Mul, &[x, weight]);
    b.reduce(ogive_graph::ReduceFn::Sum, weighted, &axes)
}

/// Parameters of a graph: the node, its port and its type.
pub(crate) fn ports(graph: &Graph) -> Vec<(Value, Port, Ty)> {
    let nodes = graph.region.nodes.iter().enumerate();
    nodes.filter_map(|(i, n)| if let Op::Param(p) = &n.op { Some((Value(i as u32), p.clone(), n.ty.clone())) } else { None }).collect()
}

/// A store with fixed uneven numbers in it.
pub(crate) fn store(graph: &Graph) -> Store {
    let mut store = Store::default();
    for (index, (_, port, ty)) in ports(graph).iter().enumerate() {
        let dims: Vec<Dim> = port.order.iter().map(|&a| Dim { name: graph.name(a).into(), size: graph.size(a) as usize }).collect();
        let len: usize = dims.iter().map(|d| d.size).product();
        let noise = |i: usize| (f64::from((i * 7919 + index * 104_729 + 13) as u32 % 9973) * 1.7).sin();
        let data = match ty.dtype {
            DType::Bool => Data::Bool((0..len).map(|i| u8::from((i + index) % 2 == 0)).collect()),
            DType::I32 => Data::I32((0..len).map(|i| ((i * 5 + index) % 3) as i32).collect()),
            _ => Data::F64((0..len).map(noise).collect()),
        };
        store.tensors.insert(port.name.clone(), Tensor { dims, data });
    }
    store
}

/// The values of a graph as rows of numbers.
pub(crate) fn run(graph: &Graph, values: &[Value], store: &mut Store) -> Vec<Vec<f64>> {
    try_run(graph, values, store).expect("positions within their axes")
}

/// The same; `None` where a position lies outside its axis.
fn try_run(graph: &Graph, values: &[Value], store: &mut Store) -> Option<Vec<Vec<f64>>> {
    let mut graph = graph.clone();
    graph.outputs = values
        .iter()
        .enumerate()
        .map(|(i, &value)| {
            let order = graph.region.ty(value).shape.axes().to_vec();
            Output { port: Port { name: format!("out{i}"), order }, value, update: false }
        })
        .collect();
    if let Err(errors) = verify(&graph) {
        panic!("{}\n{}", errors[0], ogive_graph::text::print_plain(&graph));
    }
    let mut program = Interpreter.compile(&graph, &Options::default()).unwrap();
    match program.run(store, &Bindings::new(), Draw { seed: 3, step: 5 }) {
        Err(ExecError::OutOfRange { .. }) => return None,
        other => other.unwrap(),
    }
    Some((0..values.len()).map(|i| program.output(&format!("out{i}")).unwrap().to_f64()).collect())
}

/// Checks the gradients of `value` in every f64 parameter against central differences of fourth order.
pub(crate) fn against_differences(made: &Made) -> Graph {
    let params: Vec<_> = ports(&made.graph).into_iter().filter(|p| p.2.dtype == DType::F64).collect();
    let wrt: Vec<Value> = params.iter().map(|p| p.0).collect();
    let found = gradients(&made.graph, made.value, &wrt).unwrap();
    for (i, node) in made.graph.region.nodes.iter().enumerate() {
        assert_eq!(found.graph.region.nodes[i].ty, node.ty, "%{i} has changed its type");
    }
    let asked: Vec<Value> = found.cotangents.iter().flatten().copied().collect();
    let mut store = store(&made.graph);
    let before = run(&made.graph, &[made.value], &mut store)[0][0];
    let values: Vec<Value> = std::iter::once(made.value).chain(asked).collect();
    let mut rows = run(&found.graph, &values, &mut store).into_iter();
    assert_eq!(before.to_bits(), rows.next().unwrap()[0].to_bits(), "the forward pass has changed");
    for ((value, port, ty), cotangent) in params.iter().zip(&found.cotangents) {
        let size = store.tensors[&port.name].len();
        let row = if let Some(c) = cotangent {
            assert_eq!(found.graph.region.ty(*c), ty, "cotangent of {}", port.name);
            rows.next().unwrap()
        } else {
            vec![0.0; size]
        };
        let sorted = Tensor { dims: vec![], data: Data::F64(row) };
        let order = made.graph.region.ty(*value).shape.axes().to_vec();
        for i in 0..size {
            let at = |delta: f64| {
                let mut moved = store.clone();
                if let Some(Tensor { data: Data::F64(cells), .. }) = moved.tensors.get_mut(&port.name) {
                    cells[i] += delta;
                }
                run(&made.graph, &[made.value], &mut moved)[0][0]
            };
            let h = 1e-3;
            let slope = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
            let place = place(&made.graph, &port.order, &order, i);
            let exact = sorted.to_f64()[place];
            let error = (exact - slope).abs() / (1.0 + slope.abs());
            assert!(error < 1e-6, "{}[{i}]: {exact} against {slope}\n{}", port.name, ogive_graph::text::print_plain(&found.graph));
        }
    }
    found.graph
}

/// Checks first and second derivatives in reverse, and that forward mode agrees with reverse mode.
pub(crate) fn thoroughly(made: &Made) -> Graph {
    let graph = against_differences(made);
    against_differences(&gradient_weighed(made));
    assert!(forward_agrees(made));
    graph
}

/// A scalar made of all gradients.
pub(crate) fn gradient_weighed(made: &Made) -> Made {
    let wrt: Vec<Value> = ports(&made.graph).into_iter().filter(|p| p.2.dtype == DType::F64).map(|p| p.0).collect();
    let mut found = gradients(&made.graph, made.value, &wrt).unwrap();
    let mut b = Builder::over(&mut found.graph.axes, found.graph.region);
    let zero = b.float(0.0, DType::F64);
    let value = found.cotangents.into_iter().flatten().fold(zero, |sum, c| {
        let part = weigh(&mut b, c);
        b.map(ogive_graph::MapFn::Add, &[sum, part])
    });
    found.graph.region = b.region;
    Made { graph: found.graph, value }
}

/// Largest number in a graph of which both modes are compared: a difference of 1e-9 is then beyond the rounding of doubles.
const LARGEST: f64 = 1e6;

/// Checks that the tangent of `value` is the product of the gradients with the tangents of the parameters;
/// `false` where a position lies outside its axis or the numbers grow beyond what can be compared.
pub(crate) fn forward_agrees(made: &Made) -> bool {
    let mut graph = made.graph.clone();
    let params: Vec<_> = ports(&graph).into_iter().filter(|p| p.2.dtype == DType::F64).collect();
    let mut b = Builder::over(&mut graph.axes, std::mem::take(&mut graph.region));
    let directions: Vec<(Value, Value)> =
        params.iter().map(|(v, port, _)| (*v, param(&mut b, &format!("d.{}", port.name), &port.order))).collect();
    graph.region = b.region;
    let wrt: Vec<Value> = params.iter().map(|p| p.0).collect();
    let mut back = gradients(&graph, made.value, &wrt).unwrap();
    let mut b = Builder::over(&mut back.graph.axes, back.graph.region);
    let mut expected = b.float(0.0, DType::F64);
    for ((_, direction), cotangent) in directions.iter().zip(back.cotangents) {
        let Some(cotangent) = cotangent else { continue };
        let product = b.map(ogive_graph::MapFn::Mul, &[*direction, cotangent]);
        let axes = b.shape(product).axes().to_vec();
        let sum = b.reduce(ogive_graph::ReduceFn::Sum, product, &axes);
        expected = b.map(ogive_graph::MapFn::Add, &[expected, sum]);
    }
    back.graph.region = b.region;
    let ahead = jvp(&graph, &directions, &[made.value]).unwrap();
    let mut store = store(&graph);
    let floats: Vec<Value> = (0..graph.region.nodes.len() as u32)
        .map(Value)
        .filter(|&v| !is_multiple(&graph.region.node(v).op) && graph.region.ty(v).dtype.is_float())
        .collect();
    // What is large on the way cancels, and may be bent to something small at the end.
    let large = |rows: Vec<Vec<f64>>| rows.iter().flatten().any(|x| x.is_finite() && x.abs() >= LARGEST);
    if try_run(&graph, &floats, &mut store).is_none_or(large) {
        return false;
    }
    let expected = run(&back.graph, &[made.value, expected], &mut store);
    let values: Vec<Value> = std::iter::once(ahead.values[made.value.index()]).chain(ahead.tangents[0]).collect();
    let mut found = run(&ahead.graph, &values, &mut store);
    found.resize(2, vec![0.0]);
    if expected.iter().chain(&found).any(|row| row[0].is_nan() || row[0].abs() >= 1e9) {
        return false;
    }
    for (a, b) in expected.iter().zip(&found) {
        let error = (a[0] - b[0]).abs() / (1.0 + a[0].abs());
        assert!(error < 1e-9, "{expected:?} against {found:?}\n{}", ogive_graph::text::print_plain(&ahead.graph));
    }
    true
}

/// Where cell `i` of a tensor with dims `from` lies when they are ordered as `to`.
fn place(graph: &Graph, from: &[AxisId], to: &[AxisId], i: usize) -> usize {
    let mut rest = i;
    let mut at = std::collections::BTreeMap::new();
    for &axis in from.iter().rev() {
        at.insert(axis, rest % graph.size(axis) as usize);
        rest /= graph.size(axis) as usize;
    }
    to.iter().fold(0, |place, axis| place * graph.size(*axis) as usize + at[axis])
}
