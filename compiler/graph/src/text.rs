//! The textual form of a graph, which [`crate::parse`] reads back exactly.
//!
//! ```text
//! axis seq = 16
//! axis model = 8
//! axis depth = 4
//!
//! %0 = input x : f32[seq, model]
//! %1 = param layer.w : f32[depth, model]
//! %2 = repeat along depth carry [%0] stacked [%1] with [] : f32[seq, model] {
//!   %0 = argument 0 : f32[seq, model]
//!   %1 = argument 1 : f32[model]
//!   %2 = mul %0, %1 : f32[seq, model]  @ layer model.arch:3 40..45
//!   yield [%2] collect []
//! }
//! %3 = project 0 of %2 : f32[seq, model]
//!
//! output y [seq, model] = %3
//! ```
//!
//! - The second axis called `head` is written `head.2`. Names that are not plain words are quoted.
//! - The type of a port lists the axes in the order of the outside tensor; every other type is a set, written in the order of the axis table.
//! - `@ path file:line start..end` is a node's origin; `.` is an empty path, `-` an empty file; nothing is written for a node without one.

use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Graph, Node, Origin, Region};
use crate::op::{Attention, Distribution, LoopKind, Op, Port, Scalar};
use crate::shape::{DType, Ty};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The textual form with origins.
pub fn print(graph: &Graph) -> String {
    write(graph, true)
}

/// The textual form without origins, for people and snapshots.
pub fn print_plain(graph: &Graph) -> String {
    write(graph, false)
}

/// One node as a line of text (the first line of a loop), without its origin.
pub fn node_line(labels: &[String], value: Value, node: &Node) -> String {
    let mut p = Printer { labels, origins: false, out: String::new() };
    p.head(value, node);
    p.out
}

/// One node with all of its body, without origins.
pub(crate) fn node_text(labels: &[String], node: &Node) -> String {
    let mut p = Printer { labels, origins: false, out: String::new() };
    p.region(&Region { nodes: vec![node.clone()], results: Vec::new() }, 0);
    p.out
}

/// What each axis is called in the text: its name, and from the second of a name on, a number.
pub fn labels(axes: &[Axis]) -> Vec<String> {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let mut labels = Vec::with_capacity(axes.len());
    for Axis { name, .. } in axes {
        let count = seen.entry(name).or_default();
        *count += 1;
        labels.push(if *count == 1 { axis_name(name) } else { format!("{}.{count}", axis_name(name)) });
    }
    labels
}

/// A type with its axes by label, such as `f32[seq, model]`.
pub fn type_text(labels: &[String], dtype: DType, axes: impl IntoIterator<Item = AxisId>) -> String {
    format!("{dtype}{}", list(labels, axes))
}

/// A double's shortest text that reads back to the same bits.
pub fn float_text(value: f64) -> String {
    if value.is_nan() && value.to_bits() != f64::NAN.to_bits() { format!("nan({:#x})", value.to_bits()) } else { format!("{value:?}") }
}

/// Whether a name can stand for an axis without quotes.
pub(crate) fn is_axis_word(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') && chars.all(is_axis_char)
}

/// Letters of a plain axis name after the first.
pub(crate) fn is_axis_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '~'
}

/// Letters of a plain port name, path or file.
pub(crate) fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '~' | '<' | '>')
}

fn axis_name(name: &str) -> String {
    if is_axis_word(name) { name.into() } else { format!("{name:?}") }
}

fn word(text: &str) -> String {
    if !text.is_empty() && text != "." && text != "-" && text.chars().all(is_word_char) { text.into() } else { format!("{text:?}") }
}

fn list(labels: &[String], axes: impl IntoIterator<Item = AxisId>) -> String {
    let names: Vec<&str> = axes.into_iter().map(|a| labels.get(a.index()).map_or("?", |l| l.as_str())).collect();
    format!("[{}]", names.join(", "))
}

fn values(values: &[Value]) -> String {
    let names: Vec<String> = values.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn write(graph: &Graph, origins: bool) -> String {
    let labels = labels(&graph.axes);
    let mut p = Printer { labels: &labels, origins, out: String::new() };
    for (label, axis) in labels.iter().zip(&graph.axes) {
        let _ = writeln!(p.out, "axis {label} = {}", axis.size);
    }
    p.out.push('\n');
    p.region(&graph.region, 0);
    p.out.push('\n');
    for out in &graph.outputs {
        let kind = if out.update { "update" } else { "output" };
        let _ = writeln!(p.out, "{kind} {} {} = {}", word(&out.port.name), list(&labels, out.port.order.iter().copied()), out.value);
    }
    p.out
}

struct Printer<'g> {
    labels: &'g [String],
    origins: bool,
    out: String,
}

impl Printer<'_> {
    fn region(&mut self, region: &Region, depth: usize) {
        for (i, node) in region.nodes.iter().enumerate() {
            self.indent(depth);
            self.head(Value(i as u32), node);
            if let Op::Loop(_) = node.op {
                self.out.push_str(" {");
            }
            if self.origins {
                self.origin(&node.origin);
            }
            self.out.push('\n');
            if let Op::Loop(l) = &node.op {
                self.region(&l.body, depth + 1);
                self.indent(depth + 1);
                let (carried, collected) = l.body.results.split_at(l.carries.min(l.body.results.len()));
                let _ = writeln!(self.out, "yield [{}] collect [{}]", values(carried), values(collected));
                self.indent(depth);
                self.out.push_str("}\n");
            }
        }
    }

    fn indent(&mut self, depth: usize) {
        for _ in 0..depth {
            self.out.push_str("  ");
        }
    }

    fn head(&mut self, value: Value, node: &Node) {
        let _ = write!(self.out, "{value} = {} : ", self.operation(node));
        match &node.op {
            Op::Input(port) | Op::Param(port) => self.out.push_str(&self.port_type(port, &node.ty)),
            _ => self.out.push_str(&self.ty(&node.ty)),
        }
    }

    fn ty(&self, ty: &Ty) -> String {
        type_text(self.labels, ty.dtype, ty.shape.iter())
    }

    fn port_type(&self, port: &Port, ty: &Ty) -> String {
        type_text(self.labels, ty.dtype, port.order.iter().copied())
    }

    fn origin(&mut self, origin: &Origin) {
        if *origin == Origin::default() {
            return;
        }
        let path = if origin.path.is_empty() { ".".into() } else { word(&origin.path) };
        let file = if origin.file.is_empty() { "-".into() } else { word(&origin.file) };
        let _ = write!(self.out, "  @ {path} {file}:{} {}..{}", origin.line, origin.span.0, origin.span.1);
    }

    fn axis(&self, axis: AxisId) -> &str {
        self.labels.get(axis.index()).map_or("?", |l| l)
    }

    fn axes(&self, axes: &[AxisId]) -> String {
        list(self.labels, axes.iter().copied())
    }

    fn operation(&self, node: &Node) -> String {
        let of = values(&node.inputs);
        match &node.op {
            Op::Input(port) => format!("input {}", word(&port.name)),
            Op::Param(port) => format!("param {}", word(&port.name)),
            Op::Argument(i) => format!("argument {i}"),
            Op::Const(Scalar::Float(x)) => format!("const {}", float_text(*x)),
            Op::Const(Scalar::Int(x)) => format!("const {x}"),
            Op::Const(Scalar::Bool(x)) => format!("const {x}"),
            Op::Iota(axis) => format!("iota {}", self.axis(*axis)),
            Op::Random(r) => {
                let law = match r.distribution {
                    Distribution::Uniform => "uniform",
                    Distribution::Normal => "normal",
                };
                format!("{law} site {} order {} at [{of}]", r.site, self.axes(&r.order))
            }
            Op::Map(f) => format!("{} {of}", f.name()),
            Op::Reduce(f, over) => format!("{} {of} over {}", f.name(), self.axes(over)),
            Op::ArgMax(axis) => format!("argmax {of} over {}", self.axis(*axis)),
            Op::Contract(over) => format!("contract {of} over {}", self.axes(over)),
            Op::Solve { row, col, transposed } => {
                let how = if *transposed { " transposed" } else { "" };
                format!("solve {of} row {} col {}{how}", self.axis(*row), self.axis(*col))
            }
            Op::Rename(pairs) => {
                let pairs: Vec<String> = pairs.iter().map(|(a, b)| format!("{} as {}", self.axis(*a), self.axis(*b))).collect();
                format!("rename {of} [{}]", pairs.join(", "))
            }
            Op::Split { axis, into } => format!("split {of} {} as {}", self.axis(*axis), self.axes(into)),
            Op::Merge { from, into } => format!("merge {of} {} as {}", self.axes(from), self.axis(*into)),
            Op::Slice { axis, start, into } => format!("slice {of} {} from {start} as {}", self.axis(*axis), self.axis(*into)),
            Op::Pad { axis, start, into } => format!("pad {of} {} at {start} as {}", self.axis(*axis), self.axis(*into)),
            Op::Concat { axes, into } => format!("concat {of} along {} as {}", self.axes(axes), self.axis(*into)),
            Op::Gather(axis) => format!("gather {of} along {}", self.axis(*axis)),
            Op::ScatterAdd { axis, keep } => format!("scatter_add {of} into {} keep {}", self.axis(*axis), self.axes(keep)),
            Op::TopK { over, into } => format!("top {of} over {} as {}", self.axes(over), self.axis(*into)),
            Op::Route { axis, shared, order } => {
                format!("route {of} along {} shared {} order {}", self.axis(*axis), self.axes(shared), self.axes(order))
            }
            Op::Routed { axis, over } => format!("routed {of} along {} over {}", self.axis(*axis), self.axes(over)),
            Op::RoutedOuter { axis, keep } => format!("routed_outer {of} into {} keep {}", self.axis(*axis), self.axes(keep)),
            Op::Softmax(over) => format!("softmax {of} over {}", self.axes(over)),
            Op::LogSumExp(over) => format!("logsumexp {of} over {}", self.axes(over)),
            Op::Attend(a) => format!("attend {of} {}", self.attention(a)),
            Op::AttendGrad(a) => format!("attend_grad {of} {}", self.attention(a)),
            Op::Loop(l) => {
                let kind = match l.kind {
                    LoopKind::Repeat => "repeat",
                    LoopKind::Scan => "scan",
                    LoopKind::Each => "each",
                    LoopKind::Segments => "segments",
                    LoopKind::Inverted => "inverted",
                };
                let carried = l.carries.min(node.inputs.len());
                let stacked = (carried + l.stacked).min(node.inputs.len());
                format!(
                    "{kind}{} along {} carry [{}] stacked [{}] with [{}]",
                    if l.reverse { " backwards" } else { "" },
                    self.axis(l.axis),
                    values(&node.inputs[..carried]),
                    values(&node.inputs[carried..stacked]),
                    values(&node.inputs[stacked..]),
                )
            }
            Op::Project(i) => format!("project {i} of {of}"),
        }
    }

    fn attention(&self, a: &Attention) -> String {
        let [query, source, key, value] = [a.query, a.source, a.key, a.value].map(|x| self.axis(x));
        let scale = float_text(a.scale);
        let causal = a.causal.map_or(String::new(), |offset| format!(" causal {offset}"));
        format!("query {query} source {source} key {key} value {value} scale {scale}{causal}")
    }
}
