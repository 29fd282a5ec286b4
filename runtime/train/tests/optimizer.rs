//! Optimiser graphs against the same rules written out on the host.

mod common;

use common::{Check, optimizer};
use ogive_graph::{Builder, DType, Graph, MapFn, Op, Output, Port, ReduceFn, Shape, Ty};
use ogive_lang::hir::experiment::{Optimizer, OptimizerKind, Schedule, ScheduleKind};
use ogive_lang::hir::{Init, InitKind};
use ogive_lang::lower::{Dim, Parameter};
use ogive_runtime::{Backend, Bindings, Data, Draw, Interpreter, Options, Store, Tensor};
use ogive_train::optimizer::{Scalars, StepError, step};

const START: [[f64; 2]; 2] = [[1.0, -2.0], [0.5, 3.0]];
const TARGET: [f64; 4] = [0.3, 0.1, -1.0, 2.0];

/// `loss = sum((W - target)^2) + sum(b * input)`: the gradient of W is `2 (W - target)`, that of b is the input. `idle` is read by nothing
/// that counts.
fn forward() -> (Graph, Vec<Parameter>) {
    let mut graph = Graph::default();
    let (r, c) = (graph.axis("row", 2), graph.axis("col", 2));
    let mut b = Builder::new(&mut graph.axes);
    let ty = |order: &[_]| Ty::new(DType::F64, Shape::of(order.iter().copied()));
    let port = |name: &str, order: &[_]| Port { name: name.into(), order: order.to_vec() };
    let w = b.add_as(Op::Param(port("group.W", &[r, c])), &[], Some(&ty(&[r, c])));
    let bias = b.add_as(Op::Param(port("group.b", &[c])), &[], Some(&ty(&[c])));
    let idle = b.add_as(Op::Param(port("idle", &[c])), &[], Some(&ty(&[c])));
    let _unused = b.map(MapFn::Exp, &[idle]);
    let target = b.add_as(Op::Input(port("target", &[r, c])), &[], Some(&ty(&[r, c])));
    let input = b.add_as(Op::Input(port("input", &[c])), &[], Some(&ty(&[c])));
    let gap = b.map(MapFn::Sub, &[w, target]);
    let square = b.map(MapFn::Mul, &[gap, gap]);
    let first = b.reduce(ReduceFn::Sum, square, &[r, c]);
    let product = b.map(MapFn::Mul, &[bias, input]);
    let second = b.reduce(ReduceFn::Sum, product, &[c]);
    let loss = b.map(MapFn::Add, &[first, second]);
    graph.region = b.region;
    graph.outputs.push(Output { port: port("loss", &[]), value: loss, update: false });
    let dim = |name: &str| Dim { name: name.into(), size: 2 };
    let init = || Init { kind: InitKind::Constant(0.0), equal_norms: Vec::new() };
    let param = |name: &str, dims| Parameter { name: name.into(), dims, stacked: 0, init: init() };
    let params = vec![param("group.W", vec![dim("row"), dim("col")]), param("group.b", vec![dim("col")]), param("idle", vec![dim("col")])];
    (graph, params)
}

fn f64s(tensor: &Tensor) -> Vec<f64> {
    tensor.to_f64()
}

fn tensor(names: &[&str], values: &[f64]) -> Tensor {
    let dims = names.iter().map(|n| ogive_runtime::Dim { name: (*n).into(), size: 2 }).collect();
    Tensor { dims, data: Data::F64(values.to_vec()) }
}

/// W, b, the norms and the store.
type Ran = (Vec<f64>, Vec<f64>, Vec<f64>, Store);

/// What some steps come to.
fn run(optimizer: &Optimizer, steps: u64) -> Result<Ran, Box<dyn std::error::Error>> {
    let (graph, params) = forward();
    let made = step(&graph, &params, optimizer)?;
    assert_eq!(made.idle, ["idle"]);
    ogive_graph::verify::verify(&made.compute).map_err(|e| format!("{e:?}"))?;
    let mut store = Store::default();
    store.tensors.insert("group.W".into(), tensor(&["row", "col"], &START.concat()));
    store.tensors.insert("group.b".into(), tensor(&["col"], &[1.0, 2.0]));
    store.tensors.insert("idle".into(), tensor(&["col"], &[7.0, 7.0]));
    ogive_train::initialise::states(&mut store, &params, &made.states, DType::F64);
    let mut executable = Interpreter.compile(&made.compute, &Options::default())?;
    let mut norms = Vec::new();
    for t in 1..=steps {
        let mut inputs = Bindings::from([
            ("target".to_owned(), tensor(&["row", "col"], &TARGET)),
            ("input".to_owned(), tensor(&["col"], &[0.5, -0.25 * t as f64])),
        ]);
        Scalars::of(optimizer, t, steps).bind(optimizer, DType::F64, &mut inputs);
        executable.run(&mut store, &inputs, Draw::default())?;
        norms.extend(executable.output("gradient_norm").map(f64s).ok_or("no norm")?);
    }
    assert_eq!(f64s(&store.tensors["idle"]), [7.0, 7.0]);
    let of = |name: &str| f64s(&store.tensors[name]);
    Ok((of("group.W"), of("group.b"), norms, store.clone()))
}

/// The rule of the documentation for one list of numbers with a common decay.
struct Host {
    p: Vec<f64>,
    m: Vec<f64>,
    v: Vec<f64>,
    decay: f64,
}

impl Host {
    fn new(p: &[f64], decay: f64) -> Host {
        Host { p: p.to_vec(), m: vec![0.0; p.len()], v: vec![0.0; p.len()], decay }
    }

    fn step(&mut self, o: &Optimizer, gradient: &[f64], t: i32, lr: f64) {
        let [b1, b2] = o.betas;
        for (i, gradient) in gradient.iter().enumerate() {
            let decoupled = o.kind == OptimizerKind::AdamW;
            let g = gradient + if decoupled { 0.0 } else { self.decay * self.p[i] };
            let mut direction = if o.kind == OptimizerKind::Sgd {
                self.m[i] = o.momentum * self.m[i] + g;
                self.m[i]
            } else {
                self.m[i] = b1 * self.m[i] + (1.0 - b1) * g;
                self.v[i] = b2 * self.v[i] + (1.0 - b2) * g * g;
                (self.m[i] / (1.0 - b1.powi(t))) / ((self.v[i] / (1.0 - b2.powi(t))).sqrt() + o.eps)
            };
            if decoupled {
                direction += self.decay * self.p[i];
            }
            self.p[i] -= lr * direction;
        }
    }
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12 * (1.0 + b.abs()))
}

fn settings(kind: OptimizerKind) -> Optimizer {
    let lr = Schedule { kind: ScheduleKind::Constant, rate: 0.1, warmup: 0, end: 0.0 };
    Optimizer { lr, weight_decay: 0.2, clip: None, ..optimizer(kind) }
}

#[test]
fn every_rule_is_the_documented_one_with_and_without_clipping() -> Check {
    for kind in [OptimizerKind::Sgd, OptimizerKind::Adam, OptimizerKind::AdamW] {
        for clip in [None, Some(0.7), Some(1e9)] {
            let o = Optimizer { clip, ..settings(kind) };
            let (w, b, norms, _) = run(&o, 6)?;
            // By default only tensors with two dims decay.
            let (mut host_w, mut host_b) = (Host::new(&START.concat(), 0.2), Host::new(&[1.0, 2.0], 0.0));
            for t in 1..=6 {
                let mut gw: Vec<f64> = host_w.p.iter().zip(TARGET).map(|(p, target)| 2.0 * (p - target)).collect();
                let mut gb = vec![0.5, -0.25 * f64::from(t)];
                let norm = gw.iter().chain(&gb).map(|g| g * g).sum::<f64>().sqrt();
                assert!((norm - norms[t as usize - 1]).abs() < 1e-11, "{kind:?} {clip:?} step {t}");
                let scale = clip.filter(|c| norm > *c).map_or(1.0, |c| c / norm);
                gw.iter_mut().chain(&mut gb).for_each(|g| *g *= scale);
                host_w.step(&o, &gw, t, 0.1);
                host_b.step(&o, &gb, t, 0.1);
            }
            assert!(close(&w, &host_w.p) && close(&b, &host_b.p), "{kind:?} {clip:?}: {w:?} {:?}", host_w.p);
        }
    }
    Ok(())
}

#[test]
fn patterns_choose_what_decays() -> Check {
    let o = settings(OptimizerKind::AdamW);
    let plain = run(&Optimizer { weight_decay: 0.0, ..o.clone() }, 3)?;
    let only_b = run(&Optimizer { decay: vec!["b*".into()], ..o.clone() }, 3)?;
    assert!(plain.0 == only_b.0 && plain.1 != only_b.1);
    let none = run(&Optimizer { decay: vec!["group.*".into()], no_decay: vec!["*.W".into(), "b".into()], ..o }, 3)?;
    assert_eq!((plain.0, plain.1), (none.0, none.1));
    Ok(())
}

#[test]
fn the_moving_average_follows_the_weights() -> Check {
    let o = Optimizer { ema: Some(0.25), ..settings(OptimizerKind::Sgd) };
    let mut average = START.concat();
    for steps in 1..=4u64 {
        let (w, _, _, store) = run(&o, steps)?;
        let decay = 0.25f64.min((1.0 + steps as f64) / (10.0 + steps as f64));
        average = average.iter().zip(&w).map(|(a, w)| w + decay * (a - w)).collect();
        assert!(close(&f64s(&store.tensors["ema.group.W"]), &average), "{steps}");
    }
    Ok(())
}

#[test]
fn a_step_without_loss_or_without_anything_to_learn_is_an_error() {
    let (graph, params) = forward();
    let o = settings(OptimizerKind::Sgd);
    let without = Graph { outputs: Vec::new(), ..graph.clone() };
    assert!(matches!(step(&without, &params, &o), Err(StepError::NoLoss)));
    assert!(matches!(step(&graph, &params[2..], &o), Err(StepError::NothingToLearn)));
    let mut vector = graph;
    vector.outputs[0].value = ogive_graph::Value(0);
    assert!(matches!(step(&vector, &params, &o), Err(StepError::NoLoss)));
}
