//! Items, statements and settings.

use pest::iterators::Pairs;

use super::{Pair, Reader, Rule, parts};
use crate::source::Span;
use crate::syntax::{
    Arg, Block, BlockKind, Call, DimParam, Experiment, Expr, ExprKind, File, Ident, Import, ImportFrom, Item, PortIn, PortOut, PortType,
    Setting, StateStart, Stmt, Sweep, SweepAxis, TensorType,
};

/// What a header says.
pub(super) struct Head {
    kind: BlockKind,
    pub(super) name: Ident,
    dims: Vec<DimParam>,
    inputs: Vec<PortIn>,
    outputs: Vec<PortOut>,
    span: Span,
}

impl Head {
    pub(super) fn block(self, doc: Vec<String>, body: Vec<Stmt>, span: Span) -> Block {
        let Head { kind, name, dims, inputs, outputs, span: header } = self;
        Block { kind, doc, name, dims, inputs, outputs, body, span, header }
    }
}

impl Reader<'_> {
    pub(super) fn file(&mut self, pairs: Pairs<'_, Rule>) -> File {
        let items = pairs.flat_map(parts).filter_map(|pair| self.item(pair)).collect();
        File { items, broken: Vec::new() }
    }

    pub(super) fn item(&mut self, pair: Pair<'_>) -> Option<Item> {
        let span = self.span(&pair);
        let doc = self.doc(span.start as usize);
        Some(match pair.as_rule() {
            Rule::import => Item::Import(self.import(pair)?),
            Rule::constant => {
                let mut inner = parts(pair);
                Item::Const { name: self.ident(&inner.next()?), value: self.expr(inner.next()?), doc, span }
            }
            Rule::block => {
                let mut inner = parts(pair);
                let head = self.block_head(inner.next()?)?;
                let body = inner.filter_map(|p| self.statement(p)).collect();
                Item::Block(head.block(doc, body, span))
            }
            Rule::experiment => {
                let mut inner = parts(pair);
                Item::Experiment(Experiment { name: self.ident(&inner.next()?), doc, settings: self.settings(inner.next()?), span })
            }
            Rule::sweep => {
                let mut inner = parts(pair);
                let of = self.ident(&inner.next()?);
                Item::Sweep(Sweep { of, axes: inner.filter_map(|p| self.sweep_axis(p)).collect(), span })
            }
            _ => return None,
        })
    }

    /// The `///` lines directly above a place.
    pub(super) fn doc(&self, start: usize) -> Vec<String> {
        let line = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let mut lines: Vec<String> = self.text[..line]
            .lines()
            .rev()
            .map_while(|l| l.trim().strip_prefix("///"))
            .map(|l| l.strip_prefix(' ').unwrap_or(l).to_owned())
            .collect();
        lines.reverse();
        lines
    }

    fn import(&mut self, pair: Pair<'_>) -> Option<Import> {
        let span = self.span(&pair);
        let mut names = Vec::new();
        let mut from = None;
        for part in parts(pair) {
            let span = self.span(&part);
            match part.as_rule() {
                Rule::idents => names = self.idents(part),
                Rule::text => from = Some(ImportFrom::Path { path: unquote(part.as_str()), span }),
                Rule::std_path => from = Some(ImportFrom::Std { name: self.ident(&parts(part).next()?), span }),
                _ => {}
            }
        }
        Some(Import { names, from: from?, span })
    }

    pub(super) fn block_head(&mut self, pair: Pair<'_>) -> Option<Head> {
        let span = self.span(&pair);
        let mut inner = parts(pair);
        let kind = match inner.next()?.as_str() {
            "cell" => BlockKind::Cell,
            "model" => BlockKind::Model,
            _ => BlockKind::Block,
        };
        let name = self.ident(&inner.next()?);
        let mut head = Head { kind, name, dims: Vec::new(), inputs: Vec::new(), outputs: Vec::new(), span };
        for part in inner {
            match part.as_rule() {
                Rule::dim_params => {
                    head.dims = parts(part)
                        .filter_map(|p| {
                            let mut inner = parts(p);
                            Some(DimParam { name: self.ident(&inner.next()?), default: inner.next().map(|e| self.expr(e)) })
                        })
                        .collect();
                }
                Rule::inputs => head.inputs = parts(part).filter_map(|p| self.input(p)).collect(),
                Rule::outputs => {
                    head.outputs = parts(part)
                        .filter_map(|p| {
                            let mut inner = parts(p);
                            Some(PortOut { name: self.ident(&inner.next()?), ty: self.tensor_type(inner.next()?) })
                        })
                        .collect();
                }
                _ => {}
            }
        }
        Some(head)
    }

    fn input(&mut self, pair: Pair<'_>) -> Option<PortIn> {
        let span = self.span(&pair);
        let mut inner = parts(pair);
        let name = self.ident(&inner.next()?);
        let ty = inner.next()?;
        let at = self.span(&ty);
        let ty = if ty.as_rule() == Rule::tensor_type {
            PortType::Tensor(self.tensor_type(ty))
        } else {
            let words = self.idents(ty);
            match words.first().map(|w| w.name.as_str()) {
                Some("int") if words.len() == 1 => PortType::Int(at),
                Some("float") if words.len() == 1 => PortType::Float(at),
                Some("bool") if words.len() == 1 => PortType::Bool(at),
                _ => PortType::Choice(words),
            }
        };
        Some(PortIn { name, ty, default: inner.next().map(|e| self.expr(e)), span })
    }

    fn tensor_type(&mut self, pair: Pair<'_>) -> TensorType {
        let span = self.span(&pair);
        let mut ty = TensorType { dims: Vec::new(), domain: None, span };
        let mut domain = false;
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::k_in => domain = true,
                _ if domain => ty.domain = Some(self.ident(&part)),
                _ => ty.dims.push(self.ident(&part)),
            }
        }
        ty
    }

    pub(super) fn statement(&mut self, pair: Pair<'_>) -> Option<Stmt> {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let mut inner = parts(pair);
        Some(match rule {
            Rule::param => {
                let names = self.idents(inner.next()?);
                let ty = self.tensor_type(inner.next()?);
                Stmt::Param { names, ty, init: inner.next().map(|e| self.expr(e)), span }
            }
            Rule::state => {
                let names = self.idents(inner.next()?);
                let ty = self.tensor_type(inner.next()?);
                let start = inner.next()?;
                let start = if start.as_rule() == Rule::start_param {
                    let span = self.span(&start);
                    StateStart::Param { init: parts(start).next().map(|e| self.expr(e)), span }
                } else {
                    StateStart::Value(self.expr(start))
                };
                Stmt::State { names, ty, start, span }
            }
            Rule::instance => {
                let name = self.ident(&inner.next()?);
                let mut configured = parts(inner.next()?);
                let of = self.ident(&configured.next()?);
                Stmt::Instance { name, of, args: configured.next().map(|a| self.args(a)).unwrap_or_default(), span }
            }
            Rule::tap => Stmt::Tap { name: self.ident(&inner.next()?), value: self.expr(inner.next()?), span },
            Rule::local => {
                let name = self.ident(&inner.next()?);
                let mut params = Vec::new();
                let mut value = inner.next()?;
                if value.as_rule() == Rule::idents {
                    params = self.idents(value);
                    value = inner.next()?;
                }
                Stmt::Local { name, params, value: self.expr(value), span }
            }
            Rule::equation => {
                let mut all: Vec<_> = inner.collect();
                let value = all.pop()?;
                Stmt::Equation { names: all.iter().map(|p| self.ident(p)).collect(), value: self.expr(value), span }
            }
            _ => return None,
        })
    }

    pub(super) fn settings(&mut self, pair: Pair<'_>) -> Vec<Setting> {
        parts(pair).filter_map(|p| self.setting(p)).collect()
    }

    pub(super) fn setting(&mut self, pair: Pair<'_>) -> Option<Setting> {
        let span = self.span(&pair);
        let mut inner = parts(pair);
        let mut setting = Setting { key: self.ident(&inner.next()?), args: Vec::new(), body: Vec::new(), span };
        for part in inner {
            match part.as_rule() {
                Rule::model_use => setting.args.push(Arg { label: None, value: self.model_use(part)? }),
                Rule::setting_args => setting.args = self.args(part),
                Rule::settings => setting.body = self.settings(part),
                _ => {}
            }
        }
        Some(setting)
    }

    /// `name[dim: size](constant: value)`: both lists in one call.
    fn model_use(&mut self, pair: Pair<'_>) -> Option<Expr> {
        let span = self.span(&pair);
        let mut inner = parts(pair);
        let callee = self.ident(&inner.next()?);
        let lists: Vec<_> = inner.collect();
        if lists.is_empty() {
            return Some(Expr { kind: ExprKind::Name(vec![callee]), span });
        }
        let mut args: Vec<Arg> = lists.into_iter().flat_map(parts).map(|p| self.arg(p)).collect();
        self.check_labels(&mut args);
        Some(Expr { kind: ExprKind::Call(Call { callee, args, span }), span })
    }

    fn sweep_axis(&mut self, pair: Pair<'_>) -> Option<SweepAxis> {
        let span = self.span(&pair);
        let mut inner = parts(pair);
        let key = self.idents(inner.next()?);
        let values = parts(inner.next()?).map(|e| self.expr(e)).collect();
        Some(SweepAxis { key, values, span })
    }

    pub(super) fn ident(&self, pair: &Pair<'_>) -> Ident {
        Ident { name: pair.as_str().to_owned(), span: self.span(pair) }
    }

    pub(super) fn idents(&self, pair: Pair<'_>) -> Vec<Ident> {
        parts(pair).map(|p| self.ident(&p)).collect()
    }
}

/// A text without its quotes.
pub(super) fn unquote(written: &str) -> String {
    let inner = written.strip_prefix('"').and_then(|s| s.strip_suffix('"')).unwrap_or(written);
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(other) => text.push(other),
                None => {}
            },
            other => text.push(other),
        }
    }
    text
}
