//! `ogive train`, killed at moments by chance and resumed, ends with the bits of the run that was let alone.
#![cfg(unix)]

#[path = "../../../tests/src/kills.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the command that kills more often")]
mod kills;

#[path = "../../../tests/src/walls.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the command that kills more often")]
mod walls;

use std::path::Path;
use walls::Wall;

#[test]
fn training_that_is_killed_and_resumed_ends_with_the_same_bits() {
    for &spec in kills::SPECS {
        let found = kills::check(Path::new(env!("CARGO_BIN_EXE_ogive")), spec, 3, 11).unwrap_or_else(|why| panic!("{why}"));
        assert!(found.killed > 0, "{}: nothing was killed", spec.0);
    }
}

#[test]
fn training_that_can_write_no_more_loses_nothing_and_goes_on() {
    let ogive = Path::new(env!("CARGO_BIN_EXE_ogive"));
    let said = walls::check(ogive, kills::SPECS[0], Wall::ReadOnly, 2).unwrap_or_else(|why| panic!("{why}"));
    assert!(said.contains("cannot be written"), "{said}");
    match walls::check(ogive, kills::SPECS[1], Wall::Full, 2) {
        Ok(said) => assert!(said.contains("cannot") && said.contains("No space"), "{said}"),
        // Without the right to mount there is no disk to fill.
        Err(why) => assert!(why.starts_with("mount: "), "{why}"),
    }
}
