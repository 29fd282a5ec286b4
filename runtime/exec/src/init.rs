//! First values of parameters: a function of the run's seed, the parameter's name, its sizes and its initialiser, whatever else the
//! model holds.
//!
//! Element e (row-major) takes its number from the stream of site `hash(name)` at step 0, see [`crate::rng`]; a truncated normal takes
//! attempt 0, 1, ... of that stream until one lies within two standard deviations.

use crate::backend::Draw;
use crate::rng::{Stream, hash};
use crate::tensor::{Data, Dim, Tensor};

/// Standard deviation of a standard normal variable given that it lies within -2 ..= 2.
const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

/// What a parameter's elements are drawn from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// All elements the same.
    Constant(f64),
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Normal with mean 0, cut off at two standard deviations and scaled such that `std` is the standard deviation of what is left.
    TruncatedNormal {
        /// Standard deviation of the result.
        std: f64,
    },
    /// Uniform in `lo .. hi`.
    Uniform {
        /// Lower bound.
        lo: f64,
        /// Upper bound.
        hi: f64,
    },
}

/// An initialiser with all its numbers known.
#[derive(Clone, PartialEq, Debug)]
pub struct Init {
    /// Distribution of the elements.
    pub kind: Kind,
    /// Positions among the tensor's dims: all vectors along these dims jointly are scaled to one common norm, such that the standard
    /// deviation over all elements stays. Empty for none.
    pub equal_norms: Vec<usize>,
    /// Leading dims that count instances (`depth` of a stack): norms and deviation are those of each instance.
    pub stacks: usize,
}

impl Init {
    /// An initialiser without further steps.
    pub fn new(kind: Kind) -> Self {
        Init { kind, equal_norms: Vec::new(), stacks: 0 }
    }

    /// Zeros.
    pub fn zeros() -> Self {
        Self::new(Kind::Constant(0.0))
    }

    /// Ones.
    pub fn ones() -> Self {
        Self::new(Kind::Constant(1.0))
    }

    /// Uniform with variance `2 / (fan_in + fan_out)` (Glorot and Bengio, 2010).
    pub fn xavier_uniform(fan_in: f64, fan_out: f64) -> Self {
        let bound = (6.0 / (fan_in + fan_out)).sqrt();
        Self::new(Kind::Uniform { lo: -bound, hi: bound })
    }

    /// The f32 tensor of a parameter.
    pub fn fill(&self, name: &str, dims: Vec<Dim>, seed: u64) -> Tensor {
        let count: usize = dims.iter().map(|d| d.size).product();
        let source = Numbers::new(self.kind, name, seed);
        let data = if self.equal_norms.is_empty() {
            (0..count).map(|e| source.at(e as u64) as f32).collect()
        } else {
            let sizes: Vec<usize> = dims.iter().map(|d| d.size).collect();
            let mut all: Vec<f64> = (0..count).map(|e| source.at(e as u64)).collect();
            let each = sizes.iter().skip(self.stacks).product::<usize>().max(1);
            let over = |dim| self.equal_norms.contains(&(dim + self.stacks));
            all.chunks_mut(each).for_each(|instance| equalise(instance, &sizes[self.stacks.min(sizes.len())..], over));
            all.iter().map(|&x| x as f32).collect()
        };
        Tensor { dims, data: Data::F32(data) }
    }
}

struct Numbers {
    kind: Kind,
    draw: Draw,
    site: u64,
    first: Stream,
}

impl Numbers {
    fn new(kind: Kind, name: &str, seed: u64) -> Self {
        let (draw, site) = (Draw { seed, step: 0 }, hash(name));
        Numbers { kind, draw, site, first: Stream::new(draw, site, &[0]) }
    }

    fn at(&self, element: u64) -> f64 {
        match self.kind {
            Kind::Constant(c) => c,
            Kind::Normal { std } => std * self.first.normal(element),
            Kind::TruncatedNormal { std } => std / TRUNCATED_STD * self.truncated(element),
            Kind::Uniform { lo, hi } => lo + (hi - lo) * f64::from(self.first.uniform(element)),
        }
    }

    fn truncated(&self, element: u64) -> f64 {
        let mut number = self.first.normal(element);
        let mut attempt = 0;
        while number.abs() > 2.0 {
            attempt += 1;
            number = Stream::new(self.draw, self.site, &[attempt]).normal(element);
        }
        number
    }
}

/// Scales all vectors along the dims chosen by `over` to one norm and keeps the standard deviation of the whole.
fn equalise(elements: &mut [f64], sizes: &[usize], over: impl Fn(usize) -> bool) {
    let before = deviation(elements);
    // Row-major number of an element's vector: its position in the dims that are not normed over.
    let vector = |element: usize| {
        let (mut rest, mut number, mut stride) = (element, 0, 1);
        for (dim, &size) in sizes.iter().enumerate().rev() {
            if !over(dim) {
                number += rest % size * stride;
                stride *= size;
            }
            rest /= size;
        }
        number
    };
    let vectors = sizes.iter().enumerate().filter(|(dim, _)| !over(*dim)).map(|(_, &size)| size).product();
    let mut squares = vec![0.0; vectors];
    elements.iter().enumerate().for_each(|(e, x)| squares[vector(e)] += x * x);
    for (e, x) in elements.iter_mut().enumerate() {
        let square: f64 = squares[vector(e)];
        if square > 0.0 {
            *x /= square.sqrt();
        }
    }
    let after = deviation(elements);
    let mean_norm = squares.iter().map(|s| s.sqrt()).sum::<f64>() / squares.len().max(1) as f64;
    // Elements that are all the same have no deviation to keep: their mean norm stays.
    let scale = if after > 0.0 && before > 0.0 { before / after } else { mean_norm };
    elements.iter_mut().for_each(|x| *x *= scale);
}

fn deviation(elements: &[f64]) -> f64 {
    let n = elements.len().max(1) as f64;
    let mean = elements.iter().sum::<f64>() / n;
    (elements.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(sizes: &[usize]) -> Vec<Dim> {
        sizes.iter().enumerate().map(|(i, &size)| Dim { name: format!("d{i}"), size }).collect()
    }

    fn values(init: &Init, sizes: &[usize]) -> Vec<f64> {
        init.fill("w", dims(sizes), 3).to_f64()
    }

    #[test]
    #[cfg_attr(miri, ignore = "tens of thousands of numbers, where each instruction is interpreted")]
    fn the_deviation_is_the_one_asked_for() {
        let bound = (6.0f64 / 100.0).sqrt();
        let cases = [
            (Init::new(Kind::Normal { std: 0.5 }), 0.5),
            (Init::new(Kind::TruncatedNormal { std: 0.5 }), 0.5),
            (Init::new(Kind::Uniform { lo: -1.0, hi: 1.0 }), 1.0 / 3f64.sqrt()),
            (Init::xavier_uniform(40.0, 60.0), bound / 3f64.sqrt()),
        ];
        for (init, std) in cases {
            let found = deviation(&values(&init, &[200, 100]));
            assert!((found / std - 1.0).abs() < 0.02, "{init:?}: {found} for {std}");
        }
        assert_eq!(values(&Init::ones(), &[2]), [1.0, 1.0]);
        assert_eq!(values(&Init::zeros(), &[2]), [0.0, 0.0]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "tens of thousands of numbers, where each instruction is interpreted")]
    fn a_truncated_normal_ends_at_two_deviations() {
        let limit = 2.0 / TRUNCATED_STD + 1e-6;
        let found = values(&Init::new(Kind::TruncatedNormal { std: 1.0 }), &[20_000]);
        assert!(found.iter().all(|x| x.abs() <= limit));
        assert!(found.iter().any(|x| x.abs() > 0.95 * limit));
    }

    #[test]
    fn the_constant_of_truncation_is_right() {
        // Variance of a standard normal cut at 2: 1 - 4 density(2) / (2 distribution(2) - 1).
        let density = (-2.0f64).exp() / std::f64::consts::TAU.sqrt();
        let variance = 1.0 - 4.0 * density / libm::erf(2.0 / 2f64.sqrt());
        assert!((variance.sqrt() - TRUNCATED_STD).abs() < 1e-15);
    }

    #[test]
    fn equal_norms_keeps_the_deviation_of_each_instance() {
        let plain = Init { stacks: 1, ..Init::new(Kind::Normal { std: 0.1 }) };
        let equal = Init { equal_norms: vec![1], ..plain.clone() };
        let (rows, columns) = (16, 5);
        let (before, after) = (values(&plain, &[2, rows, columns]), values(&equal, &[2, rows, columns]));
        for (before, after) in before.chunks(rows * columns).zip(after.chunks(rows * columns)) {
            assert!((deviation(before) / deviation(after) - 1.0).abs() < 1e-5);
            let norms: Vec<f64> = (0..columns).map(|c| (0..rows).map(|r| after[r * columns + c].powi(2)).sum::<f64>().sqrt()).collect();
            assert!(norms.iter().all(|n| (n / norms[0] - 1.0).abs() < 1e-5), "{norms:?}");
        }
        let flat = Init { equal_norms: vec![0], ..Init::ones() };
        assert_eq!(values(&flat, &[4, 2]), [1.0; 8]);
    }

    #[test]
    fn a_parameter_depends_on_seed_and_name_alone() {
        let init = Init::new(Kind::Normal { std: 1.0 });
        let at = |name: &str, seed| init.fill(name, dims(&[8]), seed);
        assert_eq!(at("a.w", 1), at("a.w", 1));
        assert_ne!(at("a.w", 1), at("b.w", 1));
        assert_ne!(at("a.w", 1), at("a.w", 2));
    }
}
