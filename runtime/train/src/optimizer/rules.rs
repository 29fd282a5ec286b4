//! Update rules: from a parameter and its (clipped) gradient to the new parameter and the new state.
//!
//! - SGD with momentum u: `v = u v + g`, `p = p - lr v`.
//! - Adam (Kingma and Ba 2015, algorithm 1): `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//!   `p = p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`.
//! - AdamW (Loshchilov and Hutter 2019, algorithm 2): Adam, and `p` shrinks by `lr * weight_decay * p`.
//!
//! Weight decay of SGD and Adam is added to the gradient: `g + weight_decay * p`.

use super::{Learned, input, scalars, stored};
use ogive_graph::{Builder, DType, MapFn, Value};
use ogive_lang::hir::experiment::{Optimizer, OptimizerKind};
use ogive_lang::lower::Parameter;

/// The scalars and settings of an update.
pub(super) struct Rule<'a> {
    optimizer: &'a Optimizer,
    dtype: DType,
    lr: Value,
    /// `1 / (1 - b1^t)` and `1 / (1 - b2^t)`.
    corrections: Option<[Value; 2]>,
}

/// States of a parameter: name in the store, old value, new value.
type States = Vec<(String, Value, Value)>;

impl<'a> Rule<'a> {
    pub(super) fn new(b: &mut Builder<'_>, optimizer: &'a Optimizer, dtype: DType) -> Self {
        let lr = input(b, scalars::RATE, dtype);
        let corrections = match optimizer.kind {
            OptimizerKind::Sgd => None,
            OptimizerKind::Adam | OptimizerKind::AdamW => Some(scalars::CORRECTIONS.map(|name| input(b, name, dtype))),
        };
        Rule { optimizer, dtype, lr, corrections }
    }

    /// Prefixes of the states of each parameter.
    pub(super) fn prefixes(optimizer: &Optimizer) -> &'static [&'static str] {
        match optimizer.kind {
            OptimizerKind::Sgd if optimizer.momentum == 0.0 => &[],
            OptimizerKind::Sgd => &["sgd.v."],
            OptimizerKind::Adam | OptimizerKind::AdamW => &["adam.m.", "adam.v."],
        }
    }

    /// The new value of a parameter, and its states.
    pub(super) fn apply(&self, b: &mut Builder<'_>, l: &Learned<'_>, value: Value, gradient: Value) -> (Value, States) {
        let decay = if decays(self.optimizer, l.param) { self.optimizer.weight_decay } else { 0.0 };
        let decoupled = self.optimizer.kind == OptimizerKind::AdamW;
        let gradient = if decay != 0.0 && !decoupled { self.plus_scaled(b, gradient, decay, value) } else { gradient };
        let (direction, states) = match self.corrections {
            None => self.sgd(b, l, gradient),
            Some(corrections) => self.adam(b, l, gradient, corrections),
        };
        let direction = if decay != 0.0 && decoupled { self.plus_scaled(b, direction, decay, value) } else { direction };
        let by = b.map(MapFn::Mul, &[self.lr, direction]);
        (b.map(MapFn::Sub, &[value, by]), states)
    }

    fn sgd(&self, b: &mut Builder<'_>, l: &Learned<'_>, gradient: Value) -> (Value, States) {
        let momentum = self.optimizer.momentum;
        if momentum == 0.0 {
            return (gradient, Vec::new());
        }
        let name = format!("sgd.v.{}", l.param.name);
        let old = stored(b, &name, &l.port.order, gradient);
        let velocity = self.plus_scaled(b, gradient, momentum, old);
        (velocity, vec![(name, old, velocity)])
    }

    fn adam(&self, b: &mut Builder<'_>, l: &Learned<'_>, gradient: Value, corrections: [Value; 2]) -> (Value, States) {
        let square = b.map(MapFn::Mul, &[gradient, gradient]);
        let mut states = Vec::new();
        let mut moment = |b: &mut Builder<'_>, prefix: &str, beta: f64, sample: Value, correction: Value| {
            let name = format!("{prefix}{}", l.param.name);
            let old = stored(b, &name, &l.port.order, sample);
            let rest = b.float(1.0 - beta, self.dtype);
            let added = b.map(MapFn::Mul, &[rest, sample]);
            let new = self.plus_scaled(b, added, beta, old);
            states.push((name, old, new));
            b.map(MapFn::Mul, &[new, correction])
        };
        let [b1, b2] = self.optimizer.betas;
        let mean = moment(b, "adam.m.", b1, gradient, corrections[0]);
        let spread = moment(b, "adam.v.", b2, square, corrections[1]);
        let root = b.map(MapFn::Sqrt, &[spread]);
        let eps = b.float(self.optimizer.eps, self.dtype);
        let below = b.map(MapFn::Add, &[root, eps]);
        (b.map(MapFn::Div, &[mean, below]), states)
    }

    /// `a + factor * x`.
    fn plus_scaled(&self, b: &mut Builder<'_>, a: Value, factor: f64, x: Value) -> Value {
        let factor = b.float(factor, self.dtype);
        let scaled = b.map(MapFn::Mul, &[factor, x]);
        b.map(MapFn::Add, &[a, scaled])
    }
}

/// Whether weight decay applies to a parameter.
fn decays(optimizer: &Optimizer, param: &Parameter) -> bool {
    let named = |patterns: &[String]| patterns.iter().any(|p| matches(p, &param.name));
    let asked = if optimizer.decay.is_empty() { param.dims.len() - param.stacked >= 2 } else { named(&optimizer.decay) };
    asked && !named(&optimizer.no_decay)
}

/// Whether a name, or its last component, fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    glob(pattern.as_bytes(), name.as_bytes()) || glob(pattern.as_bytes(), last.as_bytes())
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    (p, t) = (at + 1, from + 1);
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_fit_whole_names_and_last_components() {
        for (pattern, name) in
            [("W*", "layer.attention.Wq"), ("*.Wq", "layer.attention.Wq"), ("layer.*", "layer.bias"), ("*", "a"), ("a*c*e", "abcde")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("W*", "layer.bias"), ("W", "Wq"), ("", "a"), ("a*c", "abcd"), ("*.W", "W")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
