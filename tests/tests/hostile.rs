//! Damaged specs, tensor files, runs and data are refused, or read for what they are: nothing panics, nothing takes long.

use ogive_tests::hostile::{Survey, files, folders, text};
use std::time::Duration;

/// Seconds that one may take in a build for tests, on a machine that does other things too.
const CAP: Duration = Duration::from_secs(4);

fn fine(survey: &Survey) {
    assert!(survey.panics.is_empty(), "{}", survey.report());
    assert!(survey.slowest.0 < CAP, "{}", survey.report());
}

#[test]
fn specs_with_one_thing_wrong_do_not_panic() {
    let mut survey = Survey::default();
    text::survey(&mut survey, 17, 211);
    fine(&survey);
    assert!(survey.read > 500 && survey.refused * 2 > survey.read, "{}", survey.report());
}

#[test]
fn damaged_tensor_files_do_not_panic() {
    let mut survey = Survey::default();
    files::survey(&mut survey, 2, 4000);
    fine(&survey);
    assert!(survey.refused * 2 > survey.read && survey.refused < survey.read, "{}", survey.report());
}

#[test]
#[cfg(unix)]
fn damaged_runs_and_data_do_not_panic() {
    let mut survey = Survey::default();
    folders::survey(&mut survey, 3, 400);
    fine(&survey);
    assert!(survey.refused * 2 > survey.read && survey.refused < survey.read, "{}", survey.report());
}
