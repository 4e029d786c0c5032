//! Taps: what they see is what arrived, with the decision that was taken on it; they never hold anything up, and while
//! there are none nothing is copied.

#[path = "splice/node.rs"]
#[allow(dead_code, unreachable_pub)]
mod node;
mod support;

use datapath::tap::{Coarse, MAX_TAPS, Outcome, Setup, TapReader, Tapped, channel};
use flowlog::event::MessageVerdict;
use flowlog::{DropReason, EventKind, FlowEvent, Message, TraceReason};
use packet::testing::{arp_request, tcp, udp, with_macs};
use packet::{FlowKey, PacketIo as _, PortId, TcpFlags};
use policy::{DenyReason, Identity, RuleId};
use support::*;

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;
const A4: &str = "10.0.0.1";
const B4: &str = "10.0.0.2";
const C4: &str = "10.0.0.3";

fn setup(id: u64) -> Setup {
    Setup { id, frames: 64, bytes: 1 << 16, snaplen: 1 << 16, coarse: Coarse::default() }
}

/// What a tap said about one frame.
type Seen = (Tapped, Vec<u8>, Vec<(FlowEvent, Message<'static>)>);

fn all(reader: &mut TapReader) -> Vec<Seen> {
    let (mut frame, mut messages) = (Vec::new(), Vec::new());
    std::iter::from_fn(|| {
        let tapped = reader.take(&mut frame, &mut messages)?;
        Some((tapped, frame.clone(), messages.clone()))
    })
    .collect()
}

fn tap(net: &mut Net, setup: Setup) -> TapReader {
    let (writer, reader) = channel(setup);
    assert!(net.worker.add_tap(writer).is_ok());
    reader
}

#[test]
fn a_frame_is_shown_as_it_came_with_the_decision_on_it() {
    let mut net = Net::new();
    let mut reader = tap(&mut net, setup(1));
    let syn = from(A, tcp(A4, B4, 4000, 80, SYN, 100, 0, b""));
    let back = from(B, tcp(B4, A4, 80, 4000, SYN | ACK, 500, 101, b""));
    net.step(A, std::slice::from_ref(&syn), Delta { received: 1, forwarded: 1, ..opened() });
    net.step(B, std::slice::from_ref(&back), Delta { received: 1, forwarded: 1, ..Delta::default() });
    let denied = from(C, tcp(C4, B4, 4000, 80, SYN, 1, 0, b""));
    let reason = DropReason::Denied(DenyReason::NoRule);
    let drop = Delta { received: 1, dropped: vec![(reason, 1)], ..Delta::default() };
    let events = net.step(C, std::slice::from_ref(&denied), drop);

    let seen = all(&mut reader);
    let bytes: Vec<&[u8]> = seen.iter().map(|(_, bytes, _)| &bytes[..]).collect();
    assert_eq!(bytes, [&syn[..], &back, &denied], "before their headers are changed");
    assert!(seen.iter().all(|(tapped, bytes, said)| tapped.len as usize == bytes.len() && said.is_empty()));
    let [(first, ..), (reply, ..), (refused, ..)] = &seen[..] else { panic!("three: {seen:?}") };

    assert_eq!((first.port, first.out, first.outcome), (A, Some(B), Outcome::Forwarded));
    assert_eq!(first.event.kind, EventKind::Trace { reason: TraceReason::New });
    assert_eq!((first.event.src_identity, first.event.dst_identity), (ID_A, ID_B));
    let key = FlowKey { src: addr(A4), dst: addr(B4), src_port: 4000, dst_port: 80, proto: 6 };
    assert_eq!((first.event.key, first.event.at, first.event.is_reply), (key, net.now, false));
    assert!(first.rules[0] == RuleId::NONE && first.rules[1] != RuleId::NONE, "ingress decided");
    assert_eq!(first.state, Some(datapath::conntrack::State::SynSent));

    assert_eq!((reply.port, reply.out, reply.event.key), (B, Some(A), key.reversed()));
    assert_eq!(reply.event.kind, EventKind::Trace { reason: TraceReason::Reply });
    assert!(reply.event.is_reply && reply.rules == first.rules);

    assert_eq!((refused.port, refused.out, refused.outcome), (C, None, Outcome::Dropped(reason)));
    assert_eq!(events, [refused.event], "as the flow log tells it");
    assert_eq!((reader.lost(), seen.iter().map(|(t, ..)| t.lost_before).sum::<u64>()), (0, 0));
}

#[test]
fn without_a_tap_nothing_is_copied_and_a_closed_one_ends() {
    let mut net = Net::new();
    let syn = |port| tcp(A4, B4, port, 80, SYN, 100, 0, b"");
    net.passes(A, B, syn(4000), opened());
    let mut reader = tap(&mut net, setup(7));
    net.passes(A, B, syn(4001), opened());
    assert!(!reader.is_done());
    assert!(net.worker.remove_tap(8).is_none());
    let writer = net.worker.remove_tap(7).expect("it was open");
    assert!(net.worker.remove_tap(7).is_none());
    net.passes(A, B, syn(4002), opened());
    let ports: Vec<u16> = all(&mut reader).iter().map(|(tapped, ..)| tapped.event.key.src_port).collect();
    assert_eq!(ports, [4001]);
    assert!(!reader.is_done(), "the other end still exists");
    drop(writer);
    assert!(reader.is_done());
}

#[test]
fn there_are_few_taps_and_each_sees_everything_it_wants() {
    let mut net = Net::new();
    let coarse = [
        Coarse::default(),
        Coarse { ports: vec![B], ..Coarse::default() },
        Coarse { addrs: vec![addr(C4)], ..Coarse::default() },
        Coarse { dropped: true, ..Coarse::default() },
    ];
    assert_eq!(coarse.len(), MAX_TAPS);
    let mut readers: Vec<TapReader> = (0..)
        .zip(coarse)
        .map(|(id, coarse)| tap(&mut net, Setup { coarse, snaplen: 20 + id as usize, ..setup(id) }))
        .collect();
    let (writer, _reader) = channel(setup(9));
    assert_eq!(net.worker.add_tap(writer).expect_err("too many").id(), 9);

    net.passes(A, B, tcp(A4, B4, 4000, 80, SYN, 100, 0, b""), opened());
    net.passes(B, A, tcp(B4, A4, 80, 4000, SYN | ACK, 500, 101, b""), Delta::default());
    net.drops(C, tcp(C4, B4, 4000, 80, SYN, 1, 0, b""), DropReason::Denied(DenyReason::NoRule));
    let seen: Vec<Vec<(PortId, usize)>> = readers
        .iter_mut()
        .map(|reader| all(reader).iter().map(|(tapped, bytes, _)| (tapped.port, bytes.len())).collect())
        .collect();
    assert_eq!(seen[0], [(A, 20), (B, 20), (C, 20)]);
    assert_eq!(seen[1], [(B, 21)]);
    assert_eq!(seen[2], [(C, 22)]);
    assert_eq!(seen[3], [(C, 23)]);
    // The first one lends its buffers to the others; it may go before them.
    assert!(net.worker.remove_tap(0).is_some());
    net.drops(C, tcp(C4, B4, 4001, 80, SYN, 1, 0, b""), DropReason::Denied(DenyReason::NoRule));
    assert_eq!(readers[1..].iter_mut().map(|reader| all(reader).len()).collect::<Vec<_>>(), [0, 1, 1]);
}

#[test]
fn what_finds_no_room_is_lost_and_counted_and_everything_else_goes_on() {
    for (frames, bytes, fit) in [(1, 1 << 20, 5), (64, 0, 0)] {
        let mut net = Net::new();
        // Rings always have room for what is told of one frame: five entries, and the longest copy and messages.
        let snaplen = 1500;
        let mut reader = tap(&mut net, Setup { frames, bytes, snaplen, ..setup(1) });
        let big = |port: u16| from(A, udp(A4, B4, port, 53, &[b'x'; 1400]));
        let count = 40;
        for port in 0..count {
            net.step(A, &[big(4000 + port)], Delta { received: 1, forwarded: 1, ..opened() });
            net.sent(B);
        }
        let seen = all(&mut reader);
        let kept = seen.len() as u64;
        assert!(if fit > 0 { kept == fit } else { kept > 5 && kept < u64::from(count) }, "{kept}");
        assert_eq!(reader.lost(), u64::from(count) - kept);
        assert_eq!((reader.lost_on(A), reader.lost_on(B)), (reader.lost(), 0));
        assert!(seen.iter().all(|(tapped, bytes, _)| bytes.len() == 1442 && tapped.lost_before == 0));
        // The next one says how many are missing before it.
        net.step(A, &[big(3000)], Delta { received: 1, forwarded: 1, ..opened() });
        let [(tapped, bytes, _)] = &all(&mut reader)[..] else { panic!("one more") };
        assert_eq!((tapped.lost_before, bytes), (reader.lost(), &big(3000)));
    }
}

#[test]
fn frames_without_a_connection_are_shown_too() {
    let mut net = Net::new();
    let mut reader = tap(&mut net, setup(1));
    let arp = with_macs(arp_request(A4, "169.254.1.1"), pod_mac(A), packet::MacAddr::BROADCAST);
    net.step(
        A,
        std::slice::from_ref(&arp),
        Delta { received: 1, answered: 1, generated: 1, ..Delta::default() },
    );
    net.sent(A);
    net.step(
        A,
        &[vec![0; 10]],
        Delta {
            received: 1,
            dropped: vec![(DropReason::Malformed(packet::ParseError::Truncated), 1)],
            ..Delta::default()
        },
    );
    let seen = all(&mut reader);
    assert_eq!((seen[0].0.outcome, &seen[0].1), (Outcome::Local, &arp));
    assert!(matches!(seen[1].0.outcome, Outcome::Dropped(DropReason::Malformed(_))), "{:?}", seen[1].0);
    assert_eq!(seen[1].0.event.src_identity, ID_A, "the port says who it was");
}

#[test]
fn frames_made_here_are_shown_to_who_asks_for_them() {
    let mut net = Net::with(datapath::DatapathConfig {
        deny_response: datapath::DenyResponse::Reject,
        ..datapath::DatapathConfig::default()
    });
    let mut plain = tap(&mut net, setup(1));
    let coarse = Coarse { generated: true, ..Coarse::default() };
    let mut with_own = tap(&mut net, Setup { coarse, ..setup(2) });
    let syn = from(C, tcp(C4, B4, 4000, 80, SYN, 1, 0, b""));
    let reason = DropReason::Denied(DenyReason::NoRule);
    net.step(C, &[syn], Delta { received: 1, generated: 1, dropped: vec![(reason, 1)], ..Delta::default() });
    let reset = net.sent(C).remove(0);
    assert_eq!(all(&mut plain).len(), 1);
    let seen = all(&mut with_own);
    // It leaves before the frame that it answers is done with.
    let (own, bytes, _) = &seen[0];
    assert_eq!((own.outcome, own.port, own.out, bytes), (Outcome::Generated, C, Some(C), &reset));
    assert_eq!((own.event.key.src, own.event.tcp_flags.rst()), (addr(B4), true));
    assert_eq!(seen[1].0.outcome, Outcome::Dropped(reason));
}

/// A request that is allowed and one that is not, on one inspected connection.
#[test]
fn messages_come_with_the_frame_that_brought_their_end() {
    use node::{CLIENT, GATEWAY_MAC, Node, Rules, SERVER, mac_of};
    let mut node = Node::new(Rules::Http, 4096);
    let (writer, mut reader) = channel(setup(1));
    assert!(node.worker.add_tap(writer).is_ok());
    let mut say = |node: &mut Node, port: PortId, frame: Vec<u8>| {
        node.arrive(port, &with_macs(frame, mac_of(port), GATEWAY_MAC));
        node.poll();
        let out = [CLIENT, SERVER].map(|port| node.sent(port));
        let [seen] = &all(&mut reader)[..] else { panic!("one frame") };
        (seen.clone(), out)
    };
    let up = |flags, seq, ack, text: &[u8]| tcp(A4, B4, 4000, 80, flags, seq, ack, text);
    let down = |flags, seq, ack, text: &[u8]| tcp(B4, A4, 80, 4000, flags, seq, ack, text);
    let ((syn, ..), _) = say(&mut node, CLIENT, up(SYN, 100, 0, b""));
    assert!(syn.inspected && syn.outcome == Outcome::Forwarded, "{syn:?}");
    say(&mut node, SERVER, down(SYN | ACK, 500, 101, b""));
    say(&mut node, CLIENT, up(ACK, 101, 501, b""));

    // Half of a head waits; the other half brings the message, and lets go of both.
    let ((half, _, said), out) = say(&mut node, CLIENT, up(ACK, 101, 501, b"GET /allowed/x HTTP/1.1\r\n"));
    let left = out.map(|frames| frames.len());
    assert_eq!((half.outcome, said.len(), half.messages, left), (Outcome::Held, 0, 0, [0, 0]));
    let ((whole, _, said), out) = say(&mut node, CLIENT, up(ACK, 126, 501, b"Host: h\r\n\r\n"));
    let left = out.map(|frames| frames.len());
    assert_eq!((whole.outcome, whole.messages, left), (Outcome::Forwarded, 1, [0, 2]));
    let [(event, Message::HttpRequest { method, path, host, .. })] = &said[..] else { panic!("{said:?}") };
    assert_eq!([method, path, host].map(AsRef::as_ref), ["GET", "/allowed/x", "h"]);
    assert!(
        matches!(event.kind, EventKind::Message { verdict: MessageVerdict::Forwarded, rule, .. } if rule != RuleId::NONE)
    );
    assert_ne!(event.src_identity, Identity::UNKNOWN);

    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let ((_, _, said), _) = say(&mut node, SERVER, down(ACK, 501, 137, answer));
    assert!(matches!(&said[..], [(_, Message::HttpResponse { status: 200, .. })]), "{said:?}");

    let refused = b"GET /private HTTP/1.1\r\nHost: h\r\n\r\n";
    let seq = 501 + u32::try_from(answer.len()).expect("short");
    let ((taken, bytes, said), out) = say(&mut node, CLIENT, up(ACK, 137, seq, refused));
    assert_eq!(taken.outcome, Outcome::Taken, "swallowed, and answered here");
    assert!(bytes.ends_with(refused));
    let [answers, asked] = out;
    assert!(answers.iter().any(|frame| frame.windows(7).any(|part| part == b" 403 Fo")), "{answers:?}");
    assert!(!asked.iter().any(|frame| frame.windows(8).any(|part| part == b"/private")), "{asked:?}");
    assert!(matches!(
        &said[..],
        [(
            FlowEvent {
                kind: EventKind::Message { verdict: MessageVerdict::Dropped(DenyReason::NoRule), .. },
                ..
            },
            Message::HttpRequest { .. }
        )]
    ));
    assert_eq!(node.worker.io().outstanding(), 0);
}
