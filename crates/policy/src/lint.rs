//! Warnings about policies that are valid and probably not what was meant.
//!
//! What a single document says is looked at while it is read; here is what takes several of them, or the inventory.
//! Everything is a warning: nothing here changes what is enforced.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::Direction;
use crate::document::{Diagnostic, Severity};
use crate::inventory::Inventory;
use crate::label::{self, Label, LabelSet, NAMESPACE, NAMESPACE_LABELS_PREFIX};
use crate::rule::{
    CidrGroup, Entity, Entry, GroupRef, L7Rules, Peer, Peers, Policy, Port, Ports, Rule, Subject,
};
use crate::selector::Selector;

/// Most findings kept; a reader would not look at more.
const MAX_FINDINGS: usize = 1000;
/// Length of the prefix that stands for the whole world, which nobody mistakes for a network of the cluster.
const EVERYTHING: u8 = 0;

/// Looks at policies together, and with the inventory if there is one.
#[must_use]
pub fn lint(policies: &[Policy], groups: &[CidrGroup], inventory: Option<&Inventory>) -> Vec<Diagnostic> {
    let mut lint = Lint {
        groups,
        world: inventory.map(World::new),
        rules: by_namespace(policies),
        dns: policies.iter().flat_map(|policy| &policy.rules).filter(|rule| inspects_dns(rule)).collect(),
        findings: Vec::new(),
    };
    for policy in policies {
        for rule in &policy.rules {
            lint.subject(policy, rule);
            lint.fqdn_without_dns(policy, rule);
            for direction in [Direction::Ingress, Direction::Egress] {
                for entry in rule.entries(direction) {
                    lint.entry(policy, rule, direction, entry);
                }
            }
        }
    }
    lint.findings
}

/// The inventory, as the checks ask for it.
struct World<'a> {
    pods: Vec<LabelSet>,
    addresses: Vec<(IpAddr, String)>,
    /// Numbers of each named container port, over all pods.
    ports: HashMap<Arc<str>, Vec<u16>>,
    inventory: &'a Inventory,
}

struct Lint<'a> {
    groups: &'a [CidrGroup],
    world: Option<World<'a>>,
    /// Rules by the one namespace their subject is limited to; under the empty name the others.
    rules: HashMap<Arc<str>, Vec<(&'a Policy, &'a Rule)>>,
    /// Rules that let DNS answers be read.
    dns: Vec<&'a Rule>,
    findings: Vec<Diagnostic>,
}

impl<'a> World<'a> {
    fn new(inventory: &'a Inventory) -> Self {
        let namespaces: HashMap<&str, _> =
            inventory.namespaces.iter().map(|namespace| (&*namespace.name, &namespace.labels)).collect();
        let mut pods = Vec::new();
        let mut addresses = Vec::new();
        let mut ports: HashMap<Arc<str>, Vec<u16>> = HashMap::new();
        for pod in &inventory.pods {
            let own = pod.labels.iter().map(|(key, value)| Label::k8s(Arc::clone(key), Arc::clone(value)));
            let inherited = namespaces.get(&*pod.namespace).into_iter().flat_map(|labels| labels.iter());
            let inherited = inherited
                .map(|(key, value)| Label::k8s(format!("{NAMESPACE_LABELS_PREFIX}{key}"), Arc::clone(value)));
            let mut labels: Vec<Label> = own.chain(inherited).collect();
            labels.push(Label::k8s(NAMESPACE, Arc::clone(&pod.namespace)));
            labels.push(Label::k8s(label::CLUSTER, "default"));
            if let Some(account) = &pod.service_account {
                labels.push(Label::k8s(label::SERVICE_ACCOUNT, Arc::clone(account)));
            }
            pods.push(LabelSet::new(labels));
            addresses.extend(pod.ips.iter().map(|ip| (*ip, format!("pod {}/{}", pod.namespace, pod.name))));
            for port in &pod.ports {
                let numbers = ports.entry(Arc::clone(&port.name)).or_default();
                if !numbers.contains(&port.port) {
                    numbers.push(port.port);
                }
            }
        }
        for node in &inventory.nodes {
            addresses.extend(node.ips.iter().map(|ip| (*ip, format!("node {}", node.name))));
        }
        Self { pods, addresses, ports, inventory }
    }

    fn selects(&self, selector: &Selector) -> bool {
        self.pods.iter().any(|labels| selector.matches(labels))
    }
}

impl Lint<'_> {
    fn warn(&mut self, policy: &Policy, line: u32, message: String, suggestion: Option<&str>) {
        if self.findings.len() >= MAX_FINDINGS {
            return;
        }
        self.findings.push(Diagnostic {
            severity: Severity::Warning,
            file: Arc::clone(&policy.file),
            line,
            column: 1,
            path: if policy.namespace.is_empty() {
                format!("{} {}", policy.kind, policy.name)
            } else {
                format!("{} {}/{}", policy.kind, policy.namespace, policy.name)
            },
            message,
            suggestion: suggestion.map(str::to_owned),
        });
    }

    fn subject(&mut self, policy: &Policy, rule: &Rule) {
        let Some(world) = &self.world else { return };
        if let Subject::Endpoint(selector) = &rule.subject
            && !selector.mentions_source(&label::Source::Reserved)
            && !world.selects(selector)
        {
            let message = format!("the rule selects no pod: {selector}");
            self.warn(policy, rule.line, message, None);
        }
    }

    /// Addresses of names are learnt from DNS answers that a DNS rule lets through; without one, never.
    fn fqdn_without_dns(&mut self, policy: &Policy, rule: &Rule) {
        let is_name = |peer: &Peer| matches!(peer, Peer::Fqdn(_));
        let by_name =
            |entry: &&Entry| matches!(&entry.peers, Peers::List(peers) if peers.iter().any(is_name));
        let Some(entry) = rule.egress.iter().find(by_name) else { return };
        let covered = self.dns.iter().any(|other| may_share_subject(&rule.subject, &other.subject));
        if !covered {
            self.warn(
                policy,
                entry.line,
                "`toFQDNs` without a DNS rule for the same pods: no address is ever learnt, so nothing is allowed".to_owned(),
                Some("add an egress rule to the DNS server on port 53 with `rules: {dns: [{matchPattern: \"*\"}]}`"),
            );
        }
    }

    fn entry(&mut self, policy: &Policy, rule: &Rule, direction: Direction, entry: &Entry) {
        self.shadowed(policy, rule, direction, entry);
        self.widened(policy, rule, direction, entry);
        self.named_ports(policy, direction, entry);
        let Peers::List(peers) = &entry.peers else { return };
        for peer in peers.iter() {
            match peer {
                Peer::Endpoints(selector) => self.peer_selects_nothing(policy, entry, selector),
                Peer::Cidr { prefix, except } => self.cidr_in_cluster(policy, entry, *prefix, except),
                Peer::CidrGroup { group: GroupRef::Name(name), .. }
                    if !self.groups.iter().any(|group| group.name == *name) =>
                {
                    let message = format!("there is no CiliumCIDRGroup `{name}`: this matches nothing");
                    self.warn(policy, entry.line, message, None);
                }
                Peer::Service { namespace, service: crate::rule::ServiceRef::Name(name) } => {
                    self.unknown_service(policy, entry, namespace.as_deref(), name);
                }
                _ => {}
            }
        }
    }

    fn peer_selects_nothing(&mut self, policy: &Policy, entry: &Entry, selector: &Selector) {
        let Some(world) = &self.world else { return };
        if selector.mentions_source(&label::Source::Reserved) || world.selects(selector) {
            return;
        }
        let message = format!("no pod matches the peer {selector}");
        let other = selector.requirements().iter().filter(|r| &*r.key.key != NAMESPACE).cloned();
        let elsewhere = !policy.namespace.is_empty() && world.selects(&Selector::new(other));
        let hint = elsewhere.then_some(
            "a peer is looked for in the policy's own namespace unless it names `k8s:io.kubernetes.pod.namespace`",
        );
        self.warn(policy, entry.line, message, hint);
    }

    fn cidr_in_cluster(&mut self, policy: &Policy, entry: &Entry, prefix: IpNet, except: &[IpNet]) {
        let Some(world) = &self.world else { return };
        if prefix.prefix_len() == EVERYTHING {
            return;
        }
        let inside = |ip: &IpAddr| prefix.contains(ip) && !except.iter().any(|hole| hole.contains(ip));
        let mut hits = world.addresses.iter().filter(|(ip, _)| inside(ip));
        let Some((ip, who)) = hits.next() else { return };
        let more = hits.count();
        let others = if more == 0 { String::new() } else { format!(" and {more} more") };
        let message =
            format!("{prefix} covers {ip} of {who}{others}, but a CIDR never matches pods or nodes");
        self.warn(
            policy,
            entry.line,
            message,
            Some("select pods by label, nodes by `host` and `remote-node`"),
        );
    }

    fn unknown_service(&mut self, policy: &Policy, entry: &Entry, namespace: Option<&str>, name: &str) {
        let Some(world) = &self.world else { return };
        let known = world.inventory.services.iter().any(|service| {
            &*service.name == name && namespace.is_none_or(|namespace| namespace == &*service.namespace)
        });
        if !known {
            let message = format!("there is no service `{name}`: this matches nothing");
            self.warn(policy, entry.line, message, None);
        }
    }

    fn named_ports(&mut self, policy: &Policy, direction: Direction, entry: &Entry) {
        let (Some(world), Ports::List(ports)) = (&self.world, &entry.ports) else { return };
        let mut messages = Vec::new();
        for rule in ports {
            let Port::Named(name) = &rule.port else { continue };
            match world.ports.get(name).map_or(&[][..], Vec::as_slice) {
                [] => messages.push(format!("no pod has a port named `{name}`: this matches nothing")),
                [_] => {}
                numbers if direction == Direction::Egress => messages.push(format!(
                    "port name `{name}` is ambiguous ({}): on egress an ambiguous name matches nothing",
                    numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
                )),
                _ => {}
            }
        }
        for message in messages {
            self.warn(policy, entry.line, message, Some("write the number"));
        }
    }

    /// An allow that a deny for the same subject covers entirely.
    fn shadowed(&mut self, policy: &Policy, rule: &Rule, direction: Direction, entry: &Entry) {
        if entry.deny || entry.peers == Peers::None {
            return;
        }
        let found = self.others(rule, direction, |other| {
            other.deny && other.l7.is_none() && other.server_names.is_empty() && covers(other, entry)
        });
        if let Some(place) = found {
            let message = format!("never in effect: everything it allows is denied by {place}");
            self.warn(policy, entry.line, message, None);
        }
    }

    /// Application rules that a plain allow for the same traffic makes ineffective.
    fn widened(&mut self, policy: &Policy, rule: &Rule, direction: Direction, entry: &Entry) {
        if entry.deny || (entry.l7.is_none() && entry.server_names.is_empty()) {
            return;
        }
        let is_dns = matches!(entry.l7, Some(L7Rules::Dns(_)));
        let found = self.others(rule, direction, |other| {
            !other.deny
                && other.l7.is_none()
                && other.server_names.is_empty()
                && other.unsupported.is_none()
                // DNS rules are not united with a rule that leaves the port open.
                && (!is_dns || names_ports(other))
                && covers(other, entry)
        });
        if let Some(place) = found {
            let message =
                format!("the application rules have no effect: all of this traffic is allowed by {place}");
            self.warn(policy, entry.line, message, Some("remove that allow, or add `rules` to it"));
        }
    }

    /// Where an entry that passes the test stands, among the rules with the same subject.
    fn others(&self, rule: &Rule, direction: Direction, test: impl Fn(&Entry) -> bool) -> Option<String> {
        let own = one_namespace(rule);
        let candidates = [Arc::from(""), own].into_iter().filter_map(|namespace| self.rules.get(&namespace));
        let mut candidates =
            candidates.flatten().filter(|(_, other)| subject_covers(&other.subject, &rule.subject));
        candidates.find_map(|(policy, other)| {
            let entry = other.entries(direction).iter().find(|entry| test(entry))?;
            Some(format!("{} ({}:{})", policy.name, policy.file, entry.line))
        })
    }
}

fn by_namespace(policies: &[Policy]) -> HashMap<Arc<str>, Vec<(&Policy, &Rule)>> {
    let mut rules: HashMap<Arc<str>, Vec<(&Policy, &Rule)>> = HashMap::new();
    for policy in policies {
        for rule in &policy.rules {
            rules.entry(one_namespace(rule)).or_default().push((policy, rule));
        }
    }
    rules
}

/// The one namespace that a rule's subject is limited to, or the empty name.
fn one_namespace(rule: &Rule) -> Arc<str> {
    match &rule.subject {
        Subject::Endpoint(selector) => match selector.limits(NAMESPACE) {
            Some([namespace]) => Arc::clone(namespace),
            _ => "".into(),
        },
        Subject::Node(_) => "".into(),
    }
}

fn inspects_dns(rule: &Rule) -> bool {
    rule.egress.iter().any(|entry| !entry.deny && matches!(entry.l7, Some(L7Rules::Dns(_))))
}

/// Whether two subjects can select the same endpoint; unsure means yes.
fn may_share_subject(a: &Subject, b: &Subject) -> bool {
    match (a, b) {
        (Subject::Endpoint(a), Subject::Endpoint(b)) => match (a.limits(NAMESPACE), b.limits(NAMESPACE)) {
            (Some(a), Some(b)) => a.iter().any(|namespace| b.contains(namespace)),
            _ => true,
        },
        (Subject::Node(_), Subject::Node(_)) => true,
        _ => false,
    }
}

fn subject_covers(outer: &Subject, inner: &Subject) -> bool {
    match (outer, inner) {
        (Subject::Endpoint(outer), Subject::Endpoint(inner))
        | (Subject::Node(outer), Subject::Node(inner)) => selector_covers(outer, inner),
        _ => false,
    }
}

/// Whether every requirement of `outer` is one of `inner`: enough to be sure, not needed to be true.
fn selector_covers(outer: &Selector, inner: &Selector) -> bool {
    outer.requirements().iter().all(|requirement| inner.requirements().contains(requirement))
}

/// Whether everything that `inner` matches at L3 and L4 is matched by `outer`; unsure means no.
fn covers(outer: &Entry, inner: &Entry) -> bool {
    let peers = match (&outer.peers, &inner.peers) {
        (Peers::Any, _) => true,
        (Peers::List(outer), Peers::List(inner)) => {
            inner.iter().all(|inner| outer.iter().any(|outer| peer_covers(outer, inner)))
        }
        (Peers::List(outer), Peers::Any) => outer.contains(&Peer::Entity(Entity::All)),
        _ => false,
    };
    peers
        && match (&outer.ports, &inner.ports) {
            (Ports::Any, _) => true,
            (Ports::List(outer), Ports::List(inner)) => {
                inner.iter().all(|inner| outer.iter().any(|outer| port_covers(outer, inner)))
            }
            (Ports::Icmp(outer), Ports::Icmp(inner)) => inner.iter().all(|kind| outer.contains(kind)),
            _ => false,
        }
}

/// Whether every port of an entry is written as one.
fn names_ports(entry: &Entry) -> bool {
    let one = |port: &Port| match port {
        Port::Any => false,
        Port::Numbers(numbers) => numbers.start() == numbers.end(),
        Port::Named(_) => true,
    };
    matches!(&entry.ports, Ports::List(list) if list.iter().all(|rule| one(&rule.port)))
}

fn peer_covers(outer: &Peer, inner: &Peer) -> bool {
    match (outer, inner) {
        (Peer::Entity(Entity::All), _) => true,
        (Peer::Endpoints(outer), Peer::Endpoints(inner)) => selector_covers(outer, inner),
        (Peer::Cidr { prefix: outer, except }, Peer::Cidr { prefix: inner, .. }) if except.is_empty() => {
            outer.contains(inner)
        }
        _ => outer == inner,
    }
}

fn port_covers(outer: &crate::rule::PortRule, inner: &crate::rule::PortRule) -> bool {
    let protocol = outer.protocol == crate::rule::Protocol::Any || outer.protocol == inner.protocol;
    protocol
        && match (&outer.port, &inner.port) {
            (Port::Any, _) => true,
            (Port::Numbers(outer), Port::Numbers(inner)) => {
                outer.contains(inner.start()) && outer.contains(inner.end())
            }
            (outer, inner) => outer == inner,
        }
}

#[cfg(test)]
mod tests;
