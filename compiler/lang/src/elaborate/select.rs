//! Selection: `top` chooses positions along dims, `x[pick]` is restricted to them, and a contraction with restricted weights is routed.
//!
//! A pick over `expert` has a dim of its own, printed `expert~pick`. A tensor that has that dim instead of `expert` means it where `expert` is
//! named. A pick over several dims chooses positions of their product; a sum of tensors that have one of them each is its score, and is
//! never formed.

use super::body::Eval;
use super::builtins::Given;
use super::expr::{short, wrap};
use super::table;
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{NodeId, Op};
use crate::source::Span;
use crate::syntax::{Expr, Ident};
use ogive_graph::{AxisId, DType, MapFn, Op as Primitive, Scalar, Shape, Ty};

/// Positions that `top` chose.
#[derive(Clone, Debug)]
pub(crate) struct Pick {
    /// i32 positions along `flat`, with the dim `slot`.
    pub positions: NodeId,
    /// Dims that are chosen from.
    pub over: Vec<AxisId>,
    /// The one dim that is chosen from, or the product of several, the first varying slowest.
    pub flat: AxisId,
    /// The dim that stands for `over` in what is restricted.
    pub slot: AxisId,
    /// Whether an equation has named it.
    pub named: bool,
    /// The call of `top`.
    pub span: Span,
}

impl<'a> Eval<'_, 'a> {
    /// `top(k, score, over: dims)`.
    pub(crate) fn top(&mut self, given: &Given<'a>, span: Span) -> Val {
        let (count, score) = (given.operands[0], given.operands[1]);
        let (k, value) = (self.constant(count), self.eval(score));
        let Some(over) = given.label("over") else { return Val::Error };
        let Val::Const(k) = k else { return Val::Error };
        let Some(scores) = self.scores(&value, over, score) else { return Val::Error };
        let (inputs, axes) = scores;
        let Some(total) = self.product(&axes, over.span) else { return Val::Error };
        if total.is_some_and(|n| n > i32::MAX as u64) {
            let message = "a selection is made among at most 2^31 - 1 positions".to_string();
            self.cx
                .report(Diagnostic::error(codes::shape::SIZE_RANGE, message, over.span, "too large").help("make one of the dims smaller"));
            return Val::Error;
        }
        let Some(size) = self.count(&k, total, &axes, count.span) else { return Val::Error };
        let name = axes.iter().map(|&a| self.dim_name(a).to_string()).collect::<Vec<_>>().join(".");
        let place = self.cx.axes[axes[0].index()].span;
        let flat = if axes.len() == 1 { axes[0] } else { self.cx.axis(&name, total, place) };
        let slot = self.cx.axis(&format!("{name}~top"), size, span);
        let all = inputs.iter().fold(Shape::scalar(), |s, &n| s.union(&self.body.ty(n).shape));
        let shape = all.minus(&Shape::of(axes.iter().copied())).with(slot);
        let op = Op::Top { over: axes.clone(), slot };
        let positions = self.push_in(op, inputs, Ty::new(DType::I32, shape), Some(flat), span);
        self.body.picks.push(Pick { positions, over: axes, flat, slot, named: false, span });
        Val::Pick(self.body.picks.len() - 1)
    }

    /// The score as one tensor that has all dims, or as one tensor for each dim.
    fn scores(&mut self, value: &Val, over: &'a Expr, score: &'a Expr) -> Option<(Vec<NodeId>, Vec<AxisId>)> {
        let names = table::names(over);
        if names.is_empty() {
            let message = format!("`over:` names dims; `{}` is none", self.source(over.span));
            let error = Diagnostic::error(codes::name::WRONG_KIND, message, over.span, "not a dim");
            self.cx.report(error.help("write `over: expert` or `over: [row, col]`"));
            return None;
        }
        if let Val::Sum(i) = *value {
            let parts = self.body.sums[i].parts.clone();
            let whole: Shape = parts.iter().flat_map(|p| self.body.ty(p.0).shape.axes().to_vec()).collect();
            let axes = self.dims_of(&names, &whole, "top", parts[0].0, score.span)?;
            let holds = |me: &Self, p: NodeId| axes.iter().filter(|&&a| me.body.ty(p).shape.contains(a)).count();
            let each: Vec<NodeId> =
                axes.iter().filter_map(|&a| parts.iter().map(|p| p.0).find(|&p| self.body.ty(p).shape.contains(a))).collect();
            if each.len() == axes.len() && parts.len() == axes.len() && parts.iter().all(|p| holds(self, p.0) == 1) {
                self.body.sums[i].used = true;
                return Some((each, axes));
            }
            self.report_sum(i);
            return None;
        }
        let x = self.tensor(value, DType::F32, score.span)?;
        if !self.needs_float("top", x, score.span) {
            return None;
        }
        let shape = self.body.ty(x).shape.clone();
        let axes = self.dims_of(&names, &shape, "top", x, score.span)?;
        Some((vec![x], axes))
    }

    /// How many are chosen; reported where that is none or more than there are.
    fn count(&mut self, k: &Const, total: Option<u64>, axes: &[AxisId], at: Span) -> Option<Option<u64>> {
        let k = match k {
            Const::Unknown => return Some(None),
            Const::Number(k) => *k,
            other => {
                let message = format!("`top` selects a whole number of positions, not {}", other.describe());
                self.cx
                    .report(Diagnostic::error(codes::constant::TYPE, message, at, "not a count").help("write `top(4, score, over: dim)`"));
                return None;
            }
        };
        #[allow(clippy::cast_precision_loss, reason = "sizes are at most 2^40")]
        let fits = k >= 1.0 && k.fract() == 0.0 && total.is_none_or(|n| k <= n as f64);
        if fits {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
            return Some(Some(k as u64));
        }
        let each: Vec<String> = axes.iter().map(|&a| self.dim_sized(a)).collect();
        let from = each.join(" and ");
        let message = format!("`top` selects {k} of the positions along {from}");
        let place = self.cx.axes[axes[0].index()].span;
        let label = total.map_or_else(|| "selected from".to_string(), |n| format!("{n} positions"));
        let most = total.map_or_else(String::new, |n| format!(" to {n}"));
        let error = Diagnostic::error(codes::selection::COUNT, message, at, format!("selects {k}")).label(place, label);
        self.cx.report(error.help(format!("select a whole number from 1{most}: `top(1, ...)`")));
        None
    }

    /// Named dims as they occur in a tensor: where it is restricted, the pick's dim. Each once; reported where one is missing.
    pub(crate) fn dims_of(&mut self, names: &[&Ident], shape: &Shape, what: &str, node: NodeId, at: Span) -> Option<Vec<AxisId>> {
        let mut axes = Vec::new();
        let mut fine = true;
        for name in names {
            let Some(axis) = self.dim_in(name, &[&Val::Tensor(node)]) else {
                fine = false;
                continue;
            };
            let found = self.within(axis, shape);
            if !shape.contains(found) {
                self.over_missing(what, name, node, at);
                fine = false;
            } else if !axes.contains(&found) {
                axes.push(found);
            } else if found == axis {
                let message = format!("`{}` is named twice", name.name);
                self.cx.report(Diagnostic::error(codes::shape::REPEATED_DIM, message, name.span, "named again").help("name each dim once"));
                fine = false;
            }
        }
        (fine && self.all_named(names, &axes)).then_some(axes)
    }

    /// What a dim is in a tensor: itself, or the part of it that a selection left.
    pub(crate) fn within(&self, axis: AxisId, shape: &Shape) -> AxisId {
        if shape.contains(axis) {
            return axis;
        }
        self.body.picks.iter().find(|p| p.over.contains(&axis) && shape.contains(p.slot)).map_or(axis, |p| p.slot)
    }

    /// The dim of a tensor with a name, or the selected part of the dim of that name.
    pub(crate) fn called(&self, name: &str, shape: &Shape) -> Option<AxisId> {
        let part = || self.body.picks.iter().find(|p| shape.contains(p.slot) && p.over.len() == 1 && self.dim_name(p.over[0]) == name);
        shape.iter().find(|&a| self.dim_name(a) == name).or_else(|| part().map(|p| p.slot))
    }

    /// Whether a selection over several dims is named by all of them; reported where not.
    pub(crate) fn all_named(&mut self, names: &[&Ident], axes: &[AxisId]) -> bool {
        let part = self.body.picks.iter().find(|p| {
            axes.contains(&p.slot) && p.over.len() > 1 && !p.over.iter().all(|&a| names.iter().any(|n| n.name == self.dim_name(a)))
        });
        let Some(pick) = part.cloned() else { return true };
        let all: Vec<String> = pick.over.iter().map(|&a| self.dim_name(a).to_string()).collect();
        let Some(name) = names.iter().find(|n| all.contains(&n.name)) else { return true };
        let message = format!("`{}` is one of the dims [{}] that a selection was made over together", name.name, all.join(", "));
        let error =
            Diagnostic::error(codes::selection::PART, message, name.span, "one of several").label(pick.span, "selected over all of them");
        self.cx.report(error.help(format!("name them all: `[{}]`", all.join(", "))));
        false
    }

    /// Gives a pick the name of its equation.
    pub(crate) fn name_pick(&mut self, value: &Val, name: Option<&Ident>) {
        if let (Val::Pick(i), Some(name)) = (value, name)
            && let Some(pick) = self.body.picks.get_mut(*i)
            && !pick.named
        {
            pick.named = true;
            let slot = pick.slot.index();
            let stem = self.cx.axes[slot].name.trim_end_matches("~top").to_string();
            self.cx.axes[slot].name = format!("{stem}~{}", name.name);
        }
    }

    /// `node[pick]`.
    pub(crate) fn restrict(&mut self, node: NodeId, pick: usize, of: Span, at: Span, span: Span) -> Option<NodeId> {
        let pick = self.body.picks[pick].clone();
        let shape = self.body.ty(node).shape.clone();
        let over = Shape::of(pick.over.iter().copied());
        let present = shape.intersection(&over);
        if present.is_scalar() {
            let (dims, has) = (self.dims(&over), self.dims(&shape));
            let text = self.source(of);
            let message = format!("the selection is over {dims}, of which `{text}` has none: it has {has}");
            let error = Diagnostic::error(codes::selection::DIM_MISSING, message, at, format!("selects over {dims}"));
            let error = error.label(of, format!("has {has}")).label(pick.span, "selected here");
            let dim = self.dim_name(pick.over[0]).to_string();
            self.cx.report(error.help(format!("leave the index out, or rename the dim that is meant: `{}[... as {dim}]`", wrap(&text))));
            return None;
        }
        if shape.contains(pick.slot) {
            let name = self.dim_name(pick.over[0]).to_string();
            let message = format!("this has `{name}` and a selection of it at once");
            let error = Diagnostic::error(codes::selection::MIXED, message, of, "selected already").label(pick.span, "by this");
            self.cx.report(error.help("restrict each part once, before they are combined"));
            return None;
        }
        let positions = self.body.node(pick.positions).clone();
        if let Some(&axis) = pick.over.iter().find(|&&a| positions.ty.shape.contains(a)) {
            let name = self.dim_name(axis).to_string();
            let message = format!("the selection over `{name}` has that dim itself");
            self.cx
                .report(Diagnostic::error(codes::shape::REPEATED_DIM, message, at, format!("has `{name}`")).help("rename it in the score"));
            return None;
        }
        Some(self.restricted(node, &pick, span))
    }

    /// The restriction of a tensor that has at least one of the pick's dims.
    fn restricted(&mut self, node: NodeId, pick: &Pick, span: Span) -> NodeId {
        let Some((&first, rest)) = pick.over.split_first() else { return node };
        if rest.is_empty() {
            return self.gathered(node, first, pick.positions, span);
        }
        let over = Shape::of(pick.over.iter().copied());
        let shape = self.body.ty(node).shape.clone();
        // an element-wise function of tensors that lack some of the dims is restricted in its operands
        if let Op::Primitive(Primitive::Map(f)) = self.body.node(node).op {
            let operands = self.body.node(node).inputs.clone();
            let partial = |me: &Self, n: NodeId| !me.body.ty(n).shape.contains_all(&over);
            if operands.iter().any(|&n| partial(self, n)) {
                let inner: Vec<NodeId> = operands
                    .into_iter()
                    .map(|n| if self.body.ty(n).shape.intersection(&over).is_scalar() { n } else { self.restricted(n, pick, span) })
                    .collect();
                let dtype = self.body.ty(node).dtype;
                let shape = inner.iter().fold(Shape::scalar(), |s, &n| s.union(&self.body.ty(n).shape));
                return self.primitive(Primitive::Map(f), inner, Ty::new(dtype, shape), span);
            }
        }
        if shape.contains_all(&over) {
            let ty = Ty::new(self.body.ty(node).dtype, shape.minus(&over).with(pick.flat));
            let domain = self.body.node(node).domain;
            let merge = Op::Primitive(Primitive::Merge { from: pick.over.clone(), into: pick.flat });
            let merged = self.push_in(merge, vec![node], ty, domain, span);
            return self.gathered(merged, pick.flat, pick.positions, span);
        }
        let mut node = node;
        for (i, &axis) in pick.over.iter().enumerate() {
            if shape.contains(axis) {
                let positions = self.component(pick, i, span);
                node = self.gathered(node, axis, positions, span);
            }
        }
        node
    }

    /// Positions along one of the dims of a pick over several.
    fn component(&mut self, pick: &Pick, i: usize, span: Span) -> NodeId {
        let ty = self.body.ty(pick.positions).clone();
        let constant = |me: &mut Self, n: u64| {
            let value = Scalar::Int(i32::try_from(n).unwrap_or(i32::MAX));
            me.primitive(Primitive::Const(value), Vec::new(), Ty::scalar(DType::I32), span)
        };
        let stride = pick.over[i + 1..].iter().fold(1u64, |n, &a| n.saturating_mul(self.cx.size(a).unwrap_or(1)));
        let size = self.cx.size(pick.over[i]).unwrap_or(1);
        let mut value = pick.positions;
        if stride > 1 {
            let stride = constant(self, stride);
            let rest = self.primitive(Primitive::Map(MapFn::Mod), vec![value, stride], ty.clone(), span);
            let whole = self.primitive(Primitive::Map(MapFn::Sub), vec![value, rest], ty.clone(), span);
            value = self.primitive(Primitive::Map(MapFn::Div), vec![whole, stride], ty.clone(), span);
        }
        let size = constant(self, size);
        self.push_in(Op::Primitive(Primitive::Map(MapFn::Mod)), vec![value, size], ty, Some(pick.over[i]), span)
    }

    fn gathered(&mut self, node: NodeId, axis: AxisId, positions: NodeId, span: Span) -> NodeId {
        let shape = self.body.ty(node).shape.without(axis).union(&self.body.ty(positions).shape);
        let ty = Ty::new(self.body.ty(node).dtype, shape);
        let domain = self.body.node(node).domain;
        self.push_in(Op::Primitive(Primitive::Gather(axis)), vec![node, positions], ty, domain, span)
    }

    /// A contraction; one operand restricted weights that have more dims than the choice of them depends on: then routed.
    pub(crate) fn contracted(&mut self, x: NodeId, y: NodeId, over: Vec<AxisId>, span: Span) -> NodeId {
        let (p, q) = (self.body.ty(x).shape.clone(), self.body.ty(y).shape.clone());
        let ty = Ty::new(DType::F32, p.union(&q).minus(&Shape::of(over.iter().copied())));
        for (weights, other) in [(y, x), (x, y)] {
            if let Some((w, axis, positions)) = self.routed(weights) {
                return self.push(Op::Routed { axis, over }, vec![other, w, positions], ty, span);
            }
        }
        self.primitive(Primitive::Contract(over), vec![x, y], ty, span)
    }

    /// Weights, the dim that is chosen from, and positions, where a node is `weights[pick]` with dims of its own.
    fn routed(&self, node: NodeId) -> Option<(NodeId, AxisId, NodeId)> {
        let node = self.body.node(node);
        let (Op::Primitive(Primitive::Gather(axis)), [w, positions]) = (&node.op, &node.inputs[..]) else { return None };
        // positions along one dim of a product are computed from those of a pick
        let part = matches!(self.body.node(*positions).op, Op::Primitive(Primitive::Map(MapFn::Mod)));
        let picked = self.body.picks.iter().any(|p| p.positions == *positions || (part && p.over.contains(axis)));
        let own = self.body.ty(*w).shape.without(*axis).minus(&self.body.ty(*positions).shape);
        (picked && !own.is_scalar()).then_some((*w, *axis, *positions))
    }

    /// Whether no two tensors have different parts of one dim; reported where they do.
    pub(crate) fn aligned(&mut self, operands: &[(NodeId, Span)]) -> bool {
        for (i, &(x, at_x)) in operands.iter().enumerate() {
            for (j, &(y, at_y)) in operands.iter().enumerate() {
                let (a, b) = (self.body.ty(x).shape.clone(), self.body.ty(y).shape.clone());
                let clash = self.body.picks.iter().find_map(|p| {
                    if !a.contains(p.slot) || b.contains(p.slot) {
                        return None;
                    }
                    let dim = |over: &[AxisId]| over.iter().copied().find(|d| p.over.contains(d));
                    // of two picks, the pair is found once
                    let other =
                        self.body.picks.iter().find(|q| i < j && b.contains(q.slot) && !a.contains(q.slot) && dim(&q.over).is_some());
                    let whole = p.over.iter().copied().find(|d| b.contains(*d) && !a.contains(*d));
                    other.and_then(|q| dim(&q.over)).or(whole)
                });
                if i != j
                    && let Some(axis) = clash
                {
                    self.mixed(axis, (&a, at_x), (&b, at_y));
                    return false;
                }
            }
        }
        true
    }

    pub(crate) fn mixed(&mut self, axis: AxisId, x: (&Shape, Span), y: (&Shape, Span)) {
        let name = self.dim_name(axis).to_string();
        let part = |me: &Self, shape: &Shape| me.dim_name(me.within(axis, shape)).to_string();
        let (p, q) = (part(self, x.0), part(self, y.0));
        let whole = y.0.contains(axis);
        let (message, help) = if whole {
            let pick = p.rsplit('~').next().unwrap_or("pick").to_string();
            let text = wrap(&self.source(y.1));
            (format!("one side has a selection of `{name}`, the other all of it"), format!("restrict it too: `{text}[{pick}]`"))
        } else {
            let help = format!("use one selection on both sides, or sum over one first: `sum(..., over: {name})`");
            (format!("two selections of `{name}` are mixed; `{p}` and `{q}` never align"), help)
        };
        let error = Diagnostic::error(codes::selection::MIXED, message, x.1, format!("has `{p}`")).label(y.1, format!("has `{q}`"));
        self.cx.report(error.help(help));
    }

    /// A selection stands where a tensor is needed.
    pub(crate) fn pick_is_no_tensor(&mut self, span: Span) {
        let text = self.source(span);
        let message = format!("`{}` is a selection, not a tensor", short(&text));
        let error = Diagnostic::error(codes::call::TENSOR_NEEDED, message, span, "a selection");
        self.cx.report(error.help(format!("use it as an index: `x[{}]`", short(&text))));
    }
}
