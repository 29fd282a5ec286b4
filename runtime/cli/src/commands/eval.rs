//! `ogive eval`: a checkpoint on a part of the data.

use crate::args::Eval;
use crate::exit::Exit;
use crate::experiments::{Asked, failed};
use crate::{backends, checkpoints, output};
use ogive_train::data::PARTS;
use ogive_train::run::Evaluator;

pub(crate) fn run(args: &Eval) -> Result<(), Exit> {
    let Some(part) = PARTS.into_iter().find(|p| p.name() == args.split) else {
        output::error(format!("--split {}: write training, validation, test or longer", args.split));
        return Err(Exit::Usage);
    };
    let (asked, tokenizer) = Asked::of_run(&args.run, &args.overrides)?;
    let (experiment, data) = asked.load(tokenizer)?;
    let problem = asked.problem(&experiment, data);
    let from = checkpoints::find(&args.run, &args.checkpoint)?;
    let mut store = checkpoints::parameters(&from, problem.params())?;
    let backend = backends::backend(&args.device);
    let mut evaluator = Evaluator::new(backend.as_ref(), backends::options(&args.device));
    let result = evaluator.evaluate(&problem, &mut store, part, None).map_err(|e| failed(&e))?;
    if output::json() {
        let values: serde_json::Map<String, serde_json::Value> = result.values.iter().map(|(n, v)| (n.clone(), (*v).into())).collect();
        output::result(serde_json::json!({ "checkpoint": from, "split": part.name(), "measured": values }).to_string());
    } else {
        output::note(format!("{}, {} contexts", from.display(), result.contexts));
        for (name, value) in &result.values {
            output::result(format!("{}.{name} {value:.4}", part.name()));
        }
    }
    Ok(())
}
