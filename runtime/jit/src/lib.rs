//! The CPU back end: row programs compiled by cranelift around precompiled tile primitives, contractions by `gemm`.
#![allow(unsafe_code, reason = "machine code, raw tensor memory and vector instructions")]

mod actions;
pub mod attention;
mod codegen;
mod executor;
pub mod gemm;
mod kernels;
pub mod pool;
pub mod primitives;
mod room;
mod routed;
mod solve;
mod state;

pub use executor::{Cpu, Timing, Trace, code, plan, processor_time};
