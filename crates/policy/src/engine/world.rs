//! Who exists: identities with their labels, the prefixes behind them, named ports, services, CIDR groups.

use super::Map;
use super::peers::{IdentitySet, Term};
use crate::compile::rules::NamedPorts;
use crate::identity::Identity;
use crate::inventory::{Inventory, NamedPort, Pod, Service};
use crate::label::{CLUSTER, Label, LabelSet, NAMESPACE, NAMESPACE_LABELS_PREFIX, SERVICE_ACCOUNT, Source};
use crate::map::ProtoSlot;
use crate::rule::{CidrGroup, Protocol};
use crate::selector::{Operator, Selector};
use hashbrown::hash_map::Entry;
use ipnet::IpNet;
use std::sync::Arc;

/// What is known of an identity that someone has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct IdentityFacts {
    pub(crate) labels: LabelSet,
    /// The narrowest prefix of policy that its addresses lie in; only for addresses outside the cluster.
    pub(crate) prefix: Option<IpNet>,
}

/// Identities by key and value of a label; none of the lists is empty.
type Postings = Map<(Arc<str>, Arc<str>), Vec<Identity>>;

/// Everything that peers of rules are resolved against.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) cluster: Arc<str>,
    pub(crate) identities: Map<Identity, IdentityFacts>,
    pub(crate) groups: Vec<CidrGroup>,
    pub(crate) services: Vec<Service>,
    pub(crate) ports: PortNames,
    /// Identities by `(key, value)` of each of their labels.
    postings: Postings,
    /// Identities with a prefix, ordered so that the prefixes inside another one are neighbours.
    prefixes: Vec<(PrefixOrder, Identity)>,
}

/// Family, first address, length.
type PrefixOrder = (u8, u128, u8);

fn order(prefix: &IpNet) -> PrefixOrder {
    match prefix {
        IpNet::V4(p) => (4, u128::from(p.network().to_bits()), p.prefix_len()),
        IpNet::V6(p) => (6, p.network().to_bits(), p.prefix_len()),
    }
}

fn last(prefix: &IpNet) -> PrefixOrder {
    match prefix {
        IpNet::V4(p) => (4, u128::from(p.broadcast().to_bits()), u8::MAX),
        IpNet::V6(p) => (6, p.broadcast().to_bits(), u8::MAX),
    }
}

impl Facts {
    /// Puts in the identities that exist now; says which are new (or have other labels) and which are gone.
    pub(crate) fn set_identities(
        &mut self,
        now: Map<Identity, IdentityFacts>,
    ) -> (Vec<Identity>, Vec<Identity>) {
        let differs =
            |(identity, facts): &(&Identity, &IdentityFacts)| self.identities.get(*identity) != Some(*facts);
        let added: Vec<Identity> = now.iter().filter(differs).map(|(identity, _)| *identity).collect();
        let gone = |identity: &&Identity| now.get(*identity) != self.identities.get(*identity);
        let removed: Vec<Identity> = self.identities.keys().filter(gone).copied().collect();
        if added.is_empty() && removed.is_empty() {
            return (added, removed);
        }
        for identity in &removed {
            let Some(facts) = self.identities.get(identity) else { continue };
            unpost(&mut self.postings, *identity, facts);
        }
        for identity in &added {
            for label in now.get(identity).into_iter().flat_map(|facts| &facts.labels) {
                self.postings.entry(posting(label)).or_default().push(*identity);
            }
        }
        self.prefixes = now.iter().filter_map(|(id, facts)| Some((order(&facts.prefix?), *id))).collect();
        self.prefixes.sort_unstable();
        self.identities = now;
        (added, removed)
    }

    /// Adds identities that do not exist yet and removes others.
    pub(crate) fn move_identities(&mut self, added: &[(Identity, IdentityFacts)], removed: &[Identity]) {
        for identity in removed {
            let Some(facts) = self.identities.remove(identity) else { continue };
            unpost(&mut self.postings, *identity, &facts);
            if let Some(prefix) = facts.prefix
                && let Ok(at) = self.prefixes.binary_search(&(order(&prefix), *identity))
            {
                self.prefixes.remove(at);
            }
        }
        for (identity, facts) in added {
            for label in &facts.labels {
                self.postings.entry(posting(label)).or_default().push(*identity);
            }
            if let Some(prefix) = facts.prefix
                && let Err(at) = self.prefixes.binary_search(&(order(&prefix), *identity))
            {
                self.prefixes.insert(at, (order(&prefix), *identity));
            }
            self.identities.insert(*identity, facts.clone());
        }
    }

    /// Everyone who satisfies one of the terms.
    pub(crate) fn members(&self, terms: &[Term]) -> IdentitySet {
        let mut members = IdentitySet::default();
        for term in terms {
            let satisfying = |identity: &&Identity| self.satisfies(**identity, std::slice::from_ref(term));
            match term {
                Term::Labels(selector) => match self.shortlist(selector) {
                    Some(list) => members.extend(list.into_iter().flatten().filter(satisfying)),
                    None => members.extend(self.identities.keys().filter(satisfying)),
                },
                Term::Cidr { prefix, .. } => {
                    let from = self.prefixes.partition_point(|(own, _)| *own < order(prefix));
                    let inside = self.prefixes[from..].iter().take_while(|(own, _)| *own <= last(prefix));
                    members.extend(inside.map(|(_, identity)| identity).filter(satisfying));
                }
                Term::Fqdn(name) => {
                    let carrying = self.postings.get(&(name.to_string().into(), "".into()));
                    members.extend(carrying.into_iter().flatten().filter(satisfying));
                }
                Term::Entity(_) => members.extend(self.identities.keys().filter(satisfying)),
            }
        }
        members
    }

    pub(crate) fn satisfies(&self, identity: Identity, terms: &[Term]) -> bool {
        let Some(facts) = self.identities.get(&identity) else { return false };
        terms.iter().any(|term| term.matches(facts, &self.cluster))
    }

    /// The identities with the values that the narrowest requirement of a selector lists.
    fn shortlist(&self, selector: &Selector) -> Option<Vec<&Vec<Identity>>> {
        let candidates =
            selector.requirements().iter().filter_map(|requirement| match &requirement.operator {
                Operator::In(values) if requirement.key.source != Source::Cidr => {
                    let key = &requirement.key.key;
                    let lists = values.iter();
                    Some(
                        lists
                            .filter_map(|v| self.postings.get(&(Arc::clone(key), Arc::clone(v))))
                            .collect::<Vec<_>>(),
                    )
                }
                _ => None,
            });
        candidates.min_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>())
    }
}

fn posting(label: &Label) -> (Arc<str>, Arc<str>) {
    (Arc::clone(&label.key), Arc::clone(&label.value))
}

/// Takes an identity off the lists of its labels. Addresses come and go with a label of their own each, so lists that
/// nobody is on any more go too.
fn unpost(postings: &mut Postings, identity: Identity, facts: &IdentityFacts) {
    for label in &facts.labels {
        if let Entry::Occupied(mut list) = postings.entry(posting(label)) {
            list.get_mut().retain(|other| *other != identity);
            if list.get().is_empty() {
                list.remove();
            }
        }
    }
}

/// Container port names over all pods; a name with two numbers for one protocol is ambiguous.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PortNames {
    numbers: Map<(Arc<str>, usize), Option<u16>>,
}

impl PortNames {
    pub(crate) fn new<'a>(ports: impl IntoIterator<Item = &'a NamedPort>) -> Self {
        let mut numbers: Map<(Arc<str>, usize), Option<u16>> = Map::default();
        for port in ports.into_iter().filter(|port| port.port != 0) {
            let number =
                numbers.entry((Arc::clone(&port.name), slot(port.protocol))).or_insert(Some(port.port));
            if *number != Some(port.port) {
                *number = None;
            }
        }
        Self { numbers }
    }
}

impl NamedPorts for PortNames {
    fn number(&self, name: &str, proto: ProtoSlot) -> Option<u16> {
        *self.numbers.get(&(Arc::from(name), proto.0))?
    }
}

/// The slot of a container port's protocol.
pub(crate) const fn slot(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Any | Protocol::Tcp => ProtoSlot::TCP.0,
        Protocol::Udp => ProtoSlot::UDP.0,
        Protocol::Sctp => ProtoSlot::SCTP.0,
    }
}

/// Labels that the pods of a namespace inherit from it.
pub(crate) fn namespace_labels(inventory: &Inventory) -> Map<Arc<str>, Vec<Label>> {
    let labels = |namespace: &crate::inventory::Namespace| {
        let labels = namespace.labels.iter();
        labels.map(|(k, v)| Label::k8s(format!("{NAMESPACE_LABELS_PREFIX}{k}"), Arc::clone(v))).collect()
    };
    inventory.namespaces.iter().map(|ns| (Arc::clone(&ns.name), labels(ns))).collect()
}

/// The security labels of a pod.
pub(crate) fn pod_labels(pod: &Pod, namespace: Option<&Vec<Label>>, cluster: &str) -> LabelSet {
    let own = pod.labels.iter().filter(|(key, _)| crate::identity::filter::counts(key));
    let own = own.map(|(key, value)| Label::k8s(Arc::clone(key), Arc::clone(value)));
    let account = pod.service_account.iter().map(|name| Label::k8s(SERVICE_ACCOUNT, Arc::clone(name)));
    let unlisted;
    let inherited = match namespace {
        Some(labels) => labels,
        None => {
            let key = format!("{NAMESPACE_LABELS_PREFIX}kubernetes.io/metadata.name");
            unlisted = vec![Label::k8s(key, Arc::clone(&pod.namespace))];
            &unlisted
        }
    };
    own.chain(account)
        .chain(inherited.iter().cloned())
        .chain([Label::k8s(NAMESPACE, Arc::clone(&pod.namespace)), Label::k8s(CLUSTER, cluster)])
        .collect()
}
