//! `ogive fmt`: one way to write each spec.

use crate::args::Fmt;
use crate::exit::Exit;
use crate::{load, output};
use ogive_lang::Sources;
use std::io::Read;
use std::path::Path;

pub(crate) fn run(args: &Fmt) -> Result<(), Exit> {
    if args.specs.len() == 1 && args.specs[0] == Path::new("-") {
        let mut text = String::new();
        if std::io::stdin().take(4 << 20).read_to_string(&mut text).is_err() {
            output::error("standard input is not UTF-8 text");
            return Err(Exit::Spec);
        }
        output::result(format("<stdin>", &text)?);
        return Ok(());
    }
    let mut failed = false;
    for path in load::spec_files(&args.specs)? {
        let name = path.display().to_string();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                output::error(format!("cannot read `{name}`: {error}"));
                return Err(Exit::Usage);
            }
        };
        let Ok(formatted) = format(&name, &text) else {
            failed = true;
            continue;
        };
        if formatted == text {
            continue;
        }
        if args.check {
            failed = true;
            output::result(difference(&name, &text, &formatted));
        } else if let Err(error) = ogive_runtime::files::replace(&path, |out| out.write_all(formatted.as_bytes())) {
            output::error(error.to_string());
            return Err(Exit::Data);
        } else {
            output::note(format!("{name}: formatted"));
        }
    }
    if failed { Err(Exit::Spec) } else { Ok(()) }
}

fn format(name: &str, text: &str) -> Result<String, Exit> {
    ogive_lang::fmt::format(text).map_err(|mut found| {
        let mut sources = Sources::default();
        sources.add(name, text);
        load::report(&mut found, &sources);
        Exit::Spec
    })
}

/// A unified diff.
pub(crate) fn difference(name: &str, old: &str, new: &str) -> String {
    similar::TextDiff::from_lines(old, new).unified_diff().context_radius(2).header(name, &format!("{name} (new)")).to_string()
}
