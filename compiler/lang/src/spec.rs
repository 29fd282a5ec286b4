//! A spec with everything that it imports, and the names that each of its files sees.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::diag::{Diagnostic, Diagnostics};
use crate::parse;
use crate::source::{FileId, Sources, Span};
use crate::syntax::{Block, Experiment, File, Ident, Item, Sweep};

/// The standard library, as embedded.
pub mod library {
    include!(concat!(env!("OUT_DIR"), "/std.rs"));
}

/// Gives the text of imported files.
pub trait Loader {
    /// The name and text of the file that `path` means in the file `from`; a reason in plain words where there is none.
    /// `path` stays within the folder of the spec as far as its text tells; links are the loader's to judge.
    fn load(&self, from: &str, path: &str) -> Result<(String, String), String>;

    /// Paths of the specs that `from` could import from the folder that `path` leads to, and from its own: what was meant may be among
    /// them.
    fn near(&self, from: &str, path: &str) -> Vec<String> {
        let _ = (from, path);
        Vec::new()
    }
}

/// [`Loader::near`] for files on disk: names of specs in the folder of `path`, seen from `base`, then in `base` itself.
pub fn specs_beside(base: &Path, path: &str) -> Vec<String> {
    /// Most files that are looked at.
    const MOST: usize = 1000;
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut all = Vec::new();
    for folder in [folder, Path::new("")] {
        let place = base.join(folder);
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { &place };
        let names = std::fs::read_dir(place).into_iter().flatten().take(MOST).filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|n| n.ends_with(".arch")).map(|n| folder.join(n).display().to_string()).collect();
        names.sort();
        names.retain(|n| !all.contains(n));
        all.append(&mut names);
    }
    all
}

/// For texts that stand alone: every import is refused.
#[derive(Clone, Copy, Debug)]
pub struct NoImports;

impl Loader for NoImports {
    fn load(&self, _from: &str, _path: &str) -> Result<(String, String), String> {
        Err("no files are imported here".to_owned())
    }
}

/// Where an item stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ItemId {
    /// Its file.
    pub file: FileId,
    /// Its position among the file's items.
    pub index: usize,
}

/// A file and what it imports, resolved.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The library's files first, then the root, then what it imports.
    pub sources: Sources,
    /// What was read of each of them, by [`FileId`].
    pub files: Vec<Arc<File>>,
    /// The file that was asked for.
    pub root: FileId,
    /// What each file sees of its own and by import, by [`FileId`].
    pub(crate) scopes: Vec<BTreeMap<String, ItemId>>,
    /// What all files see unless they shadow it.
    pub(crate) library: BTreeMap<String, ItemId>,
}

impl Spec {
    /// Reads a spec and its imports. Diagnostics are of the files and of the names between them; bodies are elaborate's to judge.
    pub fn load(name: &str, text: String, loader: &dyn Loader) -> (Spec, Diagnostics) {
        let mut out = Diagnostics::default();
        let spec = crate::resolve::load(name, text, loader, &mut out);
        (spec, out)
    }

    /// A spec that is given as bytes: what is not UTF-8 text is a diagnostic.
    pub fn load_bytes(name: &str, bytes: Vec<u8>, loader: &dyn Loader) -> (Spec, Diagnostics) {
        match String::from_utf8(bytes) {
            Ok(text) => Self::load(name, text, loader),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let (mut spec, mut out) = Self::load(name, String::new(), loader);
                let bytes = error.into_bytes();
                let shown = String::from_utf8_lossy(&bytes[..valid]).into_owned();
                let start = u32::try_from(valid).unwrap_or(u32::MAX);
                spec.sources.files[spec.root.0 as usize].text = shown.into();
                out.push(parse::not_text(Span { file: spec.root, start, end: start }, bytes.get(valid).copied()));
                (spec, out)
            }
        }
    }

    /// The tree of a file.
    pub fn file(&self, id: FileId) -> &File {
        &self.files[id.0 as usize]
    }

    /// Whether a file belongs to the standard library.
    pub fn is_std(&self, file: FileId) -> bool {
        file < self.root
    }

    /// An item.
    pub fn item(&self, id: ItemId) -> &Item {
        &self.file(id.file).items[id.index]
    }

    /// The item that a name means in a file: its own or imported, else the library's.
    pub fn find(&self, from: FileId, name: &str) -> Option<ItemId> {
        self.scopes.get(from.0 as usize).and_then(|scope| scope.get(name)).or_else(|| self.library.get(name)).copied()
    }

    /// The block, cell or model that a name means in a file.
    pub fn block(&self, from: FileId, name: &str) -> Option<(ItemId, &Block)> {
        let id = self.find(from, name)?;
        match self.item(id) {
            Item::Block(block) => Some((id, block)),
            _ => None,
        }
    }

    /// The experiment that a name means in a file.
    pub fn experiment(&self, from: FileId, name: &str) -> Option<(ItemId, &Experiment)> {
        let id = self.find(from, name)?;
        match self.item(id) {
            Item::Experiment(experiment) => Some((id, experiment)),
            _ => None,
        }
    }

    /// All items that a file sees, by name; what is shadowed is left out.
    pub fn visible(&self, from: FileId) -> impl Iterator<Item = (&str, ItemId)> {
        let own = self.scopes.get(from.0 as usize);
        let library = self.library.iter().filter(move |(name, _)| own.is_none_or(|scope| !scope.contains_key(*name)));
        own.into_iter().flatten().chain(library).map(|(name, id)| (name.as_str(), *id))
    }

    /// Names that a file sees and of which `keep` holds, for "did you mean".
    pub fn names(&self, from: FileId, keep: impl Fn(&Item) -> bool) -> Vec<&str> {
        self.visible(from).filter(|(_, id)| keep(self.item(*id))).map(|(name, _)| name).collect()
    }

    /// Whether a name belongs to an item that could not be read: it is reported, its uses need not be.
    pub fn is_broken(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.broken.iter().any(|b| b.name == name))
    }

    /// The sweeps of the root.
    pub fn sweeps(&self) -> impl Iterator<Item = &Sweep> {
        self.file(self.root).items.iter().filter_map(|item| match item {
            Item::Sweep(sweep) => Some(sweep),
            _ => None,
        })
    }
}

impl Item {
    /// The name by which other items know it; imports and sweeps have none.
    pub fn name(&self) -> Option<&Ident> {
        match self {
            Item::Const { name, .. } => Some(name),
            Item::Block(block) => Some(&block.name),
            Item::Experiment(experiment) => Some(&experiment.name),
            Item::Import(_) | Item::Sweep(_) => None,
        }
    }
}

/// The library, read once per process.
pub(crate) fn read_library(sources: &mut Sources, out: &mut Diagnostics) -> Vec<Arc<File>> {
    static READ: OnceLock<(Vec<Arc<File>>, Vec<Diagnostic>)> = OnceLock::new();
    for (name, text) in library::FILES {
        sources.add(format!("std/{name}.arch"), *text);
    }
    let (files, faults) = READ.get_or_init(|| {
        let mut faults = Diagnostics::default();
        let files = library::FILES.iter().zip(0..).map(|((_, text), id)| Arc::new(parse::parse(FileId(id), text, &mut faults))).collect();
        (files, faults.list)
    });
    faults.iter().cloned().for_each(|fault| out.push(fault));
    files.clone()
}
