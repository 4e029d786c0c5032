//! The control side: takes documents and workloads, hands out snapshots.
//!
//! Everything here runs off the packet path. A change recompiles what depends on it and nothing else: rules of the
//! documents that differ, members of the peers that they mention, the halves (one direction of one endpoint) that
//! hold those rules or peers. An identity that joins is patched into the halves where its peers are told apart
//! already. Equal halves are built once and shared.

pub mod directory;
mod endpoints;
mod group_labels;
pub(crate) mod halves;
pub(crate) mod peers;
mod population;
mod sources;
pub(crate) mod world;

use crate::compile::rules::{CompiledRule, NamedPorts};
use crate::compile::sets::RuleSets;
use crate::direction::Direction;
use crate::document::{EmptyList, MAX_FILE_BYTES};
use crate::fqdn::{Answer, FqdnState, Limits};
use crate::identity::table::IdentityTable;
use crate::identity::{Identity, IdentityState};
use crate::inventory::Inventory;
use crate::label::LabelSet;
use crate::rule::{CidrGroup, Policy, Subject};
use crate::selector::Selector;
use crate::snapshot::PolicySnapshot;
use directory::Directory;
use endpoints::Endpoints;
use hashbrown::{HashMap, HashSet};
use packet::Addr;
use peers::PeerStore;
use population::Population;
use sources::Sources;
pub use sources::{DocumentReport, Instead, Report, SourceFile};
use std::collections::BTreeMap;
use std::sync::Arc;
use world::Facts;

pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
pub(crate) type Set<T> = HashSet<T, foldhash::fast::RandomState>;

/// When endpoints are enforced.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum EnforcementMode {
    /// Where rules say so.
    #[default]
    Default,
    /// Everywhere, both ways, even without rules.
    Always,
    /// Nowhere.
    Never,
}

/// Settings of an engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The node that this is; its pods and the host are endpoints.
    pub node_name: Arc<str>,
    /// Name of the cluster.
    pub cluster: Arc<str>,
    /// When endpoints are enforced.
    pub enforcement: EnforcementMode,
    /// Let pass and mark what policy denies, everywhere.
    pub audit: bool,
    /// The same for the pods of these namespaces.
    pub audit_namespaces: Vec<Arc<str>>,
    /// The same for these pods, `namespace/name`; the host is `/name`.
    pub audit_endpoints: Vec<Arc<str>>,
    /// What an explicit empty list of rules means.
    pub empty_list: EmptyList,
    /// Largest policy file, in bytes; a larger one is refused.
    pub max_file_bytes: usize,
    /// Limit peer selectors that name no cluster to this one. Off, a selector such as "namespace not in (a)" also
    /// matches what is in no namespace, the world included.
    pub scope_to_cluster: bool,
    /// Treat the pods of all nodes as endpoints: for offline commands.
    pub all_nodes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_name: "".into(),
            cluster: "default".into(),
            enforcement: EnforcementMode::Default,
            audit: false,
            audit_namespaces: Vec::new(),
            audit_endpoints: Vec::new(),
            empty_list: EmptyList::default(),
            max_file_bytes: MAX_FILE_BYTES,
            scope_to_cluster: false,
            all_nodes: false,
        }
    }
}

/// Endpoints that a document which could not be read selects, or may select.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Quarantine {
    /// Whom it selects or, as far as that cannot be told, may select.
    pub subjects: Vec<Subject>,
    /// Where the document stands.
    pub policy: crate::provenance::Provenance,
}

impl Quarantine {
    fn holds(&self, is_host: bool, matches: impl Fn(&Selector) -> bool) -> bool {
        self.subjects.iter().any(|subject| match subject {
            Subject::Endpoint(selector) => !is_host && matches(selector),
            Subject::Node(selector) => is_host && matches(selector),
        })
    }
}

#[derive(Debug)]
struct Document {
    policy: Arc<Policy>,
    rules: Vec<Arc<CompiledRule>>,
}

/// Turns documents and workloads into snapshots.
#[derive(Debug)]
pub struct Engine {
    options: Options,
    identities: IdentityTable,
    facts: Facts,
    peers: PeerStore,
    sets: RuleSets,
    /// By file, so that a change of one file looks at its documents only.
    documents: BTreeMap<Arc<str>, Vec<Document>>,
    population: Population,
    endpoints: Endpoints,
    quarantine: Vec<Quarantine>,
    sources: Sources,
    next_rule: u64,
    snapshot: Arc<PolicySnapshot>,
}

impl Engine {
    /// An engine without documents and workloads.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut facts = Facts::default();
        facts.cluster = Arc::clone(&options.cluster);
        let mut engine = Self {
            options,
            identities: IdentityTable::default(),
            facts,
            peers: PeerStore::default(),
            sets: RuleSets::default(),
            documents: BTreeMap::new(),
            population: Population::default(),
            endpoints: Endpoints::default(),
            quarantine: Vec::new(),
            sources: Sources::default(),
            next_rule: 0,
            snapshot: Arc::default(),
        };
        engine.set_inventory(Inventory::default());
        engine
    }

    /// What is in force now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<PolicySnapshot> {
        Arc::clone(&self.snapshot)
    }

    /// The settings.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Changes the settings and recompiles what they touch. The node and the cluster keep their names.
    pub fn set_options(&mut self, options: Options) {
        let (node_name, cluster) = (Arc::clone(&self.options.node_name), Arc::clone(&self.options.cluster));
        self.options = Options { node_name, cluster, ..options };
        self.endpoints.populate(
            &self.population,
            &self.options,
            self.documents.values().flatten().flat_map(|d| &d.rules),
        );
        self.refresh(false);
    }

    /// Identity numbers to keep for the next start.
    #[must_use]
    pub fn export_identities(&self) -> IdentityState {
        self.identities.export()
    }

    /// Restores identity numbers; to be called before the first workloads are set.
    pub fn import_identities(&mut self, state: &IdentityState) {
        self.identities.import(state);
    }

    /// Policies in force, by kind, namespace and name.
    #[must_use]
    pub fn policies(&self) -> Vec<Arc<Policy>> {
        let mut list: Vec<_> =
            self.documents.values().flatten().map(|document| Arc::clone(&document.policy)).collect();
        list.sort_by(|a, b| {
            (a.kind, &a.namespace, &a.name, a.line).cmp(&(b.kind, &b.namespace, &b.name, b.line))
        });
        list
    }

    /// The endpoint of a pod, or of the host (empty namespace).
    #[must_use]
    pub fn endpoint(&self, namespace: &str, name: &str) -> Option<Arc<crate::snapshot::Endpoint>> {
        let mut endpoints = self.snapshot.endpoints.iter().flatten();
        endpoints.find(|endpoint| *endpoint.namespace == *namespace && *endpoint.name == *name).cloned()
    }

    /// The identity of a pod, on whichever node.
    #[must_use]
    pub fn pod_identity(&self, namespace: &str, name: &str) -> Option<Identity> {
        self.population.pod(namespace, name).map(|known| known.identity)
    }

    /// The identity of a node as this one sees it.
    #[must_use]
    pub fn node_identity(&self, name: &str) -> Option<Identity> {
        self.population.node(name).map(|node| self.population.node_identity(node))
    }

    /// Pods for which no number of the cluster's range was left. Each has one of this node's range instead, so that the
    /// rules about its labels hold here; other nodes cannot know it, so whoever runs the engine must say so.
    #[must_use]
    pub fn pods_beyond_range(&self) -> usize {
        self.population.pods().filter(|known| population::beyond_range(known.identity)).count()
    }

    /// Puts exactly these documents in force.
    pub fn set_documents(
        &mut self,
        policies: Vec<Arc<Policy>>,
        groups: Vec<CidrGroup>,
        quarantine: Vec<Quarantine>,
    ) {
        let mut files: BTreeMap<Arc<str>, Vec<Arc<Policy>>> = BTreeMap::new();
        for file in self.documents.keys() {
            files.insert(Arc::clone(file), Vec::new());
        }
        for policy in policies {
            files.entry(Arc::clone(&policy.file)).or_default().push(policy);
        }
        self.replace_documents(files, groups, quarantine);
    }

    /// Replaces the documents of these files; a file left with none is forgotten.
    fn replace_documents(
        &mut self,
        files: BTreeMap<Arc<str>, Vec<Arc<Policy>>>,
        groups: Vec<CidrGroup>,
        quarantine: Vec<Quarantine>,
    ) {
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for (file, policies) in files {
            let mut before = self.documents.remove(&file).unwrap_or_default();
            let mut now = Vec::with_capacity(policies.len());
            for policy in policies {
                let same = |old: &Document| Arc::ptr_eq(&old.policy, &policy) || old.policy == policy;
                if let Some(at) = before.iter().position(same) {
                    now.push(before.swap_remove(at));
                    continue;
                }
                let rules: Vec<_> =
                    policy.rules.iter().map(|rule| self.compile_rule(&policy, rule)).collect();
                new.extend(rules.iter().cloned());
                now.push(Document { policy, rules });
            }
            gone.extend(before.into_iter().flat_map(|document| document.rules));
            if !now.is_empty() {
                self.documents.insert(file, now);
            }
        }
        // After the new ones are in, so that peers that both mention keep their members.
        for peer in gone.iter().flat_map(|rule| rule.peers()) {
            self.peers.release(peer);
        }
        let references = self.facts.groups != groups;
        self.facts.groups = groups;
        self.quarantine = quarantine;
        self.endpoints.replace_rules(&gone, &new);
        self.refresh(references);
    }

    /// Puts exactly these workloads in place.
    pub fn set_inventory(&mut self, inventory: Inventory) {
        let references = self.facts.services != inventory.services;
        self.facts.services.clone_from(&inventory.services);
        self.population.set_inventory(inventory, &self.options, &mut self.identities);
        self.facts.ports = self.population.port_names();
        self.endpoints.populate(
            &self.population,
            &self.options,
            self.documents.values().flatten().flat_map(|d| &d.rules),
        );
        self.refresh(references);
    }

    /// What the cache of DNS answers may hold, and for how long.
    pub fn set_fqdn_limits(&mut self, limits: Limits) {
        self.population.fqdns.set_limits(limits);
        self.learn();
    }

    /// Takes note of DNS answers seen at `now`, in seconds since 1970.
    pub fn learn_fqdns<'a>(&mut self, answers: impl IntoIterator<Item = Answer<'a>>, now: u64) {
        for answer in answers {
            self.population.fqdns.learn(&answer, now);
        }
        self.learn();
    }

    /// Begins the grace of addresses whose answers have expired by `now`. Answers those at the end of their grace, for
    /// [`Engine::settle_fqdns`]. Publishes nothing where nothing expired.
    pub fn expire_fqdns(&mut self, now: u64) -> Vec<Addr> {
        let question = self.population.fqdns.expire(now);
        if self.population.fqdns.is_touched() {
            self.learn();
        }
        question
    }

    /// Decides about addresses at the end of their grace: those that are `live`, because a connection uses them, get
    /// another one; the others are forgotten.
    pub fn settle_fqdns(&mut self, addresses: &[Addr], live: impl Fn(Addr) -> bool, now: u64) {
        self.population.fqdns.settle(addresses, live, now);
        self.learn();
    }

    /// Takes over the names that an earlier process knew.
    pub fn import_fqdns(&mut self, state: &FqdnState, now: u64) {
        state.restore(&mut self.population.fqdns, now);
        self.learn();
    }

    /// Calls `each` for every rule that selects an endpoint, with the port names that count in that direction.
    pub(crate) fn selecting(
        &self,
        (namespace, name): (&str, &str),
        direction: Direction,
        mut each: impl FnMut(&Policy, &crate::rule::Rule, &CompiledRule, &dyn NamedPorts),
    ) {
        let Some((uids, own_names)) = self.endpoints.rules_of(namespace, name) else { return };
        let names: &dyn NamedPorts = match direction {
            Direction::Ingress => own_names,
            Direction::Egress => &self.facts.ports,
        };
        for document in self.documents.values().flatten() {
            for (rule, compiled) in document.policy.rules.iter().zip(&document.rules) {
                if uids.contains(&compiled.uid) {
                    each(&document.policy, rule, compiled, names);
                }
            }
        }
    }

    /// What selectors see of an endpoint.
    pub(crate) fn subject_labels(&self, namespace: &str, name: &str) -> Option<LabelSet> {
        self.endpoints.labels_of(namespace, name)
    }

    pub(crate) fn is_member(&self, peer: peers::PeerId, identity: Identity) -> bool {
        self.peers.members(peer).is_some_and(|members| members.contains(&identity))
    }

    fn compile_rule(&mut self, policy: &Policy, rule: &crate::rule::Rule) -> Arc<CompiledRule> {
        self.next_rule += 1;
        Arc::new(CompiledRule::new(self.next_rule, policy, rule, &mut self.peers, &mut self.sets))
    }

    /// Brings everything up to date after a change, and publishes the outcome if anything differs.
    fn refresh(&mut self, references: bool) {
        self.peers.resolve(references, &self.facts);
        let moved = self.population.assign(&self.peers, &self.facts.groups, &mut self.identities);
        let (added, removed) = match moved {
            Some(now) => self.facts.set_identities(now),
            None => Default::default(),
        };
        self.peers.update(&self.facts, &added, &removed);
        self.compile(&added, &removed);
    }

    /// Compiles what is out of date after identities came and went, and publishes.
    fn compile(&mut self, added: &[Identity], removed: &[Identity]) {
        let endpoints = self.endpoints.compile(
            &self.options,
            &self.quarantine,
            &self.facts,
            &self.peers,
            (added, removed),
            &mut self.sets,
        );
        if self.sets.sweep_is_due() {
            let used = self.endpoints.l7_sets();
            let rules = self.documents.values().flatten().flat_map(|document| &document.rules);
            let fragments: Set<u32> = rules.flat_map(|rule| rule.fragments()).collect();
            self.sets.sweep(|set| used.contains(&set), |fragment| fragments.contains(&fragment));
        }
        if self.sets.rules_sweep_is_due() {
            let used = self.endpoints.rule_sets();
            let rules = self.documents.values().flatten().flat_map(|document| &document.rules);
            let named: Set<u32> = rules.flat_map(|rule| rule.provenances()).collect();
            self.sets.sweep_rules(|set| used.contains(&set), |provenance| named.contains(&provenance));
        }
        self.publish(endpoints);
    }

    /// Brings up to date what DNS answers moved, and nothing else.
    fn learn(&mut self) {
        let Some(moved) = self.population.learn(&mut self.identities) else {
            return self.refresh(false);
        };
        if moved.added.is_empty() && moved.removed.is_empty() {
            let old = &self.snapshot;
            self.snapshot = Arc::new(PolicySnapshot {
                epoch: old.epoch + u64::from(moved.addresses),
                ip_cache: Arc::clone(self.population.ip_cache()),
                directory: Arc::clone(self.population.directory()),
                fqdn: self.population.in_force(),
                ..PolicySnapshot::clone(old)
            });
            return;
        }
        self.facts.move_identities(&moved.added, &moved.removed);
        let added: Vec<Identity> = moved.added.iter().map(|(identity, _)| *identity).collect();
        self.peers.update(&self.facts, &added, &moved.removed);
        self.compile(&added, &moved.removed);
    }

    fn publish(&mut self, endpoints: Vec<Option<Arc<crate::snapshot::Endpoint>>>) {
        let old = &self.snapshot;
        let same = |(a, b): (&Option<Arc<_>>, &Option<Arc<_>>)| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let unchanged = old.epoch > 0
            && Arc::ptr_eq(&old.ip_cache, self.population.ip_cache())
            && Arc::ptr_eq(&old.directory, self.population.directory())
            && old.endpoints.len() == endpoints.len()
            && old.endpoints.iter().zip(&endpoints).all(same);
        if unchanged {
            return;
        }
        self.snapshot = Arc::new(PolicySnapshot {
            epoch: old.epoch + 1,
            ip_cache: Arc::clone(self.population.ip_cache()),
            endpoints,
            rules: Arc::new(self.sets.table()),
            l7: Arc::new(self.sets.l7_table()),
            directory: Arc::clone(self.population.directory()),
            fqdn: self.population.in_force(),
        });
    }
}

impl PolicySnapshot {
    /// Names of identities and addresses.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The identity behind an address, or world.
    #[must_use]
    pub fn identity(&self, addr: Addr) -> Identity {
        self.ip_cache.lookup(addr)
    }
}
