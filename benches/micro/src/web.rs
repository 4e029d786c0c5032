//! A node in memory with a client and a web server, and a policy from YAML that reads their messages or does not.

pub mod calls;

use arc_swap::ArcSwap;
use datapath::ports::{Port, PortKind, PortTable};
use datapath::{DatapathConfig, Snapshot, Worker};
use flowlog::event::EventKind;
use flowlog::ring::{EventReader, EventRing};
use packet::emit::{self, Envelope, Segment};
use packet::io::mem::{MemConfig, MemIo, Sent};
use packet::{Addr, BURST_LEN, Instant, MacAddr, PortId, TcpFlags, testing};
use policy::document::load_inventory;
use policy::engine::SourceFile;
use policy::{Engine, Options, PolicySnapshot};
use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const GATEWAY: MacAddr = MacAddr([2, 0xee, 0, 0, 0, 1]);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const CLIENT_PORT: PortId = PortId(0);
const SERVER_PORT: PortId = PortId(1);
/// Longer than any frame made here.
const FRAME_LEN: usize = 1_514;

const INVENTORY: &str = r"
namespaces: [{name: bench}]
nodes: [{name: n1, ips: [192.168.0.1]}]
pods:
- {name: client, namespace: bench, node: n1, labels: {app: client}, ips: [10.0.0.1]}
- {name: server, namespace: bench, node: n1, labels: {app: server}, ips: [10.0.0.2]}
";

/// Up to the server's port; the rules for its messages follow.
const POLICY: &str = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server, namespace: bench}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts:
    - ports: [{port: \"80\", protocol: TCP}]
";

/// Eleven path patterns, as in the comparison between pods.
const HTTP_RULES: &str = r"
      rules:
        http:
        - {method: GET, path: '/allowed.*'}
        - {method: GET, path: '/api/v[0-9]+/orders(/[0-9]+)?'}
        - {method: GET, path: '/api/v[0-9]+/customers/[a-z0-9-]+/invoices'}
        - {method: GET, path: '/api/v1/search\?q=[^&]*'}
        - {method: GET, path: '/catalog/(books|music|films)/.*'}
        - {method: GET, path: '/static/.*\.(css|js|png)'}
        - {method: GET, path: '/health(z|/live|/ready)?'}
        - {method: GET, path: '/users/[0-9a-f]{8}/profile'}
        - {method: GET, path: '/carts/[0-9]+/items/[0-9]+'}
        - {method: GET, path: '/reports/20[0-9]{2}-[01][0-9]\.pdf'}
        - {method: GET, path: '/images/[a-z]+/(small|large)/.*'}
";

/// Four methods, as in the comparison between pods.
const GRPC_RULES: &str = r"
      rules:
        http:
        - {method: POST, path: '/bench.Echo/Ping'}
        - {method: POST, path: '/bench.Echo/Probe[0-9]+'}
        - {method: POST, path: '/bench.Other/.*'}
        - {method: POST, path: '/grpc.health.v1.Health/Check'}
";

/// A request as wrk sends it.
pub const REQUEST: &[u8] = b"GET /allowed/small HTTP/1.1\r\nHost: 10.0.0.2\r\n\r\n";

/// An answer as nginx sends it, 64 bytes of body.
pub const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 64\r\nConnection: keep-alive\r\n\r\n\
    an answer of sixty-four bytes, which is short, as answers go.\n\n\n";

/// Whether the policy reads messages.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Rules {
    /// It opens the port.
    L4,
    /// It lets eleven kinds of requests pass.
    Http,
    /// It lets four gRPC methods be called.
    Grpc,
}

/// One connection's next sequence numbers.
#[derive(Copy, Clone)]
struct Peer {
    port: u16,
    client: u32,
    server: u32,
}

/// A worker between client and server with open connections.
pub struct Web {
    /// The worker.
    pub worker: Worker<MemIo>,
    events: EventReader,
    now: Instant,
    peers: Vec<Peer>,
    next: usize,
    /// Requests, if no two heads are alike.
    traced: Option<u64>,
    /// Messages in the flow log so far.
    pub messages: u64,
}

impl Web {
    /// `connections` of them, open, none has been used yet.
    #[must_use]
    pub fn new(rules: Rules, connections: u16) -> Self {
        let config = MemConfig {
            ports: 2,
            buffers: 4 * BURST_LEN,
            buffer_size: 2048,
            tx_capacity: 256,
            sent: Sent::Discard,
        };
        let (writer, events) = EventRing::new(1 << 12);
        let shared = Arc::new(ArcSwap::from_pointee(snapshot(rules)));
        let worker = Worker::new(MemIo::new(config), DatapathConfig::default(), shared, writer, 42);
        let mut web = Self {
            worker,
            events,
            now: Instant::from_secs(1),
            peers: Vec::new(),
            next: 0,
            traced: None,
            messages: 0,
        };
        for i in 0..connections {
            web.open(10_000 + i);
        }
        web
    }

    /// From now on no request is like another one, and no response: each carries a trace context of its own, as those of
    /// instrumented peers do.
    #[must_use]
    pub fn traced(mut self) -> Self {
        self.traced = Some(0);
        self
    }

    fn open(&mut self, port: u16) {
        let mut peer = Peer { port, client: 1_000, server: 5_000 };
        self.arrive(CLIENT_PORT, &peer, TcpFlags::SYN, b"");
        peer.client += 1;
        self.poll();
        self.arrive(SERVER_PORT, &peer, TcpFlags::SYN | TcpFlags::ACK, b"");
        peer.server += 1;
        self.poll();
        self.arrive(CLIENT_PORT, &peer, TcpFlags::ACK, b"");
        self.poll();
        self.drain_events();
        self.peers.push(peer);
    }

    /// Requests on the next `count` connections have arrived.
    pub fn requests(&mut self, count: usize) {
        for i in 0..count {
            let at = (self.next + i) % self.peers.len();
            let peer = self.peers[at];
            if let Some(requests) = &mut self.traced {
                *requests += 1;
            }
            let request = self.message(REQUEST, i);
            self.arrive(CLIENT_PORT, &peer, TcpFlags::ACK | TcpFlags::PSH, &request);
            self.peers[at].client = peer.client.wrapping_add(request.len() as u32);
        }
    }

    /// The responses to them have arrived, which acknowledge them.
    pub fn responses(&mut self, count: usize) {
        for i in 0..count {
            let at = (self.next + i) % self.peers.len();
            let peer = self.peers[at];
            let response = self.message(RESPONSE, i);
            self.arrive(SERVER_PORT, &peer, TcpFlags::ACK | TcpFlags::PSH, &response);
            self.peers[at].server = peer.server.wrapping_add(response.len() as u32);
        }
        self.next = (self.next + count) % self.peers.len();
    }

    /// `plain`, with a field of its own where messages are traced.
    fn message(&self, plain: &'static [u8], i: usize) -> Cow<'static, [u8]> {
        let Some(requests) = self.traced else { return plain.into() };
        let id = requests * u64::from(u16::MAX) + i as u64;
        let field = format!("\r\ntraceparent: 00-{id:032x}-{id:016x}-01");
        let line = plain.iter().position(|&byte| byte == b'\r').expect("a message has a first line");
        [&plain[..line], field.as_bytes(), &plain[line..]].concat().into()
    }

    /// Polls once, a microsecond after the last time; answers the frames handled.
    pub fn poll(&mut self) -> usize {
        self.now = self.now + Duration::from_micros(1);
        self.worker.poll_once(self.now).expect("memory does not fail")
    }

    /// Empties the event ring, as the flow log's thread would, and counts messages.
    pub fn drain_events(&mut self) {
        let messages = &mut self.messages;
        self.events.drain(usize::MAX, |event| {
            *messages += u64::from(matches!(event.kind, EventKind::Message { .. }));
        });
    }

    fn arrive(&mut self, port: PortId, peer: &Peer, flags: u8, payload: &[u8]) {
        let (frame, len) = frame(port == CLIENT_PORT, peer, flags, payload);
        assert!(self.worker.io_mut().inject(port, &frame[..len]), "a buffer is free");
    }
}

/// Makes a frame in a small buffer of its own: what the bench does in between should not empty the caches.
fn frame(to_server: bool, peer: &Peer, flags: u8, payload: &[u8]) -> ([u8; FRAME_LEN], usize) {
    let (src, dst) = if to_server { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let envelope = Envelope { eth_dst: GATEWAY, ..testing::envelope(src, dst) };
    let segment = if to_server {
        let ack = if flags & TcpFlags::ACK == 0 { 0 } else { peer.server };
        segment(peer.port, 80, peer.client, ack, flags)
    } else {
        segment(80, peer.port, peer.server, peer.client, flags)
    };
    let mut out = [0; FRAME_LEN];
    let len = emit::tcp(&mut out, &envelope, &segment, &[], payload).expect("the payload fits");
    (out, len)
}

fn segment(src_port: u16, dst_port: u16, seq: u32, ack: u32, flags: u8) -> Segment {
    Segment { src_port, dst_port, seq, ack, flags: TcpFlags(flags), window: 64_240 }
}

fn snapshot(rules: Rules) -> Snapshot {
    let mut engine = Engine::new(Options { node_name: "n1".into(), ..Options::default() });
    engine.set_inventory(load_inventory(INVENTORY, "inventory.yaml").expect("a valid inventory"));
    let text = match rules {
        Rules::L4 => POLICY.to_owned(),
        Rules::Http => [POLICY.trim_end(), HTTP_RULES].concat(),
        Rules::Grpc => [POLICY.trim_end(), GRPC_RULES].concat(),
    };
    let found = engine.set_policies(vec![SourceFile { path: "server.yaml".into(), text }]);
    assert!(found.is_valid(), "the policy is valid");
    let policy: Arc<PolicySnapshot> = engine.snapshot();
    let pod = |id: PortId, name: &str, ip: Ipv4Addr| Port {
        id,
        name: format!("lxc{id}"),
        kind: PortKind::Pod {
            endpoint: Some(engine.endpoint("bench", name).expect("an endpoint").id),
            addrs: vec![Addr::v4(ip.octets())],
        },
        mac: GATEWAY,
        peer_mac: testing::mac_of(ip),
        mtu: 1500,
        partial_checksums: true,
    };
    let ports = vec![pod(CLIENT_PORT, "client", CLIENT), pod(SERVER_PORT, "server", SERVER)];
    Snapshot {
        epoch: 1,
        policy,
        ports: Arc::new(PortTable::new(ports, Vec::new(), Vec::new())),
        ..Snapshot::default()
    }
}
