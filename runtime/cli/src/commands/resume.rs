//! `ogive resume`: a run goes on from its last whole checkpoint.

use super::train::{end, interrupt};
use crate::args::Resume;
use crate::backends;
use crate::exit::Exit;
use crate::experiments::{Asked, failed, failed_in};
use crate::output;
use crate::watch::Watch;
use ogive_train::run::{RunFolder, RunOptions, Trainer, checkpoint};

pub(crate) fn run(args: &Resume) -> Result<(), Exit> {
    let (asked, tokenizer) = Asked::of_run(&args.run, &args.overrides)?;
    let (experiment, data) = asked.load(tokenizer)?;
    let text = data.tokenizer.is_some();
    let problem = asked.problem(&experiment, data);
    let folder = RunFolder::open(&args.run).map_err(|e| failed(&e))?;
    let (from, damaged) = checkpoint::latest(&folder.checkpoints()).map_err(|e| failed(&e.into()))?;
    for error in damaged {
        output::note(format!("warning: {error}"));
    }
    output::note(format!("from {}", from.display()));
    let backend = backends::backend(&args.device);
    let options =
        RunOptions { exec: backends::options(&args.device, args.scans.asked()), evaluate_at_most: None, scans: args.scans.asked() };
    let mut trainer = Trainer::resume(problem, backend.as_ref(), options, folder, &from).map_err(|e| failed(&e))?;
    let finished = trainer.run(&mut Watch::new(), interrupt()).map_err(|e| failed_in(&e, &asked.spec))?;
    end(&finished, &args.run, text)
}
