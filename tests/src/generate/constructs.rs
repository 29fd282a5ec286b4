//! Larger parts of a program: selections, memories, attention, scans, repetitions, calls, layers of the library.

use super::chance::Chance;
use super::program::{ALL_DIMS, Block, Dims, Given, Node, Program, Statement, dims};
use super::scans::block_has;
use super::scope::Scope;
use super::{experiment, recurrent};
use std::collections::BTreeMap;

/// A program of a seed: of all constructs, around a cell, or with an experiment.
pub fn program(seed: u64) -> Program {
    let mut kind = Chance::new(seed ^ 0x6b69_6e64);
    match kind.below(10) {
        0 | 1 => recurrent::program(kind),
        2 => experiment::program(kind),
        _ => general(seed),
    }
}

/// A program of a seed of all constructs.
pub fn general(seed: u64) -> Program {
    let mut chance = Chance::new(seed);
    let mut sizes = BTreeMap::new();
    let large = chance.percent(12);
    for (dim, most) in
        [("seq", 7), ("head", 3), ("key", 6), ("width", 7), ("expert", 6), ("vocab", 7), ("row", 4), ("col", 4), ("front", 3), ("back", 4)]
    {
        let mut size = 1 + chance.below(most) as u64;
        if ["seq", "width", "key"].contains(&dim) && chance.percent(if large { 50 } else { 5 }) {
            size = *chance.one(&[8, 9, 16, 17, 33]);
        }
        sizes.insert(dim.to_owned(), if dim == "key" && chance.percent(50) { size.next_multiple_of(2) } else { size });
    }
    let mut program = Program { sizes, ..Program::default() };
    let mut inputs = Vec::new();
    for i in 0..1 + chance.below(3) {
        let all = ["seq", "model", "head", "key", "width"];
        let mut of: Dims = (0..1 + chance.below(2)).map(|_| (*chance.one(&all)).to_owned()).collect();
        if i == 0 {
            of = dims(&["seq", "model"]);
        }
        inputs.push(Given { name: format!("in_{i}"), dims: of, domain: None });
    }
    if chance.percent(60) {
        let domain = (*chance.one(&["vocab", "expert", "width"])).to_owned();
        let of: Dims = if chance.percent(70) { dims(&["seq"]) } else { Dims::new() };
        inputs.push(Given { name: "tokens".into(), dims: of, domain: Some(domain) });
    }
    let allowed = ALL_DIMS.iter().map(|&d| d.to_owned()).filter(|d| d != "class").collect();
    let mut scope = Scope::new(&mut chance, &mut program, "model", "main".into(), inputs, allowed, 0);
    for _ in 0..1 + scope.chance.below(5) {
        scope.construct();
    }
    let outputs = 1 + scope.chance.below(2);
    for i in 0..outputs {
        let of = scope.wanted();
        scope.output(&format!("out_{i}"), &of, 3);
    }
    let block = scope.block;
    program.blocks.push(block);
    program
}

impl Scope<'_> {
    /// Dims of a value that there is, or others.
    pub(super) fn wanted(&mut self) -> Dims {
        if self.chance.percent(60) && !self.values.is_empty() {
            let at = self.values.len().saturating_sub(1 + self.chance.below(4));
            return self.values[at].1.clone();
        }
        self.some_dims()
    }

    /// An equation for something that the block gives.
    pub(super) fn output(&mut self, name: &str, of: &Dims, fuel: usize) {
        let value = self.expression(of, fuel);
        let last: Vec<String> = self.values.iter().rev().filter(|v| v.1.is_subset(of)).take(2).map(|v| v.0.clone()).collect();
        let more: Vec<Node> = last.iter().map(|n| Node::name(n, of)).collect();
        let value = match &more[..] {
            [a, b] => Node::of(of.clone(), "# + 0.5 * # - #", [value, a.clone(), b.clone()]),
            [a] => Node::of(of.clone(), "# + #", [value, a.clone()]),
            _ => value,
        };
        self.block.body.push(Statement { left: name.to_owned(), names: vec![(name.to_owned(), of.clone())], value, plain: true });
        self.block.outputs.push((name.to_owned(), of.clone()));
    }

    /// Adds one larger part.
    pub(super) fn construct(&mut self) {
        let _ = match self.chance.below(16) {
            0..=2 => self.plain(),
            3 | 4 => self.selection(),
            5 => self.product_keys(),
            6 | 7 => self.attention(),
            8 | 9 => self.scan(),
            10 | 11 => self.repeat(),
            12 => self.call(),
            13 => self.local(),
            14 => self.tap(),
            _ => self.layer(),
        };
    }

    fn plain(&mut self) -> Option<()> {
        let of = self.some_dims();
        let value = self.expression(&of, 3);
        self.equation(value);
        Some(())
    }

    fn tap(&mut self) -> Option<()> {
        let (name, of) = self.chance.one(&self.values).clone();
        let left = format!("tap {}", self.fresh("seen"));
        self.state_that(left, Vec::new(), Node::name(&name, &of), false);
        Some(())
    }

    fn local(&mut self) -> Option<()> {
        let of = self.some_dims();
        let (f, text) = (self.fresh("f"), *self.chance.one(&["v + 0.5 * v", "tanh(v) * v", "v * sigmoid(v - 0.5)"]));
        self.state_that(format!("{f}(v)"), vec![(f.clone(), Dims::new())], Node::name(text, &of), false);
        let (a, b) = (self.expression(&of, 2), self.expression(&of, 1));
        self.equation(Node::of(of, &format!("{f}(#) - {f}(#)"), [a, b]));
        Some(())
    }

    /// Some of the elements along a dim.
    fn selection(&mut self) -> Option<()> {
        let over = (*self.chance.one(&["expert", "expert", "width", "key", "vocab"])).to_owned();
        if !self.allows(&over) {
            return None;
        }
        let mut point: Dims = self.part_of(&dims(&["seq", "seq2", "head", "front"]));
        point.retain(|d| self.allows(d));
        let mut all = point.clone();
        all.insert(over.clone());
        if !self.fits(&all) {
            return None;
        }
        let count = 1 + self.chance.below(self.size(&over) as usize);
        let (value, apart) = (self.expression(&all, 2), self.leaf(&all));
        let score = self.equation(Node::of(all.clone(), "# + #", [value, apart]));
        let pick = self.fresh("pick");
        self.state_that(
            pick.clone(),
            vec![(pick.clone(), Dims::new())],
            Node::of(all.clone(), &format!("top({count}, #, over: {over})"), [score.clone()]),
            false,
        );
        let gate = *self.chance.one(&["#", "sigmoid(#)", "relu(# + 0.13)", "tanh(#)"]);
        let softmax = self.chance.percent(30);
        let restricted = format!("{}[{pick}]", score.text());
        let weight = if softmax { format!("softmax({restricted}, over: {over})") } else { gate.replace('#', &restricted) };
        let weight = Node::name(&weight, &all);
        match self.chance.below(5) {
            0 => drop(self.equation(Node::of(point, &format!("sum(#, over: {over})"), [weight]))),
            1 => {
                let text = format!("where({0} >= min({0}[{pick}], over: {over}), {0}, 0)", score.text());
                self.equation(Node::name(&text, &all));
            }
            2 => {
                // rows of a table, weighted
                let kept = self.some_dims();
                let mut table: Dims = kept.difference(&point).filter(|d| **d != over).cloned().collect();
                let of: Dims = point.union(&table).cloned().collect();
                table.insert(over.clone());
                if !self.fits(&table) || !self.fits(&of) {
                    return None;
                }
                let table = self.leaf(&table);
                self.equation(Node::of(of, &format!("# @{over} {}[{pick}]", table.text()), [weight]));
            }
            _ => return self.experts(&point, &over, &pick, weight),
        }
        Some(())
    }

    /// Two products with chosen matrices and something between them.
    fn experts(&mut self, point: &Dims, over: &str, pick: &str, weight: Node) -> Option<()> {
        let (from, inner, to) =
            ("model", if over == "width" { "col" } else { "width" }, if self.chance.percent(50) { "model" } else { "row" });
        if !self.allows_all(&[from, inner, to]) {
            return None;
        }
        let mut x = point.clone();
        x.insert(from.into());
        let x = self.expression(&x, 1);
        let mut up = dims(&[over, from, inner]);
        let head = point.contains("head") && self.chance.percent(50);
        if head {
            up.insert("head".into());
        }
        let mut hidden = point.clone();
        hidden.extend([inner.to_owned()]);
        let mut wide = hidden.clone();
        wide.insert(over.to_owned());
        if !self.fits(&up) || !self.fits(&wide) {
            return None;
        }
        let scale = format!("{:.1}", (self.size(from) as f64).sqrt());
        let up = self.leaf(&up);
        if self.chance.percent(30) {
            // weighted sums of what the chosen matrices give
            self.equation(Node::of(hidden, &format!("# @{over} ((# @{from} {}[{pick}]) / {scale})", up.text()), [weight, x]));
            return Some(());
        }
        let f = *self.chance.one(&["relu", "tanh", "gelu", "silu"]);
        let hide = self.fresh("hide");
        let bias = if self.chance.percent(30) { format!(" + {}[{pick}]", self.leaf(&dims(&[over, inner])).text()) } else { String::new() };
        let made = Node::of(wide, &format!("{f}((# @{from} {}[{pick}]) / {scale}{bias} + 0.11)", up.text()), [x]);
        self.state_that(hide.clone(), vec![(hide.clone(), Dims::new())], made, false);
        let mut down = dims(&[over, inner, to]);
        if head {
            down.insert("head".into());
        }
        let mut of = point.clone();
        let (down, sum_head) = (self.leaf(&down), head && self.chance.percent(40));
        of.insert(to.into());
        let heads = if sum_head { ", head" } else { "" };
        if sum_head {
            of.remove("head");
        }
        self.equation(Node::of(of, &format!("(# * {hide}) @[{over}, {inner}{heads}] {}[{pick}]", down.text()), [weight]));
        Some(())
    }

    /// A choice among pairs by the sum of two scores.
    fn product_keys(&mut self) -> Option<()> {
        if !self.allows_all(&["row", "col"]) {
            return None;
        }
        let mut point: Dims = self.part_of(&dims(&["seq", "head"]));
        point.retain(|d| self.allows(d));
        let part = |dim: &str| point.iter().cloned().chain([dim.to_owned()]).collect::<Dims>();
        let (row, col) = (part("row"), part("col"));
        let mut all = row.clone();
        all.extend(col.clone());
        if !self.fits(&all) {
            return None;
        }
        let (a, more) = (self.expression(&row, 1), self.leaf(&row));
        let a = self.equation(Node::of(row, "# + #", [a, more]));
        let (b, more) = (self.expression(&col, 1), self.leaf(&col));
        let b = self.equation(Node::of(col, "# + #", [b, more]));
        let count = 1 + self.chance.below((self.size("row") * self.size("col")) as usize);
        let (score, pick) = (self.fresh("score"), self.fresh("pick"));
        self.state_that(score.clone(), vec![(score.clone(), Dims::new())], Node::of(all.clone(), "# + #", [a, b]), false);
        self.state_that(
            pick.clone(),
            vec![(pick.clone(), Dims::new())],
            Node::name(&format!("top({count}, {score}, over: [row, col])"), &all),
            false,
        );
        let f = *self.chance.one(&["relu(# + 0.13)", "sigmoid(#)", "softmax(#, over: [row, col])"]);
        let weight = f.replace('#', &format!("{score}[{pick}]"));
        if self.chance.percent(25) {
            self.equation(Node::name(&format!("sum({weight}, over: [row, col])"), &point));
            return Some(());
        }
        let to = if self.allows("width") { "width" } else { "key" };
        let table = self.leaf(&dims(&["row", "col", to]));
        let head = point.contains("head") && self.chance.percent(60);
        let mut of = point.clone();
        of.insert(to.into());
        if head {
            of.remove("head");
        }
        let heads = if head { "head, " } else { "" };
        self.equation(Node::name(&format!("{weight} @[{heads}row, col] {}[{pick}]", table.text()), &of));
        Some(())
    }

    fn attention(&mut self) -> Option<()> {
        let inner = (*self.chance.one(&["key", "width"])).to_owned();
        if !self.allows_all(&["seq", "seq2", &inner]) {
            return None;
        }
        let mut lifted = self.part_of(&dims(&["head", "front"]));
        lifted.retain(|d| self.allows(d));
        let with = |of: &Dims, more: &[&str]| of.iter().cloned().chain(more.iter().map(|&m| m.to_owned())).collect::<Dims>();
        let same = self.chance.percent(60);
        let (for_k, for_v) = if same { (lifted.clone(), lifted.clone()) } else { (self.part_of(&lifted), self.part_of(&lifted)) };
        let value = if self.chance.percent(50) {
            inner.clone()
        } else if self.allows("row") {
            "row".into()
        } else {
            inner.clone()
        };
        let (q, k, v) = (with(&lifted, &["seq", &inner]), with(&for_k, &["seq", &inner]), with(&for_v, &["seq", &value]));
        let scores = with(&lifted, &["seq", "seq2"]);
        if !self.fits(&scores) || !self.fits(&q) {
            return None;
        }
        let made = |of: &Dims, scope: &mut Self| {
            let value = scope.expression(of, 1);
            scope.equation(value)
        };
        let (q, mut k, v) = (made(&q, self), made(&k, self), made(&v, self));
        let mut q = q;
        if self.size(&inner).is_multiple_of(2) && self.chance.percent(30) {
            let turned = |x: Node| Node::of(x.dims.clone(), &format!("rope(#, along: seq, over: {inner})"), [x]);
            (q, k) = (self.equation(turned(q)), self.equation(turned(k)));
        }
        let of = with(&lifted, &["seq", &value]);
        if self.chance.percent(35) && same {
            let causal = self.chance.percent(50);
            let text = format!("attend(#, #[seq as seq2], #[seq as seq2], causal: {causal}, src: seq2, key: {inner})");
            self.equation(Node::of(of, &text, [q, k, v]));
            return Some(());
        }
        let score = Node::of(scores.clone(), &format!("(# @{inner} #[seq as seq2]) / sqrt({inner})"), [q, k]);
        let mut score = self.equation(score);
        if self.chance.percent(25) {
            let bias = self.part_of(&scores);
            let bias = self.expression(&bias, 1);
            score = self.equation(Node::of(scores.clone(), "# + #", [score, bias]));
        }
        let seen = match self.chance.below(5) {
            0 => score,
            1 | 2 => Node::of(scores.clone(), "where(distance(seq2, seq) <= 0, #, -inf)", [score]),
            3 => Node::of(scores.clone(), "where(spread(float(index(seq2)), along: seq) <= float(index(seq)), #, -inf)", [score]),
            _ => Node::of(scores.clone(), "where(abs(float(distance(seq2, seq))) < 1.5, #, -inf)", [score]),
        };
        let weight = self.equation(Node::of(scores, "softmax(#, over: seq2)", [seen]));
        self.equation(Node::of(of, "# @seq2 #[seq as seq2]", [weight, v]));
        Some(())
    }

    /// Names and dims for a block within this one, without those that `not` names.
    pub(super) fn inner(&mut self, kind: &'static str, inputs: Vec<Given>, not: &[&str], fill: impl FnOnce(&mut Scope<'_>)) -> Block {
        let allowed = self.allowed.iter().filter(|d| !not.contains(&d.as_str())).cloned().collect();
        let name = format!("{kind}_{}", self.program.blocks.len() + 10 * self.level);
        let name = if self.program.blocks.iter().any(|b| b.name == name) { format!("{name}_{}", self.chance.below(1 << 20)) } else { name };
        let mixes = self.mixes;
        let mut scope = Scope::new(self.chance, self.program, kind, name, inputs, allowed, self.level + 1);
        scope.mixes = mixes;
        fill(&mut scope);
        let block = scope.block;
        self.program.blocks.push(block.clone());
        block
    }

    /// Labels for dims of results that no argument has.
    pub(super) fn labels(&self, block: &Block, of: &Dims) -> String {
        let given: Dims = block.inputs.iter().flat_map(|g| g.dims.iter().cloned()).collect();
        of.difference(&given).map(|d| format!(", {d}: {d}")).collect()
    }

    fn repeat(&mut self) -> Option<()> {
        if self.level > 1 {
            return None;
        }
        let mut of = self.wanted();
        of.retain(|d| !d.contains('~'));
        let mut inputs = vec![Given { name: "x".into(), dims: of.clone(), domain: None }];
        if self.chance.percent(30) {
            let more = self.some_dims();
            inputs.push(Given { name: "more".into(), dims: more, domain: None });
        }
        let not: &[&str] = if self.is_cell() { &["seq", "seq2"] } else { &[] };
        let block = self.inner("block", inputs, not, |scope| {
            for _ in 0..1 + scope.chance.below(2) {
                scope.construct();
            }
            let value = scope.expression(&of, 3);
            let text = *scope.chance.one(&["x + 0.4 * tanh(#)", "tanh(# - 0.2 * x)", "0.7 * x + 0.5 * #", "sigmoid(#) * x"]);
            let made = Node::of(of.clone(), text, [value]);
            scope.block.body.push(Statement { left: "y".into(), names: vec![("y".into(), of.clone())], value: made, plain: true });
            scope.block.outputs.push(("y".into(), of.clone()));
        });
        let mut with = of.clone();
        if self.chance.percent(40) {
            with.extend(self.part_of(&dims(&["seq", "front"])).into_iter().filter(|d| self.allows(d) && !block_has(&block, d)));
        }
        if !self.fits(&with) {
            return None;
        }
        let mut arguments = vec![self.expression(&with, 1)];
        if let Some(more) = block.inputs.get(1) {
            arguments.push(self.expression(&more.dims, 1));
        }
        let kind = *self.chance.one(&["stack", "share"]);
        let times = 1 + self.chance.below(3);
        let holes = vec!["#"; arguments.len()].join(", ");
        self.equation(Node::of(with, &format!("{kind} {times} of {}({holes})", block.name), arguments));
        Some(())
    }

    /// A block that is called once, or a named instance that is called twice.
    fn call(&mut self) -> Option<()> {
        if self.level > 1 {
            return None;
        }
        let mut of = self.wanted();
        of.retain(|d| !d.contains('~'));
        let given = self.some_dims();
        let inputs = vec![Given { name: "x".into(), dims: given.clone(), domain: None }];
        let not: &[&str] = if self.is_cell() { &["seq", "seq2"] } else { &[] };
        let block = self.inner("block", inputs, not, |scope| {
            scope.construct();
            scope.output("y", &of, 2);
        });
        let labels = self.labels(&block, &of);
        if self.chance.percent(40) {
            let name = self.fresh("shared");
            let labels = labels.trim_start_matches(", ");
            self.state_that(
                format!("instance {name}"),
                vec![(name.clone(), Dims::new())],
                Node::name(&format!("{}({labels})", block.name), &Dims::new()),
                false,
            );
            let (a, b) = (self.expression(&given, 1), self.expression(&given, 2));
            self.equation(Node::of(of, &format!("{name}(#) + 0.5 * {name}(#)"), [a, b]));
        } else {
            let x = self.expression(&given, 1);
            self.equation(Node::of(of, &format!("{}(#{labels})", block.name), [x]));
        }
        Some(())
    }

    /// Something of the library.
    fn layer(&mut self) -> Option<()> {
        let mut of = dims(&["model"]);
        if self.allows("seq") {
            of.insert("seq".into());
        }
        if !self.allows("model") || !self.fits(&of) {
            return None;
        }
        let expert = 2 + self.chance.below(4);
        let active = 1 + self.chance.below(expert);
        let width = 1 + self.chance.below(5);
        let causal = self.chance.percent(60);
        let heads = self.size("head");
        let rotary = if self.size("key").is_multiple_of(2) && self.chance.percent(50) { "rotary" } else { "none" };
        let even = self.size("model").is_multiple_of(2);
        let gate = *self.chance.one(&["sigmoid", "softmax", "softmax_chosen"]);
        let activation = *self.chance.one(&["relu", "gelu", "silu", "relu_squared"]);
        let bias = self.chance.percent(50);
        let text = match self.chance.below(if self.allows("seq") { 12 } else { 5 }) {
            0 => format!("sigma_moe(#, expert: {expert}, width: {width}, active: {active}, gate: {gate}, bias: {bias})"),
            1 => format!("feed_forward(#, hidden: {width}, activation: {activation}, bias: {bias})"),
            2 => format!("gated_feed_forward(#, hidden: {width})"),
            3 if even => format!("pkm(#, values: 9, head: 2, active: {active})"),
            3 | 4 => format!("sigma_moe(#, expert: {expert}, width: {width}, active: {active}, gate: {gate})"),
            5 => format!("self_attention(#, head: {heads}, causal: {causal}, positions: {rotary}, bias: {bias})"),
            6 => format!("transformer_layer(#, head: {heads}, hidden: {width}, causal: {causal}, positions: {rotary})"),
            7 => "(scan lstm((#)[model as in], unit: model) along seq)[unit as model]"
                .replace("unit: model", &format!("unit: {}", self.size("model"))),
            8 => format!("(scan gru((#)[model as in], unit: {}) along seq)[unit as model]", self.size("model")),
            9 => format!("(scan elstm((#)[model as in], unit: {}) along seq)[unit as model]", self.size("model")),
            10 => "sinusoidal_positions(#)".to_owned(),
            _ => format!("sinkhorn_moe(#, expert: {expert}, width: {width}, active: {active}, rounds: 2)"),
        };
        let x = self.expression(&of, 2);
        self.equation(Node::of(of, &text, [x]));
        Some(())
    }
}
