//! What policies that are there already allow, asked of the engine that would enforce them.

use crate::fact::Transport;
use crate::http::Request;
use crate::kafka::{self, Api};
use crate::path::Segment;
use crate::seen::{End, Key, Log, Messages};
use policy::Direction;
use policy::conformance::{DnsFacts, Flow, HttpFacts, KafkaFacts, Offline, TlsFacts};
use policy::document;
use policy::engine::SourceFile;
use policy::inventory::{External, Inventory, Namespace, Pod};
use std::collections::{BTreeMap, BTreeSet};

/// Annotation that puts a policy into audit mode.
const AUDIT: &str = "sluice.io/audit";

/// Policies and the workloads that were seen.
pub(crate) struct Existing {
    offline: Offline,
    namespaces: Vec<String>,
}

/// What of one side is still missing.
pub(crate) enum Missing {
    Nothing,
    /// The connection, with these of its messages.
    This(Messages),
}

impl Existing {
    pub(crate) fn new(policies: &[SourceFile], log: &Log) -> Self {
        let mut namespaces: BTreeMap<&str, Namespace> = BTreeMap::new();
        let mut pods = Vec::new();
        for (number, (class, _)) in log.classes.iter().enumerate() {
            let namespace = namespaces.entry(&class.namespace).or_insert_with(|| Namespace {
                name: class.namespace.as_str().into(),
                labels: vec![("kubernetes.io/metadata.name".into(), class.namespace.as_str().into())],
                line: 0,
            });
            for (key, value) in &class.inherited {
                if !namespace.labels.iter().any(|(known, _)| **known == **key) {
                    namespace.labels.push((key.as_str().into(), value.as_str().into()));
                }
            }
            pods.push(Pod {
                name: format!("p{number}").into(),
                namespace: class.namespace.as_str().into(),
                labels: class
                    .labels
                    .iter()
                    .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                    .collect(),
                service_account: class.service_account.as_deref().map(Into::into),
                node: "".into(),
                ips: Vec::new(),
                ports: Vec::new(),
                interface: None,
                mac: None,
                workload: None,
                line: 0,
            });
        }
        let external = log.names.iter().map(|(ip, names)| External {
            name: ip.to_string().into(),
            ip: *ip,
            dns_names: names.iter().map(|name| name.as_str().into()).collect(),
            kube_api_server: false,
            line: 0,
        });
        let inventory = Inventory {
            namespaces: namespaces.into_values().collect(),
            pods,
            external: external.collect(),
            ..Inventory::default()
        };
        // What policies in audit mode would deny is still missing, so they count as enforced here.
        let enforced =
            |file: &SourceFile| SourceFile { text: file.text.replace(AUDIT, "audit"), ..file.clone() };
        let policies: Vec<SourceFile> = policies.iter().map(enforced).collect();
        let options = policy::Options::default();
        let namespaces = log.classes.iter().map(|(class, _)| class.namespace.clone()).collect();
        Self { offline: Offline::new(&inventory, &policies, &options), namespaces }
    }

    /// Namespaces and names of these documents, which no other may have.
    pub(crate) fn names(policies: &[SourceFile]) -> BTreeSet<(String, String)> {
        let load = |file: &SourceFile| {
            document::load(&file.text, &file.path, &document::Options::default()).documents
        };
        policies.iter().flat_map(load).map(|document| (document.namespace, document.name)).collect()
    }

    /// Which of these messages, or whether the connection, one side does not allow by a rule.
    pub(crate) fn missing(&self, key: &Key, direction: Direction, messages: &Messages) -> Missing {
        let Some(flow) = self.flow(key) else { return Missing::This(messages.clone()) };
        if messages.is_empty() {
            return if self.allows(&flow, direction) {
                Missing::Nothing
            } else {
                Missing::This(Messages::default())
            };
        }
        let mut left = messages.clone();
        left.http.retain(|request, asked| {
            let mut paths: Vec<String> = asked.paths.examples().map(str::to_owned).collect();
            if paths.is_empty() {
                paths.extend(plain(request));
            }
            let query = if asked.query { "?q=1" } else { "" };
            let http = |path: &String| HttpFacts {
                method: request.0.clone(),
                path: format!("{path}{query}"),
                ..HttpFacts::default()
            };
            !paths.iter().all(|path| self.allows(&Flow { http: Some(http(path)), ..flow.clone() }, direction))
        });
        left.kafka.retain(|asked| {
            !kafka(asked)
                .is_some_and(|facts| self.allows(&Flow { kafka: Some(facts), ..flow.clone() }, direction))
        });
        left.dns.retain(|name| !self.answers(&flow, name));
        left.tls.retain(|name| {
            let tls = TlsFacts { server_name: Some(name.clone()) };
            !self.allows(&Flow { tls: Some(tls), ..flow.clone() }, direction)
        });
        if left.is_empty() { Missing::Nothing } else { Missing::This(left) }
    }

    /// Whether a class of pods may already ask a DNS server for a name, so that its addresses are learnt.
    pub(crate) fn may_ask(&self, key: &Key, name: &str) -> bool {
        self.flow(key).is_some_and(|flow| self.answers(&flow, name))
    }

    fn answers(&self, flow: &Flow, name: &str) -> bool {
        let dns = Some(DnsFacts { name: name.to_owned() });
        let verdicts = self.offline.verdicts(&[Flow { dns, ..flow.clone() }]);
        verdicts.is_ok_and(|verdicts| {
            verdicts.verdicts.first().is_some_and(|line| line.egress_l7 == Some("allowed"))
        })
    }

    /// Whether a rule of that side allows the flow; what nothing enforces is allowed by no rule.
    fn allows(&self, flow: &Flow, direction: Direction) -> bool {
        let Ok(verdicts) = self.offline.verdicts(std::slice::from_ref(flow)) else { return false };
        let Some(line) = verdicts.verdicts.first() else { return false };
        let (word, l7, rules) = match direction {
            Direction::Egress => (&line.egress, line.egress_l7, &line.rules.egress),
            Direction::Ingress => (&line.ingress, line.ingress_l7, &line.rules.ingress),
        };
        word != "denied" && l7 != Some("denied") && !rules.is_empty()
    }

    fn flow(&self, key: &Key) -> Option<Flow> {
        let end = |end: &End| {
            Some(match end {
                End::Pods(number) => format!("pod/{}/p{number}", self.namespaces.get(*number as usize)?),
                End::Entity(name) => format!("reserved/{name}"),
                End::Address(ip) => format!("ip/{ip}"),
            })
        };
        let (proto, port) = match key.transport {
            Transport::Port(proto, port) => (proto, port),
            Transport::Icmp("IPv6", kind) => ("ICMPv6", u16::from(kind)),
            Transport::Icmp(_, kind) => ("ICMP", u16::from(kind)),
        };
        let (src, dst) = (end(&key.source)?, end(&key.destination)?);
        Some(Flow { id: "seen".to_owned(), src, dst, proto: proto.to_owned(), port, ..Flow::default() })
    }
}

/// The path of a request whose segments are all literal.
fn plain((_, segments): &Request) -> Option<String> {
    let parts: Option<Vec<&str>> = segments
        .iter()
        .map(|segment| match segment {
            Segment::Literal(text) => Some(text.as_str()),
            Segment::Class(_) => None,
        })
        .collect();
    Some(format!("/{}", parts?.join("/")))
}

fn kafka(asked: &kafka::Asked) -> Option<KafkaFacts> {
    let Api::Named(api_key, _) = asked.api else { return None };
    let topics = Some(asked.topic.clone()).filter(|topic| !topic.is_empty()).into_iter().collect();
    Some(KafkaFacts { api_key, api_version: 0, client_id: asked.client.clone(), topics })
}
