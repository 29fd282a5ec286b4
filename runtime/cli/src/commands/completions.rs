//! `ogive completions SHELL`.

use crate::args::Args;
use crate::exit::Exit;
use clap::CommandFactory;

pub(crate) fn run(shell: clap_complete::Shell) -> Result<(), Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "ogive", &mut text);
    crate::output::result(String::from_utf8_lossy(&text));
    Ok(())
}
