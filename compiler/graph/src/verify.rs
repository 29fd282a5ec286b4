//! What every graph between two passes must satisfy. All violations are collected, none is repaired.
//!
//! - Axes have at least one position; every axis id that an operation, a type or a port mentions is in the table, and no list of axes
//!   names one twice.
//! - A region is in SSA order: operands are earlier nodes of the same region. The top region has no arguments and no results.
//! - The recorded type of a node is the one that [`infer::results`] gives; constants and random numbers fit their element type.
//! - An operation with several results is read by `Project` only, `Project` reads nothing else, and its index is in range.
//! - A loop has as many inputs as carries and stacked values need; its body reads its arguments only, whose indices are in range and
//!   whose types are those of the loop's inputs (without the loop's axis where stacked); its carries keep their type.
//! - `Input` and `Param` stand in the top region, where no two of one kind share a name.
//! - Outputs name existing values, in an order that is a permutation of the value's axes, each name once among results and once among
//!   updates. An update names an existing `Param` of the same type.

use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Graph, Node, Region};
use crate::infer;
use crate::op::{Loop, MapFn, Op, Scalar};
use crate::shape::{DType, Shape, Ty};
use std::collections::BTreeMap;
use std::fmt;

/// One broken invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyError {
    /// The loop nodes that lead to the region; empty at the top.
    pub region: Vec<Value>,
    /// The node, where there is one.
    pub node: Option<Value>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.region {
            write!(f, "{step}/")?;
        }
        match self.node {
            Some(node) => write!(f, "{node}: {}", self.message),
            None => write!(f, "graph: {}", self.message),
        }
    }
}

impl std::error::Error for VerifyError {}

/// Checks a graph.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn verify(graph: &Graph) -> Result<(), Vec<VerifyError>> {
    let mut v = Verifier { axes: &graph.axes, path: Vec::new(), errors: Vec::new() };
    for axis in graph.axes.iter().filter(|a| a.size == 0) {
        v.report(None, format!("axis `{}` has no positions", axis.name));
    }
    v.region(&graph.region, None);
    if !graph.region.results.is_empty() {
        v.report(None, "the top region has results of its own; a graph has outputs".into());
    }
    v.ports(graph);
    v.outputs(graph);
    if v.errors.is_empty() { Ok(()) } else { Err(v.errors) }
}

/// Whether an operation has several results, to be read by `Project`.
pub fn is_multiple(op: &Op) -> bool {
    matches!(op, Op::Loop(_) | Op::Attend(_) | Op::AttendGrad(_) | Op::Route { .. })
}

/// The axes that an operation itself mentions, as lists in which no axis may occur twice. Bodies of loops are not entered.
pub fn mentioned(op: &Op) -> Vec<Vec<AxisId>> {
    match op {
        Op::Input(p) | Op::Param(p) => vec![p.order.clone()],
        Op::Argument(_) | Op::Const(_) | Op::Map(_) | Op::Project(_) => vec![],
        Op::Iota(a) | Op::ArgMax(a) | Op::Gather(a) => vec![vec![*a]],
        Op::Random(r) => vec![r.order.clone()],
        Op::Reduce(_, over) | Op::Contract(over) | Op::Softmax(over) | Op::LogSumExp(over) => vec![over.clone()],
        Op::Solve { row, col, .. } => vec![vec![*row, *col]],
        Op::Rename(pairs) => vec![pairs.iter().map(|p| p.0).collect(), pairs.iter().map(|p| p.1).collect()],
        Op::Split { axis, into } => vec![vec![*axis], into.clone()],
        Op::Merge { from, into } => vec![from.clone(), vec![*into]],
        Op::Slice { axis, into, .. } | Op::Pad { axis, into, .. } => vec![vec![*axis], vec![*into]],
        Op::Concat { axes, into } => axes.iter().map(|&a| vec![a]).chain([vec![*into]]).collect(),
        Op::ScatterAdd { axis, keep } | Op::RoutedOuter { axis, keep } => vec![vec![*axis], keep.clone()],
        Op::TopK { over, into } => vec![over.clone(), vec![*into]],
        Op::Route { axis, shared, order } => vec![vec![*axis], shared.clone(), order.clone()],
        Op::Routed { axis, over } => vec![vec![*axis], over.clone()],
        Op::Attend(a) | Op::AttendGrad(a) => vec![vec![a.query, a.source, a.key], vec![a.value]],
        Op::Loop(l) => vec![vec![l.axis]],
    }
}

struct Verifier<'g> {
    axes: &'g [Axis],
    path: Vec<Value>,
    errors: Vec<VerifyError>,
}

impl Verifier<'_> {
    fn report(&mut self, node: Option<Value>, message: String) {
        self.errors.push(VerifyError { region: self.path.clone(), node, message });
    }

    fn in_table(&self, axes: &[AxisId]) -> Result<(), String> {
        match axes.iter().find(|a| a.index() >= self.axes.len()) {
            Some(a) => Err(format!("axis {} is not in the table", a.0)),
            None => Ok(()),
        }
    }

    fn shape_in_table(&self, ty: &Ty) -> Result<(), String> {
        self.in_table(ty.shape.axes())
    }

    /// `arguments` are the types that a loop gives its body; `None` at the top.
    fn region(&mut self, region: &Region, arguments: Option<&[Ty]>) {
        for (i, node) in region.nodes.iter().enumerate() {
            let here = Value(i as u32);
            if let Err(message) = self.node(region, here, node, arguments) {
                self.report(Some(here), message);
            }
        }
        for &r in &region.results {
            if r.index() >= region.nodes.len() {
                self.report(None, format!("result {r} does not exist"));
            } else if is_multiple(&region.node(r).op) {
                self.report(Some(r), "a result is an operation with several results, not a projection of it".into());
            }
        }
    }

    fn node(&mut self, region: &Region, here: Value, node: &Node, arguments: Option<&[Ty]>) -> Result<(), String> {
        if let Some(late) = node.inputs.iter().find(|v| **v >= here) {
            return Err(format!("reads {late}, which is not an earlier node"));
        }
        self.shape_in_table(&node.ty)?;
        for list in mentioned(&node.op) {
            self.in_table(&list)?;
            if Shape::of(list.iter().copied()).rank() != list.len() {
                return Err("names an axis twice".into());
            }
        }
        if let Op::Project(i) = node.op {
            return self.projection(region, node, i);
        }
        if let Some(v) = node.inputs.iter().find(|v| is_multiple(&region.node(**v).op)) {
            return Err(format!("reads {v}, which has several results, without a projection"));
        }
        let inputs: Vec<Ty> = node.inputs.iter().map(|&v| region.ty(v).clone()).collect();
        match &node.op {
            Op::Argument(i) => argument(*i, &node.ty, arguments)?,
            Op::Input(_) | Op::Param(_) if arguments.is_some() => return Err("a port inside a loop".into()),
            Op::Loop(l) => self.body(here, l, &inputs)?,
            Op::Iota(axis) if self.axes[axis.index()].size > 1 << 31 => return Err("positions exceed i32".into()),
            _ => {}
        }
        let types = infer::results(&node.op, &inputs, Some(&node.ty), self.axes)?;
        if let Some(ty) = types.first().filter(|ty| **ty != node.ty) {
            return Err(format!("recorded as {} but is {}", self.show(&node.ty), self.show(ty)));
        }
        elements(&node.op, &node.ty, &inputs)
    }

    fn projection(&self, region: &Region, node: &Node, index: u32) -> Result<(), String> {
        let &[of] = node.inputs.as_slice() else {
            return Err(format!("{} inputs where 1 belongs", node.inputs.len()));
        };
        let source = region.node(of);
        if !is_multiple(&source.op) {
            return Err(format!("projects {of}, which has one result"));
        }
        if source.inputs.iter().any(|v| *v >= of) {
            return Ok(()); // reported there
        }
        let inputs: Vec<Ty> = source.inputs.iter().map(|&v| region.ty(v).clone()).collect();
        if matches!(&source.op, Op::Loop(l) if l.body.results.iter().any(|r| r.index() >= l.body.nodes.len())) {
            return Ok(()); // reported there
        }
        let Ok(types) = infer::results(&source.op, &inputs, Some(&source.ty), self.axes) else {
            return Ok(()); // reported there
        };
        match types.get(index as usize) {
            None => Err(format!("projects result {index} of {of}, which has {}", types.len())),
            Some(ty) if *ty != node.ty => Err(format!("recorded as {} but is {}", self.show(&node.ty), self.show(ty))),
            Some(_) => Ok(()),
        }
    }

    fn body(&mut self, here: Value, l: &Loop, inputs: &[Ty]) -> Result<(), String> {
        if inputs.len() < l.carries.saturating_add(l.stacked) {
            return Err(format!("{} inputs for {} carries and {} stacked values", inputs.len(), l.carries, l.stacked));
        }
        let stacked = l.carries..l.carries + l.stacked;
        let argument = |(i, ty): (usize, &Ty)| {
            let shape = if stacked.contains(&i) { ty.shape.without(l.axis) } else { ty.shape.clone() };
            Ty::new(ty.dtype, shape)
        };
        let arguments: Vec<Ty> = inputs.iter().enumerate().map(argument).collect();
        self.path.push(here);
        let before = self.errors.len();
        self.region(&l.body, Some(&arguments));
        self.path.pop();
        if l.body.results.iter().any(|r| r.index() >= l.body.nodes.len()) {
            return Err("results of the body do not exist".into());
        }
        if self.errors.len() > before { Err("its body is not well formed".into()) } else { Ok(()) }
    }

    fn ports(&mut self, graph: &Graph) {
        let mut seen: BTreeMap<(bool, &str), Value> = BTreeMap::new();
        for (i, node) in graph.region.nodes.iter().enumerate() {
            let (is_param, port) = match &node.op {
                Op::Input(p) => (false, p),
                Op::Param(p) => (true, p),
                _ => continue,
            };
            let here = Value(i as u32);
            if let Some(first) = seen.insert((is_param, &port.name), here) {
                self.report(Some(here), format!("port `{}` is {first} already", port.name));
            }
        }
    }

    fn outputs(&mut self, graph: &Graph) {
        let mut seen = std::collections::BTreeSet::new();
        for out in &graph.outputs {
            let name = &out.port.name;
            if !seen.insert((out.update, name.as_str())) {
                self.report(None, format!("output `{name}` occurs twice"));
            }
            let Some(node) = graph.region.nodes.get(out.value.index()) else {
                self.report(None, format!("output `{name}` is {}, which does not exist", out.value));
                continue;
            };
            if is_multiple(&node.op) {
                self.report(Some(out.value), format!("output `{name}` has several results"));
            }
            if out.port.order.len() != node.ty.shape.rank() || Shape::of(out.port.order.iter().copied()) != node.ty.shape {
                self.report(Some(out.value), format!("the order of output `{name}` is not a permutation of its axes"));
            }
            if out.update {
                let param = graph.region.nodes.iter().find(|n| matches!(&n.op, Op::Param(p) if p.name == *name));
                match param {
                    None => self.report(Some(out.value), format!("update of `{name}`, which is no parameter")),
                    Some(p) if p.ty != node.ty => {
                        let message = format!("update of `{name}` is {} but the parameter is {}", self.show(&node.ty), self.show(&p.ty));
                        self.report(Some(out.value), message);
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn show(&self, ty: &Ty) -> String {
        let names: Vec<&str> = ty.shape.iter().map(|a| self.axes.get(a.index()).map_or("?", |x| x.name.as_str())).collect();
        format!("{}[{}]", ty.dtype, names.join(", "))
    }
}

fn argument(index: u32, ty: &Ty, arguments: Option<&[Ty]>) -> Result<(), String> {
    let Some(arguments) = arguments else {
        return Err("an argument outside a loop".into());
    };
    match arguments.get(index as usize) {
        None => Err(format!("argument {index} of {}", arguments.len())),
        Some(expected) if expected != ty => Err(format!("argument {index} differs in type from the loop's input")),
        Some(_) => Ok(()),
    }
}

/// Element types that [`infer`] leaves open.
fn elements(op: &Op, ty: &Ty, inputs: &[Ty]) -> Result<(), String> {
    use MapFn::{Abs, Add, Cos, Div, Erf, Exp, Floor, Log, Max, Min, Mod, Mul, Neg, Pow};
    use MapFn::{Recip, Relu, Rsqrt, Sigmoid, Sign, Sin, Sqrt, Sub, Tanh};
    let float = || if ty.dtype.is_float() { Ok(()) } else { Err(format!("is float only, not {}", ty.dtype)) };
    let number = |t: &Ty| if t.dtype == DType::Bool { Err("is of numbers, not bool".to_string()) } else { Ok(()) };
    match op {
        Op::Routed { .. } | Op::RoutedOuter { .. } | Op::Solve { .. } => float(),
        Op::TopK { .. } if inputs.iter().any(|t| !t.dtype.is_float()) => Err("ranks floats only".into()),
        Op::Const(Scalar::Float(_)) | Op::Random(_) | Op::Softmax(_) | Op::LogSumExp(_) | Op::Attend(_) | Op::AttendGrad(_) => float(),
        Op::Const(Scalar::Int(_)) if ty.dtype != DType::I32 => Err(format!("an integer constant of {}", ty.dtype)),
        Op::Const(Scalar::Bool(_)) if ty.dtype != DType::Bool => Err(format!("a truth constant of {}", ty.dtype)),
        Op::Map(Exp | Log | Sqrt | Rsqrt | Recip | Sin | Cos | Tanh | Sigmoid | Erf | Floor) => float(),
        Op::Map(Neg | Abs | Sign | Relu | Add | Sub | Mul | Div | Max | Min | Mod | Pow) => number(ty),
        Op::Map(MapFn::Lt | MapFn::Le | MapFn::Gt | MapFn::Ge) => inputs.iter().try_for_each(number),
        Op::Reduce(..) | Op::Contract(_) | Op::ScatterAdd { .. } => number(ty),
        Op::ArgMax(_) => inputs.iter().try_for_each(number),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
