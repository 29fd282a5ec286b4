//! Tensors of files, against what is expected.

use crate::exit::Exit;
use crate::output;
use ogive_graph::DType;
use ogive_lang::lower::states::{LAST, PREV};
use ogive_lang::suggest::nearest;
use ogive_runtime::files::Reader;
use ogive_runtime::{Dim, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name, dims and element type of a tensor.
pub(super) type Wanted = Vec<(String, Vec<(String, u64)>, DType)>;

/// Tensors by name.
pub(super) struct Given {
    kind: &'static str,
    path: PathBuf,
    readers: Vec<Reader>,
    /// The reader of what an earlier run left.
    earlier: Option<usize>,
    /// For each tensor, which reader has it, and its name there.
    known: BTreeMap<String, (usize, String)>,
}

impl Given {
    pub(super) fn open(kind: &'static str, path: Option<&Path>) -> Result<Given, Exit> {
        let mut given = Given {
            kind,
            path: path.map(Path::to_path_buf).unwrap_or_default(),
            readers: Vec::new(),
            earlier: None,
            known: BTreeMap::new(),
        };
        if let Some(path) = path {
            given.read(path, |name| Some(name.to_owned()))?;
        }
        Ok(given)
    }

    /// Adds the states that an earlier run left, `last.NAME` or the outputs of a cell, as the states that this one begins with; those that
    /// are there already stay.
    pub(super) fn after(&mut self, path: &Path, cell: bool) -> Result<(), Exit> {
        let state = |name: &str| name.strip_prefix(LAST).or(cell.then_some(name)).map(|n| format!("{PREV}{n}"));
        let before = self.known.len();
        self.earlier = Some(self.readers.len());
        self.read(path, state)?;
        if self.known.len() == before && !self.names(PREV).any(|_| true) {
            output::error(format!("`{}` has no states (`{LAST}NAME`): give what `ogive run --out` wrote", path.display()));
            return Err(Exit::Data);
        }
        Ok(())
    }

    fn read(&mut self, path: &Path, name: impl Fn(&str) -> Option<String>) -> Result<(), Exit> {
        let reader = Reader::open(path).map_err(|e| {
            output::error(e.to_string());
            Exit::Data
        })?;
        for stored in reader.entries.keys() {
            if let Some(name) = name(stored) {
                self.known.entry(name).or_insert_with(|| (self.readers.len(), stored.clone()));
            }
        }
        self.readers.push(reader);
        Ok(())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    pub(super) fn shapes(&self) -> BTreeMap<String, Vec<u64>> {
        let sizes = |(reader, stored): &(usize, String)| {
            self.readers[*reader].entries.get(stored).map_or_else(Vec::new, |e| e.dims.iter().map(|d| d.size as u64).collect())
        };
        self.known.iter().map(|(name, at)| (name.clone(), sizes(at))).collect()
    }

    /// The names that begin so.
    pub(super) fn names<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a str> {
        self.known.keys().map(String::as_str).filter(move |n| n.starts_with(start))
    }

    /// The wanted tensors, named as wanted; every one that is missing, left over or of other dims is reported.
    pub(super) fn take(&mut self, wanted: Wanted, float: DType) -> Result<BTreeMap<String, Tensor>, Exit> {
        let mut tensors = BTreeMap::new();
        let mut failed = false;
        let place = if self.path.as_os_str().is_empty() { "what was given".to_owned() } else { format!("`{}`", self.path.display()) };
        for (name, dims, dtype) in &wanted {
            let shown = format!("[{}]", dims.iter().map(|(n, s)| format!("{n}: {s}")).collect::<Vec<_>>().join(", "));
            let Some((reader, stored)) = self.known.get(name) else {
                let near = nearest(name, self.known.keys().map(String::as_str)).map_or_else(String::new, |n| format!("; it has `{n}`"));
                output::error(format!("{} `{name}` {shown} is missing in {place}{near}", self.kind));
                failed = true;
                continue;
            };
            let tensor = match self.readers[*reader].tensor(stored, Some(if dtype.is_float() { float } else { *dtype })) {
                Ok(tensor) => tensor,
                Err(error) => {
                    output::error(error.to_string());
                    failed = true;
                    continue;
                }
            };
            let sizes: Vec<u64> = tensor.dims.iter().map(|d| d.size as u64).collect();
            if sizes != dims.iter().map(|d| d.1).collect::<Vec<_>>() {
                output::error(format!("{} `{name}` is {shown} in the spec and has dims {sizes:?} in {place}", self.kind));
                failed = true;
                continue;
            }
            let dims = dims.iter().map(|(n, s)| Dim { name: n.clone(), size: usize::try_from(*s).unwrap_or(usize::MAX) });
            tensors.insert(name.clone(), Tensor { dims: dims.collect(), data: tensor.data });
        }
        let own = self.known.iter().filter(|(_, at)| Some(at.0) != self.earlier).map(|(name, _)| name);
        for name in own.filter(|n| !wanted.iter().any(|(w, ..)| w == *n)) {
            let near = nearest(name, wanted.iter().map(|w| w.0.as_str()));
            let hint = near.map_or_else(|| "`--list` prints what is expected".to_owned(), |n| format!("did you mean `{n}`?"));
            output::error(format!("{place} has `{name}`, which is no {} of the spec; {hint}", self.kind));
            failed = true;
        }
        if failed { Err(Exit::Data) } else { Ok(tensors) }
    }
}
