//! Attention of 64 (batch, head) pairs, 256 positions, 32 channels: milliseconds forward and backward, two threads.
#![allow(unsafe_code, reason = "kernels take raw pointers")]
#![allow(clippy::print_stdout, reason = "a program that prints figures")]

use ogive_jit::attention::{AttendShape, GradShape, attend, attend_grad, blocks, grad_scratch, scratch};
use ogive_jit::pool::Pool;
use ogive_jit::primitives::Primitives;
use std::time::Instant;

fn main() {
    let argument = |i: usize, default: usize| std::env::args().nth(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (positions, channels) = (argument(1, 256), argument(2, 32));
    let (batch, heads, threads) = (8, 8, argument(3, 2));
    let model = heads * channels;
    let pool = Pool::new(threads);
    // q, k, v, mix, dmix, dq, dk, dv as [batch, position, head, channel].
    let len = batch * positions * model;
    let number = |i: usize| ((i * 7919) % 1000) as f32 / 500.0 - 1.0;
    let tensors: Vec<Vec<f32>> = (0..8).map(|t| (0..len).map(|i| number(i + 31 * t)).collect()).collect();
    let lse = vec![0.0f32; batch * heads * positions];
    let at: Vec<usize> = tensors.iter().map(|t| t.as_ptr() as usize).collect();
    let lse = lse.as_ptr() as usize;
    let strides = [model as isize, 1];
    for causal in [None, Some(0)] {
        let scale = 1.0 / (channels as f32).sqrt();
        let (q, k, v, mix) = (strides, strides, strides, strides);
        let shape =
            AttendShape { query: positions, source: positions, key: channels, value: channels, scale, causal, q, k, v, mix, lse: 1 };
        let grad = GradShape { shape, dmix: strides, dq: strides, dk: strides, dv: strides };
        for set in Primitives::all() {
            let space: Vec<Vec<f32>> = (0..threads).map(|_| vec![0.0; scratch(&shape).max(grad_scratch(&shape))]).collect();
            let space: Vec<usize> = space.iter().map(|s| s.as_ptr() as usize).collect();
            let pointer =
                |t: usize, pair: usize| (at[t] as *mut f32).wrapping_add(pair / heads * positions * model + pair % heads * channels);
            let row = |pair: usize| (lse as *mut f32).wrapping_add(pair * positions);
            let forward = |pair: usize, block: usize, worker: usize| {
                let [q, k, v, mix] = [0, 1, 2, 3].map(|t| pointer(t, pair));
                // Safety: the strides stay within the tensors; every pair and block has rows of its own.
                unsafe { attend(set, &shape, block, q, k, v, mix, row(pair), space[worker] as *mut f32) }
            };
            let backward = |pair: usize, worker: usize| {
                let [q, k, v, mix, dmix, dq, dk, dv] = [0, 1, 2, 3, 4, 5, 6, 7].map(|t| pointer(t, pair));
                // Safety: as above.
                unsafe { attend_grad(set, &grad, q, k, v, mix, row(pair), dmix, dq, dk, dv, space[worker] as *mut f32) }
            };
            let (mut least_forward, mut least_backward) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..15 {
                let start = Instant::now();
                let each = blocks(&shape);
                pool.run(batch * heads * each, &|task, worker| forward(task / each, task % each, worker));
                least_forward = least_forward.min(start.elapsed().as_secs_f64());
                let start = Instant::now();
                pool.run(batch * heads, &|pair, worker| backward(pair, worker));
                least_backward = least_backward.min(start.elapsed().as_secs_f64());
            }
            println!("{:9} causal {causal:?}: forward {:.2} ms, backward {:.2} ms", set.name(), least_forward * 1e3, least_backward * 1e3);
        }
    }
}
