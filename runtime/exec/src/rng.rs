//! Counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011).
//!
//! Every number is a function of where it is drawn, so any back end draws the same, in any order, any number of times:
//!
//! - key: the low and the high 32 bits of the seed;
//! - counter: `[block, step, stream low, stream high]`, where `block` is the element's row-major position divided by 4, modulo 2^32,
//!   and `step` the low 32 bits of [`Draw::step`];
//! - stream: `h = mix(site)`; for a step of 2^32 or more, `h = mix(h ^ (step >> 32))`; then, for each i32 input in order,
//!   `h = mix(h ^ u64(u32(input)))`, with [`mix`] the finaliser of SplitMix64;
//! - element e takes word `e % 4` of its block.
//!
//! A uniform number is `(word >> 8) * 2^-24`, exact in f32 and f64 alike. Normal numbers come in pairs from words 0, 1 and words 2, 3:
//! with `u = ((first >> 8) + 1) * 2^-24` and `v = (second >> 8) * 2^-24`, the pair is `sqrt(-2 ln u) * cos(2 pi v)` and
//! `sqrt(-2 ln u) * sin(2 pi v)`; evaluated in f64 here, and equal up to rounding where a back end evaluates it in f32.

use crate::backend::Draw;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// The four words of a block.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    for _ in 0..ROUNDS {
        let low = u64::from(c0) * u64::from(MULTIPLIERS[0]);
        let high = u64::from(c2) * u64::from(MULTIPLIERS[1]);
        (c0, c1, c2, c3) = ((high >> 32) as u32 ^ c1 ^ k0, high as u32, (low >> 32) as u32 ^ c3 ^ k1, low as u32);
        (k0, k1) = (k0.wrapping_add(WEYL[0]), k1.wrapping_add(WEYL[1]));
    }
    [c0, c1, c2, c3]
}

/// A bijection of u64 that scatters close inputs (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stable hash of a name (FNV-1a, 64 bits), for streams that belong to something named.
pub fn hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// The uniform number of a word: a multiple of 2^-24 in \[0, 1).
pub fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// The two normal numbers of two words.
pub fn normal_pair(first: u32, second: u32) -> [f64; 2] {
    let u = f64::from((first >> 8) + 1) / 16_777_216.0;
    let v = f64::from(second >> 8) / 16_777_216.0;
    let (radius, angle) = ((-2.0 * u.ln()).sqrt(), std::f64::consts::TAU * v);
    [radius * angle.cos(), radius * angle.sin()]
}

/// Numbers of one place of a spec in one step and one iteration of its loops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stream {
    /// Philox key.
    pub key: [u32; 2],
    /// Words 1 to 3 of the counter.
    pub rest: [u32; 3],
}

impl Stream {
    /// The stream of `site` for the given inputs of the random operation.
    pub fn new(draw: Draw, site: u64, inputs: &[i32]) -> Self {
        let mut h = mix(site);
        if draw.step >> 32 != 0 {
            h = mix(h ^ (draw.step >> 32));
        }
        for &input in inputs {
            h = mix(h ^ u64::from(input as u32));
        }
        Stream { key: [draw.seed as u32, (draw.seed >> 32) as u32], rest: [draw.step as u32, h as u32, (h >> 32) as u32] }
    }

    /// Words of elements `4 * index ..= 4 * index + 3`.
    pub fn block(&self, index: u64) -> [u32; 4] {
        philox([index as u32, self.rest[0], self.rest[1], self.rest[2]], self.key)
    }

    /// Uniform number of an element.
    pub fn uniform(&self, element: u64) -> f32 {
        uniform(self.block(element / 4)[(element % 4) as usize])
    }

    /// Normal number of an element.
    pub fn normal(&self, element: u64) -> f64 {
        let words = self.block(element / 4);
        let pair = (element % 4 / 2 * 2) as usize;
        normal_pair(words[pair], words[pair + 1])[(element % 2) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_known_answers() {
        let answers = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, answer) in answers {
            assert_eq!(philox(counter, key), answer);
        }
    }

    #[test]
    fn mix_continues_the_published_sequence_of_splitmix64() {
        let golden = 0x9E37_79B9_7F4A_7C15_u64;
        let first: Vec<u64> = (0..3u64).map(|i| mix(1_234_567u64.wrapping_add(i.wrapping_mul(golden)))).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn hash_is_fnv_1a() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    #[cfg_attr(miri, ignore = "tens of thousands of numbers, where each instruction is interpreted")]
    fn uniform_numbers_stay_below_one_and_average_a_half() {
        let stream = Stream::new(Draw { seed: 7, step: 3 }, 11, &[]);
        let n = 40_000u64;
        let numbers: Vec<f64> = (0..n).map(|i| f64::from(stream.uniform(i))).collect();
        assert!(numbers.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = numbers.iter().sum::<f64>() / n as f64;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.006 && (variance - 1.0 / 12.0).abs() < 0.003, "{mean} {variance}");
        assert!(uniform(u32::MAX) < 1.0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "tens of thousands of numbers, where each instruction is interpreted")]
    fn normal_numbers_have_mean_zero_and_unit_variance() {
        let stream = Stream::new(Draw { seed: 1, step: 0 }, 2, &[5]);
        let n = 40_000u64;
        let numbers: Vec<f64> = (0..n).map(|i| stream.normal(i)).collect();
        let mean = numbers.iter().sum::<f64>() / n as f64;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        let fourth = numbers.iter().map(|x| x.powi(4)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03 && (fourth - 3.0).abs() < 0.2, "{mean} {variance} {fourth}");
        assert!(normal_pair(0, 0).iter().all(|x| x.is_finite()));
    }

    #[test]
    fn streams_differ_by_seed_step_site_and_inputs() {
        let base = Stream::new(Draw { seed: 1, step: 1 }, 1, &[1, 2]);
        let others = [
            Stream::new(Draw { seed: 2, step: 1 }, 1, &[1, 2]),
            Stream::new(Draw { seed: 1 << 32 | 1, step: 1 }, 1, &[1, 2]),
            Stream::new(Draw { seed: 1, step: 2 }, 1, &[1, 2]),
            Stream::new(Draw { seed: 1, step: 1 << 32 | 1 }, 1, &[1, 2]),
            Stream::new(Draw { seed: 1, step: 1 }, 2, &[1, 2]),
            Stream::new(Draw { seed: 1, step: 1 }, 1, &[2, 1]),
            Stream::new(Draw { seed: 1, step: 1 }, 1, &[1]),
        ];
        for other in others {
            assert_ne!(base.block(0), other.block(0));
        }
    }
}
