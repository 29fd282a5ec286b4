//! `ogive data`: what an experiment learns from.

use crate::args;
use crate::exit::Exit;
use crate::experiments::Asked;
use crate::{load, output, which};
use ogive_lang::hir::experiment::{Corpus, Experiment, Label};
use ogive_runtime::{Bindings, Data};
use ogive_train::data::{Dataset, PARTS, Part, Roots, contexts, reference, training_batch};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn run(args: &args::Data) -> Result<(), Exit> {
    let spec = Arc::new(load::load_clean(&args.spec, &args.overrides)?);
    let name = which::experiment(&spec, &args.which)?;
    let set = load::settings(&args.overrides, true)?.set;
    let base = args.spec.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
    let roots = Roots { base, allowed: load::roots(&args.spec, &args.overrides) };
    let (experiment, data) = Asked { spec, name, set, roots }.load(None)?;
    let compressed = data.validation_text().and_then(|t| Some((reference::gzip(t)?, reference::xz(t)?)));
    if output::json() {
        let parts = present(&data).map(|p| {
            let split = data.split(p);
            let value = serde_json::json!({ "tokens": split.tokens.len(), "bytes": split.bytes, "contexts": contexts(split) });
            (p.name().to_owned(), value)
        });
        let value = serde_json::json!({
            "source": data.name, "fingerprint": data.fingerprint, "vocab": data.vocab, "context": data.context,
            "tokenizer": data.tokenizer.as_ref().map(|t| t.kind()),
            "splits": parts.collect::<serde_json::Map<_, _>>(),
            "gzip_bits_per_byte": compressed.map(|c| c.0), "xz_bits_per_byte": compressed.map(|c| c.1),
        });
        output::result(value.to_string());
        return Ok(());
    }
    let kind = data.tokenizer.as_ref().map_or("none", |t| t.kind());
    output::result(format!("{}: tokenizer {kind}, {} tokens in the vocabulary, contexts of {}", data.name, data.vocab, data.context));
    let mut rows = vec![["split", "tokens", "bytes", "bytes/token", "contexts"].map(String::from).to_vec()];
    for part in present(&data) {
        let split = data.split(part);
        rows.push(vec![
            part.name().to_owned(),
            output::thousands(split.tokens.len() as u64),
            split.bytes.map_or_else(|| "-".to_owned(), output::thousands),
            split.bytes_per_token().map_or_else(|| "-".to_owned(), |b| format!("{b:.3}")),
            output::thousands(contexts(split)),
        ]);
    }
    output::result(output::table(&rows));
    if let Some((gzip, xz)) = compressed {
        output::result(format!("validation text in bits per byte: gzip -9 {gzip:.2}, xz -9 {xz:.2}"));
    }
    let seed = experiment.budget.seed;
    for i in 0..args.samples as u64 {
        let batch = training_batch(&data, 1, seed, i, 0);
        if let Some(lines) = labelled(&experiment, &data, &batch) {
            output::result(format!("\nsample {} of training:\n{lines}", i + 1));
            continue;
        }
        let Some(Data::I32(tokens)) = batch.get(&data.input).map(|t| &t.data) else { continue };
        let tokens: Vec<u32> = tokens.iter().map(|&t| u32::try_from(t).unwrap_or(0)).collect();
        let text = data.tokenizer.as_ref().map_or_else(|| format!("{tokens:?}"), |t| t.decode(&tokens));
        output::result(format!("\nsample {} of training:\n{text}", i + 1));
    }
    Ok(())
}

/// The parts of the data; `longer` only where there is such.
fn present(data: &Dataset) -> impl Iterator<Item = Part> {
    let longer = !data.split(Part::Longer).tokens.is_empty();
    PARTS.into_iter().filter(move |p| *p != Part::Longer || longer)
}

/// A string that was generated over the classes at its positions, `.` where nothing is to be told; `None` for other data.
fn labelled(experiment: &Experiment, data: &Dataset, batch: &Bindings) -> Option<String> {
    let Corpus::Generated(strings) = experiment.data.corpus else { return None };
    let given = |label: Label| batch.get(&format!("data.{}", label.name())).map(|t| &t.data);
    let (Data::I32(symbols), Data::I32(classes), Data::Bool(counted)) =
        (&batch.get(&data.input)?.data, given(Label::Target)?, given(Label::Counted)?)
    else {
        return None;
    };
    let written = symbols.iter().map(|s| u64::try_from(*s).ok().and_then(|s| strings.written(s)));
    let written: Vec<(usize, String)> = written.enumerate().filter_map(|(i, s)| Some((i, s?))).collect();
    let class = |i: usize| if counted.get(i) == Some(&1) { classes[i].to_string() } else { ".".to_owned() };
    let classes: Vec<String> = written.iter().map(|(i, _)| class(*i)).collect();
    let width = written.iter().map(|w| w.1.len()).chain(classes.iter().map(String::len)).max().unwrap_or(1);
    // Symbols of one character stand close together, longer ones in columns.
    let line = |cells: &mut dyn Iterator<Item = &String>| -> String {
        if width == 1 { cells.map(String::as_str).collect() } else { cells.map(|c| format!("{c:>width$}")).collect::<Vec<_>>().join(" ") }
    };
    Some(format!("{}\n{}", line(&mut written.iter().map(|w| &w.1)), line(&mut classes.iter())))
}
