//! The run folder: what a run was, what it measured, where it stands.
//!
//! ```text
//! spec/          copies of the spec's files
//! lock.json      resolved settings, graph hash, version, seed, data
//! tokenizer.json
//! metrics.jsonl  one object per line
//! tensorboard/   event files
//! checkpoints/   step-N/...
//! run.lock       held by the process that trains here
//! ```

use super::RunError;
use super::small::small;
use crate::data::{Dataset, PARTS, Part, Tokenizer};
use ogive_lang::Loader;
use ogive_runtime::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};

/// What a run is, resolved: `lock.json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Lock {
    /// Version of ogive that made it.
    pub ogive: String,
    /// The experiment.
    pub experiment: String,
    /// Files of the spec, the main one first.
    pub files: Vec<SpecFile>,
    /// `--set key=value`, as given.
    pub set: Vec<(String, String)>,
    /// Folder that data paths are relative to.
    pub base: PathBuf,
    /// Folders that data may lie in.
    pub roots: Vec<PathBuf>,
    /// Every setting with its value.
    pub settings: BTreeMap<String, String>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// SHA-256 of the training graph's text.
    pub graph: String,
    /// Number of parameters.
    pub parameters: u64,
    /// The data.
    pub data: DataLock,
}

/// A file of the spec.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpecFile {
    /// Its name when the run was started.
    pub name: String,
    /// Where its copy is, relative to the run folder.
    pub copy: String,
}

/// The data of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DataLock {
    /// `webster` or the path.
    pub source: String,
    /// Fingerprint of its content.
    pub fingerprint: String,
    /// Number of tokens there are.
    pub vocab: u64,
    /// Tokens of each part.
    pub tokens: BTreeMap<String, u64>,
}

impl DataLock {
    /// That of a loaded data set.
    pub fn of(data: &Dataset) -> DataLock {
        let tokens = PARTS.into_iter().map(|p| (p.name().to_owned(), data.split(p).tokens.len() as u64));
        let tokens: BTreeMap<String, u64> = tokens.filter(|(name, count)| *count > 0 || name != Part::Longer.name()).collect();
        DataLock { source: data.name.clone(), fingerprint: data.fingerprint.clone(), vocab: data.vocab, tokens }
    }
}

/// An open run folder. No other process trains in it while this lives.
#[derive(Debug)]
pub struct RunFolder {
    /// Where it is.
    pub path: PathBuf,
    _held: File,
}

impl RunFolder {
    /// A new run folder; `path` may exist if it holds no run.
    ///
    /// # Errors
    /// Where there is a run already, another process holds it, or it cannot be written.
    pub fn create(path: &Path) -> Result<RunFolder, RunError> {
        if path.join(LOCK).exists() {
            return Err(RunError::Exists(path.to_owned()));
        }
        fs::create_dir_all(path).map_err(RunError::write(path))?;
        Self::hold(path)
    }

    /// An existing run folder.
    ///
    /// # Errors
    /// Where there is no run, or another process holds it.
    pub fn open(path: &Path) -> Result<RunFolder, RunError> {
        if !path.join(LOCK).is_file() {
            return Err(RunError::NoRun(path.to_owned()));
        }
        Self::hold(path)
    }

    fn hold(path: &Path) -> Result<RunFolder, RunError> {
        let file = path.join("run.lock");
        let held = File::options().create(true).truncate(false).write(true).open(&file).map_err(RunError::write(&file))?;
        match held.try_lock() {
            Ok(()) => Ok(RunFolder { path: path.to_owned(), _held: held }),
            Err(fs::TryLockError::WouldBlock) => Err(RunError::Busy(path.to_owned())),
            Err(fs::TryLockError::Error(why)) => Err(RunError::write(&file)(why)),
        }
    }

    /// Writes what the run is. `files` are names and texts of the spec, the main one first; `lock.files` is filled in.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn describe(&self, mut lock: Lock, files: &[(String, String)], tokenizer: Option<&Tokenizer>) -> Result<(), RunError> {
        let spec = self.path.join("spec");
        fs::create_dir_all(&spec).map_err(RunError::write(&spec))?;
        lock.files.clear();
        for (name, text) in files {
            let last = Path::new(name).file_name().map_or_else(|| "spec.arch".into(), |n| n.to_string_lossy().into_owned());
            let taken = |copy: &String| lock.files.iter().any(|f| f.copy == format!("spec/{copy}"));
            let copy =
                std::iter::once(last.clone()).chain((2..).map(|n| format!("{n}-{last}"))).find(|c| !taken(c)).unwrap_or(last.clone());
            self.put(&spec.join(&copy), text.as_bytes())?;
            lock.files.push(SpecFile { name: name.clone(), copy: format!("spec/{copy}") });
        }
        if let Some(tokenizer) = tokenizer {
            self.put(&self.path.join("tokenizer.json"), &tokenizer.store())?;
        }
        // Last: a folder without a lock is no run.
        self.put(&self.path.join(LOCK), &serde_json::to_vec_pretty(&lock).unwrap_or_default())
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), RunError> {
        Ok(files::replace(path, |out| out.write_all(bytes))?)
    }

    /// Folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Folder of the event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// The metrics.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }
}

const LOCK: &str = "lock.json";

/// Reads what a run is; for reading alone the folder need not be held.
///
/// # Errors
/// Where there is no run, or its lock file cannot be understood.
pub fn read_lock(path: &Path) -> Result<Lock, RunError> {
    let file = path.join(LOCK);
    let text = small(&file).map_err(|why| match why.kind() {
        std::io::ErrorKind::NotFound => RunError::NoRun(path.to_owned()),
        _ => RunError::Read { path: file.clone(), why },
    })?;
    serde_json::from_slice(&text).map_err(|why| RunError::BadLock { path: file, why: why.to_string() })
}

/// Names and texts of a run's spec, the main file first.
///
/// # Errors
/// Where a copy cannot be read.
pub fn read_spec(path: &Path, lock: &Lock) -> Result<Vec<(String, String)>, RunError> {
    let read = |file: &SpecFile| {
        let copy = path.join(&file.copy);
        let own = Path::new(&file.copy).components().all(|c| matches!(c, Component::Normal(_)));
        let text = if own { small(&copy) } else { Err(std::io::Error::other("it lies outside the run folder")) };
        let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other));
        text.map(|text| (file.name.clone(), text)).map_err(|why| RunError::Read { path: copy, why })
    };
    lock.files.iter().map(read).collect()
}

/// Gives imports of a stored spec: files are known by the names they had when the run was started.
pub struct StoredFiles<'a>(pub &'a [(String, String)]);

impl Loader for StoredFiles<'_> {
    fn load(&self, from: &str, path: &str) -> Result<(String, String), String> {
        let wanted = tidy(&Path::new(from).parent().unwrap_or(Path::new("")).join(path));
        let found = self.0.iter().find(|(name, _)| tidy(Path::new(name)) == wanted);
        found.cloned().ok_or_else(|| "the run folder has no copy of it".to_owned())
    }
}

/// A path without `.` and, as far as its text tells, without `..`.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// The tokenizer of a run; `None` for token files.
///
/// # Errors
/// Where it cannot be read.
pub fn read_tokenizer(path: &Path) -> Result<Option<Tokenizer>, RunError> {
    let file = path.join("tokenizer.json");
    match small(&file) {
        Ok(json) => Ok(Some(Tokenizer::parse(&file.display().to_string(), json)?)),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(RunError::Read { path: file, why }),
    }
}
