//! Derivatives of loops against finite differences: depth, time, both, and the awkward cases.

use crate::check::{made, param, thoroughly, weigh};
use crate::layers::{Dims, layer, layer_params};
use ogive_graph::{Builder, DType, Distribution, Loop, LoopKind, MapFn, Op, Random, Region, Shape, Ty, Value};

/// A step over formal arguments of the given types; gives new carries and collected values in one list.
fn body(b: &mut Builder<'_>, types: &[Ty], step: impl FnOnce(&mut Builder<'_>, &[Value]) -> Vec<Value>) -> Region {
    let mut inner = Builder::new(b.axes);
    let arguments: Vec<Value> = types.iter().enumerate().map(|(i, ty)| inner.add_as(Op::Argument(i as u32), &[], Some(ty))).collect();
    let results = step(&mut inner, &arguments);
    Region { results, ..inner.region }
}

fn floats(axes: &[ogive_graph::AxisId]) -> Ty {
    Ty::new(DType::F64, Shape::of(axes.iter().copied()))
}

#[test]
fn a_stack_of_transformer_layers_has_the_gradients_of_its_parameters() {
    for composed in [false, true] {
        let graph = thoroughly(&made(|b| {
            let dims = Dims::new(b);
            let depth = b.axis("depth", 3);
            let x = param(b, "x", &[dims.seq, dims.model]);
            let shapes = layer_params(&dims);
            let stacks: Vec<Value> = shapes.iter().map(|(name, axes)| param(b, name, &[&[depth], axes.as_slice()].concat())).collect();
            let mut types = vec![floats(&[dims.seq, dims.model])];
            types.extend(shapes.iter().map(|(_, axes)| floats(axes)));
            let region = body(b, &types, |b, a| vec![layer(b, &dims, a[0], &a[1..], composed)]);
            let l = Loop { kind: LoopKind::Repeat, axis: depth, reverse: false, carries: 1, stacked: stacks.len(), body: region };
            let y = b.repeat(l, &[&[x], stacks.as_slice()].concat())[0];
            weigh(b, y)
        }));
        let loops = graph.region.nodes.iter().filter(|n| matches!(n.op, Op::Loop(_))).count();
        assert_eq!(loops, 2, "one forward, one backward");
    }
}

#[test]
fn a_shared_layer_adds_up_the_gradients_of_its_parameters() {
    thoroughly(&made(|b| {
        let (s, m, depth) = (b.axis("seq", 2), b.axis("model", 3), b.axis("depth", 3));
        let n = b.axis("model", 3);
        let (x, w, bias) = (param(b, "x", &[s, m]), param(b, "w", &[m, n]), param(b, "b", &[m]));
        let region = body(b, &[floats(&[s, m]), floats(&[m, n]), floats(&[m])], |b, a| {
            let y = b.contract(a[0], a[1], &[m]);
            let y = b.add(Op::Rename(vec![(n, m)]), &[y]);
            let y = b.map(MapFn::Add, &[y, a[2]]);
            let y = b.map(MapFn::Tanh, &[y]);
            vec![b.map(MapFn::Add, &[y, a[0]])]
        });
        let l = Loop { kind: LoopKind::Repeat, axis: depth, reverse: false, carries: 1, stacked: 0, body: region };
        let y = b.repeat(l, &[x, w, bias])[0];
        weigh(b, y)
    }));
}

#[test]
fn a_recurrence_with_a_matrix_used_twice() {
    for batched in [false, true] {
        against(batched, 1);
        against(batched, 3);
    }
    fn against(batched: bool, batch: u64) {
        thoroughly(&made(|b| {
            let (t, n, m, k) = (b.axis("time", 3), b.axis("batch", batch), b.axis("model", 3), b.axis("from", 3));
            let rest: Vec<_> = if batched { vec![n] } else { vec![] };
            let wide = [rest.as_slice(), &[m]].concat();
            let x = param(b, "x", &[&[t], wide.as_slice()].concat());
            let (h, w, v) = (param(b, "h", &wide), param(b, "w", &[k, m]), param(b, "v", &[m]));
            let region = body(b, &[floats(&wide), floats(&wide), floats(&[k, m]), floats(&[m])], |b, a| {
                let from = b.add(Op::Rename(vec![(m, k)]), &[a[0]]);
                let once = b.contract(from, a[2], &[k]);
                let turned = b.add(Op::Rename(vec![(k, m), (m, k)]), &[a[2]]);
                let new = b.map(MapFn::Sin, &[a[1]]);
                let new = b.add(Op::Rename(vec![(m, k)]), &[new]);
                let again = b.contract(new, turned, &[k]);
                let gated = b.map(MapFn::Mul, &[again, a[3]]);
                let sum = b.map(MapFn::Add, &[once, gated]);
                let h = b.map(MapFn::Tanh, &[sum]);
                vec![h, a[0]]
            });
            let l = Loop { kind: LoopKind::Scan, axis: t, reverse: false, carries: 1, stacked: 1, body: region };
            let results = b.repeat(l, &[h, x, w, v]);
            let (last, all) = (weigh(b, results[0]), weigh(b, results[1]));
            b.map(MapFn::Add, &[last, all])
        }));
    }
}

/// `c = sigmoid(f) c + sigmoid(i) tanh(z)`, `h = sigmoid(o) tanh(c)` with element-wise recurrence.
fn cell(b: &mut Builder<'_>, reverse: bool, use_last: bool) -> Value {
    let (t, n, m) = (b.axis("time", 4), b.axis("batch", 2), b.axis("model", 3));
    let x = param(b, "x", &[t, n, m]);
    let u: Vec<Value> = (0..4).map(|i| param(b, &format!("u{i}"), &[m])).collect();
    let w: Vec<Value> = (0..4).map(|i| param(b, &format!("w{i}"), &[m])).collect();
    let (h, c) = (param(b, "h0", &[n, m]), param(b, "c0", &[n, m]));
    let mut types = vec![floats(&[n, m]), floats(&[n, m]), floats(&[n, m])];
    types.extend((0..8).map(|_| floats(&[m])));
    let region = body(b, &types, |b, a| {
        let mut gates = Vec::new();
        for i in 0..4 {
            let recurrent = b.map(MapFn::Mul, &[a[0], a[3 + i]]);
            let given = b.map(MapFn::Mul, &[a[2], a[7 + i]]);
            let sum = b.map(MapFn::Add, &[recurrent, given]);
            gates.push(b.map(if i == 3 { MapFn::Tanh } else { MapFn::Sigmoid }, &[sum]));
        }
        let kept = b.map(MapFn::Mul, &[gates[0], a[1]]);
        let new = b.map(MapFn::Mul, &[gates[1], gates[3]]);
        let c = b.map(MapFn::Add, &[kept, new]);
        let bent = b.map(MapFn::Tanh, &[c]);
        let h = b.map(MapFn::Mul, &[gates[2], bent]);
        vec![h, c, h]
    });
    let l = Loop { kind: LoopKind::Scan, axis: t, reverse, carries: 2, stacked: 1, body: region };
    let inputs: Vec<Value> = [h, c, x].into_iter().chain(u).chain(w).collect();
    let results = b.repeat(l, &inputs);
    let all = weigh(b, results[2]);
    if use_last {
        let last = weigh(b, results[1]);
        return b.map(MapFn::Add, &[all, last]);
    }
    all
}

#[test]
fn a_scan_of_an_element_wise_cell_in_both_directions() {
    for reverse in [false, true] {
        for use_last in [false, true] {
            thoroughly(&made(|b| cell(b, reverse, use_last)));
        }
    }
}

#[test]
fn loops_within_loops() {
    thoroughly(&made(|b| {
        let (t, d, n, m) = (b.axis("time", 3), b.axis("depth", 2), b.axis("batch", 2), b.axis("model", 2));
        let (x, h, w, g) = (param(b, "x", &[t, n, m]), param(b, "h", &[n, m]), param(b, "w", &[d, m]), param(b, "g", &[m]));
        let step = floats(&[n, m]);
        let region = body(b, &[step.clone(), step.clone(), floats(&[d, m]), floats(&[m])], |b, a| {
            let inner = body(b, &[step.clone(), floats(&[m]), step.clone(), floats(&[m])], |b, a| {
                let u = b.map(MapFn::Mul, &[a[0], a[1]]);
                let u = b.map(MapFn::Add, &[u, a[2]]);
                let u = b.map(MapFn::Sin, &[u]);
                let size = b.reduce(ogive_graph::ReduceFn::Sum, u, &[m]);
                let y = b.map(MapFn::Mul, &[u, a[3]]);
                let y = b.map(MapFn::Mul, &[y, size]);
                vec![y, size]
            });
            let l = Loop { kind: LoopKind::Repeat, axis: d, reverse: false, carries: 1, stacked: 1, body: inner };
            let results = b.repeat(l, &[a[0], a[2], a[1], a[3]]);
            let h = b.map(MapFn::Add, &[results[0], a[0]]);
            vec![h, results[1]]
        });
        let l = Loop { kind: LoopKind::Scan, axis: t, reverse: false, carries: 1, stacked: 1, body: region };
        let results = b.repeat(l, &[h, x, w, g]);
        let (last, sizes) = (weigh(b, results[0]), weigh(b, results[1]));
        b.map(MapFn::Add, &[last, sizes])
    }));
}

#[test]
fn an_invariant_may_have_the_axis_of_the_loop() {
    thoroughly(&made(|b| {
        let (t, m, n) = (b.axis("time", 3), b.axis("model", 2), b.axis("model", 2));
        let (h, w, all) = (param(b, "h", &[m]), param(b, "w", &[m, n]), param(b, "all", &[t, m]));
        let region = body(b, &[floats(&[m]), floats(&[m]), floats(&[m, n]), floats(&[t, m])], |b, a| {
            let scores = b.contract(a[0], a[3], &[m]);
            let p = b.add(Op::Softmax(vec![t]), &[scores]);
            let read = b.contract(p, a[3], &[t]);
            let mixed = b.contract(read, a[2], &[m]);
            let mixed = b.add(Op::Rename(vec![(n, m)]), &[mixed]);
            let sum = b.map(MapFn::Add, &[mixed, a[1]]);
            vec![b.map(MapFn::Tanh, &[sum])]
        });
        let l = Loop { kind: LoopKind::Scan, axis: t, reverse: false, carries: 1, stacked: 1, body: region };
        let y = b.repeat(l, &[h, all, w, all])[0];
        weigh(b, y)
    }));
}

#[test]
fn counters_masks_and_random_numbers_are_carried_along() {
    thoroughly(&made(|b| {
        let (t, m) = (b.axis("time", 4), b.axis("model", 3));
        let (x, h) = (param(b, "x", &[t, m]), param(b, "h", &[m]));
        let (count, here) = (b.int(1), b.add(Op::Iota(t), &[]));
        let whole = Ty::scalar(DType::I32);
        let region = body(b, &[whole.clone(), floats(&[m]), floats(&[m]), whole], |b, a| {
            let draw = Random { distribution: Distribution::Uniform, site: 4, order: vec![m] };
            let drawn = b.add_as(Op::Random(draw), &[a[3]], Some(&floats(&[m])));
            let half = b.float(0.5, DType::F64);
            let zero = b.float(0.0, DType::F64);
            let kept = b.map(MapFn::Lt, &[drawn, half]);
            let dropped = b.map(MapFn::Where, &[kept, a[2], zero]);
            let sum = b.map(MapFn::Add, &[a[1], dropped]);
            let factor = b.cast(a[0], DType::F64);
            let scaled = b.map(MapFn::Div, &[sum, factor]);
            let (h, one) = (b.map(MapFn::Sin, &[scaled]), b.int(1));
            vec![b.map(MapFn::Add, &[a[0], one]), h]
        });
        let l = Loop { kind: LoopKind::Scan, axis: t, reverse: false, carries: 2, stacked: 2, body: region };
        let y = b.repeat(l, &[count, h, x, here])[1];
        weigh(b, y)
    }));
}

#[test]
fn a_carry_that_nothing_reads_and_one_that_swaps() {
    thoroughly(&made(|b| {
        let (t, m) = (b.axis("time", 3), b.axis("model", 2));
        let (x, y, z) = (param(b, "x", &[m]), param(b, "y", &[m]), param(b, "z", &[t, m]));
        let carry = floats(&[m]);
        let region = body(b, &[carry.clone(), carry.clone(), carry.clone(), carry.clone()], |b, a| {
            let sum = b.map(MapFn::Mul, &[a[1], a[3]]);
            vec![a[1], a[0], sum, a[0]]
        });
        let l = Loop { kind: LoopKind::Scan, axis: t, reverse: false, carries: 3, stacked: 1, body: region };
        let results = b.repeat(l, &[x, y, x, z]);
        let (first, third, all) = (weigh(b, results[0]), weigh(b, results[2]), weigh(b, results[3]));
        let sum = b.map(MapFn::Add, &[first, third]);
        let square = b.map(MapFn::Mul, &[all, all]);
        b.map(MapFn::Add, &[sum, square])
    }));
}

#[test]
fn a_plain_sum_of_collected_values_has_a_constant_cotangent() {
    thoroughly(&made(|b| {
        let (t, m) = (b.axis("time", 3), b.axis("model", 2));
        let (x, w) = (param(b, "x", &[t, m]), param(b, "w", &[m]));
        let h = param(b, "h", &[m]);
        let region = body(b, &[floats(&[m]), floats(&[m]), floats(&[m])], |b, a| {
            let y = b.map(MapFn::Add, &[a[0], a[1]]);
            let y = b.map(MapFn::Mul, &[y, a[2]]);
            vec![y, y]
        });
        let l = Loop { kind: LoopKind::Scan, axis: t, reverse: false, carries: 1, stacked: 1, body: region };
        let y = b.repeat(l, &[h, x, w])[1];
        b.reduce(ogive_graph::ReduceFn::Sum, y, &[t, m])
    }));
}
