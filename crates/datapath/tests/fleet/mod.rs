//! Several workers over memory, traffic that says who it is, and a referee who knows what must come out.
#![allow(dead_code, unreachable_pub)]

pub mod traffic;

use crate::support::{A, C, HOST, policy_of_b, ports, snapshot};
use arc_swap::ArcSwap;
use datapath::fleet::{Fleet, FleetIo, Setup};
use datapath::snapshot::{Visibility, VisiblePort};
use datapath::{DatapathConfig, SharedSnapshot, Snapshot, Worker, fleet};
use flowlog::ring::{EventReader, EventRing};
use packet::io::mem::{MemConfig, MemIo};
use packet::packet::proto;
use packet::{Burst, Frame, IoError, IoStats, PacketIo, PortId};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant as Clock};
use traffic::Referee;

/// The port that DNS is spoken on: connections to it are inspected.
pub const DNS: u16 = 53;

pub type Arrival = (PortId, Vec<u8>);

/// How long the traffic may stand still.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Checks the next frame that came out, or lets others run; `last` is when one came out.
pub fn watch(sent: &Receiver<Vec<u8>>, referee: &mut Referee, last: &mut Clock) {
    if let Ok(frame) = sent.try_recv() {
        referee.check(&frame);
        *last = Clock::now();
    } else {
        assert!(last.elapsed() < PATIENCE, "{} frames came out, and no more", referee.seen);
        std::thread::yield_now();
    }
}

/// Puts frames on the wires of the workers that they arrive at.
pub fn deliver(
    delivery: Delivery,
    fleet: &mut Fleet,
    workers: usize,
    feeds: &[Sender<Arrival>],
    arrivals: Vec<Arrival>,
) {
    for (port, frame) in arrivals {
        fleet.steerers.iter_mut().for_each(|steerer| steerer.refresh());
        let at = door(delivery, fleet, workers, port, &frame);
        feeds[at].send((port, frame)).expect("the worker runs");
    }
}

/// Ports in memory whose other side is a queue in each direction: what is put into `feed` is on the wire.
pub struct Wire {
    pub mem: MemIo,
    feed: Receiver<Arrival>,
    sent: Sender<Vec<u8>>,
}

impl Wire {
    pub fn new(buffers: usize, feed: Receiver<Arrival>, sent: Sender<Vec<u8>>) -> Self {
        let mem = MemIo::new(MemConfig { ports: 4, buffers, tx_capacity: 4096, ..MemConfig::default() });
        Self { mem, feed, sent }
    }
}

impl PacketIo for Wire {
    fn recv(&mut self, burst: &mut Burst) -> Result<(), IoError> {
        // One queue in one order, as a receive queue of a network card is: never more than is taken at once.
        while burst.room() > 0 {
            let Ok((port, bytes)) = self.feed.try_recv() else { break };
            assert!(self.mem.inject(port, &bytes), "room on the wire");
            let mut one = Burst::new();
            self.mem.recv(&mut one)?;
            one.drain().for_each(|frame| assert!(burst.push(frame).is_ok()));
        }
        Ok(())
    }

    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.mem.bytes(frame)
    }

    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.mem.bytes_mut(frame)
    }

    fn for_each_buffer(&self, frame: &Frame, each: &mut dyn FnMut(&[u8])) {
        self.mem.for_each_buffer(frame, each);
    }

    fn alloc(&mut self, port: PortId, len: usize) -> Option<Frame> {
        self.mem.alloc(port, len)
    }

    fn send(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        self.mem.send(port, frame)
    }

    fn release(&mut self, frame: Frame) {
        self.mem.release(frame);
    }

    fn flush(&mut self) -> Result<(), IoError> {
        self.mem.flush()?;
        for port in [HOST, A, C] {
            for frame in self.mem.take_sent(port) {
                self.sent.send(frame).expect("somebody listens");
            }
        }
        Ok(())
    }

    fn outstanding(&self) -> usize {
        self.mem.outstanding()
    }

    fn stats(&self) -> IoStats {
        self.mem.stats()
    }
}

pub type Node = Worker<FleetIo<Wire>>;

/// Who receives what.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// By the table, as a card with receive-side scaling does. Every worker has every port.
    Steered,
    /// Port A's frames come to the first worker, port C's to the second, and leave there.
    ByPort,
    /// Everything comes to and leaves by the last worker.
    OneDoor,
}

/// What a test holds of a fleet.
pub struct Rig {
    pub fleet: Fleet,
    pub workers: Vec<(Node, EventReader)>,
    pub feeds: Vec<Sender<Arrival>>,
    pub sent: Receiver<Vec<u8>>,
    pub delivery: Delivery,
}

impl Rig {
    pub fn new(workers: usize, delivery: Delivery, ring_bytes: usize, buffers: usize) -> Self {
        let seed = 0x51_1c3;
        let steerers = usize::from(delivery == Delivery::Steered);
        let mut fleet = Fleet::new(Setup { workers, steerers, ring_bytes, parked: buffers, seed });
        let shared: SharedSnapshot = Arc::new(ArcSwap::from_pointee(visible()));
        let (sender, sent) = std::sync::mpsc::channel();
        let mut feeds = Vec::new();
        let last = workers - 1;
        let doors = match delivery {
            Delivery::Steered => vec![],
            Delivery::ByPort => vec![(HOST, 0), (A, 0), (C, 1 % workers)],
            Delivery::OneDoor => vec![(HOST, last), (A, last), (C, last)],
        };
        doors.into_iter().for_each(|(port, worker)| fleet.owners.assign(port, worker));
        let workers = fleet
            .seats
            .drain(..)
            .map(|seat| {
                let (feed, fed) = std::sync::mpsc::channel();
                feeds.push(feed);
                let io = FleetIo::new(Wire::new(buffers, fed, sender.clone()), seat.wires);
                let (writer, events) = EventRing::new(1 << 12);
                let config = fleet::share_of(&DatapathConfig::default(), 4);
                let mut worker = Worker::new(io, config, Arc::clone(&shared), writer, seed);
                worker.join(seat.member);
                (worker, events)
            })
            .collect();
        Self { fleet, workers, feeds, sent, delivery }
    }

    /// The worker that receives this frame.
    pub fn door(&self, port: PortId, frame: &[u8]) -> usize {
        door(self.delivery, &self.fleet, self.feeds.len(), port, frame)
    }

    pub fn inject(&self, (port, frame): Arrival) {
        self.feeds[self.door(port, &frame)].send((port, frame)).expect("the worker is there");
    }
}

pub fn door(delivery: Delivery, fleet: &Fleet, workers: usize, port: PortId, frame: &[u8]) -> usize {
    match delivery {
        Delivery::Steered => fleet.steerers[0].worker_of(frame),
        Delivery::ByPort => usize::from(port == C) % workers,
        Delivery::OneDoor => workers - 1,
    }
}

fn visible() -> Snapshot {
    let seen = VisiblePort { l4_proto: proto::UDP, port: DNS, kind: policy::L7Kind::Dns };
    Snapshot { visibility: Arc::new(Visibility(vec![seen])), ..snapshot(1, policy_of_b(true), ports()) }
}
