//! Which executor, and what its errors mean for the exit code.

use crate::args::{BackendName, Device};
use crate::exit::Exit;
use crate::output;
use ogive_graph::Graph;
use ogive_graph::pipeline::Scans;
use ogive_jit::{Cpu, Trace};
use ogive_runtime::{Backend, ExecError, Executable, Options};
use std::sync::Arc;

/// The back end that was asked for.
pub(crate) fn backend(device: &Device) -> Box<dyn Backend> {
    match device.backend {
        BackendName::Cpu => Box::new(Cpu::new()),
        BackendName::Interp => Box::new(ogive_runtime::interp::Interpreter),
    }
}

/// The back end that was asked for, and where asked what notes its kernels' times.
pub(crate) fn profiled(device: &Device, profile: bool) -> Result<(Box<dyn Backend>, Option<Arc<Trace>>), Exit> {
    if !profile {
        return Ok((backend(device), None));
    }
    if device.backend == BackendName::Interp {
        output::error("--profile times compiled kernels; the interpreter has none: leave `--backend interp` out");
        return Err(Exit::Usage);
    }
    let trace = Arc::new(Trace::default());
    Ok((Box::new(Cpu::traced(trace.clone())), Some(trace)))
}

/// Options of execution.
pub(crate) fn options(device: &Device, scans: Scans) -> Options {
    let mut options = Options { isa: device.isa.clone(), ..ogive::stages::options(scans) };
    if let Some(threads) = device.threads {
        options.threads = threads.clamp(1, 1024);
    }
    options
}

/// Optimises and compiles a graph.
pub(crate) fn compile(device: &Device, graph: &Graph, scans: Scans) -> Result<Box<dyn Executable>, Exit> {
    backend(device).compile(graph, &options(device, scans)).map_err(failed)
}

/// Prints an executor's error.
pub(crate) fn failed(error: ExecError) -> Exit {
    output::error(error.to_string());
    match error {
        ExecError::Missing { .. } | ExecError::Mismatch { .. } | ExecError::OutOfRange { .. } => Exit::Data,
        ExecError::Memory { .. } => Exit::Memory,
        ExecError::Unsupported { .. } => Exit::Spec,
        ExecError::Internal(_) => Exit::Fault,
    }
}
