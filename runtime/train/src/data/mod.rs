//! Data: from the `data` setting of an experiment to batches of token contexts.
//!
//! A source is cut into three splits by fraction of its bytes, each split is turned into tokens, and tokens are read as contexts:
//! `context` tokens and, one position on, the tokens that follow them.

mod batch;
mod blob;
mod error;
mod generated;
pub mod reference;
mod source;
mod stream;
pub mod tokenizer;
mod tokens;
mod webster;

pub use batch::{contexts, evaluation_batch, training_batch};
pub use error::DataError;
pub use generated::Labelled;
pub use source::{Roots, Source, Width};
pub use stream::Streams;
pub use tokenizer::{Tokenizer, TokenizerSpec};
pub use tokens::Tokens;
pub use webster::webster;

use source::Loaded;

/// What an experiment says of its data.
#[derive(Clone, PartialEq, Debug)]
pub struct DataSpec {
    /// Where the text or the tokens come from.
    pub source: Source,
    /// How text becomes tokens. Token files do without.
    pub tokenizer: TokenizerSpec,
    /// Tokens of a context.
    pub context: u64,
    /// Fractions of the bytes for training, validation and test.
    pub split: [f64; 3],
}

/// One of the parts of the data.
pub use ogive_lang::hir::experiment::Split as Part;

/// All of them, those of `split` first and in its order.
pub const PARTS: [Part; 4] = [Part::Training, Part::Validation, Part::Test, Part::Longer];

/// Name of the model's input, unless the model says otherwise.
pub const INPUT: &str = "tokens";

/// Tokens of one part.
#[derive(Clone, Debug)]
pub struct Split {
    /// The tokens.
    pub tokens: Tokens,
    /// Bytes of text that they stand for; `None` for token files.
    pub bytes: Option<u64>,
    /// Tokens of a context.
    pub context: u64,
    /// Of labelled strings, one a context: the class at each position.
    pub target: Option<Target>,
}

/// Classes of labelled strings.
#[derive(Clone, Debug)]
pub struct Target {
    /// The class at each position; [`Target::outside`] where a string is padded.
    pub classes: Tokens,
    /// No class: the number of classes.
    pub outside: u32,
}

impl Split {
    fn nothing(context: u64) -> Split {
        Split { tokens: Tokens::memory(Vec::new()), bytes: None, context, target: None }
    }

    /// Bytes of text per token; `None` for token files and empty splits.
    pub fn bytes_per_token(&self) -> Option<f64> {
        let bytes = self.bytes?;
        (!self.tokens.is_empty()).then(|| bytes as f64 / self.tokens.len() as f64)
    }
}

/// A loaded data set.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// `webster` or the path, for messages.
    pub name: String,
    /// Turns text into tokens and back; `None` for token files.
    pub tokenizer: Option<Tokenizer>,
    /// Number of tokens there are.
    pub vocab: u64,
    /// Tokens of a context of the training part.
    pub context: u64,
    /// Name of the model's input that the tokens are bound to.
    pub input: String,
    /// SHA-256 over the source's length and content (of large files, over 64 blocks of it); in hexadecimal.
    pub fingerprint: String,
    splits: [Split; 4],
    /// Text of the validation part, for reference compressors.
    validation_text: Option<blob::Part>,
}

impl Dataset {
    /// Loads what `spec` names.
    ///
    /// `tokenizer` replaces the one that would be made from the training split: a resumed run gives back the stored one.
    ///
    /// # Errors
    /// Every [`DataError`]: nothing in a file makes this panic.
    pub fn load(spec: &DataSpec, roots: &Roots, tokenizer: Option<Tokenizer>) -> Result<Dataset, DataError> {
        if spec.context == 0 || spec.context > 1 << 32 {
            return Err(DataError::BadContext(spec.context));
        }
        check_split(spec.split)?;
        let set = match source::load(&spec.source, roots)? {
            Loaded::Text(text) => Self::from_text(spec, roots, &text, tokenizer)?,
            Loaded::Tokens { name, blob, width, vocab } => Self::from_tokens(spec, name, &blob, width, vocab)?,
            Loaded::Strings(strings) => return Ok(generated::dataset(&strings)),
        };
        for (part, fraction) in PARTS.into_iter().zip(spec.split) {
            let tokens = set.split(part).tokens.len() as u64;
            if fraction > 0.0 && tokens <= spec.context {
                return Err(DataError::TooShort { name: set.name, split: part.name(), tokens, context: spec.context });
            }
        }
        Ok(set)
    }

    /// One of the parts.
    pub fn split(&self, part: Part) -> &Split {
        &self.splits[part as usize]
    }

    /// The bytes of the validation part; `None` for token files.
    pub fn validation_text(&self) -> Option<&[u8]> {
        self.validation_text.as_ref().map(blob::Part::bytes)
    }

    fn from_text(spec: &DataSpec, roots: &Roots, text: &source::Text, given: Option<Tokenizer>) -> Result<Dataset, DataError> {
        let parts = text.split(spec.split);
        let tokenizer = match given {
            Some(tokenizer) => tokenizer,
            None => Tokenizer::make(&spec.tokenizer, roots, &text.name, &parts[0])?,
        };
        let tokens = |part: &blob::Part| -> Result<Split, DataError> {
            let tokens = tokenizer.tokens(&text.name, part, text.start_of(part))?;
            Ok(Split { tokens, bytes: Some(part.bytes().len() as u64), context: spec.context, target: None })
        };
        let splits = [tokens(&parts[0])?, tokens(&parts[1])?, tokens(&parts[2])?, Split::nothing(spec.context)];
        let [_, validation, _] = parts;
        Ok(Dataset {
            name: text.name.clone(),
            vocab: tokenizer.vocab(),
            tokenizer: Some(tokenizer),
            context: spec.context,
            input: INPUT.to_owned(),
            fingerprint: text.blob.fingerprint(),
            splits,
            validation_text: Some(validation),
        })
    }

    fn from_tokens(spec: &DataSpec, name: String, blob: &blob::Blob, width: Width, vocab: Option<u64>) -> Result<Dataset, DataError> {
        let all = Tokens::stored(blob.whole(), width);
        let found = all.largest().map_or(0, |(_, token)| u64::from(token) + 1);
        if let Some(vocab) = vocab
            && found > vocab
            && let Some((at, token)) = all.first_at_least(vocab)
        {
            return Err(DataError::OutsideVocabulary { name, token: u64::from(token), at, vocab });
        }
        let limit = i32::MAX as u64;
        if let Some((at, token)) = all.first_at_least(limit) {
            return Err(DataError::OutsideVocabulary { name, token: u64::from(token), at, vocab: limit });
        }
        let ends = ends(all.len() as u64, spec.split);
        let split = |start: u64, end: u64| Split {
            tokens: all.slice(start as usize, end as usize),
            bytes: None,
            context: spec.context,
            target: None,
        };
        Ok(Dataset {
            name,
            vocab: vocab.unwrap_or(found),
            tokenizer: None,
            context: spec.context,
            input: INPUT.to_owned(),
            fingerprint: blob.fingerprint(),
            splits: [split(0, ends[0]), split(ends[0], ends[1]), split(ends[1], ends[2]), Split::nothing(spec.context)],
            validation_text: None,
        })
    }
}

/// Where the three parts of `len` positions end.
fn ends(len: u64, split: [f64; 3]) -> [u64; 3] {
    let sum: f64 = split.iter().sum();
    let mut total = 0.0;
    split.map(|fraction| {
        total += fraction;
        // The last part takes everything where the fractions make up the whole.
        if total >= sum && sum >= 1.0 - 1e-9 { len } else { ((len as f64 * total) as u64).min(len) }
    })
}

fn check_split(split: [f64; 3]) -> Result<(), DataError> {
    let [train, validation, test] = split;
    let wrong = |why| Err(DataError::BadSplit { train, validation, test, why });
    if split.iter().any(|f| !f.is_finite() || *f < 0.0) {
        return wrong("a fraction is not a number from 0 to 1");
    }
    if train == 0.0 {
        return wrong("nothing is left to train on");
    }
    if split.iter().sum::<f64>() > 1.0 + 1e-9 {
        return wrong("the fractions sum to more than 1");
    }
    Ok(())
}
