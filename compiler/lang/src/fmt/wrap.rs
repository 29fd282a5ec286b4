//! Line breaks of one row: inside brackets, or after operators and commas.

use super::rows::Row;
use super::{WIDTH, columns, space};
use crate::parse::tokens::{Kind, Token};

/// A row as text, with its indent and without the last line break.
pub(super) fn row(row: &Row, text: &str) -> String {
    let mut out = " ".repeat(row.indent);
    if row.tokens.iter().any(|t| t.kind == Kind::Comment) {
        with_comments(row, text, &mut out);
        return out;
    }
    let mut pieces = pieces(row, text).into_iter();
    let nodes = nodes(&mut pieces);
    let mut writer = Writer { out, column: row.indent };
    writer.sequence(&nodes, row.indent);
    writer.out
}

/// Comments inside a row keep their places; the row is broken after each and nowhere else.
fn with_comments(row: &Row, text: &str, out: &mut String) {
    let mut fresh = true;
    let code: Vec<Token> = row.tokens.iter().copied().filter(|t| t.kind != Kind::Comment).collect();
    let mut at = 0usize;
    for token in &row.tokens {
        if token.kind == Kind::Comment {
            out.push_str(if fresh { "" } else { "  " });
            out.push_str(token.text(text).trim_end());
            out.push('\n');
            out.push_str(&" ".repeat(row.indent + 4));
            fresh = true;
            continue;
        }
        if !fresh {
            let gap = row.gaps.get(&token.start).copied();
            out.push_str(&" ".repeat(gap.unwrap_or_else(|| space::before(&code, at, text))));
        }
        out.push_str(token.text(text));
        fresh = false;
        at += 1;
    }
}

/// A token with the spaces before it.
#[derive(Clone, Copy)]
struct Piece<'t> {
    gap: usize,
    text: &'t str,
    kind: Kind,
    /// How loosely an operator or comma holds, loosest first.
    level: Option<u8>,
}

fn pieces<'t>(row: &Row, text: &'t str) -> Vec<Piece<'t>> {
    let tokens = &row.tokens;
    let mut pieces = Vec::with_capacity(tokens.len());
    let mut conditions = Conditions::default();
    for (i, token) in tokens.iter().enumerate() {
        let gap = match row.gaps.get(&token.start) {
            Some(gap) => *gap,
            None if i == 0 => 0,
            None => space::before(tokens, i, text),
        };
        let written = token.text(text);
        let level = match (token.kind, written) {
            (Kind::Sign, ",") => Some(0),
            (Kind::Sign, "|>") => Some(1),
            (Kind::Word, "or") => Some(2),
            (Kind::Word, "and") => Some(3),
            (Kind::Sign, "<" | "<=" | ">" | ">=" | "==" | "!=") => Some(4),
            (Kind::Sign, "+") => Some(5),
            (Kind::Sign, "-") if !space::is_prefix(tokens, i, text) => Some(5),
            (Kind::Sign, "*" | "/") => Some(6),
            _ => None,
        };
        // A condition stays beside its `if`.
        let level = if conditions.hold(token.kind, written) { None } else { level };
        pieces.push(Piece { gap, text: written, kind: token.kind, level });
    }
    pieces
}

/// Follows the brackets, to tell what stands between an `if` and its brace.
#[derive(Default)]
struct Conditions {
    depth: usize,
    /// Depths of the conditions that have begun.
    begun: Vec<usize>,
}

impl Conditions {
    /// Whether a token belongs to a condition itself, not to brackets in one. Called for each in turn.
    fn hold(&mut self, kind: Kind, text: &str) -> bool {
        match kind {
            Kind::Open => {
                if text == "{" && self.begun.last() == Some(&self.depth) {
                    self.begun.pop();
                }
                self.depth += 1;
            }
            Kind::Close => self.depth = self.depth.saturating_sub(1),
            Kind::Word if text == "if" => self.begun.push(self.depth),
            _ => {}
        }
        self.begun.last() == Some(&self.depth)
    }
}

enum Node<'t> {
    Token(Piece<'t>),
    Group { open: Piece<'t>, inner: Vec<Node<'t>>, close: Piece<'t>, width: usize },
}

impl Node<'_> {
    fn gap(&self) -> usize {
        match self {
            Node::Token(piece) => piece.gap,
            Node::Group { open, .. } => open.gap,
        }
    }

    /// Columns on one line, without the gap before it.
    fn width(&self) -> usize {
        match self {
            Node::Token(piece) => columns(piece.text),
            Node::Group { width, .. } => *width,
        }
    }

    fn level(&self) -> Option<u8> {
        match self {
            Node::Token(piece) => piece.level,
            Node::Group { .. } => None,
        }
    }
}

/// Brackets become groups. The parser has limited their depth.
fn nodes<'t>(pieces: &mut impl Iterator<Item = Piece<'t>>) -> Vec<Node<'t>> {
    let mut stack: Vec<(Option<Piece<'t>>, Vec<Node<'t>>)> = vec![(None, Vec::new())];
    for piece in pieces {
        match piece.kind {
            Kind::Open => stack.push((Some(piece), Vec::new())),
            Kind::Close if stack.len() > 1 => {
                if let Some((Some(open), inner)) = stack.pop() {
                    let width = 1 + flat(&inner) + inner.first().map_or(0, Node::gap) + piece.gap + 1;
                    let group = Node::Group { open, inner, close: piece, width };
                    if let Some((_, outer)) = stack.last_mut() {
                        outer.push(group);
                    }
                }
            }
            _ => {
                if let Some((_, inner)) = stack.last_mut() {
                    inner.push(Node::Token(piece));
                }
            }
        }
    }
    // The brace that ends a head has its counterpart in another row.
    let mut all = Vec::new();
    for (open, inner) in stack {
        all.extend(open.map(Node::Token));
        all.extend(inner);
    }
    all
}

/// Columns of a sequence on one line, without the gap before it.
fn flat(nodes: &[Node<'_>]) -> usize {
    nodes.iter().enumerate().map(|(i, n)| n.width() + if i > 0 { n.gap() } else { 0 }).sum()
}

struct Writer {
    out: String,
    column: usize,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += columns(text);
    }

    fn line(&mut self, indent: usize) {
        self.out.push('\n');
        self.out.push_str(&" ".repeat(indent));
        self.column = indent;
    }

    fn flat(&mut self, nodes: &[Node<'_>], mut first: bool) {
        for node in nodes {
            if !first {
                self.put(&" ".repeat(node.gap()));
            }
            first = false;
            match node {
                Node::Token(piece) => self.put(piece.text),
                Node::Group { open, inner, close, .. } => {
                    self.put(open.text);
                    self.put(&" ".repeat(inner.first().map_or(0, Node::gap)));
                    self.flat(inner, true);
                    self.put(&" ".repeat(close.gap));
                    self.put(close.text);
                }
            }
        }
    }

    /// A sequence from the present column on; its later lines are indented by `indent` or more.
    fn sequence(&mut self, nodes: &[Node<'_>], indent: usize) {
        if self.column + flat(nodes) <= WIDTH {
            self.flat(nodes, true);
            return;
        }
        let widest = nodes.iter().filter(|n| matches!(n, Node::Group { inner, .. } if !inner.is_empty())).map(Node::width).max();
        let loosest = nodes.iter().filter_map(Node::level).min();
        match (loosest, widest) {
            (Some(level), widest) if widest.is_none_or(|w| w * if level == 0 { 4 } else { 2 } < flat(nodes)) => {
                self.operators(nodes, level, indent)
            }
            _ => self.groups(nodes, indent),
        }
    }

    /// Breaks after the loosest operators, as late as possible.
    fn operators(&mut self, nodes: &[Node<'_>], level: u8, indent: usize) {
        let mut from = 0;
        let mut first = true;
        while from < nodes.len() {
            let to = nodes[from..].iter().position(|n| n.level() == Some(level)).map_or(nodes.len(), |n| from + n + 1);
            let part = &nodes[from..to];
            if !first {
                let gap = part[0].gap();
                if self.column + gap + flat(part) > WIDTH {
                    self.line(indent + 4);
                } else {
                    self.put(&" ".repeat(gap));
                }
            }
            if self.column + flat(part) <= WIDTH {
                self.flat(part, true);
            } else {
                self.groups(part, indent + if first { 0 } else { 4 });
            }
            first = false;
            from = to;
        }
    }

    /// Opens the widest groups until the lines between them fit.
    fn groups(&mut self, nodes: &[Node<'_>], indent: usize) {
        let mut open = vec![false; nodes.len()];
        while let Some(next) = self.overflowing(nodes, &open, indent) {
            let braces = matches!(&nodes[next], Node::Group { open, .. } if open.text == "{");
            for (i, node) in nodes.iter().enumerate() {
                if let Node::Group { open: opener, inner, .. } = node {
                    open[i] |= i == next || (braces && opener.text == "{" && !inner.is_empty());
                }
            }
        }
        for (i, node) in nodes.iter().enumerate() {
            match node {
                Node::Group { open: opener, inner, close, .. } if open[i] => {
                    if i > 0 {
                        self.put(&" ".repeat(opener.gap));
                    }
                    self.put(opener.text);
                    self.elements(inner, indent + 2);
                    self.line(indent);
                    self.put(close.text);
                }
                node => self.flat(std::slice::from_ref(node), i == 0),
            }
        }
    }

    /// The widest closed group of the first line that does not fit.
    fn overflowing(&self, nodes: &[Node<'_>], open: &[bool], indent: usize) -> Option<usize> {
        let mut column = self.column;
        let mut widest: Option<(usize, usize)> = None;
        for (i, node) in nodes.iter().enumerate() {
            let gap = if i > 0 { node.gap() } else { 0 };
            if open[i] {
                if column + gap < WIDTH {
                    column = indent + 1;
                    widest = None;
                    continue;
                }
                return widest.map(|(_, i)| i);
            }
            column += gap + node.width();
            if let Node::Group { inner, width, .. } = node
                && !inner.is_empty()
                && widest.is_none_or(|(w, _)| *width > w)
            {
                widest = Some((*width, i));
            }
            // Whatever follows up to the next opened group belongs to this line.
            if column > WIDTH && !nodes[i + 1..].iter().zip(&open[i + 1..]).take_while(|(_, o)| !**o).any(|(n, _)| wider(n, widest)) {
                return widest.map(|(_, i)| i);
            }
        }
        None
    }

    /// The inner of an opened group: on one line if it fits, else one element to a line.
    fn elements(&mut self, nodes: &[Node<'_>], indent: usize) {
        self.line(indent);
        if indent + flat(nodes) <= WIDTH {
            self.flat(nodes, true);
            return;
        }
        let mut from = 0;
        while from < nodes.len() {
            let to = nodes[from..].iter().position(|n| n.level() == Some(0)).map_or(nodes.len(), |n| from + n + 1);
            if from > 0 {
                self.line(indent);
            }
            self.sequence(&nodes[from..to], indent);
            from = to;
        }
    }
}

fn wider(node: &Node<'_>, than: Option<(usize, usize)>) -> bool {
    matches!(node, Node::Group { inner, width, .. } if !inner.is_empty() && than.is_none_or(|(w, _)| *width > w))
}
