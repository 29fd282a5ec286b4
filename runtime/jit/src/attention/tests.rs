//! Forward and backward on every instruction set against the equations in f64.

use super::*;
use crate::primitives::Primitives;

/// A case: sizes, mask, and whether channels are the slowest dim instead of the fastest.
struct Case {
    query: usize,
    source: usize,
    key: usize,
    value: usize,
    causal: Option<i64>,
    turned: bool,
}

/// A matrix of f32 with strides.
struct Matrix {
    cells: Vec<f32>,
    strides: [isize; 2],
}

impl Matrix {
    /// Rows lie 3 elements further apart than they need, or columns do.
    fn new(rows: usize, columns: usize, turned: bool, mut fill: impl FnMut() -> f32) -> Self {
        let strides = if turned { [1, rows as isize + 3] } else { [columns as isize + 3, 1] };
        let len = if turned { (rows + 3) * columns } else { (columns + 3) * rows };
        Matrix { cells: (0..len).map(|_| fill()).collect(), strides }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        f64::from(self.cells[(i as isize * self.strides[0] + j as isize * self.strides[1]) as usize])
    }
}

/// The equations: mix, lse, and the cotangents of q, k and v for a cotangent of mix.
struct Exact {
    mix: Vec<Vec<f64>>,
    lse: Vec<f64>,
    dq: Vec<Vec<f64>>,
    dk: Vec<Vec<f64>>,
    dv: Vec<Vec<f64>>,
}

fn exact(case: &Case, scale: f64, q: &Matrix, k: &Matrix, v: &Matrix, dmix: &Matrix) -> Exact {
    let zeros = |rows: usize, columns: usize| vec![vec![0.0; columns]; rows];
    let mut e = Exact {
        mix: zeros(case.query, case.value),
        lse: vec![f64::NEG_INFINITY; case.query],
        dq: zeros(case.query, case.key),
        dk: zeros(case.source, case.key),
        dv: zeros(case.source, case.value),
    };
    for i in 0..case.query {
        let sees = |j: usize| case.causal.is_none_or(|offset| (j as i64) <= (i as i64).saturating_add(offset));
        let seen: Vec<usize> = (0..case.source).filter(|&j| sees(j)).collect();
        if seen.is_empty() {
            continue;
        }
        let score = |j: usize| scale * (0..case.key).map(|c| q.at(i, c) * k.at(j, c)).sum::<f64>();
        let scores: Vec<f64> = seen.iter().map(|&j| score(j)).collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        e.lse[i] = most + scores.iter().map(|s| (s - most).exp()).sum::<f64>().ln();
        let weights: Vec<f64> = scores.iter().map(|s| (s - e.lse[i]).exp()).collect();
        for (&j, w) in seen.iter().zip(&weights) {
            for c in 0..case.value {
                e.mix[i][c] += w * v.at(j, c);
            }
        }
        let dot: f64 = (0..case.value).map(|c| dmix.at(i, c) * e.mix[i][c]).sum();
        for (&j, w) in seen.iter().zip(&weights) {
            let slope = w * ((0..case.value).map(|c| dmix.at(i, c) * v.at(j, c)).sum::<f64>() - dot);
            for c in 0..case.value {
                e.dv[j][c] += w * dmix.at(i, c);
            }
            for c in 0..case.key {
                e.dq[i][c] += scale * slope * k.at(j, c);
                e.dk[j][c] += scale * slope * q.at(i, c);
            }
        }
    }
    e
}

fn check(what: &str, found: &Matrix, exact: &[Vec<f64>]) {
    for (i, row) in exact.iter().enumerate() {
        for (j, &x) in row.iter().enumerate() {
            let y = found.at(i, j);
            assert!((x - y).abs() <= 5e-6 * (1.0 + x.abs()), "{what}[{i}, {j}] = {y}, not {x}");
        }
    }
}

fn run(set: &Primitives, case: &Case) {
    let mut state = 12_345u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    let scale = 1.5 / (case.key as f32).sqrt();
    let q = Matrix::new(case.query, case.key, case.turned, &mut next);
    let k = Matrix::new(case.source, case.key, case.turned, &mut next);
    let v = Matrix::new(case.source, case.value, case.turned, &mut next);
    let dmix = Matrix::new(case.query, case.value, !case.turned, &mut next);
    let marked = |rows, columns| Matrix::new(rows, columns, case.turned, || f32::NAN);
    let mut mix = marked(case.query, case.value);
    let mut lse = Matrix::new(case.query, 1, false, || f32::NAN);
    let (mut dq, mut dk, mut dv) = (marked(case.query, case.key), marked(case.source, case.key), marked(case.source, case.value));
    let shape = AttendShape {
        query: case.query,
        source: case.source,
        key: case.key,
        value: case.value,
        scale,
        causal: case.causal,
        q: q.strides,
        k: k.strides,
        v: v.strides,
        mix: mix.strides,
        lse: lse.strides[0],
    };
    let grad = GradShape { shape, dmix: dmix.strides, dq: dq.strides, dk: dk.strides, dv: dv.strides };
    let guard = 32;
    let mut space = vec![f32::NAN; scratch(&shape) + guard];
    // Safety: the matrices hold what the shapes name.
    unsafe {
        for block in 0..blocks(&shape) {
            let out = (mix.cells.as_mut_ptr(), lse.cells.as_mut_ptr());
            attend(set, &shape, block, q.cells.as_ptr(), k.cells.as_ptr(), v.cells.as_ptr(), out.0, out.1, space.as_mut_ptr());
        }
    }
    assert!(space[scratch(&shape)..].iter().all(|x| x.is_nan()), "forward wrote past its scratch");
    let mut space = vec![f32::NAN; grad_scratch(&shape) + guard];
    // Safety: as above.
    unsafe {
        let (q, k, v) = (q.cells.as_ptr(), k.cells.as_ptr(), v.cells.as_ptr());
        let (mix, lse, dmix) = (mix.cells.as_ptr(), lse.cells.as_ptr(), dmix.cells.as_ptr());
        let (dq, dk, dv) = (dq.cells.as_mut_ptr(), dk.cells.as_mut_ptr(), dv.cells.as_mut_ptr());
        attend_grad(set, &grad, q, k, v, mix, lse, dmix, dq, dk, dv, space.as_mut_ptr());
    }
    assert!(space[grad_scratch(&shape)..].iter().all(|x| x.is_nan()), "backward wrote past its scratch");
    let e = exact(case, f64::from(scale), &q, &k, &v, &dmix);
    check("mix", &mix, &e.mix);
    for (i, &x) in e.lse.iter().enumerate() {
        let y = lse.at(i, 0);
        assert!(x == y || (x - y).abs() <= 3e-6 * (1.0 + x.abs()), "lse[{i}] = {y}, not {x}");
    }
    check("dq", &dq, &e.dq);
    check("dk", &dk, &e.dk);
    check("dv", &dv, &e.dv);
}

fn everywhere(cases: impl IntoIterator<Item = Case>) {
    for case in cases {
        for set in Primitives::all() {
            run(set, &case);
        }
    }
}

#[test]
fn every_size_agrees_with_the_equations() {
    let sizes = [(1, 1, 1, 1), (1, 70, 3, 5), (5, 3, 16, 16), (64, 64, 32, 32), (65, 129, 17, 33), (100, 40, 64, 20), (130, 200, 128, 70)];
    let cases = sizes
        .into_iter()
        .flat_map(|(query, source, key, value)| [None, Some(0)].map(|causal| Case { query, source, key, value, causal, turned: false }));
    everywhere(cases);
}

#[test]
fn offsets_of_the_causal_mask_shift_what_a_query_sees() {
    let cases = [5, 63, 64, -1, -5, -64, -70, 1000, -1000, i64::MAX, i64::MIN].map(|offset| Case {
        query: 70,
        source: 140,
        key: 8,
        value: 24,
        causal: Some(offset),
        turned: false,
    });
    everywhere(cases);
}

#[test]
fn any_strides_give_the_same_result() {
    let cases = [None, Some(0), Some(-3)].map(|causal| Case { query: 70, source: 90, key: 20, value: 33, causal, turned: true });
    everywhere(cases);
}

#[test]
fn a_query_that_sees_nothing_has_zero_mix_and_no_gradient() {
    // The equations in `exact` give zeros and -inf for these; the cotangents of queries 0 to 2 are zero.
    everywhere([Case { query: 4, source: 6, key: 4, value: 4, causal: Some(-3), turned: false }]);
}

#[test]
fn no_sources_give_zeros() {
    everywhere([Case { query: 3, source: 0, key: 4, value: 4, causal: None, turned: false }]);
}
