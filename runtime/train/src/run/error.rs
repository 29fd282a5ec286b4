//! Why a run cannot start or go on.

use super::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::optimizer::StepError;
use ogive_graph::Origin;
use ogive_lang::codes;
use ogive_runtime::ExecError;
use ogive_runtime::files::FileError;
use std::path::{Path, PathBuf};

/// Where a number that is none came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// In words.
    pub text: String,
    /// Where it stands in the spec; line 0 where nowhere.
    pub origin: Origin,
}

/// Why a run cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folder holds a run already.
    #[error("`{}` holds a run already", .0.display())]
    Exists(PathBuf),
    /// The folder holds no run.
    #[error("`{}` holds no run: it has no `lock.json`", .0.display())]
    NoRun(PathBuf),
    /// Another process trains there.
    #[error("another process trains in `{}`", .0.display())]
    Busy(PathBuf),
    /// A lock file that cannot be understood.
    #[error("`{}` cannot be understood: {why}", .path.display())]
    BadLock { path: PathBuf, why: String },
    /// The system says no.
    #[error("cannot write `{}`: {why}", .path.display())]
    Write { path: PathBuf, why: std::io::Error },
    /// The system says no.
    #[error("cannot read `{}`: {why}", .path.display())]
    Read { path: PathBuf, why: std::io::Error },
    /// A run that would not go on as it began.
    #[error("the run cannot go on as it began: {0}")]
    Changed(String),
    /// A loss or gradient that is no number.
    #[error("step {step}: the {what} is not finite{}", .place.as_ref().map_or_else(String::new, |p| format!("; first in {}", p.text)))]
    NonFinite { step: u64, what: &'static str, place: Option<Place> },
    /// The model does not fit.
    #[error("the run needs {needed} bytes; {available} are available. Largest: {}", .largest.join(", "))]
    WillNotFit { needed: u64, available: u64, largest: Vec<String> },
    /// A batch that micro-batches do not divide.
    #[error("a batch of {batch} does not fall into {accumulate} equal parts")]
    Uneven { batch: u64, accumulate: u64 },
    /// A part of the data without a context to evaluate on.
    #[error("the {0} split has no context to evaluate on")]
    NoContext(&'static str),
    /// The evaluation graph cannot be made.
    #[error("a fault in ogive: the evaluation graph cannot be made: {0}")]
    Lowering(String),
    /// Data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Files.
    #[error(transparent)]
    File(#[from] FileError),
    /// The step cannot be made.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The executor.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

impl RunError {
    /// The exit code of the command line: 3 will not fit, 4 bad data or checkpoint, 5 non-finite training, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::WillNotFit { .. } | RunError::Exec(ExecError::Memory { .. }) => 3,
            RunError::NonFinite { .. } => 5,
            RunError::Exists(_) | RunError::Busy(_) | RunError::Uneven { .. } => 2,
            RunError::NoRun(_)
            | RunError::BadLock { .. }
            | RunError::Write { .. }
            | RunError::Read { .. }
            | RunError::Changed(_)
            | RunError::NoContext(_)
            | RunError::Data(_)
            | RunError::Checkpoint(_)
            | RunError::File(_) => 4,
            RunError::Lowering(_) | RunError::Step(_) | RunError::Exec(_) => 1,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            RunError::Exists(_) => codes::run::EXISTS,
            RunError::NoRun(_) => codes::run::NONE,
            RunError::Busy(_) => codes::run::BUSY,
            RunError::BadLock { .. } => codes::run::BAD_LOCK,
            RunError::Write { .. } => codes::run::WRITE,
            RunError::Read { .. } => codes::run::READ,
            RunError::Changed(_) => codes::run::CHANGED,
            RunError::NonFinite { .. } => codes::run::NON_FINITE,
            RunError::WillNotFit { .. } | RunError::Exec(ExecError::Memory { .. }) => codes::plan::MEMORY,
            RunError::Uneven { .. } => codes::run::UNEVEN,
            RunError::NoContext(_) => codes::data::NO_CONTEXT,
            RunError::Lowering(_) => codes::internal::LOWERING,
            RunError::Data(e) => e.code(),
            RunError::Checkpoint(e) => e.code(),
            RunError::File(_) => codes::run::FILE,
            RunError::Step(_) => codes::grad::STEP,
            RunError::Exec(_) => codes::device::EXECUTE,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            RunError::Exists(_) => Some("`ogive resume FOLDER` goes on with it; name another folder with `--out` to start anew"),
            RunError::WillNotFit { .. } => Some("make the batch smaller (`--set budget.batch=4`), or sum micro-batches (`accumulate: 4`)"),
            RunError::NonFinite { .. } => Some("lower the learning rate, warm up longer, or clip the gradient (`clip: 1`)"),
            RunError::Uneven { .. } => Some("`accumulate:` divides the batch of the budget"),
            RunError::NoRun(_) => Some("name the folder that `ogive train` wrote, such as runs/EXPERIMENT"),
            RunError::Busy(_) => Some("wait until it ends, or stop it; what it has written stays"),
            RunError::BadLock { .. } => Some("put the file back as ogive wrote it, or train anew into another folder with `--out`"),
            RunError::Write { .. } | RunError::File(_) => {
                Some("make room and see that the folder may be written, or name another with `--out`")
            }
            RunError::Read { .. } => Some("see that the file is there and may be read"),
            RunError::Changed(_) => Some("put back what the run began with, or train anew into another folder with `--out`"),
            RunError::NoContext(_) => Some("give that part of the data a larger share in `split:`, or use a shorter `context:`"),
            RunError::Data(e) => e.help(),
            RunError::Checkpoint(e) => e.help(),
            RunError::Lowering(_) | RunError::Step(_) | RunError::Exec(_) => None,
        }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> RunError {
        let path = path.to_owned();
        move |why| RunError::Write { path, why }
    }
}
