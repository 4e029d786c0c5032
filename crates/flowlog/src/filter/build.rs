//! From Hubble's flags, in the order in which they were typed, to filters.
//!
//! A flag without a direction (`--pod`) means either end: every such set makes the allow list two filters, one for
//! the source and one for the destination, and all flags about a peer hold for the same end. A port is asked of either
//! end independently of the peer, so that `--pod production/web --port 5432` finds what that pod sends to 5432.
//! Each negated flag hides on its own.

use super::protocol::Protocol;
use super::{EventTypeFilter, FilterError, Filters, FlowFilter, HeaderFilter, InterfaceFilter};
use crate::drop_reason::is_reason_name;
use crate::record::{
    IpVersion, TcpFlagSet, TracePoint, TrafficDirection, Verdict, WorkloadRef, message_type,
};
use crate::summary::message as summary;
use policy::Identity;

/// Collects flags.
#[derive(Clone, Debug, Default)]
pub struct FilterBuilder {
    allow: Vec<(String, String)>,
    deny: Vec<(String, String)>,
}

impl FilterBuilder {
    /// Adds one flag (without dashes) with its value, negated or not.
    pub fn flag(&mut self, name: &str, value: &str, negated: bool) -> &mut Self {
        let list = if negated { &mut self.deny } else { &mut self.allow };
        list.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The filters that the flags mean.
    ///
    /// # Errors
    ///
    /// A value that its flag does not take, or flags that cannot be combined.
    pub fn build(&self) -> Result<Filters, FilterError> {
        let mut filters = Filters { allowlist: expand(&self.allow)?, denylist: Vec::new() };
        let mut names: Vec<&str> = self.deny.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let same: Vec<_> = self.deny.iter().filter(|flag| flag.0 == name).cloned().collect();
            filters.denylist.extend(expand(&same)?);
        }
        filters.compile()?;
        Ok(filters)
    }
}

/// Flags about either end.
const PEER: [&str; 9] =
    ["pod", "namespace", "label", "ip", "identity", "fqdn", "service", "workload", "cluster"];

fn expand(flags: &[(String, String)]) -> Result<Vec<FlowFilter>, FilterError> {
    if flags.is_empty() {
        return Ok(Vec::new());
    }
    let given = |name: &str| flags.iter().any(|flag| flag.0 == name);
    for name in PEER.iter().chain(&["port"]) {
        for side in ["from-", "to-"] {
            let sided = format!("{side}{name}");
            if given(name) && given(&sided) {
                return Err(FilterError::Conflict((*name).to_owned(), sided));
            }
        }
    }
    let ends = |both: bool| if both { vec!["from-", "to-"] } else { vec![""] };
    let mut filters: Vec<FlowFilter> = Vec::new();
    for peer in ends(flags.iter().any(|flag| PEER.contains(&flag.0.as_str()))) {
        for port in ends(given("port")) {
            let sided = flags.iter().map(|(name, value)| match name.as_str() {
                name if PEER.contains(&name) => (format!("{peer}{name}"), value.as_str()),
                "port" => (format!("{port}port"), value.as_str()),
                name => (name.to_owned(), value.as_str()),
            });
            filters.push(one(sided)?);
        }
    }
    Ok(filters)
}

fn one<'a>(flags: impl Iterator<Item = (String, &'a str)>) -> Result<FlowFilter, FilterError> {
    let mut f = FlowFilter::default();
    let (mut from_namespaces, mut to_namespaces) = (Vec::new(), Vec::new());
    for (name, value) in flags {
        let bad = || FilterError::value(&name, value);
        let text = value.to_owned();
        match name.as_str() {
            "from-pod" => f.source_pod.push(text),
            "to-pod" => f.destination_pod.push(text),
            "from-namespace" => from_namespaces.push(text),
            "to-namespace" => to_namespaces.push(text),
            "from-label" => f.source_label.push(text),
            "to-label" => f.destination_label.push(text),
            "from-ip" => f.source_ip.push(text),
            "to-ip" => f.destination_ip.push(text),
            "from-port" => f.source_port.push(text),
            "to-port" => f.destination_port.push(text),
            "from-identity" => f.source_identity.push(identity(value).ok_or_else(bad)?),
            "to-identity" => f.destination_identity.push(identity(value).ok_or_else(bad)?),
            "verdict" => f.verdict.push(named(Verdict::ALL, |v| v.name(), value).ok_or_else(bad)?),
            "drop-reason-desc" => f.drop_reason_desc.push(drop_reason(value).ok_or_else(bad)?),
            "type" => f.event_type.push(value.parse::<TypeArgument>()?.0),
            "protocol" => {
                Protocol::parse(value)?;
                f.protocol.push(value.to_ascii_lowercase());
            }
            "tcp-flags" => f.tcp_flags.push(tcp_flags(value).ok_or_else(bad)?),
            "traffic-direction" => {
                f.traffic_direction.push(named(TrafficDirection::ALL, |d| d.name(), value).ok_or_else(bad)?)
            }
            "ip-version" => f.ip_version.push(match value.to_ascii_lowercase().as_str() {
                "4" | "v4" | "ipv4" | "ip4" => IpVersion::V4,
                "6" | "v6" | "ipv6" | "ip6" => IpVersion::V6,
                "none" => IpVersion::NotUsed,
                _ => return Err(bad()),
            }),
            "from-service" => f.source_service.push(text),
            "to-service" => f.destination_service.push(text),
            "from-workload" => f.source_workload.push(workload(value)),
            "to-workload" => f.destination_workload.push(workload(value)),
            "from-cluster" => f.source_cluster_name.push(text),
            "to-cluster" => f.destination_cluster_name.push(text),
            "snat-ip" => f.source_ip_xlated.push(text),
            "interface" => f.interface.push(InterfaceFilter { name: text, index: 0 }),
            "node-label" => f.node_labels.push(text),
            "trace-id" => f.trace_id.push(text),
            "ip-trace-id" => {
                f.ip_trace_id.push(value.parse().ok().filter(|id| *id != 0).ok_or_else(bad)?);
            }
            "encrypted" => f.encrypted.push(true),
            "unencrypted" => f.encrypted.push(false),
            "reply" => f.reply.push(value.parse().map_err(|_| bad())?),
            "policy" => f.policy.push(text),
            "kafka-topic" => f.kafka_topic.push(text),
            "kafka-api-key" => f.kafka_api_key.push(kafka_api(value).ok_or_else(bad)?),
            "cel-expression" => f.experimental.cel_expression.push(text),
            "from-fqdn" => f.source_fqdn.push(text),
            "to-fqdn" => f.destination_fqdn.push(text),
            "dns-query" => f.dns_query.push(text),
            "http-status" => f.http_status_code.push(text),
            "http-method" => f.http_method.push(text),
            "http-path" => f.http_path.push(text),
            "http-url" => f.http_url.push(text),
            "http-header" => f.http_header.push(header(value).ok_or_else(bad)?),
            "uuid" => f.uuid.push(text),
            "node-name" => f.node_name.push(text),
            _ => return Err(FilterError::Unknown(name)),
        }
    }
    for (pods, services, namespaces) in [
        (&mut f.source_pod, &mut f.source_service, &from_namespaces),
        (&mut f.destination_pod, &mut f.destination_service, &to_namespaces),
    ] {
        if services.is_empty() || !pods.is_empty() {
            apply_namespaces(pods, namespaces);
        }
        if !services.is_empty() {
            apply_namespaces(services, namespaces);
        }
    }
    Ok(f)
}

/// A pod named without a namespace is looked for in those given; without a pod, all of the namespace is meant.
fn apply_namespaces(pods: &mut Vec<String>, namespaces: &[String]) {
    if namespaces.is_empty() {
        return;
    }
    if pods.is_empty() {
        pods.push(String::new());
    }
    let given = std::mem::take(pods);
    for pod in given {
        if pod.contains('/') {
            // Both were given and both hold: nothing is in two namespaces.
            let inside = namespaces.iter().any(|n| n.is_empty() || pod.split('/').next() == Some(n));
            pods.push(if inside { pod } else { NOWHERE.to_owned() });
        } else {
            pods.extend(namespaces.iter().map(|namespace| format!("{namespace}/{pod}")));
        }
    }
}

/// A pod that cannot exist: no Kubernetes name has a colon.
const NOWHERE: &str = ":/:";

fn named<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|value| name(*value).eq_ignore_ascii_case(text))
}

fn identity(text: &str) -> Option<u32> {
    let bare = text.strip_prefix("reserved:").unwrap_or(text);
    text.parse().ok().or_else(|| (0..=10).find(|n| Identity(*n).reserved_name() == Some(bare)))
}

/// A name of Hubble's or of ours, in any case.
fn drop_reason(text: &str) -> Option<String> {
    let name = text.to_ascii_uppercase();
    is_reason_name(&name).then_some(name)
}

/// `name`, `kind/name` or `kind/`.
fn workload(text: &str) -> WorkloadRef {
    let (kind, name) = text.split_once('/').unwrap_or(("", text));
    WorkloadRef { name: name.to_owned(), kind: kind.to_owned() }
}

/// An API's name as Hubble writes it, or its number.
fn kafka_api(text: &str) -> Option<String> {
    let name = text.to_ascii_lowercase();
    match text.parse() {
        Ok(number) => Some(summary::kafka_api(number).into_owned()),
        Err(_) => summary::is_kafka_api(&name).then_some(name),
    }
}

/// `name:value`.
fn header(text: &str) -> Option<HeaderFilter> {
    let (key, value) = text.split_once(':')?;
    let (key, value) = (key.trim(), value.trim());
    (!key.is_empty()).then(|| HeaderFilter { key: key.to_owned(), value: value.to_owned() })
}

fn tcp_flags(text: &str) -> Option<TcpFlagSet> {
    let mut set = TcpFlagSet::default();
    for flag in text.split(',') {
        match flag.trim().to_ascii_uppercase().as_str() {
            "FIN" => set.fin = true,
            "SYN" => set.syn = true,
            "RST" => set.rst = true,
            "PSH" => set.psh = true,
            "ACK" => set.ack = true,
            "URG" => set.urg = true,
            "ECE" => set.ece = true,
            "CWR" => set.cwr = true,
            "NS" => set.ns = true,
            _ => return None,
        }
    }
    Some(set)
}

/// The value of `--type`: `TYPE[:SUBTYPE]`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TypeArgument(pub EventTypeFilter);

impl std::str::FromStr for TypeArgument {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let bad = || FilterError::value("type", text);
        let (name, sub) = text.split_once(':').map_or((text, None), |(name, sub)| (name, Some(sub)));
        let kind = match name {
            "drop" => message_type::DROP,
            "capture" => 3,
            "trace" => message_type::TRACE,
            "policy-verdict" => message_type::POLICY_VERDICT,
            "trace-sock" => 7,
            "l7" => message_type::L7,
            "close" => message_type::CLOSE,
            number => number.parse().map_err(|_| bad())?,
        };
        let sub_type = match sub {
            None => None,
            Some(sub) if kind == message_type::TRACE => {
                let point = sub.to_ascii_uppercase().replace('-', "_");
                let known = named(TracePoint::ALL, |p| p.name(), &point).map(TracePoint::sub_type);
                Some(known.or_else(|| sub.parse().ok()).ok_or_else(bad)?)
            }
            Some(sub) => Some(sub.parse().map_err(|_| bad())?),
        };
        let filter =
            EventTypeFilter { kind, match_sub_type: sub_type.is_some(), sub_type: sub_type.unwrap_or(0) };
        Ok(Self(filter))
    }
}
