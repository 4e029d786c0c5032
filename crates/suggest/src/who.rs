//! Who is at an end of a flow, as far as a policy can say it. Labels come from the network: what a selector cannot
//! hold is refused.

use flowlog::record::Endpoint;
use policy::Identity;
use policy::label::{CLUSTER, NAMESPACE, NAMESPACE_LABELS_PREFIX, SERVICE_ACCOUNT};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Longest label name, value and namespace (RFC 1123 §2.1).
const MAX_WORD: usize = 63;
/// Longest prefix of a label key (RFC 1035 §3.1).
const MAX_PREFIX: usize = 253;
/// Keys that differ from pod to pod or from release to release, beyond those that no identity has.
const CHANGING: [&str; 5] = ["hash", "-uid", "pod-name", "pod-index", "job-name"];

/// Entities that may be named in rules, the most telling first.
pub(crate) const ENTITIES: [&str; 7] =
    ["kube-apiserver", "host", "remote-node", "ingress", "health", "init", "unmanaged"];

/// Pods that policy cannot tell apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Class {
    pub(crate) namespace: String,
    /// Without those that change from pod to pod.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) service_account: Option<String>,
    pub(crate) cluster: String,
    /// Labels of the namespace.
    pub(crate) inherited: BTreeMap<String, String>,
}

/// One end of a flow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Who {
    Pod(Class),
    Entity(&'static str),
    Address(IpAddr),
}

/// Reads an end.
///
/// # Errors
/// Why it cannot be named in a policy.
pub(crate) fn read(end: Option<&Endpoint>, address: &str) -> Result<Who, &'static str> {
    const UNKNOWN: &str = "records that do not say who is at both ends";
    let end = end.ok_or(UNKNOWN)?;
    let mut class = Class {
        namespace: end.namespace.clone(),
        labels: BTreeMap::new(),
        service_account: None,
        cluster: String::new(),
        inherited: BTreeMap::new(),
    };
    let (mut reserved, mut outside) = (Vec::new(), false);
    for label in &end.labels {
        let Some((source, rest)) = label.split_once(':') else { continue };
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        match source {
            "reserved" => reserved.push(key),
            "cidr" | "fqdn" | "cidrgroup" => outside = true,
            "k8s" => class.add(key, value)?,
            _ => {}
        }
    }
    reserved.extend(Identity(end.identity).reserved_name().filter(|name| *name != "unknown"));
    if let Some(entity) = ENTITIES.iter().find(|entity| reserved.contains(entity)) {
        return Ok(Who::Entity(entity));
    }
    let world = reserved.iter().any(|name| matches!(*name, "world" | "world-ipv4" | "world-ipv6"));
    if !class.namespace.is_empty() && !world {
        if !is_namespace(&class.namespace) {
            return Err("names of namespaces that none can have");
        }
        return Ok(Who::Pod(class));
    }
    let known = world || outside || Identity(end.identity) >= Identity::FIRST_NODE_LOCAL;
    let address = address.parse().map_err(|_| UNKNOWN)?;
    if known { Ok(Who::Address(address)) } else { Err(UNKNOWN) }
}

impl Class {
    fn add(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        if !is_key(key) || !is_value(value) {
            return Err("labels that no selector can hold");
        }
        if key == NAMESPACE {
            value.clone_into(&mut self.namespace);
        } else if key == CLUSTER {
            value.clone_into(&mut self.cluster);
        } else if key == SERVICE_ACCOUNT {
            self.service_account = Some(value.to_owned());
        } else if let Some(inherited) = key.strip_prefix(NAMESPACE_LABELS_PREFIX) {
            self.inherited.insert(inherited.to_owned(), value.to_owned());
        } else if policy::identity::is_security_label(key) && !CHANGING.iter().any(|end| key.ends_with(end)) {
            self.labels.insert(key.to_owned(), value.to_owned());
        }
        Ok(())
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        let maps = [&self.labels, &self.inherited];
        let labels = maps.iter().flat_map(|map| map.iter()).map(|(key, value)| key.len() + value.len() + 64);
        labels.sum::<usize>() + self.namespace.len() + 128
    }
}

fn is_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() <= MAX_WORD
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_value(value: &str) -> bool {
    value.is_empty() || is_word(value)
}

/// A key of a selector, which is checked together with the source before it.
fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        None => key.len() + 4 <= MAX_WORD && is_word(key),
        Some((prefix, name)) => {
            let label = |label: &str| {
                is_word(label)
                    && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            };
            is_word(name) && prefix.len() + 4 <= MAX_PREFIX && prefix.split('.').all(label)
        }
    }
}

fn is_namespace(name: &str) -> bool {
    is_word(name) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(labels: &[&str], identity: u32) -> Endpoint {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Endpoint { labels, identity, ..Endpoint::default() }
    }

    fn of(labels: &[&str], identity: u32) -> Result<Who, &'static str> {
        read(Some(&end(labels, identity)), "192.0.2.1")
    }

    #[test]
    fn ends_have_names() {
        assert_eq!(of(&["reserved:host"], 1), Ok(Who::Entity("host")));
        assert_eq!(of(&[], 6), Ok(Who::Entity("remote-node")));
        assert_eq!(
            of(&["reserved:kube-apiserver", "reserved:remote-node"], 7),
            Ok(Who::Entity("kube-apiserver"))
        );
        let outside = Ok(Who::Address([192, 0, 2, 1].into()));
        assert_eq!(of(&["reserved:world"], 2), outside);
        assert_eq!(of(&["cidr:192.0.2.0/24", "reserved:world"], 16_777_217), outside);
        assert_eq!(of(&[], 16_777_217), outside);
        assert!(of(&[], 0).is_err() && read(None, "192.0.2.1").is_err());
        assert!(read(Some(&end(&[], 2)), "nowhere").is_err());
    }

    #[test]
    fn labels_that_change_are_no_part_of_a_class() {
        let Ok(Who::Pod(class)) = of(
            &[
                "k8s:app=web",
                "k8s:pod-template-hash=abc",
                "k8s:rollouts-pod-template-hash=abc",
                "k8s:controller-uid=1",
                "k8s:io.kubernetes.pod.namespace=shop",
                "k8s:io.cilium.k8s.policy.cluster=default",
                "k8s:io.cilium.k8s.policy.serviceaccount=web",
                "k8s:io.cilium.k8s.namespace.labels.team=red",
            ],
            300,
        ) else {
            panic!("a pod");
        };
        assert_eq!(class.labels.into_iter().collect::<Vec<_>>(), [("app".to_owned(), "web".to_owned())]);
        assert_eq!((class.namespace.as_str(), class.cluster.as_str()), ("shop", "default"));
        assert_eq!(
            (class.service_account.as_deref(), class.inherited["team"].as_str()),
            (Some("web"), "red")
        );
    }

    #[test]
    fn what_no_selector_can_hold_is_refused() {
        for label in [
            "k8s:a b=c",
            "k8s:app=a: b",
            "k8s:app=\n- x",
            "k8s:=x",
            "k8s:A/b=c",
            "k8s:io.kubernetes.pod.namespace=a.b",
        ] {
            assert!(
                of(
                    &[label, "k8s:io.kubernetes.pod.namespace=shop"]
                        [..if label.contains("namespace") { 1 } else { 2 }],
                    300
                )
                .is_err(),
                "{label}"
            );
        }
        assert!(
            of(&[&format!("k8s:{}=x", "k".repeat(63)), "k8s:io.kubernetes.pod.namespace=shop"], 300).is_err()
        );
    }
}
