//! Tokenizers: bytes, characters, and the `tokenizer.json` of Hugging Face.

use super::blob::Part;
use super::error::DataError;
use super::source::Roots;
use super::tokens::Tokens;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Text is given to a tokenizer file in pieces of about this many bytes, cut after a line.
const PIECE: usize = 1 << 20;

/// How text becomes tokens, as a spec says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenizerSpec {
    /// A byte is a token; the vocabulary has 256.
    Bytes,
    /// A character of the training split is a token; token 0 stands for all others.
    Characters,
    /// A `tokenizer.json`.
    File(PathBuf),
}

/// A tokenizer at work.
#[derive(Clone, Debug)]
pub enum Tokenizer {
    /// Bytes.
    Bytes,
    /// Characters, in the order of their tokens.
    Characters(Characters),
    /// A tokenizer file: its text and what it says.
    File(Arc<FileTokenizer>),
}

/// The vocabulary of a character tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Characters {
    /// Characters of tokens 1, 2, ...
    list: Vec<char>,
    tokens: BTreeMap<char, u32>,
}

/// A loaded `tokenizer.json`.
#[derive(Debug)]
pub struct FileTokenizer {
    json: Vec<u8>,
    inner: tokenizers::Tokenizer,
    vocab: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Stored {
    Bytes,
    Characters { characters: String },
}

impl Tokenizer {
    /// The tokenizer that a spec names; `train` is the training split.
    pub(super) fn make(spec: &TokenizerSpec, roots: &Roots, name: &str, train: &Part) -> Result<Tokenizer, DataError> {
        match spec {
            TokenizerSpec::Bytes => Ok(Tokenizer::Bytes),
            TokenizerSpec::Characters => {
                let text = utf8(name, train, "characters")?;
                let mut seen: Vec<char> = text.chars().collect::<std::collections::BTreeSet<char>>().into_iter().collect();
                seen.sort_unstable();
                Ok(Tokenizer::Characters(Characters::of(seen)))
            }
            TokenizerSpec::File(path) => Self::open(&roots.resolve(path)?),
        }
    }

    /// Loads a `tokenizer.json`.
    ///
    /// # Errors
    /// Where it cannot be read or is no tokenizer.
    pub fn open(path: &Path) -> Result<Tokenizer, DataError> {
        let json = std::fs::read(path).map_err(|why| DataError::Unreadable { path: path.to_owned(), why })?;
        Self::parse(&path.display().to_string(), json)
    }

    /// The tokenizer that [`Tokenizer::store`] wrote, or a Hugging Face one.
    ///
    /// # Errors
    /// Where the text is neither.
    pub fn parse(name: &str, json: Vec<u8>) -> Result<Tokenizer, DataError> {
        if let Ok(stored) = serde_json::from_slice::<Stored>(&json) {
            return Ok(match stored {
                Stored::Bytes => Tokenizer::Bytes,
                Stored::Characters { characters } => Tokenizer::Characters(Characters::of(characters.chars().collect())),
            });
        }
        let bad = |why: String| DataError::BadTokenizer { name: name.to_owned(), why };
        let inner = guarded(|| tokenizers::Tokenizer::from_bytes(&json).map_err(|e| e.to_string())).map_err(bad)?;
        let largest = inner.get_vocab(true).values().copied().max().ok_or_else(|| bad("its vocabulary is empty".into()))?;
        Ok(Tokenizer::File(Arc::new(FileTokenizer { json, inner, vocab: u64::from(largest) + 1 })))
    }

    /// What is kept in the run folder as `tokenizer.json`.
    pub fn store(&self) -> Vec<u8> {
        let own = |stored: &Stored| serde_json::to_vec_pretty(stored).unwrap_or_default();
        match self {
            Tokenizer::Bytes => own(&Stored::Bytes),
            Tokenizer::Characters(c) => own(&Stored::Characters { characters: c.list.iter().collect() }),
            Tokenizer::File(file) => file.json.clone(),
        }
    }

    /// The word in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Tokenizer::Bytes => "bytes",
            Tokenizer::Characters(_) => "characters",
            Tokenizer::File(_) => "tokenizer.json",
        }
    }

    /// Number of tokens there are.
    pub fn vocab(&self) -> u64 {
        match self {
            Tokenizer::Bytes => 256,
            Tokenizer::Characters(c) => c.list.len() as u64 + 1,
            Tokenizer::File(file) => file.vocab,
        }
    }

    /// Tokens of a text.
    ///
    /// # Errors
    /// Where a tokenizer file fails on it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        match self {
            Tokenizer::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Tokenizer::Characters(c) => Ok(c.encode(text)),
            Tokenizer::File(file) => {
                guarded(|| file.inner.encode_fast(text, false).map(|e| e.get_ids().to_vec()).map_err(|e| e.to_string()))
                    .map_err(|why| DataError::Tokenizing { name: "the text given".into(), why })
            }
        }
    }

    /// Text of tokens; what is no text becomes U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        match self {
            Tokenizer::Bytes => {
                let bytes: Vec<u8> = tokens.iter().map(|&t| u8::try_from(t).unwrap_or(b'?')).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Tokenizer::Characters(c) => tokens.iter().map(|&t| c.char(t)).collect(),
            Tokenizer::File(file) => guarded(|| file.inner.decode(tokens, false).map_err(|e| e.to_string())).unwrap_or_default(),
        }
    }

    /// Tokens of a part of a text.
    pub(super) fn tokens(&self, name: &str, part: &Part, start: u64) -> Result<Tokens, DataError> {
        let text = |kind| utf8(name, part, kind).map_err(|why| shifted(why, start));
        match self {
            Tokenizer::Bytes => Ok(Tokens::bytes(part.clone())),
            Tokenizer::Characters(c) => Ok(Tokens::memory(c.encode(text("characters")?))),
            Tokenizer::File(_) => {
                let mut rest = text("tokenizer.json")?;
                let mut tokens = Vec::new();
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(piece_end(rest));
                    tokens.extend(self.encode(piece).map_err(|why| match why {
                        DataError::Tokenizing { why, .. } => DataError::Tokenizing { name: name.to_owned(), why },
                        other => other,
                    })?);
                    rest = after;
                }
                Ok(Tokens::memory(tokens))
            }
        }
    }
}

impl Characters {
    fn of(list: Vec<char>) -> Characters {
        let tokens = list.iter().zip(1..).map(|(&c, token)| (c, token)).collect();
        Characters { list, tokens }
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        text.chars().map(|c| self.tokens.get(&c).copied().unwrap_or(0)).collect()
    }

    fn char(&self, token: u32) -> char {
        let at = (token as usize).checked_sub(1);
        at.and_then(|i| self.list.get(i)).copied().unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

/// End of the next piece: after the last line within reach, else after the last character.
fn piece_end(text: &str) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let end = text.floor_char_boundary(PIECE);
    text[..end].rfind('\n').map_or(end, |i| i + 1)
}

fn utf8<'a>(name: &str, part: &'a Part, tokenizer: &'static str) -> Result<&'a str, DataError> {
    std::str::from_utf8(part.bytes()).map_err(|e| DataError::NotUtf8 { name: name.to_owned(), at: e.valid_up_to() as u64, tokenizer })
}

fn shifted(why: DataError, start: u64) -> DataError {
    match why {
        DataError::NotUtf8 { name, at, tokenizer } => DataError::NotUtf8 { name, at: at + start, tokenizer },
        other => other,
    }
}

/// Runs foreign code that may panic on hostile files.
fn guarded<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err("it breaks off".into()))
}
