//! A coarse cut of the text into tokens, in one linear pass and before the grammar sees it.
//!
//! It finds what is wrong with single tokens, refuses what is too deep or too long, tells the recovery where statements start and gives
//! the formatter its material. What the tokens may say together is the grammar's to decide.

use crate::codes::syntax as code;
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::{FileId, Span};

/// Largest file, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Most tokens of a file.
pub const MAX_TOKENS: usize = 200_000;
/// Deepest nesting of brackets, and greatest height of an expression.
pub const MAX_DEPTH: usize = 128;

/// Words that no name may have.
pub const RESERVED: &[&str] = &[
    "param", "state", "prev", "scan", "stack", "share", "tap", "instance", "if", "else", "true", "false", "inf", "and", "or", "not", "as",
    "of",
];
/// Words that start an item.
pub const ITEMS: &[&str] = &["import", "const", "block", "cell", "model", "experiment", "sweep"];

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A name or a word of the language.
    Word,
    /// A number.
    Number,
    /// `"text"`.
    Text,
    /// One of `( [ {`.
    Open,
    /// One of `) ] }`.
    Close,
    /// Any other sign.
    Sign,
    /// `// ...` up to the end of the line.
    Comment,
}

/// A token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    /// What.
    pub(crate) kind: Kind,
    /// Whether nothing but blanks stands before it on its line.
    pub(crate) first: bool,
    /// First byte.
    pub(crate) start: u32,
    /// One past the last byte.
    pub(crate) end: u32,
}

impl Token {
    /// The token as written.
    pub(crate) fn text(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or("")
    }
}

/// Whether the grammar should go on after [`scan`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Every token is well formed.
    Good,
    /// Some token is reported; statements without such tokens are still worth reading.
    Flawed,
    /// Too large or too deep: reported, nothing more to do.
    Refused,
}

/// Tokens of a file whose size is within [`MAX_BYTES`].
pub(crate) fn scan(file: FileId, text: &str, out: &mut Diagnostics) -> (Vec<Token>, Verdict) {
    let mut scanner = Scanner { file, text, bytes: text.as_bytes(), at: 0, first: true, depth: 0, tokens: Vec::new(), flaws: 0 };
    let refused = scanner.run(out);
    let verdict = match (refused, scanner.flaws) {
        (true, _) => Verdict::Refused,
        (false, 0) => Verdict::Good,
        (false, _) => Verdict::Flawed,
    };
    (scanner.tokens, verdict)
}

struct Scanner<'a> {
    file: FileId,
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    first: bool,
    depth: usize,
    tokens: Vec<Token>,
    flaws: usize,
}

const MAX_FLAWS: usize = 50;

impl Scanner<'_> {
    fn run(&mut self, out: &mut Diagnostics) -> bool {
        while let Some(&byte) = self.bytes.get(self.at) {
            let start = self.at;
            let kind = match byte {
                b' ' | b'\t' | b'\r' => {
                    self.at += 1;
                    continue;
                }
                b'\n' => {
                    self.at += 1;
                    self.first = true;
                    continue;
                }
                b'/' if self.bytes.get(start + 1) == Some(&b'/') => {
                    self.at = self.bytes[start..].iter().position(|&b| b == b'\n').map_or(self.bytes.len(), |n| start + n);
                    Kind::Comment
                }
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                    self.skip_while(|b| b.is_ascii_alphanumeric() || b == b'_');
                    Kind::Word
                }
                b'0'..=b'9' => self.number(out),
                b'.' if self.bytes.get(start + 1).is_some_and(u8::is_ascii_digit) && !self.after_operand() => self.number(out),
                b'"' => self.quoted(out),
                b'(' | b'[' | b'{' => {
                    self.at += 1;
                    self.depth += 1;
                    if self.depth > MAX_DEPTH {
                        out.push(too_deep(self.span(start)));
                        return true;
                    }
                    Kind::Open
                }
                b')' | b']' | b'}' => {
                    self.at += 1;
                    self.depth = self.depth.saturating_sub(1);
                    Kind::Close
                }
                _ => self.sign(out),
            };
            if self.tokens.len() >= MAX_TOKENS {
                let message = format!("a spec has at most {MAX_TOKENS} tokens, this file has more");
                out.push(Diagnostic::error(code::TOO_LARGE, message, self.span(start), "the limit is reached here").help(SPLIT_UP));
                return true;
            }
            self.tokens.push(Token { kind, first: self.first, start: small(start), end: small(self.at) });
            self.first = false;
        }
        false
    }

    fn skip_while(&mut self, accept: impl Fn(u8) -> bool) {
        while self.bytes.get(self.at).is_some_and(|&b| accept(b)) {
            self.at += 1;
        }
    }

    fn span(&self, start: usize) -> Span {
        Span { file: self.file, start: small(start), end: small(self.at.max(start)) }
    }

    fn flaw(&mut self, out: &mut Diagnostics, diagnostic: Diagnostic) {
        self.flaws += 1;
        if self.flaws <= MAX_FLAWS {
            out.push(diagnostic);
        }
    }

    /// Whether a `.` here belongs to a name or to a range and not to a number.
    fn after_operand(&self) -> bool {
        self.tokens.last().is_some_and(|t| {
            t.end as usize == self.at && (matches!(t.kind, Kind::Word | Kind::Close | Kind::Number) || t.text(self.text) == "..")
        })
    }

    fn number(&mut self, out: &mut Diagnostics) -> Kind {
        let start = self.at;
        self.skip_while(|b| b.is_ascii_digit());
        let dot = self.bytes.get(self.at) == Some(&b'.') && self.bytes.get(self.at + 1) != Some(&b'.');
        if dot {
            self.at += 1;
            self.skip_while(|b| b.is_ascii_digit());
        }
        let hex = self.text[start..self.at] == *"0" && matches!(self.bytes.get(self.at), Some(b'x' | b'X'));
        let exponent = !hex && matches!(self.bytes.get(self.at), Some(b'e' | b'E'));
        if exponent {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
        }
        self.skip_while(|b| b.is_ascii_alphanumeric() || b == b'_');
        while self.bytes.get(self.at) == Some(&b'.') && self.bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
            self.skip_while(|b| b.is_ascii_alphanumeric() || b == b'_');
        }
        let written = &self.text[start..self.at];
        if let Some((message, help)) = number_flaw(written) {
            let diagnostic = Diagnostic::error(code::NUMBER, message, self.span(start), "this number").help(help);
            self.flaw(out, diagnostic);
        }
        Kind::Number
    }

    fn quoted(&mut self, out: &mut Diagnostics) -> Kind {
        let start = self.at;
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                None | Some(b'\n') => {
                    let diagnostic = Diagnostic::error(
                        code::UNTERMINATED_TEXT,
                        "the closing quote of a text is missing",
                        self.span(start),
                        "the text starts here",
                    )
                    .help("end the text with `\"` on the same line");
                    self.flaw(out, diagnostic);
                    return Kind::Text;
                }
                Some(b'\\') if self.bytes.get(self.at + 1).is_some_and(|&b| b != b'\n') => {
                    self.at += 1 + self.text[self.at + 1..].chars().next().map_or(0, char::len_utf8);
                }
                Some(b'"') => {
                    self.at += 1;
                    return Kind::Text;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn sign(&mut self, out: &mut Diagnostics) -> Kind {
        let start = self.at;
        let rest = &self.text[start..];
        let two = ["->", "|>", "<=", ">=", "==", "!=", ".."];
        if two.iter().any(|s| rest.starts_with(s)) {
            self.at += 2;
            return Kind::Sign;
        }
        let Some(sign) = rest.chars().next() else { return Kind::Sign };
        self.at += sign.len_utf8();
        if !"=:,.|~@+-*/^<>".contains(sign) {
            if sign == '&' && rest.starts_with("&&") {
                self.at += 1;
            }
            // A run of foreign characters is one mistake, not many.
            while let Some(next) = self.text[self.at..].chars().next().filter(|c| !c.is_ascii() || (c.is_control() && !c.is_whitespace())) {
                self.at += next.len_utf8();
            }
            let written = if sign.is_control() { sign.escape_unicode().to_string() } else { sign.to_string() };
            let message = format!("`{written}` has no meaning here");
            let diagnostic = Diagnostic::error(code::BAD_CHARACTER, message, self.span(start), "this character").help(match sign {
                ';' => "statements end without a sign: delete it",
                '!' => "write `not x`, or `a != b`",
                '&' => "write `a and b`",
                '\'' => "texts stand in double quotes",
                '#' => "a comment starts with `//`",
                '%' => "there is no such operator; write the fraction as a number, such as `0.05`",
                c if c.is_alphabetic() => "names are made of the letters a to z, digits and `_`",
                _ => "delete it",
            });
            self.flaw(out, diagnostic);
        }
        Kind::Sign
    }
}

const SPLIT_UP: &str = "move blocks to files of their own and `import` them";

/// The diagnostic for nesting beyond [`MAX_DEPTH`].
pub(super) fn too_deep(at: Span) -> Diagnostic {
    let message = format!("this is nested more than {MAX_DEPTH} levels deep");
    Diagnostic::error(code::TOO_DEEP, message, at, "the limit is reached here").help("give inner parts names with equations of their own")
}

/// The diagnostic for a file beyond [`MAX_BYTES`].
pub(super) fn too_large(file: FileId, bytes: usize) -> Diagnostic {
    let message = format!("a spec has at most {MAX_BYTES} bytes, this file has {bytes}");
    Diagnostic::error(code::TOO_LARGE, message, Span { file, start: 0, end: 0 }, "this file").help(SPLIT_UP)
}

fn small(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// What is wrong with a number, and what to write.
fn number_flaw(written: &str) -> Option<(String, String)> {
    let fraction = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match written.find(['e', 'E']) {
        Some(at) => (&written[..at], Some(written[at + 1..].trim_start_matches(['+', '-']))),
        None => (written, None),
    };
    let (whole, part) = match mantissa.split_once('.') {
        Some((whole, part)) => (whole, Some(part)),
        None => (mantissa, None),
    };
    let well_formed = fraction(whole) && part.is_none_or(fraction) && exponent.is_none_or(fraction);
    if !well_formed {
        let help = if written.starts_with('.') {
            format!("write `0{written}`")
        } else if written.ends_with('.') {
            format!("write `{written}0`")
        } else if written.contains('_') {
            format!("write `{}`", written.replace('_', ""))
        } else {
            "numbers look like `16`, `0.5` or `1e-3`; names start with a letter".to_owned()
        };
        return Some((format!("`{written}` is not a number"), help));
    }
    match written.parse::<f64>() {
        Ok(value) if value.is_finite() => None,
        _ => Some((
            format!("`{}` is larger than any number here", clip(written)),
            "the largest number is about 1.8e308; infinity is `inf`".into(),
        )),
    }
}

/// At most 24 characters of a token.
pub(super) fn clip(written: &str) -> String {
    if written.chars().count() <= 24 {
        return written.to_owned();
    }
    let head: String = written.chars().take(20).collect();
    format!("{head}…")
}
