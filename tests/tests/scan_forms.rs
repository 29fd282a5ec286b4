//! Scans computed for many steps at once give what they give step by step: outputs, final states and all gradients.

use ogive_graph::parallel::{self, Chosen, Way, parallel};
use ogive_graph::segment::{Keep, segments};
use ogive_graph::{Graph, Op, parse, text, verify};
use ogive_runtime::{Bindings, Data, Dim, Draw, Store, Tensor, evaluate};
use ogive_tests::check::with_gradients;
use std::collections::BTreeMap;

/// A scan as text: axes besides `t`, ports, and the loop with its projections and outputs.
struct Case {
    name: &'static str,
    text: &'static str,
    /// Whether there is a chunkwise form; an associative one.
    forms: [bool; 2],
}

const AXES: &str = "axis b = 2\naxis k = 3\naxis v = 2\naxis c = 2\n";

const CASES: &[Case] = &[
    Case {
        name: "sums of outer products",
        text: "%0 = input s : f64[b, k, v]\n%1 = input q : f64[t, b, k]\n%2 = input k : f64[t, b, k]\n%3 = input v : f64[t, b, v]\n\
            %4 = SCAN along t carry [%0] stacked [%1, %2, %3] with [] : f64[b, k, v] {\n%0 = argument 0 : f64[b, k, v]\n\
            %1 = argument 1 : f64[b, k]\n%2 = argument 2 : f64[b, k]\n%3 = argument 3 : f64[b, v]\n%4 = mul %2, %3 : f64[b, k, v]\n\
            %5 = add %0, %4 : f64[b, k, v]\n%6 = contract %1, %5 over [k] : f64[b, v]\nyield [%5] collect [%6]\n}\n\
            %5 = project 0 of %4 : f64[b, k, v]\n%6 = project 1 of %4 : f64[t, b, v]\noutput s [b, k, v] = %5\noutput y [t, b, v] = %6\n",
        forms: [true, true],
    },
    Case {
        name: "sums with a denominator, read by several questions before and after the write",
        text: "%0 = input s : f64[b, k, v]\n%1 = input z : f64[b, k]\n%2 = input q : f64[t, b, c, k]\n%3 = input k : f64[t, b, k]\n\
            %4 = input v : f64[t, b, v]\n\
            %5 = SCAN along t carry [%0, %1] stacked [%2, %3, %4] with [] : f64[b, k, v] {\n%0 = argument 0 : f64[b, k, v]\n\
            %1 = argument 1 : f64[b, k]\n%2 = argument 2 : f64[b, c, k]\n%3 = argument 3 : f64[b, k]\n%4 = argument 4 : f64[b, v]\n\
            %5 = mul %3, %4 : f64[b, k, v]\n%6 = add %0, %5 : f64[b, k, v]\n%7 = add %1, %3 : f64[b, k]\n\
            %8 = contract %2, %6 over [k] : f64[b, v, c]\n%9 = contract %2, %7 over [k] : f64[b, c]\n%10 = mul %9, %9 : f64[b, c]\n\
            %11 = const 1.0 : f64[]\n%12 = add %10, %11 : f64[b, c]\n%13 = div %8, %12 : f64[b, v, c]\n\
            %14 = contract %2, %0 over [k] : f64[b, v, c]\n%15 = tanh %14 : f64[b, v, c]\n%16 = add %13, %15 : f64[b, v, c]\n\
            yield [%6, %7] collect [%16]\n}\n\
            %6 = project 0 of %5 : f64[b, k, v]\n%7 = project 1 of %5 : f64[b, k]\n%8 = project 2 of %5 : f64[t, b, v, c]\n\
            output s [b, k, v] = %6\noutput z [b, k] = %7\noutput y [t, b, v, c] = %8\n",
        forms: [true, true],
    },
    Case {
        name: "sums that fade by a factor, zero at times",
        text: "%0 = input s : f64[b, k, v]\n%1 = input q : f64[t, b, k]\n%2 = input k : f64[t, b, k]\n%3 = input v : f64[t, b, v]\n\
            %4 = input g : f64[t, b]\n\
            %5 = SCAN along t carry [%0] stacked [%1, %2, %3, %4] with [] : f64[b, k, v] {\n%0 = argument 0 : f64[b, k, v]\n\
            %1 = argument 1 : f64[b, k]\n%2 = argument 2 : f64[b, k]\n%3 = argument 3 : f64[b, v]\n%4 = argument 4 : f64[b]\n\
            %5 = relu %4 : f64[b]\n%6 = mul %5, %0 : f64[b, k, v]\n%7 = mul %2, %3 : f64[b, k, v]\n%8 = add %6, %7 : f64[b, k, v]\n\
            %9 = contract %1, %8 over [k] : f64[b, v]\nyield [%8] collect [%9]\n}\n\
            %6 = project 0 of %5 : f64[b, k, v]\n%7 = project 1 of %5 : f64[t, b, v]\noutput s [b, k, v] = %6\noutput y [t, b, v] = %7\n",
        forms: [true, true],
    },
    Case {
        name: "the delta rule",
        text: "%0 = input s : f64[b, k, v]\n%1 = input q : f64[t, b, k]\n%2 = input k : f64[t, b, k]\n%3 = input v : f64[t, b, v]\n\
            %4 = input r : f64[t, b]\n\
            %5 = SCAN along t carry [%0] stacked [%1, %2, %3, %4] with [] : f64[b, k, v] {\n%0 = argument 0 : f64[b, k, v]\n\
            %1 = argument 1 : f64[b, k]\n%2 = argument 2 : f64[b, k]\n%3 = argument 3 : f64[b, v]\n%4 = argument 4 : f64[b]\n\
            %5 = mul %4, %2 : f64[b, k]\n%6 = contract %2, %0 over [k] : f64[b, v]\n%7 = sub %3, %6 : f64[b, v]\n\
            %8 = mul %5, %7 : f64[b, k, v]\n%9 = add %0, %8 : f64[b, k, v]\n%10 = contract %1, %9 over [k] : f64[b, v]\n\
            yield [%9] collect [%10]\n}\n\
            %6 = project 0 of %5 : f64[b, k, v]\n%7 = project 1 of %5 : f64[t, b, v]\noutput s [b, k, v] = %6\noutput y [t, b, v] = %7\n",
        forms: [true, false],
    },
    Case {
        name: "the delta rule on a memory that fades, read before the write",
        text: "%0 = input s : f64[b, k, v]\n%1 = input q : f64[t, b, k]\n%2 = input k : f64[t, b, k]\n%3 = input v : f64[t, b, v]\n\
            %4 = input r : f64[t, b]\n%5 = input g : f64[t, b]\n\
            %6 = SCAN along t carry [%0] stacked [%1, %2, %3, %4, %5] with [] : f64[b, k, v] {\n%0 = argument 0 : f64[b, k, v]\n\
            %1 = argument 1 : f64[b, k]\n%2 = argument 2 : f64[b, k]\n%3 = argument 3 : f64[b, v]\n%4 = argument 4 : f64[b]\n\
            %5 = argument 5 : f64[b]\n%6 = mul %5, %0 : f64[b, k, v]\n%7 = contract %2, %6 over [k] : f64[b, v]\n\
            %8 = sub %3, %7 : f64[b, v]\n%9 = mul %4, %2 : f64[b, k]\n%10 = mul %9, %8 : f64[b, k, v]\n%11 = add %6, %10 : f64[b, k, v]\n\
            %12 = contract %1, %0 over [k] : f64[b, v]\n%13 = contract %1, %11 over [k] : f64[b, v]\n%14 = mul %12, %13 : f64[b, v]\n\
            yield [%11] collect [%14]\n}\n\
            %7 = project 0 of %6 : f64[b, k, v]\n%8 = project 1 of %6 : f64[t, b, v]\noutput s [b, k, v] = %7\noutput y [t, b, v] = %8\n",
        forms: [true, false],
    },
    Case {
        name: "a correction along one direction by the difference of two readings, and a sum along another",
        text: "%0 = input s : f64[b, k, v]\n%1 = input q : f64[t, b, k]\n%2 = input k : f64[t, b, k]\n%3 = input v : f64[t, b, v]\n\
            %4 = input r : f64[t, b]\n\
            %5 = SCAN along t carry [%0] stacked [%1, %2, %3, %4] with [] : f64[b, k, v] {\n%0 = argument 0 : f64[b, k, v]\n\
            %1 = argument 1 : f64[b, k]\n%2 = argument 2 : f64[b, k]\n%3 = argument 3 : f64[b, v]\n%4 = argument 4 : f64[b]\n\
            %5 = contract %1, %0 over [k] : f64[b, v]\n%6 = contract %2, %0 over [k] : f64[b, v]\n%7 = sub %5, %6 : f64[b, v]\n\
            %8 = mul %4, %2 : f64[b, k]\n%9 = mul %8, %7 : f64[b, k, v]\n%10 = add %0, %9 : f64[b, k, v]\n%11 = mul %1, %3 : f64[b, k, v]\n\
            %12 = add %10, %11 : f64[b, k, v]\nyield [%12] collect [%5]\n}\n\
            %6 = project 0 of %5 : f64[b, k, v]\n%7 = project 1 of %5 : f64[t, b, v]\noutput s [b, k, v] = %6\noutput y [t, b, v] = %7\n",
        forms: [true, false],
    },
    Case {
        name: "a diagonal recurrence, with its states before and after",
        text: "%0 = input s : f64[b, k]\n%1 = input x : f64[t, b, k]\n%2 = input a : f64[t, b, k]\n\
            %3 = SCAN along t carry [%0] stacked [%1, %2] with [] : f64[b, k] {\n%0 = argument 0 : f64[b, k]\n%1 = argument 1 : f64[b, k]\n\
            %2 = argument 2 : f64[b, k]\n%3 = mul %2, %0 : f64[b, k]\n%4 = add %3, %1 : f64[b, k]\n%5 = tanh %4 : f64[b, k]\n\
            %6 = mul %5, %0 : f64[b, k]\nyield [%4] collect [%6, %4]\n}\n\
            %4 = project 0 of %3 : f64[b, k]\n%5 = project 1 of %3 : f64[t, b, k]\n%6 = project 2 of %3 : f64[t, b, k]\n\
            output s [b, k] = %4\noutput y [t, b, k] = %5\noutput h [t, b, k] = %6\n",
        forms: [false, true],
    },
    Case {
        name: "sums whose keys fade each by a gate of its own",
        text: "%0 = input s : f64[b, k, v]\n%1 = input q : f64[t, b, k]\n%2 = input k : f64[t, b, k]\n%3 = input v : f64[t, b, v]\n\
            %4 = input g : f64[t, b, k]\n\
            %5 = SCAN along t carry [%0] stacked [%1, %2, %3, %4] with [] : f64[b, k, v] {\n%0 = argument 0 : f64[b, k, v]\n\
            %1 = argument 1 : f64[b, k]\n%2 = argument 2 : f64[b, k]\n%3 = argument 3 : f64[b, v]\n%4 = argument 4 : f64[b, k]\n\
            %5 = sigmoid %4 : f64[b, k]\n%6 = mul %5, %0 : f64[b, k, v]\n%7 = mul %2, %3 : f64[b, k, v]\n%8 = add %6, %7 : f64[b, k, v]\n\
            %9 = contract %1, %8 over [k] : f64[b, v]\nyield [%8] collect [%9]\n}\n\
            %6 = project 0 of %5 : f64[b, k, v]\n%7 = project 1 of %5 : f64[t, b, v]\noutput s [b, k, v] = %6\noutput y [t, b, v] = %7\n",
        forms: [false, true],
    },
    Case {
        name: "a rotation of two states into each other, and a third that is turned from one of them",
        text: "%0 = input r : f64[b, k]\n%1 = input i : f64[b, k]\n%2 = input m : f64[b, k]\n%3 = input x : f64[t, b, k]\n\
            %4 = input c : f64[t, k]\n%5 = input d : f64[k]\n\
            %6 = SCAN along t carry [%0, %1, %2] stacked [%3, %4] with [%5] : f64[b, k] {\n%0 = argument 0 : f64[b, k]\n\
            %1 = argument 1 : f64[b, k]\n%2 = argument 2 : f64[b, k]\n%3 = argument 3 : f64[b, k]\n%4 = argument 4 : f64[k]\n\
            %5 = argument 5 : f64[k]\n%6 = mul %4, %0 : f64[b, k]\n%7 = mul %5, %1 : f64[b, k]\n%8 = sub %6, %7 : f64[b, k]\n\
            %9 = add %8, %3 : f64[b, k]\n%10 = mul %5, %0 : f64[b, k]\n%11 = mul %4, %1 : f64[b, k]\n%12 = add %10, %11 : f64[b, k]\n\
            %13 = mul %4, %2 : f64[b, k]\n%14 = add %13, %9 : f64[b, k]\n%15 = mul %9, %12 : f64[b, k]\n%16 = tanh %14 : f64[b, k]\n\
            %17 = add %15, %16 : f64[b, k]\nyield [%9, %12, %14] collect [%17]\n}\n\
            %7 = project 0 of %6 : f64[b, k]\n%8 = project 1 of %6 : f64[b, k]\n%9 = project 2 of %6 : f64[b, k]\n\
            %10 = project 3 of %6 : f64[t, b, k]\noutput r [b, k] = %7\noutput i [b, k] = %8\noutput m [b, k] = %9\n\
            output y [t, b, k] = %10\n",
        forms: [false, true],
    },
    Case {
        name: "a value and its momentum, which is drawn to it",
        text: "%0 = input r : f64[b, k]\n%1 = input i : f64[b, k]\n%2 = input x : f64[t, b, k]\n%3 = input d : f64[k]\n\
            %4 = SCAN along t carry [%0, %1] stacked [%2] with [%3] : f64[b, k] {\n%0 = argument 0 : f64[b, k]\n\
            %1 = argument 1 : f64[b, k]\n%2 = argument 2 : f64[b, k]\n%3 = argument 3 : f64[k]\n\
            %4 = sub %1, %0 : f64[b, k]\n%5 = mul %3, %4 : f64[b, k]\n%6 = add %5, %2 : f64[b, k]\n%7 = add %0, %6 : f64[b, k]\n\
            yield [%7, %6] collect [%7]\n}\n\
            %5 = project 0 of %4 : f64[b, k]\n%6 = project 1 of %4 : f64[b, k]\n%7 = project 2 of %4 : f64[t, b, k]\n\
            output r [b, k] = %5\noutput i [b, k] = %6\noutput y [t, b, k] = %7\n",
        forms: [false, true],
    },
    Case {
        name: "a sum that is reset where an input says so",
        text: "%0 = input s : f64[b, k]\n%1 = input x : f64[t, b, k]\n%2 = input a : f64[t, b]\n\
            %3 = SCAN along t carry [%0] stacked [%1, %2] with [] : f64[b, k] {\n%0 = argument 0 : f64[b, k]\n%1 = argument 1 : f64[b, k]\n\
            %2 = argument 2 : f64[b]\n%3 = const 0.0 : f64[]\n%4 = gt %2, %3 : bool[b]\n%5 = where %4, %3, %0 : f64[b, k]\n\
            %6 = add %5, %1 : f64[b, k]\nyield [%6] collect [%6]\n}\n\
            %4 = project 0 of %3 : f64[b, k]\n%5 = project 1 of %3 : f64[t, b, k]\noutput s [b, k] = %4\noutput y [t, b, k] = %5\n",
        forms: [false, true],
    },
];

fn graph(case: &Case, length: u64, backwards: bool) -> Graph {
    let scan = if backwards { "scan backwards" } else { "scan" };
    let text = format!("axis t = {length}\n{AXES}{}", case.text.replace("SCAN", scan));
    let graph = parse::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    verify::verify(&graph).unwrap_or_else(|e| panic!("{}: {}", case.name, e[0]));
    graph
}

fn run(graph: &Graph) -> BTreeMap<String, Vec<f64>> {
    verify::verify(graph).unwrap_or_else(|e| panic!("{}\n{}", e[0], text::print_plain(graph)));
    let mut inputs = Bindings::new();
    for node in &graph.region.nodes {
        let Op::Input(port) = &node.op else { continue };
        let dims: Vec<Dim> = port.order.iter().map(|&a| Dim { name: graph.name(a).into(), size: graph.size(a) as usize }).collect();
        let len: usize = dims.iter().map(|d| d.size).product();
        let mut state = port.name.bytes().fold(7u64, |h, b| h.wrapping_mul(131).wrapping_add(b.into()));
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / f64::from(1 << 24) * 1.6 - 0.8
        };
        let data = Data::F64((0..len).map(|_| next()).collect());
        inputs.insert(port.name.clone(), Tensor { dims, data });
    }
    let found = evaluate(graph, &inputs, &mut Store::default(), Draw::default()).unwrap_or_else(|e| panic!("{e}"));
    found.into_iter().map(|(name, t)| (name, t.to_f64())).collect()
}

fn the_loop(graph: &Graph) -> &ogive_graph::Loop {
    let found = graph.region.nodes.iter().find_map(|n| if let Op::Loop(l) = &n.op { Some(l) } else { None });
    found.expect("a scan")
}

#[test]
fn all_forms_agree_in_outputs_states_and_gradients() {
    const CHUNK: u64 = 4;
    for case in CASES {
        for backwards in [false, true] {
            for length in [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 3] {
                let step = graph(case, length, backwards);
                let expected = run(&with_gradients(&step));
                for (way, admitted) in [(Way::Chunk(Some(CHUNK)), case.forms[0]), (Way::Associative, case.forms[1])] {
                    let chosen = parallel::chosen(&step, the_loop(&step), way);
                    let as_asked = match chosen {
                        Chosen::Chunks(_) => matches!(way, Way::Chunk(_)),
                        Chosen::Associative(_) => way == Way::Associative || !case.forms[0],
                        Chosen::Step => !admitted && way == Way::Associative,
                    };
                    assert!(as_asked, "{}: {chosen} where {way} was asked for", case.name);
                    if chosen == Chosen::Step {
                        continue;
                    }
                    let rewritten = parallel(&step, way);
                    let found = run(&with_gradients(&rewritten));
                    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
                    for (name, expected) in &expected {
                        let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
                        assert!(scale > 1e-3);
                        let apart = expected.iter().zip(&found[name]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                        assert!(
                            apart <= 1e-12 * scale,
                            "{}, length {length}, backwards {backwards}, {way}: `{name}` differs by {apart:e}\n{}",
                            case.name,
                            text::print_plain(&rewritten)
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn segments_give_the_same_and_keep_the_states_between_them_alone() {
    for case in CASES {
        for backwards in [false, true] {
            for (length, steps) in [(5, Some(2)), (12, Some(4)), (13, None), (16, None), (17, Some(16))] {
                let plain = graph(case, length, backwards);
                let expected = run(&with_gradients(&plain));
                let cut = segments(&plain, Keep::Segments(steps));
                assert!(text::print_plain(&cut).contains("segments"), "{}", case.name);
                let differentiated = with_gradients(&cut);
                for (name, found) in run(&differentiated) {
                    let scale = expected[&name].iter().fold(1.0f64, |m, x| m.max(x.abs()));
                    let apart = expected[&name].iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    assert!(apart <= 1e-13 * scale, "{}, length {length}, backwards {backwards}: `{name}` differs by {apart:e}", case.name);
                }
            }
        }
    }
}

#[test]
fn states_computed_backwards_give_the_same_gradients() {
    let mut inverted = Vec::new();
    for case in CASES {
        for backwards in [false, true] {
            for length in [1, 5, 16] {
                let plain = graph(case, length, backwards);
                let marked = segments(&plain, Keep::Invert);
                if text::print_plain(&marked).contains("inverted along") && !inverted.contains(&case.name) {
                    inverted.push(case.name);
                }
                let expected = run(&with_gradients(&plain));
                let differentiated = with_gradients(&marked);
                assert!(!text::print_plain(&differentiated).contains("inverted along"), "{}", case.name);
                for (name, found) in run(&differentiated) {
                    let scale = expected[&name].iter().fold(1.0f64, |m, x| m.max(x.abs()));
                    let apart = expected[&name].iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    assert!(apart <= 1e-13 * scale, "{}, length {length}, backwards {backwards}: `{name}` differs by {apart:e}", case.name);
                }
            }
        }
    }
    assert!(inverted.iter().any(|name| name.contains("sum")), "{inverted:?}");
}

/// Elements of the largest value outside of loops that no input and no output is.
fn largest(graph: &Graph) -> u64 {
    let is_port = |i: usize| graph.outputs.iter().any(|o| o.value.index() == i);
    let nodes = graph.region.nodes.iter().enumerate().filter(|(i, n)| !matches!(n.op, Op::Input(_)) && !is_port(*i));
    nodes.map(|(_, n)| graph.elements(&n.ty.shape)).max().unwrap_or(0)
}

#[test]
fn what_the_backward_pass_keeps_grows_as_is_promised() {
    let delta = CASES.iter().find(|c| c.name == "the delta rule").expect("the case");
    let wide = |length: u64| {
        let text = format!("axis t = {length}\naxis b = 1\naxis k = 64\naxis v = 64\naxis c = 2\n{}", delta.text.replace("SCAN", "scan"));
        parse::parse(&text).unwrap_or_else(|e| panic!("{e}"))
    };
    let (length, width) = (1024, 64);
    let state = width * width;
    let step = wide(length);
    assert_eq!(largest(&with_gradients(&step)), length * state, "step by step keeps a state for each step");
    let chunks = with_gradients(&parallel(&step, Way::Chunk(Some(64))));
    assert!(largest(&chunks) <= 2 * length * width, "in chunks {} is kept", largest(&chunks));
    let sums = CASES.iter().find(|c| c.name == "sums of outer products").expect("the case");
    let text = format!("axis t = {length}\naxis b = 1\naxis k = 64\naxis v = 64\naxis c = 2\n{}", sums.text.replace("SCAN", "scan"));
    let sums = parse::parse(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(largest(&with_gradients(&sums)), length * state, "step by step keeps a state for each step");
    let backwards = with_gradients(&segments(&sums, Keep::Invert));
    assert!(largest(&backwards) <= state.max(2 * length * width), "computed backwards {} is kept", largest(&backwards));
    // What the delta rule adds depends on the state, as a product of two vectors, which are kept.
    let backwards = with_gradients(&segments(&step, Keep::Invert));
    assert!(largest(&backwards) <= state.max(2 * length * width), "computed backwards {} is kept", largest(&backwards));
    let marks = |length: u64| {
        let text = format!("axis t = {length}\naxis b = 1\naxis k = 64\naxis v = 256\naxis c = 2\n{}", delta.text.replace("SCAN", "scan"));
        let graph = parse::parse(&text).unwrap_or_else(|e| panic!("{e}"));
        text::print_plain(&segments(&graph, Keep::Auto)).contains("inverted along")
    };
    assert_eq!([16, 1024, 2048].map(marks), [false, true, false], "by itself where states leave the caches and steps are not too many");
    let short = wide(20);
    let (expected, found) = (run(&with_gradients(&short)), run(&with_gradients(&segments(&short, Keep::Invert))));
    for (name, found) in found {
        let scale = expected[&name].iter().fold(1.0f64, |m, x| m.max(x.abs()));
        let apart = expected[&name].iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart <= 1e-12 * scale, "`{name}` differs by {apart:e}");
    }
    let cut = with_gradients(&segments(&step, Keep::Segments(None)));
    assert!(largest(&cut) <= (32 * state).max(2 * length * width), "in segments {} is kept", largest(&cut));
}
