//! Blocks, constants and sweeps that are looked at for themselves, as `check` does.

use super::context::Cx;
use super::experiment;
use super::items::Items;
use super::root::{Preset, root, with_stack};
use super::settings::Settings;
use crate::codes;
use crate::diag::Diagnostics;
use crate::source::FileId;
use crate::spec::Spec;
use crate::syntax::Item;

/// Diagnostics of every block, constant and sweep of the user's files. Dims without a default stay open, so what holds for every size
/// is checked; in training and outside; and what is declared and never used is warned about.
pub fn declarations(spec: &Spec) -> Diagnostics {
    with_stack(|| {
        let mut out = Diagnostics::default();
        let user = (0..spec.files.len()).map(|i| FileId(u32::try_from(i).unwrap_or(u32::MAX))).filter(|f| !spec.is_std(*f));
        for file in user {
            for item in &spec.file(file).items {
                for training in [false, true] {
                    let found = one(spec, file, item, training);
                    // What unrolls too far is said once: to try every block that leads there takes long.
                    let last = found.list.iter().any(|d| d.code == codes::call::TOO_MANY);
                    found.list.into_iter().for_each(|d| out.push(d));
                    if last {
                        return out;
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
            root(&mut cx, file, block, &Preset::default());
            if !cx.out.has_errors() {
                table.unused(block, &mut cx.out);
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
