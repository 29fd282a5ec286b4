//! `ogive snap`: snapshots of stages, as files beside the specs, compared with the present state.

use super::fmt::difference;
use super::graph::failed;
use crate::args::Snap;
use crate::exit::Exit;
use crate::{load, output, which};
use ogive::stages::{self, Stage};
use ogive_graph::pipeline::Scans;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &Snap) -> Result<(), Exit> {
    let settings = load::settings(&args.overrides, false)?;
    let (mut same, mut written, mut different) = (0, 0, 0);
    for path in load::spec_files(&args.specs)? {
        let spec = load::load_clean(&path, &args.overrides)?;
        for subject in which::subjects(&spec) {
            for &stage in &args.stages {
                let text = match stages::text(&spec, &subject, &settings, stage, false, Scans::default()) {
                    Ok(text) => text,
                    Err(error) => return Err(failed(error, &spec)),
                };
                let file = place(args, &path, subject.name(), stage);
                let now = contents(&path, subject.name(), stage, &text);
                match std::fs::read_to_string(&file) {
                    Ok(old) if old == now => same += 1,
                    _ if args.accept => {
                        save(&file, &now)?;
                        written += 1;
                    }
                    Ok(old) => {
                        different += 1;
                        output::result(difference(&file.display().to_string(), &old, &now));
                    }
                    Err(_) => {
                        different += 1;
                        output::result(format!(
                            "{}: no snapshot yet\n{}",
                            file.display(),
                            difference(&file.display().to_string(), "", &now)
                        ));
                    }
                }
            }
        }
    }
    if different > 0 {
        output::note(format!("{different} of {} snapshots differ; --accept takes the present state as right", different + same));
        return Err(Exit::Spec);
    }
    output::note(if written > 0 { format!("{written} snapshots written, {same} unchanged") } else { format!("{same} snapshots agree") });
    Ok(())
}

fn place(args: &Snap, spec: &Path, subject: &str, stage: Stage) -> PathBuf {
    let folder = args.dir.clone().unwrap_or_else(|| spec.parent().unwrap_or(Path::new("")).join("snapshots"));
    let stem = spec.file_stem().unwrap_or_default().to_string_lossy();
    folder.join(format!("{stem}.{subject}.{}.snap", stage.name()))
}

/// The header says where the text comes from, as insta's does.
fn contents(spec: &Path, subject: &str, stage: Stage, text: &str) -> String {
    let name = spec.file_name().unwrap_or_default().to_string_lossy();
    format!("---\nsource: {name}\nof: {subject}\nstage: {}\n---\n{}\n", stage.name(), text.trim_end())
}

fn save(file: &Path, text: &str) -> Result<(), Exit> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let made = std::fs::create_dir_all(folder).map_err(|e| format!("cannot make `{}`: {e}", folder.display()));
    made.and_then(|()| ogive_runtime::files::replace(file, |out| out.write_all(text.as_bytes())).map_err(|e| e.to_string())).map_err(|e| {
        output::error(e);
        Exit::Data
    })
}
