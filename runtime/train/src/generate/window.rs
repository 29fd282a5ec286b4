//! Logits from a run over the whole context window, which slides along the text.

use super::{GenerateError, Ports, optimised};
use ogive_graph::{DType, Graph};
use ogive_runtime::{Backend, Bindings, Data, Draw, ExecError, Executable, Options, Store, Tensor, ports};

pub(super) struct Window {
    executable: Box<dyn Executable>,
    tokens: Tensor,
    ports: Ports,
}

impl Window {
    pub(super) fn new(graph: &Graph, ports: &Ports, backend: &dyn Backend, options: &Options) -> Result<Window, GenerateError> {
        let tokens = Tensor::zeros(DType::I32, ports::dims(&ports.input, &graph.axes));
        let executable = backend.compile(&optimised(graph, options)?, options)?;
        Ok(Window { executable, tokens, ports: ports.clone() })
    }

    /// Logits of the token after `text`.
    pub(super) fn logits(&mut self, store: &mut Store, text: &[u32]) -> Result<Vec<f64>, GenerateError> {
        let ports = &self.ports;
        let window = &text[text.len().saturating_sub(ports.context)..];
        let mut values = vec![0; ports.context];
        values.iter_mut().zip(window).for_each(|(v, &t)| *v = i32::try_from(t).unwrap_or(0));
        self.tokens.data = Data::I32(values);
        let inputs = Bindings::from([(ports.input.name.clone(), self.tokens.clone())]);
        self.executable.run(store, &inputs, Draw::default())?;
        let missing = || ExecError::Internal(format!("there is no output `{}`", ports.output));
        let all = self.executable.output(&ports.output).ok_or_else(missing)?.to_f64();
        let start = (window.len() - 1) * ports.position_stride;
        Ok((0..ports.vocab).filter_map(|t| all.get(start + t * ports.token_stride).copied()).collect())
    }
}
