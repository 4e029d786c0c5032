//! The packet path: all sockets of one worker behind [`PacketIo`].

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use packet::checksum::Sum;
use packet::{Burst, ChecksumRequest, Frame, IoError, IoStats, PacketIo, PortId};

use crate::error::OpenError;
use crate::owner::{Owner, Slot};
use crate::pool::Pool;
use crate::port::{BATCH, MAX_CHAIN, Port};
use crate::retire::{ReclaimToken, RetiredPort};
use crate::sizes::Sizes;
use crate::socket::{Hold, PortSocket, SocketMode};
use crate::sys;
use crate::wait::{Sleeper, Waker};

/// Empty polls between two looks at one port's pending error.
const HEALTH_INTERVAL: u32 = 256;
/// No socket for a port.
const NO_SLOT: u16 = u16::MAX;

/// A worker's sockets over one UMEM. Belongs to one thread at a time.
pub struct XskIo {
    pool: Pool,
    /// By slot; `None` is free or waits for its memory to be reclaimed.
    ports: Vec<Option<Port>>,
    /// Slots in use, in the order they are served.
    active: Vec<u16>,
    /// Slots that may be given out.
    vacant: Vec<u16>,
    /// Port → the slot that transmits for it.
    by_port: Vec<u16>,
    /// Where the next round of receiving begins in `active`.
    turn: usize,
    empty_polls: u32,
    health_turn: usize,
    sizes: Sizes,
    stats: IoStats,
    /// `rx_lost` of ports that are gone.
    rx_lost_before: u64,
    lost_chunks: usize,
    sleeper: Sleeper,
    // Last: the memory's anchor goes after all sockets.
    _hold: Arc<Mutex<Hold>>,
}

/// Losses of one port on the way in, from the kernel.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct PortStats {
    /// No chunk to receive into, or a packet that did not fit.
    pub rx_dropped: u64,
    /// The RX ring was full.
    pub rx_ring_full: u64,
    /// Times the FILL ring was found empty (part of `rx_dropped`).
    pub fill_ring_empty: u64,
    /// Descriptors that the kernel refused; always 0 unless this crate is wrong.
    pub tx_invalid: u64,
    /// Chunks accepted for transmission and not completed.
    pub in_flight: u32,
    /// Chunks given to the kernel for receiving and not seen again.
    pub receiving: u32,
}

/// How full the rings of one port are, all its sockets together.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct RingFill {
    /// Entries that each ring has.
    pub entries: u32,
    /// Chunks in the FILL ring: when it is empty, what arrives is lost.
    pub fill: u32,
    /// Frames in the RX ring.
    pub rx: u32,
    /// Frames in the TX ring and those that wait for a place in it.
    pub tx: u32,
    /// Chunks in the COMPLETION ring.
    pub completion: u32,
}

impl XskIo {
    pub(crate) fn new(pool: Pool, sizes: Sizes, hold: Arc<Mutex<Hold>>) -> Result<Self, OpenError> {
        let sleeper =
            Sleeper::new().map_err(|source| OpenError::System { what: "preparing to sleep", source })?;
        Ok(Self {
            pool,
            ports: Vec::new(),
            active: Vec::new(),
            vacant: Vec::new(),
            by_port: Vec::new(),
            turn: 0,
            empty_polls: 0,
            health_turn: 0,
            sizes,
            stats: IoStats::default(),
            rx_lost_before: 0,
            lost_chunks: 0,
            sleeper,
            _hold: hold,
        })
    }

    /// Takes a socket into service and fills its FILL ring. Several sockets may have the same [`PortId`] (one for
    /// each receive queue); the first of them transmits.
    ///
    /// # Errors
    /// Gives the socket back when there are too many, or the operating system does not let us wait for it.
    pub fn add_port(&mut self, socket: PortSocket) -> Result<(), Box<PortSocket>> {
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None if self.ports.len() < Owner::MAX_SLOTS => {
                self.ports.push(None);
                (self.ports.len() - 1) as u16
            }
            None => return Err(Box::new(socket)),
        };
        if self.sleeper.add(socket.fd, slot).is_err() {
            self.vacant.push(slot);
            return Err(Box::new(socket));
        }
        let mut port = Port::new(socket, Slot(slot), self.sizes.ring);
        port.refill(&mut self.pool);
        let id = usize::from(port.id.0);
        if self.by_port.len() <= id {
            self.by_port.resize(id + 1, NO_SLOT);
        }
        if self.by_port[id] == NO_SLOT {
            self.by_port[id] = slot;
        }
        self.ports[usize::from(slot)] = Some(port);
        self.active.push(slot);
        Ok(())
    }

    /// Takes a port out of service. Frames of it that the caller holds stay valid; those waiting to be transmitted
    /// are lost and counted. [`close`](RetiredPort::close) what is returned on another thread and bring the token to
    /// [`reclaim`](Self::reclaim). `None` when there is no such port.
    pub fn remove_port(&mut self, id: PortId) -> Option<RetiredPort> {
        *self.by_port.get_mut(usize::from(id.0))? = NO_SLOT;
        let mut sockets = Vec::new();
        for place in &mut self.ports {
            let Some(mut port) = place.take_if(|port| port.id == id) else { continue };
            self.sleeper.remove(port.fd);
            port.reap(&mut self.pool);
            for desc in port.pending.drain(..) {
                let last = !desc.has_more_frames();
                self.stats.tx_lost += u64::from(last);
                self.pool.completed(port.slot, &desc);
                port.in_flight -= 1;
            }
            if let Some(partial) = port.partial.take() {
                self.pool.put_chain(partial.head);
            }
            self.rx_lost_before += rx_lost(&port);
            sockets.push(port);
        }
        let ports = &self.ports;
        self.active.retain(|slot| ports[usize::from(*slot)].is_some());
        (!sockets.is_empty()).then_some(RetiredPort { id, sockets })
    }

    /// Puts the memory of a closed port back into the pool. One pass over the owner table: some microseconds.
    pub fn reclaim(&mut self, token: ReclaimToken) {
        for closed in token.closed {
            self.lost_chunks += self.pool.reclaim(closed.slot, closed.lose_tx);
            self.stats.tx_lost += closed.unsent;
            self.vacant.push(closed.slot.0);
        }
    }

    /// Sleeps until a socket has frames, the waker is used, or `timeout` passes (`None`: for ever); sooner if a port
    /// that would not take its frames is due for another attempt. `true` when something happened.
    ///
    /// Call it after [`flush`](PacketIo::flush), when [`recv`](PacketIo::recv) has found nothing for a while.
    ///
    /// # Errors
    /// When the operating system cannot wait.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let mut retry = None;
        for port in self.active.iter().filter_map(|slot| self.ports[usize::from(*slot)].as_ref()) {
            retry = port.retry_ms().map_or(retry, |ms| Some(retry.map_or(ms, |least: u64| least.min(ms))));
        }
        let retry = retry.map(Duration::from_millis);
        let least = match (timeout, retry) {
            (Some(timeout), Some(retry)) => Some(timeout.min(retry)),
            (one, other) => one.or(other),
        };
        let woken = self.sleeper.wait(least)?;
        if let Some(Some(port)) = woken.broken.and_then(|slot| self.ports.get_mut(usize::from(slot))) {
            port.dead = true;
            self.sleeper.remove(port.fd);
        }
        if retry.is_some() {
            for slot in &self.active {
                if let Some(port) = &mut self.ports[usize::from(*slot)] {
                    port.retry_now();
                }
            }
        }
        self.look_after_one();
        Ok(woken.happened)
    }

    /// A handle that ends [`wait`](Self::wait) from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.sleeper.waker()
    }

    /// Ports whose interface is gone. They refuse frames until removed; the others are not disturbed. Found within
    /// some hundred polls, or at once by transmitting.
    pub fn dead_ports(&self) -> impl Iterator<Item = PortId> {
        self.sockets().filter(|port| port.dead).map(|port| port.id)
    }

    /// Looks at every port's health now, instead of one at a time in passing.
    pub fn check_ports(&mut self) {
        for slot in &self.active {
            if let Some(port) = &mut self.ports[usize::from(*slot)] {
                look_after(port);
            }
        }
    }

    /// Losses of one port, asked from the kernel. `None` when there is no such port.
    #[must_use]
    pub fn port_stats(&self, id: PortId) -> Option<PortStats> {
        let mut sum = None;
        for port in self.sockets().filter(|port| port.id == id) {
            let sum: &mut PortStats = sum.get_or_insert_default();
            sum.in_flight += port.in_flight;
            sum.receiving += port.filled;
            if let Ok(stats) = port.rx.fd().xdp_statistics() {
                sum.rx_dropped += stats.rx_dropped();
                sum.rx_ring_full += stats.rx_ring_full();
                sum.fill_ring_empty += stats.rx_fill_ring_empty_descs();
                sum.tx_invalid += stats.tx_invalid_descs();
            }
        }
        sum
    }

    /// How full the port's rings are, without asking the kernel. `None` when there is no such port.
    pub fn ring_fill(&mut self, id: PortId) -> Option<RingFill> {
        let mut sum = None;
        for port in self.ports.iter_mut().flatten().filter(|port| port.id == id) {
            let sum: &mut RingFill = sum.get_or_insert_default();
            let entries = port.ring();
            sum.entries += entries;
            sum.fill += entries.saturating_sub(port.fill.nb_free_exact());
            sum.rx += port.rx.nb_avail_exact();
            sum.tx += entries.saturating_sub(port.tx.nb_free_exact()) + port.pending.len() as u32;
            sum.completion += port.comp.nb_avail_exact();
        }
        sum
    }

    /// How the port's sockets move their bytes. `None` when there is no such port.
    #[must_use]
    pub fn mode(&self, id: PortId) -> Option<SocketMode> {
        self.sockets().find(|port| port.id == id).map(|port| port.mode)
    }

    /// Chunks in the pool. With those of every port ([`PortStats::receiving`], [`PortStats::in_flight`]), those of
    /// frames in the caller's hands, and [`lost_chunks`](Self::lost_chunks), they are all chunks there are.
    #[must_use]
    pub fn free_chunks(&self) -> usize {
        self.pool.free()
    }

    /// Chunks that are never used again because a device may still read them; 0 on virtual interfaces.
    #[must_use]
    pub fn lost_chunks(&self) -> usize {
        self.lost_chunks
    }

    /// The sizes the memory was made with.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    fn sockets(&self) -> impl Iterator<Item = &Port> {
        self.active.iter().filter_map(|slot| self.ports[usize::from(*slot)].as_ref())
    }

    #[inline]
    fn tx_port(&mut self, id: PortId) -> Option<&mut Port> {
        let slot = *self.by_port.get(usize::from(id.0))?;
        self.ports.get_mut(usize::from(slot))?.as_mut()
    }

    /// Asks one port, in turn, whether its interface is gone.
    fn look_after_one(&mut self) {
        if self.active.is_empty() {
            return;
        }
        self.health_turn = (self.health_turn + 1) % self.active.len();
        let slot = usize::from(self.active[self.health_turn]);
        if let Some(port) = &mut self.ports[slot] {
            look_after(port);
        }
    }

    /// One round over the ports, at most `BATCH` descriptors from each. `true` if some port may have more.
    #[inline]
    fn round(&mut self, burst: &mut Burst) -> bool {
        let count = self.active.len();
        let mut more = false;
        for _ in 0..count {
            let room = burst.room();
            if room == 0 {
                return false;
            }
            // The next round begins with the port after the last one served.
            let at = if self.turn < count { self.turn } else { 0 };
            self.turn = at + 1;
            let Some(port) = &mut self.ports[usize::from(self.active[at])] else { continue };
            let received = port.receive(&mut self.pool, burst, room);
            self.stats.rx_frames += received.frames;
            self.stats.rx_bytes += received.bytes;
            more |= received.descs >= BATCH;
        }
        more
    }
}

impl PacketIo for XskIo {
    fn recv(&mut self, burst: &mut Burst) -> Result<(), IoError> {
        let before = burst.len();
        while self.round(burst) {}
        if burst.len() == before {
            self.empty_polls += 1;
            if self.empty_polls >= HEALTH_INTERVAL {
                self.empty_polls = 0;
                self.look_after_one();
            }
        }
        Ok(())
    }

    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.pool.bytes(frame.index())
    }

    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.pool.bytes_mut(frame.index())
    }

    fn for_each_buffer(&self, frame: &Frame, each: &mut dyn FnMut(&[u8])) {
        self.pool.buffers(frame.index()).for_each(each);
    }

    fn alloc(&mut self, port: PortId, len: usize) -> Option<Frame> {
        let Some(index) = self.pool.alloc(len) else {
            self.stats.alloc_failed += 1;
            return None;
        };
        Some(Frame::new(index, len as u32, port))
    }

    fn send(&mut self, port: PortId, mut frame: Frame) -> Result<(), Frame> {
        let chunks = self.pool.chunks(frame.index());
        // An empty descriptor is invalid to the kernel, which would keep its chunk for ever.
        let fits = !frame.is_empty() && chunks <= MAX_CHAIN;
        if !fits || !self.tx_port(port).is_some_and(|port| port.has_room(chunks)) {
            self.stats.tx_refused += 1;
            return Err(frame);
        }
        if let Some(request) = frame.checksum_request()
            && !self.complete_checksum(&mut frame, request)
        {
            self.stats.tx_refused += 1;
            return Err(frame);
        }
        self.stats.tx_frames += 1;
        self.stats.tx_bytes += frame.len() as u64;
        let slot = usize::from(self.by_port[usize::from(port.0)]);
        if let Some(port) = &mut self.ports[slot] {
            port.in_flight += chunks as u32;
            self.pool.give_to_tx(frame.index(), port.slot, &mut port.pending);
        }
        Ok(())
    }

    fn release(&mut self, frame: Frame) {
        self.pool.release(frame.index());
    }

    fn flush(&mut self) -> Result<(), IoError> {
        for slot in &self.active {
            let Some(port) = &mut self.ports[usize::from(*slot)] else { continue };
            if port.in_flight == 0 {
                continue;
            }
            let sent = port.transmit(&mut self.pool);
            self.stats.wakeups += sent.calls;
            self.stats.tx_lost += sent.lost;
            port.reap(&mut self.pool);
        }
        Ok(())
    }

    fn outstanding(&self) -> usize {
        self.pool.outstanding()
    }

    /// Asks the kernel for every port's losses: a system call each, so not for every burst.
    fn stats(&self) -> IoStats {
        let rx_lost = self.rx_lost_before + self.sockets().map(rx_lost).sum::<u64>();
        IoStats { rx_lost, ..self.stats }
    }
}

impl XskIo {
    /// Sums the frame from `request.start` to its end into the field, which holds the pseudo-header's sum. `false` if
    /// the field does not lie in the first buffer.
    fn complete_checksum(&mut self, frame: &mut Frame, request: ChecksumRequest) -> bool {
        let start = usize::from(request.start);
        let field = start + usize::from(request.offset);
        let mut sum = Sum::default();
        let mut first = true;
        for buffer in self.pool.buffers(frame.index()) {
            if first {
                if buffer.len() < field + 2 {
                    return false;
                }
                sum.add(&buffer[start..]);
                first = false;
            } else {
                sum.add(buffer);
            }
        }
        // 0 means "absent" to UDP (RFC 768), and 0xffff is the same number to everybody else.
        let checksum = match !sum.folded() {
            0 => 0xffff,
            other => other,
        };
        self.pool.bytes_mut(frame.index())[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        true
    }
}

impl std::fmt::Debug for XskIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XskIo")
            .field("sizes", &self.sizes)
            .field("sockets", &self.active.len())
            .field("free", &self.pool.free())
            .field("outstanding", &self.pool.outstanding())
            .finish_non_exhaustive()
    }
}

fn look_after(port: &mut Port) {
    // ENETDOWN is left by the kernel when it unbinds the socket of a vanished interface.
    if !port.dead && sys::take_error(port.fd) == Some(libc::ENETDOWN) {
        port.dead = true;
    }
}

fn rx_lost(port: &Port) -> u64 {
    port.rx
        .fd()
        .xdp_statistics()
        .map_or(0, |stats| stats.rx_dropped() + stats.rx_ring_full() + stats.rx_invalid_descs())
}
