//! Whether what a model writes into its states can make them grow without bound.

use super::super::context::Cx;
use super::gradient::span;
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{Experiment, Op};
use crate::lower;
use crate::source::Span;
use crate::spec::Spec;
use ogive_graph::pipeline::{self, FORWARD};
use ogive_graph::transition::writes::{Unbounded, unbounded};

/// Warns of every correction along a key that nothing bounds.
pub(crate) fn bounded(spec: &Spec, experiment: &Experiment, at: Span, cx: &mut Cx<'_>) {
    if !scans(experiment) || !experiment.program.open_dims().is_empty() {
        return;
    }
    let lowered = lower::experiment(experiment, &lower::Options::default());
    let Ok((graph, _)) = pipeline::run(&lowered.graph, FORWARD, false) else { return };
    for found in unbounded(&graph) {
        cx.report(warning(spec, &found, at));
    }
}

fn scans(experiment: &Experiment) -> bool {
    experiment.program.instances.iter().flat_map(|i| &i.body).any(|n| matches!(n.op, Op::Scan { .. }))
}

fn warning(spec: &Spec, found: &Unbounded, at: Span) -> Diagnostic {
    let axes = found.axes.iter().map(|(name, size)| format!("`{name}` = {size}")).collect::<Vec<_>>().join(", ");
    let message = format!("nothing bounds the length of a key over {axes}: the state diverges once rate * |key|^2 exceeds 2");
    let write = span(spec, &found.write).unwrap_or(at);
    let warning = Diagnostic::warning(codes::cell::UNBOUNDED_KEY, message, write, "corrects the state along the key");
    let warning = match span(spec, &found.key) {
        Some(key) if key != write => warning.label(key, "the key is made here"),
        _ => warning,
    };
    let dim = found.axes.first().map_or("key", |a| a.0.as_str());
    warning.help(format!("bound it: `unit_norm(k, over: {dim})`, or `softmax(k, over: {dim})`"))
}
