//! Reading of files that are never large and may be anything: a link to a device, a pipe, a folder.

use std::fs::{self, File};
use std::io::{Error, Read, Result};
use std::path::Path;

/// Most bytes of a small file: the tokenizers of large vocabularies have some tens of MiB.
const MOST: u64 = 64 << 20;

/// Whether a path leads to a file with a size: pipes and devices may never end.
///
/// # Errors
/// Where it does not.
pub(super) fn ordinary(path: &Path) -> Result<()> {
    if fs::metadata(path)?.is_file() { Ok(()) } else { Err(Error::other("it is no ordinary file")) }
}

/// The content of an ordinary file of at most 64 MiB.
///
/// # Errors
/// Those of the system; other files.
pub(super) fn small(path: &Path) -> Result<Vec<u8>> {
    ordinary(path)?;
    let file = File::open(path)?;
    if file.metadata()?.len() > MOST {
        return Err(Error::other(format!("it is larger than {MOST} bytes")));
    }
    let mut content = Vec::new();
    file.take(MOST).read_to_end(&mut content)?;
    Ok(content)
}
