//! From what was seen to policies: who gets what on which side, then equal rights put together.

mod group;

use crate::document::{Document, Side};
use crate::existing::{Existing, Missing};
use crate::fact::Transport;
use crate::few::Evidence;
use crate::names::Name;
use crate::options::Options;
use crate::seen::{End, Key, Log, Messages, Seen};
use crate::select::{Workload, workloads};
use policy::Direction;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Where DNS servers listen.
const DNS_PORT: u16 = 53;

/// The right to one port, and what speaks for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grant {
    pub(crate) evidence: Evidence,
    pub(crate) messages: Messages,
    /// Every message, because some of it was seen without any.
    pub(crate) plain: bool,
    /// Every DNS name.
    pub(crate) any_name: bool,
    /// The name server that is asked was not seen.
    pub(crate) assumed: bool,
}

/// Rights by port.
pub(crate) type Rights = BTreeMap<Transport, Grant>;

/// One direction of one workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) pods: BTreeMap<Workload, Rights>,
    pub(crate) entities: BTreeMap<&'static str, Rights>,
    pub(crate) outside: BTreeMap<Transport, BTreeMap<IpAddr, Grant>>,
    pub(crate) named: BTreeMap<Transport, BTreeMap<String, Grant>>,
    /// Something of it worked.
    works: bool,
    /// Something was seen, if policies that are there allow it already.
    seen: bool,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.entities.is_empty() && self.outside.is_empty() && self.named.is_empty()
    }
}

impl Grant {
    fn merge(&mut self, other: &Self) {
        self.evidence.merge(&other.evidence);
        self.messages.merge(&other.messages);
        self.plain |= other.plain;
        self.any_name |= other.any_name;
        self.assumed |= other.assumed;
    }

    pub(crate) fn union<'a>(grants: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        grants.into_iter().for_each(|grant| all.merge(grant));
        all
    }
}

/// What is built, and what should be said about it.
pub(crate) struct Built {
    pub(crate) documents: Vec<Document>,
    pub(crate) notes: Vec<String>,
}

struct Builder<'a> {
    log: &'a Log,
    options: &'a Options,
    workloads: Vec<Workload>,
    existing: Option<Existing>,
    wanted: BTreeMap<Workload, [Wanted; 2]>,
    notes: BTreeMap<String, u64>,
}

/// Makes policies of what was seen.
pub(crate) fn build(log: &Log, options: &Options) -> Built {
    let (workloads, large) = workloads(&log.classes);
    let existing = (!options.existing.is_empty()).then(|| Existing::new(&options.existing, log));
    let mut builder =
        Builder { log, options, workloads, existing, wanted: BTreeMap::new(), notes: BTreeMap::new() };
    if large {
        builder.note("namespaces with too many workloads to tell whether a selector also catches others");
    }
    for (key, seen) in &log.flows {
        builder.flow(key, seen);
    }
    builder.dns();
    builder.finish()
}

impl Builder<'_> {
    fn note(&mut self, what: &str) {
        *self.notes.entry(what.to_owned()).or_default() += 1;
    }

    /// The workload at an end, if a policy is to be made for it.
    fn subject(&self, end: &End) -> Option<Workload> {
        let End::Pods(number) = end else { return None };
        let (class, local) = self.log.classes.get(*number as usize)?;
        let on_this_node = *local || !self.log.classes.iter().any(|(_, local)| *local);
        let subjects = &self.options.subjects;
        let wanted = subjects.is_empty()
            || subjects.iter().any(|subject| subject.selects(&class.namespace, &class.labels));
        (on_this_node && wanted).then(|| self.workloads.get(*number as usize).cloned()).flatten()
    }

    fn flow(&mut self, key: &Key, seen: &Seen) {
        let wanted = seen.works() || (self.options.include_denied && seen.is_denied());
        if !wanted {
            return self.note(if seen.is_denied() {
                "flows that default deny refused (see --include-denied)"
            } else {
                "flows that a deny rule refused"
            });
        }
        let (source, destination) = (self.subject(&key.source), self.subject(&key.destination));
        if source.is_none() && destination.is_none() {
            return self.note("flows between workloads that no policy is made for here");
        }
        if seen.only_refused_messages() {
            return self.note("flows of which every message was refused or unreadable");
        }
        let messages = if self.options.l7 { self.messages(key, seen) } else { Messages::default() };
        let (at_source, at_destination) = match (messages.dns.is_empty(), &destination) {
            (true, Some(_)) => (Messages::default(), messages),
            _ => (messages, Messages::default()),
        };
        if let Some(subject) = source {
            self.grant(Direction::Egress, subject, key, seen, &at_source);
        }
        if let Some(subject) = destination {
            self.grant(Direction::Ingress, subject, key, seen, &at_destination);
        }
    }

    /// Messages that a rule can be made of: those of one protocol, on a port where it may stand.
    fn messages(&mut self, key: &Key, seen: &Seen) -> Messages {
        let all = &seen.messages;
        let mut kept = Messages::default();
        let over_tcp = matches!(key.transport, Transport::Port("TCP", _));
        let over_dns =
            matches!(key.transport, Transport::Port("TCP" | "UDP", _)) && matches!(&key.source, End::Pods(_));
        let tls = !all.tls.is_empty() || all.nameless;
        let kinds = [!all.http.is_empty(), !all.kafka.is_empty(), !all.dns.is_empty(), tls];
        if kinds.iter().filter(|kind| **kind).count() > 1 {
            self.note("ports on which several protocols were seen, so that every message is allowed");
        } else if over_dns && !all.dns.is_empty() {
            kept.dns.clone_from(&all.dns);
        } else if over_tcp && !all.nameless {
            kept = all.clone();
        }
        kept
    }

    fn grant(
        &mut self,
        direction: Direction,
        subject: Workload,
        key: &Key,
        seen: &Seen,
        messages: &Messages,
    ) {
        let (peer, evidence) = match direction {
            Direction::Ingress => (&key.source, &seen.sources),
            Direction::Egress => (&key.destination, &seen.destinations),
        };
        let wanted = &mut self.wanted.entry(subject).or_default()[direction as usize];
        wanted.seen = true;
        wanted.works |= seen.works();
        let missing = match &self.existing {
            Some(existing) => existing.missing(key, direction, messages),
            None => Missing::This(messages.clone()),
        };
        let Missing::This(messages) = missing else { return };
        let plain = messages.is_empty();
        let grant = Grant { evidence: evidence.clone(), messages, plain, ..Grant::default() };
        let transport = key.transport;
        match peer {
            End::Pods(number) => {
                let Some(peer) = self.workloads.get(*number as usize) else { return };
                wanted.pods.entry(peer.clone()).or_default().entry(transport).or_default().merge(&grant);
            }
            End::Entity(name) => {
                wanted.entities.entry(name).or_default().entry(transport).or_default().merge(&grant);
            }
            End::Address(address) => {
                let names =
                    if direction == Direction::Egress { self.names(key, *address) } else { BTreeSet::new() };
                let Some(wanted) = self.wanted_again(direction, key) else { return };
                if names.is_empty() {
                    wanted.outside.entry(transport).or_default().entry(*address).or_default().merge(&grant);
                }
                for name in names {
                    wanted.named.entry(transport).or_default().entry(name).or_default().merge(&grant);
                }
            }
        }
    }

    fn wanted_again(&mut self, direction: Direction, key: &Key) -> Option<&mut Wanted> {
        let end = match direction {
            Direction::Ingress => &key.destination,
            Direction::Egress => &key.source,
        };
        let subject = self.subject(end)?;
        self.wanted.get_mut(&subject).map(|sides| &mut sides[direction as usize])
    }

    /// The names by which an address was meant: those in TLS hellos, else those that the pod asked for, else all.
    fn names(&self, key: &Key, address: IpAddr) -> BTreeSet<String> {
        let Some(known) = self.log.names.get(&address) else { return BTreeSet::new() };
        if known.len() < 2 {
            return known.clone();
        }
        let of = |test: &dyn Fn(&Key) -> bool, names: fn(&Messages) -> &BTreeSet<String>| {
            let flows = self.log.flows.iter().filter(|(other, _)| other.source == key.source && test(other));
            let asked: BTreeSet<&String> = flows.flat_map(|(_, seen)| names(&seen.messages)).collect();
            known.iter().filter(|name| asked.contains(name)).cloned().collect::<BTreeSet<_>>()
        };
        let hello = of(&|other| other.destination == key.destination, |messages| &messages.tls);
        if !hello.is_empty() {
            return hello;
        }
        let asked = of(&|_| true, |messages| &messages.dns);
        if asked.is_empty() { known.clone() } else { asked }
    }

    /// Names are learnt from answers that a DNS rule lets through: whoever has rules by name gets one.
    fn dns(&mut self) {
        let servers: BTreeMap<&Workload, u64> =
            self.log.flows.iter().filter(|(key, _)| is_dns(key.transport)).fold(
                BTreeMap::new(),
                |mut servers, (key, seen)| {
                    if let End::Pods(number) = key.destination
                        && let Some(server) = self.workloads.get(number as usize)
                    {
                        *servers.entry(server).or_default() += seen.destinations.records;
                    }
                    servers
                },
            );
        let usual = servers.iter().max_by_key(|(server, records)| (**records, std::cmp::Reverse(**server)));
        let usual = usual.map_or_else(Workload::kube_dns, |(server, _)| (*server).clone());
        let subjects: Vec<Workload> = self.wanted.keys().cloned().collect();
        for subject in subjects {
            let learnt = self.learnt(&subject);
            let Some(wanted) =
                self.wanted.get_mut(&subject).map(|sides| &mut sides[Direction::Egress as usize])
            else {
                continue;
            };
            let names: BTreeSet<String> =
                wanted.named.values().flat_map(|names| names.keys().cloned()).collect();
            if names.is_empty() || names.iter().all(|name| learnt.contains(name)) {
                continue;
            }
            let mut asks = false;
            let rights = wanted
                .pods
                .values_mut()
                .chain(wanted.entities.values_mut())
                .flat_map(|rights| rights.iter_mut());
            let outside = wanted
                .outside
                .iter_mut()
                .flat_map(|(transport, grants)| grants.values_mut().map(move |grant| (transport, grant)));
            for (_, grant) in rights.chain(outside).filter(|(transport, _)| is_dns(**transport)) {
                asks = true;
                if grant.messages.dns.is_empty() {
                    grant.any_name = true;
                } else {
                    grant.messages.dns.extend(names.iter().cloned());
                }
            }
            if !asks {
                let grant = Grant { any_name: true, assumed: true, ..Grant::default() };
                wanted.pods.entry(usual.clone()).or_default().insert(Transport::Port("UDP", DNS_PORT), grant);
            }
        }
    }

    /// Names that the pods of a workload may already ask for.
    fn learnt(&self, subject: &Workload) -> BTreeSet<String> {
        let Some(existing) = &self.existing else { return BTreeSet::new() };
        let asked = self
            .log
            .flows
            .keys()
            .filter(|key| is_dns(key.transport) && self.subject(&key.source).as_ref() == Some(subject));
        let Some(wanted) = self.wanted.get(subject).map(|sides| &sides[Direction::Egress as usize]) else {
            return BTreeSet::new();
        };
        let keys: Vec<&Key> = asked.collect();
        let names = wanted.named.values().flat_map(|names| names.keys());
        names.filter(|name| keys.iter().any(|key| existing.may_ask(key, name))).cloned().collect()
    }

    fn finish(mut self) -> Built {
        let mut documents = Vec::new();
        let mut taken = Existing::names(&self.options.existing);
        for (subject, sides) in std::mem::take(&mut self.wanted) {
            let [ingress, egress] = sides;
            if ingress.is_empty() && egress.is_empty() {
                continue;
            }
            let works = ingress.works || egress.works;
            let mut comments =
                vec![format!("Workload {}/{}, as it was seen.", subject.namespace, subject.name())];
            if subject.labels.is_empty() {
                comments.push(
                    "Careful: its pods have no labels, so this selects others without labels, too."
                        .to_owned(),
                );
            }
            // Beside policies that are there, what is missing is added, and nothing taken away.
            let may_close =
                self.options.close_unseen && !self.options.add_only && self.options.existing.is_empty();
            let mut make = |direction, wanted: &Wanted| {
                if wanted.is_empty() {
                    let close = works && !wanted.seen && may_close;
                    return if close { Side::Closed } else { Side::Open };
                }
                let elements = group::elements(direction, &subject, wanted, self.options, &mut self.notes);
                if wanted.works && !self.options.add_only {
                    Side::Only(elements)
                } else {
                    Side::Also(elements)
                }
            };
            let (ingress, egress) = (make(Direction::Ingress, &ingress), make(Direction::Egress, &egress));
            for (word, side) in [("ingress", &ingress), ("egress", &egress)] {
                if matches!(side, Side::Also(_)) {
                    comments.push(format!(
                        "Adds to the {word} rules that are there; does not switch on default deny itself."
                    ));
                }
            }
            let base = format!("{}-suggested", subject.name());
            let mut name = base.clone();
            for number in 2_u32.. {
                if taken.insert((subject.namespace.clone(), name.clone())) {
                    break;
                }
                name = format!("{base}-{number}");
            }
            documents.push(Document {
                name,
                namespace: subject.namespace.clone(),
                subject,
                audit: self.options.audit,
                ingress,
                egress,
                comments,
            });
        }
        documents.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let ignored = self.log.ignored.iter().map(|(why, count)| format!("not considered: {count} {why}"));
        let notes = self.notes.iter().map(|(what, count)| format!("{count} {what}"));
        Built { documents, notes: notes.chain(ignored).collect() }
    }
}

pub(crate) fn is_dns(transport: Transport) -> bool {
    matches!(transport, Transport::Port("UDP" | "TCP", DNS_PORT))
}

/// The conditions of `toFQDNs`, and of rules for names.
pub(crate) fn conditions(names: &BTreeSet<String>, options: &Options) -> Vec<Name> {
    crate::names::conditions(names, options.name_threshold)
}
