//! Random expressions of given dims.
//!
//! What jumps (comparisons, largest elements, positions of them) is asked of sums with a tensor of its own, so that no two things that are
//! compared are equal by construction and differ by rounding alone.

use super::program::{Dims, Node, dims, words};
use super::scope::Scope;

/// Functions of one number that are defined and tame everywhere.
const FUNCTIONS: &[&str] = &[
    "tanh(#)",
    "sigmoid(#)",
    "sin(#)",
    "cos(2 * #)",
    "erf(#)",
    "relu(# + 0.13)",
    "abs(# - 0.21)",
    "exp(tanh(#))",
    "exp(min(#, 0.7))",
    "log(1.1 + abs(# + 0.11))",
    "sqrt(0.3 + abs(# - 0.17))",
    "rsqrt(0.4 + # * #)",
    "gelu(#)",
    "gelu_tanh(#)",
    "silu(#)",
    "softplus(#)",
    "elu(# + 0.07)",
    "elu_plus_one(# - 0.07)",
    "leaky_relu(# + 0.19)",
    "relu_squared(# + 0.23)",
    "-#",
    "0.5 * #",
    "# ^ 2",
    "(0.6 + abs(# - 0.37)) ^ 1.5",
    "pow(0.7 + sigmoid(#), -0.5)",
    "floor(3 * # + 0.41)",
    "sign(# + 0.29)",
    "stop_gradient(#)",
    "dropout(#, 0.3)",
    "(# + 0.2 * normal_like(#))",
    "where(uniform_like(#) < 0.4, 0.3, #)",
    "if 2 > 1 { # } else { 0 }",
];

impl Scope<'_> {
    /// An expression of the given dims.
    pub(super) fn expression(&mut self, dims: &Dims, fuel: usize) -> Node {
        if fuel == 0 || self.chance.percent(15) {
            return self.simple(dims);
        }
        for _ in 0..4 {
            if let Some(node) = self.compound(dims, fuel - 1) {
                return node;
            }
        }
        self.simple(dims)
    }

    /// A name, a reduction of a name, or a new tensor.
    fn simple(&mut self, dims: &Dims) -> Node {
        let exact: Vec<Node> = self.values.iter().filter(|v| v.1 == *dims).map(|(n, d)| Node::name(n, d)).collect();
        if !exact.is_empty() && self.chance.percent(80) {
            // later values build on earlier ones
            let last = exact.len().saturating_sub(4);
            return if self.chance.percent(60) { self.chance.one(&exact[last..]).clone() } else { self.chance.one(&exact).clone() };
        }
        let larger: Vec<(String, Dims)> = self.values.iter().filter(|v| v.1.len() > dims.len() && v.1.is_superset(dims)).cloned().collect();
        if !larger.is_empty() && self.chance.percent(60) {
            let (name, from) = self.chance.one(&larger).clone();
            return self.reduced(Node::name(&name, &from), dims);
        }
        if dims.is_empty() && self.chance.percent(40) {
            let number = *self.chance.one(&["0.5", "1", "2", "0.25", "3"]);
            return Node::name(number, dims);
        }
        self.leaf(dims)
    }

    /// Reduces a value to a part of its dims.
    fn reduced(&mut self, value: Node, to: &Dims) -> Node {
        let over: Vec<String> = value.dims.difference(to).cloned().collect();
        let over = if over.len() == 1 && self.chance.percent(50) { over[0].clone() } else { format!("[{}]", over.join(", ")) };
        let jumps = ["max", "min"];
        let smooth = ["sum", "mean", "logsumexp", "sum"];
        if self.chance.percent(30) && !value.dims.iter().any(|d| d.contains('~')) {
            let f = *self.chance.one(&jumps);
            let apart = self.leaf(&value.dims);
            return Node::of(to.clone(), &format!("{f}(# + #, over: {over})"), [value, apart]);
        }
        let f = *self.chance.one(&smooth);
        Node::of(to.clone(), &format!("{f}(#, over: {over})"), [value])
    }

    fn compound(&mut self, want: &Dims, fuel: usize) -> Option<Node> {
        match self.chance.below(20) {
            0..=2 => Some(self.function(want, fuel)),
            3..=5 => Some(self.operator(want, fuel)),
            6..=8 => self.contraction(want, fuel),
            9 => {
                let (_, from) = self.with_another(want)?;
                let inner = self.expression(&from, fuel);
                Some(self.reduced(inner, want))
            }
            10 => self.over_one(want, fuel),
            11 | 12 => self.renamed(want, fuel),
            13 => self.regrouped(want, fuel),
            14 => self.cut(want, fuel),
            15 => self.moved(want, fuel),
            16 => self.chosen(want, fuel),
            17 => self.gathered(want, fuel),
            18 => self.counted(want, fuel),
            _ => self.spread(want, fuel),
        }
    }

    /// Dims with one more, and that one.
    fn with_another(&mut self, want: &Dims) -> Option<(String, Dims)> {
        let dim = self.other_than(want)?;
        let mut from = want.clone();
        from.insert(dim.clone());
        Some((dim, from))
    }

    fn function(&mut self, want: &Dims, fuel: usize) -> Node {
        let text = *self.chance.one(FUNCTIONS);
        let inner = self.expression(want, fuel);
        // what stands twice in a text is named first
        if text.matches('#').count() > 1 {
            let named = self.equation(inner);
            let count = text.matches('#').count();
            return Node::of(want.clone(), &wrapped(text), vec![named; count]);
        }
        Node::of(want.clone(), &wrapped(text), [inner])
    }

    fn operator(&mut self, want: &Dims, fuel: usize) -> Node {
        let part = self.part_of(want);
        let a = self.expression(want, fuel);
        match self.chance.below(8) {
            0 | 1 => {
                let mut other: Dims = want.difference(&part).cloned().collect();
                other.extend(self.part_of(want));
                let (x, y) = (self.expression(&part, fuel), self.expression(&other, fuel));
                let union: Dims = x.dims.union(&y.dims).cloned().collect();
                if union == *want { Node::of(union, "(# * #)", [x, y]) } else { a }
            }
            2 => Node::of(want.clone(), "(# * #)", [a, self.expression(&part, fuel)]),
            3 => Node::of(want.clone(), "(# - #)", [self.expression(&part, fuel), a]),
            4 => Node::of(want.clone(), "(# / (0.8 + abs(# + 0.23)))", [a, self.expression(&part, fuel)]),
            5 => {
                let f = *self.chance.one(&["min", "max"]);
                let apart = self.leaf(want);
                Node::of(want.clone(), &format!("{f}(#, #)"), [a, apart])
            }
            _ => Node::of(want.clone(), "(# + #)", [a, self.expression(&part, fuel)]),
        }
    }

    fn contraction(&mut self, want: &Dims, fuel: usize) -> Option<Node> {
        let (first, _) = self.with_another(want)?;
        let mut over = vec![first];
        if self.chance.percent(25) {
            let taken: Dims = want.iter().chain(&over).cloned().collect();
            over.extend(self.other_than(&taken));
        }
        let mut left = self.part_of(want);
        let mut right: Dims = want.difference(&left).cloned().collect();
        right.extend(self.part_of(want).into_iter().filter(|_| self.chance.percent(40)));
        left.extend(over.iter().cloned());
        right.extend(over.iter().cloned());
        if !self.fits(&left) || !self.fits(&right) {
            return None;
        }
        let (a, b) = (self.expression(&left, fuel), self.expression(&right, fuel));
        let scale: f64 = over.iter().map(|d| self.size(d) as f64).product();
        let list = if over.len() == 1 { over[0].clone() } else { format!("[{}]", over.join(", ")) };
        let text =
            if self.chance.percent(60) { format!("((# @{list} #) / {:.1})", scale.sqrt().max(1.0)) } else { format!("(# @{list} #)") };
        Some(Node::of(want.clone(), &text, [a, b]))
    }

    /// What goes over one of the dims and keeps it.
    fn over_one(&mut self, want: &Dims, fuel: usize) -> Option<Node> {
        let all: Vec<String> = want.iter().cloned().collect();
        if all.is_empty() {
            return None;
        }
        let dim = self.chance.one(&all).clone();
        let f = *self.chance.one(&["softmax", "softmax", "standardize", "rms_norm", "layer_norm", "sum_norm", "unit_norm", "centre"]);
        let inner = self.expression(want, fuel);
        let text = match f {
            "sum_norm" => format!("sum_norm(0.2 + sigmoid(#), over: {dim})"),
            "unit_norm" => format!("unit_norm(#, over: {dim}, epsilon: 0.01)"),
            "standardize" | "rms_norm" | "layer_norm" => format!("{f}(#, over: {dim}, epsilon: 0.05)"),
            "centre" => {
                let named = self.equation(inner);
                return Some(Node::of(want.clone(), &format!("(# - mean(#, over: {dim}))"), [named.clone(), named]));
            }
            _ if all.len() > 1 && self.chance.percent(30) => format!("{f}(#, over: [{}])", all.join(", ")),
            _ => format!("{f}(#, over: {dim})"),
        };
        Some(Node::of(want.clone(), &text, [inner]))
    }

    /// A dim by the name of its twin.
    fn renamed(&mut self, want: &Dims, fuel: usize) -> Option<Node> {
        let twins = ["seq", "key", "model", "width", "expert"];
        let pairs = twins.iter().flat_map(|t| [((*t).to_owned(), format!("{t}2")), (format!("{t}2"), (*t).to_owned())]);
        let fitting: Vec<(String, String)> =
            pairs.filter(|(from, into)| want.contains(into) && !want.contains(from) && self.allows(from)).collect();
        if fitting.is_empty() {
            return None;
        }
        let (from, into) = self.chance.one(&fitting).clone();
        let mut inner = want.clone();
        inner.remove(&into);
        inner.insert(from.clone());
        let inner = self.expression(&inner, fuel);
        Some(Node::of(want.clone(), &format!("{}[{from} as {into}]", open(&inner)), [inner]))
    }

    /// `model` as `(head, key)` or the other way round.
    fn regrouped(&mut self, want: &Dims, fuel: usize) -> Option<Node> {
        let (parts, whole) = (dims(&["head", "key"]), "model".to_owned());
        if !self.allows_all(&["head", "key", "model"]) {
            return None;
        }
        if want.contains(&whole) && want.is_disjoint(&parts) {
            let mut inner = want.clone();
            inner.remove(&whole);
            inner.extend(parts);
            let inner = self.expression(&inner, fuel);
            return Some(Node::of(want.clone(), &format!("{}[(head, key) as model]", open(&inner)), [inner]));
        }
        if want.is_superset(&parts) && !want.contains(&whole) {
            let mut inner: Dims = want.difference(&parts).cloned().collect();
            inner.insert(whole);
            let inner = self.expression(&inner, fuel);
            return Some(Node::of(want.clone(), &format!("{}[model as (head, key)]", open(&inner)), [inner]));
        }
        None
    }

    /// One position, or a range as another dim.
    fn cut(&mut self, want: &Dims, fuel: usize) -> Option<Node> {
        if want.contains("front") && !want.contains("whole") && self.allows("whole") {
            let mut inner = want.clone();
            inner.remove("front");
            inner.insert("whole".into());
            let (front, back) = (self.size("front"), self.size("back"));
            let start = self.chance.below(back as usize + 1) as u64;
            let inner = self.expression(&inner, fuel);
            return Some(Node::of(want.clone(), &format!("{}[whole: {start}..{} as front]", open(&inner), start + front), [inner]));
        }
        let (dim, from) = self.with_another(want)?;
        let at = self.chance.below(self.size(&dim) as usize);
        let inner = self.expression(&from, fuel);
        Some(Node::of(want.clone(), &format!("{}[{dim}: {at}]", open(&inner)), [inner]))
    }

    /// Shifts, and two tensors one behind the other.
    fn moved(&mut self, want: &Dims, fuel: usize) -> Option<Node> {
        if want.contains("whole") && want.is_disjoint(&dims(&["front", "back"])) && self.allows_all(&["front", "back"]) {
            let inner = |part: &str, scope: &mut Self| {
                let mut inner = want.clone();
                inner.remove("whole");
                inner.insert(part.to_owned());
                scope.expression(&inner, fuel)
            };
            let (a, b) = (inner("front", self), inner("back", self));
            return Some(Node::of(want.clone(), "concat(#, #, over: [front, back], into: whole)", [a, b]));
        }
        let all: Vec<String> = want.iter().cloned().collect();
        if all.is_empty() {
            return None;
        }
        let dim = self.chance.one(&all).clone();
        let by = 1 + self.chance.below(2);
        let inner = self.expression(want, fuel);
        Some(Node::of(want.clone(), &format!("shift(#, along: {dim}, by: {by})"), [inner]))
    }

    /// A choice by a condition.
    fn chosen(&mut self, want: &Dims, fuel: usize) -> Option<Node> {
        let part = self.part_of(want);
        let mut condition = self.condition(want);
        // no float can stand for it
        condition.dims.insert("~truth".into());
        let (a, b) = (self.expression(want, fuel), self.expression(&part, fuel));
        let text = if self.chance.percent(50) { "where(#, #, #)" } else { "where(not (#), #, #)" };
        Some(Node::of(want.clone(), text, [condition, a, b]))
    }

    /// A condition whose dims are among those given.
    pub(super) fn condition(&mut self, within: &Dims) -> Node {
        let all: Vec<String> = within.iter().filter(|d| !d.contains('~')).cloned().collect();
        match self.chance.below(4) {
            0 if !all.is_empty() => {
                let dim = self.chance.one(&all).clone();
                let at = self.chance.below(self.size(&dim) as usize + 1);
                let compare = *self.chance.one(&["<", "<=", "==", "!=", ">", ">="]);
                Node::name(&format!("index({dim}) {compare} {at}"), &[dim].into())
            }
            1 if all.len() > 1 => {
                let (a, b) = (self.chance.one(&all).clone(), self.chance.one(&all).clone());
                if a == b {
                    return Node::name(&format!("index({a}) > 0"), &[a].into());
                }
                let compare = *self.chance.one(&["<=", ">", "=="]);
                Node::name(&format!("spread(float(index({a})), along: {b}) {compare} float(index({b}))"), &[a, b].into())
            }
            2 if within.contains("seq") && within.contains("seq2") => Node::name("distance(seq2, seq) <= 0", &dims(&["seq", "seq2"])),
            _ => {
                let part = self.part_of(within);
                let part: Dims = part.into_iter().filter(|d| !d.contains('~')).collect();
                let (value, apart) = (self.simple(&part), self.leaf(&part));
                let compare = *self.chance.one(&["<", ">", ">=", "<="]);
                let both = self.chance.percent(25) && !part.is_empty();
                if both {
                    let dim = part.iter().next().cloned().unwrap_or_default();
                    return Node::of(part.clone(), &format!("# {compare} # and index({dim}) >= 1"), [value, apart]);
                }
                Node::of(part, &format!("# {compare} #"), [value, apart])
            }
        }
    }

    /// Rows of a table at positions that are given, computed or found.
    fn gathered(&mut self, want: &Dims, fuel: usize) -> Option<Node> {
        let fitting: Vec<(String, Dims, String)> = self.positions.iter().filter(|p| p.1.is_subset(want)).cloned().collect();
        if !fitting.is_empty() && self.chance.percent(60) {
            let (name, at, along) = self.chance.one(&fitting).clone();
            if want.contains(&along) {
                return if at.len() + 1 == want.len() && !at.contains(&along) {
                    Some(Node::name(&format!("float(one_hot({name}))"), want))
                } else {
                    None
                };
            }
            // dims that the table has too are aligned
            let mut table: Dims = want.difference(&at).cloned().collect();
            table.extend(at.iter().filter(|_| self.chance.percent(25)).cloned());
            table.insert(along);
            let table = self.expression(&table, fuel.min(1));
            return Some(Node::of(want.clone(), &format!("{}[{name}]", open(&table)), [table]));
        }
        let (dim, _) = self.with_another(want)?;
        let at = self.part_of(want);
        let mut score = at.clone();
        score.insert(dim.clone());
        let mut table: Dims = want.difference(&at).cloned().collect();
        table.insert(dim.clone());
        let table = self.expression(&table, fuel.min(1));
        if self.chance.percent(50) {
            let (score, apart) = (self.expression(&score, fuel.min(1)), self.leaf(&score));
            return Some(Node::of(want.clone(), &format!("{}[argmax(# + #, over: {dim})]", open(&table)), [table, score, apart]));
        }
        let last = self.size(&dim) - 1;
        let other: Vec<&String> = at.iter().collect();
        let other = other.first().map(|d| (*d).clone())?;
        let mut wanted: Dims = table.dims.clone();
        wanted.remove(&dim);
        wanted.insert(other.clone());
        let by = Node::of(wanted.clone(), &format!("{}[position(min(index({other}), {last}), in: {dim})]", open(&table)), [table]);
        (wanted == *want).then_some(by)
    }

    /// Positions as numbers.
    fn counted(&mut self, want: &Dims, fuel: usize) -> Option<Node> {
        let all: Vec<String> = want.iter().filter(|d| !d.contains('~')).cloned().collect();
        if all.is_empty() {
            return None;
        }
        let dim = self.chance.one(&all).clone();
        let inner = self.expression(want, fuel);
        let scale = 1.0 / self.size(&dim) as f64;
        Some(Node::of(want.clone(), &format!("(# + float(index({dim})) * {scale:.3})"), [inner]))
    }

    /// The same along a dim.
    fn spread(&mut self, want: &Dims, fuel: usize) -> Option<Node> {
        let all: Vec<String> = want.iter().cloned().collect();
        if all.is_empty() {
            return None;
        }
        let dim = self.chance.one(&all).clone();
        let mut inner = want.clone();
        inner.remove(&dim);
        let inner = self.expression(&inner, fuel);
        Some(Node::of(want.clone(), &format!("spread(#, along: {dim})"), [inner]))
    }
}

/// A text that can stand anywhere.
fn wrapped(text: &str) -> String {
    let call = words(text).next().is_some_and(|w| text.starts_with(w) && text[w.len()..].starts_with('('));
    if call || text.starts_with('(') && text.ends_with(')') { text.to_owned() } else { format!("({text})") }
}

/// A hole that an index can follow.
fn open(inner: &Node) -> &'static str {
    let text = inner.text();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain && !text.starts_with(|c: char| c.is_ascii_digit()) { "#" } else { "(#)" }
}
