//! Packs the dictionary that the crate `webster` carries into one text, so that the default data set needs no download.
//! `webster` offers single look-ups only; its dictionary is read from the package's sources, which cargo has fetched.
//!
//! The text is one entry after the other in the order of the headwords, each a line with the headword and a line with its definition.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let dictionary = source()?;
    println!("cargo:rerun-if-changed={}", dictionary.display());
    let entries: BTreeMap<String, String> = serde_json::from_slice(&fs::read(&dictionary)?)?;
    let mut text = String::new();
    for (word, definition) in &entries {
        text.push_str(word.trim());
        text.push('\n');
        text.push_str(definition.trim());
        text.push('\n');
    }
    let out = Path::new(&env::var("OUT_DIR")?).join("webster.gz");
    let mut packed = flate2::GzBuilder::new().write(fs::File::create(out)?, flate2::Compression::best());
    packed.write_all(text.as_bytes())?;
    packed.finish()?;
    Ok(())
}

/// The dictionary's file among the sources of the package `webster`.
fn source() -> Result<PathBuf, Box<dyn Error>> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().ok_or("`cargo metadata` lists no packages")?;
    let webster = packages.iter().find(|p| p["name"] == "webster").ok_or("`webster` is not among the packages")?;
    let manifest = webster["manifest_path"].as_str().ok_or("`webster` has no manifest path")?;
    let folder = Path::new(manifest).parent().ok_or("the manifest of `webster` lies in no folder")?;
    Ok(folder.join("src/dictionary.json"))
}

/// What cargo says of the packages. It reads all of them, also those that only tests need, which a plain build of a fresh machine has not fetched:
/// without a network first, and only where that fails with one.
fn metadata() -> Result<serde_json::Value, Box<dyn Error>> {
    let target = env::var("TARGET")?;
    let mut failure = String::new();
    for network in ["--offline", "--locked"] {
        let arguments = ["metadata", "--format-version", "1", network, "--filter-platform", &target];
        let asked = Command::new(env::var("CARGO")?).args(arguments).current_dir(env::var("CARGO_MANIFEST_DIR")?).output()?;
        if asked.status.success() {
            return Ok(serde_json::from_slice(&asked.stdout)?);
        }
        failure = String::from_utf8_lossy(&asked.stderr).into_owned();
    }
    Err(format!("`cargo metadata` does not tell where the crate `webster` lies: {failure}").into())
}
