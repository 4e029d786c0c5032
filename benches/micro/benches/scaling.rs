//! Nanoseconds of a frame through the pipeline in memory by number of connections, of identities and of pods, in interleaved
//! rounds, for the report.
//!
//! `cargo bench -p sluice-micro --bench scaling` writes `target/scaling/memory.json`.

use sluice_micro::crowd::Crowd;
use sluice_micro::node::{BURST, Node};
use sluice_micro::scaling::{Run, Series};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Each number is measured once in a round.
const ROUNDS: usize = 11;
/// Bursts of a sample, and of one that warms up.
const BURSTS: u32 = 2_000;
const WARM: u32 = 500;

fn main() -> std::io::Result<()> {
    let mut run = Run::new("cargo bench -p sluice-micro --bench scaling")?;

    let mut series = Series::new("connections", "in memory, segments of established connections", "ns/frame");
    series.at_most(100_000, 1.5);
    series.reason = "What grows is misses of the caches: a connection takes 128 bytes and up, so 100,000 of them are beyond \
                     the second level, and a burst's lookups overlap no further than the processor's buffers for misses."
        .to_owned();
    let nodes: Vec<(u32, Node)> =
        [1, 100, 1_000, 10_000, 100_000].map(|n| (n, Node::with_established(n))).into();
    measure(&mut series, nodes, Node::data, Node::poll, |node| {
        node.drain_events();
        assert_eq!(node.worker.stats().dropped_total(), 0, "an established connection loses nothing");
    });
    run.series.push(series);

    let mut series = Series::new(
        "identities",
        "in memory, frames that open connections, each from any of the peers",
        "ns/frame",
    );
    series.at_most(10_000, 1.25);
    series.reason = "The address, the identity's class and its verdict are each one lookup in a hash table; what grows is \
                     their misses of the caches."
        .to_owned();
    let nodes = [1, 100, 1_000, 10_000].map(|n| (n, Crowd::of_identities(n))).into();
    measure(&mut series, nodes, Crowd::supply, Crowd::poll, allowed);
    run.series.push(series);

    let mut series = Series::new("pods", "in memory, 1,024 connections, each pod to the next", "ns/frame");
    series.at_most(110, 1.1);
    let nodes = [2, 10, 50, 110].map(|n| (u32::from(n), Crowd::of_pods(n))).into();
    measure(&mut series, nodes, Crowd::supply, Crowd::poll, allowed);
    run.series.push(series);

    run.save("memory")
}

fn allowed(crowd: &mut Crowd) {
    assert_eq!(crowd.worker.stats().dropped_total(), 0, "everything is allowed and finds room");
}

/// Times only the polls: frames are made in between.
fn measure<N>(
    series: &mut Series,
    mut nodes: Vec<(u32, N)>,
    supply: impl Fn(&mut N),
    poll: impl Fn(&mut N) -> usize,
    check: impl Fn(&mut N),
) {
    let sample = |node: &mut N, bursts: u32| {
        let mut took = Duration::ZERO;
        for _ in 0..bursts {
            supply(node);
            let start = Instant::now();
            assert_eq!(black_box(poll(node)), BURST);
            took += start.elapsed();
            check(node);
        }
        took.as_nanos() as f64 / f64::from(bursts) / BURST as f64
    };
    for _ in 0..ROUNDS {
        for (x, node) in &mut nodes {
            sample(node, WARM);
            series.add(*x, sample(node, BURSTS));
        }
    }
}
