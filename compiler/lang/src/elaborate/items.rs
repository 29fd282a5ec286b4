//! Lookup of items, and `const` items with their values.

use super::body::{Body, Eval};
use super::context::Cx;
use super::table::Table;
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::source::{FileId, Sources};
use crate::spec::Spec;
use crate::syntax::{Block, Expr, Ident, Item};
use std::rc::Rc;

/// The items of a spec as its files see them.
pub(crate) struct Items<'a> {
    spec: &'a Spec,
}

impl<'a> Items<'a> {
    pub(crate) fn new(spec: &'a Spec) -> Self {
        Items { spec }
    }

    pub(crate) fn sources(&self) -> &'a Sources {
        &self.spec.sources
    }

    pub(crate) fn is_std(&self, file: FileId) -> bool {
        self.spec.is_std(file)
    }

    pub(crate) fn is_broken(&self, name: &str) -> bool {
        self.spec.is_broken(name)
    }

    pub(crate) fn block(&self, from: FileId, name: &str) -> Option<(FileId, &'a Block)> {
        self.spec.block(from, name).map(|(id, block)| (id.file, block))
    }

    pub(crate) fn block_names(&self, from: FileId) -> Vec<&'a str> {
        self.spec.names(from, |item| matches!(item, Item::Block(_)))
    }

    pub(crate) fn constant(&self, from: FileId, name: &str) -> Option<(FileId, &'a Ident, &'a Expr)> {
        let id = self.spec.find(from, name)?;
        match self.spec.item(id) {
            Item::Const { name, value, .. } => Some((id.file, name, value)),
            _ => None,
        }
    }

    pub(crate) fn constant_names(&self, from: FileId) -> Vec<&'a str> {
        self.spec.names(from, |item| matches!(item, Item::Const { .. }))
    }
}

impl<'a> Cx<'a> {
    /// The value of a `const` item: `None` where there is none of that name, `Some(None)` where it has an error.
    pub(crate) fn file_constant(&mut self, from: FileId, name: &Ident) -> Option<Option<Const>> {
        let (file, declared, value) = self.items.constant(from, &name.name)?;
        let key = (file, name.name.clone());
        if let Some(known) = self.constants.get(&key).cloned() {
            if known.is_none() && self.evaluating.contains(&key) {
                let message = format!("constant `{}` depends on itself", name.name);
                let error =
                    Diagnostic::error(codes::name::RECURSIVE_CONST, message, declared.span, "in a circle").label(name.span, "needed here");
                self.report(error.help(format!("give it a number: `const {} = 1`", name.name)));
            }
            return Some(known);
        }
        if let Some(value) = self.overrides.get(&name.name)
            && !self.items.is_std(file)
        {
            return Some(Some(value.clone()));
        }
        self.constants.insert(key.clone(), None);
        self.evaluating.push(key.clone());
        let mut body = Body::new(None, file, Rc::new(Table::default()));
        let result = Eval { cx: self, body: &mut body }.constant(value);
        self.evaluating.pop();
        let result = if let Val::Const(c) = result { Some(c) } else { None };
        self.constants.insert(key, result.clone());
        Some(result)
    }
}
