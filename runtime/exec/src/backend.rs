//! What every executor promises: compile a graph once, run it many times against a store of persistent tensors.

use crate::tensor::Tensor;
use ogive_graph::{Graph, Origin};
use std::collections::BTreeMap;

/// Tensors that outlive a run, by port name: parameters, optimiser state, moving averages. Dims are in port order.
#[derive(Clone, Default, Debug)]
pub struct Store {
    /// Name to tensor.
    pub tensors: BTreeMap<String, Tensor>,
}

/// Tensors given for one run, by port name. Dims are in port order.
pub type Bindings = BTreeMap<String, Tensor>;

/// Keys of the counter-based random numbers of one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Draw {
    /// The experiment's seed.
    pub seed: u64,
    /// The optimiser step (and micro-batch, where there are several).
    pub step: u64,
}

/// How to compile.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads. Results do not depend on it.
    pub threads: usize,
    /// Verify the graph after every pass.
    pub verify: bool,
    /// Vector width to use: `None` picks the best that the CPU has; else "avx512", "avx2" or "portable".
    pub isa: Option<String>,
    /// Every scan one step after the other, also where only its end is read.
    pub step_by_step: bool,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Options { threads, verify: cfg!(debug_assertions), isa: None, step_by_step: false }
    }
}

/// Bytes that a compiled graph needs, known before it runs.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Arena: every intermediate value, gradients included.
    pub arena: u64,
    /// Store: parameters and optimiser state.
    pub store: u64,
    /// Inputs and outputs.
    pub ports: u64,
    /// Per-thread scratch.
    pub scratch: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.arena + self.store + self.ports + self.scratch
    }
}

/// Why a graph does not compile or run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// A port without a tensor.
    #[error("no tensor for `{name}`, which has dims {dims}")]
    Missing { name: String, dims: String },
    /// A tensor that does not fit its port.
    #[error("`{name}` is {expected}; the tensor given is {found}")]
    Mismatch { name: String, expected: String, found: String },
    /// A position outside its axis.
    #[error("position {position} lies outside `{axis}`, which has {size} (in `{}` line {})", .origin.path, .origin.line)]
    OutOfRange { axis: String, position: i64, size: u64, origin: Origin },
    /// More memory than there is.
    #[error("needs {needed} bytes; {available} are available")]
    Memory { needed: u64, available: u64 },
    /// The back end cannot do this.
    #[error("the {backend} back end cannot {what} (in `{}` line {})", .origin.path, .origin.line)]
    Unsupported { backend: &'static str, what: String, origin: Origin },
    /// A fault in ogive.
    #[error("a fault in ogive, not in your spec: {0}")]
    Internal(String),
}

/// Compiles graphs for one kind of device.
pub trait Backend {
    /// `interp`, `cpu`, ...
    fn name(&self) -> &'static str;

    /// Compiles a graph. Float ports are f32 unless the graph says f64.
    ///
    /// # Errors
    /// Unsupported operations; not enough memory.
    fn compile(&self, graph: &Graph, options: &Options) -> Result<Box<dyn Executable>, ExecError>;
}

/// A compiled graph.
pub trait Executable {
    /// Memory it needs, exact for a compiling back end.
    fn memory(&self) -> Memory;

    /// One run: reads `store` and `inputs`, keeps the outputs, writes updates into `store`. A compiling back end allocates nothing here
    /// after the first run. Inputs it does not know are ignored.
    ///
    /// # Errors
    /// Missing or ill-shaped tensors, positions out of range.
    fn run(&mut self, store: &mut Store, inputs: &Bindings, draw: Draw) -> Result<(), ExecError>;

    /// An output of the last run that is no update, dims in port order.
    fn output(&self, name: &str) -> Option<&Tensor>;
}
