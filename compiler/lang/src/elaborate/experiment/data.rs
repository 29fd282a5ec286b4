//! Where examples come from.

use super::keys::{Kind, TOKENIZERS};
use super::reader::{Reader, called};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::experiment::{Corpus, Data, Tokenizer};
use crate::source::Span;
use crate::syntax::{Expr, ExprKind};

const SOURCES: &[&str] = &["text", "jsonl", "tokens", "generated"];
const SPLIT: [f64; 3] = [0.98, 0.01, 0.01];

impl<'a> Reader<'_, 'a> {
    /// `text(webster, tokenizer: bytes, context: 256, split: [0.98, 0.01, 0.01])`.
    pub(crate) fn data(&mut self, expr: &'a Expr) -> Option<Data> {
        let Some((name, args)) = called(expr).filter(|(n, _)| SOURCES.contains(&n.name.as_str())) else {
            let text = called(expr).map_or_else(|| self.eval().source(expr.span), |(name, _)| name.name.clone());
            let at = called(expr).map_or(expr.span, |(name, _)| name.span);
            let message = format!("there is no data source `{text}`");
            let mut error = Diagnostic::error(codes::data::UNKNOWN_SOURCE, message, at, "not known");
            error.help = crate::suggest::help(&text, "sources", SOURCES.iter().copied());
            self.report(error);
            return None;
        };
        let word = name.name.as_str();
        if word == "generated" {
            return self.generated(args, expr.span);
        }
        let labels: &[&str] = match word {
            "tokens" => &["context", "split", "vocab", "bytes", "order"],
            "jsonl" => &["tokenizer", "context", "split", "field", "order"],
            _ => &["tokenizer", "context", "split", "order"],
        };
        let options = self.options(word, args, &["from"], labels);
        let get = |name: &str| options.get(name).copied();
        let corpus = match get("from") {
            Some(from) => self.corpus(word, from, get("field"), get("bytes")),
            None => {
                let example = if word == "text" { "webster" } else { "\"data/file\"" };
                let message = format!("`{word}` needs to know what to read");
                let error = Diagnostic::error(codes::experiment::MISSING_SETTING, message, expr.span, "nothing to read");
                self.report(error.help(format!("write `{word}({example}, context: 256)`")));
                None
            }
        };
        let written = get("tokenizer").map_or(Some(Tokenizer::Bytes), |e| self.tokenizer(e));
        let set = TOKENIZERS.iter().zip(0u8..).find(|(_, i)| self.set.get("data.tokenizer") == Some(&f64::from(*i)));
        let tokenizer = set.map(|(t, _)| t.1.clone()).or(written);
        if get("context").is_none() && !self.set.contains_key("data.context") {
            let message = format!("`{word}` needs the number of positions of one example");
            let error = Diagnostic::error(codes::experiment::MISSING_SETTING, message, expr.span, "`context:` is missing");
            self.report(error.help(format!("write `{word}(..., context: 256)`")));
        }
        let context = self.count("data.context", get("context"));
        let split = get("split").map_or(Some(SPLIT), |e| self.split(e));
        let stream = get("order").map_or(Some(false), |e| self.order(e));
        let written = self.count("data.vocab", get("vocab"));
        let (corpus, tokenizer) = (corpus?, tokenizer?);
        let vocab = match (&corpus, &tokenizer) {
            (Corpus::Tokens { .. }, _) => written,
            (_, Tokenizer::Bytes) => Some(256),
            _ => None,
        };
        self.read.push(("data".to_string(), shown(word, &corpus)));
        Some(Data { corpus, tokenizer, context: context?, stream: stream?, split: split?, vocab, span: expr.span })
    }

    fn corpus(&mut self, word: &str, from: &'a Expr, field: Option<&'a Expr>, bytes: Option<&'a Expr>) -> Option<Corpus> {
        if word == "text"
            && let ExprKind::Name(path) = &from.kind
            && let [name] = path.as_slice()
        {
            if name.name == "webster" {
                return Some(Corpus::Webster);
            }
            let message = format!("there is no text `{}`", name.name);
            let mut error = Diagnostic::error(codes::data::UNKNOWN_SOURCE, message, name.span, "not known");
            error.help = Some(match crate::suggest::nearest(&name.name, ["webster"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("a file is named in quotes: `text(\"{}.txt\")`", name.name),
            });
            self.report(error);
            return None;
        }
        let path = self.text("from", from)?;
        match word {
            "text" => Some(Corpus::Text(path)),
            "jsonl" => {
                let field = field.map_or_else(|| Some("text".to_string()), |e| self.text("field", e));
                Some(Corpus::Jsonl { path, field: field? })
            }
            _ => {
                let width = bytes.map_or(Some(2.0), |e| self.plain("bytes", Kind::Count, e))?;
                let bytes = match (width, bytes) {
                    (2.0, _) => 2,
                    (4.0, _) => 4,
                    (_, at) => {
                        self.misfit("bytes", "2 or 4", "2", at.map_or(from.span, |e| e.span));
                        return None;
                    }
                };
                Some(Corpus::Tokens { path, bytes })
            }
        }
    }

    fn tokenizer(&mut self, expr: &'a Expr) -> Option<Tokenizer> {
        match &expr.kind {
            ExprKind::Text(path) => Some(Tokenizer::File(path.clone())),
            ExprKind::Name(path) if path.len() == 1 && TOKENIZERS.iter().any(|t| t.0 == path[0].name) => {
                TOKENIZERS.iter().find(|t| t.0 == path[0].name).map(|t| t.1.clone())
            }
            _ => {
                let text = self.eval().source(expr.span);
                let message = format!("there is no tokenizer `{text}`");
                let mut error = Diagnostic::error(codes::data::UNKNOWN_TOKENIZER, message, expr.span, "not known");
                error.help = Some(match crate::suggest::nearest(&text, TOKENIZERS.iter().map(|t| t.0)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write `bytes`, `chars`, or a file in quotes: `tokenizer: \"tokenizer.json\"`".to_string(),
                });
                self.report(error);
                None
            }
        }
    }

    /// `random`, or `stream`: in order, each example going on where the one before it ended.
    fn order(&mut self, expr: &'a Expr) -> Option<bool> {
        match called(expr).map(|(word, args)| (word.name.as_str(), args.is_empty())) {
            Some(("random", true)) => Some(false),
            Some(("stream", true)) => Some(true),
            _ => {
                self.misfit("order", "`random` or `stream`", "stream", expr.span);
                None
            }
        }
    }

    fn split(&mut self, expr: &'a Expr) -> Option<[f64; 3]> {
        let ExprKind::List(items) = &expr.kind else {
            self.wrong_split("a split is a list of up to three fractions", expr.span);
            return None;
        };
        let mut parts = Vec::new();
        for item in items {
            parts.push(self.plain("split", Kind::Amount, item)?);
        }
        let sum: f64 = parts.iter().sum();
        if parts.is_empty() || parts.len() > 3 || parts[0] <= 0.0 || sum > 1.0 + 1e-9 {
            self.wrong_split(
                &format!("the parts of a split are one to three fractions with a sum of at most 1; these sum to {sum}"),
                expr.span,
            );
            return None;
        }
        let part = |i: usize| parts.get(i).copied().unwrap_or(0.0);
        Some([part(0), part(1), part(2)])
    }

    fn wrong_split(&mut self, message: &str, at: Span) {
        let error = Diagnostic::error(codes::data::SPLIT, message, at, "not a split");
        self.report(error.help("write training, validation and test: `split: [0.98, 0.01, 0.01]`"));
    }
}

fn shown(word: &str, corpus: &Corpus) -> String {
    match corpus {
        Corpus::Generated(strings) => format!("{word}({})", strings.task.name()),
        Corpus::Webster => "text(webster)".to_string(),
        Corpus::Text(path) | Corpus::Jsonl { path, .. } | Corpus::Tokens { path, .. } => format!("{word}(\"{path}\")"),
    }
}
