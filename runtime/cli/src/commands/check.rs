//! `ogive check`: every diagnostic of every file.

use crate::args::Check;
use crate::exit::Exit;
use crate::{load, output};
use ogive_lang::{Diagnostics, Severity, Sources};

pub(crate) fn run(args: &Check) -> Result<(), Exit> {
    if args.gradients {
        return super::check_gradients::run(args);
    }
    let settings = load::settings(&args.overrides, false)?;
    let mut failed = false;
    let mut json = Vec::new();
    for path in load::spec_files(&args.specs)? {
        let (spec, mut found) = match load::load(&path, &args.overrides) {
            Ok(loaded) => loaded,
            Err(exit) if args.specs.len() == 1 => return Err(exit),
            Err(_) => {
                failed = true;
                continue;
            }
        };
        if !found.has_errors() {
            for diagnostic in ogive_lang::check::check(&spec, &settings).list {
                found.push(diagnostic);
            }
        }
        let (errors, warnings) = count(&found);
        failed |= errors > 0 || (args.deny_warnings && warnings > 0);
        if output::json() {
            found.sort(&spec.sources);
            json.extend(found.list.iter().map(|d| as_json(d, &spec.sources)));
        } else {
            load::report(&mut found, &spec.sources);
            let name = path.display();
            match (errors, warnings) {
                (0, 0) => output::note(format!("{name}: ok")),
                (0, w) => output::note(format!("{name}: ok, {}", counted(w, "warning"))),
                (e, 0) => output::note(format!("{name}: {}", counted(e, "error"))),
                (e, w) => output::note(format!("{name}: {}, {}", counted(e, "error"), counted(w, "warning"))),
            }
        }
    }
    if output::json() {
        output::result(serde_json::Value::Array(json).to_string());
    }
    if failed { Err(Exit::Spec) } else { Ok(()) }
}

fn count(found: &Diagnostics) -> (usize, usize) {
    let errors = found.list.iter().filter(|d| d.severity == Severity::Error).count();
    (errors, found.list.len() - errors)
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn as_json(d: &ogive_lang::Diagnostic, sources: &Sources) -> serde_json::Value {
    let label = |l: &ogive_lang::Label| {
        serde_json::json!({
            "file": &*sources.get(l.span.file).name, "line": sources.line(l.span),
            "start": l.span.start, "end": l.span.end, "text": l.text,
        })
    };
    serde_json::json!({
        "code": d.code,
        "severity": if d.severity == Severity::Error { "error" } else { "warning" },
        "message": d.message,
        "labels": d.labels.iter().map(label).collect::<Vec<_>>(),
        "help": d.help,
    })
}
