//! One file for each subcommand.

mod bench;
mod check;
mod check_gradients;
mod completions;
mod cost;
mod data;
mod equal;
mod eval;
mod explain;
mod fmt;
mod generate;
mod graph;
mod report;
mod resume;
mod run;
mod snap;
mod sweep;
mod train;

use crate::args::{Args, Command};
use crate::exit::Exit;

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Exit {
    let result = match &args.command {
        Command::Check(a) => check::run(a),
        Command::Fmt(a) => fmt::run(a),
        Command::Explain(a) => explain::run(a),
        Command::Graph(a) => graph::run(a),
        Command::Cost(a) => cost::run(a),
        Command::Run(a) => run::run(a),
        Command::Train(a) => train::run(a),
        Command::Resume(a) => resume::run(a),
        Command::Eval(a) => eval::run(a),
        Command::Generate(a) => generate::run(a),
        Command::Bench(a) => bench::run(a),
        Command::Report(a) => report::run(a),
        Command::Snap(a) => snap::run(a),
        Command::Data(a) => data::run(a),
        Command::Completions { shell } => completions::run(*shell),
    };
    result.err().unwrap_or(Exit::Ok)
}
