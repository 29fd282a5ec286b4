//! Builds regions with inferred types. A type error here is a fault of the calling pass and panics with the node's description;
//! the language never gets here with ill-typed input.

use crate::entity::{AxisId, Value};
use crate::graph::{Axis, Node, Origin, Region};
use crate::infer;
use crate::op::{Loop, MapFn, Op, ReduceFn, Scalar};
use crate::shape::{DType, Shape, Ty};

/// Appends typed nodes to a region. `origin` is given to every node that is added.
pub struct Builder<'g> {
    /// Axis table of the graph.
    pub axes: &'g mut Vec<Axis>,
    /// What is being built.
    pub region: Region,
    /// Origin of the nodes to come.
    pub origin: Origin,
}

impl<'g> Builder<'g> {
    /// An empty region over an axis table.
    pub fn new(axes: &'g mut Vec<Axis>) -> Self {
        Self::over(axes, Region::default())
    }

    /// Continues a region.
    pub fn over(axes: &'g mut Vec<Axis>, region: Region) -> Self {
        Builder { axes, region, origin: Origin::default() }
    }

    /// A new axis.
    pub fn axis(&mut self, name: impl Into<String>, size: u64) -> AxisId {
        let id = AxisId(u32::try_from(self.axes.len()).unwrap_or(u32::MAX));
        self.axes.push(Axis { name: name.into(), size });
        id
    }

    /// Type of a value.
    pub fn ty(&self, value: Value) -> &Ty {
        self.region.ty(value)
    }

    /// Shape of a value.
    pub fn shape(&self, value: Value) -> &Shape {
        &self.region.ty(value).shape
    }

    /// Adds a node whose type follows from its operands.
    pub fn add(&mut self, op: Op, inputs: &[Value]) -> Value {
        self.add_as(op, inputs, None)
    }

    /// Adds a node of a given type (`Input`, `Param`, `Argument`, `Const`, `Random`, `Cast`).
    ///
    /// # Panics
    /// Where the operands do not fit.
    pub fn add_as(&mut self, op: Op, inputs: &[Value], given: Option<&Ty>) -> Value {
        let types: Vec<Ty> = inputs.iter().map(|&v| self.ty(v).clone()).collect();
        match infer::results(&op, &types, given, self.axes) {
            Ok(results) => {
                let ty = results.into_iter().next().unwrap_or_else(|| Ty::scalar(DType::F32));
                self.region.push(Node { op, inputs: inputs.into(), ty, origin: self.origin.clone() })
            }
            Err(why) => panic!("ill-typed node in `{}` line {}: {why}", self.origin.path, self.origin.line),
        }
    }

    /// Adds an operation with several results and one projection for each.
    ///
    /// # Panics
    /// Where the operands do not fit.
    pub fn add_many(&mut self, op: Op, inputs: &[Value]) -> Vec<Value> {
        let types: Vec<Ty> = inputs.iter().map(|&v| self.ty(v).clone()).collect();
        let results = match infer::results(&op, &types, None, self.axes) {
            Ok(results) => results,
            Err(why) => panic!("ill-typed node in `{}` line {}: {why}", self.origin.path, self.origin.line),
        };
        let first = results.first().cloned().unwrap_or_else(|| Ty::scalar(DType::F32));
        let origin = self.origin.clone();
        let node = self.region.push(Node { op, inputs: inputs.into(), ty: first, origin: origin.clone() });
        let project = |(i, ty)| Node { op: Op::Project(i as u32), inputs: [node].as_slice().into(), ty, origin: origin.clone() };
        let nodes: Vec<Node> = results.into_iter().enumerate().map(project).collect();
        nodes.into_iter().map(|n| self.region.push(n)).collect()
    }

    /// A float constant.
    pub fn float(&mut self, value: f64, dtype: DType) -> Value {
        self.add_as(Op::Const(Scalar::Float(value)), &[], Some(&Ty::scalar(dtype)))
    }

    /// An i32 constant.
    pub fn int(&mut self, value: i32) -> Value {
        self.add_as(Op::Const(Scalar::Int(value)), &[], Some(&Ty::scalar(DType::I32)))
    }

    /// An element-wise function (any but `Cast`).
    pub fn map(&mut self, f: MapFn, inputs: &[Value]) -> Value {
        self.add(Op::Map(f), inputs)
    }

    /// A change of element type; none where it is the same.
    pub fn cast(&mut self, value: Value, dtype: DType) -> Value {
        if self.ty(value).dtype == dtype {
            return value;
        }
        let ty = Ty::new(dtype, self.shape(value).clone());
        self.add_as(Op::Map(MapFn::Cast), &[value], Some(&ty))
    }

    /// A reduction; none over no axes.
    pub fn reduce(&mut self, f: ReduceFn, value: Value, over: &[AxisId]) -> Value {
        if over.is_empty() { value } else { self.add(Op::Reduce(f, over.to_vec()), &[value]) }
    }

    /// Contraction over axes; an aligned product where there are none.
    pub fn contract(&mut self, a: Value, b: Value, over: &[AxisId]) -> Value {
        if over.is_empty() { self.map(MapFn::Mul, &[a, b]) } else { self.add(Op::Contract(over.to_vec()), &[a, b]) }
    }

    /// A loop; the values are final carries, then collected values.
    pub fn repeat(&mut self, l: Loop, inputs: &[Value]) -> Vec<Value> {
        self.add_many(Op::Loop(Box::new(l)), inputs)
    }
}
