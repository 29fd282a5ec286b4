//! Loops of one iteration are their bodies: nothing is copied from carry to carry, and what is before and after fuses with what was inside.

use crate::Graph;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::Node;
use crate::op::{Loop, MapFn, Op, Scalar};
use crate::rewrite::{self, New, Rewrite};
use crate::shape::{DType, Ty};
use std::collections::BTreeMap;

/// Puts the body of every loop of one iteration in its place.
pub fn single(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Single::default())
}

#[derive(Default)]
struct Single {
    /// For values with an axis of one position, those without it; of each region that is open.
    flat: Vec<BTreeMap<(Value, AxisId), Value>>,
}

impl Rewrite for Single {
    fn enter(&mut self, _region: &crate::graph::Region, _read: &[Value]) {
        self.flat.push(BTreeMap::new());
    }

    fn leave(&mut self) {
        self.flat.pop();
    }

    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        match (&node.op, self.flat.last_mut()) {
            (Op::Loop(l), Some(flat)) if b.axes[l.axis.index()].size == 1 => New::Results(opened(b, l, &node.inputs, flat)),
            _ => New::One(b.region.push(node)),
        }
    }
}

/// The body in the builder's region; gives the loop's results.
fn opened(b: &mut Builder<'_>, l: &Loop, inputs: &[Value], flat: &mut BTreeMap<(Value, AxisId), Value>) -> Vec<Value> {
    let mut arguments = Vec::new();
    for (place, &input) in inputs.iter().enumerate() {
        let is_stacked = (l.carries..l.carries + l.stacked).contains(&place);
        arguments.push(match flat.get(&(input, l.axis)) {
            _ if !is_stacked => input,
            Some(&value) => value,
            None => {
                let value = without(b, input, l.axis);
                flat.insert((input, l.axis), value);
                value
            }
        });
    }
    let origin = b.origin.clone();
    let mut map: Vec<Value> = Vec::with_capacity(l.body.nodes.len());
    for node in &l.body.nodes {
        let here = match node.op {
            Op::Argument(k) => arguments[k as usize],
            _ => {
                let mut node = node.clone();
                node.inputs.iter_mut().for_each(|v| *v = map[v.index()]);
                b.region.push(node)
            }
        };
        map.push(here);
    }
    b.origin = origin;
    let results = l.body.results.iter().map(|r| map[r.index()]).collect::<Vec<_>>();
    let (carried, collected) = results.split_at(l.carries);
    let mut out = carried.to_vec();
    for &value in collected {
        let stacked = with(b, value, l.axis);
        flat.insert((stacked, l.axis), value);
        out.push(stacked);
    }
    out
}

/// A value without its axis of one position.
fn without(b: &mut Builder<'_>, value: Value, one: AxisId) -> Value {
    let Some(other) = b.shape(value).without(one).iter().next() else {
        let zero = b.add_as(Op::Const(Scalar::Int(0)), &[], Some(&Ty::scalar(DType::I32)));
        return b.add(Op::Gather(one), &[value, zero]);
    };
    let size = b.axes[other.index()].size;
    let name = b.axes[other.index()].name.clone();
    let both = b.axis(name, size);
    let merged = b.add(Op::Merge { from: vec![one, other], into: both }, &[value]);
    b.add(Op::Rename(vec![(both, other)]), &[merged])
}

/// A value with an axis of one position.
fn with(b: &mut Builder<'_>, value: Value, one: AxisId) -> Value {
    let Some(other) = b.shape(value).iter().next() else {
        let zero = b.add_as(Op::Const(Scalar::Int(0)), &[], Some(&Ty::scalar(DType::I32)));
        let positions = b.add(Op::Iota(one), &[]);
        let always = b.map(MapFn::Ge, &[positions, zero]);
        return b.map(MapFn::Where, &[always, value, value]);
    };
    let size = b.axes[other.index()].size;
    let name = b.axes[other.index()].name.clone();
    let alone = b.axis(name, size);
    let split = b.add(Op::Split { axis: other, into: vec![one, alone] }, &[value]);
    b.add(Op::Rename(vec![(alone, other)]), &[split])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, sample, text::print_plain, verify::verify};

    fn after(text: &str) -> String {
        let graph = parse(text).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&single(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    #[test]
    fn one_iteration_is_the_body() {
        let new = after(
            "axis t = 1\naxis k = 6\n%0 = input s : f32[k]\n%1 = input x : f32[t, k]\n\
             %2 = scan along t carry [%0] stacked [%1] with [] : f32[k] {\n%0 = argument 0 : f32[k]\n%1 = argument 1 : f32[k]\n\
             %2 = mul %0, %1 : f32[k]\n%3 = sum %2 over [k] : f32[]\nyield [%2] collect [%2, %3]\n}\n\
             %3 = project 0 of %2 : f32[k]\n%4 = project 1 of %2 : f32[t, k]\n%5 = project 2 of %2 : f32[t]\n\
             output s [k] = %3\noutput all [t, k] = %4\noutput sums [t] = %5\n",
        );
        assert!(!new.contains("scan") && new.contains("merge") && new.contains("split") && new.contains("where"), "{new}");
    }

    #[test]
    fn what_one_loop_collects_the_next_takes_as_it_is() {
        let new = after(
            "axis t = 1\naxis k = 6\n%0 = input s : f32[k]\n\
             %1 = scan along t carry [%0] stacked [] with [] : f32[k] {\n%0 = argument 0 : f32[k]\n%1 = tanh %0 : f32[k]\n\
             yield [%1] collect [%1]\n}\n%2 = project 1 of %1 : f32[t, k]\n\
             %3 = scan backwards along t carry [%0] stacked [%2] with [] : f32[k] {\n%0 = argument 0 : f32[k]\n%1 = argument 1 : f32[k]\n\
             %2 = mul %0, %1 : f32[k]\nyield [%2] collect []\n}\n%4 = project 0 of %3 : f32[k]\noutput s [k] = %4\n",
        );
        assert!(!new.contains("scan") && !new.contains("merge") && !new.contains("split"), "{new}");
    }

    #[test]
    fn what_stays_is_well_formed() {
        let mut changed = 0;
        for seed in 0..300 {
            let mut graph = sample::graph(seed, 50);
            graph.axes.iter_mut().for_each(|axis| axis.size = 1);
            if verify(&graph).is_err() {
                continue;
            }
            let new = single(&graph);
            changed += u32::from(new != graph);
            verify(&new).unwrap_or_else(|e| panic!("{seed}: {}\n{}", e[0], print_plain(&new)));
        }
        assert!(changed > 0);
    }
}
