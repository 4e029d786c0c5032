//! Consecutive TCP segments leave as one where nobody can tell the difference, and one by one everywhere else.

#[allow(dead_code, reason = "every test binary uses its part of the bed")]
mod bed;

use std::process::Command;

use bed::{Node, Raw, SMALL, enter};
use packet::{ChecksumRequest, PacketIo, PortId, checksum};

/// Payload of a full segment.
const MSS: usize = 1448;
/// Ethernet, IPv4, TCP.
const HEADERS: usize = 54;
const OPEN: ChecksumRequest = ChecksumRequest { start: 34, offset: 16 };
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

/// Segment `n` of a connection from that port, with a checksum that is open or complete.
fn segment(port: u8, n: usize, len: usize, flags: u8, complete: bool) -> Vec<u8> {
    let mut frame = vec![0; HEADERS];
    frame[..16].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0]);
    frame[16..18].copy_from_slice(&((HEADERS - 14 + len) as u16).to_be_bytes());
    frame[18..20].copy_from_slice(&(n as u16).to_be_bytes());
    frame[20..24].copy_from_slice(&[0x40, 0, 64, 6]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = !checksum::sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame[34..38].copy_from_slice(&[0x30, port, 0, 80]);
    frame[38..42].copy_from_slice(&((n * MSS) as u32).to_be_bytes());
    frame[46..50].copy_from_slice(&[0x50, flags, 1, 0]);
    let (src, dst) = (packet::Addr::v4([10, 0, 0, 1]), packet::Addr::v4([10, 0, 0, 2]));
    let pseudo = checksum::pseudo_header_sum_of(src, dst, 6, (20 + len) as u32);
    frame[50..52].copy_from_slice(&pseudo.to_be_bytes());
    frame.extend((0..len).map(|at| (at as u8).wrapping_mul(3) ^ (n as u8)));
    if complete {
        let sum = !checksum::sum(&frame[34..]);
        frame[50..52].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

/// From pod 0 through the node to pod 1, in one burst.
fn pass(node: &mut Node, from: &Raw, frames: &[Vec<u8>], open: bool) {
    frames.iter().for_each(|frame| from.send(frame));
    let mut arrived = node.receive(frames.len());
    assert_eq!(arrived.len(), frames.len());
    if open {
        arrived.iter_mut().for_each(|frame| frame.request_checksum(OPEN));
    }
    node.send_all(1, arrived);
}

/// Two pods, or `None` where the kernel cannot do it.
fn two_pods(mtu: u32) -> Option<(Node, Raw, Raw)> {
    if !enter() {
        return None;
    }
    let mut node = Node::with_mtu(SMALL, mtu);
    let (a, b) = (node.pod(0), node.pod(1));
    if !node.io.offloads_checksums(PortId(1)) {
        println!("SKIPPED: this kernel takes no transmit metadata");
        return None;
    }
    Some((node, a, b))
}

fn payloads(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame[HEADERS..].to_vec()).collect()
}

#[test]
fn segments_in_order_arrive_as_one() {
    // Of one buffer each, and of three.
    for (mtu, len) in [(1_500, MSS), (9_000, 8_948)] {
        let Some((mut node, a, b)) = two_pods(mtu) else { return };
        let count = if mtu == 1_500 { 20 } else { 7 };
        let mut sent: Vec<_> = (0..count).map(|n| segment(1, n, len, ACK, false)).collect();
        for (n, frame) in sent.iter_mut().enumerate() {
            frame[38..42].copy_from_slice(&((n * len) as u32).to_be_bytes());
        }
        if let Some(last) = sent.last_mut() {
            last[47] |= PSH;
        }
        pass(&mut node, &a, &sent, true);
        let one = b.wait(1);
        assert_eq!(one.len(), 1, "{:?}", one.iter().map(Vec::len).collect::<Vec<_>>());
        assert!(one[0][HEADERS..] == payloads(&sent), "the bytes of all, in order");
        assert_eq!(usize::from(u16::from_be_bytes([one[0][16], one[0][17]])), one[0].len() - 14);
        assert_eq!(checksum::sum(&one[0][14..34]), 0xffff, "the header's checksum is right");
        assert_eq!(one[0][47], ACK | PSH);
        assert_eq!((node.io.stats().tx_joined, node.io.stats().tx_lost), (count as u64, 0));
        node.settle();
    }
}

#[test]
fn what_does_not_continue_goes_by_itself_and_nothing_overtakes() {
    let Some((mut node, a, b)) = two_pods(1_500) else { return };
    let mut sent: Vec<_> = (0..5).map(|n| segment(1, n, MSS, ACK, false)).collect();
    sent.push(segment(2, 0, 10, ACK | PSH, false));
    sent.extend((5..9).map(|n| segment(1, n, MSS, ACK, false)));
    // A hole, two that are too few, a short end, and the end of the connection.
    sent.extend([segment(1, 10, MSS, ACK, false), segment(1, 11, 700, ACK, false)]);
    sent.extend([segment(1, 13, MSS, ACK, false), segment(1, 14, 0, ACK | 1, false)]);
    pass(&mut node, &a, &sent, true);
    let arrived = b.wait(7);
    let sizes: Vec<_> = arrived.iter().map(|frame| frame.len() - HEADERS).collect();
    assert_eq!(sizes, [5 * MSS, 10, 4 * MSS, MSS, 700, MSS, 0]);
    assert!(payloads(&arrived) == payloads(&sent));
    assert_eq!(node.io.stats().tx_joined, 9);
    node.settle();
}

/// A checksum over the whole would call bytes right that are not.
#[test]
fn complete_checksums_are_not_replaced() {
    let Some((mut node, a, b)) = two_pods(1_500) else { return };
    let mut sent: Vec<_> = (0..6).map(|n| segment(1, n, MSS, ACK, true)).collect();
    sent[3][500] ^= 1;
    pass(&mut node, &a, &sent, false);
    assert!(b.wait(6) == sent);
    assert_eq!(node.io.stats().tx_joined, 0);
    node.settle();
}

#[test]
fn where_the_device_cannot_cut_nothing_is_joined_and_nothing_lost() {
    let Some((mut node, a, b)) = two_pods(1_500) else { return };
    let done = Command::new("ethtool").args(["-K", "h1", "tx", "off"]).output().expect("ethtool");
    assert!(done.status.success(), "{done:?}");
    let segments = |complete| (0..8).map(|n| segment(1, n, MSS, ACK, complete)).collect::<Vec<_>>();
    let mut calls = Vec::new();
    for round in 0..20 {
        let before = node.io.stats().wakeups;
        pass(&mut node, &a, &segments(false), true);
        calls.push(node.io.stats().wakeups - before);
        assert!(b.wait(8) == segments(true), "round {round}: each as it was sent, its checksum complete");
    }
    assert_eq!((node.io.stats().tx_joined, node.io.stats().tx_lost), (0, 0));
    assert_eq!(calls, [[2; 16].as_slice(), &[1; 4]].concat(), "it is not tried for ever");
    node.settle();
}

#[test]
fn frames_that_wait_go_with_their_port() {
    let Some((mut node, a, _b)) = two_pods(1_500) else { return };
    let sent: Vec<_> = (0..6).map(|n| segment(1, n, MSS, ACK, false)).collect();
    sent.iter().for_each(|frame| a.send(frame));
    for mut frame in node.receive(6) {
        frame.request_checksum(OPEN);
        node.io.send(PortId(1), frame).expect("there is room");
    }
    node.unbind(1);
    assert_eq!(node.io.stats().tx_lost, 6);
    node.settle();
}

/// An interface that goes away while frames wait for each other.
#[test]
fn a_port_that_is_gone_loses_its_frames_and_no_memory() {
    let Some((mut node, a, _b)) = two_pods(1_500) else { return };
    for down in [true, false] {
        bed::ip(if down { "link set h1 down" } else { "link del h1" });
        let sent: Vec<_> = (0..6).map(|n| segment(1, n, MSS, ACK, false)).collect();
        sent.iter().for_each(|frame| a.send(frame));
        for mut frame in node.receive(6) {
            frame.request_checksum(OPEN);
            if let Err(frame) = node.io.send(PortId(1), frame) {
                node.io.release(frame);
            }
        }
        node.io.flush().expect("flush");
        assert_eq!(node.io.stats().tx_joined, 0);
    }
    node.unbind(1);
    node.settle();
}
