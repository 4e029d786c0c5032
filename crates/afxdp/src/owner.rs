//! One word a chunk: who may touch it.

/// The owner of a chunk. Sixteen bits, because a node can have more ports than a byte can number.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) struct Owner(u16);

/// A socket's place in the worker's table; reused only after its chunks were reclaimed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Slot(pub(crate) u16);

impl Owner {
    /// In the pool.
    pub(crate) const FREE: Self = Self(0);
    /// The first chunk of a frame that the caller holds.
    pub(crate) const USER: Self = Self(1);
    /// A further chunk of a frame that the caller holds, or of one that has not arrived completely.
    pub(crate) const USER_REST: Self = Self(2);
    /// Never to be used again: a device may still read it.
    pub(crate) const LOST: Self = Self(3);

    /// The first chunk of a frame that was accepted for transmission and is in no ring yet.
    pub(crate) const HELD: Self = Self(4);

    const FILL: u16 = 0x4000;
    const TX: u16 = 0x8000;

    /// Sockets that can exist at a time.
    pub(crate) const MAX_SLOTS: usize = 0x4000;

    /// Given to the kernel to receive into: in the FILL ring, being written, or in the RX ring.
    pub(crate) fn fill(slot: Slot) -> Self {
        Self(Self::FILL | slot.0)
    }

    /// Accepted for transmission: waiting, in the TX ring, or not yet completed.
    pub(crate) fn tx(slot: Slot) -> Self {
        Self(Self::TX | slot.0)
    }

    /// Whether the chunk is in the hands of the socket in `slot`.
    pub(crate) fn is_kernel(self, slot: Slot) -> bool {
        self == Self::fill(slot) || self == Self::tx(slot)
    }
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("Free"),
            1 => f.write_str("User"),
            2 => f.write_str("UserRest"),
            3 => f.write_str("Lost"),
            4 => f.write_str("Held"),
            word if word & Self::TX != 0 => write!(f, "Tx({})", word & !Self::TX),
            word => write!(f, "Fill({})", word & !Self::FILL),
        }
    }
}
