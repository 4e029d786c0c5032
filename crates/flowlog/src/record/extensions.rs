//! What only we say about a flow.

use super::json::u64_string;
use super::names::TrafficDirection;
use super::resolve::Resolver;
use crate::event::{CloseReason, FlowEvent};
use policy::{Direction, Provenance};
use serde::{Deserialize, Serialize};

/// What only we say about a flow.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Extensions {
    /// Rules that allowed or denied it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// For a default deny: who switched it on, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_deny: Option<DefaultDeny>,
    /// What rule is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Final counters of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<CloseInfo>,
    /// `grpc-status` of a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u32>,
    /// Client id of a Kafka request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kafka_client_id: String,
    /// Topics of a Kafka request that has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kafka_topics: Vec<String>,
    /// A TLS hello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<super::l7::Tls>,
    /// What is wrong with the bytes of a connection.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub anomaly: String,
    /// Version of the policy that decided.
    #[serde(with = "u64_string")]
    pub epoch: u64,
    /// Length of the IP datagram in bytes.
    pub length: u32,
    /// Port on which it arrived.
    pub in_port: u16,
}

/// Where a rule stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// Kind of the document.
    pub kind: String,
    /// Namespace of the policy; empty for clusterwide ones.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name of the policy.
    pub name: String,
    /// File.
    pub file: String,
    /// Line in it, from 1.
    pub line: u32,
}

impl From<&Provenance> for Rule {
    fn from(rule: &Provenance) -> Self {
        Self {
            kind: rule.kind.clone(),
            namespace: rule.namespace.clone(),
            name: rule.name.clone(),
            file: rule.file.clone(),
            line: rule.line,
        }
    }
}

/// Why nothing was allowed: the policies that put one direction of an endpoint into default deny.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DefaultDeny {
    /// Direction.
    pub direction: TrafficDirection,
    /// Which end of the flow is protected: `source` or `destination`.
    pub side: String,
    /// The policies.
    pub switched_on_by: Vec<Rule>,
    /// Whom they would have allowed, a few of them, in words; of packets only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_peers: Vec<String>,
}

impl DefaultDeny {
    /// Of a packet that `direction` of an endpoint denies.
    pub(super) fn new(
        event: &FlowEvent,
        direction: Direction,
        rules: &[Provenance],
        names: &dyn Resolver,
    ) -> Self {
        let endpoint = match direction {
            Direction::Ingress => event.dst_endpoint,
            Direction::Egress => event.src_endpoint,
        };
        let allowed_peers = endpoint.map(|endpoint| names.allowed_peers(endpoint, direction));
        Self { allowed_peers: allowed_peers.unwrap_or_default(), ..Self::of_message(direction, rules) }
    }

    /// Of a message: its connection was allowed.
    pub(super) fn of_message(direction: Direction, rules: &[Provenance]) -> Self {
        let side = match direction {
            Direction::Ingress => "destination",
            Direction::Egress => "source",
        };
        Self {
            direction: direction.into(),
            side: side.to_owned(),
            switched_on_by: rules.iter().map(Rule::from).collect(),
            allowed_peers: Vec::new(),
        }
    }
}

/// Final counters of a connection; pairs are original and reply leg.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CloseInfo {
    /// `finished`, `reset`, `timed-out`, `evicted`, `revoked`, `port-gone`.
    pub reason: String,
    /// Packets.
    pub packets: [u64; 2],
    /// Bytes of IP datagrams.
    pub bytes: [u64; 2],
    /// Nanoseconds from first packet to end.
    pub duration_ns: u64,
}

impl CloseInfo {
    pub(super) fn new(reason: CloseReason, packets: [u64; 2], bytes: [u64; 2], duration_ns: u64) -> Self {
        let reason = match reason {
            CloseReason::Finished => "finished",
            CloseReason::Reset => "reset",
            CloseReason::TimedOut => "timed-out",
            CloseReason::Evicted => "evicted",
            CloseReason::Revoked => "revoked",
            CloseReason::PortGone => "port-gone",
        };
        Self { reason: reason.to_owned(), packets, bytes, duration_ns }
    }
}
