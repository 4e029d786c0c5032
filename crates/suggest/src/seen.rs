//! What was seen, gathered record by record in bounded memory.

use crate::fact::{self, Fact, Judged, Message, Transport};
use crate::few::Evidence;
use crate::http::{Asked, Request};
use crate::kafka;
use crate::names;
use crate::who::{Class, Who};
use flowlog::record::Record;
use policy::Direction;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Different requests of one client and port beyond which more are left out.
const MAX_REQUESTS: usize = 4096;
/// Names of one address, and server names of one port, beyond which more are left out.
const MAX_NAMES: usize = 256;
/// Bytes that a flow takes beside its texts.
const FLOW: usize = 1536;
/// Bytes that it takes to count one more peer.
const PEER: usize = 64;

/// What is noted of facts for which there is no room.
pub(crate) const FULL: &str = "records beyond the limit of memory";

/// Number of a class of pods.
pub(crate) type Pods = u32;

/// One end, with classes by number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum End {
    Pods(Pods),
    Entity(&'static str),
    Address(IpAddr),
}

/// A flow: who, whom, what.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    pub(crate) source: End,
    pub(crate) destination: End,
    pub(crate) transport: Transport,
}

/// Messages of a flow that may be allowed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Messages {
    pub(crate) http: BTreeMap<Request, Asked>,
    pub(crate) kafka: BTreeSet<kafka::Asked>,
    pub(crate) dns: BTreeSet<String>,
    pub(crate) tls: BTreeSet<String>,
    /// A hello without a name that a rule could hold.
    pub(crate) nameless: bool,
}

impl Messages {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (request, asked) in &other.http {
            self.http.entry(request.clone()).or_default().merge(asked);
        }
        self.kafka.extend(other.kafka.iter().cloned());
        self.dns.extend(other.dns.iter().cloned());
        self.tls.extend(other.tls.iter().cloned());
        self.nameless |= other.nameless;
    }
}

/// What became of a flow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Pods or addresses at its ends.
    pub(crate) sources: Evidence,
    pub(crate) destinations: Evidence,
    passed: bool,
    allowed: bool,
    denied: bool,
    refused: bool,
    /// Messages were seen, if only refused ones.
    inspected: bool,
    pub(crate) messages: Messages,
}

impl Seen {
    /// Whether it went through from end to end.
    pub(crate) fn works(&self) -> bool {
        !self.refused && (self.passed || (self.allowed && !self.denied))
    }

    /// Whether default deny refused it, and nothing else did.
    pub(crate) fn is_denied(&self) -> bool {
        !self.refused && self.denied && !self.works()
    }

    /// Whether nothing of it may be allowed, because all its messages were refused.
    pub(crate) fn only_refused_messages(&self) -> bool {
        self.inspected && self.messages.is_empty()
    }
}

/// Everything that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    numbers: BTreeMap<Class, Pods>,
    pub(crate) classes: Vec<(Class, bool)>,
    pub(crate) flows: BTreeMap<Key, Seen>,
    /// DNS names of addresses.
    pub(crate) names: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Records that say nothing, by reason.
    pub(crate) ignored: BTreeMap<&'static str, u64>,
    include_denied: bool,
    room: usize,
}

impl Log {
    pub(crate) fn new(include_denied: bool, room: usize) -> Self {
        Self {
            numbers: BTreeMap::new(),
            classes: Vec::new(),
            flows: BTreeMap::new(),
            names: BTreeMap::new(),
            ignored: BTreeMap::new(),
            include_denied,
            room,
        }
    }

    pub(crate) fn observe(&mut self, record: &Record) {
        self.learn(record);
        match fact::read(record) {
            Ok(fact) => {
                if !self.add(fact) {
                    self.ignore(FULL);
                }
            }
            Err(why) => self.ignore(why),
        }
    }

    fn ignore(&mut self, why: &'static str) {
        let count = self.ignored.entry(why).or_default();
        *count = count.saturating_add(1);
    }

    /// Takes so many bytes of what is left.
    fn take(&mut self, bytes: usize) -> bool {
        let left = self.room.checked_sub(bytes);
        self.room = left.unwrap_or(self.room);
        left.is_some()
    }

    /// Notes the names of outside addresses, of the record and of a DNS answer.
    fn learn(&mut self, record: &Record) {
        let destination = record.ip.as_ref().and_then(|ip| ip.destination.parse().ok());
        if let Some(address) = destination {
            record.destination_names.iter().for_each(|name| self.name(address, name));
        }
        if let Some(answer) = record.l7.as_ref().and_then(|l7| l7.dns.as_ref()) {
            for address in answer.ips.iter().filter_map(|ip| ip.parse().ok()) {
                self.name(address, &answer.query);
            }
        }
    }

    fn name(&mut self, address: IpAddr, name: &str) {
        let Some(name) = names::canonical(name) else { return };
        let known = self.names.get(&address);
        let (new, full) = (
            known.is_none_or(|names| !names.contains(&name)),
            known.is_some_and(|names| names.len() >= MAX_NAMES),
        );
        if new && !full && self.take(name.len() + 128) {
            self.names.entry(address).or_default().insert(name);
        }
    }

    fn end(&mut self, who: Who, local: bool) -> Option<End> {
        let class = match who {
            Who::Entity(name) => return Some(End::Entity(name)),
            Who::Address(address) => return Some(End::Address(address)),
            Who::Pod(class) => class,
        };
        let number = match self.numbers.get(&class) {
            Some(number) => *number,
            None => {
                // Once as a key, once as a class.
                if !self.take(2 * class.size()) {
                    return None;
                }
                let number = Pods::try_from(self.classes.len()).ok()?;
                self.numbers.insert(class.clone(), number);
                self.classes.push((class, false));
                number
            }
        };
        if let Some((_, is_local)) = self.classes.get_mut(number as usize) {
            *is_local |= local;
        }
        Some(End::Pods(number))
    }

    /// Adds a fact, if there is room for it.
    fn add(&mut self, fact: Fact) -> bool {
        let Some(source) = self.end(fact.source, fact.local.0) else { return false };
        let Some(destination) = self.end(fact.destination, fact.local.1) else { return false };
        let key = Key { source, destination, transport: fact.transport };
        if !self.flows.contains_key(&key) && !self.take(FLOW) {
            return false;
        }
        let seen = self.flows.entry(key.clone()).or_default();
        let denied = matches!(fact.judged, Judged::Denied(_));
        let wanted = fact.judged != Judged::Refused && (!denied || self.include_denied);
        for (evidence, peer) in [(&mut seen.sources, &fact.named.0), (&mut seen.destinations, &fact.named.1)]
        {
            if wanted {
                evidence.at(fact.time);
                evidence.audited += u64::from(fact.audited);
                evidence.denied += u64::from(denied);
                if self.room >= PEER && evidence.peers.add(peer) {
                    self.room -= PEER;
                }
            }
        }
        let Some(message) = fact.message else {
            match fact.judged {
                Judged::Passed => seen.passed = true,
                Judged::Allowed(Direction::Ingress | Direction::Egress) => seen.allowed = true,
                Judged::Denied(_) => seen.denied = true,
                Judged::Refused => seen.refused = true,
            }
            return true;
        };
        // Messages only flow where the connection was allowed.
        seen.passed = true;
        seen.inspected = true;
        !wanted || self.message(&key, message)
    }

    fn message(&mut self, key: &Key, message: Message) -> bool {
        let bytes = match &message {
            Message::Http((method, path), _, plain) => {
                method.len()
                    + plain.len()
                    + path.iter().map(|segment| segment.len() + 32).sum::<usize>()
                    + 256
            }
            Message::Kafka(list) => list.iter().map(|one| one.topic.len() + one.client.len() + 128).sum(),
            Message::Dns(name) => name.len() + 64,
            Message::Tls(name) => name.as_ref().map_or(0, String::len) + 64,
        };
        let Some(seen) = self.flows.get(key) else { return false };
        let messages = &seen.messages;
        let (known, full) = match &message {
            Message::Http(request, ..) => {
                (messages.http.contains_key(request), messages.http.len() >= MAX_REQUESTS)
            }
            Message::Kafka(list) => {
                (list.iter().all(|one| messages.kafka.contains(one)), messages.kafka.len() >= MAX_REQUESTS)
            }
            Message::Dns(name) => (messages.dns.contains(name), messages.dns.len() >= MAX_REQUESTS),
            Message::Tls(Some(name)) => (messages.tls.contains(name), messages.tls.len() >= MAX_NAMES),
            Message::Tls(None) => (true, false),
        };
        if !known && (full || !self.take(bytes)) {
            return false;
        }
        let Some(seen) = self.flows.get_mut(key) else { return false };
        let messages = &mut seen.messages;
        match message {
            Message::Http(request, query, plain) => {
                let asked = messages.http.entry(request).or_default();
                asked.records = asked.records.saturating_add(1);
                asked.query |= query;
                asked.paths.add(&plain);
            }
            Message::Kafka(list) => messages.kafka.extend(list),
            Message::Dns(name) => {
                messages.dns.insert(name);
            }
            Message::Tls(Some(name)) => {
                messages.tls.insert(name);
            }
            Message::Tls(None) => messages.nameless = true,
        }
        true
    }
}
