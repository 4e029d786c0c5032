//! Offline verdicts: workloads, policies and flows in, one answer per flow out.
//!
//! Every node sees itself as `host` and the others as `remote-node`, so there is one engine per node, the same one
//! that runs there, and each side of a flow is asked on its own node.

mod message;

pub(crate) use message::decide;
pub use message::{DnsFacts, HttpFacts, KafkaFacts, MessageAnswer, TlsFacts};

use crate::direction::Direction;
use crate::document::Outcome;
use crate::engine::{Engine, Options, Report, SourceFile};
use crate::explain::Explanation;
use crate::identity::Identity;
use crate::inventory::Inventory;
use crate::provenance::RuleId;
use crate::snapshot::PolicySnapshot;
use crate::verdict::Verdict;
use packet::Addr;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A new connection from `src` to `dst`, perhaps with its first message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Name of the flow.
    pub id: String,
    /// `pod/NS/NAME`, `node/NAME`, `ext/NAME`, `special/NAME`, `ip/ADDRESS` for whoever has that
    /// address, or `reserved/NAME` for a reserved peer.
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
    /// A TLS hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFacts>,
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
    /// Allowed only after header fields were changed (`mismatch: ADD`, `DELETE`, `REPLACE`), as Cilium does. Here they
    /// are not changed, and the datapath denies such a message.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub needs_rewriting: bool,
    /// Let pass only because audit mode is on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub audited: bool,
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
    l7: Option<MessageAnswer>,
    allowed: bool,
    audited: bool,
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
        let l7 = |side: &Side| side.l7.map(|answer| word(answer.decision.allowed));
        let l4 = egress.allowed && ingress.allowed;
        let sides = [&egress, &ingress];
        let messages = sides.iter().all(|side| side.l7.is_none_or(|answer| answer.decision.allowed));
        let allowed = l4 && messages;
        let rewriting = sides.iter().any(|side| side.l7.is_some_and(|answer| answer.needs_rewriting));
        Ok(FlowLine {
            id: flow.id.clone(),
            egress_l7: l7(&egress),
            ingress_l7: l7(&ingress),
            l4: word(l4),
            verdict: word(allowed),
            needs_rewriting: allowed && rewriting,
            audited: allowed && sides.iter().any(|side| side.audited),
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
            engine.explain(direction, (namespace, name), peer, proto, flow)
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
            let word = "none".to_owned();
            return Side { word, l7: None, allowed: true, audited: false, rules: Vec::new() };
        };
        let snapshot = engine.snapshot();
        let identity = identity(engine, &snapshot, peer);
        let verdict = endpoint.map.lookup(direction, identity, proto, flow.port);
        let (word, l7, rule) = match verdict {
            Verdict::Deny(denial) => ("denied".to_owned(), None, denial.rule),
            Verdict::Allow(permit) => match permit.l7().and_then(|id| snapshot.l7.get(id)) {
                None => ("allowed".to_owned(), None, permit.rule()),
                Some(set) => {
                    let answer = decide(set, flow);
                    let rule = answer.map_or(permit.rule(), |answer| answer.decision.rule);
                    (format!("redirect:{}", set.kind()), answer, rule)
                }
            },
        };
        let (allowed, audited) = match verdict {
            Verdict::Allow(permit) => {
                (true, permit.audited() || l7.is_some_and(|answer| answer.decision.audited))
            }
            Verdict::Deny(_) => (false, false),
        };
        Side { word, l7, allowed, audited, rules: references(&snapshot, rule) }
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
            "ip" => self.address(name.parse().ok()?),
            "reserved" => End::Special(Identity::from_reserved_name(name)?),
            _ => return None,
        })
    }

    /// Whoever has an address; nobody known is somebody outside.
    fn address(&self, ip: IpAddr) -> End<'_> {
        if let Some(pod) = self.inventory.pods.iter().find(|pod| pod.ips.contains(&ip)) {
            return End::Pod { namespace: &pod.namespace, name: &pod.name, node: &pod.node };
        }
        match self.inventory.nodes.iter().find(|node| node.ips.contains(&ip)) {
            Some(node) => End::Node(&node.name),
            None => End::External(ip.into()),
        }
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
