//! Longest prefix → identity.
//!
//! Host addresses (pods, nodes, learnt names) are by far the most entries and change most often; each family keeps
//! them in one hash table. Shorter prefixes change with policies only: IPv4 ones are cut into disjoint ranges with
//! an index by the upper half of the address, IPv6 ones are one hash table per prefix length. The four parts are
//! shared between versions, so a pod that comes or goes copies one table.

mod hosts;
mod ranges;
mod v6;

use crate::fqdn::Carrier;
use crate::fqdn::shards::Shards;
use crate::identity::Identity;
use hosts::{Hosts4, Hosts6};
use ipnet::IpNet;
use packet::Addr;
use ranges::Ranges4;
use std::sync::Arc;
use v6::Prefixes6;

/// Immutable longest-prefix table. A miss is `world-ipv4` or `world-ipv6`.
#[derive(Clone, Debug, Default)]
pub struct IpCache {
    hosts4: Arc<Hosts4>,
    ranges4: Arc<Ranges4>,
    hosts6: Arc<Hosts6>,
    prefixes6: Arc<Prefixes6>,
    /// Addresses that have their identity from names; never one of a pod or a node.
    learnt: Shards<Addr, Carrier>,
}

impl IpCache {
    /// Builds a table; of equal prefixes the last one counts.
    #[must_use]
    pub fn new(prefixes: impl IntoIterator<Item = (IpNet, Identity)>) -> Self {
        let (mut hosts4, mut short4, mut hosts6, mut prefixes6) =
            (Hosts4::default(), Vec::new(), Hosts6::default(), Prefixes6::default());
        for (prefix, identity) in prefixes {
            match prefix {
                IpNet::V4(p) if p.prefix_len() == 32 => hosts4.insert(p.addr().to_bits(), identity),
                IpNet::V4(p) => short4.push((p.network().to_bits(), p.prefix_len(), identity)),
                IpNet::V6(p) if p.prefix_len() == 128 => hosts6.insert(p.addr().to_bits(), identity),
                IpNet::V6(p) => prefixes6.insert(p.network().to_bits(), p.prefix_len(), identity),
            }
        }
        Self {
            hosts4: Arc::new(hosts4),
            ranges4: Arc::new(Ranges4::new(short4)),
            hosts6: Arc::new(hosts6),
            prefixes6: Arc::new(prefixes6),
            learnt: Shards::default(),
        }
    }

    /// The same table with host addresses set (`Some`) or removed (`None`); prefixes stay as they are.
    #[must_use]
    pub fn with_hosts(&self, changes: impl IntoIterator<Item = (Addr, Option<Identity>)>) -> Self {
        let mut next = self.clone();
        for (addr, identity) in changes {
            match (addr.as_v4(), identity) {
                (Some(v4), Some(identity)) => Arc::make_mut(&mut next.hosts4).insert(v4, identity),
                (Some(v4), None) => Arc::make_mut(&mut next.hosts4).remove(v4),
                (None, Some(identity)) => Arc::make_mut(&mut next.hosts6).insert(addr.0, identity),
                (None, None) => Arc::make_mut(&mut next.hosts6).remove(addr.0),
            }
        }
        next
    }

    /// The same table with these addresses from DNS answers instead of those it had.
    pub(crate) fn with_learnt(&self, learnt: Shards<Addr, Carrier>) -> Self {
        Self { learnt, ..self.clone() }
    }

    /// The identity of the longest prefix that covers `addr`.
    #[must_use]
    #[inline]
    pub fn lookup(&self, addr: Addr) -> Identity {
        if self.learnt.len() > 0
            && let Some(carrier) = self.learnt.get(&addr)
        {
            return carrier.identity;
        }
        match addr.as_v4() {
            Some(v4) => self.hosts4.get(v4).or_else(|| self.ranges4.get(v4)).unwrap_or(Identity::WORLD_IPV4),
            None => {
                self.hosts6.get(addr.0).or_else(|| self.prefixes6.get(addr.0)).unwrap_or(Identity::WORLD_IPV6)
            }
        }
    }
}

#[cfg(test)]
mod tests;
