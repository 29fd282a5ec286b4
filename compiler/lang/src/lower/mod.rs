//! From HIR to a graph, mechanically: instances are inlined where they are called, repetitions become loops.

pub mod types;

pub use types::{Binding, Dim, Listed, Listing, Lowered, Options, Parameter, listing};
