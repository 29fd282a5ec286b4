//! Values that are better computed where they are read than where they could first be: behind a kernel of its own, of what lies in memory.

use super::{Class, class};
use crate::entity::Value;
use crate::graph::{Axis, Region};
use crate::op::{MapFn, Op};
use crate::shape::elements;
use std::collections::BTreeSet;

/// Elements from which on a value is large.
pub(crate) const LARGE: u64 = 1 << 16;
/// A value beside a large one has at most this share of its elements.
const BESIDE: u64 = 4;

/// How many operations that are kernels of their own come before each node, or are it.
pub(crate) fn levels(region: &Region) -> Vec<u32> {
    let mut levels: Vec<u32> = Vec::with_capacity(region.nodes.len());
    for (i, node) in region.nodes.iter().enumerate() {
        let before = node.inputs.iter().map(|v| levels[v.index()]).max().unwrap_or(0);
        levels.push(before + u32::from(class(region, Value(i as u32)) == Class::Whole));
    }
    levels
}

/// Whether a value is a cheap function of one large value, at most.
pub(crate) fn is_cheap(axes: &[Axis], region: &Region, v: Value, least: u64) -> bool {
    use MapFn::{Add, Mul, Neg, Sub};
    let node = region.node(v);
    let all = elements(axes, &node.ty.shape);
    if !matches!(node.op, Op::Map(Add | Mul | Neg | Sub)) || all < least {
        return false;
    }
    let large: BTreeSet<Value> = node.inputs.iter().copied().filter(|&x| elements(axes, &region.ty(x).shape) * BESIDE > all).collect();
    large.len() <= 1
}
