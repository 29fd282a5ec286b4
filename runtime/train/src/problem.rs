//! What is trained: graphs, settings and data of an experiment, ready for a back end.

use crate::data::Dataset;
use ogive_graph::DType;
use ogive_lang::hir::experiment::{Budget, Claim, Every, Gradient, Optimizer};
use ogive_lang::lower::{Lowered, Parameter};
use sha2::{Digest, Sha256};

/// An experiment ready to be trained.
pub struct Problem {
    /// Its name.
    pub name: String,
    /// The forward graph with `training` true, for one micro-batch: outputs `loss` and metrics, inputs as of
    /// [`crate::data::training_batch`].
    pub training: Lowered,
    /// Gives the forward graph with `training` false for a number of contexts and of tokens in each.
    pub evaluation: Box<dyn Fn(u64, u64) -> Result<Lowered, String>>,
    /// How gradients go through time.
    pub gradient: Gradient,
    /// Where the data are read as streams: positions between two updates, for which `training` is made.
    pub segment: Option<u64>,
    /// How weights change.
    pub optimizer: Optimizer,
    /// How long.
    pub budget: Budget,
    /// What happens every so many steps.
    pub every: Vec<Every>,
    /// What must hold at an evaluation, all of it, for the run to end there.
    pub until: Vec<Claim>,
    /// What must hold at the end.
    pub claims: Vec<Claim>,
    /// What is learned from.
    pub data: Dataset,
}

impl Problem {
    /// Micro-batches of a step.
    pub fn micro_batches(&self) -> u64 {
        self.optimizer.accumulate.max(1)
    }

    /// Contexts of a micro-batch.
    pub fn micro_batch(&self) -> u64 {
        self.budget.batch / self.micro_batches()
    }

    /// Positions of an example that one step takes.
    pub fn context(&self) -> u64 {
        self.segment.unwrap_or(self.data.context)
    }

    /// Float type of the graphs.
    pub fn dtype(&self) -> DType {
        let loss = self.training.graph.outputs.iter().find(|o| o.port.name == "loss");
        loss.map_or(DType::F32, |o| self.training.graph.region.ty(o.value).dtype)
    }

    /// The parameters.
    pub fn params(&self) -> &[Parameter] {
        &self.training.params
    }

    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        self.params().iter().fold(0, |n, p| n.saturating_add(p.elements()))
    }

    /// SHA-256 of the training graph's text, in hexadecimal.
    pub fn graph_hash(&self) -> String {
        let text = ogive_graph::text::print(&self.training.graph);
        Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
    }
}
