//! From functions of the graph to kernels.

use super::entry::Isa;
use super::lane::{Float, Int, Lane, Op2, Op3, Truth};
use super::{float, whole};
use ogive_graph::{DType, Distribution, MapFn, ReduceFn};

/// Fused functions of three f32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Three {
    /// `a * b + c`.
    Fma,
    /// `(a - b) * c`.
    SubScale,
    /// `exp(a - b) * c`.
    ExpScale,
    /// `a * (b - c)`.
    MulSub,
    /// `a * (1 - b^2) * c`.
    TanhGrad,
    /// `a * b * (1 - b) * c`.
    SigmoidGrad,
}

impl Three {
    /// Every one, for tests.
    pub const ALL: &'static [Three] = &[Three::Fma, Three::SubScale, Three::ExpScale, Three::MulSub, Three::TanhGrad, Three::SigmoidGrad];

    /// For listings.
    pub fn name(self) -> &'static str {
        match self {
            Three::Fma => "fma",
            Three::SubScale => "sub_scale",
            Three::ExpScale => "exp_scale",
            Three::MulSub => "mul_sub",
            Three::TanhGrad => "tanh_grad",
            Three::SigmoidGrad => "sigmoid_grad",
        }
    }
}

/// Primitives that no function of the graph names.
#[derive(Clone, Copy)]
pub(super) enum Fixed {
    AccumulateProduct,
    AccumulateScaled,
    Dot,
    Squares,
    ArgMax,
    Moments,
    Normalise,
    ExpSubSum,
    LogSumExp,
    Softmax,
    Gelu,
    GeluSlope,
    GeluPair,
    AdamW,
    Fill(DType),
    Copy(DType),
    Stream,
    LoadStrided(DType),
    StoreStrided(DType),
    Transpose(DType),
    Iota,
    Random(Distribution),
}

fn two<I: Isa, O: Op2>(scalar: [bool; 3]) -> Option<*const u8> {
    Some(match scalar {
        [false, false, _] => I::map2::<O, false, false>(),
        [false, true, _] => I::map2::<O, false, true>(),
        [true, false, _] => I::map2::<O, true, false>(),
        [true, true, _] => return None,
    })
}

/// A function of two with its operands exchanged.
fn turned<I: Isa, O: Op2 + 'static>([a, b, c]: [bool; 3]) -> Option<*const u8> {
    two::<I, Turned<O>>([a, b, c])
}

/// `O` with its operands exchanged.
struct Turned<O>(std::marker::PhantomData<O>);
impl<O: Op2 + 'static> Op2 for Turned<O> {
    type In = O::In;
    type Out = O::Out;
    #[inline(always)]
    unsafe fn apply<S: super::simd::Simd>(a: <O::In as Lane>::V<S>, b: <O::In as Lane>::V<S>) -> <O::Out as Lane>::V<S> {
        unsafe { O::apply::<S>(b, a) }
    }
}

fn choice<I: Isa, L: Lane>(scalar: [bool; 3]) -> Option<*const u8> {
    Some(match scalar {
        [false, false, false] => I::choose3::<L, false, false, false>(),
        [false, false, true] => I::choose3::<L, false, false, true>(),
        [false, true, false] => I::choose3::<L, false, true, false>(),
        [false, true, true] => I::choose3::<L, false, true, true>(),
        [true, false, false] => I::choose3::<L, true, false, false>(),
        [true, false, true] => I::choose3::<L, true, false, true>(),
        [true, true, false] => I::choose3::<L, true, true, false>(),
        [true, true, true] => return None,
    })
}

pub(super) fn map<I: Isa>(f: MapFn, operand: DType, result: DType, scalar: [bool; 3]) -> Option<*const u8> {
    let expected = match f {
        MapFn::Cast => result,
        _ if f.is_predicate() => DType::Bool,
        _ => operand,
    };
    if result != expected || (f.arity() == 1 && scalar[0]) {
        return None;
    }
    match operand {
        DType::F32 if f == MapFn::Cast => Some(match result {
            DType::F32 => I::copy::<u32>(),
            DType::I32 => I::map1::<float::FloatToInt>(),
            DType::Bool => I::map1::<float::FloatToTruth>(),
            DType::F64 => return None,
        }),
        DType::I32 if f == MapFn::Cast => Some(match result {
            DType::F32 => I::map1::<float::IntToFloat>(),
            DType::I32 => I::copy::<u32>(),
            DType::Bool => I::map1::<float::IntToTruth>(),
            DType::F64 => return None,
        }),
        DType::Bool if f == MapFn::Cast => Some(match result {
            DType::F32 => I::map1::<float::TruthToFloat>(),
            DType::I32 => I::map1::<float::TruthToInt>(),
            DType::Bool => I::copy::<u8>(),
            DType::F64 => return None,
        }),
        DType::F32 => map_float::<I>(f, scalar),
        DType::I32 => map_int::<I>(f, scalar),
        DType::Bool => map_truth::<I>(f, scalar),
        DType::F64 => None,
    }
}

fn map_float<I: Isa>(f: MapFn, scalar: [bool; 3]) -> Option<*const u8> {
    match f {
        MapFn::Neg => Some(I::map1::<float::Neg>()),
        MapFn::Abs => Some(I::map1::<float::Abs>()),
        MapFn::Sign => Some(I::map1::<float::Sign>()),
        MapFn::Exp => Some(I::map1::<float::Exp>()),
        MapFn::Log => Some(I::map1::<float::Log>()),
        MapFn::Sqrt => Some(I::map1::<float::Sqrt>()),
        MapFn::Rsqrt => Some(I::map1::<float::Rsqrt>()),
        MapFn::Recip => Some(I::map1::<float::Recip>()),
        MapFn::Sin => Some(I::map1::<float::Sin>()),
        MapFn::Cos => Some(I::map1::<float::Cos>()),
        MapFn::Tanh => Some(I::map1::<float::Tanh>()),
        MapFn::Sigmoid => Some(I::map1::<float::Sigmoid>()),
        MapFn::Erf => Some(I::map1::<float::Erf>()),
        MapFn::Relu => Some(I::map1::<float::Relu>()),
        MapFn::Floor => Some(I::map1::<float::Floor>()),
        MapFn::StopGradient => Some(I::copy::<u32>()),
        MapFn::Add => two::<I, float::Add>(scalar),
        MapFn::Sub => two::<I, float::Sub>(scalar),
        MapFn::Mul => two::<I, float::Mul>(scalar),
        MapFn::Div => two::<I, float::Div>(scalar),
        MapFn::Pow => two::<I, float::Pow>(scalar),
        MapFn::Max => two::<I, float::Max>(scalar),
        MapFn::Min => two::<I, float::Min>(scalar),
        MapFn::Mod => two::<I, float::Mod>(scalar),
        MapFn::Eq => two::<I, float::Eq>(scalar),
        MapFn::Ne => two::<I, float::Ne>(scalar),
        MapFn::Lt => two::<I, float::Lt>(scalar),
        MapFn::Le => two::<I, float::Le>(scalar),
        MapFn::Gt => turned::<I, float::Lt>(scalar),
        MapFn::Ge => turned::<I, float::Le>(scalar),
        MapFn::Where => choice::<I, Float>(scalar),
        MapFn::Not | MapFn::And | MapFn::Or | MapFn::Cast => None,
    }
}

fn map_int<I: Isa>(f: MapFn, scalar: [bool; 3]) -> Option<*const u8> {
    match f {
        MapFn::Neg => Some(I::map1::<whole::Neg>()),
        MapFn::Abs => Some(I::map1::<whole::Abs>()),
        MapFn::Sign => Some(I::map1::<whole::Sign>()),
        MapFn::Relu => Some(I::map1::<whole::Relu>()),
        MapFn::Floor | MapFn::StopGradient => Some(I::copy::<u32>()),
        MapFn::Add => two::<I, whole::Add>(scalar),
        MapFn::Sub => two::<I, whole::Sub>(scalar),
        MapFn::Mul => two::<I, whole::Mul>(scalar),
        MapFn::Div => two::<I, whole::Div>(scalar),
        MapFn::Pow => two::<I, whole::Pow>(scalar),
        MapFn::Max => two::<I, whole::Max>(scalar),
        MapFn::Min => two::<I, whole::Min>(scalar),
        MapFn::Mod => two::<I, whole::Mod>(scalar),
        MapFn::Eq => two::<I, whole::Eq>(scalar),
        MapFn::Ne => two::<I, whole::Ne>(scalar),
        MapFn::Lt => two::<I, whole::Lt>(scalar),
        MapFn::Le => two::<I, whole::Le>(scalar),
        MapFn::Gt => turned::<I, whole::Lt>(scalar),
        MapFn::Ge => turned::<I, whole::Le>(scalar),
        MapFn::Where => choice::<I, Int>(scalar),
        MapFn::Exp | MapFn::Log | MapFn::Sqrt | MapFn::Rsqrt | MapFn::Recip | MapFn::Sin | MapFn::Cos | MapFn::Tanh => None,
        MapFn::Sigmoid | MapFn::Erf | MapFn::Not | MapFn::And | MapFn::Or | MapFn::Cast => None,
    }
}

fn map_truth<I: Isa>(f: MapFn, scalar: [bool; 3]) -> Option<*const u8> {
    match f {
        MapFn::Not => Some(I::map1::<whole::Not>()),
        MapFn::StopGradient => Some(I::copy::<u8>()),
        MapFn::And => two::<I, whole::And>(scalar),
        MapFn::Or => two::<I, whole::Or>(scalar),
        MapFn::Eq => two::<I, whole::EqTruth>(scalar),
        MapFn::Ne => two::<I, whole::NeTruth>(scalar),
        MapFn::Lt => two::<I, whole::LtTruth>(scalar),
        MapFn::Le => two::<I, whole::LeTruth>(scalar),
        MapFn::Gt => turned::<I, whole::LtTruth>(scalar),
        MapFn::Ge => turned::<I, whole::LeTruth>(scalar),
        MapFn::Where => choice::<I, Truth>(scalar),
        MapFn::Neg | MapFn::Abs | MapFn::Sign | MapFn::Exp | MapFn::Log | MapFn::Sqrt | MapFn::Rsqrt | MapFn::Recip => None,
        MapFn::Sin | MapFn::Cos | MapFn::Tanh | MapFn::Sigmoid | MapFn::Erf | MapFn::Relu | MapFn::Floor | MapFn::Cast => None,
        MapFn::Add | MapFn::Sub | MapFn::Mul | MapFn::Div | MapFn::Pow | MapFn::Max | MapFn::Min | MapFn::Mod => None,
    }
}

pub(super) fn reduce<I: Isa>(f: ReduceFn, dtype: DType) -> Option<*const u8> {
    Some(match (f, dtype) {
        (ReduceFn::Sum, DType::F32) => I::row_sum(),
        (ReduceFn::Max, DType::F32) => I::extreme::<false>(),
        (ReduceFn::Min, DType::F32) => I::extreme::<true>(),
        (ReduceFn::Sum, DType::I32) => I::whole::<0>(),
        (ReduceFn::Max, DType::I32) => I::whole::<1>(),
        (ReduceFn::Min, DType::I32) => I::whole::<2>(),
        (ReduceFn::Sum | ReduceFn::Max, DType::Bool) => I::truth::<false>(),
        (ReduceFn::Min, DType::Bool) => I::truth::<true>(),
        (_, DType::F64) => return None,
    })
}

pub(super) fn accumulate<I: Isa>(f: ReduceFn, dtype: DType) -> Option<*const u8> {
    Some(match (f, dtype) {
        (ReduceFn::Sum, DType::F32) => I::accumulate::<float::Add>(),
        (ReduceFn::Max, DType::F32) => I::accumulate::<float::Max>(),
        (ReduceFn::Min, DType::F32) => I::accumulate::<float::Min>(),
        (ReduceFn::Sum, DType::I32) => I::accumulate::<whole::Add>(),
        (ReduceFn::Max, DType::I32) => I::accumulate::<whole::Max>(),
        (ReduceFn::Min, DType::I32) => I::accumulate::<whole::Min>(),
        (ReduceFn::Sum | ReduceFn::Max, DType::Bool) => I::accumulate::<whole::Or>(),
        (ReduceFn::Min, DType::Bool) => I::accumulate::<whole::And>(),
        (_, DType::F64) => return None,
    })
}

pub(super) fn three<I: Isa>(f: Three, scalar: [bool; 3]) -> *const u8 {
    fn kinds<I: Isa, O: Op3>(scalar: [bool; 3]) -> *const u8 {
        match scalar {
            [false, false, false] => I::map3::<O, false, false, false>(),
            [false, false, true] => I::map3::<O, false, false, true>(),
            [false, true, false] => I::map3::<O, false, true, false>(),
            [false, true, true] => I::map3::<O, false, true, true>(),
            [true, false, false] => I::map3::<O, true, false, false>(),
            [true, false, true] => I::map3::<O, true, false, true>(),
            [true, true, false] => I::map3::<O, true, true, false>(),
            [true, true, true] => I::map3::<O, true, true, true>(),
        }
    }
    match f {
        Three::Fma => kinds::<I, float::Fma>(scalar),
        Three::SubScale => kinds::<I, float::SubScale>(scalar),
        Three::ExpScale => kinds::<I, float::ExpScale>(scalar),
        Three::MulSub => kinds::<I, float::MulSub>(scalar),
        Three::TanhGrad => kinds::<I, float::TanhGrad>(scalar),
        Three::SigmoidGrad => kinds::<I, float::SigmoidGrad>(scalar),
    }
}

pub(super) fn fixed<I: Isa>(which: Fixed) -> *const u8 {
    macro_rules! sized {
        ($dtype:expr, $f:ident) => {
            match $dtype {
                DType::F32 | DType::I32 => I::$f::<u32>(),
                DType::F64 => I::$f::<u64>(),
                DType::Bool => I::$f::<u8>(),
            }
        };
    }
    match which {
        Fixed::AccumulateProduct => I::accumulate_product::<false>(),
        Fixed::AccumulateScaled => I::accumulate_product::<true>(),
        Fixed::Dot => I::row_dot(),
        Fixed::Squares => I::squares(),
        Fixed::ArgMax => I::argmax(),
        Fixed::Moments => I::moments(),
        Fixed::Normalise => I::normalise(),
        Fixed::ExpSubSum => I::exponentials::<true>(),
        Fixed::LogSumExp => I::log_sum_exp(),
        Fixed::Softmax => I::softmax(),
        Fixed::Gelu => I::map1::<float::Gelu>(),
        Fixed::GeluSlope => I::map1::<float::GeluSlope>(),
        Fixed::GeluPair => I::gelu_pair(),
        Fixed::AdamW => I::adamw(),
        Fixed::Fill(dtype) => sized!(dtype, fill),
        Fixed::Copy(dtype) => sized!(dtype, copy),
        Fixed::Stream => I::stream_copy(),
        Fixed::LoadStrided(dtype) => sized!(dtype, load_strided),
        Fixed::StoreStrided(dtype) => sized!(dtype, store_strided),
        Fixed::Transpose(dtype) => sized!(dtype, transposed_copy),
        Fixed::Iota => I::iota(),
        Fixed::Random(Distribution::Uniform) => I::random::<false>(),
        Fixed::Random(Distribution::Normal) => I::random::<true>(),
    }
}
