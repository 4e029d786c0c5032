//! Everything remembered about one connection, in three cache lines, of which a frame touches two.

use super::tcp::{State, Tracking};
use super::timer::{self, NIL, Timer};
use core::mem::offset_of;
use flowlog::CloseReason;
use packet::{FlowKey, Instant, Leg, PortId, TcpFlags};
use policy::{EndpointId, Identity, RuleId};

/// Bit of `Conn::marks`: policy took the connection back.
pub(super) const REVOKED: u8 = 1;

/// The verdict that allowed a connection, and the version of the policy that gave it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct CachedVerdict {
    /// Epoch of the snapshot; 0 before the first verdict.
    pub epoch: u64,
    /// Slot of the inspection of its messages; all ones if there is none.
    pub(crate) inspection: u32,
}

impl Default for CachedVerdict {
    fn default() -> Self {
        Self { epoch: 0, inspection: NIL }
    }
}

/// Which list of evictable connections an entry is in.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum QueueKind {
    /// None: it may not be evicted.
    Kept,
    /// Not answered yet.
    HalfOpen,
    /// Over.
    Finished,
}

/// Neighbours in a list of evictable connections.
#[derive(Copy, Clone, Debug)]
pub(super) struct Links {
    pub(super) prev: u32,
    pub(super) next: u32,
}

/// One connection. Fields stand in the order in which frames need them: what every frame of an established connection
/// reads or writes fills the first two cache lines (checked below), the third is for beginnings, ends and readers.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Conn {
    /// Five-tuple in the direction of the original leg.
    pub key: FlowKey,
    pub(super) tcp: Tracking,
    /// What policy said.
    pub verdict: CachedVerdict,
    pub(super) bytes: [u64; 2],
    /// The low halves of the counts; `packets_high` has the rest.
    pub(super) packets: [u32; 2],
    pub(super) due: u32,
    pub(super) last_seen: u32,
    /// Port that the original leg arrives on.
    pub in_port: PortId,
    /// Port that the original leg leaves by.
    pub out_port: PortId,
    pub(super) marks: u8,
    pub(super) queue: QueueKind,
    /// The rules behind the verdict: egress of the source, ingress of the destination.
    pub rules: [RuleId; 2],
    /// Whether audit mode let pass what policy denies.
    pub audited: bool,
    pub(super) generation: u16,
    pub(super) packets_high: [u32; 2],
    pub(super) created: Instant,
    /// Identity of the original leg's source.
    pub src_identity: Identity,
    /// Identity of the original leg's destination.
    pub dst_identity: Identity,
    /// Local endpoint that the original leg comes from.
    pub src_endpoint: Option<EndpointId>,
    /// Local endpoint that the original leg goes to.
    pub dst_endpoint: Option<EndpointId>,
    pub(super) links: Links,
    pub(super) timer: Timer,
}

/// Of memory that comes and goes together.
const CACHE_LINE: usize = 64;

// One million of them and their index must fit into 200 MiB.
const _: () = assert!(size_of::<Conn>() <= 3 * CACHE_LINE);
const _: () = assert!(offset_of!(Conn, queue) < 2 * CACHE_LINE);

impl Conn {
    /// What a free slot holds.
    pub(super) fn vacant() -> Self {
        Self {
            key: FlowKey::default(),
            tcp: Tracking::idle(State::Finished),
            timer: Timer::IDLE,
            due: 0,
            last_seen: 0,
            verdict: CachedVerdict::default(),
            rules: [RuleId::default(); 2],
            audited: false,
            packets: [0; 2],
            packets_high: [0; 2],
            bytes: [0; 2],
            created: Instant::ZERO,
            src_identity: Identity::UNKNOWN,
            dst_identity: Identity::UNKNOWN,
            src_endpoint: None,
            dst_endpoint: None,
            in_port: PortId(0),
            out_port: PortId(0),
            links: Links { prev: NIL, next: NIL },
            generation: 0,
            queue: QueueKind::Kept,
            marks: VACANT,
        }
    }

    /// The port by which packets of this leg leave.
    #[must_use]
    pub const fn port_towards(&self, leg: Leg) -> PortId {
        match leg {
            Leg::Original => self.out_port,
            Leg::Reply => self.in_port,
        }
    }

    /// Whether policy took the connection back: what is left is a tombstone.
    #[must_use]
    pub const fn revoked(&self) -> bool {
        self.marks & REVOKED != 0
    }

    /// Whether its messages are read.
    #[must_use]
    pub const fn is_inspected(&self) -> bool {
        self.verdict.inspection != NIL
    }

    /// Whether the reply leg was heard.
    #[must_use]
    pub const fn replied(&self) -> bool {
        self.packets[1] != 0 || self.packets_high[1] != 0
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.tcp.state
    }

    /// TCP flags of both legs, of the segments that counted.
    #[must_use]
    pub const fn flags_seen(&self) -> TcpFlags {
        self.tcp.flags_seen()
    }

    /// The TCP sequence number that the receiver of this leg expects next, as far as we saw.
    #[must_use]
    pub const fn next_seq(&self, leg: Leg) -> u32 {
        self.tcp.next_seq(leg)
    }

    /// Packets per leg.
    #[must_use]
    pub fn packets(&self) -> [u64; 2] {
        core::array::from_fn(|leg| u64::from(self.packets_high[leg]) << 32 | u64::from(self.packets[leg]))
    }

    /// Counts packets and bytes from elsewhere.
    pub(super) fn set_counts(&mut self, packets: [u64; 2], bytes: [u64; 2]) {
        self.packets = packets.map(|count| count as u32);
        self.packets_high = packets.map(|count| (count >> 32) as u32);
        self.bytes = bytes;
    }

    /// Counts one packet of `bytes`.
    #[inline]
    pub(super) fn count(&mut self, leg: Leg, bytes: u32) {
        let at = leg.index();
        self.bytes[at] += u64::from(bytes);
        self.packets[at] = self.packets[at].wrapping_add(1);
        if self.packets[at] == 0 {
            self.packets_high[at] = self.packets_high[at].wrapping_add(1);
        }
    }

    /// Bytes of IP datagrams per leg.
    #[must_use]
    pub const fn bytes(&self) -> [u64; 2] {
        self.bytes
    }

    /// When the first packet came.
    #[must_use]
    pub const fn created(&self) -> Instant {
        self.created
    }

    /// When the last packet came, to 134 ms.
    #[must_use]
    pub const fn last_seen(&self) -> Instant {
        timer::start_of(self.last_seen)
    }

    /// When it times out if nothing comes any more, to 134 ms.
    #[must_use]
    pub const fn expires(&self) -> Instant {
        timer::start_of(self.due)
    }

    /// How it ends when its time is over.
    #[must_use]
    pub const fn ended_by(&self) -> CloseReason {
        match self.tcp.state {
            State::TimeWait | State::Finished => CloseReason::Finished,
            State::Reset => CloseReason::Reset,
            _ => CloseReason::TimedOut,
        }
    }

    pub(super) const fn is_vacant(&self) -> bool {
        self.marks & VACANT != 0
    }

    /// Which leg a packet with this key belongs to, if any.
    #[inline]
    pub(super) fn leg_of(&self, key: &FlowKey) -> Option<Leg> {
        if self.key == *key {
            Some(Leg::Original)
        } else if self.key == key.reversed() {
            Some(Leg::Reply)
        } else {
            None
        }
    }
}

const VACANT: u8 = 2;
