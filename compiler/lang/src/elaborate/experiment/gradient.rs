//! How gradients go through time, and whether the model admits it.

use super::super::context::Cx;
use super::keys::Kind;
use super::reader::{Reader, called};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::Experiment;
use crate::hir::experiment::Gradient;
use crate::lower;
use crate::source::{FileId, Span};
use crate::spec::Spec;
use crate::syntax::Expr;
use ogive_graph::autodiff::GradError;
use ogive_graph::autodiff::reverse::gradients_by;
use ogive_graph::autodiff::rtrl::{Mixing, Rtrl, Stacked};
use ogive_graph::{LoopKind, Op, Origin, Region, Value};

const RULES: [&str; 2] = ["bptt", "rtrl"];
const APPROXIMATE: [&str; 2] = ["full", "local"];

impl<'a> Reader<'_, 'a> {
    /// `bptt`, `bptt(truncate: 16)`, `rtrl`, `rtrl(full)`, `rtrl(local)`.
    pub(crate) fn gradient(&mut self, expr: &'a Expr) -> Option<Gradient> {
        let Some((name, args)) = called(expr) else {
            self.misfit("gradient", "a rule", "rtrl", expr.span);
            return None;
        };
        let gradient = match name.name.as_str() {
            "bptt" => {
                let options = self.options("bptt", args, &[], &["truncate"]);
                let given = options.get("truncate").copied();
                let truncate = self.count("gradient.truncate", given);
                if given.is_some() && truncate.is_none() {
                    return None;
                }
                Gradient::Bptt { truncate }
            }
            "rtrl" => {
                let mut rule = Rtrl::default();
                for arg in args {
                    let word = called(&arg.value).filter(|_| arg.label.is_none()).map(|(word, _)| word.name.as_str());
                    match word {
                        Some("full") => rule.full = true,
                        Some("local") => rule.local = true,
                        other => {
                            let text = other.map_or_else(|| self.eval().source(arg.value.span), str::to_owned);
                            let message = format!("`rtrl` has no option `{text}`");
                            let mut error = Diagnostic::error(codes::experiment::UNKNOWN_OPTION, message, arg.value.span, "not known");
                            error.help = crate::suggest::help(&text, "options", APPROXIMATE.iter().copied());
                            self.report(error);
                            return None;
                        }
                    }
                }
                Gradient::Rtrl(rule)
            }
            other => {
                let message = format!("there is no rule `{other}` for gradients through time");
                let mut error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, name.span, "not known");
                error.help = crate::suggest::help(other, "rules", RULES.iter().copied());
                self.report(error);
                return None;
            }
        };
        self.read.push(("gradient".to_string(), gradient.to_string()));
        Some(gradient)
    }

    /// A segment is no longer than the sequence.
    pub(crate) fn segment_fits(&mut self, gradient: Gradient, context: u64, at: Span) {
        if let Gradient::Bptt { truncate: Some(steps) } = gradient
            && steps > context
        {
            let message = format!("gradients are cut every {steps} steps, but a sequence has {context}");
            let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, at, format!("more than {context}"));
            self.report(error.help("write `gradient bptt`, or a smaller number: gradients then go through the whole sequence"));
        }
    }
}

/// Key of what `--set` can change of the rule.
pub(crate) const TRUNCATE: (&str, Kind) = ("gradient.truncate", Kind::Count);

/// Reports what keeps the model from being learned by its rule.
pub(crate) fn admissible(spec: &Spec, experiment: &Experiment, at: Span, cx: &mut Cx<'_>) {
    let Gradient::Rtrl(rule) = experiment.gradient else { return };
    let lowered = lower::experiment(experiment, &lower::Options::default());
    let Ok(graph) = experiment.gradient.prepare(&lowered.graph, false) else { return };
    if !has_state(&graph.region) {
        let message = format!("`{}` has no state that is carried from step to step; `rtrl` has nothing to carry with it", experiment.model);
        let error = Diagnostic::error(codes::grad::NO_STATE, message, at, "needs a state");
        cx.report(error.help("leave it out, or write `gradient bptt`; `rtrl` is for cells under `scan`"));
        return;
    }
    let Some(loss) = graph.outputs.iter().find(|o| o.port.name == "loss").map(|o| o.value) else { return };
    let nodes = graph.region.nodes.iter().zip(0..);
    let params: Vec<Value> = nodes.filter(|(n, _)| matches!(n.op, Op::Param(_))).map(|(_, i)| Value(i)).collect();
    let place = |origin: &Origin| span(spec, origin).unwrap_or(at);
    match gradients_by(&graph, loss, &params, experiment.gradient.learning()) {
        Err(GradError::Mixes(mixing)) => cx.report(mixes(&mixing, at, &place)),
        Err(GradError::Stacked(stacked)) => cx.report(feeds(&stacked, rule, at, &place)),
        Err(GradError::Blocked { what, origin }) => {
            let message = format!("`rtrl` does not pass {what}");
            let error =
                Diagnostic::error(codes::grad::WITHIN_STEP, message, place(&origin), "stands in the way").label(at, "asked for here");
            cx.report(error.help("write `gradient bptt`, or take it out of the cell"));
        }
        Err(GradError::NotScalar { .. } | GradError::Seed { .. }) | Ok(_) => {}
    }
}

fn has_state(region: &Region) -> bool {
    region.nodes.iter().any(|n| match &n.op {
        Op::Loop(l) => (l.kind == LoopKind::Scan && l.carries > 0) || has_state(&l.body),
        _ => false,
    })
}

fn span(spec: &Spec, origin: &Origin) -> Option<Span> {
    let file = spec.sources.files.iter().position(|s| s.name == origin.file && origin.line > 0)?;
    Some(Span { file: FileId(u32::try_from(file).ok()?), start: origin.span.0, end: origin.span.1 })
}

fn mixes(mixing: &Mixing, at: Span, place: &dyn Fn(&Origin) -> Span) -> Diagnostic {
    let names = mixing.axes.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let state = mixing.state.iter().map(|(name, size)| format!("{name} = {size}")).collect::<Vec<_>>().join(", ");
    let message = format!("units of the state [{state}] read each other along {names}: `rtrl` is exact and cheap for units that do not");
    let error = Diagnostic::error(codes::grad::UNITS_MIX, message, place(&mixing.mixer), format!("mixes {names}"));
    let cost =
        format!("`rtrl(full)` carries {} numbers and takes {} multiplications a step", grouped(mixing.numbers), grouped(mixing.operations));
    error
        .label(at, "asked for here")
        .help(format!("{cost}; or write `gradient bptt`, or a cell that reads `prev` unit by unit, such as `elstm`"))
}

fn feeds(stacked: &Stacked, rule: Rtrl, at: Span, place: &dyn Fn(&Origin) -> Span) -> Diagnostic {
    let message =
        "a scan feeds another: sensitivities of the upper state in what the lower one learns would be a state of their own".to_string();
    let error = Diagnostic::error(codes::grad::SCANS_STACKED, message, place(&stacked.upper), "is fed by a scan");
    let error = match &stacked.lower {
        Some(lower) if place(lower) != place(&stacked.upper) => error.label(place(lower), "feeds it"),
        _ => error,
    };
    let word = if rule.full { "rtrl(full, local)" } else { "rtrl(local)" };
    error
        .label(at, "asked for here")
        .help(format!("write `gradient {word}`: each layer is exact, and learns from what the layers above do in the same step"))
}

/// Digits in groups of three.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}
