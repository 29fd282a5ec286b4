//! What `run --list` prints: names and dims of the tensors that a program takes and gives.

use super::states::States;
use crate::output;
use ogive_lang::hir::Program;
use ogive_lang::lower::states::PREV;
use ogive_lang::lower::{self, Listed};

pub(super) fn print(program: &Program, states: &States) {
    let mut listing = lower::listing(program);
    listing.inputs.retain(|l| !l.name.starts_with(PREV));
    let before: Vec<Listed> = states.all.iter().map(|s| s.0.clone()).collect();
    let own = |name: &String| listing.outputs.iter().any(|o| o.name == *name);
    let after = states.all.iter().filter(|s| !own(&s.1)).map(|(l, name)| Listed { name: name.clone(), ..l.clone() });
    let after: Vec<Listed> = after.collect();
    listing.outputs.extend(after);
    let reset: Vec<Listed> = states.reset.iter().filter(|_| !before.is_empty()).cloned().collect();
    if output::json() {
        let entry = |l: &Listed| {
            let dims: Vec<_> = l.dims.iter().map(|(n, s)| serde_json::json!({ "name": n, "size": s })).collect();
            serde_json::json!({ "name": l.name, "dims": dims, "dtype": l.dtype.name(), "domain": l.domain })
        };
        let all = |list: &[Listed]| list.iter().map(entry).collect::<Vec<_>>();
        let value = serde_json::json!({
            "inputs": all(&listing.inputs), "states": all(&before), "reset": all(&reset).first(),
            "params": all(&listing.params), "outputs": all(&listing.outputs),
        });
        output::result(value.to_string());
        return;
    }
    let mut rows = vec![vec!["kind".into(), "name".into(), "dims".into(), "type".into()]];
    let kinds =
        [("input", &listing.inputs), ("state", &before), ("reset", &reset), ("param", &listing.params), ("output", &listing.outputs)];
    for (kind, entries) in kinds {
        for l in entries {
            let dim = |(n, s): &(String, Option<u64>)| s.map_or_else(|| n.clone(), |s| format!("{n}: {s}"));
            let dims = format!("[{}]", l.dims.iter().map(dim).collect::<Vec<_>>().join(", "));
            let ty = match &l.domain {
                Some(domain) => format!("positions in {domain}"),
                None if l.dtype.is_float() => "float".to_owned(),
                None => l.dtype.name().to_owned(),
            };
            rows.push(vec![kind.to_owned(), l.name.clone(), dims, ty]);
        }
    }
    output::result(output::table_left(&rows));
    output::note("An input may have one more dim in front, a batch. A dim without a size takes it from the tensors that are given.");
    if !before.is_empty() {
        output::note(
            "A state may be among the inputs, or be left by an earlier run (--states); it starts anew where it is not given. It has the batch \
             in front.",
        );
    }
    if !reset.is_empty() {
        output::note("The reset is true at positions where all states begin anew; it need not be given.");
    }
    if let Some(note) = &states.note {
        output::note(note);
    }
}
