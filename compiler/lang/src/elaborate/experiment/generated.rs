//! Data that is generated: strings of formal languages.

use super::keys::Kind;
use super::reader::Reader;
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::experiment::{Corpus, Data, Generated, Task, Tokenizer};
use crate::source::Span;
use crate::syntax::{Arg, Expr, ExprKind};

const EXAMPLE: &str = "generated(parity, length: [2, 50], longer: [51, 100], far: [300, 400])";
const EXAMPLES: u64 = 10_000;
const HELD_OUT: u64 = 512;
/// Longest string: positions are 32-bit integers, and examples are held in memory.
const LONGEST: f64 = 65_536.0;

impl<'a> Reader<'_, 'a> {
    /// `generated(parity, length: [2, 50], longer: [51, 100], far: [300, 400], examples: 10000, held_out: 512)`.
    pub(crate) fn generated(&mut self, args: &'a [Arg], span: Span) -> Option<Data> {
        let labels = ["language", "length", "longer", "far", "examples", "held_out"];
        let options = self.options("generated", args, &["language"], &labels);
        let get = |name: &str| options.get(name).copied();
        let task = self.language(get("language"), span);
        let examples = self.count("data.examples", get("examples")).or(get("examples").is_none().then_some(EXAMPLES));
        let held_out = self.count("data.held_out", get("held_out")).or(get("held_out").is_none().then_some(HELD_OUT));
        let mut window = |name: &str| match get(name) {
            Some(expr) => self.window(name, expr, task),
            None => {
                let message = format!("`generated` needs the lengths of its strings: `{name}`");
                let error = Diagnostic::error(codes::experiment::MISSING_SETTING, message, span, format!("`{name}:` is missing"));
                self.report(error.help(format!("write `{EXAMPLE}`")));
                None
            }
        };
        let (length, longer, far) = (window("length"), window("longer"), window("far"));
        let strings = Generated { task: task?, length: length?, longer: longer?, far: far?, examples: examples?, held_out: held_out? };
        self.read.push(("data".to_string(), format!("generated({})", strings.task.name())));
        let longest = strings.task.lengths(strings.length).last();
        let (vocab, context) = (Some(strings.task.symbols()), longest.unwrap_or(strings.length[1]));
        let corpus = Corpus::Generated(strings);
        Some(Data { corpus, tokenizer: Tokenizer::Chars, context, stream: false, split: [1.0, 0.0, 0.0], vocab, span })
    }

    fn language(&mut self, expr: Option<&'a Expr>, span: Span) -> Option<Task> {
        let names = || Task::ALL.iter().map(|t| t.name());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the key holds a place in the list")]
        if let Some(at) = self.set.get("data.language").copied() {
            return Task::ALL.get(at as usize).copied();
        }
        let Some(expr) = expr else {
            let message = "`generated` needs the name of a formal language".to_string();
            let error = Diagnostic::error(codes::experiment::MISSING_SETTING, message, span, "which language?");
            self.report(error.help(format!("write `{EXAMPLE}`")));
            return None;
        };
        let text = self.eval().source(expr.span);
        let task = if matches!(&expr.kind, ExprKind::Name(path) if path.len() == 1) { Task::named(&text) } else { None };
        if task.is_none() {
            let message = format!("there is no formal language `{text}`");
            let mut error = Diagnostic::error(codes::data::UNKNOWN_SOURCE, message, expr.span, "not known");
            error.help = crate::suggest::help(&text, "languages", names());
            self.report(error);
        }
        task
    }

    fn window(&mut self, name: &str, expr: &'a Expr, task: Option<Task>) -> Option<[u64; 2]> {
        let needs = "the shortest and the longest length, in this order, at most 65536";
        let bounds = match &expr.kind {
            ExprKind::List(items) if items.len() == 2 => {
                Some([self.plain(name, Kind::Count, &items[0])?, self.plain(name, Kind::Count, &items[1])?])
            }
            _ => None,
        };
        let Some([from, to]) = bounds.filter(|[from, to]| from <= to && *to <= LONGEST) else {
            self.misfit(name, needs, "[2, 50]", expr.span);
            return None;
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked counts")]
        let window = [from as u64, to as u64];
        if let Some(task) = task
            && task.lengths(window).next().is_none()
        {
            let message = format!("no string of `{}` has a length from {from} to {to}", task.name());
            let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, expr.span, "holds no string");
            let next = task.shortest().max(window[1]).div_ceil(task.step()) * task.step();
            self.report(error.help(format!("widen it: `{name}: [{from}, {next}]`")));
            return None;
        }
        Some(window)
    }
}
