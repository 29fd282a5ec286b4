//! A part of a sequence that goes on where another ended, with the states of scans as values.
//!
//! Where [`super::segments`] keeps states in the store, here they are inputs and outputs, so that they can be looked at, changed, and
//! given to several continuations. What is not given starts as the scan says.

use super::delay::delays;
use super::segments::RESET;
use super::{Beginning, Obstacle, Pass};
use crate::entity::{AxisId, Value};
use crate::graph::{Graph, Origin};
use crate::op::{Op, Port, Scalar};
use crate::shape::{DType, Shape, Ty};
use std::collections::BTreeSet;

/// How a part of a sequence begins.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Resumption {
    /// Axes of the input [`RESET`] that marks where scans begin anew, if there is to be one.
    pub reset: Option<Vec<AxisId>>,
    /// Which of [`Resumed::states`] are given. The others start.
    pub given: BTreeSet<usize>,
}

/// A graph with the states of its scans.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// The graph. Its states are no outputs yet.
    pub graph: Graph,
    /// Its states, in an order that does not depend on which are given.
    pub states: Vec<ScanState>,
}

/// A state of a scan.
#[derive(Clone, Debug)]
pub struct ScanState {
    /// The scan: its path is that of the cell.
    pub origin: Origin,
    /// Which of its carries.
    pub carry: usize,
    /// Its type, with the axes of the repetitions around the scan.
    pub ty: Ty,
    /// The input that it is before the first position; read only where it is given.
    pub before: Value,
    /// The value after the last position.
    pub after: Value,
}

/// The graph whose scans along `axis` go on from given states.
///
/// # Errors
/// Where a position depends on others in another way than by a scan forward, or on where in the part it lies.
pub fn resume(graph: &Graph, axis: AxisId, how: &Resumption) -> Result<Resumed, Obstacle> {
    let signal = match &how.reset {
        Some(order) => {
            let port = Port { name: RESET.to_owned(), order: order.clone() };
            (Op::Input(port), Ty::new(DType::Bool, Shape::of(order.iter().copied())))
        }
        None => (Op::Const(Scalar::Bool(false)), Ty::scalar(DType::Bool)),
    };
    let mut pass = Pass::new(axis, 0, signal);
    pass.whole = Some(Beginning { reset: how.reset.clone(), given: Some(how.given.clone()) });
    let graph = &delays(graph, axis);
    pass.crossing(graph)?;
    let (mut graph, kept) = pass.graph(graph, graph.axes.clone())?;
    let after = graph.outputs.split_off(graph.outputs.len() - kept.len());
    let mut states: Vec<(usize, ScanState)> = Vec::new();
    for (state, output) in kept.into_iter().zip(after) {
        let is = |op: &Op| matches!(op, Op::Param(port) if *port == state.port);
        let Some(place) = graph.region.nodes.iter().position(|n| is(&n.op)) else { continue };
        graph.region.nodes[place].op = Op::Input(state.port);
        let (origin, carry) = pass.met[state.number].clone();
        let before = Value(u32::try_from(place).unwrap_or(u32::MAX));
        states.push((state.number, ScanState { origin, carry, ty: state.ty, before, after: output.value }));
    }
    states.sort_by_key(|s| s.0);
    Ok(Resumed { graph, states: states.into_iter().map(|s| s.1).collect() })
}
