//! The plan: buffers with places, launches in order. All decisions are made; an executor only obeys.

mod print;

pub use print::print;

use crate::graph::Origin;
use crate::kernel::Work;
use crate::shape::DType;

/// Where a buffer lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the arena, at a byte offset.
    Arena(u64),
    /// In the local memory of the worker that runs an iteration of a loop whose iterations are apart, at a byte offset.
    Local(u64),
    /// Tensor of the store, by position in [`Plan::params`].
    Store(u32),
    /// Given tensor, by position in [`Plan::inputs`].
    Input(u32),
    /// Returned tensor, by position in [`Plan::outputs`].
    Output(u32),
}

/// Memory of one or several values.
#[derive(Clone, PartialEq, Debug)]
pub struct Buffer {
    /// What it holds, for the reader.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Number of elements.
    pub elements: u64,
    /// Where.
    pub place: Place,
    /// First and last step (in program order, loops entered once) that touch it.
    pub life: (u32, u32),
}

impl Buffer {
    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.elements * self.dtype.bytes()
    }
}

/// Address of a kernel's argument: an element of a buffer that may move with the iteration of enclosing loops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Which buffer.
    pub buffer: u32,
    /// First element.
    pub offset: i64,
    /// Elements per position of a loop, by loop number.
    pub moves: Vec<(u32, i64)>,
    /// Elements added in odd iterations of a loop (counted in the order of execution), by loop number.
    pub flips: Vec<(u32, i64)>,
}

/// One thing to do.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the variant's text names the fields")]
pub enum Step {
    /// Runs a kernel on the addresses of `args`.
    Launch { kernel: u32, args: Vec<Slot> },
    /// Runs `body` once for each position of loop number `id`; with `apart`, in any order and on any worker, each with local memory of its own.
    Loop { id: u32, times: u64, reverse: bool, apart: bool, body: Vec<Step> },
}

/// A kernel, with what a reader wants to know of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    /// What it computes, in a few words.
    pub title: String,
    /// What runs.
    pub work: Work,
    /// Where it comes from.
    pub origin: Origin,
}

/// A tensor of the outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortInfo {
    /// Name it is bound to.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Names and sizes of the dims, slowest first.
    pub dims: Vec<(String, u64)>,
}

impl PortInfo {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.dims.iter().map(|d| d.1).product()
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.elements() * self.dtype.bytes()
    }
}

/// A place that checks positions: what an out-of-range error says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Site {
    /// Name of the axis.
    pub axis: String,
    /// Its size.
    pub size: u64,
    /// Where.
    pub origin: Origin,
}

/// Everything an executor needs.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// Kernels; a kernel may be launched from several steps.
    pub kernels: Vec<Kernel>,
    /// The program.
    pub steps: Vec<Step>,
    /// Tensors of the store.
    pub params: Vec<PortInfo>,
    /// Tensors given for a run.
    pub inputs: Vec<PortInfo>,
    /// Tensors returned by a run.
    pub outputs: Vec<PortInfo>,
    /// Number of loops.
    pub loops: u32,
    /// Places that check positions.
    pub sites: Vec<Site>,
    /// Bytes of the arena.
    pub arena: u64,
    /// Bytes of each worker's local memory.
    pub local: u64,
}
