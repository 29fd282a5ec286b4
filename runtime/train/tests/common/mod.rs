//! A small language model built by hand, and problems around it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use ogive_graph::{Builder, DType, Distribution, Graph, MapFn, Op, Output, Port, Random, ReduceFn, Shape, Ty, Value};
use ogive_lang::hir::experiment::{Budget, Every, Gradient, Optimizer, OptimizerKind, Schedule, ScheduleKind, Split};
use ogive_lang::hir::{Init, InitKind};
use ogive_lang::lower::{Binding, Dim, Lowered, Parameter};
use ogive_runtime::{Interpreter, Options};
use ogive_train::data::{DataSpec, Dataset, Roots, Source, TokenizerSpec};
use ogive_train::problem::Problem;
use ogive_train::run::{RunFolder, RunOptions, Trainer};
use std::path::Path;

pub type Check = Result<(), Box<dyn std::error::Error>>;

pub const CONTEXT: u64 = 8;

fn param(name: &str, dims: &[(&str, u64)], kind: InitKind) -> Parameter {
    let dims = dims.iter().map(|&(name, size)| Dim { name: name.into(), size }).collect();
    Parameter { name: name.into(), dims, stacked: 0, init: Init { kind, equal_norms: Vec::new() } }
}

/// `logits = dropout(embed[tokens]) @model head + bias`, and its cross entropy.
pub fn bigram(batch: u64, vocab: u64, model: u64, training: bool) -> Lowered {
    let mut graph = Graph::default();
    let (b_, s) = (graph.axis("batch", batch), graph.axis("seq", CONTEXT));
    let (from, to, m) = (graph.axis("vocab", vocab), graph.axis("vocab", vocab), graph.axis("model", model));
    let mut b = Builder::new(&mut graph.axes);
    let float = |order: &[ogive_graph::AxisId]| Ty::new(DType::F32, Shape::of(order.iter().copied()));
    let port = |name: &str, order: &[ogive_graph::AxisId]| Port { name: name.into(), order: order.to_vec() };
    let weights = |b: &mut Builder<'_>, name: &str, order: &[ogive_graph::AxisId]| -> Value {
        b.add_as(Op::Param(port(name, order)), &[], Some(&float(order)))
    };
    let (embed, head, bias) = (weights(&mut b, "embed", &[from, m]), weights(&mut b, "head", &[m, to]), weights(&mut b, "bias", &[to]));
    let positions = Ty::new(DType::I32, Shape::of([b_, s]));
    let tokens = b.add_as(Op::Input(port("tokens", &[b_, s])), &[], Some(&positions));
    let next = b.add_as(Op::Input(port("next.tokens", &[b_, s])), &[], Some(&positions));
    let mut x = b.add(Op::Gather(from), &[embed, tokens]);
    if training {
        let random = Random { distribution: Distribution::Uniform, site: 3, order: vec![b_, s, m] };
        let noise = b.add_as(Op::Random(random), &[], Some(&float(&[b_, s, m])));
        let rate = b.float(0.1, DType::F32);
        let kept = b.map(MapFn::Ge, &[noise, rate]);
        let kept = b.cast(kept, DType::F32);
        x = b.map(MapFn::Mul, &[x, kept]);
    }
    let scores = b.contract(x, head, &[m]);
    let logits = b.map(MapFn::Add, &[scores, bias]);
    let total = b.add(Op::LogSumExp(vec![to]), &[logits]);
    let target = b.add(Op::Gather(to), &[logits, next]);
    let each = b.map(MapFn::Sub, &[total, target]);
    let sum = b.reduce(ReduceFn::Sum, each, &[b_, s]);
    let share = b.float(1.0 / (batch * CONTEXT) as f64, DType::F32);
    let loss = b.map(MapFn::Mul, &[sum, share]);
    graph.region = b.region;
    graph.outputs.push(Output { port: port("loss", &[]), value: loss, update: false });
    let normal = InitKind::Normal { std: 0.3 };
    let params = vec![
        param("embed", &[("vocab", vocab), ("model", model)], normal),
        param("head", &[("model", model), ("vocab", vocab)], normal),
        param("bias", &[("vocab", vocab)], InitKind::Constant(0.0)),
    ];
    let outputs = vec![Binding { name: "loss".into(), dims: Vec::new(), dtype: DType::F32, domain: None }];
    Lowered { graph, params, inputs: Vec::new(), outputs }
}

pub fn optimizer(kind: OptimizerKind) -> Optimizer {
    Optimizer {
        kind,
        lr: Schedule { kind: ScheduleKind::Cosine, rate: 0.02, warmup: 3, end: 0.001 },
        betas: [0.9, 0.99],
        eps: 1e-8,
        momentum: 0.9,
        weight_decay: 0.01,
        decay: Vec::new(),
        no_decay: Vec::new(),
        clip: Some(1.0),
        accumulate: 1,
        skip: 0,
        ema: None,
    }
}

/// A text of little variety.
pub fn text() -> String {
    (0..400).map(|i| format!("the cat sat on the {} and saw {i}\n", ["mat", "hat", "bat"][i % 3])).collect()
}

/// The bigram model on [`text`], written into `folder`.
pub fn problem(folder: &Path, optimizer: Optimizer, steps: u64) -> Result<Problem, Box<dyn std::error::Error>> {
    std::fs::write(folder.join("text.txt"), text())?;
    let spec = DataSpec {
        source: Source::Text("text.txt".into()),
        tokenizer: TokenizerSpec::Characters,
        context: CONTEXT,
        split: [0.8, 0.1, 0.1],
    };
    let data = Dataset::load(&spec, &Roots::of(folder), None)?;
    let (vocab, batch) = (data.vocab, 8);
    Ok(Problem {
        name: "bigram".into(),
        training: bigram(batch / optimizer.accumulate.max(1), vocab, 6, true),
        evaluation: Box::new(move |batch, _| Ok(bigram(batch, vocab, 6, false))),
        gradient: Gradient::default(),
        segment: None,
        optimizer,
        budget: Budget { steps, batch, seed: 5, minutes: None },
        every: vec![Every { steps: 10, evaluate: vec![Split::Validation], checkpoint: Some(2) }],
        until: Vec::new(),
        claims: Vec::new(),
        data,
    })
}

pub fn options() -> RunOptions {
    RunOptions { exec: Options { threads: 1, verify: true, ..Options::default() }, evaluate_at_most: Some(64), ..RunOptions::default() }
}

/// A new run in `folder/run`; its lock file is the least that makes a folder a run.
pub fn trainer(folder: &Path, problem: Problem) -> Result<Trainer<'static>, Box<dyn std::error::Error>> {
    let run = RunFolder::create(&folder.join("run"))?;
    std::fs::write(run.path.join("lock.json"), "{}")?;
    Ok(Trainer::new(problem, &Interpreter, options(), run)?)
}

/// Makes the logits the only output.
pub fn give_logits(graph: &mut Graph) {
    let total = graph.region.nodes.iter().find_map(|n| if let Op::LogSumExp(over) = &n.op { Some((n.inputs[0], over[0])) } else { None });
    let Some((value, vocab)) = total else { panic!("no logits") };
    let order: Vec<_> = graph.region.ty(value).shape.iter().filter(|a| *a != vocab).chain([vocab]).collect();
    graph.outputs = vec![Output { port: Port { name: "logits".into(), order }, value, update: false }];
}
