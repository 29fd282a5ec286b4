//! Sixteen lanes of f32 or i32, whatever the machine: one 512-bit register, two of 256 bits, or an array.
//!
//! Kernels are written once against [`Simd`]. Because every instruction set has the same sixteen lanes, partial sums have the same
//! number and order everywhere. All methods are `#[inline(always)]`, so that they become part of an entry point compiled with the
//! features they need (see `entry.rs`); calling one on a machine without the feature is undefined behaviour, hence `unsafe`.

pub(crate) mod avx2;
pub(crate) mod avx512;
pub(crate) mod portable;

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// The same pointer, of which the compiler knows nothing.
#[inline(always)]
fn apart(mut p: *const f32) -> *const f32 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // Safety: no instruction.
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) p, options(pure, readonly, nostack, preserves_flags));
    }
    p
}

/// One instruction set. Pointers need no alignment; a `tail` takes the number of lanes in use, below [`LANES`].
#[allow(clippy::missing_safety_doc, reason = "the module's text states the one condition: the CPU has the feature")]
pub(crate) trait Simd: Copy + 'static {
    /// Sixteen f32.
    type F: Copy;
    /// Sixteen i32.
    type I: Copy;
    /// Sixteen truth values.
    type M: Copy;
    /// Registers of the machine: how many vectors, or on AVX2 half vectors, a kernel can hold.
    const REGISTERS: usize;

    unsafe fn splat(x: f32) -> Self::F;
    /// The element at `p` in every lane. Where a kernel takes several neighbours so, the compiler would rather load them as one vector and
    /// take that apart, with more work than a load each; it does not see that these are neighbours.
    #[inline(always)]
    unsafe fn splat_at(p: *const f32) -> Self::F {
        unsafe { Self::splat(*apart(p)) }
    }
    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn store(p: *mut f32, v: Self::F);
    /// Lanes not in use are zero.
    unsafe fn load_tail(p: *const f32, n: usize) -> Self::F;
    unsafe fn store_tail(p: *mut f32, n: usize, v: Self::F);
    /// Past the caches; `p` is a multiple of 64.
    unsafe fn stream(p: *mut f32, v: Self::F);

    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where the machine can.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`.
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The lesser; `b` where either is NaN.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// The greater; `b` where either is NaN.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sqrt(a: Self::F) -> Self::F;
    /// To the nearest integer, ties to even.
    unsafe fn round(a: Self::F) -> Self::F;
    unsafe fn floor(a: Self::F) -> Self::F;
    /// `a * 2^n` for integral n of magnitude up to 300, rounded once: infinity and subnormal numbers come out right.
    unsafe fn scale(a: Self::F, n: Self::F) -> Self::F;
    unsafe fn abs(a: Self::F) -> Self::F;
    /// The magnitude of `a` with the sign of `s`.
    unsafe fn copysign(a: Self::F, s: Self::F) -> Self::F;

    unsafe fn lt(a: Self::F, b: Self::F) -> Self::M;
    unsafe fn le(a: Self::F, b: Self::F) -> Self::M;
    unsafe fn eq(a: Self::F, b: Self::F) -> Self::M;
    /// `a` where `m`, else `b`.
    unsafe fn select(m: Self::M, a: Self::F, b: Self::F) -> Self::F;
    unsafe fn select_int(m: Self::M, a: Self::I, b: Self::I) -> Self::I;
    unsafe fn and(a: Self::M, b: Self::M) -> Self::M;
    unsafe fn or(a: Self::M, b: Self::M) -> Self::M;
    unsafe fn not(a: Self::M) -> Self::M;
    /// Lane i as bit i.
    unsafe fn bits(m: Self::M) -> u16;
    /// Lanes from bytes; any byte but 0 is true.
    unsafe fn load_mask(p: *const u8) -> Self::M;
    unsafe fn load_mask_tail(p: *const u8, n: usize) -> Self::M;
    /// Lanes to bytes 0 and 1.
    unsafe fn store_mask(p: *mut u8, m: Self::M);
    unsafe fn store_mask_tail(p: *mut u8, n: usize, m: Self::M);

    unsafe fn splat_int(x: i32) -> Self::I;
    unsafe fn load_int(p: *const i32) -> Self::I;
    unsafe fn load_int_tail(p: *const i32, n: usize) -> Self::I;
    unsafe fn store_int(p: *mut i32, v: Self::I);
    unsafe fn store_int_tail(p: *mut i32, n: usize, v: Self::I);
    unsafe fn add_int(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn sub_int(a: Self::I, b: Self::I) -> Self::I;
    /// Low 32 bits.
    unsafe fn mul_int(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn and_int(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn xor_int(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn shl<const N: i32>(a: Self::I) -> Self::I;
    /// Arithmetic shift.
    unsafe fn shr<const N: i32>(a: Self::I) -> Self::I;
    /// Logical shift.
    unsafe fn shr_zero<const N: i32>(a: Self::I) -> Self::I;
    unsafe fn lt_int(a: Self::I, b: Self::I) -> Self::M;
    unsafe fn eq_int(a: Self::I, b: Self::I) -> Self::M;
    /// High and low 32 bits of the unsigned product, lane by lane.
    unsafe fn mul_wide(a: Self::I, b: Self::I) -> (Self::I, Self::I);
    unsafe fn to_float(a: Self::I) -> Self::F;
    /// Truncates; what does not fit is `i32::MIN`.
    unsafe fn truncate(a: Self::F) -> Self::I;
    unsafe fn bits_of(a: Self::F) -> Self::I;
    unsafe fn of_bits(a: Self::I) -> Self::F;

    /// Lane j of vector i becomes lane i of vector j.
    unsafe fn transpose(rows: [Self::F; LANES]) -> [Self::F; LANES];
    /// The square of elements at `from`, whose rows lie `apart`, turned: its rows lie `distance` apart at `to`.
    #[inline(always)]
    unsafe fn turn(from: *const f32, apart: isize, to: *mut f32, distance: usize) {
        unsafe {
            let mut square = [Self::splat(0.0); LANES];
            let mut i = 0;
            while i < LANES {
                square[i] = Self::load(from.offset(i as isize * apart));
                i += 1;
            }
            let turned = Self::transpose(square);
            i = 0;
            while i < LANES {
                Self::store(to.add(i * distance), turned[i]);
                i += 1;
            }
        }
    }
    /// Sum of the lanes: halves are added to halves, 16 to 8 to 4 to 2 to 1.
    unsafe fn sum(a: Self::F) -> f32;
}
