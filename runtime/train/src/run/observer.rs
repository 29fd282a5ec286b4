//! What a run tells to whoever watches it.

use super::evaluate::Evaluation;
use crate::claims::Outcome;
use crate::data::Part;
use std::path::PathBuf;

/// Told what happens, in order, on the thread that trains.
pub trait Observer {
    /// Something happened.
    fn on(&mut self, event: &Event<'_>);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on(&mut self, _event: &Event<'_>) {}
}

/// What happens in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The first step is next.
    Started {
        /// The experiment.
        experiment: &'a str,
        /// Number of parameters.
        parameters: u64,
        /// Steps already taken.
        step: u64,
        /// Steps of the budget.
        steps: u64,
        /// Bytes that all compiled graphs and the store need.
        memory: u64,
    },
    /// Something that is worth a look and stops nothing.
    Warning(&'a str),
    /// A step was taken.
    Step {
        /// Which, counted from 1.
        report: &'a StepReport,
        /// Steps of the budget.
        steps: u64,
    },
    /// A part of the data was evaluated on.
    Evaluated {
        /// After which step.
        step: u64,
        /// The part.
        part: Part,
        /// What was measured.
        result: &'a Evaluation,
        /// Whether this is the lowest validation loss so far.
        best: bool,
    },
    /// A checkpoint is on disk.
    Saved {
        /// Its step.
        step: u64,
        /// Where.
        path: &'a PathBuf,
    },
    /// What the run goes on until holds; it ends.
    Reached {
        /// After which step.
        step: u64,
        /// Seconds of steps and evaluations so far.
        seconds: f64,
    },
    /// A claim was checked.
    Claim(&'a Outcome),
}

/// One step.
#[derive(Clone, PartialEq, Debug)]
pub struct StepReport {
    /// Counted from 1.
    pub step: u64,
    /// Loss before the step, averaged over the batch.
    pub loss: f64,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// Other metrics of the training graph.
    pub metrics: Vec<(String, f64)>,
    /// Tokens of the step over its duration.
    pub tokens_per_second: f64,
    /// Seconds spent in steps so far, earlier processes of a resumed run included.
    pub seconds: f64,
    /// Why the step was left out, where it was.
    pub skipped: Option<String>,
}
