//! Taking a record in.

use super::endpoint::{self, EndpointKind};
use super::{EdgeKey, MAX_ALL_ENDPOINTS, MAX_EDGES, MAX_ENDPOINTS, MAX_MEMBERS, Map, Node};
use crate::names::Name;
use crate::row;
use flowlog::Record;
use flowlog::record::{Endpoint, L4, Verdict};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Port that stands for those that there was no room for.
const OTHER_PORT: u16 = 0;

impl Map {
    /// Takes a record in.
    pub fn fold(&mut self, record: &Arc<Record>, now: Duration) {
        // A record without addresses is about no flow.
        if record.ip.is_none() {
            return;
        }
        self.version += 1;
        let (source, destination) = row::ends(record);
        let reply = record.is_reply == Some(true);
        let source = self.node(source, record, true, now);
        let destination = self.node(destination, record, false, now);
        let (from, to) = if reply { (destination, source) } else { (source, destination) };
        let (protocol, port) = service(record, reply);
        let key = self.edge(EdgeKey { from, to, protocol, port });
        self.count(&key, record, now);
    }

    /// The id of a node, made if there is room.
    fn node(&mut self, name: Name, record: &Record, source: bool, now: Duration) -> Arc<str> {
        let mut id: Arc<str> = name.id().into();
        if !self.nodes.contains_key(&id) {
            if self.is_full() {
                id = self.others();
            } else {
                self.nodes.insert(Arc::clone(&id), Node::new(name));
            }
        }
        let version = self.version;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.seen = now;
            if node.describe(record, source) || node.changed == 0 {
                node.changed = version;
            }
        }
        id
    }

    /// The key to count under, made if there is room.
    fn edge(&mut self, key: EdgeKey) -> EdgeKey {
        if self.edges.contains_key(&key) {
            return key;
        }
        let key = if self.edges.len() + 1 >= MAX_EDGES {
            let others = self.others();
            EdgeKey { from: Arc::clone(&others), to: others, protocol: "any", port: OTHER_PORT }
        } else {
            key
        };
        let fresh = !self.edges.contains_key(&key);
        self.edges.entry(key.clone()).or_default();
        for id in [&key.from, &key.to] {
            if let Some(node) = self.nodes.get_mut(id)
                && fresh
            {
                node.edges += 1;
            }
        }
        key
    }

    fn count(&mut self, key: &EdgeKey, record: &Arc<Record>, now: Duration) {
        let (slot, version, room) =
            (super::counts::slot(now), self.version, self.endpoints < MAX_ALL_ENDPOINTS);
        let Some(edge) = self.edges.get_mut(key) else { return };
        edge.seen = now;
        edge.changed = version;
        if edge.total.add(record.verdict) {
            edge.recent.add(record.verdict, slot);
        }
        if matches!(record.verdict, Verdict::Dropped | Verdict::Audit) {
            edge.denied = Some(Arc::clone(record));
        }
        edge.last = Some(Arc::clone(record));
        if let Some(close) = record.extensions.as_ref().and_then(|extra| extra.close.as_ref()) {
            edge.closed += 1;
            edge.bytes = edge.bytes.saturating_add(close.bytes[0]).saturating_add(close.bytes[1]);
        }
        let Some(mut name) = endpoint::of(record) else { return };
        if !edge.endpoints.contains_key(&name) {
            if edge.endpoints.len() + 1 >= MAX_ENDPOINTS || !room {
                name = (EndpointKind::Others, "others".into());
            }
            if !edge.endpoints.contains_key(&name) {
                self.endpoints += 1;
            }
        }
        edge.endpoints.entry(name).or_default().add(record);
    }
}

impl Node {
    /// Notes who is behind the node; answers whether that is news.
    fn describe(&mut self, record: &Record, source: bool) -> bool {
        if self.is_others() {
            return false;
        }
        let end = if source { record.source.as_ref() } else { record.destination.as_ref() };
        let address =
            record.ip.as_ref().map_or("", |ip| if source { ip.source.as_str() } else { &ip.destination });
        let Some(Endpoint { pod_name, labels, identity, .. }) = end else {
            return note(&mut self.members, address);
        };
        let mut news = note(&mut self.members, if pod_name.is_empty() { address } else { pod_name });
        if *identity != 0 && self.identities.len() < MAX_MEMBERS {
            news |= self.identities.insert(*identity);
        }
        if self.labels != *labels && !labels.is_empty() {
            self.labels.clone_from(labels);
            news = true;
        }
        news
    }
}

fn note(members: &mut BTreeSet<String>, name: &str) -> bool {
    if name.is_empty() || members.contains(name) || members.len() >= MAX_MEMBERS {
        return false;
    }
    members.insert(name.to_owned())
}

/// Protocol and port of the server; for ICMP its type.
fn service(record: &Record, reply: bool) -> (&'static str, u16) {
    let Some(l4) = &record.l4 else { return ("IP", 0) };
    match l4 {
        L4::Icmpv4(icmp) => (l4.name(), u16::from(icmp.kind)),
        L4::Icmpv6(icmp) => (l4.name(), u16::from(icmp.kind)),
        l4 => {
            let (source, destination) = l4.ports().unwrap_or_default();
            (l4.name(), if reply { source } else { destination })
        }
    }
}

/// The id of the edge that a record belongs to.
#[must_use]
pub(crate) fn edge_id(record: &Record) -> Option<String> {
    record.ip.as_ref()?;
    let (source, destination) = row::ends(record);
    let reply = record.is_reply == Some(true);
    let (from, to) = if reply { (destination, source) } else { (source, destination) };
    let (protocol, port) = service(record, reply);
    Some(EdgeKey { from: from.id().into(), to: to.id().into(), protocol, port }.id())
}
