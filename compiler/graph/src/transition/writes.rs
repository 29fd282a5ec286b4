//! Whether the keys of corrections have a bounded length.
//!
//! A state that is corrected along a key, `S - rate key (key S)`, keeps what lies along the key by the factor `1 - rate |key|^2`: once
//! `rate |key|^2` exceeds 2 it grows with every write. How a key is made may bound its length: [`super::length`].

use super::Step;
use super::form::{Base, Form};
use super::length::{At, Scope};
use crate::entity::Value;
use crate::graph::{Axis, Graph, Origin, Region};
use crate::op::{Loop, LoopKind, Op};

/// Largest `rate |key|^2` at which a state that is corrected along the key stays bounded, and what rounding makes of it.
const MOST: f64 = 2.0 + 1e-6;

/// A correction along a key that may be too long.
#[derive(Clone, PartialEq, Debug)]
pub struct Unbounded {
    /// Where the state is corrected.
    pub write: Origin,
    /// Where the key comes from.
    pub key: Origin,
    /// Names and sizes of the key's axes.
    pub axes: Vec<(String, u64)>,
    /// What `rate |key|^2` may be, where something bounds the key.
    pub most: Option<f64>,
}

/// All corrections along keys that nothing bounds enough, in the order of their scans.
pub fn unbounded(graph: &Graph) -> Vec<Unbounded> {
    let mut axes = graph.axes.clone();
    let mut out = Vec::new();
    visit(&mut axes, &graph.region, &mut out);
    out
}

fn visit(axes: &mut Vec<Axis>, region: &Region, out: &mut Vec<Unbounded>) {
    for node in &region.nodes {
        let Op::Loop(l) = &node.op else { continue };
        if l.kind == LoopKind::Scan {
            scan(axes, region, &node.inputs, l, out);
        }
        visit(axes, &l.body, out);
    }
}

fn scan(axes: &mut Vec<Axis>, around: &Region, inputs: &[Value], l: &Loop, out: &mut Vec<Unbounded>) {
    let mut step = Step::new(l);
    for carry in 0..l.carries {
        if step.before[carry].is_none() || step.together[carry].len() > 1 {
            continue;
        }
        let new = step.region.results[carry];
        let forms = step.forms(axes, carry, false);
        let Form::Sum(terms) = &forms[new.index()] else { continue };
        for term in terms {
            let Base::Read { inner, over, .. } = &term.base else { continue };
            let scope = Scope { axes, body: &step.region, l, around, inputs };
            // what does not depend on the step may be multiplied before the scan
            let split = |values: &[Value]| -> (Vec<At>, Vec<At>) {
                let all = scope.leaves(values.iter().map(|&value| At { value, inside: true }));
                all.into_iter().partition(|&at| scope.has(at, over))
            };
            let ((key, rates), (read, others)) = (split(&term.factors), split(inner));
            if key.is_empty() || !scope.all_same(&key, &read) {
                continue;
            }
            let length = |rates: &[At]| scope.product(&key, rates, over);
            let most = length(&rates).zip(length(&others)).map(|(a, b)| term.scale.abs() * a * b);
            if most.is_some_and(|most| most <= MOST) {
                continue;
            }
            let named = |a| (axes[crate::AxisId::index(a)].name.clone(), axes[crate::AxisId::index(a)].size);
            out.push(Unbounded {
                write: step.region.node(new).origin.clone(),
                key: scope.origin(key[0]),
                axes: over.iter().map(named).collect(),
                most,
            });
            break;
        }
    }
}
