//! Derivatives of every case against finite differences on the interpreter, in f64.

use ogive_graph::{DType, MapFn, ReduceFn, expand};
use ogive_tests::cases::{self, Case, Derivative, Made, Size, kind};
use ogive_tests::check;
use std::collections::BTreeSet;

fn small(case: &Case) -> Made {
    case.make(DType::F64, Size::Small)
}

fn expecting(wanted: impl Fn(Derivative) -> bool) -> Vec<Case> {
    cases::all().into_iter().filter(|c| wanted(c.derivative)).collect()
}

fn name(case: &Case) -> &str {
    &case.name
}

#[test]
fn every_operation_and_function_has_a_case() {
    let all: BTreeSet<String> = cases::all().iter().flat_map(|c| kind::used(&small(c))).collect();
    let named = kind::ALL.iter().map(|&k| k.to_owned());
    let maps = MapFn::ALL.iter().map(|f| format!("map {}", f.name()));
    let reductions = ReduceFn::ALL.iter().map(|f| format!("reduce {}", f.name()));
    let lacking: Vec<String> = named.chain(maps).chain(reductions).filter(|k| !all.contains(k)).collect();
    assert!(lacking.is_empty(), "no case uses {lacking:?}");
}

#[test]
fn names_of_cases_are_unique() {
    let mut seen = BTreeSet::new();
    let twice: Vec<String> = cases::all().into_iter().map(|c| c.name).filter(|n| !seen.insert(n.clone())).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn every_case_is_a_sound_graph_of_either_type_and_size() {
    check::every(&cases::all(), name, |case| {
        for (dtype, size) in [(DType::F64, Size::Small), (DType::F32, Size::Small), (DType::F32, Size::Large)] {
            check::interpret(&case.make(dtype, size))?;
        }
        Ok(())
    });
}

#[test]
fn reverse_mode_agrees_with_finite_differences() {
    check::every(&expecting(|d| d == Derivative::Agrees), name, |case| check::reverse(&small(case)));
}

#[test]
fn forward_mode_agrees_with_finite_differences() {
    check::every(&expecting(|d| d == Derivative::Agrees), name, |case| check::forward(&small(case)));
}

#[test]
fn what_has_no_derivative_has_gradient_zero() {
    check::every(&expecting(|d| d == Derivative::None), name, |case| {
        let Some(with) = check::gradient(&small(case))? else { return Ok(()) };
        let found = check::interpret(&with)?;
        let moving = found.iter().filter(|(n, _)| n.starts_with("grad ")).find(|(_, t)| t.to_f64().iter().any(|&x| x != 0.0));
        moving.map_or(Ok(()), |(n, _)| Err(format!("{n} is not zero")))
    });
}

#[test]
fn attention_written_out_is_attention() {
    let uses = |c: &Case| kind::used(&small(c)).iter().any(|k| k == "attend" || k == "attend_grad");
    let cases: Vec<Case> = cases::all().into_iter().filter(uses).collect();
    check::every(&cases, name, |case| {
        let made = small(case);
        let written = Made { graph: expand::expand(&made.graph), ..made.clone() };
        if kind::used(&written).iter().any(|k| k.starts_with("attend")) {
            return Err("attention is left".into());
        }
        check::apart(&check::interpret(&written)?, &check::interpret(&made)?, 1e-12)
    });
}

#[test]
fn attention_written_out_has_the_same_gradient_and_its_gradient_has_one_too() {
    let uses = |c: &Case| kind::used(&small(c)).iter().any(|k| k == "attend" || k == "attend_grad");
    let cases: Vec<Case> = cases::all().into_iter().filter(uses).collect();
    check::every(&cases, name, |case| {
        let made = small(case);
        check::reverse(&Made { graph: expand::expand(&made.graph), ..made })
    });
}
