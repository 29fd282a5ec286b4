//! Rewrites of finished row programs: several element-wise instructions that a primitive computes at once become one.
//!
//! Products are compared as a coefficient times a bag of factors, so that it does not matter how simplification arranged them:
//! gelu is `0.5 x (1 + erf(x / sqrt 2))`, and its derivative times d is `0.5 d (1 + erf(x / sqrt 2)) + d x exp(-x^2 / 2) / sqrt(2 pi)`.

use crate::kernel::{FusedFn, Instr, Reg, RowOp, renumber, uses};
use crate::op::{MapFn, ReduceFn, Scalar};
use crate::shape::DType;

/// Rewrites a program whose instructions know whether they are rows.
pub(super) fn rewrite(instrs: &mut Vec<Instr>) {
    if instrs.iter().any(|i| matches!(i.op, RowOp::Map { f: MapFn::Erf, .. })) {
        gelu(instrs);
        share(instrs);
        sweep(instrs);
        pair(instrs);
    }
    triples(instrs);
    sweep(instrs);
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs()
}

/// A view of the program while it is matched.
struct Program<'a>(&'a [Instr]);

impl Program<'_> {
    fn map(&self, r: Reg) -> Option<(MapFn, &[Reg])> {
        match &self.0[r as usize].op {
            RowOp::Map { f, args } => Some((*f, args)),
            _ => None,
        }
    }

    fn constant(&self, r: Reg) -> Option<f64> {
        match self.0[r as usize].op {
            RowOp::Const(Scalar::Float(x)) => Some(x),
            _ => None,
        }
    }

    /// The value as a coefficient and sorted factors.
    fn product(&self, r: Reg) -> (f64, Vec<Reg>) {
        let mut out = (1.0, Vec::new());
        self.multiply(r, 0, &mut out);
        out.1.sort_unstable();
        out
    }

    fn multiply(&self, r: Reg, depth: u32, out: &mut (f64, Vec<Reg>)) {
        if let Some(x) = self.constant(r) {
            out.0 *= x;
            return;
        }
        match self.map(r) {
            Some((MapFn::Mul, args)) if depth < 8 => args.iter().for_each(|&a| self.multiply(a, depth + 1, out)),
            Some((MapFn::Neg, args)) if depth < 8 => {
                out.0 = -out.0;
                self.multiply(args[0], depth + 1, out);
            }
            _ => out.1.push(r),
        }
    }

    /// x, where the value is `1 + erf(x / sqrt 2)`.
    fn twice_normal(&self, r: Reg) -> Option<Reg> {
        let (MapFn::Add, args) = self.map(r)? else { return None };
        let (erf, one) = if self.constant(args[1]).is_some() { (args[0], args[1]) } else { (args[1], args[0]) };
        let (MapFn::Erf, inner) = self.map(erf)? else { return None };
        match (self.constant(one)?, self.product(inner[0])) {
            (1.0, (c, factors)) if near(c, std::f64::consts::FRAC_1_SQRT_2) && factors.len() == 1 => Some(factors[0]),
            _ => None,
        }
    }

    /// Whether the value is `exp(-x^2 / 2)`.
    fn bell(&self, r: Reg, x: Reg) -> bool {
        let Some((MapFn::Exp, args)) = self.map(r) else { return false };
        let (c, factors) = self.product(args[0]);
        near(c, -0.5) && factors == [x, x]
    }

    /// x, where the value is `gelu(x)`.
    fn gelu(&self, r: Reg) -> Option<Reg> {
        let (c, factors) = self.product(r);
        if !near(c, 0.5) || factors.len() != 2 {
            return None;
        }
        let other = |e: usize| self.twice_normal(factors[e]).filter(|&x| x == factors[1 - e]);
        other(0).or_else(|| other(1))
    }

    /// (d, x), where the value is d times the derivative of gelu at x.
    fn gelu_back(&self, r: Reg) -> Option<(Reg, Reg)> {
        let (MapFn::Add, args) = self.map(r)? else { return None };
        let half = |t: Reg| {
            let (c, factors) = self.product(t);
            let e = factors.iter().position(|&f| self.twice_normal(f).is_some())?;
            (near(c, 0.5) && factors.len() == 2).then(|| (factors[1 - e], factors[e]))
        };
        let tail = |t: Reg, d: Reg, x: Reg| {
            let (c, mut factors) = self.product(t);
            for gone in [d, x] {
                let at = factors.iter().position(|&f| f == gone)?;
                factors.remove(at);
            }
            let scale = 1.0 / (2.0 * std::f64::consts::PI).sqrt();
            (near(c, scale) && factors.len() == 1 && self.bell(factors[0], x)).then_some(())
        };
        [(args[0], args[1]), (args[1], args[0])].into_iter().find_map(|(a, b)| {
            let (d, e) = half(a)?;
            let x = self.twice_normal(e)?;
            tail(b, d, x)?;
            Some((d, x))
        })
    }
}

/// Replaces gelu and its derivative.
fn gelu(instrs: &mut Vec<Instr>) {
    let mut out: Vec<Instr> = Vec::new();
    let mut new: Vec<Reg> = Vec::new();
    for r in 0..instrs.len() as Reg {
        let mut instr = instrs[r as usize].clone();
        let program = Program(instrs);
        let fits = instr.row && instr.dtype == DType::F32;
        if let Some(x) = program.gelu(r).filter(|_| fits) {
            instr.op = RowOp::Fused { f: FusedFn::Gelu, args: vec![x] };
        } else if let Some((d, x)) = program.gelu_back(r).filter(|(_, x)| fits && instrs[*x as usize].row) {
            let op = RowOp::Fused { f: FusedFn::GeluSlope, args: vec![new[x as usize]] };
            out.push(Instr { op, ..instr.clone() });
            instr.op = RowOp::Map { f: MapFn::Mul, args: vec![d, u32::MAX] };
        }
        let slope = (out.len() as Reg).wrapping_sub(1);
        renumber(&mut instr.op, |a| if a == u32::MAX { slope } else { new[a as usize] });
        new.push(out.len() as Reg);
        out.push(instr);
    }
    *instrs = out;
}

/// Gives equal fused instructions one register.
fn share(instrs: &mut [Instr]) {
    let mut same: Vec<Reg> = (0..instrs.len() as Reg).collect();
    for i in 0..instrs.len() {
        let fused = |op: &RowOp| matches!(op, RowOp::Fused { .. });
        if let Some(first) = (0..i).find(|&j| fused(&instrs[i].op) && instrs[j].op == instrs[i].op) {
            same[i] = first as Reg;
        }
        renumber(&mut instrs[i].op, |r| same[r as usize]);
    }
}

/// A gelu and its derivative at the same operand are computed together.
fn pair(instrs: &mut Vec<Instr>) {
    let of = |instrs: &[Instr], f: FusedFn| {
        instrs.iter().position(|i| matches!(&i.op, RowOp::Fused { f: g, .. } if *g == f)).map(|at| (at, uses(&instrs[at].op)[0]))
    };
    let (Some((value, x)), Some((slope, y))) = (of(instrs, FusedFn::Gelu), of(instrs, FusedFn::GeluSlope)) else { return };
    if x != y {
        return;
    }
    let first = value.min(slope);
    let dtype = instrs[value].dtype;
    let op = RowOp::Fused { f: FusedFn::Gelu, args: vec![x] };
    let added = [Instr { op, dtype, row: true }, Instr { op: RowOp::Slope { of: first as Reg }, dtype, row: true }];
    let moved = |r: Reg| {
        let r = r as usize;
        match r {
            _ if r == value => first as Reg,
            _ if r == slope => first as Reg + 1,
            _ => r as Reg + if r >= first { 2 } else { 0 },
        }
    };
    for instr in instrs.iter_mut() {
        renumber(&mut instr.op, moved);
    }
    instrs.splice(first..first, added);
    sweep(instrs);
}

/// Sums and differences with a product that nothing else reads.
fn triples(instrs: &mut [Instr]) {
    let mut used = vec![0u32; instrs.len()];
    let mut summed = vec![false; instrs.len()];
    for instr in instrs.iter() {
        for r in uses(&instr.op) {
            used[r as usize] += 1;
            summed[r as usize] |= matches!(instr.op, RowOp::Reduce { f: ReduceFn::Sum, .. } | RowOp::Accumulate { f: ReduceFn::Sum, .. });
        }
    }
    let compared = compared(instrs);
    for i in 0..instrs.len() {
        let RowOp::Map { f, args } = instrs[i].op.clone() else { continue };
        // A product and sum in one is rounded once.
        if compared[i] && f == MapFn::Add {
            continue;
        }
        if !instrs[i].row || instrs[i].dtype != DType::F32 || summed[i] && f == MapFn::Mul {
            continue;
        }
        let (inner, fused) = match f {
            MapFn::Add => (MapFn::Mul, FusedFn::MulAdd),
            MapFn::Mul => (MapFn::Sub, FusedFn::SubMul),
            _ => continue,
        };
        let found = args.iter().enumerate().find_map(|(j, &a)| {
            let part = &instrs[a as usize];
            match &part.op {
                RowOp::Map { f, args: parts } if *f == inner && part.row && used[a as usize] == 1 => Some((parts.clone(), args[1 - j])),
                _ => None,
            }
        });
        if let Some((mut all, last)) = found {
            all.push(last);
            instrs[i].op = RowOp::Fused { f: fused, args: all };
        }
    }
}

/// What a largest element is chosen from, and what is held against it to see where it was: that must be rounded alike in whichever programs
/// compute it.
fn compared(instrs: &[Instr]) -> Vec<bool> {
    let mut compared = vec![false; instrs.len()];
    for i in (0..instrs.len()).rev() {
        let reads = match &instrs[i].op {
            RowOp::Map { f: MapFn::Eq, .. } | RowOp::ArgMax { .. } => true,
            RowOp::Reduce { f, .. } | RowOp::Accumulate { f, .. } => matches!(f, ReduceFn::Max | ReduceFn::Min),
            RowOp::Map { .. } => compared[i],
            _ => false,
        };
        if reads {
            uses(&instrs[i].op).into_iter().for_each(|r| compared[r as usize] = true);
        }
    }
    compared
}

/// Removes what nothing reads.
fn sweep(instrs: &mut Vec<Instr>) {
    let mut live = vec![false; instrs.len()];
    for i in (0..instrs.len()).rev() {
        live[i] |= matches!(instrs[i].op, RowOp::Store { .. } | RowOp::Accumulate { .. } | RowOp::Pick { .. });
        if live[i] {
            uses(&instrs[i].op).into_iter().for_each(|r| live[r as usize] = true);
        }
    }
    let mut next = 0;
    let new: Vec<Reg> = live
        .iter()
        .map(|&l| {
            next += Reg::from(l);
            next.wrapping_sub(1)
        })
        .collect();
    let mut at = 0;
    instrs.retain(|_| {
        at += 1;
        live[at - 1]
    });
    for instr in instrs.iter_mut() {
        renumber(&mut instr.op, |r| new[r as usize]);
    }
}
