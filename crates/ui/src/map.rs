//! Who talks to whom: records folded into nodes, edges and L7 endpoints, with exact counters and hard limits.
//!
//! An edge goes from the client to the server and is one protocol and server port between two nodes; what answers is
//! counted on the edge of what it answers. Time is an argument. What does not fit goes to a node, an endpoint or a port
//! called `others`, so counters stay exact where names run out. What was not seen for [`MAX_AGE`] leaves the map.
//!
//! Every change gets a rising version number, and a reader asks for what changed since the one it knows.

mod counts;
mod endpoint;
mod fold;
#[cfg(test)]
pub(crate) mod tests;
mod view;

pub use counts::Counts;
pub use endpoint::{EndpointKind, EndpointView};
pub(crate) use fold::edge_id;
pub use view::{EdgeView, MapView, NamespaceView, NodeView};

use crate::names::{Group, Name, NodeKind};
use counts::Window;
use endpoint::Endpoint;
use flowlog::Record;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Nodes at most; more than fits on any screen.
pub const MAX_NODES: usize = 500;

/// Edges at most.
pub const MAX_EDGES: usize = 4000;

/// L7 endpoints of one edge at most.
pub const MAX_ENDPOINTS: usize = 64;

/// L7 endpoints of all edges together at most.
pub const MAX_ALL_ENDPOINTS: usize = 16_000;

/// For how long the map remembers.
pub const MAX_AGE: Duration = Duration::from_secs(15 * 60);

/// Names of pods and addresses shown of one node.
const MAX_MEMBERS: usize = 32;

/// Removals remembered for readers that are behind; who is further behind gets the whole map.
const MAX_GONE: usize = 4096;

/// The service map.
#[derive(Debug, Default)]
pub struct Map {
    nodes: BTreeMap<Arc<str>, Node>,
    edges: BTreeMap<EdgeKey, Edge>,
    gone: VecDeque<(u64, Gone)>,
    /// Version up to which removals have been forgotten.
    forgotten: u64,
    version: u64,
    endpoints: usize,
    /// Which window of time the short-term counters are in.
    slot: u64,
}

/// Names an edge.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct EdgeKey {
    from: Arc<str>,
    to: Arc<str>,
    protocol: &'static str,
    /// Port of the server; for ICMP the type.
    port: u16,
}

impl EdgeKey {
    fn id(&self) -> String {
        format!("{}|{}|{}/{}", self.from, self.to, self.protocol, self.port)
    }
}

#[derive(Debug)]
struct Node {
    name: Name,
    group: Option<Group>,
    /// Pods, or addresses of what is no pod.
    members: BTreeSet<String>,
    labels: Vec<String>,
    identities: BTreeSet<u32>,
    seen: Duration,
    changed: u64,
    /// Edges that end here.
    edges: usize,
}

#[derive(Debug, Default)]
struct Edge {
    total: Counts,
    recent: Window,
    /// Connections that ended, and what they carried.
    closed: u64,
    bytes: u64,
    endpoints: BTreeMap<(EndpointKind, String), Endpoint>,
    /// The last record that was refused, for the explanation.
    denied: Option<Arc<Record>>,
    /// The last record of all.
    last: Option<Arc<Record>>,
    seen: Duration,
    changed: u64,
}

/// Something that left the map.
#[derive(Clone, Debug)]
enum Gone {
    Node(Arc<str>),
    Edge(EdgeKey),
}

impl Map {
    /// Lets time pass: short-term counters move on, and what is too old goes.
    pub fn tick(&mut self, now: Duration) {
        let slot = counts::slot(now);
        if slot != self.slot {
            self.slot = slot;
            self.version += 1;
            for edge in self.edges.values_mut() {
                if edge.recent.advance(slot) {
                    edge.changed = self.version;
                }
            }
        }
        let old = |seen: Duration| now.saturating_sub(seen) > MAX_AGE;
        let keys: Vec<EdgeKey> =
            self.edges.iter().filter(|(_, edge)| old(edge.seen)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.remove_edge(&key);
        }
        let nodes: Vec<Arc<str>> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.edges == 0 && old(node.seen))
            .map(|(id, _)| Arc::clone(id))
            .collect();
        for id in nodes {
            self.nodes.remove(&id);
            self.note_gone(Gone::Node(id));
        }
    }

    fn remove_edge(&mut self, key: &EdgeKey) {
        let Some(edge) = self.edges.remove(key) else { return };
        self.endpoints = self.endpoints.saturating_sub(edge.endpoints.len());
        for id in [&key.from, &key.to] {
            if let Some(node) = self.nodes.get_mut(id) {
                node.edges = node.edges.saturating_sub(1);
            }
        }
        self.note_gone(Gone::Edge(key.clone()));
    }

    fn note_gone(&mut self, gone: Gone) {
        self.version += 1;
        if self.gone.len() == MAX_GONE
            && let Some((version, _)) = self.gone.pop_front()
        {
            self.forgotten = version;
        }
        self.gone.push_back((self.version, gone));
    }

    /// The record to explain an edge with: the last one that was refused, else the last one.
    #[must_use]
    pub fn example(&self, edge: &str) -> Option<Arc<Record>> {
        let edge = self.find(edge)?;
        edge.denied.as_ref().or(edge.last.as_ref()).map(Arc::clone)
    }

    fn find(&self, id: &str) -> Option<&Edge> {
        let mut parts = id.rsplitn(2, '|');
        let (port, ends) = (parts.next()?, parts.next()?);
        let (protocol, port) = port.split_once('/')?;
        let port: u16 = port.parse().ok()?;
        // Names may hold the separator, so ends are compared and not split.
        let mut found = self.edges.iter().filter(|(key, _)| key.port == port && key.protocol == protocol);
        found
            .find(|(key, _)| {
                ends.strip_prefix(&*key.from).and_then(|rest| rest.strip_prefix('|')) == Some(&*key.to)
            })
            .map(|(_, edge)| edge)
    }

    /// Nodes, edges and L7 endpoints there are.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.nodes.len(), self.edges.len(), self.endpoints)
    }

    fn is_full(&self) -> bool {
        // The last place is for `others`.
        self.nodes.len() + 1 >= MAX_NODES
    }

    fn others(&mut self) -> Arc<str> {
        let id: Arc<str> = Name::others().id().into();
        self.nodes.entry(Arc::clone(&id)).or_insert_with(|| Node::new(Name::others()));
        id
    }
}

impl Node {
    fn new(name: Name) -> Self {
        Self {
            group: name.group(),
            name,
            members: BTreeSet::new(),
            labels: Vec::new(),
            identities: BTreeSet::new(),
            seen: Duration::ZERO,
            changed: 0,
            edges: 0,
        }
    }

    fn is_others(&self) -> bool {
        self.name.kind == NodeKind::Others
    }
}
