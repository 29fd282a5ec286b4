//! Diagnostics as people see them: each case under `ui/` names its code in the first line, its snapshot shows text and drawing.

use std::collections::BTreeSet;

use ogive_lang::codes;
use ogive_tests::spec;

#[test]
fn each_case_reports_its_code_and_looks_as_it_did() {
    let folder = spec::root().join("tests/ui");
    let cases = spec::files(&folder, "arch");
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    for path in cases {
        let text = std::fs::read_to_string(&path).unwrap();
        let code =
            text.lines().next().and_then(|l| l.strip_prefix("//! ")).unwrap_or_else(|| panic!("{}: no code in line 1", path.display()));
        let checked = spec::check(&text);
        assert!(checked.codes(true).contains(&code), "{}: {:?}", path.display(), checked.codes(true));
        for diagnostic in &checked.found.list {
            assert!(!diagnostic.labels.is_empty() && diagnostic.help.is_some(), "{}: {diagnostic:?}", path.display());
            assert!(
                !diagnostic.message.ends_with('.') && !diagnostic.message.contains("nvalid"),
                "{}: {}",
                path.display(),
                diagnostic.message
            );
        }
        let mut settings = insta::Settings::new();
        settings.set_snapshot_path(path.parent().unwrap());
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        settings.bind(|| insta::assert_snapshot!(name, format!("{text}\n{}", checked.drawn())));
    }
}

#[test]
fn each_code_has_a_case_in_the_folder_of_its_family() {
    let folder = spec::root().join("tests/ui");
    let mut seen = BTreeSet::new();
    for path in spec::files(&folder, "arch") {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().next().unwrap_or("").trim_start_matches("//! ").to_owned();
        let family = path.parent().and_then(|p| p.file_name()).unwrap().to_string_lossy().into_owned();
        assert_eq!(code.split("::").nth(1), Some(family.as_str()), "{}", path.display());
        seen.insert(code);
    }
    let missing: Vec<&str> = codes::ALL.iter().map(|(c, _)| *c).filter(|c| !seen.contains(*c) && !spec::without_spec(c)).collect();
    assert!(missing.is_empty(), "codes without a case: {missing:?}");
}

#[test]
fn no_snapshot_is_left_behind() {
    for snapshot in spec::files(&spec::root().join("tests/ui"), "snap") {
        assert!(snapshot.with_extension("arch").exists(), "{} has no case", snapshot.display());
    }
}
