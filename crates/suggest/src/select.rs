//! Selectors for workloads: the labels that name one, narrowed where they would also select another that was seen.

use crate::who::Class;
use policy::label::{CLUSTER, NAMESPACE, SERVICE_ACCOUNT};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// Labels that name a workload; the first that a pod has counts.
const NAMES: [&str; 4] = ["app", "k8s-app", "app.kubernetes.io/name", "name"];
/// Labels that say which part or instance of it a pod is.
const PARTS: [&str; 3] = ["app.kubernetes.io/instance", "app.kubernetes.io/component", "component"];
/// Workloads of one namespace up to which selectors are compared with each other.
const MAX_COMPARED: usize = 2000;
/// Longest name of a policy without its suffix and number.
const MAX_NAME: usize = 200;

/// A workload: what selects its pods, and no others that were seen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Workload {
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Labels that its pods do not have.
    pub(crate) absent: BTreeSet<String>,
    pub(crate) cluster: String,
}

/// A selector as it is written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Selector {
    labels: BTreeMap<String, String>,
    absent: BTreeSet<String>,
}

impl Workload {
    fn new(class: &Class) -> Self {
        let mut labels = BTreeMap::new();
        let mut copy = |key: &str| match class.labels.get(key) {
            Some(value) => labels.insert(key.to_owned(), value.clone()).is_none(),
            None => false,
        };
        if NAMES.iter().any(|key| copy(key)) {
            PARTS.iter().for_each(|key| {
                copy(key);
            });
        } else {
            labels.clone_from(&class.labels);
        }
        if labels.is_empty()
            && let Some(account) = &class.service_account
        {
            labels.insert(SERVICE_ACCOUNT.to_owned(), account.clone());
        }
        Self {
            namespace: class.namespace.clone(),
            labels,
            absent: BTreeSet::new(),
            cluster: class.cluster.clone(),
        }
    }

    /// All pods of its namespace.
    pub(crate) fn whole_namespace(namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        Self { namespace, labels: BTreeMap::new(), absent: BTreeSet::new(), cluster: String::new() }
    }

    /// The usual DNS server.
    pub(crate) fn kube_dns() -> Self {
        let labels = [("k8s-app".to_owned(), "kube-dns".to_owned())].into();
        Self { labels, ..Self::whole_namespace("kube-system") }
    }

    /// What stands under `endpointSelector`.
    pub(crate) fn subject(&self) -> Selector {
        Selector { labels: self.labels.clone(), absent: self.absent.clone() }
    }

    /// What stands under `fromEndpoints` and `toEndpoints` of a policy for `subject`.
    pub(crate) fn peer(&self, subject: &Self) -> Selector {
        let mut selector = self.subject();
        let source = |key: &str| format!("k8s:{key}");
        if self.namespace != subject.namespace {
            selector.labels.insert(source(NAMESPACE), self.namespace.clone());
        }
        if !self.cluster.is_empty() && !subject.cluster.is_empty() && self.cluster != subject.cluster {
            selector.labels.insert(source(CLUSTER), self.cluster.clone());
        }
        selector
    }

    /// What people call it: part of a DNS name.
    pub(crate) fn name(&self) -> String {
        let named = NAMES.iter().chain(&PARTS).filter_map(|key| self.labels.get(*key));
        let values: Vec<&str> = match self.labels.keys().any(|key| NAMES.contains(&key.as_str())) {
            true => named.map(String::as_str).collect(),
            false => self.labels.values().map(String::as_str).collect(),
        };
        let mut name = String::new();
        for c in values.join("-").chars() {
            let c = c.to_ascii_lowercase();
            let fits = c.is_ascii_lowercase() || c.is_ascii_digit();
            if fits || (!name.is_empty() && !name.ends_with('-')) {
                name.push(if fits { c } else { '-' });
            }
        }
        name.truncate(MAX_NAME);
        match name.trim_end_matches('-') {
            "" => "unlabelled".to_owned(),
            name => name.to_owned(),
        }
    }
}

/// The workload of each class, and whether a namespace was too large to compare its workloads with each other.
pub(crate) fn workloads(classes: &[(Class, bool)]) -> (Vec<Workload>, bool) {
    let plain: Vec<Workload> = classes.iter().map(|(class, _)| Workload::new(class)).collect();
    let mut by_namespace: BTreeMap<&str, BTreeMap<&Workload, Vec<&Class>>> = BTreeMap::new();
    for ((class, _), workload) in classes.iter().zip(&plain) {
        by_namespace.entry(&class.namespace).or_default().entry(workload).or_default().push(class);
    }
    let mut narrowed: BTreeMap<&Workload, Workload> = BTreeMap::new();
    let mut large = false;
    for members in by_namespace.values() {
        let classes: usize = members.values().map(Vec::len).sum();
        if classes > MAX_COMPARED {
            large = true;
            continue;
        }
        for workload in members.keys() {
            let others = members.iter().filter(|(other, _)| other != &workload);
            let absent: BTreeSet<String> = others
                .filter(|(_, classes)| classes.iter().any(|class| selects(&workload.labels, class)))
                .flat_map(|(other, _)| {
                    other.labels.keys().filter(|key| !workload.labels.contains_key(*key)).cloned()
                })
                .collect();
            if !absent.is_empty() {
                narrowed.insert(workload, Workload { absent, ..(*workload).clone() });
            }
        }
    }
    let found = plain.iter().map(|workload| narrowed.get(workload).unwrap_or(workload).clone()).collect();
    (found, large)
}

fn selects(labels: &BTreeMap<String, String>, class: &Class) -> bool {
    labels.iter().all(|(key, value)| match key.as_str() {
        SERVICE_ACCOUNT => class.service_account.as_ref() == Some(value),
        key => class.labels.get(key) == Some(value),
    })
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Absent<'a> {
            key: &'a str,
            operator: &'static str,
        }
        let mut map = serializer.serialize_map(None)?;
        if !self.labels.is_empty() {
            map.serialize_entry("matchLabels", &self.labels)?;
        }
        if !self.absent.is_empty() {
            let absent = |key| Absent { key, operator: "DoesNotExist" };
            let absent: Vec<Absent<'_>> = self.absent.iter().map(|key| absent(key)).collect();
            map.serialize_entry("matchExpressions", &absent)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(labels: &[(&str, &str)], account: Option<&str>) -> (Class, bool) {
        let class = Class {
            namespace: "shop".to_owned(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            service_account: account.map(str::to_owned),
            cluster: "default".to_owned(),
            inherited: BTreeMap::new(),
        };
        (class, true)
    }

    fn of(classes: &[(Class, bool)]) -> Vec<String> {
        let (workloads, large) = workloads(classes);
        assert!(!large);
        let json = |workload: &Workload| serde_json::to_string(&workload.subject()).expect("JSON");
        workloads.iter().map(json).collect()
    }

    #[test]
    fn the_labels_that_name_a_workload() {
        let found = of(&[
            class(&[("app", "web"), ("version", "1"), ("k8s-app", "x")], None),
            class(&[("app", "web"), ("version", "2")], None),
            class(&[("app.kubernetes.io/name", "pg"), ("app.kubernetes.io/instance", "a"), ("x", "y")], None),
            class(&[("tier", "backend"), ("service", "orders")], None),
            class(&[], Some("robot")),
        ]);
        assert_eq!(found[0], r#"{"matchLabels":{"app":"web"}}"#);
        assert_eq!(found[1], found[0]);
        assert_eq!(
            found[2],
            r#"{"matchLabels":{"app.kubernetes.io/instance":"a","app.kubernetes.io/name":"pg"}}"#
        );
        assert_eq!(found[3], r#"{"matchLabels":{"service":"orders","tier":"backend"}}"#);
        assert_eq!(found[4], r#"{"matchLabels":{"io.cilium.k8s.policy.serviceaccount":"robot"}}"#);
    }

    #[test]
    fn a_selector_that_would_catch_another_workload_is_narrowed() {
        let found = of(&[
            class(&[("app", "web")], None),
            class(&[("app", "web"), ("component", "cache")], None),
            class(&[], None),
        ]);
        let absent = |key: &str| format!(r#"{{"key":"{key}","operator":"DoesNotExist"}}"#);
        assert_eq!(
            found[0],
            format!(r#"{{"matchLabels":{{"app":"web"}},"matchExpressions":[{}]}}"#, absent("component"))
        );
        assert_eq!(found[1], r#"{"matchLabels":{"app":"web","component":"cache"}}"#);
        assert_eq!(
            found[2],
            format!(r#"{{"matchExpressions":[{},{}]}}"#, absent("app"), absent("component"))
        );
    }

    #[test]
    fn names_are_names_of_objects() {
        let name = |labels: &[(&str, &str)]| Workload::new(&class(labels, None).0).name();
        assert_eq!(name(&[("app", "Web_Front.end-")]), "web-front-end");
        assert_eq!(name(&[("app.kubernetes.io/name", "pg"), ("component", "db"), ("x", "y")]), "pg-db");
        assert_eq!(name(&[("tier", "a"), ("zone", "")]), "a");
        assert_eq!(name(&[]), "unlabelled");
    }
}
