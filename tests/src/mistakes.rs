//! Specs with one mistake of the kind that people make, and whether the first message leads to it.

use crate::hostile::text::Beside;
use crate::spec;
use ogive_lang::{Settings, Severity, Spec, check};
use std::ops::Range;

/// One entry of `tests/mistakes/corpus.txt`.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// The spec, from the root of the repository.
    pub spec: String,
    /// `misspelt`, `dim`, `missing`, ...
    pub kind: String,
    /// What stood there.
    pub before: String,
    /// What was written.
    pub after: String,
}

/// What the front end makes of a mistake.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first error and its help line; none where the spec passes.
    pub first: Option<String>,
    /// Whether the first error underlines something on the changed lines.
    pub on_the_line: bool,
    /// Whether what the first error suggests, put in the place that it underlines, gives the text before the mistake.
    pub repaired: bool,
}

/// All entries.
///
/// # Panics
/// Where the file is not as its first lines say.
pub fn corpus() -> Vec<Mistake> {
    let text = std::fs::read_to_string(spec::root().join("tests/mistakes/corpus.txt")).expect("the mistakes");
    let mut of = String::new();
    let mut out = Vec::new();
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with("//")) {
        if let Some(path) = line.strip_prefix("# ") {
            of = path.to_owned();
            continue;
        }
        let parts = line.split_once(": ").and_then(|(kind, rest)| Some((kind, rest.split_once(" => ")?)));
        let (kind, (before, after)) = parts.unwrap_or_else(|| panic!("no mistake: {line}"));
        let [before, after] = [before, after].map(|t| t.replace("\\n", "\n"));
        out.push(Mistake { spec: of.clone(), kind: kind.to_owned(), before, after });
    }
    out
}

/// The lines, from 1, that `after` in place of `before` at byte `at` changes in the new text.
fn changed(text: &str, at: usize, before: &str, after: &str) -> Range<usize> {
    let front = before.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
    let most = before.len().min(after.len()) - front;
    let back = before.bytes().rev().zip(after.bytes().rev()).take(most).take_while(|(a, b)| a == b).count();
    let line = |end: usize| text.as_bytes()[..end].iter().filter(|b| **b == b'\n').count() + 1;
    let first = line(at + front);
    let added = after.as_bytes()[front..after.len() - back].iter().filter(|b| **b == b'\n').count();
    first..first + added + 1
}

impl Mistake {
    /// Makes it and checks the spec.
    ///
    /// # Panics
    /// Where the text before the mistake is not in the spec, or the spec is wrong without it.
    pub fn outcome(&self) -> Outcome {
        let path = spec::root().join(&self.spec);
        let right = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", self.spec));
        let at = right.rfind(&self.before).unwrap_or_else(|| panic!("{}: no `{}`", self.spec, self.before));
        let wrong = format!("{}{}{}", &right[..at], self.after, &right[at + self.before.len()..]);
        let lines = changed(&right, at, &self.before, &self.after);

        let (checked, mut found) = Spec::load_bytes(&path.display().to_string(), wrong.clone().into_bytes(), &Beside);
        check::check(&checked, &Settings::default()).list.into_iter().for_each(|d| found.push(d));
        found.sort(&checked.sources);
        let Some(error) = found.list.iter().find(|d| d.severity == Severity::Error) else {
            return Outcome { first: None, on_the_line: false, repaired: false };
        };
        let line = |at: u32| wrong.as_bytes()[..(at as usize).min(wrong.len())].iter().filter(|b| **b == b'\n').count() + 1;
        let own = |l: &&ogive_lang::Label| checked.sources.files.get(l.span.file.0 as usize).is_some_and(|f| *f.text == *wrong);
        let on_the_line = error.labels.iter().filter(own).any(|l| lines.contains(&line(l.span.start)));
        let suggested = error.help.as_deref().and_then(|h| h.split('`').nth(1));
        let repaired = match (suggested, error.labels.first().filter(own)) {
            (Some(new), Some(l)) => format!("{}{new}{}", &wrong[..l.span.start as usize], &wrong[l.span.end as usize..]) == right,
            _ => false,
        };
        let help = error.help.as_deref().unwrap_or("-");
        Outcome { first: Some(format!("{} (help: {help})", error.message)), on_the_line, repaired }
    }
}
