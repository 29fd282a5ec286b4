//! Worker threads that live as long as the executor.
//!
//! [`Pool::run`] hands out the numbers of fixed chunks through one atomic word, `epoch << 32 | chunks left`. Taking a chunk is a compare and
//! exchange on that word, so a late worker can never take a chunk of a job that has ended, and the caller need not wait for workers that
//! slept through a job. What a chunk computes must not depend on who runs it; then results do not depend on the number of threads.
//! Nothing is allocated per run. Idle workers spin some tens of microseconds, then park; a waiting caller spins, then yields.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A job: called with the chunk's number and the worker's, which is below [`Pool::threads`] and held by one thread at a time.
pub type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// How long an idle worker watches for the next job before it parks.
const WATCH: Duration = Duration::from_micros(40);
/// Spins between two looks at the clock.
const SPINS: u32 = 64;

thread_local! {
    /// The worker's number while this thread runs a chunk.
    static WITHIN: Cell<Option<usize>> = const { Cell::new(None) };
}

struct Shared {
    /// `epoch << 32 | chunks left to take`.
    left: AtomicU64,
    /// Chunks finished in this epoch.
    done: AtomicUsize,
    /// The job and its number of chunks. Written by the caller between epochs, read by whoever holds a chunk.
    job: UnsafeCell<(*const Job<'static>, usize)>,
    /// By worker: parked, or about to be.
    parked: Vec<AtomicBool>,
    stop: AtomicBool,
    /// The first panic of a chunk.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}
// Safety: `job` is written only while no chunk is left to take or unfinished, and published by the release store to `left`.
unsafe impl Sync for Shared {}
// Safety: as above; the pointer is used only while `run` borrows what it points to.
unsafe impl Send for Shared {}

/// The threads. Dropping it ends them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One run at a time.
    running: Mutex<()>,
}

fn nothing(_: usize, _: usize) {}

impl Pool {
    /// A pool of `threads` (at least one), the caller of [`run`](Self::run) included. Fewer if the system refuses to start them.
    pub fn new(threads: usize) -> Self {
        let parked = (1..threads).map(|_| AtomicBool::new(false)).collect();
        let idle: &'static Job<'static> = &nothing;
        let shared = Arc::new(Shared {
            left: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            job: UnsafeCell::new((std::ptr::from_ref(idle), 0)),
            parked,
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let start = |worker: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("ogive-{worker}")).spawn(move || shared.serve(worker)).ok()
        };
        let workers = (1..threads).map_while(start).collect();
        Pool { shared, workers, running: Mutex::new(()) }
    }

    /// Number of threads that may run chunks.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `job` for chunks `0 .. chunks`, in any order, and returns when all are done. The caller takes part as worker 0. From within a
    /// chunk, runs inline.
    ///
    /// # Panics
    /// When a chunk does, after all others have ended.
    pub fn run(&self, chunks: usize, job: &Job<'_>) {
        let within = WITHIN.get();
        if chunks <= 1 || self.workers.is_empty() || within.is_some() {
            for chunk in 0..chunks {
                job(chunk, within.unwrap_or(0));
            }
            return;
        }
        assert!(u32::try_from(chunks).is_ok(), "a fault in ogive: {chunks} chunks in one job");
        let turn = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // Safety: the lifetime is erased, but every use ends before this function does: it waits for the last chunk.
        let erased: *const Job<'static> = unsafe { std::mem::transmute(std::ptr::from_ref(job)) };
        // Safety: no chunk of the last epoch is left or unfinished, and `running` keeps other callers out.
        unsafe { *shared.job.get() = (erased, chunks) };
        shared.done.store(0, Ordering::Relaxed);
        let epoch = (shared.left.load(Ordering::Relaxed) >> 32) as u32;
        shared.left.store(u64::from(epoch.wrapping_add(1)) << 32 | chunks as u64, Ordering::SeqCst);
        // The caller takes the first chunk; more sleepers than the others would only wake for nothing.
        self.wake(chunks - 1);
        while shared.work(0) {}
        let mut spins = 0u32;
        while shared.done.load(Ordering::Acquire) != chunks {
            spins = spins.saturating_add(1);
            if spins < 2048 { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    fn wake(&self, most: usize) {
        for (parked, worker) in self.shared.parked.iter().zip(&self.workers).take(most) {
            if parked.load(Ordering::SeqCst) && parked.swap(false, Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in &self.workers {
            worker.thread().unpark();
        }
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its chunks; it ends in order.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Takes and runs one chunk, if there is one.
    fn work(&self, worker: usize) -> bool {
        let mut left = self.left.load(Ordering::Acquire);
        while left as u32 != 0 {
            match self.left.compare_exchange_weak(left, left - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // Safety: this chunk is unfinished, so the job stands.
                    let (job, chunks) = unsafe { *self.job.get() };
                    let chunk = chunks - left as u32 as usize;
                    WITHIN.set(Some(worker));
                    // Safety: `run` waits for this chunk before the job's borrow ends.
                    let end = catch_unwind(AssertUnwindSafe(|| unsafe { (*job)(chunk, worker) }));
                    WITHIN.set(None);
                    if let Err(panic) = end {
                        self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
                    }
                    self.done.fetch_add(1, Ordering::Release);
                    return true;
                }
                Err(now) => left = now,
            }
        }
        false
    }

    fn serve(&self, worker: usize) {
        let parked = &self.parked[worker - 1];
        let mut since = Instant::now();
        let mut spins = 0;
        while !self.stop.load(Ordering::Relaxed) {
            if self.work(worker) {
                since = Instant::now();
                continue;
            }
            std::hint::spin_loop();
            spins += 1;
            if spins % SPINS != 0 || since.elapsed() < WATCH {
                continue;
            }
            parked.store(true, Ordering::SeqCst);
            // A job published before the store is seen here; one published after it sees the store.
            while parked.load(Ordering::SeqCst) && self.left.load(Ordering::SeqCst) as u32 == 0 && !self.stop.load(Ordering::SeqCst) {
                std::thread::park();
            }
            parked.store(false, Ordering::SeqCst);
            since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_runs_once_whatever_the_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads);
            for chunks in [0, 1, 2, 7, 100] {
                let seen: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(chunks, &|chunk, worker| {
                    assert!(worker < threads);
                    seen[chunk].fetch_add(1, Ordering::Relaxed);
                });
                assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1), "{threads} threads, {chunks} chunks");
            }
        }
    }

    #[test]
    fn a_worker_number_is_held_by_one_chunk_at_a_time() {
        let pool = Pool::new(4);
        let busy: Vec<AtomicBool> = (0..4).map(|_| AtomicBool::new(false)).collect();
        pool.run(2000, &|_, worker| {
            assert!(!busy[worker].swap(true, Ordering::SeqCst));
            std::hint::black_box((0..50).sum::<u32>());
            assert!(busy[worker].swap(false, Ordering::SeqCst));
        });
    }

    #[test]
    fn parked_workers_wake_for_the_next_job() {
        let pool = Pool::new(2);
        for _ in 0..3 {
            std::thread::sleep(WATCH * 50);
            let both = AtomicUsize::new(0);
            // Each chunk waits for the other, so two threads must take part.
            pool.run(2, &|_, _| {
                both.fetch_add(1, Ordering::SeqCst);
                while both.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
            });
            assert_eq!(both.load(Ordering::SeqCst), 2);
        }
    }

    #[test]
    fn a_panic_in_a_chunk_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(3);
        let ran = AtomicUsize::new(0);
        let end = catch_unwind(AssertUnwindSafe(|| {
            pool.run(20, &|chunk, _| {
                ran.fetch_add(1, Ordering::Relaxed);
                assert!(chunk != 5, "chunk five");
            });
        }));
        assert!(end.is_err());
        assert_eq!(ran.load(Ordering::Relaxed), 20);
        let again = AtomicUsize::new(0);
        pool.run(20, &|_, _| {
            again.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(again.load(Ordering::Relaxed), 20);
    }

    #[test]
    fn a_run_within_a_chunk_runs_inline_as_the_same_worker() {
        let pool = Pool::new(2);
        let total = AtomicUsize::new(0);
        pool.run(4, &|_, worker| {
            pool.run(3, &|_, inner| {
                assert_eq!(inner, worker);
                total.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(total.load(Ordering::Relaxed), 12);
    }

    #[test]
    fn callers_on_several_threads_take_turns() {
        let pool = Pool::new(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let n = AtomicUsize::new(0);
                        pool.run(5, &|_, _| {
                            n.fetch_add(1, Ordering::Relaxed);
                        });
                        assert_eq!(n.load(Ordering::Relaxed), 5);
                    }
                });
            }
        });
    }
}
