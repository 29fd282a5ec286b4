//! Tensor files: what is written is read back, by this crate and by others, and damaged files are refused.

use half::{bf16, f16};
use ogive_graph::DType;
use ogive_runtime::files::{self, FileError, Reader};
use ogive_runtime::{Data, Dim, Tensor};
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn dims(named: &[(&str, usize)]) -> Vec<Dim> {
    named.iter().map(|&(name, size)| Dim { name: name.into(), size }).collect()
}

fn sample() -> BTreeMap<String, Tensor> {
    let of = |named: &[(&str, usize)], data| Tensor { dims: dims(named), data };
    BTreeMap::from([
        ("layer.W".into(), of(&[("model", 2), ("key", 3)], Data::F32(vec![0.0, -1.5, f32::MAX, f32::MIN_POSITIVE, 1e-40, 7.0]))),
        ("scale".into(), of(&[], Data::F64(vec![std::f64::consts::PI]))),
        ("at".into(), of(&[("seq", 2)], Data::I32(vec![i32::MIN, 5]))),
        ("mask".into(), of(&[("seq", 3)], Data::Bool(vec![1, 0, 1]))),
        ("unnamed".into(), of(&[("", 1)], Data::F32(vec![1.0]))),
    ])
}

fn save(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<(), FileError> {
    let notes = BTreeMap::from([("step".into(), "7".into()), ("by".into(), "a test".into())]);
    files::write(path, tensors.iter().map(|(n, t)| (n.as_str(), t)), &notes)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn foreign(path: &PathBuf, name: &str, dtype: safetensors::Dtype, shape: &[usize], bytes: &[u8]) {
    let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    std::fs::write(path, safetensors::serialize([(name, view)], None).unwrap()).unwrap();
}

#[test]
fn what_is_written_is_read_back_exactly() {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    save(&path, &sample()).unwrap();
    assert_eq!(files::read(&path).unwrap(), sample());
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.metadata, BTreeMap::from([("step".into(), "7".into()), ("by".into(), "a test".into())]));
    let first = std::fs::read(&path).unwrap();
    save(&path, &sample()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first, "the same tensors give the same bytes");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the file");
}

#[test]
fn other_readers_understand_our_files() {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    save(&path, &sample()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let w = theirs.tensor("layer.W").unwrap();
    assert_eq!((w.dtype(), w.shape()), (safetensors::Dtype::F32, &[2, 3][..]));
    assert_eq!(w.data()[4..8], (-1.5f32).to_le_bytes());
    assert_eq!(theirs.len(), 5);
}

#[test]
fn halves_and_wide_types_are_converted() {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    let values = [0.5f32, -2.0, 1024.0];
    let halves: Vec<u8> = values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
    foreign(&path, "x", safetensors::Dtype::F16, &[3], &halves);
    assert_eq!(files::read(&path).unwrap()["x"].data, Data::F32(values.to_vec()));
    let brains: Vec<u8> = values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
    foreign(&path, "x", safetensors::Dtype::BF16, &[3], &brains);
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(reader.tensor("x", Some(DType::F64)).unwrap().data, Data::F64(vec![0.5, -2.0, 1024.0]));
    let doubles: Vec<u8> = values.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect();
    foreign(&path, "x", safetensors::Dtype::F64, &[3], &doubles);
    assert_eq!(Reader::open(&path).unwrap().tensor("x", Some(DType::F32)).unwrap().data, Data::F32(values.to_vec()));
    let long: Vec<u8> = [-3i64, i64::from(i32::MAX)].iter().flat_map(|x| x.to_le_bytes()).collect();
    foreign(&path, "x", safetensors::Dtype::I64, &[2], &long);
    assert_eq!(files::read(&path).unwrap()["x"].data, Data::I32(vec![-3, i32::MAX]));
}

#[test]
fn an_integer_beyond_i32_is_named() {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    let long: Vec<u8> = [1i64, 1 << 31].iter().flat_map(|x| x.to_le_bytes()).collect();
    foreign(&path, "ids", safetensors::Dtype::I64, &[2], &long);
    let message = files::read(&path).unwrap_err().to_string();
    assert!(message.contains("`ids`") && message.contains("2147483648 at element 1"), "{message}");
}

#[test]
fn a_type_that_does_not_convert_is_refused() {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    save(&path, &sample()).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    for (name, wanted) in [("layer.W", DType::I32), ("at", DType::F32), ("mask", DType::I32)] {
        assert!(matches!(reader.tensor(name, Some(wanted)), Err(FileError::DType { .. })), "{name}");
    }
    foreign(&path, "x", safetensors::Dtype::F8_E4M3, &[2], &[0, 0]);
    assert!(matches!(files::read(&path), Err(FileError::DType { .. })));
}

#[test]
fn a_name_that_is_not_there_suggests_one_that_is() {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    save(&path, &sample()).unwrap();
    let message = Reader::open(&path).unwrap().tensor("stack.W", None).unwrap_err().to_string();
    assert!(message.ends_with("has no tensor `stack.W`; it has `layer.W`"), "{message}");
}

#[test]
fn every_truncation_is_refused() {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    save(&path, &sample()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(if cfg!(miri) { 41 } else { 1 }) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(files::read(&path), Err(FileError::Format { .. })), "cut at {length}");
    }
}

fn crafted(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn lying_headers_are_refused() {
    let entry =
        |name: &str, shape: &str, from: u64, to: u64| format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#);
    let cases = [
        ("overlap", format!("{{{},{}}}", entry("a", "[2]", 0, 8), entry("b", "[2]", 4, 12)), 12),
        ("hole", format!("{{{},{}}}", entry("a", "[1]", 0, 4), entry("b", "[1]", 8, 12)), 12),
        ("beyond the end", format!("{{{}}}", entry("a", "[4]", 0, 16)), 8),
        ("bytes left over", format!("{{{}}}", entry("a", "[1]", 0, 4)), 8),
        ("backwards", format!("{{{}}}", entry("a", "[1]", 4, 0)), 4),
        ("shape against bytes", format!("{{{}}}", entry("a", "[3]", 0, 8)), 8),
        ("overflowing shape", format!("{{{}}}", entry("a", "[4294967296,4294967296,4]", 0, 8)), 8),
        ("empty and overflowing", format!("{{{}}}", entry("a", "[9223372036854775807,9223372036854775807,0]", 0, 0)), 0),
        ("overflowing end", format!("{{{}}}", entry("a", "[1]", 0, u64::MAX)), 4),
        ("no such type", r#"{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}"#.into(), 4),
        ("no object", "[]".into(), 0),
        ("deep", "[".repeat(100_000), 0),
        ("names without end", r#"{"__metadata__":{"ogive.dims":"{"}}"#.into(), 0),
        ("too many names", format!(r#"{{"__metadata__":{{"ogive.dims":"{{\"a\":[\"x\",\"y\"]}}"}},{}}}"#, entry("a", "[1]", 0, 4)), 4),
    ];
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    for (what, header, data) in cases {
        std::fs::write(&path, crafted(&header, data)).unwrap();
        let result = files::read(&path);
        assert!(matches!(result, Err(FileError::Format { .. })), "{what}: {result:?}");
    }
    for claim in [u64::MAX, 1 << 40, 100] {
        std::fs::write(&path, claim.to_le_bytes()).unwrap();
        assert!(matches!(files::read(&path), Err(FileError::Format { .. })));
    }
    assert!(matches!(files::read(folder.path()), Err(FileError::Format { .. })));
    assert!(matches!(files::read(&folder.path().join("none")), Err(FileError::Io { .. })));
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = folder();
    let path = folder.path().join("a.safetensors");
    save(&path, &sample()).unwrap();
    let before = std::fs::read(&path).unwrap();
    let full = |out: &mut dyn std::io::Write| {
        out.write_all(&[0; 100_000])?;
        Err(std::io::ErrorKind::StorageFull.into())
    };
    assert!(matches!(files::replace(&path, full), Err(FileError::Io { .. })));
    let ill = Tensor { dims: dims(&[("n", 3)]), data: Data::F32(vec![0.0]) };
    let message = save(&path, &BTreeMap::from([("w".into(), ill)])).unwrap_err().to_string();
    assert_eq!(message, "tensor `w` has 1 elements and dims [n: 3]");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(matches!(save(folder.path(), &sample()), Err(FileError::Io { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 6 } else { 512 }))]
    #[test]
    fn mutants_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>(), cuts in any::<bool>()) {
        let folder = folder();
        let path = folder.path().join("a.safetensors");
        save(&path, &sample()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(tensors) = files::read(&path) {
            prop_assert!(tensors.values().all(|t| t.len() == t.dims.iter().map(|d| d.size).product::<usize>()));
        }
    }
}
