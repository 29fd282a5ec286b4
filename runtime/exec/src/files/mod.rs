//! Named tensors in files, in the safetensors format.
//!
//! A file is untrusted: its header is bounded before it is parsed, every size it states is checked against the file's length before
//! anything is allocated for it, and elements are read in pieces straight into their final place. The dims' names are in the metadata
//! entry [`DIMS`], a JSON object from tensor name to names; files of other programs lack it, and their dims have no names.

mod read;
mod write;

pub use read::{Entry, Reader, read};
pub use write::{replace, sync_folder, write};

use std::path::{Path, PathBuf};

/// Metadata entry with the names of dims.
pub const DIMS: &str = "ogive.dims";

/// Largest header that is read, in bytes.
pub const MAX_HEADER: u64 = 8 << 20;

/// Most commas in a header that is read: bounds what its parsed form takes.
pub const MAX_COMMAS: usize = 1 << 18;

/// Why a tensor file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system says no.
    #[error("cannot {what} `{}`: {source}", .path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    /// Not a safetensors file, or a damaged one.
    #[error("`{}` is not a whole safetensors file: {why}", .path.display())]
    Format { path: PathBuf, why: String },
    /// No tensor of that name.
    #[error("`{}` has no tensor `{name}`{}", .path.display(), nearest(.near))]
    Missing { path: PathBuf, name: String, near: Option<String> },
    /// Elements of another type than is asked for.
    #[error("`{name}` in `{}` has elements of type {found}, which cannot be read as {wanted}", .path.display())]
    DType { path: PathBuf, name: String, found: String, wanted: &'static str },
    /// An integer that i32 does not hold.
    #[error("`{name}` in `{}` holds {value} at element {element}, which does not fit i32", .path.display())]
    Integer { path: PathBuf, name: String, element: usize, value: i128 },
    /// A tensor whose dims and elements disagree.
    #[error("tensor `{name}` has {elements} elements and dims {dims}")]
    Tensor { name: String, elements: usize, dims: String },
}

fn nearest(near: &Option<String>) -> String {
    near.as_ref().map_or_else(String::new, |n| format!("; it has `{n}`"))
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { what, path, source }
}
