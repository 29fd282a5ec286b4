//! Diagnostics as text for people, drawn by miette.

use miette::{Diagnostic as Report, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use crate::diag::{Diagnostic, Diagnostics, Severity};
use crate::source::Sources;

/// How to draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// Columns of a line.
    pub width: usize,
    /// ANSI colours.
    pub colour: bool,
}

impl Default for Style {
    fn default() -> Self {
        Style { width: 88, colour: false }
    }
}

/// One diagnostic with the lines of the spec that it speaks of. Ends with a line break.
pub fn diagnostic(diagnostic: &Diagnostic, sources: &Sources, style: Style) -> String {
    let theme = if style.colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(style.width).with_links(false).with_context_lines(1);
    let source = diagnostic.labels.first().and_then(|l| sources.files.get(l.span.file.0 as usize));
    let source = source.map(|s| NamedSource::new(&s.name, s.text.to_string()));
    let mut text = String::new();
    let report = Drawn { diagnostic, source };
    match handler.render_report(&mut text, &report) {
        Ok(()) => text,
        // Drawing fails only for places outside their file: the message stands without them.
        Err(_) => format!("{}\n\n  × {}\n", diagnostic.code, diagnostic.message),
    }
}

/// All of them, separated by empty lines.
pub fn diagnostics(list: &Diagnostics, sources: &Sources, style: Style) -> String {
    list.list.iter().map(|d| diagnostic(d, sources, style)).collect::<Vec<_>>().join("\n")
}

#[derive(Debug)]
struct Drawn<'a> {
    diagnostic: &'a Diagnostic,
    source: Option<NamedSource<String>>,
}

impl std::fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl Report for Drawn<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(self.diagnostic.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.diagnostic.help.as_ref().map(|h| Box::new(h) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|s| s as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let file = self.diagnostic.labels.first()?.span.file;
        // miette draws one file: a label elsewhere is told by its text alone where the message names it.
        let labels = self.diagnostic.labels.iter().enumerate().filter(move |(_, l)| l.span.file == file).map(|(i, l)| {
            let (start, length) = (l.span.start as usize, l.span.end.saturating_sub(l.span.start) as usize);
            let text = (!l.text.is_empty()).then(|| l.text.clone());
            if i == 0 {
                LabeledSpan::new_primary_with_span(text, (start, length))
            } else {
                LabeledSpan::new_with_span(text, (start, length))
            }
        });
        Some(Box::new(labels))
    }
}
