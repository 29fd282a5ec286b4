//! Kernels: what one launch computes, with every size and stride fixed. Strides are in elements, relative to the kernel's arguments.
//!
//! A row program visits the points of `outer` (one row each); an instruction's result is a row of `inner` elements or one scalar of
//! the row. All chunking is fixed here, so results do not depend on the number of threads.

use crate::op::{Distribution, MapFn, ReduceFn, Scalar};
use crate::shape::DType;

/// An argument of a kernel.
#[derive(Clone, PartialEq, Debug)]
pub struct Arg {
    /// Element type.
    pub dtype: DType,
    /// Whether the kernel writes it.
    pub write: bool,
}

/// An instruction of the same program, by position.
pub type Reg = u32;

/// One stride per outer and per inner dim.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Strides of the outer dims.
    pub outer: Vec<i64>,
    /// Strides of the inner dims.
    pub inner: Vec<i64>,
}

/// What an instruction of a row program does.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the variant's text names the fields")]
pub enum RowOp {
    /// A scalar.
    Const(Scalar),
    /// Elements of an argument.
    Load { arg: u32, at: Access },
    /// Elements of an argument at `index * stride` beyond `at`; `index` is checked against `size`. `site` names the place in errors.
    Pick { arg: u32, at: Access, index: Reg, stride: i64, size: u64, site: u32 },
    /// Element of a row at a position (a scalar, checked).
    Element { row: Reg, index: Reg, site: u32 },
    /// i32: the sum of index times stride.
    Iota { at: Access },
    /// Random numbers; `at` gives the element's position in the stream.
    Random { distribution: Distribution, site: u64, inputs: Vec<Reg>, at: Access },
    /// Element-wise function of registers.
    Map { f: MapFn, args: Vec<Reg> },
    /// Several element-wise functions in one, on f32.
    Fused { f: FusedFn, args: Vec<Reg> },
    /// The derivative at the operand of the [`FusedFn::Gelu`] just before.
    Slope { of: Reg },
    /// Row to scalar.
    Reduce { f: ReduceFn, row: Reg },
    /// Row to the i32 position of its largest element.
    ArgMax { row: Reg },
    /// Writes an argument; a scalar is written to each element of the row where the access has inner strides. `over`: arguments that are
    /// the same memory, element by element; every use of what they loaded comes before this.
    Store { arg: u32, at: Access, value: Reg, over: Vec<u32> },
    /// Folds a row (or scalar) over all rows of the chunk into the chunk's part of an argument.
    Accumulate { f: ReduceFn, arg: u32, value: Reg },
}

/// See [`RowOp::Fused`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FusedFn {
    /// `a * b + c`.
    MulAdd,
    /// `(a - b) * c`.
    SubMul,
    /// `a * (1 + erf(a / sqrt 2)) / 2`.
    Gelu,
    /// Its derivative.
    GeluSlope,
}

impl FusedFn {
    /// For the reader.
    pub fn name(self) -> &'static str {
        match self {
            FusedFn::MulAdd => "mul_add",
            FusedFn::SubMul => "sub_mul",
            FusedFn::Gelu => "gelu",
            FusedFn::GeluSlope => "gelu_slope",
        }
    }
}

/// Registers that an instruction reads.
pub fn uses(op: &RowOp) -> Vec<Reg> {
    match op {
        RowOp::Const(_) | RowOp::Load { .. } | RowOp::Iota { .. } => Vec::new(),
        RowOp::Pick { index, .. } => vec![*index],
        RowOp::Element { row, index, .. } => vec![*row, *index],
        RowOp::Random { inputs, .. } => inputs.clone(),
        RowOp::Map { args, .. } | RowOp::Fused { args, .. } => args.clone(),
        RowOp::Slope { of } => vec![*of],
        RowOp::Reduce { row, .. } | RowOp::ArgMax { row } => vec![*row],
        RowOp::Store { value, .. } | RowOp::Accumulate { value, .. } => vec![*value],
    }
}

/// Gives every register that an instruction reads another number.
pub fn renumber(op: &mut RowOp, to: impl Fn(Reg) -> Reg) {
    let list = |regs: &mut Vec<Reg>| regs.iter_mut().for_each(|r| *r = to(*r));
    match op {
        RowOp::Const(_) | RowOp::Load { .. } | RowOp::Iota { .. } => {}
        RowOp::Pick { index, .. } => *index = to(*index),
        RowOp::Element { row, index, .. } => (*row, *index) = (to(*row), to(*index)),
        RowOp::Random { inputs, .. } => list(inputs),
        RowOp::Map { args, .. } | RowOp::Fused { args, .. } => list(args),
        RowOp::Slope { of } => *of = to(*of),
        RowOp::Reduce { row, .. } | RowOp::ArgMax { row } => *row = to(*row),
        RowOp::Store { value, .. } | RowOp::Accumulate { value, .. } => *value = to(*value),
    }
}

/// One instruction.
#[derive(Clone, PartialEq, Debug)]
pub struct Instr {
    /// What it does.
    pub op: RowOp,
    /// Element type of the result (of the stored value for stores).
    pub dtype: DType,
    /// Whether the result is a row; else one scalar for each row.
    pub row: bool,
}

/// A row program.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rows {
    /// Sizes of the outer dims, slowest first.
    pub outer: Vec<u64>,
    /// Sizes of the inner dims, slowest first. Usually one.
    pub inner: Vec<u64>,
    /// The (single) inner dim is walked in rows of this many elements; the number of the row along it is one more, fastest, outer dim
    /// without strides of its own.
    pub block: Option<u64>,
    /// Instructions in order of definition.
    pub instrs: Vec<Instr>,
    /// Independent parts of the rows, of equal length but for the last.
    pub chunks: u64,
    /// Arguments.
    pub args: Vec<Arg>,
}

impl Rows {
    /// Elements of a whole inner row.
    pub fn inner_len(&self) -> u64 {
        self.inner.iter().product()
    }

    /// Elements that a row has at once (the last block may be shorter).
    pub fn row_len(&self) -> u64 {
        self.block.unwrap_or_else(|| self.inner_len())
    }

    /// Blocks along the inner dim.
    pub fn blocks(&self) -> u64 {
        self.block.map_or(1, |b| self.inner_len().div_ceil(b))
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.outer.iter().product::<u64>() * self.blocks()
    }

    /// Rows of a chunk (the last may have fewer).
    pub fn rows_per_chunk(&self) -> u64 {
        self.rows().div_ceil(self.chunks.max(1)).max(1)
    }
}

/// A loop around a matrix product.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GemmLoop {
    /// Iterations.
    pub size: u64,
    /// Strides of a, b and c.
    pub strides: [i64; 3],
}

/// `c = a b` for every point of `batch`, summed over `sums`, or `c = d + a b`. Arguments: a, b, c, and d where it adds, with the strides of c.
#[derive(Clone, PartialEq, Debug)]
pub struct Gemm {
    /// Independent products.
    pub batch: Vec<GemmLoop>,
    /// Products that add up (parts of the contracted axes that no single stride covers).
    pub sums: Vec<GemmLoop>,
    /// Rows of a and c.
    pub m: u64,
    /// Columns of b and c.
    pub n: u64,
    /// Columns of a, rows of b.
    pub k: u64,
    /// Row and column strides of a.
    pub a: [i64; 2],
    /// Row and column strides of b.
    pub b: [i64; 2],
    /// Row and column strides of c.
    pub c: [i64; 2],
    /// Independent parts of m.
    pub m_parts: u64,
    /// Independent parts of n.
    pub n_parts: u64,
    /// Whether the product is added to d; d may be c.
    pub adds: bool,
}

/// Strides of one operand of attention: positions and features.
pub type Pair = [i64; 2];

/// Attention for every point of `batch`. Arguments: q, k, v, mix, lse; of the gradient: q, k, v, mix, lse, dmix, dq, dk, dv.
#[derive(Clone, PartialEq, Debug)]
pub struct Attend {
    /// Sizes and strides (one per argument) of the shared axes.
    pub batch: Vec<(u64, Vec<i64>)>,
    /// Sizes of query, source, key, value.
    pub sizes: [u64; 4],
    /// Multiplies scores.
    pub scale: f64,
    /// See [`crate::op::Attention`].
    pub causal: Option<i64>,
    /// Strides per argument (lse: the second is 0).
    pub strides: Vec<Pair>,
    /// Whether this is the gradient.
    pub grad: bool,
}

/// `out[at positions] += updates`. Arguments: positions, updates, out.
#[derive(Clone, PartialEq, Debug)]
pub struct Scatter {
    /// Size and stride (of out) of the target axis.
    pub target: (u64, i64),
    /// Axes of the positions: size, strides of positions, updates, out (0 where summed).
    pub points: Vec<(u64, [i64; 3])>,
    /// Other axes of the updates, slowest first: size, strides of updates, out (0 where summed).
    pub rest: Vec<(u64, [i64; 2])>,
    /// Sizes and strides of everything but the target in out, for clearing.
    pub clear: Vec<(u64, i64)>,
    /// Element type.
    pub dtype: DType,
    /// Independent ranges of the target.
    pub chunks: u64,
    /// Index into the plan's sites.
    pub site: u32,
}

/// For every point of `batch` and `columns`, the solution of a triangular system with ones on the diagonal. Arguments: matrix, right-hand
/// side, result.
#[derive(Clone, PartialEq, Debug)]
pub struct Solve {
    /// Systems: size, strides of the matrix, the right-hand side and the result.
    pub batch: Vec<(u64, [i64; 3])>,
    /// Right-hand sides of one system, slowest first: size, strides of the right-hand side and the result.
    pub columns: Vec<(u64, [i64; 2])>,
    /// Unknowns.
    pub size: u64,
    /// Strides of the matrix: equations, unknowns.
    pub matrix: [i64; 2],
    /// Strides of the right-hand side and the result along the unknowns.
    pub rows: [i64; 2],
    /// From the last unknown to the first.
    pub backwards: bool,
}

/// Folds `chunks` parts of `len` elements in order. Arguments: parts, out.
#[derive(Clone, PartialEq, Debug)]
pub struct Fold {
    /// How.
    pub f: ReduceFn,
    /// Element type.
    pub dtype: DType,
    /// Number of parts.
    pub chunks: u64,
    /// Elements of a part.
    pub len: u64,
    /// Dims of the result: size and stride of out.
    pub dims: Vec<(u64, i64)>,
}

/// The best positions of every row, in ascending order. Arguments: scores (one, or one for each dim that is searched), positions.
#[derive(Clone, PartialEq, Debug)]
pub struct TopK {
    /// Rows: size, strides of each score and of the result.
    pub rows: Vec<(u64, Vec<i64>)>,
    /// Per score: sizes and strides of the dims that are searched, slowest first. The score of a position is the sum of all.
    pub over: Vec<Vec<(u64, i64)>>,
    /// How many are chosen.
    pub k: u64,
    /// Stride of the result along them.
    pub into: i64,
    /// Independent parts of the rows.
    pub chunks: u64,
}

/// Points sorted by group, stably. Arguments: positions, sequence, ends.
#[derive(Clone, PartialEq, Debug)]
pub struct Route {
    /// Axes of the points, slowest first: size, strides of the positions and of the group's number.
    pub points: Vec<(u64, [i64; 2])>,
    /// Positions there are; a group's number is that of its shared axes times this, plus the position.
    pub size: u64,
    /// Sizes and strides of the sequence.
    pub sequence: Vec<(u64, i64)>,
    /// Sizes and strides of the ends: all groups.
    pub ends: Vec<(u64, i64)>,
    /// Index into the plan's sites.
    pub site: u32,
}

/// Runs of points: where a sequence and its ends lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Runs {
    /// Sizes and strides of the sequence.
    pub sequence: Vec<(u64, i64)>,
    /// Sizes and strides of the ends.
    pub ends: Vec<(u64, i64)>,
    /// Groups: size, stride of the weights (or of their gradient).
    pub groups: Vec<(u64, i64)>,
}

/// For every point of every run, `row of result (+)= row of x times the group's matrix`. Arguments: x, w, positions, sequence, ends, result.
#[derive(Clone, PartialEq, Debug)]
pub struct Routed {
    /// Axes of the points, slowest first: size, strides of x and of the result.
    pub points: Vec<(u64, [i64; 2])>,
    /// The runs.
    pub runs: Runs,
    /// Independent products: strides of x, w, result.
    pub batch: Vec<GemmLoop>,
    /// Products that add up.
    pub sums: Vec<GemmLoop>,
    /// Columns of w and the result.
    pub n: u64,
    /// Columns of x, rows of w.
    pub k: u64,
    /// Column stride of x.
    pub a: i64,
    /// Row and column strides of w.
    pub b: [i64; 2],
    /// Column stride of the result.
    pub c: i64,
    /// Rows of the result that several points add to: sizes and strides, for clearing. Else every point has its own row.
    pub add: Option<Vec<(u64, i64)>>,
    /// Independent parts: of the columns where rows add, else of the sequence.
    pub parts: u64,
}

/// As [`Routed`] for matrices of one row or one column, point by point without the sequence. Arguments: x, w, positions, result.
#[derive(Clone, PartialEq, Debug)]
pub struct RoutedRows {
    /// Axes of the points that the result has, slowest first: size, strides of x, w, positions, result.
    pub rows: Vec<(u64, [i64; 4])>,
    /// Axes of the points that are summed.
    pub inner: Vec<(u64, [i64; 4])>,
    /// Size and stride (of w) of the axis of positions.
    pub experts: (u64, i64),
    /// Independent products: strides of x, w, result.
    pub batch: Vec<GemmLoop>,
    /// Products that add up.
    pub sums: Vec<GemmLoop>,
    /// Columns of w and the result.
    pub n: u64,
    /// Columns of x, rows of w.
    pub k: u64,
    /// Column stride of x.
    pub a: i64,
    /// Row and column strides of w.
    pub b: [i64; 2],
    /// Column stride of the result.
    pub c: i64,
    /// Independent parts of the rows.
    pub chunks: u64,
    /// Index into the plan's sites.
    pub site: u32,
}

/// For every group, the sum over its run of `column of x times row of y`. Arguments: x, y, sequence, ends, result.
#[derive(Clone, PartialEq, Debug)]
pub struct RoutedOuter {
    /// Axes of the points, slowest first: size, strides of x and y.
    pub points: Vec<(u64, [i64; 2])>,
    /// The runs.
    pub runs: Runs,
    /// Independent products: strides of x, y, result.
    pub batch: Vec<GemmLoop>,
    /// Products that add up.
    pub sums: Vec<GemmLoop>,
    /// Rows of the result.
    pub m: u64,
    /// Columns of the result.
    pub n: u64,
    /// Stride of x along the rows.
    pub a: i64,
    /// Stride of y along the columns.
    pub b: i64,
    /// Row and column strides of the result.
    pub c: [i64; 2],
    /// Independent parts of m.
    pub m_parts: u64,
}

/// What a launch runs.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "each wraps the type of its name")]
pub enum Work {
    Rows(Rows),
    Gemm(Gemm),
    Attend(Attend),
    Solve(Solve),
    Scatter(Scatter),
    Fold(Fold),
    TopK(TopK),
    Route(Route),
    Routed(Routed),
    RoutedRows(RoutedRows),
    RoutedOuter(RoutedOuter),
}

impl Work {
    /// Whether argument `arg` is written (and not read).
    pub fn writes(&self, arg: usize) -> bool {
        match self {
            Work::Rows(rows) => rows.args.get(arg).is_some_and(|a| a.write),
            Work::Gemm(_) | Work::Scatter(_) | Work::Solve(_) => arg == 2,
            Work::Attend(a) => {
                if a.grad {
                    arg >= 6
                } else {
                    arg >= 3
                }
            }
            Work::Fold(_) => arg == 1,
            Work::TopK(t) => arg == t.over.len(),
            Work::Route(_) => arg >= 1,
            Work::Routed(_) => arg == 5,
            Work::RoutedRows(_) => arg == 3,
            Work::RoutedOuter(_) => arg == 4,
        }
    }

    /// Multiplications and additions of one launch, where it is a product of matrices.
    pub fn product_flops(&self) -> Option<u64> {
        let times = |loops: &[GemmLoop]| loops.iter().map(|l| l.size).product::<u64>();
        let all = |points: &[(u64, [i64; 2])]| points.iter().map(|p| p.0).product::<u64>();
        match self {
            Work::Gemm(g) => Some(2 * times(&g.batch) * times(&g.sums) * g.m * g.n * g.k),
            Work::Routed(r) => Some(2 * times(&r.batch) * times(&r.sums) * all(&r.points) * r.n * r.k),
            Work::RoutedOuter(r) => Some(2 * times(&r.batch) * times(&r.sums) * all(&r.points) * r.m * r.n),
            _ => None,
        }
    }

    /// Sizes of a product of matrices in a few words, `products x rows x inner x columns`; the inner dim as `sums * size` where it is not one
    /// run of memory.
    pub fn product_sizes(&self) -> Option<String> {
        let times = |loops: &[GemmLoop]| loops.iter().map(|l| l.size).product::<u64>();
        let inner = |sums: u64, k: u64| if sums == 1 { k.to_string() } else { format!("{sums}*{k}") };
        match self {
            Work::Gemm(g) => {
                let inner = inner(times(&g.sums), g.k);
                Some(match times(&g.batch) {
                    1 => format!("{}x{inner}x{}", g.m, g.n),
                    many => format!("{many}x{}x{inner}x{}", g.m, g.n),
                })
            }
            _ => None,
        }
    }
}
