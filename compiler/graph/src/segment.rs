//! Scans in segments, whose steps are computed again for the backward pass.
//!
//! Reverse mode reads the states of every step. A scan of L steps keeps L of them; in segments of about the square root of L it keeps the states
//! between segments, and those within one segment while the backward pass is in it: twice the square root instead of L, for one more forward
//! pass (Chen, Xu, Zhang, Guestrin 2016).

use crate::autodiff::inverse;
use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Graph, Node};
use crate::op::{Loop, LoopKind, Op};
use crate::rewrite::{self, New, Rewrite};
use crate::shape::Ty;
use crate::verify::mentioned;
use std::fmt;
use std::str::FromStr;

/// What a scan keeps of its states for the backward pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// All; where they take more than [`MOST`] bytes, the last ones if all steps can be taken back, else segments. The last ones also where most
    /// steps can be taken back and the states would leave the caches.
    #[default]
    Auto,
    /// All.
    Save,
    /// Those between segments of so many steps, if given.
    Segments(Option<u64>),
    /// The last ones, where steps can be taken back ([`inverse`]); of other states all.
    Invert,
}

/// Bytes of states that are taken back rather than written to memory and read again.
const CACHED: u64 = 32 << 20;
/// Most steps that are taken back where states could as well be kept: each step adds its rounding.
const BACK: u64 = 1024;

/// Bytes of states that a scan keeps at most where nothing else is asked for.
pub const MOST: u64 = 1 << 30;

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keep::Auto => f.write_str("auto"),
            Keep::Save => f.write_str("save"),
            Keep::Invert => f.write_str("invert"),
            Keep::Segments(None) => f.write_str("segments"),
            Keep::Segments(Some(steps)) => write!(f, "segments({steps})"),
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sized = || text.strip_prefix("segments(")?.strip_suffix(')')?.trim().parse::<u64>().ok().filter(|n| *n > 0);
        match text {
            "auto" => Ok(Keep::Auto),
            "save" => Ok(Keep::Save),
            "invert" => Ok(Keep::Invert),
            "segments" => Ok(Keep::Segments(None)),
            _ => sized()
                .map(|n| Keep::Segments(Some(n)))
                .ok_or_else(|| format!("`{text}` is none of auto, save, invert, segments, segments(STEPS) with a whole number of steps")),
        }
    }
}

/// Cuts every scan with states into segments that `keep` says to.
pub fn segments(graph: &Graph, keep: Keep) -> Graph {
    if keep == Keep::Save { graph.clone() } else { rewrite::graph(graph, &mut Segments { keep }) }
}

struct Segments {
    keep: Keep,
}

impl Rewrite for Segments {
    fn node(&mut self, b: &mut Builder<'_>, node: Node, _old: Value) -> New {
        let Op::Loop(l) = &node.op else { return New::One(b.region.push(node)) };
        if inverts(b.axes, l, self.keep) {
            let op = Op::Loop(Box::new(Loop { kind: LoopKind::Inverted, ..(**l).clone() }));
            return New::One(b.region.push(Node { op, ..node }));
        }
        match length(b.axes, l, self.keep) {
            Some(steps) => New::Results(cut(b, l, &node.inputs, steps)),
            None => New::One(b.region.push(node)),
        }
    }
}

/// Whether the states of a scan are to be computed backwards.
fn inverts(axes: &[Axis], l: &Loop, keep: Keep) -> bool {
    if l.kind != LoopKind::Scan || l.carries == 0 || !matches!(keep, Keep::Invert | Keep::Auto) {
        return false;
    }
    let (some, all) = inverse::invertible(axes, l);
    match keep {
        Keep::Invert => some > 0,
        _ => {
            let steps = axes[l.axis.index()].size;
            let near = some.saturating_mul(2) >= all && steps <= BACK && some.saturating_mul(steps) >= CACHED;
            near || (some == all && all.saturating_mul(steps) > MOST)
        }
    }
}

/// Steps of a segment; none where the scan stays whole.
fn length(axes: &[Axis], l: &Loop, keep: Keep) -> Option<u64> {
    let steps = axes[l.axis.index()].size;
    let apart = |n: &Node| !n.ty.shape.contains(l.axis) && !mentioned(&n.op).iter().flatten().any(|&a| a == l.axis);
    if l.kind != LoopKind::Scan || l.carries == 0 || !l.body.nodes.iter().all(apart) {
        return None;
    }
    let root = (1..).find(|n: &u64| n.saturating_mul(*n) >= steps).unwrap_or(steps);
    let chosen = match keep {
        Keep::Save | Keep::Invert => return None,
        Keep::Segments(asked) => asked.unwrap_or(root),
        Keep::Auto => {
            let bytes = |v: &Value| {
                let ty = l.body.ty(*v);
                ty.shape.iter().fold(ty.dtype.bytes(), |n, a| n.saturating_mul(axes[a.index()].size))
            };
            let states = l.body.results[..l.carries].iter().map(bytes).fold(0, u64::saturating_add);
            if states.saturating_mul(steps) <= MOST {
                return None;
            }
            root
        }
    };
    (1 < chosen && chosen < steps).then_some(chosen)
}

/// The loop as one over segments, and one over the steps that are left.
fn cut(b: &mut Builder<'_>, l: &Loop, inputs: &[Value], steps: u64) -> Vec<Value> {
    let (name, all) = (b.axes[l.axis.index()].name.clone(), b.axes[l.axis.index()].size);
    let (count, left) = (all / steps, all % steps);
    let (segment, within) = (b.axis("segment", count), b.axis(name.clone(), steps));
    if left == 0 {
        return many(b, l, inputs, l.axis, segment, within);
    }
    let (main, rest) = (b.axis(name.clone(), all - left), b.axis(name, left));
    let part = |b: &mut Builder<'_>, carries: &[Value], start: u64, into: AxisId| -> Vec<Value> {
        let sliced = |b: &mut Builder<'_>, v: Value| b.add(Op::Slice { axis: l.axis, start, into }, &[v]);
        let stacked: Vec<Value> = inputs[l.carries..l.carries + l.stacked].iter().map(|&v| sliced(b, v)).collect();
        carries.iter().chain(&stacked).chain(&inputs[l.carries + l.stacked..]).copied().collect()
    };
    let mut results: Vec<Value> = inputs[..l.carries].to_vec();
    let mut collected = [Vec::new(), Vec::new()];
    for step in 0..2 {
        // The steps that are left are the last positions: they come first where the scan goes backwards.
        let in_main = (step == 0) != l.reverse;
        let made = if in_main {
            let given = part(b, &results, 0, main);
            many(b, l, &given, main, segment, within)
        } else {
            let given = part(b, &results, all - left, rest);
            b.repeat(Loop { axis: rest, ..l.clone() }, &given)
        };
        results = made[..l.carries].to_vec();
        collected[usize::from(!in_main)] = made[l.carries..].to_vec();
    }
    let [first, last] = collected;
    let joined = first.into_iter().zip(last).map(|(x, y)| b.add(Op::Concat { axes: vec![main, rest], into: l.axis }, &[x, y]));
    let joined: Vec<Value> = joined.collect();
    results.extend(joined);
    results
}

/// The loop along `axis`, which has as many positions as `segment` times `within`.
fn many(b: &mut Builder<'_>, l: &Loop, inputs: &[Value], axis: AxisId, segment: AxisId, within: AxisId) -> Vec<Value> {
    let stacked = l.carries..l.carries + l.stacked;
    let split = |b: &mut Builder<'_>, v: Value| b.add(Op::Split { axis, into: vec![segment, within] }, &[v]);
    let given: Vec<Value> = inputs.iter().enumerate().map(|(i, &v)| if stacked.contains(&i) { split(b, v) } else { v }).collect();
    let types: Vec<Ty> = given
        .iter()
        .enumerate()
        .map(|(i, &v)| {
            let ty = b.ty(v).clone();
            if stacked.contains(&i) { Ty::new(ty.dtype, ty.shape.without(segment)) } else { ty }
        })
        .collect();
    let origin = b.origin.clone();
    let mut body = Builder::new(b.axes);
    body.origin = origin;
    let arguments: Vec<Value> = types.iter().enumerate().map(|(i, ty)| body.add_as(Op::Argument(i as u32), &[], Some(ty))).collect();
    let results = body.repeat(Loop { axis: within, ..l.clone() }, &arguments);
    let mut region = body.region;
    region.results = results;
    let outer = Loop { kind: LoopKind::Segments, axis: segment, reverse: l.reverse, carries: l.carries, stacked: l.stacked, body: region };
    let made = b.repeat(outer, &given);
    let (states, collected) = made.split_at(l.carries);
    let join = |b: &mut Builder<'_>, v: Value| b.add(Op::Merge { from: vec![segment, within], into: axis }, &[v]);
    let joined: Vec<Value> = collected.iter().map(|&v| join(b, v)).collect();
    states.iter().copied().chain(joined).collect()
}
