//! Matrix products `C = beta C + alpha A B` on raw pointers with any strides.

/// `c[i, j] = beta * c[i, j] + alpha * sum over l of a[i, l] * b[l, j]` on the calling thread, for i below m, j below n and l below k. `rsa` and
/// `csa` are the strides of a along i and l, in elements, and so on; they may be 0 or negative in the operands. `beta == 0` does not
/// read c.
///
/// # Safety
/// Every element named is readable, those of c are writable and distinct, and c does not overlap a or b.
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
    let serial = gemm::Parallelism::None;
    // Safety: the caller's.
    unsafe { gemm::gemm(m, n, k, c, csc, rsc, beta != 0.0, a, csa, rsa, b, csb, rsb, beta, alpha, false, false, false, serial) }
}
