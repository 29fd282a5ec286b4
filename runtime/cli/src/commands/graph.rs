//! `ogive graph`: a spec at any stage, or a picture of its fused graph.

use crate::args::{Format, Graph};
use crate::exit::Exit;
use crate::{load, output, which};
use ogive::stages::{self, Stage, StageError};
use ogive_graph::draw::{self, Picture};
use ogive_lang::{Sources, Spec};
use std::collections::BTreeMap;

pub(crate) fn run(args: &Graph) -> Result<(), Exit> {
    let spec = load::load_clean(&args.spec, &args.overrides)?;
    let settings = load::settings(&args.overrides, args.training)?;
    let subject = which::subject(&spec, &args.which)?;
    let text = match args.format {
        None => {
            let stage = args.emit.unwrap_or(Stage::Fuse);
            stages::text(&spec, &subject, &settings, stage, args.training, args.scans.asked()).map_err(|e| failed(e, &spec))?
        }
        Some(format) => {
            let elaborated = stages::elaborated(&spec, &subject, &settings).map_err(|e| failed(e, &spec))?;
            let graph = stages::final_graph(&elaborated, args.training, args.scans.asked()).map_err(|e| failed(e, &spec))?;
            drawn(&graph, subject.name(), format)
        }
    };
    match &args.out {
        None => output::result(text),
        Some(path) => {
            ogive_runtime::files::replace(path, |file| file.write_all(text.as_bytes())).map_err(|e| {
                output::error(e.to_string());
                Exit::Data
            })?;
            output::note(format!("{}: {}", path.display(), output::bytes(text.len() as u64)));
        }
    }
    Ok(())
}

/// Prints why a stage has no text.
pub(crate) fn failed(error: StageError, spec: &Spec) -> Exit {
    report(error, &spec.sources)
}

fn report(error: StageError, sources: &Sources) -> Exit {
    match error {
        StageError::Spec(mut found) => {
            load::report(&mut found, sources);
            Exit::Spec
        }
        StageError::Other(why) => {
            output::error(why);
            Exit::Spec
        }
    }
}

fn drawn(graph: &ogive_graph::Graph, title: &str, format: Format) -> String {
    let groups: BTreeMap<_, _> = ogive_graph::fuse::assignment(graph).into_iter().map(|a| ((a.path, a.value), a.group)).collect();
    let picture = Picture::of_graph(graph, &|path, value| groups.get(&(path.to_vec(), value)).copied());
    match format {
        Format::Dot => draw::dot(&picture),
        Format::Svg => draw::svg(&picture),
        Format::Html => draw::html(&picture, title),
        Format::Json => draw::json(&picture),
    }
}
