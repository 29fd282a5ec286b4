//! Sums of products with one operand: `x a + x b` is `x (a + b)`, one product where there were two. Gradients of a parameter that reaches the
//! loss by several ways are such sums, where it meets the same values on each.

use crate::Graph;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Node, Region};
use crate::op::{MapFn, Op};
use crate::rewrite::{self, Frame, Frames, New, Rewrite};
use crate::shape::{Shape, Ty};

/// Gathers such products in every region.
pub fn distribute(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Distribute::default())
}

#[derive(Default)]
struct Distribute {
    frames: Frames,
}

/// A value whose axes were renamed.
#[derive(Clone, PartialEq)]
struct Named {
    value: Value,
    pairs: Vec<(AxisId, AxisId)>,
}

/// A part of a sum.
enum Part {
    Product { operands: [Named; 2], over: Shape },
    Other(Named),
}

impl Rewrite for Distribute {
    fn enter(&mut self, region: &Region, read: &[Value]) {
        self.frames.enter(region, read);
    }

    fn leave(&mut self) {
        self.frames.leave();
    }

    fn node(&mut self, b: &mut Builder<'_>, node: Node, old: Value) -> New {
        self.frames.node(b, node, |frame, b, _| {
            let sums = Sums(frame);
            sums.sum(old).and_then(|parts| sums.gathered(b, parts))
        })
    }
}

/// Sums of a region.
struct Sums<'a>(&'a Frame);

impl Sums<'_> {
    fn is_sum(&self, v: Value) -> bool {
        self.0.old.node(v).op == Op::Map(MapFn::Add)
    }

    /// The parts of a sum that is no part of another.
    fn sum(&self, v: Value) -> Option<Vec<Part>> {
        let mut reader = self.0.reader(v);
        while let Some(r) = reader.filter(|&r| matches!(self.0.old.node(r).op, Op::Rename(_))) {
            reader = self.0.reader(r);
        }
        if !self.is_sum(v) || reader.is_some_and(|r| self.is_sum(r)) {
            return None;
        }
        let mut parts = Vec::new();
        let mut stack = vec![Named { value: v, pairs: Vec::new() }];
        while let Some(Named { value, pairs }) = stack.pop() {
            let node = self.0.old.node(value);
            let same = node.ty == self.0.old.node(node.inputs.first().copied().unwrap_or(value)).ty;
            match &node.op {
                Op::Map(MapFn::Add) if (value == v || self.0.is_alone(value)) && same && self.0.old.ty(node.inputs[1]) == &node.ty => {
                    stack.extend([1, 0].map(|i| Named { value: node.inputs[i], pairs: pairs.clone() }));
                }
                Op::Rename(own) if self.0.is_alone(value) => {
                    stack.push(Named { value: node.inputs[0], pairs: composed(&self.0.old.ty(node.inputs[0]).shape, own, &pairs) });
                }
                Op::Contract(over) if self.0.is_alone(value) => {
                    let over = Shape::of(over.iter().copied());
                    if pairs.iter().any(|p| over.contains(p.1)) {
                        parts.push(Part::Other(Named { value, pairs }));
                        continue;
                    }
                    let operands = [0, 1].map(|i| self.named(node.inputs[i], &pairs));
                    parts.push(Part::Product { operands, over });
                }
                _ => parts.push(Part::Other(Named { value, pairs })),
            }
        }
        Some(parts)
    }

    /// A value under a renaming, without the renamings that it is made by.
    fn named(&self, mut value: Value, pairs: &[(AxisId, AxisId)]) -> Named {
        let mut pairs: Vec<_> = pairs.iter().copied().filter(|p| self.0.old.ty(value).shape.contains(p.0)).collect();
        while let Op::Rename(own) = &self.0.old.node(value).op {
            value = self.0.old.node(value).inputs[0];
            pairs = composed(&self.0.old.ty(value).shape, own, &pairs);
        }
        pairs.sort_unstable();
        Named { value, pairs }
    }

    fn ty(&self, named: &Named) -> Ty {
        let ty = self.0.old.ty(named.value);
        let to = |a: AxisId| named.pairs.iter().find(|p| p.0 == a).map_or(a, |p| p.1);
        Ty::new(ty.dtype, Shape::of(ty.shape.iter().map(to)))
    }

    /// The sum with its products gathered, where there are two with one operand.
    fn gathered(&self, b: &mut Builder<'_>, parts: Vec<Part>) -> Option<Value> {
        /// Products of one value, with the other operands.
        struct Group {
            shared: Named,
            over: Shape,
            others: Vec<Named>,
        }
        let (mut groups, mut rest): (Vec<Group>, Vec<Named>) = (Vec::new(), Vec::new());
        for part in parts {
            let (operands, over) = match part {
                Part::Other(named) => {
                    rest.push(named);
                    continue;
                }
                Part::Product { operands, over } => (operands, over),
            };
            let fits =
                |g: &&mut Group, i: usize| g.over == over && g.shared == operands[i] && self.ty(&g.others[0]) == self.ty(&operands[1 - i]);
            // Either operand may be the one that is shared.
            let turned = groups.iter_mut().find_map(|g| (0..2).find(|&i| fits(&g, i)).map(|i| (g, i)));
            if let Some((group, i)) = turned {
                group.others.push(operands[1 - i].clone());
                continue;
            }
            let second = groups.iter_mut().find(|g| {
                g.others.len() == 1
                    && g.over == over
                    && (0..2).any(|i| g.others[0] == operands[i] && self.ty(&g.shared) == self.ty(&operands[1 - i]))
            });
            let [first, other] = operands;
            if let Some(group) = second {
                let with = if group.others[0] == first { other } else { first };
                let shared = group.others.pop()?;
                group.others.extend([std::mem::replace(&mut group.shared, shared), with]);
                continue;
            }
            groups.push(Group { shared: first, over, others: vec![other] });
        }
        if groups.iter().all(|g| g.others.len() == 1) {
            return None;
        }
        let named = |b: &mut Builder<'_>, named: &Named| {
            let value = self.0.stands_for(named.value);
            if named.pairs.is_empty() { value } else { b.add(Op::Rename(named.pairs.clone()), &[value]) }
        };
        let add = |b: &mut Builder<'_>, sum: Option<Value>, part: Value| Some(sum.map_or(part, |sum| b.map(MapFn::Add, &[sum, part])));
        let mut sum = None;
        for part in &rest {
            let part = named(b, part);
            sum = add(b, sum, part);
        }
        for group in &groups {
            let mut total = None;
            for other in &group.others {
                let other = named(b, other);
                total = Some(total.map_or(other, |total| before_merge(b, total, other)));
            }
            let shared = named(b, &group.shared);
            let product = b.add(Op::Contract(group.over.axes().to_vec()), &[shared, total?]);
            sum = add(b, sum, product);
        }
        sum
    }
}

/// The sum of two values of one type. Where one of them is a view of what was computed in parts, the sum is computed in parts too.
fn before_merge(b: &mut Builder<'_>, x: Value, y: Value) -> Value {
    let merged = |v: Value| match &b.region.node(v).op {
        Op::Merge { from, into } => Some((b.region.node(v).inputs[0], from.clone(), *into)),
        _ => None,
    };
    let (found, other) = match (merged(x), merged(y)) {
        (Some(found), _) => (found, y),
        (None, Some(found)) => (found, x),
        (None, None) => return b.map(MapFn::Add, &[x, y]),
    };
    let (parts, from, into) = found;
    let other = b.add(Op::Split { axis: into, into: from.clone() }, &[other]);
    let sum = b.map(MapFn::Add, &[parts, other]);
    b.add(Op::Merge { from, into }, &[sum])
}

/// One renaming after another, of what has these axes.
fn composed(shape: &Shape, first: &[(AxisId, AxisId)], then: &[(AxisId, AxisId)]) -> Vec<(AxisId, AxisId)> {
    let to = |pairs: &[(AxisId, AxisId)], a: AxisId| pairs.iter().find(|p| p.0 == a).map_or(a, |p| p.1);
    shape.iter().map(|a| (a, to(then, to(first, a)))).filter(|p| p.0 != p.1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, sample, text::print_plain, verify::verify};

    const HEAD: &str =
        "axis t = 9\naxis a = 4\naxis c = 5\naxis d = 4\n%0 = input x : f32[t, a]\n%1 = input y : f32[t, c]\n%2 = input z : f32[t, c]\n";

    fn after(rest: &str) -> String {
        let graph = parse(&format!("{HEAD}{rest}")).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&distribute(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    #[test]
    fn two_products_with_one_operand_are_one() {
        let new = after(
            "%3 = contract %0, %1 over [t] : f32[a, c]\n%4 = contract %2, %0 over [t] : f32[a, c]\n%5 = add %3, %4 : f32[a, c]\n\
             output o [a, c] = %5\n",
        );
        assert!(new.contains("add %1, %2 : f32[t, c]\n%4 = contract"), "{new}");
        assert_eq!(new.matches("contract").count(), 1, "{new}");
    }

    #[test]
    fn also_through_renamings_and_beside_others() {
        let new = after(
            "%3 = rename %0 [a as d] : f32[t, d]\n%4 = contract %3, %1 over [t] : f32[d, c]\n%5 = input w : f32[d, c]\n%6 = add %5, %4 : f32[d, c]\n\
             %7 = rename %6 [d as a] : f32[a, c]\n%8 = contract %2, %0 over [t] : f32[a, c]\n%9 = add %7, %8 : f32[a, c]\n\
             output o [a, c] = %9\n",
        );
        assert_eq!((new.matches("contract").count(), new.matches("rename").count()), (1, 1), "{new}");
    }

    #[test]
    fn products_with_other_operands_or_other_readers_stay() {
        let new = after(
            "%3 = contract %0, %1 over [t] : f32[a, c]\n%4 = contract %2, %0 over [t] : f32[a, c]\n%5 = add %3, %4 : f32[a, c]\n\
             output o [a, c] = %5\noutput p [a, c] = %4\n",
        );
        assert_eq!(new.matches("contract").count(), 2, "{new}");
        let new = after(
            "%3 = neg %0 : f32[t, a]\n%4 = contract %0, %1 over [t] : f32[a, c]\n%5 = contract %3, %2 over [t] : f32[a, c]\n\
             %6 = add %4, %5 : f32[a, c]\noutput o [a, c] = %6\n",
        );
        assert_eq!(new.matches("contract").count(), 2, "{new}");
    }

    #[test]
    fn what_stays_is_well_formed() {
        for seed in 0..300 {
            let new = distribute(&sample::graph(seed, 50));
            verify(&new).unwrap_or_else(|e| panic!("{seed}: {}\n{}", e[0], print_plain(&new)));
        }
    }
}
