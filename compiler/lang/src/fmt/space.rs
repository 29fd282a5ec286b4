//! Spaces between two tokens of a line.

use super::columns;
use crate::parse::tokens::{Kind, Token};

/// Words after which a bracket or a minus starts something new.
const OPENERS: &[&str] = &["and", "or", "not", "of", "if", "else", "stack", "share", "in", "import", "as", "param"];

/// Whether a `-` that is the `i`-th token has no left operand.
pub(super) fn is_prefix(tokens: &[Token], i: usize, text: &str) -> bool {
    let Some(before) = i.checked_sub(1).map(|b| tokens[b]) else { return true };
    match before.kind {
        Kind::Open | Kind::Sign | Kind::Comment => true,
        Kind::Word => OPENERS.contains(&before.text(text)) || contracts(tokens, i - 1, text),
        Kind::Close => contracts(tokens, i - 1, text),
        Kind::Number | Kind::Text => false,
    }
}

/// Whether the token ends the dims of an `@`.
fn contracts(tokens: &[Token], i: usize, text: &str) -> bool {
    let mut start = i;
    if tokens[i].text(text) == "]" {
        let mut depth = 0usize;
        for (j, token) in tokens[..=i].iter().enumerate().rev() {
            match token.kind {
                Kind::Close => depth += 1,
                Kind::Open => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                start = j;
                break;
            }
        }
    } else if tokens[i].kind != Kind::Word {
        return false;
    }
    start > 0 && tokens[start - 1].text(text) == "@"
}

/// Spaces before the `i`-th token, which is not the first. The tokens have no comments.
pub(super) fn before(tokens: &[Token], i: usize, text: &str) -> usize {
    let (token, next) = (tokens[i - 1], tokens[i]);
    let (left, right) = (token.text(text), next.text(text));
    let tight = match (left, right) {
        (_, "," | ":" | ")" | "]" | "." | "..") | ("(" | "[" | "." | ".." | "@", _) | ("{", "}") => true,
        ("-", _) => token.kind == Kind::Sign && is_prefix(tokens, i - 1, text),
        (_, "(" | "[") => match token.kind {
            Kind::Word => !OPENERS.contains(&left) && !contracts(tokens, i - 1, text),
            Kind::Close => left != "}" && !contracts(tokens, i - 1, text),
            _ => false,
        },
        _ => false,
    };
    usize::from(!tight)
}

/// Columns of tokens on one line.
pub(super) fn flat(tokens: &[Token], text: &str) -> usize {
    let mut width = 0;
    for (i, token) in tokens.iter().enumerate() {
        if i > 0 {
            width += before(tokens, i, text);
        }
        width += columns(token.text(text));
    }
    width
}
