//! What can be wrong with a data set. Every variant has a stable code, under `arch::data`.

use ogive_lang::codes;
use std::path::PathBuf;

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No such file.
    #[error("there is no file `{}`", .0.display())]
    Missing(PathBuf),
    /// A folder, a device or another thing that is no file.
    #[error("`{}` is not a file", .0.display())]
    NotAFile(PathBuf),
    /// The operating system refuses.
    #[error("`{}` cannot be read: {why}", .path.display())]
    Unreadable { path: PathBuf, why: std::io::Error },
    /// Outside the folders that may be read.
    #[error("`{}` lies outside the folders that may be read: {}", .path.display(), .allowed.iter().map(|p| format!("`{}`", p.display())).collect::<Vec<_>>().join(", "))]
    OutsideRoots { path: PathBuf, allowed: Vec<PathBuf> },
    /// Nothing in it.
    #[error("`{name}` is empty")]
    Empty { name: String },
    /// Not UTF-8 though the tokenizer reads characters.
    #[error("`{name}` is not UTF-8 at byte {at}, and the {tokenizer} tokenizer reads characters")]
    NotUtf8 { name: String, at: u64, tokenizer: &'static str },
    /// A split has fewer tokens than one context and the token after it.
    #[error("the {split} split of `{name}` has {tokens} tokens; one context of {context} needs {}", .context + 1)]
    TooShort { name: String, split: &'static str, tokens: u64, context: u64 },
    /// A line of a jsonl file that is no object with a text.
    #[error("line {line} of `{name}` {why}")]
    BadLine { name: String, line: u64, why: String },
    /// A token file whose size is no multiple of the token's.
    #[error("`{name}` has {bytes} bytes, no multiple of the {width} bytes of a token")]
    OddSize { name: String, bytes: u64, width: u64 },
    /// A token outside the vocabulary.
    #[error("token {token} at position {at} of `{name}` lies outside the vocabulary of {vocab}")]
    OutsideVocabulary { name: String, token: u64, at: u64, vocab: u64 },
    /// A tokenizer file that does not load.
    #[error("the tokenizer `{name}` does not load: {why}")]
    BadTokenizer { name: String, why: String },
    /// A tokenizer that fails on the text.
    #[error("the tokenizer fails on `{name}`: {why}")]
    Tokenizing { name: String, why: String },
    /// Fractions that are no split.
    #[error("a split of {train}, {validation}, {test}: {why}")]
    BadSplit { train: f64, validation: f64, test: f64, why: &'static str },
    /// A context of no tokens.
    #[error("a context of {0} tokens")]
    BadContext(u64),
}

impl DataError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            DataError::Missing(_) => codes::data::MISSING,
            DataError::NotAFile(_) => codes::data::NOT_A_FILE,
            DataError::Unreadable { .. } => codes::data::UNREADABLE,
            DataError::OutsideRoots { .. } => codes::data::OUTSIDE_ROOTS,
            DataError::Empty { .. } => codes::data::EMPTY,
            DataError::NotUtf8 { .. } => codes::data::NOT_UTF8,
            DataError::TooShort { .. } => codes::data::TOO_SHORT,
            DataError::BadLine { .. } => codes::data::BAD_LINE,
            DataError::OddSize { .. } => codes::data::ODD_SIZE,
            DataError::OutsideVocabulary { .. } => codes::data::OUTSIDE_VOCABULARY,
            DataError::BadTokenizer { .. } => codes::data::BAD_TOKENIZER,
            DataError::Tokenizing { .. } => codes::data::TOKENIZING,
            DataError::BadSplit { .. } => codes::data::BAD_SPLIT,
            DataError::BadContext(_) => codes::data::BAD_CONTEXT,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            DataError::Missing(_) => Some("paths are relative to the spec's folder; `text(webster)` needs no file"),
            DataError::OutsideRoots { .. } => Some("pass `--root FOLDER`, or move the file beside the spec"),
            DataError::NotUtf8 { .. } => Some("use `tokenizer: bytes`, or convert the file to UTF-8"),
            DataError::TooShort { .. } => Some("use a shorter `context:`, a larger share in `split:`, or more data"),
            DataError::BadLine { .. } => Some("each line is a JSON object with a string `text`, or the field that `field:` names"),
            DataError::OddSize { .. } => Some("`bytes: 2` is for u16 tokens, `bytes: 4` for u32, both little-endian and without a header"),
            DataError::OutsideVocabulary { .. } => Some("raise `vocab:`, or check `bytes:`"),
            DataError::BadSplit { .. } => Some("write `split: [0.98, 0.01, 0.01]`"),
            DataError::BadContext(_) => Some("write `context: 256`"),
            DataError::NotAFile(_) => Some("name a file; a folder is not searched"),
            DataError::Unreadable { .. } => Some("see that you may read it"),
            DataError::Empty { .. } => Some("name a file with data in it"),
            DataError::BadTokenizer { .. } => Some("use a `tokenizer.json` of the tokenizers library, `bytes` or `chars`"),
            DataError::Tokenizing { .. } => Some("use a tokenizer that knows every character, such as `bytes`"),
        }
    }
}
