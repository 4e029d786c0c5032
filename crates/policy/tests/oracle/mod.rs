//! The oracle: walks every rule for every flow. Slow, obvious, and shares nothing with the compiled path but the
//! types that documents are read into.
#![allow(dead_code)]

use policy::Direction;
use policy::conformance::{Flow, protocol};
use policy::engine::{EnforcementMode, Options};
use policy::inventory::{Inventory, Node, Pod};
use policy::label::{CLUSTER, Label, LabelSet, NAMESPACE, NAMESPACE_LABELS_PREFIX, SERVICE_ACCOUNT};
use policy::rule::{
    CidrGroup, DefaultDeny, Entity, Entry, GroupRef, HttpRule, IcmpFamily, KafkaRule, L7Rules, Mismatch,
    Peer, Peers, Policy, Port, PortRule, Ports, Protocol, Rule, ServiceRef, Subject,
};
use regex_automata::meta::Regex;
use std::net::IpAddr;

/// Everything the oracle looks at.
pub(crate) struct World<'a> {
    pub inventory: &'a Inventory,
    pub policies: &'a [Policy],
    pub groups: &'a [CidrGroup],
    pub options: &'a Options,
}

/// One end of a flow.
#[derive(Copy, Clone)]
pub(crate) enum End<'a> {
    Pod(&'a Pod),
    Node(&'a Node),
    External(IpAddr),
    Special(&'a str),
}

/// What one side says, in the words of `verdicts.json`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub word: String,
    pub l7: Option<bool>,
}

impl<'a> World<'a> {
    pub(crate) fn end(&self, name: &'a str) -> End<'a> {
        let parts: Vec<&str> = name.split('/').collect();
        let found = match parts[..] {
            ["pod", ns, name] => {
                self.inventory.pods.iter().find(|p| *p.namespace == *ns && *p.name == *name).map(End::Pod)
            }
            ["node", name] => self.inventory.nodes.iter().find(|n| *n.name == *name).map(End::Node),
            ["ext", name] => {
                self.inventory.external.iter().find(|e| *e.name == *name).map(|e| End::External(e.ip))
            }
            ["special", name] => {
                self.inventory.special.iter().find(|s| *s.name == *name).map(|s| End::Special(&s.reserved))
            }
            _ => None,
        };
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    pub(crate) fn flow(&self, flow: &'a Flow) -> [Answer; 2] {
        let (src, dst) = (self.end(&flow.src), self.end(&flow.dst));
        [self.side(Direction::Egress, src, dst, flow), self.side(Direction::Ingress, dst, src, flow)]
    }

    pub(crate) fn side(&self, direction: Direction, subject: End<'_>, peer: End<'_>, flow: &Flow) -> Answer {
        let own_node = match subject {
            End::Pod(pod) => &*pod.node,
            End::Node(node) => &*node.name,
            _ => return Answer { word: "none".to_owned(), l7: None },
        };
        if self.options.enforcement == EnforcementMode::Never {
            return Outcome::Plain.answer(flow);
        }
        let rules: Vec<(&Policy, &Rule)> = self
            .policies
            .iter()
            .flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)))
            .filter(|(_, rule)| self.selects(&rule.subject, subject))
            .collect();
        let judge = |with_audited: bool| {
            let rules: Vec<&Rule> = rules
                .iter()
                .filter(|(policy, _)| with_audited || !policy.audit)
                .map(|(_, rule)| *rule)
                .collect();
            self.outcome(&rules, direction, (subject, peer, own_node), flow)
        };
        let (binding, all) = (judge(false), judge(true));
        if self.is_audited(subject) {
            return match all {
                Outcome::Denied => Outcome::Plain.answer(flow),
                other => other.audited().answer(flow),
            };
        }
        match (binding, all) {
            // What only policies in audit mode would inspect is inspected, and let pass.
            (Outcome::Plain, inspected @ Outcome::Inspected { .. }) => inspected.audited().answer(flow),
            (binding, _) => binding.answer(flow),
        }
    }

    fn is_audited(&self, subject: End<'_>) -> bool {
        let options = self.options;
        let (namespace, name) = match subject {
            End::Pod(pod) => (&*pod.namespace, &*pod.name),
            End::Node(node) => ("", &*node.name),
            _ => return false,
        };
        let by_namespace =
            options.audit_namespaces.iter().any(|ns| !namespace.is_empty() && **ns == *namespace);
        let by_name = options.audit_endpoints.iter().any(|one| **one == *format!("{namespace}/{name}"));
        options.audit || by_namespace || by_name
    }

    /// What these rules say, if there were no others.
    fn outcome<'r>(
        &self,
        rules: &[&'r Rule],
        direction: Direction,
        (subject, peer, own_node): (End<'_>, End<'_>, &str),
        flow: &Flow,
    ) -> Outcome<'r> {
        let enforced = self.options.enforcement == EnforcementMode::Always
            || rules.iter().any(|rule| rule.default_deny(direction) == DefaultDeny::On);
        let entries: Vec<&Entry> = rules
            .iter()
            .flat_map(|rule| rule.entries(direction))
            .filter(|entry| self.peers_match(&entry.peers, peer, own_node))
            .filter(|entry| self.ports_match(&entry.ports, direction, subject, flow).0)
            .collect();
        let out_of_sight = |entry: &Entry| entry.l7.is_some() && !entry.server_names.is_empty();
        let plain = |entry: &Entry| entry.l7.is_none() && entry.server_names.is_empty();
        if entries.iter().any(|entry| entry.deny && (plain(entry) || out_of_sight(entry))) {
            return Outcome::Denied;
        }
        if entries.iter().any(|entry| !entry.deny && (entry.unsupported.is_some() || out_of_sight(entry))) {
            return Outcome::Denied;
        }
        let own_host = direction == Direction::Ingress
            && matches!(subject, End::Pod(_))
            && matches!(peer, End::Node(node) if *node.name == *own_node);
        let plain: Vec<&Entry> =
            entries.iter().copied().filter(|entry| !entry.deny && plain(entry)).collect();
        let (allow, deny): (Vec<&Entry>, Vec<&Entry>) =
            entries.iter().copied().filter(|entry| kind_of(entry).is_some()).partition(|entry| !entry.deny);
        if enforced && plain.is_empty() && allow.is_empty() && !own_host {
            return Outcome::Denied;
        }
        let asked = |kind: &&str| allow.iter().chain(&deny).any(|entry| kind_of(entry) == Some(*kind));
        let Some(kind) = ["http", "kafka", "tls", "dns"].into_iter().find(asked) else {
            return Outcome::Plain;
        };
        let names_port = |entry: &&Entry| self.ports_match(&entry.ports, direction, subject, flow).1;
        let everything = !enforced
            || match kind {
                "dns" => plain.iter().any(names_port),
                _ => own_host || !plain.is_empty(),
            };
        Outcome::Inspected { kind, everything, allow, deny, audit: false }
    }

    fn selects(&self, subject: &Subject, end: End<'_>) -> bool {
        match (subject, end) {
            (Subject::Endpoint(selector), End::Pod(pod)) => selector.matches(&self.pod_labels(pod)),
            (Subject::Node(selector), End::Node(node)) => {
                selector.matches(&node.labels.iter().map(|(k, v)| Label::k8s(k.clone(), v.clone())).collect())
            }
            _ => false,
        }
    }

    fn pod_labels(&self, pod: &Pod) -> LabelSet {
        let mut labels: Vec<Label> =
            pod.labels.iter().map(|(k, v)| Label::k8s(k.clone(), v.clone())).collect();
        labels.push(Label::k8s(NAMESPACE, pod.namespace.clone()));
        labels.push(Label::k8s(CLUSTER, "default"));
        labels.extend(pod.service_account.iter().map(|name| Label::k8s(SERVICE_ACCOUNT, name.clone())));
        for namespace in self.inventory.namespaces.iter().filter(|ns| ns.name == pod.namespace) {
            for (key, value) in &namespace.labels {
                labels.push(Label::k8s(format!("{NAMESPACE_LABELS_PREFIX}{key}"), value.clone()));
            }
        }
        labels.into_iter().collect()
    }

    fn labels(&self, peer: End<'_>, own_node: &str) -> LabelSet {
        let reserved = |names: &[&str]| names.iter().map(|name| Label::reserved(*name)).collect();
        match peer {
            End::Pod(pod) => self.pod_labels(pod),
            End::Node(node) => {
                let mut names = vec![if *node.name == *own_node { "host" } else { "remote-node" }];
                names.extend(node.kube_api_server.then_some("kube-apiserver"));
                reserved(&names)
            }
            End::External(ip) => {
                let mut names = vec![if ip.is_ipv4() { "world-ipv4" } else { "world-ipv6" }];
                let api = self.inventory.external.iter().any(|e| e.ip == ip && e.kube_api_server);
                names.extend(api.then_some("kube-apiserver"));
                reserved(&names)
            }
            End::Special(name) => reserved(&[name]),
        }
    }

    fn peers_match(&self, peers: &Peers, peer: End<'_>, own_node: &str) -> bool {
        match peers {
            Peers::Any => true,
            Peers::None => false,
            Peers::List(list) => list.iter().any(|wanted| self.peer_matches(wanted, peer, own_node)),
        }
    }

    fn peer_matches(&self, wanted: &Peer, peer: End<'_>, own_node: &str) -> bool {
        let labels = self.labels(peer, own_node);
        match wanted {
            Peer::Endpoints(selector) => selector.matches(&labels),
            Peer::Entity(entity) => entity_matches(*entity, &labels),
            Peer::Cidr { prefix, except } => {
                matches!(peer, End::External(ip) if prefix.contains(&ip) && !except.iter().any(|e| e.contains(&ip)))
            }
            Peer::CidrGroup { group, except } => {
                let End::External(ip) = peer else { return false };
                let groups = self.groups.iter().filter(|candidate| match group {
                    GroupRef::Name(name) => candidate.name == *name,
                    GroupRef::Selector(selector) => {
                        selector.matches(&candidate.labels.iter().cloned().collect())
                    }
                });
                groups.flat_map(|g| &g.prefixes).any(|p| p.contains(&ip))
                    && !except.iter().any(|e| e.contains(&ip))
            }
            Peer::Service { namespace, service } => {
                let services = self.inventory.services.iter().filter(|candidate| {
                    namespace.as_ref().is_none_or(|ns| *ns == candidate.namespace)
                        && match service {
                            ServiceRef::Name(name) => candidate.name == *name,
                            ServiceRef::Selector(selector) => selector.matches(
                                &candidate
                                    .labels
                                    .iter()
                                    .map(|(k, v)| Label::k8s(k.clone(), v.clone()))
                                    .collect(),
                            ),
                        }
                });
                services.into_iter().any(|service| match peer {
                    End::Pod(pod) => {
                        !service.selector.is_empty()
                            && pod.namespace == service.namespace
                            && service.selector.iter().all(|pair| pod.labels.contains(pair))
                    }
                    End::External(ip) => service.selector.is_empty() && service.endpoints.contains(&ip),
                    _ => false,
                })
            }
            Peer::Fqdn(name) => {
                let End::External(ip) = peer else { return false };
                let same = self.inventory.external.iter().filter(|e| e.ip == ip);
                same.flat_map(|e| &e.dns_names).any(|seen| name.matches(seen))
            }
        }
    }

    /// Whether the ports match, and whether one does that names this very port.
    fn ports_match(
        &self,
        ports: &Ports,
        direction: Direction,
        subject: End<'_>,
        flow: &Flow,
    ) -> (bool, bool) {
        let proto = protocol(&flow.proto).expect("a protocol");
        match ports {
            Ports::Any => (true, false),
            Ports::Icmp(types) => {
                let hit = types.iter().any(|icmp| {
                    let family = if icmp.family == IcmpFamily::V4 { 1 } else { 58 };
                    family == proto && (icmp.kind == 0 || u16::from(icmp.kind) == flow.port)
                });
                (hit, hit)
            }
            Ports::List(list) => {
                let hits: Vec<&PortRule> = list
                    .iter()
                    .filter(|rule| proto_matches(rule.protocol, proto))
                    .filter(|rule| match &rule.port {
                        Port::Any => true,
                        Port::Numbers(range) => range.contains(&flow.port),
                        Port::Named(name) => self.named(name, proto, direction, subject) == Some(flow.port),
                    })
                    .collect();
                let names = hits.iter().any(|rule| match &rule.port {
                    Port::Any => false,
                    Port::Numbers(range) => range.start() == range.end(),
                    Port::Named(_) => true,
                });
                (!hits.is_empty(), names)
            }
        }
    }

    fn named(&self, name: &str, proto: u8, direction: Direction, subject: End<'_>) -> Option<u16> {
        let pods: Vec<&Pod> = match (direction, subject) {
            (Direction::Egress, _) => self.inventory.pods.iter().collect(),
            (Direction::Ingress, End::Pod(pod)) => vec![pod],
            _ => Vec::new(),
        };
        let ports = pods.iter().flat_map(|pod| &pod.ports);
        let mut numbers: Vec<u16> = ports
            .filter(|port| *port.name == *name && proto_matches(port.protocol, proto))
            .map(|port| port.port)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.len() == 1 { numbers.pop() } else { None }
    }
}

fn proto_matches(protocol: Protocol, number: u8) -> bool {
    match protocol {
        Protocol::Any => [6, 17, 132].contains(&number),
        Protocol::Tcp => number == 6,
        Protocol::Udp => number == 17,
        Protocol::Sctp => number == 132,
    }
}

fn entity_matches(entity: Entity, labels: &LabelSet) -> bool {
    let any = |names: &[&str]| names.iter().any(|name| labels.has_reserved(name));
    match entity {
        Entity::All => true,
        Entity::None => false,
        Entity::World => any(&["world", "world-ipv4", "world-ipv6"]),
        Entity::Cluster => {
            any(&["host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"])
                || labels.k8s(CLUSTER) == Some("default")
        }
        other => any(&[other.as_str()]),
    }
}

fn kind_of(entry: &Entry) -> Option<&'static str> {
    match &entry.l7 {
        Some(rules) => Some(rules.protocol()),
        None => (!entry.server_names.is_empty()).then_some("tls"),
    }
}

/// What rules say about a connection.
enum Outcome<'a> {
    Denied,
    Plain,
    Inspected {
        kind: &'static str,
        everything: bool,
        allow: Vec<&'a Entry>,
        deny: Vec<&'a Entry>,
        audit: bool,
    },
}

impl Outcome<'_> {
    fn audited(self) -> Self {
        match self {
            Self::Inspected { kind, everything, allow, deny, .. } => {
                Self::Inspected { kind, everything, allow, deny, audit: true }
            }
            other => other,
        }
    }

    fn answer(&self, flow: &Flow) -> Answer {
        match self {
            Self::Denied => Answer { word: "denied".to_owned(), l7: None },
            Self::Plain => Answer { word: "allowed".to_owned(), l7: None },
            Self::Inspected { kind, everything, allow, deny, audit } => {
                let allowed = || *audit || message_allowed(kind, *everything, allow, deny, flow);
                Answer { word: format!("redirect:{kind}"), l7: flow.has_message().then(allowed) }
            }
        }
    }
}

fn message_allowed(kind: &str, everything: bool, allow: &[&Entry], deny: &[&Entry], flow: &Flow) -> bool {
    let speaks = match kind {
        "http" => flow.http.is_some(),
        "dns" => flow.dns.is_some(),
        "tls" => flow.tls.is_some(),
        _ => flow.kafka.is_some(),
    };
    let of_kind = |list: &[&Entry]| -> Vec<Entry> {
        list.iter().filter(|entry| kind_of(entry) == Some(kind)).map(|entry| Entry::clone(entry)).collect()
    };
    let (allow, deny) = (of_kind(allow), of_kind(deny));
    if !speaks || deny.iter().any(|entry| entry_fits(entry, flow)) {
        return false;
    }
    if kind == "kafka" {
        // Each topic may be allowed by a rule of its own.
        let rules = allow.iter().filter_map(|entry| match &entry.l7 {
            Some(L7Rules::Kafka(list)) => Some(list),
            _ => None,
        });
        return everything || kafka_allowed(&rules.flatten().collect::<Vec<_>>(), flow);
    }
    everything || allow.iter().any(|entry| entry_fits(entry, flow))
}

/// Whether the message is one that the entry speaks about.
fn entry_fits(entry: &Entry, flow: &Flow) -> bool {
    match &entry.l7 {
        Some(L7Rules::Http(list)) => list.iter().any(|rule| http_matches(rule, flow, entry.deny)),
        Some(L7Rules::Dns(list)) => {
            flow.dns.as_ref().is_some_and(|dns| list.iter().any(|name| name.matches(&dns.name)))
        }
        Some(L7Rules::Kafka(list)) => flow.kafka.as_ref().is_some_and(|kafka| {
            let head = |rule: &&KafkaRule| {
                kafka_allowed(&[&KafkaRule { topic: None, ..KafkaRule::clone(rule) }], flow)
            };
            list.iter().filter(head).any(|rule| match &rule.topic {
                Some(topic) => kafka.topics.is_empty() || kafka.topics.iter().any(|one| **one == **topic),
                None => true,
            })
        }),
        None => {
            let name = flow.tls.as_ref().and_then(|hello| hello.server_name.as_deref());
            name.is_some_and(|name| entry.server_names.iter().any(|wanted| wanted.matches(name)))
        }
    }
}

fn http_matches(rule: &HttpRule, flow: &Flow, denying: bool) -> bool {
    let Some(http) = &flow.http else { return false };
    let whole = |pattern: &Option<std::sync::Arc<str>>, text: &str| {
        pattern.as_ref().is_none_or(|pattern| {
            Regex::new(&format!(r"\A(?:{pattern})\z")).expect("a pattern that was validated").is_match(text)
        })
    };
    whole(&rule.method, &http.method)
        && whole(&rule.path, &http.path)
        && whole(&rule.host, &http.host)
        && rule.headers.iter().filter(|header| denying || header.mismatch == Mismatch::Fail).all(|header| {
            let mut fields = http.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(&header.name));
            fields
                .next()
                .is_some_and(|(_, value)| header.value.as_ref().is_none_or(|wanted| **wanted == *value))
        })
}

fn kafka_allowed(rules: &[&KafkaRule], flow: &Flow) -> bool {
    let Some(kafka) = &flow.kafka else { return false };
    let fitting: Vec<&&KafkaRule> = rules
        .iter()
        .filter(|rule| rule.api_keys.is_empty() || rule.api_keys.contains(&kafka.api_key))
        .filter(|rule| rule.api_version.is_none_or(|version| version == kafka.api_version))
        .filter(|rule| rule.client_id.as_ref().is_none_or(|id| **id == *kafka.client_id))
        .collect();
    let covers =
        |topic: &str| fitting.iter().any(|rule| rule.topic.as_ref().is_none_or(|wanted| **wanted == *topic));
    !fitting.is_empty() && kafka.topics.iter().all(|topic| covers(topic))
}
