//! What a person sees of a run: a progress bar on a terminal, a line now and then elsewhere.

use crate::output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ogive_train::data::Part;
use ogive_train::run::{Evaluation, Event, Observer, StepReport};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Draws events.
pub(crate) struct Watch {
    bar: ProgressBar,
    terminal: bool,
    memory: u64,
    last: Option<Instant>,
    smooth: Option<f64>,
}

impl Watch {
    pub(crate) fn new() -> Watch {
        let terminal = std::io::stderr().is_terminal() && output::level() >= 0;
        let bar = ProgressBar::hidden();
        if terminal {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}  {elapsed} elapsed, {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        Watch { bar, terminal, memory: 0, last: None, smooth: None }
    }

    fn line(&self, text: String) {
        if self.terminal { self.bar.suspend(|| output::note(text)) } else { output::note(text) }
    }

    fn step(&mut self, report: &StepReport, steps: u64) {
        let smooth = self.smooth.map_or(report.loss, |s| 0.95 * s + 0.05 * report.loss);
        self.smooth = Some(smooth);
        let speed = speed(report.tokens_per_second);
        let text = format!("loss {smooth:.4}  lr {:.2e}  {speed}  {}", report.lr, output::bytes(self.memory));
        if self.terminal {
            self.bar.set_position(report.step);
            self.bar.set_message(text);
        } else if report.step == steps || self.last.is_none_or(|l| l.elapsed() > Duration::from_secs(10)) {
            self.last = Some(Instant::now());
            output::note(format!("step {}/{steps}  {text}  {:.0} s", report.step, report.seconds));
        }
    }
}

fn speed(tokens: f64) -> String {
    if tokens >= 1e5 { format!("{:.0}k tokens/s", tokens / 1e3) } else { format!("{tokens:.0} tokens/s") }
}

/// `validation: loss 1.6, ...`.
pub(crate) fn measured(part: Part, result: &Evaluation) -> String {
    let values: Vec<String> = result.values.iter().map(|(name, v)| format!("{name} {v:.4}")).collect();
    format!("{}: {}", part.name(), values.join(", "))
}

impl Observer for Watch {
    fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::Started { experiment, parameters, step, steps, memory } => {
                self.memory = *memory;
                self.bar.set_length(*steps);
                self.bar.set_position(*step);
                let from = if *step > 0 { format!(" from step {step}") } else { String::new() };
                self.line(format!(
                    "{experiment}: {} parameters, {steps} steps{from}, {} of memory",
                    output::thousands(*parameters),
                    output::bytes(*memory)
                ));
            }
            Event::Warning(text) => self.line(format!("warning: {text}")),
            Event::Step { report, steps } => self.step(report, *steps),
            Event::Evaluated { step, part, result, best } => {
                let best = if *best { "  (best so far)" } else { "" };
                self.line(format!("step {step}  {}{best}", measured(*part, result)));
            }
            Event::Saved { path, .. } => {
                if output::level() >= 1 {
                    self.line(format!("wrote {}", path.display()));
                }
            }
            Event::Reached { step, seconds } => self.line(format!("reached after {step} steps and {seconds:.1} s")),
            Event::Claim(outcome) => {
                let number = |v: Option<f64>| v.map_or_else(|| "not measured".to_owned(), |v| format!("{v:.4}"));
                let word = if outcome.holds { "holds" } else { "does not hold" };
                self.line(format!("claim {word}: {}  ({} against {})", outcome.text, number(outcome.left), number(outcome.right)));
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
