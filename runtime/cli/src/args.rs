//! Arguments.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use ogive::stages::Stage;
use ogive_graph::parallel::Way;
use ogive_graph::segment::Keep;
use ogive_lang::hir::experiment::Gradient;
use std::path::PathBuf;

/// Say what a network is in a `.arch` file; ogive checks it, costs it, compiles it and trains it.
#[derive(Parser, Debug)]
#[command(name = "ogive", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 diagnostics in the spec (or a snapshot that does not hold), 2 usage, \
3 will not fit into memory, 4 bad data or checkpoint, 5 a loss that is not finite, 7 done, but a claim of the spec does not hold, 70 a fault in ogive, 130 interrupted with a checkpoint written.\n\n\
Start with: ogive train specs/tour/04_language_model.arch")]
pub(crate) struct Args {
    /// Less on stderr; twice for errors only.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) quiet: u8,
    /// More on stderr: passes with their times, kernels.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Results as JSON on stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Check specs: names, shapes, experiments. Prints every diagnostic.
    Check(Check),
    /// Format specs. There are no options of style.
    Fmt(Fmt),
    /// Explain a diagnostic code: a spec that fails, and its repair.
    Explain(Explain),
    /// Show a spec at any stage of compilation, or draw its fused graph.
    Graph(Graph),
    /// Parameters, operations and memory of models, side by side, without running them.
    Cost(Cost),
    /// Evaluate a block, cell or model on given tensors, with gradients if cotangents are given.
    Run(Run),
    /// Train an experiment.
    Train(Train),
    /// Go on with a training run from its last checkpoint.
    Resume(Resume),
    /// Write a page from the finished points of sweeps: a table and a plot of each.
    Report(Report),
    /// Evaluate a run's checkpoint.
    Eval(Eval),
    /// Continue a text with a trained model.
    Generate(Generate),
    /// Time the steps of an experiment, or of built-in peers' cases.
    Bench(Bench),
    /// Snapshot stages of specs and compare with the last accepted ones.
    Snap(Snap),
    /// Describe the data of an experiment: sizes, splits, a sample.
    Data(Data),
    /// Completions for a shell.
    Completions { shell: clap_complete::Shell },
}

/// Options that change what a spec says.
#[derive(ClapArgs, Debug, Clone, Default)]
pub(crate) struct Overrides {
    /// Set a dim, constant or experiment key, such as model=512 or optimizer.lr=1e-3. Repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Folder that imports and data files may be read from besides the spec's own. Repeatable.
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Vec<PathBuf>,
}

/// Options of execution.
#[derive(ClapArgs, Debug, Clone, Default)]
pub(crate) struct Device {
    /// Where to compute.
    #[arg(long, value_enum, default_value_t = BackendName::Cpu)]
    pub(crate) backend: BackendName,
    /// Worker threads; results do not depend on it. Default: one per core.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Vector instructions: avx512, avx2 or portable. Default: the best that the CPU has.
    #[arg(long, value_name = "NAME")]
    pub(crate) isa: Option<String>,
}

/// How scans are computed.
#[derive(ClapArgs, Debug, Clone, Copy, Default)]
pub(crate) struct Scans {
    /// How scans whose states are linear are computed: auto, step, chunk, chunk(STEPS) or associative. All give the same up to rounding;
    /// what does not admit the way asked for goes step by step.
    #[arg(long, value_name = "WAY", default_value_t = Way::Auto)]
    scan: Way,
    /// What scans keep of their states for the backward pass: auto, save (all), segments or segments(STEPS), or invert; what lies within a
    /// segment is computed again, and where steps add what no state decides, or products of vectors (which are kept), states are computed backwards from the last.
    #[arg(long, value_name = "WHAT", default_value_t = Keep::Auto)]
    keep: Keep,
}

impl Scans {
    /// What was asked for.
    pub(crate) fn asked(self) -> ogive_graph::pipeline::Scans {
        ogive_graph::pipeline::Scans { way: self.scan, keep: self.keep }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum BackendName {
    /// Compiled for this CPU.
    #[default]
    Cpu,
    /// The reference interpreter.
    Interp,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Float {
    F32,
    F64,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Check {
    /// Spec files, or folders to search for them.
    #[arg(required = true)]
    pub(crate) specs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// Warnings count as errors.
    #[arg(long)]
    pub(crate) deny_warnings: bool,
    /// Compare gradients on random data: backward through time, forward in time, and finite differences.
    #[arg(long)]
    pub(crate) gradients: bool,
    /// With --gradients: the block, model or experiment. Default: the only experiment, else the last model, else the last block.
    #[arg(long, value_name = "NAME", requires = "gradients")]
    pub(crate) of: Option<String>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Fmt {
    /// Spec files or folders; `-` for standard input to standard output.
    #[arg(required = true)]
    pub(crate) specs: Vec<PathBuf>,
    /// Change nothing; exit 1 with a diff where a file is not formatted.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Explain {
    /// A code such as arch::shape::not_subset, or its last part. All codes are listed without it.
    pub(crate) code: Option<String>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Dot,
    Svg,
    Html,
    Json,
}

/// Which block, model or experiment of a file.
#[derive(ClapArgs, Debug, Clone, Default)]
pub(crate) struct Which {
    /// Name of a block, model or experiment. Default: the file's only experiment, else its last model, else its last block.
    #[arg(long = "of", value_name = "NAME")]
    pub(crate) of: Option<String>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Graph {
    /// A spec file.
    pub(crate) spec: PathBuf,
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    #[command(flatten)]
    pub(crate) scans: Scans,
    /// Print this stage as text.
    #[arg(long, value_enum, conflicts_with = "format")]
    pub(crate) emit: Option<Stage>,
    /// Draw the fused graph.
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Draw or print the training step (gradients and optimiser) rather than the forward pass.
    #[arg(long)]
    pub(crate) training: bool,
    /// Write to a file instead of stdout.
    #[arg(short, long)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Cost {
    /// Spec files; every model and experiment of each is costed.
    #[arg(required = true)]
    pub(crate) specs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    #[command(flatten)]
    pub(crate) scans: Scans,
    /// What each block has, does and keeps for the backward pass: the tree of instances, each with those that it calls.
    #[arg(long)]
    pub(crate) tree: bool,
    /// Count the blocks that papers count as they do, beside what is computed.
    #[arg(long, value_enum, value_name = "NAME", conflicts_with = "matched")]
    pub(crate) convention: Option<Convention>,
    /// Make the second of two specs equal to the first in this, by the size that --vary names. FILE:NAME picks a model of a file.
    #[arg(long = "match", value_enum, requires = "vary", value_name = "WHAT")]
    pub(crate) matched: Option<Matched>,
    /// The dim or constant of the second spec to solve for.
    #[arg(long, value_name = "KEY", requires = "matched")]
    pub(crate) vary: Option<String>,
}

/// A way of counting other than what is computed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Convention {
    /// One sequence through one layer of attention or one feedforward, as Csordás, Piękos, Irie and Schmidhuber (2024) count: masked pairs
    /// too, routers once for all heads, keys and values of the memory not at all.
    SwitchheadPaper,
}

/// What two specs are made equal in.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matched {
    /// Number of parameters.
    Params,
    /// Multiply-accumulates of the forward pass for one token.
    Macs,
    /// Peak bytes: of a training step for experiments, of a forward pass of one example for models.
    Memory,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Run {
    /// A spec file.
    pub(crate) spec: PathBuf,
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    #[command(flatten)]
    pub(crate) scans: Scans,
    #[command(flatten)]
    pub(crate) device: Device,
    /// Print the names and dims of the tensors that are expected, and stop.
    #[arg(long)]
    pub(crate) list: bool,
    /// Parameters, by name, dims in declared order.
    #[arg(long, value_name = "FILE")]
    pub(crate) params: Option<PathBuf>,
    /// Inputs, by name. One more dim in front of the declared ones is a batch. States of scans may be among them, `prev.NAME`, and
    /// `data.reset`, true where they begin anew.
    #[arg(long, value_name = "FILE")]
    pub(crate) inputs: Option<PathBuf>,
    /// What an earlier run wrote with --out: states go on from `last.NAME` in it. Those among the inputs come first.
    #[arg(long, value_name = "FILE")]
    pub(crate) states: Option<PathBuf>,
    /// The dim along which states go on. Default: the only one that is scanned; where none is, the only one that is shifted along.
    #[arg(long, value_name = "DIM")]
    pub(crate) along: Option<String>,
    /// Cotangents of outputs, by name: asks for gradients of sum(output * cotangent).
    #[arg(long, value_name = "FILE")]
    pub(crate) cotangents: Option<PathBuf>,
    /// How gradients go through time: bptt, rtrl, rtrl(full), rtrl(local).
    #[arg(long, value_name = "RULE", default_value_t = Gradient::default())]
    pub(crate) gradient: Gradient,
    /// With `--gradient rtrl`: also write what states have of parameters, `sensitivity.NAME` and `sensitivity.NAME.steps`.
    #[arg(long)]
    pub(crate) sensitivities: bool,
    /// Where outputs, gradients (`grad.NAME`) and the states after the last position (`last.NAME`) are written.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Element type of the computation.
    #[arg(long, value_enum, default_value_t = Float::F32)]
    pub(crate) dtype: Float,
    /// Random draws (dropout) happen only with this.
    #[arg(long)]
    pub(crate) training: bool,
    /// Seed of random draws.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Train {
    /// A spec file with an experiment.
    pub(crate) spec: PathBuf,
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    #[command(flatten)]
    pub(crate) scans: Scans,
    #[command(flatten)]
    pub(crate) device: Device,
    /// Folder of the run. Default: runs/EXPERIMENT, with a number where that exists.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Run every point of the experiment's sweep and print a table. With --out, points that were finished there are kept.
    #[arg(long)]
    pub(crate) sweep: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Report {
    /// Folders of sweeps, in the order of the page.
    #[arg(required = true)]
    pub(crate) sweeps: Vec<PathBuf>,
    /// The page; plots are written beside it. Default: the page on stdout, without plots.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// A text that the page begins with, in Markdown. Default: a heading.
    #[arg(long, value_name = "FILE")]
    pub(crate) preface: Option<PathBuf>,
    /// Metrics to show, such as validation.bits_per_byte; the first is plotted. Repeatable. Default: what was declared, else bits per
    /// byte, else the loss, on validation.
    #[arg(long, value_name = "PART.NAME")]
    pub(crate) metric: Vec<String>,
    /// Show sweeps that set this key to several numbers as curves along it: a column for each number, a line for each setting of the
    /// other keys. Repeatable; the first that a sweep varies counts.
    #[arg(long, value_name = "KEY")]
    pub(crate) against: Vec<String>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Resume {
    /// Folder of a run.
    pub(crate) run: PathBuf,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    #[command(flatten)]
    pub(crate) scans: Scans,
    #[command(flatten)]
    pub(crate) device: Device,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Eval {
    /// Folder of a run.
    pub(crate) run: PathBuf,
    /// training, validation or test.
    #[arg(long, default_value = "validation")]
    pub(crate) split: String,
    /// latest, best, or a step.
    #[arg(long, default_value = "latest")]
    pub(crate) checkpoint: String,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    #[command(flatten)]
    pub(crate) scans: Scans,
    #[command(flatten)]
    pub(crate) device: Device,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Generate {
    /// Folder of a run.
    pub(crate) run: PathBuf,
    /// Text to continue.
    #[arg(long, default_value = "\n")]
    pub(crate) prompt: String,
    /// Tokens to add.
    #[arg(long, default_value_t = 200)]
    pub(crate) tokens: usize,
    /// 0 takes the likeliest token each time.
    #[arg(long, default_value_t = 0.8)]
    pub(crate) temperature: f64,
    /// Only the N likeliest tokens.
    #[arg(long, value_name = "N")]
    pub(crate) top_k: Option<usize>,
    /// Only the likeliest tokens that together have this probability.
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f64>,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Compute each token from the whole context window, without what earlier positions left behind.
    #[arg(long)]
    pub(crate) window: bool,
    /// latest, best, or a step.
    #[arg(long, default_value = "latest")]
    pub(crate) checkpoint: String,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    #[command(flatten)]
    pub(crate) device: Device,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Bench {
    /// A spec file: its experiment's training step, or with --forward a block's or model's forward pass, is timed on random input.
    pub(crate) spec: PathBuf,
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    #[command(flatten)]
    pub(crate) scans: Scans,
    #[command(flatten)]
    pub(crate) device: Device,
    /// Time the forward pass only.
    #[arg(long)]
    pub(crate) forward: bool,
    /// Timed runs.
    #[arg(long, default_value_t = 10)]
    pub(crate) runs: usize,
    /// Untimed runs before them.
    #[arg(long, default_value_t = 2)]
    pub(crate) warm: usize,
    /// Time every kernel of the timed runs and print those that take longest, by instance and line of the spec.
    #[arg(long)]
    pub(crate) profile: bool,
    /// A peer to run alternately: a shell command that prints a line of JSON with `ms` (the median of its runs).
    #[arg(long, value_name = "COMMAND")]
    pub(crate) peer: Option<String>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Snap {
    /// Spec files or folders.
    #[arg(required = true)]
    pub(crate) specs: Vec<PathBuf>,
    /// Stages to snapshot.
    #[arg(long = "stage", value_enum, default_values_t = [Stage::Elaborate, Stage::Fuse])]
    pub(crate) stages: Vec<Stage>,
    /// Folder of the snapshots. Default: `snapshots` beside each spec.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Take the present state as right.
    #[arg(long)]
    pub(crate) accept: bool,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct Data {
    /// A spec file with an experiment.
    pub(crate) spec: PathBuf,
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// Print this many contexts of the training split as text.
    #[arg(long, default_value_t = 1)]
    pub(crate) samples: usize,
}
