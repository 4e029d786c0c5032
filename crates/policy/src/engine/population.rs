//! Who has which address and which identity: pods, nodes, peers outside, prefixes of policy, names from DNS.

use super::Options;
use super::directory::{Directory, Workload, WorkloadKind};
use super::peers::PeerStore;
use super::world::{IdentityFacts, PortNames, namespace_labels, pod_labels};
use super::{Map, Set};
use crate::identity::Identity;
use crate::identity::table::{IdentityTable, Scope};
use crate::inventory::{Inventory, Node, Pod};
use crate::ip_cache::IpCache;
use crate::label::{Label, LabelSet, Source};
use ipnet::IpNet;
use packet::Addr;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A pod with what follows from its inventory entry.
#[derive(Clone, Debug)]
pub(crate) struct KnownPod {
    pub(crate) pod: Pod,
    pub(crate) labels: LabelSet,
    pub(crate) identity: Identity,
    workload: Arc<Workload>,
}

/// Addresses, identities and names, and the tables made of them.
#[derive(Debug, Default)]
pub(crate) struct Population {
    node_name: Arc<str>,
    inventory: Inventory,
    pods: BTreeMap<(Arc<str>, Arc<str>), KnownPod>,
    namespaces: Map<Arc<str>, Vec<Label>>,
    /// Names from DNS answers by address, with the time they expire.
    learnt: BTreeMap<IpAddr, BTreeMap<Arc<str>, u64>>,
    prefixes: Vec<IpNet>,
    names: Vec<crate::rule::NameMatch>,
    hosts: Map<Addr, Identity>,
    ip_cache: Arc<IpCache>,
    directory: Arc<Directory>,
    changed: bool,
}

impl Population {
    pub(crate) fn ip_cache(&self) -> &Arc<IpCache> {
        &self.ip_cache
    }

    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    pub(crate) fn pods(&self) -> impl Iterator<Item = &KnownPod> {
        self.pods.values()
    }

    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<&KnownPod> {
        self.pods.get(&(Arc::from(namespace), Arc::from(name)))
    }

    /// The node of that name.
    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.inventory.nodes.iter().find(|node| *node.name == *name)
    }

    pub(crate) fn node_identity(&self, node: &Node) -> Identity {
        match (*node.name == *self.node_name, node.kube_api_server) {
            (true, _) => Identity::HOST,
            (false, true) => Identity::KUBE_APISERVER,
            (false, false) => Identity::REMOTE_NODE,
        }
    }

    pub(crate) fn port_names(&self) -> PortNames {
        PortNames::new(self.inventory.pods.iter().flat_map(|pod| &pod.ports))
    }

    /// Takes the workloads over; pods that did not change keep what was worked out for them.
    pub(crate) fn set_inventory(
        &mut self,
        inventory: Inventory,
        options: &Options,
        table: &mut IdentityTable,
    ) {
        let namespaces = namespace_labels(&inventory);
        let mut before = std::mem::take(&mut self.pods);
        let mut compacted = false;
        for pod in &inventory.pods {
            let key = (Arc::clone(&pod.namespace), Arc::clone(&pod.name));
            let inherited = namespaces.get(&pod.namespace);
            let known = before.remove(&key).filter(|known| {
                known.pod == *pod
                    && self.namespaces.get(&pod.namespace) == inherited
                    && known.identity != Identity::UNMANAGED
            });
            let known = known.unwrap_or_else(|| {
                let labels = pod_labels(pod, inherited, &options.cluster);
                let identity = table.allocate(&labels, Scope::Cluster).or_else(|| {
                    // Once is enough: what this frees lasts for all pods of this inventory, or there is nothing.
                    if std::mem::replace(&mut compacted, true) {
                        return None;
                    }
                    let staying = inventory
                        .pods
                        .iter()
                        .filter_map(|pod| before.get(&(Arc::clone(&pod.namespace), Arc::clone(&pod.name))));
                    let used: Set<Identity> =
                        self.pods.values().chain(staying).map(|known| known.identity).collect();
                    table.compact(|identity| used.contains(&identity));
                    table.allocate(&labels, Scope::Cluster)
                });
                known_pod(pod, labels, identity)
            });
            self.pods.insert(key, known);
        }
        let own = inventory.nodes.iter().find(|node| *node.name == *options.node_name);
        let mut host = vec![Label::reserved("host")];
        host.extend(own.filter(|node| node.kube_api_server).map(|_| Label::reserved("kube-apiserver")));
        table.set(Identity::HOST, host.into_iter().collect());
        self.namespaces = namespaces;
        self.node_name = Arc::clone(&options.node_name);
        self.inventory = inventory;
        self.changed = true;
    }

    /// Notes a DNS answer; says whether it told anything new.
    pub(crate) fn learn(&mut self, name: &str, addresses: &[IpAddr], expires: u64) -> bool {
        let name: Arc<str> = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into();
        let mut news = false;
        for address in addresses {
            let known = self.learnt.entry(*address).or_default().insert(Arc::clone(&name), expires);
            news |= known.is_none();
        }
        self.changed |= news;
        news
    }

    /// Forgets names that have expired; says whether there were any.
    pub(crate) fn expire(&mut self, now: u64) -> bool {
        let mut forgot = false;
        self.learnt.retain(|_, names| {
            let before = names.len();
            names.retain(|_, expires| *expires > now);
            forgot |= names.len() != before;
            !names.is_empty()
        });
        self.changed |= forgot;
        forgot
    }

    /// Works out who has which identity and rebuilds the address table; `None` if nothing moved.
    pub(crate) fn assign(
        &mut self,
        peers: &PeerStore,
        table: &mut IdentityTable,
    ) -> Option<Map<Identity, IdentityFacts>> {
        let mut prefixes: Vec<IpNet> = peers.prefixes().collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        let mut names: Vec<_> = peers.names().cloned().collect();
        names.sort_unstable();
        names.dedup();
        let same_prefixes = prefixes == self.prefixes;
        if !self.changed && same_prefixes && names == self.names {
            return None;
        }
        (self.prefixes, self.names, self.changed) = (prefixes, names, false);

        let mut now = Map::default();
        for number in 1..=10 {
            add(&mut now, Identity(number), None, table);
        }
        for known in self.pods.values() {
            now.entry(known.identity)
                .or_insert_with(|| IdentityFacts { labels: known.labels.clone(), prefix: None });
        }
        let mut identities: Vec<(IpNet, Identity)> = Vec::with_capacity(self.prefixes.len());
        for prefix in &self.prefixes {
            let identity = match prefix.prefix_len() {
                0 => Some(world(prefix)),
                _ => {
                    let labels = outside([], Some(prefix), prefix);
                    table.allocate(&labels, Scope::NodeLocal).or_else(|| {
                        table.compact(|identity| now.contains_key(&identity));
                        table.allocate(&labels, Scope::NodeLocal)
                    })
                }
            };
            // Sixteen million prefixes in force are more than memory holds; beyond, fall to what no rule allows.
            let Some(identity) = identity else {
                identities.push((*prefix, Identity::UNMANAGED));
                continue;
            };
            add(&mut now, identity, Some(*prefix), table);
            identities.push((*prefix, identity));
        }
        for (identity, family) in [(Identity::WORLD_IPV4, "0.0.0.0/0"), (Identity::WORLD_IPV6, "::/0")] {
            add(&mut now, identity, family.parse().ok(), table);
        }
        let hosts = self.hosts(table, &mut now);
        self.rebuild_tables(hosts, &identities, same_prefixes, &now);
        Some(now)
    }

    /// Addresses of pods, nodes, and of peers outside that carry more than the label of their prefix.
    fn hosts(
        &self,
        table: &mut IdentityTable,
        now: &mut Map<Identity, IdentityFacts>,
    ) -> (Map<Addr, Identity>, Map<Addr, Arc<Workload>>) {
        let (mut hosts, mut workloads) = (Map::default(), Map::default());
        let known: Set<IpNet> = self.prefixes.iter().copied().collect();
        let mut outside_peers: BTreeMap<IpAddr, (Vec<&str>, bool)> = BTreeMap::new();
        for external in &self.inventory.external {
            let entry = outside_peers.entry(external.ip).or_default();
            entry.0.extend(external.dns_names.iter().map(|name| &**name));
            entry.1 |= external.kube_api_server;
        }
        for (address, names) in &self.learnt {
            outside_peers.entry(*address).or_default().0.extend(names.keys().map(|name| &**name));
        }
        for (address, (names, api_server)) in &outside_peers {
            let selected = self.names.iter().filter(|wanted| names.iter().any(|name| wanted.matches(name)));
            let mut labels: Vec<Label> =
                selected.map(|name| Label::new(Source::Fqdn, name.to_string(), "")).collect();
            labels.extend(api_server.then(|| Label::reserved("kube-apiserver")));
            if labels.is_empty() {
                continue;
            }
            let around = covering(*address, &known);
            let family = IpNet::from(*address);
            let labels = outside(labels, around.as_ref(), &family);
            let Some(identity) = table.allocate(&labels, Scope::NodeLocal) else { continue };
            let prefix = around.or_else(|| everything(&family));
            add(now, identity, prefix, table);
            hosts.insert(Addr::from(*address), identity);
        }
        for external in &self.inventory.external {
            let identity = hosts.get(&Addr::from(external.ip)).copied().unwrap_or(Identity::UNKNOWN);
            workloads.insert(
                Addr::from(external.ip),
                Arc::new(Workload {
                    kind: WorkloadKind::External,
                    namespace: "".into(),
                    name: Arc::clone(&external.name),
                    node: "".into(),
                    labels: table.labels(identity).cloned().unwrap_or_default(),
                    identity,
                }),
            );
        }
        for node in &self.inventory.nodes {
            let identity = self.node_identity(node);
            let workload = Arc::new(Workload {
                kind: WorkloadKind::Node,
                namespace: "".into(),
                name: Arc::clone(&node.name),
                node: Arc::clone(&node.name),
                labels: table.labels(identity).cloned().unwrap_or_default(),
                identity,
            });
            for ip in &node.ips {
                hosts.insert(Addr::from(*ip), identity);
                workloads.insert(Addr::from(*ip), Arc::clone(&workload));
            }
        }
        for known in self.pods.values() {
            for ip in &known.pod.ips {
                hosts.insert(Addr::from(*ip), known.identity);
                workloads.insert(Addr::from(*ip), Arc::clone(&known.workload));
            }
        }
        (hosts, workloads)
    }

    fn rebuild_tables(
        &mut self,
        (hosts, mut workloads): (Map<Addr, Identity>, Map<Addr, Arc<Workload>>),
        prefixes: &[(IpNet, Identity)],
        same_prefixes: bool,
        now: &Map<Identity, IdentityFacts>,
    ) {
        if same_prefixes {
            let set = hosts.iter().filter(|(addr, identity)| self.hosts.get(*addr) != Some(*identity));
            let gone = self.hosts.keys().filter(|addr| !hosts.contains_key(*addr));
            let changes: Vec<_> =
                set.map(|(a, id)| (*a, Some(*id))).chain(gone.map(|a| (*a, None))).collect();
            if !changes.is_empty() {
                self.ip_cache = Arc::new(self.ip_cache.with_hosts(changes));
            }
        } else {
            let hosts = hosts.iter().map(|(addr, identity)| (IpNet::from(addr.to_ip()), *identity));
            self.ip_cache = Arc::new(IpCache::new(prefixes.iter().copied().chain(hosts)));
        }
        self.hosts = hosts;
        // A named peer without labels of its own has the identity of the prefix around it.
        for (addr, workload) in workloads.iter_mut().filter(|(_, w)| w.identity == Identity::UNKNOWN) {
            let identity = self.ip_cache.lookup(*addr);
            let labels = now.get(&identity).map(|facts| facts.labels.clone()).unwrap_or_default();
            *workload = Arc::new(Workload { identity, labels, ..Workload::clone(workload) });
        }
        let mut dns_names: Map<Addr, Vec<Arc<str>>> = Map::default();
        for external in self.inventory.external.iter().filter(|external| !external.dns_names.is_empty()) {
            dns_names.entry(Addr::from(external.ip)).or_default().extend(external.dns_names.iter().cloned());
        }
        for (address, names) in &self.learnt {
            dns_names.entry(Addr::from(*address)).or_default().extend(names.keys().cloned());
        }
        let identities = now.iter().map(|(identity, facts)| (*identity, facts.labels.clone())).collect();
        self.directory = Arc::new(Directory { identities, workloads, dns_names });
    }
}

fn known_pod(pod: &Pod, labels: LabelSet, identity: Option<Identity>) -> KnownPod {
    // Out of numbers: not world, not another pod's, but one that only rules for unmanaged pods let in.
    let identity = identity.unwrap_or(Identity::UNMANAGED);
    let workload = Arc::new(Workload {
        kind: WorkloadKind::Pod,
        namespace: Arc::clone(&pod.namespace),
        name: Arc::clone(&pod.name),
        node: Arc::clone(&pod.node),
        labels: labels.clone(),
        identity,
    });
    KnownPod { pod: pod.clone(), labels, identity, workload }
}

/// The labels of an address outside: its own, the prefix of policy around it, and the world of its family.
fn outside(own: impl IntoIterator<Item = Label>, prefix: Option<&IpNet>, family: &IpNet) -> LabelSet {
    let world = Label::reserved(if matches!(family, IpNet::V4(_)) { "world-ipv4" } else { "world-ipv6" });
    own.into_iter().chain(prefix.map(|prefix| Label::cidr(*prefix))).chain([world]).collect()
}

fn world(family: &IpNet) -> Identity {
    match family {
        IpNet::V4(_) => Identity::WORLD_IPV4,
        IpNet::V6(_) => Identity::WORLD_IPV6,
    }
}

fn everything(family: &IpNet) -> Option<IpNet> {
    match family {
        IpNet::V4(_) => "0.0.0.0/0".parse().ok(),
        IpNet::V6(_) => "::/0".parse().ok(),
    }
}

/// The narrowest known prefix around an address.
fn covering(address: IpAddr, known: &Set<IpNet>) -> Option<IpNet> {
    let longest = IpNet::from(address).prefix_len();
    let around = |bits| IpNet::new(address, bits).ok().map(|net| net.trunc());
    (0..=longest).rev().filter_map(around).find(|prefix| known.contains(prefix))
}

fn add(
    now: &mut Map<Identity, IdentityFacts>,
    identity: Identity,
    prefix: Option<IpNet>,
    table: &IdentityTable,
) {
    if let Some(labels) = table.labels(identity) {
        now.insert(identity, IdentityFacts { labels: labels.clone(), prefix });
    }
}
