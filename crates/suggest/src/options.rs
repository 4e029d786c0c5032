//! What may be said about how to suggest.

use policy::engine::SourceFile;
use std::collections::BTreeMap;

/// Settings of a suggestion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Whom to make policies for; empty means every workload of this node.
    pub subjects: Vec<Subject>,
    /// Also allow what default deny refused. What a deny rule refused is never allowed.
    pub include_denied: bool,
    /// Write conditions on messages: HTTP, DNS names, Kafka, server names.
    pub l7: bool,
    /// Never switch on default deny: only add to what is in force.
    pub add_only: bool,
    /// Write policies in audit mode: what they deny is let pass and shown.
    pub audit: bool,
    /// Policies that are there: what they allow by a rule is not suggested again.
    pub existing: Vec<SourceFile>,
    /// Put a direction in which a workload was never seen into default deny.
    pub close_unseen: bool,
    /// Outside addresses of one port that are written one by one; more become prefixes, and beyond those `world`.
    pub cidr_threshold: usize,
    /// Names under one suffix that are written one by one; more become `*.suffix`.
    pub name_threshold: usize,
    /// Path segments under one prefix that are written one by one; more become a class.
    pub path_threshold: usize,
    /// Workloads with the same rights that are written one by one; more become their namespaces, and beyond those
    /// `cluster`.
    pub peer_threshold: usize,
    /// Bytes of labels, paths and names that are kept at most; what comes beyond is left out and noted.
    pub max_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            subjects: Vec::new(),
            include_denied: false,
            l7: true,
            add_only: false,
            audit: false,
            existing: Vec::new(),
            close_unseen: true,
            cidr_threshold: 16,
            name_threshold: 5,
            path_threshold: 8,
            peer_threshold: 50,
            max_bytes: 64 << 20,
        }
    }
}

/// Workloads of one namespace: all of them, or those with these labels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    /// The namespace.
    pub namespace: String,
    /// Labels that must all be there.
    pub labels: BTreeMap<String, String>,
}

/// A text that is no [`Subject`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is neither NAMESPACE nor NAMESPACE/KEY=VALUE[,KEY=VALUE]")]
pub struct SubjectError(String);

impl std::str::FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let wrong = || SubjectError(text.to_owned());
        let (namespace, selector) = text.split_once('/').unwrap_or((text, ""));
        if namespace.is_empty() || namespace.contains(['=', ',']) {
            return Err(wrong());
        }
        let labels = selector.split(',').filter(|part| !part.is_empty()).map(|part| {
            let (key, value) = part.split_once('=').ok_or_else(wrong)?;
            let key = key.strip_prefix("k8s:").unwrap_or(key);
            if key.is_empty() { Err(wrong()) } else { Ok((key.to_owned(), value.to_owned())) }
        });
        Ok(Self { namespace: namespace.to_owned(), labels: labels.collect::<Result<_, _>>()? })
    }
}

impl Subject {
    pub(crate) fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespace == namespace && self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read() {
        let read = |text: &str| text.parse::<Subject>();
        let all = read("shop").expect("a namespace");
        assert!(all.labels.is_empty() && all.selects("shop", &BTreeMap::new()));
        let web = read("shop/k8s:app=web,tier=front").expect("labels");
        let labels = |list: &[(&str, &str)]| {
            list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert!(web.selects("shop", &labels(&[("app", "web"), ("tier", "front"), ("x", "y")])));
        assert!(!web.selects("shop", &labels(&[("app", "web")])));
        assert!(!web.selects("jobs", &labels(&[("app", "web"), ("tier", "front")])));
        for wrong in ["", "/app=web", "app=web", "shop/web", "shop/=web"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
