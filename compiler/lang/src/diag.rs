//! Diagnostics: a stable code, a message, labelled places, help. Rendered by the command line.

use crate::source::{Sources, Span};

/// How bad.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Compilation goes on.
    Warning,
    /// No graph.
    Error,
}

/// A labelled place.
#[derive(Clone, PartialEq, Debug)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// At most six words.
    pub text: String,
}

/// One diagnostic. The first label is the primary one.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagnostic {
    /// `arch::shape::not_subset`; has a page under `compiler/errors/`.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// Lower-case start, no full stop, names in back-quotes, both facts.
    pub message: String,
    /// One primary and at most four more.
    pub labels: Vec<Label>,
    /// An edit that can be pasted.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error with its primary label.
    pub fn error(code: &'static str, message: impl Into<String>, at: Span, label: impl Into<String>) -> Self {
        let labels = vec![Label { span: at, text: label.into() }];
        Diagnostic { code, severity: Severity::Error, message: message.into(), labels, help: None }
    }

    /// A warning with its primary label.
    pub fn warning(code: &'static str, message: impl Into<String>, at: Span, label: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Self::error(code, message, at, label) }
    }

    /// Adds a label; the sixth and later are dropped.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        if self.labels.len() < 5 {
            self.labels.push(Label { span, text: text.into() });
        }
        self
    }

    /// Sets the help line.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

/// Everything that was found, in the order of finding.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// The list.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds one; an equal one (same code and primary place; of `--set`, the same message) is dropped, and so is what exceeds all patience: warnings after the 500th
    /// entry, errors after the 1000th.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let most = if diagnostic.severity == Severity::Error { 1000 } else { 500 };
        if self.list.len() >= most {
            return;
        }
        // what is wrong on the command line has no place of its own
        let message = |d: &Diagnostic| d.code.starts_with("arch::set::").then(|| d.message.clone());
        let place = |d: &Diagnostic| (d.code, d.labels.first().map(|l| l.span), message(d));
        if !self.list.iter().any(|d| place(d) == place(&diagnostic)) {
            self.list.push(diagnostic);
        }
    }

    /// Whether there is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// Orders by file and place, errors as found within one place.
    pub fn sort(&mut self, _sources: &Sources) {
        self.list.sort_by_key(|d| d.labels.first().map_or_else(Span::default, |l| l.span));
    }
}
