//! From a graph to a plan: orders of axes, groups, their sequence, memory of every value that leaves its group, kernels.

mod contract;
mod emit;
pub mod layout;
mod loops;
mod order;
mod peephole;
mod pieces;
mod region;
mod routed;
mod rows;
mod storage;
#[cfg(test)]
mod tests;
mod whole;

use crate::entity::{AxisId, Value};
use crate::graph::{Graph, Origin};
use crate::kernel::Work;
use crate::memory;
use crate::op::{Op, Port};
use crate::plan::{Buffer, Kernel, Place, Plan, PortInfo, Slot, Step};
use crate::shape::{DType, Ty};
use std::collections::{BTreeMap, BTreeSet};
use storage::Storage;

/// Something that no kernel computes.
#[derive(Clone, PartialEq, Debug)]
pub struct Unsupported {
    /// In words that follow "cannot".
    pub what: String,
    /// Where.
    pub origin: Origin,
}

/// The plan of a graph whose composite operations are decomposed.
///
/// # Errors
/// Operations or element types without kernels.
pub fn plan(graph: &Graph) -> Result<Plan, Unsupported> {
    let layout = layout::layouts(graph);
    let mut planner = Planner {
        graph,
        plan: Plan::default(),
        path: Vec::new(),
        local: false,
        scopes: Vec::new(),
        longer: BTreeSet::new(),
        kernels: BTreeMap::new(),
    };
    let steps = planner.top(&layout)?;
    let Planner { mut plan, scopes, .. } = planner;
    plan.steps = steps;
    memory::place(&mut plan, &scopes);
    Ok(plan)
}

/// State of the planning.
pub(crate) struct Planner<'g> {
    graph: &'g Graph,
    plan: Plan,
    /// Loops around the present place, outermost first.
    path: Vec<u32>,
    /// Whether one of them has iterations apart, so that new buffers are each worker's own.
    local: bool,
    /// Per buffer: the loops around the place that made it.
    scopes: Vec<Vec<u32>>,
    /// Buffers with room for one position more of an axis.
    longer: BTreeSet<(u32, AxisId)>,
    kernels: BTreeMap<String, u32>,
}

impl<'g> Planner<'g> {
    fn port(&self, port: &Port, dtype: DType) -> PortInfo {
        let dims = port.order.iter().map(|&a| (self.graph.name(a).to_owned(), self.graph.size(a))).collect();
        PortInfo { name: port.name.clone(), dtype, dims }
    }

    fn buffer_at(&mut self, name: &str, dtype: DType, elements: u64, place: Place) -> u32 {
        self.plan.buffers.push(Buffer { name: name.to_owned(), dtype, elements, place, life: (0, 0) });
        self.scopes.push(self.path.clone());
        self.plan.buffers.len() as u32 - 1
    }

    /// A new buffer in the arena.
    fn buffer(&mut self, name: &str, dtype: DType, elements: u64) -> u32 {
        self.buffer_at(name, dtype, elements, if self.local { Place::Local(0) } else { Place::Arena(0) })
    }

    /// New row-major memory for a value.
    fn fresh(&mut self, name: &str, ty: &Ty, order: &[AxisId]) -> Storage {
        let buffer = self.buffer(name, ty.dtype, self.graph.elements(&ty.shape));
        Storage::dense(self.graph, buffer, order)
    }

    /// A launch of a kernel; equal kernels are shared.
    fn launch(&mut self, title: &str, work: Work, args: Vec<Slot>, origin: &Origin) -> Step {
        let key = format!("{work:?}");
        let next = self.plan.kernels.len() as u32;
        let kernel = *self.kernels.entry(key).or_insert(next);
        if kernel == next {
            self.plan.kernels.push(Kernel { title: title.to_owned(), work, origin: origin.clone() });
        }
        Step::Launch { kernel, args }
    }

    /// Memory of the graph's ports, by value of the top region.
    fn ports(&mut self) -> BTreeMap<Value, Storage> {
        let graph = self.graph;
        let mut out = BTreeMap::new();
        let mut known: BTreeMap<(bool, &str), u32> = BTreeMap::new();
        for (i, node) in graph.region.nodes.iter().enumerate() {
            let (port, is_param) = match &node.op {
                Op::Param(port) => (port, true),
                Op::Input(port) => (port, false),
                _ => continue,
            };
            let buffer = match known.get(&(is_param, port.name.as_str())) {
                Some(&b) => b,
                None => {
                    let info = self.port(port, node.ty.dtype);
                    let elements = info.elements();
                    let list = if is_param { &mut self.plan.params } else { &mut self.plan.inputs };
                    list.push(info);
                    let at = list.len() as u32 - 1;
                    self.buffer_at(&port.name, node.ty.dtype, elements, if is_param { Place::Store(at) } else { Place::Input(at) })
                }
            };
            known.insert((is_param, &port.name), buffer);
            out.insert(Value(i as u32), Storage::dense(graph, buffer, &port.order));
        }
        out
    }

    /// Memory of an output: the returned tensor or the updated tensor of the store.
    fn output(&mut self, index: usize) -> Storage {
        let graph = self.graph;
        let output = &graph.outputs[index];
        let ty = graph.region.ty(output.value);
        if output.update {
            let held = self.plan.params.iter().position(|p| p.name == output.port.name);
            let at = held.unwrap_or_else(|| {
                let info = self.port(&output.port, ty.dtype);
                self.plan.params.push(info);
                self.plan.params.len() - 1
            });
            let place = Place::Store(at as u32);
            let existing = self.plan.buffers.iter().position(|b| b.place == place);
            let buffer = match existing {
                Some(b) => b as u32,
                None => self.buffer_at(&output.port.name, ty.dtype, graph.elements(&ty.shape), place),
            };
            return Storage::dense(graph, buffer, &output.port.order);
        }
        let info = self.port(&output.port, ty.dtype);
        let elements = info.elements();
        self.plan.outputs.push(info);
        let buffer = self.buffer_at(&output.port.name, ty.dtype, elements, Place::Output(self.plan.outputs.len() as u32 - 1));
        Storage::dense(graph, buffer, &output.port.order)
    }
}
