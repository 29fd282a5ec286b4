//! Derivatives against finite differences: small architectures built by hand.

use crate::check::{made, param, positions, thoroughly, weigh};
use crate::layers::{attention, cross_entropy, gelu, layer_norm};
use ogive_graph::{Attention, MapFn, Op, ReduceFn};

#[test]
fn the_gradient_of_every_element_wise_function_is_its_slope() {
    for &f in MapFn::ALL {
        if f.is_predicate() || matches!(f, MapFn::Cast | MapFn::StopGradient) {
            continue;
        }
        thoroughly(&made(|b| {
            let (i, j) = (b.axis("i", 2), b.axis("j", 3));
            let mut x = param(b, "x", &[i, j]);
            if matches!(f, MapFn::Log | MapFn::Sqrt | MapFn::Rsqrt | MapFn::Pow) {
                x = b.map(MapFn::Mul, &[x, x]);
                let half = b.float(0.5, ogive_graph::DType::F64);
                x = b.map(MapFn::Add, &[x, half]);
            }
            let y = match (f, f.arity()) {
                (MapFn::Where, _) => {
                    let k = b.axis("k", 2);
                    let (z, w) = (param(b, "z", &[j, k]), param(b, "w", &[]));
                    let less = b.map(MapFn::Lt, &[x, w]);
                    b.map(f, &[less, z, x])
                }
                (_, 2) => {
                    let k = b.axis("k", 2);
                    let z = param(b, "z", &[j, k]);
                    b.map(f, &[x, z])
                }
                _ => b.map(f, &[x]),
            };
            weigh(b, y)
        }));
    }
}

#[test]
fn operands_are_summed_over_the_axes_they_lack() {
    for f in [MapFn::Add, MapFn::Sub, MapFn::Mul, MapFn::Div] {
        for turned in [false, true] {
            thoroughly(&made(|b| {
                let (i, j) = (b.axis("i", 2), b.axis("j", 3));
                let (x, z) = (param(b, "x", &[i, j]), param(b, "z", &[j]));
                let y = b.map(f, &if turned { [z, x] } else { [x, z] });
                let y = b.reduce(ReduceFn::Sum, y, &[i]);
                let y = b.map(MapFn::Tanh, &[y]);
                weigh(b, y)
            }));
        }
    }
    // Constant along an axis that neither the cotangent nor the other operand has.
    thoroughly(&made(|b| {
        let (i, j) = (b.axis("i", 2), b.axis("j", 3));
        let (x, z, s) = (param(b, "x", &[i]), param(b, "z", &[j]), param(b, "s", &[]));
        let y = b.map(MapFn::Add, &[x, z]);
        let y = b.map(MapFn::Mul, &[y, s]);
        let same = b.map(MapFn::Mul, &[s, s]);
        let y = b.map(MapFn::Add, &[y, same]);
        b.reduce(ReduceFn::Sum, y, &[i, j])
    }));
}

#[test]
fn contractions_have_contractions_as_gradients() {
    let graph = thoroughly(&made(|b| {
        let (s, m, n, h) = (b.axis("seq", 3), b.axis("model", 2), b.axis("wide", 4), b.axis("head", 2));
        let (x, w, v) = (param(b, "x", &[s, m]), param(b, "w", &[h, m, n]), param(b, "v", &[h, n]));
        let y = b.contract(x, w, &[m]);
        let y = b.map(MapFn::Sin, &[y]);
        let z = b.contract(y, v, &[n]);
        let z = b.contract(z, z, &[h]);
        weigh(b, z)
    }));
    let contractions = graph.region.nodes.iter().filter(|n| matches!(n.op, Op::Contract(_))).count();
    // Three forward; two for each of the first two backward less the product of dz and v, none for z's square.
    assert!(contractions <= 3 + 3, "{contractions} contractions");
}

#[test]
fn a_contraction_whose_cotangent_is_constant_reduces_first() {
    thoroughly(&made(|b| {
        let (i, j, k) = (b.axis("i", 2), b.axis("j", 3), b.axis("k", 2));
        let (x, w) = (param(b, "x", &[i, j]), param(b, "w", &[j, k]));
        let y = b.contract(x, w, &[j]);
        b.reduce(ReduceFn::Sum, y, &[i, k])
    }));
}

#[test]
fn moving_positions_about_moves_gradients_back() {
    thoroughly(&made(|b| {
        let (i, j, k, l) = (b.axis("i", 6), b.axis("j", 2), b.axis("k", 3), b.axis("l", 2));
        let (wide, four, six, fourteen) = (b.axis("wide", 8), b.axis("four", 4), b.axis("six", 6), b.axis("fourteen", 14));
        let x = param(b, "x", &[i, l]);
        let split = b.add(Op::Split { axis: i, into: vec![j, k] }, &[x]);
        let square = b.map(MapFn::Mul, &[split, split]);
        let merged = b.add(Op::Merge { from: vec![k, l], into: six }, &[square]);
        let low = b.add(Op::Slice { axis: i, start: 1, into: four }, &[x]);
        let high = b.add(Op::Pad { axis: four, start: 3, into: wide }, &[low]);
        let other = b.add(Op::Rename(vec![(j, l), (six, i)]), &[merged]);
        let joined = b.add(Op::Concat { axes: vec![wide, i], into: fourteen }, &[high, other]);
        let bent = b.map(MapFn::Sin, &[joined]);
        weigh(b, bent)
    }));
}

#[test]
fn sums_over_moved_axes_leave_constant_cotangents() {
    thoroughly(&made(|b| {
        let (i, j, k, l) = (b.axis("i", 6), b.axis("j", 2), b.axis("k", 3), b.axis("l", 4));
        let x = param(b, "x", &[i, l]);
        let split = b.add(Op::Split { axis: i, into: vec![j, k] }, &[x]);
        let one = b.reduce(ReduceFn::Sum, split, &[k]);
        let one = b.map(MapFn::Sin, &[one]);
        let second = b.int(1);
        let column = b.add(Op::Gather(l), &[x, second]);
        let two = b.add(Op::Slice { axis: i, start: 2, into: l }, &[column]);
        let two = b.reduce(ReduceFn::Sum, two, &[l]);
        let two = b.map(MapFn::Tanh, &[two]);
        let one = weigh(b, one);
        b.map(MapFn::Add, &[one, two])
    }));
}

#[test]
fn extrema_share_their_gradient() {
    for f in [ReduceFn::Max, ReduceFn::Min] {
        thoroughly(&made(|b| {
            let (i, j) = (b.axis("i", 3), b.axis("j", 4));
            let x = param(b, "x", &[i, j]);
            let y = b.reduce(f, x, &[j]);
            weigh(b, y)
        }));
    }
}

#[test]
fn softmax_and_logsumexp_over_several_axes() {
    thoroughly(&made(|b| {
        let (i, j, k) = (b.axis("i", 3), b.axis("j", 2), b.axis("k", 2));
        let x = param(b, "x", &[i, j, k]);
        let p = b.add(Op::Softmax(vec![j, k]), &[x]);
        let l = b.add(Op::LogSumExp(vec![i, j]), &[x]);
        let y = b.map(MapFn::Mul, &[p, l]);
        let y = b.map(MapFn::Sin, &[y]);
        let even = b.reduce(ReduceFn::Sum, p, &[j]);
        let (y, even) = (weigh(b, y), weigh(b, even));
        b.map(MapFn::Add, &[y, even])
    }));
}

#[test]
fn gather_and_scatter_are_each_others_transpose() {
    thoroughly(&made(|b| {
        let (v, m, s, t) = (b.axis("vocab", 4), b.axis("model", 2), b.axis("seq", 5), b.axis("bins", 3));
        let (e, tokens) = (param(b, "e", &[v, m]), positions(b, "tokens", &[s]));
        let x = b.add(Op::Gather(v), &[e, tokens]);
        let x = b.map(MapFn::Sin, &[x]);
        let bins = positions(b, "bins", &[s]);
        let sums = b.add(Op::ScatterAdd { axis: t, keep: vec![m] }, &[bins, x]);
        let all = b.add(Op::ScatterAdd { axis: t, keep: vec![] }, &[bins, x]);
        let (sums, all) = (b.map(MapFn::Tanh, &[sums]), b.map(MapFn::Sin, &[all]));
        let y = b.map(MapFn::Mul, &[sums, all]);
        weigh(b, y)
    }));
}

#[test]
fn a_sum_of_gathered_rows_counts_them() {
    thoroughly(&made(|b| {
        let (v, m, s) = (b.axis("vocab", 4), b.axis("model", 2), b.axis("seq", 5));
        let (e, tokens) = (param(b, "e", &[v, m]), positions(b, "tokens", &[s]));
        let x = b.add(Op::Gather(v), &[e, tokens]);
        b.reduce(ReduceFn::Sum, x, &[s, m])
    }));
}

#[test]
fn a_two_layer_perceptron_with_cross_entropy() {
    thoroughly(&made(|b| {
        let (s, m, f, v) = (b.axis("seq", 3), b.axis("model", 4), b.axis("ff", 5), b.axis("vocab", 4));
        let (x, w1, b1, w2) = (param(b, "x", &[s, m]), param(b, "w1", &[m, f]), param(b, "b1", &[f]), param(b, "w2", &[f, v]));
        let u = b.contract(x, w1, &[m]);
        let u = b.map(MapFn::Add, &[u, b1]);
        let h = gelu(b, u);
        let logits = b.contract(h, w2, &[f]);
        let targets = positions(b, "targets", &[s]);
        cross_entropy(b, logits, targets, v)
    }));
}

#[test]
fn a_layer_norm_with_gain() {
    thoroughly(&made(|b| {
        let (s, m) = (b.axis("seq", 3), b.axis("model", 4));
        let (x, g) = (param(b, "x", &[s, m]), param(b, "g", &[m]));
        let y = layer_norm(b, x, g, m);
        let y = b.map(MapFn::Sin, &[y]);
        weigh(b, y)
    }));
}

#[test]
fn causal_attention_composed_and_in_one() {
    for composed in [true, false] {
        thoroughly(&made(|b| {
            let (t, s, h, k, v) = (b.axis("seq", 3), b.axis("src", 3), b.axis("head", 2), b.axis("key", 2), b.axis("value", 2));
            let (q, key, val) = (param(b, "q", &[t, h, k]), param(b, "k", &[s, h, k]), param(b, "v", &[s, h, v]));
            let a = Attention { query: t, source: s, key: k, value: v, scale: 0.6, causal: Some(0) };
            let mix = attention(b, &a, q, key, val, composed);
            let y = b.map(MapFn::Sin, &[mix]);
            weigh(b, y)
        }));
    }
}
