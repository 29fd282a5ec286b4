//! Experiments around generated models: data, losses, metrics, optimisers, rules for gradients, segments of streams.

use super::chance::Chance;
use super::program::{Dims, Given, Node, Program, Statement, dims};
use super::scope::Scope;
use std::collections::BTreeMap;

/// A line of an experiment: what it says, then what can stand for it, simpler from one to the next.
pub type Line = Vec<String>;

/// A program with an experiment, of a seed.
pub(super) fn program(mut chance: Chance) -> Program {
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    let most = [("head", 3), ("key", 4), ("width", 5), ("expert", 4), ("vocab", 7), ("row", 3), ("col", 3), ("front", 3), ("back", 3)];
    for (dim, most) in most {
        sizes.insert(dim.into(), 1 + chance.below(most) as u64);
    }
    let recurrent = chance.percent(50);
    sizes.insert("seq".into(), *chance.one(&[2, 3, 4, 5, 6, 8]));
    sizes.insert("vocab".into(), 2 + chance.below(5) as u64);
    sizes.insert("batch".into(), *chance.one(&[2, 4, 6, 8, 8, 12]));
    let mut program = Program { sizes, ..Program::default() };
    let inputs = vec![Given { name: "tokens".into(), dims: dims(&["seq"]), domain: Some("vocab".into()) }];
    let allowed = super::program::ALL_DIMS.iter().map(|&d| d.to_owned()).filter(|d| d != "class" && d != "vocab").collect();
    let mut scope = Scope::new(&mut chance, &mut program, "model", "main".into(), inputs, allowed, 0);
    scope.closed = true;
    let (of, width) = if recurrent { (dims(&["seq", "width"]), "width") } else { (dims(&["seq", "model"]), "model") };
    let mut table: Dims = of.clone();
    table.remove("seq");
    table.insert("vocab".into());
    let table = scope.leaf(&table);
    scope.define("in_0", Node::of(of, "#[tokens]", [table]));
    if recurrent {
        scope.forward_only = scope.chance.percent(80);
        let matrix = scope.chance.percent(15);
        scope.recurrence(matrix);
    } else {
        for _ in 0..1 + scope.chance.below(3) {
            scope.construct();
        }
    }
    let read = scope.values.iter().rev().find(|v| v.1.contains("seq") && v.1.len() > 1 && !v.0.starts_with("prev ")).cloned();
    let (name, from) = read.unwrap_or_else(|| ("in_0".into(), dims(&["seq", width])));
    let inside: Vec<String> = from.iter().filter(|d| *d != "seq").cloned().collect();
    let mut out: Dims = inside.iter().cloned().collect();
    out.insert("vocab".into());
    let (out, skip) = (scope.leaf(&out), scope.leaf(&dims(&[width, "vocab"])));
    let text = format!("# @[{}] # + in_0 @{width} #", inside.join(", "));
    let logits = dims(&["seq", "vocab"]);
    let value = Node::of(logits.clone(), &text, [Node::name(&name, &from), out, skip]);
    scope.block.body.push(Statement { left: "logits".into(), names: vec![("logits".into(), logits.clone())], value, plain: true });
    scope.block.outputs.push(("logits".into(), logits));
    let block = scope.block;
    program.blocks.push(block);
    program.experiment = Some(lines(&mut chance, recurrent, program.sizes["seq"]));
    program
}

fn line(all: &[&str]) -> Line {
    all.iter().map(|&l| l.to_owned()).collect()
}

fn rate(chance: &mut Chance) -> String {
    let rate = *chance.one(&["0.1", "0.03", "0.01", "1e-3"]);
    let end = if chance.percent(50) { ", end: 1e-4" } else { "" };
    match chance.below(6) {
        0 => format!("cosine({rate}, warmup: 2{end})"),
        1 => format!("linear({rate}{end})"),
        2 => format!("constant({rate}, warmup: 3)"),
        3 => format!("noam({rate}, warmup: 2)"),
        _ => rate.to_owned(),
    }
}

fn lines(chance: &mut Chance, recurrent: bool, seq: u64) -> Vec<Line> {
    const PLAIN: &str = "loss       cross_entropy(logits, next(tokens), over: vocab)";
    let segment = (recurrent && chance.percent(45)).then(|| 1 + chance.below(seq as usize));
    let order = if segment.is_some() { ", order: stream" } else { "" };
    let data = format!("data       text(webster, tokenizer: bytes, context: SEQ{order})");
    let losses = [
        PLAIN,
        PLAIN,
        "loss       smoothed_cross_entropy(logits, next(tokens), over: vocab, smoothing: 0.2)",
        "loss       mean_squared_error(logits, float(one_hot(next(tokens))), over: vocab)",
        "loss       cross_entropy(logits, next(tokens), over: vocab) + 0.01 * mean(logits * logits, over: vocab)",
        "loss       sum(huber(logits, float(one_hot(next(tokens))), width: 0.5), over: vocab)",
        "loss       where(index(seq) > 0, cross_entropy(logits, next(tokens), over: vocab), 0)",
    ];
    // a stream has no first position
    let loss = *chance.one(if segment.is_some() { &losses[..6] } else { &losses });
    let mut options = vec![format!("lr: {}", rate(chance))];
    let kind = *chance.one(&["sgd", "sgd", "adam", "adamw", "adamw"]);
    if kind == "sgd" {
        if chance.percent(50) {
            options.push("momentum: 0.9".into());
        }
    } else {
        options.push(format!("eps: {}", chance.one(&["1e-3", "1e-2"])));
        if chance.percent(50) {
            options.push(format!("betas: {}", chance.one(&["[0.9, 0.99]", "[0.5, 0.9]", "[0.0, 0.95]"])));
        }
    }
    let more = [
        (40, "weight_decay: 0.1"),
        (40, "clip: 0.5"),
        (30, "ema: 0.9"),
        (if segment.is_some() { 0 } else { 30 }, "accumulate: 2"),
        (15, "no_decay: [\"W_*\"]"),
    ];
    for (percent, option) in more {
        if chance.percent(percent) {
            options.push(option.into());
        }
    }
    let mut optimizer = vec![format!("optimizer  {kind}({})", options.join(", "))];
    optimizer.extend((1..options.len()).rev().map(|n| format!("optimizer  {kind}({})", options[..n].join(", "))));
    optimizer.push("optimizer  sgd(lr: 0.1)".into());
    let mut all = vec![
        line(&["model      main"]),
        line(&[&data]),
        line(&[loss, PLAIN]),
        optimizer,
        line(&["budget     steps: 8, batch: BATCH, seed: 1"]),
    ];
    if chance.percent(40) {
        all.push(line(&["metric     accuracy: correct(logits, next(tokens), over: vocab)", ""]));
    }
    let truncated = format!("gradient   bptt(truncate: {})", 1 + chance.below(segment.unwrap_or(seq as usize).min(3)));
    let rules = ["gradient   rtrl", "gradient   rtrl", "gradient   rtrl(full)", "gradient   rtrl(snap: 1)", &truncated];
    if recurrent && chance.percent(75) {
        all.push(line(&[*chance.one(&rules), ""]));
    }
    if let Some(every) = segment {
        all.push(line(&[&format!("update     every: {every}"), ""]));
    }
    all
}
