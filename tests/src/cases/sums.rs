//! Reductions, contractions, the softmax family and attention.

use super::Range::{Positive, Signed};
use super::{Case, Class, Derivative, Maker};
use ogive_graph::{Attention, AxisId, MapFn, Op, ReduceFn, Value};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &f in ReduceFn::ALL {
        let class = if f == ReduceFn::Sum { Class::Sum } else { Class::Exact };
        let name = f.name();
        cases.push(Case::new(format!("reduce {name} over the inner axis"), class, Derivative::Agrees, move |m| {
            let (i, j) = (m.axis("i", 2, 37), m.axis("j", 3, 533));
            reduced(m, f, &[i, j], &[j]);
        }));
        cases.push(Case::new(format!("reduce {name} over the outer axis"), class, Derivative::Agrees, move |m| {
            let (i, j) = (m.axis("i", 3, 67), m.axis("j", 2, 133));
            reduced(m, f, &[i, j], &[i]);
        }));
        cases.push(Case::new(format!("reduce {name} over axes apart"), class, Derivative::Agrees, move |m| {
            let (i, j, k) = (m.axis("i", 2, 9), m.axis("j", 3, 21), m.axis("k", 2, 35));
            reduced(m, f, &[i, j, k], &[k, i]);
        }));
        cases.push(Case::new(format!("reduce {name} over all"), class, Derivative::Agrees, move |m| {
            let (i, j) = (m.axis("i", 3, 41), m.axis("j", 2, 67));
            reduced(m, f, &[i, j], &[i, j]);
        }));
        cases.push(Case::new(format!("reduce {name} of integers"), Class::Exact, Derivative::None, move |m| {
            let (i, j) = (m.axis("i", 3, 41), m.axis("j", 2, 67));
            let x = m.whole("x", &[i, j]);
            let y = m.b.reduce(f, x, &[j]);
            m.yields("y", y);
        }));
    }
    cases.extend(contractions());
    cases.extend(systems());
    cases.extend(normalised());
    cases.extend(attention());
    cases
}

fn reduced(m: &mut Maker<'_>, f: ReduceFn, order: &[AxisId], over: &[AxisId]) {
    let x = m.float("x", order, Signed);
    let y = m.b.reduce(f, x, over);
    m.yields("y", y);
}

fn contractions() -> Vec<Case> {
    let case = |name: &str, build: fn(&mut Maker<'_>)| Case::new(format!("contract {name}"), Class::Sum, Derivative::Agrees, build);
    vec![
        case("a matrix and a matrix", |m| {
            let (i, k, j) = (m.axis("i", 2, 67), m.axis("k", 3, 129), m.axis("j", 2, 35));
            product(m, &[i, k], &[k, j], &[k]);
        }),
        case("with both operands turned", |m| {
            let (i, k, j) = (m.axis("i", 2, 37), m.axis("k", 3, 70), m.axis("j", 2, 65));
            product(m, &[k, i], &[j, k], &[k]);
        }),
        case("a matrix and a vector", |m| {
            let (i, k) = (m.axis("i", 3, 133), m.axis("k", 2, 65));
            product(m, &[i, k], &[k], &[k]);
        }),
        case("a vector and a vector", |m| {
            let k = m.axis("k", 3, 1031);
            product(m, &[k], &[k], &[k]);
        }),
        case("with batch axes", |m| {
            let (b, i, k, j) = (m.axis("b", 2, 5), m.axis("i", 2, 17), m.axis("k", 3, 33), m.axis("j", 2, 19));
            product(m, &[i, b, k], &[b, k, j], &[k]);
        }),
        case("with nothing but batch axes", |m| {
            let (b, k) = (m.axis("b", 3, 37), m.axis("k", 2, 65));
            product(m, &[b, k], &[k, b], &[k]);
        }),
        case("over several axes", |m| {
            let (i, h, k, j) = (m.axis("i", 2, 17), m.axis("h", 2, 3), m.axis("k", 2, 33), m.axis("j", 2, 35));
            product(m, &[i, h, k], &[k, j, h], &[h, k]);
        }),
        case("with several axes of its own on each side", |m| {
            let (a, b, k, c, d) = (m.axis("a", 2, 5), m.axis("b", 2, 7), m.axis("k", 2, 33), m.axis("c", 2, 3), m.axis("d", 2, 17));
            product(m, &[a, k, b], &[c, k, d], &[k]);
        }),
        case("a value with itself", |m| {
            let (i, k) = (m.axis("i", 3, 37), m.axis("k", 2, 65));
            let x = m.float("x", &[i, k], Signed);
            let y = m.b.contract(x, x, &[k]);
            m.yields("y", y);
        }),
        case("and add a bias", |m| {
            let (i, k, j) = (m.axis("i", 2, 65), m.axis("k", 3, 33), m.axis("j", 2, 67));
            let (x, w, bias) = (m.float("x", &[i, k], Signed), m.param("w", &[k, j]), m.param("bias", &[j]));
            let y = m.b.contract(x, w, &[k]);
            let y = m.map(MapFn::Add, &[y, bias]);
            m.yields("y", y);
        }),
    ]
}

fn systems() -> Vec<Case> {
    let case = |name: &str, build: fn(&mut Maker<'_>)| Case::new(format!("solve {name}"), Class::Composite, Derivative::Agrees, build);
    vec![
        case("for a vector", |m| {
            let (i, j) = (m.axis("i", 3, 19), m.axis("j", 3, 19));
            system(m, &[i, j], &[i], (i, j), false);
        }),
        case("for several columns", |m| {
            let (i, j, v) = (m.axis("i", 3, 37), m.axis("j", 3, 37), m.axis("v", 2, 35));
            system(m, &[i, j], &[i, v], (i, j), false);
        }),
        case("transposed", |m| {
            let (i, j, v) = (m.axis("i", 3, 37), m.axis("j", 3, 37), m.axis("v", 2, 35));
            system(m, &[j, i], &[v, i], (i, j), true);
        }),
        case("with batch axes on both sides", |m| {
            let (b, i, j, v, w) = (m.axis("b", 2, 5), m.axis("i", 3, 33), m.axis("j", 3, 33), m.axis("v", 2, 17), m.axis("w", 2, 3));
            system(m, &[b, i, j], &[w, i, b, v], (i, j), false);
        }),
        case("of many matrices for one side", |m| {
            let (b, i, j, v) = (m.axis("b", 2, 5), m.axis("i", 3, 16), m.axis("j", 3, 16), m.axis("v", 2, 17));
            system(m, &[i, b, j], &[i, v], (i, j), true);
        }),
    ]
}

/// A system whose solution stays small: large ones grow with every unknown.
fn system(m: &mut Maker<'_>, matrix: &[AxisId], side: &[AxisId], (row, col): (AxisId, AxisId), transposed: bool) {
    let (matrix, side) = (m.float("m", matrix, Signed), m.float("b", side, Signed));
    let small = m.constant(0.1);
    let matrix = m.map(MapFn::Mul, &[matrix, small]);
    let x = m.add(Op::Solve { row, col, transposed }, &[matrix, side]);
    m.yields("x", x);
}

fn product(m: &mut Maker<'_>, x: &[AxisId], z: &[AxisId], over: &[AxisId]) {
    let (x, z) = (m.float("x", x, Signed), m.float("z", z, Signed));
    let y = m.b.contract(x, z, over);
    m.yields("y", y);
}

fn normalised() -> Vec<Case> {
    let case = |name: &str, build: fn(&mut Maker<'_>)| Case::new(name, Class::Composite, Derivative::Agrees, build);
    vec![
        case("softmax over the inner axis", |m| {
            let (i, j) = (m.axis("i", 2, 33), m.axis("j", 3, 531));
            let x = m.float("x", &[i, j], Signed);
            let y = m.add(Op::Softmax(vec![j]), &[x]);
            m.yields("y", y);
        }),
        case("softmax over axes apart", |m| {
            let (i, j, k) = (m.axis("i", 2, 9), m.axis("j", 3, 21), m.axis("k", 2, 35));
            let x = m.float("x", &[i, j, k], Signed);
            let y = m.add(Op::Softmax(vec![i, k]), &[x]);
            m.yields("y", y);
        }),
        case("log sum exp over the inner axis", |m| {
            let (i, j) = (m.axis("i", 2, 33), m.axis("j", 3, 531));
            let x = m.float("x", &[i, j], Signed);
            let y = m.add(Op::LogSumExp(vec![j]), &[x]);
            m.yields("y", y);
        }),
        case("log sum exp over all", |m| {
            let (i, j) = (m.axis("i", 2, 33), m.axis("j", 3, 17));
            let x = m.float("x", &[i, j], Signed);
            let y = m.add(Op::LogSumExp(vec![j, i]), &[x]);
            m.yields("y", y);
        }),
        case("softmax with a row that is masked altogether", |m| {
            let (score, j) = masked(m);
            let y = m.add(Op::Softmax(vec![j]), &[score]);
            m.yields("y", y);
        }),
        case("log sum exp with a row that is masked altogether", |m| {
            let (score, j) = masked(m);
            let total = m.add(Op::LogSumExp(vec![j]), &[score]);
            let (zero, low) = (m.constant(0.0), m.constant(-100.0));
            let seen = m.map(MapFn::Gt, &[total, low]);
            let y = m.map(MapFn::Where, &[seen, total, zero]);
            m.yields("y", y);
        }),
    ]
}

/// Scores of which row i sees the i first; the axis of a row.
fn masked(m: &mut Maker<'_>) -> (Value, AxisId) {
    let (i, j) = (m.axis("i", 3, 33), m.axis("j", 3, 70));
    let x = m.float("x", &[i, j], Signed);
    let (row, column, low) = (m.add(Op::Iota(i), &[]), m.add(Op::Iota(j), &[]), m.constant(f64::NEG_INFINITY));
    let seen = m.map(MapFn::Lt, &[column, row]);
    (m.map(MapFn::Where, &[seen, x, low]), j)
}

/// Axes of an attention case: query, source, key, value, and those shared by all.
fn attended(m: &mut Maker<'_>, causal: Option<i64>) -> (Attention, Vec<AxisId>) {
    let (query, source, key, value) = (m.axis("query", 3, 70), m.axis("source", 4, 133), m.axis("key", 2, 16), m.axis("value", 3, 24));
    let shared = vec![m.axis("batch", 1, 2), m.axis("head", 2, 3)];
    (Attention { query, source, key, value, scale: 0.5, causal }, shared)
}

fn operands(m: &mut Maker<'_>, a: &Attention, shared: &[AxisId]) -> [Value; 3] {
    let order = |axes: [AxisId; 2]| [shared, &axes].concat();
    let q = m.float("q", &order([a.query, a.key]), Signed);
    let k = m.float("k", &order([a.source, a.key]), Positive);
    let v = m.float("v", &order([a.source, a.value]), Signed);
    [q, k, v]
}

fn attention() -> Vec<Case> {
    let masks = [
        ("attend", None),
        ("attend to the past", Some(0)),
        ("attend to a memory and the past", Some(1)),
        ("attend strictly to the past", Some(-1)),
    ];
    let mut cases = Vec::new();
    for (name, causal) in masks {
        cases.push(Case::new(name, Class::Composite, Derivative::Agrees, move |m| {
            let (a, shared) = attended(m, causal);
            let inputs = operands(m, &a, &shared);
            let mix = m.b.add_many(Op::Attend(a), &inputs)[0];
            m.yields("mix", mix);
        }));
        cases.push(Case::new(format!("{name}: its log sum exp"), Class::Composite, Derivative::Agrees, move |m| {
            let (a, shared) = attended(m, causal.map(|offset| offset.max(0)));
            let inputs = operands(m, &a, &shared);
            let total = m.b.add_many(Op::Attend(a), &inputs)[1];
            m.yields("total", total);
        }));
        cases.push(Case::new(format!("{name}: its gradient"), Class::Composite, Derivative::Agrees, move |m| {
            let (a, shared) = attended(m, causal);
            let [q, k, v] = operands(m, &a, &shared);
            let parts = m.b.add_many(Op::Attend(a.clone()), &[q, k, v]);
            let given = m.float("given", &[&[a.value], &shared[..], &[a.query]].concat(), Signed);
            let grads = m.b.add_many(Op::AttendGrad(a), &[q, k, v, parts[0], parts[1], given]);
            for (name, grad) in ["dq", "dk", "dv"].into_iter().zip(grads) {
                m.yields(name, grad);
            }
        }));
    }
    cases
}
