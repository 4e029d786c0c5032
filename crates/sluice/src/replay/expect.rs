//! What a replay was expected to decide, and where it decided otherwise.
//!
//! Compared are decisions, not packets: a decision is who spoke to whom, on which port, about what, and the verdict.
//! The same decision twice is one, because copies and retransmissions change counts and nothing else.
//!
//! * **JSON lines** of an earlier flow log say everything: each of their decisions must be taken again, and no other.
//!   Only verdicts, drops by policy, first packets and requests count; closes and later packets do not decide anything.
//! * **A YAML list** says something: each entry must match a decision, and every decision it matches must have its
//!   verdict. What no entry is about is not looked at.

use anyhow::{Context as _, Result, bail};
use flowlog::Record;
use flowlog::api::ResponseLine;
use flowlog::record::{Endpoint, L7Type, TraceReasonName, TrafficDirection, Verdict, message_type};
use policy::Identity;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// Largest file of expectations that is read.
const MAX_FILE: u64 = 256 << 20;

/// Most different decisions of one replay: far more than a node takes in hours.
const MAX_DECISIONS: usize = 1 << 20;

/// What a decision is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum What {
    /// A connection.
    Connection,
    /// A packet that policy had no part in.
    Packet(String),
    /// A message: `GET /path`, a DNS name, an API and its topic.
    Message(String),
}

/// One decision.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Decision {
    from: String,
    to: String,
    port: String,
    direction: &'static str,
    what: What,
    verdict: &'static str,
}

impl Decision {
    /// The decision that a record tells of; `None` for one that tells of none.
    fn of(record: &Record) -> Option<Self> {
        let refused = matches!(record.verdict, Verdict::Dropped | Verdict::Error);
        let what = match record.event_kind() {
            message_type::POLICY_VERDICT => What::Connection,
            message_type::TRACE if record.trace_reason == TraceReasonName::New => What::Connection,
            message_type::DROP if record.drop_reason_desc.starts_with("POLICY_") => What::Connection,
            message_type::DROP => What::Packet(record.drop_reason_desc.clone()),
            message_type::L7 => What::Message(message(record)?),
            _ => return None,
        };
        let ip = record.ip.as_ref();
        let port = match &record.l4 {
            Some(l4) => match l4.ports() {
                Some((_, port)) => format!("{port}/{}", l4.name()),
                None => l4.name().to_owned(),
            },
            None => String::new(),
        };
        let direction = match record.traffic_direction {
            TrafficDirection::Ingress => "ingress",
            TrafficDirection::Egress => "egress",
            TrafficDirection::Unknown => "",
        };
        Some(Self {
            from: end(record.source.as_ref(), ip.map(|ip| &*ip.source)),
            to: end(record.destination.as_ref(), ip.map(|ip| &*ip.destination)),
            port,
            direction,
            what,
            verdict: if refused { Verdict::Dropped.name() } else { record.verdict.name() },
        })
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, port, direction, what, verdict } = self;
        write!(f, "{from} -> {to} {port}")?;
        if !direction.is_empty() {
            write!(f, " {direction}")?;
        }
        match what {
            What::Connection => {}
            What::Packet(reason) => write!(f, " {reason}")?,
            What::Message(text) => {
                let clean: String =
                    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
                write!(f, " {clean}")?;
            }
        }
        write!(f, ": {verdict}")
    }
}

/// A request in few words: the same text for the same request.
fn message(record: &Record) -> Option<String> {
    let l7 = record.l7.as_ref()?;
    if l7.kind != L7Type::Request {
        return None;
    }
    if let Some(http) = &l7.http {
        return Some(format!("{} {}", http.method, http.url));
    }
    if let Some(dns) = &l7.dns {
        return Some(dns.query.clone());
    }
    l7.kafka.as_ref().map(|kafka| format!("{} {}", kafka.api_key, kafka.topic))
}

/// An end as people know it: a pod, a reserved identity that is no address, an address.
fn end(end: Option<&Endpoint>, address: Option<&str>) -> String {
    match end {
        Some(end) if !end.pod_name.is_empty() => format!("{}/{}", end.namespace, end.pod_name),
        Some(end) if Identity(end.identity) == Identity::HOST => "host".to_owned(),
        _ => address.unwrap_or_default().to_owned(),
    }
}

/// The decisions of a replay.
#[derive(Debug, Default)]
pub(super) struct Seen {
    decisions: BTreeSet<Decision>,
    /// Ends by their identity's reserved name, for entries that say `world`.
    reserved: BTreeSet<(String, &'static str)>,
}

impl Seen {
    /// Takes note of what a record tells.
    pub(super) fn add(&mut self, record: &Record) -> Result<()> {
        let Some(decision) = Decision::of(record) else { return Ok(()) };
        for (name, of) in
            [(&decision.from, record.source.as_ref()), (&decision.to, record.destination.as_ref())]
        {
            if let Some(reserved) = of.and_then(|end| Identity(end.identity).reserved_name()) {
                self.reserved.insert((name.clone(), reserved));
            }
        }
        self.decisions.insert(decision);
        if self.decisions.len() > MAX_DECISIONS {
            bail!("more than {MAX_DECISIONS} different decisions: too many to be compared");
        }
        Ok(())
    }

    fn is(&self, name: &str, wanted: &str) -> bool {
        if name == wanted {
            return true;
        }
        // `world` is both of its families.
        self.reserved.iter().any(|(known, reserved)| {
            known == name && (*reserved == wanted || wanted == "world" && reserved.starts_with("world-"))
        })
    }
}

/// One entry of a YAML list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Who spoke first: `namespace/pod`, `host`, `world` or another reserved name, or an address.
    from: String,
    /// To whom.
    to: String,
    /// `80`, `80/TCP`, or `ICMPv4`; any if left out.
    #[serde(default)]
    port: Option<Port>,
    /// `ingress` or `egress`; both if left out.
    #[serde(default)]
    direction: Option<String>,
    /// An HTTP request: method and path.
    #[serde(default)]
    http: Option<String>,
    /// A DNS name asked for.
    #[serde(default)]
    dns: Option<String>,
    /// What must have been decided: FORWARDED (also: allowed), DROPPED (denied), or exactly REDIRECTED, AUDIT.
    verdict: String,
}

/// A port with or without its protocol.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

impl Entry {
    fn check(&self) -> Result<(), String> {
        if self.verdicts().is_empty() {
            return Err(format!(
                "`{}` is no verdict: write FORWARDED, DROPPED, REDIRECTED or AUDIT",
                self.verdict
            ));
        }
        if self.direction.as_deref().is_some_and(|text| text != "ingress" && text != "egress") {
            return Err("direction is ingress or egress".to_owned());
        }
        if self.http.as_ref().is_some_and(|text| !text.contains(" /")) {
            return Err("write http as method and path, as in `GET /health`".to_owned());
        }
        if self.http.is_some() && self.dns.is_some() {
            return Err("http and dns are two entries".to_owned());
        }
        Ok(())
    }

    /// Verdicts that are as good as the one written.
    fn verdicts(&self) -> &'static [&'static str] {
        match self.verdict.to_ascii_uppercase().as_str() {
            "FORWARDED" | "ALLOWED" | "ALLOW" => &["FORWARDED", "REDIRECTED", "AUDIT"],
            "DROPPED" | "DENIED" | "DENY" => &["DROPPED"],
            "REDIRECTED" => &["REDIRECTED"],
            "AUDIT" => &["AUDIT"],
            _ => &[],
        }
    }

    fn is_about(&self, decision: &Decision, seen: &Seen) -> bool {
        let port = match &self.port {
            None => true,
            Some(Port::Number(number)) => {
                decision.port.split('/').next() == Some(number.to_string().as_str())
            }
            Some(Port::Text(text)) => {
                decision.port.eq_ignore_ascii_case(text) || decision.port.split('/').next() == Some(text)
            }
        };
        let what = match (&self.http, &self.dns, &decision.what) {
            (Some(http), _, What::Message(text)) => is_request(text, http),
            (None, Some(dns), What::Message(text)) => {
                text.trim_end_matches('.').eq_ignore_ascii_case(dns.trim_end_matches('.'))
            }
            (None, None, What::Connection) => true,
            _ => false,
        };
        let direction = self.direction.as_deref().is_none_or(|wanted| decision.direction == wanted);
        port && what && direction && seen.is(&decision.from, &self.from) && seen.is(&decision.to, &self.to)
    }

    /// Why the replay is not as the entry says; `None` if it is.
    fn difference(&self, seen: &Seen) -> Option<String> {
        let found: Vec<&Decision> =
            seen.decisions.iter().filter(|decision| self.is_about(decision, seen)).collect();
        let wrong: Vec<String> = found
            .iter()
            .filter(|decision| !self.verdicts().contains(&decision.verdict))
            .map(ToString::to_string)
            .collect();
        // A connection whose egress side allows it may still be refused on the other side.
        let refused = found.iter().any(|decision| decision.verdict == "DROPPED");
        let wants_drop = self.verdicts() == ["DROPPED"];
        match (found.is_empty(), wrong.is_empty()) {
            (true, _) => Some(format!("{self}: not seen")),
            (_, true) => None,
            _ if wants_drop && refused => None,
            _ => Some(format!("{self}: but {}", wrong.join("; "))),
        }
    }
}

/// Whether `text` (method and URL, or path) is that request.
fn is_request(text: &str, wanted: &str) -> bool {
    let (Some((method, url)), Some((wanted_method, wanted_path))) =
        (text.split_once(' '), wanted.split_once(' '))
    else {
        return false;
    };
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => url,
    };
    method == wanted_method && path == wanted_path
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)?;
        match &self.port {
            Some(Port::Number(number)) => write!(f, " {number}")?,
            Some(Port::Text(text)) => write!(f, " {text}")?,
            None => {}
        }
        for text in [&self.direction, &self.http, &self.dns].into_iter().flatten() {
            write!(f, " {text}")?;
        }
        write!(f, ": {} expected", self.verdict)
    }
}

/// What is expected.
#[derive(Debug)]
pub(super) enum Expectation {
    /// These decisions and no others.
    Log(Seen),
    /// These among others.
    List(Vec<Entry>),
}

impl Expectation {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = crate::run::files::read_text(path, MAX_FILE);
        let text = text.with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        if !text.trim_start().starts_with('{') {
            return Self::list(text);
        }
        let mut seen = Seen::default();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let record = record(line).with_context(|| format!("line {}", number + 1))?;
            if let Some(record) = record {
                seen.add(&record)?;
            }
        }
        Ok(Self::Log(seen))
    }

    fn list(text: &str) -> Result<Self> {
        let entries: Vec<Entry> = serde_yaml::from_str(text).context(
            "neither JSON lines of a flow log nor a YAML list of {from, to, port, direction, http, dns, verdict}",
        )?;
        if entries.is_empty() {
            bail!("nothing is expected; write a list of {{from, to, port, verdict}}");
        }
        for (number, entry) in (1..).zip(&entries) {
            if let Err(wrong) = entry.check() {
                bail!("entry {number}: {wrong}");
            }
        }
        Ok(Self::List(entries))
    }

    /// Where the replay differs, a line each.
    pub(super) fn compare(&self, seen: &Seen) -> Vec<String> {
        match self {
            Self::Log(expected) => {
                let missing = expected.decisions.difference(&seen.decisions).map(|d| format!("- {d}"));
                let more = seen.decisions.difference(&expected.decisions).map(|d| format!("+ {d}"));
                missing.chain(more).collect()
            }
            Self::List(entries) => (1..)
                .zip(entries)
                .filter_map(|(number, entry): (usize, &Entry)| {
                    Some(format!("entry {number}: {}", entry.difference(seen)?))
                })
                .collect(),
        }
    }

    /// How much was expected.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Log(expected) => format!("{} decisions", expected.decisions.len()),
            Self::List(entries) => format!("{} entries", entries.len()),
        }
    }
}

/// A record as exporters write it, in its envelope or bare.
fn record(line: &str) -> Result<Option<Record>> {
    let value: serde_json::Value = serde_json::from_str(line)?;
    if value.get("verdict").is_some() {
        return Ok(Some(serde_json::from_value(value)?));
    }
    let line: ResponseLine = serde_json::from_value(value)?;
    Ok(line.flow.map(|flow| Record::clone(&flow)))
}

#[cfg(test)]
mod tests;
