//! Ports come, go, break and come back; the others are not disturbed and no memory is lost.

#[allow(dead_code, reason = "every test binary uses its part of the bed")]
mod bed;

use std::time::{Duration, Instant};

use afxdp::{OpenError, Opener, PortSocket, ReclaimToken, RetiredPort, Sizes, Waker, XskIo};
use bed::{Node, SMALL, enter, frame, ip};
use nix::net::if_::if_nametoindex;
use packet::{Burst, PacketIo, PortId};
use xdp_redirect::{Counters, Fallback, Mode};

/// Sends one frame from each pod to the other and asserts that both arrive.
fn talk(node: &mut Node, a: (u16, &bed::Raw), b: (u16, &bed::Raw)) {
    for (from, to, mark) in [(a, b, 1), (b, a, 2)] {
        from.1.send(&frame(200, mark));
        let frames = node.receive(1);
        assert_eq!(frames.len(), 1, "{} → {}", from.0, to.0);
        assert_eq!(frames[0].port(), PortId(from.0));
        node.send_all(to.0, frames);
        assert_eq!(to.1.wait(1), [frame(200, mark)], "{} → {}", from.0, to.0);
    }
}

/// P-U1: sharing goes through the first socket, so that one is not a pod's.
#[test]
fn deleting_the_first_pod_does_not_break_later_binds() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let first = node.pod(0);
    let second = node.pod(1);
    talk(&mut node, (0, &first), (1, &second));
    ip("link del h0");
    node.unbind(0);
    let third = node.pod(2);
    talk(&mut node, (1, &second), (2, &third));
}

/// P-U2: what a deleted interface held comes back.
#[test]
fn an_interface_deleted_while_running_is_reported_and_its_memory_comes_back() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let (a, b) = (node.pod(0), node.pod(1));
    let gone = node.pod(2);
    node.settle();
    for _ in 0..50 {
        gone.send(&frame(100, 9));
    }
    let held = node.receive(10);
    assert!(held.len() >= 10);
    for mark in 0..20 {
        let mut out = node.io.alloc(PortId(2), 100).expect("memory");
        node.io.bytes_mut(&mut out).copy_from_slice(&frame(100, mark));
        node.io.send(PortId(2), out).expect("room");
    }
    ip("link del h2");
    node.io.flush().expect("a vanished port is not an error");
    assert_eq!(node.io.dead_ports().collect::<Vec<_>>(), [PortId(2)]);
    let refused = node.io.alloc(PortId(2), 60).expect("memory");
    let refused = node.io.send(PortId(2), refused).expect_err("a dead port refuses");
    node.io.release(refused);
    talk(&mut node, (0, &a), (1, &b));
    assert_eq!(node.io.bytes(&held[0]), frame(100, 9), "frames in hand outlive their port");
    held.into_iter().for_each(|frame| node.io.release(frame));
    node.unbind(2);
    assert_eq!(node.io.dead_ports().count(), 0);
    node.settle();
    assert_eq!(node.io.stats().tx_lost, 20, "what was queued is counted");
    assert_eq!(node.io.outstanding(), 0);
}

/// The same without transmitting: found by looking.
#[test]
fn a_silent_death_is_noticed() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let _pods = (node.pod(0), node.pod(1));
    ip("link del h1");
    node.io.check_ports();
    assert_eq!(node.io.dead_ports().collect::<Vec<_>>(), [PortId(1)]);
    // A dead socket must not turn sleeping into spinning.
    let start = Instant::now();
    for _ in 0..5 {
        node.io.wait(Some(Duration::from_millis(10))).expect("wait");
    }
    assert!(start.elapsed() >= Duration::from_millis(30), "slept only {:?}", start.elapsed());
}

#[test]
fn polling_alone_notices_a_death() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let _pods = (node.pod(0), node.pod(1));
    ip("link del h0");
    let mut burst = Burst::new();
    for _ in 0..2_000 {
        node.io.recv(&mut burst).expect("recv");
    }
    assert_eq!(node.io.dead_ports().collect::<Vec<_>>(), [PortId(0)]);
}

/// P-L4: the kernel keeps a queue busy for a while after its socket closed.
#[test]
fn a_queue_can_be_bound_again_right_after_it_was_closed() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let (a, b) = (node.pod(0), node.pod(1));
    for _ in 0..5 {
        node.unbind(0);
        node.bind(0);
        talk(&mut node, (0, &a), (1, &b));
    }
    let ifindex = if_nametoindex("h0").expect("exists");
    let twice = node.opener.open(PortId(7), "h0", ifindex, 0).expect_err("it is bound already");
    assert!(matches!(twice, OpenError::AlreadyOpen { .. } | OpenError::Bind { .. }), "{twice}");
    talk(&mut node, (0, &a), (1, &b));
}

#[test]
fn a_replaced_interface_is_not_mistaken_for_the_old_one() {
    if !enter() {
        return;
    }
    let node = Node::new(SMALL);
    ip("link add h0 type veth peer name p0");
    let old = if_nametoindex("h0").expect("exists");
    ip("link del h0");
    ip("link add h0 type veth peer name p0");
    let changed = node.opener.open(PortId(0), "h0", old, 0).expect_err("another interface");
    assert!(matches!(changed, OpenError::Changed { wanted, .. } if wanted == old), "{changed}");
    assert!(matches!(node.opener.open(PortId(0), "", 1, 0), Err(OpenError::Name(_))));
    assert!(matches!(node.opener.open(PortId(0), "a-name-that-is-too-long", 1, 0), Err(OpenError::Name(_))));
}

#[test]
fn a_link_that_goes_down_and_up_works_again() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let (a, b) = (node.pod(0), node.pod(1));
    talk(&mut node, (0, &a), (1, &b));
    ip("link set h1 down");
    for mark in 0..10 {
        let mut out = node.io.alloc(PortId(1), 100).expect("memory");
        node.io.bytes_mut(&mut out).copy_from_slice(&frame(100, mark));
        node.io.send(PortId(1), out).expect("room");
        node.io.flush().expect("a port that is down is not an error");
    }
    assert_eq!(node.io.dead_ports().count(), 0, "down is not dead");
    ip("link set h1 up");
    let until = Instant::now() + Duration::from_secs(2);
    let mut arrived = 0;
    while arrived < 10 && Instant::now() < until {
        node.io.wait(Some(Duration::from_millis(5))).expect("wait");
        node.io.flush().expect("flush");
        arrived += b.drain().len();
    }
    assert_eq!(arrived + node.io.stats().tx_lost as usize, 10, "each one arrived or was counted");
    talk(&mut node, (0, &a), (1, &b));
}

#[test]
fn ports_come_and_go_under_traffic_without_disturbing_the_others() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let (a, b) = (node.pod(0), node.pod(1));
    node.settle();
    let mut expected = 0;
    for round in 0..10u16 {
        let number = 2 + round % 3;
        let extra = node.pod(number);
        for mark in 0..30 {
            a.send(&frame(300, mark));
            extra.send(&frame(300, mark));
        }
        let frames = node.receive(60);
        assert_eq!(frames.len(), 60);
        let (keep, other): (Vec<_>, Vec<_>) = frames.into_iter().partition(|frame| frame.port() == PortId(0));
        assert_eq!((keep.len(), other.len()), (30, 30));
        node.send_all(1, keep);
        expected += 30;
        if round % 2 == 0 {
            ip(&format!("link del h{number}"));
        }
        other.into_iter().for_each(|frame| node.io.release(frame));
        node.unbind(number);
        if round % 2 == 1 {
            ip(&format!("link del h{number}"));
        }
    }
    let frames = b.wait(expected);
    assert_eq!(frames.len(), expected, "pod 0 → pod 1 lost nothing");
    node.settle();
    assert_eq!(node.io.outstanding(), 0);
}

#[test]
fn twenty_ports_serve_each_other() {
    if !enter() {
        return;
    }
    let mut node = Node::new(Sizes::for_ports(20));
    let pods: Vec<_> = (0..20).map(|number| node.pod(number)).collect();
    for (number, pod) in pods.iter().enumerate() {
        for mark in 0..5 {
            pod.send(&frame(100 + number, mark));
        }
    }
    let mut seen = 0;
    node.forward(
        |from| PortId((from.0 + 1) % 20),
        |io| {
            seen += 1;
            io.stats().tx_frames >= 100 || seen > 100_000
        },
    );
    for (number, pod) in pods.iter().enumerate() {
        let from = (number + 19) % 20;
        let expected: Vec<_> = (0..5).map(|mark| frame(100 + from, mark)).collect();
        assert_eq!(pod.wait(5), expected, "pod {number}");
    }
    assert_eq!(node.io.outstanding(), 0);
}

#[test]
fn the_memory_disappears_with_its_owner() {
    if !enter() {
        return;
    }
    let anchors = || {
        let output = std::process::Command::new("ip").args(["-o", "link"]).output().expect("iproute2");
        String::from_utf8_lossy(&output.stdout).matches("slu").count()
    };
    let mut node = Node::new(SMALL);
    let _pod = node.pod(0);
    assert!(anchors() >= 1);
    drop(node);
    // Another test's child between fork and exec may hold the descriptor for a moment.
    let until = Instant::now() + Duration::from_secs(2);
    while anchors() > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(anchors(), 0);
}

/// A child that holds a socket would keep it bound after we closed it.
#[test]
fn children_do_not_inherit_sockets() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let _pod = node.pod(0);
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(node.fd(0), libc::F_GETFD) };
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

/// The halves live on different threads, so everything that travels between them must.
#[test]
fn everything_that_changes_threads_can() {
    fn sends<T: Send>() {}
    sends::<Opener>();
    sends::<XskIo>();
    sends::<PortSocket>();
    sends::<RetiredPort>();
    sends::<ReclaimToken>();
    sends::<Waker>();
}

#[test]
fn frames_reach_a_socket_until_it_closes_and_then_meet_the_fallback() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    let pod = node.pod(0);
    pod.send(&frame(100, 7));
    let frames = node.receive(1);
    assert_eq!(node.io.bytes(&frames[0]), frame(100, 7));
    frames.into_iter().for_each(|frame| node.io.release(frame));
    assert_eq!(settled(&node, 1), Counters { redirected: 1, ..Counters::default() });
    let retired = node.io.remove_port(PortId(0)).expect("there is such a port");
    let token = retired.close();
    node.io.reclaim(token);
    pod.send(&frame(100, 8));
    let expected = Counters { redirected: 1, fallback_dropped: 1, no_socket: 1, ..Counters::default() };
    assert_eq!(settled(&node, 2), expected);
}

/// P-M4: frames of a queue without a socket meet the fallback, they do not slip past.
#[test]
fn a_queue_without_a_socket_is_no_way_around() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    ip("link add h0 numrxqueues 2 numtxqueues 2 type veth peer name p0 numrxqueues 2 numtxqueues 2");
    for end in ["h0", "p0"] {
        ip(&format!("link set {end} addrgenmode none up"));
    }
    let ifindex = if_nametoindex("h0").expect("exists");
    let attached = node.redirect.attach(ifindex, Mode::Pod, Fallback::Drop).expect("attach");
    assert_eq!(attached.queues, 2);
    let socket = node.opener.open(PortId(0), "h0", ifindex, 0).expect("queue 0");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    node.io.add_port(socket).expect("room");
    node.indices.insert(0, ifindex);
    node.redirect.set_socket(ifindex, 0, fd).expect("socket map");
    let (pod, host) = (bed::Raw::open("p0"), bed::Raw::open("h0"));
    // Flows enough for both queues: the kernel picks one by hash.
    for flow in 0..100u8 {
        pod.send(&udp(flow));
    }
    let arrived = node.receive(100);
    let counters = settled(&node, 100);
    assert_eq!(counters.redirected as usize, arrived.len());
    assert_eq!(host.drain().len(), 0, "nothing reached the kernel's stack");
    arrived.into_iter().for_each(|frame| node.io.release(frame));
    node.unbind(0);
    for flow in 0..100u8 {
        pod.send(&udp(flow));
    }
    let later = settled(&node, 200);
    assert_eq!(later.fallback_dropped - counters.fallback_dropped, 100, "without any socket all are dropped");
    assert_eq!(host.drain().len(), 0);
}

/// The counters once `frames` were seen: a busy machine leaves the last ones to a kernel thread.
fn settled(node: &Node, frames: u64) -> Counters {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        let counters = node.redirect.counters().expect("counters");
        if counters.redirected + counters.fallback_dropped >= frames || Instant::now() > until {
            assert_eq!(counters.redirected + counters.fallback_dropped, frames);
            return counters;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A UDP datagram of flow number `flow`.
fn udp(flow: u8) -> Vec<u8> {
    let mut frame = frame(64, 0);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame[34..38].copy_from_slice(&[flow, flow, 0, 53]);
    frame
}
