//! Rules for loops: carries that never change become invariants, constants move inside, doubled operands and results become one, and a
//! stacked operand that is collected again is the operand itself.

use crate::build::Builder;
use crate::entity::Value;
use crate::graph::Node;
use crate::op::{Loop, Op};
use crate::rewrite::New;

/// Where an argument of the body comes from afterwards.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    /// The operand at this place of the old list.
    Operand(usize),
    /// An unchanging carry, from the initial value.
    Invariant(usize),
    /// The same as another argument.
    Like(usize),
    /// A constant outside.
    Constant,
}

/// The loop's results, with as little passing through the loop as possible.
pub(super) fn simplify(b: &mut Builder<'_>, node: Node) -> New {
    let Op::Loop(l) = &node.op else { panic!("a fault in ogive: not a loop") };
    let sources = sources(b, l, &node.inputs);
    let results = results(l, &sources);
    let unchanged = sources.iter().enumerate().all(|(i, s)| *s == Source::Operand(i));
    if unchanged && results.iter().enumerate().all(|(i, r)| *r == Outcome::Result(i)) {
        return New::One(b.region.push(node));
    }
    // Operands in their new order: carries, stacked, then old and new invariants.
    let mut order: Vec<usize> = (0..sources.len()).filter(|&i| sources[i] == Source::Operand(i)).collect();
    let carries = order.iter().filter(|&&i| i < l.carries).count();
    let stacked = order.iter().filter(|&&i| (l.carries..l.carries + l.stacked).contains(&i)).count();
    order.extend((0..sources.len()).filter(|&i| sources[i] == Source::Invariant(i)));
    let mut new = Loop { carries, stacked, ..(**l).clone() };
    for inner in &mut new.body.nodes {
        let Op::Argument(i) = inner.op else { continue };
        let mut from = i as usize;
        if let Source::Like(other) = sources[from] {
            from = other;
        }
        inner.op = match sources[from] {
            Source::Constant => b.region.node(node.inputs[from]).op.clone(),
            _ => Op::Argument(place(&order, from)),
        };
    }
    let kept: Vec<usize> = (0..results.len()).filter(|&i| results[i] == Outcome::Result(i)).collect();
    new.body.results = kept.iter().map(|&i| l.body.results[i]).collect();
    let inputs: Vec<Value> = order.iter().map(|&i| node.inputs[i]).collect();
    let made = if kept.is_empty() { Vec::new() } else { b.repeat(new, &inputs) };
    let value = |outcome: &Outcome| match *outcome {
        Outcome::Result(i) => made[place(&kept, i) as usize],
        Outcome::Operand(i) => node.inputs[i],
    };
    New::Results(results.iter().map(value).collect())
}

fn place(order: &[usize], of: usize) -> u32 {
    match order.iter().position(|&i| i == of) {
        Some(at) => at as u32,
        None => panic!("a fault in ogive: a loop reads an operand that was removed"),
    }
}

/// What a result of the loop is.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    /// This result.
    Result(usize),
    /// This operand of the loop.
    Operand(usize),
}

fn argument(l: &Loop, value: Value) -> Option<usize> {
    match l.body.node(value).op {
        Op::Argument(i) => Some(i as usize),
        _ => None,
    }
}

fn sources(b: &Builder<'_>, l: &Loop, inputs: &[Value]) -> Vec<Source> {
    let fixed_from = l.carries + l.stacked;
    let mut sources: Vec<Source> = Vec::with_capacity(inputs.len());
    for (i, &v) in inputs.iter().enumerate() {
        let like = |from: usize| (from..i).find(|&j| inputs[j] == v && sources[j] == Source::Operand(j));
        let source = if i < l.carries {
            if argument(l, l.body.results[i]) == Some(i) { Source::Invariant(i) } else { Source::Operand(i) }
        } else if i < fixed_from {
            like(l.carries).map_or(Source::Operand(i), Source::Like)
        } else if matches!(b.region.node(v).op, Op::Const(_)) {
            Source::Constant
        } else {
            like(fixed_from).map_or(Source::Operand(i), Source::Like)
        };
        sources.push(source);
    }
    sources
}

fn results(l: &Loop, sources: &[Source]) -> Vec<Outcome> {
    let stacked = l.carries..l.carries + l.stacked;
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (i, &r) in l.body.results.iter().enumerate() {
        let outcome = if i < l.carries {
            if sources[i] == Source::Invariant(i) { Outcome::Operand(i) } else { Outcome::Result(i) }
        } else {
            match argument(l, r) {
                Some(a) if stacked.contains(&a) => Outcome::Operand(a),
                _ => (l.carries..i)
                    .find(|&j| l.body.results[j] == r && outcomes[j] == Outcome::Result(j))
                    .map_or(Outcome::Result(i), Outcome::Result),
            }
        };
        outcomes.push(outcome);
    }
    outcomes
}
