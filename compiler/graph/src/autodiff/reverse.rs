//! Reverse mode. From a graph and cotangents of some of its values it gives the graph with nodes appended that compute the
//! cotangents of others. Nodes are visited from the last to the first; the contributions to a value are summed in the order in
//! which their consumers are visited, so that the same graph always gives the same sum.

use super::activity;
use super::emit;
use super::rtrl::{Learning, Sensitivity};
use super::{GradError, Gradients};
use crate::build::Builder;
use crate::entity::Value;
use crate::graph::{Axis, Graph, Region};
use crate::op::Op;
use crate::shape::Shape;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::ops::Range;

/// Gradients of a float scalar.
///
/// # Errors
/// Where `of` is no float scalar, or an operation has no derivative.
pub fn gradients(graph: &Graph, of: Value, wrt: &[Value]) -> Result<Gradients, GradError> {
    gradients_by(graph, of, wrt, Learning::Bptt)
}

/// Gradients of a float scalar, by the given rule for scans.
///
/// # Errors
/// Where `of` is no float scalar, an operation has no derivative, or the rule does not admit a scan.
pub fn gradients_by(graph: &Graph, of: Value, wrt: &[Value], learning: Learning) -> Result<Gradients, GradError> {
    let ty = graph.region.ty(of);
    if !ty.dtype.is_float() || !ty.shape.is_scalar() {
        return Err(GradError::NotScalar { value: of.0, axes: ty.shape.rank(), dtype: ty.dtype.name() });
    }
    let dtype = ty.dtype;
    let kept = graph.region.nodes.len();
    let mut graph = graph.clone();
    let mut b = Builder::over(&mut graph.axes, std::mem::take(&mut graph.region));
    b.origin = b.region.node(of).origin.clone();
    let one = b.float(1.0, dtype);
    graph.region = b.region;
    extend(graph, kept, &[(of, one)], wrt, learning)
}

/// The product of cotangents with the Jacobian: `seeds` are values with their cotangents, which are values of the same graph.
///
/// # Errors
/// Where a seed does not fit its value, or an operation has no derivative.
pub fn vjp(graph: &Graph, seeds: &[(Value, Value)], wrt: &[Value]) -> Result<Gradients, GradError> {
    vjp_by(graph, seeds, wrt, Learning::Bptt)
}

/// [`vjp`], by the given rule for scans.
///
/// # Errors
/// Where a seed does not fit its value, an operation has no derivative, or the rule does not admit a scan.
pub fn vjp_by(graph: &Graph, seeds: &[(Value, Value)], wrt: &[Value], learning: Learning) -> Result<Gradients, GradError> {
    check_directions(graph, seeds)?;
    extend(graph.clone(), graph.region.nodes.len(), seeds, wrt, learning)
}

/// Appends the cotangents; of the nodes from `kept` on, only those that they need stay.
fn extend(mut graph: Graph, kept: usize, seeds: &[(Value, Value)], wrt: &[Value], learning: Learning) -> Result<Gradients, GradError> {
    let how = How { learning, top: true, ..How::default() };
    let mut sensitivities = Vec::new();
    let (region, thin) = swept(&mut graph.axes, std::mem::take(&mut graph.region), seeds, wrt, &how, &mut sensitivities)?;
    let mut b = Builder::over(&mut graph.axes, region);
    let mut cotangents: Vec<Option<Value>> = Vec::new();
    for (&value, cotangent) in wrt.iter().zip(thin) {
        b.origin = b.region.node(value).origin.clone();
        let shape = b.shape(value).clone();
        cotangents.push(cotangent.map(|c| emit::spread(&mut b, c, &shape)));
    }
    graph.region = b.region;
    let count = cotangents.len();
    cotangents.extend(sensitivities.iter().flat_map(|s| [Some(s.last), Some(s.steps)]));
    prune(&mut graph.region, kept, &mut cotangents);
    let found = cotangents.split_off(count);
    for (sensitivity, values) in sensitivities.iter_mut().zip(found.chunks_exact(2)) {
        if let [Some(last), Some(steps)] = *values {
            (sensitivity.last, sensitivity.steps) = (last, steps);
        }
    }
    Ok(Gradients { graph, cotangents, sensitivities })
}

/// Whether each tangent or cotangent fits its value.
pub(super) fn check_directions(graph: &Graph, pairs: &[(Value, Value)]) -> Result<(), GradError> {
    for &(value, direction) in pairs {
        let (v, d) = (graph.region.ty(value), graph.region.ty(direction));
        if !v.dtype.is_float() || v.dtype != d.dtype || !v.shape.contains_all(&d.shape) {
            return Err(GradError::Seed { value: value.0, direction: direction.0 });
        }
    }
    Ok(())
}

/// Drops the nodes from `kept` on that no root needs, and renames the roots.
fn prune(region: &mut Region, kept: usize, roots: &mut [Option<Value>]) {
    let mut live = vec![false; region.nodes.len()];
    for root in roots.iter().flatten() {
        live[root.index()] = true;
    }
    for index in (kept..region.nodes.len()).rev() {
        if live[index] {
            for input in &region.nodes[index].inputs {
                live[input.index()] = true;
            }
        }
    }
    let nodes = region.nodes.split_off(kept);
    let mut renamed: Vec<Value> = (0..kept).map(|i| Value(i as u32)).collect();
    for (offset, mut node) in nodes.into_iter().enumerate() {
        if live[kept + offset] {
            for input in &mut node.inputs {
                *input = renamed[input.index()];
            }
            let value = region.push(node);
            renamed.push(value);
        } else {
            renamed.push(Value(u32::MAX));
        }
    }
    for root in roots.iter_mut().flatten() {
        *root = renamed[root.index()];
    }
}

/// How cotangents are taken.
#[derive(Clone, Default)]
pub(super) struct How {
    /// Axes along which nothing is summed: cotangents of values that lack them have one for each position.
    pub(super) keep: Shape,
    /// The rule for scans.
    pub(super) learning: Learning,
    /// Whether the region is the body of a loop whose iterations feed each other.
    pub(super) within: bool,
    /// Whether the region is that of the graph.
    pub(super) top: bool,
}

/// Reverse mode over a region; the cotangents may be thin, and dead nodes may remain.
pub(super) fn sweep(
    axes: &mut Vec<Axis>,
    region: Region,
    seeds: &[(Value, Value)],
    wrt: &[Value],
    how: &How,
) -> Result<(Region, Vec<Option<Value>>), GradError> {
    swept(axes, region, seeds, wrt, how, &mut Vec::new())
}

fn swept(
    axes: &mut Vec<Axis>,
    region: Region,
    seeds: &[(Value, Value)],
    wrt: &[Value],
    how: &How,
    sensitivities: &mut Vec<Sensitivity>,
) -> Result<(Region, Vec<Option<Value>>), GradError> {
    let end = region.nodes.len();
    let active = activity::dependents(&region, wrt.iter().copied());
    let mut sweep = Sweep {
        b: Builder::over(axes, region),
        how: how.clone(),
        sensitivities: Vec::new(),
        active,
        pending: BTreeMap::new(),
        joint: BTreeMap::new(),
    };
    for &(value, cotangent) in seeds {
        sweep.give(value, cotangent);
    }
    let mut totals: BTreeMap<Value, Option<Value>> = wrt.iter().map(|&v| (v, None)).collect();
    sweep.back(0..end, &mut totals)?;
    let cotangents = wrt.iter().map(|v| totals[v]).collect();
    *sensitivities = sweep.sensitivities;
    Ok((sweep.b.region, cotangents))
}

/// The state of reverse mode over one region.
pub(super) struct Sweep<'g> {
    /// What is being extended.
    pub(super) b: Builder<'g>,
    /// How.
    pub(super) how: How,
    /// What the rule of scans was asked to show.
    pub(super) sensitivities: Vec<Sensitivity>,
    /// For each value, whether it changes with what the derivative is taken in.
    active: Vec<bool>,
    /// Contributions to the cotangents of values not yet visited.
    pending: BTreeMap<Value, Vec<Value>>,
    /// Cotangents of the results of operations with several.
    joint: BTreeMap<(Value, u32), Vec<Value>>,
}

impl Sweep<'_> {
    /// Whether a contribution to the value's cotangent is of use.
    pub(super) fn wants(&self, value: Value) -> bool {
        self.active[value.index()] && (emit::is_float(&self.b, value) || activity::is_joint(&self.b.region.node(value).op))
    }

    /// Adds to the cotangent of a value, where that is of use.
    pub(super) fn give(&mut self, value: Value, cotangent: Value) {
        if self.wants(value) {
            self.pending.entry(value).or_default().push(cotangent);
        }
    }

    /// Adds to the cotangent of one result of an operation with several.
    pub(super) fn give_result(&mut self, value: Value, result: u32, cotangent: Value) {
        self.joint.entry((value, result)).or_default().push(cotangent);
    }

    /// Applies the rules of the nodes in the range, the last first; notes the cotangents of the keys of `totals`.
    pub(super) fn back(&mut self, range: Range<usize>, totals: &mut BTreeMap<Value, Option<Value>>) -> Result<(), GradError> {
        for index in range.rev() {
            let value = Value(index as u32);
            self.b.origin = self.b.region.node(value).origin.clone();
            let cotangents = if activity::is_joint(&self.b.region.node(value).op) {
                self.results(value)
            } else {
                let parts = self.pending.remove(&value).unwrap_or_default();
                let total = emit::total(&mut self.b, &parts);
                if let Some(noted) = totals.get_mut(&value) {
                    *noted = total;
                }
                SmallVec::from_elem(total, 1)
            };
            if self.active[index] && cotangents.iter().any(Option::is_some) {
                self.rule(value, &cotangents)?;
            }
        }
        Ok(())
    }

    /// Extends the activity table over nodes appended so far.
    pub(super) fn note_new(&mut self) {
        for index in self.active.len()..self.b.region.nodes.len() {
            let active = activity::depends_by_inputs(&self.b.region, &self.active, index);
            self.active.push(active);
        }
    }

    /// Cotangents of the results of an operation with several.
    fn results(&mut self, value: Value) -> SmallVec<[Option<Value>; 3]> {
        let parts: Vec<(u32, Vec<Value>)> =
            self.joint.range((value, 0)..=(value, u32::MAX)).map(|(&(_, result), parts)| (result, parts.clone())).collect();
        let count = match &self.b.region.node(value).op {
            Op::Loop(l) => l.body.results.len(),
            Op::Attend(_) => 2,
            _ => 3,
        };
        let mut cotangents = SmallVec::from_elem(None, count);
        for (result, parts) in parts {
            cotangents[result as usize] = emit::total(&mut self.b, &parts);
        }
        cotangents
    }
}
