//! A step of every cell of the library: along a random direction in all inputs, old states and parameters at once, the gradient is the finite
//! difference, in double precision. Blocks are among the cases of `gradients.rs`.

use ogive_graph::DType;
use ogive_lang::lower::{self, Binding, Lowered, Options};
use ogive_lang::syntax::{Block, BlockKind, Item};
use ogive_lang::{NoImports, Settings, Spec, elaborate};
use ogive_runtime::init::{Init, Kind};
use ogive_runtime::{Bindings, Data, Dim, Store, Tensor};
use ogive_tests::cases::Made;
use ogive_tests::check::{gradient, interpret};

/// Size of the dims that have none.
const SIZE: u64 = 4;

fn cells() -> Vec<(String, Block)> {
    let spec = Spec::load("nothing.arch", String::new(), &NoImports).0;
    let all = spec.visible(spec.root).filter_map(|(name, id)| match spec.item(id) {
        Item::Block(b) if b.kind == BlockKind::Cell => Some((name.to_owned(), b.clone())),
        _ => None,
    });
    all.collect()
}

/// A step by itself.
fn lowered(name: &str, cell: &Block) -> Lowered {
    let spec = Spec::load("nothing.arch", String::new(), &NoImports).0;
    let dims = cell.dims.iter().filter(|d| d.default.is_none()).map(|d| (d.name.name.clone(), SIZE)).collect();
    let (program, found) = elaborate::block(&spec, name, &Settings { dims, ..Settings::default() });
    let program = program.unwrap_or_else(|| panic!("{name}: {:?}", found.list));
    lower::program(&program, &Options { dtype: DType::F64, ..Options::default() })
}

fn noise(name: &str, dims: &[lower::Dim], seed: u64) -> Tensor {
    let dims = dims.iter().map(|d| Dim { name: d.name.clone(), size: d.size as usize }).collect();
    Init::new(Kind::Normal { std: 0.7 }).fill(name, dims, seed).cast(DType::F64)
}

fn given(binding: &Binding, seed: u64) -> Tensor {
    let values = noise(&binding.name, &binding.dims, seed);
    let data = match binding.dtype {
        DType::Bool => Data::Bool(vec![1; values.len()]),
        DType::I32 => {
            let size = binding.domain.as_ref().map_or(2, |d| d.size).max(1);
            Data::I32(values.to_f64().iter().map(|x| ((x.abs() * 7919.0) as u64 % size) as i32).collect())
        }
        _ => return values,
    };
    Tensor { data, ..values }
}

fn made(lowered: &Lowered, seed: u64) -> Made {
    let inputs: Bindings = lowered.inputs.iter().map(|b| (b.name.clone(), given(b, seed))).collect();
    let tensors = lowered.params.iter().map(|p| (p.name.clone(), noise(&p.name, &p.dims, seed))).collect();
    Made { graph: lowered.graph.clone(), inputs, store: Store { tensors } }
}

/// Half the distance of neighbouring points of the difference, which is of fourth order.
const STEP: f64 = 1.0 / 4096.0;

/// How far gradient and difference may lie apart, as a part of the sum of what they are made of.
const TOLERANCE: f64 = 1e-6;

/// Compares the gradient of the sum of all outputs, weighed, with its difference.
fn along_a_direction(made: &Made, seed: u64) -> Result<(), String> {
    let with = gradient(made)?.ok_or("no output is a float")?;
    let moved = |by: f64| {
        let mut there = Made { graph: with.graph.clone(), inputs: with.inputs.clone(), store: with.store.clone() };
        for (name, tensor) in there.inputs.iter_mut().chain(&mut there.store.tensors) {
            if let Data::F64(values) = &mut tensor.data {
                values.iter_mut().zip(direction(name, seed)).for_each(|(x, d)| *x += by * d);
            }
        }
        Ok::<_, String>(interpret(&there)?["loss"].to_f64()[0])
    };
    let found = interpret(&with)?;
    let terms: Vec<f64> = (found.iter())
        .filter_map(|(name, g)| Some((name.strip_prefix("grad ")?, g)))
        .flat_map(|(name, g)| g.to_f64().into_iter().zip(direction(name, seed)).map(|(g, d)| g * d))
        .collect();
    let (slope, scale) = (terms.iter().sum::<f64>(), terms.iter().map(|t| t.abs()).sum::<f64>());
    let near = moved(STEP)? - moved(-STEP)?;
    let far = moved(2.0 * STEP)? - moved(-2.0 * STEP)?;
    let difference = (8.0 * near - far) / (12.0 * STEP);
    if scale == 0.0 {
        return Err("nothing moves with any float".to_owned());
    }
    // Of sums that lose their digits in the difference a few are left.
    let rounding = 1e-12 * found["loss"].to_f64()[0].abs() / STEP;
    let off = (slope - difference).abs();
    if off <= TOLERANCE * scale + rounding { Ok(()) } else { Err(format!("{slope:e} where {difference:e} belongs, of {scale:e}")) }
}

/// Numbers around 0 without end, the same for the same name.
fn direction(name: &str, seed: u64) -> impl Iterator<Item = f64> {
    let mut state = name.bytes().fold(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24) - 0.5
    })
}

#[test]
fn gradients_of_steps_are_finite_differences() {
    let cells = cells();
    assert!(cells.len() >= 18, "{}", cells.len());
    let check =
        |(name, cell): &(String, Block)| along_a_direction(&made(&lowered(name, cell), 1), 1).err().map(|why| format!("{name}: {why}\n"));
    let faults: String = cells.iter().filter_map(check).collect();
    assert!(faults.is_empty(), "{faults}");
}
