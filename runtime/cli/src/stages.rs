//! A spec at each stage of compilation, as text.

use ogive_graph::autodiff::reverse;
use ogive_graph::autodiff::rtrl::{Learning, Sensitivity};
use ogive_graph::parallel::Way;
use ogive_graph::pipeline::Scans;
use ogive_graph::{Graph, Op, Output, Port, Value, pipeline, transition};
use ogive_lang::hir::experiment::Gradient;
use ogive_lang::hir::{Experiment, Program};
use ogive_lang::lower::{self, Lowered};
use ogive_lang::render::{self, Style};
use ogive_lang::{Diagnostics, Loader, Settings, Severity, Spec, elaborate};
use std::fmt::Write;
use std::path::Path;

/// Stages, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// The syntax tree, as formatted source.
    Parse,
    /// Items and where their names come from.
    Resolve,
    /// Instances with shapes and parameter counts.
    Elaborate,
    /// The graph.
    Lower,
    /// How the states of every scan move, and how it is computed.
    Transitions,
    /// The graph with gradients and optimiser (experiments) or gradients of every parameter.
    Differentiate,
    /// The graph in fused groups.
    Fuse,
    /// Kernels and the memory plan.
    Schedule,
    /// Machine code, as cranelift's intermediate form.
    Codegen,
}

impl Stage {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Parse => "parse",
            Stage::Resolve => "resolve",
            Stage::Elaborate => "elaborate",
            Stage::Lower => "lower",
            Stage::Transitions => "transitions",
            Stage::Differentiate => "differentiate",
            Stage::Fuse => "fuse",
            Stage::Schedule => "schedule",
            Stage::Codegen => "codegen",
        }
    }
}

/// What a stage is shown of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// An experiment: its model with the objective.
    Experiment(String),
    /// A block, cell or model.
    Block(String),
}

impl Subject {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Subject::Experiment(name) | Subject::Block(name) => name,
        }
    }
}

/// Why there is no text.
#[derive(Debug)]
pub enum StageError {
    /// Diagnostics of the spec.
    Spec(Diagnostics),
    /// A dim without a size, or what a back end cannot do.
    Other(String),
}

/// An elaborated subject.
#[derive(Clone, Debug)]
pub enum Elaborated {
    /// An experiment.
    Experiment(Box<Experiment>),
    /// A block, cell or model.
    Program(Box<Program>),
}

impl Elaborated {
    /// The instance tree.
    pub fn program(&self) -> &Program {
        match self {
            Elaborated::Experiment(e) => &e.program,
            Elaborated::Program(p) => p,
        }
    }

    /// Lowers to f32. Every dim must have a size.
    ///
    /// # Errors
    /// Names the dims without one.
    pub fn lower(&self) -> Result<Lowered, StageError> {
        let open = self.program().open_dims();
        if let Some(first) = open.first() {
            let dims = open.iter().map(|d| format!("`{d}`")).collect::<Vec<_>>().join(", ");
            let name = &self.program().name;
            return Err(StageError::Other(format!("{dims} of `{name}` has no size; give one: --set {first}=64")));
        }
        Ok(match self {
            Elaborated::Experiment(e) => lower::experiment(e, &lower::Options::default()),
            Elaborated::Program(p) => lower::program(p, &lower::Options::default()),
        })
    }
}

/// Elaborates a subject; warnings are dropped.
///
/// # Errors
/// Its diagnostics.
pub fn elaborated(spec: &Spec, subject: &Subject, settings: &Settings) -> Result<Elaborated, StageError> {
    fn sound<T>((value, mut found): (Option<T>, Diagnostics)) -> Result<T, StageError> {
        match value {
            Some(value) if !found.has_errors() => Ok(value),
            _ => {
                found.list.retain(|d| d.severity == Severity::Error);
                Err(StageError::Spec(found))
            }
        }
    }
    Ok(match subject {
        Subject::Experiment(name) => Elaborated::Experiment(Box::new(sound(elaborate::experiment(spec, name, settings))?)),
        Subject::Block(name) => Elaborated::Program(Box::new(sound(elaborate::block(spec, name, settings))?)),
    })
}

/// The graph that a back end gets: optimised, with gradients and optimiser where `training`.
///
/// # Errors
/// What has no size or no derivative.
pub fn given_graph(elaborated: &Elaborated, training: bool, scans: Scans) -> Result<Graph, StageError> {
    let lowered = elaborated.lower()?;
    if training { differentiated(elaborated, &lowered, scans) } else { prepared(&lowered.graph, scans) }
}

/// [`given_graph`] after the back end's own passes, which it does not run twice: what there is to fuse.
///
/// # Errors
/// As [`given_graph`].
pub fn final_graph(elaborated: &Elaborated, training: bool, scans: Scans) -> Result<Graph, StageError> {
    passes(&given_graph(elaborated, training, scans)?, &pipeline::backend(scans.way == Way::Step))
}

/// How the back end plans a graph that scans were asked for in.
pub fn options(scans: Scans) -> ogive_runtime::Options {
    ogive_runtime::Options { step_by_step: scans.way == Way::Step, ..Default::default() }
}

/// The forward pass and the gradient of every parameter, without an optimiser: of the loss of an experiment, else of the sum of all
/// outputs weighted by inputs called [`cotangent`].
///
/// # Errors
/// What has no size or no derivative.
pub fn gradient_graph(elaborated: &Elaborated, scans: Scans) -> Result<Graph, StageError> {
    let forward = prepared(&elaborated.lower()?.graph, scans)?;
    let wanted: &[String] = match elaborated {
        Elaborated::Experiment(_) => &["loss".to_owned()],
        Elaborated::Program(_) => &[],
    };
    let graph = with_gradients(&forward, wanted, &mut |_, op| matches!(op, Op::Param(_))).map_err(|e| StageError::Other(e.to_string()))?;
    passes(&graph, &pipeline::backend(scans.way == Way::Step))
}

fn passes(graph: &Graph, list: &[pipeline::Pass]) -> Result<Graph, StageError> {
    pipeline::run(graph, list, false).map(|(graph, _)| graph).map_err(|f| StageError::Other(f.to_string()))
}

fn prepared(graph: &Graph, scans: Scans) -> Result<Graph, StageError> {
    pipeline::prepare(graph, scans, false).map_err(|f| StageError::Other(f.to_string()))
}

fn differentiated(elaborated: &Elaborated, lowered: &Lowered, scans: Scans) -> Result<Graph, StageError> {
    let other = |e: &dyn std::fmt::Display| StageError::Other(e.to_string());
    match elaborated {
        Elaborated::Experiment(e) => {
            let forward = e.gradient.prepare(&lowered.graph, scans, false).map_err(|f| StageError::Other(f.to_string()))?;
            ogive_train::optimizer::step_by(&forward, &lowered.params, &e.optimizer, e.gradient.learning())
                .map(|s| s.compute)
                .map_err(|e| other(&e))
        }
        Elaborated::Program(_) => {
            let forward = prepared(&lowered.graph, scans)?;
            with_gradients(&forward, &[], &mut |_, op| matches!(op, Op::Param(_))).map_err(|e| other(&e))
        }
    }
}

/// The name of the input for the cotangent of an output.
pub fn cotangent(output: &str) -> String {
    format!("cotangent.{output}")
}

/// A graph with an input [`cotangent`] for each of the named float outputs (all of them where none is named) and an output `grad.NAME`
/// for each floating input and parameter that is wanted: the gradient of sum(output * cotangent).
///
/// # Errors
/// Operations without a derivative.
pub fn with_gradients(
    forward: &Graph,
    outputs: &[String],
    wanted: &mut dyn FnMut(&Port, &Op) -> bool,
) -> Result<Graph, ogive_graph::autodiff::GradError> {
    with_gradients_by(forward, outputs, wanted, Learning::Bptt)
}

/// [`with_gradients`] by the given rule for scans. Where the rule exposes them, also outputs `sensitivity.PARAMETER` for what each scan's
/// state has of a parameter after the last step, and `sensitivity.PARAMETER.steps` after each.
///
/// # Errors
/// Operations without a derivative; scans that the rule does not admit.
pub fn with_gradients_by(
    forward: &Graph,
    outputs: &[String],
    wanted: &mut dyn FnMut(&Port, &Op) -> bool,
    learning: Learning,
) -> Result<Graph, ogive_graph::autodiff::GradError> {
    let mut graph = forward.clone();
    let mut seeds = Vec::new();
    for output in &forward.outputs {
        let ty = graph.region.ty(output.value).clone();
        if !ty.dtype.is_float() || !(outputs.is_empty() || outputs.contains(&output.port.name)) {
            continue;
        }
        let port = Port { name: cotangent(&output.port.name), order: output.port.order.clone() };
        let origin = graph.region.node(output.value).origin.clone();
        let seed = graph.region.push(ogive_graph::Node { op: Op::Input(port), inputs: smallvec::SmallVec::new(), ty, origin });
        seeds.push((output.value, seed));
    }
    let mut wrt: Vec<(Port, Value)> = Vec::new();
    for (i, node) in forward.region.nodes.iter().enumerate() {
        if let Op::Input(port) | Op::Param(port) = &node.op
            && node.ty.dtype.is_float()
            && wanted(port, &node.op)
        {
            wrt.push((port.clone(), Value(i as u32)));
        }
    }
    let values: Vec<Value> = wrt.iter().map(|w| w.1).collect();
    let found = reverse::vjp_by(&graph, &seeds, &values, learning)?;
    let mut graph = found.graph;
    for sensitivity in &found.sensitivities {
        expose(&mut graph, sensitivity);
    }
    for ((port, _), cotangent) in wrt.into_iter().zip(found.cotangents) {
        if let Some(value) = cotangent {
            graph.outputs.push(Output { port: Port { name: format!("grad.{}", port.name), order: port.order }, value, update: false });
        }
    }
    Ok(graph)
}

/// Adds a sensitivity to the outputs: the batch first, then the state's other axes, then the parameter's own.
fn expose(graph: &mut Graph, sensitivity: &Sensitivity) {
    let (Op::Param(port), Op::Loop(scan)) = (&graph.region.node(sensitivity.source).op, &graph.region.node(sensitivity.scan).op) else {
        return;
    };
    let state = &graph.region.ty(graph.region.node(sensitivity.scan).inputs[sensitivity.carry]).shape;
    let own = graph.region.ty(sensitivity.last).shape.minus(state);
    let (batch, units): (Vec<_>, Vec<_>) = state.iter().partition(|&a| graph.name(a) == "batch");
    let order: Vec<_> = batch.into_iter().chain(units).chain(own.iter()).collect();
    let state = if scan.carries > 1 { format!(".{}", sensitivity.carry) } else { String::new() };
    let name = format!("sensitivity.{}{state}", port.name);
    let steps = std::iter::once(scan.axis).chain(order.iter().copied()).collect();
    let each = Output { port: Port { name: format!("{name}.steps"), order: steps }, value: sensitivity.steps, update: false };
    graph.outputs.push(Output { port: Port { name, order }, value: sensitivity.last, update: false });
    graph.outputs.push(each);
}

/// A stage of a subject as text.
///
/// # Errors
/// Diagnostics of the spec, dims without a size, what a back end cannot do.
pub fn text(spec: &Spec, subject: &Subject, settings: &Settings, stage: Stage, training: bool, scans: Scans) -> Result<String, StageError> {
    match stage {
        Stage::Parse => return ogive_lang::fmt::format(&spec.sources.get(spec.root).text).map_err(StageError::Spec),
        Stage::Resolve => return Ok(resolved(spec)),
        _ => {}
    }
    let elaborated = elaborated(spec, subject, settings)?;
    let other = |e: &dyn std::fmt::Display| StageError::Other(e.to_string());
    Ok(match stage {
        Stage::Parse | Stage::Resolve => String::new(),
        Stage::Elaborate => ogive_lang::hir::text::print(elaborated.program()),
        Stage::Lower => ogive_graph::text::print_plain(&elaborated.lower()?.graph),
        Stage::Transitions => transitions(&elaborated, scans)?.join("\n"),
        Stage::Differentiate => ogive_graph::text::print_plain(&differentiated(&elaborated, &elaborated.lower()?, scans)?),
        Stage::Fuse => groups(&final_graph(&elaborated, training, scans)?),
        Stage::Schedule => {
            let graph = given_graph(&elaborated, training, scans)?;
            ogive_graph::plan::print(&ogive_jit::plan(&graph, &options(scans)).map_err(|e| other(&e))?)
        }
        Stage::Codegen => ogive_jit::code(&given_graph(&elaborated, training, scans)?, &options(scans)).map_err(|e| other(&e))?,
    })
}

/// For every scan with states: where it stands and how it is computed, then a line for each state that says how it moves.
///
/// # Errors
/// What has no size.
pub fn transitions(elaborated: &Elaborated, scans: Scans) -> Result<Vec<String>, StageError> {
    let gradient = if let Elaborated::Experiment(e) = elaborated { e.gradient } else { Gradient::default() };
    let graph = prepared(&elaborated.lower()?.graph, Scans::PLAIN)?;
    let labels = ogive_graph::text::labels(&graph.axes);
    let mut lines = Vec::new();
    for (path, value, states) in transition::scans(&graph) {
        let region = path.iter().fold(&graph.region, |region, v| if let Op::Loop(l) = &region.node(*v).op { &l.body } else { region });
        let node = region.node(value);
        let Op::Loop(l) = &node.op else { continue };
        let way = if gradient == Gradient::default() { scans.way } else { Way::Step };
        let chosen = ogive_graph::parallel::chosen(&graph, l, way);
        let (at, line) = (&node.origin.path, node.origin.line);
        let place = if at.is_empty() { String::new() } else { format!(" in {at}") };
        let (axis, steps) = (&labels[l.axis.index()], graph.size(l.axis));
        lines.push(format!("scan along {axis} ({steps} steps){place}, line {line}: {chosen}"));
        lines.extend(states.iter().map(|s| format!("  {}", transition::line(&labels, s))));
    }
    Ok(lines)
}

/// Every item that the root file sees, with its file and line.
fn resolved(spec: &Spec) -> String {
    let mut lines = Vec::new();
    for (name, id) in spec.visible(spec.root) {
        let Some(at) = spec.item(id).name() else { continue };
        let kind = match spec.item(id) {
            ogive_lang::syntax::Item::Block(b) => match b.kind {
                ogive_lang::syntax::BlockKind::Block => "block",
                ogive_lang::syntax::BlockKind::Cell => "cell",
                ogive_lang::syntax::BlockKind::Model => "model",
            },
            ogive_lang::syntax::Item::Experiment(_) => "experiment",
            ogive_lang::syntax::Item::Const { .. } => "const",
            ogive_lang::syntax::Item::Sweep(_) | ogive_lang::syntax::Item::Import(_) => continue,
        };
        let order = (spec.is_std(id.file), id.file, id.index);
        lines.push((order, format!("{kind:<10} {name:<28} {}:{}", spec.sources.get(id.file).name, spec.sources.line(at.span))));
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line + "\n").collect()
}

/// The fused groups of a graph, in order, with what each computes.
fn groups(graph: &Graph) -> String {
    let mut out = String::new();
    let mut last: Option<(Vec<Value>, u32)> = None;
    let labels = ogive_graph::text::labels(&graph.axes);
    for a in ogive_graph::fuse::assignment(graph) {
        let region = region_at(graph, &a.path);
        let pad = "  ".repeat(a.path.len());
        if last != Some((a.path.clone(), a.group)) {
            let _ = writeln!(out, "{pad}group {} {:?}: {}", a.group, a.kind, a.title);
            last = Some((a.path.clone(), a.group));
        }
        let _ = writeln!(out, "{pad}  {}", ogive_graph::text::node_line(&labels, a.value, region.node(a.value)));
    }
    out
}

/// The region that loop nodes lead to.
pub fn region_at<'g>(graph: &'g Graph, path: &[Value]) -> &'g ogive_graph::Region {
    path.iter().fold(&graph.region, |region, v| match &region.node(*v).op {
        Op::Loop(l) => &l.body,
        _ => region,
    })
}

/// The default subject of a spec: its only experiment, else its last model, else its last block.
pub fn subject(spec: &Spec) -> Option<Subject> {
    use ogive_lang::syntax::{BlockKind, Item};
    let items = &spec.file(spec.root).items;
    let named = |keep: &dyn Fn(&Item) -> bool| -> Vec<String> {
        items.iter().filter(|i| keep(i)).filter_map(|i| i.name().map(|n| n.name.clone())).collect()
    };
    let experiments = named(&|i| matches!(i, Item::Experiment(_)));
    if let [only] = &experiments[..] {
        return Some(Subject::Experiment(only.clone()));
    }
    let model = named(&|i| matches!(i, Item::Block(b) if b.kind == BlockKind::Model)).pop();
    let block = model.or_else(|| named(&|i| matches!(i, Item::Block(_))).pop());
    block.map(Subject::Block).or_else(|| experiments.last().cloned().map(Subject::Experiment))
}

struct Beside;

impl Loader for Beside {
    fn load(&self, from: &str, path: &str) -> Result<(String, String), String> {
        let file = Path::new(from).parent().unwrap_or(Path::new("")).join(path);
        std::fs::read_to_string(&file).map(|text| (file.display().to_string(), text)).map_err(|e| e.to_string())
    }

    fn near(&self, from: &str, path: &str) -> Vec<String> {
        ogive_lang::spec::specs_beside(Path::new(from).parent().unwrap_or(Path::new("")), path)
    }
}

/// A stage of a file's default subject.
///
/// # Errors
/// Whatever is wrong with it, drawn as text.
pub fn of_file(path: &Path, stage: Stage) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let (spec, found) = Spec::load_bytes(&path.display().to_string(), bytes, &Beside);
    if found.has_errors() {
        return Err(render::diagnostics(&found, &spec.sources, Style::default()));
    }
    let subject = subject(&spec).ok_or("it declares no block, model or experiment")?;
    text(&spec, &subject, &Settings::default(), stage, false, Scans::default()).map_err(|e| match e {
        StageError::Spec(found) => render::diagnostics(&found, &spec.sources, Style::default()),
        StageError::Other(why) => why,
    })
}
