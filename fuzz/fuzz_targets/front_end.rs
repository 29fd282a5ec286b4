//! Any bytes are checked as a spec; what is wrong points into the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ogive_lang::{NoImports, Settings, Spec, check, render};

fuzz_target!(|bytes: &[u8]| {
    let (spec, mut found) = Spec::load_bytes("fuzz.arch", bytes.to_vec(), &NoImports);
    check::check(&spec, &Settings::default()).list.into_iter().for_each(|d| found.push(d));
    for label in found.list.iter().flat_map(|d| &d.labels) {
        let file = &spec.sources.files[label.span.file.0 as usize];
        assert!(label.span.start <= label.span.end && label.span.end as usize <= file.text.len());
    }
    render::diagnostics(&found, &spec.sources, render::Style::default());
});
