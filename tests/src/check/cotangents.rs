//! Gradients of all ports from cotangents of all outputs.

use ogive_graph::autodiff::reverse;
use ogive_graph::{Graph, Node, Op, Output, Port, Value};

/// The graph with inputs `cotangent.NAME` for its outputs and outputs `grad.NAME` for the ports that a float moves through.
///
/// # Panics
/// Where it has no gradient.
pub fn with_gradients(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let mut seeds = Vec::new();
    for output in graph.outputs.clone() {
        let ty = graph.region.ty(output.value).clone();
        let port = Port { name: format!("cotangent.{}", output.port.name), order: output.port.order };
        let seed = graph.region.push(Node { op: Op::Input(port), inputs: Default::default(), ty, origin: Default::default() });
        seeds.push((output.value, seed));
    }
    let is_port = |i: &usize| matches!(&graph.region.nodes[*i].op, Op::Input(p) | Op::Param(p) if !p.name.starts_with("cotangent."));
    let wrt: Vec<Value> = (0..graph.region.nodes.len()).filter(is_port).map(|i| Value(i as u32)).collect();
    let found = reverse::vjp(&graph, &seeds, &wrt).unwrap_or_else(|e| panic!("{e}"));
    let mut graph = found.graph;
    for (&of, cotangent) in wrt.iter().zip(found.cotangents) {
        if let (Op::Input(port) | Op::Param(port), Some(value)) = (graph.region.node(of).op.clone(), cotangent) {
            let port = Port { name: format!("grad.{}", port.name), order: port.order };
            graph.outputs.push(Output { port, value, update: false });
        }
    }
    graph
}
