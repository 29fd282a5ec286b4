//! Pages of results.

pub(crate) mod page;
pub(crate) mod plot;
