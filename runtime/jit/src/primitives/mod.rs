//! Precompiled tile primitives, one table per instruction set, chosen when the program starts.
//!
//! A primitive is an `extern "C"` function of plain pointers, named by its address; machine code calls it on tiles of some hundred
//! elements. Kernels are written once over sixteen lanes (`simd`), so all sets do the same operations in the same order; results differ
//! between sets only where one lacks a fused multiply-add.
//!
//! Conventions. `n` counts elements and may be 0. `dst` may equal an operand of the same element size, but not overlap it otherwise. No
//! alignment is assumed. A *scalar* operand is a pointer to one element. bool is one byte, 0 or 1. NaN and infinities behave as in the
//! reference interpreter: `max`, `min` and `relu` hand NaN on, casts to i32 saturate, i32 division by zero gives zero.
//!
//! | signature | primitives |
//! |---|---|
//! | `(n, dst, a)` | [`Primitives::map`] of one operand, [`copy`](Primitives::copy), [`fill`](Primitives::fill), [`iota`](Primitives::iota), [`accumulate`](Primitives::accumulate), [`gelu`](Primitives::gelu) |
//! | `(n, dst, a, b)` | [`Primitives::map`] of two operands, [`accumulate_product`](Primitives::accumulate_product) |
//! | `(n, dst, a, b, c)` | [`Primitives::map`] of `Where`, [`three`](Primitives::three) |
//! | `(n, a[, b]) -> element` | [`reduce`](Primitives::reduce), [`dot`](Primitives::dot), [`squares`](Primitives::squares), [`argmax`](Primitives::argmax) (i32), [`log_sum_exp`](Primitives::log_sum_exp) |

mod entry;
mod float;
mod fused;
mod lane;
mod layout;
pub(crate) mod math;
mod random;
pub(crate) mod reduce;
pub(crate) mod simd;
mod table;
#[cfg(test)]
mod tests;
mod whole;

pub use fused::AdamW;
pub use random::RandomKey;
pub use table::Three;

use crate::attention::{AttendFn, AttendGradFn};
use crate::gemm::gathered::{GatheredFn, OuterFn};
use crate::gemm::{ProductFn, SmallFn};
use crate::solve::SubstituteFn;
use crate::state::RankOneFn;
use ogive_graph::{DType, Distribution, MapFn, ReduceFn};
use simd::portable::Portable;

/// A precompiled function.
#[derive(Clone, Copy, Debug)]
pub struct Primitive {
    /// For listings; primitives that differ in operand kinds only share it.
    pub name: &'static str,
    /// Where it starts; its signature is stated by the method that gives it.
    pub address: *const u8,
}
// Safety: the address of a function.
unsafe impl Send for Primitive {}
// Safety: as above.
unsafe impl Sync for Primitive {}

/// The primitives of one instruction set.
pub struct Primitives {
    name: &'static str,
    available: fn() -> bool,
    map: fn(MapFn, DType, DType, [bool; 3]) -> Option<*const u8>,
    reduce: fn(ReduceFn, DType) -> Option<*const u8>,
    accumulate: fn(ReduceFn, DType) -> Option<*const u8>,
    three: fn(Three, [bool; 3]) -> *const u8,
    fixed: fn(table::Fixed) -> *const u8,
    product: fn() -> *const u8,
    gathered: fn() -> *const u8,
    outer: fn() -> *const u8,
    near: fn() -> *const u8,
    substitute: fn() -> *const u8,
    small: fn() -> *const u8,
    rank_one: fn() -> *const u8,
    attend: fn() -> *const u8,
    attend_grad: fn() -> *const u8,
}

macro_rules! set {
    ($name:literal, $isa:ty, $available:expr) => {
        Primitives {
            name: $name,
            available: $available,
            map: table::map::<$isa>,
            reduce: table::reduce::<$isa>,
            accumulate: table::accumulate::<$isa>,
            three: table::three::<$isa>,
            fixed: table::fixed::<$isa>,
            product: <$isa as entry::Isa>::product,
            gathered: <$isa as entry::Isa>::gathered,
            outer: <$isa as entry::Isa>::outer,
            near: <$isa as entry::Isa>::near,
            substitute: <$isa as entry::Isa>::substitute,
            small: <$isa as entry::Isa>::small,
            rank_one: <$isa as entry::Isa>::rank_one,
            attend: <$isa as entry::Isa>::attend,
            attend_grad: <$isa as entry::Isa>::attend_grad,
        }
    };
}

/// Best first.
static SETS: &[Primitives] = &[
    #[cfg(target_arch = "x86_64")]
    set!("avx512", simd::avx512::Avx512, || {
        let base = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq");
        base && is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("f16c")
    }),
    #[cfg(target_arch = "x86_64")]
    set!("avx2", simd::avx2::Avx2, || {
        let base = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        base && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("f16c")
    }),
    set!("portable", Portable, || true),
];

impl Primitives {
    /// The set of that name, or the best: `None` where it is unknown or not for this CPU.
    pub fn select(isa: Option<&str>) -> Option<&'static Primitives> {
        SETS.iter().find(|set| isa.is_none_or(|name| set.name == name) && (set.available)())
    }

    /// Every set that this CPU can run, best first.
    pub fn all() -> impl Iterator<Item = &'static Primitives> {
        SETS.iter().filter(|set| (set.available)())
    }

    /// `avx512`, `avx2` or `portable`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `(n, dst, a[, b[, c]])`: an element-wise function. `operand` is the element type of the operands (of the branches for `Where`, whose
    /// condition is bool), `result` that of dst. `scalar[i]`: operand i is one element. `None` where the function is not defined on the
    /// type, or all operands of several are scalar.
    pub fn map(&self, f: MapFn, operand: DType, result: DType, scalar: [bool; 3]) -> Option<Primitive> {
        (self.map)(f, operand, result, scalar).map(|address| Primitive { name: f.name(), address })
    }

    /// `(n, a) -> element`: f32, i32 or bool (as u8; sum and max are "any", min is "all"). n = 0 gives the identity.
    pub fn reduce(&self, f: ReduceFn, dtype: DType) -> Option<Primitive> {
        (self.reduce)(f, dtype).map(|address| Primitive { name: f.name(), address })
    }

    /// `(n, dst, a)`: `dst[i] = f(dst[i], a[i])`.
    pub fn accumulate(&self, f: ReduceFn, dtype: DType) -> Option<Primitive> {
        (self.accumulate)(f, dtype).map(|address| Primitive { name: f.name(), address })
    }

    /// `(n, dst, a, b, c)`: a fused function of three f32.
    pub fn three(&self, f: Three, scalar: [bool; 3]) -> Primitive {
        Primitive { name: f.name(), address: (self.three)(f, scalar) }
    }

    fn fixed(&self, name: &'static str, which: table::Fixed) -> Primitive {
        Primitive { name, address: (self.fixed)(which) }
    }

    /// `(n, dst, a, b)`: `dst[i] += a[i] * b[i]`, f32.
    pub fn accumulate_product(&self) -> Primitive {
        self.fixed("accumulate_product", table::Fixed::AccumulateProduct)
    }

    /// `(n, dst, a, s)`: `dst[i] += a[i] * *s`, f32.
    pub fn accumulate_scaled(&self) -> Primitive {
        self.fixed("accumulate_scaled", table::Fixed::AccumulateScaled)
    }

    /// `(n, a, b) -> f32`.
    pub fn dot(&self) -> Primitive {
        self.fixed("dot", table::Fixed::Dot)
    }

    /// `(n, a) -> f32`: sum of squares.
    pub fn squares(&self) -> Primitive {
        self.fixed("squares", table::Fixed::Squares)
    }

    /// `(n, a) -> i32`: position of the largest f32.
    pub fn argmax(&self) -> Primitive {
        self.fixed("argmax", table::Fixed::ArgMax)
    }

    /// `(n, a, out)`: mean to `out[0]`, variance over n to `out[1]`.
    pub fn moments(&self) -> Primitive {
        self.fixed("moments", table::Fixed::Moments)
    }

    /// `(n, dst, a, epsilon, out)`: `dst = (a - mean) / sqrt(variance + *epsilon)`; mean to `out[0]`, the reciprocal root to `out[1]`.
    pub fn normalise(&self) -> Primitive {
        self.fixed("normalise", table::Fixed::Normalise)
    }

    /// `(n, dst, a, s) -> f32`: `dst[i] = exp(a[i] - *s)`, and their sum.
    pub fn exp_sub_sum(&self) -> Primitive {
        self.fixed("exp_sub_sum", table::Fixed::ExpSubSum)
    }

    /// `(n, a) -> f32`: log sum exp.
    pub fn log_sum_exp(&self) -> Primitive {
        self.fixed("log_sum_exp", table::Fixed::LogSumExp)
    }

    /// `(n, dst, a) -> f32`: softmax of a row; gives log sum exp. A row of -inf becomes zeros, log sum exp -inf.
    pub fn softmax(&self) -> Primitive {
        self.fixed("softmax", table::Fixed::Softmax)
    }

    /// `(n, dst, a)`: `a * P(a)`, P the normal distribution function: the exact gelu.
    pub fn gelu(&self) -> Primitive {
        self.fixed("gelu", table::Fixed::Gelu)
    }

    /// `(n, dst, a)`: derivative of [`gelu`](Self::gelu).
    pub fn gelu_slope(&self) -> Primitive {
        self.fixed("gelu_slope", table::Fixed::GeluSlope)
    }

    /// `(n, value, slope, a)`: gelu and its derivative.
    pub fn gelu_pair(&self) -> Primitive {
        self.fixed("gelu_pair", table::Fixed::GeluPair)
    }

    /// `(n, p, m, v, g, rule: *const AdamW)`: one step of AdamW.
    pub fn adamw(&self) -> Primitive {
        self.fixed("adamw", table::Fixed::AdamW)
    }

    /// `(n, dst, a)`: `dst[i] = *a`.
    pub fn fill(&self, dtype: DType) -> Primitive {
        self.fixed("fill", table::Fixed::Fill(dtype))
    }

    /// `(n, dst, a)`: `dst[i] = a[i]`.
    pub fn copy(&self, dtype: DType) -> Primitive {
        self.fixed("copy", table::Fixed::Copy(dtype))
    }

    /// `(n, dst, a)`: `dst[i] = a[i]`, f32, leaving the caches as they are.
    pub fn stream(&self) -> Primitive {
        self.fixed("stream", table::Fixed::Stream)
    }

    /// `(n, dst, a, stride: isize)`: `dst[i] = a[i * stride]`.
    pub fn load_strided(&self, dtype: DType) -> Primitive {
        self.fixed("load_strided", table::Fixed::LoadStrided(dtype))
    }

    /// `(n, dst, a, stride: isize)`: `dst[i * stride] = a[i]`.
    pub fn store_strided(&self, dtype: DType) -> Primitive {
        self.fixed("store_strided", table::Fixed::StoreStrided(dtype))
    }

    /// `(rows, columns, dst, dst_stride: isize, a, a_stride: isize)`: `dst[i * dst_stride + j] = a[j * a_stride + i]`.
    pub fn transpose(&self, dtype: DType) -> Primitive {
        self.fixed("transpose", table::Fixed::Transpose(dtype))
    }

    /// `(n, dst, start)`: `dst[i] = *start + i`, i32.
    pub fn iota(&self) -> Primitive {
        self.fixed("iota", table::Fixed::Iota)
    }

    /// `(n, dst, key: *const RandomKey, first: u64)`: elements `first .. first + n` of a stream of random numbers. Uniform ones equal those
    /// of `ogive_runtime::rng` bit for bit; normal ones have the same words, evaluated in f32.
    pub fn random(&self, distribution: Distribution) -> Primitive {
        self.fixed("random", table::Fixed::Random(distribution))
    }

    pub(crate) fn product(&self) -> ProductFn {
        // Safety: the entry point has this signature.
        unsafe { std::mem::transmute::<*const u8, ProductFn>((self.product)()) }
    }

    pub(crate) fn near(&self) -> ProductFn {
        // Safety: the entry point has this signature.
        unsafe { std::mem::transmute::<*const u8, ProductFn>((self.near)()) }
    }

    pub(crate) fn substitute(&self) -> SubstituteFn {
        // Safety: the entry point has this signature.
        unsafe { std::mem::transmute::<*const u8, SubstituteFn>((self.substitute)()) }
    }

    pub(crate) fn gathered(&self) -> GatheredFn {
        // Safety: the entry point has this signature.
        unsafe { std::mem::transmute::<*const u8, GatheredFn>((self.gathered)()) }
    }

    pub(crate) fn outer(&self) -> OuterFn {
        // Safety: the entry point has this signature.
        unsafe { std::mem::transmute::<*const u8, OuterFn>((self.outer)()) }
    }

    pub(crate) fn small(&self) -> SmallFn {
        // Safety: the entry point has this signature.
        unsafe { std::mem::transmute::<*const u8, SmallFn>((self.small)()) }
    }

    pub(crate) fn rank_one(&self) -> RankOneFn {
        // Safety: the entry point has this signature.
        unsafe { std::mem::transmute::<*const u8, RankOneFn>((self.rank_one)()) }
    }

    pub(crate) fn attend(&self) -> AttendFn {
        // Safety: the entry point has this signature.
        unsafe { std::mem::transmute::<*const u8, AttendFn>((self.attend)()) }
    }

    pub(crate) fn attend_grad(&self) -> AttendGradFn {
        // Safety: the entry point has this signature.
        unsafe { std::mem::transmute::<*const u8, AttendGradFn>((self.attend_grad)()) }
    }
}
