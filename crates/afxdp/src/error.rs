//! What can go wrong while sockets are opened. On the packet path errors are counters.

use std::io;

/// Why a UMEM or a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The memory could not be registered (locked-memory limit, missing capability, no AF_XDP in the kernel).
    #[error("registering {chunks} chunks of packet memory: {source}")]
    Umem {
        /// How many chunks of 4 KiB.
        chunks: u32,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The private interface that keeps the UMEM shareable could not be made.
    #[error("making the private anchor interface: {0}")]
    Anchor(#[source] io::Error),
    /// The name is not one that an interface can have.
    #[error("{0:?} cannot be an interface name")]
    Name(String),
    /// The interface is gone, or the name now belongs to another one.
    #[error("interface {interface} has index {found:?}, not {wanted}")]
    Changed {
        /// The name.
        interface: String,
        /// The index that was expected.
        wanted: u32,
        /// The index it has now, if it exists.
        found: Option<u32>,
    },
    /// The kernel refused the bind (after retries, where another socket still held the queue).
    #[error("binding to {interface} queue {queue}: {source}")]
    Bind {
        /// The interface.
        interface: String,
        /// The receive queue.
        queue: u32,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// This queue of this interface is already open on this UMEM.
    #[error("{interface} queue {queue} is already open")]
    AlreadyOpen {
        /// The interface.
        interface: String,
        /// The receive queue.
        queue: u32,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// Whether the queue simply does not exist: a device may have fewer queues in use than it could have, and the
    /// kernel answers `EINVAL` for the others. Such a queue receives nothing, so it needs no socket.
    #[must_use]
    pub fn is_missing_queue(&self) -> bool {
        matches!(self, Self::Bind { queue: 1.., source, .. } if source.raw_os_error() == Some(libc::EINVAL))
    }
}
