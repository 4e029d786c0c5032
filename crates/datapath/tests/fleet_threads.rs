//! Workers on threads of their own, while buckets of flows move between them all the time: every frame comes out once, in
//! order within its flow, and no connection is forgotten.

mod fleet;
mod support;

use datapath::fleet::{BUCKETS, Counters};
use datapath::stats::Stats;
use fleet::traffic::{Kind, Referee, Traffic};
use fleet::{Delivery, Node, PATIENCE, Rig};
use packet::{Instant, Leg};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant as Clock;

const FLOWS: u16 = 300;

/// Frames on their way at a time: less than any queue holds, so that nothing may be lost.
const ON_THE_WAY: u64 = 400;

const BUFFERS: usize = 1024;

fn run(worker: &mut Node, start: Clock, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let now = Instant::from_secs(1) + start.elapsed();
        if worker.poll_once(now).expect("memory does not fail") == 0 {
            std::thread::yield_now();
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Lets `frames` through a fleet while `moves` buckets move among the first `homes` workers.
fn busy(
    workers: usize,
    homes: usize,
    delivery: Delivery,
    frames: u64,
    moves: u64,
) -> (Vec<Counters>, Vec<Stats>) {
    let Rig { mut fleet, workers: nodes, feeds, sent, .. } = Rig::new(workers, delivery, 1 << 18, BUFFERS);
    let (start, stop) = (Clock::now(), Arc::new(AtomicBool::new(false)));
    let threads: Vec<_> = nodes
        .into_iter()
        .map(|(mut worker, events)| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                run(&mut worker, start, &stop);
                drop(events);
                use packet::PacketIo as _;
                assert_eq!(worker.io().outstanding(), 0, "a frame leaked");
                let member = worker.member().expect("it joined").counters();
                (member, worker.stats().clone())
            })
        })
        .collect();

    let (mut traffic, mut referee, mut random) = (Traffic::new(FLOWS, 0), Referee::new(FLOWS), Random(7));
    let (mut moved, mut last) = (0, Clock::now());
    let wait = |referee: &mut Referee, last: &mut Clock| fleet::watch(&sent, referee, last);
    let inject = |fleet: &mut datapath::fleet::Fleet, arrivals| {
        fleet::deliver(delivery, fleet, workers, &feeds, arrivals);
    };
    // Every connection begins with a frame of its client, before anything else is said about it.
    for flow in 0..FLOWS {
        inject(&mut fleet, traffic.next(flow, Leg::Original, Kind::Datagram));
        while referee.seen + 50 < traffic.frames {
            wait(&mut referee, &mut last);
        }
    }
    while referee.seen < traffic.frames {
        wait(&mut referee, &mut last);
    }
    let mut fragments = 0;
    while traffic.frames < frames || moved < moves {
        while traffic.frames - referee.seen >= ON_THE_WAY {
            wait(&mut referee, &mut last);
        }
        let flow = random.below(u64::from(FLOWS)) as u16;
        let (leg, kind) = match random.below(64) {
            // A source may have a thousand datagrams in pieces within half a minute.
            0 if fragments < 900 => {
                fragments += 1;
                (Leg::Original, Kind::Fragments)
            }
            1..=3 => (Leg::Reply, Kind::Error),
            n if n % 2 == 0 => (Leg::Original, Kind::Datagram),
            _ => (Leg::Reply, Kind::Datagram),
        };
        inject(&mut fleet, traffic.next(flow, leg, kind));
        if moved < moves {
            let bucket = random.below(BUCKETS as u64) as usize;
            let to = random.below(homes as u64) as usize;
            let here = fleet.mover.owner(bucket);
            if here != Some(to) && fleet.mover.moving() < 16 && fleet.mover.begin(bucket, to).is_ok() {
                moved += 1;
            }
        }
    }
    while referee.seen < traffic.frames || fleet.mover.moving() > 0 {
        fleet.steerers.iter_mut().for_each(|steerer| steerer.refresh());
        wait(&mut referee, &mut last);
        if referee.seen == traffic.frames {
            assert!(last.elapsed() < PATIENCE, "moves come to an end");
        }
    }
    stop.store(true, Ordering::Release);
    let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a worker")).collect();
    assert!(sent.try_recv().is_err(), "nothing comes out twice");
    let (members, stats): (Vec<Counters>, Vec<Stats>) = ends.into_iter().unzip();
    let sum = |of: fn(&Stats) -> u64| stats.iter().map(of).sum::<u64>();
    assert_eq!(sum(Stats::dropped_total), 0);
    assert_eq!(sum(|stats| stats.received), traffic.frames, "each frame went through one pipeline");
    assert_eq!(sum(|stats| stats.forwarded), traffic.frames);
    assert_eq!(sum(|stats| stats.connections_opened), u64::from(FLOWS), "no connection was forgotten");
    assert_eq!(sum(|stats| stats.connections_closed), 0);
    let of = |of: fn(&Counters) -> u64| members.iter().map(of).sum::<u64>();
    assert_eq!((of(|c| c.buckets), of(|c| c.lost), of(|c| c.refused)), (moved, 0, 0));
    println!("{delivery:?}: {} frames, {moved} moves, {members:?}", traffic.frames);
    (members, stats)
}

#[test]
fn steered_by_the_table() {
    let (members, _) = busy(2, 2, Delivery::Steered, 60_000, 4_000);
    assert!(members.iter().all(|member| member.buckets > 500), "both gave and took: {members:?}");
    assert!(members.iter().any(|member| member.parked > 0), "some frames had to wait: {members:?}");
}

#[test]
fn each_port_has_its_worker() {
    let (members, stats) = busy(2, 2, Delivery::ByPort, 60_000, 4_000);
    assert!(members.iter().all(|member| member.handed > 5_000), "half of all is another's: {members:?}");
    assert!(stats.iter().all(|stats| stats.forwarded > 5_000));
}

#[test]
fn all_is_handed_over() {
    let (members, stats) = busy(3, 2, Delivery::OneDoor, 40_000, 3_000);
    // The door keeps those of its own buckets that were not moved away.
    assert!(members[2].handed > 20_000, "{members:?}");
    assert!(stats[..2].iter().all(|stats| stats.forwarded > 5_000));
}
