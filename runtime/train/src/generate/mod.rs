//! Sampling text from a model, one token at a time: from what earlier positions left behind where the model allows, else from a run over
//! the whole context window.

mod choose;
mod stepwise;
mod window;

use choose::{check, choose};
use ogive_graph::stream::{self, Obstacle};
use ogive_graph::{AxisId, Graph, Op, pipeline};
use ogive_runtime::{Backend, Draw, ExecError, Options, Store, rng};
use stepwise::Stepwise;
use window::Window;

/// How far logits of the two ways may lie apart, as a share of the largest: f32 sums in another order differ by less.
const AGREEMENT: f64 = 1e-3;

/// How to choose a token.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f64,
    /// Only the k most likely tokens.
    pub top_k: Option<usize>,
    /// Only the most likely tokens that together have this probability (Holtzman et al. 2020, "The curious case of neural text
    /// degeneration", section 3.1).
    pub top_p: Option<f64>,
    /// Seed of the choices.
    pub seed: u64,
}

/// Why there is nothing to sample from.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The model takes no tokens.
    #[error("the model has no input `{0}` of tokens along one dim")]
    NoTokens(String),
    /// The model gives no logits.
    #[error("the model's output `{output}` is not float logits with the dims of the tokens and one more")]
    NoLogits { output: String },
    /// Nothing to start from.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// A token that the model does not know.
    #[error("the prompt has token {token}; the model knows {vocab}")]
    OutsideVocabulary { token: u32, vocab: u64 },
    /// A setting out of its range.
    #[error("a {0}")]
    Setting(String),
    /// A pass over the graph fails.
    #[error("a fault in ogive: {0}")]
    Lowering(String),
    /// The executor.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// How the logits of a token come about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the states that earlier positions left: as many operations for the last token as for the first.
    Recurrent,
    /// From tables of what earlier positions were: operations grow with the text, by one row for each position.
    Tables,
    /// From a run over the whole context window.
    Window,
}

/// Where tokens go in and logits come out.
#[derive(Clone)]
struct Ports {
    input: ogive_graph::Port,
    output: String,
    /// Positions of the window, and how far apart the logits of two positions and of two tokens are.
    context: usize,
    position_stride: usize,
    token_stride: usize,
    vocab: usize,
}

/// A model to sample from.
pub struct Generator<'a> {
    graph: Graph,
    ports: Ports,
    backend: &'a dyn Backend,
    options: Options,
    window: Option<Window>,
    stepwise: Option<Stepwise>,
    /// Why the model does not go position by position.
    pub obstacle: Option<Obstacle>,
}

impl<'a> Generator<'a> {
    /// Takes a forward graph of one example: an `input` of tokens `[seq]` or `[batch, seq]` with a batch of one, and `output` with these
    /// dims and that of the vocabulary. The model must be causal: positions beyond the text are filled with token 0.
    ///
    /// # Errors
    /// Where the graph has another form or does not compile.
    pub fn new(graph: &Graph, input: &str, output: &str, backend: &'a dyn Backend, options: &Options) -> Result<Self, GenerateError> {
        let none = || GenerateError::NoTokens(input.into());
        let port = graph.region.nodes.iter().find_map(|n| match &n.op {
            Op::Input(port) if port.name == input => Some(port),
            _ => None,
        });
        let port = port.ok_or_else(none)?;
        let wrong = || GenerateError::NoLogits { output: output.into() };
        let found = graph.outputs.iter().find(|o| o.port.name == output && !o.update).ok_or_else(wrong)?;
        let order = &found.port.order;
        let (seq, before) = port.order.split_last().ok_or_else(none)?;
        let mut own = order.iter().filter(|a| !port.order.contains(a));
        let (Some(vocab), None) = (own.next(), own.next()) else { return Err(wrong()) };
        let single = before.iter().all(|a| graph.size(*a) == 1 && order.contains(a));
        if !single || !order.contains(seq) || !graph.region.ty(found.value).dtype.is_float() {
            return Err(wrong());
        }
        let stride = |axis| order.iter().skip_while(|a| *a != axis).skip(1).map(|a| graph.size(*a) as usize).product();
        let ports = Ports {
            input: port.clone(),
            output: output.into(),
            context: graph.size(*seq) as usize,
            position_stride: stride(seq),
            token_stride: stride(vocab),
            vocab: graph.size(*vocab) as usize,
        };
        let mut only = graph.clone();
        only.outputs.retain(|o| o.port.name == output && !o.update);
        // Losses need targets, which there are none of.
        let only = ogive_graph::dce::dce(&only);
        let seq = *seq;
        let mut made = Generator { graph: only, ports, backend, options: options.clone(), window: None, stepwise: None, obstacle: None };
        made.go_stepwise(seq)?;
        Ok(made)
    }

    fn go_stepwise(&mut self, seq: AxisId) -> Result<(), GenerateError> {
        match stream::stream(&self.graph, seq) {
            Ok(streamed) => self.stepwise = Some(Stepwise::new(streamed, &self.ports, self.backend, &self.options)?),
            Err(obstacle) => self.obstacle = Some(obstacle),
        }
        Ok(())
    }

    /// How the next token's logits come about, while the text fits the context.
    pub fn way(&self) -> Way {
        match &self.stepwise {
            None => Way::Window,
            Some(stepwise) if stepwise.tables() => Way::Tables,
            Some(_) => Way::Recurrent,
        }
    }

    /// Computes every token from the whole window.
    pub fn use_window(&mut self) {
        self.stepwise = None;
    }

    /// Continues a prompt by at most `count` tokens. `each` is told every token and says whether to go on.
    ///
    /// # Errors
    /// An empty prompt, unknown tokens, settings out of range; those of the executor.
    pub fn generate(
        &mut self,
        store: &mut Store,
        prompt: &[u32],
        count: u64,
        sampling: &Sampling,
        each: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>, GenerateError> {
        check(sampling)?;
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        let vocab = self.ports.vocab;
        if let Some(&token) = prompt.iter().find(|&&t| t as usize >= vocab) {
            return Err(GenerateError::OutsideVocabulary { token, vocab: vocab as u64 });
        }
        if let Some(stepwise) = &mut self.stepwise {
            stepwise.restart(store);
        }
        let mut text = prompt.to_vec();
        for i in 0..count {
            let logits = self.logits(store, &text)?;
            let words = rng::Stream::new(Draw { seed: sampling.seed, step: i }, rng::hash("generate"), &[]).block(0);
            let number = (u64::from(words[0]) << 32 | u64::from(words[1])) as f64 / 2f64.powi(64);
            let token = choose(&logits, sampling, number);
            text.push(token);
            if !each(token) {
                break;
            }
        }
        Ok(text.split_off(prompt.len()))
    }

    /// Logits of the token after `text`.
    ///
    /// # Errors
    /// Those of the executor.
    fn logits(&mut self, store: &mut Store, text: &[u32]) -> Result<Vec<f64>, GenerateError> {
        if let Some(stepwise) = &mut self.stepwise
            && stepwise.reaches(text.len())
        {
            let first = stepwise.fresh();
            let logits = stepwise.logits(store, text)?;
            if !(first && stepwise.tables()) {
                return Ok(logits);
            }
            // Rows of positions to come are zeros in the tables, and other numbers in the window: a causal model reads neither.
            let whole = self.by_window(store, text)?;
            let scale = whole.iter().fold(1.0_f64, |m, x| m.max(x.abs()));
            let apart = logits.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            if apart > AGREEMENT * scale {
                self.stepwise = None;
            }
            return Ok(whole);
        }
        self.by_window(store, text)
    }

    fn by_window(&mut self, store: &mut Store, text: &[u32]) -> Result<Vec<f64>, GenerateError> {
        let window = match &mut self.window {
            Some(window) => window,
            None => self.window.insert(Window::new(&self.graph, &self.ports, self.backend, &self.options)?),
        };
        window.logits(store, text)
    }
}

/// The graph after the passes that come before compiling.
fn optimised(graph: &Graph, options: &Options) -> Result<Graph, GenerateError> {
    let passes = pipeline::run(graph, pipeline::FORWARD, options.verify);
    passes.map(|(graph, _)| graph).map_err(|failure| GenerateError::Lowering(failure.to_string()))
}
