//! Any text is parsed, and what is wrong is drawn; a text that parses formats to one that parses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ogive_lang::{Diagnostics, Sources, format, parse, render};

fuzz_target!(|text: &str| {
    let mut sources = Sources::default();
    let file = sources.add("fuzz.arch", text);
    let mut found = Diagnostics::default();
    parse::parse(file, text, &mut found);
    let drawn = render::diagnostics(&found, &sources, render::Style::default());
    assert_eq!(found.list.is_empty(), drawn.is_empty());
    if found.list.is_empty() {
        let formatted = format(text).expect("a text that parses can be formatted");
        assert_eq!(format(&formatted).as_deref().ok(), Some(formatted.as_str()));
    }
});
