//! Matrix products of a GPT step: GFLOP/s of this crate's product and of the `gemm` crate, one thread and two.
#![allow(unsafe_code, reason = "kernels take raw pointers")]
#![allow(clippy::print_stdout, reason = "a program that prints figures")]

use ogive_jit::gemm::Product;
use ogive_jit::pool::Pool;
use ogive_jit::primitives::Primitives;
use std::sync::OnceLock;
use std::time::Instant;

/// CPU time of this thread, in seconds: steady on a shared machine.
fn own_time() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Safety: the pointer is to a live value.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

fn wall_time() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Fastest of `runs` of each of two, taken in turn, in seconds.
fn best(runs: usize, clock: fn() -> f64, mut f: impl FnMut(bool)) -> [f64; 2] {
    f(true);
    f(false);
    let mut least = [f64::INFINITY; 2];
    for run in 0..2 * runs {
        let start = clock();
        f(run % 2 == 0);
        least[run % 2] = least[run % 2].min(clock() - start);
    }
    least
}

fn main() {
    let cases: &[(&str, usize, usize, usize, bool, bool)] = &[
        ("x W", 2048, 256, 256, false, false),
        ("x W", 2048, 768, 256, false, false),
        ("x W", 2048, 1024, 256, false, false),
        ("x W", 2048, 256, 1024, false, false),
        ("dy W^T", 2048, 256, 256, false, true),
        ("dy W^T", 2048, 256, 1024, false, true),
        ("dy W^T", 2048, 1024, 256, false, true),
        ("x^T dy", 256, 256, 2048, true, false),
        ("x^T dy", 256, 256, 4096, true, false),
        ("x^T dy", 128, 128, 4096, true, false),
        ("x^T dy", 256, 1024, 2048, true, false),
        ("x^T dy", 1024, 256, 2048, true, false),
        ("rows", 256, 1024, 256, false, false),
        ("square", 1024, 1024, 1024, false, false),
        ("small", 64, 64, 64, false, false),
        ("small", 32, 32, 32, false, false),
        ("odd", 100, 77, 133, false, false),
    ];
    let pool = Pool::new(2);
    let set = Primitives::select(std::env::args().nth(1).as_deref()).expect("a set of this machine");
    println!("{:24} {:>8} {:>8} {:>8} {:>8}", "m n k", "crate 1", "own 1", "crate 2", "own 2");
    for &(what, m, n, k, ta, tb) in cases {
        let a: Vec<f32> = (0..m * k).map(|i| (i % 17) as f32 - 8.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i % 13) as f32 - 6.0).collect();
        let mut c = vec![0.0f32; m * n];
        let (rsa, csa) = if ta { (1, m as isize) } else { (k as isize, 1) };
        let (rsb, csb) = if tb { (1, k as isize) } else { (n as isize, 1) };
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        let flops = 2.0 * (m * n * k) as f64;
        let repeat = ((2e7 / flops) as usize).clamp(1, 1000);
        let rate = |seconds: f64| flops * repeat as f64 / seconds / 1e9;
        let part = |m| Product { m, n, k, a: [rsa, csa], b: [rsb, csb], c: [n as isize, 1], alpha: 1.0, beta: 0.0 };
        let (pa, pb, pc) = (a as usize, b as usize, c as usize);
        let rows = m.div_ceil(2);
        let run = |library: bool, first: usize, rows: usize| {
            let (a, c) = ((pa as *const f32).wrapping_offset(first as isize * rsa), (pc as *mut f32).wrapping_add(first * n));
            // Safety: the matrices hold what the strides name.
            unsafe { if library { part(rows).library(a, pb as *const f32, c) } else { part(rows).run(set, a, pb as *const f32, c) } }
        };
        let [library, own] = best(15, own_time, |library| {
            for _ in 0..repeat {
                run(library, 0, m);
            }
        });
        let [halves, both] = best(15, wall_time, |library| {
            for _ in 0..repeat {
                pool.run(2, &|half, _| run(library, half * rows, rows.min(m - half * rows)));
            }
        });
        let name = format!("{what} {m}x{n}x{k}");
        println!("{name:24} {:8.1} {:8.1} {:8.1} {:8.1}", rate(library), rate(own), rate(halves), rate(both));
    }
    heads(set);
}

/// Products of a chunk of a fast-weight memory: eight heads side by side in rows of `8 * size`, states and pairs in one piece.
fn heads(set: &Primitives) {
    println!("\n{:24} {:>8} {:>8}", "eight heads", "crate 1", "own 1");
    let length = 256;
    for size in [16, 32, 64] {
        let steps = size;
        let wide = [8 * size as isize, 1];
        let near = [size as isize, 1];
        let turned = |[r, c]: [isize; 2]| [c, r];
        for (what, a, b, c) in [
            ("rows with a state", wide, near, near),
            ("rows with rows", wide, turned(wide), near),
            ("columns with pairs", turned(wide), near, near),
            ("pairs with rows", near, wide, wide),
            ("columns of pairs, rows", turned(near), wide, wide),
            ("rows with state turned", wide, turned(near), wide),
        ] {
            let x = vec![1.0f32; length * 8 * size];
            let y = vec![1.0f32; length * 8 * size];
            let mut z = vec![0.0f32; length * 8 * size];
            let product = Product { m: size, n: size, k: size, a, b, c, alpha: 1.0, beta: 0.0 };
            let place = |strides: [isize; 2], chunk: usize, head: usize| {
                if strides.contains(&wide[0]) { chunk * steps * 8 * size + head * size } else { (chunk * 8 + head) * size * size }
            };
            let flops = 2.0 * (size * size * length * 8) as f64;
            let repeat = (2e8 / flops) as usize + 1;
            let (px, py, pz) = (x.as_ptr(), y.as_ptr(), z.as_mut_ptr());
            let seconds = best(7, own_time, |library| {
                for _ in 0..repeat {
                    for unit in 0..length / steps * 8 {
                        let at = |s: [isize; 2]| place(s, unit / 8, unit % 8);
                        let (x, y, z) = (px.wrapping_add(at(a)), py.wrapping_add(at(b)), pz.wrapping_add(at(c)));
                        // Safety: the matrices hold what the strides name.
                        unsafe { if library { product.library(x, y, z) } else { product.run(set, x, y, z) } }
                    }
                }
            });
            let [library, own] = seconds.map(|s| flops * repeat as f64 / s / 1e9);
            println!("{:24} {library:8.1} {own:8.1}", format!("{what} {size}"));
        }
    }
}
