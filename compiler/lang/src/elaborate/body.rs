//! The body of one instance while it is being elaborated.

use super::context::{Cx, MAX_ELEMENTS, MAX_SIZE};
use super::objective::Sources;
use super::table::Table;
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{Node, NodeId, Op, Param};
use crate::source::{FileId, Span};
use crate::syntax::{BinaryOp, Block, Expr, ExprKind, Ident};
use ogive_graph::{AxisId, DType, Op as Primitive, Scalar, Shape, Ty};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// A body with its scope.
pub(crate) struct Body<'a> {
    /// The block; none for the objective of an experiment.
    pub block: Option<&'a Block>,
    pub file: FileId,
    pub table: Rc<Table<'a>>,
    /// Dims by their names here.
    pub dims: BTreeMap<String, AxisId>,
    /// Names here of dims.
    pub dim_names: HashMap<AxisId, String>,
    /// Header dims whose default is still to be evaluated.
    pub pending: HashMap<String, &'a Expr>,
    /// Dims whose size is being found: to stop circles.
    pub resolving: BTreeSet<String>,
    /// For dims that outputs carry: the caller's dim of the same name, where it has one.
    pub outer: BTreeMap<String, Option<AxisId>>,
    /// Whether a caller's dims are in `outer` (false for a root).
    pub called: bool,
    /// Constant inputs; `None` while one is evaluated.
    pub constants: HashMap<String, Option<Const>>,
    /// Constant inputs whose default is still to be evaluated.
    pub pending_constants: HashMap<String, &'a Expr>,
    /// Tensor inputs, also those that a default gives.
    pub ports: HashMap<String, Val>,
    /// Values of equations.
    pub values: HashMap<usize, Val>,
    /// Parameters that were used, by declaration.
    pub params: BTreeMap<usize, Val>,
    /// Parameters in the order of first use.
    pub param_list: Vec<(usize, Param)>,
    /// Arguments of the local functions being inlined.
    pub frames: Vec<HashMap<&'a str, Val>>,
    /// Local functions being inlined.
    pub inlining: Vec<usize>,
    /// Equations being evaluated.
    pub evaluating: BTreeSet<usize>,
    /// The states before the step, by declaration.
    pub prevs: Vec<Val>,
    /// States of this cell and of those that it calls.
    pub slots: Vec<super::cell::Slot>,
    /// Set while a start value is evaluated.
    pub starting: bool,
    /// How many names the scan that comes next is given to.
    pub wanted: usize,
    /// Named instances that were used.
    pub named: HashMap<usize, super::call::Shared>,
    pub nodes: Vec<Node>,
    /// Places of the local functions being inlined.
    pub place: Vec<(u32, u32)>,
    pub applications: u64,
    pub stacks: Vec<AxisId>,
    /// Draft of this instance.
    pub instance: crate::hir::InstanceId,
    /// Set where this is the objective of an experiment.
    pub objective: Option<Sources>,
    /// Selections.
    pub picks: Vec<super::select::Pick>,
    /// Sums that are not formed.
    pub sums: Vec<super::separable::Sum>,
    /// Names that were reported as unknown.
    pub unknown: HashSet<String>,
}

impl<'a> Body<'a> {
    pub(crate) fn new(block: Option<&'a Block>, file: FileId, table: Rc<Table<'a>>) -> Self {
        Body {
            block,
            file,
            table,
            dims: BTreeMap::new(),
            dim_names: HashMap::new(),
            pending: HashMap::new(),
            resolving: BTreeSet::new(),
            outer: BTreeMap::new(),
            called: false,
            constants: HashMap::new(),
            pending_constants: HashMap::new(),
            ports: HashMap::new(),
            values: HashMap::new(),
            params: BTreeMap::new(),
            param_list: Vec::new(),
            frames: Vec::new(),
            inlining: Vec::new(),
            evaluating: BTreeSet::new(),
            prevs: Vec::new(),
            slots: Vec::new(),
            starting: false,
            wanted: 0,
            named: HashMap::new(),
            nodes: Vec::new(),
            place: Vec::new(),
            applications: 1,
            stacks: Vec::new(),
            instance: crate::hir::InstanceId(0),
            objective: None,
            picks: Vec::new(),
            sums: Vec::new(),
            unknown: HashSet::new(),
        }
    }

    pub(crate) fn bind(&mut self, name: &str, axis: AxisId) {
        self.dims.insert(name.to_string(), axis);
        self.dim_names.entry(axis).or_insert_with(|| name.to_string());
    }

    pub(crate) fn ty(&self, node: NodeId) -> &Ty {
        &self.nodes[node.index()].ty
    }

    pub(crate) fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.index()]
    }
}

/// A body and what it shares with others: the receiver of all rules.
pub(crate) struct Eval<'c, 'a> {
    pub cx: &'c mut Cx<'a>,
    pub body: &'c mut Body<'a>,
}

impl<'a> Eval<'_, 'a> {
    /// Adds a node.
    pub(crate) fn push(&mut self, op: Op, inputs: Vec<NodeId>, ty: Ty, span: Span) -> NodeId {
        self.push_in(op, inputs, ty, None, span)
    }

    /// Adds a node that holds positions along `domain`.
    pub(crate) fn push_in(&mut self, op: Op, inputs: Vec<NodeId>, ty: Ty, domain: Option<AxisId>, span: Span) -> NodeId {
        if self.cx.count_node(span) {
            let elements = ty.shape.iter().try_fold(1u64, |n, a| n.checked_mul(self.cx.size(a).unwrap_or(1)));
            if elements.is_none_or(|n| n > MAX_ELEMENTS) {
                let message = format!("{} has more than 2^62 elements", self.sized(&ty.shape));
                let help = "make one of its dims smaller, or sum over one before the product is formed: `a @dim b`";
                self.cx.report(Diagnostic::error(codes::shape::TOO_LARGE, message, span, "too large").help(help));
                self.cx.stopped = true;
            }
        }
        let id = NodeId(u32::try_from(self.body.nodes.len()).unwrap_or(u32::MAX));
        self.body.nodes.push(Node { op, inputs, ty, domain, span });
        id
    }

    /// Adds an operation of the graph.
    pub(crate) fn primitive(&mut self, op: Primitive, inputs: Vec<NodeId>, ty: Ty, span: Span) -> NodeId {
        self.push(Op::Primitive(op), inputs, ty, span)
    }

    /// A float scalar.
    pub(crate) fn float(&mut self, value: f64, span: Span) -> NodeId {
        self.primitive(Primitive::Const(Scalar::Float(value)), Vec::new(), Ty::scalar(DType::F32), span)
    }

    /// `[seq, model]` in the names of this body.
    pub(crate) fn dims(&self, shape: &Shape) -> String {
        let names: Vec<&str> = shape.iter().map(|a| self.dim_name(a)).collect();
        format!("[{}]", names.join(", "))
    }

    /// `[seq 256, model 412]`.
    pub(crate) fn sized(&self, shape: &Shape) -> String {
        let each: Vec<String> = shape.iter().map(|a| self.dim_sized(a)).collect();
        format!("[{}]", each.join(", "))
    }

    pub(crate) fn dim_sized(&self, axis: AxisId) -> String {
        match self.cx.size(axis) {
            Some(size) => format!("{} {size}", self.dim_name(axis)),
            None => self.dim_name(axis).to_string(),
        }
    }

    pub(crate) fn dim_name(&self, axis: AxisId) -> &str {
        self.body.dim_names.get(&axis).map_or(&self.cx.axes[axis.index()].name, String::as_str)
    }

    /// The text of a place.
    pub(crate) fn source(&self, span: Span) -> String {
        let text = self.cx.items.sources().slice(span).split_whitespace().collect::<Vec<_>>().join(" ");
        if text.chars().count() > 60 { format!("{}...", text.chars().take(57).collect::<String>()) } else { text }
    }

    /// A whole number as a size; reported otherwise. `None` for what was reported, `Some(None)` for what only a caller knows.
    /// `expr` is what it was computed from: errors show what fixes it.
    pub(crate) fn size_from(&mut self, value: &Const, span: Span, what: &str, expr: Option<&Expr>) -> Option<Option<u64>> {
        let x = match value {
            Const::Unknown => return Some(None),
            Const::Number(x) => *x,
            other => {
                let message = format!("the size of {what} is a number, not {}", other.describe());
                self.cx.report(Diagnostic::error(codes::constant::TYPE, message, span, "a size"));
                return None;
            }
        };
        #[allow(clippy::cast_precision_loss, reason = "2^40 is exact")]
        let max = MAX_SIZE as f64;
        if x.is_finite() && x.fract() != 0.0 && x > 0.0 && x <= max {
            let text = self.source(span);
            let message = format!("{what} is `{text}` = {x}, which is not a whole number");
            let lower = x.floor().max(1.0);
            let help = format!("choose sizes that divide, or round: `floor({text})` is {lower}");
            let error = Diagnostic::error(codes::shape::INDIVISIBLE, message, span, "not a whole number").help(help);
            self.report_size(error, expr);
            return None;
        }
        if !(1.0..=max).contains(&x) {
            let message = format!("{what} is {x}; sizes lie between 1 and 2^40");
            let help = "a size is a whole number from 1 to 1099511627776: change this one, as in `64`";
            let error = Diagnostic::error(codes::shape::SIZE_RANGE, message, span, "out of range").help(help);
            self.report_size(error, expr);
            return None;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a whole number in range")]
        Some(Some(x as u64))
    }

    fn report_size(&mut self, error: Diagnostic, expr: Option<&Expr>) {
        let error = match expr {
            Some(expr) => self.fixed_by(error, expr),
            None => error,
        };
        self.cx.report(error);
    }

    /// A dim by name; reported where nothing declares it.
    pub(crate) fn dim(&mut self, name: &Ident) -> Option<AxisId> {
        if let Some(axis) = self.dim_quiet(&name.name) {
            return Some(axis);
        }
        if self.body.unknown.insert(format!("dim {}", name.name)) && !self.body.resolving.contains(&name.name) {
            self.unknown_dim(name);
        }
        None
    }

    fn unknown_dim(&mut self, name: &Ident) {
        if let Some((over, place)) = self.selection(&name.name) {
            let (all, list) = (crate::suggest::list(&over), over.join(", "));
            let message = format!("`{}` is a selection over {all}, not a dim", name.name);
            let error = Diagnostic::error(codes::name::UNKNOWN_DIM, message, name.span, "a selection").label(place, "selected here");
            let named = if over.len() == 1 { list } else { format!("[{list}]") };
            let help = format!("sum over what it selects from, `@{named}`, and restrict tensors with it: `W[{}]`", name.name);
            self.cx.report(error.help(help));
            return;
        }
        let message = match (self.body.table.entries.get(name.name.as_str()), self.body.block) {
            (Some(_), Some(block)) => format!("`{}` of `{}` is not a dim", name.name, block.name.name),
            (None, Some(block)) => format!("no dim `{}` is declared in `{}`", name.name, block.name.name),
            (_, None) => format!("no dim is called `{}` here", name.name),
        };
        let known: Vec<&str> = self.body.dims.keys().map(String::as_str).collect();
        let mut error = Diagnostic::error(codes::name::UNKNOWN_DIM, message, name.span, "not a dim");
        let near = crate::suggest::nearest(&name.name, known.iter().copied());
        let help = match (near, self.body.block) {
            (Some(near), _) => Some(format!("did you mean `{near}`?")),
            (None, Some(block)) => Some(format!("declare it in the header: `{}[{}]`", block.name.name, declared(block, &name.name))),
            (None, None) => crate::suggest::help(&name.name, "dims", known),
        };
        if let Some(help) = help {
            error = error.help(help);
        }
        if let Some((_, span)) = self.body.table.entries.get(name.name.as_str()) {
            error = error.label(*span, "declared here");
        } else if let Some(block) = self.body.block {
            error = error.label(block.name.span, "dims are declared here");
        }
        self.cx.report(error);
    }

    /// The dims that an equation's `top` selects from, and the name's place.
    fn selection(&self, name: &str) -> Option<(Vec<&'a str>, Span)> {
        let (equation, _) = self.body.table.equation_of(name)?;
        let mut value = self.body.table.equations[equation].value;
        if let ExprKind::Binary(BinaryOp::Pipe, _, right) = &value.kind {
            value = right;
        }
        let ExprKind::Call(call) = &value.kind else { return None };
        let over = call.args.iter().find(|a| a.label.as_ref().is_some_and(|l| l.name == "over"))?;
        let dims: Vec<&'a str> = super::table::names(&over.value).into_iter().map(|n| n.name.as_str()).collect();
        let place = self.body.table.entries.get(name)?.1;
        (call.callee.name == "top" && !dims.is_empty()).then_some((dims, place))
    }

    /// Adds dims declared by `as` and the like, as they are needed.
    pub(crate) fn dim_quiet(&mut self, name: &str) -> Option<AxisId> {
        if let Some(&axis) = self.body.dims.get(name) {
            return Some(axis);
        }
        if self.body.resolving.contains(name) {
            return None;
        }
        self.body.resolving.insert(name.to_string());
        let found = self.pending_dim(name).or_else(|| self.implied_dim(name));
        self.body.resolving.remove(name);
        found
    }
}

/// The header's dims and one more.
fn declared(block: &Block, name: &str) -> String {
    block.dims.iter().map(|d| d.name.name.as_str()).chain([name]).collect::<Vec<_>>().join(", ")
}
