//! What one rule element asks of messages, as text, and how a message fits.

use crate::compile::rules::{MessageRules, message_rules};
use crate::conformance::{Flow, decide};
use crate::l7::{FragmentRules, L7Fragment, L7Kind, L7RuleSet};
use crate::provenance::RuleId;
use crate::rule::{Entry, HttpRule, KafkaRule, Mismatch, Sni};
use std::sync::Arc;

/// How a message fits the conditions of one rule element.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum MessageFit {
    /// It meets one of them.
    Fits,
    /// Only after header fields were changed, which is not done here.
    FitsRewritten,
    /// It meets none.
    DoesNotFit,
    /// They are not asked: rules for this other protocol govern the connection.
    NotAsked(L7Kind),
}

/// How the flow's message fits the conditions of `entry`; none without either.
pub(super) fn fit(entry: &Entry, flow: &Flow, governing: Option<L7Kind>) -> Option<MessageFit> {
    let MessageRules::Of(kind, rules) = message_rules(entry) else { return None };
    if let Some(other) = governing.filter(|governing| *governing != kind) {
        return Some(MessageFit::NotAsked(other));
    }
    let fragment = Arc::new(L7Fragment { rule: RuleId::NONE, rules });
    let set = match entry.deny {
        true => L7RuleSet::new(kind, true, Vec::new(), vec![fragment], false, RuleId::NONE),
        false => L7RuleSet::new(kind, false, vec![fragment], Vec::new(), false, RuleId::NONE),
    };
    let answer = decide(&set, flow)?;
    // A deny element fits what it denies; a message of another protocol fits nothing.
    let speaks = flow.message_kind() == Some(kind) || answer.decision.allowed;
    Some(match (answer.decision.allowed != entry.deny, answer.needs_rewriting) {
        (true, true) => MessageFit::FitsRewritten,
        (true, false) if speaks => MessageFit::Fits,
        _ => MessageFit::DoesNotFit,
    })
}

/// The conditions, as they would be written in one line.
pub(super) fn text(entry: &Entry) -> Option<String> {
    let rules = match message_rules(entry) {
        MessageRules::None => return None,
        MessageRules::OutOfSight => return Some("server names together with application rules".to_owned()),
        MessageRules::Of(kind, rules) => match rules {
            FragmentRules::Http(list) => format!("{kind} {}", list_text(&list, http)),
            FragmentRules::Dns(list) => format!("{kind} {}", list_text(&list, ToString::to_string)),
            FragmentRules::Kafka(list) => format!("{kind} {}", list_text(&list, kafka)),
            FragmentRules::Tls(list) => format!("{kind} {}", list_text(&list, sni)),
        },
    };
    Some(rules)
}

/// Most conditions that are written out.
const SHOWN: usize = 4;

fn list_text<T>(list: &[T], one: impl Fn(&T) -> String) -> String {
    let mut texts: Vec<String> = list.iter().take(SHOWN).map(one).collect();
    if list.len() > SHOWN {
        texts.push(format!("and {} more", list.len() - SHOWN));
    }
    texts.join(" | ")
}

fn http(rule: &HttpRule) -> String {
    let mut parts = Vec::new();
    for (name, value) in [("method", &rule.method), ("host", &rule.host), ("path", &rule.path)] {
        parts.extend(value.as_ref().map(|value| format!("{name} {value}")));
    }
    for header in &rule.headers {
        let action = match header.mismatch {
            Mismatch::Fail => "",
            Mismatch::Log => " (LOG)",
            Mismatch::Add => " (ADD)",
            Mismatch::Delete => " (DELETE)",
            Mismatch::Replace => " (REPLACE)",
        };
        let value = header.value.as_ref().map(|value| format!(": {value}")).unwrap_or_default();
        parts.push(format!("header {}{value}{action}", header.name));
    }
    if parts.is_empty() { "any request".to_owned() } else { parts.join(", ") }
}

fn kafka(rule: &KafkaRule) -> String {
    let mut parts = Vec::new();
    if !rule.api_keys.is_empty() {
        let keys: Vec<String> = rule.api_keys.iter().map(ToString::to_string).collect();
        parts.push(format!("API key {}", keys.join(",")));
    }
    parts.extend(rule.api_version.map(|version| format!("version {version}")));
    parts.extend(rule.client_id.as_ref().map(|id| format!("client {id}")));
    parts.extend(rule.topic.as_ref().map(|topic| format!("topic {topic}")));
    if parts.is_empty() { "any request".to_owned() } else { parts.join(", ") }
}

fn sni(name: &Sni) -> String {
    match name {
        Sni::Exact(name) => name.to_string(),
        Sni::OneLabel(suffix) => format!("*.{suffix}"),
        Sni::AnyLabels(suffix) => format!("**.{suffix}"),
    }
}
