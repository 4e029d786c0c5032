//! Who an end of a flow is on the map: pods by their workload, everything else by what it is.

use flowlog::record::Endpoint;
use serde::{Deserialize, Serialize};

/// Labels that name an application, the first one that is there counts.
const APP_LABELS: [&str; 4] = ["app", "k8s-app", "app.kubernetes.io/name", "name"];

/// Where the source of a label ends and its key begins; labels of the container network are not an application's name.
const SOURCES: [&str; 2] = ["k8s:", "any:"];

/// Longest name on the map; Kubernetes' own names and DNS names are at most 253 long.
const MAX_NAME: usize = 253;

/// What a node of the map is.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// Pods of one application.
    Workload,
    /// This node.
    Host,
    /// Another node.
    RemoteNode,
    /// The Kubernetes API server.
    ApiServer,
    /// Something with a DNS name.
    Dns,
    /// Anything outside.
    World,
    /// A reserved identity that is none of the above.
    Reserved,
    /// What there was no room for.
    Others,
}

/// Groups that the page can hide.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The cluster's DNS.
    KubeDns,
    /// This node.
    Host,
    /// Other nodes.
    RemoteNode,
    /// Monitoring.
    Prometheus,
}

impl Group {
    /// The group of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "kube-dns" => Self::KubeDns,
            "host" => Self::Host,
            "remote-node" => Self::RemoteNode,
            "prometheus" => Self::Prometheus,
            _ => return None,
        })
    }
}

/// A node of the map, before it has numbers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Name {
    pub kind: NodeKind,
    pub namespace: String,
    pub name: String,
}

impl Name {
    /// Where everything goes that there is no room for.
    pub(crate) fn others() -> Self {
        Self { kind: NodeKind::Others, namespace: String::new(), name: "others".into() }
    }

    /// Who this end is. `dns` are the names that its address was looked up under.
    pub(crate) fn of(end: Option<&Endpoint>, dns: &[String], address: &str) -> Self {
        let plain = |kind, name: &str| Self { kind, namespace: String::new(), name: cut(name) };
        let Some(end) = end else { return plain(NodeKind::World, address) };
        if !end.pod_name.is_empty() || !end.namespace.is_empty() {
            let name = application(&end.labels)
                .or_else(|| end.workloads.first().map(|workload| workload.name.as_str()))
                .unwrap_or(&end.pod_name);
            return Self {
                kind: NodeKind::Workload,
                namespace: cut(&end.namespace),
                name: cut(if name.is_empty() { address } else { name }),
            };
        }
        let reserved = |name: &str| end.labels.iter().any(|l| l.strip_prefix("reserved:") == Some(name));
        // Numbers of the reserved identities: Cilium's, for records that came without labels.
        match end.identity {
            1 => plain(NodeKind::Host, "host"),
            _ if reserved("host") => plain(NodeKind::Host, "host"),
            7 => plain(NodeKind::ApiServer, "kube-apiserver"),
            _ if reserved("kube-apiserver") => plain(NodeKind::ApiServer, "kube-apiserver"),
            6 => plain(NodeKind::RemoteNode, "remote-node"),
            _ if reserved("remote-node") => plain(NodeKind::RemoteNode, "remote-node"),
            3 => plain(NodeKind::Reserved, "unmanaged"),
            4 => plain(NodeKind::Reserved, "health"),
            5 => plain(NodeKind::Reserved, "init"),
            8 => plain(NodeKind::Reserved, "ingress"),
            _ => match dns.first() {
                Some(name) => plain(NodeKind::Dns, name.trim_end_matches('.')),
                None => plain(NodeKind::World, "world"),
            },
        }
    }

    /// Stable name in addresses and between page and server.
    pub(crate) fn id(&self) -> String {
        let kind = match self.kind {
            NodeKind::Workload => "workload",
            NodeKind::Host => "host",
            NodeKind::RemoteNode => "remote-node",
            NodeKind::ApiServer => "api-server",
            NodeKind::Dns => "dns",
            NodeKind::World => "world",
            NodeKind::Reserved => "reserved",
            NodeKind::Others => "others",
        };
        format!("{kind}/{}/{}", self.namespace, self.name)
    }

    /// The group that it can be hidden with.
    pub(crate) fn group(&self) -> Option<Group> {
        match self.kind {
            NodeKind::Host => Some(Group::Host),
            NodeKind::RemoteNode => Some(Group::RemoteNode),
            NodeKind::Workload => match self.name.as_str() {
                "kube-dns" | "coredns" | "node-local-dns" => Some(Group::KubeDns),
                "prometheus" => Some(Group::Prometheus),
                _ => None,
            },
            _ => None,
        }
    }
}

fn application(labels: &[String]) -> Option<&str> {
    let value = |key: &str| {
        labels.iter().find_map(|label| {
            let label = SOURCES.iter().find_map(|source| label.strip_prefix(source)).unwrap_or(label);
            let (name, value) = label.split_once('=')?;
            (name == key && !value.is_empty()).then_some(value)
        })
    };
    APP_LABELS.iter().find_map(|key| value(key))
}

fn cut(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowlog::record::WorkloadRef;

    fn pod(labels: &[&str]) -> Endpoint {
        Endpoint {
            namespace: "shop".into(),
            pod_name: "web-5d4f-x".into(),
            labels: labels.iter().map(|&l| l.into()).collect(),
            ..Endpoint::default()
        }
    }

    #[test]
    fn pods_go_by_their_application() {
        let name = |labels: &[&str]| Name::of(Some(&pod(labels)), &[], "10.0.0.1").id();
        assert_eq!(name(&["k8s:app=web", "k8s:k8s-app=dns"]), "workload/shop/web");
        assert_eq!(name(&["k8s:k8s-app=dns"]), "workload/shop/dns");
        assert_eq!(name(&["k8s:app.kubernetes.io/name=cart"]), "workload/shop/cart");
        assert_eq!(name(&["any:name=cart"]), "workload/shop/cart");
        assert_eq!(name(&["k8s:io.kubernetes.pod.namespace=shop"]), "workload/shop/web-5d4f-x");
        let owner = WorkloadRef { name: "web".into(), kind: "Deployment".into() };
        let owned = Endpoint { workloads: vec![owner], ..pod(&[]) };
        assert_eq!(Name::of(Some(&owned), &[], "").id(), "workload/shop/web");
    }

    #[test]
    fn everything_else_goes_by_what_it_is() {
        let of = |identity, labels: &[&str], dns: &[String]| {
            let labels = labels.iter().map(|&l| l.into()).collect();
            Name::of(Some(&Endpoint { identity, labels, ..Endpoint::default() }), dns, "192.0.2.1").id()
        };
        assert_eq!(of(1, &[], &[]), "host//host");
        assert_eq!(
            of(6, &["reserved:kube-apiserver", "reserved:remote-node"], &[]),
            "api-server//kube-apiserver"
        );
        assert_eq!(of(6, &[], &[]), "remote-node//remote-node");
        assert_eq!(of(2, &["reserved:world"], &[]), "world//world");
        assert_eq!(of(2, &[], &["api.stripe.com".into()]), "dns//api.stripe.com");
        assert_eq!(
            of(16_777_217, &["fqdn:*.stripe.com"], &["api.stripe.com.".into()]),
            "dns//api.stripe.com"
        );
        assert_eq!(of(4, &[], &[]), "reserved//health");
        assert_eq!(Name::of(None, &[], "192.0.2.1").id(), "world//192.0.2.1");
    }

    #[test]
    fn groups_that_can_be_hidden() {
        let workload =
            |name: &str| Name { kind: NodeKind::Workload, namespace: "x".into(), name: name.into() };
        assert_eq!(workload("kube-dns").group(), Some(Group::KubeDns));
        assert_eq!(workload("prometheus").group(), Some(Group::Prometheus));
        assert_eq!(workload("web").group(), None);
        for name in ["kube-dns", "host", "remote-node", "prometheus"] {
            let group = Group::named(name).expect("known");
            assert_eq!(serde_json::to_string(&group).expect("JSON"), format!("{name:?}"));
        }
        assert_eq!(Group::named("x"), None);
    }
}
