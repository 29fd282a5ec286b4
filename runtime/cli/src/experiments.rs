//! From an experiment in a spec to a problem that the trainer takes.

use crate::exit::Exit;
use crate::{load, output};
use ogive_lang::hir::Experiment;
use ogive_lang::hir::experiment::{Corpus, Tokenizer as TokenizerWord};
use ogive_lang::{Diagnostic, Diagnostics, FileId, Settings, Span, Spec, elaborate, lower};
use ogive_train::data::{DataSpec, Dataset, Roots, Source, Tokenizer, TokenizerSpec, Width};
use ogive_train::problem::Problem;
use ogive_train::run::folder::{self, StoredFiles};
use ogive_train::run::{DataLock, Lock, RunError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A spec, one of its experiments and how it was asked for.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) spec: Arc<Spec>,
    pub(crate) name: String,
    pub(crate) set: Vec<(String, String)>,
    pub(crate) roots: Roots,
}

/// Files of the spec itself, the main one first, as name and text.
pub(crate) fn files(spec: &Spec) -> Vec<(String, String)> {
    let own = spec.sources.files.iter().enumerate().filter(|(i, _)| !spec.is_std(ogive_lang::FileId(*i as u32)));
    own.map(|(_, s)| (s.name.to_string(), s.text.to_string())).collect()
}

/// Examples that pass together between two updates.
fn micro_batch(experiment: &Experiment) -> u64 {
    (experiment.budget.batch / experiment.optimizer.accumulate.max(1)).max(1)
}

impl Asked {
    fn settings(&self, training: bool, vocab: u64, batch: Option<u64>, context: Option<u64>) -> Settings {
        let dims = [("vocab", Some(vocab)), ("batch", batch), ("context", context)];
        let dims = dims.into_iter().filter_map(|(name, size)| Some((name.to_owned(), size?))).collect();
        Settings { set: self.set.clone(), dims, training }
    }

    /// The experiment with the vocabulary that its data has. A first look tells which data that is.
    pub(crate) fn load(&self, tokenizer: Option<Tokenizer>) -> Result<(Experiment, Dataset), Exit> {
        let first = load::clean(elaborate::experiment(&self.spec, &self.name, &self.settings(true, 256, None, None)), &self.spec.sources)?;
        let mut data = Dataset::load(&data_spec(&first), &self.roots, tokenizer).map_err(|e| failed(&RunError::Data(e)))?;
        let settings = self.settings(true, data.vocab, Some(micro_batch(&first)), None);
        let experiment = load::clean(elaborate::experiment(&self.spec, &self.name, &settings), &self.spec.sources)?;
        if let Some(port) = experiment.program.root().inputs.first() {
            data.input.clone_from(&port.name);
        }
        Ok((experiment, data))
    }

    /// The problem, ready for a trainer.
    pub(crate) fn problem(&self, experiment: &Experiment, data: Dataset) -> Problem {
        let asked = self.clone();
        let vocab = data.vocab;
        let evaluation = move |batch: u64, context: u64| {
            let (program, _) = elaborate::experiment(&asked.spec, &asked.name, &asked.settings(false, vocab, Some(batch), Some(context)));
            let program = program.ok_or("the experiment does not elaborate without training")?;
            Ok(lower::experiment(&program, &lower::Options { batch: Some(batch), ..lower::Options::default() }))
        };
        let options = lower::Options { batch: Some(micro_batch(experiment)), ..lower::Options::default() };
        Problem {
            name: experiment.name.clone(),
            training: lower::experiment(experiment, &options),
            evaluation: Box::new(evaluation),
            gradient: experiment.gradient,
            segment: experiment.segment,
            optimizer: experiment.optimizer.clone(),
            budget: experiment.budget,
            every: experiment.every.clone(),
            until: experiment.until.clone(),
            claims: experiment.claims.clone(),
            data,
        }
    }

    /// What is written down of a run.
    pub(crate) fn lock(&self, experiment: &Experiment, problem: &Problem) -> Lock {
        Lock {
            ogive: env!("CARGO_PKG_VERSION").to_owned(),
            experiment: self.name.clone(),
            files: Vec::new(),
            set: self.set.clone(),
            base: absolute(&self.roots.base),
            roots: self.roots.allowed.iter().map(|r| absolute(r)).collect(),
            settings: experiment.settings.iter().cloned().collect(),
            seed: experiment.budget.seed,
            graph: problem.graph_hash(),
            parameters: problem.parameters(),
            data: DataLock::of(&problem.data),
        }
    }

    /// What a run folder holds, with more `--set` values. The tokenizer is the stored one.
    pub(crate) fn of_run(run: &Path, overrides: &crate::args::Overrides) -> Result<(Asked, Option<Tokenizer>), Exit> {
        let lock = folder::read_lock(run).map_err(|e| failed(&e))?;
        let mut files = folder::read_spec(run, &lock).map_err(|e| failed(&e))?;
        let tokenizer = folder::read_tokenizer(run).map_err(|e| failed(&e))?;
        if files.is_empty() {
            output::error(format!("`{}` holds no spec", run.display()));
            return Err(Exit::Data);
        }
        let (name, text) = files.remove(0);
        let (spec, mut found) = Spec::load(&name, text, &StoredFiles(&files));
        if load::report(&mut found, &spec.sources) {
            return Err(Exit::Spec);
        }
        let mut set = lock.set;
        set.extend(load::settings(overrides, true)?.set);
        let mut allowed = lock.roots;
        allowed.extend(overrides.root.iter().cloned());
        let roots = Roots { base: lock.base, allowed };
        Ok((Asked { spec: Arc::new(spec), name: lock.experiment, set, roots }, tokenizer))
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn data_spec(experiment: &Experiment) -> DataSpec {
    let data = &experiment.data;
    let source = match &data.corpus {
        Corpus::Webster => Source::Webster,
        Corpus::Generated(strings) => Source::Generated(*strings),
        Corpus::Text(path) => Source::Text(path.into()),
        Corpus::Jsonl { path, field } => Source::Jsonl { path: path.into(), field: field.clone() },
        Corpus::Tokens { path, bytes } => {
            Source::Tokens { path: path.into(), width: if *bytes == 4 { Width::Four } else { Width::Two }, vocab: data.vocab }
        }
    };
    let tokenizer = match &data.tokenizer {
        TokenizerWord::Bytes => TokenizerSpec::Bytes,
        TokenizerWord::Chars => TokenizerSpec::Characters,
        TokenizerWord::File(path) => TokenizerSpec::File(path.into()),
    };
    DataSpec { source, tokenizer, context: data.context, split: data.split }
}

/// Prints why a run cannot go on; a number that is none is underlined in the spec.
pub(crate) fn failed_in(error: &RunError, spec: &Spec) -> Exit {
    if let RunError::NonFinite { place: Some(place), .. } = error
        && place.origin.line > 0
        && let Some(file) = spec.sources.files.iter().position(|f| f.name == place.origin.file)
    {
        let (start, end) = place.origin.span;
        let span = Span { file: FileId(u32::try_from(file).unwrap_or(0)), start, end };
        let mut diagnostic = Diagnostic::error(error.code(), error.to_string(), span, "comes from here");
        diagnostic.help = error.help().map(str::to_owned);
        let mut found = Diagnostics::default();
        found.push(diagnostic);
        load::report(&mut found, &spec.sources);
        return Exit::NonFinite;
    }
    failed(error)
}

/// Prints why a run cannot start or go on.
pub(crate) fn failed(error: &RunError) -> Exit {
    output::error(format!("{error} [{}]", error.code()));
    if let Some(help) = error.help() {
        output::help(help);
    }
    match error.exit_code() {
        2 => Exit::Usage,
        3 => Exit::Memory,
        4 => Exit::Data,
        5 => Exit::NonFinite,
        _ => Exit::Spec,
    }
}
