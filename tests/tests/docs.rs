//! Pages say what happens: their specs are checked, and what they show of ogive is what ogive shows.

use ogive_lang::{codes, explain, format};
use ogive_tests::spec;

#[test]
fn each_code_has_a_page_with_its_title_and_reason() {
    for (code, summary) in codes::ALL {
        let page = explain::page(code).unwrap_or_else(|| panic!("{code} has no page: {summary}"));
        assert_eq!(page.lines().next(), Some(format!("# {code}").as_str()));
        assert!(page.contains("\nWhy: ") && page.contains("\nRepaired:"), "{code}");
    }
    for file in spec::files(&spec::root().join("compiler/errors"), "md") {
        let page = std::fs::read_to_string(&file).unwrap();
        let code = page.lines().next().unwrap_or("").trim_start_matches("# ");
        assert!(codes::ALL.iter().any(|(c, _)| *c == code), "{}: no such code", file.display());
        let place = format!("{}.md", code.trim_start_matches("arch::").replace("::", "/"));
        assert!(file.ends_with(&place), "{} is the page of {code}", file.display());
    }
}

#[test]
fn each_code_that_sources_write_out_exists() {
    for folder in ["compiler", "runtime"] {
        for file in spec::files(&spec::root().join(folder), "rs") {
            let text = std::fs::read_to_string(&file).unwrap();
            for rest in text.split("arch::").skip(1) {
                let code: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || matches!(c, '_' | ':' | '0'..='9')).collect();
                let [family, name] = code.split("::").collect::<Vec<_>>()[..] else { continue };
                let code = format!("arch::{family}::{name}");
                assert!(name.is_empty() || codes::ALL.iter().any(|(c, _)| *c == code), "{}: no code {code}", file.display());
            }
        }
    }
}

/// With `OGIVE_BLESS=1` the drawings in the pages are written anew.
#[test]
fn the_first_spec_of_a_page_fails_with_its_code_and_the_second_is_clean() {
    let bless = std::env::var_os("OGIVE_BLESS").is_some();
    let mut faults = String::new();
    for file in spec::files(&spec::root().join("compiler/errors"), "md") {
        let page = std::fs::read_to_string(&file).unwrap();
        let code = page.lines().next().unwrap_or("").trim_start_matches("# ").to_owned();
        if spec::without_spec(&code) {
            continue;
        }
        let [failing, repaired] = spec::fences(&page, "arch")[..] else { panic!("{code}: two specs are expected") };
        let checked = spec::check(failing);
        let warning = !checked.found.has_errors();
        if checked.codes(warning) != [code.as_str()] {
            faults.push_str(&format!("{code}: the first spec gives {:?}\n{}\n", checked.codes(true), checked.drawn()));
        }
        let clean = spec::check(repaired);
        if !clean.found.list.is_empty() {
            faults.push_str(&format!("{code}: the second spec is not clean\n{}\n", clean.drawn()));
        }
        if format(repaired).ok().as_deref() != Some(repaired) {
            faults.push_str(&format!("{code}: the second spec is not formatted\n"));
        }
        let shown = spec::fences(&page, "text").first().map_or("", |t| t.trim_end()).to_owned();
        if shown != checked.drawn().trim_end() {
            if bless {
                let fresh = page.replacen(&format!("```text\n{shown}\n```"), &format!("```text\n{}\n```", checked.drawn().trim_end()), 1);
                std::fs::write(&file, fresh).unwrap();
            } else {
                faults.push_str(&format!("{code}: the page shows something else than\n{}\n", checked.drawn()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn the_specs_of_the_grammar_page_are_clean() {
    let page = std::fs::read_to_string(spec::root().join("grammar/README.md")).unwrap();
    let fences = spec::fences(&page, "arch");
    assert!(fences.len() >= 9, "only {} examples", fences.len());
    for text in fences {
        let checked = spec::check(text);
        assert!(checked.codes(false).is_empty(), "{text}\n{}", checked.drawn());
        assert_eq!(format(text).ok().as_deref(), Some(text), "an example is not formatted");
    }
}

#[test]
fn the_grammar_page_names_every_reserved_word() {
    let page = std::fs::read_to_string(spec::root().join("grammar/README.md")).unwrap();
    let line = page.lines().find(|l| l.starts_with("Reserved: ")).expect("a line with the reserved words");
    let words: Vec<&str> = line.trim_start_matches("Reserved: ").trim_matches(|c| c == '`' || c == '.').split(' ').collect();
    assert_eq!(words, ogive_lang::parse::RESERVED);
    let grammar = std::fs::read_to_string(spec::root().join("grammar/arch.pest")).unwrap();
    let rule = grammar.split("reserved      =").nth(1).and_then(|r| r.split('}').next()).unwrap_or("");
    let listed: Vec<&str> = rule.split('"').skip(1).step_by(2).collect();
    assert_eq!(listed, ogive_lang::parse::RESERVED);
}

#[test]
fn the_specs_of_the_front_page_are_clean() {
    let page = std::fs::read_to_string(spec::root().join("README.md")).unwrap();
    let fences = spec::fences(&page, "arch");
    assert!(!fences.is_empty());
    for text in fences {
        let checked = spec::check(text);
        assert!(checked.codes(true).is_empty(), "{text}\n{}", checked.drawn());
    }
}
