//! Tensors, executors, the reference interpreter, random streams and tensor files.

pub mod backend;
pub mod tensor;

pub use backend::{Backend, Bindings, Draw, ExecError, Executable, Memory, Options, Store};
pub use tensor::{Data, Dim, Tensor};
