//! Writing: the same tensors give the same bytes, and a file is replaced whole or not at all.

use super::{DIMS, FileError, io};
use crate::ports::show;
use crate::tensor::{Data, Tensor};
use ogive_graph::DType;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes tensors, with the names of their dims and further metadata, over whatever `path` holds.
///
/// # Errors
/// `Io`, `Tensor`. The old file then stays as it was.
pub fn write<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), FileError> {
    let mut tensors: Vec<(&str, &Tensor)> = tensors.into_iter().collect();
    for (name, tensor) in &tensors {
        if tensor.dims.iter().try_fold(1usize, |n, d| n.checked_mul(d.size)) != Some(tensor.len()) {
            return Err(FileError::Tensor { name: (*name).into(), elements: tensor.len(), dims: show(&tensor.dims) });
        }
    }
    tensors.sort_by_key(|(name, tensor)| (std::cmp::Reverse(tensor.dtype().bytes()), *name));
    let header = header(&tensors, metadata);
    replace(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        tensors.iter().try_for_each(|(_, tensor)| elements(out, &tensor.data))
    })
}

/// Replaces a file whole or not at all: writes to a new file beside it, syncs, renames.
///
/// # Errors
/// `Io`. The old file then stays as it was and nothing is left beside it.
pub fn replace(path: &Path, fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), FileError> {
    let (temporary, file) = beside(path)?;
    let result = contents(&temporary, file, fill).and_then(|()| std::fs::rename(&temporary, path).map_err(io("replace", path)));
    if result.is_err() {
        // The error to report is the first one; what is left beside is of no use to anyone.
        let _ = std::fs::remove_file(&temporary);
        return result;
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(folder).map_err(io("sync", folder))
}

/// Waits until the names in a folder are on the disk.
///
/// # Errors
/// Those of the system.
pub fn sync_folder(folder: &Path) -> std::io::Result<()> {
    // Miri syncs files alone.
    if cfg!(miri) { Ok(()) } else { File::open(folder)?.sync_all() }
}

fn beside(path: &Path) -> Result<(PathBuf, File), FileError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| io("write", path)(std::io::ErrorKind::InvalidInput.into()))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(hidden);
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary).map_err(io("write", path))?;
    Ok((temporary, file))
}

fn contents(path: &Path, file: File, fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), FileError> {
    let mut out = BufWriter::with_capacity(1 << 16, file);
    fill(&mut out).map_err(io("write", path))?;
    let file = out.into_inner().map_err(|e| io("write", path)(e.into_error()))?;
    file.sync_all().map_err(io("sync", path))
}

fn header(tensors: &[(&str, &Tensor)], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut entries = Map::new();
    let mut names = Map::new();
    let mut at = 0;
    for (name, tensor) in tensors {
        let end = at + tensor.len() as u64 * tensor.dtype().bytes();
        let shape: Vec<usize> = tensor.dims.iter().map(|d| d.size).collect();
        entries.insert((*name).into(), json!({ "dtype": stored(tensor.dtype()), "shape": shape, "data_offsets": [at, end] }));
        if tensor.dims.iter().any(|d| !d.name.is_empty()) {
            names.insert((*name).into(), tensor.dims.iter().map(|d| d.name.clone()).collect());
        }
        at = end;
    }
    let mut notes: Map<String, Value> = metadata.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
    notes.insert(DIMS.into(), Value::Object(names).to_string().into());
    let mut all = Map::from_iter([("__metadata__".to_owned(), Value::Object(notes))]);
    all.extend(entries);
    let mut text = Value::Object(all).to_string().into_bytes();
    // The elements start at a multiple of 8, as the format asks.
    text.resize(text.len().next_multiple_of(8), b' ');
    text
}

fn stored(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::F64 => "F64",
        DType::I32 => "I32",
        DType::Bool => "BOOL",
    }
}

fn elements(out: &mut dyn Write, data: &Data) -> std::io::Result<()> {
    match data {
        Data::F32(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::F64(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::I32(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::Bool(v) => v.iter().try_for_each(|&x| out.write_all(&[u8::from(x != 0)])),
    }
}
