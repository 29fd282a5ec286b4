//! The formatter: one look, no options.
//!
//! It moves tokens and never adds or removes one, so the tree stays what it was. Rows come from the spans of the tree, spaces from
//! pairs of tokens ([`space`]), line breaks from the brackets ([`wrap`]), columns from neighbouring rows ([`align`]). Line breaks of the
//! input count in three places only: one empty line between rows is kept, an item or setting whose braces stand on one line stays so
//! where it fits, and comments stay where they are.

mod align;
mod rows;
mod space;
mod wrap;

use crate::diag::Diagnostics;
use crate::parse;
use crate::parse::tokens::{self, Kind, Token};
use crate::source::FileId;
use rows::Row;

/// Columns after which a line is broken.
const WIDTH: usize = 110;

/// The text in the one look. A text with syntax errors is left alone and its errors are returned.
pub fn format(text: &str) -> Result<String, Diagnostics> {
    let mut out = Diagnostics::default();
    let file = parse::parse(FileId::default(), text, &mut out);
    if out.has_errors() {
        return Err(out);
    }
    let (tokens, _) = tokens::scan(FileId::default(), text, &mut out);
    let mut rows = rows::rows(&file, text, &tokens);
    align::align(&mut rows, text);
    Ok(write(&rows, text))
}

/// A row or a comment between rows, in the order of the text.
#[derive(Debug)]
enum Line {
    Row(Row),
    Comment { token: Token, indent: usize },
}

impl Line {
    fn start(&self) -> u32 {
        match self {
            Line::Row(row) => row.tokens.first().map_or(0, |t| t.start),
            Line::Comment { token, .. } => token.start,
        }
    }

    fn end(&self) -> u32 {
        match self {
            Line::Row(row) => row.comment.or(row.tokens.last().copied()).map_or(0, |t| t.end),
            Line::Comment { token, .. } => token.end,
        }
    }
}

fn write(lines: &[Line], text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for (i, line) in lines.iter().enumerate() {
        if i > 0 && spaced(&lines[i - 1], line, text) {
            out.push('\n');
        }
        match line {
            Line::Comment { token, indent } => {
                out.push_str(&" ".repeat(*indent));
                out.push_str(token.text(text).trim_end());
            }
            Line::Row(row) => {
                out.push_str(&wrap::row(row, text));
                if let Some(comment) = row.comment {
                    out.push_str("  ");
                    out.push_str(comment.text(text).trim_end());
                }
            }
        }
        out.push('\n');
    }
    out
}

/// Whether the text has an empty line between two lines where one is kept.
fn spaced(before: &Line, after: &Line, text: &str) -> bool {
    let opens = matches!(before, Line::Row(row) if row.tokens.last().is_some_and(|t| t.text(text) == "{"));
    let closes = matches!(after, Line::Row(row) if row.tokens.first().is_some_and(|t| t.text(text) == "}"));
    let between = text.get(before.end() as usize..after.start() as usize).unwrap_or("");
    !opens && !closes && between.bytes().filter(|&b| b == b'\n').count() > 1
}

/// Columns of a text.
fn columns(text: &str) -> usize {
    text.chars().count()
}

fn is_sign(token: Token, text: &str, sign: &str) -> bool {
    token.kind == Kind::Sign && token.text(text) == sign
}
