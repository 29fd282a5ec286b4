//! Experiments: model, data, objective, optimiser, budget, events, claims.

mod data;
mod generated;
mod gradient;
mod keys;
mod objective;
mod optimizer;
mod reader;
mod run;
mod sweep;
mod writes;

pub(crate) use sweep::points;
pub use sweep::sweep;

use super::body::Body;
use super::context::Cx;
use super::finish;
use super::items::Items;
use super::root::{Preset, root, with_stack};
use super::settings::{Keys, Settings, unknown};
use super::table::Table;
use super::value::Val;
use crate::codes;
use crate::diag::{Diagnostic, Diagnostics};
use crate::hir::experiment::{Budget, Corpus, Data, Experiment, Generated, Gradient, Objective};
use crate::hir::{InstanceId, Program};
use crate::source::FileId;
use crate::spec::Spec;
use crate::syntax::{Arg, Block, PortType, Setting};
use reader::{Reader, called};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The model's dim of classes, where the data have such.
pub(crate) const CLASS: &str = "class";

const SETTINGS: &[&str] = &["model", "data", "loss", "metric", "gradient", "update", "optimizer", "budget", "every", "until", "claim"];
const NEEDED: &[(&str, &str)] = &[
    ("model", "model name"),
    ("data", "data text(webster, tokenizer: bytes, context: 256)"),
    ("loss", "loss cross_entropy(logits, next(tokens), over: vocab)"),
    ("optimizer", "optimizer adamw(lr: 1e-3)"),
    ("budget", "budget steps: 1000, batch: 16, seed: 1"),
];

/// Elaborates an experiment. The number of tokens comes from `settings.dims["vocab"]` where the data was looked at; where nothing
/// says it, the dim stays without a size and the experiment cannot be lowered.
pub fn experiment(spec: &Spec, name: &str, settings: &Settings) -> (Option<Experiment>, Diagnostics) {
    with_stack(|| {
        let items = Items::new(spec);
        let mut cx = Cx::new(&items, settings.training);
        let result = whole(spec, name, settings, &mut cx);
        let mut out = cx.out;
        out.sort(&spec.sources);
        (result.filter(|_| !out.has_errors()), out)
    })
}

/// The model that an experiment names.
pub(crate) fn model_of<'a>(spec: &'a Spec, experiment: &'a crate::syntax::Experiment) -> Option<(FileId, &'a Block)> {
    let setting = experiment.settings.iter().find(|s| s.key.name == "model")?;
    let (name, _) = called(&setting.args.first()?.value)?;
    spec.block(experiment.name.span.file, &name.name).map(|(id, block)| (id.file, block))
}

fn whole<'a>(spec: &'a Spec, name: &str, settings: &Settings, cx: &mut Cx<'a>) -> Option<Experiment> {
    let Some((id, experiment)) = spec.experiment(spec.root, name) else {
        let message = format!("there is no experiment `{name}`");
        let span = crate::source::Span { file: spec.root, start: 0, end: 0 };
        let mut error = Diagnostic::error(codes::name::UNKNOWN_EXPERIMENT, message, span, "not in this file");
        let names = spec.names(spec.root, |i| matches!(i, crate::syntax::Item::Experiment(_)));
        error.help = crate::suggest::help(name, "experiments", names);
        cx.report(error);
        return None;
    };
    let file = id.file;
    let one = single_settings(experiment, cx);
    let model = model_of(spec, experiment);
    let (set, skip) = overrides(spec, settings, model, name, experiment.name.span, cx)?;
    let mut reader = Reader { cx, scope: Body::new(None, file, Rc::new(Table::default())), set, read: Vec::new() };

    let first = |key: &str| one.get(key).and_then(|s| s.args.first()).map(|a| &a.value);
    let preset = match model {
        Some((file, block)) => {
            let keys = Keys::of(spec, file, block);
            let asked = keys.read(settings, reader.cx, &skip);
            asked.and_then(|asked| reader.model_args(first("model"), block, asked))
        }
        None => None,
    };
    let data = first("data").and_then(|e| reader.data(e));
    let optimizer = first("optimizer").and_then(|e| reader.optimizer(e));
    let gradient = first("gradient").map_or(Some(Gradient::default()), |e| reader.gradient(e));
    let update = one.get("update").copied();
    let segment = reader.segment(update, data.as_ref(), experiment.name.span);
    if let (Some(gradient), Some(data), Some(at)) = (gradient, &data, first("gradient")) {
        reader.segment_fits(gradient, segment, data.context, at.span);
    }
    let budget = one.get("budget").and_then(|s| reader.budget(s));
    if let (Some(optimizer), Some(budget)) = (&optimizer, &budget)
        && budget.batch % optimizer.accumulate != 0
    {
        let at = first("optimizer").map_or(experiment.name.span, |e| e.span);
        let message = format!("a batch of {} cannot be split into {} equal parts", budget.batch, optimizer.accumulate);
        let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, at, "does not divide");
        reader.report(error.help(format!("write `batch: {}`", budget.batch.div_ceil(optimizer.accumulate) * optimizer.accumulate)));
    }
    if let Some(optimizer) = optimizer.as_ref().filter(|o| segment.is_some() && o.accumulate > 1) {
        let at = first("optimizer").map_or(experiment.name.span, |e| e.span);
        let message = format!("a stream goes on after every batch, so its steps cannot be made of {} micro-batches", optimizer.accumulate);
        let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, at, "accumulates");
        reader.report(error.help("leave `accumulate` out"));
    }
    let metrics: Vec<(String, &'a Setting)> = named_metrics(experiment, &mut reader);
    let every = all(experiment, "every").map(|s| reader.every(s)).collect::<Vec<_>>();
    let names: Vec<String> = metrics.iter().map(|(n, _)| n.clone()).collect();
    let until = all(experiment, "until").map(|s| reader.claim(s, &names)).collect::<Vec<_>>();
    let claims = all(experiment, "claim").map(|s| reader.claim(s, &names)).collect::<Vec<_>>();

    let model_file = model.map(|m| m.0)?;
    let block = model.map(|m| m.1)?;
    let mut preset = preset?;
    reader.bind_data(block, first("model").map_or(experiment.name.span, |e| e.span), data.as_ref(), segment, settings, &mut preset)?;
    let Reader { read, cx, .. } = reader;
    let root = root(cx, model_file, block, &preset)?;
    let together = settings.dims.get("batch").copied().or(budget.map(|b: Budget| b.batch));
    let batch = cx.axis("batch", together, experiment.name.span);
    let labels = data.as_ref().is_some_and(|d| matches!(d.corpus, Corpus::Generated(_)));
    let objective = objective::elaborate(cx, file, experiment, root, batch, &metrics, labels)?;
    let (mut program, objective_id) = finish::program(cx, &block.name.name, root, Some(objective.0));
    program.batch = Some(batch);
    program.instances[0].inputs.iter_mut().for_each(|p| p.lifted = true);
    let objective = Objective { instance: objective_id.unwrap_or(InstanceId(0)), sources: objective.1 };
    objective::without_parameters(cx, &program, &objective, first("loss").map_or(experiment.name.span, |e| e.span));
    let mut shown = model_settings(&program);
    shown.extend(read);
    let whole = Experiment {
        name: experiment.name.name.clone(),
        doc: experiment.doc.clone(),
        model: block.name.name.clone(),
        program,
        batch,
        data: data?,
        objective,
        gradient: gradient?,
        segment,
        optimizer: optimizer?,
        budget: budget?,
        every: every.into_iter().collect::<Option<_>>()?,
        until: until.into_iter().collect::<Option<_>>()?,
        claims: claims.into_iter().collect::<Option<_>>()?,
        settings: shown,
    };
    writes::bounded(spec, &whole, experiment.name.span, cx);
    let asked = gradient::Asked { rule: first("gradient").map(|e| e.span), stream: update.map(|s| s.span) };
    gradient::admissible(spec, &whole, asked, cx);
    Some(whole)
}

fn all<'a>(experiment: &'a crate::syntax::Experiment, key: &'a str) -> impl Iterator<Item = &'a Setting> {
    experiment.settings.iter().filter(move |s| s.key.name == key)
}

/// Settings that are given once, by key; unknown, repeated, empty and missing ones are reported.
fn single_settings<'a>(experiment: &'a crate::syntax::Experiment, cx: &mut Cx<'a>) -> BTreeMap<&'a str, &'a Setting> {
    let mut one: BTreeMap<&str, &Setting> = BTreeMap::new();
    // what was meant by a misspelled key is not missing too
    let mut meant: Vec<&str> = Vec::new();
    for setting in &experiment.settings {
        let key = setting.key.name.as_str();
        if !SETTINGS.contains(&key) {
            let message = format!("an experiment has no setting `{key}`");
            let mut error = Diagnostic::error(codes::experiment::UNKNOWN_SETTING, message, setting.key.span, "not known");
            error.help = crate::suggest::help(key, "settings", SETTINGS.iter().copied());
            meant.extend(crate::suggest::nearest(key, SETTINGS.iter().copied()));
            cx.report(error);
            continue;
        }
        if !setting.body.is_empty() && key != "every" {
            let message = format!("`{key}` holds no settings of its own");
            let error = Diagnostic::error(codes::experiment::UNKNOWN_SETTING, message, setting.body[0].key.span, "not part of it");
            cx.report(error.help("write it after `every 100 { ... }`, or on a line of its own"));
        }
        if let ("model" | "data" | "loss" | "optimizer" | "gradient" | "update", count) = (key, setting.args.len())
            && count != 1
        {
            let message = format!("`{key}` takes one value; {count} are given");
            let other = if key == "update" { "update every: 16" } else { "gradient rtrl" };
            let example = NEEDED.iter().find(|n| n.0 == key).map_or(other, |n| n.1);
            let at = setting.args.get(1).map_or(setting.key.span, |a| a.value.span);
            cx.report(Diagnostic::error(codes::experiment::OPTION_VALUE, message, at, "one value").help(format!("write `{example}`")));
        }
        if matches!(key, "metric" | "every" | "until" | "claim") {
            continue;
        }
        if let Some(before) = one.get(key) {
            let message = format!("`{key}` is set twice");
            let error = Diagnostic::error(codes::experiment::REPEATED_SETTING, message, setting.key.span, "set again");
            cx.report(error.label(before.key.span, "set here").help("keep one of the two, or write two experiments"));
        } else {
            one.insert(key, setting);
        }
    }
    for (key, example) in NEEDED {
        if !one.contains_key(key) && !meant.contains(key) {
            let message = format!("experiment `{}` has no `{key}`", experiment.name.name);
            let error = Diagnostic::error(codes::experiment::MISSING_SETTING, message, experiment.name.span, format!("`{key}` is missing"));
            cx.report(error.help(format!("add `{example}`")));
        }
    }
    one
}

/// `--set` for options of the experiment, and which of the settings these are.
fn overrides(
    spec: &Spec,
    settings: &Settings,
    model: Option<(FileId, &Block)>,
    name: &str,
    at: crate::source::Span,
    cx: &mut Cx<'_>,
) -> Option<(BTreeMap<&'static str, f64>, Vec<usize>)> {
    let mut set = BTreeMap::new();
    let mut skip = Vec::new();
    let mut fine = true;
    let own = model.map(|(file, block)| Keys::of(spec, file, block));
    for (i, (key, text)) in settings.set.iter().enumerate() {
        if own.as_ref().is_some_and(|k| k.takes(key, text).is_some()) {
            continue;
        }
        skip.push(i);
        let Some((full, kind)) = keys::find(key) else {
            fine = false;
            if let Some(example) = keys::written(key) {
                let message = format!("`--set {key}`: `{key}` is written in the spec alone");
                let error = Diagnostic::error(codes::set::UNKNOWN_KEY, message, at, "written in this");
                cx.report(error.help(keys::only_written(key, example)));
                continue;
            }
            let known: Vec<&str> = own.iter().flat_map(Keys::names).chain(keys::KEYS.iter().map(|k| k.0)).collect();
            cx.report(unknown(key, at, name, &known));
            continue;
        };
        match keys::read(kind, text) {
            Some(value) => {
                set.insert(full, value);
            }
            None => {
                fine = false;
                let message = format!("`--set {key}={text}`: `{full}` is {}", kind.needs());
                let error = Diagnostic::error(codes::set::TYPE, message, at, "of this experiment");
                cx.report(error.help(format!("write `--set {key}={}`", kind.example())));
            }
        }
    }
    fine.then_some((set, skip))
}

/// `metric accuracy: EXPR`, each name once.
fn named_metrics<'a>(experiment: &'a crate::syntax::Experiment, reader: &mut Reader<'_, 'a>) -> Vec<(String, &'a Setting)> {
    let mut out: Vec<(String, &'a Setting)> = Vec::new();
    for setting in all(experiment, "metric") {
        let [Arg { label: Some(label), .. }] = setting.args.as_slice() else {
            let message = "a metric has a name and a value".to_string();
            let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, setting.span, "has no name");
            reader.report(error.help("write `metric accuracy: correct(logits, next(tokens), over: vocab)`"));
            continue;
        };
        if run::METRICS.contains(&label.name.as_str()) || out.iter().any(|(n, _)| *n == label.name) {
            let message = format!("metric `{}` is there already", label.name);
            let error = Diagnostic::error(codes::experiment::REPEATED_SETTING, message, label.span, "there already");
            reader.report(error.help(format!("rename it: `metric {}2: ...`", label.name)));
            continue;
        }
        out.push((label.name.clone(), setting));
    }
    out
}

/// Dims and constants of the model, for the lock.
fn model_settings(program: &Program) -> Vec<(String, String)> {
    let root = program.root();
    let dims = root.dims.iter().filter_map(|(n, a)| Some((n.clone(), program.size_of(*a)?.to_string())));
    let constants = root.constants.iter().map(|(n, c)| {
        let text = match c {
            crate::hir::Constant::Number(x) => x.to_string(),
            crate::hir::Constant::Bool(b) => b.to_string(),
            crate::hir::Constant::Word(w) => w.clone(),
        };
        (n.clone(), text)
    });
    dims.chain(constants).collect()
}

impl<'a> Reader<'_, 'a> {
    /// Dims and constants in the model's brackets; what `--set` gave stays.
    fn model_args(&mut self, expr: Option<&'a crate::syntax::Expr>, block: &'a Block, mut preset: Preset) -> Option<Preset> {
        let Some((name, args)) = expr.and_then(called) else {
            if let Some(expr) = expr {
                let message = "a model is named, with its dims in brackets".to_string();
                let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, expr.span, "not a model");
                self.report(error.help("write `model name[dim: 128]`"));
            }
            return None;
        };
        let mut fine = true;
        let mut seen: Vec<&str> = Vec::new();
        for arg in args {
            let Some(label) = &arg.label else {
                fine = false;
                let message = format!("dims and constants of `{}` are given by name", name.name);
                let error = Diagnostic::error(codes::experiment::UNKNOWN_OPTION, message, arg.value.span, "has no name");
                let text = self.eval().source(arg.value.span);
                let dim = block.dims.first().map_or("dim", |d| d.name.name.as_str());
                self.report(error.help(format!("write `{dim}: {text}`")));
                continue;
            };
            if seen.contains(&label.name.as_str()) {
                fine = false;
                let message = format!("`{}` of `{}` is given twice", label.name, name.name);
                self.report(Diagnostic::error(codes::call::GIVEN_TWICE, message, label.span, "given again").help("give it once"));
                continue;
            }
            seen.push(&label.name);
            let port = block.inputs.iter().position(|p| p.name.name == label.name && !matches!(p.ty, PortType::Tensor(_)));
            if block.dims.iter().any(|d| d.name.name == label.name) {
                let Val::Const(value) = self.eval().constant(&arg.value) else {
                    fine = false;
                    continue;
                };
                match self.eval().size_from(&value, arg.value.span, &format!("dim `{}`", label.name), Some(&arg.value)) {
                    Some(Some(size)) if !preset.dims.iter().any(|(n, _)| *n == label.name) => preset.dims.push((label.name.clone(), size)),
                    Some(_) => {}
                    None => fine = false,
                }
            } else if let Some(port) = port {
                match self.eval().constant_argument(block, port, &arg.value) {
                    Some(value) if !preset.constants.iter().any(|(i, _)| *i == port) => preset.constants.push((port, value)),
                    Some(_) => {}
                    None => fine = false,
                }
            } else {
                fine = false;
                let known = block.dims.iter().map(|d| d.name.name.as_str());
                let ports = block.inputs.iter().filter(|p| !matches!(p.ty, PortType::Tensor(_))).map(|p| p.name.name.as_str());
                let message = format!("`{}` has no dim and no constant `{}`", name.name, label.name);
                let mut error =
                    Diagnostic::error(codes::call::UNKNOWN_LABEL, message, label.span, "not known").label(block.name.span, "declared here");
                error.help = crate::suggest::help(&label.name, "names", known.chain(ports));
                self.report(error);
            }
        }
        for (i, port) in block.inputs.iter().enumerate() {
            let constant = !matches!(port.ty, PortType::Tensor(_));
            if constant && port.default.is_none() && !preset.constants.iter().any(|(k, _)| *k == i) {
                fine = false;
                let message = format!("`{}` needs `{}`", name.name, port.name.name);
                let error =
                    Diagnostic::error(codes::call::MISSING_ARGUMENT, message, name.span, format!("`{}` is missing", port.name.name));
                self.report(error.label(port.span, "declared here").help(format!("write `{}({}: ...)`", name.name, port.name.name)));
            }
        }
        fine.then_some(preset)
    }

    /// Binds the dims that data fixes: positions and number of tokens.
    fn bind_data(
        &mut self,
        block: &'a Block,
        at: crate::source::Span,
        data: Option<&Data>,
        segment: Option<u64>,
        settings: &Settings,
        preset: &mut Preset,
    ) -> Option<()> {
        let tensors: Vec<_> = block
            .inputs
            .iter()
            .filter(|p| p.default.is_none())
            .filter_map(|p| if let PortType::Tensor(t) = &p.ty { Some((p, t)) } else { None })
            .collect();
        let [(port, ty)] = tensors.as_slice() else {
            let message = format!("text gives one input, tokens; `{}` has {}", block.name.name, tensors.len());
            let place = tensors.get(1).map_or(block.header, |(p, _)| p.span);
            let error = Diagnostic::error(codes::data::INPUT, message, at, "needs one input").label(place, "declared here");
            self.report(error.help("declare one input: `(tokens: [seq] in vocab)`"));
            return None;
        };
        let (Some(vocab), [seq]) = (&ty.domain, ty.dims.as_slice()) else {
            let message = format!("text gives tokens along one dim; `{}` of `{}` takes something else", port.name.name, block.name.name);
            let error = Diagnostic::error(codes::data::INPUT, message, at, "needs tokens").label(port.span, "declared here");
            self.report(error.help(format!("declare the input as tokens: `{}: [seq] in vocab`", port.name.name)));
            return None;
        };
        let data = data?;
        if let Corpus::Generated(strings) = data.corpus {
            self.bind_generated(block, at, strings, preset)?;
        }
        let segment = segment.filter(|_| settings.training);
        let context = settings.dims.get("context").copied().or(segment).unwrap_or(data.context);
        match preset.dims.iter().find(|(n, _)| *n == seq.name) {
            Some((_, size)) if *size != context => {
                let message = format!("`{}` is {size}, but the data's context is {context}", seq.name);
                let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, data.span, "another length");
                self.report(
                    error
                        .label(at, format!("`{}` is {size}", seq.name))
                        .help(format!("write `context: {size}`, or `--set context={size}`")),
                );
                return None;
            }
            Some(_) => {}
            None => preset.dims.push((seq.name.clone(), context)),
        }
        let known = settings.dims.get("vocab").copied();
        let size = if matches!(data.corpus, Corpus::Generated(_)) { data.vocab } else { known.or(data.vocab) };
        if let Some(size) = size {
            preset.dims.retain(|(n, _)| *n != vocab.name);
            preset.dims.push((vocab.name.clone(), size));
        }
        Some(())
    }

    /// Binds the dim of classes that labelled strings have.
    fn bind_generated(&mut self, block: &'a Block, at: crate::source::Span, strings: Generated, preset: &mut Preset) -> Option<()> {
        let (task, classes) = (strings.task, strings.classes());
        let Some(class) = block.dims.iter().find(|d| d.name.name == CLASS) else {
            let message = format!("`{}` has a class at every position; `{}` has no dim `{CLASS}`", task.name(), block.name.name);
            let error = Diagnostic::error(codes::data::INPUT, message, at, "has no classes").label(block.header, "declared here");
            self.report(error.help(format!(
                "give the model a dim of classes: `model {}[seq, {CLASS}, ...](...) -> logits: [seq, {CLASS}]`",
                block.name.name
            )));
            return None;
        };
        match preset.dims.iter().find(|(n, _)| n == CLASS) {
            Some((_, size)) if *size != classes => {
                let message = format!("`{CLASS}` is {size}, but `{}` has {classes} classes", task.name());
                let error = Diagnostic::error(codes::experiment::OPTION_VALUE, message, at, format!("`{CLASS}` is {size}"));
                self.report(error.label(class.name.span, "declared here").help(format!("leave `{CLASS}` out: the data says it")));
                return None;
            }
            Some(_) => {}
            None => preset.dims.push((CLASS.to_string(), classes)),
        }
        Some(())
    }
}
