//! Everything that a packet may ask, immutable, swapped whole.

use crate::identity::Identity;
use crate::ip_cache::IpCache;
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
}

impl PolicySnapshot {
    /// The endpoint with that number.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(usize::from(id.0))?.as_deref()
    }
}
