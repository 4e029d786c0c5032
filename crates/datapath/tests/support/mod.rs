//! A node in memory: three pods and a host port around one worker, driven step by step.
//!
//! | port | who | addresses | policy |
//! |---|---|---|---|
//! | 0 | host | 192.168.0.1, the world | |
//! | 1 | `ns/a`, identity 1001 | 10.0.0.1, fd00::1 | none |
//! | 2 | `ns/b`, identity 1002 | 10.0.0.2, fd00::2 | ingress: 1001 on TCP 80, UDP 53, echo; world on TCP 443 |
//! | 3 | `ns/c`, identity 1003 | 10.0.0.3, fd00::3 | none |
#![allow(dead_code, unreachable_pub)]

pub mod hostile;

use arc_swap::ArcSwap;
use datapath::config::DatapathConfig;
use datapath::ports::{Port, PortKind, PortTable};
use datapath::stats::Stats;
use datapath::{SharedSnapshot, Snapshot, Worker};
use flowlog::event::FlowEvent;
use flowlog::ring::{EventReader, EventRing};
use flowlog::{DropReason, EventKind};
use packet::io::mem::{MemConfig, MemIo};
use packet::packet::proto;
use packet::testing;
use packet::{Addr, Instant, MacAddr, PortId};
use policy::{Direction, EndpointId, Identity, PolicyMap, PolicySnapshot, Provenance};
use std::sync::Arc;
use std::time::Duration;

pub const HOST: PortId = PortId(0);
pub const A: PortId = PortId(1);
pub const B: PortId = PortId(2);
pub const C: PortId = PortId(3);

pub const GATEWAY_MAC: MacAddr = MacAddr([0x02, 0xee, 0, 0, 0, 1]);
pub const HOST_MAC: MacAddr = MacAddr([0x02, 0xee, 0, 0, 0, 2]);

pub const ID_A: Identity = Identity(1001);
pub const ID_B: Identity = Identity(1002);
pub const ID_C: Identity = Identity(1003);

/// What a step is expected to change in the counters; everything not named stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub received: u64,
    pub forwarded: u64,
    pub answered: u64,
    pub generated: u64,
    pub opened: u64,
    pub closed: u64,
    pub rejudged: u64,
    pub dropped: Vec<(DropReason, u64)>,
}

pub struct Net {
    pub worker: Worker<MemIo>,
    pub shared: SharedSnapshot,
    pub events: EventReader,
    pub now: Instant,
    before: Stats,
}

pub fn provenance(line: u32) -> Provenance {
    Provenance {
        kind: "CiliumNetworkPolicy".into(),
        namespace: "ns".into(),
        name: "b-ingress".into(),
        file: "b.yaml".into(),
        line,
    }
}

/// The policy of pod `b` with or without the TCP rule.
pub fn policy_of_b(with_tcp: bool) -> PolicyMap {
    let map = PolicyMap::builder()
        .enforce(Direction::Ingress, &[provenance(1)])
        .because(&[provenance(5)])
        .allow(Direction::Ingress, ID_A, proto::UDP, 53..=53)
        .allow(Direction::Ingress, ID_A, proto::ICMP, 8..=8)
        .allow(Direction::Ingress, ID_A, proto::ICMPV6, 128..=128)
        .allow(Direction::Ingress, Identity::WORLD_IPV4, proto::TCP, 443..=443);
    let map = if with_tcp { map.allow(Direction::Ingress, ID_A, proto::TCP, 80..=80) } else { map };
    map.build()
}

pub fn snapshot(epoch: u64, b: PolicyMap, ports: Vec<Port>) -> Snapshot {
    let open = || PolicyMap::builder().build();
    let policy = PolicySnapshot::for_tests(
        epoch,
        &[
            (ID_A, "ns/a", &["10.0.0.1", "fd00::1"], open()),
            (ID_B, "ns/b", &["10.0.0.2", "fd00::2"], b),
            (ID_C, "ns/c", &["10.0.0.3", "fd00::3"], open()),
        ],
        &[("192.168.0.1", Identity::HOST)],
        policy::RuleTable::default(),
    );
    let prefixes = vec![(addr("10.0.0.0"), 96 + 24), (addr("fd00::"), 64)];
    Snapshot {
        epoch,
        policy: Arc::new(policy),
        ports: Arc::new(PortTable::new(ports, vec![addr("192.168.0.1")], prefixes)),
        ..Snapshot::default()
    }
}

pub fn ports() -> Vec<Port> {
    let pod = |n: u16| Port {
        id: PortId(n),
        name: format!("lxc{n}"),
        kind: PortKind::Pod {
            endpoint: Some(EndpointId(n)),
            addrs: vec![addr(&format!("10.0.0.{n}")), addr(&format!("fd00::{n}"))],
        },
        mac: GATEWAY_MAC,
        peer_mac: pod_mac(PortId(n)),
        mtu: if n == 3 { 1400 } else { 9000 },
        partial_checksums: true,
    };
    let host = Port {
        id: HOST,
        name: "sluice_net".into(),
        kind: PortKind::Host,
        mac: GATEWAY_MAC,
        peer_mac: HOST_MAC,
        mtu: 1500,
        partial_checksums: true,
    };
    vec![host, pod(1), pod(2), pod(3)]
}

pub fn addr(text: &str) -> Addr {
    text.parse::<std::net::IpAddr>().expect("an address").into()
}

pub fn pod_mac(port: PortId) -> MacAddr {
    testing::mac_of(addr(&format!("10.0.0.{}", port.0)))
}

/// A frame as the other side of `port` sends it: its own Ethernet address, ours as next hop.
pub fn from(port: PortId, frame: Vec<u8>) -> Vec<u8> {
    let src = if port == HOST { HOST_MAC } else { pod_mac(port) };
    testing::with_macs(frame, src, GATEWAY_MAC)
}

impl Net {
    pub fn new() -> Self {
        Self::with(DatapathConfig::default())
    }

    pub fn with(config: DatapathConfig) -> Self {
        Self::over(config, MemConfig::default().tx_capacity)
    }

    pub fn with_tx_capacity(tx_capacity: usize) -> Self {
        Self::over(DatapathConfig::default(), tx_capacity)
    }

    fn over(config: DatapathConfig, tx_capacity: usize) -> Self {
        let shared = Arc::new(ArcSwap::from_pointee(snapshot(1, policy_of_b(true), ports())));
        let io = MemIo::new(MemConfig { ports: 4, buffers: 64, tx_capacity, ..MemConfig::default() });
        let (writer, events) = EventRing::new(4096);
        let worker = Worker::new(io, config, shared.clone(), writer, 7);
        let before = worker.stats().clone();
        Self { worker, shared, events, now: Instant::from_secs(1000), before }
    }

    /// Lets frames arrive on `port`, polls once, and compares every counter with `expected`. Answers the events.
    pub fn step(&mut self, port: PortId, frames: &[Vec<u8>], expected: Delta) -> Vec<FlowEvent> {
        for frame in frames {
            assert!(self.worker.io_mut().inject(port, frame), "room for the frame");
        }
        self.poll(expected)
    }

    /// Polls once and compares.
    pub fn poll(&mut self, expected: Delta) -> Vec<FlowEvent> {
        self.worker.poll_once(self.now).expect("memory does not fail");
        let after = self.worker.stats().clone();
        let seen = delta(&self.before, &after);
        self.before = after;
        let mut expected = expected;
        expected.dropped.sort_by_key(|(reason, _)| reason.index());
        assert_eq!(seen, expected);
        use packet::PacketIo;
        assert_eq!(self.worker.io().outstanding(), 0, "a frame leaked");
        let mut events = Vec::new();
        self.events.drain(usize::MAX, |event| events.push(event));
        events
    }

    pub fn sent(&mut self, port: PortId) -> Vec<Vec<u8>> {
        self.worker.io_mut().take_sent(port)
    }

    /// One frame in, one frame out of `to`, nothing else changed but `extra`.
    pub fn passes(&mut self, from_port: PortId, to: PortId, frame: Vec<u8>, extra: Delta) -> Vec<u8> {
        let expected = Delta { received: 1, forwarded: 1, ..extra };
        self.step(from_port, &[from(from_port, frame)], expected);
        let mut out = self.sent(to);
        assert_eq!(out.len(), 1, "one frame leaves");
        out.remove(0)
    }

    /// One frame in, dropped for `reason`, nothing sent anywhere.
    pub fn drops(&mut self, port: PortId, frame: Vec<u8>, reason: DropReason) -> Vec<FlowEvent> {
        let expected = Delta { received: 1, dropped: vec![(reason, 1)], ..Delta::default() };
        let events = self.step(port, &[from(port, frame)], expected);
        for port in [HOST, A, B, C] {
            assert!(self.sent(port).is_empty(), "nothing leaves by {port}");
        }
        let dropped =
            events.iter().filter(|e| matches!(e.kind, EventKind::Drop { reason: r, .. } if r == reason));
        assert_eq!(dropped.count(), 1, "one drop event: {events:?}");
        events
    }

    pub fn swap(&mut self, epoch: u64, b: PolicyMap, ports: Vec<Port>) {
        self.shared.store(Arc::new(snapshot(epoch, b, ports)));
    }

    pub fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }
}

fn delta(before: &Stats, after: &Stats) -> Delta {
    let dropped = DropReason::ALL
        .iter()
        .map(|reason| (*reason, after.dropped_for(*reason) - before.dropped_for(*reason)))
        .filter(|(_, n)| *n > 0)
        .collect();
    Delta {
        received: after.received - before.received,
        forwarded: after.forwarded - before.forwarded,
        answered: after.answered - before.answered,
        generated: after.generated - before.generated,
        opened: after.connections_opened - before.connections_opened,
        closed: after.connections_closed - before.connections_closed,
        rejudged: after.rejudged - before.rejudged,
        dropped,
    }
}

pub fn opened() -> Delta {
    Delta { opened: 1, ..Delta::default() }
}
