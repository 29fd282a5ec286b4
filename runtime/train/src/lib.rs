//! Training: data, optimisers as graphs, the loop, run folders and checkpoints, sampling, sweeps, claims.
//! Nothing here prints; an observer is told what happens.

pub mod claims;
pub mod data;
pub mod generate;
pub mod initialise;
pub mod optimizer;
pub mod problem;
pub mod run;
pub mod schedule;
pub mod sweep;
