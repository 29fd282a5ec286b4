//! Tiles of counter-based random numbers, word for word those of `ogive_runtime::rng`: sixteen Philox blocks at a time.

use super::math;
use super::simd::{LANES, Simd};
use ogive_runtime::backend::Draw;
use ogive_runtime::rng::Stream;

/// What a stream of random numbers depends on, mixed: Philox key and counter words 1 to 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct RandomKey {
    key: [u32; 2],
    rest: [u32; 3],
}

impl RandomKey {
    /// The stream of `site` in a step, for the given inputs of the random operation.
    pub fn new(seed: u64, step: u64, site: u64, inputs: &[i32]) -> Self {
        let Stream { key, rest } = Stream::new(Draw { seed, step }, site, inputs);
        RandomKey { key, rest }
    }
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;
/// Elements of sixteen blocks.
const TILE: usize = 4 * LANES;

/// Words of blocks `first .. first + 16`.
#[inline(always)]
unsafe fn words<S: Simd>(key: &RandomKey, first: u32) -> [S::I; 4] {
    unsafe {
        let word = |x: u32| S::splat_int(x.cast_signed());
        let mut lanes = [0; LANES];
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = first.wrapping_add(i as u32).cast_signed();
        }
        let (mut c0, mut c1, mut c2, mut c3) = (S::load_int(lanes.as_ptr()), word(key.rest[0]), word(key.rest[1]), word(key.rest[2]));
        let (mut k0, mut k1) = (key.key[0], key.key[1]);
        let (m0, m1) = (word(MULTIPLIERS[0]), word(MULTIPLIERS[1]));
        for _ in 0..ROUNDS {
            let (h0, l0) = S::mul_wide(c0, m0);
            let (h1, l1) = S::mul_wide(c2, m1);
            (c0, c1, c2, c3) = (S::xor_int(S::xor_int(h1, c1), word(k0)), l1, S::xor_int(S::xor_int(h0, c3), word(k1)), l0);
            (k0, k1) = (k0.wrapping_add(WEYL[0]), k1.wrapping_add(WEYL[1]));
        }
        [c0, c1, c2, c3]
    }
}

/// `(word >> 8 + MORE) * 2^-24`.
#[inline(always)]
unsafe fn unit<S: Simd, const MORE: i32>(word: S::I) -> S::F {
    unsafe { S::mul(S::to_float(S::add_int(S::shr_zero::<8>(word), S::splat_int(MORE))), S::splat(1.0 / 16_777_216.0)) }
}

/// The two normal numbers of two words.
#[inline(always)]
unsafe fn pair<S: Simd>(first: S::I, second: S::I) -> [S::F; 2] {
    unsafe {
        let radius = S::sqrt(S::mul(S::splat(-2.0), math::log::<S>(unit::<S, 1>(first))));
        let (sin, cos) = math::turn::<S>(unit::<S, 0>(second));
        [S::mul(radius, cos), S::mul(radius, sin)]
    }
}

/// Elements `first .. first + n` of the stream: uniform in \[0, 1), or normal.
///
/// # Safety
/// The CPU has the features of `S`; `dst` holds n elements.
#[inline(always)]
pub(crate) unsafe fn random<S: Simd, const NORMAL: bool>(n: usize, dst: *mut f32, key: *const RandomKey, first: u64) {
    unsafe {
        let key = &*key;
        let mut tile = [0.0f32; TILE];
        let mut done = 0;
        while done < n {
            let element = first + done as u64;
            let [a, b, c, d] = words::<S>(key, (element / 4) as u32);
            let columns = if NORMAL {
                let ([a, b], [c, d]) = (pair::<S>(a, b), pair::<S>(c, d));
                [a, b, c, d]
            } else {
                [unit::<S, 0>(a), unit::<S, 0>(b), unit::<S, 0>(c), unit::<S, 0>(d)]
            };
            let mut lanes = [[0.0f32; LANES]; 4];
            for (lanes, column) in lanes.iter_mut().zip(columns) {
                S::store(lanes.as_mut_ptr(), column);
            }
            for i in 0..LANES {
                for (j, lanes) in lanes.iter().enumerate() {
                    tile[4 * i + j] = lanes[i];
                }
            }
            let skip = (element % 4) as usize;
            let count = (TILE - skip).min(n - done);
            std::ptr::copy_nonoverlapping(tile.as_ptr().add(skip), dst.add(done), count);
            done += count;
        }
    }
}
