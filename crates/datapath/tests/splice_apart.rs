//! Inspected connections of one worker share its buffers, and nothing of one may be found in another.

#[path = "splice/node.rs"]
#[allow(dead_code, unreachable_pub)]
mod node;
#[path = "splice/rng.rs"]
#[allow(dead_code, unreachable_pub)]
mod rng;

use node::{CLIENT, GATEWAY_MAC, Node, Rules, SERVER, mac_of};
use packet::testing::{tcp, udp, with_macs};
use packet::{Parsed, PortId, TcpFlags};
use rng::Rng;

const CLIENT_IP: &str = "10.0.0.1";
const SERVER_IP: &str = "10.0.0.2";

/// A question for the A records of a name.
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("a short label"));
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

/// The payloads of what left by a port; frames without one are left out.
fn said(node: &mut Node, port: PortId) -> Vec<Vec<u8>> {
    let payload = |frame: Vec<u8>| {
        let Ok(Parsed::Ip(packet)) = packet::parse(&frame, frame.len()) else {
            panic!("parses: {frame:02x?}")
        };
        frame[usize::from(packet.payload)..packet.end as usize].to_vec()
    };
    node.sent(port).into_iter().map(payload).filter(|bytes| !bytes.is_empty()).collect()
}

/// A refusal is written for a question in a datagram while a stream is inspected: what the stream's two ends read is what
/// they said to each other.
#[test]
fn a_refused_datagram_leaves_nothing_in_a_stream() {
    const SYN: u8 = TcpFlags::SYN;
    const ACK: u8 = TcpFlags::ACK;
    let mut node = Node::new(Rules::HttpAndDns, 4096);
    let up = |node: &mut Node, flags, seq, ack, text: &[u8]| {
        let frame = tcp(CLIENT_IP, SERVER_IP, 4000, 80, flags, seq, ack, text);
        node.arrive(CLIENT, &with_macs(frame, mac_of(CLIENT), GATEWAY_MAC));
        node.poll();
        (said(node, CLIENT), said(node, SERVER))
    };
    let down = |node: &mut Node, flags, seq, ack, text: &[u8]| {
        let frame = tcp(SERVER_IP, CLIENT_IP, 80, 4000, flags, seq, ack, text);
        node.arrive(SERVER, &with_macs(frame, mac_of(SERVER), GATEWAY_MAC));
        node.poll();
        (said(node, CLIENT), said(node, SERVER))
    };
    let ask = |node: &mut Node, name: &str| {
        let frame = udp(CLIENT_IP, SERVER_IP, 5000, 53, &question(7, name));
        node.arrive(CLIENT, &with_macs(frame, mac_of(CLIENT), GATEWAY_MAC));
        node.poll();
        (said(node, CLIENT), said(node, SERVER))
    };
    up(&mut node, SYN, 100, 0, b"");
    down(&mut node, SYN | ACK, 500, 101, b"");
    up(&mut node, ACK, 101, 501, b"");

    let (asked, passed) = ask(&mut node, "refused.example");
    assert!(asked.len() == 1 && asked[0].starts_with(&[0, 7, 0x81]) && asked[0][3] & 15 == 5, "{asked:02x?}");
    assert!(passed.is_empty(), "{passed:02x?}");

    let request = b"GET /allowed/x HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(up(&mut node, ACK, 101, 501, request), (vec![], vec![request.to_vec()]));
    let (asked, _) = ask(&mut node, "refused.example");
    assert_eq!(asked.len(), 1, "once more, before the answer");
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let seq = 101 + u32::try_from(request.len()).expect("short");
    assert_eq!(down(&mut node, ACK, 501, seq, answer), (vec![answer.to_vec()], vec![]));

    let (answers, passed) = ask(&mut node, "allowed.example");
    assert_eq!((answers.len(), passed), (0, vec![question(7, "allowed.example")]));
}

/// Segments of three connections arrive in one burst, in any order: of each the server reads what its client said.
#[test]
fn connections_of_one_burst_stay_apart() {
    (0..100).for_each(three_connections);
}

fn three_connections(seed: u64) {
    const CLIENTS: [u16; 3] = [4000, 4001, 4002];
    const PARTS: usize = 6;
    let mut node = Node::new(Rules::Http, 4096);
    let say = |node: &mut Node, port: u16, flags, seq, ack, text: &[u8]| {
        let frame = tcp(CLIENT_IP, SERVER_IP, port, 80, flags, seq, ack, text);
        node.arrive(CLIENT, &with_macs(frame, mac_of(CLIENT), GATEWAY_MAC));
    };
    let answer = |node: &mut Node, port: u16, flags, seq, ack| {
        let frame = tcp(SERVER_IP, CLIENT_IP, 80, port, flags, seq, ack, b"");
        node.arrive(SERVER, &with_macs(frame, mac_of(SERVER), GATEWAY_MAC));
    };
    for port in CLIENTS {
        say(&mut node, port, TcpFlags::SYN, 100, 0, b"");
        node.poll();
        answer(&mut node, port, TcpFlags::SYN | TcpFlags::ACK, 500, 101);
        node.poll();
    }
    node.sent(SERVER);
    // As long for each.
    let text = |port: u16| {
        let request = format!("GET /allowed/{port} HTTP/1.1\r\nHost: {port}.example\r\n\r\n");
        request.repeat(2).into_bytes()
    };
    let len = text(CLIENTS[0]).len();
    let size = len.div_ceil(PARTS);
    let mut order = Rng::new(seed);
    let mut base = 101;
    for round in 0..8 {
        let mut said = [0; CLIENTS.len()];
        while said.iter().any(|parts| *parts < PARTS) {
            let who = order.below(CLIENTS.len());
            let from = said[who] * size;
            if from < len {
                let part = &text(CLIENTS[who])[from..(from + size).min(len)];
                say(&mut node, CLIENTS[who], TcpFlags::ACK, base + from as u32, 501, part);
                said[who] += 1;
            }
        }
        node.poll();
        let mut read: [Vec<u8>; CLIENTS.len()] = Default::default();
        for frame in node.sent(SERVER) {
            let Ok(Parsed::Ip(packet)) = packet::parse(&frame, frame.len()) else {
                panic!("parses: {frame:02x?}")
            };
            let from = packet.flow_key().expect("ports").src_port;
            let who = CLIENTS.iter().position(|port| *port == from).expect("one of them");
            read[who].extend_from_slice(&frame[usize::from(packet.payload)..packet.end as usize]);
        }
        base += len as u32;
        for (read, port) in read.iter().zip(CLIENTS) {
            let said = text(port);
            let [read, said] = [&read[..], &said].map(String::from_utf8_lossy);
            assert_eq!(read, said, "seed {seed}, round {round}, port {port}");
            answer(&mut node, port, TcpFlags::ACK, 501, base);
        }
        node.poll();
        node.sent(CLIENT);
    }
}
