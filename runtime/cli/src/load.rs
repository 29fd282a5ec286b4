//! Reading specs from disk: sizes bounded, imports kept inside the allowed folders, diagnostics printed.

use crate::args::Overrides;
use crate::exit::Exit;
use crate::output;
use ogive_lang::render::{self, Style};
use ogive_lang::spec::{Loader, Spec, specs_beside};
use ogive_lang::{Diagnostics, Settings, Severity, Sources};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A little more than the largest spec that the parser takes, so that it is the parser which refuses.
const READ_LIMIT: u64 = (4 << 20) + 1;

/// Reads imports below the spec's folder and the `--root` folders.
struct Folders {
    roots: Vec<PathBuf>,
}

impl Loader for Folders {
    fn load(&self, from: &str, path: &str) -> Result<(String, String), String> {
        let base = Path::new(from).parent().unwrap_or(Path::new(""));
        let candidates = std::iter::once(base.to_path_buf()).chain(self.roots.iter().cloned()).map(|r| r.join(path));
        let Some(found) = candidates.into_iter().find(|p| p.is_file()) else {
            return Err(format!("there is no file `{}`", base.join(path).display()));
        };
        let real = found.canonicalize().map_err(|e| e.to_string())?;
        if !self.roots.iter().filter_map(|r| r.canonicalize().ok()).any(|r| real.starts_with(r)) {
            return Err(format!("`{}` lies outside the spec's folder; allow its folder with --root", found.display()));
        }
        Ok((found.display().to_string(), read_text(&found)?))
    }

    fn near(&self, from: &str, path: &str) -> Vec<String> {
        specs_beside(Path::new(from).parent().unwrap_or(Path::new("")), path)
    }
}

/// The bytes of a file, at most one more than the parser takes.
fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    file.take(READ_LIMIT).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// The text of a file; an error in words where it cannot be read or is no UTF-8.
fn read_text(path: &Path) -> Result<String, String> {
    String::from_utf8(read_bytes(path)?).map_err(|e| format!("it is not UTF-8 text: byte {} cannot be read", e.utf8_error().valid_up_to()))
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Folders that a spec may read from.
pub(crate) fn roots(path: &Path, overrides: &Overrides) -> Vec<PathBuf> {
    std::iter::once(folder(path)).chain(overrides.root.iter().cloned()).collect()
}

/// A spec with its imports, and what was found on the way.
pub(crate) fn load(path: &Path, overrides: &Overrides) -> Result<(Spec, Diagnostics), Exit> {
    let name = path.display().to_string();
    let bytes = match read_bytes(path) {
        Ok(bytes) => bytes,
        Err(why) => {
            output::error(format!("cannot read `{name}`: {why}"));
            return Err(Exit::Usage);
        }
    };
    let loader = Folders { roots: roots(path, overrides) };
    Ok(Spec::load_bytes(&name, bytes, &loader))
}

/// A spec without errors; they are printed.
pub(crate) fn load_clean(path: &Path, overrides: &Overrides) -> Result<Spec, Exit> {
    let (spec, mut found) = load(path, overrides)?;
    if report(&mut found, &spec.sources) { Err(Exit::Spec) } else { Ok(spec) }
}

/// Prints diagnostics to stderr; whether there is an error among them.
pub(crate) fn report(found: &mut Diagnostics, sources: &Sources) -> bool {
    found.sort(sources);
    if output::level() < 0 {
        found.list.retain(|d| d.severity == Severity::Error);
    }
    if !found.list.is_empty() {
        eprintln!("{}", render::diagnostics(found, sources, Style { width: output::width(), colour: output::colour() }));
    }
    found.has_errors()
}

/// `Some` value, or `Exit::Spec` after its diagnostics are printed. Warnings are printed only with `-v`: `check` is the place for them.
pub(crate) fn clean<T>((value, mut found): (Option<T>, Diagnostics), sources: &Sources) -> Result<T, Exit> {
    if output::level() < 1 {
        found.list.retain(|d| d.severity == Severity::Error);
    }
    let failed = report(&mut found, sources);
    match value {
        Some(value) if !failed => Ok(value),
        _ => Err(Exit::Spec),
    }
}

/// `--set` values.
pub(crate) fn settings(overrides: &Overrides, training: bool) -> Result<Settings, Exit> {
    let mut set = Vec::new();
    for pair in &overrides.set {
        let Some((key, value)) = pair.split_once('=') else {
            output::error(format!("--set {pair}: write --set KEY=VALUE, such as --set model=512"));
            return Err(Exit::Usage);
        };
        set.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(Settings { set, dims: BTreeMap::new(), training })
}

/// Every spec file among files and folders, sorted within folders.
pub(crate) fn spec_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Exit> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = files.len();
            collect(path, &mut files, 0);
            if files.len() == before {
                output::error(format!("no .arch file below `{}`", path.display()));
                return Err(Exit::Usage);
            }
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>, depth: usize) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && depth < 32 {
            collect(&path, files, depth + 1);
        } else if path.extension().is_some_and(|e| e == "arch") {
            files.push(path);
        }
    }
}
