//! What a spec means: dims resolved, blocks instantiated, sharing explicit. Every instance holds its body once; a body is a list of
//! typed nodes that use earlier ones.

pub mod experiment;
mod generated;
pub mod text;

use crate::source::{Sources, Span};
use crate::syntax::BlockKind;
use ogive_graph::{AxisId, DType, Distribution, Op as Primitive, Ty};

pub use experiment::Experiment;

/// An instance, by position in [`Program::instances`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InstanceId(pub u32);

/// A node, by position in [`Instance::body`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u32);

impl InstanceId {
    /// Position in the program's instances.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// Position in the body.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A dim of a program. Two axes may have the same name: they belong to different instances.
#[derive(Clone, PartialEq, Debug)]
pub struct Axis {
    /// The name in the spec.
    pub name: String,
    /// Number of positions; `None` where a block is looked at without a caller.
    pub size: Option<u64>,
    /// Where it is declared.
    pub span: Span,
}

/// An elaborated block, cell or model: a tree of instances with instance 0 as its root.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Name of the root.
    pub name: String,
    /// Whether `training` is true in it.
    pub training: bool,
    /// Dims, by [`AxisId`]; a graph made from this keeps the ids.
    pub axes: Vec<Axis>,
    /// Instances; a parent comes before its children.
    pub instances: Vec<Instance>,
    /// The dim that inputs marked `lifted` have besides their own.
    pub batch: Option<AxisId>,
    /// The files, for origins.
    pub sources: Sources,
}

/// A block with its dims, constants and parameters. Used by one call, or by several that share it.
#[derive(Clone, PartialEq, Debug)]
pub struct Instance {
    /// Name of the block.
    pub block: String,
    /// Which kind of block.
    pub kind: BlockKind,
    /// Path of the instance, such as `layer.attention`; empty for the root.
    pub path: String,
    /// The instance whose body calls this one.
    pub parent: Option<InstanceId>,
    /// Dims that `stack`s around it add in front of every parameter, outermost first.
    pub stacks: Vec<AxisId>,
    /// How often it is applied by the repetitions around it.
    pub applications: u64,
    /// Declared dims and what they are bound to.
    pub dims: Vec<(String, AxisId)>,
    /// Constant inputs.
    pub constants: Vec<(String, Constant)>,
    /// Tensors that it is called with, in declared order; optional ones that are not given are missing here.
    pub inputs: Vec<Port>,
    /// Results in declared order.
    pub outputs: Vec<Output>,
    /// Parameters in declared order; those that no result depends on are left out.
    pub params: Vec<Param>,
    /// What a cell keeps from step to step: its own states in declared order, then those of cells that it calls.
    pub states: Vec<State>,
    /// Instances that the body calls, in source order.
    pub children: Vec<InstanceId>,
    /// The equations.
    pub body: Vec<Node>,
    /// Named inner values.
    pub taps: Vec<Tap>,
    /// Where it is called; its declaration for the root.
    pub span: Span,
}

/// The value of a constant.
#[derive(Clone, PartialEq, Debug)]
pub enum Constant {
    /// `int` and `float` alike.
    Number(f64),
    /// `bool`.
    Bool(bool),
    /// One of several words.
    Word(String),
}

/// A tensor that an instance takes.
#[derive(Clone, PartialEq, Debug)]
pub struct Port {
    /// The name in the header.
    pub name: String,
    /// Dims in declared order.
    pub dims: Vec<AxisId>,
    /// F32 stands for whatever float type is chosen when lowering.
    pub dtype: DType,
    /// For i32, the dim whose positions they are.
    pub domain: Option<AxisId>,
    /// Whether it also has the program's `batch`, in front.
    pub lifted: bool,
    /// Where.
    pub span: Span,
}

/// A result of an instance.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// The name in the header.
    pub name: String,
    /// Dims in declared order.
    pub dims: Vec<AxisId>,
    /// For i32, the dim whose positions they are.
    pub domain: Option<AxisId>,
    /// The value.
    pub node: NodeId,
    /// For each input, whether the value depends on it (and so carries what it lifts over).
    pub depends: Vec<bool>,
    /// Where.
    pub span: Span,
}

/// A value that a cell keeps from one step to the next.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    /// The name in the cell; `cell.name` for a state of a cell that it calls.
    pub name: String,
    /// Dims in declared order; what the cell is lifted over comes on top.
    pub dims: Vec<AxisId>,
    /// The value before the first step. It needs no `Prev`.
    pub start: NodeId,
    /// The value after the step.
    pub next: NodeId,
    /// For each input, whether the value depends on it in some step.
    pub depends: Vec<bool>,
    /// For each input, whether the start value depends on it.
    pub start_depends: Vec<bool>,
    /// Where.
    pub span: Span,
}

/// A named inner value.
#[derive(Clone, PartialEq, Debug)]
pub struct Tap {
    /// The name.
    pub name: String,
    /// The value.
    pub node: NodeId,
    /// Dims for a reader, in declared order as far as there is one.
    pub dims: Vec<AxisId>,
    /// For each input, whether the value depends on it.
    pub depends: Vec<bool>,
    /// Where.
    pub span: Span,
}

/// A tensor that is learned. Its full dims are the instance's `stacks`, then `dims`.
#[derive(Clone, PartialEq, Debug)]
pub struct Param {
    /// The name in the block.
    pub name: String,
    /// Dims in declared order.
    pub dims: Vec<AxisId>,
    /// How it starts.
    pub init: Init,
    /// Where.
    pub span: Span,
}

/// How a parameter starts.
#[derive(Clone, PartialEq, Debug)]
pub struct Init {
    /// What its elements are drawn from.
    pub kind: InitKind,
    /// Dims, as positions in the declared dims, along which all vectors get one common norm: the standard deviation of the whole
    /// tensor stays. Empty for none.
    pub equal_norms: Vec<usize>,
}

/// Distribution of a parameter's first values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum InitKind {
    /// All elements the same.
    Constant(f64),
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Normal with mean 0, redrawn outside two standard deviations.
    TruncatedNormal {
        /// Standard deviation before truncation.
        std: f64,
    },
    /// Uniform.
    Uniform {
        /// Lower bound.
        lo: f64,
        /// Upper bound.
        hi: f64,
    },
}

/// A value of a body.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// Operands, earlier nodes of the body.
    pub inputs: Vec<NodeId>,
    /// Its type, as the block sees it: dims that its caller lifts over are not in it. F32 stands for the float type.
    pub ty: Ty,
    /// For i32, the dim whose positions they are.
    pub domain: Option<AxisId>,
    /// Where.
    pub span: Span,
}

/// What a node computes.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// Input `i` of the instance.
    Input(u32),
    /// Parameter `i` of the instance.
    Param(u32),
    /// An operation of the graph, on operands that may carry more dims than they show.
    Primitive(Primitive),
    /// Positions along `over` (of their product, the first slowest) of the largest scores, as many as `slot` has, in ascending order; ties go
    /// to the lowest. The score is operand 0, or the sum of one operand for each dim.
    Top {
        /// Dims that are chosen from.
        over: Vec<AxisId>,
        /// The dim of the chosen.
        slot: AxisId,
    },
    /// The sum over `over` of operand 0 and of operand 1 at the positions along `axis` that operand 2 holds: weights that a selection
    /// restricts, never gathered.
    Routed {
        /// The dim of the weights that was chosen from.
        axis: AxisId,
        /// Contracted dims.
        over: Vec<AxisId>,
    },
    /// Random numbers with the dims of the operand.
    RandomLike(Distribution),
    /// The operand with at least the dims of this node's type, the same along those that it lacks.
    Spread,
    /// State `i` of the cell before the step.
    Prev(u32),
    /// One application of an instance; for a cell one step, its states before the step behind the inputs. Its results are read by
    /// `Project`: the outputs, then the new states.
    Call(InstanceId),
    /// The start values of a cell's states for these inputs, read by `Project`.
    Starts(InstanceId),
    /// A cell run along `axis`: operands that have it are given position by position. Results: outputs, which have `axis`, then the
    /// last states.
    Scan {
        /// The cell.
        instance: InstanceId,
        /// The dim of time.
        axis: AxisId,
        /// From the last position to the first.
        reverse: bool,
    },
    /// An instance applied once per position of `axis`: operand 0 is the carry, the rest are the same each time.
    Repeat {
        /// What is applied.
        instance: InstanceId,
        /// Whether all applications share one set of parameters.
        share: bool,
        /// `depth`.
        axis: AxisId,
    },
    /// Result `i` of the operand, one of those with several.
    Project(u32),
}

impl Op {
    /// The instance that is applied.
    pub fn callee(&self) -> Option<InstanceId> {
        match self {
            Op::Call(id) | Op::Starts(id) | Op::Repeat { instance: id, .. } | Op::Scan { instance: id, .. } => Some(*id),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub fn callee_mut(&mut self) -> Option<&mut InstanceId> {
        match self {
            Op::Call(id) | Op::Starts(id) | Op::Repeat { instance: id, .. } | Op::Scan { instance: id, .. } => Some(id),
            _ => None,
        }
    }
}

impl Program {
    /// An instance.
    pub fn instance(&self, id: InstanceId) -> &Instance {
        &self.instances[id.index()]
    }

    /// The root.
    pub fn root(&self) -> &Instance {
        &self.instances[0]
    }

    /// Name of a dim.
    pub fn name_of(&self, axis: AxisId) -> &str {
        &self.axes[axis.index()].name
    }

    /// Size of a dim, where it is known.
    pub fn size_of(&self, axis: AxisId) -> Option<u64> {
        self.axes[axis.index()].size
    }

    /// Dims of the root without a size, by name.
    pub fn open_dims(&self) -> Vec<&str> {
        self.root().dims.iter().filter(|(_, a)| self.size_of(*a).is_none()).map(|(n, _)| n.as_str()).collect()
    }

    /// Number of elements of a parameter with all its `depth` dims, where its sizes are known.
    pub fn elements(&self, instance: &Instance, param: &Param) -> Option<u64> {
        instance.stacks.iter().chain(&param.dims).try_fold(1u64, |n, &a| n.checked_mul(self.size_of(a)?))
    }

    /// Number of parameters, where all sizes are known.
    pub fn parameters(&self) -> Option<u64> {
        let mut total = 0u64;
        for instance in &self.instances {
            for param in &instance.params {
                total = total.checked_add(self.elements(instance, param)?)?;
            }
        }
        Some(total)
    }
}
