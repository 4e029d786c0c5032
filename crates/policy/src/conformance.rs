//! Offline verdicts: workloads, policies and flows in, one answer per flow out.
//!
//! Every node sees itself as `host` and the others as `remote-node`, so there is one engine per node, the same one
//! that runs there, and each side of a flow is asked on its own node.

use crate::direction::Direction;
use crate::document::Outcome;
use crate::engine::{Engine, Options, Report, SourceFile};
use crate::explain::Explanation;
use crate::identity::Identity;
use crate::inventory::Inventory;
use crate::l7::{HttpRequest, KafkaRequest, L7Decision, L7Kind};
use crate::provenance::RuleId;
use crate::snapshot::PolicySnapshot;
use crate::verdict::Verdict;
use packet::Addr;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A new connection from `src` to `dst`, perhaps with its first message.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Name of the flow.
    pub id: String,
    /// `pod/NS/NAME`, `node/NAME`, `ext/NAME` or `special/NAME`.
    pub src: String,
    /// The same for the destination.
    pub dst: String,
    /// TCP, UDP, SCTP, ICMP or ICMPv6.
    pub proto: String,
    /// Destination port; for ICMP the type.
    pub port: u16,
    /// An HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpFacts>,
    /// A DNS question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsFacts>,
    /// A Kafka request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaFacts>,
}

/// An HTTP request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HttpFacts {
    /// Method.
    #[serde(default)]
    pub method: String,
    /// Path with query.
    #[serde(default)]
    pub path: String,
    /// Authority.
    #[serde(default)]
    pub host: String,
    /// Header fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A DNS question.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DnsFacts {
    /// The name asked for.
    pub name: String,
}

/// A Kafka request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct KafkaFacts {
    /// API key.
    pub api_key: i16,
    /// API version.
    #[serde(default)]
    pub api_version: i16,
    /// Client id.
    #[serde(default, rename = "clientID")]
    pub client_id: String,
    /// Topics.
    #[serde(default)]
    pub topics: Vec<String>,
}

/// The answers for a set of flows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verdicts {
    /// One line per document.
    pub policies: Vec<PolicyLine>,
    /// Endpoints whose policy could not be compiled; compilation cannot fail here, so it is empty.
    pub endpoint_errors: BTreeMap<String, String>,
    /// One line per flow.
    pub verdicts: Vec<FlowLine>,
}

/// What became of a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PolicyLine {
    /// Its place among all documents.
    pub index: usize,
    /// `kind`.
    pub kind: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Whether it is in force.
    pub accepted: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The answers for one flow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FlowLine {
    /// Name of the flow.
    pub id: String,
    /// At the source.
    pub egress: String,
    /// At the destination.
    pub ingress: String,
    /// The message at the source, where that side inspects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_l7: Option<&'static str>,
    /// The message at the destination, where that side inspects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_l7: Option<&'static str>,
    /// Both sides at L3 and L4.
    pub l4: &'static str,
    /// Both sides with their L7 answers.
    pub verdict: &'static str,
    /// The rules behind each side's answer.
    pub rules: SideRules,
}

/// The rules behind each side's answer; for a default deny, the policies that switched it on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct SideRules {
    /// At the source.
    pub egress: Vec<RuleRef>,
    /// At the destination.
    pub ingress: Vec<RuleRef>,
}

/// Where a rule stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct RuleRef {
    /// `namespace/name`, or the name of a clusterwide policy.
    pub policy: String,
    /// File.
    pub file: String,
    /// Line.
    pub line: u32,
}

/// A flow that names something which the inventory does not have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("flow {flow}: {what}")]
pub struct FlowError {
    /// The flow.
    pub flow: String,
    /// What is wrong with it.
    pub what: String,
}

/// One end of a flow.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum End<'a> {
    Pod { namespace: &'a str, name: &'a str, node: &'a str },
    Node(&'a str),
    External(Addr),
    Special(Identity),
}

/// Answers for flows, with one engine per node.
#[derive(Debug)]
pub struct Offline {
    inventory: Inventory,
    engines: BTreeMap<Arc<str>, Engine>,
    report: Report,
}

/// What one side says.
struct Side {
    word: String,
    l7: Option<L7Decision>,
    allowed: bool,
    rules: Vec<RuleRef>,
}

/// Answers for all flows.
///
/// # Errors
/// The first flow that cannot be asked.
pub fn verdicts(
    inventory: &Inventory,
    policies: &[SourceFile],
    flows: &[Flow],
    options: &Options,
) -> Result<Verdicts, FlowError> {
    Offline::new(inventory, policies, options).verdicts(flows)
}

impl Offline {
    /// Compiles the policies as every node of the inventory sees them.
    #[must_use]
    pub fn new(inventory: &Inventory, policies: &[SourceFile], options: &Options) -> Self {
        let nodes = inventory.nodes.iter().map(|node| &node.name);
        let mut names: Vec<Arc<str>> =
            nodes.chain(inventory.pods.iter().map(|pod| &pod.node)).cloned().collect();
        names.push("".into());
        names.sort_unstable();
        names.dedup();
        let mut report = Report::default();
        let mut engines = BTreeMap::new();
        for name in names {
            let options = Options { node_name: Arc::clone(&name), all_nodes: false, ..options.clone() };
            let mut engine = Engine::new(options);
            engine.set_inventory(inventory.clone());
            report = engine.set_rejecting(policies.to_vec());
            engines.insert(name, engine);
        }
        Self { inventory: inventory.clone(), engines, report }
    }

    /// What became of the documents.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Answers for all flows.
    ///
    /// # Errors
    /// The first flow that cannot be asked.
    pub fn verdicts(&self, flows: &[Flow]) -> Result<Verdicts, FlowError> {
        let policies = self.report.documents.iter().filter(|d| d.status.outcome != Outcome::NotAPolicy);
        let policies = policies.enumerate().map(|(index, document)| PolicyLine {
            index,
            kind: document.status.kind.clone(),
            namespace: document.status.namespace.clone(),
            name: document.status.name.clone(),
            accepted: document.status.accepted(),
            error: document.status.error().map(ToString::to_string),
        });
        let lines = flows.iter().map(|flow| self.flow(flow)).collect::<Result<_, _>>()?;
        Ok(Verdicts { policies: policies.collect(), endpoint_errors: BTreeMap::new(), verdicts: lines })
    }

    fn flow(&self, flow: &Flow) -> Result<FlowLine, FlowError> {
        let fail = |what: String| FlowError { flow: flow.id.clone(), what };
        let src = self.end(&flow.src).ok_or_else(|| fail(format!("the inventory has no {}", flow.src)))?;
        let dst = self.end(&flow.dst).ok_or_else(|| fail(format!("the inventory has no {}", flow.dst)))?;
        let proto = protocol(&flow.proto).ok_or_else(|| fail(format!("unknown protocol {}", flow.proto)))?;
        let egress = self.side(Direction::Egress, src, dst, proto, flow);
        let ingress = self.side(Direction::Ingress, dst, src, proto, flow);
        let word = |yes| if yes { "allowed" } else { "denied" };
        let l7 = |side: &Side| side.l7.map(|decision| word(decision.allowed));
        let l4 = egress.allowed && ingress.allowed;
        let messages = [&egress, &ingress].iter().all(|side| side.l7.is_none_or(|decision| decision.allowed));
        Ok(FlowLine {
            id: flow.id.clone(),
            egress_l7: l7(&egress),
            ingress_l7: l7(&ingress),
            l4: word(l4),
            verdict: word(l4 && messages),
            rules: SideRules { egress: egress.rules, ingress: ingress.rules },
            egress: egress.word,
            ingress: ingress.word,
        })
    }

    /// Why each side that has a policy answers as it does.
    ///
    /// # Errors
    /// When the flow cannot be asked.
    pub fn explain(&self, flow: &Flow) -> Result<Vec<Explanation>, FlowError> {
        let fail = |what: String| FlowError { flow: flow.id.clone(), what };
        let src = self.end(&flow.src).ok_or_else(|| fail(format!("the inventory has no {}", flow.src)))?;
        let dst = self.end(&flow.dst).ok_or_else(|| fail(format!("the inventory has no {}", flow.dst)))?;
        let proto = protocol(&flow.proto).ok_or_else(|| fail(format!("unknown protocol {}", flow.proto)))?;
        let sides = [(Direction::Egress, src, dst), (Direction::Ingress, dst, src)];
        let explained = sides.into_iter().filter_map(|(direction, subject, peer)| {
            let (engine, namespace, name) = self.subject(subject)?;
            let peer = identity(engine, &engine.snapshot(), peer);
            engine.explain(direction, (namespace, name), peer, proto, flow.port)
        });
        Ok(explained.collect())
    }

    /// Asks the policy of `subject` about `peer`.
    fn side(&self, direction: Direction, subject: End<'_>, peer: End<'_>, proto: u8, flow: &Flow) -> Side {
        let found = self.subject(subject).and_then(|(engine, namespace, name)| {
            let endpoint = engine.endpoint(namespace, name)?;
            Some((engine, endpoint))
        });
        let Some((engine, endpoint)) = found else {
            return Side { word: "none".to_owned(), l7: None, allowed: true, rules: Vec::new() };
        };
        let snapshot = engine.snapshot();
        let identity = identity(engine, &snapshot, peer);
        let verdict = endpoint.map.lookup(direction, identity, proto, flow.port);
        let (word, l7, rule) = match verdict {
            Verdict::Deny(denial) => ("denied".to_owned(), None, denial.rule),
            Verdict::Allow(permit) => match permit.l7().and_then(|id| snapshot.l7.get(id)) {
                None => ("allowed".to_owned(), None, permit.rule()),
                Some(set) => {
                    let decision = decide(set, flow);
                    let rule = decision.map_or(permit.rule(), |decision| decision.rule);
                    (format!("redirect:{}", set.kind()), decision, rule)
                }
            },
        };
        let allowed = matches!(verdict, Verdict::Allow(_));
        Side { word, l7, allowed, rules: references(&snapshot, rule) }
    }

    fn end<'a>(&'a self, name: &'a str) -> Option<End<'a>> {
        let (kind, name) = name.split_once('/')?;
        Some(match kind {
            "pod" => {
                let (namespace, name) = name.split_once('/')?;
                let mut pods = self.inventory.pods.iter();
                let pod = pods.find(|pod| *pod.namespace == *namespace && *pod.name == *name)?;
                End::Pod { namespace, name, node: &pod.node }
            }
            "node" => End::Node(&self.inventory.nodes.iter().find(|node| *node.name == *name)?.name),
            "ext" => End::External(self.inventory.external.iter().find(|ext| *ext.name == *name)?.ip.into()),
            "special" => {
                let special = self.inventory.special.iter().find(|special| *special.name == *name)?;
                End::Special(Identity::from_reserved_name(&special.reserved)?)
            }
            _ => return None,
        })
    }

    fn subject<'a>(&'a self, end: End<'a>) -> Option<(&'a Engine, &'a str, &'a str)> {
        match end {
            End::Pod { namespace, name, node } => Some((self.engines.get(node)?, namespace, name)),
            End::Node(name) => Some((self.engines.get(name)?, "", name)),
            End::External(_) | End::Special(_) => None,
        }
    }
}

fn identity(engine: &Engine, snapshot: &PolicySnapshot, end: End<'_>) -> Identity {
    match end {
        End::Pod { namespace, name, .. } => engine.pod_identity(namespace, name).unwrap_or(Identity::UNKNOWN),
        End::Node(name) => engine.node_identity(name).unwrap_or(Identity::UNKNOWN),
        End::External(addr) => snapshot.ip_cache.lookup(addr),
        End::Special(identity) => identity,
    }
}

/// The answer for the flow's message; none if it has none, and no for one of another protocol.
fn decide(set: &crate::l7::L7RuleSet, flow: &Flow) -> Option<L7Decision> {
    match (set.kind(), &flow.http, &flow.dns, &flow.kafka) {
        (_, None, None, None) => None,
        (L7Kind::Dns, _, Some(dns), _) => Some(set.dns(&dns.name)),
        (_, _, _, Some(kafka)) => {
            let topics: Vec<&str> = kafka.topics.iter().map(String::as_str).collect();
            Some(set.kafka(&KafkaRequest {
                api_key: kafka.api_key,
                api_version: kafka.api_version,
                client_id: &kafka.client_id,
                topics: &topics,
            }))
        }
        (_, Some(http), _, _) => {
            let headers: Vec<(&str, &str)> =
                http.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            Some(set.http(&HttpRequest {
                method: http.method.as_bytes(),
                path: http.path.as_bytes(),
                host: http.host.as_bytes(),
                headers: &headers,
            }))
        }
        (_, None, Some(dns), None) => Some(set.dns(&dns.name)),
    }
}

fn references(snapshot: &PolicySnapshot, rule: RuleId) -> Vec<RuleRef> {
    let rules = snapshot.rules.get(rule).iter();
    let reference = |rule: &crate::provenance::Provenance| RuleRef {
        policy: match rule.namespace.as_str() {
            "" => rule.name.clone(),
            namespace => format!("{namespace}/{}", rule.name),
        },
        file: rule.file.clone(),
        line: rule.line,
    };
    let mut list: Vec<RuleRef> = rules.map(reference).collect();
    list.sort();
    list
}

/// The number of a protocol by its name in flows.
#[must_use]
pub fn protocol(name: &str) -> Option<u8> {
    Some(match name.to_ascii_uppercase().as_str() {
        "TCP" => 6,
        "UDP" => 17,
        "SCTP" => 132,
        "ICMP" | "ICMPV4" => 1,
        "ICMPV6" => 58,
        _ => return None,
    })
}
