//! Derivatives of graphs drawn at random: well-typed, and the same in both modes.

use crate::check::{Made, forward_agrees, gradient_weighed, weigh};
use ogive_graph::{Builder, DType, Graph, MapFn, Op, Region, Value, sample, verify};

/// The same region in double precision.
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

/// Inputs become parameters, so that they take part; every float that nothing reads is weighed and added up.
fn scalar_of(mut graph: Graph) -> Made {
    widen(&mut graph.region);
    graph.outputs.clear();
    let mut read = vec![false; graph.region.nodes.len()];
    for node in &mut graph.region.nodes {
        node.inputs.iter().for_each(|v| read[v.index()] = true);
        if let Op::Input(port) = &node.op {
            let mut port = port.clone();
            port.name = format!("input.{}", port.name);
            node.op = Op::Param(port);
        }
    }
    let ends: Vec<Value> = (0..read.len())
        .filter(|&i| !read[i] && !verify::is_multiple(&graph.region.nodes[i].op) && graph.region.nodes[i].ty.dtype.is_float())
        .map(|i| Value(i as u32))
        .collect();
    let mut b = Builder::over(&mut graph.axes, graph.region);
    let mut value = b.float(0.0, DType::F64);
    for end in ends {
        let bent = b.map(MapFn::Tanh, &[end]);
        let part = weigh(&mut b, bent);
        value = b.map(MapFn::Add, &[value, part]);
    }
    graph.region = b.region;
    Made { graph, value }
}

#[test]
fn both_modes_agree_on_graphs_drawn_at_random() {
    let ran = (0..1000).filter(|&seed| forward_agrees(&scalar_of(sample::graph(seed, 30)))).count();
    assert!(ran > 250, "{ran} of 1000 graphs ran");
}

#[test]
fn both_modes_agree_on_gradients_of_graphs_drawn_at_random() {
    let ran = (0..200).filter(|&seed| forward_agrees(&gradient_weighed(&scalar_of(sample::graph(seed, 20))))).count();
    assert!(ran > 50, "{ran} of 200 graphs ran");
}
