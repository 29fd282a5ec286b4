//! Fill, copy, strided and transposed copies. Elements are opaque: `Word` of four bytes or `Byte` of one.

use super::lane::{Lane, Op2, map2, map3};
use super::simd::{LANES, Simd};

/// `dst[i] = *a`.
///
/// # Safety
/// The CPU has the features of `S`; `dst` holds n elements, `a` one.
#[inline(always)]
pub(crate) unsafe fn fill<S: Simd, T: Copy>(n: usize, dst: *mut T, a: *const T) {
    unsafe {
        let x = *a;
        for i in 0..n {
            *dst.add(i) = x;
        }
    }
}

/// `dst[i] = a[i]`.
///
/// # Safety
/// As [`fill`], with n elements in `a`.
#[inline(always)]
pub(crate) unsafe fn copy<S: Simd, T: Copy>(n: usize, dst: *mut T, a: *const T) {
    unsafe { std::ptr::copy(a, dst, n) }
}

/// `dst[i] = a[i * stride]`.
///
/// # Safety
/// As [`fill`], with `a[i * stride]` readable for every i.
#[inline(always)]
pub(crate) unsafe fn load_strided<S: Simd, T: Copy>(n: usize, dst: *mut T, a: *const T, stride: isize) {
    unsafe {
        match stride {
            1 => std::ptr::copy(a, dst, n),
            0 => fill::<S, T>(n, dst, a),
            _ => {
                for i in 0..n {
                    *dst.add(i) = *a.offset(i as isize * stride);
                }
            }
        }
    }
}

/// `dst[i * stride] = a[i]`.
///
/// # Safety
/// As [`load_strided`], the other way round.
#[inline(always)]
pub(crate) unsafe fn store_strided<S: Simd, T: Copy>(n: usize, dst: *mut T, a: *const T, stride: isize) {
    unsafe {
        if stride == 1 {
            std::ptr::copy(a, dst, n);
        } else {
            for i in 0..n {
                *dst.offset(i as isize * stride) = *a.add(i);
            }
        }
    }
}

/// `dst[i * dst_stride + j] = a[j * a_stride + i]` for i below `rows` and j below `columns`, in squares of sixteen that stay in L1.
///
/// # Safety
/// As [`load_strided`] for every element named; `dst` and `a` do not overlap.
#[inline(always)]
pub(crate) unsafe fn transpose<S: Simd, T: Copy>(
    rows: usize,
    columns: usize,
    dst: *mut T,
    dst_stride: isize,
    a: *const T,
    a_stride: isize,
) {
    unsafe {
        let mut i = 0;
        while i < rows {
            let height = LANES.min(rows - i);
            let mut j = 0;
            while j < columns {
                let width = LANES.min(columns - j);
                for y in i..i + height {
                    let to = dst.offset(y as isize * dst_stride);
                    let from = a.add(y);
                    for x in j..j + width {
                        *to.add(x) = *from.offset(x as isize * a_stride);
                    }
                }
                j += LANES;
            }
            i += LANES;
        }
    }
}

/// `dst[i] = *start + i`.
///
/// # Safety
/// As [`fill`].
#[inline(always)]
pub(crate) unsafe fn iota<S: Simd>(n: usize, dst: *mut i32, start: *const i32) {
    unsafe {
        let start = *start;
        for i in 0..n {
            *dst.add(i) = start.wrapping_add(i as i32);
        }
    }
}

/// A pass from memory to memory that leaves the caches as they are: `dst[i] = a[i]`, `dst` not read again soon.
///
/// # Safety
/// As [`copy`]; no overlap.
#[inline(always)]
pub(crate) unsafe fn stream<S: Simd>(n: usize, dst: *mut f32, a: *const f32) {
    unsafe {
        // Up to the first whole cache line of dst.
        let lead = (dst.align_offset(64)).min(n);
        std::ptr::copy_nonoverlapping(a, dst, lead);
        let mut i = lead;
        while i + LANES <= n {
            S::stream(dst.add(i), S::load(a.add(i)));
            i += LANES;
        }
        std::ptr::copy_nonoverlapping(a.add(i), dst.add(i), n - i);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }
}

/// `dst[i] = f(dst[i], a[i])`.
///
/// # Safety
/// As [`copy`].
#[inline(always)]
pub(crate) unsafe fn accumulate<S: Simd, F: Op2>(n: usize, dst: *mut u8, a: *const u8) {
    unsafe {
        debug_assert_eq!(size_of::<<F::In as Lane>::Raw>(), size_of::<<F::Out as Lane>::Raw>());
        map2::<S, F, false, false>(n, dst, dst, a);
    }
}

/// `dst[i] += a[i] * b[i]`, with `b` one element where `SCALED`.
///
/// # Safety
/// As [`copy`].
#[inline(always)]
pub(crate) unsafe fn accumulate_product<S: Simd, const SCALED: bool>(n: usize, dst: *mut f32, a: *const f32, b: *const f32) {
    unsafe { map3::<S, super::float::Fma, false, SCALED, false>(n, dst, a, b, dst) }
}
