//! What policy protects on this node, and which rules select it.

use super::halves::{BuiltHalf, HalfInput, Staleness};
use super::peers::PeerStore;
use super::population::{KnownPod, Population};
use super::world::{Facts, PortNames};
use super::{EnforcementMode, Options, Quarantine};
use super::{Map, Set};
use crate::compile::rules::{CompiledRule, NamedPorts};
use crate::compile::sets::RuleSets;
use crate::direction::Direction;
use crate::identity::Identity;
use crate::label::{Label, LabelSet};
use crate::map::PolicyMap;
use crate::provenance::RuleId;
use crate::rule::Subject;
use crate::snapshot::{Endpoint, EndpointId};
use crate::verdict::L7RuleSetId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that two endpoints must agree on to share a half.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct HalfKey {
    direction: Direction,
    rules: Vec<u64>,
    /// The subject's own port names, where a rule asks for one.
    names: Vec<(Arc<str>, usize, u16)>,
    mode: EnforcementMode,
    audited: bool,
    local_host: bool,
    quarantine: Option<RuleId>,
}

#[derive(Debug)]
struct Protected {
    id: EndpointId,
    namespace: Arc<str>,
    name: Arc<str>,
    identity: Identity,
    /// What selectors see: for the host the labels of the node.
    labels: LabelSet,
    is_host: bool,
    own_names: PortNames,
    named: Vec<(Arc<str>, usize, u16)>,
    rules: Vec<Arc<CompiledRule>>,
    published: Option<Arc<Endpoint>>,
}

/// The endpoints of this node, their rules and their halves.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    list: BTreeMap<(Arc<str>, Arc<str>), Protected>,
    halves: Map<HalfKey, BuiltHalf>,
    /// Port names that the halves were built with.
    names: PortNames,
    last_id: u16,
}

impl Endpoints {
    /// Adds, changes and removes endpoints; those that did not change keep their rules and numbers.
    pub(crate) fn populate<'a>(
        &mut self,
        population: &Population,
        options: &Options,
        rules: impl Iterator<Item = &'a Arc<CompiledRule>>,
    ) {
        let mut wanted: BTreeMap<(Arc<str>, Arc<str>), Protected> = population
            .pods()
            .filter(|known| options.all_nodes || *known.pod.node == *options.node_name)
            .map(|known| ((Arc::clone(&known.pod.namespace), Arc::clone(&known.pod.name)), pod(known)))
            .collect();
        let empty: Arc<str> = "".into();
        if !options.node_name.is_empty() {
            wanted.insert((Arc::clone(&empty), Arc::clone(&options.node_name)), host(population, options));
        }
        let mut before = std::mem::take(&mut self.list);
        let mut unselected = Vec::new();
        for (key, mut endpoint) in wanted {
            match before.remove(&key) {
                Some(old) if old.same_subject(&endpoint) => endpoint = old,
                Some(old) => {
                    endpoint.id = old.id;
                    unselected.push(key.clone());
                }
                None => unselected.push(key.clone()),
            }
            self.list.insert(key, endpoint);
        }
        self.number();
        if unselected.is_empty() {
            return;
        }
        let mut rules: Vec<_> = rules.collect();
        rules.sort_unstable_by_key(|rule| rule.uid);
        for key in unselected {
            if let Some(endpoint) = self.list.get_mut(&key) {
                let selecting = rules.iter().filter(|rule| endpoint.selected_by(&rule.subject));
                endpoint.rules = selecting.map(|rule| Arc::clone(rule)).collect();
            }
        }
    }

    /// Gives numbers to endpoints without one. A number that became free is used again only after all others.
    fn number(&mut self) {
        let mut taken: Set<u16> = self.list.values().map(|endpoint| endpoint.id.0).collect();
        for endpoint in self.list.values_mut().filter(|endpoint| endpoint.id.0 == 0) {
            for _ in 0..u16::MAX {
                self.last_id = self.last_id.checked_add(1).unwrap_or(1);
                if taken.insert(self.last_id) {
                    endpoint.id = EndpointId(self.last_id);
                    break;
                }
            }
        }
    }

    /// The L7 rule sets that any map names.
    pub(crate) fn l7_sets(&self) -> Set<L7RuleSetId> {
        self.halves.values().flat_map(|built| built.half.l7_sets()).collect()
    }

    /// The sets of rules that any map names.
    pub(crate) fn rule_sets(&self) -> Set<RuleId> {
        self.halves.values().flat_map(|built| built.half.rules()).collect()
    }

    /// Numbers of the rules that select an endpoint, and the names of its own ports.
    pub(crate) fn rules_of(&self, namespace: &str, name: &str) -> Option<(Set<u64>, &PortNames)> {
        let endpoint = self.list.get(&(Arc::from(namespace), Arc::from(name)))?;
        Some((endpoint.rules.iter().map(|rule| rule.uid).collect(), &endpoint.own_names))
    }

    /// What selectors see of an endpoint.
    pub(crate) fn labels_of(&self, namespace: &str, name: &str) -> Option<LabelSet> {
        self.list.get(&(Arc::from(namespace), Arc::from(name))).map(|endpoint| endpoint.labels.clone())
    }

    /// Takes rules away and adds others.
    pub(crate) fn replace_rules(&mut self, gone: &[Arc<CompiledRule>], new: &[Arc<CompiledRule>]) {
        let gone: Set<u64> = gone.iter().map(|rule| rule.uid).collect();
        for endpoint in self.list.values_mut() {
            endpoint.rules.retain(|rule| !gone.contains(&rule.uid));
            let selecting = new.iter().filter(|rule| endpoint.selected_by(&rule.subject)).cloned();
            let selecting: Vec<_> = selecting.collect();
            endpoint.rules.extend(selecting);
        }
    }

    /// Compiles what is out of date and lists all endpoints by number.
    pub(crate) fn compile(
        &mut self,
        options: &Options,
        quarantine: &[Quarantine],
        facts: &Facts,
        peers: &PeerStore,
        (joined, left): (&[Identity], &[Identity]),
        sets: &mut RuleSets,
    ) -> Vec<Option<Arc<Endpoint>>> {
        // The others are still there, with other labels.
        let gone: Vec<Identity> =
            left.iter().filter(|identity| !joined.contains(identity)).copied().collect();
        let names_moved = self.names != facts.ports;
        self.names.clone_from(&facts.ports);
        let mut old = std::mem::take(&mut self.halves);
        let mut out: Vec<Option<Arc<Endpoint>>> = Vec::new();
        for endpoint in self.list.values_mut() {
            let held: Vec<_> = quarantine.iter().filter(|q| endpoint.quarantined(q)).collect();
            let held = (!held.is_empty() && options.enforcement != EnforcementMode::Never).then(|| {
                let policies: Vec<_> = held.iter().map(|q| q.policy.clone()).collect();
                let ids = sets.provenances(&policies);
                sets.set(&ids)
            });
            let [ingress, egress] = [Direction::Ingress, Direction::Egress].map(|direction| {
                let key = endpoint.key(direction, options, held);
                if !self.halves.contains_key(&key) {
                    let built = old.remove(&key).and_then(|mut built| {
                        if direction == Direction::Egress && built.uses_names && names_moved {
                            return None;
                        }
                        built.leave(&gone);
                        match built.staleness(peers) {
                            Staleness::Current if gone.len() == left.len() => Some(built),
                            Staleness::Current | Staleness::Joined => {
                                let input = endpoint.input(&key, facts);
                                built.join(joined, &input, peers, sets).then_some(built)
                            }
                            Staleness::Stale => None,
                        }
                    });
                    let built = built.unwrap_or_else(|| endpoint.build(&key, facts, peers, sets));
                    self.halves.insert(key.clone(), built);
                }
                self.halves.get(&key).map(|built| Arc::clone(&built.half)).unwrap_or_default()
            });
            let published = endpoint.publish(ingress, egress);
            let at = usize::from(endpoint.id.0);
            if out.len() <= at {
                out.resize(at + 1, None);
            }
            out[at] = Some(published);
        }
        out
    }
}

impl Protected {
    fn same_subject(&self, other: &Self) -> bool {
        self.labels == other.labels && self.identity == other.identity && self.named == other.named
    }

    fn selected_by(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Endpoint(selector) => !self.is_host && selector.matches(&self.labels),
            Subject::Node(selector) => self.is_host && selector.matches(&self.labels),
        }
    }

    fn quarantined(&self, quarantine: &Quarantine) -> bool {
        quarantine.holds(self.is_host, |selector| selector.matches(&self.labels))
    }

    fn key(&self, direction: Direction, options: &Options, quarantine: Option<RuleId>) -> HalfKey {
        let mut rules: Vec<u64> =
            self.rules.iter().filter(|rule| rule.half(direction).is_some()).map(|rule| rule.uid).collect();
        if options.enforcement == EnforcementMode::Never || quarantine.is_some() {
            rules.clear();
        }
        let by_name = |rule: &Arc<CompiledRule>| {
            rule.half(Direction::Ingress).is_some_and(|half| half.entries.iter().any(|e| e.uses_names()))
        };
        let named = direction == Direction::Ingress && self.rules.iter().any(by_name);
        let full_name = format!("{}/{}", self.namespace, self.name);
        HalfKey {
            direction,
            rules,
            names: if named { self.named.clone() } else { Vec::new() },
            mode: options.enforcement,
            audited: options.audit
                || options.audit_namespaces.iter().any(|ns| !self.is_host && **ns == *self.namespace)
                || options.audit_endpoints.iter().any(|name| **name == *full_name),
            local_host: !self.is_host && direction == Direction::Ingress,
            quarantine,
        }
    }

    fn build(&self, key: &HalfKey, facts: &Facts, peers: &PeerStore, sets: &mut RuleSets) -> BuiltHalf {
        if let Some(rule) = key.quarantine {
            return BuiltHalf::invalid(rule, key.audited, peers.round());
        }
        if key.mode == EnforcementMode::Never {
            return BuiltHalf::unenforced(peers.round());
        }
        BuiltHalf::compile(&self.input(key, facts), peers, sets)
    }

    fn input<'a>(&'a self, key: &HalfKey, facts: &'a Facts) -> HalfInput<'a> {
        let names: &dyn NamedPorts = match key.direction {
            Direction::Ingress => &self.own_names,
            Direction::Egress => &facts.ports,
        };
        HalfInput {
            direction: key.direction,
            rules: &self.rules,
            names,
            always: key.mode == EnforcementMode::Always,
            audited: key.audited,
            local_host: key.local_host,
        }
    }

    fn publish(&mut self, ingress: Arc<crate::map::Half>, egress: Arc<crate::map::Half>) -> Arc<Endpoint> {
        let current = self.published.as_ref().filter(|published| {
            Arc::ptr_eq(published.map.half(Direction::Ingress), &ingress)
                && Arc::ptr_eq(published.map.half(Direction::Egress), &egress)
                && published.identity == self.identity
        });
        if let Some(current) = current {
            return Arc::clone(current);
        }
        let endpoint = Arc::new(Endpoint {
            id: self.id,
            identity: self.identity,
            namespace: Arc::clone(&self.namespace),
            name: Arc::clone(&self.name),
            map: Arc::new(PolicyMap::from_halves(ingress, egress)),
        });
        self.published = Some(Arc::clone(&endpoint));
        endpoint
    }
}

fn pod(known: &KnownPod) -> Protected {
    let ports = &known.pod.ports;
    let named = ports.iter().map(|p| (Arc::clone(&p.name), super::world::slot(p.protocol), p.port)).collect();
    Protected {
        id: EndpointId(0),
        namespace: Arc::clone(&known.pod.namespace),
        name: Arc::clone(&known.pod.name),
        identity: known.identity,
        labels: known.labels.clone(),
        is_host: false,
        own_names: PortNames::new(ports),
        named,
        rules: Vec::new(),
        published: None,
    }
}

fn host(population: &Population, options: &Options) -> Protected {
    let node = population.node(&options.node_name);
    let own = node.into_iter().flat_map(|node| &node.labels);
    let own = own.map(|(key, value)| Label::k8s(Arc::clone(key), Arc::clone(value)));
    Protected {
        id: EndpointId(0),
        namespace: "".into(),
        name: Arc::clone(&options.node_name),
        identity: Identity::HOST,
        labels: own.chain([Label::reserved("host")]).collect(),
        is_host: true,
        own_names: PortNames::default(),
        named: Vec::new(),
        rules: Vec::new(),
        published: None,
    }
}
