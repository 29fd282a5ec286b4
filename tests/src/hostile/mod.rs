//! Damaged texts and files: whatever is wrong with them, reading them ends in an error and not in a panic.

pub mod files;
pub mod folders;
pub mod text;

use ogive_jit::processor_time;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What became of many damaged inputs.
#[derive(Debug, Default)]
pub struct Survey {
    /// How many were read.
    pub read: u64,
    /// How many were refused with an error.
    pub refused: u64,
    /// What was done to those that made a panic, and its message.
    pub panics: Vec<(String, String)>,
    /// The slowest, by the processor's time, and what was done to it.
    pub slowest: (Duration, String),
}

impl Survey {
    /// Reads one. `work` says whether it was refused.
    pub fn add(&mut self, what: impl Fn() -> String, work: impl FnOnce() -> bool) {
        let start = processor_time();
        let result = catch_unwind(AssertUnwindSafe(work));
        let time = Duration::from_nanos(processor_time().saturating_sub(start));
        self.read += 1;
        match result {
            Ok(refused) => self.refused += u64::from(refused),
            Err(payload) => {
                let text = payload.downcast_ref::<String>().cloned().or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
                self.panics.push((what(), text.unwrap_or_default()));
            }
        }
        if time > self.slowest.0 {
            self.slowest = (time, what());
        }
    }

    /// One line, and what made a panic.
    pub fn report(&self) -> String {
        let Survey { read, refused, panics, slowest: (time, what) } = self;
        let mut out = format!("{read} read, {refused} refused, {} panics, slowest {} ms ({what})", panics.len(), time.as_millis());
        for (what, message) in panics {
            out.push_str(&format!("\n{what}: {message}"));
        }
        out
    }
}
