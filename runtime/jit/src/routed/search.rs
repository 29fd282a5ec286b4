//! The k best of a stream of keys, without room for more than twice as many.
//!
//! A key is the rank of a score above the complement of its position, so that no two are equal and the greater key is the better: the larger
//! score, or, of equal ones, the lower position.

/// Ranks order as the numbers do: -0 with 0, NaN above everything.
pub(super) fn rank(x: f32) -> u32 {
    if x.is_nan() {
        return u32::MAX;
    }
    let bits = (x + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The key of a score at a position.
pub(super) fn key(x: f32, position: u32) -> u64 {
    u64::from(rank(x)) << 32 | u64::from(!position)
}

/// The position of a key.
pub(super) fn position(key: u64) -> u32 {
    !(key as u32)
}

/// Keys that a search of the k best holds at most.
pub(super) const fn room(k: usize) -> usize {
    let twice = 2 * k;
    if twice < 64 { 64 } else { twice }
}

/// A search under way.
pub(super) struct Search<'a> {
    keys: &'a mut [u64],
    k: usize,
    len: usize,
    /// Keys up to this are not among the best.
    floor: Option<u64>,
}

impl<'a> Search<'a> {
    /// For the `k` best, at least one; `keys` has [`room`].
    pub(super) fn new(keys: &'a mut [u64], k: usize) -> Self {
        Search { keys, k, len: 0, floor: None }
    }

    /// Looks at one key.
    #[inline]
    pub(super) fn push(&mut self, key: u64) {
        if self.floor.is_some_and(|floor| key <= floor) {
            return;
        }
        self.keys[self.len] = key;
        self.len += 1;
        if self.len == self.keys.len() {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        if self.len > self.k {
            let (_, last, _) = self.keys[..self.len].select_nth_unstable_by(self.k - 1, |a, b| b.cmp(a));
            self.floor = Some(*last);
            self.len = self.k;
        }
    }

    /// The best, in no order; fewer where there were fewer.
    pub(super) fn finish(mut self) -> &'a mut [u64] {
        self.shrink();
        &mut self.keys[..self.len]
    }
}
