use super::*;
use crate::{parse::parse, sample, text::print_plain, verify::verify};

const AXES: &str = "axis a = 4\naxis c = 4\naxis m = 16\naxis p = 2\naxis q = 8\n";

fn simplified(text: &str) -> Graph {
    let graph = parse(&format!("{AXES}{text}")).unwrap_or_else(|e| panic!("{e}"));
    verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
    let new = simplify(&graph);
    verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
    assert_eq!(graph.outputs.len(), new.outputs.len());
    for (old, now) in graph.outputs.iter().zip(&new.outputs) {
        assert_eq!(graph.region.ty(old.value), new.region.ty(now.value));
    }
    new
}

/// The lines between the axes and the outputs.
#[track_caller]
fn becomes(text: &str, expected: &str) {
    let printed = print_plain(&simplified(text));
    let middle = printed.split("\n\n").nth(1).unwrap_or_default();
    assert_eq!(middle.trim(), expected.trim());
}

#[test]
fn constants_fold_through_chains() {
    becomes(
        "%0 = const 2.0 : f32[]\n%1 = const 3.0 : f32[]\n%2 = add %0, %1 : f32[]\n%3 = mul %2, %2 : f32[]\n%4 = neg %3 : f32[]\noutput y [] = %4",
        "%0 = const -25.0 : f32[]",
    );
}

#[test]
fn a_neutral_scalar_disappears() {
    let head = "%0 = input x : f32[a]\n%1 = const 1.0 : f32[]\n%2 = const 0.0 : f32[]\n";
    for op in ["mul %0, %1", "mul %1, %0", "div %0, %1", "add %0, %2", "add %2, %0", "sub %0, %2", "pow %0, %1"] {
        becomes(&format!("{head}%3 = {op} : f32[a]\noutput y [a] = %3"), "%0 = input x : f32[a]");
    }
}

#[test]
fn a_product_with_zero_keeps_its_axes_and_its_nan() {
    let text = "%0 = input x : f32[a]\n%1 = const 0.0 : f32[]\n%2 = mul %0, %1 : f32[a]";
    becomes(&format!("{text}\noutput y [a] = %2"), text);
    let text = "%0 = input x : i32[a]\n%1 = const 0 : i32[]\n%2 = mul %0, %1 : i32[a]";
    becomes(&format!("{text}\noutput y [a] = %2"), text);
    becomes("%0 = input x : i32[]\n%1 = const 0 : i32[]\n%2 = mul %0, %1 : i32[]\noutput y [] = %2", "%0 = const 0 : i32[]");
}

#[test]
fn signs_cancel() {
    let head = "%0 = input x : f32[a]\n%1 = input z : f32[a]\n%2 = neg %0 : f32[a]\n%3 = neg %1 : f32[a]\n";
    let inputs = "%0 = input x : f32[a]\n%1 = input z : f32[a]\n";
    becomes(&format!("{head}%4 = neg %2 : f32[a]\noutput y [a] = %4"), "%0 = input x : f32[a]");
    becomes(&format!("{head}%4 = mul %2, %3 : f32[a]\noutput y [a] = %4"), &format!("{inputs}%2 = mul %0, %1 : f32[a]"));
    becomes(&format!("{head}%4 = add %0, %3 : f32[a]\noutput y [a] = %4"), &format!("{inputs}%2 = sub %0, %1 : f32[a]"));
    becomes(&format!("{head}%4 = add %2, %1 : f32[a]\noutput y [a] = %4"), &format!("{inputs}%2 = sub %1, %0 : f32[a]"));
    becomes(&format!("{head}%4 = sub %0, %3 : f32[a]\noutput y [a] = %4"), &format!("{inputs}%2 = add %0, %1 : f32[a]"));
}

#[test]
fn a_choice_with_a_known_condition_is_made_where_the_axes_allow() {
    let head = "%0 = input x : f32[a]\n%1 = input z : f32[]\n%2 = const true : bool[]\n";
    becomes(&format!("{head}%3 = where %2, %0, %1 : f32[a]\noutput y [a] = %3"), "%0 = input x : f32[a]");
    let printed = print_plain(&simplified(&format!("{head}%3 = where %2, %1, %0 : f32[a]\noutput y [a] = %3")));
    assert!(printed.contains("where"), "z must be spread along a");
}

#[test]
fn negated_comparisons_turn_round_for_integers_only() {
    becomes(
        "%0 = input x : i32[a]\n%1 = const 3 : i32[]\n%2 = lt %0, %1 : bool[a]\n%3 = not %2 : bool[a]\noutput y [a] = %3",
        "%0 = input x : i32[a]\n%1 = const 3 : i32[]\n%2 = ge %0, %1 : bool[a]",
    );
    let text = "%0 = input x : f32[a]\n%1 = const 3.0 : f32[]\n%2 = lt %0, %1 : bool[a]\n%3 = not %2 : bool[a]";
    becomes(&format!("{text}\noutput y [a] = %3"), text);
}

#[test]
fn division_by_a_power_of_two_becomes_multiplication() {
    becomes(
        "%0 = input x : f32[a]\n%1 = const 8.0 : f32[]\n%2 = div %0, %1 : f32[a]\noutput y [a] = %2",
        "%0 = input x : f32[a]\n%1 = const 0.125 : f32[]\n%2 = mul %0, %1 : f32[a]",
    );
    let text = "%0 = input x : f32[a]\n%1 = const 3.0 : f32[]\n%2 = div %0, %1 : f32[a]";
    becomes(&format!("{text}\noutput y [a] = %2"), text);
}

#[test]
fn renamings_compose_and_cancel() {
    becomes(
        "%0 = input x : f32[a]\n%1 = rename %0 [a as c] : f32[c]\n%2 = rename %1 [c as a] : f32[a]\noutput y [a] = %2",
        "%0 = input x : f32[a]",
    );
    becomes(
        "%0 = input x : f32[a, c]\n%1 = rename %0 [a as c, c as a] : f32[a, c]\n%2 = rename %1 [a as c, c as a] : f32[a, c]\noutput y [a, c] = %2",
        "%0 = input x : f32[a, c]",
    );
    becomes("%0 = iota a : i32[a]\n%1 = rename %0 [a as c] : i32[c]\noutput y [c] = %1", "%0 = iota c : i32[c]");
}

#[test]
fn splits_and_merges_cancel_only_in_the_same_order() {
    becomes(
        "%0 = input x : f32[m]\n%1 = split %0 m as [p, q] : f32[p, q]\n%2 = merge %1 [p, q] as m : f32[m]\noutput y [m] = %2",
        "%0 = input x : f32[m]",
    );
    becomes(
        "%0 = input x : f32[p, q]\n%1 = merge %0 [p, q] as m : f32[m]\n%2 = split %1 m as [p, q] : f32[p, q]\noutput y [p, q] = %2",
        "%0 = input x : f32[p, q]",
    );
    let text = "%0 = input x : f32[m]\n%1 = split %0 m as [p, q] : f32[p, q]\n%2 = merge %1 [q, p] as m : f32[m]";
    assert!(print_plain(&simplified(&format!("{text}\noutput y [m] = %2"))).contains("merge"));
}

#[test]
fn a_slice_of_what_was_padded_or_joined_is_the_piece() {
    becomes(
        "%0 = input x : f32[a]\n%1 = pad %0 a at 3 as m : f32[m]\n%2 = slice %1 m from 3 as c : f32[c]\noutput y [c] = %2",
        "%0 = input x : f32[a]\n%1 = rename %0 [a as c] : f32[c]",
    );
    becomes(
        "%0 = input x : f32[a]\n%1 = input z : f32[c]\n%2 = concat %0, %1 along [a, c] as q : f32[q]\n%3 = slice %2 q from 4 as p : f32[p]\noutput y [p] = %3",
        "%0 = input z : f32[c]\n%1 = slice %0 c from 0 as p : f32[p]",
    );
}

#[test]
fn an_unchanging_carry_leaves_the_loop() {
    becomes(
        "%0 = input x : f32[]\n%1 = input w : f32[]\n%2 = repeat along a carry [%0, %1] stacked [] with [] : f32[] {\n%0 = argument 0 : f32[]\n\
         %1 = argument 1 : f32[]\n%2 = mul %0, %1 : f32[]\nyield [%2, %1] collect []\n}\n%3 = project 0 of %2 : f32[]\n%4 = project 1 of %2 : f32[]\n\
         output y [] = %3\noutput w [] = %4",
        "%0 = input x : f32[]\n%1 = input w : f32[]\n%2 = repeat along a carry [%0] stacked [] with [%1] : f32[] {\n  %0 = argument 0 : f32[]\n  \
         %1 = argument 1 : f32[]\n  %2 = mul %0, %1 : f32[]\n  yield [%2] collect []\n}\n%3 = project 0 of %2 : f32[]",
    );
}

#[test]
fn constants_move_into_loops_and_doubled_operands_become_one() {
    becomes(
        "%0 = input x : f32[]\n%1 = const 2.0 : f32[]\n%2 = input w : f32[]\n%3 = repeat along a carry [%0] stacked [] with [%1, %2, %2] : f32[] {\n\
         %0 = argument 0 : f32[]\n%1 = argument 1 : f32[]\n%2 = argument 2 : f32[]\n%3 = argument 3 : f32[]\n%4 = mul %0, %1 : f32[]\n\
         %5 = mul %4, %2 : f32[]\n%6 = mul %5, %3 : f32[]\nyield [%6] collect []\n}\n%4 = project 0 of %3 : f32[]\noutput y [] = %4",
        "%0 = input x : f32[]\n%1 = input w : f32[]\n%2 = repeat along a carry [%0] stacked [] with [%1] : f32[] {\n  %0 = argument 0 : f32[]\n  \
         %1 = const 2.0 : f32[]\n  %2 = argument 1 : f32[]\n  %3 = argument 1 : f32[]\n  %4 = mul %0, %1 : f32[]\n  %5 = mul %4, %2 : f32[]\n  \
         %6 = mul %5, %3 : f32[]\n  yield [%6] collect []\n}\n%3 = project 0 of %2 : f32[]",
    );
}

#[test]
fn a_loop_that_only_copies_disappears() {
    becomes(
        "%0 = input x : f32[a]\n%1 = scan backwards along a carry [] stacked [%0] with [] : f32[a] {\n%0 = argument 0 : f32[]\nyield [] collect [%0]\n}\n\
         %2 = project 0 of %1 : f32[a]\noutput y [a] = %2",
        "%0 = input x : f32[a]",
    );
}

#[test]
fn any_graph_stays_well_formed_and_a_second_run_changes_nothing() {
    for seed in 0..400 {
        let graph = sample::graph(seed, 50);
        let once = simplify(&graph);
        verify(&once).unwrap_or_else(|e| panic!("{seed}: {}\n{}", e[0], print_plain(&once)));
        assert_eq!(simplify(&once), once, "{seed}");
        for (old, new) in graph.outputs.iter().zip(&once.outputs) {
            assert_eq!(graph.region.ty(old.value), once.region.ty(new.value));
        }
    }
}
