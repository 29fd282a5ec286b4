//! The blocked product against f64 and against the `gemm` crate.

use super::*;

/// A matrix at some place of a larger vector, with one of four layouts.
struct Placed {
    cells: Vec<f32>,
    strides: [isize; 2],
    start: usize,
}

fn placed(rows: usize, columns: usize, layout: usize, seed: u32) -> Placed {
    let (r, c) = (rows as isize, columns as isize);
    let strides = [[c, 1], [c + 5, 1], [1, r + 2], [2 * c + 1, 2]][layout];
    let len = (rows.max(1) * strides[0] as usize).max(columns.max(1) * strides[1] as usize) + rows + 2 * columns + 3;
    let mut state = seed;
    let cells = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    });
    Placed { cells: cells.take(len).collect(), strides, start: 3 }
}

impl Placed {
    fn index(&self, i: usize, j: usize) -> usize {
        self.start + (i as isize * self.strides[0] + j as isize * self.strides[1]) as usize
    }
}

fn check(set: &Primitives, m: usize, n: usize, k: usize, layouts: [usize; 3], alpha: f32, beta: f32) {
    let (a, b) = (placed(m, k, layouts[0], 1), placed(k, n, layouts[1], 2));
    let mut c = placed(m, n, layouts[2], 3);
    if beta == 0.0 {
        // Must not be read.
        for i in 0..m {
            for j in 0..n {
                let at = c.index(i, j);
                c.cells[at] = f32::NAN;
            }
        }
    }
    let mut expected: Vec<f64> = c.cells.iter().map(|&x| f64::from(x)).collect();
    let mut inside = vec![false; expected.len()];
    for i in 0..m {
        for j in 0..n {
            let sum: f64 = (0..k).map(|l| f64::from(a.cells[a.index(i, l)]) * f64::from(b.cells[b.index(l, j)])).sum();
            let at = c.index(i, j);
            inside[at] = true;
            expected[at] = f64::from(alpha) * sum + if beta == 0.0 { 0.0 } else { f64::from(beta) * expected[at] };
        }
    }
    let product = Product { m, n, k, a: a.strides, b: b.strides, c: c.strides, alpha, beta };
    let mut apart: Vec<f32> = c.cells.iter().zip(&inside).map(|(&x, inside)| if *inside { f32::NAN } else { x }).collect();
    // Safety: the matrices hold what the strides name.
    unsafe {
        let (a, b) = (a.cells.as_ptr().add(a.start), b.cells.as_ptr().add(b.start));
        product.run_onto(set, a, b, c.cells.as_ptr().add(c.start), apart.as_mut_ptr().add(c.start));
        product.run(set, a, b, c.cells.as_mut_ptr().add(c.start));
    }
    assert!(apart.iter().zip(&c.cells).all(|(x, y)| x.to_bits() == y.to_bits()), "{} {m}x{n}x{k} {layouts:?}", set.name());
    for (at, (&x, &y)) in c.cells.iter().zip(&expected).enumerate() {
        let tolerance = if inside[at] { 2e-6 * (k as f64 + 1.0).sqrt() * 4.0 } else { 0.0 };
        assert!((f64::from(x) - y).abs() <= tolerance, "{} {m}x{n}x{k} {layouts:?} at {at}: {x}, not {y}", set.name());
    }
}

#[test]
fn products_of_every_size_agree_with_f64() {
    for set in Primitives::all() {
        for m in [1, 3, 4, 12, 13, 31, 100] {
            for n in [1, 8, 16, 17, 33, 47, 70] {
                for k in [0, 1, 4, 16, 37, 300] {
                    check(set, m, n, k, [0, 0, 0], 1.0, 0.0);
                }
            }
        }
        check(set, 25, 1100, 520, [0, 0, 0], 1.0, 0.0);
    }
}

#[test]
fn any_strides_and_factors_agree_with_f64() {
    for set in Primitives::all() {
        for layout in 0..64 {
            let layouts = [layout % 4, layout / 4 % 4, layout / 16];
            check(set, 29, 37, 50, layouts, 1.0, 0.0);
            check(set, 29, 37, 270, layouts, -0.5, 1.0);
            check(set, 5, 8, 20, layouts, 2.0, 0.25);
            check(set, 1, 37, 50, layouts, 1.0, 0.0);
            check(set, 3, 32, 32, layouts, 1.0, 1.0);
            check(set, 70, 2, 33, layouts, 1.0, 1.0);
        }
    }
}

#[test]
fn rows_computed_apart_have_the_bits_of_rows_computed_together() {
    let (m, n, k) = (100, 200, 500);
    let (a, b) = (placed(m, k, 0, 1), placed(k, n, 0, 2));
    for set in Primitives::all() {
        let run = |first: usize, rows: usize, c: &mut [f32]| {
            let product = Product { m: rows, n, k, a: a.strides, b: b.strides, c: [n as isize, 1], alpha: 1.0, beta: 0.0 };
            // Safety: the matrices hold what the strides name.
            unsafe { product.run(set, a.cells.as_ptr().add(a.index(first, 0)), b.cells.as_ptr().add(b.start), c.as_mut_ptr()) }
        };
        if set.name() == "portable" {
            continue;
        }
        let mut whole = vec![0.0; m * n];
        run(0, m, &mut whole);
        for part in [4, 25, 50] {
            let mut pieces = vec![0.0; m * n];
            for first in (0..m).step_by(part) {
                run(first, part, &mut pieces[first * n..]);
            }
            assert!(pieces == whole, "{} rows at a time on {}", part, set.name());
        }
    }
}

#[test]
fn a_tile_turned_twice_is_itself() {
    use crate::primitives::simd::{Simd, portable::Portable};
    let rows: [[f32; 16]; 16] = std::array::from_fn(|i| std::array::from_fn(|j| (16 * i + j) as f32));
    // Safety: the portable set runs everywhere.
    let once = unsafe { Portable::transpose(rows) };
    assert!((0..16).all(|i| (0..16).all(|j| once[i][j] == rows[j][i])));
}

/// Offsets of rows in a scattered order, each row twice where `twice`.
fn scattered(rows: usize, row: isize, start: usize, twice: bool) -> Vec<isize> {
    let place = |i: usize| if twice { i / 2 } else { (i * 7 + 3) % rows.max(1) };
    (0..rows).map(|i| start as isize + place(i) as isize * row).collect()
}

#[test]
fn products_of_gathered_rows_agree_with_f64() {
    for set in Primitives::all() {
        for (m, n, k) in [(1, 1, 2), (13, 17, 5), (31, 40, 300), (50, 530, 20)] {
            for layout in 0..16 {
                // Rows of m are a prime's multiple apart, so that no two coincide.
                let (m, add) = (if m % 7 == 0 { m + 1 } else { m }, layout % 2 == 1);
                let (a, b, mut c) = (placed(m, k, layout % 4, 1), placed(k, n, layout / 4, 2), placed(m, n, layout / 2 % 4, 3));
                let (from, to) = (scattered(m, a.strides[0], a.start, false), scattered(m, c.strides[0], c.start, add));
                let mut expected: Vec<f64> = c.cells.iter().map(|&x| f64::from(x)).collect();
                for i in 0..m {
                    for j in 0..n {
                        let term = |l: usize| {
                            f64::from(a.cells[(from[i] + l as isize * a.strides[1]) as usize]) * f64::from(b.cells[b.index(l, j)])
                        };
                        let sum: f64 = (0..k).map(term).sum();
                        let at = (to[i] + j as isize * c.strides[1]) as usize;
                        expected[at] = if add { expected[at] + sum } else { sum };
                    }
                }
                let product = gathered::Gathered { m, n, k, a: a.strides[1], b: b.strides, c: c.strides[1], add };
                let mut space = vec![0.0; gathered::SPACE];
                // Safety: the matrices hold what the strides name.
                unsafe {
                    let b = b.cells.as_ptr().add(b.start);
                    let (a, c) = (a.cells.as_ptr(), c.cells.as_mut_ptr());
                    (set.gathered())(&raw const product, a, from.as_ptr(), b, c, to.as_ptr(), space.as_mut_ptr());
                }
                close(&c.cells, &expected, k);
            }
        }
    }
}

#[test]
fn sums_over_gathered_points_agree_with_f64() {
    for set in Primitives::all() {
        for (m, n, k) in [(1, 1, 2), (13, 17, 5), (31, 40, 300), (12, 530, 20)] {
            for layout in 0..16 {
                let (k, add) = (if k % 7 == 0 { k + 1 } else { k }, layout % 2 == 1);
                let (a, b, mut c) = (placed(k, m, layout % 4, 1), placed(k, n, layout / 4, 2), placed(m, n, layout / 2 % 4, 3));
                let (left, right) = (scattered(k, a.strides[0], a.start, false), scattered(k, b.strides[0], b.start, true));
                let mut expected: Vec<f64> = c.cells.iter().map(|&x| f64::from(x)).collect();
                for i in 0..m {
                    for j in 0..n {
                        let cell = |p: &Placed, from: isize, e: usize| f64::from(p.cells[(from + e as isize * p.strides[1]) as usize]);
                        let sum: f64 = (0..k).map(|l| cell(&a, left[l], i) * cell(&b, right[l], j)).sum();
                        let at = c.index(i, j);
                        expected[at] = if add { expected[at] + sum } else { sum };
                    }
                }
                let product = gathered::Outer { m, n, k, a: a.strides[1], b: b.strides[1], c: c.strides, add };
                let mut space = vec![0.0; gathered::SPACE];
                // Safety: the matrices hold what the strides name.
                unsafe {
                    let (a, b, to) = (a.cells.as_ptr(), b.cells.as_ptr(), c.cells.as_mut_ptr().add(c.start));
                    (set.outer())(&raw const product, a, left.as_ptr(), b, right.as_ptr(), to, space.as_mut_ptr());
                }
                close(&c.cells, &expected, k);
            }
        }
    }
}

fn close(found: &[f32], expected: &[f64], k: usize) {
    let tolerance = 2e-6 * (k as f64 + 1.0).sqrt() * 4.0;
    for (at, (&x, &y)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(x) - y).abs() <= tolerance, "at {at}: {x}, not {y}");
    }
}
