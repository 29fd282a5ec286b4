//! The graph: an axis table and a region of nodes in SSA order.

use crate::entity::{AxisId, Value};
use crate::op::{Op, Port};
use crate::shape::{Shape, Ty};
use smallvec::SmallVec;
use std::sync::Arc;

/// A named axis. Two axes may have the same name (two blocks' own `head`); the textual form tells them apart.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Axis {
    /// The name in the spec.
    pub name: String,
    /// Number of positions.
    pub size: u64,
}

/// Where a node comes from. Kept by every pass: a rewritten node takes the origin of what it replaces.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Origin {
    /// Instance path in the spec, such as `layer.attention`; empty at the root.
    pub path: Arc<str>,
    /// File of the spec.
    pub file: Arc<str>,
    /// Byte range in that file.
    pub span: (u32, u32),
    /// One-based line in that file; 0 where there is none.
    pub line: u32,
}

/// One operation and the type of its result. Operations with several results (`Loop`, `Attend`, `AttendGrad`, `Route`) have the type of
/// result 0 here and may be used by `Project` only.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// Operands, all earlier nodes of the same region.
    pub inputs: SmallVec<[Value; 3]>,
    /// Type of the result.
    pub ty: Ty,
    /// Place in the spec.
    pub origin: Origin,
}

/// Nodes in an order that defines before use, and results.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Region {
    /// Nodes; [`Value`] is an index into this.
    pub nodes: Vec<Node>,
    /// Results, for loop bodies. The top region of a graph uses [`Graph::outputs`] instead and leaves this empty.
    pub results: Vec<Value>,
}

/// A named result of a graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// Name and order of dims for the reader outside.
    pub port: Port,
    /// What is returned.
    pub value: Value,
    /// `true`: the value is written over the store's tensor of the same name (an `Op::Param`) after the run's last read of it.
    pub update: bool,
}

/// A whole program for an executor.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Graph {
    /// All axes, of the loop bodies too.
    pub axes: Vec<Axis>,
    /// Top-level nodes.
    pub region: Region,
    /// Results and updates of the store.
    pub outputs: Vec<Output>,
}

impl Graph {
    /// A new axis; never unified with one of the same name.
    pub fn axis(&mut self, name: impl Into<String>, size: u64) -> AxisId {
        let id = AxisId(u32::try_from(self.axes.len()).unwrap_or(u32::MAX));
        self.axes.push(Axis { name: name.into(), size });
        id
    }

    /// Number of positions of an axis.
    pub fn size(&self, axis: AxisId) -> u64 {
        self.axes[axis.index()].size
    }

    /// Name of an axis.
    pub fn name(&self, axis: AxisId) -> &str {
        &self.axes[axis.index()].name
    }

    /// Number of bytes of a value, saturating.
    pub fn bytes(&self, ty: &Ty) -> u64 {
        crate::shape::bytes(&self.axes, ty)
    }

    /// Number of elements of a shape, saturating.
    pub fn elements(&self, shape: &Shape) -> u64 {
        crate::shape::elements(&self.axes, shape)
    }
}

impl Region {
    /// Type of a value.
    pub fn ty(&self, value: Value) -> &Ty {
        &self.nodes[value.index()].ty
    }

    /// Node of a value.
    pub fn node(&self, value: Value) -> &Node {
        &self.nodes[value.index()]
    }

    /// Adds a node as given, unchecked; [`crate::build::Builder`] infers types.
    pub fn push(&mut self, node: Node) -> Value {
        let value = Value(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(node);
        value
    }
}
