//! The whole pipeline in memory: nanoseconds a frame, and allocations a frame (which must be none).
//!
//! `cargo bench -p sluice-micro --bench pipeline`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datapath::tap;
use packet::PacketIo;
use sluice_micro::node::{self, Node};
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
    group.throughput(Throughput::Elements(node::BURST as u64));
    for flows in [1, 64, 1_000, 10_000, 100_000] {
        let mut node = None;
        group.bench_function(format!("{flows} flows, 60 B"), |b| {
            let node = node.get_or_insert_with(|| Node::with_established(flows));
            let mut allocated = 0;
            b.iter_custom(|rounds| {
                let (took, allocations) = supplied(node, rounds, Node::data);
                allocated += allocations;
                took
            });
            assert_eq!(allocated, 0, "the steady state allocates nothing");
            assert_eq!(node.worker.stats().dropped_total(), 0, "an established flow loses nothing");
            assert_eq!(node.worker.io().outstanding(), 0);
        });
    }
    group.finish();
}

/// The same with a tap open that copies every frame, and a reader that keeps up.
fn watched(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline/watched");
    group.throughput(Throughput::Elements(node::BURST as u64));
    for flows in [1, 1_000] {
        let mut node = None;
        group.bench_function(format!("{flows} flows, 60 B"), |b| {
            let (node, reader) = node.get_or_insert_with(|| {
                let mut node = Node::with_established(flows);
                let (frames, bytes) = (4 * node::BURST, 1 << 20);
                let coarse = tap::Coarse::default();
                let (writer, reader) =
                    tap::channel(tap::Setup { id: 1, frames, bytes, snaplen: 1 << 18, coarse });
                assert!(node.worker.add_tap(writer).is_ok());
                (node, reader)
            });
            let (mut frame, mut messages) = (Vec::new(), Vec::new());
            let mut allocated = 0;
            b.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    let (time, allocations) = supplied(node, 1, Node::data);
                    took += time;
                    allocated += allocations;
                    while reader.take(&mut frame, &mut messages).is_some() {}
                }
                took
            });
            assert_eq!((allocated, reader.lost()), (0, 0), "a tap copies into what is there");
        });
    }
    group.finish();
}

/// Times only the polls and counts only their allocations: frames are made in between.
fn supplied(node: &mut Node, rounds: u64, supply: impl Fn(&mut Node)) -> (Duration, u64) {
    let (mut took, mut allocated) = (Duration::ZERO, 0);
    for _ in 0..rounds {
        supply(node);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let start = Instant::now();
        black_box(node.poll());
        took += start.elapsed();
        allocated += ALLOCATIONS.load(Ordering::Relaxed) - before;
        node.drain_events();
    }
    (took, allocated)
}

fn new_flows(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline/new");
    group.throughput(Throughput::Elements(node::BURST as u64));
    let mut node = Node::with_new_flows();
    group.bench_function("UDP, each frame opens a connection", |b| {
        b.iter_custom(|rounds| supplied(&mut node, rounds, Node::fresh).0);
    });
    assert_eq!(node.worker.stats().dropped_total(), 0, "every new flow is allowed and finds room");
    group.finish();
}

fn denied(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline/denied");
    group.throughput(Throughput::Elements(node::BURST as u64));
    let mut node = Node::with_new_flows();
    group.bench_function("SYN without a rule", |b| {
        b.iter_custom(|rounds| supplied(&mut node, rounds, Node::refused).0);
    });
    assert_eq!(node.worker.stats().forwarded, 0);
    group.finish();
}

criterion_group!(benches, established, watched, new_flows, denied);
criterion_main!(benches);
