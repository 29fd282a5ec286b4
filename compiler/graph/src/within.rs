//! What only scans read, and what costs no more to make than to read, is made in their steps: rows looked up in a small table, and cheap
//! functions of a value that lies in memory anyway and of few numbers beside it. Else all of it would be written and read back.
//!
//! This is for scans whose steps are large, such as those over chunks; `sink` does what pays in the small steps of others.

use crate::Graph;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Node, Region};
use crate::op::{Loop, LoopKind, MapFn, Op};
use crate::rewrite::{self, Frame, Frames, New, Rewrite};
use crate::shape::{Shape, Ty, elements};
use std::collections::BTreeMap;

/// Least elements of an operand in one step.
const LARGE: u64 = 2048;
/// A value beside the one that is read anyway has at most this share of its elements; a table has as many rows fewer than are looked up.
const BESIDE: u64 = 4;
/// Most functions that one operand is made of.
const MOST: usize = 3;

/// Makes such operands in the steps.
pub fn within(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Within { frames: Frames::default(), least: LARGE })
}

/// As [`within`], however small the steps.
pub fn within_always(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Within { frames: Frames::default(), least: 0 })
}

struct Within {
    frames: Frames,
    /// Least elements of an operand in one step.
    least: u64,
}

impl Rewrite for Within {
    fn enter(&mut self, region: &Region, read: &[Value]) {
        self.frames.enter(region, read);
    }

    fn leave(&mut self) {
        self.frames.leave();
    }

    fn node(&mut self, b: &mut Builder<'_>, node: Node, old: Value) -> New {
        let least = self.least;
        self.frames.node(b, node, |frame, b, node| {
            let Op::Loop(l) = &node.op else { return None };
            made(frame, b, l, node, old, least)
        })
    }
}

/// How one step of an operand is made.
enum Recipe {
    /// A value of the region around: of all steps, or the same in each.
    Leaf(Value),
    /// A constant.
    Number(Op, Ty),
    /// A function of others.
    Of(Op, Vec<Recipe>),
}

/// Axes that a view makes of one.
type Cut<'a> = Option<(AxisId, &'a [AxisId])>;

/// The loop with operands made in its steps.
fn made(frame: &Frame, b: &mut Builder<'_>, l: &Loop, node: &Node, old: Value, least: u64) -> Option<Value> {
    if l.kind != LoopKind::Scan {
        return None;
    }
    let inputs = &frame.old.node(old).inputs;
    let mut recipes: BTreeMap<usize, (Recipe, Cut<'_>)> = BTreeMap::new();
    for place in l.carries..l.carries + l.stacked {
        if let Some(found) = recipe(frame, b, l.axis, inputs[place], least) {
            recipes.insert(place, found);
        }
    }
    if recipes.is_empty() {
        return None;
    }
    let carries = node.inputs[..l.carries].to_vec();
    let invariants = node.inputs[l.carries + l.stacked..].to_vec();
    let stays: Vec<usize> = (l.carries..l.carries + l.stacked).filter(|p| !recipes.contains_key(p)).collect();
    let mut operands = Operands { stacked: stays.iter().map(|&p| node.inputs[p]).collect(), invariants, leaves: BTreeMap::new() };
    for (recipe, cut) in recipes.values() {
        operands.take(frame, b, l.axis, recipe, *cut);
    }
    let body = body(b, l, &operands, &stays, &recipes, carries.len());
    let stacked = operands.stacked.len();
    let all: Vec<Value> = carries.into_iter().chain(operands.stacked).chain(operands.invariants).collect();
    Some(b.add(Op::Loop(Box::new(Loop { stacked, body, ..l.clone() })), &all))
}

/// The operands of the loop in the making.
struct Operands {
    stacked: Vec<Value>,
    invariants: Vec<Value>,
    /// Of each leaf: whether it is stacked, and its place among those.
    leaves: BTreeMap<Value, (bool, usize)>,
}

impl Operands {
    /// Takes up the leaves of a recipe.
    fn take(&mut self, frame: &Frame, b: &mut Builder<'_>, axis: AxisId, recipe: &Recipe, cut: Cut<'_>) {
        match recipe {
            Recipe::Of(_, parts) => parts.iter().for_each(|part| self.take(frame, b, axis, part, cut)),
            Recipe::Leaf(leaf) if !self.leaves.contains_key(leaf) => {
                let mut value = frame.stands_for(*leaf);
                if let Some((whole, into)) = cut
                    && b.shape(value).contains(whole)
                {
                    value = b.add(Op::Split { axis: whole, into: into.to_vec() }, &[value]);
                }
                let is_stacked = b.shape(value).contains(axis);
                let list = if is_stacked { &mut self.stacked } else { &mut self.invariants };
                let place = list.iter().position(|&v| v == value).unwrap_or_else(|| {
                    list.push(value);
                    list.len() - 1
                });
                self.leaves.insert(*leaf, (is_stacked, place));
            }
            Recipe::Leaf(_) | Recipe::Number(..) => {}
        }
    }
}

/// The body: arguments, what is made of them, the rest.
fn body(
    b: &mut Builder<'_>,
    l: &Loop,
    operands: &Operands,
    stays: &[usize],
    recipes: &BTreeMap<usize, (Recipe, Cut<'_>)>,
    carries: usize,
) -> Region {
    let types: Vec<Ty> = operands.stacked.iter().chain(&operands.invariants).map(|&v| b.ty(v).clone()).collect();
    let mut new = Builder::new(b.axes);
    new.origin = b.origin.clone();
    let mut arguments = Vec::new();
    for (i, ty) in types.into_iter().enumerate() {
        let ty = Ty { shape: ty.shape.without(l.axis), ..ty };
        arguments.push(new.add_as(Op::Argument((carries + i) as u32), &[], Some(&ty)));
    }
    let stacked = operands.stacked.len();
    let mut made = BTreeMap::new();
    for (&place, (recipe, _)) in recipes {
        let argument = |leaf: &Value| {
            let (is_stacked, at) = operands.leaves[leaf];
            arguments[if is_stacked { at } else { stacked + at }]
        };
        made.insert(place, make(&mut new, recipe, &argument));
    }
    let mut map: Vec<Value> = Vec::with_capacity(l.body.nodes.len());
    for node in &l.body.nodes {
        let here = match node.op {
            Op::Argument(k) if (k as usize) >= l.carries => {
                let k = k as usize;
                let invariant = k.checked_sub(l.carries + l.stacked).map(|i| stacked + i);
                made.get(&k)
                    .copied()
                    .unwrap_or_else(|| arguments[invariant.or_else(|| stays.iter().position(|&p| p == k)).unwrap_or_default()])
            }
            _ => {
                let mut node = node.clone();
                node.inputs.iter_mut().for_each(|v| *v = map[v.index()]);
                new.region.push(node)
            }
        };
        map.push(here);
    }
    let mut region = new.region;
    region.results = l.body.results.iter().map(|r| map[r.index()]).collect();
    region
}

fn make(b: &mut Builder<'_>, recipe: &Recipe, argument: &dyn Fn(&Value) -> Value) -> Value {
    match recipe {
        Recipe::Leaf(leaf) => argument(leaf),
        Recipe::Number(op, ty) => b.add_as(op.clone(), &[], Some(ty)),
        Recipe::Of(op, parts) => {
            let inputs: Vec<Value> = parts.iter().map(|part| make(b, part, argument)).collect();
            b.add(op.clone(), &inputs)
        }
    }
}

/// How to make an operand in the steps, where that pays.
fn recipe<'a>(frame: &'a Frame, b: &Builder<'_>, axis: AxisId, operand: Value, least: u64) -> Option<(Recipe, Cut<'a>)> {
    let count = |shape: &Shape| elements(b.axes, shape);
    let ty = frame.old.ty(operand);
    let all = count(&ty.shape);
    if !ty.dtype.is_float() || all / b.axes[axis.index()].size.max(1) < least {
        return None;
    }
    let (value, cut) = match &frame.old.node(operand).op {
        Op::Split { axis: whole, into } => (frame.old.node(operand).inputs[0], Some((*whole, into.as_slice()))),
        _ => (operand, None),
    };
    let scans_only = |v: Value| frame.readers(v).iter().all(|r| r.is_some_and(|r| is_stacked(frame, r, v)));
    let split_only =
        |v: Value| frame.readers(v).iter().all(|r| r.is_some_and(|r| matches!(frame.old.node(r).op, Op::Split { .. }) && scans_only(r)));
    if !(if cut.is_some() { split_only(value) } else { scans_only(value) }) {
        return None;
    }
    let node = frame.old.node(value);
    if let Op::Gather(_) = node.op {
        let [table, index] = [node.inputs[0], node.inputs[1]];
        let small = |v: Value| count(&frame.old.ty(v).shape) * BESIDE <= all;
        let steps = |v: Value| frame.old.ty(v).shape.contains(cut.map_or(axis, |c| c.0));
        let fits = small(table) && small(index) && !steps(table) && steps(index);
        return fits.then(|| (Recipe::Of(node.op.clone(), vec![Recipe::Leaf(table), Recipe::Leaf(index)]), cut));
    }
    let mut large = Vec::new();
    let found = cheap(frame, b, value, all, &mut large, &mut 0)?;
    (matches!(found, Recipe::Of(..)) && large.len() <= 1).then_some((found, cut))
}

/// Whether `reader` is a scan that takes one step of `v` at a time.
fn is_stacked(frame: &Frame, reader: Value, v: Value) -> bool {
    let node = frame.old.node(reader);
    let Op::Loop(l) = &node.op else { return false };
    let others = |p: &usize| *p < l.carries || *p >= l.carries + l.stacked;
    l.kind == LoopKind::Scan && !(0..node.inputs.len()).filter(others).any(|p| node.inputs[p] == v)
}

/// A few cheap functions of one value that lies in memory anyway, which becomes `large`, and of others that are small.
fn cheap(frame: &Frame, b: &Builder<'_>, v: Value, all: u64, large: &mut Vec<Value>, functions: &mut usize) -> Option<Recipe> {
    use MapFn::{Add, Mul, Neg, Sub};
    let node = frame.old.node(v);
    if elements(b.axes, &node.ty.shape) * BESIDE <= all {
        return match node.op {
            Op::Const(_) => Some(Recipe::Number(node.op.clone(), node.ty.clone())),
            _ => Some(Recipe::Leaf(v)),
        };
    }
    if large.contains(&v) || in_memory(frame, v) {
        if !large.contains(&v) {
            large.push(v);
        }
        return Some(Recipe::Leaf(v));
    }
    *functions += 1;
    if !matches!(node.op, Op::Map(Add | Mul | Neg | Sub)) || *functions > MOST || (*functions > 1 && !frame.is_alone(v)) {
        return None;
    }
    let mut parts = Vec::new();
    for &input in &node.inputs {
        parts.push(cheap(frame, b, input, all, large, functions)?);
    }
    Some(Recipe::Of(node.op.clone(), parts))
}

/// Whether a value lies in memory whoever reads it.
fn in_memory(frame: &Frame, v: Value) -> bool {
    let given = matches!(frame.old.node(v).op, Op::Argument(_) | Op::Project(_) | Op::Input(_) | Op::Param(_));
    given || frame.readers(v).iter().any(Option::is_none)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, sample, text::print_plain, verify::verify};

    /// A scan over chunks of `x`, which `outside` computes of the inputs.
    fn after(outside: &str, outputs: &str) -> String {
        let text = format!(
            "axis t = 64\naxis chunk = 4\naxis i = 16\naxis k = 256\naxis v = 8\n%0 = input table : f32[v, k]\n%1 = input at : i32[t]\n\
             %2 = input y : f32[t, k]\n%3 = input r : f32[t]\n%4 = input s : f32[k]\n{outside}\
             %6 = split %5 t as [chunk, i] : f32[chunk, i, k]\n\
             %7 = scan along chunk carry [%4] stacked [%6] with [] : f32[k] {{\n%0 = argument 0 : f32[k]\n%1 = argument 1 : f32[i, k]\n\
             %2 = sum %1 over [i] : f32[k]\n%3 = add %0, %2 : f32[k]\nyield [%3] collect []\n}}\n%8 = project 0 of %7 : f32[k]\n\
             output s [k] = %8\n{outputs}"
        );
        let graph = parse(&text).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&within(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    /// Whether the operation is in the step.
    fn is_inside(text: &str, operation: &str) -> bool {
        text.find(operation) > text.find("scan")
    }

    #[test]
    fn looked_up_rows_are_looked_up_in_the_step() {
        let new = after("%5 = gather %0, %1 along v : f32[t, k]\n", "");
        assert!(is_inside(&new, "gather") && new.contains("with [%0]"), "{new}");
    }

    #[test]
    fn cheap_functions_of_what_lies_in_memory_are_computed_in_the_step() {
        let new = after("%5 = mul %2, %3 : f32[t, k]\n", "");
        assert!(is_inside(&new, "= mul"), "{new}");
    }

    #[test]
    fn what_others_read_or_costs_more_stays() {
        assert!(!is_inside(&after("%5 = mul %2, %3 : f32[t, k]\n", "output all [t, k] = %5\n"), "= mul"));
        assert!(!is_inside(&after("%5 = exp %2 : f32[t, k]\n", ""), "= exp"));
    }

    #[test]
    fn what_stays_is_well_formed() {
        let mut changed = 0;
        for seed in 0..300 {
            let graph = sample::graph(seed, 50);
            let new = within_always(&graph);
            changed += u32::from(new != graph);
            verify(&new).unwrap_or_else(|e| panic!("{seed}: {}\n{}", e[0], print_plain(&new)));
        }
        assert!(changed > 0);
    }
}
