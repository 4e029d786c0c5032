//! What [`parse`](crate::parse()) finds: offsets into the frame and header values, decided once.
//!
//! Later stages never index raw bytes by numbers of their own; they use these offsets, which `parse` has checked
//! against the first buffer of the frame.

use crate::addr::{Addr, MacAddr};
use crate::flow_key::FlowKey;
use crate::icmp;

/// IP protocol numbers that the appliance names (IANA "Assigned Internet Protocol Numbers").
pub mod proto {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
}

// Written once and read by every stage: two cache lines, half of the second used.
const _: () = assert!(size_of::<Packet>() <= 96);

/// One frame, understood. `Copy`, no references.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// IPv4 or IPv6.
    Ip(Packet),
    /// An ARP request or reply for IPv4 over Ethernet.
    Arp(Arp),
}

/// An IPv4-over-Ethernet ARP packet (RFC 826).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Arp {
    /// Ethernet source.
    pub eth_src: MacAddr,
    /// Ethernet destination.
    pub eth_dst: MacAddr,
    /// Request (1) or reply (2).
    pub request: bool,
    /// Sender hardware address.
    pub sender_mac: MacAddr,
    /// Sender protocol address.
    pub sender: Addr,
    /// Target protocol address.
    pub target: Addr,
}

/// An IP packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Ethernet source.
    pub eth_src: MacAddr,
    /// Ethernet destination.
    pub eth_dst: MacAddr,
    /// IP source.
    pub src: Addr,
    /// IP destination.
    pub dst: Addr,
    /// Start of the IP header (14 without VLAN tags).
    pub l3: u16,
    /// Start of the L4 header; for a later fragment, start of the fragment's payload.
    pub l4: u16,
    /// Start of the L4 payload; equals `l4` where `l4_header` is [`L4::Fragment`] or [`L4::Other`].
    pub payload: u16,
    /// End of the IP datagram, counted from the start of the frame. Ethernet padding lies beyond it.
    pub end: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Protocol of the L4 header (of the whole datagram, for fragments).
    pub proto: u8,
    /// IPv4 "don't fragment"; always true for IPv6.
    pub dont_fragment: bool,
    /// Present if the packet is a fragment (first or later). An IPv6 atomic fragment is none.
    pub fragment: Option<Fragment>,
    /// What stands at `l4`.
    pub l4_header: L4,
}

/// Fragmentation fields.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Identification.
    pub id: u32,
    /// Offset in bytes.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
}

/// The L4 header's values.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum L4 {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
    },
    /// ICMP or ICMPv6 (told apart by [`Packet::proto`]).
    Icmp(Icmp),
    /// SCTP.
    Sctp(Sctp),
    /// A later fragment: the L4 header is in another packet.
    Fragment,
    /// A protocol that we do not look into.
    Other,
}

/// TCP header values. Options that matter are read for SYN segments and, for timestamps, always.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Tcp {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window as sent, unscaled.
    pub window: u16,
    /// Payload length in bytes.
    pub payload_len: u32,
    /// Window scale option (SYN only).
    pub window_scale: Option<u8>,
    /// Maximum segment size option (SYN only).
    pub mss: Option<u16>,
    /// SACK-permitted option (SYN only).
    pub sack_permitted: bool,
}

/// TCP flag bits as they stand in the header's byte 13.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// URG.
    pub const URG: u8 = 0x20;

    /// Whether FIN is set.
    #[must_use]
    pub const fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }
    /// Whether SYN is set.
    #[must_use]
    pub const fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }
    /// Whether RST is set.
    #[must_use]
    pub const fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }
    /// Whether ACK is set.
    #[must_use]
    pub const fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }
}

/// ICMP header values.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Identifier of an echo request or reply; zero otherwise. What an error is about says
    /// [`icmp::about`](crate::icmp::about()).
    pub echo_id: u16,
}

/// SCTP header values.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Sctp {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Verification tag.
    pub tag: u32,
    /// Type of the first chunk (RFC 9260 §3.2).
    pub first_chunk: u8,
}

impl Packet {
    /// The five-tuple. `None` for a later fragment, whose ports are in another packet.
    #[must_use]
    pub fn flow_key(&self) -> Option<FlowKey> {
        let (src_port, dst_port) = match self.l4_header {
            L4::Tcp(t) => (t.src_port, t.dst_port),
            L4::Udp { src_port, dst_port } => (src_port, dst_port),
            L4::Sctp(s) => (s.src_port, s.dst_port),
            L4::Icmp(i) => icmp::echo_ports(self.proto, i.kind, i.echo_id),
            L4::Fragment => return None,
            L4::Other => (0, 0),
        };
        Some(FlowKey { src: self.src, dst: self.dst, src_port, dst_port, proto: self.proto })
    }

    /// Whether this is an ICMP message about another packet: see [`icmp::about`](crate::icmp::about()).
    #[must_use]
    pub const fn is_icmp_error(&self) -> bool {
        matches!(self.l4_header, L4::Icmp(message) if icmp::is_error(self.proto, message.kind))
    }

    /// Length of the IP datagram in bytes, headers included.
    #[must_use]
    pub fn ip_len(&self) -> u32 {
        self.end - u32::from(self.l3)
    }
}
