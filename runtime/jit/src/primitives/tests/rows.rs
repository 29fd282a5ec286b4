//! Reductions, accumulation, row functions, the optimiser step, random numbers.

use super::*;
use crate::primitives::{AdamW, RandomKey};
use ogive_graph::{DType, Distribution, ReduceFn};
use ogive_runtime::backend::Draw;
use ogive_runtime::rng::Stream;

fn close(found: f32, exact: f64, tolerance: f64) -> bool {
    (f64::from(found) - exact).abs() <= tolerance * (1.0 + exact.abs())
}

#[test]
fn float_reductions_agree_with_f64_at_every_length() {
    for set in Primitives::all() {
        for &n in LENGTHS {
            let (a, b) = (numbers(n, 5, -3.0, 3.0), numbers(n, 6, -3.0, 3.0));
            let wide = || a.iter().map(|&x| f64::from(x));
            let row = |f| reduce::<f32, f32>(set.reduce(f, DType::F32).unwrap(), &a);
            assert!(close(row(ReduceFn::Sum), wide().sum(), 1e-5), "{} {n}", set.name());
            assert_eq!(row(ReduceFn::Max), a.iter().copied().fold(f32::NEG_INFINITY, f32::max), "{} {n}", set.name());
            assert_eq!(row(ReduceFn::Min), a.iter().copied().fold(f32::INFINITY, f32::min), "{} {n}", set.name());
            assert!(close(reduce(set.squares(), &a), wide().map(|x| x * x).sum(), 1e-5));
            // Safety: both rows hold n elements, `out` two.
            unsafe {
                let dot: unsafe extern "C" fn(usize, *const f32, *const f32) -> f32 = transmute(set.dot().address);
                let exact = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                assert!(close(dot(n, a.as_ptr(), b.as_ptr()), exact, 1e-5));
                let moments: unsafe extern "C" fn(usize, *const f32, *mut f32) = transmute(set.moments().address);
                let mut out = [9.0f32; 2];
                moments(n, a.as_ptr(), out.as_mut_ptr());
                let mean = wide().sum::<f64>() / n.max(1) as f64;
                let variance = wide().map(|x| (x - mean).powi(2)).sum::<f64>() / n.max(1) as f64;
                assert!(close(out[0], mean, 1e-6) && close(out[1], variance, 1e-6), "{} {n} {out:?} {mean} {variance}", set.name());
            }
        }
    }
}

#[test]
fn sets_with_fused_multiply_add_give_the_same_bits() {
    let fused: Vec<_> = Primitives::all().filter(|set| set.name() != "portable").collect();
    for &n in LENGTHS {
        let a = numbers(n, 8, -3.0, 3.0);
        let rows: Vec<_> = fused
            .iter()
            .map(|set| {
                let sum: f32 = reduce(set.reduce(ReduceFn::Sum, DType::F32).unwrap(), &a);
                let tanh = call1(set.map(ogive_graph::MapFn::Tanh, DType::F32, DType::F32, [false; 3]).unwrap(), &a, 0.0f32);
                (sum.to_bits(), tanh, call1(set.gelu(), &a, 0.0f32), call1(set.softmax(), &a, 0.0f32))
            })
            .collect();
        assert!(rows.windows(2).all(|w| w[0] == w[1]), "length {n}");
    }
}

#[test]
fn nan_anywhere_makes_the_largest_and_the_smallest_nan() {
    for set in Primitives::all() {
        for &n in LENGTHS.iter().filter(|&&n| n > 0) {
            for at in [0, n / 2, n - 1] {
                let mut a = numbers(n, 1, -1.0, 1.0);
                a[at] = f32::NAN;
                for f in [ReduceFn::Max, ReduceFn::Min] {
                    assert!(reduce::<f32, f32>(set.reduce(f, DType::F32).unwrap(), &a).is_nan(), "{} {n} {at}", set.name());
                }
            }
        }
    }
}

#[test]
fn argmax_takes_the_first_of_equals_and_never_nan() {
    for set in Primitives::all() {
        let position = |a: &[f32]| reduce::<f32, i32>(set.argmax(), a);
        for &n in LENGTHS.iter().filter(|&&n| n > 0) {
            for at in 0..n.min(40) {
                let mut a = vec![1.0f32; n];
                for x in a.iter_mut().skip(at).step_by(3) {
                    *x = 2.0;
                }
                assert_eq!(position(&a), at as i32, "{} {n}", set.name());
                a[..at].fill(f32::NAN);
                assert_eq!(position(&a), at as i32, "{} {n}", set.name());
            }
            assert_eq!(position(&vec![f32::NEG_INFINITY; n]), 0);
            assert_eq!(position(&vec![f32::NAN; n]), 0);
        }
        assert_eq!(position(&[f32::NAN, f32::NEG_INFINITY, f32::NEG_INFINITY]), 1);
    }
}

#[test]
fn whole_reductions_and_accumulations_agree_with_rust() {
    for set in Primitives::all() {
        for &n in LENGTHS {
            let a: Vec<i32> = (0..n as i32).map(|i| i.wrapping_mul(1_234_567_891)).collect();
            let b: Vec<u8> = (0..n).map(|i| u8::from(i == 20)).collect();
            let whole = |f| reduce::<i32, i32>(set.reduce(f, DType::I32).unwrap(), &a);
            assert_eq!(whole(ReduceFn::Sum), a.iter().fold(0i32, |s, &x| s.wrapping_add(x)));
            assert_eq!(whole(ReduceFn::Max), a.iter().copied().max().unwrap_or(i32::MIN));
            assert_eq!(whole(ReduceFn::Min), a.iter().copied().min().unwrap_or(i32::MAX));
            let truth = |f| reduce::<u8, u8>(set.reduce(f, DType::Bool).unwrap(), &b);
            assert_eq!(truth(ReduceFn::Max), u8::from(n > 20));
            assert_eq!(truth(ReduceFn::Sum), u8::from(n > 20));
            assert_eq!(truth(ReduceFn::Min), u8::from(n == 0));
            let (mut x, y) = (numbers(n, 1, -1.0, 1.0), numbers(n, 2, -1.0, 1.0));
            let expected: Vec<f32> = x.iter().zip(&y).map(|(&x, &y)| x.mul_add(1.0, y)).collect();
            // Safety: all rows hold n elements.
            unsafe {
                let add: unsafe extern "C" fn(usize, *mut f32, *const f32) =
                    transmute(set.accumulate(ReduceFn::Sum, DType::F32).unwrap().address);
                add(n, x.as_mut_ptr(), y.as_ptr());
                assert_eq!(x, expected);
                let product: unsafe extern "C" fn(usize, *mut f32, *const f32, *const f32) = transmute(set.accumulate_product().address);
                product(n, x.as_mut_ptr(), y.as_ptr(), y.as_ptr());
                assert!(x.iter().zip(expected.iter().zip(&y)).all(|(&x, (&e, &y))| (x - (e + y * y)).abs() < 1e-6));
                let scaled: unsafe extern "C" fn(usize, *mut f32, *const f32, *const f32) = transmute(set.accumulate_scaled().address);
                let mut z = expected.clone();
                scaled(n, z.as_mut_ptr(), y.as_ptr(), &2.0);
                assert!(z.iter().zip(expected.iter().zip(&y)).all(|(&z, (&e, &y))| (z - (e + 2.0 * y)).abs() < 1e-6));
            }
        }
    }
}

#[test]
fn softmax_and_its_parts_agree_with_f64_and_a_masked_row_is_zero() {
    for set in Primitives::all() {
        for &n in LENGTHS.iter().filter(|&&n| n > 0) {
            let mut a = numbers(n, 3, -30.0, 30.0);
            a[n / 2] = f32::NEG_INFINITY;
            a[n - 1] = 50.0;
            let sum: f64 = a.iter().map(|&x| (f64::from(x) - 50.0).exp()).sum();
            let found = call1(set.softmax(), &a, 9.0f32);
            for (&x, &y) in a.iter().zip(&found) {
                assert!(close(y, (f64::from(x) - 50.0).exp() / sum, 1e-6), "{} {n}", set.name());
            }
            assert!(close(reduce(set.log_sum_exp(), &a), 50.0 + sum.ln(), 1e-6));
            let mut dst = vec![0.0f32; n];
            // Safety: rows of n elements, one scalar.
            let total = unsafe {
                let f: unsafe extern "C" fn(usize, *mut f32, *const f32, *const f32) -> f32 = transmute(set.exp_sub_sum().address);
                f(n, dst.as_mut_ptr(), a.as_ptr(), &50.0)
            };
            assert!(close(total, sum, 1e-6) && dst.iter().zip(&found).all(|(&d, &y)| close(d, f64::from(y) * sum, 2e-6)));
            let masked = vec![f32::NEG_INFINITY; n];
            assert!(call1(set.softmax(), &masked, 9.0f32).iter().all(|&y| y == 0.0));
            assert_eq!(reduce::<f32, f32>(set.log_sum_exp(), &masked), f32::NEG_INFINITY);
        }
    }
}

#[test]
fn normalised_rows_have_mean_zero_and_unit_variance() {
    for set in Primitives::all() {
        for n in [1, 5, 16, 100, 256] {
            let a = numbers(n, 4, 2.0, 5.0);
            let (mut dst, mut out) = (vec![0.0f32; n], [0.0f32; 2]);
            // Safety: rows of n elements, `out` of two, one scalar.
            unsafe {
                let f: unsafe extern "C" fn(usize, *mut f32, *const f32, *const f32, *mut f32) = transmute(set.normalise().address);
                f(n, dst.as_mut_ptr(), a.as_ptr(), &1e-5, out.as_mut_ptr());
            }
            let mean = a.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
            let variance = a.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n as f64;
            let root = 1.0 / (variance + 1e-5).sqrt();
            assert!(close(out[0], mean, 1e-6) && close(out[1], root, 1e-4), "{} {n}", set.name());
            assert!(a.iter().zip(&dst).all(|(&x, &y)| close(y, (f64::from(x) - mean) * root, 1e-4)), "{} {n}", set.name());
        }
    }
}

#[test]
fn one_step_of_adamw_agrees_with_f64() {
    let n = 53;
    let rule = AdamW { rate: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, decay: 0.1, correction1: 1.9, correction2: 3.0, scale: 0.5 };
    for set in Primitives::all() {
        let (mut p, mut m, mut v, g) =
            (numbers(n, 1, -1.0, 1.0), numbers(n, 2, -1.0, 1.0), numbers(n, 3, 0.0, 1.0), numbers(n, 4, -1.0, 1.0));
        let before: Vec<_> = (0..n).map(|i| [p[i], m[i], v[i], g[i]].map(f64::from)).collect();
        // Safety: rows of n elements.
        unsafe {
            let f: unsafe extern "C" fn(usize, *mut f32, *mut f32, *mut f32, *const f32, *const AdamW) = transmute(set.adamw().address);
            f(n, p.as_mut_ptr(), m.as_mut_ptr(), v.as_mut_ptr(), g.as_ptr(), &raw const rule);
        }
        for (i, &[p0, m0, v0, g0]) in before.iter().enumerate() {
            let g = g0 * 0.5;
            let (m1, v1) = (0.9 * m0 + 0.1 * g, 0.99 * v0 + 0.01 * g * g);
            let p1 = p0 - 0.01 * (0.1 * p0 + m1 * 1.9 / ((v1 * 3.0).sqrt() + 1e-8));
            assert!(close(m[i], m1, 1e-6) && close(v[i], v1, 1e-6) && close(p[i], p1, 1e-6), "{} {i}", set.name());
        }
    }
}

#[test]
fn random_tiles_are_the_numbers_of_the_reference_streams() {
    type Draws = unsafe extern "C" fn(usize, *mut f32, *const RandomKey, u64);
    for (seed, step, site, inputs) in [(1, 0, 5, &[][..]), (u64::MAX / 3, 1 << 33 | 7, 1 << 60, &[3, -4][..])] {
        let key = RandomKey::new(seed, step, site, inputs);
        let stream = Stream::new(Draw { seed, step }, site, inputs);
        for set in Primitives::all() {
            for (first, n) in [(0u64, 200), (1, 3), (2, 64), (63, 65), (4 * u64::from(u32::MAX) - 5, 40), (1_000_003, 0)] {
                let mut dst = vec![0.0f32; n];
                // Safety: dst holds n elements.
                unsafe {
                    let f: Draws = transmute(set.random(Distribution::Uniform).address);
                    f(n, dst.as_mut_ptr(), &raw const key, first);
                }
                assert!((0..n).all(|i| dst[i] == stream.uniform(first + i as u64)), "{} {first} {n}", set.name());
                // Safety: as above.
                unsafe {
                    let f: Draws = transmute(set.random(Distribution::Normal).address);
                    f(n, dst.as_mut_ptr(), &raw const key, first);
                }
                for (i, &found) in dst.iter().enumerate().take(n) {
                    let exact = stream.normal(first + i as u64);
                    assert!(close(found, exact, 1e-6), "{} element {}: {found} {exact}", set.name(), first + i as u64);
                }
            }
        }
    }
}
