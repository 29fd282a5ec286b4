//! A run's checkpoint by name, and its parameters.

use crate::exit::Exit;
use crate::experiments::failed;
use crate::output;
use ogive_lang::lower::Parameter;
use ogive_runtime::{Data, Dim, Store, Tensor};
use ogive_train::run::checkpoint;
use std::path::{Path, PathBuf};

/// `latest`, `best`, or a step.
pub(crate) fn find(run: &Path, which: &str) -> Result<PathBuf, Exit> {
    let folder = run.join("checkpoints");
    let all = checkpoint::list(&folder);
    if which == "latest" {
        return checkpoint::latest(&folder).map(|(path, _)| path).map_err(|e| failed(&e.into()));
    }
    if which == "best" {
        let (latest, _) = checkpoint::latest(&folder).map_err(|e| failed(&e.into()))?;
        let state = checkpoint::verify(&latest).map_err(|e| failed(&e.into()))?;
        let best = state.best.and_then(|b| all.iter().find(|(step, _)| *step == b.step));
        return best.map(|(_, path)| path.clone()).ok_or_else(|| {
            output::error("no best checkpoint is kept: the run has not evaluated on validation and written a checkpoint at one step");
            Exit::Data
        });
    }
    let step = which.parse::<u64>().ok();
    all.iter().find(|(s, _)| Some(*s) == step).map(|(_, path)| path.clone()).ok_or_else(|| {
        let steps: Vec<String> = all.iter().map(|(s, _)| s.to_string()).collect();
        output::error(format!("no checkpoint `{which}`; there are latest, best and the steps {}", steps.join(", ")));
        Exit::Data
    })
}

/// The weights that a checkpoint evaluates with: moving averages where it has them.
pub(crate) fn parameters(checkpoint: &Path, params: &[Parameter]) -> Result<Store, Exit> {
    let expected = params.iter().map(|p| {
        let dims = p.dims.iter().map(|d| Dim { name: d.name.clone(), size: usize::try_from(d.size).unwrap_or(usize::MAX) }).collect();
        (p.name.clone(), Tensor { dims, data: Data::F32(Vec::new()) })
    });
    let tensors = checkpoint::weights(checkpoint, &expected.collect()).map_err(|e| failed(&e.into()))?;
    Ok(Store { tensors })
}
