//! Options of experiments that `--set` and sweeps can change, by dotted key.

use super::super::settings::number;
use super::gradient::{EVERY, RULE, TRUNCATE};
use crate::hir::experiment::{Gradient, Task, Tokenizer};

/// What values an option takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A whole number from 1.
    Count,
    /// A whole number from 0.
    Whole,
    /// A number above 0.
    Positive,
    /// A number from 0.
    Amount,
    /// A number from 0 and below 1.
    Fraction,
    /// A formal language, by its place in [`Task::ALL`].
    Language,
    /// A rule for gradients through time, by its place in [`Gradient::NAMED`].
    Rule,
    /// A tokenizer that needs no file, by its place in [`TOKENIZERS`].
    Tokenizer,
}

/// Tokenizers that need no file.
pub(crate) const TOKENIZERS: [(&str, Tokenizer); 2] = [("bytes", Tokenizer::Bytes), ("chars", Tokenizer::Chars)];

impl Kind {
    /// Words for it.
    pub(crate) fn needs(self) -> &'static str {
        match self {
            Kind::Count => "a whole number from 1",
            Kind::Whole => "a whole number from 0",
            Kind::Positive => "a number above 0",
            Kind::Amount => "a number from 0",
            Kind::Fraction => "a number from 0 and below 1",
            Kind::Language => "a formal language",
            Kind::Rule => "`bptt`, `rtrl`, `rtrl_full`, `rtrl_local` or `rtrl_snap`",
            Kind::Tokenizer => "`bytes` or `chars`",
        }
    }

    /// A number that would do.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Kind::Count => "16",
            Kind::Whole => "1",
            Kind::Positive => "1e-3",
            Kind::Amount => "0.01",
            Kind::Fraction => "0.99",
            Kind::Language => "parity",
            Kind::Rule => "rtrl",
            Kind::Tokenizer => "chars",
        }
    }

    /// Whether a number is one of these.
    pub(crate) fn takes(self, x: f64) -> bool {
        // whole numbers stay where f64 counts exactly
        let whole = x.fract() == 0.0 && x <= 9_007_199_254_740_992.0;
        x.is_finite()
            && match self {
                Kind::Count => x >= 1.0 && whole,
                Kind::Whole => x >= 0.0 && whole,
                Kind::Positive => x > 0.0,
                Kind::Amount => x >= 0.0,
                Kind::Fraction => (0.0..1.0).contains(&x),
                Kind::Language | Kind::Rule | Kind::Tokenizer => false,
            }
    }
}

/// Every key with the values that it takes.
pub(crate) const KEYS: &[(&str, Kind)] = &[
    ("data.context", Kind::Count),
    ("data.vocab", Kind::Count),
    ("data.tokenizer", Kind::Tokenizer),
    ("data.language", Kind::Language),
    ("data.examples", Kind::Count),
    ("data.held_out", Kind::Count),
    ("data.pairs", Kind::Count),
    ("data.writes", Kind::Count),
    ("optimizer.lr", Kind::Amount),
    ("optimizer.warmup", Kind::Whole),
    ("optimizer.end", Kind::Amount),
    ("optimizer.beta1", Kind::Fraction),
    ("optimizer.beta2", Kind::Fraction),
    ("optimizer.eps", Kind::Positive),
    ("optimizer.momentum", Kind::Fraction),
    ("optimizer.weight_decay", Kind::Amount),
    ("optimizer.clip", Kind::Positive),
    ("optimizer.accumulate", Kind::Count),
    ("optimizer.ema", Kind::Fraction),
    ("optimizer.skip", Kind::Whole),
    RULE,
    TRUNCATE,
    EVERY,
    ("budget.steps", Kind::Whole),
    ("budget.batch", Kind::Count),
    ("budget.seed", Kind::Whole),
    ("budget.minutes", Kind::Positive),
];

/// What an experiment says and no key changes, each with how a spec writes it.
const WRITTEN: &[(&str, &str)] = &[
    ("model", "model small[width: 64]"),
    ("data", "data text(webster, context: 256)"),
    ("data.split", "split: [0.9, 0.05, 0.05]"),
    ("data.order", "order: stream"),
    ("data.field", "field: \"text\""),
    ("data.bytes", "bytes: 2"),
    ("data.length", "length: [2, 50]"),
    ("data.longer", "longer: [51, 100]"),
    ("data.far", "far: [300, 400]"),
    ("loss", "loss cross_entropy(logits, next(tokens), over: vocab)"),
    ("metric", "metric accuracy: correct(logits, next(tokens), over: vocab)"),
    ("update", "update every: 16"),
    ("optimizer", "optimizer adamw(lr: 1e-3)"),
    ("optimizer.betas", "betas: [0.9, 0.99]"),
    ("optimizer.decay", "decay: [\"*.W\"]"),
    ("optimizer.no_decay", "no_decay: [\"*.gain\"]"),
    ("budget", "budget steps: 1000, batch: 16"),
    ("every", "every 100 { evaluate validation }"),
    ("until", "until validation.accuracy >= 1"),
    ("claim", "claim validation.loss < 2"),
];

/// How a spec writes what a key names, where only the spec can say it.
pub(crate) fn written(key: &str) -> Option<&'static str> {
    WRITTEN.iter().find(|(full, _)| *full == key || last(full) == key).map(|w| w.1)
}

/// What `--set` and sweeps say to a key that names what only the spec can say.
pub(crate) fn only_written(key: &str, example: &str) -> String {
    let more = match last(key) {
        "betas" => "; `optimizer.beta1` and `optimizer.beta2` are the two by themselves",
        "every" => "; `update.every` is how often weights change",
        _ => "",
    };
    let all: Vec<&str> = KEYS.iter().map(|k| k.0).collect();
    format!(
        "write it in the spec, as in `{example}`{more}; what can be set are dims and constants of the model, and {}",
        crate::suggest::list(&all)
    )
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// The full key and what it takes; the last part of a key is enough, unless it also names what only the spec can say.
pub(crate) fn find(key: &str) -> Option<(&'static str, Kind)> {
    KEYS.iter().copied().find(|(full, _)| *full == key || (last(full) == key && written(key).is_none()))
}

/// The number that a text stands for, where the key takes it.
pub(crate) fn read(kind: Kind, text: &str) -> Option<f64> {
    if kind == Kind::Language {
        let at = Task::ALL.iter().position(|t| t.name() == text)?;
        return u8::try_from(at).ok().map(f64::from);
    }
    if kind == Kind::Rule {
        let at = Gradient::WORDS.iter().position(|word| *word == text)?;
        return u8::try_from(at).ok().map(f64::from);
    }
    if kind == Kind::Tokenizer {
        return TOKENIZERS.iter().position(|t| t.0 == text).and_then(|at| u8::try_from(at).ok()).map(f64::from);
    }
    number(text).filter(|x| kind.takes(*x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_a_key_is_enough() {
        assert_eq!(find("seed"), Some(("budget.seed", Kind::Whole)));
        assert_eq!(find("optimizer.lr"), Some(("optimizer.lr", Kind::Amount)));
        assert_eq!(find("learning_rate"), None);
    }

    #[test]
    fn last_parts_are_distinct() {
        let parts: std::collections::BTreeSet<&str> = KEYS.iter().filter_map(|(k, _)| k.split('.').next_back()).collect();
        assert_eq!(parts.len(), KEYS.len());
    }

    #[test]
    fn what_only_the_spec_can_say_is_no_short_key() {
        assert_eq!((find("every"), find("update.every")), (None, Some(("update.every", Kind::Count))));
        assert!(["every", "split", "data.split", "betas", "claim"].iter().all(|k| find(k).is_none() && written(k).is_some()));
        assert!(KEYS.iter().all(|k| written(k.0).is_none()));
        assert_eq!(written("nonsense"), None);
    }

    #[test]
    fn a_language_is_read_by_name() {
        assert_eq!(read(Kind::Language, "aa_star"), Some(1.0));
        assert_eq!(read(Kind::Language, "1"), None);
        assert_eq!((read(Kind::Tokenizer, "chars"), read(Kind::Tokenizer, "words")), (Some(1.0), None));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert_eq!(read(Kind::Count, "0"), None);
        assert_eq!(read(Kind::Count, "2.5"), None);
        assert_eq!(read(Kind::Fraction, "1"), None);
        assert_eq!(read(Kind::Amount, "nan"), None);
        assert_eq!(read(Kind::Count, "9223372036854775808"), None);
        assert_eq!(read(Kind::Positive, "1e-3"), Some(1e-3));
    }
}
