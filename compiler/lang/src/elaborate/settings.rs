//! What the caller sets: `--set key=value`, sizes that data or tensors fix, and whether the graph is for training.

use std::collections::BTreeMap;

/// Settings of one elaboration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// `--set key=value`, in order; the last of equal keys holds. Unknown keys are errors.
    pub set: Vec<(String, String)>,
    /// Sizes of dims of the root that come from data or tensors, by name. They give way to `set`; names the root lacks are ignored.
    pub dims: BTreeMap<String, u64>,
    /// Whether `training` is true.
    pub training: bool,
}
