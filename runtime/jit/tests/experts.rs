//! Memory of layers that choose among experts: what is chosen costs, not what could be.

use ogive_graph::autodiff::reverse::gradients;
use ogive_graph::{AxisId, Builder, DType, Graph, MapFn, Op, Output, Port, ReduceFn, Shape, Ty, Value, route};
use ogive_jit::Cpu;
use ogive_runtime::{Backend, Memory, Options};

const TIME: u64 = 512;
const MODEL: u64 = 64;
const WIDE: u64 = 32;
const SLOTS: u64 = 4;

fn port(b: &mut Builder<'_>, name: &str, order: &[AxisId], dtype: DType, param: bool) -> Value {
    let port = Port { name: name.into(), order: order.to_vec() };
    let ty = Ty::new(dtype, Shape::of(order.iter().copied()));
    b.add_as(if param { Op::Param(port) } else { Op::Input(port) }, &[], Some(&ty))
}

/// `relu(x @ up[at]) @ down[at]` and its gradients; the positions are chosen by scores, or given.
fn layer(experts: u64, scored: bool) -> Graph {
    let mut graph = Graph::default();
    let mut b = Builder::new(&mut graph.axes);
    let (time, model, wide) = (b.axis("time", TIME), b.axis("model", MODEL), b.axis("wide", WIDE));
    let (expert, slot) = (b.axis("expert", experts), b.axis("slot", SLOTS));
    let x = port(&mut b, "x", &[time, model], DType::F32, false);
    let (up_order, down_order) = ([expert, model, wide], [expert, wide, model]);
    let (up, down) = (port(&mut b, "up", &up_order, DType::F32, true), port(&mut b, "down", &down_order, DType::F32, true));
    let at = if scored {
        let choice = port(&mut b, "choice", &[model, expert], DType::F32, true);
        let scores = b.contract(x, choice, &[model]);
        b.add(Op::TopK { over: vec![expert], into: slot }, &[scores])
    } else {
        port(&mut b, "at", &[time, slot], DType::I32, false)
    };
    let h = route::routed(&mut b, x, up, at, expert, &[model]);
    let h = b.map(MapFn::Relu, &[h]);
    let y = route::routed(&mut b, h, down, at, expert, &[slot, wide]);
    let loss = b.reduce(ReduceFn::Sum, y, &[time, model]);
    graph.region = b.region;
    let found = gradients(&graph, loss, &[up, down]).expect("derivatives");
    let mut graph = found.graph;
    for (name, order, value) in [("grad up", up_order, found.cotangents[0]), ("grad down", down_order, found.cotangents[1])] {
        let port = Port { name: name.into(), order: order.to_vec() };
        graph.outputs.push(Output { port, value: value.expect("a gradient"), update: false });
    }
    graph
}

fn memory(experts: u64, scored: bool) -> Memory {
    let options = Options { threads: 2, ..Options::default() };
    Cpu::new().compile(&layer(experts, scored), &options).expect("compiles").memory()
}

#[test]
fn more_experts_with_equal_choices_cost_their_parameters_only() {
    let (few, many) = (memory(16, false), memory(128, false));
    let weights = 2 * (128 - 16) * MODEL * WIDE * 4;
    assert_eq!((many.store - few.store, many.ports - few.ports), (weights, weights));
    // The end of each expert's run.
    let ends = (128 - 16) * 4;
    assert!(many.arena <= few.arena + ends + 64, "{few:?} {many:?}");
    assert!(many.scratch <= few.scratch + 2 * ends + 128, "{few:?} {many:?}");
}

#[test]
fn scores_are_all_that_more_experts_add_to_a_layer_that_chooses() {
    let (few, many) = (memory(16, true), memory(128, true));
    let scores = TIME * (128 - 16) * 4;
    assert!(many.arena <= few.arena + scores + 1024, "{few:?} {many:?}");
}

#[test]
fn chosen_matrices_are_never_gathered() {
    let gathered = TIME * SLOTS * MODEL * WIDE * 4;
    let found = memory(16, false);
    assert!(found.arena + found.scratch < gathered / 4, "{found:?} against {gathered}");
}
