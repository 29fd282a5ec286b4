//! Which units of a state a value of the step belongs to, read off the operations.
//!
//! For a new state, every axis of it is a *row* axis. Going back from the state, [`rows`] follows where each row axis lies in the
//! cotangents of the values on the way: at the same axis, at another where axes are renamed, or nowhere once an operation sums, normalises
//! or moves along it. A row axis that is followed to every argument, and to itself in every old state, is *diagonal*: the derivative of the
//! state has one number for each position of it, and reverse mode that keeps the axis gives that number.

use super::super::activity;
use super::cell::Cell;
use crate::entity::{AxisId, Value};
use crate::graph::{Node, Region};
use crate::op::Op;
use crate::shape::Shape;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a new state.
pub(super) struct Rows {
    /// Axes along which units do not mix.
    pub(super) diagonal: Shape,
    /// For each other axis of the state, the operation that mixes.
    pub(super) mixed: BTreeMap<AxisId, Value>,
    /// For each value that the state depends on, where the diagonal axes lie in its cotangent.
    pub(super) at: BTreeMap<Value, BTreeMap<AxisId, AxisId>>,
    /// Axes that cotangents must keep.
    pub(super) keep: Shape,
}

/// An operation on the way that cotangents with more axes cannot pass.
pub(super) struct Obstacle(pub(super) Value);

type Places = BTreeMap<AxisId, Option<AxisId>>;

/// Follows the axes of new state `k` back to what `moves`.
pub(super) fn rows(cell: &Cell, k: usize, moves: &[bool]) -> Result<Rows, Obstacle> {
    let region = &cell.region;
    let result = cell.results[k];
    let own = region.ty(result).shape.clone();
    let mut places: Vec<Option<Places>> = vec![None; region.nodes.len()];
    let mut culprits: BTreeMap<AxisId, Value> = BTreeMap::new();
    if moves[result.index()] {
        places[result.index()] = Some(own.iter().map(|a| (a, Some(a))).collect());
    }
    for index in (0..=result.index()).rev() {
        let Some(here) = places[index].clone() else { continue };
        let node = &region.nodes[index];
        if matches!(node.op, Op::Loop(_) | Op::Attend(_) | Op::AttendGrad(_) | Op::Routed { .. } | Op::RoutedOuter { .. }) {
            return Err(Obstacle(Value(index as u32)));
        }
        for (i, &input) in node.inputs.iter().enumerate() {
            if !moves[input.index()] || !activity::passes(node, i) {
                continue;
            }
            let mut there = Places::new();
            for (&row, &place) in &here {
                let before = place.and_then(|p| back(region, node, i, p));
                if place.is_some() && before.is_none() {
                    culprits.entry(row).or_insert(Value(index as u32));
                }
                there.insert(row, before);
            }
            let merged = match places[input.index()].take() {
                None => there,
                Some(other) => {
                    let same = |row: &AxisId, p: Option<AxisId>| p.filter(|_| there[row] == p);
                    other.into_iter().map(|(row, p)| (row, same(&row, p))).collect()
                }
            };
            places[input.index()] = Some(merged);
        }
    }
    let visited: BTreeMap<Value, Places> = places.into_iter().enumerate().filter_map(|(i, p)| p.map(|p| (Value(i as u32), p))).collect();
    let mut lost: BTreeSet<AxisId> = own.iter().filter(|a| visited.values().any(|p| p[a].is_none())).collect();
    let old = cell.carries.iter().filter_map(|c| c.0.and_then(|a| visited.get(&a)));
    lost.extend(old.flat_map(|p| p.iter().filter(|(row, place)| **place != Some(**row)).map(|(row, _)| *row)));
    settle(region, &visited, &mut lost);
    let kept = |p: &Places| -> BTreeMap<AxisId, AxisId> {
        p.iter().filter(|(row, _)| !lost.contains(row)).filter_map(|(row, place)| Some((*row, (*place)?))).collect()
    };
    let at: BTreeMap<Value, BTreeMap<AxisId, AxisId>> = visited.iter().map(|(v, p)| (*v, kept(p))).collect();
    let keep = Shape::of(at.values().flat_map(|p| p.values().copied()));
    let mixer = |row: AxisId| mixer(cell, k, row, moves).or_else(|| culprits.get(&row).copied()).unwrap_or(result);
    let mixed = lost.iter().map(|&row| (row, mixer(row))).collect();
    let diagonal = Shape::of(own.iter().filter(|a| !lost.contains(a)));
    Ok(Rows { diagonal, mixed, at, keep })
}

/// Gives up row axes until none can be taken for an axis that a value has of its own.
fn settle(region: &Region, visited: &BTreeMap<Value, Places>, lost: &mut BTreeSet<AxisId>) {
    loop {
        let live = |p: &Places| -> Vec<(AxisId, AxisId)> {
            p.iter().filter(|(row, _)| !lost.contains(row)).filter_map(|(row, place)| Some((*row, (*place)?))).collect()
        };
        let all: Vec<(AxisId, AxisId)> = visited.values().flat_map(live).collect();
        let mut more = BTreeSet::new();
        for (value, places) in visited {
            let here = live(places);
            for axis in region.ty(*value).shape.iter() {
                let rows = here.iter().filter(|(_, place)| *place == axis).count();
                if rows != 1 {
                    more.extend(all.iter().filter(|(_, place)| *place == axis).map(|(row, _)| *row));
                }
            }
        }
        if more.is_empty() {
            return;
        }
        lost.extend(more);
    }
}

/// Where what lies at axis `place` in the cotangent of a node lies in that of its input `i`.
fn back(region: &Region, node: &Node, i: usize, place: AxisId) -> Option<AxisId> {
    match &node.op {
        Op::Rename(pairs) => match pairs.iter().find(|p| p.1 == place) {
            Some(pair) => Some(pair.0),
            None => (!pairs.iter().any(|p| p.0 == place)).then_some(place),
        },
        Op::ScatterAdd { axis, keep } => {
            let summed = region.ty(node.inputs[i]).shape.contains(place) && !keep.contains(&place);
            (*axis != place && !summed).then_some(place)
        }
        op => (!ends(op, i, place)).then_some(place),
    }
}

/// Whether positions of the axis come together, or are moved, in an operation that is no renaming.
fn ends(op: &Op, i: usize, a: AxisId) -> bool {
    match op {
        Op::Reduce(_, over) | Op::Contract(over) | Op::Softmax(over) | Op::LogSumExp(over) => over.contains(&a),
        Op::Solve { row, col, .. } => *row == a || *col == a,
        Op::Split { axis, into } => *axis == a || into.contains(&a),
        Op::Merge { from, into } => from.contains(&a) || *into == a,
        Op::Slice { axis, into, .. } | Op::Pad { axis, into, .. } => *axis == a || *into == a,
        Op::Concat { axes, into } => axes[i] == a || *into == a,
        Op::Gather(axis) | Op::ArgMax(axis) => *axis == a,
        Op::ScatterAdd { axis, keep } => *axis == a || !keep.contains(&a),
        Op::Attend(_) | Op::AttendGrad(_) | Op::Loop(_) | Op::Routed { .. } | Op::RoutedOuter { .. } => true,
        Op::TopK { .. } | Op::Route { .. } => true,
        Op::Input(_) | Op::Param(_) | Op::Argument(_) | Op::Const(_) | Op::Iota(_) | Op::Random(_) => false,
        Op::Map(_) | Op::Rename(_) | Op::Project(_) => false,
    }
}

/// The first operation on the way from an old state to new state `k` in which positions along the axis come together.
fn mixer(cell: &Cell, k: usize, axis: AxisId, moves: &[bool]) -> Option<Value> {
    let region = &cell.region;
    let leads = activity::sources(region, [cell.results[k]]);
    let mut at: Vec<Option<AxisId>> = vec![None; region.nodes.len()];
    for argument in cell.carries.iter().filter_map(|c| c.0) {
        if region.ty(argument).shape.contains(axis) {
            at[argument.index()] = Some(axis);
        }
    }
    for (index, node) in region.nodes.iter().enumerate() {
        if !leads[index] || !moves[index] {
            continue;
        }
        for (i, input) in node.inputs.iter().enumerate() {
            let Some(here) = at[input.index()] else { continue };
            if !activity::passes(node, i) {
                continue;
            }
            if ends(&node.op, i, here) {
                return Some(Value(index as u32));
            }
            at[index] = Some(match &node.op {
                Op::Rename(pairs) => pairs.iter().find(|p| p.0 == here).map_or(here, |p| p.1),
                _ => here,
            });
        }
    }
    None
}
