//! Entry points: every kernel compiled once per instruction set, as an `extern "C"` function of plain pointers.

use super::lane::{Lane, Op1, Op2, Op3};
use super::simd::Simd;
use super::simd::portable::Portable;
use super::{fused, lane, layout, random, reduce};
use crate::attention::{self, AttendShape, GradShape};
use crate::gemm::gathered::{self, Gathered, Outer};
use crate::gemm::{Product, blocked, near, small};
use crate::solve::{self, Block};
use crate::state::{self, Operands, RankOne};

macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident [$($decl:tt)*] [$($use:tt)*] ($($a:ident: $t:ty),*) $(-> $r:ty)? = $kernel:path;)*) => {
        /// Addresses of the kernels for one instruction set.
        pub(crate) trait Isa: Simd {
            $($(#[$doc])* fn $name<$($decl)*>() -> *const u8;)*
        }
        entries!(@isa Portable, (); $($name [$($decl)*] [$($use)*] ($($a: $t),*) $(-> $r)? = $kernel;)*);
        #[cfg(target_arch = "x86_64")]
        entries!(@isa super::simd::avx2::Avx2, (#[target_feature(enable = "avx2,fma,bmi2,f16c")]);
            $($name [$($decl)*] [$($use)*] ($($a: $t),*) $(-> $r)? = $kernel;)*);
        #[cfg(target_arch = "x86_64")]
        entries!(@isa super::simd::avx512::Avx512, (#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2,f16c")]);
            $($name [$($decl)*] [$($use)*] ($($a: $t),*) $(-> $r)? = $kernel;)*);
    };
    (@isa $isa:ty, $attrs:tt; $($name:ident $decl:tt $use:tt $args:tt $(-> $r:ty)? = $kernel:path;)*) => {
        impl Isa for $isa {
            $(entries!(@one $isa, $attrs, $name $decl $use $args, ($($r)?), $kernel);)*
        }
    };
    (@one $isa:ty, ($($attr:tt)*), $name:ident [$($decl:tt)*] [$($use:tt)*] ($($a:ident: $t:ty),*), ($($r:ty)?), $kernel:path) => {
        fn $name<$($decl)*>() -> *const u8 {
            $($attr)*
            unsafe extern "C" fn entry<$($decl)*>($($a: $t),*) $(-> $r)? {
                use $kernel as kernel;
                // Safety: the caller's; this set's features are checked before its table is handed out.
                unsafe { kernel::<$isa, $($use)*>($($a),*) }
            }
            let address: unsafe extern "C" fn($($t),*) $(-> $r)? = entry::<$($use)*>;
            address as *const u8
        }
    };
}

entries! {
    map1 [O: Op1] [O] (n: usize, dst: *mut u8, a: *const u8) = lane::map1;
    map2 [O: Op2, const SA: bool, const SB: bool] [O, SA, SB] (n: usize, dst: *mut u8, a: *const u8, b: *const u8) = lane::map2;
    map3 [O: Op3, const SA: bool, const SB: bool, const SC: bool] [O, SA, SB, SC]
        (n: usize, dst: *mut f32, a: *const f32, b: *const f32, c: *const f32) = lane::map3;
    choose3 [L: Lane, const SC: bool, const SA: bool, const SB: bool] [L, SC, SA, SB]
        (n: usize, dst: *mut u8, c: *const u8, a: *const u8, b: *const u8) = lane::choose3;
    accumulate [O: Op2] [O] (n: usize, dst: *mut u8, a: *const u8) = layout::accumulate;
    product [] [] (product: *const Product, a: *const f32, b: *const f32, d: *const f32, c: *mut f32, space: *mut f32) = blocked::product;
    gathered [] [] (product: *const Gathered, a: *const f32, a_rows: *const isize, b: *const f32, c: *mut f32, c_rows: *const isize,
        space: *mut f32) = gathered::gathered;
    outer [] [] (product: *const Outer, a: *const f32, a_points: *const isize, b: *const f32, b_points: *const isize, c: *mut f32,
        space: *mut f32) = gathered::outer;
    rank_one [] [] (shape: *const RankOne, operands: *const Operands) = state::rank_one;
    near [] [] (product: *const Product, a: *const f32, b: *const f32, d: *const f32, c: *mut f32, space: *mut f32) = near::product;
    substitute [] [] (block: *const Block, m: *const f32, side: *const f32, x: *mut f32) = solve::substitute;
    small [] [] (product: *const Product, a: *const f32, b: *const f32, c: *mut f32) = small::product;
    attend [] [] (shape: *const AttendShape, block: usize, q: *const f32, k: *const f32, v: *const f32, mix: *mut f32, lse: *mut f32,
        scratch: *mut f32) = attention::attend_kernel;
    attend_grad [] [] (shape: *const GradShape, q: *const f32, k: *const f32, v: *const f32, mix: *const f32, lse: *const f32,
        dmix: *const f32, dq: *mut f32, dk: *mut f32, dv: *mut f32, scratch: *mut f32) = attention::attend_grad_kernel;
    accumulate_product [const SCALED: bool] [SCALED] (n: usize, dst: *mut f32, a: *const f32, b: *const f32) = layout::accumulate_product;
    row_sum [] [] (n: usize, a: *const f32) -> f32 = reduce::sum;
    squares [] [] (n: usize, a: *const f32) -> f32 = reduce::squares;
    row_dot [] [] (n: usize, a: *const f32, b: *const f32) -> f32 = reduce::dot;
    extreme [const LEAST: bool] [LEAST] (n: usize, a: *const f32) -> f32 = reduce::extreme;
    argmax [] [] (n: usize, a: *const f32) -> i32 = reduce::argmax;
    moments [] [] (n: usize, a: *const f32, out: *mut f32) = reduce::moments;
    exponentials [const STORE: bool] [STORE] (n: usize, dst: *mut f32, a: *const f32, s: *const f32) -> f32 = reduce::exponentials;
    log_sum_exp [] [] (n: usize, a: *const f32) -> f32 = reduce::log_sum_exp;
    softmax [] [] (n: usize, dst: *mut f32, a: *const f32) -> f32 = reduce::softmax;
    whole [const WHICH: u8] [WHICH] (n: usize, a: *const i32) -> i32 = reduce::whole;
    truth [const ALL: bool] [ALL] (n: usize, a: *const u8) -> u8 = reduce::truth;
    fill [T: Copy] [T] (n: usize, dst: *mut T, a: *const T) = layout::fill;
    copy [T: Copy] [T] (n: usize, dst: *mut T, a: *const T) = layout::copy;
    stream_copy [] [] (n: usize, dst: *mut f32, a: *const f32) = layout::stream;
    load_strided [T: Copy] [T] (n: usize, dst: *mut T, a: *const T, stride: isize) = layout::load_strided;
    store_strided [T: Copy] [T] (n: usize, dst: *mut T, a: *const T, stride: isize) = layout::store_strided;
    transposed_copy [T: Copy] [T] (rows: usize, columns: usize, dst: *mut T, dst_stride: isize, a: *const T, a_stride: isize) = layout::transpose;
    iota [] [] (n: usize, dst: *mut i32, start: *const i32) = layout::iota;
    random [const NORMAL: bool] [NORMAL] (n: usize, dst: *mut f32, key: *const random::RandomKey, first: u64) = random::random;
    adamw [] [] (n: usize, p: *mut f32, m: *mut f32, v: *mut f32, g: *const f32, rule: *const fused::AdamW) = fused::adamw;
    gelu_pair [] [] (n: usize, value: *mut f32, slope: *mut f32, a: *const f32) = fused::gelu_pair;
    normalise [] [] (n: usize, dst: *mut f32, a: *const f32, epsilon: *const f32, out: *mut f32) = fused::normalise;
}
