//! resolve: files to a [`Spec`]: imports are followed, names between items are looked up.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codes::{experiment, name as code, syntax};
use crate::diag::{Diagnostic, Diagnostics};
use crate::parse;
use crate::source::{FileId, Sources, Span};
use crate::spec::{ItemId, Loader, Spec, library, read_library};
use crate::suggest;
use crate::syntax::{BlockKind, Experiment, ExprKind, File, Ident, Import, ImportFrom, Item};

/// Most files of one spec.
const MAX_FILES: usize = 256;
/// Most bytes of all files together.
const MAX_BYTES: usize = 4 << 20;

pub(crate) fn load(name: &str, text: String, loader: &dyn Loader, out: &mut Diagnostics) -> Spec {
    let mut sources = Sources::default();
    let files = read_library(&mut sources, out);
    let root = FileId(u32::try_from(files.len()).unwrap_or(u32::MAX));
    let mut reading = Reading { sources, files, paths: BTreeMap::new(), edges: Vec::new(), bytes: 0, loader };
    reading.file(name, text, out);
    // Files are appended while the list is walked: breadth first, each once.
    let mut at = root.0 as usize;
    while at < reading.files.len() {
        reading.imports(at, name, out);
        at += 1;
    }
    reading.cycles(root, out);
    let Reading { sources, files, edges, .. } = reading;
    let library = table(&files[..root.0 as usize], 0, out);
    let mut spec = Spec { sources, scopes: vec![BTreeMap::new(); files.len()], files, root, library };
    scopes(&mut spec, &edges, out);
    for index in root.0 as usize..spec.files.len() {
        let file = FileId(u32::try_from(index).unwrap_or(u32::MAX));
        for item in &spec.file(file).items {
            match item {
                Item::Experiment(experiment) => model_of(&spec, file, experiment, out),
                Item::Sweep(sweep) => known_experiment(&spec, file, &sweep.of, out),
                Item::Import(_) | Item::Const { .. } | Item::Block(_) => {}
            }
        }
    }
    spec
}

/// The path whose file's name is nearest to that of `path`: its folder and its ending say nothing.
fn nearest_file<'a>(path: &str, all: &'a [String]) -> Option<&'a str> {
    fn stem(path: &str) -> &str {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.strip_suffix(".arch").unwrap_or(name)
    }
    if let Some(same) = all.iter().find(|p| stem(p) == stem(path)) {
        return Some(same);
    }
    let near = suggest::nearest(stem(path), all.iter().map(|p| stem(p)))?;
    all.iter().map(String::as_str).find(|p| stem(p) == near)
}

/// An import that found its file.
struct Edge {
    from: FileId,
    to: FileId,
    import: Import,
}

struct Reading<'a> {
    sources: Sources,
    files: Vec<Arc<File>>,
    /// Files by their path from the spec's folder.
    paths: BTreeMap<String, FileId>,
    edges: Vec<Edge>,
    bytes: usize,
    loader: &'a dyn Loader,
}

impl Reading<'_> {
    fn file(&mut self, name: &str, text: String, out: &mut Diagnostics) -> FileId {
        self.bytes += text.len();
        let id = self.sources.add(name, text.as_str());
        let file = parse::parse(id, &text, out);
        self.files.push(Arc::new(file));
        id
    }

    /// Follows the imports of one file.
    fn imports(&mut self, at: usize, root: &str, out: &mut Diagnostics) {
        let from = FileId(u32::try_from(at).unwrap_or(u32::MAX));
        let file = Arc::clone(&self.files[at]);
        let importer = self.sources.get(from).name.to_string();
        if at == 0 || self.paths.is_empty() {
            self.paths.insert(base(root).to_owned(), from);
        }
        for item in &file.items {
            let Item::Import(import) = item else { continue };
            let to = match &import.from {
                ImportFrom::Std { name, .. } => library_file(name, out),
                ImportFrom::Path { path, span } => self.path(&importer, root, path, *span, out),
            };
            if let Some(to) = to {
                self.edges.push(Edge { from, to, import: import.clone() });
            }
        }
    }

    fn path(&mut self, importer: &str, root: &str, path: &str, span: Span, out: &mut Diagnostics) -> Option<FileId> {
        let Some(key) = within(root, importer, path) else {
            let message = format!("`{path}` lies outside the folder of the spec");
            out.push(
                Diagnostic::error(code::IMPORT_OUTSIDE, message, span, "leaves the folder")
                    .help("a spec reads files beside it and below: move the file there and import it by its relative path"),
            );
            return None;
        };
        if let Some(known) = self.paths.get(&key) {
            return Some(*known);
        }
        if self.paths.len() >= MAX_FILES || self.bytes >= MAX_BYTES {
            let message = format!("a spec has at most {MAX_FILES} files and {MAX_BYTES} bytes");
            out.push(Diagnostic::error(syntax::TOO_LARGE, message, span, "one file too many").help("import fewer files"));
            return None;
        }
        match self.loader.load(importer, path) {
            Ok((name, text)) => {
                let id = self.file(&name, text, out);
                self.paths.insert(key, id);
                Some(id)
            }
            Err(reason) => {
                let message = format!("cannot read `{path}`: {reason}");
                let own = importer.rsplit(['/', '\\']).next().unwrap_or(importer);
                let beside: Vec<String> = self.loader.near(importer, path).into_iter().filter(|n| n != own).collect();
                let help = nearest_file(path, &beside)
                    .map(|near| format!("did you mean `\"{near}\"`?"))
                    .or_else(|| suggest::help(path, "specs", beside.iter().map(String::as_str)));
                let help = help.unwrap_or_else(|| "give the path relative to the file that imports it".to_owned());
                out.push(Diagnostic::error(code::IMPORT_MISSING, message, span, "imported here").help(help));
                None
            }
        }
    }

    /// Reports each import that leads back to a file on the way to it.
    fn cycles(&self, root: FileId, out: &mut Diagnostics) {
        const NEW: u8 = 0;
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let mut marks = vec![NEW; self.files.len()];
        // Depth first without recursion: (file, next edge to look at).
        let mut path: Vec<(FileId, usize)> = vec![(root, 0)];
        marks[root.0 as usize] = OPEN;
        while let Some((file, next)) = path.last_mut() {
            let Some(step) = self.edges[*next..].iter().position(|e| e.from == *file) else {
                marks[file.0 as usize] = DONE;
                path.pop();
                continue;
            };
            let edge = &self.edges[*next + step];
            *next += step + 1;
            match marks[edge.to.0 as usize] {
                NEW => {
                    marks[edge.to.0 as usize] = OPEN;
                    path.push((edge.to, 0));
                }
                OPEN => {
                    let start = path.iter().position(|(f, _)| *f == edge.to).unwrap_or(0);
                    let mut names: Vec<&str> = path[start..].iter().map(|(f, _)| &*self.sources.get(*f).name).collect();
                    names.push(&self.sources.get(edge.to).name);
                    let message = format!("files import each other in a circle: {}", names.join(" -> "));
                    out.push(
                        Diagnostic::error(code::IMPORT_CYCLE, message, edge.import.span, "closes the circle")
                            .help("move what both need to a third file and import that one"),
                    );
                }
                _ => {}
            }
        }
    }
}

fn library_file(name: &Ident, out: &mut Diagnostics) -> Option<FileId> {
    let names = || library::FILES.iter().map(|(n, _)| *n);
    let found = names().position(|n| n == name.name);
    if found.is_none() {
        let message = format!("the standard library has no file `{}`", name.name);
        let mut diagnostic = Diagnostic::error(code::IMPORT_MISSING, message, name.span, "no such file");
        diagnostic.help = suggest::help(&name.name, "files", names());
        out.push(diagnostic);
    }
    found.and_then(|i| u32::try_from(i).ok()).map(FileId)
}

/// The path from the spec's folder that `path` means in `importer`; `None` where it leads out of the folder.
fn within(root: &str, importer: &str, path: &str) -> Option<String> {
    let folder = root.strip_suffix(base(root)).unwrap_or("");
    let below = importer.strip_prefix(folder).unwrap_or(importer);
    if path.starts_with(['/', '\\']) || path.contains([':', '\0']) {
        return None;
    }
    let mut parts: Vec<&str> = below.split(['/', '\\']).collect();
    parts.pop();
    for part in path.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    Some(parts.join("/"))
}

/// The last part of a path.
fn base(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The items of some files by name; those declared twice are reported.
fn table(files: &[Arc<File>], first: usize, out: &mut Diagnostics) -> BTreeMap<String, ItemId> {
    let mut table: BTreeMap<String, ItemId> = BTreeMap::new();
    let mut spans: BTreeMap<String, Span> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        let file_id = FileId(u32::try_from(first + at).unwrap_or(u32::MAX));
        for (index, item) in file.items.iter().enumerate() {
            let Some(name) = item.name() else { continue };
            match spans.get(&name.name) {
                Some(before) => out.push(duplicate(name, *before, "declared first here")),
                None => {
                    spans.insert(name.name.clone(), name.span);
                    table.insert(name.name.clone(), ItemId { file: file_id, index });
                }
            }
        }
    }
    table
}

fn duplicate(name: &Ident, before: Span, label: &str) -> Diagnostic {
    Diagnostic::error(code::DUPLICATE, format!("`{}` is declared twice", name.name), name.span, "declared again here")
        .label(before, label)
        .help("rename one of the two")
}

/// What each file sees: its own items and what it imports.
fn scopes(spec: &mut Spec, edges: &[Edge], out: &mut Diagnostics) {
    let own: Vec<BTreeMap<String, ItemId>> = (0..spec.files.len())
        .map(|at| {
            // The library is checked as one table.
            let mut ignored = Diagnostics::default();
            table(&spec.files[at..=at], at, if at < spec.root.0 as usize { &mut ignored } else { &mut *out })
        })
        .collect();
    let mut seen: Vec<BTreeMap<String, Span>> = vec![BTreeMap::new(); spec.files.len()];
    for (at, table) in own.iter().enumerate().skip(spec.root.0 as usize) {
        let name_span = |id: &ItemId| spec.item(*id).name().map_or_else(Span::default, |n| n.span);
        seen[at] = table.iter().map(|(name, id)| (name.clone(), name_span(id))).collect();
        spec.scopes[at] = table.clone();
    }
    for edge in edges {
        let source = &own[edge.to.0 as usize];
        let taken: Vec<(String, Span, ItemId)> = if edge.import.names.is_empty() {
            // Naming a whole file of the library documents a use; its items are visible anyway and may be shadowed.
            if spec.is_std(edge.to) {
                continue;
            }
            source.iter().map(|(name, id)| (name.clone(), edge.import.span, *id)).collect()
        } else {
            let find = |name: &Ident| match source.get(&name.name) {
                Some(id) => Some((name.name.clone(), name.span, *id)),
                None => {
                    if !spec.is_broken(&name.name) {
                        let file = &spec.sources.get(edge.to).name;
                        let message = format!("`{file}` declares no `{}`", name.name);
                        let mut diagnostic = Diagnostic::error(code::UNKNOWN_IMPORT, message, name.span, "not declared there");
                        diagnostic.help = suggest::help(&name.name, "items", source.keys().map(String::as_str));
                        out.push(diagnostic);
                    }
                    None
                }
            };
            edge.import.names.iter().filter_map(find).collect()
        };
        let at = edge.from.0 as usize;
        for (name, span, id) in taken {
            if spec.scopes[at].get(&name) == Some(&id) {
                continue;
            }
            if let Some(before) = seen[at].get(&name) {
                let ident = Ident { name, span };
                out.push(duplicate(&ident, *before, "also declared here"));
                continue;
            }
            seen[at].insert(name.clone(), span);
            spec.scopes[at].insert(name, id);
        }
    }
}

fn known_experiment(spec: &Spec, file: FileId, name: &Ident, out: &mut Diagnostics) {
    if spec.experiment(file, &name.name).is_some() || spec.is_broken(&name.name) {
        return;
    }
    let message = format!("there is no experiment `{}` to vary", name.name);
    let mut diagnostic = Diagnostic::error(code::UNKNOWN_EXPERIMENT, message, name.span, "no such experiment");
    diagnostic.help = suggest::help(&name.name, "experiments", spec.names(file, |i| matches!(i, Item::Experiment(_))));
    out.push(diagnostic);
}

/// The experiment's `model` names a model.
fn model_of(spec: &Spec, file: FileId, experiment: &Experiment, out: &mut Diagnostics) {
    let settings = || experiment.settings.iter().filter(|s| s.key.name == "model");
    if let (Some(first), Some(second)) = (settings().next(), settings().nth(1)) {
        let message = format!("`{}` has two models", experiment.name.name);
        out.push(
            Diagnostic::error(experiment::REPEATED_SETTING, message, second.key.span, "given again here")
                .label(first.key.span, "given here")
                .help("keep one of the two, or write two experiments"),
        );
    }
    let Some(value) = settings().next().and_then(|s| s.args.first()).map(|a| &a.value) else { return };
    let name = match &value.kind {
        ExprKind::Name(path) if path.len() == 1 => &path[0],
        ExprKind::Call(call) => &call.callee,
        _ => return,
    };
    match spec.block(file, &name.name) {
        Some((_, block)) if block.kind == BlockKind::Model => {}
        Some((_, block)) => {
            let what = if block.kind == BlockKind::Cell { "cell" } else { "block" };
            let message = format!("`{}` is a `{what}`, an experiment trains a `model`", name.name);
            let mut diagnostic = Diagnostic::error(code::WRONG_KIND, message, name.span, "not a model");
            if block.name.span.file == name.span.file {
                diagnostic = diagnostic.label(block.name.span, format!("declared as `{what}`"));
            }
            out.push(diagnostic.help(format!("declare it with `model {}`, or name a model that calls it", name.name)));
        }
        None if spec.is_broken(&name.name) => {}
        None => {
            let message = format!("there is no model `{}`", name.name);
            let mut diagnostic = Diagnostic::error(code::UNKNOWN_MODEL, message, name.span, "no such model");
            let models = spec.names(file, |i| matches!(i, Item::Block(b) if b.kind == BlockKind::Model));
            diagnostic.help = suggest::help(&name.name, "models", models);
            out.push(diagnostic);
        }
    }
}
