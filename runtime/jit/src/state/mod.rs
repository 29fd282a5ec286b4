//! Row programs over a small matrix for each of a few positions, such as fast-weight states or the sensitivities of some units, one
//! instruction at a time for all rows: products of a column and a row added to the matrix, products of the matrix with vectors. A call
//! handles the whole matrix, where the compiled program calls once for each of its short rows.

mod rank_one;

pub(crate) use rank_one::{Operands, RankOne, RankOneFn, rank_one};

use crate::gemm::{Product, SmallFn};
use crate::primitives::Primitives;
use ogive_graph::kernel::{Access, FusedFn, Reg, RowOp, Rows, uses};
use ogive_graph::{DType, MapFn, ReduceFn};
use rank_one::{Summed, TERMS};
use std::collections::BTreeSet;

/// Most rows and columns.
const SIDE: u64 = 256;
/// Most dims of positions that have a matrix each.
const LOOPS: usize = 2;

/// An argument, its stride from row to row, and those from position to position.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Place {
    arg: usize,
    row: isize,
    over: [isize; LOOPS],
}

impl Place {
    /// Where it starts for a position.
    fn at(&self, args: &[*mut u8], position: [usize; LOOPS]) -> *mut f32 {
        let offset = (0..LOOPS).map(|i| position[i] as isize * self.over[i]).sum();
        args[self.arg].cast::<f32>().wrapping_offset(offset)
    }
}

/// A row times the product of one or two scalars for each row, or times another row.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Term {
    x: Place,
    f: Place,
    g: Option<Place>,
    minus: bool,
}

/// The second factor where there is one.
static ONE: f32 = 1.0;

/// A call of a [`RankOneFn`].
#[derive(Clone, Copy, PartialEq, Debug)]
struct Update {
    shape: RankOne,
    terms: [Term; TERMS],
    z: Place,
    v: Place,
    to: Place,
    sum: Place,
}

/// One call for each position.
#[derive(Clone, PartialEq, Debug)]
enum Do {
    /// A sum over rows of the products of two, not yet part of another call.
    Sum {
        x: Place,
        v: Place,
        to: Place,
    },
    RankOne(Box<Update>),
    Product {
        product: Product,
        a: Place,
        b: Place,
        c: Place,
    },
}

/// A program of calls.
pub(crate) struct Program {
    calls: Vec<Do>,
    loops: [usize; LOOPS],
    rank_one: RankOneFn,
    small: SmallFn,
}

impl Program {
    /// The program, where calls for it exist.
    pub(crate) fn new(rows: &Rows, primitives: &'static Primitives) -> Option<Program> {
        if rows.block.is_some() || rows.chunks != 1 || rows.args.iter().any(|a| a.dtype != DType::F32) {
            return None;
        }
        let finder = Finder::new(rows)?;
        let mut calls: Vec<Do> = Vec::new();
        // Arguments that others are written over, and the calls that read them.
        let lost: BTreeSet<usize> = rows.instrs.iter().flat_map(|i| overwritten(&i.op)).map(|&a| a as usize).collect();
        for r in 0..rows.instrs.len() as Reg {
            let Some(next) = finder.call(r)? else { continue };
            match calls.iter_mut().find_map(|call| Some((with_sum(call, &next, rows, &lost)?, call))) {
                Some((both, call)) => *call = both,
                None => calls.push(next),
            }
        }
        if calls.iter().any(|c| matches!(c, Do::Sum { .. })) || !in_time(&calls, rows) {
            return None;
        }
        Some(Program { calls, loops: finder.loops, rank_one: primitives.rank_one(), small: primitives.small() })
    }

    /// Runs on the given arguments.
    ///
    /// # Safety
    /// They are memory that holds what the row program touches.
    pub(crate) unsafe fn run(&self, args: &[*mut u8]) {
        for call in &self.calls {
            for i in 0..self.loops[0] {
                for j in 0..self.loops[1] {
                    let at = |p: &Place| p.at(args, [i, j]);
                    // Safety: the caller's; the calls touch what the row program does.
                    unsafe {
                        match call {
                            Do::RankOne(update) => {
                                let Update { shape, terms, z, v, to, sum } = &**update;
                                let operands = Operands {
                                    x: terms.each_ref().map(|t| at(&t.x).cast_const()),
                                    f: terms.each_ref().map(|t| at(&t.f).cast_const()),
                                    g: terms.each_ref().map(|t| t.g.as_ref().map_or(&raw const ONE, |g| at(g).cast_const())),
                                    z: at(z),
                                    v: at(v),
                                    to: at(to),
                                    sum: at(sum),
                                };
                                (self.rank_one)(shape, &raw const operands);
                            }
                            Do::Product { product, a, b, c } => (self.small)(product, at(a), at(b), at(c)),
                            Do::Sum { .. } => {}
                        }
                    }
                }
            }
        }
    }
}

/// The arguments that a store writes over.
fn overwritten(op: &RowOp) -> &[u32] {
    if let RowOp::Store { over, .. } = op { over } else { &[] }
}

/// Whether no call reads what an earlier one has overwritten. Within a call every element is read before its place is written.
fn in_time(calls: &[Do], program: &Rows) -> bool {
    let mut lost: BTreeSet<usize> = BTreeSet::new();
    calls.iter().all(|call| {
        let (reads, writes) = match call {
            Do::RankOne(u) => {
                let terms = u.terms.iter().flat_map(|t| [t.x.arg, t.f.arg].into_iter().chain(t.g.map(|g| g.arg)));
                (terms.chain([u.z.arg, u.v.arg]).collect(), u.to.arg)
            }
            Do::Product { a, b, c, .. } => (vec![a.arg, b.arg], c.arg),
            Do::Sum { x, v, to } => (vec![x.arg, v.arg], to.arg),
        };
        let fits = !reads.iter().any(|a| lost.contains(a));
        let stores = program.instrs.iter().filter(|i| matches!(i.op, RowOp::Store { arg, .. } if arg as usize == writes));
        lost.extend(stores.flat_map(|i| overwritten(&i.op)).map(|&a| a as usize));
        fits
    })
}

/// A sum over rows taken up by a call that walks the same rows. Its factors are neither of the program's making nor `lost` to it.
fn with_sum(call: &Do, next: &Do, program: &Rows, lost: &BTreeSet<usize>) -> Option<Do> {
    let Do::RankOne(update) = call else { return None };
    let Update { mut shape, mut terms, z, to, .. } = **update;
    let (pair, sum, wide) = match next {
        Do::Sum { x, v, to: sum } => ([(x, v), (v, x)], sum, true),
        // A column times the matrix, not the matrix times a row.
        Do::Product { product, a, b, c } if product.b == [b.row, 1] && product.k == shape.rows && product.n == shape.columns => {
            ([(b, a), (b, a)], c, false)
        }
        _ => return None,
    };
    let given = |factor: &Place| !program.args[factor.arg].write && !lost.contains(&factor.arg);
    let (summed, factor) = pair.into_iter().filter(|p| given(p.1)).find_map(|(matrix, factor)| {
        if *matrix == to {
            return Some((Summed::New, factor));
        }
        (0..shape.terms).find_map(|k| {
            // Of two rows that are multiplied, either may be the one that is summed.
            if shape.wide && terms[k].f == *matrix {
                let term = &mut terms[k];
                std::mem::swap(&mut term.x, &mut term.f);
                std::mem::swap(&mut shape.x[k], &mut shape.f[k]);
            }
            (terms[k].x == *matrix).then(|| {
                terms.swap(0, k);
                shape.swap_terms(0, k);
                (Summed::First, factor)
            })
        })
    })?;
    let fits = shape.summed == Summed::Nothing && shape.wide == wide && shape.rows > 1;
    (shape.v, shape.summed) = (factor.row, summed);
    fits.then(|| Do::RankOne(Box::new(Update { shape, terms, z, v: *factor, to, sum: *sum })))
}

struct Finder<'a> {
    rows: &'a Rows,
    /// The dim of the rows among the outer dims and the inner ones but the last, and what is left of those.
    along: usize,
    others: Vec<usize>,
    loops: [usize; LOOPS],
    count: usize,
    columns: usize,
}

impl Finder<'_> {
    fn new(rows: &Rows) -> Option<Finder<'_>> {
        let (&columns, inner) = rows.inner.split_last()?;
        let sizes: Vec<u64> = rows.outer.iter().chain(inner).copied().collect();
        let sums = rows.instrs.iter().any(|i| matches!(i.op, RowOp::Accumulate { .. }));
        let reduces = rows.instrs.iter().any(|i| matches!(i.op, RowOp::Reduce { .. }));
        if (sums && rows.outer.len() != 1) || (reduces && !inner.is_empty()) {
            return None;
        }
        let along = if sums { 0 } else { (0..sizes.len()).rev().max_by_key(|&d| sizes[d])? };
        let others: Vec<usize> = (0..sizes.len()).filter(|&d| d != along).collect();
        let fits = |size: u64| (2..=SIDE).contains(&size);
        if others.len() > LOOPS || !fits(columns) || !fits(sizes[along]) {
            return None;
        }
        let mut loops = [1; LOOPS];
        for (l, &d) in loops.iter_mut().zip(&others) {
            *l = sizes[d] as usize;
        }
        Some(Finder { rows, along, others, loops, count: sizes[along] as usize, columns: columns as usize })
    }

    fn users(&self, r: Reg) -> impl Iterator<Item = &RowOp> {
        self.rows.instrs.iter().map(|i| &i.op).filter(move |op| uses(op).contains(&r))
    }

    /// A place of rows (contiguous), or of one scalar for each row.
    fn place_at(&self, arg: u32, at: &Access, row: bool) -> Option<Place> {
        let (&last, inner) = at.inner.split_last()?;
        let strides: Vec<isize> = at.outer.iter().chain(inner).map(|&s| s as isize).collect();
        let mut over = [0; LOOPS];
        for (o, &d) in over.iter_mut().zip(&self.others) {
            *o = strides[d];
        }
        (last == i64::from(row)).then_some(Place { arg: arg as usize, row: strides[self.along], over })
    }

    /// Where the one store of a value puts it.
    fn stored(&self, r: Reg) -> Option<Place> {
        let store = self.users(r).find_map(|op| match op {
            RowOp::Store { arg, at, .. } => Some((*arg, at)),
            _ => None,
        })?;
        let place = self.place_at(store.0, store.1, self.rows.instrs[r as usize].row)?;
        let apart = place.row != 0 && (0..self.others.len()).all(|i| place.over[i] != 0);
        apart.then_some(place)
    }

    /// Memory of rows (contiguous) or of one scalar for each row.
    fn place(&self, r: Reg, row: bool) -> Option<Place> {
        let instr = &self.rows.instrs[r as usize];
        if instr.dtype != DType::F32 {
            return None;
        }
        match &instr.op {
            RowOp::Load { arg, at } => self.place_at(*arg, at, row),
            RowOp::Fused { .. } | RowOp::Map { .. } if row && instr.row => self.stored(r),
            _ => None,
        }
    }

    /// A row and a scalar, in whichever order; where `wide`, two rows.
    fn pair(&self, a: Reg, b: Reg, wide: bool) -> Option<(Place, Place)> {
        let one = |x, y| Some((self.place(x, true)?, self.place(y, wide)?));
        one(a, b).or_else(|| one(b, a))
    }

    /// What a product of two registers is made of.
    fn product(&self, r: Reg) -> Option<(Reg, Reg)> {
        match &self.rows.instrs[r as usize].op {
            RowOp::Map { f: MapFn::Mul, args } => Some((args[0], args[1])),
            _ => None,
        }
    }

    /// A product of a row and a factor.
    fn term(&self, a: Reg, b: Reg, wide: bool) -> Option<Term> {
        if let Some((x, f)) = self.pair(a, b, wide) {
            return Some(Term { x, f, g: None, minus: false });
        }
        let one = |x: Reg, f: Reg| {
            let (p, q) = self.product(f).filter(|_| !wide)?;
            Some(Term { x: self.place(x, true)?, f: self.place(p, false)?, g: Some(self.place(q, false)?), minus: false })
        };
        one(a, b).or_else(|| one(b, a))
    }

    /// The products that make up a value, innermost first, and the rows that they are added to.
    fn terms(&self, r: Reg, wide: bool, outermost: bool) -> Option<(Vec<Term>, Option<Place>)> {
        if !outermost && let Some(z) = self.place(r, true) {
            return Some((Vec::new(), Some(z)));
        }
        match &self.rows.instrs[r as usize].op {
            RowOp::Map { f: MapFn::Mul, args } => Some((vec![self.term(args[0], args[1], wide)?], None)),
            RowOp::Fused { f: FusedFn::MulAdd, args } => {
                let (mut terms, z) = self.terms(args[2], wide, false)?;
                terms.push(self.term(args[0], args[1], wide)?);
                Some((terms, z))
            }
            RowOp::Map { f: MapFn::Sub, args } if !wide => {
                let (mut terms, z) = self.terms(args[0], wide, false)?;
                let (a, b) = self.product(args[1])?;
                terms.push(Term { minus: true, ..self.term(a, b, wide)? });
                Some((terms, z))
            }
            _ => None,
        }
    }

    fn rank_one(&self, r: Reg) -> Option<Do> {
        let to = self.stored(r)?;
        [false, true].into_iter().find_map(|wide| {
            let (found, z) = self.terms(r, wide, true)?;
            let first = *found.first().filter(|_| found.len() <= if wide { 2 } else { TERMS })?;
            let mut terms = [first; TERMS];
            terms[..found.len()].copy_from_slice(&found);
            let own = z.unwrap_or(to);
            let shape = RankOne {
                rows: self.count,
                columns: self.columns,
                terms: found.len(),
                x: terms.map(|t| t.x.row),
                f: terms.map(|t| t.f.row),
                g: terms.map(|t| t.g.map_or(0, |g| g.row)),
                pair: terms.map(|t| t.g.is_some()),
                minus: terms.map(|t| t.minus),
                onto: z.is_some(),
                z: own.row,
                v: 0,
                to: to.row,
                summed: Summed::Nothing,
                wide,
            };
            Some(Do::RankOne(Box::new(Update { shape, terms, z: own, v: own, to, sum: to })))
        })
    }

    /// A column times one scalar, stored: one row of as many columns, where its places lie side by side.
    fn column(&self, r: Reg) -> Option<Do> {
        let (a, b) = self.product(r)?;
        let to = self.stored(r).filter(|p| p.row == 1)?;
        let (a, b) = (self.place(a, false)?, self.place(b, false)?);
        let (x, f) = if a.row == 1 { (a, b) } else { (b, a) };
        if x.row != 1 || f.row != 0 {
            return None;
        }
        let terms = [Term { x, f, g: None, minus: false }; TERMS];
        let shape = RankOne {
            rows: 1,
            columns: self.count,
            terms: 1,
            x: [0; TERMS],
            f: [0; TERMS],
            g: [0; TERMS],
            pair: [false; TERMS],
            minus: [false; TERMS],
            onto: false,
            z: 0,
            v: 0,
            to: 0,
            summed: Summed::Nothing,
            wide: false,
        };
        Some(Do::RankOne(Box::new(Update { shape, terms, z: to, v: to, to, sum: to })))
    }

    /// What an instruction does, if anything; the outer `None` where there is no call for it.
    fn call(&self, r: Reg) -> Option<Option<Do>> {
        let instr = &self.rows.instrs[r as usize];
        let vector = Product { m: 1, n: 0, k: 0, a: [0, 1], b: [0, 0], c: [0, 1], alpha: 1.0, beta: 0.0 };
        match &instr.op {
            RowOp::Load { .. } => Some(None),
            RowOp::Fused { f: FusedFn::MulAdd, .. } | RowOp::Map { f: MapFn::Mul | MapFn::Sub, .. } => {
                // Its readers compute it on the way, unless it is stored.
                let inside = |op: &RowOp| match op {
                    RowOp::Reduce { f: ReduceFn::Sum, row } => self.product(*row).is_some() && instr.row,
                    RowOp::Accumulate { f: ReduceFn::Sum, .. } => instr.row,
                    RowOp::Fused { f: FusedFn::MulAdd, args } => !instr.row || (args[2] == r && args[0] != r && args[1] != r),
                    // What is taken away is a product.
                    RowOp::Map { f: MapFn::Sub, args } => args[1] == r && args[0] != r && self.product(r).is_some(),
                    RowOp::Map { f: MapFn::Mul, .. } => !instr.row,
                    _ => false,
                };
                if self.users(r).all(inside) {
                    return Some(None);
                }
                if instr.row { self.rank_one(r).map(Some) } else { self.column(r).map(Some) }
            }
            RowOp::Reduce { f: ReduceFn::Sum, row } => {
                let (a, b) = self.product(*row)?;
                let (a, b) = (self.place(a, true)?, self.place(b, true)?);
                let (matrix, vector_at) = if a.row == 0 { (b, a) } else { (a, b) };
                let to = self.stored(r)?;
                let only_stored = self.users(r).all(|op| matches!(op, RowOp::Store { .. }));
                let product = Product { n: self.count, k: self.columns, b: [1, matrix.row], c: [0, to.row], ..vector };
                let fits = vector_at.row == 0 && matrix.row != 0 && only_stored;
                fits.then_some(Some(Do::Product { product, a: vector_at, b: matrix, c: to }))
            }
            RowOp::Accumulate { f: ReduceFn::Sum, arg, value } => {
                let (a, b) = self.product(*value)?;
                // The sum has the inner dims, one behind the other.
                let mut over = [0; LOOPS];
                let mut stride = self.columns as isize;
                for (i, &size) in self.loops.iter().enumerate().take(self.others.len()).rev() {
                    over[i] = stride;
                    stride *= size as isize;
                }
                let to = Place { arg: *arg as usize, row: 0, over };
                let Some((matrix, column)) = self.pair(a, b, false) else {
                    let (x, v) = self.pair(a, b, true)?;
                    return Some(Some(Do::Sum { x, v, to }));
                };
                let product = Product { n: self.columns, k: self.count, a: [0, column.row], b: [matrix.row, 1], ..vector };
                Some(Some(Do::Product { product, a: column, b: matrix, c: to }))
            }
            // Its value was computed where it goes; one store of each.
            RowOp::Store { value, .. } => {
                let stores = self.users(*value).filter(|op| matches!(op, RowOp::Store { .. })).count();
                let made = !matches!(self.rows.instrs[*value as usize].op, RowOp::Load { .. });
                (stores == 1 && made).then_some(None)
            }
            _ => None,
        }
    }
}
