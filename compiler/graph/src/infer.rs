//! Shape rules: the types of an operation's results from the types of its operands.

mod route;

use crate::entity::AxisId;
use crate::graph::Axis;
use crate::op::{Attention, Loop, MapFn, Op};
use crate::shape::{DType, Shape, Ty};

/// Types of the results of `op`. `given` is the type the caller wants where the operands do not fix it
/// (`Input`, `Param`, `Argument`, `Const`, `Random`, `Cast`); it may be `None` elsewhere.
///
/// # Errors
/// What is wrong, in words that name axes.
pub fn results(op: &Op, inputs: &[Ty], given: Option<&Ty>, axes: &[Axis]) -> Result<Vec<Ty>, String> {
    let rule = Rule { op, inputs, axes };
    let one = |ty: Ty| Ok(vec![ty]);
    match op {
        Op::Input(port) | Op::Param(port) => {
            rule.arity(0)?;
            let ty = rule.given(given)?;
            rule.same_set(&port.order, &ty.shape)?;
            one(ty)
        }
        Op::Argument(_) => {
            rule.arity(0)?;
            one(rule.given(given)?)
        }
        Op::Const(_) => {
            rule.arity(0)?;
            let ty = rule.given(given)?;
            if !ty.shape.is_scalar() {
                return Err("a constant is a scalar".into());
            }
            one(ty)
        }
        Op::Iota(axis) => {
            rule.arity(0)?;
            one(Ty::new(DType::I32, Shape::of([*axis])))
        }
        Op::Random(random) => {
            for ty in inputs {
                if ty.dtype != DType::I32 || !ty.shape.is_scalar() {
                    return Err("inputs of random are i32 scalars".into());
                }
            }
            let dtype = given.map_or(DType::F32, |t| t.dtype);
            one(Ty::new(dtype, Shape::of(random.order.iter().copied())))
        }
        Op::Map(f) => one(rule.map(*f, given)?),
        Op::Reduce(_, over) | Op::Softmax(over) | Op::LogSumExp(over) => {
            let ty = rule.sole()?;
            for &a in over {
                rule.has(ty, a)?;
            }
            let shape = if matches!(op, Op::Softmax(_)) { ty.shape.clone() } else { ty.shape.minus(&Shape::of(over.iter().copied())) };
            one(Ty::new(ty.dtype, shape))
        }
        Op::ArgMax(axis) => {
            let ty = rule.sole()?;
            rule.has(ty, *axis)?;
            one(Ty::new(DType::I32, ty.shape.without(*axis)))
        }
        Op::Contract(over) => {
            rule.arity(2)?;
            rule.same_dtype()?;
            for &a in over {
                rule.has(&inputs[0], a)?;
                rule.has(&inputs[1], a)?;
            }
            let shape = inputs[0].shape.union(&inputs[1].shape).minus(&Shape::of(over.iter().copied()));
            one(Ty::new(inputs[0].dtype, shape))
        }
        Op::Solve { row, col, .. } => {
            rule.arity(2)?;
            rule.same_dtype()?;
            rule.has(&inputs[0], *row)?;
            rule.has(&inputs[0], *col)?;
            rule.has(&inputs[1], *row)?;
            rule.same_size(*row, *col)?;
            if row == col || inputs[1].shape.contains(*col) {
                return Err(format!("a right-hand side along `{}`", rule.name(*col)));
            }
            one(Ty::new(inputs[0].dtype, inputs[0].shape.union(&inputs[1].shape).without(*col)))
        }
        Op::Rename(pairs) => {
            let ty = rule.sole()?;
            for &(from, to) in pairs {
                rule.has(ty, from)?;
                rule.same_size(from, to)?;
            }
            let kept = ty.shape.minus(&pairs.iter().map(|p| p.0).collect());
            one(rule.joined(ty.dtype, &kept, pairs.iter().map(|p| p.1))?)
        }
        Op::Split { axis, into } => {
            let ty = rule.sole()?;
            rule.has(ty, *axis)?;
            rule.product(into, *axis)?;
            one(rule.joined(ty.dtype, &ty.shape.without(*axis), into.iter().copied())?)
        }
        Op::Merge { from, into } => {
            let ty = rule.sole()?;
            for &a in from {
                rule.has(ty, a)?;
            }
            rule.product(from, *into)?;
            one(rule.joined(ty.dtype, &ty.shape.minus(&Shape::of(from.iter().copied())), [*into])?)
        }
        Op::Slice { axis, start, into } => {
            let ty = rule.sole()?;
            rule.has(ty, *axis)?;
            rule.within(*start, *into, *axis)?;
            one(rule.joined(ty.dtype, &ty.shape.without(*axis), [*into])?)
        }
        Op::Pad { axis, start, into } => {
            let ty = rule.sole()?;
            rule.has(ty, *axis)?;
            rule.within(*start, *axis, *into)?;
            one(rule.joined(ty.dtype, &ty.shape.without(*axis), [*into])?)
        }
        Op::Concat { axes: each, into } => {
            if inputs.is_empty() || each.len() != inputs.len() {
                return Err("concat has one axis for each input".into());
            }
            rule.same_dtype()?;
            let rest = inputs[0].shape.without(each[0]);
            let mut total = 0u64;
            for (ty, &a) in inputs.iter().zip(each) {
                rule.has(ty, a)?;
                if ty.shape.without(a) != rest {
                    return Err("inputs of concat differ in their other axes".into());
                }
                total = total.saturating_add(rule.size(a));
            }
            if total != rule.size(*into) {
                return Err(format!("concat of {total} positions into `{}`", rule.name(*into)));
            }
            one(rule.joined(inputs[0].dtype, &rest, [*into])?)
        }
        Op::Gather(axis) => {
            rule.arity(2)?;
            rule.has(&inputs[0], *axis)?;
            rule.is_positions(1)?;
            one(rule.joined_sets(inputs[0].dtype, &inputs[0].shape.without(*axis), &inputs[1].shape, *axis)?)
        }
        Op::ScatterAdd { axis, keep } => {
            rule.arity(2)?;
            rule.is_positions(0)?;
            for &a in keep {
                rule.has(&inputs[1], a)?;
            }
            if !inputs[1].shape.contains_all(&inputs[0].shape) {
                return Err("updates of scatter_add have every axis of the positions".into());
            }
            if inputs[1].shape.contains(*axis) {
                return Err(format!("updates of scatter_add already have `{}`", rule.name(*axis)));
            }
            one(rule.joined(inputs[1].dtype, &Shape::of(keep.iter().copied()), [*axis])?)
        }
        Op::TopK { over, into } => one(rule.top(over, *into)?),
        Op::Route { axis, shared, order } => rule.route(*axis, shared, order),
        Op::Routed { axis, over } => one(rule.routed(*axis, over)?),
        Op::RoutedOuter { axis, keep } => one(rule.routed_outer(*axis, keep)?),
        Op::Attend(a) => rule.attend(a),
        Op::AttendGrad(_) => {
            rule.arity(6)?;
            Ok(vec![inputs[0].clone(), inputs[1].clone(), inputs[2].clone()])
        }
        Op::Loop(l) => rule.repeat(l),
        Op::Project(_) => Err("the type of a projection is that of the projected node's result".into()),
    }
}

struct Rule<'a> {
    op: &'a Op,
    inputs: &'a [Ty],
    axes: &'a [Axis],
}

impl Rule<'_> {
    fn name(&self, axis: AxisId) -> &str {
        self.axes.get(axis.index()).map_or("?", |a| &a.name)
    }

    fn size(&self, axis: AxisId) -> u64 {
        self.axes.get(axis.index()).map_or(0, |a| a.size)
    }

    fn arity(&self, n: usize) -> Result<(), String> {
        if self.inputs.len() == n { Ok(()) } else { Err(format!("{} inputs where {n} belong: {:?}", self.inputs.len(), self.op)) }
    }

    fn sole(&self) -> Result<&Ty, String> {
        self.arity(1)?;
        Ok(&self.inputs[0])
    }

    fn given(&self, given: Option<&Ty>) -> Result<Ty, String> {
        given.cloned().ok_or_else(|| format!("the type of {:?} must be given", self.op))
    }

    fn has(&self, ty: &Ty, axis: AxisId) -> Result<(), String> {
        if ty.shape.contains(axis) { Ok(()) } else { Err(format!("operand has no axis `{}`", self.name(axis))) }
    }

    fn same_set(&self, order: &[AxisId], shape: &Shape) -> Result<(), String> {
        if order.len() == shape.rank() && Shape::of(order.iter().copied()) == *shape {
            Ok(())
        } else {
            Err("the order of a port is not a permutation of its shape".into())
        }
    }

    fn same_dtype(&self) -> Result<(), String> {
        match self.inputs.split_first() {
            Some((first, rest)) if rest.iter().any(|t| t.dtype != first.dtype) => {
                Err(format!("operands of several element types: {:?}", self.inputs.iter().map(|t| t.dtype.name()).collect::<Vec<_>>()))
            }
            _ => Ok(()),
        }
    }

    fn same_size(&self, a: AxisId, b: AxisId) -> Result<(), String> {
        if self.size(a) == self.size(b) {
            Ok(())
        } else {
            Err(format!("`{}` of size {} against `{}` of size {}", self.name(a), self.size(a), self.name(b), self.size(b)))
        }
    }

    fn product(&self, parts: &[AxisId], whole: AxisId) -> Result<(), String> {
        let product: u64 = parts.iter().fold(1, |n: u64, &a| n.saturating_mul(self.size(a)));
        if parts.is_empty() || product != self.size(whole) {
            return Err(format!("parts of product {product} against `{}` of size {}", self.name(whole), self.size(whole)));
        }
        Ok(())
    }

    fn within(&self, start: u64, part: AxisId, whole: AxisId) -> Result<(), String> {
        if start.checked_add(self.size(part)).is_some_and(|end| end <= self.size(whole)) {
            Ok(())
        } else {
            Err(format!("{} positions at {start} do not lie within `{}`", self.size(part), self.name(whole)))
        }
    }

    fn joined(&self, dtype: DType, kept: &Shape, added: impl IntoIterator<Item = AxisId>) -> Result<Ty, String> {
        let mut shape = kept.clone();
        for a in added {
            if shape.contains(a) {
                return Err(format!("axis `{}` would occur twice", self.name(a)));
            }
            shape = shape.with(a);
        }
        Ok(Ty::new(dtype, shape))
    }

    fn joined_sets(&self, dtype: DType, kept: &Shape, added: &Shape, gone: AxisId) -> Result<Ty, String> {
        if added.contains(gone) {
            return Err(format!("positions along `{}` have that axis themselves", self.name(gone)));
        }
        Ok(Ty::new(dtype, kept.union(added)))
    }

    fn is_positions(&self, input: usize) -> Result<(), String> {
        if self.inputs[input].dtype == DType::I32 { Ok(()) } else { Err("positions are i32".into()) }
    }

    fn map(&self, f: MapFn, given: Option<&Ty>) -> Result<Ty, String> {
        use MapFn::{And, Cast, Not, Or, Where};
        self.arity(f.arity())?;
        let shape = self.inputs.iter().fold(Shape::scalar(), |s, t| s.union(&t.shape));
        let dtype = match f {
            Cast => self.given(given)?.dtype,
            Where => {
                if self.inputs[0].dtype != DType::Bool || self.inputs[1].dtype != self.inputs[2].dtype {
                    return Err("where takes a bool and two of one element type".into());
                }
                self.inputs[1].dtype
            }
            Not | And | Or => {
                if self.inputs.iter().any(|t| t.dtype != DType::Bool) {
                    return Err(format!("{} takes bool", f.name()));
                }
                DType::Bool
            }
            _ => {
                self.same_dtype()?;
                if f.is_predicate() { DType::Bool } else { self.inputs[0].dtype }
            }
        };
        Ok(Ty::new(dtype, shape))
    }

    fn attend(&self, a: &Attention) -> Result<Vec<Ty>, String> {
        self.arity(3)?;
        self.same_dtype()?;
        let [q, k, v] = [&self.inputs[0], &self.inputs[1], &self.inputs[2]];
        for (ty, axes) in [(q, [a.query, a.key]), (k, [a.source, a.key]), (v, [a.source, a.value])] {
            for axis in axes {
                self.has(ty, axis)?;
            }
        }
        let rest = q.shape.without(a.query).without(a.key);
        if k.shape.without(a.source).without(a.key) != rest || v.shape.without(a.source).without(a.value) != rest {
            return Err("q, k and v of attend differ in the axes they share".into());
        }
        let lse = rest.with(a.query);
        Ok(vec![self.joined(q.dtype, &lse, [a.value])?, Ty::new(q.dtype, lse)])
    }

    fn repeat(&self, l: &Loop) -> Result<Vec<Ty>, String> {
        if self.inputs.len() < l.carries + l.stacked {
            return Err("a loop has fewer inputs than carries and stacked values".into());
        }
        if l.body.results.len() < l.carries {
            return Err("a loop body has fewer results than carries".into());
        }
        let mut types = Vec::new();
        for (i, &r) in l.body.results.iter().enumerate() {
            let ty = l.body.ty(r).clone();
            if i < l.carries {
                if ty != self.inputs[i] {
                    return Err(format!("carry {i} changes its type"));
                }
                types.push(ty);
            } else {
                types.push(self.joined(ty.dtype, &ty.shape, [l.axis])?);
            }
        }
        for ty in &self.inputs[l.carries..l.carries + l.stacked] {
            self.has(ty, l.axis)?;
        }
        Ok(types)
    }
}
