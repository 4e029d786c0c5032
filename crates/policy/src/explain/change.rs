//! What would turn an answer round, as it would be written.

use super::{Considered, MessageFit};
use crate::conformance::{Flow, MessageAnswer};
use crate::direction::Direction;
use crate::l7::L7Kind;
use crate::label::{LabelSet, Source};
use crate::provenance::Provenance;
use crate::verdict::{DenyReason, Verdict};

/// What was asked.
pub(super) struct Question<'a> {
    pub(super) direction: Direction,
    pub(super) peer: &'a LabelSet,
    pub(super) proto: u8,
    pub(super) flow: &'a Flow,
    /// The protocol whose rules govern the connection.
    pub(super) kind: Option<L7Kind>,
}

impl Question<'_> {
    pub(super) fn answer(
        &self,
        verdict: Verdict,
        message: Option<MessageAnswer>,
        decided_by: &[Provenance],
        considered: &[Considered],
    ) -> String {
        let place = |p: &Provenance| format!("{} ({}:{})", p.name, p.file, p.line);
        let places: Vec<String> = decided_by.iter().map(place).collect();
        let places = places.join(", ");
        match (verdict, message) {
            (Verdict::Allow(permit), _) if permit.audited() => {
                format!("switch audit mode off: {places} would deny it")
            }
            (Verdict::Allow(_), Some(answer)) if answer.needs_rewriting => {
                let fits = considered.iter().filter(|rule| rule.message == Some(MessageFit::FitsRewritten));
                let rules: Vec<String> = fits.map(|rule| place(&rule.rule)).collect();
                format!(
                    "remove `mismatch` from {}, or send the header as it is stated there",
                    rules.join(", ")
                )
            }
            (Verdict::Allow(_), Some(answer)) if answer.decision.audited => {
                format!("switch audit mode off: {places} would deny the message")
            }
            (Verdict::Allow(_), Some(answer)) if !answer.decision.allowed => match answer.decision.reason {
                Some(DenyReason::DenyRule) => {
                    format!("take it out of {places}: no allow rule outweighs a deny")
                }
                _ => self.missing_message_rule(&places),
            },
            (Verdict::Allow(_), _) if decided_by.is_empty() => {
                let direction = self.direction;
                format!(
                    "nothing is enforced here: any policy with `{direction}` rules that selects this endpoint"
                )
            }
            (Verdict::Allow(_), _) => format!("take it out of {places}, or add a deny rule"),
            (Verdict::Deny(denial), _) => match denial.reason {
                DenyReason::NoRule => self.missing_rule(),
                DenyReason::DenyRule => format!("take it out of {places}: no allow rule outweighs a deny"),
                DenyReason::Unsupported => {
                    format!("take the condition that cannot be honoured out of {places}")
                }
                DenyReason::InvalidPolicy => format!("correct {places}"),
            },
        }
    }

    /// An item for the list of application rules that stands at one of `places`.
    fn missing_message_rule(&self, places: &str) -> String {
        match (self.kind, self.flow.message_kind()) {
            (Some(kind), Some(spoken)) if kind == spoken => {
                let list = if kind == L7Kind::Tls { "serverNames" } else { kind_list(kind) };
                format!("add to `{list}` of {places}: {}", self.message_item())
            }
            (Some(kind), _) => {
                format!(
                    "the connection is read as {kind}: take those rules out of {places}, or use another port"
                )
            }
            (None, _) => String::new(),
        }
    }

    /// The rule that is missing.
    fn missing_rule(&self) -> String {
        let (from, list) = match self.direction {
            Direction::Ingress => ("from", "ingress"),
            Direction::Egress => ("to", "egress"),
        };
        let cidr = self.peer.iter().find(|label| label.source == Source::Cidr);
        let reserved = self.peer.iter().find(|label| label.source == Source::Reserved);
        let who = match (cidr, reserved) {
            (Some(cidr), _) => format!("{from}CIDR: [\"{}\"]", cidr.key),
            (None, Some(reserved)) if reserved.key.starts_with("world") => format!("{from}Entities: [world]"),
            (None, Some(reserved)) => format!("{from}Entities: [{}]", reserved.key),
            (None, None) => {
                let own = self.peer.iter().filter(|label| !label.key.starts_with("io.cilium."));
                let own: Vec<String> = own
                    .map(|label| format!("\"{}:{}\": \"{}\"", label.source, label.key, label.value))
                    .collect();
                format!("{from}Endpoints: [{{matchLabels: {{{}}}}}]", own.join(", "))
            }
        };
        let port = self.flow.port;
        let ports = |protocol: &str| {
            let rules = self.message_rules();
            format!("toPorts: [{{ports: [{{port: \"{port}\", protocol: {protocol}}}]{rules}}}]")
        };
        let ports = match self.proto {
            6 => ports("TCP"),
            17 => ports("UDP"),
            132 => ports("SCTP"),
            1 => format!("icmps: [{{fields: [{{family: IPv4, type: {port}}}]}}]"),
            58 => format!("icmps: [{{fields: [{{family: IPv6, type: {port}}}]}}]"),
            _ => return format!("{list}: [{{{who}}}]"),
        };
        format!("{list}: [{{{who}, {ports}}}]")
    }

    /// `, rules: …` for the message, if there is one that such a rule may be about.
    fn message_rules(&self) -> String {
        match self.flow.message_kind() {
            Some(kind @ (L7Kind::Http | L7Kind::Kafka)) if self.proto == 6 => {
                format!(", rules: {{{}: [{}]}}", kind_list(kind), self.message_item())
            }
            Some(L7Kind::Dns) if self.direction == Direction::Egress && matches!(self.proto, 6 | 17) => {
                format!(", rules: {{dns: [{}]}}", self.message_item())
            }
            Some(L7Kind::Tls) if self.proto == 6 && self.names_server() => {
                format!(", serverNames: [{}]", self.message_item())
            }
            _ => String::new(),
        }
    }

    fn names_server(&self) -> bool {
        self.flow.tls.as_ref().is_some_and(|hello| hello.server_name.is_some())
    }

    /// The list item that fits the message and nothing wider.
    fn message_item(&self) -> String {
        if let Some(http) = &self.flow.http {
            return format!(
                "{{method: {}, path: {}}}",
                quoted(&escaped(&http.method)),
                quoted(&escaped(&http.path))
            );
        }
        if let Some(kafka) = &self.flow.kafka {
            let key = match kafka.api_key {
                0 => "role: produce".to_owned(),
                1 => "role: consume".to_owned(),
                other => match l7::kafka::api_name(other) {
                    Some(name) => format!("apiKey: {name}"),
                    None => return "(no rule can name this API key)".to_owned(),
                },
            };
            let topics: Vec<String> =
                kafka.topics.iter().map(|topic| format!("{{{key}, topic: {}}}", quoted(topic))).collect();
            return if topics.is_empty() { format!("{{{key}}}") } else { topics.join(", ") };
        }
        if let Some(dns) = &self.flow.dns {
            return format!("{{matchName: {}}}", quoted(dns.name.trim_end_matches('.')));
        }
        match self.flow.tls.as_ref().and_then(|hello| hello.server_name.as_deref()) {
            Some(name) => quoted(name),
            None => "(nothing fits a hello without a server name)".to_owned(),
        }
    }
}

fn kind_list(kind: L7Kind) -> &'static str {
    match kind {
        L7Kind::Http => "http",
        L7Kind::Kafka => "kafka",
        L7Kind::Tls => "serverNames",
        L7Kind::Dns => "dns",
    }
}

/// A text as an expression for itself.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A YAML scalar in double quotes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
