//! What the test suites share: a table of small graphs and the checks that run over all of it.

pub mod cases;
pub mod check;
pub mod generate;
pub mod hostile;
pub mod kills;
pub mod mistakes;
pub mod spec;
#[cfg(unix)]
pub mod walls;
