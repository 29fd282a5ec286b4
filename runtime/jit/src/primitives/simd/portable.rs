//! Any machine: arrays of sixteen, left to the compiler's vectoriser.

use super::{LANES, Simd};

/// No feature at all.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

type F = [f32; LANES];
type I = [i32; LANES];
type M = [bool; LANES];

macro_rules! lanewise {
    ($($name:ident($($a:ident : $t:ty),*) -> $r:ty = $e:expr;)*) => {
        $(#[inline(always)]
        unsafe fn $name($($a: [$t; LANES]),*) -> [$r; LANES] {
            std::array::from_fn(|i| {
                $(let $a = $a[i];)*
                $e
            })
        })*
    };
}

#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, mul_add is a slow library call.
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn power_of_two(e: i32) -> f32 {
    f32::from_bits(((e + 127) as u32) << 23)
}

impl Simd for Portable {
    type F = F;
    type I = I;
    type M = M;
    const REGISTERS: usize = 16;

    lanewise! {
        add(a: f32, b: f32) -> f32 = a + b;
        sub(a: f32, b: f32) -> f32 = a - b;
        mul(a: f32, b: f32) -> f32 = a * b;
        div(a: f32, b: f32) -> f32 = a / b;
        fma(a: f32, b: f32, c: f32) -> f32 = multiply_add(a, b, c);
        fnma(a: f32, b: f32, c: f32) -> f32 = multiply_add(-a, b, c);
        min(a: f32, b: f32) -> f32 = if a < b { a } else { b };
        max(a: f32, b: f32) -> f32 = if a > b { a } else { b };
        sqrt(a: f32) -> f32 = a.sqrt();
        round(a: f32) -> f32 = a.round_ties_even();
        floor(a: f32) -> f32 = a.floor();
        abs(a: f32) -> f32 = a.abs();
        copysign(a: f32, s: f32) -> f32 = a.copysign(s);
        scale(a: f32, n: f32) -> f32 = {
            let n = n as i32;
            let third = n / 3;
            a * power_of_two(third) * power_of_two(n - 2 * third) * power_of_two(third)
        };
        lt(a: f32, b: f32) -> bool = a < b;
        le(a: f32, b: f32) -> bool = a <= b;
        eq(a: f32, b: f32) -> bool = a == b;
        select(m: bool, a: f32, b: f32) -> f32 = if m { a } else { b };
        select_int(m: bool, a: i32, b: i32) -> i32 = if m { a } else { b };
        and(a: bool, b: bool) -> bool = a & b;
        or(a: bool, b: bool) -> bool = a | b;
        not(a: bool) -> bool = !a;
        add_int(a: i32, b: i32) -> i32 = a.wrapping_add(b);
        sub_int(a: i32, b: i32) -> i32 = a.wrapping_sub(b);
        mul_int(a: i32, b: i32) -> i32 = a.wrapping_mul(b);
        and_int(a: i32, b: i32) -> i32 = a & b;
        xor_int(a: i32, b: i32) -> i32 = a ^ b;
        lt_int(a: i32, b: i32) -> bool = a < b;
        eq_int(a: i32, b: i32) -> bool = a == b;
        to_float(a: i32) -> f32 = a as f32;
        truncate(a: f32) -> i32 = if (-2_147_483_648.0..2_147_483_648.0).contains(&a) { a as i32 } else { i32::MIN };
        bits_of(a: f32) -> i32 = a.to_bits().cast_signed();
        of_bits(a: i32) -> f32 = f32::from_bits(a.cast_unsigned());
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        unsafe { p.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: F) {
        unsafe { p.cast::<F>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_tail(p: *const f32, n: usize) -> F {
        unsafe {
            let mut v = [0.0; LANES];
            std::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), n);
            v
        }
    }
    #[inline(always)]
    unsafe fn store_tail(p: *mut f32, n: usize, v: F) {
        unsafe { std::ptr::copy_nonoverlapping(v.as_ptr(), p, n) }
    }
    #[inline(always)]
    unsafe fn stream(p: *mut f32, v: F) {
        unsafe { Self::store(p, v) }
    }
    #[inline(always)]
    unsafe fn bits(m: M) -> u16 {
        m.iter().enumerate().fold(0, |b, (i, &lane)| b | (u16::from(lane) << i))
    }
    #[inline(always)]
    unsafe fn load_mask(p: *const u8) -> M {
        unsafe { std::array::from_fn(|i| *p.add(i) != 0) }
    }
    #[inline(always)]
    unsafe fn load_mask_tail(p: *const u8, n: usize) -> M {
        unsafe { std::array::from_fn(|i| i < n && *p.add(i) != 0) }
    }
    #[inline(always)]
    unsafe fn store_mask(p: *mut u8, m: M) {
        unsafe { Self::store_mask_tail(p, LANES, m) }
    }
    #[inline(always)]
    unsafe fn store_mask_tail(p: *mut u8, n: usize, m: M) {
        for (i, lane) in m.iter().enumerate().take(n) {
            unsafe { *p.add(i) = u8::from(*lane) }
        }
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> I {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load_int(p: *const i32) -> I {
        unsafe { p.cast::<I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_int_tail(p: *const i32, n: usize) -> I {
        unsafe {
            let mut v = [0; LANES];
            std::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), n);
            v
        }
    }
    #[inline(always)]
    unsafe fn store_int(p: *mut i32, v: I) {
        unsafe { p.cast::<I>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_int_tail(p: *mut i32, n: usize, v: I) {
        unsafe { std::ptr::copy_nonoverlapping(v.as_ptr(), p, n) }
    }
    #[inline(always)]
    unsafe fn shl<const N: i32>(a: I) -> I {
        a.map(|x| x << N)
    }
    #[inline(always)]
    unsafe fn shr<const N: i32>(a: I) -> I {
        a.map(|x| x >> N)
    }
    #[inline(always)]
    unsafe fn shr_zero<const N: i32>(a: I) -> I {
        a.map(|x| (x.cast_unsigned() >> N).cast_signed())
    }
    #[inline(always)]
    unsafe fn mul_wide(a: I, b: I) -> (I, I) {
        let wide = |i: usize| u64::from(a[i].cast_unsigned()) * u64::from(b[i].cast_unsigned());
        (std::array::from_fn(|i| ((wide(i) >> 32) as u32).cast_signed()), std::array::from_fn(|i| (wide(i) as u32).cast_signed()))
    }
    #[inline(always)]
    unsafe fn transpose(rows: [F; LANES]) -> [F; LANES] {
        std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
    }
    #[inline(always)]
    unsafe fn sum(a: F) -> f32 {
        let e: [f32; 8] = std::array::from_fn(|i| a[i] + a[i + 8]);
        let q: [f32; 4] = std::array::from_fn(|i| e[i] + e[i + 4]);
        (q[0] + q[2]) + (q[1] + q[3])
    }
}
