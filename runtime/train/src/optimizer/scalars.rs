//! The scalar inputs of a training step, computed on the host in f64.

use crate::schedule;
use ogive_graph::DType;
use ogive_lang::hir::experiment::{Optimizer, OptimizerKind};
use ogive_runtime::{Bindings, Data, Tensor};

pub(super) const RATE: &str = "lr";
pub(super) const CORRECTIONS: [&str; 2] = ["adam.correction1", "adam.correction2"];
pub(super) const EMA: &str = "ema.decay";

/// What changes from step to step besides data.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scalars {
    /// Learning rate.
    pub rate: f64,
    /// `1 / (1 - beta^t)` for both betas.
    pub corrections: [f64; 2],
    /// Decay of the moving average: `min(ema, (1 + t) / (10 + t))`, so that the first weights are soon forgotten.
    pub ema: f64,
}

impl Scalars {
    /// Those of a step, counted from 1, out of `steps`.
    pub fn of(optimizer: &Optimizer, step: u64, steps: u64) -> Scalars {
        let t = step as f64;
        let correction = |beta: f64| 1.0 / (1.0 - beta.powf(t));
        Scalars {
            rate: schedule::rate(&optimizer.lr, step, steps),
            corrections: optimizer.betas.map(correction),
            ema: optimizer.ema.unwrap_or(0.0).min((1.0 + t) / (10.0 + t)),
        }
    }

    /// Adds them to the inputs of a run.
    pub fn bind(&self, optimizer: &Optimizer, dtype: DType, inputs: &mut Bindings) {
        let scalar = |x: f64| Tensor::scalar(if dtype == DType::F64 { Data::F64(vec![x]) } else { Data::F32(vec![x as f32]) });
        inputs.insert(RATE.into(), scalar(self.rate));
        if optimizer.kind != OptimizerKind::Sgd {
            for (name, value) in CORRECTIONS.iter().zip(self.corrections) {
                inputs.insert((*name).into(), scalar(value));
            }
        }
        if optimizer.ema.is_some() {
            inputs.insert(EMA.into(), scalar(self.ema));
        }
    }
}
