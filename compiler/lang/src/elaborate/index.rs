//! Indexing: renaming, splitting, merging, slicing, picking one position, gathering at positions.

use super::body::Eval;
use super::expr::{short, wrap};
use super::value::{Const, Val};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::NodeId;
use crate::source::Span;
use crate::syntax::{Expr, Ident, Index};
use ogive_graph::{AxisId, DType, MapFn, Op as Primitive, ReduceFn, Shape, Ty};

impl<'a> Eval<'_, 'a> {
    pub(crate) fn index(&mut self, of: &'a Expr, by: &'a [Index], span: Span) -> Val {
        let value = self.eval(of);
        if value == Val::Error {
            // errors inside the index are independent
            for index in by {
                if let Index::Gather(e) = index {
                    self.eval(e);
                }
            }
            return Val::Error;
        }
        if let (Val::Sum(sum), [Index::Gather(by)]) = (&value, by) {
            let at = by.span;
            if let Val::Pick(pick) = self.eval(by) {
                return self.restrict_sum(*sum, pick, of.span, at, span);
            }
        }
        if let Val::Sum(sum) = value {
            self.report_sum(sum);
            return Val::Error;
        }
        let Val::Tensor(mut node) = value else {
            let found = self.describe(&value);
            let message = format!("only tensors are indexed; this is {found}");
            self.cx.report(Diagnostic::error(codes::call::TENSOR_NEEDED, message, of.span, short(&found)).help("leave the index out"));
            return Val::Error;
        };
        // renames of one index happen at once: `x[a as b, b as a]`
        let mut renames = Vec::new();
        for index in by {
            match index {
                Index::As { from, into, .. } if from.len() == 1 && into.len() == 1 => renames.push((&from[0], &into[0])),
                _ => {}
            }
        }
        if !renames.is_empty() {
            match self.rename(node, &renames, of.span, span) {
                Some(renamed) => node = renamed,
                None => return Val::Error,
            }
        }
        for index in by {
            let next = match index {
                Index::As { from, into, .. } if from.len() == 1 && into.len() == 1 => Some(node),
                Index::As { from, into, span: at } if from.len() == 1 => self.split(node, &from[0], into, of.span, *at),
                Index::As { from, into, span: at } if into.len() == 1 => self.merge(node, from, &into[0], of.span, *at),
                Index::As { span: at, .. } => {
                    let message = "one dim is split into several, or several are merged into one".to_string();
                    let error = Diagnostic::error(codes::name::WRONG_KIND, message, *at, "several on both sides");
                    self.cx.report(error.help("merge first, then split: `x[(a, b) as c][c as (d, e)]`"));
                    None
                }
                Index::At { dim, at, span: place } => self.at(node, dim, at, of.span, *place),
                Index::Range { dim, start, end, into, span: place } => self.range(node, dim, start, end, into.as_ref(), of.span, *place),
                Index::Gather(positions) => self.gather(node, positions, of.span, span),
            };
            match next {
                Some(next) => node = next,
                None => return Val::Error,
            }
        }
        Val::Tensor(node)
    }

    fn shape(&self, node: NodeId) -> Shape {
        self.body.ty(node).shape.clone()
    }

    fn same_type(&self, node: NodeId, shape: Shape) -> Ty {
        Ty::new(self.body.ty(node).dtype, shape)
    }

    fn has(&mut self, what: &str, node: NodeId, dim: &Ident, at: Span) -> Option<AxisId> {
        let shape = self.shape(node);
        let axes = self.dims_of(&[dim], &shape, what, node, at)?;
        axes.first().copied()
    }

    fn rename(&mut self, node: NodeId, pairs: &[(&Ident, &Ident)], of: Span, span: Span) -> Option<NodeId> {
        let mut axes = Vec::new();
        for (from, into) in pairs {
            let a = self.has("as", node, from, of)?;
            let b = self.dim(into)?;
            self.equal_sizes(a, b, from, into)?;
            axes.push((a, b));
        }
        let gone = Shape::of(axes.iter().map(|p| p.0));
        let mut shape = self.shape(node).minus(&gone);
        for (&(_, b), (from, into)) in axes.iter().zip(pairs) {
            if shape.contains(b) {
                self.twice(into, from, node, of);
                return None;
            }
            shape = shape.with(b);
        }
        let domain = self.body.node(node).domain;
        let ty = self.same_type(node, shape);
        Some(self.push_in(crate::hir::Op::Primitive(Primitive::Rename(axes)), vec![node], ty, domain, span))
    }

    fn equal_sizes(&mut self, a: AxisId, b: AxisId, from: &Ident, into: &Ident) -> Option<()> {
        match (self.cx.size(a), self.cx.size(b)) {
            (Some(x), Some(y)) if x != y => {
                let message = format!("`{}` has size {x} and `{}` has size {y}; renaming needs equal sizes", from.name, into.name);
                let (p, q) = (self.cx.axes[a.index()].span, self.cx.axes[b.index()].span);
                let error = Diagnostic::error(codes::shape::MISMATCH, message, from.span.to(into.span), "sizes differ");
                let error = error.label(p, format!("`{}` is {x}", from.name)).label(q, format!("`{}` is {y}", into.name));
                self.cx.report(error.help(format!("rename to a dim that is not declared yet: `{} as {}2`", from.name, from.name)));
                None
            }
            _ => Some(()),
        }
    }

    fn twice(&mut self, into: &Ident, from: &Ident, node: NodeId, of: Span) {
        let has = self.dims(&self.shape(node));
        let message = format!("the result would have `{}` twice: it has {has} already", into.name);
        let error = Diagnostic::error(codes::shape::REPEATED_DIM, message, into.span, "there already").label(of, format!("has {has}"));
        self.cx.report(error.help(format!("use another name: `{} as {}2`", from.name, into.name)));
    }

    fn split(&mut self, node: NodeId, from: &Ident, into: &[Ident], of: Span, span: Span) -> Option<NodeId> {
        let axis = self.has("as", node, from, of)?;
        let parts: Vec<AxisId> = into.iter().map(|d| self.dim(d)).collect::<Option<_>>()?;
        if !self.distinct(into, &parts) {
            return None;
        }
        self.equal_product(axis, &parts, from, into, span)?;
        let mut shape = self.shape(node).without(axis);
        for (&part, name) in parts.iter().zip(into) {
            if shape.contains(part) {
                self.twice(name, from, node, of);
                return None;
            }
            shape = shape.with(part);
        }
        let ty = self.same_type(node, shape);
        Some(self.primitive(Primitive::Split { axis, into: parts }, vec![node], ty, span))
    }

    fn merge(&mut self, node: NodeId, from: &[Ident], into: &Ident, of: Span, span: Span) -> Option<NodeId> {
        let parts: Vec<AxisId> = from.iter().map(|d| self.has("as", node, d, of)).collect::<Option<_>>()?;
        if !self.distinct(from, &parts) {
            return None;
        }
        let axis = self.dim(into)?;
        self.equal_product(axis, &parts, into, from, span)?;
        let shape = self.shape(node).minus(&Shape::of(parts.iter().copied()));
        if shape.contains(axis) {
            self.twice(into, into, node, of);
            return None;
        }
        let ty = self.same_type(node, shape.with(axis));
        Some(self.primitive(Primitive::Merge { from: parts, into: axis }, vec![node], ty, span))
    }

    fn equal_product(&mut self, whole: AxisId, parts: &[AxisId], one: &Ident, several: &[Ident], span: Span) -> Option<()> {
        let product = self.product(parts, span)?;
        if let (Some(n), Some(p)) = (self.cx.size(whole), product)
            && n != p
        {
            let each: Vec<String> = parts.iter().map(|&a| self.dim_sized(a)).collect();
            let message = format!("`{}` has size {n}; the product of {} is {p}", one.name, each.join(" and "));
            let names: Vec<&str> = several.iter().map(|s| s.name.as_str()).collect();
            let place = self.cx.axes[whole.index()].span;
            let error =
                Diagnostic::error(codes::shape::MISMATCH, message, span, "sizes differ").label(place, format!("`{}` is {n}", one.name));
            self.cx.report(error.help(format!("give `{}` the size `{}`", one.name, names.join(" * "))));
            return None;
        }
        Some(())
    }

    fn at(&mut self, node: NodeId, dim: &Ident, at: &'a Expr, of: Span, span: Span) -> Option<NodeId> {
        let axis = self.has("index", node, dim, of)?;
        let position = self.eval(at);
        match &position {
            Val::Error => None,
            Val::Const(Const::Number(x)) => {
                let size = self.cx.size(axis);
                #[allow(clippy::cast_precision_loss, reason = "sizes are at most 2^40")]
                let inside = *x >= 0.0 && size.is_none_or(|n| *x < n as f64);
                if x.fract() != 0.0 || !inside {
                    let last = size.map_or_else(|| "its last".to_string(), |n| (n - 1).to_string());
                    let message = format!("position {x} lies outside `{}`, whose positions are 0 to {last}", dim.name);
                    let error = Diagnostic::error(codes::shape::OUT_OF_RANGE, message, at.span, "outside");
                    self.cx.report(error.help(format!("write `{}: {last}` for the last position", dim.name)));
                    return None;
                }
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
                let start = *x as u64;
                Some(self.pick(node, axis, start, span))
            }
            Val::Const(Const::Unknown) => Some(self.pick(node, axis, 0, span)),
            Val::Tensor(positions) => self.gather_at(node, axis, *positions, at.span, span),
            _ => {
                let found = self.describe(&position);
                let message = format!("a position is a whole number, not {found}");
                self.cx.report(
                    Diagnostic::error(codes::constant::TYPE, message, at.span, "not a position").help(format!("write `{}: 0`", dim.name)),
                );
                None
            }
        }
    }

    /// Position `start` of `axis`.
    fn pick(&mut self, node: NodeId, axis: AxisId, start: u64, span: Span) -> NodeId {
        let one = self.cx.axis(&format!("{}_at", self.dim_name(axis)), Some(1), span);
        let shape = self.shape(node).without(axis);
        let ty = self.same_type(node, shape.with(one));
        let slice = self.primitive(Primitive::Slice { axis, start, into: one }, vec![node], ty, span);
        let ty = self.same_type(node, shape);
        self.primitive(Primitive::Reduce(ReduceFn::Sum, vec![one]), vec![slice], ty, span)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one index")]
    fn range(
        &mut self,
        node: NodeId,
        dim: &Ident,
        start: &'a Expr,
        end: &'a Expr,
        into: Option<&Ident>,
        of: Span,
        span: Span,
    ) -> Option<NodeId> {
        let axis = self.has("a slice", node, dim, of)?;
        let (from, to) = (self.constant(start), self.constant(end));
        let (Val::Const(from), Val::Const(to)) = (from, to) else { return None };
        let Some(into) = into else {
            let message = format!("a part of `{}` is another dim and needs a name", dim.name);
            let error = Diagnostic::error(codes::shape::ESCAPING_DIM, message, span, "has no name");
            let text = self.source(span);
            self.cx.report(error.help(format!("name it: `{text} as part_of_{}`", dim.name)));
            return None;
        };
        let whole = self.cx.size(axis);
        let mut first = 0;
        if let (Const::Number(a), Const::Number(b)) = (&from, &to) {
            #[allow(clippy::cast_precision_loss, reason = "sizes are at most 2^40")]
            let inside = *a >= 0.0 && b > a && a.fract() == 0.0 && b.fract() == 0.0 && whole.is_none_or(|n| *b <= n as f64);
            if !inside {
                let n = whole.map_or_else(|| "its size".to_string(), |n| n.to_string());
                let message = format!("positions {a}..{b} do not lie within `{}`, whose positions are 0..{n}", dim.name);
                let error = Diagnostic::error(codes::shape::OUT_OF_RANGE, message, start.span.to(end.span), "outside");
                self.cx.report(error.help(format!("write a part of it: `{}: 0..{n}`", dim.name)));
                return None;
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
            {
                first = *a as u64;
            }
            let part = self.dim(into)?;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
            let length = (b - a) as u64;
            if let Some(size) = self.cx.size(part)
                && size != length
            {
                let message = format!("{a}..{b} has {length} positions; `{}` has size {size}", into.name);
                let place = self.cx.axes[part.index()].span;
                let error = Diagnostic::error(codes::shape::MISMATCH, message, span, "sizes differ")
                    .label(place, format!("`{}` is {size}", into.name));
                self.cx.report(error.help(format!("end at `{}`", first.saturating_add(size))));
                return None;
            }
        }
        let part = self.dim(into)?;
        let shape = self.shape(node).without(axis);
        if shape.contains(part) {
            self.twice(into, dim, node, of);
            return None;
        }
        let ty = self.same_type(node, shape.with(part));
        Some(self.primitive(Primitive::Slice { axis, start: first, into: part }, vec![node], ty, span))
    }

    fn gather(&mut self, node: NodeId, positions: &'a Expr, of: Span, span: Span) -> Option<NodeId> {
        let value = self.eval(positions);
        let index = match &value {
            Val::Error => return None,
            Val::Pick(pick) => return self.restrict(node, *pick, of, positions.span, span),
            Val::Tensor(index) if self.body.ty(*index).dtype == DType::I32 => *index,
            other => {
                let found = self.describe(other);
                let text = self.source(positions.span);
                let message = format!("an index holds positions along a dim; `{text}` is {found}");
                let error = Diagnostic::error(codes::shape::DOMAIN, message, positions.span, short(&found));
                let help = match other {
                    Val::Const(_) => format!("name the dim: `[dim: {text}]`"),
                    _ => "declare the input as positions, `i: [seq] in vocab`, or convert: `position(i, in: vocab)`".to_string(),
                };
                self.cx.report(error.help(help));
                return None;
            }
        };
        let Some(axis) = self.body.node(index).domain else {
            let text = self.source(positions.span);
            let message = format!("`{text}` is a whole number, but not known to be a position along any dim");
            let error = Diagnostic::error(codes::shape::DOMAIN, message, positions.span, "position along what?");
            let shape = self.shape(node);
            let dim = shape.axes().first().map_or("dim", |&a| self.dim_name(a)).to_string();
            self.cx.report(error.help(format!("say which: `position({text}, in: {dim})`")));
            return None;
        };
        if !self.shape(node).contains(axis) {
            let (has, dim) = (self.dims(&self.shape(node)), self.dim_name(axis).to_string());
            let text = self.source(of);
            let message = format!("the index holds positions along `{dim}`, which `{text}` does not have: it has {has}");
            let error = Diagnostic::error(codes::shape::DOMAIN, message, positions.span, format!("positions along `{dim}`"));
            let error = error.label(of, format!("has {has}"));
            self.cx.report(error.help(format!("index a tensor that has `{dim}`, or rename: `{}[... as {dim}]`", wrap(&text))));
            return None;
        }
        self.gather_at(node, axis, index, positions.span, span)
    }

    fn gather_at(&mut self, node: NodeId, axis: AxisId, index: NodeId, at: Span, span: Span) -> Option<NodeId> {
        let positions = self.body.node(index).clone();
        let dim = self.dim_name(axis).to_string();
        if positions.ty.dtype != DType::I32 || positions.domain.is_some_and(|d| d != axis) {
            let found = self.describe(&Val::Tensor(index));
            let message = format!("positions along `{dim}` are needed here; this is {found} of another kind");
            self.cx.report(
                Diagnostic::error(codes::shape::DOMAIN, message, at, short(&found)).help(format!("convert: `position(i, in: {dim})`")),
            );
            return None;
        }
        if positions.ty.shape.contains(axis) {
            let message = format!("positions along `{dim}` have that dim themselves");
            self.cx.report(
                Diagnostic::error(codes::shape::REPEATED_DIM, message, at, format!("has `{dim}`"))
                    .help(format!("rename it: `[{dim} as {dim}2]`")),
            );
            return None;
        }
        let shape = self.shape(node).without(axis).union(&positions.ty.shape);
        let domain = self.body.node(node).domain;
        let ty = self.same_type(node, shape);
        Some(self.push_in(crate::hir::Op::Primitive(Primitive::Gather(axis)), vec![node, index], ty, domain, span))
    }

    /// `float(x)`: the numbers behind positions or truth values.
    pub(crate) fn as_float(&mut self, node: NodeId, span: Span) -> NodeId {
        if self.body.ty(node).dtype.is_float() {
            return node;
        }
        let ty = Ty::new(DType::F32, self.shape(node));
        self.primitive(Primitive::Map(MapFn::Cast), vec![node], ty, span)
    }
}
