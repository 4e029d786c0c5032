//! The workloads that policies are about: what a file of `inventory/` says, as plain types.

use std::net::IpAddr;
use std::sync::Arc;

/// Everything an inventory file lists.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inventory {
    /// Namespaces; one that pods use without being listed has no labels.
    pub namespaces: Vec<Namespace>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Pods.
    pub pods: Vec<Pod>,
    /// Peers outside the cluster.
    pub external: Vec<External>,
    /// Services.
    pub services: Vec<Service>,
    /// Peers with a reserved identity.
    pub special: Vec<Special>,
}

/// Key and value pairs as written, without a source.
pub type PlainLabels = Vec<(Arc<str>, Arc<str>)>;

/// A namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// Name.
    pub name: Arc<str>,
    /// Labels, including `kubernetes.io/metadata.name`, which is added where it is not written.
    pub labels: PlainLabels,
    /// Line, from 1.
    pub line: u32,
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: PlainLabels,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// Whether it serves the Kubernetes API.
    pub kube_api_server: bool,
    /// Line, from 1.
    pub line: u32,
}

/// A pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pod {
    /// Name.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Labels.
    pub labels: PlainLabels,
    /// Service account, if named.
    pub service_account: Option<Arc<str>>,
    /// The node it runs on; empty if not said.
    pub node: Arc<str>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// Named container ports.
    pub ports: Vec<NamedPort>,
    /// Host-side interface, for a pod on this node.
    pub interface: Option<Arc<str>>,
    /// The pod's own hardware address.
    pub mac: Option<[u8; 6]>,
    /// What the pod belongs to; no rule looks at it.
    pub workload: Option<Owner>,
    /// Line, from 1.
    pub line: u32,
}

/// What a pod belongs to: a Deployment, a StatefulSet, …
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Kind.
    pub kind: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// A container port with a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedPort {
    /// Name, lower case.
    pub name: Arc<str>,
    /// Number.
    pub port: u16,
    /// Protocol; never [`Any`](crate::rule::Protocol::Any).
    pub protocol: crate::rule::Protocol,
}

/// A peer outside the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct External {
    /// Name.
    pub name: Arc<str>,
    /// Address.
    pub ip: IpAddr,
    /// Names already seen in DNS answers with this address.
    pub dns_names: Vec<Arc<str>>,
    /// Whether it serves the Kubernetes API.
    pub kube_api_server: bool,
    /// Line, from 1.
    pub line: u32,
}

/// A service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Name.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Labels.
    pub labels: PlainLabels,
    /// Selector for its pods; empty for a service without one.
    pub selector: PlainLabels,
    /// Virtual addresses.
    pub ips: Vec<IpAddr>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Backend addresses of a service without selector.
    pub endpoints: Vec<IpAddr>,
    /// Line, from 1.
    pub line: u32,
}

/// A port of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// Name, if any.
    pub name: Option<Arc<str>>,
    /// The service's own port.
    pub port: u16,
    /// Protocol; never [`Any`](crate::rule::Protocol::Any).
    pub protocol: crate::rule::Protocol,
    /// Port at the backends.
    pub target: TargetPort,
}

/// The port of a service's backends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetPort {
    /// This number.
    Number(u16),
    /// The container port of this name.
    Named(Arc<str>),
}

/// A peer with a reserved identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Special {
    /// Name.
    pub name: Arc<str>,
    /// Reserved label: `health`, `unmanaged`, `ingress`, …
    pub reserved: Arc<str>,
    /// Line, from 1.
    pub line: u32,
}
