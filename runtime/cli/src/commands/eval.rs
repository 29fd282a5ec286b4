//! `ogive eval`: a checkpoint on a part of the data.

use crate::args::Eval;
use crate::exit::Exit;
use crate::experiments::{Asked, failed};
use crate::{backends, checkpoints, output};
use ogive_train::data::PARTS;
use ogive_train::run::{Evaluator, Routing};

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
    let mut evaluator = Evaluator::new(backend.as_ref(), backends::options(&args.device, args.scans.asked()), args.scans.asked());
    let result = evaluator.evaluate(&problem, &mut store, part, None).map_err(|e| failed(&e))?;
    if output::json() {
        let values: serde_json::Map<String, serde_json::Value> = result.values.iter().map(|(n, v)| (n.clone(), (*v).into())).collect();
        let routing: Vec<serde_json::Value> = result.routing.iter().map(Routing::json).collect();
        output::result(serde_json::json!({ "checkpoint": from, "split": part.name(), "measured": values, "routing": routing }).to_string());
    } else {
        output::note(format!("{}, {} contexts", from.display(), result.contexts));
        for (name, value) in &result.values {
            output::result(format!("{}.{name} {value:.4}", part.name()));
        }
        result.routing.iter().for_each(print);
    }
    Ok(())
}

/// What a selection chose: a line for each layer, head or the like.
fn print(routing: &Routing) {
    let places = routing.groups.first().map_or(0, |g| g.shares.len());
    output::result(format!("\n{} (line {}) of {places} {}", routing.path, routing.line, routing.place));
    for group in &routing.groups {
        let name = if group.name.is_empty() { "all" } else { &group.name };
        let most = group.shares.iter().fold(0.0f64, |a, b| a.max(*b));
        output::result(format!(
            "  {name}: {} never chosen, entropy {:.3} of {:.3} nats, the most chosen has {:.2} %",
            group.dead(),
            group.entropy(),
            (group.shares.len() as f64).ln(),
            100.0 * most
        ));
        if group.shares.len() <= 32 {
            let shares: Vec<String> = group.shares.iter().map(|s| format!("{:.1}", 100.0 * s)).collect();
            output::result(format!("    shares in %: {}", shares.join(" ")));
        }
    }
}
