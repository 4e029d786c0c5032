//! The one-line texts of a record, and the names of drop reasons as Hubble prints them.

pub(crate) mod message;

use crate::drop_reason::FIRST_ANOMALY;
use crate::event::FlowEvent;
use crate::record::{CloseInfo, L4, Record, TcpFlagSet};
use l7::Anomaly;
use policy::Direction;

pub(crate) fn of_packet(event: &FlowEvent) -> String {
    let (kind, code) = event.icmp;
    match event.key.proto {
        6 => {
            let set: Vec<_> =
                TcpFlagSet::from(event.tcp_flags).named().iter().filter(|f| f.1).map(|f| f.0).collect();
            format!("TCP Flags: {}", set.join(", "))
        }
        17 => "UDP".to_owned(),
        132 => "SCTP".to_owned(),
        2 => "IGMP".to_owned(),
        112 => "VRRP".to_owned(),
        1 => format!("ICMPv4 {}", icmpv4(kind, code)),
        58 => format!("ICMPv6 {}", icmpv6(kind, code)),
        0 => String::new(),
        other => format!("IP protocol {other}"),
    }
}

pub(crate) fn of_close(close: &CloseInfo) -> String {
    let [out_packets, in_packets] = close.packets;
    let [out_bytes, in_bytes] = close.bytes;
    format!(
        "{out_packets} packets {out_bytes} bytes sent, {in_packets} packets {in_bytes} bytes received, {:.3}s",
        close.duration_ns as f64 / 1e9
    )
}

/// What a policy would have to allow, in words.
pub(crate) fn missing_rule(record: &Record, direction: Direction) -> Option<String> {
    let what = match record.l4.as_ref()? {
        L4::Icmpv4(icmp) => format!("ICMPv4 type {}", icmp.kind),
        L4::Icmpv6(icmp) => format!("ICMPv6 type {}", icmp.kind),
        l4 => format!("{}/{}", l4.ports()?.1, l4.name()),
    };
    Some(no_rule(record, direction, &what))
}

/// That no rule of the side that decided allows `what`.
pub(crate) fn no_rule(record: &Record, direction: Direction, what: &str) -> String {
    let name = |source: bool| {
        let end = if source { record.source.as_ref() } else { record.destination.as_ref() };
        let address = record.ip.as_ref().map(|ip| if source { &ip.source } else { &ip.destination });
        match end {
            Some(end) if !end.pod_name.is_empty() => format!("{}/{}", end.namespace, end.pod_name),
            _ => address.cloned().unwrap_or_default(),
        }
    };
    let (from, to) = (name(true), name(false));
    match direction {
        Direction::Ingress => format!("no ingress rule of {to} allows {what} from {from}"),
        Direction::Egress => format!("no egress rule of {from} allows {what} to {to}"),
    }
}

fn icmpv4(kind: u8, code: u8) -> String {
    icmp_type(false, kind, code).map_or_else(|| format!("{kind}({code})"), str::to_owned)
}

fn icmpv6(kind: u8, code: u8) -> String {
    icmp_type(true, kind, code).map_or_else(|| format!("{kind}({code})"), str::to_owned)
}

/// The name of an ICMP type and code, where it has one.
pub(crate) fn icmp_type(v6: bool, kind: u8, code: u8) -> Option<&'static str> {
    if v6 { icmpv6_type(kind, code) } else { icmpv4_type(kind, code) }
}

fn icmpv4_type(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (0, _) => "EchoReply",
        (8, _) => "EchoRequest",
        (3, 0) => "DestinationUnreachable(Net)",
        (3, 1) => "DestinationUnreachable(Host)",
        (3, 2) => "DestinationUnreachable(Protocol)",
        (3, 3) => "DestinationUnreachable(Port)",
        (3, 4) => "DestinationUnreachable(FragmentationNeeded)",
        (3, 13) => "DestinationUnreachable(CommAdminProhibited)",
        (5, _) => "Redirect",
        (11, 0) => "TimeExceeded(TTLExceeded)",
        (11, 1) => "TimeExceeded(FragmentReassemblyTimeExceeded)",
        (12, _) => "ParameterProblem",
        (13, _) => "TimestampRequest",
        (14, _) => "TimestampReply",
        _ => return None,
    })
}

fn icmpv6_type(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (128, _) => "EchoRequest",
        (129, _) => "EchoReply",
        (1, 0) => "DestinationUnreachable(NoRouteToDst)",
        (1, 1) => "DestinationUnreachable(AdminProhibited)",
        (1, 3) => "DestinationUnreachable(AddressUnreachable)",
        (1, 4) => "DestinationUnreachable(PortUnreachable)",
        (2, _) => "PacketTooBig",
        (3, 0) => "TimeExceeded(HopLimitExceeded)",
        (3, 1) => "TimeExceeded(FragmentReassemblyTimeExceeded)",
        (4, _) => "ParameterProblem",
        (133, _) => "RouterSolicitation",
        (134, _) => "RouterAdvertisement",
        (135, _) => "NeighborSolicitation",
        (136, _) => "NeighborAdvertisement",
        (137, _) => "Redirect",
        _ => return None,
    })
}

/// The text of a drop reason: Hubble's for its numbers, ours from 1000, the number itself for others.
#[must_use]
pub fn drop_text(number: u32) -> std::borrow::Cow<'static, str> {
    let text = match number {
        130 => "Invalid source mac",
        131 => "Invalid destination mac",
        132 => "Invalid source ip",
        133 => "Policy denied",
        134 => "Invalid packet",
        135 => "CT: Truncated or invalid header",
        136 => "Fragmentation needed",
        137 => "CT: Unknown L4 protocol",
        139 => "Unsupported L3 protocol",
        140 => "Missed tail call",
        141 => "Error writing to packet",
        142 => "Unknown L4 protocol",
        143 => "Unknown ICMPv4 code",
        144 => "Unknown ICMPv4 type",
        145 => "Unknown ICMPv6 code",
        146 => "Unknown ICMPv6 type",
        150 => "Unknown L3 target address",
        151 => "Stale or unroutable IP",
        155 => "CT: Map insertion failed",
        156 => "Invalid IPv6 extension header",
        157 => "IP fragmentation not supported",
        158 => "Service backend not found",
        163 => "Unknown connection tracking state",
        164 => "Local host is unreachable",
        166 => "Unsupported L2 protocol",
        169 => "FIB lookup failed",
        171 => "Invalid identity",
        175 => "First logical datagram fragment not found",
        176 => "Forbidden ICMPv6 message",
        181 => "Policy denied by denylist",
        182 => "VLAN traffic disallowed by VLAN filter",
        189 => "Authentication required",
        196 => "TTL exceeded",
        198 => "Rate limited",
        203 => "Endpoint not ready",
        1000 => "Policy of the endpoint is invalid",
        1001 => "Invalid L4 checksum",
        1002 => "Fragment table full",
        1003 => "Inconsistent fragment",
        1004 => "Invalid TCP state",
        1005 => "Unrelated ICMP error",
        1006 => "Too many half-open connections",
        1007 => "Destination port full",
        1008 => "Destination port gone",
        1009 => "No buffer for an answer",
        1010 => "Neighbour message refused",
        1011 => "Policy revoked",
        1012 => "L7 backpressure",
        1013 => "Handover full",
        other => {
            let anomaly = other.checked_sub(FIRST_ANOMALY).and_then(|at| Anomaly::ALL.get(at as usize));
            return anomaly.map_or_else(|| other.to_string(), |a| format!("L7 {}", a.name())).into();
        }
    };
    text.into()
}
