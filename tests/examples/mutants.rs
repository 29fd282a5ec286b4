//! Damaged specs and files: `cargo run --release -p ogive-tests --example mutants -- --stride 10 --files 10000 --folders 2000`.

use ogive_tests::hostile::{Survey, files, folders, text};

#[allow(clippy::print_stdout, reason = "a command")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: usize| {
        let at = arguments.iter().position(|a| a == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    std::panic::set_hook(Box::new(|_| ()));
    let mut specs = Survey::default();
    text::survey(&mut specs, number("--first", 0), number("--stride", 1).max(1));
    println!("specs: {}", specs.report());
    let mut tensors = Survey::default();
    files::survey(&mut tensors, number("--seed", 1) as u64, number("--files", 10_000) as u64);
    println!("tensor files: {}", tensors.report());
    let mut runs = Survey::default();
    folders::survey(&mut runs, number("--seed", 1) as u64, number("--folders", 2_000) as u64);
    println!("runs and data: {}", runs.report());
    if let Some(peak) = ogive_runtime::memory::peak() {
        println!("peak of resident memory: {} MiB", peak >> 20);
    }
    if !(specs.panics.is_empty() && tensors.panics.is_empty() && runs.panics.is_empty()) {
        std::process::exit(1);
    }
}
