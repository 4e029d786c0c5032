//! Equal rights put together, so that a policy says each thing once.

use super::{Grant, Rights, Wanted, conditions};
use crate::cidr::{self, Outside};
use crate::document::{Element, Peers, Port, PortRules, Rules, clean};
use crate::fact::Transport;
use crate::http;
use crate::kafka;
use crate::names::Name;
use crate::options::Options;
use crate::select::Workload;
use flowlog::record::Time;
use policy::Direction;
use std::collections::{BTreeMap, BTreeSet};

/// Most elements of `ports` and of `fields` that the API admits.
const MAX_ITEMS: usize = 40;
/// Different ports of one protocol beyond which they become one range.
const MAX_PORTS: usize = 256;
/// Lines of evidence about messages.
const MAX_LINES: usize = 12;

/// What is put together: the parts of an element.
struct Part<P> {
    peers: BTreeSet<P>,
    rights: Rights,
}

/// The elements of one direction.
pub(super) fn elements(
    direction: Direction,
    subject: &Workload,
    wanted: &Wanted,
    options: &Options,
    notes: &mut BTreeMap<String, u64>,
) -> Vec<Element> {
    let mut writer = Writer { direction, options, notes };
    let mut entities = wanted.entities.clone();
    let mut found = Vec::new();
    let mut cidrs: Vec<(Vec<ipnet::IpNet>, Rights)> = Vec::new();
    for (transport, grants) in &wanted.outside {
        for (outside, grant) in writer.outside(grants) {
            match outside {
                Outside::Prefixes(list) => cidrs.push((list, [(*transport, grant)].into())),
                Outside::World => {
                    entities.entry("world").or_default().insert(*transport, grant);
                }
            }
        }
    }
    for part in writer.group(wanted.pods.iter().map(|(peer, rights)| (peer.clone(), rights.clone()))) {
        let peers = writer.endpoints(subject, &part.peers);
        found.extend(writer.write(&peers, &part.rights));
    }
    for part in writer.group(entities) {
        let peers = Peers::Entities(part.peers.into_iter().collect());
        found.extend(writer.write(&peers, &part.rights));
    }
    // Ports with the same addresses, or names, go together.
    let mut by_list: BTreeMap<Peers, Rights> = BTreeMap::new();
    for (list, rights) in cidrs {
        by_list.entry(Peers::Cidr(list)).or_default().extend(rights);
    }
    for (transport, grants) in &wanted.named {
        let mut alike: BTreeMap<String, (BTreeSet<String>, Vec<&Grant>)> = BTreeMap::new();
        for (name, grant) in grants {
            let alike = alike.entry(signature(&writer.rules(*transport, grant))).or_default();
            alike.0.insert(name.clone());
            alike.1.push(grant);
        }
        for (names, grants) in alike.into_values() {
            let list = conditions(&names, options);
            by_list.entry(Peers::Names(list)).or_default().insert(*transport, Grant::union(grants));
        }
    }
    for (peers, rights) in by_list {
        found.extend(writer.write(&peers, &rights));
    }
    found
}

struct Writer<'a> {
    direction: Direction,
    options: &'a Options,
    notes: &'a mut BTreeMap<String, u64>,
}

impl Writer<'_> {
    fn note(&mut self, what: &str) {
        *self.notes.entry(what.to_owned()).or_default() += 1;
    }

    /// Peers with the same rights.
    fn group<P: Ord>(&mut self, all: impl IntoIterator<Item = (P, Rights)>) -> Vec<Part<P>> {
        let mut parts: BTreeMap<String, Part<P>> = BTreeMap::new();
        for (peer, rights) in all {
            let rules: Vec<_> = rights
                .iter()
                .map(|(transport, grant)| {
                    format!("{transport:?} {}", signature(&self.rules(*transport, grant)))
                })
                .collect();
            let part = parts
                .entry(rules.join("\n"))
                .or_insert_with(|| Part { peers: BTreeSet::new(), rights: Rights::new() });
            part.peers.insert(peer);
            for (transport, grant) in rights {
                part.rights.entry(transport).or_default().merge(&grant);
            }
        }
        let mut parts: Vec<Part<P>> = parts.into_values().collect();
        parts.sort_by(|a, b| a.peers.first().cmp(&b.peers.first()));
        parts
    }

    /// Workloads one by one; too many of them by their namespaces, and too many of those as the cluster.
    fn endpoints(&mut self, subject: &Workload, peers: &BTreeSet<Workload>) -> Peers {
        let write = |peers: &BTreeSet<Workload>| peers.iter().map(|peer| peer.peer(subject)).collect();
        if peers.len() <= self.options.peer_threshold {
            return Peers::Endpoints(write(peers));
        }
        let namespaces: BTreeSet<Workload> =
            peers.iter().map(|peer| Workload::whole_namespace(&peer.namespace)).collect();
        if namespaces.len() <= self.options.peer_threshold {
            self.note("lists of workloads widened to their namespaces");
            return Peers::Endpoints(write(&namespaces));
        }
        self.note("lists of workloads widened to the whole cluster");
        Peers::Entities(vec!["cluster"])
    }

    /// Addresses with the same rules; all together where they are many.
    fn outside(&mut self, grants: &BTreeMap<std::net::IpAddr, Grant>) -> Vec<(Outside, Grant)> {
        let mut alike: BTreeMap<String, (BTreeSet<std::net::IpAddr>, Vec<&Grant>)> = BTreeMap::new();
        let many = grants.len() > self.options.cidr_threshold;
        for (address, grant) in grants {
            let rules =
                if many { String::new() } else { signature(&self.rules(Transport::Port("TCP", 1), grant)) };
            let alike = alike.entry(rules).or_default();
            alike.0.insert(*address);
            alike.1.push(grant);
        }
        if many {
            self.note("lists of outside addresses widened to prefixes or the world");
        }
        let threshold = self.options.cidr_threshold;
        let all = alike.into_values();
        all.map(|(addresses, grants)| (cidr::prefixes(&addresses, threshold), Grant::union(grants))).collect()
    }

    /// The conditions on messages of a right.
    fn rules(&self, transport: Transport, grant: &Grant) -> Rules {
        let messages = &grant.messages;
        if grant.any_name && super::is_dns(transport) {
            return Rules::Dns(vec![Name::any()]);
        }
        let kinds = [
            !messages.http.is_empty(),
            !messages.kafka.is_empty(),
            !messages.dns.is_empty(),
            !messages.tls.is_empty(),
        ];
        if grant.plain || kinds.iter().filter(|kind| **kind).count() != 1 {
            return Rules::None;
        }
        if !messages.http.is_empty() {
            return Rules::Http(http::rules(&messages.http, self.options.path_threshold).0);
        }
        if !messages.kafka.is_empty() {
            return Rules::Kafka(kafka::rules(&messages.kafka));
        }
        let names = |names| conditions(names, self.options);
        if !messages.dns.is_empty() {
            return Rules::Dns(names(&messages.dns));
        }
        match names(&messages.tls) {
            list if list.contains(&Name::any()) => Rules::None,
            list => Rules::Tls(list),
        }
    }

    /// The elements for peers and their rights: one for ports, one for ICMP.
    fn write(&mut self, peers: &Peers, rights: &Rights) -> Vec<Element> {
        let (mut plain, mut icmp) = (BTreeMap::new(), BTreeMap::new());
        let mut ruled: Vec<(Rules, Vec<Port>, Vec<&Grant>)> = Vec::new();
        for (transport, grant) in rights {
            match (*transport, self.rules(*transport, grant)) {
                (Transport::Icmp(family, kind), _) => {
                    icmp.insert((family, kind), grant);
                }
                (Transport::Port(protocol, port), Rules::None) => {
                    plain.insert((protocol, port), grant);
                }
                (Transport::Port(protocol, port), rules) => {
                    let port = Port { protocol, first: port, last: port };
                    match ruled.iter_mut().find(|(other, ..)| signature(other) == signature(&rules)) {
                        Some((_, ports, grants)) => {
                            ports.push(port);
                            grants.push(grant);
                        }
                        None => ruled.push((rules, vec![port], vec![grant])),
                    }
                }
            }
        }
        let direction = self.direction;
        let element =
            |ports, icmp, comments| Element { direction, peers: peers.clone(), ports, icmp, comments };
        let mut found = Vec::new();
        let grants: Vec<&Grant> = plain
            .values()
            .copied()
            .chain(ruled.iter().flat_map(|(_, _, grants)| grants.iter().copied()))
            .collect();
        let mut comments = evidence(self.direction, &grants);
        let mut ports: Vec<PortRules> = Vec::new();
        let (list, widened) = ranges(plain.keys().copied());
        for chunk in list.chunks(MAX_ITEMS) {
            ports.push(PortRules { ports: chunk.to_vec(), rules: Rules::None });
        }
        for (rules, list, grants) in ruled {
            let rules = match &rules {
                // With the evidence of all of them.
                Rules::Http(_) => {
                    let (rules, cut) =
                        http::rules(&Grant::union(grants).messages.http, self.options.path_threshold);
                    if cut {
                        self.note("lists of paths cut to their first segments");
                    }
                    Rules::Http(rules)
                }
                _ => rules,
            };
            comments.extend(about(&rules));
            for chunk in list.chunks(MAX_ITEMS) {
                ports.push(PortRules { ports: chunk.to_vec(), rules: rules.clone() });
            }
        }
        if !ports.is_empty() {
            found.push(element(ports, Vec::new(), comments));
        }
        let types: Vec<(&'static str, u8)> = icmp.keys().copied().collect();
        let grants: Vec<&Grant> = icmp.values().copied().collect();
        for chunk in types.chunks(MAX_ITEMS) {
            found.push(element(Vec::new(), chunk.to_vec(), evidence(self.direction, &grants)));
        }
        if widened {
            self.note("lists of ports widened to a range");
        }
        found
    }
}

/// What tells conditions apart: all of them but their evidence.
fn signature(rules: &Rules) -> String {
    serde_json::to_string(&PortRules { ports: Vec::new(), rules: rules.clone() }).unwrap_or_default()
}

/// Runs of ports as ranges; far too many become one.
fn ranges(ports: impl Iterator<Item = (&'static str, u16)>) -> (Vec<Port>, bool) {
    let mut by_protocol: BTreeMap<&'static str, Vec<u16>> = BTreeMap::new();
    for (protocol, port) in ports {
        by_protocol.entry(protocol).or_default().push(port);
    }
    let (mut found, mut widened) = (Vec::new(), false);
    for (protocol, list) in by_protocol {
        let port = |first, last| Port { protocol, first, last };
        if list.len() > MAX_PORTS {
            widened = true;
            found.extend(list.first().zip(list.last()).map(|(first, last)| port(*first, *last)));
            continue;
        }
        let mut runs: Vec<Port> = Vec::new();
        for number in list {
            match runs.last_mut() {
                Some(run) if run.last.checked_add(1) == Some(number) => run.last = number,
                _ => runs.push(port(number, number)),
            }
        }
        for run in runs {
            // Two neighbours are no range to a reader.
            if run.last == run.first + 1 {
                found.extend([port(run.first, run.first), port(run.last, run.last)]);
            } else {
                found.push(run);
            }
        }
    }
    (found, widened)
}

/// The evidence for an element in a line.
fn evidence(direction: Direction, grants: &[&Grant]) -> Vec<String> {
    let all = Grant::union(grants.iter().copied());
    let mut lines = Vec::new();
    let word = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    if all.evidence.records > 0 {
        let time = |time: Option<Time>| time.map_or_else(|| "?".to_owned(), |time| format!("{:.0}", time.0));
        let (first, last) = (time(all.evidence.first), time(all.evidence.last));
        let when = if first == last { first } else { format!("{first} to {last}") };
        let mut line =
            format!("Seen: {} records, {when}, {word} {}", all.evidence.records, all.evidence.peers.list());
        for (count, what) in [
            (all.evidence.denied, "refused by default deny"),
            (all.evidence.audited, "let pass by audit mode"),
        ] {
            if count > 0 {
                line.push_str(&format!("; {count} {what}"));
            }
        }
        lines.push(line);
    }
    if grants.iter().any(|grant| grant.assumed) {
        lines.push(
            "Not seen: names are learnt from the answers of the DNS server, so it must be asked.".to_owned(),
        );
    }
    lines
}

/// The evidence for conditions on messages.
fn about(rules: &Rules) -> Vec<String> {
    let Rules::Http(list) = rules else { return Vec::new() };
    let line = |rule: &http::Rule| {
        let examples: Vec<String> = rule.asked.paths.examples().map(clean).collect();
        let many = if rule.asked.records == 1 { "" } else { "s" };
        let (method, path, records) = (&rule.method, &rule.path, rule.asked.records);
        format!("  {method} {path}: {records} request{many}, such as {}", examples.join(" "))
    };
    let mut lines: Vec<String> = list.iter().take(MAX_LINES).map(line).collect();
    if list.len() > MAX_LINES {
        lines.push(format!("  … and {} more", list.len() - MAX_LINES));
    }
    lines
}
