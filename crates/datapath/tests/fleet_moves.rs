//! The moving of buckets step by step, in every order that chance makes.

mod fleet;
mod support;

use datapath::DatapathConfig;
use datapath::conntrack::State;
use datapath::fleet::{self as workers, BUCKETS, MAX_WORKERS, MoveError, Setup, share_of};
use fleet::traffic::{Kind, Referee, Traffic, said};
use fleet::{Delivery, Rig};
use flowlog::{DropReason, EventKind};
use packet::{Instant, Leg, PacketIo as _, TcpFlags, testing};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{A, C, ID_A, from};

const FLOWS: u16 = 12;
/// So many of them are inspected.
const INSPECTED: u16 = 2;

impl Rig {
    fn poll(&mut self, worker: usize) -> usize {
        let (worker, events) = &mut self.workers[worker];
        events.drain(usize::MAX, |_| {});
        worker.poll_once(Instant::from_secs(5)).expect("memory does not fail")
    }

    fn refresh(&mut self) {
        self.fleet.steerers.iter_mut().for_each(|steerer| steerer.refresh());
    }

    /// Polls until nothing happens any more; what was refused goes back.
    fn settle(&mut self) {
        for quiet in 0.. {
            assert!(quiet < 10_000, "moves come to an end: {} are left", self.fleet.mover.moving());
            self.refresh();
            self.fleet.mover.tend();
            let frames: usize = (0..self.workers.len()).map(|worker| self.poll(worker)).sum();
            let at_rest = self.workers.iter().all(|(w, _)| w.member().is_some_and(|m| m.rest()));
            if frames == 0 && at_rest && self.fleet.mover.moving() == 0 {
                return;
            }
        }
    }

    fn check(&self, referee: &mut Referee) {
        self.sent.try_iter().for_each(|frame| referee.check(&frame));
    }

    fn sum(&self, of: impl Fn(&datapath::stats::Stats) -> u64) -> u64 {
        self.workers.iter().map(|(worker, _)| of(worker.stats())).sum()
    }

    fn drops(&self) -> Vec<(DropReason, u64)> {
        let of = |reason: &DropReason| (*reason, self.sum(|stats| stats.dropped_for(*reason)));
        DropReason::ALL.iter().map(of).filter(|(_, count)| *count > 0).collect()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Send(u16, Leg, Kind),
    Poll(usize),
    Refresh,
    /// The bucket of a flow.
    Move(u16, usize),
    Tend,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let leg = prop_oneof![Just(Leg::Original), Just(Leg::Reply)];
    let send = (0..FLOWS, leg, 0..10_u8).prop_map(|(flow, leg, kind)| {
        let kind = match (kind, leg) {
            (0, _) if flow >= INSPECTED => Kind::Fragments,
            (1, Leg::Reply) if flow >= INSPECTED => Kind::Error,
            _ => Kind::Datagram,
        };
        // An answer that nobody asked for would not pass.
        let leg = if flow < INSPECTED { Leg::Original } else { leg };
        Op::Send(flow, leg, kind)
    });
    let op = prop_oneof![
        8 => send,
        8 => (0..3_usize).prop_map(Op::Poll),
        1 => Just(Op::Refresh),
        2 => (0..FLOWS, 0..3_usize).prop_map(|(flow, to)| Op::Move(flow, to)),
        1 => Just(Op::Tend),
    ];
    proptest::collection::vec(op, 1..400)
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![Just(Delivery::Steered), Just(Delivery::ByPort), Just(Delivery::OneDoor)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever the order of sends, polls and moves: each frame comes out once, in the order of its stream, and each
    /// connection is opened once.
    #[test]
    fn nothing_is_lost_and_nothing_overtakes(delivery in delivery(), ops in ops()) {
        let mut rig = Rig::new(3, delivery, 1 << 16, 512);
        let (mut traffic, mut referee) = (Traffic::new(FLOWS, INSPECTED), Referee::new(FLOWS));
        let mut buckets = Vec::new();
        let finder = workers::Fleet::new(Setup { steerers: 1, seed: 0x51_1c3, ..Setup::default() });
        for flow in 0..FLOWS {
            for (port, frame) in traffic.next(flow, Leg::Original, Kind::Datagram) {
                buckets.push(finder.steerers[0].bucket_of(&frame).expect("a bucket"));
                rig.inject((port, frame));
            }
        }
        rig.settle();
        rig.check(&mut referee);
        for op in ops {
            match op {
                Op::Send(flow, leg, kind) => {
                    traffic.next(flow, leg, kind).into_iter().for_each(|arrival| rig.inject(arrival));
                }
                Op::Poll(worker) => {
                    rig.poll(worker);
                }
                Op::Refresh => rig.refresh(),
                Op::Move(flow, to) => {
                    let bucket = buckets[usize::from(flow)];
                    match rig.fleet.mover.begin(bucket, to) {
                        Ok(()) => assert_eq!(rig.fleet.mover.owner(bucket), Some(to)),
                        Err(error) => assert_eq!(error, MoveError::Moving(bucket)),
                    }
                }
                Op::Tend => {
                    rig.fleet.mover.tend();
                }
            }
            rig.check(&mut referee);
        }
        rig.settle();
        rig.check(&mut referee);
        prop_assert_eq!(rig.drops(), vec![]);
        prop_assert_eq!(referee.seen, traffic.frames);
        prop_assert_eq!(rig.sum(|stats| stats.connections_opened), u64::from(FLOWS));
        for (worker, _) in &rig.workers {
            prop_assert_eq!(worker.io().outstanding(), 0);
            prop_assert_eq!(worker.member().expect("it joined").counters().lost, 0);
        }
        prop_assert_eq!(rig.sum(|stats| stats.connections_closed), 0);
        // Each connection is where its bucket is, and nowhere else.
        let here: Vec<usize> = rig.workers.iter().map(|(worker, _)| worker.conntrack().len()).collect();
        let there = |worker| buckets.iter().filter(|b| rig.fleet.mover.owner(**b) == Some(worker)).count();
        prop_assert_eq!(here, (0..3).map(there).collect::<Vec<_>>());
    }
}

/// A rig of two whose flow 0 of TCP, `10.0.0.1:4000 → 10.0.0.3:80`, belongs to the first.
fn pair() -> (Rig, usize) {
    let mut rig = Rig::new(2, Delivery::Steered, 1 << 16, 64);
    let bucket = rig.fleet.steerers[0].bucket_of(&client(TcpFlags::SYN, 0, 0)).expect("a bucket");
    rig.fleet.mover.begin(bucket, 0).expect("it stands still");
    rig.settle();
    (rig, bucket)
}

fn client(flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    from(A, testing::tcp("10.0.0.1", "10.0.0.3", 4000, 80, flags, seq, ack, b"12345678"))
}

fn server(flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    from(C, testing::tcp("10.0.0.3", "10.0.0.1", 80, 4000, flags, seq, ack, b""))
}

#[test]
fn a_moved_connection_is_tracked_as_before() {
    const ACK: u8 = TcpFlags::ACK;
    let (mut rig, bucket) = pair();
    let mut to = 1;
    let mut step = |rig: &mut Rig, arrival: fleet::Arrival| {
        rig.inject(arrival);
        rig.settle();
        rig.fleet.mover.begin(bucket, to).expect("it stands still");
        rig.settle();
        let half_open = [0, 1].map(|worker| rig.workers[worker].0.conntrack().half_open(A));
        let states =
            [0, 1].map(|worker: usize| rig.workers[worker].0.conntrack().iter().map(|c| c.state()).next());
        let seen = (states[to], half_open[to]);
        to = 1 - to;
        assert_eq!((states[to], half_open[to]), (None, 0), "nothing is left behind");
        seen
    };
    assert_eq!(step(&mut rig, (A, client(TcpFlags::SYN, 99, 0))), (Some(State::SynSent), 1));
    assert_eq!(step(&mut rig, (C, server(TcpFlags::SYN | ACK, 499, 108))), (Some(State::SynReceived), 1));
    assert_eq!(step(&mut rig, (A, client(ACK, 108, 500))), (Some(State::Established), 0));
    assert_eq!(rig.drops(), vec![]);
    // A window of 64,240 was offered, so this is no reset that the server would take for the client's.
    assert_eq!(
        step(&mut rig, (A, client(TcpFlags::RST | ACK, 1_000_000, 500))),
        (Some(State::Established), 0)
    );
    assert_eq!(rig.drops(), vec![(DropReason::InvalidTcpState, 1)]);
    assert_eq!(step(&mut rig, (C, server(TcpFlags::FIN | ACK, 500, 116))), (Some(State::HalfClosed), 0));
    assert_eq!(rig.sum(|stats| stats.connections_opened), 1);
    let conns: Vec<_> = rig.workers.iter().flat_map(|(worker, _)| worker.conntrack().iter()).collect();
    assert_eq!((conns.len(), conns[0].packets()), (1, [2, 2]), "counters travel");
    assert!(conns[0].expires() > Instant::from_secs(8_000), "and so does the deadline");
}

#[test]
fn a_bucket_with_an_inspected_connection_goes_back() {
    let mut rig = Rig::new(2, Delivery::Steered, 1 << 16, 64);
    let mut traffic = Traffic::new(1, 1);
    let mut dns =
        |rig: &Rig| traffic.next(0, Leg::Original, Kind::Datagram).into_iter().for_each(|a| rig.inject(a));
    dns(&rig);
    rig.settle();
    let bucket =
        rig.fleet.steerers[0].bucket_of(&Traffic::new(1, 1).next(0, Leg::Original, Kind::Datagram)[0].1);
    let bucket = bucket.expect("a bucket");
    let home = rig.fleet.mover.owner(bucket).expect("a worker");
    assert_eq!(rig.workers[home].0.inspected_buckets(0, 10), (vec![bucket], None), "it will be refused");
    assert_eq!(rig.workers[1 - home].0.inspected_buckets(0, 10), (vec![], None));
    rig.fleet.mover.begin(bucket, 1 - home).expect("it stands still");
    (0..8).for_each(|_| {
        rig.refresh();
        dns(&rig);
        for worker in 0..2 {
            rig.poll(worker);
        }
    });
    assert_eq!(rig.fleet.mover.moving(), 1, "it waits for the mover to look");
    rig.settle();
    assert_eq!(rig.fleet.mover.owner(bucket), Some(home));
    let mut referee = Referee::new(1);
    rig.check(&mut referee);
    assert_eq!((referee.seen, rig.drops()), (9, vec![]));
    let refused: Vec<_> =
        rig.workers.iter().map(|(w, _)| w.member().expect("it joined").counters().refused).collect();
    assert_eq!((refused[home], refused[1 - home]), (0, 1));
}

#[test]
fn a_full_ring_loses_and_counts_and_never_overtakes() {
    // Worker 1 has everything and does not poll for a while; the ring takes about a thousand frames of 70 bytes.
    let mut rig = Rig::new(2, Delivery::OneDoor, 0, 64);
    (0..BUCKETS).for_each(|bucket| rig.fleet.mover.begin(bucket, 0).expect("it stands still"));
    rig.settle();
    let mut traffic = Traffic::new(1, 0);
    let mut told = Vec::new();
    for _ in 0..5_000 {
        traffic.next(0, Leg::Original, Kind::Datagram).into_iter().for_each(|arrival| rig.inject(arrival));
        let (worker, events) = &mut rig.workers[1];
        worker.poll_once(Instant::from_secs(5)).expect("memory does not fail");
        events.drain(usize::MAX, |event| told.push(event));
    }
    let (worker, events) = &rig.workers[1];
    let lost = worker.member().expect("it joined").counters().lost;
    assert!((3_000..4_500).contains(&lost), "{lost}");
    // The flow log names flow and port of the first ones, and knows how many more there were.
    let reason = DropReason::HandoverFull;
    assert_eq!(told.len() as u64 + events.shed(), lost);
    assert!(!told.is_empty());
    for event in told {
        assert!(matches!(event.kind, EventKind::Drop { reason: of, .. } if of == reason), "{event:?}");
        let flow = (event.key.src_port, event.key.dst_port, event.in_port, event.src_identity);
        assert_eq!(flow, (1_000, 2_000, A, ID_A));
    }
    rig.settle();
    let numbers: Vec<u32> = rig.sent.try_iter().map(|frame| said(&frame).1).collect();
    assert_eq!(numbers.len() as u64 + lost, traffic.frames);
    assert!(numbers.is_sorted());
    assert_eq!(rig.drops(), vec![(reason, lost)]);
    let counted =
        |of: fn(&datapath::stats::PortStats) -> u64| rig.sum(|stats| of(&stats.ports[usize::from(A.0)]));
    assert_eq!((counted(|port| port.rx_frames), counted(|port| port.dropped)), (traffic.frames, lost));
    assert_eq!(rig.sum(|stats| stats.received), traffic.frames);
}

#[test]
fn who_sleeps_is_woken_once_for_a_burst_and_who_does_not_is_left_alone() {
    let mut rig = Rig::new(2, Delivery::OneDoor, 1 << 16, 64);
    (0..BUCKETS).for_each(|bucket| rig.fleet.mover.begin(bucket, 0).expect("it stands still"));
    rig.settle();
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let member = |rig: &Rig| rig.workers[0].0.member().expect("it joined").rest();
    rig.workers[0].0.member().expect("it joined").set_waker(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let mut traffic = Traffic::new(1, 0);
    let mut burst = |rig: &mut Rig| {
        for _ in 0..10 {
            traffic
                .next(0, Leg::Original, Kind::Datagram)
                .into_iter()
                .for_each(|arrival| rig.inject(arrival));
        }
        rig.poll(1);
    };
    assert!(member(&rig), "nothing to do");
    burst(&mut rig);
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    assert!(!member(&rig), "there is something to take");
    burst(&mut rig);
    assert_eq!(woken.load(Ordering::Relaxed), 1, "it is up");
    rig.settle();
    rig.workers[0].0.member().expect("it joined").woke();
    burst(&mut rig);
    assert_eq!(woken.load(Ordering::Relaxed), 1, "it said that it is up");
    rig.settle();
    assert!(member(&rig));
    rig.fleet.mover.begin(3, 1).expect("it stands still");
    assert_eq!(woken.load(Ordering::Relaxed), 2, "a move waits for everybody");
}

#[test]
fn the_limits_of_all_workers_are_those_of_the_node() {
    let whole = DatapathConfig::default();
    for count in [1, 2, 3, MAX_WORKERS] {
        let part = share_of(&whole, count);
        assert_eq!(part.conntrack.validate(), Ok(()));
        let n = count as u32;
        assert!(part.conntrack.max_entries * n <= whole.conntrack.max_entries);
        assert!(part.conntrack.max_entries_per_port * n <= whole.conntrack.max_entries_per_port);
        assert!(part.conntrack.max_half_open_per_port * n <= whole.conntrack.max_half_open_per_port);
        assert!(part.answers_per_second * n <= whole.answers_per_second);
        assert!(part.drop_events_per_second * n <= whole.drop_events_per_second);
        assert!(part.l7.max_connections * count <= whole.l7.max_connections);
        assert!(part.l7.max_bytes * count <= whole.l7.max_bytes);
    }
    assert_eq!(share_of(&whole, 1), whole);
    let silent = DatapathConfig { answers_per_second: 0, ..whole };
    assert_eq!(share_of(&silent, 2).answers_per_second, 0, "none stays none");
}

#[test]
fn both_directions_errors_and_fragments_have_one_bucket() {
    let setup = |seed| workers::Fleet::new(Setup { steerers: 1, seed, ..Setup::default() });
    let fleet = setup(1);
    let bucket = |frame: &[u8]| fleet.steerers[0].bucket_of(frame);
    let mut spread = std::collections::BTreeSet::new();
    let mut traffic = Traffic::new(200, 0);
    for flow in 0..200 {
        let mut of = |leg, kind| -> Vec<_> {
            traffic.next(flow, leg, kind).into_iter().map(|(_, frame)| bucket(&frame)).collect()
        };
        let there = of(Leg::Original, Kind::Datagram);
        assert!(there[0].is_some());
        assert_eq!(of(Leg::Reply, Kind::Datagram), there);
        assert_eq!(of(Leg::Reply, Kind::Error), there);
        assert_eq!(of(Leg::Original, Kind::Fragments), [there[0]; 2]);
        assert_eq!(of(Leg::Reply, Kind::Fragments), [there[0]; 2]);
        spread.insert(there[0]);
    }
    assert!(spread.len() > 100, "200 flows are in {} buckets", spread.len());
    let whole = testing::udp("10.0.0.1", "10.0.0.3", 1, 2, &[0; 64]);
    let parts = testing::fragments(&whole, 32, 60_000);
    assert_eq!(bucket(&parts[1]), None, "a later fragment alone is nobody's");
    assert_eq!(bucket(&testing::arp_request("10.0.0.1", "10.0.0.3")), None);
    assert_eq!(bucket(b"no frame"), None);
    let other = setup(2);
    let moved = (0..200).filter(|flow| {
        let frame = &Traffic::new(200, 0).next(*flow, Leg::Original, Kind::Datagram)[0].1;
        bucket(frame) != other.steerers[0].bucket_of(frame)
    });
    assert!(moved.count() > 150, "the seed decides");
}
