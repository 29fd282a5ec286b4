//! Cells: states, steps within steps, scans, and the loops that they become.

use ogive_graph::{Loop, LoopKind, Op};
use ogive_lang::{NoImports, Settings, Spec, elaborate, hir, lower};

const SMOOTH: &str = "
    cell smooth[unit](x: [unit]) -> h: [unit] {
      param rate: [unit] ~ zeros
      state h: [unit] = 0
      h = prev h + sigmoid(rate) * (x - prev h)
    }
    cell twice[unit](x: [unit]) -> y: [unit] { y = smooth(smooth(x)) }
    block run[seq = 6, unit = 3](x: [seq, unit]) -> y: [seq, unit], last: [unit] {
      (y, a) = scan smooth(x) along seq
      (z, last, b) = scan twice(y) backward along seq
    }
    cell learned[unit](x: [unit]) -> y: [unit] {
      state w: [unit] = param ~ ones
      y = x * prev w
      w = 0.5 * prev w + y
    }
    block start[seq = 6, unit = 3](x: [seq, unit]) -> y: [seq, unit] { y = scan learned(x) along seq }";

fn program(name: &str, set: &[(&str, &str)]) -> hir::Program {
    let (spec, found) = Spec::load("test.arch", SMOOTH.to_owned(), &NoImports);
    assert!(found.list.is_empty(), "{:?}", found.list);
    let set = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let (program, found) = elaborate::block(&spec, name, &Settings { set, ..Settings::default() });
    program.unwrap_or_else(|| panic!("{:?}", found.list))
}

fn loops(lowered: &lower::Lowered) -> Vec<&Loop> {
    lowered.graph.region.nodes.iter().filter_map(|n| if let Op::Loop(l) = &n.op { Some(&**l) } else { None }).collect()
}

#[test]
fn a_step_within_a_step_keeps_a_state_for_each_call() {
    let program = program("run", &[]);
    let twice = program.instances.iter().find(|i| i.block == "twice").expect("an instance");
    let names: Vec<&str> = twice.states.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["smooth.h", "smooth.1.h"]);
    let lowered = lower::program(&program, &lower::Options::default());
    let carries: Vec<(usize, bool)> = loops(&lowered).iter().map(|l| (l.carries, l.reverse)).collect();
    assert_eq!(carries, [(1, false), (2, true)]);
    assert!(loops(&lowered).iter().all(|l| l.kind == LoopKind::Scan));
}

#[test]
fn states_carry_what_the_cell_is_lifted_over() {
    let program = program("start", &[]);
    let lowered = lower::program(&program, &lower::Options { batch: Some(5), ..lower::Options::default() });
    let [l] = loops(&lowered)[..] else { panic!("one loop") };
    let carried = &l.body.nodes[l.body.results[0].index()].ty.shape;
    let sizes: Vec<u64> = carried.iter().map(|a| lowered.graph.size(a)).collect();
    assert_eq!(sizes.iter().product::<u64>(), 15, "{sizes:?}");
    assert_eq!(lowered.params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["learned.w"]);
}

#[test]
fn a_long_scan_makes_the_graph_of_a_short_one() {
    let nodes = |seq: &str| lower::program(&program("run", &[("seq", seq)]), &lower::Options::default()).graph.region.nodes.len();
    assert_eq!(nodes("16"), nodes("65536"));
}

#[test]
fn a_cell_by_itself_is_one_step_from_its_start_or_from_given_states() {
    let (spec, _) = Spec::load("test.arch", SMOOTH.to_owned(), &NoImports);
    let shapes = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), vec![3])).collect();
    let step = |names: &[&str]| elaborate::block_for_tensors(&spec, "learned", &Settings::default(), &shapes(names)).0.expect("a program");
    let names = |ports: &[hir::Port]| ports.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    let given = step(&["x", "prev.w"]);
    assert_eq!(names(&given.root().inputs), ["x", "prev.w"]);
    assert_eq!(given.root().outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["y", "w"]);
    assert!(given.root().params.is_empty());
    let fresh = step(&["x"]);
    assert_eq!((names(&fresh.root().inputs), fresh.root().params.len()), (vec!["x".to_owned()], 1));
}
