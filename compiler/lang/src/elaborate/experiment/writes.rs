//! Whether what a model writes into its states can make them grow without bound.

use super::super::context::Cx;
use super::gradient::span;
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::{Experiment, Op, Program};
use crate::lower;
use crate::source::Span;
use crate::spec::Spec;
use ogive_graph::Origin;
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
        cx.report(warning(spec, &experiment.program, &found, at));
    }
}

fn scans(experiment: &Experiment) -> bool {
    experiment.program.instances.iter().flat_map(|i| &i.body).any(|n| matches!(n.op, Op::Scan { .. }))
}

/// Where a value is made; of one that a block of the library makes, the call of that block.
fn made(spec: &Spec, program: &Program, origin: &Origin) -> Option<Span> {
    let own = |span: &Span| !spec.is_std(span.file);
    let calls = || {
        let mut at = program.instances.iter().find(|i| *i.path == *origin.path);
        std::iter::from_fn(move || {
            let instance = at?;
            at = instance.parent.map(|p| program.instance(p));
            Some(instance.span)
        })
    };
    let place = span(spec, origin);
    place.filter(own).or_else(|| calls().find(own)).or(place)
}

fn warning(spec: &Spec, program: &Program, found: &Unbounded, at: Span) -> Diagnostic {
    let axes = found.axes.iter().map(|(name, size)| format!("`{name}` = {size}")).collect::<Vec<_>>().join(", ");
    let message = match found.most {
        None => format!("nothing bounds the length of a key over {axes}: the state diverges once rate * |key|^2 exceeds 2"),
        Some(most) => format!("rate * |key|^2 is up to {} for a key over {axes}: the state diverges once it exceeds 2", number(most)),
    };
    let write = span(spec, &found.write).unwrap_or(at);
    let warning = Diagnostic::warning(codes::cell::UNBOUNDED_KEY, message, write, "corrects the state along the key");
    let warning = match made(spec, program, &found.key) {
        Some(key) if key != write => warning.label(key, "the key is made here"),
        _ => warning,
    };
    let dim = found.axes.first().map_or("key", |a| a.0.as_str());
    warning.help(match found.most {
        None => format!("bound it: `unit_norm(k, over: {dim})`, or `softmax(k, over: {dim})`"),
        Some(_) => {
            format!(
                "give the key the length 1: `unit_norm(k, over: {dim})` in the place of another normalisation; or let the rate be smaller"
            )
        }
    })
}

/// With three digits.
fn number(x: f64) -> String {
    let text = if x < 100.0 { format!("{x:.2}") } else { format!("{x:.0}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
