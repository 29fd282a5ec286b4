//! Matrix products `C = beta D + alpha A B` on raw pointers with any strides.
//!
//! Products run in `blocked`, on packed operands, which adds up every element of C in an order that depends on k alone. The `gemm` crate, which
//! chooses its own instructions, takes thin or oddly laid out ones, and those of the portable set.

pub(crate) mod blocked;
pub(crate) mod gathered;
pub(crate) mod many;
pub(crate) mod near;
mod pack;
pub(crate) mod small;
#[cfg(test)]
mod tests;

use crate::primitives::Primitives;
use std::cell::RefCell;
use std::sync::OnceLock;

/// Sizes, strides (rows, columns; in elements) and factors of a product: A is m by k, B is k by n, C is m by n.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Product {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Strides of A.
    pub a: [isize; 2],
    /// Strides of B.
    pub b: [isize; 2],
    /// Strides of C.
    pub c: [isize; 2],
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of D, which is C or lies as C does; 0 does not read it.
    pub beta: f32,
}

/// The type of the kernels behind [`Product::run`].
pub(crate) type ProductFn = unsafe extern "C" fn(*const Product, *const f32, *const f32, *const f32, *mut f32, *mut f32);

/// The type of the kernels behind small products.
pub(crate) type SmallFn = unsafe extern "C" fn(*const Product, *const f32, *const f32, *mut f32);

thread_local! {
    /// Packed blocks of the operands; allocated by a thread's first product.
    static SPACE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Calls `body` with this thread's room for packed blocks: [`blocked::SPACE`] f32s.
fn with_space(body: impl FnOnce(*mut f32)) {
    SPACE.with_borrow_mut(|space| {
        if space.is_empty() {
            space.resize(blocked::SPACE, 0.0);
        }
        body(space.as_mut_ptr());
    });
}

impl Product {
    /// The same product as `C^T = B^T A^T`.
    #[must_use]
    fn turned(self) -> Product {
        let Product { m, n, k, a: [ra, ca], b: [rb, cb], c: [rc, cc], alpha, beta } = self;
        Product { m: n, n: m, k, a: [cb, rb], b: [ca, ra], c: [cc, rc], alpha, beta }
    }

    /// Whether packing pays.
    fn packs(&self) -> bool {
        self.c[1] == 1 && self.m >= 4 && self.n >= 8 && self.k >= 4
    }

    /// Computes it on the calling thread, D being C.
    ///
    /// # Safety
    /// Every element named is readable, those of c are writable and distinct, and c does not overlap a or b.
    pub unsafe fn run(&self, set: &Primitives, a: *const f32, b: *const f32, c: *mut f32) {
        // Safety: the caller's.
        unsafe { self.run_onto(set, a, b, c, c) }
    }

    /// Computes it on the calling thread.
    ///
    /// # Safety
    /// As [`Product::run`]; d has the strides of c, and is c or does not overlap it.
    pub unsafe fn run_onto(&self, set: &Primitives, a: *const f32, b: *const f32, d: *const f32, c: *mut f32) {
        let turned = self.turned();
        for (product, a, b) in [(*self, a, b), (turned, b, a)] {
            if small::fits(&product) {
                // Safety: the caller's.
                return unsafe {
                    product.copy(d, c);
                    (set.small())(&raw const product, a, b, c)
                };
            }
        }
        let (product, a, b) = if !self.packs() && turned.packs() { (turned, b, a) } else { (*self, a, b) };
        if !product.packs() || set.name() == "portable" {
            // Safety: the caller's.
            return unsafe {
                product.copy(d, c);
                product.library(a, b, c)
            };
        }
        let kernel = if near::fits(&product) { set.near() } else { set.product() };
        // Safety: the caller's; the space is what the kernels need.
        with_space(|space| unsafe { kernel(&raw const product, a, b, d, c, space) });
    }

    /// Brings D to C, for kernels that know one of them.
    unsafe fn copy(&self, d: *const f32, c: *mut f32) {
        if self.beta == 0.0 || std::ptr::eq(d, c) {
            return;
        }
        for i in 0..self.m as isize {
            for j in 0..self.n as isize {
                let at = i * self.c[0] + j * self.c[1];
                // Safety: the caller's.
                unsafe { *c.wrapping_offset(at) = *d.wrapping_offset(at) };
            }
        }
    }

    /// Computes it with the `gemm` crate.
    ///
    /// # Safety
    /// As [`Product::run`].
    pub unsafe fn library(&self, a: *const f32, b: *const f32, c: *mut f32) {
        let Product { m, n, k, a: [ra, ca], b: [rb, cb], c: [rc, cc], alpha, beta } = *self;
        let serial = gemm::Parallelism::None;
        // Safety: the caller's.
        unsafe { gemm::gemm(m, n, k, c, cc, rc, beta != 0.0, a, ca, ra, b, cb, rb, beta, alpha, false, false, false, serial) }
    }
}

/// `c[i, j] = beta * c[i, j] + alpha * sum over l of a[i, l] * b[l, j]` on the calling thread with the best instruction set, for i below m, j below
/// n and l below k. `rsa` and `csa` are the strides of a along i and l, in elements, and so on; they may be 0 or negative in the operands.
/// `beta == 0` does not read c.
///
/// # Safety
/// As [`Product::run`].
pub unsafe fn gemm(
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    a: *const f32,
    rsa: isize,
    csa: isize,
    b: *const f32,
    rsb: isize,
    csb: isize,
    beta: f32,
    c: *mut f32,
    rsc: isize,
    csc: isize,
) {
    static BEST: OnceLock<&'static Primitives> = OnceLock::new();
    let set = BEST.get_or_init(|| Primitives::all().next().unwrap_or_else(|| unreachable!("a fault in ogive: no portable set")));
    let product = Product { m, n, k, a: [rsa, csa], b: [rsb, csb], c: [rsc, csc], alpha, beta };
    // Safety: the caller's.
    unsafe { product.run(set, a, b, c) }
}
