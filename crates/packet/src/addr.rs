//! Addresses as plain values: one 16-byte form for both families, so that keys compare and hash in one way.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Prefix of an IPv4 address in its mapped form, `::ffff:0:0/96` (RFC 4291 §2.5.5.2).
const V4_MAPPED: u128 = 0xffff_0000_0000;

/// An IPv4 or IPv6 address. IPv4 is kept in its mapped form; `parse` refuses IPv6 packets that carry such an
/// address on the wire, so the two never mix.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Addr(pub u128);

impl Addr {
    /// From the four bytes of an IPv4 header field.
    #[must_use]
    pub const fn v4(bytes: [u8; 4]) -> Self {
        Self(V4_MAPPED | u32::from_be_bytes(bytes) as u128)
    }

    /// From the sixteen bytes of an IPv6 header field.
    #[must_use]
    pub const fn v6(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Whether this is an IPv4 address.
    #[must_use]
    pub const fn is_v4(self) -> bool {
        // By halves: as one number of 128 bits it takes more steps.
        (self.0 >> 64) as u64 | (self.0 as u64 ^ V4_MAPPED as u64) >> 32 == 0
    }

    /// The IPv4 address as a number, if it is one.
    #[must_use]
    pub const fn as_v4(self) -> Option<u32> {
        if self.is_v4() { Some(self.0 as u32) } else { None }
    }

    /// The form of the standard library.
    #[must_use]
    pub const fn to_ip(self) -> IpAddr {
        match self.as_v4() {
            Some(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4)),
            None => IpAddr::V6(Ipv6Addr::from_bits(self.0)),
        }
    }

    /// Whether the address names a group (224.0.0.0/4, 255.255.255.255, ff00::/8) and not one host.
    #[must_use]
    pub const fn is_multicast_or_broadcast(self) -> bool {
        match self.as_v4() {
            Some(v4) => v4 >> 28 == 0xe || v4 == u32::MAX,
            None => self.0 >> 120 == 0xff,
        }
    }

    /// Whether a packet to it may be sent on: neither a group nor an address of one link.
    #[must_use]
    #[inline]
    pub const fn is_forwardable(self) -> bool {
        match self.as_v4() {
            Some(v4) => v4 >> 28 != 0xe && v4 != u32::MAX && v4 >> 16 != 0xa9fe,
            None => self.0 >> 120 != 0xff && self.0 >> 118 != 0x3fa,
        }
    }

    /// Whether the address is only valid on one link (169.254.0.0/16, fe80::/10).
    #[must_use]
    pub const fn is_link_local(self) -> bool {
        match self.as_v4() {
            Some(v4) => v4 >> 16 == 0xa9fe,
            None => self.0 >> 118 == 0x3fa,
        }
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ip().fmt(f)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An Ethernet address.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether the group bit is set (multicast or broadcast).
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
