//! Random graphs on the CPU back end: every operation beside every other, updates in place, loops in loops. Rounding may tip a comparison
//! and grow from there, so a few graphs may differ; a fault of planning shows in many.

use ogive_graph::{DType, Graph, Op, Port, pipeline, sample};
use ogive_jit::Cpu;
use ogive_runtime::interp::evaluate;
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, ExecError, Options, Store, Tensor};
use std::collections::BTreeMap;

const DRAW: Draw = Draw { seed: 3, step: 1 };
const SEEDS: u64 = 400;

fn tensor(graph: &Graph, port: &Port, dtype: DType, seed: u64) -> Tensor {
    let dims: Vec<Dim> = port.order.iter().map(|&a| Dim { name: graph.name(a).into(), size: graph.size(a) as usize }).collect();
    let len: usize = dims.iter().map(|d| d.size).product();
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let data = match dtype {
        DType::F32 | DType::F64 => Data::F32((0..len).map(|_| next() * 4.0 - 2.0).collect()),
        DType::I32 => Data::I32((0..len).map(|_| (next() * 2.0) as i32).collect()),
        DType::Bool => Data::Bool((0..len).map(|_| u8::from(next() < 0.5)).collect()),
    };
    Tensor { dims, data }
}

type Results = BTreeMap<String, Tensor>;

fn given(graph: &Graph) -> (Bindings, Store) {
    let (mut inputs, mut store) = (Bindings::new(), Store::default());
    for (i, node) in graph.region.nodes.iter().enumerate() {
        match &node.op {
            Op::Input(p) => drop(inputs.insert(p.name.clone(), tensor(graph, p, node.ty.dtype, i as u64))),
            Op::Param(p) => drop(store.tensors.insert(p.name.clone(), tensor(graph, p, node.ty.dtype, i as u64))),
            _ => {}
        }
    }
    (inputs, store)
}

fn with_store(mut out: Results, store: Store) -> Results {
    out.extend(store.tensors.into_iter().map(|(name, t)| (format!("store.{name}"), t)));
    out
}

fn compiled(graph: &Graph, inputs: &Bindings, mut store: Store, threads: usize) -> Result<Results, ExecError> {
    let mut program = Cpu::new().compile(graph, &Options { threads, verify: true, ..Options::default() })?;
    program.run(&mut store, inputs, DRAW)?;
    let names = graph.outputs.iter().filter(|o| !o.update).map(|o| o.port.name.clone());
    let out = names.map(|name| (name.clone(), program.output(&name).expect("an output").clone())).collect();
    Ok(with_store(out, store))
}

/// Share of elements that lie apart.
fn apart(a: &Results, b: &Results) -> f64 {
    let (mut wrong, mut all) = (0, 0);
    for (name, a) in a {
        let b = &b[name];
        assert_eq!((a.dtype(), &a.dims), (b.dtype(), &b.dims), "{name}");
        for (x, y) in a.to_f64().into_iter().zip(b.to_f64()) {
            all += 1;
            let same = x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= 1e-3 * (1.0 + x.abs().max(y.abs()));
            wrong += usize::from(!same);
        }
    }
    f64::from(wrong as u32) / f64::from(all.max(1) as u32)
}

#[test]
fn random_graphs_compute_what_the_interpreter_computes() {
    let (mut compared, mut different) = (0, Vec::new());
    for seed in 0..SEEDS {
        let graph = sample::graph(seed, 5 + (seed % 50) as usize);
        let (inputs, store) = given(&graph);
        let mut after = store.clone();
        let prepared = pipeline::run(&graph, pipeline::FORWARD, true).expect("passes").0;
        let expected = evaluate(&prepared, &inputs, &mut after, DRAW);
        let found = compiled(&prepared, &inputs, store.clone(), 1);
        match (expected, found) {
            (Ok(expected), Ok(found)) => {
                compared += 1;
                let share = apart(&with_store(expected, after), &found);
                if share > 0.0 {
                    different.push((seed, share));
                }
                let twice = compiled(&prepared, &inputs, store, 2).expect("a second run");
                assert_eq!(apart(&found, &twice), 0.0, "two threads give other numbers for seed {seed}");
            }
            // Positions may lie outside their axis; one side may not need them.
            (Err(ExecError::OutOfRange { .. }), _) | (_, Err(ExecError::OutOfRange { .. } | ExecError::Unsupported { .. })) => {}
            (expected, found) => panic!("seed {seed}: {:?} against {:?}", expected.map(|_| ()), found.map(|_| ())),
        }
    }
    assert!(compared as u64 > SEEDS / 3, "only {compared} graphs were compared");
    assert!(different.len() * 50 < compared, "{} of {compared} graphs differ: {different:?}", different.len());
}

/// Few rows that are summed into one long one: pieces of that are shared out, whose accumulators start in the middle.
#[test]
fn sums_of_few_long_rows_are_those_of_the_interpreter() {
    let text = "axis r = 6\naxis a = 32\naxis b = 1024\n%0 = input x : f32[r, a, b]\n%1 = input w : f32[r, a]\n%2 = mul %1, %0 : f32[r, a, b]\n\
                %3 = sum %2 over [r] : f32[a, b]\n%4 = tanh %2 : f32[r, a, b]\noutput s [a, b] = %3\noutput t [b, a] = %3\noutput y [r, a, b] = %4\n";
    let graph = ogive_graph::parse::parse(text).expect("a graph");
    let plan = ogive_graph::plan::print(&ogive_jit::plan(&graph, &Options::default()).expect("a plan"));
    assert!(plan.contains("apart"), "{plan}");
    let (inputs, store) = given(&graph);
    let expected = evaluate(&graph, &inputs, &mut store.clone(), DRAW).expect("runs");
    let [one, two] = [1, 2].map(|threads| compiled(&graph, &inputs, store.clone(), threads).expect("runs"));
    assert!(expected.keys().eq(one.keys()) && apart(&expected, &one) == 0.0);
    assert_eq!(one, two);
}
