//! Kernels ready to run: compiled row programs, and calls of hand-written ones.

use crate::attention::{self, AttendShape, GradShape};
use crate::codegen::{Code, Compiler, Context, prefetch};
use crate::gemm::Product;
use crate::gemm::many::Many;
use crate::pool::Pool;
use crate::primitives::Primitives;
use crate::room::Room;
use crate::routed;
use crate::state::Program;
use ogive_graph::kernel::{Attend, Fold, Gemm, Route, Routed, RoutedOuter, RoutedRows, Rows, Scatter, Solve, TopK, Work};
use ogive_graph::{DType, ReduceFn};

/// Scratch memory of every worker.
pub(crate) struct Scratch {
    memory: Room,
    each: usize,
}

impl Scratch {
    /// `bytes` for each of `workers`.
    pub(crate) fn new(workers: usize, bytes: u64) -> Scratch {
        let each = (bytes.div_ceil(64) * 64) as usize;
        Scratch { memory: Room::new((each * workers) as u64), each }
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// One worker's part.
    pub(crate) fn of(&self, worker: usize) -> *mut u8 {
        self.memory.start().wrapping_add(worker * self.each)
    }
}

/// A pointer that chunks of one kernel share; each writes elements of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub(crate) T);
// Safety: chunks write disjoint elements.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// What is shared.
    pub(crate) fn get(&self) -> T {
        self.0
    }
}

enum Call {
    Rows { rows: Rows, entry: usize, scratch: u64 },
    State(Program),
    Gemm { gemm: Gemm, primitives: &'static Primitives },
    Many(Many),
    Solve { solve: Solve, primitives: &'static Primitives },
    Attend { attend: Attend, shape: GradShape, primitives: &'static Primitives },
    Scatter { scatter: Scatter, accumulate: Accumulate },
    Fold { fold: Fold, accumulate: Accumulate },
    TopK(TopK),
    Route(Route),
    Routed { routed: Routed, primitives: &'static Primitives },
    RoutedRows { rows: RoutedRows, dot: Dot, scaled: Scaled },
    RoutedOuter { outer: RoutedOuter, primitives: &'static Primitives, scaled: Scaled },
}

/// A kernel ready to run.
pub(crate) struct Prepared(Call);

type Accumulate = unsafe extern "C" fn(usize, *mut u8, *const u8);

/// [`Primitives::dot`].
pub(crate) type Dot = unsafe extern "C" fn(usize, *const f32, *const f32) -> f32;
/// [`Primitives::accumulate_scaled`].
pub(crate) type Scaled = unsafe extern "C" fn(usize, *mut f32, *const f32, *const f32);

fn row_primitives(primitives: &Primitives) -> (Dot, Scaled) {
    let (dot, scaled) = (primitives.dot().address, primitives.accumulate_scaled().address);
    // Safety: the addresses were looked up for these signatures.
    unsafe { (std::mem::transmute::<*const u8, Dot>(dot), std::mem::transmute::<*const u8, Scaled>(scaled)) }
}

fn accumulation(primitives: &Primitives, f: ReduceFn, dtype: DType) -> Result<Accumulate, String> {
    let found = primitives.accumulate(f, dtype).ok_or_else(|| format!("no primitive to fold {dtype}"))?;
    // Safety: the address was looked up for this signature.
    Ok(unsafe { std::mem::transmute::<*const u8, Accumulate>(found.address) })
}

impl Prepared {
    /// Compiles or looks up what runs.
    pub(crate) fn new(work: &Work, compiler: &mut Compiler, primitives: &'static Primitives) -> Result<Prepared, String> {
        Ok(Prepared(match work {
            Work::Rows(rows) => {
                if let Some(program) = Program::new(rows, primitives) {
                    return Ok(Prepared(Call::State(program)));
                }
                let (entry, scratch) = compiler.rows(rows)?;
                Call::Rows { rows: rows.clone(), entry, scratch }
            }
            Work::Gemm(gemm) => match Many::new(gemm, primitives) {
                Some(many) => Call::Many(many),
                None => Call::Gemm { gemm: gemm.clone(), primitives },
            },
            Work::Solve(solve) => Call::Solve { solve: solve.clone(), primitives },
            Work::Scatter(scatter) if scatter.clear.len() > AXES => return Err(format!("scatter into more than {AXES} axes")),
            Work::Fold(fold) if fold.dims.len() > AXES => return Err(format!("fold more than {AXES} axes")),
            Work::Scatter(scatter) => {
                Call::Scatter { scatter: scatter.clone(), accumulate: accumulation(primitives, ReduceFn::Sum, scatter.dtype)? }
            }
            Work::Fold(fold) => Call::Fold { fold: fold.clone(), accumulate: accumulation(primitives, fold.f, fold.dtype)? },
            Work::TopK(t) if t.over.len() > routed::SCORES => return Err(format!("choose by more than {} scores", routed::SCORES)),
            Work::TopK(t) => Call::TopK(t.clone()),
            Work::Route(route) => Call::Route(route.clone()),
            Work::Routed(r) => Call::Routed { routed: r.clone(), primitives },
            Work::RoutedRows(r) => {
                let (dot, scaled) = row_primitives(primitives);
                Call::RoutedRows { rows: r.clone(), dot, scaled }
            }
            Work::RoutedOuter(r) => Call::RoutedOuter { outer: r.clone(), primitives, scaled: row_primitives(primitives).1 },
            Work::Attend(attend) => Call::Attend { attend: attend.clone(), shape: shape(attend), primitives },
        }))
    }

    /// Bytes of scratch per worker.
    pub(crate) fn scratch(&self) -> u64 {
        match &self.0 {
            Call::Rows { scratch, .. } => *scratch,
            Call::State(_) | Call::Many(_) => 0,
            Call::Attend { attend, shape, .. } if attend.grad => attention::grad_scratch(&shape.shape) as u64 * 4,
            Call::Attend { shape, .. } => attention::scratch(&shape.shape) as u64 * 4,
            Call::TopK(t) => routed::top_k_scratch(t),
            Call::Route(r) => routed::route_scratch(r),
            Call::Routed { .. } | Call::RoutedOuter { .. } => routed::RUN_SCRATCH,
            Call::Gemm { .. } | Call::Solve { .. } | Call::Scatter { .. } | Call::Fold { .. } | Call::RoutedRows { .. } => 0,
        }
    }

    /// Whether several launches that are independent can run as one, with the arguments of each one behind the other.
    pub(crate) fn joins(&self) -> bool {
        matches!(self.0, Call::Gemm { .. } | Call::Many(_))
    }

    /// Runs on the given arguments; `ahead` is how far from each the next launch's will be, 0 where that is not known.
    pub(crate) fn run(&self, args: &[*mut u8], ahead: &[isize], code: &Code, pool: &Pool, scratch: &Scratch, context: &Context) {
        match &self.0 {
            Call::Rows { rows, entry, .. } => {
                let entry = code.entries[*entry];
                let (per, all) = (rows.rows_per_chunk(), rows.rows());
                let args = Shared(args.as_ptr());
                let context = Shared(std::ptr::from_ref(context));
                pool.run(rows.chunks as usize, &|chunk, worker| {
                    let first = chunk as u64 * per;
                    let end = (first + per).min(all);
                    // Safety: the plan gives addresses of memory that holds what the program touches, and chunks touch rows of their own.
                    unsafe { entry(args.get(), first, end, scratch.of(worker), context.get()) };
                });
            }
            // Safety: the plan gives addresses of memory that holds what the program touches.
            Call::State(program) => unsafe { program.run(args) },
            Call::Gemm { gemm, primitives } => products(gemm, primitives, args, pool),
            // Safety: as above; the plan gives results memory of their own.
            Call::Many(many) => unsafe { many.run(args, ahead, pool) },
            Call::Solve { solve, primitives } => crate::solve::solve(solve, primitives, args, pool),
            Call::Attend { attend, shape, primitives } => attended(attend, shape, primitives, args, pool, scratch),
            Call::Scatter { scatter, accumulate } => scattered(scatter, args, pool, context, *accumulate),
            Call::Fold { fold, accumulate } => folded(fold, args, pool, *accumulate),
            Call::TopK(t) => routed::top_k(t, args, pool, scratch),
            Call::Route(r) => routed::route(r, args, scratch, context),
            Call::Routed { routed: r, primitives } => routed::routed(r, primitives, args, pool, scratch),
            Call::RoutedRows { rows, dot, scaled } => routed::routed_rows(rows, args, pool, context, *dot, *scaled),
            Call::RoutedOuter { outer, primitives, scaled } => routed::routed_outer(outer, primitives, args, pool, scratch, *scaled),
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "f32 kernels scale in f32")]
fn shape(a: &Attend) -> GradShape {
    let pair = |i: usize| a.strides.get(i).map_or([0, 0], |p| p.map(|s| s as isize));
    let [query, source, key, value] = a.sizes.map(|s| s as usize);
    let (scale, causal) = (a.scale as f32, a.causal);
    let shape = AttendShape { query, source, key, value, scale, causal, q: pair(0), k: pair(1), v: pair(2), mix: pair(3), lse: pair(4)[0] };
    GradShape { shape, dmix: pair(5), dq: pair(6), dk: pair(7), dv: pair(8) }
}

fn attended(a: &Attend, shape: &GradShape, primitives: &'static Primitives, args: &[*mut u8], pool: &Pool, scratch: &Scratch) {
    let heads: u64 = a.batch.iter().map(|d| d.0).product();
    let blocks = if a.grad { 1 } else { attention::blocks(&shape.shape) };
    let pointers = Shared(args.as_ptr().cast::<*mut f32>());
    pool.run(heads as usize * blocks, &|task, worker| {
        let (mut head, block) = ((task / blocks) as u64, task % blocks);
        let mut p = [std::ptr::null_mut::<f32>(); 9];
        for (i, (p, s)) in p.iter_mut().zip(&a.strides).enumerate() {
            debug_assert_eq!(s.len(), 2);
            // Safety: one argument for each operand.
            *p = unsafe { *pointers.get().add(i) };
        }
        for (size, strides) in a.batch.iter().rev() {
            let i = (head % size) as i64;
            head /= size;
            for (p, s) in p.iter_mut().zip(strides) {
                *p = p.wrapping_offset((i * s) as isize);
            }
        }
        let scratch = scratch.of(worker).cast::<f32>();
        // Safety: the plan's strides stay within the operands; each (batch, head), and each block of queries, has results of its own.
        unsafe {
            if a.grad {
                attention::attend_grad(primitives, shape, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], scratch);
            } else {
                attention::attend(primitives, &shape.shape, block, p[0], p[1], p[2], p[3], p[4], scratch);
            }
        }
    });
}

/// Most dims of a scatter's or a fold's result.
const AXES: usize = 16;
/// Elements of an independent part; parts are multiples of this but for the last.
const PART: u64 = 16;
/// Depth of a piece where columns of b are far apart.
const SHALLOW: u64 = 512;
/// Most tasks that a batch is handed out in.
const TASKS: u64 = 64;

/// Part `index` of `parts`.
pub(crate) fn part(all: u64, parts: u64, index: u64) -> (u64, u64) {
    let each = all.div_ceil(parts).div_ceil(PART) * PART;
    let each = if parts == 1 { all } else { each };
    let first = (index * each).min(all);
    (first, (first + each).min(all))
}

/// The products of one launch or, with the arguments of each one behind the other, of several that are independent.
fn products(g: &Gemm, primitives: &'static Primitives, args: &[*mut u8], pool: &Pool) {
    let batch: u64 = g.batch.iter().map(|l| l.size).product();
    let each = batch * g.m_parts * g.n_parts;
    let per = if g.adds { 4 } else { 3 };
    let units = each * (args.len() / per) as u64;
    let tasks = units.min(TASKS);
    let pointers = Shared(args.as_ptr().cast::<*mut f32>());
    pool.run(tasks as usize, &|task, _| {
        let task = task as u64;
        for unit in (task * units / tasks)..((task + 1) * units / tasks) {
            let launch = (unit / each) as usize * per;
            // Safety: so many arguments for each launch; the last is what the result is added to, or the result.
            let own = std::array::from_fn(|i| unsafe { *pointers.get().add(launch + i.min(per - 1)) });
            one_product(g, primitives, own, unit % each);
        }
    });
}

fn one_product(g: &Gemm, primitives: &'static Primitives, pointers: [*mut f32; 4], unit: u64) {
    let (n_part, rest) = (unit % g.n_parts, unit / g.n_parts);
    let (m_part, mut rest) = (rest % g.m_parts, rest / g.m_parts);
    let (m0, m1) = part(g.m, g.m_parts, m_part);
    let (n0, n1) = part(g.n, g.n_parts, n_part);
    if m0 == m1 || n0 == n1 {
        return;
    }
    let (m0s, n0s) = (m0 as i64, n0 as i64);
    let mut offset = [m0s * g.a[0], n0s * g.b[1], m0s * g.c[0] + n0s * g.c[1]];
    for l in g.batch.iter().rev() {
        let i = (rest % l.size) as i64;
        rest /= l.size;
        for (o, s) in offset.iter_mut().zip(l.strides) {
            *o += i * s;
        }
    }
    let sums: u64 = g.sums.iter().map(|l| l.size).product();
    for s in 0..sums {
        let (mut a, mut b, mut left) = (offset[0], offset[1], s);
        for l in g.sums.iter().rev() {
            let i = (left % l.size) as i64;
            left /= l.size;
            a += i * l.strides[0];
            b += i * l.strides[1];
        }
        let at = |p: *mut f32, o: i64| p.wrapping_offset(o as isize);
        // Columns of b far apart are packed in shallow pieces.
        let depth = if g.b[0] == 1 && g.b[1] > SHALLOW as i64 { SHALLOW } else { g.k };
        for k in (0..g.k).step_by(depth as usize) {
            let strides = |pair: [i64; 2]| pair.map(|s| s as isize);
            let product = Product {
                m: (m1 - m0) as usize,
                n: (n1 - n0) as usize,
                k: depth.min(g.k - k) as usize,
                a: strides(g.a),
                b: strides(g.b),
                c: strides(g.c),
                alpha: 1.0,
                beta: if s == 0 && k == 0 && !g.adds { 0.0 } else { 1.0 },
            };
            let (pa, pb) = (at(pointers[0], a + k as i64 * g.a[1]), at(pointers[1], b + k as i64 * g.b[0]));
            // Safety: the plan's strides stay within the operands' memory; units write parts of c of their own.
            unsafe {
                let onto = if s == 0 && k == 0 { pointers[3] } else { pointers[2] };
                product.run_onto(primitives, pa, pb, at(onto, offset[2]), at(pointers[2], offset[2]));
            };
        }
    }
}

/// The offsets of the point of `dims` with this row-major number.
pub(crate) fn offset<const N: usize>(dims: &[(u64, [i64; N])], mut number: u64) -> [i64; N] {
    let mut out = [0; N];
    for (i, (size, strides)) in dims.iter().enumerate().rev() {
        let at = if i == 0 { number } else { number % size } as i64;
        number /= size;
        for (o, s) in out.iter_mut().zip(strides) {
            *o += at * s;
        }
    }
    out
}

/// Calls `body` with the offsets (one per stride list) of every point of `dims`, the last dim fastest.
pub(crate) fn points<const N: usize>(dims: &[(u64, [i64; N])], offsets: [i64; N], body: &mut dyn FnMut([i64; N])) {
    let Some(((size, strides), rest)) = dims.split_first() else { return body(offsets) };
    for i in 0..*size as i64 {
        let mut moved = offsets;
        for (o, s) in moved.iter_mut().zip(strides) {
            *o += i * s;
        }
        points(rest, moved, body);
    }
}

/// How many rows ahead a scatter asks for what it adds.
const AHEAD: usize = 2;

/// Every chunk owns some of the target's positions, which lie apart: what is read often, such as the letters of a text, would else be one
/// chunk's. It goes through all points in order, so sums have one order.
fn scattered(s: &Scatter, args: &[*mut u8], pool: &Pool, context: &Context, accumulate: Accumulate) {
    let pointers = Shared([args[0], args[1], args[2]]);
    let unit = s.dtype.bytes() as i64;
    let (size, stride) = s.target;
    // The innermost run of the other axes, where it is contiguous on both sides.
    let (rest, run) = match s.rest.split_last() {
        Some(((n, [1, 1]), rest)) => (rest, *n as usize),
        _ => (s.rest.as_slice(), 1),
    };
    // Short rows that share a line of the cache belong to one chunk.
    let side_by_side = (16 / run as u64).max(1);
    let clear_runs = s.clear.iter().any(|&(n, st)| st == 1 && n as usize == run);
    pool.run(s.chunks as usize, &|chunk, _| {
        let chunk = chunk as u64;
        let owns = |position: u64| position / side_by_side % s.chunks == chunk;
        let [positions, updates, out] = pointers.get();
        let at = |p: *mut u8, o: i64| p.wrapping_offset((o * unit) as isize);
        let mut skipped = !clear_runs;
        let clear = |&(n, st): &(u64, i64)| {
            let inner = !skipped && st == 1 && n as usize == run;
            skipped |= inner;
            if inner { (1, [0]) } else { (n, [st]) }
        };
        let mut dims = [(1, [0]); AXES];
        for (dim, new) in dims.iter_mut().zip(s.clear.iter().map(clear)) {
            *dim = new;
        }
        let cleared = if clear_runs { run } else { 1 } * unit as usize;
        for target in (0..size).filter(|&t| owns(t)) {
            // Safety: strides stay within the result; this chunk owns `target`.
            points(&dims[..s.clear.len()], [target as i64 * stride], &mut |[o]| unsafe { at(out, o).write_bytes(0, cleared) });
        }
        // Safety: strides stay within updates and result; this chunk owns the position.
        let add = |from: [i64; 2]| points(rest, from, &mut |[u, o]| unsafe { accumulate(run, at(out, o), at(updates, u)) });
        // Rows of the updates lie anywhere, so those to come are asked for; the last few wait their turn here.
        let (mut waiting, mut count) = ([[0; 2]; AHEAD], 0);
        points(&s.points, [0; 3], &mut |[p, u, o]| {
            // Safety: strides stay within the positions.
            let position = unsafe { positions.cast::<i32>().wrapping_offset(p as isize).read() };
            if position < 0 || position as u64 >= size {
                context.out_of_range(s.site, position);
            } else if owns(position as u64) {
                prefetch(at(updates, u), run * unit as usize);
                let next = std::mem::replace(&mut waiting[count % AHEAD], [u, o + i64::from(position) * stride]);
                if count >= AHEAD {
                    add(next);
                }
                count += 1;
            }
        });
        for i in count.saturating_sub(AHEAD)..count {
            add(waiting[i % AHEAD]);
        }
    });
}

/// Elements of a fold that are worth a task of their own.
const FOLDED: u64 = 1 << 13;

fn folded(fold: &Fold, args: &[*mut u8], pool: &Pool, accumulate: Accumulate) {
    let unit = fold.dtype.bytes();
    let pointers = Shared([args[0], args[1]]);
    // Where the result lies as the parts do, they are added up there.
    let mut behind = 1;
    let alike = fold.dims.iter().rev().all(|&(size, stride)| {
        let follows = size == 1 || stride == behind;
        behind *= size as i64;
        follows
    });
    pool.run(fold.len.div_ceil(FOLDED) as usize, &|task, _| {
        let first = task as u64 * FOLDED;
        let count = FOLDED.min(fold.len - first);
        let [parts, out] = pointers.get().map(|p| p.wrapping_add((first * unit) as usize));
        let sum = if alike { out } else { parts };
        if alike {
            // Safety: parts and the result have as many elements, which do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(parts, out, (count * unit) as usize) };
        }
        for chunk in 1..fold.chunks {
            let part = parts.wrapping_add((chunk * fold.len * unit) as usize);
            // Safety: parts lie one behind the other in memory of their own.
            unsafe { accumulate(count as usize, sum, part) };
        }
    });
    if alike {
        return;
    }
    let (parts, out) = (args[0], args[1]);
    if let ([(rows, across), (columns, along)], 4) = (fold.dims.as_slice(), unit) {
        let (from, to) = (parts.cast::<u32>(), out.cast::<u32>());
        for i in 0..*rows as isize {
            for j in 0..*columns as isize {
                // Safety: as below.
                unsafe { *to.offset(i * *across as isize + j * *along as isize) = *from.offset(i * *columns as isize + j) };
            }
        }
        return;
    }
    let mut element = 0;
    let mut dims = [(1, [0]); AXES];
    for (dim, &(n, s)) in dims.iter_mut().zip(&fold.dims) {
        *dim = (n, [s]);
    }
    points(&dims[..fold.dims.len()], [0], &mut |[o]| {
        let from = parts.wrapping_add((element * unit) as usize);
        let to = out.wrapping_offset((o * unit as i64) as isize);
        // Safety: as many points as a part has elements.
        unsafe { std::ptr::copy_nonoverlapping(from, to, unit as usize) };
        element += 1;
    });
}
