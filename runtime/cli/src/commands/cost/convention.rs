//! Counting as papers do: named conventions, beside what is computed.
//!
//! `switchhead-paper` is that of Csordás, Piękos, Irie and Schmidhuber (2024), as in the formulas of their program, and of the feedforwards of
//! Csordás, Irie and Schmidhuber (2023). For one layer and one sequence of T positions that sees C times as many (with memory C is 2):
//! all pairs count, also those that the mask hides; keys and values of the memory are free, and so are the scores of offsets; the dense
//! projection of offsets counts twice; the routers of attention count once for all heads; and of the experts' results that attention
//! mixes only one copy is kept.

use super::blocks::Block;
use crate::args::Convention;
use crate::output;
use ogive_lang::hir::{Constant, Instance, Program};
use ogive_lang::{ItemId, Spec};

/// The blocks of the library that the convention has a formula for.
const BLOCKS: &[&str] = &["xl_attention", "self_attention", "switch_head_xl", "switch_head", "xl_feed_forward", "sigma_moe"];

impl Convention {
    /// The word for it.
    fn word(self) -> &'static str {
        match self {
            Convention::SwitchheadPaper => "switchhead-paper",
        }
    }
}

/// What a convention says of one application of a block, and what is true of it.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) path: String,
    pub(super) block: String,
    pub(super) applications: u64,
    pub(super) macs: u128,
    /// Numbers kept; of feedforwards the convention says nothing.
    pub(super) kept: Option<u128>,
    pub(super) true_macs: u128,
    pub(super) true_kept: u128,
}

impl Counted {
    /// The path, and the block where the path does not end with it.
    fn place(&self) -> String {
        let end = self.path.split('.').rfind(|part| part.parse::<u32>().is_err());
        match end {
            None => self.block.clone(),
            Some(end) if end == self.block => self.path.clone(),
            Some(_) => format!("{} ({})", self.path, self.block),
        }
    }
}

/// Every instance that the convention has a formula for. `sequences` is how many the whole counts are for.
pub(super) fn counted(convention: Convention, spec: &Spec, program: &Program, blocks: &[Block], sequences: u64) -> Vec<Counted> {
    let Convention::SwitchheadPaper = convention;
    let mut all = Vec::new();
    for b in blocks {
        let instance = &program.instances[b.instance];
        let library = |ItemId { file, .. }| spec.is_std(file);
        if !spec.find(spec.root, &instance.block).is_some_and(library) {
            continue;
        }
        if let Some((macs, kept)) = switch_head(program, instance) {
            let times = u128::from(b.times.max(1)) * u128::from(sequences.max(1));
            all.push(Counted {
                path: instance.path.clone(),
                block: instance.block.clone(),
                applications: b.times,
                macs,
                kept,
                true_macs: b.macs / times,
                true_kept: b.kept / times,
            });
        }
    }
    all
}

/// Multiply-adds and numbers kept of one application.
fn switch_head(program: &Program, instance: &Instance) -> Option<(u128, Option<u128>)> {
    let dim = |name: &str| {
        let own = instance.dims.iter().find(|(n, _)| n == name);
        own.and_then(|(_, axis)| program.size_of(*axis)).map(u128::from)
    };
    let number = |name: &str| {
        instance.constants.iter().find(|(n, _)| n == name).and_then(|(_, c)| match c {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a whole number in range")]
            Constant::Number(x) if x.fract() == 0.0 && (0.0..1e12).contains(x) => Some(*x as u128),
            _ => None,
        })
    };
    // Feedforwards act on each position of the model's sequence.
    let sequence = || program.root().dims.iter().find(|(n, _)| n == "seq").and_then(|(_, a)| program.size_of(*a)).map(u128::from);
    let relative = matches!(instance.block.as_str(), "xl_attention" | "switch_head_xl");
    match instance.block.as_str() {
        "xl_attention" | "self_attention" => {
            let [h, p, d, t] = [dim("head")?, dim("key")?, dim("model")?, dim("seq")?];
            let seen = if relative { dim("src")? } else { t };
            let positions = if relative { 2 * h * p * seen } else { 0 };
            let macs = 2 * h * p * t * seen + 4 * d * h * p * t + d * positions;
            Some((macs, Some(2 * h * t * seen + 4 * h * p * t + positions)))
        }
        "switch_head" | "switch_head_xl" => {
            let [h, p, d, t] = [dim("head")?, dim("key")?, dim("model")?, dim("seq")?];
            let [e, k] = [dim("expert")?, number("active")?];
            let seen = if relative { dim("src")? } else { t };
            let positions = if relative { 2 * h * p * t } else { 0 };
            let mixed = (2 * k + 2) * d * h * p * t + 2 * h * k * t * p;
            let macs = 2 * h * p * t * seen + mixed + 2 * e * d * seen + d * positions;
            Some((macs, Some(2 * h * t * seen + 4 * h * p * t + 2 * e * seen + positions)))
        }
        "xl_feed_forward" => Some((2 * dim("model")? * dim("hidden")? * sequence()?, None)),
        "sigma_moe" => {
            let [d, e, width, k] = [dim("model")?, dim("expert")?, dim("width")?, number("active")?];
            let t = sequence()?;
            Some((2 * t * d * width * k + t * d * e, None))
        }
        _ => None,
    }
}

/// One table for all models.
pub(super) fn table<'a>(convention: Convention, models: impl Iterator<Item = (&'a str, &'a [Counted])>) -> String {
    let word = convention.word();
    let header = [&format!("counted as {word}"), "times", "MACs (paper)", "MACs", "kept (paper)", "kept"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for (name, c) in models.flat_map(|(name, all)| all.iter().map(move |c| (name, c))) {
        rows.push(vec![
            format!("{name}: {}", c.place()),
            output::thousands(c.applications),
            output::thousands(c.macs),
            output::thousands(c.true_macs),
            c.kept.map_or_else(|| "-".to_owned(), output::thousands),
            output::thousands(c.true_kept),
        ]);
    }
    if rows.len() == 1 {
        return format!("nothing to count as {word}: it counts {} of the standard library", BLOCKS.join(", "));
    }
    output::table(&rows)
}

/// The same for `--json`.
pub(super) fn json(counted: &[Counted]) -> serde_json::Value {
    let one = |c: &Counted| {
        serde_json::json!({
            "path": c.path, "block": c.block, "applications": c.applications, "macs": c.macs.to_string(),
            "kept": c.kept.map(|k| k.to_string()), "true_macs": c.true_macs.to_string(), "true_kept": c.true_kept.to_string(),
        })
    };
    counted.iter().map(one).collect()
}
