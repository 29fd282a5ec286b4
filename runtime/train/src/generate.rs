//! Sampling text from a model: one token at a time, each from a run over the whole context window.

use ogive_graph::{Graph, Op};
use ogive_runtime::{Backend, Bindings, Data, Draw, ExecError, Executable, Options, Store, Tensor, ports, rng};

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
    #[error("the model has no input `tokens`")]
    NoTokens,
    /// The model gives no logits.
    #[error("the model's output `{output}` is not float logits with the dims of `tokens` and one more")]
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
    /// The executor.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// A model to sample from.
pub struct Generator {
    executable: Box<dyn Executable>,
    tokens: Tensor,
    output: String,
    /// Positions of the window, and how far apart the logits of two positions and of two tokens are.
    context: usize,
    position_stride: usize,
    token_stride: usize,
    vocab: usize,
}

impl Generator {
    /// Compiles a forward graph of one example: input `tokens` `[seq]` or `[batch, seq]` with a batch of one, and `output` with these
    /// dims and that of the vocabulary. The model must be causal: positions beyond the text are filled with token 0.
    ///
    /// # Errors
    /// Where the graph has another form or does not compile.
    pub fn new(graph: &Graph, output: &str, backend: &dyn Backend, options: &Options) -> Result<Generator, GenerateError> {
        let input = graph.region.nodes.iter().find_map(|n| match &n.op {
            Op::Input(port) if port.name == "tokens" => Some(port),
            _ => None,
        });
        let input = input.ok_or(GenerateError::NoTokens)?;
        let wrong = || GenerateError::NoLogits { output: output.into() };
        let found = graph.outputs.iter().find(|o| o.port.name == output && !o.update).ok_or_else(wrong)?;
        let order = &found.port.order;
        let (seq, before) = input.order.split_last().ok_or(GenerateError::NoTokens)?;
        let mut own = order.iter().filter(|a| !input.order.contains(a));
        let (Some(vocab), None) = (own.next(), own.next()) else { return Err(wrong()) };
        let single = before.iter().all(|a| graph.size(*a) == 1 && order.contains(a));
        if !single || !order.contains(seq) || !graph.region.ty(found.value).dtype.is_float() {
            return Err(wrong());
        }
        let stride = |axis| order.iter().skip_while(|a| *a != axis).skip(1).map(|a| graph.size(*a) as usize).product();
        let mut only = graph.clone();
        only.outputs.retain(|o| o.port.name == output && !o.update);
        // Losses need targets, which there are none of.
        let only = ogive_graph::dce::dce(&only);
        Ok(Generator {
            executable: backend.compile(&only, options)?,
            tokens: Tensor::zeros(ogive_graph::DType::I32, ports::dims(input, &graph.axes)),
            output: output.into(),
            context: graph.size(*seq) as usize,
            position_stride: stride(seq),
            token_stride: stride(vocab),
            vocab: graph.size(*vocab) as usize,
        })
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
        if let Some(&token) = prompt.iter().find(|&&t| t as usize >= self.vocab) {
            return Err(GenerateError::OutsideVocabulary { token, vocab: self.vocab as u64 });
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
    fn logits(&mut self, store: &mut Store, text: &[u32]) -> Result<Vec<f64>, GenerateError> {
        let window = &text[text.len().saturating_sub(self.context)..];
        let mut values = vec![0; self.context];
        values.iter_mut().zip(window).for_each(|(v, &t)| *v = i32::try_from(t).unwrap_or(0));
        self.tokens.data = Data::I32(values);
        let inputs = Bindings::from([("tokens".to_owned(), self.tokens.clone())]);
        self.executable.run(store, &inputs, Draw::default())?;
        let missing = || ExecError::Internal(format!("there is no output `{}`", self.output));
        let all = self.executable.output(&self.output).ok_or_else(missing)?.to_f64();
        let start = (window.len() - 1) * self.position_stride;
        Ok((0..self.vocab).filter_map(|t| all.get(start + t * self.token_stride).copied()).collect())
    }
}

fn check(sampling: &Sampling) -> Result<(), GenerateError> {
    let wrong = |what: String| Err(GenerateError::Setting(what));
    if !sampling.temperature.is_finite() || sampling.temperature < 0.0 {
        return wrong(format!("temperature of {}", sampling.temperature));
    }
    if sampling.top_k == Some(0) {
        return wrong("choice among the 0 most likely tokens".into());
    }
    match sampling.top_p {
        Some(p) if !(p > 0.0 && p <= 1.0) => wrong(format!("top-p of {p}; it lies above 0 and is at most 1")),
        _ => Ok(()),
    }
}

/// The token that a uniform number in \[0, 1) chooses. Ties go to the lowest token; a NaN is never chosen before a number.
fn choose(logits: &[f64], sampling: &Sampling, number: f64) -> u32 {
    let key = |t: usize| if logits[t].is_nan() { f64::NEG_INFINITY } else { logits[t] };
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| key(b).total_cmp(&key(a)).then(a.cmp(&b)));
    let first = order.first().copied().unwrap_or(0);
    if sampling.temperature == 0.0 {
        return first as u32;
    }
    order.truncate(sampling.top_k.unwrap_or(usize::MAX));
    let highest = key(first);
    let mut weights: Vec<f64> = order.iter().map(|&t| ((key(t) - highest) / sampling.temperature).exp()).collect();
    if let Some(p) = sampling.top_p {
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let enough = weights.iter().position(|w| {
            sum += w;
            sum >= p * total
        });
        weights.truncate(enough.map_or(weights.len(), |i| i + 1));
    }
    let mut left = number * weights.iter().sum::<f64>();
    for (&token, weight) in order.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return token as u32;
        }
    }
    first as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f64; 5] = [1.0, 3.0, f64::NAN, 3.0, 0.0];

    fn sampling(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Sampling {
        Sampling { temperature, top_k, top_p, seed: 0 }
    }

    fn chosen(sampling: &Sampling) -> Vec<u32> {
        let mut all: Vec<u32> = (0..1000).map(|i| choose(&LOGITS, sampling, f64::from(i) / 1000.0)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn temperature_zero_takes_the_lowest_of_the_most_likely() {
        assert_eq!(chosen(&sampling(0.0, None, None)), [1]);
    }

    #[test]
    fn top_k_and_top_p_narrow_the_choice() {
        assert_eq!(chosen(&sampling(1.0, None, None)), [0, 1, 3, 4]);
        assert_eq!(chosen(&sampling(1.0, Some(2), None)), [1, 3]);
        assert_eq!(chosen(&sampling(1.0, None, Some(0.4))), [1]);
        assert_eq!(chosen(&sampling(1.0, None, Some(0.5))), [1, 3]);
    }

    #[test]
    fn tokens_are_chosen_as_often_as_they_are_likely() {
        let s = sampling(1.0, None, None);
        let twos = (0..10_000).filter(|&i| choose(&[0.0, 2f64.ln()], &s, f64::from(i) / 10_000.0) == 1).count();
        assert!((6_600..6_700).contains(&twos), "{twos}");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for bad in
            [sampling(-1.0, None, None), sampling(f64::NAN, None, None), sampling(1.0, Some(0), None), sampling(1.0, None, Some(0.0))]
        {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}
