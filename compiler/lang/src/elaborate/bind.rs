//! Dims of a called block, bound through its tensor arguments.

use super::body::Eval;
use super::call::{Given, Operand, Target};
use super::expr::short;
use super::value::Val;
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::NodeId;
use crate::source::Span;
use crate::syntax::{Ident, PortType};
use ogive_graph::{AxisId, DType, Shape};

impl<'a> Eval<'_, 'a> {
    /// Binds dims through tensor arguments; what an argument has besides its port's dims is lifted over.
    pub(crate) fn bind_operands(
        &mut self,
        target: &Target<'a>,
        dims: &mut Vec<(String, Given)>,
        tensors: &[(usize, NodeId, Span)],
    ) -> Option<Vec<Operand>> {
        let mut operands = Vec::new();
        let mut fine = true;
        let mut bound: Vec<(&'a str, AxisId, Shape, Span)> = Vec::new();
        for &(port, node, span) in tensors {
            let PortType::Tensor(ty) = &target.block.inputs[port].ty else { continue };
            let shape = self.body.ty(node).shape.clone();
            let mut own = Shape::scalar();
            for dim in &ty.dims {
                let given = dims.iter().find(|(n, _)| *n == dim.name).map(|(_, g)| *g);
                let axis = match given {
                    Some(Given::Axis(axis)) => Some(self.within(axis, &shape)).filter(|a| shape.contains(*a)).or_else(|| {
                        // dims of a model's values are known by their names
                        self.body.objective.as_ref().and_then(|_| self.called(self.dim_name(axis), &shape))
                    }),
                    _ => self.called(&dim.name, &shape),
                };
                let Some(axis) = axis else {
                    fine = false;
                    let labelled = given.is_some() && !bound.iter().any(|b| b.0 == dim.name);
                    self.port_dim_missing(target, port, dim, (dims, labelled), &shape, span);
                    continue;
                };
                // another argument has all of the dim, or another selection of it
                if let Some((_, before, theirs, at)) = bound.iter().find(|b| b.0 == dim.name && b.1 != axis).cloned() {
                    fine = false;
                    let whole = self.body.picks.iter().find(|p| p.slot == axis || p.slot == before).map_or(axis, |p| p.over[0]);
                    self.mixed(whole, (&theirs, at), (&shape, span));
                    continue;
                }
                bound.push((&dim.name, axis, shape.clone(), span));
                if let Some(Given::Size(Some(n))) = given
                    && let Some(size) = self.cx.size(axis)
                    && size != n
                {
                    fine = false;
                    let message = format!("`{}: {n}` is passed, but the argument's `{}` has size {size}", dim.name, dim.name);
                    let place = self.cx.axes[axis.index()].span;
                    let error = Diagnostic::error(codes::shape::MISMATCH, message, span, format!("`{}` is {size}", dim.name));
                    self.cx
                        .report(error.label(place, "declared here").help(format!("leave out `{}: {n}`: the argument says it", dim.name)));
                    continue;
                }
                dims.retain(|(n, g)| *n != dim.name || *g == Given::Axis(axis));
                if !dims.iter().any(|(n, _)| *n == dim.name) {
                    dims.push((dim.name.clone(), Given::Axis(axis)));
                }
                own = own.with(axis);
            }
            fine &= self.bind_domain(target, port, node, span, dims);
            operands.push(Operand { port, node, extra: shape.minus(&own), span });
        }
        if fine && self.dims_distinct(target, dims) { Some(operands) } else { None }
    }

    /// `labelled`: a label of the call says what the dim is.
    fn port_dim_missing(
        &mut self,
        target: &Target<'a>,
        port: usize,
        dim: &Ident,
        (dims, labelled): (&[(String, Given)], bool),
        shape: &Shape,
        span: Span,
    ) {
        let declared = &target.block.inputs[port];
        let PortType::Tensor(ty) = &declared.ty else { return };
        let needs: Vec<&str> = ty.dims.iter().map(|d| d.name.as_str()).collect();
        let has = self.dims(shape);
        let given = dims.iter().find(|(n, _)| *n == dim.name).map(|(_, g)| *g);
        // what the port calls `dim` may have another name here
        let own = match given {
            Some(Given::Axis(axis)) => self.dim_name(axis).to_string(),
            _ => dim.name.clone(),
        };
        let bound = if own == dim.name { String::new() } else { format!(" (here `{own}`)") };
        let message = format!(
            "`{}` of `{}` has dims [{}]; the argument has {has}, without `{}`{bound}",
            declared.name.name,
            target.name.name,
            needs.join(", "),
            dim.name
        );
        let error = Diagnostic::error(codes::shape::PORT_DIM_MISSING, message, span, format!("has {has}"));
        let error = error.label(declared.span, format!("needs `{}`", dim.name));
        // a size that a label gave wrong is no reason against a dim
        let known = given.filter(|_| !labelled);
        let help = match (given, self.meant(&own, known, &needs, dims, shape)) {
            (Some(_), Some(other)) if labelled => format!("pass a dim that the argument has: `{}: {other}`", dim.name),
            (None, Some(other)) => format!("pass `{}: {other}`, or rename the argument's dim: `[{other} as {}]`", dim.name, dim.name),
            (Some(_), Some(other)) => format!("rename the argument's dim: `[{other} as {own}]`"),
            (_, None) => format!("pass a tensor that has `{own}`"),
        };
        self.cx.report(error.help(help));
    }

    /// The dim of an argument that may have been meant for one that its port needs: none that stands for another of the port's, or that
    /// has another size. Of several, that with the nearest name, else the last.
    fn meant(&self, own: &str, given: Option<Given>, needs: &[&str], dims: &[(String, Given)], shape: &Shape) -> Option<String> {
        let size = match given {
            Some(Given::Axis(axis)) => self.cx.size(axis),
            Some(Given::Size(size)) => size,
            None => None,
        };
        let taken = |axis: AxisId| dims.iter().any(|(_, g)| *g == Given::Axis(axis));
        let fits = |axis: AxisId| size.is_none_or(|n| self.cx.size(axis).is_none_or(|m| m == n));
        let free = |axis: &AxisId| !taken(*axis) && fits(*axis) && !needs.contains(&self.dim_name(*axis));
        let picked = |axis: &AxisId| self.body.picks.iter().any(|p| p.slot == *axis);
        let free: Vec<&str> = shape.iter().filter(free).filter(|a| !picked(a)).map(|a| self.dim_name(a)).collect();
        crate::suggest::nearest(own, free.iter().copied()).or(free.last().copied()).map(str::to_string)
    }

    pub(crate) fn bind_domain(
        &mut self,
        target: &Target<'a>,
        port: usize,
        node: NodeId,
        span: Span,
        dims: &mut Vec<(String, Given)>,
    ) -> bool {
        let declared = &target.block.inputs[port];
        let PortType::Tensor(ty) = &declared.ty else { return true };
        let (dtype, domain) = (self.body.ty(node).dtype, self.body.node(node).domain);
        let found = self.describe(&Val::Tensor(node));
        let Some(wanted) = &ty.domain else {
            if dtype.is_float() {
                return true;
            }
            let message = format!("`{}` of `{}` takes floats; this is {found}", declared.name.name, target.name.name);
            let error = Diagnostic::error(codes::shape::DTYPE, message, span, short(&found)).label(declared.span, "takes floats");
            let text = self.source(span);
            self.cx.report(error.help(format!("convert it: `float({text})`")));
            return false;
        };
        let Some(domain) = domain.filter(|_| dtype == DType::I32) else {
            let message =
                format!("`{}` of `{}` takes positions along `{}`; this is {found}", declared.name.name, target.name.name, wanted.name);
            let error = Diagnostic::error(codes::shape::DOMAIN, message, span, short(&found)).label(declared.span, "takes positions");
            let text = self.source(span);
            let help = if dtype == DType::I32 {
                format!("say along what: `position({text}, in: {})`", wanted.name)
            } else {
                format!("declare an input as positions: `i: [] in {}`", wanted.name)
            };
            self.cx.report(error.help(help));
            return false;
        };
        match dims.iter().find(|(n, _)| *n == wanted.name).map(|(_, g)| *g) {
            Some(Given::Axis(axis)) if axis != domain => {
                let (a, b) = (self.dim_name(axis).to_string(), self.dim_name(domain).to_string());
                let message = format!(
                    "`{}` of `{}` takes positions along `{a}`; these are positions along `{b}`",
                    declared.name.name, target.name.name
                );
                let error = Diagnostic::error(codes::shape::DOMAIN, message, span, format!("positions along `{b}`"))
                    .label(declared.span, "takes positions");
                self.cx.report(error.help(format!("rename the other argument's dim: `[{a} as {b}]`")));
                return false;
            }
            Some(Given::Size(n)) if n.is_some() && self.cx.size(domain).is_some() && n != self.cx.size(domain) => {
                let message =
                    format!("`{}` is passed as a size, but the argument's positions lie along `{}`", wanted.name, self.dim_sized(domain));
                self.cx.report(
                    Diagnostic::error(codes::shape::MISMATCH, message, span, "sizes differ").help(format!("leave out `{}:`", wanted.name)),
                );
                return false;
            }
            Some(Given::Axis(_)) => {}
            _ => {
                dims.retain(|(n, _)| *n != wanted.name);
                dims.push((wanted.name.clone(), Given::Axis(domain)));
            }
        }
        true
    }

    /// Whether no two dims of the callee are bound to one of the caller's.
    pub(crate) fn dims_distinct(&mut self, target: &Target<'a>, dims: &[(String, Given)]) -> bool {
        for (i, (name, given)) in dims.iter().enumerate() {
            if let Given::Axis(axis) = given
                && let Some((before, _)) = dims[..i].iter().find(|(_, g)| g == given)
            {
                let dim = self.dim_name(*axis).to_string();
                let message = format!("dims `{before}` and `{name}` of `{}` are both bound to `{dim}`", target.name.name);
                let error = Diagnostic::error(codes::shape::REPEATED_DIM, message, target.span, "one dim for two");
                self.cx.report(error.help(format!("rename one: `x[{dim} as {dim}2]`")));
                return false;
            }
        }
        true
    }
}
