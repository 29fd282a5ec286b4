//! Dims of a call in short forms: `f(x, model as half)` for the callee's first two dims, `f(x, over: [seq, batch])` for several as one.

use super::body::Eval;
use super::call::{Given, Target};
use super::table;
use super::value::Val;
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{NodeId, Op};
use crate::source::Span;
use crate::syntax::{Expr, ExprKind, Ident, PortType};
use ogive_graph::{AxisId, Op as Primitive, Shape, Ty};

/// Dims of the caller that are one dim of the callee.
pub(crate) struct Merged {
    name: String,
    names: Vec<Ident>,
    axis: Option<AxisId>,
    from: Vec<AxisId>,
    span: Span,
}

impl<'a> Eval<'_, 'a> {
    /// `model as half`.
    pub(crate) fn bind_pair(&mut self, target: &Target<'a>, pair: (&'a Ident, &'a Ident), dims: &mut Vec<(String, Given)>) -> Option<()> {
        for (dim, name) in target.block.dims.iter().zip([pair.0, pair.1]) {
            let axis = self.dim(name)?;
            if dims.iter().any(|(n, _)| *n == dim.name.name) {
                let message = format!("`{}` of `{}` is given twice", dim.name.name, target.name.name);
                let error =
                    Diagnostic::error(codes::call::GIVEN_TWICE, message, name.span, "given again").label(dim.name.span, "declared here");
                self.cx.report(error.help("give it once"));
                return None;
            }
            dims.push((dim.name.name.clone(), Given::Axis(axis)));
        }
        Some(())
    }

    /// A dim that is given as a list; `Some(None)` where that is none of dims (reported).
    pub(crate) fn listed(&mut self, label: &Ident, value: &'a Expr) -> Option<Option<Merged>> {
        let ExprKind::List(_) = &value.kind else { return None };
        let names = table::names(value);
        if names.is_empty() {
            let message = format!("`{}:` is a dim, or several; `{}` is neither", label.name, self.source(value.span));
            let error = Diagnostic::error(codes::name::WRONG_KIND, message, value.span, "not dims");
            self.cx.report(error.help(format!("name dims: `{}: [batch, seq]`", label.name)));
            return Some(None);
        }
        let names = names.into_iter().cloned().collect();
        Some(Some(Merged { name: label.name.clone(), names, axis: None, from: Vec::new(), span: value.span }))
    }

    /// Puts one dim in place of several in the arguments whose ports have it.
    pub(crate) fn merge_listed(
        &mut self,
        target: &Target<'a>,
        merged: &mut [Merged],
        tensors: &mut [(usize, NodeId, Span)],
        dims: &mut Vec<(String, Given)>,
    ) -> bool {
        for list in merged {
            for (port, node, at) in tensors.iter_mut() {
                let PortType::Tensor(ty) = &target.block.inputs[*port].ty else { continue };
                if !ty.dims.iter().any(|d| d.name == list.name) {
                    continue;
                }
                let shape = self.body.ty(*node).shape.clone();
                let Some(from) = self.listed_in(&list.names, &shape, &target.name.name, *node, *at) else { return false };
                let axis = match list.axis {
                    Some(axis) if from == list.from => axis,
                    Some(_) => {
                        let message = format!("`{}` is made of other dims in another argument of `{}`", list.name, target.name.name);
                        let error = Diagnostic::error(codes::shape::MISMATCH, message, *at, "other dims").label(list.span, "these dims");
                        self.cx.report(error.help("pass arguments that all have these dims"));
                        return false;
                    }
                    None => {
                        let Some(size) = self.product(&from, list.span) else { return false };
                        let axis = self.cx.axis(&list.name, size, list.span);
                        list.axis = Some(axis);
                        list.from.clone_from(&from);
                        dims.push((list.name.clone(), Given::Axis(axis)));
                        axis
                    }
                };
                let ty = Ty::new(self.body.ty(*node).dtype, shape.minus(&Shape::of(from.iter().copied())).with(axis));
                let domain = self.body.node(*node).domain;
                *node = self.push_in(Op::Primitive(Primitive::Merge { from, into: axis }), vec![*node], ty, domain, *at);
            }
            if list.axis.is_none() {
                let message = format!("no argument of `{}` has `{}`, so several dims cannot stand for it", target.name.name, list.name);
                let error = Diagnostic::error(codes::name::WRONG_KIND, message, list.span, "several dims");
                self.cx.report(error.help(format!("pass one dim or a size: `{}: 8`", list.name)));
                return false;
            }
        }
        true
    }

    /// Dims of a list in a tensor; in an experiment `depth` stands for those of all repetitions.
    pub(crate) fn listed_in(&mut self, names: &[Ident], shape: &Shape, what: &str, node: NodeId, at: Span) -> Option<Vec<AxisId>> {
        let (mut axes, mut rest) = (Vec::new(), Vec::new());
        for name in names {
            let depths: Vec<AxisId> = match self.body.objective {
                Some(_) if name.name == "depth" => shape.iter().filter(|&a| self.dim_name(a) == "depth").collect(),
                _ => Vec::new(),
            };
            if depths.is_empty() {
                rest.push(name);
            }
            axes.extend(depths);
        }
        axes.extend(self.dims_of(&rest, shape, what, node, at)?);
        Some(axes)
    }

    /// Takes results that have a merged dim apart again.
    pub(crate) fn split_listed(&mut self, value: Val, merged: &[Merged], span: Span) -> Val {
        match value {
            Val::Tuple(parts) => Val::Tuple(parts.into_iter().map(|v| self.split_listed(v, merged, span)).collect()),
            Val::Tensor(mut node) => {
                for list in merged {
                    let shape = self.body.ty(node).shape.clone();
                    if let Some(axis) = list.axis.filter(|a| shape.contains(*a)) {
                        let into = Shape::of(list.from.iter().copied());
                        let ty = Ty::new(self.body.ty(node).dtype, shape.without(axis).union(&into));
                        let domain = self.body.node(node).domain;
                        let split = Op::Primitive(Primitive::Split { axis, into: list.from.clone() });
                        node = self.push_in(split, vec![node], ty, domain, span);
                    }
                }
                Val::Tensor(node)
            }
            other => other,
        }
    }
}
