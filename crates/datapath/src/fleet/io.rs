//! A backend whose ports are shared out: what leaves by another worker's port is handed to that worker.
//!
//! Frames keep their order for each pair of workers. The owner of the port puts them on its own transmit ring when it
//! polls next; what finds no room there is lost and counted, as a frame is that a port's own worker cannot send.

use super::mailbox::{Inbox, Outbox, Taken};
use super::{Ends, Shared};
use crate::stats::MAX_PORTS;
use packet::{Burst, Frame, IoError, IoStats, PacketIo, PortId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Frames of others that are sent in one poll, from each of them: so many bursts do not delay our own for long.
const SENDS_PER_POLL: usize = 4 * packet::BURST_LEN;

const NOBODY: u8 = u8::MAX;

/// Which worker has the sockets of a port. Ports that nobody has are tried on the spot.
#[derive(Clone, Debug)]
pub struct PortOwners(Arc<[AtomicU8]>);

impl Default for PortOwners {
    fn default() -> Self {
        Self((0..MAX_PORTS).map(|_| AtomicU8::new(NOBODY)).collect())
    }
}

impl PortOwners {
    /// The port's sockets are that worker's.
    pub fn assign(&self, port: PortId, worker: usize) {
        if let Some(owner) = self.0.get(usize::from(port.0)) {
            owner.store(u8::try_from(worker).unwrap_or(NOBODY), Ordering::Relaxed);
        }
    }

    fn of(&self, port: PortId) -> u8 {
        self.0.get(usize::from(port.0)).map_or(NOBODY, |owner| owner.load(Ordering::Relaxed))
    }
}

/// One worker's rings for frames to be sent.
#[derive(Debug)]
pub struct Wires {
    me: usize,
    shared: Arc<Shared>,
    owners: PortOwners,
    to: Vec<Option<Outbox>>,
    from: Vec<Option<Inbox>>,
    lost: u64,
}

impl Wires {
    pub(super) fn new(
        me: usize,
        shared: &Arc<Shared>,
        owners: PortOwners,
        ends: Ends<Outbox, Inbox>,
    ) -> Self {
        Self { me, shared: Arc::clone(shared), owners, to: ends.to, from: ends.from, lost: 0 }
    }
}

/// The backend `I` of one worker, and the way to the others' ports, if there are others.
#[derive(Debug)]
pub struct FleetIo<I> {
    inner: I,
    wires: Option<Wires>,
}

impl<I: PacketIo> FleetIo<I> {
    /// `inner` has the ports that are this worker's.
    #[must_use]
    pub fn new(inner: I, wires: Wires) -> Self {
        Self { inner, wires: Some(wires) }
    }

    /// All ports are this worker's.
    #[must_use]
    pub fn alone(inner: I) -> Self {
        Self { inner, wires: None }
    }

    /// Whether others gave us frames for our ports that were not sent yet. To be asked after
    /// [`Member::rest`](super::Member::rest), before the worker sleeps.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.wires.as_ref().is_some_and(|wires| wires.from.iter().flatten().any(|inbox| !inbox.is_empty()))
    }

    /// Frames of others that were taken for our ports since the start.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.wires.as_ref().map_or(0, |wires| wires.from.iter().flatten().map(|inbox| inbox.count).sum())
    }

    /// The worker's own backend.
    pub fn inner_mut(&mut self) -> &mut I {
        &mut self.inner
    }

    /// The worker's own backend, to look at.
    #[must_use]
    pub fn inner(&self) -> &I {
        &self.inner
    }

    /// Sends what others gave us for our ports.
    fn send_for_others(&mut self) {
        let Self { inner, wires: Some(wires) } = self else { return };
        for (from, inbox) in wires.from.iter_mut().enumerate() {
            let Some(inbox) = inbox else { continue };
            let before = inbox.count;
            for _ in 0..SENDS_PER_POLL {
                match inbox.take(inner) {
                    None => break,
                    Some(Taken::Lost) => wires.lost += 1,
                    Some(Taken::Frame(frame)) => {
                        let port = frame.port();
                        if let Err(frame) = inner.send(port, frame) {
                            wires.lost += 1;
                            inner.release(frame);
                        }
                    }
                }
            }
            if inbox.count != before {
                let at = wires.shared.between(from, wires.me);
                wires.shared.left[at].0.store(inbox.count, Ordering::Release);
            }
        }
    }
}

impl<I: PacketIo> PacketIo for FleetIo<I> {
    fn recv(&mut self, burst: &mut Burst) -> Result<(), IoError> {
        self.send_for_others();
        self.inner.recv(burst)
    }

    #[inline]
    fn bytes(&self, frame: &Frame) -> &[u8] {
        self.inner.bytes(frame)
    }

    #[inline]
    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.inner.bytes_mut(frame)
    }

    fn for_each_buffer(&self, frame: &Frame, each: &mut dyn FnMut(&[u8])) {
        self.inner.for_each_buffer(frame, each);
    }

    fn alloc(&mut self, port: PortId, len: usize) -> Option<Frame> {
        self.inner.alloc(port, len)
    }

    fn copy_in(&mut self, port: PortId, parts: [&[u8]; 2]) -> Option<Frame> {
        self.inner.copy_in(port, parts)
    }

    fn send(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        let Some(wires) = &mut self.wires else { return self.inner.send(port, frame) };
        let owner = usize::from(wires.owners.of(port));
        let Some(Some(outbox)) = wires.to.get_mut(owner) else {
            return self.inner.send(port, frame);
        };
        if !outbox.put(&self.inner, &frame, port) {
            return Err(frame);
        }
        let at = wires.shared.between(wires.me, owner);
        wires.shared.given[at].0.store(outbox.count, Ordering::Relaxed);
        self.inner.release(frame);
        Ok(())
    }

    fn release(&mut self, frame: Frame) {
        self.inner.release(frame);
    }

    fn flush(&mut self) -> Result<(), IoError> {
        if let Some(wires) = &mut self.wires {
            for (to, outbox) in wires.to.iter_mut().enumerate() {
                if outbox.as_mut().is_some_and(Outbox::flush) {
                    wires.shared.wake(to);
                }
            }
        }
        self.inner.flush()
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding()
    }

    /// Those of the worker's own backend. What others gave us and could not be sent counts as lost on transmission.
    fn stats(&self) -> IoStats {
        let stats = self.inner.stats();
        IoStats { tx_lost: stats.tx_lost + self.wires.as_ref().map_or(0, |wires| wires.lost), ..stats }
    }
}
