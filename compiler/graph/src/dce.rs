//! Removes what no output needs: nodes, and of loops the carries, operands and collected values that nothing reads.
//!
//! A parameter that an update names stays, read or not. A carry stays where its final value is read or where what stays in the body reads its argument.

use crate::entity::Value;
use crate::graph::{Axis, Graph, Node, Region};
use crate::infer;
use crate::op::{Loop, Op};
use crate::shape::Ty;
use std::collections::{BTreeMap, BTreeSet};

/// The graph without what its outputs do not need. The axis table stays as it is.
pub fn dce(graph: &Graph) -> Graph {
    let updated: BTreeSet<&str> = graph.outputs.iter().filter(|o| o.update).map(|o| o.port.name.as_str()).collect();
    let is_updated = |n: &Node| matches!(&n.op, Op::Param(p) if updated.contains(p.name.as_str()));
    let declared = graph.region.nodes.iter().enumerate().filter(|(_, n)| is_updated(n)).map(|(i, _)| Value(i as u32));
    let roots: Vec<Value> = graph.outputs.iter().map(|o| o.value).chain(declared).collect();
    let (region, map) = trim(&graph.axes, &graph.region, &roots, &[]);
    let mut outputs = graph.outputs.clone();
    for out in &mut outputs {
        out.value = map[out.value.index()];
    }
    Graph { axes: graph.axes.clone(), region, outputs }
}

/// What of a region its readers need.
struct Live {
    nodes: Vec<bool>,
    loops: BTreeMap<Value, Kept>,
}

/// What of a loop stays.
struct Kept {
    results: Vec<bool>,
    inputs: Vec<bool>,
}

fn live(region: &Region, roots: &[Value]) -> Live {
    let mut nodes = vec![false; region.nodes.len()];
    let mut wanted: BTreeMap<Value, Vec<u32>> = BTreeMap::new();
    let mut loops = BTreeMap::new();
    for &root in roots {
        nodes[root.index()] = true;
    }
    for (i, node) in region.nodes.iter().enumerate().rev() {
        if !nodes[i] {
            continue;
        }
        let here = Value(i as u32);
        match &node.op {
            Op::Project(result) => wanted.entry(node.inputs[0]).or_default().push(*result),
            Op::Loop(l) => {
                let kept = kept(l, node.inputs.len(), wanted.get(&here).map_or(&[], Vec::as_slice));
                for (&v, _) in node.inputs.iter().zip(&kept.inputs).filter(|(_, stays)| **stays) {
                    nodes[v.index()] = true;
                }
                loops.insert(here, kept);
                continue;
            }
            _ => {}
        }
        for v in &node.inputs {
            nodes[v.index()] = true;
        }
    }
    Live { nodes, loops }
}

fn kept(l: &Loop, inputs: usize, wanted: &[u32]) -> Kept {
    let mut results = vec![false; l.body.results.len()];
    for &w in wanted {
        results[w as usize] = true;
    }
    loop {
        let roots: Vec<Value> = l.body.results.iter().zip(&results).filter(|(_, stays)| **stays).map(|(&r, _)| r).collect();
        let live = live(&l.body, &roots);
        let mut used = vec![false; inputs];
        for (node, _) in l.body.nodes.iter().zip(&live.nodes).filter(|(_, stays)| **stays) {
            if let Op::Argument(i) = node.op {
                used[i as usize] = true;
            }
        }
        let more: Vec<usize> = (0..l.carries).filter(|&i| used[i] && !results[i]).collect();
        if more.is_empty() {
            used[..l.carries].copy_from_slice(&results[..l.carries]);
            return Kept { results, inputs: used };
        }
        for i in more {
            results[i] = true;
        }
    }
}

/// The live part of a region, and the new place of each live node. `arguments` are the new indices of arguments.
fn trim(axes: &[Axis], region: &Region, roots: &[Value], arguments: &[u32]) -> (Region, Vec<Value>) {
    let live = live(region, roots);
    let mut new = Region::default();
    let mut map = vec![Value(u32::MAX); region.nodes.len()];
    for (i, node) in region.nodes.iter().enumerate().filter(|(i, _)| live.nodes[*i]) {
        let mut inputs: Vec<Value> = node.inputs.iter().map(|v| map[v.index()]).collect();
        let mut ty = node.ty.clone();
        let op = match &node.op {
            Op::Argument(i) => Op::Argument(arguments[*i as usize]),
            Op::Project(result) => match live.loops.get(&node.inputs[0]) {
                Some(kept) => Op::Project(count(&kept.results[..*result as usize])),
                None => node.op.clone(),
            },
            Op::Loop(l) => {
                let kept = &live.loops[&Value(i as u32)];
                inputs = inputs.into_iter().zip(&kept.inputs).filter(|(_, stays)| **stays).map(|(v, _)| v).collect();
                let l = shrink(axes, l, kept);
                let types: Vec<Ty> = inputs.iter().map(|&v| new.ty(v).clone()).collect();
                let op = Op::Loop(Box::new(l));
                if let Ok(results) = infer::results(&op, &types, None, axes)
                    && let Some(first) = results.into_iter().next()
                {
                    ty = first;
                }
                op
            }
            other => other.clone(),
        };
        map[i] = new.push(Node { op, inputs: inputs.into(), ty, origin: node.origin.clone() });
    }
    (new, map)
}

fn shrink(axes: &[Axis], l: &Loop, kept: &Kept) -> Loop {
    let arguments: Vec<u32> = (0..kept.inputs.len()).map(|i| count(&kept.inputs[..i])).collect();
    let results: Vec<Value> = l.body.results.iter().zip(&kept.results).filter(|(_, stays)| **stays).map(|(&r, _)| r).collect();
    let (mut body, map) = trim(axes, &l.body, &results, &arguments);
    body.results = results.iter().map(|r| map[r.index()]).collect();
    let carries = count(&kept.inputs[..l.carries]) as usize;
    let stacked = count(&kept.inputs[l.carries..l.carries + l.stacked]) as usize;
    Loop { carries, stacked, body, ..l.clone() }
}

fn count(flags: &[bool]) -> u32 {
    flags.iter().filter(|f| **f).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse::parse, sample, text::print_plain, verify::verify};

    fn after(text: &str) -> String {
        let graph = parse(text).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&graph);
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    #[test]
    fn nodes_that_no_output_needs_are_removed() {
        let text = "%0 = input x : f32[]\n%1 = exp %0 : f32[]\n%2 = neg %0 : f32[]\noutput y [] = %2\n";
        assert_eq!(after(text), "\n%0 = input x : f32[]\n%1 = neg %0 : f32[]\n\noutput y [] = %1\n");
    }

    #[test]
    fn a_loop_loses_what_nobody_reads() {
        let text = "axis t = 3\n\
            %0 = input a : f32[]\n%1 = input b : f32[]\n%2 = input s : f32[t]\n%3 = input u : f32[t]\n%4 = input w : f32[]\n\
            %5 = scan along t carry [%0, %1] stacked [%2, %3] with [%4] : f32[] {\n\
            %0 = argument 0 : f32[]\n%1 = argument 1 : f32[]\n%2 = argument 2 : f32[]\n%3 = argument 3 : f32[]\n%4 = argument 4 : f32[]\n\
            %5 = mul %0, %4 : f32[]\n%6 = add %1, %3 : f32[]\n%7 = exp %2 : f32[]\nyield [%5, %6] collect [%7, %6]\n}\n\
            %6 = project 3 of %5 : f32[t]\noutput y [t] = %6\n";
        let expected = "axis t = 3\n\n%0 = input b : f32[]\n%1 = input u : f32[t]\n%2 = scan along t carry [%0] stacked [%1] with [] : f32[] {\n  \
            %0 = argument 0 : f32[]\n  %1 = argument 1 : f32[]\n  %2 = add %0, %1 : f32[]\n  yield [%2] collect [%2]\n}\n\
            %3 = project 1 of %2 : f32[t]\n\noutput y [t] = %3\n";
        assert_eq!(after(text), expected);
    }

    #[test]
    fn carries_that_only_feed_each_other_are_removed() {
        let text = "axis t = 3\n%0 = input a : f32[]\n\
            %1 = scan along t carry [%0, %0, %0] stacked [] with [] : f32[] {\n\
            %0 = argument 0 : f32[]\n%1 = argument 1 : f32[]\n%2 = argument 2 : f32[]\n%3 = neg %2 : f32[]\nyield [%1, %0, %3] collect []\n}\n\
            %2 = project 2 of %1 : f32[]\noutput y [] = %2\n";
        assert!(after(text).contains("carry [%0] stacked [] with []"));
    }

    #[test]
    fn what_stays_is_well_formed_and_a_second_run_changes_nothing() {
        for seed in 0..300 {
            let graph = sample::graph(seed, 50);
            let once = dce(&graph);
            verify(&once).unwrap_or_else(|e| panic!("{seed}: {}\n{}", e[0], print_plain(&once)));
            assert_eq!(dce(&once), once);
            assert!(once.region.nodes.len() <= graph.region.nodes.len());
        }
    }
}
