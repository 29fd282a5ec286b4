//! Every spec of the repository: it checks clean, its graph is well formed, and the parameter count in its header is right.

use ogive_lang::render::{self, Style};
use ogive_lang::syntax::{BlockKind, Item};
use ogive_lang::{Loader, Settings, Spec, elaborate, lower};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

struct Beside;

impl Loader for Beside {
    fn load(&self, from: &str, path: &str) -> Result<(String, String), String> {
        let file = Path::new(from).parent().unwrap_or(Path::new("")).join(path);
        std::fs::read_to_string(&file).map(|text| (file.display().to_string(), text)).map_err(|e| e.to_string())
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "arch") {
            all.push(path);
        }
    }
    all
}

fn load(path: &Path) -> Spec {
    let text = std::fs::read_to_string(path).expect("a spec");
    let (spec, found) = Spec::load(&path.display().to_string(), text, &Beside);
    assert!(!found.has_errors(), "{}", render::diagnostics(&found, &spec.sources, Style::default()));
    spec
}

/// Sizes for dims that only data or a caller would give.
fn settings() -> Settings {
    let dims = [("seq", 8), ("src", 8), ("vocab", 32), ("model", 16), ("head", 2), ("key", 8), ("hidden", 24), ("memory", 8)];
    let more = [("from", 6), ("to", 5), ("over", 8), ("along", 4), ("seq2", 8)];
    Settings { dims: dims.iter().chain(&more).map(|(n, s)| ((*n).to_owned(), *s)).collect(), ..Settings::default() }
}

fn models(spec: &Spec) -> Vec<(String, Vec<String>)> {
    let items = spec.file(spec.root).items.iter();
    let model = |i: &Item| match i {
        Item::Block(b) if b.kind == BlockKind::Model => Some((b.name.name.clone(), b.doc.clone())),
        _ => None,
    };
    items.filter_map(model).collect()
}

#[test]
fn every_spec_checks_clean() {
    for path in files(&root().join("specs")) {
        let spec = load(&path);
        let found = ogive_lang::check::check(&spec, &Settings::default());
        assert!(found.list.is_empty(), "{}", render::diagnostics(&found, &spec.sources, Style::default()));
    }
}

#[test]
fn every_spec_is_formatted() {
    for path in files(&root().join("specs")) {
        let text = std::fs::read_to_string(&path).expect("a spec");
        let formatted = ogive_lang::fmt::format(&text).expect("a spec that parses");
        assert!(formatted == text, "{} is not as `ogive fmt` writes it", path.display());
    }
}

#[test]
fn every_model_lowers_to_a_well_formed_graph() {
    for path in files(&root().join("specs")) {
        let spec = load(&path);
        for (name, _) in models(&spec) {
            let (program, found) = elaborate::block(&spec, &name, &settings());
            let program = program.unwrap_or_else(|| panic!("{}", render::diagnostics(&found, &spec.sources, Style::default())));
            let lowered = lower::program(&program, &lower::Options { batch: Some(2), ..lower::Options::default() });
            if let Err(errors) = ogive_graph::verify::verify(&lowered.graph) {
                panic!("{name} in {}: {errors:?}\n{}", path.display(), ogive_graph::text::print(&lowered.graph));
            }
            let text = ogive_graph::text::print(&lowered.graph);
            assert!(ogive_graph::parse::parse(&text).as_ref() == Ok(&lowered.graph), "{name}: the text does not read back");
        }
    }
}

#[test]
fn parameter_counts_are_those_in_the_headers() {
    let mut counted = 0;
    for path in files(&root().join("specs")) {
        let spec = load(&path);
        for (name, doc) in models(&spec) {
            let Some(stated) = doc.iter().find_map(|l| l.trim().strip_prefix("Parameters:")) else { continue };
            let stated: u64 = stated.trim().replace('_', "").parse().expect("a number");
            let (program, found) = elaborate::block(&spec, &name, &Settings::default());
            let program = program.unwrap_or_else(|| panic!("{}", render::diagnostics(&found, &spec.sources, Style::default())));
            assert_eq!(program.parameters(), Some(stated), "{name} in {}", path.display());
            counted += 1;
        }
    }
    assert!(counted >= 16, "only {counted} models state their parameters");
}
