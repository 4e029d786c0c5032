//! What the page asks of the node: its status, both sides of a flow rule by rule, and a policy that would allow it.

use crate::api::answer;
use crate::api::request::Request;
use crate::config::Config;
use crate::history::Kept;
use crate::policy_cmd::explain::{judge, outcome};
use crate::run::rules::empty_list;
use crate::run::shared::Shared;
use ::ui::{Considered, Node, SideExplanation};
use flowlog::Record;
use flowlog::api::Past;
use flowlog::record::{Endpoint, L4, Rule};
use policy::conformance::{DnsFacts, Flow, HttpFacts, KafkaFacts};
use policy::engine::Options;
use policy::explain::Explanation;
use policy::{Direction, Provenance, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Answers from the running node.
pub(super) struct Answers {
    shared: Arc<Shared>,
    options: Options,
    past: Option<Kept>,
}

impl Answers {
    pub(super) fn new(shared: Arc<Shared>, config: &Config) -> Self {
        let options = Options {
            node_name: shared.node.name.as_str().into(),
            empty_list: empty_list(config.policy.empty_list_means),
            ..Options::default()
        };
        let past = Kept::of(&shared.flows);
        Self { shared, options, past }
    }
}

impl Node for Answers {
    fn past(&self) -> Option<&dyn Past> {
        self.past.as_ref().map(|past| past as _)
    }

    fn status(&self) -> Value {
        answer::answer(&self.shared, &Request::Status)
            .unwrap_or_else(|error| json!({ "error": format!("{error:#}") }))
    }

    /// From the files of the configuration folder as they are now, which is what one is about to change.
    fn explain(&self, record: &Record) -> Result<Vec<SideExplanation>, String> {
        let flow = flow(record)?;
        let sides = judge(&self.shared.dir, &self.options, &flow).map_err(|error| format!("{error:#}"))?;
        Ok(sides.iter().map(side).collect())
    }

    fn suggest(&self, flows: &[Arc<Record>]) -> Result<String, String> {
        let options =
            suggest::Options { include_denied: true, add_only: true, ..suggest::Options::default() };
        let suggestion = suggest::suggest(flows.iter().map(AsRef::as_ref), &options);
        let mut text: String = suggestion.notes.iter().map(|note| format!("# {note}\n")).collect();
        if suggestion.documents.is_empty() {
            let why =
                "no policy would allow it: a deny rule refuses it, or no pod of this node is its subject";
            return Err(if text.is_empty() { why.into() } else { text });
        }
        text.push_str(&suggestion.to_yaml());
        Ok(text)
    }
}

/// The connection (or message) that a record is about, as policies are asked about it.
fn flow(record: &Record) -> Result<Flow, String> {
    let reply = record.is_reply == Some(true);
    let ip = record.ip.as_ref().ok_or("this record is about no flow")?;
    let end = |end: &Option<Endpoint>, address: &str| match end {
        Some(end) if !end.pod_name.is_empty() => format!("pod/{}/{}", end.namespace, end.pod_name),
        _ => format!("ip/{address}"),
    };
    let (source, destination) = (end(&record.source, &ip.source), end(&record.destination, &ip.destination));
    let (src, dst) = if reply { (destination, source) } else { (source, destination) };
    let l4 = record.l4.as_ref().ok_or("this record has no protocol that policies speak about")?;
    let (proto, port) = match l4 {
        L4::Icmpv4(icmp) => ("ICMP", u16::from(icmp.kind)),
        L4::Icmpv6(icmp) => ("ICMPv6", u16::from(icmp.kind)),
        l4 => {
            let (source, destination) = l4.ports().unwrap_or_default();
            (l4.name(), if reply { source } else { destination })
        }
    };
    let l7 = record.l7.as_ref();
    let http = l7.and_then(|l7| l7.http.as_ref()).map(|http| {
        let rest = http.url.split_once("://").map_or(http.url.as_str(), |(_, rest)| rest);
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let field = |field: &flowlog::record::HttpHeader| (field.key.clone(), field.value.clone());
        HttpFacts {
            method: http.method.clone(),
            path: path.to_owned(),
            host: host.to_owned(),
            headers: http.headers.iter().map(field).collect::<BTreeMap<_, _>>(),
        }
    });
    let dns = l7
        .and_then(|l7| l7.dns.as_ref())
        .map(|dns| DnsFacts { name: dns.query.trim_end_matches('.').to_owned() });
    let kafka = l7.and_then(|l7| l7.kafka.as_ref()).and_then(|kafka| {
        let api_key =
            policy::document::kafka_api_key(&kafka.api_key).or_else(|| kafka.api_key.parse().ok())?;
        let topics = Some(kafka.topic.clone()).filter(|topic| !topic.is_empty()).into_iter().collect();
        Some(KafkaFacts { api_key, topics, ..KafkaFacts::default() })
    });
    Ok(Flow { id: record.uuid.clone(), src, dst, proto: proto.into(), port, http, dns, kafka, tls: None })
}

fn side(side: &Explanation) -> SideExplanation {
    let allowed = side
        .message
        .map_or_else(|| matches!(side.verdict, Verdict::Allow(_)), |answer| answer.decision.allowed);
    let audited = matches!(side.verdict, Verdict::Allow(permit) if permit.audited())
        || side.message.is_some_and(|answer| answer.decision.audited);
    SideExplanation {
        direction: match side.direction {
            Direction::Ingress => "ingress".into(),
            Direction::Egress => "egress".into(),
        },
        subject: side.subject.clone(),
        verdict: match (allowed, audited) {
            (_, true) => "audited".into(),
            (true, false) => "allowed".into(),
            (false, false) => "denied".into(),
        },
        decided_by: side.decided_by.iter().map(rule).collect(),
        considered: side
            .considered
            .iter()
            .map(|one| Considered {
                rule: rule(&one.rule),
                matches: one.matches_message(),
                outcome: outcome(one).trim_end_matches(':').to_owned(),
            })
            .collect(),
        change: side.change.clone(),
    }
}

fn rule(at: &Provenance) -> Rule {
    Rule::from(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowlog::record::{Dns, Http, Ip, Layer7, Ports, Tcp};

    fn pod(name: &str) -> Option<Endpoint> {
        Some(Endpoint { namespace: "shop".into(), pod_name: name.into(), ..Endpoint::default() })
    }

    #[test]
    fn a_record_becomes_the_question_that_it_answered() {
        let mut record = Record {
            uuid: "u".into(),
            ip: Some(Ip { source: "10.0.0.1".into(), destination: "192.0.2.1".into(), ..Ip::default() }),
            l4: Some(L4::Tcp(Tcp { source_port: 40_000, destination_port: 443, flags: None })),
            source: pod("web"),
            ..Record::default()
        };
        let asked = flow(&record).expect("a flow");
        assert_eq!((asked.src.as_str(), asked.dst.as_str()), ("pod/shop/web", "ip/192.0.2.1"));
        assert_eq!((asked.proto.as_str(), asked.port), ("TCP", 443));
        record.is_reply = Some(true);
        let asked = flow(&record).expect("a flow");
        assert_eq!(
            (asked.src.as_str(), asked.dst.as_str(), asked.port),
            ("ip/192.0.2.1", "pod/shop/web", 40_000)
        );

        record.is_reply = None;
        let http = Http { method: "GET".into(), url: "http://api:80/v1?x=1".into(), ..Http::default() };
        record.l7 = Some(Layer7 { http: Some(http), ..Layer7::default() });
        let asked = flow(&record).expect("a flow").http.expect("a request");
        assert_eq!((asked.host.as_str(), asked.path.as_str()), ("api:80", "/v1?x=1"));
        let dns = Dns { query: "example.com.".into(), ..Dns::default() };
        record.l7 = Some(Layer7 { dns: Some(dns), ..Layer7::default() });
        record.l4 = Some(L4::Udp(Ports { source_port: 1, destination_port: 53 }));
        let asked = flow(&record).expect("a flow");
        assert_eq!(
            (asked.dns.expect("a question").name.as_str(), asked.proto.as_str()),
            ("example.com", "UDP")
        );
        record.l4 = None;
        assert!(flow(&record).is_err());
        assert!(flow(&Record::default()).is_err());
    }
}
