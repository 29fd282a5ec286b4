//! `ogive data`: what an experiment learns from.

use crate::args::Data;
use crate::exit::Exit;
use crate::experiments::Asked;
use crate::{load, output, which};
use ogive_train::data::{PARTS, Part, Roots, contexts, reference, training_batch};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn run(args: &Data) -> Result<(), Exit> {
    let spec = Arc::new(load::load_clean(&args.spec, &args.overrides)?);
    let name = which::experiment(&spec, &args.which)?;
    let set = load::settings(&args.overrides, true)?.set;
    let base = args.spec.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
    let roots = Roots { base, allowed: load::roots(&args.spec, &args.overrides) };
    let (experiment, data) = Asked { spec, name, set, roots }.load(None)?;
    let compressed = data.validation_text().and_then(|t| Some((reference::gzip(t)?, reference::xz(t)?)));
    if output::json() {
        let parts = PARTS.map(|p| {
            let split = data.split(p);
            let value =
                serde_json::json!({ "tokens": split.tokens.len(), "bytes": split.bytes, "contexts": contexts(split, data.context) });
            (p.name().to_owned(), value)
        });
        let value = serde_json::json!({
            "source": data.name, "fingerprint": data.fingerprint, "vocab": data.vocab, "context": data.context,
            "tokenizer": data.tokenizer.as_ref().map(|t| t.kind()),
            "splits": parts.into_iter().collect::<serde_json::Map<_, _>>(),
            "gzip_bits_per_byte": compressed.map(|c| c.0), "xz_bits_per_byte": compressed.map(|c| c.1),
        });
        output::result(value.to_string());
        return Ok(());
    }
    let kind = data.tokenizer.as_ref().map_or("none", |t| t.kind());
    output::result(format!("{}: tokenizer {kind}, {} tokens in the vocabulary, contexts of {}", data.name, data.vocab, data.context));
    let mut rows = vec![["split", "tokens", "bytes", "bytes/token", "contexts"].map(String::from).to_vec()];
    for part in PARTS {
        let split = data.split(part);
        rows.push(vec![
            part.name().to_owned(),
            output::thousands(split.tokens.len() as u64),
            split.bytes.map_or_else(|| "-".to_owned(), output::thousands),
            split.bytes_per_token().map_or_else(|| "-".to_owned(), |b| format!("{b:.3}")),
            output::thousands(contexts(split, data.context)),
        ]);
    }
    output::result(output::table(&rows));
    if let Some((gzip, xz)) = compressed {
        output::result(format!("validation text in bits per byte: gzip -9 {gzip:.2}, xz -9 {xz:.2}"));
    }
    let seed = experiment.budget.seed;
    for i in 0..args.samples as u64 {
        let batch = training_batch(data.split(Part::Training), data.context, 1, seed, i, 0);
        let Some(ogive_runtime::Data::I32(tokens)) = batch.get("tokens").map(|t| &t.data) else { continue };
        let tokens: Vec<u32> = tokens.iter().map(|&t| u32::try_from(t).unwrap_or(0)).collect();
        let text = data.tokenizer.as_ref().map_or_else(|| format!("{tokens:?}"), |t| t.decode(&tokens));
        output::result(format!("\nsample {} of training:\n{text}", i + 1));
    }
    Ok(())
}
