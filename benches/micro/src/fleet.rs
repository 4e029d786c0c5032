//! One worker or several over memory, each with an endless supply of frames of established connections.

use crate::node;
use arc_swap::ArcSwap;
use datapath::conntrack::ConnState;
use datapath::fleet::{Fleet, Setup, share_of};
use datapath::{DatapathConfig, Worker};
use flowlog::ring::{EventReader, EventRing};
use packet::io::mem::{MemConfig, MemIo, Sent};
use packet::{Burst, Frame, Instant, IoError, IoStats, PacketIo, Parsed, PortId};
use policy::Identity;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Frames that go round in each worker's memory.
const FRAMES: usize = 256;

/// Frames that may be on their way to another worker at a time: what is measured is what gets through without loss, and
/// memory would go on giving where a sender would slow down.
const ON_THE_WAY: u64 = 2048;

const SEED: u64 = 42;

/// Where frames arrive.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// At the worker that they belong to. What leaves comes in again as it was: nothing is copied.
    Steered,
    /// At the worker that they belong to. Each is copied in anew, as with [`Arrival::Astray`].
    Copied,
    /// At another: all of them are handed over.
    Astray,
}

/// Memory that frames come from.
pub struct Supply {
    mem: MemIo,
    /// Copied in one after the other; empty where frames go round by themselves.
    frames: Vec<Vec<u8>>,
    next: usize,
    given: u64,
    /// How many of them were taken by the worker that they belong to.
    arrived: Option<Arc<AtomicU64>>,
}

/// A worker with its supply.
pub struct Member {
    worker: Worker<Supply>,
    taken: Arc<AtomicU64>,
    events: EventReader,
}

impl Member {
    /// Polls many times; answers how many frames were forwarded.
    pub fn poll(&mut self, since: Duration) -> u64 {
        let before = self.worker.stats().forwarded;
        for _ in 0..256 {
            self.worker.poll_once(Instant::from_secs(1) + since).expect("memory does not fail");
            self.taken.store(self.worker.member().map_or(0, |m| m.counters().taken), Ordering::Release);
        }
        self.events.drain(usize::MAX, |_| {});
        self.worker.stats().forwarded - before
    }

    /// Frames that were lost.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.worker.stats().dropped_total()
    }
}

/// `workers` workers that share `flows` established TCP connections.
#[must_use]
pub fn members(workers: usize, flows: u32, arrival: Arrival) -> Vec<Member> {
    let steerers = Setup { workers, steerers: 1, seed: SEED, ..Setup::default() };
    // Asked for places only: whoever steers would have to take note of moves.
    let steerer = Fleet::new(steerers).steerers.remove(0);
    let mut fleet = Fleet::new(Setup { workers, seed: SEED, ..Setup::default() });
    let shared = Arc::new(ArcSwap::from_pointee(node::snapshot()));
    let mut members: Vec<Member> = fleet
        .seats
        .drain(..)
        .map(|seat| {
            let (writer, events) = EventRing::new(1 << 14);
            let supply = Supply::new(arrival);
            let config = share_of(&DatapathConfig::default(), workers);
            let mut worker = Worker::new(supply, config, Arc::clone(&shared), writer, SEED);
            if workers > 1 {
                worker.join(seat.member);
            }
            Member { worker, taken: Arc::default(), events }
        })
        .collect();
    let mut supplies = vec![Vec::new(); workers];
    for flow in 0..flows {
        let frame = node::established(flow);
        let home = steerer.worker_of(&frame);
        let conn = saved(&frame);
        members[home].worker.conntrack_mut().import(&conn, Instant::from_secs(1)).expect("room");
        let away = usize::from(arrival == Arrival::Astray);
        supplies[(home + away) % workers].push(frame);
    }
    let taken: Vec<_> = members.iter().map(|member| Arc::clone(&member.taken)).collect();
    for (at, (member, frames)) in members.iter_mut().zip(supplies).enumerate() {
        let supply = member.worker.io_mut();
        supply.fill(frames);
        // With two workers, what goes astray at one is the other's.
        supply.arrived = (arrival == Arrival::Astray).then(|| Arc::clone(&taken[(at + 1) % workers]));
    }
    members
}

fn saved(frame: &[u8]) -> ConnState {
    let Ok(Parsed::Ip(packet)) = packet::parse(frame, frame.len()) else { unreachable!("made above") };
    ConnState {
        key: packet.flow_key().expect("a TCP segment"),
        in_port: node::CLIENT_PORT,
        out_port: node::SERVER_PORT,
        src_identity: Identity::UNKNOWN,
        dst_identity: Identity::UNKNOWN,
        src_endpoint: None,
        dst_endpoint: None,
        packets: [1, 1],
        bytes: [60, 60],
        age: Duration::ZERO,
        inspected: false,
    }
}

impl Supply {
    fn new(arrival: Arrival) -> Self {
        let (sent, buffers) = match arrival {
            Arrival::Steered => (Sent::Refill, FRAMES),
            Arrival::Copied | Arrival::Astray => (Sent::Discard, FRAMES),
        };
        let mem = MemIo::new(MemConfig { ports: 2, buffers, buffer_size: 2048, tx_capacity: 256, sent });
        let next = if arrival == Arrival::Steered { usize::MAX } else { 0 };
        Self { mem, frames: Vec::new(), next, given: 0, arrived: None }
    }

    fn fill(&mut self, frames: Vec<Vec<u8>>) {
        if self.next == usize::MAX {
            for frame in frames.iter().cycle().take(FRAMES) {
                assert!(self.mem.inject(node::CLIENT_PORT, frame));
            }
        } else {
            self.frames = frames;
        }
    }
}

impl PacketIo for Supply {
    fn recv(&mut self, burst: &mut Burst) -> Result<(), IoError> {
        if !self.frames.is_empty() {
            let may = self.arrived.as_ref().map_or(u64::MAX, |arrived| {
                ON_THE_WAY.saturating_sub(self.given - arrived.load(Ordering::Acquire))
            });
            let count = burst.room().min(usize::try_from(may).unwrap_or(usize::MAX));
            self.given += count as u64;
            for _ in 0..count {
                self.next = if self.next + 1 < self.frames.len() { self.next + 1 } else { 0 };
                self.mem.inject(node::CLIENT_PORT, &self.frames[self.next]);
            }
        }
        self.mem.recv(burst)
    }

    #[inline]
    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.mem.bytes(frame)
    }

    #[inline]
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
        self.mem.flush()
    }

    fn outstanding(&self) -> usize {
        self.mem.outstanding()
    }

    fn stats(&self) -> IoStats {
        self.mem.stats()
    }
}
