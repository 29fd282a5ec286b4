//! The loop and what it leaves behind: run folder, metrics, TensorBoard events, checkpoints.

pub mod checkpoint;
mod error;
mod evaluate;
mod fit;
pub mod folder;
mod health;
mod metrics;
mod observer;
mod routing;
mod small;
pub mod tensorboard;
mod trainer;

pub use error::{Place, RunError};
pub use evaluate::{Evaluation, Evaluator};
pub use folder::{DataLock, Lock, RunFolder, StoredFiles, read_lock, read_spec, read_tokenizer};
pub use observer::{Event, Observer, Silent, StepReport};
pub use routing::{Group, Routing};
pub use trainer::{End, Finished, RunOptions, Trainer};
