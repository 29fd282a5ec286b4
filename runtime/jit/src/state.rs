//! Row programs over a small matrix, such as a fast-weight state, one instruction at a time for all rows: products of a column and a row added
//! to the matrix, products of the matrix with vectors. A call handles the whole matrix, where the compiled program calls once for each of
//! its short rows.

use crate::gemm::{Product, SmallFn};
use crate::primitives::Primitives;
use crate::primitives::simd::{LANES, Simd};
use ogive_graph::kernel::{FusedFn, Reg, RowOp, Rows, uses};
use ogive_graph::{DType, MapFn, ReduceFn};

/// Most rows and columns.
const SIDE: u64 = 256;

/// `to = y x + z` for every row: x and z advance by their strides from row to row (0: one row for all), y is one element for each.
pub(crate) type RankOneFn = unsafe extern "C" fn(*const RankOne, *const f32, *const f32, *const f32, *mut f32);

/// Sizes and strides of a [`RankOneFn`]; without `add`, z is not read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct RankOne {
    rows: usize,
    columns: usize,
    x: isize,
    y: isize,
    z: isize,
    to: isize,
    add: bool,
}

/// See [`RankOneFn`].
///
/// # Safety
/// The CPU has the features of `S`; the strides stay within the operands.
#[inline(always)]
pub(crate) unsafe fn rank_one<S: Simd>(shape: *const RankOne, x: *const f32, y: *const f32, z: *const f32, to: *mut f32) {
    unsafe {
        let s = &*shape;
        for i in 0..s.rows as isize {
            let (x, z, to) = (x.offset(i * s.x), z.wrapping_offset(i * s.z), to.offset(i * s.to));
            let factor = S::splat(*y.offset(i * s.y));
            let mut j = 0;
            while j + LANES <= s.columns {
                let a = S::load(x.add(j));
                S::store(to.add(j), if s.add { S::fma(a, factor, S::load(z.add(j))) } else { S::mul(a, factor) });
                j += LANES;
            }
            let n = s.columns - j;
            if n > 0 {
                let a = S::load_tail(x.add(j), n);
                S::store_tail(to.add(j), n, if s.add { S::fma(a, factor, S::load_tail(z.add(j), n)) } else { S::mul(a, factor) });
            }
        }
    }
}

/// An argument and its stride from row to row.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Place {
    arg: usize,
    row: isize,
}

/// One call.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Do {
    RankOne { shape: RankOne, x: usize, y: usize, z: usize, to: usize },
    Product { product: Product, a: usize, b: usize, c: usize },
}

/// A program of calls.
pub(crate) struct Program {
    calls: Vec<Do>,
    rank_one: RankOneFn,
    small: SmallFn,
}

impl Program {
    /// The program, where calls for it exist.
    pub(crate) fn new(rows: &Rows, primitives: &'static Primitives) -> Option<Program> {
        let ([count], [columns], None, 1) = (rows.outer.as_slice(), rows.inner.as_slice(), rows.block, rows.chunks) else { return None };
        if !(2..=SIDE).contains(count) || !(2..=SIDE).contains(columns) || rows.args.iter().any(|a| a.dtype != DType::F32) {
            return None;
        }
        let finder = Finder { rows, count: *count as usize, columns: *columns as usize };
        let mut calls = Vec::new();
        for r in 0..rows.instrs.len() as Reg {
            calls.extend(finder.call(r)?);
        }
        Some(Program { calls, rank_one: primitives.rank_one(), small: primitives.small() })
    }

    /// Runs on the given arguments.
    ///
    /// # Safety
    /// They are memory that holds what the row program touches.
    pub(crate) unsafe fn run(&self, args: &[*mut u8]) {
        let at = |i: usize| args[i].cast::<f32>();
        for call in &self.calls {
            // Safety: the caller's; the calls touch what the row program does.
            unsafe {
                match call {
                    Do::RankOne { shape, x, y, z, to } => (self.rank_one)(shape, at(*x), at(*y), at(*z), at(*to)),
                    Do::Product { product, a, b, c } => (self.small)(product, at(*a), at(*b), at(*c)),
                }
            }
        }
    }
}

struct Finder<'a> {
    rows: &'a Rows,
    count: usize,
    columns: usize,
}

impl Finder<'_> {
    fn users(&self, r: Reg) -> impl Iterator<Item = &RowOp> {
        self.rows.instrs.iter().map(|i| &i.op).filter(move |op| uses(op).contains(&r))
    }

    /// Where the one store of a value puts it.
    fn stored(&self, r: Reg) -> Option<Place> {
        let store = self.users(r).find_map(|op| match op {
            RowOp::Store { arg, at, over, .. } if over.is_empty() => Some((*arg, at)),
            _ => None,
        })?;
        let contiguous = if self.rows.instrs[r as usize].row { store.1.inner == [1] } else { store.1.inner.iter().all(|&s| s == 0) };
        let row = *store.1.outer.first()? as isize;
        (contiguous && row != 0).then_some(Place { arg: store.0 as usize, row })
    }

    /// Memory of a row (contiguous) or of one scalar for each row.
    fn place(&self, r: Reg, row: bool) -> Option<Place> {
        let instr = &self.rows.instrs[r as usize];
        if instr.row != row || instr.dtype != DType::F32 {
            return None;
        }
        match &instr.op {
            RowOp::Load { arg, at } => {
                let fits = if row { at.inner == [1] } else { at.inner.iter().all(|&s| s == 0) };
                fits.then_some(Place { arg: *arg as usize, row: *at.outer.first()? as isize })
            }
            RowOp::Fused { .. } | RowOp::Map { .. } if row => self.stored(r),
            _ => None,
        }
    }

    /// A row and a scalar, in whichever order.
    fn pair(&self, a: Reg, b: Reg) -> Option<(Place, Place)> {
        let one = |x, y| Some((self.place(x, true)?, self.place(y, false)?));
        one(a, b).or_else(|| one(b, a))
    }

    fn rank_one(&self, (x, y): (Place, Place), z: Option<Place>, to: Place) -> Do {
        let own = z.unwrap_or(x);
        let (rows, columns) = (self.count, self.columns);
        let shape = RankOne { rows, columns, x: x.row, y: y.row, z: own.row, to: to.row, add: z.is_some() };
        Do::RankOne { shape, x: x.arg, y: y.arg, z: own.arg, to: to.arg }
    }

    /// What an instruction does, if anything; the outer `None` where there is no call for it.
    fn call(&self, r: Reg) -> Option<Option<Do>> {
        let instr = &self.rows.instrs[r as usize];
        let product = |v: Reg| match &self.rows.instrs[v as usize].op {
            RowOp::Map { f: MapFn::Mul, args } => Some((args[0], args[1])),
            _ => None,
        };
        let vector = Product { m: 1, n: 0, k: 0, a: [0, 1], b: [0, 0], c: [0, 1], alpha: 1.0, beta: 0.0 };
        match &instr.op {
            RowOp::Load { .. } => Some(None),
            RowOp::Fused { f: FusedFn::MulAdd, args } if instr.row => {
                let call = self.rank_one(self.pair(args[0], args[1])?, Some(self.place(args[2], true)?), self.stored(r)?);
                Some(Some(call))
            }
            RowOp::Map { f: MapFn::Mul, args } if instr.row => {
                let inside = |op: &RowOp| matches!(op, RowOp::Reduce { f: ReduceFn::Sum, .. } | RowOp::Accumulate { f: ReduceFn::Sum, .. });
                if self.users(r).all(inside) {
                    return Some(None);
                }
                Some(Some(self.rank_one(self.pair(args[0], args[1])?, None, self.stored(r)?)))
            }
            RowOp::Reduce { f: ReduceFn::Sum, row } => {
                let (a, b) = product(*row)?;
                let (a, b) = (self.place(a, true)?, self.place(b, true)?);
                let (matrix, vector_at) = if a.row == 0 { (b, a) } else { (a, b) };
                let to = self.stored(r)?;
                let only_stored = self.users(r).all(|op| matches!(op, RowOp::Store { .. }));
                let product = Product { n: self.count, k: self.columns, b: [1, matrix.row], c: [0, to.row], ..vector };
                let fits = vector_at.row == 0 && matrix.row != 0 && only_stored;
                fits.then_some(Some(Do::Product { product, a: vector_at.arg, b: matrix.arg, c: to.arg }))
            }
            RowOp::Accumulate { f: ReduceFn::Sum, arg, value } => {
                let (a, b) = product(*value)?;
                let (matrix, column) = self.pair(a, b)?;
                let product = Product { n: self.columns, k: self.count, a: [0, column.row], b: [matrix.row, 1], ..vector };
                Some(Some(Do::Product { product, a: column.arg, b: matrix.arg, c: *arg as usize }))
            }
            // Its value was computed where it goes; one store of each.
            RowOp::Store { value, over, .. } => {
                let stores = self.users(*value).filter(|op| matches!(op, RowOp::Store { .. })).count();
                let made = !matches!(self.rows.instrs[*value as usize].op, RowOp::Load { .. });
                (over.is_empty() && stores == 1 && made).then_some(None)
            }
            _ => None,
        }
    }
}
