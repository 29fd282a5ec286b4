//! Tensors of the papers' own programs, and `ogive run` on them.

#![allow(dead_code, reason = "each test file uses its part")]

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tensor of a file, in double precision.
#[derive(Clone)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

pub(crate) type Tensors = BTreeMap<String, Array>;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let convert = |view: TensorView<'_>| {
        let data = match view.dtype() {
            Dtype::F32 => view.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("4 bytes")))).collect(),
            Dtype::I32 => view.data().chunks_exact(4).map(|b| f64::from(i32::from_le_bytes(b.try_into().expect("4 bytes")))).collect(),
            #[allow(clippy::cast_precision_loss, reason = "small positions")]
            Dtype::I64 => view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("8 bytes")) as f64).collect(),
            Dtype::F64 => view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes"))).collect(),
            other => panic!("element type {other:?}"),
        };
        Array { shape: view.shape().to_vec(), data }
    };
    file.tensors().into_iter().map(|(name, view)| (name, convert(view))).collect()
}

pub(crate) fn write(path: &Path, tensors: &Tensors, double: bool) {
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, a)| {
            #[allow(clippy::cast_possible_truncation, reason = "the file is f32")]
            let bytes = if double {
                a.data.iter().flat_map(|x| x.to_le_bytes()).collect()
            } else {
                a.data.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect()
            };
            (name, bytes)
        })
        .collect();
    let dtype = if double { Dtype::F64 } else { Dtype::F32 };
    let views = tensors.iter().map(|(name, a)| (name.clone(), TensorView::new(dtype, a.shape.clone(), &bytes[name]).expect("a view")));
    safetensors::serialize_to_file(views, None, path).expect("writable");
}

/// `f(i)` is the source position of element i of a tensor of `shape`.
pub(crate) fn gather(source: &Array, shape: &[usize], f: impl Fn(&[usize]) -> usize) -> Array {
    let len = shape.iter().product();
    let mut index = vec![0; shape.len()];
    let mut data = Vec::with_capacity(len);
    for flat in 0..len {
        let mut rest = flat;
        for (i, &n) in index.iter_mut().zip(shape).rev() {
            *i = rest % n;
            rest /= n;
        }
        data.push(source.data[f(&index)]);
    }
    Array { shape: shape.to_vec(), data }
}

pub(crate) fn compare(found: &Tensors, name: &str, expected: &Array, tolerance: f64) {
    let found = found.get(name).unwrap_or_else(|| panic!("no {name} among {:?}", found.keys().collect::<Vec<_>>()));
    assert_eq!(found.shape, expected.shape, "dims of {name}");
    for (i, (a, b)) in found.data.iter().zip(&expected.data).enumerate() {
        assert!((a - b).abs() <= tolerance, "{name}[{i}]: {a} against {b}");
    }
}

/// What `ogive run` is given.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) spec: &'a Path,
    pub(crate) of: &'a str,
    pub(crate) backend: &'a str,
    pub(crate) double: bool,
    pub(crate) training: bool,
}

/// Outputs, taps, and gradients where cotangents are given. Inputs called `tokens` or `target` are positions.
pub(crate) fn run(how: How<'_>, params: &Tensors, inputs: &Tensors, cotangents: &Tensors) -> Tensors {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    write(&file("p.safetensors"), params, how.double);
    write_inputs(&file("i.safetensors"), inputs, how.double);
    write(&file("c.safetensors"), cotangents, how.double);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ogive"));
    command.arg("run").arg(how.spec).args(["--of", how.of, "--backend", how.backend]);
    command.args(["--dtype", if how.double { "f64" } else { "f32" }]);
    if how.training {
        command.arg("--training");
    }
    if !params.is_empty() {
        command.arg("--params").arg(file("p.safetensors"));
    }
    if !cotangents.is_empty() {
        command.arg("--cotangents").arg(file("c.safetensors"));
    }
    let output = command.arg("--inputs").arg(file("i.safetensors")).arg("--out").arg(file("o.safetensors")).output().expect("ogive runs");
    assert!(output.status.success(), "{}: {}", how.of, String::from_utf8_lossy(&output.stderr));
    read(&file("o.safetensors"))
}

fn write_inputs(path: &Path, tensors: &Tensors, double: bool) {
    let positions = |name: &str| matches!(name, "tokens" | "target");
    let bytes: BTreeMap<&String, (Dtype, Vec<u8>)> = tensors
        .iter()
        .map(|(name, a)| {
            #[allow(clippy::cast_possible_truncation, reason = "as the file says")]
            let bytes = if positions(name) {
                (Dtype::I32, a.data.iter().flat_map(|&x| (x as i32).to_le_bytes()).collect())
            } else if double {
                (Dtype::F64, a.data.iter().flat_map(|x| x.to_le_bytes()).collect())
            } else {
                (Dtype::F32, a.data.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect())
            };
            (name, bytes)
        })
        .collect();
    let views =
        tensors.iter().map(|(name, a)| (name.clone(), TensorView::new(bytes[name].0, a.shape.clone(), &bytes[name].1).expect("a view")));
    safetensors::serialize_to_file(views, None, path).expect("writable");
}
