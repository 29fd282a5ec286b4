//! Contexts and batches. Which contexts a training step sees is a function of seed and step, so a resumed run sees the same.

use super::{Dataset, Part, Split, Target};
use ogive_lang::hir::experiment::Label;
use ogive_runtime::{Bindings, Data, Dim, Draw, Tensor, rng};

/// Number of whole, non-overlapping contexts of a split. The token after each is within the split, unless its strings are labelled.
pub fn contexts(split: &Split) -> u64 {
    let after = u64::from(split.target.is_none());
    (split.tokens.len() as u64).saturating_sub(after) / split.context.max(1)
}

/// The batch of a training step: contexts that start at uniform positions of the training part, or uniform ones of its strings.
///
/// `step` counts from 0; `first` is the position of the batch's first context among those of the step (micro-batches).
/// Result, i32 `[batch, seq]`: the tokens by the name of the model's input and, one position on, `next.tokens`; of labelled strings
/// `data.target` instead of the latter, and bool `data.counted`.
pub fn training_batch(data: &Dataset, batch: u64, seed: u64, step: u64, first: u64) -> Bindings {
    let split = data.split(Part::Training);
    let (starts, apart) = match split.target {
        None => ((split.tokens.len() as u64).saturating_sub(split.context), 1),
        Some(_) => (contexts(split), split.context),
    };
    let stream = rng::Stream::new(Draw { seed, step }, rng::hash("data.train"), &[]);
    let start = |i: u64| {
        let words = stream.block(first + i);
        let number = u64::from(words[0]) << 32 | u64::from(words[1]);
        (((u128::from(number) * u128::from(starts)) >> 64) as u64 * apart) as usize
    };
    bindings(data, split, batch, start)
}

/// The batch of contexts `first ..` of a part, in the part's order; as [`training_batch`].
pub fn evaluation_batch(data: &Dataset, part: Part, batch: u64, first: u64) -> Bindings {
    let split = data.split(part);
    bindings(data, split, batch, |i| ((first + i) * split.context) as usize)
}

fn bindings(data: &Dataset, split: &Split, batch: u64, start: impl Fn(u64) -> usize) -> Bindings {
    let (batch, seq) = (batch as usize, split.context as usize);
    let dims = vec![Dim { name: "batch".into(), size: batch }, Dim { name: "seq".into(), size: seq }];
    let tensor = |data| Tensor { dims: dims.clone(), data };
    let starts: Vec<usize> = (0..batch as u64).map(start).collect();
    if let Some(target) = &split.target {
        let tokens = starts.iter().flat_map(|&s| window(split, s, seq)).collect();
        let (classes, counted) = labels(target, &starts, seq);
        return Bindings::from([
            (data.input.clone(), tensor(Data::I32(tokens))),
            (format!("data.{}", Label::Target.name()), tensor(Data::I32(classes))),
            (format!("data.{}", Label::Counted.name()), tensor(Data::Bool(counted))),
        ]);
    }
    let (mut tokens, mut next) = (Vec::with_capacity(batch * seq), Vec::with_capacity(batch * seq));
    for start in starts {
        let window = window(split, start, seq + 1);
        tokens.extend_from_slice(&window[..seq]);
        next.extend_from_slice(&window[1..]);
    }
    Bindings::from([(data.input.clone(), tensor(Data::I32(tokens))), (format!("next.{}", data.input), tensor(Data::I32(next)))])
}

fn window(split: &Split, start: usize, len: usize) -> Vec<i32> {
    let mut out = vec![0; len];
    split.tokens.read(start, &mut out);
    out
}

/// Classes, 0 where there is none, and where there is one.
pub(super) fn labels(target: &Target, starts: &[usize], seq: usize) -> (Vec<i32>, Vec<u8>) {
    let mut row = vec![0; seq];
    let (mut classes, mut counted) = (Vec::new(), Vec::new());
    for &start in starts {
        target.classes.read(start, &mut row);
        let inside = |c: i32| u32::try_from(c).is_ok_and(|c| c < target.outside);
        classes.extend(row.iter().map(|&c| if inside(c) { c } else { 0 }));
        counted.extend(row.iter().map(|&c| u8::from(inside(c))));
    }
    (classes, counted)
}
