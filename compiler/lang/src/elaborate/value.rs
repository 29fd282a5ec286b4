//! Values of expressions, and arithmetic on constants.

use crate::hir::{Constant, NodeId};
use crate::syntax::BinaryOp;

/// What an expression means.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Val {
    /// A node of the body.
    Tensor(NodeId),
    /// Known before anything runs.
    Const(Const),
    /// A selection, by position in the body's picks.
    Pick(usize),
    /// A sum that must not be formed, by position in the body's sums.
    Sum(usize),
    /// Several outputs.
    Tuple(Vec<Val>),
    /// Already reported.
    Error,
}

/// A constant.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Const {
    /// A number.
    Number(f64),
    /// A truth value.
    Bool(bool),
    /// One of several words, with the choice.
    Word(String, Vec<String>),
    /// Depends on a size or constant that only a caller fixes.
    Unknown,
}

impl Const {
    /// What it is, for messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Const::Number(x) => format!("the number {x}"),
            Const::Bool(b) => format!("`{b}`"),
            Const::Word(w, _) => format!("the word `{w}`"),
            Const::Unknown => "a constant".into(),
        }
    }

    /// For the instance, where it is known.
    pub(crate) fn known(&self) -> Option<Constant> {
        match self {
            Const::Number(x) => Some(Constant::Number(*x)),
            Const::Bool(b) => Some(Constant::Bool(*b)),
            Const::Word(w, _) => Some(Constant::Word(w.clone())),
            Const::Unknown => None,
        }
    }
}

/// Why arithmetic on constants fails.
pub(crate) enum Fault {
    /// The operands are of kinds that the operator does not take.
    Kind,
    /// The result is not a number, or 0 is divided by.
    Range,
}

/// `a op b`.
pub(crate) fn binary(op: BinaryOp, a: &Const, b: &Const) -> Result<Const, Fault> {
    use BinaryOp::*;
    match (op, a, b) {
        // these need no unknown operand
        (And, Const::Bool(false), _) | (And, _, Const::Bool(false)) => Ok(Const::Bool(false)),
        (Or, Const::Bool(true), _) | (Or, _, Const::Bool(true)) => Ok(Const::Bool(true)),
        (_, Const::Unknown, _) | (_, _, Const::Unknown) => Ok(Const::Unknown),
        (_, Const::Number(x), Const::Number(y)) => number(op, *x, *y),
        (And, Const::Bool(x), Const::Bool(y)) => Ok(Const::Bool(*x && *y)),
        (Or, Const::Bool(x), Const::Bool(y)) => Ok(Const::Bool(*x || *y)),
        (Eq, Const::Bool(x), Const::Bool(y)) => Ok(Const::Bool(x == y)),
        (Ne, Const::Bool(x), Const::Bool(y)) => Ok(Const::Bool(x != y)),
        (Eq, Const::Word(x, _), Const::Word(y, _)) => Ok(Const::Bool(x == y)),
        (Ne, Const::Word(x, _), Const::Word(y, _)) => Ok(Const::Bool(x != y)),
        _ => Err(Fault::Kind),
    }
}

#[allow(clippy::float_cmp, reason = "constants compare exactly")]
fn number(op: BinaryOp, x: f64, y: f64) -> Result<Const, Fault> {
    use BinaryOp::*;
    let value = match op {
        Add => x + y,
        Sub => x - y,
        Mul => x * y,
        Div if y == 0.0 => return Err(Fault::Range),
        Div => x / y,
        Pow => x.powf(y),
        Lt => return Ok(Const::Bool(x < y)),
        Le => return Ok(Const::Bool(x <= y)),
        Gt => return Ok(Const::Bool(x > y)),
        Ge => return Ok(Const::Bool(x >= y)),
        Eq => return Ok(Const::Bool(x == y)),
        Ne => return Ok(Const::Bool(x != y)),
        And | Or | Pipe => return Err(Fault::Kind),
    };
    // infinity is a number of the language only where it is written
    if value.is_nan() || (value.is_infinite() && x.is_finite() && y.is_finite()) { Err(Fault::Range) } else { Ok(Const::Number(value)) }
}

/// A function of numbers that is known before anything runs.
pub(crate) fn function(name: &str, args: &[f64]) -> Option<Result<f64, Fault>> {
    let value = match (name, args) {
        ("ceil", [x]) => x.ceil(),
        ("round", [x]) => x.round(),
        ("floor", [x]) => x.floor(),
        ("log", [x]) => x.ln(),
        ("exp", [x]) => x.exp(),
        ("sqrt", [x]) => x.sqrt(),
        ("rsqrt", [x]) => 1.0 / x.sqrt(),
        ("abs", [x]) => x.abs(),
        ("sign", [x]) => {
            if *x == 0.0 {
                0.0
            } else {
                x.signum()
            }
        }
        ("sin", [x]) => x.sin(),
        ("cos", [x]) => x.cos(),
        ("tanh", [x]) => x.tanh(),
        ("sigmoid", [x]) => 1.0 / (1.0 + (-x).exp()),
        ("relu", [x]) => x.max(0.0),
        ("float", [x]) => *x,
        ("min", [x, y]) => x.min(*y),
        ("max", [x, y]) => x.max(*y),
        ("pow", [x, y]) => x.powf(*y),
        _ => return None,
    };
    let finite = args.iter().all(|x| x.is_finite());
    Some(if value.is_nan() || (value.is_infinite() && finite) { Err(Fault::Range) } else { Ok(value) })
}

/// Words for an operator.
pub(crate) fn symbol(op: BinaryOp) -> &'static str {
    use BinaryOp::*;
    match op {
        Add => "+",
        Sub => "-",
        Mul => "*",
        Div => "/",
        Pow => "^",
        Lt => "<",
        Le => "<=",
        Gt => ">",
        Ge => ">=",
        Eq => "==",
        Ne => "!=",
        And => "and",
        Or => "or",
        Pipe => "|>",
    }
}
