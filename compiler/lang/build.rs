//! Lists the standard library and the error pages, so that a new file is embedded without further ado.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var("OUT_DIR").unwrap_or_default());
    println!("cargo::rerun-if-changed=../../grammar/arch.pest");

    let std = root.join("../../specs/std");
    let mut list =
        String::from("/// Name and text of each file of the standard library, by name.\npub const FILES: &[(&str, &str)] = &[\n");
    for path in files(&std, "arch")? {
        let _ = writeln!(list, "    ({:?}, include_str!({:?})),", stem(&path), path);
    }
    list.push_str("];\n");
    fs::write(out.join("std.rs"), list)?;

    let errors = root.join("../errors");
    println!("cargo::rerun-if-changed={}", errors.display());
    let mut list = String::from("/// Code and text of each page, by code.\npub(super) const PAGES: &[(&str, &str)] = &[\n");
    let mut families: Vec<PathBuf> = fs::read_dir(&errors)?.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>()?;
    families.retain(|p| p.is_dir());
    families.sort();
    for family in families {
        for path in files(&family, "md")? {
            let _ = writeln!(list, "    (\"arch::{}::{}\", include_str!({:?})),", stem(&family), stem(&path), path);
        }
    }
    list.push_str("];\n");
    fs::write(out.join("pages.rs"), list)
}

/// The files of a folder with an extension, sorted; none where the folder does not exist.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut all: Vec<PathBuf> = fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>()?;
    all.retain(|p| p.extension().is_some_and(|e| e == extension));
    all.sort();
    for path in &all {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    Ok(all)
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}
