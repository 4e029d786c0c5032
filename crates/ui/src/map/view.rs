//! What a browser gets of the map.

use super::{Counts, EdgeKey, EndpointView, Gone, Map};
use crate::names::{Group, NodeKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// L7 endpoints of an edge sent at most: those asked for most.
const SENT_ENDPOINTS: usize = 20;

/// The map of a namespace, or what changed in it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct MapView {
    /// What to ask with next time.
    pub version: u64,
    /// Whether this is the whole map and what the page has is to be thrown away.
    pub whole: bool,
    /// Nodes, new or changed, and those that the edges need.
    pub nodes: Vec<NodeView>,
    /// Edges, new or changed.
    pub edges: Vec<EdgeView>,
    /// Ids of nodes that left.
    pub gone_nodes: Vec<String>,
    /// Ids of edges that left.
    pub gone_edges: Vec<String>,
}

impl MapView {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.whole
            && self.nodes.is_empty()
            && self.edges.is_empty()
            && self.gone_nodes.is_empty()
            && self.gone_edges.is_empty()
    }
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeView {
    /// Stable id.
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// Namespace; empty for what is not a pod.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Group that it can be hidden with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Pods, or addresses of what is no pod.
    pub members: Vec<String>,
    /// Labels.
    pub labels: Vec<String>,
    /// Identities.
    pub identities: Vec<u32>,
}

/// An edge: one protocol and port from client to server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EdgeView {
    /// Stable id.
    pub id: String,
    /// Node of the client.
    pub from: String,
    /// Node of the server.
    pub to: String,
    /// `TCP`, `UDP`, `ICMPv4`, …
    pub protocol: String,
    /// Port of the server; for ICMP the type.
    pub port: u16,
    /// Records by verdict since the edge appeared.
    pub total: Counts,
    /// Records by verdict in the last minute.
    pub recent: Counts,
    /// Connections that ended.
    pub closed: u64,
    /// Bytes that those carried, both ways.
    pub bytes: u64,
    /// L7 endpoints.
    pub endpoints: Vec<EndpointView>,
    /// Endpoints that are not among these.
    pub more_endpoints: usize,
    /// Verdict of the last record.
    pub last: String,
}

/// A namespace of the picker.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NamespaceView {
    /// Name.
    pub name: String,
    /// Nodes in it.
    pub nodes: usize,
    /// Records in the last minute of edges that touch it.
    pub recent: Counts,
}

impl Map {
    /// What changed since version `since` (all of it for `None`) in `namespace` (everywhere if empty).
    #[must_use]
    pub fn view(&self, namespace: &str, since: Option<u64>) -> MapView {
        let since = since.filter(|since| (self.forgotten..=self.version).contains(since));
        let known = since.unwrap_or(0);
        let inside = |id: &Arc<str>| self.nodes.get(id).is_some_and(|node| node.name.namespace == namespace);
        let touches = |key: &EdgeKey| namespace.is_empty() || inside(&key.from) || inside(&key.to);
        let (mut edges, mut needed) = (Vec::new(), BTreeSet::new());
        let mut shown = BTreeSet::new();
        for (key, edge) in self.edges.iter().filter(|(key, _)| touches(key)) {
            shown.extend([&key.from, &key.to]);
            if edge.changed > known {
                needed.extend([&key.from, &key.to]);
                edges.push(edge.view(key));
            }
        }
        let changed = self.nodes.iter().filter(|(id, node)| {
            let here = namespace.is_empty() || node.name.namespace == namespace || shown.contains(id);
            needed.contains(id) || (here && node.changed > known)
        });
        let nodes = changed.map(|(id, node)| node.view(id)).collect();
        let mut view =
            MapView { version: self.version, whole: since.is_none(), nodes, edges, ..MapView::default() };
        if since.is_some() {
            for (_, gone) in self.gone.iter().filter(|(version, _)| *version > known) {
                match gone {
                    // What left may be back.
                    Gone::Node(id) if !self.nodes.contains_key(id) => view.gone_nodes.push(id.to_string()),
                    Gone::Edge(key) if !self.edges.contains_key(key) => view.gone_edges.push(key.id()),
                    _ => {}
                }
            }
        }
        view
    }

    /// Namespaces that were seen.
    #[must_use]
    pub fn namespaces(&self) -> Vec<NamespaceView> {
        let mut found: BTreeMap<&str, NamespaceView> = BTreeMap::new();
        for node in self.nodes.values().filter(|node| !node.name.namespace.is_empty()) {
            let name = node.name.namespace.as_str();
            let entry = found.entry(name).or_default();
            name.clone_into(&mut entry.name);
            entry.nodes += 1;
        }
        for (key, edge) in &self.edges {
            let space = |id| self.nodes.get(id).map(|node| node.name.namespace.as_str());
            let touched: BTreeSet<&str> = [space(&key.from), space(&key.to)].into_iter().flatten().collect();
            for name in touched {
                if let Some(entry) = found.get_mut(name) {
                    entry.recent = entry.recent.plus(&edge.recent.sum());
                }
            }
        }
        found.into_values().collect()
    }
}

impl super::Node {
    fn view(&self, id: &str) -> NodeView {
        NodeView {
            id: id.to_owned(),
            kind: self.name.kind,
            namespace: self.name.namespace.clone(),
            name: self.name.name.clone(),
            group: self.group,
            members: self.members.iter().cloned().collect(),
            labels: self.labels.clone(),
            identities: self.identities.iter().copied().collect(),
        }
    }
}

impl super::Edge {
    fn view(&self, key: &EdgeKey) -> EdgeView {
        let mut endpoints: Vec<EndpointView> =
            self.endpoints.iter().map(|((kind, name), endpoint)| endpoint.view(*kind, name)).collect();
        endpoints.sort_by_key(|endpoint| std::cmp::Reverse(endpoint.requests.sum()));
        let more_endpoints = endpoints.len().saturating_sub(SENT_ENDPOINTS);
        endpoints.truncate(SENT_ENDPOINTS);
        EdgeView {
            id: key.id(),
            from: key.from.to_string(),
            to: key.to.to_string(),
            protocol: key.protocol.to_owned(),
            port: key.port,
            total: self.total,
            recent: self.recent.sum(),
            closed: self.closed,
            bytes: self.bytes,
            endpoints,
            more_endpoints,
            last: self.last.as_ref().map_or("", |record| record.verdict.name()).to_owned(),
        }
    }
}
