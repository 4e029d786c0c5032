//! The packet path: all sockets of one worker behind [`PacketIo`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use packet::checksum::Sum;
use packet::{Burst, ChecksumRequest, Frame, IoError, IoStats, PacketIo, PortId};

use crate::error::OpenError;
use crate::owner::{Owner, Slot};
use crate::pool::Pool;
use crate::port::{MAX_CHAIN, Port};
use crate::retire::{ReclaimToken, RetiredPort};
use crate::sizes::Sizes;
use crate::socket::{Hold, PortSocket, SocketMode};
use crate::sys;
use crate::wait::{Sleeper, Waker};

/// Empty polls between two looks at one port's pending error.
const HEALTH_INTERVAL: u32 = 256;
/// Frames that pass a watched socket before it is watched no longer. The kernel looks after whoever watches at each frame
/// that arrives and at each that was transmitted (100 to 150 ns each time), and to watch again before the next sleep takes
/// about as long as two of these.
const BUSY: u32 = 64;
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
    /// Slots with chunks in transmission, which `flush` looks after.
    sending: Vec<u16>,
    /// Slots that are to be watched before the next sleep.
    unwatched: Vec<u16>,
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
    _hold: Arc<Hold>,
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
    pub(crate) fn new(pool: Pool, sizes: Sizes, hold: Arc<Hold>) -> Result<Self, OpenError> {
        let sleeper =
            Sleeper::new().map_err(|source| OpenError::System { what: "preparing to sleep", source })?;
        Ok(Self {
            pool,
            ports: Vec::new(),
            active: Vec::new(),
            vacant: Vec::new(),
            by_port: Vec::new(),
            sending: Vec::new(),
            unwatched: Vec::new(),
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
    /// Gives the socket back when there are too many.
    pub fn add_port(&mut self, socket: PortSocket) -> Result<(), Box<PortSocket>> {
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None if self.ports.len() < Owner::MAX_SLOTS => {
                self.ports.push(None);
                (self.ports.len() - 1) as u16
            }
            None => return Err(Box::new(socket)),
        };
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
        self.unwatched.push(slot);
        // So that neither grows while frames pass.
        self.sending.reserve(self.active.len());
        self.unwatched.reserve(self.active.len());
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
            self.sleeper.remove(port.fd());
            port.reap(&mut self.pool);
            self.stats.tx_lost += port.abandon(&mut self.pool);
            if let Some(partial) = port.partial.take() {
                self.pool.put_chain(partial.head);
            }
            self.rx_lost_before += rx_lost(&port);
            sockets.push(port);
        }
        let ports = &self.ports;
        for list in [&mut self.active, &mut self.sending, &mut self.unwatched] {
            list.retain(|slot| ports[usize::from(*slot)].is_some());
        }
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
        self.watch_all()?;
        let woken = self.sleeper.wait(least)?;
        if let Some(Some(port)) = woken.broken.and_then(|slot| self.ports.get_mut(usize::from(slot))) {
            port.dead = true;
            port.watched = false;
            self.sleeper.remove(port.fd());
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

    /// Lets every living socket wake the next sleeper.
    fn watch_all(&mut self) -> io::Result<()> {
        while let Some(slot) = self.unwatched.last().copied() {
            if let Some(port) = self.ports[usize::from(slot)].as_mut().filter(|port| !port.dead) {
                self.sleeper.add(port.fd(), slot)?;
                port.watched = true;
                port.passed = 0;
            }
            self.unwatched.pop();
        }
        Ok(())
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
            if let Ok(stats) = port.xsk.statistics() {
                sum.rx_dropped += stats.rx_dropped;
                sum.rx_ring_full += stats.rx_ring_full;
                sum.fill_ring_empty += stats.fill_ring_empty;
                sum.tx_invalid += stats.tx_invalid;
            }
        }
        sum
    }

    /// How full the port's rings are, without asking the kernel. `None` when there is no such port.
    #[must_use]
    pub fn ring_fill(&self, id: PortId) -> Option<RingFill> {
        let mut sum = None;
        for port in self.sockets().filter(|port| port.id == id) {
            let sum: &mut RingFill = sum.get_or_insert_default();
            let entries = port.ring();
            sum.entries += entries;
            sum.fill += port.xsk.fill.unread();
            sum.rx += port.xsk.rx.available();
            sum.tx += port.xsk.tx.waiting();
            sum.completion += port.xsk.completion.available();
        }
        sum
    }

    /// How the port's sockets move their bytes. `None` when there is no such port.
    #[must_use]
    pub fn mode(&self, id: PortId) -> Option<SocketMode> {
        self.sockets().find(|port| port.id == id).map(|port| port.mode)
    }

    /// Whether checksums that are asked for are left to the kernel on the way out of this port.
    #[must_use]
    pub fn offloads_checksums(&self, id: PortId) -> bool {
        self.sockets().find(|port| port.id == id).is_some_and(|port| port.sums)
    }

    /// Frames received and sent since the start. Asks no socket, so it costs nothing.
    #[must_use]
    pub const fn frames(&self) -> [u64; 2] {
        [self.stats.rx_frames, self.stats.tx_frames]
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
            more |= received.more;
            port.passed = port.passed.wrapping_add(received.frames as u32);
            if port.watched && port.passed >= BUSY {
                port.watched = false;
                self.sleeper.remove(port.fd());
                self.unwatched.push(self.active[at]);
            }
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

    fn copy_in(&mut self, port: PortId, parts: [&[u8]; 2]) -> Option<Frame> {
        let Some(index) = self.pool.copy_in(parts, MAX_CHAIN) else {
            self.stats.alloc_failed += 1;
            return None;
        };
        Some(Frame::new(index, (parts[0].len() + parts[1].len()) as u32, port))
    }

    fn send(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        let chunks = self.pool.chunks(frame.index());
        let slot = self.by_port.get(usize::from(port.0)).copied().unwrap_or(NO_SLOT);
        let Some(Some(port)) = self.ports.get_mut(usize::from(slot)) else {
            self.stats.tx_refused += 1;
            return Err(frame);
        };
        // An empty descriptor is invalid to the kernel, which would keep its chunk for ever.
        let fits = !frame.is_empty() && chunks <= MAX_CHAIN && port.has_room(chunks);
        let summed = fits
            && frame.checksum_request().is_none_or(|request| {
                if port.sums {
                    self.pool.ask_for_checksum(frame.index(), request)
                } else {
                    complete_checksum(&mut self.pool, frame.index(), request)
                }
            });
        if !summed {
            self.stats.tx_refused += 1;
            return Err(frame);
        }
        self.stats.tx_frames += 1;
        self.stats.tx_bytes += frame.len() as u64;
        let sent = port.accept(&mut self.pool, &frame, chunks);
        self.stats.wakeups += sent.calls;
        self.stats.tx_lost += sent.lost;
        self.stats.tx_joined += sent.joined;
        if !port.listed {
            port.listed = true;
            self.sending.push(slot);
        }
        Ok(())
    }

    fn release(&mut self, frame: Frame) {
        self.pool.release(frame.index());
    }

    fn flush(&mut self) -> Result<(), IoError> {
        let (ports, pool, stats) = (&mut self.ports, &mut self.pool, &mut self.stats);
        let (sleeper, unwatched) = (&self.sleeper, &mut self.unwatched);
        self.sending.retain(|slot| {
            let Some(port) = &mut ports[usize::from(*slot)] else { return false };
            let sent = port.flush(pool);
            stats.wakeups += sent.calls;
            stats.tx_lost += sent.lost;
            stats.tx_joined += sent.joined;
            port.reap(pool);
            if port.watched && port.passed >= BUSY {
                port.watched = false;
                sleeper.remove(port.fd());
                unwatched.push(*slot);
            }
            port.listed = port.in_flight > 0;
            port.listed
        });
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

/// Sums the frame from `request.start` to its end into the field, which holds the pseudo-header's sum. `false` if
/// the field does not lie in the first buffer.
fn complete_checksum(pool: &mut Pool, head: u32, request: ChecksumRequest) -> bool {
    let start = usize::from(request.start);
    let field = start + usize::from(request.offset);
    let mut sum = Sum::default();
    let mut first = true;
    for buffer in pool.buffers(head) {
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
    pool.bytes_mut(head)[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    true
}

fn look_after(port: &mut Port) {
    // ENETDOWN is left by the kernel when it unbinds the socket of a vanished interface.
    if !port.dead && sys::take_error(port.fd()) == Some(libc::ENETDOWN) {
        port.dead = true;
    }
}

fn rx_lost(port: &Port) -> u64 {
    port.xsk.statistics().map_or(0, |stats| stats.rx_dropped + stats.rx_ring_full + stats.rx_invalid)
}
