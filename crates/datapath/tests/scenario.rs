//! Scripted conversations through a worker in memory. After every step all counters are compared, and no frame may be
//! outstanding.

mod support;

use datapath::config::{DatapathConfig, DenyResponse};
use datapath::ports::PortKind;
use flowlog::event::VerdictKind;
use flowlog::{CloseReason, DropReason, EventKind, TraceReason};
use packet::testing::{self, tcp, udp};
use packet::{L4, Packet, ParseError, Parsed, TcpFlags};
use policy::{DenyReason, Direction, RuleId};
use std::time::Duration;
use support::*;

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;
const FIN: u8 = TcpFlags::FIN;
const RST: u8 = TcpFlags::RST;
const A4: &str = "10.0.0.1";
const B4: &str = "10.0.0.2";
const C4: &str = "10.0.0.3";

fn packet(frame: &[u8]) -> Packet {
    match packet::parse(frame, frame.len()) {
        Ok(Parsed::Ip(packet)) => packet,
        other => panic!("no packet: {other:?}"),
    }
}

fn connect(net: &mut Net, port: u16) {
    net.passes(A, B, tcp(A4, B4, port, 80, SYN, 100, 0, b""), opened());
    net.passes(B, A, tcp(B4, A4, 80, port, SYN | ACK, 500, 101, b""), Delta::default());
    net.passes(A, B, tcp(A4, B4, port, 80, ACK, 101, 501, b""), Delta::default());
}

#[test]
fn an_allowed_connection_is_forwarded_one_hop_further() {
    let mut net = Net::new();
    let out = net.passes(A, B, tcp(A4, B4, 4000, 80, SYN, 100, 0, b""), opened());
    let p = packet(&out);
    assert_eq!((p.eth_src, p.eth_dst, p.ttl), (GATEWAY_MAC, pod_mac(B), 63));
    assert_eq!(out.len(), tcp(A4, B4, 4000, 80, SYN, 100, 0, b"").len());
}

#[test]
fn the_reply_needs_no_rule_and_a_new_connection_the_other_way_does() {
    let mut net = Net::new();
    connect(&mut net, 4000);
    net.passes(B, A, tcp(B4, A4, 80, 4000, ACK, 501, 101, b"hello"), Delta::default());
    net.drops(C, tcp(C4, B4, 4000, 80, SYN, 1, 0, b""), DropReason::Denied(DenyReason::NoRule));
}

#[test]
fn a_verdict_event_names_the_side_and_a_drop_event_the_policies_that_switched_default_deny_on() {
    let mut net = Net::new();
    let expected = Delta { received: 1, forwarded: 1, opened: 1, ..Delta::default() };
    let events = net.step(A, &[from(A, tcp(A4, B4, 4000, 80, SYN, 1, 0, b""))], expected);
    let [event] = events.as_slice() else { panic!("one event: {events:?}") };
    let EventKind::Verdict { direction, verdict, rule, reason } = event.kind else { panic!("{event:?}") };
    assert_eq!((direction, verdict, reason), (Direction::Ingress, VerdictKind::Allowed, TraceReason::New));
    assert_ne!(rule, RuleId::NONE);
    assert_eq!((event.src_identity, event.dst_identity), (ID_A, ID_B));
    net.sent(B);

    let events = net.drops(A, tcp(A4, B4, 4000, 81, SYN, 1, 0, b""), DropReason::Denied(DenyReason::NoRule));
    let EventKind::Drop { direction, rule, .. } = events[0].kind else { panic!("{events:?}") };
    assert_eq!(direction, Some(Direction::Ingress));
    assert_ne!(rule, RuleId::NONE);
    assert_eq!((events[0].src_identity, events[0].dst_identity), (ID_A, ID_B));
}

#[test]
fn an_unenforced_connection_is_logged_once_without_a_rule() {
    let mut net = Net::new();
    let expected = Delta { received: 1, forwarded: 1, opened: 1, ..Delta::default() };
    let events = net.step(A, &[from(A, tcp(A4, C4, 4000, 80, SYN, 1, 0, b""))], expected);
    assert!(matches!(events.as_slice(), [e] if e.kind == EventKind::Trace { reason: TraceReason::New }));
}

#[test]
fn nothing_but_a_syn_starts_a_tcp_connection() {
    let mut net = Net::new();
    net.drops(A, tcp(A4, B4, 4000, 80, ACK, 1, 1, b"data"), DropReason::NotAConnection);
    net.drops(A, tcp(A4, B4, 4000, 80, SYN | ACK, 1, 1, b""), DropReason::NotAConnection);
    net.drops(A, tcp(A4, B4, 4000, 80, RST, 1, 0, b""), DropReason::NotAConnection);
}

#[test]
fn udp_and_echo_replies_follow_their_requests() {
    let mut net = Net::new();
    net.passes(A, B, udp(A4, B4, 5000, 53, b"query"), opened());
    net.passes(B, A, udp(B4, A4, 53, 5000, b"answer"), Delta::default());
    net.drops(A, udp(A4, B4, 5000, 54, b"query"), DropReason::Denied(DenyReason::NoRule));
    net.passes(A, B, testing::icmp_echo(A4, B4, false, 7, 1, b"ping"), opened());
    net.passes(B, A, testing::icmp_echo(B4, A4, true, 7, 1, b"ping"), Delta::default());
    net.drops(C, testing::icmp_echo(C4, B4, false, 8, 1, b"ping"), DropReason::Denied(DenyReason::NoRule));
    net.passes(A, B, testing::icmp_echo("fd00::1", "fd00::2", false, 7, 1, b"ping"), opened());
    net.passes(B, A, testing::icmp_echo("fd00::2", "fd00::1", true, 7, 1, b"ping"), Delta::default());
}

#[test]
fn two_pods_may_ping_each_other_with_one_identifier() {
    let mut net = Net::new();
    for (a, c) in [(A4, C4), ("fd00::1", "fd00::3")] {
        net.passes(A, C, testing::icmp_echo(a, c, false, 7, 1, b"ping"), opened());
        net.passes(C, A, testing::icmp_echo(c, a, false, 7, 1, b"ping"), opened());
        net.passes(C, A, testing::icmp_echo(c, a, true, 7, 1, b"ping"), Delta::default());
        net.passes(A, C, testing::icmp_echo(a, c, true, 7, 1, b"ping"), Delta::default());
        net.drops(A, testing::icmp_echo(a, c, true, 8, 1, b"ping"), DropReason::UnrelatedIcmp);
    }
}

#[test]
fn an_error_about_an_echo_finds_it() {
    let mut net = Net::new();
    let ping = from(A, testing::icmp_echo(A4, C4, false, 7, 1, b"ping"));
    net.passes(A, C, ping.clone(), opened());
    net.passes(C, A, testing::icmp(C4, A4, 11, 0, [0; 4], &ping[14..]), Delta::default());
    let reply = from(A, testing::icmp_echo(A4, C4, true, 7, 1, b"ping"));
    net.drops(C, testing::icmp(C4, A4, 11, 0, [0; 4], &reply[14..]), DropReason::UnrelatedIcmp);
}

#[test]
fn a_pod_speaks_only_for_itself() {
    let mut net = Net::new();
    net.drops(C, tcp(A4, B4, 4000, 80, SYN, 1, 0, b""), DropReason::InvalidSource);
    net.drops(C, tcp("fd00::1", "fd00::2", 4000, 80, SYN, 1, 0, b""), DropReason::InvalidSource);
    let other_mac = testing::with_macs(tcp(A4, B4, 1, 80, SYN, 1, 0, b""), pod_mac(C), GATEWAY_MAC);
    let expected = Delta { received: 1, dropped: vec![(DropReason::InvalidSource, 1)], ..Delta::default() };
    net.step(A, &[other_mac], expected);
    net.drops(HOST, tcp(A4, B4, 4000, 80, SYN, 1, 0, b""), DropReason::InvalidSource);
}

#[test]
fn a_third_pod_cannot_enter_a_connection_of_two_others() {
    let mut net = Net::new();
    connect(&mut net, 4000);
    net.drops(HOST, tcp(A4, B4, 4000, 80, ACK, 101, 501, b"evil"), DropReason::InvalidSource);
    net.drops(C, tcp(A4, B4, 4000, 80, RST, 101, 0, b""), DropReason::InvalidSource);
}

#[test]
fn partial_checksums_are_completed_and_wrong_ones_dropped() {
    let mut net = Net::new();
    let whole = tcp(A4, B4, 4000, 80, SYN, 100, 0, b"");
    let out = net.passes(A, B, testing::partial(whole.clone()), opened());
    let at = usize::from(packet(&out).l4) + 16;
    assert_eq!(out[at..at + 2], whole[at..at + 2], "the completed sum is the right one");
    let mut wrong = tcp(A4, B4, 4001, 80, SYN, 100, 0, b"");
    wrong[at] ^= 0x55;
    net.drops(A, wrong, DropReason::Checksum);
}

#[test]
fn arp_and_neighbour_solicitations_are_answered_for_all_but_the_pods_own_addresses() {
    let mut net = Net::new();
    let answered = Delta { received: 1, answered: 1, generated: 1, ..Delta::default() };
    let silent = Delta { received: 1, answered: 1, ..Delta::default() };
    net.step(A, &[testing::arp_request(A4, "169.254.1.1")], answered.clone());
    let reply = net.sent(A).remove(0);
    assert_eq!(reply[6..12], GATEWAY_MAC.0);
    assert_eq!(reply[21], 2, "an ARP reply");
    net.step(A, &[testing::arp_request(A4, A4)], silent.clone());
    let refused = Delta { received: 1, dropped: vec![(DropReason::InvalidSource, 1)], ..Delta::default() };
    net.step(A, &[testing::arp_request(B4, "169.254.1.1")], refused);

    let ask = |target: &str| {
        let mut frame = testing::neighbour_solicitation("fd00::1", addr(target));
        frame[6..12].copy_from_slice(&pod_mac(A).0);
        frame
    };
    net.step(A, &[ask("fe80::1")], answered);
    assert_eq!(net.sent(A).remove(0)[6..12], GATEWAY_MAC.0);
    net.step(A, &[ask("fd00::1")], silent);
}

#[test]
fn a_packet_without_hops_left_is_reported_to_its_sender() {
    let mut net = Net::new();
    let frame = from(A, testing::with_ttl(tcp(A4, B4, 4000, 80, SYN, 100, 0, b""), 1));
    let dropped = vec![(DropReason::TtlExceeded, 1)];
    net.step(A, &[frame], Delta { received: 1, generated: 1, dropped, ..Delta::default() });
    let bytes = net.sent(A).remove(0);
    let error = packet(&bytes);
    let L4::Icmp(icmp) = error.l4_header else { panic!("{error:?}") };
    assert_eq!((icmp.kind, icmp.code), (11, 0));
    assert_eq!(packet::icmp::about(&bytes, &error).map(|key| key.dst_port), Some(80));
    assert_eq!(error.src, addr("169.254.1.1"));
}

#[test]
fn a_packet_too_long_for_the_next_hop_is_answered_with_its_mtu() {
    let mut net = Net::new();
    let frame = from(A, udp(A4, C4, 4000, 80, &[0; 1401]));
    let dropped = vec![(DropReason::FragmentationNeeded, 1)];
    net.step(A, &[frame], Delta { received: 1, opened: 1, generated: 1, dropped, ..Delta::default() });
    let bytes = net.sent(A).remove(0);
    let at = usize::from(packet(&bytes).l4);
    assert_eq!(bytes[at..at + 2], [3, 4]);
    assert_eq!(u16::from_be_bytes([bytes[at + 6], bytes[at + 7]]), 1400);
}

#[test]
fn errors_about_a_known_flow_are_related_and_others_are_not() {
    let mut net = Net::new();
    let query = from(A, udp(A4, B4, 5000, 53, b"query"));
    net.passes(A, B, query.clone(), opened());
    let unreachable = testing::icmp(B4, A4, 3, 3, [0; 4], &query[14..]);
    net.passes(B, A, unreachable.clone(), Delta::default());
    let other = from(A, udp(A4, B4, 5001, 53, b"query"));
    net.drops(B, testing::icmp(B4, A4, 3, 3, [0; 4], &other[14..]), DropReason::UnrelatedIcmp);
    net.drops(C, testing::icmp(C4, A4, 3, 3, [0; 4], &query[14..]), DropReason::UnrelatedIcmp);
}

#[test]
fn all_fragments_of_a_datagram_share_the_verdict_of_the_first() {
    let mut net = Net::new();
    let datagram = udp(A4, B4, 5000, 53, &[7; 3000]);
    let pieces = testing::fragments(&datagram, 1480, 42);
    net.passes(A, B, pieces[0].clone(), opened());
    net.passes(A, B, pieces[1].clone(), Delta::default());
    net.passes(A, B, pieces[2].clone(), Delta::default());
    let denied = testing::fragments(&udp(A4, B4, 5000, 54, &[7; 3000]), 1480, 43);
    net.drops(A, denied[0].clone(), DropReason::Denied(DenyReason::NoRule));
    net.drops(A, denied[1].clone(), DropReason::FragmentUnknown);
}

#[test]
fn a_revoked_rule_cuts_the_connection_it_allowed_and_no_other() {
    let mut net = Net::new();
    connect(&mut net, 4000);
    net.passes(A, B, udp(A4, B4, 5000, 53, b"query"), opened());
    net.passes(A, C, tcp(A4, C4, 4001, 80, SYN, 1, 0, b""), opened());
    net.swap(2, policy_of_b(false), ports());
    let events = net.poll(Delta { rejudged: 3, closed: 1, generated: 2, ..Delta::default() });
    let closes =
        events.iter().filter(|e| matches!(e.kind, EventKind::Close { reason: CloseReason::Revoked, .. }));
    assert_eq!(closes.count(), 1);
    for (port, seq) in [(B, 101), (A, 501)] {
        let reset = packet(&net.sent(port).remove(0));
        let L4::Tcp(tcp) = reset.l4_header else { panic!("{reset:?}") };
        assert!(tcp.flags.rst());
        assert_eq!(tcp.seq, seq, "exactly what the receiver expects next");
    }
    // What the ends still send meets the tombstone and is answered with a reset that fits.
    let late = from(A, tcp(A4, B4, 4000, 80, ACK, 101, 777, b"late"));
    let dropped = vec![(DropReason::Revoked, 1)];
    net.step(A, &[late], Delta { received: 1, generated: 1, dropped, ..Delta::default() });
    let L4::Tcp(tcp_header) = packet(&net.sent(A).remove(0)).l4_header else { panic!("TCP") };
    assert_eq!(tcp_header.seq, 777);
    net.passes(A, B, udp(A4, B4, 5000, 53, b"again"), Delta::default());
    net.passes(C, A, tcp(C4, A4, 80, 4001, SYN | ACK, 9, 2, b""), Delta::default());
}

#[test]
fn the_very_first_packets_under_a_new_policy_are_judged_by_it() {
    let mut net = Net::new();
    connect(&mut net, 4000);
    net.passes(A, C, tcp(A4, C4, 4001, 80, SYN, 1, 0, b""), opened());
    net.swap(2, policy_of_b(false), ports());
    // In one burst, and no poll before it that would have judged the connections anew.
    let late = from(A, tcp(A4, B4, 4000, 80, ACK, 101, 501, b"late"));
    let answer = from(B, tcp(B4, A4, 80, 4000, ACK, 501, 101, b"late, too"));
    let allowed = from(C, tcp(C4, A4, 80, 4001, SYN | ACK, 9, 2, b""));
    for (port, frame) in [(A, late), (B, answer), (C, allowed)] {
        assert!(net.worker.io_mut().inject(port, &frame));
    }
    let dropped = vec![(DropReason::Revoked, 2)];
    net.poll(Delta {
        received: 3,
        forwarded: 1,
        rejudged: 2,
        closed: 1,
        generated: 2,
        dropped,
        ..Delta::default()
    });
    for (port, frames) in [(A, 2), (B, 1)] {
        let sent = net.sent(port);
        assert_eq!(sent.len(), frames);
        assert!(!sent.iter().any(|frame| frame.ends_with(b"late") || frame.ends_with(b"too")));
    }
}

#[test]
fn packets_of_a_connection_come_by_its_own_ports() {
    let mut net = Net::new();
    connect(&mut net, 4000);
    // An address that moves without a new epoch: nobody has judged it there.
    let mut moved = ports();
    moved.retain(|port| port.id != B);
    for port in &mut moved {
        if let (C, PortKind::Pod { addrs, .. }) = (port.id, &mut port.kind) {
            *addrs = vec![addr(B4)];
        }
    }
    net.swap(1, policy_of_b(true), moved);
    net.drops(C, tcp(B4, A4, 80, 4000, ACK, 501, 101, b"not mine"), DropReason::InvalidSource);
}

#[test]
fn ports_of_a_revoked_connection_open_a_new_one_once_policy_allows_it() {
    let mut net = Net::new();
    connect(&mut net, 4000);
    net.swap(2, policy_of_b(false), ports());
    net.poll(Delta { rejudged: 1, closed: 1, generated: 2, ..Delta::default() });
    net.sent(A);
    net.sent(B);
    let again = tcp(A4, B4, 4000, 80, SYN, 9_000, 0, b"");
    net.drops(A, again.clone(), DropReason::Denied(DenyReason::NoRule));
    // The tombstone is still there: what the server sends is not taken for a connection of its own.
    let dropped = vec![(DropReason::Revoked, 1)];
    let late = from(B, tcp(B4, A4, 80, 4000, ACK, 501, 101, b"late"));
    net.step(B, &[late], Delta { received: 1, generated: 1, dropped, ..Delta::default() });
    net.sent(B);
    net.swap(3, policy_of_b(true), ports());
    net.poll(Delta::default());
    net.passes(A, B, again, opened());
    net.passes(B, A, tcp(B4, A4, 80, 4000, SYN | ACK, 70, 9_001, b""), Delta::default());
    net.passes(A, B, tcp(A4, B4, 4000, 80, ACK, 9_001, 71, b"news"), Delta::default());
}

#[test]
fn a_widened_policy_lets_connections_continue() {
    let mut net = Net::new();
    connect(&mut net, 4000);
    net.swap(2, policy_of_b(true), ports());
    net.poll(Delta { rejudged: 1, ..Delta::default() });
    net.passes(A, B, tcp(A4, B4, 4000, 80, ACK, 101, 501, b"more"), Delta::default());
}

#[test]
fn a_pod_that_goes_away_takes_its_connections_along() {
    let mut net = Net::new();
    connect(&mut net, 4000);
    net.swap(2, policy_of_b(true), ports().into_iter().filter(|p| p.id != B).collect());
    net.poll(Delta { rejudged: 1, closed: 1, ..Delta::default() });
    let dropped = vec![(DropReason::NoRoute, 1)];
    let frame = from(A, tcp(A4, B4, 4001, 80, SYN, 1, 0, b""));
    net.step(A, &[frame], Delta { received: 1, generated: 1, dropped, ..Delta::default() });
}

#[test]
fn host_and_world_are_peers_like_others() {
    let mut net = Net::new();
    let world = "198.51.100.7";
    net.passes(HOST, B, tcp(world, B4, 4000, 443, SYN, 1, 0, b""), opened());
    net.drops(HOST, tcp(world, B4, 4000, 80, SYN, 1, 0, b""), DropReason::Denied(DenyReason::NoRule));
    net.passes(A, HOST, tcp(A4, world, 4000, 80, SYN, 1, 0, b""), opened());
    // From the host to an address that is no pod: it would go back to where it came from.
    let dropped = vec![(DropReason::NoRoute, 1)];
    let frame = from(HOST, tcp("192.168.0.1", world, 1, 80, SYN, 1, 0, b""));
    net.step(HOST, &[frame], Delta { received: 1, generated: 1, dropped, ..Delta::default() });
}

#[test]
fn malformed_and_foreign_frames_are_dropped_with_their_reason() {
    let mut net = Net::new();
    let mut tagged = tcp(A4, B4, 4000, 80, SYN, 1, 0, b"");
    tagged.splice(12..12, [0x81, 0x00, 0x00, 0x07]);
    net.drops(A, tagged, DropReason::Malformed(ParseError::Vlan));
    let mut lldp = tcp(A4, B4, 4000, 80, SYN, 1, 0, b"");
    lldp[12..14].copy_from_slice(&[0x88, 0xcc]);
    net.drops(A, lldp, DropReason::Malformed(ParseError::UnsupportedL2));
    net.drops(A, vec![0; 13], DropReason::Malformed(ParseError::Truncated));
    net.drops(A, udp(A4, "224.0.0.251", 5353, 5353, b"mdns"), DropReason::UnsupportedDestination);
}

#[test]
fn reject_answers_denials() {
    let config = DatapathConfig { deny_response: DenyResponse::Reject, ..DatapathConfig::default() };
    let mut net = Net::with(config);
    let dropped = vec![(DropReason::Denied(DenyReason::NoRule), 1)];
    let expected = Delta { received: 1, generated: 1, dropped, ..Delta::default() };
    net.step(C, &[from(C, tcp(C4, B4, 4000, 80, SYN, 77, 0, b""))], expected.clone());
    let L4::Tcp(reset) = packet(&net.sent(C).remove(0)).l4_header else { panic!("TCP") };
    assert!(reset.flags.rst() && reset.ack == 78);
    net.step(C, &[from(C, udp(C4, B4, 4000, 53, b"query"))], expected);
    let L4::Icmp(icmp) = packet(&net.sent(C).remove(0)).l4_header else { panic!("ICMP") };
    assert_eq!((icmp.kind, icmp.code), (3, 13));
}

#[test]
fn a_finished_connection_is_closed_and_logged_with_exact_counts() {
    let mut net = Net::new();
    connect(&mut net, 4000);
    net.passes(A, B, tcp(A4, B4, 4000, 80, FIN | ACK, 101, 501, b""), Delta::default());
    net.passes(B, A, tcp(B4, A4, 80, 4000, FIN | ACK, 501, 102, b""), Delta::default());
    net.passes(A, B, tcp(A4, B4, 4000, 80, ACK, 102, 502, b""), Delta::default());
    net.wait(Duration::from_secs(11));
    let events = net.poll(Delta { closed: 1, ..Delta::default() });
    let [event] = events.as_slice() else { panic!("{events:?}") };
    let EventKind::Close { reason, packets, bytes, .. } = event.kind else { panic!("{event:?}") };
    assert_eq!((reason, packets, bytes), (CloseReason::Finished, [4, 2], [160, 80]));
}

#[test]
fn a_full_port_is_a_counted_drop_and_leaks_nothing() {
    let mut net = Net::with_tx_capacity(2);
    let burst: Vec<_> = (0..4).map(|i| from(A, udp(A4, C4, 1000 + i, 80, b"x"))).collect();
    let dropped = vec![(DropReason::PortFull, 2)];
    net.step(A, &burst, Delta { received: 4, forwarded: 2, opened: 4, dropped, ..Delta::default() });
    assert_eq!(net.sent(C).len(), 2);
}

#[test]
fn a_pod_that_floods_does_not_wash_out_what_others_have_to_say() {
    let config = DatapathConfig { drop_events_per_second: 20, ..DatapathConfig::default() };
    let mut net = Net::with(config);
    let flood: Vec<_> = (0..40).map(|i| from(C, tcp(C4, B4, 1000 + i, 80, SYN, 1, 0, b""))).collect();
    let dropped = vec![(DropReason::Denied(DenyReason::NoRule), 40)];
    let told = net.step(C, &flood, Delta { received: 40, dropped, ..Delta::default() }).len();
    assert!(told < 5, "{told} of 40 drops were told one by one");
    assert_eq!(net.events.shed(), 40 - told as u64, "the others are counted");
    net.drops(A, tcp(A4, B4, 4000, 81, SYN, 1, 0, b""), DropReason::Denied(DenyReason::NoRule));
}
