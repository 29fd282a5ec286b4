//! `ogive train`, killed at moments by chance and resumed, ends with the bits of the run that was let alone.
#![cfg(unix)]

#[path = "../../../tests/src/kills.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the command that kills more often")]
mod kills;

use std::path::Path;

#[test]
fn training_that_is_killed_and_resumed_ends_with_the_same_bits() {
    for &spec in kills::SPECS {
        let found = kills::check(Path::new(env!("CARGO_BIN_EXE_ogive")), spec, 3, 11).unwrap_or_else(|why| panic!("{why}"));
        assert!(found.killed > 0, "{}: nothing was killed", spec.0);
    }
}
