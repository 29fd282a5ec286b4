//! Functions of i32 and bool, casts, copies.

use super::*;
use ogive_graph::{DType, MapFn};

fn integers() -> (Vec<i32>, Vec<i32>) {
    let special = [0, 1, -1, 2, -2, 7, -7, i32::MAX, i32::MIN, 31, -31, 1_000_000];
    let pairs = special.iter().flat_map(|&a| special.iter().map(move |&b| (a, b)));
    pairs.unzip()
}

#[test]
fn integer_arithmetic_wraps_truncates_and_divides_by_zero_to_zero() {
    let (a, b) = integers();
    let power = |a: i32, b: i32| match (u32::try_from(b), a) {
        (Ok(b), _) => a.wrapping_pow(b),
        (Err(_), 1) => 1,
        (Err(_), -1) => 1 - 2 * (b & 1),
        _ => 0,
    };
    let cases: [(MapFn, &dyn Fn(i32, i32) -> i32); 8] = [
        (MapFn::Add, &|a, b| a.wrapping_add(b)),
        (MapFn::Sub, &|a, b| a.wrapping_sub(b)),
        (MapFn::Mul, &|a, b| a.wrapping_mul(b)),
        (MapFn::Div, &|a, b| if b == 0 { 0 } else { a.wrapping_div(b) }),
        (MapFn::Max, &|a, b| a.max(b)),
        (MapFn::Min, &|a, b| a.min(b)),
        (MapFn::Mod, &|a, b| if b == 0 { 0 } else { (i64::from(a) - (f64::from(a) / f64::from(b)).floor() as i64 * i64::from(b)) as i32 }),
        (MapFn::Pow, &power),
    ];
    for set in Primitives::all() {
        for (f, exact) in &cases {
            for (sa, sb) in [(false, false), (true, false), (false, true)] {
                let p = set.map(*f, DType::I32, DType::I32, [sa, sb, false]).unwrap();
                let found = call2(p, a.len(), &a, &b, 0i32);
                for (i, &z) in found.iter().enumerate() {
                    let (x, y) = (if sa { a[0] } else { a[i] }, if sb { b[0] } else { b[i] });
                    assert_eq!(z, exact(x, y), "{} {}({x}, {y})", set.name(), f.name());
                }
            }
        }
        for (f, exact) in [
            (MapFn::Neg, i32::wrapping_neg as fn(i32) -> i32),
            (MapFn::Abs, i32::wrapping_abs),
            (MapFn::Sign, i32::signum),
            (MapFn::Relu, |x| x.max(0)),
            (MapFn::Floor, |x| x),
        ] {
            let found = call1(set.map(f, DType::I32, DType::I32, [false; 3]).unwrap(), &a, 0i32);
            assert!(a.iter().zip(&found).all(|(&x, &y)| y == exact(x)), "{} {}", set.name(), f.name());
        }
    }
}

#[test]
fn comparisons_of_integers_and_bools_agree_with_rust() {
    let (a, b) = integers();
    let (p, q): (Vec<u8>, Vec<u8>) = (0..100u8).map(|i| (i & 1, (i >> 1) & 1)).unzip();
    fn exact<T: PartialOrd>(f: MapFn, a: T, b: T) -> bool {
        match f {
            MapFn::Eq => a == b,
            MapFn::Ne => a != b,
            MapFn::Lt => a < b,
            MapFn::Le => a <= b,
            MapFn::Gt => a > b,
            _ => a >= b,
        }
    }
    for set in Primitives::all() {
        for f in [MapFn::Eq, MapFn::Ne, MapFn::Lt, MapFn::Le, MapFn::Gt, MapFn::Ge] {
            for (sa, sb) in [(false, false), (true, false), (false, true)] {
                let scalar = [sa, sb, false];
                let found = call2(set.map(f, DType::I32, DType::Bool, scalar).unwrap(), a.len(), &a, &b, 9u8);
                for (i, &z) in found.iter().enumerate() {
                    assert_eq!(z, u8::from(exact(f, if sa { a[0] } else { a[i] }, if sb { b[0] } else { b[i] })));
                }
                let found = call2(set.map(f, DType::Bool, DType::Bool, scalar).unwrap(), p.len(), &p, &q, 9u8);
                for (i, &z) in found.iter().enumerate() {
                    assert_eq!(z, u8::from(exact(f, if sa { p[0] } else { p[i] }, if sb { q[0] } else { q[i] })));
                }
            }
        }
        let and = call2(set.map(MapFn::And, DType::Bool, DType::Bool, [false; 3]).unwrap(), p.len(), &p, &q, 9u8);
        let or = call2(set.map(MapFn::Or, DType::Bool, DType::Bool, [false; 3]).unwrap(), p.len(), &p, &q, 9u8);
        let not = call1(set.map(MapFn::Not, DType::Bool, DType::Bool, [false; 3]).unwrap(), &p, 9u8);
        for i in 0..p.len() {
            assert_eq!((and[i], or[i], not[i]), (p[i] & q[i], p[i] | q[i], 1 - p[i]));
        }
    }
}

#[test]
fn casts_truncate_saturate_and_take_nan_to_zero() {
    let x = [
        0.0,
        -0.0,
        1.9,
        -1.9,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        3e9,
        -3e9,
        2_147_483_520.0,
        -2_147_483_648.0,
        1e-40,
        5.0,
        6.0,
        7.5,
        8.0,
        9.0,
    ];
    let i = [0, 1, -1, i32::MAX, i32::MIN, 16_777_217, 5, 0, 0, 3, 4, 5, 6, 7, 8, 9, 10, 0];
    let b: Vec<u8> = (0..19).map(|i| u8::from(i % 3 == 1)).collect();
    for set in Primitives::all() {
        let cast = |from, to| set.map(MapFn::Cast, from, to, [false; 3]).unwrap();
        assert_eq!(call1(cast(DType::F32, DType::I32), &x, 9i32), x.map(|x| x as i32));
        assert_eq!(call1(cast(DType::F32, DType::Bool), &x, 9u8), x.map(|x| u8::from(x != 0.0)));
        assert_eq!(call1(cast(DType::I32, DType::F32), &i, 9.0f32), i.map(|i| i as f32));
        assert_eq!(call1(cast(DType::I32, DType::Bool), &i, 9u8), i.map(|i| u8::from(i != 0)));
        assert_eq!(call1(cast(DType::Bool, DType::F32), &b, 9.0f32), b.iter().map(|&b| f32::from(b)).collect::<Vec<_>>());
        assert_eq!(call1(cast(DType::Bool, DType::I32), &b, 9i32), b.iter().map(|&b| i32::from(b)).collect::<Vec<_>>());
        assert_eq!(call1(cast(DType::I32, DType::I32), &i, 9i32), i);
        assert!(set.map(MapFn::Cast, DType::F64, DType::F32, [false; 3]).is_none());
    }
}

#[test]
fn functions_exist_for_exactly_the_types_the_interpreter_knows() {
    let set = Primitives::select(Some("portable")).unwrap();
    for &f in MapFn::ALL {
        for dtype in [DType::F32, DType::I32, DType::Bool] {
            let result = if f.is_predicate() { DType::Bool } else { dtype };
            let found = set.map(f, dtype, result, [false; 3]).is_some();
            let expected = match (f, dtype) {
                (MapFn::Not | MapFn::And | MapFn::Or, _) => dtype == DType::Bool,
                (MapFn::Cast | MapFn::StopGradient | MapFn::Where, _) => true,
                (MapFn::Eq | MapFn::Ne | MapFn::Lt | MapFn::Le | MapFn::Gt | MapFn::Ge, _) => true,
                (_, DType::Bool) => false,
                (MapFn::Exp | MapFn::Log | MapFn::Sqrt | MapFn::Rsqrt | MapFn::Recip | MapFn::Sin, DType::I32) => false,
                (MapFn::Cos | MapFn::Tanh | MapFn::Sigmoid | MapFn::Erf, DType::I32) => false,
                _ => true,
            };
            assert_eq!(found, expected, "{} of {dtype}", f.name());
        }
    }
}

#[test]
fn copies_keep_the_bytes_whatever_the_strides() {
    let words: Vec<f32> = (0..60).map(|i| i as f32).collect();
    let bytes: Vec<u8> = (0..60).collect();
    type Strided<T> = unsafe extern "C" fn(usize, *mut T, *const T, isize);
    type Square = unsafe extern "C" fn(usize, usize, *mut f32, isize, *const f32, isize);
    for set in Primitives::all() {
        assert_eq!(call1(set.copy(DType::F32), &words, 0.0f32), words);
        assert_eq!(call1(set.stream(), &words, 0.0f32), words);
        assert_eq!(call1(set.fill(DType::Bool), &bytes[3..], 0u8), [3; 57]);
        // Safety: the strides keep within the slices.
        unsafe {
            let mut dst = vec![0.0f32; 20];
            let load: Strided<f32> = transmute(set.load_strided(DType::F32).address);
            load(20, dst.as_mut_ptr(), words.as_ptr().add(59), -3);
            assert!((0..20).all(|i| dst[i] == words[59 - 3 * i]));
            load(20, dst.as_mut_ptr(), words.as_ptr().add(4), 0);
            assert!(dst.iter().all(|&x| x == 4.0));
            let mut dst = vec![0u8; 60];
            let store: Strided<u8> = transmute(set.store_strided(DType::Bool).address);
            store(20, dst.as_mut_ptr(), bytes.as_ptr(), 3);
            assert!((0..20).all(|i| dst[3 * i] == bytes[i] && dst[3 * i + 1] == 0));
            let square: Square = transmute(set.transpose(DType::F32).address);
            for (rows, columns) in [(3, 20), (20, 3), (1, 1), (17, 33)] {
                let a: Vec<f32> = (0..columns * 40).map(|i| i as f32).collect();
                let mut dst = vec![-1.0f32; rows * 50];
                square(rows, columns, dst.as_mut_ptr(), 50, a.as_ptr(), 40);
                for i in 0..rows {
                    assert!((0..columns).all(|j| dst[i * 50 + j] == a[j * 40 + i]), "{} {rows} x {columns}", set.name());
                    assert!((columns..50).all(|j| dst[i * 50 + j] == -1.0));
                }
            }
            let mut dst = vec![0i32; 21];
            let iota: unsafe extern "C" fn(usize, *mut i32, *const i32) = transmute(set.iota().address);
            iota(21, dst.as_mut_ptr(), &5);
            assert!((0..21).all(|i| dst[i as usize] == i + 5));
        }
    }
}
