//! What lowering gives.

use crate::hir::{Init, Program};
use ogive_graph::{DType, Graph};

/// How to lower.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Float type: F32 or F64.
    pub dtype: DType,
    /// Size of the dim `batch` in front of every input. For experiments, instead of the budget's.
    pub batch: Option<u64>,
    /// Whether taps become outputs, by their path and name.
    pub taps: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { dtype: DType::F32, batch: None, taps: true }
    }
}

/// A graph with what its ports mean.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// Forward computation. Outputs are those of the root block and taps; for experiments `loss` and the metrics.
    pub graph: Graph,
    /// Every parameter, in the order of instances and declarations. Each is an `Op::Param` of that name, if the graph reads it.
    pub params: Vec<Parameter>,
    /// Every input, in declared order; `next.NAME` follows `NAME`.
    pub inputs: Vec<Binding>,
    /// Every output, in the order of `graph.outputs`.
    pub outputs: Vec<Binding>,
}

/// A named dim with its size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dim {
    /// The name in the spec.
    pub name: String,
    /// Number of positions.
    pub size: u64,
}

/// A parameter as a tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct Parameter {
    /// Spec path: `layer.attention.Wq`.
    pub name: String,
    /// Dims, slowest first: one `depth` for each `stack` around it, then those declared.
    pub dims: Vec<Dim>,
    /// How many of the dims are `depth`s: each slice along them is drawn as a tensor of its own.
    pub stacked: usize,
    /// How it starts; positions in it count from the first declared dim.
    pub init: Init,
}

impl Parameter {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.dims.iter().fold(1, |n: u64, d| n.saturating_mul(d.size))
    }
}

/// An input or output as a tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    /// Its name.
    pub name: String,
    /// Dims, slowest first.
    pub dims: Vec<Dim>,
    /// Element type.
    pub dtype: DType,
    /// For i32, the dim whose positions they are.
    pub domain: Option<Dim>,
}

/// Names and dims that a program expects and gives, with symbolic dims where sizes are not known: what `run --list` prints.
#[derive(Clone, PartialEq, Debug)]
pub struct Listing {
    /// Inputs with their dims.
    pub inputs: Vec<Listed>,
    /// Parameters.
    pub params: Vec<Listed>,
    /// Outputs.
    pub outputs: Vec<Listed>,
}

/// An entry of a [`Listing`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Names of dims with their sizes where they are known.
    pub dims: Vec<(String, Option<u64>)>,
    /// Element type; F32 for any float.
    pub dtype: DType,
    /// For i32, the dim whose positions they are.
    pub domain: Option<String>,
}

/// The listing of a program.
pub fn listing(program: &Program) -> Listing {
    let dim = |a: &ogive_graph::AxisId| (program.name_of(*a).to_string(), program.size_of(*a));
    let root = program.root();
    let inputs = root.inputs.iter().map(|p| Listed {
        name: p.name.clone(),
        dims: program.batch.iter().filter(|_| p.lifted).chain(&p.dims).map(dim).collect(),
        dtype: p.dtype,
        domain: p.domain.map(|a| program.name_of(a).to_string()),
    });
    let outputs = root.outputs.iter().map(|o| Listed {
        name: o.name.clone(),
        dims: o.dims.iter().map(dim).collect(),
        dtype: root.body[o.node.index()].ty.dtype,
        domain: o.domain.map(|a| program.name_of(a).to_string()),
    });
    let mut params = Vec::new();
    for instance in &program.instances {
        for param in &instance.params {
            let dims = instance.stacks.iter().chain(&param.dims).map(dim).collect();
            params.push(Listed { name: joined(&instance.path, &param.name), dims, dtype: DType::F32, domain: None });
        }
    }
    Listing { inputs: inputs.collect(), params, outputs: outputs.collect() }
}

/// `path.name`, or `name` at the root.
pub fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}
