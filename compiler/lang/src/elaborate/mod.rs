//! From syntax to HIR: dims are bound, blocks instantiated, every expression typed. All independent errors are reported.
//!
//! A [`body::Body`] holds one block's scope and nodes while it is elaborated, [`context::Cx`] what all bodies share;
//! the rules are methods of [`body::Eval`], which borrows both, in one file for each part of the language.

mod arguments;
mod bind;
mod body;
mod builtins;
mod call;
mod cell;
mod context;
mod declarations;
mod dims;
mod equations;
mod experiment;
mod expr;
mod finish;
mod fixed;
mod index;
mod items;
mod lift;
mod objective;
mod operators;
mod order;
mod pairs;
mod params;
mod rearrange;
mod root;
mod scan;
mod select;
mod separable;
pub mod settings;
mod table;
mod value;

pub use declarations::declarations;
pub use experiment::{experiment, sweep};
pub use root::{block, block_for_tensors, open_block};
pub use settings::Settings;
