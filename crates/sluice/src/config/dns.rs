//! DNS: how long answers are believed, how many, and what a refused question is answered.

use super::Span;
use policy::fqdn::Limits;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most names that may be kept: some gigabyte of memory if each has a few addresses.
const MAX_NAMES: usize = 1_000_000;

/// Most addresses that may be kept.
const MAX_ADDRESSES: usize = 4_000_000;

/// Longest least lifetime of an answer: a day. Beyond it a name that moves is as good as lost.
const MAX_MIN_TTL: Duration = Duration::from_secs(86_400);

/// Names and addresses learnt from DNS answers, and refused questions.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Dns {
    /// Shortest time that an answer is believed, whatever its TTL.
    #[serde(rename = "minTTL")]
    pub min_ttl: Span,
    /// How long an expired address keeps its identity; longer while a connection uses it.
    pub grace: Span,
    /// Addresses of one name; of more, those that expire first are forgotten.
    pub max_addresses_per_name: usize,
    /// Names.
    pub max_names: usize,
    /// Addresses of all names together.
    pub max_addresses: usize,
    /// What a refused question is answered.
    pub refusal: Refusal,
    /// How long an answer may wait for its addresses to be in force before it is dropped.
    pub answer_timeout: Span,
}

/// What a refused question is answered.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// REFUSED.
    #[default]
    Refused,
    /// NXDOMAIN, for resolvers that ask the next server on REFUSED.
    Nxdomain,
}

impl Default for Dns {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            min_ttl: Span::secs(limits.min_ttl),
            grace: Span::secs(limits.grace),
            max_addresses_per_name: limits.addresses_per_name,
            max_names: limits.names,
            max_addresses: limits.addresses,
            refusal: Refusal::default(),
            answer_timeout: datapath::config::L7Config::default().answer_timeout.into(),
        }
    }
}

impl Dns {
    /// As the cache of names wants it.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            min_ttl: self.min_ttl.get().as_secs(),
            grace: self.grace.get().as_secs(),
            addresses_per_name: self.max_addresses_per_name,
            names: self.max_names,
            addresses: self.max_addresses,
        }
    }

    /// As the inspectors want it.
    #[must_use]
    pub fn l7_settings(&self) -> l7::Settings {
        l7::Settings { dns_nxdomain: self.refusal == Refusal::Nxdomain, ..l7::Settings::default() }
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let between = |key, value: usize, most: usize| match (1..=most).contains(&value) {
            true => Ok(()),
            false => Err((key, format!("must be from 1 to {most}"))),
        };
        between("dns.maxAddressesPerName", self.max_addresses_per_name, 65_535)?;
        between("dns.maxNames", self.max_names, MAX_NAMES)?;
        between("dns.maxAddresses", self.max_addresses, MAX_ADDRESSES)?;
        if self.min_ttl.get() > MAX_MIN_TTL {
            return Err(("dns.minTTL", "must be at most 1d".into()));
        }
        if self.grace.get() > MAX_MIN_TTL {
            return Err(("dns.grace", "must be at most 1d".into()));
        }
        let timeout = self.answer_timeout.get();
        if !(Duration::from_millis(10)..=Duration::from_secs(30)).contains(&timeout) {
            return Err(("dns.answerTimeout", "must be from 10ms to 30s".into()));
        }
        Ok(())
    }
}
