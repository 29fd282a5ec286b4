//! Experiments: a program, what is measured on it, and how it is trained.

pub use super::generated::{Generated, Task};
use super::{InstanceId, Program};
use crate::source::Span;
use ogive_graph::autodiff::rtrl::{Learning, Rtrl};
use ogive_graph::pipeline::{self, FORWARD_IN_TIME, Failure, Scans};
use ogive_graph::stream::{Obstacle, Segmented, segments};
use ogive_graph::truncate::truncate;
use ogive_graph::unroll::unroll;
use ogive_graph::{AxisId, Graph};
use std::fmt;

/// All that a run needs.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Its name.
    pub name: String,
    /// `///` lines.
    pub doc: Vec<String>,
    /// Name of the model.
    pub model: String,
    /// The model. Instances that only the objective calls come last, with parent 0 and no parameters.
    pub program: Program,
    /// The dim of examples.
    pub batch: AxisId,
    /// Where the examples come from.
    pub data: Data,
    /// Loss and metrics.
    pub objective: Objective,
    /// How gradients go through time.
    pub gradient: Gradient,
    /// Where the data are read as streams, whose states go on from update to update: positions between two updates.
    pub segment: Option<u64>,
    /// How weights change.
    pub optimizer: Optimizer,
    /// How long.
    pub budget: Budget,
    /// What happens every so many steps.
    pub every: Vec<Every>,
    /// What must hold at an evaluation, all of it, for the run to end there.
    pub until: Vec<Claim>,
    /// What must hold at the end.
    pub claims: Vec<Claim>,
    /// Every setting with its value, for the lock file: dims and constants of the model, `optimizer.lr`, ...
    pub settings: Vec<(String, String)>,
}

/// What is computed from what the model gives.
#[derive(Clone, PartialEq, Debug)]
pub struct Objective {
    /// Its equations, as an instance of the program that no body calls: output 0 is the loss, the others are the metrics by name.
    /// Dims that an output still has are averaged over.
    pub instance: InstanceId,
    /// What each input of the instance stands for.
    pub sources: Vec<Source>,
}

/// A value of the model that the objective reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Output `i` of the model.
    Output(usize),
    /// Input `i` of the model.
    Input(usize),
    /// Input `i` of the model, one position later: `next(tokens)`, bound by the name `next.tokens`.
    Next(usize),
    /// A value that the data gives beside the model's input: `target` or `counted`, bound by the name `data.NAME`.
    Given(Label),
    /// Every tap of that name, in the order in which calls come to them.
    Tap {
        /// The name.
        name: String,
        /// The dims of each occurrence, in corresponding order.
        axes: Vec<Vec<AxisId>>,
        /// Where there are several, the dim `member` along which they are stacked.
        instance: Option<AxisId>,
    },
}

/// What data of labelled strings give beside the model's input, each `[batch, seq]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Label {
    /// The class at each position.
    Target,
    /// Whether the position belongs to the string; false where it is padded.
    Counted,
}

impl Label {
    /// The name in the language.
    pub fn name(self) -> &'static str {
        match self {
            Label::Target => "target",
            Label::Counted => "counted",
        }
    }
}

/// Where examples come from.
#[derive(Clone, PartialEq, Debug)]
pub struct Data {
    /// The source.
    pub corpus: Corpus,
    /// How text becomes tokens.
    pub tokenizer: Tokenizer,
    /// Positions of one example: the model's `seq`, but for training on streams.
    pub context: u64,
    /// Whether texts are read in order, each example going on where the one before it ended.
    pub stream: bool,
    /// Fractions for training, validation and test.
    pub split: [f64; 3],
    /// Number of tokens, where the spec says so or the tokenizer fixes it.
    pub vocab: Option<u64>,
    /// Where.
    pub span: Span,
}

/// A source of examples.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Corpus {
    /// The dictionary that comes with ogive.
    Webster,
    /// A UTF-8 file.
    Text(String),
    /// A file with one JSON object a line, and the field to read.
    Jsonl {
        /// The file.
        path: String,
        /// The field that holds the text.
        field: String,
    },
    /// A file of token numbers, little-endian.
    Tokens {
        /// The file.
        path: String,
        /// Bytes of one number: 2 or 4.
        bytes: u8,
    },
    /// Strings of a formal language, with a class at every position.
    Generated(Generated),
}

/// How text becomes tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tokenizer {
    /// 256 tokens.
    Bytes,
    /// One token for each character that the training text has.
    Chars,
    /// A Hugging Face `tokenizer.json`.
    File(String),
}

/// How gradients go through time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gradient {
    /// Backpropagation through time, cut every so many steps where that is given.
    Bptt {
        /// Steps of a segment.
        truncate: Option<u64>,
    },
    /// Real-time recurrent learning.
    Rtrl(Rtrl),
}

impl Default for Gradient {
    fn default() -> Self {
        Gradient::Bptt { truncate: None }
    }
}

impl Gradient {
    /// Rules that have a word of their own.
    pub const NAMED: [Gradient; 5] = {
        let rtrl = Rtrl { full: false, local: false, snap: false, expose: false, carry: false };
        let (full, local, snap) = (Rtrl { full: true, ..rtrl }, Rtrl { local: true, ..rtrl }, Rtrl { snap: true, ..rtrl });
        [Gradient::Bptt { truncate: None }, Gradient::Rtrl(rtrl), Gradient::Rtrl(full), Gradient::Rtrl(local), Gradient::Rtrl(snap)]
    };
    /// Their words, for `--set` and sweeps.
    pub const WORDS: [&str; 5] = ["bptt", "rtrl", "rtrl_full", "rtrl_local", "rtrl_snap"];

    /// The rule for scans.
    pub fn learning(self) -> Learning {
        match self {
            Gradient::Bptt { .. } => Learning::Bptt,
            Gradient::Rtrl(rtrl) => Learning::Rtrl(rtrl),
        }
    }

    /// The rule for scans, of which those of a stream go on from kept states.
    pub fn learning_of(self, stream: bool) -> Learning {
        match self.learning() {
            Learning::Rtrl(rule) => Learning::Rtrl(Rtrl { carry: stream, ..rule }),
            Learning::Bptt => Learning::Bptt,
        }
    }

    /// A lowered graph that takes the next segment, along `positions`, of each of its streams, `examples` in number.
    ///
    /// # Errors
    /// Where positions depend on each other in another way than by scans forward.
    pub fn segments(self, graph: &Graph, examples: AxisId, positions: AxisId) -> Result<Segmented, Obstacle> {
        match self {
            Gradient::Bptt { .. } => segments(graph, examples, positions),
            Gradient::Rtrl(_) => segments(&unroll(graph, positions), examples, positions),
        }
    }

    /// A graph made ready to be differentiated: what prepares a lowered graph, and the cuts of a truncation. Scans are computed for many
    /// steps at once as `scans` says, unless they are cut or learn forward in time.
    ///
    /// # Errors
    /// A fault of ogive.
    pub fn prepare(self, graph: &Graph, scans: Scans, check: bool) -> Result<Graph, Box<Failure>> {
        match self {
            Gradient::Bptt { truncate: None } => pipeline::prepare(graph, scans, check),
            Gradient::Bptt { truncate: Some(steps) } => Ok(truncate(&pipeline::prepare(graph, Scans::PLAIN, check)?, steps)),
            Gradient::Rtrl(_) => Ok(pipeline::run(graph, FORWARD_IN_TIME, check)?.0),
        }
    }
}

/// As in the language.
impl fmt::Display for Gradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gradient::Bptt { truncate: None } => f.write_str("bptt"),
            Gradient::Bptt { truncate: Some(steps) } => write!(f, "bptt(truncate: {steps})"),
            Gradient::Rtrl(rule) => {
                let words = [(rule.full, "full"), (rule.local, "local"), (rule.snap, "snap: 1")];
                let words: Vec<&str> = words.iter().filter(|w| w.0).map(|w| w.1).collect();
                if words.is_empty() { f.write_str("rtrl") } else { write!(f, "rtrl({})", words.join(", ")) }
            }
        }
    }
}

/// As in the language, without a truncation.
impl std::str::FromStr for Gradient {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || format!("`{text}` is none of bptt, rtrl, rtrl(full), rtrl(local), rtrl(snap: 1), with commas between");
        let plain: String = text.split_whitespace().collect();
        if plain == "bptt" {
            return Ok(Gradient::default());
        }
        let mut rule = Rtrl::default();
        if plain == "rtrl" {
            return Ok(Gradient::Rtrl(rule));
        }
        let inner = plain.strip_prefix("rtrl(").and_then(|rest| rest.strip_suffix(')')).ok_or_else(known)?;
        for word in inner.split(',') {
            match word {
                "full" => rule.full = true,
                "local" => rule.local = true,
                "snap:1" => rule.snap = true,
                _ => return Err(known()),
            }
        }
        if rule.full && rule.snap {
            return Err("`full` carries all, `snap: 1` a part of it: one of the two".into());
        }
        Ok(Gradient::Rtrl(rule))
    }
}

/// An optimiser with its settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Optimizer {
    /// Which.
    pub kind: OptimizerKind,
    /// Learning rate over time.
    pub lr: Schedule,
    /// Decay of the first and second moments (Adam).
    pub betas: [f64; 2],
    /// Added to the root of the second moment (Adam).
    pub eps: f64,
    /// Decay of the velocity (SGD); 0 for none.
    pub momentum: f64,
    /// Weight decay: decoupled for AdamW, added to the gradient otherwise.
    pub weight_decay: f64,
    /// Patterns (`*` stands for anything) of the parameters that decay; empty for all with at least two dims of their own.
    pub decay: Vec<String>,
    /// Patterns of the parameters that never decay.
    pub no_decay: Vec<String>,
    /// Largest norm of the whole gradient.
    pub clip: Option<f64>,
    /// Number of micro-batches that one step sums over.
    pub accumulate: u64,
    /// Decay of the moving average of the weights.
    pub ema: Option<f64>,
    /// Most steps in a row that are left out where their loss or gradient is not finite; one more ends the run.
    pub skip: u64,
}

/// Kinds of optimisers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OptimizerKind {
    /// Gradient descent with momentum.
    Sgd,
    /// Adam; weight decay is part of the gradient.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
}

/// A learning rate over time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Schedule {
    /// Its form after warm-up.
    pub kind: ScheduleKind,
    /// The largest rate.
    pub rate: f64,
    /// Steps over which the rate rises from 0.
    pub warmup: u64,
    /// Rate at the end (linear, cosine).
    pub end: f64,
}

/// Form of a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScheduleKind {
    /// The same rate throughout.
    Constant,
    /// Straight down to `end` at the last step.
    Linear,
    /// Half a cosine down to `end` at the last step.
    Cosine,
    /// `rate * min(step / warmup, sqrt(warmup / step))`.
    Noam,
}

/// How long a run lasts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Budget {
    /// Optimiser steps.
    pub steps: u64,
    /// Examples of one step.
    pub batch: u64,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Stop after this many minutes.
    pub minutes: Option<f64>,
}

/// What happens every so many steps.
#[derive(Clone, PartialEq, Debug)]
pub struct Every {
    /// The interval.
    pub steps: u64,
    /// Parts of the data to evaluate on.
    pub evaluate: Vec<Split>,
    /// How many checkpoints to keep, where one is written.
    pub checkpoint: Option<u64>,
}

/// A part of the data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Split {
    /// What is trained on.
    Training,
    /// What choices are made by.
    Validation,
    /// What is looked at once.
    Test,
    /// Strings longer than those that are trained on; only generated data has it.
    Longer,
}

impl Split {
    /// The word in the language.
    pub fn name(self) -> &'static str {
        match self {
            Split::Training => "training",
            Split::Validation => "validation",
            Split::Test => "test",
            Split::Longer => "longer",
        }
    }
}

/// A comparison that must hold at the end of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Claim {
    /// As written.
    pub text: String,
    /// Left side.
    pub left: Quantity,
    /// How they compare.
    pub relation: Relation,
    /// Right side.
    pub right: Quantity,
    /// Where.
    pub span: Span,
}

/// Relations of claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

impl Relation {
    /// Whether it holds.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Relation::Less => left < right,
            Relation::AtMost => left <= right,
            Relation::Greater => left > right,
            Relation::AtLeast => left >= right,
        }
    }
}

/// A number that is measured, or computed from such.
#[derive(Clone, PartialEq, Debug)]
pub enum Quantity {
    /// A constant.
    Number(f64),
    /// `validation.bits_per_byte`: `loss`, `bits_per_byte`, `perplexity` or a declared metric on a part of the data.
    Measured {
        /// The part.
        split: Split,
        /// The metric.
        metric: String,
    },
    /// `a + b`
    Add(Box<Quantity>, Box<Quantity>),
    /// `a - b`
    Sub(Box<Quantity>, Box<Quantity>),
    /// `a * b`
    Mul(Box<Quantity>, Box<Quantity>),
    /// `a / b`
    Div(Box<Quantity>, Box<Quantity>),
}

impl Quantity {
    /// Its value, given what was measured; `None` where something was not.
    pub fn value(&self, measured: &dyn Fn(Split, &str) -> Option<f64>) -> Option<f64> {
        let both = |a: &Quantity, b: &Quantity| Some((a.value(measured)?, b.value(measured)?));
        Some(match self {
            Quantity::Number(x) => *x,
            Quantity::Measured { split, metric } => measured(*split, metric)?,
            Quantity::Add(a, b) => both(a, b).map(|(a, b)| a + b)?,
            Quantity::Sub(a, b) => both(a, b).map(|(a, b)| a - b)?,
            Quantity::Mul(a, b) => both(a, b).map(|(a, b)| a * b)?,
            Quantity::Div(a, b) => both(a, b).map(|(a, b)| a / b)?,
        })
    }

    /// Every measured number in it.
    pub fn measured(&self, out: &mut Vec<(Split, String)>) {
        match self {
            Quantity::Number(_) => {}
            Quantity::Measured { split, metric } => out.push((*split, metric.clone())),
            Quantity::Add(a, b) | Quantity::Sub(a, b) | Quantity::Mul(a, b) | Quantity::Div(a, b) => {
                a.measured(out);
                b.measured(out);
            }
        }
    }
}

/// One point of a sweep: keys and values as for `--set`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Point {
    /// Keys with values.
    pub set: Vec<(String, String)>,
}
