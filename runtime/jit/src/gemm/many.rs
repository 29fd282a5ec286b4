//! Small products of a batch: which of them is the vector, and that no operand is packed, is settled once for all.

use super::{Product, SmallFn, small};
use crate::kernels::{Shared, offset};
use crate::pool::Pool;
use crate::primitives::Primitives;
use ogive_graph::kernel::Gemm;

/// Multiplications that are worth a task of their own.
const TASK: u64 = 1 << 16;

/// A batch of products that the kernel of small ones computes.
pub(crate) struct Many {
    product: Product,
    /// Whether it computes `C^T = B^T A^T`.
    turned: bool,
    batch: Vec<(u64, [i64; 3])>,
    tasks: u64,
    small: SmallFn,
}

impl Many {
    /// The batch, where every product of it is small and in one piece.
    pub(crate) fn new(g: &Gemm, primitives: &Primitives) -> Option<Many> {
        let strides = |pair: [i64; 2]| pair.map(|s| s as isize);
        let (m, n, k) = (g.m as usize, g.n as usize, g.k as usize);
        let product = Product { m, n, k, a: strides(g.a), b: strides(g.b), c: strides(g.c), alpha: 1.0, beta: 0.0 };
        let (product, turned) = [(product, false), (product.turned(), true)].into_iter().find(|p| small::fits(&p.0))?;
        let batch: Vec<(u64, [i64; 3])> = g.batch.iter().map(|l| (l.size, l.strides)).collect();
        let units: u64 = batch.iter().map(|b| b.0).product();
        let work = units.saturating_mul(g.m * g.n * g.k);
        let whole = g.m_parts * g.n_parts == 1 && g.sums.is_empty();
        whole.then(|| Many { product, turned, batch, tasks: (work / TASK).clamp(1, units.max(1)), small: primitives.small() })
    }

    /// Computes them.
    ///
    /// # Safety
    /// `args` are a, b and c, and hold what the strides reach; no element of c is one of a, of b or of another product.
    pub(crate) unsafe fn run(&self, args: &[*mut u8], pool: &Pool) {
        let units: u64 = self.batch.iter().map(|b| b.0).product();
        let pointers = Shared([args[0].cast::<f32>(), args[1].cast::<f32>(), args[2].cast::<f32>()]);
        pool.run(self.tasks as usize, &|task, _| {
            let [a, b, c] = pointers.get();
            for unit in (task as u64 * units / self.tasks)..((task as u64 + 1) * units / self.tasks) {
                let moves = offset(&self.batch, unit);
                let at = |p: *mut f32, i: usize| p.wrapping_offset(moves[i] as isize);
                let (x, y) = if self.turned { (at(b, 1), at(a, 0)) } else { (at(a, 0), at(b, 1)) };
                // Safety: the caller's.
                unsafe { (self.small)(&raw const self.product, x, y, at(c, 2)) };
            }
        });
    }
}
