//! Who a flow is between, as labels: Cilium's context options.
//!
//! Names are resolved once for each pair of peers and kept until names change; a series is reached by the number of
//! its words. Both tables are bounded.

use super::Seen;
use super::words::{Context, ContextLabel, ContextOptions, Of};
use crate::record::{Resolver, TrafficDirection, Workload};
use foldhash::fast::RandomState;
use packet::{Addr, Instant};
use policy::{EndpointId, Identity};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Pairs of peers whose words are kept. When there are more, all are forgotten and resolved again.
const PAIRS: usize = 16_384;

/// How long the series of a pod outlive it (Hubble's interval too): the last values must be scraped.
const FAREWELL: Duration = Duration::from_secs(60);

/// A pod by namespace and name.
pub type PodName = (Arc<str>, Arc<str>);

/// One side of a flow, as an event has it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
struct Side {
    addr: Addr,
    identity: Identity,
    endpoint: Option<EndpointId>,
}

/// Words of one context, in the order of the names.
#[derive(Clone, Debug)]
struct Entry {
    words: Arc<[Box<str>]>,
    /// Pods that these words are about.
    pods: Vec<PodName>,
}

/// The contexts of one plugin.
#[derive(Clone, Debug)]
pub(super) struct Contexts {
    options: ContextOptions,
    names: Vec<&'static str>,
    /// Pairs resolved since names last changed.
    pairs: HashMap<(Side, Side, TrafficDirection), Option<u32>, RandomState>,
    numbers: HashMap<Arc<[Box<str>]>, u32, RandomState>,
    entries: HashMap<u32, Entry, RandomState>,
    next: u32,
    most: usize,
    /// Pods that went away, and when.
    gone: HashMap<PodName, Instant, RandomState>,
}

impl Contexts {
    pub(super) fn new(options: ContextOptions, most: usize) -> Self {
        Self {
            names: options.names(),
            options,
            pairs: HashMap::default(),
            numbers: HashMap::default(),
            entries: HashMap::default(),
            next: 0,
            most,
            gone: HashMap::default(),
        }
    }

    /// The labels.
    pub(super) fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// What they say in that context.
    pub(super) fn values(&self, number: u32) -> impl Iterator<Item = &str> {
        self.entries.get(&number).into_iter().flat_map(|entry| entry.words.iter().map(|word| &**word))
    }

    /// The number of the context of an event; `None` where there is no room for another. With `inverted` the peers
    /// change places: a response is counted by its request's.
    #[inline]
    pub(super) fn of(&mut self, seen: &Seen<'_>, inverted: bool, names: &dyn Resolver) -> Option<u32> {
        if self.names.is_empty() {
            return Some(0);
        }
        let e = seen.event;
        let mut pair = (
            Side { addr: e.key.src, identity: e.src_identity, endpoint: e.src_endpoint },
            Side { addr: e.key.dst, identity: e.dst_identity, endpoint: e.dst_endpoint },
            seen.direction,
        );
        if inverted {
            std::mem::swap(&mut pair.0, &mut pair.1);
        }
        if let Some(known) = self.pairs.get(&pair) {
            return *known;
        }
        let number = self.resolve(pair, names);
        if self.pairs.len() >= PAIRS {
            self.pairs.clear();
        }
        self.pairs.insert(pair, number);
        number
    }

    fn resolve(
        &mut self,
        (source, destination, direction): (Side, Side, TrafficDirection),
        names: &dyn Resolver,
    ) -> Option<u32> {
        let sides = [Named::new(source, names), Named::new(destination, names)];
        let mut pods = Vec::new();
        let mut words: Vec<Box<str>> = Vec::with_capacity(self.names.len());
        for label in &self.options.labels {
            words.push(match label {
                ContextLabel::Direction => word_of(direction).into(),
                ContextLabel::Of(of, what) => sides[*of as usize].label(*what, &mut pods).into(),
            });
        }
        for of in [Of::Source, Of::Destination] {
            if let Some(wanted) = self.options.of(of, direction) {
                words.push(sides[of as usize].first(wanted, &mut pods).into());
            }
        }
        let words: Arc<[Box<str>]> = words.into();
        if let Some(number) = self.numbers.get(&words) {
            return Some(*number);
        }
        if self.entries.len() >= self.most {
            return None;
        }
        let number = self.next;
        // Numbers of contexts that are gone are not used again; there are enough for 100 a second for a year.
        self.next = self.next.checked_add(1)?;
        self.numbers.insert(Arc::clone(&words), number);
        self.entries.insert(number, Entry { words, pods });
        Some(number)
    }

    /// Names changed: peers are resolved again when they are next seen.
    pub(super) fn renamed(&mut self) {
        self.pairs.clear();
    }

    /// Whether any context names a pod.
    pub(super) fn names_pods(&self) -> bool {
        self.entries.values().any(|entry| !entry.pods.is_empty())
    }

    /// Contexts of pods that have been gone for a minute, which are forgotten.
    pub(super) fn vanished(&mut self, now: Instant, is_there: &dyn Fn(&PodName) -> bool) -> HashSet<u32> {
        let Self { entries, gone, numbers, pairs, .. } = self;
        for pod in entries.values().flat_map(|entry| &entry.pods) {
            if is_there(pod) {
                gone.remove(pod);
            } else if !gone.contains_key(pod) {
                gone.insert(pod.clone(), now);
            }
        }
        let over = |pod: &PodName| gone.get(pod).is_some_and(|at| now.saturating_since(*at) >= FAREWELL);
        let dead: HashSet<u32> =
            entries.iter().filter(|(_, entry)| entry.pods.iter().any(over)).map(|(n, _)| *n).collect();
        if !dead.is_empty() {
            entries.retain(|number, _| !dead.contains(number));
            numbers.retain(|_, number| !dead.contains(number));
            pairs.clear();
        }
        gone.retain(|_, at| now.saturating_since(*at) < FAREWELL);
        dead
    }
}

fn word_of(direction: TrafficDirection) -> &'static str {
    match direction {
        TrafficDirection::Ingress => "ingress",
        TrafficDirection::Egress => "egress",
        TrafficDirection::Unknown => "unknown",
    }
}

/// One side with its names.
struct Named<'a> {
    side: Side,
    workload: Workload,
    labels: Vec<String>,
    names: &'a dyn Resolver,
}

impl<'a> Named<'a> {
    fn new(side: Side, names: &'a dyn Resolver) -> Self {
        let Side { addr, identity, endpoint } = side;
        let workload =
            endpoint.and_then(|id| names.endpoint(id)).or_else(|| names.address(addr)).unwrap_or_default();
        let labels =
            if workload.labels.is_empty() { names.labels(identity) } else { workload.labels.clone() };
        Self { side, workload, labels, names }
    }

    /// The first of these that says anything.
    fn first(&self, wanted: &[Context], pods: &mut Vec<PodName>) -> String {
        wanted
            .iter()
            .map(|context| (*context, self.context(*context)))
            .find(|(_, word)| !word.is_empty())
            .map(|(context, word)| {
                if matches!(context, Context::Pod | Context::PodName | Context::Ip) {
                    self.note(pods);
                }
                word
            })
            .unwrap_or_default()
    }

    fn label(&self, what: Context, pods: &mut Vec<PodName>) -> String {
        self.first(&[what], pods)
    }

    /// Notes that a word is about this pod alone.
    fn note(&self, pods: &mut Vec<PodName>) {
        let Workload { namespace, pod_name, .. } = &self.workload;
        if !pod_name.is_empty() {
            pods.push((namespace.as_str().into(), pod_name.as_str().into()));
        }
    }

    fn context(&self, context: Context) -> String {
        let Workload { namespace, pod_name, workloads, .. } = &self.workload;
        let in_namespace = |name: &str| match (name.is_empty(), namespace.is_empty()) {
            (true, _) => String::new(),
            (false, true) => name.to_owned(),
            (false, false) => format!("{namespace}/{name}"),
        };
        let owner = workloads.first();
        match context {
            Context::Identity => self.labels.join(","),
            Context::Namespace => namespace.clone(),
            Context::Pod => in_namespace(pod_name),
            Context::PodName => pod_name.clone(),
            Context::Dns => self.names.dns_names(self.side.addr).join(","),
            Context::Ip => self.side.addr.to_string(),
            Context::ReservedIdentity => self.reserved(),
            Context::Workload => owner.map(|owner| in_namespace(&owner.name)).unwrap_or_default(),
            Context::WorkloadName => owner.map(|owner| owner.name.clone()).unwrap_or_default(),
            Context::WorkloadKind => owner.map(|owner| owner.kind.clone()).unwrap_or_default(),
            Context::App => self.app(),
        }
    }

    /// `reserved:…`; of the API server, which is also something else, that it is the API server.
    fn reserved(&self) -> String {
        let mut reserved = self.labels.iter().filter(|label| label.starts_with("reserved:"));
        let server = self.labels.iter().find(|label| *label == "reserved:kube-apiserver");
        server.or_else(|| reserved.next()).cloned().unwrap_or_default()
    }

    fn app(&self) -> String {
        ["k8s:k8s-app=", "k8s:app.kubernetes.io/name=", "k8s:app="]
            .iter()
            .find_map(|key| self.labels.iter().find_map(|label| label.strip_prefix(key)))
            .unwrap_or_default()
            .to_owned()
    }
}
