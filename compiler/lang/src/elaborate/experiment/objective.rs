//! Loss and metrics, as an instance over the values of the model.

use super::super::body::{Body, Eval};
use super::super::context::{Cx, Draft};
use super::super::objective::Sources;
use super::super::table::Table;
use super::super::value::Val;
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::experiment::{Objective, Source};
use crate::hir::{Instance, InstanceId, Output, Program};
use crate::source::{FileId, Span};
use crate::syntax::{BlockKind, Experiment, Expr, Setting};
use ogive_graph::{AxisId, DType};
use std::rc::Rc;

/// Elaborates loss and metrics, with the labels of the data among the names where it has such; `None` where the loss has an error.
pub(crate) fn elaborate<'a>(
    cx: &mut Cx<'a>,
    file: FileId,
    experiment: &'a Experiment,
    root: InstanceId,
    batch: AxisId,
    metrics: &[(String, &'a Setting)],
    labels: bool,
) -> Option<(InstanceId, Vec<Source>)> {
    let loss = experiment.settings.iter().find(|s| s.key.name == "loss").and_then(|s| s.args.first()).map(|a| &a.value);
    let mut sources = Sources::of(cx, root, batch);
    if labels {
        sources.add_labels(cx, root, batch);
    }
    let mut body = Body::new(None, file, Rc::new(Table::default()));
    for axis in sources.dims().into_iter().chain([batch]) {
        let name = cx.axes[axis.index()].name.clone();
        if !body.dims.contains_key(&name) {
            body.bind(&name, axis);
        }
    }
    body.objective = Some(sources);
    let span = loss.map_or(experiment.name.span, |e| e.span);
    let instance = Instance {
        block: "objective".into(),
        kind: BlockKind::Block,
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
        span,
    };
    let id = cx.draft(Draft { instance, label: "objective".into(), named: true, key: Vec::new() })?;
    body.instance = id;
    let mut eval = Eval { cx, body: &mut body };
    let mut outputs = Vec::new();
    let mut fine = loss.is_some();
    let named = loss.map(|e| ("loss".to_string(), e)).into_iter();
    let measured = metrics.iter().filter_map(|(name, s)| Some((name.clone(), &s.args.first()?.value)));
    for (name, expr) in named.chain(measured) {
        match eval.scalar(&name, expr) {
            Some(output) => outputs.push(output),
            None => fine = false,
        }
    }
    let nodes = std::mem::take(&mut body.nodes);
    let sources = body.objective.take()?;
    let instance = &mut cx.drafts[id.index()].instance;
    instance.inputs.clone_from(&sources.ports);
    instance.outputs = outputs;
    instance.body = nodes;
    fine.then(|| (id, sources.sources()))
}

impl<'a> Eval<'_, 'a> {
    /// A number that is averaged over the dims it has left.
    fn scalar(&mut self, name: &str, expr: &'a Expr) -> Option<Output> {
        let value = self.eval(expr);
        if let Val::Tuple(parts) = &value {
            let message = format!("`{name}` is one value; these are {}", parts.len());
            self.cx.report(Diagnostic::error(codes::call::TENSOR_NEEDED, message, expr.span, "several values").help("name one of them"));
            return None;
        }
        let node = self.tensor(&value, DType::F32, expr.span)?;
        if !self.needs_float(name, node, expr.span) {
            return None;
        }
        let dims = self.body.ty(node).shape.axes().to_vec();
        Some(Output { name: name.to_string(), dims, domain: None, node, depends: Vec::new(), span: expr.span })
    }
}

/// A model without parameters cannot be trained; losses have none of their own.
pub(crate) fn without_parameters(cx: &mut Cx<'_>, program: &Program, objective: &Objective, at: Span) {
    let (model, loss) = program.instances.split_at(objective.instance.index());
    if let Some(instance) = loss.iter().find(|i| !i.params.is_empty()) {
        let message = format!("`{}` has parameters; what a loss computes with is learned in the model", instance.block);
        let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, instance.span, "has parameters");
        cx.report(error.help("call it in the model and give the result a `tap` or an output"));
    }
    if model.iter().all(|i| i.params.is_empty()) {
        let message = format!("`{}` has no parameters, so nothing can be learned", program.name);
        cx.report(Diagnostic::error(codes::grad::NO_PATH, message, at, "depends on no parameter").help("add one: `param weight: [model]`"));
    } else if !program.instance(objective.instance).body.iter().any(|n| matches!(n.op, crate::hir::Op::Input(i) if learned(objective, i))) {
        let message = "the loss reads nothing that the model computes".to_string();
        let output = program.root().outputs.first().map_or("y", |o| o.name.as_str());
        cx.report(
            Diagnostic::error(codes::grad::NO_PATH, message, at, "depends on no parameter")
                .help(format!("use an output of the model: `{output}`")),
        );
    }
}

fn learned(objective: &Objective, input: u32) -> bool {
    matches!(objective.sources.get(input as usize), Some(Source::Output(_) | Source::Tap { .. }))
}
