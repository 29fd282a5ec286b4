//! Elaboration and lowering of the specs that come with ogive, and of small ones that hold one rule each.

use ogive_lang::elaborate::{self, Settings};
use ogive_lang::syntax::{BlockKind, Item};
use ogive_lang::{Diagnostics, NoImports, Spec, hir, lower, render};
use std::path::{Path, PathBuf};

/// Reads imports beside the importing file.
struct Folder;

impl ogive_lang::Loader for Folder {
    fn load(&self, from: &str, path: &str) -> Result<(String, String), String> {
        let full = Path::new(from).parent().map_or_else(|| PathBuf::from(path), |p| p.join(path));
        let text = std::fs::read_to_string(&full).map_err(|e| e.to_string())?;
        Ok((full.to_string_lossy().into_owned(), text))
    }
}

fn specs() -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "arch") {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs"), &mut out);
    out
}

fn shown(spec: &Spec, out: &Diagnostics) -> String {
    render::diagnostics(out, &spec.sources, render::Style::default())
}

fn load(text: &str) -> Spec {
    let (spec, out) = Spec::load("test.arch", text.to_string(), &NoImports);
    assert!(!out.has_errors(), "{}", shown(&spec, &out));
    spec
}

/// Every block, with sizes left open and in training as well as outside.
#[test]
fn every_block_of_the_specs_elaborates_without_errors() {
    let mut failures = String::new();
    for path in specs() {
        let text = std::fs::read_to_string(&path).unwrap();
        let (spec, out) = Spec::load(&path.to_string_lossy(), text, &Folder);
        assert!(!out.has_errors(), "{}", shown(&spec, &out));
        for item in &spec.file(spec.root).items {
            let Item::Block(block) = item else { continue };
            for training in [false, true] {
                let settings = Settings { training, ..Settings::default() };
                let (program, out) = elaborate::open_block(&spec, &block.name.name, &settings);
                if program.is_none() || out.has_errors() {
                    failures.push_str(&format!("{} {}\n{}", path.display(), block.name.name, shown(&spec, &out)));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// `/// Parameters: 47_260_120` above a model is exact, and the model lowers to a graph that verifies.
#[test]
fn models_have_the_parameters_that_their_text_says_and_lower() {
    let mut counted = 0;
    for path in specs() {
        let text = std::fs::read_to_string(&path).unwrap();
        let (spec, _) = Spec::load(&path.to_string_lossy(), text, &Folder);
        for item in &spec.file(spec.root).items {
            let Item::Block(block) = item else { continue };
            if block.kind != BlockKind::Model {
                continue;
            }
            let mut settings = Settings::default();
            settings.dims.insert("vocab".into(), 256);
            settings.dims.insert("seq".into(), 16);
            let wanted = block.doc.iter().find_map(|l| l.trim().strip_prefix("Parameters: "));
            if wanted.is_some() {
                settings.dims.clear();
            }
            let (program, out) = elaborate::block(&spec, &block.name.name, &settings);
            let program = program.unwrap_or_else(|| panic!("{} {}\n{}", path.display(), block.name.name, shown(&spec, &out)));
            if let Some(wanted) = wanted {
                let count = hir::text::grouped(program.parameters().unwrap());
                assert_eq!(count, wanted.trim(), "{} {}", path.display(), block.name.name);
                counted += 1;
            }
            let lowered = lower::program(&program, &lower::Options { batch: Some(2), ..lower::Options::default() });
            if let Err(errors) = ogive_graph::verify::verify(&lowered.graph) {
                panic!("{} {}: {:?}\n{}", path.display(), block.name.name, errors, ogive_graph::text::print(&lowered.graph));
            }
            let total: u64 = lowered.params.iter().map(lower::Parameter::elements).sum();
            assert_eq!(Some(total), program.parameters());
        }
    }
    assert!(counted >= 14, "{counted} models say how many parameters they have");
}
