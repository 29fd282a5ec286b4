//! Every block of the standard library as a case: lowered for training, with sizes that fit all of them and numbers in every port.

use super::maker::numbers;
use super::{Case, Class, Derivative, Made, Range, Size};
use ogive_graph::DType;
use ogive_lang::lower::{self, Binding, Lowered, Options};
use ogive_lang::syntax::{Block, BlockKind, Expr, ExprKind, Item, PortType};
use ogive_lang::{NoImports, Settings, Spec, elaborate};
use ogive_runtime::{Bindings, Data, Dim, Store, Tensor};

/// Dims by name, small and large.
const SIZES: &[(&str, u64, u64)] = &[
    ("seq", 3, 21),
    ("src", 3, 21),
    ("memory", 2, 5),
    ("vocab", 5, 33),
    ("model", 4, 24),
    ("head", 2, 3),
    ("key", 4, 8),
    ("hidden", 5, 37),
    ("from", 3, 19),
    ("to", 4, 35),
    ("over", 4, 22),
    ("along", 3, 18),
    ("reach", 3, 21),
    ("expert", 5, 9),
    ("width", 3, 8),
    ("point", 3, 9),
    ("choice", 4, 7),
    ("whole", 4, 22),
    ("values", 36, 49),
    ("item", 4, 18),
    ("unit", 5, 23),
    ("direction", 3, 20),
];

/// Blocks whose result does not move with any float.
const FLAT: &[&str] = &["correct", "dense_hopfield_sign", "hopfield_sign", "random_directions"];

/// Blocks that stop a gradient on purpose: layers that read a memory.
const STOPPED: &[&str] = &["xl_layer_with_memory"];

/// Dims of blocks whose results amplify rounding at the sizes of the others: what is left of the last of many directions is short.
const OWN_SIZES: &[(&str, &str, u64, u64)] = &[("random_directions", "key", 4, 5)];

/// Constants of blocks that amplify rounding at their defaults: a sharp softmax has next to no gradient.
const OWN_CONSTANTS: &[(&str, &str, &str)] = &[("hopfield_update", "sharp", "0.25")];

pub(super) fn cases() -> Vec<Case> {
    let spec = library();
    let blocks = spec.visible(spec.root).filter(|(_, id)| matches!(spec.item(*id), Item::Block(b) if b.kind == BlockKind::Block));
    let mut names: Vec<String> = blocks.map(|(name, _)| name.to_owned()).collect();
    names.sort();
    names.into_iter().map(case).collect()
}

fn library() -> Spec {
    Spec::load("nothing.arch", String::new(), &NoImports).0
}

fn case(block: String) -> Case {
    let derivative = match block.as_str() {
        name if FLAT.contains(&name) => Derivative::None,
        name if STOPPED.contains(&name) => Derivative::Stopped,
        _ => Derivative::Agrees,
    };
    Case::from_graph(format!("std {block}"), Class::Deep, derivative, move |dtype, size| made(&block, dtype, size))
}

fn made(block: &str, dtype: DType, size: Size) -> Made {
    let pick = |&(name, small, large): &(&str, u64, u64)| {
        let own = OWN_SIZES.iter().find(|o| o.0 == block && o.1 == name);
        let (small, large) = own.map_or((small, large), |o| (o.2, o.3));
        (name.to_owned(), if size == Size::Small { small } else { large })
    };
    let spec = library();
    let header = spec.visible(spec.root).find(|(name, _)| *name == block).map(|(_, id)| spec.item(id));
    let Some(Item::Block(header)) = header else { panic!("no block `{block}`") };
    let open = |name: &str| header.dims.iter().any(|d| d.name.name == name && d.default.as_ref().is_none_or(is_number));
    let dims = SIZES.iter().map(pick).filter(|(name, _)| open(name)).collect();
    let settings = Settings { dims, training: true, set: constants(header) };
    let (program, found) = elaborate::block(&spec, block, &settings);
    let program = program.unwrap_or_else(|| panic!("`{block}` does not elaborate: {:?}", found.list));
    let lowered = lower::program(&program, &Options { dtype, batch: Some(if size == Size::Small { 4 } else { 2 }), taps: true });
    filled(lowered, dtype)
}

/// Values for the constants that a block has no default for.
fn constants(block: &Block) -> Vec<(String, String)> {
    let value = |ty: &PortType| match ty {
        PortType::Tensor(_) => None,
        PortType::Int(_) => Some("2".to_owned()),
        PortType::Float(_) => Some("0.5".to_owned()),
        PortType::Bool(_) => Some("true".to_owned()),
        PortType::Choice(words) => words.last().map(|w| w.name.clone()),
    };
    let lacking = block.inputs.iter().filter(|p| p.default.is_none());
    let own = OWN_CONSTANTS.iter().filter(|o| o.0 == block.name.name).map(|o| (o.1.to_owned(), o.2.to_owned()));
    lacking.filter_map(|p| Some((p.name.name.clone(), value(&p.ty)?))).chain(own).collect()
}

/// Numbers for every port: inputs over the whole range, parameters a quarter of it.
fn filled(lowered: Lowered, dtype: DType) -> Made {
    let (mut inputs, mut store) = (Bindings::new(), Store::default());
    for (salt, input) in lowered.inputs.iter().enumerate() {
        inputs.insert(input.name.clone(), given(input, salt, dtype));
    }
    for (salt, param) in lowered.params.iter().enumerate() {
        let count = param.elements() as usize;
        let data = numbers(Range::Signed, count, salt + lowered.inputs.len()).into_iter().map(|x| x / 4.0).collect();
        store.tensors.insert(param.name.clone(), Tensor { dims: dims(&param.dims), data: Data::F64(data) }.cast(dtype));
    }
    Made { graph: lowered.graph, inputs, store }
}

fn given(input: &Binding, salt: usize, dtype: DType) -> Tensor {
    let dims = dims(&input.dims);
    let count = dims.iter().map(|d| d.size).product();
    match input.dtype {
        DType::I32 => {
            let size = input.domain.as_ref().map_or(2, |d| d.size as usize);
            Tensor { dims, data: Data::I32((0..count).map(|i| ((i * i * 7 + i * 3 + salt) % size) as i32).collect()) }
        }
        DType::Bool => Tensor { dims, data: Data::Bool((0..count).map(|i| u8::from((i * 5 + i / 3 + salt).is_multiple_of(3))).collect()) },
        DType::F32 | DType::F64 => Tensor { dims, data: Data::F64(numbers(Range::Signed, count, salt)) }.cast(dtype),
    }
}

fn dims(dims: &[lower::Dim]) -> Vec<Dim> {
    dims.iter().map(|d| Dim { name: d.name.clone(), size: d.size as usize }).collect()
}

fn is_number(e: &Expr) -> bool {
    matches!(e.kind, ExprKind::Number(_))
}
