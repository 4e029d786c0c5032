//! Peers of rules, each distinct one kept once, and the identities that it stands for.

use super::world::{Facts, IdentityFacts};
use super::{Map, Set};
use crate::identity::Identity;
use crate::label::{CLUSTER, LabelKey, NAMESPACE, Source};
use crate::rule::{Entity, GroupRef, NameMatch, Peer, ServiceRef};
use crate::selector::{Requirement, Selector};
use ipnet::IpNet;
use std::sync::Arc;
pub(crate) type IdentitySet = Set<Identity>;

/// Number of a distinct peer.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct PeerId(u32);

/// What a peer asks of an identity once references are resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Term {
    Labels(Selector),
    Entity(Entity),
    Cidr { prefix: IpNet, except: Arc<[IpNet]> },
    Fqdn(NameMatch),
}

#[derive(Debug)]
struct Record {
    peer: Peer,
    uses: u32,
    terms: Vec<Term>,
    members: Arc<IdentitySet>,
    /// Round in which all members were computed anew.
    rebuilt: u64,
    /// Round in which members last joined.
    joined: u64,
}

/// All peers that rules in force mention.
#[derive(Debug, Default)]
pub(crate) struct PeerStore {
    ids: Map<Peer, PeerId>,
    records: Vec<Option<Record>>,
    free: Vec<u32>,
    /// Interned since the last [`PeerStore::resolve`].
    fresh: Vec<PeerId>,
    round: u64,
}

impl PeerStore {
    /// Whether a peer is any peer at all, identities that do not exist yet included.
    pub(crate) fn is_everyone(peer: &Peer) -> bool {
        match peer {
            Peer::Endpoints(selector) => selector.is_all(),
            Peer::Entity(entity) => *entity == Entity::All,
            _ => false,
        }
    }

    /// The number of a peer, counting one more use of it.
    pub(crate) fn intern(&mut self, peer: &Peer) -> PeerId {
        if let Some(&id) = self.ids.get(peer) {
            if let Some(Some(record)) = self.records.get_mut(id.0 as usize) {
                record.uses += 1;
            }
            return id;
        }
        let record = Record {
            peer: peer.clone(),
            uses: 1,
            terms: Vec::new(),
            members: Arc::default(),
            rebuilt: 0,
            joined: 0,
        };
        let id = match self.free.pop() {
            Some(at) => {
                self.records[at as usize] = Some(record);
                PeerId(at)
            }
            None => {
                self.records.push(Some(record));
                PeerId(self.records.len() as u32 - 1)
            }
        };
        self.ids.insert(peer.clone(), id);
        self.fresh.push(id);
        id
    }

    /// Counts one use less; the last one frees the number.
    pub(crate) fn release(&mut self, id: PeerId) {
        let Some(slot) = self.records.get_mut(id.0 as usize) else { return };
        let Some(record) = slot else { return };
        record.uses -= 1;
        if record.uses == 0 {
            self.ids.remove(&record.peer);
            *slot = None;
            self.free.push(id.0);
        }
    }

    /// Resolves references again: all of them, or those of peers that are new. Says whether any term changed.
    pub(crate) fn resolve(&mut self, all: bool, facts: &Facts) -> bool {
        let fresh = std::mem::take(&mut self.fresh);
        let ids: Vec<PeerId> = if all { (0..self.records.len() as u32).map(PeerId).collect() } else { fresh };
        let mut changed = false;
        for id in ids {
            if let Some(Some(record)) = self.records.get_mut(id.0 as usize) {
                let terms = terms(&record.peer, facts);
                changed |= record.terms != terms;
                if all && record.terms == terms {
                    continue;
                }
                record.terms = terms;
                self.fresh.push(id);
            }
        }
        changed
    }

    /// Brings the members of all peers up to date: new peers against all identities, old ones against `added`.
    pub(crate) fn update(&mut self, facts: &Facts, added: &[Identity], removed: &[Identity]) {
        self.round += 1;
        let fresh: Set<PeerId> = self.fresh.drain(..).collect();
        for (at, record) in self.records.iter_mut().enumerate() {
            let Some(record) = record else { continue };
            let id = PeerId(at as u32);
            if fresh.contains(&id) {
                record.members = Arc::new(facts.members(&record.terms));
                record.rebuilt = self.round;
                continue;
            }
            // One whose labels changed is in both lists, and may be a member before and after.
            let gone = removed.iter().filter(|identity| {
                record.members.contains(*identity) && !facts.satisfies(**identity, &record.terms)
            });
            let gone: Vec<Identity> = gone.copied().collect();
            let new = added.iter().copied().filter(|identity| facts.satisfies(*identity, &record.terms));
            let new: Vec<Identity> = new.filter(|identity| !record.members.contains(identity)).collect();
            if gone.is_empty() && new.is_empty() {
                continue;
            }
            if !new.is_empty() {
                record.joined = self.round;
            }
            let members = Arc::make_mut(&mut record.members);
            members.extend(new);
            for identity in gone {
                members.remove(&identity);
            }
        }
    }

    pub(crate) fn members(&self, id: PeerId) -> Option<&IdentitySet> {
        self.records.get(id.0 as usize)?.as_ref().map(|record| &*record.members)
    }

    /// Rounds in which the members were last computed anew and last joined.
    pub(crate) fn rounds(&self, id: PeerId) -> (u64, u64) {
        match self.records.get(id.0 as usize) {
            Some(Some(record)) => (record.rebuilt, record.joined),
            _ => (u64::MAX, u64::MAX),
        }
    }

    /// The round of the last update.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Every prefix that a rule mentions, holes included.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.terms().flat_map(|term| match term {
            Term::Cidr { prefix, except } => [&[*prefix][..], except].concat(),
            _ => Vec::new(),
        })
    }

    /// Every DNS name condition.
    pub(crate) fn names(&self) -> impl Iterator<Item = &NameMatch> {
        self.terms().filter_map(|term| match term {
            Term::Fqdn(name) => Some(name),
            _ => None,
        })
    }

    fn terms(&self) -> impl Iterator<Item = &Term> {
        self.records.iter().flatten().flat_map(|record| &record.terms)
    }
}

/// What a peer asks; a reference that leads nowhere asks for nothing, so nobody satisfies it.
fn terms(peer: &Peer, facts: &Facts) -> Vec<Term> {
    match peer {
        Peer::Endpoints(selector) => vec![Term::Labels(selector.clone())],
        Peer::Entity(entity) => vec![Term::Entity(*entity)],
        Peer::Cidr { prefix, except } => vec![Term::Cidr { prefix: *prefix, except: Arc::clone(except) }],
        Peer::Fqdn(name) => vec![Term::Fqdn(name.clone())],
        Peer::CidrGroup { group, except } => facts
            .groups
            .iter()
            .filter(|candidate| match group {
                GroupRef::Name(name) => candidate.name == *name,
                GroupRef::Selector(selector) => selector.matches(&candidate.labels.iter().cloned().collect()),
            })
            .flat_map(|group| &group.prefixes)
            .map(|prefix| Term::Cidr { prefix: *prefix, except: Arc::clone(except) })
            .collect(),
        Peer::Service { namespace, service } => facts
            .services
            .iter()
            .filter(|candidate| namespace.as_ref().is_none_or(|wanted| *wanted == candidate.namespace))
            .filter(|candidate| match service {
                ServiceRef::Name(name) => candidate.name == *name,
                ServiceRef::Selector(selector) => {
                    let labels = candidate.labels.iter();
                    let labels = labels.map(|(k, v)| crate::label::Label::k8s(Arc::clone(k), Arc::clone(v)));
                    selector.matches(&labels.collect())
                }
            })
            .flat_map(|service| backends(service, facts))
            .collect(),
    }
}

/// A service with a selector stands for its pods, one without for its addresses.
fn backends(service: &crate::inventory::Service, facts: &Facts) -> Vec<Term> {
    if service.selector.is_empty() {
        let hosts = service.endpoints.iter().map(|ip| IpNet::from(*ip));
        return hosts.map(|prefix| Term::Cidr { prefix, except: Arc::default() }).collect();
    }
    let key = |name: &str| LabelKey::new(Source::K8s, name);
    let own = service.selector.iter().map(|(k, v)| Requirement::equals(key(k), v));
    let scope = [
        Requirement::equals(key(NAMESPACE), &service.namespace),
        Requirement::equals(key(CLUSTER), &facts.cluster),
    ];
    vec![Term::Labels(Selector::new(own.chain(scope)))]
}

impl Term {
    pub(crate) fn matches(&self, identity: &IdentityFacts, cluster: &str) -> bool {
        let labels = &identity.labels;
        match self {
            Self::Labels(selector) => selector.matches(labels),
            Self::Cidr { prefix, except } => identity
                .prefix
                .is_some_and(|own| prefix.contains(&own) && !except.iter().any(|hole| hole.contains(&own))),
            Self::Fqdn(name) => labels.get(&LabelKey::new(Source::Fqdn, name.to_string())).is_some(),
            Self::Entity(Entity::All) => true,
            Self::Entity(Entity::None) => false,
            Self::Entity(Entity::World) => {
                ["world", "world-ipv4", "world-ipv6"].iter().any(|name| labels.has_reserved(name))
            }
            Self::Entity(Entity::Cluster) => {
                CLUSTER_ENTITIES.iter().any(|name| labels.has_reserved(name))
                    || labels.k8s(CLUSTER) == Some(cluster)
            }
            Self::Entity(entity) => labels.has_reserved(entity.as_str()),
        }
    }
}

/// Reserved labels that the entity `cluster` stands for.
const CLUSTER_ENTITIES: [&str; 7] =
    ["host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"];
