//! Expressions: precedences over the flat chains of the grammar.

use std::collections::BTreeMap;

use super::{MAX_DEPTH, Pair, Reader, Rule, item, parts, tokens};
use crate::codes::syntax as code;
use crate::diag::Diagnostic;
use crate::source::Span;
use crate::syntax::{Arg, BinaryOp, Call, Expr, ExprKind, Ident, Index, UnaryOp};

/// An expression and the height of its tree, which stays within [`MAX_DEPTH`] so that nobody's recursion can overflow.
struct Tall {
    expr: Expr,
    height: usize,
}

enum Operator {
    Prefix(UnaryOp, Span),
    Binary(BinaryOp),
    Contract(Vec<Ident>),
}

impl Operator {
    /// How strongly it holds its operands, loosest first.
    fn level(&self) -> u8 {
        match self {
            Operator::Binary(BinaryOp::Pipe) => 1,
            Operator::Binary(BinaryOp::Or) => 2,
            Operator::Binary(BinaryOp::And) => 3,
            Operator::Prefix(UnaryOp::Not, _) => 4,
            Operator::Binary(BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge | BinaryOp::Eq | BinaryOp::Ne) => COMPARISON,
            Operator::Binary(BinaryOp::Add | BinaryOp::Sub) => 6,
            Operator::Binary(BinaryOp::Mul | BinaryOp::Div) | Operator::Contract(_) => 7,
            Operator::Prefix(UnaryOp::Neg, _) => 8,
            Operator::Binary(BinaryOp::Pow) => POWER,
        }
    }
}

const COMPARISON: u8 = 5;
const POWER: u8 = 9;

impl Reader<'_> {
    pub(super) fn expr(&mut self, pair: Pair<'_>) -> Expr {
        self.tall(pair).expr
    }

    fn tall(&mut self, pair: Pair<'_>) -> Tall {
        let span = self.span(&pair);
        let mut operands: Vec<Tall> = Vec::new();
        let mut operators: Vec<Operator> = Vec::new();
        for part in pair.into_inner() {
            let operator = match part.as_rule() {
                Rule::operand | Rule::plain_operand => {
                    for piece in part.into_inner() {
                        if piece.as_rule() == Rule::prefix {
                            let op = if piece.as_str() == "-" { UnaryOp::Neg } else { UnaryOp::Not };
                            operators.push(Operator::Prefix(op, self.span(&piece)));
                        } else {
                            let value = self.primary(piece);
                            operands.push(value);
                        }
                    }
                    continue;
                }
                Rule::contraction => Operator::Contract(self.idents(part)),
                _ => Operator::Binary(binary(part.as_str())),
            };
            while let Some(top) = operators.last() {
                let (held, level) = (top.level(), operator.level());
                if held == COMPARISON && level == COMPARISON {
                    self.out.push(
                        Diagnostic::error(
                            code::COMPARISON_CHAIN,
                            "a comparison has two sides, this one has more",
                            span,
                            "three values compared",
                        )
                        .help("write `a < b and b < c`"),
                    );
                    return Tall { expr: Expr { kind: ExprKind::Error, span }, height: 1 };
                }
                if held < level || (held == POWER && level == POWER) {
                    break;
                }
                if !reduce(&mut operands, &mut operators) {
                    break;
                }
                if operands.last().is_some_and(|t| t.height >= MAX_DEPTH) {
                    return self.deep(span);
                }
            }
            operators.push(operator);
        }
        while reduce(&mut operands, &mut operators) {
            if operands.last().is_some_and(|t| t.height >= MAX_DEPTH) {
                return self.deep(span);
            }
        }
        operands.pop().unwrap_or(Tall { expr: Expr { kind: ExprKind::Error, span }, height: 1 })
    }

    fn deep(&mut self, span: Span) -> Tall {
        self.out.push(tokens::too_deep(span));
        Tall { expr: Expr { kind: ExprKind::Error, span }, height: 1 }
    }

    /// An operand without its prefixes.
    fn primary(&mut self, pair: Pair<'_>) -> Tall {
        let span = self.span(&pair);
        let (kind, height) = match pair.as_rule() {
            Rule::indexed => return self.indexed(pair),
            Rule::repeat => {
                let (mut share, mut times, mut call) = (false, None, None);
                for part in parts(pair) {
                    match part.as_rule() {
                        Rule::k_share => share = true,
                        Rule::plain_expr => times = Some(self.tall(part)),
                        Rule::call => call = Some(self.call(part)),
                        _ => {}
                    }
                }
                match (times, call) {
                    (Some(times), Some((call, height))) => {
                        (ExprKind::Repeat { share, times: Box::new(times.expr), call }, times.height.max(height))
                    }
                    _ => (ExprKind::Error, 0),
                }
            }
            Rule::scan => {
                let backward = pair.clone().into_inner().any(|p| p.as_rule() == Rule::k_backward);
                let mut inner = parts(pair);
                match (inner.next().map(|p| self.call(p)), inner.next()) {
                    (Some((call, height)), Some(along)) => (ExprKind::Scan { call, along: self.ident(&along), backward }, height),
                    _ => (ExprKind::Error, 0),
                }
            }
            Rule::conditional => return self.conditional(pair),
            Rule::prev => match parts(pair).next() {
                Some(of) => (ExprKind::Prev(self.ident(&of)), 0),
                None => (ExprKind::Error, 0),
            },
            Rule::boolean => (ExprKind::Bool(pair.as_str() == "true"), 0),
            // The scan has refused what is not a finite number; the grammar also takes the word `inf`.
            Rule::number => (pair.as_str().parse().map_or(ExprKind::Error, ExprKind::Number), 0),
            Rule::text => (ExprKind::Text(item::unquote(pair.as_str())), 0),
            Rule::name => (ExprKind::Name(self.idents(pair)), 0),
            Rule::call => {
                let (call, height) = self.call(pair);
                (ExprKind::Call(call), height)
            }
            Rule::tuple => {
                let mut values: Vec<Tall> = parts(pair).map(|p| self.tall(p)).collect();
                if values.len() == 1 {
                    // Parentheses around one value leave no trace but a wider span.
                    let mut only = values.remove(0);
                    only.expr.span = span;
                    return only;
                }
                let height = highest(&values);
                (ExprKind::Tuple(values.into_iter().map(|t| t.expr).collect()), height)
            }
            Rule::list => {
                let values: Vec<Tall> = parts(pair).map(|p| self.tall(p)).collect();
                let height = highest(&values);
                (ExprKind::List(values.into_iter().map(|t| t.expr).collect()), height)
            }
            _ => (ExprKind::Error, 0),
        };
        Tall { expr: Expr { kind, span }, height: height + 1 }
    }

    fn indexed(&mut self, pair: Pair<'_>) -> Tall {
        let whole = self.span(&pair);
        let mut inner = parts(pair);
        let Some(first) = inner.next() else { return Tall { expr: Expr { kind: ExprKind::Error, span: whole }, height: 1 } };
        let mut value = self.primary(first);
        for index in inner {
            let span = value.expr.span.to(self.span(&index));
            let mut height = value.height;
            let by = parts(index).filter_map(|entry| self.entry(entry, &mut height)).collect();
            if height >= MAX_DEPTH {
                return self.deep(whole);
            }
            value = Tall { expr: Expr { kind: ExprKind::Index { of: Box::new(value.expr), by }, span }, height: height + 1 };
        }
        value
    }

    fn entry(&mut self, pair: Pair<'_>, height: &mut usize) -> Option<Index> {
        let span = self.span(&pair);
        let mut inner = parts(pair);
        let first = inner.next()?;
        let mut value = |reader: &mut Self, pair: Pair<'_>| {
            let tall = reader.tall(pair);
            *height = (*height).max(tall.height);
            tall.expr
        };
        Some(match first.as_rule() {
            Rule::renaming => {
                let (from, into) = self.renaming(first)?;
                Index::As { from, into, span }
            }
            Rule::label => {
                let dim = self.label(&first);
                let start = value(self, inner.next()?);
                match inner.next() {
                    None => Index::At { dim, at: start, span },
                    Some(end) => {
                        let end = value(self, end);
                        Index::Range { dim, start, end, into: inner.next().map(|p| self.ident(&p)), span }
                    }
                }
            }
            _ => Index::Gather(value(self, first)),
        })
    }

    fn renaming(&mut self, pair: Pair<'_>) -> Option<(Vec<Ident>, Vec<Ident>)> {
        let mut sides = parts(pair);
        let from = self.idents(sides.next()?);
        let into = self.idents(sides.next()?);
        Some((from, into))
    }

    /// `if a { b } else if c { d } else { e }`, innermost last.
    fn conditional(&mut self, pair: Pair<'_>) -> Tall {
        let span = self.span(&pair);
        let mut values: Vec<Tall> = parts(pair).map(|p| self.tall(p)).collect();
        let mut otherwise = values.pop();
        while let (Some(then), Some(condition)) = (values.pop(), values.pop()) {
            let Some(last) = otherwise.take() else { break };
            let height = then.height.max(condition.height).max(last.height) + 1;
            if height >= MAX_DEPTH {
                return self.deep(span);
            }
            let span = if values.is_empty() { span } else { condition.expr.span.to(span) };
            let kind = ExprKind::If { condition: Box::new(condition.expr), then: Box::new(then.expr), otherwise: Box::new(last.expr) };
            otherwise = Some(Tall { expr: Expr { kind, span }, height });
        }
        otherwise.unwrap_or(Tall { expr: Expr { kind: ExprKind::Error, span }, height: 1 })
    }

    fn call(&mut self, pair: Pair<'_>) -> (Call, usize) {
        let span = self.span(&pair);
        let mut callee = Ident { name: String::new(), span };
        let (mut args, mut height) = (Vec::new(), 0);
        for part in parts(pair) {
            if part.as_rule() == Rule::args {
                for arg in parts(part) {
                    let (arg, tall) = self.tall_arg(arg);
                    height = height.max(tall);
                    args.push(arg);
                }
            } else {
                callee = self.ident(&part);
            }
        }
        self.check_labels(&mut args);
        (Call { callee, args, span }, height)
    }

    /// Arguments of a call, an instance or a setting.
    pub(super) fn args(&mut self, pair: Pair<'_>) -> Vec<Arg> {
        let mut args: Vec<Arg> = parts(pair).map(|p| self.arg(p)).collect();
        self.check_labels(&mut args);
        args
    }

    pub(super) fn arg(&mut self, pair: Pair<'_>) -> Arg {
        self.tall_arg(pair).0
    }

    fn tall_arg(&mut self, pair: Pair<'_>) -> (Arg, usize) {
        let mut label = None;
        let mut value = Tall { expr: Expr { kind: ExprKind::Error, span: self.span(&pair) }, height: 1 };
        for part in parts(pair) {
            match part.as_rule() {
                Rule::label => label = Some(self.label(&part)),
                Rule::renaming => {
                    let span = self.span(&part);
                    if let Some((from, into)) = self.renaming(part) {
                        value = Tall { expr: Expr { kind: ExprKind::As { from, into }, span }, height: 1 };
                    }
                }
                _ => value = self.tall(part),
            }
        }
        (Arg { label, value: value.expr }, value.height)
    }

    fn label(&self, pair: &Pair<'_>) -> Ident {
        let start = self.base + pair.as_span().start();
        let name = pair.as_str().trim_end_matches(':').trim_end().to_owned();
        let span = self.at(start, start + name.len());
        Ident { name, span }
    }

    /// Labels occur once and after the arguments without labels; what is given again is reported and left out.
    pub(super) fn check_labels(&mut self, args: &mut Vec<Arg>) {
        let mut seen: BTreeMap<String, Span> = BTreeMap::new();
        args.retain(|arg| match &arg.label {
            Some(label) => match seen.get(&label.name) {
                Some(before) => {
                    let message = format!("`{}` is given twice", label.name);
                    let diagnostic = Diagnostic::error(code::DUPLICATE_LABEL, message, label.span, "given again here");
                    self.out.push(diagnostic.label(*before, "given here").help("keep one of the two"));
                    false
                }
                None => {
                    seen.insert(label.name.clone(), label.span);
                    true
                }
            },
            None if !seen.is_empty() => {
                let message = "an argument without a label follows a labelled one";
                let diagnostic = Diagnostic::error(code::POSITIONAL_AFTER_LABEL, message, arg.value.span, "has no label");
                self.out.push(diagnostic.help("move it before the labelled arguments or give it its label"));
                true
            }
            None => true,
        });
    }
}

fn highest(values: &[Tall]) -> usize {
    values.iter().map(|t| t.height).max().unwrap_or(0)
}

/// Applies the operator on top of the stack; false where there is none.
fn reduce(operands: &mut Vec<Tall>, operators: &mut Vec<Operator>) -> bool {
    let Some(operator) = operators.pop() else { return false };
    let Some(right) = operands.pop() else { return false };
    let tall = match operator {
        Operator::Prefix(op, at) => {
            let span = at.to(right.expr.span);
            Tall { expr: Expr { kind: ExprKind::Unary(op, Box::new(right.expr)), span }, height: right.height + 1 }
        }
        operator => {
            let Some(left) = operands.pop() else { return false };
            let span = left.expr.span.to(right.expr.span);
            let height = left.height.max(right.height) + 1;
            let (left, right) = (Box::new(left.expr), Box::new(right.expr));
            let kind = match operator {
                Operator::Contract(over) => ExprKind::Contract { left, over, right },
                Operator::Binary(op) => ExprKind::Binary(op, left, right),
                Operator::Prefix(..) => ExprKind::Error,
            };
            Tall { expr: Expr { kind, span }, height }
        }
    };
    operands.push(tall);
    true
}

fn binary(sign: &str) -> BinaryOp {
    match sign {
        "+" => BinaryOp::Add,
        "-" => BinaryOp::Sub,
        "*" => BinaryOp::Mul,
        "/" => BinaryOp::Div,
        "^" => BinaryOp::Pow,
        "<" => BinaryOp::Lt,
        "<=" => BinaryOp::Le,
        ">" => BinaryOp::Gt,
        ">=" => BinaryOp::Ge,
        "==" => BinaryOp::Eq,
        "!=" => BinaryOp::Ne,
        "and" => BinaryOp::And,
        "or" => BinaryOp::Or,
        _ => BinaryOp::Pipe,
    }
}
