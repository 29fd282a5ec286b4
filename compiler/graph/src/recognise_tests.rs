use super::*;
use crate::{dce::dce, parse::parse, text::print_plain, verify::verify};

const AXES: &str = "axis batch = 2\naxis seq = 4\naxis src = 4\naxis head = 3\naxis key = 5\naxis mem = 12\n\n";

/// Attention over x with the lines in between; `%11` are the raw scores, `{}` ends with the weights, which are `%{weights}`.
fn graph(middle: &str, weights: u32) -> Graph {
    let text = format!(
        "{AXES}%0 = input q : f32[batch, seq, head, key]\n%1 = input k : f32[batch, seq, head, key]\n%2 = input v : f32[batch, seq, head, key]\n\
         %3 = rename %1 [seq as src] : f32[batch, src, head, key]\n%4 = rename %2 [seq as src] : f32[batch, src, head, key]\n\
         %5 = iota src : i32[src]\n%6 = iota seq : i32[seq]\n%7 = sub %5, %6 : i32[seq, src]\n%8 = const 0 : i32[]\n%9 = const -inf : f32[]\n\
         %10 = const 4.0 : f32[]\n{middle}\n%{} = contract %{weights}, %4 over [src] : f32[batch, seq, head, key]\n\
         output y [batch, seq, head, key] = %{}\n",
        weights + 1,
        weights + 1
    );
    let graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify(&graph).unwrap_or_else(|e| panic!("{}\n{text}", e[0]));
    graph
}

fn attention(graph: &Graph) -> Option<Attention> {
    let new = recognise(graph);
    verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
    new.region.nodes.iter().find_map(|n| if let Op::Attend(a) = &n.op { Some(a.clone()) } else { None })
}

const SCORES: &str = "%11 = contract %0, %3 over [key] : f32[batch, seq, src, head]";
const S: &str = "f32[batch, seq, src, head]";

#[test]
fn plain_attention_is_found() {
    let g = graph(&format!("{SCORES}\n%12 = softmax %11 over [src] : {S}"), 12);
    let found = attention(&g).unwrap();
    assert_eq!((found.scale, found.causal), (1.0, None));
    assert_eq!(found.query, AxisId(1));
    assert_eq!(found.source, AxisId(2));
    let new = dce(&recognise(&g));
    assert!(print_plain(&new).contains("attend %0, %3, %4 query seq source src key key value key scale 1.0\n".trim_end()));
    assert!(!print_plain(&new).contains("softmax"));
}

#[test]
fn a_causal_mask_over_divided_scores_is_found() {
    let middle = format!(
        "{SCORES}\n%12 = div %11, %10 : {S}\n%13 = le %7, %8 : bool[seq, src]\n%14 = where %13, %12, %9 : {S}\n%15 = softmax %14 over [src] : {S}"
    );
    let found = attention(&graph(&middle, 15)).unwrap();
    assert_eq!((found.scale, found.causal), (0.25, Some(0)));
}

#[test]
fn every_way_to_write_the_causal_mask_is_found() {
    let ways = [
        ("%12 = le %5, %6 : bool[seq, src]", "%12, %11, %9", Some(0)),
        ("%12 = ge %6, %5 : bool[seq, src]", "%12, %11, %9", Some(0)),
        ("%12 = gt %5, %6 : bool[seq, src]", "%12, %9, %11", Some(0)),
        ("%12 = lt %6, %5 : bool[seq, src]", "%12, %9, %11", Some(0)),
        ("%12 = const 1 : i32[]\n%13 = lt %7, %12 : bool[seq, src]", "%13, %11, %9", Some(0)),
        ("%12 = const 2 : i32[]\n%13 = add %6, %12 : i32[seq]\n%14 = le %5, %13 : bool[seq, src]", "%14, %11, %9", Some(2)),
        ("%12 = gt %7, %8 : bool[seq, src]\n%13 = not %12 : bool[seq, src]", "%13, %11, %9", Some(0)),
        ("%12 = rename %6 [seq as src] : i32[src]\n%13 = le %12, %6 : bool[seq, src]", "%13, %11, %9", Some(0)),
        ("%12 = lt %5, %6 : bool[seq, src]", "%12, %11, %9", None),
        ("%12 = ge %5, %6 : bool[seq, src]", "%12, %11, %9", None),
        ("%12 = eq %5, %6 : bool[seq, src]", "%12, %11, %9", None),
        ("%12 = le %5, %6 : bool[seq, src]", "%12, %11, %10", None),
    ];
    for (mask, operands, causal) in ways {
        let last = 11 + mask.lines().count() as u32;
        let text =
            format!("{SCORES}\n{mask}\n%{} = where {operands} : {S}\n%{} = softmax %{} over [src] : {S}", last + 1, last + 2, last + 1);
        let found = attention(&graph(&text, last + 2));
        assert_eq!(found.and_then(|a| a.causal), causal, "{mask} / {operands}");
    }
}

#[test]
fn a_scale_on_query_and_key_joins_the_scale_of_the_scores() {
    let middle = "%11 = mul %0, %10 : f32[batch, seq, head, key]\n%12 = mul %10, %3 : f32[batch, src, head, key]\n\
                  %13 = contract %12, %11 over [key] : f32[batch, seq, src, head]\n%14 = mul %13, %10 : f32[batch, seq, src, head]\n\
                  %15 = softmax %14 over [src] : f32[batch, seq, src, head]";
    assert_eq!(attention(&graph(middle, 15)).map(|a| a.scale), Some(64.0));
}

#[test]
fn scores_that_are_read_elsewhere_are_left_alone() {
    let middle =
        format!("{SCORES}\n%12 = softmax %11 over [src] : {S}\n%13 = sum %11 over [src] : f32[batch, seq, head]\n%14 = mul %12, %10 : {S}");
    assert_eq!(attention(&graph(&middle, 14)), None);
    let middle = format!("{SCORES}\n%12 = sum %11 over [src] : f32[batch, seq, head]\n%13 = softmax %11 over [src] : {S}");
    assert_eq!(attention(&graph(&middle, 13)), None);
}

#[test]
fn weights_that_are_an_output_are_left_alone() {
    let mut g = graph(&format!("{SCORES}\n%12 = softmax %11 over [src] : {S}"), 12);
    let mut tap = g.outputs[0].clone();
    tap.port.name = "weights".into();
    tap.port.order = [0, 1, 2, 3].map(AxisId).to_vec();
    tap.value = Value(12);
    g.outputs.push(tap);
    verify(&g).unwrap();
    assert_eq!(attention(&g), None);
}

#[test]
fn a_term_added_to_the_scores_is_left_alone() {
    let middle = format!("{SCORES}\n%12 = add %11, %10 : {S}\n%13 = softmax %12 over [src] : {S}");
    assert_eq!(attention(&graph(&middle, 13)), None);
}

#[test]
fn a_negative_factor_outside_the_mask_is_left_alone() {
    let middle = format!(
        "{SCORES}\n%12 = le %7, %8 : bool[seq, src]\n%13 = where %12, %11, %9 : {S}\n%14 = neg %13 : {S}\n%15 = softmax %14 over [src] : {S}"
    );
    assert_eq!(attention(&graph(&middle, 15)), None);
}

#[test]
fn longer_sources_with_an_offset_are_found_inside_a_loop() {
    let text = format!(
        "{AXES}axis depth = 2\n%0 = input q : f32[seq, key]\n%1 = input m : f32[mem, key]\n\
         %2 = repeat along depth carry [%0] stacked [] with [%1] : f32[seq, key] {{\n\
         %0 = argument 0 : f32[seq, key]\n%1 = argument 1 : f32[mem, key]\n%2 = contract %0, %1 over [key] : f32[seq, mem]\n\
         %3 = iota mem : i32[mem]\n%4 = iota seq : i32[seq]\n%5 = sub %3, %4 : i32[seq, mem]\n%6 = const 8 : i32[]\n\
         %7 = le %5, %6 : bool[seq, mem]\n%8 = const -inf : f32[]\n%9 = where %7, %2, %8 : f32[seq, mem]\n\
         %10 = softmax %9 over [mem] : f32[seq, mem]\n%11 = contract %10, %1 over [mem] : f32[seq, key]\nyield [%11] collect []\n}}\n\
         %3 = project 0 of %2 : f32[seq, key]\noutput y [seq, key] = %3\n"
    );
    let graph = dce(&recognise(&parse(&text).unwrap()));
    verify(&graph).unwrap();
    let Op::Loop(l) = &graph.region.nodes[2].op else { panic!("no loop") };
    assert_eq!(l.body.nodes.len(), 4);
    assert!(matches!(&l.body.nodes[2].op, Op::Attend(a) if a.causal == Some(8)));
}

#[test]
fn keys_without_the_heads_of_the_query_are_left_alone() {
    let text = format!(
        "{AXES}%0 = input q : f32[seq, head, key]\n%1 = input k : f32[src, key]\n%2 = contract %0, %1 over [key] : f32[seq, src, head]\n\
         %3 = softmax %2 over [src] : f32[seq, src, head]\n%4 = contract %3, %1 over [src] : f32[seq, head, key]\noutput y [seq, head, key] = %4\n"
    );
    assert_eq!(attention(&parse(&text).unwrap()), None);
}
