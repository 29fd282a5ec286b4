//! Options of experiments that `--set` and sweeps can change, by dotted key.

use super::super::settings::number;
use super::gradient::{EVERY, RULE, TRUNCATE};
use crate::hir::experiment::{Gradient, Task};

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
}

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
                Kind::Language | Kind::Rule => false,
            }
    }
}

/// Every key with the values that it takes.
pub(crate) const KEYS: &[(&str, Kind)] = &[
    ("data.context", Kind::Count),
    ("data.vocab", Kind::Count),
    ("data.language", Kind::Language),
    ("data.examples", Kind::Count),
    ("data.held_out", Kind::Count),
    ("data.pairs", Kind::Count),
    ("data.writes", Kind::Count),
    ("optimizer.lr", Kind::Amount),
    ("optimizer.warmup", Kind::Whole),
    ("optimizer.end", Kind::Amount),
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

/// The full key and what it takes; the last part of a key is enough.
pub(crate) fn find(key: &str) -> Option<(&'static str, Kind)> {
    KEYS.iter().copied().find(|(full, _)| *full == key || full.split('.').next_back() == Some(key))
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
    fn a_language_is_read_by_name() {
        assert_eq!(read(Kind::Language, "aa_star"), Some(1.0));
        assert_eq!(read(Kind::Language, "1"), None);
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
