//! The best positions of every row.
//!
//! Where a score is the sum of two, one for each of two dims, the product of the dims is never formed. Rounding keeps order, so the pair of the
//! r-th best of one and the s-th best of the other (from 1) has at least `r * s` pairs that are no worse, itself included: the k-th best sum is
//! that of the pairs with `r * s <= k`. Then all better pairs are taken, and the lowest-numbered of those with this sum.

use super::count;
use super::search::{Search, key, position, rank, room};
use crate::kernels::{Scratch, Shared};
use crate::pool::Pool;
use ogive_graph::kernel::TopK;

/// Most scores that add up.
pub(crate) const SCORES: usize = 8;

/// Bytes of scratch for each worker: keys (two lists of the best, one search), chosen positions, rows of scores.
pub(crate) fn top_k_scratch(t: &TopK) -> u64 {
    let k = t.k as usize;
    let scores: u64 = t.over.iter().map(|d| count(d)).sum();
    (8 * 3 * room(k) + 4 * k).next_multiple_of(64) as u64 + scores * 4
}

/// Slices of the scratch of one worker.
struct Space<'a> {
    keys: [&'a mut [u64]; 3],
    chosen: &'a mut [u32],
    scores: *mut f32,
}

impl Space<'_> {
    /// # Safety
    /// `at` starts [`top_k_scratch`] bytes that nothing else uses.
    unsafe fn new(k: usize, at: *mut u8) -> Self {
        let (keys, all) = (at.cast::<u64>(), room(k));
        // Safety: the caller's; parts lie one behind the other.
        unsafe {
            let keys = std::array::from_fn(|i| std::slice::from_raw_parts_mut(keys.add(i * all), all));
            let chosen = std::slice::from_raw_parts_mut(at.add(24 * all).cast::<u32>(), k);
            Space { keys, chosen, scores: at.add((24 * all + 4 * k).next_multiple_of(64)).cast() }
        }
    }
}

/// Computes all rows.
pub(crate) fn top_k(t: &TopK, args: &[*mut u8], pool: &Pool, scratch: &Scratch) {
    let (rows, k) = (count(&t.rows), t.k as usize);
    let arguments = Shared(args.as_ptr());
    pool.run(t.chunks as usize, &|chunk, worker| {
        let chunk = chunk as u64;
        // Safety: a worker's scratch is its own.
        let mut space = unsafe { Space::new(k, scratch.of(worker)) };
        for row in (chunk * rows / t.chunks)..((chunk + 1) * rows / t.chunks) {
            let mut offsets = [0i64; SCORES + 1];
            let mut left = row;
            for (size, strides) in t.rows.iter().rev() {
                let i = (left % size) as i64;
                left /= size;
                for (o, s) in offsets.iter_mut().zip(strides) {
                    *o += i * s;
                }
            }
            let mut scores: [&[f32]; SCORES] = [&[]; SCORES];
            let mut to = space.scores;
            for (i, dims) in t.over.iter().enumerate() {
                // Safety: one argument for each score and the result; strides stay within them; the scratch holds all scores.
                unsafe {
                    let from = (*arguments.get().add(i)).cast::<f32>().wrapping_offset(offsets[i] as isize);
                    scores[i] = read(dims, from, to);
                    to = to.add(count(dims) as usize);
                }
            }
            choose(&scores[..t.over.len()], &mut space);
            space.chosen.sort_unstable();
            // Safety: as above; rows of the result are this row's own.
            unsafe {
                let out = (*arguments.get().add(t.over.len())).cast::<i32>().wrapping_offset(offsets[t.over.len()] as isize);
                for (i, &p) in space.chosen.iter().enumerate() {
                    out.wrapping_offset(i as isize * t.into as isize).write(p.cast_signed());
                }
            }
        }
    });
}

/// A row of scores: where it lies, or copied to `to`.
///
/// # Safety
/// Strides stay within the argument; `to` holds the row.
unsafe fn read<'a>(dims: &[(u64, i64)], from: *const f32, to: *mut f32) -> &'a [f32] {
    let len = count(dims) as usize;
    unsafe {
        match dims {
            [] | [(_, 1)] => std::slice::from_raw_parts(from, len),
            [(_, stride)] => {
                for i in 0..len {
                    *to.add(i) = *from.wrapping_offset(i as isize * *stride as isize);
                }
                std::slice::from_raw_parts(to, len)
            }
            _ => {
                for i in 0..len {
                    let [o] = super::place(dims, i as u64);
                    *to.add(i) = *from.wrapping_offset(o as isize);
                }
                std::slice::from_raw_parts(to, len)
            }
        }
    }
}

/// Fills `space.chosen` with the best positions, in no order.
fn choose(scores: &[&[f32]], space: &mut Space<'_>) {
    let orderly = |row: &[f32]| row.iter().all(|&x| x < f32::INFINITY);
    match scores {
        [row] => {
            let mut search = Search::new(space.keys[0], space.chosen.len());
            row.iter().enumerate().for_each(|(i, &x)| search.push(key(x, i as u32)));
            write(search.finish(), space.chosen);
        }
        // NaN and infinities of either sign have sums without order.
        [a, b] if orderly(a) && orderly(b) => pairs(a, b, space),
        _ => {
            let mut search = Search::new(space.keys[0], space.chosen.len());
            let all: usize = scores.iter().map(|s| s.len()).product();
            for i in 0..all {
                search.push(key(sum(scores, i), i as u32));
            }
            write(search.finish(), space.chosen);
        }
    }
}

fn write(keys: &[u64], chosen: &mut [u32]) {
    for (to, &k) in chosen.iter_mut().zip(keys) {
        *to = position(k);
    }
}

/// The score of a position of the product.
fn sum(scores: &[&[f32]], position: usize) -> f32 {
    let mut left: usize = scores.iter().map(|s| s.len()).product();
    let mut out = 0.0;
    for (i, row) in scores.iter().enumerate() {
        left /= row.len();
        let x = row[position / left % row.len()];
        out = if i == 0 { x } else { out + x };
    }
    out
}

/// The best of one row from the best downwards, at most k.
fn best<'k>(row: &[f32], keys: &'k mut [u64], k: usize) -> &'k [u64] {
    let mut search = Search::new(keys, k);
    row.iter().enumerate().for_each(|(i, &x)| search.push(key(x, i as u32)));
    let found = search.finish();
    found.sort_unstable_by(|x, y| y.cmp(x));
    found
}

/// [`choose`] for sums of two numbers below infinity.
fn pairs(a: &[f32], b: &[f32], space: &mut Space<'_>) {
    let [first, second, third] = &mut space.keys;
    let k = space.chosen.len();
    let (tops, sides) = (best(a, first, k), best(b, second, k));
    let value = |row: &[f32], key: u64| row[position(key) as usize];
    let mut search = Search::new(third, k);
    for (r, &x) in tops.iter().enumerate() {
        for &y in sides.iter().take(k / (r + 1)) {
            search.push(u64::from(rank(value(a, x) + value(b, y))));
        }
    }
    let Some(threshold) = search.finish().iter().min().map(|&t| t as u32) else { return };
    let mut taken = 0;
    let mut take = |i: u32, j: u32, chosen: &mut [u32]| {
        chosen[taken] = i * b.len() as u32 + j;
        taken += 1;
        taken == chosen.len()
    };
    for &x in tops {
        for &y in sides {
            if rank(value(a, x) + value(b, y)) <= threshold || take(position(x), position(y), space.chosen) {
                break;
            }
        }
    }
    let (most, least) = (value(b, sides[0]), value(b, sides[sides.len() - 1]));
    let listed = |x: f32| sides.iter().any(|&y| rank(x + value(b, y)) == threshold);
    let hidden = |x: f32| sides.len() < b.len() && rank(x + least) >= threshold;
    for (i, &x) in a.iter().enumerate() {
        if rank(x + most) < threshold || !(listed(x) || hidden(x)) {
            continue;
        }
        for (j, &y) in b.iter().enumerate() {
            if rank(x + y) == threshold && take(i as u32, j as u32, space.chosen) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(scores: &[&[f32]], k: usize) -> Vec<u32> {
        let (mut keys, mut chosen) = (vec![0u64; 3 * room(k)], vec![0; k]);
        let (one, rest) = keys.split_at_mut(room(k));
        let (two, three) = rest.split_at_mut(room(k));
        choose(scores, &mut Space { keys: [one, two, three], chosen: &mut chosen, scores: std::ptr::null_mut() });
        chosen.sort_unstable();
        chosen
    }

    fn expected(scores: &[&[f32]], k: usize) -> Vec<u32> {
        let all: usize = scores.iter().map(|s| s.len()).product();
        let mut order: Vec<u32> = (0..all as u32).collect();
        let of = |i: u32| sum(scores, i as usize);
        let better = |i: &u32, j: &u32| match (of(*i).is_nan(), of(*j).is_nan()) {
            (false, false) => of(*j).partial_cmp(&of(*i)).unwrap(),
            (x, y) => y.cmp(&x),
        };
        order.sort_by(better);
        order.truncate(k);
        order.sort_unstable();
        order
    }

    fn numbers(count: usize, levels: u32, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(12345);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        (0..count).map(|_| (next() % levels) as f32 / levels as f32 - 0.5).collect()
    }

    #[test]
    fn the_best_of_a_row_are_found_ties_to_the_lowest() {
        for seed in 0..40 {
            for (n, k) in [(1, 1), (5, 5), (16, 4), (200, 3), (300, 70)] {
                for levels in [1, 3, 1 << 20] {
                    let row = numbers(n, levels, seed);
                    assert_eq!(chosen(&[&row], k), expected(&[&row], k), "{n} {k} {levels} {seed}");
                }
            }
        }
        let odd = [f32::NAN, -0.0, 0.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
        assert_eq!((1..=6).map(|k| chosen(&[&odd], k)).collect::<Vec<_>>(), (1..=6).map(|k| expected(&[&odd], k)).collect::<Vec<_>>());
    }

    #[test]
    fn the_best_sums_are_those_of_the_exhaustive_search() {
        for seed in 0..60 {
            for (n, m, k) in [(1, 7, 3), (9, 4, 36), (16, 16, 8), (40, 33, 20), (64, 64, 1)] {
                for levels in [1, 2, 5, 1 << 22] {
                    let (a, mut b) = (numbers(n, levels, seed), numbers(m, levels, seed + 1000));
                    // Sums that round together though their parts differ.
                    if seed % 3 == 0 {
                        b.iter_mut().for_each(|y| *y = *y * 1e-7 + 4.0);
                    }
                    if seed % 5 == 0 {
                        b[seed as usize % m] = f32::NEG_INFINITY;
                    }
                    assert_eq!(chosen(&[&a, &b], k), expected(&[&a, &b], k), "{n} {m} {k} {levels} {seed}");
                }
            }
        }
    }

    #[test]
    fn sums_without_order_are_searched_one_by_one() {
        let (a, b) = ([f32::INFINITY, 1.0, f32::NEG_INFINITY], [f32::NEG_INFINITY, f32::NAN, 2.0, f32::INFINITY]);
        for k in 1..=12 {
            assert_eq!(chosen(&[&a, &b], k), expected(&[&a, &b], k));
        }
        let three: [&[f32]; 3] = [&[1.0, 2.0], &[0.5, 0.25], &[3.0, 3.0]];
        assert_eq!(chosen(&three, 3), [4, 5, 6]);
    }
}
