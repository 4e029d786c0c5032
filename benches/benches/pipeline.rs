//! The whole pipeline in memory: nanoseconds a frame, and allocations a frame (which must be none).
//!
//! `cargo bench -p sluice-benches --bench pipeline`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use packet::PacketIo;
use sluice_benches::node::{self, Node};
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

fn established(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline/established");
    for flows in [1, 64, 1_000, 100_000] {
        let mut node = Node::with_established(flows);
        group.throughput(Throughput::Elements(node::BURST as u64));
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let mut frames = 0_u64;
        for _ in 0..1000 {
            frames += node.poll() as u64;
        }
        let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert_eq!(allocated, 0, "{allocated} allocations for {frames} frames");
        group.bench_function(format!("{flows} flows, 60 B"), |b| b.iter(|| black_box(node.poll())));
        assert_eq!(node.worker.stats().dropped_total(), 0, "an established flow loses nothing");
        assert_eq!(node.worker.io().outstanding(), 0);
    }
    group.finish();
}

/// Times only the polls: frames are made in between.
fn supplied(node: &mut Node, rounds: u64, supply: impl Fn(&mut Node)) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..rounds {
        supply(node);
        let start = Instant::now();
        black_box(node.poll());
        took += start.elapsed();
        node.drain_events();
    }
    took
}

fn new_flows(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline/new");
    group.throughput(Throughput::Elements(node::BURST as u64));
    let mut node = Node::with_new_flows();
    group.bench_function("UDP, each frame opens a connection", |b| {
        b.iter_custom(|rounds| supplied(&mut node, rounds, Node::fresh));
    });
    assert_eq!(node.worker.stats().dropped_total(), 0, "every new flow is allowed and finds room");
    group.finish();
}

fn denied(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline/denied");
    group.throughput(Throughput::Elements(node::BURST as u64));
    let mut node = Node::with_new_flows();
    group.bench_function("SYN without a rule", |b| {
        b.iter_custom(|rounds| supplied(&mut node, rounds, Node::refused));
    });
    assert_eq!(node.worker.stats().forwarded, 0);
    group.finish();
}

criterion_group!(benches, established, new_flows, denied);
criterion_main!(benches);
