//! One filter, parsed, against one record.

use super::message::{self, MessageFilter, NamePattern};
use super::{FilterError, FlowFilter, MAX_ENTRIES};
use crate::record::{Endpoint, L4, Record};
use ipnet::IpNet;
use std::net::IpAddr;

/// A filter ready to run.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    raw: FlowFilter,
    source: Peer,
    destination: Peer,
    message: MessageFilter,
}

/// What is asked of one end.
#[derive(Clone, Debug)]
struct Peer {
    nets: Vec<IpNet>,
    /// Namespace (empty: any) and prefix of the name.
    pods: Vec<(String, String)>,
    labels: Vec<Selector>,
    ports: Vec<u16>,
    identities: Vec<u32>,
    names: Vec<NamePattern>,
}

impl Compiled {
    pub(super) fn new(f: &FlowFilter) -> Result<Self, FilterError> {
        let lengths = [
            f.uuid.len(),
            f.verdict.len(),
            f.drop_reason_desc.len(),
            f.event_type.len(),
            f.protocol.len(),
            f.tcp_flags.len(),
            f.node_name.len(),
        ];
        if lengths.iter().any(|n| *n > MAX_ENTRIES) {
            return Err(FilterError::TooMany);
        }
        Ok(Self {
            source: Peer::new(
                [&f.source_ip, &f.source_pod, &f.source_label, &f.source_port, &f.source_fqdn],
                &f.source_identity,
            )?,
            destination: Peer::new(
                [
                    &f.destination_ip,
                    &f.destination_pod,
                    &f.destination_label,
                    &f.destination_port,
                    &f.destination_fqdn,
                ],
                &f.destination_identity,
            )?,
            message: MessageFilter::new(f)?,
            raw: f.clone(),
        })
    }

    pub(super) fn matches(&self, r: &Record) -> bool {
        let f = &self.raw;
        let address = |source: bool| {
            let ip = r.ip.as_ref()?;
            (if source { &ip.source } else { &ip.destination }).parse::<IpAddr>().ok()
        };
        let ports = r.l4.as_ref().and_then(L4::ports);
        any(&f.verdict, |v| *v == r.verdict)
            && any(&f.drop_reason_desc, |d| *d == r.drop_reason_desc)
            && any(&f.event_type, |t| {
                r.event_type
                    .is_some_and(|e| e.kind == t.kind && (!t.match_sub_type || e.sub_type == t.sub_type))
            })
            && any(&f.protocol, |p| protocol_matches(p, r.l4.as_ref()) || message::is_protocol(r, p))
            && any(&f.traffic_direction, |d| *d == r.traffic_direction)
            && any(&f.reply, |reply| r.is_reply == Some(*reply))
            && any(&f.ip_version, |v| r.ip.as_ref().is_some_and(|ip| ip.version == *v))
            && any(&f.uuid, |uuid| *uuid == r.uuid)
            && any(&f.node_name, |node| *node == r.node_name)
            && any(&f.tcp_flags, |wanted| match &r.l4 {
                Some(L4::Tcp(tcp)) => tcp.flags.unwrap_or_default().contains(*wanted),
                _ => false,
            })
            && self.message.matches(r)
            && self.source.names_match(&r.source_names)
            && self.destination.names_match(&r.destination_names)
            && self.source.matches(r.source.as_ref(), ports.map(|p| p.0), || address(true))
            && self.destination.matches(r.destination.as_ref(), ports.map(|p| p.1), || address(false))
    }
}

/// An empty list asks nothing; otherwise one value must do.
pub(super) fn any<T>(values: &[T], test: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(test)
}

fn protocol_matches(wanted: &str, l4: Option<&L4>) -> bool {
    let wanted = wanted.to_ascii_lowercase();
    match l4 {
        Some(L4::Icmpv4(_)) => wanted == "icmp" || wanted == "icmpv4",
        Some(L4::Icmpv6(_)) => wanted == "icmp" || wanted == "icmpv6",
        Some(l4) => l4.name().eq_ignore_ascii_case(&wanted),
        None => false,
    }
}

impl Peer {
    fn new(texts: [&[String]; 5], identities: &[u32]) -> Result<Self, FilterError> {
        if identities.len() > MAX_ENTRIES || texts.iter().any(|list| list.len() > MAX_ENTRIES) {
            return Err(FilterError::TooMany);
        }
        let [ips, pods, labels, ports, names] = texts;
        Ok(Self {
            nets: ips.iter().map(|text| net(text)).collect::<Result<_, _>>()?,
            pods: pods.iter().map(|text| pod(text)).collect(),
            labels: labels.iter().map(|text| Selector::parse(text)).collect::<Result<_, _>>()?,
            ports: ports
                .iter()
                .map(|text| text.parse().map_err(|_| FilterError::value("port", text)))
                .collect::<Result<_, _>>()?,
            identities: identities.to_vec(),
            names: names.iter().map(|text| NamePattern::new(text)).collect::<Result<_, _>>()?,
        })
    }

    fn names_match(&self, names: &[String]) -> bool {
        any(&self.names, |pattern| names.iter().any(|name| pattern.matches(name)))
    }

    fn matches(
        &self,
        end: Option<&Endpoint>,
        port: Option<u16>,
        address: impl FnOnce() -> Option<IpAddr>,
    ) -> bool {
        any(&self.ports, |wanted| port == Some(*wanted))
            && any(&self.identities, |id| end.map_or(0, |e| e.identity) == *id)
            && any(&self.pods, |(namespace, prefix)| {
                end.is_some_and(|e| {
                    !e.pod_name.is_empty()
                        && (namespace.is_empty() || *namespace == e.namespace)
                        && e.pod_name.starts_with(prefix.as_str())
                })
            })
            && any(&self.labels, |selector| end.is_some_and(|e| selector.matches(&e.labels)))
            && (self.nets.is_empty()
                || address().is_some_and(|addr| self.nets.iter().any(|net| net.contains(&addr))))
    }
}

fn net(text: &str) -> Result<IpNet, FilterError> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| FilterError::value("ip", text))
}

fn pod(text: &str) -> (String, String) {
    match text.split_once('/') {
        Some((namespace, prefix)) => (namespace.to_owned(), prefix.to_owned()),
        None => ("default".to_owned(), text.to_owned()),
    }
}

/// A label selector: requirements joined by commas, all of which must hold.
#[derive(Clone, Debug)]
struct Selector(Vec<Requirement>);

#[derive(Clone, Debug)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

impl Selector {
    fn parse(text: &str) -> Result<Self, FilterError> {
        let mut depth = 0_u32;
        let parts = text.split(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        });
        let error = || FilterError::value("label", text);
        parts
            .map(|part| Requirement::parse(part.trim()).ok_or_else(error))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn matches(&self, labels: &[String]) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn parse(text: &str) -> Option<Self> {
        let key = |text: &str| {
            let key = text.trim();
            (!key.is_empty() && !key.contains([' ', '(', ')', '!', '='])).then(|| key.to_owned())
        };
        let values = |list: &str| -> Option<Vec<String>> {
            let inner = list.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(inner.split(',').map(|v| v.trim().to_owned()).collect())
        };
        if let Some((left, right)) = text.split_once("!=") {
            return Some(Self::NotIn(key(left)?, vec![right.trim().to_owned()]));
        }
        if let Some((left, right)) = text.split_once('=') {
            let right = right.strip_prefix('=').unwrap_or(right).trim();
            return Some(Self::In(key(left)?, vec![right.to_owned()]));
        }
        if let Some((left, right)) = text.split_once(" notin ") {
            return Some(Self::NotIn(key(left)?, values(right)?));
        }
        if let Some((left, right)) = text.split_once(" in ") {
            return Some(Self::In(key(left)?, values(right)?));
        }
        match text.strip_prefix('!') {
            Some(absent) => Some(Self::Absent(key(absent)?)),
            None => Some(Self::Exists(key(text)?)),
        }
    }

    fn holds(&self, labels: &[String]) -> bool {
        let value = |key: &str| labels.iter().find_map(|label| label_value(label, key));
        match self {
            Self::Exists(key) => value(key).is_some(),
            Self::Absent(key) => value(key).is_none(),
            Self::In(key, wanted) => value(key).is_some_and(|v| wanted.iter().any(|w| w == v)),
            Self::NotIn(key, wanted) => value(key).is_none_or(|v| wanted.iter().all(|w| w != v)),
        }
    }
}

/// The value of `label` if its key is `key`; a key without a source (`k8s:`, `reserved:`) means any source.
fn label_value<'a>(label: &'a str, key: &str) -> Option<&'a str> {
    let (name, value) = label.split_once('=').unwrap_or((label, ""));
    let bare = name.split_once(':').map_or(name, |(_, bare)| bare);
    let wanted = key.strip_prefix("any:").unwrap_or(key);
    (name == wanted || bare == wanted).then_some(value)
}
