//! Functions of rows that are looked up in a table with fewer rows than are looked up.
//!
//! What treats every row by itself (a normalisation over features, an affine map, what comes after it) is computed for the rows of the
//! table, and its results are looked up. Differentiated after, it has the gradients of those results added up by rows of the table first.
//!
//! Only what a product of matrices has part in is moved: other functions cost no more where they are. Nor is a function moved that some row
//! could make infinite: a row that nobody looks up must not have a part in any gradient.

use crate::Graph;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Node, Region};
use crate::op::{MapFn, Op, Scalar};
use crate::rewrite::{self, New, Rewrite};
use crate::shape::{Shape, elements};
use std::collections::BTreeMap;

/// How many lookups there are at least for each row of a table.
pub(crate) const OFTEN: u64 = 2;

/// Computes such functions for the rows of their table, in every region.
pub fn rowwise(graph: &Graph) -> Graph {
    with(graph, OFTEN)
}

/// [`rowwise`], be it less work or not.
pub fn rowwise_always(graph: &Graph) -> Graph {
    with(graph, 0)
}

fn with(graph: &Graph, often: u64) -> Graph {
    rewrite::graph(graph, &mut Rowwise { often, axes: graph.axes.clone(), frames: Vec::new() })
}

/// Where rows come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    /// Their positions; any value that stands for them, where they were looked up outside.
    pub(crate) positions: Value,
    /// Axes of the positions.
    pub(crate) points: Shape,
    /// The axis of the table.
    pub(crate) axis: AxisId,
}

/// Whether a table has so few rows that functions of them are worth computing there.
pub(crate) fn is_often(axes: &[Axis], axis: AxisId, points: &Shape, often: u64) -> bool {
    axes[axis.index()].size.saturating_mul(often) <= elements(axes, points)
}

/// The lookup that a node is, where it is often.
pub(crate) fn looked_up(axes: &[Axis], region: &Region, node: &Node, often: u64) -> Option<Source> {
    let Op::Gather(axis) = node.op else { return None };
    let [table, positions] = [node.inputs[0], node.inputs[1]];
    let points = region.ty(positions).shape.clone();
    let apart = region.ty(table).shape.intersection(&points).is_scalar();
    (apart && node.ty.dtype.is_float() && is_often(axes, axis, &points, often)).then_some(Source { positions, points, axis })
}

/// For each value of a region, where its rows come from, if it is a function of single rows; and whether a product of matrices makes or
/// reads it. `known` are the rows that the region is given.
pub(crate) fn functions(axes: &[Axis], region: &Region, known: &BTreeMap<Value, Source>, often: u64) -> (Vec<Option<Source>>, Vec<bool>) {
    let mut sources: Vec<Option<Source>> = Vec::with_capacity(region.nodes.len());
    for (i, node) in region.nodes.iter().enumerate() {
        let source = known.get(&Value(i as u32)).cloned();
        let source = source.or_else(|| of(region, node, &sources)).or_else(|| looked_up(axes, region, node, often));
        sources.push(source);
    }
    let product = |node: &Node| matches!(node.op, Op::Contract(_));
    let mut worth = vec![false; region.nodes.len()];
    for (i, node) in region.nodes.iter().enumerate() {
        let after = |v: &Value| worth[v.index()] && sources[v.index()].is_some();
        worth[i] = sources[i].is_some() && (product(node) || node.inputs.iter().any(after));
    }
    for (i, node) in region.nodes.iter().enumerate().rev() {
        if sources[i].is_some() && worth[i] {
            node.inputs.iter().for_each(|v| worth[v.index()] |= sources[v.index()].is_some());
        }
    }
    (sources, worth)
}

/// The rows that a node is a function of, one by one.
fn of(region: &Region, node: &Node, sources: &[Option<Source>]) -> Option<Source> {
    let mut found = node.inputs.iter().filter_map(|v| sources[v.index()].as_ref());
    let source = found.next()?.clone();
    let shape = |v: &Value| &region.ty(*v).shape;
    let fixed = |v: &Value| shape(v).intersection(&source.points).is_scalar() && !shape(v).contains(source.axis);
    let alike = |v: &Value| sources[v.index()].as_ref().map_or_else(|| fixed(v), |s| *s == source);
    let apart = |a: &AxisId| *a != source.axis && !source.points.contains(*a);
    let own = node.inputs.iter().all(alike);
    let keeps = match &node.op {
        Op::Map(f) => is_finite(region, *f, node),
        Op::Reduce(_, over) | Op::Softmax(over) | Op::LogSumExp(over) => over.iter().all(apart),
        // A product of two rows is one of each point, not of rows of the table.
        Op::Contract(over) => over.iter().all(apart) && node.inputs.iter().filter(|v| sources[v.index()].is_some()).count() == 1,
        Op::Rename(pairs) => pairs.iter().all(|(from, to)| apart(from) && apart(to)),
        Op::Split { axis, into } => apart(axis) && into.iter().all(apart),
        Op::Merge { from, into } => from.iter().all(apart) && apart(into),
        _ => false,
    };
    (own && keeps && node.ty.dtype.is_float() && node.ty.shape.contains_all(&source.points)).then_some(source)
}

/// Whether a function is finite wherever its operands are (but for what is too large to be represented), and so is its derivative.
fn is_finite(region: &Region, f: MapFn, node: &Node) -> bool {
    match f {
        MapFn::Neg | MapFn::Abs | MapFn::Sign | MapFn::Sin | MapFn::Cos | MapFn::Tanh | MapFn::Sigmoid | MapFn::Erf | MapFn::Relu => true,
        MapFn::Floor | MapFn::Cast | MapFn::StopGradient | MapFn::Add | MapFn::Sub | MapFn::Mul | MapFn::Max | MapFn::Min => true,
        MapFn::Rsqrt | MapFn::Sqrt | MapFn::Log | MapFn::Recip => is_above(region, node.inputs[0]),
        MapFn::Div => is_above(region, node.inputs[1]),
        _ => false,
    }
}

fn constant(region: &Region, v: Value) -> Option<f64> {
    if let Op::Const(Scalar::Float(x)) = region.node(v).op { Some(x) } else { None }
}

/// Whether a value is known to be greater than some number above 0.
fn is_above(region: &Region, v: Value) -> bool {
    let node = region.node(v);
    let above = |v: &Value| constant(region, *v).is_some_and(|x| x > 0.0);
    match node.op {
        Op::Const(_) => above(&v),
        Op::Map(MapFn::Add) => node.inputs.iter().any(above) && node.inputs.iter().all(|v| is_not_negative(region, *v)),
        Op::Map(MapFn::Max) => node.inputs.iter().any(above),
        _ => false,
    }
}

/// Whether a value is known to be 0 or above.
fn is_not_negative(region: &Region, v: Value) -> bool {
    let node = region.node(v);
    let all = || node.inputs.iter().all(|v| is_not_negative(region, *v));
    match &node.op {
        Op::Const(_) => constant(region, v).is_some_and(|x| x >= 0.0),
        Op::Map(MapFn::Abs | MapFn::Relu | MapFn::Sigmoid | MapFn::Exp) | Op::Softmax(_) => true,
        Op::Map(MapFn::Mul) => node.inputs[0] == node.inputs[1] || all(),
        Op::Map(MapFn::Add | MapFn::Sqrt) | Op::Reduce(..) => all(),
        _ => false,
    }
}

struct Rowwise {
    often: u64,
    axes: Vec<Axis>,
    frames: Vec<Frame>,
}

/// A region that is being rebuilt.
struct Frame {
    old: Region,
    sources: Vec<Option<Source>>,
    worth: Vec<bool>,
    /// What stands for a value of single rows: a value of the table.
    tables: BTreeMap<Value, Value>,
    /// What stands for positions.
    positions: BTreeMap<Value, Value>,
}

impl Rewrite for Rowwise {
    fn enter(&mut self, region: &Region, _read: &[Value]) {
        let (sources, worth) = functions(&self.axes, region, &BTreeMap::new(), self.often);
        self.frames.push(Frame { old: region.clone(), sources, worth, tables: BTreeMap::new(), positions: BTreeMap::new() });
    }

    fn leave(&mut self) {
        self.frames.pop();
    }

    fn node(&mut self, b: &mut Builder<'_>, node: Node, old: Value) -> New {
        let Some(frame) = self.frames.last_mut() else { return New::One(b.region.push(node)) };
        let source = match &frame.sources[old.index()] {
            Some(source) if frame.worth[old.index()] => source.clone(),
            _ => return New::One(b.region.push(node)),
        };
        if let Op::Gather(_) = node.op {
            frame.tables.insert(old, node.inputs[0]);
            frame.positions.insert(source.positions, node.inputs[1]);
            return New::One(b.region.push(node));
        }
        let before = &frame.old.node(old).inputs;
        let inputs = before.iter().zip(&node.inputs).map(|(old, new)| frame.tables.get(old).copied().unwrap_or(*new)).collect();
        let mut ty = node.ty.clone();
        ty.shape = ty.shape.minus(&source.points).with(source.axis);
        let table = b.region.push(Node { inputs, ty, ..node.clone() });
        frame.tables.insert(old, table);
        let positions = frame.positions[&source.positions];
        New::One(b.region.push(Node { op: Op::Gather(source.axis), inputs: [table, positions].as_slice().into(), ..node }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, sample, text::print_plain, verify::verify};

    const HEAD: &str = "axis t = 90\naxis v = 5\naxis a = 40\naxis c = 6\n%0 = input at : i32[t]\n%1 = param e : f32[v, a]\n\
                        %2 = param w : f32[a, c]\n%3 = gather %1, %0 along v : f32[t, a]\n";

    fn after(rest: &str) -> String {
        let graph = parse(&format!("{HEAD}{rest}")).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&rowwise(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    #[test]
    fn what_leads_to_and_from_a_product_is_computed_for_the_table() {
        let new = after(
            "%4 = tanh %3 : f32[t, a]\n%5 = contract %4, %2 over [a] : f32[t, c]\n%6 = softmax %5 over [c] : f32[t, c]\n\
             output o [t, c] = %6\n",
        );
        assert!(new.contains("tanh %1 : f32[v, a]") && new.contains("over [c] : f32[v, c]"), "{new}");
        assert!(new.matches("gather").count() == 1 && new.contains("f32[t, c]"), "{new}");
    }

    #[test]
    fn without_a_product_all_stays() {
        let new = after("%4 = tanh %3 : f32[t, a]\noutput o [t, a] = %4\n");
        assert!(new.contains("tanh %2 : f32[t, a]"), "{new}");
    }

    #[test]
    fn what_could_be_infinite_stays() {
        let rest = |eps: &str| {
            format!(
                "%4 = mul %3, %3 : f32[t, a]\n%5 = sum %4 over [a] : f32[t]\n%6 = const {eps} : f32[]\n%7 = add %5, %6 : f32[t]\n\
                 %8 = rsqrt %7 : f32[t]\n%9 = mul %3, %8 : f32[t, a]\n%10 = contract %9, %2 over [a] : f32[t, c]\n\
                 output o [t, c] = %10\n"
            )
        };
        assert!(after(&rest("1e-6")).contains("rsqrt %") && after(&rest("1e-6")).contains(": f32[v, c]"));
        assert!(!after(&rest("0.0")).contains(": f32[v, c]"));
    }

    #[test]
    fn positions_and_what_belongs_to_points_stay() {
        let new = after(
            "%4 = input y : f32[t, a]\n%5 = add %3, %4 : f32[t, a]\n%6 = contract %5, %2 over [a] : f32[t, c]\noutput o [t, c] = %6\n",
        );
        assert!(!new.contains("f32[v, c]"), "{new}");
        let new = after("%4 = sum %3 over [t] : f32[a]\n%5 = contract %4, %2 over [a] : f32[c]\noutput o [c] = %5\n");
        assert!(!new.contains("f32[v, c]"), "{new}");
    }

    #[test]
    fn what_stays_is_well_formed() {
        for seed in 0..300 {
            let new = rowwise_always(&sample::graph(seed, 50));
            verify(&new).unwrap_or_else(|e| panic!("{seed}: {}\n{}", e[0], print_plain(&new)));
        }
    }
}
