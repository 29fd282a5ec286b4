//! Shape rules of selection and routed contraction.

use super::Rule;
use crate::entity::AxisId;
use crate::shape::{DType, Shape, Ty};

/// Largest number of positions that i32 can tell apart.
const POSITIONS: u64 = 1 << 31;

impl Rule<'_> {
    /// Number of points of the axes, if i32 can number them.
    fn numbered(&self, axes: &[AxisId]) -> Result<u64, String> {
        let points = axes.iter().fold(1u64, |n, &a| n.saturating_mul(self.size(a)));
        if points <= POSITIONS { Ok(points) } else { Err(format!("{points} positions exceed i32")) }
    }

    /// See `Op::TopK`.
    pub(super) fn top(&self, over: &[AxisId], into: AxisId) -> Result<Ty, String> {
        if over.is_empty() {
            return Err("top ranks along at least one axis".into());
        }
        let gone = Shape::of(over.iter().copied());
        match self.inputs {
            [one] => over.iter().try_for_each(|&a| self.has(one, a))?,
            _ => {
                self.arity(over.len())?;
                self.same_dtype()?;
                for (ty, &a) in self.inputs.iter().zip(over) {
                    self.has(ty, a)?;
                    if ty.shape.intersection(&gone).rank() != 1 {
                        return Err(format!("the part of top along `{}` has another of the axes", self.name(a)));
                    }
                }
            }
        }
        if self.size(into) > self.numbered(over)? {
            return Err(format!("the {} largest of {} positions", self.size(into), self.numbered(over)?));
        }
        let all = self.inputs.iter().fold(Shape::scalar(), |s, t| s.union(&t.shape));
        self.joined(DType::I32, &all.minus(&gone), [into])
    }

    /// See `Op::Route`.
    pub(super) fn route(&self, axis: AxisId, shared: &[AxisId], order: &[AxisId]) -> Result<Vec<Ty>, String> {
        let positions = self.sole()?;
        self.is_positions(0)?;
        if Shape::of(order.iter().copied()) != positions.shape || order.len() != positions.shape.rank() {
            return Err("the order of route is not a permutation of the axes of its positions".into());
        }
        shared.iter().try_for_each(|&a| self.has(positions, a))?;
        self.numbered(order)?;
        self.outside(positions, axis)?;
        Ok(vec![positions.clone(), self.joined(DType::I32, &Shape::of(shared.iter().copied()), [axis])?])
    }

    /// See `Op::Routed`.
    pub(super) fn routed(&self, axis: AxisId, over: &[AxisId]) -> Result<Ty, String> {
        self.arity(5)?;
        let [x, w, positions] = [&self.inputs[0], &self.inputs[1], &self.inputs[2]];
        self.has(w, axis)?;
        self.outside(x, axis)?;
        let rest = w.shape.without(axis);
        self.points(axis, &rest)?;
        let chosen = rest.union(&positions.shape);
        for &a in over {
            self.has(x, a)?;
            if !chosen.contains(a) {
                return Err(format!("neither the weights nor the positions have `{}`", self.name(a)));
            }
        }
        Ok(Ty::new(x.dtype, x.shape.union(&chosen).minus(&Shape::of(over.iter().copied()))))
    }

    /// See `Op::RoutedOuter`.
    pub(super) fn routed_outer(&self, axis: AxisId, keep: &[AxisId]) -> Result<Ty, String> {
        self.arity(5)?;
        let [x, y, positions] = [&self.inputs[0], &self.inputs[1], &self.inputs[2]];
        self.outside(x, axis)?;
        self.outside(y, axis)?;
        let all = x.shape.union(&y.shape);
        let keep = Shape::of(keep.iter().copied());
        if !all.contains_all(&keep) {
            return Err("routed_outer keeps an axis that no operand has".into());
        }
        if !all.contains_all(&positions.shape) {
            return Err("operands of routed_outer have every axis of the positions".into());
        }
        self.points(axis, &keep)?;
        self.joined(x.dtype, &keep, [axis])
    }

    fn outside(&self, ty: &Ty, axis: AxisId) -> Result<(), String> {
        if ty.shape.contains(axis) { Err(format!("an operand already has `{}`", self.name(axis))) } else { Ok(()) }
    }

    /// Operands alike, and positions, sequence and ends of one route; `rest` are the axes of the weights less `axis`.
    fn points(&self, axis: AxisId, rest: &Shape) -> Result<(), String> {
        let [x, y, positions, sequence, ends] = [0, 1, 2, 3, 4].map(|i| &self.inputs[i]);
        if x.dtype != y.dtype {
            return Err(format!("operands of {} and {}", x.dtype, y.dtype));
        }
        self.is_positions(2)?;
        self.outside(positions, axis)?;
        if sequence != positions {
            return Err("the sequence is not that of the positions".into());
        }
        if *ends != Ty::new(DType::I32, positions.shape.intersection(rest).with(axis)) {
            return Err("the ends are not those of the positions and the weights".into());
        }
        Ok(())
    }
}
