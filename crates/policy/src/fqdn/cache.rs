//! Every name that an answer told, with its addresses and when they end: bounded, and fair between endpoints.
//!
//! ```text
//!   learnt ──ttl──▶ expired: grace begins ──grace──▶ in question ──no connection──▶ forgotten
//!      ▲                                                   │
//!      └──────────────── told again ◀───── a connection: grace begins again
//! ```
//!
//! An address is forgotten at the second look at the clock at the earliest, never at the one that finds it expired:
//! whoever sees it in a snapshot without grace can rely on it until well after that snapshot is replaced.
//!
//! When there is no room, names that no rule wants go before those that some rule wants, and of these the ones of the
//! endpoint that brought most addresses, the earliest to expire first. So a pod that has thousands of names told loses
//! its own.

use super::selectors::Selectors;
use super::shards::Shards;
use crate::snapshot::EndpointId;
use hashbrown::HashMap;
use packet::Addr;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Longest time that an answer is believed, in seconds: seven days (RFC 8767 §4).
pub(crate) const MAX_TTL: u64 = 7 * 24 * 3600;

/// Names on the way to the addresses that are remembered, for display.
const MAX_CNAMES: usize = 16;

/// Longest name as text: 255 bytes, each written as `\DDD` (RFC 1035 §5.1).
pub(crate) const MAX_NAME: usize = 1020;

/// Shortest time, in seconds, for which an address that a connection uses stays without being asked about again.
const RECHECK: u64 = 30;

/// What the cache may hold, and for how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Shortest time that an answer is believed, in seconds; a smaller TTL counts as this.
    pub min_ttl: u64,
    /// How long an expired address keeps its identity, in seconds; longer while a connection uses it.
    pub grace: u64,
    /// Addresses of one name.
    pub addresses_per_name: usize,
    /// Names.
    pub names: usize,
    /// Addresses of all names together; one behind two names counts twice.
    pub addresses: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min_ttl: 0, grace: 120, addresses_per_name: 1_000, names: 10_000, addresses: 100_000 }
    }
}

/// What an answer told.
#[derive(Copy, Clone, Debug)]
pub struct Answer<'a> {
    /// Name asked for, in any case, with or without the final dot.
    pub name: &'a str,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// Names on the way to them.
    pub cnames: &'a [Box<str>],
    /// Seconds that it holds.
    pub ttl: u32,
    /// Who asked.
    pub endpoint: Option<EndpointId>,
}

/// One name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// Lower case, without the final dot.
    pub name: Arc<str>,
    /// Its addresses, ascending; at least one.
    pub addresses: Vec<Record>,
    /// Names on the way to them, as the last answer had them.
    pub cnames: Arc<[Box<str>]>,
    /// Who asked for it first; not known after a restart.
    pub endpoint: Option<EndpointId>,
    /// Last answer, in seconds since 1970.
    pub seen: u64,
    /// Numbers of the conditions that it satisfies, ascending.
    pub(crate) selectors: Arc<[u32]>,
}

/// One address of a name.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The address.
    pub addr: Addr,
    /// When the answers that gave it end, in seconds since 1970.
    pub expires: u64,
    /// When its grace ends; `None` while an answer holds.
    pub grace: Option<u64>,
}

impl Record {
    fn due(&self) -> u64 {
        self.grace.unwrap_or(self.expires)
    }
}

impl Name {
    /// What is known of one of its addresses.
    #[must_use]
    pub fn record(&self, addr: Addr) -> Option<&Record> {
        let at = self.addresses.binary_search_by_key(&addr, |record| record.addr).ok()?;
        self.addresses.get(at)
    }

    /// When the last of its addresses expires.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.addresses.iter().map(|record| record.expires).max().unwrap_or(0)
    }

    fn due(&self) -> u64 {
        self.addresses.iter().map(Record::due).min().unwrap_or(u64::MAX)
    }
}

/// What one endpoint had told, of one class of names.
#[derive(Clone, Debug, Default)]
struct Share {
    addresses: usize,
    /// Names by the time they expire.
    order: BTreeSet<(u64, Arc<str>)>,
}

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Names and addresses.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    limits: Limits,
    selectors: Arc<Selectors>,
    names: Shards<Arc<str>, Arc<Name>>,
    by_address: Shards<Addr, Arc<Vec<Arc<str>>>>,
    addresses: usize,
    due: BTreeSet<(u64, Arc<str>)>,
    /// Unwanted and wanted names by who asked first.
    shares: Map<Option<EndpointId>, [Share; 2]>,
    /// Addresses whose names changed since [`Cache::take_touched`].
    touched: Vec<Addr>,
}

impl Cache {
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.make_room();
    }

    pub(crate) fn selectors(&self) -> &Arc<Selectors> {
        &self.selectors
    }

    /// Sorts all names anew by what rules want now.
    pub(crate) fn set_selectors(&mut self, selectors: Arc<Selectors>) {
        self.selectors = selectors;
        let all: Vec<Arc<Name>> = self.names.iter().map(|(_, name)| Arc::clone(name)).collect();
        for mut name in all {
            let wanted = self.matching(&name.name);
            if wanted != name.selectors {
                self.unfile(&name);
                Arc::make_mut(&mut name).selectors = wanted;
                self.file(name);
            }
        }
    }

    pub(crate) fn names(&self) -> &Shards<Arc<str>, Arc<Name>> {
        &self.names
    }

    pub(crate) fn by_address(&self) -> &Shards<Addr, Arc<Vec<Arc<str>>>> {
        &self.by_address
    }

    /// Whether [`take_touched`](Self::take_touched) has something to tell.
    pub(crate) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Addresses whose names changed since the last call, each once.
    pub(crate) fn take_touched(&mut self) -> Vec<Addr> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    /// Numbers of the conditions that the names of an address satisfy, ascending.
    pub(crate) fn selectors_of(&self, addr: Addr) -> Arc<[u32]> {
        let names = self.by_address.get(&addr).into_iter().flat_map(|names| names.iter());
        let mut wanted =
            names.filter_map(|name| self.names.get(&**name)).filter(|name| !name.selectors.is_empty());
        let Some(first) = wanted.next() else { return Arc::default() };
        let mut all = Arc::clone(&first.selectors);
        for name in wanted.filter(|name| name.selectors != first.selectors) {
            if name.selectors.iter().any(|number| all.binary_search(number).is_err()) {
                let mut union: Vec<u32> = all.iter().chain(name.selectors.iter()).copied().collect();
                union.sort_unstable();
                union.dedup();
                all = union.into();
            }
        }
        all
    }

    /// Takes note of an answer. Names that are none, and addresses that nobody can have, are passed over.
    pub(crate) fn learn(&mut self, answer: &Answer<'_>, now: u64) {
        let ttl = u64::from(answer.ttl).max(self.limits.min_ttl).min(MAX_TTL);
        let expires = now.saturating_add(ttl);
        let addresses = answer.addresses.iter().filter(|addr| is_host(**addr));
        let records: Vec<Record> = addresses
            .take(self.limits.addresses_per_name)
            .map(|addr| Record { addr: Addr::from(*addr), expires, grace: None })
            .collect();
        self.insert(answer.name, &records, answer.cnames, answer.endpoint, now);
    }

    /// Adds addresses to a name.
    pub(crate) fn insert(
        &mut self,
        name: &str,
        records: &[Record],
        cnames: &[Box<str>],
        endpoint: Option<EndpointId>,
        seen: u64,
    ) {
        let Some(name) = canonical(name) else { return };
        if records.is_empty() {
            return;
        }
        let mut entry = match self.names.get(&*name).cloned() {
            Some(known) => {
                self.unfile(&known);
                Name::clone(&known)
            }
            None => Name {
                selectors: self.matching(&name),
                name,
                addresses: Vec::with_capacity(records.len()),
                cnames: Arc::default(),
                endpoint,
                seen,
            },
        };
        for new in records {
            match entry.addresses.binary_search_by_key(&new.addr, |record| record.addr) {
                Ok(at) => {
                    let record = &mut entry.addresses[at];
                    record.expires = record.expires.max(new.expires);
                    record.grace = if new.grace.is_none() { None } else { record.grace };
                }
                Err(at) => entry.addresses.insert(at, *new),
            }
            self.link(new.addr, &entry.name);
        }
        let excess = entry.addresses.len().saturating_sub(self.limits.addresses_per_name);
        if excess > 0 {
            let told = |addr: Addr| records.iter().any(|new| new.addr == addr);
            entry.addresses.sort_by_cached_key(|record| (told(record.addr), record.expires, record.addr));
            for gone in entry.addresses.drain(..excess) {
                self.unlink(gone.addr, &entry.name);
            }
            entry.addresses.sort_unstable_by_key(|record| record.addr);
        }
        if *entry.cnames != *cnames {
            let plausible = cnames.iter().filter(|name| canonical(name).is_some());
            entry.cnames = plausible.take(MAX_CNAMES).cloned().collect();
        }
        entry.seen = entry.seen.max(seen);
        self.file(Arc::new(entry));
        self.make_room();
    }

    /// Begins the grace of what has expired, and answers which addresses are at the end of theirs. These stay until
    /// [`Cache::settle`] decides.
    pub(crate) fn expire(&mut self, now: u64) -> Vec<Addr> {
        let due: Vec<Arc<str>> =
            self.due.iter().take_while(|(when, _)| *when <= now).map(|(_, name)| Arc::clone(name)).collect();
        let mut question = Vec::new();
        for name in due {
            let Some(known) = self.names.get(&*name).cloned() else { continue };
            let ended = known.addresses.iter().filter(|record| record.grace.is_some_and(|end| end <= now));
            question.extend(ended.map(|record| record.addr));
            if known.addresses.iter().all(|record| record.grace.is_some() || record.expires > now) {
                continue;
            }
            self.unfile(&known);
            let mut entry = Name::clone(&known);
            for record in &mut entry.addresses {
                if record.grace.is_none() && record.expires <= now {
                    record.grace = Some(now.saturating_add(self.limits.grace));
                    self.touched.push(record.addr);
                }
            }
            self.file(Arc::new(entry));
        }
        question.sort_unstable();
        question.dedup();
        question
    }

    /// Decides about addresses at the end of their grace: those that a connection uses get another one, the others
    /// are forgotten. What was told again meanwhile stays.
    pub(crate) fn settle(&mut self, addresses: &[Addr], live: impl Fn(Addr) -> bool, now: u64) {
        for addr in addresses {
            let live = live(*addr);
            let names = self.by_address.get(addr).cloned().unwrap_or_default();
            for name in names.iter() {
                let Some(known) = self.names.get(&**name).cloned() else { continue };
                let ended = known.record(*addr).is_some_and(|r| r.grace.is_some_and(|end| end <= now));
                if !ended {
                    continue;
                }
                self.unfile(&known);
                let mut entry = Name::clone(&known);
                if live {
                    let until = now.saturating_add(self.limits.grace.max(RECHECK));
                    let records = entry.addresses.iter_mut().filter(|record| record.addr == *addr);
                    records.for_each(|record| record.grace = Some(until));
                } else {
                    entry.addresses.retain(|record| record.addr != *addr);
                    self.unlink(*addr, name);
                }
                match entry.addresses.is_empty() {
                    true => drop(self.names.remove(&**name)),
                    false => self.file(Arc::new(entry)),
                }
            }
        }
    }

    fn matching(&self, name: &str) -> Arc<[u32]> {
        let mut numbers: Vec<u32> = self.selectors.matching(name).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into()
    }

    /// Puts a name into every order.
    fn file(&mut self, name: Arc<Name>) {
        let share = &mut self.shares.entry(name.endpoint).or_default()[class(&name)];
        share.addresses += name.addresses.len();
        share.order.insert((name.expires(), Arc::clone(&name.name)));
        self.due.insert((name.due(), Arc::clone(&name.name)));
        self.addresses += name.addresses.len();
        self.names.insert(Arc::clone(&name.name), name);
    }

    /// Takes it out of every order; it stays among the names.
    fn unfile(&mut self, name: &Name) {
        if let Some(shares) = self.shares.get_mut(&name.endpoint) {
            let share = &mut shares[class(name)];
            share.addresses -= name.addresses.len();
            share.order.remove(&(name.expires(), Arc::clone(&name.name)));
            if shares.iter().all(|share| share.order.is_empty()) {
                self.shares.remove(&name.endpoint);
            }
        }
        self.due.remove(&(name.due(), Arc::clone(&name.name)));
        self.addresses -= name.addresses.len();
    }

    /// Notes that an address is behind a name, as the latest.
    fn link(&mut self, addr: Addr, name: &Arc<str>) {
        self.touched.push(addr);
        match self.by_address.get(&addr) {
            Some(names) if names.last() == Some(name) => {}
            Some(_) => {
                if let Some(names) = self.by_address.get_mut(&addr) {
                    let names = Arc::make_mut(names);
                    names.retain(|other| other != name);
                    names.push(Arc::clone(name));
                }
            }
            None => self.by_address.insert(addr, Arc::new(vec![Arc::clone(name)])),
        }
    }

    fn unlink(&mut self, addr: Addr, name: &Arc<str>) {
        self.touched.push(addr);
        let Some(names) = self.by_address.get_mut(&addr) else { return };
        let names = Arc::make_mut(names);
        names.retain(|other| other != name);
        if names.is_empty() {
            self.by_address.remove(&addr);
        }
    }

    /// Forgets names until the limits hold.
    fn make_room(&mut self) {
        while self.names.len() > self.limits.names || self.addresses > self.limits.addresses {
            let Some(victim) = self.victim().and_then(|name| self.names.get(&*name)).cloned() else { return };
            self.unfile(&victim);
            self.names.remove(&*victim.name);
            for record in &victim.addresses {
                self.unlink(record.addr, &victim.name);
            }
        }
    }

    fn victim(&self) -> Option<Arc<str>> {
        (0..2).find_map(|class| {
            let shares = self.shares.values().map(|shares| &shares[class]);
            let largest = shares.max_by_key(|share| share.addresses)?;
            largest.order.first().map(|(_, name)| Arc::clone(name))
        })
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let counted: usize = self.names.iter().map(|(_, name)| name.addresses.len()).sum();
        assert_eq!((counted, self.names.len()), (self.addresses, self.due.len()));
        let shares = self.shares.values().flatten();
        assert_eq!(shares.map(|share| share.addresses).sum::<usize>(), counted);
        let linked: usize = self.by_address.iter().map(|(_, names)| names.len()).sum();
        assert_eq!(linked, counted);
    }
}

/// 1 for a name that some rule wants.
fn class(name: &Name) -> usize {
    usize::from(!name.selectors.is_empty())
}

/// A name as it is kept; `None` for the root and for what cannot be a name.
fn canonical(name: &str) -> Option<Arc<str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let plausible = !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_graphic());
    plausible.then(|| name.to_ascii_lowercase().into())
}

/// Whether a connection off the pod can go there: an answer of, say, 127.0.0.1 opens nothing and is not kept.
pub(super) fn is_host(addr: IpAddr) -> bool {
    let addr = addr.to_canonical();
    let broadcast = matches!(addr, IpAddr::V4(v4) if v4.is_broadcast());
    !(addr.is_loopback() || addr.is_unspecified() || addr.is_multicast() || broadcast)
}
