//! Products of rows that are looked up in a table with fewer rows than are looked up: the table itself is multiplied, and the lookup comes
//! after. So are products that sum over what was looked up (gradients of the other factor) and products that are added into a table
//! (gradients of the table): what meets one row of the table is added up first.

use crate::Graph;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Node, Origin, Region};
use crate::op::{MapFn, Op};
use crate::rewrite::{self, Frame, Frames, New, Rewrite};
use crate::rowwise::{OFTEN, is_often};
use crate::shape::{Shape, elements};

/// Elements that meet one element of what is added up, from which on adding up is less work.
const WIDE: u64 = 32;

/// Rewrites such products in every region, where that is less work.
pub fn lookup(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Lookup { bounds: Bounds { often: OFTEN, wide: WIDE }, frames: Frames::default() })
}

/// [`lookup`], be it less work or not.
pub fn lookup_always(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Lookup { bounds: Bounds { often: 0, wide: 0 }, frames: Frames::default() })
}

/// From which on it is less work.
#[derive(Clone, Copy)]
struct Bounds {
    often: u64,
    wide: u64,
}

struct Lookup {
    bounds: Bounds,
    frames: Frames,
}

/// Rows of a table along an axis, at positions.
struct Found {
    table: Value,
    positions: Value,
    axis: AxisId,
    origin: Origin,
}

impl Rewrite for Lookup {
    fn enter(&mut self, region: &Region, read: &[Value]) {
        self.frames.enter(region, read);
    }

    fn leave(&mut self) {
        self.frames.leave();
    }

    fn node(&mut self, b: &mut Builder<'_>, node: Node, old: Value) -> New {
        let bounds = self.bounds;
        self.frames.node(b, node, |frame, b, node| match &node.op {
            Op::Contract(over) => {
                let over = Shape::of(over.iter().copied());
                let [x, y] = [node.inputs[0], node.inputs[1]];
                product(b, x, y, &over, bounds).or_else(|| product(b, y, x, &over, bounds))
            }
            Op::ScatterAdd { axis, keep } => Scattered { frame, bounds }.of(b, old, node, *axis, keep),
            _ => None,
        })
    }
}

/// What is looked up, also under a renaming of the table's axes.
fn looked_up(b: &mut Builder<'_>, value: Value, bounds: Bounds) -> Option<Found> {
    let node = b.region.node(value).clone();
    match &node.op {
        Op::Gather(axis) => {
            let (table, positions) = (node.inputs[0], node.inputs[1]);
            let apart = b.shape(table).intersection(b.shape(positions)).is_scalar();
            (apart && is_often(b.axes, *axis, b.shape(positions), bounds.often)).then_some(Found {
                table,
                positions,
                axis: *axis,
                origin: node.origin,
            })
        }
        Op::Rename(pairs) => {
            let found = looked_up(b, node.inputs[0], bounds)?;
            let fits = pairs.iter().all(|p| b.shape(found.table).contains(p.0) && p.0 != found.axis && p.1 != found.axis);
            if !fits {
                return None;
            }
            let table = b.add(Op::Rename(pairs.clone()), &[found.table]);
            Some(Found { table, ..found })
        }
        _ => None,
    }
}

/// The product of what is looked up with another value.
fn product(b: &mut Builder<'_>, value: Value, other: Value, over: &Shape, bounds: Bounds) -> Option<Value> {
    if !matches!(b.region.node(value).op, Op::Gather(_) | Op::Rename(_)) {
        return None;
    }
    let Found { table, positions, axis, origin } = looked_up(b, value, bounds)?;
    let (points, rows, theirs) = (b.shape(positions).clone(), b.shape(table).without(axis), b.shape(other).clone());
    if theirs.contains(axis) {
        return None;
    }
    if rows.contains_all(over) && theirs.intersection(&points).is_scalar() {
        let product = b.add(Op::Contract(over.axes().to_vec()), &[table, other]);
        let before = std::mem::replace(&mut b.origin, origin);
        let found = b.add(Op::Gather(axis), &[product, positions]);
        b.origin = before;
        return Some(found);
    }
    let wide = elements(b.axes, &rows.minus(over)) >= bounds.wide;
    if wide && over.contains_all(&points) && theirs.contains_all(&points) {
        let keep = theirs.minus(&points);
        let sums = scatter(b, axis, &keep, positions, other, origin);
        let over = over.minus(&points).with(axis);
        return Some(b.add(Op::Contract(over.axes().to_vec()), &[table, sums]));
    }
    None
}

fn scatter(b: &mut Builder<'_>, axis: AxisId, keep: &Shape, positions: Value, updates: Value, origin: Origin) -> Value {
    let before = std::mem::replace(&mut b.origin, origin);
    let sums = b.add(Op::ScatterAdd { axis, keep: keep.axes().to_vec() }, &[positions, updates]);
    b.origin = before;
    sums
}

/// A sum that is added into a table.
struct Scattered<'a> {
    frame: &'a Frame,
    bounds: Bounds,
}

impl Scattered<'_> {
    /// A sum of products that is added into a table: what they are products of is added up first.
    fn of(&self, b: &mut Builder<'_>, old: Value, node: &Node, axis: AxisId, keep: &[AxisId]) -> Option<Value> {
        let (positions, updates) = (node.inputs[0], node.inputs[1]);
        let points = b.shape(positions).clone();
        let all = b.shape(updates).minus(&points) == Shape::of(keep.iter().copied());
        if !all || !b.shape(updates).contains_all(&points) || !is_often(b.axes, axis, &points, self.bounds.often) {
            return None;
        }
        let (mut rest, mut found) = (Vec::new(), Vec::new());
        let mut stack = vec![self.frame.old.node(old).inputs[1]];
        let ty = self.frame.old.ty(stack[0]).clone();
        while let Some(v) = stack.pop() {
            let part = self.frame.old.node(v);
            let alone = self.frame.is_alone(v);
            let like = |v: &Value| *self.frame.old.ty(*v) == ty;
            match &part.op {
                Op::Map(MapFn::Add) if alone && part.inputs.iter().all(like) => stack.extend(part.inputs.iter().rev()),
                Op::Contract(over) if alone => match self.factors(b, part, over, &points, axis) {
                    Some(factors) => found.push(factors),
                    None => rest.push(v),
                },
                _ => rest.push(v),
            }
        }
        if found.is_empty() {
            return None;
        }
        let kept = Shape::of(keep.iter().copied());
        let mut total: Option<Value> = None;
        let mut plus = |b: &mut Builder<'_>, part: Value| {
            total = Some(total.map_or(part, |total| b.map(MapFn::Add, &[total, part])));
        };
        let mut left: Option<Value> = None;
        for v in rest {
            let v = self.frame.stands_for(v);
            left = Some(left.map_or(v, |left| b.map(MapFn::Add, &[left, v])));
        }
        if let Some(left) = left {
            let part = scatter(b, axis, &kept, positions, left, node.origin.clone());
            plus(b, part);
        }
        for (moving, other, over) in found {
            let keep = b.shape(moving).minus(&points);
            let sums = scatter(b, axis, &keep, positions, moving, node.origin.clone());
            let part = b.add(Op::Contract(over), &[sums, other]);
            plus(b, part);
        }
        total
    }

    /// The factor of a product that has all points, the other, which has none, and what is summed over.
    fn factors(&self, b: &Builder<'_>, part: &Node, over: &[AxisId], points: &Shape, axis: AxisId) -> Option<(Value, Value, Vec<AxisId>)> {
        let [x, y] = [0, 1].map(|i| self.frame.stands_for(part.inputs[i]));
        let has = |v: Value| b.shape(v).contains_all(points);
        let lacks = |v: Value| b.shape(v).intersection(points).is_scalar() && !b.shape(v).contains(axis);
        let (moving, other) = if has(x) && lacks(y) { (x, y) } else { (y, x) };
        let fits = has(moving) && lacks(other) && !b.shape(moving).contains(axis) && !over.iter().any(|a| points.contains(*a));
        let wide = elements(b.axes, &b.shape(other).minus(&Shape::of(over.iter().copied())).minus(b.shape(moving))) >= self.bounds.wide;
        (fits && wide).then(|| (moving, other, over.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, sample, text::print_plain, verify::verify};

    const HEAD: &str = "axis t = 90\naxis v = 5\naxis a = 40\naxis c = 6\n%0 = input at : i32[t]\n%1 = param e : f32[v, a]\n%2 = param w : f32[a, c]\n\
                        %3 = input y : f32[t, c]\n%4 = gather %1, %0 along v : f32[t, a]\n";

    fn after(rest: &str) -> String {
        let graph = parse(&format!("{HEAD}{rest}")).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&lookup(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    #[test]
    fn a_product_of_rows_is_looked_up() {
        let new = after("%5 = contract %4, %2 over [a] : f32[t, c]\noutput o [t, c] = %5\n");
        assert!(new.contains("contract %1, %2 over [a] : f32[v, c]"), "{new}");
        assert_eq!(new.matches("gather").count(), 1, "{new}");
    }

    #[test]
    fn what_meets_one_row_is_added_up_first() {
        let new = after("%5 = contract %4, %3 over [t] : f32[a, c]\noutput o [a, c] = %5\n");
        assert!(new.contains("over [v] : f32[a, c]") && !new.contains("gather"), "{new}");
        assert!(new.contains(": f32[v, c]"), "{new}");
    }

    #[test]
    fn products_are_added_into_a_table_after() {
        let new = after(
            "%5 = contract %3, %2 over [c] : f32[t, a]\n%6 = add %5, %4 : f32[t, a]\n%7 = scatter_add %0, %6 into v keep [a] : f32[v, a]\n\
             output o [v, a] = %7\n",
        );
        assert!(new.contains("over [c] : f32[v, a]"), "{new}");
        assert_eq!(new.matches("scatter_add").count(), 2, "{new}");
    }

    #[test]
    fn a_table_that_is_larger_than_what_is_looked_up_stays() {
        let rest = "%5 = contract %4, %2 over [a] : f32[t, c]\noutput o [t, c] = %5\n";
        let graph = parse(&format!("{HEAD}{rest}").replace("v = 5", "v = 50")).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(print_plain(&dce(&lookup(&graph))), print_plain(&dce(&graph)));
    }

    #[test]
    fn what_stays_is_well_formed() {
        for seed in 0..300 {
            let new = lookup(&sample::graph(seed, 50));
            verify(&new).unwrap_or_else(|e| panic!("{seed}: {}\n{}", e[0], print_plain(&new)));
        }
    }
}
