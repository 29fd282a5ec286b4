//! Where numbers that are none come from: watches a run node by node, the iterations of loops included.
//!
//! A NaN comes from the first node that gives one and is given none. An infinity is often meant (a mask is `-inf`), so it is blamed only
//! where it came from finite numbers and is no constant, and, if there is a NaN, only where that NaN was made of infinities.

use super::array::Cells;
use super::{Given, region};
use crate::backend::{Bindings, Draw, ExecError, Store};
use ogive_graph::{Axis, Graph, Node, Op, Origin};
use std::cell::RefCell;

/// The first bad value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bad {
    /// Whether it holds a NaN, not only an infinity.
    pub nan: bool,
    /// The operation, in a word; of parameters and inputs their name.
    pub what: String,
    /// Where it stands in the spec.
    pub origin: Origin,
    /// Loops around it, outermost first: axis and iteration, from 0.
    pub iterations: Vec<(String, usize)>,
}

/// Runs a graph once and gives the first bad value; the store stays as it is. Parameters for which `spared` holds are not blamed.
///
/// # Errors
/// Those of a run.
pub fn first_bad(
    graph: &Graph,
    store: &Store,
    inputs: &Bindings,
    draw: Draw,
    spared: &dyn Fn(&str) -> bool,
) -> Result<Option<Bad>, ExecError> {
    let given = Given { graph, store, inputs };
    let watch = Watch { axes: &graph.axes, spared, seen: RefCell::default() };
    let frame = region::Frame { table: &graph.axes, outside: &given, draw, watch: Some(&watch) };
    let results: Vec<_> = graph.outputs.iter().map(|o| o.value).collect();
    region::run(&frame, &graph.region, &[], &results)?;
    Ok(watch.seen.into_inner().blamed())
}

#[derive(Default)]
struct Seen {
    iterations: Vec<(String, usize)>,
    /// The first node that made a NaN, and whether it was given infinities.
    nan: Option<(Bad, bool)>,
    first_infinity: Option<Bad>,
    /// The last infinity made before the NaN.
    last_infinity: Option<Bad>,
}

impl Seen {
    fn blamed(self) -> Option<Bad> {
        match self.nan {
            Some((_, true)) if self.last_infinity.is_some() => self.last_infinity,
            Some((bad, _)) => Some(bad),
            None => self.first_infinity,
        }
    }
}

/// Sees every node of a run.
pub(super) struct Watch<'a> {
    axes: &'a [Axis],
    spared: &'a dyn Fn(&str) -> bool,
    seen: RefCell<Seen>,
}

/// Whether there is a NaN, and whether an infinity.
fn holds(cells: &Cells) -> (bool, bool) {
    let kinds = |all: &mut dyn Iterator<Item = f64>| all.fold((false, false), |(n, i), x| (n | x.is_nan(), i | x.is_infinite()));
    match cells {
        Cells::F32(a) => kinds(&mut a.cells.iter().map(|x| f64::from(*x))),
        Cells::F64(a) => kinds(&mut a.cells.iter().copied()),
        Cells::I32(_) | Cells::Bool(_) => (false, false),
    }
}

fn any<'c>(all: impl Iterator<Item = &'c Cells>) -> (bool, bool) {
    all.map(holds).fold((false, false), |a, b| (a.0 | b.0, a.1 | b.1))
}

impl Watch<'_> {
    pub(super) fn enter(&self, axis: usize, iteration: usize) {
        let name = self.axes.get(axis).map_or_else(String::new, |a| a.name.clone());
        self.seen.borrow_mut().iterations.push((name, iteration));
    }

    pub(super) fn leave(&self) {
        self.seen.borrow_mut().iterations.pop();
    }

    pub(super) fn saw<'c>(&self, node: &Node, inputs: impl Iterator<Item = &'c Cells>, results: impl Iterator<Item = &'c Cells>) {
        let what = match &node.op {
            // What a body is given and what is taken from a node was seen where it was made.
            Op::Argument(_) | Op::Project(_) | Op::Const(_) | Op::Loop(_) => return,
            Op::Param(port) if (self.spared)(&port.name) => return,
            Op::Param(port) => format!("the parameter `{}`", port.name),
            Op::Input(port) => format!("the input `{}`", port.name),
            Op::Map(f) => f.name().to_owned(),
            Op::Reduce(f, _) => f.name().to_owned(),
            Op::Contract(_) | Op::Routed { .. } | Op::RoutedOuter { .. } => "a contraction".to_owned(),
            Op::Solve { .. } => "a triangular system".to_owned(),
            Op::Softmax(_) => "softmax".to_owned(),
            Op::LogSumExp(_) => "logsumexp".to_owned(),
            Op::Attend(_) | Op::AttendGrad(_) => "attention".to_owned(),
            _ => "a value".to_owned(),
        };
        let mut seen = self.seen.borrow_mut();
        if seen.nan.is_some() {
            return;
        }
        let (nan, infinite) = any(results);
        if !nan && !infinite {
            return;
        }
        let (nan_before, infinite_before) = any(inputs);
        let bad = Bad { nan, what, origin: node.origin.clone(), iterations: seen.iterations.clone() };
        if nan && !nan_before {
            seen.nan = Some((bad, infinite_before));
        } else if infinite && !nan && !infinite_before {
            seen.first_infinity.get_or_insert_with(|| bad.clone());
            seen.last_infinity = Some(bad);
        }
    }
}
