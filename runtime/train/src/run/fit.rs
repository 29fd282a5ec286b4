//! Whether a run fits into memory, known before it is allocated.

use super::RunError;
use crate::problem::Problem;
use ogive_graph::{Graph, Op, Region};
use ogive_runtime::memory::Machine;
use ogive_runtime::{ExecError, Memory};

/// Bytes that the compiled graphs and the store need together: they share the store, and each keeps its arena.
pub(super) fn needed(graphs: &[Memory], store: u64) -> u64 {
    graphs.iter().fold(store, |n, m| n.saturating_add(m.arena).saturating_add(m.ports).saturating_add(m.scratch))
}

/// Refuses what needs more than there is, and says what takes the most.
///
/// # Errors
/// `WillNotFit`.
pub(super) fn ensure(needed: u64, problem: &Problem, step: &Graph) -> Result<(), RunError> {
    ensure_in(Machine::here().map(|m| m.available), needed, problem, step)
}

pub(super) fn ensure_in(available: Option<u64>, needed: u64, problem: &Problem, step: &Graph) -> Result<(), RunError> {
    match available {
        Some(available) if needed > available => Err(RunError::WillNotFit { needed, available, largest: largest(problem, step) }),
        _ => Ok(()),
    }
}

/// What a back end says that cannot have its memory, with the store on top and what takes the most.
pub(super) fn refused(why: ExecError, store: u64, problem: &Problem, step: &Graph) -> RunError {
    match why {
        ExecError::Memory { needed, available } => {
            RunError::WillNotFit { needed: needed.saturating_add(store), available, largest: largest(problem, step) }
        }
        other => other.into(),
    }
}

/// The five largest tensors, parameters with their optimiser state among them.
fn largest(problem: &Problem, step: &Graph) -> Vec<String> {
    let width = problem.dtype().bytes();
    let mut all: Vec<(u64, String)> = Vec::new();
    for param in problem.params() {
        let dims: Vec<String> = param.dims.iter().map(|d| format!("{}: {}", d.name, d.size)).collect();
        all.push((param.elements().saturating_mul(width), format!("`{}` [{}]", param.name, dims.join(", "))));
    }
    values(step, &step.region, &mut all);
    all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    all.dedup();
    all.into_iter().take(5).map(|(bytes, what)| format!("{what} {bytes} bytes")).collect()
}

fn values(graph: &Graph, region: &Region, all: &mut Vec<(u64, String)>) {
    for node in &region.nodes {
        match &node.op {
            Op::Loop(l) => values(graph, &l.body, all),
            Op::Param(_) | Op::Input(_) | Op::Argument(_) | Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } => continue,
            _ => {}
        }
        let dims: Vec<String> = node.ty.shape.iter().map(|a| format!("{}: {}", graph.name(a), graph.size(a))).collect();
        let bytes = graph.elements(&node.ty.shape).saturating_mul(node.ty.dtype.bytes());
        let path = if node.origin.path.is_empty() { "the model" } else { &*node.origin.path };
        all.push((bytes, format!("a value in `{path}` line {} [{}]", node.origin.line, dims.join(", "))));
    }
}
