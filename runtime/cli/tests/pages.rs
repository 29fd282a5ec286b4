//! Pages of codes that come from files and machines: their commands fail as the page shows, and the repair works.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../compiler/errors");
    let entries =
        |folder: &Path| -> Vec<PathBuf> { std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect() };
    let mut all: Vec<PathBuf> = entries(&root).iter().filter(|p| p.is_dir()).flat_map(|family| entries(family)).collect();
    all.sort();
    all
}

fn fences<'t>(page: &'t str, kind: &str) -> Vec<&'t str> {
    let open = format!("```{kind}\n");
    page.split(&open).skip(1).map(|rest| rest.split("```").next().unwrap_or("").trim_end_matches('\n')).collect()
}

/// Runs commands in a folder where `ogive` is this build.
fn shell(folder: &Path, script: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_ogive"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", program.parent().expect("a folder").display());
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder).env("PATH", path).env("NO_COLOR", "1").env("COLUMNS", "88");
    command.output().expect("a shell")
}

/// The error at the end of what was printed, without what differs between machines: the folder, free memory, numbers of processes.
fn error(output: &Output, folder: &Path) -> String {
    let said = String::from_utf8_lossy(&output.stderr).replace(&folder.display().to_string(), "/home/you");
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    let start = lines.iter().rposition(|l| l.starts_with("error: ") || l.starts_with("arch::")).unwrap_or(0);
    lines[start..].join("\n").trim_end().to_owned()
}

fn steady(text: &str) -> String {
    let number = |text: &str, before: &str, after: &str| {
        let Some((head, rest)) = text.split_once(before) else { return text.to_owned() };
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if digits.starts_with(after) { format!("{head}{before}N{digits}") } else { text.to_owned() }
    };
    number(&number(text, "bytes; ", " are available"), ".writing-1-", "`")
}

#[test]
fn every_page_is_printed() {
    let listed = shell(Path::new("."), "ogive explain");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for file in pages() {
        let page = std::fs::read_to_string(&file).expect("a page");
        let code = page.lines().next().unwrap_or("").trim_start_matches("# ");
        let output = shell(Path::new("."), &format!("ogive explain {code}"));
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).trim_end() == page.trim_end(), "{code}");
        assert!(listed.lines().any(|l| l.split_whitespace().next() == Some(code)), "{code} is not listed");
    }
}

/// With `OGIVE_BLESS=1` what the pages show is written anew.
#[test]
fn commands_of_pages_fail_as_shown_and_their_repairs_work() {
    let bless = std::env::var_os("OGIVE_BLESS").is_some();
    let (mut faults, mut run) = (String::new(), 0);
    for file in pages() {
        let page = std::fs::read_to_string(&file).expect("a page");
        let code = page.lines().next().unwrap_or("").trim_start_matches("# ").to_owned();
        let scripts = fences(&page, "sh");
        if scripts.is_empty() {
            continue;
        }
        run += 1;
        let ([failing, repaired], [spec]) = (&scripts[..], &fences(&page, "arch")[..]) else {
            panic!("{code}: a spec, commands that fail and their repair are expected")
        };
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().canonicalize().expect("a folder");
        std::fs::write(at.join("spec.arch"), format!("{spec}\n")).expect("writable");
        let failed = shell(&at, failing);
        let shown = fences(&page, "text").first().map_or("", |t| t).to_owned();
        let said = error(&failed, &at);
        if failed.status.success() || !said.contains(&code) {
            faults.push_str(&format!("{code}: the commands give {:?} and\n{said}\n", failed.status.code()));
        }
        if steady(&said) != steady(&shown) {
            if bless {
                let fresh = page.replacen(&format!("```text\n{shown}\n```"), &format!("```text\n{said}\n```"), 1);
                std::fs::write(&file, fresh).expect("writable");
            } else {
                faults.push_str(&format!("{code}: the page shows something else than\n{said}\n"));
            }
        }
        let after = shell(&at, &format!("set -e\n{repaired}"));
        if !after.status.success() {
            faults.push_str(&format!("{code}: the repair gives\n{}\n", String::from_utf8_lossy(&after.stderr)));
        }
    }
    assert!(faults.is_empty(), "{faults}");
    assert!(run >= 26, "only {run} pages have commands");
}
