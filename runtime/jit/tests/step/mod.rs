//! A small graph with every kind of kernel in it.

use ogive_graph::{Graph, parse};
use ogive_runtime::{Bindings, Data, Dim, Options, Store, Tensor};

pub(crate) fn graph(text: &str) -> Graph {
    parse::parse(text).unwrap()
}

pub(crate) fn tensor(dims: &[(&str, usize)], data: Data) -> Tensor {
    Tensor { dims: dims.iter().map(|&(name, size)| Dim { name: name.into(), size }).collect(), data }
}

pub(crate) fn options() -> Options {
    Options { threads: 2, ..Options::default() }
}

pub(crate) const STEP: &str = "axis row = 512\naxis in = 96\naxis out = 160\naxis depth = 3\n%0 = input x : f32[row, in]\n%1 = param w : f32[in, out]\n\
                    %2 = input at : i32[row]\n%3 = contract %0, %1 over [in] : f32[row, out]\n\
                    %4 = repeat along depth carry [%3] stacked [] with [] : f32[row, out] {\n%0 = argument 0 : f32[row, out]\n\
                    %1 = tanh %0 : f32[row, out]\nyield [%1] collect [%0]\n}\n%5 = project 0 of %4 : f32[row, out]\n\
                    %6 = sum %5 over [row] : f32[out]\n%7 = scatter_add %2, %5 into in keep [out] : f32[in, out]\n\
                    %8 = sub %1, %7 : f32[in, out]\n%9 = uniform site 7 order [row, out] at [] : f32[row, out]\n\
                    %10 = add %5, %9 : f32[row, out]\noutput s [out] = %6\noutput r [row, out] = %10\nupdate w [in, out] = %8\n";

pub(crate) fn given(positions: impl Fn(usize) -> i32) -> (Bindings, Store) {
    let x = Data::F32((0..512 * 96).map(|i| (i % 13) as f32 * 0.01).collect());
    let at = Data::I32((0..512).map(positions).collect());
    let w = Data::F32((0..96 * 160).map(|i| (i % 7) as f32 * 0.01).collect());
    let inputs = Bindings::from([("x".into(), tensor(&[("row", 512), ("in", 96)], x)), ("at".into(), tensor(&[("row", 512)], at))]);
    let mut store = Store::default();
    store.tensors.insert("w".into(), tensor(&[("in", 96), ("out", 160)], w));
    (inputs, store)
}
