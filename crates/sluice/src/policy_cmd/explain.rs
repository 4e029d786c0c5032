//! `sluice policy explain`: one flow, who is on either side, and the rules that decide.

use super::{options, read_inventory, read_policies};
use crate::args::ExplainArgs;
use crate::cli::{NO, emit};
use crate::run::files::{INVENTORY, POLICIES};
use crate::show;
use anyhow::{Context as _, Result, bail};
use policy::conformance::{DnsFacts, Flow, FlowLine, HttpFacts, KafkaFacts, RuleRef};
use serde_json::json;
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
    let verdicts = policy::conformance::verdicts(
        &inventory,
        &policies,
        std::slice::from_ref(&flow),
        &options(args.empty),
    )?;
    let line = verdicts.verdicts.first().context("no verdict")?;
    let value = json!({ "flow": flow, "verdict": line });
    emit(args.output, &value, |_| screen(&flow, line))?;
    Ok(if line.verdict == "allowed" { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

fn screen(flow: &Flow, line: &FlowLine) -> String {
    let out = std::io::stdout();
    let mut text = format!("{} -> {} {}/{}\n", flow.src, flow.dst, flow.port, flow.proto);
    let sides = [
        ("egress of the source", &line.egress, line.egress_l7, &line.rules.egress),
        ("ingress of the destination", &line.ingress, line.ingress_l7, &line.rules.ingress),
    ];
    for (name, word, l7, rules) in sides {
        let meaning = match word.as_str() {
            "none" => "not enforced: no policy selects it in this direction".to_owned(),
            "denied" if rules.is_empty() => "denied".to_owned(),
            other => other.to_owned(),
        };
        let message = l7.map(|l7| format!(", this message is {l7}")).unwrap_or_default();
        let _ = writeln!(text, "  {name}: {meaning}{message}");
        let why = if word == "denied" { "because of" } else { "by" };
        for RuleRef { policy, file, line } in rules {
            let _ = writeln!(text, "    {why} {policy} ({file}:{line})");
        }
    }
    let allowed = line.verdict == "allowed";
    let _ =
        writeln!(text, "{}", if allowed { show::good("allowed", &out) } else { show::bad("denied", &out) });
    text
}

fn flow(args: &ExplainArgs) -> Result<Flow> {
    let (port, proto) = args.port.split_once('/').unwrap_or((&args.port, "TCP"));
    let port = port.parse().with_context(|| format!("`{port}` is no port number"))?;
    let http = args.http.as_deref().map(|text| {
        let (method, path) = text.split_once(' ').unwrap_or(("GET", text));
        HttpFacts { method: method.to_owned(), path: path.to_owned(), ..HttpFacts::default() }
    });
    let dns = args.dns.as_deref().map(|name| DnsFacts { name: name.to_owned() });
    let kafka = args.kafka.as_deref().map(kafka).transpose()?;
    Ok(Flow {
        id: "explain".to_owned(),
        src: end(&args.from),
        dst: end(&args.to),
        proto: proto_name(proto),
        port,
        http,
        dns,
        kafka,
    })
}

/// `NS/POD` is short for `pod/NS/POD`.
fn end(text: &str) -> String {
    let written = ["pod/", "node/", "ext/", "special/"].iter().any(|kind| text.starts_with(kind));
    if written { text.to_owned() } else { format!("pod/{text}") }
}

fn proto_name(text: &str) -> String {
    match text.to_ascii_uppercase().as_str() {
        "ICMPV6" => "ICMPv6".to_owned(),
        other => other.to_owned(),
    }
}

/// `produce:topic`, `consume:topic`, or `API-KEY-NUMBER:topic`.
fn kafka(text: &str) -> Result<KafkaFacts> {
    /// API keys of the Kafka protocol.
    const PRODUCE: i16 = 0;
    const FETCH: i16 = 1;
    let (what, topic) = text.split_once(':').unwrap_or((text, ""));
    let api_key = match what {
        "produce" => PRODUCE,
        "consume" | "fetch" => FETCH,
        number => match number.parse() {
            Ok(number) => number,
            Err(_) => bail!("`{number}` is neither produce, consume nor the number of an API key"),
        },
    };
    let topics = if topic.is_empty() { Vec::new() } else { vec![topic.to_owned()] };
    Ok(KafkaFacts { api_key, topics, ..KafkaFacts::default() })
}
