//! The training part as streams, of which every step takes the next segment. What a step sees is a function of its number, so a resumed
//! run goes on where it was.
//!
//! A stream of text is the text from some place on, and from its start again after its end; the places lie evenly apart. A stream of
//! labelled strings is the strings one behind the other, without what pads them, and from the first again after the last.

use super::{Dataset, Part, Split, Target, Tokens, batch};
use ogive_graph::stream::RESET;
use ogive_lang::hir::experiment::Label;
use ogive_runtime::{Bindings, Data, Dim, Draw, Tensor, rng};

/// Streams over the training part.
#[derive(Clone, Debug)]
pub struct Streams {
    /// Positions of all that is read before it is read again.
    length: u64,
    /// Where each stream starts.
    starts: Vec<u64>,
    strings: Option<Strings>,
}

/// Labelled strings one behind the other.
#[derive(Clone, Debug)]
struct Strings {
    symbols: Tokens,
    target: Target,
    /// For each position, whether a string begins there.
    begins: Vec<bool>,
}

impl Strings {
    fn of(split: &Split, target: &Target, padding: u32) -> Strings {
        let (mut symbols, mut classes, mut begins) = (Vec::new(), Vec::new(), Vec::new());
        let context = split.context as usize;
        let (mut row, mut labels) = (vec![0; context], vec![0; context]);
        for i in 0..batch::contexts(split) as usize {
            split.tokens.read(i * context, &mut row);
            target.classes.read(i * context, &mut labels);
            let own = row.iter().rposition(|&s| s != padding as i32).map_or(0, |last| last + 1);
            let number = |x: &i32| u32::try_from(*x).unwrap_or(0);
            symbols.extend(row[..own].iter().map(number));
            classes.extend(labels[..own].iter().map(number));
            begins.extend((0..own).map(|at| at == 0));
        }
        let target = Target { classes: Tokens::memory(classes), outside: target.outside };
        Strings { symbols: Tokens::memory(symbols), target, begins }
    }
}

impl Streams {
    /// As many streams as `count`. Of labelled strings the seed chooses with which string the first begins.
    pub fn new(data: &Dataset, count: u64, seed: u64) -> Streams {
        let split = data.split(Part::Training);
        let Some(target) = &split.target else {
            let length = (split.tokens.len() as u64).saturating_sub(1).max(1);
            return Streams { length, starts: (0..count).map(|r| share(r, count, length)).collect(), strings: None };
        };
        let padding = u32::try_from(data.vocab.saturating_sub(1)).unwrap_or(u32::MAX);
        let strings = Strings::of(split, target, padding);
        let begins: Vec<u64> = strings.begins.iter().zip(0..).filter(|(begins, _)| **begins).map(|(_, at)| at).collect();
        let many = begins.len() as u64;
        let words = rng::Stream::new(Draw { seed, step: 0 }, rng::hash("data.stream"), &[]).block(0);
        let first = u64::from(words[0]) % many.max(1);
        let start = |r| begins.get(((first + share(r, count, many)) % many.max(1)) as usize).copied().unwrap_or(0);
        Streams { length: (strings.begins.len() as u64).max(1), starts: (0..count).map(start).collect(), strings: Some(strings) }
    }

    /// Segment `index`, counted from 0, of `segment` positions, of every stream: what [`super::training_batch`] gives, i32 `[batch, seq]`,
    /// and bool [`RESET`], true at the first position of a stream, of a text, and of every string.
    pub fn segment(&self, data: &Dataset, index: u64, segment: u64) -> Bindings {
        let seq = segment as usize;
        let dims = vec![Dim { name: "batch".into(), size: self.starts.len() }, Dim { name: "seq".into(), size: seq }];
        let tensor = |data| Tensor { dims: dims.clone(), data };
        let passed = index.saturating_mul(segment);
        let (mut tokens, mut labels, mut counted, mut reset) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for &start in &self.starts {
            let mut left = seq;
            let mut at = (start + passed % self.length) % self.length;
            let first = reset.len();
            while left > 0 {
                let here = left.min((self.length - at) as usize);
                match &self.strings {
                    Some(strings) => {
                        tokens.extend(read(&strings.symbols, at, here));
                        let (classes, inside) = batch::labels(&strings.target, &[at as usize], here);
                        labels.extend(classes);
                        counted.extend(inside);
                        reset.extend(strings.begins[at as usize..at as usize + here].iter().map(|&b| u8::from(b)));
                    }
                    None => {
                        let split = data.split(Part::Training);
                        let window = read(&split.tokens, at, here + 1);
                        tokens.extend_from_slice(&window[..here]);
                        labels.extend_from_slice(&window[1..]);
                        reset.extend((0..here as u64).map(|i| u8::from(at + i == 0)));
                    }
                }
                left -= here;
                at = 0;
            }
            if passed == 0 {
                reset[first] = 1;
            }
        }
        let mut all = Bindings::from([(data.input.clone(), tensor(Data::I32(tokens))), (RESET.to_owned(), tensor(Data::Bool(reset)))]);
        if self.strings.is_some() {
            all.insert(format!("data.{}", Label::Target.name()), tensor(Data::I32(labels)));
            all.insert(format!("data.{}", Label::Counted.name()), tensor(Data::Bool(counted)));
        } else {
            all.insert(format!("next.{}", data.input), tensor(Data::I32(labels)));
        }
        all
    }
}

/// The `r`-th of `count` places that divide `length` evenly.
fn share(r: u64, count: u64, length: u64) -> u64 {
    ((u128::from(r) * u128::from(length)) / u128::from(count.max(1))) as u64
}

fn read(tokens: &Tokens, start: u64, len: usize) -> Vec<i32> {
    let mut out = vec![0; len];
    tokens.read(start as usize, &mut out);
    out
}
