//! Sources: the embedded dictionary, text files, jsonl files, token files; and the roots that they must lie in.

use super::blob::{Blob, Part};
use super::error::DataError;
use super::webster::webster;
use ogive_lang::hir::experiment::Generated;
use std::path::{Component, Path, PathBuf};

/// Between the texts of a jsonl file.
const BETWEEN: &str = "\n\n";

/// Where data comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The embedded dictionary: `text(webster)`.
    Webster,
    /// A text file: `text("path")`.
    Text(PathBuf),
    /// One JSON object per line: `jsonl("path")`. Texts are joined by an empty line.
    Jsonl {
        /// The file.
        path: PathBuf,
        /// The field with the text, `text` unless the spec says so.
        field: String,
    },
    /// Tokens, little-endian and without a header: `tokens("path", bytes: 2)`.
    Tokens {
        /// The file.
        path: PathBuf,
        /// Bytes of a token.
        width: Width,
        /// Number of tokens there are; one more than the largest in the file where it is not given.
        vocab: Option<u64>,
    },
    /// Strings of a formal language: `generated(parity, ...)`.
    Generated(Generated),
}

/// Bytes of a stored token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// u16.
    Two,
    /// u32.
    Four,
}

impl Width {
    /// Bytes of a token.
    pub fn bytes(self) -> usize {
        match self {
            Width::Two => 2,
            Width::Four => 4,
        }
    }
}

/// Which files a spec may read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roots {
    /// What relative paths are relative to: the spec's folder.
    pub base: PathBuf,
    /// Folders that files must lie in, symbolic links resolved.
    pub allowed: Vec<PathBuf>,
}

impl Roots {
    /// Files in and below one folder.
    pub fn of(base: impl Into<PathBuf>) -> Roots {
        let base = base.into();
        Roots { allowed: vec![base.clone()], base }
    }

    /// The file that `path` names, with links resolved.
    ///
    /// # Errors
    /// Where there is no such file, it is no file, or it lies outside the roots.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf, DataError> {
        let joined = self.base.join(path);
        let outside = || DataError::OutsideRoots { path: path.to_owned(), allowed: self.allowed.clone() };
        let roots: Vec<PathBuf> = self.allowed.iter().filter_map(|root| root.canonicalize().ok()).collect();
        let real = match joined.canonicalize() {
            Ok(real) => real,
            Err(why) => {
                // What lies outside is not told apart from what is missing there.
                let lexical = without_climbs(&std::path::absolute(&joined).unwrap_or(joined));
                let given = |root: &PathBuf| std::path::absolute(root).is_ok_and(|root| lexical.starts_with(without_climbs(&root)));
                if !self.allowed.iter().any(given) && !roots.iter().any(|root| lexical.starts_with(root)) {
                    return Err(outside());
                }
                return Err(match why.kind() {
                    std::io::ErrorKind::NotFound => DataError::Missing(path.to_owned()),
                    _ => DataError::Unreadable { path: path.to_owned(), why },
                });
            }
        };
        if !roots.iter().any(|root| real.starts_with(root)) {
            return Err(outside());
        }
        if !real.is_file() {
            return Err(DataError::NotAFile(path.to_owned()));
        }
        Ok(real)
    }
}

/// A path with every `folder/..` taken out, links unseen.
fn without_climbs(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut out, part| {
        if part == Component::ParentDir {
            out.pop();
        } else {
            out.push(part);
        }
        out
    })
}

/// A text and where it may be cut.
pub(super) struct Text {
    pub(super) name: String,
    pub(super) blob: Blob,
    /// Starts of documents; `None` where any line may start a part.
    documents: Option<Vec<usize>>,
}

pub(super) enum Loaded {
    Text(Text),
    Tokens { name: String, blob: Blob, width: Width, vocab: Option<u64> },
    Strings(Generated),
}

pub(super) fn load(source: &Source, roots: &Roots) -> Result<Loaded, DataError> {
    let open = |path: &Path| -> Result<(String, Blob), DataError> {
        let name = path.display().to_string();
        let blob = Blob::open(&roots.resolve(path)?)?;
        if blob.bytes().is_empty() { Err(DataError::Empty { name }) } else { Ok((name, blob)) }
    };
    match source {
        Source::Webster => {
            let blob = Blob::memory(webster().as_bytes().to_vec());
            Ok(Loaded::Text(Text { name: "webster".into(), blob, documents: None }))
        }
        Source::Text(path) => {
            let (name, blob) = open(path)?;
            Ok(Loaded::Text(Text { name, blob, documents: None }))
        }
        Source::Jsonl { path, field } => {
            let (name, blob) = open(path)?;
            jsonl(name, &blob, field).map(Loaded::Text)
        }
        Source::Tokens { path, width, vocab } => {
            let (name, blob) = open(path)?;
            let (bytes, each) = (blob.bytes().len() as u64, width.bytes() as u64);
            if bytes % each != 0 {
                return Err(DataError::OddSize { name, bytes, width: each });
            }
            Ok(Loaded::Tokens { name, blob, width: *width, vocab: *vocab })
        }
        Source::Generated(strings) => Ok(Loaded::Strings(*strings)),
    }
}

fn jsonl(name: String, blob: &Blob, field: &str) -> Result<Text, DataError> {
    let mut text = String::new();
    let mut documents = Vec::new();
    for (number, line) in blob.bytes().split(|&b| b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let bad = |why: String| DataError::BadLine { name: name.clone(), line: number as u64 + 1, why };
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(line).map_err(|why| bad(format!("is no JSON object: {why}")))?;
        let Some(document) = object.get(field).and_then(|v| v.as_str()) else {
            return Err(bad(format!("has no string `{field}`")));
        };
        documents.push(text.len());
        text.push_str(document);
        text.push_str(BETWEEN);
    }
    if text.len() == documents.len() * BETWEEN.len() {
        return Err(DataError::Empty { name });
    }
    Ok(Text { name, blob: Blob::memory(text.into_bytes()), documents: Some(documents) })
}

impl Text {
    /// The three parts: cut at the first document (or line, or character, whichever there is) at or after the fraction's byte.
    pub(super) fn split(&self, fractions: [f64; 3]) -> [Part; 3] {
        let mut start = 0;
        super::ends(self.blob.bytes().len() as u64, fractions).map(|end| {
            let end = self.boundary(end as usize).max(start);
            let part = self.blob.part(start..end);
            start = end;
            part
        })
    }

    /// Byte of the source at which a part starts, for messages.
    pub(super) fn start_of(&self, part: &Part) -> u64 {
        part.start() as u64
    }

    fn boundary(&self, at: usize) -> usize {
        let bytes = self.blob.bytes();
        if at >= bytes.len() {
            return bytes.len();
        }
        if let Some(documents) = &self.documents {
            return documents.get(documents.partition_point(|&d| d < at)).copied().unwrap_or(bytes.len());
        }
        if at == 0 || bytes[at - 1] == b'\n' {
            return at;
        }
        // A text without lines is cut at a character.
        let reach = (bytes.len() / 100).clamp(256, 1 << 16);
        let near = &bytes[at..(at + reach).min(bytes.len())];
        let line = near.iter().position(|&b| b == b'\n').map(|i| at + i + 1);
        line.unwrap_or_else(|| (at..bytes.len()).find(|&i| bytes[i] & 0xC0 != 0x80).unwrap_or(bytes.len()))
    }
}
