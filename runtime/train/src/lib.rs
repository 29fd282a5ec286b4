//! Training: data, optimisers as graphs, the loop, run folders and checkpoints, sampling, sweeps, claims.
//! Nothing here prints; an observer is told what happens.

pub mod data;
