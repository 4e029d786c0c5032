//! Checksums that are left to the kernel: nobody sums between two pods, and whatever leaves the machine is summed.

#[allow(dead_code, reason = "every test binary uses its part of the bed")]
mod bed;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bed::{Node, Raw, SMALL, enter, frame, ip};
use nix::sched::{CloneFlags, unshare};
use packet::checksum::{self, ChecksumState};
use packet::{Burst, ChecksumRequest, Frame, PacketIo, Parsed, PortId};

/// Nothing here takes so long.
const LONG: Duration = Duration::from_secs(20);
/// Bytes of a conversation.
const MANY: usize = 1 << 20;
/// UDP payloads: one buffer, odd lengths, several buffers.
const SIZES: [usize; 6] = [1, 17, 1_400, 3_785, 4_001, 8_900];

/// Runs `ethtool -K INTERFACE FEATURE VALUE`.
fn feature(interface: &str, feature: &str, value: &str) {
    let done = Command::new("ethtool")
        .args(["-K", interface, feature, value])
        .output()
        .expect("ethtool is installed");
    assert!(done.status.success(), "{done:?}");
}

/// A frame whose TCP checksum field holds a sum of its own, as a local sender leaves it.
fn partial(len: usize) -> Vec<u8> {
    let mut sent = frame(len, 5);
    sent[50..52].copy_from_slice(&[0x12, 0x34]);
    sent
}

/// The same with the checksum completed.
fn complete(mut sent: Vec<u8>) -> Vec<u8> {
    let sum = !packet::checksum::sum(&sent[34..]);
    sent[50..52].copy_from_slice(&sum.to_be_bytes());
    sent
}

/// Sends partial frames of many lengths from pod 0 to pod 1 and asserts what arrives.
fn arrive(node: &mut Node, a: &Raw, b: &Raw, expected: impl Fn(Vec<u8>) -> Vec<u8>) {
    for len in [60, 61, 1_500, 3_840, 3_841, 4_001, 9_000] {
        a.send(&partial(len));
        let mut frames = node.receive(1);
        frames[0].request_checksum(ChecksumRequest { start: 34, offset: 16 });
        node.send_all(1, frames);
        let arrived = b.wait(1).remove(0);
        assert!(arrived == expected(partial(len)), "length {len}");
    }
    // The field has to lie in the frame, and in its first buffer.
    for (len, start) in [(60, 44), (60, 50), (60, u16::MAX)] {
        let mut outside = node.io.alloc(PortId(1), len).expect("memory");
        outside.request_checksum(ChecksumRequest { start, offset: 16 });
        let outside = node.io.send(PortId(1), outside).expect_err("the field lies beyond the frame");
        node.io.release(outside);
    }
    node.settle();
    let stats = node.io.port_stats(PortId(1)).expect("port");
    assert_eq!((stats.tx_invalid, node.io.stats().tx_lost), (0, 0));
}

#[test]
fn requested_checksums_are_completed_in_software_also_over_several_buffers() {
    if !enter() {
        return;
    }
    let mut node = Node::with_mtu(SMALL, 9_000);
    node.sums_in_software = true;
    let (a, b) = (node.pod(0), node.pod(1));
    arrive(&mut node, &a, &b, complete);
}

#[test]
fn requested_checksums_are_completed_by_the_kernel_where_the_device_cannot() {
    if !enter() {
        return;
    }
    let mut node = Node::with_mtu(SMALL, 9_000);
    let (a, b) = (node.pod(0), node.pod(1));
    feature("h1", "tx", "off");
    arrive(&mut node, &a, &b, complete);
}

/// A veth hands a checksum that is not complete to its other end, which believes it.
#[test]
fn between_two_veths_nobody_sums() {
    if !enter() {
        return;
    }
    let mut node = Node::with_mtu(SMALL, 9_000);
    let (a, b) = (node.pod(0), node.pod(1));
    if !node.io.offloads_checksums(PortId(1)) {
        println!("SKIPPED: this kernel takes no transmit metadata");
        return;
    }
    arrive(&mut node, &a, &b, |sent| sent);
}

/// Metadata of a frame are not found again by the next one in the same chunk.
#[test]
fn a_checksum_is_asked_for_once() {
    if !enter() {
        return;
    }
    let mut node = Node::with_mtu(SMALL, 9_000);
    let (a, b) = (node.pod(0), node.pod(1));
    feature("h1", "tx", "off");
    for round in 0..3 * SMALL.ring {
        a.send(&partial(200));
        let mut frames = node.receive(1);
        let asked = round % 2 == 0;
        if asked {
            frames[0].request_checksum(ChecksumRequest { start: 34, offset: 16 });
        }
        node.send_all(1, frames);
        let expected = if asked { complete(partial(200)) } else { partial(200) };
        assert!(b.wait(1) == [expected], "round {round}");
    }
}

/// A network namespace with one end of a veth pair, held by a thread of its own.
struct Peer {
    hold: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    namespace: PathBuf,
}

impl Peer {
    /// Takes `interface` from the caller's namespace and gives it addresses.
    fn new(interface: &'static str, addresses: &'static [&'static str]) -> Self {
        let (hold, held) = channel::<()>();
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            ready.send(nix::unistd::gettid()).expect("heard");
            // Until the other end is dropped.
            let _ = held.recv();
        });
        let id = is_ready.recv().expect("a namespace");
        ip(&format!("link set {interface} netns {id}"));
        let namespace = PathBuf::from(format!("/proc/self/task/{id}/ns/net"));
        let peer = Self { hold: Some(hold), thread: Some(thread), namespace };
        peer.call(move || {
            ip("link set lo up");
            ip(&format!("link set {interface} up"));
            for address in addresses {
                let nodad = if address.contains(':') { "nodad" } else { "" };
                ip(&format!("addr add {address} dev {interface} {nodad}"));
            }
        });
        peer
    }

    /// Does something in the namespace; the answer comes when it is done.
    fn start<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
        let (answer, answered) = channel();
        let namespace = std::fs::File::open(&self.namespace).expect("the peer lives");
        std::thread::spawn(move || {
            nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET).expect("its namespace");
            // Nobody waits any more when a test has failed.
            let _ = answer.send(job());
        });
        answered
    }

    fn call<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.start(job).recv_timeout(LONG).expect("an answer")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.hold.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pattern(len: usize, mark: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(7) ^ (at >> 8) as u8 ^ mark).collect()
}

/// Echoes one TCP connection and `SIZES.len()` datagrams, once it listens.
fn serve(peer: &Peer, address: IpAddr) -> Receiver<()> {
    let (listens, is_listening) = channel();
    let done = peer.start(move || {
        let tcp = TcpListener::bind((address, 7)).expect("listen");
        let udp = UdpSocket::bind((address, 7)).expect("bind");
        listens.send(()).expect("heard");
        let (mut stream, _) = tcp.accept().expect("accept");
        let mut heard = vec![0; MANY];
        stream.read_exact(&mut heard).expect("read");
        stream.write_all(&heard).expect("write");
        for _ in SIZES {
            let mut datagram = vec![0; 65_536];
            let (len, from) = udp.recv_from(&mut datagram).expect("receive");
            udp.send_to(&datagram[..len], from).expect("send");
        }
    });
    is_listening.recv_timeout(LONG).expect("it listens");
    done
}

/// Talks to it; answers only if every byte came back.
fn talk(peer: &Peer, address: IpAddr) -> Receiver<()> {
    peer.start(move || {
        let server = SocketAddr::new(address, 7);
        let mut stream = TcpStream::connect_timeout(&server, LONG).expect("connect");
        let mut writer = stream.try_clone().expect("clone");
        let sending = std::thread::spawn(move || writer.write_all(&pattern(MANY, 1)).expect("write"));
        let mut heard = vec![0; MANY];
        stream.read_exact(&mut heard).expect("read");
        assert!(heard == pattern(MANY, 1));
        sending.join().expect("sent");
        let udp = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).expect("bind");
        udp.set_read_timeout(Some(LONG)).expect("timeout");
        for (mark, len) in (0..).zip(SIZES) {
            udp.send_to(&pattern(len, mark), server).expect("send");
            let mut heard = vec![0; 65_536];
            let got = udp.recv(&mut heard).expect("an answer");
            assert!(heard[..got] == pattern(len, mark), "{len} bytes");
        }
    })
}

/// As the pipeline does it: what is partial is asked for, anything else has to be right. Answers whether it was partial.
fn judge(io: &afxdp::XskIo, frame: &mut Frame) -> bool {
    let Ok(Parsed::Ip(packet)) = packet::parse(io.bytes(frame), frame.len()) else { return false };
    match checksum::classify(io, frame, &packet, true) {
        ChecksumState::Partial => {
            frame.request_checksum(checksum::request(&packet).expect("TCP or UDP"));
            true
        }
        ChecksumState::Invalid => panic!("a wrong checksum: {packet:?}"),
        ChecksumState::Valid | ChecksumState::Absent => false,
    }
}

/// Moves frames between ports 0 and 1 until both ends are done; answers how many were partial.
fn carry(node: &mut Node, ends: [Receiver<()>; 2]) -> usize {
    let mut partial = 0;
    let mut burst = Burst::new();
    let mut done = [false; 2];
    while !done.iter().all(|done| *done) {
        node.io.recv(&mut burst).expect("recv");
        for mut frame in burst.drain() {
            partial += usize::from(judge(&node.io, &mut frame));
            let to = PortId(1 - frame.port().0);
            if let Err(frame) = node.io.send(to, frame) {
                node.io.release(frame);
            }
        }
        node.io.flush().expect("flush");
        for (done, end) in done.iter_mut().zip(&ends) {
            match end.try_recv() {
                Ok(()) => *done = true,
                Err(std::sync::mpsc::TryRecvError::Disconnected) if !*done => panic!("an end failed"),
                Err(_) => {}
            }
        }
    }
    partial
}

#[test]
fn real_connections_accept_what_nobody_summed() {
    if !enter() {
        return;
    }
    for sums_in_software in [false, true] {
        assert!(enter());
        let mut node = Node::with_mtu(afxdp::Sizes::for_ports(2), 9_000);
        node.sums_in_software = sums_in_software;
        drop((node.pod(0), node.pod(1)));
        let client = Peer::new("p0", &["10.9.0.1/24", "fd09::1/64"]);
        let server = Peer::new("p1", &["10.9.0.2/24", "fd09::2/64"]);
        for address in ["10.9.0.2", "fd09::2"] {
            let address: IpAddr = address.parse().expect("an address");
            let ends = [serve(&server, address), talk(&client, address)];
            let partial = carry(&mut node, ends);
            assert!(partial > 2 * MANY / 65_536, "{address}: only {partial} frames were partial");
        }
        let joined = node.io.stats().tx_joined;
        assert_eq!(joined > 0, !sums_in_software && node.io.offloads_checksums(PortId(1)), "{joined} joined");
        node.settle();
        let invalid = [0, 1].map(|port| node.io.port_stats(PortId(port)).expect("port").tx_invalid);
        assert_eq!(invalid, [0, 0]);
    }
}

/// The node's own stack forwards what a port hands it unsummed; on a wire it has to be summed.
#[test]
fn what_leaves_the_machine_is_summed() {
    if !enter() {
        return;
    }
    let mut node = Node::new(SMALL);
    drop((node.pod(0), node.pod(1)));
    let client = Peer::new("p0", &["10.9.0.1/24"]);
    client.call(|| ip("route add default via 10.9.0.2"));
    // Port 1 leads into this namespace, which routes on to a wire: a device that cannot sum.
    ip("addr add 10.9.0.2/24 dev p1");
    ip("link add wire type veth peer name far");
    ip("link set wire up");
    ip("addr add 10.8.0.1/24 dev wire");
    feature("wire", "tx", "off");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("sysctl");
    let far = Peer::new("far", &["10.8.0.2/24"]);
    far.call(|| ip("route add default via 10.8.0.1"));
    let seen = far.call(|| Raw::open("far"));
    let address: IpAddr = "10.8.0.2".parse().expect("an address");
    let ends = [serve(&far, address), talk(&client, address)];
    let partial = carry(&mut node, ends);
    assert!(partial > MANY / 65_536, "only {partial} frames were partial");
    let mut judged = 0;
    for bytes in seen.drain() {
        let Some(mut copy) = node.io.alloc(PortId(1), bytes.len()) else { panic!("memory") };
        node.io.bytes_mut(&mut copy).copy_from_slice(&bytes);
        if let Ok(Parsed::Ip(packet)) = packet::parse(&bytes, bytes.len()) {
            assert_ne!(
                checksum::classify(&node.io, &copy, &packet, false),
                ChecksumState::Invalid,
                "{packet:?}"
            );
            judged += 1;
        }
        node.io.release(copy);
    }
    assert!(judged > MANY / 65_536, "only {judged} packets were seen on the wire");
}
