//! The fields of Hubble's `flow.Flow` by their names in JSON, and the one under which ours stand.
//!
//! What a field mask may name and what a record may print is checked against this table.

/// What a field holds.
#[derive(Copy, Clone, Debug)]
pub enum Shape {
    /// A value, or a list of values.
    Value,
    /// A message with these fields.
    Message(Fields),
    /// A list of messages with these fields; a mask takes it whole.
    List(Fields),
    /// A message whose fields are ours.
    Open,
}

/// Names and shapes.
pub type Fields = &'static [(&'static str, Shape)];

use Shape::{List, Message, Open, Value};

/// The fields of a flow.
pub const FLOW: Fields = &[
    ("time", Value),
    ("uuid", Value),
    ("emitter", Message(&[("name", Value), ("version", Value)])),
    ("verdict", Value),
    ("drop_reason", Value),
    ("auth_type", Value),
    ("ethernet", Message(&[("source", Value), ("destination", Value)])),
    ("IP", Message(IP)),
    ("l4", Message(L4)),
    ("tunnel", Message(&[("protocol", Value), ("IP", Message(IP)), ("l4", Message(L4)), ("vni", Value)])),
    ("source", Message(ENDPOINT)),
    ("destination", Message(ENDPOINT)),
    ("Type", Value),
    ("node_name", Value),
    ("node_labels", Value),
    ("source_names", Value),
    ("destination_names", Value),
    ("l7", Message(L7)),
    ("reply", Value),
    ("event_type", Message(&[("type", Value), ("sub_type", Value)])),
    ("source_service", Message(SERVICE)),
    ("destination_service", Message(SERVICE)),
    ("traffic_direction", Value),
    ("policy_match_type", Value),
    ("trace_observation_point", Value),
    ("trace_reason", Value),
    ("file", Message(&[("name", Value), ("line", Value)])),
    ("drop_reason_desc", Value),
    ("is_reply", Value),
    ("debug_capture_point", Value),
    ("interface", Message(&[("index", Value), ("name", Value)])),
    ("proxy_port", Value),
    ("trace_context", Message(&[("parent", Message(&[("trace_id", Value)]))])),
    ("sock_xlate_point", Value),
    ("socket_cookie", Value),
    ("cgroup_id", Value),
    ("Summary", Value),
    ("extensions", Open),
    ("egress_allowed_by", List(POLICY)),
    ("ingress_allowed_by", List(POLICY)),
    ("egress_denied_by", List(POLICY)),
    ("ingress_denied_by", List(POLICY)),
    ("policy_log", Value),
    ("ip_trace_id", Message(&[("trace_id", Value), ("ip_option_type", Value)])),
    ("aggregate", Open),
];

const IP: Fields = &[
    ("source", Value),
    ("source_xlated", Value),
    ("destination", Value),
    ("ipVersion", Value),
    ("encrypted", Value),
];

const PORTS: Fields = &[("source_port", Value), ("destination_port", Value)];

const ICMP: Fields = &[("type", Value), ("code", Value)];

const L4: Fields = &[
    ("TCP", Message(&[("source_port", Value), ("destination_port", Value), ("flags", Message(FLAGS))])),
    ("UDP", Message(PORTS)),
    ("ICMPv4", Message(ICMP)),
    ("ICMPv6", Message(ICMP)),
    ("SCTP", Message(&[("source_port", Value), ("destination_port", Value), ("chunk_type", Value)])),
    ("VRRP", Message(&[("type", Value), ("vrid", Value), ("priority", Value)])),
    ("IGMP", Message(&[("type", Value), ("group_address", Value)])),
];

const FLAGS: Fields = &[
    ("FIN", Value),
    ("SYN", Value),
    ("RST", Value),
    ("PSH", Value),
    ("ACK", Value),
    ("URG", Value),
    ("ECE", Value),
    ("CWR", Value),
    ("NS", Value),
];

const ENDPOINT: Fields = &[
    ("ID", Value),
    ("identity", Value),
    ("cluster_name", Value),
    ("namespace", Value),
    ("labels", Value),
    ("pod_name", Value),
    ("workloads", List(&[("name", Value), ("kind", Value)])),
];

const SERVICE: Fields = &[("name", Value), ("namespace", Value)];

const POLICY: Fields =
    &[("name", Value), ("namespace", Value), ("labels", Value), ("revision", Value), ("kind", Value)];

const L7: Fields = &[
    ("type", Value),
    ("latency_ns", Value),
    (
        "dns",
        Message(&[
            ("query", Value),
            ("ips", Value),
            ("ttl", Value),
            ("cnames", Value),
            ("observation_source", Value),
            ("rcode", Value),
            ("qtypes", Value),
            ("rrtypes", Value),
        ]),
    ),
    (
        "http",
        Message(&[
            ("code", Value),
            ("method", Value),
            ("url", Value),
            ("protocol", Value),
            ("headers", List(&[("key", Value), ("value", Value)])),
        ]),
    ),
    (
        "kafka",
        Message(&[
            ("error_code", Value),
            ("api_version", Value),
            ("api_key", Value),
            ("correlation_id", Value),
            ("topic", Value),
        ]),
    ),
];

/// The shape of the field with this name.
#[must_use]
pub fn field(fields: Fields, name: &str) -> Option<Shape> {
    fields.iter().find(|(known, _)| *known == name).map(|(_, shape)| *shape)
}

#[cfg(test)]
pub(crate) fn unknown_keys(value: &serde_json::Value, fields: Fields, at: &str) -> Vec<String> {
    let mut unknown = Vec::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{at}{key}");
        match field(fields, key) {
            None => unknown.push(path),
            Some(Value) if value.is_object() => unknown.push(path),
            Some(Value | Open) => {}
            Some(Message(inner)) => unknown.extend(unknown_keys(value, inner, &format!("{path}."))),
            Some(List(inner)) => {
                for item in value.as_array().into_iter().flatten() {
                    unknown.extend(unknown_keys(item, inner, &format!("{path}[].")));
                }
            }
        }
    }
    unknown
}
