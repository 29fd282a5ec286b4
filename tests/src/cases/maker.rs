//! Builds a case: axes, inputs with numbers in them, outputs.

use super::{Made, Size};
use ogive_graph::{AxisId, Builder, DType, Graph, MapFn, Op, Output, Port, Shape, Ty, Value};
use ogive_runtime::{Bindings, Data, Dim, Store, Tensor};

/// Which numbers an input holds. None lies within 2^-11 of zero or of another of the same input, as long as there are fewer than 896.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// Between -2 and 2.
    Signed,
    /// Between 1/4 and 2.
    Positive,
}

/// A graph under construction. Float values have the case's element type.
pub struct Maker<'a> {
    /// Appends nodes.
    pub b: Builder<'a>,
    /// Float type of the case.
    pub dtype: DType,
    size: Size,
    outputs: Vec<Output>,
    inputs: Bindings,
    store: Store,
    ports: usize,
}

impl Maker<'_> {
    /// Runs a building function.
    pub(super) fn make(dtype: DType, size: Size, build: impl Fn(&mut Maker<'_>)) -> Made {
        let mut graph = Graph::default();
        let b = Builder::new(&mut graph.axes);
        let mut m = Maker { b, dtype, size, outputs: Vec::new(), inputs: Bindings::new(), store: Store::default(), ports: 0 };
        build(&mut m);
        let Maker { b, outputs, inputs, store, .. } = m;
        let region = b.region;
        graph.region = region;
        graph.outputs = outputs;
        Made { graph, inputs, store }
    }

    /// A new axis with a size for each size of case.
    pub fn axis(&mut self, name: &str, small: u64, large: u64) -> AxisId {
        let size = match self.size {
            Size::Small => small,
            Size::Large => large,
        };
        self.b.axis(name, size)
    }

    /// Number of positions of an axis.
    pub fn size(&self, axis: AxisId) -> u64 {
        self.b.axes[axis.index()].size
    }

    /// A float input.
    pub fn float(&mut self, name: &str, order: &[AxisId], range: Range) -> Value {
        let numbers = numbers(range, self.count(order), self.ports);
        let tensor = Tensor { dims: self.dims(order), data: Data::F64(numbers) }.cast(self.dtype);
        self.port(name, order, tensor, false)
    }

    /// A float parameter.
    pub fn param(&mut self, name: &str, order: &[AxisId]) -> Value {
        let numbers = numbers(Range::Signed, self.count(order), self.ports);
        let tensor = Tensor { dims: self.dims(order), data: Data::F64(numbers) }.cast(self.dtype);
        self.port(name, order, tensor, true)
    }

    /// An i32 input with positions of `along`, every one repeated.
    pub fn positions(&mut self, name: &str, order: &[AxisId], along: AxisId) -> Value {
        let (size, salt) = (self.size(along) as usize, self.ports);
        let data = Data::I32((0..self.count(order)).map(|i| ((i * i * 7 + i * 3 + salt) % size) as i32).collect());
        let tensor = Tensor { dims: self.dims(order), data };
        self.port(name, order, tensor, false)
    }

    /// An i32 input between -9 and 9.
    pub fn whole(&mut self, name: &str, order: &[AxisId]) -> Value {
        let salt = self.ports;
        let data = Data::I32((0..self.count(order)).map(|i| ((i * 7 + i * i + salt * 5) % 19) as i32 - 9).collect());
        let tensor = Tensor { dims: self.dims(order), data };
        self.port(name, order, tensor, false)
    }

    /// A bool input.
    pub fn truth(&mut self, name: &str, order: &[AxisId]) -> Value {
        let salt = self.ports;
        let data = Data::Bool((0..self.count(order)).map(|i| u8::from((i * 5 + i / 3 + salt).is_multiple_of(3))).collect());
        let tensor = Tensor { dims: self.dims(order), data };
        self.port(name, order, tensor, false)
    }

    /// A float constant.
    pub fn constant(&mut self, value: f64) -> Value {
        self.b.float(value, self.dtype)
    }

    /// An element-wise function.
    pub fn map(&mut self, f: MapFn, inputs: &[Value]) -> Value {
        self.b.map(f, inputs)
    }

    /// An operation whose type follows from its operands.
    pub fn add(&mut self, op: Op, inputs: &[Value]) -> Value {
        self.b.add(op, inputs)
    }

    /// An output of the graph; its dims come in the reverse of the axes' order, so that none is laid out by chance.
    pub fn yields(&mut self, name: &str, value: Value) {
        let order = self.b.shape(value).iter().collect::<Vec<_>>().into_iter().rev().collect();
        self.outputs.push(Output { port: Port { name: name.into(), order }, value, update: false });
    }

    /// A new value for a parameter.
    pub fn updates(&mut self, name: &str, order: &[AxisId], value: Value) {
        self.outputs.push(Output { port: Port { name: name.into(), order: order.to_vec() }, value, update: true });
    }

    fn count(&self, order: &[AxisId]) -> usize {
        order.iter().map(|&a| self.size(a) as usize).product()
    }

    fn dims(&self, order: &[AxisId]) -> Vec<Dim> {
        order.iter().map(|a| &self.b.axes[a.index()]).map(|a| Dim { name: a.name.clone(), size: a.size as usize }).collect()
    }

    fn port(&mut self, name: &str, order: &[AxisId], tensor: Tensor, param: bool) -> Value {
        self.ports += 1;
        let ty = Ty::new(tensor.dtype(), Shape::of(order.iter().copied()));
        let port = Port { name: name.into(), order: order.to_vec() };
        let (tensors, op) = if param { (&mut self.store.tensors, Op::Param(port)) } else { (&mut self.inputs, Op::Input(port)) };
        tensors.insert(name.into(), tensor);
        self.b.add_as(op, &[], Some(&ty))
    }
}

/// Numbers in a scattered order: odd multiples of 2^-10 for even salts, even ones for odd salts, so that elements of two inputs made one
/// after the other keep apart too.
pub(super) fn numbers(range: Range, count: usize, salt: usize) -> Vec<f64> {
    let (low, cells) = match range {
        Range::Signed => (-2.0, 2048),
        Range::Positive => (0.25, 896),
    };
    let step = 2.0 / 1024.0;
    let number = |i: usize| {
        let cell = (i * 653 + salt * 211 + 97) % cells;
        let x = low + step * cell as f64 + if salt.is_multiple_of(2) { step / 2.0 } else { 0.0 };
        if x == 0.0 { 0.75 * step } else { x }
    };
    (0..count).map(number).collect()
}
