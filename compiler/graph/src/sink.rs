//! Cheap functions of what the steps of a scan read anyway are computed in the steps: slopes such as `1 - y y` beside y. Outside, each would be
//! written for all steps and read back.

use crate::entity::{AxisId, Value};
use crate::graph::{Graph, Node, Region};
use crate::op::{Loop, LoopKind, MapFn, Op};
use std::collections::{BTreeMap, BTreeSet};

/// Most functions that one operand is made of.
const MOST: usize = 3;

/// Moves such functions into the bodies of scans.
pub fn sink(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let read: Vec<Value> = graph.outputs.iter().map(|o| o.value).collect();
    within(&mut graph.region, &read);
    graph
}

fn within(region: &mut Region, read: &[Value]) {
    let mut users = vec![0u32; region.nodes.len()];
    for v in region.nodes.iter().flat_map(|n| &n.inputs).chain(read) {
        users[v.index()] += 1;
    }
    for i in 0..region.nodes.len() {
        let mut node = region.nodes[i].clone();
        let Op::Loop(l) = &mut node.op else { continue };
        let results = l.body.results.clone();
        within(&mut l.body, &results);
        if l.kind == LoopKind::Scan {
            let sunk = sunk(region, l, &node.inputs, &users);
            if !sunk.is_empty() {
                l.body = body(region, l, &node.inputs, &sunk);
            }
        }
        region.nodes[i] = node;
    }
}

/// The operands to compute in the steps, by place.
fn sunk(region: &Region, l: &Loop, inputs: &[Value], users: &[u32]) -> BTreeSet<usize> {
    let places = l.carries..l.carries + l.stacked;
    let (mut found, mut needed) = (BTreeSet::new(), BTreeSet::new());
    for place in places.clone() {
        let stacked = |v: Value| places.clone().find(|&p| inputs[p] == v && p != place && !found.contains(&p));
        let mut leaves = BTreeSet::new();
        let cheap = cheap(region, inputs[place], &stacked, users, &mut leaves, &mut 0);
        if cheap && !leaves.is_empty() && !needed.contains(&place) {
            needed.extend(leaves);
            found.insert(place);
        }
    }
    found
}

/// Whether a value that has no other reader is a few cheap functions of stacked operands, which become `leaves`.
fn cheap(
    region: &Region,
    v: Value,
    stacked: &dyn Fn(Value) -> Option<usize>,
    users: &[u32],
    leaves: &mut BTreeSet<usize>,
    count: &mut usize,
) -> bool {
    use MapFn::{Add, Mul, Neg, Sub};
    let node = region.node(v);
    *count += 1;
    let fits = matches!(node.op, Op::Map(Add | Mul | Neg | Sub)) && users[v.index()] == 1 && *count <= MOST;
    fits && node.inputs.iter().all(|&input| match (&region.node(input).op, stacked(input)) {
        (Op::Const(_), _) => true,
        (_, Some(place)) => {
            leaves.insert(place);
            region.ty(input) == &node.ty
        }
        _ => cheap(region, input, stacked, users, leaves, count),
    })
}

/// The body with operands computed from others: arguments, what is computed of them, the rest.
fn body(outer: &Region, l: &Loop, inputs: &[Value], sunk: &BTreeSet<usize>) -> Region {
    let mut making = Making { outer, axis: l.axis, new: Region::default(), arguments: BTreeMap::new(), places: BTreeMap::new() };
    let stays = (l.carries..l.carries + l.stacked).filter(|p| !sunk.contains(p));
    making.places = stays.map(|p| (inputs[p], p)).collect();
    let mut map: BTreeMap<Value, Value> = BTreeMap::new();
    let gone = |node: &Node| matches!(node.op, Op::Argument(k) if sunk.contains(&(k as usize)));
    let all = || l.body.nodes.iter().enumerate().map(|(i, node)| (Value(i as u32), node));
    for (v, node) in all() {
        if let Op::Argument(k) = node.op
            && !gone(node)
        {
            let here = making.new.push(node.clone());
            map.insert(v, here);
            making.arguments.entry(k as usize).or_insert(here);
        }
    }
    for (v, node) in all() {
        if let Op::Argument(k) = node.op
            && gone(node)
        {
            map.insert(v, making.step(inputs[k as usize]));
        }
    }
    for (v, node) in all().filter(|(_, node)| !matches!(node.op, Op::Argument(_))) {
        let mut node = node.clone();
        node.inputs.iter_mut().for_each(|v| *v = map[v]);
        map.insert(v, making.new.push(node));
    }
    making.new.results = l.body.results.iter().map(|r| map[r]).collect();
    making.new
}

/// A body in the making.
struct Making<'a> {
    outer: &'a Region,
    axis: AxisId,
    new: Region,
    /// Nodes of arguments.
    arguments: BTreeMap<usize, Value>,
    /// Places of the stacked operands that stay.
    places: BTreeMap<Value, usize>,
}

impl Making<'_> {
    /// One step of a value outside: an argument, a constant or a function of such.
    fn step(&mut self, v: Value) -> Value {
        let mut node = self.outer.node(v).clone();
        node.ty.shape = node.ty.shape.without(self.axis);
        if let Some(&place) = self.places.get(&v) {
            let argument = Node { op: Op::Argument(place as u32), inputs: Default::default(), ..node };
            return *self.arguments.entry(place).or_insert_with(|| self.new.push(argument));
        }
        for i in 0..node.inputs.len() {
            node.inputs[i] = self.step(node.inputs[i]);
        }
        self.new.push(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, text::print_plain, verify::verify};

    fn after(outside: &str, stacked: &str, step: &str) -> String {
        let text = format!(
            "axis t = 5\naxis k = 6\n%0 = input s : f32[k]\n%1 = input x : f32[t, k]\n%2 = const 1.0 : f32[]\n{outside}\
             %6 = scan along t carry [%0] stacked [{stacked}] with [] : f32[k] {{\n%0 = argument 0 : f32[k]\n{step}\n\
             yield [%5] collect []\n}}\n%7 = project 0 of %6 : f32[k]\noutput s [k] = %7\n"
        );
        let graph = parse(&text).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&sink(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    const SLOPE: &str = "%3 = tanh %1 : f32[t, k]\n%4 = mul %3, %3 : f32[t, k]\n%5 = sub %2, %4 : f32[t, k]\n";

    #[test]
    fn a_slope_beside_its_value_is_computed_in_the_step() {
        let new = after(
            SLOPE,
            "%3, %5",
            "%1 = argument 1 : f32[k]\n%2 = argument 2 : f32[k]\n%3 = mul %0, %1 : f32[k]\n%4 = mul %0, %2 : f32[k]\n%5 = add %3, %4 : f32[k]",
        );
        assert!(new.contains("stacked [%2]") && !new.contains(": f32[t, k]\n%4 = sub"), "{new}");
    }

    #[test]
    fn a_slope_alone_stays() {
        let new = after(
            SLOPE,
            "%5",
            "%1 = argument 1 : f32[k]\n%2 = mul %0, %1 : f32[k]\n%3 = neg %2 : f32[k]\n%4 = neg %3 : f32[k]\n%5 = neg %4 : f32[k]",
        );
        assert!(new.contains("sub") && new.contains("stacked [%5]"), "{new}");
    }
}
