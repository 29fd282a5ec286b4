//! Pictures of a graph for people: groups of nodes as boxes, loops as boxes that hold their body, values as lines with shape and bytes.
//!
//! [`Picture::of_graph`] says what is drawn; [`svg`], [`html`], [`dot`] and [`json`] say how.

mod build;
mod dot;
mod html;
mod json;
mod layout;
mod svg;

use crate::entity::Value;
use crate::graph::Graph;

pub use dot::dot;
pub use html::html;
pub use json::json;
pub use svg::svg;

/// A graph to be drawn.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Picture {
    /// Boxes; a loop stands before what it holds.
    pub groups: Vec<Group>,
    /// Lines between boxes of one region.
    pub edges: Vec<Edge>,
}

/// What a box is, for its look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A tensor given for the run.
    Input,
    /// A tensor returned by it.
    Output,
    /// A value that a loop hands from iteration to iteration, takes slice by slice, sees unchanged or collects: a port on its border.
    Port,
    /// Element-wise.
    Map,
    /// Reductions, with what is fused to them.
    Reduce,
    /// A matrix product.
    Contract,
    /// Attention.
    Attend,
    /// Gathers, scatters and moves.
    Move,
    /// Random numbers.
    Random,
    /// A loop.
    Loop,
}

impl Kind {
    /// The word for it in files.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Input => "input",
            Kind::Output => "output",
            Kind::Port => "port",
            Kind::Map => "map",
            Kind::Reduce => "reduce",
            Kind::Contract => "contract",
            Kind::Attend => "attend",
            Kind::Move => "move",
            Kind::Random => "random",
            Kind::Loop => "loop",
        }
    }

    fn colours(self) -> (&'static str, &'static str) {
        match self {
            Kind::Input | Kind::Output => ("#e8eaed", "#5f6368"),
            Kind::Port => ("#ffffff", "#8a63d2"),
            Kind::Map => ("#fff4d6", "#c99700"),
            Kind::Reduce => ("#ffe3d3", "#d1621b"),
            Kind::Contract => ("#d9e8fb", "#1f6feb"),
            Kind::Attend => ("#dcf5e3", "#1a7f37"),
            Kind::Move => ("#eef0f2", "#818b98"),
            Kind::Random => ("#fde4f0", "#bf3989"),
            Kind::Loop => ("#faf7ff", "#8a63d2"),
        }
    }
}

/// A box: nodes that run as one.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    /// What it is, in a few words.
    pub title: String,
    /// Instance path in the spec and line, or nothing.
    pub place: String,
    /// For its look.
    pub kind: Kind,
    /// Its nodes, in order.
    pub nodes: Vec<Line>,
    /// Parameters that it reads, and those that it writes at the end of the run (`=> name`).
    pub stored: Vec<String>,
    /// Arithmetic operations of one run of its region.
    pub flops: u128,
    /// Bytes that it writes in one run of its region.
    pub bytes: u128,
    /// How often it runs.
    pub times: u128,
    /// The loop that holds it.
    pub parent: Option<usize>,
    /// Where a port stands in its loop.
    pub side: Side,
}

/// Which end of a loop's box a port belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Side {
    /// Not a port.
    #[default]
    Inside,
    /// Where values come in.
    Top,
    /// Where values go out.
    Bottom,
}

/// A node as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Short, with names of parameters and constants in place of numbers.
    pub text: String,
    /// As in the textual form, with its origin.
    pub detail: String,
}

/// A value that passes from one box to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    /// The box that makes it.
    pub from: usize,
    /// The box that reads it.
    pub to: usize,
    /// Which value: `%12`.
    pub value: String,
    /// Element type and axes by name.
    pub shape: String,
    /// Size in memory.
    pub bytes: u64,
    /// The port inside the loop `from` that it comes out of.
    pub out_of: Option<usize>,
    /// The port inside the loop `to` that it goes to.
    pub into: Option<usize>,
}

impl Picture {
    /// Groups the nodes of a graph. `assignment` gives the group of a node, by the loops that lead to its region, where it has one; a group
    /// is a number that is unique in the graph. Constants, positions, parameters, views and projections need none: they are drawn with what
    /// reads them. Any other node without a group is a box of its own.
    pub fn of_graph(graph: &Graph, assignment: &dyn Fn(&[Value], Value) -> Option<u32>) -> Picture {
        build::build(graph, assignment)
    }

    /// The boxes directly inside a loop, or at the top.
    pub fn inside(&self, parent: Option<usize>) -> Vec<usize> {
        (0..self.groups.len()).filter(|&g| self.groups[g].parent == parent).collect()
    }
}

/// A count with a unit that leaves two to four digits: `4.2 M`.
pub(crate) fn short(n: u128) -> String {
    scaled(n, 1000.0, &["", " k", " M", " G", " T", " P", " E"])
}

/// Bytes with a unit: `4.0 MiB`.
pub(crate) fn bytes(n: u128) -> String {
    scaled(n, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

fn scaled(n: u128, step: f64, units: &[&str]) -> String {
    let mut value = n as f64;
    let mut at = 0;
    while value >= step && at + 1 < units.len() {
        value /= step;
        at += 1;
    }
    if at == 0 { format!("{n}{}", units[0]) } else { format!("{value:.1}{}", units[at]) }
}

/// Text for XML.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() && c != '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
