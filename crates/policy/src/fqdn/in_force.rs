//! What DNS taught, as a snapshot carries it: immutable, cheap to copy, asked without locks or memory.

use super::cache::Name;
use super::selectors::Selectors;
use super::shards::Shards;
use crate::identity::Identity;
use crate::rule::NameMatch;
use packet::Addr;
use std::sync::Arc;

/// An address that has its identity from names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Carrier {
    pub(crate) identity: Identity,
    /// Numbers of the conditions that its names satisfy, ascending.
    pub(crate) selectors: Arc<[u32]>,
}

/// Names, their addresses, and the identities that these have.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    pub(crate) selectors: Arc<Selectors>,
    pub(crate) carriers: Shards<Addr, Carrier>,
    pub(crate) names: Shards<Arc<str>, Arc<Name>>,
    pub(crate) by_address: Shards<Addr, Arc<Vec<Arc<str>>>>,
}

impl InForce {
    /// Whether some `toFQDNs` condition in force fits a name (lower case, without the final dot).
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.selectors.matching(name).next().is_some()
    }

    /// Whether an address already counts for every condition that fits a name, and will for a while.
    pub(crate) fn holds(&self, name: &str, addr: Addr) -> bool {
        let mut wanted = self.selectors.matching(name).peekable();
        if wanted.peek().is_none() {
            return true;
        }
        let Some(carrier) = self.carriers.get(&addr) else { return false };
        let record = self.names.get(name).and_then(|name| name.record(addr));
        record.is_some_and(|record| record.grace.is_none())
            && wanted.all(|number| carrier.selectors.binary_search(&number).is_ok())
    }

    /// Every name known, by name.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<Name>> {
        let mut names: Vec<_> = self.names.iter().map(|(_, name)| Arc::clone(name)).collect();
        names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        names
    }

    /// What is known of a name (lower case, without the final dot).
    #[must_use]
    pub fn name(&self, name: &str) -> Option<&Name> {
        self.names.get(name).map(|name| &**name)
    }

    /// The `toFQDNs` conditions in force that fit a name.
    pub fn conditions<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a NameMatch> + 'a {
        self.selectors.matching(name).filter_map(|number| self.selectors.list().get(number as usize))
    }

    /// The identity that an address has from its names.
    #[must_use]
    pub fn identity(&self, addr: Addr) -> Option<Identity> {
        self.carriers.get(&addr).map(|carrier| carrier.identity)
    }

    /// Every address that has an identity from its names, by address.
    #[must_use]
    pub fn addresses(&self) -> Vec<(Addr, Identity)> {
        let mut list: Vec<_> =
            self.carriers.iter().map(|(addr, carrier)| (*addr, carrier.identity)).collect();
        list.sort_unstable();
        list
    }

    /// Addresses whose identity from names is not the one that they had: before and now, by address. What did not
    /// change since costs nothing.
    #[must_use]
    pub fn moved_since(&self, before: &Self) -> Vec<(Addr, Option<Identity>, Option<Identity>)> {
        let now = self
            .carriers
            .apart(&before.carriers)
            .map(|(addr, carrier)| (*addr, before.identity(*addr), Some(carrier.identity)));
        let gone =
            before.carriers.apart(&self.carriers).filter(|(addr, _)| self.carriers.get(*addr).is_none());
        let gone = gone.map(|(addr, carrier)| (*addr, Some(carrier.identity), None));
        let mut list: Vec<_> = now.filter(|(_, before, now)| before != now).chain(gone).collect();
        list.sort_unstable_by_key(|(addr, ..)| *addr);
        list
    }

    /// Names whose answers gave an address, the latest last.
    #[must_use]
    pub fn names_of(&self, addr: Addr) -> &[Arc<str>] {
        self.by_address.get(&addr).map_or(&[], |names| names)
    }
}
