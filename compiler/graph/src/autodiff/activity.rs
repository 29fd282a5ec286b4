//! Which values matter to a derivative: static facts about the edges of a region.

use crate::entity::Value;
use crate::graph::{Node, Region};
use crate::op::{MapFn, Op};

/// Whether a small change of input `i` of the node can change a result.
pub(super) fn passes(node: &Node, i: usize) -> bool {
    match &node.op {
        Op::Input(_) | Op::Param(_) | Op::Argument(_) | Op::Const(_) | Op::Iota(_) | Op::Random(_) | Op::ArgMax(_) => false,
        Op::TopK { .. } | Op::Route { .. } => false,
        Op::Routed { .. } | Op::RoutedOuter { .. } => i < 2,
        Op::Map(MapFn::StopGradient | MapFn::Sign | MapFn::Floor) => false,
        Op::Map(f) => !f.is_predicate() && (*f != MapFn::Where || i > 0),
        Op::Gather(_) => i == 0,
        Op::ScatterAdd { .. } => i == 1,
        Op::Reduce(..)
        | Op::Contract(_)
        | Op::Solve { .. }
        | Op::Rename(_)
        | Op::Split { .. }
        | Op::Merge { .. }
        | Op::Slice { .. }
        | Op::Pad { .. } => true,
        Op::Concat { .. } | Op::Softmax(_) | Op::LogSumExp(_) | Op::Attend(_) | Op::AttendGrad(_) | Op::Project(_) => true,
        Op::Loop(_) => true,
    }
}

/// Whether results are read through `Project` only, so that the node's own type is that of its first result.
pub(super) fn is_joint(op: &Op) -> bool {
    matches!(op, Op::Loop(_) | Op::Attend(_) | Op::AttendGrad(_) | Op::Route { .. })
}

/// For each value, whether it changes with one of the roots.
pub(crate) fn dependents(region: &Region, roots: impl IntoIterator<Item = Value>) -> Vec<bool> {
    let mut depends = vec![false; region.nodes.len()];
    for root in roots {
        depends[root.index()] = true;
    }
    for index in 0..region.nodes.len() {
        depends[index] |= depends_by_inputs(region, &depends, index);
    }
    depends
}

/// Whether a node changes with one of its inputs that change.
pub(super) fn depends_by_inputs(region: &Region, depends: &[bool], index: usize) -> bool {
    let node = &region.nodes[index];
    let typed = is_joint(&node.op) || node.ty.dtype.is_float();
    typed && node.inputs.iter().enumerate().any(|(i, v)| depends[v.index()] && passes(node, i))
}

/// For each value, whether one of the roots changes with it.
pub(super) fn sources(region: &Region, roots: impl IntoIterator<Item = Value>) -> Vec<bool> {
    let mut reached = vec![false; region.nodes.len()];
    for root in roots {
        reached[root.index()] = true;
    }
    for index in (0..region.nodes.len()).rev() {
        let node = &region.nodes[index];
        if reached[index] && (is_joint(&node.op) || node.ty.dtype.is_float()) {
            for (i, v) in node.inputs.iter().enumerate() {
                reached[v.index()] |= passes(node, i);
            }
        }
    }
    reached
}
