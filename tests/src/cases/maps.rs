//! Element-wise functions.

use super::Range::{Positive, Signed};
use super::{Case, Class, Derivative, Maker};
use ogive_graph::{DType, MapFn, Value};

/// A case for every function, and some for ways in which operands meet.
pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = MapFn::ALL.iter().map(|&f| of(f)).collect();
    cases.extend(MapFn::ALL.iter().filter(|&&f| on_integers(f)).map(|&f| {
        Case::new(format!("map {} of i32", f.name()), Class::Exact, Derivative::None, move |m| {
            let (i, j) = (m.axis("i", 2, 37), m.axis("j", 3, 19));
            let operands: Vec<Value> = (0..f.arity()).map(|n| m.whole(&format!("x{n}"), &[[i, j], [j, i]][n])).collect();
            let y = m.map(f, &operands);
            m.yields("y", y);
        })
    }));
    cases.extend([
        Case::new("map of operands without a common axis", Class::Exact, Derivative::Agrees, |m| {
            let (i, j) = (m.axis("i", 3, 130), m.axis("j", 2, 67));
            let (x, z) = (m.float("x", &[i], Signed), m.float("z", &[j], Signed));
            let y = m.map(MapFn::Mul, &[x, z]);
            m.yields("y", y);
        }),
        Case::new("map of a scalar and a tensor", Class::Exact, Derivative::Agrees, |m| {
            let (i, j) = (m.axis("i", 3, 70), m.axis("j", 2, 33));
            let (x, z) = (m.float("x", &[i, j], Signed), m.float("z", &[], Signed));
            let y = m.map(MapFn::Sub, &[z, x]);
            m.yields("y", y);
        }),
        Case::new("map of an operand with itself", Class::Exact, Derivative::Agrees, |m| {
            let i = m.axis("i", 4, 1031);
            let x = m.float("x", &[i], Signed);
            let y = m.map(MapFn::Mul, &[x, x]);
            m.yields("y", y);
        }),
        Case::new("map of operands laid out in opposite orders", Class::Exact, Derivative::Agrees, |m| {
            let (i, j, k) = (m.axis("i", 2, 33), m.axis("j", 3, 17), m.axis("k", 2, 5));
            let (x, z) = (m.float("x", &[i, j, k], Signed), m.float("z", &[k, j, i], Signed));
            let y = m.map(MapFn::Add, &[x, z]);
            m.yields("y", y);
        }),
        Case::new("cast between all types", Class::Exact, Derivative::Agrees, casts),
        Case::new("where of integers", Class::Exact, Derivative::None, |m| {
            let (i, j) = (m.axis("i", 2, 70), m.axis("j", 3, 9));
            let (c, x, z) = (m.truth("c", &[j]), m.whole("x", &[i, j]), m.whole("z", &[i]));
            let y = m.map(MapFn::Where, &[c, x, z]);
            m.yields("y", y);
        }),
    ]);
    cases
}

/// One function of floats, or of truth values where it has no other operands.
fn of(f: MapFn) -> Case {
    let derivative = match f {
        _ if f.is_predicate() => Derivative::None,
        MapFn::StopGradient | MapFn::Sign | MapFn::Floor => Derivative::None,
        _ => Derivative::Agrees,
    };
    Case::new(format!("map {}", f.name()), class(f), derivative, move |m| {
        let (i, j, k) = (m.axis("i", 3, 61), m.axis("j", 2, 13), m.axis("k", 2, 3));
        let first = if matches!(f, MapFn::Log | MapFn::Sqrt | MapFn::Rsqrt | MapFn::Recip | MapFn::Pow) { Positive } else { Signed };
        let second = if matches!(f, MapFn::Div | MapFn::Mod) { Positive } else { Signed };
        let operands = match f {
            MapFn::Not => vec![m.truth("x", &[i, j])],
            MapFn::And | MapFn::Or => vec![m.truth("x", &[i, j]), m.truth("z", &[j])],
            MapFn::Where => vec![m.truth("c", &[i]), m.float("x", &[i, j], Signed), m.float("z", &[k], Signed)],
            _ if f.arity() == 1 => vec![m.float("x", &[i, j], first)],
            _ => vec![m.float("x", &[i, j], first), m.float("z", &[k, j], second)],
        };
        let y = if f == MapFn::Cast {
            let whole = m.b.cast(operands[0], DType::I32);
            let whole = m.b.cast(whole, m.dtype);
            m.map(MapFn::Mul, &[operands[0], whole])
        } else {
            m.map(f, &operands)
        };
        m.yields("y", y);
    })
}

fn class(f: MapFn) -> Class {
    use MapFn::*;
    match f {
        Exp | Log | Rsqrt | Recip | Sin | Cos | Tanh | Sigmoid | Erf | Pow | Mod | Div | Sqrt => Class::Elementary,
        Neg | Abs | Sign | Relu | Floor | Not | Cast | StopGradient | Add | Sub | Mul | Max | Min | Eq | Ne | Lt | Le | Gt | Ge | And
        | Or | Where => Class::Exact,
    }
}

fn on_integers(f: MapFn) -> bool {
    use MapFn::*;
    matches!(f, Neg | Abs | Sign | Relu | Add | Sub | Mul | Div | Max | Min | Mod | Eq | Ne | Lt | Le | Gt | Ge)
}

fn casts(m: &mut Maker<'_>) {
    let i = m.axis("i", 4, 531);
    let (x, n, c) = (m.float("x", &[i], Signed), m.whole("n", &[i]), m.truth("c", &[i]));
    for (name, from) in [("float", x), ("whole", n), ("truth", c)] {
        for to in [m.dtype, DType::I32] {
            let y = m.b.cast(from, to);
            m.yields(&format!("{name} as {to}"), y);
        }
    }
}
