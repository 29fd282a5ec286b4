//! A run after the first allocates nothing. Alone in its file: the count is of the whole process.
#![allow(unsafe_code, reason = "an allocator that counts")]

mod step;

use ogive_jit::Cpu;
use ogive_runtime::{Backend, Draw};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use step::{STEP, given, graph, options};

struct Counting;
static WATCHED: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);

// Safety: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if WATCHED.load(Ordering::Relaxed) {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_run_after_the_first_allocates_nothing() {
    let (inputs, mut store) = given(|i| (i % 96) as i32);
    let mut program = Cpu::new().compile(&graph(STEP), &options()).unwrap();
    program.run(&mut store, &inputs, Draw::default()).unwrap();
    // A worker may have slept through the first runs; its space for packed operands comes with its first product.
    for step in 0..8 {
        program.run(&mut store, &inputs, Draw { seed: 1, step }).unwrap();
    }
    WATCHED.store(true, Ordering::Relaxed);
    program.run(&mut store, &inputs, Draw { seed: 1, step: 9 }).unwrap();
    WATCHED.store(false, Ordering::Relaxed);
    assert_eq!(COUNT.load(Ordering::Relaxed), 0);
}
