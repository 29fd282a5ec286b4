//! Times a layer of chosen experts, forward and with its gradients: `y = relu(x @ up[pick]) * gate @ down[pick]`.
//!
//! `cargo run --release -p ogive-jit --example experts -- [threads] [runs]`
#![allow(clippy::print_stdout, reason = "a program that prints figures")]

use ogive_graph::autodiff::reverse::gradients;
use ogive_graph::kernel::Work;
use ogive_graph::{AxisId, Builder, DType, Graph, MapFn, Op, Output, Port, ReduceFn, Shape, Ty, Value, pipeline, route};
use ogive_jit::{Cpu, Trace, plan};
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, Options, Store, Tensor};
use std::sync::Arc;
use std::time::Instant;

const TIME: u64 = 2048;
const MODEL: u64 = 256;
const EXPERTS: u64 = 16;
const WIDE: u64 = 128;
const SLOTS: u64 = 4;

fn layer(with_gradients: bool) -> Graph {
    let mut graph = Graph::default();
    let mut b = Builder::new(&mut graph.axes);
    let (time, model, wide) = (b.axis("time", TIME), b.axis("model", MODEL), b.axis("wide", WIDE));
    let (expert, slot) = (b.axis("expert", EXPERTS), b.axis("slot", SLOTS));
    let port = |b: &mut Builder<'_>, name: &str, order: &[AxisId], param: bool| {
        let port = Port { name: name.into(), order: order.to_vec() };
        let ty = Ty::new(DType::F32, Shape::of(order.iter().copied()));
        b.add_as(if param { Op::Param(port) } else { Op::Input(port) }, &[], Some(&ty))
    };
    let orders = [vec![time, model], vec![model, expert], vec![expert, model, wide], vec![expert, wide, model]];
    let names = ["x", "choice", "up", "down"];
    let mut ports = Vec::new();
    for (name, order) in names.iter().zip(&orders) {
        ports.push(port(&mut b, name, order, *name != "x"));
    }
    let [x, choice, up, down]: [Value; 4] = ports.try_into().expect("four");
    let logits = b.contract(x, choice, &[model]);
    let scores = b.map(MapFn::Sigmoid, &[logits]);
    let at = b.add(Op::TopK { over: vec![expert], into: slot }, &[scores]);
    let gate = b.add(Op::Gather(expert), &[scores, at]);
    let h = route::routed(&mut b, x, up, at, expert, &[model]);
    let h = b.map(MapFn::Relu, &[h]);
    let h = b.map(MapFn::Mul, &[h, gate]);
    let y = route::routed(&mut b, h, down, at, expert, &[slot, wide]);
    let square = b.map(MapFn::Mul, &[y, y]);
    let loss = b.reduce(ReduceFn::Sum, square, &[time, model]);
    graph.region = b.region;
    let output =
        |name: &str, order: &[AxisId], value| Output { port: Port { name: name.into(), order: order.to_vec() }, value, update: false };
    if !with_gradients {
        graph.outputs.push(output("y", &orders[0], y));
    } else {
        let found = gradients(&graph, loss, &[x, choice, up, down]).expect("derivatives");
        graph = found.graph;
        for ((name, order), value) in names.iter().zip(&orders).zip(found.cotangents) {
            graph.outputs.push(output(&format!("grad {name}"), order, value.expect("a gradient")));
        }
    }
    pipeline::run(&graph, pipeline::FORWARD, false).expect("passes").0
}

fn filled(dims: &[(&str, u64)], scale: f32, seed: u64) -> Tensor {
    let count: u64 = dims.iter().map(|d| d.1).product();
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
    };
    let data = (0..count).map(|_| next()).collect();
    let dims = dims.iter().map(|&(name, size)| Dim { name: name.into(), size: size as usize }).collect();
    Tensor { dims, data: Data::F32(data) }
}

fn main() {
    let mut args = std::env::args().skip(1).map_while(|a| a.parse::<usize>().ok());
    let (threads, runs) = (args.next().unwrap_or(1), args.next().unwrap_or(20));
    let inputs = Bindings::from([("x".into(), filled(&[("time", TIME), ("model", MODEL)], 1.0, 1))]);
    let mut store = Store::default();
    store.tensors.insert("choice".into(), filled(&[("model", MODEL), ("expert", EXPERTS)], 0.1, 2));
    store.tensors.insert("up".into(), filled(&[("expert", EXPERTS), ("model", MODEL), ("wide", WIDE)], 0.1, 3));
    store.tensors.insert("down".into(), filled(&[("expert", EXPERTS), ("wide", WIDE), ("model", MODEL)], 0.1, 4));
    let macs = 2 * TIME * SLOTS * MODEL * WIDE;
    for (name, with_gradients) in [("forward", false), ("forward and gradients", true)] {
        let graph = layer(with_gradients);
        let trace = Arc::new(Trace::default());
        let options = Options { threads, ..Options::default() };
        let mut program = Cpu::traced(trace.clone()).compile(&graph, &options).expect("compiles");
        for _ in 0..3 {
            program.run(&mut store, &inputs, Draw::default()).expect("runs");
        }
        trace.take();
        let start = Instant::now();
        for _ in 0..runs {
            program.run(&mut store, &inputs, Draw::default()).expect("runs");
        }
        let each = start.elapsed().as_secs_f64() / runs as f64;
        let flops = (2 * macs * if with_gradients { 3 } else { 1 }) as f64;
        println!("{name}: {:.3} ms, {:.1} GFLOP/s of routed products, {:?}", each * 1e3, flops / each / 1e9, program.memory());
        let plan = plan(&graph, &options).expect("a plan");
        for t in trace.take() {
            let kernel = &plan.kernels[t.kernel];
            let time = t.nanoseconds as f64 / t.calls as f64;
            let rate = match &kernel.work {
                Work::Routed(_) | Work::RoutedOuter(_) => format!("{:.1} GFLOP/s", macs as f64 / time),
                _ => String::new(),
            };
            println!("  {:9.1} us  {} {rate}", time / 1e3, kernel.title);
        }
    }
}
