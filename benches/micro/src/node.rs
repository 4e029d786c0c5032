//! A node in memory for the pipeline benches: two pods, a policy, and an endless supply of frames.

use arc_swap::ArcSwap;
use datapath::ports::{Port, PortKind, PortTable};
use datapath::{DatapathConfig, Snapshot, Worker};
use flowlog::ring::{EventReader, EventRing};
use packet::io::mem::{MemConfig, MemIo, Sent};
use packet::packet::proto;
use packet::testing;
use packet::{Addr, BURST_LEN, Instant, MacAddr, PortId, TcpFlags};
use policy::{Direction, EndpointId, Identity, PolicyMap, PolicySnapshot};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// Frames of one poll.
pub const BURST: usize = BURST_LEN;

const GATEWAY: MacAddr = MacAddr([2, 0xee, 0, 0, 0, 1]);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const CLIENT_PORT: PortId = PortId(0);
pub(crate) const SERVER_PORT: PortId = PortId(1);
const CLIENT_IDENTITY: Identity = Identity(1001);
const SERVER_IDENTITY: Identity = Identity(1002);

/// A worker between `client` and `server`, and a clock that the bench moves.
pub struct Node {
    /// The worker.
    pub worker: Worker<MemIo>,
    events: EventReader,
    now: Instant,
    next: u32,
    segments: Vec<Vec<u8>>,
}

impl Node {
    /// A node whose backend forgets what it sent.
    fn new(buffers: usize) -> Self {
        let config =
            MemConfig { ports: 2, buffers, buffer_size: 2048, tx_capacity: 256, sent: Sent::Discard };
        let (writer, events) = EventRing::new(1 << 16);
        let shared = Arc::new(ArcSwap::from_pointee(snapshot()));
        let worker = Worker::new(MemIo::new(config), DatapathConfig::default(), shared, writer, 42);
        Self { worker, events, now: Instant::from_secs(1), next: 0, segments: Vec::new() }
    }

    /// `flows` established TCP connections; [`data`](Self::data) supplies their next segments.
    #[must_use]
    pub fn with_established(flows: u32) -> Self {
        let mut node = Self::new(4 * BURST);
        for flow in 0..flows {
            let (client, server) = (client_of(flow), (SERVER, 80));
            let syn = segment(client, server, TcpFlags::SYN, 100, 0);
            let syn_ack = segment(server, client, TcpFlags::SYN | TcpFlags::ACK, 500, 101);
            let ack = segment(client, server, TcpFlags::ACK, 101, 501);
            for (port, frame) in [(CLIENT_PORT, syn), (SERVER_PORT, syn_ack), (CLIENT_PORT, ack)] {
                assert!(node.worker.io_mut().inject(port, &frame));
                node.poll();
            }
            node.drain_events();
        }
        node.segments = (0..flows.max(BURST as u32))
            .map(|i| segment(client_of(i % flows), (SERVER, 80), TcpFlags::ACK, 101, 501))
            .collect();
        node
    }

    /// Supplies one burst of segments of the established connections, in an order without a pattern.
    pub fn data(&mut self) {
        for _ in 0..BURST {
            self.next = self.next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (u64::from(self.next) * self.segments.len() as u64) >> 32;
            assert!(self.worker.io_mut().inject(CLIENT_PORT, &self.segments[at as usize]));
        }
    }

    /// Every frame that [`fresh`](Self::fresh) supplies opens a connection.
    #[must_use]
    pub fn with_new_flows() -> Self {
        Self::new(4 * BURST)
    }

    /// Supplies one burst of first packets (UDP, allowed), and lets earlier connections time out.
    pub fn fresh(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        for _ in 0..BURST {
            let (ip, port) = client_of(self.next);
            self.next = self.next.wrapping_add(1);
            let frame = to_gateway(testing::udp(ip, SERVER, port, 53, &[0; 18]));
            assert!(self.worker.io_mut().inject(CLIENT_PORT, &frame));
        }
    }

    /// Supplies one burst of SYNs that no rule allows.
    pub fn refused(&mut self) {
        for _ in 0..BURST {
            self.next = self.next.wrapping_add(1);
            let frame = segment(client_of(self.next), (SERVER, 81), TcpFlags::SYN, 1, 0);
            assert!(self.worker.io_mut().inject(CLIENT_PORT, &frame));
        }
    }

    /// Polls once; answers the frames handled.
    pub fn poll(&mut self) -> usize {
        self.worker.poll_once(self.now).expect("memory does not fail")
    }

    /// Empties the event ring, as the flow log's thread would.
    pub fn drain_events(&mut self) {
        self.events.drain(usize::MAX, |_| {});
    }
}

/// The client has one address for each 50,000 flows.
fn client_of(flow: u32) -> (Ipv4Addr, u16) {
    let [_, _, high, low] = (flow / 50_000 % 200).to_be_bytes();
    (Ipv4Addr::new(10, 1, high, low), 10_000 + (flow % 50_000) as u16)
}

fn segment(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let mut frame = testing::tcp(from.0, to.0, from.1, to.1, flags, seq, ack, b"");
    frame.resize(60, 0);
    to_gateway(frame)
}

/// Both pods have one Ethernet address each, whatever addresses they use.
fn to_gateway(frame: Vec<u8>) -> Vec<u8> {
    let from_server = frame[26..30] == SERVER.octets();
    testing::with_macs(frame, testing::mac_of(if from_server { SERVER } else { CLIENT }), GATEWAY)
}

/// A segment from the client of an established connection to the server.
pub(crate) fn established(flow: u32) -> Vec<u8> {
    segment(client_of(flow), (SERVER, 80), TcpFlags::ACK, 101, 501)
}

pub(crate) fn snapshot() -> Snapshot {
    let rules = PolicyMap::builder()
        .enforce(Direction::Ingress, &[])
        .allow(Direction::Ingress, CLIENT_IDENTITY, proto::TCP, 80..=80)
        .allow(Direction::Ingress, CLIENT_IDENTITY, proto::UDP, 53..=53)
        .build();
    let open = PolicyMap::builder().build();
    let policy = PolicySnapshot::for_tests(
        1,
        &[(CLIENT_IDENTITY, "bench/client", &[], open), (SERVER_IDENTITY, "bench/server", &[], rules)],
        &[],
        policy::RuleTable::default(),
    );
    let clients = (0..200).map(|i| Addr::v4(client_of(i * 50_000).0.octets())).collect();
    let pod = |id: PortId, ip: Ipv4Addr, addrs: Vec<Addr>| Port {
        id,
        name: format!("lxc{id}"),
        kind: PortKind::Pod { endpoint: Some(EndpointId(id.0 + 1)), addrs },
        mac: GATEWAY,
        peer_mac: testing::mac_of(ip),
        mtu: 1500,
        partial_checksums: true,
    };
    let ports =
        vec![pod(CLIENT_PORT, CLIENT, clients), pod(SERVER_PORT, SERVER, vec![Addr::v4(SERVER.octets())])];
    Snapshot {
        epoch: 1,
        policy: Arc::new(policy),
        ports: Arc::new(PortTable::new(ports, Vec::new(), Vec::new())),
        ..Snapshot::default()
    }
}
