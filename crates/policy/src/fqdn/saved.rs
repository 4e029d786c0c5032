//! The names as they survive a restart.

use super::cache::{Cache, Record};
use super::{MAX_TTL, Name};
use packet::Addr;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Downtime, in seconds, over which a connection may have kept an expired address: longer than a restart takes.
const DOWNTIME: u64 = 300;

/// Every name with its addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FqdnState {
    /// By name.
    pub names: Vec<SavedName>,
}

/// One name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedName {
    /// The name.
    pub name: String,
    /// Names on the way to its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cnames: Vec<String>,
    /// Last answer, in seconds since 1970.
    pub seen: u64,
    /// Its addresses.
    pub addresses: Vec<SavedAddress>,
}

/// One address of a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedAddress {
    /// The address.
    pub ip: IpAddr,
    /// When the answers that gave it end, in seconds since 1970.
    pub expires: u64,
    /// When its grace ends, if that has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<u64>,
}

impl FqdnState {
    /// From the names of a snapshot.
    #[must_use]
    pub fn new<'a>(names: impl IntoIterator<Item = &'a Name>) -> Self {
        let address = |record: &Record| SavedAddress {
            ip: record.addr.to_ip(),
            expires: record.expires,
            grace: record.grace,
        };
        let names = names.into_iter().map(|name| SavedName {
            name: name.name.to_string(),
            cnames: name.cnames.iter().map(ToString::to_string).collect(),
            seen: name.seen,
            addresses: name.addresses.iter().map(address).collect(),
        });
        Self { names: names.collect() }
    }

    /// The same with all times moved by so many seconds, for a clock that was set.
    #[must_use]
    pub fn moved(mut self, seconds: i64) -> Self {
        for name in &mut self.names {
            name.seen = name.seen.saturating_add_signed(seconds);
            for address in &mut name.addresses {
                address.expires = address.expires.saturating_add_signed(seconds);
                address.grace = address.grace.map(|end| end.saturating_add_signed(seconds));
            }
        }
        self
    }

    /// Adds to a cache what has not ended by `now`. What ended shortly before gets a new grace, because a restored
    /// connection may be using it; nothing is believed for longer than an answer could have said.
    pub(crate) fn restore(&self, cache: &mut Cache, now: u64) {
        let (per_name, grace) = (cache.limits().addresses_per_name, cache.limits().grace);
        for saved in self.names.iter().take(cache.limits().names) {
            let alive = saved.addresses.iter().filter_map(|address| {
                let expires = address.expires.min(now.saturating_add(MAX_TTL));
                let end = address.grace.unwrap_or(expires).max(expires);
                let grace = (expires <= now).then(|| now.saturating_add(grace));
                let record = Record { addr: Addr::from(address.ip), expires, grace };
                (end.saturating_add(DOWNTIME) > now && super::cache::is_host(address.ip)).then_some(record)
            });
            let records: Vec<Record> = alive.take(per_name).collect();
            let cnames: Vec<Box<str>> = saved.cnames.iter().map(|name| name.as_str().into()).collect();
            cache.insert(&saved.name, &records, &cnames, None, saved.seen.min(now));
        }
    }
}
