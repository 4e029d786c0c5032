//! Buckets that move by load, as `sluice run` has them moved: the flows of one worker become busy, and are divided while
//! their frames go on. Every frame comes out once, in order within its flow, and counts in one bucket of one worker.

mod fleet;
mod support;

use datapath::fleet::{BUCKETS, Balance, Counters, Mover, Seen};
use fleet::traffic::{Kind, Referee, Traffic};
use fleet::{Delivery, Node, PATIENCE, Rig};
use packet::{Instant, Leg};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant as Clock;

const FLOWS: u16 = 300;
/// So many of them are inspected, and stay.
const INSPECTED: u16 = 40;
/// Flows that are busy, all of worker 0, ...
const BUSY: usize = 24;
/// ... and so many of these are inspected.
const BUSY_INSPECTED: usize = 4;

/// Frames between two looks.
const INTERVAL: u64 = 2_000;

/// Frames on their way at a time: less than any queue holds, so that nothing may be lost.
const ON_THE_WAY: u64 = 400;

const BUFFERS: usize = 1024;

/// What a worker says after each poll.
struct Said {
    frames: [u64; BUCKETS],
    inspected: Vec<usize>,
}

fn run(worker: &mut Node, start: Clock, stop: &AtomicBool, said: &Mutex<Said>) {
    while !stop.load(Ordering::Acquire) {
        let now = Instant::from_secs(1) + start.elapsed();
        if worker.poll_once(now).expect("memory does not fail") == 0 {
            std::thread::yield_now();
            continue;
        }
        let (inspected, more) = worker.inspected_buckets(0, usize::from(FLOWS));
        assert_eq!(more, None);
        let frames = *worker.member().expect("it joined").frames();
        *said.lock().expect("nobody panicked") = Said { frames, inspected };
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Frames of each bucket, of all workers.
fn counted(said: &[Arc<Mutex<Said>>]) -> [u64; BUCKETS] {
    let mut sum = [0; BUCKETS];
    for said in said {
        let said = said.lock().expect("nobody panicked");
        sum.iter_mut().zip(said.frames).for_each(|(sum, frames)| *sum += frames);
    }
    sum
}

/// Begins to move what should, unless that is inspected: then the next best. Answers whether there was something.
fn move_one(
    mover: &mut Mover,
    balance: &mut Balance,
    seen: &Seen,
    said: &[Arc<Mutex<Said>>],
    now: Instant,
) -> bool {
    while let Some(choice) = balance.choose(seen, now) {
        let inspected = said[choice.from].lock().expect("nobody panicked").inspected.clone();
        if !inspected.contains(&choice.bucket) {
            mover.begin(choice.bucket, choice.to).expect("it stands still");
            balance.rest(choice.bucket, now);
            return true;
        }
        inspected.into_iter().for_each(|bucket| balance.rest(bucket, now));
    }
    false
}

/// Lets frames of worker 0's flows through until nothing moves any more. Answers what the members did, and the frames of
/// each worker between the last two looks.
fn level(workers: usize, delivery: Delivery) -> (Vec<Counters>, Vec<u64>) {
    let Rig { mut fleet, workers: nodes, feeds, sent, .. } = Rig::new(workers, delivery, 1 << 18, BUFFERS);
    let (start, stop) = (Clock::now(), Arc::new(AtomicBool::new(false)));
    let (said, threads): (Vec<_>, Vec<_>) = nodes
        .into_iter()
        .map(|(mut worker, events)| {
            let said = Arc::new(Mutex::new(Said { frames: [0; BUCKETS], inspected: Vec::new() }));
            let (stop, says) = (Arc::clone(&stop), Arc::clone(&said));
            let thread = std::thread::spawn(move || {
                run(&mut worker, start, &stop, &says);
                drop(events);
                use packet::PacketIo as _;
                assert_eq!(worker.io().outstanding(), 0, "a frame leaked");
                assert_eq!(worker.stats().dropped_total(), 0);
                let member = worker.member().expect("it joined");
                (member.counters(), member.buckets(), worker.stats().clone())
            });
            (said, thread)
        })
        .unzip();

    let (mut traffic, mut referee) = (Traffic::new(FLOWS, INSPECTED), Referee::new(FLOWS));
    let finder = datapath::fleet::Fleet::new(datapath::fleet::Setup {
        steerers: 1,
        seed: 0x51_1c3,
        ..datapath::fleet::Setup::default()
    });
    let mut last = Clock::now();
    let wait = |referee: &mut Referee, last: &mut Clock| fleet::watch(&sent, referee, last);
    let inject = |fleet: &mut datapath::fleet::Fleet, arrivals| {
        fleet::deliver(delivery, fleet, workers, &feeds, arrivals);
    };
    // Every connection begins with a frame of its client; the busy ones are worker 0's.
    let (mut busy, mut inspected) = (Vec::new(), 0);
    for flow in (0..FLOWS).rev() {
        let first = traffic.next(flow, Leg::Original, Kind::Datagram);
        let bucket = finder.steerers[0].bucket_of(&first[0].1).expect("a bucket");
        let wanted =
            if flow < INSPECTED { inspected < BUSY_INSPECTED } else { busy.len() < BUSY - BUSY_INSPECTED };
        if fleet.mover.owner(bucket) == Some(0) && wanted {
            inspected += usize::from(flow < INSPECTED);
            busy.push(flow);
        }
        inject(&mut fleet, first);
        while referee.seen + 50 < traffic.frames {
            wait(&mut referee, &mut last);
        }
    }
    assert_eq!((busy.len(), inspected), (BUSY, BUSY_INSPECTED), "enough flows are worker 0's");

    let (mut random, mut balance) = (Random(7), Balance::new(workers, INTERVAL / 4));
    let (mut before, mut moves, mut quiet, mut loads) = ([0; BUCKETS], 0_u64, 0, Vec::new());
    for look in 1.. {
        assert!(look < 400, "it comes to an end: {moves} moves, {loads:?}");
        let until = traffic.frames + INTERVAL;
        while traffic.frames < until {
            while traffic.frames - referee.seen >= ON_THE_WAY {
                wait(&mut referee, &mut last);
            }
            let flow = busy[random.below(busy.len())];
            let (leg, kind) = match random.below(64) {
                // An answer that nobody asked for would not pass.
                _ if flow < INSPECTED => (Leg::Original, Kind::Datagram),
                0..=3 => (Leg::Reply, Kind::Error),
                n if n % 2 == 0 => (Leg::Original, Kind::Datagram),
                _ => (Leg::Reply, Kind::Datagram),
            };
            inject(&mut fleet, traffic.next(flow, leg, kind));
        }
        while referee.seen < traffic.frames {
            wait(&mut referee, &mut last);
        }
        // What came out may not be counted yet.
        let mut sum = counted(&said);
        while sum.iter().sum::<u64>() != traffic.frames {
            assert!(last.elapsed() < PATIENCE, "each frame counts once, of {}: {sum:?}", traffic.frames);
            std::thread::yield_now();
            sum = counted(&said);
        }
        let frames: [u64; BUCKETS] = core::array::from_fn(|bucket| sum[bucket] - before[bucket]);
        before = sum;
        let owners = core::array::from_fn(|bucket| fleet.mover.owner(bucket).expect("a worker"));
        loads = vec![0; workers];
        owners.iter().zip(frames).for_each(|(owner, frames): (&usize, u64)| loads[*owner] += frames);
        fleet.mover.tend();
        if fleet.mover.moving() > 0 {
            continue;
        }
        let seen = Seen { owners, frames, stay: [false; BUCKETS], other: Vec::new() };
        let moved = move_one(&mut fleet.mover, &mut balance, &seen, &said, Instant::from_secs(look));
        moves += u64::from(moved);
        quiet = if moved { 0 } else { quiet + 1 };
        if quiet == 20 {
            break;
        }
    }
    stop.store(true, Ordering::Release);
    let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a worker")).collect();
    assert!(sent.try_recv().is_err(), "nothing comes out twice");
    let opened: u64 = ends.iter().map(|(_, _, stats)| stats.connections_opened).sum();
    assert_eq!(opened, u64::from(FLOWS), "no connection was forgotten");
    assert_eq!(ends.iter().map(|(_, buckets, _)| buckets).sum::<usize>(), BUCKETS, "each is somebody's");
    let members: Vec<Counters> = ends.into_iter().map(|(member, ..)| member).collect();
    let of = |of: fn(&Counters) -> u64| members.iter().map(of).sum::<u64>();
    assert_eq!((of(|c| c.buckets), of(|c| c.lost), of(|c| c.refused)), (moves, 0, 0));
    println!("{delivery:?}: {} frames, {moves} moves, {loads:?}, {members:?}", traffic.frames);
    (members, loads)
}

/// Nobody has more than 1.25 times the mean, but for one of the busy flows.
fn assert_even(loads: &[u64]) {
    let (all, busiest) = (loads.iter().sum::<u64>(), loads.iter().max().expect("workers"));
    let mean = all / loads.len() as u64;
    assert!(busiest * 4 <= (mean + all / BUSY as u64) * 5, "{loads:?}");
}

#[test]
fn busy_flows_of_one_worker_are_divided_where_somebody_steers() {
    let (members, loads) = level(2, Delivery::Steered);
    assert!(members[1].buckets >= 5, "a quarter of the busy buckets at least: {members:?}");
    assert_even(&loads);
}

#[test]
fn busy_flows_of_one_worker_are_divided_where_each_port_has_its_worker() {
    let (members, loads) = level(2, Delivery::ByPort);
    assert!(members[1].buckets >= 5, "{members:?}");
    assert_even(&loads);
}

#[test]
fn busy_flows_of_one_worker_are_divided_among_the_others() {
    let (members, loads) = level(3, Delivery::OneDoor);
    assert!(members[1..].iter().all(|member| member.buckets >= 4), "{members:?}");
    assert_even(&loads);
}
