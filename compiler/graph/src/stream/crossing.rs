//! What a position knows of others in a graph that is to take segments: nothing but what scans forward bring it.
//!
//! A value is *marked* where it was made from several positions, or from the number of one. A sum over positions is no hindrance by
//! itself: a loss is one. It is where a position reads it.

use super::{Obstacle, Pass};
use crate::entity::Value;
use crate::graph::{Graph, Node, Region};
use crate::op::{Loop, MapFn, Op, Scalar};
use std::collections::BTreeMap;

impl Pass {
    /// # Errors
    /// The first operation through which a position would need others of other segments.
    pub(super) fn crossing(&self, graph: &Graph) -> Result<(), Obstacle> {
        self.marks(&graph.region, &BTreeMap::new(), false).map(|_| ())
    }

    /// The marks of a region; `step`: it belongs to one position.
    fn marks(&self, region: &Region, arguments: &BTreeMap<u32, Obstacle>, step: bool) -> Result<Vec<Option<Obstacle>>, Obstacle> {
        let mut marks: Vec<Option<Obstacle>> = Vec::with_capacity(region.nodes.len());
        for node in &region.nodes {
            let of_inputs = node.inputs.iter().find_map(|v| marks[v.index()].clone());
            let mark = match &node.op {
                Op::Argument(i) => arguments.get(i).cloned(),
                Op::Random(_) => None,
                // true at every position: how a value is widened along them
                Op::Map(MapFn::Ge) if is_iota(region, node.inputs[0]) && is_start(region, node.inputs[1]) => None,
                Op::Iota(a) if *a == self.axis => mark("the number of a position", node),
                Op::Param(p) if p.order.contains(&self.axis) => mark("a parameter with a row for each position", node),
                Op::Rename(pairs) if pairs.iter().any(|p| p.0 == self.axis) => mark("a look at other positions", node),
                Op::Loop(l) => self.of_loop(l, node, &marks)?,
                op => of_inputs.or_else(|| self.mixes(op).and_then(|what| mark(what, node))),
            };
            let reads = !matches!(node.op, Op::Argument(_) | Op::Iota(_) | Op::Param(_) | Op::Loop(_) | Op::Project(_));
            if let Some(found) = mark.as_ref().filter(|_| reads && (step || node.ty.shape.contains(self.axis))) {
                return Err(found.clone());
            }
            marks.push(mark);
        }
        Ok(marks)
    }

    fn of_loop(&self, l: &Loop, node: &Node, outside: &[Option<Obstacle>]) -> Result<Option<Obstacle>, Obstacle> {
        let along = l.axis == self.axis;
        if along && l.reverse {
            return Err(Obstacle { what: "a scan backward", origin: node.origin.clone() });
        }
        let mut arguments: BTreeMap<u32, Obstacle> = BTreeMap::new();
        for (i, input) in node.inputs.iter().enumerate() {
            arguments.extend(outside[input.index()].clone().map(|m| (i as u32, m)));
        }
        loop {
            let inside = self.marks(&l.body, &arguments, along)?;
            let known = arguments.len();
            for (k, result) in l.body.results.iter().take(l.carries).enumerate() {
                if let Some(mark) = &inside[result.index()] {
                    arguments.entry(k as u32).or_insert_with(|| mark.clone());
                }
            }
            if arguments.len() == known {
                return Ok(l.body.results.iter().find_map(|v| inside[v.index()].clone()));
            }
        }
    }
}

fn is_iota(region: &Region, value: Value) -> bool {
    matches!(region.node(value).op, Op::Iota(_))
}

fn is_start(region: &Region, value: Value) -> bool {
    region.node(value).op == Op::Const(Scalar::Int(0))
}

#[allow(clippy::unnecessary_wraps, reason = "what most arms give")]
fn mark(what: &'static str, node: &Node) -> Option<Obstacle> {
    Some(Obstacle { what, origin: node.origin.clone() })
}
