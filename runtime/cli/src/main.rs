//! `ogive`: the command line. All printing of the project happens in this crate.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is this crate's work")]

mod args;
mod backends;
mod checkpoints;
mod commands;
mod exit;
mod experiments;
mod load;
mod output;
mod report;
mod watch;
mod which;

use clap::Parser;
use exit::Exit;

fn main() -> std::process::ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = error.print();
            return code.into();
        }
    };
    output::start(&args);
    let exit = std::panic::catch_unwind(|| commands::run(&args)).unwrap_or(Exit::Fault);
    exit.into()
}
