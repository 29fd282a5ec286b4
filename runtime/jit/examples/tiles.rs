//! Tile primitives: billions of elements per second on a tile of 512 that stays in the first-level cache, GB/s over 16 M elements, for every
//! set, beside a plain Rust loop; and the time of an empty run of the pool.
#![allow(unsafe_code, reason = "kernels take raw pointers")]
#![allow(clippy::print_stdout, reason = "a program that prints figures")]

use ogive_graph::{DType, MapFn, ReduceFn};
use ogive_jit::pool::Pool;
use ogive_jit::primitives::{Primitive, Primitives};
use std::hint::black_box;
use std::mem::transmute;
use std::time::Instant;

const TILE: usize = 512;
const LARGE: usize = 16 << 20;

/// CPU time of this thread, in seconds: steady on a shared machine.
fn own_time() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Safety: the pointer is to a live value.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

fn best(runs: usize, mut f: impl FnMut()) -> f64 {
    f();
    let mut least = f64::INFINITY;
    for _ in 0..runs {
        let start = own_time();
        f();
        least = least.min(own_time() - start);
    }
    least
}

/// Prints both rates of a function of rows `(n, dst, a, b)` that moves `words` words per element.
fn line(name: &str, set: &str, words: usize, rows: &mut [Vec<f32>; 3], mut f: impl FnMut(usize, *mut f32, *const f32, *const f32)) {
    let [dst, a, b] = rows;
    let (dst, a, b) = (dst.as_mut_ptr(), a.as_ptr(), b.as_ptr());
    let tile = best(20, || (0..2000).for_each(|_| f(TILE, dst, a, b)));
    let large = best(3, || f(LARGE, dst, a, b));
    let (rate, bandwidth) = ((2000 * TILE) as f64 / tile / 1e9, (4 * words * LARGE) as f64 / large / 1e9);
    println!("{name:12} {set:9} {rate:7.2} G/s in cache {bandwidth:7.1} GB/s in memory");
}

fn main() {
    let fill = |seed: usize| (0..LARGE).map(|i| ((i * 7919 + seed) % 1000) as f32 / 250.0 + 0.1).collect::<Vec<f32>>();
    let mut rows = [fill(0), fill(1), fill(2)];
    type Two = unsafe extern "C" fn(usize, *mut f32, *const f32);
    type Three = unsafe extern "C" fn(usize, *mut f32, *const f32, *const f32);
    type Row = unsafe extern "C" fn(usize, *const f32) -> f32;
    // Safety (all calls below): rows of LARGE elements, and the signatures that the methods state.
    let two = |p: Primitive| unsafe { transmute::<*const u8, Two>(p.address) };
    for f in [MapFn::Add, MapFn::Div, MapFn::Max] {
        for set in Primitives::all() {
            let p = set.map(f, DType::F32, DType::F32, [false; 3]).expect("a function of f32");
            let p = unsafe { transmute::<*const u8, Three>(p.address) };
            line(f.name(), set.name(), 3, &mut rows, |n, dst, a, b| unsafe { p(n, dst, a, b) });
        }
    }
    let plain = |f: fn(f32) -> f32| {
        move |n: usize, dst: *mut f32, a: *const f32, _: *const f32| unsafe {
            let (dst, a) = (std::slice::from_raw_parts_mut(dst, n), std::slice::from_raw_parts(a, n));
            dst.iter_mut().zip(a).for_each(|(d, &a)| *d = f(a));
        }
    };
    let functions: [(MapFn, Option<fn(f32) -> f32>); 8] = [
        (MapFn::Exp, Some(f32::exp)),
        (MapFn::Log, Some(f32::ln)),
        (MapFn::Tanh, Some(f32::tanh)),
        (MapFn::Sigmoid, Some(|x| 1.0 / (1.0 + (-x).exp()))),
        (MapFn::Sin, Some(f32::sin)),
        (MapFn::Erf, None),
        (MapFn::Sqrt, Some(f32::sqrt)),
        (MapFn::Relu, Some(|x| x.max(0.0))),
    ];
    for (f, rust) in functions {
        for set in Primitives::all() {
            let p = two(set.map(f, DType::F32, DType::F32, [false; 3]).expect("a function of f32"));
            line(f.name(), set.name(), 2, &mut rows, |n, dst, a, _| unsafe { p(n, dst, a) });
        }
        if let Some(rust) = rust {
            line(f.name(), "rust", 2, &mut rows, plain(rust));
        }
    }
    for set in Primitives::all() {
        for p in [set.gelu(), set.gelu_slope(), set.copy(DType::F32), set.stream()] {
            let call = two(p);
            line(p.name, set.name(), 2, &mut rows, |n, dst, a, _| unsafe { call(n, dst, a) });
        }
        for p in [set.reduce(ReduceFn::Sum, DType::F32).expect("of f32"), set.reduce(ReduceFn::Max, DType::F32).expect("of f32")] {
            let call = unsafe { transmute::<*const u8, Row>(p.address) };
            line(p.name, set.name(), 1, &mut rows, |n, _, a, _| {
                black_box(unsafe { call(n, a) });
            });
        }
        let softmax = unsafe { transmute::<*const u8, unsafe extern "C" fn(usize, *mut f32, *const f32) -> f32>(set.softmax().address) };
        line("softmax", set.name(), 2, &mut rows, |n, dst, a, _| {
            black_box(unsafe { softmax(n, dst, a) });
        });
    }
    let pool = Pool::new(2);
    let mut least = f64::INFINITY;
    for _ in 0..50 {
        let start = Instant::now();
        (0..1000).for_each(|_| pool.run(2, &|_, _| {}));
        least = least.min(start.elapsed().as_secs_f64() / 1000.0);
    }
    println!("an empty run of the pool: {:.2} us", least * 1e6);
}
