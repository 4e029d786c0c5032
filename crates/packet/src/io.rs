//! The seam between rings and logic.
//!
//! Everything above this trait is safe Rust that runs without root; everything below it moves buffers and knows
//! no protocol. A backend is done when `conformance` passes on it.

use crate::frame::{Burst, Frame, PortId};

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod mem;
pub mod pcap;

/// What can go wrong below the seam. Loss of single frames is not an error: it is counted in [`IoStats`].
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// A system call of the backend failed.
    #[error("{what}: {source}")]
    System {
        /// What was being done, in words.
        what: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The capture being read is damaged.
    #[error("capture: {0}")]
    Capture(String),
}

/// Counters of one backend, summed over its ports. All count frames since the start.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct IoStats {
    /// Handed up by `recv`.
    pub rx_frames: u64,
    /// Bytes of those.
    pub rx_bytes: u64,
    /// Accepted by `send`.
    pub tx_frames: u64,
    /// Bytes of those.
    pub tx_bytes: u64,
    /// Handed back by `send`: no room, or no such port.
    pub tx_refused: u64,
    /// Accepted by `send`, then reported lost by the kernel (`EBUSY`, port gone while queued).
    pub tx_lost: u64,
    /// Lost before they reached us: ring full, no fill buffer, frame larger than a buffer.
    pub rx_lost: u64,
    /// `alloc` found no free buffer.
    pub alloc_failed: u64,
    /// System calls made to transmit.
    pub wakeups: u64,
    /// Of those accepted by `send`: left as part of a larger segment.
    pub tx_joined: u64,
}

impl std::ops::AddAssign for IoStats {
    fn add_assign(&mut self, other: Self) {
        let Self {
            rx_frames,
            rx_bytes,
            tx_frames,
            tx_bytes,
            tx_refused,
            tx_lost,
            rx_lost,
            alloc_failed,
            wakeups,
            tx_joined,
        } = other;
        self.rx_frames += rx_frames;
        self.rx_bytes += rx_bytes;
        self.tx_frames += tx_frames;
        self.tx_bytes += tx_bytes;
        self.tx_refused += tx_refused;
        self.tx_lost += tx_lost;
        self.rx_lost += rx_lost;
        self.alloc_failed += alloc_failed;
        self.wakeups += wakeups;
        self.tx_joined += tx_joined;
    }
}

/// A set of ports that frames arrive on and leave by, over one memory.
///
/// Ownership: a frame returned by `recv` or `alloc` belongs to the caller until it is passed to `send` (and
/// accepted) or to `release`. Using a stale handle panics in every build; it never reads memory that the kernel
/// may be writing.
pub trait PacketIo {
    /// Adds arrived frames to `burst`, at most as many as it has room for. Never blocks; serves the ports fairly.
    ///
    /// # Errors
    /// Only when the backend as a whole is unusable. A port that disappears is not an error.
    fn recv(&mut self, burst: &mut Burst) -> Result<(), IoError>;

    /// The bytes of the first buffer: at least the first 1,500 bytes of the frame, or all of it if shorter.
    fn bytes(&self, frame: &Frame) -> &[u8];

    /// The same, to be changed in place.
    fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8];

    /// Calls `each` with the bytes of every buffer of the frame, in order; together they are `frame.len()` bytes.
    fn for_each_buffer(&self, frame: &Frame, each: &mut dyn FnMut(&[u8]));

    /// A fresh frame of `len` zeroed bytes (one buffer), or `None` when there is no memory or it does not fit.
    fn alloc(&mut self, port: PortId, len: usize) -> Option<Frame>;

    /// A frame of these bytes, over several buffers where the backend can; `None` as for [`alloc`](Self::alloc).
    fn copy_in(&mut self, port: PortId, parts: [&[u8]; 2]) -> Option<Frame> {
        let [first, second] = parts;
        let mut frame = self.alloc(port, first.len() + second.len())?;
        let (head, tail) = self.bytes_mut(&mut frame).split_at_mut(first.len());
        head.copy_from_slice(first);
        tail.copy_from_slice(second);
        Some(frame)
    }

    /// Queues a frame for transmission on `port`. It leaves at the latest at the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// Gives the frame back when the port has no room or does not exist.
    fn send(&mut self, port: PortId, frame: Frame) -> Result<(), Frame>;

    /// Returns the frame's buffers to the pool.
    fn release(&mut self, frame: Frame);

    /// Pushes queued frames out (one wakeup for each port that has some) and takes back completed ones.
    ///
    /// # Errors
    /// As for [`recv`](Self::recv).
    fn flush(&mut self) -> Result<(), IoError>;

    /// Frames handed out and neither sent nor released. Zero at rest.
    fn outstanding(&self) -> usize;

    /// Counters since the start.
    fn stats(&self) -> IoStats;
}
