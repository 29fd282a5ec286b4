//! Specs with one thing wrong: cut short, a token left out, twice or in another's place, a byte changed.

use super::Survey;
use crate::generate::Chance;
use crate::spec;
use ogive_lang::{Loader, Settings, Spec, check, format, render};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is done to a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Only what is before this byte stays.
    Cut(usize),
    /// A token is left out.
    Without(Range<usize>),
    /// A token stands twice.
    Twice(Range<usize>),
    /// Two tokens change places.
    Swapped(Range<usize>, Range<usize>),
    /// A byte becomes another.
    Byte(usize, u8),
}

impl Change {
    /// The changed text.
    pub fn of(&self, text: &str) -> Vec<u8> {
        let bytes = text.as_bytes();
        match self {
            Change::Cut(at) => bytes[..*at].to_vec(),
            Change::Without(r) => [&bytes[..r.start], &bytes[r.end..]].concat(),
            Change::Twice(r) => [&bytes[..r.end], b" ", &bytes[r.start..]].concat(),
            Change::Swapped(a, b) => {
                [&bytes[..a.start], &bytes[b.clone()], &bytes[a.end..b.start], &bytes[a.clone()], &bytes[b.end..]].concat()
            }
            Change::Byte(at, byte) => {
                let mut bytes = bytes.to_vec();
                bytes[*at] = *byte;
                bytes
            }
        }
    }
}

/// The tokens of a text: words, numbers, single other characters; spaces and comments are none.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut comment = false;
    let mut last_word = false;
    for (at, c) in text.char_indices() {
        comment = (comment || text[at..].starts_with("//")) && c != '\n';
        let word = c.is_ascii_alphanumeric() || c == '_';
        if comment || c.is_whitespace() {
            last_word = false;
            continue;
        }
        match out.last_mut() {
            Some(last) if word && last_word => last.end = at + 1,
            _ => out.push(at..at + c.len_utf8()),
        }
        last_word = word;
    }
    out
}

/// Every change of a text that is made here. Bytes are changed once each for four bytes of text.
pub fn changes(text: &str, seed: u64) -> Vec<Change> {
    let mut chance = Chance::new(seed);
    let tokens = tokens(text);
    let mut all: Vec<Change> = (0..text.len()).map(Change::Cut).collect();
    for (i, token) in tokens.iter().enumerate() {
        all.push(Change::Without(token.clone()));
        all.push(Change::Twice(token.clone()));
        if let Some(next) = tokens.get(i + 1) {
            all.push(Change::Swapped(token.clone(), next.clone()));
        }
        let other = &tokens[chance.below(tokens.len())];
        if other.start > token.end {
            all.push(Change::Swapped(token.clone(), other.clone()));
        }
    }
    all.extend((0..text.len() / 4).map(|_| Change::Byte(chance.below(text.len()), (chance.bits() & 0xff) as u8)));
    all
}

/// Reads files beside a spec.
pub struct Beside;

impl Loader for Beside {
    fn load(&self, from: &str, path: &str) -> Result<(String, String), String> {
        let file = Path::new(from).parent().unwrap_or(Path::new("")).join(path);
        std::fs::read_to_string(&file).map(|text| (file.display().to_string(), text)).map_err(|e| e.to_string())
    }
}

/// Reads, checks, formats a text and draws what is wrong; gives whether anything is.
///
/// # Panics
/// Where a message names a place outside the text, or the front end panics.
pub fn front_end(name: &str, bytes: Vec<u8>) -> bool {
    let text = String::from_utf8(bytes.clone()).ok();
    let (spec, mut found) = Spec::load_bytes(name, bytes, &Beside);
    check::check(&spec, &Settings::default()).list.into_iter().for_each(|d| found.push(d));
    for d in &found.list {
        let whole =
            |span: ogive_lang::Span| spec.sources.files.get(span.file.0 as usize).is_some_and(|f| span.end as usize <= f.text.len());
        assert!(d.labels.iter().all(|l| whole(l.span)), "{} points outside the text", d.code);
    }
    let drawn = render::diagnostics(&found, &spec.sources, render::Style::default());
    assert!(found.list.is_empty() || !drawn.is_empty());
    if let Some(text) = text {
        let _ = format(&text);
    }
    found.has_errors()
}

/// Every spec of the repository.
pub fn specs() -> Vec<PathBuf> {
    spec::files(&spec::root().join("specs"), "arch")
}

/// Takes every `stride`-th change of every spec, from the `first` on.
pub fn survey(survey: &mut Survey, first: usize, stride: usize) {
    let mut number = 0;
    for path in specs() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let name = path.display().to_string();
        for change in changes(&text, 1) {
            number += 1;
            if number % stride == first % stride {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                survey.add(|| format!("{file} {change:?}"), || front_end(&name, change.of(&text)));
            }
        }
    }
}
