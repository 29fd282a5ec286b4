//! What all bodies of one elaboration share: items, axes, instances so far, diagnostics, limits.

use super::items::Items;
use super::table::Table;
use super::value::Const;
use crate::codes;
use crate::diag::{Diagnostic, Diagnostics};
use crate::hir::{self, Instance, InstanceId};
use crate::source::{FileId, Span};
use crate::syntax::Block;
use ogive_graph::AxisId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// Largest size of a dim.
pub(crate) const MAX_SIZE: u64 = 1 << 40;
/// Most elements of one tensor.
pub(crate) const MAX_ELEMENTS: u64 = 1 << 62;
/// Most instances of one program.
const MAX_INSTANCES: usize = 4096;
/// Most nodes of one program.
const MAX_NODES: usize = 1_000_000;
/// Deepest nesting of expressions and calls together.
const MAX_DEPTH: usize = 1_000;
/// Deepest nesting of blocks.
const MAX_CHAIN: usize = 100;
/// Errors after which nothing more is looked at.
const MAX_ERRORS: usize = 200;

/// An instance with what is only needed until the program is finished.
pub(crate) struct Draft {
    /// The instance; `children` and `path` are set at the end.
    pub instance: Instance,
    /// `instance` name, or else the block's.
    pub label: String,
    /// Whether it was given a name of its own.
    pub named: bool,
    /// Orders the children of one parent: places in the source, outermost use first.
    pub key: Vec<(u32, u32)>,
}

/// State of one elaboration.
pub(crate) struct Cx<'a> {
    pub items: &'a Items<'a>,
    pub out: Diagnostics,
    pub axes: Vec<hir::Axis>,
    pub drafts: Vec<Draft>,
    pub training: bool,
    /// `const` items that `--set` replaces.
    pub overrides: BTreeMap<String, Const>,
    /// `const` items that were evaluated; `None` while one is.
    pub constants: HashMap<(FileId, String), Option<Const>>,
    /// `const` items being evaluated.
    pub evaluating: Vec<(FileId, String)>,
    /// Tables of blocks, by file and place.
    pub tables: HashMap<(FileId, u32), Rc<Table<'a>>>,
    /// Blocks being elaborated, outermost first, with the places of their calls.
    pub chain: Vec<(FileId, String, Span)>,
    /// Dims of callers that results of calls carry, without being named there.
    pub passed: BTreeSet<AxisId>,
    pub depth: usize,
    pub nodes: usize,
    /// Once set, nothing more is elaborated.
    pub stopped: bool,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(items: &'a Items<'a>, training: bool) -> Self {
        Cx {
            items,
            out: Diagnostics::default(),
            axes: Vec::new(),
            drafts: Vec::new(),
            training,
            overrides: BTreeMap::new(),
            constants: HashMap::new(),
            evaluating: Vec::new(),
            tables: HashMap::new(),
            chain: Vec::new(),
            passed: BTreeSet::new(),
            depth: 0,
            nodes: 0,
            stopped: false,
        }
    }

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        let mut diagnostic = diagnostic;
        // an error inside a block of the library also shows the user's call
        let at = diagnostic.labels.first().map(|l| l.span.file);
        if let Some(file) = at
            && self.items.is_std(file)
            && let Some((_, name, span)) = self.chain.iter().rev().find(|(_, _, span)| !self.items.is_std(span.file))
            && *span != Span::default()
        {
            let text = format!("in this call of `{name}`");
            diagnostic = diagnostic.label(*span, text);
        }
        self.out.push(diagnostic);
        if self.out.list.len() > MAX_ERRORS {
            self.stopped = true;
        }
    }

    /// The table of a block; the first time, what is wrong with its declarations is reported.
    pub(crate) fn table(&mut self, file: FileId, block: &'a Block) -> Rc<Table<'a>> {
        if let Some(table) = self.tables.get(&(file, block.span.start)) {
            return Rc::clone(table);
        }
        let table = Rc::new(Table::of(block, &mut self.out));
        self.tables.insert((file, block.span.start), Rc::clone(&table));
        table
    }

    pub(crate) fn axis(&mut self, name: &str, size: Option<u64>, span: Span) -> AxisId {
        let id = AxisId(u32::try_from(self.axes.len()).unwrap_or(u32::MAX));
        self.axes.push(hir::Axis { name: name.to_string(), size, span });
        id
    }

    pub(crate) fn size(&self, axis: AxisId) -> Option<u64> {
        self.axes[axis.index()].size
    }

    /// One more instance, unless there are too many.
    pub(crate) fn draft(&mut self, draft: Draft) -> Option<InstanceId> {
        if self.drafts.len() >= MAX_INSTANCES {
            self.too_many(draft.instance.span, format!("more than {MAX_INSTANCES} instances"));
            return None;
        }
        let id = InstanceId(u32::try_from(self.drafts.len()).unwrap_or(u32::MAX));
        self.drafts.push(draft);
        Some(id)
    }

    /// Counts a node; false, with a diagnostic, where there are too many.
    pub(crate) fn count_node(&mut self, span: Span) -> bool {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.too_many(span, format!("more than {MAX_NODES} operations"));
            return false;
        }
        true
    }

    fn too_many(&mut self, span: Span, what: String) {
        if !self.stopped {
            let help = "repeat with `stack N of block(x)` or `share N of block(x)`: the number of repetitions costs nothing";
            self.report(Diagnostic::error(codes::call::TOO_MANY, format!("the model has {what}"), span, "one too many").help(help));
        }
        self.stopped = true;
    }

    /// Enters an expression or call; false, with a diagnostic, where the nesting is too deep.
    pub(crate) fn enter(&mut self, span: Span) -> bool {
        if self.stopped {
            return false;
        }
        if self.depth >= MAX_DEPTH || self.chain.len() > MAX_CHAIN {
            let message = format!("calls and expressions are nested more than {MAX_CHAIN} blocks or {MAX_DEPTH} levels deep");
            let help = "give parts names of their own: `part = ...`, or use `stack N of block(x)`";
            self.report(Diagnostic::error(codes::call::TOO_MANY, message, span, "nested too deeply").help(help));
            self.stopped = true;
            return false;
        }
        self.depth += 1;
        true
    }

    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }
}
