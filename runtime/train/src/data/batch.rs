//! Contexts and batches. Which contexts a training step sees is a function of seed and step, so a resumed run sees the same.

use super::Split;
use ogive_runtime::{Bindings, Data, Dim, Draw, Tensor, rng};

/// Number of whole, non-overlapping contexts of a split. The token after each is within the split.
pub fn contexts(split: &Split, context: u64) -> u64 {
    (split.tokens.len() as u64).saturating_sub(1) / context
}

/// The batch of a training step: contexts that start at uniform positions of the split.
///
/// `step` counts from 0; `first` is the position of the batch's first context among those of the step (micro-batches).
/// Result: `tokens` and, one position on, `next.tokens`; i32 `[batch, seq]`.
pub fn training_batch(split: &Split, context: u64, batch: u64, seed: u64, step: u64, first: u64) -> Bindings {
    let starts = (split.tokens.len() as u64).saturating_sub(context);
    let stream = rng::Stream::new(Draw { seed, step }, rng::hash("data.train"), &[]);
    let start = |i: u64| {
        let words = stream.block(first + i);
        let number = u64::from(words[0]) << 32 | u64::from(words[1]);
        ((u128::from(number) * u128::from(starts)) >> 64) as usize
    };
    bindings(split, context, batch, start)
}

/// The batch of contexts `first ..` of a split, in the split's order; as [`training_batch`].
pub fn evaluation_batch(split: &Split, context: u64, batch: u64, first: u64) -> Bindings {
    bindings(split, context, batch, |i| ((first + i) * context) as usize)
}

fn bindings(split: &Split, context: u64, batch: u64, start: impl Fn(u64) -> usize) -> Bindings {
    let (batch, seq) = (batch as usize, context as usize);
    let mut window = vec![0; seq + 1];
    let (mut tokens, mut next) = (Vec::with_capacity(batch * seq), Vec::with_capacity(batch * seq));
    for i in 0..batch as u64 {
        split.tokens.read(start(i), &mut window);
        tokens.extend_from_slice(&window[..seq]);
        next.extend_from_slice(&window[1..]);
    }
    let dims = vec![Dim { name: "batch".into(), size: batch }, Dim { name: "seq".into(), size: seq }];
    let tensor = |values| Tensor { dims: dims.clone(), data: Data::I32(values) };
    Bindings::from([("tokens".into(), tensor(tokens)), ("next.tokens".into(), tensor(next))])
}
