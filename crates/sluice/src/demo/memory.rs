//! The demo without privileges: the same conversations as frames through the same pipeline, over the memory backend.
//!
//! Every pod is a port of a [`MemIo`]; client and server are a few frames each (`peers.rs`), written by the packet
//! crate's builders and read by its parser. What decides is what decides in the real thing: the policy engine, the
//! connection table and the pipeline.

mod peers;

use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Result, anyhow};
use datapath::learn::{self, LearnReader};
use datapath::ports::{Port, PortKind, PortTable};
use datapath::{DatapathConfig, SharedSnapshot, Snapshot, Worker};
use flowlog::{EventReader, EventRing, Record, Resolver, Workload};
use packet::emit::{self, Envelope};
use packet::io::mem::{MemConfig, MemIo};
use packet::{Addr, Instant, MacAddr, Packet, PacketIo, PortId};
use peers::Talk;
use policy::document::load_inventory;
use policy::engine::{Engine, Options, SourceFile};
use policy::fqdn::Answer;
use policy::{EndpointId, Identity, PolicySnapshot, Provenance, RuleId};

use super::conversation::{Conversation, Happened, Outcome, Peer, Probe};
use super::missing_rule::describe_drop;
use super::report::Report;
use super::stack;
use crate::run::rules::merge;

/// The stacks' workloads.
const INVENTORIES: [&str; 2] = [
    include_str!("../../../../configs/stacks/three-tier/inventory/cluster.yaml"),
    include_str!("../../../../configs/stacks/payments/inventory/cluster.yaml"),
];
/// The node of that inventory.
const NODE: &str = "node-1";
/// The port of the node's kernel; pods follow in the order of the inventory.
const HOST: PortId = PortId(0);
/// The appliance's Ethernet address on every port.
const GATEWAY_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// Keys the hash of the connection table; nobody attacks a demo.
const SEED: u64 = 1;

/// Has every conversation in memory; true when all went as expected.
pub(super) fn run() -> Result<bool> {
    let conversations = stack::conversations();
    let mut report = Report::new(&conversations);
    report.heading("MEMORY BACKEND: no namespaces, no AF_XDP; frames made here go through the same pipeline");
    report.note("  Left out: gRPC and Kafka, which need real programs.");
    let mut cluster = Cluster::new()?;
    report.header();
    let mut denied = Vec::new();
    for conversation in conversations {
        let started = Clock::now();
        let happened = cluster.hold(&conversation)?;
        let outcome = Outcome { conversation, happened, elapsed: started.elapsed() };
        report.outcome(&outcome);
        let records = cluster.records()?;
        if outcome.happened == Happened::Silence {
            denied.push((conversation, records));
        }
    }
    report.heading("Flow log of the denied ones");
    for (conversation, records) in &denied {
        match records.iter().rev().find_map(|record| describe_drop(conversation, record)) {
            Some(text) => report.drop_record(&text),
            None => report.line(&format!(
                "  {} -> {}: no record",
                conversation.from.short(),
                conversation.destination()
            )),
        }
    }
    let stats = cluster.worker.io().stats();
    report
        .line(&format!("\n{} packets received from memory ports, {} sent", stats.rx_frames, stats.tx_frames));
    Ok(report.verdict("memory backend"))
}

/// The node in memory.
struct Cluster {
    worker: Worker<MemIo>,
    events: EventReader,
    engine: Engine,
    policy: Arc<PolicySnapshot>,
    shared: SharedSnapshot,
    learnt: LearnReader,
    /// Pod path, addresses (IPv4, IPv6) and port.
    pods: Vec<(String, [Addr; 2], PortId)>,
    node: [Addr; 2],
    outside: [Addr; 2],
    now: Instant,
    next_port: u16,
    seq: u64,
}

impl Cluster {
    fn new() -> Result<Self> {
        let parts = INVENTORIES.map(|text| load_inventory(text, "cluster.yaml"));
        let parts = parts
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map_err(|found| anyhow!("inventory: {found:?}"))?;
        let inventory = merge(parts.iter());
        let mut engine = Engine::new(Options { node_name: NODE.into(), ..Options::default() });
        engine.set_inventory(inventory.clone());
        let files = stack::POLICIES
            .iter()
            .map(|(name, text)| SourceFile { path: format!("{name}.yaml"), text: (*text).to_owned() });
        let found = engine.set_policies(files.collect());
        if !found.is_valid() {
            return Err(anyhow!(
                "policies: {:?}",
                found.diagnostics().map(ToString::to_string).collect::<Vec<_>>()
            ));
        }

        let both = |ips: &[std::net::IpAddr]| -> Result<[Addr; 2]> {
            let family = |v4: bool| ips.iter().find(|ip| ip.is_ipv4() == v4).map(|ip| Addr::from(*ip));
            Ok([family(true).context("no IPv4 address")?, family(false).context("no IPv6 address")?])
        };
        let node = both(&inventory.nodes.first().context("no node")?.ips)?;
        let outside = [
            Addr::v4([198, 51, 100, 2]),
            Addr::from(std::net::IpAddr::from(crate::testbed::node::OUTSIDE_V6)),
        ];
        let mut ports = vec![port(HOST, "sluice_net", PortKind::Host)];
        let mut pods = Vec::new();
        for (number, pod) in (1_u16..).zip(&inventory.pods) {
            let endpoint = engine.endpoint(&pod.namespace, &pod.name).map(|endpoint| endpoint.id);
            let (id, addrs) = (PortId(number), both(&pod.ips)?);
            ports.push(port(id, &pod.name, PortKind::Pod { endpoint, addrs: addrs.to_vec() }));
            pods.push((format!("{}/{}", pod.namespace, pod.name), addrs, id));
        }
        let count = u16::try_from(ports.len())?;
        let policy = engine.snapshot();
        let snapshot = Snapshot {
            epoch: 1,
            policy: Arc::clone(&policy),
            ports: Arc::new(PortTable::new(ports, node.to_vec(), Vec::new())),
            ..Snapshot::default()
        };
        let shared = SharedSnapshot::new(arc_swap::ArcSwap::from_pointee(snapshot));
        let (writer, events) = EventRing::new(4096);
        let io = MemIo::new(MemConfig { ports: count, ..MemConfig::default() });
        let mut worker = Worker::new(io, DatapathConfig::default(), Arc::clone(&shared), writer, SEED);
        let (learn, learnt) = learn::channel(64);
        worker.set_learning(learn);
        Ok(Self {
            worker,
            events,
            engine,
            policy,
            shared,
            learnt,
            pods,
            node,
            outside,
            now: Instant::from_secs(1),
            next_port: 40_000,
            seq: 0,
        })
    }

    /// Address and port of one end.
    fn end(&self, peer: Peer, ipv6: bool) -> Result<(Addr, PortId)> {
        let (addrs, port) = match peer {
            Peer::Pod(path) => {
                let pod = self.pods.iter().find(|(name, ..)| name == path).context("no such pod")?;
                (pod.1, pod.2)
            }
            Peer::Node => (self.node, HOST),
            Peer::Outside => (self.outside, HOST),
        };
        Ok((addrs[usize::from(ipv6)], port))
    }

    /// One conversation, after its lookup where it has one.
    fn hold(&mut self, one: &Conversation) -> Result<Happened> {
        if let Probe::Named { .. } = one.probe {
            let lookup = Conversation {
                to: Peer::Pod("kube-system/kube-dns"),
                probe: Probe::Dns { tcp: false },
                ..*one
            };
            let name = (stack::OUTSIDE_NAME, self.outside[0]);
            match self.speak(&lookup, name)? {
                Happened::Answered(_) => {}
                other => return Ok(other),
            }
        }
        let (api, _) = self.end(Peer::Pod("production/api-service"), false)?;
        self.speak(one, ("api-service.production.svc.cluster.local", api))
    }

    /// The client speaks, the server answers whatever reaches it, until nothing moves.
    fn speak(&mut self, one: &Conversation, name: (&'static str, Addr)) -> Result<Happened> {
        let (src, from) = self.end(one.from, one.probe.is_ipv6())?;
        let (dst, to) = self.end(one.to, one.probe.is_ipv6())?;
        self.next_port += 1;
        let out = Envelope {
            eth_src: peer_mac(from),
            eth_dst: GATEWAY_MAC,
            src,
            dst,
            ttl: emit::DEFAULT_TTL,
            traffic_class: 0,
        };
        let mut talk = Talk::new(one.probe, self.next_port, name);
        let mut inbound = vec![(from, talk.first(&out).context("a request does not fit its frame")?)];
        // A handshake, and a request and its answer for each of a few: more is a loop.
        for _ in 0..32 {
            for (port, frame) in inbound.drain(..) {
                self.worker.io_mut().inject(port, &frame);
            }
            self.poll()?;
            for (port, is_client) in [(to, false), (from, true)] {
                for frame in self.worker.io_mut().take_sent(port) {
                    let Some(packet) = parsed(&frame) else { continue };
                    let payload = payload(&frame, &packet);
                    let mut back = Envelope::answering(&packet);
                    (back.eth_src, back.eth_dst) = (peer_mac(port), GATEWAY_MAC);
                    let reply = if is_client {
                        if let Some(end) = talk.hear(&packet, payload) {
                            return Ok(end);
                        }
                        talk.go_on(&packet, payload, &back)
                    } else {
                        talk.serve(&packet, payload, &back)
                    };
                    inbound.extend(reply.map(|frame| (port, frame)));
                }
            }
            if inbound.is_empty() {
                return Ok(Happened::Silence);
            }
        }
        Ok(Happened::Failed("the conversation does not end".to_owned()))
    }

    /// Has the worker do what there is to do; an answer that teaches something comes into force before it is let go.
    fn poll(&mut self) -> Result<()> {
        self.now = self.now + Duration::from_millis(1);
        loop {
            while self.worker.poll_once(self.now)? > 0 {}
            let Some(learnt) = self.learnt.take() else { return Ok(()) };
            let answer = Answer {
                name: &learnt.name,
                addresses: &learnt.addresses,
                cnames: &learnt.cnames,
                ttl: learnt.ttl,
                endpoint: learnt.endpoint,
            };
            self.engine.learn_fqdns([answer], 0);
            self.policy = self.engine.snapshot();
            let before = self.shared.load();
            let mut marks = before.learnt;
            marks.reach(&learnt);
            self.shared.store(Arc::new(Snapshot {
                epoch: before.epoch + 1,
                policy: Arc::clone(&self.policy),
                ports: Arc::clone(&before.ports),
                learnt: marks,
                ..Snapshot::default()
            }));
        }
    }

    /// The flow records since the last call, as JSON.
    fn records(&mut self) -> Result<Vec<serde_json::Value>> {
        let mut events = Vec::new();
        self.events.drain(usize::MAX, |event| events.push(event));
        let mut records = Vec::new();
        for event in events {
            let names = Names(&self.policy);
            records.push(serde_json::to_value(Record::from_event(&event, &names, self.seq))?);
            self.seq += 1;
        }
        Ok(records)
    }
}

fn port(id: PortId, name: &str, kind: PortKind) -> Port {
    Port {
        id,
        name: name.to_owned(),
        kind,
        mac: GATEWAY_MAC,
        peer_mac: peer_mac(id),
        mtu: 1500,
        partial_checksums: true,
    }
}

fn peer_mac(port: PortId) -> MacAddr {
    let [high, low] = port.0.to_be_bytes();
    MacAddr([2, 0, 0, 1, high, low])
}

fn parsed(frame: &[u8]) -> Option<Packet> {
    match packet::parse(frame, frame.len()) {
        Ok(packet::Parsed::Ip(packet)) => Some(packet),
        _ => None,
    }
}

/// What a frame carries, without padding.
fn payload<'a>(frame: &'a [u8], packet: &Packet) -> &'a [u8] {
    usize::try_from(packet.end)
        .ok()
        .and_then(|end| frame.get(usize::from(packet.payload)..end))
        .unwrap_or_default()
}

/// Names from the engine's directory.
struct Names<'a>(&'a PolicySnapshot);

impl Resolver for Names<'_> {
    fn labels(&self, identity: Identity) -> Vec<String> {
        let labels = self.0.directory().labels(identity);
        labels.map(|labels| labels.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    fn address(&self, _addr: Addr) -> Option<Workload> {
        None
    }

    fn endpoint(&self, id: EndpointId) -> Option<Workload> {
        let endpoint = self.0.endpoint(id)?;
        Some(Workload {
            namespace: endpoint.namespace.to_string(),
            pod_name: endpoint.name.to_string(),
            ..Workload::default()
        })
    }

    fn rules(&self, rule: RuleId) -> Vec<Provenance> {
        self.0.rules.get(rule).to_vec()
    }

    fn wall_clock_offset_ns(&self) -> i128 {
        0
    }

    fn node_name(&self) -> &str {
        NODE
    }
}
