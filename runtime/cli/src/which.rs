//! Which item of a spec a command is about.

use crate::args::Which;
use crate::exit::Exit;
use crate::output;
use ogive::stages::{self, Subject};
use ogive_lang::Spec;
use ogive_lang::syntax::{BlockKind, Item};

/// Names of the root file's own items of which `keep` holds, in source order.
fn own(spec: &Spec, keep: impl Fn(&Item) -> bool) -> Vec<String> {
    let items = spec.file(spec.root).items.iter().filter(|i| keep(i));
    items.filter_map(|i| i.name().map(|n| n.name.clone())).collect()
}

fn is_experiment(item: &Item) -> bool {
    matches!(item, Item::Experiment(_))
}

fn is_model(item: &Item) -> bool {
    matches!(item, Item::Block(b) if b.kind == BlockKind::Model)
}

fn is_block(item: &Item) -> bool {
    matches!(item, Item::Block(_))
}

/// Every experiment and model of the root file, or its blocks where it has neither.
pub(crate) fn subjects(spec: &Spec) -> Vec<Subject> {
    let experiments = own(spec, is_experiment).into_iter().map(Subject::Experiment);
    let models: Vec<Subject> = own(spec, is_model).into_iter().map(Subject::Block).chain(experiments).collect();
    if models.is_empty() { own(spec, is_block).into_iter().map(Subject::Block).collect() } else { models }
}

fn unknown(spec: &Spec, name: &str, kind: &str, keep: impl Fn(&Item) -> bool) -> Exit {
    let names = spec.names(spec.root, keep);
    let help = ogive_lang::suggest::help(name, &format!("{kind}s"), names.iter().copied());
    output::error(format!("no {kind} `{name}` in this spec; {}", help.unwrap_or_else(|| format!("it has no {kind}s"))));
    Exit::Usage
}

/// What `--of` names, else the only experiment, else the last model, else the last block.
pub(crate) fn subject(spec: &Spec, which: &Which) -> Result<Subject, Exit> {
    if let Some(name) = &which.of {
        if spec.experiment(spec.root, name).is_some() {
            return Ok(Subject::Experiment(name.clone()));
        }
        if spec.block(spec.root, name).is_some() {
            return Ok(Subject::Block(name.clone()));
        }
        return Err(unknown(spec, name, "block, model or experiment", |i| is_block(i) || is_experiment(i)));
    }
    stages::subject(spec).ok_or_else(|| {
        output::error("the spec declares no block, model or experiment");
        Exit::Usage
    })
}

/// A block, cell or model: what `--of` names, else the last model, else the last block.
pub(crate) fn block(spec: &Spec, which: &Which) -> Result<String, Exit> {
    match &which.of {
        Some(name) if spec.block(spec.root, name).is_some() => Ok(name.clone()),
        Some(name) => Err(unknown(spec, name, "block", is_block)),
        None => own(spec, is_model).pop().or_else(|| own(spec, is_block).pop()).ok_or_else(|| {
            output::error("the spec declares no block, cell or model; name one of the standard library with --of");
            Exit::Usage
        }),
    }
}

/// An experiment: what `--of` names, else the only one.
pub(crate) fn experiment(spec: &Spec, which: &Which) -> Result<String, Exit> {
    let all = own(spec, is_experiment);
    match (&which.of, &all[..]) {
        (Some(name), _) if spec.experiment(spec.root, name).is_some() => Ok(name.clone()),
        (Some(name), _) => Err(unknown(spec, name, "experiment", is_experiment)),
        (None, [only]) => Ok(only.clone()),
        (None, []) => {
            output::error("the spec has no experiment; specs/tour/04_language_model.arch shows one");
            Err(Exit::Usage)
        }
        (None, many) => {
            output::error(format!("the spec has several experiments; choose one with --of: {}", many.join(", ")));
            Err(Exit::Usage)
        }
    }
}
