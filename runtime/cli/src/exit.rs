//! Exit codes: part of the interface.

use std::process::ExitCode;

/// What the process says to its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Diagnostics in the spec, or a snapshot that does not hold.
    Spec = 1,
    /// A wrong flag or argument.
    Usage = 2,
    /// Will not fit into memory.
    Memory = 3,
    /// Bad data, checkpoint or tensor file.
    Data = 4,
    /// A loss or gradient that is not finite.
    NonFinite = 5,
    /// All was done, and a claim of the spec does not hold.
    Claim = 7,
    /// A fault in ogive.
    Fault = 70,
    /// Interrupted, with a checkpoint written.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
