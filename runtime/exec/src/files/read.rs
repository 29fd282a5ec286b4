//! Reading: the header first, then tensors one by one on demand.

use super::{DIMS, FileError, MAX_COMMAS, MAX_HEADER, io};
use crate::tensor::{Data, Dim, Tensor};
use ogive_graph::DType;
use safetensors::Dtype as Stored;
use safetensors::tensor::Metadata;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes read at a time; a multiple of every element size.
const PIECE: usize = 1 << 16;

/// A tensor of a file, not yet read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Dims in file order; names are empty where the file has none.
    pub dims: Vec<Dim>,
    /// Element type of the file, as the format writes it: `F32`, `BF16`, `I64`, ...
    pub stored: String,
    dtype: Stored,
    start: u64,
    elements: usize,
}

impl Entry {
    /// The element type that the tensor has when none is asked for: halves become f32, integers i32.
    pub fn natural(&self) -> Option<DType> {
        match self.dtype {
            Stored::F16 | Stored::BF16 | Stored::F32 => Some(DType::F32),
            Stored::F64 => Some(DType::F64),
            Stored::I8 | Stored::U8 | Stored::I16 | Stored::U16 | Stored::I32 | Stored::U32 | Stored::I64 | Stored::U64 => Some(DType::I32),
            Stored::BOOL => Some(DType::Bool),
            _ => None,
        }
    }
}

/// An open tensor file.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    /// Tensors by name.
    pub entries: BTreeMap<String, Entry>,
    /// Metadata other than the dims' names.
    pub metadata: BTreeMap<String, String>,
}

impl Reader {
    /// Opens a file and checks its header against its length.
    ///
    /// # Errors
    /// `Io`, `Format`.
    pub fn open(path: &Path) -> Result<Reader, FileError> {
        let format = |why: String| FileError::Format { path: path.to_owned(), why };
        let mut file = File::open(path).map_err(io("open", path))?;
        let status = file.metadata().map_err(io("read", path))?;
        if !status.is_file() {
            return Err(format("it is no ordinary file".into()));
        }
        let length = status.len();
        let mut word = [0; 8];
        if length < 8 {
            return Err(format(format!("it has {length} bytes, and the length of the header alone takes 8")));
        }
        file.read_exact(&mut word).map_err(io("read", path))?;
        let header = u64::from_le_bytes(word);
        if header > length - 8 {
            return Err(format(format!("its header claims {header} bytes of a file of {length}")));
        }
        if header > MAX_HEADER {
            return Err(format(format!("its header claims {header} bytes; at most {MAX_HEADER} are read")));
        }
        let mut text = vec![0; header as usize];
        file.read_exact(&mut text).map_err(io("read", path))?;
        let commas = text.iter().filter(|&&b| b == b',').count();
        if commas > MAX_COMMAS {
            return Err(format(format!("its header has more than {MAX_COMMAS} parts")));
        }
        let parsed: Metadata = serde_json::from_slice(&text).map_err(|e| format(format!("header: {e}")))?;
        let data = length - 8 - header;
        if parsed.data_len() as u64 != data {
            return Err(format(format!("its header describes {} bytes of elements; it has {data}", parsed.data_len())));
        }
        let mut metadata: BTreeMap<String, String> = parsed.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let names = match metadata.remove(DIMS) {
            Some(text) => serde_json::from_str(&text).map_err(|e| format(format!("names of dims: {e}")))?,
            None => BTreeMap::new(),
        };
        let entries = entries(&parsed, &names, 8 + header).map_err(format)?;
        Ok(Reader { path: path.to_owned(), file, entries, metadata })
    }

    /// Reads a tensor as `wanted`, or in its natural element type. Floats of any width become f32 or f64, integers become i32 where each
    /// fits, bool stays bool.
    ///
    /// # Errors
    /// `Io`, `Missing`, `DType`, `Integer`.
    pub fn tensor(&mut self, name: &str, wanted: Option<DType>) -> Result<Tensor, FileError> {
        let Some(entry) = self.entries.get(name) else {
            let last = |n: &str| n.rsplit('.').next().unwrap_or(n).to_owned();
            let near =
                self.entries.keys().find(|k| k.eq_ignore_ascii_case(name)).or_else(|| self.entries.keys().find(|k| last(k) == last(name)));
            return Err(FileError::Missing { path: self.path.clone(), name: name.into(), near: near.cloned() });
        };
        let unreadable = |wanted| FileError::DType { path: self.path.clone(), name: name.into(), found: entry.stored.clone(), wanted };
        let natural = entry.natural().ok_or_else(|| unreadable(wanted.map_or("a tensor", DType::name)))?;
        let wanted = wanted.unwrap_or(natural);
        if wanted != natural && !(wanted.is_float() && natural.is_float()) {
            return Err(unreadable(wanted.name()));
        }
        self.file.seek(SeekFrom::Start(entry.start)).map_err(io("read", &self.path))?;
        let mut source = Source { file: &mut self.file, path: &self.path, entry };
        let data = match wanted {
            DType::F32 => Data::F32(source.floats(|x| x, |x| x as f32)?),
            DType::F64 => Data::F64(source.floats(f64::from, |x| x)?),
            DType::I32 => Data::I32(source.integers(name)?),
            DType::Bool => Data::Bool(source.each(1, |b| u8::from(b[0] != 0))?),
        };
        Ok(Tensor { dims: entry.dims.clone(), data })
    }
}

/// Reads a whole file, each tensor in its natural element type.
///
/// # Errors
/// Those of [`Reader::open`] and [`Reader::tensor`].
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, FileError> {
    let mut reader = Reader::open(path)?;
    let names: Vec<String> = reader.entries.keys().cloned().collect();
    names.into_iter().map(|name| reader.tensor(&name, None).map(|t| (name, t))).collect()
}

fn entries(header: &Metadata, names: &BTreeMap<String, Vec<String>>, base: u64) -> Result<BTreeMap<String, Entry>, String> {
    let mut entries = BTreeMap::new();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else { continue };
        let dims = match names.get(&name) {
            Some(names) if names.len() != info.shape.len() => {
                return Err(format!("`{name}` has {} dims and {} names for them", info.shape.len(), names.len()));
            }
            Some(names) => names.iter().zip(&info.shape).map(|(n, &size)| Dim { name: n.clone(), size }).collect(),
            None => info.shape.iter().map(|&size| Dim { name: String::new(), size }).collect(),
        };
        let elements = info.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or("a size overflows")?;
        let start = base + info.data_offsets.0 as u64;
        entries.insert(name, Entry { dims, stored: info.dtype.to_string(), dtype: info.dtype, start, elements });
    }
    Ok(entries)
}

/// Elements of one entry; the file stands at its first byte.
struct Source<'a> {
    file: &'a mut File,
    path: &'a Path,
    entry: &'a Entry,
}

impl Source<'_> {
    /// Every element, from its `size` bytes.
    fn each<T>(&mut self, size: usize, convert: impl Fn(&[u8]) -> T) -> Result<Vec<T>, FileError> {
        let mut out = Vec::with_capacity(self.entry.elements);
        self.pieces(size, |bytes| {
            out.push(convert(bytes));
            Ok(())
        })?;
        Ok(out)
    }

    fn pieces(&mut self, size: usize, mut take: impl FnMut(&[u8]) -> Result<(), FileError>) -> Result<(), FileError> {
        let mut left = self.entry.elements * size;
        let mut piece = vec![0; left.min(PIECE)];
        while left > 0 {
            let now = left.min(PIECE);
            self.file.read_exact(&mut piece[..now]).map_err(io("read", self.path))?;
            piece[..now].chunks_exact(size).try_for_each(&mut take)?;
            left -= now;
        }
        Ok(())
    }

    fn floats<T>(&mut self, single: impl Fn(f32) -> T, double: impl Fn(f64) -> T) -> Result<Vec<T>, FileError> {
        match self.entry.dtype {
            Stored::F16 => self.each(2, |b| single(half::f16::from_le_bytes(array(b)).to_f32())),
            Stored::BF16 => self.each(2, |b| single(half::bf16::from_le_bytes(array(b)).to_f32())),
            Stored::F64 => self.each(8, |b| double(f64::from_le_bytes(array(b)))),
            _ => self.each(4, |b| single(f32::from_le_bytes(array(b)))),
        }
    }

    fn integers(&mut self, name: &str) -> Result<Vec<i32>, FileError> {
        let (size, wide): (usize, fn(&[u8]) -> i128) = match self.entry.dtype {
            Stored::I8 => (1, |b| i8::from_le_bytes(array(b)).into()),
            Stored::U8 => (1, |b| u8::from_le_bytes(array(b)).into()),
            Stored::I16 => (2, |b| i16::from_le_bytes(array(b)).into()),
            Stored::U16 => (2, |b| u16::from_le_bytes(array(b)).into()),
            Stored::U32 => (4, |b| u32::from_le_bytes(array(b)).into()),
            Stored::I64 => (8, |b| i64::from_le_bytes(array(b)).into()),
            Stored::U64 => (8, |b| u64::from_le_bytes(array(b)).into()),
            _ => (4, |b| i32::from_le_bytes(array(b)).into()),
        };
        let mut out = Vec::with_capacity(self.entry.elements);
        let path = self.path;
        self.pieces(size, |bytes| {
            let value = wide(bytes);
            let too_large = |_| FileError::Integer { path: path.to_owned(), name: name.into(), element: out.len(), value };
            let value = i32::try_from(value).map_err(too_large)?;
            out.push(value);
            Ok(())
        })?;
        Ok(out)
    }
}

/// The bytes of one element; `pieces` gives exactly as many.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}
