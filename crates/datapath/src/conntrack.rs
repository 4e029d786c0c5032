//! The connection table of one worker: bounded, keyed, with timers and a stated eviction rule. No clock, no locks.
//!
//! What an attacker may do to it, and what stands against it:
//!
//! * choose five-tuples that collide: the hash is keyed and strongly universal (`hash.rs` says
//!   what that is worth);
//! * open without end: the table has a fixed size, and each port (a pod has its own) a share of it;
//! * flood with SYNs or unanswered datagrams: connections that are *not answered yet* are counted per port; at the
//!   port's limit its own oldest one gives way. When the whole table is full, the port with the most evictable
//!   connections loses one: its oldest finished one, else its oldest unanswered one.
//!
//! **Never evicted** for a new one is a connection that was answered and is not over: an established TCP connection,
//! an answered UDP flow. If all are of that kind, the new packet is dropped (`ConntrackFull`). An unanswered TCP
//! connection counts as answered once both SYNs are acknowledged, so a server's SYN-ACK alone does not promote a flood.
//!
//! All memory but the lists per port is reserved at construction. A [`ConnId`] is good until the table is changed by
//! `create`, `expire` or `remove`; who keeps one longer keeps a [`ConnHandle`].

mod carry;
mod config;
mod conn;
mod evict;
pub(crate) mod hash;
mod index;
mod other;
mod restore;
mod tcp;
mod timer;

pub(crate) use carry::{Carried, Carry};
pub use config::{ConntrackConfig, ConntrackConfigError, Timeouts};
pub use conn::{CachedVerdict, Conn};
pub use restore::ConnState;
pub use tcp::State;

use config::Ticks;
use conn::{QueueKind, REVOKED};
use evict::Loads;
use flowlog::{CloseReason, DropReason};
use hash::FlowHasher;
use index::Index;
use packet::packet::proto;
use packet::{FlowKey, Instant, L4, Leg, Packet, PortId};
use policy::{EndpointId, Identity};
use tcp::{Step, Tracking};
use timer::{NIL, Nodes, Timer, Wheel, Work};

/// Names an entry until the table changes.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct ConnId(u32);

/// Names an entry for as long as it lives, and never another.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ConnHandle {
    id: ConnId,
    generation: u16,
    created: Instant,
}

/// What a packet of a known connection means for it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It belongs to the connection.
    Continue,
    /// It starts a new connection on the ports of one that is over. Nothing was changed or counted: remove the old
    /// one, ask policy, and create the new one.
    Reopen,
}

/// What the caller knows about a new connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct NewConn {
    /// Five-tuple of the first packet.
    pub key: FlowKey,
    /// Its [`Conntrack::hash`].
    pub hash: u64,
    /// Port that the first packet came from.
    pub in_port: PortId,
    /// Port that it leaves by.
    pub out_port: PortId,
    /// Identity of its source.
    pub src_identity: Identity,
    /// Identity of its destination.
    pub dst_identity: Identity,
    /// Local endpoint it comes from.
    pub src_endpoint: Option<EndpointId>,
    /// Local endpoint it goes to.
    pub dst_endpoint: Option<EndpointId>,
    /// Whether a TCP segment other than a SYN may start an entry ([`ConntrackConfig::tcp_pickup`] allows it, too).
    pub adopt: bool,
}

/// The table.
#[derive(Debug)]
pub struct Conntrack {
    config: ConntrackConfig,
    /// Those of `config`.
    timeouts: Ticks,
    hasher: FlowHasher,
    index: Index,
    slab: Vec<Conn>,
    /// First free slot below `slab.len()`; the others follow by `links.next`.
    free: u32,
    wheel: Wheel,
    loads: Loads,
    /// Inspections whose connection is gone.
    retired: Vec<u32>,
}

impl Nodes for Vec<Conn> {
    fn timer(&mut self, i: u32) -> &mut Timer {
        &mut self[i as usize].timer
    }

    #[inline]
    fn due(&mut self, i: u32) -> &mut u32 {
        &mut self[i as usize].due
    }
}

impl Conntrack {
    /// Below it the entries that are in use stay near by themselves: two lines of each of 512 are 64 KiB.
    const WORTH_WARMING: usize = 512;

    /// An empty table. `seed` is secret and random; the configuration was validated (limits out of range are
    /// clamped here).
    #[must_use]
    pub fn new(mut config: ConntrackConfig, seed: u64) -> Self {
        config.max_entries = config.max_entries.clamp(1, ConntrackConfig::MAX_ENTRIES);
        let max = config.max_entries as usize;
        Self {
            hasher: FlowHasher::new(seed),
            index: Index::new(max),
            slab: Vec::with_capacity(max),
            free: NIL,
            wheel: Wheel::new(),
            loads: Loads::default(),
            retired: Vec::new(),
            timeouts: Ticks::of(&config.timeouts),
            config,
        }
    }

    /// The hash of a flow, the same for both of its directions.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.hasher.hash(key)
    }

    /// Finds the connection of a packet, and the packet's leg. `hash` is [`Conntrack::hash`] of `key`.
    #[inline(always)]
    #[must_use]
    pub fn lookup(&self, key: &FlowKey, hash: u64) -> Option<(ConnId, Leg)> {
        let (i, leg) = self.index.find(hash, |i| self.slab[i as usize].leg_of(key))?;
        Some((ConnId(i), leg))
    }

    /// Fetches what the lookups and updates of these hashes will read, all of them at once: the misses of
    /// independent loads overlap, those of one lookup after the other do not. Answers nothing and changes nothing.
    ///
    /// The first walk reads the table, the second the entries it points at; a wrong guess costs a useless load.
    pub fn warm(&self, hashes: impl Iterator<Item = u64>) {
        if self.len() < Self::WORTH_WARMING {
            return;
        }
        let mut guesses = [0_u32; packet::BURST_LEN];
        let mut count = 0;
        for (guess, hash) in guesses.iter_mut().zip(hashes) {
            // Stops at the first entry whose tag fits, before its key is compared.
            *guess = self.index.find(hash, Some).map_or(0, |(i, _)| i);
            count += 1;
        }
        let mut sum = 0_u64;
        for &guess in &guesses[..count] {
            if let Some(conn) = self.slab.get(guess as usize) {
                // One value of each cache line.
                sum = sum ^ conn.key.src.0 as u64 ^ u64::from(conn.last_seen);
            }
        }
        core::hint::black_box(sum);
    }

    /// Finds the connection that an ICMP error is about, and the leg of the packet it quotes.
    #[must_use]
    pub fn about(&self, key: &FlowKey) -> Option<(ConnId, Leg)> {
        self.lookup(key, self.hash(key))
    }

    /// The entry.
    #[inline]
    #[must_use]
    pub fn get(&self, id: ConnId) -> &Conn {
        &self.slab[id.0 as usize]
    }

    /// The entry, to note a verdict.
    #[inline]
    pub fn get_mut(&mut self, id: ConnId) -> &mut Conn {
        &mut self.slab[id.0 as usize]
    }

    /// A name that may be kept.
    #[must_use]
    pub fn handle(&self, id: ConnId) -> ConnHandle {
        let conn = self.get(id);
        ConnHandle { id, generation: conn.generation, created: conn.created }
    }

    /// The entry of that name, if it still lives.
    #[must_use]
    pub fn resolve(&self, handle: ConnHandle) -> Option<ConnId> {
        let conn = self.slab.get(handle.id.0 as usize)?;
        let same = conn.generation == handle.generation && conn.created == handle.created;
        (same && !conn.is_vacant()).then_some(handle.id)
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.slab.iter().filter(|conn| !conn.is_vacant())
    }

    /// The first entry at or after `cursor`, and the cursor behind it: a walk that goes on across changes. Entries
    /// created during the walk may be missed; `None` ends it.
    #[must_use]
    pub fn next_from(&self, cursor: u32) -> Option<(ConnId, u32)> {
        let rest = self.slab.get(cursor as usize..)?;
        let at = cursor + rest.iter().position(|conn| !conn.is_vacant())? as u32;
        Some((ConnId(at), at + 1))
    }

    /// What `each` makes of up to `count` entries from `cursor` on, and the cursor behind them, as in
    /// [`next_from`](Self::next_from).
    pub fn piece<T>(
        &self,
        mut cursor: u32,
        count: usize,
        mut each: impl FnMut(&Conn) -> Option<T>,
    ) -> (Vec<T>, Option<u32>) {
        let mut piece = Vec::with_capacity(count);
        for _ in 0..count {
            let Some((id, next)) = self.next_from(cursor) else { return (piece, None) };
            piece.extend(each(self.get(id)));
            cursor = next;
        }
        (piece, Some(cursor))
    }

    /// The slot of an inspection whose connection is gone, once.
    pub(crate) fn next_retired(&mut self) -> Option<u32> {
        self.retired.pop()
    }

    /// Allows or forbids that TCP connections are joined in the middle.
    pub fn set_tcp_pickup(&mut self, allowed: bool) {
        self.config.tcp_pickup = allowed;
    }

    /// Half-open connections that a port has opened.
    #[must_use]
    pub fn half_open(&self, port: PortId) -> u32 {
        self.loads.half_open(port)
    }

    /// Starts a connection with its first packet. What has to give way is told to `closed`. The key must not be in
    /// the table.
    ///
    /// # Errors
    /// `NotAConnection` or `UnrelatedIcmp` if that packet cannot be a first one, `ConntrackFull` if nothing may give
    /// way.
    pub fn create(
        &mut self,
        new: NewConn,
        packet: &Packet,
        now: Instant,
        closed: &mut impl FnMut(&Conn, CloseReason),
    ) -> Result<ConnId, DropReason> {
        let tracking = match &packet.l4_header {
            L4::Tcp(tcp) => {
                let f = tcp.flags;
                if f.syn() && !f.ack() && !f.rst() && !f.fin() {
                    Tracking::open(tcp)
                } else if (new.adopt || self.config.tcp_pickup) && f.ack() && !f.syn() && !f.rst() {
                    let mut adopted = Tracking::unknown(State::Adopted);
                    adopted.step(Leg::Original, tcp)?;
                    adopted
                } else {
                    return Err(DropReason::NotAConnection);
                }
            }
            l4 => other::open(l4, packet.proto)?,
        };
        self.make_room(new.in_port, half_open_queue(tracking.state), closed)?;
        let id = self.insert(new, tracking, now);
        let conn = self.get_mut(id);
        conn.count(Leg::Original, packet.ip_len());
        Ok(id)
    }

    /// A leg was allowed to send up to `edge` in the other's name.
    pub(crate) fn widen(&mut self, id: ConnId, leg: Leg, edge: u32) {
        self.slab[id.0 as usize].tcp.widen(leg, edge);
    }

    /// Follows a packet of a connection that just flows, as nearly every packet's does: counts it and puts the time-out
    /// off. `false`, and nothing changed: [`advance`](Self::advance) says what the packet means.
    #[inline(always)]
    pub(crate) fn flows(&mut self, id: ConnId, leg: Leg, packet: &Packet, now: Instant) -> bool {
        let conn = &mut self.slab[id.0 as usize];
        let timeout = match &packet.l4_header {
            L4::Tcp(tcp) if conn.tcp.flows(leg, tcp) => self.timeouts.tcp_established,
            L4::Udp { .. } if conn.tcp.state == State::Replied => self.timeouts.udp,
            L4::Udp { .. } if conn.tcp.state == State::Unreplied && leg == Leg::Original => self.timeouts.udp,
            _ => return false,
        };
        conn.count(leg, packet.ip_len());
        conn.last_seen = timer::tick_of(now);
        let due = timer::tick_after(now).saturating_add(timeout);
        self.wheel.reschedule(&mut self.slab, id.0, due);
        true
    }

    /// Follows a packet of a known connection: counts it, moves the state, puts the time-out off.
    ///
    /// # Errors
    /// `InvalidTcpState`, `NotAConnection` or `UnrelatedIcmp`: the packet must not go on. Such a packet is not counted.
    #[inline]
    pub fn advance(
        &mut self,
        id: ConnId,
        leg: Leg,
        packet: &Packet,
        now: Instant,
    ) -> Result<Progress, DropReason> {
        if self.flows(id, leg, packet, now) {
            return Ok(Progress::Continue);
        }
        self.advance_otherwise(id, leg, packet, now)
    }

    /// [`advance`](Self::advance) for all that does not just flow.
    #[inline(never)]
    fn advance_otherwise(
        &mut self,
        id: ConnId,
        leg: Leg,
        packet: &Packet,
        now: Instant,
    ) -> Result<Progress, DropReason> {
        let conn = &mut self.slab[id.0 as usize];
        let before = conn.tcp.state;
        let step = match &packet.l4_header {
            // Later fragments are counted with their flow and have no say in its state.
            L4::Fragment => Step::Ignored,
            L4::Tcp(tcp) => conn.tcp.step(leg, tcp)?,
            l4 => other::step(&mut conn.tcp, leg, l4, packet.proto)?,
        };
        if step == Step::Reopen {
            return Ok(Progress::Reopen);
        }
        conn.count(leg, packet.ip_len());
        conn.last_seen = timer::tick_of(now);
        let state = conn.tcp.state;
        if step == Step::Advanced {
            let due = timer::tick_after(now).saturating_add(self.timeout(state, packet.proto));
            self.wheel.reschedule(&mut self.slab, id.0, due);
            if state != before {
                self.loads.requeue(&mut self.slab, id.0, queue_of(state));
            }
        }
        Ok(Progress::Continue)
    }

    /// Removes what has timed out, touching at most `budget` entries. `closed` is told each one.
    pub fn expire(&mut self, now: Instant, budget: usize, closed: &mut impl FnMut(&Conn, CloseReason)) {
        self.index.go_on(&hashes(&self.slab, &self.hasher));
        let mut work = Work::new(budget);
        let tick = timer::tick_of(now);
        while let Some(i) = self.wheel.next_due(&mut self.slab, tick, &mut work) {
            let reason = self.slab[i as usize].ended_by();
            self.forget(i, reason, closed);
        }
    }

    /// Removes one entry.
    pub fn remove(&mut self, id: ConnId, reason: CloseReason, closed: &mut impl FnMut(&Conn, CloseReason)) {
        if !self.get(id).is_vacant() {
            self.wheel.remove(&mut self.slab, id.0);
            self.forget(id.0, reason, closed);
        }
    }

    /// Turns an entry into a tombstone that stands for the time-out of a finished connection. Its end is told by the
    /// caller; nobody is told of it again.
    pub fn revoke(&mut self, id: ConnId, now: Instant) {
        let due = timer::tick_after(now).saturating_add(self.timeouts.tcp_fin);
        self.get_mut(id).marks |= REVOKED;
        self.wheel.reschedule(&mut self.slab, id.0, due);
        self.loads.requeue(&mut self.slab, id.0, QueueKind::Finished);
    }

    /// Removes every entry that comes from or goes to a port. Walks the whole table: not for the packet path.
    pub fn remove_port(&mut self, port: PortId, closed: &mut impl FnMut(&Conn, CloseReason)) {
        for i in 0..self.slab.len() as u32 {
            let conn = &self.slab[i as usize];
            if conn.in_port == port || conn.out_port == port {
                self.remove(ConnId(i), CloseReason::PortGone, closed);
            }
        }
    }

    /// In ticks of the wheel.
    #[inline]
    fn timeout(&self, state: State, l4_proto: u8) -> u32 {
        let t = &self.timeouts;
        match state {
            State::SynSent | State::SynReceived | State::Adopted => t.tcp_syn,
            State::Established | State::HalfClosed => t.tcp_established,
            State::Closing => t.tcp_closing,
            State::TimeWait | State::Reset | State::Finished => t.tcp_fin,
            State::Unreplied | State::Replied => match l4_proto {
                proto::UDP => t.udp,
                proto::ICMP | proto::ICMPV6 => t.icmp,
                proto::SCTP => t.sctp,
                _ => t.other,
            },
        }
    }

    /// Applies the limits in the order: of half-open connections of the port, of its connections, of all.
    fn make_room(
        &mut self,
        port: PortId,
        half_open: bool,
        closed: &mut impl FnMut(&Conn, CloseReason),
    ) -> Result<(), DropReason> {
        let victim = if half_open && self.loads.half_open(port) >= self.config.max_half_open_per_port {
            self.loads.oldest_half_open(port)
        } else if self.loads.entries(port) >= self.config.max_entries_per_port {
            self.loads.victim_of(port)
        } else if self.len() >= self.config.max_entries as usize {
            self.loads.victim()
        } else {
            return Ok(());
        };
        let id = ConnId(victim.ok_or(DropReason::ConntrackFull)?);
        let reason = match self.get(id).ended_by() {
            CloseReason::TimedOut => CloseReason::Evicted,
            over => over,
        };
        self.remove(id, reason, closed);
        Ok(())
    }

    /// Puts an entry in; there is room.
    fn insert(&mut self, new: NewConn, tracking: Tracking, now: Instant) -> ConnId {
        let i = self.free_slot();
        let conn = &mut self.slab[i as usize];
        *conn = Conn {
            key: new.key,
            tcp: tracking,
            last_seen: timer::tick_of(now),
            created: now,
            src_identity: new.src_identity,
            dst_identity: new.dst_identity,
            src_endpoint: new.src_endpoint,
            dst_endpoint: new.dst_endpoint,
            in_port: new.in_port,
            out_port: new.out_port,
            generation: conn.generation.wrapping_add(1),
            marks: 0,
            ..Conn::vacant()
        };
        self.index.insert(new.hash, i, hashes(&self.slab, &self.hasher));
        let due = timer::tick_after(now).saturating_add(self.timeout(tracking.state, new.key.proto));
        self.wheel.insert(&mut self.slab, i, due);
        self.loads.opened(new.in_port);
        self.loads.requeue(&mut self.slab, i, queue_of(tracking.state));
        ConnId(i)
    }

    /// Takes out an entry that the wheel no longer holds.
    fn forget(&mut self, i: u32, reason: CloseReason, closed: &mut impl FnMut(&Conn, CloseReason)) {
        self.loads.requeue(&mut self.slab, i, QueueKind::Kept);
        let conn = &self.slab[i as usize];
        if !conn.revoked() {
            closed(conn, reason);
        }
        if conn.verdict.inspection != NIL {
            self.retired.push(conn.verdict.inspection);
        }
        self.unhook(i);
    }
}

/// The hash of each entry by its number.
fn hashes<'a>(slab: &'a [Conn], hasher: &'a FlowHasher) -> impl Fn(u32) -> Option<u64> + 'a {
    |i| Some(hasher.hash(&slab.get(i as usize)?.key))
}

const fn half_open_queue(state: State) -> bool {
    matches!(queue_of(state), QueueKind::HalfOpen)
}

const fn queue_of(state: State) -> QueueKind {
    match state {
        State::SynSent | State::SynReceived | State::Adopted | State::Unreplied => QueueKind::HalfOpen,
        State::TimeWait | State::Reset | State::Finished => QueueKind::Finished,
        State::Established | State::HalfClosed | State::Closing | State::Replied => QueueKind::Kept,
    }
}

#[cfg(test)]
mod tests;
