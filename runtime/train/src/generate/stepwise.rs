//! Logits from the next token and what earlier positions left behind.

use super::{GenerateError, Ports, optimised};
use ogive_graph::DType;
use ogive_graph::stream::{POSITION, Streamed};
use ogive_runtime::{Backend, Bindings, Data, Draw, ExecError, Executable, Options, Store, Tensor, ports};

pub(super) struct Stepwise {
    executable: Box<dyn Executable>,
    tokens: Tensor,
    input: String,
    output: String,
    /// What is kept, as before the first position.
    states: Vec<(String, Tensor)>,
    /// Positions that have been taken.
    taken: usize,
    /// The last position there may be.
    end: Option<usize>,
    tables: bool,
}

impl Stepwise {
    pub(super) fn new(streamed: Streamed, ports: &Ports, backend: &dyn Backend, options: &Options) -> Result<Stepwise, GenerateError> {
        let graph = &streamed.graph;
        let zeros = |(port, ty): &(ogive_graph::Port, ogive_graph::Ty)| {
            (port.name.clone(), Tensor::zeros(ty.dtype, ports::dims(port, &graph.axes)))
        };
        Ok(Stepwise {
            executable: backend.compile(&optimised(graph, options)?, options)?,
            tokens: Tensor::zeros(DType::I32, ports::dims(&ports.input, &graph.axes)),
            input: ports.input.name.clone(),
            output: ports.output.clone(),
            states: streamed.states.iter().map(zeros).collect(),
            taken: 0,
            end: streamed.bounded.then_some(ports.context),
            tables: streamed.tables,
        })
    }

    /// Whether there are tables over positions.
    pub(super) fn tables(&self) -> bool {
        self.tables
    }

    /// Whether no position has been taken.
    pub(super) fn fresh(&self) -> bool {
        self.taken == 0
    }

    /// Whether a text of this length can be taken.
    pub(super) fn reaches(&self, length: usize) -> bool {
        self.end.is_none_or(|end| length <= end)
    }

    /// Back to before the first position.
    pub(super) fn restart(&mut self, store: &mut Store) {
        self.taken = 0;
        store.tensors.extend(self.states.iter().cloned());
    }

    /// Logits of the token after `text`, of which what was taken before is the beginning.
    pub(super) fn logits(&mut self, store: &mut Store, text: &[u32]) -> Result<Vec<f64>, GenerateError> {
        for &token in &text[self.taken..] {
            self.tokens.data = Data::I32(vec![i32::try_from(token).unwrap_or(0)]);
            let position = Tensor::scalar(Data::I32(vec![i32::try_from(self.taken).unwrap_or(i32::MAX)]));
            let inputs = Bindings::from([(self.input.clone(), self.tokens.clone()), (POSITION.to_owned(), position)]);
            self.executable.run(store, &inputs, Draw::default())?;
            self.taken += 1;
        }
        let missing = || ExecError::Internal(format!("there is no output `{}`", self.output));
        Ok(self.executable.output(&self.output).ok_or_else(missing)?.to_f64())
    }
}
