//! Every operation and function has everything that one needs: a shape rule, a text, the interpreter, a derivative that is held against
//! differences, the CPU back end, a cost. What there is is read from the source, so that a new one cannot be left out.

use ogive_graph::{DType, Graph, MapFn, Op, ReduceFn, Region, cost, parse, text, verify};
use ogive_jit::Cpu;
use ogive_runtime::Options;
use ogive_tests::cases::{self, Case, Derivative, Size, kind};
use ogive_tests::{check, spec};
use std::collections::{BTreeMap, BTreeSet};

const SOURCE: &str = include_str!("../../compiler/graph/src/op.rs");

/// The variants of an enumeration as the source has them.
fn variants(name: &str) -> Vec<String> {
    let open = format!("pub enum {name} {{\n");
    let body = SOURCE.split_once(&open).unwrap_or_else(|| panic!("no {name}")).1;
    let body = &body[..body.find("\n}\n").expect("its end")];
    let lines = body.lines().map(str::trim).filter(|l| l.starts_with(|c: char| c.is_ascii_uppercase()));
    lines.map(|l| l.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or("").to_owned()).collect()
}

/// Names as a case uses them: operations, `map NAME`, `reduce NAME`.
fn all() -> BTreeSet<String> {
    let maps = MapFn::ALL.iter().map(|f| format!("map {}", f.name()));
    let reductions = ReduceFn::ALL.iter().map(|f| format!("reduce {}", f.name()));
    kind::ALL.iter().map(|&k| k.to_owned()).chain(maps).chain(reductions).collect()
}

/// The name of an operation with its function.
fn named(op: &Op) -> Vec<String> {
    let more = match op {
        Op::Map(f) => Some(format!("map {}", f.name())),
        Op::Reduce(f, _) => Some(format!("reduce {}", f.name())),
        _ => None,
    };
    std::iter::once(kind::of(op).to_owned()).chain(more).collect()
}

/// For every name, the cases that use it.
fn users() -> BTreeMap<String, Vec<Case>> {
    let mut users: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for name in all() {
        users.insert(name, Vec::new());
    }
    for case in cases::all() {
        for name in kind::used(&case.make(DType::F64, Size::Small)) {
            let again = cases::all().into_iter().find(|c| c.name == case.name).expect("the case");
            users.entry(name).or_default().push(again);
        }
    }
    users
}

#[test]
fn the_lists_name_all_that_the_source_declares() {
    let operations = variants("Op");
    assert!(operations.len() > 20 && operations.contains(&"Contract".to_owned()), "{operations:?}");
    assert_eq!(operations.len(), kind::ALL.len(), "{operations:?} against {:?}", kind::ALL);
    let listed = |all: Vec<String>| all.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(listed(variants("MapFn")), listed(MapFn::ALL.iter().map(|f| format!("{f:?}")).collect()));
    assert_eq!(listed(variants("ReduceFn")), listed(ReduceFn::ALL.iter().map(|f| format!("{f:?}")).collect()));
    assert_eq!(MapFn::ALL.iter().map(|f| f.name()).collect::<BTreeSet<_>>().len(), MapFn::ALL.len());
}

#[test]
fn each_runs_on_the_interpreter_and_on_the_cpu() {
    for (name, cases) in users() {
        let case = cases.first().unwrap_or_else(|| panic!("no case uses `{name}`"));
        let made = case.make(DType::F32, Size::Small);
        check::interpret(&made).unwrap_or_else(|why| panic!("`{name}` in {}: {why}", case.name));
        let options = Options { threads: 1, verify: true, ..Options::default() };
        check::run(&Cpu::new(), &made, &options).unwrap_or_else(|why| panic!("`{name}` in {}: {why}", case.name));
    }
}

/// Calls `look` with each node of a region and of the loops in it, with its region.
fn nodes<'g>(region: &'g Region, look: &mut impl FnMut(&'g Region, usize)) {
    for (i, node) in region.nodes.iter().enumerate() {
        look(region, i);
        if let Op::Loop(l) = &node.op {
            nodes(&l.body, look);
        }
    }
}

/// A graph in which the type of one node is wrong.
fn spoiled(graph: &Graph, at: usize) -> Graph {
    let mut graph = graph.clone();
    let ty = &mut graph.region.nodes[at].ty;
    ty.dtype = if ty.dtype == DType::Bool { DType::I32 } else { DType::Bool };
    graph
}

#[test]
fn each_has_a_rule_for_its_type_and_a_text() {
    for (name, cases) in users() {
        // ports say their own type; an argument's is held against its loop
        let free = ["input", "param", "argument", "const"].contains(&name.as_str());
        let mut noticed = free;
        for case in &cases {
            let graph = case.make(DType::F64, Size::Small).graph;
            assert!(parse::parse(&text::print(&graph)).as_ref() == Ok(&graph), "`{name}` in {} does not read back", case.name);
            for (at, node) in graph.region.nodes.iter().enumerate() {
                // a cast says its own type; its readers notice
                if !noticed && named(&node.op).contains(&name) {
                    noticed = verify::verify(&spoiled(&graph, at)).is_err();
                }
            }
        }
        assert!(noticed, "no rule says which type `{name}` gives");
    }
}

/// Numbers that are the same almost everywhere: their derivative is zero, and nothing else could be.
const FLAT: &[&str] = &["map sign", "map floor", "map stop_gradient"];

#[test]
fn each_that_moves_with_a_float_is_held_against_differences() {
    for (name, cases) in users() {
        let mut moves = false;
        for case in &cases {
            let graph = case.make(DType::F64, Size::Small).graph;
            nodes(&graph.region, &mut |region, i| {
                let node = &region.nodes[i];
                let float = |v: &ogive_graph::Value| region.ty(*v).dtype.is_float();
                let result = node.ty.dtype.is_float() || matches!(node.op, Op::Loop(_) | Op::Attend(_) | Op::AttendGrad(_));
                moves |= named(&node.op).contains(&name) && result && node.inputs.iter().any(float);
            });
        }
        let checked = cases.iter().any(|c| c.derivative == Derivative::Agrees);
        let flat = FLAT.contains(&name.as_str());
        assert!(checked || flat || !moves, "no case holds the derivative of `{name}` against differences");
    }
}

#[test]
fn each_has_a_place_on_the_page_of_operations_and_an_example_there() {
    let page = std::fs::read_to_string(spec::root().join("compiler/graph/OPERATIONS.md")).expect("a page");
    let rows: Vec<&str> = page.lines().filter_map(|l| l.strip_prefix("| `")?.split_once(" | ").map(|(names, _)| names)).collect();
    let named: BTreeSet<&str> = rows.iter().flat_map(|r| r.split(['`', ' '])).filter(|w| !w.is_empty()).collect();
    let mut used = BTreeSet::new();
    for example in spec::fences(&page, "graph") {
        let graph = parse::parse(example).unwrap_or_else(|e| panic!("{e}\n{example}"));
        verify::verify(&graph).unwrap_or_else(|e| panic!("{}\n{example}", e[0]));
        used.extend(kind::used(&cases::Made { graph, inputs: Default::default(), store: Default::default() }));
    }
    for name in all() {
        let word = name.rsplit(' ').next().unwrap_or_default();
        assert!(named.contains(word) || ["map", "reduce"].contains(&word), "`{name}` has no row on the page");
        assert!(used.contains(&name), "`{name}` is in no example of the page");
    }
}

/// What is given or known, or is another view of what is there.
const FREE: &[&str] = &["input", "param", "argument", "const", "rename", "split", "merge", "project"];

#[test]
fn each_has_a_cost() {
    for (name, cases) in users() {
        let mut counted = FREE.contains(&name.as_str());
        for case in cases {
            let graph = case.make(DType::F64, Size::Small).graph;
            let counting = cost::Counting::of(&graph);
            nodes(&graph.region, &mut |region, i| {
                if !counted && named(&region.nodes[i].op).contains(&name) {
                    let cost = cost::node_cost(&graph, region, ogive_graph::Value(i as u32), &counting);
                    counted = cost.written.number > 0 || cost.flops.number > 0;
                }
            });
        }
        assert!(counted, "`{name}` costs nothing");
    }
}
