use super::*;
use crate::parse::parse;

fn errors(text: &str) -> Vec<String> {
    let graph = parse(text).unwrap_or_else(|e| panic!("{e}"));
    verify(&graph).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[track_caller]
fn sole(text: &str, expected: &str) {
    assert_eq!(errors(text), [expected]);
}

#[test]
fn a_node_that_reads_a_later_one_is_reported() {
    sole("%0 = neg %1 : f32[]\n%1 = const 1.0 : f32[]", "%0: reads %1, which is not an earlier node");
}

#[test]
fn a_recorded_type_that_does_not_follow_is_reported() {
    sole("axis a = 2\n%0 = input x : f32[a]\n%1 = exp %0 : f32[]", "%1: recorded as f32[] but is f32[a]");
}

#[test]
fn all_independent_errors_are_reported() {
    let found = errors("axis a = 0\n%0 = input x : f32[a]\n%1 = sin %0 : i32[a]\n%2 = cos %0, %0 : f32[a]\noutput y [] = %0\n");
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn several_results_are_read_through_projections_only() {
    let head = "axis d = 2\n%0 = input x : f32[]\n%1 = repeat along d carry [%0] stacked [] with [] : f32[] {\n%0 = argument 0 : f32[]\nyield [%0] collect []\n}\n";
    sole(&format!("{head}%2 = neg %1 : f32[]"), "%2: reads %1, which has several results, without a projection");
    sole(&format!("{head}%2 = project 1 of %1 : f32[]"), "%2: projects result 1 of %1, which has 1");
    sole(&format!("{head}%2 = project 0 of %1 : f64[]"), "%2: recorded as f64[] but is f32[]");
    sole(&format!("{head}%2 = project 0 of %0 : f32[]"), "%2: projects %0, which has one result");
    sole(&format!("{head}output y [] = %1"), "%1: output `y` has several results");
    assert_eq!(errors(&format!("{head}%2 = project 0 of %1 : f32[]\noutput y [] = %2")), [""; 0]);
}

#[test]
fn routed_operands_that_do_not_belong_together_are_reported() {
    let head = "axis t = 4\naxis d = 3\naxis e = 5\naxis k = 2\naxis r = 2\n%0 = input x : f32[t, d]\n%1 = param w : f32[e, d]\n\
                %2 = input p : i32[t, k]\n%3 = route %2 along e shared [] order [t, k] : i32[t, k]\n%4 = project 0 of %3 : i32[t, k]\n\
                %5 = project 1 of %3 : i32[e]\n%6 = input s : f32[t, e]\n%7 = input l : f32[t, r]\n";
    let ends = "%8: the ends are not those of the positions and the weights";
    sole(&format!("{head}%8 = routed %0, %1, %2, %4, %4 along e over [d] : f32[t, k]"), ends);
    sole(&format!("{head}%8 = routed %0, %6, %2, %4, %5 along e over [t] : f32[d, k]"), ends);
    sole(&format!("{head}%8 = routed %0, %1, %2, %5, %5 along e over [d] : f32[t, k]"), "%8: the sequence is not that of the positions");
    sole(&format!("{head}%8 = routed %6, %1, %2, %4, %5 along e over [d] : f32[t, k]"), "%8: an operand already has `e`");
    sole(
        &format!("{head}%8 = routed_outer %0, %0, %2, %4, %5 into e keep [d] : f32[e, d]"),
        "%8: operands of routed_outer have every axis of the positions",
    );
    sole(
        &format!("{head}%8 = top %6 over [e, t] as d : i32[d]\n%9 = top %7 over [r] as d : i32[t, d]"),
        "%9: the 3 largest of 2 positions",
    );
    sole(&format!("{head}%8 = top %6, %0 over [e, r] as k : i32[t, k]"), "%8: operand has no axis `r`");
    sole(&format!("{head}%8 = top %2 over [t] as r : i32[k, r]"), "%8: ranks floats only");
}

#[test]
fn errors_in_a_body_name_the_loop_that_leads_there() {
    let text = "axis d = 2\n%0 = input x : f32[d]\n%1 = scan along d carry [] stacked [%0] with [] : f32[d] {\n%0 = argument 0 : f32[d]\nyield [] collect [%0]\n}\n";
    let found = errors(text);
    assert_eq!(found[0], "%1/%0: argument 0 differs in type from the loop's input");
    assert_eq!(found[1], "%1: its body is not well formed");
}

#[test]
fn an_argument_outside_a_loop_and_a_port_inside_one_are_reported() {
    sole("%0 = argument 0 : f32[]", "%0: an argument outside a loop");
    let text = "axis d = 2\n%0 = scan along d carry [] stacked [] with [] : f32[d] {\n%0 = input x : f32[]\nyield [] collect [%0]\n}\n";
    assert_eq!(errors(text)[0], "%0/%0: a port inside a loop");
}

#[test]
fn a_carry_that_changes_its_type_is_reported() {
    let text = "axis d = 2\naxis a = 3\n%0 = input x : f32[]\n%1 = scan along d carry [%0] stacked [] with [] : f32[] {\n%0 = argument 0 : f32[]\n%1 = iota a : i32[a]\nyield [%1] collect []\n}\n";
    sole(text, "%1: carry 0 changes its type");
}

#[test]
fn ports_of_one_kind_have_names_of_their_own() {
    sole("%0 = input x : f32[]\n%1 = input x : f32[]", "%1: port `x` is %0 already");
    assert!(errors("%0 = input x : f32[]\n%1 = param x : f32[]").is_empty());
}

#[test]
fn an_update_names_a_parameter_of_its_type() {
    sole("%0 = input x : f32[]\nupdate x [] = %0", "%0: update of `x`, which is no parameter");
    sole(
        "axis a = 2\n%0 = param x : f32[a]\n%1 = const 1.0 : f32[]\nupdate x [] = %1",
        "%1: update of `x` is f32[] but the parameter is f32[a]",
    );
    sole("%0 = param x : f32[]\nupdate x [] = %0\nupdate x [] = %0", "graph: output `x` occurs twice");
}

#[test]
fn an_output_lists_the_axes_of_its_value() {
    sole("axis a = 2\n%0 = iota a : i32[a]\noutput y [] = %0", "%0: the order of output `y` is not a permutation of its axes");
    sole("output y [] = %7", "graph: output `y` is %7, which does not exist");
}

#[test]
fn an_axis_named_twice_in_one_list_is_reported() {
    sole("axis a = 2\n%0 = input x : f32[a]\n%1 = sum %0 over [a, a] : f32[]", "%1: names an axis twice");
}

#[test]
fn element_types_fit_their_operations() {
    sole("%0 = const 1 : i32[]\n%1 = exp %0 : i32[]", "%1: is float only, not i32");
    sole("%0 = const true : bool[]\n%1 = neg %0 : bool[]", "%1: is of numbers, not bool");
    sole("%0 = const 1.0 : i32[]", "%0: is float only, not i32");
    sole("%0 = const true : f32[]", "%0: a truth constant of f32");
}

#[test]
fn results_of_a_body_that_do_not_exist_are_reported() {
    let text =
        "axis d = 2\n%0 = scan along d carry [] stacked [] with [] : f32[d] {\nyield [] collect [%9]\n}\n%1 = project 0 of %0 : f32[d]\n";
    assert!(errors(text).contains(&"%0/graph: result %9 does not exist".to_string()), "{:?}", errors(text));
}
