//! The worker between two pods, with policy from YAML.
//!
//! | port | who | addresses |
//! |---|---|---|
//! | 1 | `shop/client` | 10.0.0.1, fd00::1 |
//! | 2 | `shop/server` | 10.0.0.2, fd00::2 |

use arc_swap::ArcSwap;
use datapath::config::DatapathConfig;
use datapath::conntrack::ConntrackConfig;
use datapath::ports::{Port, PortKind, PortTable};
use datapath::snapshot::{Visibility, VisiblePort};
use datapath::stats::Stats;
use datapath::{Snapshot, Worker};
use flowlog::detail;
use flowlog::event::{EventKind, FlowEvent, MessageVerdict};
use flowlog::ring::{EventReader, EventRing};
use packet::io::mem::{MemConfig, MemIo};
use packet::{Addr, Instant, MacAddr, PacketIo, PortId};
use policy::document::load_inventory;
use policy::engine::SourceFile;
use policy::{Engine, L7Kind, Options, PolicySnapshot};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub const CLIENT: PortId = PortId(1);
pub const SERVER: PortId = PortId(2);
/// The server's TCP port.
pub const HTTP: u16 = 80;
pub const GATEWAY_MAC: MacAddr = MacAddr([0x02, 0xee, 0, 0, 0, 1]);
const BUFFERS: usize = 512;

const INVENTORY: &str = r"
namespaces: [{name: shop}]
nodes: [{name: n1, ips: [192.168.0.1]}]
pods:
- {name: client, namespace: shop, node: n1, labels: {app: client}, ips: [10.0.0.1, 'fd00::1']}
- {name: server, namespace: shop, node: n1, labels: {app: server}, ips: [10.0.0.2, 'fd00::2']}
";

const L4: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
"#;

/// Every method on `/allowed`, nothing else.
const HTTP_RULES: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules:
        http:
        - {path: "/allowed/.*"}
"#;

/// The client may ask for `allowed.example` and for nothing else.
const DNS_RULES: &str = r#"
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: client, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
  - toEndpoints: [{matchLabels: {app: server}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
  - toEndpoints: [{matchLabels: {app: server}}]
    toPorts:
    - ports: [{port: "53", protocol: UDP}]
      rules: {dns: [{matchName: allowed.example}]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: resolver, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "53", protocol: UDP}]}]
"#;

/// Which policy the server has.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Rules {
    /// The port is open; nothing is inspected.
    L4,
    /// Requests below `/allowed/` pass.
    Http,
    /// Likewise, and the client may ask the server for one name.
    HttpAndDns,
    /// The same rules, in audit mode.
    Audit,
    /// The port is open, and its messages are to be seen.
    Visible,
}

type Compiled = (Arc<PolicySnapshot>, Arc<PortTable>);

impl Rules {
    fn compiled(self) -> Compiled {
        static COMPILED: [OnceLock<Compiled>; 4] = [const { OnceLock::new() }; 4];
        let (slot, text) = match self {
            Self::L4 | Self::Visible => (&COMPILED[0], L4.to_owned()),
            Self::Http => (&COMPILED[1], HTTP_RULES.to_owned()),
            Self::Audit => (&COMPILED[2], HTTP_RULES.to_owned()),
            Self::HttpAndDns => (&COMPILED[3], [HTTP_RULES, DNS_RULES].concat()),
        };
        slot.get_or_init(|| compile(&text, self == Self::Audit)).clone()
    }
}

fn compile(text: &str, audit: bool) -> Compiled {
    let mut engine = Engine::new(Options { node_name: "n1".into(), audit, ..Options::default() });
    engine.set_inventory(load_inventory(INVENTORY, "inventory.yaml").expect("a valid inventory"));
    let found = engine.set_policies(vec![SourceFile { path: "server.yaml".into(), text: text.into() }]);
    let wrong: Vec<String> = found.diagnostics().map(ToString::to_string).collect();
    assert!(found.is_valid(), "{wrong:?}");
    let pod = |id: PortId, name: &str| Port {
        id,
        name: format!("lxc{id}"),
        kind: PortKind::Pod {
            endpoint: Some(engine.endpoint("shop", name).expect("an endpoint").id),
            addrs: vec![addr_of(id, false), addr_of(id, true)],
        },
        mac: GATEWAY_MAC,
        peer_mac: mac_of(id),
        mtu: 65_535,
        partial_checksums: true,
    };
    let ports = vec![pod(CLIENT, "client"), pod(SERVER, "server")];
    (engine.snapshot(), Arc::new(PortTable::new(ports, Vec::new(), Vec::new())))
}

pub fn ip_of(port: PortId, v6: bool) -> IpAddr {
    let text = if v6 { format!("fd00::{port}") } else { format!("10.0.0.{port}") };
    text.parse().expect("an address")
}

pub fn addr_of(port: PortId, v6: bool) -> Addr {
    ip_of(port, v6).into()
}

pub fn mac_of(port: PortId) -> MacAddr {
    packet::testing::mac_of(addr_of(port, false))
}

/// A worker and its memory.
pub struct Node {
    pub worker: Worker<MemIo>,
    pub now: Instant,
    events: EventReader,
}

impl Node {
    pub fn new(rules: Rules, buffer_size: usize) -> Self {
        let (policy, ports) = rules.compiled();
        let http = VisiblePort { l4_proto: packet::packet::proto::TCP, port: HTTP, kind: L7Kind::Http };
        let visible = if rules == Rules::Visible { vec![http] } else { Vec::new() };
        let visibility = Arc::new(Visibility(visible));
        let snapshot = Snapshot { epoch: 1, policy, ports, visibility, ..Snapshot::default() };
        let shared = Arc::new(ArcSwap::from_pointee(snapshot));
        let mut conntrack = ConntrackConfig::with_max_entries(64);
        // Longer than any retransmission time-out here, so that a lost last acknowledgement can be repeated.
        conntrack.timeouts.tcp_fin = Duration::from_secs(100);
        conntrack.timeouts.tcp_closing = Duration::from_secs(100);
        let config = DatapathConfig { conntrack, ..DatapathConfig::default() };
        let io = MemIo::new(MemConfig { ports: 3, buffers: BUFFERS, buffer_size, ..MemConfig::default() });
        let (writer, events) = EventRing::new(1024);
        Self { worker: Worker::new(io, config, shared, writer, 7), now: Instant::from_secs(1_000), events }
    }

    /// Lets a frame arrive.
    pub fn arrive(&mut self, port: PortId, frame: &[u8]) {
        assert!(self.worker.io_mut().inject(port, frame), "no buffer left: frames are leaking");
    }

    /// Handles everything that has arrived, and timers.
    pub fn poll(&mut self) {
        while self.worker.poll_once(self.now).expect("memory does not fail") > 0 {}
    }

    pub fn sent(&mut self, port: PortId) -> Vec<Vec<u8>> {
        self.worker.io_mut().take_sent(port)
    }

    pub fn stats(&self) -> &Stats {
        self.worker.stats()
    }

    /// What was told of messages since the last call: the verdict, and one line about the message.
    pub fn messages(&mut self) -> Vec<(MessageVerdict, String)> {
        let mut messages = Vec::new();
        self.events.drain_messages(usize::MAX, |event, said| {
            if let (EventKind::Message { verdict, .. }, Some(message)) = (event.kind, detail::decode(said)) {
                messages.push((verdict, format!("{message:?}")));
            }
        });
        messages
    }

    /// The events since the last call.
    pub fn events(&mut self) -> Vec<FlowEvent> {
        let mut events = Vec::new();
        self.events.drain(usize::MAX, |event| events.push(event));
        events
    }

    /// Frames that the worker keeps, as long as all that left was taken.
    pub fn outstanding(&self) -> usize {
        self.worker.io().outstanding()
    }

    /// Buffers that are not free.
    pub fn used_buffers(&self) -> usize {
        BUFFERS - self.worker.io().free_buffers()
    }
}
