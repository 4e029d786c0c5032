//! Stage 2: what kind of packet is this, and may it come from where it came from?
//!
//! Refuses before anything else looks: spoofed sources, groups, messages that only routers send. Looks at the
//! packet and the port table, never at connections or policy.

use crate::ports::{Port, PortKind, PortTable};
use flowlog::DropReason;
use packet::packet::proto;
use packet::{Addr, Arp, Icmp, L4, Packet, Parsed};

/// What the pipeline shall do next.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Class {
    /// Find or create its connection.
    Track,
    /// Answer an ARP request with our own address.
    AnswerArp,
    /// Answer a neighbour solicitation with our own address.
    AnswerNeighbour,
    /// Not for us and not for anyone: link-local housekeeping of the pod's kernel (duplicate address detection,
    /// router solicitations, multicast listener reports, gratuitous ARP).
    Ignore,
    /// Drop.
    Refuse(DropReason),
}

/// ICMPv6 types that never leave a link (RFC 4861, RFC 3810).
mod icmpv6 {
    pub(super) const MLD_QUERY: u8 = 130;
    pub(super) const MLD_DONE: u8 = 132;
    pub(super) const ROUTER_SOLICITATION: u8 = 133;
    pub(super) const ROUTER_ADVERTISEMENT: u8 = 134;
    pub(super) const NEIGHBOUR_SOLICITATION: u8 = 135;
    pub(super) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    pub(super) const REDIRECT: u8 = 137;
    pub(super) const MLD2_REPORT: u8 = 143;
}

/// ICMPv4 types that only routers send, or that nobody has sent for decades.
const ICMPV4_FORBIDDEN: [u8; 3] = [5, 9, 10];

/// Sorts one parsed frame that arrived on `port`.
#[must_use]
#[inline]
pub fn classify(parsed: &Parsed, port: &Port, ports: &PortTable) -> Class {
    match parsed {
        Parsed::Arp(arp) => classify_arp(arp, port),
        Parsed::Ip(packet) => classify_ip(packet, port, ports),
    }
}

#[inline(never)]
fn classify_arp(arp: &Arp, port: &Port) -> Class {
    if arp.eth_src != port.peer_mac || arp.sender_mac != port.peer_mac {
        return Class::Refuse(DropReason::InvalidSource);
    }
    let PortKind::Pod { addrs, .. } = &port.kind else {
        // The host's kernel asks for pods and gateways; its own announcements are of no interest.
        return if arp.request && arp.sender != arp.target { Class::AnswerArp } else { Class::Ignore };
    };
    if !arp.request || arp.sender == arp.target {
        return Class::Ignore;
    }
    // RFC 5227 §2.1.1: a probe has sender 0.0.0.0 and must not be answered for the pod's own address.
    let probe = arp.sender == Addr::v4([0; 4]);
    if addrs.contains(&arp.target) {
        return Class::Ignore;
    }
    if !probe && !addrs.contains(&arp.sender) {
        return Class::Refuse(DropReason::InvalidSource);
    }
    Class::AnswerArp
}

#[inline]
fn classify_ip(packet: &Packet, port: &Port, ports: &PortTable) -> Class {
    if let L4::Icmp(icmp) = packet.l4_header
        && let Some(class) = classify_icmp(packet, icmp, port)
    {
        return class;
    }
    match &port.kind {
        PortKind::Pod { endpoint: None, .. } => return Class::Refuse(DropReason::EndpointNotReady),
        PortKind::Pod { .. } => {}
        // What a local pod sends comes from its own port, nowhere else.
        PortKind::Host if ports.is_local_pod(packet.src) => {
            return Class::Refuse(DropReason::InvalidSource);
        }
        PortKind::Host => {}
    }
    if !port.owns_source(packet) {
        return Class::Refuse(foreign_source(packet, port));
    }
    if packet.eth_dst != port.mac || !packet.dst.is_forwardable() {
        return Class::Refuse(DropReason::UnsupportedDestination);
    }
    match packet.l4_header {
        L4::Icmp(icmp) if packet.proto == proto::ICMP && ICMPV4_FORBIDDEN.contains(&icmp.kind) => {
            return Class::Refuse(DropReason::ForbiddenIcmp);
        }
        L4::Other => return Class::Refuse(DropReason::UnknownL4),
        _ => {}
    }
    if packet.ttl <= 1 {
        return Class::Refuse(DropReason::TtlExceeded);
    }
    Class::Track
}

/// A kernel speaks from fe80:: to groups on its own (MLD, mDNS, DHCPv6): refused, but no spoofing.
#[cold]
fn foreign_source(packet: &Packet, port: &Port) -> DropReason {
    if packet.src.is_link_local() && packet.eth_src == port.peer_mac {
        DropReason::UnsupportedDestination
    } else {
        DropReason::InvalidSource
    }
}

/// ICMPv6 that belongs to the link: answered or ignored here, never forwarded. `None` for everything else.
#[inline(never)]
fn classify_icmp(packet: &Packet, icmp: Icmp, port: &Port) -> Option<Class> {
    if packet.proto != proto::ICMPV6 {
        return None;
    }
    let link_type = matches!(icmp.kind, icmpv6::MLD_QUERY..=icmpv6::REDIRECT | icmpv6::MLD2_REPORT);
    if !link_type {
        return None;
    }
    if packet.eth_src != port.peer_mac {
        return Some(Class::Refuse(DropReason::InvalidSource));
    }
    Some(match icmp.kind {
        icmpv6::REDIRECT | icmpv6::ROUTER_ADVERTISEMENT => Class::Refuse(DropReason::ForbiddenIcmp),
        icmpv6::NEIGHBOUR_SOLICITATION => {
            // RFC 4861 §7.1.1: hop limit 255 proves that it was not forwarded. Duplicate address detection
            // (source ::, RFC 4862 §5.4) gets no answer: nobody else has the pod's address.
            if packet.ttl != 255 || icmp.code != 0 {
                Class::Refuse(DropReason::NeighbourRefused)
            } else if packet.src == Addr::v6([0; 16]) {
                Class::Ignore
            } else if packet.src.is_link_local() || port.owns_source(packet) {
                Class::AnswerNeighbour
            } else {
                Class::Refuse(DropReason::InvalidSource)
            }
        }
        icmpv6::ROUTER_SOLICITATION
        | icmpv6::NEIGHBOUR_ADVERTISEMENT
        | icmpv6::MLD_QUERY..=icmpv6::MLD_DONE
        | icmpv6::MLD2_REPORT => Class::Ignore,
        _ => return None,
    })
}
