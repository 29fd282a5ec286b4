//! The loop and what it leaves behind: run folder, metrics, TensorBoard events, checkpoints.

pub mod checkpoint;
pub mod tensorboard;
