//! AVX2 with FMA: two registers of eight lanes.

use super::Simd;
use std::arch::x86_64::*;

/// AVX2 with FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Two registers; `.0` holds lanes 0 to 7.
#[derive(Clone, Copy)]
pub(crate) struct Pair<T>(pub(crate) T, pub(crate) T);

/// Sum of eight lanes: 8 to 4 to 2 to 1.
///
/// # Safety
/// The CPU has AVX.
#[inline(always)]
pub(crate) unsafe fn sum8(h: __m256) -> f32 {
    unsafe {
        let q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps::<1>(h));
        let d = _mm_add_ps(q, _mm_movehl_ps(q, q));
        _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps::<1>(d, d)))
    }
}

/// Ones where the lane is in use.
const WINDOW: [i32; 32] = {
    let mut w = [0; 32];
    let mut i = 0;
    while i < 16 {
        w[i] = -1;
        i += 1;
    }
    w
};

#[inline(always)]
unsafe fn mask(n: usize) -> Pair<__m256i> {
    unsafe {
        let p = WINDOW.as_ptr().add(16 - n);
        Pair(_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(8).cast()))
    }
}

/// `2^e` for integral e of magnitude below 127.
#[inline(always)]
unsafe fn power(e: Pair<__m256>) -> Pair<__m256> {
    unsafe { Avx2::of_bits(Avx2::shl::<23>(Avx2::add_int(Avx2::truncate(e), Avx2::splat_int(127)))) }
}

macro_rules! lanewise {
    ($($name:ident($($a:ident),*) : $t:ty = $f:path;)*) => {
        $(#[inline(always)]
        unsafe fn $name($($a: Pair<$t>),*) -> Pair<$t> {
            unsafe { Pair($f($($a.0),*), $f($($a.1),*)) }
        })*
    };
}

impl Simd for Avx2 {
    type F = Pair<__m256>;
    type I = Pair<__m256i>;
    type M = Pair<__m256>;
    const REGISTERS: usize = 16;

    lanewise! {
        add(a, b): __m256 = _mm256_add_ps;
        sub(a, b): __m256 = _mm256_sub_ps;
        mul(a, b): __m256 = _mm256_mul_ps;
        div(a, b): __m256 = _mm256_div_ps;
        fma(a, b, c): __m256 = _mm256_fmadd_ps;
        fnma(a, b, c): __m256 = _mm256_fnmadd_ps;
        min(a, b): __m256 = _mm256_min_ps;
        max(a, b): __m256 = _mm256_max_ps;
        sqrt(a): __m256 = _mm256_sqrt_ps;
        round(a): __m256 = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>;
        floor(a): __m256 = _mm256_floor_ps;
        lt(a, b): __m256 = _mm256_cmp_ps::<_CMP_LT_OQ>;
        le(a, b): __m256 = _mm256_cmp_ps::<_CMP_LE_OQ>;
        eq(a, b): __m256 = _mm256_cmp_ps::<_CMP_EQ_OQ>;
        and(a, b): __m256 = _mm256_and_ps;
        or(a, b): __m256 = _mm256_or_ps;
        add_int(a, b): __m256i = _mm256_add_epi32;
        sub_int(a, b): __m256i = _mm256_sub_epi32;
        mul_int(a, b): __m256i = _mm256_mullo_epi32;
        and_int(a, b): __m256i = _mm256_and_si256;
        xor_int(a, b): __m256i = _mm256_xor_si256;
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Pair<__m256> {
        unsafe { Pair(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Pair<__m256> {
        unsafe { Pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Pair<__m256>) {
        unsafe {
            _mm256_storeu_ps(p, v.0);
            _mm256_storeu_ps(p.add(8), v.1);
        }
    }
    #[inline(always)]
    unsafe fn load_tail(p: *const f32, n: usize) -> Pair<__m256> {
        unsafe {
            let m = mask(n);
            Pair(_mm256_maskload_ps(p, m.0), _mm256_maskload_ps(p.wrapping_add(8), m.1))
        }
    }
    #[inline(always)]
    unsafe fn store_tail(p: *mut f32, n: usize, v: Pair<__m256>) {
        // Masked stores take a dozen cycles on some processors; a store for each bit of `n` takes one each.
        unsafe {
            if n >= super::LANES {
                return Self::store(p, v);
            }
            let (mut p, mut left) = (p, v.0);
            if n >= 8 {
                _mm256_storeu_ps(p, v.0);
                (p, left) = (p.wrapping_add(8), v.1);
            }
            let mut half = _mm256_castps256_ps128(left);
            if n & 4 != 0 {
                _mm_storeu_ps(p, half);
                (p, half) = (p.wrapping_add(4), _mm256_extractf128_ps::<1>(left));
            }
            if n & 2 != 0 {
                _mm_store_sd(p.cast(), _mm_castps_pd(half));
                (p, half) = (p.wrapping_add(2), _mm_movehl_ps(half, half));
            }
            if n & 1 != 0 {
                _mm_store_ss(p, half);
            }
        }
    }
    #[inline(always)]
    unsafe fn stream(p: *mut f32, v: Pair<__m256>) {
        unsafe {
            _mm256_stream_ps(p, v.0);
            _mm256_stream_ps(p.add(8), v.1);
        }
    }
    #[inline(always)]
    unsafe fn scale(a: Pair<__m256>, n: Pair<__m256>) -> Pair<__m256> {
        // Three factors reach from 2^-300 to 2^300; all but the last product are exact unless the result is infinite.
        unsafe {
            let third = Self::round(Self::mul(n, Self::splat(1.0 / 3.0)));
            let rest = Self::sub(Self::sub(n, third), third);
            let t = power(third);
            Self::mul(Self::mul(Self::mul(a, t), power(rest)), t)
        }
    }
    #[inline(always)]
    unsafe fn abs(a: Pair<__m256>) -> Pair<__m256> {
        unsafe {
            let m = _mm256_set1_ps(-0.0);
            Pair(_mm256_andnot_ps(m, a.0), _mm256_andnot_ps(m, a.1))
        }
    }
    #[inline(always)]
    unsafe fn copysign(a: Pair<__m256>, s: Pair<__m256>) -> Pair<__m256> {
        unsafe {
            let m = Self::splat(-0.0);
            Self::or(Self::abs(a), Self::and(m, s))
        }
    }
    #[inline(always)]
    unsafe fn select(m: Pair<__m256>, a: Pair<__m256>, b: Pair<__m256>) -> Pair<__m256> {
        unsafe { Pair(_mm256_blendv_ps(b.0, a.0, m.0), _mm256_blendv_ps(b.1, a.1, m.1)) }
    }
    #[inline(always)]
    unsafe fn select_int(m: Pair<__m256>, a: Pair<__m256i>, b: Pair<__m256i>) -> Pair<__m256i> {
        unsafe { Self::bits_of(Self::select(m, Self::of_bits(a), Self::of_bits(b))) }
    }
    #[inline(always)]
    unsafe fn not(a: Pair<__m256>) -> Pair<__m256> {
        unsafe {
            let ones = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
            Pair(_mm256_xor_ps(a.0, ones), _mm256_xor_ps(a.1, ones))
        }
    }
    #[inline(always)]
    unsafe fn bits(m: Pair<__m256>) -> u16 {
        unsafe { (_mm256_movemask_ps(m.0) | (_mm256_movemask_ps(m.1) << 8)) as u16 }
    }
    #[inline(always)]
    unsafe fn load_mask(p: *const u8) -> Pair<__m256> {
        unsafe {
            let v = _mm_loadu_si128(p.cast());
            let zero = _mm256_setzero_si256();
            let lo = _mm256_cmpgt_epi32(_mm256_cvtepu8_epi32(v), zero);
            let hi = _mm256_cmpgt_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128::<8>(v)), zero);
            Pair(_mm256_castsi256_ps(lo), _mm256_castsi256_ps(hi))
        }
    }
    #[inline(always)]
    unsafe fn load_mask_tail(p: *const u8, n: usize) -> Pair<__m256> {
        unsafe {
            let mut bytes = [0u8; super::LANES];
            std::ptr::copy_nonoverlapping(p, bytes.as_mut_ptr(), n);
            Self::load_mask(bytes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_mask(p: *mut u8, m: Pair<__m256>) {
        unsafe {
            let words = _mm256_packs_epi32(_mm256_castps_si256(m.0), _mm256_castps_si256(m.1));
            // The pack works within 128-bit halves; put the quarters back in order.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(p.cast(), _mm_and_si128(bytes, _mm_set1_epi8(1)));
        }
    }
    #[inline(always)]
    unsafe fn store_mask_tail(p: *mut u8, n: usize, m: Pair<__m256>) {
        unsafe {
            let mut bytes = [0u8; super::LANES];
            Self::store_mask(bytes.as_mut_ptr(), m);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), p, n);
        }
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> Pair<__m256i> {
        unsafe { Pair(_mm256_set1_epi32(x), _mm256_set1_epi32(x)) }
    }
    #[inline(always)]
    unsafe fn load_int(p: *const i32) -> Pair<__m256i> {
        unsafe { Pair(_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(8).cast())) }
    }
    #[inline(always)]
    unsafe fn load_int_tail(p: *const i32, n: usize) -> Pair<__m256i> {
        unsafe { Self::bits_of(Self::load_tail(p.cast(), n)) }
    }
    #[inline(always)]
    unsafe fn store_int(p: *mut i32, v: Pair<__m256i>) {
        unsafe { Self::store(p.cast(), Self::of_bits(v)) }
    }
    #[inline(always)]
    unsafe fn store_int_tail(p: *mut i32, n: usize, v: Pair<__m256i>) {
        unsafe { Self::store_tail(p.cast(), n, Self::of_bits(v)) }
    }
    #[inline(always)]
    unsafe fn shl<const N: i32>(a: Pair<__m256i>) -> Pair<__m256i> {
        unsafe { Pair(_mm256_slli_epi32::<N>(a.0), _mm256_slli_epi32::<N>(a.1)) }
    }
    #[inline(always)]
    unsafe fn shr<const N: i32>(a: Pair<__m256i>) -> Pair<__m256i> {
        unsafe { Pair(_mm256_srai_epi32::<N>(a.0), _mm256_srai_epi32::<N>(a.1)) }
    }
    #[inline(always)]
    unsafe fn shr_zero<const N: i32>(a: Pair<__m256i>) -> Pair<__m256i> {
        unsafe { Pair(_mm256_srli_epi32::<N>(a.0), _mm256_srli_epi32::<N>(a.1)) }
    }
    #[inline(always)]
    unsafe fn lt_int(a: Pair<__m256i>, b: Pair<__m256i>) -> Pair<__m256> {
        unsafe { Self::of_bits(Pair(_mm256_cmpgt_epi32(b.0, a.0), _mm256_cmpgt_epi32(b.1, a.1))) }
    }
    #[inline(always)]
    unsafe fn eq_int(a: Pair<__m256i>, b: Pair<__m256i>) -> Pair<__m256> {
        unsafe { Self::of_bits(Pair(_mm256_cmpeq_epi32(a.0, b.0), _mm256_cmpeq_epi32(a.1, b.1))) }
    }
    #[inline(always)]
    unsafe fn mul_wide(a: Pair<__m256i>, b: Pair<__m256i>) -> (Pair<__m256i>, Pair<__m256i>) {
        unsafe {
            let (h0, l0) = wide8(a.0, b.0);
            let (h1, l1) = wide8(a.1, b.1);
            (Pair(h0, h1), Pair(l0, l1))
        }
    }
    #[inline(always)]
    unsafe fn to_float(a: Pair<__m256i>) -> Pair<__m256> {
        unsafe { Pair(_mm256_cvtepi32_ps(a.0), _mm256_cvtepi32_ps(a.1)) }
    }
    #[inline(always)]
    unsafe fn truncate(a: Pair<__m256>) -> Pair<__m256i> {
        unsafe { Pair(_mm256_cvttps_epi32(a.0), _mm256_cvttps_epi32(a.1)) }
    }
    #[inline(always)]
    unsafe fn bits_of(a: Pair<__m256>) -> Pair<__m256i> {
        unsafe { Pair(_mm256_castps_si256(a.0), _mm256_castps_si256(a.1)) }
    }
    #[inline(always)]
    unsafe fn of_bits(a: Pair<__m256i>) -> Pair<__m256> {
        unsafe { Pair(_mm256_castsi256_ps(a.0), _mm256_castsi256_ps(a.1)) }
    }
    #[inline(always)]
    unsafe fn transpose(r: [Pair<__m256>; 16]) -> [Pair<__m256>; 16] {
        unsafe {
            let mut out = r;
            let mut j = 0;
            while j < 2 {
                let (mut top, mut low) = ([_mm256_setzero_ps(); 8], [_mm256_setzero_ps(); 8]);
                let mut i = 0;
                while i < 8 {
                    (top[i], low[i]) = if j == 0 { (r[i].0, r[i + 8].0) } else { (r[i].1, r[i + 8].1) };
                    i += 1;
                }
                let (top, low) = (transpose8(top), transpose8(low));
                i = 0;
                while i < 8 {
                    out[8 * j + i] = Pair(top[i], low[i]);
                    i += 1;
                }
                j += 1;
            }
            out
        }
    }
    #[inline(always)]
    unsafe fn turn(from: *const f32, apart: isize, to: *mut f32, distance: usize) {
        // By quarters: the registers hold no more.
        let mut quarter = 0;
        while quarter < 4 {
            let (i, j) = (quarter / 2 * 8, quarter % 2 * 8);
            unsafe { turn8(from.offset(i as isize * apart + j as isize), apart, to.add(j * distance + i), distance) };
            quarter += 1;
        }
    }
    #[inline(always)]
    unsafe fn sum(a: Pair<__m256>) -> f32 {
        unsafe { sum8(_mm256_add_ps(a.0, a.1)) }
    }
}

#[inline(always)]
unsafe fn wide8(a: __m256i, b: __m256i) -> (__m256i, __m256i) {
    unsafe {
        let even = _mm256_mul_epu32(a, b);
        let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(a), _mm256_srli_epi64::<32>(b));
        let high = _mm256_blend_epi32::<0xAA>(_mm256_srli_epi64::<32>(even), odd);
        let low = _mm256_blend_epi32::<0xAA>(even, _mm256_slli_epi64::<32>(odd));
        (high, low)
    }
}

/// A square of eight turned, from memory to memory.
#[inline(always)]
unsafe fn turn8(from: *const f32, apart: isize, to: *mut f32, distance: usize) {
    unsafe {
        // Halves of rows i and i + 4 side by side: what is left is within the halves.
        let mut rows = [_mm256_setzero_ps(); 8];
        let mut i = 0;
        while i < 4 {
            let (upper, lower) = (from.offset(i as isize * apart), from.offset((i as isize + 4) * apart));
            rows[i] = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(upper)), _mm_loadu_ps(lower));
            rows[4 + i] = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(upper.add(4))), _mm_loadu_ps(lower.add(4)));
            i += 1;
        }
        let mut g = 0;
        while g < 8 {
            let (a, b) = (_mm256_unpacklo_ps(rows[g], rows[g + 1]), _mm256_unpackhi_ps(rows[g], rows[g + 1]));
            let (c, d) = (_mm256_unpacklo_ps(rows[g + 2], rows[g + 3]), _mm256_unpackhi_ps(rows[g + 2], rows[g + 3]));
            _mm256_storeu_ps(to.add(g * distance), _mm256_shuffle_ps::<0x44>(a, c));
            _mm256_storeu_ps(to.add((g + 1) * distance), _mm256_shuffle_ps::<0xEE>(a, c));
            _mm256_storeu_ps(to.add((g + 2) * distance), _mm256_shuffle_ps::<0x44>(b, d));
            _mm256_storeu_ps(to.add((g + 3) * distance), _mm256_shuffle_ps::<0xEE>(b, d));
            g += 4;
        }
    }
}

#[inline(always)]
unsafe fn transpose8(r: [__m256; 8]) -> [__m256; 8] {
    unsafe {
        let mut u = r;
        let mut g = 0;
        while g < 8 {
            let (a, b) = (_mm256_unpacklo_ps(r[g], r[g + 1]), _mm256_unpackhi_ps(r[g], r[g + 1]));
            let (c, d) = (_mm256_unpacklo_ps(r[g + 2], r[g + 3]), _mm256_unpackhi_ps(r[g + 2], r[g + 3]));
            u[g] = _mm256_shuffle_ps::<0x44>(a, c);
            u[g + 1] = _mm256_shuffle_ps::<0xEE>(a, c);
            u[g + 2] = _mm256_shuffle_ps::<0x44>(b, d);
            u[g + 3] = _mm256_shuffle_ps::<0xEE>(b, d);
            g += 4;
        }
        let mut out = r;
        let mut j = 0;
        while j < 4 {
            out[j] = _mm256_permute2f128_ps::<0x20>(u[j], u[4 + j]);
            out[4 + j] = _mm256_permute2f128_ps::<0x31>(u[j], u[4 + j]);
            j += 1;
        }
        out
    }
}
