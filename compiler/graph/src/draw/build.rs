//! From a graph to its picture.

use super::{Edge, Group, Kind, Line, Picture, Side};
use crate::cost::{Counting, node_cost};
use crate::entity::Value;
use crate::formula::Formula;
use crate::graph::{Graph, Node, Region};
use crate::op::{Loop, Op, Scalar};
use crate::shape::Ty;
use crate::text::{float_text, labels, node_line, type_text};
use std::collections::BTreeMap;

type Assignment<'a> = &'a dyn Fn(&[Value], Value) -> Option<u32>;

pub(super) fn build(graph: &Graph, assignment: Assignment<'_>) -> Picture {
    let counting = Counting { masked: false, symbols: vec![Formula::default(); graph.axes.len()] };
    let mut b = Build { graph, labels: labels(&graph.axes), counting, assignment, picture: Picture::default() };
    let (made, _) = b.region(&graph.region, &mut Vec::new(), None, 1, &[]);
    b.outputs(&made);
    b.written();
    b.picture
}

/// Where a value of a region comes from, for those who read it.
#[derive(Clone)]
enum Source {
    /// Written out where it is read.
    Inline(String),
    /// A tensor of the store; `true` where each iteration sees one slice.
    Stored(String, bool),
    /// Made by a box; which value, and the port that it leaves a loop by.
    Made { group: usize, value: Value, port: Option<usize> },
}

/// What was found out about a region's values.
struct Made {
    sources: Vec<Source>,
    types: Vec<Ty>,
}

struct Build<'g> {
    graph: &'g Graph,
    labels: Vec<String>,
    counting: Counting,
    assignment: Assignment<'g>,
    picture: Picture,
}

impl Build<'_> {
    /// Draws a region. `arguments` are the sources of a body's arguments. Also the ports of its results.
    fn region(
        &mut self,
        region: &Region,
        path: &mut Vec<Value>,
        parent: Option<usize>,
        times: u128,
        arguments: &[Source],
    ) -> (Made, Vec<usize>) {
        let mut made = Made { sources: Vec::new(), types: region.nodes.iter().map(|n| n.ty.clone()).collect() };
        let mut groups: BTreeMap<u32, usize> = BTreeMap::new();
        for (i, node) in region.nodes.iter().enumerate() {
            let here = Value(i as u32);
            let assigned = (self.assignment)(path, here);
            let source = match &node.op {
                Op::Const(Scalar::Float(x)) => Source::Inline(float_text(*x)),
                Op::Const(Scalar::Int(x)) => Source::Inline(x.to_string()),
                Op::Const(Scalar::Bool(x)) => Source::Inline(x.to_string()),
                Op::Iota(axis) => Source::Inline(format!("position({})", self.labels[axis.index()])),
                Op::Param(port) => Source::Stored(port.name.clone(), false),
                Op::Input(port) => {
                    let group = self.chip(Kind::Input, port.name.clone(), &node.ty, parent, times, Side::Inside);
                    Source::Made { group, value: here, port: None }
                }
                Op::Argument(index) => arguments[*index as usize].clone(),
                Op::Project(index) => match made.sources[node.inputs[0].index()].clone() {
                    Source::Made { group, .. } => {
                        let port = self.result_port(group, *index as usize);
                        if let Some(port) = port {
                            self.picture.groups[port].title.push_str(&format!(" as {here}"));
                        }
                        Source::Made { group, value: here, port }
                    }
                    other => other,
                },
                Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } | Op::Slice { .. } if assigned.is_none() => {
                    made.sources[node.inputs[0].index()].clone()
                }
                Op::Loop(l) => self.repeat(region, path, parent, times, here, l, &made),
                _ => {
                    let group = match assigned.and_then(|id| groups.get(&id)) {
                        Some(&group) => group,
                        None => self.group(node, parent, times),
                    };
                    if let Some(id) = assigned {
                        groups.insert(id, group);
                    }
                    self.member(region, &made, here, group);
                    Source::Made { group, value: here, port: None }
                }
            };
            made.sources.push(source);
        }
        let ports = match parent {
            Some(group) => self.results(region, group, times, &made),
            None => Vec::new(),
        };
        (made, ports)
    }

    fn group(&mut self, node: &Node, parent: Option<usize>, times: u128) -> usize {
        self.picture.groups.push(Group {
            title: String::new(),
            place: place(node),
            kind: Kind::Move,
            nodes: Vec::new(),
            stored: Vec::new(),
            flops: 0,
            bytes: 0,
            times,
            parent,
            side: Side::Inside,
        });
        self.picture.groups.len() - 1
    }

    fn chip(&mut self, kind: Kind, title: String, ty: &Ty, parent: Option<usize>, times: u128, side: Side) -> usize {
        let shape = self.shape(ty);
        let line = Line { text: shape.clone(), detail: format!("{title} : {shape}") };
        let group = Group {
            title,
            place: String::new(),
            kind,
            nodes: vec![line],
            stored: Vec::new(),
            flops: 0,
            bytes: u128::from(self.graph.bytes(ty)),
            times,
            parent,
            side,
        };
        self.picture.groups.push(group);
        self.picture.groups.len() - 1
    }

    fn shape(&self, ty: &Ty) -> String {
        type_text(&self.labels, ty.dtype, ty.shape.iter())
    }

    /// Adds a node to its box, with the views it reads through.
    fn member(&mut self, region: &Region, made: &Made, here: Value, group: usize) {
        let mut todo = vec![here];
        let mut lines = Vec::new();
        while let Some(v) = todo.pop() {
            let node = region.node(v);
            lines.push(self.line(region, made, v));
            for &input in node.inputs.iter().rev() {
                let view = matches!(region.node(input).op, Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } | Op::Slice { .. });
                let elsewhere = !matches!(&made.sources[input.index()], Source::Made { value, .. } if *value == input);
                if view && elsewhere && !matches!(made.sources[input.index()], Source::Inline(_)) {
                    todo.push(input);
                }
            }
        }
        let cost = node_cost(self.graph, region, here, &self.counting);
        let node = region.node(here);
        for &input in &node.inputs {
            self.read(made, input, group, None);
        }
        let box_ = &mut self.picture.groups[group];
        for line in lines.into_iter().rev() {
            if !box_.nodes.contains(&line) {
                box_.nodes.push(line);
            }
        }
        box_.flops = box_.flops.saturating_add(cost.flops.number);
        let kind = match &node.op {
            // A dot product along shared axes is a reduction, not a matrix product.
            Op::Contract(_) if region.ty(node.inputs[0]).shape == region.ty(node.inputs[1]).shape => Kind::Reduce,
            op => kind(op),
        };
        if rank(kind) > rank(box_.kind) || box_.title.is_empty() {
            box_.kind = kind;
        }
        let word = word(&node.op);
        let words = box_.title.split(", ").filter(|w| !w.is_empty()).count();
        if !box_.title.split(", ").any(|w| w == word) && words < 6 {
            box_.title = if words == 0 { word.to_string() } else { format!("{}, {word}", box_.title) };
        } else if words == 6 && !box_.title.ends_with("...") && !box_.title.split(", ").any(|w| w == word) {
            box_.title.push_str(" ...");
        }
    }

    /// Notes that a box (or, `into` a port, a loop) reads a value.
    fn read(&mut self, made: &Made, value: Value, reader: usize, into: Option<usize>) {
        match &made.sources[value.index()] {
            Source::Inline(_) => {}
            Source::Stored(name, slice) => {
                let ty = self.shape(&made.types[value.index()]);
                let bytes = super::bytes(self.graph.bytes(&made.types[value.index()]).into());
                let slice = if *slice { "slice of " } else { "" };
                let text = format!("{slice}{name} {ty} {bytes}");
                let stored = &mut self.picture.groups[reader].stored;
                if into.is_none() && !stored.contains(&text) {
                    stored.push(text);
                }
            }
            Source::Made { group, .. } if *group == reader => {}
            Source::Made { group, value, port } => {
                let ty = &made.types[value.index()];
                let edge = Edge {
                    from: *group,
                    to: reader,
                    value: value.to_string(),
                    shape: self.shape(ty),
                    bytes: self.graph.bytes(ty),
                    out_of: *port,
                    into,
                };
                if !self.picture.edges.contains(&edge) {
                    self.picture.edges.push(edge);
                }
            }
        }
    }

    fn repeat(
        &mut self,
        region: &Region,
        path: &mut Vec<Value>,
        parent: Option<usize>,
        times: u128,
        here: Value,
        l: &Loop,
        made: &Made,
    ) -> Source {
        let node = region.node(here);
        let size = self.graph.size(l.axis);
        let group = self.group(node, parent, times);
        let inner_times = times.saturating_mul(size.into());
        let backwards = if l.reverse { ", last to first" } else { "" };
        let flops = node_cost(self.graph, region, here, &self.counting).flops.number;
        let detail = node_line(&self.labels, here, node);
        let label = self.labels[l.axis.index()].clone();
        let box_ = &mut self.picture.groups[group];
        box_.kind = Kind::Loop;
        box_.title = format!("for each of {size} along {label}{backwards}");
        box_.flops = flops;
        box_.nodes.push(Line { text: format!("{label} = {size}"), detail });
        let mut arguments = Vec::new();
        for (i, &input) in node.inputs.iter().enumerate() {
            let stacked = (l.carries..l.carries + l.stacked).contains(&i);
            let ty = region.ty(input).clone();
            let inner = Ty::new(ty.dtype, if stacked { ty.shape.without(l.axis) } else { ty.shape });
            let word = if i < l.carries {
                "carry"
            } else if stacked {
                "slice"
            } else {
                "fixed"
            };
            let source = match &made.sources[input.index()] {
                Source::Inline(text) if i >= l.carries => Source::Inline(if stacked { format!("{text} here") } else { text.clone() }),
                Source::Stored(name, slice) if i >= l.carries => Source::Stored(name.clone(), *slice || stacked),
                from => {
                    let title = match from {
                        Source::Inline(text) | Source::Stored(text, _) => format!("{word} from {text}"),
                        Source::Made { value, .. } => format!("{word} {}{value}", if stacked { "of " } else { "" }),
                    };
                    let port = self.chip(Kind::Port, title, &inner, Some(group), inner_times, Side::Top);
                    self.read(made, input, group, Some(port));
                    // Number of the argument's node in the body, found when it is read.
                    Source::Made { group: port, value: argument(l, i), port: None }
                }
            };
            arguments.push(source);
        }
        path.push(here);
        let (_, ports) = self.region(&l.body, path, Some(group), inner_times, &arguments);
        path.pop();
        for (i, port) in ports.into_iter().enumerate() {
            self.picture.groups[port].title = if i < l.carries { "next carry".into() } else { "collect".into() };
        }
        Source::Made { group, value: here, port: None }
    }

    /// Ports for the results of a body.
    fn results(&mut self, region: &Region, group: usize, times: u128, made: &Made) -> Vec<usize> {
        let mut ports = Vec::new();
        for &r in &region.results {
            let port = self.chip(Kind::Port, String::new(), region.ty(r), Some(group), times, Side::Bottom);
            self.read(made, r, port, None);
            ports.push(port);
        }
        ports
    }

    fn result_port(&self, group: usize, index: usize) -> Option<usize> {
        let ports = self.picture.inside(Some(group)).into_iter().filter(|&g| self.picture.groups[g].side == Side::Bottom);
        ports.into_iter().nth(index)
    }

    /// What a box writes is what others read of it, and updates.
    fn written(&mut self) {
        let mut values: BTreeMap<(usize, &str), u64> = BTreeMap::new();
        for edge in &self.picture.edges {
            values.insert((edge.from, &edge.value), edge.bytes);
        }
        for ((from, _), bytes) in values {
            let group = &mut self.picture.groups[from];
            if !matches!(group.kind, Kind::Input | Kind::Output | Kind::Port) {
                group.bytes = group.bytes.saturating_add(bytes.into());
            }
        }
    }

    fn outputs(&mut self, made: &Made) {
        for out in &self.graph.outputs {
            let name = &out.port.name;
            match (&made.sources[out.value.index()], out.update) {
                (Source::Made { group, .. }, true) => {
                    let bytes = self.graph.bytes(self.graph.region.ty(out.value));
                    let group = &mut self.picture.groups[*group];
                    group.stored.push(format!("=> {name} {}", super::bytes(bytes.into())));
                    group.bytes = group.bytes.saturating_add(bytes.into());
                }
                (_, true) => {}
                (_, false) => {
                    let ty = self.graph.region.ty(out.value).clone();
                    let chip = self.chip(Kind::Output, name.clone(), &ty, None, 1, Side::Inside);
                    self.read(made, out.value, chip, None);
                }
            }
        }
    }

    /// A node in short, with names for what has no box.
    fn line(&self, region: &Region, made: &Made, v: Value) -> Line {
        let node = region.node(v);
        let full = node_line(&self.labels, v, node);
        let mut origin = place(node);
        if !origin.is_empty() {
            origin = format!("  @ {origin}");
        }
        let name = |number: &str| -> String {
            let index = number.parse::<usize>().ok().filter(|i| *i < made.sources.len());
            match index.map(|i| (&made.sources[i], &region.nodes[i].op)) {
                Some((Source::Inline(text), _)) => text.clone(),
                Some((Source::Stored(name, _), Op::Param(_) | Op::Argument(_))) => name.clone(),
                _ => format!("%{number}"),
            }
        };
        let (result, rest) = full.split_once(" = ").unwrap_or(("", &full));
        let mut text = format!("{result} = ");
        let mut rest = rest;
        while let Some(at) = rest.find('%') {
            text.push_str(&rest[..at]);
            let digits = rest[at + 1..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |e| at + 1 + e);
            text.push_str(&name(&rest[at + 1..digits]));
            rest = &rest[digits..];
        }
        text.push_str(rest);
        Line { text, detail: format!("{full}{origin}") }
    }
}

/// The body's node for an argument, or one that no node has.
fn argument(l: &Loop, index: usize) -> Value {
    let found = l.body.nodes.iter().position(|n| n.op == Op::Argument(index as u32));
    Value(found.map_or(0, |i| i as u32))
}

fn place(node: &Node) -> String {
    let origin = &node.origin;
    match (origin.path.is_empty(), origin.line) {
        (true, 0) => String::new(),
        (true, line) => format!("{}:{line}", origin.file),
        (false, 0) => origin.path.to_string(),
        (false, line) => format!("{} ({}:{line})", origin.path, origin.file),
    }
}

fn kind(op: &Op) -> Kind {
    match op {
        Op::Contract(_) | Op::Solve { .. } | Op::Routed { .. } | Op::RoutedOuter { .. } => Kind::Contract,
        Op::Attend(_) | Op::AttendGrad(_) => Kind::Attend,
        Op::Reduce(..) | Op::ArgMax(_) | Op::TopK { .. } | Op::Softmax(_) | Op::LogSumExp(_) => Kind::Reduce,
        Op::Random(_) => Kind::Random,
        Op::Map(_) => Kind::Map,
        Op::Loop(_) => Kind::Loop,
        Op::Input(_) | Op::Param(_) | Op::Argument(_) | Op::Const(_) | Op::Iota(_) => Kind::Move,
        Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } | Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. } => Kind::Move,
        Op::Gather(_) | Op::ScatterAdd { .. } | Op::Route { .. } | Op::Project(_) => Kind::Move,
    }
}

fn rank(kind: Kind) -> u32 {
    match kind {
        Kind::Move | Kind::Input | Kind::Output | Kind::Port => 0,
        Kind::Random => 1,
        Kind::Map => 2,
        Kind::Reduce => 3,
        Kind::Contract => 4,
        Kind::Attend => 5,
        Kind::Loop => 6,
    }
}

fn word(op: &Op) -> &'static str {
    match op {
        Op::Map(f) => f.name(),
        Op::Reduce(f, _) => f.name(),
        Op::Input(_) => "input",
        Op::Param(_) => "param",
        Op::Argument(_) => "argument",
        Op::Const(_) => "const",
        Op::Iota(_) => "positions",
        Op::Random(_) => "random",
        Op::ArgMax(_) => "argmax",
        Op::Contract(_) => "contract",
        Op::Solve { .. } => "solve",
        Op::Rename(_) => "rename",
        Op::Split { .. } => "split",
        Op::Merge { .. } => "merge",
        Op::Slice { .. } => "slice",
        Op::Pad { .. } => "pad",
        Op::Concat { .. } => "concat",
        Op::Gather(_) => "gather",
        Op::ScatterAdd { .. } => "scatter_add",
        Op::TopK { .. } => "top",
        Op::Route { .. } => "route",
        Op::Routed { .. } => "routed",
        Op::RoutedOuter { .. } => "routed_outer",
        Op::Softmax(_) => "softmax",
        Op::LogSumExp(_) => "logsumexp",
        Op::Attend(_) => "attend",
        Op::AttendGrad(_) => "attend_grad",
        Op::Loop(_) => "loop",
        Op::Project(_) => "project",
    }
}
