//! How the states of a scan move: for each carry, what the step's equations say of the map from its value before the step to that after it.
//!
//! The map is linear where the new value is a sum of products of the old one with what does not depend on it. Among linear maps those with
//! structure are told apart: a sum that is only added to (identity), one that fades (diagonal), one that is corrected along one direction
//! (identity minus rank one: the delta rule of Widrow and Hoff 1960; Schlag, Irie, Schmidhuber 2021), and combinations. Such states can be
//! computed for many steps at once; see [`crate::parallel`].

pub mod form;
mod length;
pub mod writes;

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Graph, Origin, Region};
use crate::op::{Loop, LoopKind, MapFn, Op};
use crate::shape::Shape;
use crate::text;
use form::{Base, Form, State, Term, When};
use std::collections::BTreeMap;

/// What is known of a state's transition.
#[derive(Clone, PartialEq, Debug)]
pub enum Class {
    /// The new value does not depend on the old one.
    Replaced,
    /// The old value, to which something is added.
    Identity,
    /// The old value, each number of it times a factor; the factors have these axes of the state.
    Diagonal(Shape),
    /// The old value less what it says along one direction; the direction has the axes `over`.
    RankOne {
        /// Axes along which the map mixes.
        over: Shape,
        /// Axes of the factors that the old value is multiplied with before, where it is.
        decay: Option<Shape>,
    },
    /// A diagonal and several directions.
    LowRank {
        /// Their number.
        rank: usize,
    },
    /// Each number is a sum of the same numbers of several states, times factors.
    Coupled(Vec<usize>),
    /// Linear without a structure that is known; the states that it is linear in together.
    Dense(Vec<usize>),
    /// Not linear: what breaks it, in words, and its place.
    Curved {
        /// The operation.
        what: String,
        /// Where it stands.
        origin: Origin,
        /// The states that depend on each other, this one among them.
        together: Vec<usize>,
    },
}

/// The transition of one carry.
#[derive(Clone, PartialEq, Debug)]
pub struct Transition {
    /// Its place among the carries.
    pub carry: usize,
    /// Its axes.
    pub shape: Shape,
    /// Where it is declared.
    pub origin: Origin,
    /// What is known.
    pub class: Class,
    /// Whether other states are read as given.
    pub given_others: bool,
}

impl Class {
    /// Whether the new value is linear in the old one.
    pub fn is_linear(&self) -> bool {
        !matches!(self, Class::Curved { .. })
    }

    /// The class in words, with axes by label.
    pub fn words(&self, labels: &[String]) -> String {
        let axes = |shape: &Shape| shape.iter().map(|a| labels[a.index()].clone()).collect::<Vec<_>>().join(", ");
        match self {
            Class::Replaced => "state-linear, replaced at every step".to_owned(),
            Class::Identity => "state-linear, identity".to_owned(),
            Class::Diagonal(shape) if shape.is_scalar() => "state-linear, diagonal (one factor)".to_owned(),
            Class::Diagonal(shape) => format!("state-linear, diagonal (factors over {})", axes(shape)),
            Class::RankOne { over, decay: None } => format!("state-linear, identity minus rank one over {}", axes(over)),
            Class::RankOne { over, decay: Some(decay) } if decay.intersection(over).is_scalar() => {
                format!("state-linear, decay times identity minus rank one over {}", axes(over))
            }
            Class::RankOne { over, .. } => format!("state-linear, diagonal plus rank one over {}", axes(over)),
            Class::LowRank { rank } => format!("state-linear, diagonal plus low rank ({rank})"),
            Class::Coupled(with) => format!("state-linear, {} states together, number by number", with.len()),
            Class::Dense(with) if with.len() > 1 => format!("state-linear, dense over {} states", with.len()),
            Class::Dense(_) => "state-linear, dense".to_owned(),
            Class::Curved { what, origin, together } => {
                let line = if origin.line == 0 { String::new() } else { format!(" in line {}", origin.line) };
                let with = if together.len() > 1 { format!(", {} states together", together.len()) } else { String::new() };
                format!("not state-linear: {what}{line}{with}")
            }
        }
    }
}

/// A body whose arguments are unique, extended by what the analysis appends.
pub(crate) struct Step {
    /// The body; the first `own` nodes are its own.
    pub(crate) region: Region,
    /// Number of the body's own nodes.
    pub(crate) own: usize,
    /// The argument node of each carry that is read.
    pub(crate) before: Vec<Option<Value>>,
    /// For each carry, which values of the body depend on it.
    pub(crate) depends: Vec<Vec<bool>>,
    /// For each carry, the carries that depend on each other with it.
    pub(crate) together: Vec<Vec<usize>>,
}

impl Step {
    /// Prepares a loop's body.
    pub(crate) fn new(l: &Loop) -> Self {
        let mut region = l.body.clone();
        let arguments = unify(&mut region);
        let before: Vec<Option<Value>> = (0..l.carries).map(|c| arguments.get(&(c as u32)).copied()).collect();
        let depends: Vec<Vec<bool>> = before.iter().map(|&argument| dependents(&region, argument)).collect();
        let reads = |to: usize, from: usize| depends[from][region.results[to].index()];
        let mut reach: Vec<Vec<bool>> = (0..l.carries).map(|to| (0..l.carries).map(|from| reads(to, from)).collect()).collect();
        for middle in 0..l.carries {
            for to in 0..l.carries {
                for from in 0..l.carries {
                    if reach[to][middle] && reach[middle][from] {
                        reach[to][from] = true;
                    }
                }
            }
        }
        let together = (0..l.carries).map(|c| (0..l.carries).filter(|&o| o == c || (reach[c][o] && reach[o][c])).collect()).collect();
        Step { own: region.nodes.len(), region, before, depends, together }
    }

    /// Forms of the body's own values in one carry, other carries being given: before the step, and with `after` also after it.
    pub(crate) fn forms(&mut self, axes: &mut Vec<Axis>, carry: usize, after: bool) -> Vec<Form> {
        let (before, new) = (self.before[carry], self.region.results[carry]);
        let mut states: Vec<(State, Value)> = before.iter().map(|&v| (State { carry, when: When::Before }, v)).collect();
        if after && Some(new) != before {
            states.push((State { carry, when: When::After }, new));
        }
        self.in_states(axes, &states)
    }

    /// Forms of the body's own values in all carries that depend on each other with this one, before the step.
    pub(crate) fn forms_together(&mut self, axes: &mut Vec<Axis>, carry: usize) -> Vec<Form> {
        let state = |&c: &usize| Some((State { carry: c, when: When::Before }, self.before[c]?));
        let states: Vec<(State, Value)> = self.together[carry].iter().filter_map(state).collect();
        self.in_states(axes, &states)
    }

    /// Forms of the body's values in all carries together; nothing where one is never read.
    pub(crate) fn forms_of_all(&mut self, axes: &mut Vec<Axis>) -> Option<Vec<Form>> {
        let state = |(carry, v): (usize, &Option<Value>)| Some((State { carry, when: When::Before }, (*v)?));
        let states: Vec<(State, Value)> = self.before.iter().enumerate().map(state).collect::<Option<_>>()?;
        Some(self.in_states(axes, &states))
    }

    fn in_states(&mut self, axes: &mut Vec<Axis>, states: &[(State, Value)]) -> Vec<Form> {
        let mut b = Builder::over(axes, std::mem::take(&mut self.region));
        let forms = form::forms(&mut b, states);
        self.region = b.region;
        forms
    }
}

/// Leaves one argument node of each index, and says which.
fn unify(body: &mut Region) -> BTreeMap<u32, Value> {
    let mut first: BTreeMap<u32, Value> = BTreeMap::new();
    for (index, node) in body.nodes.iter().enumerate() {
        if let Op::Argument(i) = node.op {
            first.entry(i).or_insert(Value(index as u32));
        }
    }
    let to: Vec<Value> = body
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| if let Op::Argument(i) = node.op { first[&i] } else { Value(index as u32) })
        .collect();
    for node in &mut body.nodes {
        node.inputs.iter_mut().for_each(|v| *v = to[v.index()]);
    }
    body.results.iter_mut().for_each(|v| *v = to[v.index()]);
    first
}

fn dependents(region: &Region, root: Option<Value>) -> Vec<bool> {
    let mut depends: Vec<bool> = Vec::with_capacity(region.nodes.len());
    for (index, node) in region.nodes.iter().enumerate() {
        depends.push(root == Some(Value(index as u32)) || node.inputs.iter().any(|v| depends[v.index()]));
    }
    depends
}

/// The transitions of a loop's carries, in their order.
pub fn transitions(axes: &[Axis], l: &Loop) -> Vec<Transition> {
    let mut axes = axes.to_vec();
    let mut step = Step::new(l);
    (0..l.carries)
        .map(|carry| {
            let new = step.region.results[carry];
            let at = step.before[carry].unwrap_or(new);
            let together = step.together[carry].clone();
            Transition {
                carry,
                shape: step.region.ty(at).shape.clone(),
                origin: step.region.node(at).origin.clone(),
                given_others: (0..l.carries).any(|o| !together.contains(&o) && step.depends[o][new.index()]),
                class: class(&mut step, &mut axes, carry, &together),
            }
        })
        .collect()
}

fn class(step: &mut Step, axes: &mut Vec<Axis>, carry: usize, together: &[usize]) -> Class {
    let new = step.region.results[carry];
    let Some(before) = step.before[carry] else { return Class::Replaced };
    if together.len() > 1 {
        let forms = step.forms_together(axes, carry);
        let curved = together.iter().find_map(|&c| match forms[step.region.results[c].index()] {
            Form::Curved(at) => Some(at),
            _ => None,
        });
        return match curved {
            Some(at) => curved_at(step, at, together),
            None => {
                let plain = |t: &Term| !matches!(t.base, Base::Read { .. });
                let alone = together.iter().all(|&c| matches!(&forms[step.region.results[c].index()], Form::Sum(t) if t.iter().all(plain)));
                if alone { Class::Coupled(together.to_vec()) } else { Class::Dense(together.to_vec()) }
            }
        };
    }
    if new == before {
        return Class::Identity;
    }
    let forms = step.forms(axes, carry, false);
    match &forms[new.index()] {
        Form::Free => Class::Replaced,
        Form::Mixed(_) => Class::Dense(vec![carry]),
        Form::Curved(at) => curved_at(step, *at, together),
        Form::Sum(terms) => of_terms(&step.region, carry, terms),
    }
}

fn curved_at(step: &Step, at: Value, together: &[usize]) -> Class {
    let node = step.region.node(at);
    let what = match &node.op {
        Op::Map(f) if node.inputs.len() > 1 => format!("`{}` of two of its values", f.name()),
        Op::Map(f) => format!("`{}` of it", f.name()),
        Op::Contract(_) => "a product of two of its values".to_owned(),
        Op::Softmax(_) => "`softmax` of it".to_owned(),
        Op::Loop(_) | Op::Project(_) => "a loop within the step".to_owned(),
        _ => "an operation on it".to_owned(),
    };
    Class::Curved { what, origin: node.origin.clone(), together: together.to_vec() }
}

fn axes_of(region: &Region, values: &[Value]) -> Shape {
    values.iter().fold(Shape::scalar(), |all, &v| all.union(&region.ty(v).shape))
}

/// The class of a sum of terms that has the shape of the state.
fn of_terms(region: &Region, carry: usize, terms: &[Term]) -> Class {
    let (mut diagonal, mut one) = (Shape::scalar(), 0.0);
    let (mut states, mut reads) = (0, Vec::new());
    for term in terms {
        match &term.base {
            Base::One => {}
            Base::State(_) => {
                states += 1;
                one = if term.factors.is_empty() { term.scale } else { 0.0 };
                diagonal = diagonal.union(&axes_of(region, &term.factors));
            }
            Base::Read { over, .. } => {
                let mut key = leaves(region, &term.factors);
                key.retain(|&f| !region.ty(f).shape.intersection(over).is_scalar());
                reads.push((over.axes().to_vec(), key));
            }
        }
    }
    let plain = states == 1 && one == 1.0;
    if reads.is_empty() {
        return match states {
            0 => Class::Replaced,
            _ if plain => Class::Identity,
            _ => Class::Diagonal(diagonal),
        };
    }
    reads.sort();
    reads.dedup();
    let fits = |over: &[AxisId], key: &[Value]| axes_of(region, key).contains_all(&Shape::of(over.iter().copied()));
    if states == 0 || !reads.iter().all(|(over, key)| fits(over, key)) {
        return Class::Dense(vec![carry]);
    }
    match &reads[..] {
        [(over, _)] => Class::RankOne { over: Shape::of(over.iter().copied()), decay: (!plain).then_some(diagonal) },
        _ => Class::LowRank { rank: reads.len() },
    }
}

/// The values that a product of values is made of, in order.
pub(crate) fn leaves(region: &Region, values: &[Value]) -> Vec<Value> {
    let mut out = Vec::new();
    let mut stack = values.to_vec();
    while let Some(value) = stack.pop() {
        let node = region.node(value);
        match node.op {
            Op::Map(MapFn::Mul) => stack.extend(&node.inputs),
            _ => out.push(value),
        }
    }
    out.sort_unstable();
    out
}

/// Every scan of a graph with carries, with what is known of it; the path is that of the loops around it.
pub fn scans(graph: &Graph) -> Vec<(Vec<Value>, Value, Vec<Transition>)> {
    let mut out = Vec::new();
    let mut stack: Vec<(Vec<Value>, &Region)> = vec![(Vec::new(), &graph.region)];
    while let Some((path, region)) = stack.pop() {
        for (index, node) in region.nodes.iter().enumerate() {
            let Op::Loop(l) = &node.op else { continue };
            let value = Value(index as u32);
            if l.kind == LoopKind::Scan && l.carries > 0 {
                out.push((path.clone(), value, transitions(&graph.axes, l)));
            }
            let mut inner = path.clone();
            inner.push(value);
            stack.push((inner, &l.body));
        }
    }
    out.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    out
}

/// A carry as text: its place, its axes and its class.
pub fn line(labels: &[String], transition: &Transition) -> String {
    let Transition { carry, shape, origin, class, given_others } = transition;
    let axes = text::type_text(labels, crate::DType::F32, shape.iter());
    let axes = axes.trim_start_matches("f32");
    let at = if origin.line == 0 { String::new() } else { format!(" (line {})", origin.line) };
    let given = if *given_others { ", other states given" } else { "" };
    format!("state {carry} {axes}{at}: {}{given}", class.words(labels))
}
