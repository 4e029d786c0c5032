//! Nodes in memory with many pods, or with peers of many identities: what a frame costs by their number.

use arc_swap::ArcSwap;
use datapath::ports::{Port, PortKind, PortTable};
use datapath::{DatapathConfig, Snapshot, Worker};
use flowlog::ring::{EventReader, EventRing};
use packet::io::mem::{MemConfig, MemIo, Sent};
use packet::packet::proto;
use packet::testing;
use packet::{Addr, BURST_LEN, Instant, MacAddr, PortId};
use policy::{Direction, EndpointId, Identity, PolicyMap, PolicySnapshot};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const GATEWAY: MacAddr = MacAddr([2, 0xee, 0, 0, 0, 1]);
/// The node's kernel, behind which peers on other nodes are.
const KERNEL: MacAddr = MacAddr([2, 0xee, 0, 0, 0, 2]);
/// The port that everybody may send to.
const OPEN: u16 = 53;
/// Connections between pods, however many these are.
const FLOWS: u32 = 1_024;
/// The identity of the first pod or peer.
const FIRST: u32 = 1_000;

/// A worker, and who sends to whom.
pub struct Crowd {
    /// The worker.
    pub worker: Worker<MemIo>,
    events: EventReader,
    now: Instant,
    random: u32,
    sent: u32,
    supply: Supply,
}

enum Supply {
    /// Frames of established connections, each with the port it comes in by.
    Established(Vec<(PortId, Vec<u8>)>),
    /// The first frame of a connection from one of so many peers on other nodes.
    New(u32),
}

impl Crowd {
    /// So many pods, each with its identity, with `FLOWS` established connections among all of them: each pod sends to the
    /// next one.
    #[must_use]
    pub fn of_pods(pods: u16) -> Self {
        let count = u32::from(pods);
        let maps = (0..count).map(|at| opened(&[FIRST + (at + count - 1) % count]));
        let ports: Vec<Port> = (0..pods).map(|at| pod_port(at, pod(u32::from(at)))).collect();
        let named: Vec<(String, String)> =
            (0..count).map(|at| (format!("bench/pod-{at}"), pod(at).to_string())).collect();
        let addresses: Vec<[&str; 1]> = named.iter().map(|(_, address)| [address.as_str()]).collect();
        let endpoints: Vec<_> = (0..)
            .zip(&named)
            .zip(&addresses)
            .zip(maps)
            .map(|(((at, (name, _)), addresses), map)| {
                (Identity(FIRST + at), name.as_str(), &addresses[..], map)
            })
            .collect();
        let policy = PolicySnapshot::for_tests(1, &endpoints, &[], policy::RuleTable::default());
        let frames: Vec<(PortId, Vec<u8>)> = (0..FLOWS)
            .map(|flow| {
                let (from, to) = (pod(flow % count), pod((flow + 1) % count));
                let frame = testing::udp(from, to, 10_000 + flow as u16, OPEN, &[0; 18]);
                (PortId((flow % count) as u16), testing::with_macs(frame, testing::mac_of(from), GATEWAY))
            })
            .collect();
        let mut crowd =
            Self::new(pods, policy, PortTable::new(ports, Vec::new(), Vec::new()), Supply::New(0));
        for (port, frame) in &frames {
            assert!(crowd.worker.io_mut().inject(*port, frame));
            crowd.poll();
        }
        crowd.supply = Supply::Established(frames);
        crowd
    }

    /// One pod, and so many peers on other nodes, each with an identity and a rule of its own. Each frame opens a connection,
    /// so that the address, the identity and the rule of its peer are looked up.
    #[must_use]
    pub fn of_identities(peers: u32) -> Self {
        let identities: Vec<u32> = (0..peers).map(|at| FIRST + at).collect();
        let addresses: Vec<String> = (0..peers).map(|at| peer(at).to_string()).collect();
        let others: Vec<(&str, Identity)> =
            addresses.iter().map(String::as_str).zip(identities.iter().copied().map(Identity)).collect();
        let address = pod(0).to_string();
        let endpoints = [(Identity(1), "bench/server", &[address.as_str()][..], opened(&identities))];
        let policy = PolicySnapshot::for_tests(1, &endpoints, &others, policy::RuleTable::default());
        let host = Port { kind: PortKind::Host, peer_mac: KERNEL, ..pod_port(1, pod(1)) };
        let ports = PortTable::new(vec![pod_port(0, pod(0)), host], Vec::new(), Vec::new());
        Self::new(2, policy, ports, Supply::New(peers))
    }

    fn new(ports: u16, policy: PolicySnapshot, table: PortTable, supply: Supply) -> Self {
        let buffers = 4 * BURST_LEN;
        let config = MemConfig { ports, buffers, buffer_size: 2048, tx_capacity: 256, sent: Sent::Discard };
        let snapshot =
            Snapshot { epoch: 1, policy: Arc::new(policy), ports: Arc::new(table), ..Snapshot::default() };
        let (writer, events) = EventRing::new(1 << 16);
        let shared = Arc::new(ArcSwap::from_pointee(snapshot));
        let worker = Worker::new(MemIo::new(config), DatapathConfig::default(), shared, writer, 42);
        Self { worker, events, now: Instant::from_secs(1), random: 0, sent: 0, supply }
    }

    /// Supplies one burst, in an order without a pattern.
    pub fn supply(&mut self) {
        self.events.drain(usize::MAX, |_| {});
        if matches!(self.supply, Supply::New(_)) {
            // One peer comes back to a port after 13 minutes; by then its connection is long forgotten. A poll forgets a few,
            // so it takes more polls than bursts to keep the table small.
            for _ in 0..4 {
                self.now = self.now + Duration::from_millis(250);
                self.poll();
            }
        }
        for _ in 0..BURST_LEN {
            self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let below = |count: u32| ((u64::from(self.random) * u64::from(count)) >> 32) as u32;
            match &self.supply {
                Supply::Established(frames) => {
                    let (port, frame) = &frames[below(frames.len() as u32) as usize];
                    assert!(self.worker.io_mut().inject(*port, frame));
                }
                Supply::New(peers) => {
                    let from = peer(below(*peers));
                    let port = 10_000 + (self.sent % 50_000) as u16;
                    self.sent = self.sent.wrapping_add(1);
                    let frame = testing::udp(from, pod(0), port, OPEN, &[0; 18]);
                    let frame = testing::with_macs(frame, KERNEL, GATEWAY);
                    assert!(self.worker.io_mut().inject(PortId(1), &frame));
                }
            }
        }
    }

    /// Polls once; answers the frames handled.
    pub fn poll(&mut self) -> usize {
        self.worker.poll_once(self.now).expect("memory does not fail")
    }
}

fn opened(peers: &[u32]) -> PolicyMap {
    let mut map = PolicyMap::builder().enforce(Direction::Ingress, &[]);
    for peer in peers {
        map = map.allow(Direction::Ingress, Identity(*peer), proto::UDP, OPEN..=OPEN);
    }
    map.build()
}

fn pod_port(number: u16, address: Ipv4Addr) -> Port {
    Port {
        id: PortId(number),
        name: format!("lxc{number}"),
        kind: PortKind::Pod {
            endpoint: Some(EndpointId(number + 1)),
            addrs: vec![Addr::v4(address.octets())],
        },
        mac: GATEWAY,
        peer_mac: testing::mac_of(address),
        mtu: 1500,
        partial_checksums: true,
    }
}

/// The address of a pod of this node.
fn pod(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0af4_0102 + number)
}

/// The address of a pod elsewhere.
fn peer(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0af5_0002 + number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_of_a_peer_opens_a_connection() {
        for peers in [1, 100] {
            let mut crowd = Crowd::of_identities(peers);
            for _ in 0..2_000 {
                crowd.supply();
                assert_eq!(crowd.poll(), BURST_LEN);
            }
            let stats = crowd.worker.stats();
            assert_eq!(
                (stats.connections_opened, stats.dropped_total()),
                (stats.received, 0),
                "{peers} peers"
            );
        }
    }
}
