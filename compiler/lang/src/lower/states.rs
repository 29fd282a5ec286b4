//! States of scans as inputs and outputs: a part of a sequence goes on where another ended.

use super::types::{Binding, Lowered, joined};
use super::{binding, order};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{InstanceId, Op, Program};
use crate::source::{FileId, Span};
use ogive_graph::stream::{Obstacle, RESET, Resumption, ScanState, resume};
use ogive_graph::{AxisId, DType, Op as Primitive, Output, Port};
use std::collections::{BTreeMap, BTreeSet};

/// Start of the names of states before the first position.
pub const PREV: &str = "prev.";
/// Start of the names of states after the last position.
pub const LAST: &str = "last.";

/// A state of a scan: an input `prev.PATH.NAME` and an output `last.PATH.NAME`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carried {
    /// Before the first position. Where it is not given, the state starts as the spec says.
    pub prev: Binding,
    /// After the last position.
    pub last: Binding,
}

/// Dims that the program scans along from their start, in the order in which they are met; scans within a step are not among them. Where
/// there is none, those that it shifts along, to later positions.
pub fn scanned(program: &Program) -> Vec<AxisId> {
    let (mut scans, mut shifts) = (Vec::new(), Vec::new());
    visit(program, InstanceId(0), &mut vec![false; program.instances.len()], &mut [&mut scans, &mut shifts]);
    if scans.is_empty() { shifts } else { scans }
}

fn visit(program: &Program, id: InstanceId, seen: &mut [bool], found: &mut [&mut Vec<AxisId>; 2]) {
    if std::mem::replace(&mut seen[id.index()], true) {
        return;
    }
    let body = &program.instance(id).body;
    for node in body {
        match node.op {
            Op::Scan { instance, axis, reverse: false } if !program.instance(instance).states.is_empty() && !found[0].contains(&axis) => {
                found[0].push(axis);
            }
            Op::Primitive(Primitive::Pad { start: 1.., into, .. }) if !found[1].contains(&into) => {
                let cut = &body[node.inputs[0].index()].op;
                if matches!(cut, Op::Primitive(Primitive::Slice { axis, start: 0, .. }) if *axis == into) {
                    found[1].push(into);
                }
            }
            Op::Call(inner) | Op::Repeat { instance: inner, .. } => visit(program, inner, seen, found),
            _ => {}
        }
    }
}

/// Makes the states of scans along `axis` inputs and outputs, and lists them. Of the inputs only those that `given` names are read; with
/// `reset` there is one more, [`RESET`], true where scans begin anew.
///
/// # Errors
/// Where positions see each other in another way than by scans forward.
pub fn carry(
    program: &Program,
    lowered: &mut Lowered,
    axis: AxisId,
    given: &dyn Fn(&str) -> bool,
    reset: bool,
) -> Result<Vec<Carried>, Obstacle> {
    let found = resume(&lowered.graph, axis, &Resumption::default())?;
    let names = named(program, &found.states);
    let marks: Option<Vec<AxisId>> = reset.then(|| program.batch.into_iter().chain([axis]).collect());
    let given: BTreeSet<usize> = (0..names.len()).filter(|i| given(&format!("{PREV}{}", names[*i].0))).collect();
    let resumed = resume(&lowered.graph, axis, &Resumption { reset: marks.clone(), given })?;
    let mut graph = resumed.graph;
    let mut all = Vec::new();
    for ((name, declared), state) in names.iter().zip(&resumed.states) {
        let order = order(&state.ty.shape, declared, program.batch);
        let bound = |start: &str| binding(&graph, &format!("{start}{name}"), &order, state.ty.dtype, None);
        let carried = Carried { prev: bound(PREV), last: bound(LAST) };
        let port = |b: &Binding| Port { name: b.name.clone(), order: order.clone() };
        graph.region.nodes[state.before.index()].op = Primitive::Input(port(&carried.prev));
        graph.outputs.push(Output { port: port(&carried.last), value: state.after, update: false });
        lowered.outputs.push(carried.last.clone());
        all.push(carried);
    }
    if let Some(marks) = marks {
        lowered.inputs.push(binding(&graph, RESET, &marks, DType::Bool, None));
    }
    lowered.graph = graph;
    Ok(all)
}

/// Why the states of a program are not carried on, with its place.
pub fn not_carried(program: &Program, obstacle: &Obstacle) -> Diagnostic {
    let origin = &obstacle.origin;
    let file = program.sources.files.iter().position(|s| s.name == origin.file && origin.line > 0);
    let file = file.and_then(|f| u32::try_from(f).ok()).map(FileId);
    let place = file.map_or(program.root().span, |file| Span { file, start: origin.span.0, end: origin.span.1 });
    let message = format!("a sequence goes on in the states of scans alone; {} is not carried from one part to the next", obstacle.what);
    let help = "let a cell under `scan` remember what is needed; or give the whole sequence at once, without states and resets";
    Diagnostic::error(codes::grad::ACROSS_SEGMENTS, message, place, "not carried").help(help)
}

/// The path and name of each state (of a shift: `shift`), with a number behind it where one instance is scanned several times, and its declared dims.
fn named(program: &Program, states: &[ScanState]) -> Vec<(String, Vec<AxisId>)> {
    let of = |state: &ScanState| {
        let cell = program.instances.iter().find(|i| *i.path == *state.origin.path);
        let own = cell.and_then(|i| i.states.get(state.carry));
        let name = own.map_or_else(|| "shift".to_owned(), |s| s.name.clone());
        (joined(&state.origin.path, &name), own.map_or_else(Vec::new, |s| s.dims.clone()))
    };
    let names: Vec<(String, Vec<AxisId>)> = states.iter().map(of).collect();
    let mut seen = BTreeMap::<&str, usize>::new();
    let mut out = Vec::new();
    for (name, dims) in &names {
        let number = seen.entry(name).or_insert(0);
        let several = names.iter().filter(|n| n.0 == *name).count() > 1;
        out.push((if several { format!("{name}.{number}") } else { name.clone() }, dims.clone()));
        *number += 1;
    }
    out
}
