//! The tree: sizes of files, marks of unfinished work, printing where it belongs.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace")
}

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "runs" {
            sources(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
}

fn each(mut look: impl FnMut(&str, &str)) {
    let root = root();
    let mut all = Vec::new();
    for folder in ["compiler", "runtime", "tests"] {
        sources(&root.join(folder), &mut all);
    }
    assert!(all.len() > 100, "only {} sources", all.len());
    for path in all {
        let text = std::fs::read_to_string(&path).expect("a source");
        look(&path.strip_prefix(&root).expect("inside").display().to_string(), &text);
    }
}

#[test]
fn no_file_is_longer_than_900_lines() {
    each(|path, text| assert!(text.lines().count() <= 900, "{path} has {} lines", text.lines().count()));
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("FIX", "ME"), concat!("TO", "DO")];
    each(|path, text| {
        for mark in marks {
            assert!(!text.contains(mark), "{path} has {mark}");
        }
    });
}

#[test]
fn only_the_command_line_prints() {
    each(|path, text| {
        let elsewhere = path.contains("/cli/") || path.contains("/tests/") || path.starts_with("tests/") || path.contains("/examples/");
        if !elsewhere && !path.ends_with("build.rs") {
            let line = text.lines().find(|l| {
                let code = l.split("//").next().unwrap_or("");
                code.contains(concat!("print", "ln!(")) && !code.contains('"')
            });
            assert_eq!(line, None, "{path}");
        }
    });
}

/// Where `unsafe` may stand, besides the CPU back end.
const UNSAFE: &[&str] = &["runtime/train/src/data/blob.rs"];

#[test]
fn unsafe_code_stands_in_its_places() {
    each(|path, text| {
        let code = text.lines().any(|l| l.split("//").next().unwrap_or("").contains("unsafe {"));
        if code && path.contains("/src/") {
            assert!(path.starts_with("runtime/jit/") || UNSAFE.contains(&path), "{path} has unsafe code");
        }
    });
}
