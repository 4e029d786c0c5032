//! The five-tuple: directed, canonical, hashable.

use crate::addr::Addr;

/// Relative to who spoke first on a connection.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Leg {
    /// Same direction as the first packet.
    Original,
    /// Against it.
    Reply,
}

impl Leg {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }

    /// 0 for the original leg, 1 for the reply leg: an index into per-leg pairs.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Source, destination, protocol. For ICMP echo the port fields hold the identifier in a form in which a reply is its
/// request reversed ([`icmp::echo_ports`](crate::icmp::echo_ports())); for protocols without ports they are zero.
///
/// Aligned to eight bytes: with the sixteen of its addresses, an entry of the connection table would not fit two cache lines.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C, packed(8))]
pub struct FlowKey {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// IP protocol number (the last next-header in IPv6).
    pub proto: u8,
}

impl FlowKey {
    /// The same flow seen from the other end.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            proto: self.proto,
        }
    }

    /// The form both directions share (lower end first), and whether `self` had to be turned round for it.
    #[must_use]
    pub fn canonical(self) -> (Self, bool) {
        if (self.src, self.src_port) <= (self.dst, self.dst_port) {
            (self, false)
        } else {
            (self.reversed(), true)
        }
    }
}

const _: () = assert!(size_of::<FlowKey>() == 40);
