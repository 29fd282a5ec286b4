//! Checks everything in a spec: every block with its sizes left open, every experiment and sweep, in training and outside.

use crate::diag::Diagnostics;
use crate::elaborate::{self, Settings};
use crate::spec::Spec;
use crate::syntax::Item;

/// All diagnostics of the root file and of the user's files that it imports, beyond those of loading it.
pub fn check(spec: &Spec, settings: &Settings) -> Diagnostics {
    let mut out = Diagnostics::default();
    for item in &spec.file(spec.root).items {
        let found = match item {
            Item::Experiment(experiment) => [false, true]
                .map(|training| elaborate::experiment(spec, &experiment.name.name, &Settings { training, ..settings.clone() }).1)
                .to_vec(),
            Item::Import(_) | Item::Const { .. } | Item::Block(_) | Item::Sweep(_) => Vec::new(),
        };
        found.into_iter().flat_map(|d| d.list).for_each(|d| out.push(d));
    }
    elaborate::declarations(spec).list.into_iter().for_each(|d| out.push(d));
    out.sort(&spec.sources);
    out
}
