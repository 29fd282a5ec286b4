//! A shift along the sequence: a slice from the start, padded in front. Position by position, a ring of the last values.

use super::{Body, Obstacle, Pass, place};
use crate::entity::Value;
use crate::graph::Region;
use crate::op::{MapFn, Op, ReduceFn};
use crate::shape::{DType, Shape, Ty};

/// What a node is to the shifts of its region.
pub(super) enum Shift {
    /// Its first part: nothing reads it but second parts.
    Cut,
    /// Its second part: the value so many positions before that of the input's input.
    By(u64),
}

impl Pass {
    /// Whether a node belongs to a shift to later positions, and as what.
    pub(super) fn shifts(&self, region: &Region, value: Value) -> Option<Shift> {
        match region.node(value).op {
            Op::Slice { axis, start: 0, .. } if axis == self.axis => {
                let reads = |v: &Value| region.node(*v).inputs.contains(&value);
                let readers: Vec<Value> = (0..).map(Value).take(region.nodes.len()).filter(reads).collect();
                let only = readers.iter().all(|r| self.later(region, *r).is_some()) && !region.results.contains(&value);
                (only && !readers.is_empty()).then_some(Shift::Cut)
            }
            Op::Pad { .. } => self.later(region, value).map(Shift::By),
            _ => None,
        }
    }

    /// How far the second part of a shift moves.
    fn later(&self, region: &Region, value: Value) -> Option<u64> {
        let node = region.node(value);
        let Op::Pad { axis: part, start, into } = node.op else { return None };
        match region.node(node.inputs[0]).op {
            Op::Slice { axis, start: 0, into: cut } if axis == self.axis && into == self.axis && cut == part => Some(start),
            _ => None,
        }
    }

    /// The value that `value` had `by` positions ago; zero where there was none.
    pub(super) fn earlier(&mut self, body: &mut Body<'_>, value: Value, by: u64) -> Result<Value, Obstacle> {
        let number = self.meet(body, 0);
        let ty = body.builder.ty(value).clone();
        if by == 1 {
            let (at, old) = body.state(&ty, number);
            body.states[at].new = value;
            return Ok(old);
        }
        let Some(steps) = i32::try_from(by).ok().filter(|_| ty.dtype != DType::Bool) else {
            return Err(Obstacle { what: "truth values of other positions", origin: body.builder.origin.clone() });
        };
        let name = body.builder.axes[self.axis.index()].name.clone();
        let ring = body.builder.axis(format!("{name}_before"), by);
        let shape: Shape = ty.shape.without(self.axis).with(ring);
        let (at, old) = body.state(&Ty::new(ty.dtype, shape), number);
        let steps = body.builder.int(steps);
        let position = body.position();
        let slot = body.builder.map(MapFn::Mod, &[position, steps]);
        let row = body.builder.reduce(ReduceFn::Sum, value, &[self.axis]);
        let rows = body.builder.add(Op::Iota(ring), &[]);
        let here = body.builder.map(MapFn::Eq, &[rows, slot]);
        body.states[at].new = body.builder.map(MapFn::Where, &[here, row, old]);
        let here = place(body, self.axis);
        let slot = body.builder.map(MapFn::Mod, &[here, steps]);
        Ok(body.builder.add(Op::Gather(ring), &[old, slot]))
    }
}
