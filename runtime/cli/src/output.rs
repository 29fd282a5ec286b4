//! Terminals, colours and verbosity.

use crate::args::Args;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicI8, Ordering};

static LEVEL: AtomicI8 = AtomicI8::new(0);
static JSON: AtomicBool = AtomicBool::new(false);

/// Reads the global flags once, before anything is printed.
pub(crate) fn start(args: &Args) {
    let count = |n: u8| i8::try_from(n).unwrap_or(i8::MAX);
    LEVEL.store(count(args.verbose) - count(args.quiet), Ordering::Relaxed);
    JSON.store(args.json, Ordering::Relaxed);
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        eprintln!("a fault in ogive, not in your spec; please report it with the spec and the text below");
        default_hook(info);
    }));
}

/// `--json`.
pub(crate) fn json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// 0 by default, negative with `-q`, positive with `-v`.
pub(crate) fn level() -> i8 {
    LEVEL.load(Ordering::Relaxed)
}

/// Whether stderr is a terminal that shows colours.
pub(crate) fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// A line for people, on stderr.
pub(crate) fn note(text: impl AsRef<str>) {
    if level() >= 0 {
        eprintln!("{}", text.as_ref());
    }
}

/// A line for people who asked for more.
pub(crate) fn detail(text: impl AsRef<str>) {
    if level() >= 1 {
        eprintln!("{}", text.as_ref());
    }
}

/// An error that is no diagnostic of a spec: what happened and what to do.
pub(crate) fn error(text: impl AsRef<str>) {
    let (on, off) = if colour() { ("\x1b[31;1m", "\x1b[0m") } else { ("", "") };
    eprintln!("{on}error{off}: {}", text.as_ref());
}

/// A result, on stdout. A closed pipe ends the process quietly.
pub(crate) fn result(text: impl AsRef<str>) {
    use std::io::Write;
    let text = text.as_ref();
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    if write!(out, "{text}{end}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// 12,345,678.
pub(crate) fn thousands(n: impl Into<u128>) -> String {
    let digits = n.into().to_string();
    let mut text = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

/// 1.5 MiB.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} EiB")
}

/// A table with a header, columns padded; the first column to the left, the others to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    aligned(rows, true)
}

/// A table with a header, all columns to the left.
pub(crate) fn table_left(rows: &[Vec<String>]) -> String {
    aligned(rows, false)
}

fn aligned(rows: &[Vec<String>], right: bool) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(c, s)| {
                let pad = " ".repeat(widths[c].saturating_sub(s.chars().count()));
                if c == 0 || !right { format!("{s}{pad}") } else { format!("{pad}{s}") }
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
        if i == 0 {
            text.push_str(&widths.iter().map(|&w| "-".repeat(w)).collect::<Vec<_>>().join("  "));
            text.push('\n');
        }
    }
    text
}

/// Columns for diagnostics.
pub(crate) fn width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).filter(|c| (40..=200).contains(c)).unwrap_or(100)
}

/// A next step, after an error.
pub(crate) fn help(text: &str) {
    eprintln!("  help: {text}");
}
