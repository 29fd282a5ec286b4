//! The CPU back end: row programs compiled by cranelift around precompiled tile primitives, contractions by `gemm`.
#![allow(unsafe_code, reason = "machine code, raw tensor memory and vector instructions")]

pub mod attention;
pub mod gemm;
pub mod pool;
mod codegen;
mod executor;
mod kernels;
pub mod primitives;

pub use executor::{Cpu, Timing, Trace, processor_time, code, plan};
