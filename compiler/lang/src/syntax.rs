//! The abstract syntax: what was written. Every node has a span.

use crate::source::Span;

/// A name as written.
#[derive(Clone, PartialEq, Debug)]
pub struct Ident {
    /// The name.
    pub name: String,
    /// Where.
    pub span: Span,
}

/// One `.arch` file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct File {
    /// Items in source order.
    pub items: Vec<Item>,
    /// Names of items whose header could not be read; already reported.
    pub broken: Vec<Ident>,
}

/// A top-level declaration.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// `import "file.arch"` or `import a, b from "file.arch"` or `import a from std.norm`.
    Import(Import),
    /// `const name = expr`: a number that `--set name=...` overrides.
    Const { name: Ident, value: Expr, doc: Vec<String>, span: Span },
    /// `block`, `cell` or `model`.
    Block(Block),
    /// `experiment`.
    Experiment(Experiment),
    /// `sweep`.
    Sweep(Sweep),
}

/// Names taken from another file. All of its items where `names` is empty.
#[derive(Clone, PartialEq, Debug)]
pub struct Import {
    /// What is taken.
    pub names: Vec<Ident>,
    /// From where.
    pub from: ImportFrom,
    /// Where.
    pub span: Span,
}

/// Source of an import.
#[derive(Clone, PartialEq, Debug)]
pub enum ImportFrom {
    /// A path relative to the importing file.
    Path { path: String, span: Span },
    /// `std.name`: a file of the standard library (which is visible without import; this form documents use).
    Std { name: Ident, span: Span },
}

/// Which of the three kinds of block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockKind {
    /// A function with weights.
    Block,
    /// One step of a recurrence.
    Cell,
    /// What an experiment trains.
    Model,
}

/// `block name[dims](ports) -> outputs { statements }`.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    /// Which kind.
    pub kind: BlockKind,
    /// `///` lines above it, without the slashes.
    pub doc: Vec<String>,
    /// Its name.
    pub name: Ident,
    /// Declared dims.
    pub dims: Vec<DimParam>,
    /// Inputs, tensors and constants.
    pub inputs: Vec<PortIn>,
    /// Outputs.
    pub outputs: Vec<PortOut>,
    /// Statements; order is free.
    pub body: Vec<Stmt>,
    /// The whole.
    pub span: Span,
    /// From the keyword to the outputs.
    pub header: Span,
}

/// `key` or `key = model / head`.
#[derive(Clone, PartialEq, Debug)]
pub struct DimParam {
    /// The dim.
    pub name: Ident,
    /// Its size where the caller does not say.
    pub default: Option<Expr>,
}

/// `name: type = default`.
#[derive(Clone, PartialEq, Debug)]
pub struct PortIn {
    /// The name.
    pub name: Ident,
    /// Tensor or constant.
    pub ty: PortType,
    /// Used where the caller does not say. For tensors an expression over other ports (`route: [model] = x`).
    pub default: Option<Expr>,
    /// Where.
    pub span: Span,
}

/// Type of an input.
#[derive(Clone, PartialEq, Debug)]
pub enum PortType {
    /// A tensor.
    Tensor(TensorType),
    /// A compile-time whole number.
    Int(Span),
    /// A compile-time number.
    Float(Span),
    /// A compile-time truth value.
    Bool(Span),
    /// One of several words: `none | learned | rotary`.
    Choice(Vec<Ident>),
}

/// `[seq, model]`, or `[seq] in vocab` for positions along `vocab`.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorType {
    /// Dims.
    pub dims: Vec<Ident>,
    /// For integer tensors, the dim whose positions they are.
    pub domain: Option<Ident>,
    /// Where.
    pub span: Span,
}

/// `y: [seq, model]`.
#[derive(Clone, PartialEq, Debug)]
pub struct PortOut {
    /// The name of the equation that gives it.
    pub name: Ident,
    /// Its dims.
    pub ty: TensorType,
}

/// A statement of a block.
#[derive(Clone, PartialEq, Debug)]
pub enum Stmt {
    /// `param Wq, Wk: [model, head, key] ~ normal(0.02) |> equal_norms(over: model)`.
    Param { names: Vec<Ident>, ty: TensorType, init: Option<Expr>, span: Span },
    /// `state W: [key, value] = 0` or `= param ~ init` (then `value` is `StateStart::Param`).
    State { names: Vec<Ident>, ty: TensorType, start: StateStart, span: Span },
    /// `instance enc = encoder(head: 4)`: a block with its dims and constants given, to be called as `enc(x)`; calls share weights.
    Instance { name: Ident, of: Ident, args: Vec<Arg>, span: Span },
    /// `name = expr` or `(a, b) = expr`.
    Equation { names: Vec<Ident>, value: Expr, span: Span },
    /// `rewrite(M, r) = expr`: an abbreviation, local to the block.
    Local { name: Ident, params: Vec<Ident>, value: Expr, span: Span },
    /// `tap name = expr`: an inner value for losses, probes and plots.
    Tap { name: Ident, value: Expr, span: Span },
}

/// Start value of a state.
#[derive(Clone, PartialEq, Debug)]
pub enum StateStart {
    /// A number or tensor.
    Value(Expr),
    /// A learned start value.
    Param { init: Option<Expr>, span: Span },
}

/// An expression.
#[derive(Clone, PartialEq, Debug)]
pub struct Expr {
    /// What.
    pub kind: ExprKind,
    /// Where.
    pub span: Span,
}

/// The forms of an expression.
#[derive(Clone, PartialEq, Debug)]
pub enum ExprKind {
    /// `0.5`, `1e-3`, `16`, `inf`.
    Number(f64),
    /// `true`, `false`.
    Bool(bool),
    /// `"text"`.
    Text(String),
    /// A port, param, equation, dim (its size), constant or word; dotted (`optimizer.lr`, `validation.loss`) in experiments.
    Name(Vec<Ident>),
    /// `prev W`.
    Prev(Ident),
    /// `-x`, `not x`.
    Unary(UnaryOp, Box<Expr>),
    /// `a + b`.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `a @key b`, `a @[head, key] b`.
    Contract { left: Box<Expr>, over: Vec<Ident>, right: Box<Expr> },
    /// `f(x, over: model)`.
    Call(Call),
    /// `stack 18 of f(x)` (`share: false`), `share 9 of f(x)`.
    Repeat { share: bool, times: Box<Expr>, call: Call },
    /// `scan cell(x) along seq`, `scan cell(x) backward along seq`.
    Scan { call: Call, along: Ident, backward: bool },
    /// `x[seq as src]`, `W[pick]`, `b[rate: 0]`, several separated by commas.
    Index { of: Box<Expr>, by: Vec<Index> },
    /// `if c { a } else { b }`, c known at compile time.
    If { condition: Box<Expr>, then: Box<Expr>, otherwise: Box<Expr> },
    /// `[a, b]`: dims after `over:`, values in sweeps and settings.
    List(Vec<Expr>),
    /// `(a, b)`.
    Tuple(Vec<Expr>),
    /// `model as half`, only as an argument of a call.
    As { from: Vec<Ident>, into: Vec<Ident> },
    /// What could not be parsed; already reported.
    Error,
}

/// A call.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// The block, instance, local or built-in.
    pub callee: Ident,
    /// Arguments, positional before labelled.
    pub args: Vec<Arg>,
    /// The whole.
    pub span: Span,
}

/// `x` or `over: model`.
#[derive(Clone, PartialEq, Debug)]
pub struct Arg {
    /// The label.
    pub label: Option<Ident>,
    /// The value.
    pub value: Expr,
}

/// One entry of an index.
#[derive(Clone, PartialEq, Debug)]
pub enum Index {
    /// `seq as src`, `model as (head, key)`, `(head, key) as model`.
    As { from: Vec<Ident>, into: Vec<Ident>, span: Span },
    /// `rate: 0`.
    At { dim: Ident, at: Expr, span: Span },
    /// `seq: 0..16 as head_of_seq`; `into` is needed, since a slice is another dim.
    Range { dim: Ident, start: Expr, end: Expr, into: Option<Ident>, span: Span },
    /// `tokens`, `pick`: positions or a selection.
    Gather(Expr),
}

/// Unary operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `not`
    Not,
}

/// Binary operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is the operator of its name")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
    And,
    Or,
    /// `x |> f(a)` is `f(x, a)`; in initialisers a post-processing step.
    Pipe,
}

/// `experiment name { settings }`.
#[derive(Clone, PartialEq, Debug)]
pub struct Experiment {
    /// Its name.
    pub name: Ident,
    /// `///` lines.
    pub doc: Vec<String>,
    /// Settings in source order.
    pub settings: Vec<Setting>,
    /// The whole.
    pub span: Span,
}

/// `budget steps: 2000, batch: 16` or `every 200 { evaluate validation }` or `claim validation.loss < 2`.
#[derive(Clone, PartialEq, Debug)]
pub struct Setting {
    /// `model`, `data`, `loss`, `optimizer`, `budget`, `every`, `claim`, `evaluate`, ...
    pub key: Ident,
    /// What follows on the line, separated by commas.
    pub args: Vec<Arg>,
    /// Nested settings of `every`.
    pub body: Vec<Setting>,
    /// The whole.
    pub span: Span,
}

/// `sweep experiment { key in [values] ... }`.
#[derive(Clone, PartialEq, Debug)]
pub struct Sweep {
    /// The experiment that it varies.
    pub of: Ident,
    /// What is varied.
    pub axes: Vec<SweepAxis>,
    /// The whole.
    pub span: Span,
}

/// `optimizer.lr in [1e-3, 3e-4]`.
#[derive(Clone, PartialEq, Debug)]
pub struct SweepAxis {
    /// A key as for `--set`.
    pub key: Vec<Ident>,
    /// Values.
    pub values: Vec<Expr>,
    /// The whole.
    pub span: Span,
}
