//! Times a training step of a stack of delta-rule layers (batch 16, 256 positions, width 256, 8 heads), and its forward pass alone.
//!
//! `cargo run --release -p ogive-jit --example delta -- [threads] [runs] [plan | trace]`
#![allow(clippy::print_stdout, reason = "a program that prints figures")]

use ogive_graph::autodiff::reverse::gradients;
use ogive_graph::pipeline::{self, FORWARD};
use ogive_graph::{AxisId, Builder, DType, Graph, Loop, LoopKind, MapFn, Op, Output, Port, ReduceFn, Region, Shape, Ty, Value};
use ogive_jit::{Cpu, Trace, processor_time};
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, Options, Store, Tensor};
use std::sync::Arc;
use std::time::Instant;

const LAYERS: usize = 2;

struct Sizes {
    batch: u64,
    seq: u64,
    model: u64,
    head: u64,
}

fn port(b: &mut Builder<'_>, name: &str, order: &[AxisId], param: bool) -> Value {
    let port = Port { name: name.into(), order: order.to_vec() };
    let ty = Ty::new(DType::F32, Shape::of(order.iter().copied()));
    b.add_as(if param { Op::Param(port) } else { Op::Input(port) }, &[], Some(&ty))
}

fn step(b: &mut Builder<'_>, shapes: [&[AxisId]; 3], key: AxisId) -> Region {
    let [state, vector, number] = shapes;
    let value: Vec<AxisId> = vector[..2].iter().copied().chain(state.iter().copied().filter(|a| !vector.contains(a))).collect();
    let mut b = Builder::new(b.axes);
    let types: [&[AxisId]; 5] = [state, vector, &value, vector, number];
    let args: Vec<Value> = types
        .iter()
        .enumerate()
        .map(|(i, axes)| b.add_as(Op::Argument(i as u32), &[], Some(&Ty::new(DType::F32, Shape::of(axes.iter().copied())))))
        .collect();
    let [w, k, v, q, beta] = [0, 1, 2, 3, 4].map(|i| args[i]);
    let old = b.contract(k, w, &[key]);
    let wrong = b.map(MapFn::Sub, &[v, old]);
    let wrong = b.map(MapFn::Mul, &[wrong, beta]);
    let change = b.map(MapFn::Mul, &[k, wrong]);
    let next = b.map(MapFn::Add, &[w, change]);
    let read = b.contract(q, next, &[key]);
    Region { results: vec![next, read], ..b.region }
}

fn model(graph: &mut Graph, s: &Sizes) -> (Value, Vec<(String, Vec<AxisId>)>) {
    let mut b = Builder::new(&mut graph.axes);
    let (batch, seq, model, head) = (b.axis("batch", s.batch), b.axis("seq", s.seq), b.axis("model", s.model), b.axis("head", s.head));
    let (key, value, out) = (b.axis("key", s.model / s.head), b.axis("value", s.model / s.head), b.axis("out", s.model));
    let mut x = port(&mut b, "x", &[batch, seq, model], false);
    let mut params = Vec::new();
    let zero = b.float(0.0, DType::F32);
    let start = port(&mut b, "start", &[batch, head, key, value], false);
    let start = b.map(MapFn::Mul, &[start, zero]);
    for layer in 0..LAYERS {
        let mut param = |b: &mut Builder<'_>, name: &str, order: &[AxisId]| {
            let name = format!("{name}.{layer}");
            params.push((name.clone(), order.to_vec()));
            port(b, &name, order, true)
        };
        let mean = b.reduce(ReduceFn::Sum, x, &[model]);
        let share = b.float(1.0 / s.model as f64, DType::F32);
        let mean = b.map(MapFn::Mul, &[mean, share]);
        let centred = b.map(MapFn::Sub, &[x, mean]);
        let square = b.map(MapFn::Mul, &[centred, centred]);
        let variance = b.reduce(ReduceFn::Sum, square, &[model]);
        let variance = b.map(MapFn::Mul, &[variance, share]);
        let small = b.float(1e-5, DType::F32);
        let variance = b.map(MapFn::Add, &[variance, small]);
        let inverse = b.map(MapFn::Rsqrt, &[variance]);
        let normal = b.map(MapFn::Mul, &[centred, inverse]);
        let gain = param(&mut b, "gain", &[model]);
        let normal = b.map(MapFn::Mul, &[normal, gain]);
        let [wq, wk] = ["wq", "wk"].map(|n| param(&mut b, n, &[model, head, key]));
        let wv = param(&mut b, "wv", &[model, head, value]);
        let wb = param(&mut b, "wb", &[model, head]);
        let q = b.contract(normal, wq, &[model]);
        let q = b.add(Op::Softmax(vec![key]), &[q]);
        let k = b.contract(normal, wk, &[model]);
        let square = b.map(MapFn::Mul, &[k, k]);
        let norm = b.reduce(ReduceFn::Sum, square, &[key]);
        let norm = b.map(MapFn::Add, &[norm, small]);
        let norm = b.map(MapFn::Rsqrt, &[norm]);
        let k = b.map(MapFn::Mul, &[k, norm]);
        let v = b.contract(normal, wv, &[model]);
        let beta = b.contract(normal, wb, &[model]);
        let beta = b.map(MapFn::Sigmoid, &[beta]);
        let body = step(&mut b, [&[batch, head, key, value], &[batch, head, key], &[batch, head]], key);
        let l = Loop { kind: LoopKind::Scan, axis: seq, reverse: false, carries: 1, stacked: 4, body };
        let read = b.repeat(l, &[start, k, v, q, beta])[1];
        let wo = param(&mut b, "wo", &[head, value, out]);
        let mixed = b.contract(read, wo, &[head, value]);
        let mixed = b.add(Op::Rename(vec![(out, model)]), &[mixed]);
        x = b.map(MapFn::Add, &[x, mixed]);
    }
    let square = b.map(MapFn::Mul, &[x, x]);
    let loss = b.reduce(ReduceFn::Sum, square, &[batch, seq, model]);
    let share = b.float(1.0 / (s.batch * s.seq * s.model) as f64, DType::F32);
    let loss = b.map(MapFn::Mul, &[loss, share]);
    graph.region = b.region;
    graph.outputs.push(Output { port: Port { name: "loss".into(), order: Vec::new() }, value: loss, update: false });
    (loss, params)
}

fn training(graph: &Graph, params: &[(String, Vec<AxisId>)]) -> Graph {
    let find = |name: &str| {
        let at = graph.region.nodes.iter().position(|n| matches!(&n.op, Op::Param(p) if p.name == name)).expect("a parameter");
        Value(at as u32)
    };
    let wrt: Vec<Value> = params.iter().map(|(name, _)| find(name)).collect();
    let found = gradients(graph, graph.outputs[0].value, &wrt).expect("a gradient");
    let mut graph = found.graph;
    let mut b = Builder::over(&mut graph.axes, std::mem::take(&mut graph.region));
    for ((name, order), (&p, g)) in params.iter().zip(wrt.iter().zip(&found.cotangents)) {
        let rate = b.float(1e-2, DType::F32);
        let step = b.map(MapFn::Mul, &[g.expect("a cotangent"), rate]);
        let value = b.map(MapFn::Sub, &[p, step]);
        graph.outputs.push(Output { port: Port { name: name.clone(), order: order.clone() }, value, update: true });
    }
    graph.region = b.region;
    graph
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, or: usize| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(or);
    let (threads, runs) = (number(0, 2), number(1, 10));
    let mode = args.get(2).map_or("", String::as_str);
    let sizes = Sizes { batch: 16, seq: 256, model: 256, head: 8 };
    let mut graph = Graph::default();
    let (_, params) = model(&mut graph, &sizes);
    let forward = pipeline::run(&graph, FORWARD, true).expect("passes").0;
    let step = training(&forward, &params);
    for (what, graph) in [("forward", &forward), ("step", &step)] {
        let plan = ogive_jit::plan(graph, &Options::default()).expect("a plan");
        if mode == "plan" {
            println!("{plan}");
            continue;
        }
        let trace = Arc::new(Trace::default());
        let cpu = if mode == "trace" { Cpu::traced(trace.clone()) } else { Cpu::new() };
        let mut program = cpu.compile(graph, &Options { threads, ..Options::default() }).expect("a program");
        let mut seed = 1u64;
        let mut filled = |dims: Vec<Dim>, scale: f32| {
            let count: usize = dims.iter().map(|d| d.size).product();
            let mut random = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale
            };
            Tensor { dims, data: Data::F32((0..count).map(|_| random()).collect()) }
        };
        let dims = |order: &[AxisId]| order.iter().map(|&a| Dim { name: graph.name(a).into(), size: graph.size(a) as usize }).collect();
        let mut store = Store::default();
        for (name, order) in &params {
            store.tensors.insert(name.clone(), filled(dims(order), 0.1));
        }
        let ports = graph.region.nodes.iter().filter_map(|n| if let Op::Input(p) = &n.op { Some(p) } else { None });
        let inputs: Bindings = ports.map(|p| (p.name.clone(), filled(dims(&p.order), 1.0))).collect();
        let (mut times, mut busy) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let (start, before) = (Instant::now(), processor_time());
            program.run(&mut store, &inputs, Draw::default()).expect("a run");
            times.push(start.elapsed().as_secs_f64() * 1e3);
            busy.push((processor_time() - before) as f64 * 1e-6);
        }
        let loss = program.output("loss").expect("a loss").to_f64()[0];
        times.sort_by(f64::total_cmp);
        busy.sort_by(f64::total_cmp);
        println!(
            "{what}: median {:.2} ms, best {:.2} ms, processor {:.2} ms, loss {loss:.6}, memory {:?}",
            times[runs / 2],
            times[0],
            busy[0],
            program.memory()
        );
        let mut rows = trace.take();
        rows.sort_by_key(|r| std::cmp::Reverse(r.nanoseconds));
        for r in rows.iter().take(24) {
            let each = r.nanoseconds as f64 / r.calls as f64 / 1e3;
            println!(
                "{:9.3} ms {:6} calls {each:9.2} us  k{} {}",
                r.nanoseconds as f64 / 1e6 / runs as f64,
                r.calls / runs as u64,
                r.kernel,
                plan.kernels[r.kernel].title
            );
        }
    }
}
