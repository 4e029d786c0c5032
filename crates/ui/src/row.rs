//! A record as one row of the flow table: what the page shows and sorts by, without the rest.

use crate::names::{Group, Name};
use flowlog::Record;
use flowlog::record::{Endpoint, L4, L7Type, Rule, Verdict, message_type};
use serde::{Deserialize, Serialize};

/// Longest text in a row; the whole of it stands in the record.
const MAX_TEXT: usize = 300;

/// One end of a flow.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Peer {
    /// Node of the map.
    pub node: String,
    /// `namespace/pod`, DNS name, or address.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Workload or label that names the application.
    pub workload: String,
    /// Identity.
    pub identity: u32,
    /// Address.
    pub ip: String,
    /// Port; 0 where the protocol has none.
    pub port: u16,
    /// Labels.
    pub labels: Vec<String>,
}

/// One row.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FlowRow {
    /// Number of the record, rising.
    pub seq: u64,
    /// Names the record.
    pub uuid: String,
    /// When, RFC 3339.
    pub time: String,
    /// Verdict, Hubble's name.
    pub verdict: String,
    /// Kind of record.
    pub kind: String,
    /// Where from.
    pub source: Peer,
    /// Where to.
    pub destination: Peer,
    /// `TCP`, `UDP`, …
    pub protocol: String,
    /// `ingress`, `egress` or nothing.
    pub direction: String,
    /// Whether the packet answers.
    pub reply: bool,
    /// One line for people.
    pub summary: String,
    /// Name of the drop reason.
    pub reason: String,
    /// The rule that decided, or those that switched default deny on.
    pub policy: String,
    /// Node that saw it.
    pub node: String,
}

impl FlowRow {
    /// The row of a record.
    #[must_use]
    pub fn new(seq: u64, record: &Record) -> Self {
        let protocol = record.l4.as_ref().map_or("", L4::name);
        Self {
            seq,
            uuid: record.uuid.clone(),
            time: record.time.map_or_else(String::new, |time| format!("{:.6}", time.0)),
            verdict: record.verdict.name().to_owned(),
            kind: kind(record),
            source: peer(record, true),
            destination: peer(record, false),
            protocol: protocol.to_owned(),
            direction: match record.traffic_direction.name() {
                "INGRESS" => "ingress".into(),
                "EGRESS" => "egress".into(),
                _ => String::new(),
            },
            reply: record.is_reply == Some(true),
            summary: short(&record.summary),
            reason: short(&record.drop_reason_desc),
            policy: short(&policies(record)),
            node: record.node_name.clone(),
        }
    }
}

/// The map's names of both ends.
pub(crate) fn ends(record: &Record) -> (Name, Name) {
    let address = |source: bool| {
        let ip = record.ip.as_ref();
        ip.map_or("", |ip| if source { ip.source.as_str() } else { ip.destination.as_str() })
    };
    (
        Name::of(record.source.as_ref(), &record.source_names, address(true)),
        Name::of(record.destination.as_ref(), &record.destination_names, address(false)),
    )
}

/// The groups of both ends.
pub(crate) fn groups(record: &Record) -> [Option<Group>; 2] {
    let (source, destination) = ends(record);
    [source.group(), destination.group()]
}

fn peer(record: &Record, source: bool) -> Peer {
    let (end, names) = if source {
        (record.source.as_ref(), &record.source_names)
    } else {
        (record.destination.as_ref(), &record.destination_names)
    };
    let ip = record.ip.as_ref().map(|ip| if source { ip.source.clone() } else { ip.destination.clone() });
    let ip = ip.unwrap_or_default();
    let ports = record.l4.as_ref().and_then(L4::ports).unwrap_or_default();
    let node = Name::of(end, names, &ip);
    let name = match end {
        Some(Endpoint { pod_name, namespace, .. }) if !pod_name.is_empty() => {
            format!("{namespace}/{pod_name}")
        }
        _ => names.first().cloned().unwrap_or_else(|| ip.clone()),
    };
    Peer {
        node: node.id(),
        name: short(&name),
        namespace: end.map_or_else(String::new, |end| end.namespace.clone()),
        workload: node.name,
        identity: end.map_or(0, |end| end.identity),
        ip,
        port: if source { ports.0 } else { ports.1 },
        labels: end.map_or_else(Vec::new, |end| end.labels.clone()),
    }
}

fn kind(record: &Record) -> String {
    let way = |protocol: &str| {
        let way = match record.l7.as_ref().map(|l7| l7.kind) {
            Some(L7Type::Response) => "response",
            _ => "request",
        };
        format!("{protocol} {way}")
    };
    match record.event_kind() {
        message_type::DROP => "drop".into(),
        message_type::TRACE => "packet".into(),
        message_type::POLICY_VERDICT => "policy verdict".into(),
        message_type::CLOSE => "close".into(),
        message_type::L7 => match (&record.l7, &record.extensions) {
            (Some(l7), _) if l7.http.is_some() => way("HTTP"),
            (Some(l7), _) if l7.dns.is_some() => way("DNS"),
            (Some(l7), _) if l7.kafka.is_some() => way("Kafka"),
            (_, Some(extra)) if extra.tls.is_some() => "TLS hello".into(),
            (_, Some(extra)) if !extra.anomaly.is_empty() => "anomaly".into(),
            _ => way("message"),
        },
        _ => "other".into(),
    }
}

/// The rule that decided: for what was refused by default deny, the policies that switched it on.
fn policies(record: &Record) -> String {
    let Some(extra) = &record.extensions else { return String::new() };
    let list = |rules: &[Rule]| rules.iter().map(rule_name).collect::<Vec<_>>().join(", ");
    match &extra.default_deny {
        Some(deny) if matches!(record.verdict, Verdict::Dropped | Verdict::Audit) => {
            format!("default deny: {}", list(&deny.switched_on_by))
        }
        _ => list(&extra.rules),
    }
}

/// `namespace/name`, or the name of a clusterwide policy.
pub(crate) fn rule_name(rule: &Rule) -> String {
    if rule.namespace.is_empty() { rule.name.clone() } else { format!("{}/{}", rule.namespace, rule.name) }
}

fn short(text: &str) -> String {
    if text.chars().count() <= MAX_TEXT {
        return text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    }
    let mut cut: String = text.chars().take(MAX_TEXT - 1).collect();
    cut.push('…');
    cut
}
