//! Checkpoints: `step-N/{model.safetensors, optimizer.safetensors, state.json, manifest.json}`.
//!
//! Everything is written into a hidden folder beside, the manifest last, and the folder is renamed once. A folder without a manifest
//! that names its files with their true sizes is no checkpoint, so a process may be killed at any point.

use super::small::{ordinary, small};
use crate::optimizer::AVERAGES;
use ogive_lang::codes;
use ogive_runtime::files::{self, FileError, Reader};
use ogive_runtime::{Dim, Tensor, ports};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Parameters.
pub const MODEL: &str = "model.safetensors";
/// Optimiser state, moving averages included.
pub const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";
const HIDDEN: &str = ".writing-";

/// Where a run stands, besides its tensors.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct State {
    /// The experiment.
    pub experiment: String,
    /// Steps taken. Data position and random counters follow from it and the seed.
    pub step: u64,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Seconds spent training.
    pub seconds: f64,
    /// Length of `metrics.jsonl` at this step.
    pub metrics: u64,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Whether what the run goes on until was reached.
    #[serde(default)]
    pub reached: bool,
    /// Steps in a row, up to this one, that were left out because their loss or gradient is not finite.
    #[serde(default)]
    pub skipped: u64,
    /// SHA-256 of the training graph's text.
    pub graph: String,
    /// Fingerprint of the data.
    pub data: String,
}

/// The best evaluation so far.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Best {
    /// Its step.
    pub step: u64,
    /// Its validation loss.
    pub loss: f64,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    step: u64,
    files: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    sha256: String,
}

/// Why a checkpoint cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system says no while writing.
    #[error("the checkpoint of step {step} cannot be written: {why}; earlier checkpoints are intact")]
    Write { step: u64, why: String },
    /// The system says no while reading.
    #[error("cannot read `{}`: {why}", .path.display())]
    Unreadable { path: PathBuf, why: std::io::Error },
    /// No checkpoint in a run folder.
    #[error("`{}` holds no whole checkpoint", .0.display())]
    None(PathBuf),
    /// A folder that lacks something or holds what its manifest does not say.
    #[error("`{}` is not a whole checkpoint: {why}", .path.display())]
    Damaged { path: PathBuf, why: String },
    /// A folder that is not named by its step.
    #[error("`{}` holds the checkpoint of step {step}", .path.display())]
    Renamed { path: PathBuf, step: u64 },
    /// Tensors of another model.
    #[error("`{}` belongs to another model: {}", .path.display(), .differences.join("; "))]
    Foreign { path: PathBuf, differences: Vec<String> },
    /// A tensor file that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl CheckpointError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            CheckpointError::Write { .. } => codes::checkpoint::WRITE,
            CheckpointError::Unreadable { .. } => codes::checkpoint::UNREADABLE,
            CheckpointError::None(_) => codes::checkpoint::NONE,
            CheckpointError::Damaged { .. } | CheckpointError::File(_) => codes::checkpoint::DAMAGED,
            CheckpointError::Renamed { .. } => codes::checkpoint::RENAMED,
            CheckpointError::Foreign { .. } => codes::checkpoint::FOREIGN,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            CheckpointError::Write { .. } => "make room and see that the folder may be written; then `ogive resume FOLDER`",
            CheckpointError::Unreadable { .. } => "see that the file is there and may be read",
            CheckpointError::None(_) => "train anew into another folder with `--out`; `every N { checkpoint }` writes one every N steps",
            CheckpointError::Damaged { .. } | CheckpointError::File(_) => "use an earlier one: `--checkpoint STEP`, or delete this one",
            CheckpointError::Renamed { .. } => "give the folder its name back",
            CheckpointError::Foreign { .. } => "leave out the `--set` that changes the model, or name another run",
        })
    }
}

/// Tensors by name, borrowed.
pub type Tensors<'a> = Vec<(&'a str, &'a Tensor)>;

/// Writes the checkpoint of `state.step` into `folder`. One of the same step that is there is replaced.
///
/// # Errors
/// `Write`; what was written is removed again and earlier checkpoints are untouched.
pub fn write(folder: &Path, model: Tensors<'_>, optimizer: Tensors<'_>, state: &State) -> Result<PathBuf, CheckpointError> {
    let step = state.step;
    let hidden = folder.join(format!("{HIDDEN}{step}-{}", std::process::id()));
    let placed = folder.join(format!("step-{step}"));
    let written = fill(&hidden, model, optimizer, state).and_then(|()| place(folder, &hidden, &placed).map_err(|e| e.to_string()));
    written.map(|()| placed).map_err(|why| {
        // The first error is the one to report.
        let _ = fs::remove_dir_all(&hidden);
        CheckpointError::Write { step, why }
    })
}

fn fill(folder: &Path, model: Tensors<'_>, optimizer: Tensors<'_>, state: &State) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|e| text(&e))?;
    }
    fs::create_dir_all(folder).map_err(|e| format!("`{}`: {e}", folder.display()))?;
    let notes = BTreeMap::from([("step".to_owned(), state.step.to_string()), ("experiment".to_owned(), state.experiment.clone())]);
    files::write(&folder.join(MODEL), model, &notes).map_err(|e| text(&e))?;
    files::write(&folder.join(OPTIMIZER), optimizer, &notes).map_err(|e| text(&e))?;
    let json = |path: &str, value: Result<Vec<u8>, serde_json::Error>| {
        let bytes = value.map_err(|e| e.to_string())?;
        files::replace(&folder.join(path), |out| out.write_all(&bytes)).map_err(|e| e.to_string())
    };
    json(STATE, serde_json::to_vec_pretty(state))?;
    let mut manifest = Manifest { step: state.step, files: BTreeMap::new() };
    for name in [MODEL, OPTIMIZER, STATE] {
        let (bytes, sha256) = hash(&folder.join(name)).map_err(|e| text(&e))?;
        manifest.files.insert(name.into(), Entry { bytes, sha256 });
    }
    json(MANIFEST, serde_json::to_vec_pretty(&manifest))
}

fn place(folder: &Path, hidden: &Path, placed: &Path) -> std::io::Result<()> {
    let old = hidden.with_extension("old");
    if placed.exists() {
        fs::rename(placed, &old)?;
    }
    fs::rename(hidden, placed)?;
    files::sync_folder(folder)?;
    if old.exists() { fs::remove_dir_all(old) } else { Ok(()) }
}

fn hash(path: &Path) -> std::io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut piece, mut bytes) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((bytes, hash.finalize().iter().map(|b| format!("{b:02x}")).collect())),
            n => {
                hash.update(&piece[..n]);
                bytes += n as u64;
            }
        }
    }
}

/// Steps and folders of the checkpoints whose manifests name their files with their true sizes, in order of steps.
pub fn list(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter_map(|e| Some((e.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?, e.path())));
    let mut found: Vec<(u64, PathBuf)> = named.filter(|(step, path)| manifest(path).is_ok_and(|m| m.step == *step)).collect();
    found.sort();
    found
}

/// The checkpoint to go on from: the latest whole one. Damaged ones are skipped and reported.
///
/// # Errors
/// Where there is none.
pub fn latest(folder: &Path) -> Result<(PathBuf, Vec<CheckpointError>), CheckpointError> {
    let mut skipped = Vec::new();
    for (_, path) in list(folder).into_iter().rev() {
        match verify(&path) {
            Ok(_) => return Ok((path, skipped)),
            Err(why) => skipped.push(why),
        }
    }
    Err(skipped.pop().unwrap_or_else(|| CheckpointError::None(folder.to_owned())))
}

/// Checks names, sizes and hashes of a checkpoint's files and gives its state.
///
/// # Errors
/// `Damaged`, `Renamed`, `Unreadable`.
pub fn verify(path: &Path) -> Result<State, CheckpointError> {
    let manifest = manifest(path)?;
    let damaged = |why: String| CheckpointError::Damaged { path: path.to_owned(), why };
    for (name, entry) in &manifest.files {
        let file = path.join(name);
        let (_, sha256) = ordinary(&file).and_then(|()| hash(&file)).map_err(|why| CheckpointError::Unreadable { path: file, why })?;
        if sha256 != entry.sha256 {
            return Err(damaged(format!("the content of `{name}` is not what the manifest says")));
        }
    }
    let text = small(&path.join(STATE)).map_err(|why| CheckpointError::Unreadable { path: path.join(STATE), why })?;
    let state: State = serde_json::from_slice(&text).map_err(|e| damaged(format!("`{STATE}`: {e}")))?;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let renamed = name.strip_prefix("step-").is_some_and(|n| n != state.step.to_string());
    if renamed || manifest.step != state.step {
        Err(CheckpointError::Renamed { path: path.to_owned(), step: state.step })
    } else {
        Ok(state)
    }
}

fn manifest(path: &Path) -> Result<Manifest, CheckpointError> {
    let damaged = |why: String| CheckpointError::Damaged { path: path.to_owned(), why };
    let text = small(&path.join(MANIFEST)).map_err(|why| match why.kind() {
        std::io::ErrorKind::NotFound => damaged(format!("it has no `{MANIFEST}`")),
        _ => CheckpointError::Unreadable { path: path.join(MANIFEST), why },
    })?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| damaged(format!("`{MANIFEST}`: {e}")))?;
    for name in [MODEL, OPTIMIZER, STATE] {
        if !manifest.files.contains_key(name) {
            return Err(damaged(format!("its manifest does not name `{name}`")));
        }
    }
    for (name, entry) in &manifest.files {
        if Path::new(name).components().count() != 1 || name.starts_with('.') {
            return Err(damaged(format!("its manifest names `{name}`")));
        }
        match fs::metadata(path.join(name)) {
            Err(_) => return Err(damaged(format!("`{name}` is missing"))),
            Ok(m) if m.len() != entry.bytes => {
                return Err(damaged(format!("`{name}` has {} bytes; the manifest says {}", m.len(), entry.bytes)));
            }
            Ok(_) => {}
        }
    }
    Ok(manifest)
}

/// Removes all but the latest `keep` checkpoints and that of step `best`, and what interrupted writing has left.
pub fn prune(folder: &Path, keep: u64, best: Option<u64>) {
    let found = list(folder);
    let old = found.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
    for (step, path) in &found[..old] {
        if Some(*step) != best {
            // A checkpoint too many does no harm.
            let _ = fs::remove_dir_all(path);
        }
    }
    sweep(folder);
}

/// Removes what interrupted writing has left.
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(HIDDEN) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Reads the tensors of a file that must be exactly those of `expected`, by name and dims.
///
/// # Errors
/// `Foreign` with what differs; those of reading.
pub fn read(file: &Path, expected: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    let mut reader = Reader::open(file)?;
    let differences = differences(&reader, expected);
    if !differences.is_empty() {
        return Err(CheckpointError::Foreign { path: file.to_owned(), differences });
    }
    let mut tensors = BTreeMap::new();
    for (name, like) in expected {
        let mut tensor = reader.tensor(name, Some(like.dtype()))?;
        tensor.dims = like.dims.clone();
        tensors.insert(name.clone(), tensor);
    }
    Ok(tensors)
}

/// The parameters that a run evaluates with: their moving averages where the checkpoint has them, else the parameters themselves.
/// `expected` gives their names and dims.
///
/// # Errors
/// Those of [`verify`] and [`read`].
pub fn weights(checkpoint: &Path, expected: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    verify(checkpoint)?;
    let mut tensors = read(&checkpoint.join(MODEL), expected)?;
    let mut optimizer = Reader::open(&checkpoint.join(OPTIMIZER))?;
    for (name, tensor) in &mut tensors {
        let average = format!("{AVERAGES}{name}");
        if optimizer.entries.contains_key(&average) {
            tensor.data = optimizer.tensor(&average, Some(tensor.dtype()))?.data;
        }
    }
    Ok(tensors)
}

/// At most six differences, in words.
fn differences(reader: &Reader, expected: &BTreeMap<String, Tensor>) -> Vec<String> {
    let same = |a: &[Dim], b: &[Dim]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.size == b.size && (a.name == b.name || a.name.is_empty() || b.name.is_empty()))
    };
    let mut all = Vec::new();
    for (name, tensor) in expected {
        match reader.entries.get(name) {
            None => all.push(format!("it has no `{name}` {}", ports::show(&tensor.dims))),
            Some(entry) if !same(&entry.dims, &tensor.dims) => {
                all.push(format!("its `{name}` is {}, the model's is {}", ports::show(&entry.dims), ports::show(&tensor.dims)));
            }
            Some(_) => {}
        }
    }
    let extra = reader.entries.iter().filter(|(name, _)| !expected.contains_key(*name));
    all.extend(extra.map(|(name, entry)| format!("it has `{name}` {}, which the model has not", ports::show(&entry.dims))));
    if all.len() > 6 {
        let rest = all.len() - 5;
        all.truncate(5);
        all.push(format!("and {rest} more differences"));
    }
    all
}
