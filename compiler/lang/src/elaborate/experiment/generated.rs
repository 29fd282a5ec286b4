//! Data that is generated: strings of formal languages and of tasks of memory.

use super::keys::Kind;
use super::reader::Reader;
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::experiment::{Corpus, Data, Generated, Task, Tokenizer};
use crate::source::Span;
use crate::syntax::{Arg, Expr, ExprKind};
use std::collections::BTreeMap;

const EXAMPLE: &str = "generated(parity, length: [2, 50], longer: [51, 100], far: [300, 400])";
const EXAMPLES: u64 = 10_000;
const HELD_OUT: u64 = 512;
/// Longest string: positions are 32-bit integers, and examples are held in memory.
const LONGEST: f64 = 65_536.0;

impl<'a> Reader<'_, 'a> {
    /// `generated(parity, length: [2, 50], longer: [51, 100], far: [300, 400], examples: 10000, held_out: 512)`, or
    /// `generated(associative_recall, pairs: 8, writes: 1)`.
    pub(crate) fn generated(&mut self, args: &'a [Arg], span: Span) -> Option<Data> {
        let labels = ["language", "length", "longer", "far", "examples", "held_out", "pairs", "writes"];
        let options = self.options("generated", args, &["language"], &labels);
        let get = |name: &str| options.get(name).copied();
        let task = self.language(get("language"), span);
        let mut count = |key: &'static str, otherwise: u64| {
            let given = key.split('.').next_back().and_then(&get);
            self.count(key, given).or(given.is_none().then_some(otherwise))
        };
        let (examples, held_out) = (count("data.examples", EXAMPLES), count("data.held_out", HELD_OUT));
        let (pairs, writes) = (count("data.pairs", Generated::PAIRS), count("data.writes", 1));
        let [length, longer, far] = if task == Some(Task::AssociativeRecall) {
            let window = self.of_pairs(&options, pairs?, writes?, span)?;
            [Some(window); 3]
        } else {
            if let (Some(task), Some((name, expr))) = (task, ["pairs", "writes"].iter().find_map(|n| Some((n, get(n)?)))) {
                self.no_part_of(name, task, "`pairs` and `writes` are those of `associative_recall`", expr.span);
            }
            ["length", "longer", "far"].map(|name| match get(name) {
                Some(expr) => self.window(name, expr, task),
                None => {
                    let message = format!("`generated` needs the lengths of its strings: `{name}`");
                    let error = Diagnostic::error(codes::experiment::MISSING_SETTING, message, span, format!("`{name}:` is missing"));
                    self.report(error.help(format!("write `{EXAMPLE}`")));
                    None
                }
            })
        };
        let strings = Generated {
            task: task?,
            length: length?,
            longer: longer?,
            far: far?,
            examples: examples?,
            held_out: held_out?,
            pairs: pairs?,
            writes: writes?,
        };
        self.read.push(("data".to_string(), format!("generated({})", strings.task.name())));
        let longest = strings.task.lengths(strings.length).last();
        let (vocab, context) = (Some(strings.symbols()), longest.unwrap_or(strings.length[1]));
        let corpus = Corpus::Generated(strings);
        Some(Data { corpus, tokenizer: Tokenizer::Chars, context, stream: false, split: [1.0, 0.0, 0.0], vocab, span })
    }

    /// The one length of strings of associative recall: their pairs, and every key once more.
    #[allow(clippy::cast_precision_loss, reason = "compared with a bound")]
    fn of_pairs(&mut self, options: &BTreeMap<String, &'a Expr>, pairs: u64, writes: u64, span: Span) -> Option<[u64; 2]> {
        if let Some((name, expr)) = ["length", "longer", "far"].iter().find_map(|n| Some((n, options.get(*n)?))) {
            self.no_part_of(name, Task::AssociativeRecall, "its length follows from `pairs` and `writes`", expr.span);
            return None;
        }
        let length = writes.saturating_mul(2).saturating_add(1).saturating_mul(pairs);
        if length as f64 > LONGEST {
            let message = format!("{pairs} pairs, each written {writes} times and asked for once, are {length} symbols");
            let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, span, "longer than 65536");
            self.report(error.help("write fewer: `pairs: 64`"));
            return None;
        }
        Some([length; 2])
    }

    fn no_part_of(&mut self, name: &str, task: Task, why: &str, at: Span) {
        let message = format!("`{}` has no `{name}`: {why}", task.name());
        let error = Diagnostic::error(codes::experiment::UNKNOWN_OPTION, message, at, "not known");
        self.report(error.help(format!("leave `{name}` out")));
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
