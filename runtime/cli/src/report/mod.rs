//! Pages of results.

pub(crate) mod curve;
pub(crate) mod page;
pub(crate) mod plot;
