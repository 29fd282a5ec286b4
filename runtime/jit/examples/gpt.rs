//! Times training steps of a dense GPT: 8 layers, width 256, 8 heads, feedforward 1024, 256 positions, batch 8, AdamW.
//!
//! `cargo run --release -p ogive-jit --example gpt -- [threads] [steps] [plan|trace]`
#![allow(clippy::print_stdout, reason = "a program that prints figures")]

use ogive_graph::autodiff::reverse::gradients;
use ogive_graph::kernel::Work;
use ogive_graph::pipeline::{self, FORWARD};
use ogive_graph::{Attention, AxisId, Builder, DType, Graph, Loop, LoopKind, MapFn, Op, Output, Port, ReduceFn, Region, Shape, Ty, Value};
use ogive_jit::{Cpu, Trace, processor_time};
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, Options, Store, Tensor};
use std::sync::Arc;
use std::time::Instant;

struct Sizes {
    layers: u64,
    batch: u64,
    seq: u64,
    model: u64,
    head: u64,
    wide: u64,
    vocab: u64,
}

fn float(b: &mut Builder<'_>, x: f64) -> Value {
    b.float(x, DType::F32)
}

fn mean(b: &mut Builder<'_>, x: Value, over: &[AxisId]) -> Value {
    let count: u64 = over.iter().map(|a| b.axes[a.index()].size).product();
    let sum = b.reduce(ReduceFn::Sum, x, over);
    let share = float(b, 1.0 / count as f64);
    b.map(MapFn::Mul, &[sum, share])
}

fn norm(b: &mut Builder<'_>, x: Value, over: AxisId, gain: Value, shift: Value) -> Value {
    let middle = mean(b, x, &[over]);
    let centred = b.map(MapFn::Sub, &[x, middle]);
    let square = b.map(MapFn::Mul, &[centred, centred]);
    let variance = mean(b, square, &[over]);
    let small = float(b, 1e-5);
    let shifted = b.map(MapFn::Add, &[variance, small]);
    let inverse = b.map(MapFn::Rsqrt, &[shifted]);
    let normal = b.map(MapFn::Mul, &[centred, inverse]);
    let scaled = b.map(MapFn::Mul, &[normal, gain]);
    b.map(MapFn::Add, &[scaled, shift])
}

fn gelu(b: &mut Builder<'_>, x: Value) -> Value {
    let (root, one, half) = (float(b, std::f64::consts::FRAC_1_SQRT_2), float(b, 1.0), float(b, 0.5));
    let scaled = b.map(MapFn::Mul, &[x, root]);
    let erf = b.map(MapFn::Erf, &[scaled]);
    let shifted = b.map(MapFn::Add, &[erf, one]);
    let weight = b.map(MapFn::Mul, &[shifted, half]);
    b.map(MapFn::Mul, &[x, weight])
}

fn linear(b: &mut Builder<'_>, x: Value, w: Value, over: &[AxisId], bias: Value) -> Value {
    let y = b.contract(x, w, over);
    b.map(MapFn::Add, &[y, bias])
}

fn param(b: &mut Builder<'_>, name: &str, order: &[AxisId]) -> Value {
    let ty = Ty::new(DType::F32, Shape::of(order.iter().copied()));
    b.add_as(Op::Param(Port { name: name.into(), order: order.to_vec() }), &[], Some(&ty))
}

fn input(b: &mut Builder<'_>, name: &str, dtype: DType, order: &[AxisId]) -> Value {
    let ty = Ty::new(dtype, Shape::of(order.iter().copied()));
    b.add_as(Op::Input(Port { name: name.into(), order: order.to_vec() }), &[], Some(&ty))
}

/// The forward graph: its loss and its parameters.
fn model(graph: &mut Graph, s: &Sizes) -> (Value, Vec<(String, Vec<AxisId>, Value)>) {
    let mut b = Builder::new(&mut graph.axes);
    let (depth, batch, seq) = (b.axis("depth", s.layers), b.axis("batch", s.batch), b.axis("seq", s.seq));
    let (model, head, key) = (b.axis("model", s.model), b.axis("head", s.head), b.axis("key", s.model / s.head));
    let (wide, vocab, source) = (b.axis("wide", s.wide), b.axis("vocab", s.vocab), b.axis("source", s.seq));
    let value = b.axis("value", s.model / s.head);
    let mut params: Vec<(String, Vec<AxisId>, Value)> = Vec::new();
    let mut new = |b: &mut Builder<'_>, name: &str, order: &[AxisId]| {
        let v = param(b, name, order);
        params.push((name.into(), order.to_vec(), v));
        v
    };
    let tokens = input(&mut b, "tokens", DType::I32, &[batch, seq]);
    let next = input(&mut b, "next", DType::I32, &[batch, seq]);
    let embedding = new(&mut b, "embedding", &[vocab, model]);
    let positions = new(&mut b, "positions", &[seq, model]);
    let shapes: Vec<(&str, Vec<AxisId>)> = vec![
        ("layer.gain1", vec![model]),
        ("layer.shift1", vec![model]),
        ("layer.wq", vec![model, head, key]),
        ("layer.bq", vec![head, key]),
        ("layer.wk", vec![model, head, key]),
        ("layer.bk", vec![head, key]),
        ("layer.wv", vec![model, head, key]),
        ("layer.bv", vec![head, key]),
        ("layer.wo", vec![head, key, model]),
        ("layer.bo", vec![model]),
        ("layer.gain2", vec![model]),
        ("layer.shift2", vec![model]),
        ("layer.up", vec![model, wide]),
        ("layer.bup", vec![wide]),
        ("layer.down", vec![wide, model]),
        ("layer.bdown", vec![model]),
    ];
    let stacked: Vec<Value> = shapes
        .iter()
        .map(|(name, order)| new(&mut b, name, &[depth].into_iter().chain(order.iter().copied()).collect::<Vec<_>>()))
        .collect();
    let (gain, shift) = (new(&mut b, "gain", &[model]), new(&mut b, "shift", &[model]));
    let (out, bias) = (new(&mut b, "out", &[model, vocab]), new(&mut b, "bias", &[vocab]));
    let embedded = b.add(Op::Gather(vocab), &[embedding, tokens]);
    let x = b.map(MapFn::Add, &[embedded, positions]);
    let carry = b.ty(x).clone();
    let region = std::mem::take(&mut b.region);
    let body = {
        let argument = |b: &mut Builder<'_>, i: u32, ty: &Ty| b.add_as(Op::Argument(i), &[], Some(ty));
        let x = argument(&mut b, 0, &carry);
        let p: Vec<Value> = shapes
            .iter()
            .enumerate()
            .map(|(i, (_, order))| argument(&mut b, i as u32 + 1, &Ty::new(DType::F32, Shape::of(order.iter().copied()))))
            .collect();
        let normal = norm(&mut b, x, model, p[0], p[1]);
        let q = linear(&mut b, normal, p[2], &[model], p[3]);
        let k = linear(&mut b, normal, p[4], &[model], p[5]);
        let v = linear(&mut b, normal, p[6], &[model], p[7]);
        let k = b.add(Op::Rename(vec![(seq, source)]), &[k]);
        let v = b.add(Op::Rename(vec![(seq, source), (key, value)]), &[v]);
        let scale = ((s.model / s.head) as f64).sqrt().recip();
        let attention = Attention { query: seq, source, key, value, scale, causal: Some(0) };
        let mix = b.add_many(Op::Attend(attention), &[q, k, v])[0];
        let mix = b.add(Op::Rename(vec![(value, key)]), &[mix]);
        let mixed = linear(&mut b, mix, p[8], &[head, key], p[9]);
        let x = b.map(MapFn::Add, &[x, mixed]);
        let normal = norm(&mut b, x, model, p[10], p[11]);
        let up = linear(&mut b, normal, p[12], &[model], p[13]);
        let hidden = gelu(&mut b, up);
        let down = linear(&mut b, hidden, p[14], &[wide], p[15]);
        let y = b.map(MapFn::Add, &[x, down]);
        Region { results: vec![y], ..std::mem::take(&mut b.region) }
    };
    b.region = region;
    let stack = Loop { kind: LoopKind::Repeat, axis: depth, reverse: false, carries: 1, stacked: stacked.len(), body };
    let x = b.repeat(stack, &[vec![x], stacked].concat())[0];
    let x = norm(&mut b, x, model, gain, shift);
    let logits = linear(&mut b, x, out, &[model], bias);
    let all = b.add(Op::LogSumExp(vec![vocab]), &[logits]);
    let one = b.add(Op::Gather(vocab), &[logits, next]);
    let loss = b.map(MapFn::Sub, &[all, one]);
    let loss = mean(&mut b, loss, &[batch, seq]);
    graph.region = b.region;
    (loss, params)
}

/// Gradients and AdamW behind the forward graph.
fn training(s: &Sizes) -> (Graph, Vec<(String, Vec<AxisId>)>) {
    let mut graph = Graph::default();
    let (loss, params) = model(&mut graph, s);
    graph.outputs.push(Output { port: Port { name: "loss".into(), order: Vec::new() }, value: loss, update: false });
    let graph = pipeline::run(&graph, FORWARD, false).expect("passes").0;
    let loss = graph.outputs[0].value;
    let find = |name: &str| {
        let at = graph.region.nodes.iter().position(|n| matches!(&n.op, Op::Param(p) if p.name == name)).expect("a parameter");
        Value(at as u32)
    };
    let wrt: Vec<Value> = params.iter().map(|(name, _, _)| find(name)).collect();
    let found = gradients(&graph, loss, &wrt).expect("a gradient");
    let mut graph = found.graph;
    let mut b = Builder::over(&mut graph.axes, std::mem::take(&mut graph.region));
    let rate = input(&mut b, "rate", DType::F32, &[]);
    let (fix1, fix2) = (input(&mut b, "fix1", DType::F32, &[]), input(&mut b, "fix2", DType::F32, &[]));
    let mut outputs = Vec::new();
    let mut ports = Vec::new();
    for ((name, order, _), (&p, g)) in params.iter().zip(wrt.iter().zip(&found.cotangents)) {
        let g = g.expect("a cotangent");
        let (mn, vn) = (format!("adam.m.{name}"), format!("adam.v.{name}"));
        let (m, v) = (param(&mut b, &mn, order), param(&mut b, &vn, order));
        let (b1, c1, b2, c2) = (float(&mut b, 0.9), float(&mut b, 0.1), float(&mut b, 0.999), float(&mut b, 0.001));
        let (kept, added) = (b.map(MapFn::Mul, &[m, b1]), b.map(MapFn::Mul, &[g, c1]));
        let m2 = b.map(MapFn::Add, &[kept, added]);
        let square = b.map(MapFn::Mul, &[g, g]);
        let (kept, added) = (b.map(MapFn::Mul, &[v, b2]), b.map(MapFn::Mul, &[square, c2]));
        let v2 = b.map(MapFn::Add, &[kept, added]);
        let (mh, vh) = (b.map(MapFn::Mul, &[m2, fix1]), b.map(MapFn::Mul, &[v2, fix2]));
        let root = b.map(MapFn::Sqrt, &[vh]);
        let eps = float(&mut b, 1e-8);
        let root = b.map(MapFn::Add, &[root, eps]);
        let step = b.map(MapFn::Div, &[mh, root]);
        let decay = float(&mut b, 0.01);
        let pull = b.map(MapFn::Mul, &[p, decay]);
        let step = b.map(MapFn::Add, &[step, pull]);
        let step = b.map(MapFn::Mul, &[step, rate]);
        let p2 = b.map(MapFn::Sub, &[p, step]);
        for (n, value) in [(name.clone(), p2), (mn, m2), (vn, v2)] {
            outputs.push(Output { port: Port { name: n.clone(), order: order.clone() }, value, update: true });
            ports.push((n, order.clone()));
        }
    }
    graph.region = b.region;
    graph.outputs.extend(outputs);
    (graph, ports)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, or: usize| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(or);
    let (threads, steps) = (number(0, 2), number(1, 10));
    let mode = args.get(2).map_or("", String::as_str);
    let layers = number(3, 8) as u64;
    let sizes = Sizes { layers, batch: 8, seq: 256, model: 256, head: 8, wide: 1024, vocab: 256 };
    let start = Instant::now();
    let (graph, ports) = training(&sizes);
    let built = start.elapsed();
    let plan = ogive_jit::plan(&graph, &Options::default()).expect("a plan");
    let planned = start.elapsed();
    if mode == "plan" {
        println!("{}", ogive_graph::plan::print(&plan));
        return;
    }
    let trace = Arc::new(Trace::default());
    let cpu = if mode == "trace" { Cpu::traced(trace.clone()) } else { Cpu::new() };
    let mut program = cpu.compile(&graph, &Options { threads, ..Options::default() }).expect("a program");
    let compiled = start.elapsed();
    println!("build {built:?}, plan {:?}, compile (with plan) {:?}", planned - built, compiled - planned);
    println!("memory {:?}", program.memory());
    let mut store = Store::default();
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    for (name, order) in &ports {
        let dims = order.iter().map(|&a| Dim { name: graph.name(a).into(), size: graph.size(a) as usize }).collect();
        let mut tensor = Tensor::zeros(DType::F32, dims);
        if let Data::F32(data) = &mut tensor.data {
            for x in data.iter_mut().filter(|_| !name.starts_with("adam.")) {
                *x = if name.contains("gain") { 1.0 } else { random() * 0.1 };
            }
        }
        store.tensors.insert(name.clone(), tensor);
    }
    let count = (sizes.batch * sizes.seq) as usize;
    let dims = vec![Dim { name: "batch".into(), size: sizes.batch as usize }, Dim { name: "seq".into(), size: sizes.seq as usize }];
    let mut inputs = Bindings::new();
    for (name, shift) in [("tokens", 0), ("next", 1)] {
        let tokens = (0..count).map(|i| (((i + shift) * (i + shift) * 7) % 251) as i32).collect();
        inputs.insert(name.into(), Tensor { dims: dims.clone(), data: Data::I32(tokens) });
    }
    let (mut times, mut busy) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let t = step as i32 + 1;
        for (name, x) in [("rate", 3e-4), ("fix1", 1.0 / (1.0 - 0.9f32.powi(t))), ("fix2", 1.0 / (1.0 - 0.999f32.powi(t)))] {
            inputs.insert(name.into(), Tensor::scalar(Data::F32(vec![x])));
        }
        let (start, before) = (Instant::now(), processor_time());
        program.run(&mut store, &inputs, Draw { seed: 1, step: step as u64 }).expect("a step");
        times.push(start.elapsed().as_secs_f64());
        busy.push((processor_time() - before) as f64 * 1e-9);
        let loss = program.output("loss").expect("a loss").to_f64()[0];
        println!("step {step}: {:.4} s, loss {loss:.6}", times[step]);
    }
    let first = start.elapsed();
    times.sort_by(f64::total_cmp);
    busy.sort_by(f64::total_cmp);
    println!("wall: median {:.4} s, best {:.4} s; all {first:?}", times[times.len() / 2], times[0]);
    println!("processor: median {:.4} s, best {:.4} s", busy[busy.len() / 2], busy[0]);
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        println!("{}", status.lines().filter(|l| l.starts_with("VmHWM")).collect::<String>());
    }
    if mode == "trace" {
        let mut rows = trace.take();
        rows.sort_by_key(|r| std::cmp::Reverse(r.busy));
        let all: u64 = rows.iter().map(|r| r.busy).sum();
        println!("{:>9} ms of processor time per step", all as f64 / 1e6 / steps as f64);
        for r in rows.iter().take(60) {
            let kernel = &plan.kernels[r.kernel];
            let what = match &kernel.work {
                Work::Gemm(g) => {
                    let batch: u64 = g.batch.iter().map(|l| l.size).product();
                    let flops = (2 * batch * g.m * g.n * g.k * r.calls) as f64;
                    let rate = flops / r.busy as f64;
                    format!(
                        "{}x{}x{} batch {batch} parts {}x{} a{:?} b{:?} c{:?}: {rate:.0} GFLOP/s",
                        g.m, g.n, g.k, g.m_parts, g.n_parts, g.a, g.b, g.c
                    )
                }
                Work::Rows(p) => {
                    format!("rows {:?}x{:?} block {:?} chunks {}, {} instructions", p.outer, p.inner, p.block, p.chunks, p.instrs.len())
                }
                _ => String::new(),
            };
            let each = r.busy as f64 / r.calls as f64 / 1e3;
            println!(
                "{:8.3} ms {:6} calls {each:9.1} us  {} {what}",
                r.nanoseconds as f64 / 1e6 / steps as f64,
                r.calls / steps as u64,
                kernel.title
            );
        }
    }
}
