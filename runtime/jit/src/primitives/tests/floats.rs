//! Functions of f32.

use super::*;
use crate::primitives::Three;
use ogive_graph::{DType, MapFn};

/// erf by a series without cancellation.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    sum * (-x * x).exp() * 2.0 / std::f64::consts::PI.sqrt()
}

fn one(f: MapFn) -> fn(f64) -> f64 {
    match f {
        MapFn::Neg => |x| -x,
        MapFn::Abs => f64::abs,
        MapFn::Sign => |x| if x == 0.0 || x.is_nan() { x } else { x.signum() },
        MapFn::Exp => f64::exp,
        MapFn::Log => f64::ln,
        MapFn::Sqrt => f64::sqrt,
        MapFn::Rsqrt => |x| x.sqrt().recip(),
        MapFn::Recip => f64::recip,
        MapFn::Sin => f64::sin,
        MapFn::Cos => f64::cos,
        MapFn::Tanh => f64::tanh,
        MapFn::Sigmoid => |x| ((-x).exp() + 1.0).recip(),
        MapFn::Erf => erf,
        MapFn::Relu => |x| if x < 0.0 { 0.0 } else { x },
        MapFn::Floor => f64::floor,
        _ => |x| x,
    }
}

/// The largest error allowed, in ulp, and an absolute error that is always allowed.
fn allowed(f: MapFn) -> (f64, f64) {
    match f {
        MapFn::Exp | MapFn::Log => (1.5, 0.0),
        MapFn::Rsqrt => (1.5, 0.0),
        MapFn::Tanh | MapFn::Sigmoid => (2.5, 0.0),
        MapFn::Erf => (2.5, 0.0),
        MapFn::Sin | MapFn::Cos => (2.0, 1.5e-7),
        _ => (0.5, 0.0),
    }
}

const UNARY: &[MapFn] = &[
    MapFn::Neg,
    MapFn::Abs,
    MapFn::Sign,
    MapFn::Exp,
    MapFn::Log,
    MapFn::Sqrt,
    MapFn::Rsqrt,
    MapFn::Recip,
    MapFn::Sin,
    MapFn::Cos,
    MapFn::Tanh,
    MapFn::Sigmoid,
    MapFn::Erf,
    MapFn::Relu,
    MapFn::Floor,
    MapFn::StopGradient,
];

const SPECIAL: &[f32] = &[
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MIN_POSITIVE,
    1e-40,
    -1e-40,
    1e-45,
    f32::MAX,
    f32::MIN,
    88.7,
    88.8,
    -87.4,
    -95.0,
    -103.9,
    -104.1,
    8191.9,
    8192.1,
    1e9,
    0.5,
    1.5,
    2.5,
    -2.5,
    4.0,
    -4.1,
    1e-8,
];

#[test]
fn unary_functions_stay_within_their_stated_error() {
    let mut inputs: Vec<f32> = SPECIAL.to_vec();
    for (i, scale) in [1e-6, 0.01, 1.0, 3.0, 10.0, 90.0, 1e4].into_iter().enumerate() {
        inputs.extend(numbers(20_000, i as u32, -scale, scale));
    }
    for set in Primitives::all() {
        for &f in UNARY {
            let p = set.map(f, DType::F32, DType::F32, [false; 3]).unwrap();
            let found = call1(p, &inputs, 0.0f32);
            let (most, absolute) = allowed(f);
            // Without a fused multiply-add every step rounds twice.
            let most = if set.name() == "portable" { most * 2.0 } else { most };
            for (&x, &y) in inputs.iter().zip(&found) {
                let exact = one(f)(f64::from(x));
                let error = ulps(y, exact);
                let near = (f64::from(y) - exact).abs() <= absolute;
                assert!(error <= most || near, "{} {}({x:e}) = {y:e}, not {exact:e}: {error} ulp", set.name(), f.name());
            }
        }
    }
}

#[test]
fn every_length_is_served_and_nothing_is_written_past_the_end() {
    for set in Primitives::all() {
        for &n in LENGTHS {
            let (a, b) = (numbers(n, 1, -2.0, 2.0), numbers(n, 2, -2.0, 2.0));
            let p = set.map(MapFn::Add, DType::F32, DType::F32, [false; 3]).unwrap();
            let mut dst = vec![7.0f32; n + 16];
            // Safety: dst is longer than n.
            unsafe {
                let f: unsafe extern "C" fn(usize, *mut f32, *const f32, *const f32) = transmute(p.address);
                f(n, dst.as_mut_ptr(), a.as_ptr(), b.as_ptr());
            }
            assert!(dst[..n].iter().zip(a.iter().zip(&b)).all(|(&d, (&a, &b))| d == a + b));
            assert!(dst[n..].iter().all(|&d| d == 7.0), "{} wrote past {n}", set.name());
        }
    }
}

fn two(f: MapFn) -> fn(f64, f64) -> f64 {
    match f {
        MapFn::Add => |a, b| a + b,
        MapFn::Sub => |a, b| a - b,
        MapFn::Mul => |a, b| a * b,
        MapFn::Div => |a, b| a / b,
        MapFn::Pow => f64::powf,
        MapFn::Max => |a, b| if a > b || a.is_nan() { a } else { b },
        MapFn::Min => |a, b| if a < b || a.is_nan() { a } else { b },
        _ => |a, b| {
            let rest = a % b;
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
        },
    }
}

const BINARY: &[MapFn] = &[MapFn::Add, MapFn::Sub, MapFn::Mul, MapFn::Div, MapFn::Pow, MapFn::Max, MapFn::Min, MapFn::Mod];
const COMPARE: &[MapFn] = &[MapFn::Eq, MapFn::Ne, MapFn::Lt, MapFn::Le, MapFn::Gt, MapFn::Ge];

fn compare(f: MapFn, a: f32, b: f32) -> bool {
    match f {
        MapFn::Eq => a == b,
        MapFn::Ne => a != b,
        MapFn::Lt => a < b,
        MapFn::Le => a <= b,
        MapFn::Gt => a > b,
        _ => a >= b,
    }
}

/// Pairs of special and ordinary numbers.
fn pairs() -> (Vec<f32>, Vec<f32>) {
    let mut a = numbers(4000, 3, -4.0, 4.0);
    let mut b = numbers(4000, 4, -4.0, 4.0);
    for &x in SPECIAL {
        for &y in SPECIAL {
            a.push(x);
            b.push(y);
        }
    }
    (a, b)
}

#[test]
fn binary_functions_agree_with_f64_in_every_mix_of_rows_and_scalars() {
    let (a, b) = pairs();
    for set in Primitives::all() {
        for &f in BINARY {
            for (sa, sb) in [(false, false), (true, false), (false, true)] {
                let p = set.map(f, DType::F32, DType::F32, [sa, sb, false]).unwrap();
                for at in [0, 7, 4002, 4006] {
                    let (x, y) = (if sa { &a[at..] } else { &a[..] }, if sb { &b[at..] } else { &b[..] });
                    let found = call2(p, a.len(), x, y, 0.0f32);
                    for (i, &z) in found.iter().enumerate() {
                        let (x, y) = (if sa { a[at] } else { a[i] }, if sb { b[at] } else { b[i] });
                        let exact = two(f)(f64::from(x), f64::from(y));
                        assert!(
                            ulps(z, exact) <= if f == MapFn::Pow { 1.0 } else { 0.5 },
                            "{} {}({x:e}, {y:e}) = {z:e}, not {exact:e}",
                            set.name(),
                            f.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn comparisons_agree_with_ieee_in_every_mix_of_rows_and_scalars() {
    let (a, b) = pairs();
    for set in Primitives::all() {
        for &f in COMPARE {
            for (sa, sb) in [(false, false), (true, false), (false, true)] {
                let p = set.map(f, DType::F32, DType::Bool, [sa, sb, false]).unwrap();
                let found = call2(p, a.len(), &a, &b, 9u8);
                for (i, &z) in found.iter().enumerate() {
                    let (x, y) = (if sa { a[0] } else { a[i] }, if sb { b[0] } else { b[i] });
                    assert_eq!(z, u8::from(compare(f, x, y)), "{} {}({x}, {y})", set.name(), f.name());
                }
            }
        }
    }
}

#[test]
fn where_picks_by_condition_for_every_type_and_mix() {
    let n = 37;
    let c: Vec<u8> = (0..n).map(|i| u8::from(i % 3 == 0)).collect();
    let (a, b) = (numbers(n, 1, 0.0, 1.0), numbers(n, 2, 0.0, 1.0));
    let whole = |v: &[f32]| v.iter().map(|x| (x * 1000.0) as i32).collect::<Vec<_>>();
    let truth = |v: &[f32]| v.iter().map(|x| u8::from(*x > 0.5)).collect::<Vec<_>>();
    for set in Primitives::all() {
        for mix in 0..7u8 {
            let scalar = [mix & 1 != 0, mix & 2 != 0, mix & 4 != 0];
            let at = |k: usize, i: usize| if scalar[k] { 0 } else { i };
            macro_rules! check {
                ($dtype:expr, $a:expr, $b:expr, $zero:expr) => {
                    let (a, b) = ($a, $b);
                    let found = call3(set.map(MapFn::Where, $dtype, $dtype, scalar).unwrap(), n, &c, &a, &b, $zero);
                    for i in 0..n {
                        assert_eq!(found[i], if c[at(0, i)] != 0 { a[at(1, i)] } else { b[at(2, i)] });
                    }
                };
            }
            check!(DType::F32, a.clone(), b.clone(), 0.0f32);
            check!(DType::I32, whole(&a), whole(&b), 0i32);
            check!(DType::Bool, truth(&a), truth(&b), 0u8);
        }
    }
}

#[test]
fn fused_functions_of_three_agree_with_f64() {
    let n = 100;
    let (a, b, c) = (numbers(n, 1, -2.0, 2.0), numbers(n, 2, -0.9, 0.9), numbers(n, 3, -2.0, 2.0));
    for set in Primitives::all() {
        for &f in Three::ALL {
            for mix in 0..8u8 {
                let scalar = [mix & 1 != 0, mix & 2 != 0, mix & 4 != 0];
                let found = call3(set.three(f, scalar), n, &a, &b, &c, 0.0f32);
                for i in 0..n {
                    let at = |v: &[f32], k: usize| f64::from(v[if scalar[k] { 0 } else { i }]);
                    let (a, b, c) = (at(&a, 0), at(&b, 1), at(&c, 2));
                    let exact = match f {
                        Three::Fma => a * b + c,
                        Three::SubScale => (a - b) * c,
                        Three::ExpScale => (a - b).exp() * c,
                        Three::MulSub => a * (b - c),
                        Three::TanhGrad => a * (1.0 - b * b) * c,
                        Three::SigmoidGrad => a * b * (1.0 - b) * c,
                    };
                    assert!((f64::from(found[i]) - exact).abs() < 2e-6 * (1.0 + exact.abs()), "{} {}", set.name(), f.name());
                }
            }
        }
    }
}

#[test]
fn gelu_and_its_slope_agree_with_f64() {
    let x: Vec<f32> = numbers(5000, 1, -6.0, 6.0).into_iter().chain([0.0, -0.0, 20.0, -20.0, 1e30]).collect();
    for set in Primitives::all() {
        let (value, slope) = (call1(set.gelu(), &x, 0.0f32), call1(set.gelu_slope(), &x, 0.0f32));
        let (mut pair, mut second) = (vec![0.0f32; x.len()], vec![0.0f32; x.len()]);
        // Safety: all hold n elements.
        unsafe {
            let f: unsafe extern "C" fn(usize, *mut f32, *mut f32, *const f32) = transmute(set.gelu_pair().address);
            f(x.len(), pair.as_mut_ptr(), second.as_mut_ptr(), x.as_ptr());
        }
        assert!(pair == value && second == slope, "{}", set.name());
        for (i, &x) in x.iter().enumerate() {
            let x = f64::from(x);
            let p = 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2));
            let d = if x.abs() > 30.0 { 0.0 } else { x * (-x * x / 2.0).exp() * 0.398_942_280_401_432_7 };
            assert!((f64::from(value[i]) - x * p).abs() <= 3e-7 * (x * p).abs().max(0.3), "{} gelu({x}) = {}", set.name(), value[i]);
            assert!((f64::from(slope[i]) - (p + d)).abs() <= 5e-7, "{} gelu'({x}) = {}", set.name(), slope[i]);
        }
    }
}
