//! More than fits: what is refused, what is counted, and that everything recovers.

#[allow(dead_code, reason = "every test binary uses its part of the bed")]
mod bed;

use std::time::{Duration, Instant};

use afxdp::Sizes;
use bed::{Node, SMALL, enter, frame, ip};
use packet::{Burst, Frame, PacketIo, PortId};

/// P-R1: frames held by the caller starve neither other ports nor, once released, their own.
#[test]
fn held_frames_do_not_starve_other_ports() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let (hog, other) = (node.pod(0), node.pod(1));
    let mut held: Vec<Frame> = Vec::new();
    let until = Instant::now() + Duration::from_secs(2);
    while node.io.free_chunks() > 64 && Instant::now() < until {
        for _ in 0..32 {
            hog.send(&frame(100, 1));
        }
        held.extend(node.receive(1));
    }
    assert!(node.io.free_chunks() <= 64, "the pool is exhausted");
    for mark in 0..20 {
        other.send(&frame(100, mark));
    }
    let mut of_other = 0;
    for frame in node.receive(20 + 128) {
        of_other += usize::from(frame.port() == PortId(1));
        held.push(frame);
    }
    assert_eq!(of_other, 20, "the other port's fill quota was its own");
    for _ in 0..300 {
        hog.send(&frame(100, 2));
    }
    held.extend(node.receive(1_000));
    assert!(node.io.stats().rx_lost > 0, "the flood was dropped by the kernel and counted");
    assert!(node.io.port_stats(PortId(0)).is_some_and(|stats| stats.rx_dropped > 0));
    held.into_iter().for_each(|frame| node.io.release(frame));
    node.settle();
    hog.send(&frame(100, 3));
    let frames = node.receive(1);
    assert_eq!(frames.len(), 1, "and the hog receives again");
    frames.into_iter().for_each(|frame| node.io.release(frame));
    assert_eq!(node.io.outstanding(), 0);
}

/// P-T6: one port cannot hold more chunks in transmission than its cap, and refuses instead of losing.
#[test]
fn a_port_that_is_not_flushed_refuses_at_its_cap() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let (_a, b) = (node.pod(0), node.pod(1));
    let mut accepted = 0;
    loop {
        let out = node.io.alloc(PortId(1), 60).expect("the cap is reached before the pool ends");
        match node.io.send(PortId(1), out) {
            Ok(()) => accepted += 1,
            Err(out) => {
                node.io.release(out);
                break;
            }
        }
    }
    assert_eq!(accepted, SMALL.ring as usize);
    assert_eq!(node.io.port_stats(PortId(1)).map(|stats| stats.in_flight), Some(SMALL.ring));
    let other = node.io.alloc(PortId(0), 60).expect("memory is left");
    node.io.send(PortId(0), other).expect("another port still takes frames");
    node.io.flush().expect("flush");
    assert_eq!(b.wait(accepted).len(), accepted);
    assert_eq!(node.io.stats().tx_refused, 1);
}

/// P-T5: a frame that the device drops is counted as lost, the ones behind it leave, and nothing is sent twice.
#[test]
fn frames_larger_than_the_receiver_takes_are_counted_as_lost() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let (_a, b) = (node.pod(0), node.pod(1));
    for mark in 0..30 {
        let len = if mark % 3 == 0 { 3_000 } else { 300 };
        let mut out = node.io.alloc(PortId(1), len).expect("memory");
        node.io.bytes_mut(&mut out).copy_from_slice(&frame(len, mark));
        node.io.send(PortId(1), out).expect("room");
    }
    node.io.flush().expect("flush");
    let arrived = b.wait(20);
    let expected: Vec<_> = (0..30).filter(|mark| mark % 3 != 0).map(|mark| frame(300, mark)).collect();
    assert_eq!(arrived, expected);
    assert_eq!(node.io.stats().tx_lost, 10);
    node.settle();
}

/// P-T8: a pod that is not up.
#[test]
fn a_pod_without_carrier_costs_its_frames_and_nothing_else() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let (a, _b) = (node.pod(0), node.pod(1));
    ip("link set p1 down");
    for mark in 0..200 {
        a.send(&frame(100, mark));
        let frames = node.receive(1);
        assert_eq!(frames.len(), 1, "the sending pod is not disturbed");
        for frame in frames {
            if let Err(frame) = node.io.send(PortId(1), frame) {
                node.io.release(frame);
            }
        }
        node.io.flush().expect("flush");
    }
    ip("link set p1 up");
    node.settle();
}

/// Fairness: a flood on one port leaves room in every burst for the others.
#[test]
fn a_flooding_port_does_not_fill_the_bursts() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let (flood, quiet) = (node.pod(0), node.pod(1));
    for _ in 0..120 {
        flood.send(&frame(100, 1));
    }
    for _ in 0..10 {
        quiet.send(&frame(100, 2));
    }
    let mut burst = Burst::new();
    node.io.recv(&mut burst).expect("recv");
    assert_eq!(burst.len(), packet::BURST_LEN);
    assert_eq!(burst.iter().filter(|frame| frame.port() == PortId(1)).count(), 10);
    burst.drain().for_each(|frame| node.io.release(frame));
}

#[test]
fn a_million_frames_leave_no_chunk_behind() {
    if !enter() {
        return;
    }
    let mut node = Node::new(Sizes::for_ports(2));
    let (a, b) = (node.pod(0), node.pod(1));
    drop(b);
    let mut sent = 0u64;
    while sent < 1_000_000 {
        for _ in 0..64 {
            let Some(out) = node.io.alloc(PortId(1), 64) else { break };
            match node.io.send(PortId(1), out) {
                Ok(()) => sent += 1,
                Err(out) => node.io.release(out),
            }
        }
        node.io.flush().expect("flush");
    }
    let bytes = frame(64, 0);
    for _ in 0..50_000 / 50 {
        for _ in 0..50 {
            a.send(&bytes);
        }
        for frame in node.receive(50) {
            if let Err(frame) = node.io.send(PortId(1), frame) {
                node.io.release(frame);
            }
        }
        node.io.flush().expect("flush");
    }
    node.settle();
    assert_eq!(node.io.outstanding(), 0);
    let stats = node.io.stats();
    assert_eq!(stats.rx_frames + stats.rx_lost, 50_000);
    assert_eq!(node.io.port_stats(PortId(1)).map(|stats| (stats.tx_invalid, stats.in_flight)), Some((0, 0)));
}

/// P-M1 and P-R4: packets of many buffers, more of them than one peek at the ring returns.
#[test]
fn jumbo_frames_cross_whole_and_in_order() {
    if !enter() {
        return;
    }
    for mtu in [9_000u32, 65_000] {
        assert!(enter());
        let mut node = Node::with_mtu(SMALL, mtu);
        let (a, b) = (node.pod(0), node.pod(1));
        let len = mtu as usize + 14;
        // 17 buffers each at 65,000: seven fit in a ring of 128, and peeks of 32 end in the middle of packets.
        for round in 0..20u8 {
            for mark in 0..5 {
                a.send(&frame(len - usize::from(mark), round * 5 + mark));
            }
            let frames = node.receive(5);
            assert_eq!(frames.len(), 5, "MTU {mtu}, round {round}");
            node.send_all(1, frames);
            let expected: Vec<_> =
                (0..5).map(|mark| frame(len - usize::from(mark), round * 5 + mark)).collect();
            assert!(b.wait(5) == expected, "MTU {mtu}, round {round}: bytes differ");
        }
        node.settle();
        assert_eq!(node.io.stats().tx_lost, 0);
    }
}

/// A flood of jumbo frames overflows the rings; what arrives is whole.
#[test]
fn jumbo_frames_that_overflow_the_ring_are_lost_whole() {
    if !enter() {
        return;
    }
    let mut node = Node::with_mtu(SMALL, 65_000);
    let (a, _b) = (node.pod(0), node.pod(1));
    for mark in 0..40 {
        a.send(&frame(65_000, mark));
    }
    let frames = node.receive(40);
    assert!(!frames.is_empty() && frames.len() < 40, "{} arrived", frames.len());
    for held in frames {
        let mut whole = Vec::new();
        node.io.for_each_buffer(&held, &mut |buffer| whole.extend_from_slice(buffer));
        let mark = whole[100] ^ frame(200, 0)[100];
        assert!(whole == frame(65_000, mark), "a packet made of two");
        node.io.release(held);
    }
    a.send(&frame(65_000, 77));
    let frames = node.receive(1);
    assert_eq!(frames.len(), 1, "and it goes on");
    frames.into_iter().for_each(|frame| node.io.release(frame));
}

#[test]
fn a_sleeper_wakes_for_frames_and_for_its_waker() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let (a, _b) = (node.pod(0), node.pod(1));
    let long = Some(Duration::from_secs(5));
    let start = Instant::now();
    let short = Duration::from_millis(20);
    // An interruption ends a wait early, and is nothing that happened; that it sleeps shows in how few waits there are.
    let mut waits = 0;
    while let Some(rest) = short.checked_sub(start.elapsed()).filter(|rest| !rest.is_zero()) {
        assert!(!node.io.wait(Some(rest)).expect("wait"), "nothing happens");
        waits += 1;
    }
    assert!(waits <= 3, "{waits} waits in 20 ms");
    a.send(&frame(60, 1));
    assert!(node.io.wait(long).expect("wait"), "a frame wakes");
    node.receive(1).into_iter().for_each(|frame| node.io.release(frame));
    let waker = node.io.waker();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        waker.wake();
    });
    assert!(node.io.wait(long).expect("wait"), "so does the waker");
    thread.join().expect("joined");
    assert!(!node.io.wait(Some(Duration::from_millis(1))).expect("wait"), "once");
    assert!(start.elapsed() < Duration::from_secs(4));
}

/// A socket with much traffic is watched again before the next sleep, and only then.
#[test]
fn busy_sockets_wake_the_next_sleeper() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let (a, b) = (node.pod(0), node.pod(1));
    for round in 0..3 {
        assert!(!node.io.wait(Some(Duration::from_millis(1))).expect("wait"), "nothing happens");
        // One direction, then the other, so that both ports come to be busy by receiving and by sending.
        for (from, to, pod) in [(0, 1, &a), (1, 0, &b)] {
            for mark in 0..100 {
                pod.send(&frame(100, mark));
            }
            let frames = node.receive(100);
            assert_eq!(frames.len(), 100, "round {round}");
            assert!(frames.iter().all(|frame| frame.port() == PortId(from)));
            node.send_all(to, frames);
        }
        for (number, pod) in [(0, &a), (1, &b)] {
            pod.drain();
            assert!(!node.io.wait(Some(Duration::from_millis(1))).expect("wait"), "nothing happens");
            pod.send(&frame(60, 1));
            let start = Instant::now();
            assert!(
                node.io.wait(Some(Duration::from_secs(5))).expect("wait"),
                "round {round}: {number} wakes"
            );
            assert!(start.elapsed() < Duration::from_secs(4));
            node.receive(1).into_iter().for_each(|frame| node.io.release(frame));
        }
    }
    node.settle();
}

/// P-T5, P-T7: a transmit call that takes only a part is repeated until the ring is empty.
#[test]
fn what_one_transmit_call_leaves_the_next_one_takes() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let (_a, b) = (node.pod(0), node.pod(1));
    // XDP_MAX_TX_SKB_BUDGET back to its default: 32 of the 128 frames a call.
    let (budget, fd) = (32u32, node.fd(1));
    // SAFETY: the pointer and length describe `budget`.
    let set = unsafe { libc::setsockopt(fd, libc::SOL_XDP, 9, (&raw const budget).cast(), 4) };
    if set != 0 {
        println!("SKIPPED: this kernel has no transmit budget option, so it is 32 already");
    }
    let before = node.io.stats().wakeups;
    for mark in 0..SMALL.ring {
        let mut out = node.io.alloc(PortId(1), 100).expect("memory");
        node.io.bytes_mut(&mut out).copy_from_slice(&frame(100, mark as u8));
        node.io.send(PortId(1), out).expect("room");
    }
    node.io.flush().expect("flush");
    let expected: Vec<_> = (0..SMALL.ring).map(|mark| frame(100, mark as u8)).collect();
    assert_eq!(b.wait(expected.len()), expected, "each once and in order");
    assert!(node.io.stats().wakeups - before >= 4);
    assert_eq!(node.io.stats().tx_lost, 0);
    node.settle();
}
