//! `ogive generate`: a trained model continues a text.

use crate::args::Generate;
use crate::exit::Exit;
use crate::experiments::Asked;
use crate::{backends, checkpoints, load, output};
use ogive_graph::pipeline::Scans;
use ogive_lang::{Settings, elaborate, lower};
use ogive_train::generate::{Generator, Sampling, Way};
use std::io::Write;

pub(crate) fn run(args: &Generate) -> Result<(), Exit> {
    let (asked, tokenizer) = Asked::of_run(&args.run, &args.overrides)?;
    let Some(tokenizer) = tokenizer else {
        output::error("this run was trained on token numbers; there is no tokenizer to read a prompt with");
        return Err(Exit::Data);
    };
    let settings = Settings { set: asked.set.clone(), dims: [("vocab".to_owned(), tokenizer.vocab())].into(), training: false };
    let experiment = load::clean(elaborate::experiment(&asked.spec, &asked.name, &settings), &asked.spec.sources)?;
    let options = lower::Options { batch: Some(1), taps: false, ..lower::Options::default() };
    let lowered = lower::program(&experiment.program, &options);
    let from = checkpoints::find(&args.run, &args.checkpoint)?;
    let mut store = checkpoints::parameters(&from, &lowered.params)?;
    let root = experiment.program.root();
    let name = root.outputs.first().map_or("logits", |o| o.name.as_str());
    let input = root.inputs.first().map_or(ogive_train::data::INPUT, |i| i.name.as_str());
    let backend = backends::backend(&args.device);
    let fail = |e: ogive_train::generate::GenerateError| {
        output::error(e.to_string());
        Exit::Data
    };
    let mut generator =
        Generator::new(&lowered.graph, input, name, backend.as_ref(), &backends::options(&args.device, Scans::default())).map_err(fail)?;
    if args.window {
        generator.use_window();
    }
    output::detail(way(&generator));
    let prompt = tokenizer.encode(&args.prompt).map_err(|e| {
        output::error(e.to_string());
        Exit::Data
    })?;
    let sampling = Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    let mut text = prompt.clone();
    // A token may end within a character: what is printed is what the whole text decodes to, up to its last whole character.
    let mut shown = if output::json() { String::new() } else { tokenizer.decode(&prompt) };
    if !output::json() {
        print(&shown);
    }
    let tokens = generator.generate(&mut store, &prompt, args.tokens as u64, &sampling, &mut |token| {
        text.push(token);
        if !output::json() {
            let now = tokenizer.decode(&text);
            let whole = now.trim_end_matches('\u{fffd}');
            if whole.len() > shown.len() && whole.is_char_boundary(shown.len()) {
                print(&whole[shown.len()..]);
                shown = whole.to_owned();
            }
        }
        true
    });
    let tokens = tokens.map_err(fail)?;
    if output::json() {
        let value = serde_json::json!({ "prompt": args.prompt, "text": tokenizer.decode(&tokens), "tokens": tokens });
        output::result(value.to_string());
    } else {
        print("\n");
    }
    Ok(())
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// How tokens come about, in words.
fn way(generator: &Generator<'_>) -> String {
    match (generator.way(), &generator.obstacle) {
        (Way::Recurrent, _) => "position by position, from states of constant size".to_owned(),
        (Way::Tables, _) => "position by position, with tables of keys and values; beyond the context from the whole window".to_owned(),
        (Way::Window, Some(o)) => format!("each token from the whole window: line {} of the spec has {}", o.origin.line, o.what),
        (Way::Window, None) => "each token from the whole window".to_owned(),
    }
}
