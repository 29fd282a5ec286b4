//! Programs by chance: `cargo run --release -p ogive-tests --example generated -- --seed 1 --count 1000`.

use ogive_tests::generate::{Tally, program};

#[allow(clippy::print_stdout, reason = "a command")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1)?.parse().ok().or(Some(default))
    };
    let (seed, count) = (number("--seed", 1).unwrap_or(1), number("--count", 1000).unwrap_or(1000));
    if arguments.iter().any(|a| a == "--show") {
        println!("{}", program(seed).text());
        return;
    }
    std::panic::set_hook(Box::new(|_| ()));
    let mut tally = Tally::default();
    let most = number("--failures", u64::MAX).unwrap_or(u64::MAX);
    for n in seed..seed.saturating_add(count) {
        tally.add(n);
        if tally.failed.len() as u64 >= most {
            break;
        }
    }
    println!("seeds {seed}..{}: {}", seed.saturating_add(count), tally.report());
    if !tally.failed.is_empty() {
        std::process::exit(1);
    }
}
