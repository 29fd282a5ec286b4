//! Words for what the grammar expected: never a name of one of its rules.

use pest::error::{Error, ErrorVariant, InputLocation};

use super::tokens::{self, Kind, Token, clip};
use super::{Reader, Rule};
use crate::codes::syntax as code;
use crate::diag::Diagnostic;
use crate::suggest;

/// Where a part stands that was read alone.
pub(super) struct Context<'a> {
    /// Its tokens, without comments.
    pub tokens: &'a [Token],
    /// "statement", "setting", ...
    pub what: &'a str,
    /// Words that may start it, for "did you mean".
    pub starts: &'a [&'a str],
}

impl Reader<'_> {
    /// The diagnostic for a failed match of the part that starts at `self.base`.
    pub(super) fn failure(&self, error: &Error<Rule>, context: &Context<'_>) -> Diagnostic {
        let offset = match error.location {
            InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
        };
        let at = self.base + offset;
        let tokens = context.tokens;
        let next = tokens.iter().position(|t| t.end as usize > at).unwrap_or(tokens.len());
        let before = next.checked_sub(1).map(|i| tokens[i]);
        let positives = match &error.variant {
            ErrorVariant::ParsingError { positives, .. } => positives.as_slice(),
            ErrorVariant::CustomError { .. } => &[],
        };
        let found = tokens.get(next).copied();
        let place = match (found, before) {
            (Some(token), _) | (None, Some(token)) => self.at(token.start as usize, token.end as usize),
            (None, None) => self.at(at, at),
        };
        if let Some(token) = found
            && let word = token.text(self.text)
            && tokens::RESERVED.contains(&word)
            && !(matches!(word, "of" | "as" | "else" | "and" | "or") && positives.iter().any(|r| wants_value(*r)))
            && positives.iter().any(|r| wants_name(*r))
        {
            let message = format!("`{word}` is a word of the language and cannot name anything");
            return Diagnostic::error(code::RESERVED_WORD, message, place, "a name is expected here")
                .help(format!("choose another name, such as `{word}_1`"));
        }
        let expected = expected(positives, self.enclosing(tokens, next), context.what);
        let quoted = |t: Token| format!("`{}`", clip(t.text(self.text)));
        let mut message = format!("expected {expected}");
        if let Some(token) = before {
            message.push_str(&format!(" after {}", quoted(token)));
        }
        let label = match found {
            Some(token) => {
                message.push_str(&format!(", found {}", quoted(token)));
                "not expected here"
            }
            None => "expected after this",
        };
        if let Some((token, near)) = self.misspelt(context, next) {
            let place = self.at(token.start as usize, token.end as usize);
            return Diagnostic::error(code::UNEXPECTED, message, place, "not known").help(format!("did you mean `{near}`?"));
        }
        let mut diagnostic = Diagnostic::error(code::UNEXPECTED, message, place, label);
        diagnostic.help = Some(self.hint(context, next, positives));
        diagnostic
    }

    /// The word before what was not expected, where it should be one of the language.
    fn misspelt<'c>(&self, context: &Context<'c>, next: usize) -> Option<(Token, &'c str)> {
        let before = *context.tokens.get(next.checked_sub(1)?)?;
        let word = before.text(self.text);
        if before.kind != Kind::Word || tokens::RESERVED.contains(&word) {
            return None;
        }
        let at_start = next == 1 && !context.starts.contains(&word);
        let operand = context
            .tokens
            .get(next)
            .is_some_and(|found| matches!(found.kind, Kind::Word | Kind::Number) && !tokens::RESERVED.contains(&found.text(self.text)));
        let near = suggest::nearest(word, context.starts.iter().copied().filter(|_| at_start));
        near.or_else(|| suggest::nearest(word, ["stack", "share", "scan", "prev"]).filter(|_| operand)).map(|near| (before, near))
    }

    /// The innermost bracket that is open before a token.
    fn enclosing(&self, tokens: &[Token], next: usize) -> Option<char> {
        let mut depth = 0usize;
        for token in tokens[..next].iter().rev() {
            match token.kind {
                Kind::Close => depth += 1,
                Kind::Open if depth == 0 => return token.text(self.text).chars().next(),
                Kind::Open => depth -= 1,
                _ => {}
            }
        }
        None
    }

    fn hint(&self, context: &Context<'_>, next: usize, positives: &[Rule]) -> String {
        let word = |i: usize| context.tokens.get(i).map_or("", |t| t.text(self.text));
        let (before, found) = (next.checked_sub(1).map_or("", word), word(next));
        let first = word(0);
        let unknown_start = context.tokens.first().is_some_and(|t| t.kind == Kind::Word) && !context.starts.contains(&first) && next == 1;
        if unknown_start && matches!(first, "let" | "var" | "def" | "return" | "set" | "val") {
            return format!("leave `{first}` out: a statement is `name = expression`");
        }
        let wants = |rule: Rule| positives.contains(&rule);
        match (before, found) {
            ("*", "*") => "power is written `a ^ b`".into(),
            ("|", "|") => "write `a or b`".into(),
            (_, "=") if wants(Rule::operator) => "`==` compares; an equation starts on a line of its own".into(),
            (_, "=") if wants(Rule::tilde) => "an initialiser follows `~`: `param W: [a, b] ~ normal(0.02)`".into(),
            (_, ":") if wants(Rule::eq) => "a parameter is `param name: [dims]`, an equation is `name = expression`".into(),
            (_, "|") if wants(Rule::operator) => "write `a or b` for truth values and `x |> f(a)` for `f(x, a)`".into(),
            (":", _) if wants(Rule::tensor_type) && !found.is_empty() => "dims stand in brackets: `[seq, model]`; a single number is `[]`".into(),
            (_, "-") if context.tokens.get(next).is_some_and(|t| t.first) => {
                "a line that starts with `-` does not continue the one above: move the `-` up, or put the expression in parentheses".into()
            }
            _ if next >= 2 && word(next - 2) == "@" => "what is summed over stands between the operands: `a @key b`".into(),
            ("@", _) => "name what is summed over: `a @key b` or `a @[head, key] b`".into(),
            (_, "{") if wants(Rule::arrow) => "a header ends with its outputs: `-> y: [seq, model]`".into(),
            (")", ")") | ("]", "]") => "there is one bracket too many".into(),
            _ if wants(Rule::arrow) => "a header looks like `block name[dims](x: [dims]) -> y: [dims] { ... }`".into(),
            _ if context.what == "statement" && next <= 1 => {
                "a statement is `name = expression`, `param name: [dims]`, `tap name = expression` or `instance name = block(...)`".into()
            }
            _ if context.what == "setting" => "a setting is its name and, on the same line, what it is set to".into(),
            _ if wants(Rule::operator) && self.enclosing(context.tokens, next).is_none() => {
                "a new statement starts on a line of its own; a line that starts with `-`, `(` or `[` continues the one above only inside brackets"
                    .into()
            }
            _ if found.is_empty() => format!("complete the {}", context.what),
            (_, "[") if wants(Rule::colon) => "a colon stands between a name and its dims: `x: [model]`".into(),
            _ => "`ogive explain arch::syntax::unexpected` shows the forms".into(),
        }
    }
}

fn wants_value(rule: Rule) -> bool {
    matches!(rule, Rule::expr | Rule::line_expr | Rule::operand | Rule::plain_expr | Rule::plain_operand | Rule::arg | Rule::entry)
}

fn wants_name(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::ident
            | Rule::idents
            | Rule::dim_param
            | Rule::dim_params
            | Rule::input
            | Rule::output
            | Rule::outputs
            | Rule::expr
            | Rule::line_expr
            | Rule::operand
            | Rule::plain_expr
            | Rule::plain_operand
            | Rule::arg
            | Rule::entry
            | Rule::call
            | Rule::configured
            | Rule::name
            | Rule::dim_group
            | Rule::model_use
            | Rule::choice
    )
}

/// What was expected, most telling first, at most three.
fn expected(positives: &[Rule], enclosing: Option<char>, what: &str) -> String {
    let mut words: Vec<(u8, String)> = positives.iter().filter_map(|r| word(*r, what)).collect();
    let ends = positives.iter().any(|r| matches!(r, Rule::operator | Rule::contraction | Rule::index));
    match enclosing {
        Some('(') if ends || positives.is_empty() => words.extend([(1, "`,`".into()), (1, "`)`".into())]),
        Some('[') if ends || positives.is_empty() => words.extend([(1, "`,`".into()), (1, "`]`".into())]),
        Some('{') if ends => words.push((1, "`}`".into())),
        _ => {}
    }
    words.sort();
    words.dedup_by(|a, b| a.1 == b.1);
    let words: Vec<String> = words.into_iter().take(3).map(|(_, w)| w).collect();
    match words.split_last() {
        None => "something else".into(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// A rule in plain words, with its rank.
fn word(rule: Rule, what: &str) -> Option<(u8, String)> {
    let (rank, text) = match rule {
        Rule::text if what == "import" => (1, "a path in quotes"),
        Rule::EOI => return Some((4, format!("the end of the {what}"))),
        Rule::expr
        | Rule::line_expr
        | Rule::operand
        | Rule::plain_expr
        | Rule::plain_operand
        | Rule::indexed
        | Rule::prefix
        | Rule::number
        | Rule::boolean
        | Rule::text
        | Rule::call
        | Rule::tuple
        | Rule::prev
        | Rule::repeat
        | Rule::scan
        | Rule::conditional
        | Rule::k_stack
        | Rule::k_share
        | Rule::k_scan
        | Rule::k_if
        | Rule::k_prev => (0, "an expression"),
        Rule::arg | Rule::setting_arg | Rule::setting_args => (0, "an argument"),
        Rule::entry => (0, "a dim or positions"),
        Rule::ident | Rule::idents | Rule::name | Rule::word | Rule::dim_group | Rule::configured | Rule::model_use => (1, "a name"),
        Rule::label | Rule::renaming | Rule::index | Rule::args | Rule::dim_args => return None,
        Rule::operator | Rule::contraction => (2, "an operator"),
        Rule::tensor_type => (0, "dims such as `[seq, model]`"),
        Rule::choice => (1, "a type"),
        Rule::input => (0, "an input such as `x: [model]`"),
        Rule::output | Rule::outputs => (0, "an output such as `y: [model]`"),
        Rule::dim_param => (0, "a dim"),
        Rule::dim_params => (2, "`[`"),
        Rule::inputs => (2, "`(`"),
        Rule::list => (0, "a list such as `[1, 2]`"),
        Rule::settings => (3, "`{`"),
        Rule::setting => (1, "a setting"),
        Rule::sweep_axis => (1, "a line such as `seed in [1, 2]`"),
        Rule::std_path => (1, "`std.name`"),
        Rule::start_param => (1, "`param`"),
        Rule::eq => (1, "`=`"),
        Rule::colon => (1, "`:`"),
        Rule::tilde => (3, "`~`"),
        Rule::arrow => (1, "`->`"),
        Rule::block_kind => (1, "`block`, `cell` or `model`"),
        Rule::k_from => (2, "`from`"),
        Rule::k_of => (1, "`of`"),
        Rule::k_along => (1, "`along`"),
        Rule::k_else => (1, "`else`"),
        Rule::k_in => (1, "`in`"),
        Rule::k_as => (3, "`as`"),
        Rule::k_param | Rule::k_state | Rule::k_instance | Rule::k_tap | Rule::param | Rule::state | Rule::instance | Rule::tap => {
            (1, "a statement")
        }
        Rule::local | Rule::equation => (1, "a statement"),
        _ => return None,
    };
    Some((rank, text.to_owned()))
}
