//! Reads a file that has mistakes: cuts it into items, and blocks and experiments into statements, and reads each part alone.

use pest::Parser;

use super::grammar::Grammar;
use super::message::Context;
use super::tokens::{ITEMS, Kind, RESERVED, Token};
use super::{Pair, Reader, Rule, parts};
use crate::codes::syntax as code;
use crate::diag::Diagnostic;
use crate::source::Span;
use crate::syntax::{Experiment, Expr, ExprKind, File, Ident, Item, Setting, Stmt};

/// Mistakes after which the rest of a file goes unreported.
const MAX_ERRORS: usize = 100;

const STATEMENTS: &[&str] = &["param", "state", "tap", "instance"];
const SETTINGS: &[&str] = &["model", "data", "loss", "metric", "optimizer", "budget", "every", "claim", "evaluate", "checkpoint"];

/// Reads what can be read and reports one mistake for each part that cannot. `tokens` has no comments.
pub(super) fn file(reader: &mut Reader<'_>, tokens: &[Token]) -> File {
    reader.most = reader.out.list.len() + MAX_ERRORS;
    let mut file = File::default();
    for chunk in cut(tokens, |i| starts_item(reader, tokens, i)) {
        item(reader, chunk, &mut file);
        if reader.out.list.len() >= reader.most {
            let note = "there are more mistakes in this file; these come first";
            if let Some(last) = reader.out.list.last_mut() {
                last.help = Some(last.help.take().map_or(note.to_owned(), |h| format!("{h} ({note})")));
            }
            break;
        }
    }
    file
}

/// Cuts tokens where `start` says so.
fn cut(tokens: &[Token], mut start: impl FnMut(usize) -> bool) -> Vec<&[Token]> {
    let mut chunks = Vec::new();
    let mut from = 0;
    for i in 1..tokens.len() {
        if start(i) {
            chunks.push(&tokens[from..i]);
            from = i;
        }
    }
    if from < tokens.len() {
        chunks.push(&tokens[from..]);
    }
    chunks
}

/// An item starts at the left margin, or after a closing brace, with one of its words and a name.
fn starts_item(reader: &Reader<'_>, tokens: &[Token], i: usize) -> bool {
    let token = tokens[i];
    if token.kind != Kind::Word || !ITEMS.contains(&token.text(reader.text)) {
        return false;
    }
    let margin = token.start == 0 || reader.text.as_bytes().get(token.start as usize - 1) == Some(&b'\n');
    let next = tokens.get(i + 1).is_some_and(|t| matches!(t.kind, Kind::Word | Kind::Text));
    (margin || (token.first && tokens[i - 1].text(reader.text) == "}" && tokens[i - 1].first)) && next
}

fn item(reader: &mut Reader<'_>, chunk: &[Token], file: &mut File) {
    let Some(first) = chunk.first() else { return };
    match first.text(reader.text) {
        "block" | "cell" | "model" => block(reader, chunk, file),
        "experiment" => experiment(reader, chunk, file),
        "import" => file.items.extend(whole(reader, chunk, Rule::only_import, "import")),
        "const" => file.items.extend(whole(reader, chunk, Rule::only_constant, "constant")),
        "sweep" => file.items.extend(whole(reader, chunk, Rule::only_sweep, "sweep")),
        other => {
            if reader.flawed(chunk) {
                return;
            }
            let message = format!("expected an item, found `{}`", super::tokens::clip(other));
            let help = match crate::suggest::nearest(other, ITEMS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "a file consists of `import`, `const`, `block`, `cell`, `model`, `experiment` and `sweep`".to_owned(),
            };
            let place = reader.at(first.start as usize, first.end as usize);
            reader.out.push(Diagnostic::error(code::UNEXPECTED, message, place, "not expected here").help(help));
            file.broken.extend(chunk.get(1).filter(|t| t.kind == Kind::Word).map(|t| reader.name(*t)));
        }
    }
}

/// An item that is read in one piece.
fn whole(reader: &mut Reader<'_>, chunk: &[Token], rule: Rule, what: &str) -> Option<Item> {
    reader.part(chunk, rule, what, ITEMS, |reader, pair| reader.item(pair))
}

fn block(reader: &mut Reader<'_>, chunk: &[Token], file: &mut File) {
    let open = chunk.iter().position(|t| t.text(reader.text) == "{");
    let head_tokens = &chunk[..open.unwrap_or(chunk.len())];
    let head = reader.part(head_tokens, Rule::only_block_head, "header", ITEMS, |reader, pair| reader.block_head(pair));
    let body = match open {
        Some(open) => body(reader, chunk, open),
        None => {
            if head.is_some() {
                reader.missing_brace(chunk);
            }
            &[]
        }
    };
    let mut statements = Vec::new();
    for tokens in split_statements(reader, body) {
        match reader.part(tokens, Rule::only_statement, "statement", STATEMENTS, |reader, pair| reader.statement(pair)) {
            Some(statement) => statements.push(statement),
            None => statements.extend(remains(reader, tokens)),
        }
    }
    match head {
        Some(head) => {
            let doc = reader.doc(chunk[0].start as usize);
            let span = reader.over(chunk);
            file.items.push(Item::Block(head.block(doc, statements, span)));
        }
        None => file.broken.extend(chunk.get(1).filter(|t| t.kind == Kind::Word).map(|t| reader.name(*t))),
    }
}

fn experiment(reader: &mut Reader<'_>, chunk: &[Token], file: &mut File) {
    let open = chunk.iter().position(|t| t.text(reader.text) == "{");
    let head_tokens = &chunk[..open.unwrap_or(chunk.len())];
    let name = reader.part(head_tokens, Rule::only_experiment, "header", ITEMS, |reader, pair| Some(reader.ident(&pair)));
    let Some(name) = name else {
        file.broken.extend(chunk.get(1).filter(|t| t.kind == Kind::Word).map(|t| reader.name(*t)));
        return;
    };
    let Some(open) = open else {
        reader.missing_brace(chunk);
        return;
    };
    let mut settings: Vec<Setting> = Vec::new();
    let inner = body(reader, chunk, open);
    for tokens in split_settings(reader, inner) {
        settings.extend(reader.part(tokens, Rule::only_setting, "setting", SETTINGS, |reader, pair| reader.setting(pair)));
    }
    let doc = reader.doc(chunk[0].start as usize);
    let span = reader.over(chunk);
    file.items.push(Item::Experiment(Experiment { name, doc, settings, span }));
}

/// The tokens between the braces of an item; reports a missing closing brace and what follows it.
fn body<'t>(reader: &mut Reader<'_>, chunk: &'t [Token], open: usize) -> &'t [Token] {
    let mut depth = 0usize;
    let mut close = None;
    for (i, token) in chunk.iter().enumerate().skip(open) {
        match token.text(reader.text) {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    close = Some(i);
                    break;
                }
            }
            _ => {}
        }
    }
    // A brace too many inside: the last one is the one that closes the item.
    let last = chunk.iter().rposition(|t| t.text(reader.text) == "}").filter(|&i| i > open);
    let end = match (close, last) {
        (Some(close), Some(last)) if last == chunk.len() - 1 => close.max(last),
        (Some(close), _) => close,
        (None, Some(last)) if last == chunk.len() - 1 && chunk[last].first && !reader.flawed(&chunk[open..]) => last,
        (None, _) => {
            if !reader.flawed(&chunk[open..]) {
                let (opener, tail) = (chunk[open], chunk[chunk.len() - 1]);
                let message = "`{` is never closed";
                let diagnostic =
                    Diagnostic::error(code::UNCLOSED, message, reader.at(opener.start as usize, opener.end as usize), "opened here")
                        .label(reader.at(tail.start as usize, tail.end as usize), "`}` expected after this");
                reader.out.push(diagnostic.help("add `}` after the last statement of the item"));
            }
            chunk.len()
        }
    };
    if let Some(extra) = chunk.get(end + 1) {
        let rest = &chunk[end + 1..];
        if !reader.flawed(rest) {
            let written = super::tokens::clip(extra.text(reader.text));
            let place = reader.at(extra.start as usize, extra.end as usize);
            let (code, message, help) = if extra.kind == Kind::Close {
                (code::UNOPENED, format!("`{written}` closes nothing"), "delete it")
            } else {
                let message = format!("expected an item, found `{written}`");
                (code::UNEXPECTED, message, "statements stand between the braces of a `block`, `cell` or `model`")
            };
            reader.out.push(Diagnostic::error(code, message, place, "after the end of the item").help(help));
        }
    }
    &chunk[open + 1..end.max(open + 1).min(chunk.len())]
}

/// Statements start with their word or with `name =`; at a deeper level only at the start of a line, where a bracket was left open.
fn split_statements<'t>(reader: &Reader<'_>, body: &'t [Token]) -> Vec<&'t [Token]> {
    let text = reader.text;
    let word = |i: usize| body.get(i).map_or("", |t| t.text(text));
    let mut depth = 0usize;
    cut(body, |i| {
        match body[i - 1].kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        let token = body[i];
        let after_sign = body[i - 1].kind == Kind::Sign;
        let declared = STATEMENTS.contains(&word(i - 1)) && !token.first;
        let named = token.kind == Kind::Word && word(i + 1) == "=" && !RESERVED.contains(&word(i)) && !declared;
        let keyword = STATEMENTS.contains(&word(i)) && word(i - 1) != "=";
        let start = if depth > 0 {
            token.first && (keyword || named)
        } else {
            keyword
                || (named && (token.first || !after_sign))
                || (token.kind == Kind::Word && word(i + 1) == "(" && names_in_parentheses(text, body, i + 1) && !after_sign)
                || (token.first && word(i) == "(" && names_in_parentheses(text, body, i))
                || (token.first && token.kind == Kind::Word && !after_sign && body.get(i + 1).is_some_and(|t| t.kind == Kind::Word))
                || (token.first && word(i) == "}")
        };
        if start {
            depth = 0;
        }
        start
    })
}

/// `(a, b) =` from token `i` on.
fn names_in_parentheses(text: &str, tokens: &[Token], i: usize) -> bool {
    let flat = tokens[i + 1..].iter().take(64).take_while(|t| t.kind == Kind::Word || t.text(text) == ",").count();
    let at = |j: usize| tokens.get(j).map_or("", |t| t.text(text));
    at(i + 1 + flat) == ")" && at(i + 2 + flat) == "="
}

/// Settings start with a word at the start of a line.
fn split_settings<'t>(reader: &Reader<'_>, body: &'t [Token]) -> Vec<&'t [Token]> {
    let text = reader.text;
    let mut depth = 0usize;
    cut(body, |i| {
        match body[i - 1].kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        let token = body[i];
        let word = token.first && token.kind == Kind::Word;
        let label = body.get(i + 1).is_some_and(|t| matches!(t.text(text), ":" | "," | ")" | "]"));
        let start = if depth > 0 {
            word && !label && SETTINGS[..8].contains(&token.text(text))
        } else {
            word && body[i - 1].kind != Kind::Sign && !RESERVED.contains(&token.text(text))
        };
        if start {
            depth = 0;
        }
        start
    })
}

/// The names that a statement would have defined, so that their uses are not reported as well.
fn remains(reader: &Reader<'_>, tokens: &[Token]) -> Option<Stmt> {
    let text = reader.text;
    let skip = usize::from(tokens.first().is_some_and(|t| STATEMENTS.contains(&t.text(text))));
    let named = |t: &&Token| t.kind == Kind::Word && !RESERVED.contains(&t.text(text));
    let span = reader.over(tokens);
    let value = Expr { kind: ExprKind::Error, span };
    let name = tokens.get(skip).filter(named).map(|t| reader.name(*t));
    if skip == 0 && tokens.get(1).is_some_and(|t| t.text(text) == "(") {
        return names_in_parentheses(text, tokens, 1).then_some(()).and(name).map(|name| Stmt::Local {
            name,
            params: Vec::new(),
            value,
            span,
        });
    }
    if tokens.first().is_some_and(|t| t.text(text) == "tap") {
        return name.map(|name| Stmt::Tap { name, value, span });
    }
    let open = usize::from(tokens.get(skip).is_some_and(|t| t.text(text) == "("));
    let names: Vec<Ident> = tokens[(skip + open).min(tokens.len())..]
        .iter()
        .take_while(|t| named(t) || t.text(text) == ",")
        .filter(named)
        .map(|t| reader.name(*t))
        .collect();
    (!names.is_empty()).then_some(Stmt::Equation { names, value, span })
}

impl Reader<'_> {
    fn over(&self, tokens: &[Token]) -> Span {
        match (tokens.first(), tokens.last()) {
            (Some(first), Some(last)) => self.at(first.start as usize, last.end as usize),
            _ => self.at(0, 0),
        }
    }

    fn name(&self, token: Token) -> Ident {
        Ident { name: token.text(self.text).to_owned(), span: self.at(token.start as usize, token.end as usize) }
    }

    /// Whether something within these tokens is reported already.
    fn flawed(&self, tokens: &[Token]) -> bool {
        let span = self.over(tokens);
        let within = |at: Span| at.file == span.file && at.start >= span.start && at.end <= span.end;
        self.out.list.iter().any(|d| d.code.starts_with("arch::syntax::") && d.labels.first().is_some_and(|l| within(l.span)))
    }

    /// Reads a part alone; reports one mistake where it does not match, none where a token in it is reported already.
    fn part<T>(
        &mut self,
        tokens: &[Token],
        rule: Rule,
        what: &str,
        starts: &[&str],
        read: impl FnOnce(&mut Self, Pair<'_>) -> Option<T>,
    ) -> Option<T> {
        if self.out.list.len() >= self.most || self.flawed(tokens) {
            return None;
        }
        if let Some(diagnostic) = self.unbalanced(tokens) {
            self.out.push(diagnostic);
            return None;
        }
        let span = self.over(tokens);
        let text = self.text;
        let part = text.get(span.start as usize..span.end as usize).unwrap_or("");
        self.base = span.start as usize;
        let result = match Grammar::parse(rule, part) {
            Ok(pairs) => pairs.flat_map(parts).last().and_then(|pair| read(self, pair)),
            Err(error) => {
                let diagnostic = self.failure(&error, &Context { tokens, what, starts });
                self.out.push(diagnostic);
                None
            }
        };
        self.base = 0;
        result
    }

    /// The first bracket of a part without its counterpart.
    fn unbalanced(&self, tokens: &[Token]) -> Option<Diagnostic> {
        let place = |t: Token| self.at(t.start as usize, t.end as usize);
        let unclosed = |opener: Token, here: Token, label: &str| {
            let (open, close) = (opener.text(self.text), closer(opener.text(self.text)));
            Diagnostic::error(code::UNCLOSED, format!("`{open}` is never closed"), place(opener), "opened here")
                .label(place(here), format!("`{close}` expected {label} this"))
                .help(format!("add `{close}`"))
        };
        let mut open: Vec<Token> = Vec::new();
        for &token in tokens {
            match token.kind {
                Kind::Open => open.push(token),
                Kind::Close => match open.pop() {
                    None => {
                        let written = token.text(self.text);
                        let message = format!("`{written}` closes nothing");
                        return Some(
                            Diagnostic::error(code::UNOPENED, message, place(token), "never opened").help("delete it, or open it before"),
                        );
                    }
                    Some(opener) if closer(opener.text(self.text)) != token.text(self.text) => {
                        return Some(unclosed(opener, token, "before"));
                    }
                    Some(_) => {}
                },
                _ => {}
            }
        }
        Some(unclosed(open.pop()?, *tokens.last()?, "after"))
    }

    fn missing_brace(&mut self, chunk: &[Token]) {
        let Some(last) = chunk.last() else { return };
        let message = format!("expected `{{` after `{}`", super::tokens::clip(last.text(self.text)));
        let place = self.at(last.start as usize, last.end as usize);
        self.out
            .push(Diagnostic::error(code::UNEXPECTED, message, place, "nothing follows this").help("add `{ ... }` with its statements"));
    }
}

fn closer(open: &str) -> &'static str {
    match open {
        "(" => ")",
        "[" => "]",
        _ => "}",
    }
}
