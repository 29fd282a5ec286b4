//! How gradients go through time, and whether the model admits it.

use super::super::context::Cx;
use super::keys::Kind;
use super::reader::{Reader, called};
use crate::codes;
use crate::diag::Diagnostic;
use crate::hir::Experiment;
use crate::hir::experiment::{Corpus, Data, Gradient};
use crate::lower;
use crate::source::{FileId, Span};
use crate::spec::Spec;
use crate::syntax::{Expr, Setting};
use ogive_graph::autodiff::GradError;
use ogive_graph::autodiff::reverse::gradients_by;
use ogive_graph::autodiff::rtrl::{Mixing, Rtrl, Stacked};
use ogive_graph::pipeline::Scans;
use ogive_graph::stream::{Obstacle, STATES};
use ogive_graph::{AxisId, Graph, LoopKind, Node, Op, Origin, Region, Value};

const RULES: [&str; 2] = ["bptt", "rtrl"];
const APPROXIMATE: [&str; 3] = ["full", "local", "snap"];

impl<'a> Reader<'_, 'a> {
    /// `bptt`, `bptt(truncate: 16)`, `rtrl`, `rtrl(full)`, `rtrl(local)`.
    pub(crate) fn gradient(&mut self, expr: &'a Expr) -> Option<Gradient> {
        let Some((name, args)) = called(expr) else {
            self.misfit("gradient", "a rule", "rtrl", expr.span);
            return None;
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the key holds a place in the list")]
        if let Some(rule) = self.set.get(RULE.0).and_then(|at| Gradient::NAMED.get(*at as usize)) {
            let truncate = self.count("gradient.truncate", None);
            let gradient = if let Gradient::Bptt { .. } = rule { Gradient::Bptt { truncate } } else { *rule };
            self.read.push(("gradient".to_string(), gradient.to_string()));
            return Some(gradient);
        }
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
                    if arg.label.as_ref().is_some_and(|l| l.name == "snap") {
                        if self.plain("snap", Kind::Count, &arg.value)? > 1.0 {
                            self.misfit("snap", "the number of steps whose influence is kept, and that is 1", "1", arg.value.span);
                            return None;
                        }
                        rule.snap = true;
                        continue;
                    }
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
                if rule.full && rule.snap {
                    let message = "`full` carries all that units have of each other, `snap: 1` a part of it".to_string();
                    let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, expr.span, "one of the two");
                    self.report(error.help("write `rtrl(full)` or `rtrl(snap: 1)`"));
                    return None;
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

    /// `update every: 4`: positions between two updates of what reads streams; `None` where the data are no streams.
    pub(crate) fn segment(&mut self, setting: Option<&'a Setting>, data: Option<&Data>, name: Span) -> Option<u64> {
        let options = setting.map(|s| self.options("update", &s.args, &[], &["every"])).unwrap_or_default();
        let given = options.get("every").copied();
        let every = self.count(EVERY.0, given);
        let at = setting.map_or(name, |s| s.span);
        if let Some(setting) = setting.filter(|s| s.args.is_empty() && every.is_none()) {
            let message = "`update` needs the number of positions between two updates".to_string();
            let error = Diagnostic::error(codes::experiment::MISSING_SETTING, message, setting.span, "`every:` is missing");
            self.report(error.help("write `update every: 16`"));
        }
        let data = data?;
        let stream = data.stream || matches!(data.corpus, Corpus::Generated(_));
        if let Some(every) = every.filter(|_| !stream) {
            let message = format!(
                "an update after {every} positions needs streams; the examples of this batch are contexts from random places, each read from its start"
            );
            let error = Diagnostic::error(codes::data::NOT_A_STREAM, message, at, "updates on the way").label(data.span, "no streams");
            self.report(error.help(
                "write `text(..., order: stream)`: each example then goes on where the one before it ended, and so do the states; or leave \
                 `update` out, for an update at the end of the sequence",
            ));
            return None;
        }
        every.or(data.stream.then_some(data.context))
    }

    /// A truncation is no longer than what is gone back through.
    pub(crate) fn segment_fits(&mut self, gradient: Gradient, segment: Option<u64>, context: u64, at: Span) {
        let (steps, what, help) = match (gradient, segment) {
            (Gradient::Bptt { truncate: Some(steps) }, None) => (steps, "a sequence has", "the whole sequence"),
            (Gradient::Bptt { truncate: Some(steps) }, Some(_)) => (steps, "an update comes after", "all steps between two updates"),
            _ => return,
        };
        let most = segment.unwrap_or(context);
        if steps > most {
            let message = format!("gradients are cut every {steps} steps, but {what} {most}");
            let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, at, format!("more than {most}"));
            self.report(error.help(format!("write `gradient bptt`, or a smaller number: gradients then go through {help}")));
        }
    }
}

/// Key of what `--set` can change of the rule.
pub(crate) const TRUNCATE: (&str, Kind) = ("gradient.truncate", Kind::Count);
/// Key of the positions between two updates.
pub(crate) const EVERY: (&str, Kind) = ("update.every", Kind::Count);
/// Key of the rule.
pub(crate) const RULE: (&str, Kind) = ("gradient", Kind::Rule);

/// Where rule and streams were asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub rule: Option<Span>,
    pub stream: Option<Span>,
}

/// Reports what keeps the model from being learned by its rule.
pub(crate) fn admissible(spec: &Spec, experiment: &Experiment, asked: Asked, cx: &mut Cx<'_>) {
    let rule = if let Gradient::Rtrl(rule) = experiment.gradient { Some(rule) } else { None };
    if rule.is_none() && experiment.segment.is_none() {
        return;
    }
    let mut graph = lower::experiment(experiment, &lower::Options::default()).graph;
    if experiment.segment.is_some()
        && let Some([examples, positions]) = tokens(experiment, &graph)
    {
        match experiment.gradient.segments(&graph, examples, positions) {
            Ok(made) => graph = made.graph,
            Err(obstacle) => {
                cx.report(crosses(spec, &obstacle, asked.stream.unwrap_or(experiment.data.span), experiment.data.span));
                return;
            }
        }
    }
    let (Some(rule), Some(at)) = (rule, asked.rule.or(Some(experiment.data.span))) else { return };
    let Ok(graph) = experiment.gradient.prepare(&graph, Scans::PLAIN, false) else { return };
    if !has_state(&graph.region) {
        let message = format!("`{}` has no state that is carried from step to step; `rtrl` has nothing to carry with it", experiment.model);
        let error = Diagnostic::error(codes::grad::NO_STATE, message, at, "needs a state");
        cx.report(error.help("leave it out, or write `gradient bptt`; `rtrl` is for cells under `scan`"));
        return;
    }
    let Some(loss) = graph.outputs.iter().find(|o| o.port.name == "loss").map(|o| o.value) else { return };
    let nodes = graph.region.nodes.iter().zip(0..);
    let learned = |n: &Node| matches!(&n.op, Op::Param(port) if !port.name.starts_with(STATES));
    let params: Vec<Value> = nodes.filter(|(n, _)| learned(n)).map(|(_, i)| Value(i)).collect();
    let place = |origin: &Origin| span(spec, origin).unwrap_or(at);
    match gradients_by(&graph, loss, &params, experiment.gradient.learning_of(experiment.segment.is_some())) {
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

/// The axes of examples and positions.
fn tokens(experiment: &Experiment, graph: &Graph) -> Option<[AxisId; 2]> {
    let name = &experiment.program.root().inputs.first()?.name;
    graph.region.nodes.iter().find_map(|n| match &n.op {
        Op::Input(port) if port.name == *name => <[AxisId; 2]>::try_from(port.order.clone()).ok(),
        _ => None,
    })
}

fn crosses(spec: &Spec, obstacle: &Obstacle, at: Span, data: Span) -> Diagnostic {
    let message = format!("a stream goes on in the states of scans alone; {} is not carried from one update to the next", obstacle.what);
    let place = span(spec, &obstacle.origin);
    let mut error = Diagnostic::error(codes::grad::ACROSS_SEGMENTS, message, place.unwrap_or(at), "not carried");
    if place.is_some() {
        error = error.label(at, "asked for here");
    }
    if at != data {
        error = error.label(data, "read as streams");
    }
    error.help("let a cell under `scan` remember what is needed; or leave `update` and `order: stream` out: examples are then whole")
}

fn has_state(region: &Region) -> bool {
    region.nodes.iter().any(|n| match &n.op {
        Op::Loop(l) => (l.kind == LoopKind::Scan && l.carries > 0) || has_state(&l.body),
        _ => false,
    })
}

pub(super) fn span(spec: &Spec, origin: &Origin) -> Option<Span> {
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
        .help(format!("{cost}; `rtrl(snap: 1)` is a cheap approximation; or write `gradient bptt`, or a cell that reads `prev` unit by unit, such as `elstm`"))
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
