//! `ogive train --sweep`: every point of a sweep. A folder that holds finished points of the same spec keeps them.

use super::cost;
use super::train::{interrupt, one};
use crate::args::Train;
use crate::exit::Exit;
use crate::experiments::{self, Asked, failed};
use crate::{load, output};
use ogive_lang::elaborate;
use ogive_lang::hir::experiment::{Experiment, Point};
use ogive_train::run::{End, Finished, RunError};
use ogive_train::sweep::{self, Record, Sweep};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) fn run(args: &Train, asked: &Asked, folder: &Path) -> Result<(), Exit> {
    let settings = ogive_lang::Settings { set: asked.set.clone(), dims: [("vocab".to_owned(), 256)].into(), training: true };
    let points: Vec<Point> = load::clean(elaborate::sweep(&asked.spec, &asked.name, &settings), &asked.spec.sources)?;
    if points.is_empty() {
        output::error(format!("no sweep of `{}` in this spec; write: sweep {} {{ seed in [1, 2, 3] }}", asked.name, asked.name));
        return Err(Exit::Usage);
    }
    let before = Sweep::read(folder).map_err(|e| failed(&e))?.unwrap_or_default();
    let stop = interrupt();
    // Every point is elaborated before any is trained: a wrong one stops here.
    let mut ready = Vec::new();
    let mut sweep = Sweep { experiment: asked.name.clone(), ..Sweep::default() };
    let mut costs: BTreeMap<Vec<(String, String)>, Option<u64>> = BTreeMap::new();
    for point in &points {
        let mut at = asked.clone();
        at.set.extend(point.set.iter().cloned());
        let (experiment, data) = at.load(None)?;
        sweep.doc.clone_from(&experiment.doc);
        let parameters = experiment.program.parameters();
        output::note(format!("{}: {} parameters", shown(point), parameters.map_or_else(|| "unknown".into(), output::thousands)));
        let shape: Vec<(String, String)> = point.set.iter().filter(|(k, _)| k != sweep::SEED).cloned().collect();
        let macs = *costs.entry(shape).or_insert_with(|| cost::macs_per_token(&at.spec, &at.name, &at.set, data.vocab));
        ready.push((at, experiment, data, parameters, macs));
    }
    let mut ready = ready.into_iter();
    let mut interrupted = false;
    let rows = sweep::run(points, &mut |i, point| {
        let Some((at, experiment, data, parameters, macs)) = ready.next() else {
            return (None, Err(RunError::Lowering("a point was lost".to_owned())));
        };
        let identity = identity(&at);
        if let Some(known) = before.find(&identity) {
            output::note(format!("\npoint {}: {}: finished before", i + 1, shown(point)));
            sweep.points.push(known.clone());
            return (parameters, sweep.write(folder).map(|()| finished(known, folder, i)));
        }
        output::note(format!("\npoint {}: {}", i + 1, shown(point)));
        let own = folder.join(format!("point-{}", i + 1));
        let context = experiment.segment.unwrap_or(data.context);
        let result = fresh(&own).and_then(|()| one(args, &at, &experiment, data, &own, stop));
        let result = result.and_then(|finished| {
            interrupted |= finished.end == End::Interrupted;
            if finished.end == End::Complete {
                sweep.points.push(record(identity, point, &experiment, context, parameters, macs, &finished, &own));
                sweep.write(folder)?;
            }
            Ok(finished)
        });
        (parameters, result)
    });
    let (head, body) = sweep::table(&rows);
    output::result(output::table(&std::iter::once(head).chain(body).collect::<Vec<_>>()));
    if interrupted {
        output::note(format!("finished points are kept; go on with: ogive train ... --sweep --out {}", folder.display()));
        return Err(Exit::Interrupted);
    }
    for row in &rows {
        if let Err(error) = &row.result {
            return Err(failed(error));
        }
    }
    output::note(format!("a page of it: ogive report {} -o page.md", folder.display()));
    let hold = sweep.points.iter().all(|p| p.claims.iter().all(|c| c.1));
    if hold { Ok(()) } else { Err(Exit::Claim) }
}

/// A point that was broken off begins anew: its folder holds no result.
fn fresh(own: &Path) -> Result<(), RunError> {
    if !own.join("lock.json").exists() {
        return Ok(());
    }
    // Refused where another process trains there.
    drop(ogive_train::run::RunFolder::open(own)?);
    std::fs::remove_dir_all(own).map_err(|why| RunError::Write { path: own.to_owned(), why })
}

fn identity(at: &Asked) -> String {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    part(&at.name);
    experiments::files(&at.spec).iter().for_each(|(_, text)| part(text));
    at.set.iter().for_each(|(k, v)| part(&format!("{k}={v}")));
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn record(
    identity: String,
    point: &Point,
    experiment: &Experiment,
    context: u64,
    parameters: Option<u64>,
    macs_per_token: Option<u64>,
    finished: &Finished,
    own: &Path,
) -> Record {
    let metrics = std::fs::read_to_string(own.join("metrics.jsonl")).unwrap_or_default();
    Record {
        identity,
        set: point.set.clone(),
        parameters,
        macs_per_token,
        memory: finished.memory,
        batch: experiment.budget.batch,
        steps: finished.step,
        step_seconds: sweep::median_step(&metrics, experiment.budget.batch * context),
        seconds: finished.seconds,
        reached: finished.reached,
        measured: sweep::measured(finished),
        claims: finished.claims.iter().map(|c| (c.text.clone(), c.holds)).collect(),
    }
}

/// A finished point as the table of a sweep wants it.
fn finished(known: &Record, folder: &Path, number: usize) -> Finished {
    let mut evaluations = BTreeMap::new();
    for part in ogive_train::data::PARTS {
        let own = known.measured.iter().filter_map(|(n, v)| Some((n.strip_prefix(part.name())?.strip_prefix('.')?.to_owned(), *v)));
        let values: Vec<(String, f64)> = own.collect();
        if !values.is_empty() {
            evaluations.insert(part, ogive_train::run::Evaluation { values, routing: Vec::new(), contexts: 0 });
        }
    }
    let outcome =
        |(text, holds): &(String, bool)| ogive_train::claims::Outcome { text: text.clone(), left: None, right: None, holds: *holds };
    Finished {
        end: End::Complete,
        step: known.steps,
        checkpoint: folder.join(format!("point-{}", number + 1)),
        evaluations,
        claims: known.claims.iter().map(outcome).collect(),
        best: None,
        reached: known.reached,
        seconds: known.seconds,
        memory: known.memory,
    }
}

fn shown(point: &Point) -> String {
    point.set.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
}
