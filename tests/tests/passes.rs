//! Passes keep the meaning of a graph: what the reference interpreter computes before and after is the same.

use ogive_graph::{
    DType, Graph, Op, Port, Region, batch, cse, dce, decompose, expand, hoist, parse, part, pipeline, recognise, sample, simplify, text,
    verify,
};
use ogive_runtime::backend::{Bindings, Draw, Store};
use ogive_runtime::interp::evaluate;
use ogive_runtime::tensor::{Data, Dim, Tensor};
use std::collections::BTreeMap;

/// The same region in double precision, where rounding cannot hide a difference.
fn widen(region: &mut Region) {
    for node in &mut region.nodes {
        if node.ty.dtype == DType::F32 {
            node.ty.dtype = DType::F64;
        }
        if let Op::Loop(l) = &mut node.op {
            widen(&mut l.body);
        }
    }
}

fn tensor(graph: &Graph, port: &Port, dtype: DType, seed: u64) -> Tensor {
    let dims: Vec<Dim> = port.order.iter().map(|&a| Dim { name: graph.name(a).into(), size: graph.size(a) as usize }).collect();
    let len: usize = dims.iter().map(|d| d.size).product();
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24)
    };
    let data = match dtype {
        DType::F32 => Data::F32((0..len).map(|_| (next() * 4.0 - 2.0) as f32).collect()),
        DType::F64 => Data::F64((0..len).map(|_| next() * 4.0 - 2.0).collect()),
        DType::I32 => Data::I32((0..len).map(|_| (next() * 2.0) as i32).collect()),
        DType::Bool => Data::Bool((0..len).map(|_| u8::from(next() < 0.5)).collect()),
    };
    Tensor { dims, data }
}

/// Outputs and updates, where the interpreter can compute them (positions may lie outside their axis).
fn results(graph: &Graph, given: &Graph) -> Option<BTreeMap<String, Tensor>> {
    let (mut inputs, mut store) = (Bindings::new(), Store::default());
    for (i, node) in given.region.nodes.iter().enumerate() {
        match &node.op {
            Op::Input(p) => drop(inputs.insert(p.name.clone(), tensor(given, p, node.ty.dtype, i as u64))),
            Op::Param(p) => drop(store.tensors.insert(p.name.clone(), tensor(given, p, node.ty.dtype, i as u64))),
            _ => {}
        }
    }
    let mut out = evaluate(graph, &inputs, &mut store, Draw { seed: 3, step: 1 }).ok()?;
    out.extend(store.tensors.into_iter().map(|(name, t)| (format!("store.{name}"), t)));
    Some(out)
}

fn numbers(t: &Tensor) -> Vec<f64> {
    match &t.data {
        Data::F32(v) => v.iter().map(|&x| x.into()).collect(),
        Data::F64(v) => v.clone(),
        Data::I32(v) => v.iter().map(|&x| x.into()).collect(),
        Data::Bool(v) => v.iter().map(|&x| x.into()).collect(),
    }
}

/// The largest relative difference; NaN equals NaN.
fn difference(a: &BTreeMap<String, Tensor>, b: &BTreeMap<String, Tensor>) -> f64 {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let pairs = a.iter().flat_map(|(name, t)| {
        assert_eq!(t.dims, b[name].dims);
        numbers(t).into_iter().zip(numbers(&b[name]))
    });
    let apart = |(x, y): (f64, f64)| {
        if x == y || (x.is_nan() && y.is_nan()) {
            0.0
        } else if x.is_finite() && y.is_finite() {
            (x - y).abs() / (1.0 + x.abs())
        } else {
            f64::INFINITY
        }
    };
    pairs.map(apart).fold(0.0, f64::max)
}

#[track_caller]
fn keeps_meaning(pass: fn(&Graph) -> Graph, tolerance: f64) {
    let mut ran = 0;
    for seed in 0..500 {
        let mut graph = sample::graph(seed, 40);
        widen(&mut graph.region);
        verify::verify(&graph).unwrap_or_else(|e| panic!("{seed}: {}", e[0]));
        let Some(before) = results(&graph, &graph) else { continue };
        ran += 1;
        let new = pass(&graph);
        let after = results(&new, &graph).unwrap_or_else(|| panic!("{seed}: does not run any more\n{}", text::print_plain(&new)));
        let apart = difference(&before, &after);
        assert!(apart <= tolerance, "{seed}: {apart}\n{}\n{}", text::print_plain(&graph), text::print_plain(&new));
    }
    assert!(ran > 150, "{ran} graphs ran");
}

#[test]
fn removing_dead_nodes_changes_nothing() {
    keeps_meaning(dce::dce, 0.0);
}

#[test]
fn sharing_equal_nodes_changes_nothing() {
    keeps_meaning(cse::cse, 1e-13);
}

#[test]
fn hoisting_changes_nothing() {
    keeps_meaning(hoist::hoist, 0.0);
}

#[test]
fn taking_products_out_of_scans_changes_rounding_at_most() {
    keeps_meaning(batch::batch, 1e-12);
}

#[test]
fn parting_scans_changes_nothing() {
    keeps_meaning(part::part, 0.0);
}

#[test]
fn simplifying_changes_rounding_at_most() {
    keeps_meaning(simplify::simplify, 1e-12);
}

#[test]
fn decomposing_softmax_changes_rounding_at_most() {
    keeps_meaning(decompose::decompose, 1e-12);
}

#[test]
fn attention_written_out_is_attention() {
    keeps_meaning(expand::expand, 1e-11);
}

#[test]
fn the_whole_pipeline_changes_rounding_at_most() {
    fn both(graph: &Graph) -> Graph {
        let (forward, _) = pipeline::run(graph, pipeline::FORWARD, true).unwrap_or_else(|f| panic!("{f}"));
        pipeline::run(&forward, pipeline::BACKEND, true).unwrap_or_else(|f| panic!("{f}")).0
    }
    keeps_meaning(both, 1e-11);
}

#[test]
fn recognised_attention_mixes_as_the_written_form_does() {
    let masks = ["", "%8 = le %6, %7 : bool[seq, src]", "%8 = lt %7, %6 : bool[seq, src]"];
    for mask in masks {
        let (scores, last) = match mask {
            "" => ("%8 = const 0 : i32[]\n%9 = const 0.5 : f64[]\n%10 = mul %5, %9 : f64[batch, seq, src]", 10),
            m if m.contains("lt") => ("%9 = const -inf : f64[]\n%10 = where %8, %9, %5 : f64[batch, seq, src]", 10),
            _ => ("%9 = const -inf : f64[]\n%10 = where %8, %5, %9 : f64[batch, seq, src]", 10),
        };
        let text = format!(
            "axis batch = 2\naxis seq = 5\naxis src = 5\naxis key = 3\n\
             %0 = input q : f64[batch, seq, key]\n%1 = input k : f64[batch, seq, key]\n%2 = input v : f64[batch, seq, key]\n\
             %3 = rename %1 [seq as src] : f64[batch, src, key]\n%4 = rename %2 [seq as src] : f64[batch, src, key]\n\
             %5 = contract %0, %3 over [key] : f64[batch, seq, src]\n%6 = iota src : i32[src]\n%7 = iota seq : i32[seq]\n{mask}\n{scores}\n\
             %11 = softmax %{last} over [src] : f64[batch, seq, src]\n%12 = contract %11, %4 over [src] : f64[batch, seq, key]\n\
             output y [batch, seq, key] = %12\n"
        );
        let graph = parse::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        verify::verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce::dce(&recognise::recognise(&graph));
        assert!(new.region.nodes.iter().any(|n| matches!(n.op, Op::Attend(_))), "{text}");
        let (before, after) = (results(&graph, &graph).unwrap(), results(&new, &graph).unwrap());
        assert!(difference(&before, &after) < 1e-13);
    }
}
