//! parse: text to the tree of [`crate::syntax`].
//!
//! The grammar in `grammar/arch.pest` is the definition. A file that matches it as a whole is read in one go; otherwise [`recover`] cuts
//! it into items and statements, reads each alone and reports one error for each that fails, so that independent mistakes are found in
//! one run. No text makes this panic, overflow the stack or take more than time and memory proportional to its length.

use pest::Parser;

use crate::codes;
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::{FileId, Span};
use crate::syntax::File;

mod expr;
mod item;
mod message;
mod recover;
pub(crate) mod tokens;

pub use tokens::{ITEMS, MAX_BYTES, MAX_DEPTH, MAX_TOKENS, RESERVED};

#[allow(missing_docs, reason = "one variant for each rule of grammar/arch.pest")]
mod grammar {
    #[derive(pest_derive::Parser)]
    #[grammar = "../../../grammar/arch.pest"]
    pub(super) struct Grammar;
}
use grammar::{Grammar, Rule};

type Pair<'t> = pest::iterators::Pair<'t, Rule>;

/// Reads a file. What cannot be read is reported and left out; statements that fail leave their names behind with
/// [`crate::syntax::ExprKind::Error`] as value.
pub fn parse(file: FileId, text: &str, out: &mut Diagnostics) -> File {
    if text.len() > MAX_BYTES {
        out.push(tokens::too_large(file, text.len()));
        return File::default();
    }
    if let Some(at) = text.bytes().position(|b| b == 0) {
        let start = u32::try_from(at).unwrap_or(u32::MAX);
        out.push(not_text(Span { file, start, end: start }, Some(0)));
        return File::default();
    }
    let (tokens, verdict) = tokens::scan(file, text, out);
    if verdict == tokens::Verdict::Refused {
        return File::default();
    }
    let tokens: Vec<_> = tokens.into_iter().filter(|t| t.kind != tokens::Kind::Comment).collect();
    let mut reader = Reader { file, base: 0, most: usize::MAX, text, tokens: &tokens, out };
    if verdict == tokens::Verdict::Good
        && let Ok(pairs) = Grammar::parse(Rule::file, text)
    {
        return reader.file(pairs);
    }
    recover::file(&mut reader, &tokens)
}

/// The diagnostic for bytes that are not text.
pub(crate) fn not_text(at: Span, byte: Option<u8>) -> Diagnostic {
    let message = match byte {
        Some(byte) => format!("a spec is UTF-8 text, here is the byte 0x{byte:02x}"),
        None => "a spec is UTF-8 text, this file is not".to_owned(),
    };
    Diagnostic::error(codes::syntax::NOT_TEXT, message, at, "not text").help("save the file as UTF-8, or name another file")
}

/// Makes the tree from what the grammar matched.
struct Reader<'a> {
    file: FileId,
    /// Where the matched part starts in the file.
    base: usize,
    /// Diagnostics at which no more parts are read.
    most: usize,
    /// The whole file.
    text: &'a str,
    /// Without comments.
    tokens: &'a [tokens::Token],
    out: &'a mut Diagnostics,
}

impl Reader<'_> {
    fn span(&self, pair: &Pair<'_>) -> Span {
        let span = pair.as_span();
        let (start, end) = (self.base + span.start(), self.base + span.end());
        // A rule that ends with something optional has read the space before it.
        let after = self.tokens.partition_point(|t| t.end as usize <= end);
        let end = after.checked_sub(1).map_or(end, |last| self.tokens[last].end as usize);
        self.at(start, end.max(start))
    }

    fn at(&self, start: usize, end: usize) -> Span {
        let small = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { file: self.file, start: small(start), end: small(end) }
    }
}

/// The parts of a pair without the signs and words that only hold it together.
fn parts<'t>(pair: Pair<'t>) -> impl Iterator<Item = Pair<'t>> {
    pair.into_inner().filter(|p| !is_glue(p.as_rule()))
}

fn is_glue(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::eq
            | Rule::colon
            | Rule::tilde
            | Rule::arrow
            | Rule::k_import
            | Rule::k_from
            | Rule::k_const
            | Rule::k_experiment
            | Rule::k_sweep
            | Rule::k_param
            | Rule::k_state
            | Rule::k_instance
            | Rule::k_tap
            | Rule::k_of
            | Rule::k_scan
            | Rule::k_backward
            | Rule::k_along
            | Rule::k_if
            | Rule::k_else
            | Rule::k_prev
            | Rule::k_in
            | Rule::k_as
            | Rule::EOI
    )
}
