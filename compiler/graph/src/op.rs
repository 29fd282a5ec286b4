//! The closed set of operations. Every pass matches on it exhaustively, so a new operation breaks the
//! build wherever it must be thought about: shape rule, derivative, interpreter, code generation, cost, printer.
//!
//! Selection is [`Op::TopK`], which yields i32 positions along an axis. What is done at chosen positions is a `Gather`, or, where a
//! product with chosen weights is summed, [`Op::Routed`]: the gathered weights are never formed. [`Op::Route`] sorts the points by
//! position once for all that read them.

use crate::entity::AxisId;
use crate::graph::Region;

/// Name and memory order of something that enters the graph from outside.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Port {
    /// The name that executors bind a tensor to; a spec path for parameters.
    pub name: String,
    /// Axes in the order of the outside tensor's dims.
    pub order: Vec<AxisId>,
}

/// What a node computes from its inputs.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the variant's text names the fields")]
pub enum Op {
    /// A tensor given for each run. No inputs.
    Input(Port),
    /// A tensor of the store that outlives runs: a parameter or optimiser state. No inputs.
    Param(Port),
    /// Formal argument of the enclosing loop body. No inputs.
    Argument(u32),
    /// A scalar. No inputs.
    Const(Scalar),
    /// i32 positions 0, 1, ... along the axis. No inputs.
    Iota(AxisId),
    /// Counter-based random numbers (Philox 4x32-10), a function of run seed, step, `site`, the inputs (i32 scalars,
    /// such as the iteration of an enclosing loop) and the element's row-major position in `order`.
    Random(Random),
    /// Element-wise function; inputs align by axis, the result has the union of their axes.
    Map(MapFn),
    /// Reduction of one input over the axes.
    Reduce(ReduceFn, Vec<AxisId>),
    /// i32 position of the largest element along the axis, ties to the lowest. One input.
    ArgMax(AxisId),
    /// Sum of the product of two inputs over axes that both have; other shared axes align, the rest are kept.
    Contract(Vec<AxisId>),
    /// Solution of a system with ones on the diagonal, in order. Inputs are (matrix, right-hand side); the matrix has `row` and `col`, of equal
    /// size, and is read where `row > col` alone, the right-hand side has `row`; other shared axes align, the rest are kept. Result, along
    /// `row`: `x[i] = b[i] - sum over j < i of matrix[row i, col j] x[j]`; transposed, `- sum over j > i of matrix[row j, col i] x[j]`.
    Solve { row: AxisId, col: AxisId, transposed: bool },
    /// Simultaneous renaming of axes, each to one of equal size. One input.
    Rename(Vec<(AxisId, AxisId)>),
    /// One axis seen as several, the first of `into` varying slowest. One input.
    Split { axis: AxisId, into: Vec<AxisId> },
    /// Several axes seen as one, the first of `from` varying slowest. One input.
    Merge { from: Vec<AxisId>, into: AxisId },
    /// Positions `start .. start + size(into)` of `axis`, as `into`. One input.
    Slice { axis: AxisId, start: u64, into: AxisId },
    /// `axis` placed at `start ..` of `into`, zeros elsewhere: the transpose of `Slice`. One input.
    Pad { axis: AxisId, start: u64, into: AxisId },
    /// Inputs one behind the other: input i has axis `axes[i]`, the result has `into`, of the summed size.
    Concat { axes: Vec<AxisId>, into: AxisId },
    /// Entries of inputs\[0\] along `axis` at the i32 positions inputs\[1\]; other shared axes align.
    /// Result: axes of inputs\[0\] less `axis`, and those of inputs\[1\].
    Gather(AxisId),
    /// Transpose of `Gather` in its first operand: inputs are (positions, updates); the result has `axis` and the
    /// axes `keep`, and sums, in ascending order of position, over all other axes of the updates.
    ScatterAdd { axis: AxisId, keep: Vec<AxisId> },
    /// i32 positions of the largest elements, as many as `into` has, listed in ascending order: a set. Ties go to the lowest position;
    /// NaN ranks above everything. Positions along several axes are row-major in `over`. Either one input that has all of `over`, or one
    /// for each, input i having `over[i]` and no other of them: what is ranked is then their sum, rounded from left to right, which is
    /// never formed. Result: axes of the inputs less `over`, and `into`.
    TopK { over: Vec<AxisId>, into: AxisId },
    /// Points sorted by the position that each has along `axis`. One input, i32 positions, whose axes `order` lists; `shared` are those
    /// of them that what is read at the positions has too. Results (see `Project`): 0 `sequence`, i32 with the axes of the input:
    /// element k, row-major in `order`, is the number, row-major in `order`, of the k-th point by (shared axes, position, number).
    /// 1 `ends`, i32 over `shared` and `axis`: how many points come before the end of that group.
    Route { axis: AxisId, shared: Vec<AxisId>, order: Vec<AxisId> },
    /// `Contract(over)` of inputs\[0\] and `Gather(axis)` of inputs\[1\] at the positions inputs\[2\], which is never formed.
    /// inputs\[3\] and \[4\] are the `sequence` and `ends` of those positions. Inputs\[0\] has not `axis`.
    Routed { axis: AxisId, over: Vec<AxisId> },
    /// `ScatterAdd { axis, keep }` at the positions inputs\[2\] of the product of inputs\[0\] and \[1\], which is never formed and
    /// has every axis of the positions; summed in the order of the `sequence` inputs\[3\]. inputs\[4\] are its `ends`.
    RoutedOuter { axis: AxisId, keep: Vec<AxisId> },
    /// Softmax over the axes jointly. One input.
    Softmax(Vec<AxisId>),
    /// log sum exp over the axes jointly. One input.
    LogSumExp(Vec<AxisId>),
    /// Attention that never stores its score matrix; see [`Attention`]. Inputs q, k, v. Results (see `Project`):
    /// 0 the mix, 1 log sum exp of the scaled, masked scores (axes of the scores less `source`).
    Attend(Attention),
    /// Gradient of `Attend`. Inputs q, k, v, mix, logsumexp, cotangent of mix. Results: cotangents of q, k, v.
    AttendGrad(Attention),
    /// A region applied once per position of an axis, with carries; see [`Loop`]. Results: final carries, then collected values.
    Loop(Box<Loop>),
    /// Result `i` of an operation with several. One input: that operation's node.
    Project(u32),
}

/// A constant; equality is by bits.
#[derive(Clone, Copy, Debug)]
pub enum Scalar {
    /// For f32 and f64 nodes (rounded for f32).
    Float(f64),
    /// For i32 nodes.
    Int(i32),
    /// For bool nodes.
    Bool(bool),
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        match (*self, *other) {
            (Scalar::Float(a), Scalar::Float(b)) => a.to_bits() == b.to_bits(),
            (Scalar::Int(a), Scalar::Int(b)) => a == b,
            (Scalar::Bool(a), Scalar::Bool(b)) => a == b,
            _ => false,
        }
    }
}
impl Eq for Scalar {}

/// See [`Op::Random`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Random {
    /// Uniform in \[0, 1) or standard normal.
    pub distribution: Distribution,
    /// Tells apart the places that draw; stable for a spec.
    pub site: u64,
    /// Axes of the result, in the order that numbers its elements.
    pub order: Vec<AxisId>,
}

/// Distribution of [`Op::Random`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Distribution {
    /// Uniform in \[0, 1).
    Uniform,
    /// Normal, mean 0, standard deviation 1.
    Normal,
}

/// `mix = softmax(scale * q @key k, over: source) @source v`, with scores at positions `source > query + offset` masked
/// out where `causal`. q has `query` and `key`, k has `source` and `key`, v has `source`, not `query`, and at least one axis
/// of its own (`value`). All other axes are shared by all three (batch, head). Axes: mix = q less `key` plus `value`.
#[derive(Clone, PartialEq, Debug)]
pub struct Attention {
    /// Axis of positions that ask.
    pub query: AxisId,
    /// Axis of positions that are asked.
    pub source: AxisId,
    /// Contracted between q and k.
    pub key: AxisId,
    /// Kept from v.
    pub value: AxisId,
    /// Multiplies the scores.
    pub scale: f64,
    /// `Some(offset)`: position i of `query` sees positions 0 ..= i + offset of `source`.
    pub causal: Option<i64>,
}

/// What a loop iterates over in the reader's mind; the meaning is the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LoopKind {
    /// Depth: layers.
    Repeat,
    /// Time: steps of a cell.
    Scan,
    /// Positions that know nothing of each other: no carries.
    Each,
    /// Time, where the backward pass computes states from those after them wherever a step can be taken back.
    Inverted,
    /// Segments of time, each a scan in the body: what they compute is computed again for the backward pass.
    Segments,
}

/// A region applied once per position of `axis`. Node inputs, and body arguments, in this order: `carries` initial
/// carries, `stacked` values that have `axis` (the body sees one slice, without it), then invariants.
/// Body results: new carries, then values to collect (stacked along `axis` at the iteration's position).
#[derive(Clone, PartialEq, Debug)]
pub struct Loop {
    /// Depth or time.
    pub kind: LoopKind,
    /// Iterated axis; its size is the number of iterations.
    pub axis: AxisId,
    /// From the last position to the first.
    pub reverse: bool,
    /// Number of carries.
    pub carries: usize,
    /// Number of stacked inputs.
    pub stacked: usize,
    /// The step. Closed: it reads its arguments only.
    pub body: Region,
}

/// Element-wise functions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "each is the function of its name")]
pub enum MapFn {
    // one operand
    Neg,
    Abs,
    Sign,
    Exp,
    Log,
    Sqrt,
    Rsqrt,
    Recip,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Erf,
    Relu,
    Floor,
    Not,
    /// To the node's element type. bool to number: 0 or 1; float to i32: truncation.
    Cast,
    /// Identity whose derivative is zero.
    StopGradient,
    // two operands
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Max,
    Min,
    /// Remainder with the sign of the divisor.
    Mod,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    // three operands
    /// `condition, then, otherwise`.
    Where,
}

/// Reductions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "each is the function of its name")]
pub enum ReduceFn {
    Sum,
    Max,
    Min,
}

impl MapFn {
    /// Every function, for tables and tests.
    pub const ALL: &'static [MapFn] = {
        use MapFn::*;
        &[
            Neg,
            Abs,
            Sign,
            Exp,
            Log,
            Sqrt,
            Rsqrt,
            Recip,
            Sin,
            Cos,
            Tanh,
            Sigmoid,
            Erf,
            Relu,
            Floor,
            Not,
            Cast,
            StopGradient,
            Add,
            Sub,
            Mul,
            Div,
            Pow,
            Max,
            Min,
            Mod,
            Eq,
            Ne,
            Lt,
            Le,
            Gt,
            Ge,
            And,
            Or,
            Where,
        ]
    };

    /// Number of operands.
    pub fn arity(self) -> usize {
        use MapFn::*;
        match self {
            Neg | Abs | Sign | Exp | Log | Sqrt | Rsqrt | Recip | Sin | Cos | Tanh | Sigmoid | Erf | Relu | Floor | Not | Cast
            | StopGradient => 1,
            Add | Sub | Mul | Div | Pow | Max | Min | Mod | Eq | Ne | Lt | Le | Gt | Ge | And | Or => 2,
            Where => 3,
        }
    }

    /// Whether the result is bool whatever the operands.
    pub fn is_predicate(self) -> bool {
        use MapFn::*;
        matches!(self, Not | Eq | Ne | Lt | Le | Gt | Ge | And | Or)
    }

    /// The name in the textual form.
    pub fn name(self) -> &'static str {
        use MapFn::*;
        match self {
            Neg => "neg",
            Abs => "abs",
            Sign => "sign",
            Exp => "exp",
            Log => "log",
            Sqrt => "sqrt",
            Rsqrt => "rsqrt",
            Recip => "recip",
            Sin => "sin",
            Cos => "cos",
            Tanh => "tanh",
            Sigmoid => "sigmoid",
            Erf => "erf",
            Relu => "relu",
            Floor => "floor",
            Not => "not",
            Cast => "cast",
            StopGradient => "stop_gradient",
            Add => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            Pow => "pow",
            Max => "max",
            Min => "min",
            Mod => "mod",
            Eq => "eq",
            Ne => "ne",
            Lt => "lt",
            Le => "le",
            Gt => "gt",
            Ge => "ge",
            And => "and",
            Or => "or",
            Where => "where",
        }
    }
}

impl ReduceFn {
    /// Every reduction, for tables and tests.
    pub const ALL: &'static [ReduceFn] = &[ReduceFn::Sum, ReduceFn::Max, ReduceFn::Min];

    /// The name in the textual form.
    pub fn name(self) -> &'static str {
        match self {
            ReduceFn::Sum => "sum",
            ReduceFn::Max => "max",
            ReduceFn::Min => "min",
        }
    }
}
