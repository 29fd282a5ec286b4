//! The `.arch` language: from text to a typed, instantiated program and from there to a graph.

pub mod check;
pub mod codes;
pub mod diag;
pub mod elaborate;
pub mod explain;
pub mod fmt;
pub mod hir;
pub mod lower;
pub mod parse;
pub mod render;
mod resolve;
pub mod source;
pub mod spec;
pub mod suggest;
pub mod syntax;

pub use diag::{Diagnostic, Diagnostics, Label, Severity};
pub use elaborate::Settings;
pub use fmt::format;
pub use source::{FileId, Source, Sources, Span};
pub use spec::{ItemId, Loader, NoImports, Spec};
