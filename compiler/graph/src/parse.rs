//! Reads the textual form of [`crate::text`]. Checks syntax, names and numbering; whether the graph makes sense is for [`crate::verify`].
//! Empty lines and lines that begin with `#` mean nothing.

use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Graph, Node, Origin, Output, Region};
use crate::lex::{Line, unquote};
use crate::op::{Attention, Distribution, Loop, LoopKind, MapFn, Op, Port, Random, ReduceFn, Scalar};
use crate::shape::{DType, Shape, Ty};

use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Loops within loops beyond this are refused.
const DEEPEST: usize = 64;

/// A place in the text that does not belong there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// One-based line.
    pub line: usize,
    /// What was expected.
    pub message: String,
}

/// Reads a graph.
///
/// # Errors
/// The first line that cannot be read.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let lines = text.lines().enumerate().map(|(i, l)| (i + 1, l.trim())).filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
    let mut p = Parser { lines: lines.collect(), at: 0, names: BTreeMap::new() };
    p.graph().map_err(|message| {
        let line = p.lines.get(p.at).or(p.lines.last()).map_or(1, |l| l.0);
        ParseError { line, message }
    })
}

type Step<T> = Result<T, String>;

struct Parser<'t> {
    lines: Vec<(usize, &'t str)>,
    at: usize,
    names: BTreeMap<&'t str, AxisId>,
}

fn expected<T>(what: &str, line: &Line<'_>) -> Step<T> {
    Err(format!("expected {what}, found {}", line.preview()))
}

fn need(found: bool, what: &str, line: &Line<'_>) -> Step<()> {
    if found { Ok(()) } else { expected(what, line) }
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<Line<'t>> {
        self.lines.get(self.at).map(|l| Line::new(l.1))
    }

    fn graph(&mut self) -> Step<Graph> {
        let axes = self.axis_table()?;
        let region = Region { nodes: self.nodes(0)?, results: Vec::new() };
        let mut outputs = Vec::new();
        while let Some(mut line) = self.peek() {
            let update = line.keyword("update");
            need(update || line.keyword("output"), "a node, `output` or `update`", &line)?;
            let Some(name) = line.word() else { return expected("a name", &line) };
            let order = self.axis_list(&mut line)?;
            need(line.eat("="), "`=`", &line)?;
            let value = self.value(&mut line)?;
            self.end(&line)?;
            outputs.push(Output { port: Port { name, order }, value, update });
        }
        Ok(Graph { axes, region, outputs })
    }

    fn end(&mut self, line: &Line<'_>) -> Step<()> {
        need(line.is_empty(), "the end of the line", line)?;
        self.at += 1;
        Ok(())
    }

    fn axis_table(&mut self) -> Step<Vec<Axis>> {
        let mut axes = Vec::new();
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        while let Some(mut line) = self.peek() {
            if !line.keyword("axis") {
                break;
            }
            let Some(label) = line.label() else { return expected("the name of an axis", &line) };
            let (quoted, number) = split_label(label);
            let name = if quoted.starts_with('"') { unquote(quoted).ok_or("a quoted name that cannot be read")? } else { quoted.into() };
            let count = counts.entry(name.clone()).or_default();
            *count += 1;
            if number != *count {
                return Err(format!("the axis is number {count} of the name {quoted}, not {number}"));
            }
            need(line.eat("="), "`=`", &line)?;
            let Some(size) = line.integer() else { return expected("a size", &line) };
            let id = AxisId(u32::try_from(axes.len()).map_err(|_| "too many axes")?);
            if self.names.insert(label, id).is_some() {
                return Err(format!("axis {label} is declared already"));
            }
            axes.push(Axis { name, size });
            self.end(&line)?;
        }
        Ok(axes)
    }

    fn nodes(&mut self, depth: usize) -> Step<Vec<Node>> {
        if depth > DEEPEST {
            return Err(format!("more than {DEEPEST} loops within one another"));
        }
        let mut nodes = Vec::new();
        while let Some(mut line) = self.peek() {
            if !line.eat("%") {
                break;
            }
            if line.integer::<usize>() != Some(nodes.len()) {
                return Err(format!("expected the definition of %{}", nodes.len()));
            }
            need(line.eat("="), "`=`", &line)?;
            let node = self.node(&mut line, depth)?;
            nodes.push(node);
        }
        Ok(nodes)
    }

    fn node(&mut self, line: &mut Line<'t>, depth: usize) -> Step<Node> {
        let (mut op, inputs) = self.operation(line)?;
        need(line.eat(":"), "`:` and a type", line)?;
        let Some(dtype) = [DType::F32, DType::F64, DType::I32, DType::Bool].into_iter().find(|d| line.keyword(d.name())) else {
            return expected("an element type", line);
        };
        let order = self.axis_list(line)?;
        let ty = Ty::new(dtype, Shape::of(order.iter().copied()));
        if let Op::Input(port) | Op::Param(port) = &mut op {
            port.order = order;
        }
        if let Op::Loop(_) = &op {
            need(line.eat("{"), "`{`", line)?;
        }
        let origin = if line.eat("@") { origin(line)? } else { Origin::default() };
        self.end(line)?;
        if let Op::Loop(l) = &mut op {
            l.body.nodes = self.nodes(depth + 1)?;
            let Some(mut line) = self.peek() else { return Err("a loop without `yield`".into()) };
            need(line.keyword("yield"), "a node or `yield`", &line)?;
            let carried = self.value_list(&mut line)?;
            if carried.len() != l.carries {
                return Err(format!("{} carries yielded, {} taken", carried.len(), l.carries));
            }
            need(line.keyword("collect"), "`collect`", &line)?;
            l.body.results = carried.into_iter().chain(self.value_list(&mut line)?).collect();
            self.end(&line)?;
            let Some(mut line) = self.peek() else { return Err("a loop without `}`".into()) };
            need(line.eat("}"), "`}`", &line)?;
            self.end(&line)?;
        }
        Ok(Node { op, inputs, ty, origin })
    }

    fn operation(&self, line: &mut Line<'t>) -> Step<(Op, SmallVec<[Value; 3]>)> {
        let Some(name) = line.name() else { return expected("an operation", line) };
        let leaf = |op| Ok((op, SmallVec::new()));
        match name {
            "input" | "param" => {
                let Some(word) = line.word() else { return expected("a name", line) };
                let port = Port { name: word, order: Vec::new() };
                return leaf(if name == "input" { Op::Input(port) } else { Op::Param(port) });
            }
            "argument" => return leaf(Op::Argument(number(line)?)),
            "const" => return leaf(Op::Const(constant(line)?)),
            "iota" => return leaf(Op::Iota(self.axis(line)?)),
            "uniform" | "normal" => {
                let distribution = if name == "uniform" { Distribution::Uniform } else { Distribution::Normal };
                need(line.keyword("site"), "`site`", line)?;
                let site = number(line)?;
                need(line.keyword("order"), "`order`", line)?;
                let order = self.axis_list(line)?;
                need(line.keyword("at"), "`at`", line)?;
                let inputs = self.value_list(line)?.into();
                return Ok((Op::Random(Random { distribution, site, order }), inputs));
            }
            "repeat" | "scan" | "each" | "segments" | "inverted" => return self.repeat(name, line),
            "project" => {
                let index = number(line)?;
                need(line.keyword("of"), "`of`", line)?;
                return Ok((Op::Project(index), [self.value(line)?].as_slice().into()));
            }
            _ => {}
        }
        let inputs = self.operands(line)?;
        Ok((self.computation(name, line)?, inputs))
    }

    /// Operations whose operands come first.
    fn computation(&self, name: &str, line: &mut Line<'t>) -> Step<Op> {
        let over = |line: &mut Line<'t>| {
            need(line.keyword("over"), "`over`", line)?;
            self.axis_list(line)
        };
        Ok(match name {
            "argmax" => {
                need(line.keyword("over"), "`over`", line)?;
                Op::ArgMax(self.axis(line)?)
            }
            "contract" => Op::Contract(over(line)?),
            "softmax" => Op::Softmax(over(line)?),
            "logsumexp" => Op::LogSumExp(over(line)?),
            "solve" => {
                need(line.keyword("row"), "`row`", line)?;
                let row = self.axis(line)?;
                need(line.keyword("col"), "`col`", line)?;
                Op::Solve { row, col: self.axis(line)?, transposed: line.keyword("transposed") }
            }
            "rename" => Op::Rename(self.pairs(line)?),
            "split" => {
                let axis = self.axis(line)?;
                need(line.keyword("as"), "`as`", line)?;
                Op::Split { axis, into: self.axis_list(line)? }
            }
            "merge" => {
                let from = self.axis_list(line)?;
                need(line.keyword("as"), "`as`", line)?;
                Op::Merge { from, into: self.axis(line)? }
            }
            "slice" | "pad" => {
                let axis = self.axis(line)?;
                let at = if name == "slice" { "from" } else { "at" };
                need(line.keyword(at), "the first position", line)?;
                let start = number(line)?;
                need(line.keyword("as"), "`as`", line)?;
                let into = self.axis(line)?;
                if name == "slice" { Op::Slice { axis, start, into } } else { Op::Pad { axis, start, into } }
            }
            "concat" => {
                need(line.keyword("along"), "`along`", line)?;
                let axes = self.axis_list(line)?;
                need(line.keyword("as"), "`as`", line)?;
                Op::Concat { axes, into: self.axis(line)? }
            }
            "gather" => {
                need(line.keyword("along"), "`along`", line)?;
                Op::Gather(self.axis(line)?)
            }
            "scatter_add" | "routed_outer" => {
                need(line.keyword("into"), "`into`", line)?;
                let axis = self.axis(line)?;
                need(line.keyword("keep"), "`keep`", line)?;
                let keep = self.axis_list(line)?;
                if name == "scatter_add" { Op::ScatterAdd { axis, keep } } else { Op::RoutedOuter { axis, keep } }
            }
            "top" => {
                let over = over(line)?;
                need(line.keyword("as"), "`as`", line)?;
                Op::TopK { over, into: self.axis(line)? }
            }
            "route" => {
                need(line.keyword("along"), "`along`", line)?;
                let axis = self.axis(line)?;
                need(line.keyword("shared"), "`shared`", line)?;
                let shared = self.axis_list(line)?;
                need(line.keyword("order"), "`order`", line)?;
                Op::Route { axis, shared, order: self.axis_list(line)? }
            }
            "routed" => {
                need(line.keyword("along"), "`along`", line)?;
                Op::Routed { axis: self.axis(line)?, over: over(line)? }
            }
            "attend" => Op::Attend(self.attention(line)?),
            "attend_grad" => Op::AttendGrad(self.attention(line)?),
            _ => {
                if let Some(f) = ReduceFn::ALL.iter().find(|f| f.name() == name)
                    && line.keyword("over")
                {
                    return Ok(Op::Reduce(*f, self.axis_list(line)?));
                }
                match MapFn::ALL.iter().find(|f| f.name() == name) {
                    Some(f) => Op::Map(*f),
                    None => return Err(format!("no operation is called `{name}`")),
                }
            }
        })
    }

    fn repeat(&self, name: &str, line: &mut Line<'t>) -> Step<(Op, SmallVec<[Value; 3]>)> {
        let kind = match name {
            "repeat" => LoopKind::Repeat,
            "scan" => LoopKind::Scan,
            "segments" => LoopKind::Segments,
            "inverted" => LoopKind::Inverted,
            _ => LoopKind::Each,
        };
        let reverse = line.keyword("backwards");
        need(line.keyword("along"), "`along`", line)?;
        let axis = self.axis(line)?;
        need(line.keyword("carry"), "`carry`", line)?;
        let carried = self.value_list(line)?;
        need(line.keyword("stacked"), "`stacked`", line)?;
        let stacked = self.value_list(line)?;
        need(line.keyword("with"), "`with`", line)?;
        let invariant = self.value_list(line)?;
        let l = Loop { kind, axis, reverse, carries: carried.len(), stacked: stacked.len(), body: Region::default() };
        Ok((Op::Loop(Box::new(l)), carried.into_iter().chain(stacked).chain(invariant).collect()))
    }

    fn attention(&self, line: &mut Line<'t>) -> Step<Attention> {
        let mut axes = [AxisId(0); 4];
        for (slot, word) in axes.iter_mut().zip(["query", "source", "key", "value"]) {
            need(line.keyword(word), word, line)?;
            *slot = self.axis(line)?;
        }
        need(line.keyword("scale"), "`scale`", line)?;
        let Scalar::Float(scale) = constant(line)? else { return expected("a scale with a decimal point", line) };
        let causal = if line.keyword("causal") { Some(number(line)?) } else { None };
        let [query, source, key, value] = axes;
        Ok(Attention { query, source, key, value, scale, causal })
    }

    fn axis(&self, line: &mut Line<'t>) -> Step<AxisId> {
        let Some(label) = line.label() else { return expected("an axis", line) };
        self.names.get(label).copied().ok_or_else(|| format!("no axis is called {label}"))
    }

    fn axis_list(&self, line: &mut Line<'t>) -> Step<Vec<AxisId>> {
        list(line, |line| self.axis(line))
    }

    fn pairs(&self, line: &mut Line<'t>) -> Step<Vec<(AxisId, AxisId)>> {
        list(line, |line| {
            let from = self.axis(line)?;
            need(line.keyword("as"), "`as`", line)?;
            Ok((from, self.axis(line)?))
        })
    }

    fn value(&self, line: &mut Line<'t>) -> Step<Value> {
        need(line.eat("%"), "a value", line)?;
        Ok(Value(number(line)?))
    }

    fn value_list(&self, line: &mut Line<'t>) -> Step<Vec<Value>> {
        list(line, |line| self.value(line))
    }

    fn operands(&self, line: &mut Line<'t>) -> Step<SmallVec<[Value; 3]>> {
        let mut inputs: SmallVec<[Value; 3]> = SmallVec::from_slice(&[self.value(line)?]);
        while line.eat(",") {
            inputs.push(self.value(line)?);
        }
        Ok(inputs)
    }
}

fn list<'t, T>(line: &mut Line<'t>, mut item: impl FnMut(&mut Line<'t>) -> Step<T>) -> Step<Vec<T>> {
    need(line.eat("["), "`[`", line)?;
    let mut items = Vec::new();
    while !line.eat("]") {
        if !items.is_empty() {
            need(line.eat(","), "`,` or `]`", line)?;
        }
        items.push(item(line)?);
    }
    Ok(items)
}

fn number<T: std::str::FromStr>(line: &mut Line<'_>) -> Step<T> {
    match line.integer() {
        Some(n) => Ok(n),
        None => expected("a number in range", line),
    }
}

fn constant(line: &mut Line<'_>) -> Step<Scalar> {
    let word = line.constant();
    if let Some(bits) = word.strip_prefix("nan(0x").and_then(|w| w.strip_suffix(')')) {
        return u64::from_str_radix(bits, 16).map(|b| Scalar::Float(f64::from_bits(b))).map_err(|e| e.to_string());
    }
    match word {
        "true" => Ok(Scalar::Bool(true)),
        "false" => Ok(Scalar::Bool(false)),
        _ if word.chars().all(|c| c.is_ascii_digit() || c == '-') => word.parse().map(Scalar::Int).map_err(|e| format!("`{word}`: {e}")),
        _ => word.parse().map(Scalar::Float).map_err(|e| format!("`{word}`: {e}")),
    }
}

fn origin(line: &mut Line<'_>) -> Step<Origin> {
    let Some(path) = line.word_or(".") else { return expected("an instance path", line) };
    let Some(file) = line.word_or("-") else { return expected("a file", line) };
    need(line.eat(":"), "`:` and a line", line)?;
    let row = number(line)?;
    let start = number(line)?;
    need(line.eat(".."), "`..`", line)?;
    Ok(Origin { path: path.into(), file: file.into(), span: (start, number(line)?), line: row })
}

/// A label without its number, and the number.
fn split_label(label: &str) -> (&str, u32) {
    match label.rsplit_once('.') {
        Some((name, digits)) if !digits.ends_with('"') => match digits.parse() {
            Ok(n) => (name, n),
            Err(_) => (label, 1),
        },
        _ => (label, 1),
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
