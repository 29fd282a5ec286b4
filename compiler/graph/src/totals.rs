//! Sums of sums, as one sum: the mean over a batch of means over its sequences is a factor of the sum over all. Rows then need not be what the
//! inner sum is over, and are read in the order in which they lie.

use crate::Graph;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Node, Region};
use crate::op::{MapFn, Op, ReduceFn};
use crate::rewrite::{self, Frame, Frames, New, Rewrite};

/// Joins sums of which nothing else reads the inner one.
pub fn totals(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Totals::default())
}

#[derive(Default)]
struct Totals {
    frames: Frames,
}

impl Rewrite for Totals {
    fn enter(&mut self, region: &Region, read: &[Value]) {
        self.frames.enter(region, read);
    }

    fn leave(&mut self) {
        self.frames.leave();
    }

    fn node(&mut self, b: &mut Builder<'_>, node: Node, old: Value) -> New {
        self.frames.node(b, node, |frame, b, node| match &node.op {
            Op::Reduce(ReduceFn::Sum, over) => joined(frame, b, frame.old.node(old).inputs[0], over),
            _ => None,
        })
    }
}

/// The sum over axes of a value that is numbers times a sum.
fn joined(frame: &Frame, b: &mut Builder<'_>, mut value: Value, over: &[AxisId]) -> Option<Value> {
    let new = |v: Value| frame.stands_for(v);
    let mut factors = Vec::new();
    loop {
        let node = frame.old.node(value);
        if !frame.is_alone(value) {
            return None;
        }
        let all: Vec<AxisId> = match &node.op {
            Op::Reduce(ReduceFn::Sum, inner) | Op::Contract(inner) => inner.iter().chain(over).copied().collect(),
            Op::Map(MapFn::Mul) => {
                let is_number = |v: Value| frame.old.ty(v).shape.is_scalar();
                let [x, y] = [node.inputs[0], node.inputs[1]];
                let (factor, rest) = if is_number(x) { (x, y) } else { (y, x) };
                if !is_number(factor) {
                    return None;
                }
                factors.push(factor);
                value = rest;
                continue;
            }
            _ => return None,
        };
        if !node.inputs.iter().all(|v| over.iter().all(|a| frame.old.ty(*v).shape.contains(*a))) {
            return None;
        }
        let inputs: Vec<Value> = node.inputs.iter().map(|&v| new(v)).collect();
        let op = match node.op {
            Op::Contract(_) => Op::Contract(all),
            _ => Op::Reduce(ReduceFn::Sum, all),
        };
        let sum = b.add(op, &inputs);
        return Some(factors.iter().rev().fold(sum, |sum, &f| b.map(MapFn::Mul, &[sum, new(f)])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, sample, text::print_plain, verify::verify};

    fn after(rest: &str) -> String {
        let head = "axis t = 9\naxis a = 4\n%0 = input x : f32[t, a]\n%1 = const 0.25 : f32[]\n";
        let graph = parse(&format!("{head}{rest}")).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&totals(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    #[test]
    fn a_mean_of_means_is_one_sum() {
        let new = after("%2 = sum %0 over [t] : f32[a]\n%3 = mul %2, %1 : f32[a]\n%4 = sum %3 over [a] : f32[]\noutput o [] = %4\n");
        assert!(new.contains("sum %0 over [t, a] : f32[]") && new.matches("sum").count() == 1, "{new}");
    }

    #[test]
    fn sums_that_others_read_stay() {
        let new = after("%2 = sum %0 over [t] : f32[a]\n%3 = sum %2 over [a] : f32[]\noutput o [] = %3\noutput p [a] = %2\n");
        assert_eq!(new.matches("sum").count(), 2, "{new}");
    }

    #[test]
    fn what_stays_is_well_formed() {
        for seed in 0..300 {
            let new = totals(&sample::graph(seed, 50));
            verify(&new).unwrap_or_else(|e| panic!("{seed}: {}\n{}", e[0], print_plain(&new)));
        }
    }
}
