use super::*;
use crate::sample;
use crate::text::{print, print_plain};
use proptest::prelude::*;

const LOOP: &str = "\
axis seq = 16
axis model = 8
axis depth = 4
axis model.2 = 8

%0 = input x : f32[seq, model]
%1 = param layer.0.w : f32[depth, model]  @ layer specs/model.arch:3 40..45
%2 = repeat along depth carry [%0] stacked [%1] with [] : f32[seq, model] {  @ . -:7 1..2
  %0 = argument 0 : f32[seq, model]
  %1 = argument 1 : f32[model]
  %2 = mul %0, %1 : f32[seq, model]  @ \"a b\" \"\\n\":3 40..45
  yield [%2] collect []
}
%3 = project 0 of %2 : f32[seq, model]
%4 = rename %3 [model as model.2] : f32[seq, model.2]
%5 = contract %3, %4 over [seq] : f32[model, model.2]
%6 = max %5 over [model.2] : f32[model]
%7 = const -inf : f32[]
%8 = max %6, %7 : f32[model]

output y [model] = %8
update layer.0.w [model, depth] = %1
";

fn message(text: &str) -> String {
    parse(text).map(|_| String::new()).unwrap_or_else(|e| e.to_string())
}

#[test]
fn text_with_a_loop_reads_and_prints_as_it_was() {
    let graph = parse(LOOP).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(print(&graph), LOOP);
    crate::verify::verify(&graph).unwrap();
}

const ROUTED: &str = "\
axis t = 4
axis d = 3
axis e = 5
axis k = 2
axis r = 2
axis c = 3

%0 = input x : f32[t, d]
%1 = param w : f32[e, d]
%2 = contract %0, %1 over [d] : f32[t, e]
%3 = top %2 over [e] as k : i32[t, k]
%4 = route %3 along e shared [] order [t, k] : i32[t, k]
%5 = project 0 of %4 : i32[t, k]
%6 = project 1 of %4 : i32[e]
%7 = routed %0, %1, %3, %5, %6 along e over [d] : f32[t, k]
%8 = routed_outer %0, %7, %3, %5, %6 into e keep [d] : f32[d, e]
%9 = input left : f32[t, r]
%10 = input right : f32[t, c]
%11 = top %9, %10 over [r, c] as k : i32[t, k]

output y [t, k] = %7
output z [e, d] = %8
output pick [t, k] = %11
";

#[test]
fn selection_and_routed_contraction_read_and_print_as_they_were() {
    let graph = parse(ROUTED).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(print(&graph), ROUTED);
    crate::verify::verify(&graph).unwrap();
}

#[test]
fn the_second_axis_of_a_name_is_told_apart() {
    let graph = parse("axis head = 2\naxis head.2 = 3\n%0 = iota head.2 : i32[head.2]\n").unwrap();
    assert_eq!(graph.region.nodes[0].op, Op::Iota(AxisId(1)));
    assert_eq!(graph.axes[1].name, "head");
}

#[test]
fn a_name_with_odd_letters_is_quoted_and_comes_back() {
    let mut graph = Graph::default();
    for name in ["a b", "a b", "x.2", "\"", "", "over", "日本\n"] {
        graph.axis(name, 3);
    }
    for i in 0..7 {
        let ty = Ty::new(DType::I32, Shape::of([AxisId(i)]));
        graph.region.push(Node { op: Op::Iota(AxisId(i)), inputs: SmallVec::new(), ty, origin: Origin::default() });
    }
    assert_eq!(parse(&print(&graph)).unwrap(), graph);
}

#[test]
fn constants_come_back_to_the_bit() {
    let values =
        [0.0, -0.0, 0.1, f64::MIN_POSITIVE, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::from_bits(0xfff8_0000_0000_0001)];
    let mut graph = Graph::default();
    let scalars = values.iter().map(|&x| Scalar::Float(x)).chain([Scalar::Int(i32::MIN), Scalar::Bool(true)]);
    for scalar in scalars {
        graph.region.push(Node { op: Op::Const(scalar), inputs: SmallVec::new(), ty: Ty::scalar(DType::F64), origin: Origin::default() });
    }
    assert_eq!(parse(&print(&graph)).unwrap(), graph);
}

#[test]
fn a_fault_is_reported_with_its_line() {
    assert_eq!(message("axis a = 2\n\n%0 = iota b : i32[b]"), "line 3: no axis is called b");
    assert_eq!(message("axis a = 2\n%1 = iota a : i32[a]"), "line 2: expected the definition of %0");
    assert_eq!(message("axis a = x"), "line 1: expected a size, found `x`");
    assert_eq!(message("axis a = 1\naxis a = 1"), "line 2: the axis is number 2 of the name a, not 1");
    assert_eq!(message("%0 = frobnicate %0 : f32[]"), "line 1: no operation is called `frobnicate`");
    assert_eq!(message("hello"), "line 1: expected a node, `output` or `update`, found `hello`");
    assert_eq!(message("%0 = const 99999999999 : i32[]"), "line 1: `99999999999`: number too large to fit in target type");
}

#[test]
fn a_loop_that_is_not_closed_is_reported() {
    assert!(message("axis a = 1\n%0 = repeat along a carry [] stacked [] with [] : f32[] {\n").contains("yield"));
}

#[test]
fn loops_nested_without_end_are_refused() {
    let text = format!("axis a = 1\n{}", "%0 = scan along a carry [] stacked [] with [] : f32[] {\n".repeat(10_000));
    assert!(message(&text).contains("within one another"));
}

#[test]
fn samples_hold_every_operation() {
    let mut seen = std::collections::BTreeSet::new();
    fn collect(region: &Region, seen: &mut std::collections::BTreeSet<String>) {
        for node in &region.nodes {
            let name = format!("{:?}", node.op);
            seen.insert(if let Op::Map(f) = node.op { f.name().into() } else { name.split(['(', ' ']).next().unwrap_or("").into() });
            if let Op::Loop(l) = &node.op {
                collect(&l.body, seen);
            }
        }
    }
    for seed in 0..300 {
        collect(&sample::graph(seed, 40).region, &mut seen);
    }
    let ops = [
        "Input",
        "Param",
        "Argument",
        "Const",
        "Iota",
        "Random",
        "Reduce",
        "ArgMax",
        "Contract",
        "Solve",
        "Rename",
        "Split",
        "Merge",
        "Slice",
        "Pad",
        "Concat",
        "Gather",
        "ScatterAdd",
        "Softmax",
        "LogSumExp",
        "Attend",
        "AttendGrad",
        "Loop",
        "TopK",
        "Route",
        "Routed",
        "RoutedOuter",
        "Project",
    ];
    for name in ops.into_iter().chain(MapFn::ALL.iter().map(|f| f.name())) {
        assert!(seen.contains(name), "no {name} in {seen:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_graph_comes_back_from_its_text(seed: u64, size in 1usize..60) {
        let graph = sample::graph(seed, size);
        let text = print(&graph);
        prop_assert_eq!(crate::verify::verify(&graph), Ok(()), "{}", text);
        let read = parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(print(&read), text);
        // NaN constants compare by bits, NaN scales do not occur.
        prop_assert_eq!(read, graph);
    }

    #[test]
    fn text_without_origins_reads_as_the_same_operations(seed: u64) {
        let graph = sample::graph(seed, 20);
        let read = parse(&print_plain(&graph)).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(print_plain(&read), print_plain(&graph));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn no_damage_to_a_text_makes_parser_or_verifier_panic(seed in 0u64..40, at: prop::sample::Index, with in "[%\\[\\]0-9a-z .,:{}\"\\\\-]{0,4}", cut in 0usize..6) {
        let text = print(&sample::graph(seed, 25));
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        let damaged = format!("{}{with}{}", &text[..at], &text[end..]);
        if let Ok(graph) = parse(&damaged) {
            let _ = crate::verify::verify(&graph);
        }
    }
}
