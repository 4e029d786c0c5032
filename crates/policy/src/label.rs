//! Security labels: `source:key=value`, and sets of them.
//!
//! A label's source says who vouches for it. Selectors may ask for a source or for any; the reverse does not hold:
//! a label stored with source `any` satisfies no selector that names `k8s`. Keys with source `cidr` are compared by
//! containment: an identity labelled `cidr:10.1.2.3/32` answers to `cidr:10.0.0.0/8`.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

/// Label with the namespace of a pod, source `k8s`.
pub const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Prefix of the labels a pod inherits from its namespace, source `k8s`.
pub const NAMESPACE_LABELS_PREFIX: &str = "io.cilium.k8s.namespace.labels.";
/// Label with the service account of a pod, source `k8s`.
pub const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";
/// Label with the cluster of a pod, source `k8s`.
pub const CLUSTER: &str = "io.cilium.k8s.policy.cluster";

/// Who vouches for a label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// In a selector: whoever; in a label: nobody in particular.
    Any,
    /// Kubernetes metadata.
    K8s,
    /// Built in: `host`, `world`, …
    Reserved,
    /// The prefix an address belongs to.
    Cidr,
    /// The CIDR groups an address belongs to.
    CidrGroup,
    /// Labels of a node.
    Node,
    /// The FQDN selectors an address was learnt for.
    Fqdn,
    /// The container runtime.
    Container,
    /// A CNI plugin.
    Cni,
    /// A static file.
    Directory,
    /// Written without a source where one is not required.
    Unspec,
    /// Any other word.
    Other(Arc<str>),
}

impl Source {
    /// The source a word stands for; the empty word is [`Source::Any`].
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word {
            "" | "any" => Self::Any,
            "k8s" => Self::K8s,
            "reserved" => Self::Reserved,
            "cidr" => Self::Cidr,
            "cidrgroup" => Self::CidrGroup,
            "node" => Self::Node,
            "fqdn" => Self::Fqdn,
            "container" => Self::Container,
            "cni" => Self::Cni,
            "directory" => Self::Directory,
            "unspec" => Self::Unspec,
            other => Self::Other(other.into()),
        }
    }

    /// The word for this source.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Any => "any",
            Self::K8s => "k8s",
            Self::Reserved => "reserved",
            Self::Cidr => "cidr",
            Self::CidrGroup => "cidrgroup",
            Self::Node => "node",
            Self::Fqdn => "fqdn",
            Self::Container => "container",
            Self::Cni => "cni",
            Self::Directory => "directory",
            Self::Unspec => "unspec",
            Self::Other(word) => word,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key as a selector names it: a source (or any) and the key proper.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LabelKey {
    /// The source asked for.
    pub source: Source,
    /// The key without its source.
    pub key: Arc<str>,
}

impl LabelKey {
    /// A key of a given source.
    #[must_use]
    pub fn new(source: Source, key: impl Into<Arc<str>>) -> Self {
        Self { source, key: key.into() }
    }

    /// Reads `source:key`; without a colon the source is [`Source::Any`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((source, key)) => Self::new(Source::parse(source), key),
            None => Self::new(Source::Any, text),
        }
    }
}

impl fmt::Display for LabelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.key)
    }
}

/// One label of an identity.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Label {
    /// The key without its source; first, so that sets sort by it.
    pub key: Arc<str>,
    /// Who vouches for it.
    pub source: Source,
    /// The value, often empty for reserved labels.
    pub value: Arc<str>,
}

impl Label {
    /// A label of its three parts.
    #[must_use]
    pub fn new(source: Source, key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self { key: key.into(), source, value: value.into() }
    }

    /// `k8s:key=value`.
    #[must_use]
    pub fn k8s(key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self::new(Source::K8s, key, value)
    }

    /// `reserved:name`.
    #[must_use]
    pub fn reserved(name: impl Into<Arc<str>>) -> Self {
        Self::new(Source::Reserved, name, "")
    }

    /// `cidr:prefix`, with host bits cleared.
    #[must_use]
    pub fn cidr(prefix: IpNet) -> Self {
        Self::new(Source::Cidr, prefix.trunc().to_string(), "")
    }

    /// Reads `source:key=value`; a missing source is `unspec`, a missing value is empty.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let (source, key) = match name.split_once(':') {
            Some((source, key)) => (Source::parse(source), key),
            None => (Source::Unspec, name),
        };
        Self::new(source, key, value)
    }

    /// Whether a selector's key finds this label.
    #[must_use]
    pub fn answers(&self, key: &LabelKey) -> bool {
        match key.source {
            Source::Any => self.key == key.key,
            Source::Cidr if self.source == Source::Cidr => {
                self.key == key.key || cidr_within(&self.key, &key.key)
            }
            _ => self.source == key.source && self.key == key.key,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.key)?;
        if !self.value.is_empty() {
            write!(f, "={}", self.value)?;
        }
        Ok(())
    }
}

/// The labels of one identity, sorted by key, without repetition. Two identities with equal sets are one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LabelSet {
    labels: Arc<[Label]>,
}

impl LabelSet {
    /// The set of these labels.
    #[must_use]
    pub fn new(labels: impl IntoIterator<Item = Label>) -> Self {
        let mut labels: Vec<Label> = labels.into_iter().collect();
        labels.sort_unstable();
        labels.dedup();
        Self { labels: labels.into() }
    }

    /// The labels in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Label] {
        &self.labels
    }

    /// The labels in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.labels.iter()
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The value under a key, if any label answers to it.
    #[must_use]
    pub fn get(&self, key: &LabelKey) -> Option<&str> {
        if key.source == Source::Cidr {
            return self.labels.iter().find(|label| label.answers(key)).map(|label| &*label.value);
        }
        let first = self.labels.partition_point(|label| *label.key < *key.key);
        self.labels[first..]
            .iter()
            .take_while(|label| label.key == key.key)
            .find(|label| label.answers(key))
            .map(|label| &*label.value)
    }

    /// Whether there is a label `reserved:name`.
    #[must_use]
    pub fn has_reserved(&self, name: &str) -> bool {
        self.get(&LabelKey::new(Source::Reserved, name)).is_some()
    }

    /// The value of `k8s:key`.
    #[must_use]
    pub fn k8s(&self, key: &str) -> Option<&str> {
        self.get(&LabelKey::new(Source::K8s, key))
    }

    /// The namespace of a pod's labels.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.k8s(NAMESPACE)
    }
}

impl<'a> IntoIterator for &'a LabelSet {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Label> for LabelSet {
    fn from_iter<T: IntoIterator<Item = Label>>(labels: T) -> Self {
        Self::new(labels)
    }
}

impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, label) in self.labels.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            label.fmt(f)?;
        }
        Ok(())
    }
}

/// Whether one prefix lies within another; keys may write an IPv6 colon as `-`, because label keys hold no colon.
fn cidr_within(inner: &str, outer: &str) -> bool {
    let parse = |text: &str| text.replace('-', ":").parse::<IpNet>().ok();
    match (parse(inner), parse(outer)) {
        (Some(inner), Some(outer)) => outer.contains(&inner),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &[&str]) -> LabelSet {
        labels.iter().map(|text| Label::parse(text)).collect()
    }

    #[test]
    fn a_key_without_source_finds_any_source_and_not_the_reverse() {
        let pod = set(&["k8s:app=web"]);
        assert_eq!(pod.get(&LabelKey::parse("app")), Some("web"));
        assert_eq!(pod.get(&LabelKey::parse("any:app")), Some("web"));
        assert_eq!(pod.get(&LabelKey::parse("container:app")), None);
        let loose = set(&["any:app=web"]);
        assert_eq!(loose.get(&LabelKey::parse("k8s:app")), None);
    }

    #[test]
    fn cidr_keys_compare_by_containment() {
        let host = set(&["cidr:10.1.2.3/32", "reserved:world-ipv4"]);
        assert!(host.get(&LabelKey::parse("cidr:10.0.0.0/8")).is_some());
        assert!(host.get(&LabelKey::parse("cidr:11.0.0.0/8")).is_none());
        assert!(host.has_reserved("world-ipv4"));
        let six = set(&["cidr:2001:db8::1/128"]);
        assert!(six.get(&LabelKey::parse("cidr:2001-db8--/32")).is_some());
    }

    #[test]
    fn a_set_does_not_depend_on_order_or_repetition() {
        assert_eq!(set(&["k8s:b=2", "k8s:a=1", "k8s:b=2"]), set(&["k8s:a=1", "k8s:b=2"]));
        assert_eq!(set(&["k8s:b=2", "k8s:a=1"]).to_string(), "k8s:a=1,k8s:b=2");
    }
}
