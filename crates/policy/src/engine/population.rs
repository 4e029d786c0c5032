//! Who has which address and which identity: pods, nodes, peers outside, prefixes of policy, names from DNS.

use super::Options;
use super::directory::{Directory, Shown, Workload, WorkloadKind};
use super::group_labels::GroupLabels;
use super::peers::PeerStore;
use super::world::{IdentityFacts, PortNames, namespace_labels, pod_labels};
use super::{Map, Set};
use crate::fqdn::shards::Shards;
use crate::fqdn::{Cache, Carrier, InForce, Selectors};
use crate::identity::Identity;
use crate::identity::table::{IdentityTable, Scope};
use crate::inventory::{Inventory, Node, Pod};
use crate::ip_cache::IpCache;
use crate::label::{Label, LabelSet};
use crate::rule::CidrGroup;
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
    /// What DNS answers told.
    pub(crate) fqdns: Cache,
    /// Addresses outside that have their identity from names.
    carriers: Shards<Addr, Carrier>,
    /// The identities of these, with how many addresses have each.
    carried: Shards<Identity, (u32, LabelSet)>,
    /// Identities that exist whatever DNS says.
    fixed: Set<Identity>,
    prefixes: Vec<IpNet>,
    /// The same prefixes, to be asked about.
    known: Set<IpNet>,
    hosts: Map<Addr, Identity>,
    ip_cache: Arc<IpCache>,
    directory: Arc<Directory>,
    groups: GroupLabels,
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
                    && !beyond_range(known.identity)
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
                // The rules about its labels must hold, denials above all, so it gets a number of this node instead.
                let identity = identity.or_else(|| table.allocate(&labels, Scope::NodeLocal));
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

    /// Works out who has which identity and rebuilds the address table; `None` if nothing moved.
    pub(crate) fn assign(
        &mut self,
        peers: &PeerStore,
        groups: &[CidrGroup],
        table: &mut IdentityTable,
    ) -> Option<Map<Identity, IdentityFacts>> {
        let mut prefixes: Vec<IpNet> = peers.prefixes().collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        let mut names: Vec<_> = peers.names().cloned().collect();
        names.sort_unstable();
        names.dedup();
        let groups = GroupLabels::new(groups);
        let same_prefixes = prefixes == self.prefixes && groups == self.groups;
        let same_names = names == self.fqdns.selectors().list();
        if !self.changed && same_prefixes && same_names {
            return None;
        }
        if !same_names {
            self.fqdns.set_selectors(Arc::new(Selectors::new(names)));
        }
        if !same_prefixes {
            self.known = prefixes.iter().copied().collect();
        }
        (self.prefixes, self.groups, self.changed) = (prefixes, groups, false);

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
                    let labels = outside(self.groups.around(prefix), Some(prefix), prefix);
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
        self.fixed = now.keys().copied().collect();
        self.rebuild_learnt(&hosts, table, &mut now);
        self.rebuild_tables(hosts, &identities, same_prefixes, &now);
        if table.is_large(now.len()) {
            table.compact(|identity| now.contains_key(&identity));
        }
        Some(now)
    }

    /// Addresses of pods, nodes, and of peers outside that carry more than the label of their prefix.
    fn hosts(
        &self,
        table: &mut IdentityTable,
        now: &mut Map<Identity, IdentityFacts>,
    ) -> (Map<Addr, Identity>, Map<Addr, Arc<Workload>>) {
        let (mut hosts, mut workloads) = (Map::default(), Map::default());
        let mut outside_peers: BTreeMap<IpAddr, (Vec<&str>, bool)> = BTreeMap::new();
        for external in &self.inventory.external {
            let entry = outside_peers.entry(external.ip).or_default();
            entry.0.extend(external.dns_names.iter().map(|name| &**name));
            entry.1 |= external.kube_api_server;
        }
        let selectors = self.fqdns.selectors();
        for (address, (names, api_server)) in &outside_peers {
            let listed = names.iter().flat_map(|name| selectors.matching(name));
            let mut selected: Vec<u32> = listed.collect();
            selected.extend(self.fqdns.selectors_of(Addr::from(*address)).iter());
            let mut labels: Vec<Label> = selectors.labels(&selected).collect();
            labels.extend(api_server.then(|| Label::reserved("kube-apiserver")));
            if labels.is_empty() {
                continue;
            }
            let around = covering(*address, &self.known);
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

    /// Works out anew which addresses have their identity from names.
    fn rebuild_learnt(
        &mut self,
        (hosts, workloads): &(Map<Addr, Identity>, Map<Addr, Arc<Workload>>),
        table: &mut IdentityTable,
        now: &mut Map<Identity, IdentityFacts>,
    ) {
        let (mut carriers, mut carried) = (Shards::default(), Shards::default());
        for (addr, _) in self.fqdns.by_address().iter() {
            let selectors = self.fqdns.selectors_of(*addr);
            if selectors.is_empty() {
                continue;
            }
            let identity = match workloads.get(addr).map(|workload| workload.kind) {
                Some(WorkloadKind::Pod | WorkloadKind::Node) => None,
                Some(WorkloadKind::External) => hosts.get(addr).copied(),
                None => self.identity_of_names(*addr, &selectors, table).map(|(identity, facts)| {
                    count(&mut carried, identity, &facts.labels);
                    now.insert(identity, facts);
                    identity
                }),
            };
            if let Some(identity) = identity {
                carriers.insert(*addr, Carrier { identity, selectors });
            }
        }
        (self.carriers, self.carried) = (carriers, carried);
        self.fqdns.take_touched();
    }

    /// The identity of an address outside whose names satisfy these conditions.
    fn identity_of_names(
        &self,
        addr: Addr,
        selectors: &[u32],
        table: &mut IdentityTable,
    ) -> Option<(Identity, IdentityFacts)> {
        let around = covering(addr.to_ip(), &self.known);
        let family = IpNet::from(addr.to_ip());
        let labels = outside(self.fqdns.selectors().labels(selectors), around.as_ref(), &family);
        let identity = table.allocate(&labels, Scope::NodeLocal)?;
        Some((identity, IdentityFacts { labels, prefix: around.or_else(|| everything(&family)) }))
    }

    /// Gives addresses whose names changed the identities that they have now; `None` if one of them is listed in the
    /// inventory, so that everything has to be worked out.
    pub(crate) fn learn(&mut self, table: &mut IdentityTable) -> Option<Moved> {
        let mut moved = Moved::default();
        let mut before: Vec<Identity> = Vec::new();
        for addr in self.fqdns.take_touched() {
            match self.directory.workload(addr).map(|workload| workload.kind) {
                Some(WorkloadKind::Pod | WorkloadKind::Node) => continue,
                Some(WorkloadKind::External) => {
                    self.changed = true;
                    continue;
                }
                None => {}
            }
            let selectors = self.fqdns.selectors_of(addr);
            let old = self.carriers.get(&addr);
            if old.map_or(&[][..], |carrier| &carrier.selectors) == &*selectors {
                continue;
            }
            moved.addresses = true;
            before.extend(old.map(|carrier| carrier.identity));
            let new = match selectors.is_empty() {
                true => None,
                false => self.identity_of_names(addr, &selectors, table),
            };
            let Some((identity, facts)) = new else {
                self.carriers.remove(&addr);
                continue;
            };
            let first = count(&mut self.carried, identity, &facts.labels);
            self.carriers.insert(addr, Carrier { identity, selectors });
            if first && !self.fixed.contains(&identity) {
                moved.added.push((identity, facts));
            }
        }
        for identity in before {
            let Some((uses, _)) = self.carried.get_mut(&identity) else { continue };
            *uses -= 1;
            if *uses > 0 {
                continue;
            }
            self.carried.remove(&identity);
            if self.fixed.contains(&identity) {
                continue;
            }
            // One that nobody has any more, or that came and went at once.
            table.forget(identity);
            match moved.added.iter().position(|(added, _)| *added == identity) {
                Some(at) => drop(moved.added.swap_remove(at)),
                None => moved.removed.push(identity),
            }
        }
        if self.changed {
            return None;
        }
        if moved.addresses {
            self.ip_cache = Arc::new(self.ip_cache.with_learnt(self.carriers.clone()));
        }
        self.directory = Arc::new(Directory {
            learnt: self.carried.clone(),
            names: self.fqdns.by_address().clone(),
            ..Directory::clone(&self.directory)
        });
        Some(moved)
    }

    /// What snapshots carry of what DNS taught.
    pub(crate) fn in_force(&self) -> InForce {
        InForce {
            selectors: Arc::clone(self.fqdns.selectors()),
            carriers: self.carriers.clone(),
            names: self.fqdns.names().clone(),
            by_address: self.fqdns.by_address().clone(),
        }
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
        self.ip_cache = Arc::new(self.ip_cache.with_learnt(self.carriers.clone()));
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
        let identities = now.iter().filter(|(identity, _)| self.fixed.contains(*identity));
        let identities: Map<_, _> = identities.map(|(id, facts)| (*id, facts.labels.clone())).collect();
        self.directory = Arc::new(Directory {
            identities: Arc::new(identities),
            workloads: Arc::new(workloads),
            dns_names: Arc::new(dns_names),
            learnt: self.carried.clone(),
            names: self.fqdns.by_address().clone(),
            shown: Arc::new(Shown::new(&self.inventory, &self.node_name)),
        });
    }
}

/// What DNS answers, or their end, moved.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Whether any address has another identity.
    pub(crate) addresses: bool,
    pub(crate) added: Vec<(Identity, IdentityFacts)>,
    pub(crate) removed: Vec<Identity>,
}

/// Counts one more address of an identity; says whether it is the first.
fn count(carried: &mut Shards<Identity, (u32, LabelSet)>, identity: Identity, labels: &LabelSet) -> bool {
    match carried.get_mut(&identity) {
        Some((uses, _)) => {
            *uses += 1;
            false
        }
        None => {
            carried.insert(identity, (1, labels.clone()));
            true
        }
    }
}

/// Whether a pod with this identity got no number of the cluster's range.
pub(crate) fn beyond_range(identity: Identity) -> bool {
    identity >= Identity::FIRST_NODE_LOCAL || identity == Identity::UNMANAGED
}

fn known_pod(pod: &Pod, labels: LabelSet, identity: Option<Identity>) -> KnownPod {
    // Out of all numbers, which no memory holds: not world, not another pod's.
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
