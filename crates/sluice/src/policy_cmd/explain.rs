//! `sluice policy explain`: one flow, who is on either side, and the rules that decide.

use super::{options, read_inventory, read_policies};
use crate::args::ExplainArgs;
use crate::cli::{NO, emit};
use crate::run::files::{INVENTORY, POLICIES};
use crate::show;
use anyhow::{Context as _, Result, bail};
use policy::conformance::{DnsFacts, Flow, FlowLine, HttpFacts, KafkaFacts, Offline, TlsFacts};
use policy::explain::{Considered, Explanation, MessageFit};
use policy::label::LabelSet;
use policy::{Direction, Provenance, Verdict};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;

/// `sluice policy explain`: 1 if the flow is denied.
///
/// # Errors
/// When a file cannot be read, or the flow names what does not exist.
pub fn explain(args: &ExplainArgs) -> Result<ExitCode> {
    let or = |given: &[std::path::PathBuf], folder| {
        if given.is_empty() { vec![args.config.join(folder)] } else { given.to_vec() }
    };
    let inventory = read_inventory(&or(&args.inventory, INVENTORY))?;
    let policies = read_policies(&or(&args.policies, POLICIES))?;
    let flow = flow(args)?;
    let offline = Offline::new(&inventory, &policies, &options(args.empty));
    let verdicts = offline.verdicts(std::slice::from_ref(&flow))?;
    let line = verdicts.verdicts.first().context("no verdict")?;
    let sides = offline.explain(&flow)?;
    let value = json!({
        "flow": flow,
        "verdict": line,
        "sides": sides.iter().map(side_value).collect::<Vec<_>>(),
    });
    emit(args.output, &value, |_| screen(&flow, line, &sides))?;
    Ok(if line.verdict == "allowed" { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// Both sides of a flow by the files in a configuration folder.
///
/// # Errors
/// When a file cannot be read, or the flow names what does not exist.
pub(crate) fn judge(
    dir: &std::path::Path,
    options: &policy::engine::Options,
    flow: &Flow,
) -> Result<Vec<Explanation>> {
    let inventory = read_inventory(&[dir.join(INVENTORY)])?;
    let policies = read_policies(&[dir.join(POLICIES)])?;
    Ok(Offline::new(&inventory, &policies, options).explain(flow)?)
}

fn side_value(side: &Explanation) -> Value {
    json!({
        "direction": direction(side),
        "subject": side.subject,
        "subjectLabels": labels(&side.subject_labels),
        "peerIdentity": side.peer.0,
        "peerLabels": labels(&side.peer_labels),
        "l7": side.l7.map(|kind| kind.to_string()),
        "message": side.message.map(|answer| json!({
            "allowed": answer.decision.allowed,
            "audited": answer.decision.audited,
            "needsRewriting": answer.needs_rewriting,
        })),
        "audited": matches!(side.verdict, Verdict::Allow(permit) if permit.audited()),
        "decidedBy": side.decided_by,
        "considered": side.considered.iter().map(|rule| json!({
            "rule": rule.rule, "deny": rule.deny, "peer": rule.peer, "port": rule.port, "l7": rule.conditions,
            "message": rule.message.map(fit_word),
            "unsupported": rule.unsupported, "audit": rule.audit, "matches": rule.matches_message(),
        })).collect::<Vec<_>>(),
        "change": side.change,
    })
}

fn direction(side: &Explanation) -> &'static str {
    match side.direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

fn labels(set: &LabelSet) -> Vec<String> {
    set.iter().map(ToString::to_string).collect()
}

fn screen(flow: &Flow, line: &FlowLine, sides: &[Explanation]) -> String {
    let out = std::io::stdout();
    let allowed = line.verdict == "allowed";
    let word = if allowed { show::good("allowed", &out) } else { show::bad("denied", &out) };
    let how = if line.audited { " (audit mode: policy denies it)" } else { "" };
    let mut text = format!("{flow}: {word}{how}\n");
    if line.needs_rewriting {
        text.push_str("  in Cilium, after header fields were changed; the node service does not change them and denies it\n");
    }
    for side in sides {
        let (word, l7) = match side.direction {
            Direction::Egress => (&line.egress, line.egress_l7),
            Direction::Ingress => (&line.ingress, line.ingress_l7),
        };
        let message = l7.map(|l7| format!(", this message is {l7}")).unwrap_or_default();
        let _ = writeln!(text, "\n{} of {}: {word}{message}", direction(side), side.subject);
        let _ = writeln!(text, "  subject  {}", labels(&side.subject_labels).join(" "));
        let _ = writeln!(text, "  peer     {} {}", side.peer, labels(&side.peer_labels).join(" "));
        for rule in &side.decided_by {
            let _ = writeln!(text, "  decided  {}", place(rule));
        }
        if side.decided_by.is_empty() {
            let why = match side.verdict {
                Verdict::Allow(_) => "nothing enforces this direction",
                Verdict::Deny(_) => "the enforcement mode: no rule allows it",
            };
            let _ = writeln!(text, "  decided  {why}");
        }
        for rule in &side.considered {
            let _ = writeln!(text, "  {}  {}", outcome(rule), place(&rule.rule));
        }
        if !side.change.is_empty() {
            let _ = writeln!(text, "  to change it: {}", side.change);
        }
    }
    text
}

/// What one rule has to say.
pub(crate) fn outcome(rule: &Considered) -> String {
    let kind = if rule.deny { "deny" } else { "allow" };
    let fits = match (rule.peer, rule.port) {
        (true, true) => "matches",
        (true, false) => "peer matches, port does not",
        (false, true) => "port matches, peer does not",
        (false, false) => "neither peer nor port matches",
    };
    let l7 = match (&rule.conditions, rule.message) {
        (None, _) => String::new(),
        (Some(conditions), None) => format!(", for messages [{conditions}]"),
        (Some(conditions), Some(fit)) => format!(", {} [{conditions}]", fit_text(fit)),
    };
    let audit = if rule.audit { ", audited" } else { "" };
    let not = rule.unsupported.map(|what| format!(", not supported: {what}")).unwrap_or_default();
    format!("{kind} rule {fits}{l7}{audit}{not}:")
}

fn fit_word(fit: MessageFit) -> &'static str {
    match fit {
        MessageFit::Fits => "fits",
        MessageFit::FitsRewritten => "fits-rewritten",
        MessageFit::DoesNotFit => "does-not-fit",
        MessageFit::NotAsked(_) => "not-asked",
    }
}

fn fit_text(fit: MessageFit) -> String {
    match fit {
        MessageFit::Fits => "message fits".to_owned(),
        MessageFit::FitsRewritten => "message fits only with header fields changed".to_owned(),
        MessageFit::DoesNotFit => "message does not fit".to_owned(),
        MessageFit::NotAsked(other) => format!("not asked, as {other} rules govern the connection"),
    }
}

fn place(rule: &Provenance) -> String {
    let name = match rule.namespace.as_str() {
        "" => rule.name.clone(),
        namespace => format!("{namespace}/{}", rule.name),
    };
    format!("{} {name} ({}:{})", rule.kind, rule.file, rule.line)
}

fn flow(args: &ExplainArgs) -> Result<Flow> {
    let (port, proto) = args.port.split_once('/').unwrap_or((&args.port, "TCP"));
    let port = port.parse().with_context(|| format!("`{port}` is no port number"))?;
    let http = args.http.as_deref().map(|text| {
        let (method, path) = text.split_once(' ').unwrap_or(("GET", text));
        HttpFacts {
            method: method.to_owned(),
            path: path.to_owned(),
            host: args.host.clone().unwrap_or_default(),
            headers: args.header.iter().cloned().collect(),
        }
    });
    let dns = args.dns.as_deref().map(|name| DnsFacts { name: name.to_owned() });
    let kafka = args.kafka.as_deref().map(kafka).transpose()?;
    let tls =
        args.sni.as_deref().map(|name| TlsFacts { server_name: (!name.is_empty()).then(|| name.to_owned()) });
    Ok(Flow {
        id: "explain".to_owned(),
        src: end(&args.from),
        dst: end(&args.to),
        proto: proto_name(proto),
        port,
        http,
        dns,
        kafka,
        tls,
    })
}

/// `NS/POD` is short for `pod/NS/POD`, an address for `ip/ADDRESS`.
fn end(text: &str) -> String {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return format!("ip/{text}");
    }
    let written =
        ["pod/", "node/", "ext/", "special/", "ip/", "reserved/"].iter().any(|kind| text.starts_with(kind));
    if written { text.to_owned() } else { format!("pod/{text}") }
}

fn proto_name(text: &str) -> String {
    match text.to_ascii_uppercase().as_str() {
        "ICMPV6" => "ICMPv6".to_owned(),
        other => other.to_owned(),
    }
}

/// `produce:topic`, `consume:topic`, or `API-KEY:topic`; several topics with commas.
fn kafka(text: &str) -> Result<KafkaFacts> {
    /// API keys of the Kafka protocol.
    const PRODUCE: i16 = 0;
    const FETCH: i16 = 1;
    let (what, topic) = text.split_once(':').unwrap_or((text, ""));
    let api_key = match what {
        "produce" => PRODUCE,
        "consume" | "fetch" => FETCH,
        other => match policy::document::kafka_api_key(other).or_else(|| other.parse().ok()) {
            Some(key) => key,
            None => bail!("`{other}` is neither produce, consume nor the name or number of an API key"),
        },
    };
    let topics = topic.split(',').filter(|topic| !topic.is_empty()).map(str::to_owned).collect();
    Ok(KafkaFacts { api_key, topics, ..KafkaFacts::default() })
}
