//! Strings of formal languages and of tasks of memory, with a class at every position or at some, drawn from counter-based streams: the same on every machine.

use super::{Dataset, PARTS, Part, Split, Tokens};
use ogive_lang::hir::experiment::{Generated, Task};
use ogive_runtime::{Draw, rng};
use sha2::{Digest, Sha256};

/// A string: symbols, and the class at each; [`Labelled::NOTHING`] where none is to be told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Labelled {
    /// Symbols by number.
    pub symbols: Vec<u32>,
    /// Classes by number.
    pub classes: Vec<u32>,
}

impl Labelled {
    /// The class of a position at which nothing is to be told.
    pub const NOTHING: u32 = u32::MAX;

    fn push(&mut self, symbol: u32, class: u32) {
        self.symbols.push(symbol);
        self.classes.push(class);
    }
}

/// Numbers of one string.
struct Source {
    stream: rng::Stream,
    next: u64,
}

impl Source {
    fn new(part: Part, index: u64) -> Source {
        let draw = Draw { seed: index, step: part as u64 };
        Source { stream: rng::Stream::new(draw, rng::hash("data.generated"), &[]), next: 0 }
    }

    /// A whole number below `count`.
    fn below(&mut self, count: u64) -> u64 {
        let words = self.stream.block(self.next);
        self.next += 1;
        let number = u64::from(words[0]) << 32 | u64::from(words[1]);
        ((u128::from(number) * u128::from(count)) >> 64) as u64
    }

    /// The numbers below `count` in a random order (Fisher and Yates).
    fn shuffled(&mut self, count: u32) -> Vec<u32> {
        let mut all: Vec<u32> = (0..count).collect();
        (1..all.len()).rev().for_each(|i| all.swap(i, self.below(i as u64 + 1) as usize));
        all
    }
}

/// The data set: strings padded to the longest of their part by the symbol after the alphabet.
///
/// Of a language with one string for each length, the parts that are held out have each string once.
pub(super) fn dataset(strings: &Generated) -> Dataset {
    let mut hash = Sha256::new();
    let splits = PARTS.map(|part| {
        let split = split(strings, part);
        hash.update((split.tokens.len() as u64).to_le_bytes());
        let mut all = vec![0; split.tokens.len()];
        split.tokens.read(0, &mut all);
        all.iter().for_each(|t| hash.update(t.to_le_bytes()));
        split
    });
    Dataset {
        name: format!("generated({})", strings.task.name()),
        tokenizer: None,
        vocab: strings.symbols(),
        context: splits[Part::Training as usize].context,
        input: super::INPUT.to_owned(),
        fingerprint: hash.finalize().iter().map(|b| format!("{b:02x}")).collect(),
        splits,
        validation_text: None,
    }
}

fn split(strings: &Generated, part: Part) -> Split {
    let task = strings.task;
    let window = match part {
        Part::Training | Part::Validation => strings.length,
        Part::Longer => strings.longer,
        Part::Test => strings.far,
    };
    let lengths: Vec<u64> = task.lengths(window).collect();
    let once = task.single() && part != Part::Training;
    let count = match part {
        Part::Training => strings.examples,
        _ if once => strings.held_out.min(lengths.len() as u64),
        _ => strings.held_out,
    };
    let longest = lengths.last().copied().unwrap_or(0) as usize;
    let (padding, outside) = (strings.symbols() as u32 - 1, strings.classes() as u32);
    let (mut symbols, mut classes) = (Vec::new(), Vec::new());
    for index in 0..count {
        let mut source = Source::new(part, index);
        let length = if once { lengths[index as usize] } else { lengths[source.below(lengths.len() as u64) as usize] };
        let string = string(strings, length, &mut source);
        let pad = longest - string.symbols.len();
        symbols.extend(string.symbols.into_iter().chain(std::iter::repeat_n(padding, pad)));
        let told = |class: u32| if class == Labelled::NOTHING { outside } else { class };
        classes.extend(string.classes.into_iter().map(told).chain(std::iter::repeat_n(outside, pad)));
    }
    let target = Some(super::Target { classes: Tokens::memory(classes), outside });
    Split { tokens: Tokens::memory(symbols), bytes: None, context: longest as u64, target }
}

fn string(strings: &Generated, length: u64, source: &mut Source) -> Labelled {
    let mut out = Labelled::default();
    match strings.task {
        Task::Parity => {
            let mut odd = 0;
            for i in 0..length {
                // The last bit makes the number of ones even.
                let bit = if i + 1 == length { odd } else { source.below(2) as u32 };
                odd ^= bit;
                out.push(bit, 1 - odd);
            }
        }
        Task::AaStar => (1..=length).for_each(|i| out.push(0, u32::from(i % 2 == 0))),
        Task::AbabStar => (1..=length).for_each(|i| out.push(u32::from(i % 2 == 0), u32::from(i % 4 == 0))),
        Task::AnBn => counted(length, 2, &mut out),
        Task::AnBnCn => counted(length, 3, &mut out),
        Task::Dyck1 => walk(length, length, source, &mut |opens, depth, _| out.push(u32::from(!opens), u32::from(depth > 0))),
        Task::Shuffle2 => {
            let mut depths = [0_u64; 2];
            walk(length, length, source, &mut |opens, _, source| {
                // A bracket closes in proportion to how many of its kind are open.
                let kind = if opens { source.below(2) as usize } else { usize::from(source.below(depths[0] + depths[1]) >= depths[0]) };
                depths[kind] = if opens { depths[kind] + 1 } else { depths[kind] - 1 };
                let symbol = 2 * kind as u32 + u32::from(!opens);
                out.push(symbol, u32::from(depths[0] > 0) + 2 * u32::from(depths[1] > 0));
            });
        }
        Task::ResetDyck1 => {
            // The part after the reset is of even length, and at least one bracket comes before it.
            let after = 2 * source.below((length - 2) / 2 + 1);
            let before = length - 1 - after;
            let mut push = |opens: bool, depth: u64, _: &mut Source| out.push(u32::from(!opens), u32::from(depth > 0));
            walk(before, before + before % 2 + 2 * source.below(8), source, &mut push);
            out.push(2, 0);
            walk(after, after, source, &mut |opens, depth, _| out.push(u32::from(!opens), u32::from(depth > 0)));
        }
        Task::Copy => {
            let bits: Vec<u32> = (0..length / 2).map(|_| source.below(2) as u32).collect();
            bits.iter().for_each(|&bit| out.push(bit, Labelled::NOTHING));
            bits.iter().for_each(|&bit| out.push(2, bit));
        }
        Task::Recall => {
            let sign = source.below(2) as u32;
            out.push(sign, Labelled::NOTHING);
            (2..length).for_each(|_| out.push(2, Labelled::NOTHING));
            out.push(3, sign);
        }
        Task::AssociativeRecall => {
            let pairs = strings.pairs as u32;
            let mut held = vec![0; pairs as usize];
            for _ in 0..strings.writes {
                let (keys, values) = (source.shuffled(pairs), source.shuffled(pairs));
                for (key, value) in keys.into_iter().zip(values) {
                    out.push(key, Labelled::NOTHING);
                    out.push(pairs + value, Labelled::NOTHING);
                    held[key as usize] = value;
                }
            }
            source.shuffled(pairs).into_iter().for_each(|key| out.push(key, held[key as usize]));
        }
    }
    out
}

/// Runs of equal length of `kinds` symbols, with what may come next: in the first run its own symbol or the one after, then the only
/// one there can be, at the end none.
fn counted(length: u64, kinds: u64, out: &mut Labelled) {
    let run = length / kinds;
    for i in 0..length {
        let symbol = (i / run) as u32;
        let next = ((i + 1) / run) as u32;
        // The last `a` cannot be told from the others.
        out.push(symbol, if symbol == 0 { 0 } else { next });
    }
}

/// The first `length` brackets of a balanced string of `whole`, all such strings equally likely: whether each opens, and the depth after.
fn walk(length: u64, whole: u64, source: &mut Source, each: &mut dyn FnMut(bool, u64, &mut Source)) {
    let mut depth = 0;
    for i in 0..length {
        let left = whole - i;
        // Ballot numbers: of the ways back to depth 0 in `left` brackets, the share that goes up first.
        let opens = source.below(2 * left * (depth + 1)) < (left - depth) * (depth + 2);
        depth = if opens { depth + 1 } else { depth - 1 };
        each(opens, depth, source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(task: Task) -> Generated {
        Generated { task, length: [2, 30], longer: [31, 60], far: [90, 96], examples: 100, held_out: 50, pairs: 5, writes: 2 }
    }

    fn read(strings: &Generated, string: &Labelled) -> (String, String) {
        let symbols = string.symbols.iter().filter_map(|s| strings.written(u64::from(*s))).collect();
        let class = |c: &u32| if *c == Labelled::NOTHING { ".".to_owned() } else { c.to_string() };
        (symbols, string.classes.iter().map(class).collect())
    }

    fn made(task: Task, length: u64, index: u64) -> (String, String) {
        read(&of(task), &string(&of(task), length, &mut Source::new(Part::Training, index)))
    }

    #[test]
    fn languages_of_one_string_a_length_are_labelled_as_tabled() {
        assert_eq!(made(Task::AaStar, 4, 0), ("aaaa".into(), "0101".into()));
        assert_eq!(made(Task::AbabStar, 8, 0), ("abababab".into(), "00010001".into()));
        assert_eq!(made(Task::AnBn, 6, 0), ("aaabbb".into(), "000112".into()));
        assert_eq!(made(Task::AnBnCn, 6, 0), ("aabbcc".into(), "001223".into()));
        assert_eq!(made(Task::AnBn, 2, 0), ("ab".into(), "02".into()));
    }

    #[test]
    fn bits_are_told_once_more_and_a_sign_at_the_junction() {
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..50 {
            let length = 2 + 2 * (index % 9);
            let (text, classes) = made(Task::Copy, length, index);
            let half = length as usize / 2;
            assert_eq!(text[half..], "_".repeat(half));
            assert_eq!(classes, format!("{}{}", ".".repeat(half), &text[..half]));
            let (text, classes) = made(Task::Recall, 2 + index, index);
            assert_eq!(text[1..], format!("{}T", "-".repeat(index as usize)));
            assert_eq!(classes, format!("{}{}", ".".repeat(index as usize + 1), &text[..1]));
            seen.insert(text.chars().next());
        }
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn every_key_is_asked_for_once_and_has_its_last_value() {
        let strings = of(Task::AssociativeRecall);
        assert_eq!((strings.symbols(), strings.classes()), (11, 5));
        let mut orders = std::collections::BTreeSet::new();
        for index in 0..50 {
            let made = string(&strings, 25, &mut Source::new(Part::Training, index));
            let (written, asked) = made.symbols.split_at(20);
            assert!(made.classes[..20].iter().all(|c| *c == Labelled::NOTHING));
            let mut held = std::collections::BTreeMap::new();
            for pair in written.chunks(2) {
                assert!(pair[0] < 5 && (5..10).contains(&pair[1]), "{pair:?}");
                held.insert(pair[0], pair[1] - 5);
            }
            let told: Vec<u32> = asked.iter().map(|key| held[key]).collect();
            assert_eq!(told, made.classes[20..]);
            let mut keys = asked.to_vec();
            keys.sort_unstable();
            assert_eq!(keys, [0, 1, 2, 3, 4]);
            orders.insert(asked.to_vec());
        }
        assert!(orders.len() > 20, "{orders:?}");
    }

    #[test]
    fn parity_counts_ones_and_ends_even() {
        for index in 0..50 {
            let (bits, classes) = made(Task::Parity, 1 + index % 20, index);
            let even = |i: usize| bits[..=i].matches('1').count() % 2 == 0;
            let expected: String = (0..bits.len()).map(|i| if even(i) { '1' } else { '0' }).collect();
            assert_eq!(classes, expected, "{bits}");
            assert!(classes.ends_with('1'));
        }
    }

    #[test]
    fn brackets_are_balanced_and_labelled_by_depth() {
        for index in 0..200 {
            let (text, classes) = made(Task::Dyck1, 2 + 2 * (index % 20), index);
            let mut depth = 0_i32;
            for (c, class) in text.chars().zip(classes.chars()) {
                depth += if c == '(' { 1 } else { -1 };
                assert!(depth >= 0, "{text}");
                assert_eq!(class == '1', depth > 0, "{text} {classes}");
            }
            assert_eq!(depth, 0, "{text}");
        }
    }

    #[test]
    fn each_kind_of_two_is_balanced() {
        for index in 0..200 {
            let (text, classes) = made(Task::Shuffle2, 2 + 2 * (index % 20), index);
            let mut depths = [0_i32; 2];
            for (c, class) in text.chars().zip(classes.bytes()) {
                let kind = usize::from("[]".contains(c));
                depths[kind] += if "([".contains(c) { 1 } else { -1 };
                assert!(depths.iter().all(|d| *d >= 0), "{text}");
                assert_eq!(i32::from(class - b'0'), i32::from(depths[0] > 0) + 2 * i32::from(depths[1] > 0), "{text} {classes}");
            }
            assert_eq!(depths, [0, 0], "{text}");
        }
    }

    #[test]
    fn a_reset_forgets_what_was_open() {
        for index in 0..200 {
            let (text, classes) = made(Task::ResetDyck1, 3 + index % 30, index);
            assert_eq!(text.len() as u64, 3 + index % 30);
            assert_eq!(text.matches('1').count(), 1, "{text}");
            let mut depth = 0_i32;
            for (c, class) in text.chars().zip(classes.chars()) {
                depth = match c {
                    '1' => 0,
                    '(' => depth + 1,
                    _ => depth - 1,
                };
                assert!(depth >= 0, "{text}");
                assert_eq!(class == '1', depth > 0, "{text} {classes}");
            }
            assert_eq!(depth, 0, "{text}");
        }
    }

    #[test]
    fn balanced_strings_are_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for index in 0..5000 {
            *counts.entry(made(Task::Dyck1, 6, index).0).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 5);
        assert!(counts.values().all(|n| (850..1150).contains(n)), "{counts:?}");
    }

    #[test]
    fn parts_have_their_lengths_and_held_out_ones_no_repeats_of_single_strings() {
        let strings = of(Task::AnBnCn);
        let set = dataset(&strings);
        let contexts = |p: Part| super::super::contexts(set.split(p));
        assert_eq!(PARTS.map(contexts), [100, 10, 3, 10]);
        assert_eq!(PARTS.map(|p| set.split(p).context), [30, 30, 96, 60]);
        assert_eq!(dataset(&strings).fingerprint, set.fingerprint);
        let other = Generated { examples: 101, ..strings };
        assert_ne!(dataset(&other).fingerprint, set.fingerprint);
    }
}
