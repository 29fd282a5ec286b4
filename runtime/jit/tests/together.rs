//! Loops that compute several instructions at once agree with the interpreter, whatever the length of rows and the instruction set.

use ogive_graph::parse;
use ogive_jit::Cpu;
use ogive_jit::primitives::Primitives;
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, Interpreter, Options, Store, Tensor};

fn tensor(dims: &[(&str, usize)], data: Data) -> Tensor {
    Tensor { dims: dims.iter().map(|&(name, size)| Dim { name: name.into(), size }).collect(), data }
}

fn options() -> Options {
    Options { threads: 2, ..Options::default() }
}

/// Everything that such loops know, on `rows` rows of `length`.
fn text(rows: usize, length: usize) -> String {
    format!(
        "axis row = {rows}\naxis a = {length}\n%0 = input x : f32[row, a]\n%1 = input y : f32[row, a]\n%2 = input b : f32[a]\n\
         %3 = input s : f32[row]\n%4 = input mask : bool[row, a]\n%5 = iota a : i32[a]\n%6 = const 5 : i32[]\n%7 = const 0.5 : f32[]\n\
         %8 = add %0, %2 : f32[row, a]\n%9 = mul %8, %3 : f32[row, a]\n%10 = sub %9, %1 : f32[row, a]\n%11 = neg %10 : f32[row, a]\n\
         %12 = abs %11 : f32[row, a]\n%13 = add %12, %7 : f32[row, a]\n%14 = sqrt %13 : f32[row, a]\n%15 = rsqrt %13 : f32[row, a]\n\
         %16 = recip %13 : f32[row, a]\n%17 = relu %10 : f32[row, a]\n%18 = div %17, %14 : f32[row, a]\n%19 = max %0, %1 : f32[row, a]\n\
         %20 = min %0, %18 : f32[row, a]\n%21 = gt %0, %1 : bool[row, a]\n%22 = le %5, %6 : bool[a]\n%23 = and %21, %22 : bool[row, a]\n\
         %24 = or %23, %4 : bool[row, a]\n%25 = not %24 : bool[row, a]\n%26 = where %25, %19, %20 : f32[row, a]\n\
         %27 = cast %24 : f32[row, a]\n%28 = cast %5 : f32[a]\n%29 = mul %27, %28 : f32[row, a]\n%30 = add %26, %29 : f32[row, a]\n\
         %31 = mul %30, %15 : f32[row, a]\n%32 = sum %31 over [a] : f32[row]\n%33 = max %30 over [a] : f32[row]\n\
         %34 = mul %32, %33 : f32[row]\n%35 = mul %30, %34 : f32[row, a]\n%36 = add %35, %16 : f32[row, a]\n\
         %37 = sum %36 over [row] : f32[a]\n%38 = mul %36, %0 : f32[row, a]\n%39 = sum %38 over [row] : f32[a]\n%40 = mul %5, %5 : i32[a]\n\
         %41 = add %40, %6 : i32[a]\n%42 = where %24, %41, %5 : i32[row, a]\n\
         output all [row, a] = %36\noutput least [row, a] = %20\noutput mask_out [row, a] = %25\noutput columns [a] = %37\n\
         output products [a] = %39\noutput best [row] = %33\noutput numbers [row, a] = %42\n"
    )
}

fn inputs(rows: usize, length: usize) -> Bindings {
    let numbers = |count: usize, seed: usize| {
        let value = |i: usize| ((i * 2_654_435_761 + seed) % 1009) as f32 / 250.0 - 2.0;
        Data::F32((0..count).map(value).collect())
    };
    let both = [("row", rows), ("a", length)];
    let mask = Data::Bool((0..rows * length).map(|i| u8::from(i % 3 == 0)).collect());
    Bindings::from([
        ("x".into(), tensor(&both, numbers(rows * length, 1))),
        ("y".into(), tensor(&both, numbers(rows * length, 77))),
        ("b".into(), tensor(&[("a", length)], numbers(length, 5))),
        ("s".into(), tensor(&[("row", rows)], numbers(rows, 9))),
        ("mask".into(), tensor(&both, mask)),
    ])
}

fn outputs(backend: &dyn Backend, rows: usize, length: usize, given: &Bindings, options: &Options) -> Vec<Tensor> {
    let mut program = backend.compile(&parse::parse(&text(rows, length)).unwrap(), options).unwrap();
    program.run(&mut Store::default(), given, Draw::default()).unwrap();
    ["all", "least", "mask_out", "columns", "products", "best", "numbers"].map(|name| program.output(name).unwrap().clone()).to_vec()
}

fn check(rows: usize, length: usize, given: &Bindings) {
    let expected = outputs(&Interpreter, rows, length, given, &options());
    for set in Primitives::all() {
        let options = Options { isa: Some(set.name().into()), ..options() };
        for (found, expected) in outputs(&Cpu::new(), rows, length, given, &options).iter().zip(&expected) {
            match (&found.data, &expected.data) {
                (Data::F32(found), Data::F32(expected)) => {
                    let largest = expected.iter().filter(|x| x.is_finite()).fold(1.0f32, |m, x| m.max(x.abs()));
                    for (a, b) in found.iter().zip(expected) {
                        let same = (a - b).abs() <= 2e-5 * largest || a.is_nan() && b.is_nan() || a == b;
                        assert!(same, "{} rows of {length} on {}: {a} for {b}", rows, set.name());
                    }
                }
                (found, expected) => assert_eq!(found, expected, "{rows} rows of {length} on {}", set.name()),
            }
        }
    }
}

#[test]
fn rows_of_every_length_agree() {
    for length in (1..=20).chain([31, 32, 33, 63, 100, 127, 128, 129, 256, 1000]) {
        check(5, length, &inputs(5, length));
    }
}

#[test]
fn many_short_rows_and_rows_in_tiles_agree() {
    for (rows, length) in [(20_000, 16), (9_000, 31), (3, 5000)] {
        check(rows, length, &inputs(rows, length));
    }
}

#[test]
fn numbers_that_are_none_are_handed_on() {
    let mut given = inputs(4, 37);
    let Some(Data::F32(x)) = given.get_mut("x").map(|t| &mut t.data) else { panic!("x is of f32") };
    (x[3], x[40], x[50], x[85]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN);
    check(4, 37, &given);
}
