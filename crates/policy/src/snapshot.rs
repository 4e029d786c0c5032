//! Everything that a packet may ask, immutable, swapped whole.

use crate::engine::directory::Directory;
use crate::fqdn::InForce;
use crate::identity::Identity;
use crate::ip_cache::IpCache;
use crate::l7::L7Table;
use crate::map::PolicyMap;
use crate::provenance::RuleTable;
use packet::Addr;
use std::sync::Arc;

/// Names a local endpoint; stable from one snapshot to the next while the endpoint lives.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EndpointId(pub u16);

/// What policy protects: a local pod, or the host.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Number shown to users and carried by flow events.
    pub id: EndpointId,
    /// Its identity.
    pub identity: Identity,
    /// Namespace of the pod; empty for the host.
    pub namespace: Arc<str>,
    /// Name of the pod; the node's name for the host.
    pub name: Arc<str>,
    /// Its compiled policy.
    pub map: Arc<PolicyMap>,
}

/// One version of the whole policy.
#[derive(Clone, Debug, Default)]
pub struct PolicySnapshot {
    /// Rises by at least one whenever any verdict may have changed.
    pub epoch: u64,
    /// Addresses to identities.
    pub ip_cache: Arc<IpCache>,
    /// Local endpoints, at index `EndpointId.0`.
    pub endpoints: Vec<Option<Arc<Endpoint>>>,
    /// What rule numbers stand for.
    pub rules: Arc<RuleTable>,
    /// What L7 rule set numbers stand for.
    pub l7: Arc<L7Table>,
    /// Names of identities and addresses.
    pub directory: Arc<Directory>,
    /// What DNS answers taught.
    pub fqdn: InForce,
}

impl PolicySnapshot {
    /// The endpoint with that number.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(usize::from(id.0))?.as_deref()
    }

    /// Whether some `toFQDNs` rule in force is about a name (lower case, without the final dot).
    ///
    /// Without locks and without allocation, as is [`fqdn_in_force`](Self::fqdn_in_force).
    #[must_use]
    pub fn fqdn_wanted(&self, name: &str) -> bool {
        self.fqdn.wants(name)
    }

    /// Whether an answer that gives a name (lower case, without the final dot) these addresses changes no verdict:
    /// each of them already counts for every `toFQDNs` rule about the name, or never will, because it belongs to a
    /// pod or a node. Also true if no rule is about the name.
    ///
    /// Such an answer need not wait, but must be told all the same: it lets the addresses stay for longer.
    #[must_use]
    pub fn fqdn_in_force(&self, name: &str, addresses: &[std::net::IpAddr]) -> bool {
        addresses.iter().all(|addr| {
            let addr = Addr::from(*addr);
            self.fqdn.holds(name, addr) || self.directory.is_managed(addr)
        })
    }

    /// A snapshot by hand, for tests of the crates that ask it: each endpoint is `(identity, "namespace/name",
    /// addresses, map)` and gets the number of its place in the list, from 1.
    ///
    /// The addresses (`10.0.0.1`, `10.0.0.0/8`) of endpoints and `others` go into the IP cache; what does not parse
    /// is left out.
    #[must_use]
    pub fn for_tests(
        epoch: u64,
        endpoints: &[(Identity, &str, &[&str], PolicyMap)],
        others: &[(&str, Identity)],
        rules: RuleTable,
    ) -> Self {
        let mut prefixes = Vec::new();
        let mut list = vec![None];
        for (number, (identity, name, addresses, map)) in (1..).zip(endpoints) {
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            let (id, map) = (EndpointId(number), Arc::new(map.clone()));
            let endpoint =
                Endpoint { id, identity: *identity, namespace: namespace.into(), name: name.into(), map };
            list.push(Some(Arc::new(endpoint)));
            prefixes.extend(addresses.iter().filter_map(|text| Some((parse_prefix(text)?, *identity))));
        }
        prefixes.extend(others.iter().filter_map(|(text, identity)| Some((parse_prefix(text)?, *identity))));
        let ip_cache = Arc::new(IpCache::new(prefixes));
        Self {
            epoch,
            ip_cache,
            endpoints: list,
            rules: Arc::new(rules),
            l7: Arc::default(),
            directory: Arc::default(),
            fqdn: InForce::default(),
        }
    }
}

fn parse_prefix(text: &str) -> Option<ipnet::IpNet> {
    text.parse().ok().or_else(|| Some(text.parse::<std::net::IpAddr>().ok()?.into()))
}
