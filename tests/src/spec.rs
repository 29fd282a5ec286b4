//! Checking of specs that stand in files and pages.

use std::path::{Path, PathBuf};

use ogive_lang::{Diagnostics, Loader, NoImports, Settings, Severity, Spec, check, render};

/// A spec that was checked.
pub struct Checked {
    /// With its sources.
    pub spec: Spec,
    /// All that was found.
    pub found: Diagnostics,
}

impl Checked {
    /// Codes of errors, or of all where `warnings`, each once, in the order of finding.
    pub fn codes(&self, warnings: bool) -> Vec<&'static str> {
        let mut codes: Vec<&'static str> = Vec::new();
        for d in self.found.list.iter().filter(|d| warnings || d.severity == Severity::Error) {
            if !codes.contains(&d.code) {
                codes.push(d.code);
            }
        }
        codes
    }

    /// The drawing of all that was found.
    pub fn drawn(&self) -> String {
        let text = render::diagnostics(&self.found, &self.spec.sources, render::Style { width: 88, colour: false });
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }
}

/// Checks a text that imports nothing but the library: everything in it.
pub fn check(text: &str) -> Checked {
    check_with("spec.arch", text.to_owned(), &NoImports)
}

/// Checks a file with its imports. Lines `// --set key=value` set what the command line would.
pub fn check_with(name: &str, text: String, loader: &dyn Loader) -> Checked {
    let set =
        text.lines().filter_map(|l| l.strip_prefix("// --set ")?.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let (spec, mut found) = Spec::load(name, text, loader);
    let more = check::check(&spec, &Settings { set, ..Settings::default() });
    more.list.into_iter().for_each(|d| found.push(d));
    found.sort(&spec.sources);
    Checked { spec, found }
}

/// The project's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files below a folder with an extension, sorted.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                all.push(path);
            }
        }
    }
    all.sort();
    all
}

/// The texts of a page's fences of one kind.
pub fn fences<'t>(page: &'t str, kind: &str) -> Vec<&'t str> {
    let open = format!("```{kind}\n");
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find(&open) {
        let inner = &rest[start + open.len()..];
        let end = inner.find("```").unwrap_or(inner.len());
        found.push(&inner[..end]);
        rest = &inner[end..];
        rest = rest.strip_prefix("```").unwrap_or(rest);
    }
    found
}

/// Codes that no spec alone can show: of files that are no specs, of the machine.
pub fn without_spec(code: &str) -> bool {
    const CODES: &[&str] = &["syntax::too_large", "syntax::not_text", "set::no_effect", "set::no_solution", "grad::step"];
    const DATA: &[&str] = &["unknown_source", "unknown_tokenizer", "split", "input", "not_a_stream"];
    const FAMILIES: &[&str] = &["run", "checkpoint", "plan", "device", "internal"];
    let code = code.trim_start_matches("arch::");
    let (family, name) = code.split_once("::").unwrap_or((code, ""));
    CODES.contains(&code) || FAMILIES.contains(&family) || family == "data" && !DATA.contains(&name)
}
