//! HTTP rules.

use super::pattern::Patterns;
use super::{FragmentRules, L7Fragment};
use crate::provenance::RuleId;
use crate::rule::{HeaderMatch, HttpRule, Mismatch};
use core::cell::OnceCell;
use core::fmt;
use std::borrow::Cow;
use std::sync::Arc;

/// What rules look at in a request.
#[derive(Copy, Clone)]
pub struct HttpRequest<'a> {
    /// Method, as sent.
    pub method: &'a [u8],
    /// Path with the query, normalised.
    pub path: &'a [u8],
    /// Authority, with the port if one was sent.
    pub host: &'a [u8],
    /// Header fields.
    pub headers: &'a dyn Headers,
}

impl fmt::Debug for HttpRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        write!(f, "{} {} ({})", text(self.method), text(self.path), text(self.host))
    }
}

/// Header fields of a request, however they are kept.
pub trait Headers {
    /// The value of a field by its lower-case name; several fields of one name are joined with commas.
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>>;
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>> Headers for [(K, V)] {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let mut joined: Option<Cow<'_, [u8]>> = None;
        for (_, value) in self.iter().filter(|(key, _)| key.as_ref().eq_ignore_ascii_case(name.as_bytes())) {
            joined = Some(match joined {
                None => Cow::Borrowed(value.as_ref()),
                Some(before) => Cow::Owned([&before, &b","[..], value.as_ref()].concat()),
            });
        }
        joined
    }
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>> Headers for Vec<(K, V)> {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.as_slice().value(name).map(|value| Cow::Owned(value.into_owned()))
    }
}

impl Headers for () {
    fn value(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}

/// All HTTP rules of a set, their patterns compiled together.
#[derive(Debug, Default)]
pub(super) struct HttpRules {
    rules: Vec<Compiled>,
    methods: Patterns,
    paths: Patterns,
    hosts: Patterns,
}

/// What a rule that matches does.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// Deny.
    Deny,
    /// Allow the request as it is.
    Allow,
    /// Allow it as it would be after its header fields were changed as the rule says.
    AllowRewritten,
}

#[derive(Debug)]
struct Compiled {
    rule: RuleId,
    method: Option<usize>,
    path: Option<usize>,
    host: Option<usize>,
    headers: Vec<HeaderMatch>,
}

impl HttpRules {
    pub(super) fn new(fragments: &[Arc<L7Fragment>]) -> Self {
        let mut all = Self::default();
        for fragment in fragments {
            if let FragmentRules::Http(rules) = &fragment.rules {
                for rule in rules {
                    all.add(fragment.rule, rule);
                }
            }
        }
        all.methods.compile();
        all.paths.compile();
        all.hosts.compile();
        all
    }

    fn add(&mut self, of: RuleId, rule: &HttpRule) {
        let compiled = Compiled {
            rule: of,
            method: rule.method.as_ref().map(|pattern| self.methods.add(pattern)),
            path: rule.path.as_ref().map(|pattern| self.paths.add(pattern)),
            host: rule.host.as_ref().map(|pattern| self.hosts.add(pattern)),
            headers: rule.headers.clone(),
        };
        self.rules.push(compiled);
    }

    /// The first rule that matches. A rule asks for what it names only, so the fields are tried when first asked.
    pub(super) fn find(&self, request: &HttpRequest<'_>, reading: Reading) -> Option<RuleId> {
        let (methods, paths, hosts) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let found = self.rules.iter().find(|rule| {
            rule.method.is_none_or(|n| methods.get_or_init(|| self.methods.matched(request.method)).has(n))
                && rule.path.is_none_or(|n| paths.get_or_init(|| self.paths.matched(request.path)).has(n))
                && rule.host.is_none_or(|n| hosts.get_or_init(|| self.hosts.matched(request.host)).has(n))
                && rule.headers.iter().all(|header| header_fits(header, request.headers, reading))
        });
        found.map(|rule| rule.rule)
    }
}

/// Whether a header condition holds. A mismatch action only counts in allow rules; a deny rule holds if the header is
/// as stated.
fn header_fits(wanted: &HeaderMatch, headers: &dyn Headers, reading: Reading) -> bool {
    let value = headers.value(&wanted.name);
    let as_stated = match (&value, &wanted.value) {
        (Some(value), Some(expected)) => **value == *expected.as_bytes(),
        (Some(_), None) => true,
        (None, _) => false,
    };
    as_stated
        || match (reading, wanted.mismatch) {
            (Reading::Deny, _) | (_, Mismatch::Fail) => false,
            (_, Mismatch::Log) => true,
            // There is nothing to remove.
            (Reading::Allow, Mismatch::Delete) => value.is_none(),
            (Reading::Allow, Mismatch::Add | Mismatch::Replace) => false,
            (Reading::AllowRewritten, _) => true,
        }
}
