//! A suggested policy: what it says, as YAML with its evidence as comments, or as JSON.

use crate::http;
use crate::kafka;
use crate::names::Name;
use crate::select::{Selector, Workload};
use ipnet::IpNet;
use policy::Direction;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::fmt::Write as _;

/// A CiliumNetworkPolicy for one workload.
#[derive(Clone, PartialEq, Debug)]
pub struct Document {
    /// `metadata.name`, distinct in its namespace.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    pub(crate) subject: Workload,
    pub(crate) audit: bool,
    pub(crate) ingress: Side,
    pub(crate) egress: Side,
    pub(crate) comments: Vec<String>,
}

/// One direction of a policy.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) enum Side {
    /// Nothing is said.
    #[default]
    Open,
    /// Nothing is allowed.
    Closed,
    /// This is allowed, and nothing else.
    Only(Vec<Element>),
    /// This is allowed as well, and default deny is not switched on.
    Also(Vec<Element>),
}

/// One element of `ingress` or `egress`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Element {
    pub(crate) direction: Direction,
    pub(crate) peers: Peers,
    pub(crate) ports: Vec<PortRules>,
    pub(crate) icmp: Vec<(&'static str, u8)>,
    pub(crate) comments: Vec<String>,
}

/// The other side.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Peers {
    Endpoints(Vec<Selector>),
    Entities(Vec<&'static str>),
    Cidr(Vec<IpNet>),
    Names(Vec<Name>),
}

/// One element of `toPorts`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PortRules {
    pub(crate) ports: Vec<Port>,
    pub(crate) rules: Rules,
}

/// Protocol and port, or a range of them.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Port {
    pub(crate) protocol: &'static str,
    pub(crate) first: u16,
    pub(crate) last: u16,
}

/// Conditions on messages.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Rules {
    None,
    Http(Vec<http::Rule>),
    Kafka(Vec<kafka::Rule>),
    Dns(Vec<Name>),
    Tls(Vec<Name>),
}

impl Document {
    /// The document as YAML, with the evidence as comments.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        comments(&mut text, 0, &self.comments);
        text.push_str(&yaml(&Head::new(self)));
        text.push_str("spec:\n");
        indented(&mut text, 2, &yaml(&One("endpointSelector", &self.subject.subject())));
        if let Some(switch) = self.default_deny() {
            indented(&mut text, 2, &yaml(&One("enableDefaultDeny", &switch)));
        }
        for (key, side) in [("ingress", &self.ingress), ("egress", &self.egress)] {
            match side {
                Side::Open => {}
                Side::Closed => {
                    let _ = writeln!(text, "  # Nothing was seen.\n  {key}:\n  - {{}}");
                }
                Side::Only(elements) | Side::Also(elements) => {
                    let _ = writeln!(text, "  {key}:");
                    for element in elements {
                        comments(&mut text, 2, &element.comments);
                        indented(&mut text, 2, &yaml(&[element]));
                    }
                }
            }
        }
        text
    }

    /// Whether it only adds to what is in force: no direction of it switches on default deny.
    #[must_use]
    pub fn adds_only(&self) -> bool {
        [&self.ingress, &self.egress].iter().all(|side| matches!(side, Side::Open | Side::Also(_)))
    }

    fn default_deny(&self) -> Option<DefaultDeny> {
        let off = |side: &Side| matches!(side, Side::Also(_)).then_some(false);
        let switch = DefaultDeny { ingress: off(&self.ingress), egress: off(&self.egress) };
        (switch.ingress.is_some() || switch.egress.is_some()).then_some(switch)
    }
}

/// A value as YAML. Plain data of our own cannot fail to be written.
fn yaml(value: &impl Serialize) -> String {
    serde_yaml::to_string(value).unwrap_or_default()
}

fn indented(text: &mut String, by: usize, lines: &str) {
    for line in lines.lines() {
        let _ = writeln!(text, "{:by$}{line}", "");
    }
}

fn comments(text: &mut String, by: usize, lines: &[String]) {
    for line in lines {
        let _ = writeln!(text, "{:by$}# {}", "", clean(line));
    }
}

/// Text from the network must not end a comment, or reach a terminal as a command.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' || c == '…' { c } else { '?' }).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<One<'static, str>>,
}

#[derive(Serialize)]
struct DefaultDeny {
    #[serde(skip_serializing_if = "Option::is_none")]
    ingress: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress: Option<bool>,
}

impl<'a> Head<'a> {
    fn new(document: &'a Document) -> Self {
        Self {
            api_version: "cilium.io/v2",
            kind: "CiliumNetworkPolicy",
            metadata: Metadata {
                name: &document.name,
                namespace: &document.namespace,
                annotations: document.audit.then_some(One("sluice.io/audit", "true")),
            },
        }
    }
}

/// A mapping of one entry.
struct One<'a, T: ?Sized>(&'static str, &'a T);

impl<T: Serialize + ?Sized> Serialize for One<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, self.1)?;
        map.end()
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Spec<'a> {
            endpoint_selector: Selector,
            #[serde(skip_serializing_if = "Option::is_none")]
            enable_default_deny: Option<DefaultDeny>,
            #[serde(skip_serializing_if = "Side::is_open")]
            ingress: &'a Side,
            #[serde(skip_serializing_if = "Side::is_open")]
            egress: &'a Side,
        }
        let head = Head::new(self);
        let spec = Spec {
            endpoint_selector: self.subject.subject(),
            enable_default_deny: self.default_deny(),
            ingress: &self.ingress,
            egress: &self.egress,
        };
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("apiVersion", head.api_version)?;
        map.serialize_entry("kind", head.kind)?;
        map.serialize_entry("metadata", &head.metadata)?;
        map.serialize_entry("spec", &spec)?;
        map.end()
    }
}

impl Side {
    fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

impl Serialize for Side {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Open => serializer.serialize_none(),
            Self::Closed => [serde_json::Map::new()].serialize(serializer),
            Self::Only(elements) | Self::Also(elements) => elements.serialize(serializer),
        }
    }
}

impl Serialize for Element {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields {
            fields: Vec<Field>,
        }
        #[derive(Serialize)]
        struct Field {
            family: &'static str,
            #[serde(rename = "type")]
            kind: u8,
        }
        let key = |from: &'static str, to: &'static str| match self.direction {
            Direction::Ingress => from,
            Direction::Egress => to,
        };
        let mut map = serializer.serialize_map(None)?;
        match &self.peers {
            Peers::Endpoints(list) => map.serialize_entry(key("fromEndpoints", "toEndpoints"), list)?,
            Peers::Entities(list) => map.serialize_entry(key("fromEntities", "toEntities"), list)?,
            Peers::Cidr(list) => map.serialize_entry(key("fromCIDR", "toCIDR"), list)?,
            Peers::Names(list) => map.serialize_entry("toFQDNs", list)?,
        }
        if !self.icmp.is_empty() {
            let fields = self.icmp.iter().map(|(family, kind)| Field { family, kind: *kind }).collect();
            map.serialize_entry("icmps", &[Fields { fields }])?;
        }
        if !self.ports.is_empty() {
            map.serialize_entry("toPorts", &self.ports)?;
        }
        map.end()
    }
}

impl Serialize for PortRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Request<'a> {
            method: &'a str,
            path: &'a str,
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ports", &self.ports)?;
        match &self.rules {
            Rules::None => {}
            Rules::Http(list) => {
                let list: Vec<Request<'_>> =
                    list.iter().map(|rule| Request { method: &rule.method, path: &rule.path }).collect();
                map.serialize_entry("rules", &One("http", &list))?;
            }
            Rules::Kafka(list) => map.serialize_entry("rules", &One("kafka", list))?,
            Rules::Dns(list) => map.serialize_entry("rules", &One("dns", list))?,
            Rules::Tls(list) => {
                let text = |name: &Name| match name {
                    Name::Exact(text) | Name::Pattern(text) => text.clone(),
                };
                map.serialize_entry("serverNames", &list.iter().map(text).collect::<Vec<_>>())?;
            }
        }
        map.end()
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("port", &self.first.to_string())?;
        if self.last > self.first {
            map.serialize_entry("endPort", &self.last)?;
        }
        map.serialize_entry("protocol", self.protocol)?;
        map.end()
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exact(name) => One("matchName", name).serialize(serializer),
            Self::Pattern(pattern) => One("matchPattern", pattern).serialize(serializer),
        }
    }
}
