//! ogive's graph: named-axis intermediate representation and everything that is done to it before code is generated.
//! Knows nothing of the language and of devices.
#![warn(missing_docs)]

pub mod autodiff;
pub mod batch;
pub mod build;
pub mod cost;
pub mod cse;
pub mod dce;
pub mod decompose;
pub mod distribute;
pub mod draw;
pub mod entity;
pub mod expand;
pub mod factor;
mod fold;
pub mod formula;
pub mod fuse;
pub mod graph;
pub mod hoist;
pub mod infer;
pub mod kernel;
mod lex;
pub mod load;
pub mod lookup;
pub mod memory;
pub mod op;
pub mod parallel;
pub mod parse;
pub mod part;
pub mod pipeline;
pub mod plan;
mod positions;
pub mod products;
pub mod recognise;
pub mod recompute;
mod rewrite;
pub mod route;
pub mod sample;
pub mod schedule;
pub mod segment;
pub mod shape;
pub mod simplify;
pub mod sink;
pub mod stream;
pub mod text;
pub mod totals;
pub mod transition;
pub mod truncate;
pub mod unroll;
pub mod verify;

pub use build::Builder;
pub use entity::{AxisId, Value};
pub use graph::{Axis, Graph, Node, Origin, Output, Region};
pub use op::{Attention, Distribution, Loop, LoopKind, MapFn, Op, Port, Random, ReduceFn, Scalar};
pub use shape::{DType, Shape, Ty};
