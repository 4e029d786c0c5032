//! Context options as they are written.

use crate::record::TrafficDirection;

/// What a context says about a peer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Context {
    /// All labels of its identity.
    Identity,
    /// Its namespace.
    Namespace,
    /// Namespace and name of the pod.
    Pod,
    /// Name of the pod.
    PodName,
    /// Names that DNS answers gave its address.
    Dns,
    /// Its address.
    Ip,
    /// `reserved:world` and the like.
    ReservedIdentity,
    /// Namespace and name of what owns the pod.
    Workload,
    /// Name of what owns the pod.
    WorkloadName,
    /// Kind of what owns the pod; only in `labelsContext`.
    WorkloadKind,
    /// The application, by the usual labels.
    App,
}

/// Contexts by the name that options give them.
const CONTEXTS: [(&str, Context); 10] = [
    ("identity", Context::Identity),
    ("namespace", Context::Namespace),
    ("pod", Context::Pod),
    ("pod-name", Context::PodName),
    ("dns", Context::Dns),
    ("ip", Context::Ip),
    ("reserved-identity", Context::ReservedIdentity),
    ("workload", Context::Workload),
    ("workload-name", Context::WorkloadName),
    ("app", Context::App),
];

/// One of the two peers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Of {
    /// Who sends.
    Source = 0,
    /// Who receives.
    Destination = 1,
}

/// A label of its own name.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum ContextLabel {
    /// About a peer.
    Of(Of, Context),
    /// `traffic_direction`.
    Direction,
}

/// What `labelsContext` may list.
const LABELS: [(&str, ContextLabel); 13] = [
    ("source_ip", ContextLabel::Of(Of::Source, Context::Ip)),
    ("source_pod", ContextLabel::Of(Of::Source, Context::PodName)),
    ("source_namespace", ContextLabel::Of(Of::Source, Context::Namespace)),
    ("source_workload", ContextLabel::Of(Of::Source, Context::WorkloadName)),
    ("source_workload_kind", ContextLabel::Of(Of::Source, Context::WorkloadKind)),
    ("source_app", ContextLabel::Of(Of::Source, Context::App)),
    ("destination_ip", ContextLabel::Of(Of::Destination, Context::Ip)),
    ("destination_pod", ContextLabel::Of(Of::Destination, Context::PodName)),
    ("destination_namespace", ContextLabel::Of(Of::Destination, Context::Namespace)),
    ("destination_workload", ContextLabel::Of(Of::Destination, Context::WorkloadName)),
    ("destination_workload_kind", ContextLabel::Of(Of::Destination, Context::WorkloadKind)),
    ("destination_app", ContextLabel::Of(Of::Destination, Context::App)),
    ("traffic_direction", ContextLabel::Direction),
];

/// The options that set them.
pub(super) const OPTIONS: [&str; 7] = [
    "sourceContext",
    "sourceEgressContext",
    "sourceIngressContext",
    "destinationContext",
    "destinationEgressContext",
    "destinationIngressContext",
    "labelsContext",
];

/// The context options of one metric.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct ContextOptions {
    /// Of each peer: always, for egress, for ingress.
    peers: [[Vec<Context>; 3]; 2],
    pub(super) labels: Vec<ContextLabel>,
}

impl ContextOptions {
    /// Sets an option. `None` where it is none of these; else what is wrong with its values, and the words that would
    /// be right.
    pub(super) fn set(
        &mut self,
        option: &str,
        values: &[&str],
    ) -> Option<Result<(), (String, Vec<&'static str>)>> {
        let at = OPTIONS.iter().position(|name| *name == option)?;
        if at == OPTIONS.len() - 1 {
            return Some(read(values, &LABELS).map(|labels| self.labels = labels));
        }
        let set = read(values, &CONTEXTS).map(|contexts| self.peers[at / 3][at % 3] = contexts);
        Some(set)
    }

    /// The labels that they make.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let listed = self
            .labels
            .iter()
            .filter_map(|label| LABELS.iter().find(|(_, known)| known == label).map(|(name, _)| *name));
        let set = |of: Of| self.peers[of as usize].iter().any(|contexts| !contexts.is_empty());
        let peers = [(Of::Source, "source"), (Of::Destination, "destination")];
        listed.chain(peers.into_iter().filter(|(of, _)| set(*of)).map(|(_, name)| name)).collect()
    }

    /// What is wanted of a peer for flows of that direction; `None` where nothing is ever wanted of it.
    pub(super) fn of(&self, of: Of, direction: TrafficDirection) -> Option<&[Context]> {
        let [always, egress, ingress] = &self.peers[of as usize];
        if always.is_empty() && egress.is_empty() && ingress.is_empty() {
            return None;
        }
        let own = match direction {
            TrafficDirection::Egress => egress,
            TrafficDirection::Ingress => ingress,
            TrafficDirection::Unknown => always,
        };
        Some(if own.is_empty() { always } else { own })
    }
}

fn read<T: Copy + PartialEq>(
    values: &[&str],
    known: &[(&'static str, T)],
) -> Result<Vec<T>, (String, Vec<&'static str>)> {
    let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let mut found = Vec::new();
    for value in values {
        match known.iter().find(|(name, _)| name == value) {
            Some((_, one)) if found.contains(one) => return Err((format!("`{value}` twice"), Vec::new())),
            Some((_, one)) => found.push(*one),
            None => return Err((format!("unknown value `{value}`"), names())),
        }
    }
    if found.is_empty() { Err(("no value".to_owned(), names())) } else { Ok(found) }
}
