//! Why a flow got its verdict, from its record alone; what the node adds stands beside it.

use crate::names::Name;
use crate::node::SideExplanation;
use crate::row;
use flowlog::record::{DefaultDeny, L4, PolicyRef, Rule, TrafficDirection, Verdict};
use flowlog::{Record, drop_text};
use serde::{Deserialize, Serialize};

/// The answer of `/api/explain`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Explanation {
    /// Names the record that this is about.
    pub uuid: String,
    /// When it happened.
    pub time: String,
    /// Hubble's name of the verdict.
    pub verdict: String,
    /// Who, whom, what.
    pub from: String,
    pub to: String,
    pub what: String,
    /// What happened, in a sentence.
    pub headline: String,
    /// Which end decided: `source`, `destination`, or nothing.
    pub side: String,
    /// The drop reason by its name and in words.
    pub reason: String,
    pub reason_text: String,
    /// What rule is missing.
    pub hint: String,
    /// The policies that switched default deny on.
    pub default_deny: Option<DefaultDeny>,
    /// The rules that allowed or denied it.
    pub rules: Vec<Rule>,
    /// Policies that allowed it, as Hubble names them.
    pub allowed_by: Vec<PolicyRef>,
    /// Both sides, rule by rule, from the node; and why there is nothing.
    pub sides: Vec<SideExplanation>,
    pub sides_error: String,
}

impl Explanation {
    pub(crate) fn of(record: &Record) -> Self {
        let (source, destination) = row::ends(record);
        let (from, to) = (end(record, true, &source), end(record, false, &destination));
        let extra = record.extensions.clone().unwrap_or_default();
        let what = what(record);
        let side = match record.traffic_direction {
            TrafficDirection::Ingress => "destination",
            TrafficDirection::Egress => "source",
            TrafficDirection::Unknown => "",
        };
        let reason_text = match record.drop_reason {
            0 => String::new(),
            number => drop_text(number).into_owned(),
        };
        Self {
            headline: headline(record, (&from, &to, &what), extra.default_deny.is_some()),
            uuid: record.uuid.clone(),
            time: record.time.map_or_else(String::new, |time| format!("{:.3}", time.0)),
            verdict: record.verdict.name().to_owned(),
            from,
            to,
            what,
            side: side.to_owned(),
            reason: record.drop_reason_desc.clone(),
            reason_text,
            hint: extra.hint.unwrap_or_default(),
            default_deny: extra.default_deny,
            rules: extra.rules,
            allowed_by: record.egress_allowed_by.iter().chain(&record.ingress_allowed_by).cloned().collect(),
            ..Self::default()
        }
    }
}

fn headline(record: &Record, (from, to, what): (&str, &str, &str), default_deny: bool) -> String {
    let (owner, way) = match record.traffic_direction {
        TrafficDirection::Egress => (from, "egress"),
        TrafficDirection::Ingress => (to, "ingress"),
        TrafficDirection::Unknown => ("", ""),
    };
    let by_policy = !owner.is_empty() && (default_deny || record.drop_reason_desc.starts_with("POLICY_DEN"));
    match record.verdict {
        Verdict::Dropped if by_policy && default_deny => {
            format!("Denied by the {way} side of {owner}: none of its rules allows {what}.")
        }
        Verdict::Dropped if by_policy => format!("Denied by a deny rule on the {way} side of {owner}."),
        Verdict::Dropped => format!("Dropped: {}.", drop_text(record.drop_reason)),
        Verdict::Audit => {
            format!("Let pass by audit mode. Enforced, the {way} side of {owner} denies {what}.")
        }
        Verdict::Redirected => "Allowed; its messages are inspected.".into(),
        Verdict::Forwarded => "Allowed.".into(),
        Verdict::Error => format!("Failed: {}.", record.summary),
        _ => "Only observed; nobody decided about it.".into(),
    }
}

fn end(record: &Record, source: bool, name: &Name) -> String {
    let end = if source { record.source.as_ref() } else { record.destination.as_ref() };
    match end {
        Some(end) if !end.pod_name.is_empty() => format!("{}/{}", end.namespace, end.pod_name),
        _ => {
            let ip = record.ip.as_ref().map_or("", |ip| if source { &ip.source } else { &ip.destination });
            if ip.is_empty() { name.name.clone() } else { format!("{} ({ip})", name.name) }
        }
    }
}

/// Protocol, port, and the message if there is one.
fn what(record: &Record) -> String {
    let port = match &record.l4 {
        Some(L4::Icmpv4(icmp)) => format!("ICMPv4 type {}", icmp.kind),
        Some(L4::Icmpv6(icmp)) => format!("ICMPv6 type {}", icmp.kind),
        Some(l4) => {
            let (source, destination) = l4.ports().unwrap_or_default();
            let port = if record.is_reply == Some(true) { source } else { destination };
            format!("{port}/{}", l4.name())
        }
        None => "IP".into(),
    };
    if record.l7.is_some() { format!("{port}, {}", record.summary) } else { port }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::tests::{Flow, denied};

    #[test]
    fn a_default_deny_names_the_side_and_the_switch() {
        let record = denied("frontend", "postgres-db", 5432);
        let told = Explanation::of(&record);
        assert_eq!(
            told.headline,
            "Denied by the egress side of production/frontend: none of its rules allows 5432/TCP."
        );
        assert_eq!(
            (told.side.as_str(), told.reason.as_str(), told.reason_text.as_str()),
            ("source", "POLICY_DENIED", "Policy denied")
        );
        let deny = told.default_deny.expect("a default deny");
        assert_eq!(deny.switched_on_by[0].file, "policies/default-deny-all.yaml");
        assert_eq!(deny.switched_on_by[0].line, 9);
        assert!(told.hint.contains("no egress rule"), "{}", told.hint);
    }

    #[test]
    fn what_was_not_denied_is_told_too() {
        let told = |verdict| Explanation::of(&Flow { verdict, ..Flow::default() }.record()).headline;
        assert_eq!(told(Verdict::Forwarded), "Allowed.");
        assert_eq!(told(Verdict::Redirected), "Allowed; its messages are inspected.");
        assert_eq!(told(Verdict::Traced), "Only observed; nobody decided about it.");
        let mut record = Flow { verdict: Verdict::Dropped, ..Flow::default() }.record();
        record.drop_reason = 134;
        assert_eq!(Explanation::of(&record).headline, "Dropped: Invalid packet.");
    }
}
