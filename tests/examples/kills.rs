//! Kills training, fills its disk, takes its rights away, and holds what resumes against the unbroken run:
//! `cargo run --release -p ogive-tests --example kills -- --ogive target/release/ogive --kills 34`, for each of three specs.

use ogive_tests::kills::{SPECS, check};
use ogive_tests::walls::{self, Wall};
use std::path::PathBuf;

#[allow(clippy::print_stdout, reason = "a command")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let given = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1).cloned());
    let ogive = PathBuf::from(given("--ogive").unwrap_or_else(|| "target/release/ogive".into()));
    let ogive = std::path::absolute(&ogive).unwrap_or(ogive);
    let kills = given("--kills").and_then(|k| k.parse().ok()).unwrap_or(34);
    let seed = given("--seed").and_then(|k| k.parse().ok()).unwrap_or(1);
    let mut failed = false;
    for &spec in SPECS {
        match check(&ogive, spec, kills, seed) {
            Ok(found) => println!(
                "{}: {} kills, {} of them within the writing of a checkpoint, {} before the first; resumed bit by bit",
                spec.0, found.killed, found.writing, found.begun_again
            ),
            Err(why) => {
                failed = true;
                println!("{why}");
            }
        }
    }
    for wall in [Wall::ReadOnly, Wall::Full] {
        for &spec in SPECS {
            match walls::check(&ogive, spec, wall, 2) {
                Ok(said) => {
                    let first = said.lines().map(str::trim).find(|l| l.contains("cannot")).unwrap_or_default();
                    println!("{}, {wall:?}: resumed bit by bit after: {first}", spec.0);
                }
                Err(why) => {
                    failed = true;
                    println!("{}, {wall:?}: {why}", spec.0);
                }
            }
        }
    }
    if failed {
        std::process::exit(1);
    }
}
