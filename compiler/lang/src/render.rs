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
    let mut text = String::new();
    let source = diagnostic.labels.first().and_then(|l| sources.files.get(l.span.file.0 as usize));
    let report = match source {
        Some(source) if drawable(diagnostic, &source.text) => {
            let elsewhere = elsewhere(diagnostic, sources);
            let source = Some(NamedSource::new(&source.name, source.text.to_string()));
            Drawn { diagnostic, message: diagnostic.message.clone(), source, elsewhere }
        }
        _ => Drawn { diagnostic, message: located(diagnostic, sources), source: None, elsewhere: None },
    };
    match handler.render_report(&mut text, &report) {
        Ok(()) => text,
        Err(_) => format!("{}\n\n  × {}\n", diagnostic.code, located(diagnostic, sources)),
    }
}

/// The places in the first other file than the primary one's.
fn elsewhere(diagnostic: &Diagnostic, sources: &Sources) -> Option<Elsewhere> {
    let file = diagnostic.labels.first()?.span.file;
    let label = diagnostic.labels.iter().find(|l| l.span.file != file)?;
    let source = sources.files.get(label.span.file.0 as usize)?;
    let there: Vec<_> = diagnostic.labels.iter().filter(|l| l.span.file == label.span.file).cloned().collect();
    let places =
        there.iter().map(|l| (l.text.clone(), (l.span.start as usize, l.span.end.saturating_sub(l.span.start) as usize))).collect();
    let alone = Diagnostic { labels: there, ..diagnostic.clone() };
    drawable(&alone, &source.text).then(|| Elsewhere {
        name: source.name.to_string(),
        source: NamedSource::new(&source.name, source.text.to_string()),
        places,
    })
}

/// Longest line that is drawn, in bytes.
const LONGEST_LINE: usize = 2000;

/// Whether the lines around the labels are of a length that makes sense on a screen.
fn drawable(diagnostic: &Diagnostic, text: &str) -> bool {
    let bytes = text.as_bytes();
    let file = diagnostic.labels.first().map(|l| l.span.file);
    diagnostic.labels.iter().filter(|l| Some(l.span.file) == file).all(|label| {
        let (start, end) = (label.span.start as usize, label.span.end as usize);
        if start > end || end > bytes.len() || !text.is_char_boundary(start) || !text.is_char_boundary(end) {
            return false;
        }
        // Two lines up and down: the label's own and the one of context.
        let lines_up = bytes[..start].rsplit(|&b| b == b'\n').take(2);
        let lines_down = bytes[end..].split(|&b| b == b'\n').take(2);
        let inside = bytes[start..end].split(|&b| b == b'\n');
        lines_up.chain(lines_down).chain(inside).all(|line| line.len() <= LONGEST_LINE)
    })
}

/// The message with file, line and column of the primary label.
fn located(diagnostic: &Diagnostic, sources: &Sources) -> String {
    let Some(span) = diagnostic.labels.first().map(|l| l.span) else { return diagnostic.message.clone() };
    let Some(source) = sources.files.get(span.file.0 as usize) else { return diagnostic.message.clone() };
    let before = source.text.get(..span.start as usize).unwrap_or("");
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    format!("{} ({}:{}:{column})", diagnostic.message, source.name, sources.line(span))
}

/// All of them, separated by empty lines.
pub fn diagnostics(list: &Diagnostics, sources: &Sources, style: Style) -> String {
    list.list.iter().map(|d| diagnostic(d, sources, style)).collect::<Vec<_>>().join("\n")
}

#[derive(Debug)]
struct Drawn<'a> {
    diagnostic: &'a Diagnostic,
    message: String,
    source: Option<NamedSource<String>>,
    elsewhere: Option<Elsewhere>,
}

/// Places in another file.
#[derive(Debug)]
struct Elsewhere {
    name: String,
    source: NamedSource<String>,
    /// Texts with start and length; the first is the primary one.
    places: Vec<(String, (usize, usize))>,
}

impl std::fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "in {}", self.name)
    }
}

impl std::error::Error for Elsewhere {}

impl Report for Elsewhere {
    fn severity(&self) -> Option<miette::Severity> {
        Some(miette::Severity::Advice)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.places.iter().enumerate().map(|(i, (text, span))| {
            let text = Some(text.clone());
            if i == 0 { LabeledSpan::new_primary_with_span(text, *span) } else { LabeledSpan::new_with_span(text, *span) }
        })))
    }
}

impl std::fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
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

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Report> + 'a>> {
        self.elsewhere.as_ref().map(|e| Box::new(std::iter::once(e as &dyn Report)) as Box<dyn Iterator<Item = &'a dyn Report>>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|s| s as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let file = self.diagnostic.labels.first()?.span.file;
        // a drawing is of one file
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
