//! What each block of a model costs: parameters, multiply-adds, and numbers that it keeps for the backward pass.

use crate::output;
use ogive::stages::{self, Elaborated, StageError};
use ogive_graph::cost::{self, Counting};
use ogive_graph::pipeline::Scans;
use ogive_graph::{Graph, Op, Region, Value, fuse};
use ogive_lang::hir::{self, Program};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a number.
const FLOAT: u64 = 4;

/// One instance, with those that it calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Position in the program's instances.
    pub(super) instance: usize,
    /// How deep it lies below the root.
    pub(super) depth: usize,
    /// How often it is applied, all calls and repetitions around it together.
    pub(super) times: u64,
    pub(super) parameters: u64,
    /// Of a forward pass, all applications together.
    pub(super) macs: u128,
    /// Numbers that the forward pass writes and the backward pass reads, all applications together.
    pub(super) kept: u128,
}

/// The root, then every instance below it in order.
///
/// # Errors
/// What has no derivative.
pub(super) fn blocks(elaborated: &Elaborated, forward: &Graph, scans: Scans) -> Result<Vec<Block>, StageError> {
    let program = elaborated.program();
    let find: BTreeMap<&str, usize> = program.instances.iter().enumerate().skip(1).map(|(i, c)| (c.path.as_str(), i)).collect();
    let times = times(program);
    let block = |(instance, times)| Block { instance, depth: 0, times, parameters: own_parameters(program, instance), macs: 0, kept: 0 };
    let mut all: Vec<Block> = times.into_iter().enumerate().map(block).collect();
    let report = cost::cost(forward, &Counting::of(forward));
    for node in &report.nodes {
        let origin = &stages::region_at(forward, &node.region).node(node.node).origin;
        let macs = node.cost.macs.number.saturating_mul(node.times.number);
        let owner = &mut all[owner(&find, &origin.path)].macs;
        *owner = owner.saturating_add(macs);
    }
    let training = stages::gradient_graph(elaborated, scans)?;
    for (path, numbers) in kept(&training) {
        all[owner(&find, &path)].kept += numbers;
    }
    // Children come after their parents: what they have is carried upwards, depths downwards.
    for i in (1..all.len()).rev() {
        let parent = program.instances[i].parent.map_or(0, |p| p.index());
        let Block { parameters, macs, kept, .. } = all[i];
        all[parent].parameters = all[parent].parameters.saturating_add(parameters);
        all[parent].macs = all[parent].macs.saturating_add(macs);
        all[parent].kept = all[parent].kept.saturating_add(kept);
    }
    for i in 1..all.len() {
        all[i].depth = all[program.instances[i].parent.map_or(0, |p| p.index())].depth + 1;
    }
    // Instances of the objective hang on the root without being called by it.
    all.retain(|b| b.instance == 0 || !program.instances[b.instance].path.is_empty());
    Ok(all)
}

/// How often each instance is applied: once for a call, as often as the dim is long for `stack`, `share` and `scan`.
fn times(program: &Program) -> Vec<u64> {
    let mut times = vec![0u64; program.instances.len()];
    for (i, instance) in program.instances.iter().enumerate() {
        // The root is called by nothing, and neither are instances of the objective.
        times[i] = times[i].max(1);
        for node in &instance.body {
            let (callee, each) = match &node.op {
                hir::Op::Call(callee) => (callee, 1),
                hir::Op::Repeat { instance, axis, .. } | hir::Op::Scan { instance, axis, .. } => {
                    (instance, program.size_of(*axis).unwrap_or(1))
                }
                _ => continue,
            };
            let more = times[i].saturating_mul(each);
            times[callee.index()] = times[callee.index()].saturating_add(more);
        }
    }
    times
}

fn own_parameters(program: &Program, instance: usize) -> u64 {
    let instance = &program.instances[instance];
    instance.params.iter().fold(0u64, |n, p| n.saturating_add(program.elements(instance, p).unwrap_or(0)))
}

/// The instance of a path, or the nearest around it.
fn owner(find: &BTreeMap<&str, usize>, path: &str) -> usize {
    let mut path = path;
    loop {
        if let Some(found) = find.get(path) {
            return *found;
        }
        match path.rsplit_once('.') {
            Some((outer, _)) => path = outer,
            None => return 0,
        }
    }
}

/// How many numbers are kept by path: results of kernels of the forward pass that kernels of the backward pass read.
fn kept(graph: &Graph) -> BTreeMap<String, u128> {
    let region = &graph.region;
    let mut back = vec![false; region.nodes.len()];
    for (i, node) in region.nodes.iter().enumerate() {
        let seed = matches!(&node.op, Op::Input(port) if port.name.starts_with(&stages::cotangent("")));
        back[i] = seed || node.inputs.iter().any(|v| back[v.index()]);
    }
    // A kernel with one node of the backward pass belongs to it as a whole.
    let mut group: BTreeMap<usize, u32> = BTreeMap::new();
    let mut late: BTreeSet<u32> = BTreeSet::new();
    for a in fuse::assignment(graph).into_iter().filter(|a| a.path.is_empty()) {
        group.insert(a.value.index(), a.group);
        if back[a.value.index()] {
            late.insert(a.group);
        }
    }
    let is_late = |v: usize| back[v] || group.get(&v).is_some_and(|g| late.contains(g));
    let mut sources: BTreeSet<Value> = BTreeSet::new();
    for (i, node) in region.nodes.iter().enumerate() {
        if is_late(i) {
            sources.extend(node.inputs.iter().map(|v| source(region, *v)).filter(|v| !is_late(v.index())));
        }
    }
    let mut all = BTreeMap::new();
    for value in sources {
        let node = region.node(value);
        if matches!(node.op, Op::Param(_) | Op::Input(_) | Op::Const(_) | Op::Iota(_)) {
            continue;
        }
        let elements = node.ty.shape.iter().fold(1u128, |n, a| n.saturating_mul(graph.size(a).into()));
        *all.entry(made_in(region, value)).or_default() += elements;
    }
    all
}

/// What a view is of.
fn source(region: &Region, value: Value) -> Value {
    let node = region.node(value);
    match node.op {
        Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } => source(region, node.inputs[0]),
        _ => value,
    }
}

/// The path of the instance that computes a value; within a loop where a loop gathers it.
fn made_in(region: &Region, value: Value) -> String {
    let node = region.node(source(region, value));
    if let Op::Project(i) = node.op
        && let Op::Loop(l) = &region.node(node.inputs[0]).op
        && let Some(result) = l.body.results.get(i as usize)
    {
        return made_in(&l.body, *result);
    }
    node.origin.path.to_string()
}

/// The table of `--tree`, without blocks that have, do and keep nothing.
pub(super) fn table(program: &Program, blocks: &[Block]) -> String {
    let header = ["block", "times", "parameters", "MACs", "parameters (bytes)", "kept (bytes)"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for b in blocks.iter().filter(|b| b.instance == 0 || b.parameters > 0 || b.macs > 0 || b.kept > 0) {
        rows.push(vec![
            format!("{}{}", "  ".repeat(b.depth), name(program, b)),
            output::thousands(b.times),
            output::thousands(b.parameters),
            output::thousands(b.macs),
            output::bytes(b.parameters.saturating_mul(FLOAT)),
            output::bytes(u64::try_from(b.kept).unwrap_or(u64::MAX).saturating_mul(FLOAT)),
        ]);
    }
    output::table(&rows)
}

/// The end of a path that its parent does not have, and the block where that says more.
fn name(program: &Program, block: &Block) -> String {
    let instance = &program.instances[block.instance];
    if block.instance == 0 {
        return program.name.clone();
    }
    let above = instance.parent.map_or("", |p| program.instances[p.index()].path.as_str());
    let own = instance.path.strip_prefix(above).map_or(instance.path.as_str(), |rest| rest.trim_start_matches('.'));
    let plain = own.split('.').next().unwrap_or(own);
    if plain == instance.block { own.to_owned() } else { format!("{own} ({})", instance.block) }
}

/// The same for `--json`.
pub(super) fn json(program: &Program, blocks: &[Block]) -> serde_json::Value {
    let one = |b: &Block| {
        let instance = &program.instances[b.instance];
        serde_json::json!({
            "path": instance.path, "block": instance.block, "depth": b.depth, "applications": b.times, "parameters": b.parameters,
            "macs": b.macs.to_string(), "kept": b.kept.to_string(),
        })
    };
    blocks.iter().map(one).collect()
}
