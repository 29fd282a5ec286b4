//! A cursor over one line of the textual form.

use crate::text::{is_axis_char, is_axis_word, is_word_char};

/// What is left of a line. Every method skips blanks first and leaves the cursor in place where it finds nothing.
pub(crate) struct Line<'t> {
    rest: &'t str,
}

impl<'t> Line<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Line { rest: text.trim_start() }
    }

    fn advance(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest.trim_start();
        taken
    }

    fn run(&self, accept: impl Fn(char) -> bool) -> usize {
        self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len())
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left, shortened for a message.
    pub(crate) fn preview(&self) -> String {
        if self.rest.is_empty() { "the end of the line".into() } else { format!("`{}`", self.rest.chars().take(20).collect::<String>()) }
    }

    /// A sign.
    pub(crate) fn eat(&mut self, sign: &str) -> bool {
        let found = self.rest.starts_with(sign);
        if found {
            self.advance(sign.len());
        }
        found
    }

    /// A word that is exactly `word`.
    pub(crate) fn keyword(&mut self, word: &str) -> bool {
        let found = &self.rest[..self.run(is_axis_char)] == word;
        if found {
            self.advance(word.len());
        }
        found
    }

    /// A word of lower-case letters, digits and underscores, such as an operation.
    pub(crate) fn name(&mut self) -> Option<&'t str> {
        let end = self.run(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        (end > 0).then(|| self.advance(end))
    }

    /// The label of an axis as it stands in the text: a word or a quoted name, and a number where it is not the first of its name.
    pub(crate) fn label(&mut self) -> Option<&'t str> {
        let mut end = self.quoted_end().unwrap_or_else(|| self.run(is_axis_char));
        if end == 0 || (!self.rest.starts_with('"') && !is_axis_word(&self.rest[..end])) {
            return None;
        }
        if let Some(number) = self.rest[end..].strip_prefix('.') {
            let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
            if digits > 0 {
                end += 1 + digits;
            }
        }
        Some(self.advance(end))
    }

    /// A port name, path or file: plain or quoted.
    pub(crate) fn word(&mut self) -> Option<String> {
        if let Some(end) = self.quoted_end() {
            return unquote(self.advance(end));
        }
        let end = self.run(is_word_char);
        (end > 0).then(|| self.advance(end).to_string())
    }

    /// A word, where the bare sign `empty` stands for no text at all.
    pub(crate) fn word_or(&mut self, empty: &str) -> Option<String> {
        let bare = &self.rest[..self.run(is_word_char)] == empty;
        self.word().map(|w| if bare { String::new() } else { w })
    }

    /// An integer that fits the type asked for.
    pub(crate) fn integer<T: std::str::FromStr>(&mut self) -> Option<T> {
        let sign = usize::from(self.rest.starts_with('-'));
        let digits = self.rest[sign..].find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len() - sign);
        let value = self.rest[..sign + digits].parse().ok()?;
        self.advance(sign + digits);
        Some(value)
    }

    /// The text of a constant.
    pub(crate) fn constant(&mut self) -> &'t str {
        let end = self.run(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '(' | ')'));
        self.advance(end)
    }

    /// Length of the quoted text that begins here.
    fn quoted_end(&self) -> Option<usize> {
        if !self.rest.starts_with('"') {
            return None;
        }
        let mut escaped = false;
        for (i, c) in self.rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return Some(i + 1),
                _ => {}
            }
        }
        None
    }
}

/// The text that Rust's debug form of a string stands for.
pub(crate) fn unquote(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '0' => '\0',
            'u' => {
                let code: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                char::from_u32(u32::from_str_radix(&code, 16).ok()?)?
            }
            other => other,
        });
    }
    Some(out)
}
