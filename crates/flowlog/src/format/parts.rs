//! The pieces that the layouts share. Each adds its text to a line.

use super::Options;
use crate::record::{
    Endpoint, L4, L7Type, Layer7, PolicyMatch, PolicyRef, Record, Rule, TracePoint, TrafficDirection,
    Verdict, message_type,
};
use crate::summary::drop_text;
use policy::Identity;
use std::fmt::Write as _;

/// Adds a name from outside. Control characters must not reach a terminal.
pub(super) fn clean(text: &str, out: &mut String) {
    if text.chars().any(char::is_control) {
        out.extend(text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
    } else {
        out.push_str(text);
    }
}

/// Adds what `write` adds, in a colour.
pub(super) fn painted(color: &str, o: &Options, out: &mut String, write: impl FnOnce(&mut String)) {
    if o.color {
        let _ = write!(out, "\x1b[{color}m");
    }
    write(out);
    if o.color {
        out.push_str("\x1b[0m");
    }
}

/// Source or destination as people know it.
pub(super) fn peer(r: &Record, source: bool, o: &Options, out: &mut String) {
    let Some(ip) = &r.ip else {
        // What is not IP has hardware addresses only.
        if let Some(ethernet) = &r.ethernet {
            clean(if source { &ethernet.source } else { &ethernet.destination }, out);
        }
        return;
    };
    let (address, end, service, names) = if source {
        (&ip.source, r.source.as_ref(), r.source_service.as_ref(), &r.source_names)
    } else {
        (&ip.destination, r.destination.as_ref(), r.destination_service.as_ref(), &r.destination_names)
    };
    let port = r.l4.as_ref().and_then(L4::ports).map(|p| if source { p.0 } else { p.1 });
    let start = out.len();
    match (end, service) {
        _ if o.numeric || !o.ip_translation => clean(address, out),
        (Some(Endpoint { pod_name, namespace, .. }), _) if !pod_name.is_empty() => {
            clean(namespace, out);
            out.push('/');
            clean(pod_name, out);
        }
        (_, Some(service)) if !service.name.is_empty() => {
            clean(&service.namespace, out);
            out.push('/');
            clean(&service.name, out);
        }
        _ if !names.is_empty() => {
            for (at, name) in names.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                clean(name, out);
            }
        }
        _ => clean(address, out),
    }
    let Some(port) = port else { return };
    if out.get(start..).is_some_and(|host| host.contains(':')) {
        out.insert(start, '[');
        out.push(']');
    }
    let _ = write!(out, ":{port}");
}

/// Number or reserved name of an identity, in brackets.
pub(super) fn identity(end: Option<&Endpoint>, o: &Options, out: &mut String) {
    let number = end.map_or(0, |e| e.identity);
    let _ = match Identity(number).reserved_name() {
        Some(name) if !o.numeric => write!(out, "({name})"),
        _ => write!(out, "(ID:{number})"),
    };
}

/// What kind of event it is.
pub(super) fn kind(r: &Record, out: &mut String) {
    let sub = r.event_type.map_or(0, |t| t.sub_type);
    match r.event_kind() {
        message_type::TRACE => match TracePoint::from_sub_type(sub) {
            Some(point) => out.push_str(point.text()),
            None => {
                let _ = write!(out, "{sub}");
            }
        },
        message_type::DROP => out.push_str(&drop_text(u32::try_from(sub).unwrap_or(0))),
        message_type::POLICY_VERDICT => {
            let (matched, direction) = (policy_match(r.policy_match_type), r.traffic_direction.name());
            let _ = write!(out, "policy-verdict:{matched} {direction}");
        }
        message_type::L7 => message(r, out),
        message_type::CLOSE => {
            out.push_str("closed:");
            let close = r.extensions.as_ref().and_then(|e| e.close.as_ref());
            clean(close.map_or("", |c| c.reason.as_str()), out);
        }
        _ => out.push_str("UNKNOWN"),
    }
}

/// Protocol and way of a message.
fn message(r: &Record, out: &mut String) {
    let l7 = r.l7.as_ref();
    let way = l7.map_or("unknown", |l7| match l7.kind {
        L7Type::Request => "request",
        L7Type::Response => "response",
        L7Type::Sample => "sample",
        L7Type::Unknown => "unknown",
    });
    let extra = r.extensions.as_ref();
    let protocol = match l7 {
        Some(Layer7 { http: Some(_), .. }) => "http",
        Some(Layer7 { dns: Some(dns), .. }) => {
            let _ = write!(out, "dns-{way} ");
            return clean(&dns.observation_source, out);
        }
        Some(Layer7 { kafka: Some(_), .. }) => "kafka",
        _ if extra.is_some_and(|e| e.tls.is_some()) => return out.push_str("tls-hello"),
        _ if extra.is_some_and(|e| !e.anomaly.is_empty()) => return out.push_str("anomaly"),
        _ => "l7",
    };
    let _ = write!(out, "{protocol}-{way}");
}

fn policy_match(number: u32) -> &'static str {
    const ALL: [(PolicyMatch, &str); 7] = [
        (PolicyMatch::None, "none"),
        (PolicyMatch::L3Only, "L3-Only"),
        (PolicyMatch::L3L4, "L3-L4"),
        (PolicyMatch::L4Only, "L4-Only"),
        (PolicyMatch::All, "all"),
        (PolicyMatch::L3Proto, "L3-Proto"),
        (PolicyMatch::ProtoOnly, "Proto-Only"),
    ];
    ALL.iter().find(|(m, _)| *m as u32 == number).map_or("unknown", |(_, text)| text)
}

/// What became of it, in its colour.
pub(super) fn verdict(r: &Record, o: &Options, out: &mut String) {
    let color = match r.verdict {
        Verdict::Forwarded | Verdict::Redirected => "32",
        Verdict::Dropped | Verdict::Error => "31",
        Verdict::Audit | Verdict::Traced | Verdict::Translated => "33",
        Verdict::Unknown => "0",
    };
    painted(color, o, out, |out| out.push_str(verdict_text(r)));
    policy_names(r, o, out);
}

/// Likewise without a colour.
pub(super) fn plain_verdict(r: &Record, o: &Options, out: &mut String) {
    out.push_str(verdict_text(r));
    policy_names(r, o, out);
}

fn verdict_text(r: &Record) -> &'static str {
    let judged = r.event_kind() == message_type::POLICY_VERDICT;
    match r.verdict {
        Verdict::Forwarded | Verdict::Redirected if judged => "ALLOWED",
        Verdict::Dropped | Verdict::Error if judged => "DENIED",
        Verdict::Audit if judged => "AUDITED",
        verdict => verdict.name(),
    }
}

/// The policies behind a policy verdict, in Hubble's words.
fn policy_names(r: &Record, o: &Options, out: &mut String) {
    if !o.policy_names || r.event_kind() != message_type::POLICY_VERDICT {
        return;
    }
    let listed: [&[PolicyRef]; 2] = match r.traffic_direction {
        TrafficDirection::Ingress => [&r.ingress_allowed_by, &r.ingress_denied_by],
        TrafficDirection::Egress => [&r.egress_allowed_by, &r.egress_denied_by],
        TrafficDirection::Unknown => [&[], &[]],
    };
    for (at, policy) in listed.into_iter().flatten().enumerate() {
        out.push_str(if at == 0 { " BY " } else { ", " });
        clean(&policy.name, out);
        out.push_str(" (");
        clean(&policy.kind, out);
        out.push(')');
    }
}

/// Whether [`rule`] has something to say: always for what was refused, for the rest when asked.
pub(super) fn has_rule(r: &Record, o: &Options) -> bool {
    (o.policy_names || r.verdict == Verdict::Dropped)
        && r.extensions.as_ref().is_some_and(|extra| extra.default_deny.is_some() || !extra.rules.is_empty())
}

/// Which rule decided, after `lead`.
pub(super) fn rule(r: &Record, o: &Options, lead: &str, out: &mut String) {
    let Some(extra) = r.extensions.as_ref().filter(|_| has_rule(r, o)) else { return };
    out.push_str(lead);
    let Some(deny) = &extra.default_deny else {
        out.push_str("by ");
        return list(&extra.rules, out);
    };
    let side = deny.direction.name().to_ascii_lowercase();
    let _ = write!(out, "by default deny ({side})");
    if !deny.switched_on_by.is_empty() {
        out.push_str(" of ");
        list(&deny.switched_on_by, out);
    }
}

fn list(rules: &[Rule], out: &mut String) {
    for (at, rule) in rules.iter().enumerate() {
        out.push_str(if at > 0 { ", " } else { "" });
        if !rule.namespace.is_empty() {
            clean(&rule.namespace, out);
            out.push('/');
        }
        clean(&rule.name, out);
        out.push_str(" (");
        clean(&rule.file, out);
        let _ = write!(out, ":{})", rule.line);
    }
}
