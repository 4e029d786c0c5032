//! Ports on their way out: closed by the control thread, their memory then given back to the worker.

use std::time::{Duration, Instant};

use packet::PortId;

use crate::owner::Slot;
use crate::port::Port;
use crate::xsk::CONTINUED;

/// How long a device that reads our pages may take to finish before the socket closes.
const DRAIN: Duration = Duration::from_millis(200);

/// A child between fork and exec still holds a copy of a socket that we close; by then it has let go.
const EXEC_WINDOW: Duration = Duration::from_millis(5);

/// A removed port with its sockets still open. [`close`](Self::close) it away from the packet path (it takes some
/// 10 ms per socket) and bring the token back.
#[must_use = "close it and give the token to XskIo::reclaim, or its memory is never used again"]
pub struct RetiredPort {
    pub(crate) id: PortId,
    pub(crate) sockets: Vec<Port>,
}

/// Proof that a port's sockets are closed, so that the kernel no longer touches their chunks.
#[must_use = "give it to XskIo::reclaim, or the port's memory is never used again"]
#[derive(Debug)]
pub struct ReclaimToken {
    pub(crate) closed: Vec<Closed>,
}

/// One closed socket.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) slot: Slot,
    /// Packets that the kernel never took from the TX ring.
    pub(crate) unsent: u64,
    /// A device may still read chunks that were not completed in time.
    pub(crate) lose_tx: bool,
}

impl RetiredPort {
    /// The port.
    #[must_use]
    pub fn port(&self) -> PortId {
        self.id
    }

    /// Closes the sockets. Blocks for some milliseconds.
    ///
    /// Take them out of the XDP program's socket map first: then nothing can arrive even if a process that was
    /// forked in this very moment keeps a copy of a descriptor open.
    pub fn close(self) -> ReclaimToken {
        let closed = self.sockets.into_iter().map(close).collect();
        std::thread::sleep(EXEC_WINDOW);
        ReclaimToken { closed }
    }
}

impl std::fmt::Debug for RetiredPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RetiredPort({}, {} sockets)", self.id, self.sockets.len())
    }
}

fn close(mut port: Port) -> Closed {
    // The end of each packet that the kernel has not taken.
    let unsent = port.xsk.tx.waiting_values().filter(|desc| desc.options & CONTINUED == 0).count();
    let mut uncompleted = port.in_flight;
    if !port.copies_tx {
        let until = Instant::now() + DRAIN;
        while uncompleted > 0 && Instant::now() < until {
            // Only counted; the chunks stay marked as this slot's until they are reclaimed.
            let count = port.xsk.completion.available();
            port.xsk.completion.advance(count);
            uncompleted = uncompleted.saturating_sub(count);
            if count == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    let closed =
        Closed { slot: port.slot, unsent: unsent as u64, lose_tx: !port.copies_tx && uncompleted > 0 };
    // Closing waits for every reader of the socket (synchronize_net), so no copy into our chunks goes on after it.
    drop(port);
    closed
}
