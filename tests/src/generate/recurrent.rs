//! Programs around cells whose units keep to themselves, so that what each state has of each parameter can be carried forward in time: several
//! states and heads, many examples, sums over both, projections before the scan and products behind it.

use super::chance::Chance;
use super::program::{Dims, Given, Node, Program, State, Statement, dims};
use super::scope::Scope;
use std::collections::BTreeMap;

/// Most products of a step over all examples and steps.
const WORK: u64 = 40_000;

/// Sizes for recurrent programs: examples and heads with many divisors, states that are small and states that fill a register.
fn sizes(chance: &mut Chance) -> BTreeMap<String, u64> {
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    let choices: [(&str, &[u64]); 10] = [
        ("seq", &[1, 2, 3, 4, 5, 7, 9]),
        ("head", &[1, 2, 2, 3, 4, 6, 8]),
        ("key", &[1, 2, 3, 4, 5, 7, 8, 8, 16]),
        ("width", &[1, 2, 3, 4, 4, 8]),
        ("row", &[1, 2, 3]),
        ("expert", &[2]),
        ("vocab", &[2, 3, 5]),
        ("col", &[1, 2, 3, 4]),
        ("front", &[1, 2, 3]),
        ("back", &[1, 2]),
    ];
    for (dim, of) in choices {
        sizes.insert(dim.into(), *chance.one(of));
    }
    sizes.insert("batch".into(), *chance.one(&[1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 36, 48, 64]));
    // many positions, and enough numbers for each of them, for scans to be parted in blocks
    if chance.percent(45) {
        let choices: [(&str, &[u64]); 5] = [
            ("batch", &[16, 24, 32, 36, 48, 64]),
            ("head", &[2, 4, 6, 8]),
            ("key", &[4, 6, 8, 16]),
            ("width", &[8, 9, 12]),
            ("seq", &[1, 2, 3]),
        ];
        for (dim, of) in choices {
            sizes.insert(dim.into(), *chance.one(of));
        }
    }
    let work = |sizes: &BTreeMap<String, u64>| ["seq", "head", "key", "width", "batch"].iter().map(|d| sizes[*d]).product::<u64>();
    while work(&sizes) > WORK {
        let largest = *chance.one(&["seq", "head", "batch", "seq"]);
        if let Some(size) = sizes.get_mut(largest).filter(|s| **s > 1) {
            *size /= 2;
        }
    }
    sizes
}

/// A recurrent program of a seed.
pub(super) fn program(mut chance: Chance) -> Program {
    let sizes = sizes(&mut chance);
    let mut program = Program { sizes, ..Program::default() };
    let matrix = chance.percent(20);
    if !matrix {
        program.gradient = Some((*chance.one(&["rtrl", "rtrl", "rtrl", "rtrl(full)", "rtrl(snap: 1)"])).to_owned());
    }
    let inputs = vec![Given { name: "in_0".into(), dims: dims(&["seq", "width"]), domain: None }];
    let allowed = super::program::ALL_DIMS.iter().map(|&d| d.to_owned()).filter(|d| d != "class").collect();
    // what one step carries is all there is only where units are apart
    let mixes = program.gradient.as_ref().is_none_or(|rule| !rule.contains("snap"));
    let mut scope = Scope::new(&mut chance, &mut program, "model", "main".into(), inputs, allowed, 0);
    scope.mixes = mixes;
    if scope.chance.percent(30) {
        scope.give("tokens", &["seq"], Some("vocab"));
    }
    for (i, (name, of)) in scope.recurrence(matrix).iter().take(2).enumerate() {
        let value = scope.read(name, of);
        let out = format!("out_{i}");
        let of = value.dims.clone();
        scope.block.body.push(Statement { left: out.clone(), names: vec![(out.clone(), of.clone())], value, plain: true });
        scope.block.outputs.push((out, of));
    }
    let block = scope.block;
    program.blocks.push(block);
    program
}

impl Scope<'_> {
    fn give(&mut self, name: &str, of: &[&str], domain: Option<&str>) {
        let domain = domain.map(str::to_owned);
        if let Some(domain) = &domain {
            self.positions.push((name.into(), dims(of), domain.clone()));
        }
        self.block.inputs.push(Given { name: name.into(), dims: dims(of), domain });
    }

    /// One or two scans side by side over what the block has; their results.
    pub(super) fn recurrence(&mut self, matrix: bool) -> Vec<(String, Dims)> {
        let mut found = Vec::new();
        for _ in 0..1 + self.chance.below(2) {
            found.extend(self.cell_over(matrix));
        }
        found
    }

    /// What is made of a result: itself, its largest digit, or a product with a parameter.
    fn read(&mut self, name: &str, of: &Dims) -> Node {
        let value = Node::name(name, of);
        let sum: Vec<&String> = of.iter().filter(|d| *d != "seq").collect();
        match self.chance.below(4) {
            0 if sum.len() > 1 => {
                let over = (*self.chance.one(&sum)).clone();
                let mut rest = of.clone();
                rest.remove(&over);
                Node::of(rest, &format!("mean(tanh(#), over: {over})"), [value])
            }
            1 if of.contains("key") && !of.contains("row") => {
                let table = self.param(&dims(&["key", "row"]));
                let mut new = of.clone();
                new.remove("key");
                new.insert("row".into());
                Node::of(new, "tanh(# @key #)", [value, table])
            }
            2 => Node::of(of.clone(), "# * #", [value.clone(), value]),
            _ => value,
        }
    }

    /// A parameter.
    fn param(&mut self, of: &Dims) -> Node {
        let name = self.fresh("W");
        self.block.params.push((name.clone(), of.clone()));
        Node::name(&name, of)
    }

    fn cell_over(&mut self, matrix: bool) -> Vec<(String, Dims)> {
        let all: &[&[&str]] = &[&["key"], &["key"], &["head", "key"], &["head", "key"], &["head"]];
        let unit = if matrix {
            dims(if self.chance.percent(50) { &["key"] } else { &["head", "key"] })
        } else {
            dims(self.chance.one::<&[&str]>(all))
        };
        let mut inputs = vec![Given { name: "x_0".into(), dims: dims(&["width"]), domain: None }];
        let drive = !matrix && self.chance.percent(40);
        if drive {
            inputs.push(Given { name: "x_1".into(), dims: unit.clone(), domain: None });
        }
        let tokens = self.positions.iter().any(|p| p.0 == "tokens") && self.chance.percent(70);
        if tokens {
            inputs.push(Given { name: "token".into(), dims: Dims::new(), domain: Some("vocab".into()) });
        }
        let block =
            self.inner("cell", inputs, &["seq", "seq2"], |scope| if matrix { scope.matrix(&unit) } else { scope.units(&unit, drive) });
        let lifted = self.chance.percent(15) && self.block.inputs[0].domain.is_none();
        let mut x = dims(&["seq", "width"]);
        if lifted {
            x.insert("front".into());
        }
        let first = if lifted { self.spread_over("front") } else { Node::name("in_0", &x) };
        let mut arguments = vec![first];
        if drive {
            // a projection before the scan, with or without a function behind it
            let mut into = unit.clone();
            into.insert("width".into());
            let (weight, bias) = (self.param(&into), self.param(&unit));
            let mut of = unit.clone();
            of.insert("seq".into());
            let text = *self.chance.one(&["# @width #", "# @width # + #", "tanh(# @width # + #)"]);
            let value = self.equation(Node::of(of, text, [Node::name("in_0", &dims(&["seq", "width"])), weight, bias]));
            arguments.push(value);
        }
        if tokens {
            arguments.push(Node::name("tokens", &dims(&["seq"])));
        }
        let mut of = block.outputs[0].1.clone();
        of.insert("seq".into());
        if lifted {
            of.insert("front".into());
        }
        let mut all = block.outputs[0].1.clone();
        let live = block.live();
        let last = !lifted && self.chance.percent(30) && block.states.iter().all(|s| live.contains(&s.name));
        if last {
            all.extend(block.states.iter().flat_map(|s| s.dims.iter().cloned()));
        }
        let backward = if self.chance.percent(15) && !self.forward_only { " backward" } else { "" };
        let holes = vec!["#"; arguments.len()].join(", ");
        let text = format!("scan {}({holes}{}){backward} along seq", block.name, self.labels(&block, &all));
        let y = self.fresh("y");
        let mut names = vec![(y.clone(), of.clone())];
        if last {
            for state in &block.states {
                let name = self.fresh("last");
                names.push((name, state.dims.clone()));
            }
        }
        let list: Vec<&str> = names.iter().map(|n| n.0.as_str()).collect();
        let left = if list.len() == 1 { y } else { format!("({})", list.join(", ")) };
        self.state_that(left, names.clone(), Node::of(of, &text, arguments), true);
        names
    }

    /// The first input at several places of another dim, each moved a little.
    fn spread_over(&mut self, dim: &str) -> Node {
        let of = dims(&["seq", "width", dim]);
        self.equation(Node::of(of, &format!("# * (1 + 0.3 * float(index({dim})))"), [Node::name("in_0", &dims(&["seq", "width"]))]))
    }

    fn begin(&mut self, of: &Dims) -> String {
        let name = self.fresh("S");
        let start = ["0", "0", "0.5", "param ~ normal(1)"][self.chance.below(4)].to_owned();
        self.block.states.push(State { name: name.clone(), dims: of.clone(), start });
        name
    }

    /// What moves the units of a state.
    fn drive(&mut self, unit: &Dims, states: &[String], fed: bool) -> Node {
        let mut into = unit.clone();
        into.insert("width".into());
        let weight = self.param(&into);
        let mut sum = Node::of(unit.clone(), "x_0 @width #", [weight]);
        for _ in 0..self.chance.below(3) {
            let part = self.part_of(unit);
            let state = self.chance.one(states).clone();
            let scale = self.param(&part);
            sum = match self.chance.below(7) {
                0 | 1 => Node::of(unit.clone(), &format!("# + # * prev {state}"), [sum, scale]),
                2 => Node::of(unit.clone(), "# + #", [sum, scale]),
                3 if fed => Node::of(unit.clone(), "# + x_1", [sum]),
                4 if self.positions.iter().any(|p| p.0 == "token") => {
                    let mut rows = unit.clone();
                    rows.insert("vocab".into());
                    let table = self.param(&rows);
                    Node::of(unit.clone(), "# + #[token]", [sum, table])
                }
                5 => {
                    let mut up = unit.clone();
                    up.insert("row".into());
                    let (first, second) = (self.param(&dims(&["width", "row"])), self.param(&up));
                    Node::of(unit.clone(), "# + tanh(x_0 @width #) @row #", [sum, first, second])
                }
                6 if self.mixes && unit.contains("key") && self.size("key") <= 4 => {
                    let mut back = unit.clone();
                    back.insert("key2".into());
                    let back = self.param(&back);
                    Node::of(unit.clone(), &format!("# + (prev {state} @key #)[key2 as key]"), [sum, back])
                }
                _ => Node::of(unit.clone(), &format!("# + 0.3 * prev {state}"), [sum]),
            };
        }
        let f = *self.chance.one(&["tanh(#)", "tanh(#)", "sigmoid(#)", "sin(#)", "0.3 * #", "relu(# + 0.13)"]);
        let named = self.equation(sum);
        Node::of(unit.clone(), f, [named])
    }

    /// States of units that read themselves, each other's states at the same place, and all of the input.
    fn units(&mut self, unit: &Dims, fed: bool) {
        let pairs = self.mixes && self.chance.percent(15);
        let states: Vec<String> = (0..1 + self.chance.below(3)).map(|_| self.begin(unit)).collect();
        let mut pair = None;
        if pairs {
            let mut of = unit.clone();
            of.insert("expert".into());
            let name = self.begin(&of);
            let mut turn = self.part_of(unit);
            turn.extend(dims(&["expert", "expert2"]));
            let turn = self.param(&turn);
            let mut into = of.clone();
            into.insert("width".into());
            let weight = self.param(&into);
            let value = Node::of(of, &format!("tanh((prev {name} @expert #)[expert2 as expert] + x_0 @width #)"), [turn, weight]);
            self.define(&name, value);
            pair = Some(name);
        }
        for (i, state) in states.iter().enumerate() {
            let value = self.drive(unit, &states, fed);
            let other = states[(i + 1) % states.len()].clone();
            let text = match self.chance.below(6) {
                0 | 1 => {
                    let gate = self.drive(unit, &states, fed);
                    let gate = self.equation(Node::of(unit.clone(), "sigmoid(#)", [gate]));
                    let gate = gate.text();
                    format!("{gate} * prev {state} + (1 - {gate}) * #")
                }
                2 => format!("0.8 * prev {state} + #"),
                3 if other != *state => {
                    let turn = self.part_of(unit);
                    let turn = self.param(&turn).text();
                    let sign = if i == 0 { '-' } else { '+' };
                    format!("0.9 * (cos({turn}) * prev {state} {sign} sin({turn}) * prev {other}) + #")
                }
                4 => {
                    let decay = self.part_of(unit);
                    let decay = self.param(&decay).text();
                    format!("sigmoid({decay}) * prev {state} + #")
                }
                _ => format!("# - 0.2 * prev {state}"),
            };
            self.define(state, Node::of(unit.clone(), &text, [value]));
        }
        let state = Node::name(self.chance.one::<String>(&states), unit);
        let other = Node::name(self.chance.one::<String>(&states), unit);
        let mut y = match self.chance.below(4) {
            0 => {
                let mut into = unit.clone();
                into.insert("width".into());
                let weight = self.param(&into);
                Node::of(unit.clone(), "sigmoid(x_0 @width #) * #", [weight, state])
            }
            1 if unit.contains("key") => {
                let table = self.param(&dims(&["key", "key2"]));
                Node::of(unit.clone(), "tanh((# @key #)[key2 as key]) * #", [state, table, other])
            }
            2 => Node::of(unit.clone(), "tanh(#) * #", [state, other]),
            _ => Node::of(unit.clone(), "# + 0.1 * mean(x_0, over: width)", [state]),
        };
        if let Some(pair) = pair {
            y = Node::of(unit.clone(), &format!("# + sum({pair}, over: expert)"), [y]);
        }
        self.done(y, unit);
    }

    fn done(&mut self, y: Node, of: &Dims) {
        self.block.body.push(Statement { left: "y".into(), names: vec![("y".into(), of.clone())], value: y, plain: true });
        self.block.outputs.push(("y".into(), of.clone()));
    }

    /// A matrix that is written to, with keys and values made of the input, one for each head.
    fn matrix(&mut self, unit: &Dims) {
        let mut memory = unit.clone();
        memory.insert("col".into());
        let state = self.begin(&memory);
        let mut value = unit.clone();
        value.remove("key");
        let (mut into_key, mut into_value) = (unit.clone(), value.clone());
        value.insert("col".into());
        into_key.insert("width".into());
        into_value.extend(dims(&["width", "col"]));
        let heads: Dims = unit.iter().filter(|d| *d == "head").cloned().collect();
        let made = |scope: &mut Self, of: &Dims, from: &Dims, f: &str| {
            let weight = scope.param(from);
            scope.equation(Node::of(of.clone(), f, [weight]))
        };
        let key = *self.chance.one(&["unit_norm(x_0 @width # + 0.1, over: key, epsilon: 0.01)", "softmax(x_0 @width #, over: key)"]);
        let key = made(self, unit, &into_key, key);
        let query = made(self, unit, &into_key, "tanh(x_0 @width #)");
        let new = made(self, &value, &into_value, "x_0 @width #");
        let mut rate = heads.clone();
        rate.insert("width".into());
        let rate = made(self, &heads, &rate, "sigmoid(x_0 @width #)");
        let (k, v, r) = (key.text(), new.text(), rate.text());
        let text = match self.chance.below(4) {
            0 => format!("prev {state} + {k} * {v}"),
            1 => format!("{r} * prev {state} + {k} * {v}"),
            2 => format!("prev {state} + {r} * {k} * ({v} - {k} @key prev {state})"),
            _ => format!("0.9 * prev {state} + {r} * {k} * ({v} - {k} @key prev {state})"),
        };
        self.define(&state, Node::name(&text, &memory));
        let before = if self.chance.percent(25) { "prev " } else { "" };
        self.done(Node::name(&format!("{} @key {before}{state}", query.text()), &value), &value);
    }
}
