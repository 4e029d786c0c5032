//! Everything that a packet may ask, immutable, swapped whole.

use crate::engine::directory::Directory;
use crate::identity::Identity;
use crate::ip_cache::IpCache;
use crate::l7::L7Table;
use crate::map::PolicyMap;
use crate::provenance::RuleTable;
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
}

impl PolicySnapshot {
    /// The endpoint with that number.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(usize::from(id.0))?.as_deref()
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
        }
    }
}

fn parse_prefix(text: &str) -> Option<ipnet::IpNet> {
    text.parse().ok().or_else(|| Some(text.parse::<std::net::IpAddr>().ok()?.into()))
}
