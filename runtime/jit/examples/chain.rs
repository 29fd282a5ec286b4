//! Times `layernorm(x + gelu(x * w + b))` over 16 M floats beside a copy of the same memory.
//!
//! `cargo run --release -p ogive-jit --example chain -- [threads] [runs]`
#![allow(clippy::print_stdout, reason = "a program that prints figures")]

use ogive_graph::pipeline::{self, FORWARD};
use ogive_graph::{AxisId, Builder, DType, Graph, MapFn, Op, Output, Port, ReduceFn, Shape, Ty, Value};
use ogive_jit::{Cpu, processor_time};
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, Options, Store, Tensor};
use std::time::Instant;

const ROWS: u64 = 1 << 14;
const WIDTH: u64 = 1 << 10;

fn graph() -> Graph {
    let mut graph = Graph::default();
    let mut b = Builder::new(&mut graph.axes);
    let (row, model) = (b.axis("row", ROWS), b.axis("model", WIDTH));
    let port = |b: &mut Builder<'_>, name: &str, order: &[AxisId], param: bool| {
        let port = Port { name: name.into(), order: order.to_vec() };
        let ty = Ty::new(DType::F32, Shape::of(order.iter().copied()));
        b.add_as(if param { Op::Param(port) } else { Op::Input(port) }, &[], Some(&ty))
    };
    let x = port(&mut b, "x", &[row, model], false);
    let [w, shift, gain, bias] = ["w", "b", "gain", "bias"].map(|name| port(&mut b, name, &[model], true));
    let float = |b: &mut Builder<'_>, x: f64| b.float(x, DType::F32);
    let mean = |b: &mut Builder<'_>, x: Value| {
        let sum = b.reduce(ReduceFn::Sum, x, &[model]);
        let share = float(b, 1.0 / WIDTH as f64);
        b.map(MapFn::Mul, &[sum, share])
    };
    let scaled = b.map(MapFn::Mul, &[x, w]);
    let h = b.map(MapFn::Add, &[scaled, shift]);
    let (root, one, half) = (float(&mut b, std::f64::consts::FRAC_1_SQRT_2), float(&mut b, 1.0), float(&mut b, 0.5));
    let inner = b.map(MapFn::Mul, &[h, root]);
    let erf = b.map(MapFn::Erf, &[inner]);
    let erf = b.map(MapFn::Add, &[erf, one]);
    let weight = b.map(MapFn::Mul, &[erf, half]);
    let gelu = b.map(MapFn::Mul, &[h, weight]);
    let y = b.map(MapFn::Add, &[x, gelu]);
    let middle = mean(&mut b, y);
    let centred = b.map(MapFn::Sub, &[y, middle]);
    let square = b.map(MapFn::Mul, &[centred, centred]);
    let variance = mean(&mut b, square);
    let small = float(&mut b, 1e-5);
    let variance = b.map(MapFn::Add, &[variance, small]);
    let inverse = b.map(MapFn::Rsqrt, &[variance]);
    let normal = b.map(MapFn::Mul, &[centred, inverse]);
    let scaled = b.map(MapFn::Mul, &[normal, gain]);
    let value = b.map(MapFn::Add, &[scaled, bias]);
    graph.region = b.region;
    graph.outputs.push(Output { port: Port { name: "y".into(), order: vec![row, model] }, value, update: false });
    pipeline::run(&graph, FORWARD, false).expect("passes").0
}

fn filled(dims: &[(&str, u64)], scale: f32) -> Tensor {
    let count: u64 = dims.iter().map(|d| d.1).product();
    let data = (0..count).map(|i| ((i * 2_654_435_761 % 1000) as f32 / 500.0 - 1.0) * scale).collect();
    let dims = dims.iter().map(|&(name, size)| Dim { name: name.into(), size: size as usize }).collect();
    Tensor { dims, data: Data::F32(data) }
}

fn main() {
    let args: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (threads, runs) = (args.first().copied().unwrap_or(2), args.get(1).copied().unwrap_or(20));
    let graph = graph();
    println!("{}", ogive_jit::plan(&graph, &Options::default()).expect("a plan"));
    let mut program = Cpu::new().compile(&graph, &Options { threads, ..Options::default() }).expect("a program");
    let mut store = Store::default();
    for name in ["w", "b", "gain", "bias"] {
        store.tensors.insert(name.into(), filled(&[("model", WIDTH)], 1.0));
    }
    let x = filled(&[("row", ROWS), ("model", WIDTH)], 2.0);
    let mut target = x.clone();
    let inputs = Bindings::from([("x".to_owned(), x)]);
    let (mut chain, mut copy, mut busy) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let (start, before) = (Instant::now(), processor_time());
        program.run(&mut store, &inputs, Draw::default()).expect("a run");
        chain.push(start.elapsed().as_secs_f64() * 1e3);
        busy.push((processor_time() - before) as f64 * 1e-6);
        let start = Instant::now();
        if let (Data::F32(to), Data::F32(from)) = (&mut target.data, &inputs["x"].data) {
            let half = from.len().div_ceil(threads);
            std::thread::scope(|s| {
                for (to, from) in to.chunks_mut(half).zip(from.chunks(half)) {
                    s.spawn(|| to.copy_from_slice(from));
                }
            });
        }
        copy.push(start.elapsed().as_secs_f64() * 1e3);
    }
    for (name, times) in [("chain", &mut chain), ("chain, processor time", &mut busy), ("copy", &mut copy)] {
        times.sort_by(f64::total_cmp);
        println!("{name}: median {:.2} ms, best {:.2} ms", times[times.len() / 2], times[0]);
    }
}
