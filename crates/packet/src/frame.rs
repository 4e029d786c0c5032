//! Owned frames and bursts of them.

use core::fmt;

/// Frames per burst: the NAPI weight, and what every measured AF_XDP user settled on.
pub const BURST_LEN: usize = 64;

/// One attachment point of the appliance: a pod's host-side veth, the host port, an uplink.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PortId(pub u16);

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Asks the sender to complete an L4 checksum whose field already holds the pseudo-header sum (offsets from the
/// start of the frame, as in `struct xsk_tx_metadata`). A backend without transmit metadata sums in software.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ChecksumRequest {
    /// First byte to sum (the L4 header).
    pub start: u16,
    /// Where the checksum field lies, counted from `start`.
    pub offset: u16,
}

/// A buffer that the appliance owns: an index into its backend's memory, a length, and the port it came from.
///
/// Deliberately neither `Clone` nor `Copy`. Every frame that a backend hands out goes back through exactly one of
/// [`PacketIo::send`](crate::PacketIo::send) and [`PacketIo::release`](crate::PacketIo::release);
/// [`PacketIo::outstanding`](crate::PacketIo::outstanding) counts those that have not. A frame of several buffers
/// (AF_XDP multi-buffer) is one `Frame`: `index` names its first buffer and the backend keeps the chain.
#[must_use = "a frame is sent, held or released; dropping the handle leaks its buffer"]
pub struct Frame {
    index: u32,
    len: u32,
    port: PortId,
    checksum: Option<ChecksumRequest>,
}

impl Frame {
    /// A handle for buffer `index` with `len` bytes that arrived on `port`. Only backends call this.
    pub fn new(index: u32, len: u32, port: PortId) -> Self {
        Self { index, len, port, checksum: None }
    }

    /// The backend's name for the (first) buffer.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Length in bytes over all buffers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The port the frame arrived on (or was allocated for).
    #[must_use]
    pub fn port(&self) -> PortId {
        self.port
    }

    /// Records a new length. Only backends call this.
    pub fn set_len(&mut self, len: u32) {
        self.len = len;
    }

    /// What the sender shall complete, if anything.
    #[must_use]
    pub fn checksum_request(&self) -> Option<ChecksumRequest> {
        self.checksum
    }

    /// Asks for the L4 checksum to be completed when the frame leaves.
    pub fn request_checksum(&mut self, request: ChecksumRequest) {
        self.checksum = Some(request);
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} on {}, {} B)", self.index, self.port, self.len)
    }
}

/// Up to [`BURST_LEN`] frames, in arrival order; allocated once per worker.
#[derive(Debug, Default)]
pub struct Burst {
    frames: Vec<Frame>,
}

impl Burst {
    /// An empty burst with its space reserved.
    #[must_use]
    pub fn new() -> Self {
        Self { frames: Vec::with_capacity(BURST_LEN) }
    }

    /// Frames that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        BURST_LEN - self.frames.len()
    }

    /// Number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Adds a frame; gives it back when the burst is full.
    ///
    /// # Errors
    /// The frame itself, when [`BURST_LEN`] frames are there already.
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.frames.len() == BURST_LEN {
            return Err(frame);
        }
        self.frames.push(frame);
        Ok(())
    }

    /// Looks at the frames in order.
    pub fn iter(&self) -> core::slice::Iter<'_, Frame> {
        self.frames.iter()
    }

    /// Takes the frames out in order; what the caller does not take is leaked, so take all.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Frame> {
        self.frames.drain(..)
    }
}
