//! Bytes in memory or mapped from a file, shared by the parts that are cut from them.

use super::error::DataError;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Files above this size are mapped, smaller ones are read.
const MAP_ABOVE: u64 = 16 << 20;
/// Content above this size is fingerprinted in blocks.
const HASH_WHOLE: usize = 64 << 20;
const BLOCK: usize = 1 << 20;

#[derive(Debug)]
enum Store {
    Memory(Vec<u8>),
    Mapped(memmap2::Mmap),
}

/// Immutable bytes, cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Blob(Arc<Store>);

/// A range of a [`Blob`].
#[derive(Clone, Debug)]
pub(super) struct Part {
    blob: Blob,
    range: Range<usize>,
}

impl Blob {
    pub(super) fn memory(bytes: Vec<u8>) -> Blob {
        Blob(Arc::new(Store::Memory(bytes)))
    }

    /// The content of a file, mapped where it is large.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub(super) fn open(path: &Path) -> Result<Blob, DataError> {
        let unreadable = |why| DataError::Unreadable { path: path.to_owned(), why };
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        if length <= MAP_ABOVE {
            return Ok(Blob::memory(std::fs::read(path).map_err(unreadable)?));
        }
        #[allow(unsafe_code, reason = "a data set larger than memory can only be mapped")]
        // SAFETY: the map is read-only and private to this process. A file that somebody rewrites during a run changes the tokens read,
        // which are checked against the vocabulary by the executor; one that is cut short ends the process by a signal.
        let map = unsafe { memmap2::MmapOptions::new().map(&file) }.map_err(unreadable)?;
        Ok(Blob(Arc::new(Store::Mapped(map))))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &*self.0 {
            Store::Memory(bytes) => bytes,
            Store::Mapped(map) => map,
        }
    }

    pub(super) fn whole(&self) -> Part {
        self.part(0..self.bytes().len())
    }

    pub(super) fn part(&self, range: Range<usize>) -> Part {
        Part { blob: self.clone(), range }
    }

    /// SHA-256 over length and content, or over 64 blocks spread evenly where the content is large.
    pub(super) fn fingerprint(&self) -> String {
        let bytes = self.bytes();
        let mut hash = Sha256::new();
        hash.update((bytes.len() as u64).to_le_bytes());
        if bytes.len() <= HASH_WHOLE {
            hash.update(bytes);
        } else {
            let last = bytes.len() - BLOCK;
            for i in 0..64 {
                let at = last / 63 * i;
                hash.update(&bytes[at..at + BLOCK]);
            }
        }
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl Part {
    pub(super) fn bytes(&self) -> &[u8] {
        self.blob.bytes().get(self.range.clone()).unwrap_or(&[])
    }

    pub(super) fn start(&self) -> usize {
        self.range.start
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> Part {
        let at = |i: usize| self.range.start.saturating_add(i).min(self.range.end);
        Part { blob: self.blob.clone(), range: at(start)..at(end).max(at(start)) }
    }
}
