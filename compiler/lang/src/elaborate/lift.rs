//! Hygiene of calls: a dim that a call lifts over is never taken for one of the callee's.

use super::body::Eval;
use super::call::{Operand, Target};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{InstanceId, NodeId, Op};
use ogive_graph::{AxisId, Op as Primitive, Shape, Ty};

/// Operands of a call as the callee gets them.
pub(crate) struct Lifted {
    pub inputs: Vec<NodeId>,
    /// For each, the dims that it is lifted over.
    pub extras: Vec<Shape>,
    /// Dims of the caller and the names that they have within.
    pub renamed: Vec<(AxisId, AxisId)>,
}

impl<'a> Eval<'_, 'a> {
    /// A dim that is lifted over and also bound to a dim of the callee gets another name within.
    pub(crate) fn hygienic(&mut self, id: InstanceId, operands: &[Operand]) -> Lifted {
        let bound: Vec<AxisId> = self.cx.drafts[id.index()].instance.dims.iter().map(|d| d.1).collect();
        let mut lifted = Lifted { inputs: Vec::new(), extras: Vec::new(), renamed: Vec::new() };
        for operand in operands {
            let clash: Vec<AxisId> = operand.extra.iter().filter(|a| bound.contains(a)).collect();
            let mut pairs = Vec::new();
            for axis in clash {
                let fresh = match lifted.renamed.iter().find(|(a, _)| *a == axis) {
                    Some(&(_, fresh)) => fresh,
                    None => {
                        let name = self.cx.axes[axis.index()].name.clone();
                        let fresh = self.cx.axis(&name, self.cx.size(axis), operand.span);
                        lifted.renamed.push((axis, fresh));
                        fresh
                    }
                };
                pairs.push((axis, fresh));
            }
            let mut node = operand.node;
            let mut extra = operand.extra.clone();
            if !pairs.is_empty() {
                let swap = |shape: &Shape| Shape::of(shape.iter().map(|a| pairs.iter().find(|(x, _)| *x == a).map_or(a, |(_, y)| *y)));
                // only the lifted dims are renamed; the port's own stay
                let ty = Ty::new(self.body.ty(node).dtype, swap(&self.body.ty(node).shape));
                extra = swap(&extra);
                let domain = self.body.node(node).domain;
                node = self.push_in(Op::Primitive(Primitive::Rename(pairs)), vec![node], ty, domain, operand.span);
            }
            lifted.inputs.push(node);
            lifted.extras.push(extra);
        }
        lifted
    }

    /// A result under the caller's names again; reported where it has such a dim already.
    pub(crate) fn restored(&mut self, target: &Target<'a>, node: NodeId, renamed: &[(AxisId, AxisId)]) -> Option<NodeId> {
        let ty = self.body.ty(node).clone();
        let back: Vec<(AxisId, AxisId)> = renamed.iter().filter(|(_, f)| ty.shape.contains(*f)).map(|&(a, f)| (f, a)).collect();
        if back.is_empty() {
            return Some(node);
        }
        if let Some(&(_, axis)) = back.iter().find(|(_, a)| ty.shape.contains(*a)) {
            let name = self.dim_name(axis).to_string();
            let message = format!("an argument of `{}` is lifted over `{name}`, which its result has too", target.name.name);
            let error = Diagnostic::error(codes::shape::REPEATED_DIM, message, target.span, format!("`{name}` twice"));
            self.cx.report(error.help(format!("rename the argument's dim: `x[{name} as {name}2]`")));
            return None;
        }
        let shape = Shape::of(ty.shape.iter().map(|a| back.iter().find(|(f, _)| *f == a).map_or(a, |(_, b)| *b)));
        let domain = self.body.node(node).domain;
        Some(self.push_in(Op::Primitive(Primitive::Rename(back)), vec![node], Ty::new(ty.dtype, shape), domain, target.span))
    }
}
