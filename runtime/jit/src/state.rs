//! Row programs over a small matrix for each of a few positions, such as fast-weight states or the sensitivities of some units, one
//! instruction at a time for all rows: products of a column and a row added to the matrix, products of the matrix with vectors. A call
//! handles the whole matrix, where the compiled program calls once for each of its short rows.

use crate::gemm::{Product, SmallFn};
use crate::primitives::Primitives;
use crate::primitives::simd::{LANES, Simd};
use ogive_graph::kernel::{Access, FusedFn, Reg, RowOp, Rows, uses};
use ogive_graph::{DType, MapFn, ReduceFn};

/// Most rows and columns.
const SIDE: u64 = 256;
/// Most dims of positions that have a matrix each.
const LOOPS: usize = 2;

/// `to = y x`, `to = y x + z` or `to = y x + w z` for every row; x, z and to are rows, y and w one element for each row, or rows too. All
/// advance by their strides from row to row (0: one for all). `sum` gets the sum over the rows of `v` times x, or times to, where asked for.
pub(crate) type RankOneFn = unsafe extern "C" fn(*const RankOne, *const Operands);

/// Operands of a [`RankOneFn`].
#[derive(Clone, Copy)]
pub(crate) struct Operands {
    x: *const f32,
    y: *const f32,
    z: *const f32,
    w: *const f32,
    v: *const f32,
    to: *mut f32,
    sum: *mut f32,
}

/// What is added to `y x`.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Added {
    Nothing,
    Row,
    Scaled,
}

/// What is summed over the rows.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Summed {
    Nothing,
    Old,
    New,
}

/// Sizes and strides of a [`RankOneFn`]; what is not asked for is not read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct RankOne {
    rows: usize,
    columns: usize,
    x: isize,
    y: isize,
    z: isize,
    w: isize,
    v: isize,
    to: isize,
    added: Added,
    summed: Summed,
    /// Whether y, w and v are rows.
    wide: bool,
}

/// See [`RankOneFn`].
///
/// # Safety
/// The CPU has the features of `S`; the strides stay within the operands.
#[inline(always)]
pub(crate) unsafe fn rank_one<S: Simd>(shape: *const RankOne, operands: *const Operands) {
    unsafe {
        let (s, o) = (&*shape, &*operands);
        match (s.added, s.summed, s.wide) {
            (Added::Nothing, Summed::Nothing, false) => tiles::<S, 0, 0, false>(s, o),
            (Added::Nothing, Summed::Old, false) => tiles::<S, 0, 1, false>(s, o),
            (Added::Nothing, Summed::New, false) => tiles::<S, 0, 2, false>(s, o),
            (Added::Row, Summed::Nothing, false) => tiles::<S, 1, 0, false>(s, o),
            (Added::Row, Summed::Old, false) => tiles::<S, 1, 1, false>(s, o),
            (Added::Row, Summed::New, false) => tiles::<S, 1, 2, false>(s, o),
            (Added::Scaled, Summed::Nothing, false) => tiles::<S, 2, 0, false>(s, o),
            (Added::Scaled, Summed::Old, false) => tiles::<S, 2, 1, false>(s, o),
            (Added::Scaled, Summed::New, false) => tiles::<S, 2, 2, false>(s, o),
            (Added::Nothing, Summed::Nothing, true) => tiles::<S, 0, 0, true>(s, o),
            (Added::Nothing, Summed::Old, true) => tiles::<S, 0, 1, true>(s, o),
            (Added::Nothing, Summed::New, true) => tiles::<S, 0, 2, true>(s, o),
            (Added::Row, Summed::Nothing, true) => tiles::<S, 1, 0, true>(s, o),
            (Added::Row, Summed::Old, true) => tiles::<S, 1, 1, true>(s, o),
            (Added::Row, Summed::New, true) => tiles::<S, 1, 2, true>(s, o),
            (Added::Scaled, Summed::Nothing, true) => tiles::<S, 2, 0, true>(s, o),
            (Added::Scaled, Summed::Old, true) => tiles::<S, 2, 1, true>(s, o),
            (Added::Scaled, Summed::New, true) => tiles::<S, 2, 2, true>(s, o),
        }
    }
}

#[inline(always)]
unsafe fn tiles<S: Simd, const ADDED: u8, const SUMMED: u8, const WIDE: bool>(s: &RankOne, o: &Operands) {
    unsafe {
        if SUMMED == 0 {
            for i in 0..s.rows {
                let mut j = 0;
                while j + LANES <= s.columns {
                    rows::<S, 1, ADDED, SUMMED, WIDE>(s, o, i, i + 1, j, LANES);
                    j += LANES;
                }
                if j < s.columns {
                    rows::<S, 1, ADDED, SUMMED, WIDE>(s, o, i, i + 1, j, s.columns - j);
                }
            }
            return;
        }
        let mut j = 0;
        while j + 2 * LANES <= s.columns {
            rows::<S, 2, ADDED, SUMMED, WIDE>(s, o, 0, s.rows, j, LANES);
            j += 2 * LANES;
        }
        while j < s.columns {
            let width = (s.columns - j).min(LANES);
            rows::<S, 1, ADDED, SUMMED, WIDE>(s, o, 0, s.rows, j, width);
            j += width;
        }
    }
}

/// Rows `first .. end` of `V` vectors from column `j`, the last of `width` lanes.
#[inline(always)]
unsafe fn rows<S: Simd, const V: usize, const ADDED: u8, const SUMMED: u8, const WIDE: bool>(
    s: &RankOne,
    o: &Operands,
    first: usize,
    end: usize,
    j: usize,
    width: usize,
) {
    unsafe {
        let mut sums = [S::splat(0.0); V];
        for i in first as isize..end as isize {
            let (x, z, to) = (o.x.wrapping_offset(i * s.x), o.z.wrapping_offset(i * s.z), o.to.wrapping_offset(i * s.to));
            let (y, w, v) = (o.y.wrapping_offset(i * s.y), o.w.wrapping_offset(i * s.w), o.v.wrapping_offset(i * s.v));
            let one = |p: *const f32, used: bool| if used && !WIDE { S::splat(*p) } else { S::splat(0.0) };
            let (y1, w1, v1) = (one(y, true), one(w, ADDED == 2), one(v, SUMMED > 0));
            for (k, sum) in sums.iter_mut().enumerate() {
                let (at, n) = (j + k * LANES, if k + 1 == V { width } else { LANES });
                let load = |p: *const f32| if n == LANES { S::load(p.add(at)) } else { S::load_tail(p.add(at), n) };
                let factor = |one: S::F, p: *const f32| if WIDE { load(p) } else { one };
                let (old, y) = (load(x), factor(y1, y));
                let new = match ADDED {
                    0 => S::mul(old, y),
                    1 => S::fma(old, y, load(z)),
                    _ => S::fma(old, y, S::mul(load(z), factor(w1, w))),
                };
                if n == LANES {
                    S::store(to.add(at), new)
                } else {
                    S::store_tail(to.add(at), n, new)
                }
                if SUMMED > 0 {
                    *sum = S::fma(if SUMMED == 1 { old } else { new }, factor(v1, v), *sum);
                }
            }
        }
        if SUMMED > 0 {
            for (k, sum) in sums.into_iter().enumerate() {
                let to = o.sum.add(j + k * LANES);
                if k + 1 < V || width == LANES { S::store(to, sum) } else { S::store_tail(to, width, sum) }
            }
        }
    }
}

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

/// One call for each position.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Do {
    /// A sum over rows of the products of two, not yet part of another call.
    Sum {
        x: Place,
        v: Place,
        to: Place,
    },
    RankOne {
        shape: RankOne,
        x: Place,
        y: Place,
        z: Place,
        w: Place,
        v: Place,
        to: Place,
        sum: Place,
    },
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
        for r in 0..rows.instrs.len() as Reg {
            let Some(next) = finder.call(r)? else { continue };
            match calls.iter_mut().find_map(|call| Some((with_sum(call, &next, rows)?, call))) {
                Some((both, call)) => *call = both,
                None => calls.push(next),
            }
        }
        if calls.iter().any(|c| matches!(c, Do::Sum { .. })) {
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
                            Do::RankOne { shape, x, y, z, w, v, to, sum } => {
                                let operands = Operands { x: at(x), y: at(y), z: at(z), w: at(w), v: at(v), to: at(to), sum: at(sum) };
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

/// A sum over rows taken up by a call that walks the same rows. Its factors are not of the program's making.
fn with_sum(call: &Do, next: &Do, program: &Rows) -> Option<Do> {
    let Do::RankOne { shape, x, y, z, w, to, .. } = call else { return None };
    // Of two rows that are multiplied, either may be the one that is summed.
    let (mut shape, mut x, mut y) = (*shape, *x, *y);
    let (matrix, factor, sum, wide) = match next {
        Do::Sum { x: a, v: b, to: sum } => {
            if shape.wide && (*a == y || *b == y) {
                (x, y) = (y, x);
                (shape.x, shape.y) = (shape.y, shape.x);
            }
            if *a == *to || *a == x { (a, b, sum, true) } else { (b, a, sum, true) }
        }
        // A column times the matrix, not the matrix times a row.
        Do::Product { product, a, b, c } if product.b == [b.row, 1] && product.k == shape.rows && product.n == shape.columns => {
            (b, a, c, false)
        }
        _ => return None,
    };
    let summed = match matrix {
        m if m == to => Summed::New,
        m if *m == x => Summed::Old,
        _ => return None,
    };
    let given = !program.args[factor.arg].write;
    let fits = shape.summed == Summed::Nothing && shape.wide == wide && given && shape.rows > 1;
    let shape = RankOne { v: factor.row, summed, ..shape };
    fits.then_some(Do::RankOne { shape, x, y, z: *z, w: *w, v: *factor, to: *to, sum: *sum })
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
            RowOp::Store { arg, at, over, .. } if over.is_empty() => Some((*arg, at)),
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

    fn rank_one(&self, (x, y): (Place, Place), z: Option<(Place, Option<Place>)>, to: Place, wide: bool) -> Do {
        let (rows, columns) = (self.count, self.columns);
        let (own, factor) = (z.map_or(x, |z| z.0), z.and_then(|z| z.1));
        let added = match z {
            None => Added::Nothing,
            Some((_, None)) => Added::Row,
            Some((_, Some(_))) => Added::Scaled,
        };
        let w = factor.unwrap_or(y);
        let shape =
            RankOne { rows, columns, x: x.row, y: y.row, z: own.row, w: w.row, v: 0, to: to.row, added, summed: Summed::Nothing, wide };
        Do::RankOne { shape, x, y, z: own, w, v: y, to, sum: to }
    }

    /// What an instruction does, if anything; the outer `None` where there is no call for it.
    fn call(&self, r: Reg) -> Option<Option<Do>> {
        let instr = &self.rows.instrs[r as usize];
        let vector = Product { m: 1, n: 0, k: 0, a: [0, 1], b: [0, 0], c: [0, 1], alpha: 1.0, beta: 0.0 };
        match &instr.op {
            RowOp::Load { .. } => Some(None),
            RowOp::Fused { f: FusedFn::MulAdd, args } if instr.row => {
                let fits = |wide: bool| {
                    let z = match self.place(args[2], true) {
                        Some(z) => (z, None),
                        None => self.product(args[2]).and_then(|(a, b)| self.pair(a, b, wide)).map(|(z, w)| (z, Some(w)))?,
                    };
                    Some(self.rank_one(self.pair(args[0], args[1], wide)?, Some(z), self.stored(r)?, wide))
                };
                Some(Some(fits(false).or_else(|| fits(true))?))
            }
            RowOp::Map { f: MapFn::Mul, args } if instr.row => {
                // Its readers compute it on the way.
                let inside = |op: &RowOp| match op {
                    RowOp::Reduce { f: ReduceFn::Sum, .. } | RowOp::Accumulate { f: ReduceFn::Sum, .. } => true,
                    RowOp::Fused { f: FusedFn::MulAdd, args } => args[2] == r && args[0] != r && args[1] != r,
                    _ => false,
                };
                if self.users(r).all(inside) {
                    return Some(None);
                }
                let fits = |wide: bool| Some(self.rank_one(self.pair(args[0], args[1], wide)?, None, self.stored(r)?, wide));
                Some(Some(fits(false).or_else(|| fits(true))?))
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
            RowOp::Store { value, over, .. } => {
                let stores = self.users(*value).filter(|op| matches!(op, RowOp::Store { .. })).count();
                let made = !matches!(self.rows.instrs[*value as usize].op, RowOp::Load { .. });
                (over.is_empty() && stores == 1 && made).then_some(None)
            }
            _ => None,
        }
    }
}
