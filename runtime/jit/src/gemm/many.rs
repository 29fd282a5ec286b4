//! Small products of a batch: the kernel for them, and which operand is the vector or lies in columns, is settled once for all.

use super::{Product, ProductFn, SmallFn, near, pack, small, with_space};
use crate::kernels::{Shared, offset};
use crate::pool::Pool;
use crate::primitives::Primitives;
use ogive_graph::kernel::Gemm;

/// Multiplications that are worth a task of their own.
const TASK: u64 = 1 << 16;

/// A batch of products that the kernels of small ones compute.
pub(crate) struct Many {
    product: Product,
    /// Whether it computes `C^T = B^T A^T`.
    turned: bool,
    batch: Vec<(u64, [i64; 3])>,
    tasks: u64,
    kernel: Kernel,
}

#[derive(Clone, Copy)]
enum Kernel {
    /// Of vectors.
    Small(SmallFn),
    /// Of matrices that the first-level cache holds.
    Near(ProductFn),
}

impl Many {
    /// The batch, where every product of it is small and in one piece.
    pub(crate) fn new(g: &Gemm, primitives: &Primitives) -> Option<Many> {
        let strides = |pair: [i64; 2]| pair.map(|s| s as isize);
        let (m, n, k) = (g.m as usize, g.n as usize, g.k as usize);
        let product =
            Product { m, n, k, a: strides(g.a), b: strides(g.b), c: strides(g.c), alpha: 1.0, beta: if g.adds { 1.0 } else { 0.0 } };
        let batch: Vec<(u64, [i64; 3])> = g.batch.iter().map(|l| (l.size, l.strides)).collect();
        let units: u64 = batch.iter().map(|b| b.0).product();
        let both = [(product, false), (product.turned(), true)];
        let (vectors, matrices) = (both.iter().find(|p| !g.adds && small::fits(&p.0)), both.iter().find(|p| near::fits(&p.0)));
        let ((product, turned), kernel) = match (vectors, matrices) {
            (Some(&found), _) => (found, Kernel::Small(primitives.small())),
            (None, Some(&found)) if primitives.name() != "portable" => (found, Kernel::Near(primitives.near())),
            _ => return None,
        };
        let work = units.saturating_mul(g.m * g.n * g.k);
        let whole = g.m_parts * g.n_parts == 1 && g.sums.is_empty();
        whole.then(|| Many { product, turned, batch, tasks: (work / TASK).clamp(1, units.max(1)), kernel })
    }

    /// Computes them, and those of more launches, whose arguments lie behind the first's.
    ///
    /// # Safety
    /// `args` are a, b, c and what c is added to, where it is, and hold what the strides reach; no element of c is one of a, of b or of another product.
    pub(crate) unsafe fn run(&self, args: &[*mut u8], ahead: &[isize], pool: &Pool) {
        let each: u64 = self.batch.iter().map(|b| b.0).product();
        let per = if self.product.beta == 0.0 { 3 } else { 4 };
        let launches = (args.len() / per) as u64;
        let (units, tasks) = (each * launches, self.tasks * launches);
        let pointers = Shared(args.as_ptr().cast::<*mut f32>());
        let place = |unit: u64| {
            let moves = offset(&self.batch, unit % each);
            // Safety: so many arguments for each launch.
            let at = |i: usize| unsafe { *pointers.get().add((unit / each) as usize * per + i) }.wrapping_offset(moves[i.min(2)] as isize);
            let onto = at(per - 1);
            if self.turned { [at(1), at(0), at(2), onto] } else { [at(0), at(1), at(2), onto] }
        };
        pool.run(tasks as usize, &|task, _| {
            let own = (task as u64 * units / tasks)..((task as u64 + 1) * units / tasks);
            match self.kernel {
                Kernel::Small(kernel) => {
                    for unit in own {
                        let [a, b, c, _] = place(unit);
                        // Safety: the caller's.
                        unsafe { kernel(&raw const self.product, a, b, c) };
                    }
                }
                Kernel::Near(kernel) => with_space(|space| {
                    for unit in own.clone() {
                        let [a, b, c, d] = place(unit);
                        self.ask([a, b, c], ahead);
                        // Safety: the caller's; the space is what the kernel needs.
                        unsafe { kernel(&raw const self.product, a, b, d, c, space) };
                    }
                }),
            }
        });
    }

    /// Asks for the matrices of the next launch.
    fn ask(&self, [a, b, c]: [*mut f32; 3], ahead: &[isize]) {
        let p = &self.product;
        let (first, second) = if self.turned { (1, 0) } else { (0, 1) };
        for (at, ahead, [rows, columns], [down, along]) in
            [(a, ahead[first], [p.m, p.k], p.a), (b, ahead[second], [p.k, p.n], p.b), (c, ahead[2], [p.m, p.n], p.c)]
        {
            if ahead == 0 {
                continue;
            }
            let (pieces, apart, length) = if along == 1 { (rows, down, columns) } else { (columns, along, rows) };
            for piece in 0..pieces as isize {
                pack::fetch(at.wrapping_byte_offset(ahead).wrapping_offset(piece * apart), length);
            }
        }
    }
}
