//! What the caller sets: `--set key=value`, sizes that data or tensors fix, and whether the graph is for training.

use super::context::{Cx, MAX_SIZE};
use super::root::Preset;
use super::value::Const;
use crate::codes;
use crate::diag::Diagnostic;
use crate::source::{FileId, Span};
use crate::spec::Spec;
use crate::syntax::{Block, Item, PortType};
use std::collections::BTreeMap;

/// Settings of one elaboration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// `--set key=value`, in order; the last of equal keys holds. Unknown keys are errors.
    pub set: Vec<(String, String)>,
    /// Sizes of dims of the root that come from data or tensors, by name. They give way to `set`; names the root lacks are ignored.
    /// For an experiment, `batch` is how many examples pass together, where that is not the budget's batch: constants may depend on it.
    pub dims: BTreeMap<String, u64>,
    /// Whether `training` is true.
    pub training: bool,
}

/// The keys that a root has.
pub(crate) struct Keys<'a> {
    block: &'a Block,
    /// `const` items of the user's files.
    constants: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    pub(crate) fn of(spec: &'a Spec, file: FileId, block: &'a Block) -> Self {
        let constants = spec
            .visible(file)
            .filter(|(_, id)| !spec.is_std(id.file) && matches!(spec.item(*id), Item::Const { .. }))
            .map(|(name, _)| name)
            .collect();
        Keys { block, constants }
    }

    /// All of them.
    pub(crate) fn names(&self) -> Vec<&'a str> {
        let ports = self.block.inputs.iter().filter(|p| !matches!(p.ty, PortType::Tensor(_)));
        let dims = self.block.dims.iter().map(|d| d.name.name.as_str());
        dims.chain(ports.map(|p| p.name.name.as_str())).chain(self.constants.iter().copied()).collect()
    }

    /// Whether a key takes a value, with what it needs where not; `None` for a key that is not one of these.
    pub(crate) fn takes(&self, key: &str, text: &str) -> Option<Result<(), String>> {
        if self.block.dims.iter().any(|d| d.name.name == key) {
            return Some(size(text).map(drop).ok_or_else(|| "a whole number from 1 to 2^40".into()));
        }
        let port = self.block.inputs.iter().find(|p| p.name.name == key && !matches!(p.ty, PortType::Tensor(_)));
        if let Some(port) = port {
            return Some(constant(&port.ty, text).map(drop));
        }
        self.constants.contains(&key).then(|| free(text).map(drop).ok_or_else(|| "a number".into()))
    }

    /// Reads all settings, less those whose index is in `skip`; `None` where one does not fit (reported).
    pub(crate) fn read(&self, settings: &Settings, cx: &mut Cx<'_>, skip: &[usize]) -> Option<Preset> {
        let at = Span { file: self.block.header.file, ..self.block.header };
        let mut preset = Preset::default();
        for dim in &self.block.dims {
            if let Some(&size) = settings.dims.get(&dim.name.name) {
                preset.dims.push((dim.name.name.clone(), size));
            }
        }
        let mut fine = true;
        for (i, (key, text)) in settings.set.iter().enumerate() {
            if skip.contains(&i) {
                continue;
            }
            let misfit = |needs: &str| {
                let message = format!("`--set {key}={text}`: `{key}` is {needs}");
                Diagnostic::error(codes::set::TYPE, message, at, format!("has `{key}`")).help(format!("write {needs} after `--set {key}=`"))
            };
            if self.block.dims.iter().any(|d| d.name.name == *key) {
                match size(text) {
                    Some(size) => {
                        preset.dims.retain(|(n, _)| n != key);
                        preset.dims.push((key.clone(), size));
                    }
                    None => {
                        fine = false;
                        cx.report(misfit("a whole number from 1 to 2^40"));
                    }
                }
            } else if let Some(port) = self.block.inputs.iter().position(|p| p.name.name == *key && !matches!(p.ty, PortType::Tensor(_))) {
                match constant(&self.block.inputs[port].ty, text) {
                    Ok(value) => {
                        preset.constants.retain(|(i, _)| *i != port);
                        preset.constants.push((port, value));
                    }
                    Err(needs) => {
                        fine = false;
                        cx.report(misfit(&needs));
                    }
                }
            } else if self.constants.contains(&key.as_str()) {
                match free(text) {
                    Some(value) => {
                        cx.overrides.insert(key.clone(), value);
                    }
                    None => {
                        fine = false;
                        cx.report(misfit("a number"));
                    }
                }
            } else {
                fine = false;
                cx.report(unknown(key, at, &self.block.name.name, &self.names()));
            }
        }
        fine.then_some(preset)
    }
}

/// A key that nothing has.
pub(crate) fn unknown(key: &str, at: Span, of: &str, known: &[&str]) -> Diagnostic {
    let message = format!("`--set {key}`: `{of}` has no dim, constant or setting `{key}`");
    let mut error = Diagnostic::error(codes::set::UNKNOWN_KEY, message, at, format!("has no `{key}`"));
    error.help = crate::suggest::help(key, "keys", known.iter().copied());
    error
}

/// A number as people write it.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.replace('_', "").parse::<f64>().ok().filter(|x| !x.is_nan())
}

fn size(text: &str) -> Option<u64> {
    let x = number(text)?;
    #[allow(clippy::cast_precision_loss, reason = "2^40 is exact")]
    let inside = (1.0..=MAX_SIZE as f64).contains(&x) && x.fract() == 0.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    inside.then_some(x as u64)
}

/// A number or truth value.
fn free(text: &str) -> Option<Const> {
    match text {
        "true" => Some(Const::Bool(true)),
        "false" => Some(Const::Bool(false)),
        _ => number(text).map(Const::Number),
    }
}

fn constant(ty: &PortType, text: &str) -> Result<Const, String> {
    match ty {
        PortType::Int(_) => number(text).filter(|x| x.fract() == 0.0).map(Const::Number).ok_or_else(|| "a whole number".into()),
        PortType::Float(_) => number(text).map(Const::Number).ok_or_else(|| "a number".into()),
        PortType::Bool(_) => free(text).filter(|c| matches!(c, Const::Bool(_))).ok_or_else(|| "`true` or `false`".into()),
        PortType::Choice(words) => {
            let all: Vec<String> = words.iter().map(|w| w.name.clone()).collect();
            if all.iter().any(|w| w == text) {
                return Ok(Const::Word(text.to_string(), all));
            }
            let names: Vec<&str> = all.iter().map(String::as_str).collect();
            Err(format!("one of {}", crate::suggest::list(&names)))
        }
        PortType::Tensor(_) => Err("a tensor".into()),
    }
}
