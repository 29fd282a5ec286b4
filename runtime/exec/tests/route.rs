//! Selection and routed contraction on the interpreter: answers worked out by hand, and the operations that they stand for.

use ogive_graph::route::{points, routed, routed_outer};
use ogive_graph::{AxisId, Builder, DType, Graph, MapFn, Op, Output, Port, Shape, Ty, Value};
use ogive_runtime::{Bindings, Data, Dim, Draw, ExecError, Store, Tensor, evaluate};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Builds a graph over axes of the given sizes and runs it. Inputs are given by name, axes and numbers.
fn run(
    sizes: &[(&str, u64)],
    given: &[(&str, &[u32], Data)],
    build: impl FnOnce(&mut Builder<'_>, &[Value]) -> Vec<Value>,
) -> Result<BTreeMap<String, Tensor>, ExecError> {
    let mut graph = Graph::default();
    for (name, n) in sizes {
        graph.axis(*name, *n);
    }
    let table = graph.axes.clone();
    let mut inputs = Bindings::new();
    let mut b = Builder::new(&mut graph.axes);
    let mut values = Vec::new();
    for (name, axes, data) in given {
        let order: Vec<AxisId> = axes.iter().map(|&a| AxisId(a)).collect();
        let dims = order.iter().map(|a| &table[a.index()]).map(|a| Dim { name: a.name.clone(), size: a.size as usize }).collect();
        inputs.insert((*name).into(), Tensor { dims, data: data.clone() });
        let ty = Ty::new(data.dtype(), Shape::of(order.iter().copied()));
        values.push(b.add_as(Op::Input(Port { name: (*name).into(), order }), &[], Some(&ty)));
    }
    let results = build(&mut b, &values);
    let order = |v: Value| b.shape(v).axes().to_vec();
    let output = |(i, &value): (usize, &Value)| Output { port: Port { name: i.to_string(), order: order(value) }, value, update: false };
    let outputs = results.iter().enumerate().map(output).collect();
    graph.region = b.region;
    graph.outputs = outputs;
    ogive_graph::verify::verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
    evaluate(&graph, &inputs, &mut Store::default(), Draw { seed: 1, step: 1 })
}

fn answers(results: &BTreeMap<String, Tensor>) -> Vec<Vec<f64>> {
    results.values().map(Tensor::to_f64).collect()
}

fn top(scores: &[f64], k: u64) -> Vec<f64> {
    let sizes = [("e", scores.len() as u64), ("k", k)];
    let found = run(&sizes, &[("score", &[0], Data::F64(scores.to_vec()))], |b, v| {
        vec![b.add(Op::TopK { over: vec![AxisId(0)], into: AxisId(1) }, v)]
    });
    answers(&found.unwrap())[0].clone()
}

#[test]
fn the_largest_are_listed_by_position_and_ties_go_to_the_lowest() {
    assert_eq!(top(&[1.0, 5.0, 3.0, 4.0], 2), [1.0, 3.0]);
    assert_eq!(top(&[2.0, 1.0, 2.0, 2.0], 2), [0.0, 2.0]);
    assert_eq!(top(&[-0.0, 0.0, 0.0], 1), [0.0]);
    assert_eq!(top(&[3.0, 1.0], 2), [0.0, 1.0]);
}

#[test]
fn nan_ranks_above_everything() {
    let (nan, low) = (f64::NAN, f64::NEG_INFINITY);
    assert_eq!(top(&[nan, low, nan, 1.0], 2), [0.0, 2.0]);
    assert_eq!(top(&[nan, low, nan, 1.0], 3), [0.0, 2.0, 3.0]);
    assert_eq!(top(&[nan, nan], 1), [0.0]);
}

#[test]
fn points_are_sorted_by_group_and_position_and_keep_their_order_otherwise() {
    // Axes: e = 3, t = 3, h = 2. Positions of (t, h) in row-major order: 2 0, 1 0, 0 2.
    let at = [("at", &[1u32, 2][..], Data::I32(vec![2, 0, 1, 0, 0, 2]))];
    let found = run(&[("e", 3), ("t", 3), ("h", 2)], &at, |b, v| {
        let all = points(b, v[0], AxisId(0), &Shape::scalar());
        let heads = points(b, v[0], AxisId(0), &Shape::of([AxisId(2)]));
        all.into_iter().chain(heads).collect()
    });
    let found = answers(&found.unwrap());
    assert_eq!(found[0], [1.0, 3.0, 4.0, 2.0, 0.0, 5.0]);
    assert_eq!(found[1], [3.0, 4.0, 6.0]);
    assert_eq!(found[2], [4.0, 2.0, 0.0, 1.0, 3.0, 5.0]);
    // As (e, h): position 0 of both heads, then 1, then 2.
    assert_eq!(found[3], [1.0, 5.0, 2.0, 5.0, 3.0, 6.0]);
}

#[test]
fn a_position_outside_its_axis_is_an_error_and_no_panic() {
    for bad in [-1, 3] {
        let given =
            [("x", &[1u32][..], Data::F64(vec![1.0, 2.0])), ("w", &[0], Data::F64(vec![1.0; 3])), ("at", &[1], Data::I32(vec![0, bad]))];
        let found = run(&[("e", 3), ("t", 2)], &given, |b, v| vec![routed(b, v[0], v[1], v[2], AxisId(0), &[])]);
        assert!(matches!(found, Err(ExecError::OutOfRange { position, .. }) if position == i64::from(bad)));
    }
}

/// A score that ties often, and sometimes is no number.
fn score() -> impl Strategy<Value = f32> {
    prop_oneof![8 => (-3i8..4).prop_map(|x| f32::from(x) * 0.1), 1 => Just(f32::NAN), 1 => Just(f32::INFINITY), 1 => Just(f32::NEG_INFINITY)]
}

fn scores(n: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(score(), n)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 300 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_best_sums_of_two_keys_are_the_best_of_the_matrix(
        (r, c, row, column) in (1usize..6, 1usize..7).prop_flat_map(|(r, c)| (Just(r), Just(c), scores(2 * r), scores(2 * c))),
        part in 0.0f64..1.0,
    ) {
        let k = 1 + (part * (r * c) as f64) as u64;
        let sizes = [("t", 2), ("r", r as u64), ("c", c as u64), ("k", k)];
        let given = [("row", &[0u32, 1][..], Data::F32(row.clone())), ("column", &[0, 2], Data::F32(column.clone()))];
        let found = run(&sizes, &given, |b, v| {
            let op = Op::TopK { over: vec![AxisId(1), AxisId(2)], into: AxisId(3) };
            let matrix = b.map(MapFn::Add, v);
            vec![b.add(op.clone(), v), b.add(op, &[matrix])]
        });
        let found = answers(&found.unwrap());
        prop_assert_eq!(&found[0], &found[1]);
        // And the definition: nothing that is left out beats what is chosen.
        for t in 0..2 {
            let rank = |p: usize| {
                let sum = row[t * r + p / c] + column[t * c + p % c];
                (sum.is_nan(), sum, std::cmp::Reverse(p))
            };
            let chosen: Vec<usize> = found[0][t * k as usize..(t + 1) * k as usize].iter().map(|&p| p as usize).collect();
            prop_assert!(chosen.windows(2).all(|w| w[0] < w[1]));
            for out in (0..r * c).filter(|p| !chosen.contains(p)) {
                prop_assert!(chosen.iter().all(|&p| rank(out).partial_cmp(&rank(p)) != Some(std::cmp::Ordering::Greater)), "{} beats one of {:?}", out, chosen);
            }
        }
    }

    #[test]
    fn routed_products_are_those_of_gathered_weights(
        at in prop::collection::vec(0i32..4, 12),
        x in prop::collection::vec(-8i8..8, 9),
        w in prop::collection::vec(-8i8..8, 48),
        y in prop::collection::vec(-8i8..8, 24),
        sums in 0usize..4,
    ) {
        // Axes: e = 4, t = 3, h = 2, k = 2, d = 3, p = 2; small whole numbers, so that sums are exact.
        let wide = |v: &[i8]| Data::F64(v.iter().map(|&x| f64::from(x)).collect());
        let [e, t, h, k, d, p] = [0, 1, 2, 3, 4, 5].map(AxisId);
        let sizes = [("e", 4), ("t", 3), ("h", 2), ("k", 2), ("d", 3), ("p", 2)];
        let given = [
            ("at", &[1u32, 2, 3][..], Data::I32(at)),
            ("x", &[1, 4], wide(&x)),
            ("w", &[0, 2, 4, 5], wide(&w)),
            ("y", &[1, 2, 3, 5], wide(&y)),
        ];
        let found = run(&sizes, &given, |b, v| {
            let [at, x, w, y] = [v[0], v[1], v[2], v[3]];
            let weights = b.add(Op::Gather(e), &[w, at]);
            let over = [vec![d], vec![], vec![d], vec![t, d]][sums].clone();
            let other = [vec![h, k, p], vec![p], vec![h, k], vec![t, h, p]][sums].clone();
            let keep = [vec![h, d, p], vec![d], vec![], vec![h, p]][sums].clone();
            let product = b.map(MapFn::Mul, &[x, y]);
            vec![
                routed(b, x, w, at, e, &over),
                b.contract(x, weights, &over),
                routed(b, y, w, at, e, &other),
                b.contract(y, weights, &other),
                routed_outer(b, x, y, at, e, &keep),
                b.add(Op::ScatterAdd { axis: e, keep: keep.clone() }, &[at, product]),
            ]
        });
        let found = answers(&found.unwrap());
        for i in [0, 2, 4] {
            prop_assert_eq!(&found[i], &found[i + 1]);
        }
    }
}

#[test]
fn what_is_selected_is_i32_whatever_is_ranked() {
    let found = run(&[("e", 3), ("k", 1)], &[("score", &[0], Data::F32(vec![0.0, 2.0, 1.0]))], |b, v| {
        vec![b.add(Op::TopK { over: vec![AxisId(0)], into: AxisId(1) }, v)]
    });
    assert_eq!(found.unwrap()["0"].dtype(), DType::I32);
}
