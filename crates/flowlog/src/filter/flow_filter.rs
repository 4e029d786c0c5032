//! `FlowFilter` as Hubble's API has it: its fields, their JSON names, and three of our own.

use super::FilterError;
use super::json;
use crate::record::{IpVersion, TcpFlagSet, TrafficDirection, Verdict, WorkloadRef, is_default};
use serde::{Deserialize, Serialize};

/// One filter. Every field is asked for only if it is not empty.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowFilter {
    /// Record names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uuid: Vec<String>,
    /// Source address or CIDR.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_ip: Vec<String>,
    /// Source address or CIDR after translation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_ip_xlated: Vec<String>,
    /// Source pod, `namespace/prefix`; `namespace/` is all of it, `/prefix` any namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_pod: Vec<String>,
    /// DNS names of the source; `*` is any part of a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_fqdn: Vec<String>,
    /// Label selector on the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_label: Vec<String>,
    /// Source service, in the form of a pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_service: Vec<String>,
    /// Owners of the source pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_workload: Vec<WorkloadRef>,
    /// Cluster of the source; `*` is any part of a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_cluster_name: Vec<String>,
    /// Destination address or CIDR.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_ip: Vec<String>,
    /// Destination pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_pod: Vec<String>,
    /// DNS names of the destination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_fqdn: Vec<String>,
    /// Label selector on the destination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_label: Vec<String>,
    /// Destination service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_service: Vec<String>,
    /// Owners of the destination pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_workload: Vec<WorkloadRef>,
    /// Cluster of the destination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_cluster_name: Vec<String>,
    /// Directions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic_direction: Vec<TrafficDirection>,
    /// Verdicts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verdict: Vec<Verdict>,
    /// Names of drop reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop_reason_desc: Vec<String>,
    /// Interfaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interface: Vec<InterfaceFilter>,
    /// Kinds of event.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_type: Vec<EventTypeFilter>,
    /// HTTP status codes: `404`, or `5+` for all that start so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_status_code: Vec<String>,
    /// Protocol names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protocol: Vec<String>,
    /// Source ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_port: Vec<String>,
    /// Destination ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_port: Vec<String>,
    /// Replies or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reply: Vec<bool>,
    /// Regular expressions on the name asked for over DNS, the final dot included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_query: Vec<String>,
    /// Identities of the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_identity: Vec<u32>,
    /// Identities of the destination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_identity: Vec<u32>,
    /// HTTP methods, in any case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_method: Vec<String>,
    /// Regular expressions on the path, without the query.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_path: Vec<String>,
    /// Regular expressions on the whole URL.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_url: Vec<String>,
    /// Header fields that were kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_header: Vec<HeaderFilter>,
    /// Sets of TCP flags; all flags of one set must be there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcp_flags: Vec<TcpFlagSet>,
    /// Nodes, `[cluster/]name`; `*` is any part of a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_name: Vec<String>,
    /// Label selectors on the node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_labels: Vec<String>,
    /// IP versions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_version: Vec<IpVersion>,
    /// Trace ids of messages (`traceparent`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trace_id: Vec<String>,
    /// Trace ids in IP options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_trace_id: Vec<u64>,
    /// Whether the packet was encrypted on its way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encrypted: Vec<bool>,
    /// What Hubble tries out.
    #[serde(skip_serializing_if = "is_default")]
    pub experimental: Experimental,
    /// Ours: policies behind the decision, `namespace/name`, or a name in any namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<String>,
    /// Ours: Kafka topics; `*` is any part of a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kafka_topic: Vec<String>,
    /// Ours: Kafka APIs by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kafka_api_key: Vec<String>,
}

/// Hubble's experimental filters. They are read so that they can be refused by name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Experimental {
    /// Expressions in the Common Expression Language.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cel_expression: Vec<String>,
}

/// An interface, by number or name; what is not given is not asked.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InterfaceFilter {
    /// The kernel's number.
    #[serde(skip_serializing_if = "is_default")]
    pub index: u32,
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A header field with exactly this value.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderFilter {
    /// Name, in any case.
    pub key: String,
    /// Value.
    pub value: String,
}

/// A kind of event, perhaps with a sub-type.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventTypeFilter {
    /// See [`message_type`](crate::record::message_type).
    #[serde(rename = "type")]
    pub kind: i32,
    /// Whether the sub-type counts.
    pub match_sub_type: bool,
    /// The sub-type.
    pub sub_type: i32,
}

impl FlowFilter {
    /// Reads the filters in `text`, one JSON object after another, as Hubble's `--allowlist` takes them: names in
    /// `snake_case` or `lowerCamelCase`, enums by name or number, 64-bit numbers as numbers or strings.
    ///
    /// # Errors
    ///
    /// What is not JSON, and every field that is not one of a filter, by its name.
    pub fn from_json(text: &str) -> Result<Vec<Self>, FilterError> {
        json::read(text)
    }
}
