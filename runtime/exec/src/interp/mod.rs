//! The reference interpreter: the meaning of a graph.
//!
//! Takes a graph and tensors, gives tensors; every node is computed in its own element type, one at a time, by the plainest code that
//! does it. Other back ends agree with it up to rounding. Nothing is fused, nothing is reordered; a value is dropped after its last use.

mod array;
mod attend;
mod index;
mod map;
mod number;
mod reduce;
mod region;
mod route;
mod solve;
mod watch;

pub use watch::{Bad, first_bad};

use crate::backend::{Backend, Bindings, Draw, ExecError, Executable, Memory, Options, Store};
use crate::ports;
use crate::tensor::Tensor;
use array::Cells;
use ogive_graph::{Graph, Op, Port, Ty};
use std::collections::BTreeMap;

/// The reference back end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interpreter;

impl Backend for Interpreter {
    fn name(&self) -> &'static str {
        "interp"
    }

    fn compile(&self, graph: &Graph, _options: &Options) -> Result<Box<dyn Executable>, ExecError> {
        Ok(Box::new(Program { graph: graph.clone(), outputs: BTreeMap::new() }))
    }
}

struct Program {
    graph: Graph,
    outputs: BTreeMap<String, Tensor>,
}

struct Given<'a> {
    graph: &'a Graph,
    store: &'a Store,
    inputs: &'a Bindings,
}

impl region::Outside for Given<'_> {
    fn tensor(&self, port: &Port, ty: &Ty, param: bool) -> Result<Cells, ExecError> {
        let from = if param { &self.store.tensors } else { self.inputs };
        let tensor = ports::accept(from, port, ty.dtype, &self.graph.axes)?;
        Cells::from_tensor(&tensor, port, &self.graph.axes)
    }
}

impl Executable for Program {
    /// An estimate: every value of the top region and of one iteration of each loop, as if none were dropped.
    fn memory(&self) -> Memory {
        let mut memory = Memory { arena: values(&self.graph, &self.graph.region), ..Memory::default() };
        for node in &self.graph.region.nodes {
            let bytes = self.graph.bytes(&node.ty);
            match node.op {
                Op::Param(_) => memory.store = memory.store.saturating_add(bytes),
                Op::Input(_) => memory.ports = memory.ports.saturating_add(bytes),
                _ => {}
            }
        }
        for output in self.graph.outputs.iter().filter(|o| !o.update) {
            memory.ports = memory.ports.saturating_add(self.graph.bytes(self.graph.region.ty(output.value)));
        }
        memory
    }

    fn run(&mut self, store: &mut Store, inputs: &Bindings, draw: Draw) -> Result<(), ExecError> {
        let graph = &self.graph;
        let results: Vec<_> = graph.outputs.iter().map(|o| o.value).collect();
        let given = Given { graph, store, inputs };
        let frame = region::Frame { table: &graph.axes, outside: &given, draw, watch: None };
        let cells = region::run(&frame, &graph.region, &[], &results)?;
        let mut updates = Vec::new();
        for (output, cells) in graph.outputs.iter().zip(cells) {
            let tensor = cells.to_tensor(&output.port, &graph.axes)?;
            if output.update {
                updates.push((output.port.name.clone(), tensor));
            } else {
                self.outputs.insert(output.port.name.clone(), tensor);
            }
        }
        store.tensors.extend(updates);
        Ok(())
    }

    fn output(&self, name: &str) -> Option<&Tensor> {
        self.outputs.get(name)
    }
}

fn values(graph: &Graph, region: &ogive_graph::Region) -> u64 {
    region.nodes.iter().fold(0, |total: u64, node| {
        let inner = if let Op::Loop(l) = &node.op { values(graph, &l.body) } else { 0 };
        total.saturating_add(graph.bytes(&node.ty)).saturating_add(inner)
    })
}

/// Runs a graph once and gives its outputs by name; updates are written into `store`.
///
/// # Errors
/// Those of [`Executable::run`].
pub fn evaluate(graph: &Graph, bindings: &Bindings, store: &mut Store, draw: Draw) -> Result<BTreeMap<String, Tensor>, ExecError> {
    let mut program = Program { graph: graph.clone(), outputs: BTreeMap::new() };
    program.run(store, bindings, draw)?;
    Ok(program.outputs)
}
