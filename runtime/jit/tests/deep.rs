//! Products that are cut along what they contract, such as gradients of weights, agree with sums in f64.

use ogive_graph::{kernel::Work, parse};
use ogive_jit::Cpu;
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, Options, Store, Tensor};

fn number(i: usize, seed: usize) -> f32 {
    ((i * 2_654_435_761 + seed) % 997) as f32 / 500.0 - 1.0
}

/// `sum over t of x[t, a] y[t, c]` as `order`; gives the result, and in how many parts it was computed.
fn product(depth: usize, a: usize, c: usize, order: &str) -> (Vec<f32>, u64) {
    let text = format!(
        "axis t = {depth}\naxis a = {a}\naxis c = {c}\n%0 = input x : f32[t, a]\n%1 = input y : f32[t, c]\n\
         %2 = contract %0, %1 over [t] : f32[a, c]\noutput o [{order}] = %2\n"
    );
    let graph = parse::parse(&text).unwrap();
    let options = Options { threads: 2, ..Options::default() };
    let tensor = |axis: &str, size: usize, seed: usize| Tensor {
        dims: [("t", depth), (axis, size)].map(|(name, size)| Dim { name: name.into(), size }).to_vec(),
        data: Data::F32((0..depth * size).map(|i| number(i, seed)).collect()),
    };
    let given = Bindings::from([("x".into(), tensor("a", a, 3)), ("y".into(), tensor("c", c, 8))]);
    let mut program = Cpu::new().compile(&graph, &options).unwrap();
    program.run(&mut Store::default(), &given, Draw::default()).unwrap();
    let Data::F32(found) = &program.output("o").unwrap().data else { panic!("an output of f32") };
    let parts = ogive_jit::plan(&graph, &options).unwrap().kernels.iter().find_map(|k| match &k.work {
        Work::Fold(fold) => Some(fold.chunks),
        _ => None,
    });
    (found.clone(), parts.unwrap_or(1))
}

fn check(depth: usize, a: usize, c: usize, parts: u64) {
    for order in ["a, c", "c, a"] {
        let (found, cut) = product(depth, a, c, order);
        assert_eq!(cut, parts, "{depth} deep, {a} by {c}");
        for i in (0..a).step_by(37) {
            for j in (0..c).step_by(29) {
                let sum: f64 = (0..depth).map(|t| f64::from(number(t * a + i, 3)) * f64::from(number(t * c + j, 8))).sum();
                let at = if order == "a, c" { i * c + j } else { j * a + i };
                let error = (f64::from(found[at]) - sum).abs();
                assert!(error < 1e-3, "{depth} deep, {a} by {c} as [{order}], at {i}, {j}: {} for {sum}", found[at]);
            }
        }
    }
}

#[test]
fn deep_products_are_cut_and_added_up() {
    check(4096, 256, 256, 4);
    check(2048, 256, 1024, 2);
    check(4096, 256, 8, 4);
}

#[test]
fn shallow_ones_and_those_that_cannot_be_cut_evenly_are_whole() {
    check(512, 256, 256, 1);
    check(4099, 256, 256, 1);
}
