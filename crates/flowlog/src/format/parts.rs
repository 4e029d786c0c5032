//! The pieces that the layouts share.

use super::Options;
use crate::record::{
    Endpoint, L4, L7Type, Layer7, PolicyMatch, Record, Rule, TracePoint, Verdict, message_type,
};
use crate::summary::drop_text;
use policy::Identity;

/// Control characters in names from outside must not reach a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

pub(super) fn time(r: &Record, o: &Options) -> String {
    let Some(time) = r.time else { return "N/A".to_owned() };
    let zoned = time.0.to_zoned(o.zone.clone());
    // A format that cannot be printed (a bad directive) must not end the program.
    jiff::fmt::strtime::format(&o.time_format, &zoned).unwrap_or_else(|_| time.0.to_string())
}

/// Source or destination as people know it.
pub(super) fn peer(r: &Record, source: bool, o: &Options) -> String {
    let Some(ip) = &r.ip else { return String::new() };
    let (address, end, names) = if source {
        (&ip.source, r.source.as_ref(), &r.source_names)
    } else {
        (&ip.destination, r.destination.as_ref(), &r.destination_names)
    };
    let port = r.l4.as_ref().and_then(L4::ports).map(|p| if source { p.0 } else { p.1 });
    let host = match end {
        _ if o.numeric => address.clone(),
        Some(Endpoint { pod_name, namespace, .. }) if !pod_name.is_empty() => {
            format!("{namespace}/{pod_name}")
        }
        _ if !names.is_empty() => names.join(","),
        _ => address.clone(),
    };
    let host = clean(&host);
    match port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

pub(super) fn identity(end: Option<&Endpoint>, o: &Options) -> String {
    let number = end.map_or(0, |e| e.identity);
    match Identity(number).reserved_name() {
        Some(name) if !o.numeric => format!("({name})"),
        _ => format!("(ID:{number})"),
    }
}

pub(super) fn kind(r: &Record) -> String {
    let sub = r.event_type.map_or(0, |t| t.sub_type);
    match r.event_kind() {
        message_type::TRACE => TracePoint::from_sub_type(sub)
            .map_or_else(|| sub.to_string(), |p| p.name().to_ascii_lowercase().replace('_', "-")),
        message_type::DROP => drop_text(u32::try_from(sub).unwrap_or(0)).into_owned(),
        message_type::POLICY_VERDICT => {
            format!("policy-verdict:{} {}", policy_match(r.policy_match_type), r.traffic_direction.name())
        }
        message_type::L7 => clean(&message(r)),
        message_type::CLOSE => {
            let reason =
                r.extensions.as_ref().and_then(|e| e.close.as_ref()).map_or("", |c| c.reason.as_str());
            format!("closed:{}", clean(reason))
        }
        _ => "UNKNOWN".to_owned(),
    }
}

/// Protocol and way of a message.
fn message(r: &Record) -> String {
    let l7 = r.l7.as_ref();
    let way = l7.map_or("unknown", |l7| match l7.kind {
        L7Type::Request => "request",
        L7Type::Response => "response",
        L7Type::Sample => "sample",
        L7Type::Unknown => "unknown",
    });
    let extra = r.extensions.as_ref();
    match l7 {
        Some(Layer7 { http: Some(_), .. }) => format!("http-{way}"),
        Some(Layer7 { dns: Some(dns), .. }) => format!("dns-{way} {}", dns.observation_source),
        Some(Layer7 { kafka: Some(_), .. }) => format!("kafka-{way}"),
        _ if extra.is_some_and(|e| e.tls.is_some()) => "tls-hello".to_owned(),
        _ if extra.is_some_and(|e| !e.anomaly.is_empty()) => "anomaly".to_owned(),
        _ => format!("l7-{way}"),
    }
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

pub(super) fn verdict(r: &Record, o: &Options) -> String {
    let judged = r.event_kind() == message_type::POLICY_VERDICT;
    let (text, color) = match r.verdict {
        Verdict::Forwarded | Verdict::Redirected if judged => ("ALLOWED", "32"),
        Verdict::Dropped | Verdict::Error if judged => ("DENIED", "31"),
        Verdict::Audit if judged => ("AUDITED", "33"),
        v => match v {
            Verdict::Forwarded | Verdict::Redirected => (v.name(), "32"),
            Verdict::Dropped | Verdict::Error => (v.name(), "31"),
            Verdict::Audit | Verdict::Traced | Verdict::Translated => (v.name(), "33"),
            Verdict::Unknown => (v.name(), "0"),
        },
    };
    paint(text, color, o)
}

pub(super) fn paint(text: &str, color: &str, o: &Options) -> String {
    if o.color { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
}

pub(super) fn summary(r: &Record) -> String {
    clean(&r.summary)
}

/// Which rule decided: always for what was refused, for the rest when asked.
pub(super) fn rule(r: &Record, o: &Options) -> Option<String> {
    let extra = r.extensions.as_ref()?;
    if !(o.policy_names || r.verdict == Verdict::Dropped) {
        return None;
    }
    if let Some(deny) = &extra.default_deny {
        let side = deny.direction.name().to_ascii_lowercase();
        return Some(match list(&deny.switched_on_by) {
            by if by.is_empty() => format!("by default deny ({side})"),
            by => format!("by default deny ({side}) of {by}"),
        });
    }
    let by = list(&extra.rules);
    (!by.is_empty()).then(|| format!("by {by}"))
}

fn list(rules: &[Rule]) -> String {
    let one = |rule: &Rule| {
        let slash = if rule.namespace.is_empty() { "" } else { "/" };
        clean(&format!("{}{slash}{} ({}:{})", rule.namespace, rule.name, rule.file, rule.line))
    };
    rules.iter().map(one).collect::<Vec<_>>().join(", ")
}
