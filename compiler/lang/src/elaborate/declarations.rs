//! Blocks, constants and sweeps that are looked at for themselves, as `check` does.

use super::context::Cx;
use super::experiment;
use super::items::Items;
use super::root::{Preset, root, with_stack};
use super::settings::Settings;
use super::value::Const;
use crate::codes;
use crate::diag::Diagnostics;
use crate::source::FileId;
use crate::spec::Spec;
use crate::syntax::{Block, Item, PortType};

/// Diagnostics of every block, constant and sweep of the user's files. Dims without a default stay open, so what holds for every size
/// is checked; in training and outside; with every value of each choice, so that no branch of an `if` waits until it is chosen; and what
/// is declared and never used is warned about.
pub fn declarations(spec: &Spec) -> Diagnostics {
    with_stack(|| {
        let mut out = Diagnostics::default();
        let user = (0..spec.files.len()).map(|i| FileId(u32::try_from(i).unwrap_or(u32::MAX))).filter(|f| !spec.is_std(*f));
        for file in user {
            for item in &spec.file(file).items {
                for training in [false, true] {
                    let found = one(spec, file, item, training);
                    let sound = !found.has_errors();
                    // What unrolls too far is said once: to try every block that leads there takes long.
                    let last = found.list.iter().any(|d| d.code == codes::call::TOO_MANY);
                    found.list.into_iter().for_each(|d| out.push(d));
                    if last {
                        return out;
                    }
                    if let Item::Block(block) = item
                        && sound
                    {
                        chosen(spec, file, block, training).list.into_iter().for_each(|d| out.push(d));
                    }
                }
            }
        }
        out
    })
}

fn one(spec: &Spec, file: FileId, item: &Item, training: bool) -> Diagnostics {
    let items = Items::new(spec);
    let mut cx = Cx::new(&items, training);
    match item {
        Item::Block(block) => {
            let table = cx.table(file, block);
            let id = root(&mut cx, file, block, &Preset::default());
            if let Some(id) = id.filter(|_| !cx.out.has_errors()) {
                let dims = cx.drafts[id.index()].instance.dims.iter();
                let passed: Vec<String> = dims.filter(|(_, axis)| cx.passed.contains(axis)).map(|(name, _)| name.clone()).collect();
                table.unused(block, &passed, &mut cx.out);
            }
        }
        Item::Const { name, .. } => {
            cx.file_constant(file, name);
        }
        Item::Sweep(sweep) if file == spec.root => {
            experiment::points(spec, sweep, &Settings::default(), &mut cx);
        }
        Item::Sweep(_) | Item::Experiment(_) | Item::Import(_) => {}
    }
    cx.out
}

/// What is wrong in a block where one of its choices is not made as its default makes it.
fn chosen(spec: &Spec, file: FileId, block: &Block, training: bool) -> Diagnostics {
    let mut out = Diagnostics::default();
    for (port, value) in choices(block) {
        let items = Items::new(spec);
        let mut cx = Cx::new(&items, training);
        root(&mut cx, file, block, &Preset { constants: vec![(port, value.clone())], ..Preset::default() });
        let name = &block.inputs[port].name;
        let text = match &value {
            Const::Bool(b) => format!("with `{}: {b}`", name.name),
            Const::Word(word, _) => format!("with `{}: {word}`", name.name),
            Const::Number(_) | Const::Unknown => String::new(),
        };
        cx.out.list.into_iter().for_each(|d| out.push(d.label(name.span, &text)));
    }
    out
}

/// The values of truth values and words that have a default, each by itself.
fn choices(block: &Block) -> Vec<(usize, Const)> {
    let with_default = block.inputs.iter().enumerate().filter(|(_, p)| p.default.is_some());
    let values = |ty: &PortType| match ty {
        PortType::Bool(_) => vec![Const::Bool(false), Const::Bool(true)],
        PortType::Choice(words) => {
            let all: Vec<String> = words.iter().map(|w| w.name.clone()).collect();
            all.iter().map(|w| Const::Word(w.clone(), all.clone())).collect()
        }
        PortType::Tensor(_) | PortType::Int(_) | PortType::Float(_) => Vec::new(),
    };
    with_default.flat_map(|(i, p)| values(&p.ty).into_iter().map(move |v| (i, v))).collect()
}
