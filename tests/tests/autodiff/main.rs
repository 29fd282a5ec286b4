//! Derivatives of small architectures built by hand, and of graphs drawn at random, in both modes and twice.

mod check;
mod layers;
mod loops;
mod operations;
mod rtrl;
mod samples;
