//! The parts of a record that stand in Hubble's `flow.Flow`.

use super::json::{is_default, u64_string};
use super::names::IpVersion;
use crate::event::FlowEvent;
use policy::Provenance;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Hardware addresses of a frame.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ethernet {
    /// Source address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Destination address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination: String,
}

/// Addresses of a packet.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ip {
    /// Source address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Source address after translation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source_xlated: String,
    /// Destination address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination: String,
    /// Version.
    #[serde(rename = "ipVersion", skip_serializing_if = "is_default")]
    pub version: IpVersion,
    /// Whether it was encrypted on its way.
    #[serde(skip_serializing_if = "is_default")]
    pub encrypted: bool,
}

impl Ip {
    pub(super) fn new(event: &FlowEvent) -> Self {
        let version = match event.key.src.to_ip() {
            IpAddr::V4(_) => IpVersion::V4,
            IpAddr::V6(_) => IpVersion::V6,
        };
        Self {
            source: { event.key.src }.to_string(),
            destination: { event.key.dst }.to_string(),
            version,
            ..Self::default()
        }
    }
}

/// Kind of event.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EventType {
    /// See [`message_type`](super::message_type).
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: i32,
    /// Drop reason, observation point, or way of closing.
    #[serde(skip_serializing_if = "is_default")]
    pub sub_type: i32,
}

/// One end of a flow.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Local endpoint number; 0 for others.
    #[serde(rename = "ID", skip_serializing_if = "is_default")]
    pub id: u32,
    /// Identity.
    #[serde(skip_serializing_if = "is_default")]
    pub identity: u32,
    /// Cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_name: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Labels with their source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_name: String,
    /// Owners of the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadRef>,
}

/// An owner of a pod.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkloadRef {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `Deployment`, `DaemonSet`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

/// A service whose address one end has.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceRef {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// The interface on which a packet was seen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// The kernel's number.
    #[serde(skip_serializing_if = "is_default")]
    pub index: u32,
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// What a distributed trace calls the request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceContext {
    /// The caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<TraceParent>,
}

/// The caller in a distributed trace.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceParent {
    /// Name of the trace, 32 hexadecimal digits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_id: String,
}

/// A trace id in an IP option. Only read: our parser refuses no option and reads none.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IpTraceId {
    /// The id.
    #[serde(with = "u64_string", skip_serializing_if = "is_default")]
    pub trace_id: u64,
    /// The option's number.
    #[serde(skip_serializing_if = "is_default")]
    pub ip_option_type: u32,
}

/// A policy as Hubble names it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyRef {
    /// Name.
    pub name: String,
    /// Namespace; empty for clusterwide policies.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Labels of the policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Version of the policy that decided.
    #[serde(with = "u64_string", skip_serializing_if = "is_default")]
    pub revision: u64,
    /// Kind of the document.
    pub kind: String,
}

impl PolicyRef {
    pub(super) fn new(rule: &Provenance, revision: u64) -> Self {
        let mut labels = vec![
            format!("k8s:io.cilium.k8s.policy.derived-from={}", rule.kind),
            format!("k8s:io.cilium.k8s.policy.name={}", rule.name),
        ];
        if !rule.namespace.is_empty() {
            labels.push(format!("k8s:io.cilium.k8s.policy.namespace={}", rule.namespace));
        }
        Self {
            name: rule.name.clone(),
            namespace: rule.namespace.clone(),
            labels,
            revision,
            kind: rule.kind.clone(),
        }
    }
}
