//! Checks that run over cases and say in words what is wrong.

mod compare;
mod cotangents;
mod differences;

pub use compare::{apart, tolerance, values};
pub use cotangents::with_gradients;
pub use differences::{forward, gradient, gradient_by, reverse};

use crate::cases::Made;
use ogive_graph::verify::verify;
use ogive_graph::{Graph, text};
use ogive_runtime::{Backend, Data, Draw, Interpreter, Options, Store, Tensor};
use std::collections::BTreeMap;

/// The random numbers of every run here.
pub const DRAW: Draw = Draw { seed: 0x5eed_0123_4567, step: 5 };

/// All that a run gives: outputs and updated tensors, by name.
pub type Results = BTreeMap<String, Tensor>;

/// Runs a graph.
///
/// # Errors
/// What the back end says, and that it gives something else in a second run.
pub fn run(backend: &dyn Backend, made: &Made, options: &Options) -> Result<Results, String> {
    let mut program = backend.compile(&made.graph, options).map_err(|e| format!("{} does not compile it: {e}", backend.name()))?;
    let mut once = |store: &mut Store| {
        program.run(store, &made.inputs, DRAW).map_err(|e| format!("{} does not run it: {e}", backend.name()))?;
        let mut results = Results::new();
        for output in &made.graph.outputs {
            let name = &output.port.name;
            let from = if output.update { store.tensors.get(name) } else { program.output(name) };
            let tensor = from.ok_or_else(|| format!("{} gives no `{name}`", backend.name()))?;
            results.insert(if output.update { format!("updated {name}") } else { name.clone() }, tensor.clone());
        }
        Ok::<_, String>(results)
    };
    let first = once(&mut made.store.clone())?;
    let second = once(&mut made.store.clone())?;
    if same_bits(&first, &second) { Ok(first) } else { Err(format!("{} gives other bits in a second run", backend.name())) }
}

/// Runs a graph on the interpreter.
///
/// # Errors
/// That the graph is no graph; what the interpreter says.
pub fn interpret(made: &Made) -> Result<Results, String> {
    sound(&made.graph)?;
    run(&Interpreter, made, &Options::default())
}

/// Whether a graph passes the verifier.
///
/// # Errors
/// The first violation, and the graph.
pub fn sound(graph: &Graph) -> Result<(), String> {
    verify(graph).map_err(|errors| format!("{}\n{}", errors[0], text::print_plain(graph)))
}

/// Whether two runs gave the same bits.
pub fn same_bits(a: &Results, b: &Results) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((m, a), (n, b))| m == n && a.dims == b.dims && bits(&a.data) == bits(&b.data))
}

fn bits(data: &Data) -> Vec<u64> {
    match data {
        Data::F32(v) => v.iter().map(|x| u64::from(x.to_bits())).collect(),
        Data::F64(v) => v.iter().map(|x| x.to_bits()).collect(),
        Data::I32(v) => v.iter().map(|&x| u64::from(x.cast_unsigned())).collect(),
        Data::Bool(v) => v.iter().map(|&x| u64::from(x)).collect(),
    }
}

/// Runs a check over cases and fails with everything that is wrong.
///
/// # Panics
/// Where a check fails or there is nothing to check.
pub fn every<'a, T: 'a>(cases: impl IntoIterator<Item = &'a T>, name: impl Fn(&T) -> &str, check: impl Fn(&T) -> Result<(), String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    for case in cases {
        count += 1;
        if let Err(why) = check(case) {
            wrong.push(format!("{}: {why}", name(case)));
        }
    }
    assert!(count > 0, "no cases");
    assert!(wrong.is_empty(), "{} of {count} cases fail\n{}", wrong.len(), wrong.join("\n"));
}
