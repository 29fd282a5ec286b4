//! What a generated program consists of, and its text. Expressions are texts with holes in which other expressions stand: all that
//! shrinking needs to know of them is which dims they have.

use super::experiment::Line;
use super::judge::BATCH;
use super::online::RULE;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Names of dims. A restricted dim is written `expert~pick`.
pub type Dims = BTreeSet<String>;

/// Dims by name.
pub(super) fn dims(names: &[&str]) -> Dims {
    names.iter().map(|&n| n.to_owned()).collect()
}

/// An expression.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// The dims of its value.
    pub dims: Dims,
    /// Its text.
    pub parts: Vec<Part>,
}

/// A piece of an expression.
#[derive(Clone, PartialEq, Debug)]
pub enum Part {
    /// As it stands.
    Text(String),
    /// Another expression.
    Hole(Node),
}

impl Node {
    /// An expression whose `#`s stand for others.
    pub(super) fn of(dims: Dims, text: &str, holes: impl IntoIterator<Item = Node>) -> Node {
        let mut parts = Vec::new();
        let mut holes = holes.into_iter();
        for (i, piece) in text.split('#').enumerate() {
            if i > 0 {
                parts.extend(holes.next().map(Part::Hole));
            }
            parts.push(Part::Text(piece.to_owned()));
        }
        Node { dims, parts }
    }

    /// A name.
    pub(super) fn name(name: &str, dims: &Dims) -> Node {
        Node { dims: dims.clone(), parts: vec![Part::Text(name.to_owned())] }
    }

    /// Whether it is more than a name or number.
    pub(super) fn is_compound(&self) -> bool {
        self.parts.iter().any(|p| matches!(p, Part::Hole(_)))
    }

    fn write(&self, out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Hole(node) => node.write(out),
            }
        }
    }

    /// Its text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// A line of a block.
#[derive(Clone, PartialEq, Debug)]
pub struct Statement {
    /// What stands before the equals sign, `tap ` and `instance ` included.
    pub left: String,
    /// The names it gives a value, with their dims.
    pub names: Vec<(String, Dims)>,
    /// What stands after it.
    pub value: Node,
    /// Whether its names are plain float tensors, so that parameters can stand for them.
    pub plain: bool,
}

/// A tensor that a block is given.
#[derive(Clone, PartialEq, Debug)]
pub struct Given {
    /// Its name.
    pub name: String,
    /// Its dims.
    pub dims: Dims,
    /// The dim that it holds positions of; a float where there is none.
    pub domain: Option<String>,
}

/// A state of a cell.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    /// Its name.
    pub name: String,
    /// Its dims.
    pub dims: Dims,
    /// Its start.
    pub start: String,
}

/// A block, cell or model.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    /// `block`, `cell` or `model`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What it is given.
    pub inputs: Vec<Given>,
    /// Its parameters.
    pub params: Vec<(String, Dims)>,
    /// Its states.
    pub states: Vec<State>,
    /// Its equations, in any order.
    pub body: Vec<Statement>,
    /// What it gives: names of equations or states.
    pub outputs: Vec<(String, Dims)>,
}

/// A whole file: the last block is what is run.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Program {
    /// Sizes of the dims that others follow from, and of `batch` where the program says how many examples there are.
    pub sizes: BTreeMap<String, u64>,
    /// Blocks, those that call after those that are called.
    pub blocks: Vec<Block>,
    /// A rule by which gradients go forward in time and are those of backpropagation.
    pub gradient: Option<String>,
    /// The lines of an experiment on the last block.
    pub experiment: Option<Vec<Line>>,
}

/// The size of a dim: `model = head * key`, `whole = front + back`; a twin such as `seq2` has the size of `seq`.
pub(super) fn size(sizes: &BTreeMap<String, u64>, dim: &str) -> u64 {
    let base = dim.split('~').next().unwrap_or(dim).trim_end_matches('2');
    match base {
        "model" => size(sizes, "head") * size(sizes, "key"),
        "whole" => size(sizes, "front") + size(sizes, "back"),
        _ => sizes.get(base).copied().unwrap_or(1),
    }
}

/// The words of a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|w| !w.is_empty())
}

/// All dims that have a size of their own or follow from others.
pub(super) const ALL_DIMS: &[&str] = &[
    "seq", "seq2", "head", "key", "key2", "model", "model2", "width", "width2", "expert", "expert2", "vocab", "row", "col", "front",
    "back", "whole", "class",
];

impl Block {
    /// Names that lead to an output, a tap or a state that does.
    pub(super) fn live(&self) -> BTreeSet<String> {
        let mut live: BTreeSet<String> = self.outputs.iter().map(|(n, _)| n.clone()).collect();
        let mut done = vec![false; self.body.len()];
        loop {
            let mut moved = false;
            for (statement, done) in self.body.iter().zip(&mut done) {
                let wanted = statement.left.starts_with("tap ") || statement.names.iter().any(|(n, _)| live.contains(n));
                if wanted && !*done {
                    *done = true;
                    moved = true;
                    live.extend(words(&statement.value.text()).map(str::to_owned));
                }
            }
            if !moved {
                return live;
            }
        }
    }

    /// The lines that count.
    pub(super) fn statements(&self) -> Vec<&Statement> {
        let live = self.live();
        self.body.iter().filter(|s| s.left.starts_with("tap ") || s.names.iter().any(|(n, _)| live.contains(n))).collect()
    }

    fn text(&self, sizes: &BTreeMap<String, u64>) -> String {
        let live = self.live();
        let list = |dims: &Dims| dims.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut inside = String::new();
        for (name, dims) in self.params.iter().filter(|(n, _)| live.contains(n)) {
            let _ = writeln!(inside, "  param {name}: [{}]", list(dims));
        }
        for state in self.states.iter().filter(|s| live.contains(&s.name)) {
            let _ = writeln!(inside, "  state {}: [{}] = {}", state.name, list(&state.dims), state.start);
        }
        for statement in self.statements() {
            let _ = writeln!(inside, "  {} = {}", statement.left, statement.value.text());
        }
        // An input that a state or output needs no more stays where a caller gives it.
        let inputs = self.inputs.iter().filter(|g| self.kind != "model" || live.contains(&g.name));
        let inputs: Vec<String> = inputs
            .map(|g| {
                let domain = g.domain.as_ref().map_or(String::new(), |d| format!(" in {d}"));
                format!("{}: [{}]{domain}", g.name, list(&g.dims))
            })
            .collect();
        let outputs: Vec<String> = self.outputs.iter().map(|(n, d)| format!("{n}: [{}]", list(d))).collect();
        let rest = format!("({}) -> {} {{\n{inside}}}\n", inputs.join(", "), outputs.join(", "));
        let used: BTreeSet<&str> = words(&rest).collect();
        let header: Vec<String> = ALL_DIMS.iter().filter(|d| used.contains(*d)).map(|d| format!("{d} = {}", size(sizes, d))).collect();
        let header = if header.is_empty() { String::new() } else { format!("[{}]", header.join(", ")) };
        format!("{} {}{header}{rest}", self.kind, self.name)
    }
}

impl Program {
    /// The text of the file: blocks that nothing calls are left out.
    pub fn text(&self) -> String {
        let mut texts: Vec<String> = Vec::new();
        let mut called: BTreeSet<String> = self.blocks.last().map(|b| b.name.clone()).into_iter().collect();
        for block in self.blocks.iter().rev() {
            if called.contains(&block.name) {
                let text = block.text(&self.sizes);
                called.extend(words(&text).map(str::to_owned));
                texts.push(text);
            }
        }
        texts.reverse();
        let mut marks = String::new();
        if let Some(batch) = self.sizes.get("batch") {
            let _ = writeln!(marks, "{BATCH}{batch}");
        }
        if let Some(rule) = &self.gradient {
            let _ = writeln!(marks, "{RULE}{rule}");
        }
        if let Some(lines) = &self.experiment {
            let sized = |l: &str| {
                ["seq", "batch"].iter().fold(l.to_owned(), |l, d| l.replace(&d.to_uppercase(), &size(&self.sizes, d).to_string()))
            };
            let lines: String = lines.iter().filter(|l| !l[0].is_empty()).map(|l| format!("  {}\n", sized(&l[0]))).collect();
            texts.push(format!("experiment run {{\n{lines}}}\n"));
        }
        marks + &texts.join("\n")
    }

    /// The name of the block that is run.
    pub fn root(&self) -> &str {
        self.blocks.last().map_or("", |b| &b.name)
    }
}
