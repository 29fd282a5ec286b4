//! Which tokens share a row.

use std::collections::BTreeMap;

use super::{Line, WIDTH, space};
use crate::parse::tokens::{Kind, Token};
use crate::source::Span;
use crate::syntax::{File, Item, Setting, Stmt};

/// What a row holds, as far as its columns depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RowKind {
    /// `name = expr` or `f(a) = expr`; the place of its `=`.
    Equation,
    /// `param`.
    Param,
    /// A setting with something after its key.
    Setting,
    /// Anything else.
    Other,
}

/// Tokens that stand on one line if they fit.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) kind: RowKind,
    pub(super) indent: usize,
    /// With the comments that stand between them.
    pub(super) tokens: Vec<Token>,
    /// The comment that ends the line.
    pub(super) comment: Option<Token>,
    /// Spaces before a token, by its start, where they are not what [`space`] says.
    pub(super) gaps: BTreeMap<u32, usize>,
}

/// A row to be, as a range of bytes.
struct Plan {
    start: u32,
    end: u32,
    indent: usize,
    kind: RowKind,
    gaps: BTreeMap<u32, usize>,
}

/// Rows and comments in the order of the text.
pub(super) fn rows(file: &File, text: &str, tokens: &[Token]) -> Vec<Line> {
    let code: Vec<Token> = tokens.iter().copied().filter(|t| t.kind != Kind::Comment).collect();
    let mut planner = Planner { text, code: &code, plans: Vec::new() };
    file.items.iter().for_each(|item| planner.item(item));
    assign(&planner.plans, text, tokens)
}

struct Planner<'a> {
    text: &'a str,
    /// Tokens without comments.
    code: &'a [Token],
    plans: Vec<Plan>,
}

impl Planner<'_> {
    fn item(&mut self, item: &Item) {
        match item {
            Item::Import(import) => self.plain(import.span, 0, RowKind::Other),
            Item::Const { span, .. } => self.plain(*span, 0, RowKind::Other),
            Item::Block(block) => {
                let open = self.open_after(block.header.end, block.span.end);
                let inline = block.body.len() <= 1 && self.inline(open, block.span, 0, &[]);
                self.braces(block.span, open, inline, 0, RowKind::Other, BTreeMap::new(), |planner| {
                    for statement in &block.body {
                        let (span, kind) = statement_row(statement);
                        planner.plain(span, 2, kind);
                    }
                });
            }
            Item::Experiment(experiment) => {
                let open = self.open_after(experiment.name.span.end, experiment.span.end);
                self.braces(experiment.span, open, false, 0, RowKind::Other, BTreeMap::new(), |planner| {
                    experiment.settings.iter().for_each(|s| planner.setting(s, 2));
                });
            }
            Item::Sweep(sweep) => {
                let open = self.open_after(sweep.of.span.end, sweep.span.end);
                let starts: Vec<u32> = sweep.axes.iter().map(|a| a.span.start).collect();
                let inline = self.inline(open, sweep.span, 0, &starts);
                self.braces(sweep.span, open, inline, 0, RowKind::Other, apart(&starts, inline), |planner| {
                    sweep.axes.iter().for_each(|a| planner.plain(a.span, 2, RowKind::Other));
                });
            }
        }
    }

    fn setting(&mut self, setting: &Setting, indent: usize) {
        let kind = if setting.args.is_empty() { RowKind::Other } else { RowKind::Setting };
        let after = setting.args.last().map_or(setting.key.span.end, |a| a.value.span.end);
        let mut gaps = BTreeMap::new();
        self.key_gaps(setting, &mut gaps);
        let Some(open) = self.open_after(after, setting.span.end) else {
            self.plans.push(Plan { start: setting.span.start, end: setting.span.end, indent, kind, gaps });
            return;
        };
        let starts: Vec<u32> = setting.body.iter().map(|s| s.span.start).collect();
        let inline = self.inline(Some(open), setting.span, indent, &starts);
        if inline {
            gaps.extend(apart(&starts, inline));
            setting.body.iter().for_each(|s| self.key_gaps(s, &mut gaps));
        }
        self.braces(setting.span, Some(open), inline, indent, kind, gaps, |planner| {
            setting.body.iter().for_each(|s| planner.setting(s, indent + 2));
        });
    }

    /// What follows a key is apart from it, be it a bracket or a sign.
    fn key_gaps(&self, setting: &Setting, gaps: &mut BTreeMap<u32, usize>) {
        if !setting.args.is_empty() {
            let next = self.code.partition_point(|t| t.start < setting.key.span.end);
            gaps.extend(self.code.get(next).map(|t| (t.start, 1)));
            // A minus after a key has no left operand.
            if let [minus, operand, ..] = &self.code[next.min(self.code.len())..]
                && minus.text(self.text) == "-"
            {
                gaps.insert(operand.start, 0);
            }
        }
    }

    fn plain(&mut self, span: Span, indent: usize, kind: RowKind) {
        self.plans.push(Plan { start: span.start, end: span.end, indent, kind, gaps: BTreeMap::new() });
    }

    /// An item or setting with braces: one row, or head, inner rows and the closing brace.
    fn braces(
        &mut self,
        span: Span,
        open: Option<Token>,
        inline: bool,
        indent: usize,
        kind: RowKind,
        gaps: BTreeMap<u32, usize>,
        inner: impl FnOnce(&mut Self),
    ) {
        match open {
            Some(open) if !inline => {
                self.plans.push(Plan { start: span.start, end: open.end, indent, kind, gaps });
                inner(self);
                self.plans.push(Plan { start: span.end - 1, end: span.end, indent, kind: RowKind::Other, gaps: BTreeMap::new() });
            }
            _ => self.plans.push(Plan { start: span.start, end: span.end, indent, kind, gaps }),
        }
    }

    fn open_after(&self, start: u32, end: u32) -> Option<Token> {
        let from = self.code.partition_point(|t| t.start < start);
        self.code[from..].iter().take_while(|t| t.end <= end).find(|t| t.text(self.text) == "{").copied()
    }

    /// Whether braces stand on one line and everything fits there.
    fn inline(&self, open: Option<Token>, span: Span, indent: usize, starts: &[u32]) -> bool {
        let Some(open) = open else { return false };
        let inside = self.text.get(open.start as usize..span.end as usize).unwrap_or("");
        let tokens = self.within(span);
        let empty = tokens.last().is_some_and(|t| t.text(self.text) == "}") && tokens.len() > 1 && tokens[tokens.len() - 2] == open;
        let commented = inside.contains("//") && !empty;
        (empty && !inside.contains("//"))
            || (!inside.contains('\n') && !commented && indent + space::flat(tokens, self.text) + 2 * starts.len() <= WIDTH)
    }

    fn within(&self, span: Span) -> &[Token] {
        let from = self.code.partition_point(|t| t.start < span.start);
        let to = self.code.partition_point(|t| t.end <= span.end);
        &self.code[from..to.max(from)]
    }
}

/// Three spaces between settings on one line.
fn apart(starts: &[u32], inline: bool) -> BTreeMap<u32, usize> {
    if inline { starts.iter().skip(1).map(|s| (*s, 3)).collect() } else { BTreeMap::new() }
}

fn statement_row(statement: &Stmt) -> (Span, RowKind) {
    match statement {
        Stmt::Param { span, .. } => (*span, RowKind::Param),
        Stmt::Equation { span, .. } | Stmt::Local { span, .. } => (*span, RowKind::Equation),
        Stmt::State { span, .. } | Stmt::Instance { span, .. } | Stmt::Tap { span, .. } => (*span, RowKind::Other),
    }
}

/// Gives each row its tokens, and each comment its place.
fn assign(plans: &[Plan], text: &str, tokens: &[Token]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut at = 0;
    let mut depth = 0;
    for plan in plans {
        if text.as_bytes().get(plan.start as usize) != Some(&b'}') {
            depth = plan.indent;
        } else {
            depth = depth.max(plan.indent + 2);
        }
        while let Some(token) = tokens.get(at).filter(|t| t.start < plan.start) {
            comment(&mut lines, *token, depth);
            at += 1;
        }
        let mut row = Row { kind: plan.kind, indent: plan.indent, tokens: Vec::new(), comment: None, gaps: plan.gaps.clone() };
        while let Some(token) = tokens.get(at).filter(|t| t.start < plan.end) {
            row.tokens.push(*token);
            at += 1;
        }
        lines.push(Line::Row(row));
    }
    for token in &tokens[at..] {
        comment(&mut lines, *token, 0);
    }
    lines
}

fn comment(lines: &mut Vec<Line>, token: Token, indent: usize) {
    match lines.last_mut() {
        Some(Line::Row(row)) if !token.first && row.comment.is_none() => row.comment = Some(token),
        _ => lines.push(Line::Comment { token, indent }),
    }
}
