//! The node that a capture is replayed on: configuration, policy and ports, without a kernel.

use super::place::{Placer, PortMap, Seat};
use crate::api::names::NodeFacts;
use crate::config::Config;
use crate::run::files::Sources;
use crate::run::rules::Rules;
use crate::run::{self, fqdn};
use anyhow::{Context as _, Result, bail};
use datapath::learn::Marks;
use datapath::ports::{Port, PortKind, PortTable};
use datapath::{DatapathConfig, Gateway, SharedSnapshot, Snapshot};
use ipnet::IpNet;
use packet::{Addr, MacAddr, PortId};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The port of the node's kernel; pods follow.
const HOST: PortId = PortId(0);

/// Our own Ethernet address on every port of which the capture does not say it.
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// Largest datagram where nobody says it: captures on a host have frames that were put together there.
const MTU: u32 = 65_535;

/// Longer than any capture.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// How the node is to be.
pub(super) struct NodeOptions<'a> {
    /// Its name.
    pub(super) node: Option<&'a str>,
    /// Whether connections may be joined in the middle.
    pub(super) adopt: bool,
    /// What the user says about ports.
    pub(super) map: &'a [PortMap],
}

/// Everything but the packet path.
pub(super) struct Node {
    /// What records say of it.
    pub(super) facts: Arc<NodeFacts>,
    /// Policy.
    pub(super) rules: Rules,
    /// What the packet path reads.
    pub(super) shared: SharedSnapshot,
    /// Settings of the packet path.
    pub(super) datapath: DatapathConfig,
    /// Finds ports for frames.
    pub(super) placer: Placer,
    ports: Vec<Port>,
    host_addrs: Vec<Addr>,
    pod_prefixes: Vec<(Addr, u8)>,
}

impl Node {
    /// Reads a configuration folder.
    pub(super) fn load(dir: &Path, options: &NodeOptions<'_>) -> Result<Self> {
        let config = Config::load(dir)?;
        let sources = Sources::read(dir);
        let name = name(&config, &sources, options.node)?;
        let mut rules = Rules::new(&config, &name);
        rules.engine_mut().set_fqdn_limits(config.dns.limits());
        rules.load(&sources);
        if !rules.errors().is_empty() {
            bail!("the configuration in {} is not right:\n{}", dir.display(), rules.errors().join("\n"));
        }
        rules.warnings().iter().for_each(|warning| eprintln!("{warning}"));
        let seats = seats(&config, &rules, &name);
        if seats.len() == 1 {
            bail!(
                "no pod of node {name} in {}: say which node to be with --node",
                dir.join(run::files::INVENTORY).display()
            );
        }
        let count = u16::try_from(seats.len()).context("more pods on one node than there are ports")?;
        let ports = (0..count).zip(&seats).map(|(id, seat)| port(PortId(id), seat, &rules)).collect();
        let nodes = rules.inventory().nodes.iter().filter(|node| *node.name == *name);
        let listed = nodes.flat_map(|node| node.ips.iter().map(|ip| Addr::from(*ip)));
        let own = config.host_port.addresses.iter().map(|prefix| Addr::from(prefix.addr()));
        let host_addrs = listed.chain(own).collect();
        let pod_prefixes = config.host_port.pod_cidrs.iter().map(prefix).collect();
        let mut datapath = run::datapath_config(&config);
        // Nothing is shed: there is all the time of the world.
        datapath.drop_events_per_second = u32::MAX;
        if options.adopt {
            datapath.adopt_midstream_for = FOREVER;
        }
        let placer = Placer::new(&seats, options.map)?;
        let node = Self {
            facts: Arc::new(NodeFacts::new(&name, &config)),
            rules,
            shared: SharedSnapshot::default(),
            datapath,
            placer,
            ports,
            host_addrs,
            pod_prefixes,
        };
        let gateway =
            Gateway { v4: Addr::v4(config.gateway.v4.octets()), v6: Addr::v6(config.gateway.v6.octets()) };
        node.shared.store(Arc::new(Snapshot {
            epoch: 1,
            policy: node.rules.snapshot(),
            ports: node.port_table(),
            gateway,
            visibility: Arc::new(crate::config::visibility(&config.visibility)),
            learnt: Marks::default(),
        }));
        Ok(node)
    }

    /// Ports of the node.
    pub(super) fn port_count(&self) -> u16 {
        u16::try_from(self.ports.len()).unwrap_or(u16::MAX)
    }

    /// Takes over what a capture of ours says about its ports.
    pub(super) fn take_facts(&mut self) {
        let facts = self.placer.take_facts();
        if facts.is_empty() {
            return;
        }
        for (id, facts) in facts {
            if let Some(port) = self.ports.get_mut(usize::from(id.0)) {
                (port.mac, port.peer_mac, port.mtu) = (facts.mac, facts.peer_mac, facts.mtu);
            }
        }
        let old = self.shared.load_full();
        let ports = self.port_table();
        self.shared.store(Arc::new(Snapshot { epoch: old.epoch + 1, ports, ..Snapshot::clone(&old) }));
    }

    /// Puts DNS answers in force.
    pub(super) fn learn(&mut self, answers: &[datapath::learn::Learnt], now: u64) {
        if answers.is_empty() {
            return;
        }
        let mut marks = self.shared.load().learnt;
        answers.iter().for_each(|learnt| marks.reach(learnt));
        self.rules.engine_mut().learn_fqdns(answers.iter().map(fqdn::answer), now);
        self.publish_names(marks);
    }

    /// Lets names expire whose addresses no connection uses.
    pub(super) fn forget(&mut self, now: u64, used: impl Fn(Addr) -> bool) {
        let engine = self.rules.engine_mut();
        let asked = engine.expire_fqdns(now);
        if !asked.is_empty() {
            engine.settle_fqdns(&asked, used, now);
        }
        let learnt = self.shared.load().learnt;
        self.publish_names(learnt);
    }

    /// Connections are judged again only if a verdict may have changed.
    fn publish_names(&self, learnt: Marks) {
        let (policy, old) = (self.rules.snapshot(), self.shared.load_full());
        if Arc::ptr_eq(&policy, &old.policy) && learnt == old.learnt {
            return;
        }
        let epoch = old.epoch + u64::from(policy.epoch != old.policy.epoch);
        self.shared.store(Arc::new(Snapshot { epoch, policy, learnt, ..Snapshot::clone(&old) }));
    }

    fn port_table(&self) -> Arc<PortTable> {
        let (ports, hosts) = (self.ports.clone(), self.host_addrs.clone());
        Arc::new(PortTable::new(ports, hosts, self.pod_prefixes.clone()))
    }
}

/// The node to be: as told, as configured, or the only one that workloads name.
fn name(config: &Config, sources: &Sources, told: Option<&str>) -> Result<String> {
    if let Some(name) = told {
        return Ok(name.to_owned());
    }
    if !config.node.name.is_empty() {
        return Ok(config.node.name.clone());
    }
    let mut named = std::collections::BTreeSet::new();
    for file in &sources.inventory {
        if let Ok(inventory) = policy::document::load_inventory(&file.text, &file.name) {
            named.extend(inventory.pods.iter().map(|pod| pod.node.to_string()));
        }
    }
    named.remove("");
    let own = config.node_name();
    match (named.contains(&own), named.len()) {
        (true, _) | (_, 0) => Ok(own),
        (false, 1) => Ok(named.pop_first().unwrap_or(own)),
        (false, _) => {
            let names: Vec<String> = named.into_iter().collect();
            bail!("pods of several nodes are known; say which node to be with --node: {}", names.join(", "))
        }
    }
}

/// The host port and the pods of this node.
fn seats(config: &Config, rules: &Rules, node: &str) -> Vec<Seat> {
    let host = Seat {
        owner: "host".into(),
        interface: config.host_port.name.clone(),
        addrs: Vec::new(),
        peer_mac: peer_mac(HOST),
        knows_mac: false,
        mac: MAC,
    };
    let local = rules.inventory().pods.iter().filter(|pod| pod.node.is_empty() || *pod.node == *node);
    let pods = (1..).zip(local).map(|(id, pod)| Seat {
        owner: format!("{}/{}", pod.namespace, pod.name),
        interface: pod.interface.as_deref().unwrap_or_default().to_owned(),
        addrs: pod.ips.iter().map(|ip| Addr::from(*ip)).collect(),
        peer_mac: pod.mac.map_or_else(|| peer_mac(PortId(id)), MacAddr),
        knows_mac: pod.mac.is_some(),
        mac: MAC,
    });
    std::iter::once(host).chain(pods).collect()
}

fn port(id: PortId, seat: &Seat, rules: &Rules) -> Port {
    let kind = match seat.owner.split_once('/') {
        None => PortKind::Host,
        Some((namespace, name)) => {
            let endpoint = rules.engine().endpoint(namespace, name).map(|endpoint| endpoint.id);
            PortKind::Pod { endpoint, addrs: seat.addrs.clone() }
        }
    };
    let name = if seat.interface.is_empty() { seat.owner.clone() } else { seat.interface.clone() };
    Port { id, name, kind, mac: seat.mac, peer_mac: seat.peer_mac, mtu: MTU, partial_checksums: true }
}

/// Stands for the Ethernet address of the other side where nobody says it.
fn peer_mac(port: PortId) -> MacAddr {
    let [high, low] = port.0.to_be_bytes();
    MacAddr([2, 0, 0, 1, high, low])
}

/// A prefix as the port table counts it, on the 128-bit form.
fn prefix(prefix: &IpNet) -> (Addr, u8) {
    let offset = if prefix.network().is_ipv4() { 96 } else { 0 };
    (Addr::from(prefix.network()), prefix.prefix_len() + offset)
}
