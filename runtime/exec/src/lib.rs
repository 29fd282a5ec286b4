//! Tensors, executors, the reference interpreter, random streams and tensor files.

pub mod backend;
pub mod files;
pub mod init;
pub mod interp;
pub mod memory;
pub mod ports;
pub mod rng;
pub mod tensor;

pub use backend::{Backend, Bindings, Draw, ExecError, Executable, Memory, Options, Store};
pub use interp::{Interpreter, evaluate};
pub use tensor::{Data, Dim, Tensor};
