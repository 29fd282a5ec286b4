//! Elaboration of a block, cell or model that nothing calls.

use super::body::{Body, Eval};
use super::call::Given;
use super::context::{Cx, Draft};
use super::finish;
use super::items::Items;
use super::settings::{self, Settings};
use super::value::Const;
use crate::codes;
use crate::diag::{Diagnostic, Diagnostics};
use crate::hir::{Instance, InstanceId, Program};
use crate::lower::types::joined;
use crate::source::{FileId, Span};
use crate::spec::Spec;
use crate::syntax::{Block, PortType};
use std::collections::BTreeMap;

/// Bytes of stack for elaboration: what is nested too deeply is reported long before it is full.
const STACK: usize = 64 << 20;

/// Runs on a stack of its own, so that nesting is limited by a count and not by the caller's stack.
pub(crate) fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(value)) => value,
            Ok(Err(fault)) => std::panic::resume_unwind(fault),
            Err(error) => panic!("a fault in ogive: no thread for elaboration: {error}"),
        }
    })
}

/// Elaborates a block, cell or model with all sizes known.
pub fn block(spec: &Spec, name: &str, settings: &Settings) -> (Option<Program>, Diagnostics) {
    with_stack(|| {
        let (program, mut out) = open(spec, name, settings, &[]);
        if let Some(program) = &program {
            let open = program.open_dims();
            if let Some(first) = open.first() {
                let axis = program.root().dims.iter().find(|(n, _)| n == first).map(|d| d.1);
                let span = axis.map_or(program.root().span, |a| program.axes[a.index()].span);
                let message = format!("nothing says how large `{}` of `{name}` is", open.join("`, `"));
                let error = Diagnostic::error(codes::name::DIM_UNBOUND, message, span, "has no size");
                out.push(error.help(format!("pass `--set {first}=64`, or give it a default: `{first} = 64`")));
            } else if program.axes.iter().any(|a| a.size.is_none()) || unknown_constants(spec, program) {
                let message = format!("`{name}` has an input that is a constant without a value");
                let error = Diagnostic::error(codes::call::MISSING_ARGUMENT, message, program.root().span, "needs a value");
                out.push(error.help("pass it: `--set name=value`, or give it a default"));
            }
        }
        out.sort(&spec.sources);
        let program = program.filter(|_| !out.has_errors());
        (program, out)
    })
}

/// In the place of a tensor's name: every state of a root cell is given.
pub(crate) const EVERY_STATE: &str = "prev.*";

fn unknown_constants(spec: &Spec, program: &Program) -> bool {
    let root = program.root();
    spec.block(spec.root, &program.name).is_some_and(|(_, b)| {
        b.inputs.iter().any(|p| !matches!(p.ty, PortType::Tensor(_)) && !root.constants.iter().any(|(n, _)| *n == p.name.name))
    })
}

/// Elaborates a block whose dims may stay without a size: what `check` and `run --list` look at. The states of a cell before the step are
/// inputs.
pub fn open_block(spec: &Spec, name: &str, settings: &Settings) -> (Option<Program>, Diagnostics) {
    with_stack(|| {
        let (program, mut out) = open(spec, name, settings, &[EVERY_STATE.to_owned()]);
        out.sort(&spec.sources);
        (program.filter(|_| !out.has_errors()), out)
    })
}

/// Elaborates a block for given tensors, by name: sizes of dims come from inputs and parameters, whose dims are in declared order.
/// An input may have one more dim in front; all that have it then are lifted over `batch`.
///
/// Sizes in `settings.set` win over tensors, tensors over defaults.
pub fn block_for_tensors(
    spec: &Spec,
    name: &str,
    settings: &Settings,
    shapes: &BTreeMap<String, Vec<u64>>,
) -> (Option<Program>, Diagnostics) {
    with_stack(|| for_tensors(spec, name, settings, shapes))
}

fn for_tensors(spec: &Spec, name: &str, settings: &Settings, shapes: &BTreeMap<String, Vec<u64>>) -> (Option<Program>, Diagnostics) {
    let given: Vec<String> = shapes.keys().cloned().collect();
    let (found, out) = open(spec, name, settings, &given);
    let Some(found) = found.filter(|_| !out.has_errors()) else { return (None, out) };
    let mut settings = settings.clone();
    let mut origin: BTreeMap<String, String> = BTreeMap::new();
    let mut out = Diagnostics::default();
    let mut batch: Option<(u64, String)> = None;
    let mut lifted = Vec::new();
    let root = found.root();
    let mut note = |dim: &str, size: u64, tensor: &str, settings: &mut Settings, out: &mut Diagnostics| match settings.dims.get(dim) {
        Some(&known) if known != size => {
            let other = origin.get(dim).map_or_else(|| "the settings".to_string(), |o| format!("tensor `{o}`"));
            let message = format!("tensor `{tensor}` gives `{dim}` the size {size}; {other} gives it {known}");
            out.push(Diagnostic::error(codes::shape::MISMATCH, message, root.span, "sizes differ").help("pass tensors of one size"));
        }
        Some(_) => {}
        None => {
            settings.dims.insert(dim.to_string(), size);
            origin.insert(dim.to_string(), tensor.to_string());
        }
    };
    let dim_of = |axis| root.dims.iter().find(|(_, a)| *a == axis).map(|(n, _)| n.clone());
    for port in &root.inputs {
        let Some(shape) = shapes.get(&port.name) else { continue };
        let extra = shape.len().checked_sub(port.dims.len());
        let own = match extra {
            Some(0) => &shape[..],
            Some(1) => {
                match &batch {
                    Some((n, other)) if *n != shape[0] => {
                        let message = format!("tensor `{}` has {} in front, `{other}` has {n}: both are the batch", port.name, shape[0]);
                        out.push(
                            Diagnostic::error(codes::shape::MISMATCH, message, port.span, "sizes differ").help("pass tensors of one batch"),
                        );
                    }
                    _ => batch = Some((shape[0], port.name.clone())),
                }
                lifted.push(port.name.clone());
                &shape[1..]
            }
            _ => {
                let dims: Vec<&str> = port.dims.iter().map(|a| found.name_of(*a)).collect();
                let message = format!(
                    "tensor `{}` has {} dims {shape:?}; `{name}` expects [{}], or one more in front",
                    port.name,
                    shape.len(),
                    dims.join(", ")
                );
                out.push(
                    Diagnostic::error(codes::shape::MISMATCH, message, port.span, "number of dims").help("pass a tensor with these dims"),
                );
                continue;
            }
        };
        for (&axis, &size) in port.dims.iter().zip(own) {
            if let Some(dim) = dim_of(axis) {
                note(&dim, size, &port.name, &mut settings, &mut out);
            }
        }
    }
    for instance in &found.instances {
        for param in &instance.params {
            let full = joined(&instance.path, &param.name);
            let Some(shape) = shapes.get(&full) else { continue };
            if shape.len() != instance.stacks.len() + param.dims.len() {
                continue;
            }
            for (&axis, &size) in instance.stacks.iter().chain(&param.dims).zip(shape) {
                if let Some(dim) = dim_of(axis) {
                    note(&dim, size, &full, &mut settings, &mut out);
                }
            }
        }
    }
    if out.has_errors() {
        return (None, out);
    }
    let (program, mut out) = open(spec, name, &settings, &given);
    let program = program.filter(|_| !out.has_errors()).map(|mut program| {
        if let Some((size, _)) = batch {
            let id = ogive_graph::AxisId(u32::try_from(program.axes.len()).unwrap_or(u32::MAX));
            program.axes.push(crate::hir::Axis { name: "batch".into(), size: Some(size), span: Span::default() });
            program.batch = Some(id);
            program.instances[0].inputs.iter_mut().for_each(|p| p.lifted = lifted.contains(&p.name));
        }
        program
    });
    if let Some(program) = &program {
        compare(program, shapes, &mut out);
        if out.list.is_empty()
            && let Some(dim) = program.open_dims().first()
        {
            let message = format!("no tensor says how large `{dim}` of `{name}` is");
            let error = Diagnostic::error(codes::name::DIM_UNBOUND, message, program.root().span, "has no size");
            out.push(error.help(format!("pass `--set {dim}=64`")));
        }
    }
    out.sort(&spec.sources);
    (program.filter(|_| !out.has_errors()), out)
}

/// Every given tensor against what the program expects.
fn compare(program: &Program, shapes: &BTreeMap<String, Vec<u64>>, out: &mut Diagnostics) {
    let mut check = |name: &str, dims: Vec<ogive_graph::AxisId>, span: Span| {
        let Some(shape) = shapes.get(name) else { return };
        let fits = shape.len() == dims.len() && dims.iter().zip(shape).all(|(a, n)| program.size_of(*a).is_none_or(|m| m == *n));
        if !fits {
            let message =
                format!("tensor `{name}` has dims {shape:?}; `{}` expects {}", program.name, crate::hir::text::sizes(program, &dims));
            out.push(Diagnostic::error(codes::shape::MISMATCH, message, span, "expected by this").help("pass a tensor with these dims"));
        }
    };
    for port in &program.root().inputs {
        let batch = program.batch.filter(|_| port.lifted);
        check(&port.name, batch.into_iter().chain(port.dims.iter().copied()).collect(), port.span);
    }
    for instance in &program.instances {
        for param in &instance.params {
            check(&joined(&instance.path, &param.name), instance.stacks.iter().chain(&param.dims).copied().collect(), param.span);
        }
    }
}

fn open(spec: &Spec, name: &str, settings: &Settings, tensors: &[String]) -> (Option<Program>, Diagnostics) {
    let items = Items::new(spec);
    let mut cx = Cx::new(&items, settings.training);
    let Some((file, block)) = items.block(spec.root, name) else {
        let message = format!("there is no block, cell or model `{name}`");
        let mut error =
            Diagnostic::error(codes::name::UNKNOWN_BLOCK, message, Span { file: spec.root, start: 0, end: 0 }, "not in this file");
        error.help = crate::suggest::help(name, "blocks", items.block_names(spec.root));
        cx.report(error);
        return (None, cx.out);
    };
    let keys = settings::Keys::of(spec, file, block);
    let Some(mut set) = keys.read(settings, &mut cx, &[]) else { return (None, cx.out) };
    set.tensors = tensors.to_vec();
    let root = root(&mut cx, file, block, &set);
    let program = root.map(|id| finish::program(&cx, name, id, None).0);
    (program, cx.out)
}

/// Values of dims and constants of a root.
#[derive(Default)]
pub(crate) struct Preset {
    pub dims: Vec<(String, u64)>,
    pub constants: Vec<(usize, Const)>,
    /// Inputs with a default that are given all the same.
    pub tensors: Vec<String>,
}

/// Elaborates a block that nothing calls, every tensor input given.
pub(crate) fn root<'a>(cx: &mut Cx<'a>, file: FileId, block: &'a Block, set: &Preset) -> Option<InstanceId> {
    let table = cx.table(file, block);
    let mut body = Body::new(Some(block), file, table);
    let instance = Instance {
        block: block.name.name.clone(),
        kind: block.kind,
        path: String::new(),
        parent: None,
        stacks: Vec::new(),
        applications: 1,
        dims: Vec::new(),
        constants: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        params: Vec::new(),
        children: Vec::new(),
        body: Vec::new(),
        taps: Vec::new(),
        states: Vec::new(),
        span: block.header,
    };
    let id = cx.draft(Draft { instance, label: block.name.name.clone(), named: true, key: Vec::new() })?;
    body.instance = id;
    cx.chain.push((file, block.name.name.clone(), Span::default()));
    let dims: Vec<(String, Given)> = set.dims.iter().map(|(n, s)| (n.clone(), Given::Size(Some(*s)))).collect();
    // optional inputs of a root are left to their defaults
    let given = |i: &usize| {
        let port = &block.inputs[*i];
        matches!(port.ty, PortType::Tensor(_)) && (port.default.is_none() || set.tensors.contains(&port.name.name))
    };
    let tensors: Vec<usize> = (0..block.inputs.len()).filter(given).collect();
    let fine = Eval { cx, body: &mut body }.block(&dims, &tensors, set.constants.clone(), block.header);
    cx.chain.pop();
    if fine {
        super::scan::step_of_root(cx, id, &set.tensors);
    }
    fine.then_some(id)
}
