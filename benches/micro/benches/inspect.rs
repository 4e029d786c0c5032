//! What reading messages costs in the pipeline: nanoseconds for a request and its response through the worker in memory,
//! under a policy with eleven HTTP rules and under one that only opens the port; and allocations in steady state.
//!
//! `cargo bench -p sluice-micro --bench inspect`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use packet::{BURST_LEN, PacketIo};
use sluice_micro::ratio;
use sluice_micro::web::{Rules, Web};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts what the steady state must not do.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rounds until tables, pools and lazily built automata are what they stay.
const WARM_UP: u64 = 2_000;

/// What so many exchanges on one set of connections took, polls only: frames are made and logs emptied in between.
fn exchanges(web: &mut Web, batch: usize, rounds: u64) -> (Duration, u64) {
    let (mut took, mut allocated) = (Duration::ZERO, 0);
    for round in 0..2 * rounds {
        if round % 2 == 0 {
            web.requests(batch)
        } else {
            web.responses(batch)
        }
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let start = Instant::now();
        black_box(web.poll());
        took += start.elapsed();
        allocated += ALLOCATIONS.load(Ordering::Relaxed) - before;
        web.drain_events();
    }
    (took, allocated)
}

/// The connections are read, or are not, and nothing was lost on the way.
fn check(web: &Web, rules: Rules, exchanged: u64) {
    let stats = web.worker.stats();
    assert_eq!(stats.dropped_total(), 0, "an established connection loses nothing");
    assert_eq!(web.worker.io().outstanding(), 0, "no frame waits");
    assert!(stats.forwarded >= 2 * exchanged, "every frame left");
    let expected = if rules == Rules::Http { 2 * exchanged } else { 0 };
    assert_eq!(
        web.messages, expected,
        "each request and each response is one message of the log, or none is"
    );
}

fn inspect(c: &mut Criterion) {
    let mut group = c.benchmark_group("inspect/exchange");
    for connections in [1, 16, 1_000] {
        let batch = BURST_LEN.min(usize::from(connections));
        group.throughput(Throughput::Elements(batch as u64));
        for (name, rules) in [("L4 policy", Rules::L4), ("HTTP policy", Rules::Http)] {
            let mut state = None;
            group.bench_function(format!("{name}, {connections} connections"), |b| {
                let (web, done) = state.get_or_insert_with(|| {
                    let mut web = Web::new(rules, connections);
                    exchanges(&mut web, batch, WARM_UP);
                    (web, WARM_UP)
                });
                let mut allocated = 0;
                b.iter_custom(|rounds| {
                    let (took, allocations) = exchanges(web, batch, rounds);
                    allocated += allocations;
                    *done += rounds;
                    took
                });
                check(web, rules, *done * batch as u64);
                assert_eq!(allocated, 0, "the steady state allocates nothing");
            });
        }
    }
    group.finish();

    // The pair of one run, in alternating rounds.
    let (mut http, mut l4) = (Web::new(Rules::Http, 16), Web::new(Rules::L4, 16));
    let mut each = [Vec::new(), Vec::new()];
    for round in 0..43 {
        for (web, samples) in [&mut http, &mut l4].into_iter().zip(&mut each) {
            let took = exchanges(web, 16, 500).0;
            if round > 0 {
                samples.push(took.as_nanos() as f64 / (500.0 * 16.0));
            }
        }
    }
    let [http, l4] = each.map(|mut samples| {
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    });
    ratio::print("request and response, HTTP policy", http, "L4 policy", l4);
}

criterion_group!(benches, inspect);
criterion_main!(benches);
